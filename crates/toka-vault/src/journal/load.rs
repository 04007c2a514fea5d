//! What a vault's files hold: segment after segment, up to where it was acknowledged.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::RecoveryReport;
use super::copied::{Copied, SECTOR, early_end, is_early, lacking};
use super::disk::Disk;
use super::frame::{Place, SegmentHeader, VaultId};
use super::index::Index;
use super::manifest::{Acknowledged, Manifest};
use super::open::{open_segment, segment_numbers};
use super::seal::Seal;
use super::segment::{damage, failed, index_path, next_frame, segment_path};
use super::sidecar::Sidecar;
use super::state::{Segment, State};
use crate::store::StoreError;

/// Up to this many bytes of index tables are checked when a writer opens, so that damage is mended early;
/// the tables of larger vaults are checked when they are first used.
const MAX_CHECKED: u64 = 64 << 20;
const MISSING: &str = "it is missing";

/// Reads a vault's files, and remembers what has to be decided at their end.
pub(crate) struct Loader<'a> {
    pub(crate) disk: &'a Arc<dyn Disk>,
    pub(crate) path: &'a Path,
    pub(crate) manifest: &'a Manifest,
    pub(crate) vault: VaultId,
    /// True if what is found wanting may be mended.
    pub(crate) mend: bool,
    pub(crate) state: State,
    pub(crate) report: RecoveryReport,
    /// The last frame that no index covers: the only one that may not be durable yet.
    pub(crate) last_frame: Option<u64>,
    pub(crate) bad_tail: Option<String>,
    /// What the vault may lack, if it is a copy.
    pub(crate) copied: Option<Copied>,
    /// What a copy lacks of that which the manifest names.
    pub(crate) lacking: Option<String>,
    /// A last segment without a header, and whether frames are in it.
    pub(crate) unfinished: Option<(PathBuf, bool)>,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(
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
    pub(crate) fn head(&self) -> Option<Acknowledged> {
        self.state.segments.last().map(|last| {
            let (offset, crc) = last.link();
            Acknowledged { segment: last.number, offset, crc }
        })
    }

    /// True if the vault is a copy, and the file or directory in it was copied before the manifest was written.
    pub(crate) fn precedes(&self, path: &Path) -> bool {
        self.copied.is_some_and(|copied| copied.precedes(&**self.disk, path))
    }

    pub(crate) fn load(&mut self) -> Result<(), StoreError> {
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
    pub(crate) fn is_early(&self, last: &Segment, to: u64) -> Result<bool, StoreError> {
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
}
