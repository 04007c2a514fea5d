//! What was used of tokens that were narrowed down to capabilities with limits.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use toka_types::capability::Meter;
use toka_types::facts::TokenUsed;
use toka_types::{Capability, Digest, GrantId, Timestamp};

use crate::world::WorldState;

/// The meters of all tokens that could still be shown. It is empty in a world in which no such token was used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenMeters {
    grants: BTreeMap<GrantId, OfGrant>,
    /// When something of a grant is to be forgotten.
    ends: BTreeSet<(Timestamp, GrantId)>,
}

/// Those of one grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct OfGrant {
    /// How many capabilities are counted.
    count: u64,
    narrowings: BTreeMap<Digest, Narrowing>,
}

/// What was used of one narrowing, by whatever was made of the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Narrowing {
    until: Timestamp,
    used: BTreeMap<Capability, Meter>,
}

impl TokenMeters {
    pub(crate) fn is_empty(&self) -> bool {
        self.grants.is_empty() && self.ends.is_empty()
    }

    /// What was used of a capability; `None` if nothing was.
    pub(crate) fn get(&self, grant: GrantId, meter: &Digest, capability: &Capability) -> Option<&Meter> {
        self.grants.get(&grant)?.narrowings.get(meter)?.used.get(capability)
    }

    /// How many capabilities are counted under a grant and have to be remembered at `at`.
    pub(crate) fn live(&self, grant: GrantId, at: Timestamp) -> u64 {
        let Some(of) = self.grants.get(&grant) else { return 0 };
        // Since the last event some may have ended.
        match self.ends.first() {
            Some((first, _)) if *first <= at => {
                let live = of.narrowings.values().filter(|narrowing| narrowing.until > at);
                live.map(|narrowing| narrowing.used.len() as u64).sum()
            }
            _ => of.count,
        }
    }

    /// Counts uses, which are remembered until `until`.
    fn count(&mut self, used: &TokenUsed, until: Timestamp, at: Timestamp) {
        let of = self.grants.entry(used.grant).or_default();
        let fresh = || Narrowing { until, used: BTreeMap::new() };
        let narrowing = of.narrowings.entry(used.meter).or_insert_with(fresh);
        narrowing.until = narrowing.until.max(until);
        self.ends.insert((narrowing.until, used.grant));
        of.count += u64::from(!narrowing.used.contains_key(&used.capability));
        narrowing.used.entry(used.capability.clone()).or_default().count(used.times, at);
    }

    /// Forgets what cannot be shown any more at `at`.
    pub(crate) fn forget_before(&mut self, at: Timestamp) {
        while let Some(&(until, grant)) = self.ends.first().filter(|(until, _)| *until <= at) {
            self.ends.remove(&(until, grant));
            let Some(of) = self.grants.get_mut(&grant) else { continue };
            of.narrowings.retain(|_, narrowing| narrowing.until > at);
            of.count = of.narrowings.values().map(|narrowing| narrowing.used.len() as u64).sum();
            if of.narrowings.is_empty() {
                self.grants.remove(&grant);
            }
        }
    }

    /// Forgets all that was counted under a grant that is void: nothing is accepted under it any more.
    pub(crate) fn forget_grant(&mut self, grant: GrantId) {
        for narrowing in self.grants.remove(&grant).into_iter().flat_map(|of| of.narrowings.into_values()) {
            self.ends.remove(&(narrowing.until, grant));
        }
    }
}

impl WorldState {
    /// How often a capability was used that tokens of `grant` were narrowed down to, by all tokens with that `meter`
    /// ([`Metered::meter`](toka_types::operation::Metered::meter)).
    pub fn token_meter(&self, grant: GrantId, meter: &Digest, capability: &Capability) -> Meter {
        let meters = &self.authorities.safeguards.token_meters;
        meters.get(grant, meter, capability).copied().unwrap_or_default()
    }

    /// How many capabilities with limits in tokens of `grant` are counted at `at`.
    pub fn token_meters(&self, grant: GrantId, at: Timestamp) -> u64 {
        self.authorities.safeguards.token_meters.live(grant, at)
    }

    pub(crate) fn count_token_use(&mut self, used: &TokenUsed, at: Timestamp) {
        // What a damaged log says of a grant that is not there is not remembered.
        if let Some(grant) = self.grant(used.grant).filter(|grant| !grant.revoked) {
            // After the grant's end nothing is accepted under it.
            let until = grant.expires.map_or(used.until, |ends| ends.min(used.until));
            self.authorities.safeguards.token_meters.count(used, until, at);
        }
    }
}
