//! The crash-window table: every state of a call × crash, cancel and revocation, and what the next start does.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use toka_runtime::runtime::{Runtime, RuntimeError};
use toka_runtime::{AgentContext, AgentError, LogError};
use toka_toolkit_core::{CallContext, EffectClass, Input, Manifest, Output, Probe, Tool, ToolError};
use toka_types::{Digest, EventId};
use toka_vault::Store;

use crate::disk::{Fault, Faulty};
use crate::support::{Doing, Notes, count};

const LOCAL_READ: EffectClass = EffectClass::Read { local: true };
const READ: EffectClass = EffectClass::Read { local: false };

/// A tool that counts its calls, and looks whether its request is in the store.
#[derive(Clone)]
struct Spy {
    manifest: Manifest,
    store: Arc<Faulty>,
    calls: Arc<AtomicUsize>,
    keys: Arc<Mutex<Vec<Digest>>>,
    answer: Answer,
    probe: Probe,
    release: Arc<AtomicBool>,
}

#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Done,
    Panics,
    Hangs,
    /// Is done when it is released.
    Waits,
    NoName,
    TooLarge,
}

impl Tool for Spy {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn call(&self, _: Input, context: &CallContext) -> Result<Output, ToolError> {
        let requested = self.store.find(&EventId(context.key)).expect("readable").is_some();
        assert_eq!(requested, self.manifest.effect().request_first(), "durable before it starts");
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.keys.lock().expect("no test panics here").push(context.key);
        match self.answer {
            Answer::Done => Ok(Output::value("done")),
            Answer::Panics => panic!("in a tool"),
            Answer::Hangs => {
                while !context.cancel.is_cancelled() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(ToolError::Cancelled)
            }
            Answer::Waits => {
                until(|| self.release.load(Ordering::SeqCst)).await;
                Ok(Output::value("done"))
            }
            Answer::NoName => Err(ToolError::failed("no name at all", "x")),
            Answer::TooLarge => Ok(Output::value("x".repeat(40 << 20))),
        }
    }

    async fn probe(&self, _: &Digest) -> Probe {
        self.probe.clone()
    }
}

/// Waits until something has come about.
async fn until(happened: impl Fn() -> bool) {
    while !happened() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

struct Case {
    store: Arc<Faulty>,
    spy: Spy,
    notes: Notes,
}

impl Case {
    fn new(class: EffectClass, answer: Answer, probe: Probe) -> Self {
        let limits = toka_toolkit_core::Limits { output_bytes: 64 << 20, ..Default::default() };
        let manifest = Manifest::builder("spy", "1.0.0").description("counts").effect(class).limits(limits);
        let store = Faulty::new();
        let (calls, keys, release) = (Arc::default(), Arc::default(), Arc::default());
        let manifest = manifest.build().expect("a manifest");
        let spy = Spy { manifest, store: Arc::clone(&store), calls, keys, answer, probe, release };
        Self { store, spy, notes: Notes::default() }
    }

    /// A runtime whose agent calls the tool if `calls`, and notes how that went.
    async fn start(&self, calls: bool, grant: &str) -> Runtime {
        let runtime = self.store.builder().build().await.expect("a runtime");
        runtime.register_tool(self.spy.clone()).expect("taken");
        let notes = self.notes.clone();
        let caller = Doing(move |ctx: AgentContext| {
            let notes = notes.clone();
            async move {
                if calls {
                    notes.add(match ctx.call("spy", json!({})).await {
                        Ok(output) => output.value.to_string(),
                        Err(AgentError::Tool { code, .. }) => format!("tool {code}"),
                        Err(AgentError::Log(_)) => "log".to_owned(),
                        Err(error) => error.to_string(),
                    });
                }
                Ok(())
            }
        });
        runtime.register_agent_with("caller", caller, &[grant], None).await.expect("registered");
        match runtime.start().await {
            Ok(()) | Err(RuntimeError::Asked(AgentError::Log(_))) => runtime,
            Err(error) => panic!("{error}"),
        }
    }

    async fn crash(&self, at: &'static str) {
        self.store.set(Some(Fault::Breaks(at)));
        let runtime = self.start(true, "tool:spy").await;
        until(|| !self.notes.all().is_empty()).await;
        drop(runtime);
        self.store.set(None);
        assert_eq!(self.notes.all(), ["log"], "nobody is told of an outcome that is not durable");
    }

    /// Starts again and says what is there: calls made, outcomes, resolutions, calls in doubt.
    async fn next_start(&self, grant: &str) -> [usize; 4] {
        let runtime = self.start(false, grant).await;
        runtime.idle().await;
        let pending = runtime.world(|world| world.effects().count()).await.expect("a world");
        let calls = self.spy.calls.load(Ordering::SeqCst);
        let found = [calls, count(&runtime, "tool.returned"), count(&runtime, "tool.resolved"), pending];
        runtime.stop().await.expect("stopped");
        found
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_start_does_what_the_table_says() {
    let happened = Probe::Happened(Output::value("it did"));
    let huge = Probe::Happened(Output::value("x".repeat(40 << 20)));
    let cases = [
        // class, probe, crash while this is written, [calls, outcomes, resolutions, in doubt]
        (EffectClass::Pure, Probe::Unknown, "tool.returned", [1, 0, 0, 0]),
        (LOCAL_READ, Probe::Unknown, "tool.returned", [1, 0, 0, 0]),
        (READ, Probe::Unknown, "tool.requested", [0, 0, 0, 0]),
        (READ, Probe::Unknown, "tool.returned", [2, 1, 0, 0]),
        (EffectClass::Idempotent, Probe::Unknown, "tool.requested", [0, 0, 0, 0]),
        (EffectClass::Idempotent, Probe::Unknown, "tool.returned", [2, 1, 0, 0]),
        (EffectClass::Write, happened.clone(), "tool.requested", [0, 0, 0, 0]),
        (EffectClass::Write, happened, "tool.returned", [1, 1, 0, 0]),
        (EffectClass::Write, huge, "tool.returned", [1, 1, 0, 0]),
        (EffectClass::Write, Probe::Never, "tool.returned", [1, 0, 1, 0]),
        (EffectClass::Write, Probe::Unknown, "tool.returned", [1, 0, 0, 1]),
    ];
    for (class, probe, at, expected) in cases {
        let what = format!("{class}, crash at {at}");
        let case = Case::new(class, Answer::Done, probe);
        case.crash(at).await;
        assert_eq!(case.next_start("tool:spy").await, expected, "{what}");
        assert_eq!(case.next_start("tool:spy").await, expected, "{what}: a further start changes nothing");
        let keys = case.spy.keys.lock().expect("no test panics here").clone();
        assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "{what}: the same key");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_not_made_again_for_an_agent_that_may_no_longer_make_it() {
    let case = Case::new(EffectClass::Idempotent, Answer::Done, Probe::Unknown);
    case.crash("tool.returned").await;
    assert_eq!(case.next_start("tool:other").await, [1, 0, 0, 1], "it stays in doubt");
    assert_eq!(case.next_start("tool:spy").await, [2, 1, 0, 0], "granted again, it is made");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_outcome_is_recorded_whatever_the_tool_does() {
    let cases = [
        (Answer::Done, "\"done\""),
        (Answer::Panics, "tool panicked"),
        (Answer::NoName, "tool no name at all"),
        (Answer::TooLarge, "tool output-too-large"),
    ];
    for class in EffectClass::ALL {
        for (answer, expected) in cases {
            let case = Case::new(class, answer, Probe::Unknown);
            let runtime = case.start(true, "tool:spy").await;
            runtime.idle().await;
            assert_eq!(case.notes.all(), [expected], "{class}");
            assert_eq!(count(&runtime, "tool.returned"), 1, "{class} {expected}");
            assert_eq!(runtime.world(|world| world.effects().count()).await.expect("a world"), 0);
            runtime.stop().await.expect("stopped");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_waits_for_gets_its_outcome() {
    for class in EffectClass::ALL {
        let case = Case::new(class, Answer::Hangs, Probe::Unknown);
        let runtime = case.store.builder().build().await.expect("a runtime");
        runtime.register_tool(case.spy.clone()).expect("taken");
        let calls = Arc::clone(&case.spy.calls);
        let impatient = Doing(move |ctx: AgentContext| {
            let calls = Arc::clone(&calls);
            async move {
                let called = until(|| calls.load(Ordering::SeqCst) > 0);
                tokio::select! {
                    _ = ctx.call("spy", json!({})) => anyhow::bail!("it hangs"),
                    () = called => Ok(()),
                }
            }
        });
        runtime.register_agent_with("impatient", impatient, &["tool:spy"], None).await.expect("registered");
        runtime.start().await.expect("started");
        runtime.idle().await;
        assert_eq!(runtime.problems(), Vec::<String>::new());
        assert_eq!(count(&runtime, "tool.returned"), 1, "{class}");
        assert_eq!(runtime.world(|world| world.effects().count()).await.expect("a world"), 0, "{class}");
        runtime.stop().await.expect("stopped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_dropped_while_it_is_requested_is_not_forgotten() {
    let case = Case::new(EffectClass::Write, Answer::Done, Probe::Unknown);
    let runtime = case.store.builder().build().await.expect("a runtime");
    runtime.register_tool(case.spy.clone()).expect("taken");
    let fickle = Doing(|ctx: AgentContext| async move {
        for _ in 0..50 {
            // Polled once, it is queued; then nobody waits for it.
            tokio::select! {
                biased;
                _ = ctx.call("spy", json!({})) => {}
                () = std::future::ready(()) => {}
            }
        }
        Ok(())
    });
    runtime.register_agent_with("fickle", fickle, &["tool:spy"], None).await.expect("registered");
    runtime.start().await.expect("started");
    runtime.idle().await;
    assert_eq!(count(&runtime, "tool.requested"), 50);
    assert_eq!(count(&runtime, "tool.returned"), 50);
    runtime.stop().await.expect("stopped");
}

/// A call under way on a disk that is full.
async fn call_on_a_full_disk() -> (Case, Arc<Runtime>) {
    let case = Case::new(EffectClass::Write, Answer::Waits, Probe::Unknown);
    let runtime = Arc::new(case.start(true, "tool:spy").await);
    until(|| case.spy.calls.load(Ordering::SeqCst) > 0).await;
    case.store.set(Some(Fault::Full));
    (case, runtime)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_finds_room_on_a_full_disk() {
    let (case, runtime) = call_on_a_full_disk().await;
    case.spy.release.store(true, Ordering::SeqCst);
    until(|| !case.notes.all().is_empty()).await;
    assert_eq!(case.notes.all(), ["\"done\""]);
    assert_eq!(count(&runtime, "tool.returned"), 1);
    runtime.stop().await.expect("nothing else was to be written");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_behind_a_batch_that_waits_in_vain_is_recorded_all_the_same() {
    let (case, runtime) = call_on_a_full_disk().await;
    let waiting = tokio::spawn({
        let runtime = Arc::clone(&runtime);
        async move { runtime.emit("x", &1).await.map(drop) }
    });
    until(|| case.store.refused.load(Ordering::SeqCst) > 0).await;
    case.spy.release.store(true, Ordering::SeqCst);
    // Time enough for the outcome to be queued; with less of it the call would be in doubt.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let stopped = runtime.stop().await;
    assert!(matches!(stopped, Err(RuntimeError::Log(LogError::Full(_)))), "{stopped:?}");
    assert!(waiting.await.expect("no panic").is_err());
    case.store.set(None);
    assert_eq!(case.next_start("tool:spy").await, [1, 1, 0, 0]);
}
