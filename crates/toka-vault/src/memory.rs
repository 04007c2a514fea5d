//! A store that lives and dies with the process: for tests, and for programs that keep nothing.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use toka_types::{Digest, EventHeader, EventId, Payload};

use crate::core::{LogId, Record};
use crate::hash::{LogTree, leaf_hash};
use crate::store::{Head, Room, Statistics, Store, StoreError, check_numbers};

/// Logs in memory, under the same contract as the durable stores.
#[derive(Default)]
pub struct MemoryStore {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    logs: Vec<Log>,
    contents: HashMap<Digest, Payload>,
    places: HashMap<EventId, Vec<Place>>,
    children: HashMap<EventId, Vec<Place>>,
    dimension: Option<u32>,
    statistics: Statistics,
    closed: bool,
}

struct Log {
    id: LogId,
    records: Vec<Arc<Record>>,
    tree: LogTree,
}

/// A log's index in [`Inner::logs`] and a number in it.
type Place = (usize, u64);

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn logs(&self) -> Result<Vec<LogId>, StoreError> {
        Ok(self.inner().logs.iter().map(|log| log.id.clone()).collect())
    }

    fn append(
        &self,
        log: &LogId,
        expected: u64,
        batch: &[Arc<Record>],
        _room: Room,
    ) -> Result<(), StoreError> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if inner.closed {
            return Err(StoreError::Closed);
        }
        let number = inner.logs.iter().position(|l| l.id == *log);
        let head = number.map_or(0, |n| inner.logs[n].records.len() as u64);
        check_numbers(log, head, expected, batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        let complete = inner.complete(batch)?;
        let number = number.unwrap_or_else(|| {
            inner.logs.push(Log { id: log.clone(), records: Vec::new(), tree: LogTree::new() });
            inner.logs.len() - 1
        });
        let mut bytes = Vec::new();
        for record in complete {
            bytes.clear();
            record.header.encode(&mut bytes);
            inner.statistics.events += 1;
            inner.statistics.log += bytes.len() as u64;
            let place = (number, record.header.seq);
            inner.places.entry(record.header.id).or_default().push(place);
            for (at, parent) in record.header.parents.iter().enumerate() {
                if !record.header.parents[..at].contains(parent) {
                    inner.children.entry(*parent).or_default().push(place);
                }
            }
            for payload in &record.content {
                let size = payload.bytes().len() as u64;
                if inner.contents.insert(payload.digest(), payload.clone()).is_some() {
                    inner.statistics.deduplicated += size;
                } else {
                    inner.statistics.log += size;
                }
            }
            inner.logs[number].tree.append(leaf_hash(&bytes));
            inner.logs[number].records.push(record);
        }
        Ok(())
    }

    fn head(&self, log: &LogId) -> Result<Head, StoreError> {
        let inner = self.inner();
        let Some(log) = inner.log(log) else { return Ok(Head::empty()) };
        let last = log.records.last().map(|record| &record.header);
        Ok(Head {
            next_seq: log.records.len() as u64,
            last: last.map(|header| header.id),
            last_at: last.map_or(toka_types::Timestamp::EPOCH, |header| header.at),
            root: log.tree.root(),
        })
    }

    fn read(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Arc<Record>>, StoreError> {
        Ok(self.inner().slice(log, from, limit).to_vec())
    }

    fn headers(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<EventHeader>, StoreError> {
        Ok(self.inner().slice(log, from, limit).iter().map(|record| record.header.clone()).collect())
    }

    fn find(&self, id: &EventId) -> Result<Option<(LogId, u64)>, StoreError> {
        let inner = self.inner();
        Ok(inner.places.get(id).and_then(|places| places.first()).map(|&place| inner.name(place)))
    }

    fn position(&self, log: &LogId, id: &EventId) -> Result<Option<u64>, StoreError> {
        let inner = self.inner();
        let mut places = inner.places.get(id).into_iter().flatten();
        Ok(places.find(|(number, _)| inner.logs[*number].id == *log).map(|&(_, seq)| seq))
    }

    fn find_prefix(&self, hex: &str, limit: usize) -> Result<Vec<(EventId, LogId, u64)>, StoreError> {
        let inner = self.inner();
        let hits = inner.places.iter().filter(|(id, _)| id.to_string().starts_with(hex)).take(limit);
        Ok(hits
            .filter_map(|(id, places)| {
                let (log, seq) = inner.name(*places.first()?);
                Some((*id, log, seq))
            })
            .collect())
    }

    fn content(&self, digest: &Digest) -> Result<Option<Payload>, StoreError> {
        Ok(self.inner().contents.get(digest).cloned())
    }

    fn children(&self, id: &EventId) -> Result<Vec<(LogId, u64)>, StoreError> {
        let inner = self.inner();
        Ok(inner.children.get(id).into_iter().flatten().map(|&place| inner.name(place)).collect())
    }

    fn dimension(&self) -> Result<Option<u32>, StoreError> {
        Ok(self.inner().dimension)
    }

    fn fix_dimension(&self, dimension: u32) -> Result<(), StoreError> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        match *inner.dimension.get_or_insert(dimension) {
            fixed if fixed == dimension => Ok(()),
            expected => Err(StoreError::Dimension { expected, found: dimension }),
        }
    }

    fn statistics(&self) -> Result<Statistics, StoreError> {
        Ok(self.inner().statistics)
    }

    fn close(&self) -> Result<(), StoreError> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner).closed = true;
        Ok(())
    }
}

impl Inner {
    fn log(&self, log: &LogId) -> Option<&Log> {
        self.logs.iter().find(|l| l.id == *log)
    }

    fn slice(&self, log: &LogId, from: u64, limit: usize) -> &[Arc<Record>] {
        let records = self.log(log).map_or(&[][..], |log| &log.records);
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(records.len());
        &records[from..records.len().min(from.saturating_add(limit))]
    }

    fn name(&self, (log, seq): Place) -> (LogId, u64) {
        (self.logs[log].id.clone(), seq)
    }

    /// The batch with all its content, or the first content that is missing.
    fn complete(&self, batch: &[Arc<Record>]) -> Result<Vec<Arc<Record>>, StoreError> {
        let fresh: HashMap<Digest, &Payload> =
            batch.iter().flat_map(|record| &record.content).map(|p| (p.digest(), p)).collect();
        let complete = |record: &Arc<Record>| {
            let given = record.content.iter().map(Payload::content_ref);
            if given.eq(record.header.content.iter().copied()) {
                return Ok(Arc::clone(record));
            }
            let content = record.header.content.iter().map(|wanted| {
                let found = fresh.get(&wanted.digest).copied().or_else(|| self.contents.get(&wanted.digest));
                found
                    .cloned()
                    .ok_or(StoreError::MissingContent { event: record.header.id, digest: wanted.digest })
            });
            let content = content.collect::<Result<Vec<_>, _>>()?;
            Ok(Arc::new(Record { header: record.header.clone(), content }))
        };
        batch.iter().map(complete).collect()
    }
}
