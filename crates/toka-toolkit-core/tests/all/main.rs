//! The contracts of tools, tested from outside.

mod input;
mod manifest;
mod registry;
mod storage;
