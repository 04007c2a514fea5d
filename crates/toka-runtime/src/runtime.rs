//! The runtime: opens the log, starts agents, and stops when all is durable.

use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde::Serialize;
use toka_agents::{Agent, AgentError, Event};
use toka_bus::FeedHandle;
use toka_kernel::{Digests, WorldState, digests};
use toka_toolkit_core::{Driver, RegistryError, Tool, ToolRegistry};
use toka_types::operation::Observation;
use toka_types::{EntityId, Envelope, EventHeader, EventId, Kind, Name, Operation, Timestamp};

use crate::behaviour::Prepared;
pub use crate::builder::Builder;
pub use crate::config::RuntimeConfig;
use crate::crew::{Crew, Enlisted};
use crate::log::{LogError, fold};

/// Why a runtime does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The configuration has errors.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// An agent of the configuration cannot be started.
    #[error("{0:#}")]
    Agent(anyhow::Error),
    /// Something an agent, the operator or the host asked for did not come about.
    #[error(transparent)]
    Asked(#[from] AgentError),
    /// The log cannot be opened or written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The vault cannot be opened.
    #[cfg(feature = "vault")]
    #[error(transparent)]
    Vault(#[from] toka_vault::StoreError),
    /// A tool of that name and version is registered already, or its manifest is not sound.
    #[error(transparent)]
    Tool(#[from] RegistryError),
    /// A name is no name.
    #[error(transparent)]
    Name(#[from] toka_types::NameError),
    /// Stored facts cannot be read.
    #[error(transparent)]
    Facts(#[from] toka_kernel::FactsError),
    /// `[vault]` is there, and neither its key `path` nor the program says where the vault lies.
    #[error("[vault] names no folder; set its key `path`")]
    NoVaultPath,
    /// The operation needs a feature that this build does not have.
    #[error("this build has no feature `{0}`; build with it")]
    Feature(&'static str),
    /// A projection failed; the log is complete all the same.
    #[error("{0:#}; the log is complete, the next start builds it again")]
    Projection(anyhow::Error),
    /// The machine refused a thread or a signal handler.
    #[error("cannot {0}: {1}")]
    Machine(&'static str, std::io::Error),
    /// A token from outside is refused.
    #[error("token refused ({code}): {detail}")]
    Token {
        /// The stable code.
        code: String,
        /// The reason, in words.
        detail: String,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// There was nothing left to do.
    Idle,
    /// SIGINT, or Ctrl-C.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

/// Runs agents on a log. See the crate's documentation for an example.
///
/// Dropping it without [`stop`](Runtime::stop) ends its agents and threads and frees the vault, and waits for the write
/// under way; agents are handed what is left at the next start.
pub struct Runtime {
    pub(crate) crew: Arc<Crew>,
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.crew.abandon();
    }
}

impl Runtime {
    /// A runtime of this configuration and the parts of this build. `[vault]` names a vault, which is created
    /// where there is none; without one the log is a ring of `buffer_size` events in memory.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub async fn new(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        Self::builder(config).build().await
    }

    /// A builder, for a program that adds behaviours, projections or a clock of its own.
    pub fn builder(config: RuntimeConfig) -> Builder {
        Builder::new(config)
    }

    /// Registers an agent under `name`, with the right to record events, send messages and schedule tasks. It
    /// starts with the runtime, or at once if that has started.
    ///
    /// # Errors
    /// If the name is no name or is taken by an agent of this runtime, or the kernel refuses.
    pub async fn register_agent(&self, name: &str, agent: impl Agent) -> Result<EntityId, RuntimeError> {
        self.register_prepared(name, name, Prepared::new(agent), None).await
    }

    /// Registers an agent with exactly this grant.
    ///
    /// # Errors
    /// As [`Runtime::register_agent`], or if a capability is malformed.
    pub async fn register_agent_with(
        &self,
        name: &str,
        agent: impl Agent,
        grant: &[&str],
        root: Option<&Path>,
    ) -> Result<EntityId, RuntimeError> {
        let mut prepared = Prepared::new(agent);
        prepared.intrinsic.clear();
        prepared.root = root.map(Path::to_path_buf);
        let grant: Vec<String> = grant.iter().map(|text| (*text).to_owned()).collect();
        self.register_prepared(name, name, prepared, Some(&grant)).await
    }

    async fn register_prepared(
        &self,
        name: &str,
        behaviour: &str,
        prepared: Prepared,
        grant: Option<&[String]>,
    ) -> Result<EntityId, RuntimeError> {
        let (name, behaviour) = (Name::new(name)?, Name::new(behaviour)?);
        let terms = prepared.terms(grant).map_err(RuntimeError::Agent)?;
        let id = EntityId::named(name.as_str());
        self.crew.register(Enlisted { name, behaviour, terms: Some(terms), prepared }).await?;
        Ok(id)
    }

    /// Ends an agent: its grant and all cut from it are revoked, and its tasks are removed.
    ///
    /// # Errors
    /// If the kernel refuses, or there is no such agent and none was registered.
    pub async fn remove_agent(&self, name: &str) -> Result<(), RuntimeError> {
        let (name, crew) = (Name::new(name)?, Arc::clone(&self.crew));
        // It goes on if whoever asked is dropped, as an agent that removes itself is.
        let removed = tokio::spawn(async move { crew.remove(name).await });
        Ok(removed.await.unwrap_or(Err(AgentError::Stopped))?)
    }

    /// Registers a tool. Without the feature `toolkit` there is no registry: nothing is kept, and a warning says so.
    ///
    /// # Errors
    /// If a tool of that name and version is registered already.
    pub fn register_tool(&self, tool: impl Tool) -> Result<(), RuntimeError> {
        if cfg!(feature = "toolkit") {
            self.crew.shared.tools.register(tool)?;
        } else {
            tracing::warn!(
                "tool '{}' is not registered: this build has no feature `toolkit`",
                tool.manifest().id()
            );
        }
        Ok(())
    }

    /// Removes every version of a tool; how many there were.
    pub fn remove_tool(&self, name: &str) -> usize {
        self.crew.shared.tools.remove(name, None)
    }

    /// The tools; empty without the feature `toolkit`.
    pub fn tools(&self) -> &ToolRegistry {
        &self.crew.shared.tools
    }

    /// Registers a driver: agents and tools that start from now on reach it as `storage(NAME)`.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn register_driver(&self, driver: impl Driver + 'static) -> Result<(), RuntimeError> {
        let mut drivers = self.crew.shared.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        let name = driver.name();
        if ["local", "vault"].contains(&name) || drivers.iter().any(|other| other.name() == name) {
            return Err(RuntimeError::Agent(anyhow::anyhow!(
                "a driver named '{name}' is registered already"
            )));
        }
        drivers.push(Arc::new(driver));
        Ok(())
    }

    /// Removes a driver; agents that run keep what they have of it. False if there was none of that name.
    pub fn remove_driver(&self, name: &str) -> bool {
        let mut drivers = self.crew.shared.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        let before = drivers.len();
        drivers.retain(|driver| driver.name() != name);
        drivers.len() < before
    }

    /// Records an event as the operator; durable when it returns, if there is a vault.
    ///
    /// # Errors
    /// If the kind is no kind or reserved, or the log cannot be written.
    pub async fn emit(&self, kind: &str, payload: &impl Serialize) -> Result<Event, RuntimeError> {
        let observation = Observation::new(Kind::new(kind)?, toka_agents::context::packed(payload)?);
        let events = self.operate(Operation::Observe(vec![observation])).await?;
        let first = events.into_iter().next();
        first.ok_or_else(|| AgentError::Log("the kernel answered with no event".into()).into())
    }

    /// Asks an agent for something as the operator: a message that the agent may commit a
    /// [plan](toka_toolkit_core::plan) for. Durable when it returns, if there is a vault.
    ///
    /// # Errors
    /// If there is no such agent, or the log cannot be written.
    pub async fn instruct(&self, agent: &str, request: &impl Serialize) -> Result<Event, RuntimeError> {
        let (to, message) = (EntityId::named(agent), toka_agents::context::packed(request)?);
        let events = self.operate(Operation::Instruct { to, message, literals: Vec::new() }).await?;
        let first = events.into_iter().next();
        first.ok_or_else(|| AgentError::Log("the kernel answered with no event".into()).into())
    }

    /// Asks the kernel for an operation as the operator.
    ///
    /// # Errors
    /// If the kernel refuses, or the log cannot be written.
    pub async fn operate(&self, operation: Operation) -> Result<Vec<Event>, RuntimeError> {
        let events = self.crew.operate(operation).await?;
        Ok(events.into_iter().map(Event::from).collect())
    }

    /// Asks the kernel for an operation in somebody's name. This is for code of this process, which is trusted; what
    /// enters the process comes with a token.
    ///
    /// # Errors
    /// As [`Runtime::operate`].
    pub async fn submit(&self, envelope: Envelope) -> Result<Vec<Event>, RuntimeError> {
        let events = self.crew.shared.submit(envelope).await?.committed().await?;
        Ok(events.into_iter().map(Event::from).collect())
    }

    /// The bus: subscriptions to the log, from now on or from any position. It carries content as it is stored:
    /// [`opened`](Self::opened) opens that of a sealed vault.
    pub fn bus(&self) -> FeedHandle {
        self.crew.shared.feed.clone()
    }

    /// Looks at the world as it is once everything asked before is durable.
    ///
    /// # Errors
    /// If the runtime has stopped.
    pub async fn world<R: Send + 'static>(
        &self,
        look: impl FnOnce(&WorldState) -> R + Send + 'static,
    ) -> Result<R, RuntimeError> {
        Ok(self.crew.shared.query(look).await?)
    }

    /// Folds the log anew from its first event, shows the events of `range` with the world after each, and returns
    /// the digests of the world at the range's end. No effect is performed.
    ///
    /// # Errors
    /// Without a vault, whose log alone is kept; or if the log cannot be read.
    pub async fn replay(
        &self,
        range: impl RangeBounds<u64> + Send + 'static,
        observer: impl FnMut(&EventHeader, &WorldState) + Send + 'static,
    ) -> Result<Digests, RuntimeError> {
        let Some(reader) = self.crew.shared.reader.clone() else {
            return Err(RuntimeError::Feature("vault"));
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let mut observer = observer;
        let folded = tokio::task::spawn_blocking(move || {
            fold::<RuntimeError>(reader.as_ref(), end, |header, world| {
                if range.contains(&header.seq) {
                    observer(header, world);
                }
            })
        });
        let kernel = folded.await.map_err(|e| RuntimeError::Agent(e.into()))??;
        Ok(digests(kernel.world()))
    }

    /// Makes all content of `subject` unreadable for good: records that its keys are destroyed, and destroys them.
    /// Events, ids and proofs stand. Returns the event; `None` if the subject has no keys, so that there is nothing to
    /// erase. A projection that runs is built anew at the next start; what it knows in memory goes with the process.
    ///
    /// # Errors
    /// If the vault is not sealed, or the event or the keys cannot be written; trying again does what is left, as does
    /// the next start.
    #[cfg(feature = "vault")]
    pub async fn erase(&self, subject: &toka_types::Subject) -> Result<Option<Event>, RuntimeError> {
        let Some(keyring) = self.crew.keyring.clone() else {
            return Err(RuntimeError::Agent(anyhow::anyhow!(
                "the vault is not sealed, so nothing in it can be erased"
            )));
        };
        let Some(key) = keyring.key_of(subject) else { return Ok(None) };
        let envelope = Envelope {
            origin: EntityId::operator(),
            authority: toka_types::operation::Authority::Host,
            op_id: None,
            causes: Vec::new(),
            operation: Operation::Erase { keys: vec![key] },
        };
        let receipt = self.submit(envelope).await?.into_iter().next();
        let destroyed = tokio::task::spawn_blocking(move || keyring.destroy(&[key])).await;
        destroyed.map_err(|e| RuntimeError::Agent(e.into()))?.map_err(toka_vault::StoreError::from)?;
        #[cfg(feature = "indexer")]
        self.crew.forget_indexes().await?;
        Ok(receipt)
    }

    /// An event of the [`bus`](Self::bus) with its content opened, if the vault is sealed.
    pub fn opened(&self, event: Arc<toka_types::Event>) -> Event {
        Event::from(self.crew.shared.edge.opened(event))
    }

    /// What the log is called where nobody chose a name, as in checkpoints and as the audience of tokens; `None` without a
    /// vault.
    ///
    /// # Errors
    /// If the log cannot be read.
    #[cfg(feature = "vault")]
    pub fn origin(&self) -> Result<Option<String>, RuntimeError> {
        match &self.crew.shared.reader {
            Some(reader) => Ok(reader.origin()?),
            None => Ok(None),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &RuntimeConfig {
        &self.crew.config
    }

    /// What ended before its time so far: programs of agents that returned an error.
    pub fn problems(&self) -> Vec<String> {
        self.crew.shared.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a person was asked about calls that did not wait for the answer, as [`WhenAsked::Fail`](crate::WhenAsked) says:
    /// they are made once they are allowed and asked for again.
    pub fn pending_approvals(&self) -> Vec<EventId> {
        let pending = self.crew.shared.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.iter().copied().collect()
    }

    /// The time, by the runtime's clock.
    pub fn now(&self) -> Timestamp {
        self.crew.shared.clock.now()
    }

    /// Starts the agents, and those that they spawned in an earlier run where this runtime has their behaviour. Calls
    /// that a crash left without an outcome are dealt with first. Starting twice does nothing.
    ///
    /// # Errors
    /// If the kernel refuses an agent, the log cannot be written, or the runtime was stopped.
    pub async fn start(&self) -> Result<(), RuntimeError> {
        self.crew.start().await
    }

    /// Runs until there is nothing left to do (if it was built to run once), a signal asks for the end, or the log
    /// fails; then stops. A second signal ends the process at once.
    ///
    /// # Errors
    /// As [`Runtime::start`] and [`Runtime::stop`].
    pub async fn run(&self) -> Result<Ended, RuntimeError> {
        let signals =
            crate::signals::Signals::new().map_err(|e| RuntimeError::Machine("listen for signals", e))?;
        self.run_until(signals).await
    }

    async fn run_until(&self, mut signals: crate::signals::Signals) -> Result<Ended, RuntimeError> {
        let once = self.crew.shared.once.load(std::sync::atomic::Ordering::SeqCst);
        let work = async {
            self.start().await?;
            tokio::select! {
                error = self.failed() => Err(RuntimeError::from(error)),
                () = self.idle(), if once => Ok(Ended::Idle),
            }
        };
        let ended = tokio::select! {
            ended = signals.first() => Ok(ended),
            ended = work => ended,
        };
        signals.abort_on_second();
        let stopped = self.stop().await;
        // Why the log cannot be written says more than that an agent could not be started for it.
        if matches!(ended, Err(RuntimeError::Asked(AgentError::Log(_)))) {
            stopped?;
            return ended;
        }
        let ended = ended?;
        stopped?;
        Ok(ended)
    }

    /// Waits until the log has failed.
    async fn failed(&self) -> LogError {
        let mut failure = self.crew.shared.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(error) => error.clone().unwrap_or(LogError::Failed("the kernel loop ended".into())),
            Err(_) => LogError::Failed("the kernel loop ended".into()),
        }
    }

    /// Waits until queues are empty, agents are done or wait for a time or a change, and projections are current.
    pub async fn idle(&self) {
        const LOOK: Duration = Duration::from_millis(1);
        while !self.crew.is_idle() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Stops: agents finish what they are at and are handed what is recorded so far, calls under way end, the queue is
    /// drained, the log is flushed and closed, and projections are saved. Everything is durable when it returns.
    /// Stopping twice does nothing; it goes on if whoever asked is dropped.
    ///
    /// # Errors
    /// If the log failed, or a projection could not be saved.
    pub async fn stop(&self) -> Result<(), RuntimeError> {
        let stopped = tokio::spawn(Arc::clone(&self.crew).stop());
        stopped.await.map_err(|e| RuntimeError::Agent(e.into()))?
    }
}
