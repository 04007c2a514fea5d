//! How far an embedder has come, for those who look on.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The figures of an embedder while it runs. All methods may be called from anywhere at any time.
#[derive(Debug, Default)]
pub struct EmbedReport {
    recorded: AtomicU64,
    computed: AtomicU64,
    waiting: AtomicU64,
}

/// The figures of an embedder at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct EmbedSnapshot {
    /// Vectors recorded since the agent was made.
    pub recorded: u64,
    /// Those of them that were computed, and not known from another chunk with the same words.
    pub computed: u64,
    /// Chunks that wait for one.
    pub waiting: u64,
}

impl EmbedReport {
    /// The figures now.
    pub fn snapshot(&self) -> EmbedSnapshot {
        EmbedSnapshot {
            recorded: self.recorded.load(Relaxed),
            computed: self.computed.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
        }
    }

    pub(super) fn recorded(&self, count: usize, computed: usize) {
        self.recorded.fetch_add(count as u64, Relaxed);
        self.computed.fetch_add(computed as u64, Relaxed);
    }

    pub(super) fn waits_for(&self, count: usize) {
        self.waiting.store(count as u64, Relaxed);
    }
}
