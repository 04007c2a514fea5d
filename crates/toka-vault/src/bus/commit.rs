//! The coalescing writer thread behind [`VaultBus`](super::VaultBus).
//!
//! Whoever commits stages the events: numbers them behind those that wait, checks them, and lays them down for the thread,
//! which writes and syncs what has come together meanwhile. While it does, the next batch is staged beside it: a group
//! waits for the disk, and hardly for the work on the group before.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use toka_bus::{Feed, FeedHandle};
use toka_types::{EntityId, Payload, Seal};
use tokio::sync::oneshot;

use super::vector::vector_event;
use crate::core::{LogId, Record};
use crate::scan::LogHistory;
use crate::store::{Part, Store, StoreError};
use crate::writer::{Batch, Committed, Draft, LogWriter, Mark, Staged, write_all};

/// Events of one group: a sync is shared by what arrived meanwhile, and nobody waits for an endless one.
const MAX_GROUP: usize = 1024;
/// Recent events of a log kept for subscribers; one that is slower reads from the store.
const FEED_BUFFER: usize = 4096;

/// The thread and what it shares with those who commit. Dropping it commits what waits, closes the store and waits for
/// both.
pub(super) struct Committer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    feeds: Arc<Feeds>,
}

struct Shared {
    front: Mutex<Front>,
    arrived: Condvar,
}

/// What a caller finds.
struct Front {
    /// Where events are staged. The thread takes it away while it does something there that may take long.
    desk: Option<Box<Desk>>,
    /// True if callers stage their events themselves: neither looking something up in the store nor sealing keeps them.
    at_once: bool,
    /// What the thread shall stage, in order. Nobody overtakes it.
    inbox: VecDeque<Request>,
    /// True if the thread waits to be told.
    idle: bool,
    /// True if nothing will be asked for any more.
    closed: bool,
    /// True if the thread is gone.
    ended: bool,
}

struct Request {
    asked: Asked,
    reply: oneshot::Sender<Reply>,
}

/// What was asked for comes back with what became of it: what the asker allocated it also frees. The writer's thread
/// would have to wait for the askers' allocators.
type Reply = Result<Vec<Ask>, StoreError>;

pub(super) enum Asked {
    /// Events for one or several logs; a vector belongs to the last event of the first part.
    Commit { parts: Vec<Ask>, vector: Option<Vec<f32>> },
    /// A fork of a log after one of its events.
    Fork { base: LogId, seq: u64, name: LogId, author: EntityId },
}

/// What a log shall be given.
pub(super) struct Ask {
    pub(super) log: LogId,
    /// The number that the first of the events shall get, if the asker cares.
    pub(super) expected: Option<u64>,
    events: Vec<Draft>,
    /// What became of the events.
    committed: Vec<Committed>,
    /// What the feed let go for them. The asker frees it.
    evicted: Vec<Arc<Record>>,
}

impl Ask {
    pub(super) fn new(log: LogId, expected: Option<u64>, events: Vec<Draft>) -> Self {
        // One more for a vector.
        let committed = Vec::with_capacity(events.len() + 1);
        let evicted = Vec::with_capacity(events.len());
        Self { log, expected, events, committed, evicted }
    }
}

/// The feeds of the logs that anybody has looked at.
struct Feeds {
    store: Arc<dyn Store>,
    seal: Option<Arc<dyn Seal>>,
    open: Mutex<HashMap<LogId, Feed>>,
}

impl Committer {
    /// What is committed is sealed with `seal`, and subscribers get it open.
    pub(super) fn start(
        store: Arc<dyn Store>,
        log: LogId,
        seal: Option<Arc<dyn Seal>>,
    ) -> Result<Self, StoreError> {
        // Opened now: if somebody else writes to the log from here on, the first commit finds out.
        let writer = LogWriter::open(Arc::clone(&store), log)?;
        let feeds = Arc::new(Feeds { store: Arc::clone(&store), seal: seal.clone(), open: Mutex::default() });
        let at_once = store.answers_at_once() && seal.is_none();
        let mut desk = Box::new(Desk {
            store,
            seal,
            numbers: HashMap::new(),
            writers: Vec::new(),
            trays: Vec::new(),
            waiting: Vec::new(),
            staged: 0,
        });
        desk.add(writer);
        let front = Front {
            desk: Some(desk),
            at_once,
            inbox: VecDeque::new(),
            idle: false,
            closed: false,
            ended: false,
        };
        let shared = Arc::new(Shared { front: Mutex::new(front), arrived: Condvar::new() });
        let scribe = Scribe { shared: Arc::clone(&shared), feeds: Arc::clone(&feeds) };
        let thread = std::thread::Builder::new()
            .name("toka-vault".into())
            .spawn(move || scribe.run())
            .map_err(|error| StoreError::Poisoned { reason: format!("no thread for the writer: {error}") })?;
        Ok(Self { shared, thread: Some(thread), feeds })
    }

    /// The feed of a log, which goes on from where the log ends now.
    pub(super) fn feed(&self, log: &LogId) -> Result<FeedHandle, StoreError> {
        self.feeds.handle(log)
    }

    /// What became of the events of each part.
    pub(super) async fn ask(&self, asked: Asked) -> Result<Vec<Vec<Committed>>, StoreError> {
        let answer = self.shared.hand_in(asked);
        answer.await.map_err(|_| StoreError::Closed)?.map(committed)
    }

    pub(super) fn ask_blocking(&self, asked: Asked) -> Result<Vec<Vec<Committed>>, StoreError> {
        let answer = self.shared.hand_in(asked);
        answer.blocking_recv().map_err(|_| StoreError::Closed)?.map(committed)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Front> {
        // A request is staged whole or not at all.
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stages what is asked for, or leaves it to the thread.
    fn hand_in(&self, asked: Asked) -> oneshot::Receiver<Reply> {
        let (reply, answer) = oneshot::channel();
        let request = Request { asked, reply };
        let mut front = self.lock();
        let Front { desk, at_once, inbox, ended, .. } = &mut *front;
        match desk {
            // Nobody will answer.
            _ if *ended => drop(request),
            Some(desk) if *at_once && inbox.is_empty() && desk.has_room() && !request.is_fork() => {
                desk.take(request);
            }
            _ => inbox.push_back(request),
        }
        if std::mem::take(&mut front.idle) {
            drop(front);
            self.arrived.notify_one();
        }
        answer
    }
}

impl Request {
    fn is_fork(&self) -> bool {
        matches!(self.asked, Asked::Fork { .. })
    }
}

fn committed(parts: Vec<Ask>) -> Vec<Vec<Committed>> {
    parts.into_iter().map(|part| part.committed).collect()
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.arrived.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the vault's writer thread panicked; the vault was not closed cleanly");
        }
        // Subscriptions read what is left, then hear that the feed is closed.
        self.feeds.lock().clear();
    }
}

impl Feeds {
    fn lock(&self) -> MutexGuard<'_, HashMap<LogId, Feed>> {
        // A feed is added whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, log: &LogId) -> Result<FeedHandle, StoreError> {
        let mut open = self.lock();
        if let Some(feed) = open.get(log) {
            return Ok(feed.handle());
        }
        // A batch that is durable by now and not published yet is: the feed takes it in as the past.
        let next = self.store.head(log)?.next_seq;
        let history = LogHistory::new(Arc::clone(&self.store), log.clone()).opened_by(self.seal.clone());
        let history = Arc::new(history);
        let feed = Feed::with_history(next, FEED_BUFFER, history);
        let handle = feed.handle();
        open.insert(log.clone(), feed);
        Ok(handle)
    }
}

/// A writer for each log that was written to, and what is staged for it.
struct Desk {
    store: Arc<dyn Store>,
    seal: Option<Arc<dyn Seal>>,
    numbers: HashMap<LogId, usize>,
    writers: Vec<LogWriter>,
    trays: Vec<Tray>,
    /// Who waits for what is staged.
    waiting: Vec<Waiting>,
    /// Events that are staged.
    staged: usize,
}

type Waiting = (oneshot::Sender<Reply>, Vec<Ask>);

/// What waits to be written to one log.
#[derive(Default)]
struct Tray {
    staged: Staged,
    /// The staged records with their content open, where it is sealed.
    open: Vec<Arc<Record>>,
}

/// What is written together.
struct Group {
    batches: Vec<Flight>,
    waiting: Vec<Waiting>,
}

/// What a group adds to one log.
struct Flight {
    number: usize,
    log: LogId,
    next: u64,
    batch: Arc<Batch>,
    dimension: Option<u32>,
    /// The records with their content open, where it is sealed.
    open: Vec<Arc<Record>>,
}

/// The thread.
struct Scribe {
    shared: Arc<Shared>,
    feeds: Arc<Feeds>,
}

impl Drop for Scribe {
    /// Whatever ended the thread, nobody waits for it.
    fn drop(&mut self) {
        let mut front = self.shared.lock();
        front.ended = true;
        front.desk = None;
        front.inbox.clear();
    }
}

impl Scribe {
    fn run(self) {
        let store = &*self.feeds.store;
        while let Some(group) = self.next_group() {
            let written = group.write(store);
            let evicted = if written.is_ok() { self.publish(&group) } else { Vec::new() };
            let behind = self.landed(&group, &written);
            answer(group.waiting, &written, evicted);
            answer(behind, &written, Vec::new());
        }
        if let Err(error) = store.close() {
            tracing::error!(%error, "the vault was not closed cleanly; the next opening recovers it");
        }
    }

    /// What is written next, once there is something; `None` when nothing will come.
    fn next_group(&self) -> Option<Group> {
        let mut front = self.shared.lock();
        while front.inbox.is_empty() && front.desk.as_ref()?.waiting.is_empty() {
            if front.closed {
                return None;
            }
            front.idle = true;
            front = self.shared.arrived.wait(front).unwrap_or_else(PoisonError::into_inner);
        }
        front.idle = false;
        if !front.inbox.is_empty() {
            let (mut desk, mut inbox) = (front.desk.take()?, std::mem::take(&mut front.inbox));
            drop(front);
            self.stage(&mut desk, &mut inbox);
            front = self.shared.lock();
            inbox.append(&mut front.inbox);
            (front.desk, front.inbox) = (Some(desk), inbox);
        }
        Some(front.desk.as_mut()?.fly())
    }

    /// Notes what became of a group; returns who waits for what was staged behind one that was not written.
    fn landed(&self, group: &Group, written: &Result<(), StoreError>) -> Vec<Waiting> {
        let mut front = self.shared.lock();
        let Err(error) = written else {
            front.desk.iter_mut().for_each(|desk| desk.landed(group));
            return Vec::new();
        };
        let Some(mut desk) = front.desk.take() else { return Vec::new() };
        drop(front);
        let behind = desk.failed(group, error);
        self.shared.lock().desk = Some(desk);
        behind
    }

    /// Stages what lies in the inbox, as far as it belongs into one group. A fork stands by itself.
    fn stage(&self, desk: &mut Desk, inbox: &mut VecDeque<Request>) {
        while desk.has_room()
            && let Some(request) = inbox.pop_front()
        {
            match request {
                fork if fork.is_fork() && !desk.waiting.is_empty() => {
                    inbox.push_front(fork);
                    return;
                }
                Request { asked: Asked::Fork { base, seq, name, author }, reply } => {
                    drop(reply.send(desk.fork(&self.feeds, &base, seq, name, author)));
                }
                commit => desk.take(commit),
            }
        }
    }

    /// Hands to subscribers what was written. Returns what gave way.
    fn publish(&self, group: &Group) -> Vec<Arc<Record>> {
        let feeds = self.feeds.lock();
        let mut evicted = Vec::new();
        for flight in &group.batches {
            if let Some(feed) = feeds.get(&flight.log) {
                evicted.extend(feed.publish(if flight.open.is_empty() {
                    &flight.batch.records
                } else {
                    &flight.open
                }));
            }
        }
        evicted
    }
}

/// Answers those who wait, and lets them free what gave way.
fn answer(waiting: Vec<Waiting>, written: &Result<(), StoreError>, mut evicted: Vec<Arc<Record>>) {
    for (reply, mut parts) in waiting {
        for part in &mut parts {
            let left = evicted.len().saturating_sub(part.committed.len());
            part.evicted.extend(evicted.drain(left..));
        }
        // Who asked may have gone; then nobody needs the answer.
        drop(reply.send(written.clone().map(|()| parts)));
    }
}

impl Group {
    fn write(&self, store: &dyn Store) -> Result<(), StoreError> {
        write_all(
            store,
            self.batches
                .iter()
                .map(|flight| (Part::new(&flight.log, flight.next, &flight.batch.records), flight.dimension)),
        )
    }
}

impl Desk {
    /// True if the group that is staged is not full.
    fn has_room(&self) -> bool {
        self.staged < MAX_GROUP
    }

    /// Stages all of a request, or nothing of it and answers it with the reason.
    fn take(&mut self, Request { asked, reply }: Request) {
        let Asked::Commit { mut parts, mut vector } = asked else { return };
        let mut before: Vec<(usize, Mark)> = Vec::with_capacity(parts.len());
        match parts.iter_mut().try_for_each(|part| self.stage_part(part, vector.take(), &mut before)) {
            Ok(()) => {
                self.staged += parts.iter().map(|part| part.committed.len()).sum::<usize>();
                self.waiting.push((reply, parts));
            }
            Err(error) => {
                before.into_iter().rev().for_each(|(number, mark)| self.trays[number].roll_back(mark));
                drop(reply.send(Err(error)));
            }
        }
    }

    /// Stages the events of one part; notes in `before` what to go back to.
    fn stage_part(
        &mut self,
        Ask { log, expected, events, committed, .. }: &mut Ask,
        vector: Option<Vec<f32>>,
        before: &mut Vec<(usize, Mark)>,
    ) -> Result<(), StoreError> {
        let number = self.number(log)?;
        if expected.is_some_and(|expected| expected > self.writers[number].next_seq())
            && self.trays[number].staged.is_idle()
        {
            // The asker may have seen what another writer of the store appended.
            self.writers[number] = self.writers[number].renewed()?;
        }
        let (writer, tray) = (&self.writers[number], &mut self.trays[number]);
        let seal = self.seal.as_deref();
        before.push((number, tray.staged.mark()));
        let head = writer.next_after(&tray.staged);
        if let Some(expected) = expected.filter(|expected| *expected != head) {
            return Err(StoreError::Conflict { log: log.clone(), expected, head });
        }
        for event in events.drain(..) {
            committed.push(tray.take(writer, seal, event)?);
        }
        if let (Some(vector), Some(of)) = (vector, committed.last()) {
            let event = vector_event(of.record.header.id, &vector)?;
            committed.push(tray.take(writer, seal, Draft::new(event))?);
        }
        Ok(())
    }

    fn number(&mut self, log: &LogId) -> Result<usize, StoreError> {
        if let Some(&number) = self.numbers.get(log) {
            return Ok(number);
        }
        let writer = LogWriter::open(Arc::clone(&self.store), log.clone())?;
        Ok(self.add(writer))
    }

    fn add(&mut self, writer: LogWriter) -> usize {
        let number = self.writers.len();
        self.numbers.insert(writer.log().clone(), number);
        self.writers.push(writer);
        self.trays.push(Tray::default());
        number
    }

    /// Hands out what is staged, to be written.
    fn fly(&mut self) -> Group {
        let trays = self.writers.iter().zip(&mut self.trays).enumerate();
        let staged = trays.filter(|(_, (_, tray))| !tray.staged.records().is_empty());
        let batches = staged.map(|(number, (writer, tray))| {
            let (log, next) = (writer.log().clone(), writer.next_seq());
            let (batch, dimension) = tray.staged.fly();
            Flight { number, log, next, batch, dimension, open: std::mem::take(&mut tray.open) }
        });
        let batches = batches.collect();
        self.staged = 0;
        Group { batches, waiting: std::mem::take(&mut self.waiting) }
    }

    /// Notes that a group is stored.
    fn landed(&mut self, group: &Group) {
        for flight in &group.batches {
            self.writers[flight.number].landed(&mut self.trays[flight.number].staged);
        }
    }

    /// Notes that a group is not stored. What was staged behind it counted on it, and is forgotten with it: returns who
    /// waits for that. After a conflict with another writer of the store the next group begins where the logs end by then.
    fn failed(&mut self, group: &Group, error: &StoreError) -> Vec<Waiting> {
        if let StoreError::Conflict { .. } = error {
            for writer in group.batches.iter().map(|flight| flight.number) {
                match self.writers[writer].renewed() {
                    Ok(renewed) => self.writers[writer] = renewed,
                    Err(error) => {
                        tracing::warn!(%error, "a log's end cannot be read; the next commit tries again");
                    }
                }
            }
        }
        self.trays.iter_mut().for_each(Tray::clear);
        self.staged = 0;
        std::mem::take(&mut self.waiting)
    }

    fn fork(&mut self, feeds: &Feeds, base: &LogId, seq: u64, name: LogId, author: EntityId) -> Reply {
        let (writer, record) = LogWriter::fork(Arc::clone(&self.store), base, seq, name.clone(), author)?;
        if let Some(feed) = feeds.lock().get(writer.log()) {
            feed.publish(std::slice::from_ref(&record));
        }
        match self.numbers.get(writer.log()) {
            Some(&number) => self.writers[number] = writer,
            None => drop(self.add(writer)),
        }
        let mut part = Ask::new(name, None, Vec::new());
        part.committed.push(Committed { record, new: true });
        Ok(vec![part])
    }
}

impl Tray {
    /// Stages an event, sealed where there is a seal.
    fn take(
        &mut self,
        writer: &LogWriter,
        seal: Option<&dyn Seal>,
        mut draft: Draft,
    ) -> Result<Committed, StoreError> {
        let Some(seal) = seal else { return writer.stage(&mut self.staged, draft) };
        let said = draft.seal(seal)?;
        let Committed { record, new } = writer.stage(&mut self.staged, draft)?;
        if !new {
            return Ok(Committed { record: seal.opened(&record), new });
        }
        let header = record.header.clone();
        let open =
            header.content.iter().zip(said).map(|(stored, said)| Payload::opened(*stored, said.shared()));
        let record = Arc::new(Record { content: open.collect(), header });
        self.open.push(Arc::clone(&record));
        Ok(Committed { record, new })
    }

    fn clear(&mut self) {
        self.staged.clear();
        self.open.clear();
    }

    fn roll_back(&mut self, mark: Mark) {
        self.staged.roll_back(mark);
        self.open.truncate(self.staged.records().len());
    }
}
