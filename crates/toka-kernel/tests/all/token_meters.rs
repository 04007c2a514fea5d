//! Limits in tokens: what is used under one counts for all that was made of it, until nothing of that can be shown.

use proptest::prelude::*;
use toka_kernel::limits::MAX_TOKEN_METERS;
use toka_kernel::saved::Saved;
use toka_kernel::step::Accepted;
use toka_kernel::{Code, Kernel, WorldState};
use toka_types::capability::{CapabilitySet, Window};
use toka_types::facts::{Facts, TokenUsed};
use toka_types::operation::{GrantTerms, Metered};
use toka_types::{Capability, Digest, OpId, Operation, Timestamp};

use crate::house::*;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
/// When tokens of these tests can be shown no more, nor what replaces them.
const END: i64 = 60 * MINUTE;

fn capability(text: &str) -> Capability {
    text.parse().expect("a capability")
}

/// The token `of`, narrowed down to these.
fn narrowed(of: &str, only: &[&str]) -> Metered {
    let only = CapabilitySet::parse(only).expect("a set");
    Metered { meter: Digest::of(of.as_bytes()), until: Timestamp(END), only }
}

fn read() -> Operation {
    request("fs.read", "local-read", "docs/a.md")
}

#[track_caller]
fn refused(house: &mut House, operation: Operation, own: &[Metered], expected: Code) -> String {
    let denied = house.ask_narrowed("a", operation, own).expect_err("no room");
    assert_eq!(denied.code, expected, "{denied}");
    denied.rule
}

/// What the last event says that was used under a token.
fn used(house: &House) -> Vec<TokenUsed> {
    let (_, operation) = toka_kernel::codec::decode(&house.last_event().header).expect("readable");
    operation.unwrap_or_default().token_used
}

#[track_caller]
fn nothing_is_left(house: &House) {
    let text = format!("{:?}", house.kernel.world());
    assert!(text.contains("token_meters: TokenMeters { grants: {}, ends: {} }"), "{text}");
}

fn replayed(house: &House) -> Kernel {
    let mut kernel = Kernel::new();
    for event in &house.log {
        kernel.replay(&event.header).expect("readable");
    }
    kernel
}

#[test]
fn uses_under_a_token_are_counted_in_the_world() {
    let house = &mut House::inhabited();
    let own = [narrowed("token", &["tool:fs.read(uses=2)", "event:emit"])];
    assert_eq!(house.ask_narrowed("a", read(), &own), Ok(Accepted::Events(0..1)), "counted before it starts");
    let grant = house.grant_of("a");
    let (meter, capability) = (own[0].meter, capability("tool:fs.read(uses=2)"));
    let once = TokenUsed { grant, meter, until: Timestamp(END), capability: capability.clone(), times: 1 };
    assert_eq!(used(house), [once]);
    house.ask_narrowed("a", read(), &own).expect("there is room");
    let rule = refused(house, read(), &own, Code::CapabilityUses);
    assert_eq!(rule, "tool:fs.read(uses=2) of the narrowed token allows 2 uses, 0 left");
    let Facts::CapabilityDenied(facts) = house.last_facts() else { panic!("a refusal has its facts") };
    assert_eq!((facts.nearest, facts.meter), (Some(capability.clone()), Some(meter)));
    // What has no limits is not counted, and whoever has the grant itself has no limit.
    house.ask_narrowed("a", observe("x.y"), &own).expect("free");
    assert_eq!(used(house), []);
    house.ask("a", read()).expect("the grant has no limit");
    house
        .ask_narrowed("a", read(), &[narrowed("sibling", &["tool:fs.read(uses=2)"])])
        .expect("its own meter");
    let world = house.kernel.world();
    assert_eq!(world.token_meter(grant, &meter, &capability).used(Window::Ever, house.at), 2);
    assert_eq!(world.token_meters(grant, house.at), 2);
    assert_eq!(replayed(house).world(), world, "a replay comes to the same counts");
}

#[test]
fn what_was_narrowed_twice_counts_for_both() {
    let house = &mut House::inhabited();
    let outer = narrowed("outer", &["tool:fs.*(uses=3)"]);
    let inner = narrowed("inner", &["tool:fs.read(uses=2)"]);
    let both = [outer.clone(), inner];
    for _ in 0..2 {
        house.ask_narrowed("a", read(), &both).expect("there is room in both");
    }
    refused(house, read(), &both, Code::CapabilityUses);
    house.ask_narrowed("a", read(), std::slice::from_ref(&outer)).expect("one is left of the outer one");
    refused(house, read(), std::slice::from_ref(&outer), Code::CapabilityUses);
    let write = request("mail.send", "write", "x");
    let rule = refused(house, write, std::slice::from_ref(&outer), Code::CapabilityMissing);
    assert_eq!(rule, "the token was narrowed down to less than tool:mail.send");
}

#[test]
fn several_uses_in_one_operation_have_room_together_or_none_has() {
    let house = &mut House::inhabited();
    let own = [narrowed("token", &["event:emit(uses=3)"])];
    let two = || Operation::Observe(vec![observation("x.y"), observation("x.z")]);
    house.ask_narrowed("a", two(), &own).expect("two of three");
    refused(house, two(), &own, Code::CapabilityUses);
    house.ask_narrowed("a", observe("x.y"), &own).expect("the last one");
    // Another capability of the same set may have room for the rest.
    let own = [narrowed("other", &["event:emit(uses=1)", "event:emit(kind=x.**,uses=1)"])];
    house.ask_narrowed("a", two(), &own).expect("one of each");
    refused(house, observe("x.y"), &own, Code::CapabilityUses);
}

#[test]
fn what_is_refused_asked_about_or_repeated_uses_nothing() {
    let house = &mut House::inhabited();
    let own = [narrowed("token", &["event:emit(uses=1)", "tool:pay(uses=1)", "agent:stop"])];
    house.ask_narrowed("a", observe("tool.x"), &own).expect_err("a reserved kind");
    house.ask_narrowed("a", ask_a_person(request("pay", "write", "x"), MINUTE), &own).expect("a question");
    house.op_id = Some((OpId([1; 16]), Timestamp(END)));
    house.ask_narrowed("a", observe("x.y"), &own).expect("there is room");
    let first = house.last_id();
    for _ in 0..2 {
        assert_eq!(house.ask_narrowed("a", observe("x.y"), &own), Ok(Accepted::Repeated(first)));
    }
    house.op_id = None;
    refused(house, observe("x.y"), &own, Code::CapabilityUses);
    house.ask_narrowed("a", request("pay", "write", "y"), &own).expect("the question used nothing");
    refused(house, request("pay", "write", "y"), &own, Code::CapabilityUses);
}

#[test]
fn a_rate_opens_again_at_the_edge_of_its_window() {
    let house = &mut House::inhabited();
    let own = [narrowed("token", &["event:emit(rate=1/min)"])];
    house.at = Timestamp(MINUTE - 1);
    house.ask_narrowed("a", observe("x.y"), &own).expect("there is room");
    let rule = refused(house, observe("x.y"), &own, Code::CapabilityRate);
    assert!(rule.ends_with("0 left; there is room again from 1970-01-01T00:01:00Z on"), "{rule}");
    house.at = Timestamp(MINUTE);
    house.ask_narrowed("a", observe("x.y"), &own).expect("the next minute");
    // The clock may go back; time does not.
    house.at = Timestamp(MINUTE / 2);
    refused(house, observe("x.y"), &own, Code::CapabilityRate);
}

#[test]
fn a_meter_is_forgotten_when_nothing_can_be_shown_any_more_and_not_before() {
    let house = &mut House::inhabited();
    let own = [narrowed("token", &["event:emit(uses=1)"])];
    let grant = house.grant_of("a");
    house.ask_narrowed("a", observe("x.y"), &own).expect("there is room");
    house.at = Timestamp(END - 1);
    house.ask("b", observe("x.y")).expect("allowed");
    refused(house, observe("x.y"), &own, Code::CapabilityUses);
    assert_eq!(house.kernel.world().token_meters(grant, house.at), 1);
    house.at = Timestamp(END);
    assert_eq!(house.kernel.world().token_meters(grant, house.at), 0, "as of now");
    house.ask("b", observe("x.y")).expect("allowed");
    assert_eq!(replayed(house).world(), house.kernel.world());
    nothing_is_left(house);
}

#[test]
fn a_meter_ends_with_its_grant() {
    let house = &mut House::inhabited();
    let until = Some(Timestamp(MINUTE));
    house.ask("operator", issue("a", GrantTerms { expires: until, ..terms(&["**"], &[]) })).expect("allowed");
    let own = [narrowed("token", &["event:emit(uses=1)"])];
    house.ask_narrowed("a", observe("x.y"), &own).expect("there is room");
    let grant = house.grant_of("a");
    assert_eq!(house.kernel.world().token_meters(grant, Timestamp(MINUTE - 1)), 1);
    assert_eq!(
        house.kernel.world().token_meters(grant, Timestamp(MINUTE)),
        0,
        "nothing is accepted under it"
    );
    house.ask("operator", Operation::RevokeGrant(grant)).expect("allowed");
    assert_eq!(house.kernel.world().token_meters(grant, house.at), 0);
    nothing_is_left(house);
}

#[test]
fn so_many_tokens_of_a_grant_are_counted_and_no_more() {
    let house = &mut House::inhabited();
    let first = [narrowed("0", &["event:emit(uses=2)"])];
    house.ask_narrowed("a", observe("x.y"), &first).expect("there is room");
    for n in 1..MAX_TOKEN_METERS {
        let own = Metered { until: Timestamp(END / 2), ..narrowed(&n.to_string(), &["event:emit(uses=1)"]) };
        house.ask_narrowed("a", observe("x.y"), &[own]).expect("there is room");
    }
    let more = [narrowed("more", &["event:emit(uses=1)"])];
    let rule = refused(house, observe("x.y"), &more, Code::CapabilityMeters);
    assert!(rule.starts_with("8192 capabilities with limits in tokens of grant 2 are counted"), "{rule}");
    // Those that are there go on, nothing else is counted for the grant, and others have their own.
    house.ask_narrowed("a", observe("x.y"), &first).expect("there is room");
    refused(house, observe("x.y"), &first, Code::CapabilityUses);
    house.ask("a", observe("x.y")).expect("the grant has no limit");
    house.ask_narrowed("b", observe("x.y"), &more).expect("another grant");
    // Some end, and there is room again, also in a world that has not heard of the time yet.
    house.at = Timestamp(END / 2);
    house.ask_narrowed("a", observe("x.y"), &more).expect("there is room again");
    refused(house, observe("x.y"), &first, Code::CapabilityUses);
    assert_eq!(house.kernel.world().token_meters(house.grant_of("a"), house.at), 2);
}

#[test]
fn a_snapshot_goes_on_with_the_counts_and_a_fork_with_no_token() {
    let house = &mut House::inhabited();
    let own = [narrowed("token", &["event:emit(uses=2)"])];
    let before = rmp_serde::to_vec(&Saved(house.kernel.world())).expect("plain data");
    house.ask_narrowed("a", observe("x.y"), &own).expect("there is room");
    let saved = rmp_serde::to_vec(&Saved(house.kernel.world())).expect("plain data");
    for (saved, world) in [(before, None), (saved, Some(house.kernel.world()))] {
        let Saved(read): Saved<WorldState> = rmp_serde::from_slice(&saved).expect("it reads back");
        assert!(world.is_none_or(|world| *world == read));
    }
    let mut fork = house.clone();
    fork.kernel.replay(&crate::forks::forked(house, b"one")).expect("readable");
    refused(&mut fork, observe("x.y"), &own, Code::GrantRevoked);
    house.ask_narrowed("a", observe("x.y"), &own).expect("one is left");
    refused(house, observe("x.y"), &own, Code::CapabilityUses);
}

/// Uses, and uses a minute, at most.
type Most = (u64, u64);

fn room(taken: &[i64], (uses, rate): Most, at: i64) -> bool {
    let minute = |at: i64| at.div_euclid(MINUTE);
    let now = taken.iter().filter(|taken| minute(**taken) == minute(at)).count();
    (taken.len() as u64) < uses && (now as u64) < rate
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A token, one made of it, and a sibling, in any order and at any time: each use has room in all that it counts for, and
    /// none that has is refused. The kernel goes on from a snapshot now and then.
    #[test]
    fn random_uses_are_counted_exactly(
        most in prop::collection::vec((1u64..6, 1u64..4), 3),
        steps in prop::collection::vec((0usize..3, prop::sample::select(vec![0, 10, 40, 61])), 1..40),
    ) {
        let mut house = House::inhabited();
        let of = |name: &str, (uses, rate): Most| {
            narrowed(name, &[&format!("event:emit(rate={rate}/min,uses={uses})")])
        };
        let (outer, inner, sibling) = (of("outer", most[0]), of("inner", most[1]), of("sibling", most[2]));
        let tokens = [vec![outer.clone()], vec![outer, inner], vec![sibling]];
        let counts_for: [&[usize]; 3] = [&[0], &[0, 1], &[2]];
        let mut taken: [Vec<i64>; 3] = Default::default();
        for (number, (token, after)) in steps.into_iter().enumerate() {
            house.later(after * SECOND);
            let at = house.at.0;
            let expected = counts_for[token].iter().all(|meter| room(&taken[*meter], most[*meter], at));
            let done = house.ask_narrowed("a", observe("x.y"), &tokens[token]);
            prop_assert_eq!(done.is_ok(), expected, "{:?} at {}", done, at);
            if expected {
                counts_for[token].iter().for_each(|meter| taken[*meter].push(at));
            }
            if number % 7 == 0 {
                let saved = rmp_serde::to_vec(&Saved(house.kernel.world())).expect("plain data");
                let Saved(world) = rmp_serde::from_slice(&saved).expect("it reads back");
                house.kernel = Kernel::in_world(world);
            }
        }
        let replayed = replayed(&house);
        prop_assert_eq!(replayed.world(), house.kernel.world());
    }
}
