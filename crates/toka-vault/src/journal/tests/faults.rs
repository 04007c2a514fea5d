//! Random histories under random faults. `TOKA_FAULTS=N` makes N runs of each instead of a short form.
#![allow(clippy::print_stdout, reason = "the figures are the output")]

mod stories;

use std::path::PathBuf;
use std::sync::Arc;

use super::super::disk::Disk;
use super::super::{Journal, verify};
use super::sim::{Failure, SimDisk};
use super::{append, open_on, path};
use crate::core::{LogId, Record};
use crate::store::{Store, StoreError};
use crate::testing::{Random, fault_runs, record};
use crate::verify::What;

/// Runs of the short form: a few seconds in a debug build.
const SHORT_RUNS: u64 = 120;
const SHORT_FLIPS: u64 = 400;
/// Seeds that found something once: a batch refused on a full disk, a new segment, a power cut.
const FOUND: [u64; 1] = [1929];

#[derive(Default)]
struct Tally {
    cuts: u64,
    kills: u64,
    errors: u64,
    full: u64,
    twice: u64,
    acknowledged: usize,
}

impl Tally {
    /// The disk after a power cut, or after the process was killed.
    fn cut(&mut self, disk: &SimDisk, random: &mut Random) -> SimDisk {
        if random.below(3) > 0 {
            self.cuts += 1;
            disk.after_power_cut(random.next())
        } else {
            self.kills += 1;
            disk.after_kill()
        }
    }

    /// The same, sometimes with another one while the journal recovers.
    fn cut_perhaps_twice(&mut self, disk: &SimDisk, random: &mut Random) -> SimDisk {
        let after = self.cut(disk, random);
        if random.below(3) > 0 {
            return after;
        }
        self.twice += 1;
        after.fail_at(random.below(12), Failure::Stop);
        drop(open_on(&after));
        self.cut(&after, random)
    }

    fn print(&self, runs: u64) {
        println!(
            "{runs} runs: {} power cuts, {} kills, {} again during recovery, {} input/output errors, {} full disks; \
             {} acknowledged events, none lost, no half batch",
            self.cuts, self.kills, self.twice, self.errors, self.full, self.acknowledged
        );
    }
}

fn history(random: &mut Random) -> Vec<Vec<Arc<Record>>> {
    let mut seq = 0;
    let batches = 2 + random.below(9);
    (0..batches)
        .map(|_| {
            let events = 1 + random.below(4);
            (0..events)
                .map(|_| {
                    // Mostly small, sometimes large enough to end a segment.
                    let size = if random.below(6) == 0 { random.below(150_000) } else { random.below(3_000) };
                    let bytes = random.bytes(size.max(20) as usize);
                    seq += 1;
                    record(seq - 1, &[], &[&bytes])
                })
                .collect()
        })
        .collect()
}

/// Appends the history where the vault ends, mending what a failure asks for; the events that were acknowledged.
fn run(journal: &Journal, history: &[Vec<Arc<Record>>]) -> Result<usize, StoreError> {
    let start = journal.head(&LogId::main())?.next_seq as usize;
    let mut acknowledged = start;
    for batch in history.iter().skip_while(|batch| (batch[0].header.seq as usize) < start) {
        let done = append(journal, batch).or_else(|error| match error {
            StoreError::Full { .. } => append(journal, batch),
            StoreError::Poisoned { .. } => journal.recover().and_then(|()| append(journal, batch)),
            other => Err(other),
        });
        if done.is_err() {
            break;
        }
        acknowledged += batch.len();
    }
    Ok(acknowledged)
}

#[test]
fn no_acknowledged_event_is_lost_and_no_half_batch_seen() {
    let mut tally = Tally::default();
    let runs = fault_runs(SHORT_RUNS);
    for seed in (0..runs).chain(FOUND) {
        let mut random = Random::new(seed);
        let history = history(&mut random);
        let all = history.concat();
        let whole = SimDisk::default();
        run(&open_on(&whole).unwrap(), &history).unwrap();

        let call = random.below(whole.calls());
        let failure = match random.below(4) {
            0 => Failure::Once(std::io::ErrorKind::Other),
            1 => Failure::Once(std::io::ErrorKind::StorageFull),
            _ => Failure::Stop,
        };
        match failure {
            Failure::Once(std::io::ErrorKind::StorageFull) => tally.full += 1,
            Failure::Once(_) => tally.errors += 1,
            Failure::Each(..) | Failure::Stop => {}
        }
        let disk = SimDisk::failing(call, failure);
        let acknowledged = open_on(&disk).and_then(|journal| run(&journal, &history)).unwrap_or(0);
        let after = tally.cut_perhaps_twice(&disk, &mut random);

        let journal = open_on(&after).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let found =
            journal.read(&LogId::main(), 0, usize::MAX).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert!(found.len() >= acknowledged, "seed {seed}: {} of {acknowledged} acknowledged", found.len());
        assert!(found == all[..found.len()], "seed {seed}: other events");
        let whole_batches = history.iter().scan(0, |sum, batch| {
            *sum += batch.len();
            Some(*sum)
        });
        let ends: Vec<usize> = std::iter::once(0).chain(whole_batches).collect();
        assert!(ends.contains(&found.len()), "seed {seed}: half a batch of {} events", found.len());

        assert_eq!(run(&journal, &history).unwrap(), all.len(), "seed {seed}");
        journal.close().unwrap();
        drop(journal);
        let disk: Arc<dyn Disk> = Arc::new(after);
        let report = verify::verify_on(&disk, path()).unwrap();
        assert!(report.ok && report.events as usize == all.len(), "seed {seed}: {:?}", report.problems);
        tally.acknowledged += acknowledged;
    }
    tally.print(runs);
}

#[test]
fn no_flipped_bit_is_silent() {
    let mut random = Random::new(7);
    let history: Vec<_> = (0..4).flat_map(|_| history(&mut random)).collect();
    let mut seq = 0;
    let history: Vec<Vec<Arc<Record>>> = history
        .iter()
        .map(|batch| {
            let renumbered = batch.iter().map(|old| {
                seq += 1;
                record(seq - 1, &[], &[old.content[0].bytes()])
            });
            renumbered.collect()
        })
        .collect();
    let disk = SimDisk::default();
    let journal = open_on(&disk).unwrap();
    run(&journal, &history).unwrap();
    journal.close().unwrap();
    drop(journal);

    let flips = fault_runs(SHORT_FLIPS);
    let (mut damage, mut projections) = (0, 0);
    let files: Vec<(PathBuf, u64)> = disk.files();
    let total: u64 = files.iter().map(|(_, len)| len).sum();
    for _ in 0..flips {
        let mut at = random.below(total);
        let (file, _) = files
            .iter()
            .find(|(_, len)| {
                let here = at < *len;
                at -= if here { 0 } else { *len };
                here
            })
            .unwrap();
        let bit = random.below(8) as u8;
        disk.flip(file, at as usize, bit);
        let view: Arc<dyn Disk> = Arc::new(disk.clone());
        let what = format!("bit {bit} of byte {at} of {}", file.display());
        match verify::verify_on(&view, path()) {
            Ok(report) if file.extension().is_some_and(|extension| extension == "idx") => {
                projections += 1;
                let told = report.problems.iter().any(|problem| problem.what == What::Projection);
                assert!(report.ok && told, "{what}: {:?}", report.problems);
            }
            Ok(report) => {
                damage += 1;
                assert!(!report.ok, "{what} was not seen");
                assert!(
                    report.problems.iter().any(|problem| problem.file.is_some()),
                    "{what}: no file is named"
                );
            }
            Err(_) => damage += 1,
        }
        disk.flip(file, at as usize, bit);
    }
    println!(
        "{flips} flipped bits: {damage} of the journal and the manifest, {projections} of indexes, all reported"
    );
}
