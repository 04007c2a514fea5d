//! The vault for code without an executor.

use std::ops::Deref;

use serde::Serialize;
use toka_types::{EventHeader, EventId};

use super::{IntoVector, VaultBus, first_header, first_part, prepare};
use crate::core::{LogId, NewEvent};
use crate::store::StoreError;
use crate::versioned::Versioned;
use crate::writer::Committed;

/// The same vault for code without an executor: the thread waits where the vault's own methods are `async`.
///
/// Everything else (reads, scans, walks, statistics, subscriptions, whose streams have a `recv_blocking`) is the vault's
/// own, and can be called here as well. Nothing here is for use inside an executor.
#[derive(Clone, Copy)]
pub struct Blocking<'a>(pub(super) &'a VaultBus);

impl Deref for Blocking<'_> {
    type Target = VaultBus;

    fn deref(&self) -> &VaultBus {
        self.0
    }
}

impl Blocking<'_> {
    /// As [`VaultBus::commit`].
    pub fn commit<T: Serialize + ?Sized>(
        &self,
        payload: &T,
        parents: &[EventHeader],
        kind: &str,
        vector: impl IntoVector,
    ) -> Result<EventHeader, StoreError> {
        let parents: Vec<EventId> = parents.iter().map(|parent| parent.id).collect();
        self.commit_after(payload, &parents, kind, vector)
    }

    /// As [`VaultBus::commit_after`].
    pub fn commit_after<T: Serialize + ?Sized>(
        &self,
        payload: &T,
        parents: &[EventId],
        kind: &str,
        vector: impl IntoVector,
    ) -> Result<EventHeader, StoreError> {
        self.commit_event(prepare(payload, parents, kind)?, vector)
    }

    /// As [`VaultBus::commit_as`].
    pub fn commit_as<T: Versioned>(
        &self,
        payload: &T,
        parents: &[EventId],
        vector: impl IntoVector,
    ) -> Result<EventHeader, StoreError> {
        let event = NewEvent::versioned(payload)?.parents(parents.iter().copied());
        self.commit_event(event, vector)
    }

    fn commit_event(&self, event: NewEvent, vector: impl IntoVector) -> Result<EventHeader, StoreError> {
        let asked = self.0.asked(vec![event], None, vector.into_vector());
        first_header(self.0.committer()?.ask_blocking(asked)?)
    }

    /// As [`VaultBus::commit_batch`].
    pub fn commit_batch(&self, events: Vec<NewEvent>) -> Result<Vec<Committed>, StoreError> {
        first_part(self.0.committer()?.ask_blocking(self.0.asked(events, None, None))?)
    }

    /// As [`VaultBus::commit_batch_at`].
    pub fn commit_batch_at(
        &self,
        expected: u64,
        events: Vec<NewEvent>,
    ) -> Result<Vec<Committed>, StoreError> {
        first_part(self.0.committer()?.ask_blocking(self.0.asked(events, Some(expected), None))?)
    }

    /// As [`VaultBus::commit_across`].
    pub fn commit_across(
        &self,
        parts: Vec<(LogId, Vec<NewEvent>)>,
    ) -> Result<Vec<Vec<Committed>>, StoreError> {
        self.0.committer()?.ask_blocking(self.0.asked_across(parts)?)
    }

    /// As [`VaultBus::fork`].
    pub fn fork(&self, seq: u64, name: LogId) -> Result<VaultBus, StoreError> {
        self.0.committer()?.ask_blocking(self.0.fork_asked(seq, &name))?;
        self.0.log(name)
    }
}
