//! Sealing: whose content is, and what turns it into what is stored and back.
//!
//! Whoever commits seals first, and whoever reads opens last; what lies between carries content as stored. How
//! it is done is for the vault; this is what everybody else has to know of it.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::digest::Digest;
use crate::id::EntityId;
use crate::label::{Label, Labels};
use crate::record::{Event, Gone, Payload};

/// What the label begins with that says whose content is.
pub const SUBJECT_PREFIX: &str = "subject:";

/// Whose content is: its keys can be destroyed, and all content of that subject with them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The author's own.
    Author(EntityId),
    /// That of somebody whom a label names.
    Label(Label),
}

impl Subject {
    /// Whose the content of an event is that `author` records: that of the first of its own labels which begins
    /// with [`SUBJECT_PREFIX`], else the author's. Labels that it has from its causes do not count.
    pub fn of(author: EntityId, own: &Labels) -> Self {
        let named = own.iter().find(|label| label.as_str().starts_with(SUBJECT_PREFIX));
        named.map_or(Self::Author(author), |label| Self::Label(label.clone()))
    }
}

/// Why content could not be sealed. Nothing may be stored then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("content cannot be sealed: {0}")]
pub struct SealError(pub String);

/// The keys of a sealed vault, as whoever commits to it and reads from it uses them.
///
/// # Contract
/// - [`seal`](Seal::seal) is a function of subject and content, until the keys are rotated or destroyed: equal
///   content of a subject is stored once. A subject's keys are durable before content under them is handed out.
/// - [`open`](Seal::open) undoes it, and leaves alone what is open already.
/// - Nothing of a key is ever shown.
pub trait Seal: Send + Sync {
    /// The content as it is stored.
    fn seal(&self, subject: &Subject, content: &Payload) -> Result<Payload, SealError>;

    /// What the stored content says, with the digest under which it is stored.
    fn open(&self, stored: &Payload) -> Result<Payload, Gone>;

    /// What stands for a digest of open content in facts, which are never erased: a digest under a key of the
    /// subject, so that nobody can find the content by trying once that key is gone.
    fn blind(&self, subject: &Subject, digest: &Digest) -> Result<Digest, SealError>;

    /// True if `stored` is the digest under which `content` of that subject is or was stored.
    fn is_stored_as(&self, subject: &Subject, content: &Payload, stored: &Digest) -> bool;

    /// How many bytes content grows by.
    fn overhead(&self) -> usize;

    /// The event with all of its content that can be opened, and no other.
    fn opened(&self, event: &Arc<Event>) -> Arc<Event> {
        if event.content.is_empty() {
            return Arc::clone(event);
        }
        let content: Vec<Payload> =
            event.content.iter().filter_map(|payload| self.open(payload).ok()).collect();
        Arc::new(Event { header: event.header.clone(), content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_of_the_first_subject_that_its_own_labels_name_or_of_its_author() {
        let author = EntityId::named("clerk");
        let check = |labels: &[&str], expected: Option<&str>| {
            let labels = Labels::parse(labels).expect("labels");
            let expected = match expected {
                Some(text) => Subject::Label(Label::new(text).expect("a label")),
                None => Subject::Author(author),
            };
            assert_eq!(Subject::of(author, &labels), expected);
        };
        check(&[], None);
        check(&["untrusted:web", "subjective"], None);
        check(&["untrusted:web", "subject:bob", "subject:alice"], Some("subject:alice"));
    }
}
