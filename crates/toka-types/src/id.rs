//! Identities: who acted, which event, which grant, which request.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

use crate::digest::Digest;

/// Longest name, in bytes: it stands in headers and table columns.
pub const MAX_NAME: usize = 64;
/// Longest event kind, in bytes.
pub const MAX_KIND: usize = 64;

/// Who acted: an agent, the operator, or a program that writes to a vault of its own.
///
/// Sixteen bytes, printed as 32 lower-case hex digits. An entity's id follows from its name, so that
/// two runs that do the same produce the same ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntityId(pub [u8; 16]);

impl EntityId {
    /// Nobody in particular: the author of events committed to a vault without naming one.
    pub const NONE: Self = Self([0; 16]);

    /// The id that belongs to `name`: the first 16 bytes of its BLAKE3 digest under a context string of
    /// its own.
    pub fn named(name: &str) -> Self {
        let digest = Digest::of_fields("toka 2026 entity id v1", [name.as_bytes()]);
        let mut id = [0; 16];
        id.copy_from_slice(&digest.0[..16]);
        Self(id)
    }

    /// The person who owns the vault and from whose grant every other one is cut.
    pub fn operator() -> Self {
        Self::named("operator")
    }
}

/// The causal digest of an event, which is its identity. See [`crate::record`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventId(pub Digest);

impl EventId {
    /// The id's 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0.0
    }

    /// The first twelve hex digits, as people see ids.
    pub fn short(&self) -> String {
        self.0.short()
    }
}

/// The number of a grant in its world; grants are numbered from 1 in the order they were issued.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct GrantId(pub u64);

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A caller's own name for one request. Sending the same `OpId` again returns the first answer, and
/// nothing happens twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct OpId(pub [u8; 16]);

impl OpId {
    /// The id that follows from `parts`: for a caller that can name its request by its circumstances.
    pub fn of(parts: &[&[u8]]) -> Self {
        let digest = Digest::of_fields("toka 2026 operation id v1", parts.iter().copied());
        let mut id = [0; 16];
        id.copy_from_slice(&digest.0[..16]);
        Self(id)
    }
}

/// The random id of a subject's keys in a sealed vault. Whose they are is known to nobody but the keys themselves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct KeyId(pub [u8; 16]);

/// A place in what tools return, whatever the places in lists on the way: the digest of a pointer, so that no text of
/// what was returned stands in facts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PointerId(pub [u8; 16]);

/// What an origin says once: two things with the same nonce are the same thing, shown again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nonce(pub [u8; 16]);

/// A text that is no hexadecimal id of the expected length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not an id: {expected} lower-case hex digits are expected")]
pub struct HexError {
    /// The first characters of the text.
    pub text: String,
    /// How many hex digits an id of this type has.
    pub expected: usize,
}

macro_rules! hex_id {
    ($type:ident, $bytes:literal, |$id:ident| $get:expr, |$raw:ident| $make:expr) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let $id = self;
                write_hex($get, f)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $type {
            type Err = HexError;
            fn from_str(text: &str) -> Result<Self, HexError> {
                parse_hex::<$bytes>(text).map(|$raw| $make)
            }
        }
        hex_serde!($type, $bytes, |$id| $get, |$raw| $make);
    };
}

macro_rules! hex_serde {
    ($type:ident, $bytes:literal, |$id:ident| $get:expr, |$raw:ident| $make:expr) => {
        #[cfg(feature = "serde")]
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    let $id = self;
                    serializer.serialize_bytes($get)
                }
            }
        }
        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde::de::Error;
                if deserializer.is_human_readable() {
                    let text = <alloc::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                    text.parse().map_err(D::Error::custom)
                } else {
                    let $raw: [u8; $bytes] =
                        serde_bytes::ByteArray::<$bytes>::deserialize(deserializer)?.into_array();
                    Ok($make)
                }
            }
        }
    };
}

hex_id!(EntityId, 16, |id| &id.0, |raw| EntityId(raw));
hex_id!(OpId, 16, |id| &id.0, |raw| OpId(raw));
hex_id!(Nonce, 16, |id| &id.0, |raw| Nonce(raw));
hex_id!(KeyId, 16, |id| &id.0, |raw| KeyId(raw));
hex_id!(PointerId, 16, |id| &id.0, |raw| PointerId(raw));
hex_id!(EventId, 32, |id| &id.0.0, |raw| EventId(Digest(raw)));
hex_serde!(Digest, 32, |id| &id.0, |raw| Digest(raw));

pub(crate) fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in bytes {
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

pub(crate) fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let error = || HexError { text: text.chars().take(80).collect(), expected: N * 2 };
    if text.len() != N * 2 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(error());
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |b: u8| if b <= b'9' { b - b'0' } else { b - b'a' + 10 };
        *byte = digit(pair[0]) << 4 | digit(pair[1]);
    }
    Ok(bytes)
}

/// A text that cannot serve as a name or a kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty or too long.
    #[error("'{text}' has {len} bytes; 1 to {limit} are allowed")]
    Length {
        /// The first characters of the text.
        text: String,
        /// Its length in bytes.
        len: usize,
        /// The most bytes allowed.
        limit: usize,
    },
    /// A character that is not allowed stands in the text.
    #[error("'{text}' has {found:?} at byte {at}; {allowed} are allowed")]
    Character {
        /// The text.
        text: String,
        /// The character.
        found: char,
        /// Its byte offset.
        at: usize,
        /// What is allowed, in words.
        allowed: &'static str,
    },
    /// A dotted kind has an empty segment.
    #[error(
        "kind '{text}' has an empty segment; write segments separated by single dots, as in 'file.indexed'"
    )]
    EmptySegment {
        /// The text.
        text: String,
    },
}

fn check_text(
    text: &str,
    limit: usize,
    allowed: &'static str,
    ok: impl Fn(char) -> bool,
) -> Result<(), NameError> {
    if text.is_empty() || text.len() > limit {
        let shown = text.chars().take(limit).collect();
        return Err(NameError::Length { text: shown, len: text.len(), limit });
    }
    match text.char_indices().find(|&(_, c)| !ok(c)) {
        Some((at, found)) => Err(NameError::Character { text: text.to_owned(), found, at, allowed }),
        None => Ok(()),
    }
}

macro_rules! text_type {
    ($type:ident) => {
        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }
        impl PartialEq<&str> for $type {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }
        impl core::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        #[cfg(feature = "serde")]
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <alloc::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

/// A short name of an agent, a behaviour, a task or a tool: 1 to [`MAX_NAME`] bytes of letters, digits,
/// `.`, `_`, `-`, `/`. It stands in facts, which are never erased: no personal data belongs in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks `text` and makes it a name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check_text(text, MAX_NAME, "letters, digits, '.', '_', '-' and '/'", |c| {
            c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/')
        })?;
        Ok(Self(text.into()))
    }
}

text_type!(Name);

/// What sort of fact an event is: lower-case segments separated by dots, as `file.indexed`; 1 to
/// [`MAX_KIND`] bytes of lower-case letters, digits, `_` and `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(Arc<str>);

impl Kind {
    /// Checks `text` and makes it a kind.
    pub fn new(text: &str) -> Result<Self, NameError> {
        Self::check(text)?;
        Ok(Self::checked(text))
    }

    /// The kind with this text, which was checked.
    pub(crate) fn checked(text: &str) -> Self {
        Self(text.into())
    }

    /// Checks that `text` is a kind.
    pub fn check(text: &str) -> Result<(), NameError> {
        check_text(text, MAX_KIND, "lower-case letters, digits, '_', '-' and dots", |c| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-')
        })?;
        if text.split('.').any(str::is_empty) {
            return Err(NameError::EmptySegment { text: text.to_owned() });
        }
        Ok(())
    }

    /// True if this kind is `prefix` or lies below it: `file.indexed` has the prefixes `file` and
    /// `file.indexed`, and not `fil`. A trailing dot in `prefix` is allowed; the empty prefix is every kind's.
    pub fn has_prefix(&self, prefix: &str) -> bool {
        let prefix = prefix.strip_suffix('.').unwrap_or(prefix);
        match self.0.strip_prefix(prefix) {
            Some(rest) => prefix.is_empty() || rest.is_empty() || rest.starts_with('.'),
            None => false,
        }
    }
}

text_type!(Kind);
