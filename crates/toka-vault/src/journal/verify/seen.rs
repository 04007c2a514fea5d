//! What was seen so far, by fingerprints: however large a vault is, eight bytes stand for a digest.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use toka_types::Digest;

/// Makes fingerprints of 64 bits with keys that nobody knows beforehand: two given digests have the same one with
/// probability 2⁻⁶⁴, whoever chose them. It is the strongly universal family "Multilinear" of Lemire and Kaser,
/// "Strongly universal string hashing is fast" (2014), section 2, on four words.
#[derive(Clone, Copy)]
pub(super) struct Fingerprints {
    keys: [u128; 5],
}

/// A table by fingerprints, which are as good as random already.
pub(super) type ByFingerprint<V> = HashMap<u64, V, BuildHasherDefault<AsItIs>>;
/// A set of fingerprints.
pub(super) type FingerprintSet = HashSet<u64, BuildHasherDefault<AsItIs>>;

/// "Hashes" a number to itself.
#[derive(Default)]
pub(super) struct AsItIs(u64);

impl Fingerprints {
    pub(super) fn new() -> Self {
        let random = || u128::from(RandomState::new().hash_one(0));
        Self { keys: std::array::from_fn(|_| random() << 64 | random()) }
    }

    pub(super) fn of(&self, digest: &Digest) -> u64 {
        let (words, _) = digest.0.as_chunks::<8>();
        let [first, keys @ ..] = &self.keys;
        let sum = words.iter().zip(keys).fold(*first, |sum, (word, key)| {
            sum.wrapping_add(key.wrapping_mul(u128::from(u64::from_le_bytes(*word))))
        });
        (sum >> 64) as u64
    }
}

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        // Only numbers are ever hashed; other types would get a poor hash, not a wrong one.
        bytes.iter().for_each(|&byte| self.0 = self.0.rotate_left(8) ^ u64::from(byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_digest_counts() {
        let fingerprints = Fingerprints::new();
        let digest = Digest::of(b"one");
        let mut seen = FingerprintSet::default();
        assert!(seen.insert(fingerprints.of(&digest)));
        for bit in 0..256 {
            let mut other = digest;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert!(seen.insert(fingerprints.of(&other)), "bit {bit}");
        }
        assert!(seen.contains(&fingerprints.of(&digest)));
    }
}
