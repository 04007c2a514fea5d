//! Plain copies of a vault that is being written. `TOKA_FAULTS=N` makes N copies instead of a short form.
#![allow(clippy::print_stdout, reason = "the figures are the output")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use toka_types::{ContentRef, Gone, Timestamp};
use toka_vault::testing::{Random, fault_runs, forked_record, record};
use toka_vault::{
    Base, Compaction, EventHeader, Fate, Journal, LogId, Part, Record, Retention, Room, Store, What, verify,
};

const SHORT_RUNS: u64 = 60;
const PAGE: usize = 4096;

/// What a writer did.
#[derive(Default)]
struct Told {
    /// All records of each log, those of its base first, as far as they were handed to the vault.
    logs: BTreeMap<LogId, Vec<Arc<Record>>>,
    /// How many of them are acknowledged.
    acknowledged: BTreeMap<LogId, usize>,
}

/// Lets the content of every fifth event go.
struct Fifths;

impl Retention for Fifths {
    fn see(&mut self, _: &LogId, _: &EventHeader) {}

    fn fate(&self, _: &LogId, header: &EventHeader, _: &ContentRef) -> Fate {
        if header.seq.is_multiple_of(5) { Fate::Drop(Gone::Expired) } else { Fate::Keep }
    }
}

fn next_record(random: &mut Random, seq: u64) -> Arc<Record> {
    let size = match random.below(12) {
        0 => random.below(120_000),
        1..=3 => random.below(9_000),
        _ => random.below(400),
    };
    let shared = random.below(6).to_le_bytes().repeat(90);
    record(seq, &[], &[&random.bytes(size as usize + 20), &shared])
}

/// What goes to one log: from which number on, and whether it makes it.
type Handed = (LogId, u64, Vec<Arc<Record>>, Option<Base>);

/// Does one thing to the vault, and says so.
fn step(journal: &Journal, random: &mut Random, told: &Mutex<Told>, forks: &mut u64) {
    let log = |name: &str| LogId::new(name).unwrap();
    let mut parts: Vec<Handed> = Vec::new();
    {
        let mut told = told.lock().unwrap();
        let mut add = |id: LogId, before: Vec<Arc<Record>>, first: Vec<Arc<Record>>, random: &mut Random| {
            let all = told.logs.entry(id.clone()).or_insert(before);
            let expected = all.len() as u64;
            let mut records = first;
            for _ in 0..1 + random.below(4) {
                records.push(next_record(random, expected + records.len() as u64));
            }
            all.extend_from_slice(&records);
            (id, expected, records)
        };
        let names = [LogId::main(), log("side")];
        let both = random.below(5) == 0;
        for id in
            names.into_iter().skip(usize::from(!both && random.below(3) == 0)).take(if both { 2 } else { 1 })
        {
            let (id, expected, records) = add(id, Vec::new(), Vec::new(), random);
            parts.push((id, expected, records, None));
        }
        let acknowledged = told.acknowledged.get(&LogId::main()).copied().unwrap_or(0);
        if acknowledged > 0 && random.below(8) == 0 && *forks < 6 {
            *forks += 1;
            let id = log(&format!("fork-{forks}"));
            let shared = told.logs[&LogId::main()][..1 + random.below(acknowledged as u64) as usize].to_vec();
            let first =
                forked_record(&LogId::main(), &shared[shared.len() - 1].header, id.as_str().as_bytes());
            let base = Base { log: LogId::main(), size: shared.len() as u64 };
            let mut all = shared;
            let expected = all.len() as u64;
            all.push(Arc::clone(&first));
            told.logs.insert(id.clone(), all);
            parts.push((id, expected, vec![first], Some(base)));
        }
    }
    let handed: Vec<Part<'_>> = parts
        .iter()
        .map(|(log, expected, records, base)| Part { log, expected: *expected, records, base: base.as_ref() })
        .collect();
    journal.append_parts(&handed, Room::Ordinary).unwrap();
    let mut told = told.lock().unwrap();
    for (log, expected, records, _) in parts {
        told.acknowledged.insert(log, expected as usize + records.len());
    }
}

/// How somebody copies a directory.
struct Copier {
    random: Random,
    /// Files and pages in any order, instead of each file from its beginning.
    pages: bool,
    /// As an archive: the copies have the times of what was copied, and are made later.
    archive: bool,
    /// Longest pause between two pages, in microseconds.
    pause: u64,
}

struct Source {
    file: File,
    to: PathBuf,
    modified: SystemTime,
    bytes: Vec<u8>,
    /// Made at once, unless it is an archive.
    copy: Option<File>,
    /// What is still to be read, of files that are read in any order.
    left: Vec<u64>,
    done: bool,
}

impl Copier {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (pages, archive) = (random.below(2) == 0, random.below(3) == 0);
        let pause = [0, 20, 200, 1_000][random.below(4) as usize];
        Self { random, pages, archive, pause }
    }

    fn wait(&mut self) {
        if self.pause > 0 && self.random.below(3) == 0 {
            std::thread::sleep(Duration::from_micros(self.random.below(self.pause)));
        }
    }

    fn shuffled<T>(&mut self, mut all: Vec<T>) -> Vec<T> {
        for at in (1..all.len()).rev() {
            all.swap(at, self.random.below(at as u64 + 1) as usize);
        }
        all
    }

    /// Copies a directory: lists it, then copies what was listed, in any order.
    fn directory(&mut self, from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        let modified = fs::metadata(from).unwrap().modified().unwrap();
        let listed: Vec<PathBuf> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
        let mut together = Vec::new();
        for path in self.shuffled(listed) {
            self.wait();
            let to = to.join(path.file_name().unwrap());
            if path.is_dir() {
                self.directory(&path, &to);
            } else if let Some(source) = self.open(&path, to) {
                together.push(source);
            }
            if !self.pages || self.random.below(3) == 0 {
                self.read(&mut together);
            }
        }
        self.read(&mut together);
        if self.archive {
            File::open(to).unwrap().set_modified(modified).unwrap();
        }
    }

    /// `None` if it is not there any more.
    fn open(&mut self, from: &Path, to: PathBuf) -> Option<Source> {
        let file = File::open(from).ok()?;
        let data = file.metadata().unwrap();
        let copy = (!self.archive).then(|| File::create(&to).unwrap());
        let left = (0..data.len().div_ceil(PAGE as u64)).collect();
        let left = if self.pages { self.shuffled(left) } else { Vec::new() };
        let bytes = vec![0; if self.pages { data.len() as usize } else { 0 }];
        Some(Source { file, to, modified: data.modified().unwrap(), bytes, copy, left, done: false })
    }

    fn read(&mut self, files: &mut Vec<Source>) {
        while files.iter().any(|source| !source.done) {
            let at = self.random.below(files.len() as u64) as usize;
            let at = if self.pages { at } else { files.iter().position(|source| !source.done).unwrap() };
            let source = &mut files[at];
            if source.done {
                continue;
            }
            if self.pages {
                let Some(page) = source.left.pop() else {
                    source.done = true;
                    continue;
                };
                let from = page as usize * PAGE;
                let to = (from + PAGE).min(source.bytes.len());
                // Of a file that was cut meanwhile the rest stays zeros.
                let _ = source.file.read_at(&mut source.bytes[from..to], from as u64).unwrap();
            } else {
                let from = source.bytes.len();
                source.bytes.resize(from + PAGE, 0);
                let read = source.file.read_at(&mut source.bytes[from..], from as u64).unwrap();
                source.bytes.truncate(from + read);
                source.done = read == 0;
            }
            self.wait();
        }
        for source in files.drain(..) {
            if let Some(copy) = &source.copy {
                copy.write_all_at(&source.bytes, 0).unwrap();
            } else {
                fs::write(&source.to, &source.bytes).unwrap();
                File::options().write(true).open(&source.to).unwrap().set_modified(source.modified).unwrap();
            }
        }
    }
}

/// The copy has each log up to some event, and at least what was acknowledged before it began.
fn check(store: &Journal, told: &Told, before: &BTreeMap<LogId, usize>, what: &str) -> u64 {
    for (log, &least) in before {
        let found = store.head(log).unwrap().next_seq as usize;
        assert!(found >= least, "{what}: log {log} has {found} events of {least} acknowledged ones");
    }
    let mut later = 0;
    for log in store.logs().unwrap() {
        let found = store.read(&log, 0, usize::MAX).unwrap_or_else(|error| panic!("{what}: {error}"));
        let expected = &told.logs[&log];
        assert!(found.len() <= expected.len(), "{what}");
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.header, expected.header, "{what}");
            for (at, content) in expected.content.iter().enumerate() {
                match found.content_at(at) {
                    Some(found) => assert_eq!(found, content, "{what}"),
                    None => assert_eq!(store.gone(&content.digest()).unwrap(), Some(Gone::Expired), "{what}"),
                }
            }
        }
        later += found.len() as u64 - before.get(&log).map_or(0, |&least| least as u64);
    }
    later
}

#[test]
fn a_copy_of_a_vault_that_is_being_written_opens_as_after_a_crash() {
    let (mut torn, mut later, mut closes) = (0, 0, 0);
    let runs = fault_runs(SHORT_RUNS);
    let first: u64 = std::env::var("TOKA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    for seed in first..first + runs {
        let directory = directory_of(seed);
        let (vault, copy) = (directory.path().join("vault"), directory.path().join("copy"));
        let mut random = Random::new(seed ^ 0xC0);
        let told = Mutex::new(Told::default());
        let mut forks = 0;
        let (mut journal, _) = Journal::open(&vault).unwrap();
        for _ in 0..random.below(12) {
            step(&journal, &mut random, &told, &mut forks);
        }
        let stop = AtomicBool::new(false);
        let reopens = random.below(3) == 0;
        let before = std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    step(&journal, &mut random, &told, &mut forks);
                    match random.below(16) {
                        0 => drop(
                            journal.compact(Some(&mut Fifths), &Compaction::thorough(Timestamp(1))).unwrap(),
                        ),
                        1 | 2 if reopens => {
                            journal.close().unwrap();
                            journal = Journal::open(&vault).unwrap().0;
                            closes += 1;
                        }
                        _ => {}
                    }
                }
            });
            std::thread::sleep(Duration::from_micros(random_pause(seed)));
            let before = told.lock().unwrap().acknowledged.clone();
            Copier::new(seed).directory(&vault, &copy);
            stop.store(true, Ordering::SeqCst);
            writing.join().unwrap();
            before
        });
        let told = told.into_inner().unwrap();
        let what = format!("seed {seed}");
        let report = verify(&copy).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(report.ok, "{what}: {:?}", report.problems);
        let reader = Journal::open_read_only(&copy).unwrap_or_else(|error| panic!("{what}: {error}"));
        check(&reader, &told, &before, &what);
        drop(reader);
        let (store, mended) = Journal::open(&copy).unwrap_or_else(|error| panic!("{what}: {error}"));
        later += check(&store, &told, &before, &what);
        let told_torn = report.problems.iter().any(|problem| problem.what == What::Torn);
        assert_eq!(told_torn, mended.torn.is_some(), "{what}: {:?} {mended:?}", report.problems);
        torn += u64::from(told_torn);
        // It goes on as any vault does.
        let main = LogId::main();
        let next = store.head(&main).unwrap().next_seq;
        store.append(&main, next, &[record(next, &[], &[b"more"])], Room::Ordinary).unwrap();
        if seed.is_multiple_of(2) {
            store.close().unwrap();
        }
        drop(store);
        let report = verify(&copy).unwrap();
        assert!(
            report.ok && report.problems.iter().all(|p| p.what == What::Projection),
            "{what}: {report:?}"
        );
        assert_eq!(Journal::open(&copy).unwrap().1.torn, None, "{what}");
    }
    println!(
        "{runs} copies: all open and verify, {torn} with a torn end; {later} events that were written meanwhile, {closes} closes"
    );
}

/// Most lie in memory, where that can be: a writer that waits for no disk does more while it is copied.
fn directory_of(seed: u64) -> tempfile::TempDir {
    let memory = (!seed.is_multiple_of(8)).then(|| tempfile::tempdir_in("/dev/shm"));
    memory.and_then(Result::ok).unwrap_or_else(|| tempfile::tempdir().unwrap())
}

fn random_pause(seed: u64) -> u64 {
    Random::new(seed ^ 0x9A).below(4_000)
}

fn copied(from: &Path, to: &Path) {
    let mut copier = Copier { random: Random::new(1), pages: false, archive: false, pause: 0 };
    copier.directory(from, to);
}

/// Checking finds it, and opening does not take it for what may be cut. What an index covers is only read later.
fn damaged(copy: &Path, what: &str) {
    assert!(!verify(copy).unwrap().ok, "{what}: not found");
    if let Ok((_, report)) = Journal::open(copy) {
        assert_eq!(report.torn, None, "{what}: cut");
        assert!(!verify(copy).unwrap().ok, "{what}: mended");
    }
}

/// A backup of a closed vault has all of it: what a copier who came too early would leave out, it must not lack.
#[test]
fn damage_to_a_copy_of_a_closed_vault_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let (vault, copy) = (directory.path().join("vault"), directory.path().join("copy"));
    let (journal, _) = Journal::open(&vault).unwrap();
    let mut random = Random::new(5);
    for seq in 0..40 {
        let record = record(seq, &[], &[&random.bytes(20_000)]);
        journal.append(&LogId::main(), seq, &[record], Room::Ordinary).unwrap();
    }
    journal.close().unwrap();
    drop(journal);
    let again = || {
        let _ = fs::remove_dir_all(&copy);
        copied(&vault, &copy);
        let mut segments: Vec<_> =
            fs::read_dir(copy.join("journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
        segments.sort();
        assert!(segments.len() > 2);
        segments
    };
    for part in 0..10 {
        let last = again().pop().unwrap();
        let len = fs::metadata(&last).unwrap().len();
        File::options().write(true).open(&last).unwrap().set_len(len * part / 10).unwrap();
        damaged(&copy, &format!("{part} tenths of the last segment"));
    }
    for at in 0..again().len() {
        let segment = again().swap_remove(at);
        let page = fs::metadata(&segment).unwrap().len() / 2 / PAGE as u64;
        let file = File::options().write(true).open(&segment).unwrap();
        file.write_all_at(&[0; PAGE], page * PAGE as u64).unwrap();
        damaged(&copy, &format!("zeros in segment {at}"));
        let segment = again().swap_remove(at);
        fs::remove_file(&segment).unwrap();
        damaged(&copy, &format!("without segment {at}"));
    }
    again();
    assert_eq!(verify(&copy).unwrap().problems, []);
}

/// Only the first writer of a copy takes a hole for what was written meanwhile; then the copy is a vault like any other.
#[test]
fn a_copy_that_was_opened_is_no_copy_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let (vault, copy) = (directory.path().join("vault"), directory.path().join("copy"));
    let (journal, _) = Journal::open(&vault).unwrap();
    let mut random = Random::new(6);
    let mut append = |journal: &Journal, seq| {
        let record = record(seq, &[], &[&random.bytes(3_000)]);
        journal.append(&LogId::main(), seq, &[record], Room::Ordinary).unwrap();
    };
    (0..20).for_each(|seq| append(&journal, seq));
    copied(&vault, &copy);
    let segment = |vault: &Path| vault.join("journal/0000000001.seg");
    let hole = |path: &Path| {
        let file = File::options().write(true).open(segment(path)).unwrap();
        file.write_all_at(&[0; PAGE], 5 * PAGE as u64).unwrap();
    };
    hole(&copy);
    let report = verify(&copy).unwrap();
    assert!(report.ok && report.problems.iter().any(|problem| problem.what == What::Torn), "{report:?}");
    let (store, report) = Journal::open(&copy).unwrap();
    let left = store.head(&LogId::main()).unwrap().next_seq;
    assert!((1..20).contains(&left));
    assert!(report.torn.unwrap().detail.contains("while it was copied"));
    assert!(segment(&copy).with_extension("void").exists(), "what follows is kept aside");
    (left..20).for_each(|seq| append(&store, seq));
    // It is not closed: nothing but its own directory tells that it is no copy.
    std::mem::forget(store);
    hole(&copy);
    fs::remove_file(copy.join("lock")).unwrap();
    damaged(&copy, "a hole in what was a copy");
    hole(&vault);
    drop(journal);
    damaged(&vault, "a hole in the vault itself");
}
