//! Keys that verify: several at once while they change.

use std::fmt;

use ed25519_dalek::VerifyingKey;
use toka_types::{Digest, Timestamp};
use zeroize::Zeroizing;

use crate::key::{KeyError, KeyId};

/// Least bytes of a shared secret: as many as the hash has (RFC 7518, 3.2).
pub const MIN_SECRET: usize = 32;
/// Most bytes of a shared secret: more add nothing.
pub const MAX_SECRET: usize = 1024;

/// Keys of one algorithm, of which any may have signed a token.
///
/// To change a key, sign with the new one and accept a ring with the old one [`until`](Self::until) some time after the last token
/// that it signed has ended:
///
/// ```
/// use toka_auth::{EdDsa, KeyRing, OperatorKey};
/// use toka_types::Timestamp;
///
/// let (old, new) = (OperatorKey::generate()?, OperatorKey::generate()?);
/// let overlap = Timestamp::from_millis(1_700_000_900_000);
/// let scheme = EdDsa::new(new, "vault-1")?.accepting(&KeyRing::new([old.public()]).until(overlap));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct KeyRing<K = VerifyingKey>(Vec<RingEntry<K>>);

/// One key of a ring.
#[derive(Clone)]
pub struct RingEntry<K> {
    /// Its name in a token's header.
    pub id: KeyId,
    /// The key.
    pub key: K,
    /// The first moment at which it is accepted no more.
    pub until: Option<Timestamp>,
}

/// What can stand in a ring: it has a name.
pub trait RingKey {
    /// The key's name in a token's header.
    fn id(&self) -> KeyId;
}

/// A secret that issuer and verifier share. Its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct SharedSecret(Zeroizing<Vec<u8>>);

impl<K: RingKey> KeyRing<K> {
    /// The ring of `keys`, each without an end.
    pub fn new(keys: impl IntoIterator<Item = K>) -> Self {
        Self(keys.into_iter().map(|key| RingEntry { id: key.id(), key, until: None }).collect())
    }
}

impl<K: Clone> KeyRing<K> {
    /// The same keys, accepted until `end` and no longer.
    #[must_use]
    pub fn until(mut self, end: Timestamp) -> Self {
        for entry in &mut self.0 {
            entry.until = Some(entry.until.map_or(end, |until| until.min(end)));
        }
        self
    }

    /// The keys of both; of a key that both have, this ring's end counts.
    #[must_use]
    pub fn join(mut self, other: &Self) -> Self {
        for entry in &other.0 {
            if !self.0.iter().any(|own| own.id == entry.id) {
                self.0.push(entry.clone());
            }
        }
        self
    }

    /// The key of which the id is written `id`.
    pub fn get(&self, id: &str) -> Option<&RingEntry<K>> {
        let id: KeyId = id.parse().ok()?;
        self.find(|name| name == id)
    }

    /// The ring of what `make` makes of each key; those of which it makes nothing are left out.
    #[cfg(feature = "biscuit")]
    pub(crate) fn filter_map<L>(&self, make: impl Fn(&K) -> Option<L>) -> KeyRing<L> {
        let entries = self.0.iter().filter_map(|RingEntry { id, key, until }| {
            make(key).map(|key| RingEntry { id: *id, key, until: *until })
        });
        KeyRing(entries.collect())
    }

    /// The first key of which the id is as wanted.
    pub(crate) fn find(&self, wanted: impl Fn(KeyId) -> bool) -> Option<&RingEntry<K>> {
        self.0.iter().find(|entry| wanted(entry.id))
    }
}

impl<K> Default for KeyRing<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K> fmt::Debug for KeyRing<K> {
    /// The names alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|entry| (entry.id, entry.until))).finish()
    }
}

impl<K> fmt::Debug for RingEntry<K> {
    /// Name and end alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingEntry").field("id", &self.id).field("until", &self.until).finish_non_exhaustive()
    }
}

impl RingKey for VerifyingKey {
    fn id(&self) -> KeyId {
        KeyId::of(self)
    }
}

impl RingKey for SharedSecret {
    fn id(&self) -> KeyId {
        KeyId::first_of(Digest::of_fields("toka 2026 shared secret id v1", [self.bytes()]))
    }
}

impl SharedSecret {
    /// The secret of these bytes.
    ///
    /// # Errors
    /// [`KeyError::Secret`] below [`MIN_SECRET`] bytes or above [`MAX_SECRET`].
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        if !(MIN_SECRET..=MAX_SECRET).contains(&bytes.len()) {
            return Err(KeyError::Secret { len: bytes.len() });
        }
        Ok(Self(Zeroizing::new(bytes.to_vec())))
    }

    /// A new secret of [`MIN_SECRET`] bytes.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new(vec![0; MIN_SECRET]);
        getrandom::fill(&mut bytes).map_err(|e| KeyError::Random(e.to_string()))?;
        Ok(Self(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SharedSecret {
    /// The name alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedSecret({})", self.id())
    }
}
