//! Vectors that a model made of the chunks, beside those that are learnt from the vault.
//!
//! A vector is of one embedder, named by its id; those of several lie side by side and are never compared. What
//! is saved is a table for each embedder with a vector for each live chunk, all zero where there is none yet.

use std::collections::{BTreeMap, HashMap, HashSet};

use toka_toolkit_core::Embedding;

use crate::intent::blockfile::{Input, put, put_bytes};
use crate::intent::fixed::quantise;

/// Most embedders whose vectors are kept. A model that is tried out leaves its vectors in the log; the first ones that
/// came are the ones that are left.
const MAX_EMBEDDERS: usize = 16;
/// Most components of a vector, as in the log.
const MAX_DIMENSIONS: usize = 16_384;
/// Most bytes of an embedder's id.
const MAX_ID: usize = 512;

/// The vectors of chunks by embedder, while the projection is built.
#[derive(Default)]
pub(super) struct Embedded {
    /// The chunks that are live: the vector of any other event is none of search's business.
    chunks: HashSet<[u8; 32]>,
    vectors: BTreeMap<String, Vectors>,
}

struct Vectors {
    dimension: usize,
    by_chunk: HashMap<[u8; 32], Box<[i8]>>,
}

/// One embedder's table in the saved projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) embedder: String,
    pub(super) dimension: usize,
    /// Chunks that have a vector.
    pub(super) count: u32,
    /// Where it begins within the section.
    pub(super) offset: u64,
}

impl Embedded {
    /// Takes note of a chunk.
    pub(super) fn insert(&mut self, chunk: [u8; 32]) {
        self.chunks.insert(chunk);
    }

    /// Takes in the vector of a chunk. One that says nothing, or has other dimensions than the embedder's first one, is
    /// left out.
    pub(super) fn add(&mut self, embedder: &str, chunk: [u8; 32], vector: &Embedding) {
        let dimension = vector.dimension();
        let bounded = (1..=MAX_DIMENSIONS).contains(&dimension) && (1..=MAX_ID).contains(&embedder.len());
        let room = self.vectors.contains_key(embedder) || self.vectors.len() < MAX_EMBEDDERS;
        if !bounded || !room || !self.chunks.contains(&chunk) {
            return;
        }
        let mut components = vec![0i8; dimension];
        match vector {
            Embedding::Bits8(values) => components.copy_from_slice(values),
            Embedding::Bits16(values) => {
                let values: Vec<i64> = values.iter().map(|value| i64::from(*value)).collect();
                quantise(&values, &mut components);
            }
        }
        self.restore(embedder, dimension, chunk, components.into());
    }

    fn restore(&mut self, embedder: &str, dimension: usize, chunk: [u8; 32], components: Box<[i8]>) {
        if components.iter().all(|component| *component == 0) {
            return;
        }
        if !self.vectors.contains_key(embedder) {
            self.vectors.insert(embedder.to_owned(), Vectors { dimension, by_chunk: HashMap::new() });
        }
        if let Some(vectors) = self.vectors.get_mut(embedder).filter(|vectors| vectors.dimension == dimension)
        {
            vectors.by_chunk.insert(chunk, components);
        }
    }

    /// Forgets the vectors of a chunk that is no more.
    pub(super) fn remove(&mut self, chunk: &[u8; 32]) {
        self.chunks.remove(chunk);
        for vectors in self.vectors.values_mut() {
            vectors.by_chunk.remove(chunk);
        }
    }

    /// The tables of the live chunks, in their order, and what says where each lies.
    pub(super) fn encode<'a>(
        &self,
        chunks: impl Iterator<Item = &'a [u8; 32]> + Clone,
    ) -> (Vec<u8>, Vec<u8>) {
        let (mut head, mut tables) = (Vec::new(), Vec::new());
        for (embedder, vectors) in &self.vectors {
            let count = chunks.clone().filter(|chunk| vectors.by_chunk.contains_key(*chunk)).count();
            if count == 0 {
                continue;
            }
            put_bytes(&mut head, embedder.as_bytes());
            put(&mut head, vectors.dimension as u64);
            put(&mut head, count as u64);
            for chunk in chunks.clone() {
                match vectors.by_chunk.get(chunk) {
                    Some(components) => tables.extend(components.iter().map(|component| *component as u8)),
                    None => tables.resize(tables.len() + vectors.dimension, 0),
                }
            }
        }
        (head, tables)
    }

    /// Takes up the tables as they were saved.
    pub(super) fn load(&mut self, tables: &[Table], bytes: &[u8], chunks: &[[u8; 32]]) -> Option<()> {
        for table in tables {
            let rows = bytes.get(usize::try_from(table.offset).ok()?..)?;
            let rows = rows.get(..table.dimension.checked_mul(chunks.len())?)?;
            for (row, chunk) in rows.chunks_exact(table.dimension).zip(chunks) {
                let components = row.iter().map(|byte| *byte as i8).collect();
                self.restore(&table.embedder, table.dimension, *chunk, components);
            }
        }
        Some(())
    }
}

/// What [`Embedded::encode`] says of its tables, for a projection of so many chunks; `None` if that makes no sense, or does
/// not fill `length` bytes.
pub(super) fn decode_tables(head: &[u8], chunks: usize, length: u64) -> Option<Vec<Table>> {
    let mut input = Input(head);
    let mut tables: Vec<Table> = Vec::new();
    let mut offset = 0u64;
    while !input.0.is_empty() {
        let embedder = input.text()?.to_owned();
        let (dimension, count) = (input.small()? as usize, input.small()?);
        let sorted = tables.last().is_none_or(|before| before.embedder < embedder);
        if !sorted || !(1..=MAX_DIMENSIONS).contains(&dimension) || count as usize > chunks {
            return None;
        }
        tables.push(Table { embedder, dimension, count, offset });
        offset = offset.checked_add((dimension as u64).checked_mul(chunks as u64)?)?;
    }
    (offset == length).then_some(tables)
}
