//! The next segment's file, filled with zeros while the present one is written.
//!
//! A frame that lands on zeros is synced without touching the file's metadata. Somebody has to write these zeros and to
//! pay for the commit of the file system's journal that makes them part of the file; a batch that does so takes some six
//! syncs' time. So they are written ahead, into a file that nobody waits for, in pieces small enough not to be in the
//! way of the syncs beside them, and at the pace at which the present segment fills.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::disk::{Disk, DiskFile};

/// The file's name in the vault. It holds nothing until it is renamed.
const NAME: &str = "spare";
/// Zeros are written and sent to the disk in pieces of this size: twice as large ones hold up the syncs beside them for
/// twice as long.
const PIECE: u64 = if cfg!(test) { 16 << 10 } else { 128 << 10 };
/// Where they cannot be sent without a sync of their own, that many bytes share one: it costs the syncs beside it more
/// than the zeros do, up to twice that size.
const SYNCED: u64 = 2 * PIECE;
static ZEROS: [u8; PIECE as usize] = [0; PIECE as usize];
/// Segments below this capacity get no spare: a vault that small need not take the room twice.
const LEAST_CAPACITY: u64 = if cfg!(test) { PIECE } else { 8 << 20 };

/// Where a vault keeps its spare.
pub(crate) fn path(vault: &Path) -> PathBuf {
    vault.join(NAME)
}

/// The spare of a writer.
pub(crate) struct Spare {
    shared: Arc<Shared>,
    /// Fills the file; `None` until there is something to do, or if the disk wants everything in one thread.
    worker: Option<Worker>,
}

/// A file with room up to `capacity`, zeros up to `zeroed`, and nothing else.
pub(crate) struct Filled {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) capacity: u64,
    pub(crate) zeroed: u64,
    /// So many of them were not sent to the disk yet.
    unsent: u64,
}

struct Shared {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Locked for as long as a piece is being written: whoever takes the file has it to itself.
    stage: Mutex<Stage>,
    /// Up to here there are zeros, for whoever must not wait.
    zeroed: AtomicU64,
    /// How often the file was taken. What was asked for before the last time is not done any more: until the file that
    /// was taken has its own name, another one would have to take its place.
    taken: AtomicU64,
}

/// One more piece for the file, which shall have this capacity.
struct Job {
    capacity: u64,
    taken: u64,
}

enum Stage {
    Empty,
    Filling(Filled),
    /// There was no room, or an error: nothing is tried again before the next segment.
    GivenUp,
}

struct Worker {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Spare {
    pub(crate) fn new(disk: Arc<dyn Disk>, vault: &Path) -> Self {
        let stage = Mutex::new(Stage::Empty);
        let (zeroed, taken) = (AtomicU64::new(0), AtomicU64::new(0));
        let shared = Shared { disk, path: path(vault), stage, zeroed, taken };
        Self { shared: Arc::new(shared), worker: None }
    }

    /// Lets the spare, a file of `capacity`, get as far as the present segment is, of whose `room` so much is `used`.
    /// Waits for nothing.
    pub(crate) fn keep_pace(&mut self, capacity: u64, used: u64, room: u64) {
        let zeroed = self.shared.zeroed.load(Ordering::Acquire);
        if capacity < LEAST_CAPACITY || zeroed >= capacity {
            return;
        }
        // Both are less than 2^32.
        let wanted = used * capacity / room.max(1) + PIECE;
        if zeroed >= wanted {
            return;
        }
        let job = Job { capacity, taken: self.shared.taken.load(Ordering::Acquire) };
        if !self.shared.disk.works_beside() {
            return self.shared.add(job);
        }
        let shared = &self.shared;
        let worker = self.worker.get_or_insert_with(|| Worker::start(Arc::clone(shared)));
        if let Some(jobs) = &worker.jobs {
            // If it has something to do already, it is asked again with the next frame.
            let _ = jobs.try_send(job);
        }
    }

    /// The file, still under its own name, if there is one with room for `least` bytes. It is the caller's from here on.
    pub(crate) fn take(&self, least: u64) -> Option<Filled> {
        let filled = self.shared.take(Stage::Empty)?;
        if filled.capacity < least || filled.zeroed == 0 {
            self.shared.remove();
            return None;
        }
        Some(filled)
    }

    /// Gives the room back. Nothing is tried again before the next segment.
    pub(crate) fn give_back(&self) {
        if self.shared.take(Stage::GivenUp).is_some() {
            self.shared.remove();
        }
    }

    /// Ends the work and removes the file.
    pub(crate) fn close(&mut self) {
        self.worker = None;
        self.give_back();
    }
}

impl Shared {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        // After a panic the file has as many zeros as it says, or more.
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, then: Stage) -> Option<Filled> {
        let mut stage = self.stage();
        self.zeroed.store(0, Ordering::Release);
        self.taken.fetch_add(1, Ordering::AcqRel);
        match std::mem::replace(&mut *stage, then) {
            Stage::Filling(filled) => Some(filled),
            _ => None,
        }
    }

    fn remove(&self) {
        // If it stays, the next spare or the next writer removes it.
        drop(self.disk.remove(&self.path));
    }

    /// Adds one piece of zeros; without a file, makes one first.
    fn add(&self, Job { capacity, taken }: Job) {
        let mut stage = self.stage();
        if taken != self.taken.load(Ordering::Acquire) {
            return;
        }
        let added = match &mut *stage {
            Stage::GivenUp => return,
            Stage::Empty => self.create(capacity).and_then(|mut filled| {
                filled.add()?;
                Ok(Some(filled))
            }),
            Stage::Filling(filled) => filled.add().map(|()| None),
        };
        match added {
            Ok(Some(filled)) => *stage = Stage::Filling(filled),
            Ok(None) => {}
            Err(error) => {
                *stage = Stage::GivenUp;
                self.remove();
                tracing::debug!(path = %self.path.display(), %error, "no spare segment: zeros are written in line");
            }
        }
        if let Stage::Filling(filled) = &*stage {
            self.zeroed.store(filled.zeroed, Ordering::Release);
        }
    }

    fn create(&self, capacity: u64) -> io::Result<Filled> {
        // Nobody knows what is in one that could not be removed.
        self.remove();
        let file: Arc<dyn DiskFile> = Arc::from(self.disk.create(&self.path)?);
        file.allocate(0, capacity)?;
        Ok(Filled { file, capacity, zeroed: 0, unsent: 0 })
    }
}

impl Filled {
    fn add(&mut self) -> io::Result<()> {
        let piece = PIECE.min(self.capacity.saturating_sub(self.zeroed));
        if piece == 0 {
            return Ok(());
        }
        self.unsent += piece;
        if self.file.write_and_send(&ZEROS[..piece as usize], self.zeroed)? {
            self.unsent = 0;
        }
        self.zeroed += piece;
        // The last sync makes the zeros part of the file: the first frame that lands there need not.
        if self.unsent >= SYNCED || self.zeroed == self.capacity {
            self.file.sync()?;
            self.unsent = 0;
        }
        Ok(())
    }
}

impl Worker {
    fn start(shared: Arc<Shared>) -> Self {
        let (jobs, queue) = sync_channel::<Job>(1);
        let work = move || queue.iter().for_each(|job| shared.add(job));
        let thread = std::thread::Builder::new().name("toka-vault-spare".into()).spawn(work).ok();
        Self { jobs: thread.is_some().then_some(jobs), thread }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // What a panic left is removed with the file.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::RealDisk;
    use super::*;

    #[test]
    fn what_was_asked_for_before_the_file_was_taken_does_not_touch_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut spare = Spare::new(Arc::new(RealDisk), directory.path());
        let job = || Job { capacity: 4 * PIECE, taken: spare.shared.taken.load(Ordering::Acquire) };
        let (first, late) = (job(), job());
        spare.shared.add(first);
        let filled = spare.take(1).unwrap();
        spare.shared.add(late);
        let named = directory.path().join("named");
        RealDisk.rename(&path(directory.path()), &named).unwrap();
        assert_eq!(RealDisk.id(&named).unwrap(), filled.file.id().unwrap());
        spare.shared.add(job());
        assert!(spare.take(1).is_some());
        spare.close();
    }
}
