//! Rows in sled 0.34: one tree, one batch, and a sync of our own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sled::{Batch, Config, Db};

use super::TableError;
use super::kv::{Entries, KeyValue, KvTables, Visit};
use super::open::Access;

/// sled's own cache, in bytes: its default is a gigabyte.
const CACHE: u64 = 64 << 20;
/// It takes room in segments of half a mebibyte, and copies old ones when it cleans up.
const HEADROOM: u64 = 8 << 20;
/// How long somebody waits for whoever had the files open before, and how often it looks again.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A database directory.
pub(crate) struct Sled {
    directory: PathBuf,
    /// None once it is closed: as long as it lives, nobody else can open the files.
    db: RwLock<Option<Db>>,
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
    let db = database(directory)?;
    let log = File::open(directory.join("db")).map_err(|error| TableError::Failed(error.to_string()))?;
    let (directory, db) = (directory.to_owned(), RwLock::new(Some(db)));
    Ok(KvTables(Sled { directory, db, log, large: Mutex::new(0) }))
}

/// sled's own threads let go of the files some time after the database was dropped, so that somebody who opens the next
/// one, for reading too, waits for them. Nobody else is to be expected: who writes holds the vault's lock, and so does
/// who reads.
fn database(directory: &Path) -> Result<Db, TableError> {
    // Nothing is synced behind our back: every batch is, before it is acknowledged.
    let config = Config::new().path(directory).cache_capacity(CACHE).flush_every_ms(None);
    let until = Instant::now() + PATIENCE;
    loop {
        match config.open().map_err(|error| failed(&error)) {
            Err(TableError::Busy) if Instant::now() < until => std::thread::sleep(LOOK_AGAIN),
            opened => return opened,
        }
    }
}

impl KeyValue for Sled {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        self.with(|db| Ok(db.get(key).map_err(|error| failed(&error))?.map(|value| value.to_vec())))
    }

    fn first_byte(&self, key: &[u8]) -> Result<Option<u8>, TableError> {
        self.with(|db| {
            let value = db.get(key).map_err(|error| failed(&error))?;
            Ok(value.map(|value| value.first().copied().unwrap_or(u8::MAX)))
        })
    }

    fn range(&self, low: &[u8], high: &[u8], visit: Visit<'_>) -> Result<(), TableError> {
        self.with(|db| {
            for entry in db.range(low..=high) {
                let (key, value) = entry.map_err(|error| failed(&error))?;
                if !visit(&key, &value)? {
                    break;
                }
            }
            Ok(())
        })
    }

    fn write(&self, entries: Entries) -> Result<(), TableError> {
        let mut batch = Batch::default();
        for (key, value) in entries {
            batch.insert(key, value);
        }
        self.with(|db| {
            db.apply_batch(batch).map_err(|error| failed(&error))?;
            db.flush().map_err(|error| failed(&error))
        })?;
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
        let Some(db) = self.db.write().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        db.flush().map_err(|error| failed(&error))?;
        self.sync().map_err(|error| TableError::Failed(error.to_string()))
    }
}

impl Sled {
    /// Asks the database; one that was closed is opened for this alone.
    fn with<T>(&self, ask: impl FnOnce(&Db) -> Result<T, TableError>) -> Result<T, TableError> {
        if let Some(db) = &*self.db.read().unwrap_or_else(PoisonError::into_inner) {
            return ask(db);
        }
        let _alone = self.db.write().unwrap_or_else(PoisonError::into_inner);
        ask(&database(&self.directory)?)
    }

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
