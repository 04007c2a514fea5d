//! A host of one scheduler: the real kernel, a log in memory, and a clock that the test moves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use toka_agents::context::Caller;
use toka_agents::scheduler::{Firing, SchedulerAgent, SchedulerOptions, TaskSpec, TaskText};
use toka_agents::{
    AgentContext, AgentError, BoxFuture, CallOutput, DynAgent, Host, Observed, Receipt, TaskView,
};
use toka_kernel::step::Accepted;
use toka_kernel::{Kernel, Submission};
use toka_toolkit_core::{Storage, StorageError};
use toka_types::facts::{TaskFired, kinds};
use toka_types::operation::{Authority, Cause, GrantTerms};
use toka_types::{EntityId, Envelope, Event, GrantId, Name, Operation, Timestamp};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// Long enough for the slowest machine: a scheduler that has not come to rest by then never will.
const HANGS: Duration = Duration::from_secs(120);
pub(crate) const SCHEDULER: &str = "clock";

/// `text` on the second of March 2026 in UTC, as `00:00:10` or `00:00:10.25`.
pub(crate) fn at(text: &str) -> Timestamp {
    instant(&format!("2026-03-02T{text}Z"))
}

pub(crate) fn instant(text: &str) -> Timestamp {
    let time: jiff::Timestamp = text.parse().expect("a time");
    Timestamp(time.as_microsecond())
}

pub(crate) fn shown(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.0).expect("a time").to_string()
}

/// Where a process is killed: at the firing of this number, counted from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It is not in the log.
    Before(usize),
    /// It is in the log, and the scheduler never learns of it.
    After(usize),
}

#[derive(Default)]
struct State {
    kernel: Kernel,
    log: Vec<Arc<Event>>,
    cut: Option<Cut>,
    fires: usize,
    stop_at: Option<usize>,
    fail_at: Option<usize>,
    /// Answers that never come.
    withheld: Vec<oneshot::Sender<Result<Observed, AgentError>>>,
    /// What the scheduler waits for now.
    sleeping: Option<Timestamp>,
    /// Everything that it waited for.
    sleeps: Vec<Timestamp>,
    /// How many wait for the end.
    waiting_for_stop: usize,
    running: Option<JoinHandle<Result<(), String>>>,
}

pub(crate) struct House {
    state: Mutex<State>,
    clock: watch::Sender<Timestamp>,
    stop: watch::Sender<bool>,
    once: bool,
    drivers: BTreeMap<String, Arc<Shelf>>,
}

/// What a scheduler is started with.
#[derive(Clone)]
pub(crate) struct Setup<'a> {
    pub(crate) tasks: Vec<TaskText<'a>>,
    pub(crate) tick: Duration,
    pub(crate) default_driver: Option<&'a str>,
}

impl<'a> Setup<'a> {
    pub(crate) fn of(tasks: impl IntoIterator<Item = TaskText<'a>>) -> Self {
        Self { tasks: tasks.into_iter().collect(), tick: Duration::from_millis(100), default_driver: None }
    }

    fn agent(&self) -> SchedulerAgent {
        let tasks = self.tasks.iter().map(|text| TaskSpec::parse(text).expect("a task")).collect();
        let (tick, default_driver) = (self.tick, self.default_driver.map(str::to_owned));
        SchedulerAgent::new(SchedulerOptions { tasks, tick, default_driver }).expect("a scheduler")
    }
}

impl House {
    /// A log with the scheduler and `desk`, an agent to send messages to.
    pub(crate) fn new(now: Timestamp, uses: &[&str]) -> Arc<Self> {
        let drivers = ["local", "s3", "broken"].map(|name| (name.to_owned(), Shelf::new(name == "broken")));
        let house = Self {
            state: Mutex::default(),
            clock: watch::Sender::new(now),
            stop: watch::Sender::new(false),
            once: false,
            drivers: drivers.into(),
        };
        let all = vec!["**".parse().expect("a capability")];
        house.operator(Authority::Host, Operation::OpenLog { capabilities: all });
        for (name, uses) in [(SCHEDULER, uses), ("desk", &[])] {
            let uses = uses.iter().map(|text| text.parse().expect("a capability")).collect();
            let grant = GrantTerms { uses, ..GrantTerms::default() };
            let (name, behaviour) = (Name::new(name).expect("a name"), Name::new("Any").expect("a name"));
            house.ask(Operation::SpawnAgent { name, behaviour, grant, budget: None, quarantine: None });
        }
        Arc::new(house)
    }

    /// A house whose scheduler may do everything that the tests ask of it.
    pub(crate) fn open(now: Timestamp) -> Arc<Self> {
        Self::new(now, &["task:schedule", "event:emit", "message:send"])
    }

    /// The house after a restart, with what the log holds and nothing else.
    pub(crate) fn restarted(&self, once: bool) -> Arc<Self> {
        if let Some(running) = self.state().running.take() {
            running.abort();
        }
        self.copied(once)
    }

    /// Another house with the same log; this one goes on.
    pub(crate) fn copied(&self, once: bool) -> Arc<Self> {
        let mut state = State { log: self.state().log.clone(), ..State::default() };
        for event in &state.log {
            state.kernel.replay(&event.header).expect("facts of this kernel");
        }
        Arc::new(Self {
            state: Mutex::new(state),
            clock: watch::Sender::new(self.time()),
            stop: watch::Sender::new(false),
            once,
            drivers: self.drivers.clone(),
        })
    }

    /// Starts the scheduler and waits until it rests.
    pub(crate) async fn start(self: &Arc<Self>, setup: &Setup<'_>) {
        let agent = setup.agent();
        let (name, id) = (Name::new(SCHEDULER).expect("a name"), EntityId::named(SCHEDULER));
        let host: Arc<dyn Host> = Arc::clone(self) as Arc<dyn Host>;
        let ctx = AgentContext::new(host, Caller { agent: id, name, causes: Vec::new() });
        let run = async move { DynAgent::run(&agent, ctx).await.map_err(|e| e.to_string()) };
        self.state().running = Some(tokio::spawn(run));
        self.rest().await;
    }

    /// Starts it with an end and waits for that.
    pub(crate) async fn once(self: &Arc<Self>, setup: &Setup<'_>) -> Result<(), String> {
        assert!(self.once, "a house for one run");
        self.start(setup).await;
        let running = self.state().running.take().expect("it was started");
        running.await.expect("no panic")
    }

    /// Goes on with the log of `other`, as if that had written to this one.
    pub(crate) fn adopt(&self, other: &Self) {
        let (kernel, log) = {
            let mut other = other.state();
            if let Some(running) = other.running.take() {
                running.abort();
            }
            (other.kernel.clone(), other.log.clone())
        };
        let mut state = self.state();
        (state.kernel, state.log) = (kernel, log);
    }

    /// Fails the log from the firing of that number on.
    pub(crate) fn fail_at(&self, firing: usize) {
        self.state().fail_at = Some(firing);
    }

    /// Waits for the scheduler's own end, and gives back what it says.
    pub(crate) async fn ended(&self) -> Result<(), String> {
        let running = self.state().running.take().expect("it was started");
        tokio::time::timeout(HANGS, running).await.expect("it ends").expect("no panic")
    }

    /// Stops the runtime at the firing of that number.
    pub(crate) fn stop_at(&self, firing: usize) {
        self.state().stop_at = Some(firing);
    }

    pub(crate) fn kill_at(&self, cut: Cut) {
        self.state().cut = Some(cut);
    }

    /// Moves the clock, in either direction, and waits until the scheduler rests.
    pub(crate) async fn jump(&self, to: Timestamp) {
        self.clock.send_replace(to);
        self.rest().await;
    }

    /// Moves the clock from one time that the scheduler waits for to the next, up to `end`.
    pub(crate) async fn run_until(&self, end: Timestamp) {
        loop {
            self.rest().await;
            let next = self.state().sleeping.filter(|next| *next <= end);
            match next {
                Some(next) => self.clock.send_replace(next),
                None => break,
            };
        }
        self.jump(end).await;
    }

    /// Ends the runtime and gives back what the scheduler says.
    pub(crate) async fn stop(&self) -> Result<(), String> {
        self.stop.send_replace(true);
        self.ended().await
    }

    /// What tasks did, in the order of the log: kind or receiver's message, task, due time of that day.
    pub(crate) fn firings(&self) -> Vec<String> {
        let state = self.state();
        let own = state.log.iter().filter(|event| is_of_a_task(event));
        own.map(|event| {
            let bytes = event.payload().expect("content");
            let firing: Firing = rmp_serde::from_slice(bytes).expect("a firing");
            let due = firing.due.strip_prefix("2026-03-02T").unwrap_or(&firing.due);
            format!("{} {} {}", event.header.kind, firing.task, due.trim_end_matches('Z'))
        })
        .collect()
    }

    /// The events of a kind.
    pub(crate) fn events(&self, kind: &str) -> Vec<Arc<Event>> {
        self.state().log.iter().filter(|event| event.header.kind == kind).cloned().collect()
    }

    /// The due times that were used up, whether something was done or not.
    pub(crate) fn used(&self) -> Vec<(String, Timestamp)> {
        let fired = self.events(kinds::TASK_FIRED);
        let facts =
            |event: &Arc<Event>| rmp_serde::from_slice::<TaskFired>(&event.header.facts).expect("facts");
        fired.iter().map(facts).map(|fired| (fired.task.to_string(), fired.due)).collect()
    }

    /// The tasks in the world with their due times of that day.
    pub(crate) fn due(&self) -> BTreeMap<String, String> {
        let state = self.state();
        let tasks = state.kernel.world().tasks_of(EntityId::named(SCHEDULER));
        let of_day = |at: Timestamp| {
            let text = shown(at);
            text.strip_prefix("2026-03-02T").unwrap_or(&text).trim_end_matches('Z').to_owned()
        };
        tasks.map(|(name, task)| (name.to_string(), of_day(task.due))).collect()
    }

    pub(crate) fn sleeps(&self) -> Vec<Timestamp> {
        self.state().sleeps.clone()
    }

    pub(crate) fn kept(&self, driver: &str, task: &str) -> Option<Firing> {
        let bytes = self.drivers[driver].get(&format!("tasks/{task}")).expect("a key")?;
        Some(rmp_serde::from_slice(&bytes).expect("a firing"))
    }

    /// Does something as the operator.
    pub(crate) fn ask(&self, operation: Operation) {
        let grant = self.state().kernel.world().operator_grant().expect("the log is open");
        self.operator(Authority::Grant(grant), operation);
    }

    /// Records something as the host.
    pub(crate) fn record(&self, operation: Operation) {
        self.operator(Authority::Host, operation);
    }

    pub(crate) fn time(&self) -> Timestamp {
        *self.clock.borrow()
    }

    fn operator(&self, authority: Authority, operation: Operation) {
        let (origin, op_id, causes) = (EntityId::operator(), None, Vec::new());
        self.commit(Envelope { origin, authority, op_id, causes, operation }).expect("the operator may");
    }

    fn commit(&self, envelope: Envelope) -> Result<Observed, AgentError> {
        let now = self.time();
        let mut state = self.state();
        let step = state.kernel.step(vec![Submission::new(envelope)], now);
        state.log.extend(step.events.iter().cloned());
        match step.replies.into_iter().next().expect("one answer") {
            Ok(Accepted::Events(range)) => Ok(step.events[range].to_vec()),
            Ok(Accepted::Repeated(event)) => panic!("{event} was not asked with an id"),
            Err(denied) => Err(AgentError::Denied { code: denied.code.to_string(), rule: denied.rule }),
        }
    }

    /// Waits until the scheduler waits for a time to come, for the end, or for an answer that never comes; or ended.
    async fn rest(&self) {
        let rested = async {
            while !self.rests() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(HANGS, rested).await.expect("the scheduler comes to rest");
    }

    fn rests(&self) -> bool {
        let now = self.time();
        let state = self.state();
        let ended = state.running.as_ref().is_none_or(JoinHandle::is_finished);
        let waits = state.waiting_for_stop > 0 && state.sleeping.is_none_or(|at| at > now);
        ended || waits || !state.withheld.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it was held")
    }
}

fn is_of_a_task(event: &Event) -> bool {
    let kernels = ["log", "agent", "task", "capability", "clock"];
    !kernels.iter().any(|prefix| event.header.kind.has_prefix(prefix))
}

/// Calls a function when it is dropped.
struct Afterwards<F: FnMut()>(F);

impl<F: FnMut()> Drop for Afterwards<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Host for House {
    fn submit(&self, envelope: Envelope) -> BoxFuture<'_, Result<Receipt, AgentError>> {
        let is_fire = matches!(envelope.operation, Operation::FireTask { .. });
        let (answer, receipt) = oneshot::channel();
        let (number, cut) = {
            let mut state = self.state();
            state.fires += usize::from(is_fire);
            (if is_fire { state.fires } else { 0 }, state.cut)
        };
        if is_fire && self.state().fail_at.is_some_and(|first| number >= first) {
            let full = AgentError::Log("the disk is full".into());
            return Box::pin(std::future::ready(Err(full)));
        }
        if is_fire && self.state().stop_at == Some(number) {
            self.stop.send_replace(true);
        }
        if cut != Some(Cut::Before(number)) {
            let answered = self.commit(envelope);
            if cut != Some(Cut::After(number)) {
                let _ = answer.send(answered);
                return Box::pin(std::future::ready(Ok(Receipt::new(receipt))));
            }
        }
        self.state().withheld.push(answer);
        Box::pin(std::future::ready(Ok(Receipt::new(receipt))))
    }

    fn call<'a>(
        &'a self,
        _: &'a Caller,
        tool: &'a str,
        _: serde_json::Value,
    ) -> BoxFuture<'a, Result<CallOutput, AgentError>> {
        Box::pin(async move { panic!("a scheduler does not call {tool}") })
    }

    fn grant(&self, agent: EntityId) -> BoxFuture<'_, Result<GrantId, AgentError>> {
        let grant = self.state().kernel.world().agent(agent).expect("it was spawned").grant;
        Box::pin(std::future::ready(Ok(grant)))
    }

    fn tasks(&self, agent: EntityId) -> BoxFuture<'_, Result<Vec<TaskView>, AgentError>> {
        let state = self.state();
        let tasks = state.kernel.world().tasks_of(agent);
        let view = |(name, task): (&Name, &toka_kernel::world::Task)| {
            let scheduled = Cause { id: task.scheduled, labels: task.labels.clone() };
            TaskView { name: name.clone(), due: task.due, spec: task.spec, scheduled }
        };
        let tasks = tasks.map(view);
        Box::pin(std::future::ready(Ok(tasks.collect())))
    }

    fn history<'a>(&'a self, _: u64, _: usize, kind: &'a str) -> BoxFuture<'a, Result<Observed, AgentError>> {
        Box::pin(async move { panic!("a scheduler does not look for {kind}") })
    }

    fn storage(&self, _: &Name, name: &str) -> Result<Arc<dyn Storage>, AgentError> {
        match self.drivers.get(name) {
            Some(shelf) => Ok(Arc::clone(shelf) as Arc<dyn Storage>),
            None => Err(AgentError::Unknown {
                what: "storage",
                name: name.to_owned(),
                hint: "register it".into(),
            }),
        }
    }

    fn now(&self) -> Timestamp {
        self.time()
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            {
                let mut state = self.state();
                state.sleeping = Some(at);
                state.sleeps.push(at);
            }
            let _awake = Afterwards(|| self.state().sleeping = None);
            let _ = self.clock.subscribe().wait_for(|now| *now >= at).await;
        })
    }

    fn stopped(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.state().waiting_for_stop += 1;
            let _over = Afterwards(|| self.state().waiting_for_stop -= 1);
            let _ = self.stop.subscribe().wait_for(|stopped| *stopped).await;
        })
    }

    fn is_once(&self) -> bool {
        self.once
    }
}

/// Storage in memory; a broken one refuses everything.
pub(crate) struct Shelf {
    items: Mutex<BTreeMap<String, Vec<u8>>>,
    broken: bool,
}

impl Shelf {
    fn new(broken: bool) -> Arc<Self> {
        Arc::new(Self { items: Mutex::default(), broken })
    }

    fn items(&self) -> Result<MutexGuard<'_, BTreeMap<String, Vec<u8>>>, StorageError> {
        let items = self.items.lock().expect("no panic while it was held");
        if self.broken { Err(StorageError::Failed("it is broken".into())) } else { Ok(items) }
    }
}

impl Storage for Shelf {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        self.items()?.insert(key.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.items()?.get(key).cloned())
    }

    fn delete(&self, key: &str) -> Result<bool, StorageError> {
        Ok(self.items()?.remove(key).is_some())
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        Ok(self.items()?.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }
}
