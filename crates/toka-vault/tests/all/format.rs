//! The vectors of `docs/format/` against the code. `TOKA_WRITE_VECTORS=1` writes them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use toka_types::{Digest, EntityId, EventHeader, EventId, Gone, Kind, Labels, Payload, Timestamp};
use toka_vault::hash::{LogTree, causal_digest, content_digest, leaf_hash, node_hash};
use toka_vault::{Compaction, Journal, LogId, Part, Policy, Record, Room, Rule, Store, verify};

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The vectors' path; with the variable set, `value` is written there first.
pub(crate) fn vectors(name: &str, value: impl FnOnce() -> Value) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/format").join(name);
    if std::env::var_os("TOKA_WRITE_VECTORS").is_some() {
        fs::write(&path, format!("{:#}\n", value())).unwrap();
    }
    serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap()
}

/// 40 times the same 32 bytes: content that is worth compressing.
const LONG: &[u8] = &{
    let mut bytes = [0; 1280];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = b"the same words again and again, "[at % 32];
        at += 1;
    }
    bytes
};

/// Kind, author, contents, labels and facts of an event.
type Spec = (&'static str, &'static str, &'static [&'static [u8]], &'static [&'static str], &'static [u8]);

/// Four events that use every field.
pub(crate) fn records() -> Vec<Arc<Record>> {
    let mut records: Vec<Arc<Record>> = Vec::new();
    let specs: [Spec; 4] = [
        ("demo.started", "alice", &[], &[], &[]),
        ("demo.said", "alice", &[b"\x81\xa4text\xa5hello"], &["subject:alice", "untrusted:web"], &[0x80]),
        ("demo.said", "bob", &[LONG, b"\x81\xa4text\xa5hello"], &["secret:stripe"], &[]),
        ("demo.ended", "alice", &[b""], &[], b"\x81\xa1n\x03"),
    ];
    for (seq, (kind, author, contents, labels, facts)) in specs.into_iter().enumerate() {
        let author = EntityId::named(author);
        let before: Vec<EventId> = records.iter().map(|record| record.header.id).collect();
        let prev =
            records.iter().rev().find(|record| record.header.author == author).map(|record| record.header.id);
        let content: Vec<Payload> = contents.iter().map(|bytes| Payload::new(bytes.to_vec())).collect();
        let mut header = EventHeader {
            seq: seq as u64,
            id: EventId::default(),
            at: Timestamp(1_767_225_600_000_000 + 1000 * seq as i64),
            kind: Kind::new(kind).unwrap(),
            author,
            prev,
            parents: before.into_iter().rev().take(2).collect(),
            labels: Labels::parse(labels).unwrap(),
            content: content.iter().map(Payload::content_ref).collect(),
            facts: facts.to_vec(),
        };
        header.id = causal_digest(&header);
        records.push(Arc::new(Record { header, content }));
    }
    records
}

#[test]
fn records_match_their_vectors() {
    let records = records();
    let stored = vectors("record.json", || {
        let mut tree = LogTree::new();
        let events = records.iter().map(|record| {
            let header = &record.header;
            let bytes = header.to_bytes();
            tree.append(leaf_hash(&bytes));
            json!({
                "seq": header.seq, "at": header.at.0, "kind": header.kind.as_str(), "author": header.author.to_string(),
                "prev": header.prev.map(|id| id.to_string()),
                "parents": header.parents.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "labels": header.labels.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "facts": hex(&header.facts),
                "content": record.content.iter().map(|p| hex(p.bytes())).collect::<Vec<_>>(),
                "content_digests": record.content.iter().map(|p| p.digest().to_string()).collect::<Vec<_>>(),
                "id": header.id.to_string(), "header": hex(&bytes), "leaf": leaf_hash(&bytes).to_string(),
                "root_after": tree.root().to_string(),
            })
        });
        let events: Vec<Value> = events.collect();
        let (left, right) = (leaf_hash(b"left"), leaf_hash(b"right"));
        json!({
            "events": events,
            "node": { "left": left.to_string(), "right": right.to_string(), "hash": node_hash(&left, &right).to_string() },
            "empty_root": LogTree::new().root().to_string(),
        })
    });
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut tree = LogTree::new();
    assert_eq!(tree.root().to_string(), text(&stored["empty_root"]));
    let events = stored["events"].as_array().unwrap();
    assert_eq!(events.len(), records.len());
    for (event, record) in events.iter().zip(&records) {
        let bytes = unhex(&text(&event["header"]));
        let header = EventHeader::decode(&bytes).unwrap();
        assert_eq!(header, record.header);
        assert_eq!(header.to_bytes(), bytes);
        assert_eq!(causal_digest(&header).to_string(), text(&event["id"]));
        assert_eq!(leaf_hash(&bytes).to_string(), text(&event["leaf"]));
        for (content, digest) in
            event["content"].as_array().unwrap().iter().zip(event["content_digests"].as_array().unwrap())
        {
            assert_eq!(content_digest(&unhex(&text(content))).to_string(), text(digest));
        }
        tree.append(leaf_hash(&bytes));
        assert_eq!(tree.root().to_string(), text(&event["root_after"]));
    }
    let node = &stored["node"];
    let parse = |key: &str| text(&node[key]).parse().unwrap();
    assert_eq!(node_hash(&parse("left"), &parse("right")).to_string(), text(&node["hash"]));
}

#[test]
fn the_id_is_what_the_document_says() {
    for record in records() {
        let header = &record.header;
        let mut hasher = blake3::Hasher::new_derive_key("toka 2026 event id v1");
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        field(header.kind.as_str().as_bytes());
        field(&header.author.0);
        field(&header.prev.map(|id| id.as_bytes().to_vec()).unwrap_or_default());
        field(&header.facts);
        field(&header.content.iter().flat_map(|c| c.digest.0).collect::<Vec<_>>());
        field(&[header.labels.len() as u8]);
        header.labels.iter().for_each(|label| field(label.as_str().as_bytes()));
        field(&header.parents.iter().flat_map(|id| *id.as_bytes()).collect::<Vec<_>>());
        assert_eq!(EventId(Digest(*hasher.finalize().as_bytes())), header.id);
    }
}

#[test]
fn a_stored_journal_opens_for_ever() {
    let records = records();
    let stored = vectors("journal.json", || {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Journal::open(directory.path()).unwrap();
        store.append(&LogId::main(), 0, &records[..3], Room::Ordinary).unwrap();
        store.append(&LogId::new("side").unwrap(), 0, &records[..1], Room::Ordinary).unwrap();
        store.append(&LogId::main(), 3, &records[3..], Room::Ordinary).unwrap();
        store.fix_dimension(3).unwrap();
        store.close().unwrap();
        json!({
            "manifest": fs::read_to_string(directory.path().join("manifest")).unwrap(),
            "journal/0000000001.seg": hex(&fs::read(directory.path().join("journal/0000000001.seg")).unwrap()),
            "main": "the four events of record.json",
            "side": "the first of them",
            "root": store.head(&LogId::main()).unwrap().root.to_string(),
        })
    });
    let directory = unpacked(&stored);
    let report = verify(directory.path()).unwrap();
    assert_eq!((report.ok, report.events, report.problems.len()), (true, 5, 0));
    assert_eq!(report.root.to_string(), stored["root"].as_str().unwrap());
    let (store, recovered) = Journal::open(directory.path()).unwrap();
    assert_eq!(recovered, Default::default());
    assert_eq!(store.read(&LogId::main(), 0, 9).unwrap(), records);
    assert_eq!(store.read(&LogId::new("side").unwrap(), 0, 9).unwrap(), records[..1]);
    assert_eq!(store.dimension().unwrap(), Some(3));

    // Opening and closing changes nothing.
    store.close().unwrap();
    let (again, _) = Journal::open(directory.path()).unwrap();
    drop(again);
    let segment = fs::read(directory.path().join("journal/0000000001.seg")).unwrap();
    assert_eq!(hex(&segment), stored["journal/0000000001.seg"].as_str().unwrap());
}

/// The vault whose files are in the vectors.
fn unpacked(stored: &Value) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in stored.as_object().unwrap() {
        let bytes = match text.as_str().unwrap() {
            text if name == "manifest" => text.as_bytes().to_vec(),
            text if name.starts_with("journal/") => unhex(text),
            _ => continue,
        };
        let path: PathBuf = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    directory
}

/// What is there of an event: each piece of content, or why it is gone.
fn there(store: &Journal, record: &Record) -> Vec<Result<Payload, Gone>> {
    let content = |at: usize| match record.content_at(at) {
        Some(payload) => Ok(payload.clone()),
        None => Err(store.gone(&record.header.content[at].digest).unwrap().unwrap()),
    };
    (0..record.header.content.len()).map(content).collect()
}

#[test]
fn a_stored_imported_journal_opens_for_ever() {
    let records = records();
    let [long, hello] = [0, 1].map(|at| records[2].header.content[at].digest);
    let stored = vectors("journal-3.json", || {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Journal::open(directory.path()).unwrap();
        store.append(&LogId::main(), 0, &records[..1], Room::Ordinary).unwrap();
        let hollow =
            |record: &Arc<Record>| Arc::new(Record { header: record.header.clone(), content: Vec::new() });
        let gone = HashMap::from([(long, Gone::Redacted), (hello, Gone::Erased)]);
        let rest: Vec<_> = records[1..3].iter().map(hollow).collect();
        store.append_gone(&[Part::new(&LogId::main(), 1, &rest)], &gone, Room::Ordinary).unwrap();
        store.append(&LogId::main(), 3, &records[3..], Room::Ordinary).unwrap();
        store.close().unwrap();
        let file = |name: &str| hex(&fs::read(directory.path().join(name)).unwrap());
        json!({
            "manifest": fs::read_to_string(directory.path().join("manifest")).unwrap(),
            "journal/0000000001.seg": file("journal/0000000001.seg"),
            "journal/0000000002.seg": file("journal/0000000002.seg"),
            "main": "the four events of record.json; the first content of the third was redacted, the second, which is also that of the second event, erased",
            "root": store.head(&LogId::main()).unwrap().root.to_string(),
        })
    });
    let directory = unpacked(&stored);
    let report = verify(directory.path()).unwrap();
    assert_eq!((report.ok, report.events, report.problems), (true, 4, vec![]));
    assert_eq!(report.root.to_string(), stored["root"].as_str().unwrap());
    for store in
        [Journal::open_read_only(directory.path()).unwrap(), Journal::open(directory.path()).unwrap().0]
    {
        let found = store.read(&LogId::main(), 0, 9).unwrap();
        assert!(found.iter().map(|r| &r.header).eq(records.iter().map(|r| &r.header)));
        assert_eq!(there(&store, &found[1]), [Err(Gone::Erased)]);
        assert_eq!(there(&store, &found[2]), [Err(Gone::Redacted), Err(Gone::Erased)]);
        assert_eq!(there(&store, &found[3]), [Ok(Payload::new(*b""))]);
    }
    // A segment that does not say so has no such words.
    let path = directory.path().join("journal/0000000002.seg");
    let mut bytes = fs::read(&path).unwrap();
    bytes[12] = 0;
    resum(&mut bytes, &unhex(stored["journal/0000000001.seg"].as_str().unwrap())[16..32]);
    fs::write(&path, bytes).unwrap();
    fs::remove_dir_all(directory.path().join("index")).unwrap();
    // The manifest names the old sums.
    fs::remove_file(directory.path().join("manifest")).unwrap();
    let problems = verify(directory.path()).unwrap().problems;
    let told = problems.iter().filter(|problem| problem.detail.contains("neither imported nor rewritten"));
    assert_eq!(told.count(), 2, "{problems:?}");
}

/// Makes the checksums of a segment of format 1 anew.
fn resum(bytes: &mut [u8], vault: &[u8]) {
    let number = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut previous = crc32(&[&bytes[..60]]);
    bytes[60..64].copy_from_slice(&previous.to_le_bytes());
    let segment = bytes[32..40].to_vec();
    let mut at = 64;
    while at + 16 <= bytes.len() && number(bytes, at) > 0 {
        bytes[at + 8..at + 12].copy_from_slice(&previous.to_le_bytes());
        let end = at + 16 + number(bytes, at) as usize;
        let offset = (at as u64).to_le_bytes();
        previous = crc32(&[vault, &segment, &offset, &bytes[at..at + 12], &bytes[at + 16..end]]);
        bytes[at + 12..at + 16].copy_from_slice(&previous.to_le_bytes());
        at = end;
    }
}

/// CRC-32 as in gzip.
fn crc32(parts: &[&[u8]]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    };
    !parts.iter().copied().flatten().fold(!0, step)
}

#[test]
fn a_stored_compacted_journal_opens_for_ever() {
    let records = records();
    let stored = vectors("journal-2.json", || {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Journal::open(directory.path()).unwrap();
        store.append(&LogId::main(), 0, &records[..3], Room::Ordinary).unwrap();
        store.append(&LogId::new("side").unwrap(), 0, &records[..1], Room::Ordinary).unwrap();
        let age = Some(std::time::Duration::ZERO);
        let mut policy = Policy::new(vec![Rule { age, ..Rule::default() }], records[1].header.at);
        let report = store.compact(Some(&mut policy), &Compaction::thorough(Timestamp(1))).unwrap();
        assert_eq!((report.rewritten, report.expired.contents), (0, 0), "event 2 has it too");
        let mut policy = Policy::new(vec![Rule { age, ..Rule::default() }], records[2].header.at);
        let report = store.compact(Some(&mut policy), &Compaction::thorough(Timestamp(1))).unwrap();
        assert_eq!((report.rewritten, report.expired.contents), (1, 2));
        store.append(&LogId::main(), 3, &records[3..], Room::Ordinary).unwrap();
        store.close().unwrap();
        let file = |name: &str| hex(&fs::read(directory.path().join(name)).unwrap());
        json!({
            "manifest": fs::read_to_string(directory.path().join("manifest")).unwrap(),
            "journal/0000000001.seg": file("journal/0000000001.seg"),
            "journal/0000000002.seg": file("journal/0000000002.seg"),
            "main": "the four events of record.json; the content of the first three is expired",
            "side": "the first of them",
            "root": store.head(&LogId::main()).unwrap().root.to_string(),
        })
    });
    let directory = unpacked(&stored);
    let report = verify(directory.path()).unwrap();
    assert_eq!((report.ok, report.events, report.problems.len()), (true, 5, 0), "{:?}", report.problems);
    assert_eq!(report.root.to_string(), stored["root"].as_str().unwrap());
    let first =
        unpacked(&serde_json::from_str(include_str!("../../../../docs/format/journal.json")).unwrap());
    assert_eq!(report.root, verify(first.path()).unwrap().root, "the tree does not know of compaction");
    for store in
        [Journal::open_read_only(directory.path()).unwrap(), Journal::open(directory.path()).unwrap().0]
    {
        let found = store.read(&LogId::main(), 0, 9).unwrap();
        assert!(found.iter().map(|r| &r.header).eq(records.iter().map(|r| &r.header)));
        let expired = Err(Gone::Expired);
        assert_eq!(there(&store, &found[0]), []);
        assert_eq!(there(&store, &found[1]), std::slice::from_ref(&expired));
        assert_eq!(there(&store, &found[2]), [expired.clone(), expired]);
        assert_eq!(there(&store, &found[3]), [Ok(Payload::new(*b""))]);
    }
    let name = "journal/0000000001.seg";
    assert_eq!(hex(&fs::read(directory.path().join(name)).unwrap()), stored[name].as_str().unwrap());
}
