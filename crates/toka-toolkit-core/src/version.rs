//! Semantic versions, as far as a registry of tools needs them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A version: three numbers, as `1.4.0`. Pre-releases and build marks are not part of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version {
    /// Raised when callers of the old version would break.
    pub major: u32,
    /// Raised when something is added.
    pub minor: u32,
    /// Raised when something is mended.
    pub patch: u32,
}

/// Which versions of a tool a caller takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum VersionReq {
    /// `*`: any.
    Any,
    /// `=1.4.0`: this one alone.
    Exact(Version),
    /// `1.4.0` or `^1.4.0`: this one or a later one that its callers can use, which is one that has the same
    /// first number other than zero.
    Compatible(Version),
}

/// A text that is no version.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{0}' is not a version; write three numbers, as 1.4.0")]
pub struct VersionError(pub String);

impl VersionReq {
    /// True if `version` will do.
    pub fn admits(&self, version: Version) -> bool {
        match *self {
            Self::Any => true,
            Self::Exact(wanted) => version == wanted,
            Self::Compatible(least) => version >= least && version.epoch() == least.epoch(),
        }
    }
}

impl Version {
    /// The numbers up to the first that is not zero; versions that agree in them are compatible.
    fn epoch(self) -> (u32, u32, u32) {
        match (self.major, self.minor, self.patch) {
            (0, 0, patch) => (0, 0, patch),
            (0, minor, _) => (0, minor, 0),
            (major, ..) => (major, 0, 0),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let error = || VersionError(text.chars().take(80).collect());
        let mut numbers = text.split('.').map(|part| {
            let plain =
                part.bytes().all(|b| b.is_ascii_digit()) && (part.len() == 1 || !part.starts_with('0'));
            part.parse::<u32>().ok().filter(|_| plain).ok_or_else(error)
        });
        let mut next = || numbers.next().unwrap_or_else(|| Err(error()));
        let version = Self { major: next()?, minor: next()?, patch: next()? };
        match numbers.next() {
            None => Ok(version),
            Some(_) => Err(error()),
        }
    }
}

impl fmt::Display for VersionReq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(version) => write!(f, "={version}"),
            Self::Compatible(version) => write!(f, "^{version}"),
        }
    }
}

impl FromStr for VersionReq {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        match (text, text.strip_prefix('=')) {
            ("*", _) => Ok(Self::Any),
            (_, Some(exact)) => exact.parse().map(Self::Exact),
            _ => text.strip_prefix('^').unwrap_or(text).parse().map(Self::Compatible),
        }
    }
}
