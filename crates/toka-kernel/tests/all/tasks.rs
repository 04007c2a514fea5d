//! A task fires once for each time it is due.

use toka_kernel::Code;
use toka_types::facts::Facts;
use toka_types::operation::TaskAction;
use toka_types::{EntityId, Timestamp};

use crate::house::*;

fn emit() -> TaskAction {
    TaskAction::Emit { kind: kind("tick.tock"), content: payload(1) }
}

fn due(house: &House, task: &str) -> Option<Timestamp> {
    house.kernel.world().task(EntityId::named("a"), &name(task)).map(|task| task.due)
}

#[test]
fn one_due_time_is_used_once() {
    let mut house = House::inhabited();
    house.ask("a", schedule("t", 2_000)).expect("allowed");
    let scheduled = house.last_id();
    house.at = Timestamp(2_000);
    house.ask("a", fire("t", 2_000, Some(3_000), emit())).expect("due");
    let [fired, emitted] = &house.log[house.log.len() - 2..] else { panic!("two events") };
    assert_eq!((fired.header.kind.as_str(), emitted.header.kind.as_str()), ("task.fired", "tick.tock"));
    assert_eq!(fired.header.parents, [scheduled]);
    assert_eq!(emitted.header.parents, [fired.header.id]);
    assert_eq!(due(&house, "t"), Some(Timestamp(3_000)));
    assert_eq!(code(house.ask("a", fire("t", 2_000, Some(3_000), emit()))), Some(Code::TaskNotDue));
    assert_eq!(
        code(house.ask("a", fire("t", 3_000, None, emit()))),
        Some(Code::TaskNotDue),
        "not before its time"
    );
    house.at = Timestamp(9_000);
    house.ask("a", fire("t", 3_000, None, TaskAction::Skip)).expect("overdue");
    assert_eq!((house.last(1), due(&house, "t")), (vec!["task.fired"], None));
    assert_eq!(code(house.ask("a", fire("t", 3_000, None, emit()))), Some(Code::TaskUnknown));
}

#[test]
fn a_batch_that_fires_twice_fires_once() {
    let mut house = House::inhabited();
    house.ask("a", schedule("t", 1_000)).expect("allowed");
    let twice = [fire("t", 1_000, Some(2_000), emit()), fire("t", 1_000, Some(2_000), emit())];
    let batch = twice.map(|operation| toka_kernel::Submission::new(house.envelope("a", operation))).to_vec();
    let replies: Vec<_> = house.kernel.step(batch, house.at).replies.into_iter().map(code).collect();
    assert_eq!(replies, [None, Some(Code::TaskNotDue)]);
}

#[test]
fn an_action_that_is_refused_leaves_the_task_as_it_was() {
    let mut house = House::open();
    house
        .ask("operator", spawn("a", terms(&["task:schedule", "event:emit(kind=tick.*)"], &[])))
        .expect("allowed");
    house.ask("a", schedule("t", 1_000)).expect("allowed");
    let before = house.kernel.world().clone();
    let refused = [
        (TaskAction::Emit { kind: kind("x.y"), content: payload(1) }, Code::CapabilityMissing),
        (TaskAction::Send { to: EntityId::named("a"), message: payload(1) }, Code::CapabilityMissing),
        (TaskAction::Send { to: EntityId::named("nobody"), message: payload(1) }, Code::AgentUnknown),
    ];
    for (action, expected) in refused {
        assert_eq!(code(house.ask("a", fire("t", 1_000, None, action))), Some(expected));
        assert_eq!(due(&house, "t"), Some(Timestamp(1_000)));
    }
    assert_eq!(toka_kernel::digests(&before).world, toka_kernel::digests(house.kernel.world()).world);
    house.ask("a", fire("t", 1_000, None, emit())).expect("allowed");
}

#[test]
fn scheduling_again_moves_and_cancelling_removes() {
    let mut house = House::inhabited();
    let a = EntityId::named("a");
    house.ask("a", schedule("t", 2_000)).expect("allowed");
    house.ask("a", schedule("t", 5_000)).expect("allowed");
    let world = house.kernel.world();
    assert_eq!((due(&house, "t"), world.tasks_of(a).count()), (Some(Timestamp(5_000)), 1));
    assert_eq!(world.agent(a).map(|agent| agent.tasks), Some(1));
    house.ask("a", cancel("t")).expect("it is there");
    let Facts::TaskCancelled(facts) = house.last_facts() else { panic!("cancelled") };
    assert_eq!((facts.owner, facts.task.as_str()), (a, "t"));
    let world = house.kernel.world();
    assert_eq!((due(&house, "t"), world.tasks_of(a).count()), (None, 0));
    assert_eq!(world.agent(a).map(|agent| agent.tasks), Some(0));
}
