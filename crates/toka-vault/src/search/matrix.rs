//! The leading singular directions of a sparse matrix, in integers.
//!
//! Subspace iteration with fixed-point Gram–Schmidt, then a Jacobi rotation of the small projected
//! matrix (Rayleigh–Ritz). The start is a constant pseudo-random block, so the same matrix gives the same
//! bits everywhere.

use crate::intent::fixed::Mix;

/// Fractional bits of the weights of the sparse matrix.
pub(super) const WEIGHT_BITS: u32 = 12;
/// Fractional bits of a normalised column: dot products of 8,192 such entries stay within 63 bits.
const COLUMN_BITS: u32 = 24;
/// Fractional bits of sines and cosines.
const ROTATION_BITS: u32 = 30;
/// Directions iterated beyond those wanted, which take up what has not converged.
const OVERSAMPLING: usize = 8;
/// Iterations: the space that the directions span has settled by then, if not each direction.
const ITERATIONS: usize = 4;
/// Iterations where there are less than [`FEW_ROWS`] rows: the later directions of a few texts are close in
/// length and settle slowly, and iterating is cheap.
const FEW_ITERATIONS: usize = 12;
/// See [`FEW_ITERATIONS`].
const FEW_ROWS: usize = 1024;
/// Sweeps of the rotation; it converges quadratically after the first few.
const SWEEPS: usize = 10;

/// Rows of (column, weight).
pub(super) struct Sparse {
    pub(super) rows: Vec<Vec<(u32, i32)>>,
    pub(super) columns: usize,
}

/// Right singular directions and their squared singular values.
pub(super) struct Directions {
    /// For each column of the matrix one row of `count` components. Each direction has length
    /// 2^[`Directions::BITS`].
    pub(super) rows: Vec<i32>,
    /// Squared singular values, descending, in units of the largest / 2^30.
    pub(super) squares: Vec<i64>,
}

impl Directions {
    /// Fractional bits of the components.
    pub(super) const BITS: u32 = 20;

    /// Number of directions.
    pub(super) fn count(&self) -> usize {
        self.squares.len()
    }
}

impl Sparse {
    /// The leading `wanted` directions, fewer if the matrix has a smaller rank.
    pub(super) fn directions(&self, wanted: usize) -> Directions {
        let height = self.rows.len();
        let width = (wanted + OVERSAMPLING).min(height).min(self.columns);
        let mut mix = Mix(0x746f_6b61);
        let mut block: Vec<Vec<i32>> = (0..width)
            .map(|_| (0..height).map(|_| (mix.next() >> 44) as i32 - (1 << 19)).collect())
            .collect();
        orthonormalise(&mut block);
        for _ in 0..if height < FEW_ROWS { FEW_ITERATIONS } else { ITERATIONS } {
            let image = self.times(&self.transposed_times(&block), width);
            block = columns_of(&image, width, 1);
            orthonormalise(&mut block);
        }
        let projected = self.transposed_times(&block);
        let image = columns_of(&self.times(&projected, width), width, width);
        let mut gram = vec![0i64; width * width];
        for row in 0..width {
            for column in 0..width {
                gram[row * width + column] = dot(&block[row], &image[column]);
            }
        }
        let rotation = Rotation::diagonalise(gram, width);
        self.rotate(&projected, &rotation, wanted)
    }

    /// Aᵀ·block, one row of `block.len()` numbers for each column of A.
    fn transposed_times(&self, block: &[Vec<i32>]) -> Vec<i32> {
        let width = block.len();
        let mut sums = vec![0i64; self.columns * width];
        let mut row_of_block = vec![0i64; width];
        for (number, row) in self.rows.iter().enumerate() {
            for (target, column) in row_of_block.iter_mut().zip(block) {
                *target = i64::from(column[number]);
            }
            for &(column, weight) in row {
                let weight = i64::from(weight);
                let target = &mut sums[column as usize * width..][..width];
                for (sum, value) in target.iter_mut().zip(&row_of_block) {
                    *sum += weight * value;
                }
            }
        }
        // A column's image is at most √rows times as long as the column: 2^7 for 2^13 rows.
        sums.iter().map(|sum| (sum >> (WEIGHT_BITS + 2)) as i32).collect()
    }

    /// A·block, row by row.
    fn times(&self, block: &[i32], width: usize) -> Vec<i64> {
        let mut sums = vec![0i64; self.rows.len() * width];
        for (row, target) in self.rows.iter().zip(sums.chunks_exact_mut(width.max(1))) {
            for &(column, weight) in row {
                let weight = i64::from(weight);
                let source = &block[column as usize * width..][..width];
                for (sum, value) in target.iter_mut().zip(source) {
                    *sum += weight * i64::from(*value);
                }
            }
        }
        sums
    }

    fn rotate(&self, projected: &[i32], rotation: &Rotation, wanted: usize) -> Directions {
        let width = rotation.width;
        let kept: Vec<usize> =
            rotation.order.iter().copied().take(wanted).filter(|&index| rotation.values[index] > 0).collect();
        let count = kept.len();
        // Column-wise coefficients in one place, so that the inner loop runs over neighbours.
        let mut coefficients = vec![0i64; width * count];
        for (place, &index) in kept.iter().enumerate() {
            for from in 0..width {
                coefficients[from * count + place] = rotation.vectors[from * width + index];
            }
        }
        let mut turned = vec![0i64; self.columns * count];
        if count > 0 {
            for (source, target) in projected.chunks_exact(width).zip(turned.chunks_exact_mut(count)) {
                for (value, row) in source.iter().zip(coefficients.chunks_exact(count)) {
                    for (sum, coefficient) in target.iter_mut().zip(row) {
                        *sum += (i64::from(*value) * coefficient) >> 20;
                    }
                }
            }
        }
        let mut lengths = vec![0i128; count];
        for row in turned.chunks_exact(count.max(1)) {
            for (length, value) in lengths.iter_mut().zip(row) {
                *length += i128::from(*value) * i128::from(*value);
            }
        }
        let lengths: Vec<i64> = lengths.iter().map(|square| (square.isqrt() as i64).max(1)).collect();
        let mut rows = Vec::with_capacity(turned.len());
        for row in turned.chunks_exact(count.max(1)) {
            rows.extend(row.iter().zip(&lengths).map(|(value, length)| {
                ((i128::from(*value) << Directions::BITS) / i128::from(*length)) as i32
            }));
        }
        let largest = kept.first().map_or(1, |&index| rotation.values[index].max(1));
        let squares = kept
            .iter()
            .map(|&index| ((i128::from(rotation.values[index]) << 30) / i128::from(largest)).max(1) as i64)
            .collect();
        Directions { rows, squares }
    }
}

/// Splits row-major numbers into columns whose largest entry has [`COLUMN_BITS`] bits: each column on its
/// own scale if `group` is one, all on one scale if it is the width.
fn columns_of(rows: &[i64], width: usize, group: usize) -> Vec<Vec<i32>> {
    let mut largest = vec![0u64; width];
    for row in rows.chunks_exact(width.max(1)) {
        for (most, value) in largest.iter_mut().zip(row) {
            *most = (*most).max(value.unsigned_abs());
        }
    }
    if group > 1 {
        let most = largest.iter().copied().max().unwrap_or(0);
        largest.fill(most);
    }
    (0..width)
        .map(|column| {
            let bits = 64 - largest[column].leading_zeros();
            let down = bits.saturating_sub(COLUMN_BITS);
            let up = COLUMN_BITS.saturating_sub(bits).min(COLUMN_BITS);
            rows.iter().skip(column).step_by(width).map(|value| ((value >> down) << up) as i32).collect()
        })
        .collect()
}

fn dot(left: &[i32], right: &[i32]) -> i64 {
    left.iter().zip(right).map(|(a, b)| i64::from(*a) * i64::from(*b)).sum()
}

/// Modified Gram–Schmidt; each column gets length 2^[`COLUMN_BITS`], one without a direction of its own
/// becomes zero. Two passes over each column, since one loses orthogonality when columns are close.
fn orthonormalise(columns: &mut [Vec<i32>]) {
    for index in 0..columns.len() {
        let (done, rest) = columns.split_at_mut(index);
        let column = &mut rest[0];
        let before = dot(column, column).isqrt();
        for _ in 0..2 {
            for other in done.iter() {
                let along = dot(column, other) >> COLUMN_BITS;
                for (value, direction) in column.iter_mut().zip(other) {
                    *value -= ((along * i64::from(*direction)) >> COLUMN_BITS) as i32;
                }
            }
        }
        let length = dot(column, column).isqrt();
        // What is left of a dependent column is rounding.
        if length == 0 || length < before >> 16 {
            column.fill(0);
            continue;
        }
        for value in column.iter_mut() {
            *value = ((i64::from(*value) << COLUMN_BITS) / length) as i32;
        }
    }
}

/// Eigenvalues and eigenvectors of a small symmetric matrix.
struct Rotation {
    width: usize,
    values: Vec<i64>,
    /// Column `i` is the vector of value `i`; unit length is 2^[`ROTATION_BITS`].
    vectors: Vec<i64>,
    /// Indices by falling value.
    order: Vec<usize>,
}

impl Rotation {
    fn diagonalise(mut matrix: Vec<i64>, width: usize) -> Self {
        let largest = matrix.iter().map(|v| v.unsigned_abs()).max().unwrap_or(0);
        // 31 bits leave room for the product with a rotation.
        let down = (64 - largest.leading_zeros()).saturating_sub(31);
        for value in &mut matrix {
            *value >>= down;
        }
        for row in 0..width {
            for column in 0..row {
                let mean = i64::midpoint(matrix[row * width + column], matrix[column * width + row]);
                matrix[row * width + column] = mean;
                matrix[column * width + row] = mean;
            }
        }
        let mut vectors = vec![0i64; width * width];
        for index in 0..width {
            vectors[index * width + index] = 1 << ROTATION_BITS;
        }
        for _ in 0..SWEEPS {
            let mut turned = false;
            for p in 0..width {
                for q in p + 1..width {
                    if matrix[p * width + q].abs() > 1 {
                        turned = true;
                        turn(&mut matrix, &mut vectors, width, p, q);
                    }
                }
            }
            if !turned {
                break;
            }
        }
        let values: Vec<i64> = (0..width).map(|index| matrix[index * width + index]).collect();
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by_key(|&index| (std::cmp::Reverse(values[index]), index));
        Self { width, values, vectors, order }
    }
}

fn turn(matrix: &mut [i64], vectors: &mut [i64], width: usize, p: usize, q: usize) {
    let difference = i128::from(matrix[q * width + q] - matrix[p * width + p]);
    let twice = 2 * i128::from(matrix[p * width + q]);
    let length = (difference * difference + twice * twice).isqrt();
    let sign = if difference < 0 { -1 } else { 1 };
    let tangent = sign * (twice << ROTATION_BITS) / (difference.abs() + length);
    let one = 1i128 << ROTATION_BITS;
    let cosine = ((one * one) / (one * one + tangent * tangent).isqrt()) as i64;
    let sine = ((tangent * i128::from(cosine)) >> ROTATION_BITS) as i64;
    let half = 1i64 << (ROTATION_BITS - 1);
    let mix = |a: i64, b: i64| {
        ((cosine * a - sine * b + half) >> ROTATION_BITS, (sine * a + cosine * b + half) >> ROTATION_BITS)
    };
    for index in 0..width {
        let (a, b) = mix(matrix[index * width + p], matrix[index * width + q]);
        matrix[index * width + p] = a;
        matrix[index * width + q] = b;
        let (a, b) = mix(vectors[index * width + p], vectors[index * width + q]);
        vectors[index * width + p] = a;
        vectors[index * width + q] = b;
    }
    for index in 0..width {
        let (a, b) = mix(matrix[p * width + index], matrix[q * width + index]);
        matrix[p * width + index] = a;
        matrix[q * width + index] = b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two blocks of rows that share no column have two leading directions, one for each block.
    #[test]
    fn separate_blocks_give_separate_directions() {
        let one = 1 << WEIGHT_BITS;
        let rows = (0..36)
            .map(|row| {
                let base = if row < 24 { 0 } else { 4 };
                (0..3).map(|c| (base + (row + c) % 4, one)).collect()
            })
            .collect();
        let sparse = Sparse { rows, columns: 8 };
        let directions = sparse.directions(2);
        assert_eq!(directions.count(), 2);
        assert_eq!(directions.squares[0], 1 << 30);
        let halved = directions.squares[1] as f64 / f64::from(1 << 30);
        assert!((halved - 0.5).abs() < 0.02, "24 rows against 12: {halved}");
        for (column, row) in directions.rows.chunks(2).enumerate() {
            let (own, other) = if column < 4 { (row[0], row[1]) } else { (row[1], row[0]) };
            let half = 1 << (Directions::BITS - 1);
            assert!((own.abs() - half).abs() < half / 20, "column {column}: {row:?}");
            assert!(other.abs() < half / 20, "column {column}: {row:?}");
        }
    }

    #[test]
    fn degenerate_matrices_have_no_more_directions_than_rank() {
        let check = |rows: Vec<Vec<(u32, i32)>>, columns, rank| {
            let directions = Sparse { rows, columns }.directions(16);
            assert!(directions.count() <= rank, "{}", directions.count());
        };
        check(vec![], 0, 0);
        check(vec![vec![]; 5], 3, 0);
        check(vec![vec![(0, 4096)]; 40], 1, 1);
        check(vec![vec![(0, 4096), (1, 4096)]; 40], 2, 1);
    }
}
