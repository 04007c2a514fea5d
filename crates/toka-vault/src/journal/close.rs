//! Leaving the vault so that the next opening is fast.

use std::sync::Arc;

use super::append::Mode;
use super::manifest::{Acknowledged, ManifestLog};
use super::segment::failed;
use super::{Journal, seal};
use crate::store::StoreError;

pub(crate) fn close(journal: &Journal) -> Result<(), StoreError> {
    let mut writer = journal.writer();
    let mode = std::mem::replace(&mut writer.mode, Mode::Closed);
    if mode == Mode::ReadOnly {
        writer.mode = mode;
        return Ok(());
    }
    seal::wait(&mut writer);
    let closed = if mode == Mode::Open && writer.dirty { close_open(journal, &mut writer) } else { Ok(()) };
    writer.lock = None;
    closed
}

fn close_open(journal: &Journal, writer: &mut super::append::Writer) -> Result<(), StoreError> {
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
    let logs = journal
        .state()
        .logs
        .iter()
        .map(|log| {
            let head = log.head();
            let name = log.id.to_string();
            ManifestLog { name, events: head.next_seq, last: head.last, root: head.root.to_string() }
        })
        .collect();
    writer.manifest.logs = logs;
    let path = super::manifest::Manifest::path(&journal.path);
    writer.manifest.write(&*journal.disk, &journal.path).map_err(|error| failed("write", &path, &error))?;
    writer.dirty = false;
    Ok(())
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
