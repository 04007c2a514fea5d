//! Leaving the vault so that the next opening is fast.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::append::Mode;
use super::manifest::{Acknowledged, ManifestLog};
use super::segment::failed;
use super::state::{Log, State};
use super::{Journal, seal};
use crate::store::StoreError;

/// How often the file system's clock is looked at, and how many times at most: some count in seconds, and nobody waits
/// for those.
const TICK: Duration = Duration::from_millis(1);
const TICKS: u32 = 20;

pub(crate) fn close(journal: &Journal) -> Result<(), StoreError> {
    let mut writer = journal.writer();
    let mode = std::mem::replace(&mut writer.mode, Mode::Closed);
    if mode == Mode::ReadOnly {
        writer.mode = mode;
        return Ok(());
    }
    seal::wait(&mut writer);
    writer.spare.close();
    let closed = if mode == Mode::Open && writer.dirty { close_open(journal, &mut writer) } else { Ok(()) };
    writer.lock = None;
    closed
}

fn close_open(journal: &Journal, writer: &mut super::append::Writer) -> Result<(), StoreError> {
    // What is copied from now on has everything that the manifest is going to name.
    let lock = super::open::lock_path(&journal.path);
    let closed = journal.disk.clock(&lock);
    let last = {
        let state = journal.state();
        state.segments.last().map(|s| (s.number, s.path.clone(), Arc::clone(&s.file), s.end, s.link()))
    };
    if let Some((number, path, file, end, link)) = last {
        file.set_len(end).and_then(|()| file.sync()).map_err(|error| failed("trim", &path, &error))?;
        if let Err(detail) = seal::write_last(journal, number) {
            tracing::warn!(path = %path.display(), detail, "a segment has no index; it is read instead");
        }
        writer.manifest.head = Some(Acknowledged { segment: number, offset: link.0, crc: link.1 });
    }
    writer.manifest.logs = logs(&journal.state());
    writer.manifest.directory = journal.disk.identity(&journal.path);
    writer.manifest.closed = closed;
    let path = super::manifest::Manifest::path(&journal.path);
    writer.manifest.write(&*journal.disk, &journal.path).map_err(|error| failed("write", &path, &error))?;
    writer.dirty = false;
    if let Some(closed) = closed {
        pass(journal, &lock, closed);
    }
    Ok(())
}

/// The logs as a manifest names them.
pub(crate) fn logs(state: &State) -> Vec<ManifestLog> {
    let log = |log: &Log| {
        let (head, name) = (log.head(), log.id.to_string());
        ManifestLog { name, events: head.next_seq, last: head.last, root: head.root.to_string() }
    };
    state.logs.iter().map(log).collect()
}

/// Waits until a file that somebody copies from the closed vault is younger than `closed`. Mostly that is past already:
/// the clock of a file system ticks every few milliseconds.
fn pass(journal: &Journal, lock: &Path, closed: u64) {
    for _ in 0..TICKS {
        if journal.disk.clock(lock).is_none_or(|now| now > closed) {
            return;
        }
        std::thread::sleep(TICK);
    }
}

pub(crate) fn fix_dimension(journal: &Journal, dimension: u32) -> Result<(), StoreError> {
    let mut writer = journal.writer();
    match writer.manifest.dimension {
        Some(fixed) if fixed == dimension => return Ok(()),
        Some(expected) => return Err(StoreError::Dimension { expected, found: dimension }),
        None => {}
    }
    match &writer.mode {
        Mode::Open => {}
        Mode::ReadOnly => return Err(StoreError::ReadOnly { path: journal.path.clone() }),
        Mode::Closed => return Err(StoreError::Closed),
        Mode::Poisoned(reason) => return Err(StoreError::Poisoned { reason: reason.clone() }),
    }
    let mut manifest = writer.manifest.clone();
    manifest.dimension = Some(dimension);
    let path = super::manifest::Manifest::path(&journal.path);
    manifest.write(&*journal.disk, &journal.path).map_err(|error| failed("write", &path, &error))?;
    writer.manifest = manifest;
    journal.state_mut().dimension = Some(dimension);
    Ok(())
}
