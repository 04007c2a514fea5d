//! The next segment's file, filled with zeros and synced by a thread of its own while the current segment is
//! being written: then large frames too land on written zeros, and nobody waits for them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::disk::{Disk, DiskFile};

/// Zeros written at once.
const CHUNK: usize = 1 << 20;

/// A file that is being prepared, or is ready.
pub(crate) struct Spare {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    capacity: u64,
    thread: Option<JoinHandle<io::Result<Box<dyn DiskFile>>>>,
}

impl Spare {
    /// Where the file lies until it becomes a segment.
    pub(crate) fn path(vault: &Path) -> PathBuf {
        vault.join("spare")
    }

    /// Begins to prepare a file of `capacity` bytes. `None` if there is no thread to do it.
    pub(crate) fn start(disk: &Arc<dyn Disk>, vault: &Path, capacity: u64) -> Option<Self> {
        let path = Self::path(vault);
        let (worker_disk, worker_path) = (Arc::clone(disk), path.clone());
        let thread = std::thread::Builder::new().name("toka-vault-spare".into());
        let thread = thread.spawn(move || prepare(&*worker_disk, &worker_path, capacity)).ok()?;
        Some(Self { disk: Arc::clone(disk), path, capacity, thread: Some(thread) })
    }

    /// True if the file is ready, or will not be, and would have room for `needed` bytes.
    pub(crate) fn is_ready(&self, needed: u64) -> bool {
        self.capacity >= needed && self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// The file with its name and size, if it could be made. Waits for that.
    pub(crate) fn take(mut self) -> Option<(Box<dyn DiskFile>, PathBuf, u64)> {
        let file = self.thread.take()?.join().ok()?.ok()?;
        Some((file, std::mem::take(&mut self.path), self.capacity))
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // What went wrong in it matters to nobody: the file goes.
            drop(thread.join());
            drop(self.disk.remove(&self.path));
        }
    }
}

fn prepare(disk: &dyn Disk, path: &Path, capacity: u64) -> io::Result<Box<dyn DiskFile>> {
    // A file of this name was left behind by a process that died.
    drop(disk.remove(path));
    let file = disk.create(path)?;
    file.allocate(0, capacity)?;
    let zeros = vec![0; CHUNK];
    for at in (0..capacity).step_by(CHUNK) {
        let len = (capacity - at).min(CHUNK as u64) as usize;
        file.write_at(&zeros[..len], at)?;
    }
    file.sync()?;
    Ok(file)
}
