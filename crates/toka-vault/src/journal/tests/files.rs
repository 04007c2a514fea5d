//! A journal of which few files may be open at once.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use toka_types::{ContentRef, EventHeader, Gone, Timestamp};

use super::sim::{Failure, SimDisk};
use super::{append, check, run_on};
use crate::core::{LogId, Record};
use crate::hash::leaf_hash;
use crate::journal::append::{RESERVE, next_segment};
use crate::journal::disk::{Disk, RealDisk};
use crate::journal::files::{FewFiles, Open};
use crate::journal::{Compaction, Journal, open, verify};
use crate::proof::inclusion;
use crate::retention::{Fate, Retention};
use crate::store::Store;
use crate::testing::{Random, record};

/// Far fewer than the vault's segments and indexes.
const LIMIT: usize = 4;
const SEGMENTS: u64 = 24;
const EVENTS: u64 = 3 * SEGMENTS;

/// A disk of its own: what another process has open is none of this one's.
fn few() -> Arc<dyn Disk> {
    Arc::new(FewFiles::of(Arc::new(RealDisk), Arc::new(Open::at_most(LIMIT))))
}

/// How many files of segments and indexes this process has open below a directory.
fn open_files(vault: &Path) -> usize {
    let open =
        fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    open.filter(|file| file.starts_with(vault.join("journal")) || file.starts_with(vault.join("index")))
        .count()
}

/// Each event is its author's next, follows from the first, and has content of its own.
fn records() -> Vec<Arc<Record>> {
    let mut records: Vec<Arc<Record>> = Vec::new();
    for seq in 0..EVENTS {
        let parents: Vec<_> = records.first().map(|first| first.header.id).into_iter().collect();
        records.push(record(seq, &parents, &[&Random::new(seq).bytes(300)]));
    }
    records
}

/// Appends events, and ends a segment behind every third.
fn fill(journal: &Journal, records: &[Arc<Record>]) {
    for batch in records.chunks(3) {
        append(journal, batch).unwrap();
        next_segment(journal, &mut journal.writer(), RESERVE, false).unwrap();
    }
}

/// Everything can be read by every way there is; content of the events before `gone` may be gone, and is if it must be.
fn check_all(journal: &Journal, records: &[Arc<Record>], (gone, must): (u64, bool)) {
    let log = LogId::main();
    let found = journal.read(&log, 0, usize::MAX).unwrap();
    assert_eq!(found.len(), records.len());
    let size = records.len() as u64;
    let root = journal.head(&log).unwrap().root;
    for (found, expected) in found.iter().zip(records) {
        let seq = expected.header.seq;
        assert_eq!(found.header, expected.header);
        let digest = expected.header.content[0].digest;
        // What is read first may be gone by the time of the second look.
        let [read, content] = [found.content.is_empty(), journal.content(&digest).unwrap().is_none()];
        let dropped = journal.gone(&digest).unwrap().is_some();
        assert!(read <= content && content <= dropped && (!dropped || seq < gone), "{seq}");
        assert!(!must || [read, content, dropped] == [seq < gone; 3], "{seq}");
        assert_eq!(journal.find(&expected.header.id).unwrap(), Some((log.clone(), seq)));
        let proof = inclusion(journal, &log, seq, size).unwrap();
        proof.verify(&leaf_hash(&expected.header.to_bytes()), &root).unwrap();
    }
    assert_eq!(journal.children(&records[0].header.id).unwrap().len(), records.len() - 1);
    journal.usage().unwrap();
}

/// Lets the content of the first events go.
struct Before(u64);

impl Retention for Before {
    fn see(&mut self, _: &LogId, _: &EventHeader) {}

    fn fate(&self, _: &LogId, header: &EventHeader, _: &ContentRef) -> Fate {
        if header.seq < self.0 { Fate::Drop(Gone::Expired) } else { Fate::Keep }
    }
}

fn compact(journal: &Journal, before: u64) -> u64 {
    journal.compact(Some(&mut Before(before)), &Compaction::thorough(Timestamp(1))).unwrap().rewritten
}

#[test]
fn many_segments_need_few_open_files() {
    let directory = tempfile::tempdir().unwrap();
    let records = records();
    let (journal, _) = open::writer(few(), directory.path(), None).unwrap();
    fill(&journal, &records);
    check_all(&journal, &records, (0, true));
    assert!(open_files(directory.path()) <= LIMIT, "{}", open_files(directory.path()));
    journal.close().unwrap();
    drop(journal);
    assert_eq!(open_files(directory.path()), 0);
    let writer = || open::writer(few(), directory.path(), None).unwrap().0;
    let reader = || open::reader(few(), directory.path()).unwrap();
    let both: [&dyn Fn() -> Journal; 2] = [&writer, &reader];
    for open in both {
        let journal = open();
        check_all(&journal, &records, (0, true));
        assert!(open_files(directory.path()) <= LIMIT, "{}", open_files(directory.path()));
    }
    let report = verify::verify(directory.path()).unwrap();
    assert!(report.ok && report.problems.is_empty(), "{:?}", report.problems);
}

#[test]
fn a_segment_that_is_replaced_is_found_by_every_reader() {
    let directory = tempfile::tempdir().unwrap();
    let records = records();
    let (writer, _) = open::writer(few(), directory.path(), None).unwrap();
    let (early, late) = records.split_at(records.len() / 2);
    fill(&writer, early);
    // These have all of it; one of them is refreshed only now and then, one never.
    let [reader, still] = [(); 2].map(|()| open::reader(few(), directory.path()).unwrap());
    check_all(&reader, early, (0, true));
    check_all(&still, early, (0, true));
    for before in [4, 9, 20] {
        // A segment is rewritten more than once: the system may give the new file the number of one that is gone.
        assert!(compact(&writer, before) > 0);
        check_all(&writer, early, (before, true));
        check_all(&still, early, (before, false));
        check_all(&reader, early, (before, false));
        reader.refresh().unwrap();
        check_all(&reader, early, (before, true));
    }
    // A segment of which the reader knows the beginning alone grows, is sealed and rewritten.
    append(&writer, &late[..1]).unwrap();
    assert_eq!(reader.refresh().unwrap(), 1);
    append(&writer, &late[1..3]).unwrap();
    next_segment(&writer, &mut writer.writer(), RESERVE, false).unwrap();
    fill(&writer, &late[3..]);
    let all = records.len() as u64;
    assert!(compact(&writer, all) > 0);
    assert_eq!(reader.head(&LogId::main()).unwrap().next_seq, early.len() as u64 + 1);
    reader.read(&LogId::main(), 0, usize::MAX).unwrap();
    reader.refresh().unwrap();
    check_all(&reader, &records, (all, true));
    check_all(&writer, &records, (all, true));
    assert_eq!(still.read(&LogId::main(), 0, early.len()).unwrap().len(), early.len());
    let report = verify::verify(directory.path()).unwrap();
    assert!(report.ok && report.problems.is_empty(), "{:?}", report.problems);
}

#[test]
fn readers_beside_a_compaction_in_the_same_process_read_on() {
    let directory = tempfile::tempdir().unwrap();
    let records = records();
    let (journal, _) = open::writer(few(), directory.path(), None).unwrap();
    fill(&journal, &records);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| (0..6).for_each(|_| check_all(&journal, &records, (60, false)))))
            .collect();
        for before in [10, 30, 60] {
            compact(&journal, before);
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    check_all(&journal, &records, (60, true));
    assert!(open_files(directory.path()) <= LIMIT, "{}", open_files(directory.path()));
}

#[test]
fn a_file_stays_what_it_was_to_whoever_holds_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let disk = FewFiles::of(Arc::new(RealDisk), Arc::new(Open::at_most(1)));
    let written = |name: &str, text: &str| {
        let file = disk.create(&path(name)).unwrap();
        file.write_at(text.as_bytes(), 0).unwrap();
        file.sync().unwrap();
        file
    };
    let text = |file: &dyn crate::journal::disk::DiskFile| {
        let mut bytes = [0; 16];
        file.read_at(&mut bytes, 0).map(|read| String::from_utf8_lossy(&bytes[..read]).into_owned())
    };
    let (old, other) = (written("a", "old"), written("b", "other"));
    let new = written("c", "new");
    assert_eq!(text(&*old).unwrap(), "old");
    // It is closed by now, and keeps what it has when another file gets its name, which it has in turn.
    assert_eq!(text(&*other).unwrap(), "other");
    disk.rename(&path("c"), &path("a")).unwrap();
    for _ in 0..2 {
        assert_eq!([text(&*old), text(&*other), text(&*new)].map(Result::unwrap), ["old", "other", "new"]);
    }
    disk.replace(&path("b"), &[b"newer"], false).unwrap();
    disk.remove(&path("a")).unwrap();
    assert_eq!([text(&*old), text(&*other), text(&*new)].map(Result::unwrap), ["old", "other", "new"]);
    // What is written and not synced is not closed, whatever else is used.
    let unsynced = disk.create(&path("d")).unwrap();
    unsynced.write_at(b"unsynced", 0).unwrap();
    let others: Vec<_> = ["e", "f", "g"].map(|name| written(name, name)).into();
    fs::remove_file(path("d")).unwrap();
    assert_eq!(text(&*unsynced).unwrap(), "unsynced");
    // Somebody else gave the name to another file, or changed this one: it is lost, and says so.
    fs::write(path("e"), "x").unwrap();
    fs::rename(path("g"), path("f")).unwrap();
    drop(unsynced);
    let _another = written("h", "h");
    assert_eq!(text(&*others[2]).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    for lost in &others[..2] {
        assert!(text(&**lost).is_err() && text(&**lost).is_err());
        assert!(lost.id().is_err());
    }
}

#[test]
fn a_failure_at_any_call_loses_nothing_with_one_open_file() {
    let one = |disk: &SimDisk| -> Arc<dyn Disk> {
        Arc::new(FewFiles::of(Arc::new(disk.clone()), Arc::new(Open::at_most(1))))
    };
    let fresh = SimDisk::default();
    run_on(one(&fresh));
    for call in 0..fresh.calls() {
        for failure in [Failure::Once(std::io::ErrorKind::Other), Failure::Stop] {
            let disk = SimDisk::failing(call, failure);
            let acknowledged = run_on(one(&disk));
            drop(check(&disk.after_power_cut(call), acknowledged, &format!("call {call}")));
        }
    }
}
