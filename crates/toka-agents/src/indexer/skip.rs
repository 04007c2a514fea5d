//! Why a file or folder was left out.

use std::fmt;

/// The recorded reason for which a path was not indexed.
///
/// The names are stable: they stand in events. Paths that the rules pass over (ignored, excluded, hidden) have no
/// reason, because they are not reported at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SkipReason {
    /// The content is not text: it has NUL bytes, the signature of a binary format, or too many control characters.
    Binary,
    /// A folder that directly or indirectly is its own parent, which bind mounts can produce.
    Loop,
    /// The file is longer than the limit given to the walker or the reader.
    Oversized,
    /// A FIFO, a socket or a device. It is never opened.
    Special,
    /// A symbolic link. It is never followed, wherever it leads.
    Symlink,
    /// The path has more components than [`MAX_DEPTH`](crate::indexer::walk::MAX_DEPTH) or more bytes than
    /// [`MAX_PATH_BYTES`](crate::indexer::walk::MAX_PATH_BYTES).
    TooDeep,
    /// The operating system refused to open or read it.
    Unreadable,
}

impl SkipReason {
    /// All reasons, in the order of their names.
    pub const ALL: [SkipReason; 7] = [
        SkipReason::Binary,
        SkipReason::Loop,
        SkipReason::Oversized,
        SkipReason::Special,
        SkipReason::Symlink,
        SkipReason::TooDeep,
        SkipReason::Unreadable,
    ];

    /// The stable name in kebab case.
    pub fn as_str(self) -> &'static str {
        match self {
            SkipReason::Binary => "binary",
            SkipReason::Loop => "loop",
            SkipReason::Oversized => "oversized",
            SkipReason::Special => "special",
            SkipReason::Symlink => "symlink",
            SkipReason::TooDeep => "too-deep",
            SkipReason::Unreadable => "unreadable",
        }
    }

    /// The reason of that name, if there is one.
    pub fn from_name(name: &str) -> Option<SkipReason> {
        SkipReason::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
