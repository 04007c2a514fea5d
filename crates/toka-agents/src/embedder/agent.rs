//! The agent.

use std::collections::HashMap;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use toka_toolkit_core::{EmbedError, Embedder, Embedding};
use toka_types::operation::{Cause, Observation, Parent};
use toka_types::seal::SUBJECT_PREFIX;
use toka_types::{Event as Record, EventId, Kind, Labels};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

use super::VECTOR_RECORDED;
use super::pending::{Chunk, Pending, Text, take_in};
use super::report::EmbedReport;
use super::tool::{MOST, Service, TOOL, components};
use crate::agent::Agent;
use crate::context::{AgentContext, AgentError, packed};
use crate::event::{Event, EventKind};

/// Chunks that are computed here between two commits: a stop waits for them, and a crash costs no more than these.
const HERE: usize = 8;
/// Events of the log that are read at once.
const PIECE: usize = 1024;
/// First and longest pause after a failure, where the run has no end of its own.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Gives the chunks of indexers their vectors; see the [module](super).
///
/// It needs `event:emit(kind=vector.**)`, and for a service `tool:embed(host=HOST)`. With
/// [`AgentContext::is_once`] a failure of the embedder ends it; else it is reported and tried again after a while.
pub struct EmbedderAgent {
    maker: Maker,
    report: Arc<EmbedReport>,
    /// The first event of the log that was told of and is not read yet.
    told: Mutex<Option<u64>>,
    changed: Notify,
}

/// What makes the vectors. A clone is the same one.
#[derive(Clone)]
pub enum Maker {
    /// They are computed in this process.
    Here(Arc<dyn Embedder>),
    /// A service makes them, which is asked through the [tool](super::EmbedTool) of the same service.
    There(Service),
}

impl Maker {
    /// The id of the embedder.
    pub fn id(&self) -> &str {
        match self {
            Self::Here(embedder) => embedder.id(),
            Self::There(service) => service.id(),
        }
    }

    /// The vector of a text, at once and in no agent's name: for whoever asks a question, and records nothing.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub fn vector(&self, text: &str) -> Result<Embedding, EmbedError> {
        let vectors = match self {
            Self::Here(embedder) => embedder.embed(&[text])?,
            Self::There(service) => service.vectors(&[text], &|| false)?,
        };
        let nothing = || EmbedError::Unavailable {
            id: self.id().to_owned(),
            reason: "it gave no vector for a text".to_owned(),
        };
        vectors.into_iter().next().ok_or_else(nothing)
    }
}

/// The content of `vector.recorded`.
#[derive(Deserialize, Serialize)]
struct Vector {
    scale: f32,
    #[serde(with = "serde_bytes")]
    values: Vec<u8>,
    embedder: String,
}

/// A vector as it is recorded, and whether it had to be computed.
type Made = (Vec<i16>, bool);

impl EmbedderAgent {
    /// An agent whose vectors `maker` makes.
    pub fn new(maker: Maker) -> Self {
        Self { maker, report: Arc::default(), told: Mutex::default(), changed: Notify::new() }
    }

    /// How far it has come.
    pub fn report(&self) -> Arc<EmbedReport> {
        Arc::clone(&self.report)
    }
}

impl Agent for EmbedderAgent {
    fn interest(&self) -> Vec<EventKind> {
        vec![EventKind::from("file")]
    }

    async fn handle(&self, ev: Event) -> anyhow::Result<()> {
        // What it says is read from the log, in order and once.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told = Some(told.map_or(ev.seq, |first| first.min(ev.seq)));
        self.changed.notify_one();
        Ok(())
    }

    async fn run(&self, ctx: AgentContext) -> anyhow::Result<()> {
        let mut work =
            Work { agent: self, ctx: &ctx, pending: Pending::default(), vectors: HashMap::new(), next: 0 };
        match work.go().await {
            Ok(()) | Err(AgentError::Stopped) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// One run of the agent.
struct Work<'a> {
    agent: &'a EmbedderAgent,
    ctx: &'a AgentContext,
    pending: Pending,
    /// The chunks that have a vector.
    vectors: HashMap<EventId, u64>,
    /// The first event of the log that is not read yet.
    next: u64,
}

impl Work<'_> {
    async fn go(&mut self) -> Result<(), AgentError> {
        self.recall().await?;
        let mut pause = FIRST_PAUSE;
        loop {
            self.follow().await?;
            self.agent.report.waits_for(self.pending.len());
            tokio::select! {
                biased;
                () = self.ctx.stopped() => return Ok(()),
                () = ready(()) => {}
            }
            if self.pending.len() == 0 {
                // Only here does it wait for the end: a host takes an agent that does so for one with nothing to do.
                tokio::select! {
                    () = self.ctx.stopped() => return Ok(()),
                    () = self.agent.changed.notified() => continue,
                }
            }
            match self.batch().await {
                Ok(()) => pause = FIRST_PAUSE,
                Err(error @ (AgentError::Tool { .. } | AgentError::Invalid(_))) if !self.ctx.is_once() => {
                    let seconds = pause.as_secs();
                    tracing::warn!(
                        "{error}; {} passages wait, tried again in {seconds} s",
                        self.pending.len()
                    );
                    tokio::select! {
                        () = self.ctx.stopped() => return Ok(()),
                        () = self.ctx.sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Finds in the log what has a vector, and what waits for one.
    async fn recall(&mut self) -> Result<(), AgentError> {
        let mut from = 0;
        loop {
            let events = self.ctx.history(from, PIECE, VECTOR_RECORDED).await?;
            let Some(last) = events.last() else { break };
            from = last.seq() + 1;
            events.iter().for_each(|event| take_in(&mut self.vectors, event, self.agent.maker.id()));
        }
        self.read().await?;
        // What is recorded from now on, this agent records.
        self.vectors = HashMap::new();
        Ok(())
    }

    /// Reads what it was told of.
    async fn follow(&mut self) -> Result<(), AgentError> {
        let told = self.agent.told.lock().unwrap_or_else(PoisonError::into_inner).take();
        match told {
            Some(first) => {
                self.next = self.next.max(first);
                self.read().await
            }
            None => Ok(()),
        }
    }

    async fn read(&mut self) -> Result<(), AgentError> {
        loop {
            let events = self.ctx.history(self.next, PIECE, "file").await?;
            let Some(last) = events.last() else { return Ok(()) };
            self.next = last.seq() + 1;
            events.iter().for_each(|event| self.pending.follow(event, &self.vectors));
        }
    }

    /// Gives the newest chunks their vectors.
    async fn batch(&mut self) -> Result<(), AgentError> {
        let most = match self.agent.maker {
            Maker::Here(_) => HERE,
            Maker::There(_) => MOST,
        };
        let mut made: Vec<(Chunk, Made)> = Vec::new();
        let mut texts: Vec<(Chunk, String)> = Vec::new();
        for chunk in self.pending.newest(most) {
            if let Some(vector) = self.known(&chunk).await? {
                made.push((chunk, (vector, false)));
            } else if let Some(text) = self.text(&chunk).await? {
                texts.push((chunk, text));
            } else {
                // Its content was erased or let go since.
                self.pending.done(&chunk, None);
            }
        }
        let mut causes = Vec::new();
        if !texts.is_empty() {
            let (chunks, texts): (Vec<Chunk>, Vec<String>) = texts.into_iter().unzip();
            let vectors = match &self.agent.maker {
                Maker::Here(embedder) => computed(Arc::clone(embedder), texts).await?,
                Maker::There(service) => {
                    let (vectors, cause) = self.asked(service, &chunks, texts).await?;
                    causes.push(cause);
                    vectors
                }
            };
            made.extend(chunks.into_iter().zip(vectors.into_iter().map(|vector| (vector, true))));
        }
        self.record(made, causes).await
    }

    /// The vector of another chunk with the same words.
    async fn known(&self, chunk: &Chunk) -> Result<Option<Vec<i16>>, AgentError> {
        let Some(seq) = self.pending.known(&chunk.words) else { return Ok(None) };
        let events = self.ctx.history(seq, 1, VECTOR_RECORDED).await?;
        let event = events.into_iter().next().filter(|event| event.seq() == seq);
        let vector = event.and_then(|event| rmp_serde::from_slice::<Vector>(event.payload()?).ok());
        let values =
            vector.filter(|vector| vector.embedder == self.agent.maker.id()).map(|vector| vector.values);
        Ok(values.map(|values| components_of(&values)))
    }

    async fn text(&self, chunk: &Chunk) -> Result<Option<String>, AgentError> {
        let events = self.ctx.history(chunk.seq, 1, "file.chunk").await?;
        let event = events.into_iter().next().filter(|event| event.id() == chunk.cause.id);
        Ok(event.and_then(|event: Arc<Record>| Text::of(&event)).map(|text| text.embedded()))
    }

    /// Asks a service, because of the chunks; the outcome is the vectors' cause beside them.
    async fn asked(
        &self,
        service: &Service,
        chunks: &[Chunk],
        texts: Vec<String>,
    ) -> Result<(Vec<Vec<i16>>, Cause), AgentError> {
        let ids: Vec<String> = chunks.iter().map(|chunk| chunk.cause.id.to_string()).collect();
        let _lent = service.lend(ids.iter().cloned().zip(texts).collect());
        let arguments = json!({"host": service.host(), "embedder": service.id(), "events": ids});
        let ctx = self.ctx.because_of(chunks.iter().map(|chunk| chunk.cause.clone()).collect());
        let output = ctx.call(TOOL, arguments).await?;
        let bytes = output.bytes.unwrap_or_default();
        let size = bytes.len() / chunks.len().max(1);
        if size == 0 || !size.is_multiple_of(2) || size * chunks.len() != bytes.len() {
            return Err(AgentError::Invalid(format!(
                "{} bytes are no vectors of {} passages",
                bytes.len(),
                chunks.len()
            )));
        }
        Ok((bytes.chunks_exact(size).map(components_of).collect(), output.cause))
    }

    async fn record(&mut self, made: Vec<(Chunk, Made)>, causes: Vec<Cause>) -> Result<(), AgentError> {
        if made.is_empty() {
            return Ok(());
        }
        let kind = Kind::new(VECTOR_RECORDED).map_err(|error| AgentError::Invalid(error.to_string()))?;
        let mut observations = Vec::with_capacity(made.len());
        for (chunk, (vector, _)) in &made {
            let mut observation = Observation::new(kind.clone(), packed(&self.content(vector))?);
            // Whose the passage is, the vector is too, and goes with it.
            let own = chunk.cause.labels.iter().filter(|label| label.as_str().starts_with(SUBJECT_PREFIX));
            observation.labels = Labels::new(own.cloned()).unwrap_or_default();
            observation.parents = vec![Parent::Event(chunk.cause.clone())];
            observations.push(observation);
        }
        let events = self.ctx.because_of(causes).observe(observations).await?.committed().await?;
        for ((chunk, _), event) in made.iter().zip(&events) {
            self.pending.done(chunk, Some(event.seq()));
        }
        let computed = made.iter().filter(|(_, (_, computed))| *computed).count();
        self.agent.report.recorded(made.len(), computed);
        Ok(())
    }

    fn content(&self, vector: &[i16]) -> Vector {
        let square: f64 = vector.iter().map(|component| f64::from(*component).powi(2)).sum();
        // The recorded vector has unit length.
        let scale = if square > 0.0 { square.sqrt().recip() as f32 } else { 1.0 };
        let values = vector.iter().flat_map(|component| component.to_le_bytes()).collect();
        Vector { scale, values, embedder: self.agent.maker.id().to_owned() }
    }
}

fn components_of(values: &[u8]) -> Vec<i16> {
    let (pairs, _) = values.as_chunks::<2>();
    pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
}

/// Computes vectors on a thread for work that blocks.
async fn computed(embedder: Arc<dyn Embedder>, texts: Vec<String>) -> Result<Vec<Vec<i16>>, AgentError> {
    let computed = spawn_blocking(move || {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        embedder.embed(&texts)
    });
    match computed.await {
        Ok(Ok(vectors)) => Ok(vectors.iter().map(components).collect()),
        Ok(Err(error)) => Err(AgentError::Invalid(error.to_string())),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(AgentError::Stopped),
        },
    }
}
