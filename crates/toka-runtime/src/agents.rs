//! Agents at work: each has a task that hands it events, and one for what it does of its own accord.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use toka_agents::context::Caller;
use toka_agents::{AgentContext, AgentError, DynAgent, Event, EventKind};
use toka_bus::{Filter, RecvError, Subscription};
use toka_kernel::world::AgentState;
use toka_toolkit_core::DriverRegistry;
use toka_types::operation::{Authority, GrantTerms};
use toka_types::{EntityId, Envelope, GrantId, Name, Operation};
use tokio::task::JoinHandle;

use crate::behaviour::Prepared;
use crate::host::{AgentHost, Busy, Shared};

/// Events dealt with between two recorded turns at most: so many are handed out again after a crash.
const TURN: u64 = 256;
/// Positions an agent may fall behind in its record without having dealt with anything: past it a start would
/// search too much of the log for nothing.
const FAR: u64 = 65_536;
/// How long an agent has nothing to do before its turn is recorded.
const QUIET: Duration = Duration::from_millis(500);
/// How long a stopping agent may go on with what it is at.
const GRACE: Duration = Duration::from_secs(10);

/// Everything that starting an agent takes.
pub(crate) struct Start {
    pub(crate) shared: Arc<Shared>,
    pub(crate) operator: Authority,
    pub(crate) name: Name,
    pub(crate) behaviour: Name,
    pub(crate) terms: GrantTerms,
    pub(crate) prepared: Prepared,
    pub(crate) drivers: DriverRegistry,
}

/// An agent that runs.
pub(crate) struct Running {
    program: JoinHandle<()>,
    deliveries: Option<JoinHandle<()>>,
    done: Arc<AtomicBool>,
    parked: Arc<AtomicUsize>,
    position: Arc<AtomicU64>,
}

impl Running {
    /// True if it has seen everything before `next` and its program is done or waits.
    pub(crate) fn is_idle(&self, next: u64) -> bool {
        let waits = self.done.load(Ordering::SeqCst) || self.parked.load(Ordering::SeqCst) > 0;
        waits && self.position.load(Ordering::SeqCst) >= next
    }

    /// Waits for the end of a stopping agent; one that does not end in time is dropped.
    pub(crate) async fn join(mut self) {
        if tokio::time::timeout(GRACE, &mut self.program).await.is_err() {
            tracing::warn!("an agent did not end within {GRACE:?} and is dropped");
            self.program.abort();
        }
        if let Some(mut deliveries) = self.deliveries.take()
            && tokio::time::timeout(GRACE, &mut deliveries).await.is_err()
        {
            tracing::warn!("an agent did not finish its event within {GRACE:?}; it is handed out again at the next start");
            deliveries.abort();
        }
    }

    /// Ends it now, whatever it is at.
    pub(crate) async fn abort(self) {
        self.program.abort();
        let _ = self.program.await;
        if let Some(deliveries) = self.deliveries {
            deliveries.abort();
            let _ = deliveries.await;
        }
    }
}

impl Start {
    /// Gives the agent its place and its grant in the world, and sets it to work.
    pub(crate) async fn go(self) -> Result<Running, AgentError> {
        let (grant, upto) = self.settle().await?;
        let Self { shared, name, prepared, drivers, .. } = self;
        let parked = Arc::new(AtomicUsize::new(0));
        let host = Arc::new(AgentHost {
            shared: Arc::clone(&shared),
            name: name.clone(),
            grant: AtomicU64::new(0),
            root: prepared.root,
            drivers,
            parked: Arc::clone(&parked),
        });
        host.set_grant(grant);
        recover(&host).await?;
        let caller = Caller { agent: EntityId::named(name.as_str()), name: name.clone(), causes: Vec::new() };
        let context = AgentContext::new(Arc::<AgentHost>::clone(&host), caller);
        let interest = prepared.agent.interest();
        let position = Arc::new(AtomicU64::new(if interest.is_empty() { u64::MAX } else { upto }));
        let deliveries = (!interest.is_empty()).then(|| {
            let deliveries = Deliveries {
                shared: Arc::clone(&shared),
                agent: Arc::clone(&prepared.agent),
                me: context.id(),
                interest,
                events: shared.feed.subscribe_from(upto, Filter::all()),
                position: Arc::clone(&position),
                context: context.clone(),
                recorded: upto,
                handled: 0,
            };
            tokio::spawn(deliveries.run())
        });
        let done = Arc::new(AtomicBool::new(false));
        let program = tokio::spawn(program(prepared.agent, context, shared, Arc::clone(&done)));
        Ok(Running { program, deliveries, done, parked, position })
    }

    /// Spawns the agent, or brings what the world has of it in line with the configuration.
    async fn settle(&self) -> Result<(GrantId, u64), AgentError> {
        let id = EntityId::named(self.name.as_str());
        let (behaviour, uses, delegates) = (self.behaviour.clone(), self.terms.uses.clone(), self.terms.delegates.clone());
        let there = self.shared.query(move |world| {
            let agent = world.agent(id).filter(|agent| agent.state != AgentState::Stopped)?;
            let grant = world.grant(agent.grant)?;
            let same_grant = !grant.revoked
                && grant.uses.iter().eq(uses.iter())
                && grant.delegates.iter().eq(delegates.iter())
                && grant.expires.is_none();
            Some((agent.behaviour == behaviour, same_grant))
        });
        let spawn = Operation::SpawnAgent { name: self.name.clone(), behaviour: self.behaviour.clone(), grant: self.terms.clone() };
        match there.await? {
            Some((true, true)) => {}
            Some((true, false)) => self.ask(Operation::IssueGrant { agent: id, grant: self.terms.clone() }).await?,
            Some((false, _)) => {
                self.ask(Operation::StopAgent(id)).await?;
                self.ask(spawn).await?;
            }
            None => self.ask(spawn).await?,
        }
        let found = self.shared.query(move |world| world.agent(id).map(|agent| (agent.grant, agent.upto))).await?;
        found.ok_or_else(|| AgentError::Log(format!("agent '{}' is not in the world", self.name)))
    }

    async fn ask(&self, operation: Operation) -> Result<(), AgentError> {
        let (origin, authority) = (EntityId::operator(), self.operator);
        let envelope = Envelope { origin, authority, op_id: None, causes: Vec::new(), operation };
        self.shared.submit(envelope).await?.committed().await.map(drop)
    }
}

/// Deals with the calls of an agent that a crash left without an outcome.
async fn recover(host: &Arc<AgentHost>) -> Result<(), AgentError> {
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

async fn program(agent: Arc<dyn DynAgent>, context: AgentContext, shared: Arc<Shared>, done: Arc<AtomicBool>) {
    let name = context.name().clone();
    // A panic ends the task without a word to anybody; the guard says that it has ended all the same.
    struct Done(Arc<AtomicBool>);
    impl Drop for Done {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let _done = Done(done);
    if let Err(error) = agent.run(context).await
        && !shared.is_stopping()
    {
        tracing::error!("agent '{name}' ended: {error:#}");
        shared.problems.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(format!("agent '{name}' ended: {error:#}"));
    }
}

struct Deliveries {
    shared: Arc<Shared>,
    agent: Arc<dyn DynAgent>,
    me: EntityId,
    interest: Vec<EventKind>,
    events: Subscription,
    position: Arc<AtomicU64>,
    context: AgentContext,
    recorded: u64,
    handled: u64,
}

impl Deliveries {
    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            let quiet = tokio::time::sleep(QUIET);
            let owed = self.handled > 0 || self.events.position() > self.recorded + FAR;
            tokio::select! {
                biased;
                () = shared.stopped() => break,
                received = self.events.recv() => {
                    if !self.take(received).await {
                        return;
                    }
                }
                () = quiet, if owed => self.end_turn().await,
            }
        }
        // What was recorded before the stop is still dealt with; what that causes is for the next start.
        let end = self.shared.feed.next_seq();
        while self.events.position() < end {
            match self.events.try_recv() {
                Ok(Some(event)) if event.header.seq < end => self.deal_with(event).await,
                _ => break,
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
                tracing::warn!("agent '{}' missed {missed} events: there is no vault to read them from", self.context.name());
            }
            Err(error) => {
                tracing::error!("agent '{}' is handed no more events: {error}", self.context.name());
                return false;
            }
        }
        if self.handled >= TURN {
            self.end_turn().await;
        }
        true
    }

    async fn deal_with(&mut self, event: Arc<toka_types::Event>) {
        let wanted = event.header.author != self.me && self.interest.iter().any(|kind| kind.wants(self.me, &event));
        if wanted {
            let _busy = Busy::new(&self.shared.busy);
            let event = Event::from(event);
            let context = self.context.because_of(vec![event.cause()]);
            let (kind, id) = (event.kind.clone(), event.id.short());
            // A panic in an agent is that agent's; the next event is handed out all the same.
            let agent = Arc::clone(&self.agent);
            let dealt = tokio::spawn(async move { agent.handle_with(event, context).await }).await;
            match dealt {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!("agent '{}' on {kind} {id}: {error:#}", self.context.name()),
                Err(error) => tracing::error!("agent '{}' on {kind} {id}: {error}", self.context.name()),
            }
            self.handled += 1;
        }
        self.position.store(self.events.position(), Ordering::SeqCst);
    }

    async fn end_turn(&mut self) {
        let upto = self.events.position();
        let (origin, authority) = (self.me, Authority::Host);
        let envelope = Envelope { origin, authority, op_id: None, causes: Vec::new(), operation: Operation::EndTurn { upto } };
        let recorded = match self.shared.submit(envelope).await {
            Ok(receipt) => receipt.committed().await.map(drop),
            Err(error) => Err(error),
        };
        match recorded {
            Ok(()) => (self.recorded, self.handled) = (upto, 0),
            Err(AgentError::Stopped) => {}
            Err(error) => tracing::warn!("the turn of agent '{}' was not recorded: {error}", self.context.name()),
        }
    }
}
