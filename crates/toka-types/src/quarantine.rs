//! Quarantine: an agent that may read anything, and may say one thing of a shape that was fixed before.
//!
//! What such an agent says is [`ENDORSED`]: that its data came from somewhere untrusted is dropped, because so few answers
//! are possible that nobody can say with them what is to be done. How few, is counted in bits.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// The label of an answer, and of whatever is made from it.
pub const ENDORSED: &str = "endorsed";
/// The family of labels that an answer drops. It keeps all others: who may see something does not change by asking
/// somebody about it.
pub const UNTRUSTED: &str = "untrusted";
/// Most literals that an answer may be one of: a choice among ways to go on, not a text.
pub const MAX_LITERALS: usize = 16;
/// Longest literal, in bytes: it stands in facts, as the name of one way to go on.
pub const MAX_LITERAL: usize = 64;

/// What the one answer of a quarantined agent may be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub enum AnswerShape {
    /// Yes or no.
    Boolean,
    /// One of these texts.
    OneOf(Vec<String>),
    /// A whole number, both ends included.
    Integer {
        /// The least.
        least: i64,
        /// The most.
        most: i64,
    },
}

/// What a quarantined agent says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(untagged))]
pub enum Answer {
    /// Yes or no.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// One of the texts.
    Literal(String),
}

/// Why something is no [`AnswerShape`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// None, or too many.
    #[error("{0} literals; 1 to {MAX_LITERALS} are allowed")]
    Count(usize),
    /// Too long, empty, or not for a terminal.
    #[error(
        "literal {at} has {len} bytes or control characters; 1 to {MAX_LITERAL} bytes without such are allowed"
    )]
    Literal {
        /// Which one, from 0 on.
        at: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// The same text twice.
    #[error("literal {0} stands there twice")]
    Twice(usize),
    /// Nothing is in it.
    #[error("no number is at least {least} and at most {most}")]
    Empty {
        /// The least.
        least: i64,
        /// The most.
        most: i64,
    },
}

impl AnswerShape {
    /// Checks the bounds.
    ///
    /// # Errors
    /// [`ShapeError`].
    pub fn check(&self) -> Result<(), ShapeError> {
        match self {
            Self::Boolean => Ok(()),
            Self::OneOf(literals) => {
                if literals.is_empty() || literals.len() > MAX_LITERALS {
                    return Err(ShapeError::Count(literals.len()));
                }
                for (at, literal) in literals.iter().enumerate() {
                    let len = literal.len();
                    if len == 0 || len > MAX_LITERAL || literal.chars().any(char::is_control) {
                        return Err(ShapeError::Literal { at, len });
                    }
                    if literals[..at].contains(literal) {
                        return Err(ShapeError::Twice(at));
                    }
                }
                Ok(())
            }
            &Self::Integer { least, most } if least > most => Err(ShapeError::Empty { least, most }),
            Self::Integer { .. } => Ok(()),
        }
    }

    /// True if `answer` is one of those that are possible.
    pub fn accepts(&self, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Boolean, Answer::Boolean(_)) => true,
            (Self::OneOf(literals), Answer::Literal(text)) => literals.contains(text),
            (Self::Integer { least, most }, Answer::Integer(number)) => (least..=most).contains(&number),
            _ => false,
        }
    }

    /// The bits that an answer can tell: log2 of how many are possible, rounded up, and at least one, since there may be
    /// no answer at all.
    pub fn bits(&self) -> u32 {
        let possible = match self {
            Self::Boolean => 2,
            Self::OneOf(literals) => literals.len() as u128,
            Self::Integer { least, most } => (i128::from(*most) - i128::from(*least)).max(0) as u128 + 1,
        };
        (u128::BITS - possible.saturating_sub(1).leading_zeros()).max(1)
    }
}

impl fmt::Display for AnswerShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("true or false"),
            Self::OneOf(literals) => {
                f.write_str("one of ")?;
                for (at, literal) in literals.iter().enumerate() {
                    if at > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "'{literal}'")?;
                }
                Ok(())
            }
            Self::Integer { least, most } => write!(f, "a whole number from {least} to {most}"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(said) => write!(f, "{said}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Literal(text) => f.write_str(text),
        }
    }
}

impl From<bool> for Answer {
    fn from(said: bool) -> Self {
        Self::Boolean(said)
    }
}

impl From<i64> for Answer {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<&str> for Answer {
    fn from(text: &str) -> Self {
        Self::Literal(text.into())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    fn one_of(count: usize) -> AnswerShape {
        AnswerShape::OneOf((0..count).map(|n| n.to_string()).collect())
    }

    #[test]
    fn bits_are_rounded_up() {
        let integer = |least, most| AnswerShape::Integer { least, most };
        let cases = [
            (AnswerShape::Boolean, 1),
            (one_of(1), 1),
            (one_of(2), 1),
            (one_of(3), 2),
            (one_of(4), 2),
            (one_of(5), 3),
            (one_of(16), 4),
            (integer(7, 7), 1),
            (integer(0, 255), 8),
            (integer(0, 256), 9),
            (integer(-128, 127), 8),
            (integer(i64::MIN, i64::MAX), 64),
        ];
        for (shape, bits) in cases {
            assert_eq!((shape.check(), shape.bits()), (Ok(()), bits), "{shape}");
        }
    }

    #[test]
    fn shapes_have_bounds() {
        let one = |text: &str| AnswerShape::OneOf(vec![text.into()]);
        let long = "a".repeat(MAX_LITERAL + 1);
        let cases = [
            (one_of(0), ShapeError::Count(0)),
            (one_of(17), ShapeError::Count(17)),
            (one(""), ShapeError::Literal { at: 0, len: 0 }),
            (one("a\u{1b}"), ShapeError::Literal { at: 0, len: 2 }),
            (one(&long), ShapeError::Literal { at: 0, len: 65 }),
            (AnswerShape::OneOf(vec!["a".into(), "b".into(), "a".into()]), ShapeError::Twice(2)),
            (AnswerShape::Integer { least: 1, most: 0 }, ShapeError::Empty { least: 1, most: 0 }),
        ];
        for (shape, error) in cases {
            assert_eq!(shape.check(), Err(error));
        }
    }

    #[test]
    fn an_answer_is_of_its_shape_or_none() {
        let integer = AnswerShape::Integer { least: -1, most: 3 };
        for (shape, answer, accepted) in [
            (&AnswerShape::Boolean, Answer::from(true), true),
            (&AnswerShape::Boolean, Answer::from("true"), false),
            (&AnswerShape::Boolean, Answer::from(1), false),
            (&one_of(2), Answer::from("1"), true),
            (&one_of(2), Answer::from("2"), false),
            (&one_of(2), Answer::from(1), false),
            (&integer, Answer::from(-1), true),
            (&integer, Answer::from(3), true),
            (&integer, Answer::from(4), false),
        ] {
            assert_eq!(shape.accepts(&answer), accepted, "{shape}: {answer}");
        }
    }
}
