//! Where things lie in one segment: in memory for what was appended since the segment was opened, and
//! in the sidecar for the rest.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toka_types::{Digest, EventHeader, EventId};

use super::sidecar::{Body, Sidecar};
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
#[derive(Default)]
pub(crate) struct Recent {
    /// Events before the first one here.
    before: u32,
    offsets: Vec<u32>,
    runs: Vec<Run>,
    ids: HashMap<EventId, u32>,
    /// Events whose id is in `ids` already: the same event in another log.
    again: Vec<(EventId, u32)>,
    contents: HashMap<Digest, u32>,
    links: Vec<Link>,
    last_link: HashMap<EventId, u32>,
}

struct Link {
    child: u32,
    /// The previous link of the same parent, or `NONE`.
    before: u32,
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
        if let Some(first) = self.ids.insert(header.id, place) {
            self.ids.insert(header.id, first);
            self.again.push((header.id, place));
        }
        for (at, parent) in header.parents.iter().enumerate() {
            if !header.parents[..at].contains(parent) {
                let link = self.links.len() as u32;
                let before = self.last_link.insert(*parent, link).unwrap_or(NONE);
                self.links.push(Link { child: place, before });
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

    fn find(&self, id: &EventId) -> impl Iterator<Item = u32> {
        let again = self.again.iter().filter(move |(other, _)| other == id).map(|&(_, place)| place);
        self.ids.get(id).copied().into_iter().chain(again)
    }

    fn children(&self, parent: &EventId) -> Vec<u32> {
        let mut places = Vec::new();
        let mut link = self.last_link.get(parent).copied().unwrap_or(NONE);
        while let Some(found) = self.links.get(link as usize) {
            places.push(found.child);
            link = found.before;
        }
        places.reverse();
        places
    }

    fn found(&self, place: u32, exact: bool) -> Option<Found> {
        let offset = *self.offsets.get((place - self.before) as usize)?;
        locate(&self.runs, place).map(|(log, seq)| Found { offset: offset.into(), log, seq, exact })
    }

    /// Everything as a sidecar's body, after what `base` has.
    pub(crate) fn body(&self, base: Option<&Body>) -> Body {
        let key = |id: &Digest| prefix(id.as_bytes());
        let ids = self.ids.iter().chain(self.again.iter().map(|(id, place)| (id, place)));
        let mut links = Vec::with_capacity(self.links.len());
        for (parent, &last) in &self.last_link {
            let mut link = last;
            while let Some(found) = self.links.get(link as usize) {
                links.push((key(&parent.0), found.child));
                link = found.before;
            }
        }
        Body::merge(
            base,
            &self.offsets,
            ids.map(|(id, &place)| (key(&id.0), place)).collect(),
            self.contents.iter().map(|(digest, &offset)| (key(digest), offset)).collect(),
            links,
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
    pub(crate) fn find(&self, id: &EventId) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::new();
        if let Some(base) = &self.base {
            let places = base.body()?.find(prefix(id.as_bytes()));
            found.extend(places.filter_map(|place| base.found(place)).collect::<Vec<_>>());
        }
        found.extend(self.recent.find(id).filter_map(|place| self.recent.found(place, true)));
        Ok(found)
    }

    /// Places of content with this digest, or in the sidecar with its first bytes; the flag says which.
    pub(crate) fn content(&self, digest: &Digest) -> Result<Vec<(u64, bool)>, StoreError> {
        let mut found = Vec::new();
        if let Some(&offset) = self.recent.contents.get(digest) {
            found.push((u64::from(offset), true));
        } else if let Some(base) = &self.base {
            found.extend(base.body()?.content(prefix(digest.as_bytes())).map(|offset| (offset.into(), false)));
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
        let hits = self.recent.ids.iter().filter(|(id, _)| (low..=high).contains(&prefix(id.as_bytes())));
        found.extend(hits.filter_map(|(_, &place)| self.recent.found(place, true)));
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
