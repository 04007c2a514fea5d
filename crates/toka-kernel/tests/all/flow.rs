//! Where labelled data may flow: the policy in the kernel, and the person it asks.

use toka_kernel::step::Accepted;
use toka_kernel::{Code, Kernel, digests};
use toka_types::facts::{ApprovalVerdict, Facts};
use toka_types::{EventId, FlowRule, Operation, Timestamp, Verdict};

use crate::house::*;

/// `a` has read something with these labels, and acts because of it.
fn because_of(read: &[&str]) -> House {
    let mut house = House::inhabited();
    house.because(read);
    house
}

fn rule(of: &str, label: &str, to: &[&str], verdict: Verdict) -> FlowRule {
    let labels = vec![label.parse().expect("a pattern")];
    FlowRule { name: name(of), labels, sinks: Vec::new(), to: capabilities(to), verdict }
}

fn pay() -> Operation {
    request("pay", "write", "x")
}

#[test]
fn untrusted_data_reaches_no_sink_before_a_person_was_asked() {
    let mut house = because_of(&["untrusted:web"]);
    let Ok(Accepted::Events(range)) = house.ask("a", pay()) else { panic!("it is asked about") };
    assert_eq!(range.len(), 1);
    assert_eq!(house.last(1), ["approval.requested"], "and not made");
    let asked = house.last_id();
    assert!(house.last_event().header.labels.iter().any(|label| label.as_str() == "untrusted:web"));
    assert_eq!(house.kernel.world().effects().count(), 0);
    assert_eq!(
        house.ask("a", pay()),
        Ok(Accepted::Repeated(asked)),
        "asked again, it waits for the same word"
    );
    let causes = std::mem::take(&mut house.causes);
    house.ask("operator", decide(asked, ApprovalVerdict::AllowOnce)).expect("a person may");
    house.causes = causes;
    house.ask("a", pay()).expect("allowed");
    let Facts::ToolRequested(facts) = house.last_facts() else { panic!("a call") };
    assert_eq!(facts.approval, Some(asked));
    let again = house.ask("a", pay());
    assert!(
        matches!(again, Ok(Accepted::Events(_))) && house.last(1) == ["approval.requested"],
        "once is once"
    );
}

#[test]
fn what_has_no_such_labels_or_no_sink_is_not_asked_about() {
    let mut plain = because_of(&["from:me"]);
    plain.ask("a", pay()).expect("allowed");
    assert_eq!(plain.last(1), ["tool.requested"]);
    for (tool, effect) in [("echo", "pure"), ("fs.read", "local-read")] {
        let mut house = because_of(&["untrusted:web", "secret:stripe"]);
        let before = house.log.len();
        house.ask("a", request(tool, effect, "x")).expect("allowed");
        assert_eq!(house.log.len(), before);
    }
}

#[test]
fn secrets_reach_what_is_named_for_them_alone() {
    let mut house = because_of(&["secret:stripe"]);
    let denied = house.ask("a", pay()).expect_err("a secret");
    assert_eq!(denied.code, Code::FlowDenied);
    assert!(
        denied.rule.contains("default/secret") && denied.rule.contains("secret:stripe"),
        "{}",
        denied.rule
    );
    let causes = std::mem::take(&mut house.causes);
    let rules = vec![rule("stripe", "secret:stripe", &["tool:pay"], Verdict::Allow)];
    house.ask("operator", Operation::SetPolicy(rules)).expect("the operator may");
    assert_eq!(house.last(1), ["policy.set"]);
    house.causes = causes;
    house.ask("a", pay()).expect("named for it");
    assert_eq!(code(house.ask("a", request("mail", "write", "x"))), Some(Code::FlowDenied));
    house.causes[0].labels = labels(&["secret:stripe", "secret:other"]);
    assert_eq!(code(house.ask("a", pay())), Some(Code::FlowDenied), "one secret more");
}

#[test]
fn no_approval_reaches_past_a_denial() {
    let mut house = because_of(&["secret:stripe"]);
    let causes = std::mem::take(&mut house.causes);
    house.ask("a", ask_a_person(pay(), 5_000)).expect("whoever may call may ask");
    let asked = house.last_id();
    house.ask("operator", decide(asked, ApprovalVerdict::AllowTool)).expect("allowed");
    house.causes = causes;
    assert_eq!(code(house.ask("a", pay())), Some(Code::FlowDenied));
}

#[test]
fn labels_are_not_washed_off_on_the_way() {
    // Through an event of its own, a message to another agent, and a tool's output.
    let mut house = because_of(&["untrusted:web"]);
    house.ask("a", observe("note.taken")).expect("allowed");
    house.because(&[]);
    let labels = house.last_event().header.labels.clone();
    house.causes[0].labels = labels;
    house.ask("a", send("b", 3)).expect("allowed");
    let message = house.last_event().header.clone();
    house.causes = vec![toka_types::operation::Cause { id: message.id, labels: message.labels }];
    house.ask("b", pay()).expect("asked about");
    assert_eq!(house.last(1), ["approval.requested"]);
    let mut through = because_of(&["untrusted:web"]);
    through.ask("a", request("fs.read", "read", "docs/a.md")).expect("asked about");
    assert_eq!(through.last(1), ["approval.requested"], "a read over the network says something to somebody");
}

#[test]
fn a_policy_is_checked_when_it_is_set_and_part_of_the_world() {
    let mut house = House::inhabited();
    let twice = vec![rule("a", "x", &[], Verdict::Deny), rule("a", "y", &[], Verdict::Deny)];
    assert_eq!(code(house.ask("operator", Operation::SetPolicy(twice))), Some(Code::PolicyInvalid));
    let built_in = vec![rule("default/mine", "x", &[], Verdict::Allow)];
    assert_eq!(code(house.ask("operator", Operation::SetPolicy(built_in))), Some(Code::PolicyInvalid));
    house.ask("operator", spawn("narrow", terms(&["tool:**"], &[]))).expect("allowed");
    assert_eq!(code(house.ask("narrow", Operation::SetPolicy(Vec::new()))), Some(Code::CapabilityMissing));
    let before = digests(house.kernel.world());
    let rules = || vec![rule("b", "x:**", &[], Verdict::Deny), rule("a", "y", &["tool:pay"], Verdict::Ask)];
    house.ask("operator", Operation::SetPolicy(rules())).expect("allowed");
    assert_ne!(digests(house.kernel.world()).fold, before.fold);
    let mut again = Kernel::new();
    for event in &house.log {
        again.replay(&event.header).expect("readable");
    }
    assert_eq!(again.world(), house.kernel.world());
    let mut reversed = House::inhabited();
    reversed.ask("operator", spawn("narrow", terms(&["tool:**"], &[]))).expect("allowed");
    let other: Vec<_> = rules().into_iter().rev().collect();
    reversed.ask("operator", Operation::SetPolicy(other)).expect("allowed");
    assert_eq!(reversed.last_event().header.facts, house.last_event().header.facts, "in whatever order");
}

#[test]
fn a_named_call_that_is_asked_about_is_made_when_it_is_allowed() {
    let mut house = because_of(&["untrusted:web"]);
    house.op_id = Some((toka_types::OpId([3; 16]), Timestamp(house.at.0 + 100_000)));
    house.ask("a", pay()).expect("asked about");
    let asked: EventId = house.last_id();
    assert_eq!(house.ask("a", pay()), Ok(Accepted::Repeated(asked)));
    let op_id = house.op_id.take();
    house.ask("operator", decide(asked, ApprovalVerdict::AllowOnce)).expect("allowed");
    house.op_id = op_id;
    house.ask("a", pay()).expect("allowed");
    assert_eq!(house.last(1), ["tool.requested"]);
    let made = house.last_id();
    assert_eq!(house.ask("a", pay()), Ok(Accepted::Repeated(made)), "and not made twice");
}
