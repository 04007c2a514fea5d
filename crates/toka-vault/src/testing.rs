//! The suite that every store passes, and builders for tests.
//!
//! `toka_vault::store_conformance!(name, open)` makes a module `name` with one test for each promise of
//! [`Store`](crate::Store). `open` is a function that returns an empty store and something that is kept as
//! long as the store is used, such as its directory.

#[cfg(feature = "journal")]
pub mod durable;
mod forks;
#[cfg(all(feature = "journal", feature = "seal", feature = "sign"))]
pub mod fuzz;
#[cfg(feature = "sign")]
pub mod witness;

use std::any::Any;
use std::sync::Arc;

use toka_types::{ContentRef, Digest, EntityId, EventHeader, EventId, Kind, Labels, Payload, Timestamp};

use crate::core::{Filter, LogId, NewEvent, Record};
use crate::hash::{LogTree, leaf_hash};
use crate::proof::{self, ProofError};
use crate::scan::{Cursor, Direction, Scan};
use crate::store::{Room, Store, StoreError};
use crate::walk::descendants;
use crate::writer::LogWriter;
pub use forks::*;

/// An empty store and what must outlive it.
pub type Opened = (Arc<dyn Store>, Box<dyn Any>);

/// Declares the suite's tests for one store.
#[macro_export]
macro_rules! store_conformance {
    ($name:ident, $open:expr) => {
        $crate::store_conformance!(@tests $name, $open, [
            empty_store, append_then_read, numbers_are_fenced, refused_batch_leaves_nothing, content_is_stored_once,
            content_can_be_left_out, heads_and_roots, finding, children, many_children, logs_are_apart, prefixes, dimension, closing,
            large_and_empty_content, many_batches, the_first_place_is_found, content_of_another_size_is_refused,
            readers_see_whole_batches, two_writers_conflict, writer_checks, writer_is_idempotent, proofs,
            forks_share_their_base, forks_of_forks, forks_that_cannot_be, batches_across_logs, writers_fork,
            forks_are_proved_like_their_base
        ]);
    };
    (@tests $name:ident, $open:expr, [$($test:ident),*]) => {
        mod $name {
            use super::*;
            $(#[test] fn $test() { $crate::testing::$test(&$open); })*
        }
    };
}

/// A record with the given number, causes and content, by one author without `prev`.
pub fn record(seq: u64, parents: &[EventId], contents: &[&[u8]]) -> Arc<Record> {
    let content: Vec<Payload> = contents.iter().map(|bytes| Payload::new(bytes.to_vec())).collect();
    let mut header = EventHeader {
        seq,
        id: EventId::default(),
        at: Timestamp::from_millis(seq as i64),
        kind: Kind::new("test.event").expect("a kind"),
        author: EntityId::named("tester"),
        prev: None,
        parents: parents.to_vec(),
        labels: Labels::none(),
        content: content.iter().map(Payload::content_ref).collect(),
        facts: seq.to_le_bytes().to_vec(),
    };
    header.id = header.causal_digest();
    Arc::new(Record { header, content })
}

/// How many runs a fault test makes: `TOKA_FAULTS`, else its short form.
pub fn fault_runs(short: u64) -> u64 {
    std::env::var("TOKA_FAULTS").ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}

/// Pseudo-random numbers (xorshift64*, Vigna 2016) that a seed gives again.
pub struct Random(u64);

impl Random {
    /// The numbers of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    #[allow(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Bytes that no compression makes smaller.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// `count` records from number `from` on, each with the one before as its parent, and content of its own.
pub fn chain(from: u64, count: u64) -> Vec<Arc<Record>> {
    let mut records: Vec<Arc<Record>> = Vec::new();
    for seq in from..from + count {
        let parents: Vec<EventId> = records.last().map(|last| last.header.id).into_iter().collect();
        let text = format!("content of event {seq}: {}", "lorem ipsum ".repeat((seq % 90) as usize));
        records.push(record(seq, &parents, &[text.as_bytes()]));
    }
    records
}

fn append(store: &dyn Store, log: &LogId, batch: &[Arc<Record>]) -> Result<(), StoreError> {
    let expected = batch.first().map_or(0, |record| record.header.seq);
    store.append(log, expected, batch, Room::Ordinary)
}

pub fn empty_store(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let log = LogId::main();
    assert_eq!(store.logs().unwrap(), []);
    let head = store.head(&log).unwrap();
    assert_eq!((head.next_seq, head.last, head.root), (0, None, LogTree::new().root()));
    assert_eq!(store.read(&log, 0, 10).unwrap(), []);
    assert_eq!(store.find(&EventId::default()).unwrap(), None);
    assert_eq!(store.content(&Digest::of(b"x")).unwrap(), None);
    store.append(&log, 0, &[], Room::Ordinary).unwrap();
    assert_eq!(store.logs().unwrap(), [], "an empty batch makes no log");
}

pub fn append_then_read(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let log = LogId::main();
    let records = chain(0, 20);
    append(&*store, &log, &records[..1]).unwrap();
    append(&*store, &log, &records[1..20]).unwrap();
    assert_eq!(store.read(&log, 0, 100).unwrap(), records);
    assert_eq!(store.read(&log, 5, 3).unwrap(), records[5..8]);
    assert_eq!(store.read(&log, 19, 3).unwrap(), records[19..]);
    assert_eq!(store.read(&log, 20, 3).unwrap(), []);
    assert_eq!(store.read(&log, u64::MAX, usize::MAX).unwrap(), []);
    assert_eq!(store.read(&log, 3, 0).unwrap(), []);
    let headers: Vec<_> = records[7..9].iter().map(|record| record.header.clone()).collect();
    assert_eq!(store.headers(&log, 7, 2).unwrap(), headers);
}

pub fn numbers_are_fenced(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let log = LogId::main();
    let records = chain(0, 4);
    append(&*store, &log, &records[..2]).unwrap();
    let conflict = |expected| StoreError::Conflict { log: LogId::main(), expected, head: 2 };
    assert_eq!(append(&*store, &log, &records[1..2]), Err(conflict(1)));
    assert_eq!(append(&*store, &log, &records[3..]), Err(conflict(3)));
    let gap = [Arc::clone(&records[2]), Arc::clone(&records[2])];
    assert!(matches!(append(&*store, &log, &gap), Err(StoreError::Sequence { expected: 3, found: 2, .. })));
    assert_eq!(store.head(&log).unwrap().next_seq, 2);
    append(&*store, &log, &records[2..]).unwrap();
    assert_eq!(store.read(&log, 0, 9).unwrap(), records);
}

pub fn refused_batch_leaves_nothing(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let log = LogId::main();
    let good = record(0, &[], &[b"good"]);
    let missing = record(1, &[], &[b"never handed in"]);
    let digest = missing.header.content[0].digest;
    let event = missing.header.id;
    let hollow = Arc::new(Record { header: missing.header.clone(), content: Vec::new() });
    let refused = append(&*store, &log, &[Arc::clone(&good), hollow]);
    assert_eq!(refused, Err(StoreError::MissingContent { event, digest }));
    assert_eq!(store.head(&log).unwrap().next_seq, 0);
    assert_eq!(store.find(&good.header.id).unwrap(), None);
    assert_eq!(store.content(&good.content[0].digest()).unwrap(), None);
    append(&*store, &log, &[good]).unwrap();
}

pub fn content_is_stored_once(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let log = LogId::main();
    let bytes = vec![7; 5000];
    let twice = record(0, &[], &[&bytes, &bytes]);
    let again = record(1, &[], &[&bytes]);
    let later = record(2, &[], &[b"other", &bytes]);
    append(&*store, &log, &[Arc::clone(&twice), Arc::clone(&again)]).unwrap();
    append(&*store, &log, &[Arc::clone(&later)]).unwrap();
    assert_eq!(store.statistics().unwrap().deduplicated, 15_000);
    assert_eq!(store.read(&log, 0, 9).unwrap(), [twice, again, later]);
}

pub fn content_can_be_left_out(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let log = LogId::main();
    let first = record(0, &[], &[b"shared"]);
    let second = record(1, &[], &[b"shared"]);
    append(&*store, &log, &[first]).unwrap();
    let hollow = Arc::new(Record { header: second.header.clone(), content: Vec::new() });
    append(&*store, &log, &[hollow]).unwrap();
    assert_eq!(store.read(&log, 1, 1).unwrap(), [second]);
}

pub fn heads_and_roots(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let log = LogId::main();
    let mut tree = LogTree::new();
    for batch in chain(0, 21).chunks(4) {
        append(&*store, &log, batch).unwrap();
        batch.iter().for_each(|record| tree.append(leaf_hash(&record.header.to_bytes())));
        let (head, last) = (store.head(&log).unwrap(), &batch[batch.len() - 1].header);
        assert_eq!((head.next_seq, head.last, head.last_at), (last.seq + 1, Some(last.id), last.at));
        assert_eq!(head.root, tree.root());
    }
}

pub fn finding(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let log = LogId::main();
    let records = chain(0, 50);
    append(&*store, &log, &records).unwrap();
    for record in &records {
        assert_eq!(store.find(&record.header.id).unwrap(), Some((log.clone(), record.header.seq)));
        assert_eq!(store.position(&log, &record.header.id).unwrap(), Some(record.header.seq));
        let payload = &record.content[0];
        assert_eq!(store.content(&payload.digest()).unwrap().as_ref(), Some(payload));
    }
    let other = LogId::new("other").unwrap();
    assert_eq!(store.position(&other, &records[0].header.id).unwrap(), None);
    assert_eq!(store.find(&record(99, &[], &[]).header.id).unwrap(), None);
}

pub fn children(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let log = LogId::main();
    let root = record(0, &[], &[]);
    let id = root.header.id;
    let (first, twice) = (record(1, &[id], &[]), record(2, &[id, id], &[]));
    let third = record(3, &[first.header.id, id], &[]);
    append(&*store, &log, &[root, Arc::clone(&first)]).unwrap();
    append(&*store, &log, &[twice, third]).unwrap();
    let seqs = |id| store.children(id).unwrap().into_iter().map(|(_, seq)| seq).collect::<Vec<_>>();
    assert_eq!(seqs(&id), [1, 2, 3]);
    assert_eq!(seqs(&first.header.id), [3]);
    assert!(seqs(&EventId::default()).is_empty());
    let all: Vec<_> = [1, 2, 3].map(|seq| (log.clone(), seq)).into();
    for (after, limit, expected) in
        [(None, 2, &all[..2]), (Some(0), 9, &all), (Some(1), 1, &all[1..2]), (Some(2), 9, &all[2..])]
    {
        let after = after.map(|seq: u64| (log.clone(), seq));
        assert_eq!(store.children_after(&id, after.as_ref(), limit).unwrap(), expected, "{after:?}");
    }
    for (log, seq) in [(log.clone(), 3), (log.clone(), 4), (LogId::new("other").unwrap(), 1)] {
        assert_eq!(store.children_after(&id, Some(&(log, seq)), 9).unwrap(), []);
    }
}

/// The children of an event are read some at a time, wherever they lie.
pub fn many_children(open: &dyn Fn() -> Opened) {
    const BATCH: u64 = 500;
    let (store, _keep) = open();
    let (main, side) = (LogId::main(), LogId::new("side").unwrap());
    let root = record(0, &[], &[]);
    let id = root.header.id;
    append(&*store, &main, &[Arc::clone(&root)]).unwrap();
    append(&*store, &side, &[root]).unwrap();
    let mut expected = Vec::new();
    for n in 0..10 {
        // Every third is of another cause. Both logs grow in turns.
        let log = if n % 2 == 0 { &main } else { &side };
        let next = store.head(log).unwrap().next_seq;
        let records: Vec<_> = (next..next + BATCH)
            .map(|seq| record(seq, if seq % 3 == 0 { &[] } else { std::slice::from_ref(&id) }, &[]))
            .collect();
        append(&*store, log, &records).unwrap();
        expected.extend((next..next + BATCH).filter(|seq| seq % 3 != 0).map(|seq| (log.clone(), seq)));
    }
    assert!(store.children(&id).unwrap() == expected);
    for limit in [1000, 7777] {
        let mut found: Vec<(LogId, u64)> = Vec::new();
        loop {
            let page = store.children_after(&id, found.last(), limit).unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert!(found == expected, "{limit}");
    }
    let ours: Vec<u64> = expected.iter().filter(|(log, _)| *log == main).map(|(_, seq)| *seq).collect();
    let filter = Filter::all().parent(id);
    let seqs = |scan: Scan| scan.map(|record| record.unwrap().header.seq).collect::<Vec<_>>();
    let scan = |seq, direction| {
        seqs(Scan::at(Arc::clone(&store), main.clone(), Cursor { seq, direction }, filter.clone()))
    };
    assert!(scan(0, Direction::Forward) == ours);
    assert!(scan(1001, Direction::Forward) == ours[ours.partition_point(|seq| *seq < 1001)..]);
    assert!(scan(9_999, Direction::Forward).is_empty());
    let backward: Vec<u64> = ours.iter().rev().copied().collect();
    assert!(scan(u64::MAX, Direction::Backward) == backward);
    let walk = descendants(&*store, &main, &id, 3, 1200).unwrap();
    assert_eq!((walk.steps.len(), walk.complete), (1200, false));
    let walk = descendants(&*store, &main, &id, 3, 5000).unwrap();
    assert_eq!((walk.steps.len(), walk.complete), (ours.len(), true));
}

pub fn logs_are_apart(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let (main, side) = (LogId::main(), LogId::new("side").unwrap());
    let records = chain(0, 6);
    append(&*store, &side, &records[..1]).unwrap();
    append(&*store, &main, &records[..3]).unwrap();
    append(&*store, &side, &records[1..2]).unwrap();
    append(&*store, &main, &records[3..]).unwrap();
    assert_eq!(store.logs().unwrap(), [side.clone(), main.clone()]);
    assert_eq!(store.read(&main, 0, 9).unwrap(), records);
    assert_eq!(store.read(&side, 0, 9).unwrap(), records[..2]);
    assert_eq!(store.position(&side, &records[1].header.id).unwrap(), Some(1));
    assert_eq!(store.position(&side, &records[2].header.id).unwrap(), None);
    assert_eq!(store.find(&records[0].header.id).unwrap(), Some((side, 0)));
}

/// An event that two logs have is found where it was stored first, whatever the logs' order.
pub fn the_first_place_is_found(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let (main, side) = (LogId::main(), LogId::new("side").unwrap());
    let records = chain(0, 3);
    append(&*store, &main, &records[..1]).unwrap();
    append(&*store, &side, &records).unwrap();
    append(&*store, &main, &records[1..]).unwrap();
    let (first, shared) = (records[0].header.id, records[1].header.id);
    assert_eq!(store.find(&first).unwrap(), Some((main.clone(), 0)));
    assert_eq!(store.find(&shared).unwrap(), Some((side.clone(), 1)));
    assert_eq!(store.position(&main, &shared).unwrap(), Some(1));
    assert_eq!(store.children(&first).unwrap(), [(side.clone(), 1), (main, 1)]);
    let hex = shared.to_string();
    assert_eq!(store.find_prefix(&hex[..30], 9).unwrap(), [(shared, side, 1)], "each event once");
}

/// Content is what the header says, or it is not taken for it.
pub fn content_of_another_size_is_refused(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let log = LogId::main();
    let mut other = (*record(0, &[], &[b"what the header names"])).clone();
    let named = other.header.content[0].digest;
    other.content = vec![Payload::new(&b"something else"[..])];
    let refused = append(&*store, &log, &[Arc::new(other.clone())]);
    let event = other.header.id;
    assert_eq!(refused, Err(StoreError::MissingContent { event, digest: named }));
    assert_eq!(store.head(&log).unwrap().next_seq, 0);
    assert_eq!(store.content(&named).unwrap(), None);
    assert_eq!(store.content(&other.content[0].digest()).unwrap(), None);
}

/// Whoever reads beside a writer sees a batch whole or not at all, and never less than before.
pub fn readers_see_whole_batches(open: &dyn Fn() -> Opened) {
    const BATCH: u64 = 5;
    let (store, _keep) = open();
    let log = LogId::main();
    let records = chain(0, 40 * BATCH);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = || {
            let mut before = 0;
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                let next = store.head(&log).unwrap().next_seq;
                assert!(next >= before && next.is_multiple_of(BATCH), "{before}, then {next}");
                let seen = store.read(&log, before, usize::MAX).unwrap();
                assert!(seen.len() as u64 >= next - before && (seen.len() as u64).is_multiple_of(BATCH));
                assert_eq!(seen, records[before as usize..before as usize + seen.len()]);
                if let Some(last) = seen.last() {
                    let id = last.header.id;
                    assert_eq!(store.position(&log, &id).unwrap(), Some(last.header.seq));
                }
                before = next;
            }
        };
        let readers = [scope.spawn(reader), scope.spawn(reader)];
        records.chunks(BATCH as usize).for_each(|batch| append(&*store, &log, batch).unwrap());
        done.store(true, std::sync::atomic::Ordering::Release);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    assert_eq!(store.read(&log, 0, usize::MAX).unwrap(), records);
}

/// Of two that append at the same place one is told so, and the log is the other's.
pub fn two_writers_conflict(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let log = LogId::main();
    let event = |text: String| NewEvent::new(Kind::new("note.taken").unwrap()).payload(&text).unwrap();
    let mut first = LogWriter::open(Arc::clone(&store), log.clone()).unwrap();
    let mut second = LogWriter::open(Arc::clone(&store), log.clone()).unwrap();
    first.commit(event("first".into())).unwrap();
    let late = second.commit(event("second".into())).unwrap_err();
    assert_eq!(late, StoreError::Conflict { log: log.clone(), expected: 0, head: 1 });
    assert_eq!(store.head(&log).unwrap().next_seq, 1);
    // Many at once: each number is taken once.
    let won = std::thread::scope(|scope| {
        let append = |n: u64| {
            let store = &store;
            let log = &log;
            move || {
                let tries = (0..10).map(|round| {
                    let next = store.head(log).unwrap().next_seq;
                    let record = record(next, &[], &[format!("{n} {round}").as_bytes()]);
                    match store.append(log, next, &[record], Room::Ordinary) {
                        Ok(()) => 1,
                        Err(StoreError::Conflict { .. }) => 0,
                        Err(error) => panic!("{error}"),
                    }
                });
                tries.sum::<u64>()
            }
        };
        let threads: Vec<_> = (0..4).map(|n| scope.spawn(append(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>()
    });
    assert!(won > 0);
    assert_eq!(store.head(&log).unwrap().next_seq, 1 + won);
    assert_eq!(store.read(&log, 0, usize::MAX).unwrap().len() as u64, 1 + won);
}

pub fn prefixes(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let log = LogId::main();
    let records = chain(0, 64);
    append(&*store, &log, &records).unwrap();
    for record in &records {
        let hex = record.header.id.to_string();
        for digits in [20, 64] {
            let found = store.find_prefix(&hex[..digits], 5).unwrap();
            assert_eq!(found, [(record.header.id, log.clone(), record.header.seq)]);
        }
        let short: Vec<_> = store.find_prefix(&hex[..1], 100).unwrap();
        let expected = records.iter().filter(|r| r.header.id.to_string().starts_with(&hex[..1])).count();
        assert_eq!(short.len(), expected);
        assert_eq!(store.find_prefix(&hex[..1], 1).unwrap().len(), 1);
    }
    assert_eq!(store.find_prefix("xyz", 5).unwrap(), []);
}

pub fn dimension(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    assert_eq!(store.dimension().unwrap(), None);
    store.fix_dimension(3).unwrap();
    store.fix_dimension(3).unwrap();
    assert_eq!(store.fix_dimension(4), Err(StoreError::Dimension { expected: 3, found: 4 }));
    assert_eq!(store.dimension().unwrap(), Some(3));
}

pub fn closing(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let log = LogId::main();
    let records = chain(0, 3);
    append(&*store, &log, &records[..2]).unwrap();
    store.close().unwrap();
    store.close().unwrap();
    assert_eq!(append(&*store, &log, &records[2..]), Err(StoreError::Closed));
    assert_eq!(store.read(&log, 0, 9).unwrap(), records[..2]);
}

pub fn large_and_empty_content(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let log = LogId::main();
    let large: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let records = [record(0, &[], &[b"", &large]), record(1, &[], &[&vec![0; 1_000_000], b""])];
    append(&*store, &log, &records).unwrap();
    assert_eq!(store.read(&log, 0, 2).unwrap(), records);
    let statistics = store.statistics().unwrap();
    assert!(statistics.log + statistics.compressed > 4_000_000);
}

pub fn many_batches(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let log = LogId::main();
    let records = chain(0, 3000);
    for batch in records.chunks(37) {
        append(&*store, &log, batch).unwrap();
    }
    assert_eq!(store.read(&log, 0, usize::MAX).unwrap(), records);
    for record in records.iter().step_by(97) {
        assert_eq!(store.find(&record.header.id).unwrap(), Some((log.clone(), record.header.seq)));
        let children = store.children(&record.header.id).unwrap();
        let expected: Vec<_> =
            (record.header.seq < 2999).then(|| (log.clone(), record.header.seq + 1)).into_iter().collect();
        assert_eq!(children, expected);
    }
    assert_eq!(store.statistics().unwrap().events, 3000);
}

pub fn writer_checks(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let mut writer = LogWriter::open(Arc::clone(&store), LogId::main()).unwrap();
    let good = chain(0, 40);
    writer.append_records(&good[..3], Room::Ordinary).unwrap();
    let mut many = good[3..].to_vec();
    Arc::make_mut(&mut many[36]).header.id = EventId::default();
    let wrong = writer.append_records(&many, Room::Ordinary);
    assert!(matches!(wrong, Err(StoreError::Id { seq: 39, .. })), "{wrong:?}");
    let mut refuse = |change: &dyn Fn(&mut Record), check: &dyn Fn(&StoreError) -> bool| {
        let mut changed = (*good[3]).clone();
        changed.header.parents = vec![good[2].header.id];
        change(&mut changed);
        let error = writer.append_records(&[Arc::new(changed)], Room::Ordinary).unwrap_err();
        assert!(check(&error), "{error}");
        assert_eq!(store.head(&LogId::main()).unwrap().next_seq, 3);
    };
    let reseal = |record: &mut Record| record.header.id = record.header.causal_digest();
    refuse(&|r| r.header.seq = 9, &|e| matches!(e, StoreError::Sequence { expected: 3, found: 9, .. }));
    refuse(&|r| r.header.id = EventId::default(), &|e| matches!(e, StoreError::Id { seq: 3, .. }));
    refuse(
        &|r| {
            r.header.at = Timestamp(0);
            reseal(r)
        },
        &|e| matches!(e, StoreError::Time { .. }),
    );
    refuse(
        &|r| {
            r.header.parents = vec![EventId::default(); 65];
            reseal(r)
        },
        &|e| matches!(e, StoreError::Record(_)),
    );
    refuse(
        &|r| {
            r.header.parents = vec![EventId(Digest::of(b"?"))];
            reseal(r)
        },
        &|e| matches!(e, StoreError::MissingEvent { role: "parent", missing, .. } if *missing == EventId(Digest::of(b"?"))),
    );
    refuse(
        &|r| {
            r.header.prev = Some(EventId(Digest::of(b"!")));
            reseal(r)
        },
        &|e| matches!(e, StoreError::MissingEvent { role: "prev", .. }),
    );
    refuse(
        &|r| {
            r.header.content[0].size += 1;
            reseal(r)
        },
        &|e| matches!(e, StoreError::ContentSize { .. }),
    );
    refuse(
        &|r| {
            r.header.content = vec![ContentRef { digest: Digest::of(b"-"), size: 1 }];
            reseal(r)
        },
        &|e| matches!(e, StoreError::MissingContent { .. }),
    );
    let twin = {
        let mut twin = (*good[1]).clone();
        twin.header.seq = 3;
        twin.header.at = good[3].header.at;
        Arc::new(twin)
    };
    let id = twin.header.id;
    let duplicate = StoreError::Duplicate { log: LogId::main(), id, seq: 1 };
    assert_eq!(writer.append_records(&[twin], Room::Ordinary), Err(duplicate));
    let following: Vec<_> = chain(3, 37);
    writer.append_records(&following, Room::Reserved).unwrap();
    let mut twins = vec![record(40, &[], &[]); 2];
    Arc::make_mut(&mut twins[1]).header.seq = 41;
    let duplicate = writer.append_records(&twins, Room::Ordinary);
    assert!(matches!(duplicate, Err(StoreError::Duplicate { seq: 40, .. })), "{duplicate:?}");
    assert_eq!(writer.next_seq(), 40);
}

pub fn writer_is_idempotent(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let mut writer = LogWriter::open(Arc::clone(&store), LogId::main()).unwrap();
    let event =
        |text: &str| NewEvent::new(Kind::new("note.taken").unwrap()).payload(&text.to_owned()).unwrap();
    let first = writer.commit(event("a")).unwrap();
    let again = writer.commit(event("a")).unwrap();
    assert!(first.new && !again.new);
    assert_eq!(first.record, again.record);
    let batch = writer.commit_batch(vec![event("b"), event("a"), event("b")]).unwrap();
    assert_eq!(
        batch.iter().map(|c| (c.record.header.seq, c.new)).collect::<Vec<_>>(),
        [(1, true), (0, false), (1, false)]
    );
    let mut chained = event("a");
    chained.prev = Some(first.record.header.id);
    assert_eq!(writer.commit(chained).unwrap().record.header.seq, 2, "with `prev` it is another event");
    assert_eq!(writer.next_seq(), 3);
    let reopened = LogWriter::open(store, LogId::main()).unwrap();
    assert!(reopened.contains(&first.record.header.id).unwrap());
}

pub fn proofs(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let log = LogId::main();
    let records = chain(0, 1300);
    let mut roots = vec![LogTree::new()];
    for batch in records.chunks(211) {
        append(&*store, &log, batch).unwrap();
        for record in batch {
            let mut tree = roots[roots.len() - 1].clone();
            tree.append(leaf_hash(&record.header.to_bytes()));
            roots.push(tree);
        }
        let size = store.head(&log).unwrap().next_seq;
        let root = roots[size as usize].root();
        for index in [0, 1, size / 3, 255, 256, size - 1].into_iter().filter(|index| *index < size) {
            let proof = proof::inclusion(&*store, &log, index, size).unwrap();
            let leaf = leaf_hash(&records[index as usize].header.to_bytes());
            proof.verify(&leaf, &root).unwrap();
        }
        for old in [0, 1, 200, 256, 511, 512, size - 1, size].into_iter().filter(|old| *old <= size) {
            let proof = proof::consistency(&*store, &log, old, size).unwrap();
            proof.verify(&roots[old as usize].root(), &root).unwrap();
        }
    }
    for size in [0, 1, 255, 256, 257, 1024, 1299] {
        assert_eq!(proof::root_at(&*store, &log, size), Ok(roots[size as usize].root()), "{size}");
    }
    for (level, number) in [(0, 1299), (3, 161), (8, 4), (10, 0), (9, 1)] {
        assert!(store.subtree(&log, level, number).unwrap().is_some(), "{level} {number}");
    }
    for (level, number) in
        [(0, 1300), (3, 162), (8, 5), (11, 0), (63, 0), (63, 1), (64, 0), (200, 9), (1, u64::MAX)]
    {
        assert_eq!(store.subtree(&log, level, number), Ok(None), "{level} {number}");
    }
    let other = LogId::new("other").unwrap();
    assert_eq!(store.subtree(&other, 0, 0), Ok(None));
    let short = |log: &LogId, size, found| ProofError::Short { log: log.clone(), size, found };
    assert_eq!(proof::root_at(&*store, &other, 1), Err(short(&other, 1, 0)));
    assert_eq!(proof::inclusion(&*store, &log, 3, 1301), Err(short(&log, 1301, 1300)));
}
