//! Writing: one batch, one transaction.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, PoisonError};

use toka_types::{Digest, Gone};

use super::row::{EventRow, LogRow, Sums, Table, checksum, encode_content, encode_gone, event_key, is_gone};
use super::{State, TableError, TableStore, Write, read};
use crate::core::{LogId, Record};
use crate::fork::Base;
use crate::hash::{DigestState, LogTree, leaf_hash};
use crate::journal::append::Mode;
use crate::journal::manifest::{Manifest, ManifestLog};
use crate::journal::state::Log;
use crate::store::{Part, Room, StoreError, check_parts};

/// Headers hashed at once for the tree of a fork.
const HEADERS: usize = 4096;
/// A database writes a batch more than once: to its log, then to its tables, with the indexes beside it.
const WRITES: u64 = 3;
/// What the indexes take for each event, as rows.
const INDEX_ROWS: u64 = 256;

/// The writer's half of a table store.
pub(crate) struct Writer {
    pub(crate) mode: Mode,
    /// The lock, held as long as the value lives.
    pub(crate) lock: Option<Box<dyn Any + Send + Sync>>,
    pub(crate) manifest: Manifest,
    /// True if the manifest on disk does not say where the logs end.
    pub(crate) dirty: bool,
}

impl Writer {
    pub(crate) fn new(mode: Mode, lock: Option<Box<dyn Any + Send + Sync>>, manifest: Manifest) -> Self {
        Self { mode, lock, manifest, dirty: false }
    }

    fn check_open(&self, path: &Path) -> Result<(), StoreError> {
        match &self.mode {
            Mode::Open => Ok(()),
            Mode::ReadOnly => Err(StoreError::ReadOnly { path: path.to_owned() }),
            Mode::Closed => Err(StoreError::Closed),
            Mode::Poisoned(reason) => Err(StoreError::Poisoned { reason: reason.clone() }),
        }
    }
}

/// A log to which records are added, with its number.
type Grown = (u16, Log);

pub(crate) fn append(
    store: &TableStore,
    parts: &[Part<'_>],
    gone: &HashMap<Digest, Gone>,
    room: Room,
) -> Result<(), StoreError> {
    let mut writer = store.writer();
    writer.check_open(&store.path)?;
    let trees: Vec<_> = parts
        .iter()
        .map(|part| part.base.map_or(Ok(None), |base| tree_at(store, base)))
        .collect::<Result<_, _>>()?;
    let (grown, write) = {
        let state = store.state();
        let next =
            |log: &LogId| Ok(state.number(log).map(|number| state.logs[usize::from(number)].tree.size()));
        let base = |log: &LogId| Ok(state.number(log).and_then(|number| state.base(number)));
        check_parts(parts, state.logs.len(), next, base)?;
        let mut made = state.logs.len() as u16;
        let mut targets: Vec<(Grown, &[Arc<Record>])> = Vec::with_capacity(parts.len());
        for (part, tree) in parts.iter().zip(trees).filter(|(part, _)| !part.records.is_empty()) {
            if let Some(number) = state.number(part.log) {
                targets.push(((number, state.logs[usize::from(number)].clone()), part.records));
                continue;
            }
            let fork = part.base.zip(tree).and_then(|(base, tree)| {
                let number = state.number(&base.log)?;
                Some(Log::forked(part.log.clone(), made, (number, base.size), tree, &state.logs))
            });
            let log = fork.unwrap_or_else(|| Log::new(part.log.clone(), made));
            targets.push(((made, log), part.records));
            made += 1;
        }
        if targets.is_empty() {
            return Ok(());
        }
        build(store, &state, targets, gone)?
    };
    make_room(store, &write, room)?;
    let sums = write.sums.0;
    match store.tables.write(&write) {
        Ok(()) => {}
        Err(TableError::Full) => {
            return Err(StoreError::Full { path: store.path.clone(), needed: size(&write) });
        }
        Err(error) => {
            // Nobody knows what of the batch is durable: the next opening finds out.
            let reason = store.failed("write", error).to_string();
            writer.mode = Mode::Poisoned(reason.clone());
            return Err(StoreError::Poisoned { reason });
        }
    }
    writer.dirty = true;
    let mut state = store.state.write().unwrap_or_else(PoisonError::into_inner);
    for (number, grown) in grown {
        match state.logs.get_mut(usize::from(number)) {
            Some(log) => *log = grown,
            None => state.logs.push(grown),
        }
    }
    state.sums = sums;
    Ok(())
}

/// The tree over the first events of a log; `None` if it has not as many.
fn tree_at(store: &TableStore, Base { log, size }: &Base) -> Result<Option<LogTree>, StoreError> {
    {
        let state = store.state();
        let Some(number) = state.number(log) else { return Ok(None) };
        let known = &state.logs[usize::from(number)].tree;
        if known.size() <= *size {
            return Ok((known.size() == *size).then(|| known.clone()));
        }
    }
    let mut tree = LogTree::new();
    while tree.size() < *size {
        let left = usize::try_from(size - tree.size()).unwrap_or(usize::MAX).min(HEADERS);
        let headers = read::headers(store, log, tree.size(), left)?;
        if headers.is_empty() {
            return Ok(None);
        }
        // A header has exactly one encoding: these are the stored bytes.
        headers.iter().for_each(|header| tree.append(leaf_hash(&header.to_bytes())));
    }
    Ok(Some(tree))
}

/// The rows of the records, and the logs as they are with them.
fn build(
    store: &TableStore,
    state: &State,
    targets: Vec<(Grown, &[Arc<Record>])>,
    gone: &HashMap<Digest, Gone>,
) -> Result<(Vec<Grown>, Write), StoreError> {
    let mut sums = state.sums;
    let mut write = Write { sums: (sums, 0), logs: Vec::new(), events: Vec::new(), contents: Vec::new() };
    let mut fresh: HashSet<Digest, DigestState> = HashSet::default();
    let mut grown = Vec::with_capacity(targets.len());
    for (target, records) in targets {
        let (number, log) = grow(store, target, records, gone, (&mut sums, &mut write, &mut fresh))?;
        let row = LogRow::new(number, &log);
        let crc = checksum(&store.vault, Table::Logs, &number.to_be_bytes(), &row.encode());
        write.logs.push((row, crc));
        grown.push((number, log));
    }
    write.sums = (sums, checksum(&store.vault, Table::Sums, &[], &sums.encode()));
    Ok((grown, write))
}

/// Adds the rows of `records` to the write in hand; the log with them.
fn grow(
    store: &TableStore,
    (number, mut log): Grown,
    records: &[Arc<Record>],
    gone: &HashMap<Digest, Gone>,
    (sums, write, fresh): (&mut Sums, &mut Write, &mut HashSet<Digest, DigestState>),
) -> Result<Grown, StoreError> {
    let Write { events, contents, .. } = write;
    for record in records {
        let header = &record.header;
        for (at, content) in header.content.iter().enumerate() {
            let digest = content.digest;
            let there = if fresh.contains(&digest) { There::Yes } else { is_there(store, &digest)? };
            if there == There::Yes {
                sums.deduplicated += u64::from(content.size);
                continue;
            }
            let (stored, saved) = match record.content_at(at) {
                Some(payload) => encode_content(payload.bytes()),
                None => match gone.get(&digest) {
                    Some(why) => (encode_gone(*why), 0),
                    None => return Err(StoreError::MissingContent { event: header.id, digest }),
                },
            };
            sums.contents += u64::from(there == There::No);
            sums.bytes += stored.len() as u64;
            sums.compressed += saved;
            fresh.insert(digest);
            contents.push((digest, stored));
        }
        let bytes = header.to_bytes();
        log.push(header.id, header.at, leaf_hash(&bytes));
        let parents = &header.parents;
        let causes = parents.iter().enumerate().filter(|(at, parent)| !parents[..*at].contains(parent));
        let causes: Vec<_> = causes.map(|(_, parent)| *parent).collect();
        let place = (number, header.seq);
        let crc = checksum(&store.vault, Table::Events, &event_key(place), &bytes);
        events.push(EventRow { place, ordinal: sums.events, id: header.id, header: bytes, crc, causes });
        let row = &events[events.len() - 1];
        sums.events += 1;
        sums.links += row.causes.len() as u64;
        sums.bytes += row.header.len() as u64;
    }
    Ok((number, log))
}

/// What there is of some content.
#[derive(Clone, Copy, PartialEq, Eq)]
enum There {
    Yes,
    No,
    /// A row that says why it is gone.
    Gone,
}

fn is_there(store: &TableStore, digest: &Digest) -> Result<There, StoreError> {
    let head = store.tables.content_head(digest).map_err(|error| store.failed("read", error))?;
    Ok(match head {
        None => There::No,
        Some(first) if is_gone(first) => There::Gone,
        Some(_) => There::Yes,
    })
}

/// Bytes that the batch may take on the disk.
fn size(write: &Write) -> u64 {
    let headers = write.events.iter().map(|event| event.header.len() as u64 + INDEX_ROWS);
    let contents = write.contents.iter().map(|(_, stored)| stored.len() as u64);
    WRITES * (headers.sum::<u64>() + contents.sum::<u64>())
}

/// Refuses a batch before the disk is so full that the engine could be stopped in the middle of it: some engines
/// cannot go on after that, and this leaves room for what must be recorded.
fn make_room(store: &TableStore, write: &Write, room: Room) -> Result<(), StoreError> {
    let headroom = store.tables.headroom();
    let needed = size(write) + if room == Room::Ordinary { headroom } else { headroom / 2 };
    match (store.free)(&store.path) {
        Some(free) if free < needed => Err(StoreError::Full { path: store.path.clone(), needed }),
        _ => Ok(()),
    }
}

pub(crate) fn fix_dimension(store: &TableStore, dimension: u32) -> Result<(), StoreError> {
    let mut writer = store.writer();
    match writer.manifest.dimension {
        Some(fixed) if fixed == dimension => return Ok(()),
        Some(expected) => return Err(StoreError::Dimension { expected, found: dimension }),
        None => {}
    }
    writer.check_open(&store.path)?;
    let mut manifest = writer.manifest.clone();
    manifest.dimension = Some(dimension);
    write_manifest(store, &manifest)?;
    writer.manifest = manifest;
    store.state.write().unwrap_or_else(PoisonError::into_inner).dimension = Some(dimension);
    Ok(())
}

pub(crate) fn close(store: &TableStore) -> Result<(), StoreError> {
    let mut writer = store.writer();
    let mode = std::mem::replace(&mut writer.mode, Mode::Closed);
    if mode == Mode::ReadOnly {
        writer.mode = mode;
        return Ok(());
    }
    if mode == Mode::Closed {
        return Ok(());
    }
    let mut closed = store.tables.close().map_err(|error| store.failed("close", error));
    if closed.is_ok() && mode == Mode::Open && writer.dirty {
        let logs = store.state().logs.iter().map(manifest_log).collect();
        writer.manifest.logs = logs;
        closed = write_manifest(store, &writer.manifest);
        writer.dirty = closed.is_err();
    }
    writer.lock = None;
    closed
}

fn manifest_log(log: &Log) -> ManifestLog {
    let head = log.head();
    let name = log.id.to_string();
    ManifestLog { name, events: head.next_seq, last: head.last, root: head.root.to_string() }
}

fn write_manifest(store: &TableStore, manifest: &Manifest) -> Result<(), StoreError> {
    manifest.write(&*store.disk, &store.path).map_err(|error| StoreError::Io {
        what: "write",
        path: Manifest::path(&store.path),
        detail: error.to_string(),
    })
}
