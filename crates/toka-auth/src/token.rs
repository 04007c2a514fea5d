//! What a token says, whatever its form.

use std::sync::Arc;

use thiserror::Error;
use toka_types::capability::{CapabilitySet, Request};
use toka_types::{Digest, EntityId, GrantId, OpId, Timestamp};

/// Longest token, in bytes: it travels in a header, and checking garbage stays cheap.
pub const MAX_TOKEN: usize = 8 << 10;

/// A form of tokens: how claims become a text that nobody else can make, and back.
///
/// # Contract
/// - [`verify`](Self::verify) gives back exactly the claims that were issued, or an error.
/// - Time, audience and issuer are checked at every call; only the signature's verdict may be remembered.
/// - What is verified has one text: no other text with the same claims and signature is accepted.
pub trait TokenScheme: Send + Sync {
    /// The scheme's name, as logs and configuration have it.
    fn name(&self) -> &'static str;

    /// Makes the token that says `claims`. Times are kept in whole seconds: `issued` and `expires` are
    /// rounded down and `not_before` up.
    ///
    /// # Errors
    /// [`TokenError::CannotIssue`] without a signing key or for claims that no token can say,
    /// [`TokenError::TooLarge`].
    fn issue(&self, claims: &Claims) -> Result<String, TokenError>;

    /// Checks `token` as of `at`. Whether its grant still stands is for the world to say.
    ///
    /// # Errors
    /// Any [`TokenError`] but [`TokenError::CannotIssue`].
    fn verify(&self, token: &str, at: Timestamp) -> Result<Verified, TokenError>;
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who issued it.
    pub issuer: EntityId,
    /// Who may act with it.
    pub subject: EntityId,
    /// The grant that it refers to.
    pub grant: GrantId,
    /// When it was issued; it is not accepted before that second.
    pub issued: Timestamp,
    /// When its time begins, if that is later.
    pub not_before: Option<Timestamp>,
    /// The first moment at which it is accepted no more.
    pub expires: Timestamp,
    /// Its own number, no two the same.
    pub id: OpId,
    /// What the holder was narrowed down to. `None` is all that the grant allows.
    pub attenuation: Option<CapabilitySet>,
}

/// A token that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    claims: Arc<Claims>,
    digest: Digest,
}

/// Why a token is not accepted, or cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Longer than any token.
    #[error("a token of {size} bytes; at most {MAX_TOKEN} are allowed")]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// It does not have the form of a token.
    #[error("not a token: {0}")]
    Malformed(String),
    /// It is signed in another way than this vault signs.
    #[error("the token's algorithm is '{0}'; EdDSA alone is accepted")]
    Algorithm(String),
    /// It asks for an extension that must be understood.
    #[error("the token has critical extensions, and none is known here")]
    Critical,
    /// No key of the ring has this id.
    #[error("the token's key '{0}' is unknown here; ask the vault's operator for a new token")]
    UnknownKey(String),
    /// The signature is not the key's.
    #[error("the token's signature is not valid")]
    Signature,
    /// Issued by somebody else than the key's owner.
    #[error("the token names {0} as its issuer, who does not own its key")]
    Issuer(EntityId),
    /// Made for another vault.
    #[error("the token is for '{found}', and this is '{expected}'")]
    Audience {
        /// For whom it is.
        found: String,
        /// Who this is.
        expected: String,
    },
    /// Its time has not come.
    #[error("the token is not valid before {begins} s after the epoch")]
    NotYetValid {
        /// When it begins, in seconds after the epoch.
        begins: i64,
    },
    /// Its time is over.
    #[error("the token expired {expired} s after the epoch; ask for a new one")]
    Expired {
        /// When it ended, in seconds after the epoch.
        expired: i64,
    },
    /// It cannot be made.
    #[error("no token can be issued: {0}")]
    CannotIssue(&'static str),
}

impl Verified {
    /// A token of these claims and this digest, of which a scheme has checked everything.
    pub fn new(claims: Arc<Claims>, digest: Digest) -> Self {
        Self { claims, digest }
    }

    /// What the token says.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The digest of the token's text.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// True if `granted`, which is what the world says about the token's grant, allows `request`, and so does
    /// the token's attenuation.
    pub fn allows(&self, granted: &CapabilitySet, request: &Request<'_>) -> bool {
        granted.allows(request) && self.claims.attenuation.as_ref().is_none_or(|own| own.allows(request))
    }
}

impl TokenError {
    /// A stable kebab-case code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "token-too-large",
            Self::Malformed(_) => "token-malformed",
            Self::Algorithm(_) => "token-algorithm",
            Self::Critical => "token-critical",
            Self::UnknownKey(_) => "token-unknown-key",
            Self::Signature => "token-signature",
            Self::Issuer(_) => "token-issuer",
            Self::Audience { .. } => "token-audience",
            Self::NotYetValid { .. } => "token-not-yet-valid",
            Self::Expired { .. } => "token-expired",
            Self::CannotIssue(_) => "token-cannot-issue",
        }
    }
}
