//! The storage that every runtime offers: `local`, a folder of the agent's own, or memory without a vault.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use toka_toolkit_core::storage::check_key;
use toka_toolkit_core::{Driver, Storage, StorageError};
use toka_types::{Digest, EntityId, Payload, Seal, Subject};

/// A folder as storage: one file for each key. Written to a temporary name first, so that a reader never sees
/// a part.
pub(crate) struct Folder {
    /// What must be there already: if the vault has been moved away, nothing is made in its old place.
    vault: PathBuf,
    root: PathBuf,
    /// Tells files apart that are being written at the same time.
    writes: AtomicU64,
}

/// What an agent keeps may hold what it read: it is the owner's alone, as the log is.
const MODE: u32 = 0o600;

/// Ends the names of files that are being written; no key's file has such a name, since keys are escaped.
const PARTIAL: &str = ".~partial";

impl Folder {
    /// Storage in a folder beneath the vault's directory.
    pub(crate) fn new(vault: PathBuf, below: &Path) -> Self {
        let root = vault.join(below);
        Self { vault, root, writes: AtomicU64::new(0) }
    }

    fn create(&self, folder: &Path) -> io::Result<()> {
        let mut path = self.vault.clone();
        for component in folder.strip_prefix(&self.vault).unwrap_or(folder) {
            path.push(component);
            match fs::create_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&self, key: &str) -> Result<PathBuf, StorageError> {
        check_key(key)?;
        if key.ends_with(PARTIAL) {
            let reason = "a name that ends in '.~partial' is used while a file is being written";
            return Err(StorageError::Key { key: key.chars().take(80).collect(), reason });
        }
        Ok(self.root.join(key))
    }

    fn collect(&self, folder: &Path, prefix: &str, keys: &mut Vec<String>) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                self.collect(&path, prefix, keys)?;
            } else if let Some(key) = path.strip_prefix(&self.root).ok().and_then(Path::to_str)
                && key.starts_with(prefix)
                && !key.ends_with(PARTIAL)
            {
                keys.push(key.to_owned());
            }
        }
        Ok(())
    }
}

fn failed(what: &str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    move |error| StorageError::Failed(format!("cannot {what} {}: {error}", path.display()))
}

impl Storage for Folder {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let path = self.file(key)?;
        let folder = path.parent().unwrap_or(&self.root);
        self.create(folder).map_err(failed("create", folder))?;
        let write = self.writes.fetch_add(1, Ordering::Relaxed);
        // Its name does not grow with the key's: that may be as long as names get.
        let partial = folder.join(format!("{}-{write}{PARTIAL}", std::process::id()));
        let mut options = fs::OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(MODE);
        let written = options
            .open(&partial)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&partial, &path))
            .and_then(|()| fs::File::open(folder)?.sync_all());
        if written.is_err() {
            // What there was before is still there; what was written of the new takes no room.
            let _ = fs::remove_file(&partial);
        }
        written.map_err(failed("write", &path))
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let path = self.file(key)?;
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
                ) =>
            {
                Ok(None)
            }
            Err(e) => Err(failed("read", &path)(e)),
        }
    }

    fn delete(&self, key: &str) -> Result<bool, StorageError> {
        let path = self.file(key)?;
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(failed("remove", &path)(e)),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let mut keys = Vec::new();
        self.collect(&self.root, prefix, &mut keys).map_err(failed("list", &self.root))?;
        keys.sort();
        Ok(keys)
    }
}

/// A folder of a sealed vault: neither the bytes nor the keys under which they are kept can be read without the
/// vault's key. They are the agent's own content, and go when its keys are destroyed.
pub(crate) struct SealedFolder {
    folder: Folder,
    seal: Arc<dyn Seal>,
    agent: EntityId,
}

impl SealedFolder {
    pub(crate) fn new(folder: Folder, seal: Arc<dyn Seal>, agent: EntityId) -> Self {
        Self { folder, seal, agent }
    }

    /// The name of the file for `key`.
    fn name(&self, key: &str) -> Result<String, StorageError> {
        check_key(key)?;
        let name = self.seal.blind(&Subject::Author(self.agent), &Digest::of(key.as_bytes()));
        Ok(name.map_err(|error| StorageError::Failed(error.to_string()))?.to_string())
    }

    /// Key and bytes of a file; `None` if it cannot be opened, as after its keys were destroyed.
    fn opened(&self, stored: Vec<u8>) -> Option<(String, Vec<u8>)> {
        let opened = self.seal.open(&Payload::new(stored)).ok()?;
        let (length, rest) = opened.bytes().split_at_checked(4)?;
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        let (key, bytes) = rest.split_at_checked(length)?;
        Some((std::str::from_utf8(key).ok()?.to_owned(), bytes.to_vec()))
    }
}

impl Storage for SealedFolder {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let name = self.name(key)?;
        let said = [&(key.len() as u32).to_le_bytes()[..], key.as_bytes(), bytes].concat();
        let sealed = self.seal.seal(&Subject::Author(self.agent), &Payload::new(said));
        self.folder.put(&name, sealed.map_err(|error| StorageError::Failed(error.to_string()))?.bytes())
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let stored = self.folder.get(&self.name(key)?)?;
        let opened = stored.and_then(|stored| self.opened(stored));
        Ok(opened.filter(|(kept, _)| kept == key).map(|(_, bytes)| bytes))
    }

    /// What the file held is overwritten: its key may live on.
    fn delete(&self, key: &str) -> Result<bool, StorageError> {
        let name = self.name(key)?;
        let path = self.folder.file(&name)?;
        if let Ok(file) = fs::OpenOptions::new().write(true).open(&path) {
            let zeros = file.metadata().map(|file| vec![0; file.len() as usize]);
            let overwritten =
                zeros.and_then(|zeros| (&file).write_all(&zeros)).and_then(|()| file.sync_all());
            overwritten.map_err(failed("overwrite", &path))?;
        }
        self.folder.delete(&name)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let mut keys = Vec::new();
        for name in self.folder.list("")? {
            let opened = self.folder.get(&name)?.and_then(|stored| self.opened(stored));
            keys.extend(opened.map(|(key, _)| key).filter(|key| key.starts_with(prefix)));
        }
        keys.sort();
        Ok(keys)
    }
}

/// Storage in memory, for a runtime without a vault: it ends with the process.
#[derive(Default)]
pub(crate) struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);

impl Storage for Memory {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        check_key(key)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        check_key(key)?;
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn delete(&self, key: &str) -> Result<bool, StorageError> {
        check_key(key)?;
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key).is_some())
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(map.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }
}

/// A storage under a name.
pub(crate) struct Named {
    pub(crate) name: &'static str,
    pub(crate) storage: Arc<dyn Storage>,
}

impl Driver for Named {
    fn name(&self) -> &str {
        self.name
    }

    fn storage(&self) -> Result<Arc<dyn Storage>, StorageError> {
        Ok(Arc::clone(&self.storage))
    }
}
