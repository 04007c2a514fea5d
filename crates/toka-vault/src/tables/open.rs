//! Opening a vault that a database keeps.

use std::any::Any;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::append::Writer;
use super::row::{LogRow, Sums, Table, checksum};
use super::{Loaded, State, TableError, TableStore, Tables, Write, failed};
use crate::engine::Engine;
use crate::journal::append::Mode;
use crate::journal::disk::Disk;
use crate::journal::frame::VaultId;
use crate::journal::manifest::Manifest;
use crate::store::StoreError;

/// The engine's files may hold anything the indexer read: they are the owner's alone.
const DIRECTORY_MODE: u32 = 0o700;

/// How an engine's files are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// For writing; they are made if they are not there.
    Create,
    /// For writing; that they are not there is damage.
    Write,
    /// For reading.
    Read,
}

/// What keeps other writers away as long as it lives.
pub(crate) type Lock = Box<dyn Any + Send + Sync>;

/// Makes the rows of a vault without events, and its manifest last: what has no manifest was never a vault.
pub(crate) fn create(
    disk: Arc<dyn Disk>,
    path: &Path,
    engine: Engine,
    manifest: Manifest,
    lock: Lock,
) -> Result<TableStore, StoreError> {
    let directory = path.join(engine.name());
    let made = std::fs::DirBuilder::new().mode(DIRECTORY_MODE).recursive(true).create(&directory);
    made.map_err(|error| io("create", &directory, &error))?;
    let (tables, file) = open_tables(path, engine, Access::Create)?;
    let at = |what, error| failed(path, &file, what, error);
    let counts = tables.counts().map_err(|error| at("read", error))?;
    if counts.events > 0 {
        let detail = format!("there are {} events, and the vault's manifest is missing", counts.events);
        return Err(StoreError::Corrupt { file, seq: None, detail });
    }
    let vault = vault_id(path, &manifest)?;
    let sums = Sums::default();
    let sums = (sums, checksum(&vault, Table::Sums, &[], &sums.encode()));
    let nothing = Write { sums, logs: Vec::new(), events: Vec::new(), contents: Vec::new() };
    tables.write(&nothing).map_err(|error| at("write", error))?;
    disk.sync_directory(&directory).map_err(|error| io("sync", &directory, &error))?;
    let written = manifest.write(&*disk, path);
    written.map_err(|error| io("write", &Manifest::path(path), &error))?;
    store(disk, path, engine, (tables, file), Writer::new(Mode::Open, Some(lock), manifest))
}

/// Opens the vault for writing.
pub(crate) fn writer(
    disk: Arc<dyn Disk>,
    path: &Path,
    engine: Engine,
    manifest: Manifest,
    lock: Lock,
) -> Result<TableStore, StoreError> {
    let opened = open_tables(path, engine, Access::Write)?;
    store(disk, path, engine, opened, Writer::new(Mode::Open, Some(lock), manifest))
}

/// Opens the vault for reading; `lock` is held as long as it is open, where it is given.
pub(crate) fn reader(
    disk: Arc<dyn Disk>,
    path: &Path,
    engine: Engine,
    manifest: Manifest,
    lock: Option<Lock>,
) -> Result<TableStore, StoreError> {
    let opened = open_tables(path, engine, Access::Read)?;
    store(disk, path, engine, opened, Writer::new(Mode::ReadOnly, lock, manifest))
}

/// Moves what a reader sees to what a writer appended since; the number of new events.
pub(crate) fn refresh(store: &TableStore) -> Result<u64, StoreError> {
    let mut writer = store.writer();
    if writer.mode != Mode::ReadOnly {
        return Ok(0);
    }
    if let Some(manifest) = Manifest::read_any(&*store.disk, &store.path)? {
        writer.manifest = manifest;
    }
    let fresh = load(&store.path, &store.file, &store.vault, &*store.tables, &writer.manifest)?;
    let mut state = store.state.write().unwrap_or_else(PoisonError::into_inner);
    let new = fresh.sums.events.saturating_sub(state.sums.events);
    *state = fresh;
    Ok(new)
}

/// Bytes of the files below `directory`.
pub(crate) fn size_of(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => size_of(&entry.path()),
        Ok(data) => data.len(),
        // A file that the engine removed meanwhile takes no room.
        Err(_) => 0,
    });
    sizes.sum()
}

fn free(path: &Path) -> Option<u64> {
    let status = rustix::fs::statvfs(path).ok()?;
    Some(status.f_bavail.saturating_mul(status.f_frsize))
}

fn store(
    disk: Arc<dyn Disk>,
    path: &Path,
    engine: Engine,
    (tables, file): (Box<dyn Tables>, PathBuf),
    writer: Writer,
) -> Result<TableStore, StoreError> {
    let vault = vault_id(path, &writer.manifest)?;
    let state = load(path, &file, &vault, &*tables, &writer.manifest)?;
    let (state, writer) = (RwLock::new(state), Mutex::new(writer));
    Ok(TableStore { path: path.to_owned(), file, engine, disk, free, vault, tables, state, writer })
}

/// Reads where the logs end, and checks that no less is there than when the vault was last closed.
fn load(
    path: &Path,
    file: &Path,
    vault: &VaultId,
    tables: &dyn Tables,
    manifest: &Manifest,
) -> Result<State, StoreError> {
    let loaded = tables.load().map_err(|error| failed(path, file, "read", error))?;
    let damage = |detail: String| StoreError::Corrupt { file: file.to_owned(), seq: None, detail };
    let Some(Loaded { sums: (sums, crc), logs: rows }) = loaded else {
        return Err(damage("the row with the sums is missing".into()));
    };
    if checksum(vault, Table::Sums, &[], &sums.encode()) != crc {
        return Err(damage("the row with the sums does not match its checksum".into()));
    }
    let mut logs = Vec::with_capacity(rows.len());
    for (expected, (row, crc)) in (0..).zip(&rows) {
        logs.push(log(vault, expected, row, *crc).map_err(damage)?);
    }
    let events: u64 = logs.iter().map(|log| log.tree.size()).sum();
    if events != sums.events {
        return Err(damage(format!("the logs have {events} events, the sums say {}", sums.events)));
    }
    for named in &manifest.logs {
        let found = logs.iter().find(|log| log.id.as_str() == named.name);
        let have = found.map_or(0, |log| log.tree.size());
        let same_root = found.is_none_or(|log| log.tree.root().to_string() == named.root);
        if have < named.events || (have == named.events && !same_root) {
            let (name, events) = (&named.name, named.events);
            return Err(damage(format!(
                "log '{name}' had {events} events and the root {} when the vault was closed; now it has {have}{}",
                named.root,
                if have == events { " and another root" } else { "" }
            )));
        }
    }
    Ok(State { logs, sums, dimension: manifest.dimension })
}

fn log(vault: &VaultId, expected: u16, row: &LogRow, crc: u32) -> Result<crate::journal::state::Log, String> {
    if row.number != expected {
        return Err(format!("log {expected} has no row"));
    }
    if checksum(vault, Table::Logs, &row.number.to_be_bytes(), &row.encode()) != crc {
        return Err(format!("the row of log {expected} does not match its checksum"));
    }
    row.log().ok_or_else(|| format!("the row of log {expected} contradicts itself"))
}

fn open_tables(
    path: &Path,
    engine: Engine,
    access: Access,
) -> Result<(Box<dyn Tables>, PathBuf), StoreError> {
    let directory = path.join(engine.name());
    let (opened, file): (Result<Box<dyn Tables>, TableError>, PathBuf) = match engine {
        #[cfg(feature = "sqlite")]
        Engine::Sqlite => {
            let file = directory.join(super::sqlite::FILE);
            (super::sqlite::Sqlite::open(&file, access).map(|tables| Box::new(tables) as _), file)
        }
        #[cfg(feature = "sled")]
        Engine::Sled => {
            (super::sled::open(&directory, access).map(|tables| Box::new(tables) as _), directory)
        }
        #[cfg(feature = "rocksdb")]
        Engine::RocksDb => {
            (super::rocksdb::open(&directory, access).map(|tables| Box::new(tables) as _), directory)
        }
        other => return Err(other.not_built(path)),
    };
    match opened {
        Ok(tables) => Ok((tables, file)),
        Err(error) => Err(failed(path, &file, "open", error)),
    }
}

fn vault_id(path: &Path, manifest: &Manifest) -> Result<VaultId, StoreError> {
    manifest.vault_id().ok_or_else(|| StoreError::Corrupt {
        file: Manifest::path(path),
        seq: None,
        detail: "the vault's id is malformed".into(),
    })
}

fn io(what: &'static str, path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Io { what, path: path.to_owned(), detail: error.to_string() }
}
