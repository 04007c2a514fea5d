//! What an operation amounts to: events, or a refusal. Nothing is changed here, and an error is a refusal.

use toka_types::capability::{Argument, Request, is_path};
use toka_types::facts::{
    AgentChanged, Facts, LogOpened, MessageSent, Observed, TaskCancelled, TaskFired, TaskScheduled, TurnEnded,
};
use toka_types::operation::{Authority, Cause, Metered, Observation, Parent, TaskAction};
use toka_types::{
    Capability, EntityId, Envelope, EventId, GrantId, Kind, Labels, Name, Operation, Payload, Timestamp,
};

use crate::codec::is_reserved;
use crate::decide::effects::Asking;
use crate::decide::needs::first_asked;
use crate::denial::{Code, Denied};
use crate::limits::*;
use crate::opcode::Opcodes;
use crate::step::is_host_only;
use crate::world::{AgentState, Grant, WorldState};

mod agents;
mod approvals;
mod bounds;
mod clock;
mod custom;
mod effects;
mod flow;
mod metered;
mod money;
mod needs;
mod people;
mod plans;
mod quarantine;

pub(crate) use metered::Uses;
pub use needs::{Need, each_need};

/// An event that an operation amounts to, without position, time and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What sort of fact it is.
    pub kind: Kind,
    /// Its facts.
    pub facts: Facts,
    /// Its content.
    pub content: Option<Payload>,
    /// The labels of its own source; those of its causes are joined in by the caller.
    pub labels: Labels,
    /// Its causes beside the envelope's.
    pub parents: Vec<Parent>,
}

/// Says what `envelope` amounts to in `world` at `at`. A local read or a pure call amounts to no event when it is
/// requested, unless the capability that allows it has limits: it may start, and its outcome is the event. What is used of
/// capabilities with limits, [`Kernel::step`](crate::Kernel::step) records beside the first event.
pub fn decide(world: &WorldState, envelope: &Envelope, at: Timestamp) -> Result<Vec<Decided>, Denied> {
    match decide_with(world, &Opcodes::default(), envelope, &[], at)? {
        Decision::Events(events, _) => Ok(events),
        Decision::Asked(_) => Ok(Vec::new()),
    }
}

/// What an operation amounts to.
#[derive(Debug)]
pub(crate) enum Decision {
    /// These events, and what is used of capabilities with limits. What becomes no event uses nothing.
    Events(Vec<Decided>, Uses),
    /// Nothing new: a person was asked before whether it may be, by this event.
    Asked(EventId),
}

/// The same with registered opcodes, and for a token that was narrowed down to something with limits.
pub(crate) fn decide_with(
    world: &WorldState,
    opcodes: &Opcodes,
    envelope: &Envelope,
    narrowed: &[Metered],
    at: Timestamp,
) -> Result<Decision, Denied> {
    let origin = envelope.origin;
    let mut asked = Asked { world, opcodes, envelope, narrowed, at, used: Uses::default() };
    if let Some((_, until)) = envelope.op_id {
        asked.is_remembered(until)?;
    }
    asked.confined()?;
    if !is_host_only(&envelope.operation) {
        asked.used = asked.check_needs()?;
    }
    let events = match &envelope.operation {
        Operation::OpenLog { capabilities } => asked.open_log(capabilities),
        Operation::SpawnAgent { name, behaviour, grant, budget, quarantine } => {
            asked.spawn(name, behaviour, grant, *budget, quarantine.as_ref())
        }
        Operation::Answer(answer) => asked.answer(answer),
        Operation::StopAgent(agent) => {
            asked.over(*agent, "agent:stop")?;
            let mut events = one(Facts::AgentStopped(AgentChanged { agent: *agent }));
            asked.reclaim(*agent, &mut events);
            Ok(events)
        }
        Operation::SuspendAgent(agent) => {
            asked.over(*agent, "agent:suspend")?;
            Ok(one(Facts::AgentSuspended(AgentChanged { agent: *agent })))
        }
        Operation::ResumeAgent(agent) => {
            asked.over(*agent, "agent:resume")?;
            asked.may_resume(*agent)?;
            Ok(one(Facts::AgentResumed(AgentChanged { agent: *agent })))
        }
        Operation::IssueGrant { agent, grant } => asked.issue(*agent, grant),
        Operation::RevokeGrant(grant) => asked.revoke(*grant),
        Operation::EndTurn { upto } => {
            asked.host_only("turn:end")?;
            asked.known_agent(origin, "turn:end")?;
            Ok(one(Facts::TurnEnded(TurnEnded { agent: origin, upto: *upto })))
        }
        Operation::Observe(observations) => asked.observe(observations),
        Operation::Send { to, message } => asked.send(*to, message),
        Operation::Instruct { to, message, literals } => asked.instruct(*to, message, literals),
        Operation::CommitPlan(plan) => asked.commit_plan(plan),
        Operation::ScheduleTask { task, due, spec } => asked.schedule(task, *due, spec),
        Operation::CancelTask { task } => {
            asked.task(task)?;
            Ok(one(Facts::TaskCancelled(TaskCancelled { task: task.clone(), owner: origin })))
        }
        Operation::FireTask { task, due, next, action } => asked.fire(task, *due, *next, action),
        Operation::Request(request) => match asked.request(request)? {
            Asking::Made(events) => Ok(events),
            // What a person is asked about was not done.
            Asking::Question(events) => return Ok(Decision::Events(events, Uses::default())),
            Asking::Waits(approval) => return Ok(Decision::Asked(approval)),
        },
        Operation::Return(outcome) => asked.outcome(outcome),
        Operation::Erase { keys } => asked.erase(keys),
        Operation::CreateUser { name, role, grant } => asked.create_user(name, *role, grant),
        Operation::AssignRole { user, role } => asked.assign_role(*user, *role),
        Operation::RequestApproval { request, expires } => {
            let events = asked.request_approval(request, *expires, None)?;
            return Ok(Decision::Events(events, Uses::default()));
        }
        Operation::DecideApproval { approval, verdict, until } => {
            asked.decide_approval(*approval, *verdict, *until)
        }
        Operation::CancelApproval(approval) => asked.cancel_approval(*approval),
        Operation::SetPolicy(rules) => asked.set_policy(rules),
        Operation::Enter(request) => asked.enter(request),
        Operation::SetPrice { item, from, price } => asked.set_price(item, *from, *price),
        Operation::DeclareTool(declared) => asked.declare_tool(declared),
        Operation::LimitLog(limits) => asked.limit_log(limits),
        Operation::JumpClock { shows } => asked.jump_clock(*shows),
        Operation::ResetClock { shows } => asked.reset_clock(*shows),
        Operation::Custom { opcode, input } => asked.custom(opcode, input),
        Operation::Resolve { request, resolution } => asked.resolve(*request, *resolution),
    };
    Ok(Decision::Events(events?, asked.used))
}

fn one(facts: Facts) -> Vec<Decided> {
    vec![decided(facts, None)]
}

fn decided(facts: Facts, content: Option<Payload>) -> Decided {
    Decided { kind: kind_of(&facts), facts, content, labels: Labels::none(), parents: Vec::new() }
}

/// The kind of facts that are the kernel's.
pub(crate) fn kind_of(facts: &Facts) -> Kind {
    let kind = facts.kind().and_then(|kind| Kind::new(kind).ok());
    kind.expect("every kind of the kernel is well formed, as a test of the codec shows")
}

struct Asked<'a> {
    world: &'a WorldState,
    opcodes: &'a Opcodes,
    envelope: &'a Envelope,
    /// What the token was narrowed down to, as far as that has limits.
    narrowed: &'a [Metered],
    at: Timestamp,
    /// What the operation uses of capabilities with limits.
    used: Uses,
}

impl Asked<'_> {
    /// Checks that the asker's grant allows all that the operation needs, and says what that uses of capabilities with
    /// limits.
    fn check_needs(&self) -> Result<Uses, Denied> {
        let Envelope { origin, operation, .. } = self.envelope;
        // What was asked is written out only where something is refused: this runs for every operation.
        let named = |denied| Denied { asked: first_asked(self.world, *origin, operation), ..denied };
        let (id, grant) = self.grant("").map_err(named)?;
        let mut used = Uses::default();
        each_need(self.world, *origin, operation, |need| match need {
            Need::Use(request, times) => {
                self.may(id, grant, &request, times, &mut used)?;
                self.narrowed
                    .iter()
                    .try_for_each(|own| self.count_in_token(id, own, &request, times, &mut used))
            }
            Need::HandOn(terms) => self.part_of(grant, terms, "").map_err(named),
        })?;
        self.has_meters(id, &used).map_err(named)?;
        Ok(used)
    }

    /// Checks that repeats of the operation can be recognised until `until`.
    fn is_remembered(&self, until: Timestamp) -> Result<(), Denied> {
        // An outcome is recorded whatever became of its asker meanwhile; the call was asked about when it was requested.
        if matches!(self.envelope.operation, Operation::Return(_)) {
            return Ok(());
        }
        let (asked, at) = ("operation:repeat", self.at);
        let last = Timestamp(at.0.saturating_add(MAX_REPEAT_WINDOW));
        if until < at || until > last {
            let rule = format!("repeats shall be recognised until {until}; from {at} to {last} is allowed");
            return Err(self.deny(Code::RepeatWindow, asked, rule));
        }
        if self.world.remembered(self.envelope.origin, at) >= MAX_REMEMBERED as u64 {
            let rule = format!(
                "{MAX_REMEMBERED} operations of {} are remembered by their ids, and no more are; wait until some of them \
                 are not any more, and name operations for a shorter time, as under a token that ends sooner",
                self.envelope.origin
            );
            return Err(self.deny(Code::RepeatsFull, asked, rule));
        }
        Ok(())
    }

    fn deny(&self, code: Code, asked: &str, rule: impl Into<String>) -> Denied {
        Denied::new(code, asked, rule)
    }

    fn host_only(&self, asked: &str) -> Result<(), Denied> {
        match self.envelope.authority {
            Authority::Host => Ok(()),
            Authority::Grant(_) | Authority::Signed { .. } => {
                Err(self.deny(Code::HostOnly, asked, "only the host itself may ask this"))
            }
        }
    }

    /// The grant the envelope stands under, valid now and the origin's own.
    fn grant(&self, asked: &str) -> Result<(GrantId, &Grant), Denied> {
        let (Authority::Grant(id) | Authority::Signed { grant: id, .. }) = self.envelope.authority else {
            return Err(self.deny(
                Code::GrantUnknown,
                asked,
                "a grant is needed; the host's own authority does not reach here",
            ));
        };
        let Some(grant) = self.world.grants.get(&id) else {
            let code = if self.world.operator.is_none() { Code::LogNotOpen } else { Code::GrantUnknown };
            return Err(self.deny(code, asked, format!("there is no grant {id}")));
        };
        if grant.revoked {
            return Err(self.deny(Code::GrantRevoked, asked, format!("grant {id} was revoked")));
        }
        if grant.expires.is_some_and(|end| end <= self.at) {
            return Err(self.deny(Code::GrantExpired, asked, format!("grant {id} has ended")));
        }
        if grant.subject != self.envelope.origin {
            return Err(self.deny(
                Code::GrantSubject,
                asked,
                format!("grant {id} belongs to {}, not to {}", grant.subject, self.envelope.origin),
            ));
        }
        if let Some(agent) = self.world.agents.get(&self.envelope.origin) {
            match agent.state {
                AgentState::Running => {}
                AgentState::Suspended => {
                    return Err(self.deny(
                        Code::AgentSuspended,
                        asked,
                        format!("agent '{}' is suspended", agent.name),
                    ));
                }
                AgentState::Stopped => {
                    return Err(self.deny(
                        Code::AgentStopped,
                        asked,
                        format!("agent '{}' was stopped", agent.name),
                    ));
                }
            }
        }
        Ok((id, grant))
    }

    /// Checks that the grant allows the request, so many times.
    fn may(
        &self,
        id: GrantId,
        grant: &Grant,
        request: &Request<'_>,
        times: u64,
        used: &mut Uses,
    ) -> Result<(), Denied> {
        if grant.uses.allows_at(request, self.at) {
            return self.in_role(grant, request.resource, request.action);
        }
        if grant.uses.allowing(request, self.at).next().is_some() {
            self.in_role(grant, request.resource, request.action)?;
            return self.count_uses(id, grant, request, times, used);
        }
        let argument = request.arguments.iter().find_map(|(_, argument)| match argument {
            Argument::Path(text) | Argument::Text(text) | Argument::Host(text) => Some((*text).to_owned()),
            Argument::Money(money) => Some(money.to_string()),
            Argument::Number(_) => None,
        });
        let asked = format!("{}:{}", request.resource, request.action);
        let leads_out = |argument: &Argument<'_>| matches!(argument, Argument::Path(path) if !is_path(path));
        let rule = match request.arguments.iter().find(|(_, argument)| leads_out(argument)) {
            Some((name, _)) => format!(
                "no capability allows {asked} with a '{name}' that is no path in normal form beneath its folder"
            ),
            None => format!("no capability of grant {id} allows {asked}"),
        };
        let nearest = grant.uses.nearest(request).cloned().map(Box::new);
        Err(Denied { argument, nearest, ..Denied::new(Code::CapabilityMissing, &asked, rule) })
    }

    fn known_agent(&self, id: EntityId, asked: &str) -> Result<&crate::world::Agent, Denied> {
        let agent = self.world.agents.get(&id);
        agent.ok_or_else(|| self.deny(Code::AgentUnknown, asked, format!("there is no agent {id}")))
    }

    fn open_log(&self, capabilities: &[Capability]) -> Result<Vec<Decided>, Denied> {
        self.host_only("log:open")?;
        if self.world.operator.is_some() {
            return Err(self.deny(Code::LogAlreadyOpen, "log:open", "the log is open already"));
        }
        self.count("log:open", "capabilities", capabilities.len(), MAX_CAPABILITIES)?;
        let (operator, grant) = (self.envelope.origin, GrantId(1));
        Ok(one(Facts::LogOpened(LogOpened { operator, grant, capabilities: capabilities.to_vec() })))
    }

    fn observe(&self, observations: &[Observation]) -> Result<Vec<Decided>, Denied> {
        self.count(
            "event:emit",
            "observations",
            observations.len(),
            self.most(|l| l.observations, MAX_OBSERVATIONS),
        )?;
        let largest = self.largest_observation();
        let mut events = Vec::with_capacity(observations.len());
        let mut allowed: Option<&Kind> = None;
        for (index, observation) in observations.iter().enumerate() {
            if allowed != Some(&observation.kind) {
                self.is_free(&observation.kind)?;
                allowed = Some(&observation.kind);
            }
            let size = observation.content.as_ref().map_or(0, |c| c.bytes().len());
            self.size("event:emit", "bytes in an observation", size, largest)?;
            self.count("event:emit", "registers", observation.registers.len(), MAX_REGISTERS)?;
            let later = |parent: &Parent| matches!(parent, Parent::Earlier(earlier) if *earlier >= index);
            if observation.parents.iter().any(later) {
                return Err(self.deny(
                    Code::ParentUnknown,
                    "event:emit",
                    format!("observation {index} names a cause that is not before it"),
                ));
            }
            events.push(Decided {
                kind: observation.kind.clone(),
                facts: Facts::Observed(Observed { registers: observation.registers.clone() }),
                content: observation.content.clone(),
                labels: observation.labels.clone(),
                parents: observation.parents.clone(),
            });
        }
        Ok(events)
    }

    /// Checks that the kind is not the kernel's.
    fn is_free(&self, kind: &Kind) -> Result<(), Denied> {
        if is_reserved(kind) {
            return Err(self.deny(
                Code::KindReserved,
                "event:emit",
                format!("kind '{kind}' belongs to the kernel; choose another first segment"),
            ));
        }
        Ok(())
    }

    fn send(&self, to: EntityId, message: &Payload) -> Result<Vec<Decided>, Denied> {
        let target = self.known_agent(to, "message:send")?;
        if target.state == AgentState::Stopped {
            return Err(self.deny(
                Code::AgentStopped,
                "message:send",
                format!("agent '{}' was stopped", target.name),
            ));
        }
        self.size(
            "message:send",
            "bytes in a message",
            message.bytes().len(),
            self.most(|l| l.message_bytes, MAX_MESSAGE),
        )?;
        let facts = Facts::MessageSent(MessageSent { from: self.envelope.origin, to, literals: None });
        Ok(vec![decided(facts, Some(message.clone()))])
    }

    fn schedule(&self, task: &Name, due: Timestamp, spec: &Payload) -> Result<Vec<Decided>, Denied> {
        let owner = self.envelope.origin;
        let agent = self.known_agent(owner, "task:schedule")?;
        self.size(
            "task:schedule",
            "bytes in a task",
            spec.bytes().len(),
            self.most(|l| l.task_bytes, MAX_TASK),
        )?;
        if self.world.task(owner, task).is_none() {
            self.count(
                "task:schedule",
                "tasks of one agent",
                agent.tasks as usize + 1,
                self.most(|l| l.tasks, MAX_TASKS),
            )?;
        }
        let facts = TaskScheduled { task: task.clone(), owner, due, spec: spec.digest() };
        Ok(vec![decided(Facts::TaskScheduled(facts), Some(spec.clone()))])
    }

    fn task(&self, task: &Name) -> Result<&crate::world::Task, Denied> {
        let found = self.world.task(self.envelope.origin, task);
        found.ok_or_else(|| {
            self.deny(Code::TaskUnknown, "task:schedule", format!("there is no task '{task}'"))
        })
    }

    fn fire(
        &self,
        task: &Name,
        due: Timestamp,
        next: Option<Timestamp>,
        action: &TaskAction,
    ) -> Result<Vec<Decided>, Denied> {
        self.clock_runs("task:schedule")?;
        let found = self.task(task)?;
        let not_due = |rule| Err(self.deny(Code::TaskNotDue, "task:schedule", rule));
        if found.due != due {
            return not_due(format!("task '{task}' is due at {}, not at {due}", found.due));
        }
        if due > self.at {
            return not_due(format!("task '{task}' is due at {due}, it is {}", self.at));
        }
        if next.is_some_and(|next| next <= due) {
            return not_due(format!("task '{task}' cannot be due again before it was due"));
        }
        let scheduled = Parent::Event(Cause { id: found.scheduled, labels: found.labels.clone() });
        let facts = TaskFired { task: task.clone(), owner: self.envelope.origin, due, next };
        let mut fired = decided(Facts::TaskFired(facts), None);
        fired.parents.push(scheduled);
        let mut events = vec![fired];
        let mut done = match action {
            TaskAction::Emit { kind, content } => {
                self.is_free(kind)?;
                let size = content.bytes().len();
                self.size("event:emit", "bytes in an observation", size, self.largest_observation())?;
                let facts = Facts::Observed(Observed { registers: Vec::new() });
                let (kind, content, labels) = (kind.clone(), Some(content.clone()), Labels::none());
                vec![Decided { kind, facts, content, labels, parents: Vec::new() }]
            }
            TaskAction::Send { to, message } => self.send(*to, message)?,
            TaskAction::Skip => Vec::new(),
        };
        for event in &mut done {
            event.parents.push(Parent::Earlier(0));
        }
        events.append(&mut done);
        Ok(events)
    }

    fn size(&self, asked: &str, what: &str, value: usize, limit: usize) -> Result<(), Denied> {
        self.bound(Code::LimitSize, asked, what, value, limit)
    }

    fn count(&self, asked: &str, what: &str, value: usize, limit: usize) -> Result<(), Denied> {
        self.bound(Code::LimitCount, asked, what, value, limit)
    }

    fn bound(&self, code: Code, asked: &str, what: &str, value: usize, limit: usize) -> Result<(), Denied> {
        if value <= limit {
            return Ok(());
        }
        Err(self.deny(code, asked, format!("{value} {what}; at most {limit} are allowed")))
    }
}
