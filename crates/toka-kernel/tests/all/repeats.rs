//! An operation with an id is done once, however often it is asked.

use toka_kernel::step::Accepted;
use toka_types::{OpId, Timestamp};

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
