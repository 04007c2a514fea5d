//! Reading the frames of a segment.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::DiskFile;
use super::frame::{ALIGNMENT, FRAME_HEADER, FrameHeader, Place, SEGMENT_HEADER};
use crate::store::StoreError;

/// How far a sequential reader reads ahead.
const AHEAD: usize = 256 << 10;
/// How much of a file is searched for non-zero bytes at once.
const ZERO_CHUNK: usize = 64 << 10;

/// A piece of a file in memory that moves along as it is read.
pub(crate) struct Window<'a> {
    file: &'a dyn DiskFile,
    buffer: Vec<u8>,
    start: u64,
    filled: usize,
    ahead: usize,
}

/// A frame whose checksum is right.
pub(crate) struct Frame<'a> {
    pub(crate) offset: u64,
    pub(crate) body: &'a [u8],
    pub(crate) count: u32,
}

/// Where a run of good frames ends, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The offset after the last good frame.
    pub(crate) end: u64,
    /// That frame's checksum.
    pub(crate) crc: u32,
    /// What is wrong with what follows; `None` if the file ends or a zero header stands there.
    pub(crate) bad: Option<String>,
}

impl<'a> Window<'a> {
    pub(crate) fn new(file: &'a dyn DiskFile) -> Self {
        Self::with_ahead(file, AHEAD)
    }

    /// A window that reads at least `ahead` bytes whenever it moves.
    pub(crate) fn with_ahead(file: &'a dyn DiskFile, ahead: usize) -> Self {
        Self { file, buffer: Vec::new(), start: 0, filled: 0, ahead }
    }

    /// The `len` bytes at `offset`, or as many as the file has.
    pub(crate) fn get(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let inside = offset >= self.start && offset + len as u64 <= self.start + self.filled as u64;
        if !inside {
            let wanted = len.max(self.ahead);
            if self.buffer.len() < wanted {
                self.buffer.resize(wanted, 0);
            }
            self.start = offset;
            self.filled = 0;
            self.filled = self.file.read_at(&mut self.buffer[..wanted], offset)?;
        }
        let at = (offset - self.start) as usize;
        Ok(&self.buffer[at..(at + len).min(self.filled)])
    }
}

/// Goes through the frames from `from` on, up to `limit` at most. `previous` is the checksum before it.
pub(crate) fn frames(
    file: &dyn DiskFile,
    path: &Path,
    place: &Place,
    (from, previous): (u64, u32),
    limit: u64,
    mut visit: impl FnMut(Frame<'_>) -> Result<(), StoreError>,
) -> Result<Tail, StoreError> {
    let mut window = Window::new(file);
    let mut tail = Tail { end: from, crc: previous, bad: None };
    loop {
        let offset = tail.end;
        let room = limit.saturating_sub(offset);
        if room == 0 {
            return Ok(tail);
        }
        let bytes = window.get(offset, FRAME_HEADER).map_err(|error| failed("read", path, &error))?;
        let Some(bytes) = bytes.first_chunk::<FRAME_HEADER>() else {
            if bytes.iter().any(|&byte| byte != 0) {
                tail.bad = Some("the file ends within a frame's header".into());
            }
            return Ok(tail);
        };
        if bytes == &[0; FRAME_HEADER] {
            return Ok(tail);
        }
        let header = FrameHeader::decode(bytes);
        if !header.is_plausible(room.saturating_sub(FRAME_HEADER as u64)) {
            tail.bad = Some(format!("no frame of {} bytes fits here", header.length));
            return Ok(tail);
        }
        let len = header.length as usize;
        let body =
            window.get(offset + FRAME_HEADER as u64, len).map_err(|error| failed("read", path, &error))?;
        if body.len() < len {
            tail.bad = Some("the file ends within a frame".into());
            return Ok(tail);
        }
        if header.expected_crc(place, offset, body) != header.crc {
            tail.bad = Some("the frame does not match its checksum".into());
            return Ok(tail);
        }
        if header.previous != tail.crc {
            tail.bad = Some(format!(
                "the frame follows one with checksum {:08x}, the one before it has {:08x}",
                header.previous, tail.crc
            ));
            return Ok(tail);
        }
        visit(Frame { offset, body, count: header.count })?;
        tail.end = offset + (FRAME_HEADER + len) as u64;
        tail.crc = header.crc;
    }
}

/// The offset of a frame with a right checksum at or after `from`: proof that what lies before it was
/// acknowledged, since a frame is written only once its predecessor is durable.
pub(crate) fn next_frame(file: &dyn DiskFile, place: &Place, from: u64) -> io::Result<Option<u64>> {
    let len = file.len()?;
    let mut bytes = vec![0; usize::try_from(len.saturating_sub(from)).unwrap_or(0)];
    let read = file.read_at(&mut bytes, from)?;
    bytes.truncate(read);
    let aligned = from.next_multiple_of(ALIGNMENT as u64).max(SEGMENT_HEADER as u64) - from;
    let mut at = aligned as usize;
    while let Some(header) = bytes.get(at..).and_then(|rest| rest.first_chunk::<FRAME_HEADER>()) {
        let header = FrameHeader::decode(header);
        let rest = &bytes[at + FRAME_HEADER..];
        if header.is_plausible(rest.len() as u64) {
            let offset = from + at as u64;
            if header.expected_crc(place, offset, &rest[..header.length as usize]) == header.crc {
                return Ok(Some(offset));
            }
        }
        at += ALIGNMENT;
    }
    Ok(None)
}

/// The first byte that is not zero at or after `from`.
pub(crate) fn first_nonzero(file: &dyn DiskFile, from: u64) -> io::Result<Option<u64>> {
    let mut chunk = vec![0; ZERO_CHUNK];
    let mut at = from;
    loop {
        let read = file.read_at(&mut chunk, at)?;
        if read == 0 {
            return Ok(None);
        }
        if let Some(found) = chunk[..read].iter().position(|&byte| byte != 0) {
            return Ok(Some(at + found as u64));
        }
        at += read as u64;
    }
}

pub(crate) fn failed(what: &'static str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::Io { what, path: path.to_owned(), detail: error.to_string() }
}

pub(crate) fn damage(path: &Path, offset: u64, seq: Option<u64>, detail: impl Into<String>) -> StoreError {
    StoreError::Damage { file: path.to_owned(), offset, seq, detail: detail.into() }
}

/// Where the segment with this number lies.
pub(crate) fn segment_path(vault: &Path, number: u64) -> PathBuf {
    vault.join("journal").join(format!("{number:010}.seg"))
}

/// Where its index lies.
pub(crate) fn index_path(vault: &Path, number: u64) -> PathBuf {
    vault.join("index").join(format!("{number:010}.idx"))
}
