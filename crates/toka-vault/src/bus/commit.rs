//! The coalescing writer thread behind [`VaultBus`](super::VaultBus).

use std::sync::Arc;
use std::thread::JoinHandle;

use toka_bus::{Feed, FeedHandle};
use toka_types::{Payload, Seal, Subject};
use tokio::sync::{mpsc, oneshot};

use super::vector::vector_event;
use crate::core::{LogId, NewEvent, Record};
use crate::scan::LogHistory;
use crate::store::{Store, StoreError};
use crate::writer::{Committed, LogWriter, Staged};

/// Requests that wait for the writer; more than that and committers wait instead.
const QUEUE: usize = 1024;
/// Events of one group: a sync is shared by what arrived meanwhile, and nobody waits for an endless one.
const MAX_GROUP: usize = 1024;
/// Recent events kept for subscribers; one that is slower reads from the store.
const FEED_BUFFER: usize = 4096;

/// The thread and the queue to it. Dropping it commits what is queued, closes the store and waits for
/// both.
pub(super) struct Committer {
    queue: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

struct Request {
    events: Vec<NewEvent>,
    vector: Option<Vec<f32>>,
    reply: oneshot::Sender<Result<Vec<Committed>, StoreError>>,
}

impl Committer {
    /// What is committed is sealed with `seal`, and subscribers get it open.
    pub(super) fn start(
        store: Arc<dyn Store>,
        log: LogId,
        seal: Option<Arc<dyn Seal>>,
    ) -> Result<(Self, FeedHandle), StoreError> {
        let writer = LogWriter::open(Arc::clone(&store), log.clone())?;
        let history = Arc::new(LogHistory::new(store, log).opened_by(seal.clone()));
        let feed = Feed::with_history(writer.next_seq(), FEED_BUFFER, history);
        let handle = feed.handle();
        let (queue, requests) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("toka-vault".into())
            .spawn(move || run(writer, seal.as_deref(), &feed, requests))
            .map_err(|error| StoreError::Poisoned { reason: format!("no thread for the writer: {error}") })?;
        Ok((Self { queue: Some(queue), thread: Some(thread) }, handle))
    }

    pub(super) async fn commit(
        &self,
        events: Vec<NewEvent>,
        vector: Option<Vec<f32>>,
    ) -> Result<Vec<Committed>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        queue.send(Request { events, vector, reply }).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub(super) fn commit_blocking(
        &self,
        events: Vec<NewEvent>,
        vector: Option<Vec<f32>>,
    ) -> Result<Vec<Committed>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        queue.blocking_send(Request { events, vector, reply }).map_err(|_| StoreError::Closed)?;
        answer.blocking_recv().map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the vault's writer thread panicked; the vault was not closed cleanly");
        }
    }
}

/// Events that wait for their batch to be written.
struct Group<'a> {
    writer: &'a LogWriter,
    seal: Option<&'a dyn Seal>,
    staged: Staged,
    /// The staged records with their content open, where it is sealed.
    open: Vec<Arc<Record>>,
}

fn run(mut writer: LogWriter, seal: Option<&dyn Seal>, feed: &Feed, mut requests: mpsc::Receiver<Request>) {
    while let Some(request) = requests.blocking_recv() {
        let mut group = Group { writer: &writer, seal, staged: Staged::default(), open: Vec::new() };
        let mut waiting = Vec::new();
        let mut next = Some(request);
        while let Some(request) = next {
            match group.take(request.events, request.vector) {
                Ok(committed) => waiting.push((request.reply, committed)),
                // Who asked may have gone; then nobody needs the answer.
                Err(error) => drop(request.reply.send(Err(error))),
            }
            next = if group.staged.records.len() < MAX_GROUP { requests.try_recv().ok() } else { None };
        }
        let Group { staged, open, .. } = group;
        let written = writer.write_staged(&staged);
        if written.is_ok() {
            feed.publish(if seal.is_some() { &open } else { &staged.records });
        }
        for (reply, committed) in waiting {
            drop(reply.send(written.clone().map(|()| committed)));
        }
    }
    if let Err(error) = writer.store().close() {
        tracing::error!(%error, "the vault was not closed cleanly; the next opening recovers it");
    }
}

impl Group<'_> {
    /// Stages all of a request, or nothing of it.
    fn take(
        &mut self,
        events: Vec<NewEvent>,
        vector: Option<Vec<f32>>,
    ) -> Result<Vec<Committed>, StoreError> {
        let before = self.staged.mark();
        let all = |group: &mut Self| {
            let mut committed = events.into_iter().map(|e| group.stage(e)).collect::<Result<Vec<_>, _>>()?;
            if let (Some(vector), Some(of)) = (vector, committed.last()) {
                let event = vector_event(of.record.header.id, &vector)?;
                committed.push(group.stage(event)?);
            }
            Ok(committed)
        };
        all(self).inspect_err(|_| {
            self.staged.roll_back(before);
            self.open.truncate(self.staged.records.len());
        })
    }

    fn stage(&mut self, mut event: NewEvent) -> Result<Committed, StoreError> {
        let Some(seal) = self.seal else { return self.writer.stage(&mut self.staged, event) };
        let subject = Subject::of(event.author, &event.labels);
        let said = std::mem::take(&mut event.content);
        event.content =
            said.iter().map(|payload| seal.seal(&subject, payload)).collect::<Result<Vec<_>, _>>()?;
        let Committed { record, new } = self.writer.stage(&mut self.staged, event)?;
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
}
