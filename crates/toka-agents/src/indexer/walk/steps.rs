//! The walk itself: a loop over open folders, without recursion.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, fstat, openat, statat};
use rustix::io::Errno;

use super::{
    DIR_FLAGS, DOT_IGNORE, DirId, Entry, EntryKind, GITIGNORE, MAX_DEPTH, MAX_OPEN_DIRS, MAX_PATH_BYTES,
    Walker, read_ignore, skipped,
};
use crate::indexer::rules::IgnoreChain;
use crate::indexer::skip::SkipReason;

/// A walk under way. Yields paths in byte order, a folder standing where its name with a final `/` stands, so that
/// the order of files is the order of their whole paths as bytes. What changes during the walk may or may not be seen.
#[derive(Debug)]
pub struct Walk<'a> {
    walker: &'a Walker,
    /// The folder being listed, without a final slash.
    path: Vec<u8>,
    frames: Vec<Frame>,
    /// The folder where the walk begins, until it has begun.
    start: Option<OwnedFd>,
    /// The ignore files that hold outside of that folder.
    outside: IgnoreChain,
    with_dirs: bool,
    failed: bool,
}

/// What an internal walk yields: entries, and folders if asked for.
#[derive(Debug)]
pub(in crate::indexer) enum Visit {
    Entry(Entry),
    Dir(Vec<u8>),
}

#[derive(Debug)]
struct Frame {
    /// `None` while too many others are open.
    fd: Option<OwnedFd>,
    id: DirId,
    /// Length of the path of the folder above.
    above: usize,
    /// What is left to visit, last first.
    items: Vec<Item>,
    ignores: IgnoreChain,
}

#[derive(Debug)]
struct Item {
    name: Box<[u8]>,
    /// `None` for a folder.
    kind: Option<EntryKind>,
}

impl Iterator for Walk<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            match self.visit()? {
                Visit::Entry(entry) => return Some(entry),
                Visit::Dir(_) => {}
            }
        }
    }
}

impl<'a> Walk<'a> {
    /// A walk of the folder `start` at `path`, where the ignore files `outside` hold. Without a folder the walk only
    /// reports that it is unreadable.
    pub(super) fn new(
        walker: &'a Walker,
        path: Vec<u8>,
        start: Option<OwnedFd>,
        outside: IgnoreChain,
    ) -> Walk<'a> {
        let failed = start.is_none();
        Walk { walker, path, frames: Vec::new(), start, outside, with_dirs: false, failed }
    }

    /// Makes [`Walk::visit`] yield the folders too.
    pub(super) fn with_dirs(mut self) -> Walk<'a> {
        self.with_dirs = true;
        self
    }

    /// The next entry or folder.
    pub(in crate::indexer) fn visit(&mut self) -> Option<Visit> {
        if std::mem::take(&mut self.failed) {
            return Some(Visit::Entry(skipped(&self.path, SkipReason::Unreadable)));
        }
        if let Some(start) = self.start.take() {
            match self.enter(start, self.path.len()) {
                Ok(Some(visit)) => return Some(visit),
                Ok(None) => {}
                Err(_) => return Some(Visit::Entry(skipped(&self.path, SkipReason::Unreadable))),
            }
        }
        loop {
            let frame = self.frames.last_mut()?;
            let Some(item) = frame.items.pop() else {
                self.leave();
                continue;
            };
            let above = self.path.len();
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&item.name);
            if let Some(kind) = item.kind {
                let path = self.path.clone();
                self.path.truncate(above);
                return Some(Visit::Entry(Entry { path, kind }));
            }
            let entered = if self.frames.len() > MAX_DEPTH {
                Ok(Some(Visit::Entry(skipped(&self.path, SkipReason::TooDeep))))
            } else {
                match self.frames.last().and_then(|frame| frame.fd.as_ref()) {
                    Some(fd) => {
                        openat(fd, &*item.name, DIR_FLAGS, Mode::empty()).and_then(|fd| self.enter(fd, above))
                    }
                    None => Err(Errno::NOENT),
                }
            };
            match entered {
                Ok(Some(Visit::Dir(path))) => return Some(Visit::Dir(path)),
                Ok(Some(Visit::Entry(entry))) => {
                    self.path.truncate(above);
                    return Some(Visit::Entry(entry));
                }
                Ok(None) => {}
                // It was moved, removed or replaced since it was listed.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => self.path.truncate(above),
                Err(_) => {
                    let entry = skipped(&self.path, SkipReason::Unreadable);
                    self.path.truncate(above);
                    return Some(Visit::Entry(entry));
                }
            }
        }
    }

    /// Makes the folder at `self.path`, already opened, the one being listed. `Ok(None)`: nothing to report, go on.
    fn enter(&mut self, fd: OwnedFd, above: usize) -> Result<Option<Visit>, Errno> {
        let id = DirId::from_stat(&fstat(&fd)?);
        if self.walker.excluded.contains(&id) {
            self.path.truncate(above);
            return Ok(None);
        }
        if self.frames.iter().any(|frame| frame.id == id) {
            return Ok(Some(Visit::Entry(skipped(&self.path, SkipReason::Loop))));
        }
        let ignores = self.frames.last().map_or(&self.outside, |frame| &frame.ignores);
        let (items, ignores) = self.walker.list(fd.as_fd(), &self.path, ignores)?;
        self.frames.push(Frame { fd: Some(fd), id, above, items, ignores });
        if let Some(far) = self.frames.len().checked_sub(MAX_OPEN_DIRS + 1) {
            self.frames[far].fd = None;
        }
        Ok(self.with_dirs.then(|| Visit::Dir(self.path.clone())))
    }

    fn leave(&mut self) {
        let Some(left) = self.frames.pop() else {
            return;
        };
        self.path.truncate(left.above);
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        if frame.fd.is_some() || frame.items.is_empty() && left.fd.is_none() {
            return;
        }
        let is_same = |fd: &OwnedFd| fstat(fd).is_ok_and(|status| DirId::from_stat(&status) == frame.id);
        // The way up is only a shortcut: the folder may have been moved since, so its identity is checked.
        let up = left.fd.and_then(|fd| openat(&fd, "..", DIR_FLAGS, Mode::empty()).ok()).filter(is_same);
        let reopened = up.or_else(|| self.walker.open_dir(&self.path).ok().filter(is_same));
        if reopened.is_none() {
            // It is no longer where it was listed.
            frame.items.clear();
        }
        frame.fd = reopened;
    }
}

impl Item {
    /// The name, and for a folder the slash that follows it in the paths below.
    fn sort_key(&self) -> impl Iterator<Item = &u8> {
        self.name.iter().chain(self.kind.is_none().then_some(&b'/'))
    }
}

impl Walker {
    /// Lists one folder: what the rules admit, last in order first, and the ignore chain that holds in it.
    fn list(
        &self,
        fd: BorrowedFd<'_>,
        path: &[u8],
        above: &IgnoreChain,
    ) -> Result<(Vec<Item>, IgnoreChain), Errno> {
        let mut names = Vec::new();
        let (mut gitignore, mut dot_ignore) = (None, None);
        let listed = fd.try_clone_to_owned();
        let listed = listed.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        for entry in Dir::new(listed)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            match name {
                b"." | b".." => continue,
                GITIGNORE => gitignore = read_ignore(fd, name),
                DOT_IGNORE => dot_ignore = read_ignore(fd, name),
                _ => {}
            }
            names.push((Box::<[u8]>::from(name), entry.file_type()));
        }
        let ignores = above.enter(path, gitignore.as_deref(), dot_ignore.as_deref());
        let mut items = Vec::with_capacity(names.len());
        let mut full = path.to_vec();
        if !path.is_empty() {
            full.push(b'/');
        }
        let prefix = full.len();
        for (name, told) in names {
            full.truncate(prefix);
            full.extend_from_slice(&name);
            // The listing's word spares asking about what is passed over; the answer of `statat` decides.
            if told != FileType::Unknown && !self.admits(&full, told.is_dir(), &ignores) {
                continue;
            }
            let kind = match statat(fd, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(status) => {
                    let is_dir = FileType::from_raw_mode(status.st_mode).is_dir();
                    if told.is_dir() != is_dir && !self.admits(&full, is_dir, &ignores) {
                        continue;
                    }
                    (!is_dir).then(|| self.kind_of(&status))
                }
                Err(Errno::NOENT) => continue,
                Err(_) => Some(EntryKind::Skipped(SkipReason::Unreadable)),
            };
            let kind = if full.len() > MAX_PATH_BYTES {
                Some(EntryKind::Skipped(SkipReason::TooDeep))
            } else {
                kind
            };
            items.push(Item { name, kind });
        }
        items.sort_unstable_by(|a, b| b.sort_key().cmp(a.sort_key()));
        Ok((items, ignores))
    }
}
