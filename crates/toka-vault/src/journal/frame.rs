//! The bytes of a segment: header, frames, entries. `docs/format/journal.md` describes them.

use std::borrow::Cow;

use std::sync::Arc;

use toka_types::{ContentRef, EventHeader, Gone};

use crate::core::Record;
use crate::hash::{LogTree, TreeHash};

/// Bytes of a segment's header.
pub(crate) const SEGMENT_HEADER: usize = 64;
/// Bytes of a frame's header.
pub(crate) const FRAME_HEADER: usize = 16;
/// Frames begin at multiples of this, so that a search for frames in damaged bytes has few places to try.
pub(crate) const ALIGNMENT: usize = 8;
/// Bytes of the header of a segment that compaction rewrote.
pub(crate) const REWRITTEN_HEADER: usize = 128;
/// The format of segments as they are first written.
pub(crate) const FIRST_FORMAT: u32 = 1;
/// The format of segments that compaction rewrote, which is the newest that this build knows.
pub(crate) const SEGMENT_FORMAT: u32 = 2;
/// Largest body of a frame. A batch of the largest events fits; a length beyond it is damage, not a
/// reason to allocate.
pub(crate) const MAX_BODY: usize = 1 << 30;

const MAGIC: &[u8; 8] = b"TOKASEG\n";
const AFTER_FAILURE: u32 = 1;
const IMPORTED: u32 = 2;
const LOG_ENTRY: u8 = 1;
const EVENT_ENTRY: u8 = 2;
const FORK_ENTRY: u8 = 3;
const RAW: u8 = 0;
const LZ4: u8 = 1;
/// Stands where content lay that is gone. It differs from the first byte of an event entry, since a look-up of
/// gone content leads to the event.
const GONE: u8 = 3;
/// Bytes of what stands there.
const GONE_ENTRY: usize = 2;
/// Content below this size is not worth an attempt at compression: it saves little, and costs as much as
/// hashing it.
const MIN_COMPRESS: usize = 512;

/// A vault's own id: it enters every frame's checksum, so that no frame is mistaken for another vault's.
pub(crate) type VaultId = [u8; 16];

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) vault: VaultId,
    pub(crate) number: u64,
    /// Where the previous segment ends; zero for the first.
    pub(crate) previous_end: u64,
    /// The checksum at that place: of the last frame, or of the segment header if it has no frame.
    pub(crate) previous_crc: u32,
    /// True if what lies behind that place is void: a write or a sync failed there.
    pub(crate) after_failure: bool,
    /// True if content of its events may have been gone when they were stored.
    pub(crate) imported: bool,
    /// What compaction added, if it rewrote the segment.
    pub(crate) rewritten: Option<Rewritten>,
}

/// What the header of a rewritten segment says beside: the segment's successor names the place where it ended
/// first, and since nothing is written to it any more, it names its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// Where the segment ended as it was first written.
    pub(crate) first_end: u64,
    /// The checksum there.
    pub(crate) first_crc: u32,
    /// Where it ends now: the file's length.
    pub(crate) end: u64,
    /// The checksum of the last frame, or the first checksum of the header.
    pub(crate) crc: u32,
}

/// Where a frame lies: what its checksum covers beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) vault: VaultId,
    pub(crate) segment: u64,
}

/// Why some bytes are no segment header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// A newer format.
    Format(u32),
    /// Damage, or a header that was never written whole.
    Bad(&'static str),
}

/// The header of a frame whose checksum is not checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) length: u32,
    pub(crate) count: u32,
    pub(crate) previous: u32,
    pub(crate) crc: u32,
}

/// One entry of a frame.
pub(crate) enum Entry<'a> {
    Log { number: u16, name: &'a str, fork: Option<ForkEntry<'a>> },
    Event(EventEntry<'a>),
}

/// What a log entry says of a fork.
#[derive(Clone, Copy)]
pub(crate) struct ForkEntry<'a> {
    /// The number of the log that it was forked from.
    pub(crate) base: u16,
    /// How many events it shares with that.
    pub(crate) size: u64,
    /// The frontier of the tree over those events: 32 bytes for each bit that is set in `size`.
    pub(crate) frontier: &'a [u8],
}

/// An event as it lies in a frame.
pub(crate) struct EventEntry<'a> {
    /// Offset from the start of the body.
    pub(crate) offset: usize,
    pub(crate) log: u16,
    pub(crate) header: &'a [u8],
    /// Which of the header's contents lie here: bit n for the n-th.
    pub(crate) inline: u16,
    pub(crate) contents: Vec<ContentEntry<'a>>,
}

/// A piece of content as it lies in a frame, or what says that it is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContentEntry<'a> {
    /// Offset from the start of the body.
    pub(crate) offset: usize,
    pub(crate) stored: &'a [u8],
    /// The length before compression; `None`: it is not compressed.
    pub(crate) raw_len: Option<u32>,
    /// Why it is not there any more.
    pub(crate) gone: Option<Gone>,
}

/// Builds one frame in a buffer that is used again and again.
#[derive(Default)]
pub(crate) struct FrameBuilder {
    buffer: Vec<u8>,
    compressed: Vec<u8>,
    count: u32,
    crc: u32,
}

/// The fixed part of a content entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentHead {
    pub(crate) head_len: usize,
    pub(crate) stored_len: u32,
    pub(crate) raw_len: Option<u32>,
    pub(crate) gone: Option<Gone>,
}

/// Bytes before the header in an event entry.
pub(crate) const EVENT_PREFIX: usize = 9;
/// Most bytes before the data in a content entry.
pub(crate) const CONTENT_PREFIX: usize = 9;

impl SegmentHeader {
    /// Where the first frame begins.
    pub(crate) fn len(&self) -> u64 {
        (if self.rewritten.is_some() { REWRITTEN_HEADER } else { SEGMENT_HEADER }) as u64
    }

    /// True if content may be gone from the segment: it was never in it, or was dropped by compaction.
    pub(crate) fn may_have_gaps(&self) -> bool {
        self.imported || self.rewritten.is_some()
    }

    /// The bytes, and the checksum to which the first frame links.
    pub(crate) fn encode(&self) -> (Vec<u8>, u32) {
        let mut bytes = vec![0; SEGMENT_HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        let format = if self.rewritten.is_some() { SEGMENT_FORMAT } else { FIRST_FORMAT };
        bytes[8..12].copy_from_slice(&format.to_le_bytes());
        let flag = |set, bit| if set { bit } else { 0 };
        let flags = flag(self.after_failure, AFTER_FAILURE) | flag(self.imported, IMPORTED);
        bytes[12..16].copy_from_slice(&flags.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.vault);
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.previous_end.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.previous_crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        if let Some(rewritten) = &self.rewritten {
            bytes.resize(REWRITTEN_HEADER, 0);
            bytes[64..72].copy_from_slice(&rewritten.first_end.to_le_bytes());
            bytes[72..76].copy_from_slice(&rewritten.first_crc.to_le_bytes());
            bytes[76..84].copy_from_slice(&rewritten.end.to_le_bytes());
            bytes[84..88].copy_from_slice(&rewritten.crc.to_le_bytes());
            let crc = crc32fast::hash(&bytes[..124]);
            bytes[124..].copy_from_slice(&crc.to_le_bytes());
        }
        (bytes, crc)
    }

    /// Reads a header from the first [`REWRITTEN_HEADER`] bytes of a file, or as many as it has; also returns the
    /// checksum to which the first frame links.
    pub(crate) fn decode(file: &[u8]) -> Result<(Self, u32), HeaderError> {
        let Some(bytes) = file.first_chunk::<SEGMENT_HEADER>() else {
            return Err(HeaderError::Bad("the file is shorter than a segment header"));
        };
        let crc = u32_at(bytes, 60);
        if &bytes[..8] != MAGIC {
            return Err(HeaderError::Bad("no segment header stands here"));
        }
        if crc32fast::hash(&bytes[..60]) != crc {
            return Err(HeaderError::Bad("the segment header does not match its checksum"));
        }
        let rewritten = match u32_at(bytes, 8) {
            FIRST_FORMAT => None,
            SEGMENT_FORMAT => Some(Rewritten::decode(file)?),
            format => return Err(HeaderError::Format(format)),
        };
        let mut vault = [0; 16];
        vault.copy_from_slice(&bytes[16..32]);
        let header = Self {
            vault,
            number: u64_at(bytes, 32),
            previous_end: u64_at(bytes, 40),
            previous_crc: u32_at(bytes, 48),
            after_failure: u32_at(bytes, 12) & AFTER_FAILURE != 0,
            imported: u32_at(bytes, 12) & IMPORTED != 0,
            rewritten,
        };
        Ok((header, crc))
    }
}

impl Rewritten {
    fn decode(file: &[u8]) -> Result<Self, HeaderError> {
        let bytes = file.first_chunk::<REWRITTEN_HEADER>();
        let bytes = bytes.filter(|bytes| crc32fast::hash(&bytes[..124]) == u32_at(&bytes[..], 124));
        let Some(bytes) = bytes else {
            return Err(HeaderError::Bad("the header of a rewritten segment does not match its checksum"));
        };
        Ok(Self {
            first_end: u64_at(bytes, 64),
            first_crc: u32_at(bytes, 72),
            end: u64_at(bytes, 76),
            crc: u32_at(bytes, 84),
        })
    }
}

impl FrameHeader {
    pub(crate) fn decode(bytes: &[u8; FRAME_HEADER]) -> Self {
        let field = |at| u32_at(bytes, at);
        Self { length: field(0), count: field(4), previous: field(8), crc: field(12) }
    }

    /// True if a frame with this header can exist in a file that has `room` bytes after the header.
    pub(crate) fn is_plausible(&self, room: u64) -> bool {
        let length = self.length as usize;
        length > 0
            && length <= MAX_BODY
            && u64::from(self.length) <= room
            && length.is_multiple_of(ALIGNMENT)
            && self.count > 0
            && self.count <= self.length
    }

    /// The checksum that belongs to this header before `body` at `offset`.
    pub(crate) fn expected_crc(&self, place: &Place, offset: u64, body: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&place.vault);
        hasher.update(&place.segment.to_le_bytes());
        hasher.update(&offset.to_le_bytes());
        hasher.update(&self.length.to_le_bytes());
        hasher.update(&self.count.to_le_bytes());
        hasher.update(&self.previous.to_le_bytes());
        hasher.update(body);
        hasher.finalize()
    }
}

impl ForkEntry<'_> {
    /// The tree over the shared events, as the entry has it.
    pub(crate) fn tree(&self) -> LogTree {
        let (hashes, _) = self.frontier.as_chunks::<32>();
        let frontier = hashes.iter().map(|hash| TreeHash(*hash)).collect();
        LogTree::from_frontier(self.size, frontier).expect("an entry has one hash for each bit of the size")
    }
}

impl EventEntry<'_> {
    /// Where the header lies in the body.
    pub(crate) fn header_offset(&self) -> usize {
        self.offset + EVENT_PREFIX
    }

    /// The references of `header` of which the content lies here, in order.
    pub(crate) fn refs<'h>(&self, header: &'h EventHeader) -> impl Iterator<Item = &'h ContentRef> {
        let inline = self.inline;
        header
            .content
            .iter()
            .enumerate()
            .filter(move |(at, _)| inline & (1 << at) != 0)
            .map(|(_, content)| content)
    }

    /// True if the header has a reference for every piece of content that lies here.
    pub(crate) fn names_its_contents(&self, header: &EventHeader) -> bool {
        self.refs(header).count() == self.contents.len()
    }
}

impl FrameBuilder {
    pub(crate) fn start(&mut self) {
        self.buffer.clear();
        self.buffer.resize(FRAME_HEADER, 0);
        self.count = 0;
    }

    pub(crate) fn log(&mut self, number: u16, name: &str) {
        self.count += 1;
        self.buffer.push(LOG_ENTRY);
        self.buffer.extend_from_slice(&number.to_le_bytes());
        self.buffer.push(name.len() as u8);
        self.buffer.extend_from_slice(name.as_bytes());
    }

    /// Adds the entry of a log that is forked from the log `base`, with the tree of what they share.
    pub(crate) fn fork(&mut self, number: u16, name: &str, base: u16, tree: &LogTree) {
        let start = self.buffer.len();
        self.log(number, name);
        self.buffer[start] = FORK_ENTRY;
        self.buffer.extend_from_slice(&base.to_le_bytes());
        self.buffer.extend_from_slice(&tree.size().to_le_bytes());
        tree.frontier().iter().for_each(|hash| self.buffer.extend_from_slice(&hash.0));
    }

    /// Adds an event's entry up to its contents; where it starts in the frame. The header is given in its canonical bytes.
    pub(crate) fn event(&mut self, log: u16, inline: u16, header: &[u8]) -> usize {
        self.count += 1;
        let start = self.buffer.len();
        self.buffer.push(EVENT_ENTRY);
        self.buffer.extend_from_slice(&log.to_le_bytes());
        self.buffer.extend_from_slice(&inline.to_le_bytes());
        self.buffer.extend_from_slice(&(header.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(header);
        start
    }

    /// Adds a part of the entry in hand as it lies in another frame.
    pub(crate) fn part(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Adds a piece of content; where it starts in the frame, and how many bytes compression saved.
    pub(crate) fn content(&mut self, bytes: &[u8]) -> (usize, u64) {
        let start = self.buffer.len();
        if bytes.len() >= MIN_COMPRESS
            && let Some(len) = self.compress(bytes)
        {
            self.buffer.push(LZ4);
            self.buffer.extend_from_slice(&(len as u32).to_le_bytes());
            self.buffer.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            self.buffer.extend_from_slice(&self.compressed[..len]);
            return (start, (bytes.len() - len) as u64);
        }
        self.buffer.push(RAW);
        self.buffer.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(bytes);
        (start, 0)
    }

    /// Adds the word that a piece of content is gone.
    pub(crate) fn gone(&mut self, reason: Gone) {
        self.part(&gone_entry(reason));
    }

    /// Compresses into the second buffer; the length if that saves at least an eighth.
    fn compress(&mut self, bytes: &[u8]) -> Option<usize> {
        let room = lz4_flex::block::get_maximum_output_size(bytes.len());
        if self.compressed.len() < room {
            self.compressed.resize(room, 0);
        }
        let len = lz4_flex::block::compress_into(bytes, &mut self.compressed).ok()?;
        (len <= bytes.len() - bytes.len() / 8).then_some(len)
    }

    /// The bytes so far, header included: what the frame will take, but for the padding.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len().next_multiple_of(ALIGNMENT)
    }

    /// Completes the frame for its place.
    pub(crate) fn finish(&mut self, place: &Place, offset: u64, previous: u32) {
        let len = self.len();
        self.buffer.resize(len, 0);
        let length = (len - FRAME_HEADER) as u32;
        let mut header = FrameHeader { length, count: self.count, previous, crc: 0 };
        header.crc = header.expected_crc(place, offset, &self.buffer[FRAME_HEADER..]);
        for (at, field) in [header.length, header.count, header.previous, header.crc].into_iter().enumerate()
        {
            self.buffer[4 * at..4 * at + 4].copy_from_slice(&field.to_le_bytes());
        }
        self.crc = header.crc;
    }

    /// The checksum of the finished frame.
    pub(crate) fn crc(&self) -> u32 {
        self.crc
    }

    /// Bytes at `range` of the frame.
    pub(crate) fn bytes(&self, range: std::ops::Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Shows the finished frame with so many zeros behind it.
    pub(crate) fn with_zeros<T>(&mut self, zeros: usize, show: impl FnOnce(&[u8]) -> T) -> T {
        let len = self.buffer.len();
        self.buffer.resize(len + zeros, 0);
        let shown = show(&self.buffer);
        self.buffer.truncate(len);
        shown
    }
}

/// Goes through the entries of a frame's body. The error says at which offset of the body what is wrong.
pub(crate) fn entries<'a, E>(
    body: &'a [u8],
    count: u32,
    bad: impl Fn(usize, String) -> E,
    mut visit: impl FnMut(Entry<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut at = 0;
    for _ in 0..count {
        let start = at;
        let entry =
            next_entry(body, &mut at).ok_or_else(|| bad(start, "an entry that is malformed".into()))?;
        visit(entry)?;
    }
    if body.len() - at >= ALIGNMENT || body[at..].iter().any(|&byte| byte != 0) {
        return Err(bad(at, format!("{} bytes after the last of {count} entries", body.len() - at)));
    }
    Ok(())
}

fn next_entry<'a>(body: &'a [u8], at: &mut usize) -> Option<Entry<'a>> {
    let start = *at;
    let mut take = |len: usize| {
        let bytes = body.get(*at..at.checked_add(len)?)?;
        *at += len;
        Some(bytes)
    };
    match take(1)?[0] {
        sort @ (LOG_ENTRY | FORK_ENTRY) => {
            let number = u16_at(take(2)?, 0);
            let len = take(1)?[0] as usize;
            let name = std::str::from_utf8(take(len)?).ok()?;
            let mut fork = None;
            if sort == FORK_ENTRY {
                let (base, size) = (u16_at(take(2)?, 0), u64_at(take(8)?, 0));
                fork = Some(ForkEntry { base, size, frontier: take(32 * size.count_ones() as usize)? });
            }
            Some(Entry::Log { number, name, fork })
        }
        EVENT_ENTRY => {
            let prefix = take(EVENT_PREFIX - 1)?;
            let (log, inline, len) = (u16_at(prefix, 0), u16_at(prefix, 2), u32_at(prefix, 4));
            let header = take(len as usize)?;
            let mut contents = Vec::with_capacity(inline.count_ones() as usize);
            let mut offset = start + EVENT_PREFIX + header.len();
            for _ in 0..inline.count_ones() {
                let head = content_head(body.get(offset..)?)?;
                take(head.head_len)?;
                let stored = take(head.stored_len as usize)?;
                contents.push(ContentEntry { offset, stored, raw_len: head.raw_len, gone: head.gone });
                offset += head.head_len + stored.len();
            }
            Some(Entry::Event(EventEntry { offset: start, log, header, inline, contents }))
        }
        _ => None,
    }
}

/// Reads the fixed part of a content entry from the start of `bytes`.
pub(crate) fn content_head(bytes: &[u8]) -> Option<ContentHead> {
    let kind = *bytes.first()?;
    if kind == GONE {
        let gone = Some(gone_reason(*bytes.get(1)?)?);
        return Some(ContentHead { head_len: GONE_ENTRY, stored_len: 0, raw_len: None, gone });
    }
    let stored_len = u32_at(bytes.get(..5)?, 1);
    let (head_len, raw_len) = match kind {
        RAW => (5, None),
        LZ4 => (9, Some(u32_at(bytes.get(..9)?, 5))),
        _ => return None,
    };
    Some(ContentHead { head_len, stored_len, raw_len, gone: None })
}

/// What stands in place of content that is gone.
pub(crate) fn gone_entry(gone: Gone) -> [u8; GONE_ENTRY] {
    let reason = match gone {
        Gone::Expired => 1,
        Gone::Erased => 2,
        Gone::Redacted => 3,
        Gone::Sealed => 4,
    };
    [GONE, reason]
}

fn gone_reason(byte: u8) -> Option<Gone> {
    match byte {
        1 => Some(Gone::Expired),
        2 => Some(Gone::Erased),
        3 => Some(Gone::Redacted),
        4 => Some(Gone::Sealed),
        _ => None,
    }
}

/// The canonical bytes of some headers, one after the other: whoever hashes them touches no event, which other threads
/// are at work with.
pub(crate) struct Headers {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Headers {
    pub(crate) fn of(records: &[Arc<Record>]) -> Self {
        let (mut bytes, mut ends) =
            (Vec::with_capacity(192 * records.len()), Vec::with_capacity(records.len()));
        for record in records {
            record.header.encode(&mut bytes);
            ends.push(bytes.len());
        }
        Self { bytes, ends }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }
}

/// Reads log number, inline bitmap and header length from the start of an event entry.
pub(crate) fn event_prefix(bytes: &[u8; EVENT_PREFIX]) -> Option<(u16, u16, u32)> {
    (bytes[0] == EVENT_ENTRY).then(|| (u16_at(bytes, 1), u16_at(bytes, 3), u32_at(bytes, 5)))
}

/// The content's own bytes, decompressed if need be; `None` if they do not decompress to the stated length.
pub(crate) fn content_bytes(stored: &[u8], raw_len: Option<u32>) -> Option<Cow<'_, [u8]>> {
    match raw_len {
        None => Some(Cow::Borrowed(stored)),
        Some(len) if len as usize <= toka_types::record::MAX_CONTENT_BYTES => {
            let mut bytes = vec![0; len as usize];
            let written = lz4_flex::block::decompress_into(stored, &mut bytes).ok()?;
            (written == bytes.len()).then_some(Cow::Owned(bytes))
        }
        Some(_) => None,
    }
}

/// Which contents of `record` go into its entry: those for which `wanted` says so, each digest once.
pub(crate) fn inline_bits(record: &Record, mut wanted: impl FnMut(usize) -> bool) -> u16 {
    let refs = &record.header.content;
    let first = |at: usize| !refs[..at].iter().any(|earlier| earlier.digest == refs[at].digest);
    (0..refs.len()).filter(|&at| first(at) && wanted(at)).fold(0, |bits, at| bits | 1 << at)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}
