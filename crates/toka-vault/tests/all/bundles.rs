//! Bundles: what is in them, what is found when a byte is another one, and the files of `docs/format/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use toka_types::{Digest, EventHeader, Gone};
use toka_vault::bundle::{Bundle, Choice, Exported, Range, check, export, import};
use toka_vault::checkpoint::Checkpoint;
use toka_vault::hash::leaf_hash;
use toka_vault::note::{Algorithm, Note, VerifierKey};
use toka_vault::proof::{ProofError, consistency, inclusion, root_at};
use toka_vault::testing::{Random, chain};
use toka_vault::{Journal, LogId, MemoryStore, Room, Store, StoreError, What};

use crate::format::{records, vectors};

pub(crate) fn key() -> VerifierKey {
    let secret = SigningKey::from_bytes(&[1; 32]);
    VerifierKey::new("example.com/toka/main", Algorithm::Ed25519, secret.verifying_key().as_bytes()).unwrap()
}

pub(crate) fn note(store: &dyn Store, size: u64) -> Note {
    let root = root_at(store, &LogId::main(), size).unwrap();
    let checkpoint = Checkpoint::new(key().name(), size, root).unwrap().with_fold(Digest::of(b"a world"));
    checkpoint.sign(&key(), |message| SigningKey::from_bytes(&[1; 32]).sign(message).to_bytes()).unwrap()
}

fn store(count: u64) -> MemoryStore {
    let store = MemoryStore::new();
    store.append(&LogId::main(), 0, &chain(0, count), Room::Ordinary).unwrap();
    store
}

fn write(
    store: &dyn Store,
    range: Range,
    choose: impl FnMut(&EventHeader) -> Choice,
    note: Option<&Note>,
    path: &Path,
) -> Result<Exported, ProofError> {
    export(store, &LogId::main(), range, choose, None, note, path)
}

#[test]
fn a_bundle_is_read_as_the_store_it_came_from() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.bundle");
    let source = store(700);
    for (from, end, signed) in [
        (0, 700, Some(700)),
        (0, 300, Some(700)),
        (0, 1, None),
        (37, 700, Some(700)),
        (256, 512, Some(600)),
        (699, 700, None),
        (511, 513, Some(513)),
    ] {
        let note = signed.map(|size| note(&source, size));
        let range = Range { from, end: Some(end) };
        let exported = write(&source, range, |_| Choice::Keep, note.as_ref(), &path).unwrap();
        assert_eq!((exported.events, exported.bytes), (end - from, fs::metadata(&path).unwrap().len()));
        let again = directory.path().join("again");
        write(&source, range, |_| Choice::Keep, note.as_ref(), &again).unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(&again).unwrap(), "the same bytes");

        let checked = check(&path).unwrap();
        assert_eq!(checked.problems, []);
        let bundle = Bundle::open(&path).unwrap();
        assert_eq!(bundle.checkpoint(), note.as_ref());
        let log = LogId::main();
        let expected = source.read(&log, from, (end - from) as usize).unwrap();
        assert_eq!(bundle.read(&log, 0, usize::MAX).unwrap(), expected);
        assert_eq!(
            bundle.headers(&log, from + 1, 1).unwrap().first(),
            expected.get(1).map(|record| &record.header)
        );
        assert_eq!(bundle.read(&log, end, 9).unwrap(), []);
        assert_eq!(bundle.head(&log).unwrap().root, root_at(&source, &log, end).unwrap());
        assert_eq!(bundle.head(&log).unwrap().next_seq, end);
        for record in expected.iter().step_by(101) {
            let id = record.header.id;
            assert_eq!(bundle.find(&id).unwrap(), Some((log.clone(), record.header.seq)));
            assert_eq!(bundle.find_prefix(&id.to_string()[..20], 2).unwrap().len(), 1);
            let children = source.children(&id).unwrap();
            let inside: Vec<_> = children.into_iter().filter(|(_, seq)| (from..end).contains(seq)).collect();
            assert_eq!(bundle.children(&id).unwrap(), inside);
            // What is in it can be proved from it alone.
            let proof = inclusion(&bundle, &log, record.header.seq, end).unwrap();
            proof.verify(&leaf_hash(&record.header.to_bytes()), &bundle.head(&log).unwrap().root).unwrap();
        }
        let grown = consistency(&bundle, &log, from, end).unwrap();
        assert_eq!(grown, consistency(&source, &log, from, end).unwrap());
        let other = LogId::new("other").unwrap();
        assert_eq!(
            (bundle.read(&other, 0, 9).unwrap(), bundle.subtree(&other, 0, 0).unwrap()),
            (vec![], None)
        );
        assert!(matches!(bundle.append(&log, end, &[], Room::Ordinary), Err(StoreError::ReadOnly { .. })));
    }
}

#[test]
fn what_cannot_be_exported_is_refused_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.bundle");
    let source = store(20);
    let other = MemoryStore::new();
    other
        .append(&LogId::main(), 0, &[toka_vault::testing::record(0, &[], &[b"other"])], Room::Ordinary)
        .unwrap();
    let all = Range::default();
    let refused =
        |range, note: Option<&Note>| write(&source, range, |_| Choice::Keep, note, &path).unwrap_err();
    assert!(matches!(refused(Range { from: 20, end: None }, None), ProofError::Index { .. }));
    assert!(matches!(refused(Range { from: 0, end: Some(21) }, None), ProofError::Short { .. }));
    assert!(matches!(refused(all, Some(&note(&source, 19))), ProofError::Sizes { .. }));
    assert!(matches!(
        refused(Range { from: 0, end: Some(1) }, Some(&note(&other, 1))),
        ProofError::Root { .. }
    ));
    let nowhere = directory.path().join("none/a.bundle");
    assert!(write(&source, all, |_| Choice::Keep, None, &nowhere).is_err());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    fs::write(&path, "something").unwrap();
    refused(Range { from: 20, end: None }, None);
    assert_eq!(fs::read(&path).unwrap(), b"something");
}

#[test]
fn redacted_content_is_gone_and_proofs_hold() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.bundle");
    let source = MemoryStore::new();
    source.append(&LogId::main(), 0, &records(), Room::Ordinary).unwrap();
    let signed = note(&source, 4);
    // Events 1 and 2 share a content: whoever redacts it redacts it for both.
    let choose = |header: &EventHeader| if header.seq == 1 { Choice::Redact } else { Choice::Keep };
    let exported = write(&source, Range::default(), choose, Some(&signed), &path).unwrap();
    assert_eq!((exported.description.contents, exported.description.gone), (2, 1));
    let bundle = Bundle::open(&path).unwrap();
    let all = bundle.read(&LogId::main(), 0, 9).unwrap();
    let digest = records()[1].header.content[0].digest;
    assert_eq!((all[1].content.len(), all[2].content.len(), all[3].content.len()), (0, 1, 1));
    assert_eq!(bundle.gone(&digest).unwrap(), Some(Gone::Redacted));
    assert_eq!((bundle.content(&digest).unwrap(), bundle.gone_contents()), (None, 1));
    assert_eq!(
        all.iter().map(|r| r.header.clone()).collect::<Vec<_>>(),
        records().iter().map(|r| r.header.clone()).collect::<Vec<_>>()
    );
    let secret = records()[1].content[0].bytes().to_vec();
    assert!(!fs::read(&path).unwrap().windows(secret.len()).any(|part| part == secret));
    let (checkpoint, _) = Checkpoint::open(bundle.checkpoint().unwrap(), &[key()]).unwrap();
    assert_eq!(checkpoint.root, bundle.head(&LogId::main()).unwrap().root);
    // Left out is less than redacted: who else keeps it, keeps it.
    let choose = |header: &EventHeader| if header.seq == 1 { Choice::Leave } else { Choice::Keep };
    assert_eq!(write(&source, Range::default(), choose, None, &path).unwrap().description.gone, 0);
    let nothing = write(&source, Range::default(), |_| Choice::Leave, None, &path).unwrap();
    assert_eq!((nothing.description.contents, nothing.description.gone), (0, 3));
    assert_eq!(check(&path).unwrap().problems, []);

    let target = Arc::new(MemoryStore::new());
    let hollow = Bundle::open(&path).unwrap();
    let refused = import(&hollow, target.clone());
    assert!(matches!(refused, Err(ProofError::Store(StoreError::MissingContent { .. }))), "{refused:?}");
    assert_eq!(target.head(&LogId::main()).unwrap().next_seq, 0);
}

#[test]
fn a_bundle_is_imported_without_what_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let (full, path) = (directory.path().join("full.bundle"), directory.path().join("a.bundle"));
    let source = MemoryStore::new();
    source.append(&LogId::main(), 0, &records(), Room::Ordinary).unwrap();
    let choose = |header: &EventHeader| if header.seq == 1 { Choice::Redact } else { Choice::Keep };
    write(&source, Range::default(), |_| Choice::Keep, None, &full).unwrap();
    write(&source, Range::default(), choose, None, &path).unwrap();
    let whole = fs::read(&path).unwrap();
    let digest = records()[1].header.content[0].digest;
    let at = whole.windows(32).rposition(|part| part == digest.0).unwrap() + 32;
    for (reason, byte) in [(Gone::Redacted, 1), (Gone::Erased, 2), (Gone::Expired, 3), (Gone::Sealed, 4)] {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        fs::write(&path, resealed(&bytes)).unwrap();
        let vault = directory.path().join(format!("vault-{byte}"));
        let target: Arc<dyn Store> = Arc::new(Journal::open(&vault).unwrap().0);
        let imported = import(&Bundle::open(&path).unwrap(), Arc::clone(&target)).unwrap();
        assert_eq!((imported.added, imported.gone), (4, 1));
        let check = |store: &dyn Store| {
            let found = store.read(&LogId::main(), 0, 9).unwrap();
            assert!(found.iter().map(|r| &r.header).eq(records().iter().map(|r| &r.header)));
            assert_eq!(store.gone(&digest).unwrap(), Some(reason));
            assert_eq!(found.iter().map(|r| r.content.len()).collect::<Vec<_>>(), [0, 0, 1, 1]);
            assert_eq!(store.head(&LogId::main()).unwrap().root, source.head(&LogId::main()).unwrap().root);
        };
        check(&*target);
        // Events that are there are not stored again, and so nothing comes back.
        let again = import(&Bundle::open(&full).unwrap(), Arc::clone(&target)).unwrap();
        assert_eq!((again.added, again.gone), (0, 0));
        check(&*target);
        target.close().unwrap();
        drop(target);
        assert_eq!(toka_vault::verify(&vault).unwrap().problems, []);
        check(&Journal::open_read_only(&vault).unwrap());
        fs::remove_dir_all(vault.join("index")).unwrap();
        let (store, _) = Journal::open(&vault).unwrap();
        check(&store);
        // Whoever has it still can store it with another event.
        let back = [toka_vault::testing::record(4, &[], &[records()[1].content[0].bytes()])];
        let mut later = (*back[0]).clone();
        later.header.at = records()[3].header.at;
        store.append(&LogId::main(), 4, &[Arc::new(later)], Room::Ordinary).unwrap();
        assert_eq!(store.gone(&digest).unwrap(), None);
        assert_eq!(store.read(&LogId::main(), 0, 4).unwrap(), records());
        drop(store);
        assert_eq!(toka_vault::verify(&vault).unwrap().problems, []);
    }
    // What the vault has, it keeps, whatever the bundle says.
    let target: Arc<dyn Store> = Arc::new(Journal::open(&directory.path().join("has")).unwrap().0);
    let side = LogId::new("side").unwrap();
    target.append(&side, 0, &records()[..2], Room::Ordinary).unwrap();
    let imported = import(&Bundle::open(&path).unwrap(), Arc::clone(&target)).unwrap();
    assert_eq!((imported.added, imported.gone), (4, 0));
    assert_eq!(target.read(&LogId::main(), 0, 9).unwrap(), records());
}

#[test]
fn a_bundle_is_imported_where_it_continues_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let source = store(50);
    let part = |from, end, name: &str| {
        write(&source, Range { from, end: Some(end) }, |_| Choice::Keep, None, &file(name)).unwrap();
        Bundle::open(&file(name)).unwrap()
    };
    let (first, second, all) = (part(0, 20, "first"), part(20, 50, "second"), part(0, 50, "all"));
    let vault = directory.path().join("vault");
    let (journal, _) = Journal::open(&vault).unwrap();
    let target: Arc<dyn Store> = Arc::new(journal);
    let refused = import(&second, Arc::clone(&target));
    assert!(matches!(refused, Err(ProofError::Short { size: 20, found: 0, .. })), "{refused:?}");
    let added = |bundle: &Bundle| {
        import(bundle, Arc::clone(&target)).map(|imported| (imported.before, imported.added))
    };
    assert_eq!(added(&first), Ok((0, 20)));
    assert_eq!(added(&first), Ok((20, 0)));
    assert_eq!(added(&second), Ok((20, 30)));
    assert_eq!(added(&all), Ok((50, 0)));
    assert_eq!(target.read(&LogId::main(), 0, 99).unwrap(), source.read(&LogId::main(), 0, 99).unwrap());
    assert_eq!(target.head(&LogId::main()).unwrap().root, source.head(&LogId::main()).unwrap().root);
    target.close().unwrap();
    assert!(toka_vault::verify(&vault).unwrap().ok);
    let other: Arc<dyn Store> = Arc::new(MemoryStore::new());
    other
        .append(&LogId::main(), 0, &[toka_vault::testing::record(0, &[], &[b"other"])], Room::Ordinary)
        .unwrap();
    assert!(matches!(import(&all, other), Err(ProofError::Root { .. })));
}

/// The file with its digest made anew, so that nothing but what stands in it can be wrong.
pub(crate) fn resealed(bytes: &[u8]) -> Vec<u8> {
    let body = &bytes[..bytes.len() - 32];
    [body, blake3::hash(body).as_bytes()].concat()
}

#[test]
fn every_flipped_byte_is_found_even_under_a_new_digest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.bundle");
    let source = MemoryStore::new();
    source.append(&LogId::main(), 0, &records(), Room::Ordinary).unwrap();
    let signed = note(&source, 4);
    let choose = |header: &EventHeader| if header.seq == 1 { Choice::Redact } else { Choice::Keep };
    write(&source, Range { from: 1, end: None }, choose, Some(&signed), &path).unwrap();
    let whole = fs::read(&path).unwrap();
    let problems = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        match check(&path) {
            Ok(checked) => checked.problems,
            Err(StoreError::BundleFormat { found, .. }) => {
                assert_ne!(found, 1);
                Vec::new()
            }
            Err(error) => panic!("{error}"),
        }
    };
    let mut unnoticed = Vec::new();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        let found = problems(&bytes);
        assert!(!found.is_empty(), "byte {at}");
        assert!(at % 16 > 0 || matches!(Bundle::open(&path), Err(StoreError::Damage { .. })), "byte {at}");
        assert!(found.iter().all(|problem| problem.file.as_deref() == Some(&path)));
        if at < whole.len() - 32 && problems(&resealed(&bytes)).is_empty() {
            let note = check(&path).ok().and_then(|checked| checked.checkpoint);
            unnoticed.push((at, note.is_none_or(|note| note.verify(&[key()]).is_ok())));
        }
    }
    // Under a new digest three things can be said differently without a contradiction: a format of the future, the
    // log's name where somebody chose the origin, why a content is gone. And what is signed, which the key tells.
    let text = |from: &str| whole.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
    let reason = text("example.com/toka/main") - 8 - 8 - 1;
    let name = text("\"main\"") + 1..text("\"main\"") + 5;
    for (at, signed) in unnoticed {
        assert!(!signed || (8..12).contains(&at) || name.contains(&at) || at == reason, "byte {at}");
    }
    for len in (0..whole.len()).rev().step_by(7) {
        assert!(!problems(&whole[..len]).is_empty(), "cut at {len}");
    }
    for extra in [&b"\0"[..], b"more bytes than a digest has, some forty of them"] {
        assert!(!problems(&[&whole, extra].concat()).is_empty());
        assert!(!problems(&resealed(&[&whole, extra].concat())).is_empty());
    }
    assert!(problems(&whole).is_empty());
    assert!(matches!(check(&directory.path().join("none")), Err(StoreError::NotFound { .. })));
}

#[test]
fn no_bytes_make_the_reader_panic_or_allocate_without_bound() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.bundle");
    let source = store(9);
    write(&source, Range { from: 3, end: None }, |_| Choice::Keep, Some(&note(&source, 9)), &path).unwrap();
    let whole = fs::read(&path).unwrap();
    let mut numbers = Random::new(1);
    let mut random = |below: usize| numbers.below(below as u64) as usize;
    for _ in 0..1500 {
        let mut bytes = whole.clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random(5)],
                1 => bytes.truncate(at.max(1)),
                2 => {
                    let end = (at + 8).min(bytes.len());
                    bytes[at..end].fill(0xff);
                }
                _ => {
                    let end = (at + random(64)).min(bytes.len());
                    drop(bytes.drain(at..end));
                    if bytes.is_empty() {
                        bytes.push(0);
                    }
                }
            }
        }
        let bytes = if bytes.len() > 40 && random(2) == 0 { resealed(&bytes) } else { bytes };
        fs::write(&path, bytes).unwrap();
        // Whatever it says, it comes back.
        let _ = check(&path);
        let _ = Bundle::open(&path);
    }
}

#[test]
fn an_origin_that_nobody_chose_is_compared_with_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.bundle");
    let source = store(9);
    let own = toka_vault::checkpoint::default_origin(&source, &LogId::main()).unwrap().unwrap();
    let root = root_at(&source, &LogId::main(), 9).unwrap();
    for (origin, from, good) in [
        (own.clone(), 0, true),
        (own.clone(), 3, true),
        (own.replace("/main", "/side"), 3, false),
        ("toka/0123456789abcdef/main".to_owned(), 0, false),
        ("toka/something/else".to_owned(), 0, true),
        ("example.com/side".to_owned(), 0, true),
    ] {
        let secret = SigningKey::from_bytes(&[1; 32]);
        let key = VerifierKey::new(&origin, Algorithm::Ed25519, secret.verifying_key().as_bytes()).unwrap();
        let checkpoint = Checkpoint::new(&origin, 9, root).unwrap();
        let note = checkpoint.sign(&key, |message| secret.sign(message).to_bytes()).unwrap();
        write(&source, Range { from, end: None }, |_| Choice::Keep, Some(&note), &path).unwrap();
        assert_eq!(check(&path).unwrap().problems.is_empty(), good, "{origin}");
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/format/bundles").join(name)
}

/// The files, and what is wrong with those that are tampered with.
fn golden_files() -> Vec<(&'static str, Vec<u8>, Option<&'static str>)> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.bundle");
    let source = MemoryStore::new();
    source.append(&LogId::main(), 0, &records(), Room::Ordinary).unwrap();
    let signed = note(&source, 4);
    let make = |range, choose: &dyn Fn(&EventHeader) -> Choice, note: Option<&Note>| {
        write(&source, range, choose, note, &path).unwrap();
        fs::read(&path).unwrap()
    };
    let keep = |_: &EventHeader| Choice::Keep;
    let redact = |header: &EventHeader| if header.seq == 1 { Choice::Redact } else { Choice::Keep };
    let whole = make(Range::default(), &keep, Some(&signed));
    let later = make(Range { from: 1, end: Some(3) }, &redact, Some(&signed));
    let find = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).position(|found| found == part).unwrap();
    let changed = |at: usize, by: u8| {
        let mut bytes = whole.clone();
        bytes[at] ^= by;
        bytes
    };
    let content = find(&whole, b"the same words");
    let kind = find(&whole, b"demo.ended");
    let fold = find(&whole, b"fold ") + 6;
    let size = find(&whole, b"main\n4\n") + 5;
    let swapped = {
        let mut bytes = whole.clone();
        let bytes_of = |record: usize| records()[record].header.to_bytes();
        let at = find(&whole, &bytes_of(1)) - 4;
        let parts: Vec<Vec<u8>> = [2, 1]
            .map(|record| [&(bytes_of(record).len() as u32).to_le_bytes()[..], &bytes_of(record)].concat())
            .to_vec();
        let both = parts.concat();
        bytes[at..at + both.len()].copy_from_slice(&both);
        bytes
    };
    let mut files = vec![
        ("whole.bundle", whole.clone(), None),
        ("unsigned.bundle", make(Range::default(), &keep, None), None),
        ("redacted.bundle", make(Range::default(), &redact, Some(&signed)), None),
        ("later.bundle", later.clone(), None),
        ("flipped.bundle", changed(content, 0x20), Some("a changed byte")),
        ("content.bundle", resealed(&changed(content, 0x20)), Some("a changed content")),
        ("event.bundle", resealed(&changed(kind, 0x01)), Some("a changed event")),
        ("order.bundle", resealed(&swapped), Some("two events in another order")),
        (
            "fold.bundle",
            resealed(&changed(fold, 0x01)),
            Some("a checkpoint with another fold, and its old signature"),
        ),
        ("size.bundle", resealed(&changed(size, 0x01)), Some("a checkpoint with another size")),
        ("cut.bundle", whole[..whole.len() - 40].to_vec(), Some("a file that ends early")),
        (
            "anchor.bundle",
            {
                let mut bytes = later.clone();
                let at = find(&later, b"}") + 1 + 8;
                bytes[at] ^= 0x80;
                resealed(&bytes)
            },
            Some("another frontier before the first event"),
        ),
    ];
    files.extend(crate::sealed_bundles::golden_files());
    files
}

#[test]
fn bundles_match_their_files() {
    if std::env::var_os("TOKA_WRITE_VECTORS").is_some() {
        fs::create_dir_all(golden("")).unwrap();
        for (name, bytes, _) in golden_files() {
            fs::write(golden(name), bytes).unwrap();
        }
    }
    let files = golden_files();
    let stored = vectors("bundle.json", || {
        let files = files.iter().map(|(name, bytes, why)| {
            json!({ "file": format!("bundles/{name}"), "bytes": bytes.len(), "blake3": Digest::of(bytes).to_string(), "valid": why.is_none(), "why": why })
        });
        json!({ "key": key().to_string(), "files": files.collect::<Vec<_>>() })
    });
    assert_eq!(stored["key"], key().to_string());
    assert_eq!(stored["files"].as_array().unwrap().len(), files.len());
    for ((name, bytes, why), listed) in files.iter().zip(stored["files"].as_array().unwrap()) {
        assert!(fs::read(golden(name)).unwrap() == *bytes, "{name}");
        assert_eq!(listed["valid"], Value::from(why.is_none()), "{name}");
        let checked = check(&golden(name)).unwrap();
        let unsigned = checked.checkpoint.as_ref().is_some_and(|note| note.verify(&[key()]).is_err());
        assert_eq!(checked.problems.is_empty() && !unsigned, why.is_none(), "{name}: {:?}", checked.problems);
    }
    let first =
        |name: &str| check(&golden(name)).unwrap().problems.into_iter().next().map(|p| (p.what, p.seq));
    assert_eq!(first("event.bundle"), Some((What::Event, Some(3))));
    assert_eq!(first("order.bundle"), Some((What::Event, Some(1))));
    assert_eq!(first("content.bundle"), Some((What::Content, None)));
    assert_eq!(first("key.bundle"), Some((What::Content, None)));
}
