//! What reads bytes of strangers, for fuzzers: each function takes any bytes, and must neither panic, nor hang, nor take
//! much more memory than it was given bytes. The fuzz targets in `fuzz/` call them, and the suite with changed goldens.

use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use std::sync::Arc;

use toka_types::{Digest, EventHeader};

use crate::hash::leaf_hash;
use crate::journal::disk::{Disk, DiskFile, RealDisk};
use crate::journal::frame::{
    Entry, FRAME_HEADER, FrameHeader, Place, SEGMENT_HEADER, SegmentHeader, content_bytes, entries,
    event_prefix, u32_at,
};
use crate::journal::index::{Index, locate};
use crate::journal::manifest::Manifest;
use crate::journal::segment::{first_nonzero, next_frame};
use crate::journal::sidecar::Sidecar;
use crate::journal::state::{Segment, State, index_segment};
use crate::journal::tables::BLOCK;

/// The name of a target, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 9] = [
    ("frame", frame),
    ("header", header),
    ("segment", segment),
    ("index", index),
    ("manifest", manifest),
    ("bundle", bundle),
    ("note", note),
    ("checkpoint", checkpoint),
    ("keys", keys),
];

/// How many keys of an index are asked for.
const ASKED: usize = 32;

/// A file of bytes that nobody changes.
struct Bytes(Vec<u8>);

impl DiskFile for Bytes {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let rest = self.0.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, _: &[u8], _: u64) -> Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn id(&self) -> Result<u64> {
        Ok(0)
    }

    fn len(&self) -> Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn set_len(&self, _: u64) -> Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn allocate(&self, _: u64, _: u64) -> Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }
}

/// A frame: its header, its entries, and all contents in them, whatever the checksum says.
pub fn frame(bytes: &[u8]) {
    let Some((head, body)) = bytes.split_first_chunk::<FRAME_HEADER>() else { return };
    let head = FrameHeader::decode(head);
    let place = Place { vault: [7; 16], segment: 1 };
    if head.is_plausible(body.len() as u64) {
        let _ = head.expected_crc(&place, 64, &body[..head.length as usize]);
    }
    let _ = bytes.first_chunk().and_then(event_prefix);
    let _ = entries(
        body,
        head.count,
        |at, detail| (at, detail),
        |entry| {
            match entry {
                Entry::Log { fork: Some(fork), .. } => drop(fork.tree().root()),
                Entry::Log { .. } => {}
                Entry::Event(event) => {
                    for content in &event.contents {
                        let _ =
                            content_bytes(content.stored, content.raw_len).map(|bytes| Digest::of(&bytes));
                    }
                    if let Ok(header) = EventHeader::decode(event.header) {
                        let _ = (event.names_its_contents(&header), event.refs(&header).count());
                    }
                }
            }
            Ok(())
        },
    );
}

/// A header: what can be read has exactly this form.
pub fn header(bytes: &[u8]) {
    if let Ok(header) = EventHeader::decode(bytes) {
        assert_eq!(header.to_bytes(), bytes, "a header has one form");
        let _ = (header.causal_digest(), header.check_bounds(), header.content_bytes(), leaf_hash(bytes));
    }
}

/// A segment as it is, and with checksums that are right, so that what lies behind them is reached.
pub fn segment(bytes: &[u8]) {
    scan(bytes.to_vec());
    scan(with_checksums(bytes));
}

fn scan(bytes: Vec<u8>) {
    let Ok((header, crc)) = SegmentHeader::decode(&bytes) else {
        let _ = next_frame(&Bytes(bytes), &Place { vault: [7; 16], segment: 1 }, 0);
        return;
    };
    let limit = bytes.len() as u64;
    let file: Arc<dyn DiskFile> = Arc::new(Bytes(bytes));
    let path = Path::new("segment");
    let place = Place { vault: header.vault, segment: header.number };
    let (number, index) = (header.number, Index::default());
    let SegmentHeader { imported, rewritten, .. } = header;
    let (path, end) = (path.to_owned(), header.len());
    let mut segment = Segment { number, path, file, end, crc, imported, rewritten, index };
    let mut state = State::default();
    let _ = state.scan(&mut segment, &place, limit);
    for log in &state.logs {
        let _ = (log.head(), log.meta());
    }
    let _ = first_nonzero(&*segment.file, segment.end);
    let _ = next_frame(&*segment.file, &place, segment.end);
    if let Ok(recent) = index_segment(&*segment.file, &segment.path, &place, segment.end) {
        let _ = recent.body(None).map(|body| body.bytes.len());
    }
}

/// The bytes with the checksums that a segment of them would have.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() < SEGMENT_HEADER {
        return bytes;
    }
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    if bytes.len() >= 128 && u32_at(&bytes, 8) == 2 {
        let crc = crc32fast::hash(&bytes[..124]);
        bytes[124..128].copy_from_slice(&crc.to_le_bytes());
    }
    let Ok((header, mut previous)) = SegmentHeader::decode(&bytes) else { return bytes };
    let place = Place { vault: header.vault, segment: header.number };
    let mut at = header.len() as usize;
    while let Some(head) = bytes.get(at..).and_then(|rest| rest.first_chunk::<FRAME_HEADER>()) {
        let mut head = FrameHeader::decode(head);
        let body = at + FRAME_HEADER;
        if !head.is_plausible((bytes.len() - body) as u64) {
            break;
        }
        head.previous = previous;
        let end = body + head.length as usize;
        previous = head.expected_crc(&place, at as u64, &bytes[body..end]);
        bytes[at + 8..at + 12].copy_from_slice(&head.previous.to_le_bytes());
        bytes[at + 12..at + 16].copy_from_slice(&previous.to_le_bytes());
        at = end;
    }
    bytes
}

/// The index of a segment as it is, and with checksums that are right. The segment is empty: nothing but the index tells.
pub fn index(bytes: &[u8]) {
    for bytes in [bytes, &with_index_checksums(bytes)] {
        in_directory("index", bytes, |directory| {
            let (disk, segment): (Arc<dyn Disk>, Arc<dyn DiskFile>) =
                (Arc::new(RealDisk), Arc::new(Bytes(Vec::new())));
            let opened = Sidecar::open(&disk, &directory.join("index"), (directory, &segment));
            let Ok(sidecar) = opened else { return };
            let mut state = State::default();
            let _ = state.restore(&sidecar.meta.logs, sidecar.meta.totals);
            for log in &state.logs {
                let _ = (log.head(), log.meta());
            }
            let _ = (sidecar.check(), sidecar.rebuild().is_ok());
            let ids = sidecar.ids().unwrap_or_default();
            for &(key, place) in ids.iter().take(ASKED) {
                let _ = (sidecar.find(key), sidecar.content(key), sidecar.children(key, 0, ASKED));
                let _ = locate(&sidecar.meta.runs, place);
            }
            let _ = (sidecar.find_range(0, u64::MAX), sidecar.keys(|_| {}));
            let events = sidecar.meta.events as usize;
            let index = Index::over(sidecar);
            for run in index.runs() {
                let offsets = index.offsets(run.log, run.seq, usize::MAX).unwrap_or_default();
                assert!(offsets.len() <= events, "an index knows where its own events are");
            }
        });
    }
}

/// The bytes with the checksums that an index of them would have.
fn with_index_checksums(bytes: &[u8]) -> Vec<u8> {
    const FIXED: usize = 16;
    let mut bytes = bytes.to_vec();
    if bytes.len() < FIXED {
        return bytes;
    }
    let end = FIXED.saturating_add(u32_at(&bytes, 12) as usize);
    let Some((description, rest)) = bytes.split_at_mut_checked(end) else { return bytes };
    let Some((checksum, tables)) = rest.split_first_chunk_mut::<32>() else { return bytes };
    *checksum = blake3::hash(description).into();
    for block in tables.as_chunks_mut::<BLOCK>().0 {
        let (payload, crc) = block.split_at_mut(BLOCK - 4);
        crc.copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    }
    bytes
}

/// A manifest, with the checksum that it has and with the right one.
pub fn manifest(bytes: &[u8]) {
    let body = bytes.iter().rposition(|&byte| byte == b'}').map_or(bytes, |at| &bytes[..=at]);
    let body = [body, b"\n"].concat();
    let checked = [&body[..], format!("blake3 {}\n", blake3::hash(&body).to_hex()).as_bytes()].concat();
    for bytes in [bytes, &checked] {
        in_directory("manifest", bytes, |directory| {
            if let Ok(Some(manifest)) = Manifest::read_any(&RealDisk, directory) {
                let _ = (manifest.vault_id(), manifest.to_text());
            }
        });
    }
}

/// A bundle.
pub fn bundle(bytes: &[u8]) {
    use crate::bundle::{Bundle, check};
    use crate::store::Store;
    in_directory("bundle", bytes, |directory| {
        let path = directory.join("bundle");
        let whole = check(&path).is_ok_and(|checked| checked.problems.is_empty());
        let opened = Bundle::open(&path);
        assert_eq!(whole, opened.is_ok(), "what is whole can be opened");
        if let Ok(bundle) = opened {
            let _ = bundle.read(bundle.log(), 0, usize::MAX);
        }
    });
}

/// A signed note.
pub fn note(bytes: &[u8]) {
    if let Ok(note) = crate::note::Note::parse(bytes) {
        let _ = (note.to_string(), note.signatures().len(), note.verify(&[]));
    }
}

/// A checkpoint: as the text of a note, and as a note.
pub fn checkpoint(bytes: &[u8]) {
    use crate::checkpoint::Checkpoint;
    if let Ok(checkpoint) =
        std::str::from_utf8(bytes).map_err(drop).and_then(|t| Checkpoint::parse(t).map_err(drop))
    {
        let again = Checkpoint::parse(&checkpoint.to_text());
        assert_eq!(
            again.ok().as_ref(),
            Some(&checkpoint),
            "what can be read is written so that it can be read"
        );
    }
    if let Ok(note) = crate::note::Note::parse(bytes) {
        let _ = Checkpoint::open(&note, &[]);
    }
}

/// The keys of a sealed vault, without a key that opens them.
pub fn keys(bytes: &[u8]) {
    in_directory("keys", bytes, |directory| drop(crate::seal::KeysInfo::read(directory)));
}

/// Calls `read` with a directory in which a file has these bytes. In memory, if that can be.
fn in_directory(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let thread = format!("{:?}", std::thread::current().id());
    let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
    let directory = root.join(format!("toka-fuzz-{}-{thread}", std::process::id()));
    let written: Result<()> =
        std::fs::create_dir_all(&directory).and_then(|()| std::fs::write(directory.join(name), bytes));
    written.map_err(|error: Error| error.to_string()).expect("a file can be written");
    read(&directory);
    std::fs::remove_dir_all(&directory).expect("a directory can be removed");
}
