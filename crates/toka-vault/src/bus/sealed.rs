//! A sealed vault used alone: opened with its key, erased and rotated.

use std::path::Path;
use std::sync::Arc;

use toka_types::facts::SubjectErased;
use toka_types::facts::kinds::SUBJECT_ERASED;
use toka_types::{EventHeader, Kind, Seal, Subject};

use super::VaultBus;
use crate::core::{LogId, NewEvent, encode};
use crate::seal::{self, Key, Keyring};
use crate::store::StoreError;

impl VaultBus {
    /// Creates a sealed vault in the directory `path`: from its first event on, content is stored encrypted, and
    /// `key` opens it. A key file that does not exist is made.
    ///
    /// # Errors
    /// If there is a vault already, or the key cannot be one.
    pub fn create_sealed(path: impl AsRef<Path>, key: &Key) -> Result<Self, StoreError> {
        let (journal, keyring) = seal::create_vault(path.as_ref(), key)?;
        Self::sealed_over(journal, keyring)
    }

    /// Opens the sealed vault in the directory `path`.
    ///
    /// # Errors
    /// If there is none, or `key` does not open it; nothing is written then.
    pub fn open_sealed(path: impl AsRef<Path>, key: &Key) -> Result<Self, StoreError> {
        let (journal, _, keyring) = seal::open_vault(path.as_ref(), key)?;
        Self::sealed_over(journal, keyring)
    }

    /// Opens the sealed vault in the directory `path` for reading, beside a writer if there is one.
    ///
    /// # Errors
    /// As [`open_sealed`](Self::open_sealed).
    pub fn open_sealed_read_only(path: impl AsRef<Path>, key: &Key) -> Result<Self, StoreError> {
        let (journal, keyring) = seal::read_vault(path.as_ref(), key)?;
        let keyring = Arc::new(keyring);
        let seal: Arc<dyn Seal> = Arc::<Keyring>::clone(&keyring);
        Ok(Self { keyring: Some(keyring), ..Self::reading(Arc::new(journal), LogId::main(), Some(seal))? })
    }

    /// The keys of a sealed vault.
    pub fn keyring(&self) -> Option<&Arc<Keyring>> {
        self.keyring.as_ref()
    }

    /// Makes all content of `subject` unreadable for good: records that its keys are destroyed, then destroys them.
    /// Events, ids and proofs stand. Returns the event; `None` if the subject has no keys, so that there is nothing to
    /// erase.
    ///
    /// # Errors
    /// If the vault is not sealed, or the event or the keys cannot be written. Trying again does what is left.
    pub fn erase(&self, subject: &Subject) -> Result<Option<EventHeader>, StoreError> {
        let keyring = self.keyring.as_ref().ok_or(StoreError::Closed)?;
        let Some(key) = keyring.key_of(subject) else { return Ok(None) };
        let facts = encode(&SubjectErased { keys: vec![key] })?;
        let event = NewEvent::new(Kind::new(SUBJECT_ERASED)?).facts(facts.bytes().to_vec());
        let committed = self.blocking().commit_batch(vec![event])?;
        keyring.destroy(&[key])?;
        super::first_header(vec![committed]).map(Some)
    }

    /// Destroys again all keys that the log says were destroyed: after a copy of the keys was restored that is older
    /// than an erasure. How many came back and are gone now.
    ///
    /// # Errors
    /// If the log cannot be read, or the keys cannot be written.
    pub fn erase_again(&self) -> Result<usize, StoreError> {
        let Some(keyring) = &self.keyring else { return Ok(0) };
        Ok(keyring.destroy(&seal::erased_in(&self.store, &self.log)?)?)
    }

    fn sealed_over(journal: crate::journal::Journal, keyring: Keyring) -> Result<Self, StoreError> {
        let keyring = Arc::new(keyring);
        let seal: Arc<dyn Seal> = Arc::<Keyring>::clone(&keyring);
        let bus = Self::with_seal(Arc::new(journal), LogId::main(), Some(seal))?;
        Ok(Self { keyring: Some(keyring), ..bus })
    }
}
