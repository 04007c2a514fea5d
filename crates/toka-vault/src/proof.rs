//! Proofs over the log tree: that an event is in a log, and that a log only grew.
//!
//! Both are the proofs of RFC 6962, sections 2.1.1 and 2.1.2. They are made from the hashes of complete, aligned
//! subtrees ([`Store::subtree`]), of which a proof over ten million events takes some fifty, and they are checked
//! with the leaf, the proof and a root alone. A root that somebody signed is a [checkpoint](crate::checkpoint).
//!
//! ```
//! use toka_vault::{LogId, VaultBus, proof};
//! use toka_vault::hash::leaf_hash;
//!
//! let vault = VaultBus::in_memory();
//! for n in 0..5_u32 {
//!     vault.blocking().commit(&n, &[], "count.made", ())?;
//! }
//! let (store, log) = (vault.store(), LogId::main());
//! let header = store.headers(&log, 3, 1)?.remove(0);
//! let included = proof::inclusion(&**store, &log, 3, 5)?;
//! included.verify(&leaf_hash(&header.to_bytes()), &store.head(&log)?.root)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::core::LogId;
use crate::hash::{LogTree, TreeHash, leaf_hash, node_hash};
use crate::store::{Store, StoreError};

/// Most hashes of a proof: a tree of 2⁶³ leaves needs no more, and a longer list is no proof.
pub const MAX_HASHES: usize = 63;
/// Headers that are read at once where a store keeps no hashes.
const HEADERS: u64 = 1024;

/// That an event is the leaf with this number in the tree of this size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof {
    /// The leaf: the event's number.
    pub index: u64,
    /// How many events the tree has.
    pub size: u64,
    /// From the leaf's sibling up to the root's child.
    pub hashes: Vec<TreeHash>,
}

/// That a tree is another one with leaves added at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// How many events the earlier tree has.
    pub old: u64,
    /// How many the later one has.
    pub size: u64,
    /// As in RFC 6962, section 2.1.2.
    pub hashes: Vec<TreeHash>,
}

/// Why there is no proof, or none that holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The tree does not have that leaf.
    #[error("event {index} is not in a tree of {size} events")]
    Index {
        /// The event's number.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// The later tree is smaller than the earlier one.
    #[error("a tree of {size} events cannot continue one of {old}")]
    Sizes {
        /// The earlier size.
        old: u64,
        /// The later size.
        size: u64,
    },
    /// The log is shorter.
    #[error("log '{log}' has {found} events, {size} are asked for")]
    Short {
        /// The log.
        log: LogId,
        /// How many events are asked for.
        size: u64,
        /// How many it has.
        found: u64,
    },
    /// The proof has another number of hashes than trees of these sizes need.
    #[error("a proof of {found} hashes, this one takes {expected}")]
    Length {
        /// How many hashes it takes.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// The hashes lead to another root.
    #[error("the proof leads to the root {found}, not to {expected}")]
    Root {
        /// The root that it has to lead to.
        expected: TreeHash,
        /// The root that it leads to.
        found: TreeHash,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl InclusionProof {
    /// Checks that `leaf` is in the tree with this `root`.
    ///
    /// # Errors
    /// [`ProofError::Index`], [`ProofError::Length`], [`ProofError::Root`].
    pub fn verify(&self, leaf: &TreeHash, root: &TreeHash) -> Result<(), ProofError> {
        let &Self { index, size, ref hashes } = self;
        if index >= size {
            return Err(ProofError::Index { index, size });
        }
        let expected = inclusion_length(index, size);
        if hashes.len() != expected {
            return Err(ProofError::Length { expected, found: hashes.len() });
        }
        let mut hash = *leaf;
        climb(index, size - 1, hashes, |side, sibling| {
            hash = match side {
                Side::Left => node_hash(sibling, &hash),
                Side::Right => node_hash(&hash, sibling),
            };
        });
        same(root, &hash)
    }
}

impl ConsistencyProof {
    /// Checks that the tree with the root `new` begins with all of the tree with the root `old`.
    ///
    /// # Errors
    /// [`ProofError::Sizes`], [`ProofError::Length`], [`ProofError::Root`].
    pub fn verify(&self, old: &TreeHash, new: &TreeHash) -> Result<(), ProofError> {
        if self.old > self.size {
            return Err(ProofError::Sizes { old: self.old, size: self.size });
        }
        let expected = consistency_length(self.old, self.size);
        if self.hashes.len() != expected {
            return Err(ProofError::Length { expected, found: self.hashes.len() });
        }
        if self.old == 0 {
            // Every tree continues the empty one; the old root must be that one's all the same.
            return same(old, &LogTree::new().root());
        }
        if self.old == self.size {
            return same(old, new);
        }
        let mut hashes = self.hashes.iter();
        // Where the old tree is a subtree of the new one, the proof leaves its root out.
        let first = if self.old.is_power_of_two() { Some(old) } else { hashes.next() };
        let Some(&first) = first else { return Err(ProofError::Length { expected, found: 0 }) };
        let level = (self.old - 1).trailing_ones();
        let (mut before, mut after) = (first, first);
        climb((self.old - 1) >> level, (self.size - 1) >> level, hashes, |side, hash| match side {
            // What lies on the left both trees have.
            Side::Left => {
                before = node_hash(hash, &before);
                after = node_hash(hash, &after);
            }
            Side::Right => after = node_hash(&after, hash),
        });
        same(old, &before)?;
        same(new, &after)
    }
}

/// On which side of a path a sibling lies.
#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

/// Goes up from the node `place` of a level of which `last` is the last node, and shows the siblings on the way.
fn climb<'a>(
    mut place: u64,
    mut last: u64,
    siblings: impl IntoIterator<Item = &'a TreeHash>,
    mut show: impl FnMut(Side, &TreeHash),
) {
    for sibling in siblings {
        if place & 1 == 1 || place == last {
            show(Side::Left, sibling);
            // The last node of a level has no sibling as long as it is a left one: it is its own parent.
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            show(Side::Right, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
}

fn same(expected: &TreeHash, found: &TreeHash) -> Result<(), ProofError> {
    match expected == found {
        true => Ok(()),
        false => Err(ProofError::Root { expected: *expected, found: *found }),
    }
}

/// How many hashes the inclusion proof of a leaf has.
fn inclusion_length(index: u64, size: u64) -> usize {
    // Up to where the paths of the leaf and of the last leaf meet every level has a sibling; above, those on the left.
    let meet = u64::BITS - (index ^ (size - 1)).leading_zeros();
    let above = index.checked_shr(meet).unwrap_or(0).count_ones();
    (meet + above) as usize
}

/// How many hashes a consistency proof has.
fn consistency_length(old: u64, size: u64) -> usize {
    if old == 0 || old >= size {
        return 0;
    }
    // The proof is the path of the old tree's last complete subtree, and that subtree itself unless it is all of it.
    let level = old.trailing_zeros();
    let (place, last) = ((old - 1) >> level, (size - 1) >> level);
    inclusion_length(place, last + 1) + usize::from(!old.is_power_of_two())
}

/// The hashes that prove that the tree of the first `size` leaves has the leaf `index`. `node` gives the root of the
/// complete subtree of `1 << level` leaves that begins at leaf `number << level`.
///
/// # Errors
/// Those of `node`, and [`ProofError::Index`].
pub fn prove_inclusion<E: From<ProofError>>(
    index: u64,
    size: u64,
    mut node: impl FnMut(u32, u64) -> Result<TreeHash, E>,
) -> Result<InclusionProof, E> {
    if index >= size {
        return Err(ProofError::Index { index, size }.into());
    }
    let mut hashes = Vec::with_capacity(inclusion_length(index, size));
    let (mut low, mut high) = (0, size);
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            hashes.push(range(middle, high, &mut node)?);
            high = middle;
        } else {
            hashes.push(range(low, middle, &mut node)?);
            low = middle;
        }
    }
    hashes.reverse();
    Ok(InclusionProof { index, size, hashes })
}

/// The hashes that prove that the tree of the first `size` leaves begins with that of the first `old`.
///
/// # Errors
/// Those of `node`, and [`ProofError::Sizes`].
pub fn prove_consistency<E: From<ProofError>>(
    old: u64,
    size: u64,
    mut node: impl FnMut(u32, u64) -> Result<TreeHash, E>,
) -> Result<ConsistencyProof, E> {
    if old > size {
        return Err(ProofError::Sizes { old, size }.into());
    }
    let mut hashes = Vec::new();
    if old > 0 && old < size {
        let (mut low, mut high) = (0, size);
        // True as long as the old tree begins with all that is left of `low`.
        let mut whole = true;
        while old != high {
            let middle = low + split(high - low);
            if old <= middle {
                hashes.push(range(middle, high, &mut node)?);
                high = middle;
            } else {
                hashes.push(range(low, middle, &mut node)?);
                low = middle;
                whole = false;
            }
        }
        if !whole {
            hashes.push(range(low, high, &mut node)?);
        }
        hashes.reverse();
    }
    Ok(ConsistencyProof { old, size, hashes })
}

/// The root of the tree of the first `size` leaves.
///
/// # Errors
/// Those of `node`.
pub fn root_of<E>(size: u64, mut node: impl FnMut(u32, u64) -> Result<TreeHash, E>) -> Result<TreeHash, E> {
    if size == 0 { Ok(LogTree::new().root()) } else { range(0, size, &mut node) }
}

/// The root over the leaves from `low` to before `high`, where `low` is a multiple of the smallest power of two that
/// is not below their number.
fn range<E>(
    low: u64,
    high: u64,
    node: &mut impl FnMut(u32, u64) -> Result<TreeHash, E>,
) -> Result<TreeHash, E> {
    let count = high - low;
    if count.is_power_of_two() {
        let level = count.trailing_zeros();
        return node(level, low >> level);
    }
    let middle = low + split(count);
    Ok(node_hash(&range(low, middle, node)?, &range(middle, high, node)?))
}

/// The largest power of two below `count`, which is at least two.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// Proves that event `index` of `log` is in the tree of the log's first `size` events.
///
/// # Errors
/// [`ProofError::Index`], [`ProofError::Short`], [`ProofError::Store`].
pub fn inclusion(
    store: &(impl Store + ?Sized),
    log: &LogId,
    index: u64,
    size: u64,
) -> Result<InclusionProof, ProofError> {
    prove_inclusion(index, size, nodes(store, log, size)?)
}

/// Proves that the log's first `size` events begin with its first `old`.
///
/// # Errors
/// [`ProofError::Sizes`], [`ProofError::Short`], [`ProofError::Store`].
pub fn consistency(
    store: &(impl Store + ?Sized),
    log: &LogId,
    old: u64,
    size: u64,
) -> Result<ConsistencyProof, ProofError> {
    prove_consistency(old, size, nodes(store, log, size)?)
}

/// The root of the tree of the log's first `size` events.
///
/// # Errors
/// [`ProofError::Short`], [`ProofError::Store`].
pub fn root_at(store: &(impl Store + ?Sized), log: &LogId, size: u64) -> Result<TreeHash, ProofError> {
    root_of(size, nodes(store, log, size)?)
}

/// The nodes of a log that has at least `size` events.
fn nodes<'a>(
    store: &'a (impl Store + ?Sized),
    log: &'a LogId,
    size: u64,
) -> Result<impl FnMut(u32, u64) -> Result<TreeHash, ProofError> + 'a, ProofError> {
    let short = move |found| ProofError::Short { log: log.clone(), size, found };
    let found = store.head(log)?.next_seq;
    if found < size {
        return Err(short(found));
    }
    Ok(move |level, number| store.subtree(log, level, number)?.ok_or_else(|| short(found)))
}

/// [`Store::subtree`] of a store that keeps no hashes: from the headers.
pub(crate) fn subtree_of_headers(
    store: &(impl Store + ?Sized),
    log: &LogId,
    level: u32,
    number: u64,
) -> Result<Option<TreeHash>, StoreError> {
    let Some((first, end)) = leaves_of(level, number) else { return Ok(None) };
    if store.head(log)?.next_seq < end {
        return Ok(None);
    }
    let mut tree = LogTree::new();
    let mut next = first;
    let mut bytes = Vec::new();
    while next < end {
        let headers = store.headers(log, next, (end - next).min(HEADERS) as usize)?;
        if headers.is_empty() {
            return Ok(None);
        }
        for header in &headers {
            bytes.clear();
            header.encode(&mut bytes);
            tree.append(leaf_hash(&bytes));
        }
        next += headers.len() as u64;
    }
    Ok(Some(tree.root()))
}

/// The leaves of a subtree: the first, and the one after the last. `None` if the numbers do not name one.
pub(crate) fn leaves_of(level: u32, number: u64) -> Option<(u64, u64)> {
    let count = 1_u64.checked_shl(level)?;
    let first = number.checked_mul(count)?;
    Some((first, first.checked_add(count)?))
}

/// The complete subtrees of one size from the first on, and all those above them: what a store keeps in memory so
/// that a proof needs no more than the leaves of one of them.
#[cfg(feature = "journal")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Nodes {
    /// The lowest level, then the ones above it.
    levels: Vec<Vec<TreeHash>>,
}

#[cfg(feature = "journal")]
impl Nodes {
    /// The nodes over these subtrees of the lowest level.
    pub(crate) fn joined(lowest: impl IntoIterator<Item = TreeHash>) -> Self {
        let mut nodes = Self::default();
        nodes.extend(lowest);
        nodes
    }

    /// Adds the next subtrees of the lowest level.
    pub(crate) fn extend(&mut self, lowest: impl IntoIterator<Item = TreeHash>) {
        lowest.into_iter().for_each(|root| self.push(root));
    }

    /// How many subtrees of the lowest level there are.
    pub(crate) fn count(&self) -> u64 {
        self.levels.first().map_or(0, Vec::len) as u64
    }

    /// Adds the next subtree of the lowest level.
    pub(crate) fn push(&mut self, hash: TreeHash) {
        let mut hash = hash;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let hashes = &mut self.levels[level];
            hashes.push(hash);
            match hashes[..] {
                [.., left, right] if hashes.len().is_multiple_of(2) => hash = node_hash(&left, &right),
                _ => break,
            }
        }
    }

    /// The subtree with this number, `above` levels above the lowest.
    pub(crate) fn get(&self, above: u32, number: u64) -> Option<TreeHash> {
        self.levels.get(above as usize)?.get(usize::try_from(number).ok()?).copied()
    }

    /// All subtrees of the lowest level.
    pub(crate) fn lowest(&self) -> &[TreeHash] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }

    /// True if these are subtrees of the tree with this frontier: those of its roots that lie at `lowest` or above are
    /// among them.
    pub(crate) fn belong_to(&self, tree: &LogTree, lowest: u32) -> bool {
        let mut end = 0;
        let bits = (0..u64::BITS).rev().filter(|level| tree.size() >> level & 1 == 1);
        bits.zip(tree.frontier()).all(|(level, root)| {
            let number = end >> level;
            end += 1 << level;
            level < lowest || self.get(level - lowest, number) == Some(*root)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u64) -> Vec<TreeHash> {
        (0..count).map(|n| leaf_hash(&n.to_le_bytes())).collect()
    }

    fn root(leaves: &[TreeHash]) -> TreeHash {
        let mut tree = LogTree::new();
        leaves.iter().for_each(|leaf| tree.append(*leaf));
        tree.root()
    }

    fn node_in(leaves: &[TreeHash]) -> impl FnMut(u32, u64) -> Result<TreeHash, ProofError> {
        |level, number| {
            let (first, end) = leaves_of(level, number).expect("a subtree");
            Ok(root(&leaves[first as usize..end as usize]))
        }
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proved_and_nothing_else_is() {
        let all = leaves(40);
        for size in 1..=all.len() as u64 {
            let leaves = &all[..size as usize];
            let tree = root(leaves);
            assert_eq!(root_of(size, node_in(leaves)), Ok(tree));
            for index in 0..size {
                let proof = prove_inclusion(index, size, node_in(leaves)).expect("a proof");
                assert_eq!(proof.hashes.len(), inclusion_length(index, size));
                assert_eq!(proof.verify(&leaves[index as usize], &tree), Ok(()));
                for other in (0..size).filter(|other| *other != index) {
                    assert!(proof.verify(&leaves[other as usize], &tree).is_err(), "{index} {size} {other}");
                    let moved = InclusionProof { index: other, ..proof.clone() };
                    assert!(moved.verify(&leaves[index as usize], &tree).is_err(), "{index} {size} {other}");
                }
                for at in 0..proof.hashes.len() {
                    let mut changed = proof.clone();
                    changed.hashes[at].0[at % 32] ^= 1;
                    assert!(matches!(
                        changed.verify(&leaves[index as usize], &tree),
                        Err(ProofError::Root { .. })
                    ));
                }
                let mut longer = proof.clone();
                longer.hashes.push(tree);
                assert!(matches!(
                    longer.verify(&leaves[index as usize], &tree),
                    Err(ProofError::Length { .. })
                ));
            }
            assert!(prove_inclusion(size, size, node_in(leaves)).is_err());
        }
    }

    #[test]
    fn every_small_tree_continues_every_smaller_one_and_no_other() {
        let all = leaves(40);
        for size in 0..=all.len() as u64 {
            let new = root(&all[..size as usize]);
            for old in 0..=size {
                let before = root(&all[..old as usize]);
                let proof = prove_consistency(old, size, node_in(&all)).expect("a proof");
                assert_eq!(proof.hashes.len(), consistency_length(old, size), "{old} {size}");
                assert_eq!(proof.verify(&before, &new), Ok(()), "{old} {size}");
                let other = leaf_hash(b"other");
                assert!(proof.verify(&other, &new).is_err(), "{old} {size}");
                assert!(old == 0 || proof.verify(&before, &other).is_err(), "{old} {size}");
                for at in 0..proof.hashes.len() {
                    let mut changed = proof.clone();
                    changed.hashes[at].0[at % 32] ^= 1;
                    assert!(changed.verify(&before, &new).is_err(), "{old} {size} {at}");
                    changed.hashes.remove(at);
                    assert!(matches!(changed.verify(&before, &new), Err(ProofError::Length { .. })));
                }
            }
        }
        let backwards = ConsistencyProof { old: 3, size: 2, hashes: Vec::new() };
        let root = LogTree::new().root();
        assert_eq!(backwards.verify(&root, &root), Err(ProofError::Sizes { old: 3, size: 2 }));
    }

    #[test]
    fn the_largest_numbers_are_no_reason_to_panic() {
        for (index, size) in [(0, u64::MAX), (u64::MAX - 1, u64::MAX), (1 << 63, u64::MAX), (5, 1 << 63)] {
            let length = inclusion_length(index, size);
            let proof = InclusionProof { index, size, hashes: leaves(length as u64) };
            assert!(matches!(proof.verify(&leaf_hash(b""), &leaf_hash(b"")), Err(ProofError::Root { .. })));
        }
        for (old, size) in [(1, u64::MAX), (1 << 63, u64::MAX), (u64::MAX - 1, u64::MAX)] {
            let length = consistency_length(old, size);
            let proof = ConsistencyProof { old, size, hashes: leaves(length as u64) };
            assert!(matches!(proof.verify(&leaf_hash(b""), &leaf_hash(b"")), Err(ProofError::Root { .. })));
        }
        assert_eq!(leaves_of(64, 0), None);
        assert_eq!(leaves_of(63, 1), None);
        assert_eq!(leaves_of(1, u64::MAX), None);
    }

    #[cfg(feature = "journal")]
    #[test]
    fn cached_nodes_are_those_of_the_tree() {
        let all = leaves(37);
        let mut tree = LogTree::new();
        let mut nodes = Nodes::default();
        for (at, leaf) in all.iter().enumerate() {
            assert!(nodes.belong_to(&tree, 2));
            tree.append(*leaf);
            if (at + 1) % 4 == 0 {
                assert!(!nodes.belong_to(&tree, 2), "one is missing");
                nodes.push(root(&all[at - 3..=at]));
            }
        }
        assert_eq!((nodes.count(), nodes.get(1, 3)), (9, Some(root(&all[24..32]))));
        assert_eq!(nodes.get(3, 1), None);
        let mut other = Nodes::default();
        nodes.lowest().iter().rev().for_each(|hash| other.push(*hash));
        assert!(!other.belong_to(&tree, 2));
    }
}
