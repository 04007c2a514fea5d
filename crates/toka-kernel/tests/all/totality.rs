//! Nothing that anybody may ask makes the kernel panic: the fuzz target `operation`, on its seeds and on arbitrary bytes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use toka_kernel::testing::operations;

/// Programs that are tried; `TOKA_PROGRAMS` says how many, and 1000000 is the long form.
fn programs() -> u32 {
    std::env::var("TOKA_PROGRAMS").map_or(300, |text| text.parse().expect("TOKA_PROGRAMS is a number"))
}

fn seeds() -> Vec<Vec<u8>> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/operation");
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).expect("seeds").map(|e| e.expect("a seed").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a seed")).collect()
}

fn tried(mut runner: TestRunner) -> BTreeSet<String> {
    let seen = RefCell::new(BTreeSet::new());
    let run = runner.run(&prop::collection::vec(any::<u8>(), 0..1500), |bytes| {
        seen.borrow_mut().extend(operations(&bytes));
        Ok(())
    });
    run.unwrap_or_else(|failed| panic!("{failed}"));
    seen.into_inner()
}

#[test]
fn whatever_is_asked_is_decided_and_can_be_read_back() {
    seeds().iter().for_each(|seed| drop(operations(seed)));
    let config = |cases| ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    tried(TestRunner::new(config(programs())));
    // Most of it is refused; that not all of it is shows that the bytes reach what they are about.
    let always = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let kinds = tried(TestRunner::new_with_rng(config(600), always));
    for kind in [
        "agent.spawned",
        "agent.stopped",
        "approval.requested",
        "capability.denied",
        "grant.issued",
        "grant.revoked",
        "ledger.opened",
        "message.sent",
        "nonce.burnt",
        "note.a",
        "plan.committed",
        "policy.set",
        "task.scheduled",
        "tool.requested",
        "tool.returned",
        "user.created",
    ] {
        assert!(kinds.contains(kind), "no {kind} in {kinds:?}");
    }
}
