//! Reading: by id, by number, with a filter, along causes.

use std::sync::Arc;

use toka_bus::Filter;
use toka_types::{Digest, EventId, Gone};

use super::VaultBus;
use crate::core::Record;
use crate::fork::Base;
use crate::scan::{Cursor, Scan, scan};
use crate::statistics::LogStatistics;
use crate::store::{Head, Statistics, Store, StoreError};
use crate::versioned::{Versioned, read};
use crate::walk::{self, Walk};

impl VaultBus {
    /// The event with this id.
    pub fn get(&self, id: &EventId) -> Result<Option<Arc<Record>>, StoreError> {
        let Some(seq) = self.store.position(&self.log, id)? else { return Ok(None) };
        self.get_seq(seq)
    }

    /// The payload of the event with this id, raised to today's type if it has an older version.
    ///
    /// # Errors
    /// [`StoreError::Payload`] if the event has another kind, a version that this type does not know, or bytes that
    /// are no payload of the version it has.
    pub fn get_as<T: Versioned>(&self, id: &EventId) -> Result<Option<T>, StoreError> {
        Ok(self.get(id)?.map(|record| read(&record)).transpose()?)
    }

    /// The event with this number.
    pub fn get_seq(&self, seq: u64) -> Result<Option<Arc<Record>>, StoreError> {
        let record = self.store.read(&self.log, seq, 1)?.pop();
        Ok(match &self.seal {
            Some(seal) => record.map(|record| seal.opened(&record)),
            None => record,
        })
    }

    /// Why content that an event names is not with it; `None` for content that is there, or was never there.
    pub fn gone(&self, digest: &Digest) -> Result<Option<Gone>, StoreError> {
        match (&self.seal, self.store.content(digest)?) {
            (Some(seal), Some(stored)) => Ok(seal.open(&stored).err()),
            _ => self.store.gone(digest),
        }
    }

    /// The stored events from number `from` on that pass `filter`, in order.
    pub fn scan(&self, from: u64, filter: Filter) -> Scan {
        scan(Arc::clone(&self.store), self.log.clone(), from, filter).opened_by(self.seal.clone())
    }

    /// The stored events that pass `filter`, in either direction, from where a cursor says: one of the beginning, of
    /// the end, or of where another scan stopped.
    pub fn scan_at(&self, cursor: Cursor, filter: Filter) -> Scan {
        Scan::at(Arc::clone(&self.store), self.log.clone(), cursor, filter).opened_by(self.seal.clone())
    }

    /// The events that name `id` as a cause, in order.
    pub fn children(&self, id: &EventId) -> Result<Vec<Arc<Record>>, StoreError> {
        self.scan(0, Filter::all().parent(*id)).collect()
    }

    /// What the event was caused by, directly or not, up to `depth` steps away: nearest first, each event once. At most
    /// [`walk::MAX_EVENTS`] events; [`Walk::complete`] says whether that was all.
    ///
    /// # Errors
    /// [`StoreError::NoEvent`] if the log does not have the event.
    pub fn ancestors(&self, id: &EventId, depth: u32) -> Result<Walk, StoreError> {
        walk::ancestors(&*self.store, &self.log, id, depth, walk::MAX_EVENTS)
    }

    /// What the event caused in this log, directly or not; else as [`ancestors`](Self::ancestors).
    pub fn descendants(&self, id: &EventId, depth: u32) -> Result<Walk, StoreError> {
        walk::descendants(&*self.store, &self.log, id, depth, walk::MAX_EVENTS)
    }

    /// Where the log ends: its next number, which [`commit_batch_at`](Self::commit_batch_at) takes, its last event and
    /// the root of its tree.
    pub fn head(&self) -> Result<Head, StoreError> {
        self.store.head(&self.log)
    }

    /// Where the log was forked from another one; `None` if it is no fork.
    pub fn base(&self) -> Result<Option<Base>, StoreError> {
        self.store.base(&self.log)
    }

    /// How many events the log has.
    pub fn len(&self) -> Result<u64, StoreError> {
        Ok(self.head()?.next_seq)
    }

    /// True if the log has no events.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.len()? == 0)
    }

    /// What the vault holds and what that takes.
    pub fn statistics(&self) -> Result<Statistics, StoreError> {
        self.store.statistics()
    }

    /// What this log holds, by kind. It reads all headers of the log, a million in about a second; keep the value and
    /// [`advance`](LogStatistics::advance) it to read only what is new.
    pub fn log_statistics(&self) -> Result<LogStatistics, StoreError> {
        LogStatistics::of(&*self.store, &self.log)
    }

    /// The store behind the vault, for reads that this type does not offer. Of a sealed vault it has content as it is
    /// stored.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}
