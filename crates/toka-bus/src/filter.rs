//! Which events somebody wants to see.

use std::collections::HashSet;
use std::sync::Arc;

use toka_types::{EntityId, EventHeader, EventId, Label, Timestamp};

/// A condition on headers: every part that is given must hold. The default is every event.
///
/// Testing a header compares a few short fields and allocates nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Kind prefixes, of which one must match; none: any kind.
    pub kinds: Vec<String>,
    /// The author.
    pub author: Option<EntityId>,
    /// A label that the event must carry.
    pub label: Option<Label>,
    /// The earliest time, inclusive.
    pub since: Option<Timestamp>,
    /// The end of the time range, exclusive.
    pub until: Option<Timestamp>,
    /// An event that must be among the parents.
    pub parent: Option<EventId>,
    /// The events of which it must be one: those that belong to an intent, for example.
    pub among: Option<Arc<HashSet<EventId>>>,
}

impl Filter {
    /// Every event.
    pub fn all() -> Self {
        Self::default()
    }

    /// Also accepts kinds at or below `prefix`, as `file` or `file.indexed`.
    pub fn kind(mut self, prefix: impl Into<String>) -> Self {
        self.kinds.push(prefix.into());
        self
    }

    /// Only events of `author`.
    pub fn author(mut self, author: EntityId) -> Self {
        self.author = Some(author);
        self
    }

    /// Only events that carry `label`.
    pub fn label(mut self, label: Label) -> Self {
        self.label = Some(label);
        self
    }

    /// Only events at or after `time`.
    pub fn since(mut self, time: Timestamp) -> Self {
        self.since = Some(time);
        self
    }

    /// Only events before `time`.
    pub fn until(mut self, time: Timestamp) -> Self {
        self.until = Some(time);
        self
    }

    /// Only events that name `parent` as a cause.
    pub fn parent(mut self, parent: EventId) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Only these events. Which ones belong to an intent is known of those that are indexed by then.
    pub fn among(mut self, events: impl IntoIterator<Item = EventId>) -> Self {
        self.among = Some(Arc::new(events.into_iter().collect()));
        self
    }

    /// True if every part that is given holds for `header`.
    pub fn matches(&self, header: &EventHeader) -> bool {
        (self.kinds.is_empty() || self.kinds.iter().any(|prefix| header.kind.has_prefix(prefix)))
            && self.author.is_none_or(|author| header.author == author)
            && self.label.as_ref().is_none_or(|label| header.labels.contains(label.as_str()))
            && self.since.is_none_or(|since| header.at >= since)
            && self.until.is_none_or(|until| header.at < until)
            && self.parent.is_none_or(|parent| header.parents.contains(&parent))
            && self.among.as_ref().is_none_or(|events| events.contains(&header.id))
    }
}
