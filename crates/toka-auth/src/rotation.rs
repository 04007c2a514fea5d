//! The operator's key replaced by a new one, on disk, while what the old one signed stays valid for a time.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use ed25519_dalek::VerifyingKey;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat, renameat};
use toka_types::Timestamp;
use zeroize::Zeroizing;

use crate::key::{
    KEY_FILE, KeyError, OperatorKey, check_owner, public_from_hex, public_to_hex, system, write_hex,
};
use crate::ring::KeyRing;

/// The file of the public halves that were replaced: a line each, its hex, a space, and its end in µs after the epoch.
pub const RETIRED_FILE: &str = "operator.retired";

/// Most retired keys: one is replaced by the next, and each is accepted for hours or days.
const MAX_RETIRED: usize = 64;

type Retired = Vec<(VerifyingKey, Timestamp)>;

impl OperatorKey {
    /// Puts a new key in the place of the operator's. What the old one signed is accepted until `end` by whoever loads
    /// [`retired`](Self::retired) keys too; those that ended before `at` are forgotten. Both is durable when this returns,
    /// and a crash before leaves the old key in its place. Processes that run keep the key that they loaded.
    ///
    /// # Errors
    /// Those of [`load_or_create`](Self::load_or_create), and [`KeyError::Retired`].
    pub fn rotate(state: &Path, at: Timestamp, end: Timestamp) -> Result<Self, KeyError> {
        let old = Self::load_or_create(state)?;
        let folder = File::open(state).map_err(|e| system(state, &e))?;
        // One at a time: of two that came at once, the second retires the key of the first.
        flock(&folder, FlockOperation::LockExclusive).map_err(|e| system(state, &e.into()))?;
        let old = Self::load(&folder, state, KEY_FILE)?.unwrap_or(old);
        let mut retired = read(state)?;
        retired.retain(|(key, until)| *until > at && *key != old.public());
        retired.push((old.public(), end));
        if retired.len() > MAX_RETIRED {
            let problem = "it has 64 keys already; wait until some have ended";
            return Err(KeyError::Retired { path: state.join(RETIRED_FILE), problem });
        }
        let mut text = String::new();
        for (key, until) in &retired {
            text.push_str(&format!("{} {}\n", public_to_hex(key), until.0));
        }
        // The old key is retired first: if nothing follows, it is accepted as the key that it still is.
        replace(&folder, state, RETIRED_FILE, text.as_bytes())?;
        let new = Self::generate()?;
        let mut text = Zeroizing::new([b'\n'; 65]);
        write_hex(&*new.seed(), &mut text[..64]);
        replace(&folder, state, KEY_FILE, &*text)?;
        Ok(new)
    }

    /// The keys that were replaced, with their ends, to be [accepted](crate::Operator::accepting) beside the present one.
    ///
    /// # Errors
    /// [`KeyError::Permissions`] and [`KeyError::Owner`] if somebody else could have put a key there, [`KeyError::Retired`]
    /// if it is not a list of keys, [`KeyError::Io`].
    pub fn retired(state: &Path) -> Result<KeyRing, KeyError> {
        let rings = read(state)?.into_iter().map(|(key, until)| KeyRing::new([key]).until(until));
        Ok(rings.fold(KeyRing::default(), |all, ring| all.join(&ring)))
    }
}

fn read(state: &Path) -> Result<Retired, KeyError> {
    let path = state.join(RETIRED_FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(system(&path, &error)),
    };
    let folder = File::open(state).map_err(|e| system(state, &e))?;
    check_owner(state, &folder, 0o022, 0o700)?;
    check_owner(&path, &file, 0o022, 0o600)?;
    let text = fs::read_to_string(&path).map_err(|e| system(&path, &e))?;
    let problem = "each line is 64 hex digits of a key, a space, and its end in µs after the epoch";
    let retired: Option<Retired> = text.lines().map(line).collect();
    retired.filter(|all| all.len() <= MAX_RETIRED).ok_or(KeyError::Retired { path, problem })
}

fn line(line: &str) -> Option<(VerifyingKey, Timestamp)> {
    let (key, until) = line.split_once(' ')?;
    Some((public_from_hex(key)?, Timestamp(until.parse().ok()?)))
}

/// Writes the file beside its place and moves it there: it is the old one or the new one, whole, and durable.
fn replace(folder: &File, state: &Path, name: &str, bytes: &[u8]) -> Result<(), KeyError> {
    let draft = format!(".{name}.new");
    let path = state.join(&draft);
    // Whoever holds the lock may clear what a crash has left.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd: OwnedFd =
        openat(folder, &draft, flags, Mode::RUSR | Mode::WUSR).map_err(|e| system(&path, &e.into()))?;
    let mut file = File::from(fd);
    check_owner(&path, &file, 0o077, 0o600)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| system(&path, &e))?;
    renameat(folder, &draft, folder, name).map_err(|e| system(&state.join(name), &e.into()))?;
    folder.sync_all().map_err(|e| system(state, &e))
}
