//! The configuration, from outside: files, environment, diagnostics, schema.

mod arbitrary;
mod environment;
mod files;
mod problems;
mod schema;
mod support;
mod values;
