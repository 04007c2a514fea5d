//! People, whom a grant bounds and a role too.

use toka_kernel::{Code, digests};
use toka_types::EntityId;
use toka_types::facts::Role;

use crate::house::*;

fn with(role: Role) -> House {
    let mut house = House::inhabited();
    house.ask("operator", create_user("ann", role, terms(&["**"], &["**"]))).expect("allowed");
    house
}

#[test]
fn each_role_reaches_as_far_as_it_says() {
    let everything = || terms(&["**"], &["**"]);
    let asks = || {
        [
            (Role::Member, spawn("ann/agent", terms(&["tool:echo"], &[]))),
            (Role::Member, observe("x.y")),
            (Role::Member, send("a", 3)),
            (Role::Member, request("pay", "write", "x")),
            (Role::Admin, create_user("bob", Role::Member, everything())),
            (Role::Admin, custom("vote", b"ann")),
        ]
    };
    for role in Role::ALL {
        for (least, operation) in asks() {
            let mut house = with(role);
            house.kernel.register(name("vote"), std::sync::Arc::new(crate::custom::Vote));
            let what = format!("{role}: {operation:?}");
            match house.ask("ann", operation) {
                Ok(_) => assert!(role >= least, "{what}"),
                Err(denied) => {
                    assert!(role < least, "{what}: {denied}");
                    assert_eq!(denied.code, Code::RoleInsufficient, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_role_is_changed_by_whoever_stands_above_and_bites_at_once() {
    let mut house = with(Role::Member);
    house.ask("ann", observe("x.y")).expect("members work");
    house.ask("operator", assign("ann", Role::Observer)).expect("the operator stands above everybody");
    assert_eq!(code(house.ask("ann", observe("x.y"))), Some(Code::RoleInsufficient));
    house.ask("operator", assign("ann", Role::Admin)).expect("allowed");
    house.ask("ann", create_user("bob", Role::Admin, terms(&["**"], &[]))).expect("an admin lets people in");
    house.ask("ann", assign("bob", Role::Member)).expect("bob's grant was cut from ann's");
    assert_eq!(code(house.ask("bob", assign("ann", Role::Observer))), Some(Code::RoleInsufficient));
    assert_eq!(code(house.ask("b", assign("bob", Role::Observer))), Some(Code::NotADescendant));
}

#[test]
fn a_role_adds_nothing_to_a_grant() {
    let mut house = House::inhabited();
    house.ask("operator", create_user("ann", Role::Admin, terms(&["event:emit"], &[]))).expect("allowed");
    house.ask("ann", observe("x.y")).expect("granted");
    assert_eq!(code(house.ask("ann", send("a", 1))), Some(Code::CapabilityMissing));
    assert_eq!(code(house.ask("ann", spawn("c", terms(&[], &[])))), Some(Code::CapabilityMissing));
}

#[test]
fn people_are_part_of_both_digests_and_a_world_without_them_has_those_it_had() {
    let mut house = House::inhabited();
    let before = digests(house.kernel.world());
    house.ask("operator", create_user("ann", Role::Member, terms(&["**"], &[]))).expect("allowed");
    let with_member = digests(house.kernel.world());
    house.ask("operator", assign("ann", Role::Observer)).expect("allowed");
    let with_observer = digests(house.kernel.world());
    assert!(before.world != with_member.world && with_member.world != with_observer.world);
    let ann = house.kernel.world().user(EntityId::named("ann")).expect("let in");
    assert_eq!((ann.role, ann.name.as_str()), (Role::Observer, "ann"));
    assert_eq!(house.kernel.world().name_of(EntityId::named("ann")), Some("ann"));
}
