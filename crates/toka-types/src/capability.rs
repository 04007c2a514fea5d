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
//! - **Caveats**: at most [`MAX_CAVEATS`] on arguments, each on another one. A request that lacks an argument which a
//!   caveat names is refused; an argument that no caveat names may have any value. If a request has
//!   several arguments of one name, the caveat must hold for each. The name says what the value is:
//!
//! | Name | Value | Allows |
//! |---|---|---|
//! | `path`, `…_path` | pattern of `/` segments, `.` for the root | [`Argument::Path`] |
//! | `host`, `…_host` | host, or `*.` and a host: exactly one label more; `{a,b}`: one of these | [`Argument::Host`] |
//! | `max`, `…_max` | one number, or one amount such as `0.50 USD` | [`Argument::Number`] or [`Argument::Money`] from 0 up to it |
//! | any other | `4`, `1..10` (both ends included), `1..` (no upper end) | [`Argument::Number`] |
//! | any other | `0.50 USD`, `0.10..0.50 USD` (both ends included), `0.10.. USD` | [`Argument::Money`] of that currency |
//! | any other | `{a,b}`: one of these texts | [`Argument::Text`] |
//! | any other | pattern of `.` segments | [`Argument::Text`] |
//!
//! Four names are no arguments. Two say when the capability holds, in UTC, two how often it may be used:
//!
//! | Name | Value | Allows |
//! |---|---|---|
//! | `at` | `2026-01-01..2026-02-01`, `2026-01-01T08:30Z..`, `..2026-02-01` | from the first instant on, before the second |
//! | `hours` | `09:00..17:30` | from the first time of each day on, before the second |
//! | `rate` | `10/min`, or several as `{10/min,100/h}`; `s`, `min`, `h`, `day` | so many uses in each [`Window`] |
//! | `uses` | a number | so many uses over all time |
//!
//! A `*` inside a segment (`*.md`) is not in the language. A value with a comma, a parenthesis, a brace or
//! a space is written in double quotes, with `\"` and `\\` inside. Paths are in the text form of
//! [`crate::path`], so a `%` is written `%25`.
//!
//! # The order
//! A capability stands for the requests that it allows, each at an instant, and for the histories of its use
//! that its [`Limits`] allow. One [`covers`](Capability::covers) another if it has all of the other's requests and all of its
//! histories. `docs/capabilities.md` has the grammar and the laws.

mod caveat;
mod error;
mod exact;
#[cfg(test)]
mod laws;
mod limit;
mod parse;
mod pattern;
mod set;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod universe;
mod when;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use caveat::{Allowed, Caveat, Sort};
pub use error::{CapabilityError, Problem};
pub use exact::ExactRequest;
pub use limit::{Limits, MAX_USES, Meter, Reached, Window};
use pattern::Dots;
pub(crate) use pattern::{Colons, Pattern};
pub use pattern::{is_host, is_path};
pub use set::{CapabilitySet, MAX_JOINED};
use when::When;

use crate::money::Money;
use crate::time::Timestamp;

/// Longest capability, in bytes of its text: a grant of many still fits a header, and a person can read it.
pub const MAX_CAPABILITY: usize = 512;
/// Most caveats on one capability: no tool governs more arguments than a person can weigh.
pub const MAX_CAVEATS: usize = 8;
/// Most capabilities in a set: a check walks all of them, and stays below the cost of a commit.
pub const MAX_CAPABILITIES: usize = 256;

/// One capability: what may be done, to what, with which arguments.
///
/// Two capabilities are equal if and only if they allow the same requests and histories; [`Display`](fmt::Display)
/// writes the one text that equal capabilities have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability {
    /// `None` is every resource; action and caveats are then empty.
    target: Option<Target>,
    caveats: Box<[Caveat]>,
    when: When,
    limits: Limits,
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
    /// An amount of money.
    Money(Money),
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
    /// An amount of money.
    Money,
}

impl ArgumentKind {
    /// True if `name` can stand in a caveat, and a caveat of that name speaks about arguments of this kind:
    /// the name decides, see [the language](crate::capability#the-language).
    pub fn fits(self, name: &str) -> bool {
        let written = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        written
            && match Sort::of(name) {
                Sort::Path => self == Self::Path,
                Sort::Host => self == Self::Host,
                Sort::Max => matches!(self, Self::Number | Self::Money),
                Sort::NumberOrText => matches!(self, Self::Number | Self::Text | Self::Money),
                Sort::At | Sort::Hours | Sort::Rate | Sort::Uses => false,
            }
    }
}

impl Capability {
    /// The capability that covers everything.
    pub fn all() -> Self {
        Self { target: None, caveats: Box::default(), when: When::ALWAYS, limits: Limits::NONE }
    }

    /// The narrowest capability that allows `request`, at any time and any number of times; `None` if the language has no
    /// name for what is asked. An argument whose values cannot be told from others (two paths, a text with a
    /// `*`) has no caveat in it.
    pub fn narrowest(request: &Request<'_>) -> Option<Self> {
        let plain: Self = alloc::format!("{}:{}", request.resource, request.action).parse().ok()?;
        let target = plain.target.filter(|target| !target.action.is_open())?;
        let mut caveats: Vec<Caveat> = Vec::new();
        for (name, _) in request.arguments {
            if caveats.len() < MAX_CAVEATS
                && !caveats.iter().any(|caveat| &*caveat.name == *name)
                && let Some(caveat) = Caveat::narrowest(name, request)
            {
                caveats.push(caveat);
            }
        }
        caveats.sort();
        let mut one = Self { target: Some(target), caveats: Box::default(), ..Self::all() };
        for caveat in caveats {
            // What would be too long, or could not be read back, is left out.
            let more: Vec<Caveat> = one.caveats.iter().cloned().chain([caveat]).collect();
            let with = Self { caveats: more.into(), ..one.clone() };
            if alloc::format!("{with}").parse().as_ref() == Ok(&with) && with.allows(request) {
                one = with;
            }
        }
        one.allows(request).then_some(one)
    }

    /// The resource it is about; `None` for the one that covers everything.
    pub fn resource(&self) -> Option<&str> {
        self.target.as_ref().map(|target| &*target.resource)
    }

    /// True if this capability allows `request` at any time and any number of times. One that holds at some times or
    /// has limits allows nothing here. Allocates nothing.
    pub fn allows(&self, request: &Request<'_>) -> bool {
        self.when == When::ALWAYS && self.limits.is_none() && self.answers(request)
    }

    /// True if this capability allows `request` at `at`, as long as its [`limits`](Self::limits) are kept. Allocates
    /// nothing.
    pub fn allows_at(&self, request: &Request<'_>, at: Timestamp) -> bool {
        self.when.has(at) && self.answers(request)
    }

    /// How often it may be used.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// True if this capability allows all that `other` allows: every request at every instant, and every history
    /// of uses. Exact: if it is false, there is something that `other` allows and this one does not.
    pub fn covers(&self, other: &Self) -> bool {
        let target = match (&self.target, &other.target) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => {
                ours.resource == theirs.resource && ours.action.covers(&theirs.action)
            }
        };
        target && self.covers_arguments(other) && self.when.covers(&other.when)
    }

    /// The capability that allows exactly what both allow, or `None` if no request is allowed by both at any time.
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
        let Some(when) = self.when.intersect(&other.when) else {
            return Ok(None);
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
        let limits = self.limits.intersect(&other.limits);
        Self { target, caveats: caveats.into(), when, limits }.bounded().map(Some)
    }

    /// This capability, if its text is not too long.
    fn bounded(self) -> Result<Self, CapabilityError> {
        struct Length(usize);
        impl fmt::Write for Length {
            fn write_str(&mut self, part: &str) -> fmt::Result {
                self.0 += part.len();
                Ok(())
            }
        }
        let mut length = Length(0);
        let _ = fmt::write(&mut length, format_args!("{self}"));
        match length.0 {
            len if len > MAX_CAPABILITY => Err(CapabilityError::TooLong { len }),
            _ => Ok(self),
        }
    }

    /// True if `other` is not used more often than this one may be, nor with other arguments.
    fn covers_arguments(&self, other: &Self) -> bool {
        let holds =
            |ours: &Caveat| other.caveat(&ours.name).is_some_and(|theirs| ours.allowed.covers(theirs));
        self.caveats.iter().all(holds) && self.limits.covers(&other.limits)
    }

    fn caveat(&self, name: &str) -> Option<&Allowed> {
        self.caveats.iter().find(|c| &*c.name == name).map(|c| &c.allowed)
    }

    /// True if the request is one that this capability is about, with arguments that it allows.
    fn answers(&self, request: &Request<'_>) -> bool {
        request.is_normal() && self.answers_normal(request)
    }

    /// [`answers`](Self::answers) for a request that is known to be normal.
    fn answers_normal(&self, request: &Request<'_>) -> bool {
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
            Argument::Text(_) | Argument::Number(_) | Argument::Money(_) => true,
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
                Argument::Money(money) => write!(f, "{name}={money}")?,
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
        let mut separator = "(";
        let mut each = |caveat: &dyn fmt::Display, f: &mut fmt::Formatter<'_>| {
            f.write_str(core::mem::replace(&mut separator, ","))?;
            fmt::Display::fmt(caveat, f)
        };
        for caveat in &self.caveats {
            each(caveat, f)?;
        }
        if let Some(span) = self.when.span() {
            each(&format_args!("at={span}"), f)?;
        }
        if let Some(hours) = self.when.hours() {
            each(&format_args!("hours={hours}"), f)?;
        }
        let rates = || self.limits.needed().filter(|(window, _)| *window != Window::Ever);
        if rates().count() > 0 {
            each(&format_args!("rate={}", Rates(rates)), f)?;
        }
        if let Some((_, uses)) = self.limits.needed().find(|(window, _)| *window == Window::Ever) {
            each(&format_args!("uses={uses}"), f)?;
        }
        f.write_str(if separator == "(" { "" } else { ")" })
    }
}

/// The value of the caveat `rate`.
struct Rates<R>(R);

impl<I: Iterator<Item = (Window, u64)>, R: Fn() -> I> fmt::Display for Rates<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let several = (self.0)().count() > 1;
        f.write_str(if several { "{" } else { "" })?;
        for (i, (window, most)) in (self.0)().enumerate() {
            write!(f, "{}{most}/{}", if i == 0 { "" } else { "," }, window.as_str())?;
        }
        f.write_str(if several { "}" } else { "" })
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
