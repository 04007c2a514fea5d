//! Opening a vault for writing and for reading.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use toka_types::KeyId;

use super::append::{Mode, Writer, is_full};
use super::disk::{Disk, DiskFile};
use super::frame::{HeaderError, SegmentHeader, VaultId};
use super::index::Index;
use super::load::Loader;
use super::manifest::Manifest;
use super::segment::{damage, failed, segment_path};
use super::spare::Spare;
use super::state::{Segment, State, segment_header};
use super::{Journal, RecoveryReport};
use crate::store::StoreError;

pub(crate) fn lock_path(vault: &Path) -> PathBuf {
    vault.join("lock")
}

/// Opens for writing. A vault that is not there is created, sealed under `keys` if there are any.
pub(crate) fn writer(
    disk: Arc<dyn Disk>,
    path: &Path,
    keys: Option<KeyId>,
) -> Result<(Journal, RecoveryReport), StoreError> {
    for directory in [path.join("journal"), path.join("index")] {
        disk.create_directory(&directory).map_err(|error| failed("create", &directory, &error))?;
    }
    let lock_path = lock_path(path);
    let lock = disk.lock(&lock_path).map_err(|error| failed("lock", &lock_path, &error))?;
    let lock = lock.map_err(|pid| StoreError::Locked { path: path.to_owned(), pid })?;
    // A writer that died may have left them; they hold nothing.
    for left in [super::compact::beside(path), super::spare::path(path)] {
        drop(disk.remove(&left));
    }
    let mut report = RecoveryReport::default();
    let manifest = match Manifest::read(&*disk, path)? {
        Some(manifest) => manifest,
        None => {
            if let Some(&first) = segment_numbers(&*disk, path)?.first() {
                let file = Manifest::path(path);
                return Err(damage(&file, 0, None, format!("it is missing, and there is segment {first}")));
            }
            report.created = true;
            let mut manifest = Manifest::new(new_vault_id(), keys);
            manifest.directory = disk.identity(path);
            manifest.write(&*disk, path).map_err(|error| {
                if is_full(&error) {
                    return StoreError::Full {
                        path: path.to_owned(),
                        needed: manifest.to_text().len() as u64,
                    };
                }
                failed("write", &Manifest::path(path), &error)
            })?;
            manifest
        }
    };
    let mut loader = Loader::new(&disk, path, &manifest, true)?;
    loader.load()?;
    let head = loader.head();
    let mut manifest = manifest.clone();
    if loader.lacking.is_some() {
        // First of all: without it, what is missing would be damage once this is no copy any more.
        (manifest.head, manifest.logs) = (head, super::close::logs(&loader.state));
        let written = manifest.write(&*disk, path);
        written.map_err(|error| failed("write", &Manifest::path(path), &error))?;
    }
    loader.recover_tail()?;
    let Loader { mut state, report: loaded, vault, copied, .. } = loader;
    report.rebuilt = loaded.rebuilt;
    report.torn = loaded.torn;
    state.dimension = manifest.dimension;
    let directory = disk.identity(path);
    let spare = Spare::new(Arc::clone(&disk), path);
    let mut writer = Writer::new(Mode::Open, Some(lock), manifest, spare);
    writer.dirty = writer.manifest.head != head
        || writer.manifest.directory.is_none() && directory.is_some()
        || !report.rebuilt.is_empty();
    let end = state.segments.last().map_or(0, |segment| segment.end);
    writer.room_end = end;
    writer.zeroed = end;
    let journal = journal(disk, path, vault, state, writer);
    if copied.is_some() {
        let mut writer = journal.writer();
        writer.manifest.directory = directory;
        let written = writer.manifest.write(&*journal.disk, path);
        written.map_err(|error| failed("write", &Manifest::path(path), &error))?;
    }
    report.rebuilt.extend(super::nodes::check(&journal));
    Ok((journal, report))
}

/// Opens for reading.
pub(crate) fn reader(disk: Arc<dyn Disk>, path: &Path) -> Result<Journal, StoreError> {
    let Some(manifest) = Manifest::read(&*disk, path)? else {
        return Err(match segment_numbers(&*disk, path)?.first() {
            Some(first) => {
                damage(&Manifest::path(path), 0, None, format!("it is missing, and there is segment {first}"))
            }
            None => StoreError::NotFound { path: path.to_owned() },
        });
    };
    let mut loader = Loader::new(&disk, path, &manifest, false)?;
    loader.load()?;
    let Loader { mut state, vault, .. } = loader;
    state.dimension = manifest.dimension;
    let spare = Spare::new(Arc::clone(&disk), path);
    let writer = Writer::new(Mode::ReadOnly, None, manifest, spare);
    Ok(journal(disk, path, vault, state, writer))
}

fn journal(disk: Arc<dyn Disk>, path: &Path, vault: VaultId, state: State, writer: Writer) -> Journal {
    let (state, writer) = (Arc::new(RwLock::new(state)), Mutex::new(writer));
    Journal { path: path.to_owned(), disk, vault, state, writer, compacting: Mutex::default() }
}

/// Opens a segment and reads its header. `None` if it has none and need not have one.
pub(crate) fn open_segment(
    disk: &Arc<dyn Disk>,
    vault_path: &Path,
    number: u64,
    vault: VaultId,
    strict: bool,
) -> Result<Option<(Segment, SegmentHeader)>, StoreError> {
    let path = segment_path(vault_path, number);
    // Opened for writing where that is allowed; a reader of somebody else's vault can only read.
    let opened = disk.open(&path, true).or_else(|_| disk.open(&path, false));
    let file: Arc<dyn DiskFile> = match opened {
        Ok(file) => Arc::from(file),
        Err(error) if !strict && error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", &path, &error)),
    };
    let (header, crc) = match segment_header(&*file, &path)? {
        Ok(decoded) => decoded,
        Err(HeaderError::Bad(_)) if !strict => return Ok(None),
        Err(error) => return Err(error.in_file(&path)),
    };
    if header.vault != vault {
        return Err(damage(&path, 16, None, "the segment belongs to another vault"));
    }
    if header.number != number {
        return Err(damage(&path, 32, None, format!("the segment's header has number {}", header.number)));
    }
    let SegmentHeader { imported, rewritten, .. } = header;
    let end = header.len();
    let segment = Segment { number, path, file, end, crc, imported, rewritten, index: Index::default() };
    Ok(Some((segment, header)))
}

/// The numbers of the segments that there are, in order.
pub(crate) fn segment_numbers(disk: &dyn Disk, path: &Path) -> Result<Vec<u64>, StoreError> {
    let directory = path.join("journal");
    let names = disk.list(&directory).map_err(|error| failed("list", &directory, &error))?;
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|name| name.strip_suffix(".seg")?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// An id that no other vault has: the standard library seeds its hashers at random.
pub(crate) fn new_vault_id() -> VaultId {
    let mut id = [0; 16];
    for half in id.chunks_exact_mut(8) {
        half.copy_from_slice(&RandomState::new().hash_one(std::process::id()).to_le_bytes());
    }
    id
}
