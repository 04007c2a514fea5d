//! Reading a whole vault and checking all of it, independently of its indexes.

mod checked;
mod copies;
mod event;
mod forks;
mod index;
mod order;
mod seen;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toka_types::EventId;

use super::copied::{Copied, SECTOR, is_early, later};
use super::disk::{Disk, DiskFile, RealDisk};
use super::frame::{HeaderError, Place, Rewritten, SEGMENT_HEADER, SegmentHeader, VaultId};
use super::manifest::{Manifest, is_flipped_format};
use super::nodes::{self, nodes_path};
use super::open::{lock_path, segment_numbers};
use super::segment::{Frame, Tail, failed, first_nonzero, frames, next_frame, segment_path};
use super::state::{Log, segment_header};
use crate::core::LogId;
use crate::fork::Base;
use crate::hash::{LogTree, TreeHash};
#[cfg(feature = "seal")]
use crate::seal::SealingError;
use crate::store::StoreError;
use crate::verify::{Problem, VerifiedLog, VerifyReport, What};
use checked::{CheckedGroup, Fork, Group, Item};
use event::Lists;
use index::Comparison;
use order::{InOrder, in_order};
use seen::{ByFingerprint, FingerprintSet, Fingerprints};

/// Problems listed at most: damage that shifts everything would otherwise fill the memory.
const MAX_PROBLEMS: usize = 1000;

pub(crate) fn verify(path: &Path) -> Result<VerifyReport, StoreError> {
    verify_on(&(Arc::new(RealDisk) as Arc<dyn Disk>), path)
}

pub(crate) fn verify_on(disk: &Arc<dyn Disk>, path: &Path) -> Result<VerifyReport, StoreError> {
    let mut check = Check::new(disk, path);
    check.live = disk.lock_holder(&lock_path(path)).is_some();
    let numbers = segment_numbers(&**disk, path)?;
    match Manifest::read(&**disk, path) {
        Ok(Some(manifest)) => check.manifest = Some(manifest),
        Ok(None) if numbers.is_empty() => return Err(StoreError::NotFound { path: path.to_owned() }),
        Ok(None) => {
            check.problem(What::Manifest, Some((&Manifest::path(path), 0)), "the manifest is missing")
        }
        Err(StoreError::Damage { file, offset, detail, .. }) => {
            check.problem(What::Manifest, Some((&file, offset)), detail);
        }
        Err(StoreError::Format { .. }) if is_flipped_format(&**disk, path) => {
            let detail = "the number of its format is not the one that its checksum covers";
            check.problem(What::Manifest, Some((&Manifest::path(path), 0)), detail);
        }
        Err(error) => return Err(error),
    }
    check.copied = check.manifest.as_ref().and_then(|manifest| Copied::of(&**disk, path, manifest));
    let fingerprints = check.fingerprints;
    in_order(&|job: Job| job.done(&fingerprints), |order| check.segments(&numbers, order))?;
    check.check_claims(&numbers)?;
    check.manifest_logs();
    check.nodes();
    #[cfg(feature = "seal")]
    check.keys()?;
    Ok(check.report())
}

struct Check<'a> {
    disk: &'a Arc<dyn Disk>,
    path: &'a Path,
    manifest: Option<Manifest>,
    /// True if somebody is writing: then the last frame may be half there.
    live: bool,
    /// What the vault may lack, if it is a copy; true once it lacks something that the manifest names.
    copied: Option<Copied>,
    lacking: bool,
    vault: Option<VaultId>,
    logs: Vec<Log>,
    /// Each log's roots at the sizes that the manifest names, found on the way.
    roots: HashMap<String, (u64, String)>,
    fingerprints: Fingerprints,
    /// The events of each log's own, with their numbers.
    seen: Vec<ByFingerprint<u64>>,
    /// What forks say of their bases.
    claims: Vec<forks::Claim>,
    contents: FingerprintSet,
    events: u64,
    problems: Vec<Problem>,
    /// True from the first gap on: what follows cannot be linked to what came before.
    broken: bool,
    /// True in a segment from which content may be gone.
    may_have_gaps: bool,
    /// The index of the segment in hand, to be compared with its events.
    index: Option<Comparison>,
}

/// Work that does not depend on what comes before it.
enum Job {
    Events(Group),
    Index(PathBuf, Box<Comparison>),
}

/// What came of a [`Job`].
enum Done {
    Events(CheckedGroup),
    /// What is wrong with the index at this path.
    Index(PathBuf, Result<(), String>),
}

impl Job {
    fn done(self, fingerprints: &Fingerprints) -> Done {
        match self {
            Self::Events(group) => Done::Events(group.check(fingerprints)),
            Self::Index(path, index) => Done::Index(path, index.compare()),
        }
    }
}

/// A segment with a readable header.
struct Opened {
    number: u64,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    header: SegmentHeader,
    crc: u32,
}

impl<'a> Check<'a> {
    fn new(disk: &'a Arc<dyn Disk>, path: &'a Path) -> Self {
        Self {
            disk,
            path,
            manifest: None,
            live: false,
            copied: None,
            lacking: false,
            vault: None,
            logs: Vec::new(),
            roots: HashMap::new(),
            fingerprints: Fingerprints::new(),
            seen: Vec::new(),
            claims: Vec::new(),
            contents: FingerprintSet::default(),
            events: 0,
            problems: Vec::new(),
            broken: false,
            may_have_gaps: false,
            index: None,
        }
    }

    fn report(self) -> VerifyReport {
        let main = self.logs.iter().find(|log| log.id == LogId::main()).or(self.logs.first());
        let root = main.map_or_else(|| LogTree::new().root(), |log| log.tree.root());
        let ok = self.problems.iter().all(|problem| problem.what.is_harmless());
        let logs = self.logs.iter().map(|log| VerifiedLog {
            log: log.id.clone(),
            base: log.base.map(|(base, size)| Base { log: self.logs[usize::from(base)].id.clone(), size }),
            events: log.tree.size(),
            root: log.tree.root(),
        });
        VerifyReport { ok, events: self.events, root, logs: logs.collect(), problems: self.problems }
    }

    fn problem(&mut self, what: What, at: Option<(&Path, u64)>, detail: impl Into<String>) {
        self.event_problem(what, at, None, detail);
    }

    fn event_problem(
        &mut self,
        what: What,
        at: Option<(&Path, u64)>,
        event: Option<(LogId, u64, Option<EventId>)>,
        detail: impl Into<String>,
    ) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let (log, seq, event) = event.map_or((None, None, None), |(log, seq, id)| (Some(log), Some(seq), id));
        let file = at.map(|(file, _)| file.to_owned());
        let offset = at.map(|(_, offset)| offset);
        self.problems.push(Problem { what, log, seq, event, file, offset, detail: detail.into() });
    }

    fn segments(&mut self, numbers: &[u64], order: &mut Order<'_>) -> Result<(), StoreError> {
        self.vault = self.manifest.as_ref().and_then(Manifest::vault_id);
        let head = self.manifest.as_ref().and_then(|manifest| manifest.head);
        let found = numbers.last().copied().unwrap_or(0);
        let mut last = found.max(head.map_or(0, |head| head.segment));
        if let Some(head) = head.filter(|_| last > found && self.precedes(&self.path.join("journal"))) {
            last = found;
            self.lacks(&segment_path(self.path, found + 1), 0, head);
        }
        let mut previous: Option<(Opened, Tail)> = None;
        for number in 1..=last {
            let Some(opened) =
                self.open(number, number == last, head.is_some_and(|h| h.segment >= number))?
            else {
                if let Some((before, tail)) = previous.take() {
                    self.end(&before, &tail, number == last)?;
                    self.end_index(&before, &tail, order);
                }
                self.broken |= number != last;
                continue;
            };
            let start = (opened.header.len(), opened.crc);
            if let Some((before, tail)) = previous.take() {
                self.link(&before, &tail, &opened)?;
                self.end_index(&before, &tail, order);
            }
            let tail = self.segment(&opened, start, order)?;
            previous = Some((opened, tail));
        }
        if let Some((last, tail)) = previous {
            self.end(&last, &tail, true)?;
            self.end_index(&last, &tail, order);
            while let Some(done) = order.take() {
                self.consume(&last.path, done, &mut Vec::new());
            }
        }
        Ok(())
    }

    fn open(&mut self, number: u64, last: bool, acknowledged: bool) -> Result<Option<Opened>, StoreError> {
        let path = segment_path(self.path, number);
        let file: Arc<dyn DiskFile> = match self.disk.open(&path, false) {
            Ok(file) => Arc::from(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.problem(What::Segment, Some((&path, 0)), "the segment is missing");
                return Ok(None);
            }
            Err(error) => return Err(failed("open", &path, &error)),
        };
        let (header, crc) = match segment_header(&*file, &path)? {
            Ok(decoded) => decoded,
            Err(error @ HeaderError::Format(_)) => return Err(error.in_file(&path)),
            Err(HeaderError::Bad(detail)) => {
                let place = Place { vault: self.vault.unwrap_or_default(), segment: number };
                let frame = next_frame(&*file, &place, 0).map_err(|error| failed("read", &path, &error))?;
                let early = |at: u64| is_early(&*file, 0, at.max(SECTOR)).unwrap_or(false);
                let none = frame.is_none_or(|at| self.copied.is_some() && early(at));
                let unfinished = last && (!acknowledged || self.precedes(&path)) && none;
                self.lacking |= unfinished && acknowledged;
                let what = if unfinished { What::Torn } else { What::Segment };
                if !(unfinished && self.live) {
                    self.problem(what, Some((&path, 0)), detail);
                }
                return Ok(None);
            }
        };
        let vault = *self.vault.get_or_insert(header.vault);
        if header.vault != vault || header.number != number {
            self.problem(
                What::Segment,
                Some((&path, 16)),
                "the segment belongs to another vault or another place",
            );
            return Ok(None);
        }
        Ok(Some(Opened { number, path, file, header, crc }))
    }

    /// Checks that `next` goes on where `before` ended, and what lies behind that place.
    fn link(&mut self, before: &Opened, tail: &Tail, next: &Opened) -> Result<(), StoreError> {
        if let Some(own) = &before.header.rewritten {
            if (own.first_end, own.first_crc) != (next.header.previous_end, next.header.previous_crc) {
                let detail = "the next segment follows another segment than the one that was rewritten";
                self.problem(What::Segment, Some((&before.path, SEGMENT_HEADER as u64)), detail);
            }
            return self.rewritten(before, tail, own);
        }
        if tail.end < next.header.previous_end {
            let detail = tail.bad.clone().unwrap_or_else(|| "no frame stands here".into());
            self.frame_problem(&before.path, tail.end, detail);
            self.broken = true;
        } else if tail.end == next.header.previous_end && tail.crc != next.header.previous_crc {
            self.frame_problem(&before.path, tail.end, "the next segment follows another frame".into());
        } else if !next.header.after_failure {
            self.rest(before, next.header.previous_end)?;
        }
        Ok(())
    }

    /// A rewritten segment ends where its own header says, and the file with it.
    fn rewritten(&mut self, segment: &Opened, tail: &Tail, own: &Rewritten) -> Result<(), StoreError> {
        let len = segment.file.len().map_err(|error| failed("read", &segment.path, &error))?;
        if tail.end < own.end {
            let detail = tail.bad.clone().unwrap_or_else(|| "no frame stands here".into());
            self.frame_problem(&segment.path, tail.end, detail);
            self.broken = true;
        } else if tail.crc != own.crc {
            let detail = "the last frame is not the one that the header names";
            self.frame_problem(&segment.path, tail.end, detail.into());
        } else if len != own.end {
            let detail = "bytes after the last frame of a rewritten segment";
            self.problem(What::Frame, Some((&segment.path, own.end)), detail);
        }
        Ok(())
    }

    /// Checks the end of the journal.
    fn end(&mut self, last: &Opened, tail: &Tail, is_last: bool) -> Result<(), StoreError> {
        let head = self.manifest.as_ref().and_then(|m| m.head).filter(|head| head.segment == last.number);
        if let Some(own) = &last.header.rewritten {
            let first = (own.first_end, own.first_crc);
            if let Some(head) = head.filter(|head| head.offset >= first.0 && (head.offset, head.crc) != first)
            {
                let detail = format!("the manifest says that the segment ended at byte {}", head.offset);
                self.problem(What::Segment, Some((&last.path, SEGMENT_HEADER as u64)), detail);
            }
            return self.rewritten(last, tail, own);
        }
        if let Some(head) = head {
            if tail.end < head.offset
                && self.precedes(&last.path)
                && self.is_early(last, tail, head.offset)?
            {
                self.lacks(&last.path, tail.end, head);
            } else if tail.end < head.offset {
                let detail =
                    tail.bad.clone().unwrap_or_else(|| "the segment ends before its acknowledged end".into());
                self.frame_problem(&last.path, tail.end, detail);
                return Ok(());
            }
            if tail.end == head.offset && tail.crc != head.crc {
                self.frame_problem(
                    &last.path,
                    tail.end,
                    "the last frame is not the one that the manifest names".into(),
                );
            }
        }
        let Some(at) = first_nonzero(&*last.file, tail.end).map_err(|e| failed("read", &last.path, &e))?
        else {
            return Ok(());
        };
        let place = Place { vault: last.header.vault, segment: last.number };
        let detail = tail.bad.clone().unwrap_or_else(|| "bytes after the last frame".into());
        let next = next_frame(&*last.file, &place, tail.end).map_err(|e| failed("read", &last.path, &e))?;
        match next {
            Some(next) if is_last && self.copied.is_some() && self.is_early(last, tail, next)? => {
                self.problem(What::Torn, Some((&last.path, at)), later(next));
            }
            Some(next) => {
                self.frame_problem(&last.path, tail.end, format!("{detail}; a good frame follows at {next}"))
            }
            None if self.live && is_last => {}
            None => self.problem(What::Torn, Some((&last.path, at)), detail),
        }
        Ok(())
    }

    /// What lies behind the end of a segment that another one follows must be zeros.
    fn rest(&mut self, segment: &Opened, end: u64) -> Result<(), StoreError> {
        let found =
            first_nonzero(&*segment.file, end).map_err(|error| failed("read", &segment.path, &error))?;
        if let Some(at) = found {
            self.problem(
                What::Frame,
                Some((&segment.path, at)),
                "bytes after the last frame of a sealed segment",
            );
        }
        Ok(())
    }

    fn frame_problem(&mut self, path: &Path, offset: u64, detail: String) {
        let event = match &self.logs[..] {
            [log] if !self.broken => Some((log.id.clone(), log.tree.size(), None)),
            // Before the first good frame no log is known; the first event lies here whatever it is called.
            [] if !self.broken => Some((LogId::main(), 0, None)),
            _ => None,
        };
        self.event_problem(What::Frame, Some((path, offset)), event, detail);
    }

    fn segment(
        &mut self,
        opened: &Opened,
        start: (u64, u32),
        order: &mut Order<'_>,
    ) -> Result<Tail, StoreError> {
        self.may_have_gaps = opened.header.may_have_gaps();
        self.begin_index(opened);
        let mut group = Group::default();
        let mut spare = Vec::new();
        let tail = self.frames_of(opened, start, |check, frame| {
            group.add(&frame);
            if group.is_full() {
                let next = spare.pop().unwrap_or_default();
                order.give(Job::Events(std::mem::replace(&mut group, next)));
            }
            while let Some(done) = order.surplus() {
                check.consume(&opened.path, done, &mut spare);
            }
        })?;
        if !group.is_empty() {
            order.give(Job::Events(group));
        }
        while let Some(done) = order.take() {
            self.consume(&opened.path, done, &mut spare);
        }
        Ok(tail)
    }

    fn consume(&mut self, segment: &Path, done: Done, spare: &mut Vec<Group>) {
        match done {
            Done::Events(mut checked) => {
                let part = std::mem::take(&mut checked.index);
                if let Some(index) = &mut self.index {
                    index.add(part);
                }
                let mut lists =
                    Lists { causes: &checked.causes, named: &checked.named, contents: &checked.contents };
                for item in &checked.entries {
                    match item {
                        Item::Log { frame, number, name, fork } => {
                            self.log(segment, *frame, (*number, name), fork.as_ref())
                        }
                        Item::Event(event) => self.event(segment, &checked.group, event, &mut lists),
                        Item::Malformed(offset, detail) => {
                            self.frame_problem(segment, *offset, detail.clone());
                        }
                    }
                }
                spare.push(checked.group.reset());
            }
            Done::Index(_, Ok(())) => {}
            Done::Index(path, Err(detail)) => self.problem(What::Projection, Some((&path, 0)), detail),
        }
    }

    /// Goes through the good frames of a segment.
    fn frames_of(
        &mut self,
        opened: &Opened,
        start: (u64, u32),
        mut visit: impl FnMut(&mut Self, Frame<'_>),
    ) -> Result<Tail, StoreError> {
        let place = Place { vault: opened.header.vault, segment: opened.number };
        frames(&*opened.file, &opened.path, &place, start, self.limit(opened)?, |frame| {
            visit(self, frame);
            Ok(())
        })
    }

    /// Where the frames of a segment end at the latest.
    fn limit(&self, opened: &Opened) -> Result<u64, StoreError> {
        let len = opened.file.len().map_err(|error| failed("read", &opened.path, &error))?;
        let next = segment_path(self.path, opened.number + 1);
        let end = match &opened.header.rewritten {
            Some(own) => Some(own.end),
            None => self.next_header(&next).map(|next| next.previous_end),
        };
        Ok(end.map_or(len, |end| end.min(len)))
    }

    fn next_header(&self, path: &Path) -> Option<SegmentHeader> {
        let file = self.disk.open(path, false).ok()?;
        segment_header(&*file, path).ok()?.ok().map(|(header, _)| header)
    }

    fn log(&mut self, path: &Path, offset: u64, (number, name): (u16, &str), fork: Option<&Fork>) {
        let id = LogId::new(name).ok().filter(|_| usize::from(number) == self.logs.len());
        let base = fork.map(|fork| (fork.base, fork.size));
        let there = base.is_none_or(|(base, size)| {
            let base = self.logs.get(usize::from(base));
            size > 0 && base.is_some_and(|base| size <= base.tree.size())
        });
        match (id, fork) {
            (Some(id), None) => self.logs.push(Log::new(id, number)),
            (Some(id), Some(fork)) if there => {
                let log = Log::forked(id, number, (fork.base, fork.size), fork.tree.clone(), &self.logs);
                self.logs.push(log);
                self.seen.push(ByFingerprint::default());
                return self.claim(usize::from(number), fork, path, offset);
            }
            (Some(id), Some(fork)) => {
                let detail =
                    format!("it shares {} events with log {}, which has not as many", fork.size, fork.base);
                let event = (!self.broken).then_some((id, fork.size, None));
                return self.event_problem(What::Frame, Some((path, offset)), event, detail);
            }
            (None, _) => {
                let detail = format!("log '{name}' cannot have number {number} here");
                return self.frame_problem(path, offset, detail);
            }
        }
        self.seen.push(ByFingerprint::default());
    }

    fn manifest_logs(&mut self) {
        if self.broken {
            return;
        }
        let Some(manifest) = self.manifest.clone() else { return };
        let path = Manifest::path(self.path);
        for named in &manifest.logs {
            let events = self.logs.iter().find(|log| log.id.as_str() == named.name);
            if self.lacking && events.map_or(0, |log| log.tree.size()) < named.events {
                continue;
            }
            let found = self.roots.get(&named.name);
            if named.events > 0 && found.is_none_or(|(_, root)| *root != named.root) {
                let have =
                    found.map_or_else(|| "fewer events".to_owned(), |(_, root)| format!("the root {root}"));
                let detail = format!(
                    "the manifest says that log '{}' had {} events and the root {}, it has {have}",
                    named.name, named.events, named.root
                );
                self.problem(What::Root, Some((&path, 0)), detail);
            }
        }
    }

    /// Looks at the keys of a sealed vault. A copy without them is whole: it takes no key to check it.
    #[cfg(feature = "seal")]
    fn keys(&mut self) -> Result<(), StoreError> {
        let Some(wanted) = self.manifest.as_ref().and_then(|manifest| manifest.keys) else { return Ok(()) };
        let path = crate::seal::keys_path(self.path);
        match crate::seal::KeysInfo::read(self.path) {
            Ok(Some(info)) if info.id != wanted => {
                let detail = format!("these are the keys {}, the manifest names {wanted}", info.id);
                self.problem(What::Keys, Some((&path, 0)), detail);
            }
            Ok(_) => {}
            Err(error @ SealingError::Format { .. }) => return Err(error.into()),
            Err(error) => self.problem(What::Keys, Some((&path, 0)), error.to_string()),
        }
        Ok(())
    }

    /// Compares the saved nodes of the log trees with those of the logs, if these are whole.
    fn nodes(&mut self) {
        if self.broken || self.problems.iter().any(|problem| !problem.what.is_harmless()) {
            return;
        }
        for number in 0..self.logs.len() {
            let path = nodes_path(self.path, number as u16);
            if self.disk.open(&path, false).is_err() {
                continue;
            }
            let expected = self.tiles(number as u16);
            // A live writer may have added some since the log was read.
            let detail = match nodes::load(&**self.disk, &path, self.vault.unwrap_or_default()) {
                Ok(found) if found.len() > expected.len() && !self.live => {
                    "it has more hashes than the log's tree".into()
                }
                Ok(found) if found.iter().zip(&expected).all(|(found, expected)| found == expected) => {
                    continue;
                }
                Ok(_) => "its hashes are not those of the log's tree".into(),
                Err(_) if self.live => continue,
                Err(detail) => detail,
            };
            self.problem(What::Projection, Some((&path, 0)), detail);
        }
    }

    /// The roots of all complete tiles of a log; those of what a fork shares are its base's.
    fn tiles(&self, number: u16) -> Vec<TreeHash> {
        let Some(log) = self.logs.get(usize::from(number)) else { return Vec::new() };
        let first = log.captured.first as usize;
        // A base has a smaller number than its fork.
        let mut tiles =
            log.base.filter(|(base, _)| *base < number).map_or_else(Vec::new, |(base, _)| self.tiles(base));
        tiles.truncate(first);
        tiles.extend(&log.captured.roots);
        tiles
    }
}

/// The work of checking, in the order of the journal.
type Order<'a> = InOrder<'a, Job, Done>;
