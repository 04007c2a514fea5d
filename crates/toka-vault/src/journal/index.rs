//! Where things lie in one segment: in memory for what was appended since the segment was opened, and
//! in the sidecar for the rest.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toka_types::{Digest, EventId};

use super::recent::Recent;
use super::sidecar::Sidecar;
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

/// An event found by an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) offset: u64,
    /// Its log and number, if all of what was looked for has been compared. Otherwise only eight bytes have, and
    /// the event itself has to tell.
    pub(crate) place: Option<(u16, u64)>,
}

/// The index of one segment.
#[derive(Clone, Default)]
pub(crate) struct Index {
    pub(crate) base: Option<Arc<Sidecar>>,
    pub(crate) recent: Arc<Recent>,
}

impl Index {
    /// An empty index with room for `times` what `before` has in memory.
    pub(crate) fn with_room_of(before: &Self, times: usize) -> Self {
        Self { base: None, recent: Arc::new(Recent::with_room_of(&before.recent, times)) }
    }

    /// The index of a segment of which the sidecar has everything so far.
    pub(crate) fn over(base: Sidecar) -> Self {
        let recent = Arc::new(Recent::after(base.meta.events));
        Self { base: Some(Arc::new(base)), recent }
    }

    /// The part in memory, to add to it.
    pub(crate) fn recent_mut(&mut self) -> &mut Recent {
        Arc::get_mut(&mut self.recent).expect("the index of a segment is shared only once it is sealed")
    }

    /// Events with this id, or in the sidecar with this id's first bytes.
    pub(crate) fn find(&self, id: &EventId) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::new();
        if let Some(base) = &self.base {
            found.extend(unconfirmed(base.find(prefix(id.as_bytes()))?));
        }
        if !self.recent.is_empty() {
            found.extend(self.recent.find(id));
        }
        Ok(found)
    }

    /// Places of content with this digest, or in the sidecar with its first bytes; the flag says which. Where content
    /// is gone, the place is that of its event, and the flag false.
    pub(crate) fn content(&self, digest: &Digest) -> Result<Vec<(u64, bool)>, StoreError> {
        if let Some(offset) = self.recent.find_content(digest) {
            return Ok(vec![(offset, true)]);
        }
        if let Some(offset) = self.recent.find_gone(digest) {
            return Ok(vec![(offset, false)]);
        }
        let Some(base) = &self.base else { return Ok(Vec::new()) };
        Ok(base
            .content(prefix(digest.as_bytes()))?
            .into_iter()
            .map(|offset| (offset.into(), false))
            .collect())
    }

    /// Events that name the parent, or one with its first bytes: at most `limit` of those behind the offset `after`.
    pub(crate) fn children(
        &self,
        parent: &EventId,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        let parent = prefix(parent.as_bytes());
        let from = after.map_or(0, |after| after.saturating_add(1));
        let mut offsets = match &self.base {
            Some(base) => base.children(parent, from, limit)?,
            None => Vec::new(),
        };
        if offsets.len() < limit {
            let recent = self.recent.children(parent).into_iter().filter(|offset| *offset >= from);
            offsets.extend(recent.take(limit - offsets.len()));
        }
        Ok(unconfirmed(offsets).collect())
    }

    /// Events whose ids may begin with the bytes between `low` and `high`.
    pub(crate) fn find_range(&self, low: u64, high: u64) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::new();
        if let Some(base) = &self.base {
            found.extend(unconfirmed(base.find_range(low, high)?));
        }
        found.extend(self.recent.find_range(low, high));
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
                Some(base) if place < base.meta.events => offsets.extend(base.offsets(place, take)?),
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

fn unconfirmed(offsets: Vec<u32>) -> impl Iterator<Item = Found> {
    offsets.into_iter().map(|offset| Found { offset: offset.into(), place: None })
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
