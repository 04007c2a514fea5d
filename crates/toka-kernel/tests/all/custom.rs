//! Opcodes that a program registers, and the kernel that has never heard of them.

use std::sync::Arc;

use toka_kernel::opcode::{Asked, OpcodeHandler, Outcome};
use toka_kernel::{Kernel, digests};
use toka_types::facts::Register;
use toka_types::{Digest, Operation};

use crate::house::*;

/// Counts votes: each voter has one, and may change it.
pub(crate) struct Vote;

impl OpcodeHandler for Vote {
    fn decide(&self, asked: &Asked<'_>) -> Result<Vec<Outcome>, String> {
        let key = Digest::of(&asked.origin.0);
        let set = |value| Outcome::Set(vec![Register { key, value }]);
        match asked.input {
            b"no" => Err("'no' is no candidate; vote for somebody".to_owned()),
            b"panic" => panic!("the handler is broken"),
            b"many" => Ok(vec![set(None); 1025]),
            b"withdraw" => Ok(vec![set(None)]),
            candidate => {
                let value = Digest::of(candidate);
                let before = asked.world.custom(asked.opcode, key);
                let topic = name(if before.is_some() { "changed" } else { "cast" });
                Ok(vec![set(Some(value)), Outcome::Emit { topic, content: Some(payload(3)) }])
            }
        }
    }
}

fn voting() -> House {
    let mut house = House::inhabited();
    house.kernel.register(name("vote"), Arc::new(Vote));
    house
}

#[test]
fn an_opcode_keeps_values_of_its_own_and_says_things() {
    let mut house = voting();
    check(house.clone(), "a", custom("vote", b"ann"), Ok(&["custom.set", "custom.emit"]));
    house.ask("a", custom("vote", b"ann")).expect("allowed");
    let key = Digest::of(&toka_types::EntityId::named("a").0);
    let vote = |house: &House| house.kernel.world().custom(&name("vote"), key);
    assert_eq!(vote(&house), Some(Digest::of(b"ann")));
    house.ask("a", custom("vote", b"withdraw")).expect("allowed");
    assert_eq!(vote(&house), None);
    assert_eq!(house.log.last().map(|event| event.content.len()), Some(0));
}

#[test]
fn a_kernel_without_the_opcode_replays_its_log() {
    let mut house = voting();
    for vote in [&b"ann"[..], b"bob"] {
        house.ask("a", custom("vote", vote)).expect("allowed");
    }
    let mut plain = Kernel::new();
    for event in &house.log {
        plain.replay(&event.header).expect("every build knows the events");
    }
    assert_eq!(plain.world(), house.kernel.world());
    assert_eq!(digests(plain.world()), digests(house.kernel.world()));
    let before = digests(plain.world());
    house.ask("b", custom("vote", b"ann")).expect("allowed");
    let after = digests(house.kernel.world());
    assert!(before.fold != after.fold && before.world != after.world);
    assert!(matches!(custom("vote", b""), Operation::Custom { .. }));
}
