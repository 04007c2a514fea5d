//! From a jump of the clock on nothing expires, is due or is asked of the outside, until it is confirmed.

use toka_kernel::{Kernel, digests};
use toka_types::operation::TaskAction;
use toka_types::{Operation, Timestamp};

use crate::house::*;

#[test]
fn what_a_jump_holds_up_goes_on_once_it_is_confirmed() {
    let mut house = House::inhabited();
    house.ask("a", ask_a_person(request("pay", "write", "x"), 5_000)).expect("allowed");
    house.ask("a", schedule("t", 2_000)).expect("allowed");
    let shows = Timestamp(7_200_000_000);
    house.host("operator", Operation::JumpClock { shows }).expect("the host may");
    assert_eq!(house.kernel.world().clock_jump(), Some(shows));
    house.later(10_000);
    let before = house.log.len();
    house.ask("a", observe("x.y")).expect("work inside goes on");
    house.ask("a", request("fs.read", "local-read", "docs/a.md")).expect("so do looks at this machine");
    house.ask("a", send("b", 1)).expect("and messages");
    assert_eq!(house.last(house.log.len() - before), ["x.y", "message.sent"], "nothing has expired");
    house.ask("operator", Operation::ResetClock { shows }).expect("the operator may");
    let kept = house.clone();
    house.at = shows;
    house.ask("a", fire("t", 2_000, None, TaskAction::Skip)).expect("it is due");
    assert_eq!(house.last(2), ["approval.expired", "task.fired"]);
    for house in [kept, house] {
        let mut replayed = Kernel::new();
        for event in &house.log {
            replayed.replay(&event.header).expect("readable");
        }
        assert_eq!(digests(replayed.world()), digests(house.kernel.world()));
        assert_eq!(replayed.world().clock_jump(), None);
    }
}

#[test]
fn what_was_confirmed_behind_the_log_holds_until_the_log_goes_on() {
    let mut house = House::inhabited();
    house.at = Timestamp(9_000_000);
    house.ask("a", observe("x.y")).expect("allowed");
    assert_eq!(house.kernel.world().clock_reference(), Timestamp(9_000_000));
    let shows = Timestamp(2_000_000);
    house.host("operator", Operation::JumpClock { shows }).expect("the host may");
    house.ask("operator", Operation::ResetClock { shows }).expect("the operator may");
    assert_eq!(house.kernel.world().clock_reference(), shows);
    house.at = Timestamp(2_500_000);
    house.ask("a", observe("x.y")).expect("allowed");
    assert_eq!(house.kernel.world().clock_reference(), shows, "the log's time stands still");
    house.at = Timestamp(9_500_000);
    house.ask("a", observe("x.y")).expect("allowed");
    assert_eq!(house.kernel.world().clock_reference(), Timestamp(9_500_000));
}
