//! What somebody asks, read from arbitrary bytes.

use std::collections::BTreeSet;
use std::sync::Arc;

use toka_types::capability::{CapabilitySet, MAX_CAPABILITY};
use toka_types::entry::Period;
use toka_types::facts::{ApprovalVerdict, LogLimited, Register, Resolution, Role, ToolDeclared};
use toka_types::nonce::Nonce;
use toka_types::operation::{
    Authority, Cause, GovernedArgument, GrantTerms, LedgerRequest, Metered, Observation, Parent, PlanRequest,
    TaskAction, ToolOutcome, ToolRequest,
};
use toka_types::place::Places;
use toka_types::plan::{Key, Leaf, Selector, Slot, Source, Traced, Value};
use toka_types::price::{Price, Rate, Usage};
use toka_types::record::ContentRef;
use toka_types::{
    Amount, Answer, AnswerShape, Capability, Currency, Digest, EffectClass, EntityId, Envelope, Event,
    EventHeader, EventId, FlowRule, GrantId, KeyId, Kind, Labels, Money, Name, OpId, Operation, Payload,
    PointerId, Sink, Timestamp, Verdict,
};

use crate::apply::apply_stored;
use crate::step::{Accepted, Submission, is_host_only};
use crate::{Kernel, WorldState};

/// Most operations of one program: what a fuzzer finds shows in fewer.
const MOST: usize = 64;
/// When the program begins.
const START: Timestamp = Timestamp(1_700_000_000_000_000);

const WHO: [&str; 6] = ["operator", "a", "b", "a/c", "ann", "nobody"];
const KINDS: [&str; 6] = ["note.a", "file.chunk", "x", "tool.forged", "log.opened", "a.b.c.d"];
const LABELS: [&str; 5] = ["untrusted:web", "secret:stripe", "subject:ann", "from:me", "endorsed"];
const POWERS: [&str; 10] = [
    "**",
    "tool:**",
    "event:emit(kind=note.**)",
    "agent:spawn(max=2)",
    "ledger:spend(max=1 USD)",
    "message:send(to=a)",
    "tool:t(path=docs/**,hours=08:00..18:00)",
    "approval:decide",
    "tool:**(rate=2/min,uses=7)",
    "event:emit(uses=3)",
];
const MONEY: [&str; 5] = ["0.50 USD", "1 USD", "1000000000000000000 USD", "0.000000001 EUR", "20 USD"];

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

/// Bytes that are read from the front; where there are none left, zeros.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    fn declared(&mut self) -> ToolDeclared {
        ToolDeclared {
            tool: self.name(),
            version: self.text(),
            class: self.pick(&EffectClass::ALL),
            sink: self.pick(Sink::ALL),
            labels: self.labels(),
            control: self.few(3, Self::text),
            manifest: self.digest(),
        }
    }

    /// A small number, or any.
    fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::from_be_bytes(self.array()),
            small => u64::from(small % 16),
        }
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }

    fn maybe<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.byte().is_multiple_of(3).then(|| read(self))
    }

    fn few<T>(&mut self, most: u8, mut read: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.byte() % most).map(|_| read(self)).collect()
    }

    fn some(&mut self) -> Vec<u8> {
        let len = usize::from(self.byte()).min(self.0.len());
        let (some, rest) = self.0.split_at(len);
        self.0 = rest;
        some.to_vec()
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.some()).into_owned()
    }

    /// How much later the next one comes; at times earlier, and at times much later.
    fn delay(&mut self) -> i64 {
        match self.byte() {
            0..200 => i64::from(self.byte()),
            200..240 => 61_000_000,
            240..250 => -i64::from(self.byte()),
            _ => 86_400_000_000,
        }
    }

    fn who(&mut self) -> EntityId {
        match self.byte() {
            255 => EntityId(self.array()),
            other => EntityId::named(WHO[usize::from(other) % WHO.len()]),
        }
    }

    fn name(&mut self) -> Name {
        let own = match self.byte() {
            255 => Name::new(&self.text()).ok(),
            known @ ..128 => Name::new(WHO[usize::from(known) % WHO.len()]).ok(),
            other => Name::new(&format!("t{}", other % 4)).ok(),
        };
        own.unwrap_or_else(|| Name::new("t").unwrap_or_else(|error| panic!("{error}")))
    }

    fn kind(&mut self) -> Kind {
        let own = match self.byte() {
            255 => Kind::new(&self.text()).ok(),
            other => Kind::new(KINDS[usize::from(other) % KINDS.len()]).ok(),
        };
        own.unwrap_or_else(|| Kind::new("note").unwrap_or_else(|error| panic!("{error}")))
    }

    fn labels(&mut self) -> Labels {
        let texts = self.few(4, |bytes| bytes.pick(&LABELS));
        Labels::parse(&texts).unwrap_or_default()
    }

    fn capability(&mut self) -> Capability {
        let own = match self.byte() {
            255 => self.text().chars().take(MAX_CAPABILITY).collect::<String>().parse().ok(),
            other => POWERS[usize::from(other) % POWERS.len()].parse().ok(),
        };
        own.unwrap_or_else(Capability::all)
    }

    fn digest(&mut self) -> Digest {
        Digest::of(&[self.byte()])
    }

    fn payload(&mut self) -> Payload {
        Payload::new(self.some())
    }

    fn money(&mut self) -> Money {
        let parsed = MONEY[usize::from(self.byte()) % MONEY.len()].parse::<Money>();
        let money = parsed.unwrap_or_else(|error| panic!("{error}"));
        match self.byte() {
            255 => Amount(i128::from_be_bytes(self.array())).of(money.currency),
            _ => money,
        }
    }

    fn price(&mut self) -> Price {
        let currency: Currency = self.money().currency;
        let rate = |bytes: &mut Self| Rate::new(bytes.money().amount, u64::from(bytes.byte())).ok();
        let (calls, bytes) = (rate(self), rate(self));
        Price { calls, bytes, micros: rate(self), ..Price::free(currency, self.who()) }
    }

    fn usage(&mut self) -> Usage {
        Usage { calls: self.number(), micros: self.number(), bytes: self.number(), ..Usage::default() }
    }

    fn rule(&mut self) -> FlowRule {
        FlowRule {
            name: self.name(),
            labels: self.few(3, |bytes| bytes.pick(&LABELS)).iter().filter_map(|l| l.parse().ok()).collect(),
            sinks: self.few(3, |bytes| bytes.pick(Sink::ALL)),
            to: self.few(3, Self::capability),
            verdict: self.pick(Verdict::ALL),
        }
    }

    fn shape(&mut self) -> AnswerShape {
        match self.byte() % 3 {
            0 => AnswerShape::Boolean,
            1 => AnswerShape::OneOf(self.few(3, Self::text)),
            _ => AnswerShape::Integer {
                least: (self.number() as i64).wrapping_neg(),
                most: self.number() as i64,
            },
        }
    }

    fn request(&mut self) -> ToolRequest {
        let governed = |bytes: &mut Self| {
            let argument = match bytes.byte() % 5 {
                0 => GovernedArgument::Path(bytes.text()),
                1 => GovernedArgument::Text(bytes.text()),
                2 => GovernedArgument::Host(bytes.text()),
                3 => GovernedArgument::Number(bytes.number()),
                _ => GovernedArgument::Money(bytes.money()),
            };
            (bytes.pick(&["path", "host", "to", "max", "n"]).to_owned(), argument)
        };
        ToolRequest {
            tool: self.name(),
            version: self.text(),
            class: self.pick(&EffectClass::ALL),
            sink: self.pick(Sink::ALL),
            arguments: self.payload(),
            governed: self.few(4, governed),
            places: Places { written: self.few(3, Self::digest), read: self.few(3, Self::digest) },
            bounds: self.usage(),
            traced: self.maybe(Self::traced).map(Box::new),
        }
    }

    /// One of few values, so that some are the same.
    fn literal(&mut self) -> Digest {
        Digest::of(&[self.byte() % 4])
    }

    fn pointer(&mut self) -> PointerId {
        PointerId([self.byte() % 4; 16])
    }

    fn argument(&mut self) -> String {
        self.pick(&["to", "path", "body"]).to_owned()
    }

    fn source(&mut self) -> Source {
        match self.byte() % 8 {
            0 => Source::Person,
            1 | 2 => Source::Leaf(Selector {
                read: self.name(),
                pointer: self.pointer(),
                elements: self.pointer(),
                keys: self.few(3, |bytes| Key {
                    pointer: bytes.pointer(),
                    depth: u32::from(bytes.byte()),
                    value: bytes.literal(),
                }),
            }),
            3 => Source::List(self.few(3, Self::source)),
            _ => Source::Literal(self.literal()),
        }
    }

    fn slot(&mut self) -> Slot {
        Slot {
            name: self.maybe(Self::name),
            tool: self.name(),
            times: u32::from(self.byte() % 5),
            most: self.maybe(Self::money),
            arguments: self.few(3, |bytes| (bytes.argument(), bytes.source())),
        }
    }

    fn leaf(&mut self) -> Leaf {
        Leaf {
            pointer: self.pointer(),
            at: self.few(3, |bytes| u32::from(bytes.byte() % 3)),
            value: self.literal(),
            trusted: self.byte().is_multiple_of(2),
            telling: self.byte().is_multiple_of(2),
        }
    }

    fn traced(&mut self) -> Traced {
        let value = |bytes: &mut Self| match bytes.byte() % 4 {
            0 => Value::List(bytes.few(3, Self::literal)),
            _ => Value::One(bytes.literal()),
        };
        Traced {
            arguments: self.few(3, |bytes| (bytes.argument(), value(bytes))),
            control: self.few(2, Self::argument),
            mentions: self.few(2, Self::literal),
            phrases: self.few(3, Self::literal),
            cut: self.byte() == 255,
            controls: vec![("to".to_owned(), Answer::Integer(1))],
        }
    }
}
