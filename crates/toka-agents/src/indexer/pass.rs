//! One pass over some entries of the folder: what changed is read, and becomes events in the order of the paths.
//!
//! Up to [`MAX_READS`] files are read, decoded and cut at once, and up to [`MAX_COMMITS`] batches wait for the log to
//! be durable; what is decided about them is decided in order, one after the other.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use serde::Serialize;
use toka_types::facts::Register;
use toka_types::operation::{Cause, Observation, Parent};
use toka_types::{Digest, Kind, Labels, path};

use super::content::{
    self, FILE_CHUNK, FILE_INDEXED, FILE_MOVED, FILE_REMOVED, FILE_SKIPPED, FileIndexed, FileMoved,
    FileRemoved, FileSkipped,
};
use super::index::{Index, Known, Reason, Stat};
use super::reading::{Fetched, Reading, Request, Text};
use super::report::{IndexReport, Tally};
use super::rules::Subjects;
use super::skip::SkipReason;
use super::walk::{Entry, EntryKind};
use crate::context::{AgentContext, AgentError, Receipt, packed};

/// Files that are read at once: enough to hide the way through the kernel and to keep every core busy.
const MAX_READS: usize = 32;

/// Batches that wait for the log at once. They share the log's syncs, and few files have to be read again after a
/// crash.
const MAX_COMMITS: usize = 64;

/// Bytes of files being read and of batches that wait, together, beside the one file that may be larger than that.
const MAX_BYTES: u64 = 64 << 20;

/// What is the same for every pass of a run.
pub(super) struct Run<'a> {
    pub(super) ctx: &'a AgentContext,
    pub(super) report: &'a Arc<IndexReport>,
    pub(super) subjects: &'a Subjects,
    pub(super) max_file_bytes: u64,
}

impl Run<'_> {
    /// Whether the runtime is about to stop. Asked and not waited for: a host takes an agent that waits for the end for
    /// one with nothing to do.
    fn is_stopping(&self) -> bool {
        pin!(self.ctx.stopped()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }
}

/// Files that the grant refused, and how they looked then: they are asked for again when they look different.
pub(super) type Refused = HashMap<Vec<u8>, Stat>;

/// A pass under way.
pub(super) struct Pass<'a> {
    run: Run<'a>,
    index: &'a mut Index,
    refused: &'a mut Refused,
    /// Files that were changed before this, in nanoseconds since 1970, look different when they are changed again.
    settled_ns: i64,
    gone: Gone,
    entries: std::iter::Peekable<std::vec::IntoIter<Entry>>,
    jobs: VecDeque<Job>,
    commits: VecDeque<Commit>,
    /// Bytes of `jobs` and `commits`.
    bytes: u64,
}

enum Job {
    Read { path: Vec<u8>, text_path: String, stat: Stat, reading: Reading },
    Skip { path: Vec<u8>, reason: SkipReason },
}

/// A batch that is not durable yet.
struct Commit {
    receipt: Receipt,
    tally: Tally,
    bytes: u64,
    /// How the file looked that the batch is about.
    looked: Option<(Vec<u8>, Stat)>,
}

impl<'a> Pass<'a> {
    /// A pass over `entries` in their order, knowing that nothing lies under the `gone` paths any more.
    pub(super) fn new(
        run: Run<'a>,
        index: &'a mut Index,
        refused: &'a mut Refused,
        settled_ns: i64,
        gone: Gone,
        entries: Vec<Entry>,
    ) -> Self {
        let entries = entries.into_iter().peekable();
        let (jobs, commits) = (VecDeque::new(), VecDeque::new());
        Self { run, index, refused, settled_ns, gone, entries, jobs, commits, bytes: 0 }
    }

    /// Does it; all is durable when it returns.
    ///
    /// # Errors
    /// The first thing that could not be recorded, or that the runtime stops. What was recorded before is known to the
    /// index.
    pub(super) async fn complete(mut self) -> Result<(), AgentError> {
        let outcome = self.deal_with_all().await;
        while outcome.is_err() && self.settle_one().await.is_ok_and(|more| more) {}
        outcome
    }

    async fn deal_with_all(&mut self) -> Result<(), AgentError> {
        loop {
            if self.run.is_stopping() {
                return Err(AgentError::Stopped);
            }
            while self.jobs.len() < MAX_READS && self.has_room() {
                let Some(entry) = self.entries.next() else { break };
                self.plan(entry);
            }
            if let Some(job) = self.jobs.pop_front() {
                self.deal(job).await?;
            } else if !self.settle_one().await? && self.entries.peek().is_none() {
                break;
            }
        }
        while let Some((path, digest)) = self.gone.pop_first() {
            let removed = self.removed(&path, digest)?;
            self.record(vec![removed], Tally { removed: 1, ..Tally::default() }, None).await?;
        }
        while self.settle_one().await? {}
        Ok(())
    }

    fn has_room(&mut self) -> bool {
        let next = self.entries.peek().map_or(0, |entry| match entry.kind {
            EntryKind::File { len, .. } => len,
            EntryKind::Skipped(_) => 0,
        });
        self.bytes == 0 || self.bytes + next <= MAX_BYTES
    }

    /// Decides what is to be done about an entry, and begins to read it if it has to be read.
    fn plan(&mut self, entry: Entry) {
        let Entry { path, kind } = entry;
        let (len, mtime_ns, ctime_ns, dev, ino) = match kind {
            EntryKind::File { len, mtime_ns, ctime_ns, dev, ino } => (len, mtime_ns, ctime_ns, dev, ino),
            EntryKind::Skipped(reason) => return self.jobs.push_back(Job::Skip { path, reason }),
        };
        let stat = Stat { len, mtime_ns, ctime_ns, dev, ino };
        let file = self.index.get(&path);
        let mut known = None;
        if let Some(file) = file {
            let looks_the_same = file.stat == Some(stat);
            match file.known {
                Known::Indexed(_) if looks_the_same => {
                    self.run.report.unchanged();
                    return self.run.report.dealt_with_one();
                }
                Known::Indexed(digest) => known = Some(digest),
                Known::Skipped(reason) if looks_the_same && reason == Some(SkipReason::Binary.into()) => {
                    self.run.report.skipped(SkipReason::Binary);
                    return self.run.report.dealt_with_one();
                }
                Known::Skipped(_) | Known::Removed => {}
            }
        }
        if self.refused.get(&path) == Some(&stat) {
            self.run.report.denied();
            return self.run.report.dealt_with_one();
        }
        let text_path = path::encode(&path);
        let max_bytes = self.run.max_file_bytes;
        let request = Request { path: path.clone(), text_path: text_path.clone(), max_bytes, known };
        let reading = Reading::begin(self.run.ctx, self.run.report, request);
        self.bytes += len;
        self.jobs.push_back(Job::Read { path, text_path, stat, reading });
    }

    async fn deal(&mut self, job: Job) -> Result<(), AgentError> {
        match job {
            Job::Skip { path, reason } => self.skip(path, reason, None, None).await?,
            Job::Read { path, text_path, stat, reading } => {
                let fetched = reading.await;
                self.bytes -= stat.len;
                let looked = self.is_settled(&stat).then_some(stat);
                match fetched {
                    Fetched::Same => {
                        self.index.remember(&path, looked);
                        self.run.report.unchanged();
                    }
                    Fetched::Text(text) => self.take_in(path, text_path, *text, looked).await?,
                    Fetched::Skipped(reason, cause) => self.skip(path, reason, cause, looked).await?,
                    Fetched::Gone => {
                        if let Some(Known::Indexed(digest)) = self.index.get(&path).map(|file| file.known) {
                            self.gone.insert(path, digest);
                        }
                    }
                    Fetched::Refused => {
                        self.refused.insert(path, stat);
                        self.run.report.denied();
                    }
                    Fetched::Failed(error) => return Err(error),
                }
            }
        }
        self.run.report.dealt_with_one();
        Ok(())
    }

    /// A time can only be trusted if a later change is sure to give another one.
    fn is_settled(&self, stat: &Stat) -> bool {
        stat.mtime_ns.max(stat.ctime_ns) < self.settled_ns
    }

    /// Records a text that is not what is known under its path.
    async fn take_in(
        &mut self,
        path: Vec<u8>,
        text_path: String,
        text: Text,
        looked: Option<Stat>,
    ) -> Result<(), AgentError> {
        let file = self.index.get(&path);
        let is_new = !matches!(file.map(|file| file.known), Some(Known::Indexed(_)));
        let mut parents: Vec<Parent> =
            file.map(|file| Parent::Event(file.last.clone())).into_iter().collect();
        let labels = self.run.subjects.of(&path);
        // A text that comes to another subject is recorded again, under that one's keys.
        let same_subject = |from: &[u8]| self.run.subjects.of(from) == labels;
        let from = if is_new { self.gone.take(text.digest, same_subject) } else { None };
        let digest = text.digest.to_string();
        let set = Register { key: content::register_key(&path), value: Some(text.digest) };
        if let Some(from) = from {
            parents.splice(0..0, self.last_of(&from));
            parents.push(Parent::Event(text.cause));
            let content = FileMoved {
                from: Cow::Owned(path::encode(&from)),
                to: Cow::Owned(text_path),
                digest: Cow::Owned(digest),
            };
            let clear = Register { key: content::register_key(&from), value: None };
            let moved = observation(FILE_MOVED, &content, vec![clear, set], labels, parents)?;
            let looked = looked.map(|stat| (path, stat));
            return self.record(vec![moved], Tally { moved: 1, ..Tally::default() }, looked).await;
        }
        parents.push(Parent::Event(text.cause));
        let count = u32::try_from(text.chunks.len()).unwrap_or(u32::MAX);
        let content = FileIndexed {
            path: Cow::Owned(text_path),
            digest: Cow::Owned(digest),
            size: text.size,
            media: Cow::Borrowed(text.media),
            encoding: Cow::Borrowed(text.encoding),
            lossy: text.lossy,
            chunks: count,
        };
        let mut batch = Vec::with_capacity(1 + text.chunks.len());
        batch.push(observation(FILE_INDEXED, &content, vec![set], labels.clone(), parents)?);
        let kind = kind(FILE_CHUNK)?;
        batch.extend(text.chunks.into_iter().map(|chunk| Observation {
            kind: kind.clone(),
            content: Some(chunk),
            registers: Vec::new(),
            labels: labels.clone(),
            parents: vec![Parent::Earlier(0)],
        }));
        let tally = Tally {
            files: 1,
            chunks: u64::from(count),
            extracted_bytes: text.extracted_bytes,
            ..Tally::default()
        };
        self.record(batch, tally, looked.map(|stat| (path, stat))).await
    }

    /// Records that a path is left out, unless that is known.
    async fn skip(
        &mut self,
        path: Vec<u8>,
        reason: SkipReason,
        read: Option<Cause>,
        looked: Option<Stat>,
    ) -> Result<(), AgentError> {
        self.run.report.skipped(reason);
        // Only what was read to the end and is no text stays so until it looks different.
        let looked = looked.filter(|_| reason == SkipReason::Binary);
        let known = self.index.get(&path).map(|file| file.known);
        if known == Some(Known::Skipped(Some(Reason::from(reason)))) {
            self.index.remember(&path, looked);
            return Ok(());
        }
        let mut batch = Vec::new();
        let mut tally = Tally::default();
        let mut parents = Vec::new();
        match known {
            Some(Known::Indexed(digest)) => {
                batch.push(self.removed(&path, digest)?);
                tally.removed = 1;
                parents.push(Parent::Earlier(0));
            }
            Some(Known::Skipped(_) | Known::Removed) => parents.extend(self.last_of(&path)),
            None => {}
        }
        parents.extend(read.map(Parent::Event));
        let content =
            FileSkipped { path: Cow::Owned(path::encode(&path)), reason: Cow::Borrowed(reason.as_str()) };
        let value = Some(content::skip_value(reason.as_str()));
        let register = Register { key: content::register_key(&path), value };
        let labels = self.run.subjects.of(&path);
        batch.push(observation(FILE_SKIPPED, &content, vec![register], labels, parents)?);
        self.record(batch, tally, looked.map(|stat| (path, stat))).await
    }

    fn removed(&self, path: &[u8], digest: Digest) -> Result<Observation, AgentError> {
        let content =
            FileRemoved { path: Cow::Owned(path::encode(path)), digest: Cow::Owned(digest.to_string()) };
        let register = Register { key: content::register_key(path), value: None };
        let labels = self.run.subjects.of(path);
        observation(FILE_REMOVED, &content, vec![register], labels, self.last_of(path).into_iter().collect())
    }

    fn last_of(&self, path: &[u8]) -> Option<Parent> {
        self.index.get(path).map(|file| Parent::Event(file.last.clone()))
    }

    /// Hands a batch to the kernel.
    async fn record(
        &mut self,
        batch: Vec<Observation>,
        tally: Tally,
        looked: Option<(Vec<u8>, Stat)>,
    ) -> Result<(), AgentError> {
        while self.commits.len() >= MAX_COMMITS {
            self.settle_one().await?;
        }
        let bytes = batch.iter().filter_map(|o| o.content.as_ref()).map(|c| c.bytes().len() as u64).sum();
        let receipt = self.run.ctx.observe(batch).await?;
        self.bytes += bytes;
        self.commits.push_back(Commit { receipt, tally, bytes, looked });
        Ok(())
    }

    /// Waits until the oldest batch is durable and takes it into the index; false if there is none.
    async fn settle_one(&mut self) -> Result<bool, AgentError> {
        let Some(commit) = self.commits.pop_front() else { return Ok(false) };
        let committed = commit.receipt.committed().await;
        if committed.is_err() {
            // What comes after an answer that failed is not taken in, so that the index never runs ahead of it.
            self.commits.clear();
        }
        let events = committed?;
        self.bytes -= commit.bytes;
        for event in &events {
            self.index.apply(event);
        }
        if let Some((path, stat)) = commit.looked {
            self.index.remember(&path, Some(stat));
        }
        self.run.report.recorded(&commit.tally);
        Ok(true)
    }
}

/// Texts under whose paths nothing lies any more. Each may be what is found under another path.
#[derive(Default)]
pub(super) struct Gone {
    paths: BTreeMap<Vec<u8>, Digest>,
    by_digest: HashMap<Digest, BTreeSet<Vec<u8>>>,
}

impl Gone {
    pub(super) fn insert(&mut self, path: Vec<u8>, digest: Digest) {
        self.by_digest.entry(digest).or_default().insert(path.clone());
        self.paths.insert(path, digest);
    }

    pub(super) fn count(&self) -> usize {
        self.paths.len()
    }

    /// The first path that had this content and is `wanted`, which then counts as found again.
    fn take(&mut self, digest: Digest, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let paths = self.by_digest.get_mut(&digest)?;
        let path = paths.iter().find(|path| wanted(path))?.clone();
        paths.remove(&path);
        self.paths.remove(&path);
        Some(path)
    }

    fn pop_first(&mut self) -> Option<(Vec<u8>, Digest)> {
        self.paths.pop_first()
    }
}

fn observation(
    name: &str,
    content: &impl Serialize,
    registers: Vec<Register>,
    labels: Labels,
    parents: Vec<Parent>,
) -> Result<Observation, AgentError> {
    Ok(Observation { kind: kind(name)?, content: Some(packed(content)?), registers, labels, parents })
}

fn kind(name: &str) -> Result<Kind, AgentError> {
    Kind::new(name).map_err(|e| AgentError::Invalid(e.to_string()))
}
