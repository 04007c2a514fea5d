//! What a compaction must keep: content that some event still has a claim to.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use toka_types::{Digest, Timestamp};

use crate::hash::DigestState;

/// Bits for each piece of content. With [`PROBES`] of them set, three in a thousand stay that could go.
const BITS: u64 = 12;
const PROBES: u64 = 8;
/// Least bits of the filter: in a smaller one a few digests are taken for each other.
const LEAST_BITS: u64 = 1 << 16;
/// Most bytes of the filter. Beyond twenty million claims more stays that could go.
const MAX_BYTES: u64 = 32 << 20;
/// Most pieces of content that may be shared while a compaction is under way; if there are more, it gives up.
const MAX_SHARED: usize = 1 << 20;

/// A Bloom filter over the digests of content that must stay. Another time gives other false answers, so that what
/// stays by mistake goes with a later compaction.
pub(crate) struct Live {
    words: Vec<u64>,
    salt: u64,
}

/// Digests of content that events shared with earlier ones since a compaction began: it must not drop that.
#[derive(Default)]
pub(crate) struct Shared {
    noting: AtomicBool,
    noted: Mutex<HashSet<Digest, DigestState>>,
}

impl Live {
    /// An empty filter for so many digests.
    pub(crate) fn new(digests: u64, at: Timestamp) -> Self {
        let bits = (digests * BITS).clamp(LEAST_BITS, MAX_BYTES * 8);
        Self { words: vec![0; bits.div_ceil(64) as usize], salt: mix(at.0 as u64) }
    }

    pub(crate) fn insert(&mut self, digest: &Digest) {
        for bit in self.bits(digest) {
            self.words[(bit / 64) as usize] |= 1 << (bit % 64);
        }
    }

    pub(crate) fn may_contain(&self, digest: &Digest) -> bool {
        self.bits(digest).all(|bit| self.words[(bit / 64) as usize] & 1 << (bit % 64) != 0)
    }

    fn bits(&self, digest: &Digest) -> impl Iterator<Item = u64> + use<> {
        let half = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&digest.0[at..at + 8]);
            mix(u64::from_le_bytes(bytes) ^ self.salt)
        };
        let (first, step, count) = (half(0), half(8) | 1, self.words.len() as u64 * 64);
        (0..PROBES).map(move |n| first.wrapping_add(n.wrapping_mul(step)) % count)
    }
}

/// Spreads the bits of a number (the finalizer of SplitMix64).
fn mix(mut word: u64) -> u64 {
    word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ word >> 31
}

impl Shared {
    /// Begins to take notes. The caller holds the writer, so that no append is half way.
    pub(crate) fn begin(&self) {
        self.noted().clear();
        self.noting.store(true, Ordering::SeqCst);
    }

    pub(crate) fn end(&self) {
        self.noting.store(false, Ordering::SeqCst);
        *self.noted() = HashSet::default();
    }

    /// An event names content that does not lie with it.
    pub(crate) fn note(&self, digest: &Digest) {
        if self.noting.load(Ordering::SeqCst) {
            let mut noted = self.noted();
            if noted.len() < MAX_SHARED {
                noted.insert(*digest);
            }
        }
    }

    /// Those of `dropped` that were shared meanwhile; `None` if too many were to remember them.
    pub(crate) fn among(&self, dropped: &[Digest]) -> Option<Vec<Digest>> {
        let noted = self.noted();
        let full = noted.len() >= MAX_SHARED;
        (!full).then(|| dropped.iter().filter(|digest| noted.contains(digest)).copied().collect())
    }

    fn noted(&self) -> MutexGuard<'_, HashSet<Digest, DigestState>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_keeps_all_that_is_in_it_and_little_else() {
        let digest = |n: u32| Digest::of(&n.to_le_bytes());
        let mut wrong = Vec::new();
        for at in [1, 2] {
            let mut live = Live::new(10_000, Timestamp(at));
            (0..10_000).for_each(|n| live.insert(&digest(n)));
            assert!((0..10_000).all(|n| live.may_contain(&digest(n))));
            wrong.push((10_000..30_000).filter(|&n| live.may_contain(&digest(n))).collect::<HashSet<_>>());
        }
        assert!(wrong.iter().all(|wrong| wrong.len() < 200), "{} of 20000", wrong[0].len());
        assert!(wrong[0].intersection(&wrong[1]).count() < 10);
    }

    #[test]
    fn what_is_shared_is_noted_while_it_matters() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let shared = Shared::default();
        shared.note(&one);
        shared.begin();
        assert_eq!(shared.among(&[one, two]), Some(vec![]));
        shared.note(&two);
        assert_eq!(shared.among(&[one, two]), Some(vec![two]));
        shared.end();
        assert_eq!(shared.among(&[two]), Some(vec![]));
    }
}
