//! The record of an event: its header, the header's canonical bytes, and the causal digest that is its id.
//!
//! `docs/format/record.md` gives the bytes with golden vectors. They are final: what is hashed is always
//! what is stored, never a re-encoding.

mod view;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::digest::Digest;
use crate::id::{EntityId, EventId, Kind};
use crate::label::Labels;
use crate::time::Timestamp;
use view::Preimage;

pub use view::HeaderView;

/// Most causes an event may name.
pub const MAX_PARENTS: usize = 64;
/// Most pieces of content an event may have: one payload, and room for attachments.
pub const MAX_CONTENTS: usize = 16;
/// Most bytes of facts: `apply` reads them on every start, so they stay small.
pub const MAX_FACTS: usize = 64 << 10;
/// Most bytes of content in one event: a larger artefact belongs into storage, with its digest here.
pub const MAX_CONTENT_BYTES: usize = 16 << 20;

const HEADER_VERSION: u8 = 1;
/// What BLAKE3's derive-key mode makes of the context "toka 2026 event id v1".
const ID_CONTEXT_KEY: [u8; 32] = [
    0x5b, 0x24, 0x50, 0xf6, 0x75, 0x85, 0xd7, 0xd7, 0x34, 0x9a, 0x40, 0xc9, 0xc5, 0x3a, 0xf6, 0xf5, 0xe4,
    0xb6, 0x2d, 0x6a, 0x83, 0x92, 0xd9, 0xfe, 0x52, 0x62, 0xad, 0x11, 0x9b, 0x7f, 0xe0, 0xbd,
];
const HAS_PREV: u8 = 1;

/// What a header says of one piece of content: its digest and its size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ContentRef {
    /// BLAKE3 of the bytes as stored.
    pub digest: Digest,
    /// How many bytes there are.
    pub size: u32,
}

/// Some bytes of content with their digest, which is computed once, where the bytes are made.
///
/// What a store takes and gives is as stored. Of a sealed vault that is ciphertext; whoever has the key makes
/// an [opened](Payload::opened) payload of it, which keeps the digest and says what was sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    stored: ContentRef,
    bytes: Arc<[u8]>,
}

/// Why content that an event names cannot be had. The event itself, and every proof, stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Gone {
    /// Its subject's keys were destroyed.
    Erased,
    /// A retention rule dropped it.
    Expired,
    /// It was left out of the bundle that this vault was read from.
    Redacted,
    /// It is sealed, and the key is not at hand.
    Sealed,
}

impl Payload {
    /// Digests `bytes`. Sizes past 4 GiB saturate; the bounds on content refuse them long before.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Self { stored: ContentRef { digest: Digest::of(&bytes), size }, bytes }
    }

    /// What the content says whose sealed form is `stored`. It is for readers alone: a store refuses it.
    pub fn opened(stored: ContentRef, bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { stored, bytes: bytes.into() }
    }

    /// The digest of the bytes as stored.
    pub fn digest(&self) -> Digest {
        self.stored.digest
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, shared.
    pub fn shared(&self) -> Arc<[u8]> {
        Arc::clone(&self.bytes)
    }

    /// True if these are not the bytes as stored but what they say: see [`opened`](Self::opened).
    pub fn is_open(&self) -> bool {
        u32::try_from(self.bytes.len()) != Ok(self.stored.size)
    }

    /// Digest and size as stored, which a header holds.
    pub fn content_ref(&self) -> ContentRef {
        self.stored
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({}, {} bytes)", self.stored.digest.short(), self.bytes.len())
    }
}

/// The header of a committed event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct EventHeader {
    /// Position in its log, from 0. Not part of the id.
    pub seq: u64,
    /// The causal digest.
    pub id: EventId,
    /// When the kernel decided it; never before its predecessor's. Not part of the id.
    pub at: Timestamp,
    /// What sort of fact it is.
    pub kind: Kind,
    /// Who caused it.
    pub author: EntityId,
    /// The author's previous event in this log. It orders, it is no cause.
    pub prev: Option<EventId>,
    /// The causes, in the caller's order.
    pub parents: Vec<EventId>,
    /// Where the data came from and who may see it.
    pub labels: Labels,
    /// The content, by digest.
    pub content: Vec<ContentRef>,
    /// The small typed part, in MessagePack; empty where there is none.
    #[cfg_attr(feature = "serde", serde(with = "serde_bytes"))]
    pub facts: Vec<u8>,
}

impl EventHeader {
    /// The causal digest of this header's fields: BLAKE3 in derive-key mode over kind, author, `prev`,
    /// facts, content digests, labels and parents, each length-prefixed. `seq`, `at` and `id` are outside.
    pub fn causal_digest(&self) -> EventId {
        let mut preimage = Preimage::new(self.kind.as_str(), &self.author, self.prev.as_ref(), &self.facts);
        preimage.parts(32 * self.content.len(), self.content.iter().map(|c| &c.digest.0[..]));
        preimage.labels(self.labels.len() as u8, self.labels.iter().map(|label| label.as_str()));
        preimage.parts(32 * self.parents.len(), self.parents.iter().map(|p| &p.as_bytes()[..]));
        preimage.id()
    }

    /// How many bytes the content has together.
    pub fn content_bytes(&self) -> u64 {
        self.content.iter().map(|c| u64::from(c.size)).sum()
    }

    /// Checks the bounds on parents, labels, facts and content.
    pub fn check_bounds(&self) -> Result<(), RecordError> {
        let sizes = self.content.iter().map(|content| content.size);
        view::check_bounds(self.parents.len(), self.content.len(), self.facts.len(), sizes)
    }

    /// Appends the canonical bytes to `out`. The header must be within its bounds.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(HEADER_VERSION);
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.at.0.to_le_bytes());
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(&self.author.0);
        match &self.prev {
            Some(prev) => {
                out.push(HAS_PREV);
                out.extend_from_slice(prev.as_bytes());
            }
            None => out.push(0),
        }
        out.push(self.kind.as_str().len() as u8);
        out.extend_from_slice(self.kind.as_str().as_bytes());
        out.push(self.parents.len() as u8);
        for parent in &self.parents {
            out.extend_from_slice(parent.as_bytes());
        }
        out.push(self.content.len() as u8);
        for content in &self.content {
            out.extend_from_slice(&content.digest.0);
            out.extend_from_slice(&content.size.to_le_bytes());
        }
        out.push(self.labels.len() as u8);
        for label in self.labels.iter() {
            out.push(label.as_str().len() as u8);
            out.extend_from_slice(label.as_str().as_bytes());
        }
        out.extend_from_slice(&(self.facts.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.facts);
    }

    /// How many canonical bytes there are.
    pub fn encoded_len(&self) -> usize {
        let prev = if self.prev.is_some() { 32 } else { 0 };
        let labels: usize = self.labels.iter().map(|label| 1 + label.as_str().len()).sum();
        // Version, number, time, id, author, flags; then a count or length before each list.
        let fixed = 1 + 8 + 8 + 32 + 16 + 1 + 1 + 1 + 1 + 1 + 4;
        let lists = self.kind.as_str().len() + 32 * self.parents.len() + 36 * self.content.len();
        fixed + prev + lists + labels + self.facts.len()
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(192 + self.facts.len());
        self.encode(&mut out);
        out
    }

    /// Reads canonical bytes. Exactly one sequence of bytes decodes to a given header; anything else is
    /// refused. The id is taken as written: compare it with [`EventHeader::causal_digest`] to verify it.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        HeaderView::decode(bytes).map(|view| view.to_header(None))
    }
}

/// A committed event: its header and its content, in the order of the header's references.
///
/// The content may be less than the header's list: where somebody hands an event to a store that has the rest
/// already, and where a store has it no more ([`Gone`] says why).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The header.
    pub header: EventHeader,
    /// The content.
    pub content: Vec<Payload>,
}

impl Event {
    /// The event's id.
    pub fn id(&self) -> EventId {
        self.header.id
    }

    /// The event's position in its log.
    pub fn seq(&self) -> u64 {
        self.header.seq
    }

    /// The bytes of the first piece of content, which is the payload where an event has one that is there.
    pub fn payload(&self) -> Option<&[u8]> {
        self.content_at(0).map(Payload::bytes)
    }

    /// The content to which the header's reference `at` belongs, if it is there.
    pub fn content_at(&self, at: usize) -> Option<&Payload> {
        let digest = self.header.content.get(at)?.digest;
        let same_place = self.content.get(at).filter(|payload| payload.digest() == digest);
        same_place.or_else(|| self.content.iter().find(|payload| payload.digest() == digest))
    }
}

/// Why some bytes are no record, or a record is out of bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The header has a version that this build does not know.
    #[error("header version {found}; this build reads version {known}")]
    Version {
        /// The version found.
        found: u8,
        /// The version this build knows.
        known: u8,
    },
    /// The bytes are no canonical header.
    #[error("not a canonical header at byte {at}: {what}")]
    Malformed {
        /// The byte offset.
        at: usize,
        /// What is wrong there.
        what: String,
    },
    /// Something exceeds its bound.
    #[error("{value} {what} in one event; at most {limit} are allowed")]
    Bound {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        value: u64,
        /// The most allowed.
        limit: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_key_is_that_of_the_context() {
        let key = blake3::hazmat::hash_derive_key_context("toka 2026 event id v1");
        assert_eq!(key, ID_CONTEXT_KEY);
    }
}
