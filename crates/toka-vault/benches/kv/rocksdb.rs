use std::path::Path;

use rocksdb::{BlockBasedOptions, Cache, ColumnFamily, DB, Options, WriteBatch, WriteOptions};
use toka_types::{Digest, EventId};
use toka_vault::Record;

use super::{CACHE, Engine, Rows, number_of};

const TABLES: [&str; 4] = ["events", "ids", "contents", "children"];

pub struct RocksDb {
    db: DB,
    sync: WriteOptions,
}

impl RocksDb {
    pub fn new(path: &Path) -> Self {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_write_buffer_size(64 << 20);
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&Cache::new_lru_cache(CACHE as usize));
        blocks.set_bloom_filter(10.0, false);
        options.set_block_based_table_factory(&blocks);
        let tables = TABLES.map(|name| (name, options.clone()));
        let db = DB::open_cf_with_opts(&options, path, tables).expect("a database opens");
        let mut sync = WriteOptions::default();
        sync.set_sync(true);
        Self { db, sync }
    }

    fn table(&self, table: usize) -> &ColumnFamily {
        self.db.cf_handle(TABLES[table]).expect("a table")
    }

    fn get(&self, table: usize, key: &[u8]) -> Vec<u8> {
        self.db.get_cf(self.table(table), key).expect("a table is read").expect("a row")
    }
}

impl Engine for RocksDb {
    fn name(&self) -> &'static str {
        "RocksDB"
    }

    fn append(&mut self, batch: &[Record]) {
        let [events, ids, contents, children] = [0, 1, 2, 3].map(|table| self.table(table));
        let mut write = WriteBatch::default();
        for rows in batch.iter().map(Rows::of) {
            write.put_cf(events, rows.number, &rows.header);
            write.put_cf(ids, rows.id, rows.number);
            for (digest, bytes) in &rows.contents {
                write.put_cf(contents, digest, bytes);
            }
            for child in &rows.children {
                write.put_cf(children, child, []);
            }
        }
        self.db.write_opt(write, &self.sync).expect("a batch is written");
    }

    fn number(&self, id: &EventId) -> u64 {
        number_of(&self.get(1, id.as_bytes()))
    }

    fn header(&self, number: u64) -> Vec<u8> {
        self.get(0, &number.to_be_bytes())
    }

    fn content(&self, digest: &Digest) -> Vec<u8> {
        self.get(2, digest.as_bytes())
    }

    fn settle(&mut self) {
        for table in TABLES {
            let table = self.db.cf_handle(table).expect("a table");
            self.db.flush_cf(table).expect("a table is flushed");
        }
    }
}
