//! Checking every byte of a vault.

use std::path::{Path, PathBuf};

use toka_types::EventId;

use crate::core::LogId;
use crate::fork::Base;
use crate::hash::TreeHash;
use crate::store::StoreError;

/// What a check of a vault found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// True if the log is whole: every byte is what was written. Damaged projections do not count, they
    /// are made anew from the log.
    pub ok: bool,
    /// The events of all logs that could be read.
    pub events: u64,
    /// The root of the tree of the log `main`, or of the vault's first log if it has no `main`.
    pub root: TreeHash,
    /// Every log, in the order of their first events.
    pub logs: Vec<VerifiedLog>,
    /// Everything that is wrong, in the order of the files.
    pub problems: Vec<Problem>,
}

/// A log as a check found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedLog {
    /// The log.
    pub log: LogId,
    /// The log that it was forked from and how many of that one's events it shares.
    pub base: Option<Base>,
    /// How many events it has, shared ones included.
    pub events: u64,
    /// The root of its tree.
    pub root: TreeHash,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What sort of thing it is.
    pub what: What,
    /// The log, where that is known.
    pub log: Option<LogId>,
    /// The number of the first event that it concerns, where that is known.
    pub seq: Option<u64>,
    /// That event.
    pub event: Option<EventId>,
    /// The file, where it lies in one.
    pub file: Option<PathBuf>,
    /// The byte offset in it.
    pub offset: Option<u64>,
    /// What is wrong, in words.
    pub detail: String,
}

/// The sorts of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The manifest.
    Manifest,
    /// The keys of a sealed vault.
    Keys,
    /// A segment is missing, or its header is wrong.
    Segment,
    /// A frame, or bytes where there should be none.
    Frame,
    /// An event's header, id, number or time.
    Event,
    /// A cause that is not in the log.
    Cause,
    /// Content that is missing or does not match its digest.
    Content,
    /// The log tree's root.
    Root,
    /// A database that keeps the vault: what its own check finds, or tables of it that contradict each other.
    Database,
    /// The log is not what was signed.
    Checkpoint,
    /// A bundle's own bytes.
    Bundle,
    /// The end of a batch that was never acknowledged: the next writer cuts it, nothing is lost.
    Torn,
    /// An index: the next writer makes it anew.
    Projection,
}

impl What {
    /// The word for it in a report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Keys => "keys",
            Self::Segment => "segment",
            Self::Frame => "frame",
            Self::Event => "event",
            Self::Cause => "cause",
            Self::Content => "content",
            Self::Root => "root",
            Self::Database => "database",
            Self::Checkpoint => "checkpoint",
            Self::Bundle => "bundle",
            Self::Torn => "torn",
            Self::Projection => "projection",
        }
    }

    /// True if the log itself is whole in spite of it.
    pub fn is_harmless(self) -> bool {
        matches!(self, Self::Torn | Self::Projection)
    }
}

/// Checks the vault in the directory `path`: every frame, header, id, cause, content, the log trees and
/// the indexes. It writes nothing, and works beside a writer, of whose last batches it may see some.
///
/// # Errors
/// [`StoreError::NotFound`] if there is no vault, [`StoreError::Format`] if it has another version's
/// format, [`StoreError::Io`] if it cannot be read. What is wrong with its bytes is in the report.
pub fn verify(path: impl AsRef<Path>) -> Result<VerifyReport, StoreError> {
    crate::engine::verify(path.as_ref())
}
