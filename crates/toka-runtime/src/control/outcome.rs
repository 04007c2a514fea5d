//! What a call gave, for whoever asked for it from outside.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use toka_agents::Event;
use toka_kernel::codec;
use toka_toolkit_core::{Output, ToolError};
use toka_types::Label;
use toka_types::facts::kinds;

/// Most bytes of what a call gave in an answer, as JSON: the events and all else have room beside it in a line.
const MAX_OUTPUT: usize = 3 << 20;

/// What a call gave. The labels say where that came from and who may see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallOutcome {
    /// `ok`, or the code of what went wrong.
    pub status: String,
    /// What went wrong, in words, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What there is to say about it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub value: Value,
    /// Raw data beside it: a text, or `{"base64": …}` of other bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Value>,
    /// Why there is neither, though the call gave something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
}

/// What is told of `tool.returned`.
#[derive(Deserialize)]
struct Returned {
    status: String,
}

/// The content of `tool.returned`.
#[derive(Deserialize)]
struct Recorded {
    value: Value,
    #[serde(default)]
    bytes: Option<serde_bytes::ByteBuf>,
}

impl CallOutcome {
    /// What the call gave that these events are of, the outcome last; `None` if there is no outcome. `called` is what the tool
    /// gave just now; of a call that was made before, what is recorded of it counts.
    pub(super) fn of(events: &[Event], called: Option<Result<Output, ToolError>>) -> Option<Self> {
        let returned = events.last().filter(|event| event.kind == kinds::TOOL_RETURNED)?;
        let labels = returned.labels.iter().cloned().collect();
        let Returned { status } = codec::decode_as(returned).ok()?;
        let outcome = Self { status, labels, ..Self::default() };
        Some(match called {
            Some(Ok(Output { value, bytes })) => outcome.with(value, bytes),
            Some(Err(error)) => Self { detail: Some(error.to_string()), ..outcome },
            None if outcome.status != "ok" => outcome,
            None => match returned.payload::<Recorded>() {
                Ok(Recorded { value, bytes }) => {
                    outcome.with(value, bytes.map(serde_bytes::ByteBuf::into_vec))
                }
                Err(_) => {
                    let left_out = "it was told when the call was made, and is not kept".to_owned();
                    Self { left_out: Some(left_out), ..outcome }
                }
            },
        })
    }

    fn with(self, value: Value, bytes: Option<Vec<u8>>) -> Self {
        let bytes = bytes.map(|bytes| match String::from_utf8(bytes) {
            Ok(text) => Value::String(text),
            Err(other) => json!({ "base64": STANDARD.encode(other.as_bytes()) }),
        });
        let size = value.to_string().len() + bytes.as_ref().map_or(0, |bytes| bytes.to_string().len());
        if size > MAX_OUTPUT {
            let left_out = format!("it has {size} bytes as JSON; an answer has room for {MAX_OUTPUT}");
            return Self { left_out: Some(left_out), ..self };
        }
        Self { value, bytes, ..self }
    }
}
