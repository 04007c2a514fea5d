//! What the journal knows of its segments and logs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use toka_types::{EventHeader, EventId, Timestamp};

use super::disk::DiskFile;
use super::filter::Filter;
use super::frame::{
    Entry, EventEntry, FRAME_HEADER, ForkEntry, HeaderError, Place, REWRITTEN_HEADER, Rewritten,
    SEGMENT_FORMAT, SegmentHeader, entries,
};
use super::index::Index;
use super::live::Shared;
use super::nodes::{Cache, Captured};
use super::recent::Recent;
use super::segment::{Frame, Tail, damage, failed, frames};
use super::sidecar::{LogMeta, Totals};
use crate::core::LogId;
use crate::fork::{Base, Lineage};
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
    /// True if content of its events may have been gone when they were stored.
    pub(crate) imported: bool,
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
    /// The log that it was forked from, and how many events it shares with that.
    pub(crate) base: Option<(u16, u64)>,
    pub(crate) lineage: Lineage<u16>,
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
    pub(crate) fn new(id: LogId, number: u16) -> Self {
        Self::build(id, number, None, LogTree::new(), &[])
    }

    /// The fork of a log among `logs`, with the tree of what it shares.
    pub(crate) fn forked(id: LogId, number: u16, base: (u16, u64), tree: LogTree, logs: &[Self]) -> Self {
        Self::build(id, number, Some(base), tree, logs)
    }

    /// The log with the number `number`, after `logs`.
    pub(crate) fn build(
        id: LogId,
        number: u16,
        base: Option<(u16, u64)>,
        tree: LogTree,
        logs: &[Self],
    ) -> Self {
        let before = |log: &u16| {
            if *log == number { base } else { logs.get(usize::from(*log)).and_then(|log| log.base) }
        };
        let lineage = Lineage::new(number, |log| Ok::<_, std::convert::Infallible>(before(log)));
        let lineage = lineage.unwrap_or_else(|never| match never {});
        let captured = Captured::after(tree.size());
        Self { id, base, lineage, last: None, last_at: Timestamp::EPOCH, tree, captured }
    }

    /// How many events were appended to it, without those that it shares.
    #[cfg(feature = "tables")]
    pub(crate) fn own_events(&self) -> u64 {
        self.tree.size() - self.base.map_or(0, |(_, shared)| shared)
    }

    pub(crate) fn head(&self) -> Head {
        Head { next_seq: self.tree.size(), last: self.last, last_at: self.last_at, root: self.tree.root() }
    }

    pub(crate) fn push(&mut self, id: EventId, at: Timestamp, leaf: TreeHash) {
        self.last = Some(id);
        self.last_at = at;
        self.captured.append(&mut self.tree, leaf);
    }

    pub(crate) fn meta(&self) -> LogMeta {
        let meta = LogMeta::new(self.id.as_str(), self.last, self.last_at, &self.tree);
        LogMeta { base: self.base, ..meta }
    }
}

impl State {
    pub(crate) fn log_number(&self, log: &LogId) -> Option<u16> {
        self.logs.iter().position(|l| l.id == *log).map(|number| number as u16)
    }

    /// Where a log was forked from another one.
    pub(crate) fn base_of(&self, log: &Log) -> Option<Base> {
        let (number, size) = log.base?;
        Some(Base { log: self.logs.get(usize::from(number))?.id.clone(), size })
    }

    /// The largest tree over first events of `log`, at most `size` of them, that an index holds.
    pub(crate) fn nearest_tree(&self, log: &Log, size: u64) -> LogTree {
        let smaller = self.trees_of(log).into_iter().rev().filter(|meta| meta.size <= size);
        smaller.into_iter().find_map(LogMeta::tree).unwrap_or_default()
    }

    /// The trees over first events of `log` that the indexes hold, by their sizes.
    pub(crate) fn trees_of(&self, log: &Log) -> Vec<&LogMeta> {
        let indexes = self.segments.iter().filter_map(|segment| segment.index.base.as_ref());
        let metas = indexes.flat_map(|base| (0..).zip(&base.meta.logs));
        let own = metas.filter(|(number, meta)| {
            meta.size.checked_sub(1).is_some_and(|last| log.lineage.contains(number, last))
        });
        let mut trees: Vec<&LogMeta> = own.map(|(_, meta)| meta).collect();
        trees.sort_by_key(|meta| meta.size);
        trees
    }

    pub(crate) fn logs_meta(&self) -> Vec<LogMeta> {
        self.logs.iter().map(Log::meta).collect()
    }

    /// Takes over logs and sums as a sidecar has them; false if it contradicts itself.
    pub(crate) fn restore(&mut self, logs: &[LogMeta], totals: Totals) -> bool {
        let mut restored: Vec<Log> = Vec::with_capacity(logs.len());
        for (number, meta) in (0..).zip(logs) {
            let (Ok(id), Some(tree)) = (LogId::new(&meta.name), meta.tree()) else { return false };
            if meta.base.is_some_and(|(base, size)| base >= number || size == 0 || size > tree.size()) {
                return false;
            }
            let log = Log::build(id, number, meta.base, tree, &restored);
            restored.push(Log { last: meta.last, last_at: meta.last_at, ..log });
        }
        self.logs = restored;
        self.totals = totals;
        true
    }

    /// Adds a log that a frame makes; what is wrong with it if it cannot be.
    pub(crate) fn add_log(
        &mut self,
        number: u16,
        name: &str,
        fork: Option<&ForkEntry<'_>>,
    ) -> Result<(), String> {
        if usize::from(number) != self.logs.len() {
            return Err(format!("log '{name}' has number {number}"));
        }
        let id = LogId::new(name).map_err(|error| error.to_string())?;
        let log = match fork {
            None => Log::new(id, number),
            Some(fork) => {
                let base = self.logs.get(usize::from(fork.base));
                let there = base.map_or(0, |base| base.tree.size());
                if fork.size == 0 || fork.size > there {
                    let detail =
                        format!("log '{name}' shares {} events, log {} has {there}", fork.size, fork.base);
                    return Err(detail);
                }
                Log::forked(id, number, (fork.base, fork.size), fork.tree(), &self.logs)
            }
        };
        self.logs.push(log);
        Ok(())
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
            Entry::Log { number, name, fork } => {
                let added = self.add_log(number, name, fork.as_ref());
                added.map_err(|detail| damage(&path, body, None, detail))
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
        log.push(header.id, header.at, leaf_hash(event.header));
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
