use std::path::Path;

use redb::{Database, ReadableDatabase, TableDefinition};
use toka_types::{Digest, EventId};
use toka_vault::Record;

use super::{CACHE, Engine, Rows, number_of};

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;
const EVENTS: Table = TableDefinition::new("events");
const IDS: Table = TableDefinition::new("ids");
const CONTENTS: Table = TableDefinition::new("contents");
const CHILDREN: Table = TableDefinition::new("children");

pub struct Redb(Database);

impl Redb {
    pub fn new(path: &Path) -> Self {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE as usize);
        Self(builder.create(path).expect("a database opens"))
    }

    fn get(&self, table: Table, key: &[u8]) -> Vec<u8> {
        let read = self.0.begin_read().expect("a transaction begins");
        let table = read.open_table(table).expect("a table");
        table.get(key).expect("a table is read").expect("a row").value().to_vec()
    }
}

impl Engine for Redb {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn append(&mut self, batch: &[Record]) {
        let write = self.0.begin_write().expect("a transaction begins");
        {
            let mut events = write.open_table(EVENTS).expect("a table");
            let mut ids = write.open_table(IDS).expect("a table");
            let mut contents = write.open_table(CONTENTS).expect("a table");
            let mut children = write.open_table(CHILDREN).expect("a table");
            for rows in batch.iter().map(Rows::of) {
                events.insert(&rows.number[..], &rows.header[..]).expect("a row");
                ids.insert(&rows.id[..], &rows.number[..]).expect("a row");
                for (digest, bytes) in &rows.contents {
                    contents.insert(&digest[..], &bytes[..]).expect("a row");
                }
                for child in &rows.children {
                    children.insert(&child[..], &[][..]).expect("a row");
                }
            }
        }
        // Its default durability: synced when this returns.
        write.commit().expect("a batch is committed");
    }

    fn number(&self, id: &EventId) -> u64 {
        number_of(&self.get(IDS, id.as_bytes()))
    }

    fn header(&self, number: u64) -> Vec<u8> {
        self.get(EVENTS, &number.to_be_bytes())
    }

    fn content(&self, digest: &Digest) -> Vec<u8> {
        self.get(CONTENTS, digest.as_bytes())
    }
}
