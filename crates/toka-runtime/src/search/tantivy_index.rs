//! The index by tantivy: follows the same events as the built-in projection, which stays for vectors and intents.

use std::path::Path;

use toka_types::Event;
use toka_vault::intent::Position;
use toka_vault::search::{TantivyReader, TantivyWriter};
use toka_vault::{LogId, Store};

use super::{behind, read, remove_tantivy, resumed, tantivy_directory};
use crate::projection::{LogView, Projection};

/// What it is called where something is wrong with it.
const INDEX: &str = "the index by tantivy";
/// Events after which it is saved even if the log is never quiet: so many at most are read again after a crash.
const PIECE: u64 = 1 << 15;

/// Keeps an index by tantivy in step with the log, except that of a sealed vault: it would hold words in the clear.
pub struct TantivyProjection {
    /// None in a sealed vault.
    writer: Option<TantivyWriter>,
    directory: std::path::PathBuf,
    last: Option<Position>,
    unsaved: u64,
}

impl TantivyProjection {
    /// Goes on from the index among the projections in `directory` if it belongs to the log, else starts anew. A damaged
    /// one is reported and replaced. That of a sealed vault is removed, and none is made.
    pub fn open(directory: &Path, log: &LogView) -> Self {
        let index = tantivy_directory(directory);
        if log.projection_key().is_some() {
            remove_tantivy(directory);
            return Self { writer: None, directory: index, last: None, unsaved: 0 };
        }
        let writer = resumed(INDEX, TantivyWriter::open(&index), TantivyWriter::position, log);
        let writer = writer.unwrap_or_else(|| TantivyWriter::create(&index));
        Self { last: writer.position(), writer: Some(writer), directory: index, unsaved: 0 }
    }
}

impl Projection for TantivyProjection {
    fn name(&self) -> &str {
        "tantivy"
    }

    fn position(&self) -> u64 {
        self.last.map_or(0, |at| at.seq + 1)
    }

    fn apply(&mut self, event: &Event) -> anyhow::Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        read(event, |change| writer.apply(change)).transpose()?;
        self.last = Some(Position { seq: event.seq(), head: *event.id().as_bytes() });
        self.unsaved += 1;
        if self.unsaved >= PIECE { self.persist() } else { Ok(()) }
    }

    fn persist(&mut self) -> anyhow::Result<()> {
        if let (Some(writer), Some(at)) = (&mut self.writer, self.last) {
            writer.persist(at)?;
            self.unsaved = 0;
        }
        Ok(())
    }

    fn restart(&mut self) {
        if self.writer.is_some() {
            // The old one is closed before the new one removes what it wrote.
            self.writer = None;
            self.writer = Some(TantivyWriter::create(&self.directory));
            (self.last, self.unsaved) = (None, 0);
        }
    }
}

/// An index open for queries.
pub struct TantivyOpened {
    /// The index.
    pub reader: TantivyReader,
    /// Events of the log that it has not seen.
    pub behind: u64,
}

/// Opens the index among the projections in `directory` for queries against `log` of `store`. `Ok(Err(reason))` if there is
/// none that can be used: the built-in projection answers too.
///
/// # Errors
/// If the log cannot be read.
pub fn open_tantivy(
    store: &dyn Store,
    log: &LogId,
    directory: &Path,
) -> anyhow::Result<Result<TantivyOpened, String>> {
    let reader = match TantivyReader::open(&tantivy_directory(directory)) {
        Ok(reader) => reader,
        Err(error) => return Ok(Err(error.to_string())),
    };
    Ok(match behind(store, log, reader.position())? {
        Some(behind) => Ok(TantivyOpened { reader, behind }),
        None => Err(format!("{INDEX} is of another log")),
    })
}
