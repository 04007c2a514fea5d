//! What each operation needs: it is refused without any one of its capabilities, and with them alone it is not.

use toka_kernel::Code;
use toka_kernel::decide::{Need, each_need};
use toka_types::entry::Period;
use toka_types::facts::{ApprovalVerdict, LogLimited, Resolution, Role};
use toka_types::operation::{GrantTerms, LedgerRequest, PlanRequest, TaskAction};
use toka_types::{Capability, Currency, EntityId, EventId, Money, Operation, Timestamp};

use crate::house::*;

/// A house in which something waits to be decided about, and in which `someone` asks under these capabilities.
fn house(uses: &[Capability], delegates: &[Capability]) -> House {
    let mut house = House::inhabited();
    house.kernel.register(name("vote"), std::sync::Arc::new(crate::custom::Vote));
    house.ask("operator", create_user("ann", Role::Member, terms(&["**"], &[]))).expect("allowed");
    house.ask("a", ask_a_person(request("pay", "write", "x"), 500_000)).expect("allowed");
    let grant = GrantTerms { uses: uses.to_vec(), delegates: delegates.to_vec(), expires: None };
    house.ask("operator", spawn("someone", grant)).expect("allowed");
    house
}

fn approval(house: &House) -> EventId {
    house.kernel.world().approvals().next().expect("a question").0
}

/// Every operation that somebody may ask under a grant, and which needs a capability.
fn operations(house: &House) -> Vec<Operation> {
    let money: Money = "1 USD".parse().expect("money");
    let usd = Currency::new("USD").expect("a currency");
    let (a, ann, someone) = (EntityId::named("a"), EntityId::named("ann"), EntityId::named("someone"));
    let enter = Operation::Enter;
    let Operation::SpawnAgent { name: child, behaviour, grant, .. } = spawn("c", terms(&["tool:echo"], &[]))
    else {
        unreachable!("a spawn")
    };
    vec![
        spawn("c", terms(&["tool:echo"], &["tool:echo(n=1)"])),
        Operation::SpawnAgent { name: child, behaviour, grant, budget: Some(money), quarantine: None },
        stop("a"),
        suspend("a"),
        resume("a"),
        issue("a", terms(&["tool:echo"], &[])),
        issue("ann", terms(&["tool:echo"], &[])),
        Operation::RevokeGrant(house.grant_of("a")),
        observe("x.y"),
        Operation::Observe(vec![observation("x.y"), observation("x.z")]),
        send("a", 3),
        Operation::Instruct { to: a, message: payload(3), literals: Vec::new() },
        Operation::CommitPlan(PlanRequest {
            agent: someone,
            slots: Vec::new(),
            control: Vec::new(),
            content: payload(1),
        }),
        schedule("t", 5_000),
        cancel("t"),
        fire("t", 5_000, None, TaskAction::Skip),
        fire("t", 5_000, None, TaskAction::Emit { kind: kind("x.y"), content: payload(1) }),
        fire("t", 5_000, None, TaskAction::Send { to: a, message: payload(1) }),
        request("fs.read", "local-read", "docs/a.md"),
        request("pay", "write", "x"),
        ask_a_person(request("pay", "write", "x"), 500_000),
        Operation::Resolve { request: house.last_id(), resolution: Resolution::Happened },
        create_user("eve", Role::Member, terms(&["tool:echo"], &[])),
        assign("ann", Role::Observer),
        decide(approval(house), ApprovalVerdict::AllowOnce),
        Operation::SetPolicy(Vec::new()),
        enter(LedgerRequest::Open { owner: someone, currency: usd, parent: None }),
        enter(LedgerRequest::Limit { owner: a, currency: usd, period: Period::Day, limit: None }),
        enter(LedgerRequest::Mint { to: a, money }),
        enter(LedgerRequest::Burn { from: a, money }),
        enter(LedgerRequest::Transfer { from: someone, to: ann, money }),
        enter(LedgerRequest::TopUp { from: someone, to: a, money }),
        Operation::SetPrice { item: name("pay"), from: Timestamp(9_000), price: None },
        declare("pay", "write"),
        limit(LogLimited::default()),
        Operation::ResetClock { shows: Timestamp(1) },
        custom("vote", b"ann"),
    ]
}

/// The narrowest capabilities that an operation needs to be used, and those that it needs to be handed on.
fn needed(house: &House, operation: &Operation) -> (Vec<Capability>, Vec<Capability>) {
    let (mut uses, mut delegates) = (Vec::new(), Vec::new());
    let all: Result<(), ()> =
        each_need(house.kernel.world(), EntityId::named("someone"), operation, |need| {
            match need {
                Need::Use(request, _) => uses.push(Capability::narrowest(&request).expect("it can be said")),
                Need::HandOn(terms) => delegates.extend(terms.uses.iter().chain(&terms.delegates).cloned()),
            }
            Ok(())
        });
    all.expect("nothing is refused here");
    (uses, delegates)
}

/// Refusals that say that a right is not there.
fn without_right(reply: &toka_kernel::Reply) -> Option<Code> {
    let code = reply.as_ref().err().map(|denied| denied.code);
    code.filter(|code| matches!(code, Code::CapabilityMissing | Code::CapabilityWidened))
}

#[test]
fn each_operation_needs_each_of_its_capabilities_and_no_other() {
    let plain = house(&[], &[]);
    let mut asked = std::collections::BTreeSet::new();
    for operation in operations(&plain) {
        let what = format!("{operation:?}");
        let (uses, delegates) = needed(&plain, &operation);
        assert!(!uses.is_empty(), "{what}");
        let reply = house(&uses, &delegates).ask("someone", operation.clone());
        assert_eq!(without_right(&reply), None, "{what} with {uses:?} and {delegates:?}: {reply:?}");
        for (index, one) in uses.iter().enumerate() {
            let mut others = uses.clone();
            others.remove(index);
            // The same resource with another action, and any other resource, are no substitute.
            others.push(
                format!("{}:other-than-that", one.resource().expect("one")).parse().expect("a capability"),
            );
            others.push("something-else:**".parse().expect("a capability"));
            let mut house = house(&others, &delegates);
            let denied = house.ask("someone", operation.clone()).expect_err(&what);
            assert_eq!(denied.code, Code::CapabilityMissing, "{what}");
            assert_eq!(house.last(1), ["capability.denied"], "{what}");
            let target = one.to_string();
            assert_eq!(denied.asked, target.split('(').next().unwrap_or_default(), "{what}");
            asked.insert(denied.asked);
        }
        for index in 0..delegates.len() {
            let mut others = delegates.clone();
            others.remove(index);
            let covers = toka_types::capability::CapabilitySet::new(others.clone()).expect("few");
            if !covers.covers_one(&delegates[index]) {
                let reply = house(&uses, &others).ask("someone", operation.clone());
                assert_eq!(without_right(&reply), Some(Code::CapabilityWidened), "{what}");
            }
        }
    }
    let all: Vec<&str> = asked.iter().map(String::as_str).collect();
    let known = "agent:grant agent:resume agent:spawn agent:stop agent:suspend approval:decide clock:reset custom:vote \
                 effect:resolve event:emit grant:revoke ledger:burn ledger:limit ledger:mint ledger:open ledger:spend \
                 log:limit manifest:declare message:send plan:commit policy:set price:set task:schedule tool:fs.read \
                 tool:pay user:assign user:create";
    assert_eq!(all, known.split_whitespace().collect::<Vec<_>>());
}

/// What is narrower in one argument than what is asked, is refused as well.
#[test]
fn a_caveat_on_what_is_asked_bites() {
    let plain = house(&[], &[]);
    for (operation, near) in [
        (send("a", 1), "message:send(to=b)"),
        (observe("x.y"), "event:emit(kind=x)"),
        (request("fs.read", "local-read", "docs/a.md"), "tool:fs.read(path=docs/b.md)"),
        (spawn("c", terms(&[], &[])), "agent:spawn(behaviour=Other)"),
        (spawn("c", terms(&[], &[])), "agent:spawn(max=0)"),
        (decide(approval(&plain), ApprovalVerdict::AllowOnce), "approval:decide(tool=other)"),
        (
            Operation::SetPrice { item: name("pay"), from: Timestamp(9_000), price: None },
            "price:set(item=other)",
        ),
        (declare("pay", "write"), "manifest:declare(tool=other)"),
        (
            Operation::Enter(LedgerRequest::Mint {
                to: EntityId::named("a"),
                money: "1 USD".parse().expect("money"),
            }),
            "ledger:mint(max=0.99 USD)",
        ),
        (
            Operation::Enter(LedgerRequest::Mint {
                to: EntityId::named("a"),
                money: "1 USD".parse().expect("money"),
            }),
            "ledger:mint(max=1 EUR)",
        ),
        (
            Operation::Enter(LedgerRequest::Mint {
                to: EntityId::named("a"),
                money: "1 USD".parse().expect("money"),
            }),
            "ledger:mint(to=b)",
        ),
    ] {
        let near: Capability = near.parse().expect("a capability");
        let reply = house(std::slice::from_ref(&near), &[]).ask("someone", operation);
        let denied = reply.expect_err(&near.to_string());
        assert_eq!(denied.code, Code::CapabilityMissing, "{near}");
        assert_eq!(denied.nearest.as_deref(), Some(&near));
    }
}
