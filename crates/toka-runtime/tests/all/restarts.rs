//! What the next start finds.

use std::sync::Arc;

use toka_kernel::opcode::{Asked, OpcodeHandler, Outcome};
use toka_runtime::runtime::Runtime;
use toka_runtime::{AgentContext, EventKind, Filter};
use toka_types::facts::Register;
use toka_types::operation::Authority;
use toka_types::{Digest, EntityId, Envelope, Name, Operation, Payload};

use crate::support::{Doing, Listener, Notes, count, in_vault, kinds};

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_durable() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = in_vault(&folder.path().join("vault"));
    let runtime = Runtime::new(config.clone()).await.expect("a runtime");
    let notes = Notes::default();
    runtime.register_agent("listener", Listener::new("item", &notes)).await.expect("registered");
    let writer = Doing(|ctx: AgentContext| async move {
        for n in 0..300 {
            ctx.emit("item", &n).await?;
        }
        Ok(())
    });
    runtime.register_agent("writer", writer).await.expect("registered");
    runtime.start().await.expect("started");
    runtime.idle().await;
    runtime.stop().await.expect("stopped");
    let before = runtime.replay(.., |_, _| {}).await.expect("the log can be read after the stop");
    let events = kinds(&runtime);
    drop(runtime);
    assert_eq!(notes.all().len(), 300);

    let runtime = Runtime::new(config).await.expect("the vault is free");
    assert_eq!(kinds(&runtime), events);
    assert_eq!(runtime.world(toka_kernel::digests).await.expect("a world"), before);
    let again = Notes::default();
    runtime.register_agent("listener", Listener::new("item", &again)).await.expect("registered");
    runtime.start().await.expect("started");
    runtime.idle().await;
    assert_eq!(again.all(), Vec::<String>::new(), "what was dealt with is not handed out again");
    assert_eq!(count(&runtime, "agent.spawned"), 2);
    runtime.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_recorded_as_dealt_with_is_handed_out_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = in_vault(&folder.path().join("vault"));
    for round in 1..=3 {
        let runtime =
            Runtime::new(config.clone()).await.expect("the vault of a runtime that was dropped is free");
        let notes = Notes::default();
        runtime.register_agent("listener", Listener::new("item", &notes)).await.expect("registered");
        runtime.start().await.expect("started");
        runtime.emit("item", &round).await.expect("recorded");
        runtime.idle().await;
        // No turn is recorded within so short a time; a machine that is that slow hands out less.
        let handed = notes.all().len();
        assert!((1..=round).contains(&handed), "{handed} in round {round}");
        drop(runtime);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_waits_for_its_receiver() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = in_vault(&folder.path().join("vault"));
    let sender = || {
        Doing(|ctx: AgentContext| async move {
            ctx.send("receiver", &"hello").await?;
            Ok(())
        })
    };
    for round in 0..3 {
        let runtime = Runtime::new(config.clone()).await.expect("a runtime");
        let notes = Notes::default();
        if round != 1 {
            let receiver = Listener { interest: vec![EventKind::Message], notes: notes.clone() };
            runtime.register_agent("receiver", receiver).await.expect("registered");
        } else {
            runtime.register_agent("sender", sender()).await.expect("registered");
        }
        runtime.start().await.expect("started");
        runtime.idle().await;
        assert_eq!(runtime.problems(), Vec::<String>::new());
        runtime.stop().await.expect("stopped");
        assert_eq!(notes.all().len(), usize::from(round == 2), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_miss_nothing_and_see_nothing_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = in_vault(&folder.path().join("vault"));
    config.event_bus.buffer_size = 16;
    let runtime = Arc::new(Runtime::new(config).await.expect("a runtime"));
    runtime.start().await.expect("started");
    let emitters: Vec<_> = (0..4)
        .map(|_| {
            let runtime = Arc::clone(&runtime);
            tokio::spawn(async move {
                for n in 0..250 {
                    runtime.emit("item", &n).await.expect("recorded");
                }
            })
        })
        .collect();
    let mut readers = Vec::new();
    for start in [0, 1, 17, 400, 1000] {
        let mut events = runtime.bus().subscribe_from(start, Filter::all());
        readers.push(tokio::spawn(async move {
            for expected in start..=1000 {
                // A look that is given up half way loses nothing.
                let soon = std::time::Duration::from_micros(50);
                let event = loop {
                    if let Ok(event) = tokio::time::timeout(soon, events.recv()).await {
                        break event.expect("readable");
                    }
                };
                assert_eq!(event.header.seq, expected);
            }
        }));
    }
    for task in emitters.into_iter().chain(readers) {
        task.await.expect("no reader missed anything");
    }
    runtime.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_runtime_that_is_dropped_frees_its_vault_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = in_vault(&folder.path().join("vault"));
    for round in 0..20 {
        let runtime = Runtime::new(config.clone()).await.expect("the vault is free");
        let waiting = Doing(|ctx: AgentContext| async move {
            ctx.emit("x", &()).await?;
            std::future::pending().await
        });
        runtime.register_agent("waiting", waiting).await.expect("registered");
        runtime.start().await.expect("started");
        runtime.emit("round", &round).await.expect("recorded");
        let second = Runtime::new(config.clone()).await;
        assert!(second.is_err(), "a second writer is kept out");
    }
}

/// Keeps the last word on each subject, which is `subject=word`.
struct LastWord;

impl OpcodeHandler for LastWord {
    fn decide(&self, asked: &Asked<'_>) -> Result<Vec<Outcome>, String> {
        let text = std::str::from_utf8(asked.input).map_err(|_| "a text is expected")?;
        let (subject, word) = text.split_once('=').ok_or_else(|| format!("'{text}' has no '='"))?;
        let register =
            Register { key: Digest::of(subject.as_bytes()), value: Some(Digest::of(word.as_bytes())) };
        let content = Some(Payload::new(word.as_bytes()));
        let topic = Name::new("said").map_err(|e| e.to_string())?;
        Ok(vec![Outcome::Set(vec![register]), Outcome::Emit { topic, content }])
    }
}

#[tokio::test]
async fn a_vault_with_an_opcode_goes_on_in_a_runtime_that_never_heard_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = in_vault(&folder.path().join("vault"));
    let last_word = || Name::new("last-word").expect("a name");
    let said = |input: &[u8], grant| Envelope {
        origin: EntityId::operator(),
        authority: Authority::Grant(grant),
        op_id: None,
        causes: Vec::new(),
        operation: Operation::Custom { opcode: last_word(), input: input.to_vec() },
    };
    let operator = async |runtime: &Runtime| {
        runtime.world(|world| world.operator_grant()).await.ok().flatten().expect("open")
    };
    let kept = async |runtime: &Runtime| {
        let key = Digest::of(b"weather");
        runtime.world(move |world| world.custom(&last_word(), key)).await.expect("a world")
    };
    let with = Runtime::builder(config.clone()).opcode(last_word(), Arc::new(LastWord));
    let runtime = with.build().await.expect("a runtime");
    runtime.start().await.expect("started");
    let grant = operator(&runtime).await;
    for word in ["rain", "sun"] {
        let input = format!("weather={word}");
        let events = runtime.submit(said(input.as_bytes(), grant)).await.expect("decided");
        let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(kinds, ["custom.set", "custom.emit"]);
    }
    let refused = runtime.submit(said(b"nonsense", grant)).await.expect_err("the handler refuses");
    assert!(refused.to_string().contains("opcode.refused"), "{refused}");
    let before = runtime.world(toka_kernel::digests).await.expect("a world");
    runtime.stop().await.expect("stopped");
    drop(runtime);

    let plain = Runtime::new(config).await.expect("any build opens it");
    plain.start().await.expect("started");
    assert_eq!(kept(&plain).await, Some(Digest::of(b"sun")));
    assert_eq!(plain.replay(.., |_, _| {}).await.expect("readable"), before);
    let unknown = plain.submit(said(b"weather=snow", grant)).await.expect_err("nobody decides it here");
    assert!(unknown.to_string().contains("opcode.unknown"), "{unknown}");
    plain.emit("item", &1).await.expect("all else goes on");
    assert_eq!(kept(&plain).await, Some(Digest::of(b"sun")), "what was kept stands");
    plain.stop().await.expect("stopped");
}
