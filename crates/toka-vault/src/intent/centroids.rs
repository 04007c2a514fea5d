//! Many centroids of 8 bits a component, and the one that is nearest to a vector.
//!
//! Up to [`EXACT`] centroids each is looked at. Beyond, they lie in cells around pivots: the nearest cells are
//! searched and the others left out, so that the cost grows with the root of the number. What is found is then
//! nearly always the nearest, and it is the same on every machine.

use super::blockfile::{Input, put};
use super::fixed::{cosine, dot_wide, quantise, widened};

/// So many centroids are compared one by one; a thousand of 768 components take less than a tenth of a
/// millisecond.
const EXACT: usize = 4096;
/// Cells that are searched. Of a query's nearest centroids that share a subject with it nearly all lie in these.
const PROBES: usize = 16;
/// Centroids of each cell that pivots settle on before all are placed.
const SAMPLE_PER_CELL: usize = 16;
/// Fractional bits of one over a length.
const INVERSE_BITS: u32 = 32;

/// Centroids with what is needed to search them. Memory is their components, a byte each, and 16 bytes a centroid.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Centroids {
    rows: Rows,
    cells: Option<Cells>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Rows {
    dimension: usize,
    components: Vec<i8>,
    /// One over the length, in 1 / 2^[`INVERSE_BITS`]; zero for the zero vector.
    inverses: Vec<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Cells {
    pivots: Rows,
    members: Vec<Vec<u32>>,
    /// Centroids there were when the cells were made.
    made_at: usize,
}

impl Centroids {
    /// No centroids yet, of so many components each.
    #[must_use]
    pub fn new(dimension: usize) -> Self {
        Self { rows: Rows::new(dimension), cells: None }
    }

    /// Takes over `components`, `dimension` for each centroid; what is left at the end is no centroid.
    #[must_use]
    pub fn from_components(dimension: usize, components: &[i8]) -> Self {
        let mut centroids = Self::new(dimension);
        for row in components.chunks_exact(dimension.max(1)) {
            centroids.rows.push(row);
        }
        centroids.settle();
        centroids
    }

    /// Components of each.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.rows.dimension
    }

    /// Number of centroids.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The components of a centroid.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn get(&self, index: usize) -> &[i8] {
        self.rows.get(index)
    }

    /// Adds a centroid behind the others; its number.
    ///
    /// # Panics
    /// If it has another number of components.
    pub fn push(&mut self, components: &[i8]) -> usize {
        let index = self.rows.push(components);
        if let Some(cells) = &mut self.cells {
            cells.place(components, index as u32);
        }
        self.settle();
        index
    }

    /// Moves a centroid. It stays in its cell: what moves step by step stays near.
    ///
    /// # Panics
    /// If there are not so many, or it has another number of components.
    pub fn replace(&mut self, index: usize, components: &[i8]) {
        self.rows.replace(index, components);
    }

    /// The centroid nearest to a vector by direction, the one with the smallest number if several are, and the
    /// cosine in units of 1 / [`SIMILARITY_ONE`](super::SIMILARITY_ONE). `None` for the zero vector, one of
    /// another dimension, and if there are no centroids.
    #[must_use]
    pub fn nearest(&self, vector: &[i8]) -> Option<(usize, i32)> {
        let query = self.rows.query(vector)?;
        let found = match &self.cells {
            None => self.rows.best(&query, 0..self.len()),
            Some(cells) => {
                let near = cells.pivots.leading(&query, PROBES);
                let members = near.into_iter().flat_map(|cell| &cells.members[cell]);
                self.rows.best(&query, members.map(|index| *index as usize))
            }
        };
        found.map(|index| (index, self.rows.similarity(&query, index)))
    }

    /// As [`nearest`](Self::nearest), but looks at every centroid, however many there are.
    #[must_use]
    pub fn nearest_of_all(&self, vector: &[i8]) -> Option<(usize, i32)> {
        let query = self.rows.query(vector)?;
        let index = self.rows.best(&query, 0..self.len())?;
        Some((index, self.rows.similarity(&query, index)))
    }

    /// Makes the cells when the centroids have become many, and again when they have doubled.
    fn settle(&mut self) {
        let made_at = self.cells.as_ref().map_or(EXACT, |cells| cells.made_at * 2);
        if self.len() > made_at {
            self.cells = Some(Cells::of(&self.rows));
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.rows.encode(out);
        let Some(cells) = &self.cells else {
            put(out, 0);
            return;
        };
        put(out, cells.made_at as u64);
        cells.pivots.encode(out);
        for members in &cells.members {
            put(out, members.len() as u64);
            let mut last = 0;
            for index in members {
                put(out, u64::from(index - last));
                last = *index;
            }
        }
    }

    pub(super) fn decode(input: &mut Input<'_>, dimension: usize) -> Option<Self> {
        let rows = Rows::decode(input, dimension)?;
        let made_at = usize::try_from(input.number()?).ok()?;
        if made_at == 0 {
            return Some(Self { rows, cells: None });
        }
        let pivots = Rows::decode(input, dimension)?;
        let mut seen = vec![false; rows.len()];
        let mut members = Vec::with_capacity(pivots.len());
        for _ in 0..pivots.len() {
            let mut cell = Vec::new();
            let mut last = 0u32;
            for _ in 0..input.number()? {
                last = last.checked_add(input.small()?)?;
                let seen = seen.get_mut(last as usize)?;
                if std::mem::replace(seen, true) {
                    return None;
                }
                cell.push(last);
            }
            members.push(cell);
        }
        seen.iter()
            .all(|seen| *seen)
            .then_some(Self { rows, cells: Some(Cells { pivots, members, made_at }) })
    }
}

impl Cells {
    fn of(rows: &Rows) -> Self {
        let count = 2 * rows.len().isqrt();
        let spaced = |number: usize, of: usize| rows.get(number * rows.len() / of);
        let mut pivots = Rows::new(rows.dimension);
        for number in 0..count {
            pivots.push(spaced(number, count));
        }
        let sample = (count * SAMPLE_PER_CELL).min(rows.len());
        let mut sums = vec![0i64; count * rows.dimension];
        for number in 0..sample {
            let row = spaced(number, sample);
            if let Some(cell) = pivots.query(row).and_then(|query| pivots.best(&query, 0..count)) {
                for (sum, component) in sums[cell * rows.dimension..].iter_mut().zip(row) {
                    *sum += i64::from(*component);
                }
            }
        }
        let mut settled = vec![0i8; rows.dimension];
        for (cell, sum) in sums.chunks_exact(rows.dimension).enumerate() {
            quantise(sum, &mut settled);
            pivots.replace(cell, &settled);
        }
        let mut cells = Self { pivots, members: vec![Vec::new(); count], made_at: rows.len() };
        for index in 0..rows.len() {
            cells.place(rows.get(index), index as u32);
        }
        cells
    }

    fn place(&mut self, row: &[i8], index: u32) {
        let query = self.pivots.query(row);
        // The zero vector is near to nothing; it must lie somewhere.
        let cell = query.and_then(|query| self.pivots.best(&query, 0..self.pivots.len())).unwrap_or(0);
        self.members[cell].push(index);
    }
}

impl Rows {
    fn new(dimension: usize) -> Self {
        Self { dimension, components: Vec::new(), inverses: Vec::new() }
    }

    fn len(&self) -> usize {
        self.inverses.len()
    }

    fn get(&self, index: usize) -> &[i8] {
        &self.components[index * self.dimension..][..self.dimension]
    }

    fn push(&mut self, components: &[i8]) -> usize {
        assert_eq!(components.len(), self.dimension, "all centroids have the same dimension");
        self.components.extend_from_slice(components);
        self.inverses.push(inverse(components));
        self.len() - 1
    }

    fn replace(&mut self, index: usize, components: &[i8]) {
        self.components[index * self.dimension..][..self.dimension].copy_from_slice(components);
        self.inverses[index] = inverse(components);
    }

    fn query(&self, vector: &[i8]) -> Option<Vec<i16>> {
        let fits = vector.len() == self.dimension && vector.iter().any(|component| *component != 0);
        fits.then(|| widened(vector))
    }

    fn score(&self, query: &[i16], index: usize) -> i64 {
        i64::from(dot_wide(query, self.get(index))) * self.inverses[index]
    }

    fn best(&self, query: &[i16], among: impl Iterator<Item = usize>) -> Option<usize> {
        let mut best: Option<(i64, usize)> = None;
        for index in among.filter(|index| self.inverses[*index] > 0) {
            let score = self.score(query, index);
            if best.is_none_or(|(most, of)| score > most || (score == most && index < of)) {
                best = Some((score, index));
            }
        }
        best.map(|(_, index)| index)
    }

    /// The numbers of the `wanted` nearest, in no order that means something.
    fn leading(&self, query: &[i16], wanted: usize) -> Vec<usize> {
        let mut scored: Vec<(i64, usize)> =
            (0..self.len()).map(|index| (-self.score(query, index), index)).collect();
        if scored.len() > wanted {
            scored.select_nth_unstable(wanted);
            scored.truncate(wanted);
        }
        scored.into_iter().map(|(_, index)| index).collect()
    }

    fn similarity(&self, query: &[i16], index: usize) -> i32 {
        let row = self.get(index);
        let square = |row: &[i8]| i64::from(dot_wide(&widened(row), row));
        let own: i64 = query.iter().map(|component| i64::from(*component).pow(2)).sum();
        cosine(dot_wide(query, row).into(), own, square(row))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put(out, self.len() as u64);
        out.extend(self.components.iter().map(|component| *component as u8));
    }

    fn decode(input: &mut Input<'_>, dimension: usize) -> Option<Self> {
        let count = usize::try_from(input.number()?).ok()?;
        let bytes = input.take(count.checked_mul(dimension)?)?;
        let mut rows = Self::new(dimension);
        if dimension == 0 {
            return (count == 0).then_some(rows);
        }
        rows.components = bytes.iter().map(|byte| *byte as i8).collect();
        rows.inverses = rows.components.chunks_exact(dimension).map(inverse).collect();
        Some(rows)
    }
}

fn inverse(components: &[i8]) -> i64 {
    let square: i64 = components.iter().map(|component| i64::from(*component).pow(2)).sum();
    // The length with eight bits behind the point.
    let length = (square << 16).isqrt();
    if length == 0 { 0 } else { (1 << (INVERSE_BITS + 8)) / length }
}
