use std::path::Path;

use rusqlite::{Connection, params};
use toka_types::{Digest, EventId};
use toka_vault::Record;

use super::{CACHE, Engine, Rows};

pub struct Sqlite(Connection);

impl Sqlite {
    pub fn new(path: &Path) -> Self {
        let connection = Connection::open(path).expect("a database opens");
        let set = |name: &str, value: &str| {
            connection.pragma_update_and_check(None, name, value, |_| Ok(())).or_else(|error| match error {
                // Some settings answer, others do not.
                rusqlite::Error::QueryReturnedNoRows => Ok(()),
                error => Err(error),
            })
        };
        set("journal_mode", "WAL").expect("a setting");
        set("synchronous", "FULL").expect("a setting");
        set("cache_size", &format!("-{}", CACHE >> 10)).expect("a setting");
        let schema =
            "CREATE TABLE events (number INTEGER PRIMARY KEY, id BLOB NOT NULL, header BLOB NOT NULL);
            CREATE UNIQUE INDEX ids ON events (id);
            CREATE TABLE contents (digest BLOB NOT NULL UNIQUE, bytes BLOB NOT NULL);
            CREATE TABLE children (parent BLOB, number INTEGER, PRIMARY KEY (parent, number)) WITHOUT ROWID;";
        connection.execute_batch(schema).expect("a schema");
        Self(connection)
    }

    fn get<T: rusqlite::types::FromSql>(&self, sql: &str, key: impl rusqlite::ToSql) -> T {
        let mut statement = self.0.prepare_cached(sql).expect("a statement");
        statement.query_row([key], |row| row.get(0)).expect("a row")
    }
}

impl Engine for Sqlite {
    fn name(&self) -> &'static str {
        "SQLite"
    }

    fn append(&mut self, batch: &[Record]) {
        let transaction = self.0.transaction().expect("a transaction begins");
        {
            let prepare = |sql| transaction.prepare_cached(sql).expect("a statement");
            let mut event = prepare("INSERT INTO events VALUES (?1, ?2, ?3)");
            let mut content = prepare("INSERT OR IGNORE INTO contents VALUES (?1, ?2)");
            let mut child = prepare("INSERT INTO children VALUES (?1, ?2)");
            for (record, rows) in batch.iter().map(|record| (record, Rows::of(record))) {
                let number = record.header.seq as i64;
                event.execute(params![number, rows.id, rows.header]).expect("a row");
                for (digest, bytes) in &rows.contents {
                    content.execute(params![digest, &bytes[..]]).expect("a row");
                }
                for parent in &record.header.parents {
                    child.execute(params![parent.as_bytes(), number]).expect("a row");
                }
            }
        }
        transaction.commit().expect("a batch is committed");
    }

    fn number(&self, id: &EventId) -> u64 {
        self.get::<i64>("SELECT number FROM events WHERE id = ?1", id.as_bytes()) as u64
    }

    fn header(&self, number: u64) -> Vec<u8> {
        self.get("SELECT header FROM events WHERE number = ?1", number as i64)
    }

    fn content(&self, digest: &Digest) -> Vec<u8> {
        self.get("SELECT bytes FROM contents WHERE digest = ?1", digest.as_bytes())
    }
}
