//! What proofs need of a log tree: the roots of its complete subtrees of [`TILE`] leaves.
//!
//! Appending captures them as they complete. Those of what was sealed lie in a file for each log; it is a projection
//! that a look at the log's own frontier proves right, and what is missing or wrong in it is hashed anew. Leaves within
//! such a subtree are hashed when somebody asks. So a log of ten million events keeps an eighth of a byte for each of
//! them on disk, and a proof reads the headers of two subtrees at most.
//!
//! The nodes above are joined from these, and only on the paths of proofs: the frontiers in the indexes of the segments
//! have most of what lies beside such a path. Each node is [proved](super::proved) before it is used; if one turns out to
//! be wrong, all that was saved is joined and compared, and hashed anew where it is not the log's.
//!
//! ```text
//! 8    magic
//! 4    format
//! 4    zeros
//! 16   the vault's id
//! 32·n the roots, from the first subtree on
//! ```

use std::cell::OnceCell;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::disk::{Disk, DiskFile};
use super::frame::{VaultId, u32_at};
use super::index::locate;
use super::proved::{Proved, Said, Shape};
use super::segment::index_path;
use super::sidecar::{LogMeta, Sidecar};
use super::state::{self, Log, State};
use super::{Journal, read};
use crate::core::LogId;
use crate::hash::{LogTree, TreeHash, frontier_place};
use crate::proof::{Nodes, leaves_of};
use crate::store::StoreError;

/// Subtrees of so many levels are kept: of 256 leaves.
pub(crate) const TILE_LEVEL: u32 = 8;
/// Leaves of a subtree that is kept.
const TILE: u64 = 1 << TILE_LEVEL;
/// A writer that opens a vault checks the file of a log with at most this many subtrees, sixteen million events, which
/// takes some ten milliseconds; of a larger one it looks at the length alone, and the first proof checks it.
const MAX_CHECKED: u64 = 1 << 16;

/// What is joined at once on the way to a node, and kept, is a subtree of 65,536 leaves: 8 KiB of a file, 16 KiB in memory.
const SHAPE: Shape = Shape { lowest: TILE_LEVEL, part: 16, kept: 256 };
/// So many tiles are kept with all the nodes in them, 16 KiB each: one proof asks for a dozen nodes of one or two.
const MAX_TILES: usize = 16;

/// Events of which ids are looked for in indexes at most: what they take stays in memory for a moment.
const MAX_REMEMBERED: usize = 32 << 20;

const MAGIC: &[u8; 8] = b"TOKATRE\n";
const FORMAT: u32 = 1;
const FIXED: usize = 32;

/// The roots that were captured since the log was loaded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Captured {
    /// The number of the first of them.
    pub(crate) first: u64,
    pub(crate) roots: Vec<TreeHash>,
    /// How many of all roots the file has, where that is known.
    saved: Option<u64>,
}

/// What proofs have asked for, of all logs by number. Shared, so that it can be made without holding up the writer.
#[derive(Clone, Default)]
pub(crate) struct Cache(Arc<Mutex<Vec<Kept>>>);

/// Nodes of one log, each known to be right.
struct Kept {
    /// Those on the paths of proofs.
    proved: Proved,
    /// Those within tiles, by level and number: of 256 leaves, or of less at the log's end.
    tiles: HashMap<(u32, u64), Nodes>,
    /// All of them from the level of tiles on, once something that was saved turned out not to be right.
    whole: Nodes,
}

/// What is at hand of a log without reading its events, right or wrong.
struct Saved<'a> {
    journal: &'a Journal,
    state: &'a State,
    log: &'a Log,
    number: u16,
    file: OnceCell<Option<Box<dyn DiskFile>>>,
    /// Smaller trees of the log, by their sizes.
    earlier: OnceCell<Vec<&'a LogMeta>>,
}

/// A log as it is at one moment.
struct Moment {
    tree: LogTree,
    captured: Captured,
}

impl Captured {
    /// What a log of `size` leaves has captured before it goes on.
    pub(crate) fn after(size: u64) -> Self {
        Self { first: size / TILE, ..Self::default() }
    }

    /// Adds a leaf to `tree` and what it completes to these.
    pub(crate) fn append(&mut self, tree: &mut LogTree, leaf: TreeHash) {
        tree.append_noting(leaf, TILE_LEVEL, &mut self.roots);
    }
}

impl Default for Kept {
    fn default() -> Self {
        Self { proved: Proved::new(SHAPE), tiles: HashMap::new(), whole: Nodes::default() }
    }
}

impl Cache {
    /// What is kept of all logs, of the one with number `at` too.
    fn of(&self, at: usize) -> MutexGuard<'_, Vec<Kept>> {
        // Nodes are added whole, and checked before they are.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() <= at {
            all.resize_with(at + 1, Kept::default);
        }
        all
    }
}

/// Where the nodes of a log lie.
pub(crate) fn nodes_path(vault: &Path, log: u16) -> PathBuf {
    vault.join("index").join(format!("log-{log:05}.nodes"))
}

/// The root of the subtree with this number among those of `1 << level` leaves. It is one of the tree of which the log's
/// root is made, or an error.
pub(crate) fn subtree(
    journal: &Journal,
    log: &LogId,
    level: u32,
    number: u64,
) -> Result<Option<TreeHash>, StoreError> {
    let (cache, log_number, tree) = {
        let state = journal.state();
        let Some(at) = state.log_number(log) else { return Ok(None) };
        (state.nodes.clone(), at, state.logs[usize::from(at)].tree.clone())
    };
    let Some((first, _)) = leaves_of(level, number).filter(|&(_, end)| end <= tree.size()) else {
        return Ok(None);
    };
    let at = usize::from(log_number);
    if level >= TILE_LEVEL {
        return cache.of(at)[at].node(journal, log, log_number, level, number);
    }
    // What is asked for next lies in the same tile as a rule, or in the same piece of what is no whole tile yet.
    let top = (tree.size() ^ first).ilog2().min(TILE_LEVEL);
    let tile = (top, first >> top);
    let in_tile = |nodes: &Nodes| nodes.get(level, number - (tile.1 << (top - level)));
    if let Some(nodes) = cache.of(at)[at].tiles.get(&tile) {
        return Ok(in_tile(nodes));
    }
    let root = match frontier_place(tree.size(), top, tile.1) {
        Some(place) => tree.frontier().get(place).copied(),
        None => cache.of(at)[at].node(journal, log, log_number, top, tile.1)?,
    };
    if level == top {
        return Ok(root);
    }
    let (first, end) = (tile.1 << top, (tile.1 + 1) << top);
    let nodes = hashed(journal, log, first, end)?;
    if nodes.get(top, 0) != root {
        return Err(misled(journal.path.clone(), log, Some(first)));
    }
    let found = in_tile(&nodes);
    let tiles = &mut cache.of(at)[at].tiles;
    if tiles.len() >= MAX_TILES {
        tiles.clear();
    }
    tiles.insert(tile, nodes);
    Ok(found)
}

impl Kept {
    /// A node at the level of tiles or above that the log's tree has.
    fn node(
        &mut self,
        journal: &Journal,
        log: &LogId,
        at: u16,
        level: u32,
        number: u64,
    ) -> Result<Option<TreeHash>, StoreError> {
        let above = level - TILE_LEVEL;
        if let Some(root) = self.whole.get(above, number) {
            return Ok(Some(root));
        }
        {
            let state = journal.state();
            let saved = Saved::of(journal, &state, at);
            if let Some(root) = self.proved.node(&saved.log.tree, &saved, level, number) {
                return Ok(Some(root));
            }
        }
        complete(journal, log, at, &mut self.whole)?;
        Ok(self.whole.get(above, number))
    }
}

impl<'a> Saved<'a> {
    fn of(journal: &'a Journal, state: &'a State, number: u16) -> Self {
        let log = &state.logs[usize::from(number)];
        Self { journal, state, log, number, file: OnceCell::new(), earlier: OnceCell::new() }
    }

    /// Roots that the log's file has.
    fn read(&self, first: u64, count: u64) -> Option<Vec<TreeHash>> {
        if count == 0 {
            return Some(Vec::new());
        }
        let file = self.file.get_or_init(|| {
            let path = nodes_path(&self.journal.path, self.number);
            let file = self.journal.disk.open(&path, false).ok()?;
            let mut fixed = [0; FIXED];
            let whole = file.read_at(&mut fixed, 0).is_ok_and(|read| read == FIXED);
            (whole && fixed == header(self.journal.vault)).then_some(file)
        });
        let mut bytes = vec![0; usize::try_from(32 * count).ok()?];
        let read = file.as_ref()?.read_at(&mut bytes, FIXED as u64 + 32 * first).ok()?;
        (read == bytes.len()).then(|| bytes.as_chunks::<32>().0.iter().map(|root| TreeHash(*root)).collect())
    }
}

impl Said for Saved<'_> {
    fn lowest(&self, first: u64, count: u64) -> Option<Vec<TreeHash>> {
        let captured = &self.log.captured;
        let end = first + count;
        let split = captured.first.clamp(first, end);
        let mut roots = self.read(first, split - first)?;
        let [from, to] = [split, end].map(|at| at.saturating_sub(captured.first) as usize);
        roots.extend_from_slice(captured.roots.get(from..to)?);
        Some(roots)
    }

    /// Each index of a segment holds the frontier that the log had at the segment's end.
    fn above(&self, level: u32, number: u64) -> Option<TreeHash> {
        let earlier = self.earlier.get_or_init(|| self.state.trees_of(self.log));
        let first = earlier.partition_point(|meta| meta.size >> level <= number);
        let meta = earlier.get(first)?;
        let place = frontier_place(meta.size, level, number)?;
        meta.frontier.get(place).map(|hash| TreeHash(hash.into_array()))
    }
}

/// Brings the nodes of a log up to date and checks them against its frontier.
fn complete(journal: &Journal, log: &LogId, number: u16, nodes: &mut Nodes) -> Result<(), StoreError> {
    let moment = moment(journal, number);
    let path = nodes_path(&journal.path, number);
    if nodes.count() == 0 && moment.captured.first > 0 {
        match load(&*journal.disk, &path, journal.vault) {
            Ok(roots) => nodes.extend(roots.into_iter().take(moment.captured.first as usize)),
            Err(problem) => tracing::debug!(path = %path.display(), problem, "tree nodes are hashed anew"),
        }
    }
    fill(journal, log, &moment, nodes)?;
    if !nodes.belong_to(&moment.tree, TILE_LEVEL) {
        tracing::warn!(path = %path.display(), "tree nodes are not the log's; they are hashed anew");
        *nodes = Nodes::default();
        fill(journal, log, &moment, nodes)?;
    }
    match nodes.belong_to(&moment.tree, TILE_LEVEL) {
        true => Ok(()),
        false => Err(misled(path, log, None)),
    }
}

/// The error where headers are not those of the log.
fn misled(file: PathBuf, log: &LogId, seq: Option<u64>) -> StoreError {
    let detail = format!("the headers of log '{log}' do not lead to its root");
    StoreError::Damage { file, offset: 0, seq, detail }
}

/// Adds the roots that are missing: those that were captured as they are, the others from the headers.
fn fill(journal: &Journal, log: &LogId, moment: &Moment, nodes: &mut Nodes) -> Result<(), StoreError> {
    for tile in nodes.count()..moment.tree.size() / TILE {
        let captured = tile.checked_sub(moment.captured.first);
        match captured.and_then(|at| moment.captured.roots.get(at as usize)) {
            Some(root) => nodes.push(*root),
            None => nodes.extend(hashed(journal, log, tile * TILE, (tile + 1) * TILE)?.get(TILE_LEVEL, 0)),
        }
    }
    Ok(())
}

fn moment(journal: &Journal, number: u16) -> Moment {
    let state = journal.state();
    let log = &state.logs[usize::from(number)];
    Moment { tree: log.tree.clone(), captured: log.captured.clone() }
}

/// The nodes over the leaves from `first` to before `end`, from the stored headers.
fn hashed(journal: &Journal, log: &LogId, first: u64, end: u64) -> Result<Nodes, StoreError> {
    let mut nodes = Nodes::default();
    read::leaves(journal, log, first, (end - first) as usize, |leaf| nodes.push(leaf))?;
    if nodes.count() == end - first {
        return Ok(nodes);
    }
    let (detail, seq) = (format!("events of log '{log}' are missing"), Some(first + nodes.count()));
    Err(StoreError::Damage { file: journal.path.clone(), offset: 0, seq, detail })
}

/// Reads the roots from a file; what is wrong with it if it is of no use.
pub(crate) fn load(disk: &dyn Disk, path: &Path, vault: VaultId) -> Result<Vec<TreeHash>, String> {
    let bytes = disk.read(path).map_err(|error| error.to_string())?;
    let Some((fixed, roots)) = bytes.split_at_checked(FIXED) else { return Err("it is too short".into()) };
    if fixed[..FIXED] != header(vault) {
        let known = &fixed[..8] == MAGIC && u32_at(fixed, 8) == FORMAT;
        return Err(
            if known { "it belongs to another vault" } else { "it has no header of this format" }.into()
        );
    }
    let (roots, rest) = roots.as_chunks::<32>();
    match rest.is_empty() {
        true => Ok(roots.iter().map(|root| TreeHash(*root)).collect()),
        false => Err("its last hash is not whole".into()),
    }
}

fn header(vault: VaultId) -> [u8; FIXED] {
    let mut header = [0; FIXED];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[16..].copy_from_slice(&vault);
    header
}

/// Checks the files of a writer that opens, and makes anew what is wrong with them; the files and what it was.
pub(crate) fn check(journal: &Journal) -> Vec<(PathBuf, String)> {
    let logs: Vec<LogId> = journal.state().logs.iter().map(|log| log.id.clone()).collect();
    let mut problems = Vec::new();
    for (number, log) in (0..).zip(&logs) {
        let moment = moment(journal, number);
        let tiles = moment.tree.size() / TILE;
        let path = nodes_path(&journal.path, number);
        if tiles > MAX_CHECKED
            && length(&*journal.disk, &path) == Some(FIXED as u64 + 32 * moment.captured.first)
        {
            continue;
        }
        let problem = match load(&*journal.disk, &path, journal.vault) {
            Ok(roots) => {
                let count = roots.len() as u64;
                let mut nodes = Nodes::joined(roots.into_iter().take(tiles as usize));
                let whole = fill(journal, log, &moment, &mut nodes).is_ok();
                let good = whole && count <= tiles && nodes.belong_to(&moment.tree, TILE_LEVEL);
                if good {
                    NodeFiles::of(journal).set_saved(number, count);
                    continue;
                }
                "its hashes are not those of the log".to_owned()
            }
            Err(_) if !exists(&*journal.disk, &path) => {
                if moment.captured.first > 0 {
                    save_all(journal, log, number);
                }
                continue;
            }
            Err(problem) => problem,
        };
        save_all(journal, log, number);
        problems.push((path, problem));
    }
    problems
}

fn length(disk: &dyn Disk, path: &Path) -> Option<u64> {
    disk.open(path, false).and_then(|file| file.len()).ok()
}

fn exists(disk: &dyn Disk, path: &Path) -> bool {
    !matches!(disk.open(path, false), Err(error) if error.kind() == ErrorKind::NotFound)
}

/// Writes the file of a log from all its nodes. A projection that cannot be written is no reason to fail.
fn save_all(journal: &Journal, log: &LogId, number: u16) {
    let mut nodes = Nodes::default();
    match fill(journal, log, &moment(journal, number), &mut nodes) {
        Ok(()) => NodeFiles::of(journal).replace(number, nodes.lowest()),
        Err(error) => tracing::warn!(%error, "tree nodes cannot be saved"),
    }
}

/// The files of all logs, for whoever seals segments.
pub(crate) struct NodeFiles {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    vault: VaultId,
    state: Arc<RwLock<State>>,
}

impl NodeFiles {
    pub(crate) fn of(journal: &Journal) -> Self {
        let (disk, state) = (Arc::clone(&journal.disk), Arc::clone(&journal.state));
        Self { disk, directory: journal.path.clone(), vault: journal.vault, state }
    }

    /// Adds what was captured to the files. It is not synced, and what fails here is hashed anew when it is needed.
    pub(crate) fn save(&self) {
        let logs: Vec<Captured> = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            state.logs.iter().map(|log| log.captured.clone()).collect()
        };
        for (number, captured) in (0..).zip(logs) {
            let count = captured.first + captured.roots.len() as u64;
            // Of a large log that was not looked at, the file may have everything up to here.
            let saved = captured.saved.unwrap_or(captured.first);
            if saved >= count {
                continue;
            }
            if captured.first == 0 && captured.saved.is_none() {
                self.replace(number, &captured.roots);
            } else if let Some(fresh) = saved.checked_sub(captured.first) {
                self.extend(number, saved, &captured.roots[fresh as usize..]);
            }
        }
    }

    /// Adds `fresh` behind the `saved` hashes that the file has.
    fn extend(&self, number: u16, saved: u64, fresh: &[TreeHash]) {
        let path = nodes_path(&self.directory, number);
        let at = FIXED as u64 + 32 * saved;
        let written = self.disk.open(&path, true).and_then(|file| {
            // Of a file that is shorter, or longer, something is wrong; a gap in it would hide that.
            match file.len()? == at {
                true => file.write_at(&bytes_of(fresh), at).map(|()| true),
                false => Ok(false),
            }
        });
        match written {
            Ok(true) => self.set_saved(number, saved + fresh.len() as u64),
            Ok(false) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(path = %path.display(), %error, "tree nodes cannot be saved"),
        }
    }

    fn replace(&self, number: u16, roots: &[TreeHash]) {
        let path = nodes_path(&self.directory, number);
        match self.disk.replace(&path, &[&header(self.vault), &bytes_of(roots)], false) {
            Ok(()) => self.set_saved(number, roots.len() as u64),
            Err(error) => tracing::warn!(path = %path.display(), %error, "tree nodes cannot be saved"),
        }
    }

    fn set_saved(&self, number: u16, saved: u64) {
        if let Some(log) = state::write(&self.state).logs.get_mut(usize::from(number)) {
            log.captured.saved = Some(saved);
        }
    }
}

fn bytes_of(roots: &[TreeHash]) -> Vec<u8> {
    roots.iter().flat_map(|root| root.0).collect()
}

/// What the saved nodes of a log say, right or wrong: evidence of what it was when they were saved.
pub(crate) fn remembered(journal: &Journal, log: &LogId) -> Vec<TreeHash> {
    let Some(number) = journal.state().log_number(log) else { return Vec::new() };
    load(&*journal.disk, &nodes_path(&journal.path, number), journal.vault).unwrap_or_default()
}

/// What the indexes of the segments say of the ids of a log's events, whatever the segments hold by now.
pub(crate) fn remembered_ids(journal: &Journal, log: &LogId) -> Vec<Option<u64>> {
    let (lineage, segments) = {
        let state = journal.state();
        let Some(number) = state.log_number(log) else { return Vec::new() };
        let segments = state.segments.iter();
        (
            state.logs[usize::from(number)].lineage.clone(),
            segments.map(|s| (s.number, s.path.clone(), Arc::clone(&s.file))).collect::<Vec<_>>(),
        )
    };
    let mut ids = Vec::new();
    for (segment, segment_path, file) in &segments {
        let path = index_path(&journal.path, *segment);
        let Ok(sidecar) = Sidecar::open(&journal.disk, &path, (segment_path, file)) else { continue };
        for (id, place) in sidecar.ids().unwrap_or_default() {
            let place = locate(&sidecar.meta.runs, place);
            let Some((_, seq)) = place.filter(|(log, seq)| lineage.contains(log, *seq)) else { continue };
            // An index that is not to be trusted must not make this allocate without bound.
            let Some(seq) = usize::try_from(seq).ok().filter(|seq| *seq < MAX_REMEMBERED) else { continue };
            if ids.len() <= seq {
                ids.resize(seq + 1, None);
            }
            ids[seq] = Some(id);
        }
    }
    ids
}
