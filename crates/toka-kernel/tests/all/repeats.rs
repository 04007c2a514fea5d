//! An operation with an id is done once, however often it is asked.

use toka_kernel::limits::MAX_REMEMBERED;
use toka_kernel::saved::Saved;
use toka_kernel::step::Accepted;
use toka_kernel::{Code, Step, Submission, WorldState};
use toka_types::{EntityId, Envelope, OpId, Timestamp};

use crate::house::*;

fn asked(house: &mut House, id: u8, until: i64) -> Accepted {
    house.op_id = Some((OpId([id; 16]), Timestamp(until)));
    house.ask("a", observe("x.y")).expect("allowed")
}

#[test]
fn a_repeat_is_answered_with_the_first_event() {
    let mut house = House::inhabited();
    assert_eq!(asked(&mut house, 1, 9_000), Accepted::Events(0..1));
    let first = house.last_id();
    let count = house.log.len();
    assert_eq!(asked(&mut house, 1, 9_000), Accepted::Repeated(first));
    assert_eq!(house.log.len(), count, "a repeat leaves no trace");
    assert_eq!(asked(&mut house, 2, 9_000), Accepted::Events(0..1));
    house.op_id = Some((OpId([1; 16]), Timestamp(9_000)));
    let other = house.ask("b", observe("x.y")).expect("allowed");
    assert_eq!(other, Accepted::Events(0..1), "another's id is another id");
}

#[test]
fn a_repeat_is_forgotten_after_its_time_and_not_before() {
    for quiet in [true, false] {
        let mut house = House::inhabited();
        asked(&mut house, 1, 2_000);
        let first = house.last_id();
        house.at = Timestamp(2_000);
        assert_eq!(asked(&mut house, 1, 2_000), Accepted::Repeated(first));
        house.at = Timestamp(2_001);
        if !quiet {
            house.op_id = None;
            house.ask("b", observe("x.y")).expect("allowed");
        }
        assert_eq!(asked(&mut house, 1, 9_000), Accepted::Events(0..1), "quiet: {quiet}");
        let second = house.last_id();
        assert_eq!(asked(&mut house, 1, 9_000), Accepted::Repeated(second));
    }
}

#[test]
fn the_first_event_stands_for_all_and_refusals_for_nothing() {
    let mut house = House::inhabited();
    house.op_id = Some((OpId([1; 16]), Timestamp(9_000)));
    let batch = toka_types::Operation::Observe(vec![observation("x.y"), observation("x.z")]);
    house.ask("a", batch.clone()).expect("allowed");
    let first = house.log[house.log.len() - 2].header.id;
    assert_eq!(house.ask("a", batch), Ok(Accepted::Repeated(first)));
    house.op_id = Some((OpId([2; 16]), Timestamp(9_000)));
    house.ask("a", observe("tool.x")).expect_err("reserved");
    assert_eq!(house.ask("a", observe("x.y")), Ok(Accepted::Events(0..1)), "what was refused was not done");
}

#[test]
fn a_restart_remembers() {
    let mut house = House::inhabited();
    asked(&mut house, 1, 9_000);
    let first = house.last_id();
    let mut kernel = toka_kernel::Kernel::new();
    for event in &house.log {
        kernel.replay(&event.header).expect("readable");
    }
    house.kernel = kernel;
    assert_eq!(asked(&mut house, 1, 9_000), Accepted::Repeated(first));
}

#[test]
fn an_outcome_is_recorded_although_its_name_is_over() {
    let mut house = House::inhabited();
    house.op_id = Some((OpId([1; 16]), Timestamp(2_000)));
    house.at = Timestamp(2_001);
    house.host("a", toka_types::Operation::Return(outcome("pure", None))).expect("an outcome is owed");
    assert_eq!(house.last(1), ["tool.returned"]);
    house.ask("b", observe("x.y")).expect_err("what is asked for is not");
}

#[test]
fn so_many_of_one_origin_are_remembered_and_none_is_forgotten_for_another() {
    let mut house = House::inhabited();
    let named = |house: &House, who: &str, n: usize, until: i64| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_le_bytes());
        let op_id = Some((OpId(id), Timestamp(until)));
        Submission::new(Envelope { op_id, ..house.envelope(who, observe("x.y")) })
    };
    // Half of them end sooner.
    let until = |n: usize| if n.is_multiple_of(2) { 2_000 } else { 9_000 };
    let all = (0..MAX_REMEMBERED).map(|n| named(&house, "a", n, until(n))).collect();
    let step = house.kernel.step(all, house.at);
    assert!(step.replies.iter().all(Result::is_ok), "there is room for all");
    let first = step.events[0].header.id;
    let mut ask = |who: &str, n: usize, until: i64, at: i64| {
        let one = named(&house, who, n, until);
        let Step { replies, .. } = house.kernel.step(vec![one], Timestamp(at));
        replies.into_iter().next().expect("an answer").map_err(|denied| (denied.code, denied.rule))
    };
    let (more, full) = (MAX_REMEMBERED, "262144 operations of ");
    for n in [more, more + 1] {
        let (code, rule) = ask("a", n, 9_000, 1_500).expect_err("no room");
        assert!(code == Code::RepeatsFull && rule.starts_with(full), "{rule}");
    }
    // Retries stay safe, others have their own, and what is named by nobody needs no room.
    assert_eq!(ask("a", 0, 2_000, 2_000), Ok(Accepted::Repeated(first)));
    assert_eq!(ask("b", 0, 9_000, 2_000), Ok(Accepted::Events(0..1)));
    // From the moment on at which some are over, also where no event has told the world of it.
    assert_eq!(ask("a", more, 9_000, 2_001), Ok(Accepted::Events(0..1)));
    let at = Timestamp(2_001);
    assert_eq!(house.kernel.world().remembered(EntityId::named("a"), at), MAX_REMEMBERED as u64 / 2 + 1);
    let saved = rmp_serde::to_vec(&Saved(house.kernel.world())).expect("plain data");
    let Saved(read): Saved<WorldState> = rmp_serde::from_slice(&saved).expect("it reads back");
    assert_eq!(&read, house.kernel.world());
}
