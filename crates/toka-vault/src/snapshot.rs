//! Snapshots: the state of a program that folds a log, kept so that it need not fold the whole log again.
//!
//! A snapshot is a projection. It names the log, the number up to which it was folded, the event before that and the
//! root of the log tree there; if any of that is not what the log says, or a byte of it is not what was written, it is
//! refused and the state is folded anew. With a [key](Snapshots::keyed) it is refused as well unless whoever wrote it
//! had the same key: whoever can write to the directory of a vault cannot make a state up.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use toka_vault::snapshot::{Fold, Snapshots};
//! use toka_vault::{EventHeader, LogId, VaultBus};
//!
//! /// How many events there are of which kind.
//! #[derive(Default, Serialize, Deserialize, Debug, PartialEq)]
//! struct Kinds(std::collections::BTreeMap<String, u64>);
//!
//! impl Fold for Kinds {
//!     const NAME: &'static str = "kinds";
//!     const VERSION: u32 = 1;
//!     type Error = std::convert::Infallible;
//!     fn apply(&mut self, header: &EventHeader) -> Result<(), Self::Error> {
//!         *self.0.entry(header.kind.to_string()).or_default() += 1;
//!         Ok(())
//!     }
//! }
//!
//! let (vault, directory) = (VaultBus::in_memory(), tempfile::tempdir()?);
//! let snapshots = Snapshots::new(directory.path());
//! vault.blocking().commit("a", &[], "note.taken", ())?;
//! let folded = snapshots.resume::<Kinds>(&**vault.store(), &LogId::main())?;
//! snapshots.save(&**vault.store(), &LogId::main(), folded.next_seq, &folded.state)?;
//!
//! vault.blocking().commit("b", &[], "note.taken", ())?;
//! let folded = snapshots.resume::<Kinds>(&**vault.store(), &LogId::main())?;
//! assert_eq!((folded.from, folded.next_seq, folded.state.0["note.taken"]), (1, 2, 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toka_types::{EventHeader, EventId};

use crate::core::LogId;
use crate::hash::{LogTree, TreeHash, leaf_hash};
use crate::store::{Store, StoreError};

const MAGIC: &[u8; 8] = b"TOKASNP\n";
const FORMAT: u32 = 1;
/// Magic, format, and 32 bytes at the end.
const FIXED: usize = 8 + 4;
const CHECKSUM: usize = 32;
/// Largest file that is read: more is damage, not a reason to allocate.
const MAX_BYTES: u64 = 1 << 30;
/// Headers folded at once.
const HEADERS: usize = 4096;

/// A state that follows from the headers of a log, one after the other.
///
/// # Contract
/// The same headers give the same state. A change of what `apply` does, or of how the state is written, comes with
/// another [`VERSION`](Fold::VERSION).
pub trait Fold: Default + Serialize + DeserializeOwned {
    /// Its name, which names its file: letters, digits, `-`.
    const NAME: &'static str;
    /// The version of its rules and of its bytes.
    const VERSION: u32;
    /// Why a header cannot be folded.
    type Error: std::error::Error;

    /// Takes in the next event.
    fn apply(&mut self, header: &EventHeader) -> Result<(), Self::Error>;
}

/// Where snapshots are kept, and with which key.
#[derive(Clone)]
pub struct Snapshots {
    directory: PathBuf,
    key: Option<[u8; 32]>,
}

/// A state at the end of a log.
#[derive(Clone, Debug)]
pub struct Resumed<F> {
    /// The state.
    pub state: F,
    /// The number of the first event that is not in it.
    pub next_seq: u64,
    /// The number from which it was folded: 0 if there was no snapshot to go on from.
    pub from: u64,
    /// Why a snapshot that is there was not used.
    pub refused: Option<String>,
}

/// Why there is no state.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError<E: std::error::Error> {
    /// The log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event cannot be folded.
    #[error("event {seq} cannot be folded: {error}")]
    Fold {
        /// Its number.
        seq: u64,
        /// Why.
        error: E,
    },
}

#[derive(Serialize, Deserialize)]
struct Written {
    name: String,
    version: u32,
    log: String,
    next_seq: u64,
    last: EventId,
    #[serde(with = "serde_bytes")]
    root: [u8; 32],
    #[serde(with = "serde_bytes")]
    state: Vec<u8>,
}

impl Snapshots {
    /// Snapshots in `directory`, which is made when one is saved.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), key: None }
    }

    /// As [`new`](Self::new), each of them authenticated with `key`: one that was written with another key, or with
    /// none, is refused.
    pub fn keyed(directory: impl Into<PathBuf>, key: [u8; 32]) -> Self {
        Self { directory: directory.into(), key: Some(key) }
    }

    /// Where the snapshot of `F` over `log` lies.
    pub fn path<F: Fold>(&self, log: &LogId) -> PathBuf {
        // A log's name may hold slashes; `%` is in no name.
        self.directory.join(format!("{}-{}.snapshot", F::NAME, log.as_str().replace('/', "%2F")))
    }

    /// The state at the end of `log`: from its snapshot if that belongs to the log, and on from there.
    ///
    /// # Errors
    /// [`SnapshotError::Store`], [`SnapshotError::Fold`]. A snapshot that is of no use is no error.
    pub fn resume<F: Fold>(
        &self,
        store: &dyn Store,
        log: &LogId,
    ) -> Result<Resumed<F>, SnapshotError<F::Error>> {
        let (state, from, refused) = match self.load::<F>(store, log)? {
            Ok(Some((state, next))) => (state, next, None),
            Ok(None) => (F::default(), 0, None),
            Err(reason) => (F::default(), 0, Some(reason)),
        };
        let mut resumed = Resumed { state, next_seq: from, from, refused };
        resumed.advance(store, log)?;
        Ok(resumed)
    }

    /// Writes the state that was folded from the events of `log` before `next_seq`. The log has them all; a state of
    /// no events is not written.
    ///
    /// # Errors
    /// If the log or the directory cannot be read or written: then the snapshot before it is still there.
    pub fn save<F: Fold>(
        &self,
        store: &dyn Store,
        log: &LogId,
        next_seq: u64,
        state: &F,
    ) -> Result<(), StoreError> {
        let Some(last) = next_seq.checked_sub(1) else { return Ok(()) };
        let (last, root) = match (store.headers(log, last, 1)?.pop(), root_at(store, log, next_seq)?) {
            (Some(last), Some(root)) => (last.id, root.0),
            _ => {
                let head = store.head(log)?.next_seq;
                return Err(StoreError::Conflict { log: log.clone(), expected: next_seq, head });
            }
        };
        let failed = |error: rmp_serde::encode::Error| crate::core::PayloadError::Encode(error.to_string());
        let (name, version) = (F::NAME.to_owned(), F::VERSION);
        let state = rmp_serde::to_vec(state).map_err(failed)?;
        let written = Written { name, version, log: log.to_string(), next_seq, last, root, state };
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&rmp_serde::to_vec_named(&written).map_err(failed)?);
        let checksum = self.checksum(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        self.replace(&self.path::<F>(log), &bytes)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error: std::io::Error| StoreError::Io { what: "write", path, detail: error.to_string() }
        };
        fs::create_dir_all(&self.directory).map_err(failed(&self.directory))?;
        let beside = path.with_extension("new");
        // Not synced: what a power cut leaves of it does not match its checksum.
        fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path)).map_err(failed(path))
    }

    /// The snapshot of `F` over `log` and the number of the next event; `Ok(None)` if there is none, or why it is of
    /// no use.
    fn load<F: Fold>(
        &self,
        store: &dyn Store,
        log: &LogId,
    ) -> Result<Result<Option<(F, u64)>, String>, StoreError> {
        let written = match self.read(&self.path::<F>(log)) {
            Ok(Some(written)) => written,
            Ok(None) => return Ok(Ok(None)),
            Err(reason) => return Ok(Err(reason)),
        };
        if (&*written.name, &*written.log) != (F::NAME, log.as_str()) {
            return Ok(Err(format!("it is of '{}' over log '{}'", written.name, written.log)));
        }
        if written.version != F::VERSION {
            return Ok(Err(format!("it has version {}, this build writes {}", written.version, F::VERSION)));
        }
        let next = written.next_seq;
        let last = match next.checked_sub(1) {
            Some(last) => store.headers(log, last, 1)?.pop(),
            None => None,
        };
        if last.is_none_or(|last| last.id != written.last)
            || root_at(store, log, next)?.is_none_or(|root| root.0 != written.root)
        {
            return Ok(Err(format!("the log is another one before event {next}")));
        }
        let state = rmp_serde::from_slice(&written.state);
        Ok(state
            .map(|state| Some((state, next)))
            .map_err(|error| format!("its state cannot be read: {error}")))
    }

    fn read(&self, path: &Path) -> Result<Option<Written>, String> {
        let bytes = match fs::metadata(path) {
            Ok(file) if file.len() > MAX_BYTES => return Err(format!("it has {} bytes", file.len())),
            Ok(_) => fs::read(path).map_err(|error| error.to_string())?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let Some((covered, checksum)) =
            bytes.len().checked_sub(CHECKSUM).filter(|at| *at >= FIXED).map(|at| bytes.split_at(at))
        else {
            return Err("it is too short".into());
        };
        if &covered[..8] != MAGIC {
            return Err("it is no snapshot".into());
        }
        let format = u32::from_le_bytes([covered[8], covered[9], covered[10], covered[11]]);
        if format != FORMAT {
            return Err(format!("it has format {format}, this build writes {FORMAT}"));
        }
        // Compared as hashes, which takes the same time whatever differs.
        let known: [u8; CHECKSUM] = checksum.try_into().map_err(|_| "it is too short".to_owned())?;
        if self.checksum(covered) != blake3::Hash::from_bytes(known) {
            return Err(match self.key {
                Some(_) => "it is damaged, or was written with another key".into(),
                None => "it does not match its checksum".into(),
            });
        }
        rmp_serde::from_slice(&covered[FIXED..]).map(Some).map_err(|error| error.to_string())
    }

    fn checksum(&self, bytes: &[u8]) -> blake3::Hash {
        match &self.key {
            Some(key) => blake3::keyed_hash(key, bytes),
            None => blake3::hash(bytes),
        }
    }
}

impl<F: Fold> Resumed<F> {
    /// Folds the events that came since.
    pub fn advance(&mut self, store: &dyn Store, log: &LogId) -> Result<(), SnapshotError<F::Error>> {
        loop {
            let headers = store.headers(log, self.next_seq, HEADERS)?;
            if headers.is_empty() {
                return Ok(());
            }
            for header in &headers {
                let folded = self.state.apply(header);
                folded.map_err(|error| SnapshotError::Fold { seq: header.seq, error })?;
                self.next_seq = header.seq + 1;
            }
        }
    }
}

/// The root of the tree over the log's first `size` events; `None` if it has fewer.
fn root_at(store: &dyn Store, log: &LogId, size: u64) -> Result<Option<TreeHash>, StoreError> {
    let head = store.head(log)?;
    if head.next_seq <= size {
        return Ok((head.next_seq == size).then_some(head.root));
    }
    let mut tree = LogTree::new();
    while tree.size() < size {
        let left = usize::try_from(size - tree.size()).unwrap_or(usize::MAX).min(HEADERS);
        let headers = store.headers(log, tree.size(), left)?;
        if headers.is_empty() {
            return Ok(None);
        }
        headers.iter().for_each(|header| tree.append(leaf_hash(&header.to_bytes())));
    }
    Ok(Some(tree.root()))
}
