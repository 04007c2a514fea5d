//! Writing: one frame, one write, one sync a batch.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use toka_types::{Digest, EventId, Gone};

use super::disk::DiskFile;
use super::frame::{FrameBuilder, Headers, Place, SEGMENT_HEADER, SegmentHeader, inline_bits};
use super::index::Index;
use super::leaves::{Growing, Leaves};
use super::manifest::Manifest;
use super::parts::{self, Target};
use super::read::{self, Known};
use super::segment::{failed, segment_path};
use super::spare::{Filled, Spare};
use super::state::{Segment, State};
use super::{Journal, seal};
use crate::hash::DigestState;
use crate::store::{Part, Room, StoreError};

/// Room that an ordinary batch leaves free in the segment, so that the outcomes of effects that were
/// started can be recorded on a full disk: some hundred of them.
pub const RESERVE: u64 = 64 << 10;
/// Room of the first segment: a small vault takes little.
const FIRST_CAPACITY: u64 = 256 << 10;
/// Room of the largest ones: large enough to be few, small enough to be made in a moment.
const LAST_CAPACITY: u64 = 64 << 20;
/// Room is handed out in steps of a file system block.
const BLOCK: u64 = 4096;
/// Zeros are written ahead of frames: a frame that lands on them is synced without touching the file's metadata, one
/// that lands on merely allocated room costs a commit of the file system's journal. Where the [`Spare`] did not bring
/// them, this many frames of the size in hand share one such commit. More would make the commit that pays for them a
/// long one.
const FRAMES_AHEAD: u64 = 24;
/// So many bytes are enough, as long as they are enough for [`LEAST_FRAMES_AHEAD`].
const ZERO_AHEAD: std::ops::RangeInclusive<u64> = (128 << 10)..=(1 << 20);
const LEAST_FRAMES_AHEAD: u64 = 3;
/// From this size on a frame costs more than that commit, and zeros written first would double it.
const LARGE_FRAME: u64 = 128 << 10;

/// A segment gets room for this many frames of the size in hand, up to [`LAST_CAPACITY`]: each new segment
/// costs several syncs.
const FRAMES_A_SEGMENT: u64 = 128;
/// From this size on: small frames fill even a small segment slowly.
const AMPLE_FRAME: u64 = 128 << 10;

/// The writer's half of a journal.
pub(crate) struct Writer {
    pub(crate) mode: Mode,
    /// The lock, held as long as the value lives.
    pub(crate) lock: Option<Box<dyn Any + Send + Sync>>,
    pub(crate) manifest: Manifest,
    /// True if the manifest on disk does not say where the journal ends.
    pub(crate) dirty: bool,
    /// Up to here the open segment has its room.
    pub(crate) room_end: u64,
    /// Up to here that room holds written zeros.
    pub(crate) zeroed: u64,
    /// True if parts of a frame that was refused may lie behind the open segment's last frame: they were cut off, but
    /// nothing was synced since.
    pub(crate) refused_behind: bool,
    /// Writes the index of the last sealed segment.
    pub(crate) sealing: Option<JoinHandle<()>>,
    pub(crate) spare: Spare,
    leaves: Leaves,
    frame: FrameBuilder,
    /// Where the events of the frame in hand begin, and its contents.
    events: Vec<usize>,
    contents: Vec<(Digest, usize)>,
    /// Content of the frame that is gone, each digest once, with where its event begins.
    gone: HashMap<Digest, usize, DigestState>,
    digests: Vec<Digest>,
    known: Vec<bool>,
    fresh: HashSet<Digest, DigestState>,
    zeros: Vec<u8>,
}

/// Whether a journal can be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Open,
    ReadOnly,
    Closed,
    Poisoned(String),
}

impl Writer {
    pub(crate) fn new(
        mode: Mode,
        lock: Option<Box<dyn Any + Send + Sync>>,
        manifest: Manifest,
        spare: Spare,
    ) -> Self {
        Self {
            mode,
            lock,
            manifest,
            spare,
            dirty: false,
            room_end: 0,
            zeroed: 0,
            refused_behind: false,
            sealing: None,
            leaves: Leaves::default(),
            frame: FrameBuilder::default(),
            events: Vec::new(),
            contents: Vec::new(),
            gone: HashMap::default(),
            digests: Vec::new(),
            known: Vec::new(),
            fresh: HashSet::default(),
            zeros: Vec::new(),
        }
    }

    pub(crate) fn check_open(&self, journal: &Journal) -> Result<(), StoreError> {
        match &self.mode {
            Mode::Open => Ok(()),
            Mode::ReadOnly => Err(StoreError::ReadOnly { path: journal.path.clone() }),
            Mode::Closed => Err(StoreError::Closed),
            Mode::Poisoned(reason) => Err(StoreError::Poisoned { reason: reason.clone() }),
        }
    }

    /// Builds the frame of `targets`, whose headers are `headers`, and of which some content may be gone. Returns the sums
    /// to add: bytes not stored again, bytes saved.
    fn build<'h>(
        &mut self,
        state: &State,
        targets: &[Target<'_>],
        headers: impl Iterator<Item = &'h [u8]>,
        gone: &HashMap<Digest, Gone>,
    ) -> Result<(u64, u64), StoreError> {
        self.frame.start();
        self.events.clear();
        self.contents.clear();
        self.gone.clear();
        self.fresh.clear();
        for (number, log) in targets.iter().filter_map(|target| Some((target.number, target.new.as_ref()?))) {
            match log.base {
                Some((base, _)) => self.frame.fork(number, log.id.as_str(), base, &log.tree),
                None => self.frame.log(number, log.id.as_str()),
            }
        }
        let records = || parts::records(targets);
        self.digests.clear();
        self.digests
            .extend(records().flat_map(|(_, r)| r.header.content.iter().map(|content| content.digest)));
        read::known(state, &self.digests, &mut self.known)?;
        let mut first = 0;
        let (mut deduplicated, mut compressed) = (0, 0);
        for ((log, record), header) in records().zip(headers) {
            let mut failed = None;
            let bits = inline_bits(record, |at| {
                let digest = record.header.content[at].digest;
                if self.known[first + at] || self.fresh.contains(&digest) {
                    return false;
                }
                if record.content_at(at).is_some() {
                    return self.fresh.insert(digest);
                }
                if self.gone.contains_key(&digest) {
                    return false;
                }
                match is_noted(state, &record.header.id, &digest, gone) {
                    Ok(noted) => !noted,
                    Err(error) => {
                        failed = Some(error);
                        false
                    }
                }
            });
            if let Some(error) = failed {
                return Err(error);
            }
            first += record.header.content.len();
            let offset = self.frame.event(log, bits, header);
            for (at, content) in record.header.content.iter().enumerate() {
                match (record.content_at(at), gone.get(&content.digest)) {
                    (Some(payload), _) if bits & (1 << at) != 0 => {
                        let (offset, saved) = self.frame.content(payload.bytes());
                        self.contents.push((content.digest, offset));
                        compressed += saved;
                    }
                    (None, Some(reason)) if bits & (1 << at) != 0 => {
                        self.frame.gone(*reason);
                        self.gone.insert(content.digest, offset);
                    }
                    _ => {
                        state.shared.note(&content.digest);
                        deduplicated += u64::from(content.size);
                    }
                }
            }
            self.events.push(offset);
        }
        Ok((deduplicated, compressed))
    }

    /// Writes zeros ahead of a frame that would land on room that was never written.
    fn zero_ahead(&mut self, segment: &Segment, len: u64) -> io::Result<()> {
        let end = segment.end + len;
        if end <= self.zeroed {
            return Ok(());
        }
        self.zeroed = end;
        if len < LARGE_FRAME {
            let enough = (len * FRAMES_AHEAD).clamp(*ZERO_AHEAD.start(), *ZERO_AHEAD.end());
            let ahead = enough.max(len * LEAST_FRAMES_AHEAD);
            let ahead = ahead.min(self.room_end.saturating_sub(end));
            // The frame itself need not be zeros first.
            self.zeros.resize(self.zeros.len().max(ahead as usize), 0);
            segment.file.write_at(&self.zeros[..ahead as usize], end)?;
            self.zeroed = end + ahead;
        }
        Ok(())
    }
}

/// True if the store has the content that was not handed in, or says already that it is gone.
fn is_noted(
    state: &State,
    event: &EventId,
    digest: &Digest,
    gone: &HashMap<Digest, Gone>,
) -> Result<bool, StoreError> {
    match read::look_up(state, digest)? {
        Known::There => Ok(true),
        known if gone.contains_key(digest) => Ok(known != Known::Not),
        _ => Err(StoreError::MissingContent { event: *event, digest: *digest }),
    }
}

pub(crate) fn append(
    journal: &Journal,
    parts: &[Part<'_>],
    gone: &HashMap<Digest, Gone>,
    room: Room,
) -> Result<(), StoreError> {
    let mut writer = journal.writer();
    let writer = &mut *writer;
    writer.check_open(journal)?;
    seal::prepare_filter(journal);
    let base_trees = parts::base_trees(journal, parts)?;
    let (targets, growing, sums) = {
        let state = journal.state();
        let targets = parts::targets(&state, parts, base_trees)?;
        if targets.is_empty() {
            return Ok(());
        }
        let beside = journal.disk.works_beside();
        let leaves = &mut writer.leaves;
        let grow =
            |target: &Target<'_>| leaves.grow(target.tree(&state), Headers::of(target.records), beside);
        let growing: Vec<_> = targets.iter().map(grow).collect();
        let headers = growing.iter().flat_map(|growing| growing.headers.iter());
        let sums = writer.build(&state, &targets, headers, gone)?;
        (targets, growing, sums)
    };
    make_room(journal, writer, room)?;
    let offset = {
        let state = journal.state();
        let segment = state.segments.last().ok_or(StoreError::Closed)?;
        write_frame(journal, writer, segment)?;
        if (writer.frame.len() as u64) < LARGE_FRAME {
            let number = segment.number;
            writer.spare.keep_pace(capacity(number + 1), segment.end, capacity(number));
        }
        segment.end
    };
    let grown: Vec<_> = growing.into_iter().map(Growing::done).collect();
    let mut state = journal.state_mut();
    let State { segments, logs, totals, .. } = &mut *state;
    let Some(segment) = segments.last_mut() else { return Err(StoreError::Closed) };
    let recent = segment.index.recent_mut();
    // Apart from the rest, so that waiting for memory overlaps.
    for &(digest, at) in &writer.contents {
        recent.content(digest, offset + at as u64);
    }
    for (digest, at) in writer.gone.drain() {
        recent.gone(digest, offset + at as u64);
    }
    for ((number, record), at) in parts::records(&targets).zip(&writer.events) {
        recent.event(number, offset + *at as u64, &record.header);
    }
    for (target, (tree, complete)) in targets.into_iter().zip(grown) {
        logs.extend(target.new);
        let log = &mut logs[usize::from(target.number)];
        if let Some(last) = target.records.last() {
            (log.last, log.last_at, log.tree) = (Some(last.header.id), last.header.at, tree);
            log.captured.roots.extend(complete);
        }
    }
    totals.events += writer.events.len() as u64;
    totals.deduplicated += sums.0;
    totals.compressed += sums.1;
    segment.end = offset + writer.frame.len() as u64;
    segment.crc = writer.frame.crc();
    writer.dirty = true;
    Ok(())
}

/// Writes the frame and syncs it.
fn write_frame(journal: &Journal, writer: &mut Writer, segment: &Segment) -> Result<(), StoreError> {
    let place = Place { vault: journal.vault, segment: segment.number };
    let len = writer.frame.len() as u64;
    let zeroed = writer.zero_ahead(segment, len);
    writer.frame.finish(&place, segment.end, segment.crc);
    // Whole pages are written without reading what lies there, whether it is in memory or not.
    let end = segment.end + len;
    let zeros = end.next_multiple_of(BLOCK).min(writer.room_end).saturating_sub(end);
    let written = zeroed.and_then(|()| {
        writer.frame.with_zeros(zeros as usize, |bytes| segment.file.write_at(bytes, segment.end))
    });
    if let Err(error) = written {
        // What was written of the frame is taken back; then the segment is as it was, and can be used on.
        let taken_back = is_full(&error) && segment.file.set_len(segment.end).is_ok();
        if taken_back {
            writer.room_end = segment.end;
            writer.zeroed = segment.end;
            writer.refused_behind = true;
            writer.spare.give_back();
            return Err(StoreError::Full { path: journal.path.clone(), needed: len });
        }
        return Err(poison(writer, &failed("write", &segment.path, &error)));
    }
    segment.file.sync().map_err(|error| poison(writer, &failed("sync", &segment.path, &error)))?;
    writer.refused_behind = false;
    Ok(())
}

/// Notes that nothing can be acknowledged any more, and says so.
fn poison(writer: &mut Writer, error: &StoreError) -> StoreError {
    let reason = error.to_string();
    writer.mode = Mode::Poisoned(reason.clone());
    StoreError::Poisoned { reason }
}

/// Sees to it that the frame in hand fits into the open segment, or opens the next one.
fn make_room(journal: &Journal, writer: &mut Writer, room: Room) -> Result<(), StoreError> {
    let frame = writer.frame.len() as u64;
    let needed = frame + if room == Room::Ordinary { RESERVE } else { 0 };
    let open = {
        let state = journal.state();
        // A segment says in its header that content may be gone from it.
        let open = state.segments.last();
        let open = open.filter(|s| s.rewritten.is_none() && (s.imported || writer.gone.is_empty()));
        open.map(|s| (s.number, s.end, Arc::clone(&s.file), s.path.clone()))
    };
    let Some((number, end, file, path)) = open else {
        return next_segment(journal, writer, needed, false);
    };
    if end + needed <= writer.room_end {
        return Ok(());
    }
    let capacity = capacity(number);
    if end + needed > capacity {
        return next_segment(journal, writer, needed, false);
    }
    for room_end in [capacity, (end + needed).next_multiple_of(BLOCK)] {
        match file.allocate(writer.room_end.max(end), room_end) {
            Ok(()) => {
                writer.room_end = room_end;
                return Ok(());
            }
            // What a failed attempt took is given back, so that the next one has it.
            Err(error) if is_full(&error) => drop(file.set_len(writer.room_end.max(end))),
            Err(error) => return Err(failed("make room in", &path, &error)),
        }
    }
    Err(StoreError::Full { path: journal.path.clone(), needed })
}

/// Opens the segment after the last one, with room for `needed` bytes.
pub(crate) fn next_segment(
    journal: &Journal,
    writer: &mut Writer,
    needed: u64,
    after_failure: bool,
) -> Result<(), StoreError> {
    let (number, previous_end, previous_crc, index) = {
        let state = journal.state();
        state.segments.last().map_or((1, 0, 0, Index::default()), |last| {
            let (number, link) = (last.number + 1, last.link());
            // Segments grow by doubling, and the next one is as full as this one when it ends.
            let times = if capacity(number) > capacity(last.number) { 2 } else { 1 };
            let index = Index::with_room_of(&last.index, times);
            (number, link.0, link.1, index)
        })
    };
    let path = segment_path(&journal.path, number);
    let vault = journal.vault;
    // A power cut may bring back what was cut off.
    let after_failure = after_failure || writer.refused_behind;
    let imported = !writer.gone.is_empty();
    let header =
        SegmentHeader { vault, number, previous_end, previous_crc, after_failure, imported, rewritten: None };
    let (segment, room_end, zeroed) = match create_segment(journal, &writer.spare, header, needed) {
        Ok(created) => created,
        Err(NotCreated { error, begun }) => {
            // Nothing was acknowledged in it. If it stays, opening takes it for what it is.
            let _ = journal.disk.remove(&path);
            return Err(match begun {
                true => poison(writer, &failed("create", &path, &error)),
                false if is_full(&error) => StoreError::Full { path: journal.path.clone(), needed },
                false => failed("create", &path, &error),
            });
        }
    };
    seal::seal_last(journal, writer);
    journal.state_mut().segments.push(Segment { index, ..segment });
    writer.refused_behind = false;
    writer.room_end = room_end;
    writer.zeroed = zeroed;
    writer.dirty = true;
    Ok(())
}

/// Why there is no new segment.
struct NotCreated {
    error: io::Error,
    /// True if its header may be there all the same: then the segment before it has ended.
    begun: bool,
}

impl From<io::Error> for NotCreated {
    fn from(error: io::Error) -> Self {
        Self { error, begun: false }
    }
}

/// Makes the segment's file; also where its room ends, and up to where there are zeros.
fn create_segment(
    journal: &Journal,
    spare: &Spare,
    header: SegmentHeader,
    needed: u64,
) -> Result<(Segment, u64, u64), NotCreated> {
    let path = segment_path(&journal.path, header.number);
    let start = SEGMENT_HEADER as u64;
    let least = (start + needed).next_multiple_of(BLOCK);
    // A file of this name is what a failed try left behind.
    let _ = journal.disk.remove(&path);
    let (mut bytes, crc) = header.encode();
    // The page is written whole: it need not be read.
    bytes.resize(BLOCK as usize, 0);
    let begin = |file: &dyn DiskFile| file.write_at(&bytes, 0).and_then(|()| file.sync());
    let directory = path.parent().unwrap_or(&journal.path);
    let (file, room_end, zeroed, written) = match spare.take(least) {
        Some(Filled { file, capacity, zeroed, .. }) => {
            let from = super::spare::path(&journal.path);
            if let Err(error) = begin(&*file).and_then(|()| journal.disk.rename(&from, &path)) {
                drop(journal.disk.remove(&from));
                return Err(error.into());
            }
            (file, capacity, zeroed, Ok(()))
        }
        None => {
            let file = Arc::from(journal.disk.create(&path)?);
            let room_end = allocate(&*file, header.number, needed, least)?;
            let written = begin(&*file);
            (file, room_end, start, written)
        }
    };
    if let Err(error) = written.and_then(|()| journal.disk.sync_directory(directory)) {
        // The header says where the segment before ends. Unless it is taken back for certain, whatever went on there
        // would be lost with the next opening.
        let taken_back = file.set_len(0).and_then(|()| file.sync());
        return Err(NotCreated { error, begun: taken_back.is_err() });
    }
    let SegmentHeader { number, imported, rewritten, .. } = header;
    let index = Index::default();
    let segment = Segment { number, path, file, end: start, crc, imported, rewritten, index };
    Ok((segment, room_end, zeroed))
}

/// Gives a new segment its room, as much of it as there is; where it ends.
fn allocate(file: &dyn DiskFile, number: u64, needed: u64, least: u64) -> io::Result<u64> {
    let many = (needed * FRAMES_A_SEGMENT).next_multiple_of(BLOCK).min(LAST_CAPACITY);
    let ample = if needed >= AMPLE_FRAME + RESERVE { many } else { 0 };
    let mut room_end = capacity(number).max(ample).max(least);
    while let Err(error) = file.allocate(0, room_end) {
        if !is_full(&error) || room_end == least {
            return Err(error);
        }
        room_end = (room_end / 2).max(least);
        file.set_len(0)?;
    }
    Ok(room_end)
}

pub(crate) fn recover(journal: &Journal) -> Result<(), StoreError> {
    let mut writer = journal.writer();
    if !matches!(writer.mode, Mode::Poisoned(_)) {
        return Ok(());
    }
    next_segment(journal, &mut writer, RESERVE, true)?;
    writer.mode = Mode::Open;
    Ok(())
}

fn capacity(number: u64) -> u64 {
    let doublings = number.saturating_sub(1).min(u64::from(LAST_CAPACITY.ilog2()));
    FIRST_CAPACITY.checked_shl(doublings as u32).map_or(LAST_CAPACITY, |room| room.min(LAST_CAPACITY))
}

/// True if there was no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
