//! The ring of recent events, its publisher and its subscribers.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::filter::Filter;
use toka_types::Event;

/// Most bytes that the ring keeps whatever the number of events, so that a burst of large ones does not
/// hold memory for as long as the feed lives.
pub const MAX_RING_BYTES: usize = 32 << 20;
/// What an event is counted for beside its content: header, vectors, reference counts.
const EVENT_OVERHEAD: usize = 256;
/// Events a subscriber takes under one lock, or from one read of the history. It bounds what a slow
/// subscriber holds in memory beside the ring.
const CHUNK: usize = 128;

/// Where a subscriber that fell behind the ring reads on.
///
/// # Contract
/// `read` returns the events from `from` on, complete, in order and without a gap, at most `limit` of
/// them, and an empty list only if none has the number `from`.
pub trait History: Send + Sync {
    /// Reads at most `limit` events from `from` on.
    fn read(&self, from: u64, limit: usize) -> Result<Vec<Arc<Event>>, HistoryError>;
}

/// Why the history could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HistoryError(pub String);

/// Why a subscription has no event to hand out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    /// The publisher is gone and everything was delivered.
    #[error("the feed is closed")]
    Closed,
    /// This many events left the ring before they were read, and there is no history. The subscription
    /// goes on with the oldest event that is kept.
    #[error(
        "{0} events were missed: the subscriber fell behind the feed's buffer and there is no vault to read them from"
    )]
    Lagged(u64),
    /// The history could not be read; the next call tries again.
    #[error("cannot catch up from the log: {0}")]
    History(#[from] HistoryError),
}

/// The publisher's half. Dropping it closes the feed: subscribers get what is left, then
/// [`RecvError::Closed`].
pub struct Feed {
    shared: Arc<Shared>,
}

/// Makes subscriptions. Cheap to clone; it does not keep the feed open.
#[derive(Clone)]
pub struct FeedHandle {
    shared: Arc<Shared>,
}

/// A reader's position in the feed. It gets every event from its start on that its filter accepts,
/// once and in order.
pub struct Subscription {
    shared: Arc<Shared>,
    signal: watch::Receiver<()>,
    filter: Filter,
    /// The number of the next event to take from ring or history.
    cursor: u64,
    /// Events taken and not handed out yet; all of them pass the filter.
    pending: VecDeque<Arc<Event>>,
}

struct Shared {
    ring: Mutex<Ring>,
    signal: watch::Sender<()>,
    blocked: Condvar,
    history: Option<Arc<dyn History>>,
}

struct Ring {
    events: VecDeque<Arc<Event>>,
    /// The number after the newest event.
    next: u64,
    bytes: usize,
    capacity: usize,
    closed: bool,
    /// Threads that wait on the condition variable; waking nobody would still cost a system call.
    blocked: usize,
}

/// What a look into the ring found.
enum Look {
    Events(Vec<Arc<Event>>),
    Behind { oldest: u64 },
    Nothing,
    Closed,
}

impl Feed {
    /// A feed whose next event has the number `next` and that keeps the newest `buffer_size` events (at
    /// least one, at most [`MAX_RING_BYTES`] together).
    pub fn new(next: u64, buffer_size: usize) -> Self {
        Self::build(next, buffer_size, None)
    }

    /// A feed whose subscribers read from `history` what has left the ring.
    pub fn with_history(next: u64, buffer_size: usize, history: Arc<dyn History>) -> Self {
        Self::build(next, buffer_size, Some(history))
    }

    fn build(next: u64, buffer_size: usize, history: Option<Arc<dyn History>>) -> Self {
        let capacity = buffer_size.max(1);
        let ring = Ring { events: VecDeque::new(), next, bytes: 0, capacity, closed: false, blocked: 0 };
        let (signal, _) = watch::channel(());
        let shared = Shared { ring: Mutex::new(ring), signal, blocked: Condvar::new(), history };
        Self { shared: Arc::new(shared) }
    }

    /// Hands `batch` to every subscriber. Call it when the batch is durable. Never waits for a
    /// subscriber; with no subscriber it costs one lock, and nothing is kept of what the history has.
    ///
    /// The numbers go on from the last event. Should they not, the ring starts anew with this batch and
    /// subscribers get what lies between from the history, or hear that they missed it.
    ///
    /// Returns the events that gave way. Freeing them takes as long as publishing: whoever has somebody to answer does
    /// that first.
    pub fn publish(&self, batch: &[Arc<Event>]) -> Vec<Arc<Event>> {
        let mut evicted = Vec::new();
        let Some(first) = batch.first() else { return evicted };
        let blocked = {
            let mut ring = self.shared.lock();
            // Who subscribes from here on reads the numbers under this lock, after this batch.
            let unheard = self.shared.history.is_some() && self.shared.signal.receiver_count() == 0;
            if unheard || first.header.seq != ring.next {
                evicted.extend(ring.events.drain(..));
                ring.bytes = 0;
            }
            if unheard {
                ring.next = first.header.seq + batch.len() as u64;
                return evicted;
            }
            ring.bytes += batch.iter().map(|event| weight(event)).sum::<usize>();
            ring.events.extend(batch.iter().cloned());
            ring.next = first.header.seq + batch.len() as u64;
            while ring.events.len() > ring.capacity || (ring.bytes > MAX_RING_BYTES && ring.events.len() > 1)
            {
                let Some(event) = ring.events.pop_front() else { break };
                ring.bytes -= weight(&event);
                evicted.push(event);
            }
            ring.blocked > 0
        };
        self.shared.wake(blocked);
        evicted
    }

    /// A handle that makes subscriptions.
    pub fn handle(&self) -> FeedHandle {
        FeedHandle { shared: Arc::clone(&self.shared) }
    }

    /// The number that the next event will have.
    pub fn next_seq(&self) -> u64 {
        self.shared.lock().next
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake(true);
    }
}

impl FeedHandle {
    /// Every event that is published from now on.
    pub fn subscribe(&self) -> Subscription {
        self.subscribe_with(None, Filter::all())
    }

    /// Every event that is published from now on and passes `filter`.
    pub fn subscribe_live(&self, filter: Filter) -> Subscription {
        self.subscribe_with(None, filter)
    }

    /// Every event from number `seq` on that passes `filter`: first what is there, then live, without a
    /// gap or a duplicate.
    pub fn subscribe_from(&self, seq: u64, filter: Filter) -> Subscription {
        self.subscribe_with(Some(seq), filter)
    }

    /// The number that the next event will have.
    pub fn next_seq(&self) -> u64 {
        self.shared.lock().next
    }

    fn subscribe_with(&self, from: Option<u64>, filter: Filter) -> Subscription {
        // The receiver exists before the ring is read, so that a batch published in between wakes it.
        let signal = self.shared.signal.subscribe();
        let cursor = from.unwrap_or_else(|| self.shared.lock().next);
        let shared = Arc::clone(&self.shared);
        Subscription { shared, signal, filter, cursor, pending: VecDeque::new() }
    }
}

impl Subscription {
    /// The next event. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Result<Arc<Event>, RecvError> {
        loop {
            self.signal.mark_unchanged();
            if let Some(event) = self.try_recv()? {
                return Ok(event);
            }
            // An error says that the sender is gone; it lives as long as `shared`, which this holds.
            let _ = self.signal.changed().await;
        }
    }

    /// Between one and `max` events, as many as are there.
    pub async fn recv_batch(&mut self, max: usize) -> Result<Vec<Arc<Event>>, RecvError> {
        let mut batch = vec![self.recv().await?];
        while batch.len() < max {
            // What went wrong past the first event is told by the next call.
            match self.try_recv() {
                Ok(Some(event)) => batch.push(event),
                Ok(None) | Err(RecvError::Closed | RecvError::History(_)) => break,
                Err(RecvError::Lagged(missed)) => {
                    self.cursor -= missed;
                    break;
                }
            }
        }
        Ok(batch)
    }

    /// The next event if there is one now.
    pub fn try_recv(&mut self) -> Result<Option<Arc<Event>>, RecvError> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(Some(event));
            }
            let look = self.shared.lock().look(self.cursor);
            match look {
                Look::Events(events) => self.take(events),
                Look::Behind { oldest } => self.catch_up(oldest)?,
                Look::Nothing => return Ok(None),
                Look::Closed => return Err(RecvError::Closed),
            }
        }
    }

    /// The next event; the thread waits for it. Not for use inside an executor.
    pub fn recv_blocking(&mut self) -> Result<Arc<Event>, RecvError> {
        loop {
            if let Some(event) = self.try_recv()? {
                return Ok(event);
            }
            self.wait_blocking(None);
        }
    }

    /// Waits until there is an event to look at or the feed is closed, at most for `limit` if one is given; false
    /// if the time ran out. The thread waits; not for use inside an executor.
    pub fn wait_blocking(&self, limit: Option<Duration>) -> bool {
        if !self.pending.is_empty() {
            return true;
        }
        let until = limit.map(|limit| Instant::now() + limit);
        let mut ring = self.shared.lock();
        while ring.next <= self.cursor && !ring.closed {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
            ring.blocked += 1;
            ring = match left {
                None => self.shared.blocked.wait(ring).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.shared.blocked.wait_timeout(ring, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            ring.blocked -= 1;
        }
        true
    }

    /// The number of the next event that this subscription will look at: what to give to
    /// [`FeedHandle::subscribe_from`] to go on from here. Events taken and not handed out do not count.
    pub fn position(&self) -> u64 {
        self.pending.front().map_or(self.cursor, |event| event.header.seq)
    }

    fn take(&mut self, events: Vec<Arc<Event>>) {
        if let Some(last) = events.last() {
            self.cursor = last.header.seq + 1;
        }
        let Self { filter, pending, .. } = self;
        pending.extend(events.into_iter().filter(|event| filter.matches(&event.header)));
    }

    fn catch_up(&mut self, oldest: u64) -> Result<(), RecvError> {
        let Some(history) = &self.shared.history else {
            let missed = oldest - self.cursor;
            self.cursor = oldest;
            return Err(RecvError::Lagged(missed));
        };
        let events = history.read(self.cursor, CHUNK)?;
        if events.first().is_none_or(|event| event.header.seq != self.cursor) {
            let gap = format!("the log has no event {}, and the feed starts at {oldest}", self.cursor);
            return Err(HistoryError(gap).into());
        }
        self.take(events);
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        // Nothing in this module can panic between two changes that belong together.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, blocked: bool) {
        if self.signal.receiver_count() > 0 {
            self.signal.send_replace(());
        }
        if blocked {
            self.blocked.notify_all();
        }
    }
}

impl Ring {
    fn look(&self, cursor: u64) -> Look {
        if cursor >= self.next {
            return if self.closed { Look::Closed } else { Look::Nothing };
        }
        let oldest = self.next - self.events.len() as u64;
        if cursor < oldest {
            return Look::Behind { oldest };
        }
        let skip = (cursor - oldest) as usize;
        Look::Events(self.events.range(skip..).take(CHUNK).cloned().collect())
    }
}

fn weight(event: &Event) -> usize {
    EVENT_OVERHEAD + event.header.facts.len() + event.content.iter().map(|c| c.bytes().len()).sum::<usize>()
}
