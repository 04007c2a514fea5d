//! Finding the cluster that a vector of 768 dimensions belongs to.

#[path = "../../../benches/harness.rs"]
mod harness;

use std::hint::black_box;

use harness::{Bench, rate};
use toka_vault::intent::{Centroids, Online};

const DIMENSION: usize = 768;
const FEW: usize = 1000;
const MANY: usize = 100_000;
/// Centroids of one subject: as they are found in texts, centroids come in families.
const FAMILY: usize = 50;
const QUERIES: usize = 256;

fn main() {
    let bench = Bench::new("intents");
    let few = families(FEW);
    let queries: Vec<Vec<i8>> = (0..QUERIES).map(|at| near(&few, at * 7919 % FEW, at)).collect();
    let centroids = Centroids::from_components(DIMENSION, &few);
    let ours = || microseconds(&bench, &queries, |query| centroids.nearest(query).map(|(found, _)| found));

    let floats: Vec<f32> = few.iter().map(|component| f32::from(*component)).collect();
    let inverses: Vec<f32> = floats.chunks_exact(DIMENSION).map(|row| 1.0 / length(row)).collect();
    let scalar = || {
        microseconds(&bench, &queries, |query| {
            let query: Vec<f32> = query.iter().map(|component| f32::from(*component)).collect();
            let scores = floats.chunks_exact(DIMENSION).zip(&inverses);
            let scores = scores.map(|(row, inverse)| {
                // One product after the other, as floating-point sums are defined.
                let mut sum = 0.0;
                for (a, b) in row.iter().zip(&query) {
                    sum += a * b;
                }
                sum * inverse
            });
            scores.enumerate().max_by(|one, other| one.1.total_cmp(&other.1)).map(|(index, _)| index)
        })
    };
    let (few_time, scalar_time) = bench.interleave(ours, scalar);
    bench.line("assign", "µs", few_time, Some((scalar_time, "a plain scalar loop over 1,000 × 768 f32")));

    let many = families(MANY);
    let large = Centroids::from_components(DIMENSION, &many);
    let far: Vec<Vec<i8>> = (0..QUERIES).map(|at| near(&many, at * 7919 % MANY, at)).collect();
    let sublinear = || microseconds(&bench, &far, |query| large.nearest(query).map(|(found, _)| found));
    let (many_time, few_time) = bench.interleave(sublinear, ours);
    bench.line("assign clusters=100000", "µs", many_time, Some((few_time, "assign among 1,000")));
    let hits = far.iter().filter(|query| large.nearest(query) == large.nearest_of_all(query)).count();
    bench.line("recall clusters=100000", "share", hits as f64 / QUERIES as f64, None);

    let mut online = Online::new(DIMENSION, FEW);
    let mut noise = Noise(5);
    for seq in 0..FEW as u64 {
        // Directions without anything in common, so that each founds a cluster.
        let vector: Vec<i8> = (0..DIMENSION).map(|_| noise.next(100) as i8).collect();
        online.observe(seq, &vector);
    }
    assert_eq!(online.clusters().len(), FEW);
    online
        .save(bench.directory(), toka_vault::intent::Position { seq: 0, head: [0; 32] })
        .expect("clusters are saved");
    let files = std::fs::read_dir(bench.directory()).expect("the bench directory can be read");
    let bytes: u64 = files.filter_map(|file| file.ok()?.metadata().ok()).map(|file| file.len()).sum();
    bench.line(
        "bytes clusters=1000",
        "bytes",
        bytes as f64,
        Some(((FEW * DIMENSION * 4) as f64, "f32 centroids")),
    );
}

fn microseconds(bench: &Bench, queries: &[Vec<i8>], mut find: impl FnMut(&[i8]) -> Option<usize>) -> f64 {
    let mut at = 0;
    1e6 / rate(bench.slice(), 16, || {
        for _ in 0..16 {
            at = (at + 1) % queries.len();
            black_box(find(&queries[at]));
        }
    })
}

/// Centroids of subjects that lie around subjects of subjects.
fn families(count: usize) -> Vec<i8> {
    let mut components = Vec::with_capacity(count * DIMENSION);
    for number in 0..count {
        let (mut family, mut own) = (Noise((number / FAMILY) as u64), Noise(!(number as u64)));
        components.extend((0..DIMENSION).map(|_| (family.next(60) + own.next(40)) as i8));
    }
    components
}

/// A vector near to the centroid.
fn near(centroids: &[i8], index: usize, seed: usize) -> Vec<i8> {
    let mut noise = Noise(seed as u64 + 77);
    let centroid = &centroids[index * DIMENSION..][..DIMENSION];
    centroid.iter().map(|component| (i64::from(*component) + noise.next(25)).clamp(-127, 127) as i8).collect()
}

fn length(row: &[f32]) -> f32 {
    row.iter().map(|component| component * component).sum::<f32>().sqrt()
}

/// splitmix64.
struct Noise(u64);

impl Noise {
    fn next(&mut self, width: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)).cast_signed().rem_euclid(2 * width + 1) - width
    }
}
