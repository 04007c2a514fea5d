//! `docs/format/proofs.json` against the code: what holds is accepted, every tampered variant is refused.
//! `TOKA_WRITE_VECTORS=1` writes it.

use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use toka_types::Digest;
use toka_vault::checkpoint::{Checkpoint, LogProof};
use toka_vault::hash::{LogTree, TreeHash, leaf_hash};
use toka_vault::note::{Algorithm, Note, VerifierKey};
use toka_vault::proof::{ConsistencyProof, InclusionProof, consistency, inclusion, root_at};
use toka_vault::{LogId, MemoryStore, Room, Store};

use crate::format::{hex, records, unhex, vectors};

const ORIGIN: &str = "example.com/toka/main";
const LOG_SEED: [u8; 32] = [1; 32];
const WITNESS_SEED: [u8; 32] = [2; 32];
const TIME: u64 = 1_767_225_600;

fn strings(hashes: &[TreeHash]) -> Vec<String> {
    hashes.iter().map(TreeHash::to_string).collect()
}

fn key(name: &str, algorithm: Algorithm, seed: &[u8; 32]) -> VerifierKey {
    VerifierKey::new(name, algorithm, SigningKey::from_bytes(seed).verifying_key().as_bytes()).unwrap()
}

/// The trees of small logs, the proofs in them, and what somebody might make of these.
fn tree_cases(cases: &mut Vec<Value>) {
    let leaves: Vec<TreeHash> = (0..7_u8).map(|n| leaf_hash(&vec![n; usize::from(n)])).collect();
    let root = |size: usize| {
        let mut tree = LogTree::new();
        leaves[..size].iter().for_each(|leaf| tree.append(*leaf));
        tree.root()
    };
    let node = |level: u32, number: u64| {
        let mut tree = LogTree::new();
        let first = (number << level) as usize;
        leaves[first..first + (1 << level)].iter().for_each(|leaf| tree.append(*leaf));
        Ok::<_, toka_vault::hash::ProofError>(tree.root())
    };
    let included = |proof: &InclusionProof, leaf: TreeHash, root: TreeHash, why: Option<&str>| {
        json!({
            "case": "inclusion", "index": proof.index, "size": proof.size, "leaf": leaf.to_string(), "root": root.to_string(),
            "hashes": strings(&proof.hashes), "valid": why.is_none(), "why": why,
        })
    };
    let continued = |proof: &ConsistencyProof, old: TreeHash, root: TreeHash, why: Option<&str>| {
        json!({
            "case": "consistency", "old": proof.old, "size": proof.size, "old_root": old.to_string(), "root": root.to_string(),
            "hashes": strings(&proof.hashes), "valid": why.is_none(), "why": why,
        })
    };
    for size in 1..=7 {
        for index in 0..size {
            let proof = toka_vault::hash::prove_inclusion(index, size, node).unwrap();
            cases.push(included(&proof, leaves[index as usize], root(size as usize), None));
        }
    }
    for size in 0..=7 {
        for old in 0..=size {
            let proof = toka_vault::hash::prove_consistency(old, size, node).unwrap();
            cases.push(continued(&proof, root(old as usize), root(size as usize), None));
        }
    }
    let proof = toka_vault::hash::prove_inclusion(4, 7, node).unwrap();
    let mut tampered = |change: &dyn Fn(&mut InclusionProof), why| {
        let mut proof = proof.clone();
        change(&mut proof);
        cases.push(included(&proof, leaves[4], root(7), Some(why)));
    };
    tampered(&|proof| proof.index = 5, "another place");
    tampered(&|proof| proof.index = 7, "a place outside the tree");
    tampered(&|proof| proof.size = 6, "another size");
    tampered(&|proof| proof.hashes[0].0[0] ^= 1, "a changed hash");
    tampered(&|proof| proof.hashes.swap(0, 1), "hashes in another order");
    tampered(&|proof| proof.hashes.truncate(1), "a missing hash");
    tampered(&|proof| proof.hashes.push(TreeHash([0; 32])), "a hash too many");
    cases.push(included(&proof, leaves[5], root(7), Some("another leaf")));
    cases.push(included(&proof, leaves[4], root(6), Some("another root")));
    let proof = toka_vault::hash::prove_consistency(3, 7, node).unwrap();
    let mut tampered = |change: &dyn Fn(&mut ConsistencyProof), why| {
        let mut proof = proof.clone();
        change(&mut proof);
        cases.push(continued(&proof, root(3), root(7), Some(why)));
    };
    tampered(&|proof| proof.old = 4, "another old size");
    tampered(&|proof| proof.old = 8, "an old size that is larger");
    tampered(&|proof| proof.hashes[1].0[31] ^= 0x80, "a changed hash");
    tampered(&|proof| proof.hashes = proof.hashes[1..].to_vec(), "a missing hash");
    tampered(&|proof| proof.hashes.push(TreeHash([0; 32])), "a hash too many");
    cases.push(continued(&proof, root(2), root(7), Some("another old root")));
    cases.push(continued(&proof, root(3), root(6), Some("another root")));
    let empty = ConsistencyProof { old: 0, size: 7, hashes: Vec::new() };
    cases.push(continued(&empty, root(1), root(7), Some("an old root that is not that of the empty tree")));
}

fn note_case(note: &str, keys: &[&VerifierKey], why: Option<&str>) -> Value {
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    json!({ "case": "checkpoint", "note": note, "keys": keys, "valid": why.is_none(), "why": why })
}

fn document() -> Value {
    let mut cases = Vec::new();
    tree_cases(&mut cases);
    let (log, witness) = (
        key(ORIGIN, Algorithm::Ed25519, &LOG_SEED),
        key("witness.example/w", Algorithm::Cosignature, &WITNESS_SEED),
    );
    let store = MemoryStore::new();
    let records = records();
    store.append(&LogId::main(), 0, &records, Room::Ordinary).unwrap();
    let secret = SigningKey::from_bytes(&LOG_SEED);
    let sign = |size| {
        let root = root_at(&store, &LogId::main(), size).unwrap();
        let checkpoint = Checkpoint::new(ORIGIN, size, root).unwrap().with_fold(Digest::of(b"a world"));
        checkpoint.sign(&log, |message| secret.sign(message).to_bytes()).unwrap()
    };
    let plain = sign(4);
    let mut cosigned = plain.clone();
    let cosign = |text: &str, time: u64| {
        witness.sign(text, time, |message| SigningKey::from_bytes(&WITNESS_SEED).sign(message).to_bytes())
    };
    cosigned.add(cosign(plain.text(), TIME)).unwrap();
    let text = cosigned.to_string();
    cases.push(note_case(&plain.to_string(), &[&log], None));
    cases.push(note_case(&sign(3).to_string(), &[&log], None));
    cases.push(note_case(&text, &[&log], None));
    cases.push(note_case(&text, &[&log, &witness], None));
    let stranger = key("example.com/toka/side", Algorithm::Ed25519, &LOG_SEED);
    let renamed = key(ORIGIN, Algorithm::Ed25519, &WITNESS_SEED);
    let plainly = key("witness.example/w", Algorithm::Ed25519, &WITNESS_SEED);
    cases.push(note_case(&text, &[&stranger], Some("the key has another name")));
    cases.push(note_case(&text, &[&renamed], Some("another key of that name")));
    cases.push(note_case(&text, &[&plainly], Some("the witness's key, for plain signatures")));
    let mut changed = |from: &str, to: &str, why| {
        let note = text.replacen(from, to, 1);
        assert_ne!(note, text, "{why}");
        cases.push(note_case(&note, &[&log, &witness], Some(why)));
    };
    changed("\n4\n", "\n5\n", "another size");
    changed("example.com/toka/main\n", "example.com/toka/maim\n", "another origin");
    changed("fold ", "fald ", "another extension line");
    changed("\nfold ", "\n\nfold ", "an empty line in the text");
    changed("\n\n\u{2014} ", "\n\u{2014} ", "no empty line before the signatures");
    let lines: Vec<&str> = text.lines().collect();
    let (own, other) = (lines[lines.len() - 2].to_owned(), lines[lines.len() - 1].to_owned());
    let mut replaced = |line: &str, by: String, why| changed(line, &by, why);
    let flipped = |line: &str| {
        let at = line.len() - 12;
        let with = if &line[at..=at] == "A" { "B" } else { "A" };
        format!("{}{with}{}", &line[..at], &line[at + 1..])
    };
    replaced(&own, flipped(&own), "a changed signature of the log");
    replaced(&other, flipped(&other), "a changed signature of the witness");
    let timeless = cosign(plain.text(), 0).to_string();
    replaced(&other, timeless, "a cosignature without a time");
    let later = cosign("another text\n", TIME).to_string();
    replaced(&other, later, "a cosignature over another text");
    replaced(&own, own.trim_end_matches('=').to_owned(), "base64 without its padding");

    let proof_case = |proof: &str, header: &[u8], why: Option<&str>| {
        json!({
            "case": "proof", "proof": proof, "header": hex(header), "keys": [log.to_string()], "valid": why.is_none(),
            "why": why,
        })
    };
    for (index, record) in (0..).zip(&records) {
        let header = record.header.to_bytes();
        let hashes = inclusion(&store, &LogId::main(), index, 4).unwrap().hashes;
        let extra = (index % 2 == 0).then(|| header.clone());
        let proof = LogProof { index, hashes, extra, checkpoint: plain.clone() }.to_string();
        cases.push(proof_case(&proof, &header, None));
        if index == 2 {
            let other = records[1].header.to_bytes();
            cases.push(proof_case(&proof, &other, Some("another event")));
            for (from, to, why) in [
                ("index 2", "index 3", "another place"),
                ("index 2", "index 02", "a leading zero"),
                ("proof@v1", "proof@v2", "another version"),
                ("\n4\n", "\n3\n", "another size"),
            ] {
                cases.push(proof_case(&proof.replacen(from, to, 1), &header, Some(why)));
            }
        }
    }
    json!({
        "keys": [
            { "name": log.name(), "seed": hex(&LOG_SEED), "algorithm": 1, "id": hex(&log.id()), "key": log.to_string() },
            { "name": witness.name(), "seed": hex(&WITNESS_SEED), "algorithm": 4, "id": hex(&witness.id()), "key": witness.to_string() },
        ],
        "checkpoint": {
            "origin": ORIGIN, "size": 4, "root": root_at(&store, &LogId::main(), 4).unwrap().to_string(),
            "fold": Digest::of(b"a world").to_string(), "text": plain.text(), "note": plain.to_string(), "cosigned": text,
            "time": TIME,
        },
        "leaves": (0..7_u8).map(|n| json!({ "bytes": hex(&vec![n; usize::from(n)]), "leaf": leaf_hash(&vec![n; usize::from(n)]).to_string() })).collect::<Vec<_>>(),
        "add_checkpoint": {
            "request": format!(
                "old 3\n{}\n{}",
                consistency(&store, &LogId::main(), 3, 4).unwrap().hashes.iter().map(base64_line).collect::<String>(),
                plain
            ),
            "answer": format!("{other}\n"),
        },
        "cases": cases,
    })
}

fn base64_line(hash: &TreeHash) -> String {
    use base64::Engine;
    format!("{}\n", base64::engine::general_purpose::STANDARD.encode(hash.0))
}

#[test]
fn proofs_match_their_vectors() {
    let stored = vectors("proofs.json", document);
    assert!(stored == document(), "the vectors are not what the code makes");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let hash = |value: &Value| text(value).parse::<TreeHash>().unwrap();
    let hashes = |value: &Value| value.as_array().unwrap().iter().map(hash).collect::<Vec<_>>();
    let mut counts = (0, 0);
    for case in stored["cases"].as_array().unwrap() {
        let keys = || -> Vec<VerifierKey> {
            case["keys"].as_array().unwrap().iter().map(|key| text(key).parse().unwrap()).collect()
        };
        let number = |key: &str| case[key].as_u64().unwrap();
        let holds = match case["case"].as_str().unwrap() {
            "inclusion" => {
                let (index, size) = (number("index"), number("size"));
                let proof = InclusionProof { index, size, hashes: hashes(&case["hashes"]) };
                proof.verify(&hash(&case["leaf"]), &hash(&case["root"])).is_ok()
            }
            "consistency" => {
                let (old, size) = (number("old"), number("size"));
                let proof = ConsistencyProof { old, size, hashes: hashes(&case["hashes"]) };
                proof.verify(&hash(&case["old_root"]), &hash(&case["root"])).is_ok()
            }
            "checkpoint" => Note::parse(text(&case["note"]).as_bytes())
                .is_ok_and(|note| Checkpoint::open(&note, &keys()).is_ok()),
            "proof" => text(&case["proof"])
                .parse::<LogProof>()
                .is_ok_and(|proof| proof.verify(&leaf_hash(&unhex(&text(&case["header"]))), &keys()).is_ok()),
            other => panic!("{other}"),
        };
        assert_eq!(holds, case["valid"].as_bool().unwrap(), "{case}");
        if holds { counts.0 += 1 } else { counts.1 += 1 }
    }
    assert!(counts.0 > 60 && counts.1 > 30, "{counts:?}");
}
