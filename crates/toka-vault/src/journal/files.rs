//! Few open files, however many segments a vault has: a file that nobody has used for long is closed, and opened again
//! under its name when it is needed.
//!
//! To whoever holds one, nothing differs from a file that stays open. One of which the name is about to be given to
//! another file, by this process, is open from then on for as long as somebody holds it. Where another process did
//! that while the file was closed, it is lost: every call on it fails, and a reader looks for what took its place
//! (`compact::take_over`). One that was written to and not synced yet stays open: the system tells of a failed write
//! where it was made.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, TryLockError};

use super::disk::{Disk, DiskFile, RealDisk};
use super::frame::{REWRITTEN_HEADER, SegmentHeader};

/// Files of segments and indexes that a process has open at once, of all its vaults: those of eight gigabytes. A process
/// may have 1,024 files where nobody raised that, and needs most of them for other things.
const MAX_OPEN: usize = 256;

static OPEN: LazyLock<Arc<Open>> = LazyLock::new(|| Arc::new(Open::at_most(MAX_OPEN)));

/// The file system, of which a process has a bounded number of files open.
pub(crate) fn real_disk() -> Arc<dyn Disk> {
    Arc::new(FewFiles::of(Arc::new(RealDisk), Arc::clone(&OPEN)))
}

/// A file system of which few files are open at once.
pub(crate) struct FewFiles {
    disk: Arc<dyn Disk>,
    open: Arc<Open>,
    /// The files that somebody holds, open or not, by name. Whoever opens, closes or renames one has this locked.
    names: Names,
}

type Named = HashMap<PathBuf, Vec<Arc<File>>>;
type Names = Arc<Mutex<Named>>;

/// The files that are open, in the order in which they were opened.
pub(crate) struct Open {
    limit: usize,
    files: Mutex<VecDeque<Arc<File>>>,
}

/// What somebody holds.
struct Handle {
    file: Arc<File>,
    open: Arc<Open>,
    names: Names,
}

struct File {
    disk: Arc<dyn Disk>,
    path: Mutex<PathBuf>,
    write: bool,
    state: RwLock<State>,
    /// Used since it was last looked at by whoever has to close one.
    used: AtomicBool,
    /// Written to since the last sync.
    unsynced: AtomicBool,
    /// Its name is, or may be, another file's.
    nameless: AtomicBool,
}

enum State {
    Open(Box<dyn DiskFile>),
    Closed(Identity),
    /// Its name was given to another file while it was closed.
    Lost,
}

/// What tells a file from one that takes its name. The system may give its number again once it is closed, so what
/// stands at its beginning counts too: the header of a segment, or the description of an index.
#[derive(PartialEq, Eq)]
struct Identity {
    id: u64,
    head: Vec<u8>,
}

impl FewFiles {
    pub(crate) fn of(disk: Arc<dyn Disk>, open: Arc<Open>) -> Self {
        Self { disk, open, names: Names::default() }
    }

    /// Opens a file by `open`, for whoever asked.
    fn hold(
        &self,
        path: &Path,
        write: bool,
        open: impl FnOnce() -> io::Result<Box<dyn DiskFile>>,
    ) -> io::Result<Box<dyn DiskFile>> {
        let mut names = lock(&self.names);
        let file = Arc::new(File {
            disk: Arc::clone(&self.disk),
            path: Mutex::new(path.to_owned()),
            write,
            state: RwLock::new(State::Open(open()?)),
            used: AtomicBool::new(true),
            unsynced: AtomicBool::new(false),
            nameless: AtomicBool::new(false),
        });
        names.entry(path.to_owned()).or_default().push(Arc::clone(&file));
        self.open.add(&file);
        let (open, names) = (Arc::clone(&self.open), Arc::clone(&self.names));
        Ok(Box::new(Handle { file, open, names }))
    }

    /// Before a name is taken from the files that have it: they are open from here on.
    fn keep_open(&self, names: &Named, path: &Path) {
        for file in names.get(path).into_iter().flatten() {
            file.nameless.store(true, Ordering::Relaxed);
            match file.open_again() {
                Ok(true) => self.open.add(file),
                Ok(false) => {}
                Err(error) => tracing::warn!(path = %path.display(), %error, "a file is lost to its readers"),
            }
        }
    }
}

impl Open {
    pub(crate) fn at_most(limit: usize) -> Self {
        Self { limit, files: Mutex::default() }
    }

    /// Takes in a file that was opened, after it has closed others where there are too many.
    fn add(&self, file: &Arc<File>) {
        let mut files = lock(&self.files);
        // Each gets a second chance. Those that cannot be closed now make it more than the limit for a while.
        for _ in 0..2 * files.len() {
            if files.len() < self.limit {
                break;
            }
            let Some(oldest) = files.pop_front() else { break };
            if oldest.used.swap(false, Ordering::Relaxed) || !oldest.close() {
                files.push_back(oldest);
            }
        }
        files.push_back(Arc::clone(file));
    }

    fn remove(&self, file: &Arc<File>) {
        lock(&self.files).retain(|open| !Arc::ptr_eq(open, file));
    }
}

impl File {
    fn identity(&self, file: &dyn DiskFile) -> io::Result<Identity> {
        let mut head = vec![0; REWRITTEN_HEADER];
        let read = file.read_at(&mut head, 0)?;
        head.truncate(read);
        // Of a segment that grows, only the header stays as it is.
        let header = SegmentHeader::decode(&head).map_or(read, |(header, _)| header.len() as usize);
        head.truncate(header);
        Ok(Identity { id: file.id()?, head })
    }

    /// Closes it, unless it is in use or has to stay open.
    fn close(&self) -> bool {
        let mut state = match self.state.try_write() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        if self.unsynced.load(Ordering::Relaxed) || self.nameless.load(Ordering::Relaxed) {
            return false;
        }
        let State::Open(file) = &*state else { return true };
        match self.identity(&**file) {
            Ok(identity) => {
                *state = State::Closed(identity);
                true
            }
            Err(_) => false,
        }
    }

    /// Opens it if it is closed; true if it was. The names are locked.
    fn open_again(&self) -> io::Result<bool> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let State::Closed(identity) = &*state else { return Ok(false) };
        let file = self.disk.open(&lock(&self.path), self.write)?;
        match self.identity(&*file)? == *identity {
            true => *state = State::Open(file),
            false => *state = State::Lost,
        }
        Ok(matches!(*state, State::Open(_)))
    }
}

impl Handle {
    /// Does something with the file, which is open for as long as that takes.
    fn with<T>(&self, ask: impl FnOnce(&dyn DiskFile) -> io::Result<T>) -> io::Result<T> {
        match &*self.opened()? {
            State::Open(file) => ask(&**file),
            State::Closed(_) | State::Lost => Err(lost()),
        }
    }

    /// As [`with`](Self::with), for what is not durable before the next sync.
    fn change<T>(&self, change: impl FnOnce(&dyn DiskFile) -> io::Result<T>) -> io::Result<T> {
        self.file.unsynced.store(true, Ordering::Relaxed);
        self.with(change)
    }

    fn opened(&self) -> io::Result<RwLockReadGuard<'_, State>> {
        let file = &self.file;
        // Others may close it again at once.
        loop {
            let state = file.state.read().unwrap_or_else(PoisonError::into_inner);
            if !matches!(*state, State::Closed(_)) {
                // Looked at first: a line of memory that nobody writes to is every core's.
                if !file.used.load(Ordering::Relaxed) {
                    file.used.store(true, Ordering::Relaxed);
                }
                return Ok(state);
            }
            drop(state);
            let _names = lock(&self.names);
            if file.open_again()? {
                self.open.add(file);
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        {
            let mut names = lock(&self.names);
            let path = lock(&self.file.path).clone();
            if let Some(files) = names.get_mut(&path) {
                files.retain(|file| !Arc::ptr_eq(file, &self.file));
                if files.is_empty() {
                    names.remove(&path);
                }
            }
        }
        self.open.remove(&self.file);
    }
}

impl DiskFile for Handle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|file| file.read_at(buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(|file| file.write_at(bytes, offset))
    }

    fn write_and_send(&self, bytes: &[u8], offset: u64) -> io::Result<bool> {
        self.change(|file| file.write_and_send(bytes, offset))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|file| {
            file.sync()?;
            self.file.unsynced.store(false, Ordering::Relaxed);
            Ok(())
        })
    }

    fn id(&self) -> io::Result<u64> {
        match &*self.file.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(file) => file.id(),
            State::Closed(identity) => Ok(identity.id),
            State::Lost => Err(lost()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|file| file.len())
    }

    /// A length that is lost with the power is no error that a later sync has to tell of: whoever needs it syncs at once.
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|file| file.set_len(len))
    }

    fn allocate(&self, from: u64, end: u64) -> io::Result<()> {
        self.change(|file| file.allocate(from, end))
    }
}

impl Disk for FewFiles {
    fn open(&self, path: &Path, write: bool) -> io::Result<Box<dyn DiskFile>> {
        self.hold(path, write, || self.disk.open(path, write))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.hold(path, true, || self.disk.create(path))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        self.disk.create_directory(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = lock(&self.names);
        self.keep_open(&names, to);
        self.disk.rename(from, to)?;
        let moved = names.remove(from).unwrap_or_default();
        moved.iter().for_each(|file| to.clone_into(&mut lock(&file.path)));
        names.entry(to.to_owned()).or_default().extend(moved);
        Ok(())
    }

    fn works_beside(&self) -> bool {
        self.disk.works_beside()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let names = lock(&self.names);
        self.keep_open(&names, path);
        self.disk.remove(path)
    }

    /// Who opens the file while it is replaced may get the old one, and may lose it. That is none of the files that stay
    /// in use: of an index that is lost, the segment tells the same.
    fn replace(&self, path: &Path, parts: &[&[u8]], sync: bool) -> io::Result<()> {
        self.keep_open(&lock(&self.names), path);
        self.disk.replace(path, parts, sync)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn id(&self, path: &Path) -> io::Result<u64> {
        self.disk.id(path)
    }

    fn identity(&self, directory: &Path) -> Option<String> {
        self.disk.identity(directory)
    }

    fn stamp(&self, path: &Path) -> Option<u64> {
        self.disk.stamp(path)
    }

    fn clock(&self, path: &Path) -> Option<u64> {
        self.disk.clock(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.disk.sync_directory(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<Result<Box<dyn Any + Send + Sync>, Option<u32>>> {
        self.disk.lock(path)
    }

    fn lock_holder(&self, path: &Path) -> Option<u32> {
        self.disk.lock_holder(path)
    }
}

fn lost() -> io::Error {
    io::Error::other("another file has taken its name meanwhile")
}

/// What these locks guard is whole at every moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
