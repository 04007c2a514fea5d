//! Random programs: what a few agents ask, in terms that make most of it meaningful.

use proptest::prelude::*;
use toka_kernel::Submission;
use toka_kernel::step::is_host_only;
use toka_types::entry::Period;
use toka_types::facts::{ApprovalVerdict, Register, Resolution, Role};
use toka_types::operation::{
    Authority, Cause, Envelope, GrantTerms, LedgerRequest, Observation, Parent, TaskAction, ToolRequest,
};
use toka_types::plan::{Slot, Source};
use toka_types::price::{Price, Rate};
use toka_types::{
    Amount, Answer, AnswerShape, Digest, EntityId, EventId, GrantId, Label, Labels, Money, OpId, Operation,
    Timestamp,
};

use crate::house::*;
use crate::plans::{instruct, pay, plan, slot, text};

const WHO: [&str; 6] = ["operator", "a", "b", "a/child", "late", "nobody"];
const KINDS: [&str; 5] = ["file.indexed", "file.chunk", "x.y", "tool.forged", "agent.spawned"];
const POWERS: [&str; 10] = [
    "**",
    "tool:**",
    "event:emit",
    "event:emit(kind=file.*)",
    "agent:**",
    "message:send",
    "task:schedule",
    "agent:spawn(max=1)",
    "tool:**(uses=3)",
    "event:emit(rate=2/min)",
];
const LABELS: [&str; 4] = ["untrusted:web", "secret:stripe", "subject:alice", "untrusted:mail"];
const CLASSES: [&str; 5] = ["pure", "local-read", "read", "idempotent", "write"];
const PATHS: [&str; 6] = ["docs/a.md", "", "..", "/etc/passwd", "docs/../x", "a\u{0}b"];

/// One envelope, and how much later than the one before it it comes.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) envelope: Envelope,
    pub(crate) after: i64,
    /// True if the asker comes with what is its own then, and names a call or a task that waits then.
    pub(crate) apt: bool,
}

impl Asked {
    /// The envelope as it is asked in `house`.
    pub(crate) fn in_house(&self, house: &House) -> Envelope {
        let mut envelope = self.envelope.clone();
        if !self.apt {
            return envelope;
        }
        let world = house.kernel.world();
        let own = world.agent(envelope.origin).map(|agent| agent.grant).or(world.operator_grant());
        envelope.authority = match is_host_only(&envelope.operation) {
            true => Authority::Host,
            false => Authority::Grant(own.unwrap_or_default()),
        };
        let waiting = world.effects().next();
        match (&mut envelope.operation, waiting) {
            (Operation::Return(outcome), Some((call, effect))) => {
                (outcome.request, envelope.origin) = (Some(call), effect.agent);
            }
            (Operation::Resolve { request, .. }, Some((call, _))) => *request = call,
            (Operation::DecideApproval { approval, .. } | Operation::CancelApproval(approval), _) => {
                *approval = world.approvals().next().map_or(*approval, |(id, _)| id);
            }
            (Operation::FireTask { task, due, next, .. }, _) => {
                if let Some((name, found)) = world.tasks_of(envelope.origin).next() {
                    (*task, *due) = (name.clone(), found.due);
                    *next = next.map(|_| Timestamp(found.due.0 + 500));
                }
            }
            _ => {}
        }
        envelope
    }
}

/// What a random program asks, in order. Event ids stand for those of a log that begins with `House::inhabited`, or
/// for none.
pub(crate) fn program(longest: usize) -> impl Strategy<Value = Vec<Asked>> {
    prop::collection::vec(asked(), 1..longest)
}

pub(crate) fn submissions(envelopes: &[Envelope]) -> Vec<Submission> {
    envelopes.iter().cloned().map(Submission::new).collect()
}

fn asked() -> impl Strategy<Value = Asked> {
    let time = prop_oneof![Just(0i64), 0i64..2_000, Just(61_000_000), -5_000i64..0];
    let apt = prop::bool::weighted(0.85);
    (envelope(), time, apt).prop_map(|(envelope, after, apt)| Asked { envelope, after, apt })
}

fn envelope() -> impl Strategy<Value = Envelope> {
    // The first numbers are the grants of operator, a, b and a/child; later ones may or may not be issued.
    let usual = (0usize..4).prop_map(|i| (WHO[i], Authority::Grant(GrantId(i as u64 + 1))));
    let authority =
        prop_oneof![3 => (0u64..9).prop_map(|id| Authority::Grant(GrantId(id))), 1 => Just(Authority::Host)];
    let odd = ((0..WHO.len()).prop_map(|i| WHO[i]), authority);
    let host = (0usize..4).prop_map(|i| (WHO[i], Authority::Host));
    let op_id = prop::option::weighted(0.3, (0u8..4, any_time()).prop_map(|(id, at)| (OpId([id; 16]), at)));
    let causes = prop::collection::vec(cause(), 0..4);
    (prop_oneof![6 => usual, 2 => odd, 1 => host], op_id, causes, operation()).prop_map(
        |((who, authority), op_id, causes, operation)| Envelope {
            origin: EntityId::named(who),
            authority,
            op_id,
            causes,
            operation,
        },
    )
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    let far = 1_000_000_000_000i64;
    prop_oneof![6 => Just(far), 3 => 0i64..200_000_000, 1 => any::<i64>()].prop_map(Timestamp)
}

fn event_id() -> impl Strategy<Value = EventId> {
    (0usize..8)
        .prop_map(|i| House::inhabited().log.get(i).map_or(EventId::default(), |event| event.header.id))
}

fn some_labels() -> impl Strategy<Value = Labels> {
    let few = prop::sample::subsequence(LABELS.to_vec(), 0..3).prop_map(|texts| labels(&texts));
    let many = (0u8..3).prop_map(|i| {
        Labels::new((0..20).map(|n| Label::new(&format!("l{i}:{n}")).expect("a label"))).expect("at most 32")
    });
    prop_oneof![40 => few, 1 => many]
}

fn cause() -> impl Strategy<Value = Cause> {
    (event_id(), some_labels()).prop_map(|(id, labels)| Cause { id, labels })
}

fn grant_terms() -> impl Strategy<Value = GrantTerms> {
    let powers = || prop::sample::subsequence(POWERS.to_vec(), 0..4).prop_map(|texts| capabilities(&texts));
    (powers(), powers(), prop::option::weighted(0.2, any_time()))
        .prop_map(|(uses, delegates, expires)| GrantTerms { uses, delegates, expires })
}

fn agent() -> impl Strategy<Value = EntityId> {
    (0..WHO.len()).prop_map(|i| EntityId::named(WHO[i]))
}

fn observations() -> impl Strategy<Value = Vec<Observation>> {
    let digest = || (0u8..4).prop_map(|i| Digest::of(&[i]));
    let register = (digest(), prop::option::of(digest())).prop_map(|(key, value)| Register { key, value });
    let parent = prop_oneof![cause().prop_map(Parent::Event), (0usize..5).prop_map(Parent::Earlier)];
    let registers = prop::collection::vec(register, 0..3);
    let parents = prop::collection::vec(parent, 0..2);
    let one = (0..KINDS.len() + 20, registers, some_labels(), parents, prop::option::of(0usize..64))
        .prop_map(|(kind, registers, labels, parents, size)| {
            let kind = crate::house::kind(KINDS.get(kind).unwrap_or(&"file.chunk"));
            Observation { kind, content: size.map(payload), registers, labels, parents }
        });
    prop::collection::vec(one, 0..5)
}

fn operation() -> impl Strategy<Value = Operation> {
    let names = || (0..WHO.len()).prop_map(|i| name(WHO[i]));
    let task = || (0u8..2).prop_map(|i| name(&format!("t{i}")));
    let soon = || (1i64..3).prop_map(|n| Timestamp(n * 500));
    let action = prop_oneof![
        Just(TaskAction::Skip),
        (0..KINDS.len()).prop_map(|i| TaskAction::Emit { kind: kind(KINDS[i]), content: payload(2) }),
        agent().prop_map(|to| TaskAction::Send { to, message: payload(2) }),
    ];
    let call = (0..CLASSES.len(), 0..PATHS.len()).prop_map(|(effect, path)| {
        let Operation::Request(call) = request("fs.read", CLASSES[effect], PATHS[path]) else {
            unreachable!("a call")
        };
        call
    });
    let returned = (0..CLASSES.len(), prop::option::of(event_id()), some_labels()).prop_map(
        |(effect, request, labels)| {
            Operation::Return(toka_types::operation::ToolOutcome {
                labels,
                ..outcome(CLASSES[effect], request)
            })
        },
    );
    prop_oneof![
        1 => Just(open_log(&["**"])),
        4 => (names(), grant_terms()).prop_map(|(name, grant)| Operation::SpawnAgent { name, behaviour: crate::house::name("Logger"), grant, budget: None, quarantine: None }),
        1 => agent().prop_map(Operation::StopAgent),
        1 => agent().prop_map(Operation::SuspendAgent),
        1 => agent().prop_map(Operation::ResumeAgent),
        2 => (agent(), grant_terms()).prop_map(|(agent, grant)| Operation::IssueGrant { agent, grant }),
        1 => (0u64..9).prop_map(|id| Operation::RevokeGrant(GrantId(id))),
        1 => any::<u64>().prop_map(|upto| Operation::EndTurn { upto }),
        8 => observations().prop_map(Operation::Observe),
        3 => (agent(), 0usize..32).prop_map(|(to, size)| Operation::Send { to, message: payload(size) }),
        4 => (task(), soon()).prop_map(|(task, due)| Operation::ScheduleTask { task, due, spec: payload(4) }),
        1 => task().prop_map(|task| Operation::CancelTask { task }),
        6 => (task(), soon(), prop::option::of(soon()), action).prop_map(|(task, due, next, action)| Operation::FireTask { task, due, next, action }),
        4 => call.prop_map(|call: ToolRequest| Operation::Request(call)),
        2 => returned,
        1 => event_id().prop_map(|request| Operation::Resolve { request, resolution: Resolution::Happened }),
        8 => money_matters(),
        4 => rule(),
        4 => planning(),
        2 => quarantine(),
    ]
}

/// Requests, plans for them, and calls that fill a slot or do not.
fn planning() -> impl Strategy<Value = Operation> {
    const TO: [&str; 3] = ["bob", "eve", "carol"];
    let who = || (0..WHO.len()).prop_map(|i| WHO[i]);
    let to = || (0..TO.len()).prop_map(|i| TO[i]);
    let slots = prop::collection::vec((to(), prop::bool::ANY, 1u32..3), 0..3);
    prop_oneof![
        2 => who().prop_map(|who| instruct(who, &[text("bob"), text("carol")])),
        3 => (who(), slots).prop_map(|(who, slots)| {
            let of = |(to, named, times): (&str, bool, u32)| Slot {
                name: named.then(|| name(to)),
                times,
                ..slot("pay", &[("to", Source::Literal(text(to)))])
            };
            plan(who, slots.into_iter().map(of).collect())
        }),
        4 => to().prop_map(|to| Operation::Request(pay(to))),
    ]
}

/// An inhabited house in which everybody has an account, and some money.
pub(crate) fn with_money() -> House {
    let mut house = House::inhabited();
    let usd: toka_types::Currency = "USD".parse().expect("a code");
    for who in ["operator", "b"] {
        let open = LedgerRequest::Open { owner: EntityId::named(who), currency: usd, parent: None };
        house.ask("operator", Operation::Enter(open)).expect("allowed");
    }
    house.ask("operator", crate::money::mint("operator", "50 USD")).expect("allowed");
    for (from, to, dollars) in [("operator", "a", 20), ("a", "a/child", 10)] {
        let (from, to) = (EntityId::named(from), EntityId::named(to));
        let hand_down = LedgerRequest::TopUp { from, to, money: Amount::units(dollars).of(usd) };
        house.ask("operator", Operation::Enter(hand_down)).expect("allowed");
    }
    house
}

/// A few dollars, now and then nothing, less, or more than there can be.
fn money() -> impl Strategy<Value = Money> {
    let dollars = prop_oneof![8 => 1i128..400, 1 => -3i128..1, 1 => Just(i128::MAX / 1_000_000_000)];
    dollars.prop_map(|n| Amount(n.saturating_mul(10_000_000)).of("USD".parse().expect("a code")))
}

fn money_matters() -> impl Strategy<Value = Operation> {
    let usd = || "USD".parse().expect("a code");
    let to = agent;
    let price = money().prop_map(move |money| {
        let calls = Rate::new(money.amount, 1).ok();
        Price {
            calls,
            bytes: Rate::new(Amount(money.amount.0 / 100), 1).ok(),
            ..Price::free(usd(), EntityId::named("b"))
        }
    });
    let names = (0..WHO.len()).prop_map(|i| name(WHO[i]));
    let spawn = (names, grant_terms(), money()).prop_map(|(name, grant, money)| Operation::SpawnAgent {
        name,
        behaviour: crate::house::name("Logger"),
        grant,
        budget: Some(money),
        quarantine: None,
    });
    let enter = prop_oneof![
        2 => (to(), prop::option::of(agent()))
            .prop_map(move |(owner, parent)| LedgerRequest::Open { owner, currency: usd(), parent }),
        2 => (to(), prop::option::of(money())).prop_map(move |(owner, money)| LedgerRequest::Limit {
            owner,
            currency: usd(),
            period: Period::Hour,
            limit: money.map(|money| money.amount),
        }),
        3 => (to(), money()).prop_map(|(to, money)| LedgerRequest::Mint { to, money }),
        1 => (to(), money()).prop_map(|(from, money)| LedgerRequest::Burn { from, money }),
        3 => (agent(), to(), money()).prop_map(|(from, to, money)| LedgerRequest::Transfer { from, to, money }),
        2 => (agent(), to(), money()).prop_map(|(from, to, money)| LedgerRequest::TopUp { from, to, money }),
    ];
    prop_oneof![
        8 => enter.prop_map(Operation::Enter),
        2 => spawn,
        1 => (prop::option::of(price), any_time())
            .prop_map(|(price, from)| Operation::SetPrice { item: name("fs.read"), from, price }),
    ]
}

/// Now and then somebody is quarantined, and says something.
fn quarantine() -> impl Strategy<Value = Operation> {
    let shape = prop_oneof![
        Just(AnswerShape::Boolean),
        Just(AnswerShape::OneOf(vec!["x".to_owned(), "docs/a.md".to_owned()])),
        (-2i64..3, -2i64..3).prop_map(|(least, most)| AnswerShape::Integer { least, most }),
    ];
    let said = prop_oneof![
        any::<bool>().prop_map(Answer::from),
        Just("docs/a.md".into()),
        (-2i64..3).prop_map(Answer::from),
    ];
    let names = (0..WHO.len()).prop_map(|i| name(WHO[i]));
    let spawn = (names, grant_terms(), shape).prop_map(|(name, grant, shape)| Operation::SpawnAgent {
        name,
        behaviour: crate::house::name("Logger"),
        grant,
        budget: None,
        quarantine: Some(shape),
    });
    prop_oneof![1 => spawn, 2 => said.prop_map(Operation::Answer)]
}

fn rule() -> impl Strategy<Value = Operation> {
    let role = || (0..Role::ALL.len()).prop_map(|i| Role::ALL[i]);
    let names = (0..WHO.len()).prop_map(|i| name(WHO[i]));
    let call = (0..CLASSES.len(), 0..PATHS.len()).prop_map(|(effect, path)| {
        let Operation::Request(call) = request("fs.read", CLASSES[effect], PATHS[path]) else {
            unreachable!("a call")
        };
        call
    });
    let verdicts = [
        ApprovalVerdict::AllowOnce,
        ApprovalVerdict::AllowArguments,
        ApprovalVerdict::AllowTool,
        ApprovalVerdict::Deny,
    ];
    let flow = prop::sample::subsequence(LABELS.to_vec(), 0..2).prop_map(|labels| {
        let of = |(i, label): (usize, &str)| toka_types::FlowRule {
            name: name(&format!("r{i}")),
            labels: vec![label.parse().expect("a pattern")],
            sinks: Vec::new(),
            to: Vec::new(),
            verdict: if i == 0 { toka_types::Verdict::Allow } else { toka_types::Verdict::Deny },
        };
        Operation::SetPolicy(labels.into_iter().enumerate().map(of).collect())
    });
    prop_oneof![
        1 => (names, role(), grant_terms()).prop_map(|(name, role, grant)| Operation::CreateUser { name, role, grant }),
        1 => (agent(), role()).prop_map(|(user, role)| Operation::AssignRole { user, role }),
        2 => (call, any_time()).prop_map(|(request, expires)| Operation::RequestApproval { request, expires }),
        3 => (event_id(), prop::sample::select(verdicts.to_vec()))
            .prop_map(|(approval, verdict)| Operation::DecideApproval { approval, verdict, until: None }),
        1 => event_id().prop_map(Operation::CancelApproval),
        1 => (0..CLASSES.len()).prop_map(|effect| declare("fs.read", CLASSES[effect])),
        1 => prop::option::of(1u64..6).prop_map(|tasks| limit(toka_types::facts::LogLimited { tasks, ..Default::default() })),
        1 => any_time().prop_map(|shows| Operation::JumpClock { shows }),
        1 => any_time().prop_map(|shows| Operation::ResetClock { shows }),
        1 => flow,
    ]
}
