//! Events as agents see them.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toka_types::EventHeader;
use toka_types::facts::kinds;
use toka_types::operation::Cause;

/// A committed event. Cheap to clone; dereferences to its header.
#[derive(Clone, PartialEq, Eq)]
pub struct Event(Arc<toka_types::Event>);

impl Event {
    /// The event's first piece of content as MessagePack of a `T`.
    ///
    /// # Errors
    /// If there is no content, or it is no `T`.
    pub fn payload<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        let Some(content) = self.0.payload() else {
            anyhow::bail!("event {} ({}) has no content at hand", self.id.short(), self.kind);
        };
        rmp_serde::from_slice(content).map_err(|e| {
            anyhow::anyhow!(
                "the content of event {} ({}) is not what was expected: {e}",
                self.id.short(),
                self.kind
            )
        })
    }

    /// This event as a cause of what is done about it.
    pub fn cause(&self) -> Cause {
        Cause { id: self.id, labels: self.labels.clone() }
    }

    /// The event with its content, shared.
    pub fn record(&self) -> &Arc<toka_types::Event> {
        &self.0
    }
}

impl From<Arc<toka_types::Event>> for Event {
    fn from(event: Arc<toka_types::Event>) -> Self {
        Self(event)
    }
}

impl Deref for Event {
    type Target = EventHeader;

    fn deref(&self) -> &EventHeader {
        &self.0.header
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: usize = self.0.content.iter().map(|c| c.bytes().len()).sum();
        write!(f, "Event(#{} {} {}, {bytes} bytes)", self.seq, self.kind, self.id.short())
    }
}

/// Which events an agent wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// All of them, but for the ends of turns, which say nothing but how far an agent has come.
    Any,
    /// Those of a kind and all kinds below it: `file` has `file.indexed` below it.
    Prefix(String),
    /// Messages to the agent itself.
    Message,
}

impl EventKind {
    /// True if the agent `me` with this interest wants the event.
    pub fn wants(&self, me: toka_types::EntityId, event: &toka_types::Event) -> bool {
        let header = &event.header;
        match self {
            Self::Any => header.kind != kinds::TURN_ENDED,
            Self::Prefix(prefix) => header.kind.has_prefix(prefix),
            Self::Message => header.kind == kinds::MESSAGE_SENT && is_to(me, &header.facts),
        }
    }
}

impl From<&str> for EventKind {
    fn from(prefix: &str) -> Self {
        Self::Prefix(prefix.to_owned())
    }
}

fn is_to(me: toka_types::EntityId, facts: &[u8]) -> bool {
    rmp_serde::from_slice::<toka_types::facts::MessageSent>(facts).is_ok_and(|sent| sent.to == me)
}
