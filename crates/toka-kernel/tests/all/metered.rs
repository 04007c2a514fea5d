//! Capabilities with limits: each use counts for the grant and for all that it was cut from, and none is one too many.
//!
//! `TOKA_METERED=100000` makes that many random families instead of a short form.

use proptest::prelude::*;
use toka_kernel::{Code, Kernel, digests};
use toka_types::capability::{Meter, Window};
use toka_types::facts::{ApprovalVerdict, OperationRef, Used};
use toka_types::operation::TaskAction;
use toka_types::{Capability, Operation};

use crate::house::*;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

fn capability(text: &str) -> Capability {
    text.parse().expect("a capability")
}

/// `parent`, and `child` below it, with the same to use and to hand on.
fn family(parent: &[&str], child: &[&str]) -> House {
    let mut house = House::open();
    let with_spawn = |own: &[&str]| -> Vec<String> {
        own.iter().map(|text| (*text).to_owned()).chain(["agent:spawn".to_owned()]).collect()
    };
    for (who, above, own) in [("parent", "operator", parent), ("child", "parent", child)] {
        let own = with_spawn(own);
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        house.ask(above, spawn(who, terms(&own, &own))).expect("a part of what is above");
    }
    house
}

fn read() -> Operation {
    request("fs.read", "read", "docs/a.md")
}

#[track_caller]
fn refused(house: &mut House, who: &str, operation: Operation, expected: Code) -> String {
    let denied = house.ask(who, operation).expect_err("no room");
    assert_eq!(denied.code, expected, "{denied}");
    denied.rule
}

/// What the last event says that was used.
fn used(house: &House) -> Vec<Used> {
    let (_, operation) = toka_kernel::codec::decode(&house.last_event().header).expect("readable");
    operation.unwrap_or_default().used
}

#[test]
fn uses_of_a_child_count_for_its_parent() {
    let house = &mut family(&["tool:fs.read(uses=3)"], &["tool:fs.read(uses=3)"]);
    for who in ["child", "parent", "child"] {
        house.ask(who, read()).expect("there is room");
    }
    for who in ["parent", "child"] {
        let rule = refused(house, who, read(), Code::CapabilityUses);
        let grant = house.grant_of("parent");
        assert_eq!(rule, format!("tool:fs.read(uses=3) of grant {grant} allows 3 uses, 0 left"));
    }
    let fresh = issue("child", terms(&["tool:fs.read(uses=3)"], &[]));
    house.ask("operator", fresh).expect("the operator may hand on everything");
    house.ask("child", read()).expect("the new grant was not cut from that of the parent");
}

#[test]
fn a_child_has_no_more_than_its_own_limit_either() {
    let house = &mut family(&["tool:fs.read(uses=9)"], &["tool:fs.read(uses=2)"]);
    house.ask("child", read()).expect("there is room");
    let (own, above) = (house.grant_of("child"), house.grant_of("parent"));
    let counted = |grant, text| Used { grant, capability: capability(text), times: 1 };
    let expected = vec![counted(own, "tool:fs.read(uses=2)"), counted(above, "tool:fs.read(uses=9)")];
    assert_eq!(used(house), expected);
    house.ask("child", read()).expect("there is room");
    refused(house, "child", read(), Code::CapabilityUses);
    for _ in 0..7 {
        house.ask("parent", read()).expect("there is room");
    }
    refused(house, "parent", read(), Code::CapabilityUses);
    // A new grant has a new count; the one above goes on.
    house.ask("parent", issue("child", terms(&["tool:fs.read(uses=2)"], &[]))).expect_err("it may not grant");
    house.ask("operator", Operation::RevokeGrant(own)).expect("allowed");
    assert_eq!(house.kernel.world().meter(own, &capability("tool:fs.read(uses=2)")), Meter::default());
    let kept = house.kernel.world().meter(above, &capability("tool:fs.read(uses=9)"));
    assert_eq!(kept.used(Window::Ever, house.at), 9);
}

#[test]
fn a_rate_opens_again_where_its_window_ends() {
    let house = &mut family(&["tool:fs.read(rate={2/min,3/h})"], &[]);
    house.at = toka_types::Timestamp(1_767_225_600 * SECOND + 59 * SECOND);
    for _ in 0..2 {
        house.ask("parent", read()).expect("there is room");
    }
    let rule = refused(house, "parent", read(), Code::CapabilityRate);
    assert!(
        rule.ends_with("allows 2 uses a minute, 0 left; there is room again from 2026-01-01T00:01:00Z on"),
        "{rule}"
    );
    house.later(SECOND);
    house.ask("parent", read()).expect("the next minute");
    let rule = refused(house, "parent", read(), Code::CapabilityRate);
    assert!(
        rule.ends_with("allows 3 uses an hour, 0 left; there is room again from 2026-01-01T01:00:00Z on"),
        "{rule}"
    );
    house.later(HOUR - MINUTE);
    house.ask("parent", read()).expect("the next hour");
    // The clock may go back; time does not.
    house.later(-HOUR);
    house.ask("parent", read()).expect("there is room for one more");
    refused(house, "parent", read(), Code::CapabilityRate);
}

#[test]
fn what_has_no_limit_is_used_first_and_not_counted() {
    let limited = "tool:fs.read(uses=1)";
    let house = &mut family(&[limited, "tool:fs.read(path=docs/**)"], &[limited]);
    for _ in 0..3 {
        house.ask("parent", read()).expect("without limits");
        assert_eq!(used(house), []);
    }
    house.ask("parent", request("fs.read", "read", "src/a.rs")).expect("once");
    refused(house, "parent", request("fs.read", "read", "src/a.rs"), Code::CapabilityUses);
    // Its own grant counts; the one above could hand it on without limits.
    house.ask("child", read()).expect("once");
    assert_eq!(used(house).len(), 1);
    refused(house, "child", read(), Code::CapabilityUses);
}

#[test]
fn several_share_out_what_is_asked_for_at_once() {
    let kinds = ["event:emit(kind=x.*,uses=2)", "event:emit(kind=x.y,uses=3)"];
    let house = &mut family(&kinds, &[]);
    let observe = |count: usize| Operation::Observe(vec![observation("x.y"); count]);
    let rule = refused(house, "parent", observe(6), Code::CapabilityUses);
    assert!(rule.ends_with("allows 2 uses, 2 left; 6 at once are more"), "{rule}");
    house.ask("parent", observe(4)).expect("two and two, or three and one");
    assert_eq!(used(house), [], "the last event is not the one that stands for the operation");
    refused(house, "parent", observe(2), Code::CapabilityUses);
    house.ask("parent", observe(1)).expect("one is left");
    refused(house, "parent", observe(1), Code::CapabilityUses);
    let house = &mut family(&["event:emit(rate=3/s)"], &[]);
    let rule = refused(house, "parent", observe(4), Code::CapabilityRate);
    assert!(rule.ends_with("allows 3 uses a second, 3 left; 4 at once are more"), "{rule}");
}

#[test]
fn one_operation_counts_for_all_that_it_needs() {
    let house = &mut family(&["task:schedule(uses=3)", "event:emit(uses=1)"], &[]);
    house.ask("parent", schedule("t", 1)).expect("one of three");
    let action = || TaskAction::Emit { kind: kind("x.y"), content: payload(1) };
    house.ask("parent", fire("t", 1, Some(2), action())).expect("two of three, and one of one");
    refused(house, "parent", fire("t", 2, Some(3), action()), Code::CapabilityUses);
    house.later(2);
    house.ask("parent", fire("t", 2, Some(3), TaskAction::Skip)).expect("a refusal uses nothing");
    refused(house, "parent", cancel("t"), Code::CapabilityUses);
}

#[test]
fn a_counted_call_is_requested_first_whatever_its_class() {
    let house = &mut family(&["tool:fs.read(uses=1)"], &[]);
    house.ask("parent", request("fs.read", "local-read", "docs/a.md")).expect("once");
    assert_eq!(house.last(1), ["tool.requested"]);
    let call = house.last_id();
    house.host("parent", Operation::Return(outcome("local-read", Some(call)))).expect("its outcome");
    assert_eq!(house.kernel.world().effects().count(), 0);
    refused(house, "parent", request("fs.read", "pure", "docs/a.md"), Code::CapabilityUses);
}

#[test]
fn a_question_uses_nothing_and_a_repeat_is_no_use() {
    let house = &mut family(&["tool:fs.read(uses=2)"], &[]);
    let until = house.at.0 + 5_000;
    house.ask("parent", ask_a_person(read(), until)).expect("asking is free");
    let question = house.last_id();
    house.ask("operator", decide(question, ApprovalVerdict::AllowOnce)).expect("allowed");
    house.op_id = Some((toka_types::OpId([1; 16]), toka_types::Timestamp(until)));
    for _ in 0..3 {
        house.ask("parent", read()).expect("the same call");
    }
    house.op_id = None;
    house.ask("parent", read()).expect("the second use");
    refused(house, "parent", read(), Code::CapabilityUses);
    refused(house, "parent", ask_a_person(read(), until), Code::CapabilityUses);
}

#[test]
fn a_fork_counts_under_grants_of_its_own_alone() {
    let house = &mut family(&["tool:fs.read(uses=2)"], &[]);
    house.ask("parent", read()).expect("once");
    let mut fork = house.clone();
    fork.kernel.replay(&crate::forks::forked(house, b"one")).expect("readable");
    refused(&mut fork, "parent", read(), Code::GrantRevoked);
    fork.ask("operator", issue("parent", terms(&["tool:fs.read(uses=1)"], &[]))).expect("given anew");
    fork.ask("parent", read()).expect("once");
    refused(&mut fork, "parent", read(), Code::CapabilityUses);
    house.ask("parent", read()).expect("the other log has a count of its own");
    refused(house, "parent", read(), Code::CapabilityUses);
}

#[test]
fn the_fact_of_a_use_is_read_back() {
    let used =
        vec![Used { grant: toka_types::GrantId(3), capability: capability("tool:t(rate=2/min)"), times: 7 }];
    let operation = OperationRef { used, ..OperationRef::default() };
    let mut header = House::open().last_event().header.clone();
    header.kind = kind("x.y");
    let facts = toka_types::facts::Facts::Observed(toka_types::facts::Observed { registers: Vec::new() });
    header.facts = toka_kernel::codec::encode(&facts, Some(&operation));
    assert_eq!(toka_kernel::codec::decode(&header), Ok((facts, Some(operation))));
}

/// A use that was accepted: by which member of the family, and when.
type Accepted = (usize, i64);

/// Below whom, as far as there is somebody; how many uses in all; how many in each window.
type Member = (usize, Option<u64>, Option<(u64, &'static str)>);

/// The members of a family, each below an earlier one or below the operator, with limits of their own.
fn members() -> impl Strategy<Value = Vec<Member>> {
    let rate = (1u64..6, prop::sample::select(vec!["s", "min", "h"]));
    let one = (0usize..3, prop::option::of(1u64..12), prop::option::of(rate));
    prop::collection::vec(one, 1..6)
}

fn text(uses: Option<u64>, rate: Option<(u64, &str)>) -> String {
    let caveats: Vec<String> = uses
        .map(|uses| format!("uses={uses}"))
        .into_iter()
        .chain(rate.map(|(most, window)| format!("rate={most}/{window}")))
        .collect();
    if caveats.is_empty() {
        "tool:fs.read".to_owned()
    } else {
        format!("tool:fs.read({})", caveats.join(","))
    }
}

fn runs() -> u32 {
    std::env::var("TOKA_METERED").ok().map_or(64, |runs| runs.parse().expect("TOKA_METERED is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(runs()))]

    #[test]
    fn no_sequence_of_uses_exceeds_a_limit(
        members in members(),
        uses in prop::collection::vec((0usize..6, prop_oneof![Just(0i64), 0..SECOND, Just(MINUTE), Just(HOUR / 3)]), 1..80),
    ) {
        let mut house = House::open();
        let mut family: Vec<(String, Option<usize>, Capability)> = Vec::new();
        for (i, (above, uses, rate)) in members.into_iter().enumerate() {
            let above = if above == 0 || family.is_empty() { None } else { Some((above * 7 + i) % family.len()) };
            let (name, own) = (format!("m{i}"), text(uses, rate));
            let giver = above.map_or("operator".to_owned(), |above: usize| family[above].0.clone());
            let grant = terms(&[&own, "agent:spawn"], &[&own, "agent:spawn"]);
            if house.ask(&giver, spawn(&name, grant)).is_ok() {
                family.push((name, above, own.parse().expect("a capability")));
            }
        }
        prop_assume!(!family.is_empty());
        let mut accepted: Vec<Accepted> = Vec::new();
        for (who, after) in uses {
            let who = who % family.len();
            house.later(after);
            let now = house.at.0;
            let room = |accepted: &[Accepted]| {
                // Counted anew, from all that was accepted: of everybody who stands under each that stands above.
                let mut next = Some(who);
                while let Some(member) = next {
                    let stands_under = |mut one: usize| loop {
                        if one == member { break true; }
                        match family[one].1 { Some(above) => one = above, None => break false }
                    };
                    let limits = family[member].2.limits();
                    let windows = [(Window::Second, SECOND), (Window::Minute, MINUTE), (Window::Hour, HOUR), (Window::Day, 24 * HOUR), (Window::Ever, i64::MAX)];
                    for (window, length) in windows {
                        let of_now = |at: i64| at.div_euclid(length) == now.div_euclid(length);
                        let count = accepted.iter().filter(|(by, at)| stands_under(*by) && of_now(*at)).count() as u64;
                        if limits.most(window).is_some_and(|most| count >= most) { return false; }
                    }
                    // Where one may be used without limits, nothing above has any.
                    next = family[member].1;
                }
                true
            };
            let said = house.ask(&family[who].0, read()).is_ok();
            prop_assert_eq!(said, room(&accepted), "{} at {:?}", &family[who].0, house.at);
            if said { accepted.push((who, house.at.0)); }
        }
        let mut replayed = Kernel::new();
        for event in &house.log {
            replayed.replay(&event.header).expect("readable");
        }
        prop_assert_eq!(digests(replayed.world()), digests(house.kernel.world()));
    }
}
