//! Rows in sled 0.34: one tree, one batch, and a sync of our own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sled::{Batch, Config, Db};

use super::TableError;
use super::kv::{Entries, KeyValue, KvTables, Visit};
use super::open::Access;

/// sled's own cache, in bytes: its default is a gigabyte.
const CACHE: u64 = 64 << 20;
/// It takes room in segments of half a mebibyte, and copies old ones when it cleans up.
const HEADROOM: u64 = 8 << 20;

/// A database directory.
pub(crate) struct Sled {
    directory: PathBuf,
    db: Db,
    /// The log file, to sync it.
    log: File,
    /// Names of the files of large values that are durable already.
    large: Mutex<u64>,
}

/// Opens the database in `directory`.
pub(crate) fn open(directory: &Path, access: Access) -> Result<KvTables<Sled>, TableError> {
    if access != Access::Create && !directory.join("db").is_file() {
        return Err(TableError::Damage("the database's file is missing".into()));
    }
    // Nothing is synced behind our back: every batch is, before it is acknowledged.
    let config = Config::new().path(directory).cache_capacity(CACHE).flush_every_ms(None);
    let db = config.open().map_err(|error| failed(&error))?;
    let log = File::open(directory.join("db")).map_err(|error| TableError::Failed(error.to_string()))?;
    Ok(KvTables(Sled { directory: directory.to_owned(), db, log, large: Mutex::new(0) }))
}

impl KeyValue for Sled {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        Ok(self.db.get(key).map_err(|error| failed(&error))?.map(|value| value.to_vec()))
    }

    fn first_byte(&self, key: &[u8]) -> Result<Option<u8>, TableError> {
        Ok(self
            .db
            .get(key)
            .map_err(|error| failed(&error))?
            .map(|value| value.first().copied().unwrap_or(u8::MAX)))
    }

    fn range(&self, low: &[u8], high: &[u8], visit: Visit<'_>) -> Result<(), TableError> {
        for entry in self.db.range(low..=high) {
            let (key, value) = entry.map_err(|error| failed(&error))?;
            if !visit(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, entries: Entries) -> Result<(), TableError> {
        let mut batch = Batch::default();
        for (key, value) in entries {
            batch.insert(key, value);
        }
        self.db.apply_batch(batch).map_err(|error| failed(&error))?;
        self.db.flush().map_err(|error| failed(&error))?;
        self.sync().map_err(|error| TableError::Failed(error.to_string()))
    }

    fn renew(&self) -> Result<(), TableError> {
        // Nobody else can have written.
        Ok(())
    }

    fn check(&self) -> Result<Vec<String>, TableError> {
        // It has no check of its own beside the checksums of what is read.
        Ok(Vec::new())
    }

    fn headroom(&self) -> u64 {
        HEADROOM
    }

    fn close(&self) -> Result<(), TableError> {
        self.db.flush().map_err(|error| failed(&error))?;
        self.sync().map_err(|error| TableError::Failed(error.to_string()))
    }
}

impl Sled {
    /// Makes durable what sled has handed to the system. Its `flush` waits until the pages are written, but asks the
    /// disk for nothing, and it does not sync the files in which it keeps large values at all.
    fn sync(&self) -> std::io::Result<()> {
        let directory = self.directory.join("blobs");
        let mut large = self.large.lock().unwrap_or_else(PoisonError::into_inner);
        let mut newest = *large;
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            // They are named by their places in the log, so that a later one has a larger number.
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok()) else {
                continue;
            };
            if number < *large {
                continue;
            }
            match File::open(entry.path()) {
                Ok(file) => file.sync_all()?,
                // It was cleaned up in between.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            newest = newest.max(number + 1);
        }
        if newest > *large {
            File::open(&directory)?.sync_all()?;
            *large = newest;
        }
        self.log.sync_data()
    }
}

fn failed(error: &sled::Error) -> TableError {
    match error {
        sled::Error::Corruption { .. } => TableError::Damage(error.to_string()),
        sled::Error::Io(io) if io.to_string().contains("could not acquire lock") => TableError::Busy,
        _ => TableError::Failed(error.to_string()),
    }
}
