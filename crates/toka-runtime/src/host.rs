//! What an agent's context stands on: the queue to the kernel loop, the tools, storage and the clock.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use toka_agents::context::Caller;
use toka_agents::{AgentError, BoxFuture, CallOutput, Host, Observed, Receipt, TaskView};
use toka_bus::{FeedHandle, Filter};
use toka_kernel::WorldState;
use toka_toolkit_core::{Driver, DriverRegistry, Storage, ToolRegistry, VersionReq};
use toka_types::operation::{Authority, Cause};
use toka_types::{Digest, EntityId, Envelope, EventId, GrantId, Name, Operation, Payload, Timestamp};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::activity::{Activity, Busy};
use crate::approvals::WhenAsked;
use crate::clock::Trusted;
use crate::kernel_loop::{Answer, Command, Guard, Notices, content_bytes};
use crate::log::{LogError, LogRead};
use crate::manifests::Manifests;
use crate::sealing::Edge;
use crate::throttle::Throttle;

/// Most content, in KiB, that may wait for the kernel loop at once.
pub(crate) const MAX_WAITING_KIB: usize = 64 << 10;

/// What every part of a runtime shares.
pub(crate) struct Shared {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) feed: FeedHandle,
    pub(crate) reader: Option<Arc<dyn LogRead>>,
    pub(crate) tools: ToolRegistry,
    /// What the world knows of the tools.
    pub(crate) manifests: Manifests,
    pub(crate) drivers: Mutex<Vec<Arc<dyn Driver>>>,
    pub(crate) clock: Arc<Trusted>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) once: AtomicBool,
    /// What a call does that a person has to allow.
    pub(crate) when_asked: WhenAsked,
    /// How long it waits at most, if not as long as the question stands.
    pub(crate) asking_ends: Option<Duration>,
    /// Operations, deliveries and calls that are under way.
    pub(crate) activity: Arc<Activity>,
    /// Calls of tools among them: a stop waits for their outcomes.
    pub(crate) calls: Arc<Activity>,
    /// Questions that calls did not wait for.
    pub(crate) pending: Mutex<BTreeSet<EventId>>,
    /// What ended before its time, for whoever asks at the end.
    pub(crate) problems: Mutex<Vec<String>>,
    /// What the kernel loop tells of agents and their grants.
    pub(crate) notices: Arc<Notices>,
    /// Why the log failed, once it has.
    pub(crate) failure: watch::Receiver<Option<LogError>>,
    /// What seals and opens content, if the log is sealed.
    pub(crate) edge: Edge,
    /// Who is held back because much of theirs was refused.
    pub(crate) throttle: Arc<Throttle>,
}

impl Shared {
    /// Queues an operation; waits while too much waits already.
    pub(crate) async fn submit(&self, envelope: Envelope) -> Result<Receipt, AgentError> {
        self.submit_guarded(envelope, None).await
    }

    /// Queues an operation that is only asked if `guard` has nothing against it in the world as it is then.
    pub(crate) async fn submit_guarded(
        &self,
        mut envelope: Envelope,
        guard: Option<Guard>,
    ) -> Result<Receipt, AgentError> {
        if let Operation::ResetClock { shows } = &mut envelope.operation {
            // What is confirmed is what the machine's clock shows, whoever asks.
            *shows = self.clock.shown();
        }
        crate::plans::complete(self, &mut envelope.operation)?;
        let answered = self.edge.seal_envelope(&mut envelope)?;
        let busy = Busy::new(&self.activity);
        // What the host records happened, and waits for nobody.
        let asker = Some(envelope.origin).filter(|_| envelope.authority != Authority::Host);
        if let Some(asker) = asker {
            self.throttle.pass(asker).await;
        }
        let kib = content_bytes(&envelope.operation).div_ceil(1024).min(MAX_WAITING_KIB);
        let room = Arc::clone(&self.room);
        let permit = match u32::try_from(kib) {
            Ok(0) | Err(_) => None,
            Ok(kib) => Some(room.acquire_many_owned(kib).await.map_err(|_| AgentError::Stopped)?),
        };
        let (sender, receiver) = oneshot::channel();
        let throttle = Arc::clone(&self.throttle);
        let answer: Answer = Box::new(move |result| {
            if let (Some(asker), Err(AgentError::Denied { .. } | AgentError::Invalid(_))) = (asker, &result) {
                throttle.refused(asker);
            }
            // Whoever asked may have gone; what was decided stands all the same.
            let _ = sender.send(result);
            drop(busy);
        });
        let command = Command::Submit { envelope, guard, permit, answer };
        if self.commands.send(command).await.is_err() {
            return Err(self.gone().await);
        }
        let receipt = Receipt::new(receiver);
        Ok(match answered {
            Some(answered) => receipt.opened_by(move |events| answered.open(events)),
            None => receipt,
        })
    }

    /// Looks at the world as it is once everything queued before is durable.
    pub(crate) async fn query<R: Send + 'static>(
        &self,
        look: impl FnOnce(&WorldState) -> R + Send + 'static,
    ) -> Result<R, AgentError> {
        let (sender, receiver) = oneshot::channel();
        let busy = Busy::new(&self.activity);
        let query = Box::new(move |world: &WorldState| {
            // The kernel's thread is everybody's: a look that panics harms whoever looks, and nobody else.
            let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| look(world)));
            let _ = sender.send(looked.map_err(|panic| crate::activity::words_of(&*panic)));
            drop(busy);
        });
        if self.commands.send(Command::Query(query)).await.is_err() {
            return Err(self.gone().await);
        }
        let Ok(looked) = receiver.await else { return Err(self.gone().await) };
        looked.map_err(|panic| AgentError::Invalid(format!("the look at the world failed: {panic}")))
    }

    /// What is said where a tool is named that is not there.
    pub(crate) fn unknown_tool(&self, name: &str, version: Option<VersionReq>) -> AgentError {
        if let Some(version) = version.filter(|_| self.tools.get(name, None).is_some()) {
            let all = self.tools.list();
            let others =
                all.iter().map(|tool| tool.manifest()).filter(|manifest| manifest.id().as_str() == name);
            let known: Vec<String> = others.map(|manifest| manifest.version().to_string()).collect();
            let (name, hint) = (format!("{name} {version}"), format!("there are: {}", known.join(", ")));
            return AgentError::Unknown { what: "version of a tool", name, hint };
        }
        let hint = if cfg!(feature = "toolkit") {
            let known: Vec<String> =
                self.tools.list().iter().map(|tool| tool.manifest().id().to_string()).collect();
            format!("there are: {}", known.join(", "))
        } else {
            "this build has no feature `toolkit`, so it has no tools".to_owned()
        };
        AgentError::Unknown { what: "tool", name: name.to_owned(), hint }
    }

    /// Why the kernel loop answers no more.
    async fn gone(&self) -> AgentError {
        // The loop says why it failed before it ends; one that was stopped ends without a word.
        match self.failure.clone().wait_for(Option::is_some).await {
            Ok(error) => AgentError::Log(error.as_ref().map_or_else(String::new, ToString::to_string)),
            Err(_) if self.is_stopping() => AgentError::Stopped,
            Err(_) => AgentError::Log("the kernel loop ended".to_owned()),
        }
    }

    /// Waits until the runtime stops.
    pub(crate) async fn stopped(&self) {
        // The sender lives as long as `self`, so an error cannot come before a stop.
        let _ = self.stop.subscribe().wait_for(|stopped| *stopped).await;
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }
}

/// One agent's host. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AgentHost {
    pub(crate) shared: Arc<Shared>,
    pub(crate) name: Name,
    /// The number of its grant; the kernel loop changes it with the world.
    pub(crate) grant: Arc<AtomicU64>,
    /// The folder beneath which the agent's tools find their paths.
    #[allow(dead_code, reason = "only calls use it, and not every build has them")]
    pub(crate) root: Option<Arc<Path>>,
    /// Where that is, whatever links lead there; nowhere without it.
    #[allow(dead_code, reason = "only calls use it, and not every build has them")]
    pub(crate) place: Arc<Path>,
    pub(crate) drivers: DriverRegistry,
    /// True if its program names the causes of what it does.
    pub(crate) keeps_apart: bool,
    /// True if it may keep nothing: what it kept somebody else could find.
    pub(crate) is_quarantined: bool,
    /// How many waits for a time, a change or the end the agent's program is in.
    pub(crate) parked: Arc<AtomicUsize>,
}

impl AgentHost {
    pub(crate) fn agent(&self) -> EntityId {
        EntityId::named(self.name.as_str())
    }

    pub(crate) fn current_grant(&self) -> GrantId {
        GrantId(self.grant.load(Ordering::SeqCst))
    }
}

/// Counts a program as waiting for a time or the end until it is dropped.
struct Parked<'a>(&'a AtomicUsize);

impl<'a> Parked<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Host for AgentHost {
    fn submit(&self, envelope: Envelope) -> BoxFuture<'_, Result<Receipt, AgentError>> {
        Box::pin(self.shared.submit(envelope))
    }

    fn call<'a>(
        &'a self,
        caller: &'a Caller,
        tool: &'a str,
        arguments: serde_json::Value,
    ) -> BoxFuture<'a, Result<CallOutput, AgentError>> {
        Box::pin(crate::effects::call(self, caller, tool, arguments))
    }

    fn grant(&self, _: EntityId) -> BoxFuture<'_, Result<GrantId, AgentError>> {
        Box::pin(std::future::ready(Ok(self.current_grant())))
    }

    fn tasks(&self, agent: EntityId) -> BoxFuture<'_, Result<Vec<TaskView>, AgentError>> {
        Box::pin(self.shared.query(move |world| {
            let view = |(name, task): (&Name, &toka_kernel::world::Task)| TaskView {
                name: name.clone(),
                due: task.due,
                spec: task.spec,
                scheduled: Cause { id: task.scheduled, labels: task.labels.clone() },
            };
            world.tasks_of(agent).map(view).collect()
        }))
    }

    fn history<'a>(
        &'a self,
        from: u64,
        limit: usize,
        kind: &'a str,
    ) -> BoxFuture<'a, Result<Observed, AgentError>> {
        let mut events = self.shared.feed.subscribe_from(from, Filter::all().kind(kind));
        let edge = self.shared.edge.clone();
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || {
                let mut found = Vec::new();
                while found.len() < limit {
                    match events.try_recv() {
                        Ok(Some(event)) => found.push(edge.opened(event)),
                        Ok(None) | Err(toka_bus::RecvError::Closed) => break,
                        // Without a vault the log goes back only as far as the ring.
                        Err(toka_bus::RecvError::Lagged(_)) => {}
                        Err(error) => return Err(AgentError::Log(error.to_string())),
                    }
                }
                Ok(found)
            });
            read.await.unwrap_or(Err(AgentError::Stopped))
        })
    }

    fn is_stored_as(&self, agent: EntityId, content: &Payload, stored: &Digest) -> bool {
        self.shared.edge.is_stored_as(agent, content, stored)
    }

    fn keeps_apart(&self) -> bool {
        self.keeps_apart
    }

    fn storage(&self, _: &Name, name: &str) -> Result<Arc<dyn Storage>, AgentError> {
        if self.is_quarantined {
            let code = toka_kernel::Code::QuarantineConfined.as_str().to_owned();
            let rule = "a quarantined agent keeps nothing: what it kept somebody else could find".to_owned();
            return Err(AgentError::Denied { code, rule });
        }
        self.drivers.storage(name).map_err(|error| AgentError::Unknown {
            what: "storage",
            name: name.to_owned(),
            hint: error.to_string(),
        })
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _parked = Parked::new(&self.parked);
            self.shared.clock.sleep_until(at).await;
        })
    }

    fn stopped(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _parked = Parked::new(&self.parked);
            self.shared.stopped().await;
        })
    }

    fn is_once(&self) -> bool {
        self.shared.once.load(Ordering::SeqCst)
    }
}

/// The drivers one agent sees: those of the runtime, and storage of its own.
pub(crate) fn drivers_of(shared: &Shared, own: Vec<Arc<dyn Driver>>) -> DriverRegistry {
    let registry = DriverRegistry::new();
    let common = shared.drivers.lock().unwrap_or_else(PoisonError::into_inner);
    for driver in own.into_iter().chain(common.iter().cloned()) {
        if let Err(error) = registry.register(driver) {
            tracing::warn!("{error}");
        }
    }
    registry
}
