//! What an indexer is told, and why it cannot begin.

use std::path::{Path, PathBuf};

use super::walk::{DirId, WalkError, WalkOptions, Walker};

/// Bytes of the largest file that is read unless configured: beyond it lie data, not texts that somebody wrote.
pub const MAX_FILE_BYTES_DEFAULT: u64 = 4 << 20;

/// Largest value of `max_file_bytes` that counts: the tool reads no more, and a file is held in memory while it is cut.
pub const MAX_FILE_BYTES_LIMIT: u64 = 64 << 20;

/// Folders in which version control keeps its own data. They are hidden, and hold nothing that somebody wrote to be
/// read, so that they stay out when hidden files are asked for.
const VERSION_CONTROL: [&str; 5] = [".git", ".hg", ".svn", ".jj", ".bzr"];

/// What an [`IndexerAgent`](super::IndexerAgent) is told.
#[derive(Debug, Clone)]
pub struct IndexerOptions {
    /// The folder. The root of the agent's `fs.read` must be the same.
    pub scan_path: PathBuf,
    /// Globs of the files to take; none means all. See [`rules`](super::rules) for what a glob matches.
    pub include: Vec<String>,
    /// Globs of files and folders to pass over.
    pub exclude: Vec<String>,
    /// Whether to go on after the first scan and follow what changes.
    pub watch: bool,
    /// Longer files are left out as oversized. Beyond [`MAX_FILE_BYTES_LIMIT`] it makes no difference.
    pub max_file_bytes: u64,
    /// Whether hidden files are taken too (but not what version control keeps). With `include`, a hidden file is
    /// taken if one of the globs names it as such (`docs/.*`), and this cannot be set.
    pub hidden: bool,
    /// Globs and the names of subjects: whose the files are. The first rule that matches counts, for what is recorded
    /// from then on.
    pub subjects: Vec<(String, String)>,
    /// Folders that are never entered, wherever they lie and under whatever name: the vault, the state directory.
    /// They must exist by the time the agent is made; one that does not is left out of account.
    pub excluded_dirs: Vec<PathBuf>,
}

impl IndexerOptions {
    /// All texts of a folder, and what changes there.
    pub fn new(scan_path: impl Into<PathBuf>) -> Self {
        Self {
            scan_path: scan_path.into(),
            include: Vec::new(),
            exclude: Vec::new(),
            watch: true,
            max_file_bytes: MAX_FILE_BYTES_DEFAULT,
            hidden: false,
            subjects: Vec::new(),
            excluded_dirs: Vec::new(),
        }
    }

    /// Opens the folder by these rules.
    pub(super) fn open(&self) -> Result<Walker, IndexerError> {
        if self.hidden && !self.include.is_empty() {
            return Err(IndexerError::HiddenAndInclude(self.include.join(", ")));
        }
        let mut include = self.include.clone();
        let mut exclude = self.exclude.clone();
        if self.hidden {
            include = vec!["**".to_owned(), ".*".to_owned()];
            exclude.extend(VERSION_CONTROL.map(str::to_owned));
        }
        let options = WalkOptions {
            include,
            exclude,
            excluded_dirs: self.excluded_dirs.iter().filter_map(|dir| DirId::of(dir).ok()).collect(),
            max_file_bytes: self.max_file_bytes.min(MAX_FILE_BYTES_LIMIT),
        };
        Walker::open(&self.scan_path, options).map_err(|error| explain(&self.scan_path, error))
    }
}

/// Why an indexer cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum IndexerError {
    /// There is no such folder.
    #[error("there is no folder {}; create it or set scan_path to the folder to index", .0.display())]
    Missing(PathBuf),
    /// Something else lies there.
    #[error("{} is no folder; set scan_path to the folder to index", .0.display())]
    NotAFolder(PathBuf),
    /// A subject's glob or name is not valid.
    #[error("subjects: {0}")]
    Subjects(super::rules::GlobError),
    /// A glob is not valid, the folder cannot be opened, or it lies within a folder that is never entered.
    #[error(transparent)]
    Walk(WalkError),
    /// Both would have to say which hidden files are taken.
    #[error(
        "hidden = true and include ({0}) exclude each other; name the hidden files in include, as in \".*\""
    )]
    HiddenAndInclude(String),
}

fn explain(path: &Path, error: WalkError) -> IndexerError {
    let kind = match &error {
        WalkError::Open { source, .. } => source.kind(),
        _ => return IndexerError::Walk(error),
    };
    match kind {
        std::io::ErrorKind::NotFound => IndexerError::Missing(path.to_owned()),
        std::io::ErrorKind::NotADirectory => IndexerError::NotAFolder(path.to_owned()),
        _ => IndexerError::Walk(error),
    }
}
