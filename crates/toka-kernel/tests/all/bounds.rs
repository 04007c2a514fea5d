//! What tools are and what bounds hold is read from the log.

use toka_kernel::{Code, Kernel, digests};
use toka_types::facts::LogLimited;
use toka_types::{Digest, Operation};

use crate::house::*;

#[test]
fn a_tool_is_what_was_declared_of_its_version() {
    let mut house = House::inhabited();
    house.ask("a", request("pay", "pure", "x")).expect("nothing was said of it");
    house.ask("operator", declare("pay", "write")).expect("the operator may");
    assert_eq!(code(house.ask("a", request("pay", "pure", "x"))), Some(Code::ToolDiffers));
    house.ask("a", request("pay", "write", "x")).expect("as it was declared");
    let call = house.last_id();
    let mut returned = outcome("write", Some(call));
    returned.tool = name("pay");
    house.host("a", Operation::Return(returned)).expect("its outcome");
    assert_eq!(house.last_event().header.labels, labels(&["untrusted:tool"]), "whatever it comes back with");
    house.ask("operator", declare("pay", "pure")).expect("it is something else now");
    house.ask("a", request("pay", "pure", "x")).expect("as it was declared last");
    let known = house.kernel.world().tool(&name("pay"), "1.0.0").expect("declared");
    assert_eq!(known.manifest, Digest::of(b"pure"));
    assert_eq!(house.kernel.world().tools().count(), 1);
    assert_eq!(code(house.ask("a", declare("x", "pure"))), None, "whoever holds the capability may");
}

#[test]
fn bounds_are_lowered_replaced_and_lifted_again() {
    let mut house = House::inhabited();
    let few = LogLimited { tasks: Some(1), observations: Some(2), ..LogLimited::default() };
    house.ask("operator", limit(few.clone())).expect("the operator may");
    assert_eq!(house.kernel.world().limits(), &few);
    house.ask("a", schedule("t", 5_000)).expect("one");
    let denied = house.ask("a", schedule("u", 5_000)).expect_err("one is all");
    assert_eq!(
        (denied.code, denied.rule.ends_with("at most 1 are allowed")),
        (Code::LimitCount, true),
        "{denied}"
    );
    let three = || Operation::Observe(vec![observation("x.y"); 3]);
    assert_eq!(code(house.ask("a", three())), Some(Code::LimitCount));
    let bytes = LogLimited { observation_bytes: Some(2), ..LogLimited::default() };
    house.ask("operator", limit(bytes)).expect("in place of the others");
    house.ask("a", schedule("u", 5_000)).expect("the kernel's own bound holds");
    assert_eq!(code(house.ask("a", three())), Some(Code::LimitSize));
    house.ask("operator", limit(LogLimited::default())).expect("none is lower");
    house.ask("a", three()).expect("as before");
    let brief = LogLimited { approval_seconds: Some(60), ..LogLimited::default() };
    house.ask("operator", limit(brief)).expect("the operator may");
    house.because(&["untrusted:web"]);
    house.ask("a", request("pay", "write", "x")).expect("a person is asked");
    let expires = house.kernel.world().approvals().next().expect("it waits").1.expires;
    assert_eq!(expires.0 - house.at.0, 60_000_000);
    let mut replayed = Kernel::new();
    for event in &house.log {
        replayed.replay(&event.header).expect("readable");
    }
    assert_eq!(digests(replayed.world()), digests(house.kernel.world()));
}
