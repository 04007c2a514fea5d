//! A service that speaks OpenAI's API of embeddings: OpenAI's own, or a server of one's own that does the same.
//!
//! The texts, the model's name and the key leave the machine, and nothing else. What the service answers is not believed:
//! its size, its form, the order and the dimensions are checked.

use std::sync::OnceLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use toka_toolkit_core::{EmbedError, Embedder, Embedding, MAX_EVENT_TEXT};
use zeroize::Zeroizing;

use crate::quantise::direction;

mod client;

pub use client::Attempt;
use client::Client;

/// Names how vectors are asked for here; another number is another embedder.
const METHOD: &str = "openai/1";
/// Most texts of one request, and most bytes of them: well below what the services take.
pub const MAX_BATCH: usize = 64;
const MAX_BATCH_BYTES: usize = 256 << 10;
/// Most components of a vector: four times what today's largest text embedders give.
const MAX_DIMENSIONS: usize = 16_384;
/// How often a request is made before it is given up.
const MAX_ATTEMPTS: u32 = 6;
/// The longest pause between two attempts; a service that asks for more is given up.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often a pause looks whether anybody still waits.
const LOOK: Duration = Duration::from_millis(50);

/// Which service, and how it is asked.
#[derive(Clone)]
pub struct OpenAiOptions {
    /// Where the API begins, as `https://api.openai.com/v1`.
    pub base_url: String,
    /// The name of the model there.
    pub model: String,
    /// The key, if the service wants one.
    pub api_key: Option<Zeroizing<String>>,
    /// Components of a vector, for a model that can be asked for fewer; `None`: as many as it gives.
    pub dimensions: Option<usize>,
    /// The longest time one request may take.
    pub timeout: Duration,
    /// The pause before the second attempt; it doubles with each further one.
    pub first_pause: Duration,
}

impl OpenAiOptions {
    /// A model of a service, with no key, a minute for a request and half a second before the second attempt.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            model: model.into(),
            api_key: None,
            dimensions: None,
            timeout: Duration::from_secs(60),
            first_pause: Duration::from_millis(500),
        }
    }
}

impl std::fmt::Debug for OpenAiOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenAiOptions")
            .field("base_url", &self.base_url)
            .field("model", &self.model)
            .field("api_key", &self.api_key.as_ref().map(|_| "***"))
            .field("dimensions", &self.dimensions)
            .finish_non_exhaustive()
    }
}

/// Why a service cannot be asked at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OptionsError {
    /// The address is none.
    #[error("base_url '{url}' {problem}")]
    Url {
        /// The address.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is no name of a model.
    #[error("the model's name is empty")]
    Model,
    /// The key cannot stand in a header.
    #[error("the key holds a character that no header can carry")]
    Key,
    /// So many components cannot be asked for.
    #[error("dimensions is {0}; 1 to {MAX_DIMENSIONS} are possible")]
    Dimensions(usize),
}

/// An [`Embedder`] that asks a service.
///
/// Its id names address and model, so that it stays the same over restarts; whether the service changes the model
/// behind a name, nobody can tell from here. A refusal for the moment (429, 5xx, no answer) is tried again with growing
/// pauses, or those that the service asks for.
#[derive(Debug)]
pub struct OpenAiEmbedder {
    id: String,
    options: OpenAiOptions,
    client: Client,
    /// What was configured, or the first answer had.
    dimension: OnceLock<usize>,
}

#[derive(Serialize)]
struct Asked<'a> {
    model: &'a str,
    input: &'a [&'a str],
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

#[derive(Deserialize)]
struct Answered {
    data: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    index: usize,
    embedding: Vec<f32>,
}

impl OpenAiEmbedder {
    /// An embedder of this service. Nothing is sent yet.
    ///
    /// # Errors
    /// [`OptionsError`] names what cannot be.
    pub fn new(options: OpenAiOptions) -> Result<Self, OptionsError> {
        if options.model.trim().is_empty() {
            return Err(OptionsError::Model);
        }
        let dimension = OnceLock::new();
        if let Some(dimensions) = options.dimensions {
            if dimensions == 0 || dimensions > MAX_DIMENSIONS {
                return Err(OptionsError::Dimensions(dimensions));
            }
            let _ = dimension.set(dimensions);
        }
        let client = Client::new(&options)?;
        let mut id = format!("{METHOD}:{}@{}", options.model, client.address());
        if let Some(dimensions) = options.dimensions {
            id.push_str(&format!("#{dimensions}"));
        }
        Ok(Self { id, options, client, dimension })
    }

    /// The host that texts are sent to.
    #[must_use]
    pub fn host(&self) -> &str {
        self.client.host()
    }

    /// As [`Embedder::embed`], given up as soon as `stopped` says so: it is asked between requests and while a pause lasts.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub fn embed_until(
        &self,
        texts: &[&str],
        stopped: &dyn Fn() -> bool,
    ) -> Result<Vec<Embedding>, EmbedError> {
        let mut vectors: Vec<Option<Embedding>> = vec![None; texts.len()];
        // Services refuse a text without a word, and there is nothing to know about it.
        let asked: Vec<usize> = (0..texts.len()).filter(|&index| !texts[index].trim().is_empty()).collect();
        let mut rest = asked.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take(MAX_BATCH).take_while(|&&index| {
                bytes += cut(texts[index]).len();
                bytes <= MAX_BATCH_BYTES
            });
            let (batch, later) = rest.split_at(fits.count().max(1));
            rest = later;
            let input: Vec<&str> = batch.iter().map(|&index| cut(texts[index])).collect();
            let answers = self.ask(&input, stopped).map_err(|reason| self.unavailable(reason))?;
            for (&index, vector) in batch.iter().zip(answers) {
                vectors[index] = Some(vector);
            }
        }
        let dimension = self.dimension();
        let nothing = || Embedding::Bits16(vec![0; dimension]);
        Ok(vectors.into_iter().map(|vector| vector.unwrap_or_else(nothing)).collect())
    }

    fn unavailable(&self, reason: String) -> EmbedError {
        EmbedError::Unavailable { id: self.id.clone(), reason }
    }

    fn ask(&self, input: &[&str], stopped: &dyn Fn() -> bool) -> Result<Vec<Embedding>, String> {
        let asked = Asked {
            model: &self.options.model,
            input,
            encoding_format: "float",
            dimensions: self.options.dimensions,
        };
        let body = serde_json::to_vec(&asked).map_err(|error| error.to_string())?;
        let mut pause = self.options.first_pause;
        for attempt in 1.. {
            let (reason, asked_for) = match self.client.post(&body) {
                Ok(answer) => return self.understood(&answer, input.len()),
                Err(Attempt::Refused(reason)) => return Err(reason),
                Err(Attempt::Later { reason, after }) => (reason, after),
            };
            if attempt == MAX_ATTEMPTS {
                return Err(format!("{reason}; tried {attempt} times"));
            }
            let wait = asked_for.unwrap_or(pause);
            if wait > LONGEST_PAUSE {
                let (wait, most) = (wait.as_secs(), LONGEST_PAUSE.as_secs());
                return Err(format!(
                    "{reason}; it asks to wait for {wait} s, and at most {most} s are waited"
                ));
            }
            nap(wait, stopped).map_err(|()| format!("{reason}; nobody waits any more"))?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        unreachable!("the attempts have an end")
    }

    /// The vectors of an answer, in the order of the texts.
    fn understood(&self, answer: &[u8], texts: usize) -> Result<Vec<Embedding>, String> {
        let Answered { data } = serde_json::from_slice(answer)
            .map_err(|error| format!("its answer is not that of an embeddings API: {error}"))?;
        if data.len() != texts {
            return Err(format!("it answered with {} vectors for {texts} texts", data.len()));
        }
        let mut vectors: Vec<Option<Embedding>> = vec![None; texts];
        for Answer { index, embedding } in data {
            let found = embedding.len();
            if found == 0 || found > MAX_DIMENSIONS {
                return Err(format!(
                    "it answered with a vector of {found} dimensions; 1 to {MAX_DIMENSIONS} are possible"
                ));
            }
            let expected = *self.dimension.get_or_init(|| found);
            if found != expected {
                return Err(format!(
                    "it answered with a vector of {found} dimensions; {expected} are expected"
                ));
            }
            let place = vectors.get_mut(index).filter(|place| place.is_none());
            let Some(place) = place else {
                return Err(format!("it answered with the index {index} twice, or for no text"));
            };
            let vector = direction(&embedding);
            *place = Some(
                vector
                    .ok_or_else(|| format!("vector {index} of its answer has values that are not finite"))?,
            );
        }
        Ok(vectors.into_iter().flatten().collect())
    }
}

impl Embedder for OpenAiEmbedder {
    fn id(&self) -> &str {
        &self.id
    }

    /// What was configured, else what the first answer had; 0 before that.
    fn dimension(&self) -> usize {
        self.dimension.get().copied().unwrap_or(0)
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, EmbedError> {
        self.embed_until(texts, &|| false)
    }
}

/// As much of a text as is sent.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_EVENT_TEXT)]
}

/// Waits; an error if it was stopped.
fn nap(mut left: Duration, stopped: &dyn Fn() -> bool) -> Result<(), ()> {
    while !left.is_zero() {
        if stopped() {
            return Err(());
        }
        let step = left.min(LOOK);
        std::thread::sleep(step);
        left -= step;
    }
    if stopped() { Err(()) } else { Ok(()) }
}
