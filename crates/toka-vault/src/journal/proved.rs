//! Nodes of a log tree, each proved by the tree's frontier before anybody gets it, from as few saved hashes as that
//! takes: what a proof needs lies on one path, and a process that makes one proof does not join all that was saved.
//!
//! From the frontier downwards both children of each node on the path are looked at, and whatever they are said to be,
//! they are right if they lead to their parent. Near the bottom a whole subtree is joined at once, and kept.

use std::collections::HashMap;

use crate::hash::{LogTree, TreeHash, frontier_place, node_hash};
use crate::proof::Nodes;

/// Where nodes come from, right or wrong.
pub(crate) trait Said {
    /// The roots of `count` subtrees of the lowest level from number `first` on.
    fn lowest(&self, first: u64, count: u64) -> Option<Vec<TreeHash>>;
    /// A node above, if it is known without joining.
    fn above(&self, level: u32, number: u64) -> Option<TreeHash>;
}

/// What was proved of one log. It stays right as the log grows.
pub(crate) struct Proved {
    shape: Shape,
    /// Nodes by level and number, from the level of parts on: two for each part at most.
    upper: HashMap<(u32, u64), TreeHash>,
    /// Subtrees that were joined as a whole, by level and number.
    parts: HashMap<(u32, u64), Nodes>,
}

/// Levels, and how much is kept.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// The lowest level that is asked for.
    pub(crate) lowest: u32,
    /// The level of a subtree that is joined as a whole.
    pub(crate) part: u32,
    /// So many of them are kept.
    pub(crate) kept: usize,
}

/// A subtree of the frontier.
#[derive(Clone, Copy)]
struct Top {
    level: u32,
    root: TreeHash,
}

impl Proved {
    pub(crate) fn new(shape: Shape) -> Self {
        Self { shape, upper: HashMap::new(), parts: HashMap::new() }
    }

    /// The root of the subtree of `1 << level` leaves with this number, which has to be one of `tree`, at the lowest
    /// level or above; `None` if what is said does not lead to the tree's frontier, or is not enough.
    pub(crate) fn node(
        &mut self,
        tree: &LogTree,
        said: &impl Said,
        level: u32,
        number: u64,
    ) -> Option<TreeHash> {
        let top = top(tree, level, number)?;
        let Shape { lowest, part, kept } = self.shape;
        let part = part.min(top.level);
        if level >= part {
            return self.upper(top, said, level, number);
        }
        let at = number >> (part - level);
        if !self.parts.contains_key(&(part, at)) {
            let root = self.upper(top, said, part, at)?;
            let nodes = Nodes::joined(said.lowest(at << (part - lowest), 1 << (part - lowest))?);
            if nodes.get(part - lowest, 0) != Some(root) {
                return None;
            }
            if self.parts.len() >= kept {
                self.parts.clear();
            }
            self.parts.insert((part, at), nodes);
        }
        self.parts[&(part, at)].get(level - lowest, number - (at << (part - level)))
    }

    fn upper(&mut self, top: Top, said: &impl Said, level: u32, number: u64) -> Option<TreeHash> {
        if level == top.level {
            return Some(top.root);
        }
        if let Some(proved) = self.upper.get(&(level, number)) {
            return Some(*proved);
        }
        let parent = self.upper(top, said, level + 1, number >> 1)?;
        let children = [number & !1, number | 1];
        let [left, right] = children.map(|number| self.said(said, level, number));
        let (left, right) = (left?, right?);
        if node_hash(&left, &right) != parent {
            return None;
        }
        self.upper.extend([((level, children[0]), left), ((level, children[1]), right)]);
        Some(if number & 1 == 0 { left } else { right })
    }

    /// A node as it is said to be. Nothing of it is proved.
    fn said(&self, said: &impl Said, level: u32, number: u64) -> Option<TreeHash> {
        if let Some(known) = self.upper.get(&(level, number)).copied().or_else(|| said.above(level, number)) {
            return Some(known);
        }
        let Shape { lowest, part, .. } = self.shape;
        if level > part {
            let [left, right] = [0, 1].map(|side| self.said(said, level - 1, 2 * number + side));
            return Some(node_hash(&left?, &right?));
        }
        let above = level - lowest;
        Nodes::joined(said.lowest(number << above, 1 << above)?).get(above, 0)
    }
}

/// The subtree of the tree's frontier in which another one lies.
fn top(tree: &LogTree, level: u32, number: u64) -> Option<Top> {
    let first = number.checked_mul(1_u64.checked_shl(level)?).filter(|first| *first < tree.size())?;
    // The highest bit in which they differ is one that the size has.
    let top = (tree.size() ^ first).ilog2();
    let place = frontier_place(tree.size(), top, first >> top)?;
    // One that is not within it is not complete.
    (level <= top).then_some(Top { level: top, root: *tree.frontier().get(place)? })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::hash::leaf_hash;

    const SHAPE: Shape = Shape { lowest: 1, part: 3, kept: 3 };

    /// All nodes of a tree, of which some may be changed, and how many hashes were asked for.
    struct Tree {
        /// By level: complete subtrees.
        levels: Vec<Vec<TreeHash>>,
        /// Sizes of which the frontiers are known.
        known: Vec<u64>,
        asked: Cell<u64>,
    }

    impl Tree {
        fn of(size: u64, known: &[u64]) -> Self {
            let mut levels = vec![(0..size).map(|n| leaf_hash(&n.to_le_bytes())).collect::<Vec<_>>()];
            while let Some(below) = levels.last().filter(|below| below.len() > 1) {
                let joined = below.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right));
                levels.push(joined.collect());
            }
            Self { levels, known: known.to_vec(), asked: Cell::new(0) }
        }

        fn log(&self) -> LogTree {
            let mut tree = LogTree::new();
            self.levels[0].iter().for_each(|leaf| tree.append(*leaf));
            tree
        }
    }

    impl Said for Tree {
        fn lowest(&self, first: u64, count: u64) -> Option<Vec<TreeHash>> {
            self.asked.set(self.asked.get() + count);
            let lowest = &self.levels[SHAPE.lowest as usize];
            Some(lowest.get(first as usize..(first + count) as usize)?.to_vec())
        }

        fn above(&self, level: u32, number: u64) -> Option<TreeHash> {
            let known = self.known.iter().any(|size| frontier_place(*size, level, number).is_some());
            known.then(|| self.levels[level as usize][number as usize])
        }
    }

    /// Every complete subtree of the tree.
    fn nodes(tree: &Tree) -> impl Iterator<Item = (u32, u64, TreeHash)> {
        let levels = (0..).zip(&tree.levels).skip(SHAPE.lowest as usize);
        levels.flat_map(|(level, nodes)| (0..).zip(nodes).map(move |(number, node)| (level, number, *node)))
    }

    #[test]
    fn every_node_of_a_tree_is_proved_and_no_other() {
        for size in 0..200 {
            let tree = Tree::of(size, &[7, 36, 64, 100, 150]);
            let log = tree.log();
            let mut kept = Proved::new(SHAPE);
            for (level, number, node) in nodes(&tree) {
                let mut fresh = Proved::new(SHAPE);
                assert_eq!(fresh.node(&log, &tree, level, number), Some(node), "{size}: {level} {number}");
                assert_eq!(kept.node(&log, &tree, level, number), Some(node), "{size}: {level} {number}");
                assert!(kept.parts.len() <= SHAPE.kept);
            }
            for (level, number) in [(1, size / 2), (3, size / 8), (63, 0), (64, 0), (1, u64::MAX)] {
                assert_eq!(kept.node(&log, &tree, level, number), None, "{size}: {level} {number}");
            }
        }
    }

    #[test]
    fn what_was_proved_stays_right_as_the_log_grows() {
        let mut kept = Proved::new(SHAPE);
        for size in 2..200 {
            let tree = Tree::of(size, &[]);
            for (level, number, node) in nodes(&tree).filter(|(_, number, _)| (number ^ size) % 3 == 0) {
                assert_eq!(kept.node(&tree.log(), &tree, level, number), Some(node), "{size}");
            }
        }
    }

    #[test]
    fn a_changed_hash_is_never_believed() {
        let size = 100;
        let right = Tree::of(size, &[40, 64, 90]);
        let log = right.log();
        for (level, number, _) in nodes(&right) {
            let mut wrong = Tree::of(size, &[40, 64, 90]);
            wrong.levels[level as usize][number as usize].0[5] ^= 1;
            let mut kept = Proved::new(SHAPE);
            let mut refused = 0;
            for (level, number, node) in nodes(&right) {
                match kept.node(&log, &wrong, level, number) {
                    Some(found) => assert_eq!(found, node),
                    None => refused += 1,
                }
            }
            let used = level == SHAPE.lowest || wrong.above(level, number).is_some();
            let in_frontier = frontier_place(size, level, number).is_some();
            assert_eq!(refused > 0, used && !(in_frontier && level > SHAPE.part), "{level} {number}");
        }
    }

    #[test]
    fn one_path_takes_little_of_a_large_tree() {
        let size = 1 << 14;
        let known: Vec<u64> = (0..size).step_by(11).collect();
        let tree = Tree::of(size, &known);
        let mut kept = Proved::new(SHAPE);
        for level in (SHAPE.lowest..14).rev() {
            let number = ((size / 3) >> level) ^ 1;
            let node = tree.levels[level as usize][number as usize];
            assert_eq!(kept.node(&tree.log(), &tree, level, number), Some(node));
        }
        assert!(tree.asked.get() < 200, "{} of {} hashes were read", tree.asked.get(), size >> SHAPE.lowest);
    }
}
