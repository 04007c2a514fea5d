//! A disk that is full or fails, seen from the agents.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use toka_runtime::runtime::{Builder, Runtime, RuntimeConfig, RuntimeError};
use toka_runtime::{AgentError, LogError, WhenFull};
use toka_types::{Digest, EventHeader, EventId, Payload};
use toka_vault::{Base, Head, LogId, MemoryStore, Part, Record, Room, Statistics, Store, StoreError};

use crate::support::{Notes, count, kinds};

/// What a [`Faulty`] store does about a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Refuses every ordinary batch: there is only the reserve left.
    Full,
    /// Refuses the batch that holds an event of this kind, and all after it.
    Breaks(&'static str),
}

/// A store in memory that outlives its runtimes and does as told.
pub(crate) struct Faulty {
    inner: MemoryStore,
    fault: Mutex<Option<Fault>>,
    pub(crate) refused: AtomicUsize,
}

impl Faulty {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { inner: MemoryStore::new(), fault: Mutex::new(None), refused: AtomicUsize::new(0) })
    }

    pub(crate) fn set(&self, fault: Option<Fault>) {
        *self.fault.lock().expect("no test panics here") = fault;
    }

    pub(crate) fn builder(self: &Arc<Self>) -> Builder {
        Runtime::builder(RuntimeConfig::default()).store(Arc::<Self>::clone(self))
    }

    async fn runtime(self: &Arc<Self>, when_full: WhenFull) -> Runtime {
        let runtime = self.builder().when_full(when_full).build().await.expect("a runtime");
        runtime.start().await.expect("started");
        runtime
    }

    /// Waits until a batch was refused so often.
    async fn refused(&self, times: usize) {
        while self.refused.load(Ordering::SeqCst) < times {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Store for Faulty {
    fn append_parts(&self, parts: &[Part<'_>], room: Room) -> Result<(), StoreError> {
        let batch = || parts.iter().flat_map(|part| part.records);
        let mut fault = self.fault.lock().expect("no test panics here");
        let refused = match *fault {
            Some(Fault::Full) if room == Room::Ordinary => {
                Some(StoreError::Full { path: "/full".into(), needed: batch().count() as u64 })
            }
            Some(Fault::Breaks(kind)) if batch().any(|r| r.header.kind == kind) || kind.is_empty() => {
                *fault = Some(Fault::Breaks(""));
                Some(StoreError::Poisoned { reason: "the plug was pulled".into() })
            }
            _ => None,
        };
        drop(fault);
        match refused {
            Some(error) => {
                self.refused.fetch_add(1, Ordering::SeqCst);
                Err(error)
            }
            None => self.inner.append_parts(parts, room),
        }
    }

    /// The next runtime writes on.
    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn base(&self, log: &LogId) -> Result<Option<Base>, StoreError> {
        self.inner.base(log)
    }
    fn logs(&self) -> Result<Vec<LogId>, StoreError> {
        self.inner.logs()
    }
    fn head(&self, log: &LogId) -> Result<Head, StoreError> {
        self.inner.head(log)
    }
    fn read(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Arc<Record>>, StoreError> {
        self.inner.read(log, from, limit)
    }
    fn headers(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<EventHeader>, StoreError> {
        self.inner.headers(log, from, limit)
    }
    fn find(&self, id: &EventId) -> Result<Option<(LogId, u64)>, StoreError> {
        self.inner.find(id)
    }
    fn position(&self, log: &LogId, id: &EventId) -> Result<Option<u64>, StoreError> {
        self.inner.position(log, id)
    }
    fn find_prefix(&self, hex: &str, limit: usize) -> Result<Vec<(EventId, LogId, u64)>, StoreError> {
        self.inner.find_prefix(hex, limit)
    }
    fn content(&self, digest: &Digest) -> Result<Option<Payload>, StoreError> {
        self.inner.content(digest)
    }
    fn children_after(
        &self,
        id: &EventId,
        after: Option<&(LogId, u64)>,
        limit: usize,
    ) -> Result<Vec<(LogId, u64)>, StoreError> {
        self.inner.children_after(id, after, limit)
    }
    fn dimension(&self) -> Result<Option<u32>, StoreError> {
        self.inner.dimension()
    }
    fn fix_dimension(&self, dimension: u32) -> Result<(), StoreError> {
        self.inner.fix_dimension(dimension)
    }
    fn statistics(&self) -> Result<Statistics, StoreError> {
        self.inner.statistics()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_room_is_recorded_when_it_comes() {
    let store = Faulty::new();
    let runtime = Arc::new(store.runtime(WhenFull::Wait).await);
    store.set(Some(Fault::Full));
    let notes = Notes::default();
    let emitters: Vec<_> = (0..5)
        .map(|n| {
            let (runtime, notes) = (Arc::clone(&runtime), notes.clone());
            tokio::spawn(async move {
                let event = runtime.emit("x", &n).await.expect("recorded in the end");
                notes.add(event.id.short());
            })
        })
        .collect();
    store.refused(2).await;
    assert_eq!(notes.all(), Vec::<String>::new(), "nobody is told of what is not durable");
    assert_eq!(count(&runtime, "x"), 0);
    store.set(None);
    for emitter in emitters {
        emitter.await.expect("it was recorded");
    }
    assert_eq!(count(&runtime, "x"), 5);
    runtime.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_a_runtime_that_shall_not_wait() {
    let store = Faulty::new();
    let runtime = store.runtime(WhenFull::Fail).await;
    runtime.emit("x", &1).await.expect("recorded");
    store.set(Some(Fault::Full));
    let refused = runtime.emit("x", &2).await;
    assert!(matches!(refused, Err(RuntimeError::Asked(AgentError::Log(_)))), "{refused:?}");
    let stopped = runtime.stop().await;
    assert!(matches!(stopped, Err(RuntimeError::Log(LogError::Full(_)))), "{stopped:?}");
    store.set(None);
    let runtime = store.runtime(WhenFull::Fail).await;
    runtime.emit("x", &3).await.expect("recorded");
    assert_eq!(count(&runtime, "x"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_gives_up_waiting_for_room() {
    let store = Faulty::new();
    let runtime = Arc::new(store.runtime(WhenFull::Wait).await);
    store.set(Some(Fault::Full));
    let waiting = tokio::spawn({
        let runtime = Arc::clone(&runtime);
        async move { runtime.emit("x", &1).await.map(drop) }
    });
    store.refused(1).await;
    let stopped = runtime.stop().await;
    assert!(matches!(stopped, Err(RuntimeError::Log(LogError::Full(_)))), "{stopped:?}");
    let told = waiting.await.expect("no panic");
    assert!(matches!(told, Err(RuntimeError::Asked(AgentError::Log(_)))), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failure_everybody_is_told_and_the_next_start_goes_on() {
    let store = Faulty::new();
    let runtime = Arc::new(store.runtime(WhenFull::Wait).await);
    for n in 0..10 {
        runtime.emit("before", &n).await.expect("recorded");
    }
    store.set(Some(Fault::Breaks("x")));
    let emitters: Vec<_> = (0..20)
        .map(|n| {
            let runtime = Arc::clone(&runtime);
            tokio::spawn(async move { runtime.emit("x", &n).await.map(drop) })
        })
        .collect();
    for emitter in emitters {
        let told = emitter.await.expect("no panic");
        assert!(matches!(told, Err(RuntimeError::Asked(AgentError::Log(_)))), "{told:?}");
    }
    let look = runtime.world(|_| ()).await;
    assert!(matches!(look, Err(RuntimeError::Asked(AgentError::Log(_)))), "{look:?}");
    let ended =
        tokio::time::timeout(Duration::from_secs(60), runtime.run()).await.expect("it ends by itself");
    assert!(ended.is_err());
    let acknowledged = kinds(&runtime);
    store.set(None);
    let runtime = store.runtime(WhenFull::Wait).await;
    assert_eq!(kinds(&runtime)[..acknowledged.len()], acknowledged[..]);
    assert_eq!((count(&runtime, "before"), count(&runtime, "x")), (10, 0));
    runtime.emit("x", &1).await.expect("recorded");
}
