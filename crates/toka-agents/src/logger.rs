//! An agent that writes every event to the process's own log.

use crate::agent::Agent;
use crate::event::{Event, EventKind};

/// Writes one line for every event it is interested in, at level `info` and target `toka::logger`.
#[derive(Clone, Debug, Default)]
pub struct Logger {
    kinds: Vec<String>,
}

impl Logger {
    /// A logger of events of these kinds and those below them; of every event if there are none.
    pub fn of_kinds(kinds: impl IntoIterator<Item = String>) -> Self {
        Self { kinds: kinds.into_iter().collect() }
    }
}

impl Agent for Logger {
    fn interest(&self) -> Vec<EventKind> {
        if self.kinds.is_empty() {
            return vec![EventKind::Any];
        }
        self.kinds.iter().cloned().map(EventKind::Prefix).collect()
    }

    async fn handle(&self, ev: Event) -> anyhow::Result<()> {
        let bytes = ev.content_bytes();
        tracing::info!(target: "toka::logger", seq = ev.seq, id = ev.id.short(), kind = %ev.kind, bytes);
        Ok(())
    }
}
