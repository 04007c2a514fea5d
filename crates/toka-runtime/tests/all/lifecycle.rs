//! Start, stop, register, remove; who is handed what.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use toka_runtime::runtime::{Runtime, RuntimeConfig, RuntimeError};
use toka_runtime::{Agent, AgentContext, AgentError, Event, EventKind, Filter};

use crate::support::{Doing, Listener, Notes, count, kinds, test_runtime};

#[tokio::test(flavor = "multi_thread")]
async fn starting_and_stopping_twice_does_nothing() {
    let runtime = Runtime::new(RuntimeConfig::default()).await.expect("a runtime");
    runtime.start().await.expect("started");
    runtime.start().await.expect("started already");
    runtime.emit("a.b", &1).await.expect("recorded");
    let (one, two) = tokio::join!(runtime.stop(), runtime.stop());
    one.expect("stopped");
    two.expect("stopped at once with the other");
    runtime.stop().await.expect("stopped already");
    let late = runtime.emit("a.b", &2).await;
    assert!(matches!(late, Err(RuntimeError::Asked(AgentError::Stopped))), "{late:?}");
    let again = runtime.start().await;
    assert!(matches!(again, Err(RuntimeError::Asked(AgentError::Stopped))), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_handed_what_they_want_and_nothing_of_their_own() {
    let test = test_runtime().await;
    let notes: Vec<Notes> = (0..4).map(|_| Notes::default()).collect();
    let wants = [EventKind::Any, EventKind::from("note"), EventKind::Message, EventKind::from("note.deep")];
    for (n, want) in wants.into_iter().enumerate() {
        let listener = Listener::new(want, &notes[n]);
        test.runtime.register_agent(&format!("listener-{n}"), listener).await.expect("registered");
    }
    let speaker = Doing(|ctx: AgentContext| async move {
        ctx.emit("note.deep.one", &1).await?;
        ctx.emit("notes", &2).await?;
        ctx.send("listener-2", &"for you").await?;
        ctx.send("listener-1", &"not for you").await?;
        Ok(())
    });
    test.runtime.register_agent("speaker", speaker).await.expect("registered");
    test.run_until_idle().await;
    let any = notes[0].all();
    for kind in ["note.deep.one", "notes", "message.sent", "agent.spawned"] {
        assert!(any.iter().any(|k| k == kind), "{kind} is missing in {any:?}");
    }
    assert!(!any.iter().any(|k| k == "turn.ended"), "{any:?}");
    assert_eq!(notes[1].all(), ["note.deep.one"]);
    assert_eq!(notes[2].all(), ["message.sent"]);
    assert_eq!(notes[3].all(), ["note.deep.one"]);
    test.runtime.stop().await.expect("stopped");
}

struct Echo;

impl Agent for Echo {
    fn interest(&self) -> Vec<EventKind> {
        vec![EventKind::Any]
    }

    async fn handle_with(&self, ev: Event, ctx: AgentContext) -> anyhow::Result<()> {
        if ev.kind.has_prefix("ask") {
            ctx.emit("answer.given", &ev.seq).await?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_does_not_hear_itself_and_names_its_cause() {
    let test = test_runtime().await;
    test.runtime.register_agent("echo", Echo).await.expect("registered");
    let asked = test.runtime.emit("ask.this", &1).await.expect("recorded");
    test.run_until_idle().await;
    assert_eq!(count(&test.runtime, "answer.given"), 1);
    let mut answers = test.runtime.bus().subscribe_from(0, Filter::all().kind("answer"));
    let answer = answers.try_recv().expect("readable").expect("there");
    assert_eq!(answer.header.parents, [asked.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_taken_once_and_free_again_after_removal() {
    let runtime = Arc::new(Runtime::new(RuntimeConfig::default()).await.expect("a runtime"));
    let notes = Notes::default();
    let listener = || Listener::new("x", &notes);
    runtime.register_agent("one", listener()).await.expect("registered before the start");
    assert!(runtime.register_agent("one", listener()).await.is_err());
    runtime.register_agent("two", listener()).await.expect("registered");
    runtime.remove_agent("two").await.expect("removed before it started");
    runtime.start().await.expect("started");
    assert_eq!(runtime.world(|world| world.agents().count()).await.expect("a world"), 1);
    assert!(runtime.register_agent("one", listener()).await.is_err());
    let both =
        tokio::join!(runtime.register_agent("two", listener()), runtime.register_agent("two", listener()));
    assert!(both.0.is_ok() != both.1.is_ok(), "one of two at once gets the name");
    runtime.remove_agent("one").await.expect("removed");
    assert!(runtime.remove_agent("one").await.is_err(), "it is gone");
    assert!(runtime.remove_agent("never").await.is_err());
    runtime.emit("x", &1).await.expect("recorded");
    runtime.idle().await;
    assert_eq!(notes.all(), ["x"], "the removed agent is handed nothing");
    runtime.register_agent("one", listener()).await.expect("the name is free");
    assert!(runtime.register_agent("no name!", listener()).await.is_err());
    runtime.stop().await.expect("stopped");
}

struct Leaver(Arc<Runtime>);

impl Agent for Leaver {
    fn interest(&self) -> Vec<EventKind> {
        vec![EventKind::from("leave")]
    }

    async fn handle(&self, _: Event) -> anyhow::Result<()> {
        Ok(self.0.remove_agent("leaver").await?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_can_remove_itself() {
    let runtime = Arc::new(Runtime::new(RuntimeConfig::default()).await.expect("a runtime"));
    runtime.start().await.expect("started");
    runtime.register_agent("leaver", Leaver(Arc::clone(&runtime))).await.expect("registered");
    runtime.emit("leave", &()).await.expect("recorded");
    runtime.idle().await;
    assert_eq!(count(&runtime, "agent.stopped"), 1);
    runtime.stop().await.expect("stopped");
}

struct Panicking;

impl Agent for Panicking {
    fn interest(&self) -> Vec<EventKind> {
        vec![EventKind::from("x")]
    }

    async fn handle(&self, ev: Event) -> anyhow::Result<()> {
        panic!("on {}", ev.kind);
    }

    async fn run(&self, _: AgentContext) -> anyhow::Result<()> {
        panic!("from the start");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_harms_nobody_else() {
    let test = test_runtime().await;
    let notes = Notes::default();
    test.runtime.register_agent("panicking", Panicking).await.expect("registered");
    test.runtime.register_agent("listener", Listener::new("x", &notes)).await.expect("registered");
    for n in 0..3 {
        test.runtime.emit("x.y", &n).await.expect("recorded");
    }
    let look = test.runtime.world(|_| -> usize { panic!("in the kernel's thread") }).await;
    assert!(matches!(look, Err(RuntimeError::Asked(AgentError::Invalid(_)))), "{look:?}");
    test.run_until_idle().await;
    assert_eq!(notes.all(), ["x.y"; 3]);
    let problems = test.runtime.problems();
    assert!(problems.len() == 1 && problems[0].contains("from the start"), "{problems:?}");
    test.runtime.stop().await.expect("stopped");
}

/// Hands a number on until it is 0.
struct Relay(String);

impl Agent for Relay {
    fn interest(&self) -> Vec<EventKind> {
        vec![EventKind::Message]
    }

    async fn handle_with(&self, ev: Event, ctx: AgentContext) -> anyhow::Result<()> {
        let left: u32 = ev.payload()?;
        if left > 0 {
            ctx.send(&self.0, &(left - 1)).await?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_one_serves_many_agents() {
    const AGENTS: usize = 24;
    let mut config = RuntimeConfig::default();
    config.event_bus.buffer_size = 1;
    if cfg!(not(feature = "vault")) {
        // Without a vault a ring of one would lose events by design; the queue is as long as the ring.
        config.event_bus.buffer_size = 4096;
    }
    let test = toka_runtime::testing::TestRuntime::new(config, |builder| builder).await.expect("a runtime");
    for n in 0..AGENTS {
        let relay = Relay(format!("relay-{}", (n + 1) % AGENTS));
        test.runtime.register_agent(&format!("relay-{n}"), relay).await.expect("registered");
    }
    for n in 0..AGENTS {
        let start = Doing(move |ctx: AgentContext| async move {
            ctx.send(&format!("relay-{n}"), &20_u32).await?;
            Ok(())
        });
        test.runtime.register_agent(&format!("starter-{n}"), start).await.expect("registered");
    }
    test.run_until_idle().await;
    let sent = kinds(&test.runtime).iter().filter(|kind| *kind == "message.sent").count();
    assert_eq!(sent, AGENTS * 21);
    test.runtime.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_runtime_lets_agents_finish() {
    let runtime = Runtime::new(RuntimeConfig::default()).await.expect("a runtime");
    let done = Arc::new(AtomicUsize::new(0));
    let noted = Arc::clone(&done);
    let last_words = Doing(move |ctx: AgentContext| {
        let noted = Arc::clone(&noted);
        async move {
            ctx.stopped().await;
            ctx.emit("last.words", &"goodbye").await?;
            noted.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    });
    runtime.register_agent("speaker", last_words).await.expect("registered");
    runtime.start().await.expect("started");
    runtime.idle().await;
    runtime.stop().await.expect("stopped");
    assert_eq!(done.load(Ordering::SeqCst), 1);
    assert_eq!(count(&runtime, "last.words"), 1);
}
