//! The tool that asks a service for vectors.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use toka_toolkit_core::{
    ArgumentKind, CallContext, EffectClass, EmbedError, Embedding, Input, Limits, Manifest, ManifestError,
    Output, Record, Tool, ToolError,
};
use tokio::task::spawn_blocking;

/// The tool's name; a grant that lets an agent ask a service holds `tool:embed(host=HOST)`.
pub const TOOL: &str = "embed";

/// Most passages of one call.
pub(super) const MOST: usize = 32;
/// The longest time of a call: a service that is busy is asked again after pauses.
const LONGEST: Duration = Duration::from_secs(600);
/// Most bytes of vectors: the largest that a vault keeps, for each passage of a call.
const MAX_OUTPUT: usize = MOST * 16_384 * 2;

/// Asks a service for the vectors of texts; the second argument says whether to give up.
type Ask = dyn Fn(&[&str], &dyn Fn() -> bool) -> Result<Vec<Embedding>, EmbedError> + Send + Sync;

/// An embedder that is somewhere else. A clone is the same one.
#[derive(Clone)]
pub struct Service {
    id: String,
    host: String,
    ask: Arc<Ask>,
    /// What the passages of calls that are under way say, by the ids of their events. They stand in no request.
    texts: Arc<Mutex<HashMap<String, String>>>,
}

impl Service {
    /// The embedder of this id on this host, which `ask` asks.
    pub fn new(
        id: impl Into<String>,
        host: impl Into<String>,
        ask: impl Fn(&[&str], &dyn Fn() -> bool) -> Result<Vec<Embedding>, EmbedError> + Send + Sync + 'static,
    ) -> Self {
        Self { id: id.into(), host: host.into(), ask: Arc::new(ask), texts: Arc::default() }
    }

    /// The id of the embedder.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The host that texts are sent to.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Asks it now; `stopped` says whether to give up.
    pub(super) fn vectors(
        &self,
        texts: &[&str],
        stopped: &dyn Fn() -> bool,
    ) -> Result<Vec<Embedding>, EmbedError> {
        (self.ask)(texts, stopped)
    }

    /// Lets calls of the tool find what the passages say for as long as the guard lives.
    pub(super) fn lend(&self, texts: Vec<(String, String)>) -> Lent<'_> {
        let ids = texts.iter().map(|(id, _)| id.clone()).collect();
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).extend(texts);
        Lent { service: self, ids }
    }

    fn texts(&self, events: &[String]) -> Option<Vec<String>> {
        let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().map(|event| texts.get(event).cloned()).collect()
    }
}

/// Texts that calls may find.
pub(super) struct Lent<'a> {
    service: &'a Service,
    ids: Vec<String>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut texts = self.service.texts.lock().unwrap_or_else(PoisonError::into_inner);
        for id in &self.ids {
            texts.remove(id);
        }
    }
}

/// `embed`: the vectors of passages, made by a service.
///
/// Arguments `host`, `embedder` and `events`, the ids of the passages' events. The output's bytes are the vectors one
/// after the other, 16 bits a component, little-endian; its value is `{dimensions}`. The outcome records digest and size
/// alone. A call that a crash left behind finds no texts any more and fails; the agent asks anew.
pub struct EmbedTool {
    manifest: Manifest,
    service: Service,
}

#[derive(Deserialize)]
struct Arguments {
    host: String,
    embedder: String,
    events: Vec<String>,
}

impl EmbedTool {
    /// The tool that asks this service.
    ///
    /// # Errors
    /// None that a caller could cause; the manifest is checked like any other.
    pub fn new(service: Service) -> Result<Self, ManifestError> {
        let schema = json!({
            "type": "object",
            "properties": {
                "host": {"type": "string", "description": "the host that the passages are sent to"},
                "embedder": {"type": "string", "description": "the id of the embedder"},
                "events": {"type": "array", "items": {"type": "string"}, "description": "the passages"},
            },
            "required": ["host", "embedder", "events"],
            "additionalProperties": false,
        });
        let manifest = Manifest::builder(TOOL, "1.0.0")
            .description("sends passages to a service and returns their vectors")
            .effect(EffectClass::Read { local: false })
            .input(schema)
            .governed("host", ArgumentKind::Host)
            .control(["host"])
            .limits(Limits { output_bytes: MAX_OUTPUT, timeout: LONGEST, ..Limits::default() })
            .record(Record::Digest);
        Ok(Self { manifest: manifest.build()?, service })
    }
}

impl Tool for EmbedTool {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn call(&self, input: Input, context: &CallContext) -> Result<Output, ToolError> {
        let Arguments { host, embedder, events } = input.read()?;
        if host != self.service.host || embedder != self.service.id {
            let (host, id) = (&self.service.host, &self.service.id);
            let message = format!("the configured service is {id} on {host}, not {embedder}");
            return Err(ToolError::failed("other-service", message));
        }
        let Some(texts) = self.service.texts(&events) else {
            let message = "the texts went with the process that asked; they are asked for anew";
            return Err(ToolError::failed("texts-gone", message));
        };
        let (service, cancel) = (self.service.clone(), context.cancel.clone());
        let asked = spawn_blocking(move || {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            service.vectors(&texts, &|| cancel.is_cancelled())
        });
        let vectors = match asked.await {
            Ok(vectors) => vectors.map_err(|error| ToolError::failed("no-answer", error.to_string()))?,
            Err(_) => return Err(ToolError::Cancelled),
        };
        let dimensions = vectors.first().map_or(0, Embedding::dimension);
        let bytes = vectors.iter().flat_map(components).flat_map(i16::to_le_bytes).collect();
        Ok(Output::with_bytes(json!({"dimensions": dimensions}), bytes))
    }
}

/// The components at 16 bits.
pub(super) fn components(vector: &Embedding) -> Vec<i16> {
    match vector {
        // Of a direction only the proportions count.
        Embedding::Bits8(components) => {
            components.iter().map(|component| i16::from(*component) << 8).collect()
        }
        Embedding::Bits16(components) => components.clone(),
    }
}
