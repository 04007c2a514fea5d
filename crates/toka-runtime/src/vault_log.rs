//! The log `main` of a vault.

use std::sync::Arc;

use toka_types::{Digest, Event, EventHeader, EventId};
use toka_vault::{Children, LogId, LogWriter, Room, Store, StoreError};

use crate::log::{LogError, LogRead, LogWrite};
use crate::sealing::Edge;

/// Both ends of a vault's log.
pub(crate) struct VaultLog {
    pub(crate) writer: LogWriter,
}

pub(crate) struct VaultReader {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) log: LogId,
    pub(crate) edge: Edge,
}

impl From<StoreError> for LogError {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Full { .. } => Self::Full(text),
            StoreError::Damage { .. } | StoreError::Corrupt { .. } => Self::Damaged(text),
            _ => Self::Failed(text),
        }
    }
}

impl LogWrite for VaultLog {
    fn append(&mut self, batch: &[Arc<Event>], reserved: bool) -> Result<(), LogError> {
        let room = if reserved { Room::Reserved } else { Room::Ordinary };
        Ok(self.writer.append_computed(batch, room)?)
    }

    fn close(&mut self) -> Result<(), LogError> {
        Ok(self.writer.store().close()?)
    }
}

impl LogRead for VaultReader {
    fn headers(&self, from: u64, limit: usize) -> Result<Vec<EventHeader>, LogError> {
        Ok(self.store.headers(&self.log, from, limit)?)
    }

    fn find(&self, id: &EventId) -> Result<Option<Arc<Event>>, LogError> {
        match self.store.position(&self.log, id)? {
            Some(seq) => {
                let event = self.store.read(&self.log, seq, 1)?.into_iter().next();
                Ok(event.map(|event| self.edge.opened(event)))
            }
            None => Ok(None),
        }
    }

    fn contains(&self, id: &EventId) -> Result<bool, LogError> {
        Ok(self.store.position(&self.log, id)?.is_some())
    }

    fn child(&self, id: &EventId, kind: &str) -> Result<Option<Arc<Event>>, LogError> {
        let store = self.store.as_ref();
        let mut children = Children::of(store, &self.log, *id, 0)?;
        loop {
            let page = children.next(store)?;
            if page.is_empty() {
                return Ok(None);
            }
            for seq in page {
                let is_it = |header: &EventHeader| header.seq == seq && header.kind == *kind;
                if store.headers(&self.log, seq, 1)?.first().is_some_and(is_it) {
                    let event = store.read(&self.log, seq, 1)?.into_iter().next();
                    return Ok(event.map(|event| self.edge.opened(event)));
                }
            }
        }
    }

    fn origin(&self) -> Result<Option<String>, LogError> {
        Ok(toka_vault::store::default_origin(&*self.store, &self.log)?)
    }

    fn content(&self, digest: &Digest) -> Result<Option<Vec<u8>>, LogError> {
        let stored = self.store.content(digest)?;
        Ok(stored.and_then(|stored| self.edge.opened_content(stored)).map(|content| content.bytes().to_vec()))
    }
}
