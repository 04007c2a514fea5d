//! The container of every projection file: named sections, every byte under a checksum, readable in
//! parts.
//!
//! ```text
//! header   4,096 bytes: magic, kind, version, position, head, section table, digest of the block
//!          table, and last the BLAKE3 digest of the header before it
//! payload  the sections, one after the other
//! table    for each 4,096 bytes of payload the first 8 bytes of their BLAKE3 digest
//! ```
//!
//! In a sealed vault each block of the payload is encrypted by itself, its tag stands in the table beside the digest
//! (which is of what is stored, so that checking needs no key), and the header holds a salt; `docs/format/sealing.md`.
//!
//! A reader verifies the header and the table when it opens the file and a block whenever it reads
//! from it, so that a query pays for what it touches. Files are written under a temporary name,
//! synced and renamed: a reader sees the old file or the new one, and one that has the old file open
//! goes on reading it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::key::{FileKey, ProjectionKey};
use super::{Position, Problem, ProjectionError};

/// Granularity of checksums: small, so that a query that needs one posting list verifies little; large
/// enough that the table stays at 0.2 % of the file.
const BLOCK: u64 = 4096;
/// Length of the header; a section table of [`MAX_SECTIONS`] fits.
const HEADER: usize = 4096;
/// Bytes of a block's digest that are kept. 64 bits: damage goes unseen once in 2^64.
const DIGEST: usize = 8;
/// Most sections of a file.
const MAX_SECTIONS: usize = 64;
/// Bytes of a section's name, padded with zeros.
const NAME: usize = 16;
/// What is derived from the log says what the log says: it is the owner's alone, as the log is.
const MODE: u32 = 0o600;

const MAGIC: &[u8; 8] = b"TOKAPROJ";
const SEALED_MAGIC: &[u8; 8] = b"TOKASEAL";
/// Bytes of a block's authentication tag in a sealed file.
const TAG: usize = 16;
/// Bytes of a sealed file's salt.
const SALT: usize = 32;
const HEADER_HASH_AT: usize = HEADER - 32;

/// What a projection file is: its kind and the version of that kind's format.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    pub(crate) kind: &'static str,
    pub(crate) version: u32,
}

/// A projection file open for reading.
#[derive(Debug)]
pub(crate) struct BlockFile {
    file: File,
    path: PathBuf,
    position: Position,
    sections: Vec<Section>,
    table: Vec<u8>,
    payload: u64,
    sealed: Sealed,
}

/// Whether the payload is encrypted, and whether it can be read.
#[derive(Debug)]
#[cfg_attr(not(feature = "seal"), allow(dead_code, reason = "without that feature there are no keys"))]
enum Sealed {
    No,
    /// The key is not at hand: the bytes can be checked alone.
    Closed,
    Open(FileKey),
}

impl Sealed {
    #[cfg(feature = "seal")]
    fn of(key: &ProjectionKey, salt: &[u8; SALT]) -> Self {
        Self::Open(key.file(salt))
    }

    #[cfg(not(feature = "seal"))]
    fn of(key: &ProjectionKey, _: &[u8; SALT]) -> Self {
        match *key {}
    }
}

#[derive(Debug, Clone)]
struct Section {
    name: String,
    offset: u64,
    length: u64,
}

/// Writes a projection file so that it is durable and whole, or not there, whenever the process dies. With a key it
/// is encrypted.
pub(crate) fn write(
    path: &Path,
    format: Format,
    position: Position,
    sections: &[(&str, &[u8])],
    key: Option<&ProjectionKey>,
) -> Result<(), ProjectionError> {
    assert!(sections.len() <= MAX_SECTIONS, "the format has a fixed list of sections");
    let temporary = path.with_extension("tmp");
    let written = match key {
        None => write_to(&temporary, format, position, sections),
        Some(key) => write_sealed(&temporary, format, position, sections, key),
    };
    let written = written.and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // What was begun is in the way of whatever the disk has no room for.
        let _ = fs::remove_file(&temporary);
    }
    let named = written.and_then(|()| match path.parent() {
        // Without this the rename itself may be lost with the power.
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    });
    named.map_err(|error| ProjectionError::io(path, &error))
}

fn write_to(path: &Path, format: Format, position: Position, sections: &[(&str, &[u8])]) -> io::Result<()> {
    let mut file = create(path)?;
    let mut table = Vec::new();
    each_block(sections, |block| table.extend_from_slice(&digest(block)));
    file.write_all(&header(format, position, sections, blake3::hash(&table).as_bytes(), None))?;
    for (_, bytes) in sections {
        file.write_all(bytes)?;
    }
    file.write_all(&table)?;
    file.sync_all()
}

#[cfg(not(feature = "seal"))]
fn write_sealed(
    _: &Path,
    _: Format,
    _: Position,
    _: &[(&str, &[u8])],
    key: &ProjectionKey,
) -> io::Result<()> {
    match *key {}
}

#[cfg(feature = "seal")]
fn write_sealed(
    path: &Path,
    format: Format,
    position: Position,
    sections: &[(&str, &[u8])],
    key: &ProjectionKey,
) -> io::Result<()> {
    let bare = header(format, position, sections, &[0; 32], Some(&[0; SALT]));
    let salt =
        key.salt([&bare[..HEADER_HASH_AT]].into_iter().chain(sections.iter().map(|(_, bytes)| *bytes)));
    let file_key = key.file(&salt);
    let (mut table, mut payload, mut number) = (Vec::new(), Vec::new(), 0);
    each_block(sections, |block| {
        let start = payload.len();
        payload.extend_from_slice(block);
        let tag = file_key.seal(number, &mut payload[start..]);
        table.extend_from_slice(&digest(&payload[start..]));
        table.extend_from_slice(&tag);
        number += 1;
    });
    let mut file = create(path)?;
    file.write_all(&header(format, position, sections, blake3::hash(&table).as_bytes(), Some(&salt)))?;
    file.write_all(&payload)?;
    file.write_all(&table)?;
    file.sync_all()
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(path)
}

/// Shows the payload block by block.
fn each_block(sections: &[(&str, &[u8])], mut show: impl FnMut(&[u8])) {
    let mut pending = Vec::with_capacity(BLOCK as usize);
    for (_, bytes) in sections {
        let mut rest = *bytes;
        while !rest.is_empty() {
            let take = rest.len().min(BLOCK as usize - pending.len());
            pending.extend_from_slice(&rest[..take]);
            rest = &rest[take..];
            if pending.len() == BLOCK as usize {
                show(&pending);
                pending.clear();
            }
        }
    }
    if !pending.is_empty() {
        show(&pending);
    }
}

/// Reads every byte of a projection file and reports what is wrong; one that is not there is no problem.
pub(crate) fn verify(path: &Path, format: Format) -> Vec<Problem> {
    match BlockFile::open(path, format, None) {
        Ok(file) => file.verify(),
        Err(ProjectionError::Missing { .. }) => Vec::new(),
        Err(error) => vec![Problem { file: path.to_path_buf(), detail: error.to_string() }],
    }
}

fn header(
    format: Format,
    position: Position,
    sections: &[(&str, &[u8])],
    table_hash: &[u8; 32],
    salt: Option<&[u8; SALT]>,
) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(if salt.is_some() { SEALED_MAGIC } else { MAGIC });
    header.extend_from_slice(&padded(format.kind));
    header.extend_from_slice(&format.version.to_le_bytes());
    header.extend_from_slice(&position.seq.to_le_bytes());
    header.extend_from_slice(&position.head);
    header.extend_from_slice(table_hash);
    header.extend_from_slice(&(sections.len() as u32).to_le_bytes());
    let mut offset = 0u64;
    for (name, bytes) in sections {
        header.extend_from_slice(&padded(name));
        header.extend_from_slice(&offset.to_le_bytes());
        header.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        offset += bytes.len() as u64;
    }
    header.extend_from_slice(salt.map_or(&[][..], |salt| salt));
    header.resize(HEADER_HASH_AT, 0);
    let hash = blake3::hash(&header);
    header.extend_from_slice(hash.as_bytes());
    header
}

impl BlockFile {
    /// Opens a file and verifies header and block table, not the payload. Without the key of a sealed one the payload
    /// can be checked alone; a file that is not sealed is of no use to whoever has a key.
    pub(crate) fn open(
        path: &Path,
        format: Format,
        key: Option<&ProjectionKey>,
    ) -> Result<Self, ProjectionError> {
        let failed = |error: io::Error| ProjectionError::io(path, &error);
        let damaged = |section: &str, detail: &str| ProjectionError::Damaged {
            file: path.to_path_buf(),
            section: section.to_owned(),
            detail: detail.to_owned(),
        };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length < HEADER as u64 {
            return Err(damaged("header", "the file is shorter than its header"));
        }
        let mut header = vec![0; HEADER];
        file.read_exact_at(&mut header, 0).map_err(failed)?;
        if blake3::hash(&header[..HEADER_HASH_AT]).as_bytes()[..] != header[HEADER_HASH_AT..] {
            return Err(damaged("header", "its checksum does not match"));
        }
        let mut cursor = Cursor(&header);
        let magic = cursor.take(8);
        let is_sealed = magic == SEALED_MAGIC;
        if !(is_sealed || magic == MAGIC) || cursor.take(NAME) != padded(format.kind) {
            return Err(damaged("header", "it is not a projection of this kind"));
        }
        if key.is_some() && !is_sealed {
            return Err(damaged("header", "it is not sealed, and the vault is"));
        }
        let version = cursor.u32();
        if version != format.version {
            return Err(ProjectionError::Version {
                file: path.to_path_buf(),
                found: version,
                expected: format.version,
            });
        }
        let seq = cursor.u64();
        let mut head = [0; 32];
        head.copy_from_slice(cursor.take(32));
        let table_hash = cursor.take(32).to_vec();
        let count = cursor.u32() as usize;
        if count > MAX_SECTIONS {
            return Err(damaged("header", "it lists too many sections"));
        }
        let mut sections = Vec::with_capacity(count);
        let mut payload = 0u64;
        for _ in 0..count {
            let name = String::from_utf8_lossy(cursor.take(NAME)).trim_end_matches('\0').to_owned();
            let (offset, size) = (cursor.u64(), cursor.u64());
            if offset != payload || size > length {
                return Err(damaged("header", "its section table does not add up"));
            }
            payload += size;
            sections.push(Section { name, offset, length: size });
        }
        let blocks = payload.div_ceil(BLOCK);
        let mut salt = [0; SALT];
        let entry = if is_sealed { DIGEST + TAG } else { DIGEST };
        if is_sealed {
            salt.copy_from_slice(cursor.take(SALT));
        }
        let sealed = match key {
            Some(key) => Sealed::of(key, &salt),
            None if is_sealed => Sealed::Closed,
            None => Sealed::No,
        };
        if length != HEADER as u64 + payload + blocks * entry as u64 {
            return Err(damaged("header", "the file is not as long as its header says"));
        }
        let mut table = vec![0; blocks as usize * entry];
        file.read_exact_at(&mut table, HEADER as u64 + payload).map_err(failed)?;
        if blake3::hash(&table).as_bytes()[..] != table_hash[..] {
            return Err(damaged("block table", "its checksum does not match"));
        }
        Ok(Self {
            file,
            path: path.to_path_buf(),
            position: Position { seq, head },
            sections,
            table,
            payload,
            sealed,
        })
    }

    /// The position of the log that the file covers.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// First bytes of the digest of the whole content: two files with the same one are the same.
    #[cfg(feature = "search")]
    pub(crate) fn fingerprint(&self) -> u64 {
        let hash = blake3::hash(&self.table);
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        u64::from_be_bytes(first)
    }

    /// Length of a section in bytes.
    pub(crate) fn length(&self, section: &str) -> Result<u64, ProjectionError> {
        self.find(section).map(|section| section.length)
    }

    /// A whole section.
    pub(crate) fn read_all(&self, section: &str) -> Result<Vec<u8>, ProjectionError> {
        let length = self.length(section)?;
        self.read(section, 0, length as usize)
    }

    /// A part of a section, verified.
    pub(crate) fn read(&self, section: &str, offset: u64, length: usize) -> Result<Vec<u8>, ProjectionError> {
        if matches!(self.sealed, Sealed::Closed) {
            return Err(ProjectionError::Sealed { file: self.path.clone() });
        }
        self.read_checked(section, offset, length)
    }

    /// A part of a section, verified; as it is stored, if it is sealed and the key is not at hand.
    fn read_checked(&self, section: &str, offset: u64, length: usize) -> Result<Vec<u8>, ProjectionError> {
        let found = self.find(section)?;
        let end = offset.checked_add(length as u64);
        if end.is_none_or(|end| end > found.length) {
            return Err(self.damaged(section, "an offset points outside of it"));
        }
        if length == 0 {
            return Ok(Vec::new());
        }
        let start = found.offset + offset;
        let first = start / BLOCK;
        let last = (start + length as u64 - 1) / BLOCK;
        let from = first * BLOCK;
        let to = ((last + 1) * BLOCK).min(self.payload);
        let mut bytes = vec![0; (to - from) as usize];
        self.file
            .read_exact_at(&mut bytes, HEADER as u64 + from)
            .map_err(|error| ProjectionError::io(&self.path, &error))?;
        let entry = if matches!(self.sealed, Sealed::No) { DIGEST } else { DIGEST + TAG };
        for (number, block) in (first..).zip(bytes.chunks_mut(BLOCK as usize)) {
            let known = &self.table[number as usize * entry..][..entry];
            if digest(block)[..] != known[..DIGEST] {
                return Err(self.damaged(section, "a block's checksum does not match"));
            }
            if let Sealed::Open(key) = &self.sealed {
                let mut tag = [0; TAG];
                tag.copy_from_slice(&known[DIGEST..]);
                if !key.open(number, block, &tag) {
                    return Err(self.damaged(section, "it was sealed under another key"));
                }
            }
        }
        bytes.truncate((start - from) as usize + length);
        bytes.drain(..(start - from) as usize);
        Ok(bytes)
    }

    /// Reads every block and names every section that a bad one touches.
    fn verify(&self) -> Vec<Problem> {
        self.sections
            .iter()
            .filter(|section| section.length > 0)
            .filter_map(|section| self.read_checked(&section.name, 0, section.length as usize).err())
            .map(|error| Problem { file: self.path.clone(), detail: error.to_string() })
            .collect()
    }

    /// The error for content that cannot be what was written.
    pub(crate) fn damaged(&self, section: &str, detail: &str) -> ProjectionError {
        ProjectionError::Damaged {
            file: self.path.clone(),
            section: section.to_owned(),
            detail: detail.to_owned(),
        }
    }

    fn find(&self, name: &str) -> Result<&Section, ProjectionError> {
        self.sections
            .iter()
            .find(|section| section.name == name)
            .ok_or_else(|| self.damaged(name, "the section is not there"))
    }
}

/// Appends an unsigned number in 7-bit groups, least significant first.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a length and that many bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what [`put`] and [`put_bytes`] wrote. `None` where the bytes end too early or make no sense, so
/// that no content whatever can make a reader panic.
#[derive(Debug, Clone)]
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    #[inline]
    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

/// Reads the header, whose length is fixed and was verified before.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.take(4));
        u32::from_le_bytes(bytes)
    }

    fn u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8));
        u64::from_le_bytes(bytes)
    }
}

fn digest(block: &[u8]) -> [u8; DIGEST] {
    let mut first = [0; DIGEST];
    first.copy_from_slice(&blake3::hash(block).as_bytes()[..DIGEST]);
    first
}

fn padded(name: &str) -> [u8; NAME] {
    let mut bytes = [0; NAME];
    let length = name.len().min(NAME);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}
