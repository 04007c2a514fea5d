//! Events on their way into a log: before, while, and after they wait for a batch to be written.

use std::collections::HashMap;
use std::sync::Arc;

use toka_types::{EventHeader, EventId, Payload, Seal, SealError, Subject, Timestamp};

use crate::core::{NewEvent, Record};
use crate::hash::DigestState;

/// An event that has everything but its place in a log. Whoever asks for it to be stored makes it, so that the thread that
/// writes for all of them allocates and hashes as little as can be.
pub(crate) struct Draft {
    /// Without number and time. Nobody else has it.
    pub(super) record: Arc<Record>,
    pub(super) at: Option<Timestamp>,
    /// True if the header's id is computed.
    pub(super) named: bool,
}

impl Draft {
    pub(crate) fn new(event: NewEvent) -> Self {
        let NewEvent { kind, author, prev, parents, labels, facts, content, at } = event;
        let refs = content.iter().map(Payload::content_ref).collect();
        let (seq, id, time) = (0, EventId::default(), Timestamp::default());
        let header =
            EventHeader { seq, id, at: time, kind, author, prev, parents, labels, content: refs, facts };
        Self { record: Arc::new(Record { header, content }), at, named: false }
    }

    /// Computes the id. What the log adds does not change it, but for an author's first event in a fork.
    pub(crate) fn named(mut self) -> Self {
        let header = &mut self.record_mut().header;
        header.id = header.causal_digest();
        self.named = true;
        self
    }

    /// Puts the content as sealed in the place of the open one, which is returned.
    pub(crate) fn seal(&mut self, seal: &dyn Seal) -> Result<Vec<Payload>, SealError> {
        let Record { header, content } = self.record_mut();
        let subject = Subject::of(header.author, &header.labels);
        let sealed =
            content.iter().map(|payload| seal.seal(&subject, payload)).collect::<Result<Vec<_>, _>>()?;
        header.content = sealed.iter().map(Payload::content_ref).collect();
        let open = std::mem::replace(content, sealed);
        self.named = false;
        Ok(open)
    }

    pub(super) fn record_mut(&mut self) -> &mut Record {
        Arc::make_mut(&mut self.record)
    }
}

/// Events that were checked and wait for their batch to be written, behind those of the batch that is being written.
#[derive(Default)]
pub(crate) struct Staged {
    pub(super) batch: Batch,
    /// What is being written, and has the numbers before.
    pub(super) flying: Arc<Batch>,
    pub(super) last_at: Timestamp,
    pub(super) dimension: Option<u32>,
}

/// Events that are written together.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) records: Vec<Arc<Record>>,
    /// Places in `records`.
    ids: HashMap<EventId, u32, DigestState>,
}

/// A point to which [`Staged`] can go back.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    len: usize,
    last_at: Timestamp,
    dimension: Option<u32>,
}

impl Batch {
    /// An empty batch with room for as many events as this one has.
    fn like(&self) -> Self {
        let events = self.records.len();
        Self {
            records: Vec::with_capacity(events),
            ids: HashMap::with_capacity_and_hasher(events, DigestState::default()),
        }
    }

    pub(super) fn push(&mut self, id: EventId, record: Arc<Record>) {
        self.ids.insert(id, self.records.len() as u32);
        self.records.push(record);
    }

    pub(super) fn get(&self, id: &EventId) -> Option<Arc<Record>> {
        self.ids.get(id).map(|&at| Arc::clone(&self.records[at as usize]))
    }
}

impl Staged {
    /// What waits.
    pub(crate) fn records(&self) -> &[Arc<Record>] {
        &self.batch.records
    }

    /// True if nothing waits and nothing is being written.
    pub(crate) fn is_idle(&self) -> bool {
        self.batch.records.is_empty() && self.flying.records.is_empty()
    }

    /// How many events wait or are being written.
    pub(super) fn len(&self) -> usize {
        self.flying.records.len() + self.batch.records.len()
    }

    pub(super) fn contains(&self, id: &EventId) -> bool {
        self.batch.ids.contains_key(id) || self.flying.ids.contains_key(id)
    }

    pub(super) fn get(&self, id: &EventId) -> Option<Arc<Record>> {
        self.batch.get(id).or_else(|| self.flying.get(id))
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { len: self.batch.records.len(), last_at: self.last_at, dimension: self.dimension }
    }

    /// Forgets what was staged after `mark`.
    pub(crate) fn roll_back(&mut self, mark: Mark) {
        for record in self.batch.records.drain(mark.len..) {
            self.batch.ids.remove(&record.header.id);
        }
        self.last_at = mark.last_at;
        self.dimension = mark.dimension;
    }

    /// Hands out what waits, to be written, and the dimension of its vectors; what is staged from now on comes behind it.
    /// Then either [`LogWriter::landed`] or [`clear`](Self::clear).
    pub(crate) fn fly(&mut self) -> (Arc<Batch>, Option<u32>) {
        let next = self.batch.like();
        self.flying = Arc::new(std::mem::replace(&mut self.batch, next));
        (Arc::clone(&self.flying), self.dimension)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
