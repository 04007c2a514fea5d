//! Keys in files that a person names: those of holders and third parties, and secrets that are shared.
//!
//! As the operator's key, such a file is used only if it is its owner's alone: mode 0600, no link.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use crate::key::{KeyError, OperatorKey, open_own, system};
use crate::proof::HolderKey;
use crate::ring::{MAX_SECRET, SharedSecret};

impl HolderKey {
    /// Reads the key in the file at `path`: its seed in hex, and a line feed.
    ///
    /// # Errors
    /// [`KeyError::Absent`], [`KeyError::Permissions`], [`KeyError::Owner`], [`KeyError::Malformed`], [`KeyError::Io`].
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let (folder, above, name) = place(path)?;
        let key = OperatorKey::load(&folder, above, name)?;
        key.map(|key| Self::from_seed(&key.seed())).ok_or_else(|| KeyError::Absent { path: path.to_owned() })
    }

    /// Makes a new key in the file at `path`, where nothing may be; it is durable when this returns.
    ///
    /// # Errors
    /// [`KeyError::Exists`], [`KeyError::Io`], [`KeyError::Random`].
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let (folder, above, name) = place(path)?;
        let exists = || KeyError::Exists { path: path.to_owned() };
        if path.symlink_metadata().is_ok() {
            return Err(exists());
        }
        let key = OperatorKey::generate()?;
        key.store(&folder, above, name)?;
        // Of two that made one at once, one was first.
        match Self::load(path)? {
            made if made.public() == key.public() => Ok(made),
            _ => Err(exists()),
        }
    }
}

impl SharedSecret {
    /// Reads the secret in the file at `path`: its bytes, without a line feed at their end.
    ///
    /// # Errors
    /// [`KeyError::Absent`], [`KeyError::Permissions`], [`KeyError::Owner`], [`KeyError::Malformed`], [`KeyError::Io`];
    /// [`KeyError::Secret`] as [`new`](Self::new).
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let (folder, _, name) = place(path)?;
        let file =
            open_own(&folder, path, name)?.ok_or_else(|| KeyError::Absent { path: path.to_owned() })?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET + 2));
        file.take(MAX_SECRET as u64 + 2).read_to_end(&mut bytes).map_err(|e| system(path, &e))?;
        Self::new(bytes.strip_suffix(b"\n").unwrap_or(&bytes))
    }
}

/// The folder that a file lies in, opened and as a path, and the file's name there.
fn place(path: &Path) -> Result<(File, &Path, &str), KeyError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| KeyError::Malformed {
        path: path.to_owned(),
        problem: "the path ends with no file's name in UTF-8",
    })?;
    let above = match path.parent() {
        Some(above) if above != Path::new("") => above,
        _ => Path::new("."),
    };
    Ok((File::open(above).map_err(|e| system(above, &e))?, above, name))
}
