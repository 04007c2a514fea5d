//! How far an indexer has come, for those who look on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::skip::SkipReason;

/// What an indexer is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It has not begun.
    Idle,
    /// It reads in the log what it recorded before.
    Recalling,
    /// It lists the folder.
    Listing,
    /// It reads what may have changed since the last scan.
    Reading,
    /// It waits for changes.
    Watching,
    /// It has ended.
    Ended,
}

const PHASES: [Phase; 6] =
    [Phase::Idle, Phase::Recalling, Phase::Listing, Phase::Reading, Phase::Watching, Phase::Ended];

/// The figures of an indexer while it runs. All methods may be called from anywhere at any time.
#[derive(Debug, Default)]
pub struct IndexReport {
    phase: AtomicU8,
    found: AtomicU64,
    dealt: AtomicU64,
    files: AtomicU64,
    chunks: AtomicU64,
    unchanged: AtomicU64,
    moved: AtomicU64,
    removed: AtomicU64,
    denied: AtomicU64,
    bytes: AtomicU64,
    extracted_bytes: AtomicU64,
    skipped: Mutex<BTreeMap<SkipReason, u64>>,
}

/// The figures of an indexer at one moment.
///
/// `files`, `chunks`, `moved`, `removed`, `bytes` and `extracted_bytes` count since the agent was made; the others
/// are of the last scan of the whole folder and of what changed since.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct IndexSnapshot {
    /// What it is doing.
    pub phase: Phase,
    /// Entries that the scan found.
    pub total_files_found: u64,
    /// Entries of these that are dealt with.
    pub dealt_with: u64,
    /// Files recorded: new ones, changed ones and restored ones.
    pub files: u64,
    /// Chunks of these.
    pub chunks: u64,
    /// Files found as they are known.
    pub unchanged: u64,
    /// Files found under another path.
    pub moved: u64,
    /// Files that have gone.
    pub removed: u64,
    /// What was left out, by reason, whether that was recorded now or before.
    pub skipped: BTreeMap<String, u64>,
    /// Paths that the grant does not cover.
    pub denied: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes of text in the chunks.
    pub extracted_bytes: u64,
}

impl IndexReport {
    /// The figures now.
    pub fn snapshot(&self) -> IndexSnapshot {
        let skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        IndexSnapshot {
            phase: PHASES[usize::from(self.phase.load(Relaxed))],
            total_files_found: self.found.load(Relaxed),
            dealt_with: self.dealt.load(Relaxed),
            files: self.files.load(Relaxed),
            chunks: self.chunks.load(Relaxed),
            unchanged: self.unchanged.load(Relaxed),
            moved: self.moved.load(Relaxed),
            removed: self.removed.load(Relaxed),
            skipped: skipped.iter().map(|(reason, count)| (reason.as_str().to_owned(), *count)).collect(),
            denied: self.denied.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            extracted_bytes: self.extracted_bytes.load(Relaxed),
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    /// Begins the figures of a scan anew.
    pub(super) fn begin_scan(&self) {
        for figure in [&self.found, &self.dealt, &self.unchanged, &self.denied] {
            figure.store(0, Relaxed);
        }
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn found(&self, entries: usize) {
        self.found.fetch_add(entries as u64, Relaxed);
    }

    pub(super) fn dealt_with_one(&self) {
        self.dealt.fetch_add(1, Relaxed);
    }

    pub(super) fn unchanged(&self) {
        self.unchanged.fetch_add(1, Relaxed);
    }

    pub(super) fn denied(&self) {
        self.denied.fetch_add(1, Relaxed);
    }

    pub(super) fn skipped(&self, reason: SkipReason) {
        *self.skipped.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
    }

    pub(super) fn read(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn recorded(&self, tally: &Tally) {
        self.files.fetch_add(tally.files, Relaxed);
        self.chunks.fetch_add(tally.chunks, Relaxed);
        self.moved.fetch_add(tally.moved, Relaxed);
        self.removed.fetch_add(tally.removed, Relaxed);
        self.extracted_bytes.fetch_add(tally.extracted_bytes, Relaxed);
    }
}

/// What one batch of events adds to the figures once it is durable.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) files: u64,
    pub(super) chunks: u64,
    pub(super) moved: u64,
    pub(super) removed: u64,
    pub(super) extracted_bytes: u64,
}
