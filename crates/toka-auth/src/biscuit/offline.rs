//! What whoever holds a Biscuit can do with it, without a key of the vault and without asking anybody.
//!
//! Nothing here looks at signatures: a token that is not valid is not made valid, and what is made of it is refused as it is.
//!
//! ```
//! # use std::time::Duration;
//! use toka_auth::biscuit::offline;
//! use toka_auth::{Biscuit, Claims, HolderKey, Narrowing, OperatorKey, TokenScheme};
//! use toka_types::capability::CapabilitySet;
//! # use toka_types::{EntityId, GrantId, OpId, Timestamp};
//! # let scheme = Biscuit::new(OperatorKey::generate()?, "vault-1")?;
//! # let now = Timestamp::from_millis(1_700_000_000_000);
//! # let claims = Claims {
//! #     issuer: EntityId::operator(), subject: EntityId::named("alice"), grant: GrantId(1), issued: now,
//! #     not_before: None, expires: now.saturating_add(Duration::from_secs(900)), renewable_until: None,
//! #     id: OpId::of(&[b"first"]), holder: None, attenuation: None, metered: vec![],
//! # };
//! let token = scheme.issue(&claims)?;
//!
//! // A holder narrows it down, and wants an auditor to have seen that.
//! let auditor = HolderKey::generate()?;
//! let only = CapabilitySet::parse(["tool:fs.read(path=docs/**)"])?;
//! let narrowing = Narrowing { only: Some(only), requires: vec![auditor.public()], ..Narrowing::default() };
//! let narrow = offline::attenuate(&token, &narrowing)?;
//! assert!(scheme.verify(&narrow, now).is_err());
//!
//! // The auditor signs, with an end of its own, and never sees the token itself.
//! let request = offline::third_party_request(&narrow)?;
//! let ends = Narrowing { expires: Some(now.saturating_add(Duration::from_secs(60))), ..Narrowing::default() };
//! let block = offline::third_party_block(&request, &auditor, &ends)?;
//! let audited = offline::append_third_party(&narrow, &block)?;
//! assert!(scheme.verify(&audited, now).is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use base64::Engine as _;
use biscuit_auth::builder::BlockBuilder;
use biscuit_auth::error::Token;
use biscuit_auth::format::schema;
use biscuit_auth::{Algorithm, PrivateKey, ThirdPartyRequest, UnverifiedBiscuit};
use ed25519_dalek::{SIGNATURE_LENGTH, VerifyingKey};
use prost::Message;

use super::{BASE64, MAX_BLOCKS, facts, malformed, next_key, outer, said, text};
use crate::inspect::is_jwt;
use crate::proof::HolderKey;
use crate::token::{MAX_TOKEN, Narrowing, TokenError};

/// `token` with a block that takes `narrowing` away from it.
///
/// # Errors
/// [`TokenError::CannotNarrow`] for a narrowing that takes nothing away, of a token with [`MAX_BLOCKS`] or a sealed one, and
/// one that would hand on a bound token ([`hand_on`] does that); [`TokenError::TooLarge`]; [`TokenError::Malformed`] and
/// [`TokenError::Algorithm`] if `token` is none.
pub fn attenuate(token: &str, narrowing: &Narrowing) -> Result<String, TokenError> {
    let unverified = unverified(token)?;
    if narrowing.holder.is_some() && holder(token)?.is_some() {
        return Err(cannot("it is bound to a holder, who alone can hand it on"));
    }
    let appended = unverified.append_with_keypair(&next_key()?, block(narrowing)?);
    text(&appended.and_then(|token| token.to_vec()).map_err(narrowed)?)
}

/// What a third party needs to sign a block for `token`: it says nothing about the token, and is good for it alone.
///
/// # Errors
/// As [`attenuate`].
pub fn third_party_request(token: &str) -> Result<String, TokenError> {
    let request = unverified(token)?.third_party_request();
    request.and_then(|request| request.serialize_base64()).map_err(narrowed)
}

/// The block that the third party with `key` signs for a [request](third_party_request). A narrowing that takes nothing
/// away is a plain signature.
///
/// # Errors
/// [`TokenError::Malformed`] if the request is none.
pub fn third_party_block(
    request: &str,
    key: &HolderKey,
    narrowing: &Narrowing,
) -> Result<String, TokenError> {
    let request = BASE64.decode(request).map_err(|e| malformed(e.to_string()))?;
    let asked = schema::ThirdPartyBlockRequest::decode(&request[..]).map_err(|e| malformed(e.to_string()))?;
    // A signature is all that may be asked to be signed.
    if asked.previous_signature.len() != SIGNATURE_LENGTH || asked.encode_to_vec() != request {
        return Err(malformed("the request does not have the one form that requests have"));
    }
    let request = ThirdPartyRequest::deserialize(&request).map_err(narrowed)?;
    let private = PrivateKey::from_bytes(&key.seed()[..], Algorithm::Ed25519);
    let private = private.map_err(|e| cannot(e.to_string()))?;
    let signed = request.create_block(&private, facts_of(narrowing)?);
    signed.and_then(|block| block.serialize_base64()).map_err(narrowed)
}

/// `token` with the block that a third party signed for it.
///
/// # Errors
/// As [`attenuate`], and [`TokenError::Malformed`] if the block is none. One that was signed for another token is found when
/// the result is verified.
pub fn append_third_party(token: &str, block: &str) -> Result<String, TokenError> {
    if block.len() > MAX_TOKEN {
        return Err(TokenError::TooLarge { size: block.len() });
    }
    let block = BASE64.decode(block).map_err(|e| malformed(e.to_string()))?;
    let contents =
        schema::ThirdPartyBlockContents::decode(&block[..]).map_err(|e| malformed(e.to_string()))?;
    // Read first: what is appended must be readable for whoever verifies it.
    facts::narrowing(&contents.payload, &mut facts::Symbols::default())?;
    let appended = unverified(token)?.append_third_party_with_keypair(&block, next_key()?);
    text(&appended.and_then(|token| token.to_vec()).map_err(narrowed)?)
}

/// `token`, bound to `next` instead of to the holder with `key`, who signs that.
///
/// # Errors
/// As [`attenuate`]; [`TokenError::CannotNarrow`] if it is not bound to `key`.
pub fn hand_on(token: &str, key: &HolderKey, next: VerifyingKey) -> Result<String, TokenError> {
    if holder(token)? != Some(key.public()) {
        return Err(cannot("it is not bound to this key"));
    }
    let narrowing = Narrowing { holder: Some(next), ..Narrowing::default() };
    let block = third_party_block(&third_party_request(token)?, key, &narrowing)?;
    append_third_party(token, &block)
}

/// The key to which `token` is bound, by what it says.
fn holder(token: &str) -> Result<Option<VerifyingKey>, TokenError> {
    let (claims, _, blocks) = said(&outer(token)?.1)?;
    let last = blocks.iter().rev().find_map(|block| block.narrowing.holder);
    Ok(last.or(claims.holder))
}

/// A token to which a block can be appended.
fn unverified(token: &str) -> Result<UnverifiedBiscuit, TokenError> {
    if is_jwt(token) {
        return Err(cannot("it is a JWT, which its issuer alone narrows down"));
    }
    let (bytes, outer) = outer(token)?;
    if outer.blocks.len() >= MAX_BLOCKS {
        return Err(cannot(format!("it has {MAX_BLOCKS} blocks already; have a new one issued")));
    }
    if matches!(outer.proof.content, Some(schema::proof::Content::FinalSignature(_))) {
        return Err(cannot("it is sealed, and nothing can be appended"));
    }
    UnverifiedBiscuit::from(&bytes).map_err(narrowed)
}

fn block(narrowing: &Narrowing) -> Result<BlockBuilder, TokenError> {
    if narrowing.is_empty() {
        return Err(cannot("nothing was said to be taken away"));
    }
    facts_of(narrowing)
}

fn facts_of(narrowing: &Narrowing) -> Result<BlockBuilder, TokenError> {
    let facts = facts::of_narrowing(narrowing)?;
    facts.into_iter().try_fold(BlockBuilder::new(), |builder, fact| builder.fact(fact)).map_err(narrowed)
}

fn cannot(what: impl Into<String>) -> TokenError {
    TokenError::CannotNarrow(what.into())
}

fn narrowed(error: Token) -> TokenError {
    match error {
        Token::Format(e) => malformed(e.to_string()),
        other => malformed(other.to_string()),
    }
}
