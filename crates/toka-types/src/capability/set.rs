//! What one grant allows: several capabilities together.

use alloc::vec::Vec;

use super::{Capability, CapabilityError, MAX_CAPABILITIES, Request};

/// At most [`MAX_CAPABILITIES`] capabilities, sorted, each once. It allows what any of them allows; the empty
/// set allows nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CapabilitySet(Vec<Capability>);

impl CapabilitySet {
    /// The set that allows nothing.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// The set of `capabilities`, each counted once.
    ///
    /// # Errors
    /// [`CapabilityError::TooMany`] above [`MAX_CAPABILITIES`].
    pub fn new(capabilities: impl IntoIterator<Item = Capability>) -> Result<Self, CapabilityError> {
        let mut set: Vec<Capability> = capabilities.into_iter().collect();
        set.sort();
        set.dedup();
        if set.len() > MAX_CAPABILITIES {
            return Err(CapabilityError::TooMany { count: set.len() });
        }
        Ok(Self(set))
    }

    /// The set of the capabilities with these texts.
    ///
    /// # Errors
    /// As for one capability, and [`CapabilityError::TooMany`].
    pub fn parse<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Self, CapabilityError> {
        let parsed: Result<Vec<Capability>, _> = texts.into_iter().map(|t| t.as_ref().parse()).collect();
        Self::new(parsed?)
    }

    /// True if one of the capabilities allows `request`. Allocates nothing.
    pub fn allows(&self, request: &Request<'_>) -> bool {
        request.is_normal() && self.0.iter().any(|c| c.allows_normal(request))
    }

    /// True if each of `other`'s capabilities is covered by one of this set's.
    ///
    /// Then this set allows everything that `other` allows. The converse is not claimed: a capability that
    /// only several of this set's cover together counts as not covered, so that it is always one capability
    /// that answers for another.
    pub fn covers(&self, other: &Self) -> bool {
        self.first_uncovered(other).is_none()
    }

    /// The first of `other`'s capabilities that [`covers`](Self::covers) misses.
    pub fn first_uncovered<'o>(&self, other: &'o Self) -> Option<&'o Capability> {
        other.0.iter().find(|theirs| !self.0.iter().any(|ours| ours.covers(theirs)))
    }

    /// The set that allows exactly what both allow; a capability that another one covers is left out.
    ///
    /// # Errors
    /// Those of [`Capability::intersect`], and [`CapabilityError::TooMany`].
    pub fn intersect(&self, other: &Self) -> Result<Self, CapabilityError> {
        let mut both: Vec<Capability> = Vec::new();
        for ours in &self.0 {
            for theirs in &other.0 {
                let Some(new) = ours.intersect(theirs)? else {
                    continue;
                };
                if both.iter().any(|c| c.covers(&new)) {
                    continue;
                }
                both.retain(|c| !new.covers(c));
                both.push(new);
            }
        }
        Self::new(both)
    }

    /// The capability that came closest to allowing `request`: it is about the same resource, and agrees with
    /// the most of the action, then with the most arguments. `None` if none is about the resource.
    pub fn nearest(&self, request: &Request<'_>) -> Option<&Capability> {
        let mut best: Option<(&Capability, (usize, usize))> = None;
        for capability in &self.0 {
            let Some(closeness) = capability.closeness(request) else {
                continue;
            };
            if best.is_none_or(|(_, least)| closeness > least) {
                best = Some((capability, closeness));
            }
        }
        best.map(|(capability, _)| capability)
    }

    /// The capabilities in order.
    pub fn iter(&self) -> core::slice::Iter<'_, Capability> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are none, and nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a CapabilitySet {
    type Item = &'a Capability;
    type IntoIter = core::slice::Iter<'a, Capability>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(feature = "serde")]
mod serial {
    use super::*;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    impl Serialize for CapabilitySet {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for CapabilitySet {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Self::new(Vec::<Capability>::deserialize(deserializer)?).map_err(D::Error::custom)
        }
    }
}
