//! What can be said of an event by itself, whatever comes before it: this is most of the work, and all cores share it.
//!
//! Whoever takes the results in order does little more than compare numbers; what is said of an event that is wrong is
//! read from its bytes again.

use std::ops::Range;

use toka_types::{Digest, EventId, HeaderView, Timestamp};

use super::index::Part;
use super::seen::Fingerprints;
use crate::hash::{LogTree, TreeHash, leaf_hash};
use crate::journal::frame::{Entry, EventEntry, FRAME_HEADER, content_bytes, entries};
use crate::journal::segment::Frame;

/// Frames are handed over in groups of so many bytes at least.
const GROUP: usize = 256 << 10;
/// An event takes more bytes than this.
const LEAST_ENTRY: usize = 64;

/// Frames that follow each other, copied from the file.
#[derive(Default)]
pub(super) struct Group {
    bytes: Vec<u8>,
    frames: Vec<FrameAt>,
}

/// A frame of a [`Group`].
struct FrameAt {
    offset: u64,
    count: u32,
    body: Range<usize>,
}

/// A group of which each event was looked at by itself.
#[derive(Default)]
pub(super) struct CheckedGroup {
    pub(super) group: Group,
    pub(super) entries: Vec<Item>,
    /// Fingerprints of the causes of all events: parents, then the previous one of the author.
    pub(super) causes: Vec<u64>,
    /// Fingerprints of all content that the events name.
    pub(super) named: Vec<u64>,
    /// All content that lies with the events.
    pub(super) contents: Vec<CheckedContent>,
    /// What the segment's index says of them.
    pub(super) index: Part,
}

/// One entry, checked as far as it goes by itself.
pub(super) enum Item {
    Log {
        /// Where its frame lies in the file.
        frame: u64,
        number: u16,
        name: String,
        fork: Option<Fork>,
    },
    Event(CheckedEvent),
    /// No entry stands at this offset.
    Malformed(u64, String),
}

/// A fork as its entry has it.
pub(super) struct Fork {
    pub(super) base: u16,
    pub(super) size: u64,
    pub(super) tree: LogTree,
}

pub(super) struct CheckedEvent {
    /// Where its entry lies in the file.
    pub(super) at: u64,
    pub(super) log: u16,
    /// Where its header lies in the group.
    pub(super) header: Range<usize>,
    pub(super) leaf: TreeHash,
    /// What its header says, or why it is none.
    pub(super) said: Result<Said, String>,
}

/// What a header says. Its lists lie in those of the group.
pub(super) struct Said {
    pub(super) seq: u64,
    pub(super) time: Timestamp,
    pub(super) id: EventId,
    pub(super) fingerprint: u64,
    /// The id that belongs to the header is another one.
    pub(super) wrong_id: bool,
    /// It has a reference for all that lies with it.
    pub(super) names_contents: bool,
    pub(super) causes: usize,
    pub(super) named: usize,
    pub(super) contents: usize,
}

pub(super) struct CheckedContent {
    /// Which of the header's references it belongs to.
    pub(super) reference: usize,
    pub(super) fingerprint: u64,
    /// Where its entry lies in the file.
    pub(super) at: u64,
    pub(super) state: ContentState,
}

#[derive(PartialEq, Eq)]
pub(super) enum ContentState {
    /// The bytes have the digest and the size that the header states.
    Right,
    Wrong,
    Gone,
}

impl Group {
    pub(super) fn add(&mut self, frame: &Frame<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(frame.body);
        let body = start..self.bytes.len();
        self.frames.push(FrameAt { offset: frame.offset, count: frame.count, body });
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= GROUP
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// Empties it, to be filled again.
    pub(super) fn reset(mut self) -> Self {
        self.bytes.clear();
        self.frames.clear();
        self
    }

    /// Checks all frames; a malformed one ends with what is wrong with it.
    pub(super) fn check(self, fingerprints: &Fingerprints) -> CheckedGroup {
        let count: usize = self.frames.iter().map(|frame| frame.count as usize).sum();
        let count = count.min(self.bytes.len() / LEAST_ENTRY);
        let mut checked = CheckedGroup {
            entries: Vec::with_capacity(count),
            causes: Vec::with_capacity(2 * count),
            named: Vec::with_capacity(count),
            contents: Vec::with_capacity(count),
            index: Part::with_capacity(count),
            group: Self::default(),
        };
        for frame in &self.frames {
            let body = frame.offset + FRAME_HEADER as u64;
            let walked = entries(
                &self.bytes[frame.body.clone()],
                frame.count,
                |at, detail| (body + at as u64, detail),
                |entry| {
                    let item = match entry {
                        Entry::Log { number, name, fork } => {
                            let fork =
                                fork.map(|fork| Fork { base: fork.base, size: fork.size, tree: fork.tree() });
                            Item::Log { frame: frame.offset, number, name: name.to_owned(), fork }
                        }
                        Entry::Event(event) => {
                            Item::Event(checked.event(body, frame.body.start, &event, fingerprints))
                        }
                    };
                    checked.entries.push(item);
                    Ok(())
                },
            );
            if let Err((offset, detail)) = walked {
                checked.entries.push(Item::Malformed(offset, detail));
            }
        }
        checked.group = self;
        checked
    }
}

impl CheckedGroup {
    /// Checks an event of the frame of which the body lies at `body` in the file and at `start` in the group.
    fn event(
        &mut self,
        body: u64,
        start: usize,
        event: &EventEntry<'_>,
        fingerprints: &Fingerprints,
    ) -> CheckedEvent {
        let at = body + event.offset as u64;
        let header = start + event.header_offset();
        let said = match HeaderView::decode(event.header) {
            Ok(view) => Ok(self.said(body, event, &view, fingerprints)),
            Err(error) => Err(error.to_string()),
        };
        let header = header..header + event.header.len();
        CheckedEvent { at, log: event.log, header, leaf: leaf_hash(event.header), said }
    }

    fn said(
        &mut self,
        body: u64,
        event: &EventEntry<'_>,
        view: &HeaderView<'_>,
        fingerprints: &Fingerprints,
    ) -> Said {
        let causes = view.parents().chain(view.prev).map(|cause| fingerprints.of(&cause.0));
        let (causes_before, named_before) = (self.causes.len(), self.named.len());
        self.causes.extend(causes);
        self.named.extend(view.content().map(|content| fingerprints.of(&content.digest)));
        let at = body + event.offset as u64;
        self.index.event(at, view);
        let references = view.content().enumerate().filter(|(at, _)| event.inline & (1 << at) != 0);
        for (entry, (reference, content)) in event.contents.iter().zip(references.clone()) {
            let entry_at = body + entry.offset as u64;
            let bytes = content_bytes(entry.stored, entry.raw_len);
            let matches = bytes.is_some_and(|bytes| {
                bytes.len() as u64 == u64::from(content.size) && Digest::of(&bytes) == content.digest
            });
            let state = match (entry.gone, matches) {
                (Some(_), _) => ContentState::Gone,
                (None, true) => ContentState::Right,
                (None, false) => ContentState::Wrong,
            };
            match state {
                ContentState::Gone => self.index.gone(content.digest, at),
                _ => self.index.content(content.digest, entry_at),
            }
            let fingerprint = self.named[named_before + reference];
            self.contents.push(CheckedContent { reference, fingerprint, at: entry_at, state });
        }
        Said {
            seq: view.seq,
            time: view.at,
            id: view.id,
            fingerprint: fingerprints.of(&view.id.0),
            wrong_id: view.causal_digest() != view.id,
            names_contents: references.clone().count() == event.contents.len(),
            causes: self.causes.len() - causes_before,
            named: self.named.len() - named_before,
            contents: event.contents.len().min(references.count()),
        }
    }
}
