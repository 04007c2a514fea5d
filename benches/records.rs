//! Records as a kernel makes them, for benches of the vault.
#![allow(dead_code, unreachable_pub, reason = "each bench includes the file as a module and uses a part")]

use toka_types::{EntityId, EventHeader, EventId, Kind, Labels, Payload, Timestamp};
use toka_vault::Record;

/// Bytes of a payload.
pub const PAYLOAD: usize = 250;

/// Complete records of one author, each caused by the one before, with random payloads.
#[derive(Default)]
pub struct Chain {
    seq: u64,
    prev: Option<EventId>,
    kind: Option<Kind>,
}

impl Chain {
    /// The next record.
    pub fn next_record(&mut self) -> Record {
        self.next_with(payload(self.seq))
    }

    /// The next record, with this content.
    pub fn next_with(&mut self, content: Payload) -> Record {
        let kind = self.kind.get_or_insert_with(|| Kind::new("bench.event").expect("a kind")).clone();
        let mut header = EventHeader {
            seq: self.seq,
            id: EventId::default(),
            at: Timestamp(self.seq as i64),
            kind,
            author: EntityId::NONE,
            prev: self.prev,
            parents: self.prev.into_iter().collect(),
            labels: Labels::none(),
            content: vec![content.content_ref()],
            facts: Vec::new(),
        };
        header.id = header.causal_digest();
        self.seq += 1;
        self.prev = Some(header.id);
        Record { header, content: vec![content] }
    }
}

/// A payload of random bytes, another one for each number.
pub fn payload(number: u64) -> Payload {
    payload_of(number, PAYLOAD)
}

/// As [`payload`], of `len` bytes.
pub fn payload_of(number: u64, len: usize) -> Payload {
    let mut bytes = vec![0; len];
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for chunk in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    Payload::new(bytes)
}
