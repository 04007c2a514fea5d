//! The sorted index beside a segment. It is a projection: whatever is wrong with it, the segment tells
//! the same.
//!
//! ```text
//! 8    magic
//! 4    format
//! 4    length of the description
//! n    the description, MessagePack
//! 32   BLAKE3 of everything before
//! m    the tables, in blocks of 4,096 bytes, each with a CRC-32 (see `tables`)
//! ```

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use toka_types::{EventId, Timestamp};

use super::disk::{Disk, DiskFile};
use super::filter::bits;
use super::frame::{Place, VaultId, u32_at};
use super::index::Run;
use super::tables::{BLOCK, Block, Blocks, Body, Shape, Table, Tables, check_block};
use crate::hash::{LogTree, TreeHash};
use crate::store::StoreError;

const MAGIC: &[u8; 8] = b"TOKAIDX\n";
const FORMAT: u32 = 2;
const FIXED: usize = 16;
const CHECKSUM: usize = 32;
/// Most bytes of a description: some hundred logs of a few kilobytes each. More is damage.
const MAX_META: usize = 16 << 20;
/// Bytes of filters that are kept in memory, of all vaults together: those of some ten million events. Beyond it
/// a filter is read where it lies.
const MAX_CACHED: u64 = 16 << 20;

/// What a sidecar says before its tables.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Meta {
    #[serde(with = "serde_bytes")]
    pub(crate) vault: VaultId,
    pub(crate) segment: u64,
    /// Where the part of the segment ends that is indexed.
    pub(crate) end: u64,
    /// The checksum at that place, to which the next frame links.
    pub(crate) crc: u32,
    pub(crate) events: u32,
    pub(crate) contents: u32,
    pub(crate) links: u32,
    pub(crate) runs: Vec<Run>,
    /// Every log of the vault, as it is at `end`.
    pub(crate) logs: Vec<LogMeta>,
    pub(crate) totals: Totals,
}

/// A log at some point of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LogMeta {
    pub(crate) name: String,
    /// For a fork: the number of its base, and how many events it shares.
    #[serde(default)]
    pub(crate) base: Option<(u16, u64)>,
    pub(crate) last: Option<EventId>,
    pub(crate) last_at: Timestamp,
    pub(crate) size: u64,
    pub(crate) frontier: Vec<serde_bytes::ByteArray<32>>,
}

/// Sums over the vault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) events: u64,
    pub(crate) deduplicated: u64,
    pub(crate) compressed: u64,
}

/// A sidecar, of which blocks are read as they are needed.
pub(crate) struct Sidecar {
    pub(crate) meta: Meta,
    /// Bytes of the file.
    pub(crate) len: u64,
    path: PathBuf,
    /// The segment that it is the index of. What is read is the file that is open, whatever takes its name.
    segment: (PathBuf, Arc<dyn DiskFile>),
    file: Box<dyn DiskFile>,
    /// Where the tables begin.
    start: u64,
    /// The filters' words, once they were asked and as long as nobody wants their memory back.
    filters: [RwLock<Option<Vec<u64>>>; 2],
    /// The tables as the segment has them, once the file has turned out to be damaged.
    anew: OnceLock<Body>,
}

/// Bytes of all filters in memory.
static CACHED: AtomicU64 = AtomicU64::new(0);

impl LogMeta {
    pub(crate) fn new(name: &str, last: Option<EventId>, last_at: Timestamp, tree: &LogTree) -> Self {
        let frontier = tree.frontier().iter().map(|hash| serde_bytes::ByteArray::new(hash.0)).collect();
        Self { name: name.to_owned(), base: None, last, last_at, size: tree.size(), frontier }
    }

    pub(crate) fn tree(&self) -> Option<LogTree> {
        LogTree::from_frontier(
            self.size,
            self.frontier.iter().map(|hash| TreeHash(hash.into_array())).collect(),
        )
    }
}

impl Meta {
    /// True if the runs have each place once, and numbers that there can be. Whoever reads them counts on it.
    fn counts_its_events(&self) -> bool {
        let mut next = 0_u32;
        let follows = self.runs.iter().all(|run| {
            let here = run.first == next && run.seq.checked_add(u64::from(run.count)).is_some();
            here && next.checked_add(run.count).map(|end| next = end).is_some()
        });
        follows && next == self.events
    }

    fn shape(&self) -> Shape {
        Shape { events: self.events, contents: self.contents, links: self.links }
    }
}

impl Sidecar {
    /// Reads the description of the sidecar at `path`, the index of `segment`; what is wrong with it if it is of
    /// no use.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        path: &Path,
        segment: (&Path, &Arc<dyn DiskFile>),
    ) -> Result<Self, String> {
        let file = disk.open(path, false).map_err(|error| error.to_string())?;
        let mut fixed = [0; FIXED];
        let read = file.read_at(&mut fixed, 0).map_err(|error| error.to_string())?;
        let meta_len = if read == FIXED { u32_at(&fixed, 12) as usize } else { 0 };
        if &fixed[..8] != MAGIC || meta_len > MAX_META {
            return Err("it is no index".into());
        }
        if u32_at(&fixed, 8) != FORMAT {
            return Err(format!("it has format {}, this build writes {FORMAT}", u32_at(&fixed, 8)));
        }
        let mut head = vec![0; FIXED + meta_len + CHECKSUM];
        let read = file.read_at(&mut head, 0).map_err(|error| error.to_string())?;
        let (covered, checksum) = head.split_at(FIXED + meta_len);
        if read < head.len() || blake3::hash(covered).as_bytes() != checksum {
            return Err("its description does not match its checksum".into());
        }
        let meta: Meta = rmp_serde::from_slice(&covered[FIXED..]).map_err(|error| error.to_string())?;
        let len = file.len().map_err(|error| error.to_string())?;
        let expected = head.len() as u64 + meta.shape().len();
        if len != expected {
            return Err(format!("it has {len} bytes, its description says {expected}"));
        }
        if !meta.counts_its_events() {
            return Err("its runs are not those of its events".into());
        }
        let start = head.len() as u64;
        Ok(Self::with_file(path, segment, meta, len, start, file))
    }

    fn with_file(
        path: &Path,
        segment: (&Path, &Arc<dyn DiskFile>),
        meta: Meta,
        len: u64,
        start: u64,
        file: Box<dyn DiskFile>,
    ) -> Self {
        let (path, segment) = (path.to_owned(), (segment.0.to_owned(), Arc::clone(segment.1)));
        let (filters, anew) = (Default::default(), OnceLock::new());
        Self { meta, len, path, segment, file, start, filters, anew }
    }

    /// Writes a sidecar. It is not synced: a projection that a power cut takes is made anew.
    pub(crate) fn write(
        disk: &Arc<dyn Disk>,
        path: &Path,
        segment: (&Path, &Arc<dyn DiskFile>),
        meta: Meta,
        body: &Body,
    ) -> Result<Self, String> {
        let description = rmp_serde::to_vec_named(&meta).map_err(|error| error.to_string())?;
        let mut bytes = Vec::with_capacity(FIXED + description.len() + CHECKSUM);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(description.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&description);
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        let start = bytes.len() as u64;
        disk.replace(path, &[&bytes, &body.bytes], false).map_err(|error| error.to_string())?;
        // Opened at once: a later index of the segment may take its name before it is read.
        let file = disk.open(path, false).map_err(|error| error.to_string())?;
        let len = start + body.bytes.len() as u64;
        Ok(Self::with_file(path, segment, meta, len, start, file))
    }

    /// Where events with these first bytes of their ids lie.
    pub(crate) fn find(&self, key: u64) -> Result<Vec<u32>, StoreError> {
        self.filtered(Table::Ids, Table::IdFilter, key)
    }

    /// Where events with ids between these first bytes lie.
    pub(crate) fn find_range(&self, low: u64, high: u64) -> Result<Vec<u32>, StoreError> {
        self.ask(|tables| tables.range(Table::Ids, low, high))
    }

    /// Where contents with these first bytes of their digests lie.
    pub(crate) fn content(&self, key: u64) -> Result<Vec<u32>, StoreError> {
        self.filtered(Table::Contents, Table::ContentFilter, key)
    }

    /// Where events lie that name a parent with these first bytes: at most `limit`, from the offset `from` on.
    pub(crate) fn children(&self, key: u64, from: u32, limit: usize) -> Result<Vec<u32>, StoreError> {
        self.ask(|tables| tables.some(Table::Links, (key, from), key, limit))
    }

    /// Where `count` events from `place` on lie.
    pub(crate) fn offsets(&self, place: u32, count: usize) -> Result<Vec<u32>, StoreError> {
        self.ask(|tables| tables.offsets(place, count))
    }

    /// First bytes of the ids, with the places of their events, as the file has them.
    pub(crate) fn ids(&self) -> Result<Vec<(u64, u32)>, String> {
        let mut ids = Vec::with_capacity(self.meta.events as usize);
        let tables = Tables { shape: self.meta.shape(), blocks: self };
        tables.pairs(Table::Ids, |key, place| ids.push((key, place)))?;
        Ok(ids)
    }

    /// Visits the first bytes of all ids and digests; some more than once if the index turns out to be damaged.
    pub(crate) fn keys(&self, visit: impl Fn(u64)) -> Result<(), StoreError> {
        self.ask(|tables| {
            tables.pairs(Table::Ids, |key, _| visit(key))?;
            tables.pairs(Table::Contents, |key, _| visit(key))
        })
    }

    /// How many ids and digests there are.
    pub(crate) fn key_count(&self) -> usize {
        self.meta.events as usize + self.meta.contents as usize
    }

    /// Does something with the tables: those of the file, or, if that is damaged, those of the segment.
    pub(crate) fn ask<T>(&self, ask: impl Fn(&Tables<'_>) -> Result<T, String>) -> Result<T, StoreError> {
        if self.anew.get().is_none() {
            let asked = ask(&Tables { shape: self.meta.shape(), blocks: self });
            match asked {
                Ok(answer) => return Ok(answer),
                Err(problem) => {
                    tracing::warn!(path = %self.path.display(), problem, "an index is damaged; reading the segment instead");
                    let body = self.rebuild()?;
                    self.anew.get_or_init(|| body);
                }
            }
        }
        let body = self.anew.get().ok_or(StoreError::Closed)?;
        ask(&body.tables()).map_err(|detail| StoreError::Io {
            what: "index",
            path: self.path.clone(),
            detail,
        })
    }

    /// Checks the tables in the file; what is wrong with them if they are not right.
    pub(crate) fn check(&self) -> Option<String> {
        let mut block = [0; BLOCK];
        (0..self.meta.shape().len() / BLOCK as u64).find_map(|number| self.read(number, &mut block).err())
    }

    /// The tables as the segment has them.
    pub(crate) fn rebuild(&self) -> Result<Body, StoreError> {
        let (path, file) = &self.segment;
        let place = Place { vault: self.meta.vault, segment: self.meta.segment };
        let recent = super::state::index_segment(&**file, path, &place, self.meta.end)?;
        recent.body(None).map_err(|detail| StoreError::Io { what: "index", path: path.clone(), detail })
    }

    /// True if the tables in the file are those of `body`.
    pub(crate) fn equals(&self, body: &Body) -> Result<bool, String> {
        if self.meta.shape() != body.shape {
            return Ok(false);
        }
        let mut block = [0; BLOCK];
        for (number, expected) in body.bytes.chunks_exact(BLOCK).enumerate() {
            self.read(number as u64, &mut block)?;
            if block != expected {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn filtered(&self, table: Table, filter: Table, key: u64) -> Result<Vec<u32>, StoreError> {
        if !self.may_contain(filter, key)? {
            return Ok(Vec::new());
        }
        self.ask(|tables| tables.range(table, key, key))
    }

    fn may_contain(&self, filter: Table, key: u64) -> Result<bool, StoreError> {
        let cell = &self.filters[usize::from(filter == Table::ContentFilter)];
        let holds = |words: &Vec<u64>| {
            let (word, mask) = bits(key, words.len());
            words.get(word).is_some_and(|word| word & mask == mask)
        };
        if let Some(words) = &*cell.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(holds(words));
        }
        let bytes = 8 * self.meta.shape().entries(filter) as u64;
        if CACHED.fetch_add(bytes, Ordering::Relaxed) + bytes > MAX_CACHED {
            CACHED.fetch_sub(bytes, Ordering::Relaxed);
            return self.ask(|tables| tables.may_contain(filter, key));
        }
        let read = self.ask(|tables| tables.words(filter));
        let mut kept = cell.write().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(words) if kept.is_none() => Ok(holds(kept.insert(words))),
            // Another thread was first, or it cannot be read.
            other => {
                CACHED.fetch_sub(bytes, Ordering::Relaxed);
                other.map(|words| holds(&words))
            }
        }
    }

    /// Gives back what the filters take in memory, until they are asked again.
    pub(crate) fn forget_filters(&self) {
        for cell in &self.filters {
            let words = cell.write().unwrap_or_else(PoisonError::into_inner).take();
            let bytes = words.map_or(0, |words| 8 * words.len() as u64);
            CACHED.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Blocks for Sidecar {
    fn read(&self, number: u64, block: &mut Block) -> Result<(), String> {
        let offset = self.start + number * BLOCK as u64;
        let read = self.file.read_at(block, offset).map_err(|error| error.to_string())?;
        if read < BLOCK {
            return Err("it is too short".into());
        }
        check_block(number, block)
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.forget_filters();
    }
}
