//! Calls to the outside: which are recorded first, and how each ends.

use toka_kernel::Code;
use toka_types::facts::{Facts, Resolution};
use toka_types::operation::ToolOutcome;
use toka_types::{EntityId, EventId, Operation};

use crate::house::*;

fn returned(house: &mut House, effect: &str, request: Option<EventId>) -> Option<Code> {
    code(house.host("a", Operation::Return(outcome(effect, request))))
}

#[test]
fn a_durable_call_waits_for_its_outcome_and_gets_one() {
    for effect in ["read", "idempotent", "write"] {
        let mut house = House::inhabited();
        house.ask("a", request("fs.read", effect, "docs/a.md")).expect("allowed");
        let call = house.last_id();
        let waiting: Vec<_> =
            house.kernel.world().effects().map(|(id, effect)| (id, effect.agent, effect.class)).collect();
        assert_eq!(waiting, [(call, EntityId::named("a"), class(effect))]);
        assert_eq!(returned(&mut house, effect, Some(call)), None);
        assert_eq!(house.last_event().header.parents, [call], "an outcome is caused by its request");
        assert_eq!(house.kernel.world().effects().count(), 0);
        assert_eq!(
            returned(&mut house, effect, Some(call)),
            Some(Code::EffectUnknown),
            "there is one outcome"
        );
    }
}

#[test]
fn an_immediate_call_has_an_outcome_alone() {
    for effect in ["pure", "local-read"] {
        let mut house = House::inhabited();
        let before = house.log.len();
        house.ask("a", request("fs.read", effect, "docs/a.md")).expect("allowed");
        assert_eq!((house.log.len(), house.kernel.world().effects().count()), (before, 0));
        assert_eq!(returned(&mut house, effect, None), None);
        let Facts::ToolReturned(facts) = house.last_facts() else { panic!("an outcome") };
        assert_eq!((facts.request, facts.class), (None, class(effect)));
    }
}

#[test]
fn the_outcome_of_one_who_may_no_longer_act_is_recorded() {
    let gone = [suspend("a"), stop("a"), issue("a", terms(&[], &[]))];
    for end in gone {
        let mut house = House::inhabited();
        house.ask("a", request("pay", "write", "x")).expect("allowed");
        let call = house.last_id();
        house.ask("operator", end).expect("allowed");
        assert_eq!(returned(&mut house, "write", Some(call)), None);
        assert_eq!(house.kernel.world().effects().count(), 0);
    }
}

#[test]
fn a_call_without_outcome_is_resolved_once_by_whoever_stands_above() {
    let mut house = House::inhabited();
    house.ask("a/child", request("pay", "write", "x")).expect("allowed");
    let call = house.last_id();
    let resolve = || Operation::Resolve { request: call, resolution: Resolution::Happened };
    assert_eq!(code(house.ask("b", resolve())), Some(Code::NotADescendant));
    house.ask("a", resolve()).expect("its child's");
    assert_eq!(house.last_event().header.parents, [call]);
    assert_eq!(code(house.ask("operator", resolve())), Some(Code::EffectUnknown));
    let late = code(house.host("a/child", Operation::Return(outcome("write", Some(call)))));
    assert_eq!(late, Some(Code::EffectUnknown));
}

#[test]
fn the_operator_s_own_call_can_be_resolved() {
    let mut house = House::open();
    house.ask("operator", request("pay", "write", "x")).expect("allowed");
    let resolve = Operation::Resolve { request: house.last_id(), resolution: Resolution::Happened };
    house.ask("operator", resolve).expect("its own");
}

#[test]
fn an_outcome_without_content_is_an_outcome() {
    let mut house = House::inhabited();
    let outcome =
        ToolOutcome { content: None, output: None, status: name("timeout"), ..outcome("pure", None) };
    house.host("a", Operation::Return(outcome)).expect("allowed");
    assert!(house.last_event().header.content.is_empty());
}
