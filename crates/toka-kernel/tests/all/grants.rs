//! Grants never grow, end in time, and are void with the one they were cut from.

use proptest::prelude::*;
use toka_kernel::Code;
use toka_kernel::step::Accepted;
use toka_types::operation::GrantTerms;
use toka_types::{EntityId, GrantId, Operation, Timestamp};

use crate::house::*;

/// Capabilities of which some cover others.
const POWERS: [&str; 12] = [
    "**",
    "tool:**",
    "tool:fs.*",
    "tool:fs.read",
    "tool:fs.read(path=docs/**)",
    "tool:fs.read(path=docs/a/*)",
    "agent:spawn",
    "agent:spawn(max=2)",
    "agent:*",
    "event:emit",
    "event:emit(kind=file.*)",
    "message:send(to=a)",
];
const ROOT: [&str; 4] = ["tool:fs.**", "agent:**", "event:emit", "message:send"];

#[derive(Clone, Debug)]
struct Cut {
    parent: usize,
    child: usize,
    reissue: bool,
    uses: Vec<usize>,
    delegates: Vec<usize>,
    expires: Option<i64>,
}

fn cut() -> impl Strategy<Value = Cut> {
    let powers = || prop::collection::vec(0..POWERS.len(), 0..4);
    let expires = prop::option::of(0i64..5_000);
    (0usize..8, 0usize..8, any::<bool>(), powers(), powers(), expires).prop_map(
        |(parent, child, reissue, uses, delegates, expires)| Cut {
            parent,
            child,
            reissue,
            uses,
            delegates,
            expires,
        },
    )
}

fn who(i: usize) -> String {
    if i == 0 { "operator".to_owned() } else { format!("agent-{i}") }
}

proptest! {
    #[test]
    fn no_grant_holds_more_than_the_operator_s(cuts in prop::collection::vec(cut(), 1..60)) {
        let mut house = House::closed();
        house.host("operator", open_log(&ROOT)).expect("a new log");
        // Without one that surely succeeds, a run might prove nothing.
        house.ask("operator", spawn("agent-1", terms(&["agent:**"], &ROOT))).expect("a part of the operator's");
        for Cut { parent, child, reissue, uses, delegates, expires } in cuts {
            let pick = |list: &[usize]| capabilities(&list.iter().map(|i| POWERS[*i]).collect::<Vec<_>>());
            let grant = GrantTerms { uses: pick(&uses), delegates: pick(&delegates), expires: expires.map(Timestamp) };
            let child = who(child);
            let operation = if reissue { issue(&child, grant) } else { spawn(&child, grant) };
            let _ = house.ask(&who(parent), operation);
        }
        let world = house.kernel.world();
        let root = world.grant(GrantId(1)).expect("the operator's");
        prop_assert!(world.agents().count() > 0);
        for (id, _) in world.agents() {
            let grant = world.grant(world.agent(id).expect("listed").grant).expect("an agent has a grant");
            prop_assert!(root.uses.covers(&grant.uses) && root.delegates.covers(&grant.delegates), "{:?}", grant);
            let giver = grant.cut_from.and_then(|giver| world.grant(giver)).expect("cut from somewhere");
            prop_assert!(giver.delegates.covers(&grant.uses) && giver.delegates.covers(&grant.delegates));
            let within = giver.expires.is_none_or(|end| grant.expires.is_some_and(|own| own <= end));
            prop_assert!(within, "{:?} outlives {:?}", grant.expires, giver.expires);
        }
    }
}

#[test]
fn revoking_one_bites_below_it_at_once_and_nowhere_else() {
    let mut house = House::inhabited();
    house.ask("a/child", spawn("a/child/child", terms(&["**"], &[]))).expect("allowed");
    let revoke = house.envelope("operator", Operation::RevokeGrant(house.grant_of("a")));
    let asked = ["a", "a/child", "a/child/child", "b"].map(|who| house.envelope(who, observe("x.y")));
    let batch = [revoke].into_iter().chain(asked).map(toka_kernel::Submission::new).collect();
    let step = house.kernel.step(batch, house.at);
    let replies: Vec<Option<Code>> = step.replies.into_iter().map(code).collect();
    let revoked = Some(Code::GrantRevoked);
    assert_eq!(replies, [None, revoked, revoked, revoked, None]);
}

#[test]
fn a_new_grant_replaces_the_old_one_and_all_cut_from_it() {
    let mut house = House::inhabited();
    let old = house.grant_of("a");
    house.ask("operator", issue("a", terms(&["event:emit"], &[]))).expect("allowed");
    assert!(house.grant_of("a") > old);
    house.ask("a", observe("x.y")).expect("the new grant holds");
    assert_eq!(code(house.ask("a", send("b", 1))), Some(Code::CapabilityMissing));
    assert_eq!(code(house.ask("a/child", observe("x.y"))), Some(Code::GrantRevoked));
    let mut envelope = house.envelope("a", observe("x.y"));
    envelope.authority = toka_types::operation::Authority::Grant(old);
    assert_eq!(code(house.submit(envelope)), Some(Code::GrantRevoked));
}

#[test]
fn a_grant_ends_at_its_tick() {
    let mut house = House::open();
    let expires = Some(Timestamp(2_000));
    house.ask("operator", spawn("a", GrantTerms { expires, ..terms(&["**"], &["**"]) })).expect("allowed");
    house.at = Timestamp(1_999);
    house.ask("a", observe("x.y")).expect("one tick before its end");
    house.at = Timestamp(2_000);
    assert_eq!(code(house.ask("a", observe("x.y"))), Some(Code::GrantExpired));
    house.at = Timestamp(1_000);
    assert_eq!(
        code(house.ask("a", observe("x.y"))),
        Some(Code::GrantExpired),
        "a clock set back revives nothing"
    );
}

#[test]
fn spawning_is_bounded_by_the_agents_that_live() {
    let mut house = House::open();
    house
        .ask("operator", spawn("a", terms(&["agent:**(max=2)", "agent:stop"], &["tool:echo"])))
        .expect("allowed");
    let child = |name: &str| spawn(name, terms(&["tool:echo"], &[]));
    for (name, allowed) in [("x", true), ("y", true), ("z", false)] {
        assert_eq!(house.ask("a", child(name)).is_ok(), allowed, "{name}");
    }
    house.ask("a", stop("x")).expect("its own child");
    house.ask("a", child("z")).expect("there is room again");
    assert_eq!(house.kernel.world().living(EntityId::named("a")), 2);
    assert_eq!(house.ask("a", Operation::Observe(Vec::new())), Ok(Accepted::Events(0..0)));
}

#[test]
fn a_capability_holds_at_its_times_and_not_beyond_its_count() {
    let mut house = House::open();
    let grant = terms(&["event:emit(at=..1970-01-03,hours=00:00..01:00)", "task:schedule(uses=1)"], &[]);
    house.ask("operator", spawn("a", grant)).expect("allowed");
    let (hour, day) = (3_600_000_000, 86_400_000_000);
    for (at, allowed) in [(1_000, true), (hour - 1, true), (hour, false), (day, true), (2 * day, false)] {
        house.at = Timestamp(at);
        let denied = house.ask("a", observe("x.y")).err().map(|denied| denied.code);
        assert_eq!(denied, (!allowed).then_some(Code::CapabilityMissing), "at {at}");
    }
    house.ask("a", schedule("t", 5 * day)).expect("once");
    assert_eq!(code(house.ask("a", schedule("t", 5 * day))), Some(Code::CapabilityUses));
}

#[test]
fn no_caveat_is_widened_by_handing_on() {
    let refused = |held: &str, wanted: &str| {
        let mut house = House::closed();
        house.host("operator", open_log(&["agent:spawn", held])).expect("a new log");
        let asked = house.ask("operator", spawn("a", terms(&[wanted], &[])));
        assert_eq!(code(asked), Some(Code::CapabilityWidened), "{wanted} is no part of {held}");
        let asked = house.ask("operator", spawn("a", terms(&[], &[wanted])));
        assert_eq!(code(asked), Some(Code::CapabilityWidened), "{wanted} is no part of {held}");
        house.ask("operator", spawn("a", terms(&[held], &[held]))).expect("what is held may be handed on");
    };
    refused("tool:t(path=docs/**)", "tool:t");
    refused("tool:t(path=docs/**)", "tool:t(path=**)");
    refused("tool:t(path=docs/**)", "tool:t(path=docsx)");
    refused("tool:t(path=docs/*)", "tool:t(path=docs)");
    refused("tool:t(path=docs/**)", "tool:*(path=docs/**)");
    refused("tool:t(host=a.x.com)", "tool:t(host=*.x.com)");
    refused("tool:t(host=*.x.com)", "tool:t(host={a.x.com,x.com})");
    refused("ledger:spend(max=1 USD)", "ledger:spend(max=1.000000001 USD)");
    refused("ledger:spend(max=1 USD)", "ledger:spend(max=1 EUR)");
    refused("ledger:spend(max=1 USD)", "ledger:spend(max=1)");
    refused("ledger:spend(amount=1..2 USD)", "ledger:spend(amount=0..2 USD)");
    refused("tool:t(n=1..3)", "tool:t(n=1..)");
    refused("tool:t(u={a,b})", "tool:t(u=*)");
    refused("tool:t(at=2026-01-01..2026-02-01)", "tool:t(at=2026-01-01..2026-02-01T00:00:00.000001Z)");
    refused("tool:t(at=2026-01-01..2026-02-01)", "tool:t(hours=09:00..10:00)");
    refused("tool:t(hours=09:00..17:00)", "tool:t(hours=09:00..17:01)");
    refused("tool:t(rate=10/min)", "tool:t(rate=10/s)");
    refused("tool:t(rate=10/min)", "tool:t(rate=599/h)");
    refused("tool:t(uses=3)", "tool:t(rate=3/day)");
    refused("tool:t(uses=3)", "tool:t");
}

/// Messages, an account and what was signed go by the name.
#[test]
fn the_name_of_a_stopped_agent_is_nobody_else_s() {
    let mut house = House::inhabited();
    house.ask("a", stop("a/child")).expect("its own");
    let taken =
        |house: &House, who: &str| code(house.clone().ask(who, spawn("a/child", terms(&["**"], &[]))));
    assert_eq!(taken(&house, "b"), Some(Code::NotADescendant), "it was never above it");
    assert_eq!(taken(&house, "a"), None);
    assert_eq!(taken(&house, "operator"), None);
    // Whoever gave it its grant under an older one of their own is above it still.
    house.ask("operator", issue("a", terms(&["**"], &["**"]))).expect("allowed");
    assert_eq!(taken(&house, "a"), None);
    assert_eq!(taken(&house, "b"), Some(Code::NotADescendant));
}

#[test]
fn a_grant_that_would_have_ended_already_is_none() {
    let mut house = House::inhabited();
    house.at = Timestamp(5_000);
    let until = |end| GrantTerms { expires: Some(Timestamp(end)), ..terms(&["tool:echo"], &[]) };
    for end in [i64::MIN, 0, 4_999, 5_000] {
        for operation in [
            spawn("late", until(end)),
            issue("a", until(end)),
            create_user("ann", toka_types::facts::Role::Member, until(end)),
        ] {
            assert_eq!(code(house.ask("operator", operation)), Some(Code::GrantExpired), "{end}");
        }
    }
    house.ask("operator", spawn("late", until(5_001))).expect("for a tick");
}
