//! Money: nothing comes from nowhere, nobody spends another's, and what a call may cost is kept back before it is made.

use toka_kernel::world::AgentState;
use toka_kernel::{Code, Kernel, digests};
use toka_types::entry::Period;
use toka_types::facts::{Facts, LogForked, Resolution, Role};
use toka_types::operation::{LedgerRequest, ToolOutcome};
use toka_types::price::{Price, Rate, Usage};
use toka_types::{AccountId, Amount, Currency, Digest, EntityId, EventId, Money, Operation, Timestamp};

use crate::house::*;

/// As much as there can be at all, of which there is some already.
const MUCH: &str = "9000000000000000000 USD";

fn usd() -> Currency {
    "USD".parse().expect("a code")
}

fn money(text: &str) -> Money {
    text.parse().expect("money")
}

fn id(name: &str) -> EntityId {
    EntityId::named(name)
}

pub(crate) fn mint(to: &str, text: &str) -> Operation {
    Operation::Enter(LedgerRequest::Mint { to: id(to), money: money(text) })
}

pub(crate) fn transfer(from: &str, to: &str, text: &str) -> Operation {
    Operation::Enter(LedgerRequest::Transfer { from: id(from), to: id(to), money: money(text) })
}

fn top_up(to: &str, text: &str) -> Operation {
    Operation::Enter(LedgerRequest::TopUp { from: id("operator"), to: id(to), money: money(text) })
}

fn open(owner: &str) -> Operation {
    Operation::Enter(LedgerRequest::Open { owner: id(owner), currency: usd(), parent: None })
}

fn with_budget(name: &str, text: &str) -> Operation {
    let Operation::SpawnAgent { name, behaviour, grant, .. } = spawn(name, terms(&["**"], &["**"])) else {
        unreachable!("a spawn")
    };
    Operation::SpawnAgent { name, behaviour, grant, budget: Some(money(text)), quarantine: None }
}

fn balance(house: &House, owner: &str) -> String {
    let account = house.kernel.world().ledger().account(AccountId::new(id(owner), usd()));
    account.map_or_else(|| "none".to_owned(), |account| account.balance().to_string())
}

/// The operator has 10 USD, `shop` sells calls of `pay` at 0.10 each and 0.001 a byte, `p` has a budget.
fn shop(budget: &str) -> House {
    let mut house = House::open();
    for operation in [open("operator"), open("shop"), mint("operator", "10 USD"), with_budget("p", budget)] {
        house.ask("operator", operation).expect("allowed");
    }
    let rate = |text: &str| Some(Rate::new(money(text).amount, 1).expect("a rate"));
    let price = Price { calls: rate("0.10 USD"), bytes: rate("0.001 USD"), ..Price::free(usd(), id("shop")) };
    let set = Operation::SetPrice { item: name("pay"), from: Timestamp(0), price: Some(price) };
    house.ask("operator", set).expect("allowed");
    house
}

fn call(house: &mut House, who: &str) -> EventId {
    house.ask(who, request("pay", "write", "x")).expect("there is money");
    house.log.iter().rfind(|event| event.header.kind == "tool.requested").expect("a call").header.id
}

fn returns(house: &mut House, who: &str, call: EventId, usage: Option<Usage>) {
    let outcome = ToolOutcome { tool: name("pay"), usage, ..outcome("write", Some(call)) };
    house.host(who, Operation::Return(outcome)).expect("an outcome is never refused");
}

fn bytes(bytes: u64) -> Option<Usage> {
    Some(Usage { calls: 1, bytes, ..Usage::default() })
}

/// All balances of a currency sum up to nothing.
#[track_caller]
fn conserved(house: &House) {
    let accounts = house.kernel.world().ledger().accounts();
    let sum: i128 = accounts.map(|account| account.balance().0).sum();
    assert_eq!(sum, 0);
}

#[test]
fn an_agent_is_given_its_budget_in_the_event_that_makes_it() {
    let mut house = House::open();
    house.ask("operator", open("operator")).expect("allowed");
    assert_eq!(code(house.ask("operator", with_budget("p", "1 USD"))), Some(Code::Ledger("ledger.funds")));
    assert!(house.kernel.world().agent(id("p")).is_none(), "all of it or nothing");
    house.ask("operator", mint("operator", "10 USD")).expect("allowed");
    check(house.clone(), "operator", with_budget("p", "1 USD"), Ok(&["agent.spawned"]));
    house.ask("operator", with_budget("p", "1 USD")).expect("there is money now");
    assert_eq!((balance(&house, "operator"), balance(&house, "p")), ("9.00".into(), "1.00".into()));
    conserved(&house);
    house.ask("operator", stop("p")).expect("allowed");
    assert_eq!(house.last(2), ["agent.stopped", "ledger.transferred"]);
    assert_eq!((balance(&house, "operator"), balance(&house, "p")), ("10.00".into(), "0.00".into()));
    conserved(&house);
}

#[test]
fn what_a_call_may_cost_is_kept_back_and_what_it_did_cost_is_paid() {
    let mut house = shop("2 USD");
    let call = call(&mut house, "p");
    assert_eq!(house.last(2), ["tool.requested", "ledger.held"]);
    let account = |house: &House| {
        house.kernel.world().ledger().account(AccountId::new(id("p"), usd())).cloned().expect("p's")
    };
    assert_eq!(
        (account(&house).held().to_string(), account(&house).available().to_string()),
        ("1.10".into(), "0.90".into())
    );
    assert_eq!(code(house.ask("p", request("pay", "write", "x"))), Some(Code::Ledger("ledger.funds")));
    assert_eq!(code(house.ask("p", transfer("p", "shop", "1 USD"))), Some(Code::Ledger("ledger.funds")));
    returns(&mut house, "p", call, bytes(100));
    assert_eq!(house.last(2), ["tool.returned", "ledger.settled"]);
    assert_eq!((balance(&house, "p"), balance(&house, "shop")), ("1.80".into(), "0.20".into()));
    assert_eq!(account(&house).held(), Amount::ZERO);
    conserved(&house);
}

#[test]
fn what_a_call_of_a_stopped_agent_leaves_goes_up_too() {
    type End = fn(&mut House, EventId);
    let used: End = |house, call| returns(house, "p", call, bytes(100));
    let all_used: End = |house, call| returns(house, "p", call, bytes(1_000));
    let never_began: End = |house, call| returns(house, "p", call, None);
    let never_happened: End = |house, call| {
        let resolve = Operation::Resolve { request: call, resolution: Resolution::DidNotHappen };
        house.ask("operator", resolve).expect("a person may");
    };
    let ends = [
        (used, ["ledger.settled", "ledger.transferred"], "0.20"),
        (never_began, ["ledger.released", "ledger.transferred"], "0.00"),
        (never_happened, ["ledger.released", "ledger.transferred"], "0.00"),
        (all_used, ["ledger.settled", "ledger.exhausted"], "1.10"),
    ];
    for (end, kinds, paid) in ends {
        let mut house = shop("2 USD");
        let operator = money(&format!("{} USD", balance(&house, "operator"))).amount.0;
        let call = call(&mut house, "p");
        house.ask("operator", stop("p")).expect("allowed");
        assert_eq!(balance(&house, "p"), "1.10", "kept back for the call");
        end(&mut house, call);
        assert_eq!(house.last(2), kinds);
        assert_eq!((balance(&house, "p"), balance(&house, "shop")), ("0.00".into(), paid.into()));
        let back = money(&format!("{} USD", balance(&house, "operator"))).amount.0 - operator;
        assert_eq!(back, money("2 USD").amount.0 - money(&format!("{paid} USD")).amount.0);
        conserved(&house);
    }
}

#[test]
fn a_call_that_never_began_costs_nothing_and_one_in_doubt_what_a_person_says() {
    let mut house = shop("2 USD");
    let never = call(&mut house, "p");
    returns(&mut house, "p", never, None);
    assert_eq!(house.last(2), ["tool.returned", "ledger.released"]);
    assert_eq!(balance(&house, "p"), "2.00");
    let resolve = |request, resolution| Operation::Resolve { request, resolution };
    let doubtful = call(&mut house, "p");
    house.ask("operator", resolve(doubtful, Resolution::DidNotHappen)).expect("allowed");
    assert_eq!(
        (house.last(2), balance(&house, "p")),
        (vec!["tool.resolved", "ledger.released"], "2.00".into())
    );
    let happened = call(&mut house, "p");
    house.ask("operator", resolve(happened, Resolution::Happened)).expect("allowed");
    assert_eq!(
        (house.last(2), balance(&house, "p")),
        (vec!["tool.resolved", "ledger.settled"], "0.90".into())
    );
    conserved(&house);
}

#[test]
fn whoever_uses_up_a_budget_is_warned_then_suspended_and_goes_on_when_it_is_topped_up() {
    let mut house = shop("2 USD");
    let first = call(&mut house, "p");
    // More than was kept back: the rest comes from what there is, and then it is a debt.
    returns(&mut house, "p", first, bytes(2_400));
    assert_eq!(balance(&house, "p"), "-0.50");
    let state = |house: &House| house.kernel.world().agent(id("p")).map(|agent| agent.state);
    assert_eq!(state(&house), Some(AgentState::Suspended));
    assert!(house.log.iter().any(|event| event.header.kind == "ledger.exhausted"));
    let suspended = house.log.iter().filter(|event| event.header.kind == "agent.suspended").count();
    assert_eq!(suspended, 1, "once, however many limits it met");
    assert_eq!(code(house.ask("p", observe("x.y"))), Some(Code::AgentSuspended));
    assert_eq!(code(house.ask("operator", resume("p"))), Some(Code::Ledger("ledger.debt")));
    house.ask("operator", top_up("p", "1 USD")).expect("allowed");
    house.ask("operator", resume("p")).expect("the debt is paid");
    house.ask("p", observe("x.y")).expect("it goes on");
    conserved(&house);
    let mut near = shop("2 USD");
    let call = call(&mut near, "p");
    returns(&mut near, "p", call, bytes(1_000));
    let second = near.ask("p", request("pay", "write", "x"));
    assert_eq!(code(second), Some(Code::Ledger("ledger.funds")));
    near.ask("p", transfer("p", "shop", "0.60 USD")).expect("there is money");
    assert_eq!(near.last(2), ["ledger.transferred", "ledger.warned"]);
}

#[test]
fn two_children_cannot_race_for_one_budget() {
    let mut house = shop("3 USD");
    for child in ["p/a", "p/b"] {
        let Operation::SpawnAgent { name, behaviour, grant, .. } = spawn(child, terms(&["**"], &[])) else {
            unreachable!("a spawn")
        };
        let spawn = Operation::SpawnAgent {
            name,
            behaviour,
            grant,
            budget: Some(money("1.20 USD")),
            quarantine: None,
        };
        house.ask("p", spawn).expect("p has that");
    }
    let limit = Some(money("2 USD").amount);
    let limited = LedgerRequest::Limit { owner: id("p"), currency: usd(), period: Period::Day, limit };
    house.ask("operator", Operation::Enter(limited)).expect("allowed");
    // Both fit alone, not together: in one batch as one after the other.
    let both = ["p/a", "p/b"]
        .map(|who| toka_kernel::Submission::new(house.envelope(who, request("pay", "write", "x"))));
    let step = house.clone().kernel.step(both.to_vec(), house.at);
    let codes: Vec<_> = step.replies.into_iter().map(code).collect();
    assert_eq!(codes, [None, Some(Code::Ledger("ledger.budget"))]);
    let mut more = house.clone();
    assert_eq!(code(more.ask("p", with_budget("p/c", "0.70 USD"))), Some(Code::Ledger("ledger.funds")));
}

#[test]
fn nobody_moves_what_is_not_theirs() {
    let mut house = shop("2 USD");
    house.ask("operator", with_budget("q", "2 USD")).expect("allowed");
    house.ask("operator", spawn("poor", terms(&["ledger:spend(max=0.50 USD)"], &[]))).expect("allowed");
    house.ask("operator", top_up("poor", "1 USD")).expect("allowed");
    let refused = |house: &mut House, who: &str, operation, expected| {
        assert_eq!(code(house.ask(who, operation)), Some(expected), "{who}");
        conserved(house);
    };
    refused(&mut house, "p", transfer("q", "p", "1 USD"), Code::NotADescendant);
    refused(&mut house, "p", transfer("operator", "p", "1 USD"), Code::NotADescendant);
    refused(&mut house, "p", transfer("p", "p", "1 USD"), Code::Ledger("ledger.self-transfer"));
    refused(&mut house, "p", transfer("p", "shop", "0.00 USD"), Code::Ledger("ledger.amount"));
    refused(&mut house, "p", transfer("p", "nobody", "1 USD"), Code::Ledger("ledger.account-unknown"));
    refused(&mut house, "p", transfer("p", "shop", "1 EUR"), Code::Ledger("ledger.account-unknown"));
    refused(&mut house, "poor", transfer("poor", "shop", "0.51 USD"), Code::CapabilityMissing);
    refused(&mut house, "poor", mint("poor", "0.10 USD"), Code::CapabilityMissing);
    refused(&mut house, "operator", mint("operator", MUCH), Code::Ledger("ledger.overflow"));
    let limit = |owner: &str| {
        let limit = Some(money("100 USD").amount);
        Operation::Enter(LedgerRequest::Limit {
            owner: id(owner),
            currency: usd(),
            period: Period::Day,
            limit,
        })
    };
    refused(&mut house, "p", limit("p"), Code::NotADescendant);
    refused(&mut house, "p", limit("q"), Code::NotADescendant);
    house.ask("operator", limit("operator")).expect("nobody is above the operator");
    house.ask("poor", transfer("poor", "shop", "0.50 USD")).expect("at the bound");
    house.ask("operator", create_user("ann", Role::Member, terms(&["**"], &[]))).expect("allowed");
    refused(&mut house, "ann", mint("ann", "1 USD"), Code::RoleInsufficient);
}

#[test]
fn a_fork_has_no_money_of_its_base() {
    let mut house = shop("2 USD");
    let waiting = call(&mut house, "p");
    let base = house.last_event().header.clone();
    let forked = LogForked { base: name("main"), seq: base.seq, id: base.id, nonce: Digest::of(b"n") };
    let mut header = base;
    header.seq += 1;
    header.kind = kind("log.forked");
    header.facts = toka_kernel::codec::encode(&Facts::LogForked(forked), None);
    header.parents = Vec::new();
    house.kernel.replay(&header).expect("a fork");
    house.ask("operator", issue("p", terms(&["**"], &["**"]))).expect("given anew");
    assert_eq!(code(house.ask("p", transfer("p", "shop", "0.10 USD"))), Some(Code::Ledger("ledger.funds")));
    returns(&mut house, "p", waiting, bytes(100));
    assert_eq!(house.last(1), ["tool.returned"], "nothing was kept back here");
    assert_eq!(
        code(house.ask("operator", transfer("operator", "p", "1 USD"))),
        Some(Code::Ledger("ledger.funds"))
    );
}

#[test]
fn a_replay_has_the_same_money() {
    let mut house = shop("2 USD");
    let one = call(&mut house, "p");
    returns(&mut house, "p", one, bytes(700));
    call(&mut house, "p");
    let mut again = Kernel::new();
    for event in &house.log {
        again.replay(&event.header).expect("readable");
    }
    assert_eq!(again.world(), house.kernel.world());
    assert_eq!(digests(again.world()), digests(house.kernel.world()));
    // Two who did the same with other holds in between have the same outcomes.
    let (mut a, mut b) = (shop("2 USD"), shop("2 USD"));
    let never = call(&mut b, "p");
    returns(&mut b, "p", never, None);
    a.ask("p", transfer("p", "shop", "0.10 USD")).expect("allowed");
    let before = digests(b.kernel.world());
    b.ask("p", transfer("p", "shop", "0.10 USD")).expect("allowed");
    assert_ne!(before.world, digests(b.kernel.world()).world);
    assert_eq!(digests(a.kernel.world()).world, digests(b.kernel.world()).world);
}

#[test]
fn what_has_a_price_is_paid_whatever_its_class() {
    for class in ["pure", "local-read", "read", "idempotent", "write"] {
        let mut house = shop("2.50 USD");
        for left in ["1.80", "1.10"] {
            house.ask("p", request("pay", class, "x")).expect("there is money");
            assert_eq!(house.last(2), ["tool.requested", "ledger.held"], "{class}");
            let call = house.log[house.log.len() - 2].header.id;
            let usage = Some(Usage { calls: 1, bytes: 600, ..Usage::default() });
            let outcome = ToolOutcome { tool: name("pay"), usage, ..outcome(class, Some(call)) };
            house.host("p", Operation::Return(outcome)).expect("recorded");
            assert_eq!(balance(&house, "p"), left, "{class}");
        }
        // What it may cost at most is 1.10; then nothing is left to keep back.
        house.ask("p", request("pay", class, "x")).expect("exactly as much as there is");
        assert_eq!(
            code(house.ask("p", request("pay", class, "y"))).map(|code| code.as_str()),
            Some("ledger.funds"),
            "{class}"
        );
    }
}

#[test]
fn an_account_is_opened_where_its_spending_counts() {
    let mut house = House::inhabited();
    house.ask("operator", create_user("ann", Role::Admin, terms(&["**"], &["**"]))).expect("allowed");
    for owner in ["operator", "a", "b"] {
        house.ask("operator", open(owner)).expect("the operator opens what it likes");
    }
    let below = |owner: &str, parent: Option<&str>| {
        let parent = parent.map(id);
        Operation::Enter(LedgerRequest::Open { owner: id(owner), currency: usd(), parent })
    };
    for (who, owner, parent) in [
        ("a/child", "a/child", None),
        ("a/child", "a/child", Some("b")),
        ("a/child", "a/child", Some("operator")),
        ("a/child", "shop", Some("a")),
        ("a", "a/child", None),
        ("a", "a/child", Some("b")),
        ("b", "a/child", Some("b")),
        ("ann", "ann", None),
        ("ann", "ann", Some("a")),
    ] {
        let asked = house.clone().ask(who, below(owner, parent));
        assert_eq!(code(asked), Some(Code::NotADescendant), "{who}: {owner} below {parent:?}");
    }
    for (who, owner, parent) in [
        ("a/child", "a/child", Some("a")),
        ("a", "a/child", Some("a")),
        ("ann", "ann", Some("operator")),
        ("a", "shop", None),
        ("a", "shop", Some("a")),
        ("operator", "a/child", Some("b")),
    ] {
        house.clone().ask(who, below(owner, parent)).unwrap_or_else(|denied| panic!("{who}: {denied:?}"));
    }
}
