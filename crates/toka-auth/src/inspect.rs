//! What a token says, and what the person who has it can do with it, whatever its form.

use ed25519_dalek::VerifyingKey;

use crate::jwt;
use crate::proof::HolderKey;
use crate::token::{Block, Claims, Narrowing, TokenError};

/// What a token says of itself. **Nothing of it was checked**: no signature, no time, no audience.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// The name of the scheme that made it.
    pub scheme: &'static str,
    /// The id of the key that signed it, as far as it says.
    pub key: String,
    /// The vault for which it is.
    pub audience: String,
    /// What its issuer says.
    pub claims: Claims,
    /// What those through whose hands it went took away.
    pub blocks: Vec<Block>,
}

/// Reads a token of any scheme in this build, without a key.
///
/// # Errors
/// [`TokenError::TooLarge`], [`TokenError::Malformed`], [`TokenError::Algorithm`], [`TokenError::Critical`].
pub fn inspect(token: &str) -> Result<Inspected, TokenError> {
    if token.len() > crate::token::MAX_TOKEN {
        return Err(TokenError::TooLarge { size: token.len() });
    }
    #[cfg(feature = "biscuit")]
    if !is_jwt(token) {
        let (key, claims, blocks, audience) = crate::biscuit::peek(token)?;
        return Ok(Inspected { scheme: "biscuit", key, audience, claims, blocks });
    }
    let (scheme, key, claims, audience) = jwt::peek(token)?;
    Ok(Inspected { scheme, key, audience, claims, blocks: Vec::new() })
}

/// `token` with `narrowing` taken away from it, without asking anybody.
///
/// # Errors
/// Those of `biscuit::offline::attenuate`; [`TokenError::CannotNarrow`] for a JWT, and in a build without Biscuits, as of all
/// that follows here.
pub fn attenuate(token: &str, narrowing: &Narrowing) -> Result<String, TokenError> {
    #[cfg(feature = "biscuit")]
    return crate::biscuit::offline::attenuate(token, narrowing);
    #[cfg(not(feature = "biscuit"))]
    jwts_alone((token, narrowing))
}

/// What a third party needs to sign a block for `token`.
///
/// # Errors
/// Those of `biscuit::offline::third_party_request`.
pub fn third_party_request(token: &str) -> Result<String, TokenError> {
    #[cfg(feature = "biscuit")]
    return crate::biscuit::offline::third_party_request(token);
    #[cfg(not(feature = "biscuit"))]
    jwts_alone(token)
}

/// The block that the third party with `key` signs for a request.
///
/// # Errors
/// Those of `biscuit::offline::third_party_block`.
pub fn third_party_block(
    request: &str,
    key: &HolderKey,
    narrowing: &Narrowing,
) -> Result<String, TokenError> {
    #[cfg(feature = "biscuit")]
    return crate::biscuit::offline::third_party_block(request, key, narrowing);
    #[cfg(not(feature = "biscuit"))]
    jwts_alone((request, key, narrowing))
}

/// `token` with the block that a third party signed for it.
///
/// # Errors
/// Those of `biscuit::offline::append_third_party`.
pub fn append_third_party(token: &str, block: &str) -> Result<String, TokenError> {
    #[cfg(feature = "biscuit")]
    return crate::biscuit::offline::append_third_party(token, block);
    #[cfg(not(feature = "biscuit"))]
    jwts_alone((token, block))
}

/// `token`, bound to `next` instead of to the holder with `key`, who signs that.
///
/// # Errors
/// Those of `biscuit::offline::hand_on`.
pub fn hand_on(token: &str, key: &HolderKey, next: VerifyingKey) -> Result<String, TokenError> {
    #[cfg(feature = "biscuit")]
    return crate::biscuit::offline::hand_on(token, key, next);
    #[cfg(not(feature = "biscuit"))]
    jwts_alone((token, key, next))
}

#[cfg(not(feature = "biscuit"))]
fn jwts_alone<T>(_: T) -> Result<String, TokenError> {
    let problem = "this program knows JWTs alone, which their issuer narrows down";
    Err(TokenError::CannotNarrow(problem.to_owned()))
}

/// JWS has dots between its parts, and the alphabet of a Biscuit has none.
#[cfg(feature = "biscuit")]
pub(crate) fn is_jwt(token: &str) -> bool {
    token.contains('.')
}
