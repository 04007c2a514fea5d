//! The default store: one journal of batch frames that carries all logs of a vault.
//!
//! `append` writes one frame and syncs once. Segments get their room ahead, so that the sync has no
//! metadata to write. Each sealed segment has a sorted index beside it; the open one is indexed in memory.
//! `docs/format/journal.md` describes the bytes.
//!
//! ```text
//! <vault>/manifest             what the vault is; where it ended when it was last closed
//! <vault>/keys                 the keys of a sealed vault, locked; `crate::seal` reads and writes them
//! <vault>/lock                 locked by the writer, whose pid it holds
//! <vault>/journal/N.seg        the truth
//! <vault>/compact              a segment that is being written anew
//! <vault>/spare                the next segment's room, which nobody reads
//! <vault>/index/N.idx          projections: deleted or damaged, they are made anew
//! <vault>/index/log-N.nodes    the same: hashes of the log trees, for proofs
//! ```

pub(crate) mod append;
mod close;
mod compact;
mod copied;
pub(crate) mod disk;
mod erased;
mod files;
mod filter;
mod follow;
pub(crate) mod frame;
pub(crate) mod index;
mod leaves;
mod live;
mod load;
pub(crate) mod manifest;
pub(crate) mod nodes;
pub(crate) mod open;
mod parts;
mod proved;
mod read;
mod recent;
mod rewrite;
mod seal;
pub(crate) mod segment;
pub(crate) mod sidecar;
mod spare;
pub(crate) mod state;
pub(crate) mod tables;
mod tail;
#[cfg(test)]
mod tests;
mod usage;
pub(crate) mod verify;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use toka_types::{Digest, EventHeader, EventId, Gone, KeyId, Payload, Timestamp};

use crate::core::{LogId, Record};
use crate::fork::Base;
use crate::hash::TreeHash;
use crate::retention::Retention;
use crate::store::{Head, Part, Room, Statistics, Store, StoreError};
use append::Writer;
use disk::{Disk, RealDisk};
use frame::VaultId;
use state::State;

pub use append::RESERVE;
pub use compact::{Amount, Compaction, CompactionReport};
pub use usage::{KindUsage, Usage};

/// A vault in a directory.
pub struct Journal {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    vault: VaultId,
    state: Arc<RwLock<State>>,
    writer: Mutex<Writer>,
    /// Held by the one compaction that is under way; when the last one dropped all that could go.
    compacting: Mutex<compact::Before>,
}

/// What opening a vault for writing found and mended.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// True if there was no vault and this one was created.
    pub created: bool,
    /// A batch that was being written when the last writer died; it was never acknowledged, and is gone.
    pub torn: Option<TornTail>,
    /// Indexes that were missing, old or damaged, and what was wrong with them; they were made anew.
    pub rebuilt: Vec<(PathBuf, String)>,
}

/// A batch that was never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub file: PathBuf,
    /// Where the journal ends now.
    pub offset: u64,
    /// Why what stood there is no frame.
    pub detail: String,
}

impl Journal {
    /// Opens the vault in the directory `path` for writing, or creates one. Recovers what a writer that
    /// died left behind.
    pub fn open(path: &Path) -> Result<(Self, RecoveryReport), StoreError> {
        open::writer(files::real_disk(), path, None)
    }

    /// As [`open`](Self::open), for a vault whose content is sealed under the keys `keys`. What is appended must be
    /// sealed by then.
    ///
    /// # Errors
    /// [`StoreError::OtherKeys`] if the vault that is there is not sealed, or under others.
    pub fn open_sealed(path: &Path, keys: KeyId) -> Result<(Self, RecoveryReport), StoreError> {
        let (journal, report) = open::writer(files::real_disk(), path, Some(keys))?;
        match journal.sealed()? {
            Some(found) if found == keys => Ok((journal, report)),
            found => Err(StoreError::OtherKeys { path: path.to_owned(), found, given: keys }),
        }
    }

    /// Opens the vault in the directory `path` for reading, beside a writer if there is one. It sees what
    /// was durable at some moment; [`refresh`](Self::refresh) moves that moment on. Nothing is written.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        open::reader(files::real_disk(), path)
    }

    /// The vault's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The live process that writes to the vault in the directory `path`, if there is one.
    pub fn writer_pid(path: &Path) -> Option<u32> {
        RealDisk.lock_holder(&open::lock_path(path))
    }

    /// Reads what a writer appended since this reader was opened or refreshed; how many events that are.
    /// Does nothing on a vault that is open for writing.
    pub fn refresh(&self) -> Result<u64, StoreError> {
        follow::refresh(self)
    }

    /// Begins a new segment after a failed write or sync. Everything that was acknowledged stays; what lay
    /// behind it is void. Does nothing if writing has not stopped.
    pub fn recover(&self) -> Result<(), StoreError> {
        append::recover(self)
    }

    /// Rewrites sealed segments without the content that `retention` lets go, without what nobody can read any more since
    /// its keys were destroyed, and without content that lies in an earlier segment too. Everything else stays: headers, facts, ids, numbers, roots. What was dropped is
    /// [gone](Store::gone). Appending and reading go on meanwhile. The memory it takes does not grow with the log.
    ///
    /// A crash leaves each segment as it was or as it shall be. Stopped, or after an error, it goes on where it was
    /// with the next call.
    ///
    /// # Errors
    /// If the vault is not open for writing, a segment is damaged or cannot be written. On a full disk nothing is lost.
    pub fn compact(
        &self,
        retention: Option<&mut dyn Retention>,
        how: &Compaction<'_>,
    ) -> Result<CompactionReport, StoreError> {
        compact::compact(self, retention, how)
    }

    /// What a thorough [`compact`](Self::compact) would do at `now`. Nothing is written.
    pub fn reclaimable(
        &self,
        retention: Option<&mut dyn Retention>,
        now: Timestamp,
    ) -> Result<CompactionReport, StoreError> {
        compact::measure(self, retention, now)
    }

    /// What the journal's bytes are, by kinds of events. It reads all of it.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        self.reading(|| usage::usage(self))
    }

    /// Reads. Where the live writer of another process has put a segment in the place of one that was closed here since,
    /// it reads again, from the new one.
    fn reading<T>(&self, read: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut found = read();
        for _ in 0..follow::TRIES {
            if !matches!(found, Err(StoreError::Io { .. })) || !follow::find_lost(self)? {
                break;
            }
            found = read();
        }
        found
    }

    fn compacting(&self) -> MutexGuard<'_, compact::Before> {
        self.compacting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        // The state changes only after everything that can fail has been done.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        state::write(&self.state)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Err(error) = close::close(self) {
            tracing::warn!(%error, "the vault was not closed cleanly; the next opening recovers it");
        }
    }
}

impl Store for Journal {
    fn logs(&self) -> Result<Vec<LogId>, StoreError> {
        Ok(self.state().logs.iter().map(|log| log.id.clone()).collect())
    }

    fn append_parts(&self, parts: &[Part<'_>], room: Room) -> Result<(), StoreError> {
        append::append(self, parts, &HashMap::new(), room)
    }

    fn append_gone(
        &self,
        parts: &[Part<'_>],
        gone: &HashMap<Digest, Gone>,
        room: Room,
    ) -> Result<(), StoreError> {
        append::append(self, parts, gone, room)
    }

    fn base(&self, log: &LogId) -> Result<Option<Base>, StoreError> {
        let state = self.state();
        let number = state.log_number(log);
        Ok(number.and_then(|number| state.base_of(&state.logs[usize::from(number)])))
    }

    fn head(&self, log: &LogId) -> Result<Head, StoreError> {
        let state = self.state();
        let number = state.log_number(log);
        Ok(number.map_or_else(Head::empty, |number| state.logs[usize::from(number)].head()))
    }

    fn read(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Arc<Record>>, StoreError> {
        self.reading(|| read::records(self, log, from, limit))
    }

    fn headers(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<EventHeader>, StoreError> {
        self.reading(|| read::headers(self, log, from, limit))
    }

    fn find(&self, id: &EventId) -> Result<Option<(LogId, u64)>, StoreError> {
        let places = self.reading(|| read::find(self, id))?;
        Ok(places.first().and_then(|&(log, seq)| Some((self.log_id(log)?, seq))))
    }

    fn position(&self, log: &LogId, id: &EventId) -> Result<Option<u64>, StoreError> {
        let places = self.reading(|| read::find(self, id))?;
        let state = self.state();
        let Some(number) = state.log_number(log) else { return Ok(None) };
        let lineage = &state.logs[usize::from(number)].lineage;
        Ok(places.into_iter().find(|(log, seq)| lineage.contains(log, *seq)).map(|(_, seq)| seq))
    }

    fn find_prefix(&self, hex: &str, limit: usize) -> Result<Vec<(EventId, LogId, u64)>, StoreError> {
        let found = self.reading(|| read::find_prefix(self, hex, limit))?;
        Ok(found.into_iter().filter_map(|(id, log, seq)| Some((id, self.log_id(log)?, seq))).collect())
    }

    fn content(&self, digest: &Digest) -> Result<Option<Payload>, StoreError> {
        self.reading(|| read::content(self, digest))
    }

    fn gone(&self, digest: &Digest) -> Result<Option<Gone>, StoreError> {
        self.reading(|| read::gone(self, digest))
    }

    fn children_after(
        &self,
        id: &EventId,
        after: Option<&(LogId, u64)>,
        limit: usize,
    ) -> Result<Vec<(LogId, u64)>, StoreError> {
        let children = self.reading(|| read::children(self, id, after, limit))?;
        Ok(children.into_iter().filter_map(|(log, seq)| Some((self.log_id(log)?, seq))).collect())
    }

    fn sealed(&self) -> Result<Option<KeyId>, StoreError> {
        Ok(self.writer().manifest.keys)
    }

    fn subtree(&self, log: &LogId, level: u32, number: u64) -> Result<Option<TreeHash>, StoreError> {
        self.reading(|| nodes::subtree(self, log, level, number))
    }

    fn dimension(&self) -> Result<Option<u32>, StoreError> {
        Ok(self.state().dimension)
    }

    fn fix_dimension(&self, dimension: u32) -> Result<(), StoreError> {
        close::fix_dimension(self, dimension)
    }

    fn answers_at_once(&self) -> bool {
        true
    }

    fn statistics(&self) -> Result<Statistics, StoreError> {
        let state = self.state();
        let index =
            state.segments.iter().filter_map(|segment| segment.index.base.as_ref()).map(|base| base.len);
        Ok(Statistics {
            events: state.totals.events,
            log: state.segments.iter().map(|segment| segment.end).sum(),
            index: index.sum(),
            deduplicated: state.totals.deduplicated,
            compressed: state.totals.compressed,
        })
    }

    fn refresh(&self) -> Result<u64, StoreError> {
        follow::refresh(self)
    }

    fn remembered_parts(&self, log: &LogId) -> Vec<TreeHash> {
        nodes::remembered(self, log)
    }

    fn remembered_ids(&self, log: &LogId) -> Vec<Option<u64>> {
        nodes::remembered_ids(self, log)
    }

    fn close(&self) -> Result<(), StoreError> {
        close::close(self)
    }
}

impl Journal {
    fn log_id(&self, number: u16) -> Option<LogId> {
        self.state().logs.get(usize::from(number)).map(|log| log.id.clone())
    }
}
