//! Turning text into vectors: the contract that lexical and model-backed embedders share.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

/// Most bytes of an event's text. Models read a few hundred words.
pub const MAX_EVENT_TEXT: usize = 16 * 1024;

/// Numbers in a row beyond so many are data (bytes, vectors), which no embedder reads as text.
const MAX_NUMBERS: usize = 16;

/// Turns texts into unit vectors of a fixed dimension.
///
/// Object-safe, so that a vault can be handed a lexical embedder, a local model or a remote service
/// without knowing which.
///
/// # Contract
/// - Two embedders with the same [`id`](Embedder::id) give the same vectors for the same texts, on
///   every machine. An embedder that cannot promise this (a model on another CPU) has its vectors
///   recorded where they are first made; nobody computes them a second time.
/// - Every vector has exactly [`dimension`](Embedder::dimension) components.
/// - A text that the embedder knows nothing about gives the zero vector, which is similar to nothing;
///   it is not an error.
pub trait Embedder: Send + Sync {
    /// Name and version of the embedder together with whatever it has learnt, for example
    /// `lexical/1:5f3a91c2`. Vectors under different ids must not be compared.
    fn id(&self) -> &str;

    /// Number of components of every vector; 0 as long as only a service knows it that has not answered yet.
    fn dimension(&self) -> usize;

    /// Embeds the texts, one vector for each, in the same order.
    ///
    /// # Errors
    /// Returns [`EmbedError`] if the embedder cannot read what it has learnt or cannot reach its
    /// model. No vector is returned then, not even for the texts that came before.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, EmbedError>;
}

/// Vectors of structured events; every [`Embedder`] has them.
pub trait EmbedEvent: Embedder {
    /// The vector of what can be serialised: that of [`event_text`].
    ///
    /// # Errors
    /// [`EmbedError::Event`] if it cannot be serialised, else as [`Embedder::embed`].
    fn embed_event<E: Serialize + ?Sized>(&self, event: &E) -> Result<Embedding, EmbedError> {
        let text = event_text(event)?;
        let answered = self.embed(&[&text])?.into_iter().next();
        answered.ok_or_else(|| EmbedError::Unavailable {
            id: self.id().to_owned(),
            reason: "it gave no vector for a text".to_owned(),
        })
    }
}

impl<T: Embedder + ?Sized> EmbedEvent for T {}

/// What a structured event says, as text: one line for each value, the names that lead to it before it, in the
/// order of the names. Absent values and long rows of numbers are left out; what lies beyond [`MAX_EVENT_TEXT`] is
/// cut off.
///
/// ```
/// #[derive(serde::Serialize)]
/// struct Call { tool: &'static str, path: &'static str, lines: (u32, u32), note: Option<String> }
///
/// let call = Call { tool: "fs.read", path: "docs/tide.md", lines: (1, 9), note: None };
/// let text = toka_toolkit_core::event_text(&call)?;
/// assert_eq!(text, "lines: 1 9\npath: docs/tide.md\ntool: fs.read\n");
/// # Ok::<(), toka_toolkit_core::EmbedError>(())
/// ```
///
/// # Errors
/// [`EmbedError::Event`] if it cannot be serialised.
pub fn event_text<E: Serialize + ?Sized>(event: &E) -> Result<String, EmbedError> {
    let value =
        serde_json::to_value(event).map_err(|error| EmbedError::Event { reason: error.to_string() })?;
    let mut text = String::new();
    say(&value, "", &mut text);
    text.truncate(text.floor_char_boundary(MAX_EVENT_TEXT));
    Ok(text)
}

fn say(value: &Value, names: &str, text: &mut String) {
    if text.len() >= MAX_EVENT_TEXT {
        return;
    }
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            // The order of a map's fields differs with the features that serde_json was built with.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            for (name, value) in fields {
                let space = if names.is_empty() { "" } else { " " };
                say(value, &format!("{names}{space}{name}"), text);
            }
        }
        Value::Array(values) if values.iter().all(Value::is_number) => {
            if (1..=MAX_NUMBERS).contains(&values.len()) {
                let row: Vec<String> = values.iter().map(Value::to_string).collect();
                line(names, &row.join(" "), text);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| say(value, names, text)),
        Value::String(words) if words.trim().is_empty() => {}
        Value::String(words) => line(names, words, text),
        Value::Bool(_) | Value::Number(_) => line(names, &value.to_string(), text),
    }
}

fn line(names: &str, words: &str, text: &mut String) {
    let colon = if names.is_empty() { "" } else { ": " };
    // Writing to a string does not fail.
    let _ = writeln!(text, "{names}{colon}{words}");
}

/// A direction in the embedder's space, quantised.
///
/// The components are proportional to those of the unit vector; the factor differs from vector to
/// vector so that the largest component uses the whole range. Compare with
/// [`cosine`](Embedding::cosine), which takes the lengths into account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Embedding {
    /// 8 bits a component.
    Bits8(Vec<i8>),
    /// 16 bits a component.
    Bits16(Vec<i16>),
}

impl Embedding {
    /// Number of components.
    #[must_use]
    pub fn dimension(&self) -> usize {
        match self {
            Self::Bits8(components) => components.len(),
            Self::Bits16(components) => components.len(),
        }
    }

    /// Cosine of the angle between two vectors in units of 1/32,768, computed in integers: the same
    /// on every machine. Zero if either is the zero vector or the dimensions differ.
    #[must_use]
    pub fn cosine(&self, other: &Self) -> i32 {
        if self.dimension() != other.dimension() {
            return 0;
        }
        let mut dot = 0i128;
        let (mut left, mut right) = (0i128, 0i128);
        for index in 0..self.dimension() {
            let (a, b) = (self.component(index), other.component(index));
            dot += a * b;
            left += a * a;
            right += b * b;
        }
        let length = (left * right).isqrt();
        if length == 0 {
            return 0;
        }
        let scaled = (dot * i128::from(COSINE_ONE)) / length;
        i32::try_from(scaled.clamp(-i128::from(COSINE_ONE), i128::from(COSINE_ONE))).unwrap_or(0)
    }

    fn component(&self, index: usize) -> i128 {
        match self {
            Self::Bits8(components) => i128::from(components[index]),
            Self::Bits16(components) => i128::from(components[index]),
        }
    }
}

/// The cosine of identical directions as [`Embedding::cosine`] gives it.
pub const COSINE_ONE: i32 = 1 << 15;

/// Why no vectors could be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EmbedError {
    /// What the embedder has learnt cannot be read.
    #[error("embedder {id} cannot read what it has learnt: {reason}")]
    Unreadable {
        /// The embedder's id.
        id: String,
        /// What went wrong.
        reason: String,
    },
    /// An event cannot be turned into text.
    #[error("the event cannot be serialised: {reason}")]
    Event {
        /// What went wrong.
        reason: String,
    },
    /// The model behind the embedder did not answer.
    #[error("embedder {id} did not answer: {reason}")]
    Unavailable {
        /// The embedder's id.
        id: String,
        /// What went wrong.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts letters, so that a test sees which text it was given.
    struct Letters;

    impl Embedder for Letters {
        fn id(&self) -> &str {
            "letters/1"
        }

        fn dimension(&self) -> usize {
            26
        }

        fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, EmbedError> {
            let counted = |text: &&str| {
                let mut counts = vec![0; 26];
                text.bytes()
                    .filter(u8::is_ascii_lowercase)
                    .for_each(|byte| counts[usize::from(byte - b'a')] += 1);
                Embedding::Bits8(counts)
            };
            Ok(texts.iter().map(counted).collect())
        }
    }

    #[test]
    fn structured_events_are_read_as_text() {
        let check =
            |event: Value, expected: &str| assert_eq!(event_text(&event).unwrap(), expected, "{event}");
        check(serde_json::json!("plain words"), "plain words\n");
        check(serde_json::json!({"b": true, "a": {"d": 1.5, "c": "x y"}}), "a c: x y\na d: 1.5\nb: true\n");
        check(serde_json::json!({"tags": ["old", "new", {"of": 3}]}), "tags: old\ntags: new\ntags of: 3\n");
        check(serde_json::json!({"none": null, "blank": " ", "list": [], "map": {}}), "");
        check(serde_json::json!({"lines": [1, 9], "bytes": vec![7; 17]}), "lines: 1 9\n");
        let long = event_text(&vec!["wörter"; 10_000]).unwrap();
        assert!(long.len() <= MAX_EVENT_TEXT && long.len() > MAX_EVENT_TEXT - 8, "{}", long.len());

        let embedder: &dyn Embedder = &Letters;
        let found = embedder.embed_event(&serde_json::json!({"a": "bcc"})).unwrap();
        assert_eq!(found, embedder.embed(&["a: bcc"]).unwrap()[0]);
        let keys_are_lists: std::collections::BTreeMap<Vec<u8>, u8> = [(vec![1], 1)].into();
        assert!(matches!(embedder.embed_event(&keys_are_lists), Err(EmbedError::Event { .. })));
    }

    #[test]
    fn cosine_is_of_direction_alone() {
        let check = |a: Embedding, b: Embedding, expected: i32| assert_eq!(a.cosine(&b), expected);
        check(Embedding::Bits8(vec![3, 4]), Embedding::Bits16(vec![3000, 4000]), COSINE_ONE);
        check(Embedding::Bits8(vec![1, 0]), Embedding::Bits8(vec![0, 1]), 0);
        check(Embedding::Bits8(vec![-127; 64]), Embedding::Bits16(vec![i16::MAX; 64]), -COSINE_ONE);
        check(Embedding::Bits8(vec![0, 0]), Embedding::Bits8(vec![1, 1]), 0);
        check(Embedding::Bits8(vec![1]), Embedding::Bits8(vec![1, 1]), 0);
    }
}
