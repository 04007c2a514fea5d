//! The tokens of a vault's operator.

use std::time::Duration;

#[cfg(feature = "biscuit")]
use crate::biscuit::Biscuit;
use crate::jwt::EdDsa;
use crate::key::OperatorKey;
use crate::ring::KeyRing;
use crate::token::{Claims, TokenError, TokenScheme, Verified};
use toka_types::Timestamp;

/// Tokens that one operator's key signs: Biscuits, and EdDSA JWTs are accepted beside them. Built without the feature
/// `biscuit`, EdDSA JWTs are all there is.
///
/// That one key signs both is sound: what is signed of a JWT is letters, digits and dots, and what is signed of a Biscuit of
/// signature version 1, the only one accepted, begins with a zero byte.
#[derive(Debug)]
pub struct Operator {
    #[cfg(feature = "biscuit")]
    biscuit: Biscuit,
    jwt: EdDsa,
    #[cfg(feature = "biscuit")]
    issues_jwts: bool,
}

impl Operator {
    /// The scheme that signs with `key`, for `audience`.
    ///
    /// # Errors
    /// [`TokenError::CannotIssue`] if the audience is empty or longer than [`MAX_AUDIENCE`](crate::gate::MAX_AUDIENCE).
    pub fn new(key: OperatorKey, audience: impl Into<String>) -> Result<Self, TokenError> {
        let audience = audience.into();
        Ok(Self {
            #[cfg(feature = "biscuit")]
            biscuit: Biscuit::new(key.clone(), audience.clone())?,
            jwt: EdDsa::new(key, audience)?,
            #[cfg(feature = "biscuit")]
            issues_jwts: false,
        })
    }

    /// Accepts the keys of `keys` too, while keys change.
    #[must_use]
    pub fn accepting(self, keys: &KeyRing) -> Self {
        Self {
            #[cfg(feature = "biscuit")]
            biscuit: self.biscuit.accepting(keys),
            jwt: self.jwt.accepting(keys),
            #[cfg(feature = "biscuit")]
            issues_jwts: self.issues_jwts,
        }
    }

    /// Issues EdDSA JWTs, for holders that know nothing else. Both forms are accepted as before.
    #[must_use]
    pub fn issuing_jwts(self) -> Self {
        #[cfg(feature = "biscuit")]
        return Self { issues_jwts: true, ..self };
        #[cfg(not(feature = "biscuit"))]
        self
    }

    /// Issues tokens that live as long as `longest`, instead of [`DEFAULT_TTL`](crate::token::DEFAULT_TTL).
    #[must_use]
    pub fn with_longest_ttl(self, longest: Duration) -> Self {
        Self {
            #[cfg(feature = "biscuit")]
            biscuit: self.biscuit.with_longest_ttl(longest),
            jwt: self.jwt.with_longest_ttl(longest),
            #[cfg(feature = "biscuit")]
            issues_jwts: self.issues_jwts,
        }
    }

    fn first(&self) -> &dyn TokenScheme {
        #[cfg(feature = "biscuit")]
        if !self.issues_jwts {
            return &self.biscuit;
        }
        &self.jwt
    }
}

impl TokenScheme for Operator {
    fn name(&self) -> &'static str {
        self.first().name()
    }

    fn audience(&self) -> &str {
        self.jwt.audience()
    }

    fn issue(&self, claims: &Claims) -> Result<String, TokenError> {
        self.first().issue(claims)
    }

    fn verify(&self, token: &str, at: Timestamp) -> Result<Verified, TokenError> {
        #[cfg(feature = "biscuit")]
        if !crate::inspect::is_jwt(token) {
            return self.biscuit.verify(token, at);
        }
        self.jwt.verify(token, at)
    }
}
