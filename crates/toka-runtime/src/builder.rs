//! Building a runtime: the log is opened and folded, and the kernel loop started.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use toka_agents::AgentError;
use toka_bus::Feed;
use toka_kernel::opcode::OpcodeHandler;
use toka_kernel::{Kernel, WorldState};
use toka_toolkit_core::ToolRegistry;
use toka_types::operation::Authority;
use toka_types::{Capability, EntityId, Envelope, GrantId, Name, Operation};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::activity::Activity;
use crate::approvals::WhenAsked;
use crate::behaviour::{Behaviours, Circumstances, Prepared};
use crate::clock::{Clock, SystemClock, Trusted};
use crate::config::RuntimeConfig;
use crate::crew::{Crew, Enlisted, State};
use crate::host::{MAX_WAITING_KIB, Shared};
use crate::kernel_loop::{KernelLoop, Notices, WhenFull};
use crate::log::{LogRead, LogWrite, Unkept};
use crate::manifests::Manifests;
use crate::plans::CloseLook;
use crate::projection::{Follower, LogView, Opener, Projection};
use crate::runtime::{Runtime, RuntimeError};
use crate::sealing::Edge;

/// Builds a runtime from a configuration and the parts that a program adds to it.
pub struct Builder {
    config: RuntimeConfig,
    behaviours: Behaviours,
    projections: Vec<Opener>,
    opcodes: Vec<(Name, Arc<dyn OpcodeHandler>)>,
    clock: Arc<dyn Clock>,
    protected: Vec<PathBuf>,
    when_full: WhenFull,
    once: bool,
    when_asked: Option<WhenAsked>,
    #[cfg(feature = "auth")]
    tokens: Option<Arc<dyn toka_auth::TokenScheme>>,
    #[cfg(feature = "vault")]
    store: Option<Arc<dyn toka_vault::Store>>,
    #[cfg(feature = "vault")]
    snapshots: Option<toka_vault::snapshot::Snapshots>,
    #[cfg(feature = "vault")]
    key: Option<toka_vault::seal::Key>,
    #[cfg(feature = "vault")]
    keyring: Option<Arc<toka_vault::seal::Keyring>>,
}

impl Builder {
    pub(crate) fn new(config: RuntimeConfig) -> Self {
        Self {
            config,
            behaviours: Behaviours::default(),
            projections: Vec::new(),
            opcodes: Vec::new(),
            clock: Arc::new(SystemClock),
            protected: Vec::new(),
            when_full: WhenFull::Wait,
            once: false,
            when_asked: None,
            #[cfg(feature = "auth")]
            tokens: None,
            #[cfg(feature = "vault")]
            store: None,
            #[cfg(feature = "vault")]
            snapshots: None,
            #[cfg(feature = "vault")]
            key: None,
            #[cfg(feature = "vault")]
            keyring: None,
        }
    }

    /// Adds a behaviour that the configuration's agents can name.
    #[must_use]
    pub fn behaviour(
        mut self,
        name: &str,
        factory: impl Fn(&crate::config::AgentConfig, &Circumstances<'_>) -> anyhow::Result<Prepared>
        + Send
        + Sync
        + 'static,
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

    /// Lets `handler` decide the operations of `opcode`.
    #[must_use]
    pub fn opcode(mut self, opcode: Name, handler: Arc<dyn OpcodeHandler>) -> Self {
        self.opcodes.push((opcode, handler));
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

    /// Says what a call does that a person has to allow, whatever the configuration says. Where neither says anything, it
    /// waits, or fails if the runtime runs once.
    #[must_use]
    pub fn when_asked(mut self, when_asked: WhenAsked) -> Self {
        self.when_asked = Some(when_asked);
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

    /// Keeps snapshots of the world here, so that the next start need not fold the whole log. Their key must be out of
    /// reach for whoever can write to the vault: a world that was made up would grant anything. Without this the log is
    /// folded at every start.
    #[cfg(feature = "vault")]
    #[must_use]
    pub fn snapshots(mut self, snapshots: toka_vault::snapshot::Snapshots) -> Self {
        self.snapshots = Some(snapshots);
        self
    }

    /// Opens a sealed vault with this key. Without it such a vault is refused.
    #[cfg(feature = "vault")]
    #[must_use]
    pub fn key(mut self, key: toka_vault::seal::Key) -> Self {
        self.key = Some(key);
        self
    }

    /// Seals what is recorded in the [`store`](Self::store) with these keys.
    #[cfg(feature = "vault")]
    #[must_use]
    pub fn keyring(mut self, keyring: Arc<toka_vault::seal::Keyring>) -> Self {
        self.keyring = Some(keyring);
        self
    }

    /// Issues and accepts the tokens of this scheme; without one, none is.
    #[cfg(feature = "auth")]
    #[must_use]
    pub fn token_scheme(mut self, scheme: Arc<dyn toka_auth::TokenScheme>) -> Self {
        self.tokens = Some(scheme);
        self
    }

    /// Opens the log, folds it into the world, and starts the kernel loop. Agents start with [`Runtime::start`].
    ///
    /// # Errors
    /// If the configuration, the log or an agent is not sound; nothing is running then, and nothing was recorded for
    /// an agent that is not.
    pub async fn build(self) -> Result<Runtime, RuntimeError> {
        let vault = self.config.vault.as_ref().and_then(|vault| vault.path.clone());
        let opened = tokio::task::spawn_blocking(move || self.open());
        let (builder, opened) = opened.await.map_err(|e| RuntimeError::Agent(e.into()))??;
        builder.launch(opened, vault).await
    }

    #[cfg(feature = "vault")]
    fn open(mut self) -> Result<(Self, Opened), RuntimeError> {
        use toka_types::Seal;
        use toka_vault::{Engine, LogHistory, LogId, LogWriter, Store, seal};

        use crate::config::VaultConfig;
        use crate::log::fold;
        let mut compactable = None;
        let path = match &self.config.vault {
            // Agents would work, and nothing of it would last.
            Some(VaultConfig { path: None, .. }) if self.store.is_none() => {
                return Err(RuntimeError::NoVaultPath);
            }
            vault => vault.as_ref().and_then(|vault| vault.path.as_deref()),
        };
        let store: Option<Arc<dyn Store>> = match (self.store.take(), path) {
            (Some(store), _) => Some(store),
            (None, Some(path)) => {
                let engine = Engine::of(path)?.unwrap_or_default();
                let (store, recovery): (Arc<dyn Store>, _) =
                    if self.key.is_none() && engine != Engine::Journal {
                        toka_vault::open(path)?
                    } else {
                        let (journal, recovery) = match self.key.take() {
                            Some(key) => {
                                let (journal, recovery, keyring) = seal::open_vault(path, &key)?;
                                self.keyring = Some(Arc::new(keyring));
                                (journal, recovery)
                            }
                            None => open_plain(path)?,
                        };
                        let journal = Arc::new(journal);
                        compactable = Some(Arc::clone(&journal));
                        (journal, recovery)
                    };
                if let Some(torn) = &recovery.torn {
                    let file = torn.file.display();
                    tracing::warn!(
                        "{file} ended in a batch that was never acknowledged; it is cut at byte {}: {}",
                        torn.offset,
                        torn.detail
                    );
                }
                for (file, problem) in &recovery.rebuilt {
                    tracing::warn!("index {} was made anew: {problem}", file.display());
                }
                Some(store)
            }
            (None, None) => None,
        };
        let buffer = self.config.event_bus.buffer_size;
        let Some(store) = store else { return Ok((self, Opened::unkept(buffer))) };
        let log = LogId::main();
        let sealing = self.keyring.clone().map(|keyring| keyring as Arc<dyn Seal>);
        let edge = Edge::new(sealing.clone());
        let reader = Arc::new(crate::vault_log::VaultReader {
            store: Arc::clone(&store),
            log: log.clone(),
            edge: edge.clone(),
        });
        let (mut kernel, erased) = match self.snapshots.take() {
            None => {
                let mut erased = Vec::new();
                let kernel = fold::<RuntimeError>(reader.as_ref(), u64::MAX, |header, _| {
                    erased.extend(seal::erased_by(header));
                })?;
                (kernel, erased)
            }
            Some(snapshots) => {
                let (kernel, erased, follower) =
                    crate::world_snapshot::resume(snapshots, self.keyring.clone(), &store, &log)?;
                self.projections.push(Box::new(move |_| Box::new(follower)));
                (kernel, erased)
            }
        };
        if let Some(keyring) = &self.keyring {
            destroy_again(keyring, &erased)?;
        }
        if let Some(sealing) = sealing {
            kernel.seal_with(sealing);
        }
        tracing::debug!(events = kernel.world().next_seq(), "the log is read");
        let writer = LogWriter::open(Arc::clone(&store), log.clone())?;
        let history = Arc::new(LogHistory::new(store, log));
        let feed = Feed::with_history(kernel.world().next_seq(), buffer, history);
        let log = Box::new(crate::vault_log::VaultLog { writer });
        Ok((self, Opened { kernel, log, reader: Some(reader), feed, edge, journal: compactable }))
    }

    #[cfg(not(feature = "vault"))]
    fn open(self) -> Result<(Self, Opened), RuntimeError> {
        let buffer = self.config.event_bus.buffer_size;
        Ok((self, Opened::unkept(buffer)))
    }

    async fn launch(self, opened: Opened, vault: Option<PathBuf>) -> Result<Runtime, RuntimeError> {
        #[cfg(feature = "vault")]
        let journal = opened.journal.clone();
        let Opened { mut kernel, log, reader, feed, edge, .. } = opened;
        for (opcode, handler) in self.opcodes {
            kernel.register(opcode, handler);
        }
        let (commands, queue) =
            mpsc::channel(self.config.event_bus.buffer_size.clamp(1, Semaphore::MAX_PERMITS));
        let (stopping, abandoned) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (failure, failed) = watch::channel(None);
        let activity = Arc::new(Activity::default());
        let notices = Arc::new(Notices::new(Arc::clone(&activity), CloseLook::of(kernel.world())));
        let clock = Arc::new(Trusted::new(self.clock, kernel.world()));
        let shared = Arc::new(Shared {
            commands,
            room: Arc::new(Semaphore::new(MAX_WAITING_KIB)),
            feed: feed.handle(),
            reader: reader.clone(),
            tools: ToolRegistry::new(),
            manifests: Manifests::of(kernel.world()),
            drivers: Mutex::new(Vec::new()),
            clock: Arc::clone(&clock),
            stop: watch::channel(false).0,
            once: AtomicBool::new(self.once),
            when_asked: self.when_asked.or(self.config.approvals.when_asked).unwrap_or(match self.once {
                true => WhenAsked::Fail,
                false => WhenAsked::Wait,
            }),
            asking_ends: self.config.approvals.time_limit,
            activity,
            calls: Arc::new(Activity::default()),
            pending: Mutex::default(),
            problems: Mutex::new(Vec::new()),
            notices: Arc::clone(&notices),
            failure: failed,
            edge: edge.clone(),
            throttle: Arc::default(),
        });
        let secrets = self.config.secret_store.clone();
        let protected: Vec<PathBuf> = vault.iter().cloned().chain(self.protected).chain([secrets]).collect();
        register_standard_tools(&shared.tools, &protected)?;
        // What cannot be prepared is found before anything is written.
        let enlisted = enlist(&self.config, &self.behaviours, &protected)?;
        let mut followers = Vec::new();
        let dropped = Arc::new(AtomicU64::new(0));
        let drops = !self.once && self.config.vault.as_ref().is_some_and(|vault| !vault.retain.is_empty());
        let view = LogView {
            reader: reader.clone(),
            #[cfg(feature = "vault")]
            key: self.keyring.as_ref().map(|keyring| keyring.projection_key()),
        };
        for open in self.projections {
            let dropped = drops.then(|| Arc::clone(&dropped));
            let follower = Follower::start(open(&view), &shared.feed, dropped, edge.clone());
            followers.push(follower.map_err(|e| RuntimeError::Machine("start a thread", e))?);
        }
        let first = kernel.world().operator_grant();
        let kernel_loop = KernelLoop {
            kernel,
            log,
            reader,
            feed,
            clock,
            when_full: self.when_full,
            stopping: Arc::clone(&stopping),
            abandoned: Arc::clone(&abandoned),
            failure,
            notices,
            unanswered: Vec::new(),
        };
        let thread =
            std::thread::Builder::new().name("toka-kernel".into()).spawn(move || kernel_loop.run(queue));
        let thread = thread.map_err(|e| RuntimeError::Machine("start a thread", e))?;
        let grant = match first {
            Some(grant) => grant,
            None => match open_log(&shared).await {
                Ok(grant) => grant,
                Err(error) => {
                    // The loop ends with the last handle to its queue, and the vault is free when this returns.
                    let failure = shared.failure.clone();
                    drop(shared);
                    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
                    // Why the log could not be written says more than that nobody answered.
                    let failure = failure.borrow().clone();
                    return Err(failure.map_or(error, RuntimeError::Log));
                }
            },
        };
        shared.manifests.opened(grant);
        let state = State { prepared: enlisted, followers, kernel: Some(thread), ..State::default() };
        #[cfg(feature = "vault")]
        let mut state = state;
        // A run that ends by itself leaves it to the next one that does not, or to whoever asks for it.
        #[cfg(feature = "vault")]
        if let (Some(journal), Some(config), false) = (journal, &self.config.vault, self.once) {
            let begun = crate::compactor::Compactor::start(journal, config, &shared, &stopping, &dropped);
            state.compactor = begun.map_err(|e| RuntimeError::Machine("start a thread", e))?;
        }
        Ok(Runtime {
            crew: Arc::new(Crew {
                shared,
                config: self.config,
                #[cfg(feature = "vault")]
                keyring: self.keyring,
                behaviours: self.behaviours,
                operator: Authority::Grant(grant),
                vault,
                protected,
                stopping,
                abandoned,
                state: Mutex::new(state),
                ending: tokio::sync::Mutex::new(()),
                tokens: crate::entry::Tokens::new(
                    #[cfg(feature = "auth")]
                    self.tokens,
                ),
            }),
        })
    }
}

/// The agents of the configuration, ready to be started.
fn enlist(
    config: &RuntimeConfig,
    behaviours: &Behaviours,
    protected: &[PathBuf],
) -> Result<Vec<Enlisted>, RuntimeError> {
    let circumstances = Circumstances { config, protected };
    let enlist = |agent: &crate::config::AgentConfig| {
        let prepared: Prepared = behaviours.prepare(agent, &circumstances).map_err(RuntimeError::Agent)?;
        let terms = prepared.terms(agent.grant.as_deref()).map_err(RuntimeError::Agent)?;
        let (name, behaviour) = (Name::new(&agent.name)?, Name::new(&agent.behaviour)?);
        Ok(Enlisted { name, behaviour, terms: Some(terms), prepared })
    };
    config.agents.iter().map(enlist).collect()
}

/// A log that was opened and folded.
struct Opened {
    kernel: Kernel,
    log: Box<dyn LogWrite>,
    reader: Option<Arc<dyn LogRead>>,
    feed: Feed,
    edge: Edge,
    /// The journal of the configured vault, to compact it.
    #[cfg(feature = "vault")]
    journal: Option<Arc<toka_vault::Journal>>,
}

/// Opens a vault that is not sealed; one that is is refused before anything in it is touched.
#[cfg(feature = "vault")]
fn open_plain(
    path: &std::path::Path,
) -> Result<(toka_vault::Journal, toka_vault::journal::RecoveryReport), RuntimeError> {
    use toka_vault::seal::KeysInfo;
    use toka_vault::{Journal, Store, StoreError};
    let sealed = || StoreError::Sealed { path: path.to_owned() };
    if KeysInfo::read(path).map_err(StoreError::from)?.is_some() {
        return Err(sealed().into());
    }
    let (journal, recovery) = Journal::open(path)?;
    if journal.sealed()?.is_some() {
        return Err(sealed().into());
    }
    Ok((journal, recovery))
}

/// Destroys keys that the log says were destroyed and that are there again: a copy of the keys was restored that is older
/// than the erasure, or the process died between the two.
#[cfg(feature = "vault")]
fn destroy_again(
    keyring: &toka_vault::seal::Keyring,
    erased: &[toka_types::KeyId],
) -> Result<(), RuntimeError> {
    // Those that never were in such a copy are told to it too: they are erased, and not missing.
    let count = keyring.destroy(erased).map_err(toka_vault::StoreError::from)?;
    if count > 0 {
        tracing::warn!("{count} subjects were erased that had come back with an older copy of the keys");
    }
    Ok(())
}

impl Opened {
    fn unkept(buffer: usize) -> Self {
        Self {
            kernel: Kernel::new(),
            log: Box::new(Unkept),
            reader: None,
            feed: Feed::new(0, buffer),
            edge: Edge::default(),
            #[cfg(feature = "vault")]
            journal: None,
        }
    }
}

#[cfg(feature = "toolkit")]
fn register_standard_tools(registry: &ToolRegistry, protected: &[PathBuf]) -> Result<(), RuntimeError> {
    let existing = protected.iter().filter(|path| path.exists());
    let protected = toka_tools::Protected::new(existing)
        .map_err(|e| RuntimeError::Machine("look at a protected folder", e))?;
    toka_tools::register(registry, &protected).map_err(|e| RuntimeError::Agent(e.into()))
}

#[cfg(not(feature = "toolkit"))]
fn register_standard_tools(_: &ToolRegistry, _: &[PathBuf]) -> Result<(), RuntimeError> {
    Ok(())
}

/// Begins the log; the operator may do everything.
async fn open_log(shared: &Shared) -> Result<GrantId, RuntimeError> {
    let operation = Operation::OpenLog { capabilities: vec![Capability::all()] };
    let origin = EntityId::operator();
    let envelope =
        Envelope { origin, authority: Authority::Host, op_id: None, causes: Vec::new(), operation };
    shared.submit(envelope).await?.committed().await?;
    let grant = shared.query(WorldState::operator_grant).await?;
    grant.ok_or_else(|| AgentError::Log("the log did not open".into()).into())
}
