//! `world` is what came of it; `fold` is every step of the way.

use toka_kernel::{Digests, Kernel, digests};
use toka_types::facts::Register;
use toka_types::operation::Observation;
use toka_types::{Digest, EntityId, Operation};

use crate::house::*;

fn register(key: &str, value: &str) -> Operation {
    let registers =
        vec![Register { key: Digest::of(key.as_bytes()), value: Some(Digest::of(value.as_bytes())) }];
    Operation::Observe(vec![Observation { registers, ..observation("file.indexed") }])
}

fn grant() -> toka_types::operation::GrantTerms {
    terms(&["event:emit", "task:schedule"], &["tool:echo"])
}

/// Something that happens in between, and what it is.
type Noise = (&'static str, fn(&mut House));

/// Indexes two files; `noise` happens in between.
fn run(noise: impl Fn(&mut House)) -> Digests {
    let mut house = House::open();
    house.ask("operator", spawn("a", grant())).expect("allowed");
    noise(&mut house);
    house.ask("a", register("docs/a.md", "one")).expect("allowed");
    noise(&mut house);
    house.ask("a", register("docs/b.md", "two")).expect("allowed");
    noise(&mut house);
    house.ask("a", schedule("t", 5_000)).expect("allowed");
    noise(&mut house);
    digests(house.kernel.world())
}

#[test]
fn runs_that_did_the_same_have_the_same_world() {
    let plain = run(|_| {});
    assert_eq!(plain, run(|_| {}), "the same log has the same digests");
    let noises: [Noise; 7] = [
        ("time passes", |house| {
            house.later(7);
            house.ask("operator", observe("x.y")).expect("allowed");
        }),
        ("a new grant of the same content", |house| {
            house.ask("operator", issue("a", grant())).expect("allowed");
        }),
        ("a turn ends", |house| {
            let upto = house.kernel.world().next_seq();
            house.host("a", Operation::EndTurn { upto }).expect("allowed");
        }),
        ("something is refused", |house| {
            house.ask("a", stop("a")).expect_err("refused");
        }),
        ("a call is made", |house| {
            house.host("a", Operation::Return(outcome("pure", None))).expect("allowed");
        }),
        ("an operation has an id", |house| {
            house.op_id = Some((toka_types::OpId([house.log.len() as u8; 16]), house.at));
        }),
        ("suspended and resumed", |house| {
            house.ask("operator", suspend("a")).expect("allowed");
            house.ask("operator", resume("a")).expect("allowed");
        }),
    ];
    for (what, noise) in noises {
        let noisy = run(noise);
        assert_eq!(noisy.world, plain.world, "{what}");
        assert_ne!(noisy.fold, plain.fold, "{what}");
    }
}

#[test]
fn a_restart_at_any_event_changes_neither() {
    let plain = run(|_| {});
    let restarted = run(|house| {
        let mut kernel = Kernel::new();
        for event in &house.log {
            kernel.replay(&event.header).expect("readable");
        }
        house.kernel = kernel;
    });
    assert_eq!(restarted, plain);
}

#[test]
fn runs_that_did_something_else_have_another_world() {
    let plain = run(|_| {}).world;
    let others: [Noise; 7] = [
        ("another file", |house| {
            house.ask("a", register("docs/c.md", "three")).expect("allowed");
        }),
        ("another task", |house| {
            house.ask("a", schedule("u", 5_000)).expect("allowed");
        }),
        ("another grant", |house| {
            house.ask("operator", issue("a", terms(&["event:emit", "task:schedule"], &[]))).expect("allowed");
        }),
        ("another agent", |house| {
            let _ = house.ask("operator", spawn("b", terms(&[], &[])));
        }),
        ("one suspended at the end", |house| {
            if house.kernel.world().tasks_of(EntityId::named("a")).count() > 0 {
                house.ask("operator", suspend("a")).expect("allowed");
            }
        }),
        ("one without a grant at the end", |house| {
            if house.kernel.world().tasks_of(EntityId::named("a")).count() > 0 {
                let grant = house.grant_of("a");
                house.ask("operator", Operation::RevokeGrant(grant)).expect("allowed");
            }
        }),
        ("a value of its own of another agent", |house| {
            let _ = house.ask("operator", spawn("b", terms(&["event:emit"], &[])));
            house.ask("b", register("docs/a.md", "one")).expect("allowed");
        }),
    ];
    let mut worlds = vec![plain];
    for (what, other) in others {
        let world = run(other).world;
        assert!(!worlds.contains(&world), "{what}");
        worlds.push(world);
    }
}
