//! A fork: the same world, and events of its own from there on.

use toka_kernel::Code;
use toka_types::facts::{Facts, LogForked, Role, kinds};
use toka_types::{Digest, EntityId, EventHeader, EventId, Labels};

use crate::house::*;

/// The event with which a fork of the house's log begins.
pub(crate) fn forked(house: &House, nonce: &[u8]) -> EventHeader {
    let last = &house.last_event().header;
    let facts = LogForked { base: name("main"), seq: last.seq, id: last.id, nonce: Digest::of(nonce) };
    let mut header = EventHeader {
        seq: last.seq + 1,
        id: EventId::default(),
        at: last.at,
        kind: kind(kinds::LOG_FORKED),
        author: EntityId::operator(),
        prev: None,
        parents: vec![last.id],
        labels: Labels::none(),
        content: Vec::new(),
        facts: toka_kernel::codec::encode(&Facts::LogForked(facts), None),
    };
    header.id = header.causal_digest();
    header
}

#[test]
fn the_same_events_get_other_ids_in_each_fork() {
    let mut base = House::inhabited();
    base.ask("a", observe("x.y")).expect("allowed");
    let (mut ids, mut forks) = (Vec::new(), Vec::new());
    for nonce in [b"one", b"two"] {
        let mut fork = House::inhabited();
        fork.ask("a", observe("x.y")).expect("allowed");
        assert_eq!(fork.last_id(), base.last_id(), "the same log so far");
        let header = forked(&fork, nonce);
        fork.kernel.replay(&header).expect("readable");
        // One who has spoken before, and one who has not.
        for author in ["a", "b"] {
            let issued = fork.kernel.world().grant(fork.grant_of(author)).expect("a grant").clone();
            let terms = terms(&["**"], &[]);
            assert!(issued.revoked, "what the base gave holds there");
            fork.ask("operator", issue(author, terms)).expect("the operator's own grant stands");
            fork.ask(author, observe("x.z")).expect("given anew");
            assert_eq!(fork.last_event().header.prev, Some(header.id), "{author}");
            ids.push(fork.last_id());
        }
        fork.ask("a", observe("x.z")).expect("allowed");
        assert_eq!(
            fork.last_event().header.prev,
            Some(ids[ids.len() - 2]),
            "then the author's chain goes on"
        );
        forks.push(fork);
    }
    for author in ["a", "b"] {
        base.ask(author, observe("x.z")).expect("allowed");
        ids.push(base.last_id());
    }
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
    let fold = |house: &House| toka_kernel::digests(house.kernel.world()).fold;
    assert_ne!(fold(&forks[0]), fold(&forks[1]));
}

#[test]
fn in_a_fork_nobody_has_a_right_but_the_operator_and_whom_it_gives_one() {
    let mut fork = House::inhabited();
    fork.ask("operator", create_user("ann", Role::Admin, terms(&["**"], &["**"]))).expect("allowed");
    fork.ask("ann", observe("x.y")).expect("allowed");
    let base = fork.kernel.clone();
    fork.kernel.replay(&forked(&fork, b"n")).expect("readable");
    for who in ["a", "a/child", "b", "ann"] {
        assert_eq!(code(fork.ask(who, observe("x.y"))), Some(Code::GrantRevoked), "{who}");
    }
    let old = fork.grant_of("a");
    fork.ask("operator", issue("a", terms(&["**"], &["**"]))).expect("the operator gives anew");
    fork.ask("a", observe("x.y")).expect("allowed");
    assert_eq!(code(fork.ask("a/child", observe("x.y"))), Some(Code::GrantRevoked), "and to nobody else");
    let mut envelope = fork.envelope("a", observe("x.y"));
    envelope.authority = toka_types::operation::Authority::Grant(old);
    assert_eq!(code(fork.submit(envelope)), Some(Code::GrantRevoked));
    assert!(!base.world().grant(old).expect("a grant").revoked, "the base is as it was");
}
