//! A kernel with its log, and short ways to ask it something.

use std::sync::Arc;

use toka_kernel::step::Accepted;
use toka_kernel::{Code, Denied, Kernel, Reply, Submission};
use toka_types::facts::{ApprovalVerdict, Facts, LogLimited, Role, ToolDeclared};
use toka_types::operation::{
    Authority, Cause, Envelope, GovernedArgument, GrantTerms, Metered, Observation, TaskAction, ToolOutcome,
    ToolRequest,
};
use toka_types::place::Places;
use toka_types::price::Usage;
use toka_types::{
    Capability, Digest, EffectClass, EntityId, Event, EventId, GrantId, Kind, Labels, Name, OpId, Operation,
    Payload, Sink, Timestamp,
};

/// A kernel, what it recorded, and the time.
#[derive(Clone)]
pub(crate) struct House {
    pub(crate) kernel: Kernel,
    pub(crate) log: Vec<Arc<Event>>,
    pub(crate) at: Timestamp,
    pub(crate) causes: Vec<Cause>,
    pub(crate) op_id: Option<(OpId, Timestamp)>,
}

impl House {
    /// Before the first event.
    pub(crate) fn closed() -> Self {
        let (kernel, log) = (Kernel::new(), Vec::new());
        Self { kernel, log, at: Timestamp(1_000), causes: Vec::new(), op_id: None }
    }

    /// An operator who may do everything.
    pub(crate) fn open() -> Self {
        let mut house = Self::closed();
        house.host("operator", open_log(&["**"])).expect("a new log can be opened");
        house
    }

    /// An open house in which `a`, `b` and, spawned by `a`, `a/child` live, all with every power.
    pub(crate) fn inhabited() -> Self {
        let mut house = Self::open();
        for (parent, name) in [("operator", "a"), ("operator", "b"), ("a", "a/child")] {
            house.ask(parent, spawn(name, terms(&["**"], &["**"]))).expect("everything may be delegated");
        }
        house
    }

    pub(crate) fn grant_of(&self, who: &str) -> GrantId {
        let world = self.kernel.world();
        let id = EntityId::named(who);
        let agent = world.agent(id).map(|agent| agent.grant);
        agent.or(world.user(id).map(|user| user.grant)).or(world.operator_grant()).unwrap_or_default()
    }

    pub(crate) fn envelope(&self, who: &str, operation: Operation) -> Envelope {
        Envelope {
            origin: EntityId::named(who),
            authority: Authority::Grant(self.grant_of(who)),
            op_id: self.op_id,
            causes: self.causes.clone(),
            operation,
        }
    }

    /// Asks under `who`'s own grant.
    pub(crate) fn ask(&mut self, who: &str, operation: Operation) -> Reply {
        self.submit(self.envelope(who, operation))
    }

    /// Asks for `who` as the host.
    pub(crate) fn host(&mut self, who: &str, operation: Operation) -> Reply {
        self.submit(Envelope { authority: Authority::Host, ..self.envelope(who, operation) })
    }

    pub(crate) fn submit(&mut self, envelope: Envelope) -> Reply {
        self.hand_in(Submission::new(envelope))
    }

    /// Asks under `who`'s own grant with a token that was narrowed down to these.
    pub(crate) fn ask_narrowed(&mut self, who: &str, operation: Operation, narrowed: &[Metered]) -> Reply {
        let envelope = self.envelope(who, operation);
        self.hand_in(Submission { narrowed: narrowed.to_vec(), ..Submission::new(envelope) })
    }

    fn hand_in(&mut self, submission: Submission) -> Reply {
        let step = self.kernel.step(vec![submission], self.at);
        self.log.extend(step.events);
        step.replies.into_iter().next().expect("one answer for one question")
    }

    /// The kinds of the last `count` events.
    pub(crate) fn last(&self, count: usize) -> Vec<&str> {
        self.log[self.log.len() - count..].iter().map(|event| event.header.kind.as_str()).collect()
    }

    pub(crate) fn last_event(&self) -> &Event {
        self.log.last().expect("something was recorded")
    }

    pub(crate) fn last_id(&self) -> EventId {
        self.last_event().header.id
    }

    pub(crate) fn last_facts(&self) -> Facts {
        facts_of(self.last_event())
    }

    /// The next question has this cause, with these labels.
    pub(crate) fn because(&mut self, labels: &[&str]) -> Cause {
        let cause = Cause { id: self.last_id(), labels: self::labels(labels) };
        self.causes = vec![cause.clone()];
        cause
    }

    pub(crate) fn later(&mut self, micros: i64) {
        self.at = Timestamp(self.at.0 + micros);
    }
}

/// Asks under the asker's grant, and compares what comes out: the kinds recorded, or the code of the refusal.
pub(crate) fn check(mut house: House, who: &str, operation: Operation, expected: Result<&[&str], Code>) {
    let envelope = house.envelope(who, operation);
    check_envelope(&mut house, envelope, expected);
}

/// The same for a whole envelope.
#[track_caller]
pub(crate) fn check_envelope(house: &mut House, envelope: Envelope, expected: Result<&[&str], Code>) {
    let (before, asked) = (house.log.len(), format!("{:?}", envelope.operation));
    let reply = house.submit(envelope);
    match (reply, expected) {
        (Ok(Accepted::Events(range)), Ok(kinds)) => {
            assert_eq!(house.last(house.log.len() - before), kinds, "{asked}");
            assert_eq!(range, 0..kinds.len(), "{asked}");
        }
        (Err(denied), Err(code)) => {
            assert_eq!(denied.code, code, "{asked}: {denied}");
            assert_eq!(house.last(house.log.len() - before), ["capability.denied"], "{asked}");
            let Facts::CapabilityDenied(facts) = house.last_facts() else {
                panic!("a refusal has its facts")
            };
            assert_eq!(facts.code, code.as_str(), "{asked}");
        }
        (reply, expected) => panic!("{asked}: {reply:?}, expected {expected:?}"),
    }
}

pub(crate) fn code(reply: Reply) -> Option<Code> {
    reply.err().map(|Denied { code, .. }| code)
}

pub(crate) fn facts_of(event: &Event) -> Facts {
    toka_kernel::codec::decode(&event.header).expect("what was recorded can be read").0
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

pub(crate) fn kind(text: &str) -> Kind {
    Kind::new(text).expect("a kind")
}

pub(crate) fn labels(texts: &[&str]) -> Labels {
    Labels::parse(texts).expect("labels")
}

/// `count` labels, none of which another `prefix` has.
pub(crate) fn many_labels(prefix: &str, count: usize) -> Labels {
    Labels::parse((0..count).map(|i| format!("{prefix}:{i}"))).expect("at most as many as an event may carry")
}

pub(crate) fn capabilities(texts: &[&str]) -> Vec<Capability> {
    texts.iter().map(|text| text.parse().expect("a capability")).collect()
}

pub(crate) fn payload(size: usize) -> Payload {
    Payload::new(vec![b'x'; size])
}

pub(crate) fn terms(uses: &[&str], delegates: &[&str]) -> GrantTerms {
    GrantTerms { uses: capabilities(uses), delegates: capabilities(delegates), expires: None }
}

pub(crate) fn open_log(texts: &[&str]) -> Operation {
    Operation::OpenLog { capabilities: capabilities(texts) }
}

pub(crate) fn spawn(agent: &str, grant: GrantTerms) -> Operation {
    Operation::SpawnAgent {
        name: name(agent),
        behaviour: name("Logger"),
        grant,
        budget: None,
        quarantine: None,
    }
}

pub(crate) fn create_user(user: &str, role: Role, grant: GrantTerms) -> Operation {
    Operation::CreateUser { name: name(user), role, grant }
}

pub(crate) fn assign(user: &str, role: Role) -> Operation {
    Operation::AssignRole { user: EntityId::named(user), role }
}

pub(crate) fn ask_a_person(call: Operation, expires: i64) -> Operation {
    let Operation::Request(request) = call else { panic!("a call") };
    Operation::RequestApproval { request, expires: Timestamp(expires) }
}

pub(crate) fn decide(approval: EventId, verdict: ApprovalVerdict) -> Operation {
    Operation::DecideApproval { approval, verdict, until: None }
}

pub(crate) fn custom(opcode: &str, input: &[u8]) -> Operation {
    Operation::Custom { opcode: name(opcode), input: input.to_vec() }
}

pub(crate) fn issue(agent: &str, grant: GrantTerms) -> Operation {
    Operation::IssueGrant { agent: EntityId::named(agent), grant }
}

pub(crate) fn stop(agent: &str) -> Operation {
    Operation::StopAgent(EntityId::named(agent))
}

pub(crate) fn suspend(agent: &str) -> Operation {
    Operation::SuspendAgent(EntityId::named(agent))
}

pub(crate) fn resume(agent: &str) -> Operation {
    Operation::ResumeAgent(EntityId::named(agent))
}

pub(crate) fn observation(of: &str) -> Observation {
    Observation::new(kind(of), payload(3))
}

pub(crate) fn observe(of: &str) -> Operation {
    Operation::Observe(vec![observation(of)])
}

pub(crate) fn send(to: &str, size: usize) -> Operation {
    Operation::Send { to: EntityId::named(to), message: payload(size) }
}

pub(crate) fn schedule(task: &str, due: i64) -> Operation {
    Operation::ScheduleTask { task: name(task), due: Timestamp(due), spec: payload(8) }
}

pub(crate) fn cancel(task: &str) -> Operation {
    Operation::CancelTask { task: name(task) }
}

pub(crate) fn fire(task: &str, due: i64, next: Option<i64>, action: TaskAction) -> Operation {
    Operation::FireTask { task: name(task), due: Timestamp(due), next: next.map(Timestamp), action }
}

pub(crate) fn class(text: &str) -> EffectClass {
    text.parse().expect("an effect class")
}

pub(crate) fn request(tool: &str, effect: &str, path: &str) -> Operation {
    Operation::Request(ToolRequest {
        tool: name(tool),
        version: "1.0.0".to_owned(),
        class: class(effect),
        sink: if class(effect).request_first() { Sink::Write } else { Sink::None },
        arguments: Payload::new(path.as_bytes()),
        governed: vec![("path".to_owned(), GovernedArgument::Path(path.to_owned()))],
        places: places(path),
        bounds: Usage { calls: 1, bytes: 1_000, ..Usage::default() },
        traced: None,
    })
}

/// What `request` says of a tool.
pub(crate) fn declare(tool: &str, effect: &str) -> Operation {
    let Operation::Request(call) = request(tool, effect, "") else { unreachable!("a call") };
    Operation::DeclareTool(ToolDeclared {
        tool: call.tool,
        version: call.version,
        class: call.class,
        sink: call.sink,
        labels: labels(&["untrusted:tool"]),
        control: vec!["path".to_owned()],
        manifest: Digest::of(effect.as_bytes()),
    })
}

pub(crate) fn limit(limits: LogLimited) -> Operation {
    Operation::LimitLog(limits)
}

pub(crate) fn places(path: &str) -> Places {
    let mut places = Places::default();
    places.add(format!("/r/{path}").as_bytes());
    places
}

pub(crate) fn outcome(effect: &str, request: Option<EventId>) -> ToolOutcome {
    ToolOutcome {
        request,
        tool: name("fs.read"),
        version: "1.0.0".to_owned(),
        class: class(effect),
        arguments: Digest::of(b"docs/a.md"),
        status: name("ok"),
        output: Some(payload(3).content_ref()),
        content: Some(payload(3)),
        labels: Labels::none(),
        read: Vec::new(),
        usage: Some(Usage { calls: 1, bytes: 100, ..Usage::default() }),
        leaves: Vec::new(),
    }
}
