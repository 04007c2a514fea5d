//! The search projection: follows the indexer's events and keeps keyword index, vectors and intents in step.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toka_toolkit_core::Embedding;
use toka_types::{EntityId, Event, Seal};
use toka_vault::bus::{VECTOR_KIND, VectorContent};
use toka_vault::intent::{Position, ProjectionError, ProjectionKey};
use toka_vault::search::{Change, ChunkInput, SearchReader, SearchWriter};
use toka_vault::{LogId, Store};

use crate::projection::{LogView, Projection};

#[cfg(feature = "search-tantivy")]
mod tantivy_index;

#[cfg(feature = "search-tantivy")]
pub use tantivy_index::{TantivyOpened, TantivyProjection, open_tantivy};

/// What it is called where something is wrong with it.
const PROJECTION: &str = "the search projection";
/// The name that `toka up` gives its indexer. Its files go by their paths alone; those of other agents carry the
/// agent's id before the path, so that two folders with a `README.md` each do not get into each other's way.
const PLAIN: &str = "IndexerAgent";
/// Ends the agent's id before a path. It is no character of an id, and a path that begins with one is a path still.
const MARK: char = '\u{1}';

/// Keeps the search projection in `<vault>/projections` in step with the log.
pub struct SearchProjection {
    directory: PathBuf,
    writer: SearchWriter,
    last: Option<Position>,
    key: Option<ProjectionKey>,
}

#[derive(Deserialize)]
struct Chunk {
    path: String,
    lines: (u32, u32),
    #[serde(default)]
    heading: Option<String>,
    text: String,
}

#[derive(Deserialize)]
struct File {
    path: String,
}

#[derive(Deserialize)]
struct Moved {
    from: String,
    to: String,
}

impl SearchProjection {
    /// Goes on from the copy in `directory` if it belongs to the log, else starts anew. A damaged copy is reported
    /// and replaced.
    pub fn open(directory: &Path, log: &LogView) -> Self {
        let key = log.projection_key();
        let opened = SearchWriter::open_sealed(directory, key.clone());
        let writer = resumed(PROJECTION, opened, SearchWriter::position, log);
        let writer = writer.unwrap_or_else(|| SearchWriter::create_sealed(directory, key.clone()));
        let last = writer.position();
        Self { directory: directory.to_owned(), writer, last, key }
    }
}

/// A saved projection that belongs to the log. What is wrong with one that does not, or is damaged, is told: the caller
/// starts anew.
fn resumed<W>(
    what: &str,
    opened: Result<W, ProjectionError>,
    position: impl Fn(&W) -> Option<Position>,
    log: &LogView,
) -> Option<W> {
    let own = |at: Position| log.id_at(at.seq).is_some_and(|id| *id.as_bytes() == at.head);
    match opened {
        Ok(writer) if position(&writer).is_some_and(own) => return Some(writer),
        Ok(_) => tracing::warn!("{what} is of another log; it is built again"),
        Err(ProjectionError::Missing { .. }) => {}
        Err(error) => tracing::warn!("{error}; it is built again now"),
    }
    None
}

/// How many events of the log a projection saved at `at` has not seen; `None` if it is of another log.
fn behind(store: &dyn Store, log: &LogId, at: Position) -> anyhow::Result<Option<u64>> {
    let header = store.headers(log, at.seq, 1)?.into_iter().next();
    if header.is_none_or(|header| *header.id.as_bytes() != at.head) {
        return Ok(None);
    }
    Ok(Some(store.head(log)?.next_seq.saturating_sub(at.seq + 1)))
}

impl Projection for SearchProjection {
    fn name(&self) -> &str {
        "search"
    }

    fn position(&self) -> u64 {
        self.last.map_or(0, |at| at.seq + 1)
    }

    fn apply(&mut self, event: &Event) -> anyhow::Result<()> {
        take_in(&mut self.writer, event);
        self.last = Some(Position { seq: event.seq(), head: *event.id().as_bytes() });
        Ok(())
    }

    fn persist(&mut self) -> anyhow::Result<()> {
        if let Some(at) = self.last {
            self.writer.persist(at)?;
        }
        Ok(())
    }

    fn restart(&mut self) {
        let writer = SearchWriter::create_sealed(&self.directory, self.key.clone());
        (self.writer, self.last) = (writer, None);
    }
}

fn take_in(writer: &mut SearchWriter, event: &Event) {
    let header = &event.header;
    if header.kind != VECTOR_KIND {
        read(event, |change| writer.apply(change));
        return;
    }
    let Some(content) = event.payload() else { return };
    let Ok(vector) = rmp_serde::from_slice::<VectorContent>(content) else { return };
    let Some(embedder) = &vector.embedder else { return };
    let components = Embedding::Bits16(vector.components());
    for parent in &header.parents {
        writer.add_vector(embedder, *parent.as_bytes(), &components);
    }
}

/// Hands on what an event says about the indexed files, if it says anything.
fn read<T>(event: &Event, take: impl FnOnce(&Change<'_>) -> T) -> Option<T> {
    let header = &event.header;
    if !header.kind.has_prefix("file") {
        return None;
    }
    let content = event.payload()?;
    // An event of these kinds by somebody else, with content of another form, is none of this index's business.
    match header.kind.as_str() {
        "file.chunk" => {
            let chunk = rmp_serde::from_slice::<Chunk>(content).ok()?;
            Some(take(&Change::Chunk(ChunkInput {
                seq: header.seq,
                event: *header.id.as_bytes(),
                path: &keyed(header.author, &chunk.path),
                lines: chunk.lines,
                heading: chunk.heading.as_deref(),
                text: &chunk.text,
            })))
        }
        "file.indexed" => {
            let file = rmp_serde::from_slice::<File>(content).ok()?;
            Some(take(&Change::Indexed(&keyed(header.author, &file.path))))
        }
        "file.removed" => {
            let file = rmp_serde::from_slice::<File>(content).ok()?;
            Some(take(&Change::Removed(&keyed(header.author, &file.path))))
        }
        "file.moved" => {
            let moved = rmp_serde::from_slice::<Moved>(content).ok()?;
            let (from, to) = (keyed(header.author, &moved.from), keyed(header.author, &moved.to));
            Some(take(&Change::Moved { from: &from, to: &to }))
        }
        _ => None,
    }
}

fn keyed(author: EntityId, path: &str) -> String {
    if author == EntityId::named(PLAIN) { path.to_owned() } else { format!("{author}{MARK}{path}") }
}

/// The path in the projection's key: what the indexer recorded.
pub fn path_of(key: &str) -> &str {
    key.split_once(MARK).map_or(key, |(_, path)| path)
}

/// A projection open for queries, and how it came about.
pub struct Opened {
    /// The projection.
    pub reader: SearchReader,
    /// What was wrong with the copy on disk, if it could not be used and one was built for this occasion.
    pub rebuilt: Option<String>,
    /// Events of the log that it has not seen.
    pub behind: u64,
}

/// Opens the projection in `directory` for queries against `log` of `store`. One that is missing, damaged or of
/// another log is built anew into `scratch`, so that the answer is right all the same; nothing in the vault is
/// changed. The projection of a sealed log is saved under `key`, and `seal` opens its content.
///
/// # Errors
/// If the log cannot be read, or `scratch` cannot be written.
pub fn open_reader(
    store: &dyn Store,
    log: &LogId,
    directory: &Path,
    scratch: &Path,
    key: Option<&ProjectionKey>,
    seal: Option<&dyn Seal>,
) -> anyhow::Result<Opened> {
    let problem = match SearchReader::open_sealed(directory, key) {
        Ok(reader) => match behind(store, log, reader.position())? {
            Some(behind) => return Ok(Opened { reader, rebuilt: None, behind }),
            None => format!("{PROJECTION} is of another log"),
        },
        Err(error) => error.to_string(),
    };
    build(store, log, scratch, key, seal)?;
    let reader = SearchReader::open_sealed(scratch, key)?;
    Ok(Opened { reader, rebuilt: Some(problem), behind: 0 })
}

/// Builds the projection of `log` into `directory`; that of a sealed log is saved under `key`, and `seal` opens its
/// content.
///
/// # Errors
/// If the log cannot be read, or `directory` cannot be written.
pub fn build(
    store: &dyn Store,
    log: &LogId,
    directory: &Path,
    key: Option<&ProjectionKey>,
    seal: Option<&dyn Seal>,
) -> anyhow::Result<()> {
    const PIECE: usize = 1024;
    let mut writer = SearchWriter::create_sealed(directory, key.cloned());
    let (mut next, mut last) = (0, None);
    loop {
        let events = store.read(log, next, PIECE)?;
        for event in &events {
            match seal {
                Some(seal) => take_in(&mut writer, &seal.opened(event)),
                None => take_in(&mut writer, event),
            }
            last = Some(Position { seq: event.seq(), head: *event.id().as_bytes() });
        }
        // A bundle may begin later than its log.
        match events.last() {
            Some(event) => next = event.seq() + 1,
            None => break,
        }
    }
    writer.persist(last.unwrap_or(Position { seq: 0, head: [0; 32] }))?;
    Ok(())
}

/// Where an index by tantivy lies among the projections in `directory`, if there is one.
pub fn tantivy_directory(directory: &Path) -> PathBuf {
    directory.join("tantivy")
}

/// Removes an index by tantivy: one that nobody keeps in step would hold what the log has let go, and in a sealed vault it would
/// hold words in the clear. Only who holds the vault's lock may do that.
pub fn remove_tantivy(directory: &Path) {
    let index = tantivy_directory(directory);
    match std::fs::remove_dir_all(&index) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!("cannot remove {}, which is not kept in step any more: {error}", index.display());
        }
        _ => {}
    }
}

/// Where a vault keeps its projections.
pub fn directory(vault: &Path) -> PathBuf {
    vault.join("projections")
}
