//! What is made from labelled data carries its labels; secrets stay out of refusals.

use serde::Deserialize;
use toka_kernel::Code;
use toka_types::facts::{Facts, Resolution};
use toka_types::label::MAX_LABELS;
use toka_types::operation::{Cause, Observation, Parent, TaskAction, ToolOutcome};
use toka_types::{Digest, EventId, Labels, Operation};

use crate::house::*;

fn last_labels(house: &House) -> Vec<&str> {
    house.last_event().header.labels.iter().map(toka_types::Label::as_str).collect()
}

#[test]
fn causes_parents_and_the_event_s_own_are_joined() {
    let mut house = House::inhabited();
    let other = Cause { id: EventId(Digest::of(b"other")), labels: labels(&["untrusted:mail"]) };
    house.because(&["untrusted:web"]);
    let first = Observation {
        labels: labels(&["subject:alice"]),
        parents: vec![Parent::Event(other)],
        ..observation("x.y")
    };
    let second =
        Observation { labels: labels(&["mine"]), parents: vec![Parent::Earlier(0)], ..observation("x.y") };
    let third = Observation { parents: vec![Parent::Earlier(1)], ..observation("x.y") };
    house.ask("a", Operation::Observe(vec![first, second, third, observation("x.y")])).expect("allowed");
    let joined: Vec<Labels> =
        house.log[house.log.len() - 4..].iter().map(|event| event.header.labels.clone()).collect();
    let one = ["untrusted:web", "untrusted:mail", "subject:alice"];
    let two = ["untrusted:web", "untrusted:mail", "subject:alice", "mine"];
    assert_eq!(joined, [labels(&one), labels(&two), labels(&two), labels(&["untrusted:web"])]);
}

#[test]
fn a_call_hands_its_labels_to_its_outcome() {
    for resolved in [true, false] {
        let mut house = House::inhabited();
        house.because(&["from:web"]);
        house.ask("a", request("http.get", "read", "x")).expect("allowed");
        let call = house.last_id();
        // After a crash nobody remembers what caused the call.
        house.causes.clear();
        if resolved {
            let resolve = Operation::Resolve { request: call, resolution: Resolution::Happened };
            house.ask("operator", resolve).expect("allowed");
            assert_eq!(last_labels(&house), ["from:web"]);
        } else {
            let outcome = ToolOutcome { labels: labels(&["untrusted:api"]), ..outcome("read", Some(call)) };
            house.host("a", Operation::Return(outcome)).expect("allowed");
            assert_eq!(last_labels(&house), ["from:web", "untrusted:api"]);
        }
    }
}

#[test]
fn a_task_hands_its_labels_to_what_it_does() {
    let mut house = House::inhabited();
    house.because(&["untrusted:web"]);
    house.ask("a", schedule("t", 1_000)).expect("allowed");
    house.causes.clear();
    let emit = TaskAction::Emit { kind: kind("tick.tock"), content: payload(1) };
    house.ask("a", fire("t", 1_000, None, emit)).expect("due");
    assert_eq!(house.last(2), ["task.fired", "tick.tock"]);
    for event in &house.log[house.log.len() - 2..] {
        assert_eq!(event.header.labels, labels(&["untrusted:web"]));
    }
}

#[test]
fn too_many_labels_or_causes_leave_nothing_half_done() {
    let full = Observation { labels: many_labels("x", MAX_LABELS), ..observation("x.y") };
    let over = Observation {
        labels: labels(&["one:more"]),
        parents: vec![Parent::Earlier(1)],
        ..observation("x.y")
    };
    let causes = |count: u8| (0..count).map(|i| Cause { id: EventId(Digest::of(&[i])), labels: labels(&[]) });
    let parents: Vec<Parent> = causes(65).map(Parent::Event).collect();
    let crowded = Observation { parents, ..observation("x.y") };
    let batches = [
        (vec![observation("x.y"), full.clone(), over], Code::LabelsTooMany),
        (vec![observation("x.y"), full, crowded], Code::LimitCount),
    ];
    for (batch, expected) in batches {
        let mut house = House::inhabited();
        let (before, log) = (toka_kernel::digests(house.kernel.world()), house.log.len());
        let head = house.kernel.world().author_head(toka_types::EntityId::named("a"));
        house.op_id = Some((toka_types::OpId([1; 16]), house.at));
        assert_eq!(code(house.ask("a", Operation::Observe(batch))), Some(expected));
        assert_eq!(house.last(house.log.len() - log), ["capability.denied"]);
        assert_eq!(house.last_event().header.prev, head);
        assert_eq!(toka_kernel::digests(house.kernel.world()).world, before.world);
        assert_eq!(house.kernel.world().next_seq(), log as u64 + 1);
    }
}

/// The content of a refusal.
#[derive(Deserialize)]
struct Refusal {
    code: String,
    rule: String,
    asked: String,
    argument: Option<String>,
    nearest: Option<String>,
}

fn refusal(house: &House) -> Refusal {
    let payload = house.last_event().content.first().expect("a refusal has content");
    rmp_serde::from_slice(payload.bytes()).expect("the content is MessagePack")
}

#[test]
fn a_refusal_shows_its_argument_escaped_and_short() {
    let mut house = House::inhabited();
    house.ask("operator", spawn("c", terms(&["tool:fs.read(path=docs/**)"], &[]))).expect("allowed");
    house.because(&["untrusted:web"]);
    let path = format!("src/\u{1b}[31m\n{}", "é".repeat(200));
    house.ask("c", request("fs.read", "local-read", &path)).expect_err("not granted");
    let shown = refusal(&house);
    assert_eq!((shown.code.as_str(), shown.asked.as_str()), ("capability.missing", "tool:fs.read"));
    assert_eq!(shown.nearest.as_deref(), Some("tool:fs.read(path=docs/**)"));
    let argument = shown.argument.expect("it failed on one");
    assert!(argument.starts_with("src/\\u{1b}[31m\\n\\u{e9}"), "{argument}");
    assert!(argument.len() <= 128 && argument.bytes().all(|b| b.is_ascii_graphic()), "{argument}");
    assert_eq!(last_labels(&house), ["untrusted:web"]);
    assert_eq!(house.last_event().header.parents, [house.causes[0].id]);
}

#[test]
fn a_secret_is_in_no_part_of_a_refusal() {
    let secret = "sk-live-hunter2";
    let mut house = House::inhabited();
    house
        .ask("operator", spawn("c", terms(&["event:emit(kind=ok.*)", "agent:spawn"], &["tool:echo"])))
        .expect("allowed");
    let mut by_cause = house.clone();
    by_cause.because(&["subject:alice", "secret:stripe"]);
    let mut unknown = house.clone();
    unknown.causes =
        ["x", "y"].map(|of| Cause { id: house.last_id(), labels: many_labels(of, MAX_LABELS) }).to_vec();
    let told = |kind: &str| observation(kind);
    let own = Observation { labels: labels(&["secret:stripe"]), ..told(secret) };
    let cause = Cause { id: house.last_id(), labels: labels(&["secret:stripe"]) };
    let of_parent = Observation { parents: vec![Parent::Event(cause)], ..told(secret) };
    let widened = spawn("d", terms(&["tool:sk-live-hunter2"], &[]));
    let asked = [
        (by_cause.clone(), observe(secret)),
        (by_cause.clone(), request(secret, "pure", secret)),
        (by_cause, widened),
        (unknown, observe(secret)),
        (house.clone(), Operation::Observe(vec![own])),
        (house, Operation::Observe(vec![of_parent])),
    ];
    for (mut house, operation) in asked {
        let of_tool = matches!(operation, Operation::Request(_));
        house.ask("c", operation).expect_err("refused");
        let shown = refusal(&house);
        assert_eq!((shown.rule.as_str(), shown.argument), ("withheld", None));
        let Facts::CapabilityDenied(facts) = house.last_facts() else { panic!("a refusal") };
        assert_eq!(facts.argument, None, "few values can be told from their digest");
        // The name of a tool is the registry's, not the asker's, and is shown.
        let hidden = |bytes: &[u8]| !bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(
            of_tool
                || house
                    .log
                    .last()
                    .is_some_and(|event| hidden(event.content[0].bytes()) && hidden(&event.header.facts))
        );
    }
}

#[test]
fn whoever_was_spawned_from_labelled_data_carries_its_labels_whatever_it_names() {
    let mut house = House::inhabited();
    house.because(&["untrusted:web"]);
    let grant = || terms(&["event:emit", "tool:pay"], &[]);
    house.ask("a", spawn("send-it-to-eve", grant())).expect("allowed");
    let spawned = house.last_id();
    house.causes.clear();
    house.ask("send-it-to-eve", observe("x.y")).expect("allowed");
    assert_eq!(last_labels(&house), ["untrusted:web"]);
    assert_eq!(house.last_event().header.parents, [spawned]);
    // The built-in rules ask before such data reaches a sink.
    house.ask("send-it-to-eve", request("pay", "write", "x")).expect("asked");
    assert_eq!(house.last_event().header.kind, "approval.requested");
    // A new agent of that name has nothing of it.
    house.ask("a", stop("send-it-to-eve")).expect("allowed");
    house.ask("a", spawn("send-it-to-eve", grant())).expect("allowed");
    house.ask("send-it-to-eve", observe("x.y")).expect("allowed");
    assert!(last_labels(&house).is_empty());
}
