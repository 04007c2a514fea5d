//! What a store in a directory promises beside the suite that every store passes: it is there again when it is opened
//! again, it has one writer, and damage is an error.
//!
//! `toka_vault::durable_conformance!(name, engine)` makes a module `name` with one test for each promise.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{append, chain, forked_record, record};
use crate::core::{LogId, Record};
use crate::engine::{Engine, create, open, open_read_only, writer_pid};
use crate::fork::{Base, Lineage};
use crate::migrate::migrate;
use crate::store::{Head, Part, Room, Statistics, Store, StoreError};
use crate::verify::{VerifyReport, verify};

/// Declares the tests for one engine.
#[macro_export]
macro_rules! durable_conformance {
    ($name:ident, $engine:expr) => {
        $crate::durable_conformance!(@tests $name, $engine, [
            reopens, survives_being_copied_open, closes, has_one_writer, is_read_beside_a_writer, keeps_its_engine,
            does_not_begin_anew, sees_a_lost_batch, finds_flipped_bytes, moves_to_every_store, moves_whole_or_not_at_all
        ]);
    };
    (@tests $name:ident, $engine:expr, [$($test:ident),*]) => {
        mod $name {
            use super::*;
            $(#[test] fn $test() {
                let directory = tempfile::tempdir().unwrap();
                $crate::testing::durable::$test($engine, directory.path());
            })*
        }
    };
}

/// Everything that a store says of its logs.
#[derive(Debug, PartialEq)]
struct Told {
    logs: Vec<(LogId, Head, Vec<Arc<Record>>)>,
    bases: Vec<Option<Base>>,
    dimension: Option<u32>,
    /// True if every event is found by its id, and as a child of its parents.
    indexed: bool,
}

fn told(store: &dyn Store) -> Result<Told, StoreError> {
    let mut indexed = true;
    let log = |log: LogId| {
        let lineage = Lineage::of(store, &log)?;
        let (head, records) = (store.head(&log)?, store.read(&log, 0, usize::MAX)?);
        let headers = records.iter().map(|record| record.header.clone()).collect::<Vec<_>>();
        assert_eq!(store.headers(&log, 0, usize::MAX)?, headers);
        for record in &records {
            let (id, seq) = (record.header.id, record.header.seq);
            indexed &= store.position(&log, &id)? == Some(seq) && store.find(&id)?.is_some();
            for parent in &record.header.parents {
                let children = store.children(parent)?;
                indexed &= children.iter().any(|(log, at)| *at == seq && lineage.contains(log, seq));
            }
        }
        Ok((log, head, records))
    };
    let bases = store.logs()?.iter().map(|log| store.base(log)).collect::<Result<_, StoreError>>()?;
    let logs = store.logs()?.into_iter().map(log).collect::<Result<Vec<_>, StoreError>>()?;
    Ok(Told { logs, bases, dimension: store.dimension()?, indexed })
}

/// Two logs and a fork, with content that they share, and vectors of three dimensions.
fn fill(store: &dyn Store) {
    let (main, side) = (LogId::main(), LogId::new("side").unwrap());
    store.fix_dimension(3).unwrap();
    let records = chain(0, 60);
    records[..40].chunks(7).for_each(|batch| append(store, &main, batch).unwrap());
    append(store, &side, &chain(0, 5)).unwrap();
    let large = record(5, &[records[3].header.id], &[&[9; 70_000], b"", b"small"]);
    append(store, &side, &[large]).unwrap();
    records[40..].chunks(20).for_each(|batch| append(store, &main, batch).unwrap());
    let fork = LogId::new("fork").unwrap();
    let last = &records[29].header;
    let own = [forked_record(&main, last, b"nonce"), record(31, &[last.id], &[b"small", b"only here"])];
    let base = Base { log: main, size: 30 };
    store
        .append_parts(&[Part { log: &fork, expected: 30, records: &own, base: Some(&base) }], Room::Ordinary)
        .unwrap();
}

/// A vault with what [`fill`] makes, and what it says.
fn filled(engine: Engine, path: &Path) -> Told {
    let (store, report) = create(path, engine).unwrap();
    assert!(report.created);
    fill(&*store);
    let told = told(&*store).unwrap();
    store.close().unwrap();
    told
}

fn opened(path: &Path) -> Arc<dyn Store> {
    open(path).unwrap().0
}

fn whole(report: &VerifyReport) {
    assert!(report.ok && report.problems.is_empty(), "{:?}", report.problems);
}

pub fn reopens(engine: Engine, path: &Path) {
    let (store, _) = create(path, engine).unwrap();
    fill(&*store);
    let (before, statistics) = (told(&*store).unwrap(), store.statistics().unwrap());
    drop(store);
    for _ in 0..2 {
        let store = opened(path);
        assert_eq!(told(&*store).unwrap(), before);
        let Statistics { events, log, deduplicated, compressed, .. } = store.statistics().unwrap();
        assert_eq!((events, deduplicated, compressed), (68, statistics.deduplicated, statistics.compressed));
        assert!(log > 0);
        store.close().unwrap();
    }
    let store = opened(path);
    let (main, next) = (LogId::main(), chain(60, 3));
    append(&*store, &main, &next).unwrap();
    let conflict = StoreError::Conflict { log: main.clone(), expected: 60, head: 63 };
    assert_eq!(append(&*store, &main, &next), Err(conflict));
    assert_eq!(store.read(&main, 60, 9).unwrap(), next);
    drop(store);
    let report = verify(path).unwrap();
    whole(&report);
    let reader = open_read_only(path).unwrap();
    assert_eq!((report.events, report.root), (71, reader.head(&main).unwrap().root));
}

/// A copy of the files between two batches is what a crash there leaves.
pub fn survives_being_copied_open(engine: Engine, path: &Path) {
    let (store, _) = create(path.join("open"), engine).unwrap();
    fill(&*store);
    let before = told(&*store).unwrap();
    copy(&path.join("open"), &path.join("copy"));
    drop(store);
    let copied = opened(&path.join("copy"));
    assert_eq!(told(&*copied).unwrap(), before);
    append(&*copied, &LogId::main(), &chain(60, 2)).unwrap();
    drop(copied);
    whole(&verify(path.join("copy")).unwrap());
}

pub fn closes(engine: Engine, path: &Path) {
    let (store, _) = create(path, engine).unwrap();
    fill(&*store);
    let before = told(&*store).unwrap();
    store.close().unwrap();
    store.close().unwrap();
    assert_eq!(append(&*store, &LogId::main(), &chain(60, 1)), Err(StoreError::Closed));
    assert_eq!(store.fix_dimension(3), Ok(()), "it is what is fixed");
    assert_eq!(told(&*store).unwrap(), before, "reads go on");
    assert_eq!(writer_pid(path), None);
    let next = opened(path);
    append(&*next, &LogId::main(), &chain(60, 1)).unwrap();
    next.close().unwrap();
    assert_eq!(store.read(&LogId::main(), 0, 60).unwrap(), before.logs[0].2, "beside the next writer too");
}

pub fn has_one_writer(engine: Engine, path: &Path) {
    let (store, _) = create(path, engine).unwrap();
    fill(&*store);
    let pid = Some(std::process::id());
    let locked = StoreError::Locked { path: path.to_owned(), pid };
    assert_eq!(open(path).err(), Some(locked.clone()));
    assert_eq!(create(path, engine).err(), Some(locked.clone()));
    assert_eq!(migrate(path, Engine::Journal, path.join("../never"), |_, _| {}).err(), Some(locked));
    assert_eq!(writer_pid(path), pid);
    append(&*store, &LogId::main(), &chain(60, 1)).unwrap();
    drop(store);
    assert_eq!(opened(path).head(&LogId::main()).unwrap().next_seq, 61);
}

pub fn is_read_beside_a_writer(engine: Engine, path: &Path) {
    assert!(matches!(open_read_only(path).err(), Some(StoreError::NotFound { .. })));
    assert!(matches!(verify(path).err(), Some(StoreError::NotFound { .. })));
    let (store, _) = create(path, engine).unwrap();
    fill(&*store);
    if engine == Engine::Sled {
        let pid = Some(std::process::id());
        let refused = Some(StoreError::Exclusive { path: path.to_owned(), engine, pid });
        assert_eq!(open_read_only(path).err(), refused);
        assert_eq!(verify(path).err(), refused);
        drop(store);
    } else {
        let main = LogId::main();
        let reader = open_read_only(path).unwrap();
        let before = told(&*store).unwrap();
        assert_eq!(told(&*reader).unwrap(), before);
        let next = chain(60, 30);
        next.chunks(10).for_each(|batch| append(&*store, &main, batch).unwrap());
        assert_eq!(told(&*reader).unwrap(), before, "it sees one moment");
        assert_eq!(reader.position(&main, &next[0].header.id).unwrap(), None);
        assert_eq!(reader.children(&next[0].header.id).unwrap(), []);
        whole(&verify(path).unwrap());
        assert_eq!(reader.refresh(), Ok(30));
        assert_eq!(reader.refresh(), Ok(0));
        assert_eq!(told(&*reader).unwrap(), told(&*store).unwrap());
        assert_eq!(store.refresh(), Ok(0));
        drop(store);
        assert_eq!(reader.read(&main, 60, 99).unwrap(), next);
    }
    let reader = open_read_only(path).unwrap();
    let read_only = StoreError::ReadOnly { path: path.to_owned() };
    let head = reader.head(&LogId::main()).unwrap().next_seq;
    assert_eq!(append(&*reader, &LogId::main(), &chain(head, 1)), Err(read_only.clone()));
    assert_eq!(reader.close(), Ok(()));
    assert_eq!(append(&*reader, &LogId::main(), &chain(head, 1)), Err(read_only));
}

pub fn keeps_its_engine(engine: Engine, path: &Path) {
    assert_eq!(Engine::of(path), Ok(None));
    let before = filled(engine, path);
    assert_eq!(Engine::of(path), Ok(Some(engine)));
    let other = if engine == Engine::Journal { Engine::Sqlite } else { Engine::Journal };
    assert!(matches!(create(path, other).err(), Some(StoreError::Engine { .. })));
    let (again, report) = create(path, engine).unwrap();
    assert!(!report.created);
    assert_eq!(told(&*again).unwrap(), before);
    drop(again);
    let direct = crate::journal::Journal::open(path).err();
    assert_eq!(matches!(direct, Some(StoreError::Engine { .. })), engine != Engine::Journal);
    let manifest = path.join("manifest");
    let text = fs::read_to_string(&manifest).unwrap();
    let (body, _) = text.rsplit_once("blake3 ").unwrap();
    let rename = |name: &str| {
        let body = body.replace(&format!("\"engine\": \"{engine}\""), &format!("\"engine\": \"{name}\""));
        let checksum = blake3::hash(body.as_bytes()).to_hex();
        fs::write(&manifest, format!("{body}blake3 {checksum}\n")).unwrap();
    };
    rename("abacus");
    for error in [open(path).err(), open_read_only(path).err(), verify(path).err()] {
        let error = error.unwrap();
        assert!(matches!(&error, StoreError::Engine { engine, .. } if engine == "abacus"), "{error}");
    }
    for missing in Engine::ALL.into_iter().filter(|engine| !engine.is_built()) {
        rename(missing.name());
        for error in [open(path).err(), open_read_only(path).err(), verify(path).err()] {
            let text = error.unwrap().to_string();
            assert!(text.contains(&format!("the feature `{missing}`")), "{text}");
        }
        let made = create(path.join("new"), missing).err().unwrap().to_string();
        assert!(made.contains(&format!("the feature `{missing}`")), "{made}");
        assert!(!path.join("new").exists());
    }
}

/// A vault whose files went away is damaged; it is not a vault without events.
pub fn does_not_begin_anew(engine: Engine, path: &Path) {
    let (vault, away) = (path.join("vault"), path.join("away"));
    filled(engine, &vault);
    for part in [engine.name(), "manifest"] {
        fs::rename(vault.join(part), &away).unwrap();
        for error in [open(&vault).err(), open_read_only(&vault).err()] {
            let error = error.unwrap();
            let damage = matches!(error, StoreError::Damage { .. } | StoreError::Corrupt { .. });
            assert!(damage, "{part} missing: {error}");
        }
        assert!(!verify(&vault).unwrap().ok, "{part} missing");
        let _ = fs::remove_dir_all(vault.join(part));
        fs::rename(&away, vault.join(part)).unwrap();
    }
    whole(&verify(&vault).unwrap());
}

/// What was there when the vault was closed has to be there when it is opened.
pub fn sees_a_lost_batch(engine: Engine, path: &Path) {
    let (vault, old) = (path.join("vault"), path.join("old"));
    filled(engine, &vault);
    copy(&vault.join(engine.name()), &old);
    let store = opened(&vault);
    append(&*store, &LogId::main(), &chain(60, 1)).unwrap();
    drop(store);
    fs::remove_dir_all(vault.join(engine.name())).unwrap();
    fs::rename(&old, vault.join(engine.name())).unwrap();
    let error = open(&vault).err().unwrap();
    assert!(matches!(error, StoreError::Damage { .. } | StoreError::Corrupt { .. }), "{error}");
    assert!(!verify(&vault).unwrap().ok);
}

/// A flipped byte is found by whoever reads what it belongs to, or it belonged to nothing.
pub fn finds_flipped_bytes(engine: Engine, path: &Path) {
    let vault = path.join("vault");
    let before = filled(engine, &vault);
    let mut flipped = 0;
    for file in files(&vault.join(engine.name())).into_iter().chain([vault.join("manifest")]) {
        let bytes = fs::read(&file).unwrap();
        for at in (0..bytes.len()).step_by(bytes.len() / 12 + 1) {
            let copied = path.join("copy");
            copy(&vault, &copied);
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(copied.join(file.strip_prefix(&vault).unwrap()), bytes).unwrap();
            let report = verify(&copied);
            let sound = report.as_ref().is_ok_and(|report| report.ok);
            let read = open_read_only(&copied).and_then(|store| told(&*store));
            match read {
                Ok(read) => {
                    // The journal checks headers when it checks their frame, and not with every read.
                    let same = read.logs == before.logs || engine == Engine::Journal;
                    assert!(same, "byte {at} of {}: read otherwise", file.display());
                    assert!(read == before || !sound, "byte {at} of {}: not found", file.display());
                }
                Err(error) => assert!(!sound, "byte {at} of {}: not found, {error}", file.display()),
            }
            flipped += 1;
            fs::remove_dir_all(&copied).unwrap();
        }
    }
    assert!(flipped > 10);
}

pub fn moves_to_every_store(engine: Engine, path: &Path) {
    let from = path.join("from");
    let before = filled(engine, &from);
    fs::create_dir_all(from.join("local/agent")).unwrap();
    fs::write(from.join("local/agent/notes"), "kept").unwrap();
    let files_before = contents(&from);
    for to in Engine::ALL.into_iter().filter(|engine| engine.is_built()) {
        let target = path.join(to.name());
        let mut steps = Vec::new();
        let moved = migrate(&from, to, &target, |done, total| steps.push((done, total))).unwrap();
        assert_eq!((moved.logs, moved.events, moved.root), (3, 68, verify(&from).unwrap().root));
        assert_eq!((steps.first(), steps.last()), (Some(&(0, 68)), Some(&(68, 68))));
        assert_eq!(Engine::of(&target), Ok(Some(to)));
        assert_eq!(fs::read_to_string(target.join("local/agent/notes")).unwrap(), "kept");
        whole(&verify(&target).unwrap());
        let store = opened(&target);
        assert_eq!(told(&*store).unwrap(), before);
        append(&*store, &LogId::main(), &chain(60, 2)).unwrap();
        drop(store);
        let back = path.join(format!("back-from-{to}"));
        assert_eq!(migrate(&target, engine, &back, |_, _| {}).unwrap().events, 70);
        assert_eq!(told(&*opened(&back)).unwrap().logs[1..], before.logs[1..]);
    }
    // sled cannot look at its files without writing to them.
    if engine != Engine::Sled {
        assert!(contents(&from) == files_before, "the old vault is as it was");
    }
    assert_eq!(told(&*opened(&from)).unwrap(), before);
    assert_eq!(files(path).iter().filter(|file| file.to_string_lossy().contains(".migrating")).count(), 0);
}

pub fn moves_whole_or_not_at_all(engine: Engine, path: &Path) {
    let from = path.join("from");
    filled(engine, &from);
    let names = || fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    for there in ["file", "directory", "link"] {
        let there = path.join(there);
        match there.file_name().unwrap().to_str().unwrap() {
            "file" => fs::write(&there, "mine").unwrap(),
            "directory" => fs::create_dir(&there).unwrap(),
            _ => std::os::unix::fs::symlink("nowhere", &there).unwrap(),
        }
        let refused = migrate(&from, Engine::Journal, &there, |_, _| {});
        assert_eq!(refused.err(), Some(StoreError::Exists { path: there }));
    }
    let inside = migrate(&from, Engine::Journal, from.join("inside"), |_, _| {});
    assert!(matches!(inside, Err(StoreError::Io { .. })), "{inside:?}");
    let nowhere = migrate(&from, Engine::Journal, path.join("no/such/place"), |_, _| {});
    assert!(matches!(nowhere, Err(StoreError::Io { .. })), "{nowhere:?}");
    let missing = migrate(path.join("none"), Engine::Journal, path.join("to"), |_, _| {});
    assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");
    let before = names().len();
    // A try that died left something behind; this one takes its place.
    fs::create_dir(path.join(".to.migrating")).unwrap();
    fs::write(path.join(".to.migrating/manifest"), "half").unwrap();
    // And one that is stopped in the middle leaves nothing.
    let stopped = std::panic::catch_unwind(|| {
        migrate(&from, Engine::Journal, path.join("to"), |done, _| assert!(done < 20, "stopped"))
    });
    assert!(stopped.is_err());
    assert_eq!(names().len(), before);
    migrate(&from, Engine::Journal, path.join("to"), |_, _| {}).unwrap();
    assert_eq!(names().len(), before + 1);
    // Damage in the old vault is not carried over.
    for file in files(&from.join(engine.name())) {
        let mut bytes = fs::read(&file).unwrap();
        bytes.iter_mut().skip(100).for_each(|byte| *byte ^= 0x55);
        fs::write(&file, bytes).unwrap();
    }
    assert!(migrate(&from, Engine::Journal, path.join("damaged"), |_, _| {}).is_err());
    assert_eq!(names().len(), before + 1);
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The files below a directory with what is in them, but for those that coordinate processes.
fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let coordinates = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name == "lock" || name == "LOCK" || name.ends_with("-shm") || name.ends_with("-wal")
    };
    files(directory)
        .into_iter()
        .filter(|path| !coordinates(path))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => assert!(fs::copy(&path, &target).is_ok()),
        }
    }
}
