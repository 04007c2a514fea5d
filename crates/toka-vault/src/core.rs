//! The types that callers of a vault handle.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toka_types::{LabelError, NameError};

pub use toka_bus::{Event, Filter};
pub use toka_types::{
    ContentRef, Digest, EntityId, EventHeader, EventId, Gone, Kind, Label, Labels, Name, Payload, Timestamp,
};

/// A stored event: its header and its content in the order of the header's references.
pub type Record = Event;

/// Anything that can be the payload of an event: it is stored as MessagePack with named fields.
pub trait EventPayload: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> EventPayload for T {}

/// The name of a log in a vault. The default is `main`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(Name);

impl LogId {
    /// The log that a vault has if nothing else is said.
    pub fn main() -> Self {
        Self::new("main").expect("'main' is a name")
    }

    /// The log with this name: 1 to 64 letters, digits, `.`, `_`, `-`, `/`.
    pub fn new(name: &str) -> Result<Self, NameError> {
        Name::new(name).map(Self)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Default for LogId {
    fn default() -> Self {
        Self::main()
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// An event before it is committed: what its author knows. Number, time and id are given to it by the
/// log's writer.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// What sort of fact it is.
    pub kind: Kind,
    /// Who caused it.
    pub author: EntityId,
    /// The author's previous event in the log, where the author keeps such a chain. Without it, the same
    /// event committed twice is stored once.
    pub prev: Option<EventId>,
    /// The causes, which must be in the log already.
    pub parents: Vec<EventId>,
    /// Where the data came from and who may see it.
    pub labels: Labels,
    /// The small typed part, in MessagePack; empty where there is none.
    pub facts: Vec<u8>,
    /// The content.
    pub content: Vec<Payload>,
    /// When it happened; `None`: when it is committed. Never earlier than the event before it.
    pub at: Option<Timestamp>,
}

impl NewEvent {
    /// An event of `kind` by nobody in particular, with no causes and no content.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            author: EntityId::NONE,
            prev: None,
            parents: Vec::new(),
            labels: Labels::none(),
            facts: Vec::new(),
            content: Vec::new(),
            at: None,
        }
    }

    /// Sets the author.
    pub fn author(mut self, author: EntityId) -> Self {
        self.author = author;
        self
    }

    /// Adds causes.
    pub fn parents(mut self, parents: impl IntoIterator<Item = EventId>) -> Self {
        self.parents.extend(parents);
        self
    }

    /// Sets the labels.
    pub fn labels(mut self, labels: Labels) -> Self {
        self.labels = labels;
        self
    }

    /// Sets the facts.
    pub fn facts(mut self, facts: Vec<u8>) -> Self {
        self.facts = facts;
        self
    }

    /// Names causes in other logs, as the event's facts, and adds their labels. For events whose kind has no facts of
    /// its own: those name them in a field.
    pub fn caused_by(mut self, causes: Vec<Elsewhere>) -> Result<Self, PayloadError> {
        for cause in &causes {
            self.labels = self.labels.join(&cause.labels)?;
        }
        self.facts = encode(&ElsewhereFacts { causes })?.bytes().to_vec();
        Ok(self)
    }

    /// Adds one piece of content.
    pub fn content(mut self, payload: Payload) -> Self {
        self.content.push(payload);
        self
    }

    /// Adds `value` as content, in MessagePack with named fields.
    pub fn payload<T: EventPayload>(self, value: &T) -> Result<Self, PayloadError> {
        Ok(self.content(encode(value)?))
    }
}

/// A cause in another log. Causes by id are of the event's own log; one elsewhere is a fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The log.
    pub log: Name,
    /// The event's number there.
    pub seq: u64,
    /// The event.
    pub id: EventId,
    /// The labels it carries, which what it causes carries too.
    pub labels: Labels,
}

/// The facts of an event that has causes in other logs and no other facts.
#[derive(Serialize, Deserialize)]
struct ElsewhereFacts {
    causes: Vec<Elsewhere>,
}

impl Elsewhere {
    /// The event with this header, which lies in `log`.
    pub fn new(log: &LogId, header: &EventHeader) -> Self {
        Self { log: log.0.clone(), seq: header.seq, id: header.id, labels: header.labels.clone() }
    }

    /// The causes in other logs that an event's facts name, as [`NewEvent::caused_by`] writes them.
    pub fn of(header: &EventHeader) -> Vec<Self> {
        let facts = rmp_serde::from_slice::<ElsewhereFacts>(&header.facts);
        facts.map_or_else(|_| Vec::new(), |facts| facts.causes)
    }
}

/// A payload that cannot be written as, or read from, MessagePack.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The labels of the event and of its causes do not fit together.
    #[error(transparent)]
    Labels(#[from] LabelError),
    /// The value cannot be encoded.
    #[error("the payload cannot be written as MessagePack: {0}")]
    Encode(String),
    /// The event has another kind than the type asked for.
    #[error("event {event} has the kind {found}, the type asked for is one of {wanted}")]
    Kind {
        /// The event.
        event: EventId,
        /// The type's kind.
        wanted: &'static str,
        /// The event's.
        found: Kind,
    },
    /// The payload has a version that came after the type asked for.
    #[error(
        "the payload of event {event} has version {found} of {kind}, this build knows {known}: read it with a newer one"
    )]
    Newer {
        /// The event.
        event: EventId,
        /// Its kind.
        kind: &'static str,
        /// The payload's version.
        found: u32,
        /// The version of the type.
        known: u32,
    },
    /// The payload has a version that no type is known for.
    #[error(
        "the payload of event {event} has version {version} of {kind}, which no type of this build stands for"
    )]
    Unknown {
        /// The event.
        event: EventId,
        /// Its kind.
        kind: Kind,
        /// The payload's version.
        version: u32,
    },
    /// An older payload cannot be raised.
    #[error(
        "the payload of event {event} has version {version} and cannot be raised to version {to}: {detail}"
    )]
    Upcast {
        /// The event.
        event: EventId,
        /// The payload's version.
        version: u32,
        /// The version that it could not be raised to.
        to: u32,
        /// Why.
        detail: String,
    },
    /// The bytes do not decode to the type asked for.
    #[error("the payload of event {event} is no {wanted}: {detail}")]
    Decode {
        /// The event.
        event: EventId,
        /// The type asked for.
        wanted: &'static str,
        /// What the decoder says.
        detail: String,
    },
}

/// Writes `value` as MessagePack with named fields, and digests it.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Payload, PayloadError> {
    match rmp_serde::to_vec_named(value) {
        Ok(bytes) => Ok(Payload::new(Arc::<[u8]>::from(bytes))),
        Err(error) => Err(PayloadError::Encode(error.to_string())),
    }
}

/// Reads the first piece of content of `event` as a `T`.
pub fn decode<T: DeserializeOwned>(event: &Event) -> Result<T, PayloadError> {
    let bytes = event.payload().unwrap_or_default();
    rmp_serde::from_slice(bytes).map_err(|error| PayloadError::Decode {
        event: event.header.id,
        wanted: std::any::type_name::<T>(),
        detail: error.to_string(),
    })
}
