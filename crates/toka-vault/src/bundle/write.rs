//! Writing a bundle.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use toka_types::{Digest, EventHeader, Gone, Seal};

use super::{
    CONTENT_HEAD, DISCLOSED_ENTRY, Description, FORMAT, GONE_ENTRY, MAGIC, SEALED_FORMAT, reason_byte,
};
use crate::checkpoint::Checkpoint;
use crate::core::LogId;
use crate::hash::{LogTree, TreeHash, leaf_hash};
use crate::note::Note;
use crate::proof::{self, ProofError};
use crate::seal::{Keyring, Locked, PayloadKey};
use crate::store::{Store, StoreError};

/// Headers read at once.
const HEADERS: usize = 4096;
/// What was recorded may be anybody's secret: the file is its owner's alone, until they hand it on.
const MODE: u32 = 0o600;

/// Which events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Range {
    /// The first one's number.
    pub from: u64,
    /// The number after that of the last one; the log's end without it.
    pub end: Option<u64>,
}

/// What becomes of an event's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It is in the bundle, unless another event redacts the same content.
    Keep,
    /// It is not, unless another event keeps the same content.
    Leave,
    /// It is not, whoever else names it.
    Redact,
}

/// What becomes of the content of a sealed log. What its keys say was erased is left out.
#[derive(Clone, Copy)]
pub enum Sealed<'a> {
    /// It stays sealed, and the vault's keys open it.
    Kept(&'a Locked),
    /// Everybody can read what is in the bundle, and nothing else of the vault: the key of each content is there.
    Disclosed(&'a Keyring),
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// What the bundle says of itself.
    pub description: Description,
    /// How many events.
    pub events: u64,
    /// How many contents of a sealed log everybody can read.
    pub disclosed: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// What a bundle will hold, found by one look at all headers.
struct Plan {
    headers: u64,
    /// Contents in the order in which they are first named.
    contents: Vec<Digest>,
    content_bytes: u64,
    disclosed: Vec<(Digest, PayloadKey)>,
    gone: Vec<(Digest, Gone)>,
}

/// Writes the events of `range` to the new file `path`, with the content that `choose` keeps. `checkpoint` is of the log
/// at the range's end or later, or none. `sealed` says what becomes of the content of a sealed log, which else stays as it is
/// stored. A file that is there is replaced once the new one is whole and durable.
///
/// # Errors
/// [`ProofError::Sizes`] if the checkpoint or the log ends before the range does, [`ProofError::Index`] if the range is
/// empty, [`ProofError::Root`] if the checkpoint is not of this log, [`ProofError::Store`].
pub fn export(
    store: &(impl Store + ?Sized),
    log: &LogId,
    range: Range,
    choose: impl FnMut(&EventHeader) -> Choice,
    sealed: Option<Sealed<'_>>,
    checkpoint: Option<&Note>,
    path: &Path,
) -> Result<Exported, ProofError> {
    let head = store.head(log)?;
    let end = range.end.unwrap_or(head.next_seq);
    if end > head.next_seq {
        return Err(ProofError::Short { log: log.clone(), size: end, found: head.next_seq });
    }
    if range.from >= end {
        return Err(ProofError::Index { index: range.from, size: end });
    }
    let root = proof::root_at(store, log, end)?;
    let consistency = match checkpoint {
        Some(note) => leads_to(store, log, end, note)?,
        None => Vec::new(),
    };
    let anchor = anchor(store, log, range.from)?;
    let keys = store.sealed()?;
    let plan = plan(store, log, range.from..end, choose, sealed.filter(|_| keys.is_some()))?;
    let description = Description {
        log: log.to_string(),
        from: range.from,
        end,
        root: root.to_string(),
        contents: plan.contents.len() as u64,
        gone: plan.gone.len() as u64,
        dimension: store.dimension()?,
        keys,
    };
    let draft = draft(path);
    let written = write(store, log, &draft, &description, &anchor, &plan, &consistency, checkpoint);
    let bytes = match written.and_then(|bytes| install(&draft, path).map(|()| bytes)) {
        Ok(bytes) => bytes,
        Err(error) => {
            // What is half written is of no use; that it cannot be removed is not worse than the error.
            let _ = std::fs::remove_file(&draft);
            return Err(error.into());
        }
    };
    let disclosed = plan.disclosed.len() as u64;
    Ok(Exported { description, events: end - range.from, disclosed, bytes })
}

/// The proof that the checkpoint's log goes on from the range's end.
fn leads_to(
    store: &(impl Store + ?Sized),
    log: &LogId,
    end: u64,
    note: &Note,
) -> Result<Vec<TreeHash>, ProofError> {
    let parsed = Checkpoint::parse(note.text());
    let Ok(checkpoint) = parsed else { return Err(ProofError::Sizes { old: end, size: 0 }) };
    let found = proof::root_at(store, log, checkpoint.size)?;
    if found != checkpoint.root {
        return Err(ProofError::Root { expected: checkpoint.root, found });
    }
    Ok(proof::consistency(store, log, end, checkpoint.size)?.hashes)
}

/// The frontier of the tree of the first `from` events.
fn anchor(store: &(impl Store + ?Sized), log: &LogId, from: u64) -> Result<Vec<TreeHash>, ProofError> {
    let mut hashes = Vec::new();
    let mut at = 0;
    for level in (0..u64::BITS).rev().filter(|level| from >> level & 1 == 1) {
        let missing = || ProofError::Short { log: log.clone(), size: from, found: at };
        hashes.push(store.subtree(log, level, at >> level)?.ok_or_else(missing)?);
        at += 1 << level;
    }
    Ok(hashes)
}

fn plan(
    store: &(impl Store + ?Sized),
    log: &LogId,
    range: std::ops::Range<u64>,
    mut choose: impl FnMut(&EventHeader) -> Choice,
    sealed: Option<Sealed<'_>>,
) -> Result<Plan, StoreError> {
    let mut order: Vec<(Digest, u32)> = Vec::new();
    let mut choices: HashMap<Digest, Choice> = HashMap::new();
    let mut headers = 0;
    each_header(store, log, range.start, range.end, |header, bytes| {
        headers += 4 + bytes.len() as u64;
        let choice = choose(header);
        for content in &header.content {
            let known = choices.entry(content.digest).or_insert_with(|| {
                order.push((content.digest, content.size));
                Choice::Leave
            });
            *known = match (*known, choice) {
                (Choice::Redact, _) | (_, Choice::Redact) => Choice::Redact,
                (Choice::Keep, _) | (_, Choice::Keep) => Choice::Keep,
                _ => Choice::Leave,
            };
        }
        Ok(())
    })?;
    let mut plan =
        Plan { headers, contents: Vec::new(), content_bytes: 0, disclosed: Vec::new(), gone: Vec::new() };
    for (digest, size) in order {
        let (gone, key) = match store.gone(&digest)? {
            Some(reason) => (Some(reason), None),
            None => told(store, &digest, sealed)?,
        };
        // What is gone already is gone for a better reason than that somebody leaves it out.
        match gone {
            Some(reason) => plan.gone.push((digest, reason)),
            None if choices.get(&digest) == Some(&Choice::Keep) => {
                plan.contents.push(digest);
                plan.content_bytes += CONTENT_HEAD + u64::from(size);
                plan.disclosed.extend(key.map(|key| (digest, key)));
            }
            None => plan.gone.push((digest, Gone::Redacted)),
        }
    }
    Ok(plan)
}

/// What the keys of a sealed vault tell of a content: that it was erased, or its own key.
fn told(
    store: &(impl Store + ?Sized),
    digest: &Digest,
    sealed: Option<Sealed<'_>>,
) -> Result<(Option<Gone>, Option<PayloadKey>), StoreError> {
    let Some(sealed) = sealed else { return Ok((None, None)) };
    let Some(stored) = store.content(digest)? else { return Ok((None, None)) };
    let opened = match sealed {
        Sealed::Kept(keys) => keys.open(&stored).map(|_| None),
        Sealed::Disclosed(keys) => keys.disclose(&stored).map(Some),
    };
    Ok(match opened {
        Ok(key) => (None, key),
        Err(Gone::Erased) => (Some(Gone::Erased), None),
        // Its ciphertext stays: other keys than these may open it.
        Err(_) => (None, None),
    })
}

fn each_header(
    store: &(impl Store + ?Sized),
    log: &LogId,
    from: u64,
    end: u64,
    mut show: impl FnMut(&EventHeader, &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut next = from;
    let mut bytes = Vec::new();
    while next < end {
        let count = usize::try_from(end - next).unwrap_or(HEADERS).min(HEADERS);
        let headers = store.headers(log, next, count)?;
        for header in &headers {
            bytes.clear();
            header.encode(&mut bytes);
            show(header, &bytes)?;
        }
        match headers.last() {
            Some(last) => next = last.seq + 1,
            None => return Err(damaged(log, next, "the event is not there")),
        }
    }
    Ok(())
}

fn damaged(log: &LogId, seq: u64, detail: &str) -> StoreError {
    StoreError::Damage {
        file: PathBuf::from(log.as_str()),
        offset: 0,
        seq: Some(seq),
        detail: detail.to_owned(),
    }
}

#[expect(clippy::too_many_arguments, reason = "the sections of the file, each once")]
fn write(
    store: &(impl Store + ?Sized),
    log: &LogId,
    draft: &Path,
    description: &Description,
    anchor: &[TreeHash],
    plan: &Plan,
    consistency: &[TreeHash],
    checkpoint: Option<&Note>,
) -> Result<u64, StoreError> {
    let failed = |error: io::Error| failed("write", draft, &error);
    let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(draft).map_err(failed)?;
    let mut out = Out { file: BufWriter::new(file), hasher: blake3::Hasher::new(), bytes: 0 };
    let format = description.keys.map_or(FORMAT, |_| SEALED_FORMAT);
    out.put(MAGIC)
        .and_then(|()| out.put(&format.to_le_bytes()))
        .and_then(|()| out.put(&[0; 4]))
        .map_err(failed)?;
    let text = serde_json::to_vec(description).map_err(|error| failed(error.into()))?;
    out.section(&text).map_err(failed)?;
    let hashes = |hashes: &[TreeHash]| hashes.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>();
    out.section(&hashes(anchor)).map_err(failed)?;

    out.put(&plan.headers.to_le_bytes()).map_err(failed)?;
    let mut tree = LogTree::from_frontier(description.from, anchor.to_vec()).unwrap_or_default();
    each_header(store, log, description.from, description.end, |_, bytes| {
        tree.append(leaf_hash(bytes));
        out.put(&(bytes.len() as u32).to_le_bytes()).and_then(|()| out.put(bytes)).map_err(failed)
    })?;
    // Nothing leaves this program that the other side would have to refuse.
    if tree.root().to_string() != description.root {
        return Err(damaged(log, description.from, "the headers do not lead to the log's root"));
    }

    if description.keys.is_some() {
        out.put(&(plan.disclosed.len() as u64 * DISCLOSED_ENTRY).to_le_bytes()).map_err(failed)?;
        for (digest, key) in &plan.disclosed {
            out.put(&digest.0).and_then(|()| out.put(&key.to_bytes())).map_err(failed)?;
        }
    }
    out.put(&plan.content_bytes.to_le_bytes()).map_err(failed)?;
    for digest in &plan.contents {
        let payload = store.content(digest)?;
        let payload = payload.ok_or_else(|| damaged(log, 0, &format!("content {digest} is not there")))?;
        let size = payload.content_ref().size;
        out.put(&digest.0)
            .and_then(|()| out.put(&size.to_le_bytes()))
            .and_then(|()| out.put(payload.bytes()))
            .map_err(failed)?;
    }
    let mut gone = Vec::with_capacity(plan.gone.len() * GONE_ENTRY as usize);
    for (digest, reason) in &plan.gone {
        gone.extend_from_slice(&digest.0);
        gone.push(reason_byte(*reason));
    }
    out.section(&gone).map_err(failed)?;
    out.section(&hashes(consistency)).map_err(failed)?;
    let note = checkpoint.map(Note::to_string).unwrap_or_default();
    out.section(note.as_bytes()).map_err(failed)?;
    out.end().map_err(failed)
}

/// The file, hashed as it is written.
struct Out {
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Out {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    fn section(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put(&(bytes.len() as u64).to_le_bytes())?;
        self.put(bytes)
    }

    fn end(mut self) -> io::Result<u64> {
        let checksum = *self.hasher.finalize().as_bytes();
        self.file.write_all(&checksum)?;
        self.file.into_inner()?.sync_all()?;
        Ok(self.bytes + checksum.len() as u64)
    }
}

/// Where the file is written before it takes its place.
fn draft(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

fn install(draft: &Path, path: &Path) -> Result<(), StoreError> {
    std::fs::rename(draft, path).map_err(|error| failed("write", path, &error))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| failed("sync", parent, &error))
}

pub(super) fn failed(what: &'static str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::Io { what, path: path.to_owned(), detail: error.to_string() }
}
