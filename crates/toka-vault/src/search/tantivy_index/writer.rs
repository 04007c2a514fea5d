//! Keeping the index in step with the log.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tantivy::indexer::IndexWriterOptions;
use tantivy::schema::{Field, Value};
use tantivy::store::StoreReader;
use tantivy::tokenizer::{PreTokenizedString, Token};
use tantivy::{Index, IndexWriter, TantivyDocument, Term};

use super::{Fields, check, each_file, failed, guarded, open, payload, reader, schema};
use crate::intent::{Position, ProjectionError};
use crate::search::analyze::{Analyzer, words};
use crate::search::collection::title;
use crate::search::writer::{Change, ChunkInput, name_parts};

/// Bytes of new documents in memory; more are written out as a segment.
const BUDGET: usize = 20_000_000;
/// The files that tantivy makes are open to everybody; the directory is its owner's alone.
const DIRECTORY_MODE: u32 = 0o700;
/// Blocks of stored documents that are held while the files are read.
const CACHED_BLOCKS: usize = 8;

/// Follows the log and keeps the index in a directory of its own.
///
/// The caller hands in the events in log order. What was handed in since the last [`persist`](Self::persist) is gone after a
/// crash, and the position that was saved says so.
pub struct TantivyWriter {
    directory: PathBuf,
    position: Option<Position>,
    /// None until the first change after [`create`](Self::create).
    opened: Option<Opened>,
}

struct Opened {
    writer: IndexWriter,
    fields: Fields,
    analyzer: Analyzer,
    /// The live files by path.
    files: HashMap<String, File>,
}

/// A file that has passages.
struct File {
    id: u64,
    title: String,
}

impl TantivyWriter {
    /// Starts from nothing; what lies in the directory is removed with the first change. The caller then hands in the
    /// whole log.
    #[must_use]
    pub fn create(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), position: None, opened: None }
    }

    /// Goes on from what was saved, after checking every byte of it. The caller compares
    /// [`position`](Self::position) with its log and hands in what came after it.
    ///
    /// # Errors
    /// [`ProjectionError::Missing`] if there is none, [`ProjectionError::Damaged`] or
    /// [`ProjectionError::Version`] if it cannot be used; then [`create`](Self::create) and the whole log give it back.
    /// [`ProjectionError::Io`] if it cannot be read, or another writer has it.
    pub fn open(directory: &Path) -> Result<Self, ProjectionError> {
        guarded(directory, || {
            let (index, fields, position) = open(directory)?;
            check(directory, &index)?;
            let opened = Opened::new(directory, &index, fields)?;
            Ok(Self { directory: directory.to_owned(), position: Some(position), opened: Some(opened) })
        })
    }

    /// How far into the log the saved index reaches; `None` before the first [`persist`](Self::persist).
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Takes in what an event says.
    ///
    /// # Errors
    /// [`ProjectionError::Io`] if the directory cannot be written.
    pub fn apply(&mut self, change: &Change<'_>) -> Result<(), ProjectionError> {
        let directory = self.directory.clone();
        self.opened()?.apply(change).map_err(|error| failed(&directory, &error))
    }

    /// Saves everything up to `position`; durable when it returns. Readers that are open keep what they see, those that
    /// open later see the new state.
    ///
    /// # Errors
    /// [`ProjectionError::Io`] if the directory cannot be written; what was saved before is then still there.
    pub fn persist(&mut self, position: Position) -> Result<(), ProjectionError> {
        let commit = |writer: &mut IndexWriter| {
            let mut prepared = writer.prepare_commit()?;
            prepared.set_payload(&payload(position));
            prepared.commit()
        };
        let committed = commit(&mut self.opened()?.writer);
        committed.map_err(|error| failed(&self.directory, &error))?;
        self.position = Some(position);
        Ok(())
    }

    fn opened(&mut self) -> Result<&mut Opened, ProjectionError> {
        if self.opened.is_none() {
            self.opened = Some(Opened::create(&self.directory)?);
        }
        self.opened.as_mut().ok_or_else(|| ProjectionError::Missing { file: self.directory.clone() })
    }
}

impl Opened {
    fn create(directory: &Path) -> Result<Self, ProjectionError> {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ProjectionError::io(directory, &error));
            }
            _ => {}
        }
        // Only these two: if the vault has been moved away, nothing is made in its old place.
        for folder in directory.parent().into_iter().chain([directory]) {
            match fs::DirBuilder::new().mode(DIRECTORY_MODE).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(ProjectionError::io(folder, &error));
                }
                _ => {}
            }
        }
        let (schema, fields) = schema();
        let index = Index::create_in_dir(directory, schema).map_err(|error| failed(directory, &error))?;
        Self::new(directory, &index, fields)
    }

    fn new(directory: &Path, index: &Index, fields: Fields) -> Result<Self, ProjectionError> {
        let failed = |error| failed(directory, &error);
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .memory_budget_per_thread(BUDGET)
            .num_merge_threads(1)
            .build();
        let writer = index.writer_with_options(options).map_err(failed)?;
        let files = files(&reader(directory, index)?.searcher(), fields).map_err(failed)?;
        Ok(Self { writer, fields, analyzer: Analyzer::new(), files })
    }

    fn apply(&mut self, change: &Change<'_>) -> tantivy::Result<()> {
        match change {
            Change::Chunk(chunk) => self.add(chunk),
            Change::Indexed(path) | Change::Removed(path) => {
                self.remove(path);
                Ok(())
            }
            Change::Moved { from, to } => self.rename(from, to),
        }
    }

    fn add(&mut self, chunk: &ChunkInput<'_>) -> tantivy::Result<()> {
        let id = match self.files.get(chunk.path) {
            Some(file) => file.id,
            None => {
                let title = title(chunk.heading, chunk.text).to_owned();
                self.insert(chunk.path, File { id: chunk.seq, title })?;
                chunk.seq
            }
        };
        let mut document = TantivyDocument::new();
        document.add_u64(self.fields.file, id);
        document.add_u64(self.fields.seq, chunk.seq);
        document.add_bytes(self.fields.event, &chunk.event);
        document.add_u64(self.fields.lines, u64::from(chunk.lines.0) << 32 | u64::from(chunk.lines.1));
        self.add_words(&mut document, self.fields.text, &[chunk.heading.unwrap_or_default(), chunk.text]);
        self.writer.add_document(document)?;
        Ok(())
    }

    fn insert(&mut self, path: &str, file: File) -> tantivy::Result<()> {
        let (folder, name, extension) = name_parts(path);
        let mut document = TantivyDocument::new();
        document.add_u64(self.fields.file, file.id);
        document.add_u64(self.fields.entry, file.id);
        document.add_text(self.fields.path, path);
        document.add_text(self.fields.title, &file.title);
        self.add_words(&mut document, self.fields.name, &[&file.title, name]);
        self.add_words(&mut document, self.fields.folder, &[folder, extension]);
        self.writer.add_document(document)?;
        self.files.insert(path.to_owned(), file);
        Ok(())
    }

    fn remove(&mut self, path: &str) {
        if let Some(file) = self.files.remove(path) {
            self.writer.delete_term(Term::from_field_u64(self.fields.file, file.id));
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> tantivy::Result<()> {
        if from == to {
            return Ok(());
        }
        let Some(file) = self.files.remove(from) else { return Ok(()) };
        self.remove(to);
        self.writer.delete_term(Term::from_field_u64(self.fields.entry, file.id));
        self.insert(to, file)
    }

    fn add_words(&self, document: &mut TantivyDocument, field: Field, texts: &[&str]) {
        let mut tokens = Vec::new();
        for text in texts {
            words(text, |word| {
                if let Some(surface) = self.analyzer.surface(word) {
                    let text = self.analyzer.stem(&surface);
                    tokens.push(Token { position: tokens.len(), text, ..Token::default() });
                }
            });
        }
        document.add_pre_tokenized_text(field, PreTokenizedString { text: String::new(), tokens });
    }
}

/// The files of a saved index.
fn files(searcher: &tantivy::Searcher, fields: Fields) -> tantivy::Result<HashMap<String, File>> {
    let mut files = HashMap::new();
    let stores = searcher.segment_readers().iter();
    let stores: HashMap<_, StoreReader> = stores
        .map(|segment| Ok((segment.segment_id(), segment.get_store_reader(CACHED_BLOCKS)?)))
        .collect::<tantivy::Result<_>>()?;
    each_file(searcher, fields, |path, segment, document| {
        let id = segment.fast_fields().u64(super::FILE)?.first(document).unwrap_or_default();
        let stored: TantivyDocument = stores[&segment.segment_id()].get(document)?;
        let title = stored.get_first(fields.title).and_then(|title| title.as_str()).unwrap_or_default();
        files.insert(path.to_owned(), File { id, title: title.to_owned() });
        Ok(())
    })?;
    Ok(files)
}
