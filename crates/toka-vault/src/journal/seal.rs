//! Sealing: the index of a segment that gets no more frames, written beside the writer's work.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;

use super::Journal;
use super::append::Writer;
use super::disk::{Disk, DiskFile};
use super::filter::{Filter, MOST_KEYS};
use super::frame::VaultId;
use super::index::Index;
use super::nodes::NodeFiles;
use super::recent::Recent;
use super::segment::index_path;
use super::sidecar::{Meta, Sidecar};
use super::state::{self, Segment, State};

/// What the sidecar of a segment is made of.
pub(crate) struct Seal {
    segment: (PathBuf, Arc<dyn DiskFile>),
    meta: Meta,
    base: Option<Arc<Sidecar>>,
    recent: Arc<Recent>,
}

/// A segment that is being sealed.
struct Job {
    disk: Arc<dyn Disk>,
    state: Arc<RwLock<State>>,
    index: PathBuf,
    seal: Seal,
    files: NodeFiles,
}

impl Seal {
    /// Of `segment` as it is now. Logs and sums are the vault's, so it must be the last one.
    pub(crate) fn of(state: &State, segment: &Segment, vault: VaultId) -> Self {
        let meta = Meta {
            vault,
            segment: segment.number,
            end: segment.end,
            crc: segment.crc,
            // The tables tell, once they are made.
            events: 0,
            contents: 0,
            links: 0,
            runs: segment.index.runs(),
            logs: state.logs_meta(),
            totals: state.totals,
        };
        let Index { base, recent } = segment.index.clone();
        let segment = (segment.path.clone(), Arc::clone(&segment.file));
        Self { segment, meta, base, recent }
    }

    /// Writes the sidecar at `path`.
    pub(crate) fn write(&self, disk: &Arc<dyn Disk>, path: &Path) -> Result<Sidecar, String> {
        let body = match &self.base {
            Some(base) => {
                base.ask(|tables| self.recent.body(Some(tables))).map_err(|error| error.to_string())?
            }
            None => self.recent.body(None)?,
        };
        let mut meta = self.meta.clone();
        (meta.events, meta.contents, meta.links) = (body.shape.events, body.shape.contents, body.shape.links);
        Sidecar::write(disk, path, (&self.segment.0, &self.segment.1), meta, &body)
    }
}

/// Trims the last segment and writes its index, before another one follows: on a thread of its own where the
/// disk allows it. What fails there costs room or time, and is told in the trace.
pub(crate) fn seal_last(journal: &Journal, writer: &mut Writer) {
    wait(writer);
    let job = {
        let state = journal.state();
        let Some(last) = state.segments.last() else { return };
        Job {
            disk: Arc::clone(&journal.disk),
            state: Arc::clone(&journal.state),
            index: index_path(&journal.path, last.number),
            seal: Seal::of(&state, last, journal.vault),
            files: NodeFiles::of(journal),
        }
    };
    if !journal.disk.works_beside() {
        return job.run();
    }
    let thread = std::thread::Builder::new().name("toka-vault-seal".into());
    match thread.spawn(move || job.run()) {
        Ok(thread) => writer.sealing = Some(thread),
        Err(error) => tracing::warn!(%error, "no thread to seal a segment: its index stays in memory"),
    }
}

/// Waits until nothing is being sealed.
pub(crate) fn wait(writer: &mut Writer) {
    if writer.sealing.take().map(JoinHandle::join).is_some_and(|ended| ended.is_err()) {
        tracing::warn!("sealing a segment panicked: its index stays in memory");
    }
}

impl Job {
    fn run(self) {
        let (path, file) = &self.seal.segment;
        let path = path.display();
        if let Err(error) = file.set_len(self.seal.meta.end) {
            tracing::warn!(%path, %error, "a segment keeps room that it does not need");
        }
        match self.seal.write(&self.disk, &self.index) {
            Ok(sidecar) => {
                self.install(sidecar);
                self.files.save();
            }
            Err(detail) => tracing::warn!(%path, detail, "a segment has no index; it is read instead"),
        }
    }

    /// Puts the sidecar in the place of what is in memory, once the filter has its keys.
    fn install(&self, sidecar: Sidecar) {
        let number = self.seal.meta.segment;
        let index = Index::over(sidecar);
        let newest = index.base.iter().map(|base| (number, Arc::clone(base)));
        let mut filter = self.state.read().unwrap_or_else(PoisonError::into_inner).filter.clone();
        let keys = index.base.as_ref().map_or(0, |base| base.key_count());
        if filter.has_room(keys) {
            extend(&mut filter, newest, keys);
        } else {
            filter = filled(&self.state, newest, number + 1);
        }
        let mut state = state::write(&self.state);
        state.filter = filter;
        // The writer does not ask the older ones any more.
        let older = state.segments.iter().filter(|segment| state.filter.is_before(segment.number));
        older.filter_map(|segment| segment.index.base.as_ref()).for_each(|base| base.forget_filters());
        if let Some(segment) = state.segments.iter_mut().find(|segment| segment.number == number) {
            segment.index = index;
        }
    }
}

/// Makes the writer's filter, if that has not been done since the vault was opened.
pub(crate) fn prepare_filter(journal: &Journal) {
    let next = {
        let state = journal.state();
        if !state.filter.is_void() {
            return;
        }
        state.segments.last().map_or(1, |segment| segment.number)
    };
    let filter = filled(&journal.state, std::iter::empty(), next);
    journal.state_mut().filter = filter;
}

/// A filter over `newest` and the sealed segments before it, as many as have room with some to spare.
fn filled(state: &RwLock<State>, newest: impl Iterator<Item = (u64, Arc<Sidecar>)>, next: u64) -> Filter {
    let mut sealed: Vec<_> = newest.collect();
    {
        let state = state.read().unwrap_or_else(PoisonError::into_inner);
        let before = sealed.first().map_or(next, |&(number, _)| number);
        let older = state.segments.iter().rev().filter(|segment| segment.number < before);
        sealed.extend(older.map_while(|s| Some((s.number, Arc::clone(s.index.base.as_ref()?)))));
    }
    let all = sealed.iter().map(|(_, sidecar)| sidecar.key_count()).sum::<usize>();
    let mut filter = Filter::with_room(2 * all, next);
    extend(&mut filter, sealed.into_iter(), all.min(MOST_KEYS / 2));
    filter
}

/// Adds the keys of segments, each next to those that are in, as long as there are no more than `room`.
fn extend(filter: &mut Filter, segments: impl Iterator<Item = (u64, Arc<Sidecar>)>, mut room: usize) {
    for (number, sidecar) in segments {
        let Some(left) = room.checked_sub(sidecar.key_count()) else { break };
        if let Err(error) = sidecar.keys(|key| filter.add(key)) {
            tracing::warn!(%error, "an index cannot be read; look-ups ask it itself");
            break;
        }
        filter.cover(number, sidecar.key_count());
        room = left;
    }
}

/// The sidecar of the last segment, written while nothing else is done.
pub(crate) fn write_last(journal: &Journal, number: u64) -> Result<(), String> {
    let seal = {
        let state = journal.state();
        let Some(segment) = state.segments.last().filter(|segment| segment.number == number) else {
            return Ok(());
        };
        let whole = segment
            .index
            .base
            .as_ref()
            .is_some_and(|base| base.meta.end == segment.end && base.meta.totals == state.totals);
        if segment.index.recent.is_empty() && whole {
            return Ok(());
        }
        Seal::of(&state, segment, journal.vault)
    };
    let sidecar = seal.write(&journal.disk, &index_path(&journal.path, number))?;
    if let Some(segment) = journal.state_mut().segments.last_mut() {
        segment.index = Index::over(sidecar);
    }
    NodeFiles::of(journal).save();
    Ok(())
}
