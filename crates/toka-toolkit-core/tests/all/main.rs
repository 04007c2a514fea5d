//! The contracts of tools, tested from outside.

mod input;
mod manifest;
mod plans;
mod registry;
mod storage;
