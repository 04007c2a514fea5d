//! What the rows of a table store say, in one encoding for every engine. `docs/format/stores.md` describes the bytes.

use toka_types::{Digest, EventId, Gone, Timestamp};

use crate::core::LogId;
use crate::hash::{LogTree, TreeHash};
use crate::journal::frame::{VaultId, content_bytes};
use crate::journal::state::Log;

/// The format of rows that this build reads and writes.
pub(crate) const FORMAT: u32 = 1;
/// Content below this size is not worth an attempt at compression, as in the journal.
const MIN_COMPRESS: usize = 512;
const RAW: u8 = 0;
const LZ4: u8 = 1;
const GONE: u8 = 2;
/// Bytes of a sum row, and of a log row without its name and its frontier.
const SUMS: usize = 4 + 6 * 8;
const LOG: usize = 1 + 8 + 32 + 8;
/// Bytes that the row of a fork has beyond those.
const BASE: usize = 2 + 8;

/// Where an event lies: its log's number, and its own in that log.
pub(crate) type Place = (u16, u64);

/// The tables that are covered by checksums of their own. Content is covered by its digest, and an index entry by
/// the event to which it leads.
#[derive(Clone, Copy)]
pub(crate) enum Table {
    Sums = 1,
    Logs = 2,
    Events = 3,
}

/// Sums over the vault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Events of all logs; the next event's ordinal.
    pub(crate) events: u64,
    /// Distinct pieces of content that were stored.
    pub(crate) contents: u64,
    /// Entries of the index of children.
    pub(crate) links: u64,
    /// Bytes of headers and content as stored.
    pub(crate) bytes: u64,
    pub(crate) deduplicated: u64,
    pub(crate) compressed: u64,
}

/// A log where it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogRow {
    pub(crate) number: u16,
    pub(crate) name: String,
    pub(crate) events: u64,
    pub(crate) last: EventId,
    pub(crate) last_at: i64,
    /// The hashes of the tree's frontier, from the largest subtree to the smallest.
    pub(crate) frontier: Vec<u8>,
    /// Of a fork: the log that it was forked from, and how many events it shares with that.
    pub(crate) base: Option<(u16, u64)>,
}

/// An event: its header's canonical bytes, and what its place in the indexes is made of.
#[derive(Clone, Debug)]
pub(crate) struct EventRow {
    pub(crate) place: Place,
    /// Its position among the events of all logs, in the order in which they were stored.
    pub(crate) ordinal: u64,
    pub(crate) id: EventId,
    pub(crate) header: Vec<u8>,
    pub(crate) crc: u32,
    /// The parents, each once.
    pub(crate) causes: Vec<EventId>,
}

/// What is there of a piece of content.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Bytes(Vec<u8>),
    Gone(Gone),
}

impl Sums {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = FORMAT.to_le_bytes().to_vec();
        for sum in [self.events, self.contents, self.links, self.bytes, self.deduplicated, self.compressed] {
            bytes.extend_from_slice(&sum.to_le_bytes());
        }
        bytes
    }

    #[cfg_attr(not(any(feature = "sled", feature = "rocksdb")), expect(dead_code))]
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<SUMS>()?;
        let sum = |n: usize| u64_at(bytes, 4 + 8 * n);
        Some(Self {
            events: sum(0),
            contents: sum(1),
            links: sum(2),
            bytes: sum(3),
            deduplicated: sum(4),
            compressed: sum(5),
        })
    }
}

impl LogRow {
    pub(crate) fn new(number: u16, log: &Log) -> Self {
        Self {
            number,
            name: log.id.to_string(),
            events: log.tree.size(),
            last: log.last.unwrap_or_default(),
            last_at: log.last_at.0,
            frontier: log.tree.frontier().iter().flat_map(|hash| hash.0).collect(),
            base: log.base,
        }
    }

    /// The log, if the row makes sense after those of the logs before it.
    pub(crate) fn log(&self, before: &[Log]) -> Option<Log> {
        let (hashes, rest) = self.frontier.as_chunks::<32>();
        let hashes = hashes.iter().map(|hash| TreeHash(*hash)).collect();
        let tree = LogTree::from_frontier(self.events, hashes).filter(|_| rest.is_empty())?;
        let id = LogId::new(&self.name).ok()?;
        let last = (self.events > 0).then_some(self.last);
        if let Some((base, shared)) = self.base {
            let there = before.get(usize::from(base)).map_or(0, |base| base.tree.size());
            if shared == 0 || shared > there || shared >= self.events {
                return None;
            }
        }
        let log = Log::build(id, self.number, self.base, tree, before);
        Some(Log { last, last_at: Timestamp(self.last_at), ..log })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.name.len() as u8];
        bytes.extend_from_slice(self.name.as_bytes());
        bytes.extend_from_slice(&self.events.to_le_bytes());
        bytes.extend_from_slice(self.last.as_bytes());
        bytes.extend_from_slice(&self.last_at.to_le_bytes());
        bytes.extend_from_slice(&self.frontier);
        if let Some((base, shared)) = self.base {
            bytes.extend_from_slice(&base.to_le_bytes());
            bytes.extend_from_slice(&shared.to_le_bytes());
        }
        bytes
    }

    #[cfg_attr(not(any(feature = "sled", feature = "rocksdb")), expect(dead_code))]
    pub(crate) fn decode(number: u16, bytes: &[u8]) -> Option<Self> {
        let len = usize::from(*bytes.first()?);
        if bytes.len() < LOG + len {
            return None;
        }
        let name = std::str::from_utf8(&bytes[1..1 + len]).ok()?.to_owned();
        let rest = &bytes[1 + len..];
        let events = u64_at(rest, 0);
        // Behind the frontier stands where a fork was forked.
        let (frontier, base) = match rest[48..].split_last_chunk::<BASE>() {
            Some((frontier, base)) if frontier.len() == 32 * events.count_ones() as usize => {
                (frontier, Some((u16::from_le_bytes([base[0], base[1]]), u64_at(base, 2))))
            }
            _ => (&rest[48..], None),
        };
        let mut last = [0; 32];
        last.copy_from_slice(&rest[8..40]);
        Some(Self {
            number,
            name,
            events,
            last: EventId(Digest(last)),
            last_at: u64_at(rest, 40) as i64,
            frontier: frontier.to_vec(),
            base,
        })
    }
}

/// The checksum of a row: it covers the vault and the row's place too, so that no row is taken for another one.
pub(crate) fn checksum(vault: &VaultId, table: Table, key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(vault);
    hasher.update(&[table as u8]);
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
}

/// The key of an event: its log's number and its own, so that they lie in order.
pub(crate) fn event_key((log, seq): Place) -> [u8; 10] {
    let mut key = [0; 10];
    key[..2].copy_from_slice(&log.to_be_bytes());
    key[2..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// Content as it is stored, compressed if that saves at least an eighth; how many bytes that saved.
pub(crate) fn encode_content(bytes: &[u8]) -> (Vec<u8>, u64) {
    if bytes.len() >= MIN_COMPRESS {
        let block = lz4_flex::block::compress(bytes);
        if block.len() <= bytes.len() - bytes.len() / 8 {
            let saved = (bytes.len() - block.len()) as u64;
            let head = (bytes.len() as u32).to_le_bytes();
            return ([&[LZ4][..], &head, &block].concat(), saved);
        }
    }
    ([&[RAW], bytes].concat(), 0)
}

/// What stands for content that is gone.
pub(crate) fn encode_gone(gone: Gone) -> Vec<u8> {
    let reason = match gone {
        Gone::Erased => 1,
        Gone::Expired => 2,
        Gone::Redacted => 3,
        Gone::Sealed => 4,
    };
    vec![GONE, reason]
}

/// Reads what [`encode_content`] or [`encode_gone`] made; `None` if it is neither.
pub(crate) fn decode_content(stored: &[u8]) -> Option<Stored> {
    match stored {
        [RAW, bytes @ ..] => Some(Stored::Bytes(bytes.to_vec())),
        [LZ4, a, b, c, d, block @ ..] => {
            let len = u32::from_le_bytes([*a, *b, *c, *d]);
            content_bytes(block, Some(len)).map(|bytes| Stored::Bytes(bytes.into_owned()))
        }
        [GONE, 1] => Some(Stored::Gone(Gone::Erased)),
        [GONE, 2] => Some(Stored::Gone(Gone::Expired)),
        [GONE, 3] => Some(Stored::Gone(Gone::Redacted)),
        [GONE, 4] => Some(Stored::Gone(Gone::Sealed)),
        _ => None,
    }
}

/// True if what is stored stands for content that is gone; a look at its first byte is enough.
pub(crate) fn is_gone(first: u8) -> bool {
    first == GONE
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
