//! Taking the events of a bundle over into a store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Bundle;
use crate::proof::{ProofError, root_at};
use crate::store::{Room, Store, StoreError};
use crate::writer::LogWriter;

/// Events appended at once.
const BATCH: usize = 512;

/// What was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// How many events the log had.
    pub before: u64,
    /// How many were added.
    pub added: u64,
    /// How many contents of those are not there: they are not in the bundle, and the store did not have them.
    pub gone: u64,
}

/// Appends to its log in `store` the events of `bundle` that are not there yet. What is there must be what the bundle
/// continues: the roots of the log tree are compared at the place up to which both know it. Content that is not in the
/// bundle is [gone](Store::gone) from the store for the reason that the bundle gives, unless the store has it. Importing
/// a bundle that has it later brings nothing back: events that are there are not stored again.
///
/// # Errors
/// [`ProofError::Short`] if events before the bundle's first one are missing, [`ProofError::Root`] if the log is another
/// one, [`ProofError::Store`] if something cannot be stored: [`StoreError::OtherSealing`] if the bundle's content is sealed and
/// the store's is not, or the other way round, or under other keys; [`StoreError::MissingContent`] if content is not in the bundle
/// and the store keeps no words of what is gone.
pub fn import(bundle: &Bundle, store: Arc<dyn Store>) -> Result<Imported, ProofError> {
    if let (path, found, given) = (bundle.path(), bundle.sealed()?, store.sealed()?)
        && found != given
    {
        return Err(StoreError::OtherSealing { path: path.to_owned(), found, given }.into());
    }
    let (from, end, log) = (bundle.description().from, bundle.description().end, bundle.log().clone());
    let before = store.head(&log)?.next_seq;
    if before < from {
        return Err(ProofError::Short { log, size: from, found: before });
    }
    let common = before.min(end);
    let (expected, found) = (root_at(bundle, &log, common)?, root_at(&*store, &log, common)?);
    if expected != found {
        return Err(ProofError::Root { expected, found });
    }
    if let (Some(dimension), None) = (bundle.dimension()?, store.dimension()?) {
        store.fix_dimension(dimension)?;
    }
    let mut writer = LogWriter::open(store, log.clone())?;
    let (mut next, mut gone) = (common, HashSet::new());
    while next < end {
        let records = bundle.read(&log, next, BATCH)?;
        let named = records.iter().flat_map(|record| &record.header.content);
        let mut reasons = HashMap::new();
        for digest in named.map(|content| content.digest) {
            if let Some(reason) = bundle.gone(&digest)? {
                reasons.insert(digest, reason);
            }
        }
        writer.append_gone(&records, &reasons, Room::Ordinary)?;
        for digest in reasons.into_keys() {
            if writer.store().gone(&digest)?.is_some() {
                gone.insert(digest);
            }
        }
        next += records.len() as u64;
    }
    Ok(Imported { before, added: end - common, gone: gone.len() as u64 })
}
