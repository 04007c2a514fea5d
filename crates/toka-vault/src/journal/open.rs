//! Opening: what is there, up to where it was acknowledged, and what is a torn tail.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use toka_types::KeyId;

use super::append::{Mode, Writer, is_full};
use super::copied::{Copied, SECTOR, early_end, is_early};
use super::disk::{Disk, DiskFile};
use super::frame::{HeaderError, Place, SEGMENT_HEADER, SegmentHeader, VaultId};
use super::index::Index;
use super::manifest::{Acknowledged, Manifest};
use super::seal::Seal;
use super::segment::{damage, failed, first_nonzero, index_path, next_frame, segment_path};
use super::sidecar::Sidecar;
use super::spare::Spare;
use super::state::{Segment, State, segment_header};
use super::{Journal, RecoveryReport, TornTail, compact};
use crate::store::StoreError;

/// Up to this many bytes of index tables are checked when a writer opens, so that damage is mended early;
/// the tables of larger vaults are checked when they are first used.
const MAX_CHECKED: u64 = 64 << 20;

/// How often a reader looks for what took the place of a segment before it gives up: between two looks another one
/// may be rewritten.
pub(crate) const TRIES: usize = 3;

pub(crate) fn lock_path(vault: &Path) -> PathBuf {
    vault.join("lock")
}

/// Opens for writing. A vault that is not there is created, sealed under `keys` if there are any.
pub(crate) fn writer(
    disk: Arc<dyn Disk>,
    path: &Path,
    keys: Option<KeyId>,
) -> Result<(Journal, RecoveryReport), StoreError> {
    for directory in [path.join("journal"), path.join("index")] {
        disk.create_directory(&directory).map_err(|error| failed("create", &directory, &error))?;
    }
    let lock_path = lock_path(path);
    let lock = disk.lock(&lock_path).map_err(|error| failed("lock", &lock_path, &error))?;
    let lock = lock.map_err(|pid| StoreError::Locked { path: path.to_owned(), pid })?;
    // A writer that died may have left them; they hold nothing.
    for left in [super::compact::beside(path), super::spare::path(path)] {
        drop(disk.remove(&left));
    }
    let mut report = RecoveryReport::default();
    let manifest = match Manifest::read(&*disk, path)? {
        Some(manifest) => manifest,
        None => {
            if let Some(&first) = segment_numbers(&*disk, path)?.first() {
                let file = Manifest::path(path);
                return Err(damage(&file, 0, None, format!("it is missing, and there is segment {first}")));
            }
            report.created = true;
            let mut manifest = Manifest::new(new_vault_id(), keys);
            manifest.directory = disk.identity(path);
            manifest.write(&*disk, path).map_err(|error| {
                if is_full(&error) {
                    return StoreError::Full {
                        path: path.to_owned(),
                        needed: manifest.to_text().len() as u64,
                    };
                }
                failed("write", &Manifest::path(path), &error)
            })?;
            manifest
        }
    };
    let mut loader = Loader::new(&disk, path, &manifest, true)?;
    loader.load()?;
    let head = loader.head();
    let mut manifest = manifest.clone();
    if loader.lacking.is_some() {
        // First of all: without it, what is missing would be damage once this is no copy any more.
        (manifest.head, manifest.logs) = (head, super::close::logs(&loader.state));
        let written = manifest.write(&*disk, path);
        written.map_err(|error| failed("write", &Manifest::path(path), &error))?;
    }
    loader.recover_tail()?;
    let Loader { mut state, report: loaded, vault, copied, .. } = loader;
    report.rebuilt = loaded.rebuilt;
    report.torn = loaded.torn;
    state.dimension = manifest.dimension;
    let directory = disk.identity(path);
    let spare = Spare::new(Arc::clone(&disk), path);
    let mut writer = Writer::new(Mode::Open, Some(lock), manifest, spare);
    writer.dirty = writer.manifest.head != head
        || writer.manifest.directory.is_none() && directory.is_some()
        || !report.rebuilt.is_empty();
    let end = state.segments.last().map_or(0, |segment| segment.end);
    writer.room_end = end;
    writer.zeroed = end;
    let journal = journal(disk, path, vault, state, writer);
    if copied.is_some() {
        let mut writer = journal.writer();
        writer.manifest.directory = directory;
        let written = writer.manifest.write(&*journal.disk, path);
        written.map_err(|error| failed("write", &Manifest::path(path), &error))?;
    }
    report.rebuilt.extend(super::nodes::check(&journal));
    Ok((journal, report))
}

/// Opens for reading.
pub(crate) fn reader(disk: Arc<dyn Disk>, path: &Path) -> Result<Journal, StoreError> {
    let Some(manifest) = Manifest::read(&*disk, path)? else {
        return Err(match segment_numbers(&*disk, path)?.first() {
            Some(first) => {
                damage(&Manifest::path(path), 0, None, format!("it is missing, and there is segment {first}"))
            }
            None => StoreError::NotFound { path: path.to_owned() },
        });
    };
    let mut loader = Loader::new(&disk, path, &manifest, false)?;
    loader.load()?;
    let Loader { mut state, vault, .. } = loader;
    state.dimension = manifest.dimension;
    let spare = Spare::new(Arc::clone(&disk), path);
    let writer = Writer::new(Mode::ReadOnly, None, manifest, spare);
    Ok(journal(disk, path, vault, state, writer))
}

/// Reads what was appended since; the number of new events.
pub(crate) fn refresh(journal: &Journal) -> Result<u64, StoreError> {
    let mut writer = journal.writer();
    if writer.mode != Mode::ReadOnly {
        return Ok(0);
    }
    if let Some(manifest) = Manifest::read(&*journal.disk, &journal.path)? {
        writer.manifest = manifest;
    }
    let mut state = journal.state_mut();
    let before = state.totals.events;
    state.dimension = writer.manifest.dimension;
    let whole = match read_on(journal, &mut state) {
        Ok(whole) => whole && compact::take_over(journal, &mut state)?,
        // What it would go on from is not there any more.
        Err(StoreError::Io { .. }) if has_lost(&state) => false,
        Err(error) => return Err(error),
    };
    if !whole {
        reload(journal, &writer, &mut state)?;
    }
    Ok(state.totals.events.saturating_sub(before))
}

/// Reads on where a reader's journal ends; false if what was read there before was never acknowledged.
fn read_on(journal: &Journal, state: &mut State) -> Result<bool, StoreError> {
    loop {
        let last = state.segments.last().map_or(0, |segment| segment.number);
        let place = Place { vault: journal.vault, segment: last };
        let next = open_segment(&journal.disk, &journal.path, last + 1, journal.vault, false)?;
        let limit = match (state.segments.last(), &next) {
            (Some(Segment { rewritten: Some(rewritten), .. }), _) => rewritten.end,
            (Some(_), Some((_, header))) => header.previous_end,
            (Some(Segment { file, path, .. }), None) => {
                file.len().map_err(|error| failed("read", path, &error))?
            }
            (None, _) => 0,
        };
        if let Some(mut segment) = state.segments.pop() {
            if limit < segment.end && next.is_some() {
                // The writer's sync failed.
                return Ok(false);
            }
            let scanned = state.scan(&mut segment, &place, limit);
            let (end, path) = (segment.end, segment.path.clone());
            state.segments.push(segment);
            if let (Some(detail), true) = (scanned?.tail.bad, next.is_some()) {
                return Err(damage(&path, end, None, detail));
            }
        }
        match next {
            Some((segment, _)) => state.segments.push(segment),
            None => return Ok(true),
        }
    }
}

/// Puts what a reader finds now in the place of what it knew.
fn reload(journal: &Journal, writer: &Writer, state: &mut State) -> Result<(), StoreError> {
    let mut loader = Loader::new(&journal.disk, &journal.path, &writer.manifest, false)?;
    loader.load()?;
    *state = loader.state;
    state.dimension = writer.manifest.dimension;
    Ok(())
}

fn has_lost(state: &State) -> bool {
    state.segments.iter().any(|segment| segment.file.id().is_err())
}

/// Looks for what took the place of files that a reader had closed; false if it lost none.
pub(crate) fn find_lost(journal: &Journal) -> Result<bool, StoreError> {
    if !has_lost(&journal.state()) {
        return Ok(false);
    }
    let writer = journal.writer();
    if writer.mode != Mode::ReadOnly {
        return Ok(false);
    }
    let mut state = journal.state_mut();
    if !compact::take_over(journal, &mut state)? {
        // The segment had grown before it was rewritten: the reader's moment is nowhere any more.
        reload(journal, &writer, &mut state)?;
    }
    Ok(true)
}

fn journal(disk: Arc<dyn Disk>, path: &Path, vault: VaultId, state: State, writer: Writer) -> Journal {
    let (state, writer) = (Arc::new(RwLock::new(state)), Mutex::new(writer));
    Journal { path: path.to_owned(), disk, vault, state, writer, compacting: Mutex::default() }
}

struct Loader<'a> {
    disk: &'a Arc<dyn Disk>,
    path: &'a Path,
    manifest: &'a Manifest,
    vault: VaultId,
    /// True if what is found wanting may be mended.
    mend: bool,
    state: State,
    report: RecoveryReport,
    /// The last frame that no index covers: the only one that may not be durable yet.
    last_frame: Option<u64>,
    bad_tail: Option<String>,
    /// What the vault may lack, if it is a copy.
    copied: Option<Copied>,
    /// What a copy lacks of that which the manifest names.
    lacking: Option<String>,
    /// A last segment without a header, and whether frames are in it.
    unfinished: Option<(PathBuf, bool)>,
}

impl<'a> Loader<'a> {
    fn new(
        disk: &'a Arc<dyn Disk>,
        path: &'a Path,
        manifest: &'a Manifest,
        mend: bool,
    ) -> Result<Self, StoreError> {
        let vault = manifest.vault_id().unwrap_or_default();
        Ok(Self {
            disk,
            path,
            manifest,
            vault,
            mend,
            state: State::default(),
            report: RecoveryReport::default(),
            last_frame: None,
            bad_tail: None,
            copied: Copied::of(&**disk, path, manifest),
            lacking: None,
            unfinished: None,
        })
    }

    /// Where the journal ends.
    fn head(&self) -> Option<Acknowledged> {
        self.state.segments.last().map(|last| {
            let (offset, crc) = last.link();
            Acknowledged { segment: last.number, offset, crc }
        })
    }

    /// True if the vault is a copy, and the file or directory in it was copied before the manifest was written.
    fn precedes(&self, path: &Path) -> bool {
        self.copied.is_some_and(|copied| copied.precedes(&**self.disk, path))
    }

    fn load(&mut self) -> Result<(), StoreError> {
        let numbers = segment_numbers(&**self.disk, self.path)?;
        for (expected, &found) in (1..).zip(&numbers) {
            if expected != found {
                return Err(damage(&segment_path(self.path, expected), 0, None, "the segment is missing"));
            }
        }
        let last = numbers.last().copied().unwrap_or(0);
        let mut found = Vec::with_capacity(numbers.len());
        for number in numbers {
            let acknowledged = self.manifest.head.is_some_and(|head| head.segment >= number)
                && !self.precedes(&segment_path(self.path, number));
            let strict = number != last || acknowledged;
            match open_segment(self.disk, self.path, number, self.vault, strict)? {
                Some(opened) => found.push(opened),
                None => self.drop_unfinished(number)?,
            }
        }
        self.check_manifest_head(&found)?;
        let limits: Vec<Option<SegmentHeader>> =
            found.iter().skip(1).map(|(_, header)| Some(*header)).chain([None]).collect();
        for ((segment, _), next) in found.into_iter().zip(limits) {
            self.load_segment(segment, next)?;
        }
        if self.mend {
            self.check_tables()?;
        }
        self.check_end()
    }

    /// The last segment has no header: its creation was not finished, and it holds nothing acknowledged.
    fn drop_unfinished(&mut self, number: u64) -> Result<(), StoreError> {
        let path = segment_path(self.path, number);
        let file = self.disk.open(&path, false).map_err(|error| failed("open", &path, &error))?;
        let place = Place { vault: self.vault, segment: number };
        let read = |error| failed("read", &path, &error);
        let frame = next_frame(&*file, &place, 0).map_err(read)?;
        if let Some(at) = frame
            && !(self.copied.is_some() && is_early(&*file, 0, at.max(SECTOR)).map_err(read)?)
        {
            let detail = format!("the segment header is damaged, and a frame follows at byte {at}");
            return Err(damage(&path, 0, None, detail));
        }
        self.unfinished = Some((path, frame.is_some()));
        Ok(())
    }

    fn check_manifest_head(&mut self, found: &[(Segment, SegmentHeader)]) -> Result<(), StoreError> {
        let Some(head) = self.manifest.head else { return Ok(()) };
        let last = found.len() as u64;
        if head.segment > last {
            let missing = segment_path(self.path, last + 1);
            // If it is there, it has no header yet.
            if self.precedes(&self.path.join("journal")) || self.precedes(&missing) {
                self.lacking = Some(lacking(head));
                return Ok(());
            }
            return Err(damage(
                &missing,
                0,
                None,
                "the segment is missing: the manifest names a later place",
            ));
        }
        match found.get(head.segment as usize).map(|(_, header)| header) {
            Some(header) if header.previous_end < head.offset => {
                let path = segment_path(self.path, head.segment + 1);
                let detail =
                    format!("it follows byte {}, the manifest says {}", header.previous_end, head.offset);
                Err(damage(&path, 40, None, detail))
            }
            _ => Ok(()),
        }
    }

    /// The journal must reach the place up to which the manifest says that everything was acknowledged.
    fn check_end(&mut self) -> Result<(), StoreError> {
        let (Some(head), Some(last)) = (self.manifest.head, self.state.segments.last()) else {
            return Ok(());
        };
        let (end, crc) = last.link();
        if last.number != head.segment || end > head.offset {
            return Ok(());
        }
        let seq = self.state.logs.first().filter(|_| self.state.logs.len() == 1).map(|log| log.tree.size());
        if end < head.offset && self.precedes(&last.path) && self.is_early(last, head.offset)? {
            self.lacking = Some(lacking(head));
            return Ok(());
        }
        if end < head.offset {
            let detail = self.bad_tail.clone().unwrap_or_else(|| "the file ends too early".into());
            return Err(damage(&last.path, last.end, seq, detail));
        }
        if crc != head.crc {
            let detail = format!("the last checksum is {crc:08x}, the manifest says {:08x}", head.crc);
            return Err(damage(&last.path, last.end, None, detail));
        }
        Ok(())
    }

    /// True if the last segment can be what somebody copied too early to have it up to `to`.
    fn is_early(&self, last: &Segment, to: u64) -> Result<bool, StoreError> {
        early_end((&*last.file, &last.path), last.end, to)
    }

    fn load_segment(&mut self, mut segment: Segment, next: Option<SegmentHeader>) -> Result<(), StoreError> {
        let place = Place { vault: self.vault, segment: segment.number };
        let len = segment.file.len().map_err(|error| failed("read", &segment.path, &error))?;
        let ends = segment.rewritten.map(|own| (own.end, own.crc));
        let ends = ends.or_else(|| next.map(|next| (next.previous_end, next.previous_crc)));
        let limit = ends.map_or(len, |(end, _)| end);
        self.check_rewritten(&segment, len, next.as_ref())?;
        if len < limit {
            return Err(damage(
                &segment.path,
                len,
                None,
                format!("the file ends here, its frames at byte {limit}"),
            ));
        }
        let index = index_path(self.path, segment.number);
        let problem = match ends {
            // Its index may be of a later moment.
            None if self.precedes(&segment.path) => None,
            _ => self.use_sidecar(&mut segment, &index, ends.ok_or(limit)),
        };
        let scanned = self.state.scan(&mut segment, &place, limit)?;
        if let Some((_, crc)) = ends {
            if segment.end != limit {
                let detail = scanned.tail.bad.unwrap_or_else(|| "no frame stands here".into());
                let seq =
                    self.state.logs.first().filter(|_| self.state.logs.len() == 1).map(|l| l.tree.size());
                return Err(damage(&segment.path, segment.end, seq, detail));
            }
            if segment.crc != crc {
                let detail = "the next segment follows another frame than the last one of this segment";
                return Err(damage(&segment.path, segment.end, None, detail));
            }
            if self.mend
                && let Some(problem) = problem
            {
                self.write_sidecar(&mut segment, &index);
                self.report.rebuilt.push((index, problem));
            }
        } else {
            self.last_frame = scanned.last_frame;
            self.bad_tail = scanned.tail.bad;
            // The last segment has no index if its writer died; there is something to report if it has a bad one.
            if let Some(problem) = problem.filter(|problem| problem != MISSING) {
                self.report.rebuilt.push((index, problem));
            }
        }
        self.state.segments.push(segment);
        Ok(())
    }

    /// A rewritten segment ends where it says itself, and its successor names where it ended first.
    fn check_rewritten(
        &self,
        segment: &Segment,
        len: u64,
        next: Option<&SegmentHeader>,
    ) -> Result<(), StoreError> {
        let Some(own) = &segment.rewritten else { return Ok(()) };
        if len != own.end {
            let detail = format!("the file has {len} bytes, its header says {}", own.end);
            return Err(damage(&segment.path, own.end.min(len), None, detail));
        }
        match next {
            Some(next) if (next.previous_end, next.previous_crc) != segment.link() => {
                let detail = "the next segment follows another segment than the one that was rewritten";
                Err(damage(&segment.path, 64, None, detail))
            }
            _ => Ok(()),
        }
    }

    /// Takes the segment's index from its sidecar; what is wrong with it if that cannot be. `ends` is the segment's
    /// end and the checksum there, or how far an open one reaches at most.
    fn use_sidecar(
        &mut self,
        segment: &mut Segment,
        index: &Path,
        ends: Result<(u64, u32), u64>,
    ) -> Option<String> {
        let listed = self.disk.open(index, false).is_ok();
        if !listed {
            return Some(MISSING.into());
        }
        let sidecar = match Sidecar::open(self.disk, index, segment.source()) {
            Ok(sidecar) => sidecar,
            Err(problem) => return Some(problem),
        };
        let meta = &sidecar.meta;
        let fits = match ends {
            Ok(ends) => (meta.end, meta.crc) == ends,
            Err(limit) => {
                meta.end <= limit
                    && self.manifest.head.is_some_and(|head| {
                        head.segment > segment.number
                            || head.segment == segment.number && head.offset >= meta.end
                    })
            }
        };
        if meta.vault != self.vault || meta.segment != segment.number || !fits {
            return Some("it describes another state of the segment".into());
        }
        if !self.state.restore(&meta.logs, meta.totals) {
            return Some("its logs contradict themselves".into());
        }
        segment.end = meta.end;
        segment.crc = meta.crc;
        segment.index = Index::over(sidecar);
        None
    }

    fn write_sidecar(&self, segment: &mut Segment, index: &Path) {
        match Seal::of(&self.state, segment, self.vault).write(self.disk, index) {
            Ok(sidecar) => segment.index = Index::over(sidecar),
            // It stays in memory: an index that cannot be written is no reason not to open.
            Err(detail) => tracing::warn!(path = %index.display(), detail, "an index cannot be written"),
        }
    }

    fn check_tables(&mut self) -> Result<(), StoreError> {
        let total: u64 =
            self.state.segments.iter().filter_map(|s| s.index.base.as_ref()).map(|b| b.len).sum();
        if total > MAX_CHECKED {
            return Ok(());
        }
        for segment in &mut self.state.segments {
            let Some(base) = &segment.index.base else { continue };
            let Some(problem) = base.check() else { continue };
            let index = index_path(self.path, segment.number);
            let source = segment.source();
            match Sidecar::write(self.disk, &index, source, base.meta.clone(), &base.rebuild()?) {
                Ok(sidecar) => segment.index.base = Some(Arc::new(sidecar)),
                Err(detail) => tracing::warn!(path = %index.display(), detail, "an index cannot be written"),
            }
            self.report.rebuilt.push((index, problem));
        }
        Ok(())
    }

    /// Cuts what stands behind the last good frame, if nothing in it can have been acknowledged, or it is a copy.
    fn recover_tail(&mut self) -> Result<(), StoreError> {
        if let Some((path, frames)) = self.unfinished.take() {
            let done = match frames {
                true => self.disk.rename(&path, &void_path(&path)),
                false => self.disk.remove(&path),
            };
            done.map_err(|error| failed("remove", &path, &error))?;
            let detail = self.lacking.take();
            let detail = detail.unwrap_or_else(|| "a segment whose creation was not finished".into());
            self.report.torn = Some(TornTail { file: path, offset: 0, detail });
        }
        let last = self.state.segments.last();
        if let Some(detail) = self.lacking.take() {
            let (number, offset) = last.map_or((1, 0), |last| (last.number, last.end));
            let file = segment_path(self.path, number);
            self.report.torn = Some(TornTail { file, offset, detail });
        }
        let Some(last) = last else { return Ok(()) };
        let (end, path, file) = (last.end, last.path.clone(), Arc::clone(&last.file));
        let place = Place { vault: self.vault, segment: last.number };
        if first_nonzero(&*file, end).map_err(|error| failed("read", &path, &error))?.is_some() {
            let mut detail = self.bad_tail.clone().unwrap_or_else(|| "bytes that are no frame".into());
            if let Some(at) =
                next_frame(&*file, &place, end).map_err(|error| failed("read", &path, &error))?
            {
                if self.copied.is_none() || !self.is_early(last, at)? {
                    let logs = self.state.logs.iter();
                    let seq = self.state.logs.first().filter(|_| logs.len() == 1).map(|l| l.tree.size());
                    let detail = format!("{detail}, and a good frame follows at byte {at}");
                    return Err(damage(&path, end, seq, detail));
                }
                detail = later(at);
                self.keep_rest(&*file, &path, end)?;
            }
            file.set_len(end).and_then(|()| file.sync()).map_err(|error| failed("cut", &path, &error))?;
            self.report.torn.get_or_insert(TornTail { file: path, offset: end, detail });
        }
        self.write_again()
    }

    /// Puts what lies behind the end of a copy aside. It does not follow from what is before it; whoever wants to know
    /// more about it than the journal can say has it.
    fn keep_rest(&self, file: &dyn DiskFile, path: &Path, end: u64) -> Result<(), StoreError> {
        let len = file.len().map_err(|error| failed("read", path, &error))?;
        let mut rest = vec![0; usize::try_from(len.saturating_sub(end)).unwrap_or(0)];
        let read = file.read_at(&mut rest, end).map_err(|error| failed("read", path, &error))?;
        let void = void_path(path);
        let kept = self.disk.replace(&void, &[&rest[..read]], true);
        kept.map_err(|error| failed("write", &void, &error))
    }

    fn write_again(&self) -> Result<(), StoreError> {
        let Some(last) = self.state.segments.last() else { return Ok(()) };
        let (end, path, file) = (last.end, &last.path, &last.file);
        // If the last writer's sync failed and it died of that, its last frame may be in memory alone, and the
        // system believes it clean. Written again it is durable for certain.
        if let Some(at) = self.last_frame {
            let mut bytes = vec![0; (end - at) as usize];
            let written = file.read_at(&mut bytes, at).and_then(|_| file.write_at(&bytes, at));
            written.and_then(|()| file.sync()).map_err(|error| failed("sync", path, &error))?;
        } else if end == SEGMENT_HEADER as u64 {
            // Nobody knows whether its creation, or what was cut from it, is durable.
            let directory = path.parent().unwrap_or(self.path);
            let synced = file.sync().and_then(|()| self.disk.sync_directory(directory));
            synced.map_err(|error| failed("sync", path, &error))?;
        }
        Ok(())
    }
}

const MISSING: &str = "it is missing";

/// Where a writer puts what lies behind the end of a copy. Nobody reads it.
fn void_path(segment: &Path) -> PathBuf {
    segment.with_extension("void")
}

/// What is said of a copy in which frames follow that were written later than the end was copied.
pub(crate) fn later(at: u64) -> String {
    format!(
        "the vault was written while it was copied: frames from byte {at} on follow what had been copied by then"
    )
}

/// What a copy says that does not reach the place which its manifest names.
pub(crate) fn lacking(head: Acknowledged) -> String {
    let Acknowledged { segment, offset, .. } = head;
    format!(
        "the vault was closed while it was copied: the copy does not reach byte {offset} of segment {segment}"
    )
}

/// Opens a segment and reads its header. `None` if it has none and need not have one.
pub(crate) fn open_segment(
    disk: &Arc<dyn Disk>,
    vault_path: &Path,
    number: u64,
    vault: VaultId,
    strict: bool,
) -> Result<Option<(Segment, SegmentHeader)>, StoreError> {
    let path = segment_path(vault_path, number);
    // Opened for writing where that is allowed; a reader of somebody else's vault can only read.
    let opened = disk.open(&path, true).or_else(|_| disk.open(&path, false));
    let file: Arc<dyn DiskFile> = match opened {
        Ok(file) => Arc::from(file),
        Err(error) if !strict && error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", &path, &error)),
    };
    let (header, crc) = match segment_header(&*file, &path)? {
        Ok(decoded) => decoded,
        Err(HeaderError::Bad(_)) if !strict => return Ok(None),
        Err(error) => return Err(error.in_file(&path)),
    };
    if header.vault != vault {
        return Err(damage(&path, 16, None, "the segment belongs to another vault"));
    }
    if header.number != number {
        return Err(damage(&path, 32, None, format!("the segment's header has number {}", header.number)));
    }
    let SegmentHeader { imported, rewritten, .. } = header;
    let end = header.len();
    let segment = Segment { number, path, file, end, crc, imported, rewritten, index: Index::default() };
    Ok(Some((segment, header)))
}

/// The numbers of the segments that there are, in order.
pub(crate) fn segment_numbers(disk: &dyn Disk, path: &Path) -> Result<Vec<u64>, StoreError> {
    let directory = path.join("journal");
    let names = disk.list(&directory).map_err(|error| failed("list", &directory, &error))?;
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|name| name.strip_suffix(".seg")?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// An id that no other vault has: the standard library seeds its hashers at random.
pub(crate) fn new_vault_id() -> VaultId {
    let mut id = [0; 16];
    for half in id.chunks_exact_mut(8) {
        half.copy_from_slice(&RandomState::new().hash_one(std::process::id()).to_le_bytes());
    }
    id
}
