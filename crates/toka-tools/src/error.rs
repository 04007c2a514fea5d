//! What goes wrong with files.

use thiserror::Error;
use toka_toolkit_core::ToolError;
use toka_types::path::for_terminal;

use crate::beneath::FileKind;

/// Most characters of a path that an error shows.
const SHOWN: usize = 200;

/// Why a file or folder was not opened. The paths in it are as a terminal may show them, and shortened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FsError {
    /// The call came without a folder.
    #[error("no folder was granted, so there is no path to open")]
    NoRoot,
    /// The path is absolute, leaves its root, or is no path.
    #[error(
        "'{0}' is no path beneath the granted folder; write a relative path that does not leave it, with '%' as %25"
    )]
    PathEscape(String),
    /// Nothing is there.
    #[error("'{0}' does not exist")]
    NotFound(String),
    /// The operating system refuses.
    #[error("'{0}' may not be read by this user; change its permissions or leave it out")]
    Unreadable(String),
    /// A symbolic link stands at or above it.
    #[error("'{0}' is a symbolic link, and links are not followed; name the file it leads to")]
    Symlink(String),
    /// It is none of an agent's business, whatever its grant says.
    #[error("'{0}' belongs to the vault or holds the operator's secrets, and is opened for no tool")]
    Protected(String),
    /// It is no regular file.
    #[error("'{path}' is a {kind}, not a file")]
    NotAFile {
        /// The path.
        path: String,
        /// What it is.
        kind: FileKind,
    },
    /// It is no folder.
    #[error("'{path}' is a {kind}, not a directory")]
    NotADirectory {
        /// The path.
        path: String,
        /// What it is.
        kind: FileKind,
    },
    /// It is larger than the caller takes.
    #[error("'{path}' has {size} bytes or more; at most {limit} are read")]
    Oversized {
        /// The path.
        path: String,
        /// How many bytes it has at least.
        size: u64,
        /// The most that are read.
        limit: u64,
    },
    /// Nobody waits any more.
    #[error("reading '{0}' was cancelled")]
    Cancelled(String),
    /// The operating system failed.
    #[error("'{path}' could not be read: {problem}")]
    Io {
        /// The path.
        path: String,
        /// What the operating system says.
        problem: String,
    },
}

impl FsError {
    /// A stable kebab-case code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoRoot => "no-root",
            Self::PathEscape(_) => "path-escape",
            Self::NotFound(_) => "not-found",
            Self::Unreadable(_) => "unreadable",
            Self::Symlink(_) => "symlink",
            Self::Protected(_) => "protected",
            Self::NotAFile { .. } => "not-a-file",
            Self::NotADirectory { .. } => "not-a-directory",
            Self::Oversized { .. } => "oversized",
            Self::Cancelled(_) => "cancelled",
            Self::Io { .. } => "io",
        }
    }

    /// What the operating system's `problem` with `path` means.
    pub(crate) fn system(path: &str, problem: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let shown = shown(path);
        match problem.kind() {
            // A name that is too long for the file system is the name of nothing.
            ErrorKind::NotFound | ErrorKind::InvalidFilename => Self::NotFound(shown),
            ErrorKind::PermissionDenied => Self::Unreadable(shown),
            _ => Self::Io { path: shown, problem: problem.to_string() },
        }
    }
}

/// `path` as errors show it.
pub(crate) fn shown(path: &str) -> String {
    if path.is_empty() {
        return ".".to_owned();
    }
    let mut start: String = path.chars().take(SHOWN).collect();
    if start.len() < path.len() {
        start.push('\u{2026}');
    }
    for_terminal(&start)
}

impl From<FsError> for ToolError {
    fn from(error: FsError) -> Self {
        match error {
            FsError::PathEscape(path) => Self::PathEscape(path),
            FsError::Cancelled(_) => Self::Cancelled,
            other => Self::failed(other.code(), other.to_string()),
        }
    }
}
