//! The coalescing writer thread behind [`VaultBus`](super::VaultBus).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use toka_bus::{Feed, FeedHandle};
use toka_types::{EntityId, Payload, Seal};
use tokio::sync::{mpsc, oneshot};

use super::vector::vector_event;
use crate::core::{LogId, Record};
use crate::scan::LogHistory;
use crate::store::{Store, StoreError};
use crate::writer::{Committed, Draft, LogWriter, Mark, Staged, write_all};

/// Requests that wait for the writer; more than that and committers wait instead.
const QUEUE: usize = 1024;
/// Events of one group: a sync is shared by what arrived meanwhile, and nobody waits for an endless one.
const MAX_GROUP: usize = 1024;
/// A group waits for the usual company at most this part of what a write takes, each time that nobody is there.
const SHARE_OF_WRITE: u32 = 2;
/// A write that took longer was held up by something else.
const LONGEST_WRITE: Duration = Duration::from_millis(2);
/// Recent events of a log kept for subscribers; one that is slower reads from the store.
const FEED_BUFFER: usize = 4096;

/// The thread and the queue to it. Dropping it commits what is queued, closes the store and waits for
/// both.
pub(super) struct Committer {
    queue: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    feeds: Arc<Feeds>,
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
        let (queue, requests) = mpsc::channel(QUEUE);
        let (numbers, writers, staged) = (HashMap::new(), Vec::new(), Vec::new());
        let (company, evicted) = (Company::default(), Vec::new());
        let mut desk =
            Desk { store, seal, feeds: Arc::clone(&feeds), numbers, writers, staged, company, evicted };
        desk.add(writer);
        let thread = std::thread::Builder::new()
            .name("toka-vault".into())
            .spawn(move || run(desk, requests))
            .map_err(|error| StoreError::Poisoned { reason: format!("no thread for the writer: {error}") })?;
        Ok(Self { queue: Some(queue), thread: Some(thread), feeds })
    }

    /// The feed of a log, which goes on from where the log ends now.
    pub(super) fn feed(&self, log: &LogId) -> Result<FeedHandle, StoreError> {
        self.feeds.handle(log)
    }

    /// What became of the events of each part.
    pub(super) async fn ask(&self, asked: Asked) -> Result<Vec<Vec<Committed>>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        queue.send(Request { asked, reply }).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?.map(committed)
    }

    pub(super) fn ask_blocking(&self, asked: Asked) -> Result<Vec<Vec<Committed>>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        queue.blocking_send(Request { asked, reply }).map_err(|_| StoreError::Closed)?;
        answer.blocking_recv().map_err(|_| StoreError::Closed)?.map(committed)
    }
}

fn committed(parts: Vec<Ask>) -> Vec<Vec<Committed>> {
    parts.into_iter().map(|part| part.committed).collect()
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.queue = None;
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

/// The thread's own: a writer for each log that was written to, and what is staged for it.
struct Desk {
    store: Arc<dyn Store>,
    seal: Option<Arc<dyn Seal>>,
    feeds: Arc<Feeds>,
    numbers: HashMap<LogId, usize>,
    writers: Vec<LogWriter>,
    staged: Vec<Tray>,
    company: Company,
    /// What the feeds let go for what was written last.
    evicted: Vec<Arc<Record>>,
}

/// How many commit at the same time. Whoever was answered with the last group is about to ask again: a short wait
/// brings all of them into one group, of which each waits for one sync, instead of two that wait for each other.
#[derive(Default)]
struct Company {
    /// How many requests there were in the last group, or a little less than in an earlier one.
    usual: usize,
    /// How long a write takes, smoothed.
    write: Duration,
}

impl Company {
    /// The next request, of which `waiting` were taken.
    fn next(&self, waiting: usize, requests: &mut mpsc::Receiver<Request>) -> Option<Request> {
        if let Ok(request) = requests.try_recv() {
            return Some(request);
        }
        if waiting >= self.usual {
            return None;
        }
        let until = Instant::now() + self.write / SHARE_OF_WRITE;
        loop {
            std::thread::yield_now();
            match requests.try_recv() {
                Ok(request) => return Some(request),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
                Err(mpsc::error::TryRecvError::Empty) if Instant::now() >= until => return None,
                Err(mpsc::error::TryRecvError::Empty) => {}
            }
        }
    }

    fn note(&mut self, requests: usize) {
        self.usual = requests.max(self.usual - self.usual.div_ceil(4));
    }

    fn write_took(&mut self, time: Duration) {
        self.write = (self.write * 7 + time.min(LONGEST_WRITE)) / 8;
    }
}

/// What waits to be written to one log.
#[derive(Default)]
struct Tray {
    staged: Staged,
    /// The staged records with their content open, where it is sealed.
    open: Vec<Arc<Record>>,
}

fn run(mut desk: Desk, mut requests: mpsc::Receiver<Request>) {
    let mut next = requests.blocking_recv();
    while let Some(request) = next.take() {
        next = desk.group(request, &mut requests);
        if next.is_none() {
            next = requests.blocking_recv();
        }
    }
    if let Err(error) = desk.store.close() {
        tracing::error!(%error, "the vault was not closed cleanly; the next opening recovers it");
    }
}

impl Desk {
    /// Does the first request and those that wait behind it in one batch. A fork stands by itself: the first one that
    /// waits ends the group, and is returned.
    fn group(&mut self, first: Request, requests: &mut mpsc::Receiver<Request>) -> Option<Request> {
        let mut waiting = Vec::new();
        let mut next = Some(first);
        while let Some(Request { asked, reply }) = next.take() {
            match asked {
                Asked::Commit { parts, vector } => match self.stage(parts, vector) {
                    Ok(parts) => waiting.push((reply, parts)),
                    // Who asked may have gone; then nobody needs the answer.
                    Err(error) => drop(reply.send(Err(error))),
                },
                fork @ Asked::Fork { .. } if !waiting.is_empty() => {
                    next = Some(Request { asked: fork, reply });
                    break;
                }
                Asked::Fork { base, seq, name, author } => {
                    drop(reply.send(self.fork(&base, seq, name, author)));
                    return None;
                }
            }
            let staged: usize = self.staged.iter().map(|tray| tray.staged.records.len()).sum();
            next = if staged < MAX_GROUP { self.company.next(waiting.len(), requests) } else { None };
        }
        self.company.note(waiting.len());
        let start = Instant::now();
        let written = self.write();
        self.company.write_took(start.elapsed());
        for (reply, mut parts) in waiting {
            for part in &mut parts {
                let left = self.evicted.len().saturating_sub(part.committed.len());
                part.evicted.extend(self.evicted.drain(left..));
            }
            drop(reply.send(written.clone().map(|()| parts)));
        }
        self.evicted.clear();
        next
    }

    /// Stages all of a request, or nothing of it.
    fn stage(&mut self, mut parts: Vec<Ask>, mut vector: Option<Vec<f32>>) -> Reply {
        let mut before: Vec<(usize, Mark)> = Vec::with_capacity(parts.len());
        match parts.iter_mut().try_for_each(|part| self.stage_part(part, vector.take(), &mut before)) {
            Ok(()) => Ok(parts),
            Err(error) => {
                before.into_iter().rev().for_each(|(number, mark)| self.staged[number].roll_back(mark));
                Err(error)
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
            && self.staged[number].staged.records.is_empty()
        {
            // The asker may have seen what another writer of the store appended.
            self.writers[number] = self.writers[number].renewed()?;
        }
        let (writer, tray) = (&self.writers[number], &mut self.staged[number]);
        let seal = self.seal.as_deref();
        before.push((number, tray.staged.mark()));
        let head = writer.next_seq() + tray.staged.records.len() as u64;
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
        self.staged.push(Tray::default());
        number
    }

    /// Writes what is staged, and publishes it. After a conflict with another writer of the store the next group begins
    /// where the logs end by then.
    fn write(&mut self) -> Result<(), StoreError> {
        let Self { writers, staged, .. } = self;
        let mut parts: Vec<_> = writers
            .iter_mut()
            .zip(staged.iter().map(|tray| &tray.staged))
            .filter(|(_, staged)| !staged.records.is_empty())
            .collect();
        let written = write_all(&mut parts);
        let feeds = self.feeds.lock();
        for (writer, tray) in self.writers.iter_mut().zip(&mut self.staged) {
            let Tray { staged, open } = &*tray;
            match &written {
                Ok(()) => {
                    if let Some(feed) = feeds.get(writer.log()) {
                        self.evicted.extend(feed.publish(if self.seal.is_some() {
                            open
                        } else {
                            &staged.records
                        }));
                    }
                }
                Err(StoreError::Conflict { .. }) if !staged.records.is_empty() => match writer.renewed() {
                    Ok(renewed) => *writer = renewed,
                    Err(error) => {
                        tracing::warn!(%error, "a log's end cannot be read; the next commit tries again")
                    }
                },
                Err(_) => {}
            }
            tray.clear();
        }
        written
    }

    fn fork(&mut self, base: &LogId, seq: u64, name: LogId, author: EntityId) -> Reply {
        let (writer, record) = LogWriter::fork(Arc::clone(&self.store), base, seq, name.clone(), author)?;
        if let Some(feed) = self.feeds.lock().get(writer.log()) {
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
        self.open.truncate(self.staged.records.len());
    }
}
