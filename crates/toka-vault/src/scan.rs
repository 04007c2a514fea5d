//! Reading a log with a filter, forwards or backwards, from a cursor on.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use toka_bus::{Filter, History, HistoryError};
use toka_types::{EventId, Seal};

use crate::children::Children;
use crate::core::{LogId, Record};
use crate::store::{Store, StoreError};

/// Headers or records read at once: large enough to read the journal in long pieces, small enough to
/// stop early without waste. A scan holds no more than these.
const CHUNK: usize = 256;

/// The records of a log that pass a filter, in order. Forwards it ends at the head that it finds when it gets there,
/// and can be asked again later; backwards it ends at the first event.
///
/// ```
/// use toka_vault::core::Filter;
/// use toka_vault::scan::Cursor;
/// use toka_vault::{StoreError, VaultBus};
///
/// let vault = VaultBus::in_memory();
/// for n in 0..10 {
///     vault.blocking().commit(&n, &[], if n % 2 == 0 { "number.even" } else { "number.odd" }, ())?;
/// }
/// // A page of three from the end, and the next one, perhaps in another process.
/// let mut page = vault.scan_at(Cursor::END, Filter::all().kind("number.even"));
/// let seqs: Vec<u64> = page.by_ref().take(3).map(|event| event.unwrap().seq()).collect();
/// assert_eq!(seqs, [8, 6, 4]);
/// let cursor = page.cursor().to_string();
/// vault.blocking().commit(&10, &[], "number.even", ())?;
/// let rest = vault.scan_at(cursor.parse().unwrap(), Filter::all().kind("number.even"));
/// assert_eq!(rest.map(|event| event.unwrap().seq()).collect::<Vec<_>>(), [2, 0]);
/// # Ok::<(), StoreError>(())
/// ```
pub struct Scan {
    store: Arc<dyn Store>,
    log: LogId,
    filter: Filter,
    cursor: Cursor,
    /// The next number to look at forwards; backwards the one after it, or a number past the end.
    next: u64,
    /// Numbers that alone need be read, in the scan's direction: those of the children of the filter's parent, or what
    /// the caller knows.
    only: Option<VecDeque<u64>>,
    /// The parent's children behind those.
    further: Option<Children>,
    ready: VecDeque<Arc<Record>>,
    failed: bool,
    seal: Option<Arc<dyn Seal>>,
}

/// A place between two events of a log and the direction in which a scan goes on from there. As text it is `forward:N`,
/// which goes on with event N, or `backward:N`, which goes on with the event before N.
///
/// Events are never renumbered, so a cursor stays good for ever: what is appended later comes after every cursor,
/// forwards, and never, backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The number of the next event forwards; of the one after it backwards.
    pub seq: u64,
    /// Which way.
    pub direction: Direction,
}

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From older to newer events.
    Forward,
    /// From newer to older events.
    Backward,
}

/// A text that is no cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no cursor; one is `forward:N` or `backward:N` with the number of an event")]
pub struct CursorError(String);

/// A log as the history of a feed.
pub struct LogHistory {
    store: Arc<dyn Store>,
    log: LogId,
    seal: Option<Arc<dyn Seal>>,
}

/// The records of `log` from number `from` on that pass `filter`.
pub fn scan(store: Arc<dyn Store>, log: LogId, from: u64, filter: Filter) -> Scan {
    Scan::at(store, log, Cursor { seq: from, direction: Direction::Forward }, filter)
}

impl Cursor {
    /// Forwards from the first event.
    pub const START: Self = Self { seq: 0, direction: Direction::Forward };
    /// Backwards from the last event.
    pub const END: Self = Self { seq: u64::MAX, direction: Direction::Backward };
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.direction {
            Direction::Forward => write!(f, "forward:{}", self.seq),
            Direction::Backward => write!(f, "backward:{}", self.seq),
        }
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let error = || CursorError(text.chars().take(64).collect());
        let (direction, seq) = match text.split_once(':') {
            Some(("forward", seq)) => (Direction::Forward, seq),
            Some(("backward", seq)) => (Direction::Backward, seq),
            _ => return Err(error()),
        };
        // `parse` alone would take a sign.
        let digits = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
        let seq = seq.parse().ok().filter(|_| digits).ok_or_else(error)?;
        Ok(Self { seq, direction })
    }
}

impl Scan {
    /// The records of `log` that pass `filter`, from `cursor` on.
    pub fn at(store: Arc<dyn Store>, log: LogId, cursor: Cursor, filter: Filter) -> Self {
        let (only, further, ready) = (None, None, VecDeque::new());
        Self { store, log, filter, cursor, next: cursor.seq, only, further, ready, failed: false, seal: None }
    }

    /// Hands out records with their content opened, where there is anything that opens it.
    #[must_use]
    pub fn opened_by(mut self, seal: Option<Arc<dyn Seal>>) -> Self {
        self.seal = seal;
        self
    }

    /// Only the events with these numbers: what an index elsewhere knows, as the members of an intent or the hits of
    /// a search. The filter still has to hold.
    #[must_use]
    pub fn among(mut self, seqs: impl IntoIterator<Item = u64>) -> Self {
        self.only = Some(self.in_order(seqs.into_iter().collect()));
        self
    }

    /// Where the scan goes on after the record that it handed out last: give it to another scan to resume there.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    fn forward(&self) -> bool {
        self.cursor.direction == Direction::Forward
    }

    /// Those of `seqs` that lie ahead, in the scan's direction.
    fn in_order(&self, mut seqs: Vec<u64>) -> VecDeque<u64> {
        seqs.retain(|seq| if self.forward() { *seq >= self.next } else { *seq < self.next });
        seqs.sort_unstable();
        seqs.dedup();
        if !self.forward() {
            seqs.reverse();
        }
        seqs.into()
    }

    fn fill(&mut self) -> Result<(), StoreError> {
        if self.only.is_none()
            && let Some(parent) = self.filter.parent
        {
            self.only = Some(self.children(parent)?);
        }
        if self.only.is_some() {
            return self.fill_from_known();
        }
        while self.ready.is_empty() {
            let (from, limit) = if self.forward() {
                (self.next, CHUNK)
            } else {
                let end = self.next.min(self.store.head(&self.log)?.next_seq);
                let from = end.saturating_sub(CHUNK as u64);
                (from, (end - from) as usize)
            };
            if limit == 0 {
                return Ok(());
            }
            let read = if self.filter == Filter::all() {
                let records = self.store.read(&self.log, from, limit)?;
                self.ready.extend(records.iter().cloned());
                records.len() as u64
            } else {
                let headers = self.store.headers(&self.log, from, limit)?;
                for header in headers.iter().filter(|header| self.filter.matches(header)) {
                    self.ready.extend(self.store.read(&self.log, header.seq, 1)?);
                }
                headers.len() as u64
            };
            if read == 0 {
                return Ok(());
            }
            if self.forward() {
                self.next = from + read;
            } else {
                self.next = from;
                self.ready.make_contiguous().reverse();
            }
        }
        Ok(())
    }

    /// The numbers of an event's children in the scan's direction: forwards those that come next, the others when they
    /// are needed; backwards all, eight bytes each.
    fn children(&mut self, parent: EventId) -> Result<VecDeque<u64>, StoreError> {
        let from = if self.forward() { self.next } else { 0 };
        let mut children = Children::of(&*self.store, &self.log, parent, from)?;
        let mut seqs = children.next(&*self.store)?;
        if self.forward() {
            self.further = Some(children);
            return Ok(seqs.into());
        }
        loop {
            let mut more = children.next(&*self.store)?;
            if more.is_empty() {
                return Ok(self.in_order(seqs));
            }
            seqs.append(&mut more);
        }
    }

    fn next_known(&mut self) -> Result<Option<u64>, StoreError> {
        let Some(only) = &mut self.only else { return Ok(None) };
        if only.is_empty()
            && let Some(further) = &mut self.further
        {
            only.extend(further.next(&*self.store)?);
        }
        Ok(only.pop_front())
    }

    fn fill_from_known(&mut self) -> Result<(), StoreError> {
        while self.ready.is_empty()
            && let Some(seq) = self.next_known()?
        {
            let records = self.store.read(&self.log, seq, 1)?;
            self.ready.extend(records.into_iter().filter(|record| self.filter.matches(&record.header)));
        }
        Ok(())
    }
}

impl Iterator for Scan {
    type Item = Result<Arc<Record>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() && !self.failed {
            match self.fill() {
                Ok(()) => {}
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        let record = self.ready.pop_front()?;
        self.cursor.seq = record.header.seq + u64::from(self.forward());
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
