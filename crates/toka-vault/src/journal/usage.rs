//! What the bytes of a journal are.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use toka_types::{EventHeader, Gone};

use super::Journal;
use super::compact::Amount;
use super::frame::{EVENT_PREFIX, Entry, EventEntry, FRAME_HEADER, Place, content_head, entries};
use super::segment::{damage, frames};
use super::state::segment_header;
use crate::store::StoreError;

/// What the bytes of a journal are. The parts add up to [`journal`](Usage::journal).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Usage {
    /// By kind of event.
    pub kinds: BTreeMap<String, KindUsage>,
    /// Content that lay with its event and is gone, by the reason.
    pub gone: BTreeMap<Gone, Amount>,
    /// Segments.
    pub segments: u64,
    /// Segments that compaction rewrote.
    pub rewritten: u64,
    /// Bytes of all segments, without room allocated ahead.
    pub journal: u64,
    /// Bytes of segments' and frames' headers, names of logs and alignment.
    pub framing: u64,
}

/// What the events of one kind take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct KindUsage {
    /// How many there are.
    pub events: u64,
    /// Bytes of their entries without content: headers with facts, and what stands before content.
    pub headers: u64,
    /// Bytes of content that they name: stored, deduplicated, compressed and gone together.
    pub named: u64,
    /// Bytes of content that lies with them, as stored.
    pub stored: u64,
    /// Bytes that are not stored with them since they lie elsewhere.
    pub deduplicated: u64,
    /// Bytes that compression saved.
    pub compressed: u64,
    /// Bytes of content that lay with them and is gone.
    pub gone: u64,
}

impl Usage {
    /// All kinds together.
    pub fn total(&self) -> KindUsage {
        let mut total = KindUsage::default();
        for &kind in self.kinds.values() {
            total += kind;
        }
        total
    }
}

impl AddAssign for KindUsage {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.headers += other.headers;
        self.named += other.named;
        self.stored += other.stored;
        self.deduplicated += other.deduplicated;
        self.compressed += other.compressed;
        self.gone += other.gone;
    }
}

pub(crate) fn usage(journal: &Journal) -> Result<Usage, StoreError> {
    let mut usage = Usage::default();
    let segments: Vec<_> = {
        let state = journal.state();
        state.segments.iter().map(|s| (s.number, s.path.clone(), s.file.clone(), s.end)).collect()
    };
    for (number, path, file, end) in segments {
        let (header, crc) = segment_header(&*file, &path)?.map_err(|error| error.in_file(&path))?;
        usage.segments += 1;
        usage.rewritten += u64::from(header.rewritten.is_some());
        usage.journal += end;
        usage.framing += header.len();
        let place = Place { vault: journal.vault, segment: number };
        let tail = frames(&*file, &path, &place, (header.len(), crc), end, |frame| {
            usage.framing += (FRAME_HEADER + frame.body.len()) as u64;
            let body = frame.offset + FRAME_HEADER as u64;
            let bad = |at: usize, detail: String| damage(&path, body + at as u64, None, detail);
            entries(frame.body, frame.count, bad, |entry| {
                let Entry::Event(event) = entry else { return Ok(()) };
                let header = EventHeader::decode(event.header);
                let header = header.map_err(|error| bad(event.offset, error.to_string()))?;
                let taken = usage.event(frame.body, &event, &header);
                usage.framing -= taken;
                Ok(())
            })
        })?;
        if let Some(detail) = tail.bad.filter(|_| tail.end < end) {
            return Err(damage(&path, tail.end, None, detail));
        }
    }
    Ok(usage)
}

impl Usage {
    /// Adds an event; the bytes of its entry.
    fn event(&mut self, body: &[u8], event: &EventEntry<'_>, header: &EventHeader) -> u64 {
        let mut one = KindUsage { events: 1, named: header.content_bytes(), ..KindUsage::default() };
        one.headers = (EVENT_PREFIX + event.header.len()) as u64;
        let mut here = 0;
        for (entry, content) in event.contents.iter().zip(event.refs(header)) {
            let head = content_head(&body[entry.offset..]).map_or(0, |head| head.head_len) as u64;
            here += u64::from(content.size);
            one.headers += head;
            if let Some(reason) = entry.gone {
                one.gone += u64::from(content.size);
                *self.gone.entry(reason).or_default() += Amount { contents: 1, bytes: content.size.into() };
            } else {
                one.stored += entry.stored.len() as u64;
                one.compressed += u64::from(content.size).saturating_sub(entry.stored.len() as u64);
            }
        }
        one.deduplicated = one.named.saturating_sub(here);
        *self.kinds.entry(header.kind.as_str().to_owned()).or_default() += one;
        one.headers + one.stored
    }
}
