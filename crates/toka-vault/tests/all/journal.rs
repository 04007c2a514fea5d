//! The journal as files: reopening, damage, readers beside a writer.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toka_vault::testing::{chain, record};
use toka_vault::{Journal, LogId, Record, Room, Store, StoreError, What, verify};

const LARGE: u64 = 3_000;

fn append(store: &Journal, batch: &[Arc<Record>]) {
    store.append(&LogId::main(), batch[0].header.seq, batch, Room::Ordinary).unwrap();
}

/// A closed vault with `count` events in batches of `batch`.
fn vault(count: u64, batch: usize) -> (tempfile::TempDir, Vec<Arc<Record>>) {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Journal::open(directory.path()).unwrap();
    let records = chain(0, count);
    records.chunks(batch).for_each(|batch| append(&store, batch));
    store.close().unwrap();
    (directory, records)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

pub(crate) fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for part in ["journal", "index"] {
        fs::create_dir(to.path().join(part)).unwrap();
        for file in files(&from.join(part)) {
            fs::copy(&file, to.path().join(part).join(file.file_name().unwrap())).unwrap();
        }
    }
    for file in files(from).iter().filter(|file| file.is_file()) {
        fs::copy(file, to.path().join(file.file_name().unwrap())).unwrap();
    }
    to
}

fn all(store: &Journal) -> Vec<Arc<Record>> {
    store.read(&LogId::main(), 0, usize::MAX).unwrap()
}

#[test]
fn reopens_in_every_way() {
    let (directory, mut records) = vault(LARGE, 100);
    assert!(files(&directory.path().join("journal")).len() > 1, "several segments");
    let root = verify(directory.path()).unwrap().root;
    let reader = Journal::open_read_only(directory.path()).unwrap();
    assert_eq!(reader.head(&LogId::main()).unwrap().root, root);
    assert_eq!(all(&reader), records);
    assert!(matches!(
        reader.append(&LogId::main(), LARGE, &[], Room::Ordinary),
        Err(StoreError::ReadOnly { .. })
    ));

    // A few more events, and an end without closing.
    let (store, report) = Journal::open(directory.path()).unwrap();
    assert_eq!(report, Default::default());
    let late = |n: u64| record(LARGE + n, &[records[n as usize * 40].header.id], &[b"late"]);
    let late: Vec<_> = (0..30).map(late).collect();
    records.extend(late);
    append(&store, &records[LARGE as usize..]);
    let statistics = store.statistics().unwrap();
    let copied = copy(directory.path());
    drop(store);

    for path in [copied.path(), directory.path()] {
        let reader = Journal::open_read_only(path).unwrap();
        assert_eq!(all(&reader), records);
        let (store, report) = Journal::open(path).unwrap();
        assert_eq!(report, Default::default());
        assert_eq!(all(&store), records);
        assert_eq!(store.statistics().unwrap().events, statistics.events);
        assert_eq!(store.statistics().unwrap().saved(), statistics.saved());
        for record in records.iter().step_by(501) {
            assert_eq!(store.position(&LogId::main(), &record.header.id).unwrap(), Some(record.header.seq));
            let payload = &record.content[0];
            assert_eq!(store.content(&payload.digest()).unwrap().as_ref(), Some(payload));
        }
        let late = store.children(&records[40].header.id).unwrap();
        assert_eq!(late.iter().map(|(_, seq)| *seq).collect::<Vec<_>>(), [41, LARGE + 1]);
        store.close().unwrap();
        let report = verify(path).unwrap();
        assert!(report.ok && report.problems.is_empty(), "{:?}", report.problems);
        assert_eq!(report.events, records.len() as u64);
    }
}

#[test]
fn without_indexes_nothing_is_lost() {
    let (directory, records) = vault(LARGE, 100);
    fs::remove_dir_all(directory.path().join("index")).unwrap();
    assert_eq!(all(&Journal::open_read_only(directory.path()).unwrap()), records);
    assert!(verify(directory.path()).unwrap().ok);
    let (store, report) = Journal::open(directory.path()).unwrap();
    assert!(!report.rebuilt.is_empty());
    drop(store);
    let made = files(&directory.path().join("index"));
    let of_segments = made.iter().filter(|file| file.extension().is_some_and(|e| e == "idx")).count();
    assert_eq!(of_segments, files(&directory.path().join("journal")).len());
    assert_eq!(made.len(), of_segments + 1, "the nodes of the log's tree are there again");
}

#[test]
fn a_damaged_index_is_reported_and_made_anew() {
    let (directory, records) = vault(LARGE, 100);
    for index in files(&directory.path().join("index")).into_iter().rev().take(2) {
        let whole = fs::read(&index).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 4) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&index, &bytes).unwrap();
            let report = verify(directory.path()).unwrap();
            assert!(report.ok);
            assert_eq!(report.problems.iter().map(|p| p.what).collect::<Vec<_>>(), [What::Projection]);
            let reader = Journal::open_read_only(directory.path()).unwrap();
            for record in records.iter().step_by(1009) {
                assert_eq!(
                    reader.position(&LogId::main(), &record.header.id).unwrap(),
                    Some(record.header.seq)
                );
            }
            let (store, report) = Journal::open(directory.path()).unwrap();
            assert_eq!(report.rebuilt.len(), 1, "byte {at} of {}", index.display());
            assert_eq!(report.rebuilt[0].0, index);
            drop(store);
            assert_eq!(verify(directory.path()).unwrap().problems, []);
        }
    }
}

#[test]
fn every_flipped_byte_is_found() {
    let (directory, _) = vault(9, 4);
    for file in
        files(&directory.path().join("journal")).into_iter().chain([directory.path().join("manifest")])
    {
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            // A digit that stays a digit could be the format of another version.
            bytes[at] ^= if bytes[at] == b'1' { 1 << 3 } else { 1 << (at % 8) };
            fs::write(&file, &bytes).unwrap();
            found(directory.path(), &format!("byte {at} of {}", file.display()));
        }
        fs::write(&file, &whole).unwrap();
    }
    assert!(verify(directory.path()).unwrap().ok);
}

/// Reading checks no frame's checksum, which would take the whole frame; the id covers what an event says.
#[test]
fn no_reader_is_handed_a_changed_header() {
    let (directory, records) = vault(3, 3);
    let file = files(&directory.path().join("journal")).remove(0);
    let whole = fs::read(&file).unwrap();
    for record in &records {
        let header = record.header.to_bytes();
        let start = whole.windows(header.len()).position(|window| window == header).unwrap();
        // The time, behind version and number, is covered by frame and log tree alone.
        for at in (0..header.len()).filter(|at| !(9..17).contains(at)) {
            let mut bytes = whole.clone();
            bytes[start + at] ^= 1 << (at % 8);
            fs::write(&file, &bytes).unwrap();
            let Ok(reader) = Journal::open_read_only(directory.path()) else { continue };
            let read = reader.read(&LogId::main(), 0, usize::MAX);
            assert!(read.is_err(), "byte {at} of event {}: {read:?}", record.header.seq);
        }
    }
}

#[test]
fn every_truncation_and_what_is_appended_is_found() {
    let (directory, _) = vault(9, 4);
    for file in
        files(&directory.path().join("journal")).into_iter().chain([directory.path().join("manifest")])
    {
        let whole = fs::read(&file).unwrap();
        for len in (0..whole.len()).step_by(7) {
            fs::write(&file, &whole[..len]).unwrap();
            found(directory.path(), &format!("{} cut at {len}", file.display()));
        }
        fs::write(&file, [&whole[..], b"\0\0\0garbage"].concat()).unwrap();
        // Behind the last frame it cannot be told from a batch that was never acknowledged.
        assert_ne!(verify(directory.path()).unwrap().problems, [], "garbage after {}", file.display());
        fs::remove_file(&file).unwrap();
        found(directory.path(), &format!("{} removed", file.display()));
        fs::write(&file, &whole).unwrap();
    }
    assert!(verify(directory.path()).unwrap().ok);
}

#[test]
fn damage_in_any_segment_is_found_and_named() {
    let (directory, _) = vault(LARGE, 100);
    for file in files(&directory.path().join("journal")) {
        let whole = fs::read(&file).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 9).chain([whole.len() - 1]) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            fs::write(&file, &bytes).unwrap();
            let report = verify(directory.path()).unwrap();
            assert!(!report.ok);
            let problem = &report.problems[0];
            assert_eq!(problem.file.as_deref(), Some(&*file));
            assert!(
                problem.offset.unwrap() <= at as u64 && (at < 64 || problem.seq.is_some()),
                "{problem:?}"
            );
        }
        fs::write(&file, &whole).unwrap();
    }
}

/// Neither checking nor opening may overlook the damage, and neither may panic.
fn found(path: &Path, what: &str) {
    match verify(path) {
        Ok(report) => assert!(!report.ok, "{what}: not found"),
        Err(error) => panic!("{what}: {error}"),
    }
    // A writer that opens the vault must not take damage for a torn tail and cut it.
    let before: Vec<_> = files(&path.join("journal")).iter().map(|file| fs::read(file).unwrap()).collect();
    if let Ok((store, report)) = Journal::open(path) {
        assert_eq!(report.torn, None, "{what}: cut");
        let _ = store.read(&LogId::main(), 0, usize::MAX);
    }
    let after: Vec<_> = files(&path.join("journal")).iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(before == after, "{what}: opening changed the journal");
}

#[test]
fn a_torn_tail_is_cut_and_reported() {
    let (directory, records) = vault(40, 10);
    let segment = files(&directory.path().join("journal")).pop().unwrap();
    let acknowledged = fs::read(&segment).unwrap();
    let (store, _) = Journal::open(directory.path()).unwrap();
    let more: Vec<_> = (40..50).map(|seq| record(seq, &[], &[b"later"])).collect();
    append(&store, &more[..5]);
    let with_one = fs::read(&segment).unwrap();
    let end = with_one.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    drop(copy(directory.path()));
    let copied = copy(directory.path());
    drop(store);
    let segment = copied.path().join("journal").join(segment.file_name().unwrap());
    for len in (acknowledged.len() + 1..end).step_by(7) {
        fs::write(&segment, &with_one[..len]).unwrap();
        let report = verify(copied.path()).unwrap();
        assert!(report.ok, "{:?}", report.problems);
        assert_eq!(report.problems.iter().map(|p| p.what).collect::<Vec<_>>(), [What::Torn]);
        assert_eq!(all(&Journal::open_read_only(copied.path()).unwrap()), records);
        let copied = copy(copied.path());
        let (store, report) = Journal::open(copied.path()).unwrap();
        assert_eq!(report.torn.unwrap().offset, acknowledged.len() as u64);
        assert_eq!(all(&store), records);
        append(&store, &more[..5]);
        drop(store);
        assert_eq!(verify(copied.path()).unwrap().problems, []);
    }
}

#[test]
fn a_bad_frame_before_a_good_one_is_damage_even_unclosed() {
    let (directory, _) = vault(10, 10);
    let (store, _) = Journal::open(directory.path()).unwrap();
    let start = fs::metadata(&files(&directory.path().join("journal"))[0]).unwrap().len() as usize;
    for seq in 10..20 {
        append(&store, &[record(seq, &[], &[b"x"])]);
    }
    let copied = copy(directory.path());
    drop(store);
    let segment = files(&copied.path().join("journal")).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[start + 40] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let report = verify(copied.path()).unwrap();
    assert!(!report.ok);
    assert_eq!((report.problems[0].what, report.problems[0].seq), (What::Frame, Some(10)));
    let error = Journal::open(copied.path()).err().unwrap();
    assert!(matches!(error, StoreError::Damage { seq: Some(10), .. }), "{error}");
}

#[test]
fn readers_follow_a_writer() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(Journal::open_read_only(directory.path()), Err(StoreError::NotFound { .. })));
    assert!(matches!(verify(directory.path()), Err(StoreError::NotFound { .. })));
    let (store, _) = Journal::open(directory.path()).unwrap();
    let reader = Journal::open_read_only(directory.path()).unwrap();
    assert_eq!(reader.refresh().unwrap(), 0);
    let records = chain(0, LARGE);
    for (round, batch) in records.chunks(500).enumerate() {
        append(&store, batch);
        if round % 3 == 0 {
            let expected = store.head(&LogId::main()).unwrap();
            reader.refresh().unwrap();
            assert_eq!(reader.head(&LogId::main()).unwrap(), expected);
            assert!(verify(directory.path()).unwrap().ok);
            let fresh = Journal::open_read_only(directory.path()).unwrap();
            assert_eq!(fresh.head(&LogId::main()).unwrap(), expected);
        }
    }
    store.fix_dimension(5).unwrap();
    store.close().unwrap();
    reader.refresh().unwrap();
    assert_eq!(all(&reader), records);
    assert_eq!(reader.dimension().unwrap(), Some(5));
    let (again, _) = Journal::open(directory.path()).unwrap();
    assert_eq!(again.dimension().unwrap(), Some(5));
}

#[test]
fn writers_exclude_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (store, _) = Journal::open(path).unwrap();
    let pid = Some(std::process::id());
    assert_eq!(Journal::open(path).err(), Some(StoreError::Locked { path: path.to_owned(), pid }));
    assert_eq!(Journal::writer_pid(path), pid);
    store.close().unwrap();
    assert_eq!(Journal::writer_pid(path), None, "a lock file without a live holder is stale");
    Journal::open(path).unwrap();
}

#[test]
fn another_format_is_named() {
    let (directory, _) = vault(5, 5);
    let manifest = directory.path().join("manifest");
    let text = fs::read_to_string(&manifest).unwrap();
    // Another version may check itself in another way.
    let text = text.replace("\"format\": 1", "\"format\": 7").replace("blake3 ", "blake4 ");
    fs::write(&manifest, text).unwrap();
    let expected = StoreError::Format { found: 7, known: 2 };
    assert_eq!(Journal::open(directory.path()).err(), Some(expected.clone()));
    assert_eq!(Journal::open_read_only(directory.path()).err(), Some(expected.clone()));
    assert_eq!(verify(directory.path()).err(), Some(expected));
}

#[test]
fn a_frame_of_another_vault_is_not_taken() {
    let (one, _) = vault(20, 20);
    let (other, _) = vault(20, 20);
    let name = "journal/0000000001.seg";
    fs::copy(other.path().join(name), one.path().join(name)).unwrap();
    assert!(!verify(one.path()).unwrap().ok);
    assert!(matches!(Journal::open(one.path()), Err(StoreError::Damage { .. })));
}
