//! A clock that jumps makes nothing due, ends nothing, and reaches nobody outside until the operator confirms it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use toka_kernel::limits::MAX_CLOCK_JUMP;
use toka_runtime::runtime::{Runtime, RuntimeError};
use toka_runtime::testing::{SteppedClock, TestRuntime};
use toka_runtime::{AgentContext, AgentError, Filter, RuntimeConfig};
use toka_toolkit_core::{CallContext, Input, Manifest, Output, Tool, ToolError};
use toka_types::operation::{Authority, GrantTerms, TaskAction};
use toka_types::{EffectClass, EntityId, Envelope, Name, Operation, Payload, Timestamp};

use crate::support::{Doing, Notes, count, in_vault, kinds, test_runtime};

const HOUR: Duration = MAX_CLOCK_JUMP;
const TICK: Duration = Duration::from_micros(1);

/// Says so when it is called.
struct Ring(Manifest, Notes);

impl Tool for Ring {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    async fn call(&self, _: Input, _: &CallContext) -> Result<Output, ToolError> {
        self.1.add("rang");
        Ok(Output::value(json!(null)))
    }
}

fn ring(class: EffectClass, notes: &Notes) -> Ring {
    let manifest = Manifest::builder(format!("ring.{class}"), "1.0.0").description("Rings.").effect(class);
    Ring(manifest.build().expect("sound"), notes.clone())
}

/// An envelope of an agent under its own grant.
async fn envelope(runtime: &Runtime, agent: &str, operation: Operation) -> Envelope {
    let origin = EntityId::named(agent);
    let grant = runtime.world(move |world| world.agent(origin).map(|agent| agent.grant)).await;
    let grant = grant.expect("a world").expect("it was spawned");
    Envelope { origin, authority: Authority::Grant(grant), op_id: None, causes: Vec::new(), operation }
}

async fn ask(runtime: &Runtime, agent: &str, operation: Operation) -> String {
    match runtime.submit(envelope(runtime, agent, operation).await).await {
        Ok(events) => events.first().map_or("nothing".to_owned(), |event| event.kind.to_string()),
        Err(RuntimeError::Asked(AgentError::Denied { code, .. })) => code,
        Err(error) => panic!("{error}"),
    }
}

fn spawn(name: &str, uses: &[&str], expires: Option<Timestamp>) -> Operation {
    let uses = uses.iter().map(|text| text.parse().expect("a capability")).collect();
    let grant = GrantTerms { uses, delegates: Vec::new(), expires };
    let (name, behaviour) = (Name::new(name).expect("a name"), Name::new("nobody").expect("a name"));
    Operation::SpawnAgent { name, behaviour, grant, budget: None, quarantine: None }
}

fn fire(due: Timestamp) -> Operation {
    let task = Name::new("t").expect("a name");
    Operation::FireTask { task, due, next: None, action: TaskAction::Skip }
}

/// A runtime with an agent `a` that has a task due, and a grant that ends, an hour and a half from now.
async fn with_task() -> (TestRuntime, Timestamp) {
    let test = test_runtime().await;
    let due = test.runtime.now().saturating_add(HOUR * 3 / 2);
    let powers = ["task:schedule", "event:emit", "tool:ring.**"];
    test.runtime.operate(spawn("a", &powers, None)).await.expect("allowed");
    test.runtime.operate(spawn("brief", &["event:emit"], Some(due))).await.expect("allowed");
    let (task, spec) = (Name::new("t").expect("a name"), Payload::new(vec![0xc0]));
    let scheduled = Operation::ScheduleTask { task, due, spec };
    assert_eq!(ask(&test.runtime, "a", scheduled).await, "task.scheduled");
    (test, due)
}

fn emit() -> Operation {
    let kind = toka_types::Kind::new("note").expect("a kind");
    Operation::Observe(vec![toka_types::operation::Observation::new(kind, Payload::new(vec![0xc0]))])
}

fn reset() -> Operation {
    // What is said here counts for nothing.
    Operation::ResetClock { shows: Timestamp(i64::MAX) }
}

/// What an agent that calls both tools is told.
async fn calls(test: &TestRuntime, name: &str) -> Vec<String> {
    let notes = Notes::default();
    let told = notes.clone();
    let caller = Doing(move |ctx: AgentContext| {
        let told = told.clone();
        async move {
            for tool in ["ring.pure", "ring.write"] {
                told.add(match ctx.call(tool, json!({})).await {
                    Ok(_) => "done".to_owned(),
                    Err(AgentError::Denied { code, .. }) => code,
                    Err(error) => error.to_string(),
                });
            }
            Ok(())
        }
    });
    test.runtime.register_agent_with(name, caller, &["tool:ring.**"], None).await.expect("registered");
    test.run_until_idle().await;
    notes.all()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_due_or_ends_by_a_jump_until_it_is_confirmed() {
    let (test, due) = with_task().await;
    let rung = Notes::default();
    test.runtime.register_tool(ring(EffectClass::Pure, &rung)).expect("registered");
    test.runtime.register_tool(ring(EffectClass::Write, &rung)).expect("registered");
    let before = test.runtime.now();
    // As far as it may be corrected, it is believed.
    test.clock.set(before.saturating_add(HOUR));
    assert_eq!(ask(&test.runtime, "brief", emit()).await, "note");
    assert_eq!(test.runtime.now(), before.saturating_add(HOUR));
    assert_eq!(ask(&test.runtime, "a", fire(due)).await, "task.not-due");
    let refused = test.runtime.operate(reset()).await;
    assert!(
        matches!(&refused, Err(RuntimeError::Asked(AgentError::Denied { code, .. })) if code == "clock.runs")
    );

    let shows = before.saturating_add(HOUR * 2 + TICK);
    test.clock.set(shows);
    assert_eq!(ask(&test.runtime, "brief", emit()).await, "note", "its grant has not ended");
    assert_eq!(count(&test.runtime, "clock.jumped"), 1);
    assert_eq!(test.runtime.world(|world| world.clock_jump()).await.expect("a world"), Some(shows));
    assert_eq!(ask(&test.runtime, "a", fire(due)).await, "clock.suspended");
    assert_eq!(calls(&test, "caller").await, ["done", "clock.suspended"]);
    assert_eq!(rung.all(), ["rang"]);
    // Time goes on by what passes, and what is due by that waits too.
    test.clock.advance(HOUR);
    assert_eq!(test.runtime.now(), before.saturating_add(HOUR * 2));
    assert_eq!(ask(&test.runtime, "a", fire(due)).await, "clock.suspended");
    assert_eq!(count(&test.runtime, "clock.jumped"), 1, "said once");

    assert_eq!(ask(&test.runtime, "a", reset()).await, "capability.missing");
    let confirmed = test.runtime.operate(reset()).await.expect("the operator may");
    assert_eq!(confirmed[0].kind.as_str(), "clock.reset");
    assert_eq!(test.runtime.now(), shows.saturating_add(HOUR));
    assert_eq!(ask(&test.runtime, "brief", emit()).await, "grant.expired");
    assert_eq!(ask(&test.runtime, "a", fire(due)).await, "task.fired");
    assert_eq!(calls(&test, "later").await, ["done", "done"]);
    let folded = test.runtime.replay(.., |_, _| {}).await.expect("readable");
    assert_eq!(folded, test.runtime.world(toka_kernel::digests).await.expect("a world"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_is_no_more_believed() {
    let (test, due) = with_task().await;
    let before = test.runtime.now();
    let back = Timestamp(before.0 - 5 * 3_600_000_000);
    test.clock.set(back);
    test.clock.advance(HOUR * 2);
    assert_eq!(ask(&test.runtime, "a", fire(due)).await, "clock.suspended");
    assert_eq!(test.runtime.now(), before.saturating_add(HOUR * 2));
    assert_eq!(ask(&test.runtime, "brief", emit()).await, "grant.expired", "as much time has passed");
    test.runtime.operate(reset()).await.expect("the operator may");
    // The time of a log never goes back.
    assert_eq!(ask(&test.runtime, "a", fire(due)).await, "task.fired");
    let mut events = test.runtime.bus().subscribe_from(0, Filter::all());
    let mut last = Timestamp(0);
    while let Ok(Some(event)) = events.try_recv() {
        assert!(event.header.at >= last);
        last = event.header.at;
    }
    assert_eq!(test.runtime.now(), back.saturating_add(HOUR * 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sleeps_wakes_when_the_time_is_set_and_not_by_the_jump() {
    let test = test_runtime().await;
    let notes = Notes::default();
    let told = notes.clone();
    let sleeper = Doing(move |ctx: AgentContext| {
        let told = told.clone();
        async move {
            ctx.sleep_until(ctx.now().saturating_add(HOUR * 2)).await;
            told.add("awake");
            Ok(())
        }
    });
    test.runtime.register_agent("sleeper", sleeper).await.expect("registered");
    test.run_until_idle().await;
    test.clock.set(test.runtime.now().saturating_add(HOUR * 3));
    test.runtime.emit("note", &1).await.expect("recorded");
    test.run_until_idle().await;
    assert_eq!(notes.all(), Vec::<String>::new());
    test.runtime.operate(reset()).await.expect("the operator may");
    while notes.all().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_believes_a_clock_that_is_ahead_of_the_log_and_none_that_is_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = in_vault(&folder.path().join("vault"));
    let start = SteppedClock::default();
    let begin = toka_runtime::clock::Clock::now(&start);
    let at = async |config: &RuntimeConfig, time: Timestamp, asked: &[Operation]| {
        let builder = Runtime::builder(config.clone()).clock(Arc::new(SteppedClock::new(time)));
        let runtime = builder.build().await.expect("a runtime");
        runtime.start().await.expect("started");
        runtime.emit("note", &1).await.expect("recorded");
        for operation in asked {
            runtime.operate(operation.clone()).await.expect("allowed");
        }
        let jump = runtime.world(|world| world.clock_jump()).await.expect("a world");
        let jumps = kinds(&runtime).iter().filter(|kind| kind.starts_with("clock.")).count();
        runtime.stop().await.expect("stopped");
        (jump, jumps)
    };
    let day = HOUR * 24;
    assert_eq!(at(&config, begin, &[]).await, (None, 0));
    let later = begin.saturating_add(day);
    assert_eq!(at(&config, later, &[]).await, (None, 0), "nobody can tell how long nothing ran");
    let behind = Timestamp(later.0 - 3_600_000_000);
    assert_eq!(at(&config, behind, &[]).await, (None, 0), "no more than the bound");
    let behind = Timestamp(behind.0 - 1);
    assert_eq!(at(&config, behind, &[]).await, (Some(behind), 1));
    let right = later.saturating_add(HOUR);
    assert_eq!(at(&config, right, &[]).await, (Some(behind), 1), "nobody has confirmed it");
    assert_eq!(at(&config, behind, &[reset()]).await, (None, 2));
    // What was confirmed stays so, until the clock is behind that as well.
    assert_eq!(at(&config, behind.saturating_add(TICK), &[]).await, (None, 2));
    let further = Timestamp(behind.0 - 3_600_000_001);
    assert_eq!(at(&config, further, &[]).await, (Some(further), 3));
    assert_eq!(at(&config, right, &[reset()]).await, (None, 4));
    assert_eq!(at(&config, behind, &[]).await, (Some(behind), 5), "the log has come to the right time since");
}

/// Says so when it is called, and never answers.
struct Hang(Manifest, Notes);

impl Tool for Hang {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    async fn call(&self, _: Input, _: &CallContext) -> Result<Output, ToolError> {
        self.1.add("rang");
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_crashed_is_not_made_again_before_the_clock_is_confirmed() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = in_vault(&folder.path().join("vault"));
    let begin = toka_runtime::clock::Clock::now(&SteppedClock::default());
    let (rung, behind) = (Notes::default(), Timestamp(begin.0 - 2 * 3_600_000_000));
    let at = async |time: Timestamp| {
        let builder = Runtime::builder(config.clone()).clock(Arc::new(SteppedClock::new(time)));
        builder.build().await.expect("a runtime")
    };
    let first = at(begin).await;
    let Ring(manifest, _) = ring(EffectClass::Idempotent, &rung);
    first.register_tool(Hang(manifest, rung.clone())).expect("registered");
    let caller = Doing(|ctx: AgentContext| async move {
        ctx.call("ring.idempotent", json!({})).await?;
        Ok(())
    });
    let grant = ["tool:ring.**"];
    first.register_agent_with("caller", caller, &grant, None).await.expect("registered");
    first.start().await.expect("started");
    while rung.all().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(first);
    for (time, calls, pending) in [(behind, 1, 1), (begin, 1, 1), (begin, 2, 0)] {
        let next = at(time).await;
        next.register_tool(ring(EffectClass::Idempotent, &rung)).expect("registered");
        let idle = Doing(|_: AgentContext| async { Ok(()) });
        next.register_agent_with("caller", idle, &grant, None).await.expect("registered");
        next.start().await.expect("started");
        next.idle().await;
        let waiting = next.world(|world| world.effects().count()).await.expect("a world");
        assert_eq!((rung.all().len(), waiting), (calls, pending));
        // What is recorded next tells the log of the jump.
        next.emit("note", &1).await.expect("recorded");
        if waiting > 0 && time == begin {
            assert_eq!(count(&next, "clock.jumped"), 1);
            next.operate(reset()).await.expect("the operator may");
        }
        next.stop().await.expect("stopped");
    }
}
