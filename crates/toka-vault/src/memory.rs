//! A store that lives and dies with the process: for tests, and for programs that keep nothing.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use toka_types::{Digest, EventHeader, EventId, Payload};

use crate::core::{LogId, Record};
use crate::fork::{Base, Lineage};
use crate::hash::{LogTree, leaf_hash};
use crate::store::{Head, Part, Room, Statistics, Store, StoreError, check_parts};

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
    base: Option<Base>,
    lineage: Lineage<usize>,
    /// The log's own ones.
    records: Vec<Arc<Record>>,
    /// The position of each among the events of all logs, in the order in which they were stored.
    ordinals: Vec<u64>,
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

    fn append_parts(&self, parts: &[Part<'_>], _room: Room) -> Result<(), StoreError> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if inner.closed {
            return Err(StoreError::Closed);
        }
        let next = |log: &LogId| Ok(inner.log(log).map(Log::next));
        let base = |log: &LogId| Ok(inner.log(log).and_then(|log| log.base.clone()));
        check_parts(parts, inner.logs.len(), next, base)?;
        let complete = inner.complete(parts)?;
        for (part, records) in parts.iter().zip(complete).filter(|(_, records)| !records.is_empty()) {
            let number = inner.number(part)?;
            records.into_iter().for_each(|record| inner.push(number, record));
        }
        Ok(())
    }

    fn base(&self, log: &LogId) -> Result<Option<Base>, StoreError> {
        Ok(self.inner().log(log).and_then(|log| log.base.clone()))
    }

    fn head(&self, log: &LogId) -> Result<Head, StoreError> {
        let inner = self.inner();
        let Some(log) = inner.log(log) else { return Ok(Head::empty()) };
        let last = log.records.last().map(|record| &record.header);
        Ok(Head {
            next_seq: log.next(),
            last: last.map(|header| header.id),
            last_at: last.map_or(toka_types::Timestamp::EPOCH, |header| header.at),
            root: log.tree.root(),
        })
    }

    fn read(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Arc<Record>>, StoreError> {
        Ok(self.inner().records(log, from, limit).cloned().collect())
    }

    fn headers(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<EventHeader>, StoreError> {
        Ok(self.inner().records(log, from, limit).map(|record| record.header.clone()).collect())
    }

    fn find(&self, id: &EventId) -> Result<Option<(LogId, u64)>, StoreError> {
        let inner = self.inner();
        Ok(inner.places.get(id).and_then(|places| places.first()).map(|&place| inner.name(place)))
    }

    fn position(&self, log: &LogId, id: &EventId) -> Result<Option<u64>, StoreError> {
        let inner = self.inner();
        let Some(log) = inner.log(log) else { return Ok(None) };
        let mut places = inner.places.get(id).into_iter().flatten();
        Ok(places.find(|(number, seq)| log.lineage.contains(number, *seq)).map(|&(_, seq)| seq))
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

    fn children_after(
        &self,
        id: &EventId,
        after: Option<&(LogId, u64)>,
        limit: usize,
    ) -> Result<Vec<(LogId, u64)>, StoreError> {
        let inner = self.inner();
        let children = inner.children.get(id).map_or(&[][..], Vec::as_slice);
        let first = match after {
            None => 0,
            Some(after) => match inner.ordinal(inner.logs.iter().position(|l| l.id == after.0), after.1) {
                Some(after) => {
                    children.partition_point(|&(log, seq)| inner.ordinal(Some(log), seq) <= Some(after))
                }
                None => return Ok(Vec::new()),
            },
        };
        Ok(children[first..].iter().take(limit).map(|&place| inner.name(place)).collect())
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

    fn answers_at_once(&self) -> bool {
        true
    }

    fn statistics(&self) -> Result<Statistics, StoreError> {
        Ok(self.inner().statistics)
    }

    fn close(&self) -> Result<(), StoreError> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner).closed = true;
        Ok(())
    }
}

impl Log {
    fn next(&self) -> u64 {
        self.lineage.own_from() + self.records.len() as u64
    }
}

impl Inner {
    fn log(&self, log: &LogId) -> Option<&Log> {
        self.logs.iter().find(|l| l.id == *log)
    }

    /// The number of a part's log, which is made if it is not there.
    fn number(&mut self, part: &Part<'_>) -> Result<usize, StoreError> {
        if let Some(number) = self.logs.iter().position(|log| log.id == *part.log) {
            return Ok(number);
        }
        let number = self.logs.len();
        let mut bases: Vec<Option<(usize, u64)>> =
            self.logs.iter().map(|log| self.place_of(&log.base)).collect();
        let base = part.base.cloned();
        bases.push(self.place_of(&base));
        let lineage = Lineage::new(number, |&log| Ok::<_, StoreError>(bases[log]))?;
        let mut tree = LogTree::new();
        if let Some(base) = &base {
            for record in self.records(&base.log, 0, usize::try_from(base.size).unwrap_or(usize::MAX)) {
                tree.append(leaf_hash(&record.header.to_bytes()));
            }
        }
        self.logs.push(Log {
            id: part.log.clone(),
            base,
            lineage,
            records: Vec::new(),
            ordinals: Vec::new(),
            tree,
        });
        Ok(number)
    }

    fn place_of(&self, base: &Option<Base>) -> Option<Place> {
        let base = base.as_ref()?;
        Some((self.logs.iter().position(|log| log.id == base.log)?, base.size))
    }

    fn push(&mut self, number: usize, record: Arc<Record>) {
        let bytes = record.header.to_bytes();
        self.statistics.events += 1;
        self.statistics.log += bytes.len() as u64;
        let place = (number, record.header.seq);
        self.places.entry(record.header.id).or_default().push(place);
        for (at, parent) in record.header.parents.iter().enumerate() {
            if !record.header.parents[..at].contains(parent) {
                self.children.entry(*parent).or_default().push(place);
            }
        }
        for payload in &record.content {
            let size = payload.bytes().len() as u64;
            if self.contents.insert(payload.digest(), payload.clone()).is_some() {
                self.statistics.deduplicated += size;
            } else {
                self.statistics.log += size;
            }
        }
        self.logs[number].tree.append(leaf_hash(&bytes));
        self.logs[number].records.push(record);
        self.logs[number].ordinals.push(self.statistics.events);
    }

    /// The records of a log, its own and those that it shares.
    fn records(&self, log: &LogId, from: u64, limit: usize) -> impl Iterator<Item = &Arc<Record>> {
        let log = self.log(log);
        // A log that is forked from it has more events than it by then, or the same.
        let end = log.map_or(0, Log::next);
        let limit = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX).min(limit);
        let stretches = log.into_iter().flat_map(move |log| log.lineage.stretches(from, limit));
        stretches.flat_map(|(&number, first, count)| {
            let log = &self.logs[number];
            let at = (first - log.lineage.own_from()) as usize;
            &log.records[at..at + count]
        })
    }

    /// The position of one of a log's own events among all.
    fn ordinal(&self, log: Option<usize>, seq: u64) -> Option<u64> {
        let log = &self.logs[log?];
        log.ordinals.get(seq.checked_sub(log.lineage.own_from())? as usize).copied()
    }

    fn name(&self, (log, seq): Place) -> (LogId, u64) {
        (self.logs[log].id.clone(), seq)
    }

    /// The records of each part with all their content, or the first content that is missing.
    fn complete(&self, parts: &[Part<'_>]) -> Result<Vec<Vec<Arc<Record>>>, StoreError> {
        let records = || parts.iter().flat_map(|part| part.records);
        let fresh: HashMap<Digest, &Payload> =
            records().flat_map(|record| &record.content).map(|p| (p.digest(), p)).collect();
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
        parts.iter().map(|part| part.records.iter().map(complete).collect()).collect()
    }
}
