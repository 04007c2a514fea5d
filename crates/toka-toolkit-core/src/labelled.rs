//! Storage that does not wash labels off: what is kept from labelled data is handed out with the events it came from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use toka_types::operation::Cause;
use toka_types::{Digest, EventId, Labels};

use crate::storage::{Storage, StorageError, check_key};

/// Where the storage keeps what it knows of labels, beside what it keeps for others. Nobody else uses such keys.
const KEPT: &str = ".labels";
/// What was ever kept there from labelled data: names of keys are data too.
const ALL: &str = ".labels/all";

static KEEPING: Mutex<()> = Mutex::new(());

/// What one context knows of where its data came from.
pub trait Sources: Send + Sync {
    /// The events that whatever is kept now is made from.
    fn causes(&self) -> Vec<Cause>;
    /// What is made from now on may be made from these too.
    fn learn(&self, causes: Vec<Cause>);
}

/// A storage as one context sees it.
pub struct Labelled {
    inner: Arc<dyn Storage>,
    sources: Arc<dyn Sources>,
}

impl Labelled {
    /// Keeps in `inner` what is made from what `sources` name, and tells them of what is handed out.
    pub fn new(inner: Arc<dyn Storage>, sources: Arc<dyn Sources>) -> Self {
        Self { inner, sources }
    }

    fn known(&self, at: &str) -> Result<BTreeMap<EventId, Labels>, StorageError> {
        let Some(bytes) = self.inner.get(at)? else { return Ok(BTreeMap::new()) };
        // An error while looking is none that lets labels go.
        let damaged =
            |error: serde_json::Error| StorageError::Failed(format!("the labels kept at '{at}': {error}"));
        serde_json::from_slice(&bytes).map_err(damaged)
    }

    fn add(&self, at: &str, causes: &[Cause]) -> Result<(), StorageError> {
        let failed = |error: &dyn std::fmt::Display| StorageError::Failed(error.to_string());
        // Several contexts may keep something at the same time, and none may forget what another one adds.
        let _keeping = KEEPING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = self.known(at)?;
        let mut changed = false;
        for cause in causes {
            // Events that bring no label of their own tell nothing more.
            let told =
                |label| known.values().any(|labels: &Labels| labels.iter().any(|known| known == label));
            if !cause.labels.iter().all(told) {
                let labels = known.entry(cause.id).or_default();
                *labels = labels.join(&cause.labels).map_err(|error| failed(&error))?;
                changed = true;
            }
        }
        if !changed {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&known).map_err(|error| failed(&error))?;
        self.inner.put_because(at, &bytes, causes)
    }

    fn learn(&self, at: &str) -> Result<(), StorageError> {
        let known = self.known(at)?;
        if !known.is_empty() {
            self.sources.learn(known.into_iter().map(|(id, labels)| Cause { id, labels }).collect());
        }
        Ok(())
    }
}

/// Where the labels of `key` are kept.
fn of(key: &str) -> String {
    format!("{KEPT}/{}", Digest::of(key.as_bytes()))
}

fn is_kept(key: &str) -> bool {
    key.strip_prefix(KEPT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn check(key: &str) -> Result<(), StorageError> {
    check_key(key)?;
    match is_kept(key) {
        true => {
            let reason = "what begins with '.labels' is kept by the storage itself";
            Err(StorageError::Key { key: key.chars().take(80).collect(), reason })
        }
        false => Ok(()),
    }
}

impl Storage for Labelled {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        check(key)?;
        let causes = self.sources.causes();
        let labelled: Vec<Cause> = causes.iter().filter(|cause| !cause.labels.is_empty()).cloned().collect();
        if labelled.is_empty() {
            self.inner.put_because(key, bytes, &causes)?;
            if self.inner.get(ALL)?.is_some() {
                self.inner.delete(&of(key))?;
            }
            return Ok(());
        }
        // Labels first: whoever reads in between gets one label too many and never one too few.
        self.add(ALL, &labelled)?;
        self.add(&of(key), &labelled)?;
        self.inner.put_because(key, bytes, &causes)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        check(key)?;
        let found = self.inner.get(key)?;
        // That nothing is there says something too.
        match &found {
            Some(_) => self.learn(&of(key))?,
            None => self.learn(ALL)?,
        }
        Ok(found)
    }

    fn delete(&self, key: &str) -> Result<bool, StorageError> {
        check(key)?;
        let deleted = self.inner.delete(key)?;
        self.learn(ALL)?;
        Ok(deleted)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let mut keys = self.inner.list(prefix)?;
        keys.retain(|key| !is_kept(key));
        self.learn(ALL)?;
        Ok(keys)
    }
}
