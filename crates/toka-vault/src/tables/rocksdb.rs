//! Rows in RocksDB: one column family, one write batch, its write-ahead log synced with each.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBRecoveryMode, ErrorKind, LogLevel, Options, ReadOptions, WriteBatch,
    WriteOptions,
};

use super::TableError;
use super::kv::{Entries, KeyValue, KvTables, Visit};
use super::open::Access;

/// What it collects in memory before it writes a table, in bytes; twice that while it writes one.
const MEMTABLE: usize = 16 << 20;
/// Its cache of blocks, in bytes.
const CACHE: usize = 32 << 20;
/// Bits of a Bloom filter for each key: most looks for content that is new end there.
const FILTER_BITS: f64 = 10.0;
/// Files that it keeps open.
const OPEN_FILES: i32 = 512;
/// Old information logs that it keeps.
const LOGS_KEPT: usize = 2;
/// A table that is being written, and what it rewrites when it merges tables: on a full disk it stops for good.
const HEADROOM: u64 = 3 * MEMTABLE as u64;

/// A database directory.
pub(crate) struct RocksDb {
    directory: PathBuf,
    /// Open for writing, or for reading; none if it could not be opened again.
    db: RwLock<Option<DB>>,
    access: Access,
}

/// Opens the database in `directory`.
pub(crate) fn open(directory: &Path, access: Access) -> Result<KvTables<RocksDb>, TableError> {
    if access != Access::Create && !directory.join("CURRENT").is_file() {
        return Err(TableError::Damage("the database's file CURRENT is missing".into()));
    }
    let db = match access {
        Access::Create | Access::Write => DB::open(&options(access), directory),
        Access::Read => DB::open_for_read_only(&options(access), directory, false),
    };
    let db = RwLock::new(Some(db.map_err(|error| failed(&error))?));
    Ok(KvTables(RocksDb { directory: directory.to_owned(), db, access }))
}

fn options(access: Access) -> Options {
    let mut options = Options::default();
    options.create_if_missing(access == Access::Create);
    // What ends in the middle is a batch that was never acknowledged. Anything else that is wrong in the log is
    // damage; by default all that follows it would be dropped without a word.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_write_buffer_size(MEMTABLE);
    options.set_max_write_buffer_number(2);
    // A reader keeps what it sees open, so that it stays when the writer removes it.
    options.set_max_open_files(if access == Access::Read { -1 } else { OPEN_FILES });
    options.set_keep_log_file_num(LOGS_KEPT);
    options.set_log_level(LogLevel::Error);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(CACHE));
    blocks.set_bloom_filter(FILTER_BITS, false);
    options.set_block_based_table_factory(&blocks);
    options
}

impl RocksDb {
    fn with<T>(&self, ask: impl FnOnce(&DB) -> Result<T, TableError>) -> Result<T, TableError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        match &*db {
            Some(db) => ask(db),
            None => Err(TableError::Failed("the database could not be opened again".into())),
        }
    }

    /// Opens the files anew, for reading.
    fn reopen(&self, db: &mut Option<DB>) -> Result<(), TableError> {
        // It locks its files: the old handle has to go first.
        *db = None;
        let opened = DB::open_for_read_only(&options(Access::Read), &self.directory, false);
        *db = Some(opened.map_err(|error| failed(&error))?);
        Ok(())
    }
}

impl KeyValue for RocksDb {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        self.with(|db| db.get(key).map_err(|error| failed(&error)))
    }

    fn first_byte(&self, key: &[u8]) -> Result<Option<u8>, TableError> {
        self.with(|db| {
            let value = db.get_pinned(key).map_err(|error| failed(&error))?;
            Ok(value.map(|value| value.first().copied().unwrap_or(u8::MAX)))
        })
    }

    fn range(&self, low: &[u8], high: &[u8], visit: Visit<'_>) -> Result<(), TableError> {
        self.with(|db| {
            let mut reading = ReadOptions::default();
            // The bound is excluded: the least key after `high`.
            reading.set_iterate_upper_bound([high, &[0]].concat());
            let mut entries = db.raw_iterator_opt(reading);
            entries.seek(low);
            while let Some((key, value)) = entries.item() {
                if !visit(key, value)? {
                    return Ok(());
                }
                entries.next();
            }
            entries.status().map_err(|error| failed(&error))
        })
    }

    fn write(&self, entries: Entries) -> Result<(), TableError> {
        let mut batch = WriteBatch::default();
        for (key, value) in entries {
            batch.put(key, value);
        }
        let mut writing = WriteOptions::default();
        writing.set_sync(true);
        self.with(|db| db.write_opt(batch, &writing).map_err(|error| failed(&error)))
    }

    fn renew(&self) -> Result<(), TableError> {
        if self.access != Access::Read {
            return Ok(());
        }
        self.reopen(&mut self.db.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn check(&self) -> Result<Vec<String>, TableError> {
        // Every block is checked when it is read.
        match self.range(&[], &[u8::MAX; 80], &mut |_, _| Ok(true)) {
            Ok(()) => Ok(Vec::new()),
            Err(TableError::Damage(detail)) => Ok(vec![detail]),
            Err(error) => Err(error),
        }
    }

    fn headroom(&self) -> u64 {
        HEADROOM
    }

    fn close(&self) -> Result<(), TableError> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*db {
            // Then the next opening has no log to read.
            open.flush().map_err(|error| failed(&error))?;
        }
        // Reads go on, and another writer may come.
        self.reopen(&mut db)
    }
}

fn failed(error: &rocksdb::Error) -> TableError {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Corruption => TableError::Damage(text),
        ErrorKind::Busy => TableError::Busy,
        ErrorKind::IOError if text.contains("lock") && text.contains("LOCK") => TableError::Busy,
        _ => TableError::Failed(text),
    }
}
