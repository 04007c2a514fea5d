//! What the journal knows of its segments and logs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use toka_types::{EventHeader, EventId, Timestamp};

use super::disk::DiskFile;
use super::filter::Filter;
use super::frame::{
    Entry, EventEntry, FRAME_HEADER, HeaderError, Place, REWRITTEN_HEADER, Rewritten, SEGMENT_FORMAT,
    SegmentHeader, entries,
};
use super::index::Index;
use super::live::Shared;
use super::nodes::{Cache, Captured};
use super::recent::Recent;
use super::segment::{Frame, Tail, damage, failed, frames};
use super::sidecar::{LogMeta, Totals};
use crate::core::LogId;
use crate::hash::{LogTree, TreeHash, leaf_hash};
use crate::store::{Head, StoreError};

/// One segment. Only the last one grows.
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    /// The offset after the last acknowledged frame.
    pub(crate) end: u64,
    /// That frame's checksum, or the segment header's.
    pub(crate) crc: u32,
    /// What compaction noted, if it rewrote the segment: then nothing is appended to it any more.
    pub(crate) rewritten: Option<Rewritten>,
    pub(crate) index: Index,
}

impl Segment {
    /// What an index of it is made from.
    pub(crate) fn source(&self) -> (&Path, &Arc<dyn DiskFile>) {
        (&self.path, &self.file)
    }

    /// The end and the checksum that the next segment names.
    pub(crate) fn link(&self) -> (u64, u32) {
        self.rewritten.map_or((self.end, self.crc), |first| (first.first_end, first.first_crc))
    }
}

/// One log. Its number is its place among the vault's logs.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) id: LogId,
    pub(crate) last: Option<EventId>,
    pub(crate) last_at: Timestamp,
    pub(crate) tree: LogTree,
    pub(crate) captured: Captured,
}

/// Everything that readers look at. It changes when a batch is durable.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) segments: Vec<Segment>,
    pub(crate) logs: Vec<Log>,
    pub(crate) totals: Totals,
    pub(crate) dimension: Option<u32>,
    /// What the writer knows of the sealed segments.
    pub(crate) filter: Filter,
    /// Content that appended events share with earlier ones, while a compaction is under way.
    pub(crate) shared: Shared,
    pub(crate) nodes: Cache,
}

/// The state, to change it. It changes only after everything that can fail has been done.
pub(crate) fn write(state: &RwLock<State>) -> RwLockWriteGuard<'_, State> {
    state.write().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    pub(crate) fn new(id: LogId) -> Self {
        let (tree, captured) = (LogTree::new(), Captured::default());
        Self { id, last: None, last_at: Timestamp::EPOCH, tree, captured }
    }

    pub(crate) fn head(&self) -> Head {
        Head { next_seq: self.tree.size(), last: self.last, last_at: self.last_at, root: self.tree.root() }
    }

    pub(crate) fn push(&mut self, header: &EventHeader, leaf: TreeHash) {
        self.last = Some(header.id);
        self.last_at = header.at;
        self.captured.append(&mut self.tree, leaf);
    }

    pub(crate) fn meta(&self) -> LogMeta {
        LogMeta::new(self.id.as_str(), self.last, self.last_at, &self.tree)
    }
}

impl State {
    pub(crate) fn log_number(&self, log: &LogId) -> Option<u16> {
        self.logs.iter().position(|l| l.id == *log).map(|number| number as u16)
    }

    pub(crate) fn logs_meta(&self) -> Vec<LogMeta> {
        self.logs.iter().map(Log::meta).collect()
    }

    /// Takes over logs and sums as a sidecar has them; false if it contradicts itself.
    pub(crate) fn restore(&mut self, logs: &[LogMeta], totals: Totals) -> bool {
        let restored = logs.iter().map(|meta| {
            let id = LogId::new(&meta.name).ok()?;
            let (tree, captured) = (meta.tree()?, Captured::after(meta.size));
            Some(Log { id, last: meta.last, last_at: meta.last_at, tree, captured })
        });
        match restored.collect::<Option<Vec<_>>>() {
            Some(logs) => {
                self.logs = logs;
                self.totals = totals;
                true
            }
            None => false,
        }
    }

    /// Reads the frames of `segment` from its end on, up to `limit`, into its index, the logs and the sums.
    pub(crate) fn scan(
        &mut self,
        segment: &mut Segment,
        place: &Place,
        limit: u64,
    ) -> Result<Scanned, StoreError> {
        let mut last_frame = None;
        let file = Arc::clone(&segment.file);
        let from = (segment.end, segment.crc);
        let path = segment.path.clone();
        let tail = frames(&*file, &path, place, from, limit, |frame| {
            last_frame = Some(frame.offset);
            self.apply(segment, &frame)
        })?;
        segment.end = tail.end;
        segment.crc = tail.crc;
        Ok(Scanned { last_frame, tail })
    }

    fn apply(&mut self, segment: &mut Segment, frame: &Frame<'_>) -> Result<(), StoreError> {
        let body = frame.offset + FRAME_HEADER as u64;
        let path = segment.path.clone();
        let bad = |at: usize, detail: String| damage(&path, body + at as u64, None, detail);
        entries(frame.body, frame.count, bad, |entry| match entry {
            Entry::Log { number, name } => {
                if usize::from(number) != self.logs.len() {
                    return Err(damage(&path, body, None, format!("log '{name}' has number {number}")));
                }
                let id = LogId::new(name).map_err(|error| damage(&path, body, None, error.to_string()))?;
                self.logs.push(Log::new(id));
                Ok(())
            }
            Entry::Event(event) => self.apply_event(segment, body, &event),
        })
    }

    fn apply_event(
        &mut self,
        segment: &mut Segment,
        body: u64,
        event: &EventEntry<'_>,
    ) -> Result<(), StoreError> {
        let offset = body + event.offset as u64;
        let at = |detail: String| damage(&segment.path, offset, None, detail);
        let header = EventHeader::decode(event.header).map_err(|error| at(error.to_string()))?;
        let Some(log) = self.logs.get_mut(usize::from(event.log)) else {
            return Err(at(format!("there is no log {}", event.log)));
        };
        if header.seq != log.tree.size() {
            let detail = format!("event {} stands where event {} belongs", header.seq, log.tree.size());
            return Err(damage(&segment.path, offset, Some(log.tree.size()), detail));
        }
        log.push(&header, leaf_hash(event.header));
        self.totals.events += 1;
        let here: u64 =
            event.contents.iter().zip(event.refs(&header)).map(|(_, content)| u64::from(content.size)).sum();
        let stored = event.contents.iter().zip(event.refs(&header));
        let stored: u64 = stored
            .map(|(entry, content)| match entry.gone {
                // What compression saved of it is not known any more.
                Some(_) => u64::from(content.size),
                None => entry.stored.len() as u64,
            })
            .sum();
        self.totals.deduplicated += header.content_bytes().saturating_sub(here);
        self.totals.compressed += here.saturating_sub(stored);
        if !event.names_its_contents(&header) {
            return Err(damage(
                &segment.path,
                offset,
                Some(header.seq),
                "content that the header does not name",
            ));
        }
        index_event(segment.index.recent_mut(), body, event, &header);
        Ok(())
    }
}

/// Reads the header of a segment; also the checksum to which its first frame links.
pub(crate) fn segment_header(
    file: &dyn DiskFile,
    path: &Path,
) -> Result<Result<(SegmentHeader, u32), HeaderError>, StoreError> {
    let mut bytes = [0; REWRITTEN_HEADER];
    let read = file.read_at(&mut bytes, 0).map_err(|error| failed("read", path, &error))?;
    Ok(SegmentHeader::decode(&bytes[..read]))
}

impl HeaderError {
    /// The error of whoever cannot do without the header.
    pub(crate) fn in_file(self, path: &Path) -> StoreError {
        match self {
            Self::Format(found) => StoreError::Format { found, known: SEGMENT_FORMAT },
            Self::Bad(detail) => damage(path, 0, None, detail),
        }
    }
}

/// The index of a sealed segment up to `end`, from its frames alone.
pub(crate) fn index_segment(
    file: &dyn DiskFile,
    path: &Path,
    place: &Place,
    end: u64,
) -> Result<Recent, StoreError> {
    let mut recent = Recent::default();
    let (header, crc) = segment_header(file, path)?.map_err(|error| error.in_file(path))?;
    let tail = frames(file, path, place, (header.len(), crc), end, |frame| {
        let body = frame.offset + FRAME_HEADER as u64;
        let bad = |at: usize, detail: String| damage(path, body + at as u64, None, detail);
        entries(frame.body, frame.count, bad, |entry| {
            if let Entry::Event(event) = entry {
                let at = body + event.offset as u64;
                let header = EventHeader::decode(event.header);
                let header = header.map_err(|error| damage(path, at, None, error.to_string()))?;
                index_event(&mut recent, body, &event, &header);
            }
            Ok(())
        })
    })?;
    match tail.bad {
        Some(detail) => Err(damage(path, tail.end, None, detail)),
        None => Ok(recent),
    }
}

fn index_event(recent: &mut Recent, body: u64, event: &EventEntry<'_>, header: &EventHeader) {
    let at = body + event.offset as u64;
    for (entry, content) in event.contents.iter().zip(event.refs(header)) {
        match entry.gone {
            Some(_) => recent.gone(content.digest, at),
            None => recent.content(content.digest, body + entry.offset as u64),
        }
    }
    recent.event(event.log, at, header);
}

/// What a scan of a segment's end found.
pub(crate) struct Scanned {
    /// The offset of the last good frame that was read.
    pub(crate) last_frame: Option<u64>,
    pub(crate) tail: Tail,
}
