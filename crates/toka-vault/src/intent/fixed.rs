//! Integer arithmetic for what is learnt: the same bits on every machine, which floating point does
//! not promise across compilers and CPUs.

/// Binary logarithm in units of 1/256, exact to the last unit; zero for zero.
#[cfg(any(feature = "search", test))]
pub(crate) fn log2_q8(value: u64) -> u32 {
    if value == 0 {
        return 0;
    }
    let whole = value.ilog2();
    // The mantissa in [1, 2) as 1.31 fixed point; squaring it yields one bit of the logarithm a step.
    let mut mantissa = if whole >= 31 { value >> (whole - 31) } else { value << (31 - whole) };
    let mut result = whole;
    for _ in 0..8 {
        mantissa = (mantissa * mantissa) >> 31;
        result <<= 1;
        if mantissa >= 1 << 32 {
            mantissa >>= 1;
            result |= 1;
        }
    }
    result
}

/// Dot product of two vectors of 8-bit components. The slices are equally long.
pub(crate) fn dot_i8(left: &[i8], right: &[i8]) -> i32 {
    let mut sum = 0i32;
    for (a, b) in left.iter().zip(right) {
        sum += i32::from(i16::from(*a) * i16::from(*b));
    }
    sum
}

/// The same with one side brought to 16 bits before: what is compared with many is widened once, and of pieces of
/// fixed length the compiler makes eight products at a time on any 64-bit CPU. Vectors of ±127 may have 2^17
/// components.
pub(crate) fn dot_wide(left: &[i16], right: &[i8]) -> i32 {
    const PIECE: usize = 32;
    let ((left, left_rest), (right, right_rest)) = (left.as_chunks::<PIECE>(), right.as_chunks::<PIECE>());
    let mut sum = 0i32;
    for (left, right) in left.iter().zip(right) {
        let mut piece = 0i32;
        for (a, b) in left.iter().zip(right) {
            piece += i32::from(*a) * i32::from(*b);
        }
        sum += piece;
    }
    for (a, b) in left_rest.iter().zip(right_rest) {
        sum += i32::from(*a) * i32::from(*b);
    }
    sum
}

/// Brings components to 16 bits for [`dot_wide`].
pub(crate) fn widened(components: &[i8]) -> Vec<i16> {
    components.iter().map(|component| i16::from(*component)).collect()
}

/// Cosine in units of 1/32,768 from a dot product and the two squared lengths; zero if one is zero.
pub(crate) fn cosine(dot: i64, left_square: i64, right_square: i64) -> i32 {
    let length = (i128::from(left_square) * i128::from(right_square)).isqrt();
    if length == 0 {
        return 0;
    }
    let scaled = (i128::from(dot) * i128::from(ONE)) / length;
    scaled.clamp(-i128::from(ONE), i128::from(ONE)) as i32
}

/// The cosine of identical directions.
pub(crate) const ONE: i32 = 1 << 15;

/// Quantises a direction to 8 bits, the largest component to ±127. All zero stays all zero.
pub(crate) fn quantise(components: &[i64], out: &mut [i8]) {
    let largest = components.iter().map(|c| c.unsigned_abs()).max().unwrap_or(0);
    if largest == 0 {
        out.fill(0);
        return;
    }
    let largest = i128::from(largest);
    for (component, target) in components.iter().zip(out) {
        let scaled = i128::from(*component) * 127;
        let half = if scaled < 0 { -largest / 2 } else { largest / 2 };
        *target = ((scaled + half) / largest) as i8;
    }
}

/// A small generator of well-mixed words (splitmix64) for the start of iterations; a constant seed makes
/// it part of the format.
pub(crate) struct Mix(pub(crate) u64);

impl Mix {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms() {
        for (value, expected) in [(0, 0), (1, 0), (2, 256), (3, 405), (1 << 40, 40 * 256)] {
            assert_eq!(log2_q8(value), expected, "log2 of {value}");
        }
        assert_eq!(log2_q8(u64::MAX), 64 * 256 - 1);
    }

    #[test]
    fn dot_products_agree() {
        let mut mix = Mix(9);
        for length in [0, 1, 31, 32, 33, 768, 1000] {
            let mut vector = || (0..length).map(|_| (mix.next() >> 56) as i8).collect::<Vec<i8>>();
            let (left, right) = (vector(), vector());
            let plain: i32 = left.iter().zip(&right).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
            assert_eq!(
                (dot_i8(&left, &right), dot_wide(&widened(&left), &right)),
                (plain, plain),
                "{length}"
            );
        }
    }

    #[test]
    fn quantised_directions_keep_sign_and_size() {
        let check = |input: &[i64], expected: &[i8]| {
            let mut out = vec![0; input.len()];
            quantise(input, &mut out);
            assert_eq!(out, expected);
        };
        check(&[0, 0], &[0, 0]);
        check(&[10, -10, 5], &[127, -127, 64]);
        check(&[i64::MIN, i64::MAX], &[-127, 127]);
    }
}
