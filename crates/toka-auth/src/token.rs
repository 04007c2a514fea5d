//! What a token says, whatever its form.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use thiserror::Error;
use toka_types::capability::{CapabilitySet, Request};
use toka_types::operation::Metered;
use toka_types::{Digest, EntityId, GrantId, OpId, Timestamp};

use crate::gate::{from_seconds, seconds};
use crate::proof::Proof;

/// Longest token, in bytes: it travels in a header, and checking garbage stays cheap.
pub const MAX_TOKEN: usize = 8 << 10;
/// Longest life of a token, unless a scheme is told otherwise: whoever steals one has it for no longer.
pub const DEFAULT_TTL: Duration = Duration::from_secs(15 * 60);

/// How long a token can be renewed where nothing else is said: a stolen one is good for a day at most, unless its grant is
/// revoked before.
pub const DEFAULT_RENEWABLE: Duration = Duration::from_secs(24 * 60 * 60);

/// A form of tokens: how claims become a text that nobody else can make, and back.
///
/// # Contract
/// - [`verify`](Self::verify) gives back exactly the claims that were issued and what holders narrowed them down to, or
///   an error.
/// - A key belongs to one algorithm. What a token says of its algorithm is compared with that and chooses nothing.
/// - Time, audience, issuer and the end of a retired key are checked at every call; only the signature's verdict may be
///   remembered.
/// - What is verified has one text: no other text with the same claims and signatures is accepted.
pub trait TokenScheme: Send + Sync {
    /// The scheme's name, as logs and configuration have it.
    fn name(&self) -> &'static str;

    /// For whom its tokens are: one vault.
    fn audience(&self) -> &str;

    /// Makes the token that says `claims`. Times are kept in whole seconds: `issued`, `expires` and `renewable_until`
    /// are rounded down and `not_before` up.
    ///
    /// # Errors
    /// [`TokenError::CannotIssue`] without a signing key or for claims that no token can say, [`TokenError::TooLong`]
    /// for a life beyond the scheme's longest, [`TokenError::TooLarge`].
    fn issue(&self, claims: &Claims) -> Result<String, TokenError>;

    /// Checks `token` as of `at`. Whether its grant still stands is for the world to say, and whether the holder of a
    /// bound token is the one who shows it is for [`Verified::check_proof`].
    ///
    /// # Errors
    /// Any [`TokenError`] but those of making one.
    fn verify(&self, token: &str, at: Timestamp) -> Result<Verified, TokenError>;

    /// A fresh token in place of `token`, which is valid now: for the same grant, subject and holder, as narrow as that
    /// one, and never beyond the ends that its grant, its issuer and those who narrowed it have set.
    ///
    /// # Errors
    /// Those of [`verify`](Self::verify) and [`issue`](Self::issue). [`TokenError::CannotIssue`] if no later end is
    /// allowed, or if a third party has signed `token`: it vouched for that one and its end.
    fn renew(&self, token: &str, terms: &Renewal) -> Result<String, TokenError> {
        let old = self.verify(token, terms.at)?;
        self.issue(&old.renewed(terms)?)
    }
}

/// What a token says by the word of its issuer.
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
    /// The latest end that a renewal may have. `None` leaves it to the grant's.
    pub renewable_until: Option<Timestamp>,
    /// Its own number, no two the same.
    pub id: OpId,
    /// The key of the one who may show it, with a [`Proof`]. `None` is whoever has it.
    pub holder: Option<VerifyingKey>,
    /// What the holder was narrowed down to. `None` is all that the grant allows.
    pub attenuation: Option<CapabilitySet>,
    /// What the tokens that this one replaces were narrowed down to with limits, each with what its uses are counted under.
    pub metered: Vec<Metered>,
}

/// What somebody who has a token may take away from it, without asking anybody. Each part that is not there leaves things
/// as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// All that is still allowed, of what was.
    pub only: Option<CapabilitySet>,
    /// An end, which counts if it comes before the others; a renewal does not get past it.
    pub expires: Option<Timestamp>,
    /// The key of the one who may show it from now on. A token that is bound already is handed on by its holder alone.
    pub holder: Option<VerifyingKey>,
    /// Third parties: the token is accepted once each of them has signed a block behind this one.
    pub requires: Vec<VerifyingKey>,
}

/// A [`Narrowing`] in its place in a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What uses are counted under that this block limits: the `meter` of its signature.
    pub meter: Digest,
    /// The third party that signed it, if one did.
    pub signer: Option<VerifyingKey>,
    /// What it takes away.
    pub narrowing: Narrowing,
}

/// What a renewed token is made of, beside the old one.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// Now.
    pub at: Timestamp,
    /// How long it is to live.
    pub ttl: Duration,
    /// When its grant ends, if it does.
    pub grant_ends: Option<Timestamp>,
    /// Its own number.
    pub id: OpId,
    /// What it is to be narrowed down to, beside all that the old one was. `None` leaves it as it is.
    pub only: Option<CapabilitySet>,
}

/// What stands under valid signatures: claims, and the narrowing of everybody through whose hands they went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    digest: Digest,
    claims: Claims,
    blocks: Vec<Block>,
    expires: Timestamp,
    holder: Option<VerifyingKey>,
    metered: Vec<Metered>,
}

/// A token that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    signed: Arc<Signed>,
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
    /// It is signed in another way than its key signs.
    #[error("the token's algorithm is '{found}'; its key signs with {expected} alone")]
    Algorithm {
        /// What it says.
        found: String,
        /// What alone is accepted.
        expected: &'static str,
    },
    /// It asks for an extension that must be understood.
    #[error("the token has critical extensions, and none is known here")]
    Critical,
    /// No key of the ring has this id.
    #[error("the token's key '{0}' is unknown here; ask the vault's operator for a new token")]
    UnknownKey(String),
    /// Its key was replaced, and the time in which both were valid is over.
    #[error("the token's key '{key}' was retired {until} s after the epoch; ask for a new token")]
    RetiredKey {
        /// The key's id.
        key: String,
        /// When it ended, in seconds after the epoch.
        until: i64,
    },
    /// A signature is not its key's.
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
    /// A block binds a bound token to somebody else, and its holder has not signed that.
    #[error("block {block} hands the token to another holder, and the present one has not signed it")]
    HandedOn {
        /// Its place behind the issuer's, which is 0.
        block: usize,
    },
    /// Somebody who must have signed has not.
    #[error("the token is valid only with a block that '{key}' signs, and has none; have it signed there")]
    ThirdParty {
        /// The third party's key.
        key: String,
    },
    /// It is bound to a key, and shown without a proof of having it.
    #[error("the token is bound to a holder's key; sign the operation with it")]
    ProofMissing,
    /// The proof is not the holder's, or is about something else.
    #[error("the proof is not the holder's for this token, operation and audience")]
    ProofInvalid,
    /// The proof's own time is over, or lies too far ahead.
    #[error("the proof ends {ends} µs after the epoch, which is past or more than {most} s off")]
    ProofTime {
        /// When it ends, in microseconds after the epoch.
        ends: i64,
        /// How far ahead that may be, in seconds.
        most: u64,
    },
    /// The keys that tokens are checked with cannot be had.
    #[error("the keys that tokens are checked with cannot be read: {0}")]
    Keys(String),
    /// It cannot be made.
    #[error("no token can be issued: {0}")]
    CannotIssue(String),
    /// It would live longer than tokens of this scheme do.
    #[error("a token for {asked} s; at most {longest} are allowed, and it can be renewed")]
    TooLong {
        /// How long it would live, in seconds.
        asked: i64,
        /// How long it may, in seconds.
        longest: u64,
    },
    /// It cannot be narrowed down, or not in that way.
    #[error("the token cannot be narrowed down: {0}")]
    CannotNarrow(String),
}

/// A token's own number: random, so that no two are the same.
///
/// # Errors
/// [`TokenError::CannotIssue`] if the operating system gives no random bytes.
pub fn random_number() -> Result<OpId, TokenError> {
    let mut number = [0; 16];
    let filled = getrandom::fill(&mut number);
    filled
        .map_err(|e| TokenError::CannotIssue(format!("the operating system gives no random bytes: {e}")))?;
    Ok(OpId(number))
}

impl Narrowing {
    /// True if it takes nothing away.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Signed {
    /// What `token` says: `claims`, by a signature with this `meter`, and the blocks behind them in their order.
    ///
    /// # Errors
    /// [`TokenError::HandedOn`] and [`TokenError::ThirdParty`]: what blocks want of each other.
    pub fn new(token: &str, meter: Digest, claims: Claims, blocks: Vec<Block>) -> Result<Self, TokenError> {
        let mut holder = claims.holder;
        for (number, block) in (1..).zip(&blocks) {
            if let Some(next) = block.narrowing.holder {
                if holder.is_some() && block.signer != holder {
                    return Err(TokenError::HandedOn { block: number });
                }
                holder = Some(next);
            }
            // Only what was signed later was signed with this block in sight.
            let behind = &blocks[number..];
            for required in &block.narrowing.requires {
                if !behind.iter().any(|later| later.signer == Some(*required)) {
                    let key = crate::key::public_to_hex(required);
                    return Err(TokenError::ThirdParty { key });
                }
            }
        }
        let expires = ends(&blocks).map_or(claims.expires, |end| end.min(claims.expires));
        let metered = metered(meter, &claims, &blocks);
        Ok(Self { digest: Digest::of(token.as_bytes()), claims, blocks, expires, holder, metered })
    }

    /// When its time begins.
    pub fn begins(&self) -> Timestamp {
        self.claims.not_before.map_or(self.claims.issued, |at| at.max(self.claims.issued))
    }
}

/// The first of the ends that `blocks` set.
fn ends(blocks: &[Block]) -> Option<Timestamp> {
    blocks.iter().filter_map(|block| block.narrowing.expires).min()
}

/// What uses are counted under that a part of a token limits, by the part's signature. It covers all that lies before it,
/// and nobody but its signer makes another: so the meter is the same in all that is made of the token, and in nothing else.
pub(crate) fn meter(signature: &[u8]) -> Digest {
    Digest::of_fields("toka 2026 token meter v1", [signature])
}

/// Each set with limits in `claims`, by a signature with this meter, and in `blocks`.
///
/// What lies behind a block changes nothing of its meter, nor of when that ends: a token that was narrowed down further, one
/// that was not, and those that replaced them, agree.
fn metered(meter: Digest, claims: &Claims, blocks: &[Block]) -> Vec<Metered> {
    // A token that is not renewed has its own end, and what replaces it ends by the other.
    let never = from_seconds(seconds(Timestamp(i64::MAX)));
    let mut until = claims.renewable_until.map_or(never, |renewable| renewable.max(claims.expires));
    let mut metered = claims.metered.clone();
    let mut add = |meter: Digest, until: Timestamp, only: &Option<CapabilitySet>| {
        let limited = only.iter().filter(|only| only.has_limits()).cloned();
        metered.extend(limited.map(|only| Metered { meter, until, only }));
    };
    add(meter, until, &claims.attenuation);
    for Block { meter, narrowing, .. } in blocks {
        until = narrowing.expires.map_or(until, |end| end.min(until));
        add(*meter, until, &narrowing.only);
    }
    metered
}

impl Verified {
    /// A token that says `signed`, of which a scheme has checked everything.
    pub fn new(signed: Arc<Signed>) -> Self {
        Self { signed }
    }

    /// What its issuer said. What counts is narrower where blocks follow: see the other methods.
    pub fn claims(&self) -> &Claims {
        &self.signed.claims
    }

    /// What those through whose hands it went took away, the first of them first.
    pub fn blocks(&self) -> &[Block] {
        &self.signed.blocks
    }

    /// The first moment at which it is accepted no more: the earliest of all ends.
    pub fn expires(&self) -> Timestamp {
        self.signed.expires
    }

    /// Whose proof it needs; `None` is nobody's.
    pub fn holder(&self) -> Option<&VerifyingKey> {
        self.signed.holder.as_ref()
    }

    /// The digest of the token's text.
    pub fn digest(&self) -> Digest {
        self.signed.digest
    }

    /// What it was narrowed down to, step by step: what it allows is the grant ∩ each of these.
    pub fn attenuations(&self) -> impl Iterator<Item = &CapabilitySet> {
        let Claims { attenuation, metered, .. } = &self.signed.claims;
        let blocks = self.signed.blocks.iter().filter_map(|block| block.narrowing.only.as_ref());
        metered.iter().map(|metered| &metered.only).chain(attenuation).chain(blocks)
    }

    /// Those of them that have limits, each with what its uses are counted under. Whoever admits an operation has the world
    /// count it; what is made of the token, and what replaces it, counts under the same.
    pub fn metered(&self) -> &[Metered] {
        &self.signed.metered
    }

    /// True if `granted`, which is what the world says about the token's grant, allows `request` at any time and without
    /// limits, and so does each of the token's attenuations.
    pub fn allows(&self, granted: &CapabilitySet, request: &Request<'_>) -> bool {
        granted.allows(request) && self.attenuations().all(|own| own.allows(request))
    }

    /// The same at the time `at`, for capabilities that hold at some times alone.
    pub fn allows_at(&self, granted: &CapabilitySet, request: &Request<'_>, at: Timestamp) -> bool {
        granted.allows_at(request, at) && self.attenuations().all(|own| own.allows_at(request, at))
    }

    /// Checks that who shows the token for the operation with digest `operation` has the key that it is bound to. A token
    /// that is bound to none needs no proof. That a proof is not used twice is for the world to see, by its nonce.
    ///
    /// # Errors
    /// [`TokenError::ProofMissing`], [`TokenError::ProofInvalid`], [`TokenError::ProofTime`].
    pub fn check_proof(
        &self,
        proof: Option<&Proof>,
        operation: &Digest,
        audience: &str,
        at: Timestamp,
    ) -> Result<(), TokenError> {
        match (self.holder(), proof) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(TokenError::ProofMissing),
            (Some(holder), Some(proof)) => proof.verify(holder, &self.signed.digest, operation, audience, at),
        }
    }

    /// The claims of the token that may replace this one.
    fn renewed(&self, terms: &Renewal) -> Result<Claims, TokenError> {
        let refused = |problem: &str| Err(TokenError::CannotIssue(problem.to_owned()));
        let old = self.claims();
        if self.blocks().iter().any(|block| block.signer.is_some()) {
            return refused(
                "a third party signed the old one, and vouched for that alone; have a new one issued",
            );
        }
        let renewable_until = old.renewable_until.into_iter().chain(ends(self.blocks())).min();
        let last = renewable_until.into_iter().chain(terms.grant_ends).min();
        let wanted = terms.at.saturating_add(terms.ttl);
        let expires = last.map_or(wanted, |last| last.min(wanted));
        // What has limits stays apart, with its meter: what was used is used.
        let mut attenuation: Option<CapabilitySet> = None;
        for next in self.attenuations().filter(|set| !set.has_limits()).chain(&terms.only) {
            let both = attenuation.take().map_or_else(|| Ok(next.clone()), |so_far| so_far.intersect(next));
            attenuation = Some(both.map_err(|e| TokenError::CannotIssue(e.to_string()))?);
        }
        Ok(Claims {
            issued: terms.at,
            not_before: None,
            expires,
            renewable_until,
            id: terms.id,
            holder: self.signed.holder,
            attenuation,
            metered: self.metered().to_vec(),
            ..old.clone()
        })
    }
}

impl TokenError {
    /// A stable kebab-case code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "token-too-large",
            Self::Malformed(_) => "token-malformed",
            Self::Algorithm { .. } => "token-algorithm",
            Self::Critical => "token-critical",
            Self::UnknownKey(_) => "token-unknown-key",
            Self::RetiredKey { .. } => "token-retired-key",
            Self::Signature => "token-signature",
            Self::Issuer(_) => "token-issuer",
            Self::Audience { .. } => "token-audience",
            Self::NotYetValid { .. } => "token-not-yet-valid",
            Self::Expired { .. } => "token-expired",
            Self::HandedOn { .. } => "token-handed-on",
            Self::ThirdParty { .. } => "token-third-party",
            Self::ProofMissing => "token-proof-missing",
            Self::ProofInvalid => "token-proof-invalid",
            Self::ProofTime { .. } => "token-proof-time",
            Self::Keys(_) => "token-keys",
            Self::CannotIssue(_) => "token-cannot-issue",
            Self::TooLong { .. } => "token-too-long",
            Self::CannotNarrow(_) => "token-cannot-narrow",
        }
    }
}
