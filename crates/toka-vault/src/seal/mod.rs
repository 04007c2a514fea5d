//! Encryption at rest: content under keys of its subjects, which can be destroyed.
//!
//! A sealed vault stores content as ciphertext, so that all that checks it (digests, the log tree, `verify`, proofs)
//! needs no key. [`Keyring`] holds the keys; it seals what is committed and opens what is read, at the edges: stores
//! carry what they are given. What stays visible, and what erasing promises, says SECURITY.md.
//!
//! ```text
//! passphrase, key file or OS keyring ─→ wrapping key ─→ master key ─→ nonce key, data keys   one pair a subject,
//!                                                            │                               a data key an epoch
//!                                                            └──────→ projections' key
//! ```
//!
//! ```
//! use toka_vault::VaultBus;
//! use toka_vault::seal::{Key, Passphrase};
//!
//! let folder = tempfile::tempdir()?;
//! let key = Key::Passphrase(Passphrase::new("correct horse battery staple")?);
//! let vault = VaultBus::create_sealed(folder.path().join("vault"), &key)?;
//! vault.blocking().commit("nobody reads this", &[], "note.taken", ())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod crypto;
mod disclosed;
mod file;
mod keyring;
mod os_keyring;
mod projection;
mod source;
#[cfg(test)]
mod tests;
mod vault;

use std::io;
use std::path::{Path, PathBuf};

use toka_types::KeyId;

pub use crypto::OVERHEAD;
pub(crate) use disclosed::key_of;
pub use disclosed::{Disclosed, PayloadKey};
pub use file::{KEYS_FILE, KeysInfo, keys_path};
pub use keyring::Keyring;
pub(crate) use projection::FileKey;
pub use projection::ProjectionKey;
pub use source::{Key, Passphrase, Source};
pub use vault::{Locked, create_vault, erased_by, erased_in, open_vault, read_vault};

/// Why keys cannot be had or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealingError {
    /// The key is not the one that the vault was sealed with.
    #[error("{source_name} does not open the keys of the vault {}", vault.display())]
    WrongKey {
        /// The vault's directory.
        vault: PathBuf,
        /// What was tried.
        source_name: String,
    },
    /// The vault is sealed with something of another kind.
    #[error("the vault is sealed with {wanted}")]
    OtherSource {
        /// What it is sealed with.
        wanted: Source,
    },
    /// What was given can be no key.
    #[error("{0}")]
    Key(String),
    /// The operating system's keyring cannot be used, or does not have the key.
    #[error("the operating system's keyring cannot be used: {0}")]
    NoKeyring(String),
    /// The vault is sealed and its keys are not there.
    #[error("there are no keys at {}; restore that file from a copy, without it nothing sealed can be read", path.display())]
    Missing {
        /// The keys file.
        path: PathBuf,
    },
    /// The keys in the vault's directory are those of another vault.
    #[error("the keys at {} are {found}, the vault needs {wanted}; restore its own from a copy", path.display())]
    OtherVault {
        /// The keys file.
        path: PathBuf,
        /// The id of the keys that are there.
        found: KeyId,
        /// The id of those that the manifest names.
        wanted: KeyId,
    },
    /// There are keys already.
    #[error("there are keys at {} already; a vault is sealed when it is created, and once", path.display())]
    Exists {
        /// The keys file.
        path: PathBuf,
    },
    /// There is a vault already, which is not sealed.
    #[error("there is a vault at {} already; a vault is sealed when it is created", vault.display())]
    VaultExists {
        /// The vault's directory.
        vault: PathBuf,
    },
    /// The vault is not sealed.
    #[error("the vault {} is not sealed, so there are no keys to it", vault.display())]
    NotSealed {
        /// The vault's directory.
        vault: PathBuf,
    },
    /// A key file would lie where what it opens lies.
    #[error("the key file {} lies in the vault that it opens; keep it somewhere else", path.display())]
    KeyInVault {
        /// The key file.
        path: PathBuf,
    },
    /// The keys file is not what was written.
    #[error("{} is damaged in line {line}: {detail}; restore it from a copy", path.display())]
    Damage {
        /// The keys file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// The keys file has the format of another version.
    #[error("{} has format {found}, this build knows format {known}: use the build that wrote it, or a newer one", path.display())]
    Format {
        /// The keys file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version of this build.
        known: u32,
    },
    /// New keys are needed, and the keys were opened for reading.
    #[error("the keys are open for reading only")]
    ReadOnly,
    /// The keys were replaced while they were open.
    #[error("the keys at {} were replaced by another process; open the vault again", path.display())]
    Replaced {
        /// The keys file.
        path: PathBuf,
    },
    /// There is no randomness to make keys of.
    #[error("no key can be made: {0}")]
    Randomness(String),
    /// The operating system refused something.
    #[error("cannot {what} {}: {detail}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
}

impl SealingError {
    fn io(what: &'static str, path: &Path, error: &io::Error) -> Self {
        Self::Io { what, path: path.to_owned(), detail: error.to_string() }
    }
}
