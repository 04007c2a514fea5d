//! Opening a large vault, and appending to it: time and memory, each in a process of its own.
//!
//! `TOKA_BENCH_EVENTS` says how many events the vault has (10,000,000; some 4.6 GB of disk).

#[path = "../../../benches/harness.rs"]
mod harness;
#[path = "../../../benches/records.rs"]
mod records;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use harness::Bench;
use records::Chain;
use toka_vault::{Journal, LogId, LogWriter, Record, Room, Store};

const EVENTS: u64 = 10_000_000;
const BATCH: u64 = 1024;
/// How far the indexes are behind in the second case.
const BEHIND: u64 = 1_000_000;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (Some("fill"), Some(path), Some(events)) => fill(Path::new(&path), events.parse().expect("a number")),
        (Some("open"), Some(path), _) => open(Path::new(&path)),
        _ => bench(),
    }
}

fn bench() {
    let bench = Bench::new("reopen");
    let events = std::env::var("TOKA_BENCH_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(EVENTS);
    let path = bench.directory().join("vault");
    let filled = child(&["fill", path_text(&path), &events.to_string()]);
    bench.line(&format!("append events={events}"), "events/s", events as f64 / filled[0], None);
    bench.line(&format!("append events={events} memory"), "MB", filled[1], None);
    bench.line("bytes an event", "bytes", disk(&path) as f64 / events as f64, None);

    let mut memory = 0.0;
    let ms = bench.alone(|| {
        let opened = child(&["open", path_text(&path)]);
        memory = opened[1];
        1e3 * opened[0]
    });
    bench.line("clean", "ms", ms, None);
    bench.line("clean memory", "MB", memory, None);

    // As a kill leaves it: the newest indexes are not there, and the manifest names no end.
    let segments = names(&path.join("journal"));
    let behind = (BEHIND.min(events) * segments.len() as u64).div_ceil(events) as usize;
    let ms = bench.alone(|| {
        let indexes = names(&path.join("index"));
        let indexes = indexes.iter().filter(|name| name.extension().is_some_and(|end| end == "idx"));
        for name in indexes.rev().take(behind) {
            fs::remove_file(path.join("index").join(name)).expect("an index can be removed");
        }
        1e3 * child(&["open", path_text(&path)])[0]
    });
    bench.line("behind", "ms", ms, None);
}

/// Fills a vault. Prints seconds and megabytes.
fn fill(path: &Path, events: u64) {
    let start = Instant::now();
    let (journal, _) = Journal::open(path).expect("a vault opens");
    let journal = Arc::new(journal);
    let mut writer =
        LogWriter::open(Arc::clone(&journal) as Arc<dyn Store>, LogId::main()).expect("a log opens");
    let mut chain = Chain::default();
    let mut left = events;
    while left > 0 {
        let batch: Vec<Arc<Record>> = (0..BATCH.min(left)).map(|_| Arc::new(chain.next_record())).collect();
        writer.append_computed(&batch, Room::Ordinary).expect("a batch is appended");
        left -= batch.len() as u64;
    }
    journal.close().expect("the vault closes");
    report(start);
}

/// Opens a vault for writing. Prints seconds and megabytes.
fn open(path: &Path) {
    let start = Instant::now();
    let (journal, _) = Journal::open(path).expect("a vault opens");
    assert!(journal.head(&LogId::main()).expect("a log has a head").next_seq > 0);
    report(start);
}

fn report(start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    #[allow(clippy::print_stdout, reason = "the bench reads it")]
    let () = println!("{seconds} {}", peak.unwrap_or(0.0) / 1e3);
}

fn child(arguments: &[&str]) -> Vec<f64> {
    let own = std::env::current_exe().expect("the bench knows its path");
    let output = Command::new(own).args(arguments).output().expect("the bench starts itself");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().map(|word| word.parse().expect("a number")).collect()
}

fn path_text(path: &Path) -> &str {
    path.to_str().expect("the bench directory is UTF-8")
}

fn names(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the vault has it");
    let mut names: Vec<_> =
        entries.map(|entry| PathBuf::from(entry.expect("an entry").file_name())).collect();
    names.sort();
    names
}

fn disk(path: &Path) -> u64 {
    ["journal", "index"]
        .iter()
        .map(|part| path.join(part))
        .flat_map(|part| names(&part).into_iter().map(move |name| part.join(name)))
        .map(|file| fs::metadata(file).map_or(0, |metadata| metadata.len()))
        .sum()
}
