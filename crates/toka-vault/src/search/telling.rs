//! Which terms tell a group of chunks from all others.

use super::collection::{ChunkEntry, Collection};
use crate::intent::fixed::log2_q8;

/// Terms listed for a group.
const TERMS: usize = 8;
/// Shortest term that says something to a person.
const MIN_LETTERS: usize = 3;
/// A term must occur in one of so many of the group's chunks to speak for the group.
const MIN_SHARE: u32 = 25;

/// Finds telling terms; holds a counter for each term so that groups can be asked one after the other.
pub(super) struct Telling<'a> {
    collection: &'a Collection,
    ranks: &'a [u32],
    chunks: Vec<&'a ChunkEntry>,
    counts: Vec<u32>,
}

impl<'a> Telling<'a> {
    pub(super) fn of(collection: &'a Collection, ranks: &'a [u32]) -> Self {
        Self {
            collection,
            ranks,
            chunks: collection.chunks().collect(),
            counts: vec![0; collection.terms.entries().len()],
        }
    }

    /// The terms of the chunks at these positions that are most peculiar to them, as people write them:
    /// by what each contributes to the divergence of the group from the whole.
    pub(super) fn terms(&mut self, members: &[usize]) -> Vec<String> {
        let entries = self.collection.terms.entries();
        let mut seen = Vec::new();
        for occurrence in members.iter().flat_map(|at| self.chunks[*at].occurrences()) {
            let count = &mut self.counts[occurrence.term as usize];
            if *count == 0 {
                seen.push(occurrence.term);
            }
            *count += 1;
        }
        let (all, group) = (self.chunks.len() as u64, members.len() as u64);
        let mut scored = Vec::new();
        for term in seen {
            let entry = &entries[term as usize];
            let within = std::mem::take(&mut self.counts[term as usize]);
            let readable =
                entry.shown.chars().count() >= MIN_LETTERS && entry.shown.chars().all(char::is_alphabetic);
            if !readable || within < (group as u32).div_ceil(MIN_SHARE) {
                continue;
            }
            let here = log2_q8(u64::from(within) * all * 256);
            let everywhere = log2_q8(u64::from(entry.chunks) * group * 256);
            let surprise = u64::from(here.saturating_sub(everywhere));
            let score = u64::from(within) * surprise;
            scored.push((std::cmp::Reverse(score), self.ranks[term as usize], term));
        }
        scored.sort_unstable();
        scored.iter().take(TERMS).map(|(_, _, term)| entries[*term as usize].shown.clone()).collect()
    }
}
