//! The standard tools on real folders.

mod attacks;
mod files;
mod support;
