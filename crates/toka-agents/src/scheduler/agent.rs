//! The agent: tasks into the world, firing, sleeping.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toka_toolkit_core::Storage;
use toka_types::operation::TaskAction;
use toka_types::{EntityId, Name, Payload, Timestamp};

use super::calendar::{Calendar, Step, Tick, rfc3339};
use super::task::{Action, Missed, SchedulerError, TaskSpec};
use crate::agent::Agent;
use crate::context::{AgentContext, AgentError, packed};

/// The tick where none is said: short to a person, and ten looks at a clock in a second at most.
pub const DEFAULT_TICK: Duration = Duration::from_millis(100);
/// Shortest tick: timers are not finer.
pub const MIN_TICK: Duration = Duration::from_millis(1);
/// Longest tick: with a longer one, cron expressions would miss their minute.
pub const MAX_TICK: Duration = Duration::from_secs(60);
/// Most tasks of one scheduler, which is the kernel's own bound for one agent.
pub const MAX_TASKS: usize = 10_000;
/// Most due times that a task with `missed = "all"` makes up for at a time. A task of every second has passed as
/// many in three hours; what lies further back is reported and left out, so that a start after a long time, or a
/// clock that was set far ahead, does not fill the log.
pub const MAX_CATCH_UP: u32 = 10_000;
/// How long the scheduler waits after it was refused altogether: it may have been suspended for a moment.
pub const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// How long it waits at most; the pause doubles with each refusal, since each refusal is an event.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// The storage that is there for every agent.
const LOCAL: &str = "local";
/// The key under which the last record of a task is kept is this and the task's name.
const KEPT: &str = "tasks/";
/// The capability without which no task can be scheduled, fired or passed over.
const NEEDED: &str = "task:schedule";
/// What the codes of refusals begin with that are about the task itself: its due time is not the world's.
const OF_THE_TASK: &str = "task.";

/// The code with which every task is refused while nobody has confirmed a jump of the clock: each stays due.
const SUSPENDED: &str = "clock.suspended";
/// How long it waits at most then, so that what is due is done soon after somebody has.
const LONGEST_SUSPENDED: Duration = Duration::from_secs(60);

/// What a [`SchedulerAgent`] does.
#[derive(Clone, Debug)]
pub struct SchedulerOptions {
    /// Its tasks. Others that the agent has in the world are cancelled at the start.
    pub tasks: Vec<TaskSpec>,
    /// Tasks are dealt with at multiples of this since the epoch, [`MIN_TICK`] to [`MAX_TICK`].
    pub tick: Duration,
    /// Where the last record of each task is kept; `local` if not said, or if there is no such driver.
    pub default_driver: Option<String>,
}

impl Default for SchedulerOptions {
    /// No tasks, and [`DEFAULT_TICK`].
    fn default() -> Self {
        Self { tasks: Vec::new(), tick: DEFAULT_TICK, default_driver: None }
    }
}

/// What the event or the message of a task holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// The task's name.
    pub task: String,
    /// When it was due, as RFC 3339 in UTC; with [`Missed::Once`] the first of the due times that passed.
    pub due: String,
    /// What the task says.
    pub message: Option<String>,
}

/// Records events and sends messages at the times its tasks are due.
///
/// # Contract
/// - A task fires once for each due time, however often the process is killed. Where the clock is set back, a due
///   time that was dealt with does not come again: the world's next one stands.
/// - A task whose description did not change keeps its due time over restarts. A new or changed one is scheduled
///   from now on.
/// - Between due times nothing runs.
/// - The last [`Firing`] of each task lies in the storage under `tasks/NAME`, as MessagePack. If the process is
///   killed right after a firing, it may be the one before.
#[derive(Clone, Debug)]
pub struct SchedulerAgent {
    /// By name.
    plans: Vec<Plan>,
    tick: Tick,
    default_driver: Option<String>,
}

#[derive(Clone, Debug)]
struct Plan {
    task: TaskSpec,
    calendar: Calendar,
    /// The task's description, as it is recorded.
    spec: Payload,
}

impl SchedulerAgent {
    /// A scheduler.
    ///
    /// # Errors
    /// [`SchedulerError`]: a task that is not what it should be, two of one name, too many, or a tick out of bounds.
    pub fn new(options: SchedulerOptions) -> Result<Self, SchedulerError> {
        let SchedulerOptions { tasks, tick, default_driver } = options;
        let micros = i64::try_from(tick.as_micros()).ok().filter(|_| (MIN_TICK..=MAX_TICK).contains(&tick));
        let Some(micros) = micros else {
            return Err(SchedulerError::Tick { tick, min: MIN_TICK, max: MAX_TICK });
        };
        if tasks.len() > MAX_TASKS {
            return Err(SchedulerError::TooMany { count: tasks.len(), limit: MAX_TASKS });
        }
        let plan = |task: TaskSpec| {
            let (calendar, spec) = (Calendar::of(&task)?, task.payload()?);
            Ok(Plan { task, calendar, spec })
        };
        let mut plans = tasks.into_iter().map(plan).collect::<Result<Vec<_>, SchedulerError>>()?;
        plans.sort_by(|a, b| a.task.name.cmp(&b.task.name));
        if let Some(pair) = plans.windows(2).find(|pair| pair[0].task.name == pair[1].task.name) {
            return Err(SchedulerError::Duplicate(pair[0].task.name.clone()));
        }
        Ok(Self { plans, tick: Tick(micros), default_driver })
    }

    /// The storage of the tasks.
    fn storage(&self, ctx: &AgentContext) -> Option<Arc<dyn Storage>> {
        if let Some(driver) = self.default_driver.as_deref().filter(|driver| *driver != LOCAL) {
            match ctx.storage(driver) {
                Ok(storage) => return Some(storage),
                Err(error) => tracing::warn!(
                    agent = %ctx.name(), driver,
                    "storage '{driver}', the default driver of the tasks, cannot be used: {error}; '{LOCAL}' is used"
                ),
            }
        }
        match ctx.storage(LOCAL) {
            Ok(storage) => Some(storage),
            Err(error) => {
                tracing::warn!(agent = %ctx.name(), "the last records of the tasks are not kept: {error}");
                None
            }
        }
    }
}

impl Agent for SchedulerAgent {
    async fn run(&self, ctx: AgentContext) -> anyhow::Result<()> {
        let storage = self.storage(&ctx);
        let mut pause = SHORTEST_PAUSE;
        loop {
            let mut round = Round::new(self, &ctx, storage.clone());
            let Err(halt) = round.run().await else { return Ok(()) };
            let mut longest = LONGEST_PAUSE;
            match halt {
                Halt::Stopped => return Ok(()),
                Halt::Failed(error) => return Err(error.into()),
                Halt::Refused { doing, error } if ctx.is_once() => {
                    anyhow::bail!("{doing}: {error}; the agent must be running and hold '{NEEDED}'")
                }
                Halt::Refused { doing, error } => {
                    if round.progressed {
                        pause = SHORTEST_PAUSE;
                    }
                    if matches!(&error, AgentError::Denied { code, .. } if code == SUSPENDED) {
                        longest = LONGEST_SUSPENDED;
                        pause = pause.min(longest);
                    }
                    tracing::warn!(
                        agent = %ctx.name(),
                        "{doing}: {error}; the agent must be running and hold '{NEEDED}'; tried again in {pause:?}"
                    );
                }
            }
            if wait(&ctx, Some(ctx.now().saturating_add(pause))).await.is_err() {
                return Ok(());
            }
            pause = longest.min(pause * 2);
        }
    }
}

/// Why the scheduler does not go on.
enum Halt {
    /// The runtime stops.
    Stopped,
    /// It was refused something that it cannot do without.
    Refused { doing: String, error: AgentError },
    /// The log failed.
    Failed(AgentError),
}

impl Halt {
    fn of(error: AgentError, doing: impl FnOnce() -> String) -> Self {
        match error {
            AgentError::Stopped => Self::Stopped,
            AgentError::Denied { .. } => Self::Refused { doing: doing(), error },
            error => Self::Failed(error),
        }
    }
}

/// From a look at the world until something does not go as it should.
struct Round<'a> {
    agent: &'a SchedulerAgent,
    ctx: &'a AgentContext,
    storage: Option<Arc<dyn Storage>>,
    /// When each task is due, by its index.
    queue: BTreeSet<(Timestamp, usize)>,
    /// The last records that are still to be kept.
    records: BTreeMap<usize, Payload>,
    /// True once a task was dealt with.
    progressed: bool,
}

impl<'a> Round<'a> {
    fn new(agent: &'a SchedulerAgent, ctx: &'a AgentContext, storage: Option<Arc<dyn Storage>>) -> Self {
        Self { agent, ctx, storage, queue: BTreeSet::new(), records: BTreeMap::new(), progressed: false }
    }

    async fn run(&mut self) -> Result<(), Halt> {
        self.reconcile().await?;
        loop {
            let dealt = self.deal_with_due(self.ctx.now()).await;
            self.keep_records().await;
            dealt?;
            if self.ctx.is_once() {
                return Ok(());
            }
            let wake = self.queue.first().map(|(due, _)| self.agent.tick.up(*due));
            wait(self.ctx, wake).await?;
        }
    }

    /// Makes the tasks of the world those of the configuration.
    async fn reconcile(&mut self) -> Result<(), Halt> {
        let (ctx, agent) = (self.ctx, self.agent);
        let known = ctx.tasks().await.map_err(|e| Halt::of(e, || "the tasks cannot be read".to_owned()))?;
        let known: BTreeMap<Name, _> = known.into_iter().map(|task| (task.name.clone(), task)).collect();
        let configured: BTreeSet<&Name> = agent.plans.iter().map(|plan| &plan.task.name).collect();
        for name in known.keys().filter(|name| !configured.contains(name)) {
            still_running(ctx).await?;
            let cancelled = ctx.cancel(name).await;
            cancelled.map_err(|e| Halt::of(e, || format!("task '{name}' cannot be cancelled")))?;
        }
        for (index, plan) in agent.plans.iter().enumerate() {
            let name = &plan.task.name;
            let unchanged = known.get(name).filter(|task| ctx.is_stored_as(&plan.spec, &task.spec));
            if let Some(task) = unchanged {
                self.queue.insert((task.due, index));
                continue;
            }
            still_running(ctx).await?;
            let Some(due) = plan.calendar.first(ctx.now(), agent.tick) else {
                tracing::warn!(agent = %ctx.name(), task = %name, "task '{name}' is never due");
                continue;
            };
            let scheduled = ctx.schedule(name, due, plan.spec.clone()).await;
            scheduled.map_err(|e| Halt::of(e, || format!("task '{name}' cannot be scheduled")))?;
            self.queue.insert((due, index));
        }
        Ok(())
    }

    /// Deals with every due time that has come at `now`, the earliest first.
    async fn deal_with_due(&mut self, now: Timestamp) -> Result<(), Halt> {
        let tick = self.agent.tick;
        // What is due when a run without end looks at it waits for its tick; a run that ends does not.
        let has_come = |due: Timestamp| if self.ctx.is_once() { due <= now } else { tick.up(due) <= now };
        let mut made_up: BTreeMap<usize, u32> = BTreeMap::new();
        while let Some(&(due, index)) = self.queue.first().filter(|(due, _)| has_come(*due)) {
            still_running(self.ctx).await?;
            let Plan { task, calendar, .. } = &self.agent.plans[index];
            let mut step = calendar.step(task.missed, due, now, tick);
            let count = made_up.entry(index).or_default();
            *count += 1;
            if task.missed == Missed::All && *count > MAX_CATCH_UP {
                step = Step { fires: false, next: calendar.next(due, now) };
                tracing::warn!(
                    agent = %self.ctx.name(), task = %task.name,
                    "task '{}' has passed more than {MAX_CATCH_UP} due times; those from {} to {} are left out",
                    task.name, rfc3339(due), rfc3339(now)
                );
            }
            let next = self.fire(index, due, now, step).await?;
            self.progressed = true;
            self.queue.remove(&(due, index));
            match next {
                Some(next) => drop(self.queue.insert((next, index))),
                None => tracing::warn!(
                    agent = %self.ctx.name(), task = %task.name, "task '{}' is never due again", task.name
                ),
            }
        }
        Ok(())
    }

    /// Does one step of a task, and says when it is due again.
    async fn fire(
        &mut self,
        index: usize,
        due: Timestamp,
        now: Timestamp,
        step: Step,
    ) -> Result<Option<Timestamp>, Halt> {
        let (ctx, Plan { task, calendar, .. }) = (self.ctx, &self.agent.plans[index]);
        let name = &task.name;
        let mut next = step.next;
        if step.fires {
            let firing = Firing { task: name.to_string(), due: rfc3339(due), message: task.message.clone() };
            let content = packed(&firing).map_err(Halt::Failed)?;
            let action = match &task.does {
                Action::Emit(kind) => TaskAction::Emit { kind: kind.clone(), content: content.clone() },
                Action::SendTo(to) => {
                    TaskAction::Send { to: EntityId::named(to.as_str()), message: content.clone() }
                }
            };
            match ctx.fire(name, due, next, action).await {
                Ok(_) => {
                    self.records.insert(index, content);
                    return Ok(next);
                }
                Err(AgentError::Denied { code, rule })
                    if !code.starts_with(OF_THE_TASK) && code != SUSPENDED =>
                {
                    // Other due times that have passed would be refused for the same reason.
                    next = calendar.next(due, now);
                    let due = rfc3339(due);
                    tracing::warn!(
                        agent = %ctx.name(), task = %name, code,
                        "task '{name}', due at {due}, was denied ({code}): {rule}; it waits until it is due again"
                    );
                }
                Err(error) => return Err(Halt::of(error, || format!("task '{name}' cannot be fired"))),
            }
        }
        match ctx.fire(name, due, next, TaskAction::Skip).await {
            Ok(_) => Ok(next),
            Err(error) => Err(Halt::of(error, || format!("task '{name}' cannot be moved on"))),
        }
    }

    /// Keeps the last record of each task that fired.
    async fn keep_records(&mut self) {
        let records = std::mem::take(&mut self.records);
        let Some(storage) = self.storage.clone().filter(|_| !records.is_empty()) else { return };
        let named = |(index, content): (usize, Payload)| (self.agent.plans[index].task.name.clone(), content);
        let records: Vec<(Name, Payload)> = records.into_iter().map(named).collect();
        let put = move || {
            let put = |(name, content): (Name, Payload)| {
                let error = storage.put(&format!("{KEPT}{name}"), content.bytes()).err()?;
                Some((name, error))
            };
            records.into_iter().filter_map(put).collect::<Vec<_>>()
        };
        // Storage blocks, and may be at the other end of a network.
        let agent = self.ctx.name();
        match tokio::task::spawn_blocking(put).await {
            Ok(failures) => {
                for (name, error) in failures {
                    tracing::warn!(%agent, task = %name, "the last record of task '{name}' is not kept: {error}");
                }
            }
            Err(error) => tracing::warn!(%agent, "the last records of tasks are not kept: {error}"),
        }
    }
}

/// Waits until `until`, or for ever.
async fn wait(ctx: &AgentContext, until: Option<Timestamp>) -> Result<(), Halt> {
    let Some(until) = until else {
        ctx.stopped().await;
        return Err(Halt::Stopped);
    };
    tokio::select! {
        biased;
        () = ctx.stopped() => Err(Halt::Stopped),
        () = ctx.sleep_until(until) => Ok(()),
    }
}

async fn still_running(ctx: &AgentContext) -> Result<(), Halt> {
    tokio::select! {
        biased;
        () = ctx.stopped() => Err(Halt::Stopped),
        () = std::future::ready(()) => Ok(()),
    }
}
