//! Reading a log from front to back.

use std::collections::VecDeque;
use std::sync::Arc;

use toka_bus::{Filter, History, HistoryError};
use toka_types::Seal;

use crate::core::{LogId, Record};
use crate::store::{Store, StoreError};

/// Headers or records read at once: large enough to read the journal in long pieces, small enough to
/// stop early without waste.
const CHUNK: usize = 256;

/// The records of a log that pass a filter, in order. It ends at the head that it finds when it gets there.
pub struct Scan {
    store: Arc<dyn Store>,
    log: LogId,
    filter: Filter,
    next: u64,
    /// Numbers of the children of the filter's parent, where it names one: nothing else need be read.
    only: Option<VecDeque<u64>>,
    ready: VecDeque<Arc<Record>>,
    failed: bool,
    seal: Option<Arc<dyn Seal>>,
}

/// A log as the history of a feed.
pub struct LogHistory {
    store: Arc<dyn Store>,
    log: LogId,
    seal: Option<Arc<dyn Seal>>,
}

/// The records of `log` from number `from` on that pass `filter`.
pub fn scan(store: Arc<dyn Store>, log: LogId, from: u64, filter: Filter) -> Scan {
    Scan { store, log, filter, next: from, only: None, ready: VecDeque::new(), failed: false, seal: None }
}

impl Scan {
    /// Hands out records with their content opened, where there is anything that opens it.
    #[must_use]
    pub fn opened_by(mut self, seal: Option<Arc<dyn Seal>>) -> Self {
        self.seal = seal;
        self
    }

    fn fill(&mut self) -> Result<bool, StoreError> {
        if let Some(parent) = self.filter.parent {
            return self.fill_from_children(&parent);
        }
        if self.filter == Filter::all() {
            let records = self.store.read(&self.log, self.next, CHUNK)?;
            self.next += records.len() as u64;
            self.ready.extend(records);
            return Ok(!self.ready.is_empty());
        }
        loop {
            let headers = self.store.headers(&self.log, self.next, CHUNK)?;
            if headers.is_empty() {
                return Ok(false);
            }
            self.next += headers.len() as u64;
            for header in headers.iter().filter(|header| self.filter.matches(header)) {
                self.ready.extend(self.store.read(&self.log, header.seq, 1)?);
            }
            if !self.ready.is_empty() {
                return Ok(true);
            }
        }
    }

    fn fill_from_children(&mut self, parent: &toka_types::EventId) -> Result<bool, StoreError> {
        if self.only.is_none() {
            let children = self.store.children(parent)?.into_iter();
            let ours = children.filter(|(log, seq)| *log == self.log && *seq >= self.next);
            self.only = Some(ours.map(|(_, seq)| seq).collect());
        }
        while let Some(seq) = self.only.as_mut().and_then(VecDeque::pop_front) {
            let records = self.store.read(&self.log, seq, 1)?;
            self.ready.extend(records.into_iter().filter(|record| self.filter.matches(&record.header)));
            if !self.ready.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Iterator for Scan {
    type Item = Result<Arc<Record>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() && !self.failed {
            match self.fill() {
                Ok(_) => {}
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        let record = self.ready.pop_front()?;
        Some(Ok(match &self.seal {
            Some(seal) => seal.opened(&record),
            None => record,
        }))
    }
}

impl LogHistory {
    /// The history of `log` in `store`.
    pub fn new(store: Arc<dyn Store>, log: LogId) -> Self {
        Self { store, log, seal: None }
    }

    /// The same with content opened, where there is anything that opens it.
    #[must_use]
    pub fn opened_by(mut self, seal: Option<Arc<dyn Seal>>) -> Self {
        self.seal = seal;
        self
    }
}

impl History for LogHistory {
    fn read(&self, from: u64, limit: usize) -> Result<Vec<Arc<Record>>, HistoryError> {
        let read =
            self.store.read(&self.log, from, limit).map_err(|error| HistoryError(error.to_string()))?;
        Ok(match &self.seal {
            Some(seal) => read.iter().map(|record| seal.opened(record)).collect(),
            None => read,
        })
    }
}
