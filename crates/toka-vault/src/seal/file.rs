//! The keys file of a vault: lines, each with a checksum, the last of which may be torn.
//!
//! A subject's keys are appended when they are made. Erasing and rotating write the file anew beside the old one,
//! rename it, and overwrite what the old one held.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use toka_types::KeyId;

use super::SealingError;
use super::crypto::{NONCE, hex, unhex};
use super::source::{Derivation, Source};

/// The name of the keys file in a vault's directory.
pub const KEYS_FILE: &str = "keys";
/// The version of the file that this build reads and writes.
const FORMAT: u32 = 1;
const FIRST_WORD: &str = "toka-keys";
/// Hex digits of a line's checksum.
const CHECK: usize = 16;
/// Bytes that are overwritten at once.
const PIECE: usize = 64 << 10;

/// What tells a file from one that was written since: its inode, its length and when it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(u64, u64, i64, i64);

impl Stamp {
    /// The stamp of the file at `path`; `None` if it cannot be looked at.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Self(file.ino(), file.len(), file.ctime(), file.ctime_nsec()))
    }
}

/// A wrapped secret: its nonce and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrapped {
    pub(super) nonce: [u8; NONCE],
    pub(super) bytes: Vec<u8>,
}

/// What a keys file says, still locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeysFile {
    /// The id of these keys, which the vault's manifest names.
    pub(super) id: KeyId,
    pub(super) epoch: u32,
    pub(super) derivation: Derivation,
    pub(super) master: Wrapped,
    pub(super) projections: Wrapped,
    /// The keys of each subject, in the last form in which they were written.
    pub(super) subjects: BTreeMap<KeyId, Wrapped>,
    /// Keys that were destroyed.
    pub(super) erased: BTreeSet<KeyId>,
}

/// What anybody can see of a vault's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysInfo {
    /// The id of these keys, which the vault's manifest names.
    pub id: KeyId,
    /// What opens them.
    pub source: Source,
    /// How often the master key was replaced, and one.
    pub epoch: u32,
    /// The keys of subjects. Whose they are is sealed.
    pub subjects: BTreeSet<KeyId>,
    /// The keys that were destroyed.
    pub erased: BTreeSet<KeyId>,
}

/// The path of the keys file of the vault in the directory `vault`. A copy of it that belongs to a bundle lies beside that
/// file, with `.keys` behind its name.
pub fn keys_path(vault: &Path) -> PathBuf {
    if vault.is_file() {
        let mut name = vault.as_os_str().to_owned();
        name.push(".");
        name.push(KEYS_FILE);
        return name.into();
    }
    vault.join(KEYS_FILE)
}

impl KeysInfo {
    /// Looks at the keys of the vault in `vault`; `None` if it has none. Needs no key.
    pub fn read(vault: &Path) -> Result<Option<Self>, SealingError> {
        match KeysFile::read(&keys_path(vault)) {
            Ok((file, _)) => Ok(Some(Self {
                id: file.id,
                source: file.derivation.source(),
                epoch: file.epoch,
                subjects: file.subjects.into_keys().collect(),
                erased: file.erased,
            })),
            Err(SealingError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl KeysFile {
    /// Reads the file at `path`; also up to where it is sound.
    pub(super) fn read(path: &Path) -> Result<(Self, u64), SealingError> {
        let bytes = fs::read(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => SealingError::Missing { path: path.to_owned() },
            _ => SealingError::io("read", path, &error),
        })?;
        Self::parse(path, &bytes)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<(Self, u64), SealingError> {
        let damage = |line: usize, detail: &str| SealingError::Damage {
            path: path.to_owned(),
            line: line + 1,
            detail: detail.to_owned(),
        };
        let (mut format, mut id, mut master, mut projections) = (None, None, None, None);
        let (mut subjects, mut erased) = (BTreeMap::new(), BTreeSet::new());
        let mut sound = 0;
        let mut lines = bytes.split_inclusive(|&byte| byte == b'\n').enumerate().peekable();
        while let Some((number, line)) = lines.next() {
            let is_last = lines.peek().is_none();
            let Some(body) = checked(line) else {
                if number == 0 && !line.starts_with(FIRST_WORD.as_bytes()) {
                    return Err(damage(number, "it is no keys file"));
                }
                // Nothing was sealed under keys whose line was being written when the machine died.
                if is_last && projections.is_some() && is_torn(line) {
                    break;
                }
                return Err(damage(number, "the line does not match its checksum"));
            };
            sound += line.len() as u64;
            let words: Vec<&str> = body.split(' ').collect();
            let understood = match (&words[..], number) {
                ([FIRST_WORD, version], 0) => version.parse::<u32>().ok().map(|found| format = Some(found)),
                (["keys", text], 1) => text.parse().ok().map(|found: KeyId| id = Some(found)),
                (["master", epoch, derivation @ .., nonce, bytes], 2) => (|| {
                    let derivation = Derivation::from_words(derivation)?;
                    master = Some((epoch.parse::<u32>().ok()?, derivation, Wrapped::parse(nonce, bytes)?));
                    Some(())
                })(),
                (["projections", nonce, bytes], 3) => {
                    Wrapped::parse(nonce, bytes).map(|found| projections = Some(found))
                }
                (["subject", key, nonce, bytes], 4..) => (|| {
                    subjects.insert(key.parse().ok()?, Wrapped::parse(nonce, bytes)?);
                    Some(())
                })(),
                (["erased", key], 4..) => key.parse().ok().map(|key| {
                    erased.insert(key);
                }),
                _ => None,
            };
            if let Some(found) = format.filter(|found| *found != FORMAT) {
                return Err(SealingError::Format { path: path.to_owned(), found, known: FORMAT });
            }
            understood.ok_or_else(|| damage(number, "the line is not understood"))?;
        }
        let (Some(id), Some((epoch, derivation, master)), Some(projections)) = (id, master, projections)
        else {
            return Err(damage(0, "lines are missing"));
        };
        subjects.retain(|key, _| !erased.contains(key));
        Ok((Self { id, epoch, derivation, master, projections, subjects, erased }, sound))
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = line(&format!("{FIRST_WORD} {FORMAT}"));
        text += &line(&format!("keys {}", self.id));
        let derivation = self.derivation.to_words();
        text += &line(&format!("master {} {derivation} {}", self.epoch, self.master.to_words()));
        text += &line(&format!("projections {}", self.projections.to_words()));
        for (key, wrapped) in &self.subjects {
            text += &subject_line(*key, wrapped);
        }
        for key in &self.erased {
            text += &line(&format!("erased {key}"));
        }
        text
    }

    /// Writes the file where none is yet; durable when it returns. Returns its length.
    pub(super) fn create(&self, path: &Path) -> Result<u64, SealingError> {
        let text = self.to_text();
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => SealingError::Exists { path: path.to_owned() },
            _ => SealingError::io("write", path, &error),
        };
        let temporary = path.with_extension("new");
        let written = write_new(&temporary, &text).and_then(|()| fs::hard_link(&temporary, path));
        // The name under which it was written is not needed, whether it has its own by now or not.
        let removed = fs::remove_file(&temporary);
        written.and(removed).and_then(|()| sync_folder(path)).map_err(failed)?;
        Ok(text.len() as u64)
    }

    /// Replaces the file durably and overwrites what the old one held. Returns its length.
    pub(super) fn replace(&self, path: &Path) -> Result<u64, SealingError> {
        let text = self.to_text();
        let failed = |error: io::Error| SealingError::io("replace", path, &error);
        let old = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        let temporary = path.with_extension("new");
        write_new(&temporary, &text)
            .and_then(|()| fs::rename(&temporary, path))
            .and_then(|()| sync_folder(path))
            .and_then(|()| overwrite(&old))
            .map_err(failed)?;
        Ok(text.len() as u64)
    }
}

/// Appends a subject's keys at `at`, up to where the file is sound; durable when it returns. Returns its new length.
pub(super) fn append_subject(
    path: &Path,
    at: u64,
    key: KeyId,
    wrapped: &Wrapped,
) -> Result<u64, SealingError> {
    let text = subject_line(key, wrapped);
    let appended = OpenOptions::new().write(true).open(path).and_then(|file| {
        file.set_len(at)?;
        file.write_all_at(text.as_bytes(), at)?;
        file.sync_data()
    });
    appended.map_err(|error| SealingError::io("write", path, &error))?;
    Ok(at + text.len() as u64)
}

impl Wrapped {
    fn parse(nonce: &str, bytes: &str) -> Option<Self> {
        Some(Self { nonce: unhex(nonce)?.try_into().ok()?, bytes: unhex(bytes)? })
    }

    fn to_words(&self) -> String {
        format!("{} {}", hex(&self.nonce), hex(&self.bytes))
    }
}

fn subject_line(key: KeyId, wrapped: &Wrapped) -> String {
    line(&format!("subject {key} {}", wrapped.to_words()))
}

fn line(body: &str) -> String {
    format!("{body} {}\n", check(body))
}

fn check(body: &str) -> String {
    let mut digits = blake3::hash(body.as_bytes()).to_hex().to_string();
    digits.truncate(CHECK);
    digits
}

/// What stands before a line's checksum, if it matches.
fn checked(line: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (body, digits) = text.rsplit_once(' ')?;
    (digits == check(body)).then_some(body)
}

/// True for a line that was not written to its end: that is missing, or a piece within is, and reads as zeros. A whole
/// line with something else in the place of its newline was changed.
fn is_torn(line: &[u8]) -> bool {
    let Some((last, body)) = line.split_last() else { return true };
    let whole = || checked(&[body, b"\n"].concat()).is_some();
    line.contains(&0) || (*last != b'\n' && !whole())
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Writes zeros over all of a file whose name is gone. A file system that writes elsewhere than where the old bytes
/// lie keeps those until it needs the room.
fn overwrite(file: &File) -> io::Result<()> {
    let zeros = vec![0; PIECE];
    let len = file.metadata()?.len();
    let mut at = 0;
    while at < len {
        let count = (len - at).min(PIECE as u64);
        file.write_all_at(&zeros[..count as usize], at)?;
        at += count;
    }
    file.sync_all()
}
