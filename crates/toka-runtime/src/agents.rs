//! Agents at work: each has a task that hands it events, and one for what it does of its own accord.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use toka_agents::context::Caller;
use toka_agents::{AgentContext, AgentError, BoxFuture, DynAgent, Event, EventKind, Host};
use toka_bus::{Filter, RecvError, Subscription};
use toka_kernel::world::AgentState;
use toka_toolkit_core::DriverRegistry;
use toka_types::operation::{Authority, GrantTerms};
use toka_types::{EntityId, Envelope, Name, Operation, Timestamp};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::activity::{Busy, Watched};
use crate::behaviour::Prepared;
use crate::host::{AgentHost, Shared};

/// Events dealt with between two recorded turns at most: so many are handed out again after a crash.
const TURN: u64 = 256;
/// Positions an agent may fall behind in its record without having dealt with anything: past it a start would
/// search too much of the log for nothing.
const FAR: u64 = 65_536;
/// How long after it has dealt with an event an agent's turn is recorded at the latest.
const TURN_TIME: Duration = Duration::from_millis(500);
/// How long stopping agents and their calls may go on with what they are at, all together.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// Everything that starting an agent takes.
pub(crate) struct Start {
    pub(crate) shared: Arc<Shared>,
    pub(crate) operator: Authority,
    pub(crate) name: Name,
    pub(crate) behaviour: Name,
    /// What it is granted; `None` leaves it with what whoever spawned it gave.
    pub(crate) terms: Option<GrantTerms>,
    pub(crate) prepared: Prepared,
    pub(crate) drivers: DriverRegistry,
}

/// An agent that runs.
pub(crate) struct Running {
    host: Arc<AgentHost>,
    program: AbortOnDrop,
    deliveries: Option<AbortOnDrop>,
    done: Arc<AtomicBool>,
    position: Arc<AtomicU64>,
}

/// A task that ends with whoever waits for it.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Running {
    /// True if it has seen everything before `next` and its program is done or waits for a time or the end. Whether
    /// it is being polled, or is about to be, is counted as [`Activity`](crate::activity::Activity).
    pub(crate) fn is_idle(&self, next: u64) -> bool {
        let waits = self.done.load(Ordering::SeqCst) || self.host.parked.load(Ordering::SeqCst) > 0;
        waits && self.position.load(Ordering::SeqCst) >= next
    }

    #[cfg(any(feature = "auth", feature = "vault"))]
    pub(crate) fn host(&self) -> Arc<AgentHost> {
        Arc::clone(&self.host)
    }

    /// Waits for the end of a stopping agent; one that does not end in time is dropped.
    pub(crate) async fn join(mut self, deadline: Instant) {
        let name = &self.host.name;
        if tokio::time::timeout_at(deadline, &mut self.program.0).await.is_err() {
            tracing::warn!("agent '{name}' did not end within {GRACE:?} and is dropped");
        }
        if let Some(deliveries) = &mut self.deliveries
            && tokio::time::timeout_at(deadline, &mut deliveries.0).await.is_err()
        {
            tracing::warn!(
                "agent '{name}' did not finish its event within {GRACE:?}; it is handed out again at the next start"
            );
        }
    }

    /// Ends it now, whatever it is at, and waits until it has ended.
    pub(crate) async fn abort(mut self) {
        self.program.0.abort();
        let _ = (&mut self.program.0).await;
        if let Some(deliveries) = &mut self.deliveries {
            deliveries.0.abort();
            let _ = (&mut deliveries.0).await;
        }
    }
}

impl Start {
    /// Gives the agent its place and its grant in the world, and sets it to work.
    pub(crate) async fn go(self) -> Result<Running, AgentError> {
        let id = EntityId::named(self.name.as_str());
        let grant = Arc::new(AtomicU64::new(0));
        self.shared.notices.keep_grant(id, Arc::clone(&grant));
        if let Some(terms) = &self.terms {
            self.settle(terms).await?;
        }
        // The number is set where the world is seen, so that one issued later is not overwritten.
        let handle = Arc::clone(&grant);
        let look = move |world: &toka_kernel::WorldState| {
            let agent = world.agent(id)?;
            handle.store(agent.grant.0, Ordering::SeqCst);
            Some((agent.upto, world.quarantine(id).is_some()))
        };
        let known = self.shared.query(look).await?;
        let (upto, is_quarantined) =
            known.ok_or_else(|| AgentError::Log(format!("agent '{}' is not in the world", self.name)))?;
        let Self { shared, name, prepared, drivers, .. } = self;
        let host = Arc::new(AgentHost {
            shared: Arc::clone(&shared),
            name: name.clone(),
            grant,
            place: place_of(prepared.root.as_deref()).into(),
            root: prepared.root.map(Into::into),
            drivers: if is_quarantined { DriverRegistry::new() } else { drivers },
            keeps_apart: prepared.keeps_apart && !is_quarantined,
            is_quarantined,
            parked: Arc::new(AtomicUsize::new(0)),
        });
        recover(&host).await?;
        let caller = Caller { agent: id, name, causes: Vec::new() };
        let context = AgentContext::new(Arc::<AgentHost>::clone(&host), caller.clone());
        let interest = prepared.agent.interest();
        let position = Arc::new(AtomicU64::new(if interest.is_empty() { u64::MAX } else { upto }));
        let deliveries = (!interest.is_empty()).then(|| {
            let deliveries = Deliveries {
                shared: Arc::clone(&shared),
                agent: Arc::clone(&prepared.agent),
                me: id,
                interest,
                events: shared.feed.subscribe_from(upto, Filter::all()),
                position: Arc::clone(&position),
                host: Arc::<AgentHost>::clone(&host),
                caller,
                recorded: upto,
                handled: 0,
                due: None,
            };
            spawn_watched(&shared, deliveries.run())
        });
        let done = Arc::new(AtomicBool::new(false));
        let program =
            spawn_watched(&shared, program(prepared.agent, context, Arc::clone(&shared), Arc::clone(&done)));
        Ok(Running { host, program, deliveries, done, position })
    }

    /// Spawns the agent, or brings what the world has of it in line with the configuration.
    async fn settle(&self, terms: &GrantTerms) -> Result<(), AgentError> {
        let id = EntityId::named(self.name.as_str());
        let (behaviour, wanted) = (self.behaviour.clone(), terms.clone());
        let there = self.shared.query(move |world| {
            let agent = world.agent(id).filter(|agent| agent.state != AgentState::Stopped)?;
            let grant = world.grant(agent.grant)?;
            let same_grant = !grant.revoked
                && grant.uses.iter().eq(wanted.uses.iter())
                && grant.delegates.iter().eq(wanted.delegates.iter())
                && grant.expires == wanted.expires;
            Some((agent.behaviour == behaviour, same_grant))
        });
        let (name, behaviour, grant) = (self.name.clone(), self.behaviour.clone(), terms.clone());
        let spawn = Operation::SpawnAgent { name, behaviour, grant, budget: None, quarantine: None };
        match there.await? {
            Some((true, true)) => Ok(()),
            Some((true, false)) => self.ask(Operation::IssueGrant { agent: id, grant: terms.clone() }).await,
            Some((false, _)) => {
                self.ask(Operation::StopAgent(id)).await?;
                self.ask(spawn).await
            }
            None => self.ask(spawn).await,
        }
    }

    async fn ask(&self, operation: Operation) -> Result<(), AgentError> {
        let (origin, authority) = (EntityId::operator(), self.operator);
        let envelope = Envelope { origin, authority, op_id: None, causes: Vec::new(), operation };
        self.shared.submit(envelope).await?.committed().await.map(drop)
    }
}

/// The folder, whatever links lead there.
fn place_of(root: Option<&Path>) -> PathBuf {
    let place = root.map(|root| std::fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf()));
    place.unwrap_or_default()
}

/// Deals with the calls of an agent that a crash left without an outcome.
async fn recover(host: &AgentHost) -> Result<(), AgentError> {
    let me = host.agent();
    let pending = host.shared.query(move |world| {
        let mine = world.effects().filter(|(_, effect)| effect.agent == me);
        mine.map(|(id, effect)| (id, effect.clone())).collect::<Vec<_>>()
    });
    for (request, effect) in pending.await? {
        crate::effects::recover(host, request, &effect).await?;
    }
    Ok(())
}

/// Runs a task that counts as under way while it has something to do.
fn spawn_watched(shared: &Arc<Shared>, task: impl Future<Output = ()> + Send + 'static) -> AbortOnDrop {
    let watched = Watched::new(&shared.activity, task);
    AbortOnDrop(tokio::spawn(async move {
        if let Err(panic) = watched.await {
            tracing::error!("a task of an agent ended: {panic}");
        }
    }))
}

async fn program(
    agent: Arc<dyn DynAgent>,
    context: AgentContext,
    shared: Arc<Shared>,
    done: Arc<AtomicBool>,
) {
    let name = context.name().clone();
    let problem = match Watched::new(&shared.activity, agent.run(context)).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")).filter(|_| !shared.is_stopping()),
        Err(panic) => Some(panic),
    };
    if let Some(problem) = problem {
        tracing::error!("agent '{name}' ended: {problem}");
        let mut problems = shared.problems.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        problems.push(format!("agent '{name}' ended: {problem}"));
    }
    done.store(true, Ordering::SeqCst);
}

struct Deliveries {
    shared: Arc<Shared>,
    agent: Arc<dyn DynAgent>,
    me: EntityId,
    interest: Vec<EventKind>,
    events: Subscription,
    position: Arc<AtomicU64>,
    host: Arc<dyn Host>,
    caller: Caller,
    recorded: u64,
    handled: u64,
    /// When the turn is to be recorded, if there is anything to record.
    due: Option<Timestamp>,
}

impl Deliveries {
    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            if self.due.is_none() && (self.handled > 0 || self.events.position() > self.recorded + FAR) {
                self.due = Some(shared.clock.now().saturating_add(TURN_TIME));
            }
            if self.due.is_some_and(|due| due <= shared.clock.now()) {
                self.end_turn().await;
            }
            let due: BoxFuture<'_, ()> = match self.due {
                Some(due) => shared.clock.sleep_until(due),
                None => Box::pin(std::future::pending()),
            };
            tokio::select! {
                biased;
                () = shared.stopped() => break,
                received = self.events.recv() => {
                    if !self.take(received).await {
                        return;
                    }
                }
                () = due => self.end_turn().await,
            }
        }
        // What was recorded before the stop is still dealt with; what that causes is for the next start.
        let end = self.shared.feed.next_seq();
        while self.events.position() < end {
            match self.events.try_recv() {
                Ok(Some(event)) => self.deal_with(event).await,
                Err(RecvError::Lagged(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        if self.handled > 0 {
            self.end_turn().await;
        }
    }

    async fn take(&mut self, received: Result<Arc<toka_types::Event>, RecvError>) -> bool {
        match received {
            Ok(event) => self.deal_with(event).await,
            Err(RecvError::Closed) => return false,
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(
                    "agent '{}' missed {missed} events: there is no vault to read them from",
                    self.caller.name
                );
                self.position.store(self.events.position(), Ordering::SeqCst);
            }
            Err(error) => {
                let problem = format!("agent '{}' is handed no more events: {error}", self.caller.name);
                tracing::error!("{problem}");
                self.shared.problems.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(problem);
                // Nobody waits for it any more.
                self.position.store(u64::MAX, Ordering::SeqCst);
                return false;
            }
        }
        if self.handled >= TURN {
            self.end_turn().await;
        }
        true
    }

    async fn deal_with(&mut self, event: Arc<toka_types::Event>) {
        let wanted =
            event.header.author != self.me && self.interest.iter().any(|kind| kind.wants(self.me, &event));
        if wanted {
            let _busy = Busy::new(&self.shared.activity);
            let event = Event::from(self.shared.edge.opened(event));
            // What was delivered before is not delivered with this one.
            let caller = Caller { causes: vec![event.cause()], ..self.caller.clone() };
            let context = AgentContext::new(Arc::clone(&self.host), caller);
            let (kind, id) = (event.kind.clone(), event.id.short());
            // A panic in an agent is that agent's; the next event is handed out all the same.
            let dealt = Watched::new(&self.shared.activity, self.agent.handle_with(event, context)).await;
            match dealt {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!("agent '{}' on {kind} {id}: {error:#}", self.caller.name)
                }
                Err(panic) => tracing::error!("agent '{}' on {kind} {id}: {panic}", self.caller.name),
            }
            self.handled += 1;
        }
        self.position.store(self.events.position(), Ordering::SeqCst);
    }

    async fn end_turn(&mut self) {
        self.due = None;
        let upto = self.events.position();
        let (origin, authority) = (self.me, Authority::Host);
        let envelope = Envelope {
            origin,
            authority,
            op_id: None,
            causes: Vec::new(),
            operation: Operation::EndTurn { upto },
        };
        let recorded = match self.shared.submit(envelope).await {
            Ok(receipt) => receipt.committed().await.map(drop),
            Err(error) => Err(error),
        };
        match recorded {
            Ok(()) => (self.recorded, self.handled) = (upto, 0),
            // The next start hands out again what this turn dealt with.
            Err(AgentError::Stopped | AgentError::Log(_)) => {}
            Err(error) => {
                tracing::warn!("the turn of agent '{}' was not recorded: {error}", self.caller.name)
            }
        }
    }
}
