//! Retention and compaction on real files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use toka_types::{Digest, Gone, Timestamp};
use toka_vault::testing::record;
use toka_vault::{
    Compaction, CompactionReport, Journal, LogId, Policy, Record, Room, Rule, Store, StoreError, What, verify,
};

/// Contents of some hundred bytes, every tenth shared with the one five before.
fn records(from: u64, count: u64) -> Vec<Arc<Record>> {
    let content = |seq: u64| {
        let seq = if seq % 10 == 9 { seq - 5 } else { seq };
        (0..30 + seq % 20).flat_map(|n| Digest::of(&(seq * 1000 + n).to_le_bytes()).0).collect::<Vec<u8>>()
    };
    (from..from + count).map(|seq| record(seq, &[], &[&content(seq)])).collect()
}

fn append(store: &Journal, records: &[Arc<Record>]) {
    for batch in records.chunks(50) {
        store.append(&LogId::main(), batch[0].header.seq, batch, Room::Ordinary).unwrap();
    }
}

/// Content of the events before number `seq` expires. The events lie a millisecond apart.
fn before(seq: u64) -> Policy {
    let rule = Rule { kind: Some("test".into()), age: Some(Duration::from_millis(1)), size: None };
    Policy::new(vec![rule], Timestamp::from_millis(seq as i64))
}

fn compact(store: &Journal, policy: &mut Policy) -> CompactionReport {
    store.compact(Some(policy), &Compaction::thorough(Timestamp(7))).unwrap()
}

/// The events are there; those that are before `seq`, and share nothing with a later one, without content.
fn check(store: &Journal, all: &[Arc<Record>], seq: u64) {
    let found = store.read(&LogId::main(), 0, usize::MAX).unwrap();
    assert_eq!(found.len(), all.len());
    for (found, expected) in found.iter().zip(all) {
        assert_eq!(found.header, expected.header);
        let digest = expected.header.content[0].digest;
        let shared = all.iter().any(|r| r.header.seq >= seq && r.header.content[0].digest == digest);
        if shared {
            assert_eq!(found, expected);
            assert_eq!(store.gone(&digest).unwrap(), None);
        } else if let Some(payload) = found.content.first() {
            // A false answer of the filter: three in a thousand.
            assert_eq!(payload.digest(), digest);
        } else {
            assert_eq!(store.gone(&digest).unwrap(), Some(Gone::Expired));
        }
    }
    let gone = found.iter().filter(|record| record.content.is_empty()).count() as u64;
    assert!(gone <= seq && gone + seq / 50 + 6 >= seq, "{gone} of {seq}");
}

fn copy(from: &Path, order: impl Fn(&mut Vec<PathBuf>)) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for part in ["", "journal", "index"] {
        fs::create_dir_all(to.path().join(part)).unwrap();
        let names = fs::read_dir(from.join(part)).unwrap().map(|entry| entry.unwrap());
        let names = names.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
        files.extend(names.map(|entry| Path::new(part).join(entry.file_name())));
    }
    order(&mut files);
    for file in files {
        // What is gone by now was there for a moment only.
        let _ = fs::copy(from.join(&file), to.path().join(&file));
    }
    to
}

#[test]
fn content_expires_and_everything_else_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Journal::open(directory.path()).unwrap();
    let all = records(0, 1_500);
    append(&store, &all);
    let head = store.head(&LogId::main()).unwrap();
    let would = store.reclaimable(Some(&mut before(1_000)), Timestamp(7)).unwrap();
    let report = compact(&store, &mut before(1_000));
    assert_eq!((would.expired, would.twice), (report.expired, report.twice));
    // If the open segment was ended for it, an empty one follows.
    assert!([0, 64].contains(&(report.after - would.after)), "{would:?} {report:?}");
    assert!(report.rewritten >= 2 && report.expired.contents > 850, "{report:?}");
    let markers = 2 * report.expired.contents + 128 * report.rewritten + 64;
    assert!(report.before - report.after + markers >= report.expired.bytes, "{report:?}");
    check(&store, &all, 1_000);
    let usage = store.usage().unwrap();
    let total = usage.total();
    assert_eq!(total.named, total.stored + total.deduplicated + total.compressed + total.gone);
    assert_eq!(usage.journal, usage.framing + total.headers + total.stored);
    assert_eq!((total.events, usage.rewritten), (1_500, report.rewritten));
    assert!(total.gone >= report.expired.bytes - 5 * report.expired.contents, "{total:?}");
    assert_eq!(store.head(&LogId::main()).unwrap(), head);
    assert_eq!(compact(&store, &mut before(1_000)).rewritten, 0);
    // A second time, and without indexes.
    append(&store, &records(1_500, 100));
    let all = records(0, 1_600);
    assert!(compact(&store, &mut before(1_300)).rewritten > 0);
    store.close().unwrap();
    check(&store, &all, 1_300);
    assert_eq!(verify(directory.path()).unwrap().problems, []);
    for indexes in [true, false] {
        if !indexes {
            fs::remove_dir_all(directory.path().join("index")).unwrap();
        }
        check(&Journal::open_read_only(directory.path()).unwrap(), &all, 1_300);
        let (store, report) = Journal::open(directory.path()).unwrap();
        assert_eq!(report.rebuilt.is_empty(), indexes);
        check(&store, &all, 1_300);
        drop(store);
        assert_eq!(verify(directory.path()).unwrap().problems, []);
    }
    // It moves as it is.
    let elsewhere = directory.path().with_extension("moved");
    toka_vault::migrate(directory.path(), toka_vault::Engine::Journal, &elsewhere, |_, _| {}).unwrap();
    check(&Journal::open_read_only(&elsewhere).unwrap(), &all, 1_300);
    let moved = Journal::open(&elsewhere).unwrap().0;
    assert_eq!(moved.head(&LogId::main()).unwrap().root, store_root(directory.path()));
    // What is gone from it and shared is gone from it still after another compaction.
    assert_eq!(compact(&moved, &mut before(1_300)).expired.contents, 0);
    check(&moved, &all, 1_300);
    drop(moved);
    assert_eq!(verify(&elsewhere).unwrap().problems, []);
    fs::remove_dir_all(elsewhere).unwrap();
    // What expired can be stored again, and is there for all that name it.
    let (store, _) = Journal::open(directory.path()).unwrap();
    let again = record(1_600, &[], &[all[3].content[0].bytes()]);
    let hollow = Arc::new(Record { header: again.header.clone(), content: Vec::new() });
    let refused = store.append(&LogId::main(), 1_600, &[hollow], Room::Ordinary);
    assert!(matches!(refused, Err(StoreError::MissingContent { .. })), "{refused:?}");
    store.append(&LogId::main(), 1_600, std::slice::from_ref(&again), Room::Ordinary).unwrap();
    assert_eq!(store.read(&LogId::main(), 3, 1).unwrap(), [all[3].clone()]);
    assert_eq!(store.gone(&all[3].header.content[0].digest).unwrap(), None);
    drop(store);
    assert_eq!(verify(directory.path()).unwrap().problems, []);
}

fn store_root(path: &Path) -> toka_vault::hash::TreeHash {
    Journal::open_read_only(path).unwrap().head(&LogId::main()).unwrap().root
}

/// A closed vault of two segments of which the first is rewritten, with few bytes.
fn small() -> (tempfile::TempDir, Vec<Arc<Record>>) {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Journal::open(directory.path()).unwrap();
    let all: Vec<_> = (0..6).map(|seq| record(seq, &[], &[&[seq as u8; 40]])).collect();
    append(&store, &all[..4]);
    assert_eq!(compact(&store, &mut before(2)).expired.contents, 2);
    append(&store, &all[4..]);
    store.close().unwrap();
    (directory, all)
}

#[test]
fn every_flipped_byte_and_every_cut_of_a_rewritten_segment_is_found() {
    let (directory, _) = small();
    assert_eq!(verify(directory.path()).unwrap().problems, []);
    let file = directory.path().join("journal/0000000001.seg");
    let whole = fs::read(&file).unwrap();
    let found = |bytes: &[u8], what: &str| {
        fs::write(&file, bytes).unwrap();
        match verify(directory.path()) {
            Ok(report) => assert!(!report.ok, "{what}: not found"),
            Err(error) => assert!(matches!(error, StoreError::Format { .. }), "{what}: {error}"),
        }
        if let Ok((store, report)) = Journal::open(directory.path()) {
            assert_eq!(report.torn, None, "{what}");
            let _ = store.read(&LogId::main(), 0, usize::MAX);
        }
        assert_eq!(fs::read(&file).unwrap(), bytes, "{what}: opening changed it");
    };
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        found(&bytes, &format!("byte {at}"));
    }
    for len in (0..whole.len()).step_by(7) {
        found(&whole[..len], &format!("cut at {len}"));
    }
    found(&[&whole[..], &[0; 8]].concat(), "zeros behind it");
    fs::write(&file, &whole).unwrap();
    assert_eq!(verify(directory.path()).unwrap().problems, []);
}

#[test]
fn another_format_of_a_segment_is_named() {
    let (directory, _) = small();
    for name in ["journal/0000000001.seg", "journal/0000000002.seg"] {
        let file = directory.path().join(name);
        let whole = fs::read(&file).unwrap();
        let mut bytes = whole.clone();
        bytes[8] = 3;
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        fs::write(&file, &bytes).unwrap();
        let expected = Some(StoreError::Format { found: 3, known: 2 });
        assert_eq!(Journal::open(directory.path()).err(), expected);
        assert_eq!(Journal::open_read_only(directory.path()).err(), expected);
        assert_eq!(verify(directory.path()).err(), expected);
        fs::write(&file, &whole).unwrap();
    }
}

#[test]
fn the_segment_after_a_rewritten_one_can_be_missing_in_a_copy() {
    let (directory, all) = small();
    let copied = copy(directory.path(), |_| {});
    fs::remove_file(copied.path().join("journal/0000000002.seg")).unwrap();
    // The manifest says that it was there.
    assert!(matches!(Journal::open(copied.path()), Err(StoreError::Damage { .. })));
    // The one from before the second segment does not.
    let text = fs::read_to_string(directory.path().join("manifest")).unwrap();
    let body = text.rsplit_once("blake3 ").unwrap().0;
    let from = body.find("\"logs\"").unwrap();
    let body = format!("{}\"logs\": [],\n  \"head\": null\n}}\n", &body[..from]);
    let text = format!("{body}blake3 {}\n", blake3::hash(body.as_bytes()).to_hex());
    fs::write(copied.path().join("manifest"), text).unwrap();
    assert_eq!(verify(copied.path()).unwrap().events, 4);
    assert!(verify(copied.path()).unwrap().ok);
    assert_eq!(Journal::open_read_only(copied.path()).unwrap().read(&LogId::main(), 0, 9).unwrap().len(), 4);
    for _ in 0..2 {
        let (store, _) = Journal::open(copied.path()).unwrap();
        let next = store.head(&LogId::main()).unwrap().next_seq as usize;
        if next < all.len() {
            append(&store, &all[next..next + 1]);
        }
        store.close().unwrap();
        assert_eq!(verify(copied.path()).unwrap().problems, []);
    }
    let (store, _) = Journal::open(copied.path()).unwrap();
    assert_eq!(store.read(&LogId::main(), 4, 9).unwrap(), all[4..]);
}

#[test]
fn appending_reading_compacting_and_copying_go_on_beside_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Journal::open(directory.path()).unwrap();
    let all = records(0, 4_000);
    append(&store, &all[..100]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (store, all, done) = (&store, &all, &done);
        scope.spawn(move || {
            append(store, &all[100..]);
            done.store(true, Ordering::SeqCst);
        });
        scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                let head = store.head(&LogId::main()).unwrap().next_seq;
                compact(store, &mut before(head / 2));
            }
        });
        let reader = Journal::open_read_only(directory.path()).unwrap();
        let whole = |store: &Journal, what: &str| {
            let found = store.read(&LogId::main(), 0, usize::MAX).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(found.iter().zip(all).all(|(found, all)| found.header == all.header), "{what}");
            let there = |r: &&Arc<Record>| {
                r.content.first().is_some_and(|p| p.digest() == r.header.content[0].digest)
            };
            let kept = found.iter().filter(|record| record.header.seq * 2 >= found.len() as u64 + 50);
            kept.for_each(|record| assert!(there(&record), "{what}: content of event {}", record.header.seq));
            found.len()
        };
        for round in 0.. {
            let last = done.load(Ordering::SeqCst);
            reader.refresh().unwrap();
            whole(&reader, "reader");
            let copied = copy(directory.path(), |files| match round % 3 {
                0 => files.sort(),
                1 => files.reverse(),
                _ => files.sort_by_key(|file| Digest::of(file.as_os_str().as_encoded_bytes())),
            });
            let report = verify(copied.path()).unwrap();
            let harm: Vec<_> = report.problems.iter().filter(|problem| !problem.what.is_harmless()).collect();
            assert!(harm.is_empty(), "round {round}: {harm:?}");
            let (copy, _) = Journal::open(copied.path()).unwrap_or_else(|e| panic!("round {round}: {e}"));
            whole(&copy, "copy");
            drop(copy);
            assert!(verify(copied.path()).unwrap().problems.iter().all(|problem| problem.what != What::Torn));
            if last {
                break;
            }
        }
    });
    compact(&store, &mut before(3_000));
    check(&store, &all, 3_000);
    drop(store);
    assert_eq!(verify(directory.path()).unwrap().problems, []);
}

#[test]
fn rules_by_size_keep_the_newest() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Journal::open(directory.path()).unwrap();
    let all = records(0, 600);
    append(&store, &all);
    let sizes: BTreeMap<u64, u64> = all.iter().map(|r| (r.header.seq, r.header.content_bytes())).collect();
    let kept: u64 = sizes.range(400..).map(|(_, size)| size).sum();
    let rule = Rule { size: Some(kept), ..Rule::default() };
    let mut policy = Policy::new(vec![rule], Timestamp(0));
    assert!(compact(&store, &mut policy).expired.bytes > 0);
    check(&store, &all, 400);
}

#[test]
fn compaction_needs_a_writer_and_can_be_stopped() {
    let (directory, all) = small();
    let reader = Journal::open_read_only(directory.path()).unwrap();
    let how = Compaction::thorough(Timestamp(7));
    assert!(matches!(reader.compact(Some(&mut before(4)), &how), Err(StoreError::ReadOnly { .. })));
    assert_eq!(reader.reclaimable(Some(&mut before(4)), Timestamp(7)).unwrap().expired.contents, 2);
    let (store, _) = Journal::open(directory.path()).unwrap();
    let stopped = Compaction { stop: &|| true, ..how };
    let report = store.compact(Some(&mut before(4)), &stopped).unwrap();
    assert_eq!((report.stopped, report.rewritten), (true, 0));
    let slow = Compaction { bytes_per_second: Some(1 << 20), thorough: false, ..how };
    assert_eq!(store.compact(Some(&mut before(4)), &slow).unwrap().expired.contents, 2);
    let none = store.compact(None, &how).unwrap();
    assert_eq!((none.rewritten, none.expired.contents), (0, 0));
    store.close().unwrap();
    assert!(matches!(store.compact(None, &how), Err(StoreError::Closed)));
    assert_eq!(store.read(&LogId::main(), 4, 9).unwrap(), all[4..]);
}
