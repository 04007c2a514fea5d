//! Bundles of sealed logs: who can read them, where they can go, and what is found when a byte is another one.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use toka_types::{Gone, KeyId, Label, Payload, Seal, Subject};
use toka_vault::bundle::{Bundle, Choice, Range, Sealed, check, export, import};
use toka_vault::note::Note;
use toka_vault::proof::ProofError;
use toka_vault::seal::{Key, Keyring, Locked, Passphrase, keys_path};
use toka_vault::testing::record;
use toka_vault::{Journal, LogId, MemoryStore, Record, Room, Store, StoreError};

use crate::bundles::{key, note, resealed};

const TEXTS: [&[u8]; 2] = [b"\x81\xa4text\xa5hello", b"\x81\xa4text\xa7goodbye"];

/// A vault with the keys of `docs/format/sealing.json`, whose content is always the same: two texts that these keys open,
/// one that other keys would open, and one whose keys were erased.
pub(crate) struct Vault {
    folder: TempDir,
    store: Arc<dyn Store>,
    keyring: Keyring,
    locked: Locked,
}

impl Vault {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault");
        fs::create_dir(&path).unwrap();
        let passphrase = write_keys(&path);
        let keyring = Keyring::open(&path, &passphrase).unwrap();
        let (journal, _) = Journal::open_sealed(&path, keyring.id()).unwrap();
        let alice = Subject::Label(Label::new("subject:alice").unwrap());
        let sealed =
            |text: &[u8]| keyring.seal(&alice, &Payload::new(text.to_vec())).unwrap().bytes().to_vec();
        let under = |key: u8| [b"TSP1", &[key; 16][..], &[1, 0, 0, 0], &[key; 60]].concat();
        let contents = [sealed(TEXTS[0]), under(0x33), sealed(TEXTS[1]), under(0xee), sealed(TEXTS[0])];
        let mut records: Vec<Arc<Record>> = Vec::new();
        for (seq, content) in (0..).zip(&contents) {
            let before: Vec<_> = records.last().map(|record| record.header.id).into_iter().collect();
            records.push(record(seq, &before, &[content]));
        }
        journal.append(&LogId::main(), 0, &records, Room::Ordinary).unwrap();
        let locked = Locked::look(&path).unwrap();
        Self { folder, store: Arc::new(journal), keyring, locked }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A bundle of all events, or of those from the second on.
    pub(crate) fn bundle(&self, disclosed: bool, from: u64, signed: bool) -> Vec<u8> {
        let sealed = if disclosed { Sealed::Disclosed(&self.keyring) } else { Sealed::Kept(&self.locked) };
        let signed = signed.then(|| note(&*self.store, 5));
        let (range, path) = (Range { from, end: None }, self.path("a.bundle"));
        self.write(range, sealed, signed.as_ref(), &path);
        fs::read(&path).unwrap()
    }

    fn write(&self, range: Range, sealed: Sealed<'_>, note: Option<&Note>, path: &Path) {
        let keep = |_: &_| Choice::Keep;
        export(&*self.store, &LogId::main(), range, keep, Some(sealed), note, path).unwrap();
    }
}

/// Puts the keys file of the vectors into the vault in `path`; what opens it.
fn write_keys(path: &Path) -> Key {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/format/sealing.json");
    let vectors: Value = serde_json::from_str(&fs::read_to_string(vectors).unwrap()).unwrap();
    let text = |name: &str| vectors["keys_file"][name].as_str().unwrap().to_owned();
    fs::write(keys_path(path), text("text")).unwrap();
    Key::Passphrase(Passphrase::new(text("passphrase")).unwrap())
}

/// The files of `docs/format/bundles`, and what is wrong with those that are tampered with.
pub(crate) fn golden_files() -> Vec<(&'static str, Vec<u8>, Option<&'static str>)> {
    let vault = Vault::new();
    let disclosed = vault.bundle(true, 0, true);
    let changed = |at: usize, by: u8| {
        let mut bytes = disclosed.clone();
        bytes[at] ^= by;
        resealed(&bytes)
    };
    // The list of keys lies before the contents, each of which begins with its digest.
    let first = *vault.store.headers(&LogId::main(), 0, 1).unwrap()[0].content[0]
        .digest
        .0
        .first_chunk::<32>()
        .unwrap();
    let list = find(&disclosed, &[&128u64.to_le_bytes()[..], &first].concat()) + 8;
    let swapped = {
        let mut bytes = disclosed.clone();
        let (one, two) = (bytes[list..list + 64].to_vec(), bytes[list + 64..list + 128].to_vec());
        bytes[list..list + 128].copy_from_slice(&[two, one].concat());
        resealed(&bytes)
    };
    vec![
        ("sealed.bundle", vault.bundle(false, 0, true), None),
        ("disclosed.bundle", disclosed.clone(), None),
        ("key.bundle", changed(list + 40, 0x01), Some("a key that does not open its content")),
        ("keyless.bundle", changed(list, 0x01), Some("a key of a content that is not there")),
        ("keys.bundle", swapped, Some("two keys in another order")),
        ("open.bundle", changed(8, 0x03), Some("the format of a bundle without keys")),
    ]
}

fn find(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|found| found == part).unwrap()
}

#[test]
fn who_has_the_keys_reads_a_sealed_bundle_and_everybody_reads_a_disclosed_one() {
    let vault = Vault::new();
    let path = vault.path("b.bundle");
    let nothing: Arc<dyn Seal> = Arc::new(Locked::default());
    let keys: Arc<dyn Seal> =
        Arc::new(Keyring::open(&vault.path("vault"), &write_keys(&vault.path("vault"))).unwrap());
    let (sealed, gone) = (Some(Gone::Sealed), Some(Gone::Erased));
    for (disclosed, rest, expected) in [
        (false, &nothing, [Err(sealed), Err(sealed), Err(sealed), Err(gone), Err(sealed)]),
        (false, &keys, [Ok(TEXTS[0]), Err(sealed), Ok(TEXTS[1]), Err(gone), Ok(TEXTS[0])]),
        (true, &nothing, [Ok(TEXTS[0]), Err(sealed), Ok(TEXTS[1]), Err(gone), Ok(TEXTS[0])]),
        (true, &keys, [Ok(TEXTS[0]), Err(sealed), Ok(TEXTS[1]), Err(gone), Ok(TEXTS[0])]),
    ] {
        fs::write(&path, vault.bundle(disclosed, 0, false)).unwrap();
        assert_eq!(vault.bundle(disclosed, 0, false), fs::read(&path).unwrap(), "the same bytes");
        let bundle = Bundle::open(&path).unwrap();
        assert_eq!(bundle.sealed().unwrap(), Some(vault.keyring.id()));
        assert_eq!(bundle.sealed_contents(), if disclosed { 1 } else { 3 });
        let seal = bundle.opened_by(Arc::clone(rest));
        for (seq, expected) in (0..).zip(expected) {
            let record = bundle.read(&LogId::main(), seq, 1).unwrap().remove(0);
            let digest = record.header.content[0].digest;
            let found = match bundle.gone(&digest).unwrap() {
                Some(gone) => Err(Some(gone)),
                None => seal.open(&record.content[0]).map(|opened| opened.bytes().to_vec()).map_err(Some),
            };
            assert_eq!(found, expected.map(<[u8]>::to_vec), "disclosed {disclosed}, event {seq}");
            assert_eq!(record.header, vault.store.headers(&LogId::main(), seq, 1).unwrap()[0]);
        }
    }
    // What one of them said is no help with another.
    fs::write(&path, vault.bundle(true, 2, false)).unwrap();
    let part = Bundle::open(&path).unwrap();
    assert_eq!((part.sealed_contents(), part.gone_contents()), (0, 1));
    let seal = part.opened_by(Arc::new(Locked::default()));
    let elsewhere = vault.store.read(&LogId::main(), 1, 1).unwrap()[0].content[0].clone();
    assert_eq!(seal.open(&elsewhere).unwrap_err(), Gone::Sealed);
}

#[test]
fn a_sealed_bundle_goes_into_a_vault_with_its_keys_and_nowhere_else() {
    let vault = Vault::new();
    let path = vault.path("b.bundle");
    vault.write(Range { from: 0, end: Some(3) }, Sealed::Disclosed(&vault.keyring), None, &path);
    let bundle = Bundle::open(&path).unwrap();
    let mut keys = bundle.subject_keys().unwrap();
    keys.sort();
    assert_eq!(keys, [KeyId([0x33; 16]), KeyId([0xa1; 16]), KeyId([0xa1; 16])]);
    let refused = |error: ProofError| matches!(error, ProofError::Store(StoreError::OtherSealing { .. }));
    assert!(
        refused(import(&bundle, Arc::new(MemoryStore::new())).unwrap_err()),
        "a vault that is not sealed"
    );
    let other = Journal::open_sealed(&vault.path("other"), KeyId([9; 16])).unwrap().0;
    assert!(refused(import(&bundle, Arc::new(other)).unwrap_err()), "other keys");

    let copy = Journal::open_sealed(&vault.path("copy"), vault.keyring.id()).unwrap().0;
    let target: Arc<dyn Store> = Arc::new(copy);
    assert_eq!(import(&bundle, Arc::clone(&target)).unwrap().added, 3);
    let main = LogId::main();
    assert_eq!(target.read(&main, 0, 9).unwrap(), vault.store.read(&main, 0, 3).unwrap());
    target.close().unwrap();
    assert!(toka_vault::verify(vault.path("copy")).unwrap().ok);

    let plain = MemoryStore::new();
    plain.append(&main, 0, &[record(0, &[], &[b"open"])], Room::Ordinary).unwrap();
    export(&plain, &main, Range::default(), |_| Choice::Keep, None, None, &path).unwrap();
    let target = Journal::open_sealed(&vault.path("third"), vault.keyring.id()).unwrap().0;
    let bundle = Bundle::open(&path).unwrap();
    assert!(refused(import(&bundle, Arc::new(target)).unwrap_err()), "open content beside ciphertext");
}

#[test]
fn every_flipped_byte_of_a_disclosed_bundle_is_found() {
    let vault = Vault::new();
    let path = vault.path("b.bundle");
    let whole = vault.bundle(true, 1, true);
    let problems = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        match check(&path) {
            Ok(checked) => checked.problems.len(),
            Err(StoreError::BundleFormat { .. }) => 0,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(problems(&whole), 0);
    let mut unnoticed = Vec::new();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        assert!(problems(&bytes) > 0, "byte {at}");
        if at < whole.len() - 32 && problems(&resealed(&bytes)) == 0 {
            let note = check(&path).ok().and_then(|checked| checked.checkpoint);
            unnoticed.push((at, note.is_none_or(|note| note.verify(&[key()]).is_ok())));
        }
    }
    // Under a new digest a few things can be said differently without a contradiction: a format of the future, the
    // log's name, which keys these are, why a content is gone.
    let name = find(&whole, b"\"main\"") + 1..find(&whole, b"\"main\"") + 5;
    let keys = find(&whole, b"\"keys\":\"") + 8..find(&whole, b"\"keys\":\"") + 40;
    let reason = find(&whole, b"example.com/toka/main") - 8 - 8 - 1;
    for (at, signed) in unnoticed {
        let allowed = (8..12).contains(&at) || name.contains(&at) || keys.contains(&at) || at == reason;
        assert!(!signed || allowed, "byte {at}");
    }
}
