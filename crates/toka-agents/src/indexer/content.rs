//! What the indexer's events say.
//!
//! The contents are MessagePack maps with the fields of these types by name. They hold nothing that differs between
//! two runs over the same folder: no time, no inode.
//!
//! | Kind | Content | Parents | Register of the path |
//! |---|---|---|---|
//! | `file.indexed` | [`FileIndexed`] | the path's previous event if it has one, the read | the content's digest |
//! | `file.chunk` | [`FileChunk`] | the `file.indexed` that it is of | |
//! | `file.moved` | [`FileMoved`] | the previous event of each path, the read | cleared, and set for the new path |
//! | `file.removed` | [`FileRemoved`] | the path's previous event | cleared |
//! | `file.skipped` | [`FileSkipped`] | the path's previous event if it has one, the read if there was one | [`skip_value`] |
//!
//! A file and its chunks are one batch.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use toka_types::Digest;

/// A file as it is now, under a path.
pub const FILE_INDEXED: &str = "file.indexed";
/// A passage of a file.
pub const FILE_CHUNK: &str = "file.chunk";
/// A file is found under another path, with the same content.
pub const FILE_MOVED: &str = "file.moved";
/// There is no file under a path any more.
pub const FILE_REMOVED: &str = "file.removed";
/// What lies under a path was left out.
pub const FILE_SKIPPED: &str = "file.skipped";
/// The family of these kinds.
pub const FAMILY: &str = "file";

/// The content of `file.indexed`. Paths are relative to the scanned folder, in the text form of
/// [`toka_types::path`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIndexed<'a> {
    /// The path.
    #[serde(borrow)]
    pub path: Cow<'a, str>,
    /// BLAKE3 of the file's bytes, in hex.
    #[serde(borrow)]
    pub digest: Cow<'a, str>,
    /// How many bytes it has.
    pub size: u64,
    /// The kind of text: `markdown`, `html`, `source` or `plain`.
    #[serde(borrow)]
    pub media: Cow<'a, str>,
    /// The name of the encoding, such as `UTF-8`.
    #[serde(borrow)]
    pub encoding: Cow<'a, str>,
    /// Whether some bytes were no text in that encoding.
    pub lossy: bool,
    /// How many chunks follow.
    pub chunks: u32,
}

/// The content of `file.chunk`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChunk<'a> {
    /// The path of the file, as it was when the chunk was recorded.
    #[serde(borrow)]
    pub path: Cow<'a, str>,
    /// First and last line in the file, counted from 1.
    pub lines: (u32, u32),
    /// The titles of the sections it lies in, outermost first, joined with ` > `.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub heading: Option<Cow<'a, str>>,
    /// The text.
    #[serde(borrow)]
    pub text: Cow<'a, str>,
}

/// The content of `file.moved`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMoved<'a> {
    /// The path under which it was known.
    #[serde(borrow)]
    pub from: Cow<'a, str>,
    /// The path under which it was found.
    #[serde(borrow)]
    pub to: Cow<'a, str>,
    /// BLAKE3 of its bytes, in hex.
    #[serde(borrow)]
    pub digest: Cow<'a, str>,
}

/// The content of `file.removed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRemoved<'a> {
    /// The path.
    #[serde(borrow)]
    pub path: Cow<'a, str>,
    /// BLAKE3 of the bytes that were last known there, in hex.
    #[serde(borrow)]
    pub digest: Cow<'a, str>,
}

/// The content of `file.skipped`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSkipped<'a> {
    /// The path.
    #[serde(borrow)]
    pub path: Cow<'a, str>,
    /// The name of a [`SkipReason`](super::skip::SkipReason).
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

/// The register that holds the digest of what lies under `path`, given as bytes.
pub fn register_key(path: &[u8]) -> Digest {
    Digest::of_fields("toka 2026 file register v1", [path])
}

/// What the register of a path holds that is left out.
pub fn skip_value(reason: &str) -> Digest {
    Digest::of_fields("toka 2026 skip v1", [reason.as_bytes()])
}
