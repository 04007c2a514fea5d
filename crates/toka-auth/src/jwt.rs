//! Compact JWS tokens: JWT as other programs know it, read strictly.
//!
//! The header is `{"alg":…,"typ":"JWT","kid":…}` and nothing else. The claims are `iss`, `sub` (entity ids), `aud` (the
//! vault), `grt` (the grant's number), `iat`, `nbf`, `exp` and `rnw` (whole seconds; `rnw` is the latest end of a renewal),
//! `jti`, `cnf` (the holder's key, RFC 7800), `att` (capabilities, in their text form) if the holder was narrowed
//! down, and `lim` (a meter, its end, and capabilities with limits that are counted under it) for each set with limits of
//! the tokens that this one replaced. An unknown or repeated member anywhere is an error: what a reader would skip, an attacker could use.
//!
//! Such a token is narrowed down when it is issued, and by nobody afterwards.
//!
//! A scheme is made for one algorithm, by its type, and its keys are of that algorithm's type. So there is nothing that a
//! header's `alg` could choose: it is compared, and another one is refused.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ed25519_dalek::{Signature, VerifyingKey};
use hmac::{Hmac, Mac};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use toka_types::capability::CapabilitySet;
use toka_types::operation::Metered;
use toka_types::{Digest, EntityId, GrantId, OpId, Timestamp};

use crate::gate::{Gate, Opened, from_seconds, seconds, shown};
use crate::key::OperatorKey;
use crate::ring::{KeyRing, RingKey, SharedSecret};
use crate::token::{Claims, MAX_TOKEN, Signed, TokenError, TokenScheme, Verified, meter};

/// JWT signed with Ed25519 (RFC 8037): whoever verifies cannot forge.
pub type EdDsa = Jwt<Ed25519>;

/// JWT with HMAC-SHA-256 under a shared secret.
///
/// **One domain of trust**: whoever can verify such a token can make one, for every grant and every subject of the vault.
/// Use it where issuer and verifier are the same party, and [`EdDsa`] or Biscuit everywhere else.
///
/// ```
/// use std::time::Duration;
/// use toka_auth::{Claims, Hs256, SharedSecret, TokenScheme};
/// use toka_types::{EntityId, GrantId, OpId, Timestamp};
///
/// let scheme = Hs256::new(SharedSecret::generate()?, "vault-1")?;
/// let now = Timestamp::from_millis(1_700_000_000_000);
/// let claims = Claims {
///     issuer: EntityId::operator(),
///     subject: EntityId::named("alice"),
///     grant: GrantId(1),
///     issued: now,
///     not_before: None,
///     expires: now.saturating_add(Duration::from_secs(900)),
///     renewable_until: None,
///     id: OpId::of(&[b"first"]),
///     holder: None,
///     attenuation: None,
///     metered: vec![],
/// };
/// let token = scheme.issue(&claims)?;
/// assert_eq!(scheme.verify(&token, now)?.claims(), &claims);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type Hs256 = Jwt<HmacSha256>;

/// Issues and verifies compact JWS tokens of one audience, which is one vault, by the algorithm `A`.
///
/// Valid signatures are remembered by the whole token; expiry, audience and issuer are checked at every
/// call. To change the keys, make a new scheme: nothing that an old key signed is remembered then.
pub struct Jwt<A: Algorithm> {
    signer: Option<A::Signer>,
    keys: KeyRing<A::Verifier>,
    gate: Gate,
    algorithm: PhantomData<A>,
}

/// A way to sign, with keys of types that no other way takes.
pub trait Algorithm: sealed::Sealed + Send + Sync {
    /// As `alg` in a header.
    const NAME: &'static str;
    /// As [`TokenScheme::name`].
    const SCHEME: &'static str;
    /// Bytes of a signature.
    const SIGNATURE: usize;
    /// What signs.
    type Signer: Send + Sync;
    /// What verifies.
    type Verifier: RingKey + Clone + Send + Sync;

    /// The key that verifies what `signer` signs.
    fn verifier(signer: &Self::Signer) -> Self::Verifier;

    /// The signature over `message`.
    fn sign(signer: &Self::Signer, message: &[u8]) -> Vec<u8>;

    /// True if `signature` is that of `key` over `message`.
    fn verify(key: &Self::Verifier, message: &[u8], signature: &[u8]) -> bool;
}

/// `EdDSA` over the curve Ed25519.
#[derive(Debug)]
pub struct Ed25519;

/// `HS256`.
#[derive(Debug)]
pub struct HmacSha256;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Ed25519 {}
    impl Sealed for super::HmacSha256 {}
}

impl Algorithm for Ed25519 {
    const NAME: &'static str = "EdDSA";
    const SCHEME: &'static str = "eddsa";
    const SIGNATURE: usize = 64;
    type Signer = OperatorKey;
    type Verifier = VerifyingKey;

    fn verifier(signer: &OperatorKey) -> VerifyingKey {
        signer.public()
    }

    fn sign(signer: &OperatorKey, message: &[u8]) -> Vec<u8> {
        signer.sign(message).to_vec()
    }

    fn verify(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
        // Strict: keys of small order and signatures with a second form are refused.
        Signature::from_slice(signature).is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
    }
}

impl Algorithm for HmacSha256 {
    const NAME: &'static str = "HS256";
    const SCHEME: &'static str = "hs256";
    const SIGNATURE: usize = 32;
    type Signer = SharedSecret;
    type Verifier = SharedSecret;

    fn verifier(signer: &SharedSecret) -> SharedSecret {
        signer.clone()
    }

    fn sign(signer: &SharedSecret, message: &[u8]) -> Vec<u8> {
        mac(signer, message).finalize().into_bytes().to_vec()
    }

    fn verify(key: &SharedSecret, message: &[u8], signature: &[u8]) -> bool {
        // In constant time.
        mac(key, message).verify_slice(signature).is_ok()
    }
}

fn mac(secret: &SharedSecret, message: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.bytes());
    mac.expect("HMAC takes a key of any length").chain_update(message)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
    /// Known so that its refusal can be told from that of any other member.
    #[serde(default, deserialize_with = "there", skip_serializing_if = "Option::is_none")]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rnw: Option<i64>,
    jti: OpId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    att: Option<CapabilitySet>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lim: Vec<Limit>,
}

/// What a replaced token was narrowed down to, with limits.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    mtr: Digest,
    exp: i64,
    att: CapabilitySet,
}

/// The holder's key (RFC 7800, RFC 8037).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    jwk: Jwk,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
}

impl<A: Algorithm> Jwt<A> {
    /// A scheme that signs with `key` and verifies what it signed, for `audience`.
    ///
    /// # Errors
    /// [`TokenError::CannotIssue`] if the audience is empty or longer than [`MAX_AUDIENCE`](crate::gate::MAX_AUDIENCE).
    pub fn new(key: A::Signer, audience: impl Into<String>) -> Result<Self, TokenError> {
        let mut scheme = Self::verifier(KeyRing::new([A::verifier(&key)]), audience)?;
        scheme.signer = Some(key);
        Ok(scheme)
    }

    /// A scheme that only verifies, with any key of `keys`, for `audience`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn verifier(keys: KeyRing<A::Verifier>, audience: impl Into<String>) -> Result<Self, TokenError> {
        Ok(Self { signer: None, keys, gate: Gate::new(audience)?, algorithm: PhantomData })
    }

    /// Accepts the keys of `keys` too, beside the scheme's own: while keys change, both are valid, until the end that
    /// the ring gives the old one.
    #[must_use]
    pub fn accepting(mut self, keys: &KeyRing<A::Verifier>) -> Self {
        self.keys = self.keys.join(keys);
        self
    }

    /// Issues tokens that live as long as `longest`, instead of [`DEFAULT_TTL`](crate::token::DEFAULT_TTL).
    #[must_use]
    pub fn with_longest_ttl(mut self, longest: Duration) -> Self {
        self.gate.set_longest(longest);
        self
    }

    /// Checks form and signature: everything that time cannot change.
    fn open(&self, token: &str) -> Result<Opened, TokenError> {
        let (header, message, signature) = header(token)?;
        if header.alg != A::NAME {
            return Err(TokenError::Algorithm { found: shown(&header.alg), expected: A::NAME });
        }
        let unknown = || TokenError::UnknownKey(shown(&header.kid));
        let key = self.keys.get(&header.kid).ok_or_else(unknown)?;
        let signature = BASE64.decode(signature).ok().filter(|bytes| bytes.len() == A::SIGNATURE);
        let signature = signature
            .ok_or_else(|| malformed(format!("its signature is not {} bytes in base64url", A::SIGNATURE)))?;
        if !A::verify(&key.key, message.as_bytes(), &signature) {
            return Err(TokenError::Signature);
        }
        // Only what the key's owner has signed is looked into.
        let (claims, audience) = claims(message)?;
        Ok(Opened {
            signed: Arc::new(Signed::new(token, meter(&signature), claims, Vec::new())?),
            audience,
            key: key.id,
            key_ends: key.until,
        })
    }
}

impl<A: Algorithm> TokenScheme for Jwt<A> {
    fn name(&self) -> &'static str {
        A::SCHEME
    }

    fn audience(&self) -> &str {
        self.gate.audience()
    }

    fn issue(&self, claims: &Claims) -> Result<String, TokenError> {
        let none = || TokenError::CannotIssue("this scheme has no signing key".to_owned());
        let signer = self.signer.as_ref().ok_or_else(none)?;
        let times = self.gate.issuable(claims)?;
        let payload = Payload {
            iss: claims.issuer,
            sub: claims.subject,
            aud: self.gate.audience().to_owned(),
            grt: claims.grant,
            iat: times.issued,
            nbf: times.not_before,
            exp: times.expires,
            rnw: times.renewable_until,
            jti: claims.id,
            cnf: claims.holder.as_ref().map(Confirmation::of),
            att: claims.attenuation.clone(),
            lim: claims.metered.iter().map(Limit::of).collect(),
        };
        let kid = A::verifier(signer).id().to_string();
        let header = Header { alg: A::NAME.to_owned(), typ: "JWT".to_owned(), kid, crit: None };
        let mut token = encode(&header)?;
        token.push('.');
        token.push_str(&encode(&payload)?);
        let signature = A::sign(signer, token.as_bytes());
        token.push('.');
        BASE64.encode_string(signature, &mut token);
        if token.len() > MAX_TOKEN { Err(TokenError::TooLarge { size: token.len() }) } else { Ok(token) }
    }

    fn verify(&self, token: &str, at: Timestamp) -> Result<Verified, TokenError> {
        self.gate.admit(token, at, || self.open(token))
    }
}

impl<A: Algorithm> fmt::Debug for Jwt<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signs = self.signer.is_some();
        f.debug_struct(A::SCHEME).field("keys", &self.keys).field("signs", &signs).finish_non_exhaustive()
    }
}

/// What a token says and its audience, without a look at its signature: for people who hold one.
pub(crate) fn peek(token: &str) -> Result<(&'static str, String, Claims, String), TokenError> {
    let (header, message, _) = header(token)?;
    let scheme = match header.alg.as_str() {
        Ed25519::NAME => Ed25519::SCHEME,
        HmacSha256::NAME => HmacSha256::SCHEME,
        other => return Err(TokenError::Algorithm { found: shown(other), expected: "EdDSA or HS256" }),
    };
    let (claims, audience) = claims(message)?;
    Ok((scheme, shown(&header.kid), claims, audience))
}

/// The header of a token, what was signed, and the signature.
fn header(token: &str) -> Result<(Header, &str, &str), TokenError> {
    let (message, signature) = token.rsplit_once('.').ok_or_else(|| malformed("it has no parts"))?;
    let (header, _) = message.split_once('.').ok_or_else(|| malformed("it has two parts, not three"))?;
    let header: Header = part(header, "header")?;
    if header.crit.is_some() {
        return Err(TokenError::Critical);
    }
    if header.typ != "JWT" {
        return Err(malformed("its header's type is not JWT"));
    }
    Ok((header, message, signature))
}

/// The claims in `message` and their audience.
fn claims(message: &str) -> Result<(Claims, String), TokenError> {
    let (_, payload) = message.split_once('.').ok_or_else(|| malformed("it has no claims"))?;
    let payload: Payload = part(payload, "claims")?;
    let claims = Claims {
        issuer: payload.iss,
        subject: payload.sub,
        grant: payload.grt,
        issued: from_seconds(payload.iat),
        not_before: payload.nbf.map(from_seconds),
        expires: from_seconds(payload.exp),
        renewable_until: payload.rnw.map(from_seconds),
        id: payload.jti,
        holder: payload.cnf.map(Confirmation::key).transpose()?,
        attenuation: payload.att,
        metered: payload.lim.into_iter().map(Limit::metered).collect(),
    };
    Ok((claims, payload.aud))
}

impl Limit {
    fn of(metered: &Metered) -> Self {
        Self { mtr: metered.meter, exp: seconds(metered.until), att: metered.only.clone() }
    }

    fn metered(self) -> Metered {
        Metered { meter: self.mtr, until: from_seconds(self.exp), only: self.att }
    }
}

impl Confirmation {
    fn of(key: &VerifyingKey) -> Self {
        let x = BASE64.encode(key.as_bytes());
        Self { jwk: Jwk { kty: "OKP".to_owned(), crv: "Ed25519".to_owned(), x } }
    }

    fn key(self) -> Result<VerifyingKey, TokenError> {
        let known = self.jwk.kty == "OKP" && self.jwk.crv == "Ed25519";
        let bytes = BASE64.decode(&self.jwk.x).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let key = bytes.filter(|_| known).and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
        key.ok_or_else(|| malformed("its holder's key is not an Ed25519 key"))
    }
}

/// A member that is there counts, `null` as well.
fn there<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<serde_json::Value>, D::Error> {
    serde_json::Value::deserialize(deserializer).map(Some)
}

fn malformed(what: impl Into<String>) -> TokenError {
    TokenError::Malformed(what.into())
}

fn encode(part: &impl Serialize) -> Result<String, TokenError> {
    let json = serde_json::to_vec(part);
    let json = json.map_err(|e| TokenError::CannotIssue(format!("its claims cannot be written: {e}")))?;
    Ok(BASE64.encode(json))
}

fn part<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, TokenError> {
    let malformed = |e: &dyn fmt::Display| malformed(format!("its {what}: {e}"));
    let json = BASE64.decode(text).map_err(|e| malformed(&e))?;
    serde_json::from_slice(&json).map_err(|e| malformed(&e))
}
