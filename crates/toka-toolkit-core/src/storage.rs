//! Where agents and tools keep what they make, by name and without knowing the back end.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use thiserror::Error;
use toka_types::operation::Cause;
use toka_types::path::for_terminal;

/// Longest storage key, in bytes.
pub const MAX_KEY: usize = 512;

/// A place for named bytes.
///
/// Methods block; whoever calls from a task of an async runtime and expects more than a local disk moves the
/// call to a thread for blocking work.
///
/// # Contract
/// - When [`put`](Self::put) returns, a later [`get`](Self::get) through any handle gives these bytes, also
///   after a restart, and never a part of them.
/// - Every method refuses keys that [`check_key`] refuses.
/// - [`list`](Self::list) gives each key once, sorted by bytes.
pub trait Storage: Send + Sync {
    /// Keeps `bytes` under `key`, in place of what was there.
    ///
    /// # Errors
    /// [`StorageError`]; what was there before is then still there.
    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError>;

    /// [`put`](Self::put) of something that is made from these events. A storage that records what it keeps names them.
    ///
    /// # Errors
    /// As of `put`.
    fn put_because(&self, key: &str, bytes: &[u8], causes: &[Cause]) -> Result<(), StorageError> {
        let _ = causes;
        self.put(key, bytes)
    }

    /// The bytes under `key`, or `None` if there are none.
    ///
    /// # Errors
    /// [`StorageError`].
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError>;

    /// Removes what is under `key`; false if nothing was.
    ///
    /// # Errors
    /// [`StorageError`].
    fn delete(&self, key: &str) -> Result<bool, StorageError>;

    /// The keys that start with `prefix`.
    ///
    /// # Errors
    /// [`StorageError`].
    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError>;
}

/// A back end: registered under a name, it answers `storage(NAME)`.
pub trait Driver: Send + Sync {
    /// The name; it does not change.
    fn name(&self) -> &str;

    /// The storage behind the driver.
    ///
    /// # Errors
    /// [`StorageError`] if the back end cannot be reached now.
    fn storage(&self) -> Result<Arc<dyn Storage>, StorageError>;
}

/// What goes wrong with storage.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StorageError {
    /// No driver has this name.
    #[error("no storage is called '{name}'; there are: {known}")]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The names that exist, separated by commas.
        known: String,
    },
    /// A driver of this name is registered already.
    #[error("a driver called '{0}' is registered already; remove it first")]
    Duplicate(String),
    /// The key cannot be used.
    #[error("'{key}' is no storage key: {reason}")]
    Key {
        /// The first characters of the key.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The back end failed.
    #[error("storage failed: {0}")]
    Failed(String),
}

impl StorageError {
    /// A stable code: `storage-unknown`, `storage-duplicate`, `storage-key` or `storage-failed`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "storage-unknown",
            Self::Duplicate(_) => "storage-duplicate",
            Self::Key { .. } => "storage-key",
            Self::Failed(_) => "storage-failed",
        }
    }
}

/// Checks a storage key: 1 to [`MAX_KEY`] bytes, `/` between components, no component that is empty, `.` or
/// `..`, no control character, so that a folder can keep one file for each.
///
/// # Errors
/// [`StorageError::Key`].
pub fn check_key(key: &str) -> Result<(), StorageError> {
    let reason = if key.is_empty() || key.len() > MAX_KEY {
        "1 to 512 bytes are allowed"
    } else if key.chars().any(char::is_control) {
        "control characters are not allowed"
    } else if key.split('/').any(|c| matches!(c, "" | "." | "..")) {
        "an empty component, '.' and '..' are not allowed"
    } else if key.split('/').any(|c| c.len() > 255) {
        "at most 255 bytes are allowed between slashes"
    } else {
        return Ok(());
    };
    Err(StorageError::Key { key: shown(key), reason })
}

/// The first characters of `text`, as a terminal may show them.
fn shown(text: &str) -> String {
    for_terminal(&text.chars().take(80).collect::<String>())
}

/// Drivers by name. A clone is a handle to the same drivers.
#[derive(Clone, Default)]
pub struct DriverRegistry {
    drivers: Arc<RwLock<BTreeMap<String, Arc<dyn Driver>>>>,
}

impl DriverRegistry {
    /// A registry without drivers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers `driver` under its name.
    ///
    /// # Errors
    /// [`StorageError::Duplicate`].
    pub fn register(&self, driver: Arc<dyn Driver>) -> Result<(), StorageError> {
        let mut drivers = self.drivers.write().unwrap_or_else(PoisonError::into_inner);
        let name = driver.name().to_owned();
        if drivers.contains_key(&name) {
            return Err(StorageError::Duplicate(name));
        }
        drivers.insert(name, driver);
        Ok(())
    }

    /// Removes the driver `name`; false if there was none. Storage that was handed out goes on working.
    pub fn remove(&self, name: &str) -> bool {
        self.drivers.write().unwrap_or_else(PoisonError::into_inner).remove(name).is_some()
    }

    /// The storage of the driver `name`.
    ///
    /// # Errors
    /// [`StorageError::Unknown`], or what the driver says.
    pub fn storage(&self, name: &str) -> Result<Arc<dyn Storage>, StorageError> {
        let driver = self.drivers.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        match driver {
            Some(driver) => driver.storage(),
            None => {
                let known = self.names().join(", ");
                let known = if known.is_empty() { "none".to_owned() } else { known };
                Err(StorageError::Unknown { name: shown(name), known })
            }
        }
    }

    /// The names of all drivers, sorted.
    pub fn names(&self) -> Vec<String> {
        self.drivers.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}
