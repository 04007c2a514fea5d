//! What changed in a folder, for as long as it is watched.
//!
//! Each folder that the walk enters is watched by itself, so that nothing is heard from the folders that it passes
//! over: a recursive watch would report every write to a vault that lies within. Mere reads are not reported. While
//! nothing changes, nothing runs.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::ops::Bound;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Config, ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::rules::is_ignore_file;
use super::walk::{Lookup, Visit, Walker};

/// A burst of changes has ended when nothing came for this long. An editor that saves, or a tool that writes a file
/// in pieces, pauses for less; a person does not notice it.
pub const QUIET: Duration = Duration::from_millis(100);

/// A burst that does not end is reported in parts of this length, so that a file written without pause does not
/// delay the news of all others.
pub const LONGEST_BURST: Duration = Duration::from_secs(1);

/// More changed paths than this in one burst are reported as [`Changed::Rescan`]: listing the folder is then cheaper
/// than looking at each, and memory stays bounded.
pub const MAX_CHANGED_PATHS: usize = 10_000;

/// Reports that wait for a slow reader. While they wait, further changes gather in the next one.
const QUEUED_REPORTS: usize = 4;

/// Paths longer than this cannot be named to the system and are watched through an open descriptor. The system's
/// limit is 4,096 bytes with the final NUL.
const MAX_NAMED_PATH_BYTES: usize = 4_000;

/// Descriptors held open to watch folders with such paths, to leave the process some. Further ones are not watched.
const MAX_LONG_DIRS: usize = 64;

/// Attempts to find all folders of a tree that grows while it is read.
const MAX_PASSES: usize = 8;

/// A report of changes.
#[derive(Debug)]
pub enum Changed {
    /// These paths, relative to the root, may have changed. What each is now, [`Walker::lookup`] says: an entry is
    /// to be read again; if it is gone or passed over, it may have been a folder, and all that was known at or below
    /// it is gone; if it is a folder, only a file known under the very same path is gone (the new folder's content
    /// is reported by itself).
    Paths(BTreeSet<Vec<u8>>),
    /// Changes were missed, or the rules changed: only a whole walk tells what is there.
    Rescan,
    /// A folder cannot be watched; the others still are, unless it is the root that has gone. Changes below it are
    /// not reported any more.
    Failed(WatchError),
}

/// Why a folder cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The system's limit is reached.
    #[error(
        "cannot watch {}: the limit on watched folders or watchers is reached; raise /proc/sys/fs/inotify/max_user_watches \
         (now {watches}) or max_user_instances (now {instances}) there, or exclude folders", path.display()
    )]
    Limit {
        /// The folder that could not be watched.
        path: PathBuf,
        /// What `max_user_watches` says, or `unknown`.
        watches: String,
        /// What `max_user_instances` says, or `unknown`.
        instances: String,
    },
    /// The system refused for another reason.
    #[error("cannot watch {}: {reason}", path.display())]
    Refused {
        /// The folder that could not be watched.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The root was moved or removed. Watching has ended.
    #[error("the watched folder {} was moved or removed; start again when it is back", path.display())]
    RootGone {
        /// The root of the watched tree.
        path: PathBuf,
    },
    /// No thread could be started.
    #[error("cannot start the thread that watches {}: {source}", path.display())]
    Thread {
        /// The root of the watched tree.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A folder being watched. Ends when dropped.
#[derive(Debug)]
pub struct Watch {
    reports: mpsc::Receiver<Changed>,
    shared: Arc<Shared>,
}

impl Watch {
    /// Begins to watch all folders that the walk enters. What changes after this returns is reported, so a walk begun
    /// then misses nothing. Blocks for as long as a walk takes.
    ///
    /// # Errors
    /// If the root or any folder below cannot be watched.
    pub fn start(walker: Arc<Walker>) -> Result<Watch, WatchError> {
        let shared = Arc::new(Shared::default());
        // Reports name folders as they were given to the system, so the name must not depend on a working directory.
        let root = walker.root().canonicalize().map_err(|e| refused(walker.root(), &e))?;
        let handler = Arc::clone(&shared);
        let watcher = RecommendedWatcher::new(move |event| handler.record(event), Config::default())
            .map_err(|e| explain(&root, &e))?;
        let mut worker = Worker { walker, watcher, root, dirs: BTreeMap::new(), long: BTreeMap::new() };
        worker.watch_tree(b"")?;
        let (sender, reports) = mpsc::channel(QUEUED_REPORTS);
        let root = worker.root.clone();
        let for_worker = Arc::clone(&shared);
        thread::Builder::new()
            .name("toka-watch".to_owned())
            .spawn(move || worker.run(&for_worker, &sender))
            .map_err(|source| WatchError::Thread { path: root, source })?;
        Ok(Watch { reports, shared })
    }

    /// Waits for the next report. `None` if watching ended because the root has gone. May be cancelled without loss.
    pub async fn changed(&mut self) -> Option<Changed> {
        self.reports.recv().await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.woken.notify_one();
    }
}

/// Between the thread that hears from the system and the one that reports.
#[derive(Debug, Default)]
struct Shared {
    gathered: Mutex<Gathered>,
    woken: Condvar,
}

#[derive(Debug, Default)]
struct Gathered {
    /// Paths as the system names them, and whether something appeared or vanished there.
    paths: BTreeMap<PathBuf, bool>,
    missed: bool,
    /// Events heard, to see whether a burst goes on.
    heard: u64,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Gathered> {
        // Each change of the state is complete in itself, so a panic elsewhere does not spoil it.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in one event.
    fn record(&self, event: notify::Result<notify::Event>) {
        let mut gathered = self.lock();
        let was_idle = gathered.is_empty();
        match event {
            Ok(event) if event.need_rescan() => gathered.missed = true,
            Ok(event) => {
                let structural = match event.kind {
                    EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
                    // Reading is not a change, and the indexer itself reads.
                    EventKind::Access(_) => return,
                    EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
                        true
                    }
                    _ => false,
                };
                for path in event.paths {
                    *gathered.paths.entry(path).or_default() |= structural;
                }
            }
            Err(_) => gathered.missed = true,
        }
        if gathered.paths.len() > MAX_CHANGED_PATHS {
            gathered.paths.clear();
            gathered.missed = true;
        }
        gathered.heard = gathered.heard.wrapping_add(1);
        if was_idle && !gathered.is_empty() {
            self.woken.notify_one();
        }
    }

    /// Waits for a burst and its end. `None` when closed.
    fn next_burst(&self) -> Option<(BTreeMap<PathBuf, bool>, bool)> {
        let mut gathered = self.lock();
        while gathered.is_empty() && !gathered.closed {
            gathered = self.woken.wait(gathered).unwrap_or_else(PoisonError::into_inner);
        }
        let begun = Instant::now();
        while !gathered.closed && begun.elapsed() < LONGEST_BURST {
            let heard = gathered.heard;
            gathered = self.woken.wait_timeout(gathered, QUIET).unwrap_or_else(PoisonError::into_inner).0;
            if gathered.heard == heard {
                break;
            }
        }
        if gathered.closed {
            return None;
        }
        Some((std::mem::take(&mut gathered.paths), std::mem::take(&mut gathered.missed)))
    }
}

impl Gathered {
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.missed
    }
}

/// Owns the watches.
struct Worker {
    walker: Arc<Walker>,
    watcher: RecommendedWatcher,
    root: PathBuf,
    /// The watched folders by relative path, and the name under which the system knows each.
    dirs: BTreeMap<Vec<u8>, PathBuf>,
    /// Folders watched through a descriptor, by that name.
    long: BTreeMap<PathBuf, (OwnedFd, Vec<u8>)>,
}

impl Worker {
    fn run(mut self, shared: &Shared, reports: &mpsc::Sender<Changed>) {
        while let Some((paths, missed)) = shared.next_burst() {
            let report = match self.examine(paths, missed) {
                Ok(Changed::Paths(paths)) if paths.is_empty() => continue,
                Ok(report) => report,
                Err(error @ WatchError::RootGone { .. }) => {
                    // If nobody listens any more, there is nothing left to do either.
                    let _ = reports.blocking_send(Changed::Failed(error));
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "changes below a folder will be missed");
                    if reports.blocking_send(Changed::Failed(error)).is_err() {
                        return;
                    }
                    // What else the burst held was not looked at to the end.
                    Changed::Rescan
                }
            };
            if reports.blocking_send(report).is_err() {
                return;
            }
        }
    }

    fn examine(&mut self, paths: BTreeMap<PathBuf, bool>, missed: bool) -> Result<Changed, WatchError> {
        // Nothing is heard of the root's own removal while the walker holds it open, but its content goes before it.
        if !self.walker.is_at(&self.root) {
            return Err(WatchError::RootGone { path: self.root.clone() });
        }
        let mut rescan = missed;
        let mut changed = BTreeSet::new();
        for (path, structural) in paths {
            let Some(path) = self.relative(&path) else {
                continue;
            };
            if path.is_empty() {
                rescan |= structural;
                continue;
            }
            if is_ignore_file(&path) {
                rescan = true;
                continue;
            }
            let was_watched = self.dirs.contains_key(&path);
            match self.walker.lookup(&path) {
                // Another folder took the place of a watched one: what was below may be gone.
                Lookup::Dir if was_watched => rescan |= structural,
                Lookup::Dir => {
                    changed.extend(self.watch_tree(&path)?);
                    changed.insert(path);
                }
                Lookup::PassedOver if !was_watched => {}
                Lookup::Entry(_) | Lookup::Gone | Lookup::PassedOver => {
                    self.unwatch_tree(&path);
                    changed.insert(path);
                }
            }
        }
        if rescan {
            // The watches may belong to folders that lie elsewhere now.
            self.unwatch_tree(b"");
            self.watch_tree(b"")?;
            return Ok(Changed::Rescan);
        }
        Ok(Changed::Paths(changed))
    }

    /// Watches a folder and those below, and returns the paths of all entries in them.
    ///
    /// A folder is listed again after its watch is set, because what appeared in between would be missed.
    fn watch_tree(&mut self, below: &[u8]) -> Result<Vec<Vec<u8>>, WatchError> {
        let walker = Arc::clone(&self.walker);
        let mut entries = Vec::new();
        for _ in 0..MAX_PASSES {
            entries.clear();
            let mut grew = false;
            let Some(mut walk) = walker.visits(below) else {
                break;
            };
            while let Some(visit) = walk.visit() {
                match visit {
                    Visit::Entry(entry) => entries.push(entry.path),
                    Visit::Dir(path) if !self.dirs.contains_key(&path) => grew |= self.watch(path)?,
                    Visit::Dir(_) => {}
                }
            }
            if !grew {
                break;
            }
        }
        Ok(entries)
    }

    /// Watches one folder; whether that succeeded. That it has vanished meanwhile is no error.
    fn watch(&mut self, path: Vec<u8>) -> Result<bool, WatchError> {
        let mut name = self.root.clone();
        if !path.is_empty() {
            name.push(OsStr::from_bytes(&path));
        }
        let mut descriptor = None;
        if name.as_os_str().len() > MAX_NAMED_PATH_BYTES {
            if self.long.len() >= MAX_LONG_DIRS {
                tracing::warn!(bytes = path.len(), "a folder with a long path is not watched");
                return Ok(false);
            }
            let Ok(fd) = self.walker.open_dir(&path) else {
                return Ok(false);
            };
            name = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
            descriptor = Some(fd);
        }
        match self.watcher.watch(&name, RecursiveMode::NonRecursive) {
            Ok(()) => {
                if let Some(fd) = descriptor {
                    self.long.insert(name.clone(), (fd, path.clone()));
                }
                self.dirs.insert(path, name);
                Ok(true)
            }
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(explain(&name, &error)),
        }
    }

    /// Ends the watches at and below a path.
    fn unwatch_tree(&mut self, path: &[u8]) {
        let mut inside = path.to_vec();
        if !path.is_empty() {
            inside.push(b'/');
        }
        let below = self.dirs.range::<[u8], _>((Bound::Included(inside.as_slice()), Bound::Unbounded));
        let mut ended: Vec<Vec<u8>> =
            below.map(|(dir, _)| dir).take_while(|dir| dir.starts_with(&inside)).cloned().collect();
        ended.push(path.to_vec());
        for dir in ended {
            if let Some(name) = self.dirs.remove(&dir) {
                // The system has ended the watch by itself if the folder is gone.
                let _ = self.watcher.unwatch(&name);
                self.long.remove(&name);
            }
        }
    }

    /// The path of an event below the root.
    fn relative(&self, path: &Path) -> Option<Vec<u8>> {
        if let Ok(inside) = path.strip_prefix(&self.root) {
            return Some(inside.as_os_str().as_bytes().to_vec());
        }
        if let Some((_, dir)) = self.long.get(path) {
            return Some(dir.clone());
        }
        let (_, dir) = self.long.get(path.parent()?)?;
        let mut full = dir.clone();
        full.push(b'/');
        full.extend_from_slice(path.file_name()?.as_bytes());
        Some(full)
    }
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        }
        _ => false,
    }
}

fn explain(path: &Path, error: &notify::Error) -> WatchError {
    // EMFILE: no further watcher for this user.
    const TOO_MANY_OPEN: i32 = 24;
    let at_limit = match &error.kind {
        ErrorKind::MaxFilesWatch => true,
        ErrorKind::Io(error) => error.raw_os_error() == Some(TOO_MANY_OPEN),
        _ => false,
    };
    if !at_limit {
        return refused(path, error);
    }
    let limit = |name: &str| {
        let read = std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}"));
        read.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
    };
    let (watches, instances) = (limit("max_user_watches"), limit("max_user_instances"));
    WatchError::Limit { path: path.to_owned(), watches, instances }
}

fn refused(path: &Path, error: &impl ToString) -> WatchError {
    WatchError::Refused { path: path.to_owned(), reason: error.to_string() }
}
