//! Calls to the outside: requested, performed, recorded.
//!
//! | class | request durable before start | after a crash without an outcome |
//! |---|---|---|
//! | pure, local read | no | run again by whoever needs it; there is nothing to find |
//! | read, idempotent | yes | run again under the same key |
//! | write | yes | the tool's probe is asked; if it does not know, the call stays in doubt |

use std::sync::Arc;

use serde::Serialize;
use toka_agents::context::Caller;
use toka_agents::{AgentError, CallOutput, Event};
use toka_kernel::world::PendingEffect;
use toka_toolkit_core::{CallContext, Cancel, DynTool, Input, Output, Probe, Record, ToolError};
use toka_types::capability::Argument;
use toka_types::facts::Resolution;
use toka_types::operation::{Authority, GovernedArgument, ToolOutcome, ToolRequest};
use toka_types::record::ContentRef;
use toka_types::{Digest, EntityId, Envelope, EventId, Name, Operation, Payload};

use crate::host::{AgentHost, Busy};

/// Calls a tool for an agent and waits for its recorded outcome.
pub(crate) async fn call(
    host: &AgentHost,
    caller: &Caller,
    name: &str,
    arguments: serde_json::Value,
) -> Result<CallOutput, AgentError> {
    let shared = &host.shared;
    let Some(tool) = shared.tools.get(name, None) else {
        let hint = if cfg!(feature = "toolkit") {
            let known: Vec<String> = shared.tools.list().iter().map(|t| t.manifest().id().to_string()).collect();
            format!("there are: {}", known.join(", "))
        } else {
            "this build has no feature `toolkit`, so it has no tools".to_owned()
        };
        return Err(AgentError::Unknown { what: "tool", name: name.to_owned(), hint });
    };
    let invalid = |error: ToolError| tool_error(name, &error, None);
    let raw = Input::from_value(arguments).map_err(|e| invalid(e.into()))?;
    // What cannot be prepared is put before the kernel as it came: a path that leaves its root is refused there,
    // and the refusal is an event.
    let (input, problem) = match tool.manifest().prepare(raw.clone()) {
        Ok(input) => (input, None),
        Err(problem @ ToolError::PathEscape(_)) => (raw, Some(problem)),
        Err(problem) => return Err(invalid(problem)),
    };
    let manifest = tool.manifest();
    let request = ToolRequest {
        tool: manifest.id().clone(),
        version: manifest.version().to_string(),
        class: manifest.effect(),
        arguments: Payload::new(input.canonical().to_vec()),
        governed: governed(&tool, &input),
    };
    let envelope = Envelope {
        origin: caller.agent,
        authority: Authority::Grant(toka_types::GrantId(host.grant.load(std::sync::atomic::Ordering::SeqCst))),
        op_id: None,
        causes: caller.causes.clone(),
        operation: Operation::Request(request),
    };
    let requested = shared.submit(envelope).await?.committed().await?;
    if let Some(problem) = problem {
        return Err(invalid(problem));
    }
    let request = requested.first().map(|event| event.header.id);
    let key = match request {
        Some(id) => id.0,
        None => Digest::of_fields("toka 2026 call key v1", [&caller.agent.0[..], name.as_bytes(), input.canonical()]),
    };
    let run = Run {
        tool,
        request,
        key,
        input,
        agent: caller.agent,
        causes: request.map_or_else(|| caller.causes.clone(), |_| requested.iter().cloned().map(|e| Event::from(e).cause()).collect()),
    };
    // The call goes on if whoever asked is dropped: once requested, its outcome is recorded.
    let context = context(host, key);
    let (shared, busy) = (Arc::clone(&host.shared), Busy::new(&host.shared.busy));
    let performed = tokio::spawn(async move {
        let result = run.perform(&shared, &context).await;
        drop(busy);
        result
    });
    performed.await.unwrap_or_else(|error| Err(AgentError::Tool {
        tool: name.to_owned(),
        code: "panicked".to_owned(),
        detail: error.to_string(),
        cause: None,
    }))
}

/// What a start does about a call that has no outcome: runs it again, asks its probe, or leaves it in doubt.
pub(crate) async fn recover(host: &AgentHost, request: EventId, effect: &PendingEffect) -> Result<(), AgentError> {
    let shared = &host.shared;
    let doubt = |why: &str| {
        tracing::warn!("call {} of '{}' is in doubt: {why}; it waits for a person", request.short(), effect.tool);
        Ok(())
    };
    let Some(tool) = shared.tools.get(effect.tool.as_str(), effect.version.parse().ok()) else {
        return doubt("the tool is not in this build");
    };
    let Some(reader) = &shared.reader else { return doubt("its arguments are not kept") };
    let arguments = match reader.content(&effect.arguments) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return doubt("its arguments are gone"),
        Err(error) => return Err(AgentError::Log(error.to_string())),
    };
    let Ok(input) = Input::parse(&arguments) else { return doubt("its arguments cannot be read") };
    let run = Run { tool, request: Some(request), key: request.0, input, agent: effect.agent, causes: Vec::new() };
    if effect.class.may_run_again() {
        run.perform(shared, &context(host, request.0)).await.map(drop).or_else(|e| match e {
            AgentError::Tool { .. } => Ok(()),
            other => Err(other),
        })
    } else {
        match run.tool.probe(&request.0).await {
            Probe::Happened(output) => run.record(shared, Ok(output)).await.map(drop),
            Probe::Never => {
                let operation = Operation::Resolve { request, resolution: Resolution::DidNotHappen };
                let grant = shared.query(|world| world.operator_grant()).await?;
                let Some(grant) = grant else { return Ok(()) };
                let authority = Authority::Grant(grant);
                let origin = EntityId::operator();
                let envelope = Envelope { origin, authority, op_id: None, causes: Vec::new(), operation };
                shared.submit(envelope).await?.committed().await.map(drop)
            }
            Probe::Unknown => doubt("the tool cannot tell whether it happened"),
        }
    }
}

struct Run {
    tool: Arc<dyn DynTool>,
    request: Option<EventId>,
    key: Digest,
    input: Input,
    agent: EntityId,
    causes: Vec<toka_types::operation::Cause>,
}

impl Run {
    async fn perform(self, shared: &crate::host::Shared, context: &CallContext) -> Result<CallOutput, AgentError> {
        debug_assert_eq!(self.key, context.key);
        let timeout = self.tool.manifest().limits().timeout;
        let called = tokio::time::timeout(timeout, self.tool.call(self.input.clone(), context)).await;
        let result = called.unwrap_or_else(|_| {
            context.cancel.cancel();
            Err(ToolError::TimedOut(timeout))
        });
        let result = result.and_then(|output| self.tool.manifest().check_output(&output).map(|()| output));
        self.record(shared, result).await
    }

    /// Records the outcome. This is total: whatever the tool did, what is recorded is within the bounds.
    async fn record(&self, shared: &crate::host::Shared, result: Result<Output, ToolError>) -> Result<CallOutput, AgentError> {
        let manifest = self.tool.manifest();
        let (status, output, content) = match &result {
            Ok(output) => match manifest.record() {
                Record::Digest => ("ok".to_owned(), Some(digest_of(output)), None),
                Record::Content => {
                    let content = packed(output);
                    ("ok".to_owned(), Some(content.content_ref()), Some(content))
                }
            },
            Err(error) => (error.code().to_owned(), None, None),
        };
        let outcome = ToolOutcome {
            request: self.request,
            tool: manifest.id().clone(),
            version: manifest.version().to_string(),
            class: manifest.effect(),
            arguments: self.input.digest(),
            status: Name::new(&status).unwrap_or_else(|_| Name::new("failed").expect("a plain word")),
            output,
            content,
            labels: manifest.labels().clone(),
        };
        let envelope = Envelope {
            origin: self.agent,
            authority: Authority::Host,
            op_id: None,
            causes: self.causes.clone(),
            operation: Operation::Return(outcome),
        };
        let recorded = shared.submit(envelope).await?.committed().await?;
        let Some(event) = recorded.into_iter().next() else {
            return Err(AgentError::Log("the outcome was not recorded".to_owned()));
        };
        let cause = Event::from(event).cause();
        match result {
            Ok(Output { value, bytes }) => Ok(CallOutput { value, bytes, cause }),
            Err(error) => Err(tool_error(manifest.id().as_str(), &error, Some(cause))),
        }
    }
}

fn tool_error(tool: &str, error: &ToolError, cause: Option<toka_types::operation::Cause>) -> AgentError {
    AgentError::Tool { tool: tool.to_owned(), code: error.code().to_owned(), detail: error.to_string(), cause }
}

fn context(host: &AgentHost, key: Digest) -> CallContext {
    let mut context = CallContext::new(host.name.clone(), key, host.shared.clock.now())
        .with_drivers(host.drivers.clone())
        .with_cancel(Cancel::default());
    if let Some(root) = &host.root {
        context = context.with_root(root);
    }
    context
}

fn governed(tool: &Arc<dyn DynTool>, input: &Input) -> Vec<(String, GovernedArgument)> {
    let owned = |(name, argument): (&str, Argument<'_>)| {
        let argument = match argument {
            Argument::Path(text) => GovernedArgument::Path(text.to_owned()),
            Argument::Text(text) => GovernedArgument::Text(text.to_owned()),
            Argument::Host(text) => GovernedArgument::Host(text.to_owned()),
            Argument::Number(number) => GovernedArgument::Number(number),
        };
        (name.to_owned(), argument)
    };
    tool.manifest().arguments(input).into_iter().map(owned).collect()
}

/// Digest and size of the raw bytes, or of the value where there are none.
fn digest_of(output: &Output) -> ContentRef {
    match &output.bytes {
        Some(bytes) => ContentRef { digest: Digest::of(bytes), size: u32::try_from(bytes.len()).unwrap_or(u32::MAX) },
        None => packed(output).content_ref(),
    }
}

fn packed(output: &Output) -> Payload {
    #[derive(Serialize)]
    struct Outcome<'a> {
        value: &'a serde_json::Value,
        #[serde(skip_serializing_if = "Option::is_none")]
        bytes: Option<&'a serde_bytes::Bytes>,
    }
    let bytes = output.bytes.as_deref().map(serde_bytes::Bytes::new);
    // JSON and bytes always have a form in MessagePack.
    let packed = rmp_serde::to_vec_named(&Outcome { value: &output.value, bytes }).unwrap_or_default();
    Payload::new(packed)
}
