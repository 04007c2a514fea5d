//! The hashes of a vault: content digest, causal digest, and the log tree.
//!
//! Content and events are named by BLAKE3 (see [`toka_types::record`]). The log tree is the Merkle tree
//! of RFC 6962 over the stored header bytes, in SHA-256, so that anyone's tools can check its [proofs](crate::proof).

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

use sha2::{Digest as _, Sha256};
use toka_types::{Digest, EventHeader, EventId};

pub use crate::proof::{
    ConsistencyProof, InclusionProof, ProofError, prove_consistency, prove_inclusion, root_of,
};

const LEAF: u8 = 0;
const NODE: u8 = 1;

/// A hash of the log tree: SHA-256, printed as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TreeHash(pub [u8; 32]);

/// The Merkle tree over a log's headers, as its frontier: the roots of the perfect subtrees, from the
/// largest to the smallest. At most 64 hashes, however long the log.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LogTree {
    size: u64,
    frontier: Vec<TreeHash>,
}

/// The digest of some content.
pub fn content_digest(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}

/// The causal digest of an event, which is its id.
pub fn causal_digest(header: &EventHeader) -> EventId {
    header.causal_digest()
}

/// The hash of a leaf: SHA-256 of a zero byte and the canonical header bytes.
pub fn leaf_hash(header_bytes: &[u8]) -> TreeHash {
    TreeHash(Sha256::new().chain_update([LEAF]).chain_update(header_bytes).finalize().into())
}

/// The hash of an inner node: SHA-256 of a one byte and the hashes of both children.
pub fn node_hash(left: &TreeHash, right: &TreeHash) -> TreeHash {
    // One piece: the hasher's own buffering costs as much as a block.
    let mut bytes = [NODE; 65];
    bytes[1..33].copy_from_slice(&left.0);
    bytes[33..].copy_from_slice(&right.0);
    TreeHash(Sha256::digest(bytes).into())
}

impl LogTree {
    /// The tree of no leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf.
    pub fn append(&mut self, leaf: TreeHash) {
        self.append_noting(leaf, 0, &mut Vec::new());
    }

    /// Adds a leaf. If it completes a subtree of `1 << level` leaves, its root is added to `complete`.
    pub(crate) fn append_noting(&mut self, leaf: TreeHash, level: u32, complete: &mut Vec<TreeHash>) {
        let mut hash = leaf;
        for joined in 1..=self.size.trailing_ones() {
            let left = self.frontier.pop().expect("one root for each bit of the size");
            hash = node_hash(&left, &hash);
            if joined == level {
                complete.push(hash);
            }
        }
        self.frontier.push(hash);
        self.size += 1;
    }

    /// The root: the SHA-256 of nothing for no leaves.
    pub fn root(&self) -> TreeHash {
        let mut roots = self.frontier.iter().rev();
        let Some(&smallest) = roots.next() else {
            return TreeHash(Sha256::digest([]).into());
        };
        roots.fold(smallest, |right, left| node_hash(left, &right))
    }

    /// The frontier, from the largest subtree to the smallest.
    pub fn frontier(&self) -> &[TreeHash] {
        &self.frontier
    }

    /// The tree with this frontier, if it has one hash for each bit that is set in `size`.
    pub fn from_frontier(size: u64, frontier: Vec<TreeHash>) -> Option<Self> {
        (size.count_ones() as usize == frontier.len()).then_some(Self { size, frontier })
    }
}

/// Where the frontier of a tree of `size` leaves has the subtree of `1 << level` leaves with this number, if that is one
/// of its roots.
#[cfg(feature = "journal")]
pub(crate) fn frontier_place(size: u64, level: u32, number: u64) -> Option<usize> {
    let complete = size.checked_shr(level)?;
    (complete & 1 == 1 && complete - 1 == number).then(|| (complete >> 1).count_ones() as usize)
}

/// Hashes digests for tables in memory. A digest is random already, so two multiplications do; the secret
/// keys keep whoever can choose digests from choosing ones that collide.
#[derive(Clone, Copy)]
pub(crate) struct DigestState([u64; 2]);

/// See [`DigestState`].
pub(crate) struct DigestHasher {
    keys: [u64; 2],
    hash: u64,
}

impl Default for DigestState {
    fn default() -> Self {
        Self([0, 1].map(|n: u64| RandomState::new().hash_one(n)))
    }
}

impl BuildHasher for DigestState {
    type Hasher = DigestHasher;

    fn build_hasher(&self) -> DigestHasher {
        DigestHasher { keys: self.0, hash: 0 }
    }
}

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        let word = |at: usize| {
            let mut word = [0; 8];
            let part = bytes.get(at..).unwrap_or_default();
            let len = part.len().min(8);
            word[..len].copy_from_slice(&part[..len]);
            u64::from_le_bytes(word)
        };
        let product = u128::from(word(0) ^ self.keys[0]) * u128::from(word(8) ^ self.keys[1]);
        self.hash ^= product as u64 ^ (product >> 64) as u64;
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.hash
    }
}

impl fmt::Display for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Digest(self.0), f)
    }
}

impl fmt::Debug for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for TreeHash {
    type Err = toka_types::HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<Digest>().map(|digest| Self(digest.0))
    }
}
