//! The first refusals of a minute are events of their own, the rest one counted event.

use toka_kernel::Code;
use toka_kernel::limits::DENIALS_PER_MINUTE;
use toka_types::facts::{CapabilityDenied, Facts};

use crate::house::*;

const MINUTE: i64 = 60_000_000;
const FIRST: usize = DENIALS_PER_MINUTE as usize;

fn house() -> House {
    let mut house = House::open();
    house.at = toka_types::Timestamp(MINUTE);
    house.ask("operator", spawn("a", terms(&["tool:fs.read(path=docs/**)"], &[]))).expect("allowed");
    house.ask("operator", spawn("b", terms(&[], &[]))).expect("allowed");
    house
}

fn refusals(house: &House) -> Vec<CapabilityDenied> {
    let denied = |facts| match facts {
        Facts::CapabilityDenied(denied) => Some(denied),
        _ => None,
    };
    house.log.iter().filter_map(|event| denied(facts_of(event))).collect()
}

fn read(house: &mut House, who: &str, path: &str) {
    assert_eq!(code(house.ask(who, request("fs.read", "local-read", path))), Some(Code::CapabilityMissing));
}

#[test]
fn a_flood_becomes_a_count_when_its_minute_is_over() {
    let mut house = house();
    for _ in 0..FIRST + 5 {
        read(&mut house, "a", "src/a.rs");
    }
    assert_eq!(refusals(&house).len(), FIRST);
    house.later(MINUTE - 1);
    house.ask("operator", observe("x.y")).expect("allowed");
    assert_eq!(refusals(&house).len(), FIRST, "the minute is not over");
    house.later(1);
    house.ask("operator", observe("x.y")).expect("allowed");
    let refused = refusals(&house);
    assert_eq!(refused.len(), FIRST + 1);
    let counted = refused.last().expect("the counted one");
    assert_eq!((counted.repeated, counted.code.as_str()), (5, "capability.missing"));
    assert_eq!(house.last(2), ["capability.denied", "x.y"], "the count comes first");
    read(&mut house, "a", "src/a.rs");
    assert_eq!(refusals(&house).len(), FIRST + 2, "the next minute counts anew");
}

#[test]
fn agents_codes_and_arguments_are_told_apart() {
    let mut house = house();
    for _ in 0..FIRST + 1 {
        read(&mut house, "a", "src/a.rs");
    }
    for (who, operation) in [
        ("b", request("fs.read", "local-read", "src/a.rs")),
        ("a", request("fs.read", "local-read", "src/b.rs")),
        ("a", spawn("a", terms(&[], &[]))),
        ("operator", stop("nobody")),
    ] {
        let before = refusals(&house).len();
        house.ask(who, operation).expect_err("refused");
        assert_eq!(refusals(&house).len(), before + 1, "{who}");
    }
}

#[test]
fn a_folder_refused_path_by_path_gives_one_event_a_path() {
    let mut house = house();
    for i in 0..500 {
        read(&mut house, "a", &format!("src/{i}.rs"));
    }
    let arguments: std::collections::BTreeSet<_> =
        refusals(&house).into_iter().filter_map(|denied| denied.argument).collect();
    assert_eq!((refusals(&house).len(), arguments.len()), (500, 500));
}

#[test]
fn what_was_only_counted_is_recorded_before_the_end() {
    let mut house = house();
    for _ in 0..FIRST + 2 {
        read(&mut house, "a", "src/a.rs");
    }
    let settled = house.kernel.settle(house.at);
    house.log.extend(settled.events);
    let refused = refusals(&house);
    assert_eq!(refused.last().map(|denied| denied.repeated), Some(2));
    assert_eq!(refused.iter().map(|denied| denied.repeated.max(1)).sum::<u64>(), FIRST as u64 + 2);
    assert!(house.kernel.settle(house.at).events.is_empty(), "they are counted once");
}
