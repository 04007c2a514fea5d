//! Rewriting one segment: the same frames and entries, with less content.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toka_types::{ContentRef, Digest, EventHeader, Gone};

use super::compact::{Amount, Pace, cannot};
use super::disk::DiskFile;
use super::frame::{
    ContentEntry, Entry, EventEntry, FRAME_HEADER, FrameBuilder, Place, Rewritten, SegmentHeader, VaultId,
    content_head, entries, gone_entry,
};
use super::segment::{Frame, damage, frames};
use super::state::{Segment, segment_header};
use crate::store::StoreError;

/// Bytes that are written at once.
const PIECE: usize = 1 << 20;

/// A segment as it is before.
pub(crate) struct Source {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) end: u64,
    pub(crate) crc: u32,
    pub(crate) link: (u64, u32),
    pub(crate) rewritten: bool,
}

/// What becomes of content that lies in the segment.
pub(crate) enum Verdict {
    /// It stays. The flag says that a rule will let it go some day.
    Keep { later: bool },
    /// It is dropped for this reason.
    Drop(Gone),
    /// It lies in an earlier segment too.
    Twice,
}

/// What a rewritten segment is like.
#[derive(Default)]
pub(crate) struct Rewrite {
    /// What the rules let go.
    pub(crate) expired: Amount,
    /// What nobody can read any more.
    pub(crate) erased: Amount,
    pub(crate) twice: Amount,
    /// Content that a rule will let go some day.
    pub(crate) later: u64,
    pub(crate) end: u64,
    pub(crate) crc: u32,
    /// Digests of what the rules let go. What was erased is so for whoever names it, now or later.
    pub(crate) dropped: Vec<Digest>,
    /// Content bytes that need not be stored any more because they lie elsewhere.
    pub(crate) deduplicated: u64,
    /// Content bytes that compression saved of what is dropped.
    pub(crate) compressed: u64,
}

impl Source {
    pub(crate) fn of(segment: &Segment) -> Self {
        Self {
            number: segment.number,
            path: segment.path.clone(),
            file: Arc::clone(&segment.file),
            end: segment.end,
            crc: segment.crc,
            link: segment.link(),
            rewritten: segment.rewritten.is_some(),
        }
    }
}

impl Rewrite {
    /// True if anything is dropped.
    pub(crate) fn changes(&self) -> bool {
        self.expired.contents + self.erased.contents + self.twice.contents > 0
    }
}

/// Says what becomes of content that lies in a segment: with which log's event, and its bytes where they lie as they are.
pub(crate) trait Judge:
    FnMut(u16, &EventHeader, &ContentRef, Option<&[u8]>) -> Result<Verdict, StoreError>
{
}

impl<F: FnMut(u16, &EventHeader, &ContentRef, Option<&[u8]>) -> Result<Verdict, StoreError>> Judge for F {}

/// Goes through the segment and asks about each piece of content that lies in it; the new segment goes to `to`, or
/// nowhere if it is only to be measured.
pub(crate) fn rewrite(
    vault: VaultId,
    source: &Source,
    to: Option<(&dyn DiskFile, &Path)>,
    pace: &Pace<'_>,
    mut judge: impl Judge,
) -> Result<Rewrite, StoreError> {
    let (old, first_crc) =
        segment_header(&*source.file, &source.path)?.map_err(|error| error.in_file(&source.path))?;
    let rewritten = Rewritten { first_end: source.link.0, first_crc: source.link.1, end: 0, crc: 0 };
    let mut header = SegmentHeader { rewritten: Some(rewritten), ..old };
    let place = Place { vault, segment: source.number };
    let (_, crc) = header.encode();
    let mut new = Rewrite { end: header.len(), crc, ..Rewrite::default() };
    let mut output = Output { to, start: new.end, bytes: Vec::new() };
    let mut builder = FrameBuilder::default();
    let from = (old.len(), first_crc);
    let tail = frames(&*source.file, &source.path, &place, from, source.end, |frame| {
        pace.spend((FRAME_HEADER + frame.body.len()) as u64)?;
        builder.start();
        new.frame(&mut builder, source, &frame, &mut judge)?;
        builder.finish(&place, new.end, new.crc);
        output.write(builder.bytes(0..builder.len()))?;
        new.end += builder.len() as u64;
        new.crc = builder.crc();
        Ok(())
    })?;
    if (tail.end, tail.crc) != (source.end, source.crc) {
        let detail = tail.bad.unwrap_or_else(|| "no frame stands here".into());
        return Err(damage(&source.path, tail.end, None, detail));
    }
    output.flush()?;
    if let Some((file, path)) = to {
        header.rewritten = Some(Rewritten { end: new.end, crc: new.crc, ..rewritten });
        file.write_at(&header.encode().0, 0).map_err(|error| cannot("write", path, new.end, &error))?;
    }
    Ok(new)
}

impl Rewrite {
    fn frame(
        &mut self,
        builder: &mut FrameBuilder,
        source: &Source,
        frame: &Frame<'_>,
        judge: &mut impl Judge,
    ) -> Result<(), StoreError> {
        let body = frame.offset + FRAME_HEADER as u64;
        let bad = |at: usize, detail: String| damage(&source.path, body + at as u64, None, detail);
        entries(frame.body, frame.count, bad, |entry| match entry {
            Entry::Log { number, name, fork } => {
                match fork {
                    None => builder.log(number, name),
                    Some(fork) => builder.fork(number, name, fork.base, &fork.tree()),
                }
                Ok(())
            }
            Entry::Event(event) => {
                let header = EventHeader::decode(event.header);
                let header = header.map_err(|error| bad(event.offset, error.to_string()))?;
                self.event(builder, frame.body, &event, &header, judge)
            }
        })
    }

    fn event(
        &mut self,
        builder: &mut FrameBuilder,
        body: &[u8],
        event: &EventEntry<'_>,
        header: &EventHeader,
        judge: &mut impl Judge,
    ) -> Result<(), StoreError> {
        let mut inline = event.inline;
        let mut contents: Vec<Cow<'_, [u8]>> = Vec::with_capacity(event.contents.len());
        let places = (0..header.content.len()).filter(|at| event.inline & (1 << at) != 0);
        for (at, entry) in places.zip(&event.contents) {
            let (content, stored) = (&header.content[at], bytes_of(body, entry));
            let dropped = Amount { contents: 1, bytes: stored.len() as u64 };
            let verdict = match entry.gone {
                Some(_) => Verdict::Keep { later: false },
                None => judge(event.log, header, content, entry.raw_len.is_none().then_some(entry.stored))?,
            };
            let compressed = u64::from(content.size).saturating_sub(entry.stored.len() as u64);
            match verdict {
                Verdict::Drop(reason) => {
                    if reason == Gone::Erased {
                        self.erased += dropped;
                    } else {
                        self.expired += dropped;
                        self.dropped.push(content.digest);
                    }
                    self.compressed += compressed;
                    contents.push(Cow::Owned(gone_entry(reason).to_vec()));
                }
                Verdict::Twice => {
                    self.twice += dropped;
                    self.compressed += compressed;
                    self.deduplicated += u64::from(content.size);
                    inline &= !(1 << at);
                }
                Verdict::Keep { later: true } => {
                    self.later += dropped.bytes;
                    contents.push(stored.into());
                }
                Verdict::Keep { later: false } => contents.push(stored.into()),
            }
        }
        builder.event(event.log, inline, event.header);
        contents.iter().for_each(|content| builder.part(content));
        Ok(())
    }
}

/// The entry of some content as it stands in the frame.
fn bytes_of<'a>(body: &'a [u8], entry: &ContentEntry<'_>) -> &'a [u8] {
    let head = content_head(&body[entry.offset..]).map_or(0, |head| head.head_len);
    &body[entry.offset..entry.offset + head + entry.stored.len()]
}

/// Writes in large pieces.
struct Output<'a> {
    to: Option<(&'a dyn DiskFile, &'a Path)>,
    start: u64,
    bytes: Vec<u8>,
}

impl Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if self.to.is_some() {
            self.bytes.extend_from_slice(bytes);
        }
        if self.bytes.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if let Some((file, path)) = self.to {
            let len = self.bytes.len() as u64;
            file.write_at(&self.bytes, self.start).map_err(|error| cannot("write", path, len, &error))?;
            self.start += len;
            self.bytes.clear();
        }
        Ok(())
    }
}
