//! The fuzz targets with their seeds and with changed ones. `TOKA_FAULTS=N` makes N changes of each instead of a short
//! form.

use std::fs;
use std::path::PathBuf;

use toka_vault::testing::fuzz::TARGETS;
use toka_vault::testing::{Random, fault_runs};

const SHORT_RUNS: u64 = 1_500;
/// Values at which lengths and numbers go wrong.
const EDGES: [u64; 8] = [0, 1, 0x7F, 0xFF, 0x8000_0000, 0xFFFF_FFFF, 0x7FFF_FFFF_FFFF_FFFF, u64::MAX];

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn changed(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let pick = |random: &mut Random| &seeds[random.below(seeds.len() as u64) as usize];
    let mut bytes = pick(random).clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        let len = (random.below(32) as usize).min(bytes.len() - at);
        match random.below(7) {
            0 if len > 0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at..at + len].fill_with(|| random.next() as u8),
            2 => {
                let edge = EDGES[random.below(EDGES.len() as u64) as usize].to_le_bytes();
                let len = len.min([1, 2, 4, 8][random.below(4) as usize]);
                bytes[at..at + len].copy_from_slice(&edge[..len]);
            }
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..at + len)),
            5 => {
                let again = bytes[at..at + len].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                let other = pick(random);
                let from = random.below(other.len() as u64 + 1) as usize;
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}

#[test]
fn no_bytes_of_a_stranger_make_a_reader_panic() {
    for (target, read) in TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{target}");
        seeds.iter().for_each(|seed| read(seed));
        let mut random = Random::new(11);
        for run in 0..fault_runs(SHORT_RUNS) {
            let bytes = changed(&mut random, &seeds);
            let read = std::panic::catch_unwind(|| read(&bytes));
            assert!(read.is_ok(), "{target}, change {run}: {bytes:02x?}");
        }
    }
}
