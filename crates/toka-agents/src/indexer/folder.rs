//! Which folder an indexer keeps: paths are relative to it, and an agent's log does not name it.
//!
//! An indexer notes its folder in its own storage. That is a help and no more: without the note, whatever folder an
//! agent is given counts as the one it has always had.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use toka_toolkit_core::Storage;
use toka_types::Digest;

use super::index::{self, SAVED_KEY};
use super::options::MAX_FILE_BYTES_DEFAULT;
use super::walk::DirId;

/// Where the note lies in the agent's own storage.
const FOLDER_KEY: &str = "indexer/folder";

/// Files that are compared to tell a copy from another folder.
const SAMPLE: usize = 64;
/// One file of this many has to be the same in a copy: what is edited after copying is still the same folder, and a
/// licence or two are in many folders.
const SAMPLE_SHARE: usize = 8;

/// What an indexer's own storage says about a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It keeps none yet, or does not know which.
    Nothing,
    /// It keeps this one.
    This,
    /// It keeps one that is gone, or of which this one is a copy.
    Like,
    /// It keeps another one, which is still there.
    Other(PathBuf),
}

/// Whether the indexer with this storage keeps `folder`.
pub fn kept(storage: &dyn Storage, folder: &Path) -> Kept {
    let Some(former) = noted(storage) else { return Kept::Nothing };
    match (DirId::of(&former), DirId::of(folder)) {
        (Ok(former), Ok(folder)) if former == folder => Kept::This,
        (Ok(_), _) if former.is_dir() && !is_copy(storage, folder) => Kept::Other(former),
        _ => Kept::Like,
    }
}

/// The folder that was noted last.
pub(super) fn noted(storage: &dyn Storage) -> Option<PathBuf> {
    let bytes = storage.get(FOLDER_KEY).ok().flatten()?;
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

/// Notes the folder, unless it is noted already. That it cannot be noted is no failure.
pub(super) fn note(storage: &dyn Storage, folder: &Path) {
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    if noted(storage).as_deref() == Some(&folder) {
        return;
    }
    if let Err(error) = storage.put(FOLDER_KEY, folder.as_os_str().as_bytes()) {
        tracing::debug!(%error, "the folder of this indexer is not noted");
    }
}

/// True if some of the files that the indexer knows lie in `folder`, with the same content.
fn is_copy(storage: &dyn Storage, folder: &Path) -> bool {
    let Some(saved) = storage.get(SAVED_KEY).ok().flatten() else { return false };
    let known = index::sample(&saved, SAMPLE);
    let same =
        known.iter().filter(|(path, digest)| has(&folder.join(OsStr::from_bytes(path)), *digest)).count();
    same > 0 && same * SAMPLE_SHARE >= known.len()
}

fn has(file: &Path, digest: Digest) -> bool {
    let small = |found: &fs::Metadata| found.is_file() && found.len() <= MAX_FILE_BYTES_DEFAULT;
    fs::symlink_metadata(file).is_ok_and(|found| small(&found))
        && fs::read(file).is_ok_and(|bytes| Digest::of(&bytes) == digest)
}
