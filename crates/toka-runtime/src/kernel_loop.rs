//! The kernel loop: one plain thread that decides, commits and answers, and the only writer of the log.
//!
//! It drains its queue into a batch, steps the kernel, appends what was decided in one write and one sync, and only
//! then answers, publishes and goes on. What arrived meanwhile is the next batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use toka_agents::{AgentError, Observed};
use toka_bus::Feed;
use toka_kernel::step::Accepted;
use toka_kernel::{Kernel, Reply, Step, Submission, WorldState};
use toka_types::operation::Parent;
use toka_types::{Envelope, Event, EventId, Operation};
use tokio::sync::mpsc::Receiver;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::clock::Clock;
use crate::log::{LogError, LogRead, LogWrite};

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
pub(crate) enum Command {
    /// Decide and record an operation. The permit bounds the bytes that wait; it is given back with the answer.
    Submit { envelope: Envelope, permit: Option<OwnedSemaphorePermit>, answer: Answer },
    /// Look at the world. What is seen is durable.
    Query(Box<dyn FnOnce(&WorldState) + Send>),
    /// Record what is still counted, close the log and end.
    Stop(Box<dyn FnOnce(Result<(), LogError>) + Send>),
}

/// How the answer to a submission is given.
pub(crate) type Answer = Box<dyn FnOnce(Result<Observed, AgentError>) + Send>;

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
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) when_full: WhenFull,
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) failure: watch::Sender<Option<LogError>>,
}

type Waiting = (Answer, Option<OwnedSemaphorePermit>);

impl KernelLoop {
    /// Runs until it is stopped, its queue is closed, or the log fails.
    pub(crate) fn run(mut self, mut queue: Receiver<Command>) {
        while let Some(first) = queue.blocking_recv() {
            let mut submissions = Vec::new();
            let mut waiting: Vec<Waiting> = Vec::new();
            let mut queries = Vec::new();
            let mut stop = None;
            let mut bytes = 0;
            let mut next = Some(first);
            while let Some(command) = next {
                match command {
                    Command::Submit { envelope, permit, answer } => {
                        bytes += content_bytes(&envelope.operation);
                        let unknown = self.unknown_cause(&envelope);
                        submissions.push(Submission { envelope, unknown });
                        waiting.push((answer, permit));
                    }
                    Command::Query(query) => queries.push(query),
                    Command::Stop(answer) => {
                        stop = Some(answer);
                        break;
                    }
                }
                let full = submissions.len() >= MAX_BATCH || bytes >= MAX_BATCH_BYTES;
                next = if full { None } else { queue.try_recv().ok() };
            }
            if let Err(error) = self.turn(submissions, waiting) {
                self.fail(&error, &mut queue, stop);
                return;
            }
            for query in queries {
                query(self.kernel.world());
            }
            if let Some(answer) = stop {
                answer(self.finish());
                return;
            }
        }
        if let Err(error) = self.finish() {
            self.failure.send_replace(Some(error));
        }
    }

    fn turn(&mut self, submissions: Vec<Submission>, waiting: Vec<Waiting>) -> Result<(), LogError> {
        if submissions.is_empty() {
            return Ok(());
        }
        // Room is kept for outcomes, so that what an effect did can always be recorded.
        let reserved = submissions.iter().all(|s| matches!(s.envelope.operation, Operation::Return(_) | Operation::EndTurn { .. }));
        let Step { events, replies } = self.kernel.step(submissions, self.clock.now());
        let mut later: Vec<(Waiting, Reply)> = Vec::with_capacity(replies.len());
        for (waiting, reply) in waiting.into_iter().zip(replies) {
            match reply {
                // A pure call or a local read may start before anything is durable: nobody outside sees it.
                Ok(Accepted::Events(range)) if range.is_empty() => (waiting.0)(Ok(Vec::new())),
                reply => later.push((waiting, reply)),
            }
        }
        if let Err(error) = self.append(&events, reserved) {
            for ((answer, _), _) in later {
                answer(Err(AgentError::Log(error.to_string())));
            }
            return Err(error);
        }
        self.feed.publish(&events);
        for ((answer, permit), reply) in later {
            answer(self.answer(&events, reply));
            drop(permit);
        }
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
                Err(LogError::Full(detail)) if self.when_full == WhenFull::Wait && !self.stopping.load(Ordering::Relaxed) => {
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
                None => Ok(Vec::new()),
            },
            Err(denied) => Err(AgentError::Denied { code: denied.code.as_str().to_owned(), rule: denied.rule }),
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

    /// Ends after a failure. The world in memory is ahead of the log, so nothing more is decided: what waits is
    /// told, and the next start folds the world from the log.
    fn fail(&mut self, error: &LogError, queue: &mut Receiver<Command>, stop: Option<Box<dyn FnOnce(Result<(), LogError>) + Send>>) {
        // The log is closed before anybody hears of the failure, so that whoever does can open it again.
        if let Err(closing) = self.log.close() {
            tracing::error!("closing the log: {closing}");
        }
        self.failure.send_replace(Some(error.clone()));
        if let Some(answer) = stop {
            answer(Err(error.clone()));
        }
        queue.close();
        while let Some(command) = queue.blocking_recv() {
            match command {
                Command::Submit { answer, .. } => answer(Err(AgentError::Log(error.to_string()))),
                Command::Query(_) => {}
                Command::Stop(answer) => answer(Err(error.clone())),
            }
        }
    }
}

/// The bytes of content an operation carries, which bound how much may wait at once.
pub(crate) fn content_bytes(operation: &Operation) -> usize {
    match operation {
        Operation::Observe(observations) => {
            observations.iter().filter_map(|o| o.content.as_ref()).map(|c| c.bytes().len()).sum()
        }
        Operation::Send { message, .. } => message.bytes().len(),
        Operation::ScheduleTask { spec, .. } => spec.bytes().len(),
        Operation::Request(request) => request.arguments.bytes().len(),
        Operation::Return(outcome) => outcome.content.as_ref().map_or(0, |c| c.bytes().len()),
        _ => 0,
    }
}
