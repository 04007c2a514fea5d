//! Rows as they lie in a database, content that is gone, and room that is kept.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use toka_types::{Digest, Gone};

use super::{TableStore, create, verify, writer};
use crate::core::{LogId, Record};
use crate::engine::{self, Engine};
use crate::fork::Base;
use crate::journal::disk::RealDisk;
use crate::journal::manifest::Manifest;
use crate::store::{Part, Room, Store, StoreError};
use crate::testing::{chain, forked_record, record};

const VAULT: [u8; 16] = *b"a vault of rows.";

fn engines() -> impl Iterator<Item = Engine> {
    Engine::ALL.into_iter().filter(|engine| *engine != Engine::Journal && engine.is_built())
}

fn new(path: &Path, engine: Engine) -> TableStore {
    std::fs::create_dir_all(path).unwrap();
    let manifest = Manifest::new(VAULT, None).emptied(engine.name());
    create(Arc::new(RealDisk), path, engine, manifest, engine::lock(path).unwrap()).unwrap()
}

fn append(store: &TableStore, log: &LogId, batch: &[Arc<Record>], room: Room) -> Result<(), StoreError> {
    store.append(log, batch[0].header.seq, batch, room)
}

/// Two logs and a fork, an event without content, content that is shared, compressed, empty and gone.
fn golden(store: &TableStore) -> Vec<(LogId, Vec<Arc<Record>>)> {
    let (main, side) = (LogId::main(), LogId::new("side").unwrap());
    let first = record(0, &[], &[b"one", b""]);
    let id = first.header.id;
    let long = "the same words again and again, ".repeat(40);
    let main_records = vec![first, record(1, &[id, id], &[long.as_bytes(), b"one"]), record(2, &[], &[])];
    let mut erased = (*record(0, &[], &[b"nobody knows"])).clone();
    let digest = erased.content.remove(0).digest();
    let side_records = vec![Arc::new(erased), record(1, &[], &[b"two"])];
    append(store, &main, &main_records[..2], Room::Ordinary).unwrap();
    let gone = HashMap::from([(digest, Gone::Erased)]);
    store.append_gone(&[Part::new(&side, 0, &side_records)], &gone, Room::Ordinary).unwrap();
    append(store, &main, &main_records[2..], Room::Ordinary).unwrap();
    let fork = LogId::new("fork").unwrap();
    let own = [forked_record(&main, &main_records[1].header, b"nonce"), record(3, &[], &[b"two", b"three"])];
    let base = Base { log: main.clone(), size: 2 };
    let part = Part { log: &fork, expected: 2, records: &own, base: Some(&base) };
    store.append_parts(&[part], Room::Ordinary).unwrap();
    let fork_records = main_records[..2].iter().chain(&own).cloned().collect();
    vec![(main, main_records), (side, side_records), (fork, fork_records)]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The rows of `docs/format/stores.json`; `TOKA_WRITE_VECTORS=1` writes them.
fn vectors(part: &str, rows: &Value) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/format/stores.json");
    let mut all: BTreeMap<String, Value> =
        std::fs::read_to_string(&path).map(|text| serde_json::from_str(&text).unwrap()).unwrap_or_default();
    if std::env::var_os("TOKA_WRITE_VECTORS").is_some() {
        all.insert("vault".into(), json!(hex(&VAULT)));
        all.insert(part.into(), rows.clone());
        std::fs::write(&path, format!("{:#}\n", json!(all))).unwrap();
    }
    all.remove(part).expect("vectors")
}

fn holds(store: &dyn Store, expected: &[(LogId, Vec<Arc<Record>>)]) {
    assert_eq!(store.logs().unwrap(), expected.iter().map(|(log, _)| log.clone()).collect::<Vec<_>>());
    for (log, records) in expected {
        assert_eq!(store.read(log, 0, 99).unwrap(), *records);
    }
}

#[cfg(any(feature = "sled", feature = "rocksdb"))]
mod key_values {
    use super::super::kv::{KeyValue, KvTables};
    use super::super::open::Access;
    use super::*;

    fn all(store: &impl KeyValue) -> Value {
        let mut rows = Vec::new();
        let row = &mut |key: &[u8], value: &[u8]| {
            rows.push(json!([hex(key), hex(value)]));
            Ok(true)
        };
        store.range(&[0], &[u8::MAX; 80], row).unwrap();
        json!(rows)
    }

    fn fill(store: &impl KeyValue, rows: &Value) {
        let bytes = |value: &Value| unhex(value.as_str().unwrap());
        let rows = rows.as_array().unwrap().iter().map(|row| (bytes(&row[0]), bytes(&row[1])));
        store.write(rows.collect()).unwrap();
    }

    fn check<K: KeyValue>(
        engine: Engine,
        open: fn(&Path, Access) -> Result<KvTables<K>, super::super::TableError>,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made");
        let store = new(&path, engine);
        let expected = golden(&store);
        drop(store);
        let files = path.join(engine.name());
        let rows = all(&open(&files, Access::Read).unwrap().0);
        let stored = vectors("keys and values", &rows);
        assert_eq!(rows, stored);

        // What lies in the file opens for ever.
        let path = directory.path().join("stored");
        drop(new(&path, engine));
        fill(&open(&path.join(engine.name()), Access::Write).unwrap().0, &stored);
        let store = engine::open(&path).unwrap().0;
        holds(&*store, &expected);
        drop(store);
        let report = crate::verify::verify(&path).unwrap();
        assert_eq!((report.ok, report.problems), (true, vec![]));
    }

    #[cfg(feature = "sled")]
    #[test]
    fn rows_in_sled() {
        check(Engine::Sled, super::super::sled::open);
    }

    #[cfg(feature = "rocksdb")]
    #[test]
    fn rows_in_rocksdb() {
        check(Engine::RocksDb, super::super::rocksdb::open);
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use rusqlite::Connection;
    use rusqlite::types::Value as Sql;

    use super::*;

    const TABLES: [&str; 5] = ["sums", "logs", "events", "causes", "contents"];

    fn json_of(value: Sql) -> Value {
        match value {
            Sql::Blob(bytes) => json!({ "hex": hex(&bytes) }),
            Sql::Integer(number) => json!(number),
            Sql::Text(text) => json!(text),
            Sql::Null => Value::Null,
            other => panic!("{other:?}"),
        }
    }

    fn sql_of(value: &Value) -> Sql {
        match value {
            Value::Number(number) => Sql::Integer(number.as_i64().unwrap()),
            Value::String(text) => Sql::Text(text.clone()),
            Value::Null => Sql::Null,
            other => Sql::Blob(unhex(other["hex"].as_str().unwrap())),
        }
    }

    fn database(path: &Path) -> Connection {
        Connection::open(path.join("sqlite/events.db")).unwrap()
    }

    fn rows(database: &Connection, table: &str) -> Value {
        let mut select = database.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let columns = select.column_count();
        let row = |row: &rusqlite::Row<'_>| (0..columns).map(|at| row.get(at).map(json_of)).collect();
        let rows: Result<Vec<Vec<Value>>, _> = select.query_map([], row).unwrap().collect();
        json!(rows.unwrap())
    }

    #[test]
    fn rows_in_sqlite() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made");
        let store = new(&path, Engine::Sqlite);
        let expected = golden(&store);
        drop(store);
        let tables: BTreeMap<_, _> =
            TABLES.into_iter().map(|table| (table, rows(&database(&path), table))).collect();
        let stored = vectors("sqlite", &json!(tables));
        assert_eq!(json!(tables), stored);

        let path = directory.path().join("stored");
        drop(new(&path, Engine::Sqlite));
        let connection = database(&path);
        for table in TABLES {
            connection.execute(&format!("DELETE FROM {table}"), []).unwrap();
            for row in stored[table].as_array().unwrap() {
                let values: Vec<Sql> = row.as_array().unwrap().iter().map(sql_of).collect();
                let places = vec!["?"; values.len()].join(", ");
                let insert = format!("INSERT INTO {table} VALUES ({places})");
                connection.execute(&insert, rusqlite::params_from_iter(values)).unwrap();
            }
        }
        drop(connection);
        holds(&*engine::open(&path).unwrap().0, &expected);
        let report = crate::verify::verify(&path).unwrap();
        assert_eq!((report.ok, report.problems), (true, vec![]));
    }

    /// Whoever changes rows by hand is found out, each time by `verify`, and by whoever reads what was changed.
    #[test]
    fn changed_rows_are_found() {
        let changes = [
            ("UPDATE events SET header = zeroblob(length(header)) WHERE seq = 3", true),
            ("UPDATE events SET crc = crc + 1 WHERE seq = 3", true),
            (
                "UPDATE events SET header = (SELECT header FROM events WHERE seq = 4), crc = (SELECT crc FROM events WHERE seq = 4) WHERE seq = 3",
                true,
            ),
            ("DELETE FROM events WHERE seq = 3", true),
            ("DELETE FROM events WHERE seq = 19", true),
            ("UPDATE contents SET stored = x'00' WHERE number = 3", true),
            ("DELETE FROM contents WHERE number = 3", true),
            ("UPDATE logs SET events = 7", true),
            ("UPDATE logs SET frontier = zeroblob(length(frontier))", true),
            ("DELETE FROM logs", true),
            ("DELETE FROM sums", true),
            ("UPDATE sums SET events = 7", true),
            ("DELETE FROM causes WHERE child = 3", false),
            ("UPDATE causes SET parent = zeroblob(32) WHERE child = 3", false),
            ("UPDATE events SET id = zeroblob(32) WHERE seq = 3", false),
            ("INSERT INTO events SELECT 99, log, 99, id, header, crc FROM events WHERE seq = 3", false),
            ("PRAGMA user_version = 0", true),
            ("PRAGMA application_id = 7", true),
        ];
        let directory = tempfile::tempdir().unwrap();
        let vault = directory.path().join("vault");
        let store = new(&vault, Engine::Sqlite);
        let records = chain(0, 20);
        append(&store, &LogId::main(), &records, Room::Ordinary).unwrap();
        drop(store);
        let whole = std::fs::read(vault.join("sqlite/events.db")).unwrap();
        for (change, by_reading) in changes {
            std::fs::write(vault.join("sqlite/events.db"), &whole).unwrap();
            database(&vault).execute_batch(change).unwrap();
            let report = crate::verify::verify(&vault);
            assert!(!report.as_ref().is_ok_and(|report| report.ok), "{change}: {report:?}");
            let read = engine::open_read_only(&vault).and_then(|store| store.read(&LogId::main(), 0, 99));
            match read {
                Ok(read) => assert!(!by_reading && read.len() == 20, "{change}"),
                Err(error) => assert!(
                    matches!(error, StoreError::Corrupt { .. } | StoreError::Format { .. }),
                    "{change}: {error}"
                ),
            }
        }
    }
}

#[test]
fn what_is_gone_stays_gone_and_can_come_back() {
    for engine in engines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("from");
        let store = new(&path, engine);
        let expected = golden(&store);
        let digest = Digest::of(b"nobody knows");
        assert_eq!(store.gone(&digest).unwrap(), Some(Gone::Erased));
        assert_eq!(store.content(&digest).unwrap(), None);
        let hollow = record(2, &[], &[b"nobody knows"]);
        let side = &expected[1].0;
        let missing = Arc::new(Record { header: hollow.header.clone(), content: Vec::new() });
        let refused = append(&store, side, &[missing], Room::Ordinary);
        assert_eq!(refused, Err(StoreError::MissingContent { event: hollow.header.id, digest }));
        drop(store);
        for to in engines().chain([Engine::Journal]) {
            let target = directory.path().join(format!("to-{to}"));
            crate::migrate::migrate(&path, to, &target, |_, _| {}).unwrap();
            let back = directory.path().join(format!("back-from-{to}"));
            crate::migrate::migrate(&target, engine, &back, |_, _| {}).unwrap();
            let returned = engine::open(&back).unwrap().0;
            holds(&*returned, &expected);
            assert_eq!(returned.gone(&digest).unwrap(), Some(Gone::Erased));
            let moved = engine::open(&target).unwrap().0;
            holds(&*moved, &expected);
            assert_eq!(moved.gone(&digest).unwrap(), Some(Gone::Erased));
            // Whoever has it still may store it again; then it is there for all that name it.
            moved.append(side, 2, std::slice::from_ref(&hollow), Room::Ordinary).unwrap();
            assert_eq!(moved.gone(&digest).unwrap(), None);
            assert_eq!(moved.read(side, 0, 1).unwrap()[0].content.len(), 1);
            drop(moved);
            let report = crate::verify::verify(&target).unwrap();
            assert_eq!((report.ok, report.problems), (true, vec![]));
        }
    }
}

/// How full the disk is said to be.
static FREE: AtomicU64 = AtomicU64::new(u64::MAX);

#[test]
fn a_batch_is_refused_before_the_disk_is_full() {
    for engine in engines() {
        let directory = tempfile::tempdir().unwrap();
        let path: PathBuf = directory.path().into();
        drop(new(&path, engine));
        let manifest = Manifest::read_any(&RealDisk, &path).unwrap().unwrap();
        let lock = engine::lock(&path).unwrap();
        let mut store = writer(Arc::new(RealDisk), &path, engine, manifest, lock).unwrap();
        store.free = |_| Some(FREE.load(Ordering::Relaxed));
        let (main, records) = (LogId::main(), chain(0, 3));
        append(&store, &main, &records[..1], Room::Ordinary).unwrap();
        FREE.store(store.tables.headroom(), Ordering::Relaxed);
        let refused = append(&store, &main, &records[1..2], Room::Ordinary);
        assert!(matches!(refused, Err(StoreError::Full { needed, .. }) if needed > 0), "{refused:?}");
        assert_eq!(store.head(&main).unwrap().next_seq, 1);
        // What must be recorded has room still, and whatever waited goes on when there is room again.
        append(&store, &main, &records[1..2], Room::Reserved).unwrap();
        FREE.store(u64::MAX, Ordering::Relaxed);
        append(&store, &main, &records[2..], Room::Ordinary).unwrap();
        assert_eq!(store.read(&main, 0, 9).unwrap(), records);
        let report = verify::verify(&store, true).unwrap();
        assert_eq!((report.ok, report.events), (true, 3));
    }
}
