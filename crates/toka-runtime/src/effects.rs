//! Calls to the outside: requested, performed, recorded.
//!
//! | class | request durable before start | after a crash without an outcome |
//! |---|---|---|
//! | pure, local read | no | run again by whoever needs it; there is nothing to find |
//! | read, idempotent | yes | run again under the same key, if the agent still may |
//! | write | yes | the tool's probe is asked; if it does not know, the call stays in doubt |

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use toka_agents::context::Caller;
use toka_agents::delivered::Delivered;
use toka_agents::{AgentError, CallOutput};
use toka_kernel::limits::MAX_OUTCOME;
use toka_kernel::world::PendingEffect;
use toka_toolkit_core::labelled::Sources;
use toka_toolkit_core::trace;
use toka_toolkit_core::{CallContext, Cancel, DynTool, Input, Output, Probe, Record, ToolError, VersionReq};
use toka_types::capability::{Argument, Request};
use toka_types::facts::Resolution;
use toka_types::operation::{Authority, Cause, GovernedArgument, ToolOutcome, ToolRequest};
use toka_types::place::Places;
use toka_types::price::Usage;
use toka_types::record::ContentRef;
use toka_types::{
    Digest, EffectClass, EntityId, Envelope, Event, EventId, Name, OpId, Operation, Payload, Timestamp,
};

use crate::activity::{Busy, Watched};
use crate::approvals::{made, question};
use crate::host::{AgentHost, Shared};
use crate::kernel_loop::Guard;

/// The status of an outcome whose tool gives its error a code that is no name.
const FAILED: &str = "failed";

/// Who asks for a call, and by what right.
pub(crate) struct Asker {
    pub(crate) agent: EntityId,
    pub(crate) authority: Authority,
    pub(crate) causes: Vec<Cause>,
    /// The caller's own id for the call, and until when a repeat is recognised.
    pub(crate) op_id: Option<(OpId, Timestamp)>,
    pub(crate) guard: Option<Guard>,
}

/// A call that is ready to be put before the kernel.
pub(crate) struct Prepared {
    tool: Arc<dyn DynTool>,
    input: Input,
    pub(crate) request: ToolRequest,
    /// What is wrong with the arguments, where the kernel is to refuse them.
    problem: Option<ToolError>,
}

/// What became of a call: the events it is, and what the tool gave.
pub(crate) struct Performed {
    #[cfg(any(feature = "auth", feature = "vault"))]
    requested: toka_agents::Observed,
    returned: Arc<Event>,
    result: Result<Output, ToolError>,
}

#[cfg(any(feature = "auth", feature = "vault"))]
impl Performed {
    /// Its events, which are the request, where there is one, and the outcome; and what the tool gave.
    pub(crate) fn into_done(self) -> crate::entry::Done {
        let events = self.requested.into_iter().chain([self.returned]).map(toka_agents::Event::from);
        (events.collect(), Some(self.result))
    }
}

/// Calls a tool for an agent and waits for its recorded outcome.
pub(crate) async fn call(
    host: &AgentHost,
    caller: &Caller,
    name: &str,
    arguments: serde_json::Value,
) -> Result<CallOutput, AgentError> {
    let input = Input::from_value(arguments).map_err(|e| tool_error(name, &e.into(), None))?;
    let prepared = prepare(&host.shared, name, None, input)?;
    let (agent, grant, causes) = (caller.agent, host.current_grant(), caller.causes.clone());
    let authority = Authority::Grant(grant);
    let asker = Asker { agent, authority, causes, op_id: None, guard: None };
    let Performed { returned, result, .. } = request(host, asker, prepared).await?;
    let cause = cause_of(&returned);
    match result {
        Ok(Output { value, bytes }) => Ok(CallOutput { value, bytes, cause }),
        Err(error) => Err(tool_error(name, &error, Some(cause))),
    }
}

/// Finds the tool and brings the arguments into the form that is decided about, recorded and handed to it.
pub(crate) fn prepare(
    shared: &Shared,
    name: &str,
    version: Option<VersionReq>,
    raw: Input,
) -> Result<Prepared, AgentError> {
    let tool = shared.tools.get(name, version).ok_or_else(|| shared.unknown_tool(name, version))?;
    // What cannot be prepared is put before the kernel as it came: a path that leaves its root is refused there,
    // and the refusal is an event.
    let (input, problem) = match tool.manifest().prepare(raw.clone()) {
        Ok(input) => (input, None),
        Err(problem @ ToolError::PathEscape(_)) => (raw, Some(problem)),
        Err(problem) => return Err(tool_error(name, &problem, None)),
    };
    let manifest = tool.manifest();
    let request = ToolRequest {
        tool: manifest.id().clone(),
        version: manifest.version().to_string(),
        class: manifest.effect(),
        sink: manifest.sink(),
        arguments: Payload::new(input.canonical().to_vec()),
        governed: governed(&tool, &input),
        places: Places::default(),
        bounds: Usage {
            calls: 1,
            micros: micros(manifest.limits().timeout),
            bytes: (input.canonical().len() + manifest.limits().output_bytes) as u64,
            ..Usage::default()
        },
        traced: None,
    };
    Ok(Prepared { tool, input, request, problem })
}

/// As [`prepare`], for a call from outside: of what it says of the tool, only name, version (empty: the newest) and
/// arguments count.
#[cfg(any(feature = "auth", feature = "vault"))]
pub(crate) fn prepare_as_asked(shared: &Shared, asked: &ToolRequest) -> Result<Prepared, AgentError> {
    let invalid = |error: &dyn std::fmt::Display| AgentError::Invalid(error.to_string());
    let arguments = Input::parse(asked.arguments.bytes()).map_err(|error| invalid(&error))?;
    let version = match asked.version.as_str() {
        "" => None,
        text => {
            Some(text.parse().map_err(|error: toka_toolkit_core::version::VersionError| invalid(&error))?)
        }
    };
    prepare(shared, asked.tool.as_str(), version, arguments)
}

/// Asks the kernel for a call, performs it and records its outcome.
pub(crate) async fn request(
    host: &AgentHost,
    asker: Asker,
    prepared: Prepared,
) -> Result<Performed, AgentError> {
    let Asker { agent, authority, causes, op_id, guard } = asker;
    let Prepared { tool, input, mut request, problem } = prepared;
    if host.shared.notices.close_look.takes(agent, request.sink) {
        request.traced = Some(Box::new(trace::trace(tool.manifest(), &input)));
    }
    request.places = places(host, &request.governed);
    let read = request.places.read.clone();
    let name = request.tool.clone();
    // An outcome carries the labels of its causes and the tool's own. That they fit is seen to before anything
    // happens, since an outcome that cannot be recorded would be worse than no call.
    let labels =
        causes.iter().try_fold(tool.manifest().labels().clone(), |all, cause| all.join(&cause.labels));
    if let Err(error) = labels {
        return Err(AgentError::Invalid(format!("the outcome of '{name}' could not be recorded: {error}")));
    }
    // The world knows what the tool says of itself before the kernel is asked for a call of it. Nobody waits for that.
    if let Some(declaration) = host.shared.manifests.declaration(tool.manifest()) {
        host.shared.submit(declaration).await?;
        host.shared.manifests.declared(tool.manifest());
    }
    let envelope = Envelope {
        origin: agent,
        authority,
        op_id,
        causes: causes.clone(),
        operation: Operation::Request(request),
    };
    // Whoever comes with a token asks again: what it allows is looked at each time.
    let by_token = guard.is_some();
    let receipt = host.shared.submit_guarded(envelope.clone(), guard).await?;
    // From here on the call goes on if whoever asked is dropped: what is requested gets its outcome recorded. The
    // tool is told, and one that has not started yet does not start.
    let cancel = Cancel::default();
    let mut watched = CancelOnDrop(Some(cancel.clone()));
    let busy = (Busy::new(&host.shared.activity), Busy::new(&host.shared.calls));
    let host = host.clone();
    let performed = tokio::spawn(async move {
        let mut requested = receipt.committed().await?;
        if let Some((question, _)) = question(&requested) {
            if by_token {
                return Err(AgentError::ApprovalPending { approval: question.header.id });
            }
            requested = made(&host.shared, &envelope, &cancel, requested).await?;
        }
        let result = match problem {
            // The kernel refuses such a path whatever the grant, and if it did not, the tool is not called.
            Some(problem) => Err(tool_error(tool.manifest().id().as_str(), &problem, None)),
            None => {
                let first = requested.first().map(|event| event.header.id);
                let key = first.map_or_else(|| call_key(agent, &tool, &input), |id| id.0);
                // The outcome of a recorded request has that as its cause, and everything else through it.
                let causes = if first.is_some() { requested.iter().map(cause_of).collect() } else { causes };
                let op_id = op_id.filter(|_| first.is_none());
                // As it is recorded: a sealed vault stores other bytes than the arguments themselves.
                let stored = requested.first().and_then(|event| event.header.content.first());
                let arguments = stored.map_or_else(|| input.digest(), |stored| stored.digest);
                let sources = Arc::new(Delivered::new(causes));
                let run = Run { tool, request: first, key, input, arguments, agent, sources, read, op_id };
                let context = context(&host, &run, cancel);
                let (returned, result) = run.perform(&host.shared, &context).await?;
                Ok(Performed {
                    #[cfg(any(feature = "auth", feature = "vault"))]
                    requested,
                    returned,
                    result,
                })
            }
        };
        drop(busy);
        result
    });
    let performed = performed.await;
    watched.0 = None;
    performed.unwrap_or(Err(AgentError::Stopped))
}

/// Tells a tool that nobody waits any more.
struct CancelOnDrop(Option<Cancel>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(cancel) = &self.0 {
            cancel.cancel();
        }
    }
}

/// What a start does about a call that has no outcome: runs it again, asks its probe, or leaves it in doubt.
pub(crate) async fn recover(
    host: &AgentHost,
    request: EventId,
    effect: &PendingEffect,
) -> Result<(), AgentError> {
    let shared = &host.shared;
    let doubt = |why: &str| {
        tracing::warn!(
            "call {} of '{}' is in doubt: {why}; it waits for a person",
            request.short(),
            effect.tool
        );
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
    if tool.manifest().effect() != effect.class {
        return doubt("the tool says other things about its effects than when it was called");
    }
    let (key, agent, arguments) = (request.0, effect.agent, effect.arguments);
    let sources = Arc::new(Delivered::new(vec![Cause { id: request, labels: effect.labels.clone() }]));
    let read = places(host, &governed(&tool, &input)).read;
    let timeout = tool.manifest().limits().timeout;
    // At a start the kernel may not have heard of it yet.
    if effect.class.request_first() && shared.clock.has_jumped() {
        return doubt("the clock jumped, and nobody has confirmed it");
    }
    if effect.class.may_run_again() {
        let (action, governed) = (tool.manifest().id().clone(), governed(&tool, &input));
        let at = shared.clock.now();
        let may = shared.query(move |world| {
            let agent = world.agent(agent)?;
            let grant = world.grant(agent.grant)?;
            let stands = !grant.revoked && grant.expires.is_none_or(|end| end > at);
            let arguments: Vec<_> =
                governed.iter().map(|(name, argument)| (name.as_str(), argument.view())).collect();
            let asked = Request { resource: "tool", action: action.as_str(), arguments: &arguments };
            // Where its use is counted, it was counted when it was asked for.
            (stands && grant.uses.allowing(&asked, at).next().is_some()).then_some(())
        });
        if may.await?.is_none() {
            return doubt("the agent may not call the tool any more");
        }
        let run =
            Run { tool, request: Some(request), key, input, arguments, agent, sources, read, op_id: None };
        let context = context(host, &run, Cancel::default());
        return run.perform(shared, &context).await.map(drop);
    }
    let run = Run { tool, request: Some(request), key, input, arguments, agent, sources, read, op_id: None };
    let probed = Watched::new(&shared.activity, run.tool.probe(&run.key));
    match tokio::time::timeout(timeout, probed).await {
        Ok(Ok(Probe::Happened(output))) => {
            run.record(shared, Ok(output), Some(Duration::ZERO)).await.map(drop)
        }
        Ok(Ok(Probe::Never)) => {
            let operation = Operation::Resolve { request, resolution: Resolution::DidNotHappen };
            let Some(grant) = shared.query(|world| world.operator_grant()).await? else { return Ok(()) };
            let (origin, authority) = (EntityId::operator(), Authority::Grant(grant));
            let envelope = Envelope { origin, authority, op_id: None, causes: Vec::new(), operation };
            shared.submit(envelope).await?.committed().await.map(drop)
        }
        Ok(Ok(Probe::Unknown)) => doubt("the tool cannot tell whether it happened"),
        Ok(Err(panic)) => doubt(&panic),
        Err(_) => doubt("the tool did not tell in time whether it happened"),
    }
}

struct Run {
    tool: Arc<dyn DynTool>,
    request: Option<EventId>,
    key: Digest,
    input: Input,
    /// The digest under which the arguments are recorded, or would be.
    arguments: Digest,
    agent: EntityId,
    /// What caused the call, and what the tool was handed out of storage.
    sources: Arc<Delivered>,
    /// The places that it may read.
    read: Vec<Digest>,
    /// The caller's id for a call whose outcome is its only event.
    op_id: Option<(OpId, Timestamp)>,
}

impl Run {
    async fn perform(
        self,
        shared: &Arc<Shared>,
        context: &CallContext,
    ) -> Result<(Arc<Event>, Result<Output, ToolError>), AgentError> {
        let began = Instant::now();
        let result = if context.cancel.is_cancelled() {
            return self.record(shared, Err(ToolError::Cancelled), None).await;
        } else {
            let timeout = self.tool.manifest().limits().timeout;
            match tokio::time::timeout(timeout, self.call(shared, context)).await {
                Ok(result) => result,
                Err(_) => {
                    context.cancel.cancel();
                    Err(ToolError::TimedOut(timeout))
                }
            }
        };
        self.record(shared, result, Some(began.elapsed())).await
    }

    /// Calls the tool. A panic in it is its failure.
    async fn call(&self, shared: &Arc<Shared>, context: &CallContext) -> Result<Output, ToolError> {
        let panicked = |words: String| ToolError::failed("panicked", words);
        let (tool, input, context) = (Arc::clone(&self.tool), self.input.clone(), context.clone());
        if tool.manifest().effect() != (EffectClass::Read { local: true }) {
            let called = Watched::new(&shared.activity, tool.call(input, &context)).await;
            return called.unwrap_or_else(|words| Err(panicked(words)));
        }
        // Whatever looks at this machine waits for its disk, and does that on a thread for such work.
        let here = tokio::runtime::Handle::current();
        let called = tokio::task::spawn_blocking(move || here.block_on(tool.call(input, &context)));
        called.await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => Err(panicked(crate::activity::words_of(&*panic))),
            Err(_) => Err(ToolError::Cancelled),
        })
    }

    /// Records the outcome of a call that took so long; `None`: it never began. This is total: whatever the tool did, what is recorded is within the kernel's bounds.
    async fn record(
        &self,
        shared: &Shared,
        result: Result<Output, ToolError>,
        took: Option<Duration>,
    ) -> Result<(Arc<Event>, Result<Output, ToolError>), AgentError> {
        let manifest = self.tool.manifest();
        let mut result = result.and_then(|output| manifest.check_output(&output).map(|()| output));
        let mut causes = self.sources.causes();
        if let Err(error) = causes.iter().try_fold(manifest.labels().clone(), |all, c| all.join(&c.labels)) {
            // Those of its causes alone fit, or it would not have been called.
            causes = self.sources.first();
            result = result.and(Err(ToolError::failed("labels-too-many", error.to_string())));
        }
        let mut content = None;
        if let (Ok(output), Record::Content) = (&result, manifest.record()) {
            let payload = packed(output);
            match payload.bytes().len() {
                // What is recorded is within the bound with what sealing adds.
                size if size > MAX_OUTCOME - shared.edge.overhead() => {
                    let limit = MAX_OUTCOME - shared.edge.overhead();
                    result = Err(ToolError::OutputTooLarge { size, limit })
                }
                _ => content = Some(payload),
            }
        }
        let (status, output) = match (&result, &content) {
            (Ok(_), Some(content)) => ("ok", Some(content.content_ref())),
            (Ok(output), None) => ("ok", Some(digest_of(output))),
            (Err(error), _) => (error.code(), None),
        };
        let status = match Name::new(status) {
            Ok(status) => status,
            Err(_) => Name::new(FAILED).map_err(|e| AgentError::Invalid(e.to_string()))?,
        };
        let usage = took.map(|took| {
            let bytes =
                self.input.canonical().len() as u64 + output.map_or(0, |output| u64::from(output.size));
            Usage { calls: 1, micros: micros(took), bytes, ..Usage::default() }
        });
        // Whether a plan named the call, the kernel knows.
        let planned = self.request.is_some() && shared.notices.close_look.has_plan(self.agent);
        let leaves = match &result {
            Ok(output) if planned => trace::leaves(&output.value, manifest.minted()),
            _ => Vec::new(),
        };
        let mut labels = manifest.labels().clone();
        // What a tool kept is as trusted as what it was made from; what made the agent call it does not matter to a plan.
        if self.sources.handed_untrusted() {
            let joined = causes.iter().try_fold(labels.clone(), |all, cause| all.join(&cause.labels));
            labels = joined.unwrap_or(labels);
        }
        let outcome = ToolOutcome {
            leaves,
            usage,
            request: self.request,
            tool: manifest.id().clone(),
            version: manifest.version().to_string(),
            class: manifest.effect(),
            arguments: self.arguments,
            status,
            output,
            content,
            labels,
            read: self.read.clone(),
        };
        let envelope = Envelope {
            origin: self.agent,
            authority: Authority::Host,
            op_id: self.op_id,
            causes,
            operation: Operation::Return(outcome),
        };
        let recorded = shared.submit(envelope).await?.committed().await?;
        match recorded.into_iter().next() {
            Some(event) => Ok((event, result)),
            None => Err(AgentError::Log("the outcome was not recorded".to_owned())),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The key of a call whose request is no event: the same for equal calls, which such a call may be.
fn call_key(agent: EntityId, tool: &Arc<dyn DynTool>, input: &Input) -> Digest {
    let name = tool.manifest().id().as_str().as_bytes();
    Digest::of_fields("toka 2026 call key v1", [&agent.0[..], name, input.canonical()])
}

fn cause_of(event: &Arc<Event>) -> Cause {
    Cause { id: event.header.id, labels: event.header.labels.clone() }
}

fn tool_error(tool: &str, error: &ToolError, cause: Option<Cause>) -> AgentError {
    AgentError::Tool {
        tool: tool.to_owned(),
        code: error.code().to_owned(),
        detail: error.to_string(),
        cause: cause.map(Box::new),
    }
}

fn context(host: &AgentHost, run: &Run, cancel: Cancel) -> CallContext {
    let mut context = CallContext::new(host.name.clone(), run.key, host.shared.clock.now())
        .with_drivers(host.drivers.clone())
        .with_sources(Arc::<Delivered>::clone(&run.sources))
        .with_cancel(cancel);
    if let Some(root) = &host.root {
        context = context.with_root(root.to_path_buf());
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
            Argument::Money(money) => GovernedArgument::Money(money),
        };
        (name.to_owned(), argument)
    };
    tool.manifest().arguments(input).into_iter().map(owned).collect()
}

/// The places that the paths of a call are about: beneath the folder that the agent's tools work in, so that agents with
/// other folders mean the same place by another path.
fn places(host: &AgentHost, governed: &[(String, GovernedArgument)]) -> Places {
    let mut places = Places::default();
    for (_, argument) in governed {
        let GovernedArgument::Path(path) = argument else { continue };
        let root = host.place.as_os_str().as_encoded_bytes();
        let root = root.strip_suffix(b"/").unwrap_or(root);
        match path.is_empty() {
            true => places.add(root),
            false => places.add(&[root, b"/", path.as_bytes()].concat()),
        }
    }
    places
}

/// Digest and size of the raw bytes, or of the value where there are none.
fn digest_of(output: &Output) -> ContentRef {
    match &output.bytes {
        Some(bytes) => {
            ContentRef { digest: Digest::of(bytes), size: u32::try_from(bytes.len()).unwrap_or(u32::MAX) }
        }
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
