//! A causal, content-addressed, append-only event store.
