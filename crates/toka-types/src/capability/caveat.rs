//! What a capability says about one argument.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::pattern::{Dots, Pattern, Slashes};
use super::{Argument, Request};
use crate::money::{Amount, Currency};

/// A caveat on the argument `name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Caveat {
    pub(super) name: Box<str>,
    pub(super) allowed: Allowed,
}

/// The values that a caveat allows. Never none: an empty intersection removes the capability.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Allowed {
    Path(Pattern<Slashes>),
    /// Hosts, or `*.` and a host each: sorted, not empty, none allowed by another.
    Hosts(Box<[Box<str>]>),
    /// From the first to the second, both included.
    Number(u64, u64),
    /// A pattern with a wildcard.
    Text(Pattern<Dots>),
    /// Sorted, without repetition, not empty.
    Texts(Box<[Box<str>]>),
    /// Amounts of a currency, from the first to the second, both included.
    Money(Currency, Amount, Amount),
}

/// The end of an interval of amounts that has no end.
pub(super) const UNBOUNDED: Amount = Amount(i128::MAX);

/// What the value of a caveat is, by the caveat's name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Path,
    Host,
    Max,
    NumberOrText,
    At,
    Hours,
    Rate,
    Uses,
}

impl Sort {
    pub(super) fn of(name: &str) -> Self {
        match name {
            "at" => return Self::At,
            "hours" => return Self::Hours,
            "rate" => return Self::Rate,
            "uses" => return Self::Uses,
            _ => {}
        }
        match name.rsplit('_').next() {
            Some("path") => Self::Path,
            Some("host") => Self::Host,
            Some("max") => Self::Max,
            _ => Self::NumberOrText,
        }
    }
}

impl Caveat {
    /// True if the request has the argument and each of its values is allowed.
    pub(super) fn holds(&self, request: &Request<'_>) -> bool {
        let mut values = request.arguments.iter().filter(|(name, _)| *name == &*self.name).peekable();
        values.peek().is_some() && values.all(|(_, value)| self.allowed.allows(value))
    }
}

impl Caveat {
    /// The caveat that allows the values which `request` has under `name` and as few others as can be said.
    pub(super) fn narrowest(name: &str, request: &Request<'_>) -> Option<Self> {
        let values: Vec<&Argument<'_>> =
            request.arguments.iter().filter(|(of, _)| *of == name).map(|(_, value)| value).collect();
        let max = Sort::of(name) == Sort::Max;
        let allowed = match **values.first()? {
            Argument::Path(path) => Allowed::Path(Pattern::new(path)),
            Argument::Host(_) => Allowed::hosts(values.iter().filter_map(|value| match value {
                Argument::Host(host) => Some((*host).into()),
                _ => None,
            }))?,
            Argument::Text(_) => {
                let texts = values.iter().filter_map(|value| match value {
                    Argument::Text(text) => Some((*text).into()),
                    _ => None,
                });
                let mut texts: Vec<Box<str>> = texts.collect();
                texts.sort();
                texts.dedup();
                Allowed::Texts(texts.into())
            }
            Argument::Number(_) => {
                let numbers = || {
                    values.iter().filter_map(|value| match value {
                        Argument::Number(number) => Some(*number),
                        _ => None,
                    })
                };
                Allowed::Number(if max { 0 } else { numbers().min()? }, numbers().max()?)
            }
            Argument::Money(money) => {
                let amounts = || {
                    values.iter().filter_map(|value| match value {
                        Argument::Money(money) => Some(money.amount),
                        _ => None,
                    })
                };
                let first = if max { Amount::ZERO } else { amounts().min()? };
                Allowed::Money(money.currency, first, amounts().max()?)
            }
        };
        Some(Self { name: name.into(), allowed })
    }
}

impl Allowed {
    /// Hosts and patterns of hosts, without those that others allow.
    pub(super) fn hosts(hosts: impl IntoIterator<Item = Box<str>>) -> Option<Self> {
        let mut kept: Vec<Box<str>> = Vec::new();
        for host in hosts {
            if !kept.iter().any(|other| host_covers(other, &host)) {
                kept.retain(|other| !host_covers(&host, other));
                kept.push(host);
            }
        }
        kept.sort();
        (!kept.is_empty()).then(|| Self::Hosts(kept.into()))
    }

    /// What `pattern` allows; without a wildcard it is one text, and has one form.
    pub(super) fn text(pattern: Pattern<Dots>) -> Self {
        if pattern.is_open() { Self::Text(pattern) } else { Self::Texts(Box::new([pattern.as_str().into()])) }
    }

    fn allows(&self, value: &Argument<'_>) -> bool {
        match (self, value) {
            (Self::Path(pattern), Argument::Path(path)) => pattern.matches(path),
            (Self::Hosts(patterns), Argument::Host(host)) => patterns.iter().any(|p| host_matches(p, host)),
            (Self::Number(first, last), Argument::Number(number)) => (first..=last).contains(&number),
            (Self::Text(pattern), Argument::Text(text)) => pattern.matches(text),
            (Self::Texts(texts), Argument::Text(text)) => has(texts, text),
            (Self::Money(currency, first, last), Argument::Money(money)) => {
                *currency == money.currency && (first..=last).contains(&&money.amount)
            }
            _ => false,
        }
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Path(ours), Self::Path(theirs)) => ours.covers(theirs),
            (Self::Hosts(ours), Self::Hosts(theirs)) => {
                theirs.iter().all(|t| ours.iter().any(|o| host_covers(o, t)))
            }
            (Self::Number(a, b), Self::Number(c, d)) => a <= c && d <= b,
            (Self::Text(ours), Self::Text(theirs)) => ours.covers(theirs),
            (Self::Text(ours), Self::Texts(theirs)) => theirs.iter().all(|t| ours.matches(t)),
            (Self::Texts(ours), Self::Texts(theirs)) => theirs.iter().all(|t| has(ours, t)),
            (Self::Money(ours, a, b), Self::Money(theirs, c, d)) => ours == theirs && a <= c && d <= b,
            _ => false,
        }
    }

    pub(super) fn intersect(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Path(ours), Self::Path(theirs)) => ours.intersect(theirs).map(Self::Path),
            (Self::Number(a, b), Self::Number(c, d)) => {
                let (first, last) = (*a.max(c), *b.min(d));
                (first <= last).then_some(Self::Number(first, last))
            }
            (Self::Text(ours), Self::Text(theirs)) => ours.intersect(theirs).map(Self::text),
            (Self::Text(pattern), Self::Texts(texts)) | (Self::Texts(texts), Self::Text(pattern)) => {
                Self::some_of(texts, |t| pattern.matches(t))
            }
            (Self::Texts(ours), Self::Texts(theirs)) => Self::some_of(ours, |t| has(theirs, t)),
            (Self::Hosts(ours), Self::Hosts(theirs)) => {
                // Of two patterns one allows all that the other does, or no host is allowed by both.
                let both = |o: &str, t: &str| match (host_covers(o, t), host_covers(t, o)) {
                    (true, _) => Some(t.into()),
                    (_, true) => Some(o.into()),
                    _ => None,
                };
                Self::hosts(ours.iter().flat_map(|o| theirs.iter().filter_map(move |t| both(o, t))))
            }
            (Self::Money(ours, a, b), Self::Money(theirs, c, d)) => {
                let (first, last) = (*a.max(c), *b.min(d));
                (ours == theirs && first <= last).then_some(Self::Money(*ours, first, last))
            }
            _ => None,
        }
    }

    fn some_of(texts: &[Box<str>], keep: impl Fn(&str) -> bool) -> Option<Self> {
        let kept: Vec<Box<str>> = texts.iter().filter(|t| keep(t)).cloned().collect();
        (!kept.is_empty()).then(|| Self::Texts(kept.into()))
    }
}

fn has(texts: &[Box<str>], text: &str) -> bool {
    texts.binary_search_by(|t| (**t).cmp(text)).is_ok()
}

/// True if `ours` allows each host that `theirs` allows.
fn host_covers(ours: &str, theirs: &str) -> bool {
    ours == theirs || host_matches(ours, theirs)
}

/// True if `host` is the pattern's host or, after `*.`, has exactly one label more. A pattern in place of
/// `host` is matched by itself alone: no host has a label `*`.
fn host_matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(label, rest)| label != "*" && rest == parent),
        None => pattern == host,
    }
}

/// True for a value that reads as a number or an interval unless it stands in braces.
pub(super) fn reads_as_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// True for a character that a value may hold outside double quotes.
pub(super) fn is_bare(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !matches!(c, '(' | ')' | ',' | '=' | '{' | '}' | '"' | '\\')
}

impl fmt::Display for Caveat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.name)?;
        match &self.allowed {
            Allowed::Path(pattern) if pattern.as_str().is_empty() => f.write_str("."),
            Allowed::Path(pattern) => write_word(pattern.as_str(), f),
            Allowed::Hosts(hosts) => match &**hosts {
                [one] => write_word(one, f),
                _ => write_set(hosts, f),
            },
            Allowed::Number(_, last) if Sort::of(&self.name) == Sort::Max => write!(f, "{last}"),
            Allowed::Number(first, last) if first == last => write!(f, "{first}"),
            Allowed::Number(first, u64::MAX) => write!(f, "{first}.."),
            Allowed::Number(first, last) => write!(f, "{first}..{last}"),
            Allowed::Text(pattern) => write_word(pattern.as_str(), f),
            Allowed::Texts(texts) => match &**texts {
                [one] if !reads_as_number(one) && one.split('.').all(|segment| !segment.is_empty()) => {
                    write_word(one, f)
                }
                _ => write_set(texts, f),
            },
            Allowed::Money(currency, first, last) => {
                match (first, last) {
                    _ if Sort::of(&self.name) == Sort::Max => write!(f, "{last}")?,
                    (one, last) if one == last => write!(f, "{one}")?,
                    (first, &UNBOUNDED) => write!(f, "{first}..")?,
                    (first, last) => write!(f, "{first}..{last}")?,
                }
                write!(f, " {currency}")
            }
        }
    }
}

fn write_set(texts: &[Box<str>], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (i, text) in texts.iter().enumerate() {
        f.write_str(if i == 0 { "{" } else { "," })?;
        write_word(text, f)?;
    }
    f.write_str("}")
}

fn write_word(word: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if !word.is_empty() && word.chars().all(is_bare) {
        return f.write_str(word);
    }
    f.write_char('"')?;
    for c in word.chars() {
        if matches!(c, '"' | '\\') {
            f.write_char('\\')?;
        }
        f.write_char(c)?;
    }
    f.write_char('"')
}
