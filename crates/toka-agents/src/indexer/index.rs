//! What the log says about each path, and when it was last looked at.
//!
//! All but the times can be had from the log again. A copy is kept so that not the whole log is read at each start:
//! it may be missing, behind, damaged or of another log, and is then completed or made anew.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use toka_types::operation::Cause;
use toka_types::{Digest, EntityId, Event, EventId, Labels, path};

use super::content::{
    FAMILY, FILE_INDEXED, FILE_MOVED, FILE_REMOVED, FILE_SKIPPED, FileIndexed, FileMoved, FileRemoved,
    FileSkipped,
};
use super::skip::SkipReason;
use crate::context::{AgentContext, AgentError};

/// Where the copy lies in the agent's own storage.
pub const SAVED_KEY: &str = "indexer/files";

/// The form of the copy. A copy in another form is made anew.
const SAVED_VERSION: u32 = 1;

/// Events asked for at once. Chunks are among them, so this is about two megabytes.
const PAGE: usize = 1_024;

/// What tells a file that was not touched since. Equal values mean that the content need not be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stat {
    pub(super) len: u64,
    pub(super) mtime_ns: i64,
    pub(super) ctime_ns: i64,
    pub(super) dev: u64,
    pub(super) ino: u64,
}

/// What lies under a path, as far as the log knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Known {
    /// A text with this digest.
    Indexed(Digest),
    /// Something that was left out; `None`: for a reason that this build does not know.
    Skipped(Option<Reason>),
    /// Nothing any more.
    Removed,
}

/// A reason by its place in [`SkipReason::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reason(u8);

impl From<SkipReason> for Reason {
    fn from(reason: SkipReason) -> Self {
        let place = SkipReason::ALL.iter().position(|r| *r == reason);
        Reason(place.map_or(u8::MAX, |place| place as u8))
    }
}

/// What is known about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// The path's last event.
    pub(super) last: Cause,
    pub(super) known: Known,
    /// How it looked when it was last read, if that can be told from a later change.
    pub(super) stat: Option<Stat>,
}

/// All paths that the log of one agent names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    author: EntityId,
    files: BTreeMap<Vec<u8>, File>,
    /// The last event taken in, with its position.
    seen: Option<(u64, EventId)>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    author: EntityId,
    seen: Option<(u64, EventId)>,
    files: Vec<SavedFile>,
}

#[derive(Serialize, Deserialize)]
struct SavedFile(ByteBuf, EventId, Labels, Known, Option<Stat>);

impl Index {
    pub(super) fn new(author: EntityId) -> Self {
        Self { author, files: BTreeMap::new(), seen: None }
    }

    /// What the log says now, with the help of a saved copy.
    pub(super) async fn recall(ctx: &AgentContext, saved: Option<&[u8]>) -> Result<Self, AgentError> {
        let mut index = match saved.map(|bytes| Self::decode(ctx.id(), bytes)) {
            Some(Ok(index)) if index.is_of_this_log(ctx).await? => index,
            Some(Ok(_)) => {
                tracing::warn!("the saved index is of another log; it is made anew from this one");
                Self::new(ctx.id())
            }
            Some(Err(reason)) => {
                tracing::warn!(reason, "the saved index cannot be used; it is made anew from the log");
                Self::new(ctx.id())
            }
            None => Self::new(ctx.id()),
        };
        let mut from = index.seen.map_or(0, |(seq, _)| seq + 1);
        loop {
            let events = ctx.history(from, PAGE, FAMILY).await?;
            let Some(last) = events.last() else { return Ok(index) };
            from = last.seq() + 1;
            for event in &events {
                index.apply(event);
            }
        }
    }

    async fn is_of_this_log(&self, ctx: &AgentContext) -> Result<bool, AgentError> {
        let Some((seq, id)) = self.seen else { return Ok(true) };
        let there = ctx.history(seq, 1, FAMILY).await?;
        Ok(there.first().is_some_and(|event| event.seq() == seq && event.id() == id))
    }

    /// Takes in one event of the log. Those of other authors do not count.
    pub(super) fn apply(&mut self, event: &Event) {
        if event.header.author != self.author {
            return;
        }
        self.seen = Some((event.seq(), event.id()));
        // What was erased is known no more: what lies under its path now is found again. What a rule let go was told of
        // the path before its last event, which stays.
        let Some(content) = event.payload() else { return };
        let cause = Cause { id: event.id(), labels: event.header.labels.clone() };
        let understood = match event.header.kind.as_str() {
            FILE_INDEXED => rmp_serde::from_slice::<FileIndexed<'_>>(content)
                .ok()
                .and_then(|file| self.set(&file.path, cause, Known::Indexed(file.digest.parse().ok()?))),
            FILE_MOVED => rmp_serde::from_slice::<FileMoved<'_>>(content).ok().and_then(|file| {
                self.set(&file.from, cause.clone(), Known::Removed)?;
                self.set(&file.to, cause, Known::Indexed(file.digest.parse().ok()?))
            }),
            FILE_REMOVED => rmp_serde::from_slice::<FileRemoved<'_>>(content)
                .ok()
                .and_then(|file| self.set(&file.path, cause, Known::Removed)),
            FILE_SKIPPED => rmp_serde::from_slice::<FileSkipped<'_>>(content).ok().and_then(|file| {
                let reason = SkipReason::from_name(&file.reason).map(Reason::from);
                self.set(&file.path, cause, Known::Skipped(reason))
            }),
            _ => Some(()),
        };
        if understood.is_none() {
            tracing::warn!(event = %event.id().short(), kind = %event.header.kind, "an event of the indexer is not understood");
        }
    }

    fn set(&mut self, text: &str, last: Cause, known: Known) -> Option<()> {
        self.files.insert(path::decode(text)?, File { last, known, stat: None });
        Some(())
    }

    /// What is known about a path.
    pub(super) fn get(&self, path: &[u8]) -> Option<&File> {
        self.files.get(path)
    }

    /// The digest of the text under a path, if there is one.
    pub(super) fn digest(&self, path: &[u8]) -> Option<Digest> {
        match self.files.get(path)?.known {
            Known::Indexed(digest) => Some(digest),
            Known::Skipped(_) | Known::Removed => None,
        }
    }

    /// Notes how a known path looked when it was last read.
    pub(super) fn remember(&mut self, path: &[u8], stat: Option<Stat>) {
        if let Some(file) = self.files.get_mut(path) {
            file.stat = stat;
        }
    }

    /// All texts, in the order of their paths.
    pub(super) fn indexed(&self) -> impl Iterator<Item = (&Vec<u8>, Digest)> {
        self.files.iter().filter_map(as_indexed)
    }

    /// The texts below a folder, in the order of their paths.
    pub(super) fn indexed_below(&self, folder: &[u8]) -> impl Iterator<Item = (&Vec<u8>, Digest)> {
        let mut inside = folder.to_vec();
        inside.push(b'/');
        let from = (Bound::Included(inside.clone()), Bound::Unbounded);
        self.files
            .range::<Vec<u8>, _>(from)
            .take_while(move |(path, _)| path.starts_with(&inside))
            .filter_map(as_indexed)
    }

    /// The copy to save: a checksum, then the content.
    pub(super) fn encode(&self) -> Result<Vec<u8>, AgentError> {
        let files = self.files.iter().map(|(path, file)| {
            SavedFile(
                ByteBuf::from(path.clone()),
                file.last.id,
                file.last.labels.clone(),
                file.known,
                file.stat,
            )
        });
        let saved =
            Saved { version: SAVED_VERSION, author: self.author, seen: self.seen, files: files.collect() };
        let mut bytes = vec![0; Digest::default().0.len()];
        rmp_serde::encode::write(&mut bytes, &saved).map_err(|e| AgentError::Invalid(e.to_string()))?;
        let (checksum, content) = bytes.split_at_mut(Digest::default().0.len());
        checksum.copy_from_slice(&Digest::of(content).0);
        Ok(bytes)
    }

    fn decode(author: EntityId, bytes: &[u8]) -> Result<Self, &'static str> {
        let saved = parse(bytes)?;
        if saved.author != author {
            return Err("it is of another agent");
        }
        let files = saved.files.into_iter().map(|SavedFile(path, id, labels, known, stat)| {
            (path.into_vec(), File { last: Cause { id, labels }, known, stat })
        });
        Ok(Self { author, files: files.collect(), seen: saved.seen })
    }
}

/// At most `count` of the texts that a saved copy knows, spread over all of them.
pub(super) fn sample(saved: &[u8], count: usize) -> Vec<(Vec<u8>, Digest)> {
    let files = parse(saved).map(|saved| saved.files).unwrap_or_default();
    let mut texts: Vec<(Vec<u8>, Digest)> = Vec::with_capacity(files.len());
    texts.extend(files.into_iter().filter_map(|SavedFile(path, _, _, known, _)| match known {
        Known::Indexed(digest) => Some((path.into_vec(), digest)),
        Known::Skipped(_) | Known::Removed => None,
    }));
    let step = texts.len().div_ceil(count.max(1)).max(1);
    texts.into_iter().step_by(step).collect()
}

fn parse(bytes: &[u8]) -> Result<Saved, &'static str> {
    let (checksum, content) = bytes.split_at_checked(Digest::default().0.len()).ok_or("it is too short")?;
    if checksum != Digest::of(content).0 {
        return Err("its checksum is wrong");
    }
    let saved: Saved = rmp_serde::from_slice(content).map_err(|_| "it is of another version")?;
    if saved.version == SAVED_VERSION { Ok(saved) } else { Err("it is of another version") }
}

fn as_indexed<'a>((path, file): (&'a Vec<u8>, &File)) -> Option<(&'a Vec<u8>, Digest)> {
    match file.known {
        Known::Indexed(digest) => Some((path, digest)),
        Known::Skipped(_) | Known::Removed => None,
    }
}
