//! The journal on a disk that stops, fails or fills up at a chosen call.

mod compaction;
mod faults;
mod files;
mod sim;

use std::path::Path;
use std::sync::Arc;

use super::disk::Disk;
use super::{Journal, open};
use crate::core::{LogId, Record};
use crate::store::{Room, Store, StoreError};
use crate::testing::{Random, record};
use crate::verify::What;
use sim::{Failure, SimDisk};

/// Batches of a history. The large ones make it cross two ends of segments.
const SIZES: [usize; 12] = [1, 3, 1, 40_000, 2, 90_000, 70_000, 1, 120_000, 200_000, 5, 1];

fn history() -> Vec<Vec<Arc<Record>>> {
    let mut seq = 0;
    SIZES
        .iter()
        .map(|&size| {
            let count = if size < 10 { size as u64 } else { 1 };
            let batch = (seq..seq + count)
                .map(|seq| record(seq, &[], &[&Random::new(seq).bytes(size.max(20))]))
                .collect();
            seq += count;
            batch
        })
        .collect()
}

fn path() -> &'static Path {
    Path::new("/vault")
}

fn open_on(disk: &SimDisk) -> Result<Journal, StoreError> {
    open::writer(Arc::new(disk.clone()), path(), None).map(|(journal, _)| journal)
}

fn append(journal: &Journal, batch: &[Arc<Record>]) -> Result<(), StoreError> {
    journal.append(&LogId::main(), batch[0].header.seq, batch, Room::Ordinary)
}

/// How many events of the history the vault on `disk` has, after checking that they are its first ones, in
/// whole batches, and at least those that were acknowledged.
fn check(disk: &SimDisk, acknowledged: usize, what: &str) -> Journal {
    let journal = open_on(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let expected: Vec<_> = history().concat();
    let found = journal.read(&LogId::main(), 0, usize::MAX).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(found.len() >= acknowledged, "{what}: {} of {acknowledged} acknowledged events", found.len());
    assert!(found == expected[..found.len()], "{what}: other events");
    let mut ends = history()
        .iter()
        .map(Vec::len)
        .scan(0, |sum, len| {
            *sum += len;
            Some(*sum)
        })
        .collect::<Vec<_>>();
    ends.push(0);
    assert!(ends.contains(&found.len()), "{what}: half a batch of {} events", found.len());
    journal
}

/// Goes on with the history where the vault ends, closes it, and lets nothing be wrong.
fn finish(disk: &SimDisk, journal: Journal, what: &str) {
    let mut seq = journal.head(&LogId::main()).unwrap().next_seq;
    for batch in history() {
        if batch[0].header.seq == seq {
            append(&journal, &batch).unwrap_or_else(|error| panic!("{what}: {error}"));
            seq += batch.len() as u64;
        }
    }
    // A failure that was to come may hit the closing; then the next opening mends it.
    if journal.close().is_err() {
        open_on(disk).and_then(|journal| journal.close()).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    drop(journal);
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let report = super::verify::verify_on(&disk, path()).unwrap();
    let real: Vec<_> = report.problems.iter().filter(|problem| problem.what != What::Projection).collect();
    assert!(report.ok && real.is_empty(), "{what}: {real:?}");
    assert_eq!(report.events as usize, history().concat().len());
}

/// Runs the history until something fails; how many events were acknowledged.
fn run(disk: &SimDisk) -> usize {
    run_on(Arc::new(disk.clone()))
}

fn run_on(disk: Arc<dyn Disk>) -> usize {
    let mut acknowledged = 0;
    let Ok((journal, _)) = open::writer(disk, path(), None) else { return 0 };
    for batch in history() {
        if append(&journal, &batch).is_err() {
            return acknowledged;
        }
        acknowledged += batch.len();
    }
    // A close that fails loses nothing.
    let _ = journal.close();
    acknowledged
}

/// Calls of the whole history.
fn calls() -> u64 {
    let disk = SimDisk::default();
    assert_eq!(run(&disk), history().concat().len());
    disk.calls()
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_acknowledged() {
    for call in 0..calls() {
        let disk = SimDisk::failing(call, Failure::Stop);
        let acknowledged = run(&disk);
        for seed in 0..4 {
            let what = format!("cut at call {call}, seed {seed}");
            let after = disk.after_power_cut(seed);
            let journal = check(&after, acknowledged, &what);
            finish(&after, journal, &what);
        }
        let what = format!("killed at call {call}");
        let after = disk.after_kill();
        let journal = check(&after, acknowledged, &what);
        finish(&after, journal, &what);
    }
}

#[test]
fn a_second_cut_during_recovery_loses_nothing_either() {
    for call in (0..calls()).step_by(3) {
        let disk = SimDisk::failing(call, Failure::Stop);
        let acknowledged = run(&disk);
        let first = disk.after_power_cut(call);
        for again in 0..8 {
            let second = first.after_kill();
            second.fail_at(again, Failure::Stop);
            let _ = open_on(&second);
            let what = format!("cut at call {call}, then at call {again} of the recovery");
            let after = second.after_power_cut(again);
            let journal = check(&after, acknowledged, &what);
            finish(&after, journal, &what);
        }
    }
}

#[test]
fn after_an_input_output_error_nothing_is_acknowledged_until_recovery() {
    for call in 0..calls() {
        let disk = SimDisk::failing(call, Failure::Once(std::io::ErrorKind::Other));
        let what = format!("error at call {call}");
        let Ok(journal) = open_on(&disk) else { continue };
        let mut acknowledged = 0;
        let mut poisoned = false;
        for batch in history() {
            match append(&journal, &batch) {
                Ok(()) => {
                    assert!(!poisoned, "{what}: acknowledged after a failure");
                    acknowledged += batch.len();
                }
                Err(StoreError::Poisoned { .. }) => poisoned = true,
                Err(_) => break,
            }
        }
        if poisoned {
            journal.recover().unwrap();
            assert_eq!(journal.head(&LogId::main()).unwrap().next_seq as usize, acknowledged, "{what}");
            let copied = disk.after_power_cut(call);
            finish(&disk, journal, &what);
            drop(check(&copied, acknowledged, &what));
        } else {
            drop(journal);
            let journal = check(&disk, acknowledged, &what);
            finish(&disk, journal, &what);
        }
    }
}

#[test]
fn a_full_disk_refuses_the_batch_and_goes_on_later() {
    for call in 0..calls() {
        let disk = SimDisk::failing(call, Failure::Once(std::io::ErrorKind::StorageFull));
        let what = format!("full at call {call}");
        let Ok(journal) = open_on(&disk) else { continue };
        for batch in history() {
            let before = journal.head(&LogId::main()).unwrap();
            match append(&journal, &batch) {
                Ok(()) => {}
                Err(StoreError::Full { .. }) => {
                    assert_eq!(journal.head(&LogId::main()).unwrap(), before, "{what}");
                    append(&journal, &batch).unwrap_or_else(|error| panic!("{what}: {error}"));
                }
                // A sync that fails leaves it open what is durable, whatever the reason.
                Err(StoreError::Poisoned { .. }) => {
                    journal.recover().unwrap();
                    append(&journal, &batch).unwrap_or_else(|error| panic!("{what}: {error}"));
                }
                Err(error) => panic!("{what}: {error}"),
            }
        }
        finish(&disk, journal, &what);
    }
}

#[test]
fn the_reserve_takes_what_an_ordinary_batch_must_leave() {
    let disk = SimDisk::default();
    disk.limit(300 << 10);
    let journal = open_on(&disk).unwrap();
    let mut seq = 0;
    let full = loop {
        let batch =
            [record(seq, &[], &[&seq.to_le_bytes().repeat(600).iter().rev().copied().collect::<Vec<u8>>()])];
        match append(&journal, &batch) {
            Ok(()) => seq += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    for _ in 0..20 {
        journal.append(&LogId::main(), seq, &[record(seq, &[], &[b"outcome"])], Room::Reserved).unwrap();
        seq += 1;
    }
    assert!(append(&journal, &[record(seq, &[], &[b"ordinary"])]).is_err());
    assert_eq!(journal.read(&LogId::main(), 0, usize::MAX).unwrap().len() as u64, seq);
    disk.limit(u64::MAX);
    append(&journal, &[record(seq, &[], &[b"ordinary"])]).unwrap();
    journal.close().unwrap();
}

#[test]
fn the_spare_becomes_the_next_segment_and_is_nobodys_truth() {
    let directory = tempfile::tempdir().unwrap();
    let vault = directory.path().join("vault");
    let spare = super::spare::path(&vault);
    let (journal, _) = Journal::open(&vault).unwrap();
    let mut random = Random::new(7);
    let mut records = Vec::new();
    let mut seen = false;
    while records.len() < 1500 {
        let content: Vec<u8> = (0..2000).map(|_| random.below(256) as u8).collect();
        let record = record(records.len() as u64, &[], &[&content]);
        append(&journal, std::slice::from_ref(&record)).unwrap();
        records.push(record);
        seen |= spare.exists();
    }
    assert!(seen && journal.state().segments.len() > 2);
    journal.close().unwrap();
    assert!(!spare.exists());
    assert_eq!(journal.read(&LogId::main(), 0, usize::MAX).unwrap(), records);
    drop(journal);
    // A writer that died leaves it, with anything in it.
    std::fs::write(&spare, b"no segment").unwrap();
    assert!(crate::verify::verify(&vault).unwrap().ok);
    let (journal, report) = Journal::open(&vault).unwrap();
    assert_eq!((report.torn, spare.exists()), (None, false));
    assert_eq!(journal.read(&LogId::main(), 0, usize::MAX).unwrap(), records);
}

#[test]
fn a_reader_follows_a_recovered_writer() {
    let batches = history();
    let disk = SimDisk::default();
    let journal = open_on(&disk).unwrap();
    append(&journal, &batches[0]).unwrap();
    let reader = open::reader(Arc::new(disk.clone()), path()).unwrap();
    disk.fail_sync();
    assert!(matches!(append(&journal, &batches[1]), Err(StoreError::Poisoned { .. })));
    // The frame is in the file, though it was never acknowledged: a reader may see it.
    reader.refresh().unwrap();
    journal.recover().unwrap();
    append(&journal, &batches[1][..1]).unwrap();
    reader.refresh().unwrap();
    assert_eq!(reader.head(&LogId::main()).unwrap(), journal.head(&LogId::main()).unwrap());
    assert_eq!(reader.read(&LogId::main(), 0, 9).unwrap(), journal.read(&LogId::main(), 0, 9).unwrap());
}
