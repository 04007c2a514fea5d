//! Content that nobody can read any more: its keys were destroyed.
//!
//! Which keys those are says the vault's file of keys, and under which keys content lies is the beginning of its bytes, so
//! that neither takes a key.

#[cfg(not(feature = "seal"))]
pub(crate) use without::{is_under, keys};

use std::collections::BTreeSet;

use toka_types::KeyId;

use super::Journal;
#[cfg(feature = "seal")]
use crate::seal::{KeysInfo, key_of};
#[cfg(feature = "seal")]
use crate::store::Store;
use crate::store::StoreError;

/// The keys of the vault that were destroyed. A file of keys that cannot be read, or is another vault's, names none.
#[cfg(feature = "seal")]
pub(crate) fn keys(journal: &Journal) -> Result<BTreeSet<KeyId>, StoreError> {
    let Some(keys) = journal.sealed()? else { return Ok(BTreeSet::new()) };
    match KeysInfo::read(&journal.path) {
        Ok(Some(KeysInfo { id, erased, .. })) if id == keys => Ok(erased),
        Ok(_) => Ok(BTreeSet::new()),
        Err(error) => {
            tracing::warn!(%error, "what was erased stays");
            Ok(BTreeSet::new())
        }
    }
}

/// True if the content was sealed under one of these keys.
#[cfg(feature = "seal")]
pub(crate) fn is_under(keys: &BTreeSet<KeyId>, stored: &[u8]) -> bool {
    !keys.is_empty() && key_of(stored).is_some_and(|key| keys.contains(&key))
}

/// A build that knows nothing of sealing lets nothing go.
#[cfg(not(feature = "seal"))]
mod without {
    use super::{BTreeSet, Journal, KeyId, StoreError};

    pub(crate) fn keys(_: &Journal) -> Result<BTreeSet<KeyId>, StoreError> {
        Ok(BTreeSet::new())
    }

    pub(crate) fn is_under(_: &BTreeSet<KeyId>, _: &[u8]) -> bool {
        false
    }
}
