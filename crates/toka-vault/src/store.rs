//! The trait behind which every store of logs stands.

mod error;

use std::collections::HashMap;
use std::sync::Arc;

use toka_types::{Digest, EventHeader, EventId, Gone, KeyId, Payload, Timestamp};

use crate::core::{LogId, Record};
use crate::fork::{Base, Lineage, MAX_DEPTH};
use crate::hash::TreeHash;
use crate::proof;

pub use error::StoreError;

/// Durable home of ordered logs and their content. Blocking, and object-safe.
///
/// # Contract
/// - [`append_parts`](Store::append_parts) is atomic over all its parts, and durable when it returns. It fails with
///   [`StoreError::Conflict`], and stores nothing, unless each log's next number is the one `expected`: that is the
///   fence between two writers.
/// - What an append stored is seen by every read that begins after it returned.
/// - A [fork](crate::fork) is made by the append of its first own events and needs no copy of what it shares:
///   `read`, `headers`, `head` and `position` of a fork treat the events before its base as its own, while `find`,
///   `find_prefix` and `children` name each stored event once, with the log that it was appended to. A [`Lineage`]
///   says where a log's events lie; [`check_parts`] checks what an append may do.
/// - Content is stored once per digest. A record may leave content out that the store has already.
/// - Reads return what was appended, byte for byte, or an error; content is checked against its digest.
/// - A store checks numbers and content only. Ids, bounds and causes are checked by the
///   [`LogWriter`](crate::LogWriter), of which a log has one.
pub trait Store: Send + Sync {
    /// The logs that have events, in the order of their first one.
    fn logs(&self) -> Result<Vec<LogId>, StoreError>;

    /// Stores each part's records at the end of its log: all of them, or nothing. Parts without records do nothing.
    fn append_parts(&self, parts: &[Part<'_>], room: Room) -> Result<(), StoreError>;

    /// As [`append_parts`](Self::append_parts), for records of which some content is not there any more, for the reasons
    /// in `gone`. It is [gone](Self::gone) afterwards, unless the store has it; what is handed in is stored all the same.
    /// A store that keeps no such words refuses them with [`StoreError::MissingContent`].
    fn append_gone(
        &self,
        parts: &[Part<'_>],
        gone: &HashMap<Digest, Gone>,
        room: Room,
    ) -> Result<(), StoreError> {
        let _ = gone;
        self.append_parts(parts, room)
    }

    /// Stores `batch` at the end of `log`. The first record has the number `expected`.
    fn append(
        &self,
        log: &LogId,
        expected: u64,
        batch: &[Arc<Record>],
        room: Room,
    ) -> Result<(), StoreError> {
        self.append_parts(&[Part::new(log, expected, batch)], room)
    }

    /// Where `log` was forked from another log; `None` if it is no fork, or is not there.
    fn base(&self, log: &LogId) -> Result<Option<Base>, StoreError>;

    /// Where `log` ends. A log without events has an empty head.
    fn head(&self, log: &LogId) -> Result<Head, StoreError>;

    /// At most `limit` records of `log` from number `from` on, in order, with all content but what is
    /// [gone](Store::gone).
    fn read(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Arc<Record>>, StoreError>;

    /// At most `limit` headers of `log` from number `from` on, in order.
    fn headers(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<EventHeader>, StoreError>;

    /// Where the event is; the first place if it was appended to several logs. A fork's place for an event that it
    /// shares is the other log's.
    fn find(&self, id: &EventId) -> Result<Option<(LogId, u64)>, StoreError>;

    /// The event's number in `log`, which for a fork may lie before its base.
    fn position(&self, log: &LogId, id: &EventId) -> Result<Option<u64>, StoreError>;

    /// At most `limit` events whose ids begin with `hex`, lower-case hex digits, with their places.
    fn find_prefix(&self, hex: &str, limit: usize) -> Result<Vec<(EventId, LogId, u64)>, StoreError>;

    /// The content with this digest, as stored.
    fn content(&self, digest: &Digest) -> Result<Option<Payload>, StoreError>;

    /// Why content with this digest, which an event names, is not there any more; `None` for content that is
    /// there or was never there.
    fn gone(&self, digest: &Digest) -> Result<Option<Gone>, StoreError> {
        let _ = digest;
        Ok(None)
    }

    /// The id of the keys that all content is sealed under; `None` for a store whose content is not sealed. It is
    /// fixed when the vault is created. What is appended is sealed by whoever commits.
    fn sealed(&self) -> Result<Option<KeyId>, StoreError> {
        Ok(None)
    }

    /// The events that name `id` among their parents, in the order in which they were stored, each with the log that
    /// it was appended to: at most `limit` of those that were stored after the event `after`, or from the first one on.
    /// Fewer than `limit` are the last ones. There are none after an event that is not there.
    fn children_after(
        &self,
        id: &EventId,
        after: Option<&(LogId, u64)>,
        limit: usize,
    ) -> Result<Vec<(LogId, u64)>, StoreError>;

    /// All of them. An event may have millions: whoever need not hold them all asks for
    /// [some at a time](Self::children_after).
    fn children(&self, id: &EventId) -> Result<Vec<(LogId, u64)>, StoreError> {
        self.children_after(id, None, usize::MAX)
    }

    /// The root of a complete subtree of the log tree: the one that has `1 << level` leaves and begins at leaf
    /// `number << level`. `None` if the log does not have all of them. [Proofs](crate::proof) are made of these, some
    /// fifty for one; a store that keeps no hashes makes them from headers.
    fn subtree(&self, log: &LogId, level: u32, number: u64) -> Result<Option<TreeHash>, StoreError> {
        proof::subtree_of_headers(self, log, level, number)
    }

    /// The number of dimensions of the vault's vectors, once it is fixed.
    fn dimension(&self) -> Result<Option<u32>, StoreError>;

    /// Fixes the number of dimensions, durably; [`StoreError::Dimension`] if another one is fixed.
    fn fix_dimension(&self, dimension: u32) -> Result<(), StoreError>;

    /// True if look-ups ([`position`](Store::position), [`head`](Store::head), [`base`](Store::base)) answer from memory or
    /// by one read of a local file, and never wait for an append: then whoever commits makes them on its own thread, which
    /// may be an executor's.
    fn answers_at_once(&self) -> bool {
        false
    }

    /// What the store holds and what that takes.
    fn statistics(&self) -> Result<Statistics, StoreError>;

    /// Moves what a store that is open for reading sees on to what a writer appended since; how many events that
    /// are. Does nothing where this store is the writer.
    fn refresh(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// What the store's own projections say of the log tree's subtrees of 256 leaves, from the first on, unchecked:
    /// evidence of what the log was, for whoever knows that it is something else now. Nothing, where it keeps none.
    fn remembered_parts(&self, log: &LogId) -> Vec<TreeHash> {
        let _ = log;
        Vec::new()
    }

    /// The same of its events' ids, of which an index may have the first eight bytes.
    fn remembered_ids(&self, log: &LogId) -> Vec<Option<u64>> {
        let _ = log;
        Vec::new()
    }

    /// Ends writing and leaves everything so that the next opening is fast. Reads go on; an append
    /// returns [`StoreError::Closed`]. Doing it twice does nothing.
    fn close(&self) -> Result<(), StoreError>;
}

/// What an append adds to one log.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The log. It is made if it is not there.
    pub log: &'a LogId,
    /// The log's next number, which the first record has.
    pub expected: u64,
    /// The records, in order.
    pub records: &'a [Arc<Record>],
    /// For the first records of a fork: where it begins.
    pub base: Option<&'a Base>,
}

/// Whether a batch may use the room that is kept for what must be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Leaves the reserve untouched: the batch is refused while there is only the reserve.
    Ordinary,
    /// May use the reserve: the outcome of an effect that has been started.
    Reserved,
}

/// Where a log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number that the next event gets; how many there are.
    pub next_seq: u64,
    /// The last event.
    pub last: Option<EventId>,
    /// The last event's time; the epoch if there is none.
    pub last_at: Timestamp,
    /// The root of the log tree.
    pub root: TreeHash,
}

/// What a store holds and what that takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Events of all logs.
    pub events: u64,
    /// Bytes of the log itself, without room allocated ahead.
    pub log: u64,
    /// Bytes of the indexes.
    pub index: u64,
    /// Content bytes that need not be stored because they were already there.
    pub deduplicated: u64,
    /// Content bytes that compression saved.
    pub compressed: u64,
}

impl Statistics {
    /// Bytes that deduplication and compression saved together.
    pub fn saved(&self) -> u64 {
        self.deduplicated + self.compressed
    }
}

impl Head {
    /// The head of a log without events.
    pub fn empty() -> Self {
        Self { next_seq: 0, last: None, last_at: Timestamp::EPOCH, root: crate::hash::LogTree::new().root() }
    }
}

impl<'a> Part<'a> {
    /// Records for a log that is no new fork.
    pub fn new(log: &'a LogId, expected: u64, records: &'a [Arc<Record>]) -> Self {
        Self { log, expected, records, base: None }
    }
}

/// Logs that a vault can have: what is kept in memory and in each index for every log stays within some megabytes.
pub const MAX_LOGS: usize = 4096;

/// Hex digits of the first event's leaf hash in an origin that nobody chose: enough to tell logs apart.
pub(crate) const ORIGIN_DIGITS: usize = 16;

/// The origin of a log for which nobody chose one: `toka/`, the first digits of the first leaf's hash, `/` and the
/// log's name. It follows from the log alone, wherever it is stored. `None` for a log without events.
pub fn default_origin(store: &(impl Store + ?Sized), log: &LogId) -> Result<Option<String>, StoreError> {
    let first = store.subtree(log, 0, 0)?;
    Ok(first.map(|leaf| format!("toka/{}/{log}", &leaf.to_string()[..ORIGIN_DIGITS])))
}

/// Checks what an append may do to which log: the part of the contract that every store shares. `next` is a log's next
/// number, `None` if it is not there; `base` is [`Store::base`]; `logs` is how many logs there are.
pub fn check_parts(
    parts: &[Part<'_>],
    logs: usize,
    next: impl Fn(&LogId) -> Result<Option<u64>, StoreError>,
    base: impl Fn(&LogId) -> Result<Option<Base>, StoreError>,
) -> Result<(), StoreError> {
    let mut made = 0;
    for (at, part) in parts.iter().enumerate() {
        let log = || part.log.clone();
        if parts[..at].iter().any(|other| other.log == part.log) {
            return Err(StoreError::TwoParts { log: log() });
        }
        let head = next(part.log)?;
        if let Some(fork) = part.base {
            if head.is_some() {
                return Err(StoreError::LogExists { log: log() });
            }
            let there = next(&fork.log)?.unwrap_or(0);
            if fork.size == 0 || fork.size > there {
                let seq = fork.size.saturating_sub(1);
                return Err(StoreError::ForkPoint { log: fork.log.clone(), seq, head: there });
            }
            let before = Lineage::new(fork.log.clone(), |log| {
                Ok::<_, StoreError>(base(log)?.map(|base| (base.log, base.size)))
            })?;
            let depth = before.depth() + 1;
            if depth > MAX_DEPTH {
                return Err(StoreError::ForkDepth { log: log(), depth });
            }
        }
        made += usize::from(head.is_none() && !part.records.is_empty());
        if made > 0 && logs + made > MAX_LOGS {
            return Err(StoreError::TooManyLogs { log: log(), limit: MAX_LOGS });
        }
        let head = part.base.map_or(head.unwrap_or(0), |fork| fork.size);
        check_numbers(part.log, head, part.expected, part.records)?;
    }
    Ok(())
}

/// Checks that `batch` goes on where the log ends.
fn check_numbers(log: &LogId, head: u64, expected: u64, batch: &[Arc<Record>]) -> Result<(), StoreError> {
    if head != expected {
        return Err(StoreError::Conflict { log: log.clone(), expected, head });
    }
    for (expected, record) in (expected..).zip(batch) {
        let (id, found) = (record.header.id, record.header.seq);
        if found != expected {
            return Err(StoreError::Sequence { log: log.clone(), id, expected, found });
        }
    }
    Ok(())
}
