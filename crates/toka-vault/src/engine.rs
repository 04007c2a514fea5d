//! Which store keeps a vault, and opening a vault whatever keeps it.

use std::any::Any;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::journal::disk::{Disk, RealDisk};
use crate::journal::manifest::Manifest;
use crate::journal::open::lock_path;
#[cfg(feature = "tables")]
use crate::journal::open::new_vault_id;
use crate::journal::segment::failed;
use crate::journal::{Journal, RecoveryReport};
use crate::store::{Store, StoreError};
use crate::verify::VerifyReport;

/// The stores that can keep a vault in a directory. The vault's manifest names its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Engine {
    /// The default: one journal of batch frames, with its own indexes.
    #[default]
    Journal,
    /// SQLite, with a write-ahead log that is synced with every batch (feature `sqlite`).
    Sqlite,
    /// sled 0.34 (feature `sled`). It lets nobody read beside a writer, and is not maintained any more.
    Sled,
    /// RocksDB, with a write-ahead log that is synced with every batch (feature `rocksdb`).
    RocksDb,
}

impl Engine {
    /// All of them, those that this build does not have among them.
    pub const ALL: [Self; 4] = [Self::Journal, Self::Sqlite, Self::Sled, Self::RocksDb];

    /// Its name: in a manifest, on the command line, and of the feature that brings it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Sqlite => "sqlite",
            Self::Sled => "sled",
            Self::RocksDb => "rocksdb",
        }
    }

    /// The engine of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|engine| engine.name() == name)
    }

    /// True if this build has it.
    pub fn is_built(self) -> bool {
        match self {
            Self::Journal => true,
            Self::Sqlite => cfg!(feature = "sqlite"),
            Self::Sled => cfg!(feature = "sled"),
            Self::RocksDb => cfg!(feature = "rocksdb"),
        }
    }

    /// The engine of the vault in the directory `path`; `None` if there is no vault.
    pub fn of(path: &Path) -> Result<Option<Self>, StoreError> {
        match Manifest::read_any(&RealDisk, path)? {
            Some(manifest) => known(path, &manifest).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn not_built(self, path: &Path) -> StoreError {
        let detail = format!("this build has no such store: build it with the feature `{}`", self.name());
        StoreError::Engine { path: path.to_owned(), engine: self.name().into(), detail }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Opens the vault in the directory `path` for writing with the store that its manifest names, or creates one with
/// the default store. Recovers what a writer that died left behind.
pub fn open(path: impl AsRef<Path>) -> Result<(Arc<dyn Store>, RecoveryReport), StoreError> {
    let path = path.as_ref();
    match keeper(path)? {
        None | Some(Engine::Journal) => journal(path),
        Some(engine) => tables::open(path, engine),
    }
}

/// Creates a vault in the directory `path` that `engine` keeps; one that is there already is opened for writing.
///
/// # Errors
/// [`StoreError::Engine`] if this build does not have the engine, or if another one keeps the vault that is there.
pub fn create(
    path: impl AsRef<Path>,
    engine: Engine,
) -> Result<(Arc<dyn Store>, RecoveryReport), StoreError> {
    let path = path.as_ref();
    match Engine::of(path)? {
        Some(found) if found != engine => {
            let detail = format!("and not by {engine}: `migrate` moves it to a new place");
            Err(StoreError::Engine { path: path.to_owned(), engine: found.name().into(), detail })
        }
        Some(_) => open(path),
        None if engine == Engine::Journal => journal(path),
        None => tables::create(path, engine),
    }
}

/// Opens the vault in the directory `path` for reading, beside a writer if there is one and its store allows that.
/// It sees what was durable at some moment; [`Store::refresh`] moves that moment on.
///
/// # Errors
/// [`StoreError::Exclusive`] if the vault's store lets nobody read beside the writer that there is.
pub fn open_read_only(path: impl AsRef<Path>) -> Result<Arc<dyn Store>, StoreError> {
    let path = path.as_ref();
    match keeper(path)? {
        None | Some(Engine::Journal) => Ok(Arc::new(Journal::open_read_only(path)?)),
        Some(engine) => tables::open_read_only(path, engine),
    }
}

/// The live process that writes to the vault in the directory `path`, if there is one.
pub fn writer_pid(path: impl AsRef<Path>) -> Option<u32> {
    Journal::writer_pid(path.as_ref())
}

/// Checks the vault in `path`, whatever keeps it.
pub(crate) fn verify(path: &Path) -> Result<VerifyReport, StoreError> {
    // A manifest that cannot be read does not say what keeps the vault: the files do.
    let engine = match keeper(path) {
        Err(StoreError::Damage { .. } | StoreError::Corrupt { .. } | StoreError::Format { .. }) => {
            Engine::ALL.into_iter().rev().find(|engine| path.join(engine.name()).is_dir())
        }
        found => found?,
    };
    match engine {
        None | Some(Engine::Journal) => crate::journal::verify::verify(path),
        Some(engine) => tables::verify(path, engine),
    }
}

/// Opens what is in `path` for whoever moves it elsewhere: for reading, and nobody may write to it meanwhile.
pub(crate) fn open_to_move(path: &Path) -> Result<(Arc<dyn Store>, Manifest, Lock), StoreError> {
    let manifest = match Manifest::read_any(&RealDisk, path)? {
        Some(manifest) => manifest,
        None => return Err(StoreError::NotFound { path: path.to_owned() }),
    };
    let engine = known(path, &manifest)?;
    let lock = lock(path)?;
    let store: Arc<dyn Store> = match engine {
        Engine::Journal => Arc::new(Journal::open_read_only(path)?),
        engine => tables::open_locked(path, engine, manifest.clone())?,
    };
    Ok((store, manifest, lock))
}

/// Makes an empty vault with this manifest, but for its engine, in `path`.
pub(crate) fn create_as(
    path: &Path,
    engine: Engine,
    manifest: Manifest,
) -> Result<Arc<dyn Store>, StoreError> {
    let manifest = manifest.emptied(engine.name());
    match engine {
        Engine::Journal => {
            let written = manifest.write(&RealDisk, path);
            written.map_err(|error| failed("write", &Manifest::path(path), &error))?;
            Ok(Arc::new(Journal::open(path)?.0))
        }
        engine => tables::create_as(path, engine, manifest),
    }
}

/// What keeps other writers away as long as it lives.
pub(crate) type Lock = Box<dyn Any + Send + Sync>;

/// Takes the writer's lock of a vault.
pub(crate) fn lock(path: &Path) -> Result<Lock, StoreError> {
    let file = lock_path(path);
    let lock = RealDisk.lock(&file).map_err(|error| failed("lock", &file, &error))?;
    lock.map_err(|pid| StoreError::Locked { path: path.to_owned(), pid })
}

/// The engine of the vault in `path`. Files of another engine than the journal without a manifest are damage: the
/// journal knows its own files without one, and would make a new vault beside those.
fn keeper(path: &Path) -> Result<Option<Engine>, StoreError> {
    let found = Engine::of(path)?;
    let others = || Engine::ALL.into_iter().filter(|engine| *engine != Engine::Journal);
    match (found, others().find(|engine| path.join(engine.name()).is_dir())) {
        (None, Some(engine)) => Err(StoreError::Corrupt {
            file: Manifest::path(path),
            seq: None,
            detail: format!("it is missing, and there are files of {engine}"),
        }),
        (found, _) => Ok(found),
    }
}

fn known(path: &Path, manifest: &Manifest) -> Result<Engine, StoreError> {
    Engine::named(&manifest.engine).ok_or_else(|| StoreError::Engine {
        path: path.to_owned(),
        engine: toka_types::path::for_terminal(&manifest.engine),
        detail: "which this version does not know: use the build that wrote it, or a newer one".into(),
    })
}

fn journal(path: &Path) -> Result<(Arc<dyn Store>, RecoveryReport), StoreError> {
    let (journal, report) = Journal::open(path)?;
    Ok((Arc::new(journal), report))
}

/// The vaults that a database keeps.
#[cfg(feature = "tables")]
mod tables {
    use super::*;
    use crate::tables::verify::unreadable;
    use crate::tables::{self, TableStore};
    use crate::verify::What;

    pub(super) fn open(path: &Path, engine: Engine) -> Result<(Arc<dyn Store>, RecoveryReport), StoreError> {
        let lock = lock(path)?;
        // It may be another vault than the one that was looked at without the lock.
        match Manifest::read_any(&RealDisk, path)? {
            Some(manifest) if known(path, &manifest)? == engine => {
                let store = tables::writer(Arc::new(RealDisk), path, engine, manifest, lock)?;
                Ok((Arc::new(store), RecoveryReport::default()))
            }
            _ => Err(StoreError::NotFound { path: path.to_owned() }),
        }
    }

    pub(super) fn create(
        path: &Path,
        engine: Engine,
    ) -> Result<(Arc<dyn Store>, RecoveryReport), StoreError> {
        if !engine.is_built() {
            return Err(engine.not_built(path));
        }
        RealDisk.create_directory(path).map_err(|error| failed("create", path, &error))?;
        let manifest = Manifest::new(new_vault_id(), None);
        let report = RecoveryReport { created: true, ..RecoveryReport::default() };
        Ok((super::create_as(path, engine, manifest)?, report))
    }

    pub(super) fn create_as(
        path: &Path,
        engine: Engine,
        manifest: Manifest,
    ) -> Result<Arc<dyn Store>, StoreError> {
        let lock = lock(path)?;
        if Manifest::read_any(&RealDisk, path)?.is_some() {
            // Somebody was faster.
            return Err(StoreError::Exists { path: path.to_owned() });
        }
        Ok(Arc::new(tables::create(Arc::new(RealDisk), path, engine, manifest, lock)?))
    }

    pub(super) fn open_read_only(path: &Path, engine: Engine) -> Result<Arc<dyn Store>, StoreError> {
        let lock = exclusive(path, engine)?;
        let Some(manifest) = Manifest::read_any(&RealDisk, path)? else {
            return Err(StoreError::NotFound { path: path.to_owned() });
        };
        Ok(Arc::new(reader(path, engine, manifest, lock)?))
    }

    pub(super) fn open_locked(
        path: &Path,
        engine: Engine,
        manifest: Manifest,
    ) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::new(reader(path, engine, manifest, None)?))
    }

    pub(super) fn verify(path: &Path, engine: Engine) -> Result<VerifyReport, StoreError> {
        let unreadable = |what, file, offset, detail| Ok(unreadable(what, file, offset, detail));
        let manifest = match Manifest::read_any(&RealDisk, path) {
            Ok(Some(manifest)) => manifest,
            Ok(None) => {
                let detail = format!("it is missing, and there are files of {engine}");
                return unreadable(What::Manifest, Manifest::path(path), Some(0), detail);
            }
            Err(StoreError::Damage { file, offset, detail, .. }) => {
                return unreadable(What::Manifest, file, Some(offset), detail);
            }
            Err(error) => return Err(error),
        };
        let live = super::writer_pid(path).is_some();
        let lock = exclusive(path, engine)?;
        match reader(path, engine, manifest, lock) {
            Ok(store) => tables::verify::verify(&store, live),
            Err(StoreError::Corrupt { file, detail, .. }) => unreadable(What::Database, file, None, detail),
            Err(error) => Err(error),
        }
    }

    /// sled keeps its files to itself even for reading: whoever reads is in a writer's place meanwhile.
    fn exclusive(path: &Path, engine: Engine) -> Result<Option<Lock>, StoreError> {
        if engine != Engine::Sled {
            return Ok(None);
        }
        lock(path).map(Some).map_err(|error| match error {
            StoreError::Locked { path, pid } => StoreError::Exclusive { path, engine, pid },
            other => other,
        })
    }

    fn reader(
        path: &Path,
        engine: Engine,
        manifest: Manifest,
        lock: Option<Lock>,
    ) -> Result<TableStore, StoreError> {
        tables::reader(Arc::new(RealDisk), path, engine, manifest, lock)
    }
}

/// The vaults that a database keeps, in a build without any.
#[cfg(not(feature = "tables"))]
mod tables {
    use super::*;

    pub(super) fn open(path: &Path, engine: Engine) -> Result<(Arc<dyn Store>, RecoveryReport), StoreError> {
        Err(engine.not_built(path))
    }

    pub(super) fn create(
        path: &Path,
        engine: Engine,
    ) -> Result<(Arc<dyn Store>, RecoveryReport), StoreError> {
        Err(engine.not_built(path))
    }

    pub(super) fn create_as(
        path: &Path,
        engine: Engine,
        _manifest: Manifest,
    ) -> Result<Arc<dyn Store>, StoreError> {
        Err(engine.not_built(path))
    }

    pub(super) fn open_read_only(path: &Path, engine: Engine) -> Result<Arc<dyn Store>, StoreError> {
        Err(engine.not_built(path))
    }

    pub(super) fn verify(path: &Path, engine: Engine) -> Result<VerifyReport, StoreError> {
        Err(engine.not_built(path))
    }

    pub(super) fn open_locked(
        path: &Path,
        engine: Engine,
        _manifest: Manifest,
    ) -> Result<Arc<dyn Store>, StoreError> {
        Err(engine.not_built(path))
    }
}
