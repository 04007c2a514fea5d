//! The bytes of the index: dictionary, posting lists, documents and files.
//!
//! Terms are sorted and numbered by rank, chunks by their order in the log, so that the bytes depend on
//! what is live and on nothing else.

use super::collection::Occurrence;
use crate::intent::blockfile::{Format, Input, put, put_bytes};

/// The search projection's file format.
pub(super) const FORMAT: Format = Format { kind: "search", version: 4 };
/// Name of the search projection within its directory.
pub(super) const FILE: &str = "search.idx";

pub(super) const DICTIONARY: &str = "terms";
pub(super) const DICTIONARY_INDEX: &str = "terms.index";
pub(super) const POSTINGS: &str = "postings";
pub(super) const CHUNKS: &str = "chunks";
pub(super) const LENGTHS: &str = "lengths";
pub(super) const FILES: &str = "files";
pub(super) const VECTORS: &str = "vectors";
pub(super) const MODEL: &str = "model";
pub(super) const INTENTS: &str = "intents";
/// The tables of vectors that models made, and what says which these are.
pub(super) const EMBEDDED: &str = "embedded";
pub(super) const EMBEDDED_INDEX: &str = "embedded.index";

/// Bytes of a chunk's record: event id, sequence number, first and last line.
pub(super) const CHUNK_RECORD: usize = 32 + 8 + 4 + 4;

/// Terms of a block of the dictionary, which is read and searched as a whole.
const BLOCK_TERMS: usize = 32;

/// A chunk's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkRecord {
    pub(super) event: [u8; 32],
    pub(super) seq: u64,
    pub(super) lines: (u32, u32),
}

impl ChunkRecord {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.event);
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.lines.0.to_le_bytes());
        out.extend_from_slice(&self.lines.1.to_le_bytes());
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; CHUNK_RECORD] = bytes.try_into().ok()?;
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let mut event = [0; 32];
        event.copy_from_slice(&bytes[..32]);
        Some(Self {
            event,
            seq: u64::from(number(32)) | u64::from(number(36)) << 32,
            lines: (number(40), number(44)),
        })
    }
}

/// What the dictionary says of a term.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct TermRecord {
    pub(super) stem: String,
    pub(super) shown: String,
    pub(super) lead: u8,
    /// Place of its posting list.
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Writes dictionary and posting lists, term by term in sorted order.
#[derive(Default)]
pub(super) struct DictionaryWriter {
    pub(super) dictionary: Vec<u8>,
    pub(super) index: Vec<u8>,
    pub(super) postings: Vec<u8>,
    last: String,
    terms: usize,
}

impl DictionaryWriter {
    /// Appends a term with its occurrences by chunk (`term` of each is the chunk's number) and the files
    /// that bear it in their names or titles, both ascending.
    pub(super) fn push(
        &mut self,
        stem: &str,
        (shown, lead): (&str, u8),
        chunks: &[Occurrence],
        files: &[Named],
    ) {
        if self.terms.is_multiple_of(BLOCK_TERMS) {
            put_bytes(&mut self.index, stem.as_bytes());
            put(&mut self.index, self.dictionary.len() as u64);
            put(&mut self.index, self.postings.len() as u64);
            self.last.clear();
        }
        let start = self.postings.len();
        put(&mut self.postings, chunks.len() as u64);
        put(&mut self.postings, files.len() as u64);
        let mut last = 0;
        for occurrence in chunks {
            // One byte for the common case: near the one before, once in the body, not in the heading.
            let delta = u64::from(occurrence.term - last);
            let many = occurrence.packed() != 2;
            put(&mut self.postings, delta << 1 | u64::from(many));
            if many {
                put(&mut self.postings, occurrence.packed());
            }
            last = occurrence.term;
        }
        let mut last = 0;
        for name in files {
            put(&mut self.postings, u64::from(name.file - last) << 3 | u64::from(name.places));
            last = name.file;
        }

        let shared = shared_prefix(&self.last, stem);
        put(&mut self.dictionary, shared as u64);
        put_bytes(&mut self.dictionary, &stem.as_bytes()[shared..]);
        let kept = shared_prefix(stem, shown);
        put(&mut self.dictionary, (stem.len() - kept) as u64);
        put_bytes(&mut self.dictionary, &shown.as_bytes()[kept..]);
        self.dictionary.push(lead);
        put(&mut self.dictionary, (self.postings.len() - start) as u64);
        self.last.clear();
        self.last.push_str(stem);
        self.terms += 1;
    }
}

/// The part of the dictionary that stays in memory: the first term of each block.
#[derive(Debug)]
pub(super) struct DictionaryIndex {
    blocks: Vec<DictionaryBlock>,
    dictionary: u64,
}

#[derive(Debug)]
struct DictionaryBlock {
    first: Box<str>,
    dictionary: u64,
    postings: u64,
}

impl DictionaryIndex {
    pub(super) fn decode(bytes: &[u8], dictionary: u64) -> Option<Self> {
        let mut input = Input(bytes);
        let mut blocks = Vec::new();
        while !input.0.is_empty() {
            blocks.push(DictionaryBlock {
                first: input.text()?.into(),
                dictionary: input.number()?,
                postings: input.number()?,
            });
        }
        Some(Self { blocks, dictionary })
    }

    /// The number of the block that would hold the term.
    pub(super) fn find(&self, stem: &str) -> Option<usize> {
        self.blocks.partition_point(|block| &*block.first <= stem).checked_sub(1)
    }

    /// The blocks that hold every term with this beginning.
    pub(super) fn beginning_with(&self, beginning: &str) -> std::ops::Range<usize> {
        let end = self
            .blocks
            .partition_point(|block| &*block.first <= beginning || block.first.starts_with(beginning));
        self.find(beginning).unwrap_or(0)..end
    }

    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Offset and length of a block within the dictionary.
    pub(super) fn range(&self, block: usize) -> Option<(u64, usize)> {
        let start = self.blocks.get(block)?.dictionary;
        let end = self.blocks.get(block + 1).map_or(self.dictionary, |next| next.dictionary);
        Some((start, usize::try_from(end.checked_sub(start)?).ok()?))
    }

    /// Decodes a block's terms.
    pub(super) fn terms(&self, block: usize, bytes: &[u8]) -> Option<Vec<TermRecord>> {
        let mut input = Input(bytes);
        let mut offset = self.blocks.get(block)?.postings;
        let mut terms: Vec<TermRecord> = Vec::with_capacity(BLOCK_TERMS);
        while !input.0.is_empty() {
            let shared = input.number()? as usize;
            let before = terms.last().map_or("", |term| term.stem.as_str());
            let mut stem = before.get(..shared)?.to_owned();
            stem.push_str(input.text()?);
            let dropped = input.number()? as usize;
            let mut shown = stem.get(..stem.len().checked_sub(dropped)?)?.to_owned();
            shown.push_str(input.text()?);
            let lead = *input.take(1)?.first()?;
            let length = input.number()?;
            terms.push(TermRecord { stem, shown, lead, offset, length });
            offset = offset.checked_add(length)?;
        }
        Some(terms)
    }
}

/// A decoded posting list. `term` of each occurrence is the chunk's number; the files bear the term in
/// their paths or titles.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PostingList {
    pub(super) chunks: Vec<Occurrence>,
    pub(super) files: Vec<Named>,
}

/// A file whose name bears a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) file: u32,
    /// Where in the name: [`Self::FOLDER`], [`Self::STEM`] and [`Self::TITLE`].
    pub(super) places: u8,
}

impl Named {
    /// In the folders of the path, or in the extension of its last part.
    pub(super) const FOLDER: u8 = 1;
    /// In the last part of the path, its extension aside.
    pub(super) const STEM: u8 = 2;
    /// In the title.
    pub(super) const TITLE: u8 = 4;
}

impl PostingList {
    /// Decodes a list; every chunk is below `chunks`, every file below `files`, both ascend.
    pub(super) fn decode(bytes: &[u8], chunks: u32, files: u32) -> Option<Self> {
        let mut input = Input(bytes);
        let (count, file_count) = (input.small()?, input.small()?);
        if count > chunks || file_count > files {
            return None;
        }
        let mut list = Self {
            chunks: Vec::with_capacity(count as usize),
            files: Vec::with_capacity(file_count as usize),
        };
        let mut at = 0u32;
        for index in 0..count {
            let head = input.number()?;
            let delta = u32::try_from(head >> 1).ok()?;
            let packed = if head & 1 == 1 { input.number()? } else { 2 };
            at = at.checked_add(delta)?;
            if at >= chunks || (index > 0 && delta == 0) {
                return None;
            }
            list.chunks.push(Occurrence::unpacked(at, packed));
        }
        let mut at = 0u32;
        for index in 0..file_count {
            let head = input.number()?;
            let (delta, places) = (u32::try_from(head >> 3).ok()?, (head & 7) as u8);
            at = at.checked_add(delta)?;
            if at >= files || (index > 0 && delta == 0) || places == 0 {
                return None;
            }
            list.files.push(Named { file: at, places });
        }
        input.0.is_empty().then_some(list)
    }
}

/// A file's path and its number of chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileRecord {
    pub(super) path: Box<str>,
    pub(super) chunks: u32,
    /// Distinct terms of its title.
    pub(super) title_terms: u32,
    /// Distinct terms of the last part of its path, the extension aside.
    pub(super) stem_terms: u32,
}

pub(super) fn encode_files<'a>(files: impl Iterator<Item = (&'a str, usize, (u32, u32))>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut last = "";
    for (path, chunks, terms) in files {
        let shared = shared_prefix(last, path);
        put(&mut out, shared as u64);
        put_bytes(&mut out, &path.as_bytes()[shared..]);
        put(&mut out, chunks as u64);
        put(&mut out, u64::from(terms.0));
        put(&mut out, u64::from(terms.1));
        last = path;
    }
    out
}

pub(super) fn decode_files(bytes: &[u8]) -> Option<Vec<FileRecord>> {
    let mut input = Input(bytes);
    let mut files: Vec<FileRecord> = Vec::new();
    while !input.0.is_empty() {
        let shared = input.number()? as usize;
        let before = files.last().map_or("", |file| &*file.path);
        let mut path = before.get(..shared)?.to_owned();
        path.push_str(input.text()?);
        files.push(FileRecord {
            path: path.into(),
            chunks: input.small()?,
            title_terms: input.small()?,
            stem_terms: input.small()?,
        });
    }
    Some(files)
}

fn shared_prefix(left: &str, right: &str) -> usize {
    let mut shared = left.bytes().zip(right.bytes()).take_while(|(a, b)| a == b).count();
    while !right.is_char_boundary(shared) || !left.is_char_boundary(shared) {
        shared -= 1;
    }
    shared
}
