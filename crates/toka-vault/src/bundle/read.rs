//! Reading a bundle from its first byte to its last, and checking all of it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use toka_types::{Digest, EventHeader, EventId, Gone, Timestamp};

use super::write::failed;
use super::{
    CHECKSUM, CONTENT_HEAD, DISCLOSED_ENTRY, Description, FIXED, FORMAT, GONE_ENTRY, MAGIC, MAX_ANCHOR,
    MAX_CONSISTENCY, MAX_DESCRIPTION, MAX_HEADER, MAX_NOTE, SEALED_FORMAT, reason_of,
};
use crate::checkpoint::{Checkpoint, CheckpointError, default_parts};
use crate::core::LogId;
use crate::hash::{LogTree, TreeHash, leaf_hash};
use crate::note::Note;
use crate::proof::ConsistencyProof;
use crate::seal::{self, PayloadKey};
use crate::store::StoreError;
use crate::verify::{Problem, What};

/// Problems listed at most.
const MAX_PROBLEMS: usize = 1000;

/// What is in a bundle, and what is wrong with it.
#[derive(Debug)]
pub struct Checked {
    /// What it says of itself, if that can be read.
    pub description: Option<Description>,
    /// How many events could be read.
    pub events: u64,
    /// The root to which they lead.
    pub root: TreeHash,
    /// The note in it, of which the text was compared with the events; who signed it is for the caller to ask.
    pub checkpoint: Option<Note>,
    /// Everything that is wrong, in the order of the file.
    pub problems: Vec<Problem>,
    pub(super) index: Index,
}

/// Where things lie in the file.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) anchor: LogTree,
    /// Offset and length of each header.
    pub(super) headers: Vec<(u64, u32)>,
    pub(super) ids: HashMap<EventId, u64>,
    pub(super) children: HashMap<EventId, Vec<u64>>,
    /// Offset and length of each content.
    pub(super) contents: HashMap<Digest, (u64, u32)>,
    /// The keys of contents that everybody can read.
    pub(super) disclosed: HashMap<Digest, PayloadKey>,
    pub(super) gone: HashMap<Digest, Gone>,
    pub(super) last_at: Option<Timestamp>,
    pub(super) tree: LogTree,
}

/// Reads the bundle in the file `path` and checks every byte of it: the digest over all of it, ids, numbers, times and
/// causes, every content's digest and size, the log tree from its frontier on, and that it leads to the checkpoint.
///
/// # Errors
/// [`StoreError::NotFound`], [`StoreError::BundleFormat`] if it has the format of another version, [`StoreError::Io`]. What
/// is wrong with its bytes is in the report.
pub fn check(path: &Path) -> Result<Checked, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::NotFound { path: path.to_owned() });
        }
        Err(error) => return Err(failed("open", path, &error)),
    };
    let len = file.metadata().map_err(|error| failed("read", path, &error))?.len();
    let input = Input {
        file: BufReader::with_capacity(1 << 20, file),
        hasher: blake3::Hasher::new(),
        at: 0,
        end: len.saturating_sub(CHECKSUM as u64),
    };
    let mut check = Check {
        path,
        input,
        log: LogId::main(),
        first: None,
        sizes: HashMap::new(),
        disclosed: VecDeque::new(),
        checked: Checked {
            description: None,
            events: 0,
            root: LogTree::new().root(),
            checkpoint: None,
            problems: Vec::new(),
            index: Index::default(),
        },
    };
    match check.all() {
        Ok(()) | Err(Halt::Told) => {}
        Err(Halt::Failed(error)) => return Err(error),
    }
    // A digest that is right says that the file is as it was written; that it is well formed has been seen.
    let whole = check.input.checksum().map_err(|error| failed("read", path, &error))?;
    if !whole {
        check.problem(None, "the digest over the file does not match");
    }
    Ok(check.checked)
}

/// Why a check does not go on.
enum Halt {
    /// What follows cannot be read; the problem has been noted.
    Told,
    Failed(StoreError),
}

struct Check<'a> {
    path: &'a Path,
    input: Input,
    log: LogId,
    /// The leaf of the log's first event, if that is here.
    first: Option<TreeHash>,
    /// The contents that events name, with their sizes.
    sizes: HashMap<Digest, u32>,
    /// The keys of contents that are still to come, in their order.
    disclosed: VecDeque<(Digest, PayloadKey)>,
    checked: Checked,
}

impl Check<'_> {
    fn problem(&mut self, event: Option<(u64, Option<EventId>)>, detail: impl Into<String>) {
        let what = if event.is_some() { What::Event } else { What::Bundle };
        self.problem_at(what, self.input.at, event, detail);
    }

    fn problem_at(
        &mut self,
        what: What,
        offset: u64,
        event: Option<(u64, Option<EventId>)>,
        detail: impl Into<String>,
    ) {
        if self.checked.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let log = event.map(|_| self.log.clone());
        let (seq, event) = event.map_or((None, None), |(seq, id)| (Some(seq), id));
        let (file, offset) = (Some(self.path.to_owned()), Some(offset));
        self.checked.problems.push(Problem { what, log, seq, event, file, offset, detail: detail.into() });
    }

    fn stop<T>(&mut self, detail: impl Into<String>) -> Result<T, Halt> {
        self.problem(None, detail);
        Err(Halt::Told)
    }

    fn take(&mut self, len: u64) -> Result<Vec<u8>, Halt> {
        match self.input.take(len) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => self.stop(format!("{len} bytes are expected, the file ends before")),
            Err(error) => Err(Halt::Failed(failed("read", self.path, &error))),
        }
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Halt> {
        let mut array = [0; N];
        array.copy_from_slice(&self.take(N as u64)?);
        Ok(array)
    }

    /// The length of the next section.
    fn length(&mut self, what: &str, most: u64) -> Result<u64, Halt> {
        let length = u64::from_le_bytes(self.number()?);
        if length > most.min(self.input.left()) {
            return self.stop(format!("{what} cannot have {length} bytes here"));
        }
        Ok(length)
    }

    fn hashes(&mut self, what: &str, most: u64) -> Result<Vec<TreeHash>, Halt> {
        let length = self.length(what, most)?;
        let bytes = self.take(length)?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() {
            return self.stop(format!("{what} is no list of hashes"));
        }
        Ok(hashes.iter().map(|hash| TreeHash(*hash)).collect())
    }

    fn all(&mut self) -> Result<(), Halt> {
        let fixed: [u8; FIXED] = self.number()?;
        if &fixed[..8] != MAGIC {
            return self.stop("it is no bundle");
        }
        let format = u32::from_le_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]);
        let known = matches!(format, FORMAT | SEALED_FORMAT);
        if !known || fixed[12..] != [0; 4] {
            // A format of the future has its digest in the same place, or is none that is known.
            let whole =
                self.input.checksum().map_err(|error| Halt::Failed(failed("read", self.path, &error)))?;
            if whole && !known {
                return Err(Halt::Failed(StoreError::BundleFormat { found: format, known: SEALED_FORMAT }));
            }
            return self.stop(format!("it claims the format {format}"));
        }
        let length = self.length("the description", MAX_DESCRIPTION)?;
        let text = self.take(length)?;
        let description: Description = match serde_json::from_slice(&text) {
            Ok(description) => description,
            Err(error) => return self.stop(format!("the description cannot be read: {error}")),
        };
        if serde_json::to_vec(&description).ok().as_ref() != Some(&text) {
            return self.stop("the description is not written as it has to be");
        }
        match LogId::new(&description.log) {
            Ok(log) => self.log = log,
            Err(error) => return self.stop(error.to_string()),
        }
        if description.from >= description.end {
            return self.stop(format!("events {} to {} are none", description.from, description.end));
        }
        if description.keys.is_some() != (format == SEALED_FORMAT) {
            return self.stop("its format is not the one of what it says of keys");
        }
        self.checked.description = Some(description.clone());
        let anchor = self.hashes("the frontier", MAX_ANCHOR)?;
        let Some(anchor) = LogTree::from_frontier(description.from, anchor) else {
            return self.stop(format!("the frontier is not one of {} events", description.from));
        };
        self.checked.index.tree = anchor.clone();
        self.checked.index.anchor = anchor;
        self.headers(&description)?;
        if description.keys.is_some() {
            self.disclosed()?;
        }
        self.contents(&description)?;
        self.gone(&description)?;
        for (digest, _) in std::mem::take(&mut self.sizes) {
            let index = &self.checked.index;
            if !index.contents.contains_key(&digest) && !index.gone.contains_key(&digest) {
                let at = self.input.at;
                self.problem_at(
                    What::Content,
                    at,
                    None,
                    format!("content {digest} is not in the bundle, and no reason is given"),
                );
            }
        }
        self.checkpoint(&description)?;
        match self.input.left() {
            0 => Ok(()),
            left => self.stop(format!("{left} bytes follow the last section")),
        }
    }

    fn headers(&mut self, description: &Description) -> Result<(), Halt> {
        let end = self.length("the headers", u64::MAX)? + self.input.at;
        for seq in description.from..description.end {
            if self.input.at >= end {
                return self.stop(format!("the headers end before event {seq}"));
            }
            let length = u32::from_le_bytes(self.number()?);
            if length > MAX_HEADER || self.input.at + u64::from(length) > end {
                return self.stop(format!("the header of event {seq} cannot have {length} bytes"));
            }
            let offset = self.input.at;
            let bytes = self.take(length.into())?;
            self.checked.index.headers.push((offset, length));
            self.header(seq, offset, &bytes);
        }
        if self.input.at != end {
            return self.stop("bytes follow the last header");
        }
        let root = self.checked.index.tree.root();
        self.checked.root = root;
        if root.to_string() != description.root {
            let detail = format!("the events lead to the root {root}, the bundle says {}", description.root);
            self.problem_at(What::Root, end, None, detail);
        }
        Ok(())
    }

    fn header(&mut self, seq: u64, offset: u64, bytes: &[u8]) {
        self.checked.events += 1;
        let leaf = leaf_hash(bytes);
        self.checked.index.tree.append(leaf);
        if seq == 0 {
            self.first = Some(leaf);
        }
        let header = match EventHeader::decode(bytes) {
            Ok(header) => header,
            Err(error) => return self.problem_at(What::Event, offset, Some((seq, None)), error.to_string()),
        };
        let event = Some((seq, Some(header.id)));
        if header.seq != seq {
            let detail = format!("event {} stands where event {seq} belongs", header.seq);
            self.problem_at(What::Event, offset, event, detail);
        }
        if self.checked.index.last_at.is_some_and(|last| header.at < last) {
            self.problem_at(What::Event, offset, event, "its time lies before its predecessor's");
        }
        let computed = header.causal_digest();
        if computed != header.id {
            self.problem_at(What::Event, offset, event, format!("its causal digest is {computed}"));
        }
        let whole_log = self.checked.description.as_ref().is_some_and(|description| description.from == 0);
        let mut seen = HashSet::new();
        for cause in header.parents.iter().chain(&header.prev) {
            // What lies before the bundle cannot be looked at.
            if whole_log && !self.checked.index.ids.contains_key(cause) {
                let detail = format!("it names {cause}, which is not before it in the log");
                self.problem_at(What::Cause, offset, event, detail);
            }
        }
        for parent in header.parents.iter().filter(|parent| seen.insert(**parent)) {
            self.checked.index.children.entry(*parent).or_default().push(seq);
        }
        for content in &header.content {
            let known = *self.sizes.entry(content.digest).or_insert(content.size);
            if known != content.size {
                let detail =
                    format!("content {} has {known} bytes elsewhere, {} here", content.digest, content.size);
                self.problem_at(What::Content, offset, event, detail);
            }
        }
        let index = &mut self.checked.index;
        if index.ids.insert(header.id, seq).is_some() {
            self.problem_at(What::Event, offset, event, "the same event stands before it");
        }
        self.checked.index.last_at = Some(header.at);
    }

    fn disclosed(&mut self) -> Result<(), Halt> {
        let length = self.length("the list of keys", u64::MAX)?;
        if length % DISCLOSED_ENTRY != 0 {
            return self.stop(format!("{length} bytes are no list of keys"));
        }
        for _ in 0..length / DISCLOSED_ENTRY {
            let digest = Digest(self.number()?);
            let key = PayloadKey::from_bytes(self.number()?);
            self.disclosed.push_back((digest, key));
        }
        Ok(())
    }

    /// What is wrong with a content of a sealed log, or with the key that is told of it.
    fn sealed(&mut self, digest: Digest, bytes: &[u8]) -> Option<String> {
        if seal::key_of(bytes).is_none() {
            return Some(format!("content {digest} is not sealed"));
        }
        let (_, key) = self.disclosed.pop_front_if(|(next, _)| *next == digest)?;
        if key.open(bytes).is_none() {
            return Some(format!("the key of content {digest} does not open it"));
        }
        self.checked.index.disclosed.insert(digest, key);
        None
    }

    fn contents(&mut self, description: &Description) -> Result<(), Halt> {
        let end = self.length("the contents", u64::MAX)? + self.input.at;
        for _ in 0..description.contents {
            if end - self.input.at < CONTENT_HEAD {
                return self.stop(format!("there are fewer than {} contents", description.contents));
            }
            let offset = self.input.at;
            let digest = Digest(self.number()?);
            let length = u32::from_le_bytes(self.number()?);
            if length as usize > toka_types::record::MAX_CONTENT_BYTES
                || self.input.at + u64::from(length) > end
            {
                return self.stop(format!("a content cannot have {length} bytes here"));
            }
            let at = self.input.at;
            let bytes = self.take(length.into())?;
            let detail = match self.sizes.get(&digest) {
                _ if Digest::of(&bytes) != digest => format!("content {digest} does not match its digest"),
                None => format!("content {digest} is that of no event"),
                Some(size) if *size != length => {
                    format!("content {digest} has {length} bytes, its events say {size}")
                }
                Some(_) if self.checked.index.contents.insert(digest, (at, length)).is_some() => {
                    format!("content {digest} is there twice")
                }
                Some(_) if description.keys.is_some() => match self.sealed(digest, &bytes) {
                    Some(detail) => detail,
                    None => continue,
                },
                Some(_) => continue,
            };
            self.problem_at(What::Content, offset, None, detail);
        }
        if let Some((digest, _)) = self.disclosed.front() {
            let detail = format!("there is a key of content {digest}, and no such content where it belongs");
            self.problem_at(What::Content, self.input.at, None, detail);
        }
        match self.input.at == end {
            true => Ok(()),
            false => self.stop("bytes follow the last content"),
        }
    }

    fn gone(&mut self, description: &Description) -> Result<(), Halt> {
        let length = self.length("the list of what is gone", u64::MAX)?;
        if description.gone.checked_mul(GONE_ENTRY) != Some(length) {
            return self
                .stop(format!("a list of {length} bytes is not one of {} contents", description.gone));
        }
        for _ in 0..description.gone {
            let offset = self.input.at;
            let digest = Digest(self.number()?);
            let [byte] = self.number()?;
            let detail = match reason_of(byte) {
                None => format!("no reason {byte} is known"),
                Some(_) if !self.sizes.contains_key(&digest) => {
                    format!("content {digest} is that of no event")
                }
                Some(_) if self.checked.index.contents.contains_key(&digest) => {
                    format!("content {digest} is said to be gone, and is there")
                }
                Some(reason) if self.checked.index.gone.insert(digest, reason).is_some() => {
                    format!("content {digest} is listed twice")
                }
                Some(_) => continue,
            };
            self.problem_at(What::Content, offset, None, detail);
        }
        Ok(())
    }

    fn checkpoint(&mut self, description: &Description) -> Result<(), Halt> {
        let hashes = self.hashes("the consistency proof", MAX_CONSISTENCY)?;
        let length = self.length("the checkpoint", MAX_NOTE)?;
        let at = self.input.at;
        let bytes = self.take(length)?;
        if bytes.is_empty() {
            return match hashes.is_empty() {
                true => Ok(()),
                false => self.stop("a consistency proof stands there without a checkpoint"),
            };
        }
        let read = Note::parse(&bytes).map_err(Into::into).and_then(|note| {
            let checkpoint = Checkpoint::parse(note.text())?;
            let proof = ConsistencyProof { old: description.end, size: checkpoint.size, hashes };
            proof.verify(&self.checked.root, &checkpoint.root)?;
            // An origin that nobody chose follows from the log.
            let other = default_parts(&checkpoint.origin).is_some_and(|(digits, log)| {
                log != description.log || self.first.is_some_and(|leaf| !leaf.to_string().starts_with(digits))
            });
            if other {
                let (expected, found) = (description.log.clone(), checkpoint.origin);
                return Err(CheckpointError::Origin { expected, found });
            }
            Ok(note)
        });
        match read {
            Ok(note) => self.checked.checkpoint = Some(note),
            Err(error) => {
                let error: CheckpointError = error;
                let detail = format!("the events do not lead to the checkpoint: {error}");
                self.problem_at(What::Checkpoint, at, None, detail);
            }
        }
        Ok(())
    }
}

/// The file, hashed as it is read.
struct Input {
    file: BufReader<File>,
    hasher: blake3::Hasher,
    at: u64,
    /// Where the digest stands.
    end: u64,
}

impl Input {
    fn left(&self) -> u64 {
        self.end - self.at
    }

    /// The next `len` bytes; `None` if the file ends before.
    fn take(&mut self, len: u64) -> io::Result<Option<Vec<u8>>> {
        if len > self.left() {
            return Ok(None);
        }
        let mut bytes = vec![0; len as usize];
        match self.file.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        self.hasher.update(&bytes);
        self.at += len;
        Ok(Some(bytes))
    }

    /// True if the digest at the end is that of all before it, read or not yet.
    fn checksum(&mut self) -> io::Result<bool> {
        while self.left() > 0 {
            let len = self.left().min(1 << 20);
            if self.take(len)?.is_none() {
                return Ok(false);
            }
        }
        let mut rest = Vec::new();
        self.file.by_ref().take(CHECKSUM as u64 + 1).read_to_end(&mut rest)?;
        Ok(rest == self.hasher.finalize().as_bytes())
    }
}
