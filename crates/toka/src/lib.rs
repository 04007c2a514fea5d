//! Toka in one dependency: the façade and its prelude.
