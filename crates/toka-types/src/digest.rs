//! Digests of bytes.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use blake3::hazmat::HasherExt;

use crate::id::{HexError, parse_hex, write_hex};

/// The BLAKE3 digest of some bytes: 32 bytes, printed as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of several fields under a context string (BLAKE3's derive-key mode). Each field is
    /// prefixed with its length as a little-endian `u64`, so that no two lists of fields collide.
    pub fn of_fields<'a>(context: &str, fields: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = FieldHasher::new(context);
        for field in fields {
            hasher.field(field);
        }
        hasher.finish()
    }

    /// The digest's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first twelve hex digits, as people see digests.
    pub fn short(&self) -> String {
        let mut text = alloc::format!("{self}");
        text.truncate(12);
        text
    }
}

/// Hashes length-prefixed fields under a context string.
///
/// Fields are short, so they are collected first: BLAKE3 takes one larger piece in less time than many small ones.
pub struct FieldHasher {
    hasher: blake3::Hasher,
    pending: [u8; PENDING],
    len: usize,
}

/// Bytes that are collected before they are hashed.
const PENDING: usize = 512;

impl FieldHasher {
    /// A hasher in BLAKE3's derive-key mode for `context`.
    pub fn new(context: &str) -> Self {
        Self::over(blake3::Hasher::new_derive_key(context))
    }

    /// The same, with what derive-key mode makes of the context.
    pub(crate) fn with_context_key(key: &[u8; 32]) -> Self {
        Self::over(blake3::Hasher::new_from_context_key(key))
    }

    fn over(hasher: blake3::Hasher) -> Self {
        Self { hasher, pending: [0; PENDING], len: 0 }
    }

    /// Adds one field: its length as a little-endian `u64`, then its bytes.
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.field_of_parts(bytes.len(), [bytes])
    }

    /// Adds a field of which the bytes lie in several parts, without joining them first.
    pub fn field_of_parts<'a>(&mut self, len: usize, parts: impl IntoIterator<Item = &'a [u8]>) -> &mut Self {
        self.add(&(len as u64).to_le_bytes());
        for part in parts {
            self.add(part);
        }
        self
    }

    fn add(&mut self, bytes: &[u8]) {
        if let Some(room) = self.pending.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        } else {
            self.hasher.update(&self.pending[..self.len]);
            self.hasher.update(bytes);
            self.len = 0;
        }
    }

    /// The digest of what was added.
    pub fn finish(&mut self) -> Digest {
        self.hasher.update(&self.pending[..self.len]);
        self.len = 0;
        Digest(*self.hasher.finalize().as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl FromStr for Digest {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        parse_hex(text).map(Self)
    }
}
