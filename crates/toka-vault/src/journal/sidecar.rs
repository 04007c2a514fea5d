//! The sorted index beside a segment. It is a projection: whatever is wrong with it, the segment tells
//! the same.
//!
//! ```text
//! 8    magic
//! 4    format
//! 4    length of the description
//! n    the description, MessagePack
//! 32   BLAKE3 of everything before
//! m    offsets of the events; sorted id prefixes and places; the same for contents and child links
//! 32   BLAKE3 of those
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use toka_types::{EventId, Timestamp};

use super::disk::Disk;
use super::frame::{VaultId, u32_at, u64_at};
use super::index::{Found, Run, locate};
use crate::hash::{LogTree, TreeHash};
use crate::store::StoreError;

const MAGIC: &[u8; 8] = b"TOKAIDX\n";
const FORMAT: u32 = 1;
const FIXED: usize = 16;
const CHECKSUM: usize = 32;
/// Most bytes of a description: some hundred logs of a few kilobytes each. More is damage.
const MAX_META: usize = 16 << 20;

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

/// The tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    events: usize,
    contents: usize,
    links: usize,
}

/// How to get the tables anew where the file does not have them.
pub(crate) type Rebuild = Box<dyn Fn() -> Result<Body, StoreError> + Send + Sync>;

/// A sidecar whose tables are read when they are first needed.
pub(crate) struct Sidecar {
    pub(crate) meta: Meta,
    /// Bytes of the file.
    pub(crate) len: u64,
    path: PathBuf,
    disk: Arc<dyn Disk>,
    body: OnceLock<Body>,
    rebuild: Rebuild,
}

impl LogMeta {
    pub(crate) fn new(name: &str, last: Option<EventId>, last_at: Timestamp, tree: &LogTree) -> Self {
        let frontier = tree.frontier().iter().map(|hash| serde_bytes::ByteArray::new(hash.0)).collect();
        Self { name: name.to_owned(), last, last_at, size: tree.size(), frontier }
    }

    pub(crate) fn tree(&self) -> Option<LogTree> {
        LogTree::from_frontier(
            self.size,
            self.frontier.iter().map(|hash| TreeHash(hash.into_array())).collect(),
        )
    }
}

impl Sidecar {
    /// Reads the description of the sidecar at `path`; what is wrong with it if it is of no use.
    pub(crate) fn open(disk: &Arc<dyn Disk>, path: &Path, rebuild: Rebuild) -> Result<Self, String> {
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
        let expected = (head.len() + CHECKSUM) as u64 + body_len(meta.events, meta.contents, meta.links);
        if len != expected {
            return Err(format!("it has {len} bytes, its description says {expected}"));
        }
        let (path, disk) = (path.to_owned(), Arc::clone(disk));
        Ok(Self { meta, len, path, disk, body: OnceLock::new(), rebuild })
    }

    /// A sidecar whose tables are at hand already.
    pub(crate) fn new(
        disk: &Arc<dyn Disk>,
        path: &Path,
        meta: Meta,
        len: u64,
        body: Body,
        rebuild: Rebuild,
    ) -> Self {
        let (path, disk) = (path.to_owned(), Arc::clone(disk));
        Self { meta, len, path, disk, body: OnceLock::from(body), rebuild }
    }

    /// The tables: from the file, or made anew from the segment if the file is damaged.
    pub(crate) fn body(&self) -> Result<&Body, StoreError> {
        if let Some(body) = self.body.get() {
            return Ok(body);
        }
        let body = match self.read_body() {
            Ok(body) => body,
            Err(problem) => {
                tracing::warn!(path = %self.path.display(), problem, "an index is damaged; reading the segment instead");
                (self.rebuild)()?
            }
        };
        Ok(self.body.get_or_init(|| body))
    }

    /// The tables, if they have been read.
    pub(crate) fn loaded(&self) -> Option<&Body> {
        self.body.get()
    }

    /// Reads the tables now; what was wrong with the file if they had to be made anew.
    pub(crate) fn check(&self) -> Result<Option<String>, StoreError> {
        match self.read_body() {
            Ok(body) => {
                self.body.get_or_init(|| body);
                Ok(None)
            }
            Err(problem) => {
                let body = (self.rebuild)()?;
                self.body.get_or_init(|| body);
                Ok(Some(problem))
            }
        }
    }

    /// Reads the tables from the file and checks them; what is wrong if that fails.
    pub(crate) fn read_body(&self) -> Result<Body, String> {
        let bytes = self.disk.read(&self.path).map_err(|error| error.to_string())?;
        let body_len = body_len(self.meta.events, self.meta.contents, self.meta.links) as usize;
        let start = bytes.len().checked_sub(body_len + CHECKSUM).ok_or("it is too short")?;
        let (body, checksum) = bytes[start..].split_at(body_len);
        if blake3::hash(body).as_bytes() != checksum {
            return Err("its tables do not match their checksum".into());
        }
        let Meta { events, contents, links, .. } = self.meta;
        Ok(Body {
            bytes: body.to_vec(),
            events: events as usize,
            contents: contents as usize,
            links: links as usize,
        })
    }

    pub(crate) fn found(&self, place: u32) -> Option<Found> {
        let offset = self.body.get()?.offset(place).into();
        locate(&self.meta.runs, place).map(|(log, seq)| Found { offset, log, seq, exact: false })
    }
}

/// Writes a sidecar; its length. It is not synced: a projection that a power cut takes is made anew.
pub(crate) fn write(disk: &dyn Disk, path: &Path, meta: &Meta, body: &Body) -> Result<u64, String> {
    let description = rmp_serde::to_vec_named(meta).map_err(|error| error.to_string())?;
    let mut bytes = Vec::with_capacity(FIXED + description.len() + 2 * CHECKSUM + body.bytes.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&(description.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&description);
    let checksum = blake3::hash(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes.extend_from_slice(&body.bytes);
    bytes.extend_from_slice(blake3::hash(&body.bytes).as_bytes());
    disk.replace(path, &bytes, false).map_err(|error| error.to_string())?;
    Ok(bytes.len() as u64)
}

impl Body {
    /// The tables of `base` and of what came after it.
    pub(crate) fn merge(
        base: Option<&Body>,
        offsets: &[u32],
        mut ids: Vec<(u64, u32)>,
        mut contents: Vec<(u64, u32)>,
        mut links: Vec<(u64, u32)>,
    ) -> Body {
        let mut all_offsets = Vec::new();
        if let Some(base) = base {
            all_offsets.extend((0..base.events as u32).map(|place| base.offset(place)));
            ids.extend(base.table(base.ids_at(), base.events));
            contents.extend(base.table(base.contents_at(), base.contents));
            links.extend(base.table(base.links_at(), base.links));
        }
        all_offsets.extend_from_slice(offsets);
        let (events, content_count, link_count) = (all_offsets.len(), contents.len(), links.len());
        let mut bytes =
            Vec::with_capacity(body_len(events as u32, content_count as u32, link_count as u32) as usize);
        all_offsets.iter().for_each(|offset| bytes.extend_from_slice(&offset.to_le_bytes()));
        for table in [&mut ids, &mut contents, &mut links] {
            table.sort_unstable();
            table.iter().for_each(|(key, _)| bytes.extend_from_slice(&key.to_le_bytes()));
            table.iter().for_each(|(_, value)| bytes.extend_from_slice(&value.to_le_bytes()));
        }
        Body { bytes, events, contents: content_count, links: link_count }
    }

    pub(crate) fn counts(&self) -> (u32, u32, u32) {
        (self.events as u32, self.contents as u32, self.links as u32)
    }

    pub(crate) fn offset(&self, place: u32) -> u32 {
        u32_at(&self.bytes, 4 * place as usize)
    }

    pub(crate) fn find(&self, key: u64) -> impl Iterator<Item = u32> {
        self.range(self.ids_at(), self.events, key, key)
    }

    pub(crate) fn find_range(&self, low: u64, high: u64) -> impl Iterator<Item = u32> {
        self.range(self.ids_at(), self.events, low, high)
    }

    pub(crate) fn content(&self, key: u64) -> impl Iterator<Item = u32> {
        self.range(self.contents_at(), self.contents, key, key)
    }

    pub(crate) fn children(&self, key: u64) -> impl Iterator<Item = u32> {
        self.range(self.links_at(), self.links, key, key)
    }

    /// First bytes of all ids and digests.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u64> {
        let ids = self.table(self.ids_at(), self.events);
        ids.chain(self.table(self.contents_at(), self.contents)).map(|(key, _)| key)
    }

    fn ids_at(&self) -> usize {
        4 * self.events
    }

    fn contents_at(&self) -> usize {
        self.ids_at() + 12 * self.events
    }

    fn links_at(&self) -> usize {
        self.contents_at() + 12 * self.contents
    }

    fn range(&self, at: usize, count: usize, low: u64, high: u64) -> impl Iterator<Item = u32> {
        let keys = &self.bytes[at..at + 8 * count];
        let values = &self.bytes[at + 8 * count..at + 12 * count];
        let first = lower_bound(keys, count, low);
        (first..count).take_while(move |&n| u64_at(keys, 8 * n) <= high).map(move |n| u32_at(values, 4 * n))
    }

    fn table(&self, at: usize, count: usize) -> impl Iterator<Item = (u64, u32)> {
        let values = at + 8 * count;
        (0..count).map(move |n| (u64_at(&self.bytes, at + 8 * n), u32_at(&self.bytes, values + 4 * n)))
    }
}

/// The first of `count` sorted keys that is not below `wanted`. Keys are parts of digests and so spread
/// evenly: two guesses by proportion narrow the range before halving it.
fn lower_bound(keys: &[u8], count: usize, wanted: u64) -> usize {
    let key = |n: usize| u64_at(keys, 8 * n);
    let (mut low, mut high) = (0, count);
    for _ in 0..2 {
        if high - low < 32 {
            break;
        }
        let slack = (high - low).isqrt() * 2;
        let (first, last) = (key(low), key(high - 1));
        if wanted <= first || wanted > last {
            break;
        }
        let share =
            (u128::from(wanted - first) * (high - low) as u128 / u128::from(last - first).max(1)) as usize;
        let guess = low + share;
        let (left, right) = (guess.saturating_sub(slack).max(low), (guess + slack).min(high - 1));
        if key(right) >= wanted {
            high = right + 1;
        } else {
            low = right + 1;
        }
        if left >= low && left < high && key(left) < wanted {
            low = left + 1;
        }
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if key(middle) < wanted { low = middle + 1 } else { high = middle }
    }
    low
}

fn body_len(events: u32, contents: u32, links: u32) -> u64 {
    16 * u64::from(events) + 12 * u64::from(contents) + 12 * u64::from(links)
}
