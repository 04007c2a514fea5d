//! Single payloads, disclosed to whoever has no key of the vault.

use std::collections::HashMap;
use std::sync::Arc;

use toka_types::{Digest, Gone, KeyId, Payload, Seal, SealError, Subject};

use super::crypto::{self, KEY, SealedHead, Secret};

/// The key of one sealed payload: it opens that one and no other. Shown by nothing.
#[derive(Clone, Debug)]
pub struct PayloadKey(pub(super) Secret);

impl PayloadKey {
    #[cfg(feature = "sign")]
    pub(crate) fn from_bytes(bytes: [u8; KEY]) -> Self {
        Self(Secret(bytes))
    }

    /// The key itself, for whoever may read the payload.
    pub fn to_bytes(&self) -> [u8; KEY] {
        self.0.0
    }

    /// What the sealed payload `stored` says; `None` if it is another one, or anything was changed.
    ///
    /// Whoever has the keys of the vault is sure that there is nothing else that it says. With this key alone that is the
    /// word of whoever disclosed it: the cipher does not commit to a key.
    pub fn open(&self, stored: &[u8]) -> Option<Vec<u8>> {
        crypto::open_with(&self.0, stored)
    }
}

/// The keys that a sealed payload with this beginning is sealed under; `None` if it is none.
pub(crate) fn key_of(stored: &[u8]) -> Option<KeyId> {
    SealedHead::read(stored).map(|head| head.key)
}

/// Opens what was disclosed one by one, and leaves the rest to the keys of the vault, or to what says why it is gone.
pub struct Disclosed {
    keys: Arc<HashMap<Digest, PayloadKey>>,
    rest: Arc<dyn Seal>,
}

impl Disclosed {
    /// The payloads with the digests in `keys`, as stored, are opened by these.
    pub fn new(keys: Arc<HashMap<Digest, PayloadKey>>, rest: Arc<dyn Seal>) -> Self {
        Self { keys, rest }
    }
}

impl Seal for Disclosed {
    fn seal(&self, subject: &Subject, content: &Payload) -> Result<Payload, SealError> {
        self.rest.seal(subject, content)
    }

    fn open(&self, stored: &Payload) -> Result<Payload, Gone> {
        if stored.is_open() {
            return Ok(stored.clone());
        }
        let known = self.keys.get(&stored.digest()).and_then(|key| key.open(stored.bytes()));
        match known {
            Some(plain) => Ok(Payload::opened(stored.content_ref(), plain)),
            None => self.rest.open(stored),
        }
    }

    fn blind(&self, subject: &Subject, digest: &Digest) -> Result<Digest, SealError> {
        self.rest.blind(subject, digest)
    }

    fn is_stored_as(&self, subject: &Subject, content: &Payload, stored: &Digest) -> bool {
        self.rest.is_stored_as(subject, content, stored)
    }

    fn overhead(&self) -> usize {
        self.rest.overhead()
    }
}
