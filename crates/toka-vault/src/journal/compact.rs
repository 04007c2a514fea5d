//! Compaction: sealed segments are rewritten without content that nobody has a claim to any more, that nobody can read since
//! its keys were destroyed, or that lies in an earlier segment too. Headers, numbers and the log trees stay as they are.
//!
//! A segment is written anew beside the journal, synced, read back, renamed over the old one, and the directory
//! synced: at every moment the old segment is there or the new one, and both say the same. Appending goes on
//! meanwhile; it waits while a segment changes its name. What appended events share with earlier ones is noted from
//! the beginning, and is not dropped. Readers keep the files that they have open, and look again where they had closed one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toka_types::{ContentRef, Digest, EventHeader, Gone, KeyId, Timestamp};

use super::append::{Mode, RESERVE, next_segment};
use super::disk::DiskFile;
use super::erased;
use super::frame::{Place, Rewritten};
use super::index::{Index, prefix};
use super::live::Live;
use super::open::open_segment;
use super::recent::Recent;
use super::rewrite::{Rewrite, Source, Verdict, rewrite};
use super::segment::{damage, failed, index_path, segment_path};
use super::sidecar::{Meta, Sidecar};
use super::state::{Segment, State, index_segment};
use super::tables::Shape;
use super::{Journal, read, seal};
use crate::core::LogId;
use crate::retention::{Fate, Retention};
use crate::store::StoreError;

/// Where a segment lies while it is written anew; the name means nothing to whoever opens the vault.
const BESIDE: &str = "compact";
/// Headers read at once.
const HEADERS: usize = 1024;
/// A header takes about as many bytes, for the pace.
const HEADER_BYTES: u64 = 200;
/// The open segment is ended for the sake of so many bytes, or of so large a part of it, that could be dropped then.
const WORTH_SEALING: u64 = 64 << 10;
const WORTH_SEALING_PART: u64 = 4;
/// What a segment must lose at least to be rewritten in the background, as a part of it, while more of it will go some
/// day: else a segment would be written anew for every event that gets too old.
const WORTHWHILE_PART: u64 = 8;
/// How often a compaction that is not thorough drops all the same whatever is little.
const DAILY: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a segment is tried again whose content was shared meanwhile.
const TRIES: usize = 3;

/// How a compaction goes about its work.
#[derive(Clone, Copy)]
pub struct Compaction<'a> {
    /// The time. The same log and rules at the same time give the same segments.
    pub now: Timestamp,
    /// True: everything that can go does, at once. False: what the rules let go does where that is worth the writing, and
    /// once a day, by the journal's first compaction and as [`now`](Self::now) goes on, the rest of it.
    pub thorough: bool,
    /// Most bytes read in a second; `None`: as fast as the machine can.
    pub bytes_per_second: Option<u64>,
    /// Asked now and then; once it says true, no further segment is begun and the one in hand is left as it was.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

impl Compaction<'_> {
    /// A thorough one at full speed.
    pub fn thorough(now: Timestamp) -> Self {
        Self { now, thorough: true, bytes_per_second: None, stop: &|| false }
    }
}

impl std::fmt::Debug for Compaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compaction")
            .field("now", &self.now)
            .field("thorough", &self.thorough)
            .field("bytes_per_second", &self.bytes_per_second)
            .finish_non_exhaustive()
    }
}

/// Pieces of content, and their bytes as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Amount {
    /// How many.
    pub contents: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl AddAssign for Amount {
    fn add_assign(&mut self, more: Self) {
        self.contents += more.contents;
        self.bytes += more.bytes;
    }
}

/// What a compaction did, or would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CompactionReport {
    /// Segments there are.
    pub segments: u64,
    /// Segments that were rewritten.
    pub rewritten: u64,
    /// Content that was dropped by the rules.
    pub expired: Amount,
    /// Content that was dropped since its keys were destroyed.
    pub erased: Amount,
    /// Content that lay in an earlier segment too.
    pub twice: Amount,
    /// Bytes of the journal before.
    pub before: u64,
    /// Bytes of the journal after.
    pub after: u64,
    /// Segments that were left for a later compaction: their content was shared by events that were appended meanwhile.
    pub postponed: u64,
    /// True if it was stopped before it was done.
    pub stopped: bool,
}

/// Where the new form of a segment is written.
pub(crate) fn beside(vault: &Path) -> PathBuf {
    vault.join(BESIDE)
}

/// What the compactions of a journal know of those before.
#[derive(Default)]
pub(crate) struct Before {
    /// When the last one dropped whatever is little, too.
    last: Option<Timestamp>,
    /// Destroyed keys under which nothing lies in a segment any more.
    dropped: BTreeSet<KeyId>,
}

/// What may go, found by a look at all headers.
struct Plan<'a> {
    retention: Option<&'a dyn Retention>,
    live: Live,
    /// Keys that were destroyed.
    erased: BTreeSet<KeyId>,
    /// True if segments may hold content under such keys.
    has_erased: bool,
    /// The number of events that were looked at, by log number.
    seen: Vec<u64>,
    logs: Vec<LogId>,
    /// References that may go, by segment.
    claims: BTreeMap<u64, u64>,
}

/// Slows down, and stops.
pub(crate) struct Pace<'a>(&'a Compaction<'a>);

impl Pace<'_> {
    /// Waits as long as reading so many bytes may take.
    pub(crate) fn spend(&self, bytes: u64) -> Result<(), StoreError> {
        if (self.0.stop)() {
            return Err(StoreError::Closed);
        }
        if let Some(most) = self.0.bytes_per_second {
            std::thread::sleep(Duration::from_micros(bytes.saturating_mul(1_000_000) / most.max(1)));
        }
        Ok(())
    }
}

pub(crate) fn compact(
    journal: &Journal,
    retention: Option<&mut dyn Retention>,
    how: &Compaction<'_>,
) -> Result<CompactionReport, StoreError> {
    let mut before = journal.compacting();
    let eager = how.thorough || before.last.is_none_or(|last| how.now.since(last) >= DAILY);
    let logs = {
        let writer = journal.writer();
        writer.check_open(journal)?;
        let state = journal.state();
        state.shared.begin();
        state.logs.iter().map(|log| (log.id.clone(), log.tree.size())).collect()
    };
    let mut report = CompactionReport::default();
    let done = run(journal, retention, logs, how, (eager, &before.dropped), &mut report);
    journal.state().shared.end();
    match done {
        Err(StoreError::Closed) if (how.stop)() => report.stopped = true,
        Err(error) => return Err(error),
        Ok(erased) => {
            if eager {
                before.last = Some(how.now);
            }
            if report.postponed == 0 {
                before.dropped = erased;
            }
        }
    }
    let state = journal.state();
    report.segments = state.segments.len() as u64;
    report.after = state.segments.iter().map(|segment| segment.end).sum();
    Ok(report)
}

/// What [`compact`] would drop from the segments as they are; the open one counts as sealed.
pub(crate) fn measure(
    journal: &Journal,
    retention: Option<&mut dyn Retention>,
    now: Timestamp,
) -> Result<CompactionReport, StoreError> {
    let how = Compaction::thorough(now);
    let logs = journal.state().logs.iter().map(|log| (log.id.clone(), log.tree.size())).collect();
    let plan = Plan::make(journal, retention, logs, &how)?;
    let mut report = CompactionReport::default();
    for number in numbers(journal) {
        let Some(source) = source(journal, number) else { continue };
        let new = plan.rewrite(journal, &source, None, &how)?;
        report.segments += 1;
        report.before += source.end;
        if new.changes() {
            report.expired += new.expired;
            report.erased += new.erased;
            report.twice += new.twice;
            report.rewritten += 1;
        }
        report.after += if new.changes() { new.end } else { source.end };
    }
    Ok(report)
}

/// Does the work; the keys under which nothing lies in a segment any more.
fn run(
    journal: &Journal,
    retention: Option<&mut dyn Retention>,
    logs: Vec<(LogId, u64)>,
    how: &Compaction<'_>,
    (eager, dropped): (bool, &BTreeSet<KeyId>),
    report: &mut CompactionReport,
) -> Result<BTreeSet<KeyId>, StoreError> {
    report.before = journal.state().segments.iter().map(|segment| segment.end).sum();
    let mut plan = Plan::make(journal, retention, logs, how)?;
    // Content of an event says nothing of its keys, so that all segments have to be read, once for each such key.
    plan.has_erased = !plan.erased.is_subset(dropped);
    seal_if_worthwhile(journal, &plan, how, eager)?;
    for number in numbers(journal) {
        if journal.state().segments.last().is_some_and(|last| last.number == number) {
            break;
        }
        if how.thorough || plan.has_erased || plan.claims.contains_key(&number) {
            one(journal, &mut plan, number, (how, eager), report)?;
        }
    }
    Ok(plan.erased)
}

/// Ends the open segment if it holds enough that can go.
fn seal_if_worthwhile(
    journal: &Journal,
    plan: &Plan<'_>,
    how: &Compaction<'_>,
    eager: bool,
) -> Result<(), StoreError> {
    let may_go = |number: &u64| plan.has_erased || plan.claims.contains_key(number);
    let Some(number) = numbers(journal).pop().filter(may_go) else { return Ok(()) };
    let Some(source) = source(journal, number).filter(|source| !source.rewritten) else { return Ok(()) };
    let new = plan.rewrite(journal, &source, None, how)?;
    let worth = new.expired.bytes >= WORTH_SEALING.min(source.end / WORTH_SEALING_PART);
    if new.erased.contents > 0 || new.expired.contents > 0 && (eager || worth) {
        let mut writer = journal.writer();
        writer.check_open(journal)?;
        let last = journal.state().segments.last().map(|last| last.number);
        if last == Some(number) {
            next_segment(journal, &mut writer, RESERVE, false)?;
        }
    }
    Ok(())
}

/// Rewrites one sealed segment if that is worth it.
fn one(
    journal: &Journal,
    plan: &mut Plan<'_>,
    number: u64,
    (how, eager): (&Compaction<'_>, bool),
    report: &mut CompactionReport,
) -> Result<(), StoreError> {
    // Whoever seals it puts its index in place when that is done.
    seal::wait(&mut journal.writer());
    for _ in 0..TRIES {
        let Some(source) = source(journal, number) else { return Ok(()) };
        let measured = plan.rewrite(journal, &source, None, how)?;
        let saved = source.end.saturating_sub(measured.end);
        let worthwhile =
            measured.erased.contents > 0 || measured.later == 0 || saved >= source.end / WORTHWHILE_PART;
        if !measured.changes() || !(eager || worthwhile) {
            return Ok(());
        }
        let path = beside(&journal.path);
        let written = write_beside(journal, plan, &source, &path, how);
        let shared = match written {
            Ok((new, file, recent)) => replace(journal, &source, new, file, recent, report),
            Err(error) => Err(error),
        };
        if !matches!(&shared, Ok(shared) if shared.is_empty()) {
            discard(journal, &path);
        }
        match shared? {
            shared if shared.is_empty() => return Ok(()),
            shared => shared.iter().for_each(|digest| plan.live.insert(digest)),
        }
    }
    report.postponed += 1;
    Ok(())
}

type Written = (Rewrite, Box<dyn DiskFile>, Recent);

/// Writes the new segment beside the journal, syncs it and reads it back.
fn write_beside(
    journal: &Journal,
    plan: &Plan<'_>,
    source: &Source,
    path: &Path,
    how: &Compaction<'_>,
) -> Result<Written, StoreError> {
    // A file of this name is what a failed try left behind.
    drop(journal.disk.remove(path));
    let file = journal.disk.create(path).map_err(|error| cannot("create", path, 0, &error))?;
    let new = plan.rewrite(journal, source, Some((&*file, path)), how)?;
    file.sync().map_err(|error| cannot("sync", path, new.end, &error))?;
    let place = Place { vault: journal.vault, segment: source.number };
    let recent = index_segment(&*file, path, &place, new.end)?;
    let events: u64 = {
        let state = journal.state();
        let segment = state.segments.iter().find(|segment| segment.number == source.number);
        segment.map_or(0, |s| s.index.runs().iter().map(|run| u64::from(run.count)).sum())
    };
    if recent.len() != events {
        let detail = format!("it was written with {} events instead of {events}", recent.len());
        return Err(damage(path, 0, None, detail));
    }
    Ok((new, file, recent))
}

/// Puts the new segment in the old one's place, unless content that it lacks was shared meanwhile, which is returned.
fn replace(
    journal: &Journal,
    source: &Source,
    new: Rewrite,
    file: Box<dyn DiskFile>,
    recent: Recent,
    report: &mut CompactionReport,
) -> Result<Vec<Digest>, StoreError> {
    // Nothing is appended from here on until readers find the new segment.
    let mut writer = journal.writer();
    writer.check_open(journal)?;
    let shared = journal.state().shared.among(&new.dropped);
    let shared = shared.unwrap_or_else(|| new.dropped.clone());
    if !shared.is_empty() {
        return Ok(shared);
    }
    let path = segment_path(&journal.path, source.number);
    journal.disk.rename(&beside(&journal.path), &path).map_err(|error| failed("replace", &path, &error))?;
    let directory = path.parent().unwrap_or(&journal.path);
    // Whether the name is durable or not: both segments say the same.
    let synced = journal.disk.sync_directory(directory).map_err(|error| failed("sync", directory, &error));
    let file: Arc<dyn DiskFile> = Arc::from(file);
    let index = index_path(&journal.path, source.number);
    let base = {
        let state = journal.state();
        let segment = state.segments.iter().find(|segment| segment.number == source.number);
        segment.and_then(|segment| segment.index.base.clone())
    };
    let (end, crc) = (new.end, new.crc);
    let index = match base {
        Some(base) => {
            let written = recent.body(None).and_then(|body| {
                let Shape { events, contents, links } = body.shape;
                let meta = Meta { end, crc, events, contents, links, ..base.meta.clone() };
                Sidecar::write(&journal.disk, &index, (&path, &file), meta, &body)
            });
            written.map(Index::over).unwrap_or_else(|detail| {
                tracing::warn!(path = %index.display(), detail, "a segment has no index; it is read instead");
                Index { base: None, recent: Arc::new(recent) }
            })
        }
        None => Index { base: None, recent: Arc::new(recent) },
    };
    let (first_end, first_crc) = source.link;
    let rewritten = Some(Rewritten { first_end, first_crc, end, crc });
    let mut state = journal.state_mut();
    // The sums are saved with the last segment's index, when the vault is closed or that segment is full.
    writer.dirty = true;
    state.totals.deduplicated += new.deduplicated;
    state.totals.compressed = state.totals.compressed.saturating_sub(new.compressed);
    let segment = state.segments.iter_mut().find(|segment| segment.number == source.number);
    let Some(segment) = segment else { return Err(StoreError::Closed) };
    let (number, imported) = (source.number, segment.imported);
    *segment = Segment { number, path, file, end, crc, imported, rewritten, index };
    report.rewritten += 1;
    report.expired += new.expired;
    report.erased += new.erased;
    report.twice += new.twice;
    synced.map(|()| Vec::new())
}

/// Removes what was written beside, if the vault is still this process's.
fn discard(journal: &Journal, path: &Path) {
    let writer = journal.writer();
    if matches!(writer.mode, Mode::Open | Mode::Poisoned(_)) {
        drop(journal.disk.remove(path));
    }
}

impl<'a> Plan<'a> {
    /// Looks at the first events of each log, as many as are named.
    fn make(
        journal: &Journal,
        retention: Option<&'a mut dyn Retention>,
        logs: Vec<(LogId, u64)>,
        how: &Compaction<'_>,
    ) -> Result<Self, StoreError> {
        let (logs, seen): (Vec<_>, Vec<_>) = logs.into_iter().unzip();
        let erased = erased::keys(journal)?;
        let has_erased = !erased.is_empty();
        let live = Live::new(0, how.now);
        let mut plan =
            Self { retention: None, live, erased, has_erased, seen, logs, claims: BTreeMap::new() };
        let Some(retention) = retention else { return Ok(plan) };
        let mut references = 0;
        plan.each_header(journal, how, |_, log, header| {
            references += header.content.len() as u64;
            retention.see(log, header);
        })?;
        let retention: &'a dyn Retention = retention;
        let mut live = Live::new(references, how.now);
        let mut claims = BTreeMap::new();
        plan.each_header(journal, how, |segment, log, header| {
            for content in &header.content {
                match retention.fate(log, header, content) {
                    Fate::Drop(_) => *claims.entry(segment).or_insert(0) += 1,
                    Fate::Keep | Fate::Later => live.insert(&content.digest),
                }
            }
        })?;
        (plan.retention, plan.live, plan.claims) = (Some(retention), live, claims);
        Ok(plan)
    }

    /// Shows each header, with the number of its segment.
    fn each_header(
        &self,
        journal: &Journal,
        how: &Compaction<'_>,
        mut show: impl FnMut(u64, &LogId, &EventHeader),
    ) -> Result<(), StoreError> {
        let pace = Pace(how);
        for number in numbers(journal) {
            let runs = {
                let state = journal.state();
                let segment = state.segments.iter().find(|segment| segment.number == number);
                segment.map_or_else(Vec::new, |segment| segment.index.runs())
            };
            for run in runs {
                let log = usize::from(run.log);
                let (Some(id), Some(&seen)) = (self.logs.get(log), self.seen.get(log)) else { continue };
                let (mut next, end) = (run.seq, (run.seq + u64::from(run.count)).min(seen));
                while next < end {
                    let headers = read::headers(journal, id, next, HEADERS.min((end - next) as usize))?;
                    if headers.is_empty() {
                        break;
                    }
                    pace.spend(headers.len() as u64 * HEADER_BYTES)?;
                    headers.iter().for_each(|header| show(number, id, header));
                    next += headers.len() as u64;
                }
            }
        }
        Ok(())
    }

    fn rewrite(
        &self,
        journal: &Journal,
        source: &Source,
        to: Option<(&dyn DiskFile, &Path)>,
        how: &Compaction<'_>,
    ) -> Result<Rewrite, StoreError> {
        rewrite(journal.vault, source, to, &Pace(how), |log, header, content, stored| {
            if stored.is_some_and(|stored| erased::is_under(&self.erased, stored)) {
                return Ok(Verdict::Drop(Gone::Erased));
            }
            self.judge(journal, source.number, log, header, content)
        })
    }

    fn judge(
        &self,
        journal: &Journal,
        segment: u64,
        log: u16,
        header: &EventHeader,
        content: &ContentRef,
    ) -> Result<Verdict, StoreError> {
        let log = usize::from(log);
        let seen = self.seen.get(log).is_some_and(|&seen| header.seq < seen);
        let fate = match (self.retention, self.logs.get(log)) {
            (Some(retention), Some(id)) if seen => retention.fate(id, header, content),
            _ => Fate::Keep,
        };
        if let Fate::Drop(reason) = fate
            && !self.live.may_contain(&content.digest)
        {
            return Ok(Verdict::Drop(reason));
        }
        let state = journal.state();
        let key = prefix(content.digest.as_bytes());
        let earlier = state.segments.iter().take_while(|earlier| earlier.number < segment);
        for earlier in earlier.filter(|earlier| seen && !state.filter.excludes(earlier.number, key)) {
            if read::lies_in(earlier, &content.digest)? {
                return Ok(Verdict::Twice);
            }
        }
        Ok(Verdict::Keep { later: fate == Fate::Later })
    }
}

/// Segments that another process rewrote are read from their new files from now on. True if none is left of which the
/// file is lost.
pub(crate) fn take_over(journal: &Journal, state: &mut State) -> Result<bool, StoreError> {
    let mut whole = true;
    for segment in &mut state.segments {
        let path = &segment.path;
        let there = journal.disk.id(path).map_err(|error| failed("look at", path, &error))?;
        let own = segment.file.id();
        if own.as_ref().is_ok_and(|own| *own == there) {
            continue;
        }
        let opened = open_segment(&journal.disk, &journal.path, segment.number, journal.vault, true)?;
        let rewritten = opened.filter(|(new, _)| new.link() == segment.link());
        let Some((mut new, end)) = rewritten.and_then(|(new, _)| new.rewritten.map(|own| (new, own))) else {
            whole &= own.is_ok();
            continue;
        };
        (new.end, new.crc) = (end.end, end.crc);
        new.index = index(journal, &new)?;
        *segment = new;
    }
    Ok(whole)
}

/// The index of a rewritten segment: its sidecar, or what its frames say.
fn index(journal: &Journal, segment: &Segment) -> Result<Index, StoreError> {
    let path = index_path(&journal.path, segment.number);
    if let Ok(sidecar) = Sidecar::open(&journal.disk, &path, segment.source()) {
        let Meta { vault, segment: number, end, crc, .. } = sidecar.meta;
        if (vault, number, end, crc) == (journal.vault, segment.number, segment.end, segment.crc) {
            return Ok(Index::over(sidecar));
        }
    }
    let place = Place { vault: journal.vault, segment: segment.number };
    let recent = index_segment(&*segment.file, &segment.path, &place, segment.end)?;
    Ok(Index { base: None, recent: Arc::new(recent) })
}

fn numbers(journal: &Journal) -> Vec<u64> {
    journal.state().segments.iter().map(|segment| segment.number).collect()
}

fn source(journal: &Journal, number: u64) -> Option<Source> {
    journal.state().segments.iter().find(|segment| segment.number == number).map(Source::of)
}

/// The error of a step that writes; a full disk is one of its own.
pub(crate) fn cannot(what: &'static str, path: &Path, needed: u64, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::Full { path: path.parent().unwrap_or(path).to_owned(), needed }
        }
        _ => failed(what, path, error),
    }
}
