//! The index, in memory, of what was appended to the open segment.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use toka_types::{Digest, EventHeader, EventId};

use super::index::{Found, Run, locate, prefix};
use super::tables::{Body, Shape, Table, Tables};
use crate::hash::DigestState;

/// The part of a segment's index that is in memory. Places of events count on from those in the sidecar.
///
/// Appending only adds to lists; the tables over ids and causes are brought up to date by the next look-up
/// that needs them, since a writer whose events follow each other needs none.
#[derive(Default)]
pub(crate) struct Recent {
    /// Events before the first one here.
    pub(super) before: u32,
    pub(super) offsets: Vec<u32>,
    pub(super) runs: Vec<Run>,
    ids: Vec<EventId>,
    /// First bytes of parents, and where their children lie.
    links: Vec<(u64, u32)>,
    contents: Vec<(Digest, u32)>,
    /// Places in `contents`.
    by_digest: HashTable<u32>,
    /// Where events lie with which content lay that is gone.
    gone: HashMap<Digest, u32, DigestState>,
    state: DigestState,
    lazy: Mutex<Lazy>,
}

#[derive(Default)]
struct Lazy {
    /// Places in `ids`.
    by_id: HashTable<u32>,
    /// Events whose id is in there already: the same event in another log.
    again: Vec<u32>,
    ids_done: usize,
    /// For each link the previous one of the same parent, or `NONE`.
    earlier: Vec<u32>,
    last_link: HashMap<u64, u32, DigestState>,
}

const NONE: u32 = u32::MAX;
/// Most entries for which room is made ahead, in each list and table.
const MOST_AHEAD: usize = 1 << 18;

impl Recent {
    /// An index that goes on after `before` events.
    pub(crate) fn after(before: u32) -> Self {
        Self { before, ..Self::default() }
    }

    /// An empty index with room for `times` what `before` has: a table that grows while a batch waits for it holds up
    /// that batch for as long as the sync of several.
    pub(crate) fn with_room_of(before: &Self, times: usize) -> Self {
        let room = |len: usize| len.saturating_mul(times).min(MOST_AHEAD);
        let (events, links, contents) =
            (room(before.offsets.len()), room(before.links.len()), room(before.contents.len()));
        let lazy = {
            // Whoever never asks for ids or causes has none of these.
            let lazy = before.lazy();
            Lazy {
                by_id: HashTable::with_capacity(room(lazy.by_id.len())),
                earlier: Vec::with_capacity(room(lazy.earlier.len())),
                last_link: HashMap::with_capacity_and_hasher(
                    room(lazy.last_link.len()),
                    DigestState::default(),
                ),
                ..Lazy::default()
            }
        };
        Self {
            offsets: Vec::with_capacity(events),
            ids: Vec::with_capacity(events),
            links: Vec::with_capacity(links),
            contents: Vec::with_capacity(contents),
            by_digest: HashTable::with_capacity(contents),
            lazy: Mutex::new(lazy),
            ..Self::default()
        }
    }

    /// Adds the event that lies at `offset`.
    pub(crate) fn event(&mut self, log: u16, offset: u64, header: &EventHeader) {
        let place = self.before + self.offsets.len() as u32;
        self.offsets.push(offset as u32);
        match self.runs.last_mut() {
            Some(run) if run.log == log && run.seq + u64::from(run.count) == header.seq => run.count += 1,
            _ => self.runs.push(Run { first: place, log, seq: header.seq, count: 1 }),
        }
        self.ids.push(header.id);
        for (at, parent) in header.parents.iter().enumerate() {
            if !header.parents[..at].contains(parent) {
                self.links.push((prefix(parent.as_bytes()), offset as u32));
            }
        }
    }

    /// Adds the content that lies at `offset`, unless it is there.
    pub(crate) fn content(&mut self, digest: Digest, offset: u64) {
        let Self { contents, by_digest, state, .. } = self;
        let entry = by_digest.entry(
            state.hash_one(digest),
            |&at| contents[at as usize].0 == digest,
            |&at| state.hash_one(contents[at as usize].0),
        );
        if let hashbrown::hash_table::Entry::Vacant(vacant) = entry {
            vacant.insert(contents.len() as u32);
            contents.push((digest, offset as u32));
        }
    }

    /// Adds that content lay with the event at `offset` and is gone.
    pub(crate) fn gone(&mut self, digest: Digest, offset: u64) {
        self.gone.entry(digest).or_insert(offset as u32);
    }

    /// Where the event lies with which this content lay that is gone.
    pub(crate) fn find_gone(&self, digest: &Digest) -> Option<u64> {
        self.gone.get(digest).map(|&offset| offset.into())
    }

    /// How many events there are.
    pub(crate) fn len(&self) -> u64 {
        self.offsets.len() as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Where the content with this digest lies.
    pub(crate) fn find_content(&self, digest: &Digest) -> Option<u64> {
        let found =
            self.by_digest.find(self.state.hash_one(digest), |&at| self.contents[at as usize].0 == *digest);
        found.map(|&at| u64::from(self.contents[at as usize].1))
    }

    /// The events with this id: more than one if it is in several logs.
    pub(crate) fn find(&self, id: &EventId) -> Vec<Found> {
        let mut lazy = self.lazy();
        let Lazy { by_id, again, ids_done, .. } = &mut *lazy;
        let hash = |at: u32| self.state.hash_one(self.ids[at as usize]);
        for at in *ids_done as u32..self.ids.len() as u32 {
            let same = |&other: &u32| self.ids[other as usize] == self.ids[at as usize];
            match by_id.entry(hash(at), same, |&other| hash(other)) {
                hashbrown::hash_table::Entry::Vacant(vacant) => drop(vacant.insert(at)),
                hashbrown::hash_table::Entry::Occupied(_) => again.push(at),
            }
        }
        *ids_done = self.ids.len();
        let first = by_id.find(self.state.hash_one(id), |&at| self.ids[at as usize] == *id);
        let again = again.iter().filter(|&&at| self.ids[at as usize] == *id);
        first.into_iter().chain(again).filter_map(|&at| self.found(at)).collect()
    }

    /// The events whose ids begin with the bytes between `low` and `high`.
    pub(crate) fn find_range(&self, low: u64, high: u64) -> Vec<Found> {
        let hits = (0..).zip(&self.ids).filter(|(_, id)| (low..=high).contains(&prefix(id.as_bytes())));
        hits.filter_map(|(at, _)| self.found(at)).collect()
    }

    /// Where events lie that name a parent with these first bytes.
    pub(crate) fn children(&self, parent: u64) -> Vec<u32> {
        let mut lazy = self.lazy();
        let Lazy { earlier, last_link, .. } = &mut *lazy;
        for (link, &(parent, _)) in self.links.iter().enumerate().skip(earlier.len()) {
            earlier.push(match last_link.entry(parent) {
                Entry::Occupied(mut last) => last.insert(link as u32),
                Entry::Vacant(vacant) => {
                    vacant.insert(link as u32);
                    NONE
                }
            });
        }
        let mut offsets = Vec::new();
        let mut link = last_link.get(&parent).copied().unwrap_or(NONE);
        while let Some(&(_, offset)) = self.links.get(link as usize) {
            offsets.push(offset);
            link = earlier[link as usize];
        }
        offsets.reverse();
        offsets
    }

    /// Everything as the tables of a sidecar, after what `base` has.
    pub(crate) fn body(&self, base: Option<&Tables<'_>>) -> Result<Body, String> {
        let before = base.map_or(Shape::default(), |base| base.shape);
        let shape = Shape {
            events: before.events + self.ids.len() as u32,
            contents: before.contents + (self.contents.len() + self.gone.len()) as u32,
            links: before.links + self.links.len() as u32,
        };
        let old_offsets = match base {
            Some(base) => base.offsets(0, before.events as usize)?,
            None => Vec::new(),
        };
        let offsets = old_offsets.into_iter().chain(self.offsets.iter().copied());
        Body::new(shape, offsets, |table| {
            let mut pairs = Vec::with_capacity(shape.entries(table));
            if let Some(base) = base {
                base.pairs(table, |key, place| pairs.push((key, place)))?;
            }
            let ids = self.ids.iter().map(|id| prefix(id.as_bytes()));
            match table {
                Table::Ids => pairs.extend(ids.zip(self.offsets.iter().copied())),
                Table::Contents => {
                    let gone = self.gone.iter().map(|(&digest, &at)| (digest, at));
                    let all = self.contents.iter().copied().chain(gone);
                    pairs.extend(all.map(|(digest, at)| (prefix(digest.as_bytes()), at)));
                }
                _ => pairs.extend(&self.links),
            }
            Ok(pairs)
        })
    }

    fn found(&self, at: u32) -> Option<Found> {
        let offset = u64::from(*self.offsets.get(at as usize)?);
        let place = locate(&self.runs, self.before + at)?;
        Some(Found { offset, place: Some(place) })
    }

    fn lazy(&self) -> MutexGuard<'_, Lazy> {
        // Whatever a panic left undone is done by the next look-up.
        self.lazy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
