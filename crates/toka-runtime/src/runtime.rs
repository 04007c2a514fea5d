//! The runtime: opens the log, starts agents, and stops when all is durable.

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use toka_agents::{Agent, AgentError, Event};
use toka_bus::{Feed, FeedHandle};
use toka_kernel::{Digests, Kernel, WorldState, digests};
use toka_toolkit_core::{Driver, RegistryError, Tool, ToolRegistry};
use toka_types::operation::{Authority, GrantTerms, Observation};
use toka_types::{Capability, EntityId, Envelope, EventHeader, GrantId, Kind, Name, Operation, Timestamp};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::agents::{Running, Start};
use crate::behaviour::{Behaviours, Circumstances, Prepared};
use crate::clock::{Clock, SystemClock};
pub use crate::config::RuntimeConfig;
use crate::host::{MAX_WAITING_KIB, Shared, drivers_of};
use crate::kernel_loop::{Command, KernelLoop, WhenFull};
use crate::log::{LogError, LogRead, LogWrite, Unkept};
use crate::projection::{Follower, LogView, Opener, Projection};
use crate::storage::{Folder, Memory, Named};

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

/// Builds a runtime from a configuration and the parts that a program adds to it.
pub struct Builder {
    config: RuntimeConfig,
    behaviours: Behaviours,
    projections: Vec<Opener>,
    clock: Arc<dyn Clock>,
    protected: Vec<PathBuf>,
    when_full: WhenFull,
    once: bool,
    root_grant: Vec<Capability>,
    #[cfg(feature = "vault")]
    store: Option<Arc<dyn toka_vault::Store>>,
}

/// Runs agents on a log. See the crate's documentation for an example.
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
    config: RuntimeConfig,
    operator: Authority,
    stopping: Arc<AtomicBool>,
    failure: watch::Receiver<Option<LogError>>,
    state: Mutex<State>,
    vault: Option<PathBuf>,
    protected: Vec<PathBuf>,
}

#[derive(Default)]
struct State {
    started: bool,
    prepared: Vec<(Name, Name, GrantTerms, Prepared)>,
    running: BTreeMap<Name, Running>,
    followers: Vec<Follower>,
    kernel: Option<std::thread::JoinHandle<()>>,
}

impl Builder {
    /// Adds a behaviour that the configuration's agents can name.
    #[must_use]
    pub fn behaviour(
        mut self,
        name: &str,
        factory: impl Fn(&crate::config::AgentConfig, &Circumstances<'_>) -> anyhow::Result<Prepared> + Send + Sync + 'static,
    ) -> Self {
        self.behaviours.add(name, factory);
        self
    }

    /// Adds a projection, which is made once the log is open and follows it from its own position on.
    #[must_use]
    pub fn projection<P: Projection>(mut self, open: impl FnOnce(&LogView) -> P + Send + 'static) -> Self {
        self.projections.push(Box::new(move |log| Box::new(open(log))));
        self
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Keeps every agent and tool out of these folders and files, whatever its grant says.
    #[must_use]
    pub fn protect(mut self, paths: impl IntoIterator<Item = PathBuf>) -> Self {
        self.protected.extend(paths);
        self
    }

    /// Says what happens when the disk is full; it waits unless told otherwise.
    #[must_use]
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Tells agents to end when there is nothing left to do, and [`Runtime::run`] to return then.
    #[must_use]
    pub fn once(mut self, once: bool) -> Self {
        self.once = once;
        self
    }

    /// Uses this store for the log `main` instead of what the configuration names.
    #[cfg(feature = "vault")]
    #[must_use]
    pub fn store(mut self, store: Arc<dyn toka_vault::Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Opens the log, folds it into the world, and starts the kernel loop. Agents start with [`Runtime::start`].
    ///
    /// # Errors
    /// If the configuration, the log or an agent is not sound; nothing is running then.
    pub async fn build(self) -> Result<Runtime, RuntimeError> {
        let vault = self.config.vault.as_ref().map(|vault| vault.path.clone());
        let opened = tokio::task::spawn_blocking(move || self.open());
        let (builder, opened) = opened.await.map_err(|e| RuntimeError::Agent(e.into()))??;
        builder.launch(opened, vault).await
    }

    #[cfg(feature = "vault")]
    fn open(mut self) -> Result<(Self, Opened), RuntimeError> {
        use toka_vault::{Journal, LogHistory, LogId, LogWriter, Store};
        let store: Option<Arc<dyn Store>> = match (self.store.take(), &self.config.vault) {
            (Some(store), _) => Some(store),
            (None, Some(vault)) => {
                let (journal, recovery) = Journal::open(&vault.path)?;
                if let Some(torn) = &recovery.torn {
                    let file = torn.file.display();
                    tracing::warn!("{file} ended in a batch that was never acknowledged; it is cut at byte {}: {}", torn.offset, torn.detail);
                }
                for (file, problem) in &recovery.rebuilt {
                    tracing::warn!("index {} was made anew: {problem}", file.display());
                }
                Some(Arc::new(journal))
            }
            (None, None) => None,
        };
        let buffer = self.config.event_bus.buffer_size;
        let Some(store) = store else { return Ok((self, Opened::unkept(buffer))) };
        let log = LogId::main();
        let reader = Arc::new(crate::vault_log::VaultReader { store: Arc::clone(&store), log: log.clone() });
        let kernel = fold(reader.as_ref(), .., |_, _| {})?;
        let writer = LogWriter::open(Arc::clone(&store), log.clone())?;
        let history = Arc::new(LogHistory::new(store, log));
        let feed = Feed::with_history(kernel.world().next_seq(), buffer, history);
        let log = Box::new(crate::vault_log::VaultLog { writer });
        Ok((self, Opened { kernel, log, reader: Some(reader), feed }))
    }

    #[cfg(not(feature = "vault"))]
    fn open(self) -> Result<(Self, Opened), RuntimeError> {
        let buffer = self.config.event_bus.buffer_size;
        Ok((self, Opened::unkept(buffer)))
    }

    async fn launch(self, opened: Opened, vault: Option<PathBuf>) -> Result<Runtime, RuntimeError> {
        let Opened { kernel, log, reader, feed } = opened;
        let (commands, queue) = mpsc::channel(self.config.event_bus.buffer_size.max(1));
        let stopping = Arc::new(AtomicBool::new(false));
        let (failure, failed) = watch::channel(None);
        let shared = Arc::new(Shared {
            commands,
            room: Arc::new(Semaphore::new(MAX_WAITING_KIB)),
            feed: feed.handle(),
            reader: reader.clone(),
            tools: ToolRegistry::new(),
            drivers: Mutex::new(Vec::new()),
            clock: Arc::clone(&self.clock),
            stop: watch::channel(false).0,
            once: AtomicBool::new(self.once),
            busy: Arc::new(AtomicUsize::new(0)),
            problems: Mutex::new(Vec::new()),
        });
        let protected: Vec<PathBuf> = vault.iter().cloned().chain(self.protected).chain([self.config.secret_store.clone()]).collect();
        register_standard_tools(&shared.tools, &protected)?;
        let mut followers = Vec::new();
        let view = LogView(reader.clone());
        for open in self.projections {
            let follower = Follower::start(open(&view), &shared.feed);
            followers.push(follower.map_err(|e| RuntimeError::Machine("start a thread", e))?);
        }
        let first = kernel.world().operator_grant();
        let (clock, when_full, stop) = (self.clock, self.when_full, Arc::clone(&stopping));
        let kernel_loop = KernelLoop { kernel, log, reader, feed, clock, when_full, stopping: stop, failure };
        let thread = std::thread::Builder::new().name("toka-kernel".into()).spawn(move || kernel_loop.run(queue));
        let thread = thread.map_err(|e| RuntimeError::Machine("start a thread", e))?;
        let grant = match first {
            Some(grant) => grant,
            None => open_log(&shared, self.root_grant).await?,
        };
        let runtime = Runtime {
            shared,
            config: self.config,
            operator: Authority::Grant(grant),
            stopping,
            failure: failed,
            state: Mutex::new(State { followers, kernel: Some(thread), ..State::default() }),
            vault,
            protected,
        };
        if let Err(error) = runtime.prepare_configured(&self.behaviours) {
            // What was opened is closed again, so that a mended configuration finds the vault free.
            runtime.stop().await?;
            return Err(error);
        }
        Ok(runtime)
    }
}

/// A log that was opened and folded.
struct Opened {
    kernel: Kernel,
    log: Box<dyn LogWrite>,
    reader: Option<Arc<dyn LogRead>>,
    feed: Feed,
}

impl Opened {
    fn unkept(buffer: usize) -> Self {
        Self { kernel: Kernel::new(), log: Box::new(Unkept), reader: None, feed: Feed::new(0, buffer) }
    }
}

/// Folds the log into a kernel, from its first event on, and shows the events of `range` with the world after each.
fn fold(
    reader: &dyn LogRead,
    range: impl RangeBounds<u64>,
    mut observer: impl FnMut(&EventHeader, &WorldState),
) -> Result<Kernel, RuntimeError> {
    const PIECE: usize = 4096;
    let mut kernel = Kernel::new();
    let end = match range.end_bound() {
        std::ops::Bound::Included(last) => last.saturating_add(1),
        std::ops::Bound::Excluded(end) => *end,
        std::ops::Bound::Unbounded => u64::MAX,
    };
    loop {
        let headers = reader.headers(kernel.world().next_seq(), PIECE)?;
        if headers.is_empty() {
            return Ok(kernel);
        }
        for header in &headers {
            if header.seq >= end {
                return Ok(kernel);
            }
            kernel.replay(header)?;
            if range.contains(&header.seq) {
                observer(header, kernel.world());
            }
        }
    }
}

#[cfg(feature = "toolkit")]
fn register_standard_tools(registry: &ToolRegistry, protected: &[PathBuf]) -> Result<(), RuntimeError> {
    let existing = protected.iter().filter(|path| path.exists());
    let protected = toka_tools::Protected::new(existing).map_err(|e| RuntimeError::Machine("look at a protected folder", e))?;
    toka_tools::register(registry, &protected).map_err(|e| RuntimeError::Agent(e.into()))
}

#[cfg(not(feature = "toolkit"))]
fn register_standard_tools(_: &ToolRegistry, _: &[PathBuf]) -> Result<(), RuntimeError> {
    Ok(())
}

async fn open_log(shared: &Shared, capabilities: Vec<Capability>) -> Result<GrantId, RuntimeError> {
    let operation = Operation::OpenLog { capabilities };
    let origin = EntityId::operator();
    let envelope = Envelope { origin, authority: Authority::Host, op_id: None, causes: Vec::new(), operation };
    shared.submit(envelope).await?.committed().await?;
    let grant = shared.query(WorldState::operator_grant).await?;
    grant.ok_or_else(|| AgentError::Log("the log did not open".into()).into())
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
        Builder {
            config,
            behaviours: Behaviours::default(),
            projections: Vec::new(),
            clock: Arc::new(SystemClock),
            protected: Vec::new(),
            when_full: WhenFull::Wait,
            once: false,
            root_grant: vec![Capability::all()],
            #[cfg(feature = "vault")]
            store: None,
        }
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
        let started = {
            let mut state = self.state();
            let taken = state.running.contains_key(&name) || state.prepared.iter().any(|(other, ..)| *other == name);
            if taken {
                return Err(RuntimeError::Agent(anyhow::anyhow!("an agent named '{name}' is registered already")));
            }
            if !state.started {
                state.prepared.push((name.clone(), behaviour.clone(), terms.clone(), prepared));
                return Ok(id);
            }
            prepared
        };
        self.start_agent(name, behaviour, terms, started).await?;
        Ok(id)
    }

    /// Ends an agent: its grant and all cut from it are revoked, and its tasks are removed.
    ///
    /// # Errors
    /// If the kernel refuses, or there is no such agent.
    pub async fn remove_agent(&self, name: &str) -> Result<(), RuntimeError> {
        let name = Name::new(name)?;
        let running = {
            let mut state = self.state();
            state.prepared.retain(|(other, ..)| *other != name);
            state.running.remove(&name)
        };
        if let Some(running) = running {
            running.abort().await;
        }
        let agent = EntityId::named(name.as_str());
        self.operate(Operation::StopAgent(agent)).await?;
        Ok(())
    }

    /// Registers a tool. Without the feature `toolkit` there is no registry: nothing is kept, and a warning says so.
    ///
    /// # Errors
    /// If a tool of that name and version is registered already.
    pub fn register_tool(&self, tool: impl Tool) -> Result<(), RuntimeError> {
        if cfg!(feature = "toolkit") {
            self.shared.tools.register(tool)?;
        } else {
            tracing::warn!("tool '{}' is not registered: this build has no feature `toolkit`", tool.manifest().id());
        }
        Ok(())
    }

    /// Removes every version of a tool; how many there were.
    pub fn remove_tool(&self, name: &str) -> usize {
        self.shared.tools.remove(name, None)
    }

    /// The tools; empty without the feature `toolkit`.
    pub fn tools(&self) -> &ToolRegistry {
        &self.shared.tools
    }

    /// Registers a driver: agents and tools that start from now on reach it as `storage(NAME)`.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn register_driver(&self, driver: impl Driver + 'static) -> Result<(), RuntimeError> {
        let mut drivers = self.shared.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        let name = driver.name();
        if ["local", "vault"].contains(&name) || drivers.iter().any(|other| other.name() == name) {
            return Err(RuntimeError::Agent(anyhow::anyhow!("a driver named '{name}' is registered already")));
        }
        drivers.push(Arc::new(driver));
        Ok(())
    }

    /// Removes a driver; agents that run keep what they have of it. False if there was none of that name.
    pub fn remove_driver(&self, name: &str) -> bool {
        let mut drivers = self.shared.drivers.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Asks the kernel for an operation as the operator.
    ///
    /// # Errors
    /// If the kernel refuses, or the log cannot be written.
    pub async fn operate(&self, operation: Operation) -> Result<Vec<Event>, RuntimeError> {
        let (origin, authority) = (EntityId::operator(), self.operator);
        let envelope = Envelope { origin, authority, op_id: None, causes: Vec::new(), operation };
        let events = self.shared.submit(envelope).await?.committed().await?;
        Ok(events.into_iter().map(Event::from).collect())
    }

    /// Asks the kernel for an operation in somebody's name. This is for code of this process, which is trusted; what
    /// enters the process comes with a token.
    ///
    /// # Errors
    /// As [`Runtime::operate`].
    pub async fn submit(&self, envelope: Envelope) -> Result<Vec<Event>, RuntimeError> {
        let events = self.shared.submit(envelope).await?.committed().await?;
        Ok(events.into_iter().map(Event::from).collect())
    }

    /// The bus: subscriptions to the log, from now on or from any position.
    pub fn bus(&self) -> FeedHandle {
        self.shared.feed.clone()
    }

    /// Looks at the world as it is once everything asked before is durable.
    ///
    /// # Errors
    /// If the runtime has stopped.
    pub async fn world<R: Send + 'static>(
        &self,
        look: impl FnOnce(&WorldState) -> R + Send + 'static,
    ) -> Result<R, RuntimeError> {
        Ok(self.shared.query(look).await?)
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
        let Some(reader) = self.shared.reader.clone() else { return Err(RuntimeError::Feature("vault")) };
        let folded = tokio::task::spawn_blocking(move || fold(reader.as_ref(), range, observer));
        let kernel = folded.await.map_err(|e| RuntimeError::Agent(e.into()))??;
        Ok(digests(kernel.world()))
    }

    /// The configuration.
    pub fn config(&self) -> &RuntimeConfig {
        &self.config
    }

    /// What ended before its time so far: programs of agents that returned an error.
    pub fn problems(&self) -> Vec<String> {
        self.shared.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The time, by the runtime's clock.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Starts the agents. Calls that a crash left without an outcome are dealt with first.
    ///
    /// # Errors
    /// If the kernel refuses an agent, or the log cannot be written.
    pub async fn start(&self) -> Result<(), RuntimeError> {
        let prepared = {
            let mut state = self.state();
            if state.started {
                return Ok(());
            }
            state.started = true;
            std::mem::take(&mut state.prepared)
        };
        for (name, behaviour, terms, prepared) in prepared {
            self.start_agent(name, behaviour, terms, prepared).await?;
        }
        Ok(())
    }

    /// Runs until there is nothing left to do (if it was built to run once), a signal asks for the end, or the log
    /// fails; then stops. A second signal ends the process at once.
    ///
    /// # Errors
    /// As [`Runtime::start`] and [`Runtime::stop`].
    pub async fn run(&self) -> Result<Ended, RuntimeError> {
        let signals = crate::signals::Signals::new().map_err(|e| RuntimeError::Machine("listen for signals", e))?;
        self.run_until(signals).await
    }

    async fn run_until(&self, mut signals: crate::signals::Signals) -> Result<Ended, RuntimeError> {
        let once = self.shared.once.load(Ordering::SeqCst);
        let started = self.start().await;
        let ended = match started {
            Err(error) => Err(error),
            Ok(()) => tokio::select! {
                ended = signals.first() => Ok(ended),
                error = self.failed() => Err(error.into()),
                () = self.idle(), if once => Ok(Ended::Idle),
            },
        };
        signals.abort_on_second();
        let stopped = self.stop().await;
        let ended = ended?;
        stopped?;
        Ok(ended)
    }

    /// Waits until the log has failed.
    async fn failed(&self) -> LogError {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(error) => error.clone().unwrap_or(LogError::Failed("the kernel loop ended".into())),
            Err(_) => LogError::Failed("the kernel loop ended".into()),
        }
    }

    /// Waits until queues are empty, agents are done or wait for a time or a change, and projections are current.
    pub async fn idle(&self) {
        const LOOK: Duration = Duration::from_millis(1);
        let mut quiet = 0;
        // Twice in a row, so that what is between two counts is seen by the second look.
        while quiet < 2 {
            quiet = if self.is_idle() { quiet + 1 } else { 0 };
            tokio::time::sleep(LOOK).await;
        }
    }

    fn is_idle(&self) -> bool {
        let next = self.shared.feed.next_seq();
        let state = self.state();
        self.shared.busy.load(Ordering::SeqCst) == 0
            && state.running.values().all(|agent| agent.is_idle(next))
            && state.followers.iter().all(|follower| follower.has_seen(next))
            && self.shared.feed.next_seq() == next
    }

    /// Stops: agents finish what they are at and are handed what is recorded so far, the queue is drained, the log is
    /// flushed and closed, and projections are saved. Everything is durable when it returns. Stopping twice does
    /// nothing.
    ///
    /// # Errors
    /// If the log failed, or a projection could not be saved.
    pub async fn stop(&self) -> Result<(), RuntimeError> {
        self.shared.stop.send_replace(true);
        self.stopping.store(true, Ordering::SeqCst);
        let (running, kernel, mut followers) = {
            let mut state = self.state();
            state.started = true;
            (std::mem::take(&mut state.running), state.kernel.take(), std::mem::take(&mut state.followers))
        };
        for agent in running.into_values() {
            agent.join().await;
        }
        let Some(kernel) = kernel else { return Ok(()) };
        let (sender, receiver) = oneshot::channel();
        let stop = Command::Stop(Box::new(move |result| {
            let _ = sender.send(result);
        }));
        let closed = match self.shared.commands.send(stop).await {
            Ok(()) => receiver.await.unwrap_or_else(|_| Err(LogError::Failed("the kernel loop ended".into()))),
            Err(_) => Err(self.failure.borrow().clone().unwrap_or(LogError::Failed("the kernel loop ended".into()))),
        };
        let joined = tokio::task::spawn_blocking(move || {
            let kernel = kernel.join();
            let followed: Vec<anyhow::Result<()>> = followers.iter_mut().map(Follower::join).collect();
            (kernel, followed)
        });
        let (kernel, followed) = joined.await.map_err(|e| RuntimeError::Agent(e.into()))?;
        closed?;
        kernel.map_err(|_| LogError::Failed("the kernel loop panicked".into()))?;
        followed.into_iter().collect::<anyhow::Result<()>>().map_err(RuntimeError::Projection)
    }

    fn prepare_configured(&self, behaviours: &Behaviours) -> Result<(), RuntimeError> {
        let circumstances = Circumstances { config: &self.config, protected: &self.protected };
        for agent in &self.config.agents {
            let prepared = behaviours.prepare(agent, &circumstances).map_err(RuntimeError::Agent)?;
            let terms = prepared.terms(agent.grant.as_deref()).map_err(RuntimeError::Agent)?;
            let (name, behaviour) = (Name::new(&agent.name)?, Name::new(&agent.behaviour)?);
            self.state().prepared.push((name, behaviour, terms, prepared));
        }
        Ok(())
    }

    async fn start_agent(&self, name: Name, behaviour: Name, terms: GrantTerms, prepared: Prepared) -> Result<(), RuntimeError> {
        let drivers = drivers_of(&self.shared, self.own_storage(&name));
        let start = Start { shared: Arc::clone(&self.shared), operator: self.operator, name: name.clone(), behaviour, terms, prepared, drivers };
        let running = start.go().await?;
        self.state().running.insert(name, running);
        Ok(())
    }

    /// The storage that belongs to one agent.
    fn own_storage(&self, name: &Name) -> Vec<Arc<dyn Driver>> {
        let local: Arc<dyn toka_toolkit_core::Storage> = match &self.vault {
            Some(vault) => Arc::new(Folder::new(vault.join("local").join(name.as_str()))),
            None => Arc::new(Memory::default()),
        };
        let mut own: Vec<Arc<dyn Driver>> = vec![Arc::new(Named { name: "local", storage: local })];
        if self.shared.reader.is_some() {
            let storage = crate::artifacts::Artifacts::new(Arc::clone(&self.shared), EntityId::named(name.as_str()));
            own.push(Arc::new(Named { name: "vault", storage: Arc::new(storage) }));
        }
        own
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
