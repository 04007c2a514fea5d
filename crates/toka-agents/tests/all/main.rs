//! The crate at its boundary: real folders, real bytes.

#[cfg(feature = "indexer")]
mod chunking;
#[cfg(feature = "indexer")]
mod decoding;
#[cfg(feature = "indexer")]
mod indexer_agent;
#[cfg(feature = "indexer")]
mod pages;
#[cfg(feature = "scheduler")]
mod scheduler;
#[cfg(feature = "indexer")]
mod walking;
#[cfg(feature = "indexer")]
mod watching;
