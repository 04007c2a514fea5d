//! The primitives: secrets, keyed digests, wrapping a key, and the bytes of a sealed payload.
//!
//! `docs/format/sealing.md` describes what is stored, with golden vectors.

use std::fmt;

use chacha20poly1305::aead::{Aead, AeadInPlace, KeyInit, Payload as Message};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use toka_types::KeyId;
use zeroize::{Zeroize, Zeroizing};

use super::SealingError;

/// Bytes of a key.
pub(crate) const KEY: usize = 32;
/// Bytes of a nonce.
pub(crate) const NONCE: usize = 24;
/// Bytes of an authentication tag.
pub(crate) const TAG: usize = 16;
/// What a sealed payload begins with: what it is, and the version of its form.
pub(crate) const MAGIC: &[u8; 4] = b"TSP1";
/// Bytes before the nonce, which are authenticated with the content: magic, key id, epoch.
pub(crate) const ASSOCIATED: usize = 4 + 16 + 4;
/// Bytes by which sealing makes content longer.
pub const OVERHEAD: usize = ASSOCIATED + NONCE + TAG;

const NONCE_CONTEXT: &str = "toka 2026 seal nonce v1";
const BLIND_CONTEXT: &str = "toka 2026 seal blind v1";
const PAYLOAD_CONTEXT: &str = "toka 2026 seal payload key v1";

/// A key. It is overwritten when it is dropped and shown by nothing.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) [u8; KEY]);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Secret {
    pub(crate) fn random() -> Result<Self, SealingError> {
        let mut secret = Self([0; KEY]);
        getrandom::fill(&mut secret.0).map_err(|error| SealingError::Randomness(error.to_string()))?;
        Ok(secret)
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Some random bytes that are no secret: ids, salts, nonces of wrapped keys.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], SealingError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| SealingError::Randomness(error.to_string()))?;
    Ok(bytes)
}

/// Keyed BLAKE3 over fields, each prefixed with its length as a little-endian `u64`; the first is the context.
pub(crate) fn keyed(key: &Secret, context: &str, fields: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(&key.0);
    for field in [context.as_bytes()].iter().chain(fields) {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    }
    *hasher.finalize().as_bytes()
}

/// Encrypts a key or another short secret; what `associated` says must be said again to get it back.
pub(crate) fn wrap(
    key: &Secret,
    nonce: &[u8; NONCE],
    associated: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, SealingError> {
    let message = Message { msg: plain, aad: associated };
    let wrapped = XChaCha20Poly1305::new((&key.0).into()).encrypt(XNonce::from_slice(nonce), message);
    wrapped.map_err(|_| SealingError::Randomness("a key could not be wrapped".into()))
}

/// Undoes [`wrap`]; `None` if the key is another one, or anything was changed.
pub(crate) fn unwrap(
    key: &Secret,
    nonce: &[u8; NONCE],
    associated: &[u8],
    wrapped: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let message = Message { msg: wrapped, aad: associated };
    let plain = XChaCha20Poly1305::new((&key.0).into()).decrypt(XNonce::from_slice(nonce), message);
    plain.ok().map(Zeroizing::new)
}

/// Encrypts a piece in place; returns its tag.
pub(crate) fn encrypt_in_place(key: &Secret, nonce: &[u8; NONCE], piece: &mut [u8]) -> Option<[u8; TAG]> {
    let cipher = XChaCha20Poly1305::new((&key.0).into());
    cipher.encrypt_in_place_detached(XNonce::from_slice(nonce), &[], piece).ok().map(Into::into)
}

/// Undoes [`encrypt_in_place`]; false if the key is another one, or anything was changed.
pub(crate) fn decrypt_in_place(key: &Secret, nonce: &[u8; NONCE], piece: &mut [u8], tag: &[u8; TAG]) -> bool {
    let cipher = XChaCha20Poly1305::new((&key.0).into());
    let tag = Tag::from_slice(tag);
    cipher.decrypt_in_place_detached(XNonce::from_slice(nonce), &[], piece, tag).is_ok()
}

/// What stands for a digest under a key of its subject.
pub(crate) fn blind(nonce_key: &Secret, digest: &[u8; 32]) -> [u8; 32] {
    keyed(nonce_key, BLIND_CONTEXT, &[digest])
}

/// The head of a sealed payload.
pub(crate) struct SealedHead {
    pub(crate) key: KeyId,
    pub(crate) epoch: u32,
    nonce: [u8; NONCE],
}

impl SealedHead {
    /// Reads the head of `stored`; `None` if that is no sealed payload.
    pub(crate) fn read(stored: &[u8]) -> Option<Self> {
        if stored.len() < OVERHEAD || stored[..4] != *MAGIC {
            return None;
        }
        let mut head = Self { key: KeyId::default(), epoch: 0, nonce: [0; NONCE] };
        head.key.0.copy_from_slice(&stored[4..20]);
        let mut epoch = [0; 4];
        epoch.copy_from_slice(&stored[20..24]);
        head.epoch = u32::from_le_bytes(epoch);
        head.nonce.copy_from_slice(&stored[ASSOCIATED..ASSOCIATED + NONCE]);
        Some(head)
    }
}

/// The stored bytes of `plain`.
pub(crate) fn seal(nonce_key: &Secret, data_key: &Secret, key: KeyId, epoch: u32, plain: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(OVERHEAD + plain.len());
    stored.extend_from_slice(MAGIC);
    stored.extend_from_slice(&key.0);
    stored.extend_from_slice(&epoch.to_le_bytes());
    let nonce = nonce_of(nonce_key, &stored, plain);
    let payload_key = payload_key(data_key, &nonce);
    let cipher = XChaCha20Poly1305::new((&payload_key.0).into());
    let associated: [u8; ASSOCIATED] = stored[..].try_into().expect("magic, key id and epoch");
    stored.extend_from_slice(&nonce);
    stored.extend_from_slice(plain);
    let piece = &mut stored[ASSOCIATED + NONCE..];
    // It fails past 256 GiB alone, and the bounds on content refuse that long before.
    let tag = cipher.encrypt_in_place_detached(XNonce::from_slice(&nonce), &associated, piece);
    stored.extend_from_slice(&tag.expect("content is far smaller than a cipher's bound"));
    stored
}

/// What `stored` says, and the key that opens it alone; `None` if it was sealed under other keys, or anything was changed.
pub(crate) fn open(nonce_key: &Secret, data_key: &Secret, stored: &[u8]) -> Option<(Vec<u8>, Secret)> {
    let head = SealedHead::read(stored)?;
    let payload_key = payload_key(data_key, &head.nonce);
    let plain = open_with(&payload_key, stored)?;
    // The cipher alone does not commit to a key: the same bytes could be made to say two things.
    let committed = nonce_of(nonce_key, &stored[..ASSOCIATED], &plain) == head.nonce;
    committed.then_some((plain, payload_key))
}

/// What `stored` says under its payload's own key; `None` if that is another one, or anything was changed.
pub(crate) fn open_with(payload_key: &Secret, stored: &[u8]) -> Option<Vec<u8>> {
    let head = SealedHead::read(stored)?;
    let message = Message { msg: &stored[ASSOCIATED + NONCE..], aad: &stored[..ASSOCIATED] };
    let cipher = XChaCha20Poly1305::new((&payload_key.0).into());
    cipher.decrypt(XNonce::from_slice(&head.nonce), message).ok()
}

fn nonce_of(nonce_key: &Secret, associated: &[u8], plain: &[u8]) -> [u8; NONCE] {
    let digest = keyed(nonce_key, NONCE_CONTEXT, &[associated, plain]);
    let mut nonce = [0; NONCE];
    nonce.copy_from_slice(&digest[..NONCE]);
    nonce
}

fn payload_key(data_key: &Secret, nonce: &[u8; NONCE]) -> Secret {
    Secret(keyed(data_key, PAYLOAD_CONTEXT, &[nonce]))
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Undoes [`hex`].
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
