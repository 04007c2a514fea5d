//! The agents of a runtime, and its end: who runs, who is started and stopped, what is waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use toka_agents::AgentError;
use toka_kernel::world::AgentState;
use toka_kernel::{Policy, WorldState};
use toka_toolkit_core::{Driver, Storage};
#[cfg(any(feature = "auth", feature = "vault"))]
use toka_types::GrantId;
use toka_types::operation::{Authority, GrantTerms};
use toka_types::{EntityId, Envelope, Event, FlowRule, Name, Operation, Seal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::activity::Busy;
use crate::agents::{GRACE, Running, Start};
use crate::behaviour::{Behaviours, Circumstances, Prepared};
use crate::config::{AgentConfig, RuntimeConfig};
use crate::entry::Tokens;
#[cfg(any(feature = "auth", feature = "vault"))]
use crate::host::AgentHost;
use crate::host::{Shared, drivers_of};
use crate::kernel_loop::{Command, Notice};
use crate::log::LogError;
use crate::projection::Follower;
use crate::runtime::RuntimeError;
use crate::storage::{Folder, Memory, Named, SealedFolder};

/// How often whoever waits for the end of everything looks.
const LOOK: Duration = Duration::from_millis(1);

/// An agent that is to be started.
pub(crate) struct Enlisted {
    pub(crate) name: Name,
    pub(crate) behaviour: Name,
    /// What it is granted; `None` leaves it with what whoever spawned it gave.
    pub(crate) terms: Option<GrantTerms>,
    pub(crate) prepared: Prepared,
}

/// What runs, and what it takes to start and stop it.
pub(crate) struct Crew {
    pub(crate) shared: Arc<Shared>,
    pub(crate) config: RuntimeConfig,
    #[cfg(feature = "vault")]
    pub(crate) keyring: Option<Arc<toka_vault::seal::Keyring>>,
    pub(crate) behaviours: Behaviours,
    pub(crate) operator: Authority,
    pub(crate) vault: Option<PathBuf>,
    pub(crate) protected: Vec<PathBuf>,
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) abandoned: Arc<AtomicBool>,
    pub(crate) state: Mutex<State>,
    /// Held while the runtime is being stopped.
    pub(crate) ending: tokio::sync::Mutex<()>,
    /// What is known of tokens from outside.
    pub(crate) tokens: Tokens,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) started: bool,
    pub(crate) prepared: Vec<Enlisted>,
    /// Names of agents that are on their way from prepared to running.
    pub(crate) starting: BTreeSet<Name>,
    pub(crate) running: BTreeMap<Name, Running>,
    pub(crate) followers: Vec<Follower>,
    pub(crate) kernel: Option<std::thread::JoinHandle<()>>,
    #[cfg(feature = "vault")]
    pub(crate) compactor: Option<crate::compactor::Compactor>,
}

impl Crew {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the kernel for an operation as the operator.
    pub(crate) async fn operate(&self, operation: Operation) -> Result<Vec<Arc<Event>>, AgentError> {
        let (origin, authority) = (EntityId::operator(), self.operator);
        let envelope = Envelope { origin, authority, op_id: None, causes: Vec::new(), operation };
        self.shared.submit(envelope).await?.committed().await
    }

    /// Starts an agent now, or keeps it for [`start`](Self::start).
    pub(crate) async fn register(&self, agent: Enlisted) -> Result<(), RuntimeError> {
        {
            let mut state = self.state();
            let name = &agent.name;
            let taken = state.running.contains_key(name)
                || state.starting.contains(name)
                || state.prepared.iter().any(|other| other.name == *name);
            if taken {
                return Err(RuntimeError::Agent(anyhow::anyhow!(
                    "an agent named '{name}' is registered already"
                )));
            }
            if !state.started {
                state.prepared.push(agent);
                return Ok(());
            }
            state.starting.insert(name.clone());
        }
        self.start_agent(agent).await
    }

    /// Starts the agents that were kept, then those that others of them spawned in an earlier run.
    pub(crate) async fn start(self: &Arc<Self>) -> Result<(), RuntimeError> {
        let prepared = {
            let mut state = self.state();
            if self.shared.is_stopping() {
                return Err(AgentError::Stopped.into());
            }
            if state.started {
                return Ok(());
            }
            state.started = true;
            let prepared = std::mem::take(&mut state.prepared);
            state.starting.extend(prepared.iter().map(|agent| agent.name.clone()));
            prepared
        };
        let (sender, notices) = mpsc::unbounded_channel();
        self.shared.notices.listen(sender);
        tokio::spawn(Arc::clone(self).keep(notices));
        self.set_policy(prepared.iter().flat_map(|agent| agent.prepared.flow.iter().cloned()).collect())
            .await?;
        self.set_limits().await?;
        for agent in prepared {
            self.start_agent(agent).await?;
        }
        let spawned = |world: &WorldState| {
            let all = world.agents().map(|(id, _)| id);
            all.filter(|agent| is_adopted(world, *agent)).collect::<Vec<_>>()
        };
        for child in self.shared.query(spawned).await? {
            self.adopt(child).await;
        }
        Ok(())
    }

    /// Brings the configured rules into the log, where it has others. Without any, those of the log stay. What agents
    /// were configured to do is allowed beside them, unless a rule of the same name says otherwise.
    async fn set_policy(&self, of_agents: Vec<FlowRule>) -> Result<(), RuntimeError> {
        let configured = self.config.policy.rules().to_vec();
        let present = self.shared.query(|world| world.policy().clone()).await?;
        let mut rules = if configured.is_empty() { present.rules().to_vec() } else { configured };
        for rule in of_agents {
            if self.config.policy.rules().iter().all(|other| other.name != rule.name) {
                rules.retain(|other| other.name != rule.name);
                rules.push(rule);
            }
        }
        // More than fit are for the kernel to refuse.
        if Policy::new(rules.iter().cloned()).ok().as_ref() != Some(&present) {
            self.operate(Operation::SetPolicy(rules)).await?;
        }
        Ok(())
    }

    /// Brings the configured bounds into the log, where it has others. Without any, those of the log stay.
    async fn set_limits(&self) -> Result<(), RuntimeError> {
        let Some(limits) = self.config.limits.clone() else { return Ok(()) };
        if self.shared.query(|world| world.limits().clone()).await? != limits {
            self.operate(Operation::LimitLog(limits)).await?;
        }
        Ok(())
    }

    /// Starts and stops the programs of agents that are spawned and stopped while the runtime runs.
    async fn keep(self: Arc<Self>, mut notices: mpsc::UnboundedReceiver<(Notice, Busy)>) {
        loop {
            let (notice, busy) = tokio::select! {
                () = self.shared.stopped() => return,
                notice = notices.recv() => match notice {
                    Some(notice) => notice,
                    None => return,
                },
            };
            match notice {
                Notice::Spawned(agent) => self.adopt(agent).await,
                Notice::Stopped(agent) => self.dismiss(agent).await,
            }
            drop(busy);
        }
    }

    /// Runs the program of an agent that another one spawned, if this runtime has one of that name.
    async fn adopt(&self, agent: EntityId) {
        let look = move |world: &WorldState| {
            let agent = is_adopted(world, agent).then(|| world.agent(agent))??;
            Some((agent.name.clone(), agent.behaviour.clone()))
        };
        let Ok(Some((name, behaviour))) = self.shared.query(look).await else { return };
        {
            let mut state = self.state();
            if state.running.contains_key(&name) || !state.starting.insert(name.clone()) {
                return;
            }
        }
        let config = AgentConfig::new(name.as_str()).behaves_as(behaviour.as_str());
        let circumstances = Circumstances { config: &self.config, protected: &self.protected };
        let started = match self.behaviours.prepare(&config, &circumstances) {
            Ok(prepared) => {
                let agent = Enlisted { name: name.clone(), behaviour, terms: None, prepared };
                self.start_agent(agent).await.map_err(anyhow::Error::from)
            }
            Err(error) => {
                self.state().starting.remove(&name);
                Err(error)
            }
        };
        if let Err(error) = started {
            tracing::error!("agent '{name}' was spawned and does not run: {error:#}");
        }
    }

    /// Ends the program of an agent that was stopped, unless one of its name lives again.
    async fn dismiss(&self, agent: EntityId) {
        let look = move |world: &WorldState| {
            let agent = world.agent(agent).filter(|agent| agent.state == AgentState::Stopped);
            agent.map(|agent| agent.name.clone())
        };
        let Ok(Some(name)) = self.shared.query(look).await else { return };
        let running = self.state().running.remove(&name);
        if let Some(running) = running {
            running.abort().await;
        }
    }

    /// Starts an agent whose name is among those that are starting.
    async fn start_agent(&self, agent: Enlisted) -> Result<(), RuntimeError> {
        /// Takes the name off the list, also if the start is given up half way.
        struct OnTheWay<'a>(&'a Crew, Name);
        impl Drop for OnTheWay<'_> {
            fn drop(&mut self) {
                self.0.state().starting.remove(&self.1);
            }
        }
        let Enlisted { name, behaviour, terms, prepared } = agent;
        let _on_the_way = OnTheWay(self, name.clone());
        let (shared, operator) = (Arc::clone(&self.shared), self.operator);
        let drivers = drivers_of(&self.shared, self.own_storage(&name));
        let start = Start { shared, operator, name: name.clone(), behaviour, terms, prepared, drivers };
        let running = start.go().await?;
        tracing::debug!("agent '{name}' runs");
        let late = {
            let mut state = self.state();
            if self.shared.is_stopping() {
                Some(running)
            } else {
                state.running.insert(name, running);
                None
            }
        };
        match late {
            Some(running) => {
                running.abort().await;
                Err(AgentError::Stopped.into())
            }
            None => Ok(()),
        }
    }

    /// Ends an agent's program and stops it in the world.
    pub(crate) async fn remove(&self, name: Name) -> Result<(), AgentError> {
        let (unstarted, running) = {
            let mut state = self.state();
            let before = state.prepared.len();
            state.prepared.retain(|other| other.name != name);
            (state.prepared.len() < before, state.running.remove(&name))
        };
        if let Some(running) = running {
            running.abort().await;
        }
        let agent = EntityId::named(name.as_str());
        let lives =
            move |world: &WorldState| world.agent(agent).is_some_and(|a| a.state != AgentState::Stopped);
        if unstarted && !self.shared.query(lives).await? {
            return Ok(());
        }
        self.operate(Operation::StopAgent(agent)).await.map(drop)
    }

    /// What a call in the name of an agent stands on: the agent's own host if it runs.
    #[cfg(any(feature = "auth", feature = "vault"))]
    pub(crate) fn host_of(&self, name: &Name, grant: GrantId, is_quarantined: bool) -> Arc<AgentHost> {
        if let Some(running) = self.state().running.get(name) {
            return running.host();
        }
        Arc::new(AgentHost {
            shared: Arc::clone(&self.shared),
            name: name.clone(),
            grant: Arc::new(grant.0.into()),
            root: None,
            place: Path::new("").into(),
            drivers: match is_quarantined {
                true => toka_toolkit_core::DriverRegistry::new(),
                false => drivers_of(&self.shared, self.own_storage(name)),
            },
            keeps_apart: false,
            is_quarantined,
            parked: Arc::default(),
        })
    }

    /// True if nothing is under way, now or since this look began.
    pub(crate) fn is_idle(&self) -> bool {
        let begun = self.shared.activity.begun();
        let next = self.shared.feed.next_seq();
        let state = self.state();
        state.starting.is_empty()
            && self.shared.activity.is_none()
            && state.running.values().all(|agent| agent.is_idle(next))
            && state.followers.iter().all(|follower| follower.has_seen(next))
            && self.shared.feed.next_seq() == next
            && self.shared.activity.is_none()
            && self.shared.activity.begun() == begun
    }

    /// Stops everything; see [`Runtime::stop`](crate::runtime::Runtime::stop).
    pub(crate) async fn stop(self: Arc<Self>) -> Result<(), RuntimeError> {
        let _ending = self.ending.lock().await;
        self.begin_to_stop();
        let (running, kernel, mut followers) = {
            let mut state = self.state();
            state.started = true;
            (std::mem::take(&mut state.running), state.kernel.take(), std::mem::take(&mut state.followers))
        };
        #[cfg(feature = "vault")]
        let compactor = self.state().compactor.take();
        #[cfg(feature = "vault")]
        if let Some(compactor) = compactor {
            // It leaves the segment in hand as it was.
            let _ = tokio::task::spawn_blocking(move || drop(compactor)).await;
        }
        let Some(kernel) = kernel else { return Ok(()) };
        let deadline = Instant::now() + GRACE;
        for agent in running.into_values() {
            agent.join(deadline).await;
        }
        // Calls go on without whoever asked; their outcomes belong into the log.
        while !self.shared.calls.is_none() && !self.shared.commands.is_closed() {
            if Instant::now() >= deadline {
                tracing::warn!("calls did not end within {GRACE:?}; the next start finds out about them");
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let (sender, receiver) = oneshot::channel();
        let stop = Command::Stop(Box::new(move |result| {
            let _ = sender.send(result);
        }));
        let ended = || LogError::Failed("the kernel loop ended".into());
        let closed = match self.shared.commands.send(stop).await {
            Ok(()) => receiver.await.unwrap_or_else(|_| Err(ended())),
            Err(_) => Err(ended()),
        };
        let joined = tokio::task::spawn_blocking(move || {
            let kernel = kernel.join();
            let followed: Vec<anyhow::Result<()>> = followers.iter_mut().map(Follower::join).collect();
            (kernel, followed)
        });
        let (kernel, followed) = joined.await.map_err(|e| RuntimeError::Agent(e.into()))?;
        // Why the log failed is said once the loop has ended.
        let failure = self.shared.failure.borrow().clone();
        closed.map_err(|error| failure.unwrap_or(error))?;
        kernel.map_err(|_| LogError::Failed("the kernel loop panicked".into()))?;
        followed.into_iter().collect::<anyhow::Result<()>>().map_err(RuntimeError::Projection)
    }

    /// Ends everything without handing out what is left: what is durable stays, and the log is closed when this
    /// returns.
    pub(crate) fn abandon(&self) {
        let (running, kernel, mut followers) = {
            let mut state = self.state();
            (std::mem::take(&mut state.running), state.kernel.take(), std::mem::take(&mut state.followers))
        };
        let Some(kernel) = kernel else { return };
        self.begin_to_stop();
        #[cfg(feature = "vault")]
        drop(self.state().compactor.take());
        drop(running);
        self.abandoned.store(true, Ordering::SeqCst);
        // If the queue is full the loop is at work, and sees that it is abandoned with the batch in hand.
        let _ = self.shared.commands.try_send(Command::Stop(Box::new(|_| {})));
        let _ = kernel.join();
        for follower in &mut followers {
            // A projection that is not saved is caught up by the next start.
            let _ = follower.join();
        }
    }

    fn begin_to_stop(&self) {
        self.shared.stop.send_replace(true);
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Removes what indexers keep of the files they know: it can be had again from what is left in the log.
    #[cfg(all(feature = "vault", feature = "indexer"))]
    pub(crate) async fn forget_indexes(&self) -> Result<(), RuntimeError> {
        let (Some(vault), Some(keyring)) = (&self.vault, &self.keyring) else { return Ok(()) };
        let names =
            |world: &WorldState| world.agents().map(|(_, agent)| agent.name.clone()).collect::<Vec<_>>();
        for name in self.shared.query(names).await? {
            let subject = toka_types::Subject::Author(EntityId::named(name.as_str()));
            // An agent without keys has kept nothing that can be read.
            if keyring.key_of(&subject).is_some() {
                let folder = local_storage(vault, &name, self.shared.edge.seal());
                let removed = folder.delete(toka_agents::indexer::SAVED_KEY);
                removed.map_err(|error| RuntimeError::Agent(error.into()))?;
            }
        }
        Ok(())
    }

    /// The storage that belongs to one agent.
    fn own_storage(&self, name: &Name) -> Vec<Arc<dyn Driver>> {
        let local: Arc<dyn Storage> = match &self.vault {
            Some(vault) => local_storage(vault, name, self.shared.edge.seal()),
            None => Arc::new(Memory::default()),
        };
        let mut own: Vec<Arc<dyn Driver>> = vec![Arc::new(Named { name: "local", storage: local })];
        if self.shared.reader.is_some() {
            let agent = EntityId::named(name.as_str());
            let storage = crate::artifacts::Artifacts::new(Arc::clone(&self.shared), agent);
            own.push(Arc::new(Named { name: "vault", storage: Arc::new(storage) }));
        }
        own
    }
}

/// True for an agent that lives and that nobody registers: one that another agent spawned, or that is to answer the
/// operator.
fn is_adopted(world: &WorldState, agent: EntityId) -> bool {
    let of_another = |parent: EntityId| parent != EntityId::operator() || world.quarantine(agent).is_some();
    world.agent(agent).is_some_and(|agent| agent.state != AgentState::Stopped && of_another(agent.parent))
}

/// The storage `local` of an agent in a vault; sealed if the vault is.
pub(crate) fn local_storage(vault: &Path, name: &Name, seal: Option<&Arc<dyn Seal>>) -> Arc<dyn Storage> {
    let folder = Folder::new(vault.to_owned(), &Path::new("local").join(folder_of(name)));
    match seal {
        Some(seal) => Arc::new(SealedFolder::new(folder, Arc::clone(seal), EntityId::named(name.as_str()))),
        None => Arc::new(folder),
    }
}

/// The name of an agent's folder: one component beneath the vault's, whatever the agent is called. `%` is in no
/// agent's name.
fn folder_of(name: &Name) -> String {
    match name.as_str() {
        dots @ ("." | "..") => dots.replace('.', "%2E"),
        text => text.replace('/', "%2F"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_folder_is_one_component() {
        let cases = [
            ("a.b", "a.b"),
            ("..", "%2E%2E"),
            (".", "%2E"),
            ("../x", "..%2Fx"),
            ("/etc", "%2Fetc"),
            ("a/b", "a%2Fb"),
        ];
        for (name, folder) in cases {
            let name = Name::new(name).expect("a name");
            assert_eq!(folder_of(&name), folder);
        }
    }
}
