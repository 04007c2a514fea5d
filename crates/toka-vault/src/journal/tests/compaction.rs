//! Compaction on a disk that stops, fails or fills up at any call.

use std::collections::BTreeSet;
use std::sync::Arc;

use toka_types::{ContentRef, Digest, EventHeader, Gone, Timestamp};

use super::sim::{Failure, SimDisk};
use super::{append, open_on, path};
use crate::core::{LogId, Record};
use crate::journal::{Compaction, CompactionReport, Journal, open};
use crate::retention::{Fate, Retention};
use crate::store::{Store, StoreError};
use crate::testing::{Random, record};
use crate::verify::What;

/// Of a piece of content: all together fill two segments.
const SIZE: usize = 18_000;

/// Lets the content of every third of the first events go.
struct Thirds;

impl Retention for Thirds {
    fn see(&mut self, _: &LogId, _: &EventHeader) {}

    fn fate(&self, _: &LogId, header: &EventHeader, _: &ContentRef) -> Fate {
        if header.seq.is_multiple_of(3) && header.seq < 24 { Fate::Drop(Gone::Expired) } else { Fate::Keep }
    }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    Random::new(seed).bytes(len)
}

/// Events that fill some segments. Event 9 has the content of event 0, which may go, and event 12 that of event 3, which
/// both may.
fn records() -> Vec<Arc<Record>> {
    let content = |seq: u64| match seq {
        9 => 0,
        11 => 0,
        12 => 3,
        seq => seq,
    };
    (0..24).map(|seq| record(seq, &[], &[&noise(content(seq), SIZE)])).collect()
}

/// Digests of content that is gone after a compaction.
fn dropped(records: &[Arc<Record>]) -> BTreeSet<Digest> {
    let digest = |record: &Arc<Record>| record.header.content[0].digest;
    let kept: BTreeSet<_> = records.iter().filter(|r| !r.header.seq.is_multiple_of(3)).map(digest).collect();
    records.iter().map(digest).filter(|digest| !kept.contains(digest)).collect()
}

fn compact(journal: &Journal) -> Result<CompactionReport, StoreError> {
    journal.compact(Some(&mut Thirds), &Compaction::thorough(Timestamp(1)))
}

/// The vault has these events, and each piece of content or a word that it is gone; nothing but what may be is gone.
/// Returns how many pieces are.
fn check(journal: &Journal, records: &[Arc<Record>], what: &str) -> usize {
    let log = LogId::main();
    let found = journal.read(&log, 0, usize::MAX).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(found.len(), records.len(), "{what}");
    let dropped = dropped(records);
    let mut gone = BTreeSet::new();
    for (found, expected) in found.iter().zip(records) {
        assert_eq!(found.header, expected.header, "{what}");
        let digest = expected.header.content[0].digest;
        assert_eq!(journal.find(&expected.header.id).unwrap(), Some((log.clone(), expected.header.seq)));
        if found.content.is_empty() {
            assert!(dropped.contains(&digest), "{what}: content of event {} is lost", expected.header.seq);
            assert_eq!(journal.gone(&digest).unwrap(), Some(Gone::Expired), "{what}");
            assert_eq!(journal.content(&digest).unwrap(), None);
            gone.insert(digest);
        } else {
            assert_eq!(found.content, expected.content, "{what}");
            assert_eq!(journal.gone(&digest).unwrap(), None);
        }
    }
    gone.len()
}

fn verified(disk: &SimDisk, what: &str) {
    let disk: Arc<dyn crate::journal::disk::Disk> = Arc::new(disk.clone());
    let report = crate::journal::verify::verify_on(&disk, path()).unwrap();
    let real: Vec<_> = report.problems.iter().filter(|problem| problem.what != What::Projection).collect();
    assert!(report.ok && real.is_empty(), "{what}: {real:?}");
}

/// A closed vault with these events.
fn vault(records: &[Arc<Record>]) -> SimDisk {
    let disk = SimDisk::default();
    let journal = open_on(&disk).unwrap();
    records.chunks(2).for_each(|batch| append(&journal, batch).unwrap());
    journal.close().unwrap();
    disk
}

#[test]
fn a_compaction_that_is_stopped_at_any_call_harms_nothing() {
    let records = records();
    let fresh = vault(&records);
    let expected = dropped(&records).len();
    let whole = fresh.after_kill();
    let journal = open_on(&whole).unwrap();
    let before = whole.calls();
    let report = compact(&journal).unwrap();
    assert_eq!(check(&journal, &records, "undisturbed"), expected);
    assert_eq!(report.expired.contents as usize, expected);
    assert!(report.after < report.before - report.expired.bytes + 1024, "{report:?}");
    assert_eq!(compact(&journal).unwrap().rewritten, 0, "nothing is left to do");
    drop(journal);
    verified(&whole, "undisturbed");
    let calls = whole.calls() - before;
    for call in 0..calls {
        let disk = fresh.after_kill();
        let journal = open_on(&disk).unwrap();
        disk.fail_at(call, Failure::Stop);
        let _ = compact(&journal);
        // In this process it goes on with what it has.
        check(&journal, &records, &format!("stopped at call {call}"));
        drop(journal);
        let after =
            (0..4).map(|seed| (disk.after_power_cut(seed), format!("cut at call {call}, seed {seed}")));
        for (disk, what) in after.chain([(disk.after_kill(), format!("killed at call {call}"))]) {
            let reader = open::reader(Arc::new(disk.clone()), path()).unwrap();
            check(&reader, &records, &what);
            let journal = open_on(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
            check(&journal, &records, &what);
            compact(&journal).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(check(&journal, &records, &what), expected, "{what}");
            append(&journal, &[record(24, &[], &[b"more"])]).unwrap();
            journal.close().unwrap();
            drop(journal);
            verified(&disk, &what);
        }
    }
}

#[test]
fn a_compaction_that_fails_at_any_call_leaves_the_vault_in_use() {
    let records = records();
    let fresh = vault(&records);
    let whole = fresh.after_kill();
    let journal = open_on(&whole).unwrap();
    let before = whole.calls();
    compact(&journal).unwrap();
    let calls = whole.calls() - before;
    drop(journal);
    for kind in [std::io::ErrorKind::Other, std::io::ErrorKind::StorageFull] {
        for call in 0..calls {
            let what = format!("{kind} at call {call}");
            let disk = fresh.after_kill();
            let journal = open_on(&disk).unwrap();
            disk.fail_at(call, Failure::Once(kind));
            let _ = compact(&journal);
            check(&journal, &records, &what);
            append(&journal, &[record(24, &[], &[&noise(0, SIZE), b"more"])])
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            compact(&journal).unwrap_or_else(|error| panic!("{what}: {error}"));
            let last = journal.read(&LogId::main(), 24, 1).unwrap();
            assert_eq!(last[0].content.len(), 2, "{what}");
            drop(journal);
            verified(&disk, &what);
            check_all(&disk, &records, &what);
        }
    }
}

fn check_all(disk: &SimDisk, records: &[Arc<Record>], what: &str) {
    let journal = open_on(disk).unwrap();
    let found = journal.read(&LogId::main(), 0, records.len()).unwrap();
    assert!(found.iter().zip(records).all(|(found, expected)| found.header == expected.header), "{what}");
}

#[test]
fn content_that_is_shared_while_it_is_being_dropped_stays() {
    struct Sharing<'a> {
        journal: &'a Journal,
        shared: std::cell::Cell<bool>,
        again: Arc<Record>,
    }
    impl Retention for Sharing<'_> {
        fn see(&mut self, _: &LogId, _: &EventHeader) {}

        fn fate(&self, log: &LogId, header: &EventHeader, content: &ContentRef) -> Fate {
            // All headers have been looked at by then: the event is asked about while segments are written.
            if header.seq == 23 && !self.shared.replace(true) {
                append(self.journal, &[Arc::clone(&self.again)]).unwrap();
            }
            Thirds.fate(log, header, content)
        }
    }
    let records = records();
    let disk = vault(&records);
    let journal = open_on(&disk).unwrap();
    // Another event with the content of event 15, which is about to go, and without its bytes.
    let whole = record(24, &[], &[&noise(15, SIZE)]);
    let hollow = Arc::new(Record { header: whole.header.clone(), content: Vec::new() });
    let mut sharing = Sharing { journal: &journal, shared: false.into(), again: hollow };
    let report = journal.compact(Some(&mut sharing), &Compaction::thorough(Timestamp(1))).unwrap();
    assert!(report.expired.contents > 0);
    assert_eq!(journal.read(&LogId::main(), 24, 1).unwrap(), [whole]);
    let fifteen = &journal.read(&LogId::main(), 15, 1).unwrap()[0];
    assert_eq!(*fifteen, records[15]);
    drop(journal);
    verified(&disk, "shared");
}

#[test]
fn a_reader_goes_on_with_its_files_and_takes_over_the_new_ones() {
    let records = records();
    let disk = vault(&records);
    let journal = open_on(&disk).unwrap();
    let reader = open::reader(Arc::new(disk.clone()), path()).unwrap();
    let late = open::reader(Arc::new(disk.clone()), path()).unwrap();
    let expected = dropped(&records).len();
    compact(&journal).unwrap();
    assert_eq!(check(&reader, &records, "with old files"), 0);
    assert_eq!(reader.refresh().unwrap(), 0);
    assert_eq!(check(&reader, &records, "with new files"), expected);
    append(&journal, &[record(24, &[], &[b"more"])]).unwrap();
    assert_eq!(late.refresh().unwrap(), 1);
    assert_eq!(late.head(&LogId::main()).unwrap(), journal.head(&LogId::main()).unwrap());
    assert_eq!(check(&late, &[&records[..], &[record(24, &[], &[b"more"])]].concat(), "late"), expected);
}

#[test]
fn content_that_lies_in_two_segments_is_stored_once() {
    use crate::journal::filter::Filter;
    let records = records();
    let disk = vault(&records);
    let journal = open_on(&disk).unwrap();
    // The writer has forgotten what the sealed segments hold.
    journal.state_mut().filter = Filter::with_room(1, 2);
    let again: Vec<_> = (24..130).map(|seq| record(seq, &[], &[&noise(seq - 24, SIZE)])).collect();
    again.chunks(2).for_each(|batch| append(&journal, batch).unwrap());
    let all = [&records[..], &again].concat();
    assert!(journal.state().segments.len() > 3, "the new events fill a segment of their own");
    let report = journal.compact(None, &Compaction::thorough(Timestamp(1))).unwrap();
    assert!(report.twice.contents >= 10 && report.expired.contents == 0, "{report:?}");
    assert!(report.before - report.after >= report.twice.bytes - 512, "{report:?}");
    assert_eq!(journal.compact(None, &Compaction::thorough(Timestamp(2))).unwrap().rewritten, 0);
    assert_eq!(journal.read(&LogId::main(), 0, 999).unwrap(), all);
    drop(journal);
    verified(&disk, "stored once");
    let journal = open_on(&disk).unwrap();
    assert_eq!(journal.read(&LogId::main(), 0, 999).unwrap(), all);
}
