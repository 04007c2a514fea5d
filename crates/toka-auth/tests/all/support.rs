//! What all tests start from.

use std::time::Duration;

use toka_auth::{Claims, OperatorKey};
use toka_types::capability::CapabilitySet;
use toka_types::{EntityId, GrantId, OpId, Timestamp};

pub(crate) type Outcome = Result<(), Box<dyn std::error::Error>>;

pub(crate) const SEED: [u8; 32] = [7; 32];
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

pub(crate) fn key() -> OperatorKey {
    OperatorKey::from_seed(&SEED)
}

pub(crate) fn claims() -> Claims {
    Claims {
        issuer: EntityId::operator(),
        subject: EntityId::named("alice"),
        grant: GrantId(7),
        issued: NOW,
        not_before: None,
        expires: later(900),
        renewable_until: None,
        id: OpId::of(&[b"1"]),
        holder: None,
        attenuation: None,
        metered: Vec::new(),
    }
}

/// So many seconds after [`NOW`].
pub(crate) fn later(seconds: u64) -> Timestamp {
    NOW.saturating_add(Duration::from_secs(seconds))
}

pub(crate) fn set(texts: &[&str]) -> CapabilitySet {
    CapabilitySet::parse(texts).unwrap_or_else(|e| panic!("{e}"))
}

/// How many random runs a test makes: a few, or as many as the environment says.
pub(crate) fn runs(variable: &str, short: u32) -> u32 {
    std::env::var(variable).ok().and_then(|n| n.parse().ok()).unwrap_or(short)
}
