//! The log that the kernel loop writes: a vault's, or nothing but the feed's own ring.

use std::sync::Arc;

use toka_kernel::{FactsError, Kernel, WorldState};
use toka_types::{Digest, Event, EventHeader, EventId};

/// Why a log could not be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// There is no room. Nothing of the batch was stored, and a later try may succeed.
    #[error("{0}")]
    Full(String),
    /// Anything else. Nothing of the batch may be told to anybody.
    #[error("{0}")]
    Failed(String),
    /// A stored event cannot be read, or is not what was written.
    #[error("{0}")]
    Damaged(String),
}

impl From<FactsError> for LogError {
    fn from(error: FactsError) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// Writes a log.
///
/// # Contract
/// When [`append`](LogWrite::append) returns, the batch is as durable as this log ever makes it; if it fails,
/// nothing of the batch is there.
pub(crate) trait LogWrite: Send {
    /// Appends complete events. `reserved` lets the batch use the room kept for outcomes.
    fn append(&mut self, batch: &[Arc<Event>], reserved: bool) -> Result<(), LogError>;
    /// Ends writing.
    fn close(&mut self) -> Result<(), LogError>;
}

/// Reads a log.
pub(crate) trait LogRead: Send + Sync {
    /// At most `limit` headers from `from` on.
    fn headers(&self, from: u64, limit: usize) -> Result<Vec<EventHeader>, LogError>;
    /// The event of that id, its content opened where it is sealed and can be, as by all of these.
    fn find(&self, id: &EventId) -> Result<Option<Arc<Event>>, LogError>;
    /// True if the event of that id is there.
    fn contains(&self, id: &EventId) -> Result<bool, LogError>;
    /// The first event of that kind that names that one among its parents. The others, of which there may be millions,
    /// are passed one page at a time.
    #[cfg(any(feature = "auth", feature = "vault"))]
    fn child(&self, id: &EventId, kind: &str) -> Result<Option<Arc<Event>>, LogError>;
    /// What the log is called where nobody chose a name; `None` while it is empty.
    #[cfg(feature = "vault")]
    fn origin(&self) -> Result<Option<String>, LogError>;
    /// The content with that digest.
    fn content(&self, digest: &Digest) -> Result<Option<Vec<u8>>, LogError>;
}

/// Events folded at once.
const PIECE: usize = 4096;

/// Folds the log into a kernel, from its first event up to `end`, and shows each event with the world after it.
pub(crate) fn fold<E: From<LogError> + From<FactsError>>(
    reader: &dyn LogRead,
    end: u64,
    mut observer: impl FnMut(&EventHeader, &WorldState),
) -> Result<Kernel, E> {
    let mut kernel = Kernel::new();
    loop {
        let headers = reader.headers(kernel.world().next_seq(), PIECE)?;
        if headers.is_empty() {
            return Ok(kernel);
        }
        for header in &headers {
            if header.seq >= end {
                return Ok(kernel);
            }
            kernel.replay(header)?;
            observer(header, kernel.world());
        }
    }
}

/// A log that is kept by nobody: what leaves the feed's ring is gone.
pub(crate) struct Unkept;

impl LogWrite for Unkept {
    fn append(&mut self, _: &[Arc<Event>], _: bool) -> Result<(), LogError> {
        Ok(())
    }

    fn close(&mut self) -> Result<(), LogError> {
        Ok(())
    }
}
