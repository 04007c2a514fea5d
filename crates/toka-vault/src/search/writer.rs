//! Building the projection and keeping it in step with the log.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toka_toolkit_core::Embedding;

use super::collection::{ChunkEntry, Collection, FileEntry, Occurrence, TermEntry};
use super::embedded;
use super::latent;
use super::layout::{self, ChunkRecord, DictionaryIndex, DictionaryWriter, Named, PostingList};
use super::telling::Telling;
use super::topics;
use crate::intent::blockfile::{self, BlockFile, Input, put};
use crate::intent::{Intents, Position, ProjectionError, ProjectionKey};

/// One chunk of a file as the log has it.
#[derive(Debug, Clone, Copy)]
pub struct ChunkInput<'a> {
    /// Sequence number of the chunk's event.
    pub seq: u64,
    /// Id of the chunk's event, by which its text is found again.
    pub event: [u8; 32],
    /// Path of the file.
    pub path: &'a str,
    /// First and last line of the chunk within the file, counted from one.
    pub lines: (u32, u32),
    /// Heading under which the chunk stands, if the file has headings.
    pub heading: Option<&'a str>,
    /// The chunk's text.
    pub text: &'a str,
}

/// What an event says about the indexed files.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// A chunk of the current version of its file.
    Chunk(ChunkInput<'a>),
    /// A version of the file at this path was indexed; its chunks follow.
    Indexed(&'a str),
    /// The file at this path was removed.
    Removed(&'a str),
    /// A file was moved.
    Moved {
        /// From this path.
        from: &'a str,
        /// To this one.
        to: &'a str,
    },
}

/// Follows the log and saves the search projection.
///
/// The caller hands in the events in log order. What is saved depends on the live files and the order of
/// their current versions alone, so it is the same, byte for byte, whether it was built in one go, in
/// many steps with the process ending in between, or again from the log.
///
/// Changes are kept in memory until [`persist`](Self::persist); memory is about two bytes for each
/// distinct word of each chunk, texts are not kept.
pub struct SearchWriter {
    directory: PathBuf,
    collection: Collection,
    position: Option<Position>,
    key: Option<ProjectionKey>,
}

impl SearchWriter {
    /// Starts from nothing; whatever projection lies in the directory is replaced at the next
    /// [`persist`](Self::persist). The caller then hands in the whole log.
    #[must_use]
    pub fn create(directory: &Path) -> Self {
        Self::create_sealed(directory, None)
    }

    /// As [`create`](Self::create); what is saved is encrypted with the key of a sealed vault.
    #[must_use]
    pub fn create_sealed(directory: &Path, key: Option<ProjectionKey>) -> Self {
        Self { directory: directory.to_path_buf(), collection: Collection::new(), position: None, key }
    }

    /// Goes on from what was saved. The caller compares [`position`](Self::position) with its log and
    /// hands in what came after it.
    ///
    /// # Errors
    /// [`ProjectionError::Missing`] if there is none, [`ProjectionError::Damaged`] or
    /// [`ProjectionError::Version`] if it cannot be used; then [`create`](Self::create) and the whole log
    /// give it back. [`ProjectionError::Io`] if it cannot be read.
    pub fn open(directory: &Path) -> Result<Self, ProjectionError> {
        Self::open_sealed(directory, None)
    }

    /// As [`open`](Self::open), for the projection of a sealed vault.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_sealed(directory: &Path, key: Option<ProjectionKey>) -> Result<Self, ProjectionError> {
        let file = BlockFile::open(&directory.join(layout::FILE), layout::FORMAT, key.as_ref())?;
        let mut writer = Self::create_sealed(directory, key);
        writer.position = Some(file.position());
        load(&file, &mut writer.collection)?;
        Ok(writer)
    }

    /// How far into the log the saved projection reaches; `None` before the first
    /// [`persist`](Self::persist).
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Takes in what an event says.
    pub fn apply(&mut self, change: &Change<'_>) {
        match change {
            Change::Chunk(chunk) => self.add_chunk(chunk),
            Change::Indexed(path) => self.file_indexed(path),
            Change::Removed(path) => self.file_removed(path),
            Change::Moved { from, to } => self.file_moved(from, to),
        }
    }

    /// A version of a file was indexed: the chunks of its former version leave the index, those that are
    /// added from here on belong to the new one. A file that is restored is indexed anew, with the
    /// chunks of the version that came back.
    pub fn file_indexed(&mut self, path: &str) {
        self.collection.start(path);
    }

    /// Adds a chunk to the current version of its file.
    pub fn add_chunk(&mut self, chunk: &ChunkInput<'_>) {
        self.collection.add(chunk.path, (chunk.seq, chunk.event, chunk.lines), chunk.heading, chunk.text);
    }

    /// Adds the vector that the embedder of this id made of a chunk, by the id of the chunk's event. It goes when the
    /// chunk goes.
    pub fn add_vector(&mut self, embedder: &str, chunk: [u8; 32], vector: &Embedding) {
        self.collection.embedded.add(embedder, chunk, vector);
    }

    /// A file was removed; its chunks leave the index.
    pub fn file_removed(&mut self, path: &str) {
        self.collection.remove(path);
    }

    /// A file was moved; hits show the new path. A file that lay there leaves the index.
    pub fn file_moved(&mut self, from: &str, to: &str) {
        self.collection.rename(from, to);
    }

    /// Number of live chunks.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.collection.chunks().count()
    }

    /// Saves everything up to `position`; durable when it returns. Readers that are open keep what they
    /// see, those that open later see the new state.
    ///
    /// # Errors
    /// [`ProjectionError::Io`] if the directory cannot be written; the former projection is then still in
    /// place, and the call may be repeated.
    pub fn persist(&mut self, position: Position) -> Result<(), ProjectionError> {
        // Only this one: if the vault has been moved away, nothing is made in its old place.
        match fs::create_dir(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(ProjectionError::io(&self.directory, &error));
            }
            _ => {}
        }
        let sections = self.encode();
        let borrowed: Vec<(&str, &[u8])> =
            sections.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        blockfile::write(
            &self.directory.join(layout::FILE),
            layout::FORMAT,
            position,
            &borrowed,
            self.key.as_ref(),
        )?;
        self.position = Some(position);
        Ok(())
    }

    fn encode(&self) -> Vec<(&'static str, Vec<u8>)> {
        let names = FileNames::of(&self.collection);
        let lexicon = Lexicon::of(&self.collection, &names);
        let dictionary = lexicon.write(&self.collection, &names);
        let model = latent::train(&self.collection, &lexicon.ranks);

        let events: Vec<[u8; 32]> = self.collection.chunks().map(|chunk| chunk.event).collect();
        let (tables, embedded) = self.collection.embedded.encode(events.iter());
        let mut telling = Telling::of(&self.collection, &lexicon.ranks);
        let topics = topics::topics(&self.collection, &lexicon.ranks);
        let intents = Intents::grouped(&model.vectors, model.dimension, &topics, &events, |members| {
            telling.terms(members)
        });

        let mut chunks = Vec::new();
        let mut lengths = Vec::new();
        for chunk in self.collection.chunks() {
            ChunkRecord { event: chunk.event, seq: chunk.seq, lines: chunk.lines }.encode(&mut chunks);
            put(&mut lengths, u64::from(chunk.length));
        }
        let files = layout::encode_files(
            self.collection
                .files
                .values()
                .zip(&names.lengths)
                .map(|(file, terms)| (file.path.as_str(), file.chunks.len(), *terms)),
        );
        vec![
            (layout::FILES, files),
            (layout::LENGTHS, lengths),
            (layout::MODEL, model.header()),
            (layout::DICTIONARY_INDEX, dictionary.index),
            (layout::DICTIONARY, dictionary.dictionary),
            (layout::CHUNKS, chunks),
            (layout::INTENTS, intents.encode()),
            (layout::EMBEDDED_INDEX, tables),
            (layout::VECTORS, model.bytes()),
            (layout::POSTINGS, dictionary.postings),
            (layout::EMBEDDED, embedded),
        ]
    }
}

/// Terms in the names and titles of files, by stem.
struct FileNames {
    terms: HashMap<String, Vec<Named>>,
    /// For each file the number of distinct terms in its title and in the last part of its path.
    lengths: Vec<(u32, u32)>,
}

impl FileNames {
    fn of(collection: &Collection) -> Self {
        let mut terms: HashMap<String, Vec<Named>> = HashMap::new();
        let mut add = |stem: &str, file: u32, place: u8| {
            let files = match terms.get_mut(stem) {
                Some(files) => files,
                None => terms.entry(stem.to_owned()).or_default(),
            };
            match files.last_mut() {
                Some(last) if last.file == file => last.places |= place,
                _ => files.push(Named { file, places: place }),
            }
        };
        let mut lengths = Vec::with_capacity(collection.files.len());
        for (number, file) in collection.files.values().enumerate() {
            let number = number as u32;
            let (folder, name, extension) = name_parts(&file.path);
            for part in [folder, extension] {
                for (stem, _) in collection.terms.analyze(part) {
                    add(&stem, number, Named::FOLDER);
                }
            }
            let stems = collection.terms.analyze(name);
            for (stem, _) in &stems {
                add(stem, number, Named::STEM);
            }
            for term in &file.title {
                add(&collection.terms.entries()[*term as usize].stem, number, Named::TITLE);
            }
            lengths.push((file.title.len() as u32, stems.len() as u32));
        }
        Self { terms, lengths }
    }
}

/// Folders, file name without extension, and extension of a path.
pub(super) fn name_parts(path: &str) -> (&str, &str, &str) {
    let (folder, name) = path.split_at(path.rfind('/').map_or(0, |slash| slash + 1));
    let (name, extension) = name.split_at(name.rfind('.').filter(|dot| *dot > 0).unwrap_or(name.len()));
    (folder, name, extension)
}

/// The live terms in sorted order.
struct Lexicon {
    /// Stems and, for those that occur in chunks, their ids.
    order: Vec<(String, Option<u32>)>,
    /// Rank of each id; `u32::MAX` for one that is no longer live.
    ranks: Vec<u32>,
}

impl Lexicon {
    fn of(collection: &Collection, names: &FileNames) -> Self {
        let entries = collection.terms.entries();
        let mut order: Vec<(String, Option<u32>)> = Vec::new();
        let mut live: HashMap<&str, ()> = HashMap::new();
        for (id, entry) in entries.iter().enumerate() {
            if entry.chunks > 0 {
                order.push((entry.stem.clone(), Some(id as u32)));
                live.insert(&entry.stem, ());
            }
        }
        for stem in names.terms.keys() {
            if !live.contains_key(stem.as_str()) {
                order.push((stem.clone(), None));
            }
        }
        order.sort_unstable();
        let mut ranks = vec![u32::MAX; entries.len()];
        for (rank, (_, id)) in order.iter().enumerate() {
            if let Some(id) = id {
                ranks[*id as usize] = rank as u32;
            }
        }
        Self { order, ranks }
    }

    fn write(&self, collection: &Collection, names: &FileNames) -> DictionaryWriter {
        let entries = collection.terms.entries();
        // Turning chunks into posting lists: first where each list begins, then each entry to its place.
        let mut starts = Vec::with_capacity(self.order.len() + 1);
        let mut total = 0usize;
        for (_, id) in &self.order {
            starts.push(total);
            total += id.map_or(0, |id| entries[id as usize].chunks as usize);
        }
        let mut next = starts.clone();
        starts.push(total);
        let mut inverted = vec![Occurrence::unpacked(0, 0); total];
        for (number, chunk) in collection.chunks().enumerate() {
            for occurrence in chunk.occurrences() {
                let place = &mut next[self.ranks[occurrence.term as usize] as usize];
                inverted[*place] = Occurrence { term: number as u32, ..occurrence };
                *place += 1;
            }
        }
        let mut writer = DictionaryWriter::default();
        for (rank, (stem, id)) in self.order.iter().enumerate() {
            let shown = id.map_or((stem.as_str(), 0), |id| {
                let entry = &entries[id as usize];
                (entry.shown.as_str(), entry.lead)
            });
            let files = names.terms.get(stem).map_or(&[][..], Vec::as_slice);
            writer.push(stem, shown, &inverted[starts[rank]..starts[rank + 1]], files);
        }
        writer
    }
}

fn load(file: &BlockFile, collection: &mut Collection) -> Result<(), ProjectionError> {
    let damaged = |section: &str| file.damaged(section, "its content makes no sense");
    let files = layout::decode_files(&file.read_all(layout::FILES)?).ok_or_else(|| damaged(layout::FILES))?;
    let records = file.read_all(layout::CHUNKS)?;
    let lengths = file.read_all(layout::LENGTHS)?;
    let mut lengths = Input(&lengths);
    let index =
        DictionaryIndex::decode(&file.read_all(layout::DICTIONARY_INDEX)?, file.length(layout::DICTIONARY)?)
            .ok_or_else(|| damaged(layout::DICTIONARY_INDEX))?;
    let dictionary = file.read_all(layout::DICTIONARY)?;
    let postings = file.read_all(layout::POSTINGS)?;

    let count = records.len() / layout::CHUNK_RECORD;
    let mut occurrences: Vec<Vec<Occurrence>> = vec![Vec::new(); count];
    let mut titles: Vec<Vec<u32>> = vec![Vec::new(); files.len()];
    for block in 0..index.len() {
        let terms = index
            .range(block)
            .and_then(|(start, length)| dictionary.get(start as usize..)?.get(..length))
            .and_then(|bytes| index.terms(block, bytes))
            .ok_or_else(|| damaged(layout::DICTIONARY))?;
        for term in terms {
            let list = postings
                .get(term.offset as usize..)
                .and_then(|rest| rest.get(..term.length as usize))
                .and_then(|bytes| PostingList::decode(bytes, count as u32, files.len() as u32))
                .ok_or_else(|| damaged(layout::POSTINGS))?;
            if list.chunks.is_empty() {
                continue;
            }
            let id = collection.terms.restore(TermEntry {
                stem: term.stem,
                shown: term.shown,
                lead: term.lead,
                chunks: list.chunks.len() as u32,
            });
            for named in list.files.iter().filter(|named| named.places & Named::TITLE != 0) {
                titles[named.file as usize].push(id);
            }
            for occurrence in list.chunks {
                occurrences[occurrence.term as usize].push(Occurrence { term: id, ..occurrence });
            }
        }
    }

    let mut chunks = records.chunks_exact(layout::CHUNK_RECORD).zip(&occurrences);
    for (record, title) in files.into_iter().zip(titles) {
        let mut entry = FileEntry {
            path: record.path.into(),
            title,
            chunks: Vec::with_capacity((record.chunks as usize).min(count)),
        };
        for _ in 0..record.chunks {
            let (bytes, occurrences) = chunks.next().ok_or_else(|| damaged(layout::CHUNKS))?;
            let chunk = ChunkRecord::decode(bytes).ok_or_else(|| damaged(layout::CHUNKS))?;
            let length = lengths.small().ok_or_else(|| damaged(layout::LENGTHS))?;
            entry.chunks.push(ChunkEntry::new(chunk.seq, chunk.event, chunk.lines, length, occurrences));
        }
        collection.insert(entry);
    }
    let bytes = file.read_all(layout::EMBEDDED)?;
    let head = file.read_all(layout::EMBEDDED_INDEX)?;
    let events: Vec<[u8; 32]> = collection.chunks().map(|chunk| chunk.event).collect();
    let tables = embedded::decode_tables(&head, events.len(), bytes.len() as u64)
        .ok_or_else(|| damaged(layout::EMBEDDED_INDEX))?;
    collection.embedded.load(&tables, &bytes, &events).ok_or_else(|| damaged(layout::EMBEDDED))?;
    Ok(())
}
