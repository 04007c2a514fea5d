//! The little that the journal asks of a file system, so that tests can stop it at a chosen call.

use std::any::Any;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A reader that asks whether somebody writes holds the lock for an instant; a writer tries again this
/// often before it believes that another writer holds it.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// The vault's files may hold anything the indexer read: they are the owner's alone.
const MODE: u32 = 0o600;

/// A file system.
pub(crate) trait Disk: Send + Sync {
    /// Opens an existing file for reading, or for reading and writing.
    fn open(&self, path: &Path, write: bool) -> io::Result<Box<dyn DiskFile>>;
    /// Creates a file; an error if it exists.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// The names in a directory; none if it does not exist.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Creates a directory and those above it.
    fn create_directory(&self, directory: &Path) -> io::Result<()>;
    /// Gives a file another name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// True if it is worth while to work on threads beside the writer's.
    fn works_beside(&self) -> bool;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Writes a whole file, given in parts, under a temporary name and renames it: whoever opens it sees the old or
    /// the new content. Durable when it returns, if `sync` is set.
    fn replace(&self, path: &Path, parts: &[&[u8]], sync: bool) -> io::Result<()>;
    /// A whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Tells the file under a name from every other file that is open.
    fn id(&self, path: &Path) -> io::Result<u64>;
    /// Tells a directory from every other, its copies too; `None` where nothing does.
    fn identity(&self, directory: &Path) -> Option<String>;
    /// When a file or directory was made here or last changed, whichever is earlier, in nanoseconds since 1970.
    fn stamp(&self, path: &Path) -> Option<u64>;
    /// The clock that gives files their times: a file that is made from now on has no earlier one. The file at `path`
    /// is written to, and says the same afterwards.
    fn clock(&self, path: &Path) -> Option<u64>;
    /// Makes the names in a directory durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
    /// Takes the writer's lock, which ends with the returned value or with the process; the holder's pid
    /// if there is one.
    fn lock(&self, path: &Path) -> io::Result<Result<Box<dyn Any + Send + Sync>, Option<u32>>>;
    /// The pid of the live holder of the lock.
    fn lock_holder(&self, path: &Path) -> Option<u32>;
}

/// An open file, read and written at offsets.
pub(crate) trait DiskFile: Send + Sync {
    /// Reads until `buffer` is full or the file ends; how many bytes were read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// The same, begins to send the bytes to the disk, and keeps none of them in memory; false if there is no way to: then
    /// they are written and nothing more. Either way the next [`sync`](Self::sync) makes them durable.
    fn write_and_send(&self, bytes: &[u8], offset: u64) -> io::Result<bool> {
        self.write_at(bytes, offset).map(|()| false)
    }
    /// Makes the data durable, and as much metadata as reading it takes.
    fn sync(&self) -> io::Result<()>;
    /// Tells this file from every other that is open.
    fn id(&self) -> io::Result<u64>;
    /// The length.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or lengthens the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Gives the file room up to `end`, which reads as zeros: a later write there cannot run out of space.
    fn allocate(&self, from: u64, end: u64) -> io::Result<()>;
}

/// The real one.
pub(crate) struct RealDisk;

/// `RWF_DONTCACHE` (Linux 6.14): the pages are sent to the disk at once, and given back when they are there.
#[cfg(target_os = "linux")]
const UNCACHED: rustix::io::ReadWriteFlags = rustix::io::ReadWriteFlags::from_bits_retain(0x80);

struct RealFile(File);

impl Disk for RealDisk {
    fn open(&self, path: &Path, write: bool) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(OpenOptions::new().read(true).write(write).open(path)?)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(MODE).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn works_beside(&self) -> bool {
        true
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn replace(&self, path: &Path, parts: &[&[u8]], sync: bool) -> io::Result<()> {
        let temporary = path.with_extension("tmp");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(MODE).open(&temporary)?;
        let written = parts.iter().try_for_each(|part| file.write_all(part));
        let written = written.and_then(|()| if sync { file.sync_all() } else { Ok(()) });
        if let Err(error) = written.and_then(|()| self.rename(&temporary, path)) {
            // The error is what matters; a temporary file that stays is overwritten by the next try.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        match path.parent() {
            Some(directory) if sync => self.sync_directory(directory),
            _ => Ok(()),
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn id(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.ino())
    }

    fn identity(&self, directory: &Path) -> Option<String> {
        let data = fs::metadata(directory).ok()?;
        // A number can be given again, hardly at the same moment.
        Some(format!("{:x}-{:x}", data.ino(), nanoseconds(data.created().ok())?))
    }

    fn stamp(&self, path: &Path) -> Option<u64> {
        let data = fs::metadata(path).ok()?;
        let times = [data.created().ok(), data.modified().ok()];
        times.into_iter().filter_map(nanoseconds).min()
    }

    fn clock(&self, path: &Path) -> Option<u64> {
        let mut file = OpenOptions::new().read(true).write(true).open(path).ok()?;
        let mut first = [0];
        file.read_exact(&mut first).ok()?;
        file.write_all_at(&first, 0).ok()?;
        nanoseconds(file.metadata().ok()?.modified().ok())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Result<Box<dyn Any + Send + Sync>, Option<u32>>> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).mode(MODE).open(path)?;
        for attempt in 1.. {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if attempt < LOCK_TRIES => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => return Ok(Err(read_pid(&mut file))),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        file.set_len(0)?;
        // On a full disk the pid is not recorded; the lock itself needs no space.
        let _ = file.write_all(format!("{}\n", std::process::id()).as_bytes());
        Ok(Ok(Box::new(file)))
    }

    fn lock_holder(&self, path: &Path) -> Option<u32> {
        let mut file = File::open(path).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => read_pid(&mut file),
            _ => None,
        }
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    #[cfg(target_os = "linux")]
    fn write_and_send(&self, bytes: &[u8], offset: u64) -> io::Result<bool> {
        use rustix::io::{Errno, pwritev2};
        let mut done = 0;
        while done < bytes.len() {
            let rest = [io::IoSlice::new(&bytes[done..])];
            match pwritev2(&self.0, &rest, offset + done as u64, UNCACHED) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                // An older kernel, or a file system without it.
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                    return self.write_at(&bytes[done..], offset + done as u64).map(|()| false);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn id(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.ino())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, from: u64, end: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        match fallocate(&self.0, FallocateFlags::empty(), from, end - from) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.zero(from, end),
            Err(error) => Err(error.into()),
        }
    }
}

impl RealFile {
    fn zero(&self, from: u64, end: u64) -> io::Result<()> {
        let zeros = [0; 64 << 10];
        let mut at = from;
        while at < end {
            let count = (end - at).min(zeros.len() as u64);
            self.0.write_all_at(&zeros[..count as usize], at)?;
            at += count;
        }
        Ok(())
    }
}

fn nanoseconds(time: Option<SystemTime>) -> Option<u64> {
    let since = time?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
