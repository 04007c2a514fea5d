//! Digests of bytes.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

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
pub struct FieldHasher(blake3::Hasher);

impl FieldHasher {
    /// A hasher in BLAKE3's derive-key mode for `context`.
    pub fn new(context: &str) -> Self {
        Self(blake3::Hasher::new_derive_key(context))
    }

    /// Adds one field: its length as a little-endian `u64`, then its bytes.
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a field of which the bytes lie in several parts, without joining them first.
    pub fn field_of_parts<'a>(&mut self, len: usize, parts: impl IntoIterator<Item = &'a [u8]>) -> &mut Self {
        self.0.update(&(len as u64).to_le_bytes());
        for part in parts {
            self.0.update(part);
        }
        self
    }

    /// The digest of what was added.
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
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
