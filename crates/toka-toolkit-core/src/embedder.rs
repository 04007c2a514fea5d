//! Turning text into vectors: the contract that lexical and model-backed embedders share.

use thiserror::Error;

/// Turns texts into unit vectors of a fixed dimension.
///
/// Object-safe, so that a vault can be handed a lexical embedder, a local model or a remote service
/// without knowing which.
///
/// # Contract
/// - Two embedders with the same [`id`](Embedder::id) give the same vectors for the same texts, on
///   every machine. An embedder that cannot promise this (a model on another CPU) has its vectors
///   recorded where they are first made; nobody computes them a second time.
/// - Every vector has exactly [`dimension`](Embedder::dimension) components.
/// - A text that the embedder knows nothing about gives the zero vector, which is similar to nothing;
///   it is not an error.
pub trait Embedder: Send + Sync {
    /// Name and version of the embedder together with whatever it has learnt, for example
    /// `lexical/1:5f3a91c2`. Vectors under different ids must not be compared.
    fn id(&self) -> &str;

    /// Number of components of every vector.
    fn dimension(&self) -> usize;

    /// Embeds the texts, one vector for each, in the same order.
    ///
    /// # Errors
    /// Returns [`EmbedError`] if the embedder cannot read what it has learnt or cannot reach its
    /// model. No vector is returned then, not even for the texts that came before.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, EmbedError>;
}

/// A direction in the embedder's space, quantised.
///
/// The components are proportional to those of the unit vector; the factor differs from vector to
/// vector so that the largest component uses the whole range. Compare with
/// [`cosine`](Embedding::cosine), which takes the lengths into account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Embedding {
    /// 8 bits a component.
    Bits8(Vec<i8>),
    /// 16 bits a component.
    Bits16(Vec<i16>),
}

impl Embedding {
    /// Number of components.
    #[must_use]
    pub fn dimension(&self) -> usize {
        match self {
            Self::Bits8(components) => components.len(),
            Self::Bits16(components) => components.len(),
        }
    }

    /// Cosine of the angle between two vectors in units of 1/32,768, computed in integers: the same
    /// on every machine. Zero if either is the zero vector or the dimensions differ.
    #[must_use]
    pub fn cosine(&self, other: &Self) -> i32 {
        if self.dimension() != other.dimension() {
            return 0;
        }
        let mut dot = 0i128;
        let (mut left, mut right) = (0i128, 0i128);
        for index in 0..self.dimension() {
            let (a, b) = (self.component(index), other.component(index));
            dot += a * b;
            left += a * a;
            right += b * b;
        }
        let length = (left * right).isqrt();
        if length == 0 {
            return 0;
        }
        let scaled = (dot * i128::from(COSINE_ONE)) / length;
        i32::try_from(scaled.clamp(-i128::from(COSINE_ONE), i128::from(COSINE_ONE))).unwrap_or(0)
    }

    fn component(&self, index: usize) -> i128 {
        match self {
            Self::Bits8(components) => i128::from(components[index]),
            Self::Bits16(components) => i128::from(components[index]),
        }
    }
}

/// The cosine of identical directions as [`Embedding::cosine`] gives it.
pub const COSINE_ONE: i32 = 1 << 15;

/// Why no vectors could be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EmbedError {
    /// What the embedder has learnt cannot be read.
    #[error("embedder {id} cannot read what it has learnt: {reason}")]
    Unreadable {
        /// The embedder's id.
        id: String,
        /// What went wrong.
        reason: String,
    },
    /// The model behind the embedder did not answer.
    #[error("embedder {id} did not answer: {reason}")]
    Unavailable {
        /// The embedder's id.
        id: String,
        /// What went wrong.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_is_of_direction_alone() {
        let check = |a: Embedding, b: Embedding, expected: i32| assert_eq!(a.cosine(&b), expected);
        check(Embedding::Bits8(vec![3, 4]), Embedding::Bits16(vec![3000, 4000]), COSINE_ONE);
        check(Embedding::Bits8(vec![1, 0]), Embedding::Bits8(vec![0, 1]), 0);
        check(Embedding::Bits8(vec![-127; 64]), Embedding::Bits16(vec![i16::MAX; 64]), -COSINE_ONE);
        check(Embedding::Bits8(vec![0, 0]), Embedding::Bits8(vec![1, 1]), 0);
        check(Embedding::Bits8(vec![1]), Embedding::Bits8(vec![1, 1]), 0);
    }
}
