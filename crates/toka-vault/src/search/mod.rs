//! Search by words and by meaning over the files of the log, and what they are about.
//!
//! A projection: one file, [`SearchWriter`] builds it from the log's events and [`SearchReader`] answers
//! from it in another process. It can be deleted at any time; the same log gives the same file again,
//! byte for byte. It is **not** the home of texts: a hit names the event that holds the text.
//!
//! - `analyze`: what is a word, and which words are the same.
//! - `collection`: the live chunks and their terms in memory.
//! - `fields`: which words speak of the same thing.
//! - `layout`: the bytes: dictionary, posting lists, tables.
//! - `matrix`, `latent`: the embedder that is learnt from the vault, in integers.
//! - `embedded`: the vectors that models made, by embedder.
//! - `telling`: terms that name an intent.
//! - `topics`: which passages are about the same, for the intents.
//! - `misspelt`: words of the texts that are meant by one that they do not hold.
//! - `thesaurus`: words that stand for each other, which a small vault cannot teach.
//! - `near`: neighbours of a passage, and when intents were.
//! - `tantivy_index`: another engine for the words of large vaults, with the feature `search-tantivy`.
//! - `rank`: fusing words and meaning.
//!
//! Saving rewrites the whole file from what is in memory. That is what makes the file independent of how
//! it came about; it costs about two seconds of one core for 40,000 chunks, so a caller gathers changes
//! before it saves.

use std::path::Path;

use crate::intent::{self, Problem, blockfile};

mod analyze;
mod collection;
mod embedded;
mod fields;
mod latent;
mod layout;
mod matrix;
mod misspelt;
mod near;
mod rank;
mod reader;
#[cfg(feature = "search-tantivy")]
mod tantivy_index;
mod telling;
mod thesaurus;
mod topics;
mod writer;

pub use near::{Neighbour, Span};
pub use reader::{Asked, Hit, IntentRef, Member, Options, SearchReader};
#[cfg(feature = "search-tantivy")]
pub use tantivy_index::{TantivyReader, TantivyWriter};
pub use writer::{Change, ChunkInput, SearchWriter};

/// Reads every byte of the projections in the directory, intents saved on their own among them, and
/// reports what is wrong, by file and section. A projection that is not there is no problem. Nothing is
/// changed.
#[must_use]
pub fn verify(directory: &Path) -> Vec<Problem> {
    let mut problems = blockfile::verify(&directory.join(layout::FILE), layout::FORMAT);
    problems.extend(intent::verify(directory));
    problems
}

/// The same of an index by tantivy in the directory, which a writer may be saving to meanwhile.
#[cfg(feature = "search-tantivy")]
#[must_use]
pub fn verify_tantivy(directory: &Path) -> Vec<Problem> {
    tantivy_index::verify(directory)
}

#[cfg(test)]
mod tests;
