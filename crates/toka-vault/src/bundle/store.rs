//! A bundle as a store that nobody can write to.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toka_types::{Digest, EventHeader, EventId, Gone, KeyId, Payload, Seal, Timestamp};

use super::Description;
use super::read::{Index, check};
use super::write::failed;
use crate::core::{LogId, Record};
use crate::fork::Base;
use crate::hash::{LogTree, TreeHash, leaf_hash, node_hash};
use crate::note::Note;
use crate::proof::leaves_of;
use crate::seal::{self, Disclosed, PayloadKey};
use crate::store::{Head, Part, Room, Statistics, Store, StoreError};
use crate::verify::Problem;

/// The events of a bundle, which was checked from its first byte to its last when it was opened.
///
/// Events before its first one are not there: reads begin with it, and what can be proved is what follows from the
/// frontier of the tree before it.
pub struct Bundle {
    path: PathBuf,
    file: File,
    log: LogId,
    description: Description,
    checkpoint: Option<Note>,
    index: Index,
    disclosed: Arc<HashMap<Digest, PayloadKey>>,
    bytes: u64,
}

impl Bundle {
    /// Opens the bundle in the file `path`.
    ///
    /// # Errors
    /// [`StoreError::Damage`] with the first thing that is wrong with it; [`check`] lists all. Also the errors of that.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).ok();
        let checked = check(path)?;
        if let Some(Problem { offset, seq, detail, .. }) = checked.problems.into_iter().next() {
            return Err(StoreError::Damage {
                file: path.to_owned(),
                offset: offset.unwrap_or(0),
                seq,
                detail,
            });
        }
        let lost = || StoreError::NotFound { path: path.to_owned() };
        let (file, description) = (file.ok_or_else(lost)?, checked.description.ok_or_else(lost)?);
        let bytes = file.metadata().map_err(|error| failed("read", path, &error))?.len();
        let (checkpoint, mut index) = (checked.checkpoint, checked.index);
        let disclosed = Arc::new(std::mem::take(&mut index.disclosed));
        let log = LogId::new(&description.log)?;
        Ok(Self { path: path.to_owned(), file, log, description, checkpoint, index, disclosed, bytes })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Its log.
    pub fn log(&self) -> &LogId {
        &self.log
    }

    /// The note in it: its events lead to the checkpoint that it holds, who signed it has not been asked.
    pub fn checkpoint(&self) -> Option<&Note> {
        self.checkpoint.as_ref()
    }

    /// Digests of contents that are not in it.
    pub fn gone_contents(&self) -> usize {
        self.index.gone.len()
    }

    /// Contents of a sealed log that only the vault's keys open: those that were not disclosed.
    pub fn sealed_contents(&self) -> usize {
        self.description.keys.map_or(0, |_| self.index.contents.len() - self.disclosed.len())
    }

    /// The keys under which the contents of a sealed log are sealed: for each content those of its subject.
    ///
    /// # Errors
    /// If the file cannot be read any more.
    pub fn subject_keys(&self) -> Result<Vec<KeyId>, StoreError> {
        let heads = self.description.keys.iter().flat_map(|_| self.index.contents.values());
        let keys = heads.map(|&(offset, len)| {
            let head = self.bytes_at(offset, len.min(seal::OVERHEAD as u32))?;
            seal::key_of(&head).ok_or_else(|| self.damage(offset, 0, "the content is not sealed"))
        });
        keys.collect()
    }

    /// True if some of the content of a sealed log was disclosed.
    pub fn is_disclosed(&self) -> bool {
        !self.disclosed.is_empty()
    }

    /// What opens what was disclosed; `rest` opens the rest, or says why it is gone.
    pub fn opened_by(&self, rest: Arc<dyn Seal>) -> Disclosed {
        Disclosed::new(Arc::clone(&self.disclosed), rest)
    }

    fn bytes_at(&self, offset: u64, len: u32) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; len as usize];
        self.file.read_exact_at(&mut bytes, offset).map_err(|error| failed("read", &self.path, &error))?;
        Ok(bytes)
    }

    /// The bytes of the header of event `seq`, which is there.
    fn header_bytes(&self, seq: u64) -> Result<(u64, Vec<u8>), StoreError> {
        let (offset, len) = self.index.headers[(seq - self.description.from) as usize];
        Ok((offset, self.bytes_at(offset, len)?))
    }

    fn header(&self, seq: u64) -> Result<EventHeader, StoreError> {
        let (offset, bytes) = self.header_bytes(seq)?;
        // The file was right when it was opened.
        EventHeader::decode(&bytes).map_err(|error| self.damage(offset, seq, &error.to_string()))
    }

    fn damage(&self, offset: u64, seq: u64, detail: &str) -> StoreError {
        StoreError::Damage { file: self.path.clone(), offset, seq: Some(seq), detail: detail.to_owned() }
    }

    /// The numbers of at most `limit` events from `from` on.
    fn numbers(&self, log: &LogId, from: u64, limit: usize) -> std::ops::Range<u64> {
        if *log != self.log {
            return 0..0;
        }
        let first = from.max(self.description.from).min(self.description.end);
        first..self.description.end.min(first.saturating_add(limit as u64))
    }

    fn root_over(&self, level: u32, number: u64) -> Result<Option<TreeHash>, StoreError> {
        let from = self.description.from;
        let Some((first, end)) = leaves_of(level, number) else { return Ok(None) };
        if end > self.description.end {
            return Ok(None);
        }
        if first >= from {
            let mut tree = LogTree::new();
            for seq in first..end {
                tree.append(leaf_hash(&self.header_bytes(seq)?.1));
            }
            return Ok(Some(tree.root()));
        }
        if end <= from {
            // Of what lies before the bundle the frontier is known, and nothing within its subtrees.
            let mut at = 0;
            let levels = (0..u64::BITS).rev().filter(|level| from >> level & 1 == 1);
            for (found, hash) in levels.zip(self.index.anchor.frontier()) {
                if (found, at) == (level, first) {
                    return Ok(Some(*hash));
                }
                at += 1 << found;
            }
            return Ok(None);
        }
        let halves = (self.root_over(level - 1, 2 * number)?, self.root_over(level - 1, 2 * number + 1)?);
        Ok(halves.0.zip(halves.1).map(|(left, right)| node_hash(&left, &right)))
    }
}

impl Store for Bundle {
    fn logs(&self) -> Result<Vec<LogId>, StoreError> {
        Ok(vec![self.log.clone()])
    }

    fn append_parts(&self, _: &[Part<'_>], _: Room) -> Result<(), StoreError> {
        Err(StoreError::ReadOnly { path: self.path.clone() })
    }

    /// A bundle has all events of its stretch itself, a fork's shared ones too.
    fn base(&self, _: &LogId) -> Result<Option<Base>, StoreError> {
        Ok(None)
    }

    fn head(&self, log: &LogId) -> Result<Head, StoreError> {
        if *log != self.log {
            return Ok(Head::empty());
        }
        let end = self.description.end;
        Ok(Head {
            next_seq: end,
            last: Some(self.header(end - 1)?.id),
            last_at: self.index.last_at.unwrap_or(Timestamp::EPOCH),
            root: self.index.tree.root(),
        })
    }

    fn read(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Arc<Record>>, StoreError> {
        let record = |seq| {
            let header = self.header(seq)?;
            let contents = header.content.iter().map(|content| self.content(&content.digest));
            let content = contents.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
            Ok(Arc::new(Record { header, content }))
        };
        self.numbers(log, from, limit).map(record).collect()
    }

    fn headers(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<EventHeader>, StoreError> {
        self.numbers(log, from, limit).map(|seq| self.header(seq)).collect()
    }

    fn find(&self, id: &EventId) -> Result<Option<(LogId, u64)>, StoreError> {
        Ok(self.index.ids.get(id).map(|seq| (self.log.clone(), *seq)))
    }

    fn position(&self, log: &LogId, id: &EventId) -> Result<Option<u64>, StoreError> {
        Ok(self.find(id)?.filter(|(found, _)| found == log).map(|(_, seq)| seq))
    }

    fn find_prefix(&self, hex: &str, limit: usize) -> Result<Vec<(EventId, LogId, u64)>, StoreError> {
        let hits = self.index.ids.iter().filter(|(id, _)| id.to_string().starts_with(hex)).take(limit);
        Ok(hits.map(|(id, seq)| (*id, self.log.clone(), *seq)).collect())
    }

    fn content(&self, digest: &Digest) -> Result<Option<Payload>, StoreError> {
        let Some(&(offset, len)) = self.index.contents.get(digest) else { return Ok(None) };
        let payload = Payload::new(self.bytes_at(offset, len)?);
        match payload.digest() == *digest {
            true => Ok(Some(payload)),
            false => Err(self.damage(offset, 0, "the file was changed since it was opened")),
        }
    }

    fn gone(&self, digest: &Digest) -> Result<Option<Gone>, StoreError> {
        Ok(self.index.gone.get(digest).copied())
    }

    fn sealed(&self) -> Result<Option<KeyId>, StoreError> {
        Ok(self.description.keys)
    }

    fn children_after(
        &self,
        id: &EventId,
        after: Option<&(LogId, u64)>,
        limit: usize,
    ) -> Result<Vec<(LogId, u64)>, StoreError> {
        let children = self.index.children.get(id).map_or(&[][..], Vec::as_slice);
        let first = match after {
            None => 0,
            Some((log, seq)) if *log == self.log => children.partition_point(|child| child <= seq),
            Some(_) => children.len(),
        };
        Ok(children[first..].iter().take(limit).map(|seq| (self.log.clone(), *seq)).collect())
    }

    fn subtree(&self, log: &LogId, level: u32, number: u64) -> Result<Option<TreeHash>, StoreError> {
        if *log != self.log { Ok(None) } else { self.root_over(level, number) }
    }

    fn dimension(&self) -> Result<Option<u32>, StoreError> {
        Ok(self.description.dimension)
    }

    fn fix_dimension(&self, _: u32) -> Result<(), StoreError> {
        Err(StoreError::ReadOnly { path: self.path.clone() })
    }

    fn statistics(&self) -> Result<Statistics, StoreError> {
        Ok(Statistics { events: self.index.headers.len() as u64, log: self.bytes, ..Statistics::default() })
    }

    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
