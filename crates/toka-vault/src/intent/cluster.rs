//! Online clustering of directions in integers.
//!
//! Three steps, each deterministic in the order of the log:
//!
//! 1. *Online*: each vector joins the nearest of a bounded number of small groups, or founds one. When
//!    the bound is reached, the groups that are closest merge and the bar for joining falls, so that
//!    the groups adapt to how widely the vault is spread.
//! 2. *Merge*: the groups' centroids form a graph of nearest neighbours, and its communities (by
//!    modularity) become the clusters. That settles their number without a threshold on similarity,
//!    which differs from vault to vault. Neighbours are looked for by several numbers of leading
//!    components and all count: how many carry subjects is not known, and those who are neighbours
//!    whichever number is right outweigh those who are so by chance.
//! 3. *Split and move*: vectors go to the centroid they are nearest to, and clusters too small to mean
//!    something dissolve into their neighbours.

use std::collections::HashMap;

use super::fixed::{ONE, cosine, dot_i8, quantise};

/// Most small groups. With 768 components of 8 bits their centroids take less than 1 MB.
pub(crate) const MAX_GROUPS: usize = 1024;
/// Cosine from which a vector joins a group at first: near-duplicates.
const FIRST_BAR: i32 = ONE - ONE / 500;
/// Lowest bar; two groups below it have little in common.
const LAST_BAR: i32 = ONE / 4;
/// How far the bar falls when the groups are too many.
const BAR_STEP: i32 = ONE / 50;
/// Passes over all vectors after merging; assignments have settled by then.
const PASSES: usize = 3;
/// Levels of the community search; each at least halves the graph in practice.
const MAX_LEVELS: usize = 12;
/// Rounds of moves at one level.
const MAX_ROUNDS: usize = 24;

/// Components that clusters are told apart by. The leading ones carry the subjects, the later ones the
/// wording, which splits subjects apart.
const MAX_COMPONENTS: usize = 40;
/// Fewest components.
const MIN_COMPONENTS: usize = 8;
/// Vectors for each component: few texts do not determine many.
const VECTORS_PER_COMPONENT: usize = 8;
/// Leading components by which neighbours are looked for, in quarters of all that are used.
const VIEWS: [usize; 3] = [2, 3, 4];
/// Neighbours of a group in each view of the graph. More of them join subjects that are merely near.
const NEIGHBOURS: usize = 16;
/// Weight of the expected links in modularity, in 1/256.
const RESOLUTION: i64 = 256;
/// Below so many groups the graph is too thin to trust its gaps: more neighbours and a lower resolution make
/// up for it, growing over the next [`FEW_RANGE`] groups.
const FEW: usize = 400;
/// See [`FEW`].
const FEW_RANGE: usize = 300;
/// Neighbours added for the fewest groups.
const FEW_NEIGHBOURS: usize = 10;
/// Resolution taken off for the fewest groups.
const FEW_RESOLUTION: i64 = 60;
/// A cluster with less than this share of all vectors is a remnant of another.
const SMALLEST_SHARE: usize = 60;
/// A cluster with so many members stands however large the vault is.
const SMALLEST: usize = 25;

/// The clusters of a set of vectors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Clusters {
    pub(crate) dimension: usize,
    /// `dimension` components a cluster.
    pub(crate) centroids: Vec<i8>,
    /// For each vector its cluster and its similarity to the centroid; `None` for the zero vector.
    pub(crate) members: Vec<Option<(u32, i32)>>,
}

impl Clusters {
    /// The clusters that `groups` makes of the vectors, `dimension` components each, numbered by their first
    /// members. The zero vector belongs to none.
    pub(crate) fn of(vectors: &[i8], dimension: usize, groups: &[Option<u32>]) -> Self {
        if dimension == 0 {
            return Self::default();
        }
        let points: Vec<&[i8]> = vectors.chunks_exact(dimension).collect();
        let mut numbers = HashMap::new();
        let mut centroids = Groups::new(dimension);
        let mut members = Vec::with_capacity(points.len());
        for (point, group) in points.iter().zip(groups) {
            let group = group.filter(|_| dot_i8(point, point) > 0);
            members.push(group.map(|group| {
                let number = *numbers.entry(group).or_insert(centroids.len());
                if number == centroids.len() {
                    centroids.found(&vec![0; dimension]);
                }
                centroids.add(number, point);
                number
            }));
        }
        centroids.refresh();
        let placed = members.iter().zip(&points).map(|(group, point)| {
            group.map(|group| {
                let centroid = centroids.centroid(group);
                let square = i64::from(dot_i8(point, point));
                let similarity = cosine(dot_i8(point, centroid).into(), square, centroids.squares[group]);
                (group as u32, similarity)
            })
        });
        Self { dimension, members: placed.collect(), centroids: centroids.quantised }
    }

    /// Number of clusters.
    pub(crate) fn len(&self) -> usize {
        self.centroids.len().checked_div(self.dimension).unwrap_or(0)
    }

    /// The cluster nearest to a vector by its leading components, and the similarity.
    pub(crate) fn nearest(&self, vector: &[i8]) -> Option<(usize, i32)> {
        let point = vector.get(..self.dimension)?;
        let square = i64::from(dot_i8(point, point));
        if square == 0 {
            return None;
        }
        let similar = |centroid: &[i8]| {
            let dot = i64::from(dot_i8(point, centroid));
            cosine(dot, square, i64::from(dot_i8(centroid, centroid)))
        };
        self.centroids
            .chunks_exact(self.dimension.max(1))
            .map(similar)
            .enumerate()
            .max_by_key(|&(index, similarity)| (similarity, std::cmp::Reverse(index)))
    }
}

/// Clusters `vectors`, `stride` components each, by their leading components.
pub(crate) fn cluster(vectors: &[i8], stride: usize) -> Clusters {
    if stride == 0 {
        return Clusters::default();
    }
    let count = vectors.len() / stride;
    let dimension = stride.min((count / VECTORS_PER_COMPONENT).clamp(MIN_COMPONENTS, MAX_COMPONENTS));
    let points: Vec<&[i8]> = vectors.chunks_exact(stride).map(|vector| &vector[..dimension]).collect();
    let mut groups = Groups::new(dimension);
    for point in &points {
        groups.observe(point);
    }
    let communities = groups.communities();
    let mut centroids = Groups::new(dimension);
    for (group, &community) in communities.iter().enumerate() {
        while centroids.len() <= community {
            centroids.found(&vec![0; dimension]);
        }
        centroids.absorb(community, &groups, group);
    }
    centroids.refresh();
    let smallest = (points.len() / SMALLEST_SHARE).clamp(2, SMALLEST);
    for _ in 0..PASSES {
        centroids.recount(&points);
    }
    loop {
        let counts = &centroids.counts;
        let doomed = (0..counts.len())
            .filter(|&index| (counts[index] as usize) < smallest)
            .min_by_key(|&index| (counts[index], index));
        let Some(doomed) = doomed.filter(|_| counts.len() > 1) else {
            break;
        };
        centroids.dissolve(doomed);
        centroids.recount(&points);
    }
    let members = points.iter().map(|point| centroids.nearest(point));
    Clusters {
        dimension,
        members: members.map(|found| found.map(|(index, similarity)| (index as u32, similarity))).collect(),
        centroids: centroids.quantised.clone(),
    }
}

/// Groups of vectors with their sums and centroids.
struct Groups {
    dimension: usize,
    /// Sums of members, each brought to the same length first.
    sums: Vec<i64>,
    counts: Vec<u32>,
    quantised: Vec<i8>,
    squares: Vec<i64>,
    bar: i32,
}

impl Groups {
    fn new(dimension: usize) -> Self {
        Self {
            dimension,
            sums: Vec::new(),
            counts: Vec::new(),
            quantised: Vec::new(),
            squares: Vec::new(),
            bar: FIRST_BAR,
        }
    }

    fn len(&self) -> usize {
        self.counts.len()
    }

    fn centroid(&self, group: usize) -> &[i8] {
        &self.quantised[group * self.dimension..][..self.dimension]
    }

    /// The group whose centroid is nearest, the older one if two are; `None` for the zero vector.
    fn nearest(&self, point: &[i8]) -> Option<(usize, i32)> {
        let square = i64::from(dot_i8(point, point));
        if square == 0 {
            return None;
        }
        let mut best: Option<(usize, i64, i64)> = None;
        for (group, centroid) in self.quantised.chunks_exact(self.dimension).enumerate() {
            let dot = i64::from(dot_i8(point, centroid));
            let length = self.squares[group];
            if length == 0 {
                continue;
            }
            // Compares dot/√length without dividing: signed squares, crosswise.
            let better = best.is_none_or(|(_, most, of)| {
                i128::from(dot * dot.abs()) * i128::from(of)
                    > i128::from(most * most.abs()) * i128::from(length)
            });
            if better {
                best = Some((group, dot, length));
            }
        }
        best.map(|(group, dot, length)| (group, cosine(dot, square, length)))
    }

    fn observe(&mut self, point: &[i8]) {
        match self.nearest(point) {
            Some((group, similarity)) if similarity >= self.bar => self.join(group, point),
            _ if dot_i8(point, point) > 0 => {
                if self.len() >= MAX_GROUPS {
                    self.condense();
                }
                self.found(point);
            }
            _ => {}
        }
    }

    fn found(&mut self, point: &[i8]) {
        self.sums.resize(self.sums.len() + self.dimension, 0);
        self.quantised.resize(self.sums.len(), 0);
        self.counts.push(0);
        self.squares.push(0);
        if point.iter().any(|component| *component != 0) {
            self.join(self.len() - 1, point);
        }
    }

    fn join(&mut self, group: usize, point: &[i8]) {
        self.add(group, point);
        self.renew(group);
    }

    /// Adds a member; the centroid stays where it is until it is renewed.
    fn add(&mut self, group: usize, point: &[i8]) {
        add(&mut self.sums[group * self.dimension..][..self.dimension], point);
        self.counts[group] += 1;
    }

    fn renew(&mut self, group: usize) {
        let range = group * self.dimension..(group + 1) * self.dimension;
        quantise(&self.sums[range.clone()], &mut self.quantised[range.clone()]);
        let centroid = &self.quantised[range];
        self.squares[group] = i64::from(dot_i8(centroid, centroid));
    }

    fn refresh(&mut self) {
        for group in 0..self.len() {
            self.renew(group);
        }
    }

    fn absorb(&mut self, into: usize, other: &Self, group: usize) {
        let source = &other.sums[group * other.dimension..][..other.dimension];
        for (sum, value) in self.sums[into * self.dimension..].iter_mut().zip(source) {
            *sum += value;
        }
        self.counts[into] += other.counts[group];
    }

    /// Lowers the bar until a quarter of the groups is free again, merging those that are then close.
    fn condense(&mut self) {
        while self.len() > MAX_GROUPS / 4 * 3 && self.bar > LAST_BAR {
            self.bar -= BAR_STEP;
            self.merge_close();
        }
        if self.len() >= MAX_GROUPS {
            // Everything is far from everything; the two newest share a place.
            let last = self.len() - 1;
            self.fold(last - 1, last);
        }
    }

    fn merge_close(&mut self) {
        let mut group = 0;
        while group < self.len() {
            let mut other = group + 1;
            while other < self.len() {
                let dot = i64::from(dot_i8(self.centroid(group), self.centroid(other)));
                if dot > 0 && cosine(dot, self.squares[group], self.squares[other]) >= self.bar {
                    self.fold(group, other);
                } else {
                    other += 1;
                }
            }
            group += 1;
        }
    }

    /// Adds the later group to the earlier one and removes it.
    fn fold(&mut self, into: usize, from: usize) {
        for index in 0..self.dimension {
            self.sums[into * self.dimension + index] += self.sums[from * self.dimension + index];
        }
        self.counts[into] += self.counts[from];
        self.renew(into);
        self.dissolve(from);
    }

    fn dissolve(&mut self, group: usize) {
        let range = group * self.dimension..(group + 1) * self.dimension;
        self.sums.drain(range.clone());
        self.quantised.drain(range);
        self.counts.remove(group);
        self.squares.remove(group);
    }

    /// Moves every vector to the centroid it is nearest to, then the centroids to their vectors.
    fn recount(&mut self, points: &[&[i8]]) {
        let members: Vec<_> = points.iter().map(|point| self.nearest(point)).collect();
        self.sums.fill(0);
        self.counts.fill(0);
        for (point, found) in points.iter().zip(members) {
            if let Some((group, _)) = found {
                self.add(group, point);
            }
        }
        self.refresh();
    }

    /// For each group the number of its community; communities are numbered by their first group.
    fn communities(&self) -> Vec<usize> {
        let count = self.len();
        let few = FEW.saturating_sub(count).min(FEW_RANGE);
        let resolution = RESOLUTION - FEW_RESOLUTION * few as i64 / FEW_RANGE as i64;
        let neighbours = (NEIGHBOURS + FEW_NEIGHBOURS * few / FEW_RANGE).min(count / 4).max(1);
        let mut edges: Vec<Vec<(usize, i64)>> = vec![Vec::new(); count];
        for view in VIEWS {
            self.link((self.dimension * view / 4).max(1), neighbours, &mut edges);
        }
        edges.iter_mut().for_each(sum_up);
        Graph { edges }.communities(resolution)
    }

    /// Links each group with its nearest neighbours by so many leading components.
    fn link(&self, components: usize, neighbours: usize, edges: &mut [Vec<(usize, i64)>]) {
        let views: Vec<&[i8]> =
            self.quantised.chunks_exact(self.dimension).map(|centroid| &centroid[..components]).collect();
        let squares: Vec<i64> = views.iter().map(|view| i64::from(dot_i8(view, view))).collect();
        let mut nearest: Vec<(i32, usize)> = Vec::new();
        for (group, own) in views.iter().enumerate() {
            nearest.clear();
            for (other, view) in views.iter().enumerate() {
                let dot = i64::from(dot_i8(own, view));
                if other != group && dot > 0 {
                    nearest.push((-cosine(dot, squares[group], squares[other]), other));
                }
            }
            nearest.sort_unstable();
            for &(similarity, other) in nearest.iter().take(neighbours) {
                // What two groups share by few components counts as much as these weigh in both: a group
                // whose subject lies in the others is not tied to strangers by what is noise there.
                let weights = i128::from(squares[group]) * i128::from(squares[other]);
                let lengths = i128::from(self.squares[group]) * i128::from(self.squares[other]);
                let share = ((weights << 16) / lengths.max(1)).isqrt() as i64;
                let strength = ((i64::from(-similarity) * share) >> 8).max(1);
                // An edge counts from both ends if both see each other: twice as strong.
                edges[group].push((other, strength));
                edges[other].push((group, strength));
            }
        }
    }
}

/// Brings the edges to the same node into one.
fn sum_up(edges: &mut Vec<(usize, i64)>) {
    edges.sort_unstable();
    edges.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
}

/// Adds a vector at a common length, so that a member counts by direction alone.
fn add(sum: &mut [i64], point: &[i8]) {
    let length = i64::from(dot_i8(point, point)).isqrt().max(1);
    for (total, component) in sum.iter_mut().zip(point) {
        *total += (i64::from(*component) << 16) / length;
    }
}

/// An undirected weighted graph; an edge stands at both of its ends, a loop at its node once with double
/// weight.
struct Graph {
    edges: Vec<Vec<(usize, i64)>>,
}

impl Graph {
    /// Communities by modularity (Louvain's method), numbered by their first node.
    fn communities(mut self, resolution: i64) -> Vec<usize> {
        let mut community: Vec<usize> = (0..self.edges.len()).collect();
        for _ in 0..MAX_LEVELS {
            let level = self.move_nodes(resolution);
            let count = level.iter().copied().max().map_or(0, |most| most + 1);
            for place in &mut community {
                *place = level[*place];
            }
            if count == self.edges.len() {
                break;
            }
            self = self.condensed(&level, count);
        }
        community
    }

    fn move_nodes(&self, resolution: i64) -> Vec<usize> {
        let count = self.edges.len();
        let degrees: Vec<i64> =
            self.edges.iter().map(|edges| edges.iter().map(|(_, weight)| weight).sum()).collect();
        let total: i64 = degrees.iter().sum::<i64>().max(1);
        let mut community: Vec<usize> = (0..count).collect();
        let mut weights = degrees.clone();
        let mut links = vec![0i64; count];
        let mut touched = Vec::new();
        for _ in 0..MAX_ROUNDS {
            let mut moved = false;
            for node in 0..count {
                let home = community[node];
                weights[home] -= degrees[node];
                touched.clear();
                touched.push(home);
                for &(other, weight) in &self.edges[node] {
                    if other != node {
                        let place = community[other];
                        if links[place] == 0 && place != home {
                            touched.push(place);
                        }
                        links[place] += weight;
                    }
                }
                let gain = |place: usize| {
                    i128::from(links[place]) * i128::from(total) * 256
                        - i128::from(resolution) * i128::from(degrees[node]) * i128::from(weights[place])
                };
                let mut best = (gain(home), home);
                for &place in &touched[1..] {
                    let gained = gain(place);
                    if gained > best.0 || (gained == best.0 && best.1 != home && place < best.1) {
                        best = (gained, place);
                    }
                }
                for &place in &touched {
                    links[place] = 0;
                }
                weights[best.1] += degrees[node];
                if best.1 != home {
                    community[node] = best.1;
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        renumbered(&community)
    }

    fn condensed(&self, community: &[usize], count: usize) -> Self {
        let mut edges: Vec<Vec<(usize, i64)>> = vec![Vec::new(); count];
        for (node, own) in self.edges.iter().enumerate() {
            for &(other, weight) in own {
                edges[community[node]].push((community[other], weight));
            }
        }
        edges.iter_mut().for_each(sum_up);
        Self { edges }
    }
}

fn renumbered(community: &[usize]) -> Vec<usize> {
    let mut numbers = vec![usize::MAX; community.len()];
    let mut next = 0;
    community
        .iter()
        .map(|&place| {
            if numbers[place] == usize::MAX {
                numbers[place] = next;
                next += 1;
            }
            numbers[place]
        })
        .collect()
}
