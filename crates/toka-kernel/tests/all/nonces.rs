//! What somebody outside signed is good once, whatever becomes of it.

use toka_kernel::step::Accepted;
use toka_kernel::{Code, Kernel, Submission, digests};
use toka_types::nonce::{MAX_NONCES, MAX_WINDOW, Nonce};
use toka_types::operation::{Authority, Envelope};
use toka_types::{GrantId, OpId, Operation, Timestamp};

use crate::house::*;

fn nonce(n: u64) -> Nonce {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    Nonce(bytes)
}

fn signed(house: &House, who: &str, n: u64, operation: Operation) -> Envelope {
    signed_until(house, who, n, Timestamp(house.at.0 + 1_000), operation)
}

fn signed_until(house: &House, who: &str, n: u64, until: Timestamp, operation: Operation) -> Envelope {
    let authority = Authority::Signed { grant: house.grant_of(who), nonce: nonce(n), until };
    Envelope { authority, ..house.envelope(who, operation) }
}

#[test]
fn an_envelope_that_was_accepted_is_refused_again() {
    for operation in [observe("x.y"), request("echo", "pure", "x"), Operation::Observe(Vec::new())] {
        let mut house = House::inhabited();
        let envelope = signed(&house, "a", 1, operation.clone());
        house.submit(envelope.clone()).expect("signed for the first time");
        let events = house.log.len();
        assert_eq!(code(house.submit(envelope.clone())), Some(Code::NonceReplayed), "{operation:?}");
        assert_eq!(house.last(1), ["capability.denied"]);
        house.submit(signed(&house, "b", 1, operation.clone())).expect("b's nonces are b's");
        let mut again = Kernel::new();
        for event in &house.log[..events] {
            again.replay(&event.header).expect("readable");
        }
        let mut restarted = House { kernel: again, ..house.clone() };
        assert_eq!(code(restarted.submit(envelope)), Some(Code::NonceReplayed), "after a restart too");
    }
}

#[test]
fn a_captured_envelope_that_was_denied_is_worth_nothing_after_a_grant() {
    let mut house = House::inhabited();
    house.ask("operator", spawn("narrow", terms(&["event:emit(kind=a.*)"], &[]))).expect("allowed");
    let captured = signed(&house, "narrow", 1, observe("x.y"));
    assert_eq!(code(house.submit(captured.clone())), Some(Code::CapabilityMissing));
    house.ask("operator", issue("narrow", terms(&["event:emit"], &[]))).expect("allowed");
    let grant = house.grant_of("narrow");
    let Authority::Signed { nonce, until, .. } = captured.authority else { unreachable!() };
    // Even if the grant that it names were the new one.
    let captured = Envelope { authority: Authority::Signed { grant, nonce, until }, ..captured };
    assert_eq!(code(house.submit(captured)), Some(Code::NonceReplayed));
    house.submit(signed(&house, "narrow", 2, observe("x.y"))).expect("signed anew it is good");
}

#[test]
fn what_is_turned_away_unseen_uses_up_what_was_signed_and_does_nothing() {
    let mut house = House::inhabited();
    let envelope = signed(&house, "a", 1, observe("x.y"));
    let away = Submission { turned_away: true, ..Submission::new(envelope.clone()) };
    let step = house.kernel.step(vec![away.clone(), away], house.at);
    assert_eq!(step.replies[0], Ok(Accepted::Events(0..1)));
    assert_eq!(code(step.replies[1].clone()), Some(Code::NonceReplayed));
    let kinds: Vec<&str> = step.events.iter().map(|event| event.header.kind.as_str()).collect();
    assert_eq!(kinds, ["nonce.burnt", "capability.denied"]);
    house.log.extend(step.events);
    assert_eq!(code(house.submit(envelope)), Some(Code::NonceReplayed));
    // What was not signed has nothing that could be used up.
    let bare = house.envelope("a", observe("x.y"));
    let away = Submission { turned_away: true, ..Submission::new(bare) };
    let step = house.kernel.step(vec![away], house.at);
    assert_eq!((step.replies, step.events.len()), (vec![Ok(Accepted::Events(0..0))], 0));
}

#[test]
fn denials_that_are_only_counted_use_up_what_was_signed_too() {
    let mut house = House::inhabited();
    let wrong = || Operation::RevokeGrant(GrantId(99));
    for n in 0..20 {
        let envelope = signed(&house, "a", n, wrong());
        assert_eq!(code(house.submit(envelope.clone())), Some(Code::GrantUnknown));
        assert_eq!(code(house.submit(envelope)), Some(Code::NonceReplayed));
    }
    assert!(house.log.iter().any(|event| event.header.kind == "nonce.burnt"));
    let kinds = |kind: &str| house.log.iter().filter(|event| event.header.kind == kind).count();
    assert!(kinds("nonce.burnt") + kinds("capability.denied") >= 20);
}

#[test]
fn a_repeat_is_answered_with_the_first_event_and_uses_up_its_own_signature() {
    let mut house = House::inhabited();
    let op_id = Some((OpId([7; 16]), Timestamp(house.at.0 + 10_000)));
    let first = Envelope { op_id, ..signed(&house, "a", 1, observe("x.y")) };
    house.submit(first).expect("done");
    let event = house.last_id();
    let retry = Envelope { op_id, ..signed(&house, "a", 2, observe("x.y")) };
    assert_eq!(house.submit(retry.clone()), Ok(toka_kernel::step::Accepted::Repeated(event)));
    assert_eq!(house.last(1), ["nonce.burnt"]);
    assert_eq!(code(house.submit(retry)), Some(Code::NonceReplayed));
}

#[test]
fn what_is_signed_ends_soon_and_is_forgotten_then() {
    let mut house = House::inhabited();
    let far = Timestamp(house.at.0 + MAX_WINDOW.as_micros() as i64);
    house.submit(signed_until(&house, "a", 1, far, observe("x.y"))).expect("at the bound");
    let further = signed_until(&house, "a", 2, Timestamp(far.0 + 1), observe("x.y"));
    assert_eq!(code(house.submit(further)), Some(Code::NonceTooFar));
    let ended = signed_until(&house, "a", 3, house.at, observe("x.y"));
    assert_eq!(code(house.submit(ended)), Some(Code::NonceEnded));
    let empty = digests(House { at: far, ..House::inhabited() }.kernel.world());
    house.at = far;
    house.ask("b", observe("x.y")).expect("allowed");
    // Whatever is remembered of a signature is a part of the world, and nothing is.
    let mut plain = House::inhabited();
    plain.at = far;
    plain.ask("b", observe("x.y")).expect("allowed");
    assert_eq!(digests(plain.kernel.world()).world, digests(house.kernel.world()).world);
    assert_ne!(empty.fold, digests(house.kernel.world()).fold);
    house.submit(signed(&house, "a", 1, observe("x.y"))).expect("long ago");
}

#[test]
fn an_origin_that_signs_too_much_waits() {
    let mut house = House::inhabited();
    for n in 0..MAX_NONCES as u64 {
        house.submit(signed(&house, "a", n, observe("x.y"))).expect("below the bound");
    }
    let more = signed(&house, "a", u64::MAX, observe("x.y"));
    assert_eq!(code(house.submit(more)), Some(Code::NonceFull));
    house.submit(signed(&house, "b", 0, observe("x.y"))).expect("b has room");
    house.later(1_000);
    house.submit(signed(&house, "a", u64::MAX, observe("x.y"))).expect("the first ones have ended");
}

#[test]
fn a_fork_accepts_nothing_that_was_used_before_it() {
    let mut house = House::inhabited();
    let envelope = signed(&house, "a", 1, observe("x.y"));
    house.submit(envelope.clone()).expect("allowed");
    let header = crate::forks::forked(&house, b"a fork");
    house.kernel.replay(&header).expect("readable");
    assert_eq!(code(house.submit(envelope)), Some(Code::NonceReplayed));
    let under_the_old_grant = signed(&house, "a", 2, observe("x.y"));
    assert_eq!(code(house.submit(under_the_old_grant)), Some(Code::GrantRevoked));
    house.ask("operator", issue("a", terms(&["**"], &[]))).expect("given anew");
    let fresh = signed(&house, "a", 3, observe("x.y"));
    house.submit(fresh).expect("what was not used is good");
}
