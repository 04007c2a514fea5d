//! Clusters that follow a stream of vectors, in bounded memory.
//!
//! Each vector joins the nearest cluster if it is near enough, or founds one. Clusters adapt: a centroid moves
//! towards those that join, by less the more have joined, but never by less than [`SLOWEST`], so that what was
//! long ago fades. One that scatters splits: vectors farther from it than its members are on average
//! found clusters of their own. When there is no room for another, the lightest eighth goes:
//! clusters that nobody has joined for long are dropped, the others merge into their nearest. All of it in
//! integers and in the order of the stream: the same vectors give the same clusters, in one go or with
//! restarts in between.

use std::path::Path;

use super::blockfile::{self, BlockFile, Format, Input, put};
use super::centroids::Centroids;
use super::fixed::{Mix, ONE, quantise};
use super::{Position, ProjectionError, ProjectionKey};
use crate::bus::vector::{VECTOR_KIND, VectorContent};
use crate::core::{Event, decode};
use crate::store::StoreError;

/// Clusters kept unless more or less are asked for: 768 components each are less than 1 MB.
pub const DEFAULT_LIMIT: usize = 1000;
/// Cosine from which a vector joins.
const BAR: i32 = ONE / 2;
/// One share of this many of a centroid is at least what joins last.
const SLOWEST: u64 = 64;
/// Members from which a cluster's scatter means something.
const SETTLED: u64 = 32;
/// A settled cluster whose members are on average less similar to it than this splits.
const SCATTERED: i32 = ONE / 100 * 62;
/// Vectors after which what a cluster has weighs half, for each cluster that may be kept: a cluster that many
/// join stays, one that was joined a few times fades.
const HALF_LIFE_PER_CLUSTER: u64 = 16;
/// One of so many clusters goes when there is no room.
const SHARE_THAT_GOES: usize = 8;
/// What a member weighs when it joins; halved, it leaves nothing after 16 half-lives.
const MEMBER_WEIGHT: u64 = 1 << 16;

/// Clusters of a stream of vectors of one dimension, at most a given number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Online {
    limit: usize,
    next: u32,
    seen: u64,
    centroids: Centroids,
    clusters: Vec<Cluster>,
}

/// One cluster of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster {
    /// Its number, given once: a cluster that goes does not hand its number on.
    pub id: u32,
    /// Vectors that joined it, and those of the clusters that merged into it.
    pub members: u64,
    /// Sequence number of the first vector.
    pub first: u64,
    /// Sequence number of the latest vector.
    pub last: u64,
    /// How similar its latest members were to it on average, in units of 1 / [`SIMILARITY_ONE`](super::SIMILARITY_ONE).
    pub cohesion: i32,
    /// Vectors that had been seen when `weight` was true.
    weighed_at: u64,
    weight: u64,
    /// Squared length to which members are brought, that of the first.
    square: u32,
}

/// What became of a vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The cluster that it belongs to.
    pub cluster: u32,
    /// Its similarity to the centre as it was before it joined.
    pub similarity: i32,
    /// Whether the vector founded the cluster.
    pub founded: bool,
    /// Clusters that had to go for it, each with the one that it merged into; `None` if it had faded.
    pub gone: Vec<(u32, Option<u32>)>,
}

impl Online {
    /// No clusters yet; at most `limit`, at least one.
    #[must_use]
    pub fn new(dimension: usize, limit: usize) -> Self {
        let limit = limit.max(1);
        Self { limit, next: 0, seen: 0, centroids: Centroids::new(dimension), clusters: Vec::new() }
    }

    /// The clusters, the oldest first.
    #[must_use]
    pub fn clusters(&self) -> &[Cluster] {
        &self.clusters
    }

    /// The centre of a cluster; `None` if there is none of this number.
    #[must_use]
    pub fn centre(&self, id: u32) -> Option<&[i8]> {
        let index = self.clusters.binary_search_by_key(&id, |cluster| cluster.id).ok()?;
        Some(self.centroids.get(index))
    }

    /// The cluster that a vector comes nearest to, with the similarity; nothing is changed.
    #[must_use]
    pub fn assign(&self, vector: &[i8]) -> Option<(u32, i32)> {
        let (index, similarity) = self.centroids.nearest(vector)?;
        Some((self.clusters[index].id, similarity))
    }

    /// Takes in the next vector, that of the event with number `seq`. `None` for the zero vector, which is
    /// about nothing, and for one of another dimension.
    pub fn observe(&mut self, seq: u64, vector: &[i8]) -> Option<Joined> {
        let square = square(vector);
        if square == 0 || vector.len() != self.centroids.dimension() {
            return None;
        }
        self.seen += 1;
        let nearest = self.centroids.nearest(vector);
        if let Some((index, similarity)) =
            nearest.filter(|&(index, similarity)| self.admits(index, similarity))
        {
            self.join(index, seq, vector, similarity);
            let cluster = self.clusters[index].id;
            return Some(Joined { cluster, similarity, founded: false, gone: Vec::new() });
        }
        let gone = if self.clusters.len() < self.limit { Vec::new() } else { self.make_room() };
        let cluster = Cluster {
            id: self.next,
            members: 1,
            first: seq,
            last: seq,
            cohesion: ONE,
            weighed_at: self.seen,
            weight: MEMBER_WEIGHT,
            square,
        };
        self.next += 1;
        self.centroids.push(vector);
        self.clusters.push(cluster);
        Some(Joined { cluster: cluster.id, similarity: ONE, founded: true, gone })
    }

    /// Takes in the vector of an event of the kind `vector.recorded`; `None` for any other event.
    ///
    /// # Errors
    /// If the event's content is gone or is no vector.
    pub fn follow(&mut self, event: &Event) -> Result<Option<Joined>, StoreError> {
        if event.header.kind != VECTOR_KIND {
            return Ok(None);
        }
        let values = decode::<VectorContent>(event)?.values;
        let (pairs, _) = values.as_chunks::<2>();
        let values: Vec<i64> = pairs.iter().map(|&pair| i16::from_le_bytes(pair).into()).collect();
        let mut vector = vec![0; values.len()];
        quantise(&values, &mut vector);
        Ok(self.observe(event.seq(), &vector))
    }

    /// Saves the clusters; durable when it returns. What was saved before is replaced.
    ///
    /// # Errors
    /// [`ProjectionError::Io`] if the directory cannot be written; what was saved before is then still in
    /// place.
    pub fn save(&self, directory: &Path, position: Position) -> Result<(), ProjectionError> {
        self.save_sealed(directory, position, None)
    }

    /// As [`save`](Self::save), encrypted with the key of a sealed vault.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_sealed(
        &self,
        directory: &Path,
        position: Position,
        key: Option<&ProjectionKey>,
    ) -> Result<(), ProjectionError> {
        blockfile::write(&directory.join(FILE), FORMAT, position, &[(CLUSTERS, &self.encode())], key)
    }

    /// Opens what [`save`](Self::save) wrote, to go on behind the position that is returned with it.
    ///
    /// # Errors
    /// [`ProjectionError::Missing`], [`ProjectionError::Damaged`] or [`ProjectionError::Version`] if there
    /// is nothing that can be used, [`ProjectionError::Io`] if it cannot be read.
    pub fn open(directory: &Path) -> Result<(Self, Position), ProjectionError> {
        Self::open_sealed(directory, None)
    }

    /// As [`open`](Self::open), for what was encrypted with the key of a sealed vault.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_sealed(
        directory: &Path,
        key: Option<&ProjectionKey>,
    ) -> Result<(Self, Position), ProjectionError> {
        let file = BlockFile::open(&directory.join(FILE), FORMAT, key)?;
        let found = Self::decode(&file.read_all(CLUSTERS)?);
        let found = found.ok_or_else(|| file.damaged(CLUSTERS, "its content makes no sense"))?;
        Ok((found, file.position()))
    }

    /// Whether a cluster takes in a vector of this similarity.
    fn admits(&self, index: usize, similarity: i32) -> bool {
        let cluster = &self.clusters[index];
        let scatters = cluster.members >= SETTLED && cluster.cohesion < SCATTERED;
        similarity >= BAR && !(scatters && similarity < cluster.cohesion)
    }

    fn join(&mut self, index: usize, seq: u64, vector: &[i8], similarity: i32) {
        let weight = self.weight(index);
        let cluster = &mut self.clusters[index];
        cluster.members += 1;
        cluster.last = seq;
        cluster.weight = weight + MEMBER_WEIGHT;
        cluster.weighed_at = self.seen;
        let share = cluster.members.min(SLOWEST) as i32;
        cluster.cohesion += (similarity - cluster.cohesion) / share;
        let moved = moved(self.centroids.get(index), vector, cluster, share.into());
        self.centroids.replace(index, &moved);
    }

    /// What the members of a cluster weigh by now.
    fn weight(&self, index: usize) -> u64 {
        let cluster = &self.clusters[index];
        let half_life = HALF_LIFE_PER_CLUSTER * self.limit as u64;
        let halved = (self.seen - cluster.weighed_at) / half_life;
        cluster.weight.checked_shr(u32::try_from(halved).unwrap_or(u32::MAX)).unwrap_or(0)
    }

    /// Merges or drops the lightest clusters.
    fn make_room(&mut self) -> Vec<(u32, Option<u32>)> {
        let mut lightest: Vec<(u64, u64, usize)> = (0..self.clusters.len())
            .map(|index| (self.weight(index), self.clusters[index].last, index))
            .collect();
        lightest.sort_unstable();
        lightest.truncate((self.limit / SHARE_THAT_GOES).max(1));
        let mut stays = vec![true; self.clusters.len()];
        for (_, _, index) in &lightest {
            stays[*index] = false;
        }
        let (mut kept, mut kept_clusters) = (Vec::new(), Vec::new());
        for (index, cluster) in self.clusters.iter().enumerate().filter(|(index, _)| stays[*index]) {
            kept.extend_from_slice(self.centroids.get(index));
            kept_clusters.push(*cluster);
        }
        let left = Centroids::from_components(self.centroids.dimension(), &kept);
        let mut gone = Vec::with_capacity(lightest.len());
        let mut merges = Vec::new();
        for (weight, _, index) in lightest {
            let target = left.nearest(self.centroids.get(index)).filter(|_| weight > 0);
            gone.push((self.clusters[index].id, target.map(|(target, _)| kept_clusters[target].id)));
            if let Some((target, _)) = target {
                merges.push((target, index, weight));
            }
        }
        let old = std::mem::replace(&mut self.centroids, left);
        let from = std::mem::replace(&mut self.clusters, kept_clusters);
        for (target, index, weight) in merges {
            let own = self.weight(target);
            let (cluster, other) = (&mut self.clusters[target], &from[index]);
            // The centre moves by what the other weighs beside it, and both have a say at least.
            let share = ((own + weight) / weight).clamp(2, SLOWEST);
            cluster.members += other.members;
            cluster.first = cluster.first.min(other.first);
            cluster.last = cluster.last.max(other.last);
            (cluster.weight, cluster.weighed_at) = (own + weight, self.seen);
            let moved = moved(self.centroids.get(target), old.get(index), cluster, share as i64);
            self.centroids.replace(target, &moved);
        }
        gone
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, self.centroids.dimension() as u64);
        put(&mut out, self.limit as u64);
        put(&mut out, self.next.into());
        put(&mut out, self.seen);
        put(&mut out, self.clusters.len() as u64);
        for cluster in &self.clusters {
            put(&mut out, cluster.id.into());
            put(&mut out, cluster.members);
            put(&mut out, cluster.first);
            put(&mut out, cluster.last);
            put(&mut out, (cluster.cohesion + ONE) as u64);
            put(&mut out, cluster.weighed_at);
            put(&mut out, cluster.weight);
            put(&mut out, cluster.square.into());
        }
        self.centroids.encode(&mut out);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let dimension = usize::try_from(input.number()?).ok()?;
        let limit = usize::try_from(input.number()?).ok().filter(|limit| *limit > 0)?;
        let (next, seen) = (input.small()?, input.number()?);
        let mut clusters = Vec::new();
        for _ in 0..input.number()? {
            clusters.push(Cluster {
                id: input.small()?,
                members: input.number()?,
                first: input.number()?,
                last: input.number()?,
                cohesion: i32::try_from(input.small()?).ok()?.checked_sub(ONE)?,
                weighed_at: input.number().filter(|at| *at <= seen)?,
                weight: input.number()?,
                square: input.small()?,
            });
        }
        let centroids = Centroids::decode(&mut input, dimension)?;
        let whole = input.0.is_empty()
            && centroids.len() == clusters.len()
            && clusters.len() <= limit
            && clusters.is_sorted_by(|one, other| one.id < other.id)
            && clusters.last().is_none_or(|last| last.id < next);
        whole.then_some(Self { limit, next, seen, centroids, clusters })
    }
}

const FILE: &str = "clusters.idx";
const CLUSTERS: &str = "clusters";
pub(super) const FORMAT: Format = Format { kind: "clusters", version: 1 };

/// Reads every byte of the file in the directory and reports what is wrong; none is no problem.
pub(super) fn verify(directory: &Path) -> Vec<super::Problem> {
    blockfile::verify(&directory.join(FILE), FORMAT)
}

/// The centre moved towards a vector by one share of `share`. A centre of 8 bits cannot move by a fraction, so
/// it moves by a whole step as often as the fraction says: on average nothing is lost, and no sums need be kept.
fn moved(centre: &[i8], vector: &[i8], cluster: &Cluster, share: i64) -> Vec<i8> {
    const BITS: u32 = 16;
    let mut mix = Mix(u64::from(cluster.id) << 32 ^ cluster.members);
    // Brings the vector to the cluster's length, so that a member counts by direction alone.
    let scale = ((i64::from(cluster.square) << (2 * BITS)) / i64::from(square(vector).max(1))).isqrt();
    let mut step = |centre: &i8, component: &i8| {
        let target = (i64::from(*component) * scale).clamp(-127 << BITS, 127 << BITS);
        let exact = (i64::from(*centre) << BITS) + (target - (i64::from(*centre) << BITS)) / share;
        let chance = (mix.next() >> (64 - BITS)) as i64;
        ((exact + chance) >> BITS).clamp(-127, 127) as i8
    };
    centre.iter().zip(vector).map(|(centre, component)| step(centre, component)).collect()
}

fn square(vector: &[i8]) -> u32 {
    vector.iter().map(|component| i32::from(*component).pow(2) as u32).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIMENSION: usize = 48;

    /// Vectors around directions of their own, one after the other.
    fn stream(subjects: usize, count: usize, noise: i64, seed: u64) -> Vec<(usize, Vec<i8>)> {
        let mut mix = Mix(seed);
        let around = |mix: &mut Mix, middle: i64, width: i64| {
            middle + (mix.next() % (2 * width as u64 + 1)) as i64 - width
        };
        let centres: Vec<Vec<i64>> =
            (0..subjects).map(|_| (0..DIMENSION).map(|_| around(&mut mix, 0, 90)).collect()).collect();
        (0..count)
            .map(|number| {
                let subject = number % subjects;
                let vector = centres[subject].iter();
                (subject, vector.map(|c| around(&mut mix, *c, noise).clamp(-127, 127) as i8).collect())
            })
            .collect()
    }

    fn after(stream: &[(usize, Vec<i8>)], limit: usize) -> Online {
        let mut online = Online::new(DIMENSION, limit);
        for (seq, (_, vector)) in (0u64..).zip(stream) {
            online.observe(seq, vector).unwrap();
        }
        online
    }

    #[test]
    fn each_subject_is_one_cluster() {
        let stream = stream(20, 2000, 30, 1);
        let online = after(&stream, DEFAULT_LIMIT);
        assert_eq!(online.clusters().len(), 20);
        for (subject, vector) in &stream {
            assert_eq!(online.assign(vector).unwrap().0 as usize, *subject);
        }
        assert!(online.clusters().iter().all(|cluster| cluster.members == 100 && cluster.cohesion > ONE / 2));
        let first = online.clusters()[3];
        assert_eq!((first.first, first.last), (3, 1983));
    }

    #[test]
    fn a_restart_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let stream = stream(60, 900, 60, 2);
        let whole = after(&stream, 40);
        for at in [1, 39, 450, 899] {
            let position = Position { seq: at as u64, head: [7; 32] };
            after(&stream[..at], 40).save(directory.path(), position).unwrap();
            assert_eq!(super::verify(directory.path()), []);
            let (mut online, found) = Online::open(directory.path()).unwrap();
            assert_eq!(found, position);
            for (seq, (_, vector)) in (at as u64..).zip(&stream[at..]) {
                online.observe(seq, vector);
            }
            assert_eq!(online, whole, "saved after {at}");
        }
        let bytes = whole.encode();
        for length in 0..bytes.len() {
            assert_eq!(Online::decode(&bytes[..length]), None, "cut to {length}");
        }
    }

    #[test]
    fn the_number_stays_bounded_and_what_goes_is_told() {
        let stream = stream(500, 4000, 20, 3);
        let mut online = Online::new(DIMENSION, 64);
        let mut alive = std::collections::BTreeSet::new();
        for (seq, (_, vector)) in (0u64..).zip(&stream) {
            let joined = online.observe(seq, vector).unwrap();
            for (gone, into) in joined.gone {
                assert!(alive.remove(&gone), "{gone} was there");
                assert!(into.is_none_or(|into| alive.contains(&into)), "{into:?} is there");
            }
            assert_eq!(joined.founded, alive.insert(joined.cluster));
            assert!(online.clusters().len() <= 64);
        }
        assert_eq!(
            online.clusters().iter().map(|cluster| cluster.id).collect::<Vec<_>>(),
            Vec::from_iter(alive)
        );
    }

    #[test]
    fn what_is_joined_seldom_fades_and_what_is_joined_often_stays() {
        let old = stream(1, 200, 20, 4);
        let mut online = Online::new(DIMENSION, 8);
        let mut seq = 0..;
        let mut show =
            |online: &mut Online, vector: &[i8]| online.observe(seq.next().unwrap(), vector).unwrap();
        show(&mut online, &stream(1, 1, 0, 5)[0].1);
        let kept = show(&mut online, &old[0].1).cluster;
        let mut faded = false;
        for round in 0..3000u64 {
            if round % 4 == 0 {
                assert_eq!(show(&mut online, &old[(round % 200) as usize].1).cluster, kept);
            }
            let joined = show(&mut online, &stream(1, 1, 0, 100 + round % 997)[0].1);
            faded |= joined.gone.contains(&(0, None)) || joined.gone.iter().any(|(id, _)| *id == 0);
        }
        assert!(faded && online.centre(kept).is_some() && online.centre(0).is_none());
    }

    #[test]
    fn a_cluster_that_scatters_splits() {
        // Two directions 60° apart: first they look like one, since what lies between comes first.
        let (one, other) = ([100i8, 0, 0], [50i8, 87, 0]);
        let mut online = Online::new(3, 10);
        online.observe(0, &[87, 50, 20]);
        let mut mix = Mix(6);
        for seq in 1..600 {
            let middle = if seq % 2 == 0 { one } else { other };
            let noisy =
                middle.map(|c| (i64::from(c) + (mix.next() % 121) as i64 - 60).clamp(-127, 127) as i8);
            online.observe(seq, &noisy);
        }
        let ids = (online.assign(&one).unwrap().0, online.assign(&other).unwrap().0);
        assert_ne!(ids.0, ids.1);
    }

    #[test]
    fn recorded_vectors_are_followed() {
        let vault = crate::VaultBus::in_memory();
        let commit =
            |what: &str, vector: [f32; 3]| vault.blocking().commit(what, &[], "note.taken", vector).unwrap();
        for number in 0..4 {
            commit(&format!("up {number}"), [0.02, 0.9, 0.1]);
            commit(&format!("down {number}"), [0.5, -0.4, 0.0]);
        }
        let mut online = Online::new(3, 10);
        let mut joined = Vec::new();
        for event in vault.store().read(&crate::LogId::main(), 0, 100).unwrap() {
            joined.extend(online.follow(&event).unwrap().map(|joined| joined.cluster));
        }
        assert_eq!(joined, [0, 1, 0, 1, 0, 1, 0, 1]);
        assert_eq!((online.clusters()[1].first, online.clusters()[1].last), (3, 15));
    }

    #[test]
    fn what_is_no_vector_of_the_stream_changes_nothing() {
        let mut online = Online::new(3, 10);
        assert_eq!(online.observe(0, &[0; 3]), None);
        assert_eq!(online.observe(1, &[1; 4]), None);
        assert_eq!(online, Online::new(3, 10));
        assert_eq!(Online::new(0, 0).observe(0, &[]), None);
    }
}
