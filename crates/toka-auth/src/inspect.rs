//! What a token says, for the person who has it.

use crate::jwt;
use crate::token::{Block, Claims, TokenError};

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

/// JWS has dots between its parts, and the alphabet of a Biscuit has none.
#[cfg(feature = "biscuit")]
pub(crate) fn is_jwt(token: &str) -> bool {
    token.contains('.')
}
