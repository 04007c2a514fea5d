//! What a tool gets beside its input.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use toka_types::{Digest, Name, Timestamp};

use crate::labelled::{Labelled, Sources};
use crate::storage::{DriverRegistry, Storage, StorageError};

/// The circumstances of one call. A clone is about the same call.
#[derive(Clone)]
pub struct CallContext {
    /// Who calls.
    pub agent: Name,
    /// The idempotency key: the same for every attempt at one request, and different between requests.
    pub key: Digest,
    /// When the call was requested. Tools take the time from here, so that a repeated attempt sees the same.
    pub now: Timestamp,
    /// Set when nobody waits for the outcome any more.
    pub cancel: Cancel,
    root: Option<Arc<Path>>,
    drivers: DriverRegistry,
    sources: Option<Arc<dyn Sources>>,
}

/// A flag by which a caller tells a tool to stop. A clone is the same flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl CallContext {
    /// The context of a call by `agent` under the idempotency key `key`, with no folder and no storage.
    pub fn new(agent: Name, key: Digest, now: Timestamp) -> Self {
        let (cancel, drivers) = (Cancel::default(), DriverRegistry::new());
        Self { agent, key, now, cancel, root: None, drivers, sources: None }
    }

    /// Grants the folder beneath which the tool's relative paths lie.
    #[must_use]
    pub fn with_root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into().into());
        self
    }

    /// Offers the storage of `drivers`.
    #[must_use]
    pub fn with_drivers(mut self, drivers: DriverRegistry) -> Self {
        self.drivers = drivers;
        self
    }

    /// Keeps what the tool stores with the labels of what it is made from.
    #[must_use]
    pub fn with_sources(mut self, sources: Arc<dyn Sources>) -> Self {
        self.sources = Some(sources);
        self
    }

    /// Lets `cancel` stop the call.
    #[must_use]
    pub fn with_cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// The folder beneath which the tool's relative paths lie, if one was granted.
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// The storage called `name`.
    ///
    /// # Errors
    /// [`StorageError::Unknown`] if there is none, or what its driver says.
    pub fn storage(&self, name: &str) -> Result<Arc<dyn Storage>, StorageError> {
        let storage = self.drivers.storage(name)?;
        Ok(match &self.sources {
            Some(sources) => Arc::new(Labelled::new(storage, Arc::clone(sources))),
            None => storage,
        })
    }
}

impl Cancel {
    /// Tells the tool to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True once [`cancel`](Self::cancel) was called. Tools that work for long ask from time to time.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
