//! What every scheme checks in the same way: which claims may be issued, and who is admitted when.

use std::sync::Arc;
use std::time::Duration;

use toka_types::path::for_terminal;
use toka_types::{EntityId, Timestamp};

use crate::cache::Cache;
use crate::key::KeyId;
use crate::token::{Claims, DEFAULT_TTL, MAX_TOKEN, Signed, TokenError, Verified};

/// Longest audience, in bytes.
pub const MAX_AUDIENCE: usize = 128;

/// Microseconds in a second.
const MICROS: i64 = 1_000_000;

/// The entry of one audience, which is one vault.
#[derive(Debug)]
pub(crate) struct Gate {
    issuer: EntityId,
    audience: String,
    longest: Duration,
    opened: Cache<Opened>,
}

/// What stood under valid signatures.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) signed: Arc<Signed>,
    pub(crate) audience: String,
    pub(crate) key: KeyId,
    /// When its key is accepted no more.
    pub(crate) key_ends: Option<Timestamp>,
}

/// Times as tokens have them, in seconds after the epoch.
pub(crate) struct Seconds {
    pub(crate) issued: i64,
    pub(crate) not_before: Option<i64>,
    pub(crate) expires: i64,
    pub(crate) renewable_until: Option<i64>,
}

impl Gate {
    pub(crate) fn new(audience: impl Into<String>) -> Result<Self, TokenError> {
        let audience = audience.into();
        if audience.is_empty() || audience.len() > MAX_AUDIENCE {
            let problem = format!("an audience has 1 to {MAX_AUDIENCE} bytes, and this {}", audience.len());
            return Err(TokenError::CannotIssue(problem));
        }
        let issuer = EntityId::operator();
        Ok(Self { issuer, audience, longest: DEFAULT_TTL, opened: Cache::new() })
    }

    pub(crate) fn set_longest(&mut self, longest: Duration) {
        self.longest = longest;
    }

    pub(crate) fn audience(&self) -> &str {
        &self.audience
    }

    /// The times of a token that says `claims`, if one may say them.
    pub(crate) fn issuable(&self, claims: &Claims) -> Result<Seconds, TokenError> {
        let refused = |problem: &str| Err(TokenError::CannotIssue(problem.to_owned()));
        if claims.issuer != self.issuer {
            return refused("the issuer does not own the key");
        }
        let seconds = Seconds {
            issued: claims.issued.0.div_euclid(MICROS),
            // Rounded up, so that the token does not begin early.
            not_before: claims
                .not_before
                .map(|at| at.0.div_euclid(MICROS) + i64::from(at.0.rem_euclid(MICROS) > 0)),
            expires: claims.expires.0.div_euclid(MICROS),
            renewable_until: claims.renewable_until.map(|at| at.0.div_euclid(MICROS)),
        };
        let begins = seconds.not_before.map_or(seconds.issued, |at| at.max(seconds.issued));
        if seconds.expires <= begins {
            return refused("it would expire before the second in which it begins is over");
        }
        let asked = seconds.expires.saturating_sub(begins);
        let longest = self.longest.as_secs();
        if u64::try_from(asked).is_ok_and(|asked| asked > longest) {
            return Err(TokenError::TooLong { asked, longest });
        }
        Ok(seconds)
    }

    /// Verifies `token` as of `at`; `open` checks all that time cannot change, and is asked once for each text.
    pub(crate) fn admit(
        &self,
        token: &str,
        at: Timestamp,
        open: impl FnOnce() -> Result<Opened, TokenError>,
    ) -> Result<Verified, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLarge { size: token.len() });
        }
        let opened = match self.opened.get(token) {
            Some(opened) => opened,
            None => {
                let opened = Arc::new(open()?);
                self.opened.insert(token, Arc::clone(&opened));
                opened
            }
        };
        if let Some(until) = opened.key_ends.filter(|until| at >= *until) {
            return Err(TokenError::RetiredKey { key: opened.key.to_string(), until: seconds(until) });
        }
        let verified = Verified::new(Arc::clone(&opened.signed));
        if verified.claims().issuer != self.issuer {
            return Err(TokenError::Issuer(verified.claims().issuer));
        }
        if opened.audience != self.audience {
            let found = shown(&opened.audience);
            return Err(TokenError::Audience { found, expected: self.audience.clone() });
        }
        if at < opened.signed.begins() {
            return Err(TokenError::NotYetValid { begins: seconds(opened.signed.begins()) });
        }
        if at >= verified.expires() {
            return Err(TokenError::Expired { expired: seconds(verified.expires()) });
        }
        Ok(verified)
    }
}

/// The time of so many seconds after the epoch.
pub(crate) fn from_seconds(seconds: i64) -> Timestamp {
    Timestamp(seconds.saturating_mul(MICROS))
}

pub(crate) fn seconds(at: Timestamp) -> i64 {
    at.0.div_euclid(MICROS)
}

/// The first characters of what a stranger wrote, as a terminal may show them.
pub(crate) fn shown(text: &str) -> String {
    for_terminal(&text.chars().take(MAX_AUDIENCE).collect::<String>())
}
