//! Nonces: what an origin says once, and what remembers that it was said.

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use crate::time::Timestamp;

/// Longest time for which a nonce is remembered, and so the furthest end that something with a nonce may have.
pub const MAX_WINDOW: Duration = Duration::from_secs(5 * 60);
/// Most nonces of one origin that are remembered at once: more operations than that in five minutes are refused, so that
/// nobody fills the memory.
pub const MAX_NONCES: usize = 8192;

pub use crate::id::Nonce;

/// The nonces of one origin that were used and could still be used again.
///
/// What is remembered follows from what was burnt and when, and from nothing else: the same calls give the same window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NonceWindow {
    /// With their ends.
    burnt: BTreeMap<Nonce, Timestamp>,
    /// The same by their ends, by which they are forgotten.
    by_end: BTreeSet<(Timestamp, Nonce)>,
}

/// Why a nonce is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NonceError {
    /// It was used before.
    #[error("the nonce {nonce} was used before; sign again with a new one")]
    Replayed {
        /// The nonce.
        nonce: Nonce,
    },
    /// What it stands for is over.
    #[error("what the nonce stands for ended {} µs after the epoch; sign again", end.0)]
    Ended {
        /// The end.
        end: Timestamp,
    },
    /// It would have to be remembered for too long.
    #[error("the nonce would have to be remembered until {} µs after the epoch; at most {} s are", end.0, MAX_WINDOW.as_secs())]
    TooFar {
        /// The end.
        end: Timestamp,
    },
    /// Too many are remembered.
    #[error("{MAX_NONCES} nonces of this origin are in use; wait until some of them have ended")]
    Full,
}

impl NonceWindow {
    /// The window in which nothing was used.
    pub const fn new() -> Self {
        Self { burnt: BTreeMap::new(), by_end: BTreeSet::new() }
    }

    /// Says whether [`burn`](Self::burn) would accept the nonce.
    ///
    /// # Errors
    /// A [`NonceError`].
    pub fn check(&self, nonce: &Nonce, end: Timestamp, at: Timestamp) -> Result<(), NonceError> {
        if end <= at {
            return Err(NonceError::Ended { end });
        }
        if end.since(at) > MAX_WINDOW {
            return Err(NonceError::TooFar { end });
        }
        if self.burnt.get(nonce).is_some_and(|end| *end > at) {
            return Err(NonceError::Replayed { nonce: *nonce });
        }
        let full = self.burnt.len() >= MAX_NONCES;
        if full && self.by_end.first().is_none_or(|(first, _)| *first > at) {
            return Err(NonceError::Full);
        }
        Ok(())
    }

    /// When the last of them ends.
    pub fn end(&self) -> Option<Timestamp> {
        self.by_end.last().map(|(end, _)| *end)
    }

    /// Uses `nonce`, which stands for something that ends at `end`, at the time `at`, which is never before that of an
    /// earlier call. Until `end` the same nonce is refused.
    ///
    /// # Errors
    /// A [`NonceError`]; then the window has forgotten what has ended and is otherwise as before.
    pub fn burn(&mut self, nonce: Nonce, end: Timestamp, at: Timestamp) -> Result<(), NonceError> {
        while let Some(&(over, forgotten)) = self.by_end.first().filter(|(over, _)| *over <= at) {
            self.by_end.remove(&(over, forgotten));
            self.burnt.remove(&forgotten);
        }
        self.check(&nonce, end, at)?;
        self.burnt.insert(nonce, end);
        self.by_end.insert((end, nonce));
        Ok(())
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.burnt.len()
    }

    /// True if none is.
    pub fn is_empty(&self) -> bool {
        self.burnt.is_empty()
    }
}

impl NonceError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Replayed { .. } => "nonce.replayed",
            Self::Ended { .. } => "nonce.ended",
            Self::TooFar { .. } => "nonce.too-far",
            Self::Full => "nonce.full",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce(n: u64) -> Nonce {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        Nonce(bytes)
    }

    #[test]
    fn a_nonce_is_good_once_until_its_end() {
        let mut window = NonceWindow::new();
        let (start, end) = (Timestamp(1_000), Timestamp(2_000));
        assert_eq!(window.burn(nonce(1), end, start), Ok(()));
        assert_eq!(window.burn(nonce(1), end, start), Err(NonceError::Replayed { nonce: nonce(1) }));
        // Under another end it is the same nonce.
        let later = Timestamp(3_000);
        assert_eq!(
            window.burn(nonce(1), later, Timestamp(1_999)),
            Err(NonceError::Replayed { nonce: nonce(1) })
        );
        assert_eq!(window.burn(nonce(1), end, end), Err(NonceError::Ended { end }));
        assert!(window.is_empty());
        assert_eq!(window.burn(nonce(1), later, end), Ok(()));
        let far = end.saturating_add(MAX_WINDOW);
        assert_eq!(window.burn(nonce(2), far, end), Ok(()));
        let further = Timestamp(far.0 + 1);
        assert_eq!(window.burn(nonce(3), further, end), Err(NonceError::TooFar { end: further }));
        assert_eq!(window.len(), 2);
    }

    #[test]
    fn a_full_window_refuses_and_empties_with_time() {
        let mut window = NonceWindow::new();
        for n in 0..MAX_NONCES as u64 {
            assert_eq!(window.burn(nonce(n), Timestamp(1_000 + n as i64), Timestamp(0)), Ok(()));
        }
        let end = Timestamp(100_000);
        assert_eq!(window.burn(nonce(u64::MAX), end, Timestamp(999)), Err(NonceError::Full));
        assert_eq!(window.burn(nonce(u64::MAX), end, Timestamp(1_000)), Ok(()));
        assert_eq!(window.len(), MAX_NONCES);
    }
}
