//! The end of a journal whose writer died: what is cut there, what is put aside, and what is written once more.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::TornTail;
use super::copied::later;
use super::disk::DiskFile;
use super::frame::{Place, SEGMENT_HEADER};
use super::load::Loader;
use super::segment::{damage, failed, first_nonzero, next_frame, segment_path};
use crate::store::StoreError;

impl Loader<'_> {
    /// Cuts what stands behind the last good frame, if nothing in it can have been acknowledged, or it is a copy.
    pub(crate) fn recover_tail(&mut self) -> Result<(), StoreError> {
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

/// Where a writer puts what lies behind the end of a copy. Nobody reads it.
fn void_path(segment: &Path) -> PathBuf {
    segment.with_extension("void")
}
