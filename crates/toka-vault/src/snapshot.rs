//! Snapshots: the state of a program that folds a log, kept so that it need not fold the whole log again.
//!
//! A snapshot is a projection. It names the log and holds the log tree as it was up to where it was folded; the events
//! since then must lead from there to the root that the log has now. If they do not, or a byte of it is not what was
//! written, it is refused and the state is folded anew. With a [key](Snapshots::keyed) it is refused as well unless
//! whoever wrote it had the same key: whoever can write to the directory of a vault cannot make a state up.
//! `docs/format/journal.md` describes the bytes. A fold sees headers alone, so a snapshot holds no content; that of a sealed
//! vault is [sealed](Snapshots::sealed) all the same.
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
//! snapshots.save(&LogId::main(), &folded)?;
//!
//! vault.blocking().commit("b", &[], "note.taken", ())?;
//! let folded = snapshots.resume::<Kinds>(&**vault.store(), &LogId::main())?;
//! assert_eq!((folded.from, folded.next_seq(), folded.state.0["note.taken"]), (1, 2, 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toka_types::EventHeader;

use crate::core::LogId;
use crate::hash::{LogTree, TreeHash, leaf_hash};
use crate::intent::ProjectionKey;
use crate::store::{Store, StoreError};

const MAGIC: &[u8; 8] = b"TOKASNP\n";
const FORMAT: u32 = 1;
/// The format of a sealed snapshot.
#[cfg(feature = "seal")]
const SEALED_FORMAT: u32 = 2;
/// Formats that can be read.
const KNOWN: &[u32] = if cfg!(feature = "seal") { &[1, 2] } else { &[FORMAT] };
/// Bytes of its salt and of its tag, which lie before what is sealed.
#[cfg(feature = "seal")]
const SALT: usize = 32;
#[cfg(feature = "seal")]
const TAG: usize = 16;
/// Magic and format.
const FIXED: usize = 8 + 4;
/// At the end the authentication, and the checksum of everything before it.
const HASH: usize = 32;
const EXTENSION: &str = "snapshot";
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
    seal: Option<ProjectionKey>,
}

/// A state and how far in a log it was folded.
#[derive(Clone, Debug, Default)]
pub struct Resumed<F> {
    /// The state.
    pub state: F,
    /// The number from which it was folded: 0 if there was no snapshot to go on from.
    pub from: u64,
    /// Why a snapshot that is there was not used.
    pub refused: Option<String>,
    tree: LogTree,
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
    size: u64,
    frontier: Vec<serde_bytes::ByteArray<32>>,
    #[serde(with = "serde_bytes")]
    state: Vec<u8>,
}

impl Snapshots {
    /// Snapshots in `directory`, which is made when one is saved.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), key: None, seal: None }
    }

    /// As [`new`](Self::new), each of them authenticated with `key`: one that was written with another key, or with
    /// none, is refused.
    pub fn keyed(directory: impl Into<PathBuf>, key: [u8; 32]) -> Self {
        Self { directory: directory.into(), key: Some(key), seal: None }
    }

    /// The same snapshots, each of them sealed under the key of a sealed vault's projections: one that is not, or under
    /// another key, is refused.
    #[must_use]
    pub fn sealed(self, key: ProjectionKey) -> Self {
        Self { seal: Some(key), ..self }
    }

    /// Where the snapshot of `F` over `log` lies.
    pub fn path<F: Fold>(&self, log: &LogId) -> PathBuf {
        // A log's name may hold slashes; `%` is in no name.
        self.directory.join(format!("{}-{}.{EXTENSION}", F::NAME, log.as_str().replace('/', "%2F")))
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
        let head = store.head(log)?;
        let refused = match self.load::<F>(log) {
            Ok(None) => None,
            Ok(Some(loaded)) if loaded.next_seq() > head.next_seq => {
                Some(format!("it is of {} events, the log has {}", loaded.next_seq(), head.next_seq))
            }
            Ok(Some(mut loaded)) => {
                loaded.advance_to(store, log, head.next_seq)?;
                if loaded.tree.root() == head.root {
                    loaded.advance(store, log)?;
                    return Ok(loaded);
                }
                Some(format!("the log is another one before event {}", loaded.from))
            }
            Err(reason) => Some(reason),
        };
        let mut resumed = Resumed { refused, ..Resumed::default() };
        resumed.advance(store, log)?;
        Ok(resumed)
    }

    /// Writes the state, so that the next one to [`resume`](Self::resume) goes on from it.
    ///
    /// # Errors
    /// If the directory cannot be written: then the snapshot before it is still there.
    pub fn save<F: Fold>(&self, log: &LogId, folded: &Resumed<F>) -> Result<(), StoreError> {
        let failed = |error: rmp_serde::encode::Error| crate::core::PayloadError::Encode(error.to_string());
        let state = rmp_serde::to_vec(&folded.state).map_err(failed)?;
        let frontier = folded.tree.frontier().iter().map(|hash| serde_bytes::ByteArray::new(hash.0));
        let written = Written {
            name: F::NAME.to_owned(),
            version: F::VERSION,
            log: log.to_string(),
            size: folded.tree.size(),
            frontier: frontier.collect(),
            state,
        };
        let body = rmp_serde::to_vec_named(&written).map_err(failed)?;
        let mut bytes = MAGIC.to_vec();
        match &self.seal {
            None => {
                bytes.extend_from_slice(&FORMAT.to_le_bytes());
                bytes.extend_from_slice(&body);
            }
            #[cfg(feature = "seal")]
            Some(key) => {
                bytes.extend_from_slice(&SEALED_FORMAT.to_le_bytes());
                let salt = key.salt([&body[..]]);
                let mut body = body;
                let tag = key.file(&salt).seal(0, &mut body);
                for part in [&salt[..], &tag, &body] {
                    bytes.extend_from_slice(part);
                }
            }
            #[cfg(not(feature = "seal"))]
            Some(key) => match *key {},
        }
        let authentication = self.authentication(&bytes);
        bytes.extend_from_slice(authentication.as_bytes());
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
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

    /// The snapshot of `F` over `log`; `Ok(None)` if there is none, or why it is of no use whatever the log has.
    fn load<F: Fold>(&self, log: &LogId) -> Result<Option<Resumed<F>>, String> {
        let Some(written) = self.read(&self.path::<F>(log))? else { return Ok(None) };
        if (&*written.name, &*written.log) != (F::NAME, log.as_str()) {
            return Err(format!("it is of '{}' over log '{}'", written.name, written.log));
        }
        if written.version != F::VERSION {
            return Err(format!("it has version {}, this build writes {}", written.version, F::VERSION));
        }
        let frontier = written.frontier.iter().map(|hash| TreeHash(hash.into_array())).collect();
        let Some(tree) = LogTree::from_frontier(written.size, frontier) else {
            return Err("it contradicts itself".into());
        };
        match rmp_serde::from_slice(&written.state) {
            Ok(state) => Ok(Some(Resumed { state, from: tree.size(), refused: None, tree })),
            Err(error) => Err(format!("its state cannot be read: {error}")),
        }
    }

    fn read(&self, path: &Path) -> Result<Option<Written>, String> {
        let Some(bytes) = whole(path)? else { return Ok(None) };
        let (covered, authentication) = bytes.split_at(bytes.len() - HASH);
        // Compared as hashes, which takes the same time whatever differs.
        if Some(self.authentication(covered)) != hash_of(authentication) {
            return Err(match self.key {
                Some(_) => "it was not written with this key".into(),
                None => "it was written with a key".into(),
            });
        }
        let body = self.opened(format_of(covered), &covered[FIXED..])?;
        rmp_serde::from_slice(&body).map(Some).map_err(|error| error.to_string())
    }

    /// What a body of this format says.
    fn opened<'a>(&self, format: u32, body: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        match &self.seal {
            None if format == FORMAT => Ok(body.into()),
            None => Err("it is sealed".into()),
            Some(_) if format == FORMAT => Err("it is not sealed, and the vault is".into()),
            #[cfg(feature = "seal")]
            Some(key) => {
                let parts = body.split_first_chunk::<SALT>();
                let (salt, (tag, body)) = parts
                    .and_then(|(salt, rest)| Some((salt, rest.split_first_chunk::<TAG>()?)))
                    .ok_or("it is too short")?;
                let mut body = body.to_vec();
                match key.file(salt).open(0, &mut body, tag) {
                    true => Ok(body.into()),
                    false => Err("it is sealed under another key, as one from before an erasure".into()),
                }
            }
            #[cfg(not(feature = "seal"))]
            Some(key) => match *key {},
        }
    }

    fn authentication(&self, bytes: &[u8]) -> blake3::Hash {
        self.key.as_ref().map_or(blake3::Hash::from_bytes([0; HASH]), |key| blake3::keyed_hash(key, bytes))
    }
}

/// The snapshots in `directory` that are damaged, and what is wrong with each: what anybody can tell, without a key and
/// without the log.
pub fn damaged(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut damaged: Vec<_> =
        all(directory).filter_map(|path| whole(&path).err().map(|why| (path, why))).collect();
    damaged.sort();
    damaged
}

/// Removes the snapshots in `directory`.
///
/// # Errors
/// If one of them cannot be removed.
pub fn remove_all(directory: &Path) -> Result<(), StoreError> {
    for path in all(directory) {
        fs::remove_file(&path).map_err(|error| StoreError::Io {
            what: "remove",
            path,
            detail: error.to_string(),
        })?;
    }
    Ok(())
}

fn all(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION))
}

/// The bytes of a snapshot without the checksum, which is right; `None` if there is none.
fn whole(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let mut bytes = match fs::metadata(path) {
        Ok(file) if file.len() > MAX_BYTES => return Err(format!("it has {} bytes", file.len())),
        Ok(_) => fs::read(path).map_err(|error| error.to_string())?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let Some(at) = bytes.len().checked_sub(HASH).filter(|at| *at >= FIXED + HASH) else {
        return Err("it is too short".into());
    };
    if &bytes[..8] != MAGIC {
        return Err("it is no snapshot".into());
    }
    let format = format_of(&bytes);
    if !KNOWN.contains(&format) {
        return Err(format!("it has format {format}, which this build does not know"));
    }
    if Some(blake3::hash(&bytes[..at])) != hash_of(&bytes[at..]) {
        return Err("it does not match its checksum".into());
    }
    bytes.truncate(at);
    Ok(Some(bytes))
}

fn format_of(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]])
}

fn hash_of(bytes: &[u8]) -> Option<blake3::Hash> {
    bytes.first_chunk().map(|bytes| blake3::Hash::from_bytes(*bytes))
}

impl<F: Fold> Resumed<F> {
    /// The number of the first event that is not in the state.
    pub fn next_seq(&self) -> u64 {
        self.tree.size()
    }

    /// Takes in the next event, which has the number [`next_seq`](Self::next_seq).
    pub fn apply(&mut self, header: &EventHeader) -> Result<(), F::Error> {
        self.state.apply(header)?;
        self.tree.append(leaf_hash(&header.to_bytes()));
        Ok(())
    }

    /// Folds the events that came since.
    pub fn advance(&mut self, store: &dyn Store, log: &LogId) -> Result<(), SnapshotError<F::Error>> {
        self.advance_to(store, log, u64::MAX)
    }

    fn advance_to(
        &mut self,
        store: &dyn Store,
        log: &LogId,
        end: u64,
    ) -> Result<(), SnapshotError<F::Error>> {
        while self.next_seq() < end {
            let left = usize::try_from(end - self.next_seq()).unwrap_or(usize::MAX).min(HEADERS);
            let headers = store.headers(log, self.next_seq(), left)?;
            if headers.is_empty() {
                return Ok(());
            }
            for header in &headers {
                let folded = self.apply(header);
                folded.map_err(|error| SnapshotError::Fold { seq: header.seq, error })?;
            }
        }
        Ok(())
    }
}
