//! Plans as agents write them: slots, and for each argument where its value comes from.
//!
//! ```
//! use toka_toolkit_core::plan::{Plan, PlannedCall};
//!
//! // "Pay Bob 20 EUR for the rent."
//! let plan = Plan::default()
//!     .then(PlannedCall::of("contacts.list")?.named("contacts")?)
//!     .then(PlannedCall::of("pay")?.from_read("to", "contacts[name='Bob'].iban").literal("subject", "rent"));
//! assert_eq!(plan.slots()?.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use toka_types::plan::{Key, Scalar, Selector, Slot, Source};
use toka_types::{Money, Name, NameError, PointerId};

use crate::trace::{push_key, scalar};

/// The calls that a request takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The slots, in order: a source speaks of the reads before it.
    pub slots: Vec<PlannedCall>,
}

/// Calls of one tool that a plan foresees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedCall {
    /// Under which later slots speak of what the call returns; letters, digits, `_` and `-`. Such a call is made once, with
    /// no arguments but those that have a source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// The tool.
    pub tool: Name,
    /// How many calls; one, if nothing is said.
    #[serde(default = "one")]
    pub times: u32,
    /// The most of an amount that has no source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<Money>,
    /// Where the values of arguments come from.
    #[serde(default)]
    pub arguments: BTreeMap<String, PlannedSource>,
}

/// Where the value of an argument comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedSource {
    /// This text or number, which stands in the request as a whole token.
    Literal(Value),
    /// A person, who is asked about the call.
    Person,
    /// A leaf of what an earlier slot reads, as `contacts[name='Bob'].email`.
    Read(String),
    /// A list, each element of which comes from one of these.
    List(Vec<PlannedSource>),
}

/// What is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// Something that cannot be compared as a whole stands where a text or a number should.
    #[error("the literal {0} is neither text nor number, yes, no or null")]
    Literal(String),
    /// A selector is none.
    #[error("'{text}' selects nothing: byte {at}: {problem}")]
    Selector {
        /// The selector.
        text: String,
        /// Where it is wrong.
        at: usize,
        /// What is wrong there.
        problem: &'static str,
    },
    /// A slot's name cannot be spoken of.
    #[error("the slot name '{0}' has other characters than letters, digits, '_' and '-'")]
    Name(Name),
}

fn one() -> u32 {
    1
}

impl Plan {
    /// The same with one slot more.
    #[must_use]
    pub fn then(mut self, call: PlannedCall) -> Self {
        self.slots.push(call);
        self
    }

    /// The slots as the kernel takes them.
    ///
    /// # Errors
    /// [`PlanError`] names what is wrong.
    pub fn slots(&self) -> Result<Vec<Slot>, PlanError> {
        self.slots.iter().map(PlannedCall::slot).collect()
    }
}

impl PlannedCall {
    /// One call of a tool, with nothing said about its arguments.
    ///
    /// # Errors
    /// If the tool's id is no name.
    pub fn of(tool: &str) -> Result<Self, NameError> {
        let tool = Name::new(tool)?;
        Ok(Self { name: None, tool, times: 1, most: None, arguments: BTreeMap::new() })
    }

    /// Gives it a name, under which later slots speak of what it returns.
    ///
    /// # Errors
    /// If that is no name.
    pub fn named(mut self, name: &str) -> Result<Self, NameError> {
        self.name = Some(Name::new(name)?);
        Ok(self)
    }

    /// Foresees so many calls.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Allows amounts up to this where none is bound.
    #[must_use]
    pub fn at_most(mut self, most: Money) -> Self {
        self.most = Some(most);
        self
    }

    /// Binds an argument to a source.
    #[must_use]
    pub fn bound(mut self, argument: impl Into<String>, source: PlannedSource) -> Self {
        self.arguments.insert(argument.into(), source);
        self
    }

    /// Binds an argument to a token of the request.
    #[must_use]
    pub fn literal(self, argument: impl Into<String>, value: impl Into<Value>) -> Self {
        self.bound(argument, PlannedSource::Literal(value.into()))
    }

    /// Binds an argument to a leaf of what an earlier slot reads.
    #[must_use]
    pub fn from_read(self, argument: impl Into<String>, selector: impl Into<String>) -> Self {
        self.bound(argument, PlannedSource::Read(selector.into()))
    }

    /// Leaves an argument to a person.
    #[must_use]
    pub fn from_person(self, argument: impl Into<String>) -> Self {
        self.bound(argument, PlannedSource::Person)
    }

    fn slot(&self) -> Result<Slot, PlanError> {
        if let Some(name) = self.name.as_ref().filter(|name| !name.as_str().chars().all(is_plain)) {
            return Err(PlanError::Name(name.clone()));
        }
        let source = |(name, source): (&String, &PlannedSource)| Ok((name.clone(), source.source()?));
        let arguments = self.arguments.iter().map(source).collect::<Result<_, PlanError>>()?;
        let Self { name, tool, times, most, .. } = self;
        Ok(Slot { name: name.clone(), tool: tool.clone(), times: *times, most: *most, arguments })
    }
}

impl PlannedSource {
    fn source(&self) -> Result<Source, PlanError> {
        Ok(match self {
            Self::Literal(value) => {
                let shown = || PlanError::Literal(value.to_string().chars().take(80).collect());
                Source::Literal(scalar(value).ok_or_else(shown)?)
            }
            Self::Person => Source::Person,
            Self::Read(text) => Source::Leaf(select(text)?),
            Self::List(sources) => {
                Source::List(sources.iter().map(Self::source).collect::<Result<_, PlanError>>()?)
            }
        })
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// Reads a selector: the name of a read, then members as `.key` or `['any key']`, and lists as `[key='value']`, which is the
/// one element in which that stands. A number in a list would be no way to say which: what comes first may be
/// somebody else's choice.
fn select(text: &str) -> Result<Selector, PlanError> {
    let mut reader = Reader { text, at: 0 };
    let name = reader.plain()?;
    let read = Name::new(name).map_err(|_| reader.wrong("the name of a read is expected"))?;
    let (mut pattern, mut keys) = (String::new(), Vec::new());
    let mut depth = 0;
    while reader.at < text.len() {
        if reader.take('.') {
            push_key(&mut pattern, reader.plain()?);
            continue;
        }
        reader.expect('[', "'.' or '[' is expected")?;
        if reader.next() == Some('\'') {
            let key = reader.quoted()?;
            push_key(&mut pattern, &key);
        } else {
            let key = reader.plain()?;
            reader.expect(
                '=',
                "'=' and what stands there are expected: a place in a list is no way to say which element",
            )?;
            let value = reader.value()?;
            pattern.push_str("/*");
            depth += 1;
            let mut pointer = pattern.clone();
            push_key(&mut pointer, key);
            keys.push(Key { pointer: PointerId::of(&pointer), depth, value });
        }
        reader.expect(']', "']' is expected")?;
    }
    let pointer = PointerId::of(&pattern);
    pattern.push_str("/*");
    Ok(Selector { read, pointer, elements: PointerId::of(&pattern), keys })
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn wrong(&self, problem: &'static str) -> PlanError {
        PlanError::Selector { text: self.text.chars().take(200).collect(), at: self.at, problem }
    }

    fn next(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, c: char) -> bool {
        let is_there = self.next() == Some(c);
        if is_there {
            self.at += c.len_utf8();
        }
        is_there
    }

    fn expect(&mut self, c: char, problem: &'static str) -> Result<(), PlanError> {
        if self.take(c) { Ok(()) } else { Err(self.wrong(problem)) }
    }

    fn plain(&mut self) -> Result<&'t str, PlanError> {
        let rest = &self.text[self.at..];
        let long = rest.find(|c| !is_plain(c)).unwrap_or(rest.len());
        if long == 0 {
            return Err(self.wrong("a name of letters, digits, '_' and '-' is expected"));
        }
        self.at += long;
        Ok(&rest[..long])
    }

    /// A text between single quotes, in which two of them are one.
    fn quoted(&mut self) -> Result<String, PlanError> {
        self.expect('\'', "a quoted text is expected")?;
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(self.wrong("the quoted text does not end")),
                Some('\'') => {
                    self.at += 1;
                    if !self.take('\'') {
                        return Ok(text);
                    }
                    text.push('\'');
                }
                Some(c) => {
                    self.at += c.len_utf8();
                    text.push(c);
                }
            }
        }
    }

    /// What stands in the element: a quoted text, or a number, yes, no or null as in JSON.
    fn value(&mut self) -> Result<toka_types::Digest, PlanError> {
        if self.next() == Some('\'') {
            return Ok(Scalar::Text(&self.quoted()?).digest());
        }
        let rest = &self.text[self.at..];
        let long = rest.find(']').unwrap_or(rest.len());
        let value = serde_json::from_str(&rest[..long]).ok().as_ref().and_then(scalar);
        let value = value.ok_or_else(|| self.wrong("a quoted text or a number is expected"))?;
        self.at += long;
        Ok(value)
    }
}
