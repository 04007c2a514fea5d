//! An index by tantivy, for vaults that have grown too large for the built-in one.
//!
//! The built-in projection rewrites its file whenever it is saved, and a query reads tables that grow with the vault.
//! Here saving writes what is new, and a query reads the posting lists of its words. What is a word, and which words
//! are the same, is the same in both.
//!
//! A projection like the other: [`TantivyWriter`] follows the log, [`TantivyReader`] answers from the directory in
//! another process, and the directory can be deleted at any time. Unlike the other, its bytes and scores depend on how it
//! came about (what is deleted counts until segments merge), so nothing that has to be the same twice may depend on
//! them; and it is never sealed, so there must be none in a sealed vault.
//!
//! Each passage is a document, and so is each file that has passages: what it is called can change without a change of its
//! passages. How far into the log the index reaches is in the same commit as the documents: after a crash the two belong
//! together, and nothing is ever indexed twice.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::{DocId, Index, IndexReader, ReloadPolicy, Searcher, SegmentReader, TantivyError};
use toka_types::Digest;

use crate::intent::{Position, Problem, ProjectionError};

mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::TantivyReader;
pub use writer::TantivyWriter;

/// Version of the schema and of what the fields mean.
const FORMAT: u32 = 2;
/// What tells that there is an index.
const META: &str = "meta.json";
/// Names of the columns that queries read.
const FILE: &str = "file";
const SEQ: &str = "seq";
const LINES: &str = "lines";
/// How often an index is looked at again that may have been saved meanwhile.
const TRIES: usize = 3;

/// The fields of the schema.
#[derive(Clone, Copy)]
struct Fields {
    /// Of passages and files: the file, by the sequence number of its first passage.
    file: Field,
    /// Of files: the same, to find what the file is called.
    entry: Field,
    /// Of files: the path.
    path: Field,
    /// Of files: the title.
    title: Field,
    /// Of files: words of title and file name.
    name: Field,
    /// Of files: words of folders and extension.
    folder: Field,
    /// Of passages: the event's sequence number.
    seq: Field,
    /// Of passages: the event's id.
    event: Field,
    /// Of passages: first and last line.
    lines: Field,
    /// Of passages: words of heading and text.
    text: Field,
}

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    // The words come as terms already, so no tokenizer is named that would have to be there.
    let indexing =
        TextFieldIndexing::default().set_tokenizer("raw").set_index_option(IndexRecordOption::WithFreqs);
    let words = TextOptions::default().set_indexing_options(indexing);
    let fields = Fields {
        file: schema.add_u64_field(FILE, FAST | INDEXED),
        entry: schema.add_u64_field("entry", INDEXED),
        path: schema.add_text_field("path", STRING | STORED),
        title: schema.add_text_field("title", STORED),
        name: schema.add_text_field("name", words.clone()),
        folder: schema.add_text_field("folder", words.clone()),
        seq: schema.add_u64_field(SEQ, FAST),
        event: schema.add_bytes_field("event", STORED),
        lines: schema.add_u64_field(LINES, FAST),
        text: schema.add_text_field("text", words),
    };
    (schema.build(), fields)
}

/// Opens what is in the directory: the index, and how far into the log it reaches.
fn open(directory: &Path) -> Result<(Index, Fields, Position), ProjectionError> {
    let meta = directory.join(META);
    if !meta.exists() {
        return Err(ProjectionError::Missing { file: meta });
    }
    let index = Index::open_in_dir(directory).map_err(|error| failed(directory, &error))?;
    let (schema, fields) = schema();
    let payload = index.load_metas().map_err(|error| failed(directory, &error))?.payload;
    // Made, and not saved to yet.
    let Some(payload) = payload else {
        return Err(ProjectionError::Missing { file: meta });
    };
    let mut parts = payload.split(' ');
    let found = parts.next().and_then(|format| format.parse().ok()).unwrap_or(0);
    if found != FORMAT {
        return Err(ProjectionError::Version { file: meta, found, expected: FORMAT });
    }
    let position = match (parts.next().map(str::parse), parts.next().map(str::parse::<Digest>)) {
        (Some(Ok(seq)), Some(Ok(head))) if index.schema() == schema => Position { seq, head: head.0 },
        _ => return Err(damaged(&meta, "it does not say how far into the log it reaches")),
    };
    Ok((index, fields, position))
}

/// Compares every file with its checksum.
fn check(directory: &Path, index: &Index) -> Result<(), ProjectionError> {
    let wrong = index.validate_checksum().map_err(|error| failed(directory, &error))?;
    match wrong.into_iter().min() {
        Some(file) => Err(damaged(&directory.join(file), "its checksum is another")),
        None => Ok(()),
    }
}

/// Reads every file of the index, if there is one, and reports what is wrong.
pub(super) fn verify(directory: &Path) -> Vec<Problem> {
    let look = || {
        guarded(directory, || {
            let (index, ..) = open(directory)?;
            check(directory, &index)?;
            reader(directory, &index).map(|_| ())
        })
    };
    let mut found = look();
    for _ in 0..TRIES {
        // Whoever saves removes files that have just been named.
        if !matches!(found, Err(ProjectionError::Damaged { .. } | ProjectionError::Io { .. })) {
            break;
        }
        found = look();
    }
    match found {
        Ok(()) | Err(ProjectionError::Missing { .. }) => Vec::new(),
        Err(error) => vec![Problem { file: directory.to_owned(), detail: error.to_string() }],
    }
}

/// Of damaged bytes tantivy may make an index out of range; that is no reason for the program to end.
fn guarded<T>(
    directory: &Path,
    read: impl FnOnce() -> Result<T, ProjectionError>,
) -> Result<T, ProjectionError> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(damaged(directory, "its content makes no sense")))
}

/// What [`open`] reads the position from.
fn payload(position: Position) -> String {
    format!("{FORMAT} {} {}", position.seq, Digest(position.head))
}

/// A reader that stays with what is there now.
fn reader(directory: &Path, index: &Index) -> Result<IndexReader, ProjectionError> {
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into();
    reader.map_err(|error| failed(directory, &error))
}

/// Shows each live file: its path, and where its document is.
fn each_file(
    searcher: &Searcher,
    fields: Fields,
    mut show: impl FnMut(&str, &SegmentReader, DocId) -> tantivy::Result<()>,
) -> tantivy::Result<()> {
    use tantivy::{DocSet, TERMINATED};
    for segment in searcher.segment_readers() {
        let paths = segment.inverted_index(fields.path)?;
        let mut terms = paths.terms().stream()?;
        while terms.advance() {
            let path = String::from_utf8_lossy(terms.key());
            let mut documents = paths.read_postings_from_terminfo(terms.value(), IndexRecordOption::Basic)?;
            while documents.doc() != TERMINATED {
                if !segment.is_deleted(documents.doc()) {
                    show(&path, segment, documents.doc())?;
                }
                documents.advance();
            }
        }
    }
    Ok(())
}

fn damaged(file: &Path, detail: impl Into<String>) -> ProjectionError {
    ProjectionError::Damaged { file: file.to_owned(), section: "index".to_owned(), detail: detail.into() }
}

fn failed(directory: &Path, error: &TantivyError) -> ProjectionError {
    let file = PathBuf::from(directory);
    match error {
        TantivyError::IoError(error) => {
            ProjectionError::Io { file, kind: error.kind(), reason: error.to_string() }
        }
        TantivyError::LockFailure(..) => {
            ProjectionError::Io { file, kind: std::io::ErrorKind::WouldBlock, reason: error.to_string() }
        }
        error => damaged(&file, error.to_string()),
    }
}
