//! Forks: logs that share the first events of another log.
//!
//! A fork copies nothing. Up to its [`Base`] it *is* the other log: the same events, the same numbers, the same
//! leaves of the tree, so the root at that point and every proof up to it are the other log's. Its first event of its
//! own is a `log.forked`, which names the last shared event and carries a nonce. That event is what each author's
//! next event in the fork names as its previous one, so no event of the fork's own has the id of an event elsewhere.
//!
//! ```
//! use toka_vault::{EntityId, Kind, LogId, LogWriter, MemoryStore, NewEvent, Store};
//!
//! let store = std::sync::Arc::new(MemoryStore::new());
//! let event = |kind: &str, text: &str| NewEvent::new(Kind::new(kind).unwrap()).payload(&text.to_owned());
//! let mut main = LogWriter::open(store.clone(), LogId::main())?;
//! let plan = main.commit(event("plan.made", "a plan")?)?.record;
//! main.commit(event("plan.ended", "it failed")?)?;
//!
//! let other = LogId::new("second-try")?;
//! let (mut fork, _) = LogWriter::fork(store.clone(), &LogId::main(), plan.seq(), other.clone(), EntityId::NONE)?;
//! let ended = fork.commit(event("plan.ended", "it worked")?.parents([plan.id()]))?.record;
//! assert_eq!(store.read(&other, 0, 1)?, [plan], "the same event");
//! assert_eq!(ended.seq(), 2, "after the plan and `log.forked`");
//! assert_eq!(main.next_seq(), 2, "the base goes its own way");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::hash::{BuildHasher, RandomState};

use toka_types::facts::{LogForked, kinds};
use toka_types::{Digest, EventHeader, Kind, Name};

use crate::core::{LogId, NewEvent, encode};
use crate::store::{Head, Store, StoreError};

/// Forks of forks: a log has at most this many logs before it. Each of them is one more place to look for an event.
pub const MAX_DEPTH: usize = 64;

/// Where a fork begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The log whose first events are the fork's first ones.
    pub log: LogId,
    /// How many they are, at least one. The fork's own events are numbered from here on.
    pub size: u64,
}

/// Where the events of one log lie: its own under its own name, those that it shares under the names of the logs that
/// it was forked from. `L` is what a store calls a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage<L = LogId> {
    /// In the order of the numbers: each piece begins where the one before it ends.
    pieces: Vec<(L, u64)>,
    depth: usize,
}

impl<L: Clone + PartialEq> Lineage<L> {
    /// The lineage of `log`. `base` says of a log what it was forked from, and how many events it shares with that.
    pub fn new<E>(log: L, mut base: impl FnMut(&L) -> Result<Option<(L, u64)>, E>) -> Result<Self, E> {
        let mut pieces = vec![(log, u64::MAX)];
        let mut depth = 0;
        // No store takes a deeper one; the bound keeps a damaged one from going round for ever.
        while depth <= MAX_DEPTH
            && let Some((log, size)) = base(&pieces[depth].0)?
        {
            // A fork of a fork may begin before the other one does: then that one has no event in between.
            pieces.push((log, size.min(pieces[depth].1)));
            depth += 1;
        }
        pieces.reverse();
        let mut start = 0;
        pieces.retain(|&(_, end)| {
            let has_events = end > start;
            start = start.max(end);
            has_events
        });
        Ok(Self { pieces, depth })
    }

    /// True if the event that lies in `log` under the number `seq` is one of this log's.
    pub fn contains(&self, log: &L, seq: u64) -> bool {
        self.stretches(seq, 1).next().is_some_and(|(own, ..)| own == log)
    }

    /// Where the `limit` events from number `from` on lie: logs, each with a first number and how many from there.
    pub fn stretches(&self, from: u64, limit: usize) -> impl Iterator<Item = (&L, u64, usize)> {
        let (mut next, mut left) = (from, limit);
        self.pieces.iter().filter_map(move |(log, end)| {
            let count = usize::try_from(end.saturating_sub(next)).unwrap_or(usize::MAX).min(left);
            let first = next;
            next += count as u64;
            left -= count;
            (count > 0).then_some((log, first, count))
        })
    }

    /// How many logs lie before it, each forked from the one before.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Where the log's own events begin.
    pub fn own_from(&self) -> u64 {
        self.pieces.iter().rev().nth(1).map_or(0, |(_, end)| *end)
    }
}

impl Lineage {
    /// The lineage of `log` in `store`.
    pub fn of(store: &dyn Store, log: &LogId) -> Result<Self, StoreError> {
        Self::new(log.clone(), |log| Ok(store.base(log)?.map(|base| (base.log, base.size))))
    }
}

/// What a fork's first event says, if `header` is one.
pub fn forked(header: &EventHeader) -> Option<LogForked> {
    (header.kind == kinds::LOG_FORKED).then(|| rmp_serde::from_slice(&header.facts).ok())?
}

/// The first event of a fork's own, after `last`, which is the last one it shares with `base`. It carries that one's
/// labels, as everything does that follows from an event.
pub fn forked_event(base: &LogId, last: &EventHeader, nonce: Digest) -> Result<NewEvent, StoreError> {
    let facts = LogForked { base: Name::new(base.as_str())?, seq: last.seq, id: last.id, nonce };
    let facts = encode(&facts)?.bytes().to_vec();
    let event = NewEvent::new(Kind::new(kinds::LOG_FORKED)?).parents([last.id]).facts(facts);
    Ok(event.labels(last.labels.clone()))
}

/// A nonce that no other fork has.
pub fn nonce() -> Digest {
    // The standard library seeds its hashers from the system's random numbers.
    let mut bytes = [0; 32];
    for part in bytes.chunks_exact_mut(8) {
        part.copy_from_slice(&RandomState::new().hash_one(std::process::id()).to_le_bytes());
    }
    Digest(bytes)
}

/// The point at which `log` can be forked after its event `seq`: that event, and the base to give to a store.
pub(crate) fn point(store: &dyn Store, log: &LogId, seq: u64) -> Result<(Base, EventHeader), StoreError> {
    match store.headers(log, seq, 1)?.pop() {
        Some(last) => Ok((Base { log: log.clone(), size: seq + 1 }, last)),
        None => {
            let Head { next_seq: head, .. } = store.head(log)?;
            Err(StoreError::ForkPoint { log: log.clone(), seq, head })
        }
    }
}
