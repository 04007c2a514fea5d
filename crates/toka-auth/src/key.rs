//! The operator's key and its file.

use std::fmt;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::{SigningKey, VerifyingKey};
use rustix::fs::{CWD, Mode, OFlags, openat};
use thiserror::Error;
use toka_types::{Digest, HexError};
use zeroize::Zeroize;

use crate::ring::{MAX_SECRET, MIN_SECRET};

/// The name of the key's file in the operator's state folder.
pub const KEY_FILE: &str = "operator.key";
/// The name of the file of the key that signs checkpoints: a key of its own, since a signature of one sort must never
/// pass for one of the other.
pub const CHECKPOINT_KEY_FILE: &str = "checkpoint.key";
/// The file holds the seed in hex and a line feed.
const FILE_LEN: usize = 65;

/// The key with which the operator of a vault signs. Its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct OperatorKey(SigningKey);

/// The name of a public key in a token's header: 16 hex digits of its digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

/// Why a key cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Others may read or change it.
    #[error("'{}' has mode {mode:03o}, so others may use the key; run: chmod {wanted:o} '{}'", path.display(), path.display())]
    Permissions {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it should have.
        wanted: u32,
    },
    /// It belongs to somebody else.
    #[error("'{}' belongs to user {owner}, and this is user {user}; run as its owner, or set XDG_STATE_HOME to a folder of your own", path.display())]
    Owner {
        /// The file or folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who asks.
        user: u32,
    },
    /// What lies there is no key.
    #[error("'{}' holds no key ({problem}); restore it from a backup, or move it away to get a new one", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// The operating system failed.
    #[error("'{}': {problem}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        problem: String,
    },
    /// A shared secret is too short to keep anybody out, or longer than helps.
    #[error("a shared secret of {len} bytes; {MIN_SECRET} to {MAX_SECRET} random ones are wanted")]
    Secret {
        /// Its length.
        len: usize,
    },
    /// There is no key.
    #[error("there is no key at '{}'", path.display())]
    Absent {
        /// The file.
        path: PathBuf,
    },
    /// A new key shall not take the place of what is there.
    #[error("there is something at '{}' already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The list of keys that were replaced is not one.
    #[error("'{}' is no list of retired keys ({problem}); move it away to accept none of them", path.display())]
    Retired {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// There is no randomness to make a key from.
    #[error("the operating system gives no random bytes: {0}")]
    Random(String),
}

impl OperatorKey {
    /// Loads the key from `operator.key` in `state`, the operator's own state folder; the first time, makes
    /// folder and key. Of several processes that do so at once, all get the same key. The key is durable when
    /// this returns.
    ///
    /// # Errors
    /// [`KeyError::Permissions`] and [`KeyError::Owner`] if somebody else could have read or exchanged the key;
    /// nothing is mended silently, because it may be too late. [`KeyError::Malformed`], [`KeyError::Io`],
    /// [`KeyError::Random`].
    pub fn load_or_create(state: &Path) -> Result<Self, KeyError> {
        Self::load_or_create_named(state, KEY_FILE)
    }

    /// As [`load_or_create`](Self::load_or_create), of the operator's key for checkpoints in `checkpoint.key`.
    ///
    /// # Errors
    /// The same.
    pub fn load_or_create_for_checkpoints(state: &Path) -> Result<Self, KeyError> {
        Self::load_or_create_named(state, CHECKPOINT_KEY_FILE)
    }

    /// The operator's key for checkpoints, if there is one; nothing is made.
    ///
    /// # Errors
    /// The same.
    pub fn load_for_checkpoints(state: &Path) -> Result<Option<Self>, KeyError> {
        Self::load_named(state, CHECKPOINT_KEY_FILE)
    }

    /// The operator's key, if there is one; nothing is made.
    ///
    /// # Errors
    /// The same.
    pub fn load_existing(state: &Path) -> Result<Option<Self>, KeyError> {
        Self::load_named(state, KEY_FILE)
    }

    fn load_named(state: &Path, name: &str) -> Result<Option<Self>, KeyError> {
        let folder = match File::open(state) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(system(state, &error)),
        };
        check_owner(state, &folder, 0o022, 0o700)?;
        Self::load(&folder, state, name)
    }

    fn load_or_create_named(state: &Path, name: &str) -> Result<Self, KeyError> {
        let io = |e: &dyn fmt::Display| KeyError::Io { path: state.to_owned(), problem: e.to_string() };
        DirBuilder::new().recursive(true).mode(0o700).create(state).map_err(|e| io(&e))?;
        let folder = File::open(state).map_err(|e| io(&e))?;
        // Whoever may write to the folder may put another key in its place.
        check_owner(state, &folder, 0o022, 0o700)?;
        match Self::load(&folder, state, name)? {
            Some(key) => Ok(key),
            None => {
                Self::generate()?.store(&folder, state, name)?;
                let lost = || io(&"the key vanished while it was made");
                Self::load(&folder, state, name)?.ok_or_else(lost)
            }
        }
    }

    /// A new key, in memory alone.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|e| KeyError::Random(e.to_string()))?;
        let key = Self::from_seed(&seed);
        seed.zeroize();
        Ok(key)
    }

    /// The key that follows from `seed`, which is the secret itself.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn public(&self) -> VerifyingKey {
        self.0.verifying_key()
    }

    /// A secret for another purpose, which follows from the key and from `context`: who has it cannot find the key.
    pub fn derive(&self, context: &str) -> [u8; 32] {
        let mut seed = self.0.to_bytes();
        let derived = Digest::of_fields(context, [&seed[..]]).0;
        seed.zeroize();
        derived
    }

    /// The name of the public half.
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.public())
    }

    /// The Ed25519 signature over `message`. Whoever calls it sees to it that no message of one use can be taken for one
    /// of another.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        use ed25519_dalek::Signer;
        self.0.sign(message).to_bytes()
    }

    pub(crate) fn seed(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.to_bytes())
    }

    pub(crate) fn load(folder: &File, state: &Path, name: &str) -> Result<Option<Self>, KeyError> {
        let path = state.join(name);
        let malformed = |problem| KeyError::Malformed { path: path.clone(), problem };
        let Some(mut file) = open_own(folder, &path, name)? else { return Ok(None) };
        let metadata = file.metadata().map_err(|e| system(&path, &e))?;
        if metadata.len() != FILE_LEN as u64 {
            return Err(malformed("64 hex digits and a line feed are expected"));
        }
        let mut text = [0; FILE_LEN];
        let mut seed = [0; 32];
        let read = file.read_exact(&mut text).map_err(|e| system(&path, &e));
        let parsed =
            read.map(|()| text[FILE_LEN - 1] == b'\n' && parse_hex(&text[..FILE_LEN - 1], &mut seed));
        let key = parsed.map(|good| good.then(|| Self::from_seed(&seed)));
        text.zeroize();
        seed.zeroize();
        key?.map(Some).ok_or_else(|| malformed("64 lower-case hex digits and a line feed are expected"))
    }

    /// Writes the key beside its place and links it there, so that it is never there in part and never replaces
    /// one that another process has put there.
    pub(crate) fn store(&self, folder: &File, state: &Path, name: &str) -> Result<(), KeyError> {
        let mut number = [0; 8];
        getrandom::fill(&mut number).map_err(|e| KeyError::Random(e.to_string()))?;
        let draft = format!(".{name}.{:016x}", u64::from_le_bytes(number));
        let path = state.join(&draft);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(folder, &draft, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(fd.map_err(|e| system(&path, &e.into()))?);
        let mut text = [b'\n'; FILE_LEN];
        let mut seed = self.0.to_bytes();
        write_hex(&seed, &mut text);
        let written = file.write_all(&text).and_then(|()| file.sync_all());
        text.zeroize();
        seed.zeroize();
        let linked = written.and_then(|()| {
            match rustix::fs::linkat(folder, &draft, folder, name, rustix::fs::AtFlags::empty()) {
                // Another process was first; its key is the key.
                Err(rustix::io::Errno::EXIST) => Ok(()),
                other => other.map_err(io::Error::from),
            }
        });
        let removed = rustix::fs::unlinkat(folder, &draft, rustix::fs::AtFlags::empty());
        linked.map_err(|e| system(&path, &e))?;
        removed.map_err(|e| system(&path, &e.into()))?;
        folder.sync_all().map_err(|e| system(state, &e))?;
        // The folder itself must be there after a crash as well.
        if let Some(above) = state.parent().filter(|p| !p.as_os_str().is_empty()) {
            let above =
                openat(CWD, above, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
            above
                .map(File::from)
                .map_err(io::Error::from)
                .and_then(|f| f.sync_all())
                .map_err(|e| system(state, &e))?;
        }
        Ok(())
    }
}

impl KeyId {
    /// The name of `key`.
    pub fn of(key: &VerifyingKey) -> Self {
        Self::first_of(Digest::of_fields("toka 2026 key id v1", [&key.as_bytes()[..]]))
    }

    #[cfg(feature = "biscuit")]
    pub(crate) fn first_half(self) -> u32 {
        u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }

    pub(crate) fn first_of(digest: Digest) -> Self {
        let mut id = [0; 8];
        id.copy_from_slice(&digest.0[..8]);
        Self(id)
    }
}

/// The public key that is written as 64 lower-case hex digits, if it is one.
pub fn public_from_hex(text: &str) -> Option<VerifyingKey> {
    let mut bytes = [0; 32];
    parse_hex(text.as_bytes(), &mut bytes).then(|| VerifyingKey::from_bytes(&bytes).ok()).flatten()
}

/// A public key as 64 lower-case hex digits.
pub fn public_to_hex(key: &VerifyingKey) -> String {
    let mut hex = [0; 64];
    write_hex(key.as_bytes(), &mut hex);
    hex.map(char::from).iter().collect()
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for KeyId {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        let mut id = [0; 8];
        let good = text.len() == 16 && parse_hex(text.as_bytes(), &mut id);
        good.then_some(Self(id))
            .ok_or_else(|| HexError { text: text.chars().take(40).collect(), expected: 16 })
    }
}

impl fmt::Debug for OperatorKey {
    /// The public half's name alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorKey({})", self.id())
    }
}

impl KeyError {
    /// A stable kebab-case code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Permissions { .. } => "key-permissions",
            Self::Owner { .. } => "key-owner",
            Self::Malformed { .. } => "key-malformed",
            Self::Io { .. } => "key-io",
            Self::Secret { .. } => "key-secret",
            Self::Absent { .. } => "key-absent",
            Self::Exists { .. } => "key-exists",
            Self::Retired { .. } => "key-retired",
            Self::Random(_) => "key-random",
        }
    }
}

/// Opens a regular file in `folder` that nobody but its owner may use; `None` if there is none.
pub(crate) fn open_own(folder: &File, path: &Path, name: &str) -> Result<Option<File>, KeyError> {
    let malformed = |problem| KeyError::Malformed { path: path.to_owned(), problem };
    // NONBLOCK: a pipe in its place must not stop the start.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(folder, name, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(rustix::io::Errno::LOOP) => return Err(malformed("it is a symbolic link")),
        Err(error) => return Err(system(path, &error.into())),
    };
    if !file.metadata().map_err(|e| system(path, &e))?.is_file() {
        return Err(malformed("it is no regular file"));
    }
    check_owner(path, &file, 0o077, 0o600)?;
    Ok(Some(file))
}

/// Refuses what belongs to another user, or has one of the mode bits `forbidden`.
pub(crate) fn check_owner(path: &Path, file: &File, forbidden: u32, wanted: u32) -> Result<(), KeyError> {
    let metadata = file.metadata().map_err(|e| system(path, &e))?;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(KeyError::Owner { path: path.to_owned(), owner: metadata.uid(), user });
    }
    let mode = metadata.mode() & 0o777;
    if mode & forbidden != 0 {
        return Err(KeyError::Permissions { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}

pub(crate) fn system(path: &Path, error: &io::Error) -> KeyError {
    KeyError::Io { path: path.to_owned(), problem: error.to_string() }
}

pub(crate) fn write_hex(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// True if `text` is lower-case hex for exactly `bytes`, which are then written.
fn parse_hex(text: &[u8], bytes: &mut [u8]) -> bool {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let pairs = text.chunks_exact(2);
    let whole = pairs.remainder().is_empty() && pairs.len() == bytes.len();
    whole
        && pairs.zip(bytes).all(|(pair, byte)| match (digit(pair[0]), digit(pair[1])) {
            (Some(high), Some(low)) => {
                *byte = high << 4 | low;
                true
            }
            _ => false,
        })
}
