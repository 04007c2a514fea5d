//! What passages are about, which the company of their file tells better than they do themselves.
//!
//! A passage is short: alone it is told from others by its wording as much as by its subject, and a
//! file of a hundred passages outweighs a hundred files of one. So subjects are found among *units*
//! of equal weight: a file, or a run of passages of one that is much of the vault. The directions in which
//! the units vary are learnt, the units are clustered in them, and a passage goes to the cluster that is nearest
//! to itself and its unit together.

use super::collection::{ChunkEntry, Collection};
use super::fields::Fields;
use super::matrix::{Directions, Sparse, WEIGHT_BITS};
use crate::intent::cluster::{self, Clusters};
use crate::intent::fixed::{log2_q8, quantise};

/// No unit holds more than one of so many passages of the vault: so a vault of one long file has subjects too.
const MAX_SHARE_OF_UNIT: usize = 64;
/// Units that the directions are learnt from, evenly spaced: bounds the time of learning.
const MAX_SAMPLE: usize = 2048;
/// Words that the directions are learnt from, the most frequent ones first.
const MAX_VOCABULARY: usize = 16_384;
/// A word in more than one of so many units tells no subject.
const MAX_SHARE: u32 = 2;
/// A word of the heading counts as often as this many in the body.
const HEADING_COUNT: u32 = 2;
/// Most components.
const MAX_DIMENSION: usize = 40;
/// Fewest components.
const MIN_DIMENSION: usize = 8;
/// Units for each component: few texts do not determine many.
const UNITS_PER_DIMENSION: usize = 8;
/// What a word's field counts beside the word itself, in 1/256.
const FIELD_WEIGHT: u64 = 128;
/// What a passage's unit counts beside the passage itself.
const UNIT_WEIGHT: i64 = 2;

/// For each live chunk the cluster of its subject; `None` for one without a word that tells any.
pub(super) fn topics(collection: &Collection, ranks: &[u32]) -> Vec<Option<u32>> {
    let units = units(collection);
    let vocabulary = Vocabulary::of(collection, ranks, &units);
    let count = units.len();
    let sample = count.min(MAX_SAMPLE);
    let mut counter = Counter::new(collection);
    let rows =
        (0..sample).map(|index| vocabulary.row(&mut counter, &units[index * count / sample])).collect();
    let wanted = (count / UNITS_PER_DIMENSION).clamp(MIN_DIMENSION, MAX_DIMENSION);
    let directions = Sparse { rows, columns: vocabulary.columns }.directions(wanted);
    let dimension = directions.count();

    let mut vectors = vec![0i8; count * dimension];
    for (number, unit) in units.iter().enumerate() {
        let place = place(&directions, &vocabulary.row(&mut counter, unit));
        quantise(&place, &mut vectors[number * dimension..][..dimension]);
    }
    let clusters = cluster::cluster(&vectors, dimension);
    let mut labels = Vec::new();
    for (number, unit) in units.iter().enumerate() {
        let around = &vectors[number * dimension..][..dimension];
        for chunk in unit {
            let own = place(&directions, &vocabulary.row(&mut counter, std::slice::from_ref(chunk)));
            labels.push(nearest(&clusters, around, &own));
        }
    }
    labels
}

/// The cluster nearest to a passage and its unit together.
fn nearest(clusters: &Clusters, around: &[i8], own: &[i64]) -> Option<u32> {
    let mut quantised = vec![0i8; own.len()];
    quantise(own, &mut quantised);
    let (near, far) = (unit_length(&quantised, 1), unit_length(around, UNIT_WEIGHT));
    let sum: Vec<i64> = near.iter().zip(&far).map(|(a, b)| a + b).collect();
    quantise(&sum, &mut quantised);
    clusters.nearest(&quantised).map(|(cluster, _)| cluster as u32)
}

fn unit_length(vector: &[i8], times: i64) -> Vec<i64> {
    let square: i64 = vector.iter().map(|component| i64::from(*component).pow(2)).sum();
    let length = (square << 16).isqrt().max(1);
    vector.iter().map(|component| ((i64::from(*component) * times) << 24) / length).collect()
}

fn place(directions: &Directions, row: &[(u32, i32)]) -> Vec<i64> {
    let dimension = directions.count();
    let mut place = vec![0i64; dimension];
    for &(column, weight) in row {
        let direction = &directions.rows[column as usize * dimension..][..dimension];
        for (sum, component) in place.iter_mut().zip(direction) {
            *sum += i64::from(weight) * i64::from(*component);
        }
    }
    place
}

/// The live chunks in order, brought together.
fn units(collection: &Collection) -> Vec<Vec<&ChunkEntry>> {
    let total = collection.chunks().count();
    let most = total.div_ceil(MAX_SHARE_OF_UNIT).max(1);
    let mut units = Vec::new();
    for file in collection.files.values() {
        let chunks: Vec<&ChunkEntry> = file.chunks.iter().collect();
        units.extend(chunks.chunks(most).map(<[_]>::to_vec));
    }
    units
}

/// Counts terms over several chunks.
struct Counter {
    counts: Vec<u32>,
    seen: Vec<u32>,
}

impl Counter {
    fn new(collection: &Collection) -> Self {
        Self { counts: vec![0; collection.terms.entries().len()], seen: Vec::new() }
    }

    /// Calls `each` with every term of the chunks and how often it occurs, in the order of terms' ids.
    fn count(&mut self, chunks: &[&ChunkEntry], mut each: impl FnMut(u32, u32)) {
        for occurrence in chunks.iter().flat_map(|chunk| chunk.occurrences()) {
            let count = &mut self.counts[occurrence.term as usize];
            if *count == 0 {
                self.seen.push(occurrence.term);
            }
            let times = occurrence.count.saturating_add(if occurrence.heading { HEADING_COUNT } else { 0 });
            *count = count.saturating_add(times.max(1));
        }
        for term in self.seen.drain(..) {
            each(term, std::mem::take(&mut self.counts[term as usize]));
        }
    }
}

/// The words that tell subjects, with what each weighs.
struct Vocabulary {
    /// For each term id its column; `u32::MAX` for one without.
    columns_by_id: Vec<u32>,
    /// For each term id how rare it is, in 1/256; zero for one that is everywhere.
    rarity: Vec<u64>,
    fields: Fields,
    /// Columns of words; those of fields follow.
    words: usize,
    columns: usize,
}

impl Vocabulary {
    /// `ranks` numbers the terms in sorted order, which keeps the result independent of the order in which
    /// terms first came.
    fn of(collection: &Collection, ranks: &[u32], units: &[Vec<&ChunkEntry>]) -> Self {
        let mut units_with = vec![0u32; ranks.len()];
        let mut counter = Counter::new(collection);
        for unit in units {
            counter.count(unit, |term, _| units_with[term as usize] += 1);
        }
        let all = units.len() as u32;
        let common = (all / MAX_SHARE).max(2);
        let rarity = units_with.iter().map(|&with| match with {
            0 => 0,
            with if with > common => 0,
            // One unit alone shares the word with nobody; it is no rarer than one that two share.
            with => u64::from(log2_q8(256 * u64::from(all) / u64::from(with.max(2)))).saturating_sub(8 * 256),
        });
        let rarity = rarity.collect();
        let mut candidates: Vec<(std::cmp::Reverse<u32>, u32, u32)> = (0u32..)
            .zip(&units_with)
            .filter(|&(_, &with)| with >= 2 && with <= common)
            .map(|(id, &with)| (std::cmp::Reverse(with), ranks[id as usize], id))
            .collect();
        candidates.sort_unstable();
        candidates.truncate(MAX_VOCABULARY);
        let mut columns_by_id = vec![u32::MAX; ranks.len()];
        for (column, (_, _, id)) in candidates.iter().enumerate() {
            columns_by_id[*id as usize] = column as u32;
        }
        let fields = Fields::of(collection.terms.entries().iter().map(|entry| entry.stem.as_str()));
        let words = candidates.len();
        Self { columns_by_id, rarity, words, columns: words + fields.count(), fields }
    }

    /// The weights of the chunks' words and fields together, brought to unit length.
    fn row(&self, counter: &mut Counter, chunks: &[&ChunkEntry]) -> Vec<(u32, i32)> {
        let mut words = Vec::new();
        let mut fields = vec![0u64; self.fields.count()];
        let (mut shared, mut all) = (0u64, 0u64);
        counter.count(chunks, |term, count| {
            let weight = (256 + u64::from(log2_q8(count.into()))) * self.rarity[term as usize];
            if weight == 0 {
                return;
            }
            all = all.saturating_add(weight * weight);
            let column = self.columns_by_id[term as usize];
            if column != u32::MAX {
                shared = shared.saturating_add(weight * weight);
                words.push((column, weight));
            }
            for (field, share) in self.fields.of_term(term) {
                fields[field] += weight * share / 256;
            }
        });
        words.sort_unstable();
        let (shared, all) = (shared.isqrt().max(1), all.isqrt().max(1));
        let words = words.into_iter().map(|(column, weight)| (column, (weight << SCALE) / shared));
        let fields = (self.words as u32..)
            .zip(fields)
            .filter(|(_, sum)| *sum > 0)
            .map(|(column, sum)| (column, ((sum * FIELD_WEIGHT) << (SCALE - 8)) / all));
        let row: Vec<(u32, u64)> = words.chain(fields).collect();
        let length = row.iter().map(|(_, weight)| weight * weight).sum::<u64>().isqrt().max(1);
        row.into_iter().map(|(column, weight)| (column, ((weight << WEIGHT_BITS) / length) as i32)).collect()
    }
}

/// Fractional bits of weights before they are brought to unit length.
const SCALE: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(files: &[(String, Vec<String>)]) -> Vec<Option<u32>> {
        let mut collection = Collection::new();
        for (path, chunks) in files {
            for text in chunks {
                collection.add(path, (0, [0; 32], (1, 2)), None, text);
            }
        }
        let ranks: Vec<u32> = (0..collection.terms.entries().len() as u32).collect();
        topics(&collection, &ranks)
    }

    #[test]
    fn a_long_file_counts_no_more_than_a_short_one() {
        let about = |words: &str, number: usize| {
            let words: Vec<&str> = words.split(' ').collect();
            (0..12)
                .map(|i| words[(i * (number % 5 + 1) + number) % words.len()])
                .collect::<Vec<_>>()
                .join(" ")
        };
        let cycles = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda";
        let (first, second) =
            ("uno duo tres quattuor quinque sex septem", "ein zwei drei vier sieben acht neun");
        let mut files = vec![("long".to_owned(), (0..400).map(|n| about(cycles, n)).collect())];
        for number in 0..20 {
            files.push((format!("one{number}"), vec![about(first, number)]));
            files.push((format!("two{number}"), vec![about(second, number)]));
        }
        let labels = labels(&files);
        let short = &labels[400..];
        for (at, label) in short.iter().enumerate() {
            assert_eq!(*label, short[at % 2], "file {at}");
        }
        assert_ne!(short[0], short[1]);
        assert!(labels[..400].iter().all(|label| !short[..2].contains(label)));
    }

    #[test]
    fn texts_that_share_a_field_go_together_without_sharing_words() {
        let texts = [
            ["surgeon hospital tumor", "nurse clinic fever", "pills dose patient", "surgery kidney stroke"],
            [
                "puck goalie rink",
                "skater hockey playoff",
                "nhl goaltender penguins",
                "bruins rangers slapshot",
            ],
        ];
        let mut files = Vec::new();
        for round in 0..3 {
            for subject in texts {
                files.extend(subject.map(|text| (format!("{text}{round}"), vec![text.to_owned()])));
            }
        }
        let labels = labels(&files);
        assert!(labels.iter().enumerate().all(|(at, label)| *label == labels[at / 4 % 2 * 4]), "{labels:?}");
        assert_ne!(labels[0], labels[4]);
    }
}
