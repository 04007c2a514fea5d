//! Proof of possession: that who shows a token has the key it is bound to, and means this very operation.
//!
//! A proof is an Ed25519 signature by the holder over
//!
//! ```text
//! "toka 2026 proof of possession v1"  32 bytes
//! the digest of the token's text      32
//! the digest of the operation         32
//! the nonce                           16
//! the proof's end                      8   µs after the epoch, big-endian
//! the audience                        the rest
//! ```
//!
//! The operation's digest is that of the bytes in which it is sent, and not of what somebody reads from them. So the proof
//! is worth nothing with another token, for another operation, at another vault or after its end. Each part but
//! the last has its length, and no two things that may be signed are the same bytes. Its text is base64url without padding
//! of nonce, end and signature: [`Proof`]'s `Display` and `FromStr`. `docs/format/token.md` has an example.
//!
//! A proof can be seen and shown again until its end. So whoever admits operations remembers the nonces of each subject
//! until then ([`toka_types::nonce`]), whatever became of the operation.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use toka_types::nonce::{MAX_WINDOW, Nonce};
use toka_types::{Digest, Timestamp};
use zeroize::Zeroizing;

use crate::key::{KeyError, KeyId};
use crate::token::TokenError;

const CONTEXT: &[u8; 32] = b"toka 2026 proof of possession v1";
/// Bytes of a proof.
const LEN: usize = 16 + 8 + 64;

/// A key of somebody who holds tokens, or signs blocks of them as a third party. Its memory is wiped when it is dropped.
pub struct HolderKey(SigningKey);

/// That a holder means an operation, with this token, at this vault, until this end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// What tells it from every other proof of the holder.
    pub nonce: Nonce,
    /// The first moment at which it is accepted no more.
    pub not_after: Timestamp,
    /// Of the holder, over all that the module's head lists.
    pub signature: [u8; 64],
}

impl HolderKey {
    /// A new key.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|e| KeyError::Random(e.to_string()))?;
        Ok(Self::from_seed(&seed))
    }

    /// The key that follows from `seed`, which is the secret itself.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half, to which tokens are bound.
    pub fn public(&self) -> VerifyingKey {
        self.0.verifying_key()
    }

    #[cfg(feature = "biscuit")]
    pub(crate) fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }
}

impl Proof {
    /// The proof by `key` for the token with digest `token` and the operation with digest `operation`.
    pub fn sign(
        key: &HolderKey,
        token: &Digest,
        operation: &Digest,
        audience: &str,
        nonce: Nonce,
        not_after: Timestamp,
    ) -> Self {
        let message = message(token, operation, audience, nonce, not_after);
        Self { nonce, not_after, signature: key.0.sign(&message).to_bytes() }
    }

    /// Checks that the proof is `holder`'s, about exactly this, and that its time is not over. That its nonce is new is for
    /// the caller to check.
    ///
    /// # Errors
    /// [`TokenError::ProofInvalid`]; [`TokenError::ProofTime`] at or after its end, or more than
    /// [`MAX_WINDOW`] before it.
    pub fn verify(
        &self,
        holder: &VerifyingKey,
        token: &Digest,
        operation: &Digest,
        audience: &str,
        at: Timestamp,
    ) -> Result<(), TokenError> {
        let message = message(token, operation, audience, self.nonce, self.not_after);
        let signature = Signature::from_bytes(&self.signature);
        holder.verify_strict(&message, &signature).map_err(|_| TokenError::ProofInvalid)?;
        if at >= self.not_after || self.not_after.since(at) > MAX_WINDOW {
            let (ends, most) = (self.not_after.0, Duration::as_secs(&MAX_WINDOW));
            return Err(TokenError::ProofTime { ends, most });
        }
        Ok(())
    }
}

fn message(
    token: &Digest,
    operation: &Digest,
    audience: &str,
    nonce: Nonce,
    not_after: Timestamp,
) -> Vec<u8> {
    let end = not_after.0.to_be_bytes();
    [&CONTEXT[..], &token.0, &operation.0, &nonce.0, &end, audience.as_bytes()].concat()
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.not_after.0.to_be_bytes();
        f.write_str(&BASE64.encode([&self.nonce.0[..], &end, &self.signature].concat()))
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof")
            .field("nonce", &self.nonce)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl FromStr for Proof {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        // The buffer has no room for more, whatever the text's length.
        let mut bytes = [0; LEN];
        let read = BASE64.decode_slice(text, &mut bytes);
        if read != Ok(LEN) {
            return Err(TokenError::Malformed(format!("a proof is {LEN} bytes in base64url")));
        }
        let (mut nonce, mut end, mut signature) = ([0; 16], [0; 8], [0; 64]);
        nonce.copy_from_slice(&bytes[..16]);
        end.copy_from_slice(&bytes[16..24]);
        signature.copy_from_slice(&bytes[24..]);
        Ok(Self { nonce: Nonce(nonce), not_after: Timestamp(i64::from_be_bytes(end)), signature })
    }
}

impl fmt::Debug for HolderKey {
    /// The public half's name alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HolderKey({})", KeyId::of(&self.public()))
    }
}
