//! From the numbers of a model to a direction in integers.

use toka_toolkit_core::Embedding;

/// The largest quantised value; symmetric, so that negation is exact.
const LARGEST: f32 = i16::MAX as f32;

/// The direction of `values`; `None` if one of them is not finite.
pub(crate) fn direction(values: &[f32]) -> Option<Embedding> {
    if values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let factor = if largest > 0.0 { LARGEST / largest } else { 0.0 };
    // A tiny largest value makes an infinite factor: such a vector has no direction worth the name.
    let factor = if factor.is_finite() { factor } else { 0.0 };
    Some(Embedding::Bits16(values.iter().map(|value| (value * factor).round() as i16).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direction_uses_the_whole_range() {
        let check = |values: &[f32], expected: &[i16]| {
            assert_eq!(direction(values), Some(Embedding::Bits16(expected.to_vec())), "{values:?}");
        };
        check(&[0.5, -0.25, 0.0], &[i16::MAX, -16_384, 0]);
        check(&[-3.0, 3.0], &[-i16::MAX, i16::MAX]);
        check(&[0.0, 0.0], &[0, 0]);
        check(&[f32::MIN_POSITIVE, 0.0], &[0, 0]);
        assert_eq!(direction(&[1.0, f32::NAN]), None);
        assert_eq!(direction(&[f32::INFINITY]), None);
    }
}
