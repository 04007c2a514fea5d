//! Plans in the kernel: what they let through without a question, and every way that we know of to abuse one.

use toka_kernel::limits::{MAX_LEAVES, MAX_SLOTS, REQUEST_TIME};
use toka_kernel::saved::Saved;
use toka_kernel::step::Accepted;
use toka_kernel::{Code, Kernel, digests};
use toka_types::facts::{ApprovalVerdict, Facts, Resolution, ToolDeclared};
use toka_types::operation::{PlanRequest, ToolOutcome, ToolRequest};
use toka_types::plan::{Key, Leaf, Scalar, Selector, Slot, Source, Traced, Value};
use toka_types::{Digest, EntityId, EventId, OpId, Operation, Payload, PointerId, Sink, Timestamp};

use crate::house::*;
use crate::plan_values::with_second_read;

pub(crate) fn text(text: &str) -> Digest {
    Scalar::Text(text).digest()
}

pub(crate) fn number(canonical: &str) -> Digest {
    Scalar::Number(canonical).digest()
}

pub(crate) fn instruct(to: &str, literals: &[Digest]) -> Operation {
    Operation::Instruct { to: EntityId::named(to), message: payload(9), literals: literals.to_vec() }
}

/// `a` was asked for something in which these words stand.
pub(crate) fn asked(words: &[&str]) -> House {
    let mut house = House::inhabited();
    let literals: Vec<Digest> = words.iter().map(|word| text(word)).collect();
    house.ask("operator", instruct("a", &literals)).expect("the operator may");
    house.later(1);
    house
}

pub(crate) fn slot(tool: &str, arguments: &[(&str, Source)]) -> Slot {
    let arguments = arguments.iter().map(|(name, source)| ((*name).to_owned(), source.clone())).collect();
    Slot { name: None, tool: name(tool), times: 1, most: None, arguments }
}

pub(crate) fn named(of: &str, slot: Slot) -> Slot {
    Slot { name: Some(name(of)), ..slot }
}

/// `contacts[name='Bob'].email`
pub(crate) fn email_of(who: &str) -> Source {
    let key = Key { pointer: PointerId::of("/*/name"), depth: 1, value: text(who) };
    let (pointer, elements) = (PointerId::of("/*/email"), PointerId::of("/*/email/*"));
    Source::Leaf(Selector { read: name("contacts"), pointer, elements, keys: vec![key] })
}

pub(crate) fn literal(of: &str) -> Source {
    Source::Literal(text(of))
}

/// A plan whose tools have the control argument `to`, but for those that list something.
pub(crate) fn plan(of: &str, slots: Vec<Slot>) -> Operation {
    let control =
        |slot: &Slot| if slot.tool.as_str().ends_with(".list") { Vec::new() } else { vec!["to".to_owned()] };
    let control = slots.iter().map(control).collect();
    Operation::CommitPlan(PlanRequest { agent: EntityId::named(of), slots, control, content: payload(5) })
}

/// A call with arguments, of which `to` says to whom.
pub(crate) fn call(tool: &str, arguments: &[(&str, Value)]) -> ToolRequest {
    let read = tool.ends_with(".list");
    let traced = Traced {
        arguments: arguments.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        control: if read { Vec::new() } else { vec!["to".to_owned()] },
        ..Traced::default()
    };
    ToolRequest {
        tool: name(tool),
        version: "1.0.0".to_owned(),
        class: class(if read { "local-read" } else { "write" }),
        sink: if read { Sink::None } else { Sink::External },
        arguments: Payload::new(format!("{arguments:?}").into_bytes()),
        governed: Vec::new(),
        places: Default::default(),
        bounds: Default::default(),
        traced: Some(Box::new(traced)),
    }
}

pub(crate) fn pay(to: &str) -> ToolRequest {
    call("pay", &[("to", Value::One(text(to)))])
}

pub(crate) fn with_data(mentions: &[&str], phrases: &[&str]) -> ToolRequest {
    let mut asked = pay("bob@x.org");
    let traced = asked.traced.as_mut().expect("traced");
    traced.mentions = mentions.iter().map(|mention| text(mention)).collect();
    traced.phrases = phrases.iter().map(|phrase| text(phrase)).collect();
    traced.phrases.sort_unstable();
    asked.arguments = Payload::new(format!("{mentions:?} {phrases:?}").into_bytes());
    asked
}

pub(crate) fn leaf(pointer: &str, at: u32, value: &str) -> Leaf {
    let (pointer, value) = (PointerId::of(pointer), text(value));
    Leaf { pointer, at: vec![at], value, trusted: false, telling: true }
}

/// Bob and Eve, and what else is known of them.
pub(crate) fn contacts() -> Vec<Leaf> {
    let of = |at, name, email, pin| {
        [leaf("/*/name", at, name), leaf("/*/email", at, email), leaf("/*/pin", at, pin)]
    };
    [of(0, "Bob", "bob@x.org", "4711-0815"), of(1, "Eve", "eve@evil.example", "0000-1111")].concat()
}

/// Lets `a` call what needs no arguments, which returns these leaves with these labels.
pub(crate) fn read(house: &mut House, tool: &str, leaves: Vec<Leaf>, of: &[&str]) {
    house.ask("a", Operation::Request(call(tool, &[]))).expect("allowed");
    assert_eq!(house.last(1), ["tool.requested"], "a planned read is an event");
    let request = Some(house.last_id());
    returned(
        house,
        ToolOutcome { leaves, tool: name(tool), labels: labels(of), ..outcome("local-read", request) },
    );
}

pub(crate) fn returned(house: &mut House, outcome: ToolOutcome) {
    let causes = std::mem::take(&mut house.causes);
    house.host("a", Operation::Return(outcome)).expect("never refused");
    house.causes = causes;
}

/// "Send Bob the money": contacts are read, then somebody is paid, and then `a` reads a web page.
fn paying_bob() -> House {
    let mut house = asked(&["Send", "Bob", "money"]);
    let slots = vec![named("contacts", slot("contacts.list", &[])), slot("pay", &[("to", email_of("Bob"))])];
    house.ask("a", plan("a", slots)).expect("nothing was read yet");
    assert_eq!(house.last(1), ["plan.committed"]);
    read(&mut house, "contacts.list", contacts(), &[]);
    house.because(&["untrusted:web"]);
    house
}

/// What becomes of a call: made, and with which slot; or asked about, and why.
#[track_caller]
pub(crate) fn check(house: &mut House, who: &str, call: &ToolRequest, expected: Result<Option<u32>, &str>) {
    house.ask(who, Operation::Request(call.clone())).expect("not refused");
    match (house.last_facts(), expected) {
        (Facts::ToolRequested(facts), Ok(slot)) => assert_eq!(facts.slot.map(|used| used.slot), slot),
        (Facts::ApprovalRequested(facts), Err(because)) => {
            assert_eq!(facts.because.as_ref().map_or("", |name| name.as_str()), because);
        }
        (facts, expected) => panic!("{facts:?}, expected {expected:?}"),
    }
}

#[test]
fn a_call_that_fits_is_made_whatever_was_read_in_between() {
    let mut house = paying_bob();
    check(&mut house, "a", &pay("bob@x.org"), Ok(Some(1)));
    let Facts::ToolRequested(facts) = house.last_facts() else { panic!("a call") };
    let plan = facts.slot.expect("a slot").plan;
    let header = &house.last_event().header;
    assert_eq!(header.parents.first(), Some(&plan), "the plan is a cause of what it let through");
    assert!(header.labels.contains("untrusted:web"), "and nothing is washed off");
    // The same without a plan.
    let mut plain = House::inhabited();
    plain.because(&["untrusted:web"]);
    check(&mut plain, "a", &pay("bob@x.org"), Err(""));
}

#[test]
fn a_control_argument_is_compared_whole_and_with_its_own_leaf() {
    let others = [
        "eve@evil.example",
        "bob@x.or",
        "bob@x.org.evil.example",
        "ob@x.org",
        "bob@x.org ",
        "Bob@x.org",
        "b\u{43e}b@x.org",
        "bob@x.org\u{200b}",
        // Other leaves of the same read, and of the same element.
        "Bob",
        "4711-0815",
        "Eve",
        "",
    ];
    for other in others {
        check(&mut paying_bob(), "a", &pay(other), Err("plan.argument"));
    }
    let list = Value::List(vec![text("bob@x.org")]);
    check(&mut paying_bob(), "a", &call("pay", &[("to", list)]), Err("plan.argument"));
    let mut more = call("pay", &[("to", Value::One(text("bob@x.org"))), ("from", Value::One(text("x")))]);
    check(&mut paying_bob(), "a", &more, Ok(Some(1)));
    // If the tool says later that this one says to whom, it does.
    more.traced.as_mut().expect("traced").control.push("from".to_owned());
    check(&mut paying_bob(), "a", &more, Err("plan.argument"));
    check(&mut paying_bob(), "a", &call("pay", &[]), Err("plan.argument"));
    let untraced = ToolRequest { traced: None, ..pay("bob@x.org") };
    check(&mut paying_bob(), "a", &untraced, Err("plan.argument"));
}

#[test]
fn what_the_log_says_of_a_tool_counts_beside_what_the_host_says() {
    let declared = |tool: &str, sink: &str, control: &[&str], of: &[&str]| {
        Operation::DeclareTool(ToolDeclared {
            tool: name(tool),
            version: "1.0.0".to_owned(),
            class: class(if sink == "none" { "local-read" } else { "write" }),
            sink: sink.parse().expect("a sink"),
            labels: labels(of),
            control: control.iter().map(|name| (*name).to_owned()).collect(),
            manifest: text("manifest"),
        })
    };
    // Another control argument, which the slot has no source for.
    let mut house = paying_bob();
    let causes = std::mem::take(&mut house.causes);
    house.ask("operator", declared("pay", "external", &["to", "from"], &[])).expect("allowed");
    house.causes = causes;
    check(&mut house, "a", &pay("bob@x.org"), Err("plan.argument"));
    // A read that can be trusted no more.
    let mut house = asked(&["Bob"]);
    house.ask("operator", declared("contacts.list", "none", &[], &["untrusted:web"])).expect("allowed");
    let slots = vec![named("contacts", slot("contacts.list", &[])), slot("pay", &[("to", email_of("Bob"))])];
    house.ask("a", plan("a", slots)).expect("allowed");
    read(&mut house, "contacts.list", contacts(), &[]);
    check(&mut house, "a", &pay("bob@x.org"), Err("plan.argument"));
}

#[test]
fn a_slot_is_used_once_by_whom_it_is_for_alone() {
    let mut house = paying_bob();
    check(&mut house, "b", &pay("bob@x.org"), Err(""));
    check(&mut house, "a/child", &pay("bob@x.org"), Err(""));
    check(&mut house, "a", &call("mail", &[("to", Value::One(text("bob@x.org")))]), Err("plan.outside"));
    check(&mut house, "a", &pay("bob@x.org"), Ok(Some(1)));
    check(&mut house, "a", &pay("bob@x.org"), Err("plan.outside"));
    // A name for the operation changes nothing but that its repeat is none.
    let mut house = paying_bob();
    house.op_id = Some((OpId([3; 16]), Timestamp(house.at.0 + 100_000)));
    check(&mut house, "a", &pay("bob@x.org"), Ok(Some(1)));
    let made = house.last_id();
    let again = house.ask("a", Operation::Request(pay("bob@x.org")));
    assert_eq!(again, Ok(Accepted::Repeated(made)));
    house.op_id = None;
    check(&mut house, "a", &pay("bob@x.org"), Err("plan.outside"));
}

#[test]
fn repeats_are_counted() {
    let mut house = asked(&["bob@x.org"]);
    let twice = Slot { times: 2, ..slot("pay", &[("to", literal("bob@x.org"))]) };
    house.ask("a", plan("a", vec![twice])).expect("allowed");
    house.because(&["untrusted:web"]);
    check(&mut house, "a", &pay("bob@x.org"), Ok(Some(0)));
    check(&mut house, "a", &pay("bob@x.org"), Ok(Some(0)));
    check(&mut house, "a", &pay("bob@x.org"), Err("plan.outside"));
}

#[test]
fn a_slot_opens_again_only_where_it_is_known_that_nothing_came_of_the_call() {
    let fails = |class: &str, status: &str| {
        let mut house = paying_bob();
        let asked = ToolRequest { class: crate::house::class(class), ..pay("bob@x.org") };
        check(&mut house, "a", &asked, Ok(Some(1)));
        let request = Some(house.last_id());
        returned(&mut house, ToolOutcome { status: name(status), ..outcome(class, request) });
        (house, asked)
    };
    // Whether a write that failed did something, nobody knows.
    for (class, status) in [("write", "ok"), ("write", "timed-out"), ("read", "ok"), ("idempotent", "ok")] {
        let (mut house, asked) = fails(class, status);
        check(&mut house, "a", &asked, Err("plan.outside"));
    }
    let (mut house, asked) = fails("read", "timed-out");
    check(&mut house, "a", &asked, Ok(Some(1)));
    for (resolution, expected) in
        [(Resolution::DidNotHappen, Ok(Some(1))), (Resolution::Happened, Err("plan.outside"))]
    {
        let mut house = paying_bob();
        check(&mut house, "a", &pay("bob@x.org"), Ok(Some(1)));
        let request = house.last_id();
        house.ask("operator", Operation::Resolve { request, resolution }).expect("a person may");
        check(&mut house, "a", &pay("bob@x.org"), expected);
    }
}

#[test]
fn neither_an_approval_nor_a_fork_makes_two_of_one_slot() {
    let mut house = paying_bob();
    let causes = std::mem::take(&mut house.causes);
    house.ask("a", ask_a_person(Operation::Request(pay("bob@x.org")), 5_000)).expect("allowed");
    let approval = house.last_id();
    house.ask("operator", decide(approval, ApprovalVerdict::AllowOnce)).expect("a person may");
    house.causes = causes;
    check(&mut house, "a", &pay("bob@x.org"), Ok(Some(1)));
    let Facts::ToolRequested(facts) = house.last_facts() else { panic!("a call") };
    assert_eq!(facts.approval, Some(approval), "both are used up");
    check(&mut house, "a", &pay("bob@x.org"), Err("plan.outside"));

    let mut forked = paying_bob();
    let mut header = forked.last_event().header.clone();
    let facts =
        toka_types::facts::LogForked { base: name("main"), seq: header.seq, id: header.id, nonce: text("n") };
    (header.kind, header.facts) =
        (kind("log.forked"), toka_kernel::codec::encode(&Facts::LogForked(facts), None));
    (header.seq, header.id) = (header.seq + 1, EventId(text("the fork")));
    forked.kernel.replay(&header).expect("readable");
    forked.ask("operator", issue("a", terms(&["**"], &["**"]))).expect("given anew");
    check(&mut forked, "a", &pay("bob@x.org"), Err(""));
}

#[test]
fn what_is_outside_the_plan_asks_even_where_no_label_does() {
    let mut house = asked(&["bob@x.org"]);
    check(&mut house, "a", &pay("eve@evil.example"), Ok(None));
    house.ask("a", plan("a", vec![slot("pay", &[("to", literal("bob@x.org"))])])).expect("allowed");
    check(&mut house, "a", &pay("eve@evil.example"), Err("plan.argument"));
    check(&mut house, "a", &call("mail", &[]), Err("plan.outside"));
    let reads = house.log.len();
    house.ask("a", Operation::Request(call("files.list", &[]))).expect("it has no sink");
    assert_eq!(house.log.len(), reads);
    // And what the policy denies is denied, planned or not.
    house.because(&["secret:stripe"]);
    assert_eq!(code(house.ask("a", Operation::Request(pay("bob@x.org")))), Some(Code::FlowDenied));
}

#[test]
fn a_plan_is_committed_before_anything_untrusted_is_read_and_once() {
    let slots = || vec![slot("pay", &[("to", literal("bob@x.org"))])];
    let refused = |house: &mut House, who: &str, code: Code| {
        crate::house::check(house.clone(), who, plan("a", slots()), Err(code));
    };
    // What a call returned, though the agent says nothing of it.
    let mut house = asked(&["bob@x.org"]);
    returned(&mut house, ToolOutcome { labels: labels(&["untrusted:web"]), ..outcome("local-read", None) });
    refused(&mut house, "a", Code::PlanUntrusted);
    refused(&mut house, "operator", Code::PlanUntrusted);
    // A new request is a new context.
    house.ask("operator", instruct("a", &[text("bob@x.org")])).expect("allowed");
    house.ask("a", plan("a", slots())).expect("allowed");
    refused(&mut house, "a", Code::PlanCommitted);
    // What it has for a cause; what it wrote down; what it was told.
    let mut house = asked(&["bob@x.org"]);
    house.because(&["untrusted:mail", "from:me"]);
    refused(&mut house, "a", Code::PlanUntrusted);
    house.ask("a", observe("note.taken")).expect("allowed");
    house.causes.clear();
    refused(&mut house, "a", Code::PlanUntrusted);
    let mut house = asked(&["bob@x.org"]);
    house.because(&["untrusted"]);
    house.ask("b", send("a", 3)).expect("allowed");
    house.causes.clear();
    refused(&mut house, "a", Code::PlanUntrusted);
    // A request that passes on what somebody else wrote.
    let mut house = House::inhabited();
    house.because(&["untrusted:mail"]);
    house.ask("operator", instruct("a", &[text("bob@x.org")])).expect("allowed");
    house.causes.clear();
    refused(&mut house, "a", Code::PlanUntrusted);
    // Nobody asked; or too long ago.
    refused(&mut House::inhabited(), "a", Code::PlanNoRequest);
    let mut house = asked(&["bob@x.org"]);
    house.later(REQUEST_TIME);
    refused(&mut house, "a", Code::PlanNoRequest);
    // Labels that only begin alike, and what others read.
    let mut house = asked(&["bob@x.org"]);
    house
        .host(
            "b",
            Operation::Return(ToolOutcome { labels: labels(&["untrusted:web"]), ..outcome("pure", None) }),
        )
        .expect("recorded");
    house.because(&["untrustedness"]);
    house.ask("a", plan("a", slots())).expect("allowed");
}

#[test]
fn a_plan_that_binds_nothing_is_refused() {
    let refused = |slots: Vec<Slot>, code: Code| {
        crate::house::check(asked(&["Bob", "bob@x.org", "20"]), "a", plan("a", slots), Err(code));
    };
    let to = |source| slot("pay", &[("to", source)]);
    for part in ["Bo", "bob@x.or", "b\u{43e}b@x.org", "bob@x.org ", "eve@evil.example", ""] {
        refused(vec![to(literal(part))], Code::PlanLiteral);
        refused(vec![to(Source::List(vec![literal("Bob"), literal(part)]))], Code::PlanLiteral);
    }
    let contacts = || named("contacts", slot("contacts.list", &[]));
    refused(vec![contacts(), to(email_of("Eve"))], Code::PlanLiteral);
    refused(vec![to(email_of("Bob"))], Code::PlanSource);
    refused(vec![to(email_of("Bob")), contacts()], Code::PlanSource);
    refused(vec![contacts(), contacts()], Code::PlanSource);
    refused(vec![Slot { times: 2, ..contacts() }], Code::PlanSource);
    refused(vec![Slot { times: 0, ..to(literal("Bob")) }], Code::PlanSource);
    refused(vec![to(Source::List(vec![Source::Person]))], Code::PlanSource);
    refused(vec![to(Source::List(vec![Source::List(Vec::new())]))], Code::PlanSource);
    refused(vec![slot("pay", &[("to", literal("Bob")), ("to", literal("20"))])], Code::PlanSource);
    refused(Vec::new(), Code::PlanSource);
    refused(vec![slot("pay", &[("subject", literal("20"))])], Code::PlanUnbound);
    refused(vec![to(literal("Bob")); MAX_SLOTS + 1], Code::LimitCount);
    refused(vec![Slot { times: u32::MAX, ..to(literal("Bob")) }], Code::LimitCount);
    refused((0..9).map(|i| named(&format!("r{i}"), contacts())).collect(), Code::LimitCount);
    let Operation::CommitPlan(mut unknown) = plan("a", vec![to(literal("Bob"))]) else { panic!("a plan") };
    unknown.control.clear();
    crate::house::check(asked(&["Bob"]), "a", Operation::CommitPlan(unknown), Err(Code::PlanUnbound));
}

#[test]
fn only_people_ask_and_everybody_else_plans_for_itself() {
    let slots = || vec![slot("pay", &[("to", literal("Bob"))])];
    crate::house::check(House::inhabited(), "b", instruct("a", &[]), Err(Code::PlanPerson));
    crate::house::check(asked(&["Bob"]), "b", plan("a", slots()), Err(Code::PlanPerson));
    crate::house::check(asked(&["Bob"]), "a/child", plan("a", slots()), Err(Code::PlanPerson));
    crate::house::check(asked(&["Bob"]), "b", plan("b", slots()), Err(Code::PlanNoRequest));
    crate::house::check(asked(&["Bob"]), "operator", plan("a", slots()), Ok(&["plan.committed"]));
    let mut house = asked(&["Bob"]);
    let ann = create_user("ann", toka_types::facts::Role::Admin, terms(&["**"], &["**"]));
    house.ask("operator", ann).expect("allowed");
    crate::house::check(house.clone(), "ann", plan("a", slots()), Err(Code::NotADescendant));
    crate::house::check(house.clone(), "ann", instruct("a", &[]), Ok(&["message.sent"]));
    house.ask("operator", spawn("narrow", terms(&["tool:**"], &[]))).expect("allowed");
    crate::house::check(house.clone(), "narrow", plan("narrow", slots()), Err(Code::CapabilityMissing));
    let many: Vec<Digest> = (0..=toka_kernel::limits::MAX_LITERALS).map(|i| text(&i.to_string())).collect();
    crate::house::check(house, "operator", instruct("a", &many), Err(Code::LimitCount));
}

#[test]
fn what_a_person_is_to_say_asks() {
    let mut house = asked(&["Bob"]);
    house.ask("a", plan("a", vec![slot("pay", &[("to", Source::Person)])])).expect("allowed");
    check(&mut house, "a", &pay("bob@x.org"), Err("plan.person"));
    let approval = house.last_id();
    house.ask("operator", decide(approval, ApprovalVerdict::AllowOnce)).expect("a person may");
    check(&mut house, "a", &pay("eve@evil.example"), Err("plan.person"));
    check(&mut house, "a", &pay("bob@x.org"), Ok(Some(0)));
    check(&mut house, "a", &pay("bob@x.org"), Err("plan.outside"));
}

#[test]
fn a_new_request_ends_the_plan_before_it_and_so_does_time() {
    let mut house = paying_bob();
    let causes = std::mem::take(&mut house.causes);
    house.ask("operator", instruct("a", &[])).expect("allowed");
    house.causes = causes.clone();
    check(&mut house, "a", &pay("bob@x.org"), Err(""));
    let mut late = paying_bob();
    late.later(REQUEST_TIME);
    check(&mut late, "a", &pay("bob@x.org"), Err(""));
    let mut stopped = paying_bob();
    stopped.causes.clear();
    stopped.ask("operator", stop("a")).expect("allowed");
    stopped.ask("operator", spawn("a", terms(&["**"], &["**"]))).expect("allowed");
    stopped.causes = causes;
    check(&mut stopped, "a", &pay("bob@x.org"), Err(""));
}

#[test]
fn what_a_read_returns_is_bounded_and_never_refused() {
    let mut house = asked(&["Bob"]);
    house.ask("a", plan("a", vec![named("contacts", slot("contacts.list", &[]))])).expect("allowed");
    let deep = |i: u32| Leaf {
        at: vec![u32::MAX; 40],
        pointer: PointerId::of(&i.to_string()),
        ..leaf("/*", i, &i.to_string())
    };
    read(&mut house, "contacts.list", (0..3_000).map(deep).collect(), &[]);
    let Facts::ToolReturned(facts) = house.last_facts() else { panic!("an outcome") };
    assert!(!facts.leaves.is_empty() && facts.leaves.len() < MAX_LEAVES);
    house.last_event().header.check_bounds().expect("a log takes it");
    let mut house = asked(&["Bob"]);
    house.ask("a", plan("a", vec![named("contacts", slot("contacts.list", &[]))])).expect("allowed");
    read(&mut house, "contacts.list", (0..3_000).map(|i| leaf("/*", i, &i.to_string())).collect(), &[]);
    let Facts::ToolReturned(facts) = house.last_facts() else { panic!("an outcome") };
    assert_eq!(facts.leaves.len(), MAX_LEAVES);
    // Of a call that no plan named nothing is remembered.
    let mut plain = asked(&["Bob"]);
    returned(&mut plain, ToolOutcome { leaves: contacts(), ..outcome("local-read", None) });
    let Facts::ToolReturned(facts) = plain.last_facts() else { panic!("an outcome") };
    assert!(facts.leaves.is_empty());
}

#[test]
fn a_log_with_plans_folds_to_the_same_world() {
    let mut house = with_second_read();
    check(&mut house, "a", &with_data(&[], &["9999-8888"]), Err("plan.private"));
    check(&mut house, "a", &with_data(&[], &[]), Ok(Some(2)));
    let mut again = Kernel::new();
    for event in &house.log {
        again.replay(&event.header).expect("readable");
    }
    assert_eq!(again.world(), house.kernel.world());
    assert_eq!(digests(again.world()), digests(house.kernel.world()));
    let saved = rmp_serde::to_vec(&Saved(house.kernel.world())).expect("plain data");
    let Saved(read): Saved<toka_kernel::WorldState> = rmp_serde::from_slice(&saved).expect("it reads back");
    assert_eq!(&read, house.kernel.world());
}

#[test]
fn worlds_without_requests_have_the_digests_that_they_had() {
    // A message that is no request is one as before, fact by fact.
    let mut house = House::inhabited();
    house.because(&["untrusted:web"]);
    house.ask("operator", send("a", 3)).expect("allowed");
    house
        .host(
            "a",
            Operation::Return(ToolOutcome { labels: labels(&["untrusted:web"]), ..outcome("pure", None) }),
        )
        .expect("recorded");
    assert_eq!(house.kernel.world().requests().count(), 0);
    assert!(house.log.iter().all(|event| !String::from_utf8_lossy(&event.header.facts).contains("literals")));
}
