//! What each operation becomes when it is allowed.

use toka_types::facts::{Facts, Register, Resolution};
use toka_types::operation::{Observation, Parent, TaskAction};
use toka_types::{Digest, EntityId, Operation};

use crate::house::*;

#[test]
fn each_operation_becomes_its_events() {
    let house = House::inhabited;
    let agent = terms(&["tool:**"], &[]);
    check(house(), "a", spawn("new", agent.clone()), Ok(&["agent.spawned"]));
    check(house(), "operator", stop("a"), Ok(&["agent.stopped"]));
    check(house(), "operator", suspend("a/child"), Ok(&["agent.suspended"]));
    check(house(), "a", resume("a/child"), Ok(&["agent.resumed"]));
    check(house(), "a", issue("a/child", agent), Ok(&["grant.issued"]));
    check(house(), "a", Operation::RevokeGrant(house().grant_of("a/child")), Ok(&["grant.revoked"]));
    check(house(), "a", observe("file.indexed"), Ok(&["file.indexed"]));
    check(house(), "a", Operation::Observe(Vec::new()), Ok(&[]));
    let three = vec![observation("x.y"), observation("x.z"), observation("x.y")];
    check(house(), "a", Operation::Observe(three), Ok(&["x.y", "x.z", "x.y"]));
    check(house(), "a", send("b", 3), Ok(&["message.sent"]));
    check(house(), "a", schedule("t", 5_000), Ok(&["task.scheduled"]));
    check(house(), "a", request("fs.read", "local-read", "docs/a.md"), Ok(&[]));
    check(house(), "a", request("echo", "pure", "docs/a.md"), Ok(&[]));
    for durable in ["read", "idempotent", "write"] {
        check(house(), "a", request("http.get", durable, "docs/a.md"), Ok(&["tool.requested"]));
    }
}

#[test]
fn what_the_host_records_becomes_its_events() {
    let mut closed = House::closed();
    closed.host("operator", open_log(&["**"])).expect("a new log");
    assert_eq!(closed.last(1), ["log.opened"]);
    let mut house = House::inhabited();
    house.host("a", Operation::EndTurn { upto: 9 }).expect("an agent's turn");
    assert_eq!(house.last(1), ["turn.ended"]);
    assert_eq!(house.kernel.world().agent(EntityId::named("a")).map(|agent| agent.upto), Some(9));
    house.host("a", Operation::EndTurn { upto: 4 }).expect("a turn that ends late");
    assert_eq!(house.kernel.world().agent(EntityId::named("a")).map(|agent| agent.upto), Some(9));
    house.host("a", Operation::Return(outcome("local-read", None))).expect("a local read has no request");
    assert_eq!(house.last(1), ["tool.returned"]);
}

#[test]
fn operations_see_what_those_before_them_in_the_batch_did() {
    let mut house = House::open();
    let inputs = |house: &House| {
        // The number of a grant can be known before it is issued: they are counted.
        let mut child = house.envelope("new", observe("x.y"));
        child.authority = toka_types::operation::Authority::Grant(toka_types::GrantId(2));
        let spawn = house.envelope("operator", spawn("new", terms(&["event:emit"], &[])));
        [spawn, child].map(toka_kernel::Submission::new).to_vec()
    };
    let mut reversed = inputs(&house);
    reversed.reverse();
    let refused = house.clone().kernel.step(reversed, house.at);
    assert_eq!(refused.replies.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true]);
    let inputs = inputs(&house);
    let step = house.kernel.step(inputs, house.at);
    assert!(step.replies.iter().all(Result::is_ok), "{:?}", step.replies);
}

#[test]
fn a_batch_numbers_links_and_dates_its_events() {
    let mut house = House::inhabited();
    house.at = toka_types::Timestamp(1);
    house.ask("a", Operation::Observe(vec![observation("x.y"), observation("x.y")])).expect("allowed");
    for (seq, event) in house.log.iter().enumerate() {
        assert_eq!(event.header.seq, seq as u64);
        assert_eq!(event.header.id, event.header.causal_digest());
        assert_eq!(event.header.at.0, 1_000, "time does not go backwards");
        let before = house.log[..seq].iter().rfind(|earlier| earlier.header.author == event.header.author);
        assert_eq!(event.header.prev, before.map(|earlier| earlier.header.id));
    }
}

#[test]
fn registers_are_set_cleared_and_gone_with_their_agent() {
    let mut house = House::inhabited();
    let (key, a) = (Digest::of(b"docs/a.md"), EntityId::named("a"));
    let set = |value: Option<&[u8]>| {
        let registers = vec![Register { key, value: value.map(Digest::of) }];
        Operation::Observe(vec![Observation { registers, ..observation("file.indexed") }])
    };
    house.ask("a", set(Some(b"1"))).expect("allowed");
    house.ask("b", set(Some(b"other"))).expect("allowed");
    house.ask("a", set(Some(b"2"))).expect("allowed");
    assert_eq!(house.kernel.world().register(a, key), Some(Digest::of(b"2")));
    house.ask("a", set(None)).expect("allowed");
    assert_eq!(house.kernel.world().register(a, key), None);
    house.ask("a", set(Some(b"3"))).expect("allowed");
    house.ask("operator", stop("a")).expect("allowed");
    assert_eq!(house.kernel.world().register(a, key), None);
    assert_eq!(house.kernel.world().register(EntityId::named("b"), key), Some(Digest::of(b"other")));
}

#[test]
fn a_name_that_became_free_is_a_new_agent_in_the_old_one_s_line() {
    let mut house = House::inhabited();
    let a = EntityId::named("a");
    house.ask("a", schedule("t", 5_000)).expect("allowed");
    house.ask("a", observe("x.y")).expect("allowed");
    let (head, old) = (house.last_id(), house.grant_of("a"));
    house.ask("operator", stop("a")).expect("allowed");
    house.ask("operator", spawn("a", terms(&["**"], &[]))).expect("the name is free");
    let world = house.kernel.world();
    assert_eq!((world.tasks_of(a).count(), world.agent(a).map(|agent| agent.tasks)), (0, Some(0)));
    assert_eq!(world.author_head(a), Some(head), "its events go on from the old one's last");
    assert_eq!(world.living(EntityId::operator()), 2);
    let new = house.grant_of("a");
    assert!(new > old && house.kernel.world().grant(old).is_some_and(|grant| grant.revoked));
    let child = house.ask("a/child", observe("x.y"));
    assert_eq!(
        code(child),
        Some(toka_kernel::Code::GrantRevoked),
        "the new agent has no part in the old one's children"
    );
    house.ask("a", observe("x.y")).expect("the new grant holds");
    assert_eq!(house.last_event().header.prev, Some(head));
}

#[test]
fn living_children_are_those_that_are_not_stopped() {
    let mut house = House::open();
    let operator = EntityId::operator();
    for (i, agent) in ["a", "b", "c"].into_iter().enumerate() {
        house.ask("operator", spawn(agent, terms(&["**"], &["**"]))).expect("allowed");
        assert_eq!(house.kernel.world().living(operator), i as u64 + 1);
    }
    house.ask("a", spawn("d", terms(&["**"], &["**"]))).expect("allowed");
    house.ask("operator", suspend("b")).expect("allowed");
    house.ask("operator", stop("c")).expect("allowed");
    let world = house.kernel.world();
    assert_eq!((world.living(operator), world.living(EntityId::named("a"))), (2, 1));
    house.ask("operator", stop("d")).expect("everyone stands under the operator");
    house.ask("operator", spawn("d", terms(&["**"], &["**"]))).expect("the name is free");
    let world = house.kernel.world();
    assert_eq!((world.living(operator), world.living(EntityId::named("a"))), (3, 0));
}

#[test]
fn a_batch_of_observations_may_name_its_own() {
    let mut house = House::inhabited();
    let cause = house.because(&[]);
    let chunk =
        |earlier| Observation { parents: vec![Parent::Earlier(earlier)], ..observation("file.chunk") };
    house
        .ask("a", Operation::Observe(vec![observation("file.indexed"), chunk(0), chunk(1)]))
        .expect("allowed");
    let [file, one, two] = &house.log[house.log.len() - 3..] else { panic!("three events") };
    assert_eq!(file.header.parents, [cause.id]);
    assert_eq!(one.header.parents, [file.header.id]);
    assert_eq!(two.header.parents, [one.header.id]);
}

#[test]
fn a_cause_named_twice_is_one_parent() {
    let mut house = House::inhabited();
    let cause = house.because(&[]);
    let parents = vec![Parent::Event(cause.clone()), Parent::Event(cause.clone())];
    house.ask("a", Operation::Observe(vec![Observation { parents, ..observation("x.y") }])).expect("allowed");
    assert_eq!(house.last_event().header.parents, [cause.id]);
}

#[test]
fn facts_say_what_was_asked() {
    let mut house = House::inhabited();
    let (a, b) = (EntityId::named("a"), EntityId::named("b"));
    house.ask("a", send("b", 3)).expect("allowed");
    let Facts::MessageSent(sent) = house.last_facts() else { panic!("a message") };
    assert_eq!((sent.from, sent.to), (a, b));
    house.ask("a", schedule("t", 2_000)).expect("allowed");
    house.later(2_000);
    house.ask("a", fire("t", 2_000, None, TaskAction::Send { to: b, message: payload(2) })).expect("due");
    assert_eq!(house.last(2), ["task.fired", "message.sent"]);
    house.ask("a", request("pay", "write", "x")).expect("allowed");
    let resolve = Operation::Resolve { request: house.last_id(), resolution: Resolution::DidNotHappen };
    house.ask("operator", resolve).expect("the operator is above all");
    assert_eq!(house.last(1), ["tool.resolved"]);
    assert_eq!(house.kernel.world().effects().count(), 0);
}
