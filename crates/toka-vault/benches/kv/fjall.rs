use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use toka_types::{Digest, EventId};
use toka_vault::Record;

use super::{CACHE, Engine, Rows, number_of};

pub struct Fjall {
    db: Database,
    events: Keyspace,
    ids: Keyspace,
    contents: Keyspace,
    children: Keyspace,
}

impl Fjall {
    pub fn new(path: &Path) -> Self {
        let db = Database::builder(path).cache_size(CACHE).open().expect("a database opens");
        let table = |name| db.keyspace(name, KeyspaceCreateOptions::default).expect("a table");
        let (events, ids) = (table("events"), table("ids"));
        let (contents, children) = (table("contents"), table("children"));
        Self { db, events, ids, contents, children }
    }
}

impl Engine for Fjall {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn append(&mut self, batch: &[Record]) {
        let mut write = self.db.batch().durability(Some(PersistMode::SyncData));
        for rows in batch.iter().map(Rows::of) {
            write.insert(&self.events, rows.number, rows.header);
            write.insert(&self.ids, rows.id, rows.number);
            for (digest, bytes) in rows.contents {
                write.insert(&self.contents, digest, &bytes[..]);
            }
            for child in rows.children {
                write.insert(&self.children, child, []);
            }
        }
        write.commit().expect("a batch is committed");
    }

    fn number(&self, id: &EventId) -> u64 {
        number_of(&self.ids.get(id.as_bytes()).expect("a table is read").expect("a row"))
    }

    fn header(&self, number: u64) -> Vec<u8> {
        self.events.get(number.to_be_bytes()).expect("a table is read").expect("a row").to_vec()
    }

    fn content(&self, digest: &Digest) -> Vec<u8> {
        self.contents.get(digest.as_bytes()).expect("a table is read").expect("a row").to_vec()
    }
}
