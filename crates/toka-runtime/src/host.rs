//! What an agent's context stands on: the queue to the kernel loop, the tools, storage and the clock.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use toka_agents::context::Caller;
use toka_agents::{AgentError, BoxFuture, CallOutput, Host, Observed, Receipt, TaskView};
use toka_bus::{FeedHandle, Filter};
use toka_kernel::WorldState;
use toka_toolkit_core::{Driver, DriverRegistry, Storage, ToolRegistry};
use toka_types::{EntityId, Envelope, GrantId, Name, Timestamp};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::kernel_loop::{Answer, Command, content_bytes};
use crate::log::LogRead;

/// Most content, in KiB, that may wait for the kernel loop at once.
pub(crate) const MAX_WAITING_KIB: usize = 64 << 10;

/// What every part of a runtime shares.
pub(crate) struct Shared {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) feed: FeedHandle,
    pub(crate) reader: Option<Arc<dyn LogRead>>,
    pub(crate) tools: ToolRegistry,
    pub(crate) drivers: Mutex<Vec<Arc<dyn Driver>>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) once: AtomicBool,
    /// Operations, deliveries and calls that are under way.
    pub(crate) busy: Arc<AtomicUsize>,
    /// What ended before its time, for whoever asks at the end.
    pub(crate) problems: Mutex<Vec<String>>,
}

/// Counts something as under way until it is dropped.
pub(crate) struct Busy(Arc<AtomicUsize>);

impl Busy {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    /// Queues an operation; waits while too much waits already.
    pub(crate) async fn submit(&self, envelope: Envelope) -> Result<Receipt, AgentError> {
        let kib = content_bytes(&envelope.operation).div_ceil(1024).min(MAX_WAITING_KIB);
        let room = Arc::clone(&self.room);
        let permit = match u32::try_from(kib) {
            Ok(0) | Err(_) => None,
            Ok(kib) => Some(room.acquire_many_owned(kib).await.map_err(|_| AgentError::Stopped)?),
        };
        let (sender, receiver) = oneshot::channel();
        let busy = Busy::new(&self.busy);
        let answer: Answer = Box::new(move |result| {
            // Whoever asked may have gone; what was decided stands all the same.
            let _ = sender.send(result);
            drop(busy);
        });
        let command = Command::Submit { envelope, permit, answer };
        self.commands.send(command).await.map_err(|_| AgentError::Stopped)?;
        Ok(Receipt::new(receiver))
    }

    /// Looks at the world as it is once everything queued before is durable.
    pub(crate) async fn query<R: Send + 'static>(
        &self,
        look: impl FnOnce(&WorldState) -> R + Send + 'static,
    ) -> Result<R, AgentError> {
        let (sender, receiver) = oneshot::channel();
        let query = Box::new(move |world: &WorldState| {
            let _ = sender.send(look(world));
        });
        self.commands.send(Command::Query(query)).await.map_err(|_| AgentError::Stopped)?;
        receiver.await.map_err(|_| AgentError::Stopped)
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

/// One agent's host.
pub(crate) struct AgentHost {
    pub(crate) shared: Arc<Shared>,
    pub(crate) name: Name,
    pub(crate) grant: AtomicU64,
    /// The folder beneath which the agent's tools find their paths.
    pub(crate) root: Option<PathBuf>,
    pub(crate) drivers: DriverRegistry,
    /// How many waits for a time, a change or the end the agent's program is in.
    pub(crate) parked: Arc<AtomicUsize>,
}

impl AgentHost {
    pub(crate) fn agent(&self) -> EntityId {
        EntityId::named(self.name.as_str())
    }

    pub(crate) fn set_grant(&self, grant: GrantId) {
        self.grant.store(grant.0, Ordering::SeqCst);
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
        let grant = GrantId(self.grant.load(Ordering::SeqCst));
        Box::pin(std::future::ready(Ok(grant)))
    }

    fn tasks(&self, agent: EntityId) -> BoxFuture<'_, Result<Vec<TaskView>, AgentError>> {
        Box::pin(self.shared.query(move |world| {
            let view = |(name, task): (&Name, &toka_kernel::world::Task)| TaskView {
                name: name.clone(),
                due: task.due,
                spec: task.spec,
            };
            world.tasks_of(agent).map(view).collect()
        }))
    }

    fn history<'a>(&'a self, from: u64, limit: usize, kind: &'a str) -> BoxFuture<'a, Result<Observed, AgentError>> {
        let mut events = self.shared.feed.subscribe_from(from, Filter::all().kind(kind));
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || {
                let mut found = Vec::new();
                while found.len() < limit {
                    match events.try_recv() {
                        Ok(Some(event)) => found.push(event),
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

    fn storage(&self, _: &Name, name: &str) -> Result<Arc<dyn Storage>, AgentError> {
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
            let _parked = Busy::new(&self.parked);
            self.shared.clock.sleep_until(at).await;
        })
    }

    fn stopped(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _parked = Busy::new(&self.parked);
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
