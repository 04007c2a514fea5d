//! The one writer of a log, called in line by the thread that owns it.

mod staged;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use toka_types::{Digest, EntityId, EventHeader, EventId, Gone, Timestamp};

use crate::bus::vector;
use crate::core::{LogId, NewEvent, Record};
use crate::fork;
use crate::hash::DigestState;
use crate::store::{Head, Part, Room, Store, StoreError};

pub(crate) use staged::{Batch, Draft, Mark, Staged};

/// Up to this many events of a batch are searched one by one; a larger batch gets a table. The sync of a small batch
/// hides that its ids are computed again.
const SMALL_BATCH: usize = 16;
/// Authors whose last event is remembered. An author beyond it costs one look-up, nothing else.
const MAX_AUTHORS: usize = 1 << 16;

/// Appends to one log. It holds what makes the usual event cheap: the head, and each author's last event.
///
/// A log has one `LogWriter`; a second one gets [`StoreError::Conflict`] with its first append.
pub struct LogWriter {
    store: Arc<dyn Store>,
    log: LogId,
    next: u64,
    last_at: Timestamp,
    own: Option<Own>,
    heads: Heads,
    /// The same for the part of the batch in hand that has been checked.
    ahead: Heads,
    /// The events of a batch of more than [`SMALL_BATCH`], by id, once one is looked for.
    table: OnceCell<HashMap<EventId, u64, DigestState>>,
}

/// A fork's own part.
#[derive(Clone, Copy)]
struct Own {
    /// The number of its first event.
    from: u64,
    /// That event: the previous one of every author's first event in the fork.
    forked: EventId,
}

/// What became of an event handed to [`LogWriter::commit_batch`].
#[derive(Clone, Debug)]
pub struct Committed {
    /// The event as stored.
    pub record: Arc<Record>,
    /// False if the identical event had been stored before: this is that one.
    pub new: bool,
}

impl LogWriter {
    /// A writer at the end of `log`.
    pub fn open(store: Arc<dyn Store>, log: LogId) -> Result<Self, StoreError> {
        let head = store.head(&log)?;
        let own = match store.base(&log)? {
            Some(base) => {
                store.headers(&log, base.size, 1)?.first().map(|h| Own { from: h.seq, forked: h.id })
            }
            None => None,
        };
        Ok(Self::at(store, log, (head.next_seq, head.last_at), own))
    }

    /// A writer at the end that the log has by now.
    pub(crate) fn renewed(&self) -> Result<Self, StoreError> {
        Self::open(Arc::clone(&self.store), self.log.clone())
    }

    /// Forks `base` after its event number `seq`: makes the log `name`, durably, with its first own event by `author`,
    /// and returns a writer at its end.
    ///
    /// # Errors
    /// [`StoreError::ForkPoint`] if there is no such event, [`StoreError::LogExists`] if there is a log `name`.
    pub fn fork(
        store: Arc<dyn Store>,
        base: &LogId,
        seq: u64,
        name: LogId,
        author: EntityId,
    ) -> Result<(Self, Arc<Record>), StoreError> {
        let (point, last) = fork::point(&*store, base, seq)?;
        let event = fork::forked_event(base, &last, fork::nonce())?.author(author);
        let mut draft = Draft::new(event).named();
        let header = &mut draft.record_mut().header;
        (header.seq, header.at) = (point.size, now().max(last.at));
        let own = Own { from: header.seq, forked: header.id };
        let record = draft.record;
        let records = [Arc::clone(&record)];
        let part = Part { log: &name, expected: point.size, records: &records, base: Some(&point) };
        store.append_parts(&[part], Room::Ordinary)?;
        let after = (record.header.seq + 1, record.header.at);
        let mut writer = Self::at(store, name, after, Some(own));
        writer.heads.insert(author, record.header.id);
        Ok((writer, record))
    }

    fn at(store: Arc<dyn Store>, log: LogId, (next, last_at): (u64, Timestamp), own: Option<Own>) -> Self {
        let (heads, ahead, table) = (Heads::default(), Heads::default(), OnceCell::new());
        Self { store, log, next, last_at, own, heads, ahead, table }
    }

    /// The log.
    pub fn log(&self) -> &LogId {
        &self.log
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The number that the next event gets.
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// The time of the last event: no later one may lie before it.
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// Where the log ends, with the root of its tree.
    pub fn head(&self) -> Result<Head, StoreError> {
        self.store.head(&self.log)
    }

    /// True if the event is in the log.
    pub fn contains(&self, id: &EventId) -> Result<bool, StoreError> {
        Ok(self.store.position(&self.log, id)?.is_some())
    }

    /// Appends complete records, durably when it returns. Bounds, numbers, times, ids, content and causes
    /// are checked first; the first violation is the error, and nothing is stored.
    pub fn append_records(&mut self, batch: &[Arc<Record>], room: Room) -> Result<(), StoreError> {
        self.append_gone(batch, &HashMap::new(), room)
    }

    /// As [`append_records`](Self::append_records), for records of which some content is not there any more, for the
    /// reasons in `gone`; [`Store::append_gone`] says what becomes of it.
    pub fn append_gone(
        &mut self,
        batch: &[Arc<Record>],
        gone: &HashMap<Digest, Gone>,
        room: Room,
    ) -> Result<(), StoreError> {
        self.append_checked(batch, gone, room, true)
    }

    /// As [`append_records`](Self::append_records), for whoever has just computed the ids from these very headers, as
    /// the kernel does: those of a batch of more than 16 records are not computed once more, which would be a sixth of
    /// all work on it. (Debug builds compute them.) A wrong one is found by whoever reads the event, and by `verify`.
    pub fn append_computed(&mut self, batch: &[Arc<Record>], room: Room) -> Result<(), StoreError> {
        let check_ids = batch.len() <= SMALL_BATCH || cfg!(debug_assertions);
        self.append_checked(batch, &HashMap::new(), room, check_ids)
    }

    fn append_checked(
        &mut self,
        batch: &[Arc<Record>],
        gone: &HashMap<Digest, Gone>,
        room: Room,
        check_ids: bool,
    ) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let checked = self.check_all(batch, check_ids);
        self.table.take();
        self.ahead.clear();
        self.write(batch, checked?, gone, room)
    }

    /// Commits one event; [`LogWriter::commit_batch`] says how.
    pub fn commit(&mut self, event: NewEvent) -> Result<Committed, StoreError> {
        let mut committed = self.commit_batch(vec![event])?;
        committed.pop().ok_or(StoreError::Closed)
    }

    /// Gives each event its number, time and id and appends them in one batch, durably when it returns.
    /// An event that is in the log already, or earlier in the batch, is not stored again: the first record
    /// is returned for it. The first violation is the error, and nothing is stored.
    ///
    /// In a fork, an event without `prev`, or with one from before the fork, gets the fork's first event as its `prev`:
    /// it is another event than the one that says the same in another log.
    pub fn commit_batch(&mut self, events: Vec<NewEvent>) -> Result<Vec<Committed>, StoreError> {
        let mut staged = Staged::default();
        let committed = events
            .into_iter()
            .map(|event| self.stage(&mut staged, Draft::new(event)))
            .collect::<Result<Vec<_>, _>>()?;
        self.write_staged(&staged)?;
        Ok(committed)
    }

    /// As [`commit_batch`](Self::commit_batch) for several logs of one store: all of it is stored in one atomic batch,
    /// or nothing. Causes are looked for in each event's own log; [`Elsewhere`](crate::core::Elsewhere) names one in
    /// another.
    pub fn commit_across(parts: Vec<(&mut Self, Vec<NewEvent>)>) -> Result<Vec<Vec<Committed>>, StoreError> {
        let mut all = Vec::with_capacity(parts.len());
        let mut writers = Vec::with_capacity(parts.len());
        for (writer, events) in parts {
            let mut staged = Staged::default();
            let committed = events.into_iter().map(|event| writer.stage(&mut staged, Draft::new(event)));
            all.push(committed.collect::<Result<Vec<_>, _>>()?);
            writers.push((writer, staged));
        }
        let Some((first, _)) = writers.first() else { return Ok(all) };
        let store = Arc::clone(&first.store);
        if let Some((other, _)) = writers.iter().find(|(writer, _)| !Arc::ptr_eq(&writer.store, &store)) {
            return Err(StoreError::OtherStore { log: other.log.clone() });
        }
        write_all(
            &*store,
            writers.iter().map(|(writer, staged)| {
                (Part::new(&writer.log, writer.next, staged.records()), staged.dimension)
            }),
        )?;
        for (writer, staged) in writers {
            writer.note(staged.records());
        }
        Ok(all)
    }

    /// Checks an event against the log and what is staged, and adds it there if it is new.
    pub(crate) fn stage(&self, staged: &mut Staged, draft: Draft) -> Result<Committed, StoreError> {
        let Draft { mut record, at, mut named } = draft;
        let header = &mut Arc::make_mut(&mut record).header;
        header.seq = self.next_after(staged);
        header.at = at.unwrap_or_else(now).max(staged.last_at).max(self.last_at);
        if let Some(own) = self.own
            && !self.is_next_of_author(header)
            && !header.prev.is_some_and(|prev| staged.contains(&prev))
            && self.is_before_fork(own, header.prev.as_ref())?
        {
            header.prev = Some(own.forked);
            named = false;
        }
        header.check_bounds()?;
        if !named {
            header.id = header.causal_digest();
        }
        let id = header.id;
        if let Some(record) = staged.get(&id) {
            return Ok(Committed { record, new: false });
        }
        if !self.is_next_of_author(header)
            && let Some(seq) = self.store.position(&self.log, &id)?
            && let Some(record) = self.store.read(&self.log, seq, 1)?.pop()
        {
            return Ok(Committed { record, new: false });
        }
        self.check_causes(header, |missing| staged.contains(missing))?;
        vector::check_dimension(&*self.store, header, &mut staged.dimension)?;
        staged.last_at = header.at;
        staged.batch.push(id, Arc::clone(&record));
        Ok(Committed { record, new: true })
    }

    /// Stores what was staged.
    fn write_staged(&mut self, staged: &Staged) -> Result<(), StoreError> {
        self.write(staged.records(), staged.dimension, &HashMap::new(), Room::Ordinary)
    }

    fn write(
        &mut self,
        batch: &[Arc<Record>],
        dimension: Option<u32>,
        gone: &HashMap<Digest, Gone>,
        room: Room,
    ) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(dimension) = dimension {
            self.store.fix_dimension(dimension)?;
        }
        self.store.append_gone(&[Part::new(&self.log, self.next, batch)], gone, room)?;
        self.note(batch);
        Ok(())
    }

    /// The number of the next event that is staged.
    pub(crate) fn next_after(&self, staged: &Staged) -> u64 {
        self.next + staged.len() as u64
    }

    /// Notes that what [flew](Staged::fly) is stored.
    pub(crate) fn landed(&mut self, staged: &mut Staged) {
        self.note(&std::mem::take(&mut staged.flying).records);
    }

    /// Notes that `batch` was appended.
    fn note(&mut self, batch: &[Arc<Record>]) {
        self.next += batch.len() as u64;
        for record in batch {
            self.last_at = record.header.at;
            self.heads.insert(record.header.author, record.header.id);
        }
    }

    /// Checks the batch; returns the dimensions of its vectors, if it has any.
    fn check_all(&mut self, batch: &[Arc<Record>], check_ids: bool) -> Result<Option<u32>, StoreError> {
        let mut last_at = self.last_at;
        let mut dimension = None;
        for (index, record) in batch.iter().enumerate() {
            let header = &record.header;
            header.check_bounds()?;
            let (expected, found) = (self.next + index as u64, header.seq);
            if expected != found {
                return Err(StoreError::Sequence { log: self.log.clone(), id: header.id, expected, found });
            }
            if header.at < last_at {
                return Err(StoreError::Time { id: header.id, previous: last_at, found: header.at });
            }
            last_at = header.at;
            if check_ids {
                let computed = header.causal_digest();
                if computed != header.id {
                    return Err(StoreError::Id { seq: header.seq, claimed: header.id, computed });
                }
            }
            self.check_new(batch, index, header)?;
            self.check_content(record)?;
            self.check_causes(header, |id| self.number_in(batch, index, id).is_some())?;
            self.check_fork(header, |id| self.number_in(batch, index, id).is_some())?;
            vector::check_dimension(&*self.store, header, &mut dimension)?;
            if batch.len() > 1 {
                self.ahead.insert(header.author, header.id);
            }
        }
        Ok(dimension)
    }

    fn check_new(&self, batch: &[Arc<Record>], index: usize, header: &EventHeader) -> Result<(), StoreError> {
        if self.is_next_of_author(header) {
            return Ok(());
        }
        let seq = match self.number_in(batch, index, &header.id) {
            Some(seq) => Some(seq),
            None => self.store.position(&self.log, &header.id)?,
        };
        match seq {
            Some(seq) => Err(StoreError::Duplicate { log: self.log.clone(), id: header.id, seq }),
            None => Ok(()),
        }
    }

    fn check_content(&self, record: &Record) -> Result<(), StoreError> {
        let event = record.header.id;
        for payload in &record.content {
            let Some(named) = record.header.content.iter().find(|c| c.digest == payload.digest()) else {
                let digest = payload.digest();
                return Err(StoreError::MissingContent { event, digest });
            };
            let (claimed, found) = (u64::from(named.size), payload.bytes().len() as u64);
            if claimed != found {
                return Err(StoreError::ContentSize { event, digest: named.digest, claimed, found });
            }
        }
        Ok(())
    }

    fn check_causes(
        &self,
        header: &EventHeader,
        staged: impl Fn(&EventId) -> bool,
    ) -> Result<(), StoreError> {
        let missing = |missing: &EventId, role| StoreError::MissingEvent {
            log: self.log.clone(),
            event: header.id,
            missing: *missing,
            role,
        };
        if let Some(prev) = &header.prev
            && !self.is_next_of_author(header)
            && !staged(prev)
            && !self.contains(prev)?
        {
            return Err(missing(prev, "prev"));
        }
        let check = |parent: &EventId| -> ControlFlow<Result<EventId, StoreError>> {
            if self.head_of(&header.author) == Some(parent) || staged(parent) {
                return ControlFlow::Continue(());
            }
            match self.contains(parent) {
                Ok(true) => ControlFlow::Continue(()),
                Ok(false) => ControlFlow::Break(Ok(*parent)),
                Err(error) => ControlFlow::Break(Err(error)),
            }
        };
        match header.parents.iter().try_for_each(check) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(Ok(parent)) => Err(missing(&parent, "parent")),
            ControlFlow::Break(Err(error)) => Err(error),
        }
    }

    /// Checks that the event's id is the fork's own: that its author's chain goes back to the fork's first event.
    fn check_fork(
        &self,
        header: &EventHeader,
        in_batch: impl Fn(&EventId) -> bool,
    ) -> Result<(), StoreError> {
        let Some(own) = self.own else { return Ok(()) };
        let (event, prev, forked) = (header.id, header.prev, own.forked);
        if self.is_next_of_author(header)
            || prev.as_ref().is_some_and(in_batch)
            || !self.is_before_fork(own, prev.as_ref())?
        {
            return Ok(());
        }
        Err(StoreError::BeforeFork { log: self.log.clone(), event, prev, forked })
    }

    /// True if an author's previous event is none or one of those that the fork shares.
    fn is_before_fork(&self, own: Own, prev: Option<&EventId>) -> Result<bool, StoreError> {
        let Some(prev) = prev else { return Ok(true) };
        Ok(*prev != own.forked && self.store.position(&self.log, prev)?.is_some_and(|seq| seq < own.from))
    }

    /// True if `prev` is the last event of its author, stored or checked before in this batch: then the event
    /// cannot be there yet.
    fn is_next_of_author(&self, header: &EventHeader) -> bool {
        header.prev.is_some() && self.head_of(&header.author) == header.prev.as_ref()
    }

    fn head_of(&self, author: &EntityId) -> Option<&EventId> {
        self.ahead.get(author).or_else(|| self.heads.get(author))
    }

    /// The number of the event `id` if it is one of the first `index` records of the batch.
    fn number_in(&self, batch: &[Arc<Record>], index: usize, id: &EventId) -> Option<u64> {
        if index <= SMALL_BATCH {
            return batch[..index].iter().map(|r| &r.header).find(|h| h.id == *id).map(|h| h.seq);
        }
        // The first of two equal ids stays, so that the second is found to be a duplicate.
        let table = || batch.iter().rev().map(|record| (record.header.id, record.header.seq)).collect();
        let seq = self.table.get_or_init(table).get(id).copied();
        seq.filter(|&seq| seq < self.next + index as u64)
    }
}

/// The last event of each author. Most events follow one of the same author, which is kept at hand.
#[derive(Default)]
struct Heads {
    last: Option<(EntityId, EventId)>,
    others: HashMap<EntityId, EventId, DigestState>,
}

impl Heads {
    fn get(&self, author: &EntityId) -> Option<&EventId> {
        match &self.last {
            Some((last, id)) if last == author => Some(id),
            _ => self.others.get(author),
        }
    }

    fn insert(&mut self, author: EntityId, id: EventId) {
        match &mut self.last {
            Some((last, head)) if *last == author => *head = id,
            last => {
                if self.others.len() >= MAX_AUTHORS {
                    self.others.clear();
                }
                self.others.extend(last.replace((author, id)));
            }
        }
    }

    fn clear(&mut self) {
        self.last = None;
        self.others.clear();
    }
}

/// Stores batches of several logs of `store`, each of which goes on from a number: all of it or nothing. With them come
/// the dimensions of their vectors.
pub(crate) fn write_all<'a>(
    store: &dyn Store,
    batches: impl Iterator<Item = (Part<'a>, Option<u32>)>,
) -> Result<(), StoreError> {
    let mut fixed = None;
    let mut parts = Vec::new();
    for (part, dimension) in batches.filter(|(part, _)| !part.records.is_empty()) {
        if let Some((found, expected)) = dimension.zip(fixed).filter(|(found, expected)| found != expected) {
            return Err(StoreError::Dimension { expected, found });
        }
        fixed = fixed.or(dimension);
        parts.push(part);
    }
    if let Some(dimension) = fixed {
        store.fix_dimension(dimension)?;
    }
    if parts.is_empty() { Ok(()) } else { store.append_parts(&parts, Room::Ordinary) }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::EPOCH.saturating_add(since)
}
