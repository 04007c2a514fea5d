//! The same questions give the same log, and the same log the same world, however it is read.

use std::sync::Arc;

use proptest::prelude::*;
use toka_kernel::apply::apply_stored;
use toka_kernel::decide::decide;
use toka_kernel::saved::Saved;
use toka_kernel::{Kernel, Reply, WorldState, digests};
use toka_types::{Digest, Envelope, Event, EventHeader, EventId, Timestamp};

use crate::house::{House, capabilities};
use crate::program::{Asked, program, submissions};

/// What came of a program, of which each envelope was a step of its own.
struct Ran {
    house: House,
    asked: Vec<Envelope>,
    replies: Vec<Reply>,
}

fn run(program: &[Asked]) -> Ran {
    let (mut house, mut envelopes, mut replies) = (crate::program::with_money(), Vec::new(), Vec::new());
    for asked in program {
        house.at = Timestamp(house.at.0 + asked.after);
        let envelope = asked.in_house(&house);
        envelopes.push(envelope.clone());
        replies.push(house.submit(envelope));
    }
    Ran { house, asked: envelopes, replies }
}

/// The world of these events as a start reads it: from bytes.
fn folded(log: &[Arc<Event>]) -> WorldState {
    let mut world = WorldState::default();
    for event in log {
        let stored = EventHeader::decode(&event.header.to_bytes()).expect("what was recorded can be read");
        assert_eq!(stored, event.header);
        apply_stored(&mut world, &stored).expect("what was recorded can be folded in");
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_program_run_twice_and_its_log_read_back_give_one_world(program in program(40)) {
        let (Ran { house: first, replies: one, .. }, Ran { house: second, replies: two, .. }) = (run(&program), run(&program));
        prop_assert_eq!(one, two);
        prop_assert_eq!(&first.log, &second.log);
        let world = folded(&first.log);
        prop_assert_eq!(&world, first.kernel.world());
        prop_assert_eq!(digests(&world), digests(second.kernel.world()));
        let saved = rmp_serde::to_vec(&Saved(&world)).expect("plain data");
        let Saved(read): Saved<WorldState> = rmp_serde::from_slice(&saved).expect("a snapshot can be read back");
        prop_assert_eq!(&read, &world);
    }

    #[test]
    fn no_value_comes_from_nowhere_or_is_lost(program in program(60)) {
        let Ran { house, .. } = run(&program);
        // After each event: a crash leaves the log at any of them.
        let mut world = WorldState::default();
        for event in &house.log {
            apply_stored(&mut world, &event.header).expect("what was recorded can be folded in");
            let sum: i128 = world.ledger().accounts().map(|account| account.balance().0).sum();
            prop_assert_eq!(sum, 0);
            for account in world.ledger().accounts() {
                prop_assert!(account.held().0 >= 0);
            }
        }
    }

    #[test]
    fn every_event_fits_a_log_and_names_only_what_was(program in program(40)) {
        let Ran { house, .. } = run(&program);
        for (seq, event) in house.log.iter().enumerate() {
            prop_assert_eq!(event.header.seq, seq as u64);
            prop_assert_eq!(event.header.id, event.header.causal_digest());
            prop_assert!(event.header.check_bounds().is_ok());
            let content: Vec<_> = event.content.iter().map(|payload| payload.content_ref()).collect();
            prop_assert_eq!(&content, &event.header.content);
            let known = |id: &EventId| *id == EventId::default() || house.log[..seq].iter().any(|earlier| earlier.header.id == *id);
            prop_assert!(event.header.parents.iter().all(known));
        }
    }

    #[test]
    fn one_batch_is_the_same_as_many(program in program(40), cut in 0usize..40) {
        let program: Vec<Asked> = program.into_iter().map(|asked| Asked { after: 0, ..asked }).collect();
        let Ran { house: single, asked, replies } = run(&program);
        let mut batched = crate::program::with_money();
        let (first, second) = asked.split_at(cut.min(asked.len()));
        let mut answered = Vec::new();
        for part in [first, second] {
            let step = batched.kernel.step(submissions(part), batched.at);
            batched.log.extend(step.events);
            answered.extend(step.replies);
        }
        prop_assert_eq!(&single.log, &batched.log);
        prop_assert_eq!(single.kernel.world(), batched.kernel.world());
        prop_assert_eq!(replies.iter().map(Result::is_ok).collect::<Vec<_>>(), answered.iter().map(Result::is_ok).collect::<Vec<_>>());
    }

    #[test]
    fn decide_answers_everything_and_changes_nothing(before in program(20), asked in program(20), at in any::<i64>()) {
        let Ran { house, .. } = run(&before);
        for world in [house.kernel.world(), &WorldState::default()] {
            let untouched = world.clone();
            for one in &asked {
                let answer = decide(world, &one.envelope, Timestamp(at));
                prop_assert_eq!(answer, decide(world, &one.envelope, Timestamp(at)));
            }
            prop_assert_eq!(world, &untouched);
        }
    }

    #[test]
    fn a_step_at_any_time_answers_each(program in program(20), at in any::<i64>()) {
        let mut kernel = Kernel::new();
        let asked: Vec<Envelope> = program.iter().map(|asked| asked.envelope.clone()).collect();
        let step = kernel.step(submissions(&asked), Timestamp(at));
        prop_assert_eq!(step.replies.len(), program.len());
    }

    #[test]
    fn damaged_facts_are_an_error_or_a_fold_never_a_panic(program in program(12), at in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(), bits in 1u8..) {
        let Ran { house, .. } = run(&program);
        let mut world = WorldState::default();
        let damaged = at.index(house.log.len());
        for (seq, event) in house.log.iter().enumerate() {
            let mut header = event.header.clone();
            if seq == damaged && !header.facts.is_empty() {
                let byte = byte.index(header.facts.len());
                header.facts[byte] ^= bits;
            }
            let before = world.clone();
            if apply_stored(&mut world, &header).is_err() {
                prop_assert_eq!(&world, &before);
            }
        }
        // Whatever came of it, the world can be asked and digested.
        let _ = digests(&world);
        for one in &program {
            let _ = decide(&world, &one.envelope, house.at);
        }
    }
}

#[test]
fn facts_of_a_kernel_s_kind_that_this_build_does_not_know_are_refused() {
    let house = crate::program::with_money();
    let check = |kind: &str, facts: &[u8], readable: bool| {
        let mut header = house.last_event().header.clone();
        (header.kind, header.facts) = (crate::house::kind(kind), facts.to_vec());
        assert_eq!(house.clone().kernel.replay(&header).is_ok(), readable, "{kind} {facts:?}");
    };
    check("x.y", b"", true);
    check("x.y", b"\x80", true);
    check("x.y", b"\x81\xaadimensions\x03", true);
    check("x.y", b"\x80\x80", false);
    check("x.y", b"\xc0", false);
    check("x.y", b"text", false);
    check("approval.asked", b"", false);
    check("tool.unheard-of", b"\x80", false);
    check("agent.stopped", b"", false);
}

#[test]
fn a_log_that_cuts_a_grant_from_itself_ends_every_walk() {
    use toka_types::facts::{Facts, GrantIssued};
    let mut house = crate::program::with_money();
    let (a, grant) = (toka_types::EntityId::named("a"), toka_types::GrantId(50));
    let uses = capabilities(&["**"]);
    let facts =
        GrantIssued { grant, subject: a, cut_from: grant, uses, delegates: Vec::new(), expires: None };
    let mut header = house.last_event().header.clone();
    header.kind = crate::house::kind("grant.issued");
    header.facts = toka_kernel::codec::encode(&Facts::GrantIssued(facts), None);
    header.id = EventId(Digest::of(b"forged"));
    house.kernel.replay(&header).expect("readable");
    assert_eq!(
        crate::house::code(house.ask("operator", crate::house::stop("a"))),
        Some(toka_kernel::Code::NotADescendant)
    );
    digests(house.kernel.world());
}
