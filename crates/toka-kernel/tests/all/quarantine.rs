//! Quarantined children: what they may do, and what gets out of them.

use toka_kernel::limits::MAX_ENDORSED_BITS;
use toka_kernel::saved::Saved;
use toka_kernel::step::Accepted;
use toka_kernel::{Code, Kernel, WorldState, digests};
use toka_types::facts::{AgentAnswered, ApprovalVerdict, Facts, Role};
use toka_types::label::MAX_LABELS;
use toka_types::operation::{Cause, GovernedArgument, LedgerRequest, TaskAction, ToolOutcome, ToolRequest};
use toka_types::plan::Traced;
use toka_types::price::{Price, Rate};
use toka_types::{Answer, AnswerShape, Digest, EntityId, EventId, GrantId, Operation, Sink, Timestamp};

use crate::house::*;

fn one_of(literals: &[&str]) -> AnswerShape {
    AnswerShape::OneOf(literals.iter().map(|text| (*text).to_owned()).collect())
}

fn quarantine(agent: &str, shape: AnswerShape) -> Operation {
    let Operation::SpawnAgent { name, behaviour, grant, budget, .. } = spawn(agent, terms(&["**"], &["**"]))
    else {
        panic!("a spawn")
    };
    Operation::SpawnAgent { name, behaviour, grant, budget, quarantine: Some(shape) }
}

fn answer(answer: impl Into<Answer>) -> Operation {
    Operation::Answer(answer.into())
}

/// `a` has a quarantined child `q`, whose answer may be `pay` or `ask`.
fn guarded() -> House {
    let mut house = House::inhabited();
    house.ask("a", quarantine("q", one_of(&["pay", "ask"]))).expect("everything may be delegated");
    house
}

/// The next question has the last event as its cause, with the labels that it has.
fn because_of_last(house: &mut House) {
    let header = &house.last_event().header;
    house.causes = vec![Cause { id: header.id, labels: header.labels.clone() }];
}

/// Sends somebody a message that is made from data with these labels.
fn tell(house: &mut House, from: &str, to: &str, of: &[&str]) {
    house.because(of);
    house.ask(from, send(to, 3)).expect("allowed");
    house.causes.clear();
}

fn last_labels(house: &House) -> toka_types::Labels {
    house.last_event().header.labels.clone()
}

#[test]
fn a_quarantined_agent_does_nothing_but_look_and_answer() {
    let call = |tool: &str, effect: &str, sink: Sink| {
        let Operation::Request(request) = request(tool, effect, "x") else { panic!("a call") };
        Operation::Request(ToolRequest { sink, ..request })
    };
    let nobody = EventId(Digest::of(b"nobody's"));
    let usd = "1 USD".parse::<toka_types::Money>().expect("money");
    let skip = TaskAction::Skip;
    let mut house = guarded();
    let price =
        Price { calls: Rate::new(usd.amount, 1).ok(), ..Price::free(usd.currency, EntityId::named("b")) };
    let (item, price) = (name("dear"), Some(price));
    house.ask("operator", Operation::SetPrice { item, from: Timestamp(0), price }).expect("allowed");
    let a = EntityId::named("a");
    let denied = [
        observe("note.taken"),
        send("a", 3),
        send("b", 3),
        schedule("t", 5_000),
        cancel("t"),
        fire("t", 1, None, skip),
        spawn("q/child", terms(&[], &[])),
        quarantine("q/child", AnswerShape::Boolean),
        stop("a/child"),
        suspend("b"),
        issue("b", terms(&[], &[])),
        Operation::RevokeGrant(GrantId(2)),
        create_user("ann", Role::Member, terms(&[], &[])),
        custom("vote", b"yes"),
        Operation::SetPolicy(Vec::new()),
        Operation::Enter(LedgerRequest::Open { owner: a, currency: usd.currency, parent: None }),
        ask_a_person(request("pay", "write", "x"), 5_000),
        decide(nobody, ApprovalVerdict::AllowOnce),
        Operation::CancelApproval(nobody),
        request("pay", "write", "x"),
        request("put", "idempotent", "x"),
        request("http.get", "read", "x"),
        call("screen", "pure", Sink::External),
        call("notes", "local-read", Sink::Write),
        call("dear", "pure", Sink::None),
    ];
    for operation in denied {
        check(house.clone(), "q", operation, Err(Code::QuarantineConfined));
    }
    for (tool, effect) in [("echo", "pure"), ("fs.read", "local-read")] {
        let events = house.log.len();
        house.ask("q", request(tool, effect, "x")).expect("local, free, and no sink");
        assert_eq!(house.log.len(), events);
    }
    house.ask("a", suspend("q")).expect("its parent stands above it");
    assert_eq!(code(house.ask("q", observe("x.y"))), Some(Code::AgentSuspended));
    house.ask("a", resume("q")).expect("allowed");
    check(house, "q", answer("pay"), Ok(&["agent.answered", "agent.stopped"]));
}

#[test]
fn an_answer_drops_where_data_came_from_and_nothing_else() {
    let mut house = guarded();
    tell(
        &mut house,
        "b",
        "q",
        &["untrusted:web", "untrusted", "secret:stripe", "subject:alice", "untrustedness"],
    );
    house.because(&["untrusted:mail", "from:eve"]);
    house.ask("q", answer("pay")).expect("of its shape");
    let answered = &house.log[house.log.len() - 2];
    let kept = labels(&["endorsed", "secret:stripe", "subject:alice", "untrustedness", "from:eve"]);
    assert_eq!(answered.header.labels, kept);
    let facts = Facts::AgentAnswered(AgentAnswered {
        agent: EntityId::named("q"),
        parent: EntityId::named("a"),
        answer: "pay".into(),
    });
    assert_eq!(facts_of(answered), facts);
    let spawned = house.kernel.world().quarantine(EntityId::named("q")).expect("it was").spawned;
    assert_eq!(answered.header.parents, [spawned, house.causes[0].id], "what it was asked, and what it read");
    assert!(last_labels(&house).contains("untrusted:mail"), "only the answer is endorsed");
}

#[test]
fn what_comes_of_an_answer_needs_no_question() {
    let mut house = guarded();
    tell(&mut house, "b", "q", &["untrusted:web"]);
    house.ask("q", answer("pay")).expect("of its shape");
    let header = house.log[house.log.len() - 2].header.clone();
    house.causes = vec![Cause { id: header.id, labels: header.labels }];
    house.ask("a", request("pay", "write", "x")).expect("allowed");
    assert_eq!(house.last(1), ["tool.requested"]);
    assert!(last_labels(&house).contains("endorsed"), "what is made from it says so");
    // The same from a child that is not quarantined is asked about.
    house.because(&["untrusted:web"]);
    house.ask("a/child", send("a", 3)).expect("allowed");
    because_of_last(&mut house);
    house.ask("a", request("pay", "write", "x")).expect("asked about");
    assert_eq!(house.last(1), ["approval.requested"]);
}

#[test]
fn whoever_read_something_untrusted_cannot_choose_what_is_endorsed() {
    let mut house = House::inhabited();
    house.because(&["untrusted:web"]);
    house.ask("a", quarantine("q", one_of(&["eve@evil.example"]))).expect("allowed");
    house.causes.clear();
    house.ask("q", answer("eve@evil.example")).expect("of its shape");
    let answered = &house.log[house.log.len() - 2];
    assert_eq!(
        answered.header.labels,
        labels(&["endorsed", "untrusted:web"]),
        "the literals came from there"
    );
}

#[test]
fn an_agent_cannot_leave_its_labels_behind_by_naming_no_cause() {
    let mut house = guarded();
    tell(&mut house, "b", "q", &["untrusted:web"]);
    // It names nothing that it read; the world knows.
    let outcome =
        ToolOutcome { labels: labels(&["untrusted:file", "secret:key"]), ..outcome("local-read", None) };
    house.host("q", Operation::Return(outcome)).expect("an outcome is recorded");
    assert_eq!(last_labels(&house), labels(&["untrusted:file", "secret:key", "untrusted:web"]));
    house.host("q", Operation::EndTurn { upto: 9 }).expect("the host may");
    house.ask("q", request("fs.read", "read", "a secret in a refused argument")).expect_err("confined");
    let refused = house.last_event();
    assert!(refused.header.labels.contains("untrusted:web") && refused.header.labels.contains("secret:key"));
    let words = refused.content[0].bytes();
    assert!(!words.windows(8).any(|part| part == b"a secret"), "a refusal says nothing for it");
    house.ask("q", answer("ask")).expect("of its shape");
    assert_eq!(house.log[house.log.len() - 2].header.labels, labels(&["endorsed", "secret:key"]));
}

#[test]
fn an_answer_is_given_once_and_is_of_its_shape() {
    let mut house = guarded();
    for wrong in [Answer::from("PAY"), "pay ".into(), "".into(), true.into(), 0.into()] {
        let denied = house.ask("q", Operation::Answer(wrong)).expect_err("not of its shape");
        assert_eq!((denied.code, denied.argument), (Code::QuarantineAnswer, None));
    }
    assert_eq!(code(house.ask("b", answer("pay"))), Some(Code::QuarantineUnknown));
    assert_eq!(code(house.ask("operator", answer("pay"))), Some(Code::QuarantineUnknown));
    house.ask("q", answer("pay")).expect("of its shape");
    assert_eq!(code(house.ask("q", answer("ask"))), Some(Code::GrantRevoked), "it was stopped with that");
    assert!(house.kernel.world().endorsed(EntityId::named("a")).is_some_and(|told| told.answers.len() == 1));
    house.ask("a", spawn("q", terms(&["**"], &[]))).expect("the name is free");
    house.ask("q", observe("x.y")).expect("this one is not quarantined");
}

#[test]
fn shapes_have_bounds() {
    let many: Vec<String> = (0..17).map(|n| n.to_string()).collect();
    let shapes = [
        AnswerShape::OneOf(many),
        one_of(&[]),
        one_of(&["a", "a"]),
        one_of(&["\u{1b}[2J"]),
        AnswerShape::Integer { least: 1, most: 0 },
    ];
    for shape in shapes {
        check(House::inhabited(), "a", quarantine("q", shape), Err(Code::QuarantineShape));
    }
}

/// Bits that `a` has had told.
fn bits(house: &House) -> u32 {
    house.kernel.world().endorsed(EntityId::named("a")).map_or(0, |told| told.bits)
}

#[test]
fn bits_are_counted_in_a_task() {
    let mut house = House::inhabited();
    let integer = |bits: u32| AnswerShape::Integer { least: 0, most: (1 << bits) - 1 };
    house.ask("a", quarantine("big", integer(60))).expect("below the bound");
    house.ask("a", quarantine("four", AnswerShape::Integer { least: -7, most: 8 })).expect("at the bound");
    assert_eq!(bits(&house), MAX_ENDORSED_BITS);
    let denied = house.ask("a", quarantine("more", AnswerShape::Boolean)).expect_err("past it");
    assert_eq!(denied.code, Code::QuarantineBits);
    assert!(denied.rule.contains("1 bits beside the 64"), "{}", denied.rule);
    house.ask("a", stop("big")).expect("allowed");
    assert_eq!(code(house.ask("a", quarantine("more", AnswerShape::Boolean))), Some(Code::QuarantineBits));
    house.ask("b", quarantine("b/q", integer(60))).expect("another's are counted apart");
    // Another agent's word, and a person's that comes from somewhere untrusted, begin no task.
    tell(&mut house, "b", "a", &[]);
    tell(&mut house, "operator", "a", &["untrusted:mail"]);
    assert_eq!(bits(&house), MAX_ENDORSED_BITS);
    tell(&mut house, "operator", "a", &[]);
    assert_eq!(bits(&house), 0);
    house.ask("a", quarantine("more", AnswerShape::Boolean)).expect("another task");
    house.ask("operator", issue("a", terms(&["**"], &["**"]))).expect("allowed");
    assert_eq!(bits(&house), 0, "a new grant begins one too");
}

#[test]
fn nobody_has_more_bits_told_by_spawning_others_that_ask() {
    let mut house = House::inhabited();
    let wide = || AnswerShape::Integer { least: 0, most: (1 << 40) - 1 };
    house.ask("a", spawn("helper", terms(&["**"], &["**"]))).expect("allowed");
    house.ask("helper", quarantine("first", wide())).expect("below the bound");
    assert_eq!(bits(&house), 40, "they are told to whoever stands above as well");
    for asker in ["helper", "a"] {
        let asked = house.clone().ask(asker, quarantine("second", wide()));
        assert_eq!(code(asked), Some(Code::QuarantineBits), "{asker}");
    }
    // One more that begins with nothing, another grant, another of the same name.
    house.ask("a", issue("helper", terms(&["**"], &["**"]))).expect("it stands above");
    assert_eq!(code(house.clone().ask("helper", quarantine("second", wide()))), Some(Code::QuarantineBits));
    house.ask("a", stop("helper")).expect("allowed");
    for helper in ["helper", "other"] {
        house.ask("a", spawn(helper, terms(&["**"], &["**"]))).expect("allowed");
        assert_eq!(code(house.clone().ask(helper, quarantine("second", wide()))), Some(Code::QuarantineBits));
    }
    house.ask("b", quarantine("b/q", wide())).expect("whoever stands beside it has its own");
    tell(&mut house, "operator", "a", &[]);
    house.ask("other", quarantine("second", wide())).expect("another task");
}

#[test]
fn an_answer_never_says_where_a_call_goes() {
    let mut house = guarded();
    house.ask("q", answer("pay")).expect("of its shape");
    house.ask("a", quarantine("n", AnswerShape::Integer { least: 0, most: 99 })).expect("allowed");
    house.ask("n", answer(17)).expect("of its shape");
    for (path, denied) in [("pay", true), ("17", true), ("payee", false), ("170", false), ("ask", false)] {
        let asked = house.clone().ask("a", request("transfer", "write", path));
        assert_eq!(code(asked), denied.then_some(Code::QuarantineControl), "{path}");
    }
    house.ask("a", request("echo", "pure", "pay")).expect("no sink");
    // A tool that says which of its arguments are places has texts that are none, and numbers that are.
    let mut declared = house.clone();
    declared.ask("operator", declare("transfer", "write")).expect("the operator may");
    let call = |governed: (&str, GovernedArgument)| {
        let Operation::Request(call) = request("transfer", "write", "") else { panic!("a call") };
        Operation::Request(ToolRequest { governed: vec![(governed.0.to_owned(), governed.1)], ..call })
    };
    for (governed, denied) in [
        (("path", GovernedArgument::Text("pay".to_owned())), true),
        (("subject", GovernedArgument::Text("pay".to_owned())), false),
        (("path", GovernedArgument::Number(17)), true),
        (("count", GovernedArgument::Number(17)), false),
    ] {
        let asked = declared.clone().ask("a", call(governed.clone()));
        assert_eq!(code(asked), denied.then_some(Code::QuarantineControl), "{governed:?}");
    }
    // What is not governed, whoever performs the call reads out of its control arguments, declared or not.
    for (answer, denied) in [
        (Answer::Literal("pay".to_owned()), true),
        (Answer::Integer(17), true),
        (Answer::Literal("17".to_owned()), false),
        (Answer::Literal("ask".to_owned()), false),
    ] {
        let Operation::Request(call) = request("mail", "write", "") else { panic!("a call") };
        let controls = vec![("cc".to_owned(), Answer::Integer(0)), ("to".to_owned(), answer.clone())];
        let traced = Some(Box::new(Traced { controls, ..Traced::default() }));
        let asked = house.clone().ask("a", Operation::Request(ToolRequest { traced, ..call }));
        assert!(asked.as_ref().err().is_none_or(|denied| denied.rule.starts_with("'to' is what")));
        assert_eq!(code(asked), denied.then_some(Code::QuarantineControl), "{answer:?}");
    }
    // Told to somebody else, it is the same.
    house.ask("b", request("transfer", "write", "pay")).expect("nobody told b");
    let answered = house.log.iter().find(|event| event.header.kind == "agent.answered").expect("it was said");
    house.causes = vec![Cause { id: answered.header.id, labels: answered.header.labels.clone() }];
    house.ask("a", send("b", 3)).expect("allowed");
    because_of_last(&mut house);
    assert_eq!(code(house.ask("b", request("transfer", "write", "pay"))), Some(Code::QuarantineControl));
    house.ask("b", request("transfer", "write", "alice")).expect("what is to be done may follow from it");
}

#[test]
fn whoever_carries_too_many_labels_says_nothing() {
    let mut house = guarded();
    for prefix in ["x", "y"] {
        house.causes = vec![Cause { id: house.last_id(), labels: many_labels(prefix, MAX_LABELS) }];
        house.ask("b", send("q", 3)).expect("allowed");
    }
    house.causes.clear();
    assert_eq!(code(house.ask("q", answer("pay"))), Some(Code::LabelsTooMany));
    assert_eq!(code(house.ask("q", observe("x.y"))), Some(Code::QuarantineConfined));
    assert_eq!(
        house.last_event().content[0].bytes().windows(8).filter(|part| *part == b"withheld").count(),
        1
    );
}

#[test]
fn it_is_all_in_the_log() {
    let mut house = guarded();
    tell(&mut house, "b", "q", &["untrusted:web"]);
    let Ok(Accepted::Events(range)) = house.ask("q", answer("pay")) else { panic!("of its shape") };
    assert_eq!(range.len(), 2);
    let mut replayed = Kernel::new();
    for event in &house.log {
        replayed.replay(&event.header).expect("it reads its own log");
    }
    assert_eq!(digests(replayed.world()), digests(house.kernel.world()));
    let packed = rmp_serde::to_vec(&Saved(house.kernel.world())).expect("plain data");
    let Saved(back): Saved<WorldState> = rmp_serde::from_slice(&packed).expect("its own bytes");
    assert_eq!(&back, house.kernel.world());
    let mut other = guarded();
    other.ask("q", answer("ask")).expect("of its shape");
    assert_ne!(
        digests(other.kernel.world()).world,
        digests(house.kernel.world()).world,
        "what was said counts"
    );
}
