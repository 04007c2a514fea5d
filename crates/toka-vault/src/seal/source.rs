//! Where the key comes from that the master key is wrapped with.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use toka_types::KeyId;
use zeroize::Zeroizing;

use super::SealingError;
use super::crypto::{Secret, hex, random, unhex};

/// Memory of a derivation in KiB, and its passes: RFC 9106's second recommendation, with one lane. A guess takes an
/// attacker this much too.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
const LANES: u32 = 1;
/// What a stored derivation may ask for at most, so that a file of a stranger cannot hold a process up.
const MAX_MEMORY_KIB: u32 = 1 << 20;
const MAX_PASSES: u32 = 64;
const MAX_LANES: u32 = 16;
/// Bytes of a salt.
const SALT: usize = 16;
/// Bytes that a key file must have at least: as many as the key made of it.
const MIN_KEY_FILE: usize = 32;
/// Bytes that it may have at most: a larger file is not a key but a mistake.
const MAX_KEY_FILE: u64 = 64 << 10;
/// Longest passphrase, in bytes.
const MAX_PASSPHRASE: usize = 4 << 10;

const KEY_FILE_CONTEXT: &str = "toka 2026 key file v1";

/// A passphrase. It is overwritten when it is dropped and shown by nothing.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// The passphrase `text`, which must not be empty.
    pub fn new(text: impl Into<Vec<u8>>) -> Result<Self, SealingError> {
        let bytes = Zeroizing::new(text.into());
        match bytes.len() {
            0 => Err(SealingError::Key("the passphrase is empty".into())),
            len if len > MAX_PASSPHRASE => {
                Err(SealingError::Key(format!("a passphrase of {len} bytes; {MAX_PASSPHRASE} are allowed")))
            }
            _ => Ok(Self(bytes)),
        }
    }

    /// The passphrase in a file, without the end of its last line.
    pub fn from_file(path: &Path) -> Result<Self, SealingError> {
        let mut bytes = read_small(path, MAX_PASSPHRASE as u64 + 2)?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if bytes.is_empty() {
            return Err(SealingError::Key(format!("the passphrase file {} is empty", path.display())));
        }
        Self::new(std::mem::take(&mut *bytes))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

/// What a vault is sealed with, as its keys file names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A passphrase.
    Passphrase,
    /// A file somewhere else.
    KeyFile(PathBuf),
    /// The operating system's keyring.
    Keyring,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passphrase => f.write_str("a passphrase"),
            Self::KeyFile(path) => write!(f, "the key file {}", path.display()),
            Self::Keyring => f.write_str("the operating system's keyring"),
        }
    }
}

/// The key that opens a vault, as somebody hands it over.
#[derive(Clone, Debug)]
pub enum Key {
    /// A passphrase.
    Passphrase(Passphrase),
    /// A file with at least 32 bytes that nobody else knows.
    KeyFile(PathBuf),
    /// What lies in the operating system's keyring.
    Keyring,
}

impl Key {
    /// What kind of source it is.
    pub fn source(&self) -> Source {
        match self {
            Self::Passphrase(_) => Source::Passphrase,
            Self::KeyFile(path) => Source::KeyFile(path.clone()),
            Self::Keyring => Source::Keyring,
        }
    }
}

/// How the wrapping key follows from a source: what the keys file says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Derivation {
    Argon2id { memory_kib: u32, passes: u32, lanes: u32, salt: [u8; SALT] },
    KeyFile { path: PathBuf },
    Keyring { account: String },
}

impl Derivation {
    /// How a new master key is wrapped with `key`. A key file that does not exist yet is made; in the operating system's
    /// keyring it is called `account`.
    pub(super) fn new(key: &Key, account: KeyId) -> Result<Self, SealingError> {
        Ok(match key {
            Key::Passphrase(_) => {
                Self::Argon2id { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES, salt: random()? }
            }
            Key::KeyFile(path) => {
                let path = std::path::absolute(path).map_err(|e| SealingError::io("find", path, &e))?;
                create_key_file(&path)?;
                Self::KeyFile { path }
            }
            Key::Keyring => Self::Keyring { account: account.to_string() },
        })
    }

    pub(super) fn source(&self) -> Source {
        match self {
            Self::Argon2id { .. } => Source::Passphrase,
            Self::KeyFile { path } => Source::KeyFile(path.clone()),
            Self::Keyring { .. } => Source::Keyring,
        }
    }

    /// The wrapping key; `create` makes one where the source can.
    pub(super) fn wrapping_key(&self, key: &Key, create: bool) -> Result<Secret, SealingError> {
        match (self, key) {
            (Self::Argon2id { memory_kib, passes, lanes, salt }, Key::Passphrase(passphrase)) => {
                let params = argon2::Params::new(*memory_kib, *passes, *lanes, Some(32));
                let params = params.map_err(|e| SealingError::Key(format!("the derivation's cost: {e}")))?;
                let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
                let mut secret = Secret([0; 32]);
                let derived = argon2.hash_password_into(&passphrase.0, salt, &mut secret.0);
                derived.map_err(|e| SealingError::Key(format!("the passphrase cannot be used: {e}")))?;
                Ok(secret)
            }
            (Self::KeyFile { .. }, Key::KeyFile(path)) => {
                let bytes = read_small(path, MAX_KEY_FILE)?;
                if bytes.len() < MIN_KEY_FILE {
                    let (path, len) = (path.display(), bytes.len());
                    let detail = format!("the key file {path} has {len} bytes, {MIN_KEY_FILE} are needed");
                    return Err(SealingError::Key(detail));
                }
                Ok(Secret(blake3::derive_key(KEY_FILE_CONTEXT, &bytes)))
            }
            (Self::Keyring { account }, Key::Keyring) => super::os_keyring::key(account, create),
            (wanted, _) => Err(SealingError::OtherSource { wanted: wanted.source() }),
        }
    }

    /// Its words in the keys file.
    pub(super) fn to_words(&self) -> String {
        match self {
            Self::Argon2id { memory_kib, passes, lanes, salt } => {
                format!("argon2id {memory_kib} {passes} {lanes} {}", hex(salt))
            }
            Self::KeyFile { path } => {
                use std::os::unix::ffi::OsStrExt;
                format!("key-file {}", hex(path.as_os_str().as_bytes()))
            }
            Self::Keyring { account } => format!("keyring {account}"),
        }
    }

    pub(super) fn from_words(words: &[&str]) -> Option<Self> {
        match words {
            ["argon2id", memory, passes, lanes, salt] => {
                let (memory_kib, passes) = (memory.parse().ok()?, passes.parse().ok()?);
                let (lanes, salt) = (lanes.parse().ok()?, unhex(salt)?.try_into().ok()?);
                let bounded = memory_kib <= MAX_MEMORY_KIB && passes <= MAX_PASSES && lanes <= MAX_LANES;
                bounded.then_some(Self::Argon2id { memory_kib, passes, lanes, salt })
            }
            ["key-file", path] => {
                use std::os::unix::ffi::OsStringExt;
                Some(Self::KeyFile { path: std::ffi::OsString::from_vec(unhex(path)?).into() })
            }
            ["keyring", account] => Some(Self::Keyring { account: (*account).to_owned() }),
            _ => None,
        }
    }
}

/// Makes a key file with random bytes unless there is one.
fn create_key_file(path: &Path) -> Result<(), SealingError> {
    let failed = |error: io::Error| SealingError::io("create the key file", path, &error);
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let key = Secret::random()?;
    let text = Zeroizing::new(hex(&key.0));
    let written = file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n"));
    written.and_then(|()| file.sync_all()).map_err(failed)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// A regular file of at most `limit` bytes.
fn read_small(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, SealingError> {
    use std::io::Read;
    let failed = |error: io::Error| SealingError::io("read", path, &error);
    let file = fs::File::open(path).map_err(failed)?;
    // One byte more than allowed tells a file that is too long; the room is there from the start, so that no copy
    // of a secret is left behind where a vector grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit as usize + 1));
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        let detail = format!("{} has more than {limit} bytes, which is no key", path.display());
        return Err(SealingError::Key(detail));
    }
    Ok(bytes)
}
