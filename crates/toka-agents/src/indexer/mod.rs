//! Folders as the world has them, turned into passages of text.
//!
//! A file goes through the modules in this order, and each can be used alone:
//!
//! 1. [`walk`] lists a folder below one directory descriptor. It never follows a link and opens nothing but
//!    directories and ignore files; [`rules`] says which names it passes over.
//! 2. [`decode`] turns bytes into text whatever their encoding, and tells text from binary data by content.
//! 3. [`extract`] finds what kind of text it is and where it may be cut ([`html`] strips pages, [`outline`]
//!    reads the structure of the other kinds).
//! 4. [`chunk`] cuts the text into passages of about one screen, with their lines and their headings.
//! 5. [`watch`] reports what changed in the folder since, for as long as it runs.
//!
//! What is left out on purpose is named by a [`SkipReason`](skip::SkipReason). Nothing of this writes to a log,
//! keeps state between runs or looks at a clock (except [`watch`], which waits for a burst to end).
//!
//! [`IndexerAgent`] puts them together and records what it finds; [`content`] says as which events, and
//! [`IndexReport`] how far it has come.

mod agent;
pub mod chunk;
pub mod content;
pub mod decode;
mod entities;
pub mod extract;
pub mod folder;
pub mod html;
mod index;
mod options;
pub mod outline;
mod pass;
mod reading;
mod report;
pub mod rules;
pub mod skip;
pub mod walk;
pub mod watch;

pub use agent::IndexerAgent;
pub use index::SAVED_KEY;
pub use options::{IndexerError, IndexerOptions, MAX_FILE_BYTES_DEFAULT, MAX_FILE_BYTES_LIMIT};
pub use report::{IndexReport, IndexSnapshot, Phase};
