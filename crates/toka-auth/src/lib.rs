//! Capability tokens and the keys behind them.
