//! A writing process is killed again and again. `TOKA_FAULTS=N` makes N kills instead of a short form.
#![allow(clippy::print_stdout, reason = "the figures are the output")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use toka_vault::testing::{Random, fault_runs, record};
use toka_vault::{Journal, LogId, Room, Store, verify};

const SHORT_RUNS: u64 = 12;
/// Names the directory to the process that is going to be killed.
const VICTIM: &str = "TOKA_TEST_VICTIM";

/// Content by number, so that everybody knows what has to be there.
fn content(seq: u64) -> Vec<u8> {
    let mut random = Random::new(seq);
    let size = if seq.is_multiple_of(97) { 200_000 } else { 20 + random.below(2_000) };
    random.bytes(size as usize)
}

/// The process that is going to be killed: it appends batches, and says after each what is acknowledged.
#[test]
fn victim() {
    let Some(path) = std::env::var_os(VICTIM).map(PathBuf::from) else { return };
    let (journal, _) = Journal::open(&path).unwrap();
    let mut next = journal.head(&LogId::main()).unwrap().next_seq;
    let mut random = Random::new(next);
    let mut out = std::io::stdout();
    loop {
        let batch: Vec<_> =
            (next..=next + random.below(40)).map(|seq| record(seq, &[], &[&content(seq)])).collect();
        journal.append(&LogId::main(), next, &batch, Room::Ordinary).unwrap();
        next += batch.len() as u64;
        writeln!(out, "acknowledged {next}").and_then(|()| out.flush()).unwrap();
    }
}

#[test]
fn a_killed_writer_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vault");
    let runs = fault_runs(SHORT_RUNS);
    let mut random = Random::new(3);
    let mut events = 0;
    for run in 0..runs {
        // A fresh vault now and then, so that beginnings are hit too.
        if run.is_multiple_of(16) && path.exists() {
            std::fs::remove_dir_all(&path).unwrap();
            events = 0;
        }
        let acknowledged = kill_after(&path, Duration::from_micros(random.below(30_000))).max(events);
        if !path.join("manifest").exists() {
            assert_eq!(acknowledged, 0, "run {run}");
            continue;
        }
        let (journal, _) = Journal::open(&path).unwrap_or_else(|error| panic!("run {run}: {error}"));
        events = journal.head(&LogId::main()).unwrap().next_seq;
        assert!(events >= acknowledged, "run {run}: {events} events of {acknowledged} acknowledged");
        let from = events.saturating_sub(200);
        for found in journal.read(&LogId::main(), from, usize::MAX).unwrap() {
            assert_eq!(found.content[0].bytes(), content(found.seq()), "run {run}: event {}", found.seq());
        }
        journal.close().unwrap();
        drop(journal);
        if run.is_multiple_of(8) {
            let report = verify(&path).unwrap();
            assert!(report.ok && report.problems.is_empty(), "run {run}: {:?}", report.problems);
        }
    }
    println!("{runs} processes killed, no acknowledged event lost");
}

/// Kills a writer some time after it was heard of; how many events it had acknowledged.
fn kill_after(path: &Path, pause: Duration) -> u64 {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["faults::victim", "--exact", "--nocapture", "--test-threads=1"])
        .env(VICTIM, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap());
    let heard = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let listener = {
        let heard = Arc::clone(&heard);
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if let Some(number) = line.strip_prefix("acknowledged ").and_then(|text| text.parse().ok()) {
                    heard.store(number, std::sync::atomic::Ordering::SeqCst);
                }
            }
        })
    };
    std::thread::sleep(Duration::from_millis(3) + pause);
    victim.kill().unwrap();
    victim.wait().unwrap();
    listener.join().unwrap();
    heard.load(std::sync::atomic::Ordering::SeqCst)
}
