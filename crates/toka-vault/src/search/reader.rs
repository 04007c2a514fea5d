//! Answering queries from the saved projection.

use std::path::Path;

use toka_toolkit_core::{EmbedError, Embedder, Embedding};

use super::analyze::{Analyzer, AskedTerm};
use super::embedded::{self, Table};
use super::latent::{self, Space};
use super::layout::{self, ChunkRecord, DictionaryIndex, FileRecord, PostingList, TermRecord};
use super::misspelt::Misspelt;
use super::rank::{self, Evidence, Found, Model, Shape};
use super::thesaurus::Thesaurus;
use crate::intent::blockfile::{BlockFile, Input};
use crate::intent::fixed::quantise;
use crate::intent::{Intent, Intents, Position, ProjectionError, ProjectionKey, SIMILARITY_ONE};

/// One passage that answers a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Path of the file as it is now.
    pub path: String,
    /// First and last line within the file.
    pub lines: (u32, u32),
    /// How good the hit is, relative to the others of this query: one for a passage that leads every
    /// ranking, falling towards zero. Not comparable between queries.
    pub score: f64,
    /// Id of the chunk's event, by which the text is found.
    pub event: [u8; 32],
    /// Sequence number of the chunk's event.
    pub seq: u64,
    /// What the passage is about.
    pub intent: Option<IntentRef>,
}

/// An intent as a hit names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentRef {
    /// The intent's id.
    pub id: u32,
    /// Its name.
    pub name: String,
}

/// A passage that belongs to an intent.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Id of the chunk's event.
    pub event: [u8; 32],
    /// Sequence number of the chunk's event.
    pub seq: u64,
    /// Path of the file as it is now.
    pub path: String,
    /// First and last line within the file.
    pub lines: (u32, u32),
    /// Cosine to the intent's centre, at most one.
    pub similarity: f64,
}

/// The query as a model sees it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The id of the embedder that made the vector.
    pub embedder: &'a str,
    /// The vector of the query's text.
    pub vector: &'a Embedding,
}

/// What to return.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Most hits; 10 by default.
    pub limit: usize,
    /// Only files whose path this accepts; all by default.
    pub path: Option<&'a dyn Fn(&str) -> bool>,
    /// Only passages whose event's sequence number this accepts; all by default.
    pub event: Option<&'a dyn Fn(u64) -> bool>,
    /// The query's vector, to be compared with those that the same embedder made of the passages; none by default.
    pub asked: Option<Asked<'a>>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { limit: rank::FIRST_HITS, path: None, event: None, asked: None }
    }
}

/// The saved projection, open for queries.
///
/// Holds the file that it opened: a writer that saves a new one does not disturb it. A query reads the
/// posting lists of its words and the vectors, and verifies what it reads. It is also the
/// [`Embedder`] that was learnt from this vault.
#[derive(Debug)]
pub struct SearchReader {
    pub(super) file: BlockFile,
    id: String,
    index: DictionaryIndex,
    pub(super) files: Vec<FileRecord>,
    pub(super) starts: Vec<u32>,
    lengths: Vec<u32>,
    pub(super) space: Space,
    embedded: Vec<Table>,
}

impl SearchReader {
    /// Opens the projection in the directory.
    ///
    /// # Errors
    /// As [`SearchWriter::open`](super::SearchWriter::open). What the opening does not read is verified
    /// when a query reads it.
    pub fn open(directory: &Path) -> Result<Self, ProjectionError> {
        Self::open_sealed(directory, None)
    }

    /// As [`open`](Self::open), for the projection of a sealed vault.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_sealed(directory: &Path, key: Option<&ProjectionKey>) -> Result<Self, ProjectionError> {
        let file = BlockFile::open(&directory.join(layout::FILE), layout::FORMAT, key)?;
        let nonsense = |section: &str| file.damaged(section, NONSENSE);
        let files =
            layout::decode_files(&file.read_all(layout::FILES)?).ok_or_else(|| nonsense(layout::FILES))?;
        let index = DictionaryIndex::decode(
            &file.read_all(layout::DICTIONARY_INDEX)?,
            file.length(layout::DICTIONARY)?,
        )
        .ok_or_else(|| nonsense(layout::DICTIONARY_INDEX))?;
        let mut starts = Vec::with_capacity(files.len() + 1);
        let mut total = 0u32;
        for record in &files {
            starts.push(total);
            total = total.checked_add(record.chunks).ok_or_else(|| nonsense(layout::FILES))?;
        }
        starts.push(total);
        if file.length(layout::CHUNKS)? != u64::from(total) * layout::CHUNK_RECORD as u64 {
            return Err(nonsense(layout::CHUNKS));
        }
        let bytes = file.read_all(layout::LENGTHS)?;
        let mut input = Input(&bytes);
        let mut lengths = Vec::with_capacity(total as usize);
        for _ in 0..total {
            lengths.push(input.small().ok_or_else(|| nonsense(layout::LENGTHS))?);
        }
        let space = Space::decode(&file.read_all(layout::MODEL)?, total as usize)
            .ok_or_else(|| nonsense(layout::MODEL))?;
        if file.length(layout::VECTORS)? != u64::from(total) * space.dimension as u64 {
            return Err(nonsense(layout::VECTORS));
        }
        let embedded = embedded::decode_tables(
            &file.read_all(layout::EMBEDDED_INDEX)?,
            total as usize,
            file.length(layout::EMBEDDED)?,
        )
        .ok_or_else(|| nonsense(layout::EMBEDDED_INDEX))?;
        Ok(Self {
            id: format!("lexical/1:{:016x}", file.fingerprint()),
            file,
            index,
            files,
            starts,
            lengths,
            space,
            embedded,
        })
    }

    /// How far into the log the projection reaches.
    #[must_use]
    pub fn position(&self) -> Position {
        self.file.position()
    }

    /// True if any passage has a vector that a model made.
    #[must_use]
    pub fn has_vectors(&self) -> bool {
        !self.embedded.is_empty()
    }

    /// How many of the passages have a vector of the embedder of this id, and how many there are.
    #[must_use]
    pub fn embedded(&self, embedder: &str) -> (usize, usize) {
        let table = self.embedded.iter().find(|table| table.embedder == embedder);
        (table.map_or(0, |table| table.count as usize), self.lengths.len())
    }

    /// The passages that answer the query best, best first; at most a few from one file, and at most
    /// two of them among the first ten unless other files have no more to offer. A word that occurs nowhere stands for
    /// those of the texts that differ by a slip from it. Empty if no word of the
    /// query occurs anywhere, nor any like it, unless its vector is given and comes near to any.
    ///
    /// # Errors
    /// [`ProjectionError::Damaged`] or [`ProjectionError::Io`] if what the query needs cannot be read.
    pub fn search(&self, query: &str, options: &Options<'_>) -> Result<Vec<Hit>, ProjectionError> {
        let evidence = self.evidence(query)?;
        let model = self.model(options.asked)?;
        if (evidence.is_empty() && model.is_none()) || options.limit == 0 {
            return Ok(Vec::new());
        }
        let vectors = self.file.read_all(layout::VECTORS)?;
        let shape = Shape {
            lengths: &self.lengths,
            starts: &self.starts,
            files: &self.files,
            space: &self.space,
            vectors: &vectors,
            model,
        };
        let accepted: Option<Vec<bool>> =
            options.path.map(|accept| self.files.iter().map(|file| accept(&file.path)).collect());
        let passages = options.event.map(|accept| self.accepted(accept)).transpose()?;
        let accept = |file: usize| {
            accepted.as_ref().is_none_or(|accepted| accepted[file])
                && passages.as_ref().is_none_or(|passages| passages[shape.chunks(file)].contains(&true))
        };
        let accept_passage = |chunk: usize| passages.as_ref().is_none_or(|passages| passages[chunk]);
        let found = rank::rank(&shape, &evidence, options.limit, accept, accept_passage);
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let intents = self.intents()?;
        found.into_iter().map(|found| self.hit(found, &intents)).collect()
    }

    /// The intents of everything that is indexed and who belongs to them, by position in the log's order.
    ///
    /// # Errors
    /// [`ProjectionError::Damaged`] or [`ProjectionError::Io`] if they cannot be read.
    pub fn intents(&self) -> Result<Intents, ProjectionError> {
        Intents::decode(&self.file.read_all(layout::INTENTS)?, self.lengths.len())
            .ok_or_else(|| self.file.damaged(layout::INTENTS, NONSENSE))
    }

    /// An intent and all passages that belong to it, in the order of the log; `None` if there is none with
    /// this id.
    ///
    /// # Errors
    /// As [`intents`](Self::intents).
    pub fn members(&self, id: u32) -> Result<Option<(Intent, Vec<Member>)>, ProjectionError> {
        let intents = self.intents()?;
        let Some(intent) = intents.list().iter().find(|intent| intent.id == id) else {
            return Ok(None);
        };
        let records = self.file.read_all(layout::CHUNKS)?;
        let members = intents.members(id).unwrap_or_default();
        let members = members.into_iter().map(|(chunk, similarity)| {
            let record = records
                .get(chunk * layout::CHUNK_RECORD..(chunk + 1) * layout::CHUNK_RECORD)
                .and_then(ChunkRecord::decode)
                .ok_or_else(|| self.file.damaged(layout::CHUNKS, NONSENSE))?;
            let file = self.starts.partition_point(|start| *start as usize <= chunk) - 1;
            Ok(Member {
                event: record.event,
                seq: record.seq,
                path: self.files[file].path.to_string(),
                lines: record.lines,
                similarity: f64::from(similarity) / f64::from(SIMILARITY_ONE),
            })
        });
        Ok(Some((intent.clone(), members.collect::<Result<_, _>>()?)))
    }

    /// The intent a text comes nearest to and its similarity; `None` if no word of it is known.
    ///
    /// # Errors
    /// As [`search`](Self::search).
    pub fn assign(&self, text: &str) -> Result<Option<(Intent, f64)>, ProjectionError> {
        let vectors = self.file.read_all(layout::VECTORS)?;
        let vector = self.place(text, &vectors)?;
        let intents = self.intents()?;
        Ok(intents
            .assign(&vector)
            .map(|(intent, similarity)| (intent.clone(), f64::from(similarity) / f64::from(SIMILARITY_ONE))))
    }

    /// The posting lists of the query's words, of those that are meant by words which no text holds, and of words
    /// related to the rare ones.
    fn evidence(&self, query: &str) -> Result<Vec<Evidence>, ProjectionError> {
        let analyzer = Analyzer::new();
        let thesaurus = Thesaurus::new(&analyzer);
        let words = analyzer.asked(query);
        let mut found = Vec::new();
        let mut spread = Vec::with_capacity(words.len());
        for word in &words {
            let list = self.postings(&word.term)?;
            spread.push(list.as_ref().map_or(0, |list| list.chunks.len()));
            match list {
                Some(list) => found.push(Evidence::asked(list)),
                None => found.extend(self.meant(word)?),
            }
        }
        let asked: Vec<String> = words.into_iter().map(|word| word.term).collect();
        for (term, related_to) in thesaurus.related(&asked) {
            if rank::is_rare(spread[related_to], self.lengths.len())
                && let Some(list) = self.postings(&term)?
            {
                found.push(Evidence::related(list, spread[related_to]));
            }
        }
        Ok(found)
    }

    /// The posting lists of the words that may be meant by one which no text holds.
    fn meant(&self, word: &AskedTerm) -> Result<Vec<Evidence>, ProjectionError> {
        let Some(mut misspelt) = Misspelt::new(word) else {
            return Ok(Vec::new());
        };
        let beginning = misspelt.beginning();
        for block in self.index.beginning_with(&beginning) {
            for other in self.terms(block)?.iter().filter(|other| other.stem.starts_with(&beginning)) {
                misspelt.offer(&other.stem, Some(&other.shown), other.length);
            }
        }
        let (terms, weight) = misspelt.meant();
        let lists = terms.iter().map(|term| self.postings(term));
        lists.filter_map(|list| Some(list.transpose()?.map(|list| Evidence::meant(list, weight)))).collect()
    }

    /// The table of the query's embedder; none if that made no vector of these passages, or one of other dimensions.
    fn model(&self, asked: Option<Asked<'_>>) -> Result<Option<Model>, ProjectionError> {
        let Some(asked) = asked else { return Ok(None) };
        let table = self.embedded.iter().find(|table| table.embedder == asked.embedder);
        let Some(table) = table.filter(|table| table.dimension == asked.vector.dimension()) else {
            return Ok(None);
        };
        let query: Vec<f64> = match asked.vector {
            Embedding::Bits8(components) => components.iter().map(|c| f64::from(*c)).collect(),
            Embedding::Bits16(components) => components.iter().map(|c| f64::from(*c)).collect(),
        };
        let length = table.dimension * self.lengths.len();
        let vectors = self.file.read(layout::EMBEDDED, table.offset, length)?;
        Ok(query.iter().any(|component| *component != 0.0).then_some(Model { query, vectors }))
    }

    fn place(&self, text: &str, vectors: &[u8]) -> Result<Vec<i8>, ProjectionError> {
        let mut lists = Vec::new();
        for (term, count) in Analyzer::new().query(text) {
            if let Some(list) = self.postings(&term)? {
                lists.push((list, count));
            }
        }
        let terms = lists.iter().map(|(list, count)| (list, *count));
        let place = latent::place(&self.space, vectors, terms);
        let mut quantised = vec![0; place.len()];
        quantise(&place, &mut quantised);
        Ok(quantised)
    }

    fn hit(&self, found: Found, intents: &Intents) -> Result<Hit, ProjectionError> {
        let bytes = self.file.read(
            layout::CHUNKS,
            (found.chunk * layout::CHUNK_RECORD) as u64,
            layout::CHUNK_RECORD,
        )?;
        let record =
            ChunkRecord::decode(&bytes).ok_or_else(|| self.file.damaged(layout::CHUNKS, NONSENSE))?;
        Ok(Hit {
            path: self.files[found.file].path.to_string(),
            lines: record.lines,
            score: found.score,
            event: record.event,
            seq: record.seq,
            intent: intents
                .of(found.chunk)
                .map(|(intent, _)| IntentRef { id: intent.id, name: intent.name.clone() }),
        })
    }

    fn term(&self, stem: &str) -> Result<Option<TermRecord>, ProjectionError> {
        let Some(block) = self.index.find(stem) else {
            return Ok(None);
        };
        Ok(self.terms(block)?.into_iter().find(|term| term.stem == stem))
    }

    fn terms(&self, block: usize) -> Result<Vec<TermRecord>, ProjectionError> {
        let nonsense = || self.file.damaged(layout::DICTIONARY, NONSENSE);
        let (offset, length) = self.index.range(block).ok_or_else(nonsense)?;
        let bytes = self.file.read(layout::DICTIONARY, offset, length)?;
        self.index.terms(block, &bytes).ok_or_else(nonsense)
    }

    fn postings(&self, stem: &str) -> Result<Option<PostingList>, ProjectionError> {
        let Some(term) = self.term(stem)? else {
            return Ok(None);
        };
        let nonsense = || self.file.damaged(layout::POSTINGS, NONSENSE);
        let length = usize::try_from(term.length).map_err(|_| nonsense())?;
        let bytes = self.file.read(layout::POSTINGS, term.offset, length)?;
        PostingList::decode(&bytes, self.lengths.len() as u32, self.files.len() as u32)
            .ok_or_else(nonsense)
            .map(Some)
    }
}

/// Where checksums match and content does not: a fault of the writer, not of the disk.
pub(super) const NONSENSE: &str = "its content makes no sense";

impl Embedder for SearchReader {
    fn id(&self) -> &str {
        &self.id
    }

    fn dimension(&self) -> usize {
        self.space.dimension
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, EmbedError> {
        let unreadable = |error: ProjectionError| EmbedError::Unreadable {
            id: self.id.clone(),
            reason: error.to_string(),
        };
        let vectors = self.file.read_all(layout::VECTORS).map_err(unreadable)?;
        texts
            .iter()
            .map(|text| self.place(text, &vectors).map(Embedding::Bits8))
            .collect::<Result<_, _>>()
            .map_err(unreadable)
    }
}
