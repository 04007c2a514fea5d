//! Granted folders, held open between calls.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::beneath::Root;
use crate::error::FsError;
use crate::protected::Protected;

/// Most folders held open: more than the agents of one machine are granted, and few file descriptors.
const HELD: usize = 16;

/// Opening a root and finding out where it lies costs more than reading a small file; so the last ones stay
/// open. Each call asks whether the same folder still stands at the path.
#[derive(Debug)]
pub(crate) struct Roots {
    protected: Protected,
    /// The last one used is the last.
    held: Mutex<Vec<(PathBuf, Arc<Root>)>>,
}

impl Roots {
    pub(crate) fn new(protected: Protected) -> Self {
        Self { protected, held: Mutex::new(Vec::new()) }
    }

    pub(crate) fn open(&self, path: &Path) -> Result<Arc<Root>, FsError> {
        let known = {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.iter().find(|(p, _)| p == path).map(|(_, root)| Arc::clone(root))
        };
        // Not under the lock: a disk may take its time to answer.
        let root = match known.filter(|root| root.is_at(path)) {
            Some(root) => root,
            None => Arc::new(Root::open(path, &self.protected)?),
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|(p, _)| p != path);
        if held.len() >= HELD {
            held.remove(0);
        }
        held.push((path.to_owned(), Arc::clone(&root)));
        Ok(root)
    }
}
