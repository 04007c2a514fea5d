//! What a store promises of forks and of batches across logs.

use std::sync::Arc;

use toka_types::{Digest, EntityId, EventHeader, EventId, Kind};

use super::{Opened, append, chain, record};
use crate::core::{LogId, NewEvent, Record};
use crate::fork::{Base, Lineage, MAX_DEPTH, forked, forked_event};
use crate::hash::{LogTree, leaf_hash};
use crate::proof;
use crate::store::{Part, Room, Store, StoreError};
use crate::writer::LogWriter;

fn log(name: &str) -> LogId {
    LogId::new(name).unwrap()
}

/// The first own record of a fork of `base` after the event `last`.
pub fn forked_record(base: &LogId, last: &EventHeader, nonce: &[u8]) -> Arc<Record> {
    let event = forked_event(base, last, Digest::of(nonce)).unwrap();
    let mut header = EventHeader {
        seq: last.seq + 1,
        id: EventId::default(),
        at: last.at,
        kind: event.kind,
        author: event.author,
        prev: None,
        parents: event.parents,
        labels: event.labels,
        content: Vec::new(),
        facts: event.facts,
    };
    header.id = header.causal_digest();
    Arc::new(Record { header, content: Vec::new() })
}

/// Forks `base` after `last`, with `own` after the fork's first event.
fn fork(
    store: &dyn Store,
    base: &LogId,
    last: &EventHeader,
    name: &LogId,
    own: &[Arc<Record>],
) -> Result<Vec<Arc<Record>>, StoreError> {
    let mut records = vec![forked_record(base, last, name.as_str().as_bytes())];
    records.extend_from_slice(own);
    let point = Base { log: base.clone(), size: last.seq + 1 };
    let part = Part { log: name, expected: point.size, records: &records, base: Some(&point) };
    store.append_parts(&[part], Room::Ordinary)?;
    Ok(records)
}

/// A log holds exactly `expected`, whichever way it is read.
fn check_log(store: &dyn Store, name: &LogId, expected: &[Arc<Record>]) {
    assert_eq!(store.read(name, 0, usize::MAX).unwrap(), expected);
    let mut tree = LogTree::new();
    for (seq, record) in (0..).zip(expected) {
        tree.append(leaf_hash(&record.header.to_bytes()));
        assert_eq!(store.position(name, &record.header.id).unwrap(), Some(seq), "event {seq} of {name}");
    }
    for (from, limit) in [(0, 3), (5, 4), (7, 1), (8, 1), (6, 9), (expected.len() as u64, 5), (u64::MAX, 2)] {
        let part = expected.iter().skip(usize::try_from(from).unwrap_or(usize::MAX)).take(limit);
        let part: Vec<_> = part.cloned().collect();
        assert_eq!(store.read(name, from, limit).unwrap(), part, "{limit} from {from} of {name}");
        let headers: Vec<_> = part.iter().map(|record| record.header.clone()).collect();
        assert_eq!(store.headers(name, from, limit).unwrap(), headers);
    }
    let (head, last) = (store.head(name).unwrap(), &expected[expected.len() - 1].header);
    assert_eq!((head.next_seq, head.last, head.last_at), (last.seq + 1, Some(last.id), last.at));
    assert_eq!(head.root, tree.root(), "the tree goes on from the base's");
}

pub fn forks_share_their_base(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let (main, side) = (LogId::main(), log("side"));
    let shared = chain(0, 12);
    append(&*store, &main, &shared).unwrap();
    let seventh = &shared[7].header;
    let child = record(9, &[seventh.id], &[b"only in the fork", shared[3].content[0].bytes()]);
    let before = store.statistics().unwrap();
    let own = fork(&*store, &main, seventh, &side, &[Arc::clone(&child)]).unwrap();
    let after = store.statistics().unwrap();
    assert_eq!(after.events - before.events, 2, "nothing is copied");
    let more = chain(12, 3);
    append(&*store, &main, &more).unwrap();
    let last = record(10, &[own[0].header.id, child.header.id], &[]);
    append(&*store, &side, &[Arc::clone(&last)]).unwrap();

    let base: Vec<_> = shared.iter().chain(&more).cloned().collect();
    let all: Vec<_> = shared[..8].iter().chain(&own).chain([&last]).cloned().collect();
    check_log(&*store, &main, &base);
    check_log(&*store, &side, &all);
    assert_eq!(store.logs().unwrap(), [main.clone(), side.clone()]);
    assert_eq!(store.base(&side).unwrap(), Some(Base { log: main.clone(), size: 8 }));
    assert_eq!(store.base(&main).unwrap(), None);
    assert_eq!(store.base(&log("other")).unwrap(), None);
    assert_eq!(forked(&own[0].header).map(|facts| (facts.seq, facts.id)), Some((7, seventh.id)));

    // Where an event was appended, and what each log takes for its own.
    assert_eq!(store.find(&shared[3].header.id).unwrap(), Some((main.clone(), 3)));
    assert_eq!(store.find(&child.header.id).unwrap(), Some((side.clone(), 9)));
    assert_eq!(store.position(&side, &shared[8].header.id).unwrap(), None, "after the fork");
    assert_eq!(store.position(&main, &child.header.id).unwrap(), None);
    let children = store.children(&seventh.id).unwrap();
    assert_eq!(children, [(main.clone(), 8), (side.clone(), 8), (side.clone(), 9)]);
    let lineage = Lineage::of(&*store, &side).unwrap();
    assert!(!lineage.contains(&main, 8) && lineage.contains(&main, 7) && lineage.contains(&side, 8));
    assert_eq!((lineage.own_from(), lineage.depth()), (8, 1));
    let hex = child.header.id.to_string();
    assert_eq!(store.find_prefix(&hex, 5).unwrap(), [(child.header.id, side.clone(), 9)]);
}

pub fn forks_of_forks(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let (main, first) = (LogId::main(), log("first"));
    let shared = chain(0, 9);
    append(&*store, &main, &shared).unwrap();
    let own = fork(&*store, &main, &shared[5].header, &first, &[record(7, &[], &[b"7"])]).unwrap();
    // Once after an event of the fork's own, once after one that it shares.
    let second = fork(&*store, &first, &own[1].header, &log("second"), &[record(9, &[], &[b"9"])]).unwrap();
    let early = fork(&*store, &first, &shared[2].header, &log("early"), &[]).unwrap();
    append(&*store, &first, &[record(8, &[], &[b"8"])]).unwrap();
    let all: Vec<_> = shared[..6].iter().chain(&own).chain(&second).cloned().collect();
    check_log(&*store, &log("second"), &all);
    let all: Vec<_> = shared[..3].iter().chain(&early).cloned().collect();
    check_log(&*store, &log("early"), &all);
    let lineage = Lineage::of(&*store, &log("second")).unwrap();
    let stretches: Vec<_> = lineage.stretches(4, 9).map(|(log, from, n)| (log.as_str(), from, n)).collect();
    assert_eq!(stretches, [("main", 4, 2), ("first", 6, 2), ("second", 8, 5)]);
    assert_eq!(store.position(&log("second"), &own[0].header.id).unwrap(), Some(6));
    assert_eq!(store.position(&log("early"), &own[0].header.id).unwrap(), None);
    assert_eq!(store.position(&log("early"), &shared[3].header.id).unwrap(), None);

    let mut last = forked_record(&main, &shared[0].header, b"depth");
    let mut name = log("depth-1");
    fork(&*store, &main, &shared[0].header, &name, &[]).unwrap();
    for depth in 2..=MAX_DEPTH {
        last = store.read(&name, last.header.seq, 1).unwrap().remove(0);
        let next = log(&format!("depth-{depth}"));
        last = fork(&*store, &name, &last.header, &next, &[]).unwrap().remove(0);
        name = next;
    }
    assert_eq!(store.read(&name, 0, 1).unwrap(), shared[..1]);
    assert_eq!(store.position(&name, &last.header.id).unwrap(), Some(MAX_DEPTH as u64));
    let refused = fork(&*store, &name, &last.header, &log("too-deep"), &[]);
    assert_eq!(refused, Err(StoreError::ForkDepth { log: log("too-deep"), depth: MAX_DEPTH + 1 }));
}

pub fn forks_are_proved_like_their_base(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let (main, side) = (LogId::main(), log("side"));
    let shared = chain(0, 700);
    append(&*store, &main, &shared).unwrap();
    let mut all = shared[..600].to_vec();
    all.extend(fork(&*store, &main, &shared[599].header, &side, &chain(601, 300)).unwrap());
    let mut trees = vec![LogTree::new()];
    for record in &all {
        let mut tree = trees[trees.len() - 1].clone();
        tree.append(leaf_hash(&record.header.to_bytes()));
        trees.push(tree);
    }
    let size = all.len() as u64;
    assert_eq!(proof::root_at(&*store, &side, 600), proof::root_at(&*store, &main, 600));
    for at in [256, 600, 601, 768, size] {
        assert_eq!(proof::root_at(&*store, &side, at), Ok(trees[at as usize].root()), "{at}");
        let proof = proof::consistency(&*store, &side, at, size).unwrap();
        proof.verify(&trees[at as usize].root(), &trees[size as usize].root()).unwrap();
    }
    for index in [0, 255, 511, 599, 600, 601, 767, size - 1] {
        let proof = proof::inclusion(&*store, &side, index, size).unwrap();
        let leaf = leaf_hash(&all[index as usize].header.to_bytes());
        proof.verify(&leaf, &trees[size as usize].root()).unwrap();
    }
}

pub fn forks_that_cannot_be(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let (main, side) = (LogId::main(), log("side"));
    let shared = chain(0, 3);
    append(&*store, &main, &shared).unwrap();
    let refused = |base: &LogId, size: u64, name: &LogId, expected: u64| {
        let records = [forked_record(base, &shared[2].header, b"")];
        let base = Base { log: base.clone(), size };
        let part = Part { log: name, expected, records: &records, base: Some(&base) };
        let refused = store.append_parts(&[part], Room::Ordinary).unwrap_err();
        assert_eq!(store.logs().unwrap(), [LogId::main()], "{refused}");
        refused
    };
    let no_point = |log: &LogId, seq, head| StoreError::ForkPoint { log: log.clone(), seq, head };
    assert_eq!(refused(&main, 4, &side, 4), no_point(&main, 3, 3));
    assert_eq!(refused(&main, 0, &side, 0), no_point(&main, 0, 3));
    assert_eq!(refused(&log("none"), 1, &side, 1), no_point(&log("none"), 0, 0));
    assert_eq!(refused(&main, 3, &main, 3), StoreError::LogExists { log: main.clone() });
    assert!(matches!(refused(&main, 3, &side, 2), StoreError::Conflict { expected: 2, head: 3, .. }));
    fork(&*store, &main, &shared[2].header, &side, &[]).unwrap();
    let again = fork(&*store, &main, &shared[1].header, &side, &[]);
    assert_eq!(again, Err(StoreError::LogExists { log: side.clone() }));
    let conflict = StoreError::Conflict { log: side.clone(), expected: 3, head: 4 };
    assert_eq!(append(&*store, &side, &[record(3, &[], &[])]), Err(conflict));
}

pub fn batches_across_logs(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let (main, side, third) = (LogId::main(), log("side"), log("third"));
    let (a, b) = (chain(0, 5), [record(0, &[], &[b"the same"]), record(1, &[], &[b"the same"])]);
    append(&*store, &main, &a[..2]).unwrap();
    let empty: [Arc<Record>; 0] = [];
    let parts = [Part::new(&side, 0, &b[..1]), Part::new(&main, 2, &a[2..4]), Part::new(&third, 0, &empty)];
    store.append_parts(&parts, Room::Ordinary).unwrap();
    assert_eq!(store.logs().unwrap(), [main.clone(), side.clone()], "no events make no log");
    check_log(&*store, &main, &a[..4]);
    check_log(&*store, &side, &b[..1]);

    let base = Base { log: side.clone(), size: 1 };
    let forked = [forked_record(&side, &b[0].header, b"x")];
    let fork = Part { log: &third, expected: 1, records: &forked, base: Some(&base) };
    for (wrong, expected) in [(1, 2), (2, 1)] {
        let parts = [Part::new(&side, 1, &b[1..]), Part::new(&main, 4, &a[4..]), fork];
        let mut parts = parts.map(|part| Part { expected: part.expected, ..part });
        parts[wrong].expected += expected;
        let refused = store.append_parts(&parts, Room::Ordinary).unwrap_err();
        assert!(matches!(refused, StoreError::Conflict { .. }), "{refused}");
        assert_eq!(store.read(&side, 1, 9).unwrap(), [], "one part that is refused refuses all");
    }
    let twice = [Part::new(&side, 1, &b[1..]), Part::new(&side, 2, &empty)];
    let refused = store.append_parts(&twice, Room::Ordinary);
    assert_eq!(refused, Err(StoreError::TwoParts { log: side.clone() }));
    let mut missing = (*record(4, &[], &[b"never handed in"])).clone();
    missing.content.clear();
    let missing = [Arc::new(missing)];
    let refused =
        store.append_parts(&[Part::new(&side, 1, &b[1..]), Part::new(&main, 4, &missing)], Room::Ordinary);
    assert!(matches!(refused, Err(StoreError::MissingContent { .. })));
    assert_eq!((store.head(&side).unwrap().next_seq, store.head(&main).unwrap().next_seq), (1, 4));
    store.append_parts(&[Part::new(&side, 1, &b[1..]), fork], Room::Ordinary).unwrap();
    check_log(&*store, &third, &[Arc::clone(&b[0]), Arc::clone(&forked[0])]);
    check_log(&*store, &side, &b);
}

pub fn writers_fork(open: &dyn Fn() -> Opened) {
    let (store, _keep) = open();
    let (main, side) = (LogId::main(), log("side"));
    let (alice, operator) = (EntityId::named("alice"), EntityId::operator());
    let event = |text: &str| {
        let event = NewEvent::new(Kind::new("note.taken").unwrap()).author(alice);
        event.payload(&text.to_owned()).unwrap()
    };
    let mut writer = LogWriter::open(Arc::clone(&store), main.clone()).unwrap();
    let first = writer.commit(event("a")).unwrap().record;
    let mut chained = event("b");
    chained.prev = Some(first.header.id);
    let second = writer.commit(chained).unwrap().record;
    let none = LogWriter::fork(Arc::clone(&store), &main, 2, side.clone(), operator).err();
    assert_eq!(none, Some(StoreError::ForkPoint { log: main.clone(), seq: 2, head: 2 }));

    let (mut fork, forked) = LogWriter::fork(Arc::clone(&store), &main, 0, side.clone(), operator).unwrap();
    assert_eq!((forked.header.seq, &forked.header.parents), (1, &vec![first.header.id]));
    assert_eq!(forked.header.author, operator);
    for reopened in [false, true] {
        if reopened {
            fork = LogWriter::open(Arc::clone(&store), side.clone()).unwrap();
        }
        // What was said before the fork is said again in it; what says the same twice is one event.
        for prev in [None, Some(first.header.id)] {
            let mut again = event("b");
            again.prev = prev;
            let again = fork.commit(again).unwrap();
            assert_eq!(again.new, !reopened && prev.is_none());
            assert_eq!((again.record.header.prev, again.record.header.seq), (Some(forked.header.id), 2));
            assert_ne!(again.record.header.id, second.header.id, "the ids diverge");
        }
        let caused = fork.commit(event("c").parents([first.header.id])).unwrap().record;
        assert_eq!(caused.header.parents, [first.header.id], "a cause may lie before the fork");
        let elsewhere = fork.commit(event("d").parents([second.header.id]));
        assert!(matches!(elsewhere, Err(StoreError::MissingEvent { role: "parent", .. })));
    }
    let mut stale = (*record(4, &[], &[])).clone();
    for prev in [None, Some(first.header.id)] {
        stale.header.prev = prev;
        stale.header.at = store.head(&side).unwrap().last_at;
        stale.header.id = stale.header.causal_digest();
        let (event, forked) = (stale.header.id, forked.header.id);
        let refused = fork.append_records(&[Arc::new(stale.clone())], Room::Ordinary);
        assert_eq!(refused, Err(StoreError::BeforeFork { log: side.clone(), event, prev, forked }));
    }

    let parts = vec![(&mut writer, vec![event("e")]), (&mut fork, vec![event("e"), event("f")])];
    let committed = LogWriter::commit_across(parts).unwrap();
    assert_eq!(committed.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
    assert_ne!(committed[0][0].record.header.id, committed[1][0].record.header.id);
    let orphan = event("g").parents([committed[1][1].record.header.id]);
    let refused = LogWriter::commit_across(vec![(&mut fork, vec![event("h")]), (&mut writer, vec![orphan])]);
    assert!(matches!(refused, Err(StoreError::MissingEvent { .. })));
    assert_eq!((writer.next_seq(), fork.next_seq()), (3, 6));
    assert_eq!((writer.head().unwrap().next_seq, fork.head().unwrap().next_seq), (3, 6));
    let mut stale = LogWriter::open(Arc::clone(&store), side.clone()).unwrap();
    fork.commit(event("i")).unwrap();
    let refused =
        LogWriter::commit_across(vec![(&mut writer, vec![event("j")]), (&mut stale, vec![event("k")])]);
    assert!(matches!(refused, Err(StoreError::Conflict { expected: 6, head: 7, .. })));
    assert_eq!(writer.commit(event("l")).unwrap().record.header.seq, 3);
}
