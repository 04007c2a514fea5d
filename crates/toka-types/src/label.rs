//! Labels: where data came from (`untrusted:web`), who may see it (`secret:stripe`), whose it is
//! (`subject:alice`).

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// Most labels an event may carry: a header stays small, and a join of many sources still fits.
pub const MAX_LABELS: usize = 32;
/// Longest label, in bytes.
pub const MAX_LABEL: usize = 64;
/// What the labels of data from where others can write are, or begin with.
pub const UNTRUSTED: &str = "untrusted";

/// One label: 1 to [`MAX_LABEL`] bytes of letters, digits and `.`, `_`, `-`, `:`, `/`, `@`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Arc<str>);

/// A text that is no label, or too many labels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// The text is no label.
    #[error("'{0}' is not a label: 1 to 64 letters, digits, '.', '_', '-', ':', '/', '@' are allowed")]
    Malformed(String),
    /// The set is too large.
    #[error("{0} labels on one event; at most {MAX_LABELS} are allowed")]
    TooMany(usize),
}

impl Label {
    /// Checks `text` and makes it a label.
    pub fn new(text: &str) -> Result<Self, LabelError> {
        Self::check(text)?;
        Ok(Self::checked(text))
    }

    /// The label with this text, which was checked.
    pub(crate) fn checked(text: &str) -> Self {
        Self(text.into())
    }

    /// Checks that `text` is a label.
    pub fn check(text: &str) -> Result<(), LabelError> {
        let ok = |b: u8| b.is_ascii_alphanumeric() || b"._-:/@".contains(&b);
        if text.is_empty() || text.len() > MAX_LABEL || !text.bytes().all(ok) {
            return Err(LabelError::Malformed(text.chars().take(80).collect()));
        }
        Ok(())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A set of at most [`MAX_LABELS`] labels, sorted by their bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Labels(Vec<Label>);

impl Labels {
    /// The empty set.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// The set of `labels`, each counted once.
    pub fn new(labels: impl IntoIterator<Item = Label>) -> Result<Self, LabelError> {
        let mut set: Vec<Label> = labels.into_iter().collect();
        set.sort();
        set.dedup();
        if set.len() > MAX_LABELS {
            return Err(LabelError::TooMany(set.len()));
        }
        Ok(Self(set))
    }

    /// The set of these labels, which are in order, no two the same, and not too many.
    pub(crate) const fn sorted(labels: Vec<Label>) -> Self {
        Self(labels)
    }

    /// The set of the labels with these texts.
    pub fn parse<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Self, LabelError> {
        let labels: Result<Vec<_>, _> = texts.into_iter().map(|t| Label::new(t.as_ref())).collect();
        Self::new(labels?)
    }

    /// The union of both sets: what is made from data of both carries the labels of both.
    pub fn join(&self, other: &Self) -> Result<Self, LabelError> {
        if other.0.is_empty() || self == other {
            return Ok(self.clone());
        }
        Self::new(self.0.iter().chain(&other.0).cloned())
    }

    /// The labels in order.
    pub fn iter(&self) -> core::slice::Iter<'_, Label> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if some of the data comes from where others can write: a label is `untrusted`, or begins with `untrusted:`.
    pub fn is_untrusted(&self) -> bool {
        self.0.iter().any(|label| {
            let rest = label.as_str().strip_prefix(UNTRUSTED);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        })
    }

    /// True if `label` is among them.
    pub fn contains(&self, label: &str) -> bool {
        self.0.iter().any(|l| l.as_str() == label)
    }
}

#[cfg(feature = "serde")]
mod serial {
    use super::*;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    impl Serialize for Label {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str(&self.0)
        }
    }

    impl<'de> Deserialize<'de> for Label {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = <alloc::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            Self::new(&text).map_err(D::Error::custom)
        }
    }

    impl Serialize for Labels {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Labels {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Self::new(Vec::<Label>::deserialize(deserializer)?).map_err(D::Error::custom)
        }
    }
}
