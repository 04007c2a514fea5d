//! What the embedder learns: in which directions the vocabulary of this vault varies.
//!
//! Latent semantic analysis. The chunks of an evenly spaced, bounded sample, weighted by tf·idf, span a
//! space; its leading directions are kept, and every chunk is placed in them. Words that occur in the
//! same company point the same way, so a question in other words than the text's still finds it. A
//! stateless hash of words knows nothing of company and measured worse than no vectors at all.
//!
//! The directions are learnt anew from the live chunks at each save, not at some positions of the log:
//! so the vectors depend on what is live alone, no chunk is placed by a model that never saw its words,
//! and the cost is bounded by the sample. Integers throughout.
//!
//! No table of word vectors is saved, which would outweigh the index of a small vault: the vector of a word
//! follows from those of the chunks that hold it, `v = Σ w·d / σ²`, and the postings say which those are.

use super::collection::{ChunkEntry, Collection};
use super::layout::PostingList;
use super::matrix::{Directions, Sparse, WEIGHT_BITS};
use crate::intent::blockfile::{Input, put};
use crate::intent::fixed::{log2_q8, quantise};

/// Most components of a vector.
pub(super) const MAX_DIMENSION: usize = 96;
/// Least components, if the vault has that many chunks.
const MIN_DIMENSION: usize = 16;
/// Chunks for each component: few texts do not fill many directions, and a vector is stored with each.
const CHUNKS_PER_DIMENSION: usize = 6;
/// Chunks that the directions are learnt from: bounds the time of learning to about a second.
const MAX_SAMPLE: usize = 6144;
/// Words that the directions are learnt from, the most frequent ones first.
const MAX_VOCABULARY: usize = 16_384;
/// A word in more than one of so many chunks tells no subject.
const MAX_SHARE: u32 = 2;
/// A word of the heading counts as often as this many in the body.
const HEADING_COUNT: u32 = 2;

/// Chunks from which on the components are brought to one spread.
const WHITENED_CHUNKS: usize = 1024;
/// Most that a component is raised against the first: what is narrower is rounding.
const MAX_WHITENING: f64 = 8.0;

/// What was learnt, ready to be saved.
pub(super) struct Model {
    pub(super) dimension: usize,
    spectrum: Vec<i64>,
    /// `dimension` bytes a chunk.
    pub(super) vectors: Vec<i8>,
    /// For each chunk how long its place is before quantising, relative to the length of its weights, in
    /// 1 / [`SCALE_ONE`].
    scales: Vec<u32>,
}

/// Learns the directions of the live chunks and places each of them. `ranks` numbers the terms in sorted
/// order, which keeps the result independent of the order in which terms first came.
pub(super) fn train(collection: &Collection, ranks: &[u32]) -> Model {
    let chunks: Vec<&ChunkEntry> = collection.chunks().collect();
    let weights = Weights::of(collection, ranks, chunks.len());
    let dimension = dimension_for(chunks.len());
    let sample = chunks.len().min(MAX_SAMPLE);
    let rows = (0..sample).map(|index| weights.row(chunks[index * chunks.len() / sample]).0).collect();
    let directions = Sparse { rows, columns: weights.columns }.directions(dimension);
    let dimension = directions.count();

    let mut vectors = vec![0i8; chunks.len() * dimension];
    let mut scales = Vec::with_capacity(chunks.len());
    let mut place = vec![0i64; dimension];
    for (number, chunk) in chunks.iter().enumerate() {
        let (row, length) = weights.row(chunk);
        place.fill(0);
        for (column, weight) in row {
            let weight = i64::from(weight);
            let direction = &directions.rows[column as usize * dimension..][..dimension];
            for (sum, component) in place.iter_mut().zip(direction) {
                *sum += weight * i64::from(*component);
            }
        }
        let out = &mut vectors[number * dimension..][..dimension];
        quantise(&place, out);
        scales.push(scale(&place, out, length));
    }
    Model { dimension, spectrum: directions.squares, vectors, scales }
}

fn dimension_for(chunks: usize) -> usize {
    (chunks / CHUNKS_PER_DIMENSION / 8 * 8).clamp(MIN_DIMENSION, MAX_DIMENSION)
}

/// The factor that turns quantised components times an unnormalised weight back into place times weight:
/// place / (quantised · length).
fn scale(place: &[i64], quantised: &[i8], length: u64) -> u32 {
    let largest = place.iter().map(|p| p.unsigned_abs()).max().unwrap_or(0);
    if largest == 0 || length == 0 || quantised.iter().all(|q| *q == 0) {
        return 0;
    }
    // `place` has the bits of a weight and of a direction; the length is that of weights in 1/256².
    let unit = u128::from(largest) * 256 * 256 * u128::from(SCALE_ONE);
    let value = (unit / (127 * u128::from(length))) >> (WEIGHT_BITS + Directions::BITS);
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Resolution of a chunk's scale.
const SCALE_ONE: u32 = 1 << 20;

/// The weight of a term that occurs `count` times, before the length of its text is taken out, in 1/256².
fn weight(count: u32, heading: bool, chunks_with: u32, chunks: u32) -> u64 {
    let count = count.saturating_add(if heading { HEADING_COUNT } else { 0 });
    let frequency = 256 + u64::from(log2_q8(u64::from(count.max(1))));
    let rarity =
        u64::from(log2_q8(256 * u64::from(chunks) / u64::from(chunks_with.max(1)))).saturating_sub(8 * 256);
    frequency * rarity
}

/// The vocabulary with what a term weighs.
struct Weights<'a> {
    collection: &'a Collection,
    /// For each term id its column; `u32::MAX` for one without.
    columns_by_id: Vec<u32>,
    columns: usize,
    chunks: u32,
}

impl<'a> Weights<'a> {
    fn of(collection: &'a Collection, ranks: &[u32], chunks: usize) -> Self {
        let entries = collection.terms.entries();
        let chunks = chunks as u32;
        let mut candidates: Vec<(std::cmp::Reverse<u32>, u32, u32)> = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.chunks >= 2 && entry.chunks <= (chunks / MAX_SHARE).max(2))
            .map(|(id, entry)| (std::cmp::Reverse(entry.chunks), ranks[id], id as u32))
            .collect();
        candidates.sort_unstable();
        candidates.truncate(MAX_VOCABULARY);
        let mut columns_by_id = vec![u32::MAX; entries.len()];
        for (column, (_, _, id)) in candidates.iter().enumerate() {
            columns_by_id[*id as usize] = column as u32;
        }
        Self { collection, columns_by_id, columns: candidates.len(), chunks }
    }

    /// The weights of a chunk, brought to unit length, and the length that they had.
    fn row(&self, chunk: &ChunkEntry) -> (Vec<(u32, i32)>, u64) {
        let entries = self.collection.terms.entries();
        let mut row = Vec::new();
        let mut square = 0u64;
        for occurrence in chunk.occurrences() {
            let column = self.columns_by_id[occurrence.term as usize];
            if column == u32::MAX {
                continue;
            }
            let with = entries[occurrence.term as usize].chunks;
            let value = weight(occurrence.count, occurrence.heading, with, self.chunks);
            square = square.saturating_add(value * value);
            row.push((column, value));
        }
        let length = square.isqrt();
        let row = row
            .into_iter()
            .map(|(column, value)| (column, ((value << WEIGHT_BITS) / length.max(1)) as i32))
            .collect();
        (row, length)
    }
}

impl Model {
    /// The header section: dimension, spectrum and the chunks' scales.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, self.dimension as u64);
        for square in &self.spectrum {
            put(&mut out, *square as u64);
        }
        for scale in &self.scales {
            put(&mut out, u64::from(*scale));
        }
        out
    }

    /// The vectors section.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.vectors.iter().map(|component| *component as u8).collect()
    }
}

/// What a reader needs to place a text.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) dimension: usize,
    /// Squared singular values in units of the first / 2^30.
    spectrum: Vec<i64>,
    scales: Vec<u32>,
}

impl Space {
    /// For each component the factor that brings its spread over the chunks to that of the first; ones where
    /// the chunks are too few to tell the later components from chance.
    pub(super) fn whitening(&self) -> Vec<f64> {
        let factor = |square: &i64| (f64::from(1u32 << 30) / *square as f64).sqrt().min(MAX_WHITENING);
        let settled = self.scales.len() >= WHITENED_CHUNKS;
        self.spectrum.iter().map(|square| if settled { factor(square) } else { 1.0 }).collect()
    }

    pub(super) fn decode(bytes: &[u8], chunks: usize) -> Option<Self> {
        let mut input = Input(bytes);
        let dimension = input.number()? as usize;
        if dimension > MAX_DIMENSION {
            return None;
        }
        let mut spectrum = Vec::with_capacity(dimension);
        for _ in 0..dimension {
            spectrum.push(i64::from(input.small()?.max(1)));
        }
        let mut scales = Vec::with_capacity(chunks);
        for _ in 0..chunks {
            scales.push(input.small()?);
        }
        input.0.is_empty().then_some(Self { dimension, spectrum, scales })
    }
}

/// Places a text, given the posting lists of its terms and how often each occurs, among the chunks whose
/// vectors are given. Only the direction of the result means something.
pub(super) fn place<'a>(
    space: &Space,
    vectors: &[u8],
    terms: impl Iterator<Item = (&'a PostingList, u32)>,
) -> Vec<i64> {
    let chunks = space.scales.len() as u32;
    let mut place = vec![0i64; space.dimension];
    let mut direction = vec![0i64; space.dimension];
    for (list, count) in terms {
        let with = list.chunks.len() as u32;
        if with == 0 {
            continue;
        }
        direction.fill(0);
        for occurrence in &list.chunks {
            let chunk = occurrence.term as usize;
            let weight = weight(occurrence.count, occurrence.heading, with, chunks);
            let factor = (weight * u64::from(space.scales[chunk])) >> 16;
            let factor = i64::try_from(factor.min(MAX_FACTOR)).unwrap_or(0);
            let vector = &vectors[chunk * space.dimension..][..space.dimension];
            for (sum, byte) in direction.iter_mut().zip(vector) {
                *sum += factor * i64::from(*byte as i8);
            }
        }
        let weight = i128::from(weight(count, false, with, chunks));
        for ((sum, component), square) in place.iter_mut().zip(&direction).zip(&space.spectrum) {
            let share = ((weight * i128::from(*component)) << 14) / i128::from(*square);
            let share = share.clamp(-MAX_SHARE_OF_TERM, MAX_SHARE_OF_TERM);
            *sum += i64::try_from(share).unwrap_or(0);
        }
    }
    place
}

/// Bound on what one chunk contributes, so that sums over 2^20 chunks stay within 63 bits.
const MAX_FACTOR: u64 = 1 << 34;
/// Bound on what one term contributes, so that sums over a text's terms stay within 63 bits.
const MAX_SHARE_OF_TERM: i128 = 1 << 52;
