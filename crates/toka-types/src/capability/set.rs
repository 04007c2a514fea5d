//! What one grant allows: several capabilities together.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::when::When;
use super::{Capability, CapabilityError, MAX_CAPABILITIES, Request};
use crate::time::Timestamp;

/// Most capabilities that together may cover one which none of them covers alone: so many parts are written by nobody,
/// and looking at all ways to put them together would hold up whoever asks for a grant. What would take more counts as
/// not covered.
pub const MAX_JOINED: usize = 64;

/// At most [`MAX_CAPABILITIES`] capabilities, sorted, each once; clones share them. It allows what any of them allows; the empty
/// set allows nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CapabilitySet(Arc<[Capability]>);

impl CapabilitySet {
    /// The set that allows nothing.
    pub fn none() -> Self {
        Self::default()
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
        Ok(Self(set.into()))
    }

    /// The set of the capabilities with these texts.
    ///
    /// # Errors
    /// As for one capability, and [`CapabilityError::TooMany`].
    pub fn parse<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Self, CapabilityError> {
        let parsed: Result<Vec<Capability>, _> = texts.into_iter().map(|t| t.as_ref().parse()).collect();
        Self::new(parsed?)
    }

    /// True if one of the capabilities allows `request` at any time and any number of times. Allocates nothing.
    pub fn allows(&self, request: &Request<'_>) -> bool {
        request.is_normal()
            && self
                .0
                .iter()
                .any(|c| c.when == When::ALWAYS && c.limits.is_none() && c.answers_normal(request))
    }

    /// True if one of the capabilities allows `request` at `at` and any number of times. Allocates nothing.
    pub fn allows_at(&self, request: &Request<'_>, at: Timestamp) -> bool {
        let allows = |c: &Capability| c.limits.is_none() && c.when.has(at) && c.answers_normal(request);
        request.is_normal() && self.0.iter().any(allows)
    }

    /// The capabilities that allow `request` at `at`, each as long as its [`limits`](Capability::limits) are kept: first
    /// those without limits, then the others, in order. Allocates nothing.
    pub fn allowing<'s>(
        &'s self,
        request: &'s Request<'_>,
        at: Timestamp,
    ) -> impl Iterator<Item = &'s Capability> {
        let normal = request.is_normal();
        let of = move |limited: bool| {
            let one = move |c: &&Capability| {
                normal && c.limits.is_none() != limited && c.when.has(at) && c.answers_normal(request)
            };
            self.0.iter().filter(one)
        };
        of(false).chain(of(true))
    }

    /// True if one of the capabilities has limits.
    pub fn has_limits(&self) -> bool {
        self.0.iter().any(|capability| !capability.limits.is_none())
    }

    /// The capabilities without limits.
    #[must_use]
    pub fn unlimited(&self) -> Self {
        Self(self.0.iter().filter(|capability| capability.limits.is_none()).cloned().collect())
    }

    /// True if this set allows everything that `other` allows, and exactly then (but for what [`MAX_JOINED`]
    /// says). Where several of this set's capabilities have a part in one of `other`'s, each part has one that covers
    /// all arguments in it and all histories of uses: parts differ in the number of an action's segments and in time alone,
    /// since a request may have several arguments of one name, and then one capability must allow all of them.
    pub fn covers(&self, other: &Self) -> bool {
        self.first_uncovered(other).is_none()
    }

    /// The first of `other`'s capabilities that [`covers`](Self::covers) misses.
    pub fn first_uncovered<'o>(&self, other: &'o Self) -> Option<&'o Capability> {
        other.0.iter().find(|theirs| !self.covers_one(theirs))
    }

    /// True if this set allows everything that `capability` allows.
    pub fn covers_one(&self, capability: &Capability) -> bool {
        self.0.iter().any(|ours| ours.covers(capability)) || self.covers_jointly(capability)
    }

    /// True if several capabilities together cover `one`.
    fn covers_jointly(&self, one: &Capability) -> bool {
        let Some(target) = &one.target else { return false };
        let open = target.action.is_endless();
        // With how many segments in place of its last `**` each part covers the action, and when.
        let mut parts: Vec<(usize, bool, When)> = Vec::new();
        for ours in self.0.iter().filter(|ours| ours.covers_arguments(one)) {
            let slices = match &ours.target {
                None => Some((0, true)),
                Some(t) if t.resource != target.resource => None,
                Some(t) if open => t.action.covers_slices(&target.action),
                Some(t) => t.action.covers(&target.action).then_some((0, true)),
            };
            if let Some((from, and_more)) = slices {
                parts.push((from, and_more, ours.when));
            }
        }
        if parts.len() > MAX_JOINED {
            return false;
        }
        // The parts that count change only at these numbers; past the last one none changes any more.
        let fewest = if open { target.action.fewest() } else { 0 };
        let mut numbers: Vec<usize> = parts.iter().flat_map(|(from, ..)| [*from, from + 1]).collect();
        numbers.push(fewest);
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().filter(|number| *number >= fewest).all(|number| {
            let covers = |(from, and_more, _): &&(usize, bool, When)| {
                if *and_more { number >= *from } else { number == *from }
            };
            let times: Vec<When> = parts.iter().filter(covers).map(|(.., when)| *when).collect();
            !times.is_empty() && one.when.covered_by(&times)
        })
    }

    /// The set that allows exactly what both allow; a capability that another one covers is left out.
    ///
    /// # Errors
    /// Those of [`Capability::intersect`], and [`CapabilityError::TooMany`].
    pub fn intersect(&self, other: &Self) -> Result<Self, CapabilityError> {
        let mut both: Vec<Capability> = Vec::new();
        for ours in self.0.iter() {
            for theirs in other.0.iter() {
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
        for capability in self.0.iter() {
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
