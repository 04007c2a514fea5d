//! The kernel loop: one plain thread that decides, commits and answers, and the only writer of the log.
//!
//! It drains its queue into a batch, steps the kernel, appends what was decided in one write and one sync, and only
//! then answers, publishes and goes on. What arrived meanwhile is the next batch.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use toka_agents::{AgentError, Observed};
use toka_bus::{Feed, Filter, RecvError};
use toka_kernel::step::Accepted;
use toka_kernel::{Kernel, Reply, Step, Submission, WorldState, codec};
use toka_types::facts::{AgentChanged, kinds};
use toka_types::operation::{Authority, Metered, Parent};
use toka_types::plan::Traced;
use toka_types::{EntityId, Envelope, Event, EventId, GrantId, Operation, Timestamp};
use tokio::sync::mpsc::{Receiver, UnboundedSender};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::activity::{Activity, Busy};
use crate::clock::Trusted;
#[cfg(feature = "vault")]
use crate::log::fold;
use crate::log::{LogError, LogRead, LogWrite};
use crate::plans::CloseLook;

/// Most operations in one commit: past it the sync is paid for many times over, and a caller waits longer.
const MAX_BATCH: usize = 1024;
/// Most content bytes in one commit, so that a commit of large observations stays short.
const MAX_BATCH_BYTES: usize = 8 << 20;
/// First and longest pause between two tries at a full disk.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a pause looks whether the runtime stops.
const PAUSE_STEP: Duration = Duration::from_millis(50);

/// What the loop is asked.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every command is a submission; a box would cost each of them"
)]
pub(crate) enum Command {
    /// Decide and record an operation. The permit bounds the bytes that wait; it is given back with the answer.
    Submit { envelope: Envelope, guard: Option<Guard>, permit: Option<OwnedSemaphorePermit>, answer: Answer },
    /// Look at the world. What is seen is durable.
    Query(Box<dyn FnOnce(&WorldState) + Send>),
    /// Record what is still counted, close the log and end.
    Stop(Stop),
}

/// How the answer to a submission is given.
pub(crate) type Answer = Box<dyn FnOnce(Result<Observed, AgentError>) + Send>;

/// A last look at the world, in the moment in which an operation is decided: what limits the kernel is to count for it,
/// beside those of its grant. An error refuses it.
pub(crate) type Guard = Box<dyn FnOnce(&WorldState, Timestamp) -> Result<Vec<Metered>, AgentError> + Send>;

/// What happened to an agent, for whoever runs its program.
pub(crate) enum Notice {
    /// It was spawned.
    Spawned(EntityId),
    /// It was stopped.
    Stopped(EntityId),
}

/// What the loop tells of agents and their grants, before it answers whoever changed them.
pub(crate) struct Notices {
    activity: Arc<Activity>,
    grants: Mutex<HashMap<EntityId, Arc<AtomicU64>>>,
    listener: Mutex<Option<UnboundedSender<(Notice, Busy)>>>,
    /// The calls that are looked at closely.
    pub(crate) close_look: CloseLook,
}

/// What the loop does when the disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Keep the batch and try again, with growing pauses, until there is room or the runtime stops.
    Wait,
    /// Refuse the batch and end.
    Fail,
}

pub(crate) struct KernelLoop {
    pub(crate) kernel: Kernel,
    pub(crate) log: Box<dyn LogWrite>,
    pub(crate) reader: Option<Arc<dyn LogRead>>,
    pub(crate) feed: Feed,
    pub(crate) clock: Arc<Trusted>,
    pub(crate) when_full: WhenFull,
    pub(crate) stopping: Arc<AtomicBool>,
    /// Set when nobody is left who could stop the loop: it ends with the batch in hand.
    pub(crate) abandoned: Arc<AtomicBool>,
    pub(crate) failure: watch::Sender<Option<LogError>>,
    pub(crate) notices: Arc<Notices>,
    /// Who waits for operations that could not be recorded: they are told once the log is closed.
    pub(crate) unanswered: Vec<Answer>,
}

/// Operations of one commit, and who waits for each.
#[derive(Default)]
struct Batch {
    submissions: Vec<Submission>,
    waiting: Vec<Waiting>,
}

type Waiting = (Answer, Option<OwnedSemaphorePermit>);
type Stop = Box<dyn FnOnce(Result<(), LogError>) + Send>;

/// What is told of `grant.issued`.
#[derive(Deserialize)]
struct Issued {
    subject: EntityId,
    grant: GrantId,
}

/// What is told of `agent.spawned`.
#[derive(Deserialize)]
struct Spawned {
    agent: EntityId,
    grant: GrantId,
}

impl Notices {
    pub(crate) fn new(activity: Arc<Activity>, close_look: CloseLook) -> Self {
        Self { activity, grants: Mutex::default(), listener: Mutex::default(), close_look }
    }

    /// Keeps `handle` at the number of the agent's grant from now on.
    pub(crate) fn keep_grant(&self, agent: EntityId, handle: Arc<AtomicU64>) {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner).insert(agent, handle);
    }

    /// Tells `listener` of agents from now on.
    pub(crate) fn listen(&self, listener: UnboundedSender<(Notice, Busy)>) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }

    fn tell(&self, events: &[Arc<Event>]) {
        for event in events {
            let header = &event.header;
            self.close_look.hear(header);
            // The kernel has just written these facts.
            match header.kind.as_str() {
                kinds::GRANT_ISSUED => {
                    if let Ok(Issued { subject, grant }) = codec::decode_as(header) {
                        self.set_grant(subject, grant);
                    }
                }
                kinds::AGENT_SPAWNED => {
                    if let Ok(Spawned { agent, grant }) = codec::decode_as(header) {
                        self.set_grant(agent, grant);
                        self.send(Notice::Spawned(agent));
                    }
                }
                kinds::AGENT_STOPPED => {
                    if let Ok(AgentChanged { agent }) = codec::decode_as(header) {
                        self.send(Notice::Stopped(agent));
                    }
                }
                _ => {}
            }
        }
    }

    fn set_grant(&self, agent: EntityId, grant: GrantId) {
        if let Some(handle) = self.grants.lock().unwrap_or_else(PoisonError::into_inner).get(&agent) {
            handle.store(grant.0, Ordering::SeqCst);
        }
    }

    fn send(&self, notice: Notice) {
        if let Some(listener) = &*self.listener.lock().unwrap_or_else(PoisonError::into_inner) {
            // Whoever listened is gone when the runtime stops.
            let _ = listener.send((notice, Busy::new(&self.activity)));
        }
    }
}

impl Batch {
    fn push(&mut self, submission: Submission, waiting: Waiting) {
        self.submissions.push(submission);
        self.waiting.push(waiting);
    }

    /// What a guard refused: it becomes nothing, but what was signed of it is good no more.
    fn push_refused(&mut self, envelope: Envelope, refused: AgentError, waiting: Waiting) {
        let (answer, permit) = waiting;
        // That it was signed for something used before says more.
        let answer: Answer = Box::new(move |burnt| answer(Err(burnt.err().unwrap_or(refused))));
        self.push(Submission { turned_away: true, ..Submission::new(envelope) }, (answer, permit));
    }
}

impl KernelLoop {
    /// Runs until it is stopped, abandoned, its queue is closed, or the log fails.
    pub(crate) fn run(mut self, mut queue: Receiver<Command>) {
        let mut carried = None;
        while let Some(first) = carried.take().or_else(|| queue.blocking_recv()) {
            // The outcome of an effect that was requested may use the room that is kept for it, so it is committed
            // apart. Nothing that its agent asked before the request is among the others: that is durable.
            let (mut outcomes, mut others) = (Batch::default(), Batch::default());
            let mut queries = Vec::new();
            let mut stop = None;
            let (mut count, mut bytes) = (0, 0);
            let mut next = Some(first);
            while let Some(command) = next {
                match command {
                    Command::Submit { guard: Some(guard), envelope, permit, answer } => {
                        if count > 0 {
                            // It is asked in a world that is durable, and decided in that very one.
                            carried = Some(Command::Submit { guard: Some(guard), envelope, permit, answer });
                            break;
                        }
                        match guard(self.kernel.world(), self.clock.now()) {
                            Ok(narrowed) => {
                                let unknown = self.unknown_cause(&envelope);
                                let submission =
                                    Submission { unknown, narrowed, ..Submission::new(envelope) };
                                others.push(submission, (answer, permit));
                                break;
                            }
                            Err(refused) if matches!(envelope.authority, Authority::Signed { .. }) => {
                                others.push_refused(envelope, refused, (answer, permit));
                                break;
                            }
                            Err(refused) => answer(Err(refused)),
                        }
                    }
                    Command::Submit { guard: None, envelope, permit, answer } => {
                        count += 1;
                        bytes += content_bytes(&envelope.operation);
                        let unknown = self.unknown_cause(&envelope);
                        let batch = if is_owed(&envelope.operation) { &mut outcomes } else { &mut others };
                        let submission = Submission { unknown, ..Submission::new(envelope) };
                        batch.push(submission, (answer, permit));
                    }
                    Command::Query(query) => queries.push(query),
                    Command::Stop(answer) => {
                        stop = Some(answer);
                        break;
                    }
                }
                let full = count >= MAX_BATCH || bytes >= MAX_BATCH_BYTES;
                next = if full { None } else { queue.try_recv().ok() };
            }
            let turned = match self.turn(outcomes, true) {
                Ok(()) => self.turn(others, false),
                Err(error) => {
                    self.unanswered.extend(others.waiting.into_iter().map(|(answer, _)| answer));
                    Err(error)
                }
            };
            if let Err(error) = turned {
                self.fail(&error, carried, &mut queue, stop);
                return;
            }
            for query in queries {
                query(self.kernel.world());
            }
            if let Some(answer) = stop {
                answer(self.finish());
                return;
            }
            if self.abandoned.load(Ordering::SeqCst) {
                break;
            }
        }
        if let Err(error) = self.finish() {
            self.failure.send_replace(Some(error));
        }
    }

    /// Decides, commits and answers. `reserved` lets the commit use the room kept for outcomes.
    fn turn(&mut self, batch: Batch, reserved: bool) -> Result<(), LogError> {
        let Batch { mut submissions, mut waiting } = batch;
        if submissions.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        if self.kernel.world().operator_grant().is_some()
            && let Some(shows) = self.clock.take_jump()
        {
            tracing::error!(
                "the clock shows {shows}, and by the time that passed it is {now}: tasks and calls to the outside wait until the \
                 operator confirms it with `toka op submit '{{\"op\": \"clock.reset\"}}'`"
            );
            submissions.insert(0, Submission::new(jumped(shows)));
            waiting.insert(0, (Box::new(|_| {}), None));
        }
        let Step { events, replies } = self.kernel.step(submissions, now);
        let mut later: Vec<(Waiting, Reply)> = Vec::with_capacity(replies.len());
        for (waiting, reply) in waiting.into_iter().zip(replies) {
            match reply {
                // A pure call or a local read may start before anything is durable: nobody outside sees it.
                Ok(Accepted::Events(range)) if range.is_empty() => (waiting.0)(Ok(Vec::new())),
                reply => later.push((waiting, reply)),
            }
        }
        if let Err(error) = self.append(&events, reserved) {
            self.unanswered.extend(later.into_iter().map(|((answer, _), _)| answer));
            return Err(error);
        }
        if events.iter().any(|event| event.header.kind.as_str() == kinds::CLOCK_RESET) {
            self.clock.confirm();
        }
        let evicted = self.feed.publish(&events);
        self.notices.tell(&events);
        for ((answer, permit), reply) in later {
            answer(self.answer(&events, reply));
            drop(permit);
        }
        drop(evicted);
        Ok(())
    }

    /// The first cause named by the operation that the log does not hold. Without a kept log nobody can tell.
    fn unknown_cause(&self, envelope: &Envelope) -> Option<EventId> {
        let reader = self.reader.as_ref()?;
        let named = match &envelope.operation {
            Operation::Observe(observations) => &observations[..],
            _ => &[],
        };
        let parents = named.iter().flat_map(|o| &o.parents).filter_map(|parent| match parent {
            Parent::Event(cause) => Some(cause.id),
            Parent::Earlier(_) => None,
        });
        // An error while looking is a refusal too.
        let causes = envelope.causes.iter().map(|cause| cause.id);
        causes.chain(parents).find(|id| !matches!(reader.contains(id), Ok(true)))
    }

    fn append(&mut self, events: &[Arc<Event>], reserved: bool) -> Result<(), LogError> {
        if events.is_empty() {
            return Ok(());
        }
        let mut pause = FIRST_PAUSE;
        let mut reported = false;
        loop {
            match self.log.append(events, reserved) {
                Err(LogError::Full(detail))
                    if self.when_full == WhenFull::Wait && !self.stopping.load(Ordering::Relaxed) =>
                {
                    if !reported {
                        tracing::error!("{detail}; {} events wait until there is room", events.len());
                        reported = true;
                    }
                    self.nap(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Ok(()) => {
                    if reported {
                        tracing::info!("there is room again; the waiting events are recorded");
                    }
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn nap(&self, pause: Duration) {
        let mut left = pause;
        while !left.is_zero() && !self.stopping.load(Ordering::Relaxed) {
            let step = left.min(PAUSE_STEP);
            std::thread::sleep(step);
            left -= step;
        }
    }

    fn answer(&self, events: &[Arc<Event>], reply: Reply) -> Result<Observed, AgentError> {
        match reply {
            Ok(Accepted::Events(range)) => Ok(events[range].to_vec()),
            Ok(Accepted::Repeated(id)) => match &self.reader {
                Some(reader) => match reader.find(&id) {
                    Ok(found) => Ok(found.into_iter().collect()),
                    Err(error) => Err(AgentError::Log(error.to_string())),
                },
                // Without a vault the first answer is there as long as the ring keeps it.
                None => {
                    let mut events = self.feed.handle().subscribe_from(0, Filter::all());
                    loop {
                        match events.try_recv() {
                            Ok(Some(event)) if event.header.id == id => return Ok(vec![event]),
                            Ok(Some(_)) | Err(RecvError::Lagged(_)) => {}
                            Ok(None) | Err(_) => return Ok(Vec::new()),
                        }
                    }
                }
            },
            Err(denied) => {
                Err(AgentError::Denied { code: denied.code.as_str().to_owned(), rule: denied.rule })
            }
        }
    }

    fn finish(&mut self) -> Result<(), LogError> {
        let step = self.kernel.settle(self.clock.now());
        let settled = self.append(&step.events, true);
        if settled.is_ok() {
            self.feed.publish(&step.events);
        }
        settled.and(self.log.close())
    }

    /// Ends after a failure. The world in memory is ahead of the log, so nothing more is decided in it: what waits
    /// is told, and the next start folds the world from the log.
    fn fail(
        &mut self,
        error: &LogError,
        carried: Option<Command>,
        queue: &mut Receiver<Command>,
        stop: Option<Stop>,
    ) {
        queue.close();
        let mut outcomes = Batch::default();
        let mut stops = Vec::from_iter(stop);
        let mut next = carried.or_else(|| queue.blocking_recv());
        while let Some(command) = next {
            match command {
                Command::Submit { envelope, permit, answer, .. } if is_owed(&envelope.operation) => {
                    let unknown = self.unknown_cause(&envelope);
                    let submission = Submission { unknown, ..Submission::new(envelope) };
                    outcomes.push(submission, (answer, permit));
                }
                Command::Submit { answer, .. } => self.unanswered.push(answer),
                Command::Query(_) => {}
                Command::Stop(answer) => stops.push(answer),
            }
            next = queue.blocking_recv();
        }
        if let Err(lost) = self.rescue(error, outcomes) {
            tracing::error!(
                "outcomes of calls are not recorded: {lost}; the next start finds out about them"
            );
        }
        // The log is closed before anybody hears of the failure, so that whoever does can open it again.
        if let Err(closing) = self.log.close() {
            tracing::error!("closing the log: {closing}");
        }
        self.failure.send_replace(Some(error.clone()));
        for answer in self.unanswered.drain(..) {
            answer(Err(AgentError::Log(error.to_string())));
        }
        for answer in stops {
            answer(Err(error.clone()));
        }
    }

    /// Records outcomes that arrived while a batch waited for room in vain: room is kept for them.
    fn rescue(&mut self, error: &LogError, outcomes: Batch) -> Result<(), LogError> {
        let room = match (error, &self.reader) {
            // Only a log that is kept can be full, and only then is the folding of one a part of the program.
            #[cfg(feature = "vault")]
            (LogError::Full(_), Some(reader)) if !outcomes.submissions.is_empty() => {
                fold(reader.as_ref(), u64::MAX, |_, _| {}).map(|kernel: Kernel| self.kernel = kernel)
            }
            _ => Err(error.clone()),
        };
        match room {
            Ok(()) => self.turn(outcomes, true),
            Err(_) if outcomes.submissions.is_empty() => Ok(()),
            Err(failed) => {
                self.unanswered.extend(outcomes.waiting.into_iter().map(|(answer, _)| answer));
                Err(failed)
            }
        }
    }
}

/// What records that the clock jumped.
fn jumped(shows: Timestamp) -> Envelope {
    Envelope {
        origin: EntityId::operator(),
        authority: Authority::Host,
        op_id: None,
        causes: Vec::new(),
        operation: Operation::JumpClock { shows },
    }
}

/// True for the outcome of an effect whose request is durable: room is kept for it.
fn is_owed(operation: &Operation) -> bool {
    matches!(operation, Operation::Return(outcome) if outcome.request.is_some())
}

/// The bytes of content an operation carries, which bound how much may wait at once.
pub(crate) fn content_bytes(operation: &Operation) -> usize {
    match operation {
        Operation::Observe(observations) => {
            observations.iter().filter_map(|o| o.content.as_ref()).map(|c| c.bytes().len()).sum()
        }
        Operation::Send { message, .. } | Operation::Instruct { message, .. } => message.bytes().len(),
        Operation::CommitPlan(plan) => plan.content.bytes().len(),
        Operation::ScheduleTask { spec, .. } => spec.bytes().len(),
        Operation::Request(request) | Operation::RequestApproval { request, .. } => {
            let size = |traced: &Traced| size_of_val(&traced.phrases[..]) + size_of_val(&traced.controls[..]);
            let traced = request.traced.as_deref().map_or(0, size);
            request.arguments.bytes().len() + traced
        }
        Operation::Custom { input, .. } => input.len(),
        Operation::Return(outcome) => outcome.content.as_ref().map_or(0, |c| c.bytes().len()),
        _ => 0,
    }
}
