//! People, whom a grant bounds and a role too.

use toka_kernel::{Code, digests};
use toka_types::facts::Role;
use toka_types::operation::LedgerRequest;
use toka_types::{EntityId, Operation};

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

/// A person's grant may say more than the role: whoever acts under a part of it is bounded by the role too.
#[test]
fn nobody_has_done_by_an_agent_what_their_role_keeps_from_them() {
    let everything = || terms(&["**"], &["**"]);
    let money = "1.00 USD".parse().expect("money");
    let mint = || Operation::Enter(LedgerRequest::Mint { to: EntityId::operator(), money });
    let usd = money.currency;
    let mut house = with(Role::Member);
    house.kernel.register(name("vote"), std::sync::Arc::new(crate::custom::Vote));
    let operator = EntityId::operator();
    house
        .ask(
            "operator",
            Operation::Enter(LedgerRequest::Open { owner: operator, currency: usd, parent: None }),
        )
        .expect("allowed");
    house.ask("ann", spawn("ann/agent", everything())).expect("members spawn");
    house.ask("ann/agent", spawn("ann/agent/child", everything())).expect("and so do their agents");
    let beyond = || {
        let grant = terms(&["**"], &[]);
        [
            mint(),
            Operation::SetPolicy(Vec::new()),
            create_user("eve", Role::Observer, grant.clone()),
            create_user("eve", Role::Admin, grant),
            custom("vote", b"ann"),
            declare("pay", "write"),
        ]
    };
    for who in ["ann", "ann/agent", "ann/agent/child"] {
        for operation in beyond() {
            assert_eq!(
                code(house.clone().ask(who, operation.clone())),
                Some(Code::RoleInsufficient),
                "{who}"
            );
        }
        house.ask(who, observe("x.y")).expect("the rest of the grant is theirs");
    }
    // The agents of others, and of whoever has the role, are as before.
    house.ask("a", mint()).expect("nobody stands above it but the operator");
    house.ask("operator", assign("ann", Role::Admin)).expect("allowed");
    house.ask("ann/agent/child", mint()).expect("an admin's agent");
    house.ask("operator", assign("ann", Role::Observer)).expect("allowed");
    assert_eq!(code(house.ask("ann/agent", observe("x.y"))), Some(Code::RoleInsufficient));
}

#[test]
fn a_person_s_grant_is_replaced_by_whoever_stands_above() {
    let mut house = with(Role::Member);
    house.ask("ann", spawn("ann/agent", terms(&["**"], &[]))).expect("members spawn");
    let first = house.grant_of("ann");
    house.ask("operator", issue("ann", terms(&["event:emit"], &["event:emit"]))).expect("stands above");
    assert_ne!(house.grant_of("ann"), first);
    house.ask("ann", observe("x.y")).expect("granted");
    assert_eq!(code(house.ask("ann", send("a", 1))), Some(Code::CapabilityMissing));
    assert_eq!(
        code(house.ask("ann/agent", observe("x.y"))),
        Some(Code::GrantRevoked),
        "with all cut from it"
    );
    // What was revoked for good is given anew: the name is not lost with the grant.
    house.ask("operator", Operation::RevokeGrant(house.grant_of("ann"))).expect("stands above");
    assert_eq!(code(house.ask("ann", observe("x.y"))), Some(Code::GrantRevoked));
    house.ask("operator", issue("ann", terms(&["**"], &["**"]))).expect("allowed");
    house.ask("ann", observe("x.y")).expect("as before");
    assert_eq!(code(house.ask("ann", issue("ann", terms(&["**"], &[])))), Some(Code::NotADescendant));
    assert_eq!(code(house.ask("a", issue("ann", terms(&["**"], &[])))), Some(Code::NotADescendant));
    assert_eq!(house.kernel.world().user(EntityId::named("ann")).map(|ann| ann.role), Some(Role::Member));
    let mut again = toka_kernel::Kernel::new();
    for event in &house.log {
        again.replay(&event.header).expect("readable");
    }
    assert_eq!(again.world(), house.kernel.world());
}
