//! Vaults that a database keeps: what SQLite, sled and RocksDB share.
//!
//! A [`TableStore`] holds the [`Store`] contract: fences, deduplication, the log tree, checks of all that is read. An
//! engine is a [`Tables`]: rows in, rows out, and one atomic, durable write for each batch. `docs/format/stores.md`
//! describes the rows.
//!
//! ```text
//! <vault>/manifest             what the vault is, and which engine keeps it
//! <vault>/lock                 locked by the writer, whose pid it holds
//! <vault>/sqlite/, sled/ or rocksdb/   the engine's own files: the truth
//! ```

mod append;
#[cfg(any(feature = "sled", feature = "rocksdb"))]
mod kv;
mod open;
mod read;
#[cfg(feature = "rocksdb")]
mod rocksdb;
pub(crate) mod row;
#[cfg(feature = "sled")]
mod sled;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(test)]
mod tests;
pub(crate) mod verify;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use toka_types::{Digest, EventHeader, EventId, Gone, Payload};

use crate::core::{LogId, Record};
use crate::engine::Engine;
use crate::fork::Base;
use crate::journal::disk::Disk;
use crate::journal::frame::VaultId;
use crate::journal::state::Log;
use crate::store::{Head, Part, Room, Statistics, Store, StoreError};
use append::Writer;
use row::{EventRow, LogRow, Place, Stored, Sums};

pub(crate) use open::{create, reader, writer};

/// A vault in a directory, kept by a database.
pub(crate) struct TableStore {
    path: PathBuf,
    /// The engine's file or directory, for errors.
    file: PathBuf,
    engine: Engine,
    disk: Arc<dyn Disk>,
    /// Free bytes of the file system that holds a path, where that is known.
    free: fn(&Path) -> Option<u64>,
    vault: VaultId,
    tables: Box<dyn Tables>,
    state: RwLock<State>,
    writer: Mutex<Writer>,
}

/// What readers look at before they look into the tables: what is beyond it is not there for them. It changes when a
/// batch is durable.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) logs: Vec<Log>,
    pub(crate) sums: Sums,
    pub(crate) dimension: Option<u32>,
}

/// Rows in a database.
///
/// # Contract
/// - [`write`](Tables::write) stores all rows or none, durably when it returns. An error that is
///   [`TableError::Full`] left nothing behind; after any other one nobody knows.
/// - Rows that a `write` stored are seen by every read that begins after it returned; a read beside it may see them.
/// - There is one writer at a time; readers are as many as they like.
pub(crate) trait Tables: Send + Sync {
    /// The sums and the logs' rows by number, each with its checksum; nothing if nothing was ever written. A
    /// reader that sees one moment of the files moves on to the newest one first.
    fn load(&self) -> Result<Option<Loaded>, TableError>;
    /// Stores a batch.
    fn write(&self, write: &Write) -> Result<(), TableError>;
    /// At most `limit` events of a log from number `from` on, in order.
    fn events(&self, log: u16, from: u64, limit: usize) -> Result<Vec<EventBytes>, TableError>;
    /// The places of an event, in the order of their ordinals.
    fn places(&self, id: &EventId) -> Result<Vec<Place>, TableError>;
    /// At most `limit` entries of the index of ids between `low` and `high`, in their order.
    fn ids(&self, low: &[u8; 32], high: &[u8; 32], limit: usize)
    -> Result<Vec<(EventId, Place)>, TableError>;
    /// The places of an event's children, in the order of their ordinals: at most `limit` of those after that of the event
    /// at `after`, none if there is no such event.
    fn children(&self, id: &EventId, after: Option<Place>, limit: usize) -> Result<Vec<Place>, TableError>;
    /// A piece of content as stored.
    fn content(&self, digest: &Digest) -> Result<Option<Vec<u8>>, TableError>;
    /// The first byte of a piece of content as stored, which says whether it is there.
    fn content_head(&self, digest: &Digest) -> Result<Option<u8>, TableError>;
    /// How many rows there are: events, ids, children, contents.
    fn counts(&self) -> Result<Counts, TableError>;
    /// What the engine's own check of its files finds wrong.
    fn check(&self) -> Result<Vec<String>, TableError>;
    /// Free bytes that the engine needs beside a batch, so as not to be stopped in the middle of its own work.
    fn headroom(&self) -> u64;
    /// Ends writing, and leaves the files so that the next opening is fast. Reads go on.
    fn close(&self) -> Result<(), TableError>;
}

/// What an engine holds beside events: with checksums as stored.
pub(crate) struct Loaded {
    pub(crate) sums: (Sums, u32),
    pub(crate) logs: Vec<(LogRow, u32)>,
}

/// An event's header as stored.
pub(crate) struct EventBytes {
    pub(crate) seq: u64,
    pub(crate) header: Vec<u8>,
    pub(crate) crc: u32,
}

/// How many rows there are in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) events: u64,
    pub(crate) ids: u64,
    pub(crate) links: u64,
    pub(crate) contents: u64,
}

/// A batch as rows.
pub(crate) struct Write {
    pub(crate) sums: (Sums, u32),
    /// The logs to which the events belong, as they are with them.
    pub(crate) logs: Vec<(LogRow, u32)>,
    pub(crate) events: Vec<EventRow>,
    /// Content that is not stored yet, each digest once.
    pub(crate) contents: Vec<(Digest, Vec<u8>)>,
}

/// Why an engine did not do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TableError {
    /// The files are of a format that this build does not know.
    Format(u32),
    /// The files are not what the engine wrote.
    Damage(String),
    /// There is no room, and nothing was written.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "the others cannot tell"))]
    Full,
    /// Another process keeps the files to itself.
    Busy,
    /// Anything else.
    Failed(String),
}

impl TableStore {
    fn state(&self) -> RwLockReadGuard<'_, State> {
        // The state changes only after everything that can fail has been done.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, what: &'static str, error: TableError) -> StoreError {
        failed(&self.path, &self.file, what, error)
    }

    fn damage(&self, seq: Option<u64>, detail: impl Into<String>) -> StoreError {
        StoreError::Corrupt { file: self.file.clone(), seq, detail: detail.into() }
    }
}

/// An engine's error as the store's.
pub(crate) fn failed(vault: &Path, file: &Path, what: &'static str, error: TableError) -> StoreError {
    match error {
        TableError::Format(found) => StoreError::Format { found, known: row::FORMAT },
        TableError::Damage(detail) => StoreError::Corrupt { file: file.to_owned(), seq: None, detail },
        TableError::Full => StoreError::Full { path: vault.to_owned(), needed: 0 },
        TableError::Busy => StoreError::Locked { path: vault.to_owned(), pid: None },
        TableError::Failed(detail) => StoreError::Io { what, path: file.to_owned(), detail },
    }
}

impl Drop for TableStore {
    fn drop(&mut self) {
        if let Err(error) = append::close(self) {
            tracing::warn!(%error, "the vault was not closed cleanly; the next opening recovers it");
        }
    }
}

impl Store for TableStore {
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
        Ok(state.number(log).and_then(|number| state.base(number)))
    }

    fn head(&self, log: &LogId) -> Result<Head, StoreError> {
        let state = self.state();
        Ok(state.number(log).map_or_else(Head::empty, |number| state.logs[usize::from(number)].head()))
    }

    fn read(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Arc<Record>>, StoreError> {
        read::records(self, log, from, limit)
    }

    fn headers(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<EventHeader>, StoreError> {
        read::headers(self, log, from, limit)
    }

    fn find(&self, id: &EventId) -> Result<Option<(LogId, u64)>, StoreError> {
        Ok(read::places(self, id)?.into_iter().next())
    }

    fn position(&self, log: &LogId, id: &EventId) -> Result<Option<u64>, StoreError> {
        let lineage = {
            let state = self.state();
            let Some(number) = state.number(log) else { return Ok(None) };
            state.logs[usize::from(number)].lineage.clone()
        };
        let places = read::places(self, id)?;
        let state = self.state();
        let mut numbered =
            places.into_iter().filter_map(|(log, seq)| state.number(&log).map(|number| (number, seq)));
        Ok(numbered.find(|(number, seq)| lineage.contains(number, *seq)).map(|(_, seq)| seq))
    }

    fn find_prefix(&self, hex: &str, limit: usize) -> Result<Vec<(EventId, LogId, u64)>, StoreError> {
        read::find_prefix(self, hex, limit)
    }

    fn content(&self, digest: &Digest) -> Result<Option<Payload>, StoreError> {
        match read::stored(self, digest)? {
            Some(Stored::Bytes(bytes)) => read::checked(self, None, digest, bytes).map(Some),
            _ => Ok(None),
        }
    }

    fn gone(&self, digest: &Digest) -> Result<Option<Gone>, StoreError> {
        match read::stored(self, digest)? {
            Some(Stored::Gone(gone)) => Ok(Some(gone)),
            _ => Ok(None),
        }
    }

    fn children_after(
        &self,
        id: &EventId,
        after: Option<&(LogId, u64)>,
        limit: usize,
    ) -> Result<Vec<(LogId, u64)>, StoreError> {
        read::children(self, id, after, limit)
    }

    fn dimension(&self) -> Result<Option<u32>, StoreError> {
        Ok(self.state().dimension)
    }

    fn fix_dimension(&self, dimension: u32) -> Result<(), StoreError> {
        append::fix_dimension(self, dimension)
    }

    fn statistics(&self) -> Result<Statistics, StoreError> {
        let Sums { events, bytes, deduplicated, compressed, .. } = self.state().sums;
        // A database does not tell its indexes from its rows: what is not the rows' own bytes is the indexes'.
        let index = open::size_of(&self.path.join(self.engine.name())).saturating_sub(bytes);
        Ok(Statistics { events, log: bytes, index, deduplicated, compressed })
    }

    fn refresh(&self) -> Result<u64, StoreError> {
        open::refresh(self)
    }

    fn close(&self) -> Result<(), StoreError> {
        append::close(self)
    }
}

impl State {
    pub(crate) fn number(&self, log: &LogId) -> Option<u16> {
        self.logs.iter().position(|l| l.id == *log).map(|number| number as u16)
    }

    /// Where a log was forked from another one.
    pub(crate) fn base(&self, number: u16) -> Option<Base> {
        let (base, size) = self.logs.get(usize::from(number))?.base?;
        Some(Base { log: self.logs.get(usize::from(base))?.id.clone(), size })
    }

    /// The place with its log's name, if it is one of those that readers see.
    pub(crate) fn named(&self, (log, seq): Place) -> Option<(LogId, u64)> {
        let log = self.logs.get(usize::from(log)).filter(|log| seq < log.tree.size())?;
        Some((log.id.clone(), seq))
    }
}
