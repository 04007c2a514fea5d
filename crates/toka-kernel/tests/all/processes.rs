//! Random programs in another process: it decides the same events, byte for byte, and folds what was recorded into the
//! same world.
//!
//! `TOKA_PROGRAMS=1000` asks for that many instead of a short form.

use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use toka_kernel::apply::apply_stored;
use toka_kernel::{WorldState, digests};
use toka_types::{Digest, EventHeader, Timestamp};

use crate::house::House;
use crate::program::{Asked, program};

const SHORT_RUNS: usize = 100;
/// Tells the other process where the events of this one lie.
const RECORDED: &str = "TOKA_PROGRAMS_RECORDED";

fn count() -> usize {
    std::env::var("TOKA_PROGRAMS")
        .ok()
        .map_or(SHORT_RUNS, |runs| runs.parse().expect("TOKA_PROGRAMS is a number"))
}

/// The programs, the same in every process.
fn programs() -> impl Iterator<Item = Vec<Asked>> {
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let strategy = program(40);
    (0..count()).map(move |_| strategy.new_tree(&mut runner).expect("a program").current())
}

fn run(program: &[Asked]) -> House {
    let mut house = crate::program::with_money();
    for asked in program {
        house.at = Timestamp(house.at.0 + asked.after);
        let envelope = asked.in_house(&house);
        let _ = house.submit(envelope);
    }
    house
}

/// All that came of a program: each event as it is stored, with its content, and the digests of the world.
fn record(house: &House) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for event in &house.log {
        parts.push(event.header.to_bytes());
        parts.push(event.content.iter().flat_map(|payload| payload.bytes().to_vec()).collect());
    }
    parts.push(both(house.kernel.world()));
    parts
}

fn both(world: &WorldState) -> Vec<u8> {
    let digests = digests(world);
    [digests.fold, digests.world].iter().flat_map(|Digest(bytes)| *bytes).collect()
}

fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("toka-programs-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

#[test]
fn another_process_decides_and_folds_the_same() {
    if std::env::var_os(RECORDED).is_some() {
        return;
    }
    let folder = folder();
    let file = folder.join("recorded");
    let recorded: Vec<Vec<Vec<u8>>> = programs().map(|program| record(&run(&program))).collect();
    std::fs::write(&file, rmp_serde::to_vec(&recorded).expect("plain data")).expect("written");
    let other = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "processes::as_the_other_process", "--nocapture"])
        .env(RECORDED, &file)
        .output()
        .expect("it starts");
    std::fs::remove_dir_all(&folder).expect("removed");
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(other.status.success(), "{}{said}", String::from_utf8_lossy(&other.stdout));
    assert!(said.contains(&format!("{} programs are the same here", recorded.len())), "{said}");
}

/// What the other process does; as a test of its own it does nothing.
#[test]
fn as_the_other_process() {
    let Some(file) = std::env::var_os(RECORDED) else { return };
    let bytes = std::fs::read(Path::new(&file)).expect("it was written");
    let recorded: Vec<Vec<Vec<u8>>> = rmp_serde::from_slice(&bytes).expect("as it was written");
    let mut same = 0;
    for (program, recorded) in programs().zip(&recorded) {
        assert_eq!(&record(&run(&program)), recorded, "program {same}");
        let mut world = WorldState::default();
        let (digests, events) = recorded.split_last().expect("the digests come last");
        for event in events.chunks(2) {
            let header = EventHeader::decode(&event[0]).expect("what was recorded can be read");
            apply_stored(&mut world, &header).expect("what was recorded can be folded in");
        }
        assert_eq!(&both(&world), digests, "program {same}");
        same += 1;
    }
    eprintln!("{same} programs are the same here");
}
