//! The manifest: what the vault is, and up to where everything was acknowledged when it was last closed.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toka_types::{EventId, KeyId};

use super::disk::Disk;
use super::frame::VaultId;
use crate::store::StoreError;

/// The format of a vault's directory that this build reads and writes.
pub(crate) const FORMAT: u32 = 1;
/// The format of a sealed vault's directory. A build that knows nothing of sealing would write plain text into it.
pub(crate) const SEALED_FORMAT: u32 = 2;
const ENGINE: &str = "journal";
const CHECKSUM_PREFIX: &str = "blake3 ";

/// The text of the manifest, without its last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    pub(crate) engine: String,
    /// The vault's own id, 32 hex digits.
    vault: String,
    /// The id of the keys that its content is sealed under, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) keys: Option<KeyId>,
    /// The number of dimensions of the vault's vectors.
    pub(crate) dimension: Option<u32>,
    /// The logs, in the order of their numbers.
    pub(crate) logs: Vec<ManifestLog>,
    /// Everything up to here was acknowledged.
    pub(crate) head: Option<Acknowledged>,
    /// Tells the vault's directory from its copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) directory: Option<String>,
    /// When the vault was about to be closed, in nanoseconds on the file system's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) closed: Option<u64>,
}

/// A log when the vault was closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManifestLog {
    pub(crate) name: String,
    pub(crate) events: u64,
    pub(crate) last: Option<EventId>,
    pub(crate) root: String,
}

/// A place in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Acknowledged {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// The checksum of the last frame before it.
    pub(crate) crc: u32,
}

impl Manifest {
    pub(crate) fn new(vault: VaultId, keys: Option<KeyId>) -> Self {
        let format = if keys.is_some() { SEALED_FORMAT } else { FORMAT };
        let vault = vault.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            format,
            engine: ENGINE.into(),
            vault,
            keys,
            dimension: None,
            logs: Vec::new(),
            head: None,
            directory: None,
            closed: None,
        }
    }

    /// The manifest of the same vault before it had events, kept by `engine`.
    pub(crate) fn emptied(self, engine: &str) -> Self {
        Self { engine: engine.into(), logs: Vec::new(), head: None, directory: None, closed: None, ..self }
    }

    pub(crate) fn path(vault: &Path) -> PathBuf {
        vault.join("manifest")
    }

    pub(crate) fn vault_id(&self) -> Option<VaultId> {
        self.vault.parse::<toka_types::OpId>().ok().map(|id| id.0)
    }

    /// Reads the manifest of the vault in `directory`, which the journal must keep; `None` if there is none.
    pub(crate) fn read(disk: &dyn Disk, directory: &Path) -> Result<Option<Self>, StoreError> {
        match Self::read_any(disk, directory)? {
            Some(manifest) if manifest.engine != ENGINE => {
                let detail = "and not by the journal: `toka_vault::open` opens it, whatever keeps it".into();
                let engine = toka_types::path::for_terminal(&manifest.engine);
                Err(StoreError::Engine { path: directory.to_owned(), engine, detail })
            }
            manifest => Ok(manifest),
        }
    }

    /// Reads the manifest of the vault in `directory`, whatever keeps it; `None` if there is none.
    pub(crate) fn read_any(disk: &dyn Disk, directory: &Path) -> Result<Option<Self>, StoreError> {
        let path = Self::path(directory);
        let bytes = match disk.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::Io { what: "read", path, detail: error.to_string() }),
        };
        let damage = |offset: usize, detail: &str| StoreError::Damage {
            file: path.clone(),
            offset: offset as u64,
            seq: None,
            detail: detail.into(),
        };
        // A newer format may have another way to check itself: its number is all that is read of it.
        let Some(body) = checked_body(&bytes) else {
            return match format_of(&bytes) {
                Some(found) if found > SEALED_FORMAT => {
                    Err(StoreError::Format { found, known: SEALED_FORMAT })
                }
                _ => Err(damage(0, "the manifest does not match its checksum")),
            };
        };
        let manifest: Self = match serde_json::from_slice(body) {
            Ok(manifest) => manifest,
            Err(error) => {
                return match format_of(&bytes) {
                    Some(found) if ![FORMAT, SEALED_FORMAT].contains(&found) => {
                        Err(StoreError::Format { found, known: SEALED_FORMAT })
                    }
                    _ => Err(damage(0, &format!("the manifest cannot be read: {error}"))),
                };
            }
        };
        let expected = if manifest.keys.is_some() { SEALED_FORMAT } else { FORMAT };
        if manifest.format != expected {
            return Err(StoreError::Format { found: manifest.format, known: SEALED_FORMAT });
        }
        if manifest.vault_id().is_none() {
            return Err(damage(0, "the vault's id is malformed"));
        }
        Ok(Some(manifest))
    }

    /// Replaces the manifest durably.
    pub(crate) fn write(&self, disk: &dyn Disk, directory: &Path) -> io::Result<()> {
        disk.replace(&Self::path(directory), &[self.to_text().as_bytes()], true)
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a manifest has no maps and no floats");
        text.push('\n');
        let checksum = blake3::hash(text.as_bytes());
        text.push_str(CHECKSUM_PREFIX);
        text.push_str(checksum.to_hex().as_str());
        text.push('\n');
        text
    }
}

/// What stands before the last line, if that line is its checksum, to the byte.
fn checked_body(bytes: &[u8]) -> Option<&[u8]> {
    let line = CHECKSUM_PREFIX.len() + 64 + 1;
    let (body, last) = bytes.split_at_checked(bytes.len().checked_sub(line)?)?;
    let expected = format!("{CHECKSUM_PREFIX}{}\n", blake3::hash(body).to_hex());
    (last == expected.as_bytes()).then_some(body)
}

/// The number after the first `"format":` of some bytes.
fn format_of(bytes: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(bytes);
    let (_, rest) = text.split_once("\"format\":")?;
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// True if nothing but the number of the format is not what was written: with another digit in its place the checksum
/// is right. That is damage, and no other version.
pub(crate) fn is_flipped_format(disk: &dyn Disk, directory: &Path) -> bool {
    const KEY: &[u8] = b"\"format\": ";
    let Ok(mut bytes) = disk.read(&Manifest::path(directory)) else { return false };
    if checked_body(&bytes).is_some() {
        return false;
    }
    let Some(digit) = bytes.windows(KEY.len()).position(|window| window == KEY).map(|at| at + KEY.len())
    else {
        return false;
    };
    (b'0'..=b'9').any(|other| {
        if let Some(byte) = bytes.get_mut(digit) {
            *byte = other;
        }
        checked_body(&bytes).is_some()
    })
}
