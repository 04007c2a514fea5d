//! Sealed vaults in directories: created, opened, and looked at without a key.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use toka_bus::Filter;
use toka_types::facts::SubjectErased;
use toka_types::facts::kinds::SUBJECT_ERASED;
use toka_types::{Digest, EventHeader, Gone, KeyId, Payload, Seal, SealError, Subject};

use super::crypto::SealedHead;
use super::file::KeysInfo;
use super::source::Key;
use super::{Keyring, SealingError, keys_path};
use crate::core::LogId;
use crate::journal::{Journal, RecoveryReport};
use crate::scan::scan;
use crate::store::{Store, StoreError};

/// Creates a sealed vault in the directory `path`, with its keys.
///
/// # Errors
/// If there is a vault already, or the key cannot be one.
pub fn create_vault(path: &Path, key: &Key) -> Result<(Journal, Keyring), StoreError> {
    match Journal::open_read_only(path) {
        Err(StoreError::NotFound { .. }) => {}
        Ok(journal) if journal.sealed()?.is_some() => {
            return Err(SealingError::Exists { path: keys_path(path) }.into());
        }
        Ok(_) => return Err(SealingError::VaultExists { vault: path.to_owned() }.into()),
        Err(error) => return Err(error),
    }
    let was_there = path.exists();
    let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
    created.map_err(|error| SealingError::io("create", path, &error))?;
    // Keys without a vault are what is left where the machine died between the two.
    let keyring = match KeysInfo::read(path)? {
        Some(_) => Keyring::open(path, key),
        None => Keyring::create(path, key),
    };
    let keyring = keyring.inspect_err(|_| {
        if !was_there {
            // What cannot be sealed leaves nothing behind; a directory that is not empty stays.
            let _ = std::fs::remove_dir(path);
        }
    })?;
    let (journal, _) = Journal::open_sealed(path, keyring.id())?;
    Ok((journal, keyring))
}

/// Opens the sealed vault in the directory `path` for writing. The key is tried first, so that a wrong one changes
/// nothing.
///
/// # Errors
/// If there is none, it is not sealed, or `key` does not open it.
pub fn open_vault(path: &Path, key: &Key) -> Result<(Journal, RecoveryReport, Keyring), StoreError> {
    let keyring = Keyring::open(path, key).map_err(|error| not_sealed(path, error))?;
    let (journal, report) = Journal::open_sealed(path, keyring.id())?;
    Ok((journal, report, keyring))
}

/// Opens the sealed vault in the directory `path` for reading.
///
/// # Errors
/// As [`open_vault`].
pub fn read_vault(path: &Path, key: &Key) -> Result<(Journal, Keyring), StoreError> {
    let journal = Journal::open_read_only(path)?;
    let Some(wanted) = journal.sealed()? else {
        return Err(SealingError::NotSealed { vault: path.to_owned() }.into());
    };
    let keyring = Keyring::open_read_only(path, key)?;
    let found = keyring.id();
    if found != wanted {
        return Err(SealingError::OtherVault { path: keys_path(path), found, wanted }.into());
    }
    Ok((journal, keyring))
}

/// Where keys are missing because there is no sealed vault, that is what is said.
fn not_sealed(path: &Path, error: SealingError) -> StoreError {
    if !matches!(error, SealingError::Missing { .. }) {
        return error.into();
    }
    match Journal::open_read_only(path).and_then(|journal| journal.sealed()) {
        Ok(None) => SealingError::NotSealed { vault: path.to_owned() }.into(),
        Ok(Some(_)) => error.into(),
        Err(other) => other,
    }
}

/// The keys that `header` says were destroyed; none if it is no such event.
pub fn erased_by(header: &EventHeader) -> Vec<KeyId> {
    if header.kind != SUBJECT_ERASED {
        return Vec::new();
    }
    rmp_serde::from_slice::<SubjectErased>(&header.facts).map(|facts| facts.keys).unwrap_or_default()
}

/// All keys that `log` says were destroyed. One that a keyring still holds came back with an older copy of the keys.
///
/// # Errors
/// If the log cannot be read.
pub fn erased_in(store: &Arc<dyn Store>, log: &LogId) -> Result<Vec<KeyId>, StoreError> {
    let mut keys = Vec::new();
    for record in scan(Arc::clone(store), log.clone(), 0, Filter::all().kind(SUBJECT_ERASED)) {
        keys.extend(erased_by(&record?.header));
    }
    Ok(keys)
}

/// A sealed vault without its key: nothing can be opened, and what was erased is told apart from what is sealed.
#[derive(Clone, Debug, Default)]
pub struct Locked {
    erased: BTreeSet<KeyId>,
}

impl Locked {
    /// Looks at the keys file of the vault in the directory `vault`. That it is not there is no error here.
    ///
    /// # Errors
    /// If it is damaged or cannot be read.
    pub fn look(vault: &Path) -> Result<Self, SealingError> {
        Ok(Self { erased: KeysInfo::read(vault)?.map(|info| info.erased).unwrap_or_default() })
    }
}

fn no_key() -> SealError {
    SealError("the vault was opened without its key".into())
}

impl Seal for Locked {
    fn seal(&self, _: &Subject, _: &Payload) -> Result<Payload, SealError> {
        Err(no_key())
    }

    fn open(&self, stored: &Payload) -> Result<Payload, Gone> {
        if stored.is_open() {
            return Ok(stored.clone());
        }
        let head = SealedHead::read(stored.bytes());
        Err(match head.filter(|head| self.erased.contains(&head.key)) {
            Some(_) => Gone::Erased,
            None => Gone::Sealed,
        })
    }

    fn blind(&self, _: &Subject, _: &Digest) -> Result<Digest, SealError> {
        Err(no_key())
    }

    fn is_stored_as(&self, _: &Subject, _: &Payload, _: &Digest) -> bool {
        false
    }

    fn overhead(&self) -> usize {
        super::OVERHEAD
    }
}
