//! What a sealed log asks of the kernel: erasures are the host's, and the words of refusals are sealed.

use std::sync::Arc;

use toka_kernel::Code;
use toka_types::facts::{Facts, SubjectErased};
use toka_types::{Digest, EntityId, Gone, KeyId, Operation, Payload, Seal, SealError, Subject};

use crate::custom::Vote;
use crate::house::{House, code, custom, name, observe, payload};

/// Turns every bit, and seals for some authors alone.
struct Turned(fn(EntityId) -> bool);

impl Turned {
    fn allows(&self, subject: &Subject) -> Result<(), SealError> {
        match subject {
            Subject::Author(author) if (self.0)(*author) => Ok(()),
            other => Err(SealError(format!("{other:?} has no keys"))),
        }
    }
}

impl Seal for Turned {
    fn seal(&self, subject: &Subject, content: &Payload) -> Result<Payload, SealError> {
        self.allows(subject)?;
        let turned: Vec<u8> = content.bytes().iter().map(|byte| !byte).collect();
        Ok(Payload::new(turned))
    }

    fn open(&self, _: &Payload) -> Result<Payload, Gone> {
        Err(Gone::Sealed)
    }

    fn blind(&self, subject: &Subject, digest: &Digest) -> Result<Digest, SealError> {
        self.allows(subject)?;
        Ok(Digest(digest.0.map(|byte| !byte)))
    }

    fn is_stored_as(&self, _: &Subject, _: &Payload, _: &Digest) -> bool {
        false
    }

    fn overhead(&self) -> usize {
        0
    }
}

#[test]
fn an_erasure_is_the_host_s_alone_and_changes_nothing_in_the_world() {
    let mut house = House::inhabited();
    let erase = || Operation::Erase { keys: vec![KeyId([7; 16]), KeyId([8; 16])] };
    assert_eq!(code(house.ask("operator", erase())), Some(Code::HostOnly), "whatever the grant");
    let before = house.kernel.world().agents().count();
    house.host("operator", erase()).expect("the host may");
    assert_eq!(house.last_event().header.kind, "subject.erased");
    let keys = vec![KeyId([7; 16]), KeyId([8; 16])];
    assert_eq!(house.last_facts(), Facts::SubjectErased(SubjectErased { keys }));
    assert_eq!(house.kernel.world().agents().count(), before);
    let many = Operation::Erase { keys: vec![KeyId([7; 16]); toka_kernel::limits::MAX_ERASED + 1] };
    assert_eq!(code(house.host("operator", many)), Some(Code::LimitCount));
    assert_eq!(code(House::closed().host("operator", erase())), Some(Code::LogNotOpen));
}

#[test]
fn the_words_of_a_refusal_are_sealed_or_left_out() {
    let refused = |seal: Option<Turned>| {
        let mut house = House::inhabited();
        if let Some(seal) = seal {
            house.kernel.seal_with(Arc::new(seal));
        }
        house.ask("a", observe("tool.x")).expect_err("reserved");
        let event = house.last_event();
        let content: Vec<u8> = event.content.iter().flat_map(|content| content.bytes().to_vec()).collect();
        assert_eq!(event.header.causal_digest(), event.header.id);
        (content, event.header.content.len())
    };
    let (plain, _) = refused(None);
    let (sealed, _) = refused(Some(Turned(|author| author == EntityId::named("a"))));
    assert_eq!(sealed, plain.iter().map(|byte| !byte).collect::<Vec<_>>());
    assert_eq!(refused(Some(Turned(|_| false))), (Vec::new(), 0), "the refusal stands without its words");
}

#[test]
fn what_an_opcode_says_is_sealed_or_refused() {
    let ask = |may: fn(EntityId) -> bool| {
        let mut house = House::inhabited();
        house.kernel.register(name("vote"), Arc::new(Vote));
        house.kernel.seal_with(Arc::new(Turned(may)));
        let reply = house.ask("a", custom("vote", b"ann"));
        (reply, house)
    };
    let (reply, house) = ask(|_| true);
    reply.expect("it can be sealed");
    assert_eq!(
        house.last_event().content[0].bytes(),
        payload(3).bytes().iter().map(|b| !b).collect::<Vec<_>>()
    );
    let (reply, house) = ask(|_| false);
    assert_eq!(code(reply), Some(Code::OpcodeRefused));
    assert_eq!(house.last(1), ["capability.denied"], "and nothing was set");
}
