//! Plans: what an agent is going to do, said before it has read anything that it cannot trust.
//!
//! A plan is made of [`Slot`]s, each for calls of one tool. A slot says for each of the tool's control arguments where its
//! value comes from, as a [`Source`]. Nothing here holds a value: whoever knows them hands in digests of their typed
//! canonical form ([`Scalar`]), and two values are the same if their digests are.

use alloc::string::String;
use alloc::vec::Vec;

use crate::digest::Digest;
use crate::id::{EventId, Name, PointerId};
use crate::money::Money;
use crate::quarantine::Answer;

/// A value without parts. `1`, `1.0` and `1e0` are one number; the number `1` and the text `"1"` are two values, and so
/// are two texts that differ in a byte, however alike they look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar<'a> {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A number, as the one text that it has in canonical form.
    Number(&'a str),
    /// A text.
    Text(&'a str),
}

impl Scalar<'_> {
    /// The digest of type and value.
    pub fn digest(&self) -> Digest {
        let (kind, value) = match self {
            Self::Null => ("null", ""),
            Self::Bool(true) => ("bool", "true"),
            Self::Bool(false) => ("bool", "false"),
            Self::Number(canonical) => ("number", *canonical),
            Self::Text(text) => ("text", *text),
        };
        Digest::of_fields("toka 2026 value v1", [kind.as_bytes(), value.as_bytes()])
    }
}

impl PointerId {
    /// The id of the places that `pattern` is about: a JSON pointer in which `*` stands for any place in a list.
    pub fn of(pattern: &str) -> Self {
        Self::cut(&Digest::of_fields("toka 2026 pointer v1", [pattern.as_bytes()]))
    }

    /// The first bytes of a digest: enough to tell pointers apart, and short, since facts hold many.
    pub fn cut(digest: &Digest) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&digest.0[..16]);
        Self(id)
    }
}

/// The value of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Value {
    /// One value. An object, or a list of anything but scalars, is one that is the same as no scalar.
    One(Digest),
    /// A list of scalars, in order.
    List(Vec<Digest>),
}

/// Where the value of an argument comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Source {
    /// It stands in the request, as a whole token.
    Literal(Digest),
    /// A person is asked about the call.
    Person,
    /// It is a whole leaf of what a read returned.
    Leaf(Selector),
    /// A list whose elements come from these, one each.
    List(Vec<Source>),
}

/// One leaf, or one list of leaves, of what the read of an earlier slot returned: pinned, since every list on the way there
/// is entered by what stands in one of its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Selector {
    /// The name of the slot.
    pub read: Name,
    /// Where the leaf is.
    pub pointer: PointerId,
    /// Where its elements are, if it is a list.
    pub elements: PointerId,
    /// What stands in the elements of the lists on the way.
    pub keys: Vec<Key>,
}

/// What tells an element of a list from the others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Key {
    /// The leaf of the element that is looked at.
    pub pointer: PointerId,
    /// How many lists lead there.
    pub depth: u32,
    /// What stands there.
    pub value: Digest,
}

/// Calls of one tool that a plan foresees.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Slot {
    /// Under which later slots speak of what the call returns.
    pub name: Option<Name>,
    /// The tool.
    pub tool: Name,
    /// How many calls.
    pub times: u32,
    /// The most of an amount that no source is given for.
    pub most: Option<Money>,
    /// Where the values of arguments come from, by their names.
    pub arguments: Vec<(String, Source)>,
}

/// The slot that a call fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SlotUse {
    /// The event of the plan.
    pub plan: EventId,
    /// The slot's place in it, from 0 on.
    pub slot: u32,
}

/// A scalar in what a call returned: where, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(from = "LeafFields", into = "LeafFields"))]
pub struct Leaf {
    /// Where it is, whatever the places in lists.
    pub pointer: PointerId,
    /// Those places, from the outermost list on.
    pub at: Vec<u32>,
    /// What it is.
    pub value: Digest,
    /// True if arguments may be bound to it: the read can be trusted, or the server itself wrote this field.
    pub trusted: bool,
    /// True if it says so much that finding it elsewhere means something: more than a yes or no, or a short word.
    pub telling: bool,
}

/// A leaf without the names of its fields, since facts hold many.
#[cfg(feature = "serde")]
type LeafFields = (PointerId, Vec<u32>, Digest, bool, bool);

#[cfg(feature = "serde")]
impl From<LeafFields> for Leaf {
    fn from((pointer, at, value, trusted, telling): LeafFields) -> Self {
        Self { pointer, at, value, trusted, telling }
    }
}

#[cfg(feature = "serde")]
impl From<Leaf> for LeafFields {
    fn from(leaf: Leaf) -> Self {
        (leaf.pointer, leaf.at, leaf.value, leaf.trusted, leaf.telling)
    }
}

/// What a plan has to know of a call's arguments. Whoever performs the call makes it from the tool's manifest and the
/// canonical arguments; the agent has no say in it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Traced {
    /// The arguments that were given, by name.
    pub arguments: Vec<(String, Value)>,
    /// The names of those that say to whom and where: each comes from where the slot says, or the call fills none.
    pub control: Vec<String>,
    /// The URLs and addresses in the other arguments.
    pub mentions: Vec<Digest>,
    /// Everything in the other arguments that may be a whole leaf of something read; in order, each once.
    pub phrases: Vec<Digest>,
    /// True if the other arguments are more than what was looked through.
    pub cut: bool,
    /// What stands in the control arguments and may be what a quarantined agent answered: texts no longer than literals, and
    /// whole numbers.
    pub controls: Vec<(String, Answer)>,
}

impl Traced {
    /// The value of an argument, if it was given.
    pub fn argument(&self, name: &str) -> Option<&Value> {
        self.arguments.iter().find(|(given, _)| given == name).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_different_types_are_different() {
        let all = [
            Scalar::Null,
            Scalar::Bool(true),
            Scalar::Bool(false),
            Scalar::Number("1e0"),
            Scalar::Text("1e0"),
            Scalar::Text(""),
            Scalar::Text("true"),
            Scalar::Text("null"),
            // Latin and Cyrillic.
            Scalar::Text("paypal"),
            Scalar::Text("p\u{430}ypal"),
        ];
        for (i, one) in all.iter().enumerate() {
            for (j, other) in all.iter().enumerate() {
                assert_eq!(one.digest() == other.digest(), i == j, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn places_are_told_apart_by_their_pointers() {
        assert_ne!(PointerId::of("/a/*"), PointerId::of("/a"));
        assert_eq!(PointerId::of("/a/*"), PointerId::of("/a/*"));
    }
}
