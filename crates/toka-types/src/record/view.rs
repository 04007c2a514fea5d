//! A header as it lies in its canonical bytes.

use alloc::vec::Vec;

use super::{
    ContentRef, EventHeader, HAS_PREV, HEADER_VERSION, ID_CONTEXT_KEY, MAX_CONTENT_BYTES, MAX_CONTENTS,
    MAX_FACTS, MAX_PARENTS, RecordError,
};
use crate::digest::{Digest, FieldHasher};
use crate::id::{EntityId, EventId, Kind};
use crate::label::{Label, Labels, MAX_LABELS};
use crate::time::Timestamp;

/// Bytes of a reference to content: its digest and its size.
const CONTENT: usize = 36;

/// A header that was read from its canonical bytes and still lies there: nothing is copied. Whoever looks at many
/// headers needs no memory for them; [`to_header`](Self::to_header) makes one to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderView<'a> {
    /// Position in its log.
    pub seq: u64,
    /// The causal digest as written: compare it with [`causal_digest`](Self::causal_digest) to verify it.
    pub id: EventId,
    /// When the kernel decided it.
    pub at: Timestamp,
    /// What sort of fact it is: well-formed, as a [`Kind`] is.
    pub kind: &'a str,
    /// Who caused it.
    pub author: EntityId,
    /// The author's previous event in this log.
    pub prev: Option<EventId>,
    /// The small typed part.
    pub facts: &'a [u8],
    parents: &'a [[u8; 32]],
    content: &'a [[u8; CONTENT]],
    /// The labels' bytes, each after its length: well-formed and in order.
    labels: &'a [u8],
    label_count: u8,
}

impl<'a> HeaderView<'a> {
    /// Reads canonical bytes. Exactly one sequence of bytes decodes to a given header; anything else is refused, and
    /// so is a header out of its bounds.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut input = Input { bytes, at: 0 };
        let version = input.u8()?;
        if version != HEADER_VERSION {
            return Err(RecordError::Version { found: version, known: HEADER_VERSION });
        }
        let seq = u64::from_le_bytes(input.array()?);
        let at = Timestamp(i64::from_le_bytes(input.array()?));
        let id = input.event_id()?;
        let author = EntityId(input.array()?);
        let prev = match input.u8()? {
            0 => None,
            HAS_PREV => Some(input.event_id()?),
            other => return input.malformed(alloc::format!("flags {other:#04x}")),
        };
        let kind_len = input.u8()? as usize;
        let kind = input.text(kind_len)?;
        if Kind::check(kind).is_err() {
            return input.malformed("kind".into());
        }
        let parents = input.arrays()?;
        let content = input.arrays()?;
        let label_count = input.u8()?;
        let labels_at = input.at;
        let mut last = "";
        for _ in 0..label_count {
            let len = input.u8()? as usize;
            let label = input.text(len)?;
            if Label::check(label).is_err() {
                return input.malformed("label".into());
            }
            // No label is empty, so the first one comes after this.
            if last >= label {
                return input.malformed("labels out of order".into());
            }
            last = label;
        }
        let labels = &bytes[labels_at..input.at];
        if usize::from(label_count) > MAX_LABELS {
            return input.malformed("labels".into());
        }
        let facts_len = u32::from_le_bytes(input.array()?) as usize;
        let facts = input.take(facts_len)?;
        if input.at != bytes.len() {
            return input.malformed(alloc::format!("{} bytes after the facts", bytes.len() - input.at));
        }
        let view = Self { seq, id, at, kind, author, prev, facts, parents, content, labels, label_count };
        check_bounds(parents.len(), content.len(), facts.len(), view.content().map(|content| content.size))?;
        Ok(view)
    }

    /// The causes, in the caller's order.
    pub fn parents(&self) -> impl ExactSizeIterator<Item = EventId> + Clone + use<'a> {
        self.parents.iter().map(|id| EventId(Digest(*id)))
    }

    /// The content, by digest.
    pub fn content(&self) -> impl ExactSizeIterator<Item = ContentRef> + Clone + use<'a> {
        self.content.iter().map(|bytes| {
            let (digest, size) = bytes.split_at(32);
            let (mut content, mut len) = ([0; 32], [0; 4]);
            content.copy_from_slice(digest);
            len.copy_from_slice(size);
            ContentRef { digest: Digest(content), size: u32::from_le_bytes(len) }
        })
    }

    /// The labels' texts, in order.
    pub fn labels(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut rest = self.labels;
        core::iter::from_fn(move || {
            let (len, after) = rest.split_first()?;
            let (label, after) = after.split_at_checked(usize::from(*len))?;
            rest = after;
            core::str::from_utf8(label).ok()
        })
    }

    /// The causal digest of the header's fields: see [`EventHeader::causal_digest`].
    pub fn causal_digest(&self) -> EventId {
        let mut preimage = Preimage::new(self.kind, &self.author, self.prev.as_ref(), self.facts);
        preimage.parts(32 * self.content.len(), self.content.iter().map(|content| &content[..32]));
        preimage.labels(self.label_count, self.labels());
        preimage.parts(32 * self.parents.len(), [self.parents.as_flattened()]);
        preimage.id()
    }

    /// The header, to keep. If `like` has the same kind, both share its text.
    pub fn to_header(&self, like: Option<&EventHeader>) -> EventHeader {
        let kind = match like.filter(|like| like.kind.as_str() == self.kind) {
            Some(like) => like.kind.clone(),
            None => Kind::checked(self.kind),
        };
        EventHeader {
            seq: self.seq,
            id: self.id,
            at: self.at,
            kind,
            author: self.author,
            prev: self.prev,
            parents: self.parents().collect(),
            labels: Labels::sorted(self.labels().map(Label::checked).collect::<Vec<_>>()),
            content: self.content().collect(),
            facts: self.facts.to_vec(),
        }
    }
}

/// What an event's id is the digest of.
pub(super) struct Preimage(FieldHasher);

impl Preimage {
    pub(super) fn new(kind: &str, author: &EntityId, prev: Option<&EventId>, facts: &[u8]) -> Self {
        let mut hasher = FieldHasher::with_context_key(&ID_CONTEXT_KEY);
        hasher.field(kind.as_bytes()).field(&author.0);
        hasher.field(prev.map_or(&[][..], |prev| prev.as_bytes()));
        hasher.field(facts);
        Self(hasher)
    }

    pub(super) fn parts<'p>(&mut self, len: usize, parts: impl IntoIterator<Item = &'p [u8]>) {
        self.0.field_of_parts(len, parts);
    }

    pub(super) fn labels<'l>(&mut self, count: u8, labels: impl Iterator<Item = &'l str>) {
        self.0.field(&[count]);
        for label in labels {
            self.0.field(label.as_bytes());
        }
    }

    pub(super) fn id(&mut self) -> EventId {
        EventId(self.0.finish())
    }
}

/// Checks the bounds of a header with so many parents, contents and bytes of facts.
pub(super) fn check_bounds(
    parents: usize,
    contents: usize,
    facts: usize,
    sizes: impl Iterator<Item = u32>,
) -> Result<(), RecordError> {
    let bound = |what, value: u64, limit: usize| match value > limit as u64 {
        true => Err(RecordError::Bound { what, value, limit: limit as u64 }),
        false => Ok(()),
    };
    bound("parents", parents as u64, MAX_PARENTS)?;
    bound("contents", contents as u64, MAX_CONTENTS)?;
    bound("bytes of facts", facts as u64, MAX_FACTS)?;
    bound("bytes of content", sizes.map(u64::from).sum(), MAX_CONTENT_BYTES)
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.bytes.len());
        match end {
            Some(end) => {
                let taken = &self.bytes[self.at..end];
                self.at = end;
                Ok(taken)
            }
            None => {
                self.malformed(alloc::format!("{len} bytes expected, {} left", self.bytes.len() - self.at))
            }
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Arrays of one size, after how many there are.
    fn arrays<const N: usize>(&mut self) -> Result<&'a [[u8; N]], RecordError> {
        let count = usize::from(self.u8()?);
        Ok(self.take(N * count)?.as_chunks().0)
    }

    fn u8(&mut self) -> Result<u8, RecordError> {
        Ok(self.take(1)?[0])
    }

    fn event_id(&mut self) -> Result<EventId, RecordError> {
        Ok(EventId(Digest(self.array()?)))
    }

    fn text(&mut self, len: usize) -> Result<&'a str, RecordError> {
        match core::str::from_utf8(self.take(len)?) {
            Ok(text) => Ok(text),
            Err(_) => self.malformed("text that is not UTF-8".into()),
        }
    }

    fn malformed<T>(&self, what: alloc::string::String) -> Result<T, RecordError> {
        Err(RecordError::Malformed { at: self.at, what })
    }
}
