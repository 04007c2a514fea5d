//! The vectors of `docs/format/sealing.json` against the code. `TOKA_WRITE_VECTORS=1` writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};
use toka_types::{EntityId, KeyId, Label, Subject};

use super::crypto::{self, Secret, hex, unhex, wrap};
use super::file::{KeysFile, Wrapped, keys_path};
use super::projection::ProjectionKey;
use super::source::Derivation;
use super::{Key, Keyring, Passphrase};

const PASSPHRASE: &str = "correct horse battery staple";

/// A key of 32 bytes that count up from `first`.
fn key(first: u8) -> Secret {
    Secret(std::array::from_fn(|at| first.wrapping_add(at as u8)))
}

fn wrapped(with: &Secret, nonce: u8, associated: &[&[u8]], plain: &[u8]) -> Wrapped {
    let nonce = [nonce; 24];
    let bytes = wrap(with, &nonce, &associated.concat(), plain).unwrap();
    Wrapped { nonce, bytes }
}

/// A keys file whose secrets are known.
fn keys_file() -> KeysFile {
    let (id, alice, gone) = (KeyId([0x11; 16]), KeyId([0xa1; 16]), KeyId([0xee; 16]));
    let salt = std::array::from_fn(|at| at as u8);
    let derivation = Derivation::Argon2id { memory_kib: 256, passes: 2, lanes: 1, salt };
    let passphrase = Key::Passphrase(Passphrase::new(PASSPHRASE).unwrap());
    let wrapping = derivation.wrapping_key(&passphrase, false).unwrap();
    let (master, epoch) = (key(0x20), 2u32);
    let words = derivation.to_words();
    let head: [&[u8]; 4] = [b"toka 2026 seal master v1", &id.0, &epoch.to_le_bytes(), words.as_bytes()];
    let mut plain = key(0x40).0.to_vec();
    plain.extend_from_slice(&2u32.to_le_bytes());
    for (epoch, data) in [(1u32, key(0x60)), (2, key(0x80))] {
        plain.extend_from_slice(&epoch.to_le_bytes());
        plain.extend_from_slice(&data.0);
    }
    plain.push(1);
    plain.extend_from_slice(b"subject:alice");
    let subject = wrapped(&master, 3, &[b"toka 2026 seal subject v1", &id.0, &alice.0], &plain);
    KeysFile {
        id,
        epoch,
        master: wrapped(&wrapping, 1, &head, &master.0),
        projections: wrapped(&master, 2, &[b"toka 2026 seal projections v1", &id.0], &key(0xc0).0),
        derivation,
        subjects: BTreeMap::from([(alice, subject)]),
        erased: BTreeSet::from([gone]),
    }
}

fn vectors() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/format/sealing.json");
    if std::env::var_os("TOKA_WRITE_VECTORS").is_some() {
        std::fs::write(&path, format!("{:#}\n", computed())).unwrap();
    }
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()
}

fn computed() -> Value {
    let (nonce, data, id) = (key(0x40), key(0x80), KeyId([0xa1; 16]));
    let payload = |plain: &[u8]| {
        let stored = crypto::seal(&nonce, &data, id, 2, plain);
        // Every field, and the ends of each, with one bit turned; then a byte less and a byte more.
        let flipped = [0, 3, 4, 19, 20, 23, 24, 47, 48, stored.len() - 16, stored.len() - 1].map(|at| {
            let mut bytes = stored.clone();
            bytes[at] ^= 1;
            json!(hex(&bytes))
        });
        let mut tampered = flipped.to_vec();
        tampered.push(json!(hex(&stored[..stored.len() - 1])));
        tampered.push(json!(hex(&[&stored[..], &[0]].concat())));
        let (_, own) = crypto::open(&nonce, &data, &stored).unwrap();
        json!({ "plain": hex(plain), "key": hex(&own.0), "stored": hex(&stored), "tampered": tampered })
    };
    let projections = ProjectionKey(key(0xc0));
    let salt = projections.salt([&b"header"[..], b"section"]);
    let mut block = b"a block of a projection".to_vec();
    let tag = projections.file(&salt).seal(7, &mut block);
    json!({
        "nonce_key": hex(&nonce.0), "data_key": hex(&data.0), "key": id.to_string(), "epoch": 2,
        "payloads": [payload(b""), payload(b"\x81\xa4text\xa5hello"), payload(&[7; 300])],
        "blind": {
            "digest": hex(blake3::hash(b"hello").as_bytes()),
            "blinded": hex(&crypto::blind(&nonce, blake3::hash(b"hello").as_bytes())),
        },
        "keys_file": {
            "passphrase": PASSPHRASE, "text": keys_file().to_text(),
            "master": hex(&key(0x20).0), "projections": hex(&key(0xc0).0),
            "subjects": [{
                "key": id.to_string(), "subject": "subject:alice", "nonce_key": hex(&nonce.0),
                "data_keys": { "1": hex(&key(0x60).0), "2": hex(&data.0) },
            }],
            "erased": [KeyId([0xee; 16]).to_string()],
        },
        "projection": {
            "key": hex(&key(0xc0).0), "parts": [hex(b"header"), hex(b"section")], "salt": hex(&salt),
            "number": 7, "plain": hex(b"a block of a projection"), "block": hex(&block), "tag": hex(&tag),
        },
    })
}

#[test]
fn the_vectors_stand() {
    assert_eq!(vectors(), computed());
}

#[test]
fn sealed_payloads_open_and_tampered_ones_do_not() {
    let vectors = vectors();
    let bytes = |value: &Value| unhex(value.as_str().unwrap()).unwrap();
    let secret = |value: &Value| Secret::from_slice(&bytes(value)).unwrap();
    let (nonce, data) = (secret(&vectors["nonce_key"]), secret(&vectors["data_key"]));
    for payload in vectors["payloads"].as_array().unwrap() {
        let (plain, stored) = (bytes(&payload["plain"]), bytes(&payload["stored"]));
        let (said, own) = crypto::open(&nonce, &data, &stored).unwrap();
        assert_eq!((&said, crypto::open_with(&own, &stored)), (&plain, Some(plain.clone())));
        assert_eq!(crypto::open_with(&data, &stored), None, "another payload's key");
        assert!(crypto::open(&nonce, &nonce, &stored).is_none(), "another data key");
        assert!(crypto::open(&data, &data, &stored).is_none(), "another nonce key");
        for tampered in payload["tampered"].as_array().unwrap() {
            assert!(crypto::open(&nonce, &data, &bytes(tampered)).is_none(), "{tampered}");
            assert_eq!(crypto::open_with(&own, &bytes(tampered)), None, "{tampered}");
        }
    }
}

#[test]
fn the_keys_file_of_the_vectors_opens_and_each_changed_byte_is_found() {
    let vectors = vectors();
    let text = vectors["keys_file"]["text"].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = keys_path(folder.path());
    std::fs::write(&path, text).unwrap();
    let passphrase = Key::Passphrase(Passphrase::new(PASSPHRASE).unwrap());
    let keyring = Keyring::open(folder.path(), &passphrase).unwrap();
    let alice = Subject::Label(Label::new("subject:alice").unwrap());
    assert_eq!(keyring.key_of(&alice), Some(KeyId([0xa1; 16])));
    assert_eq!(keyring.key_of(&Subject::Author(EntityId::named("alice"))), None);
    for at in 0..text.len() {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(Keyring::open(folder.path(), &passphrase).is_err(), "byte {at} was changed, unseen");
    }
}

#[test]
fn a_torn_last_line_means_nothing_and_a_changed_one_is_damage() {
    let text = keys_file().to_text();
    let folder = tempfile::tempdir().unwrap();
    let path = keys_path(folder.path());
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        KeysFile::read(&path).map(|(file, sound)| (file.erased.len(), sound as usize))
    };
    let last = text[..text.len() - 1].rfind('\n').unwrap() + 1;
    assert_eq!(read(text.as_bytes()), Ok((1, text.len())));
    for cut in last + 1..text.len() {
        assert_eq!(read(&text.as_bytes()[..cut]), Ok((0, last)), "cut at {cut}");
    }
    let mut hole = text.clone().into_bytes();
    hole[last + 3] = 0;
    assert_eq!(read(&hole), Ok((0, last)));
    hole[last + 3] = b'x';
    assert!(read(&hole).is_err());
    let first = text.find('\n').unwrap();
    assert!(read(&text.as_bytes()[..first]).is_err(), "the head is never torn: it is renamed into place");
}

#[test]
fn secrets_are_not_shown() {
    let passphrase = Passphrase::new("open sesame").unwrap();
    let shown = format!("{:?} {:?} {:?}", key(1), Key::Passphrase(passphrase), ProjectionKey(key(1)));
    assert!(!shown.contains("sesame") && !shown.contains("1, 2") && !shown.contains("0102"), "{shown}");
}
