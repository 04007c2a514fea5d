//! The language in which power is granted.
//!
//! A capability is a resource, an action and caveats on the arguments:
//!
//! ```text
//! tool:fs.read(path=docs/**)      read every file below docs, and docs itself
//! net:connect(host=*.example.com) any host one label below example.com
//! agent:spawn(max=4)              up to four
//! event:emit(kind=file.*)         kinds of exactly two segments, of which the first is file
//! tool:**                         every tool, with any arguments
//! **                              everything
//! ```
//!
//! The language is small so that [`covers`](Capability::covers) and
//! [`intersect`](Capability::intersect) are exact, not approximations: what they say holds for every
//! request there can be, and what they do not say does not hold.
//!
//! # The language
//! - **Resource**: lower-case letters, digits, `_`, `-`. The text `**` alone is everything.
//! - **Action**: segments separated by `.`, of letters, digits, `_`, `-`, `/`; `*` stands for exactly one
//!   segment, and `**`, last only, for any number of them, none included.
//! - **Caveats**: at most [`MAX_CAVEATS`], each on one argument. A request that lacks an argument which a
//!   caveat names is refused; an argument that no caveat names may have any value. If a request has
//!   several arguments of one name, the caveat must hold for each. The name says what the value is:
//!
//! | Name | Value | Allows |
//! |---|---|---|
//! | `path`, `…_path` | pattern of `/` segments, `.` for the root | [`Argument::Path`] |
//! | `host`, `…_host` | host, or `*.` and a host: exactly one label more | [`Argument::Host`] |
//! | `max`, `…_max` | one number | [`Argument::Number`] from 0 up to it |
//! | any other | `4`, `1..10` (both ends included), `1..` (no upper end) | [`Argument::Number`] |
//! | any other | `{a,b}`: one of these texts | [`Argument::Text`] |
//! | any other | pattern of `.` segments | [`Argument::Text`] |
//!
//! A `*` inside a segment (`*.md`) is not in the language. A value with a comma, a parenthesis, a brace or
//! a space is written in double quotes, with `\"` and `\\` inside. Paths are in the text form of
//! [`crate::path`], so a `%` is written `%25`.

mod caveat;
#[cfg(test)]
mod laws;
mod parse;
mod pattern;
mod set;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use caveat::{Allowed, Caveat};
use pattern::{Dots, Pattern};
pub use pattern::{is_host, is_path};
pub use set::CapabilitySet;

/// Longest capability, in bytes of its text: a grant of many still fits a header, and a person can read it.
pub const MAX_CAPABILITY: usize = 512;
/// Most caveats on one capability: no tool governs more arguments than a person can weigh.
pub const MAX_CAVEATS: usize = 8;
/// Most capabilities in a set: a check walks all of them, and stays below the cost of a commit.
pub const MAX_CAPABILITIES: usize = 256;

/// One capability: what may be done, to what, with which arguments.
///
/// Two capabilities are equal if and only if they allow the same requests; [`Display`](fmt::Display)
/// writes the one text that equal capabilities have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability {
    /// `None` is every resource; action and caveats are then empty.
    target: Option<Target>,
    caveats: Box<[Caveat]>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Target {
    resource: Box<str>,
    action: Pattern<Dots>,
}

/// What somebody asks to do.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The resource, for example `tool`.
    pub resource: &'a str,
    /// The action, for example `fs.read`.
    pub action: &'a str,
    /// The arguments that caveats may name. Several of one name are all checked.
    pub arguments: &'a [(&'a str, Argument<'a>)],
}

/// The value of one argument of a [`Request`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument<'a> {
    /// A relative path in normal form ([`is_path`]); the empty text is the root. A request with any other
    /// path is refused by every capability.
    Path(&'a str),
    /// A text.
    Text(&'a str),
    /// A host in normal form ([`is_host`]). A request with any other host is refused by every capability.
    Host(&'a str),
    /// A number.
    Number(u64),
}

/// Of what kind an argument is: which [`Argument`] carries it, and which caveats can speak about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum ArgumentKind {
    /// A relative path.
    Path,
    /// A text.
    Text,
    /// A host.
    Host,
    /// A number.
    Number,
}

impl ArgumentKind {
    /// True if `name` can stand in a caveat, and a caveat of that name speaks about arguments of this kind:
    /// the name decides, see [the language](crate::capability#the-language).
    pub fn fits(self, name: &str) -> bool {
        let written = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        written
            && match caveat::Sort::of(name) {
                caveat::Sort::Path => self == Self::Path,
                caveat::Sort::Host => self == Self::Host,
                caveat::Sort::Max => self == Self::Number,
                caveat::Sort::NumberOrText => matches!(self, Self::Number | Self::Text),
            }
    }
}

/// What keeps a text from being a capability, or capabilities from being a set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// The text is not in the language.
    #[error("'{}' is not a capability: byte {at}: {problem}", crate::path::for_terminal(text))]
    Malformed {
        /// The text.
        text: String,
        /// Byte offset of the problem.
        at: usize,
        /// What is wrong there, and what is allowed.
        problem: Problem,
    },
    /// The text is too long.
    #[error(
        "a capability of {len} bytes; at most {MAX_CAPABILITY} are allowed, so grant several shorter ones"
    )]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Too many caveats.
    #[error("{count} caveats on one capability; at most {MAX_CAVEATS} are allowed")]
    TooManyCaveats {
        /// How many there are.
        count: usize,
    },
    /// Too many capabilities.
    #[error("{count} capabilities in one set; at most {MAX_CAPABILITIES} are allowed, so use wider patterns")]
    TooMany {
        /// How many there are.
        count: usize,
    },
}

/// What is wrong at one place of a capability's text; the message says what is allowed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message is its documentation")]
pub enum Problem {
    #[error("a resource is expected: lower-case letters, digits, '_' or '-', as 'tool' in tool:fs.read")]
    Resource,
    #[error("'**' alone covers every resource; write '**' and nothing after it, or a resource")]
    AnyResource,
    #[error("':' is expected between resource and action, as in tool:fs.read")]
    Colon,
    #[error("a segment of letters, digits, '_', '-', '/' is expected, or '*', or '**' at the end")]
    ActionSegment,
    #[error("'**' is allowed as the last segment only")]
    AnyNotLast,
    #[error(
        "'*' inside a segment is not in the language; '*' is one whole segment, '**' at the end any number"
    )]
    PartialWildcard,
    #[error("a caveat is expected: a name of lower-case letters, digits, '_', then '=', as in path=docs/**")]
    CaveatName,
    #[error("this argument has a caveat already; join both into one")]
    DuplicateCaveat,
    #[error("'=' is expected after the caveat's name")]
    Equals,
    #[error("a value is expected")]
    EmptyValue,
    #[error("this character is allowed in double quotes only")]
    NeedsQuotes,
    #[error("'\\' may stand before '\"' or '\\' only, inside double quotes")]
    Escape,
    #[error("the double quotes are not closed")]
    OpenQuotes,
    #[error("control characters are not allowed; use '*' for a segment that has one")]
    Control,
    #[error("',' or ')' is expected after a caveat")]
    AfterCaveat,
    #[error("nothing may follow the closing ')'")]
    AfterEnd,
    #[error("a path pattern is relative to the granted root; leave the leading '/' out")]
    AbsolutePath,
    #[error("'..' is not allowed in a path pattern")]
    ParentPath,
    #[error("an empty path component is not allowed; write single '/' between components, '.' for the root")]
    EmptyComponent,
    #[error("'%' starts an escape only for a byte that is not UTF-8 (%E9); write '%' itself as %25")]
    PathEscape,
    #[error("an empty segment is not allowed; write single dots between segments")]
    EmptySegment,
    #[error(
        "a host in lower case is expected, as api.example.com, 127.0.0.1 or [::1], or one leading '*.' before a name"
    )]
    Host,
    #[error("a number is expected, at most 18446744073709551615 and without leading zeros")]
    Number,
    #[error("a number or an interval is expected, as 4, 1..10 or 1..; write a text of digits as {{1.5}}")]
    Interval,
    #[error("the interval is empty; the first number must not be above the second")]
    EmptyInterval,
    #[error("',' or '}}' is expected after an element of a set")]
    AfterElement,
    #[error("wildcards are not allowed in a set")]
    SetWildcard,
}

impl Capability {
    /// The capability that covers everything.
    pub fn all() -> Self {
        Self { target: None, caveats: Box::default() }
    }

    /// The resource it is about; `None` for the one that covers everything.
    pub fn resource(&self) -> Option<&str> {
        self.target.as_ref().map(|target| &*target.resource)
    }

    /// True if this capability allows `request`. Allocates nothing.
    pub fn allows(&self, request: &Request<'_>) -> bool {
        request.is_normal() && self.allows_normal(request)
    }

    /// True if this capability allows every request that `other` allows.
    pub fn covers(&self, other: &Self) -> bool {
        let target = match (&self.target, &other.target) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => {
                ours.resource == theirs.resource && ours.action.covers(&theirs.action)
            }
        };
        target
            && self
                .caveats
                .iter()
                .all(|ours| other.caveat(&ours.name).is_some_and(|theirs| ours.allowed.covers(theirs)))
    }

    /// The capability that allows exactly what both allow, or `None` if no request is allowed by both.
    ///
    /// # Errors
    /// [`CapabilityError::TooLong`] or [`CapabilityError::TooManyCaveats`] if it exceeds these bounds.
    pub fn intersect(&self, other: &Self) -> Result<Option<Self>, CapabilityError> {
        let target = match (&self.target, &other.target) {
            (None, one) | (one, None) => one.clone(),
            (Some(ours), Some(theirs)) if ours.resource == theirs.resource => {
                let Some(action) = ours.action.intersect(&theirs.action) else {
                    return Ok(None);
                };
                Some(Target { resource: ours.resource.clone(), action })
            }
            _ => return Ok(None),
        };
        let mut caveats: Vec<Caveat> = Vec::with_capacity(self.caveats.len() + other.caveats.len());
        for ours in &self.caveats {
            let allowed = match other.caveat(&ours.name) {
                Some(theirs) => ours.allowed.intersect(theirs),
                None => Some(ours.allowed.clone()),
            };
            let Some(allowed) = allowed else {
                return Ok(None);
            };
            caveats.push(Caveat { name: ours.name.clone(), allowed });
        }
        caveats.extend(other.caveats.iter().filter(|c| self.caveat(&c.name).is_none()).cloned());
        if caveats.len() > MAX_CAVEATS {
            return Err(CapabilityError::TooManyCaveats { count: caveats.len() });
        }
        caveats.sort();
        let both = Self { target, caveats: caveats.into() };
        match both.to_string().len() {
            len if len > MAX_CAPABILITY => Err(CapabilityError::TooLong { len }),
            _ => Ok(Some(both)),
        }
    }

    fn caveat(&self, name: &str) -> Option<&Allowed> {
        self.caveats.iter().find(|c| &*c.name == name).map(|c| &c.allowed)
    }

    /// [`allows`](Self::allows) for a request that is known to be normal.
    fn allows_normal(&self, request: &Request<'_>) -> bool {
        let target = self
            .target
            .as_ref()
            .is_none_or(|t| &*t.resource == request.resource && t.action.matches(request.action));
        target && self.caveats.iter().all(|c| c.holds(request))
    }

    /// How far `request` got before this capability refused it: more is closer. `None` if it is about
    /// another resource.
    fn closeness(&self, request: &Request<'_>) -> Option<(usize, usize)> {
        let Some(target) = &self.target else {
            return Some((usize::MAX, 0));
        };
        if &*target.resource != request.resource {
            return None;
        }
        if !target.action.matches(request.action) {
            return Some((target.action.common(request.action), 0));
        }
        Some((usize::MAX, self.caveats.iter().filter(|c| c.holds(request)).count()))
    }
}

impl Request<'_> {
    /// True if every path and host in the request is in its normal form.
    fn is_normal(&self) -> bool {
        self.arguments.iter().all(|(_, value)| match value {
            Argument::Path(path) => is_path(path),
            Argument::Host(host) => is_host(host),
            Argument::Text(_) | Argument::Number(_) => true,
        })
    }
}

impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.resource, self.action)?;
        for (i, (name, value)) in self.arguments.iter().enumerate() {
            f.write_str(if i == 0 { "(" } else { "," })?;
            match value {
                Argument::Path("") => write!(f, "{name}=.")?,
                Argument::Path(text) | Argument::Text(text) | Argument::Host(text) => {
                    write!(f, "{name}={text}")?;
                }
                Argument::Number(number) => write!(f, "{name}={number}")?,
            }
        }
        f.write_str(if self.arguments.is_empty() { "" } else { ")" })
    }
}

impl FromStr for Capability {
    type Err = CapabilityError;

    fn from_str(text: &str) -> Result<Self, CapabilityError> {
        parse::capability(text)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Target { resource, action }) = &self.target else {
            return self.fmt_caveats("**", f);
        };
        f.write_str(resource)?;
        f.write_str(":")?;
        self.fmt_caveats(action.as_str(), f)
    }
}

impl Capability {
    fn fmt_caveats(&self, action: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(action)?;
        for (i, caveat) in self.caveats.iter().enumerate() {
            f.write_str(if i == 0 { "(" } else { "," })?;
            fmt::Display::fmt(caveat, f)?;
        }
        f.write_str(if self.caveats.is_empty() { "" } else { ")" })
    }
}

impl fmt::Debug for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Capability({self})")
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Capability {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Capability {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <alloc::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
