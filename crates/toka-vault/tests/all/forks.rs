//! Forks in the journal: their bytes, reopening, readers, and damage.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use toka_types::{ContentRef, Digest, EntityId, EventHeader, Gone, Timestamp};
use toka_vault::fork::forked;
use toka_vault::testing::{chain, forked_record, record};
use toka_vault::{
    Base, Compaction, Fate, Journal, LogId, LogWriter, Part, Record, Retention, Room, Store, StoreError,
    What, verify,
};

use crate::format::{hex, records, unhex, vectors};
use crate::journal::copy;

const SEGMENT: &str = "journal/0000000001.seg";

fn log(name: &str) -> LogId {
    LogId::new(name).unwrap()
}

/// The events of a log that is forked after the first `shared` records, which are the base's.
fn fork(
    store: &Journal,
    base: &LogId,
    shared: &[Arc<Record>],
    name: &LogId,
    own: &[Arc<Record>],
) -> Vec<Arc<Record>> {
    let last = &shared[shared.len() - 1].header;
    let mut records = vec![forked_record(base, last, name.as_str().as_bytes())];
    records.extend_from_slice(own);
    let point = Base { log: base.clone(), size: last.seq + 1 };
    let part = Part { log: name, expected: point.size, records: &records, base: Some(&point) };
    store.append_parts(&[part], Room::Ordinary).unwrap();
    shared.iter().cloned().chain(records).collect()
}

fn append(store: &Journal, log: &LogId, batch: &[Arc<Record>]) {
    store.append(log, batch[0].header.seq, batch, Room::Ordinary).unwrap();
}

/// Every log as it is expected, and nothing wrong.
fn check(store: &dyn Store, logs: &[(LogId, Vec<Arc<Record>>)], what: &str) {
    for (log, records) in logs {
        assert_eq!(store.read(log, 0, usize::MAX).unwrap(), *records, "{what}: {log}");
        let mut tree = toka_vault::hash::LogTree::new();
        records.iter().for_each(|r| tree.append(toka_vault::hash::leaf_hash(&r.header.to_bytes())));
        let head = store.head(log).unwrap();
        assert_eq!((head.next_seq, head.root), (records.len() as u64, tree.root()), "{what}: {log}");
        for record in records.iter().step_by(97) {
            let id = &record.header.id;
            assert_eq!(store.position(log, id).unwrap(), Some(record.header.seq), "{what}: {log}");
        }
    }
}

/// A journal of several segments with a log, forks of it in its middle and at its end, and forks of those.
fn family(store: &Journal) -> Vec<(LogId, Vec<Arc<Record>>)> {
    let (main, late, mid, of_mid) = (LogId::main(), log("late"), log("mid"), log("of-mid"));
    let mut base = chain(0, 1500);
    base.chunks(100).for_each(|batch| append(store, &main, batch));
    let own: Vec<_> =
        (701..950).map(|seq| record(seq, &[base[699].header.id], &[&[seq as u8; 300]])).collect();
    let mut middle = fork(store, &main, &base[..700], &mid, &own[..9]);
    own[9..].chunks(60).for_each(|batch| append(store, &mid, batch));
    middle.extend_from_slice(&own[9..]);
    let ended = fork(store, &main, &base, &late, &[]);
    let more = chain(1500, 1500);
    more.chunks(100).for_each(|batch| append(store, &main, batch));
    base.extend(more);
    let second = fork(store, &mid, &middle[..800], &of_mid, &[record(801, &[], &[b"x"])]);
    vec![(main, base), (mid, middle), (late, ended), (of_mid, second)]
}

#[test]
fn forks_are_there_after_every_way_to_open() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Journal::open(directory.path()).unwrap();
    let reader = Journal::open_read_only(directory.path()).unwrap();
    let mut logs = family(&store);
    check(&store, &logs, "as written");
    reader.refresh().unwrap();
    check(&reader, &logs, "beside the writer");
    let crashed = copy(directory.path());
    let without = copy(directory.path());
    fs::remove_dir_all(without.path().join("index")).unwrap();
    store.close().unwrap();
    for (path, what) in
        [(directory.path(), "closed"), (crashed.path(), "crashed"), (without.path(), "without indexes")]
    {
        let report = verify(path).unwrap();
        assert_eq!((report.ok, report.problems), (true, vec![]), "{what}");
        assert_eq!(report.logs.len(), logs.len());
        check(&Journal::open_read_only(path).unwrap(), &logs, what);
        let (store, _) = Journal::open(path).unwrap();
        check(&store, &logs, what);
        // A fork of what only the indexes know, and one more event of a fork.
        let base = logs[0].1[..1201].to_vec();
        let again = fork(&store, &LogId::main(), &base, &log("again"), &[]);
        let next = record(logs[1].1.len() as u64, &[logs[0].1[3].header.id], &[]);
        append(&store, &log("mid"), &[Arc::clone(&next)]);
        let mut after = logs.clone();
        after[1].1.push(next);
        after.push((log("again"), again));
        check(&store, &after, what);
        store.close().unwrap();
        let report = verify(path).unwrap();
        assert_eq!((report.ok, report.problems), (true, vec![]), "{what}");
        check(&Journal::open(path).unwrap().0, &after, what);
    }
    logs.clear();
}

#[test]
fn a_stored_fork_opens_for_ever() {
    let records = records();
    let (main, side) = (LogId::main(), log("side"));
    let stored = vectors("forks.json", || {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Journal::open(directory.path()).unwrap();
        append(&store, &main, &records);
        let forked = fork(&store, &main, &records[..3], &side, &[]);
        let mut own = (*record(4, &[records[1].header.id, forked[3].header.id], &[b"own"])).clone();
        own.header.at = records[3].header.at;
        let own = Arc::new(own);
        let more = [Part::new(&side, 4, std::slice::from_ref(&own))];
        store.append_parts(&more, Room::Ordinary).unwrap();
        store.close().unwrap();
        let header = |record: &Arc<Record>| hex(&record.header.to_bytes());
        json!({
            "manifest": fs::read_to_string(directory.path().join("manifest")).unwrap(),
            SEGMENT: hex(&fs::read(directory.path().join(SEGMENT)).unwrap()),
            "main": "the four events of record.json",
            "side": {
                "base": "main", "shared": 3, "own": [header(&forked[3]), header(&own)],
                "root_at_fork": store.head(&main).map(|_| root(&forked[..3])).unwrap(),
                "root": store.head(&side).unwrap().root.to_string(),
            },
        })
    });
    let directory = unpack(&stored);
    let report = verify(directory.path()).unwrap();
    assert_eq!((report.ok, report.events, report.problems.len()), (true, 6, 0));
    let (store, _) = Journal::open(directory.path()).unwrap();
    let read = store.read(&side, 0, 9).unwrap();
    assert_eq!(read[..3], records[..3]);
    let own: Vec<serde_json::Value> =
        read[3..].iter().map(|record| hex(&record.header.to_bytes()).into()).collect();
    assert_eq!(stored["side"]["own"].as_array().unwrap(), &own);
    assert_eq!(store.head(&side).unwrap().root.to_string(), stored["side"]["root"].as_str().unwrap());
    assert_eq!(root(&read[..3]), stored["side"]["root_at_fork"].as_str().unwrap());
    let facts = forked(&read[3].header).unwrap();
    assert_eq!((facts.base.as_str(), facts.seq, facts.id), ("main", 2, records[2].header.id));
    assert_eq!(facts.nonce, Digest::of(b"side"));
}

fn root(records: &[Arc<Record>]) -> String {
    let mut tree = toka_vault::hash::LogTree::new();
    records.iter().for_each(|r| tree.append(toka_vault::hash::leaf_hash(&r.header.to_bytes())));
    tree.root().to_string()
}

fn unpack(stored: &serde_json::Value) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("journal")).unwrap();
    fs::write(directory.path().join("manifest"), stored["manifest"].as_str().unwrap()).unwrap();
    fs::write(directory.path().join(SEGMENT), unhex(stored[SEGMENT].as_str().unwrap())).unwrap();
    directory
}

/// Rewrites the checksums of the frames from the one at `offset` on, as somebody who tampers would.
fn seal(bytes: &mut [u8], mut offset: usize) {
    let u32_at = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut previous = None;
    while offset + 16 <= bytes.len() && u32_at(bytes, offset) != 0 {
        if let Some(previous) = previous {
            bytes[offset + 8..offset + 12].copy_from_slice(&u32::to_le_bytes(previous));
        }
        let end = offset + 16 + u32_at(bytes, offset) as usize;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes[16..40]);
        hasher.update(&(offset as u64).to_le_bytes());
        hasher.update(&bytes[offset..offset + 12]);
        hasher.update(&bytes[offset + 16..end]);
        let crc = hasher.finalize();
        bytes[offset + 12..offset + 16].copy_from_slice(&crc.to_le_bytes());
        previous = Some(crc);
        offset = end;
    }
}

#[test]
fn a_fork_that_was_tampered_with_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Journal::open(directory.path()).unwrap();
    let shared = chain(0, 9);
    append(&store, &LogId::main(), &shared);
    let before = store.statistics().unwrap().log as usize;
    // At seven of nine, so that the base's tree is not at hand when the fork is read.
    fork(&store, &LogId::main(), &shared[..7], &log("side"), &[record(8, &[shared[6].header.id], &[])]);
    let crashed = copy(directory.path());
    drop(store);
    let segment = crashed.path().join(SEGMENT);
    let good = fs::read(&segment).unwrap();
    assert_eq!(verify(crashed.path()).unwrap().problems, []);
    // The entry: sort, number, name, the base's number, how many events, three hashes.
    let entry = before + 16;
    assert_eq!((good[entry], &good[entry + 4..entry + 8]), (3, &b"side"[..]));
    let (base, size, hashes) = (entry + 8, entry + 10, entry + 18);
    assert_eq!(u64::from_le_bytes(good[size..size + 8].try_into().unwrap()), 7);
    let cases: [(usize, u8, What, Option<u64>); 4] = [
        (hashes + 5, good[hashes + 5] ^ 1, What::Root, Some(7)),
        (hashes + 70, good[hashes + 70] ^ 1, What::Root, Some(7)),
        // As many bits, so the entry is well formed; events 7 and 8 seem to be shared as well.
        (size, 0b1101, What::Frame, Some(13)),
        (base, 1, What::Frame, Some(7)),
    ];
    for (at, byte, what, seq) in cases {
        let mut bytes = good.clone();
        bytes[at] = byte;
        fs::write(&segment, &bytes).unwrap();
        let plain = verify(crashed.path()).unwrap();
        assert!(
            plain.problems.iter().any(|p| p.what == What::Torn),
            "a torn last frame: {:?}",
            plain.problems
        );
        seal(&mut bytes, before);
        fs::write(&segment, &bytes).unwrap();
        let report = verify(crashed.path()).unwrap();
        assert!(!report.ok, "byte {at}");
        assert_eq!((report.problems[0].what, report.problems[0].seq), (what, seq), "{:?}", report.problems);
        if what == What::Frame {
            assert!(matches!(Journal::open(crashed.path()), Err(StoreError::Damage { .. })));
        }
    }
}

#[test]
fn a_fork_must_begin_with_what_it_is() {
    let shared = chain(0, 3);
    let (main, side) = (LogId::main(), log("side"));
    let good = forked_record(&main, &shared[1].header, b"n");
    let other_base = forked_record(&log("other"), &shared[1].header, b"n");
    let mut other_seq = (*forked_record(&main, &shared[0].header, b"n")).clone();
    other_seq.header.seq = 2;
    let mut other_event = shared[1].header.clone();
    other_event.id = shared[0].header.id;
    let other_event = forked_record(&main, &other_event, b"n");
    let none = record(2, &[], &[]);
    for (first, whole) in
        [(good, true), (other_base, false), (Arc::new(other_seq), false), (other_event, false), (none, false)]
    {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Journal::open(directory.path()).unwrap();
        append(&store, &main, &shared);
        let base = Base { log: main.clone(), size: 2 };
        let part = Part { log: &side, expected: 2, records: &[first], base: Some(&base) };
        store.append_parts(&[part], Room::Ordinary).unwrap();
        // An event that the fork does not share is no cause in it.
        append(&store, &side, &[record(3, &[shared[1].header.id], &[])]);
        drop(store);
        let report = verify(directory.path()).unwrap();
        assert_eq!(report.ok, whole, "{:?}", report.problems);
        let first = report.problems.first().map(|p| (p.what, p.log.clone(), p.seq));
        assert_eq!(first, (!whole).then(|| (What::Event, Some(side.clone()), Some(2))));
    }
}

#[test]
fn verify_knows_what_a_fork_shares() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Journal::open(directory.path()).unwrap();
    let shared = chain(0, 5);
    append(&store, &LogId::main(), &shared);
    let cause = |n: usize| record(3, &[shared[n].header.id], &[]);
    fork(&store, &LogId::main(), &shared[..2], &log("good"), &[cause(1)]);
    fork(&store, &LogId::main(), &shared[..2], &log("bad"), &[cause(2)]);
    drop(store);
    let report = verify(directory.path()).unwrap();
    let found: Vec<_> = report.problems.iter().map(|p| (p.what, p.log.clone(), p.seq)).collect();
    assert_eq!(found, [(What::Cause, Some(log("bad")), Some(3))]);
}

#[test]
fn a_vault_has_a_bounded_number_of_logs() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Journal::open(directory.path()).unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let first = chain(0, 1);
    let names: Vec<_> = (0..toka_vault::store::MAX_LOGS).map(|n| log(&format!("log-{n}"))).collect();
    let parts: Vec<_> = names.iter().map(|name| Part::new(name, 0, &first)).collect();
    store.append_parts(&parts, Room::Ordinary).unwrap();
    assert_eq!(store.logs().unwrap(), names);
    let refused = LogWriter::fork(Arc::clone(&store), &names[0], 0, log("more"), EntityId::NONE).err();
    assert_eq!(refused, Some(StoreError::TooManyLogs { log: log("more"), limit: names.len() }));
    drop(store);
    reopen(directory.path(), names.len());
}

fn reopen(path: &Path, logs: usize) {
    assert_eq!(Journal::open(path).unwrap().0.logs().unwrap().len(), logs);
    assert_eq!(verify(path).unwrap().problems, []);
}

/// Lets all content go but that of the first events.
struct AllButThree;

impl Retention for AllButThree {
    fn see(&mut self, _: &LogId, _: &EventHeader) {}

    fn fate(&self, _: &LogId, header: &EventHeader, _: &ContentRef) -> Fate {
        if header.seq < 3 { Fate::Keep } else { Fate::Drop(Gone::Expired) }
    }
}

#[test]
fn compaction_keeps_forks() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Journal::open(directory.path()).unwrap();
    let logs = family(&store);
    let report = store.compact(Some(&mut AllButThree), &Compaction::thorough(Timestamp(1))).unwrap();
    assert!(report.rewritten > 1, "{report:?}");
    let same = |store: &dyn Store, what: &str| {
        for (log, records) in &logs {
            let headers: Vec<_> = records.iter().map(|record| record.header.clone()).collect();
            assert_eq!(store.headers(log, 0, usize::MAX).unwrap(), headers, "{what}: {log}");
            let mut tree = toka_vault::hash::LogTree::new();
            headers.iter().for_each(|header| tree.append(toka_vault::hash::leaf_hash(&header.to_bytes())));
            assert_eq!(store.head(log).unwrap().root, tree.root(), "{what}: {log}");
        }
        assert_eq!(store.base(&log("of-mid")).unwrap(), Some(Base { log: log("mid"), size: 800 }));
        let gone = &logs[1].1[720].header.content[0].digest;
        assert_eq!(store.gone(gone).unwrap(), Some(Gone::Expired), "{what}");
        assert_eq!(store.read(&log("late"), 0, 3).unwrap(), logs[0].1[..3]);
    };
    same(&store, "compacted");
    store.close().unwrap();
    let report = verify(directory.path()).unwrap();
    assert_eq!((report.ok, report.problems), (true, vec![]));
    same(&Journal::open_read_only(directory.path()).unwrap(), "opened again");
    // The indexes are made anew from the frames, fork entries among them.
    fs::remove_dir_all(directory.path().join("index")).unwrap();
    same(&Journal::open(directory.path()).unwrap().0, "without indexes");
    let report = verify(directory.path()).unwrap();
    assert_eq!((report.ok, report.problems), (true, vec![]));
}
