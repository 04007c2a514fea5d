//! Reading records, headers and content.

use std::sync::Arc;

use toka_types::{ContentRef, Digest, EventHeader, EventId, Gone, HeaderView, Payload};

use super::Journal;
use super::disk::DiskFile;
use super::filter::Filter;
use super::frame::{CONTENT_PREFIX, EVENT_PREFIX, content_bytes, content_head, event_prefix};
use super::index::{Found, prefix};
use super::segment::{Window, damage, failed};
use super::state::{Segment, State};
use crate::core::{LogId, Record};
use crate::hash::{TreeHash, leaf_hash};
use crate::store::StoreError;

/// What is read around a single event or piece of content: most fit, and one read does.
const AHEAD_ONE: usize = 4 << 10;
/// What is read ahead when several events follow each other.
const AHEAD_MANY: usize = 256 << 10;
/// Of so many events that follow each other a second thread reads half: most of the time goes into their digests.
const SHARED_READ: usize = 512;
/// Children that are looked for at once.
const CHILDREN: usize = 1024;
/// An event's header is never longer: 64 KiB of facts, 64 parents, 32 labels.
const MAX_HEADER: u32 = 128 << 10;

/// Events that follow each other in one segment.
struct Stretch {
    file: Arc<dyn DiskFile>,
    path: std::path::PathBuf,
    first: u64,
    offsets: Vec<u32>,
}

/// An event's entry: its header, and where its contents begin.
struct EntryHead {
    log: u16,
    header: EventHeader,
    inline: u16,
    contents_at: u64,
}

pub(crate) fn records(
    journal: &Journal,
    log: &LogId,
    from: u64,
    limit: usize,
) -> Result<Vec<Arc<Record>>, StoreError> {
    let mut records = Vec::new();
    for stretch in stretches(journal, log, from, limit)? {
        if stretch.offsets.len() < SHARED_READ {
            records.append(&mut stretch.records(journal)?);
            continue;
        }
        let (first, second) = stretch.halves();
        let (first, second) = std::thread::scope(|scope| {
            let second = scope.spawn(|| second.records(journal));
            (first.records(journal), second.join())
        });
        records.append(&mut first?);
        records.append(&mut second.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
    }
    Ok(records)
}

pub(crate) fn headers(
    journal: &Journal,
    log: &LogId,
    from: u64,
    limit: usize,
) -> Result<Vec<EventHeader>, StoreError> {
    let mut headers = Vec::new();
    for stretch in stretches(journal, log, from, limit)? {
        let mut window = stretch.window();
        for (seq, &offset) in (stretch.first..).zip(&stretch.offsets) {
            let entry = stretch.entry_of(&mut window, offset.into(), seq, headers.last())?;
            headers.push(entry.header);
        }
    }
    Ok(headers)
}

/// Shows the leaf hashes of at most `limit` events of `log` from number `from` on.
pub(crate) fn leaves(
    journal: &Journal,
    log: &LogId,
    from: u64,
    limit: usize,
    mut show: impl FnMut(TreeHash),
) -> Result<(), StoreError> {
    for stretch in stretches(journal, log, from, limit)? {
        let mut window = stretch.window_over_headers();
        for (seq, &offset) in (stretch.first..).zip(&stretch.offsets) {
            let (_, _, bytes) = stretch.header_bytes(&mut window, offset.into())?;
            // The number stands behind the version byte. A header of another event is no leaf of this place.
            if bytes.get(1..9) != Some(&seq.to_le_bytes()) {
                let detail = format!("no header of event {seq} stands here");
                return Err(damage(&stretch.path, offset.into(), Some(seq), detail));
            }
            show(leaf_hash(bytes));
        }
    }
    Ok(())
}

/// Where the event is, by log and number.
pub(crate) fn find(journal: &Journal, id: &EventId) -> Result<Vec<(u16, u64)>, StoreError> {
    let key = prefix(id.as_bytes());
    let candidates = candidates(journal, |segment, filter| {
        if filter.excludes(segment.number, key) { Ok(Vec::new()) } else { segment.index.find(id) }
    })?;
    confirm(candidates, |header| header.id == *id)
}

/// The events that name `id` among their parents, at most `limit` of those that were stored after the event `after`.
pub(crate) fn children(
    journal: &Journal,
    id: &EventId,
    after: Option<&(LogId, u64)>,
    limit: usize,
) -> Result<Vec<(u16, u64)>, StoreError> {
    let Some((mut segment, mut offset)) = after.map_or(Ok(Some((0, None))), |after| place(journal, after))?
    else {
        return Ok(Vec::new());
    };
    let mut children = Vec::new();
    while children.len() < limit {
        // Some of them may be children of another event, of which the id begins with the same bytes.
        let wanted = (limit - children.len()).min(CHILDREN);
        let found: Vec<Candidate> = {
            let state = journal.state();
            let Some(at) = state.segments.get(segment) else { break };
            let found = at.index.children(id, offset, wanted)?.into_iter();
            found.map(|found| (Stretch::nowhere(at), found)).collect()
        };
        match found.last().filter(|_| found.len() == wanted) {
            Some((_, last)) => offset = Some(last.offset as u32),
            None => (segment, offset) = (segment + 1, None),
        }
        children.extend(confirm(found, |header| header.parents.contains(id))?);
    }
    Ok(children)
}

/// The segment that an event lies in, counted from 0, and its offset there.
fn place(journal: &Journal, (log, seq): &(LogId, u64)) -> Result<Option<(usize, Option<u32>)>, StoreError> {
    let state = journal.state();
    let Some(number) = state.log_number(log) else { return Ok(None) };
    for (at, segment) in state.segments.iter().enumerate() {
        if let Some(&offset) = segment.index.offsets(number, *seq, 1)?.first() {
            return Ok(Some((at, Some(offset))));
        }
    }
    Ok(None)
}

/// Events whose ids begin with `hex`.
pub(crate) fn find_prefix(
    journal: &Journal,
    hex: &str,
    limit: usize,
) -> Result<Vec<(EventId, u16, u64)>, StoreError> {
    if hex.is_empty() || hex.len() > 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(Vec::new());
    }
    let digits = &hex[..hex.len().min(16)];
    let bound = |fill: &str| u64::from_str_radix(&format!("{digits}{}", fill.repeat(16 - digits.len())), 16);
    let (Ok(low), Ok(high)) = (bound("0"), bound("f")) else { return Ok(Vec::new()) };
    let mut found: Vec<(EventId, u16, u64)> = Vec::new();
    for (stretch, candidate) in candidates(journal, |segment, _| segment.index.find_range(low, high))? {
        let EntryHead { log, header, .. } = stretch.entry(&mut stretch.window(), candidate.offset, None)?;
        if header.id.to_string().starts_with(hex) && !found.iter().any(|(id, _, _)| *id == header.id) {
            found.push((header.id, log, header.seq));
        }
        if found.len() >= limit {
            break;
        }
    }
    Ok(found)
}

pub(crate) fn content(journal: &Journal, digest: &Digest) -> Result<Option<Payload>, StoreError> {
    for (file, path, offset) in content_places(&journal.state(), digest)? {
        if let Lies::There(payload) = look(&*file, &path, offset, digest)? {
            return Ok(Some(payload));
        }
    }
    Ok(None)
}

/// Why content that was stored is not there any more.
pub(crate) fn gone(journal: &Journal, digest: &Digest) -> Result<Option<Gone>, StoreError> {
    match look_up(&journal.state(), digest)? {
        Known::Gone(reason) => Ok(Some(reason)),
        Known::There | Known::Not => Ok(None),
    }
}

/// What all segments together know of some content.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    There,
    Gone(Gone),
    Not,
}

/// Asks every segment, however old, of some content.
pub(crate) fn look_up(state: &State, digest: &Digest) -> Result<Known, StoreError> {
    let mut known = Known::Not;
    for (file, path, offset) in content_places(state, digest)? {
        match look(&*file, &path, offset, digest)? {
            Lies::There(_) => return Ok(Known::There),
            Lies::Gone(reason) if known == Known::Not => known = Known::Gone(reason),
            Lies::Gone(_) | Lies::Other => {}
        }
    }
    Ok(known)
}

/// What lies at a place that an index names for some content.
enum Lies {
    There(Payload),
    Gone(Gone),
    /// Other content, of which the digest begins with the same bytes.
    Other,
}

fn look(
    file: &dyn DiskFile,
    path: &std::path::Path,
    offset: u64,
    digest: &Digest,
) -> Result<Lies, StoreError> {
    let mut window = Window::with_ahead(file, AHEAD_ONE);
    let read = |error| failed("read", path, &error);
    let prefix = window.get(offset, EVENT_PREFIX).map_err(read)?.first_chunk::<EVENT_PREFIX>();
    let Some((_, inline, len)) = prefix.and_then(event_prefix) else {
        let (payload, _) = content_at(&mut window, path, offset)?;
        return Ok(payload.filter(|found| found.digest() == *digest).map_or(Lies::Other, Lies::There));
    };
    if len > MAX_HEADER {
        return Err(damage(path, offset, None, "no event stands here"));
    }
    let mut at = offset + EVENT_PREFIX as u64;
    let header = window.get(at, len as usize).map_err(read)?;
    let header = EventHeader::decode(header).map_err(|e| damage(path, offset, None, e.to_string()))?;
    at += u64::from(len);
    for (n, content) in header.content.iter().enumerate().filter(|(n, _)| inline & (1 << n) != 0) {
        let head = window.get(at, CONTENT_PREFIX).map_err(read)?;
        let Some(head) = content_head(head) else {
            return Err(damage(path, at, Some(header.seq), format!("no content {n} stands here")));
        };
        match head.gone {
            Some(reason) if content.digest == *digest => return Ok(Lies::Gone(reason)),
            _ => at += head.head_len as u64 + u64::from(head.stored_len),
        }
    }
    Ok(Lies::Other)
}

/// For each digest, whether its content is stored, as far as is known at once: in the open segment, in those that are
/// being sealed, and in the newest sealed ones. What is stored twice because an older segment has it too,
/// compaction removes.
///
/// One table is asked for all digests before the next one is, so that waiting for memory overlaps.
pub(crate) fn known(state: &State, digests: &[Digest], known: &mut Vec<bool>) -> Result<(), StoreError> {
    known.clear();
    known.extend(digests.iter().map(|digest| state.filter.may_contain(prefix(digest.as_bytes()))));
    for (digest, known) in digests.iter().zip(known.iter_mut()).filter(|(_, known)| **known) {
        *known = is_sealed(state, digest)?;
    }
    for segment in state.segments.iter().rev().take_while(|segment| !state.filter.is_past(segment.number)) {
        for (digest, known) in digests.iter().zip(known.iter_mut()) {
            *known |= segment.index.recent.find_content(digest).is_some();
        }
        if segment.index.base.is_some() {
            for (digest, known) in digests.iter().zip(known.iter_mut()).filter(|(_, known)| !**known) {
                *known = lies_in(segment, digest)?;
            }
        }
    }
    Ok(())
}

/// True if one of the segments that the filter covers has the content.
fn is_sealed(state: &State, digest: &Digest) -> Result<bool, StoreError> {
    for segment in state.segments.iter().rev().filter(|segment| state.filter.is_past(segment.number)) {
        if state.filter.is_before(segment.number) {
            break;
        }
        if lies_in(segment, digest)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// True if the content lies in the segment, and is not gone from it.
pub(crate) fn lies_in(segment: &Segment, digest: &Digest) -> Result<bool, StoreError> {
    for (offset, exact) in segment.index.content(digest)? {
        if exact || matches!(look(&*segment.file, &segment.path, offset, digest)?, Lies::There(_)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn stretches(journal: &Journal, log: &LogId, from: u64, limit: usize) -> Result<Vec<Stretch>, StoreError> {
    let state = journal.state();
    let Some(number) = state.log_number(log) else { return Ok(Vec::new()) };
    let log = &state.logs[usize::from(number)];
    let limit = usize::try_from(log.tree.size().saturating_sub(from)).unwrap_or(usize::MAX).min(limit);
    let mut stretches: Vec<Stretch> = Vec::new();
    for (&number, first, count) in log.lineage.stretches(from, limit) {
        stretches_of(&state, number, (first, count), &mut stretches)?;
    }
    Ok(stretches)
}

/// Where `left` events that were appended to the log `number`, from `next` on, lie.
fn stretches_of(
    state: &State,
    number: u16,
    (mut next, mut left): (u64, usize),
    stretches: &mut Vec<Stretch>,
) -> Result<(), StoreError> {
    for segment in &state.segments {
        if left == 0 {
            break;
        }
        let offsets = segment.index.offsets(number, next, left)?;
        if offsets.is_empty() {
            continue;
        }
        let first = next;
        next += offsets.len() as u64;
        left -= offsets.len();
        stretches.push(Stretch {
            file: Arc::clone(&segment.file),
            path: segment.path.clone(),
            first,
            offsets,
        });
    }
    Ok(())
}

type Candidate = (Stretch, Found);

fn candidates(
    journal: &Journal,
    search: impl Fn(&Segment, &Filter) -> Result<Vec<Found>, StoreError>,
) -> Result<Vec<Candidate>, StoreError> {
    let state = journal.state();
    let mut candidates = Vec::new();
    for segment in &state.segments {
        for found in search(segment, &state.filter)? {
            candidates.push((Stretch::nowhere(segment), found));
        }
    }
    Ok(candidates)
}

/// Those candidates whose headers are what was looked for.
fn confirm(
    candidates: Vec<Candidate>,
    wanted: impl Fn(&EventHeader) -> bool,
) -> Result<Vec<(u16, u64)>, StoreError> {
    let mut confirmed = Vec::with_capacity(candidates.len());
    for (stretch, found) in candidates {
        let place = match found.place {
            Some(place) => Some(place),
            None => {
                let head = stretch.entry(&mut stretch.window(), found.offset, None)?;
                wanted(&head.header).then_some((head.log, head.header.seq))
            }
        };
        confirmed.extend(place);
    }
    Ok(confirmed)
}

type ContentPlace = (Arc<dyn DiskFile>, std::path::PathBuf, u64);

fn content_places(state: &State, digest: &Digest) -> Result<Vec<ContentPlace>, StoreError> {
    let mut places = Vec::new();
    let key = prefix(digest.as_bytes());
    for segment in state.segments.iter().rev().filter(|s| !state.filter.excludes(s.number, key)) {
        for (offset, _) in segment.index.content(digest)? {
            places.push((Arc::clone(&segment.file), segment.path.clone(), offset));
        }
    }
    Ok(places)
}

/// All contents of an event, each checked against its digest.
fn contents(
    journal: &Journal,
    stretch: &Stretch,
    window: &mut Window<'_>,
    head: &EntryHead,
) -> Result<Vec<Payload>, StoreError> {
    let mut payloads: Vec<Payload> = Vec::with_capacity(head.header.content.len());
    let mut at = head.contents_at;
    for (n, wanted) in head.header.content.iter().enumerate() {
        if head.inline & (1 << n) != 0 {
            let (payload, next) = content_at(window, &stretch.path, at)?;
            let here = at;
            at = next;
            if let Some(payload) = payload {
                check_content(stretch, here, head, wanted, &payload)?;
                payloads.push(payload);
                continue;
            }
        }
        if let Some(same) = payloads.iter().find(|payload| payload.digest() == wanted.digest) {
            payloads.push(same.clone());
        } else if let Some(payload) = elsewhere(journal, stretch, head, &wanted.digest)? {
            payloads.push(payload);
        }
    }
    Ok(payloads)
}

/// Content that does not lie with the event; `None` if it is gone.
fn elsewhere(
    journal: &Journal,
    stretch: &Stretch,
    head: &EntryHead,
    digest: &Digest,
) -> Result<Option<Payload>, StoreError> {
    // What is gone may be stored again between the two looks; then the third finds it.
    if let Some(payload) = content(journal, digest)? {
        return Ok(Some(payload));
    }
    if gone(journal, digest)?.is_some() {
        return Ok(None);
    }
    if let Some(payload) = content(journal, digest)? {
        return Ok(Some(payload));
    }
    let detail = format!("content {digest} is nowhere in the vault");
    Err(damage(&stretch.path, head.contents_at, Some(head.header.seq), detail))
}

fn check_content(
    stretch: &Stretch,
    at: u64,
    head: &EntryHead,
    wanted: &ContentRef,
    payload: &Payload,
) -> Result<(), StoreError> {
    if payload.content_ref() == *wanted {
        return Ok(());
    }
    let detail = format!("content {} has the digest {}", wanted.digest, payload.digest());
    Err(damage(&stretch.path, at, Some(head.header.seq), detail))
}

/// The content at `offset`, unless it is gone, and where it ends.
fn content_at(
    window: &mut Window<'_>,
    path: &std::path::Path,
    offset: u64,
) -> Result<(Option<Payload>, u64), StoreError> {
    let bytes = window.get(offset, CONTENT_PREFIX).map_err(|error| failed("read", path, &error))?;
    let Some(head) = content_head(bytes) else {
        return Err(damage(path, offset, None, "no content stands here"));
    };
    let (at, len) = (offset + head.head_len as u64, head.stored_len as usize);
    if head.gone.is_some() {
        return Ok((None, at));
    }
    if len > super::frame::MAX_BODY {
        return Err(damage(path, offset, None, format!("content of {len} bytes")));
    }
    let stored = window.get(at, len).map_err(|error| failed("read", path, &error))?;
    match content_bytes(stored, head.raw_len).filter(|_| stored.len() == len) {
        Some(bytes) => Ok((Some(Payload::new(bytes)), at + len as u64)),
        None => Err(damage(path, offset, None, "the content does not decompress")),
    }
}

impl Stretch {
    /// No events of a segment, to read single ones from it.
    fn nowhere(segment: &Segment) -> Self {
        Self { file: Arc::clone(&segment.file), path: segment.path.clone(), first: 0, offsets: Vec::new() }
    }

    /// Its two halves.
    fn halves(mut self) -> (Self, Self) {
        let offsets = self.offsets.split_off(self.offsets.len() / 2);
        let first = self.first + self.offsets.len() as u64;
        let second = Self { file: Arc::clone(&self.file), path: self.path.clone(), first, offsets };
        (self, second)
    }

    fn records(&self, journal: &Journal) -> Result<Vec<Arc<Record>>, StoreError> {
        let mut records: Vec<Arc<Record>> = Vec::with_capacity(self.offsets.len());
        let mut window = self.window();
        for (seq, &offset) in (self.first..).zip(&self.offsets) {
            let like = records.last().map(|record| &record.header);
            let head = self.entry_of(&mut window, offset.into(), seq, like)?;
            let content = contents(journal, self, &mut window, &head)?;
            records.push(Arc::new(Record { header: head.header, content }));
        }
        Ok(records)
    }

    fn window(&self) -> Window<'_> {
        Window::with_ahead(&*self.file, if self.offsets.len() > 1 { AHEAD_MANY } else { AHEAD_ONE })
    }

    /// The entry of the event `seq`, which may share with one `like` it.
    fn entry_of(
        &self,
        window: &mut Window<'_>,
        offset: u64,
        seq: u64,
        like: Option<&EventHeader>,
    ) -> Result<EntryHead, StoreError> {
        let entry = self.entry(window, offset, like)?;
        if entry.header.seq != seq {
            let detail = format!("event {} stands where event {seq} belongs", entry.header.seq);
            return Err(damage(&self.path, offset, Some(seq), detail));
        }
        Ok(entry)
    }

    /// A window for headers alone: where they lie far from each other, what is between them is not read.
    fn window_over_headers(&self) -> Window<'_> {
        let ends = self.offsets.last().zip(self.offsets.first());
        let span = ends.map_or(0, |(last, first)| last.abs_diff(*first)) as usize;
        let near = span / self.offsets.len().max(1) < AHEAD_ONE;
        Window::with_ahead(&*self.file, if near { (span + AHEAD_ONE).min(AHEAD_MANY) } else { AHEAD_ONE })
    }

    /// Of the entry at `offset` its log's number, which contents follow, and the bytes of the header.
    fn header_bytes<'w>(
        &self,
        window: &'w mut Window<'_>,
        offset: u64,
    ) -> Result<(u16, u16, &'w [u8]), StoreError> {
        let failed = |error| failed("read", &self.path, &error);
        let bad = |detail: &str| damage(&self.path, offset, None, detail);
        let prefix = window.get(offset, EVENT_PREFIX).map_err(failed)?;
        let prefix = prefix.first_chunk::<EVENT_PREFIX>().and_then(event_prefix);
        let Some((log, inline, len)) = prefix.filter(|&(_, _, len)| len <= MAX_HEADER) else {
            return Err(bad("no event stands here"));
        };
        let bytes = window.get(offset + EVENT_PREFIX as u64, len as usize).map_err(failed)?;
        match bytes.len() == len as usize {
            true => Ok((log, inline, bytes)),
            false => Err(bad("the file ends within a header")),
        }
    }

    fn entry(
        &self,
        window: &mut Window<'_>,
        offset: u64,
        like: Option<&EventHeader>,
    ) -> Result<EntryHead, StoreError> {
        let (log, inline, bytes) = self.header_bytes(window, offset)?;
        let contents_at = offset + (EVENT_PREFIX + bytes.len()) as u64;
        let header = HeaderView::decode(bytes);
        let header = header.map_err(|error| damage(&self.path, offset, None, error.to_string()))?;
        let computed = header.causal_digest();
        if computed != header.id {
            let detail = format!("the header of event {} has the causal digest {computed}", header.id);
            return Err(damage(&self.path, offset, Some(header.seq), detail));
        }
        Ok(EntryHead { log, header: header.to_header(like), inline, contents_at })
    }
}
