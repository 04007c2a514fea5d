//! Sealing segments, and leaving the vault so that the next opening is fast.

use std::path::Path;
use std::sync::Arc;

use super::Journal;
use super::append::Mode;
use super::disk::Disk;
use super::frame::{Place, VaultId};
use super::index::Index;
use super::manifest::{Acknowledged, ManifestLog};
use super::segment::{failed, index_path};
use super::sidecar::{self, Body, Meta, Rebuild, Sidecar};
use super::state::{Segment, State};
use crate::store::StoreError;

/// Trims the last segment and writes its index, before another one follows. What fails here costs room or
/// time, and is told in the trace.
pub(crate) fn seal_last(journal: &Journal) {
    let (number, path, file, end) = {
        let state = journal.state();
        let Some(last) = state.segments.last() else { return };
        (last.number, last.path.clone(), Arc::clone(&last.file), last.end)
    };
    if let Err(error) = file.set_len(end) {
        tracing::warn!(path = %path.display(), %error, "a segment keeps room that it does not need");
    }
    if let Err(detail) = write_index(journal, number) {
        tracing::warn!(path = %path.display(), detail, "a segment has no index; it is read instead");
    }
}

/// Writes the index of the last segment and lets go of its part in memory.
fn write_index(journal: &Journal, number: u64) -> Result<(), String> {
    let (meta, body, path) = {
        let state = journal.state();
        let Some(segment) = state.segments.last().filter(|segment| segment.number == number) else {
            return Ok(());
        };
        if segment.index.recent.is_empty()
            && segment.index.base.as_ref().is_some_and(|b| b.meta.end == segment.end)
        {
            return Ok(());
        }
        let (meta, body) = describe(&state, segment, journal.vault)?;
        (meta, body, segment.path.clone())
    };
    let index = index_path(&journal.path, number);
    let len = sidecar::write(&*journal.disk, &index, &meta, &body)?;
    let mut state = journal.state_mut();
    let Some(segment) = state.segments.last_mut() else { return Ok(()) };
    let rebuild = rebuild(&journal.disk, journal.vault, &path, &meta);
    let base = Sidecar::new(&journal.disk, &index, meta, len, body, rebuild);
    segment.index = Index::over(base);
    state.extend_filter();
    Ok(())
}

/// The sidecar of `segment` as it is now. Logs and sums are the vault's, so it must be the last one.
pub(crate) fn describe(state: &State, segment: &Segment, vault: VaultId) -> Result<(Meta, Body), String> {
    let base = match &segment.index.base {
        Some(base) => Some(base.body().map_err(|error| error.to_string())?),
        None => None,
    };
    let body = segment.index.recent.body(base);
    let (events, contents, links) = body.counts();
    let meta = Meta {
        vault,
        segment: segment.number,
        end: segment.end,
        crc: segment.crc,
        events,
        contents,
        links,
        runs: segment.index.runs(),
        logs: state.logs_meta(),
        totals: state.totals,
    };
    Ok((meta, body))
}

/// How to make the tables of a sidecar anew from its segment.
pub(crate) fn rebuild(disk: &Arc<dyn Disk>, vault: VaultId, path: &Path, meta: &Meta) -> Rebuild {
    let (disk, path) = (Arc::clone(disk), path.to_owned());
    let (place, end) = (Place { vault, segment: meta.segment }, meta.end);
    Box::new(move || {
        let file = disk.open(&path, false).map_err(|error| failed("open", &path, &error))?;
        let recent = super::state::index_segment(&*file, &path, &place, end)?;
        Ok(recent.body(None))
    })
}

pub(crate) fn close(journal: &Journal) -> Result<(), StoreError> {
    let mut writer = journal.writer();
    let mode = std::mem::replace(&mut writer.mode, Mode::Closed);
    if mode == Mode::ReadOnly {
        writer.mode = mode;
        return Ok(());
    }
    writer.spare = None;
    let closed = if mode == Mode::Open && writer.dirty { close_open(journal, &mut writer) } else { Ok(()) };
    writer.lock = None;
    closed
}

fn close_open(journal: &Journal, writer: &mut super::append::Writer) -> Result<(), StoreError> {
    let last = {
        let state = journal.state();
        state.segments.last().map(|s| (s.number, s.path.clone(), Arc::clone(&s.file), s.end, s.crc))
    };
    if let Some((number, path, file, end, crc)) = last {
        file.set_len(end).and_then(|()| file.sync()).map_err(|error| failed("trim", &path, &error))?;
        if let Err(detail) = write_index(journal, number) {
            tracing::warn!(path = %path.display(), detail, "a segment has no index; it is read instead");
        }
        writer.manifest.head = Some(Acknowledged { segment: number, offset: end, crc });
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
