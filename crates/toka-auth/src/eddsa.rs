//! Compact JWS tokens signed with Ed25519: JWT as other programs know it, read strictly.
//!
//! The header is `{"alg":"EdDSA","typ":"JWT","kid":…}` and nothing else. The claims are `iss`, `sub` (entity
//! ids), `aud` (the vault), `grt` (the grant's number), `iat`, `nbf`, `exp` (whole seconds), `jti`, and `att`
//! (capabilities, in their text form) if the holder was narrowed down. An unknown or repeated member anywhere
//! is an error: what a reader would skip, an attacker could use.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ed25519_dalek::{SIGNATURE_LENGTH, Signature, Signer, SigningKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toka_types::capability::CapabilitySet;
use toka_types::path::for_terminal;
use toka_types::{Digest, EntityId, GrantId, OpId, Timestamp};

use crate::cache::Cache;
use crate::key::{KeyRing, OperatorKey};
use crate::token::{Claims, MAX_TOKEN, TokenError, TokenScheme, Verified};

/// Longest audience, in bytes.
pub const MAX_AUDIENCE: usize = 128;

/// Issues and verifies tokens of one audience, which is one vault.
///
/// A verified signature is remembered by the digest of the whole token; expiry, audience and issuer are checked
/// at every call. To change the keys, make a new scheme: nothing that an old key signed is remembered then.
#[derive(Debug)]
pub struct EdDsa {
    signer: Option<SigningKey>,
    keys: KeyRing,
    issuer: EntityId,
    audience: String,
    signed: Cache<Signed>,
}

/// What stood under a valid signature.
#[derive(Debug)]
struct Signed {
    claims: Arc<Claims>,
    audience: String,
    /// Seconds after the epoch.
    begins: i64,
    ends: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
    /// Known so that its refusal can be told from that of any other member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crit: Option<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    iss: EntityId,
    sub: EntityId,
    aud: String,
    grt: GrantId,
    iat: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    exp: i64,
    jti: OpId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    att: Option<CapabilitySet>,
}

impl EdDsa {
    /// A scheme that signs with `key` and verifies what it signed, for `audience`.
    ///
    /// # Errors
    /// [`TokenError::CannotIssue`] if the audience is empty or longer than [`MAX_AUDIENCE`].
    pub fn new(key: OperatorKey, audience: impl Into<String>) -> Result<Self, TokenError> {
        let mut scheme = Self::verifier(KeyRing::new([key.public()]), audience)?;
        scheme.signer = Some(key.into_signing_key());
        Ok(scheme)
    }

    /// A scheme that only verifies, with any key of `keys`, for `audience`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn verifier(keys: KeyRing, audience: impl Into<String>) -> Result<Self, TokenError> {
        let audience = audience.into();
        if audience.is_empty() || audience.len() > MAX_AUDIENCE {
            return Err(TokenError::CannotIssue("an audience has 1 to 128 bytes"));
        }
        Ok(Self { signer: None, keys, issuer: EntityId::operator(), audience, signed: Cache::new() })
    }

    /// Accepts the keys of `keys` too, beside the scheme's own: while keys change, both are valid.
    #[must_use]
    pub fn accepting(mut self, keys: &KeyRing) -> Self {
        self.keys = self.keys.join(keys);
        self
    }

    /// Checks form and signature: everything that time cannot change.
    fn open(&self, token: &str) -> Result<Signed, TokenError> {
        let malformed = |what: &str| TokenError::Malformed(what.to_owned());
        let (message, signature) = token.rsplit_once('.').ok_or_else(|| malformed("it has no parts"))?;
        let (header, payload) =
            message.split_once('.').ok_or_else(|| malformed("it has two parts, not three"))?;

        let header: Header = part(header, "header")?;
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        if header.alg != "EdDSA" {
            return Err(TokenError::Algorithm(shown(&header.alg)));
        }
        if header.typ != "JWT" {
            return Err(malformed("its header's type is not JWT"));
        }
        let unknown = || TokenError::UnknownKey(shown(&header.kid));
        let key = self.keys.get(&header.kid).ok_or_else(unknown)?;

        let mut bytes = [0; SIGNATURE_LENGTH];
        match BASE64.decode_slice(signature, &mut bytes) {
            Ok(SIGNATURE_LENGTH) => {}
            _ => return Err(malformed("its signature is not 64 bytes in base64url")),
        }
        // Strict: keys of small order and signatures with a second form are refused.
        let verdict = key.verify_strict(message.as_bytes(), &Signature::from_bytes(&bytes));
        verdict.map_err(|_| TokenError::Signature)?;

        // Only what the key's owner has signed is looked into.
        let payload: Payload = part(payload, "claims")?;
        let claims = Claims {
            issuer: payload.iss,
            subject: payload.sub,
            grant: payload.grt,
            issued: from_seconds(payload.iat),
            not_before: payload.nbf.map(from_seconds),
            expires: from_seconds(payload.exp),
            id: payload.jti,
            attenuation: payload.att,
        };
        Ok(Signed {
            claims: Arc::new(claims),
            audience: payload.aud,
            begins: payload.nbf.map_or(payload.iat, |nbf| nbf.max(payload.iat)),
            ends: payload.exp,
        })
    }

    /// Checks what depends on who asks and when.
    fn admit(&self, signed: &Signed, at: Timestamp) -> Result<(), TokenError> {
        if signed.claims.issuer != self.issuer {
            return Err(TokenError::Issuer(signed.claims.issuer));
        }
        if signed.audience != self.audience {
            let found = shown(&signed.audience);
            return Err(TokenError::Audience { found, expected: self.audience.clone() });
        }
        if at < from_seconds(signed.begins) {
            return Err(TokenError::NotYetValid { begins: signed.begins });
        }
        if at >= from_seconds(signed.ends) {
            return Err(TokenError::Expired { expired: signed.ends });
        }
        Ok(())
    }
}

impl TokenScheme for EdDsa {
    fn name(&self) -> &'static str {
        "eddsa"
    }

    fn issue(&self, claims: &Claims) -> Result<String, TokenError> {
        let signer = self.signer.as_ref().ok_or(TokenError::CannotIssue("this scheme has no signing key"))?;
        if claims.issuer != self.issuer {
            return Err(TokenError::CannotIssue("the issuer does not own the key"));
        }
        let payload = Payload {
            iss: claims.issuer,
            sub: claims.subject,
            aud: self.audience.clone(),
            grt: claims.grant,
            iat: claims.issued.0.div_euclid(MICROS),
            // Rounded up, so that the token does not begin early.
            nbf: claims.not_before.map(|at| at.0.div_euclid(MICROS) + i64::from(at.0.rem_euclid(MICROS) > 0)),
            exp: claims.expires.0.div_euclid(MICROS),
            jti: claims.id,
            att: claims.attenuation.clone(),
        };
        if payload.exp <= payload.iat.max(payload.nbf.unwrap_or(i64::MIN)) {
            return Err(TokenError::CannotIssue(
                "it would expire before the second in which it begins is over",
            ));
        }
        let kid = crate::key::KeyId::of(&signer.verifying_key()).to_string();
        let header = Header { alg: "EdDSA".to_owned(), typ: "JWT".to_owned(), kid, crit: None };
        let mut token = encode(&header)?;
        token.push('.');
        token.push_str(&encode(&payload)?);
        let signature = signer.sign(token.as_bytes());
        token.push('.');
        BASE64.encode_string(signature.to_bytes(), &mut token);
        if token.len() > MAX_TOKEN { Err(TokenError::TooLarge { size: token.len() }) } else { Ok(token) }
    }

    fn verify(&self, token: &str, at: Timestamp) -> Result<Verified, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLarge { size: token.len() });
        }
        let digest = Digest::of(token.as_bytes());
        let signed = match self.signed.get(&digest) {
            Some(signed) => signed,
            None => {
                let signed = Arc::new(self.open(token)?);
                self.signed.insert(digest, Arc::clone(&signed));
                signed
            }
        };
        self.admit(&signed, at)?;
        Ok(Verified::new(Arc::clone(&signed.claims), digest))
    }
}

/// Microseconds in a second.
const MICROS: i64 = 1_000_000;

fn from_seconds(seconds: i64) -> Timestamp {
    Timestamp(seconds.saturating_mul(MICROS))
}

/// The first characters of what a stranger wrote, as a terminal may show them.
fn shown(text: &str) -> String {
    for_terminal(&text.chars().take(MAX_AUDIENCE).collect::<String>())
}

fn encode(part: &impl Serialize) -> Result<String, TokenError> {
    let json =
        serde_json::to_vec(part).map_err(|_| TokenError::CannotIssue("its claims cannot be written"))?;
    Ok(BASE64.encode(json))
}

fn part<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, TokenError> {
    let malformed = |e: &dyn std::fmt::Display| TokenError::Malformed(format!("its {what}: {e}"));
    let json = BASE64.decode(text).map_err(|e| malformed(&e))?;
    serde_json::from_slice(&json).map_err(|e| malformed(&e))
}
