//! Commits that meet a write under way: they are staged behind it, and share its fate if it fails.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};

use toka_bus::Filter;
use toka_types::{Digest, EventHeader, EventId, Kind, Payload};
use toka_vault::{
    Base, Committed, Head, LogId, MemoryStore, NewEvent, Part, Record, Room, Statistics, Store, StoreError,
    VaultBus,
};

/// A store of which each append waits until the test says what becomes of it.
#[derive(Default)]
struct Gated {
    inner: MemoryStore,
    at_once: bool,
    gate: Mutex<Gate>,
    moved: Condvar,
}

#[derive(Default)]
struct Gate {
    /// Events of the append that waits.
    waiting: Option<usize>,
    verdict: Option<Result<(), StoreError>>,
}

impl Gated {
    fn new(at_once: bool) -> Arc<Self> {
        Arc::new(Self { at_once, ..Self::default() })
    }

    /// Waits for an append, and returns how many events it has.
    fn arrived(&self) -> usize {
        let gate = self.moved.wait_while(self.gate.lock().unwrap(), |gate| gate.waiting.is_none()).unwrap();
        gate.waiting.unwrap()
    }

    /// Waits for an append, says what becomes of it, and returns how many events it has.
    fn let_go(&self, verdict: Result<(), StoreError>) -> usize {
        let events = self.arrived();
        let mut gate = self.gate.lock().unwrap();
        gate.verdict = Some(verdict);
        self.moved.notify_all();
        drop(self.moved.wait_while(gate, |gate| gate.verdict.is_some()).unwrap());
        events
    }
}

impl Store for Gated {
    fn append_parts(&self, parts: &[Part<'_>], room: Room) -> Result<(), StoreError> {
        let mut gate = self.gate.lock().unwrap();
        gate.waiting = Some(parts.iter().map(|part| part.records.len()).sum());
        self.moved.notify_all();
        let mut gate = self.moved.wait_while(gate, |gate| gate.verdict.is_none()).unwrap();
        gate.waiting = None;
        let verdict = gate.verdict.take().unwrap();
        self.moved.notify_all();
        drop(gate);
        verdict.and_then(|()| self.inner.append_parts(parts, room))
    }
    fn answers_at_once(&self) -> bool {
        self.at_once
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
    fn close(&self) -> Result<(), StoreError> {
        self.inner.close()
    }
}

type Commit<'a> = Pin<Box<dyn Future<Output = Result<Vec<Committed>, StoreError>> + 'a>>;

/// A commit that has been handed in.
fn begun(vault: &VaultBus, events: Vec<NewEvent>) -> Commit<'_> {
    let mut commit: Commit<'_> = Box::pin(vault.commit_batch(events));
    assert!(poll(&mut commit).is_none(), "it waits for its write");
    commit
}

fn poll(commit: &mut Commit<'_>) -> Option<Result<Vec<Committed>, StoreError>> {
    match commit.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

fn ended(mut commit: Commit<'_>) -> Result<Vec<Committed>, StoreError> {
    loop {
        if let Some(done) = poll(&mut commit) {
            return done;
        }
        std::thread::yield_now();
    }
}

fn event(text: &str) -> NewEvent {
    NewEvent::new(Kind::new("note.taken").unwrap()).payload(&text.to_owned()).unwrap()
}

fn on_each(check: impl Fn(Arc<Gated>, VaultBus)) {
    for at_once in [true, false] {
        let store = Gated::new(at_once);
        let vault = VaultBus::with_store(Arc::clone(&store) as Arc<dyn Store>, LogId::main()).unwrap();
        check(store, vault);
    }
}

#[test]
fn what_comes_during_a_write_shares_the_next_one() {
    on_each(|store, vault| {
        let first = begun(&vault, vec![event("a")]);
        assert_eq!(store.arrived(), 1);
        let behind = [begun(&vault, vec![event("b"), event("c")]), begun(&vault, vec![event("d")])];
        assert_eq!(vault.len().unwrap(), 0);
        assert_eq!(store.let_go(Ok(())), 1);
        assert_eq!(ended(first).unwrap()[0].record.header.seq, 0);
        assert_eq!(store.let_go(Ok(())), 3);
        let seqs = behind.map(|commit| ended(commit).unwrap().last().unwrap().record.header.seq);
        assert_eq!(seqs, [2, 3]);
    });
}

#[test]
fn an_event_that_is_being_written_is_a_cause_and_is_not_stored_twice() {
    on_each(|store, vault| {
        let mut cause = event("a");
        cause.at = None;
        let named = begun(&vault, vec![event("a")]);
        assert_eq!(store.arrived(), 1);
        let id = {
            // The same event elsewhere has the same id.
            let other = VaultBus::in_memory();
            other.blocking().commit_batch(vec![cause]).unwrap()[0].record.header.id
        };
        let again = begun(&vault, vec![event("a")]);
        let effect = begun(&vault, vec![event("b").parents([id])]);
        store.let_go(Ok(()));
        assert!(ended(named).unwrap()[0].new);
        assert_eq!(store.let_go(Ok(())), 1, "only the effect is written");
        let again = ended(again).unwrap();
        assert_eq!((again[0].new, again[0].record.header.seq), (false, 0));
        assert_eq!(ended(effect).unwrap()[0].record.header.parents, [id]);
    });
}

#[test]
fn what_is_staged_behind_a_write_that_fails_fails_with_it_and_leaves_no_gap() {
    let store = Gated::new(true);
    let vault = VaultBus::with_store(Arc::clone(&store) as Arc<dyn Store>, LogId::main()).unwrap();
    let mut seen = vault.subscribe_from(0, Filter::all());
    let first = begun(&vault, vec![event("a")]);
    store.arrived();
    let audit = vault.log(LogId::new("audit").unwrap()).unwrap();
    let behind = [begun(&vault, vec![event("b")]), begun(&audit, vec![event("c")])];
    let full = StoreError::Full { path: "/full".into(), needed: 1 };
    store.let_go(Err(full));
    assert!(matches!(ended(first), Err(StoreError::Full { .. })));
    for commit in behind {
        assert!(matches!(ended(commit), Err(StoreError::Full { .. })));
    }
    let next = begun(&vault, vec![event("b")]);
    store.let_go(Ok(()));
    assert_eq!(ended(next).unwrap()[0].record.header.seq, 0);
    assert_eq!(vault.len().unwrap(), 1);
    assert_eq!(seen.try_recv().unwrap().unwrap().header.seq, 0);
    assert!(seen.try_recv().unwrap().is_none());
}

#[test]
fn a_fork_waits_for_the_writes_before_it_and_what_comes_after_waits_for_the_fork() {
    on_each(|store, vault| {
        let first = begun(&vault, vec![event("a")]);
        store.arrived();
        let second = begun(&vault, vec![event("b")]);
        let name = LogId::new("other").unwrap();
        let mut fork: Pin<Box<dyn Future<Output = _>>> = Box::pin(vault.fork(1, name.clone()));
        assert!(fork.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let last = begun(&vault, vec![event("c")]);
        for _ in 0..4 {
            store.let_go(Ok(()));
        }
        let seqs = [first, second, last].map(|commit| ended(commit).unwrap()[0].record.header.seq);
        assert_eq!(seqs, [0, 1, 2]);
        let fork = loop {
            match fork.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(fork) => break fork.unwrap(),
                Poll::Pending => std::thread::yield_now(),
            }
        };
        assert_eq!(fork.len().unwrap(), 3, "both events before, and its own first one");
    });
}

#[test]
fn a_batch_that_expects_a_number_counts_what_is_being_written() {
    let store = Gated::new(true);
    let vault = VaultBus::with_store(Arc::clone(&store) as Arc<dyn Store>, LogId::main()).unwrap();
    let first = begun(&vault, vec![event("a")]);
    store.arrived();
    let late = vault.blocking().commit_batch_at(0, vec![event("b")]);
    assert!(matches!(late, Err(StoreError::Conflict { expected: 0, head: 1, .. })));
    let mut next: Commit<'_> = Box::pin(vault.commit_batch_at(1, vec![event("b")]));
    assert!(poll(&mut next).is_none());
    store.let_go(Ok(()));
    store.let_go(Ok(()));
    assert!(ended(first).unwrap()[0].new);
    assert_eq!(ended(next).unwrap()[0].record.header.seq, 1);
}
