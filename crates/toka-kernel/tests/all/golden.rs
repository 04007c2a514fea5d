//! The stored bytes of facts never change: `docs/format/facts.json` holds one example of each kind.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toka_kernel::codec;
use toka_types::entry::*;
use toka_types::facts::*;
use toka_types::nonce::Nonce;
use toka_types::plan::{Key, Leaf, Selector, Slot, SlotUse, Source};
use toka_types::price::{Price, PriceSet, Rate};
use toka_types::{
    Amount, AnswerShape, Digest, EffectClass, EntityId, EventHeader, EventId, FlowRule, GrantId, KeyId,
    Labels, Money, OpId, PointerId, Sink, Timestamp,
};

use crate::house::{capabilities, kind, name, payload};

/// One entry of the file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Golden {
    kind: String,
    version: u32,
    case: String,
    hex: String,
}

/// One example of each kind's facts, with every optional field there.
pub(crate) fn samples() -> Vec<(&'static str, Facts)> {
    let (a, b) = (EntityId::named("a"), EntityId::named("b"));
    let id = EventId(Digest::of(b"an event"));
    let (digest, at) = (Digest::of(b"bytes"), Timestamp(1_700_000_000_000_000));
    let changed = AgentChanged { agent: a };
    let (uses, delegates) =
        (capabilities(&["event:emit", "tool:fs.read(path=docs/**)"]), capabilities(&["tool:echo"]));
    let (tool, version, class) = (name("http.get"), "1.2.0".to_owned(), EffectClass::Write);
    let money: Money = "0.50 USD".parse().expect("money");
    let usd = money.currency;
    let entered = |entry: Entry| Facts::Entered(entry);
    let noticed = |level, measure| {
        let (used, limit) = (Amount(money.amount.0 * 4 / 5), money.amount);
        Facts::Noticed(Notice { owner: a, currency: usd, level, measure, used, limit })
    };
    let rate = Some(Rate::new(money.amount, 1_000_000).expect("a rate"));
    let price = Price {
        calls: rate,
        tokens_in: rate,
        tokens_out: rate,
        tokens_cached: rate,
        micros: rate,
        bytes: rate,
        ..Price::free(usd, b)
    };
    let pointer = PointerId::of("/*/email");
    let register = |value| Register { key: Digest::of(b"docs/a.md"), value };
    let all = vec![
        Facts::LogOpened(LogOpened {
            operator: EntityId::operator(),
            grant: GrantId(1),
            capabilities: capabilities(&["**"]),
        }),
        Facts::LogForked(LogForked { base: name("main"), seq: 300, id, nonce: digest }),
        Facts::AgentSpawned(AgentSpawned {
            agent: a,
            name: name("a"),
            behaviour: name("Logger"),
            parent: EntityId::operator(),
            grant: GrantId(2),
            cut_from: GrantId(1),
            uses: uses.clone(),
            delegates: delegates.clone(),
            expires: Some(at),
            budget: Some("0.50 USD".parse().expect("money")),
            quarantine: Some(AnswerShape::OneOf(vec!["pay".to_owned(), "ask".to_owned()])),
        }),
        Facts::AgentStopped(changed.clone()),
        Facts::AgentSuspended(changed.clone()),
        Facts::AgentResumed(changed),
        Facts::AgentAnswered(AgentAnswered { agent: b, parent: a, answer: "pay".into() }),
        Facts::TurnEnded(TurnEnded { agent: a, upto: 300 }),
        Facts::GrantIssued(GrantIssued {
            grant: GrantId(300),
            subject: a,
            cut_from: GrantId(1),
            uses,
            delegates,
            expires: None,
        }),
        Facts::GrantRevoked(GrantRevoked { grant: GrantId(2) }),
        Facts::MessageSent(MessageSent { from: a, to: b, literals: Some(vec![digest]) }),
        Facts::TaskScheduled(TaskScheduled { task: name("t"), owner: a, due: at, spec: digest }),
        Facts::TaskCancelled(TaskCancelled { task: name("t"), owner: a }),
        Facts::TaskFired(TaskFired { task: name("t"), owner: a, due: at, next: Some(Timestamp(at.0 + 1)) }),
        Facts::ToolRequested(ToolRequested {
            agent: a,
            tool: tool.clone(),
            version: version.clone(),
            class,
            arguments: digest,
            approval: Some(id),
            slot: Some(SlotUse { plan: id, slot: 1 }),
            wrote: vec![digest],
        }),
        Facts::ToolReturned(ToolReturned {
            agent: a,
            tool,
            version,
            class,
            arguments: digest,
            request: Some(id),
            status: name("ok"),
            output: Some(payload(3).content_ref()),
            leaves: vec![Leaf { pointer, at: vec![0, 300], value: digest, trusted: true, telling: false }],
        }),
        Facts::ToolResolved(ToolResolved { request: id, resolution: Resolution::DidNotHappen }),
        Facts::PlanCommitted(PlanCommitted { agent: a, request: id, slots: slots(money) }),
        Facts::CapabilityDenied(CapabilityDenied {
            agent: a,
            code: name("capability.missing"),
            asked: "tool:fs.read".to_owned(),
            argument: Some(digest),
            nearest: Some("tool:fs.read(path=docs/**)".parse().expect("a capability")),
            repeated: 0,
            meter: Some(digest),
        }),
        Facts::SubjectErased(SubjectErased { keys: vec![KeyId([9; 16])] }),
        Facts::UserCreated(UserCreated {
            user: b,
            name: name("b"),
            role: Role::Member,
            grant: GrantId(3),
            cut_from: GrantId(1),
            uses: capabilities(&["agent:**"]),
            delegates: capabilities(&["tool:echo"]),
            expires: Some(at),
        }),
        Facts::UserRoleAssigned(UserRoleAssigned { user: b, role: Role::Observer }),
        Facts::ApprovalRequested(ApprovalRequested {
            agent: a,
            tool: name("http.post"),
            version: "1.2.0".to_owned(),
            arguments: digest,
            expires: at,
            because: Some(name("plan.amount")),
        }),
        Facts::ApprovalDecided(ApprovalDecided {
            approval: id,
            verdict: ApprovalVerdict::AllowArguments,
            by: b,
            until: at,
        }),
        Facts::ApprovalExpired(ApprovalEnded { approval: id }),
        Facts::ApprovalCancelled(ApprovalEnded { approval: id }),
        entered(AccountOpened { owner: a, currency: usd, parent: Some(b) }.into()),
        entered(BudgetSet { owner: a, currency: usd, period: Period::Day, limit: Some(money.amount) }.into()),
        entered(Minted { to: a, money }.into()),
        entered(Burnt { from: a, money }.into()),
        entered(Transferred { from: a, to: b, money }.into()),
        entered(Carved { from: a, to: b, money }.into()),
        entered(Held { from: a, to: b, money }.into()),
        entered(Settled { hold: id, from: a, to: b, held: money.amount, charged: money }.into()),
        entered(Released { hold: id, from: a, money }.into()),
        noticed(Level::Warned, Measure::Budget(Period::Day)),
        noticed(Level::Exhausted, Measure::Funds),
        Facts::PolicySet(PolicySet {
            rules: vec![FlowRule {
                name: name("stripe"),
                labels: vec!["secret:stripe".parse().expect("a pattern")],
                sinks: vec![Sink::External],
                to: capabilities(&["tool:http.post(host=api.stripe.com)"]),
                verdict: toka_types::Verdict::Allow,
            }],
        }),
        Facts::PriceSet(PriceSet { item: name("http.get"), from: at, price: Some(price) }),
        Facts::NonceBurnt(NonceBurnt {}),
        Facts::ToolDeclared(ToolDeclared {
            tool: name("mail.send"),
            version: "1.2.0".to_owned(),
            class: EffectClass::Write,
            sink: Sink::External,
            labels: crate::house::labels(&["untrusted:mail"]),
            control: vec!["to".to_owned()],
            manifest: digest,
        }),
        Facts::LogLimited(LogLimited {
            agents: Some(100),
            people: Some(10),
            tasks: Some(20),
            approvals: Some(8),
            observations: Some(1_000),
            observation_bytes: Some(65_536),
            message_bytes: Some(4_096),
            task_bytes: Some(1_024),
            argument_bytes: Some(65_536),
            approval_seconds: Some(3_600),
        }),
        Facts::ClockJumped(ClockJumped { shows: at }),
        Facts::ClockReset(ClockReset { shows: at }),
        Facts::CustomSet(CustomSet { opcode: name("vote"), registers: vec![register(Some(digest))] }),
        Facts::CustomEmit(CustomEmit { opcode: name("vote"), topic: name("counted") }),
        Facts::Observed(Observed { registers: vec![register(Some(digest)), register(None)] }),
    ];
    all.into_iter().map(|facts| (facts.kind().unwrap_or("file.indexed"), facts)).collect()
}

/// A slot of each sort, with sources of each.
fn slots(money: Money) -> Vec<Slot> {
    let (digest, pointer) = (Digest::of(b"bytes"), PointerId::of("/*/email"));
    let key = Key { pointer, depth: 1, value: digest };
    let leaf = Source::Leaf(Selector { read: name("contacts"), pointer, elements: pointer, keys: vec![key] });
    let arguments = vec![
        ("to".to_owned(), leaf),
        ("subject".to_owned(), Source::Literal(digest)),
        ("account".to_owned(), Source::Person),
        ("cc".to_owned(), Source::List(vec![Source::Literal(digest)])),
    ];
    let read = Slot {
        name: Some(name("contacts")),
        tool: name("contacts.list"),
        times: 1,
        most: None,
        arguments: Vec::new(),
    };
    vec![read, Slot { name: None, tool: name("pay"), times: 300, most: Some(money), arguments }]
}

fn encoded() -> Vec<(Golden, Facts, Option<OperationRef>)> {
    let (end, nonce) = (Timestamp(1_700_000_000_000_000), Nonce([5; 16]));
    let named = OperationRef { op_id: Some(OpId([7; 16])), not_after: Some(end), ..OperationRef::default() };
    let signed = OperationRef { nonce: Some(nonce), until: Some(end), ..named.clone() };
    let limited = "tool:fs.read(rate=10/min)".parse().expect("a capability");
    let used = vec![Used { grant: GrantId(3), capability: limited, times: 2 }];
    let counted = OperationRef { used, ..OperationRef::default() };
    let token = TokenUsed {
        grant: GrantId(3),
        meter: Digest::of(b"chain"),
        until: end,
        capability: "tool:fs.read(uses=3)".parse().expect("a capability"),
        times: 2,
    };
    let by_token = OperationRef { token_used: vec![token], ..OperationRef::default() };
    let mut cases: Vec<_> =
        samples().into_iter().map(|(kind, facts)| (kind, "all fields", facts, None)).collect();
    let shorter = |facts| match facts {
        Facts::ToolRequested(facts) => {
            let pure = ToolRequested { slot: None, wrote: Vec::new(), ..facts };
            let free = ToolRequested { approval: None, ..pure.clone() };
            vec![
                ("without a slot and places", Facts::ToolRequested(pure)),
                ("without an approval, a slot and places", Facts::ToolRequested(free)),
            ]
        }
        Facts::ToolReturned(facts) => {
            vec![("without leaves", Facts::ToolReturned(ToolReturned { leaves: Vec::new(), ..facts }))]
        }
        Facts::MessageSent(facts) => {
            vec![("without literals", Facts::MessageSent(MessageSent { literals: None, ..facts }))]
        }
        Facts::ApprovalRequested(facts) => {
            vec![("without a reason", Facts::ApprovalRequested(ApprovalRequested { because: None, ..facts }))]
        }
        Facts::ToolDeclared(facts) => vec![(
            "without control arguments",
            Facts::ToolDeclared(ToolDeclared { control: Vec::new(), ..facts }),
        )],
        Facts::CapabilityDenied(facts) => {
            vec![("without a meter", Facts::CapabilityDenied(CapabilityDenied { meter: None, ..facts }))]
        }
        Facts::LogLimited(_) => vec![("no bounds", Facts::LogLimited(LogLimited::default()))],
        Facts::AgentSpawned(facts) => {
            let free = AgentSpawned { quarantine: None, ..facts };
            let poor = AgentSpawned { budget: None, ..free.clone() };
            vec![
                ("without a quarantine", Facts::AgentSpawned(free)),
                ("without a budget", Facts::AgentSpawned(poor)),
            ]
        }
        Facts::AgentAnswered(facts) => {
            let answered = |answer| Facts::AgentAnswered(AgentAnswered { answer, ..facts.clone() });
            vec![("yes or no", answered(true.into())), ("a number", answered((-300).into()))]
        }
        _ => Vec::new(),
    };
    let plain =
        samples().into_iter().flat_map(|(kind, facts)| shorter(facts).into_iter().map(move |s| (kind, s)));
    cases.extend(plain.map(|(kind, (case, facts))| (kind, case, facts, None)));
    let empty = || Facts::Observed(Observed { registers: Vec::new() });
    cases.push(("file.indexed", "no registers", empty(), None));
    cases.push(("file.indexed", "no registers, a named operation", empty(), Some(named)));
    cases.push(("file.indexed", "no registers, a named and signed operation", empty(), Some(signed)));
    cases.push(("file.indexed", "no registers, uses that are counted", empty(), Some(counted)));
    cases.push(("file.indexed", "no registers, uses that are counted for a token", empty(), Some(by_token)));
    cases
        .into_iter()
        .map(|(kind, case, facts, operation)| {
            let bytes = codec::encode(&facts, operation.as_ref());
            let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            (Golden { kind: kind.to_owned(), version: 1, case: case.to_owned(), hex }, facts, operation)
        })
        .collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("hex"));
    digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
}

#[test]
fn facts_are_stored_as_the_golden_bytes_say() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/format/facts.json");
    let text = std::fs::read_to_string(&path).expect("the golden bytes are in the repository");
    let golden: Vec<Golden> = serde_json::from_str(&text).expect("a list of examples");
    let encoded = encoded();
    assert_eq!(golden.len(), encoded.len());
    for (golden, (ours, facts, operation)) in golden.iter().zip(encoded) {
        assert_eq!(*golden, ours);
        let header = EventHeader {
            seq: 0,
            id: EventId::default(),
            at: Timestamp(0),
            kind: kind(&golden.kind),
            author: EntityId::NONE,
            prev: None,
            parents: Vec::new(),
            labels: Labels::none(),
            content: Vec::new(),
            facts: bytes_of(&golden.hex),
        };
        assert_eq!(codec::decode(&header), Ok((facts, operation)), "{}", golden.kind);
    }
}

#[test]
fn there_is_an_example_of_every_kind_of_the_kernel() {
    let kinds: Vec<&str> = samples().iter().map(|(kind, _)| *kind).collect();
    for (index, kind) in kinds.iter().enumerate() {
        assert!(!kinds[..index].contains(kind), "{kind} twice");
    }
    // The match makes a new kind of facts fail to compile here until it has an example.
    for (_, facts) in samples() {
        match facts {
            Facts::LogOpened(_)
            | Facts::LogForked(_)
            | Facts::AgentSpawned(_)
            | Facts::AgentStopped(_)
            | Facts::AgentSuspended(_) => {}
            Facts::AgentResumed(_) | Facts::TurnEnded(_) | Facts::GrantIssued(_) | Facts::GrantRevoked(_) => {
            }
            Facts::MessageSent(_)
            | Facts::TaskScheduled(_)
            | Facts::TaskCancelled(_)
            | Facts::TaskFired(_) => {}
            Facts::ToolRequested(_) | Facts::ToolReturned(_) | Facts::ToolResolved(_) => {}
            Facts::PlanCommitted(_) => {}
            Facts::CapabilityDenied(_) | Facts::SubjectErased(_) | Facts::Observed(_) => {}
            Facts::UserCreated(_) | Facts::UserRoleAssigned(_) => {}
            Facts::CustomSet(_) | Facts::CustomEmit(_) | Facts::NonceBurnt(_) => {}
            Facts::Entered(_) | Facts::Noticed(_) | Facts::PriceSet(_) | Facts::PolicySet(_) => {}
            Facts::AgentAnswered(_) | Facts::ApprovalRequested(_) | Facts::ApprovalDecided(_) => {}
            Facts::ApprovalExpired(_) | Facts::ApprovalCancelled(_) => {}
            Facts::ClockJumped(_) | Facts::ClockReset(_) => {}
            Facts::ToolDeclared(_) | Facts::LogLimited(_) => {}
        }
    }
    assert_eq!(kinds.len(), 47);
}
