//! Biscuit tokens: whoever holds one can take something away from it, without asking anybody, and nobody can give it back.
//!
//! The container carries and proves; it decides nothing. What a token allows is decided by the
//! [capability language](toka_types::capability) alone: the world's grant ∩ the `only` of each block. So a block is a list of
//! the facts below, each at most once (but `metered`), and nothing else: a token with a rule, a check, a scope or any other fact is refused,
//! for a reader that skipped it would allow what its writer did not. No Datalog is evaluated.
//!
//! | Fact | In | Says |
//! |---|---|---|
//! | `toka(1, null)` | authority | the format; the `null` makes the signatures those of version 1 |
//! | `issuer(bytes)`, `subject(bytes)` | authority | entity ids |
//! | `audience(string)` | authority | the vault |
//! | `grant(integer)` | authority | the grant's number |
//! | `number(bytes)` | authority | the token's own number |
//! | `issued(date)`, `not_before(date)`, `until(date)` | authority | times; `until` is the latest end of a renewal |
//! | `expires(date)` | any | an end; the first of them counts |
//! | `only({string, …})` | any | capabilities: all that is still allowed |
//! | `holder(bytes)` | any | the key to which it is bound from here on |
//! | `metered(bytes, date, {string, …})` | authority, once for each | a set with limits of a token that this one replaced: its meter, and until when that is kept |
//! | `requires({bytes, …})` | behind the authority | third parties that must sign a block further back |
//!
//! Signatures are Ed25519 and of version 1 (each covers the one before it), whatever else Biscuit knows. `docs/format/token.md`
//! has an example. What a holder does with a token is in [`offline`].

mod facts;
pub mod offline;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE as BASE64;
use biscuit_auth::datalog::SymbolTable;
use biscuit_auth::format::{SerializedBiscuit, schema};
use biscuit_auth::{Algorithm, BiscuitBuilder, KeyPair, PrivateKey, PublicKey};
use ed25519_dalek::VerifyingKey;
use prost::Message;
use toka_types::Timestamp;
use zeroize::Zeroizing;

use crate::gate::{Gate, Opened};
use crate::key::{KeyId, OperatorKey};
use crate::ring::KeyRing;
use crate::token::{Block, Claims, MAX_TOKEN, Signed, TokenError, TokenScheme, Verified, meter};

/// Most blocks behind the issuer's: each costs a signature to check.
pub const MAX_BLOCKS: usize = 16;
/// The one version of signatures that is accepted: it covers the signature of the block before.
const SIGNATURES: u32 = 1;

/// Issues and verifies Biscuits of one audience, which is one vault.
#[derive(Debug)]
pub struct Biscuit {
    signer: Option<OperatorKey>,
    keys: KeyRing<PublicKey>,
    gate: Gate,
}

impl Biscuit {
    /// A scheme that signs with `key` and verifies what it signed, for `audience`.
    ///
    /// # Errors
    /// [`TokenError::CannotIssue`] if the audience is empty or longer than [`MAX_AUDIENCE`](crate::gate::MAX_AUDIENCE).
    pub fn new(key: OperatorKey, audience: impl Into<String>) -> Result<Self, TokenError> {
        let mut scheme = Self::verifier(KeyRing::new([key.public()]), audience)?;
        scheme.signer = Some(key);
        Ok(scheme)
    }

    /// A scheme that only verifies, with any key of `keys`, for `audience`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn verifier(keys: KeyRing, audience: impl Into<String>) -> Result<Self, TokenError> {
        Ok(Self { signer: None, keys: keys.filter_map(as_root), gate: Gate::new(audience)? })
    }

    /// Accepts the keys of `keys` too, beside the scheme's own: while keys change, both are valid, until the end that
    /// the ring gives the old one.
    #[must_use]
    pub fn accepting(mut self, keys: &KeyRing) -> Self {
        self.keys = self.keys.join(&keys.filter_map(as_root));
        self
    }

    /// Issues tokens that live as long as `longest`, instead of [`DEFAULT_TTL`](crate::token::DEFAULT_TTL).
    #[must_use]
    pub fn with_longest_ttl(mut self, longest: Duration) -> Self {
        self.gate.set_longest(longest);
        self
    }

    /// Checks form and signatures: everything that time cannot change.
    fn open(&self, token: &str) -> Result<Opened, TokenError> {
        let (bytes, outer) = outer(token)?;
        let named = outer.root_key_id.ok_or_else(|| malformed("it names no key"))?;
        let unknown = || TokenError::UnknownKey(format!("{named:08x}…"));
        let key = self.keys.find(|id| short(id) == named).ok_or_else(unknown)?;
        SerializedBiscuit::from_slice(&bytes, key.key).map_err(refused)?;

        // Only what was signed is looked into.
        let (claims, audience, blocks) = said(&outer)?;
        let signed = Arc::new(Signed::new(token, meter(&outer.authority.signature), claims, blocks)?);
        Ok(Opened { signed, audience, key: key.id, key_ends: key.until })
    }
}

impl TokenScheme for Biscuit {
    fn name(&self) -> &'static str {
        "biscuit"
    }

    fn audience(&self) -> &str {
        self.gate.audience()
    }

    fn issue(&self, claims: &Claims) -> Result<String, TokenError> {
        let none = || TokenError::CannotIssue("this scheme has no signing key".to_owned());
        let signer = self.signer.as_ref().ok_or_else(none)?;
        let times = self.gate.issuable(claims)?;
        let cannot = |e: biscuit_auth::error::Token| TokenError::CannotIssue(e.to_string());
        let mut builder = BiscuitBuilder::new().root_key_id(short(signer.id()));
        for fact in facts::authority(claims, self.gate.audience(), &times)? {
            builder = builder.fact(fact).map_err(cannot)?;
        }
        let root = key_pair(&signer.seed())?;
        let built = builder.build_with_key_pair(&root, SymbolTable::new(), &next_key()?);
        text(&built.and_then(|token| token.to_vec()).map_err(cannot)?)
    }

    fn verify(&self, token: &str, at: Timestamp) -> Result<Verified, TokenError> {
        self.gate.admit(token, at, || self.open(token))
    }
}

/// What a token says and its audience, without a look at its signatures: for people who hold one.
pub(crate) fn peek(token: &str) -> Result<(String, Claims, Vec<Block>, String), TokenError> {
    let (_, outer) = outer(token)?;
    let (claims, audience, blocks) = said(&outer)?;
    let named = outer.root_key_id.ok_or_else(|| malformed("it names no key"))?;
    Ok((format!("{named:08x}…"), claims, blocks, audience))
}

/// The bytes of a token and what they are made of: one form and no other, and nothing of which this reader does not know
/// what it means.
fn outer(token: &str) -> Result<(Vec<u8>, schema::Biscuit), TokenError> {
    if token.len() > MAX_TOKEN {
        return Err(TokenError::TooLarge { size: token.len() });
    }
    let bytes = BASE64.decode(token).map_err(|e| malformed(e.to_string()))?;
    let outer = schema::Biscuit::decode(&bytes[..]).map_err(|e| malformed(e.to_string()))?;
    if outer.encode_to_vec() != bytes {
        return Err(malformed("its bytes are not in the one form that tokens have"));
    }
    if outer.blocks.len() > MAX_BLOCKS {
        let count = outer.blocks.len();
        return Err(malformed(format!("it has {count} blocks; at most {MAX_BLOCKS} are allowed")));
    }
    for block in std::iter::once(&outer.authority).chain(&outer.blocks) {
        let external = block.external_signature.as_ref().map(|external| &external.public_key);
        for key in std::iter::once(&block.next_key).chain(external) {
            if key.algorithm != schema::public_key::Algorithm::Ed25519 as i32 {
                let found = format!("Biscuit {}", key.algorithm);
                return Err(TokenError::Algorithm { found, expected: "Ed25519" });
            }
        }
        if block.version != Some(SIGNATURES) {
            let found = format!("signature version {}", block.version.unwrap_or_default());
            return Err(TokenError::Algorithm { found, expected: "signature version 1" });
        }
    }
    Ok((bytes, outer))
}

/// The claims of a token, its audience, and the blocks behind.
fn said(outer: &schema::Biscuit) -> Result<(Claims, String, Vec<Block>), TokenError> {
    let mut symbols = facts::Symbols::default();
    let authority = facts::block(&outer.authority.block, &mut symbols)?;
    let (claims, audience) = facts::read_authority(&authority, &symbols)?;
    let mut blocks = Vec::with_capacity(outer.blocks.len());
    for block in &outer.blocks {
        let signer = block.external_signature.as_ref().map(|external| verifying(&external.public_key.key));
        let narrowing = if signer.is_some() {
            // Signed by somebody who did not see the symbols of the others.
            facts::narrowing(&block.block, &mut facts::Symbols::default())?
        } else {
            facts::narrowing(&block.block, &mut symbols)?
        };
        blocks.push(Block { meter: meter(&block.signature), signer: signer.transpose()?, narrowing });
    }
    Ok((claims, audience, blocks))
}

/// The key as the Biscuit crate has it. There is none that it does not take.
fn as_root(key: &VerifyingKey) -> Option<PublicKey> {
    PublicKey::from_bytes(key.as_bytes(), Algorithm::Ed25519).ok()
}

/// As a token names its root key: the first half of the id.
fn short(id: KeyId) -> u32 {
    id.first_half()
}

fn text(bytes: &[u8]) -> Result<String, TokenError> {
    let token = BASE64.encode(bytes);
    if token.len() > MAX_TOKEN { Err(TokenError::TooLarge { size: token.len() }) } else { Ok(token) }
}

fn key_pair(seed: &Zeroizing<[u8; 32]>) -> Result<KeyPair, TokenError> {
    let private = PrivateKey::from_bytes(&seed[..], Algorithm::Ed25519);
    Ok(KeyPair::from(&private.map_err(|e| TokenError::CannotIssue(e.to_string()))?))
}

/// The key under which the next block will be signed; the token carries it.
fn next_key() -> Result<KeyPair, TokenError> {
    let mut seed = Zeroizing::new([0; 32]);
    let filled = getrandom::fill(&mut *seed);
    filled
        .map_err(|e| TokenError::CannotIssue(format!("the operating system gives no random bytes: {e}")))?;
    key_pair(&seed)
}

fn verifying(bytes: &[u8]) -> Result<VerifyingKey, TokenError> {
    let key = <&[u8; 32]>::try_from(bytes).ok().and_then(|bytes| VerifyingKey::from_bytes(bytes).ok());
    key.ok_or_else(|| malformed("a key in it is not an Ed25519 key"))
}

/// What the Biscuit crate says of a token, in our words.
fn refused(error: biscuit_auth::error::Format) -> TokenError {
    use biscuit_auth::error::Format;
    match error {
        Format::Signature(_)
        | Format::SealedSignature
        | Format::InvalidSignatureSize(_)
        | Format::BlockSignatureDeserializationError(_) => TokenError::Signature,
        other => malformed(other.to_string()),
    }
}

fn malformed(what: impl Into<String>) -> TokenError {
    TokenError::Malformed(what.into())
}
