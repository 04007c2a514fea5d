//! Sealed vaults from outside: nothing readable on the disk, wrong keys, erasing, rotating, old copies of keys.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toka_bus::Filter;
use toka_types::{EntityId, Gone, Label, Labels, Payload, Seal, Subject, Timestamp};
use toka_vault::bus::vector_of;
use toka_vault::core::{NewEvent, decode};
use toka_vault::seal::{Key, Keyring, KeysInfo, Passphrase, SealingError, keys_path};
use toka_vault::snapshot::{Fold, Snapshots};
use toka_vault::{Amount, Compaction, Journal, LogId, Store, StoreError, VaultBus, verify};

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Note {
    text: String,
}

fn note(text: &str) -> Note {
    Note { text: text.into() }
}

fn passphrase(text: &str) -> Key {
    Key::Passphrase(Passphrase::new(text).unwrap())
}

fn event(author: &str, labels: &[&str], text: &str) -> NewEvent {
    let event = NewEvent::new(toka_types::Kind::new("note.taken").unwrap()).author(EntityId::named(author));
    event.labels(Labels::parse(labels).unwrap()).payload(&note(text)).unwrap()
}

/// Every file below `folder` that holds `needle`.
fn files_with(folder: &Path, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if fs::read(&path).unwrap().windows(needle.len()).any(|window| window == needle) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn what_is_committed_comes_back_with_the_key_and_lies_nowhere_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let key = passphrase("correct horse");
    let vault = VaultBus::create_sealed(&path, &key).unwrap();
    let mut typed = vault.subscribe_as::<Note>("note");
    let first = vault.blocking().commit(&note("the planted secret"), &[], "note.taken", [0.5, 0.25]).unwrap();
    let again = vault.blocking().commit(&note("the planted secret"), &[], "note.taken", ()).unwrap();
    assert_eq!(first, again, "the identical event is stored once");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(typed.recv()).unwrap().1, note("the planted secret"));
    drop((typed, vault));

    assert_eq!(files_with(&path, b"planted"), Vec::<String>::new());
    let report = verify(&path).unwrap();
    assert!(report.ok && report.problems.is_empty(), "{:?}", report.problems);
    for read_only in [true, false] {
        let open = if read_only { VaultBus::open_sealed_read_only } else { VaultBus::open_sealed };
        let vault = open(&path, &key).unwrap();
        let record = vault.get(&first.id).unwrap().unwrap();
        assert_eq!(decode::<Note>(&record).unwrap(), note("the planted secret"));
        let vector = vault.children(&first.id).unwrap();
        assert_eq!(vector_of(&vector[0]).unwrap().unwrap().len(), 2);
    }
    assert_eq!(VaultBus::open(&path).err(), Some(StoreError::Sealed { path: path.clone() }));
    let locked = VaultBus::open_read_only(&path).unwrap();
    assert_eq!(locked.get(&first.id).unwrap().unwrap().payload(), None);
    assert_eq!(locked.gone(&first.content[0].digest).unwrap(), Some(Gone::Sealed));
}

#[test]
fn a_wrong_key_is_an_error_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = (folder.path().join("vault"), passphrase("right"));
    VaultBus::create_sealed(&path, &key)
        .unwrap()
        .blocking()
        .commit(&note("a"), &[], "note.taken", ())
        .unwrap();
    let files = || {
        let mut all: Vec<_> = ["manifest", "keys", "journal/0000000001.seg"]
            .map(|name| fs::read(path.join(name)).unwrap())
            .to_vec();
        all.sort();
        all
    };
    let before = files();
    let wrong = VaultBus::open_sealed(&path, &passphrase("wrong")).err();
    assert!(matches!(wrong, Some(StoreError::Keys(SealingError::WrongKey { .. }))), "{wrong:?}");
    let other = VaultBus::open_sealed(&path, &Key::KeyFile(folder.path().join("none"))).err();
    assert!(matches!(other, Some(StoreError::Keys(SealingError::OtherSource { .. }))), "{other:?}");
    let twice = VaultBus::create_sealed(&path, &key).err();
    assert!(matches!(twice, Some(StoreError::Keys(SealingError::Exists { .. }))), "{twice:?}");
    assert_eq!(files(), before);

    let plain = folder.path().join("plain");
    drop(VaultBus::open(&plain).unwrap());
    let error = VaultBus::open_sealed(&plain, &key).err();
    assert!(matches!(error, Some(StoreError::Keys(SealingError::NotSealed { .. }))), "{error:?}");
    let error = VaultBus::create_sealed(&plain, &key).err();
    assert!(matches!(error, Some(StoreError::Keys(SealingError::VaultExists { .. }))), "{error:?}");
    let manifest = fs::read_to_string(plain.join("manifest")).unwrap();
    assert!(manifest.contains("\"format\": 1") && !manifest.contains("keys"), "{manifest}");
}

#[test]
fn a_key_file_is_made_outside_of_the_vault_and_opens_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = (folder.path().join("vault"), folder.path().join("key"));
    fs::create_dir(&path).unwrap();
    let inside = VaultBus::create_sealed(&path, &Key::KeyFile(path.join("key"))).err();
    assert!(matches!(inside, Some(StoreError::Keys(SealingError::KeyInVault { .. }))), "{inside:?}");
    let key = Key::KeyFile(file.clone());
    VaultBus::create_sealed(&path, &key)
        .unwrap()
        .blocking()
        .commit(&note("a"), &[], "note.taken", ())
        .unwrap();
    assert_eq!(KeysInfo::read(&path).unwrap().unwrap().source, key.source());
    assert_eq!(VaultBus::open_sealed(&path, &key).unwrap().len().unwrap(), 1);
    fs::write(&file, [b'x'; 40]).unwrap();
    assert!(VaultBus::open_sealed(&path, &key).is_err());
    fs::write(&file, b"short").unwrap();
    let short = VaultBus::open_sealed(&path, &key).err().unwrap().to_string();
    assert!(short.contains("5 bytes"), "{short}");
}

#[test]
fn erasing_a_subject_takes_its_content_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = (folder.path().join("vault"), passphrase("k"));
    let vault = VaultBus::create_sealed(&path, &key).unwrap();
    let events = vec![
        event("alice", &[], "by alice"),
        event("clerk", &["subject:alice"], "about alice"),
        event("clerk", &["untrusted:web"], "by the clerk"),
    ];
    let ids: Vec<_> = vault.blocking().commit_batch(events).unwrap();
    let ids: Vec<_> = ids.iter().map(|committed| committed.record.header.clone()).collect();
    let old_keys = fs::read(keys_path(&path)).unwrap();
    let about = Subject::of(EntityId::NONE, &Labels::parse(["subject:alice"]).unwrap());
    let receipt = vault.erase(&about).unwrap().expect("there were keys");
    assert_eq!(receipt.kind, "subject.erased");
    assert_eq!(vault.erase(&about).unwrap(), None, "there is nothing left to erase");

    let check = |vault: &VaultBus| {
        let text = |at: usize| {
            let record = vault.get(&ids[at].id).unwrap().unwrap();
            record.payload().map(|_| decode::<Note>(&record).unwrap().text)
        };
        let gone = |at: usize| vault.gone(&ids[at].content[0].digest).unwrap();
        assert_eq!((text(0).as_deref(), gone(0)), (Some("by alice"), None));
        assert_eq!((text(1), gone(1)), (None, Some(Gone::Erased)));
        assert_eq!((text(2).as_deref(), gone(2)), (Some("by the clerk"), None));
    };
    check(&vault);
    // The same person may come back: under other keys.
    let back = vault.blocking().commit_batch(vec![event("clerk", &["subject:alice"], "new")]).unwrap();
    assert_eq!(decode::<Note>(&back[0].record).unwrap().text, "new");
    drop(vault);
    check(&VaultBus::open_sealed(&path, &key).unwrap());
    assert!(verify(&path).unwrap().ok);
    let locked = VaultBus::open_read_only(&path).unwrap();
    assert_eq!(locked.gone(&ids[1].content[0].digest).unwrap(), Some(Gone::Erased));
    assert_eq!(locked.gone(&ids[0].content[0].digest).unwrap(), Some(Gone::Sealed));

    // An older copy of the keys brings back what was erased since, until the log's word is followed.
    fs::write(keys_path(&path), old_keys).unwrap();
    let vault = VaultBus::open_sealed(&path, &key).unwrap();
    assert_eq!(vault.gone(&ids[1].content[0].digest).unwrap(), None);
    assert_eq!(vault.gone(&back[0].record.header.content[0].digest).unwrap(), Some(Gone::Sealed));
    assert_eq!(vault.erase_again().unwrap(), 1);
    assert_eq!(vault.erase_again().unwrap(), 0);
    check(&vault);
}

#[test]
fn rotating_changes_the_key_and_no_byte_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = (folder.path().join("vault"), passphrase("old"));
    let vault = VaultBus::create_sealed(&path, &key).unwrap();
    let first = vault.blocking().commit_batch(vec![event("a", &[], "same")]).unwrap().remove(0).record;
    let second = vault.blocking().commit_batch(vec![event("a", &["x"], "same")]).unwrap().remove(0).record;
    assert_eq!(first.header.content, second.header.content, "equal content of a subject is stored once");
    let other = vault.blocking().commit_batch(vec![event("b", &[], "same")]).unwrap().remove(0).record;
    assert_ne!(
        first.header.content, other.header.content,
        "and that of two subjects is not known to be equal"
    );
    let reader = VaultBus::open_sealed_read_only(&path, &key).unwrap();
    let keyring = std::sync::Arc::clone(vault.keyring().unwrap());
    assert_eq!(keyring.rotate(Some(&passphrase("new"))), Ok(2));
    let later = vault.blocking().commit_batch(vec![event("a", &["y"], "same")]).unwrap().remove(0).record;
    assert_ne!(first.header.content, later.header.content, "a new epoch has new keys");
    assert_eq!(decode::<Note>(&reader.get(&first.header.id).unwrap().unwrap()).unwrap().text, "same");
    drop((vault, reader));
    assert!(VaultBus::open_sealed(&path, &key).is_err());
    let vault = VaultBus::open_sealed(&path, &passphrase("new")).unwrap();
    for record in [&first, &second, &other, &later] {
        let read = vault.get(&record.header.id).unwrap().unwrap();
        assert_eq!(decode::<Note>(&read).unwrap().text, "same");
    }
    assert_eq!(vault.keyring().unwrap().rotate(None), Ok(3));
    drop(vault);
    VaultBus::open_sealed(&path, &passphrase("new")).unwrap();
}

#[test]
fn keys_that_were_replaced_meanwhile_are_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let key = Key::KeyFile(folder.path().join("key"));
    VaultBus::create_sealed(&path, &key)
        .unwrap()
        .blocking()
        .commit_batch(vec![event("a", &[], "1")])
        .unwrap();
    // Two processes open the keys before either has the vault's lock.
    let early = Keyring::open(&path, &key).unwrap();
    Keyring::open(&path, &key).unwrap().rotate(None).unwrap();
    let (b, c) = (Subject::Author(EntityId::named("b")), Subject::Author(EntityId::named("c")));
    early.seal(&b, &Payload::new(*b"x")).unwrap();
    let other = Key::KeyFile(folder.path().join("other"));
    Keyring::open(&path, &key).unwrap().rotate(Some(&other)).unwrap();
    let error = early.seal(&c, &Payload::new(*b"x")).unwrap_err().to_string();
    assert!(error.contains("replaced by another process"), "{error}");
    let vault = VaultBus::open_sealed(&path, &other).unwrap();
    assert_eq!(decode::<Note>(&vault.get_seq(0).unwrap().unwrap()).unwrap().text, "1");
    assert_eq!(vault.keyring().unwrap().key_of(&b), early.key_of(&b));
}

#[test]
fn verify_needs_no_keys_and_finds_damaged_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = (folder.path().join("vault"), passphrase("k"));
    VaultBus::create_sealed(&path, &key)
        .unwrap()
        .blocking()
        .commit(&note("a"), &[], "note.taken", ())
        .unwrap();
    let keys = fs::read(keys_path(&path)).unwrap();
    for at in 0..keys.len() {
        let mut changed = keys.clone();
        changed[at] ^= 1;
        fs::write(keys_path(&path), changed).unwrap();
        let report = verify(&path).unwrap();
        assert!(!report.ok && report.problems[0].what.as_str() == "keys", "byte {at}: {:?}", report.problems);
    }
    fs::remove_file(keys_path(&path)).unwrap();
    assert!(verify(&path).unwrap().ok, "a copy without keys can be checked");
    let missing = VaultBus::open_sealed(&path, &key).err();
    assert!(matches!(missing, Some(StoreError::Keys(SealingError::Missing { .. }))), "{missing:?}");
}

#[test]
fn a_reader_finds_keys_that_were_made_after_it_was_opened() {
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = (folder.path().join("vault"), passphrase("k"));
    let vault = VaultBus::create_sealed(&path, &key).unwrap();
    vault.blocking().commit_batch(vec![event("a", &[], "one")]).unwrap();
    let (journal, keyring) = toka_vault::seal::read_vault(&path, &key).unwrap();
    vault.blocking().commit_batch(vec![event("b", &[], "two")]).unwrap();
    journal.refresh().unwrap();
    use toka_vault::Store;
    let records = journal.read(&toka_vault::LogId::main(), 0, 9).unwrap();
    let texts: Vec<_> = records.iter().map(|r| decode::<Note>(&keyring.opened(r)).unwrap().text).collect();
    assert_eq!(texts, ["one", "two"]);
    let stranger = Subject::Author(EntityId::named("c"));
    assert!(keyring.seal(&stranger, &Payload::new(*b"x")).is_err(), "a reader makes no keys");
}

#[test]
fn a_sealed_snapshot_is_used_under_its_own_key_alone_and_tells_nothing() {
    #[derive(Default, Serialize, Deserialize)]
    struct Kinds(std::collections::BTreeMap<String, u64>);
    impl Fold for Kinds {
        const NAME: &'static str = "kinds";
        const VERSION: u32 = 1;
        type Error = std::convert::Infallible;
        fn apply(&mut self, header: &toka_types::EventHeader) -> Result<(), Self::Error> {
            *self.0.entry(header.kind.to_string()).or_default() += 1;
            Ok(())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let vault = VaultBus::create_sealed(folder.path().join("vault"), &passphrase("k")).unwrap();
    vault.blocking().commit_batch((0..9).map(|n| event("a", &[], &n.to_string())).collect()).unwrap();
    let (keyring, main) = (vault.keyring().unwrap(), toka_vault::LogId::main());
    let directory = folder.path().join("snapshots");
    let plain = Snapshots::keyed(&directory, [7; 32]);
    let sealed = || plain.clone().sealed(keyring.projection_key());
    let resume = |snapshots: &Snapshots| {
        let resumed = snapshots.resume::<Kinds>(&**vault.store(), &main).unwrap();
        assert_eq!(resumed.state.0["note.taken"], 9);
        (resumed.from, resumed.refused.is_some())
    };
    let folded = plain.resume::<Kinds>(&**vault.store(), &main).unwrap();
    plain.save(&main, &folded).unwrap();
    assert_eq!((resume(&plain), resume(&sealed())), ((9, false), (0, true)));
    sealed().save(&main, &folded).unwrap();
    assert_eq!((resume(&plain), resume(&sealed())), ((0, true), (9, false)));
    assert_eq!(files_with(&directory, b"note"), Vec::<String>::new());
    let path = plain.path::<Kinds>(&main);
    let good = fs::read(&path).unwrap();
    sealed().save(&main, &folded).unwrap();
    assert_eq!(fs::read(&path).unwrap(), good, "the same bytes");
    // Under no key of the operator's the vault's own finds what was changed, whatever the checksum says.
    let unkeyed = Snapshots::new(&directory).sealed(keyring.projection_key());
    unkeyed.save(&main, &folded).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len() - 32;
    for at in 12..end {
        bytes[at] ^= 1;
        let checksum = *blake3::hash(&bytes[..end]).as_bytes();
        bytes[end..].copy_from_slice(&checksum);
        fs::write(&path, &bytes).unwrap();
        assert_eq!(resume(&unkeyed), (0, true), "byte {at}");
        bytes[at] ^= 1;
    }
    fs::write(&path, good).unwrap();
    assert_eq!(resume(&sealed()), (9, false));
    keyring.rotate(None).unwrap();
    assert_eq!(resume(&sealed()), (9, false), "rotating leaves it as it is");
    vault.erase(&Subject::Author(EntityId::named("a"))).unwrap().unwrap();
    assert_eq!(resume(&sealed()), (0, true), "erasing does not");
    toka_vault::snapshot::remove_all(&directory).unwrap();
    assert_eq!(resume(&sealed()), (0, false));
}

/// The content of the event with this number, as it is stored.
fn stored(path: &Path, seq: u64) -> Vec<u8> {
    let store = toka_vault::open_read_only(path).unwrap();
    store.read(&LogId::main(), seq, 1).unwrap()[0].content_at(0).unwrap().bytes().to_vec()
}

#[test]
fn compaction_drops_what_was_erased_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = (folder.path().join("vault"), passphrase("k"));
    let vault = VaultBus::create_sealed(&path, &key).unwrap();
    let long = "a long text of hers ".repeat(100);
    for events in [
        vec![event("alice", &[], "by alice"), event("bob", &[], "by bob")],
        vec![event("bob", &["subject:alice"], &long), event("bob", &[], &long)],
        // Content that is there already.
        vec![event("carol", &["subject:alice"], &long)],
    ] {
        vault.blocking().commit_batch(events).unwrap();
    }
    drop(vault);
    let ciphertext: Vec<Vec<u8>> = (0..4).map(|seq| stored(&path, seq)).collect();
    let lies = |at: usize| !files_with(&path, &ciphertext[at]).is_empty();
    assert!((0..4).all(lies), "sealed content is stored as it is");
    let keys_before = fs::read(keys_path(&path)).unwrap();

    let vault = VaultBus::open_sealed(&path, &key).unwrap();
    vault.erase(&Subject::Label(Label::new("subject:alice").unwrap())).unwrap().unwrap();
    let head = vault.head().unwrap();
    drop(vault);
    assert!((0..4).all(lies), "erasing destroys keys");

    let (journal, _) = Journal::open_sealed(&path, KeysInfo::read(&path).unwrap().unwrap().id).unwrap();
    let now = Timestamp(1);
    let would = journal.reclaimable(None, now).unwrap();
    assert_eq!((would.erased.contents, would.expired.contents, would.rewritten), (1, 0, 1));
    assert!(would.erased.bytes > ciphertext[2].len() as u64);
    // It takes no key.
    let report = journal.compact(None, &Compaction::thorough(now)).unwrap();
    assert_eq!((report.erased, report.expired.contents), (would.erased, 0));
    assert!(report.after < report.before, "{report:?}");
    assert_eq!(journal.reclaimable(None, now).unwrap().erased.contents, 0);
    let gone: Vec<_> = journal.usage().unwrap().gone.into_iter().collect();
    assert_eq!(gone, [(Gone::Erased, Amount { contents: 1, bytes: ciphertext[2].len() as u64 })]);
    journal.close().unwrap();
    drop(journal);

    assert!(!lies(2), "nothing of it is left");
    assert!(lies(0) && lies(1) && lies(3));
    let report = verify(&path).unwrap();
    assert!(report.ok && report.problems.is_empty(), "{:?}", report.problems);
    for locked in [true, false] {
        let vault = match locked {
            true => VaultBus::open_read_only(&path).unwrap(),
            false => VaultBus::open_sealed(&path, &key).unwrap(),
        };
        assert_eq!(vault.head().unwrap(), head);
        for seq in [2, 4] {
            let record = vault.get_seq(seq).unwrap().unwrap();
            assert_eq!(record.payload(), None);
            assert_eq!(vault.gone(&record.header.content[0].digest).unwrap(), Some(Gone::Erased));
        }
        let bob = vault.get_seq(3).unwrap().unwrap();
        assert_eq!(bob.payload().is_some(), !locked);
    }
    // Keys that come back open nothing of it.
    fs::write(keys_path(&path), keys_before).unwrap();
    let vault = VaultBus::open_sealed_read_only(&path, &key).unwrap();
    let record = vault.get_seq(2).unwrap().unwrap();
    assert_eq!(
        (record.payload(), vault.gone(&record.header.content[0].digest).unwrap()),
        (None, Some(Gone::Erased))
    );
}

#[test]
fn what_is_erased_while_the_vault_is_written_goes_with_the_next_compaction() {
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = (folder.path().join("vault"), passphrase("k"));
    drop(VaultBus::create_sealed(&path, &key).unwrap());
    let (journal, _, keyring) = toka_vault::seal::open_vault(&path, &key).unwrap();
    let (journal, keyring) = (Arc::new(journal), Arc::new(keyring));
    let seal: Arc<dyn Seal> = Arc::<Keyring>::clone(&keyring);
    let vault = VaultBus::with_seal(Arc::<Journal>::clone(&journal), LogId::main(), Some(seal)).unwrap();
    let background = Compaction { thorough: false, ..Compaction::thorough(Timestamp(1)) };
    let commit = |author: &str, texts: std::ops::Range<u32>| {
        let events = texts.map(|n| event(author, &[], &format!("{author} says {n}"))).collect();
        vault.blocking().commit_batch(events).unwrap();
    };
    for author in ["ann", "ben", "cay"] {
        commit(author, 0..20);
        // The second time there is nothing to look for.
        for erased in [20, 0] {
            let subject = Subject::Author(EntityId::named(author));
            keyring.destroy(keyring.key_of(&subject).as_slice()).unwrap();
            let report = std::thread::scope(|scope| {
                scope.spawn(|| commit("dan", 100..120));
                journal.compact(None, &background).unwrap()
            });
            assert_eq!((report.erased.contents, report.postponed), (erased, 0), "{author}");
        }
        // Who was erased may go on, under new keys.
        commit(author, 40..41);
    }
    let texts = |author: &str| {
        let filter = Filter::all().author(EntityId::named(author));
        vault.scan(0, filter).filter(|record| record.as_ref().unwrap().payload().is_some()).count()
    };
    assert_eq!(["ann", "ben", "cay", "dan"].map(texts), [1, 1, 1, 20]);
    drop(vault);
    journal.close().unwrap();
    drop(journal);
    assert!(verify(&path).unwrap().problems.is_empty());
}
