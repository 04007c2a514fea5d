//! What an agent acts through.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use toka_toolkit_core::labelled::Labelled;
use toka_toolkit_core::{Plan, Storage};
use toka_types::operation::{Authority, Cause, Observation, PlanRequest, TaskAction};
use toka_types::{
    Answer, AnswerShape, Digest, EntityId, Envelope, GrantId, Kind, Name, Operation, Payload, Timestamp,
};
use tokio::sync::oneshot;

use crate::agent::BoxFuture;
use crate::delivered::Delivered;
use crate::event::Event;

/// Why something an agent asked for did not come about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// The kernel refused it. The refusal is an event.
    #[error("denied ({code}): {rule}")]
    Denied {
        /// The refusal's stable code.
        code: String,
        /// The rule, in words.
        rule: String,
    },
    /// A tool failed.
    #[error("{tool} failed ({code}): {detail}")]
    Tool {
        /// The tool.
        tool: String,
        /// The error's stable code.
        code: String,
        /// The error, in words.
        detail: String,
        /// The event that records it.
        cause: Option<Box<Cause>>,
    },
    /// There is no such tool or no such storage in this runtime.
    #[error("there is no {what} '{name}' here; {hint}")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// Its name.
        name: String,
        /// The way out.
        hint: String,
    },
    /// A person has to allow it first.
    #[error("a person has to allow it first: `toka approvals allow {}`", approval.short())]
    ApprovalPending {
        /// The question that the person was asked.
        approval: toka_types::EventId,
    },
    /// The log cannot be written: the disk is full or failed. Nothing that was asked since is recorded.
    #[error("the log cannot be written: {0}")]
    Log(String),
    /// The runtime has stopped.
    #[error("the runtime has stopped")]
    Stopped,
    /// What was handed in is not what the call takes.
    #[error("{0}")]
    Invalid(String),
}

/// What a tool answered.
#[derive(Clone, Debug)]
pub struct CallOutput {
    /// The answer.
    pub value: serde_json::Value,
    /// Raw data that came with it.
    pub bytes: Option<Vec<u8>>,
    /// The event that records the outcome, to name as a cause.
    pub cause: Cause,
}

/// A task of an agent, as the world has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskView {
    /// Its name.
    pub name: Name,
    /// When it is due.
    pub due: Timestamp,
    /// The digest of what it shall do and when.
    pub spec: Digest,
    /// The event that scheduled it: its name and all else come from there.
    pub scheduled: Cause,
}

/// The events an operation became, in order.
pub type Observed = Vec<Arc<toka_types::Event>>;

/// An operation that the kernel has been handed and has not answered yet.
pub struct Receipt {
    answer: oneshot::Receiver<Result<Observed, AgentError>>,
    open: Option<Open>,
}

/// Makes of events as they are stored what whoever asked can read.
type Open = Box<dyn FnOnce(Observed) -> Observed + Send>;

impl Receipt {
    /// A receipt that is answered through `answer`.
    pub fn new(answer: oneshot::Receiver<Result<Observed, AgentError>>) -> Self {
        Self { answer, open: None }
    }

    /// The same, with the events handed out as `open` gives them.
    #[must_use]
    pub fn opened_by(mut self, open: impl FnOnce(Observed) -> Observed + Send + 'static) -> Self {
        self.open = Some(Box::new(open));
        self
    }

    /// The events the operation became. They are durable when this returns.
    ///
    /// # Errors
    /// As the operation: refused, or the log cannot be written, or the runtime has stopped.
    pub async fn committed(self) -> Result<Observed, AgentError> {
        let events = self.answer.await.unwrap_or(Err(AgentError::Stopped))?;
        Ok(match self.open {
            Some(open) => open(events),
            None => events,
        })
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receipt").field(&self.answer).finish()
    }
}

/// What [`AgentContext`] stands on: the runtime, or a test's stand-in for it.
pub trait Host: Send + Sync {
    /// Hands an operation to the kernel, in the order of the calls. Waits while the queue is full.
    fn submit(&self, envelope: Envelope) -> BoxFuture<'_, Result<Receipt, AgentError>>;
    /// Calls a tool for an agent and waits for its recorded outcome.
    fn call<'a>(
        &'a self,
        caller: &'a Caller,
        tool: &'a str,
        arguments: serde_json::Value,
    ) -> BoxFuture<'a, Result<CallOutput, AgentError>>;
    /// The agent's grant as it is now.
    fn grant(&self, agent: EntityId) -> BoxFuture<'_, Result<GrantId, AgentError>>;
    /// The agent's tasks.
    fn tasks(&self, agent: EntityId) -> BoxFuture<'_, Result<Vec<TaskView>, AgentError>>;
    /// The events of the log from a position on, at most `limit` of them, of a kind and those below it.
    fn history<'a>(
        &'a self,
        from: u64,
        limit: usize,
        kind: &'a str,
    ) -> BoxFuture<'a, Result<Observed, AgentError>>;
    /// True if `stored` is the digest under which `content` of the agent is in the log. In a sealed vault that is not
    /// the digest of what the content says.
    fn is_stored_as(&self, agent: EntityId, content: &Payload, stored: &Digest) -> bool {
        let _ = agent;
        content.digest() == *stored
    }
    /// True for a program that keeps its sources apart itself and names the causes of what it does: whoever registers it
    /// says so. Of all others everything that was delivered to a context is a cause of what is done in it.
    fn keeps_apart(&self) -> bool {
        false
    }
    /// A place to keep artefacts: `local`, `vault`, or a driver's name.
    fn storage(&self, agent: &Name, name: &str) -> Result<Arc<dyn Storage>, AgentError>;
    /// The time.
    fn now(&self) -> Timestamp;
    /// Waits until that time has come.
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'_, ()>;
    /// Waits until the runtime stops.
    fn stopped(&self) -> BoxFuture<'_, ()>;
    /// True if the runtime ends when there is nothing left to do.
    fn is_once(&self) -> bool;
}

/// Who is asking, and because of what.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The agent.
    pub agent: EntityId,
    /// Its name.
    pub name: Name,
    /// The events that made it ask.
    pub causes: Vec<Cause>,
}

/// An agent's hands: everything that it does goes through here and before the kernel. Cheap to clone.
///
/// What is done in a context has all that was delivered to it as causes, and so their labels: the event that the agent was
/// handed, the outcomes of its calls, what it read in the log and in storage. A clone is the same context. The next event
/// comes with a fresh one: what a native program keeps in its own memory from one event to the next is its own affair.
#[derive(Clone)]
pub struct AgentContext {
    host: Arc<dyn Host>,
    caller: Caller,
    delivered: Arc<Delivered>,
}

impl AgentContext {
    /// The context of `caller` on `host`.
    pub fn new(host: Arc<dyn Host>, caller: Caller) -> Self {
        let delivered = Arc::new(Delivered::new(caller.causes.clone()));
        Self { host, caller, delivered }
    }

    /// The agent's id.
    pub fn id(&self) -> EntityId {
        self.caller.agent
    }

    /// The agent's name.
    pub fn name(&self) -> &Name {
        &self.caller.name
    }

    /// The same context with further causes: what is done through it is recorded as done because of these too. For a program
    /// that keeps its sources apart they are the only ones.
    pub fn because_of(&self, causes: Vec<Cause>) -> Self {
        let caller = Caller { causes, ..self.caller.clone() };
        Self { host: Arc::clone(&self.host), caller, delivered: Arc::clone(&self.delivered) }
    }

    /// The causes of what is done now.
    fn causes(&self) -> Vec<Cause> {
        match self.host.keeps_apart() {
            true => self.caller.causes.clone(),
            false => self.delivered.with(&self.caller.causes),
        }
    }

    /// Records an event of `kind` with `payload` as MessagePack; durable when it returns.
    pub async fn emit(&self, kind: &str, payload: &impl Serialize) -> Result<Event, AgentError> {
        let kind = Kind::new(kind).map_err(invalid)?;
        let observation = Observation::new(kind, packed(payload)?);
        let events = self.observe(vec![observation]).await?.committed().await?;
        first(events)
    }

    /// Hands observations to the kernel, all of them or nothing, and returns once they are queued; several calls
    /// can be under way, and are recorded in the order of the calls.
    pub async fn observe(&self, observations: Vec<Observation>) -> Result<Receipt, AgentError> {
        self.submit(Operation::Observe(observations)).await
    }

    /// Sends `payload` as MessagePack to the agent of that name; durable when it returns.
    pub async fn send(&self, to: &str, payload: &impl Serialize) -> Result<Event, AgentError> {
        let operation = Operation::Send { to: EntityId::named(to), message: packed(payload)? };
        first(self.submit(operation).await?.committed().await?)
    }

    /// Calls a tool with JSON arguments and waits for its recorded outcome.
    pub async fn call(&self, tool: &str, arguments: serde_json::Value) -> Result<CallOutput, AgentError> {
        let caller = Caller { causes: self.causes(), ..self.caller.clone() };
        let output = self.host.call(&caller, tool, arguments).await;
        match &output {
            Ok(output) => self.delivered.add(output.cause.clone()),
            Err(AgentError::Tool { cause: Some(cause), .. }) => self.delivered.add((**cause).clone()),
            Err(_) => {}
        }
        output
    }

    /// Commits the plan for what a person asked this agent for last: calls that it foresees are made without a question,
    /// whatever was read in between. It is committed before anything is read that cannot be trusted, once for a request.
    pub async fn commit_plan(&self, plan: &Plan) -> Result<Event, AgentError> {
        first(self.submit(plan_operation(self.caller.agent, plan)?).await?.committed().await?)
    }

    /// Spawns an agent under this one with a part of what it may delegate. The host starts its behaviour.
    pub async fn spawn(
        &self,
        name: &Name,
        behaviour: &Name,
        grant: toka_types::operation::GrantTerms,
    ) -> Result<Event, AgentError> {
        self.spawn_as(name, behaviour, grant, None).await
    }

    /// Spawns a quarantined agent under this one: it may read what it likes, its calls are local, free and no sinks, and
    /// it may say one thing of this shape ([`answer`](Self::answer)), which is then the event `agent.answered`.
    pub async fn quarantine(
        &self,
        name: &Name,
        behaviour: &Name,
        grant: toka_types::operation::GrantTerms,
        shape: AnswerShape,
    ) -> Result<Event, AgentError> {
        self.spawn_as(name, behaviour, grant, Some(shape)).await
    }

    /// Says the one thing that this agent may say, if it is quarantined; it is stopped with that.
    pub async fn answer(&self, answer: impl Into<Answer>) -> Result<Event, AgentError> {
        first(self.submit(Operation::Answer(answer.into())).await?.committed().await?)
    }

    async fn spawn_as(
        &self,
        name: &Name,
        behaviour: &Name,
        grant: toka_types::operation::GrantTerms,
        quarantine: Option<AnswerShape>,
    ) -> Result<Event, AgentError> {
        let (name, behaviour) = (name.clone(), behaviour.clone());
        let operation = Operation::SpawnAgent { name, behaviour, grant, budget: None, quarantine };
        first(self.submit(operation).await?.committed().await?)
    }

    /// Creates a task of this agent, or moves it; durable when it returns.
    pub async fn schedule(&self, task: &Name, due: Timestamp, spec: Payload) -> Result<Event, AgentError> {
        first(
            self.submit(Operation::ScheduleTask { task: task.clone(), due, spec }).await?.committed().await?,
        )
    }

    /// Removes a task of this agent.
    pub async fn cancel(&self, task: &Name) -> Result<Event, AgentError> {
        first(self.submit(Operation::CancelTask { task: task.clone() }).await?.committed().await?)
    }

    /// Does what a due task was scheduled for, once.
    pub async fn fire(
        &self,
        task: &Name,
        due: Timestamp,
        next: Option<Timestamp>,
        action: TaskAction,
    ) -> Result<Observed, AgentError> {
        let operation = Operation::FireTask { task: task.clone(), due, next, action };
        self.submit(operation).await?.committed().await
    }

    /// This agent's tasks.
    pub async fn tasks(&self) -> Result<Vec<TaskView>, AgentError> {
        let tasks = self.host.tasks(self.caller.agent).await?;
        for task in tasks.iter().filter(|task| !task.scheduled.labels.is_empty()) {
            self.delivered.add(task.scheduled.clone());
        }
        Ok(tasks)
    }

    /// The events of the log from a position on, at most `limit`, of a kind and those below it.
    pub async fn history(&self, from: u64, limit: usize, kind: &str) -> Result<Observed, AgentError> {
        let events = self.host.history(from, limit, kind).await?;
        for event in events.iter().filter(|event| !event.header.labels.is_empty()) {
            self.delivered.add(Cause { id: event.header.id, labels: event.header.labels.clone() });
        }
        Ok(events)
    }

    /// True if `stored` is the digest under which `content` of this agent is in the log.
    pub fn is_stored_as(&self, content: &Payload, stored: &Digest) -> bool {
        self.host.is_stored_as(self.caller.agent, content, stored)
    }

    /// A place to keep artefacts: `local` is a folder of this agent's own, `vault` keeps by digest, and a driver
    /// registered under a name answers for it. What is kept there from labelled data is handed out with the labels.
    pub fn storage(&self, name: &str) -> Result<Arc<dyn Storage>, AgentError> {
        let storage = self.host.storage(&self.caller.name, name)?;
        Ok(match self.host.keeps_apart() {
            true => storage,
            false => Arc::new(Labelled::new(storage, Arc::<Delivered>::clone(&self.delivered))),
        })
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.host.now()
    }

    /// Waits for a while.
    pub async fn sleep(&self, duration: Duration) {
        self.host.sleep_until(self.now().saturating_add(duration)).await;
    }

    /// Waits until that time has come.
    pub async fn sleep_until(&self, at: Timestamp) {
        self.host.sleep_until(at).await;
    }

    /// Waits until the runtime stops.
    pub async fn stopped(&self) {
        self.host.stopped().await;
    }

    /// True if the runtime ends when there is nothing left to do.
    pub fn is_once(&self) -> bool {
        self.host.is_once()
    }

    async fn submit(&self, operation: Operation) -> Result<Receipt, AgentError> {
        let grant = self.host.grant(self.caller.agent).await?;
        let envelope = Envelope {
            origin: self.caller.agent,
            authority: Authority::Grant(grant),
            op_id: None,
            causes: self.causes(),
            operation,
        };
        self.host.submit(envelope).await
    }
}

/// The operation that commits `plan` for `agent`. What the host knows of its tools is added when it is submitted.
///
/// # Errors
/// [`AgentError::Invalid`] if the plan is none.
pub fn plan_operation(agent: EntityId, plan: &Plan) -> Result<Operation, AgentError> {
    let (slots, content) = (plan.slots().map_err(invalid)?, packed(plan)?);
    Ok(Operation::CommitPlan(PlanRequest { agent, slots, control: Vec::new(), content }))
}

/// `payload` as MessagePack with named fields.
pub fn packed(payload: &impl Serialize) -> Result<Payload, AgentError> {
    rmp_serde::to_vec_named(payload).map(Payload::new).map_err(invalid)
}

fn first(events: Observed) -> Result<Event, AgentError> {
    let event = events.into_iter().next();
    event.map(Event::from).ok_or_else(|| AgentError::Log("the kernel answered with no event".into()))
}

fn invalid(error: impl ToString) -> AgentError {
    AgentError::Invalid(error.to_string())
}
