//! Listing a folder below one directory descriptor.
//!
//! Nothing is opened by its full path: each folder is opened by its name in the descriptor of the folder above,
//! without following links. So a path may be longer than the system's limit on paths, a name need not be valid
//! UTF-8, and no link, wherever it was put and whenever, leads out of the folder. The walker opens folders and
//! ignore files, and nothing else; [`Walker::read`] opens regular files.
//!
//! Paths are bytes, relative to the root of the scan, with `/` between components.

mod steps;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, stat, statat};
use rustix::io::Errno;

use super::rules::{GlobError, Globs, IgnoreChain};
use super::skip::SkipReason;

pub(super) use steps::Visit;
pub use steps::Walk;

/// Folders deeper than this are reported as too deep. Real trees stay below a hundred; the bound keeps a tree made to
/// exhaust memory from doing so.
pub const MAX_DEPTH: usize = 4_096;

/// Paths longer than this are reported as too deep. Sixteen times the system's limit on paths; each path is stored
/// with its event, so a few hundred bytes of disk in a hostile tree could otherwise cost megabytes of log.
pub const MAX_PATH_BYTES: usize = 64 * 1024;

/// Directory descriptors that a walk holds open at most. Deeper trees reopen the folders above on the way back, so
/// that the usual limit of 1,024 descriptors for a process is far away.
pub const MAX_OPEN_DIRS: usize = 48;

/// Bytes of an ignore file that are read. A longer file counts as empty: cutting it could turn a pattern into a
/// shorter one that matches more.
pub const MAX_IGNORE_FILE_BYTES: u64 = 256 * 1024;

const GITIGNORE: &[u8] = b".gitignore";
const DOT_IGNORE: &[u8] = b".ignore";

const DIR_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// `NONBLOCK` and `NOCTTY` make the open harmless if something else took the file's place after it was looked at.
const FILE_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// What one scan takes in.
#[derive(Debug, Clone)]
pub struct WalkOptions {
    /// Globs of the files to take; none means all. See [`rules`](super::rules) for what a glob matches.
    pub include: Vec<String>,
    /// Globs of files and folders to pass over.
    pub exclude: Vec<String>,
    /// Folders that are never entered, wherever they lie and under whatever name: the vault, the state directory.
    pub excluded_dirs: Vec<DirId>,
    /// Files longer than this are reported as oversized.
    pub max_file_bytes: u64,
}

impl Default for WalkOptions {
    fn default() -> Self {
        WalkOptions {
            include: Vec::new(),
            exclude: Vec::new(),
            excluded_dirs: Vec::new(),
            max_file_bytes: u64::MAX,
        }
    }
}

/// The identity of a folder, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DirId {
    /// The device.
    pub dev: u64,
    /// The inode on that device.
    pub ino: u64,
}

impl DirId {
    /// The identity of the file or folder at `path`, links followed.
    ///
    /// # Errors
    /// Whatever the system says about the path.
    pub fn of(path: &Path) -> io::Result<DirId> {
        Ok(DirId::from_stat(&stat(path)?))
    }

    #[allow(clippy::unnecessary_cast, reason = "the widths differ between platforms")]
    fn from_stat(stat: &Stat) -> DirId {
        DirId { dev: stat.st_dev as u64, ino: stat.st_ino as u64 }
    }
}

/// One path of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the root of the scan, `/` between components, any bytes but NUL within them.
    pub path: Vec<u8>,
    /// What lies there.
    pub kind: EntryKind,
}

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file. Two equal values mean that the content need not be read again.
    File {
        /// Length in bytes.
        len: u64,
        /// Time of the last change of the content, in nanoseconds since 1970.
        mtime_ns: i64,
        /// Time of the last change of the inode, in nanoseconds since 1970.
        ctime_ns: i64,
        /// The device.
        dev: u64,
        /// The inode on that device.
        ino: u64,
    },
    /// Something that is left out. `Unreadable`, `TooDeep` and `Loop` may name a folder: nothing below it is
    /// reported.
    Skipped(SkipReason),
}

/// What a single path is, by the rules of the walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// What the walk would report for this path.
    Entry(Entry),
    /// A folder that the walk enters.
    Dir,
    /// Nothing lies there, or a link or file stands where a folder of the path was.
    Gone,
    /// The walk reports nothing for this path, whether it exists or not: ignored, excluded, hidden, or below a
    /// folder that cannot be entered.
    PassedOver,
}

/// Why a folder cannot be scanned.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// A glob is not valid.
    #[error(transparent)]
    Glob(#[from] GlobError),
    /// The root cannot be opened as a folder.
    #[error("cannot open the folder {}", path.display())]
    Open {
        /// The root as it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The root is, or lies within, a folder that is never entered.
    #[error("the folder {} lies within the vault or the state directory, which are never scanned; give another folder", path.display())]
    Excluded {
        /// The root as it was given.
        path: PathBuf,
    },
}

/// A folder opened for walks and reads. All of its methods may be called from several threads.
#[derive(Debug)]
pub struct Walker {
    root: OwnedFd,
    root_id: DirId,
    root_path: PathBuf,
    globs: Globs,
    excluded: HashSet<DirId>,
    max_file_bytes: u64,
}

impl Walker {
    /// Opens the folder at `root`; links in `root` itself are followed.
    ///
    /// # Errors
    /// If a glob is invalid, the folder cannot be opened, or it lies within an excluded one.
    pub fn open(root: &Path, options: WalkOptions) -> Result<Walker, WalkError> {
        let globs = Globs::new(&options.include, &options.exclude)?;
        let failed = |errno: Errno| WalkError::Open { path: root.to_owned(), source: errno.into() };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, root, flags, Mode::empty()).map_err(failed)?;
        let root_id = DirId::from_stat(&fstat(&fd).map_err(failed)?);
        let excluded: HashSet<DirId> = options.excluded_dirs.into_iter().collect();
        if !excluded.is_empty() && lies_within(&fd, root_id, &excluded) {
            return Err(WalkError::Excluded { path: root.to_owned() });
        }
        Ok(Walker {
            root: fd,
            root_id,
            root_path: root.to_owned(),
            globs,
            excluded,
            max_file_bytes: options.max_file_bytes,
        })
    }

    /// The root as it was given.
    pub fn root(&self) -> &Path {
        &self.root_path
    }

    /// Lists all files and all that is left out for a reason.
    pub fn walk(&self) -> Walk<'_> {
        Walk::new(self, Vec::new(), self.open_root().ok(), IgnoreChain::default())
    }

    /// What the walk would report for this one path; `None` if nothing. Costs one descent from the root.
    pub fn entry(&self, path: &[u8]) -> Option<Entry> {
        match self.lookup(path) {
            Lookup::Entry(entry) => Some(entry),
            Lookup::Dir | Lookup::Gone | Lookup::PassedOver => None,
        }
    }

    /// What this one path is, by the rules of the walk. Costs one descent from the root.
    pub fn lookup(&self, path: &[u8]) -> Lookup {
        self.resolve(path).map_or_else(|found| found, |_| Lookup::Dir)
    }

    /// Reads the regular file at `path`; `None` if nothing lies there any more. The rules of the walk are not asked,
    /// but nothing outside the root is ever opened, and no link followed.
    ///
    /// # Errors
    /// `Symlink` or `Special` if it is no regular file, `Oversized` if it is longer than `max_bytes`, `Unreadable` if
    /// the system refuses.
    pub fn read(&self, path: &[u8], max_bytes: u64) -> Result<Option<Vec<u8>>, SkipReason> {
        match self.read_file(path, max_bytes) {
            Ok(read) => read.map(Some),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(Errno::LOOP) => Err(SkipReason::Symlink),
            Err(_) => Err(SkipReason::Unreadable),
        }
    }

    /// Lists all entries at or below a folder and the folders that were entered, that one first; `None` if the walk
    /// does not enter it.
    pub(in crate::indexer) fn visits(&self, below: &[u8]) -> Option<Walk<'_>> {
        let (fd, ignores) = self.resolve(below).ok()?;
        Some(Walk::new(self, below.to_vec(), Some(fd), ignores).with_dirs())
    }

    /// Descends to `path` by the rules of the walk: a folder that the walk enters and the ignore files that hold
    /// outside of it, or what the path is instead.
    fn resolve(&self, path: &[u8]) -> Result<(OwnedFd, IgnoreChain), Lookup> {
        let mut fd = self.open_root().map_err(|_| Lookup::PassedOver)?;
        let mut ignores = IgnoreChain::default();
        if path.is_empty() {
            return Ok((fd, ignores));
        }
        if !is_relative(path) || too_deep(path) {
            return Err(Lookup::PassedOver);
        }
        let mut ids = HashSet::from([self.root_id]);
        let mut above = 0;
        loop {
            ignores = ignores.enter(
                &path[..above],
                read_ignore(&fd, GITIGNORE).as_deref(),
                read_ignore(&fd, DOT_IGNORE).as_deref(),
            );
            let begin = if above == 0 { 0 } else { above + 1 };
            let end = path[begin..].iter().position(|&b| b == b'/').map_or(path.len(), |at| begin + at);
            let is_last = end == path.len();
            let (here, name) = (&path[..end], &path[begin..end]);
            match statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(status) if FileType::from_raw_mode(status.st_mode).is_dir() => {
                    if !self.admits(here, true, &ignores) {
                        return Err(Lookup::PassedOver);
                    }
                }
                Ok(status) if is_last => {
                    let entry = Entry { path: path.to_vec(), kind: self.kind_of(&status) };
                    let admitted = self.admits(here, false, &ignores);
                    return Err(if admitted { Lookup::Entry(entry) } else { Lookup::PassedOver });
                }
                // A folder of the path has become something else.
                Ok(_) => return Err(Lookup::Gone),
                Err(errno) => {
                    // Of what is gone only the name is left to judge, and it may have been a folder or a file.
                    let admitted =
                        self.admits(here, true, &ignores) || is_last && self.admits(here, false, &ignores);
                    return Err(match errno {
                        _ if !admitted => Lookup::PassedOver,
                        Errno::NOENT | Errno::NOTDIR => Lookup::Gone,
                        _ if is_last => Lookup::Entry(skipped(path, SkipReason::Unreadable)),
                        _ => Lookup::PassedOver,
                    });
                }
            }
            let opened = openat(&fd, name, DIR_FLAGS, Mode::empty())
                .and_then(|opened| Ok((DirId::from_stat(&fstat(&opened)?), opened)));
            // What the walk says about a folder that it cannot enter, it says about that folder alone.
            let instead = |reason| {
                if is_last { Lookup::Entry(skipped(path, reason)) } else { Lookup::PassedOver }
            };
            match opened {
                Ok((id, _)) if self.excluded.contains(&id) => return Err(Lookup::PassedOver),
                Ok((id, _)) if !ids.insert(id) => return Err(instead(SkipReason::Loop)),
                Ok((_, opened)) => fd = opened,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(Lookup::Gone),
                Err(_) => return Err(instead(SkipReason::Unreadable)),
            }
            if is_last {
                return Ok((fd, ignores));
            }
            above = end;
        }
    }

    /// Whether that path still leads to the root.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        DirId::of(path).is_ok_and(|id| id == self.root_id)
    }

    /// Opens a folder below the root, component by component.
    pub(super) fn open_dir(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let mut fd = self.open_root()?;
        if path.is_empty() {
            return Ok(fd);
        }
        for name in path.split(|&b| b == b'/') {
            fd = openat(&fd, name, DIR_FLAGS, Mode::empty())?;
        }
        Ok(fd)
    }

    /// The root as a descriptor with a position of its own, so that several walks can read it at once.
    fn open_root(&self) -> Result<OwnedFd, Errno> {
        openat(&self.root, ".", DIR_FLAGS, Mode::empty())
    }

    fn read_file(&self, path: &[u8], max_bytes: u64) -> Result<Result<Vec<u8>, SkipReason>, Errno> {
        if !is_relative(path) {
            return Err(Errno::NOENT);
        }
        let (dir, name) = match path.iter().rposition(|&b| b == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], path),
        };
        let dir = self.open_dir(dir)?;
        // Asked before the file is opened, because opening alone has effects on a FIFO or a device.
        let before = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if let EntryKind::Skipped(reason) = kind_of(&before, max_bytes) {
            return Ok(Err(reason));
        }
        let fd = openat(&dir, name, FILE_FLAGS, Mode::empty())?;
        let status = fstat(&fd)?;
        if let EntryKind::Skipped(reason) = kind_of(&status, max_bytes) {
            return Ok(Err(reason));
        }
        read_at_most(fd, max_bytes)
            .map_or_else(|_| Ok(Err(SkipReason::Unreadable)), |read| Ok(read.ok_or(SkipReason::Oversized)))
    }

    fn kind_of(&self, status: &Stat) -> EntryKind {
        kind_of(status, self.max_file_bytes)
    }

    fn admits(&self, path: &[u8], is_dir: bool, ignores: &IgnoreChain) -> bool {
        let admitted = if is_dir { self.globs.admits_dir(path) } else { self.globs.admits_file(path) };
        admitted && !ignores.ignores(path, is_dir)
    }
}

fn skipped(path: &[u8], reason: SkipReason) -> Entry {
    Entry { path: path.to_vec(), kind: EntryKind::Skipped(reason) }
}

#[allow(clippy::unnecessary_cast, reason = "the widths differ between platforms")]
fn kind_of(status: &Stat, max_bytes: u64) -> EntryKind {
    let len = u64::try_from(status.st_size).unwrap_or_default();
    match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile if len > max_bytes => EntryKind::Skipped(SkipReason::Oversized),
        FileType::RegularFile => EntryKind::File {
            len,
            mtime_ns: nanoseconds(status.st_mtime as i64, status.st_mtime_nsec as i64),
            ctime_ns: nanoseconds(status.st_ctime as i64, status.st_ctime_nsec as i64),
            dev: status.st_dev as u64,
            ino: status.st_ino as u64,
        },
        FileType::Symlink => EntryKind::Skipped(SkipReason::Symlink),
        _ => EntryKind::Skipped(SkipReason::Special),
    }
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// Whether the path can lie below the root: components that are not empty, `.` or `..`, and without NUL.
fn is_relative(path: &[u8]) -> bool {
    !path.contains(&0) && path.split(|&b| b == b'/').all(|name| !matches!(name, b"" | b"." | b".."))
}

fn too_deep(path: &[u8]) -> bool {
    path.len() > MAX_PATH_BYTES || path.iter().filter(|&&b| b == b'/').count() > MAX_DEPTH
}

/// The content of an ignore file, if it is a regular file of sensible size.
fn read_ignore(dir: impl AsFd, name: &[u8]) -> Option<Vec<u8>> {
    let status = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    if !FileType::from_raw_mode(status.st_mode).is_file() {
        return None;
    }
    let fd = openat(&dir, name, FILE_FLAGS, Mode::empty()).ok()?;
    if !FileType::from_raw_mode(fstat(&fd).ok()?.st_mode).is_file() {
        return None;
    }
    read_at_most(fd, MAX_IGNORE_FILE_BYTES).ok()?
}

/// The whole content, or `None` if it is longer than `max_bytes`.
fn read_at_most(fd: OwnedFd, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    File::from(fd).take(max_bytes.saturating_add(1)).read_to_end(&mut content)?;
    Ok((content.len() as u64 <= max_bytes).then_some(content))
}

/// Whether the folder or one above it is excluded. Ends where the system refuses to go up.
fn lies_within(fd: &OwnedFd, id: DirId, excluded: &HashSet<DirId>) -> bool {
    let Ok(mut fd) = fd.try_clone() else {
        return excluded.contains(&id);
    };
    let mut id = id;
    loop {
        if excluded.contains(&id) {
            return true;
        }
        let above = openat(&fd, "..", DIR_FLAGS, Mode::empty())
            .and_then(|fd| Ok((DirId::from_stat(&fstat(&fd)?), fd)));
        match above {
            Ok((above_id, above)) if above_id != id => (fd, id) = (above, above_id),
            _ => return false,
        }
    }
}
