//! Where data may flow: what kind of sink a call is, and what a policy says about labels that reach it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::capability::{Capability, Colons, Pattern};
use crate::id::Name;
use crate::label::{Label, LabelError};

/// Where the arguments of a call go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Sink {
    /// Nowhere: the call changes nothing, and nobody outside learns of it.
    None,
    /// Into something that stays: a file, a database, the state of a device.
    Write,
    /// Out, to somebody who is not part of the system.
    External,
}

/// What a policy says about a call, the mildest first: of several, the strictest holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verdict {
    /// It may happen.
    Allow,
    /// A person is asked.
    Ask,
    /// It may not happen.
    Deny,
}

/// A text that is no sink or no verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is none of {allowed}")]
pub struct UnknownWord {
    /// Its first characters.
    pub text: String,
    /// The words that there are.
    pub allowed: &'static str,
}

macro_rules! words {
    ($type:ident, $allowed:literal, $($variant:ident $text:literal),*) => {
        impl $type {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable name, as it stands in configurations and events.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                let unknown = || UnknownWord { text: text.chars().take(80).collect(), allowed: $allowed };
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(unknown)
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <alloc::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

words!(Sink, "none, write, external", None "none", Write "write", External "external");
words!(Verdict, "allow, ask, deny", Allow "allow", Ask "ask", Deny "deny");

/// Some labels: segments separated by `:`, of which `*` stands for exactly one and `**`, as the last one, for any number,
/// none included: `untrusted:**` is `untrusted`, `untrusted:web` and whatever else begins so.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelPattern(Pattern<Colons>);

/// A text that is no [`LabelPattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelPatternError {
    /// It has characters that no label has.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// A wildcard is not a segment of its own, or `**` is not the last one.
    #[error(
        "'{text}' is not a pattern of labels: byte {at}: '*' is one whole segment, and '**' the last one; segments are separated by ':'"
    )]
    Wildcard {
        /// The text.
        text: String,
        /// Byte offset of the wildcard.
        at: usize,
    },
}

impl LabelPattern {
    /// The pattern of that label alone.
    pub fn only(label: &Label) -> Self {
        Self(Pattern::new(label.as_str()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// True if `label` is one of them.
    pub fn matches(&self, label: &Label) -> bool {
        self.0.matches(label.as_str())
    }

    /// True if each label of `other` is one of this pattern's.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.covers(&other.0)
    }

    /// The labels of both.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        self.0.intersect(&other.0).map(Self)
    }
}

impl FromStr for LabelPattern {
    type Err = LabelPatternError;

    fn from_str(text: &str) -> Result<Self, LabelPatternError> {
        // A wildcard is no character of a label; what else is there is checked as one.
        let plain: String = text.chars().map(|c| if c == '*' { '-' } else { c }).collect();
        Label::check(&plain).map_err(|_| LabelError::Malformed(text.chars().take(80).collect()))?;
        let mut at = 0;
        for segment in text.split(':') {
            let last = at + segment.len() == text.len();
            if let Some(star) = segment.find('*').filter(|_| segment != "*" && !(last && segment == "**")) {
                return Err(LabelPatternError::Wildcard { text: text.into(), at: at + star });
            }
            at += segment.len() + 1;
        }
        Ok(Self(Pattern::new(text)))
    }
}

impl fmt::Display for LabelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for LabelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for LabelPattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for LabelPattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <alloc::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One rule of a flow policy: what holds where data with some labels reaches some sinks through some calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct FlowRule {
    /// Its name, different from every other rule's.
    pub name: Name,
    /// The labels it is about, any of them; none: the call itself, whatever labels its data has.
    pub labels: Vec<LabelPattern>,
    /// The sinks it is about, any of them; none: all.
    pub sinks: Vec<Sink>,
    /// The calls it is about, any of them, without limits on how often; none: all.
    pub to: Vec<Capability>,
    /// What holds there.
    pub verdict: Verdict,
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn words_are_stable_and_read_back() {
        for sink in Sink::ALL {
            assert_eq!(sink.as_str().parse(), Ok(*sink));
        }
        assert_eq!(Verdict::ALL.iter().map(|v| v.as_str()).collect::<Vec<_>>(), ["allow", "ask", "deny"]);
        let error = "Allow".parse::<Verdict>().map_err(|e| e.to_string());
        assert_eq!(error, Err("'Allow' is none of allow, ask, deny".to_string()));
    }

    #[test]
    fn patterns_of_labels_match_by_segments() {
        let check = |pattern: &str, label: &str, matches: bool| {
            let pattern: LabelPattern = pattern.parse().unwrap_or_else(|e| panic!("{e}"));
            let label = Label::new(label).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(pattern.matches(&label), matches, "{pattern} {label}");
        };
        check("untrusted:**", "untrusted", true);
        check("untrusted:**", "untrusted:web:a.com", true);
        check("untrusted:**", "untrustedness", false);
        check("untrusted:*", "untrusted", false);
        check("untrusted:*", "untrusted:web", true);
        check("secret:stripe", "secret:stripe", true);
        check("secret:stripe", "secret:stripe:live", false);
        check("**", "a", true);
        for (text, at) in [("a:b*", 3), ("**:a", 0), ("a:***", 2)] {
            let error = LabelPatternError::Wildcard { text: text.into(), at };
            assert_eq!(text.parse::<LabelPattern>(), Err(error));
        }
        for text in ["", "a b", "a,b", "\u{e9}", &"a".repeat(65)] {
            assert!(matches!(text.parse::<LabelPattern>(), Err(LabelPatternError::Label(_))), "{text}");
        }
    }
}
