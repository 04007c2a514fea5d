//! Bloom filters over ids and digests: most look-ups are for what is not there, and a filter answers them with one
//! look into memory. The bits of a key lie in one word.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bits for each key. With [`PROBES`] bits set in one word, one look-up in fifty is made in vain.
const BITS: usize = 12;
const PROBES: u32 = 4;
/// Keys that the writer's filter has room for at least.
const LEAST_KEYS: usize = 4096;
/// And at most: 6 MiB.
pub(crate) const MOST_KEYS: usize = 4 << 20;

/// Words of a filter for `keys` keys.
pub(crate) fn word_count(keys: usize) -> usize {
    (keys * BITS).div_ceil(64)
}

/// The word and the bits of a key in a filter of `words` words.
pub(crate) fn bits(key: u64, words: usize) -> (usize, u64) {
    // The key is part of a digest: its bits are as good as random. The upper ones tell the word.
    let word = ((u128::from(key) * words as u128) >> 64) as usize;
    (word, (0..PROBES).fold(0, |bits, n| bits | 1 << (key >> (6 * n) & 63)))
}

/// What the writer knows of the newest sealed segments: all of their ids and digests. Cheap to clone; clones see
/// what is added to either.
#[derive(Clone, Default)]
pub(crate) struct Filter {
    words: Arc<[AtomicU64]>,
    keys: usize,
    /// The segments of which all keys are in, by number.
    from: u64,
    to: u64,
}

impl Filter {
    /// An empty filter with room for `keys` keys, before the segment `next`.
    pub(crate) fn with_room(keys: usize, next: u64) -> Self {
        let keys = keys.clamp(LEAST_KEYS, MOST_KEYS);
        Self {
            words: (0..word_count(keys)).map(|_| AtomicU64::new(0)).collect(),
            keys: 0,
            from: next,
            to: next,
        }
    }

    /// True if another `more` keys fit.
    pub(crate) fn has_room(&self, more: usize) -> bool {
        (self.keys + more) * BITS <= self.words.len() * 64
    }

    /// Adds a key of a segment, which counts once the segment is [covered](Self::cover).
    pub(crate) fn add(&self, key: u64) {
        let (word, bits) = bits(key, self.words.len());
        // Who sees the segment covered has passed the lock under which that was said.
        self.words[word].fetch_or(bits, Ordering::Relaxed);
    }

    /// Notes that all `keys` keys of the segment `number` are in. Segments are covered without gaps: behind one the
    /// older ones do not count any more.
    pub(crate) fn cover(&mut self, number: u64, keys: usize) {
        self.keys += keys;
        if self.from != self.to && number + 1 == self.from {
            self.from = number;
        } else if self.from != self.to && number == self.to {
            self.to = number + 1;
        } else {
            (self.from, self.to) = (number, number + 1);
        }
    }

    /// True if nothing is known of any segment.
    pub(crate) fn is_void(&self) -> bool {
        self.words.is_empty()
    }

    /// True if the segment's keys are in, or it is older than those.
    pub(crate) fn is_past(&self, segment: u64) -> bool {
        segment < self.to
    }

    /// True if the key cannot be in that segment.
    pub(crate) fn excludes(&self, segment: u64, key: u64) -> bool {
        (self.from..self.to).contains(&segment) && !self.may_contain(key)
    }

    /// True if the segment is older than those of which the keys are in.
    pub(crate) fn is_before(&self, segment: u64) -> bool {
        segment < self.from
    }

    /// False if the key was never added.
    pub(crate) fn may_contain(&self, key: u64) -> bool {
        if self.words.is_empty() {
            return true;
        }
        let (word, bits) = bits(key, self.words.len());
        self.words[word].load(Ordering::Relaxed) & bits == bits
    }
}
