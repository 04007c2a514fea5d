//! Opening what lies beneath a folder, and nothing else.
//!
//! Every component is opened by its bare name in the folder opened before it, and links are not followed.
//! What stands where at another moment does not matter: there is no moment at which a whole path is handed
//! to the operating system. The length of the path does not matter either.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, open, openat, stat, statat};
use rustix::io::{Errno, retry_on_intr};
use toka_toolkit_core::Cancel;
use toka_types::capability::is_path;
use toka_types::path::{decode, encode, normalise};

use crate::error::{FsError, shown};
use crate::protected::{Identity, Protected};

/// Most entries of one page of a listing.
pub const MAX_ENTRIES: usize = 1000;
/// How much is read between two looks at the cancel flag.
const STEP: u64 = 1 << 20;

/// A folder beneath which files are opened.
#[derive(Debug)]
pub struct Root {
    folder: OwnedFd,
    identity: Identity,
    protected: Protected,
}

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link, which is never followed.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A device.
    Device,
    /// What no tool opens.
    Protected,
    /// Something else, or something that may not be looked at.
    Other,
}

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, in the text form of [`toka_types::path`].
    pub name: String,
    /// What it is.
    pub kind: FileKind,
    /// Its size in bytes, if it is a file.
    pub size: Option<u64>,
}

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Entries in the order of their names' bytes.
    pub entries: Vec<Entry>,
    /// True if there are more after the last one.
    pub more: bool,
}

/// A folder on the way, open.
struct Folder {
    fd: OwnedFd,
    identity: Identity,
}

impl Root {
    /// Opens the folder `path`, which the operator has chosen; links on the way to it are followed.
    ///
    /// # Errors
    /// [`FsError::Protected`] if it lies in a protected place, and those of the operating system.
    pub fn open(path: &Path, protected: &Protected) -> Result<Self, FsError> {
        let text = encode(path.as_os_str().as_encoded_bytes());
        let system = |error: io::Error| match error.kind() {
            io::ErrorKind::NotADirectory => {
                FsError::NotADirectory { path: shown(&text), kind: FileKind::File }
            }
            _ => FsError::system(&text, &error),
        };
        if protected.contains(path).map_err(system)? {
            return Err(FsError::Protected(shown(&text)));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = retry_on_intr(|| open(path, flags, Mode::empty())).map_err(|e| system(e.into()))?;
        let identity = Identity::of(&fstat(&folder).map_err(|e| system(e.into()))?);
        // The folder that was opened decides, should another one have stood there a moment ago.
        if protected.has(identity) {
            return Err(FsError::Protected(shown(&text)));
        }
        Ok(Self { folder, identity, protected: protected.clone() })
    }

    /// True if the folder that was opened still stands at `path`.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        stat(path).is_ok_and(|stat| Identity::of(&stat) == self.identity)
    }

    /// Opens the regular file at `path` (relative, in the text form of [`toka_types::path`]) and gives its size.
    ///
    /// Pipes, sockets and devices are not opened, not even for a moment.
    ///
    /// # Errors
    /// Any [`FsError`] but [`FsError::Oversized`].
    pub fn file(&self, path: &str) -> Result<(File, u64), FsError> {
        let bytes = path_bytes(path)?;
        let (above, name) = match bytes.iter().rposition(|b| *b == b'/') {
            Some(slash) => (&bytes[..slash], &bytes[slash + 1..]),
            None => (&[][..], &bytes[..]),
        };
        if name.is_empty() {
            return Err(FsError::NotAFile { path: shown(path), kind: FileKind::Directory });
        }
        let above = self.descend(above, path)?;
        let (parent, identity) = self.place(above.as_ref());
        let stat = self.look(parent, identity, name, path)?;
        let not_a_file = |stat: &Stat| match kind_of(stat) {
            FileKind::File => Ok(()),
            FileKind::Symlink => Err(FsError::Symlink(shown(path))),
            kind => Err(FsError::NotAFile { path: shown(path), kind }),
        };
        not_a_file(&stat)?;
        // NONBLOCK: should a pipe have taken its place since, opening does not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = retry_on_intr(|| openat(parent, name, flags, Mode::empty()));
        let fd = fd.map_err(|error| refused(path, error))?;
        let stat = fstat(&fd).map_err(|error| refused(path, error))?;
        not_a_file(&stat)?;
        if self.protected.has(Identity::of(&stat)) {
            return Err(FsError::Protected(shown(path)));
        }
        Ok((File::from(fd), size_of(&stat)))
    }

    /// The content of the regular file at `path`, if it has at most `limit` bytes.
    ///
    /// # Errors
    /// Any [`FsError`].
    pub fn read(&self, path: &str, limit: u64, cancel: &Cancel) -> Result<Vec<u8>, FsError> {
        let (mut file, size) = self.file(path)?;
        let oversized = |size| FsError::Oversized { path: shown(path), size, limit };
        if size > limit {
            return Err(oversized(size));
        }
        let mut content = Vec::new();
        let failed = |error: &dyn fmt::Display| FsError::Io { path: shown(path), problem: error.to_string() };
        content.try_reserve_exact(usize::try_from(size).unwrap_or(usize::MAX)).map_err(|e| failed(&e))?;
        loop {
            if cancel.is_cancelled() {
                return Err(FsError::Cancelled(shown(path)));
            }
            let step = file.by_ref().take(STEP).read_to_end(&mut content);
            let step = step.map_err(|error| FsError::system(path, &error))?;
            // The file may have grown since its size was asked.
            if content.len() as u64 > limit {
                return Err(oversized(content.len() as u64));
            }
            if step == 0 {
                return Ok(content);
            }
        }
    }

    /// The entries of the folder at `path` that come after the name `after`, at most `limit` and at most
    /// [`MAX_ENTRIES`], in the order of their names' bytes. Memory is bounded by the page, not by the folder.
    ///
    /// # Errors
    /// Any [`FsError`] but [`FsError::Oversized`] and [`FsError::NotAFile`].
    pub fn list(
        &self,
        path: &str,
        after: Option<&str>,
        limit: usize,
        cancel: &Cancel,
    ) -> Result<Page, FsError> {
        let bytes = path_bytes(path)?;
        let folder = self.descend(&bytes, path)?;
        let (fd, identity) = self.place(folder.as_ref());
        let after = match after {
            Some(name) => decode(name).ok_or_else(|| FsError::PathEscape(shown(name)))?,
            None => Vec::new(),
        };
        let limit = limit.min(MAX_ENTRIES);
        let mut names: BTreeSet<Vec<u8>> = BTreeSet::new();
        for entry in Dir::read_from(fd).map_err(|error| refused(path, error))? {
            if cancel.is_cancelled() {
                return Err(FsError::Cancelled(shown(path)));
            }
            let entry = entry.map_err(|error| refused(path, error))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || name <= after.as_slice() {
                continue;
            }
            names.insert(name.to_vec());
            // One more than the page, to know whether there is more.
            if names.len() > limit + 1 {
                names.pop_last();
            }
        }
        let more = names.len() > limit;
        let mut entries = Vec::with_capacity(limit.min(names.len()));
        for name in names.into_iter().take(limit) {
            let (kind, size) = match self.look(fd, identity, &name, path) {
                Ok(stat) if kind_of(&stat) == FileKind::File => (FileKind::File, Some(size_of(&stat))),
                Ok(stat) => (kind_of(&stat), None),
                Err(FsError::Protected(_)) => (FileKind::Protected, None),
                // A folder may be listed whose entries may not be looked at.
                Err(FsError::Unreadable(_)) => (FileKind::Other, None),
                // Removed since the folder was read.
                Err(FsError::NotFound(_)) => continue,
                Err(error) => return Err(error),
            };
            entries.push(Entry { name: encode(&name), kind, size });
        }
        Ok(Page { entries, more })
    }

    /// Opens the folder at `bytes`, or none for the root itself. `path` is what errors name.
    fn descend(&self, bytes: &[u8], path: &str) -> Result<Option<Folder>, FsError> {
        let mut at: Option<Folder> = None;
        for name in bytes.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            let (parent, identity) = self.place(at.as_ref());
            if self.protected.has_name(identity, name) {
                return Err(FsError::Protected(shown(path)));
            }
            // DIRECTORY: whatever is no folder is not opened, and is looked at only to say what it is.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = match retry_on_intr(|| openat(parent, name, flags, Mode::empty())) {
                Ok(fd) => fd,
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    return Err(match kind_of(&self.look(parent, identity, name, path)?) {
                        // A folder now: it was a link when it was to be opened.
                        FileKind::Symlink | FileKind::Directory => FsError::Symlink(shown(path)),
                        kind => FsError::NotADirectory { path: shown(path), kind },
                    });
                }
                Err(error) => return Err(refused(path, error)),
            };
            let identity = Identity::of(&fstat(&fd).map_err(|error| refused(path, error))?);
            if self.protected.has(identity) {
                return Err(FsError::Protected(shown(path)));
            }
            at = Some(Folder { fd, identity });
        }
        Ok(at)
    }

    fn place<'a>(&'a self, folder: Option<&'a Folder>) -> (BorrowedFd<'a>, Identity) {
        match folder {
            Some(folder) => (folder.fd.as_fd(), folder.identity),
            None => (self.folder.as_fd(), self.identity),
        }
    }

    /// What stands under `name`, without opening it; links are looked at, not through.
    fn look(
        &self,
        parent: BorrowedFd<'_>,
        identity: Identity,
        name: &[u8],
        path: &str,
    ) -> Result<Stat, FsError> {
        let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| refused(path, error))?;
        if self.protected.has(Identity::of(&stat)) || self.protected.has_name(identity, name) {
            return Err(FsError::Protected(shown(path)));
        }
        Ok(stat)
    }
}

impl FileKind {
    /// The name, as listings have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::Device => "device",
            Self::Protected => "protected",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The bytes of the normalised path.
fn path_bytes(path: &str) -> Result<Vec<u8>, FsError> {
    let normal = normalise(path).filter(|path| is_path(path));
    normal.and_then(|path| decode(&path)).ok_or_else(|| FsError::PathEscape(shown(path)))
}

/// What the operating system's refusal to open a component means.
fn refused(path: &str, error: Errno) -> FsError {
    match error {
        // What was looked at a moment ago has been replaced: by a link, or by a socket or a device (NXIO).
        Errno::LOOP => FsError::Symlink(shown(path)),
        Errno::NXIO => FsError::NotAFile { path: shown(path), kind: FileKind::Other },
        _ => FsError::system(path, &error.into()),
    }
}

fn kind_of(stat: &Stat) -> FileKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        FileType::BlockDevice | FileType::CharacterDevice => FileKind::Device,
        FileType::Unknown => FileKind::Other,
    }
}

fn size_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}
