//! Approvals: what a person says of one call.

use toka_kernel::world::ApprovalState;
use toka_kernel::{Code, Kernel, digests};
use toka_types::facts::{ApprovalVerdict, Facts, Role};
use toka_types::{Digest, EntityId, EventId, Operation, Timestamp};

use crate::house::*;

/// `a` has asked for `pay x`, until 5,000.
pub(crate) fn asked() -> (House, EventId) {
    let mut house = House::inhabited();
    house.ask("a", ask_a_person(request("pay", "write", "x"), 5_000)).expect("whoever may call may ask");
    let id = house.last_id();
    (house, id)
}

/// The same, and the operator has said this.
fn decided(verdict: ApprovalVerdict) -> (House, EventId) {
    let (mut house, id) = asked();
    house.ask("operator", decide(id, verdict)).expect("the operator is a person");
    (house, id)
}

fn used(house: &House) -> Option<EventId> {
    let Facts::ToolRequested(facts) = house.last_facts() else { panic!("a call") };
    facts.approval
}

#[test]
fn what_is_allowed_once_is_used_once() {
    let (mut house, id) = decided(ApprovalVerdict::AllowOnce);
    assert_eq!(house.last(2), ["approval.requested", "approval.decided"]);
    assert_eq!(house.last_event().header.parents, [id], "what was said is caused by what was asked");
    house.ask("a", request("pay", "write", "y")).expect("other arguments need no approval here");
    assert_eq!(used(&house), None, "and do not use it up");
    house.ask("a", request("pay", "write", "x")).expect("approved");
    assert_eq!(used(&house), Some(id));
    assert!(house.kernel.world().approval(id).is_none());
    house.ask("a", request("pay", "write", "x")).expect("nothing asks for an approval here");
    assert_eq!(used(&house), None, "it is gone");
    for class in ["pure", "local-read", "read", "idempotent"] {
        house.ask("a", ask_a_person(request("look", class, "x"), 5_000)).expect("allowed");
        let id = house.last_id();
        house.ask("operator", decide(id, ApprovalVerdict::AllowOnce)).expect("allowed");
        house.ask("a", request("look", class, "x")).expect("approved");
        assert_eq!(used(&house), Some(id), "{class}");
        assert!(house.kernel.world().approval(id).is_none(), "{class}");
    }
}

#[test]
fn the_narrowest_approval_is_the_one_that_is_used() {
    let (mut house, once) = decided(ApprovalVerdict::AllowOnce);
    let mut also = |verdict| {
        house.ask("a", ask_a_person(request("pay", "write", "x"), 5_000)).expect("allowed");
        let id = house.last_id();
        house.ask("operator", decide(id, verdict)).expect("allowed");
        id
    };
    let (tool, arguments) = (also(ApprovalVerdict::AllowTool), also(ApprovalVerdict::AllowArguments));
    for expected in [once, arguments, arguments] {
        house.ask("a", request("pay", "write", "x")).expect("approved");
        assert_eq!(used(&house), Some(expected));
    }
    house.ask("a", request("pay", "write", "y")).expect("approved");
    assert_eq!(used(&house), Some(tool));
    house.ask("b", request("pay", "write", "x")).expect("b needs none here");
    assert_eq!(used(&house), None, "what a may, b may not by that");
    house.later(10_000);
    house.ask("a", request("pay", "write", "x")).expect("nothing asks for an approval here");
    assert_eq!(used(&house), None, "none of them holds any more");
}

#[test]
fn what_was_denied_is_refused_while_that_holds() {
    for effect in ["write", "local-read"] {
        let mut house = House::inhabited();
        house.ask("a", ask_a_person(request("pay", effect, "x"), 5_000)).expect("allowed");
        let id = house.last_id();
        house.ask("operator", decide(id, ApprovalVerdict::Deny)).expect("allowed");
        assert_eq!(code(house.ask("a", request("pay", effect, "x"))), Some(Code::ApprovalDenied), "{effect}");
        house.ask("a", request("pay", effect, "y")).expect("another call");
        house.at = Timestamp(5_000);
        house.ask("a", request("pay", effect, "x")).expect("it holds no more");
    }
}

#[test]
fn nobody_but_a_person_above_decides() {
    let (mut house, id) = asked();
    house.ask("a", create_user("ann", Role::Member, terms(&["**"], &[]))).expect("allowed");
    house
        .ask("operator", create_user("bob", Role::Member, terms(&["approval:decide(tool=echo)"], &[])))
        .expect("allowed");
    house.ask("operator", create_user("cid", Role::Observer, terms(&["**"], &[]))).expect("allowed");
    house
        .ask("operator", create_user("dan", Role::Member, terms(&["approval:decide(tool=pay)"], &[])))
        .expect("allowed");
    let refusals = [
        ("a", Code::ApprovalPerson),
        ("b", Code::ApprovalPerson),
        ("a/child", Code::ApprovalPerson),
        ("ann", Code::ApprovalSelf),
        ("bob", Code::CapabilityMissing),
        ("cid", Code::RoleInsufficient),
    ];
    for (who, expected) in refusals {
        assert_eq!(code(house.ask(who, decide(id, ApprovalVerdict::AllowOnce))), Some(expected), "{who}");
    }
    house.ask("dan", decide(id, ApprovalVerdict::AllowOnce)).expect("a person with the right");
    let state = house.kernel.world().approval(id).map(|approval| approval.state);
    let by = EntityId::named("dan");
    assert_eq!(
        state,
        Some(ApprovalState::Decided { verdict: ApprovalVerdict::AllowOnce, by, until: Timestamp(5_000) })
    );
    assert_eq!(code(house.ask("dan", decide(id, ApprovalVerdict::Deny))), Some(Code::ApprovalDecided));
}

#[test]
fn people_are_asked_about_as_agents_are_and_answer_for_nobody_below_themselves() {
    let mut house = House::inhabited();
    for (by, person) in [("operator", "ann"), ("ann", "bob"), ("operator", "dan")] {
        let admin = create_user(person, Role::Admin, terms(&["**"], &["**"]));
        house.ask(by, admin).expect("allowed");
    }
    let word = |id| decide(id, ApprovalVerdict::AllowOnce);
    for (who, refused, by) in [
        ("ann", &["ann", "bob", "a"][..], "dan"),
        ("bob", &["bob"], "ann"),
        ("operator", &["ann"], "operator"),
    ] {
        house.ask(who, ask_a_person(request("pay", "write", who), 5_000)).expect("whoever may call may ask");
        let id = house.last_id();
        for other in refused {
            let expected = if *other == "a" { Code::ApprovalPerson } else { Code::ApprovalSelf };
            assert_eq!(code(house.ask(other, word(id))), Some(expected), "{other} for {who}");
        }
        house.ask(by, word(id)).expect("a person that does not stand under whoever asks");
        house.ask(who, request("pay", "write", who)).expect("approved");
        assert_eq!(used(&house), Some(id), "{who}");
    }
    // What was asked by somebody below is taken back by whoever stands above.
    house.ask("bob", ask_a_person(request("pay", "write", "x"), 5_000)).expect("allowed");
    let id = house.last_id();
    assert_eq!(code(house.ask("dan", Operation::CancelApproval(id))), Some(Code::NotADescendant));
    house.ask("ann", Operation::CancelApproval(id)).expect("bob stands under ann");
    // And so is a call in doubt.
    house.ask("bob", request("pay", "write", "x")).expect("nothing asks for an approval here");
    let request = house.last_id();
    let happened = Operation::Resolve { request, resolution: toka_types::facts::Resolution::Happened };
    assert_eq!(code(house.ask("dan", happened.clone())), Some(Code::NotADescendant));
    house.ask("ann", happened).expect("bob stands under ann");
}

#[test]
fn an_approval_ends_in_time() {
    let (mut house, id) = asked();
    house.at = Timestamp(4_999);
    house.ask("b", observe("x.y")).expect("allowed");
    assert_eq!(house.last(1), ["x.y"]);
    house.at = Timestamp(5_000);
    assert_eq!(
        code(house.ask("operator", decide(id, ApprovalVerdict::AllowOnce))),
        Some(Code::ApprovalUnknown)
    );
    assert_eq!(house.last(2), ["approval.expired", "capability.denied"], "before anything else at that time");
    assert_eq!(house.kernel.world().approvals().count(), 0);
    let (mut house, _) = decided(ApprovalVerdict::AllowTool);
    house.at = Timestamp(5_000);
    house.ask("b", observe("x.y")).expect("allowed");
    assert_eq!(house.last(2), ["approval.expired", "x.y"], "what was allowed ends too");
}

#[test]
fn an_approval_is_taken_back_by_its_agent_or_whoever_stands_above() {
    for (who, expected) in [("a", None), ("operator", None), ("b", Some(Code::NotADescendant))] {
        let (mut house, id) = asked();
        assert_eq!(code(house.ask(who, Operation::CancelApproval(id))), expected, "{who}");
        assert_eq!(house.kernel.world().approvals().count(), usize::from(expected.is_some()));
    }
    let (mut house, _) = decided(ApprovalVerdict::AllowTool);
    house.ask("operator", stop("a")).expect("allowed");
    assert_eq!(house.kernel.world().approvals().count(), 0, "with the agent");
}

#[test]
fn an_agent_takes_no_denial_back() {
    let (mut house, id) = decided(ApprovalVerdict::Deny);
    for who in ["a", "b"] {
        house.ask(who, Operation::CancelApproval(id)).expect_err("agents do not");
    }
    assert_eq!(code(house.ask("a", Operation::CancelApproval(id))), Some(Code::ApprovalDenied));
    assert_eq!(code(house.ask("a", request("pay", "write", "x"))), Some(Code::ApprovalDenied));
    house.ask("operator", Operation::CancelApproval(id)).expect("a person above does");
    house.ask("a", request("pay", "write", "x")).expect("nothing asks for an approval here");
}

/// An agent that may let people in makes itself no judge.
#[test]
fn whom_an_agent_let_in_decides_for_nobody_under_that_agent() {
    let mut house = House::inhabited();
    house.ask("a", create_user("puppet", Role::Admin, terms(&["**"], &["**"]))).expect("allowed");
    house.ask("puppet", create_user("second", Role::Admin, terms(&["**"], &[]))).expect("allowed");
    house.ask("operator", create_user("ann", Role::Member, terms(&["**"], &["**"]))).expect("allowed");
    house.ask("ann", spawn("ann/agent", terms(&["**"], &["**"]))).expect("allowed");
    for asker in ["a", "a/child"] {
        house.ask(asker, ask_a_person(request("pay", "write", "x"), 5_000)).expect("allowed");
        let id = house.last_id();
        for puppet in ["puppet", "second"] {
            let verdict = house.ask(puppet, decide(id, ApprovalVerdict::AllowOnce));
            assert_eq!(code(verdict), Some(Code::ApprovalSelf), "{puppet} for {asker}");
        }
        house.ask("ann", decide(id, ApprovalVerdict::AllowOnce)).expect("the operator let ann in");
    }
    house.ask("ann/agent", ask_a_person(request("pay", "write", "x"), 5_000)).expect("allowed");
    house
        .ask("ann", decide(house.last_id(), ApprovalVerdict::AllowOnce))
        .expect("a person for an agent of theirs");
    house.ask("b", ask_a_person(request("pay", "write", "x"), 5_000)).expect("allowed");
    house.ask("puppet", decide(house.last_id(), ApprovalVerdict::AllowOnce)).expect("b is not under a");
    house.ask("second", ask_a_person(request("pay", "write", "x"), 5_000)).expect("allowed");
    let id = house.last_id();
    assert_eq!(code(house.ask("puppet", decide(id, ApprovalVerdict::AllowOnce))), Some(Code::ApprovalSelf));
    house.ask("ann", decide(id, ApprovalVerdict::Deny)).expect("a person of another's");
    assert_eq!(code(house.ask("second", Operation::CancelApproval(id))), Some(Code::ApprovalDenied));
    house.ask("puppet", Operation::CancelApproval(id)).expect("a person above");
}

#[test]
fn a_fork_has_none_of_them() {
    let (house, _) = decided(ApprovalVerdict::AllowTool);
    let base = house.last_event().header.clone();
    let forked = toka_types::facts::LogForked {
        base: name("main"),
        seq: base.seq,
        id: base.id,
        nonce: Digest::of(b"n"),
    };
    let mut header = base;
    header.seq += 1;
    header.kind = kind("log.forked");
    header.facts = toka_kernel::codec::encode(&Facts::LogForked(forked), None);
    let mut kernel = house.kernel.clone();
    kernel.replay(&header).expect("a fork");
    assert_eq!(kernel.world().approvals().count(), 0);
    assert_eq!(kernel.world().approvals_of(EntityId::named("a")).count(), 0);
}

#[test]
fn a_replay_knows_the_same_approvals() {
    let (mut house, _) = decided(ApprovalVerdict::AllowArguments);
    house.ask("a", request("pay", "write", "x")).expect("approved");
    let mut again = Kernel::new();
    for event in &house.log {
        again.replay(&event.header).expect("readable");
    }
    assert_eq!(digests(again.world()), digests(house.kernel.world()));
    assert_eq!(again.world(), house.kernel.world());
}
