//! What is asked through the socket, by whom and by what right.

use serde::{Deserialize, Serialize};
use toka_agents::AgentError;
use toka_toolkit_core::Input;
use toka_types::capability::CapabilitySet;
use toka_types::{Digest, OpId};

use super::operation::OperationText;

/// Something asked of a runtime.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// By whoever may open the vault, who is the operator.
    Operator {
        /// The asker's own id for the operation: sent again with it within [a day](super::REPEATED), it is answered and not done again.
        op_id: Option<OpId>,
        /// The operation.
        operation: OperationText,
    },
    /// By somebody with a token.
    Bearer(Presented),
    /// By somebody with a token that is to be replaced.
    Renewal(Renewal),
}

/// An operation under a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// The token.
    pub token: String,
    /// The proof of the holder's, in its text form, for a token that is bound to a key. It is about the [`digest`](Self::digest).
    pub proof: Option<String>,
    /// The operation with its id, as [`Order`] writes it: the bytes that are signed.
    pub order: String,
}

/// A token that is to be replaced by a fresh one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The token, which is valid still.
    pub token: String,
    /// The proof of the holder's, in its text form, for a token that is bound to a key. It is about the [`digest`](Self::digest).
    pub proof: Option<String>,
    /// What is wanted, as [`Terms`] writes it: the bytes that are signed.
    pub terms: String,
}

/// What somebody wants of a fresh token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// How long it is to live, in seconds.
    pub ttl: u64,
    /// What it is to be narrowed down to, beside all that the old one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<CapabilitySet>,
}

/// An operation with the id under which it may be sent again: the answer is then the first one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The id.
    pub op_id: OpId,
    /// The operation.
    pub operation: OperationText,
}

/// The same as a line of JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    op_id: Option<OpId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operation: Option<OperationText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    renewal: Option<String>,
}

impl Asked {
    /// Reads a line. Nothing is repaired: repeated keys, unknown keys and anything after the object are errors.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(line: &[u8]) -> Result<Self, AgentError> {
        let line: Line = strictly(line, "request")?;
        let invalid = |problem: &str| Err(AgentError::Invalid(format!("this is no request: {problem}")));
        match line {
            Line { v, .. } if v != 1 => invalid(&format!("version {v}; this build speaks version 1")),
            Line {
                operation: Some(operation),
                op_id,
                token: None,
                proof: None,
                order: None,
                renewal: None,
                ..
            } => Ok(Self::Operator { op_id, operation }),
            Line { token: Some(token), proof, order, renewal, operation: None, op_id: None, .. } => {
                match (order, renewal) {
                    (Some(order), None) => Ok(Self::Bearer(Presented { token, proof, order })),
                    (None, Some(terms)) => Ok(Self::Renewal(Renewal { token, proof, terms })),
                    _ => invalid("beside `token` it has either `order` or `renewal`"),
                }
            }
            _ => invalid(
                "it has `operation` and perhaps `op_id`, or `token` with `order` or `renewal`, and perhaps `proof`",
            ),
        }
    }

    /// The line that says this.
    pub(crate) fn to_line(&self) -> Result<Vec<u8>, serde_json::Error> {
        let line = match self.clone() {
            Self::Operator { op_id, operation } => {
                Line { v: 1, op_id, operation: Some(operation), ..Line::default() }
            }
            Self::Bearer(Presented { token, proof, order }) => {
                Line { v: 1, token: Some(token), proof, order: Some(order), ..Line::default() }
            }
            Self::Renewal(Renewal { token, proof, terms }) => {
                Line { v: 1, token: Some(token), proof, renewal: Some(terms), ..Line::default() }
            }
        };
        let mut line = serde_json::to_vec(&line)?;
        line.push(b'\n');
        Ok(line)
    }
}

impl Presented {
    /// The digest that a proof is about.
    pub fn digest(&self) -> Digest {
        Digest::of(self.order.as_bytes())
    }

    /// The operation with its id.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn order(&self) -> Result<Order, AgentError> {
        strictly(self.order.as_bytes(), "order")
    }
}

impl Renewal {
    /// The digest that a proof is about.
    pub fn digest(&self) -> Digest {
        Digest::of(self.terms.as_bytes())
    }

    /// What is wanted.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn terms(&self) -> Result<Terms, AgentError> {
        strictly(self.terms.as_bytes(), "renewal")
    }
}

/// Reads JSON as the other reader would not: one that finds a key given twice takes either of them.
fn strictly<T: serde::de::DeserializeOwned>(json: &[u8], what: &str) -> Result<T, AgentError> {
    let invalid = |error: String| AgentError::Invalid(format!("this is no {what}: {error}"));
    Input::parse(json).map_err(|error| invalid(error.to_string()))?;
    serde_json::from_slice(json).map_err(|error| invalid(error.to_string()))
}
