//! Proofs, signed checkpoints and witnesses, over a real store and a real socket.

use std::fs;
use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};
use toka_types::Digest;
use toka_vault::checkpoint::{Checkpoint, CheckpointError, LogProof, default_origin};
use toka_vault::hash::{LogTree, TreeHash, leaf_hash};
use toka_vault::note::{Algorithm, MAX_NOTE, Note, NoteError, Signature, VerifierKey};
use toka_vault::proof::{ConsistencyProof, InclusionProof, ProofError, consistency, inclusion, root_at};
use toka_vault::testing::witness::{Mood, WITNESS_TIME, WitnessServer};
use toka_vault::testing::{Random, chain};
use toka_vault::witness::{PlainHttp, Witness, WitnessError, cosign};
use toka_vault::{Journal, LogId, MemoryStore, Record, Room, Store, StoreError, What, verify};

fn secret(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn key(name: &str, seed: u8) -> VerifierKey {
    VerifierKey::new(name, Algorithm::Ed25519, secret(seed).verifying_key().as_bytes()).unwrap()
}

fn sign(checkpoint: &Checkpoint, seed: u8) -> Note {
    let key = key(&checkpoint.origin, seed);
    checkpoint.sign(&key, |message| secret(seed).sign(message).to_bytes()).unwrap()
}

fn checkpoint(store: &dyn Store, size: u64) -> Checkpoint {
    let root = root_at(store, &LogId::main(), size).unwrap();
    Checkpoint::new("example.com/log", size, root).unwrap().with_fold(Digest::of(b"world"))
}

fn append(store: &dyn Store, records: &[Arc<Record>]) {
    let from = records[0].header.seq;
    store.append(&LogId::main(), from, records, Room::Ordinary).unwrap();
}

#[test]
fn a_journal_proves_after_every_kind_of_start() {
    let directory = tempfile::tempdir().unwrap();
    let records = chain(0, 2700);
    let memory = MemoryStore::new();
    append(&memory, &records);
    let nodes = directory.path().join("index/log-00000.nodes");
    let prove = |store: &Journal| {
        let size = store.head(&LogId::main()).unwrap().next_seq;
        let root = root_at(&memory, &LogId::main(), size).unwrap();
        for index in [0, 255, 256, size / 2, size - 1] {
            let proof = inclusion(store, &LogId::main(), index, size).unwrap();
            proof.verify(&leaf_hash(&records[index as usize].header.to_bytes()), &root).unwrap();
            assert_eq!(proof, inclusion(&memory, &LogId::main(), index, size).unwrap());
            let grown = consistency(store, &LogId::main(), index, size).unwrap();
            assert_eq!(grown, consistency(&memory, &LogId::main(), index, size).unwrap());
        }
    };
    let mut done = 0;
    for (at, end) in [900, 1000, 1900, 2100, 2700].into_iter().enumerate() {
        let (store, report) = Journal::open(directory.path()).unwrap();
        assert_eq!(report.rebuilt, []);
        for batch in records[done..end].chunks(97) {
            append(&store, batch);
        }
        done = end;
        prove(&store);
        prove(&Journal::open_read_only(directory.path()).unwrap());
        if at == 2 {
            // The writer dies: what it captured is in no file.
            std::mem::forget(store);
            let copy = tempfile::tempdir().unwrap();
            copy_all(directory.path(), copy.path());
            let (store, _) = Journal::open(copy.path()).unwrap();
            prove(&store);
            drop(store);
            for entry in ["journal", "index", "manifest"] {
                let path = directory.path().join(entry);
                if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
            }
            fs::remove_file(directory.path().join("lock")).unwrap();
            copy_all(copy.path(), directory.path());
        } else {
            store.close().unwrap();
        }
    }
    assert_eq!(fs::metadata(&nodes).unwrap().len(), 32 + 32 * (2700 / 256));

    // Whatever is wrong with the file, proofs stay right, `verify` tells it, and the next writer mends it.
    let whole = fs::read(&nodes).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        bytes
    };
    let longer = [&whole[..], &[7; 32]].concat();
    for bytes in [
        flipped(3),
        flipped(9),
        flipped(20),
        flipped(40),
        flipped(whole.len() - 1),
        longer,
        whole[..50].to_vec(),
        Vec::new(),
    ] {
        fs::write(&nodes, &bytes).unwrap();
        prove(&Journal::open_read_only(directory.path()).unwrap());
        let report = verify(directory.path()).unwrap();
        let problems: Vec<_> = report.problems.iter().map(|p| (p.what, p.file.clone())).collect();
        assert_eq!(problems, [(What::Projection, Some(nodes.clone()))]);
        let (store, recovered) = Journal::open(directory.path()).unwrap();
        assert_eq!(recovered.rebuilt.iter().map(|(file, _)| file).collect::<Vec<_>>(), [&nodes]);
        prove(&store);
        store.close().unwrap();
        assert_eq!(fs::read(&nodes).unwrap(), whole);
    }
    // A file that ends early is no damage: after a crash it does.
    fs::write(&nodes, &whole[..32 + 32 * 4]).unwrap();
    assert_eq!(verify(directory.path()).unwrap().problems, []);
    let (store, _) = Journal::open(directory.path()).unwrap();
    prove(&store);
    drop(store);
    fs::remove_file(&nodes).unwrap();
    let (store, recovered) = Journal::open(directory.path()).unwrap();
    assert_eq!(recovered.rebuilt, []);
    prove(&store);
    drop(store);
    assert_eq!(fs::read(&nodes).unwrap(), whole);
}

#[test]
fn a_header_that_is_not_the_logs_is_in_no_proof() {
    let directory = tempfile::tempdir().unwrap();
    let records = chain(0, 600);
    let (store, _) = Journal::open(directory.path()).unwrap();
    append(&store, &records);
    store.close().unwrap();
    let segment = directory.path().join("journal/0000000001.seg");
    let whole = fs::read(&segment).unwrap();
    let flip = |changed: u64| {
        // Its number stands where it stood: nothing but the tree tells.
        let header = records[changed as usize].header.to_bytes();
        let at = whole.windows(header.len()).position(|bytes| bytes == header).unwrap();
        let mut bytes = whole.clone();
        bytes[at + header.len() - 1] ^= 1;
        fs::write(&segment, bytes).unwrap();
    };
    // Event 300 lies in a whole subtree of 256 leaves, event 550 in one of 64 at the end of the log.
    for (changed, beside, elsewhere) in [(300, 301, 40), (550, 551, 40)] {
        flip(changed);
        let store = Journal::open_read_only(directory.path()).unwrap();
        let refused = inclusion(&store, &LogId::main(), beside, 600);
        assert!(
            matches!(refused, Err(ProofError::Store(StoreError::Damage { .. }))),
            "{changed}: {refused:?}"
        );
        inclusion(&store, &LogId::main(), elsewhere, 600).unwrap();
    }
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_proof_for_ten_million_events_is_below_a_kibibyte() {
    let node = |_, _| Ok::<_, ProofError>(TreeHash([1; 32]));
    for index in [0, 1, 9_999_999, 8_388_607, 8_388_608, 4_999_999] {
        let proof = toka_vault::proof::prove_inclusion(index, 10_000_000, node).unwrap();
        assert!(32 * proof.hashes.len() <= 1024, "{index}: {} hashes", proof.hashes.len());
    }
}

#[test]
fn a_checkpoint_is_signed_and_a_proof_leads_to_it() {
    let store = MemoryStore::new();
    let records = chain(0, 9);
    append(&store, &records);
    let checkpoint = checkpoint(&store, 8);
    let note = sign(&checkpoint, 1);
    let keys = [key("example.com/log", 1)];
    let (opened, signed) =
        Checkpoint::open(&Note::parse(note.to_string().as_bytes()).unwrap(), &keys).unwrap();
    assert_eq!((&opened, signed[0].key.name(), signed[0].time), (&checkpoint, "example.com/log", None));
    assert_eq!(opened.fold(), Some(Digest::of(b"world")));
    let others = [key("example.com/log", 2), key("example.com/other", 1)];
    assert!(matches!(Checkpoint::open(&note, &others), Err(CheckpointError::Note(NoteError::Unsigned(_)))));

    let header = records[5].header.to_bytes();
    let hashes = inclusion(&store, &LogId::main(), 5, 8).unwrap().hashes;
    let proof = LogProof { index: 5, hashes, extra: Some(header.clone()), checkpoint: note };
    let read: LogProof = proof.to_string().parse().unwrap();
    assert_eq!(read, proof);
    assert_eq!(read.verify(&leaf_hash(&header), &keys).unwrap().0, checkpoint);
    assert!(read.verify(&leaf_hash(b"another"), &keys).is_err());
    assert!(read.verify(&leaf_hash(&header), &others).is_err());
    let moved = LogProof { index: 4, ..read };
    assert!(matches!(moved.verify(&leaf_hash(&header), &keys), Err(CheckpointError::Tree(_))));

    let origin = default_origin(&store, &LogId::main()).unwrap().unwrap();
    let leaf = leaf_hash(&records[0].header.to_bytes()).to_string();
    assert_eq!(origin, format!("toka/{}/main", &leaf[..16]));
    assert_eq!(default_origin(&store, &LogId::new("none").unwrap()).unwrap(), None);
}

#[test]
fn a_witness_cosigns_what_grows_and_nothing_else() {
    let store = MemoryStore::new();
    append(&store, &chain(0, 300));
    let server = WitnessServer::start(7);
    let witness = Witness { url: server.url().to_owned(), key: server.key().clone() };
    let ask = |store: &dyn Store, note: &Note, known: u64| {
        let prove = |old, size| consistency(store, &LogId::main(), old, size);
        cosign(&witness, note, known, prove, &mut PlainHttp)
    };
    let first = sign(&checkpoint(&store, 100), 1);
    assert!(matches!(ask(&store, &first, 0), Err(WitnessError::Refused { status: 404, .. })));
    server.know("example.com/log", key("example.com/log", 2));
    assert!(matches!(ask(&store, &first, 0), Err(WitnessError::Refused { status: 403, .. })));
    server.know("example.com/log", key("example.com/log", 1));

    let mut cosigned = first.clone();
    let got = ask(&store, &first, 0).unwrap();
    assert_eq!(got.time, WITNESS_TIME);
    cosigned.add(got.signature).unwrap();
    let read = Note::parse(cosigned.to_string().as_bytes()).unwrap();
    let signed = read.verify(&[key("example.com/log", 1), server.key().clone()]).unwrap();
    assert_eq!(signed.iter().map(|s| s.time).collect::<Vec<_>>(), [None, Some(WITNESS_TIME)]);
    assert_eq!(server.latest("example.com/log").unwrap().0, 100);

    // Asked as if it had seen nothing, or too much, it says what it has seen, and is asked again.
    let second = sign(&checkpoint(&store, 250), 1);
    for known in [0, 50, 250, 100] {
        let before = server.requests().len();
        assert!(ask(&store, &second, known).is_ok(), "{known}");
        let asked = server.requests().split_off(before);
        let expected = if known == 0 { ["old 0", "old 100"] } else { ["old 50", "old 250"] };
        if known <= 50 {
            assert_eq!(asked, expected);
        }
    }
    assert!(matches!(ask(&store, &first, 0), Err(WitnessError::Ahead { witnessed: 250, size: 100 })));
    let other = MemoryStore::new();
    append(&other, &chain(0, 5));
    let mut later = chain(5, 295);
    Arc::make_mut(&mut later[0]).header.parents = Vec::new();
    append(&other, &later);
    let forked = sign(&checkpoint(&other, 300), 1);
    assert!(matches!(ask(&other, &forked, 250), Err(WitnessError::Inconsistent { old: 250, .. })));
    let twin = sign(&checkpoint(&other, 250), 1);
    assert!(matches!(ask(&other, &twin, 0), Err(WitnessError::Inconsistent { old: 250, .. })));

    let third = sign(&checkpoint(&store, 300), 1);
    for (mood, expected) in [
        (Mood::Forging, "does not hold"),
        (Mood::Timeless, "does not hold"),
        (Mood::Stranger, "no cosignature of the key"),
        (Mood::Babbling, "no signed note"),
        (Mood::Silent, "not reached"),
    ] {
        server.be(mood);
        let error = ask(&store, &third, 250).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let nowhere = Witness { url: "http://127.0.0.1:1/x".into(), key: server.key().clone() };
    let prove = |old, size| consistency(&store, &LogId::main(), old, size);
    let unreached = cosign(&nowhere, &third, 0, prove, &mut PlainHttp);
    assert!(matches!(unreached, Err(WitnessError::Unreached { .. })), "{unreached:?}");
}

/// Changes that are the same in every run.
struct Changes(Random);

impl Changes {
    fn next(&mut self, below: usize) -> usize {
        self.0.below(below as u64) as usize
    }

    /// `bytes` with a few changes of every sort.
    fn change(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.next(4) {
            let at = self.next(bytes.len() + 1);
            match self.next(6) {
                0 => bytes.insert(at, self.next(256) as u8),
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 => bytes.truncate(at),
                3 if at < bytes.len() => bytes[at] ^= 1 << self.next(8),
                4 => {
                    let end = (at + self.next(40)).min(bytes.len());
                    let part = bytes[at..end].to_vec();
                    let to = self.next(bytes.len() + 1);
                    bytes.splice(to..to, part);
                }
                _ => {
                    let piece: [&[u8]; 8] =
                        [b"\n", b"\n\n", b" ", b"+", "\u{2014} ".as_bytes(), b"=", b"0", b"index "];
                    bytes.splice(at..at, piece[self.next(8)].iter().copied());
                }
            }
        }
        bytes
    }
}

#[test]
fn no_bytes_make_a_parser_panic_and_no_change_is_signed() {
    let store = MemoryStore::new();
    append(&store, &chain(0, 9));
    let note = sign(&checkpoint(&store, 8), 1).to_string();
    let keys = [key("example.com/log", 1)];
    let text = keys[0].to_string();
    let header = store.headers(&LogId::main(), 5, 1).unwrap().remove(0).to_bytes();
    let hashes = inclusion(&store, &LogId::main(), 5, 8).unwrap().hashes;
    let checkpoint = Note::parse(note.as_bytes()).unwrap();
    let proof = LogProof { index: 5, hashes, extra: Some(header.clone()), checkpoint }.to_string();
    let signed = Note::parse(note.as_bytes()).unwrap().text().to_owned();
    let mut random = Changes(Random::new(1));
    for _ in 0..3000 {
        let changed = random.change(note.as_bytes());
        if let Ok(read) = Note::parse(&changed) {
            assert_eq!(read.to_string().as_bytes(), changed, "what is read is written the same");
            if read.verify(&keys).is_ok() {
                assert_eq!(read.text(), signed);
            }
            if let Ok(checkpoint) = Checkpoint::parse(read.text()) {
                assert_eq!(checkpoint.to_text(), read.text());
            }
        }
        let changed = random.change(proof.as_bytes());
        if let Ok(read) = LogProof::parse(&changed) {
            assert_eq!(read.to_string().as_bytes(), changed);
            if read.verify(&leaf_hash(&header), &keys).is_ok() {
                assert_eq!((read.index, read.checkpoint.text()), (5, &signed[..]));
            }
        }
        let changed = String::from_utf8_lossy(&random.change(text.as_bytes())).into_owned();
        if let Ok(read) = changed.parse::<VerifierKey>() {
            assert_eq!(read.to_string(), changed);
        }
        let _ = Signature::parse_lines(&String::from_utf8_lossy(&random.change(note.as_bytes())));
    }
    for bytes in [&b""[..], &[0xff; 64], &[b'\n'; 5000], &vec![b'a'; MAX_NOTE + 1]] {
        assert!(Note::parse(bytes).is_err());
        assert!(LogProof::parse(bytes).is_err());
    }
}

/// The tree that the reference implementation of Certificate Transparency tests with.
#[test]
fn roots_are_those_of_certificate_transparency() {
    let leaves: [&[u8]; 8] = [
        b"",
        &[0],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        b"`abcdefghijklmno",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut tree = LogTree::new();
    for (leaf, root) in leaves.iter().zip(roots) {
        tree.append(leaf_hash(leaf));
        assert_eq!(tree.root().to_string(), root);
    }
    let parse = |hashes: &[&str]| hashes.iter().map(|hash| hash.parse().unwrap()).collect::<Vec<TreeHash>>();
    let root = |size: usize| roots[size - 1].parse::<TreeHash>().unwrap();
    let hashes = parse(&[
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]);
    let proof = ConsistencyProof { old: 6, size: 8, hashes };
    proof.verify(&root(6), &root(8)).unwrap();
    let hashes = parse(&["6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"]);
    let proof = InclusionProof { index: 1, size: 2, hashes };
    proof.verify(&leaf_hash(leaves[1]), &root(2)).unwrap();
}
