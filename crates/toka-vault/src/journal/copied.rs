//! What a copy of a vault's directory may lack that was made while the vault was being written.
//!
//! Whoever copies lists a directory and then reads its files one after the other, while the writer goes on. Every segment
//! but the last one that was listed was complete by then. In the last one, whatever was read too early is zeros, for that
//! is what frames are written onto; so it may have holes, and its header may be missing. And a manifest that was read
//! after a later close may name a place that the segment did not have yet when it was read.
//!
//! In the vault itself these are damage. A copy is told by its directory being another one than the manifest says, and
//! only until the first writer opens it: then it is a vault of its own.

use std::io;
use std::path::Path;

use super::disk::{Disk, DiskFile};
use super::manifest::{Acknowledged, Manifest};
use super::segment::{Window, failed};
use crate::store::StoreError;

/// Whoever copies reads in multiples of this.
pub(crate) const SECTOR: u64 = 512;

/// A vault that is a copy.
#[derive(Clone, Copy)]
pub(crate) struct Copied {
    /// When its manifest was about to be written by a close, on the file system's clock.
    closed: Option<u64>,
}

impl Copied {
    /// `None` if the vault lies where its manifest says, or the manifest says nothing of that.
    pub(crate) fn of(disk: &dyn Disk, vault: &Path, manifest: &Manifest) -> Option<Self> {
        let written = manifest.directory.as_ref()?;
        let found = disk.identity(vault)?;
        (found != *written).then_some(Self { closed: manifest.closed })
    }

    /// True if the file, or directory, was copied before the manifest was written: then it may lack what the manifest
    /// names. Every file that was copied from the closed vault, and every one that was changed since, is younger.
    pub(crate) fn precedes(&self, disk: &dyn Disk, path: &Path) -> bool {
        match (self.closed, disk.stamp(path)) {
            (Some(closed), Some(stamp)) => stamp <= closed,
            _ => false,
        }
    }
}

/// True if what stands between the end of the frames at `from` and `to` can be what somebody read who came too early:
/// up to some end of a sector nothing but zeros.
pub(crate) fn is_early(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<bool> {
    let mut window = Window::new(file);
    let mut at = from;
    while let Some(end) = (at / SECTOR + 1).checked_mul(SECTOR).filter(|end| *end <= to) {
        if window.get(at, (end - at) as usize)?.iter().all(|&byte| byte == 0) {
            return Ok(true);
        }
        at = end;
    }
    Ok(false)
}

/// True if a last segment whose frames end at `from` can be what somebody copied too early to have it up to `to`.
pub(crate) fn early_end(
    (file, path): (&dyn DiskFile, &Path),
    from: u64,
    to: u64,
) -> Result<bool, StoreError> {
    let read = |error| failed("read", path, &error);
    let len = file.len().map_err(read)?;
    Ok(len < to || is_early(file, from, to.next_multiple_of(SECTOR).min(len)).map_err(read)?)
}

/// What is said of a copy in which frames follow that were written later than the end was copied.
pub(crate) fn later(at: u64) -> String {
    format!(
        "the vault was written while it was copied: frames from byte {at} on follow what had been copied by then"
    )
}

/// What a copy says that does not reach the place which its manifest names.
pub(crate) fn lacking(head: Acknowledged) -> String {
    let Acknowledged { segment, offset, .. } = head;
    format!(
        "the vault was closed while it was copied: the copy does not reach byte {offset} of segment {segment}"
    )
}
