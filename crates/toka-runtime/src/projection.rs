//! Projections: what is derived from the log, follows it, and can be deleted and built again.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use toka_bus::{FeedHandle, Filter, RecvError, Subscription};
use toka_types::{Event, EventId};

use crate::activity::words_of;
use crate::log::LogRead;
use crate::sealing::Edge;

/// Something derived from the log in log order.
///
/// # Contract
/// [`apply`](Projection::apply) is called once for each event, in order, from [`position`](Projection::position) on.
/// The same events give the same projection. What [`persist`](Projection::persist) wrote, a new process finds with
/// its position.
pub trait Projection: Send + 'static {
    /// Its name, for messages.
    fn name(&self) -> &str;
    /// The first event it has not seen.
    fn position(&self) -> u64;
    /// Takes in one event, its content opened where it is sealed and can be.
    fn apply(&mut self, event: &Event) -> anyhow::Result<()>;
    /// Makes durable what it knows.
    fn persist(&mut self) -> anyhow::Result<()>;
    /// True if it knows more than it found saved when it was opened.
    fn is_ahead(&self) -> bool {
        false
    }
    /// Forgets what it knows, since content of events that it took in was dropped: it is shown the log from its first
    /// event again.
    fn restart(&mut self) {}
}

/// What a projection may look up in the log when it is opened.
pub struct LogView {
    pub(crate) reader: Option<Arc<dyn LogRead>>,
    #[cfg(feature = "vault")]
    pub(crate) key: Option<toka_vault::intent::ProjectionKey>,
}

impl LogView {
    /// The id of the event at a position; `None` where there is none, or the log is not kept.
    pub fn id_at(&self, seq: u64) -> Option<EventId> {
        let headers = self.reader.as_ref()?.headers(seq, 1).ok()?;
        headers.first().filter(|header| header.seq == seq).map(|header| header.id)
    }

    /// The key under which a projection of a sealed vault is saved.
    #[cfg(feature = "vault")]
    pub fn projection_key(&self) -> Option<toka_vault::intent::ProjectionKey> {
        self.key.clone()
    }
}

/// Makes a projection once the log is open.
pub(crate) type Opener = Box<dyn FnOnce(&LogView) -> Box<dyn Projection> + Send>;

/// Events taken in at once; between two such pieces the projection's position is published.
const PIECE: usize = 512;
/// How long the log must be quiet before a projection is persisted.
const QUIET: Duration = Duration::from_secs(1);

/// A log that is never quiet lets a projection be persisted after this time, or after [`SHARE`] times as long as that took
/// the last time: a start then need not follow the log from where it was quiet last.
const LONGEST_UNSAVED: Duration = Duration::from_secs(60);
const SHARE: u32 = 50;

/// How often a projection that waits for events looks whether content was dropped, where that can happen.
const LOOK: Duration = Duration::from_secs(5);

/// A projection that follows a log on a thread of its own.
pub(crate) struct Follower {
    name: String,
    position: Arc<AtomicU64>,
    outcome: Arc<Mutex<Option<anyhow::Error>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Follower {
    /// `dropped` counts how often content was dropped; `None`: it never is. What is sealed is opened at `edge`.
    pub(crate) fn start(
        mut projection: Box<dyn Projection>,
        feed: &FeedHandle,
        dropped: Option<Arc<AtomicU64>>,
        edge: Edge,
    ) -> std::io::Result<Self> {
        let feed = feed.clone();
        let name = projection.name().to_owned();
        let position = Arc::new(AtomicU64::new(projection.position()));
        let outcome = Arc::new(Mutex::new(None));
        let thread = std::thread::Builder::new().name(format!("toka-{name}")).spawn({
            let (position, outcome, told) = (Arc::clone(&position), Arc::clone(&outcome), name.clone());
            move || {
                let mut events = feed.subscribe_from(projection.position(), Filter::all());
                let again = Again { feed, dropped, seen: 0 };
                let follow =
                    AssertUnwindSafe(|| follow(projection.as_mut(), &mut events, &position, again, &edge));
                let result = std::panic::catch_unwind(follow);
                let result = result.unwrap_or_else(|panic| Err(anyhow::Error::msg(words_of(&*panic))));
                if let Err(error) = result {
                    tracing::error!("projection '{told}' stopped: {error:#}");
                    *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    // Nobody waits for it any more.
                    position.store(u64::MAX, Ordering::SeqCst);
                }
            }
        })?;
        Ok(Self { name, position, outcome, thread: Some(thread) })
    }

    pub(crate) fn has_seen(&self, next: u64) -> bool {
        self.position.load(Ordering::SeqCst) >= next
    }

    /// Waits until it has followed the log to its end and is persisted. The feed is closed by then.
    pub(crate) fn join(&mut self) -> anyhow::Result<()> {
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow::anyhow!("projection '{}' panicked", self.name))?;
        }
        match self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error.context(format!("projection '{}'", self.name))),
            None => Ok(()),
        }
    }
}

/// Whether to follow the log from its first event again.
struct Again {
    feed: FeedHandle,
    dropped: Option<Arc<AtomicU64>>,
    seen: u64,
}

impl Again {
    fn begins(&mut self) -> bool {
        let dropped = self.dropped.as_ref().map_or(0, |dropped| dropped.load(Ordering::SeqCst));
        std::mem::replace(&mut self.seen, dropped) != dropped
    }
}

fn follow(
    projection: &mut dyn Projection,
    events: &mut Subscription,
    position: &AtomicU64,
    mut again: Again,
    edge: &Edge,
) -> anyhow::Result<()> {
    let mut dirty = projection.is_ahead();
    let (mut last_saved, mut took) = (Instant::now(), Duration::ZERO);
    loop {
        if again.begins() {
            projection.restart();
            *events = again.feed.subscribe_from(0, Filter::all());
            dirty = true;
        }
        let mut seen = 0;
        let mut ended = false;
        while seen < PIECE {
            match events.try_recv() {
                Ok(Some(event)) => projection.apply(&edge.opened(event))?,
                Ok(None) => break,
                Err(RecvError::Closed) => {
                    ended = true;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
            seen += 1;
        }
        dirty |= seen > 0;
        position.store(events.position(), Ordering::SeqCst);
        if ended {
            if dirty {
                projection.persist()?;
                saved(projection);
            }
            return Ok(());
        }
        let overdue = dirty && last_saved.elapsed() >= LONGEST_UNSAVED.max(took * SHARE);
        if seen > 0 && !overdue {
            continue;
        }
        if !dirty {
            events.wait_blocking(again.dropped.as_ref().map(|_| LOOK));
            // What comes after a long silence is not overdue.
            last_saved = Instant::now();
        } else if overdue || !events.wait_blocking(Some(QUIET)) {
            // A failure here loses nothing: the next start catches up from the last copy.
            let start = Instant::now();
            let persisted = projection.persist();
            (last_saved, took) = (Instant::now(), start.elapsed());
            match persisted {
                Ok(()) => {
                    dirty = false;
                    saved(projection);
                }
                Err(error) => {
                    tracing::warn!("projection '{}' could not be saved: {error:#}", projection.name());
                    if !overdue {
                        events.wait_blocking(None);
                    }
                }
            }
        }
    }
}

fn saved(projection: &dyn Projection) {
    tracing::debug!(upto = projection.position(), "projection '{}' is saved", projection.name());
}
