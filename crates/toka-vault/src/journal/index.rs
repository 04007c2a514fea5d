//! Where things lie in one segment: in memory for what was appended since the segment was opened, and
//! in the sidecar for the rest.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use toka_types::{Digest, EventHeader, EventId};

use super::sidecar::{Body, Sidecar};
use crate::hash::DigestState;
use crate::store::StoreError;

/// Consecutive events of one log: number and log follow from the place in the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The place of the first of them among the segment's events.
    pub(crate) first: u32,
    pub(crate) log: u16,
    pub(crate) seq: u64,
    pub(crate) count: u32,
}

/// An event found by an index. With a sidecar only the first eight bytes of the id were compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) offset: u64,
    pub(crate) log: u16,
    pub(crate) seq: u64,
    /// True if the whole id was compared.
    pub(crate) exact: bool,
}

/// The index of one segment.
#[derive(Default)]
pub(crate) struct Index {
    pub(crate) base: Option<Arc<Sidecar>>,
    pub(crate) recent: Recent,
}

/// The part in memory. Places of events count on from those in the sidecar.
///
/// Appending only adds to lists; the tables over ids and causes are brought up to date by the next look-up
/// that needs them, since a writer whose events follow each other needs none.
#[derive(Default)]
pub(crate) struct Recent {
    /// Events before the first one here.
    before: u32,
    offsets: Vec<u32>,
    runs: Vec<Run>,
    ids: Vec<EventId>,
    /// Parents and the places of their children.
    links: Vec<(EventId, u32)>,
    contents: HashMap<Digest, u32, DigestState>,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    ids: HashMap<EventId, u32, DigestState>,
    /// Events whose id is in `ids` already: the same event in another log.
    again: Vec<(EventId, u32)>,
    ids_done: usize,
    /// For each link the previous one of the same parent, or `NONE`.
    earlier: Vec<u32>,
    last_link: HashMap<EventId, u32, DigestState>,
}

const NONE: u32 = u32::MAX;

impl Recent {
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
                self.links.push((*parent, place));
            }
        }
    }

    /// Adds the content that lies at `offset`.
    pub(crate) fn content(&mut self, digest: Digest, offset: u64) {
        self.contents.entry(digest).or_insert(offset as u32);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    fn find(&self, id: &EventId) -> Vec<u32> {
        let mut tables = self.tables();
        let Tables { ids, again, ids_done, .. } = &mut *tables;
        for (place, id) in (self.before..).zip(&self.ids).skip(*ids_done) {
            match ids.entry(*id) {
                Entry::Vacant(entry) => drop(entry.insert(place)),
                Entry::Occupied(_) => again.push((*id, place)),
            }
        }
        *ids_done = self.ids.len();
        let again = again.iter().filter(|(other, _)| other == id).map(|&(_, place)| place);
        ids.get(id).copied().into_iter().chain(again).collect()
    }

    fn children(&self, parent: &EventId) -> Vec<u32> {
        let mut tables = self.tables();
        let Tables { earlier, last_link, .. } = &mut *tables;
        for (link, (parent, _)) in self.links.iter().enumerate().skip(earlier.len()) {
            earlier.push(last_link.insert(*parent, link as u32).unwrap_or(NONE));
        }
        let mut places = Vec::new();
        let mut link = last_link.get(parent).copied().unwrap_or(NONE);
        while let Some((_, child)) = self.links.get(link as usize) {
            places.push(*child);
            link = earlier[link as usize];
        }
        places.reverse();
        places
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Whatever a panic left undone is done by the next look-up.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self, place: u32, exact: bool) -> Option<Found> {
        let offset = *self.offsets.get((place - self.before) as usize)?;
        locate(&self.runs, place).map(|(log, seq)| Found { offset: offset.into(), log, seq, exact })
    }

    /// Everything as a sidecar's body, after what `base` has.
    pub(crate) fn body(&self, base: Option<&Body>) -> Body {
        let key = |id: &Digest| prefix(id.as_bytes());
        Body::merge(
            base,
            &self.offsets,
            (self.before..).zip(&self.ids).map(|(place, id)| (key(&id.0), place)).collect(),
            self.contents.iter().map(|(digest, &offset)| (key(digest), offset)).collect(),
            self.links.iter().map(|(parent, place)| (key(&parent.0), *place)).collect(),
        )
    }
}

impl Index {
    /// The index of a segment of which the sidecar has everything so far.
    pub(crate) fn over(base: Sidecar) -> Self {
        let recent = Recent { before: base.meta.events, ..Recent::default() };
        Self { base: Some(Arc::new(base)), recent }
    }

    /// Events with this id, or in the sidecar with this id's first bytes.
    pub(crate) fn find(&self, id: &EventId, filter: &Filter) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::new();
        if let Some(base) = self.base.as_ref().filter(|_| filter.may_contain(prefix(id.as_bytes()))) {
            let places = base.body()?.find(prefix(id.as_bytes()));
            found.extend(places.filter_map(|place| base.found(place)).collect::<Vec<_>>());
        }
        found.extend(self.recent.find(id).into_iter().filter_map(|place| self.recent.found(place, true)));
        Ok(found)
    }

    /// Places of content with this digest, or in the sidecar with its first bytes; the flag says which.
    pub(crate) fn content(&self, digest: &Digest, filter: &Filter) -> Result<Vec<(u64, bool)>, StoreError> {
        let mut found = Vec::new();
        if let Some(&offset) = self.recent.contents.get(digest) {
            found.push((u64::from(offset), true));
        } else if let Some(base) =
            self.base.as_ref().filter(|_| filter.may_contain(prefix(digest.as_bytes())))
        {
            found
                .extend(base.body()?.content(prefix(digest.as_bytes())).map(|offset| (offset.into(), false)));
        }
        Ok(found)
    }

    /// Events that name the parent, or in the sidecar one with its first bytes.
    pub(crate) fn children(&self, parent: &EventId) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::new();
        if let Some(base) = &self.base {
            let places = base.body()?.children(prefix(parent.as_bytes()));
            found.extend(places.filter_map(|place| base.found(place)).collect::<Vec<_>>());
        }
        let places = self.recent.children(parent);
        found.extend(places.into_iter().filter_map(|place| self.recent.found(place, true)));
        Ok(found)
    }

    /// Events whose ids may begin with the bytes between `low` and `high`.
    pub(crate) fn find_range(&self, low: u64, high: u64) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::new();
        if let Some(base) = &self.base {
            let places = base.body()?.find_range(low, high);
            found.extend(places.filter_map(|place| base.found(place)).collect::<Vec<_>>());
        }
        let recent = (self.recent.before..).zip(&self.recent.ids);
        let hits = recent.filter(|(_, id)| (low..=high).contains(&prefix(id.as_bytes())));
        found.extend(hits.filter_map(|(place, _)| self.recent.found(place, true)));
        Ok(found)
    }

    /// Offsets of at most `limit` events of `log` from number `from` on, if this segment has that one.
    pub(crate) fn offsets(&self, log: u16, from: u64, limit: usize) -> Result<Vec<u32>, StoreError> {
        let mut offsets = Vec::new();
        let mut next = from;
        let base = self.base.iter().flat_map(|base| &base.meta.runs);
        for run in base.chain(&self.recent.runs).filter(|run| run.log == log) {
            let end = run.seq + u64::from(run.count);
            if next < run.seq || next >= end {
                continue;
            }
            let take = (end - next).min((limit - offsets.len()) as u64) as usize;
            let place = run.first + (next - run.seq) as u32;
            match &self.base {
                Some(base) if place < base.meta.events => {
                    let body = base.body()?;
                    offsets.extend((place..place + take as u32).map(|place| body.offset(place)));
                }
                _ => {
                    let at = (place - self.recent.before) as usize;
                    offsets.extend_from_slice(&self.recent.offsets[at..at + take]);
                }
            }
            next += take as u64;
            if offsets.len() >= limit {
                break;
            }
        }
        Ok(offsets)
    }

    /// The runs of the whole segment.
    pub(crate) fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = self.base.iter().flat_map(|base| base.meta.runs.clone()).collect();
        for run in &self.recent.runs {
            match runs.last_mut() {
                Some(last) if last.log == run.log && last.seq + u64::from(last.count) == run.seq => {
                    last.count += run.count;
                }
                _ => runs.push(*run),
            }
        }
        runs
    }
}

/// A Bloom filter over the ids and digests of all sealed parts: most look-ups are for what is not there, and
/// it answers them with one look into memory instead of several in every sidecar.
#[derive(Default)]
pub(crate) struct Filter {
    blocks: Vec<u64>,
    keys: usize,
}

/// Bits for each key. With [`FILTER_PROBES`] bits set in one word, one look-up in fifty is made in vain.
const FILTER_BITS: usize = 12;
const FILTER_PROBES: u32 = 4;
/// Keys that a filter has room for at least.
const FILTER_LEAST: usize = 4096;

impl Filter {
    /// A filter for about twice `keys` keys, so that it is seldom made anew.
    pub(crate) fn with_room(keys: usize) -> Self {
        let words = (2 * keys.max(FILTER_LEAST) * FILTER_BITS / 64).next_power_of_two();
        Self { blocks: vec![0; words], keys: 0 }
    }

    /// True if another `more` keys fit.
    pub(crate) fn has_room(&self, more: usize) -> bool {
        (self.keys + more) * FILTER_BITS <= self.blocks.len() * 64
    }

    /// Adds everything that the tables have.
    pub(crate) fn extend(&mut self, body: &Body) {
        for key in body.keys() {
            let (block, bits) = self.place(key);
            self.blocks[block] |= bits;
            self.keys += 1;
        }
    }

    /// False if the key was never added.
    pub(crate) fn may_contain(&self, key: u64) -> bool {
        if self.blocks.is_empty() {
            return true;
        }
        let (block, bits) = self.place(key);
        self.blocks[block] & bits == bits
    }

    fn place(&self, key: u64) -> (usize, u64) {
        // The key is part of a digest: its bits are as good as random.
        let block = (key >> 24) as usize & (self.blocks.len() - 1);
        let bits = (0..FILTER_PROBES).fold(0, |bits, n| bits | 1 << (key >> (6 * n) & 63));
        (block, bits)
    }
}

/// Log and number of the event at `place`.
pub(crate) fn locate(runs: &[Run], place: u32) -> Option<(u16, u64)> {
    let at = runs.partition_point(|run| run.first <= place).checked_sub(1)?;
    let run = &runs[at];
    (place - run.first < run.count).then(|| (run.log, run.seq + u64::from(place - run.first)))
}

/// The first eight bytes of a digest, so that numbers are ordered as digests are.
pub(crate) fn prefix(digest: &[u8; 32]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(bytes)
}
