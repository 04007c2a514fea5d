//! What an operation amounts to: events, or a refusal. Nothing is changed here, and an error is a refusal.

use toka_types::Money;
use toka_types::capability::{Argument, CapabilitySet, Request};
use toka_types::facts::{
    AgentChanged, AgentSpawned, Facts, GrantIssued, GrantRevoked, LogOpened, MessageSent, Observed,
    Resolution, SubjectErased, TaskCancelled, TaskFired, TaskScheduled, ToolRequested, ToolResolved,
    ToolReturned, TurnEnded,
};
use toka_types::operation::{
    Authority, Cause, GovernedArgument, GrantTerms, Observation, Parent, TaskAction, ToolOutcome, ToolRequest,
};
use toka_types::{
    Capability, EntityId, Envelope, EventId, GrantId, KeyId, Kind, Labels, Name, Operation, Payload,
    Timestamp,
};

use crate::codec::is_reserved;
use crate::denial::{Code, Denied};
use crate::limits::*;
use crate::opcode::Opcodes;
use crate::world::{AgentState, Grant, WorldState};

mod approvals;
mod custom;
mod flow;
mod money;
mod people;

use flow::Flow;

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
/// requested: it may start, and its outcome is the event.
pub fn decide(world: &WorldState, envelope: &Envelope, at: Timestamp) -> Result<Vec<Decided>, Denied> {
    match decide_with(world, &Opcodes::default(), envelope, at)? {
        Decision::Events(events) => Ok(events),
        Decision::Asked(_) => Ok(Vec::new()),
    }
}

/// What an operation amounts to.
#[derive(Debug)]
pub(crate) enum Decision {
    /// These events.
    Events(Vec<Decided>),
    /// Nothing new: a person was asked before whether it may be, by this event.
    Asked(EventId),
}

/// The same with registered opcodes.
pub(crate) fn decide_with(
    world: &WorldState,
    opcodes: &Opcodes,
    envelope: &Envelope,
    at: Timestamp,
) -> Result<Decision, Denied> {
    let origin = envelope.origin;
    let asked = Asked { world, opcodes, envelope, at };
    if let Some((_, until)) = envelope.op_id {
        let last = at.0.saturating_add(MAX_REPEAT_WINDOW);
        if until < at || until.0 > last {
            return Err(asked.deny(
                Code::RepeatWindow,
                "operation:repeat",
                format!("repeats shall be recognised until {}; from {} to {last} is allowed", until.0, at.0),
            ));
        }
    }
    let events = match &envelope.operation {
        Operation::OpenLog { capabilities } => asked.open_log(capabilities),
        Operation::SpawnAgent { name, behaviour, grant, budget } => {
            asked.spawn(name, behaviour, grant, *budget)
        }
        Operation::StopAgent(agent) => {
            asked.over(*agent, "stop")?;
            let mut events = one(Facts::AgentStopped(AgentChanged { agent: *agent }));
            asked.reclaim(*agent, &mut events);
            Ok(events)
        }
        Operation::SuspendAgent(agent) => {
            asked.over(*agent, "suspend")?;
            Ok(one(Facts::AgentSuspended(AgentChanged { agent: *agent })))
        }
        Operation::ResumeAgent(agent) => {
            asked.over(*agent, "resume")?;
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
        Operation::ScheduleTask { task, due, spec } => asked.schedule(task, *due, spec),
        Operation::CancelTask { task } => {
            asked.task(task)?;
            Ok(one(Facts::TaskCancelled(TaskCancelled { task: task.clone(), owner: origin })))
        }
        Operation::FireTask { task, due, next, action } => asked.fire(task, *due, *next, action),
        Operation::Request(request) => return asked.request(request),
        Operation::Return(outcome) => asked.outcome(outcome),
        Operation::Erase { keys } => asked.erase(keys),
        Operation::CreateUser { name, role, grant } => asked.create_user(name, *role, grant),
        Operation::AssignRole { user, role } => asked.assign_role(*user, *role),
        Operation::RequestApproval { request, expires } => asked.request_approval(request, *expires),
        Operation::DecideApproval { approval, verdict, until } => {
            asked.decide_approval(*approval, *verdict, *until)
        }
        Operation::CancelApproval(approval) => asked.cancel_approval(*approval),
        Operation::SetPolicy(rules) => asked.set_policy(rules),
        Operation::Enter(request) => asked.enter(request),
        Operation::SetPrice { item, from, price } => asked.set_price(item, *from, *price),
        Operation::Custom { opcode, input } => asked.custom(opcode, input),
        Operation::Resolve { request, resolution } => asked.resolve(*request, *resolution),
    };
    events.map(Decision::Events)
}

fn one(facts: Facts) -> Vec<Decided> {
    vec![decided(facts, None)]
}

fn decided(facts: Facts, content: Option<Payload>) -> Decided {
    let kind = facts.kind().and_then(|kind| Kind::new(kind).ok());
    let kind = kind.expect("every kind of the kernel is well formed, as a test of the codec shows");
    Decided { kind, facts, content, labels: Labels::none(), parents: Vec::new() }
}

struct Asked<'a> {
    world: &'a WorldState,
    opcodes: &'a Opcodes,
    envelope: &'a Envelope,
    at: Timestamp,
}

impl Asked<'_> {
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

    fn capability(
        &self,
        resource: &str,
        action: &str,
        arguments: &[(&str, Argument<'_>)],
    ) -> Result<(GrantId, &Grant), Denied> {
        // The name is written out only where something is refused: this runs for every operation.
        let request = Request { resource, action, arguments };
        let (id, grant) = self.grant_for(&request)?;
        if grant.uses.allows_at(&request, self.at) {
            self.in_role(resource, action)?;
            return Ok((id, grant));
        }
        let argument = arguments.iter().find_map(|(_, argument)| match argument {
            Argument::Path(text) | Argument::Text(text) | Argument::Host(text) => Some((*text).to_owned()),
            Argument::Money(money) => Some(money.to_string()),
            Argument::Number(_) => None,
        });
        let asked = format!("{resource}:{action}");
        let rule = format!("no capability of grant {id} allows {asked}");
        let nearest = grant.uses.nearest(&request).cloned().map(Box::new);
        Err(Denied { code: Code::CapabilityMissing, rule, asked, argument, nearest })
    }

    fn grant_for(&self, request: &Request<'_>) -> Result<(GrantId, &Grant), Denied> {
        self.grant("")
            .map_err(|denied| Denied { asked: format!("{}:{}", request.resource, request.action), ..denied })
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

    fn spawn(
        &self,
        name: &Name,
        behaviour: &Name,
        terms: &GrantTerms,
        budget: Option<Money>,
    ) -> Result<Vec<Decided>, Denied> {
        let origin = self.envelope.origin;
        let living = self.world.living(origin).saturating_add(1);
        let arguments =
            [("behaviour", Argument::Text(behaviour.as_str())), ("max", Argument::Number(living))];
        let (cut_from, giver) = self.capability("agent", "spawn", &arguments)?;
        let agent = EntityId::named(name.as_str());
        let before = self.world.agents.get(&agent);
        if before.is_none() {
            self.count("agent:spawn", "agents", self.world.agents.len() + 1, MAX_AGENTS)?;
        }
        let is_person = agent == EntityId::operator() || self.world.user(agent).is_some();
        if before.is_some_and(|a| a.state != AgentState::Stopped) || is_person {
            return Err(self.deny(
                Code::AgentExists,
                "agent:spawn",
                format!("an agent or a person named '{name}' is there already"),
            ));
        }
        self.part_of(giver, terms, "agent:spawn")?;
        if let Some(money) = budget {
            self.budget(agent, money)?;
        }
        Ok(one(Facts::AgentSpawned(AgentSpawned {
            agent,
            name: name.clone(),
            behaviour: behaviour.clone(),
            parent: origin,
            grant: GrantId(self.world.next_grant + 1),
            cut_from,
            uses: terms.uses.clone(),
            delegates: terms.delegates.clone(),
            expires: terms.expires,
            budget,
        })))
    }

    fn issue(&self, agent: EntityId, terms: &GrantTerms) -> Result<Vec<Decided>, Denied> {
        let (cut_from, giver) = self.over(agent, "grant")?;
        self.part_of(giver, terms, "agent:grant")?;
        Ok(one(Facts::GrantIssued(GrantIssued {
            grant: GrantId(self.world.next_grant + 1),
            subject: agent,
            cut_from,
            uses: terms.uses.clone(),
            delegates: terms.delegates.clone(),
            expires: terms.expires,
        })))
    }

    fn revoke(&self, grant: GrantId) -> Result<Vec<Decided>, Denied> {
        let (own, _) = self.capability("grant", "revoke", &[])?;
        if !self.world.grants.contains_key(&grant) {
            return Err(self.deny(Code::GrantUnknown, "grant:revoke", format!("there is no grant {grant}")));
        }
        if grant == own || !self.world.is_cut_from(grant, own) {
            return Err(self.deny(
                Code::NotADescendant,
                "grant:revoke",
                format!("grant {grant} was not cut from grant {own}"),
            ));
        }
        Ok(one(Facts::GrantRevoked(GrantRevoked { grant })))
    }

    /// The asker's grant, if it may do `action` to `agent`, whose grant was cut from it.
    fn over(&self, agent: EntityId, action: &str) -> Result<(GrantId, &Grant), Denied> {
        let (own, grant) = self.capability("agent", action, &[])?;
        let target = self.known_agent(agent, &format!("agent:{action}"))?;
        if target.state == AgentState::Stopped {
            return Err(self.deny(
                Code::AgentStopped,
                &format!("agent:{action}"),
                format!("agent '{}' was stopped", target.name),
            ));
        }
        if target.grant == own || !self.world.is_cut_from(target.grant, own) {
            let rule = format!("agent '{}' does not stand under grant {own}", target.name);
            return Err(self.deny(Code::NotADescendant, &format!("agent:{action}"), rule));
        }
        Ok((own, grant))
    }

    /// A grant never holds more than its giver may delegate, and never outlives it.
    fn part_of(&self, giver: &Grant, terms: &GrantTerms, asked: &str) -> Result<(), Denied> {
        self.count(asked, "capabilities", terms.uses.len() + terms.delegates.len(), MAX_CAPABILITIES)?;
        for capability in terms.uses.iter().chain(&terms.delegates) {
            let covered =
                CapabilitySet::new([capability.clone()]).is_ok_and(|one| giver.delegates.covers(&one));
            if !covered {
                return Err(Denied {
                    code: Code::CapabilityWidened,
                    rule: format!("'{capability}' is not a part of what the giver may delegate"),
                    asked: asked.to_owned(),
                    argument: Some(capability.to_string()),
                    nearest: None,
                });
            }
        }
        let outlives = match (giver.expires, terms.expires) {
            (Some(end), Some(wanted)) => wanted > end,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if outlives {
            return Err(self.deny(
                Code::CapabilityWidened,
                asked,
                "the grant would outlive the one it is cut from",
            ));
        }
        Ok(())
    }

    fn observe(&self, observations: &[Observation]) -> Result<Vec<Decided>, Denied> {
        if observations.is_empty() {
            self.grant("event:emit")?;
        }
        self.count("event:emit", "observations", observations.len(), MAX_OBSERVATIONS)?;
        let mut events = Vec::with_capacity(observations.len());
        let mut allowed: Option<&Kind> = None;
        for (index, observation) in observations.iter().enumerate() {
            if allowed != Some(&observation.kind) {
                self.may_emit(&observation.kind)?;
                allowed = Some(&observation.kind);
            }
            let size = observation.content.as_ref().map_or(0, |c| c.bytes().len());
            self.size("event:emit", "bytes in an observation", size, MAX_OBSERVATION)?;
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

    fn may_emit(&self, kind: &Kind) -> Result<(), Denied> {
        self.capability("event", "emit", &[("kind", Argument::Text(kind.as_str()))])?;
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
        self.grant("message:send")?;
        let target = self.known_agent(to, "message:send")?;
        self.capability("message", "send", &[("to", Argument::Text(target.name.as_str()))])?;
        if target.state == AgentState::Stopped {
            return Err(self.deny(
                Code::AgentStopped,
                "message:send",
                format!("agent '{}' was stopped", target.name),
            ));
        }
        self.size("message:send", "bytes in a message", message.bytes().len(), MAX_MESSAGE)?;
        let facts = Facts::MessageSent(MessageSent { from: self.envelope.origin, to });
        Ok(vec![decided(facts, Some(message.clone()))])
    }

    fn schedule(&self, task: &Name, due: Timestamp, spec: &Payload) -> Result<Vec<Decided>, Denied> {
        let owner = self.envelope.origin;
        self.capability("task", "schedule", &[])?;
        let agent = self.known_agent(owner, "task:schedule")?;
        self.size("task:schedule", "bytes in a task", spec.bytes().len(), MAX_TASK)?;
        if self.world.task(owner, task).is_none() {
            self.count("task:schedule", "tasks of one agent", agent.tasks as usize + 1, MAX_TASKS)?;
        }
        let facts = TaskScheduled { task: task.clone(), owner, due, spec: spec.digest() };
        Ok(vec![decided(Facts::TaskScheduled(facts), Some(spec.clone()))])
    }

    fn task(&self, task: &Name) -> Result<&crate::world::Task, Denied> {
        self.capability("task", "schedule", &[])?;
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
        let found = self.task(task)?;
        let not_due = |rule| Err(self.deny(Code::TaskNotDue, "task:schedule", rule));
        if found.due != due {
            return not_due(format!("task '{task}' is due at {}, not at {}", found.due.0, due.0));
        }
        if due > self.at {
            return not_due(format!("task '{task}' is due at {}, it is {}", due.0, self.at.0));
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
                self.may_emit(kind)?;
                self.size("event:emit", "bytes in an observation", content.bytes().len(), MAX_OBSERVATION)?;
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

    fn request(&self, request: &ToolRequest) -> Result<Decision, Denied> {
        let governed = governed(&request.governed);
        self.capability("tool", request.tool.as_str(), &governed)?;
        self.size("tool:request", "bytes of arguments", request.arguments.bytes().len(), MAX_ARGUMENTS)?;
        self.size("tool:request", "bytes of a version", request.version.len(), MAX_VERSION)?;
        let approval = match self.flow(request, &governed)? {
            Flow::Go(approval) => approval,
            Flow::Ask(events) => return Ok(Decision::Events(events)),
            Flow::Waits(approval) => return Ok(Decision::Asked(approval)),
        };
        if !request.class.request_first() {
            return Ok(Decision::Events(Vec::new()));
        }
        let facts = ToolRequested {
            agent: self.envelope.origin,
            tool: request.tool.clone(),
            version: request.version.clone(),
            class: request.class,
            arguments: request.arguments.digest(),
            approval,
        };
        let mut events = vec![decided(Facts::ToolRequested(facts), Some(request.arguments.clone()))];
        events.extend(self.hold(request)?);
        Ok(Decision::Events(events))
    }

    /// The log says that keys are destroyed before they are: the host does that once this is durable.
    fn erase(&self, keys: &[KeyId]) -> Result<Vec<Decided>, Denied> {
        self.host_only("subject:erase")?;
        if self.world.operator.is_none() {
            return Err(self.deny(Code::LogNotOpen, "subject:erase", "the log is not open yet"));
        }
        self.count("subject:erase", "keys", keys.len(), MAX_ERASED)?;
        Ok(vec![decided(Facts::SubjectErased(SubjectErased { keys: keys.to_vec() }), None)])
    }

    /// Says what became of a call that crashed: one of the asker's own, or of an agent that stands under its grant.
    fn resolve(&self, request: EventId, resolution: Resolution) -> Result<Vec<Decided>, Denied> {
        let (own, _) = self.capability("effect", "resolve", &[])?;
        let Some(effect) = self.world.effects.get(&request) else {
            return Err(self.deny(
                Code::EffectUnknown,
                "effect:resolve",
                format!("no call waits under {request}"),
            ));
        };
        if effect.agent != self.envelope.origin {
            let of_whom = self.world.agents.get(&effect.agent);
            if !of_whom.is_some_and(|agent| self.world.is_cut_from(agent.grant, own)) {
                let rule = format!("the call is of {}, who does not stand under grant {own}", effect.agent);
                return Err(self.deny(Code::NotADescendant, "effect:resolve", rule));
            }
        }
        let mut resolved = decided(Facts::ToolResolved(ToolResolved { request, resolution }), None);
        resolved.parents.push(Parent::Event(Cause { id: request, labels: effect.labels.clone() }));
        let mut events = vec![resolved];
        if let Some(hold) = effect.hold {
            events.extend(match resolution {
                Resolution::Happened => self.settle_whole(hold)?,
                Resolution::DidNotHappen => self.settle(hold, &effect.tool, None)?,
            });
        }
        Ok(events)
    }

    /// An outcome within its bounds is never refused while its call is known.
    fn outcome(&self, outcome: &ToolOutcome) -> Result<Vec<Decided>, Denied> {
        self.host_only("tool:return")?;
        let agent = self.envelope.origin;
        let effect = outcome.request.and_then(|request| self.world.effects.get(&request));
        let hold = effect.filter(|effect| effect.agent == agent).and_then(|effect| effect.hold);
        let request = match outcome.request {
            Some(request) => match self.world.effects.get(&request).filter(|effect| effect.agent == agent) {
                Some(effect) => Some(Parent::Event(Cause { id: request, labels: effect.labels.clone() })),
                None => {
                    let rule = format!("no call of {agent} waits under {request}");
                    return Err(self.deny(Code::EffectUnknown, "tool:return", rule));
                }
            },
            None if outcome.class.request_first() => {
                let rule = format!("a call of class {} needs a recorded request", outcome.class);
                return Err(self.deny(Code::EffectUnknown, "tool:return", rule));
            }
            None => None,
        };
        self.size("tool:return", "bytes of a version", outcome.version.len(), MAX_VERSION)?;
        let size = outcome.content.as_ref().map_or(0, |content| content.bytes().len());
        self.size("tool:return", "bytes of outcome", size, MAX_OUTCOME)?;
        let facts = ToolReturned {
            agent,
            tool: outcome.tool.clone(),
            version: outcome.version.clone(),
            class: outcome.class,
            arguments: outcome.arguments,
            request: outcome.request,
            status: outcome.status.clone(),
            output: outcome.output,
        };
        let mut returned = decided(Facts::ToolReturned(facts), outcome.content.clone());
        returned.labels = outcome.labels.clone();
        returned.parents.extend(request);
        let mut events = vec![returned];
        if let Some(hold) = hold {
            events.extend(self.settle(hold, &outcome.tool, outcome.usage.as_ref())?);
        }
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

fn governed(arguments: &[(String, GovernedArgument)]) -> Vec<(&str, Argument<'_>)> {
    let mut views = Vec::with_capacity(arguments.len());
    for (name, value) in arguments {
        let view = match value {
            GovernedArgument::Path(path) => Argument::Path(path),
            GovernedArgument::Text(text) => Argument::Text(text),
            GovernedArgument::Host(host) => Argument::Host(host),
            GovernedArgument::Number(number) => Argument::Number(*number),
            GovernedArgument::Money(money) => Argument::Money(*money),
        };
        views.push((name.as_str(), view));
    }
    views
}
