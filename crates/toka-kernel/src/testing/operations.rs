//! What somebody asks, read from arbitrary bytes.

use std::collections::BTreeSet;
use std::sync::Arc;

use toka_types::capability::CapabilitySet;
use toka_types::entry::Period;
use toka_types::facts::{ApprovalVerdict, LogLimited, Register, Resolution, Role};
use toka_types::nonce::Nonce;
use toka_types::operation::{
    Authority, Cause, GrantTerms, LedgerRequest, Metered, Observation, Parent, PlanRequest, TaskAction,
    ToolOutcome,
};
use toka_types::plan::Slot;
use toka_types::record::ContentRef;
use toka_types::{
    Answer, Capability, Digest, EffectClass, EntityId, Envelope, Event, EventHeader, EventId, GrantId, KeyId,
    Name, OpId, Operation, Payload, Timestamp,
};

use super::bytes::{Bytes, POWERS};
use crate::apply::apply_stored;
use crate::step::{Accepted, Submission, is_host_only};
use crate::{Kernel, WorldState};

/// Most operations of one program: what a fuzzer finds shows in fewer.
const MOST: usize = 64;
/// When the program begins.
const START: Timestamp = Timestamp(1_700_000_000_000_000);

/// Reads the bytes as what a few agents, a person and strangers ask, one after another, and decides it. Asserts of what comes
/// out that it has one answer each, that a log takes it, and that its events amount to the same world when they are read back.
/// Returns the kinds of all events.
///
/// # Panics
/// If one of these does not hold.
pub fn operations(bytes: &[u8]) -> BTreeSet<String> {
    let mut house = House::new();
    let mut bytes = Bytes(bytes);
    for _ in 0..MOST {
        if bytes.0.is_empty() {
            break;
        }
        let envelope = house.envelope(&mut bytes);
        house.submit(envelope);
        house.at = Timestamp(house.at.0.saturating_add(bytes.delay()));
    }
    house.check();
    house.log.iter().map(|event| event.header.kind.to_string()).collect()
}

struct House {
    kernel: Kernel,
    log: Vec<Arc<Event>>,
    at: Timestamp,
}

impl House {
    /// The operator, agents `a` and `b` with different grants, and a person; `a` was asked for something.
    fn new() -> Self {
        let mut house = Self { kernel: Kernel::new(), log: Vec::new(), at: START };
        let terms = |uses: &[&str]| GrantTerms {
            uses: uses.iter().filter_map(|text| text.parse().ok()).collect(),
            delegates: uses.iter().filter_map(|text| text.parse().ok()).collect(),
            expires: None,
        };
        let name = |text| Name::new(text).unwrap_or_else(|error| panic!("{error}"));
        let spawn = |text, uses: &[&str]| Operation::SpawnAgent {
            name: name(text),
            behaviour: name("Logger"),
            grant: terms(uses),
            budget: None,
            quarantine: None,
        };
        let person = Operation::CreateUser { name: name("ann"), role: Role::Member, grant: terms(&["**"]) };
        let open = Operation::OpenLog { capabilities: vec![Capability::all()] };
        house.ask(Authority::Host, open);
        let request = Operation::Instruct {
            to: EntityId::named("a"),
            message: Payload::new(Vec::new()),
            literals: (0..4).map(|i| Digest::of(&[i])).collect(),
        };
        for operation in [spawn("a", &["**"]), spawn("b", &POWERS[2..]), person, request] {
            house.ask(Authority::Grant(GrantId(1)), operation);
        }
        house
    }

    fn ask(&mut self, authority: Authority, operation: Operation) {
        let origin = EntityId::operator();
        self.submit(Envelope { origin, authority, op_id: None, causes: Vec::new(), operation });
    }

    fn submit(&mut self, envelope: Envelope) {
        let unknown = envelope.causes.iter().map(|cause| cause.id).find(|id| self.find(id).is_none());
        let narrowed = self.narrowed(&envelope);
        let submission = Submission { unknown, narrowed, ..Submission::new(envelope) };
        let step = self.kernel.step(vec![submission], self.at);
        let [reply] = &step.replies[..] else { panic!("{} answers to one question", step.replies.len()) };
        if let Ok(Accepted::Events(range)) = reply {
            assert!(range.end <= step.events.len(), "{range:?} of {}", step.events.len());
        }
        for event in &step.events {
            assert_eq!(event.header.seq, self.log.len() as u64);
            assert_eq!(event.header.id, event.header.causal_digest());
            event.header.check_bounds().unwrap_or_else(|error| panic!("{error}"));
            self.log.push(Arc::clone(event));
        }
    }

    /// What an operation with an id comes under at times: one of a few tokens with limits.
    fn narrowed(&self, envelope: &Envelope) -> Vec<Metered> {
        let Some((OpId([0..128, token, seconds, ..]), _)) = envelope.op_id else { return Vec::new() };
        let limits = ["tool:**(uses=2)", "event:emit(rate=3/min)", "agent:**", "message:send(uses=1)"];
        let only = CapabilitySet::parse(limits).unwrap_or_else(|error| panic!("{error}"));
        let until = Timestamp(self.at.0.saturating_add(i64::from(seconds) * 1_000_000));
        vec![Metered { meter: Digest([token % 4; 32]), until, only }]
    }

    fn find(&self, id: &EventId) -> Option<&Arc<Event>> {
        self.log.iter().find(|event| event.header.id == *id)
    }

    /// The log read back from bytes is the same world.
    fn check(&self) {
        let mut world = WorldState::default();
        for event in &self.log {
            let stored = EventHeader::decode(&event.header.to_bytes()).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(stored, event.header);
            apply_stored(&mut world, &stored).unwrap_or_else(|error| panic!("{error}"));
        }
        assert_eq!(&world, self.kernel.world());
    }

    fn envelope(&self, bytes: &mut Bytes<'_>) -> Envelope {
        let (operation, world) = (self.operation(bytes), self.kernel.world());
        let waiting = match &operation {
            Operation::Return(outcome) => {
                world.effects().find(|(id, _)| Some(*id) == outcome.request).map(|(_, effect)| effect.agent)
            }
            Operation::CommitPlan(plan) if bytes.byte() < 200 => Some(plan.agent),
            _ => None,
        };
        let who = waiting.unwrap_or_else(|| bytes.who());
        let own = world.agent(who).map(|agent| agent.grant).or(world.user(who).map(|user| user.grant));
        let own = own.or(world.operator_grant()).unwrap_or_default();
        let authority = match bytes.byte() {
            0..200 if is_host_only(&operation) => Authority::Host,
            0..170 => Authority::Grant(own),
            170..190 => Authority::Grant(GrantId(bytes.number())),
            190..240 => {
                let (nonce, until) = (Nonce(bytes.array()), self.time(bytes));
                Authority::Signed { grant: own, nonce, until }
            }
            _ => Authority::Host,
        };
        let op_id = bytes.maybe(|bytes| (OpId(bytes.array()), self.time(bytes)));
        Envelope { origin: who, authority, op_id, causes: bytes.few(4, |bytes| self.cause(bytes)), operation }
    }

    fn time(&self, bytes: &mut Bytes<'_>) -> Timestamp {
        match bytes.byte() {
            0..200 => Timestamp(self.at.0.saturating_add(i64::from(bytes.byte()) * 1_000_000)),
            200..230 => Timestamp(self.at.0.saturating_sub(i64::from(bytes.byte()))),
            _ => Timestamp(i64::from_be_bytes(bytes.array())),
        }
    }

    fn event(&self, bytes: &mut Bytes<'_>) -> EventId {
        match bytes.byte() {
            250.. => EventId(Digest(bytes.array())),
            // The latest are those that something may still wait for.
            back => self.log[self.log.len() - 1 - usize::from(back) % self.log.len()].header.id,
        }
    }

    fn cause(&self, bytes: &mut Bytes<'_>) -> Cause {
        Cause { id: self.event(bytes), labels: bytes.labels() }
    }

    fn terms(&self, bytes: &mut Bytes<'_>) -> GrantTerms {
        let (uses, delegates) = (bytes.few(4, Bytes::capability), bytes.few(4, Bytes::capability));
        GrantTerms { uses, delegates, expires: bytes.maybe(|bytes| self.time(bytes)) }
    }

    fn observation(&self, bytes: &mut Bytes<'_>) -> Observation {
        let register =
            |bytes: &mut Bytes<'_>| Register { key: bytes.digest(), value: bytes.maybe(Bytes::digest) };
        let parent = |bytes: &mut Bytes<'_>| match bytes.byte() % 2 {
            0 => Parent::Event(self.cause(bytes)),
            _ => Parent::Earlier(usize::from(bytes.byte() % 4)),
        };
        Observation {
            kind: bytes.kind(),
            content: bytes.maybe(Bytes::payload),
            registers: bytes.few(3, register),
            labels: bytes.labels(),
            parents: bytes.few(3, parent),
        }
    }

    fn enter(&self, bytes: &mut Bytes<'_>) -> LedgerRequest {
        let (one, other, money) = (bytes.who(), bytes.who(), bytes.money());
        let currency = money.currency;
        match bytes.byte() % 6 {
            0 => LedgerRequest::Open { owner: one, currency, parent: bytes.maybe(Bytes::who) },
            1 => {
                let limit = bytes.maybe(|_| money.amount);
                LedgerRequest::Limit { owner: one, currency, period: bytes.pick(&Period::ALL), limit }
            }
            2 => LedgerRequest::Mint { to: one, money },
            3 => LedgerRequest::Burn { from: one, money },
            4 => LedgerRequest::Transfer { from: one, to: other, money },
            _ => LedgerRequest::TopUp { from: one, to: other, money },
        }
    }

    fn operation(&self, bytes: &mut Bytes<'_>) -> Operation {
        match bytes.byte() % 29 {
            0 => Operation::OpenLog { capabilities: bytes.few(3, Bytes::capability) },
            1 => Operation::SpawnAgent {
                name: bytes.name(),
                behaviour: bytes.name(),
                grant: self.terms(bytes),
                budget: bytes.maybe(Bytes::money),
                quarantine: bytes.maybe(Bytes::shape),
            },
            2 => Operation::StopAgent(bytes.who()),
            3 => Operation::SuspendAgent(bytes.who()),
            4 => Operation::ResumeAgent(bytes.who()),
            5 => Operation::IssueGrant { agent: bytes.who(), grant: self.terms(bytes) },
            6 => Operation::RevokeGrant(GrantId(bytes.number())),
            7 => Operation::EndTurn { upto: bytes.number() },
            8 | 9 => Operation::Observe(bytes.few(4, |bytes| self.observation(bytes))),
            10 => Operation::Send { to: bytes.who(), message: bytes.payload() },
            11 => {
                Operation::ScheduleTask { task: bytes.name(), due: self.time(bytes), spec: bytes.payload() }
            }
            12 => Operation::CancelTask { task: bytes.name() },
            13 => {
                let task = bytes.name();
                let found = self.kernel.world().task(EntityId::named("a"), &task).map(|task| task.due);
                let due = found.unwrap_or_else(|| self.time(bytes));
                let action = match bytes.byte() % 3 {
                    0 => TaskAction::Skip,
                    1 => TaskAction::Emit { kind: bytes.kind(), content: bytes.payload() },
                    _ => TaskAction::Send { to: bytes.who(), message: bytes.payload() },
                };
                Operation::FireTask { task, due, next: bytes.maybe(|bytes| self.time(bytes)), action }
            }
            14 | 15 => Operation::Request(bytes.request()),
            16 => Operation::Return(self.outcome(bytes)),
            17 => Operation::Erase { keys: bytes.few(3, |bytes| KeyId(bytes.array())) },
            18 => Operation::CreateUser {
                name: bytes.name(),
                role: bytes.pick(&Role::ALL),
                grant: self.terms(bytes),
            },
            19 => Operation::AssignRole { user: bytes.who(), role: bytes.pick(&Role::ALL) },
            20 => Operation::RequestApproval { request: bytes.request(), expires: self.time(bytes) },
            21 => {
                let verdicts = [
                    ApprovalVerdict::AllowOnce,
                    ApprovalVerdict::AllowArguments,
                    ApprovalVerdict::AllowTool,
                    ApprovalVerdict::Deny,
                ];
                let waiting = self.kernel.world().approvals().next().map(|(id, _)| id);
                let approval = waiting.unwrap_or_else(|| self.event(bytes));
                let until = bytes.maybe(|bytes| self.time(bytes));
                Operation::DecideApproval { approval, verdict: bytes.pick(&verdicts), until }
            }
            22 => Operation::CancelApproval(self.event(bytes)),
            23 => Operation::SetPolicy(bytes.few(4, Bytes::rule)),
            24 => Operation::Enter(self.enter(bytes)),
            25 => Operation::SetPrice {
                item: bytes.name(),
                from: self.time(bytes),
                price: bytes.maybe(Bytes::price),
            },
            26 => Operation::Instruct {
                to: bytes.who(),
                message: bytes.payload(),
                literals: bytes.few(6, Bytes::literal),
            },
            27 => Operation::CommitPlan(self.plan(bytes)),
            _ => match bytes.byte() % 7 {
                5 => Operation::Answer(match bytes.byte() % 3 {
                    0 => Answer::Boolean(true),
                    1 => Answer::Integer(bytes.number() as i64),
                    _ => Answer::Literal(bytes.text()),
                }),
                0 => Operation::Custom { opcode: bytes.name(), input: bytes.some() },
                1 => Operation::JumpClock { shows: self.time(bytes) },
                2 => Operation::ResetClock { shows: self.time(bytes) },
                3 => Operation::DeclareTool(bytes.declared()),
                4 => Operation::LimitLog(LogLimited {
                    agents: bytes.maybe(Bytes::number),
                    tasks: bytes.maybe(Bytes::number),
                    observation_bytes: bytes.maybe(Bytes::number),
                    approval_seconds: bytes.maybe(Bytes::number),
                    ..LogLimited::default()
                }),
                _ => {
                    let resolutions = [Resolution::Happened, Resolution::DidNotHappen];
                    Operation::Resolve { request: self.event(bytes), resolution: bytes.pick(&resolutions) }
                }
            },
        }
    }

    fn plan(&self, bytes: &mut Bytes<'_>) -> PlanRequest {
        let asked = self.kernel.world().requests().next().map(|(agent, _)| agent);
        let slots = bytes.few(4, Bytes::slot);
        let first = |slot: &Slot| slot.arguments.first().map(|(name, _)| name.clone()).into_iter().collect();
        let control = match bytes.byte() {
            0..200 => slots.iter().map(first).collect(),
            _ => bytes.few(4, |bytes| bytes.few(2, Bytes::argument)),
        };
        PlanRequest { agent: asked.unwrap_or_else(|| bytes.who()), slots, control, content: bytes.payload() }
    }

    fn outcome(&self, bytes: &mut Bytes<'_>) -> ToolOutcome {
        let waiting = self.kernel.world().effects().next();
        let (request, content) = (waiting.map(|(id, _)| id), bytes.maybe(Bytes::payload));
        ToolOutcome {
            request: if bytes.byte() < 200 { request } else { bytes.maybe(|bytes| self.event(bytes)) },
            tool: bytes.name(),
            version: bytes.text(),
            class: bytes.pick(&EffectClass::ALL),
            arguments: bytes.digest(),
            status: bytes.name(),
            output: bytes.maybe(|bytes| ContentRef { digest: bytes.digest(), size: u32::from(bytes.byte()) }),
            content,
            labels: bytes.labels(),
            read: bytes.few(3, Bytes::digest),
            usage: bytes.maybe(Bytes::usage),
            leaves: bytes.few(4, Bytes::leaf),
        }
    }
}
