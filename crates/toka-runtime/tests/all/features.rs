//! What is not built in says so, and everything else is as ever.

use serde_json::json;
use toka_runtime::runtime::{Runtime, RuntimeConfig, RuntimeError};
use toka_runtime::{AgentContext, AgentError, Filter, RecvError};
use toka_toolkit_core::{CallContext, EffectClass, Input, Manifest, Output, Tool, ToolError};

use crate::support::{Doing, Notes, test_runtime};

struct Ping(Manifest);

impl Tool for Ping {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    async fn call(&self, _: Input, _: &CallContext) -> Result<Output, ToolError> {
        Ok(Output::value("pong"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_there_with_the_feature_and_refused_without() {
    let test = test_runtime().await;
    let manifest = Manifest::builder("ping", "1.0.0").description("answers").effect(EffectClass::Pure);
    test.runtime.register_tool(Ping(manifest.build().expect("a manifest"))).expect("taken or ignored");
    let notes = Notes::default();
    let told = notes.clone();
    let caller = Doing(move |ctx: AgentContext| {
        let told = told.clone();
        async move {
            match ctx.call("ping", json!({})).await {
                Ok(output) => told.add(output.value.to_string()),
                Err(AgentError::Unknown { what, hint, .. }) => told.add(format!("no {what}: {hint}")),
                Err(error) => told.add(error.to_string()),
            }
            Ok(())
        }
    });
    test.runtime.register_agent_with("caller", caller, &["tool:**"], None).await.expect("registered");
    test.run_until_idle().await;
    if cfg!(feature = "toolkit") {
        assert_eq!(notes.all(), ["\"pong\""]);
        assert_eq!(test.runtime.remove_tool("ping"), 1);
    } else {
        assert!(notes.all()[0].contains("no feature `toolkit`"), "{:?}", notes.all());
        assert!(test.runtime.tools().list().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lags_hears_of_it_without_a_vault_and_catches_up_with_one() {
    let mut config = RuntimeConfig::default();
    config.event_bus.buffer_size = 8;
    let test = toka_runtime::testing::TestRuntime::new(config, |builder| builder).await.expect("a runtime");
    let mut events = test.runtime.bus().subscribe_from(0, Filter::all());
    for n in 0..50 {
        test.runtime.emit("x", &n).await.expect("recorded");
    }
    let next = test.runtime.bus().next_seq();
    let first = events.try_recv();
    if cfg!(feature = "vault") {
        assert_eq!(first.expect("readable").expect("there").header.seq, 0);
    } else {
        assert_eq!(first.expect_err("lost"), RecvError::Lagged(next - 8));
        assert_eq!(events.try_recv().expect("readable").expect("there").header.seq, next - 8);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_needs_a_log_that_is_kept() {
    let test = test_runtime().await;
    for n in 0..20 {
        test.runtime.emit("x", &n).await.expect("recorded");
    }
    let seen = Notes::default();
    let noted = seen.clone();
    let replayed = test.runtime.replay(3..=5, move |header, _| noted.add(header.seq.to_string())).await;
    if cfg!(feature = "vault") {
        let part = replayed.expect("replayed");
        assert_eq!(seen.all(), ["3", "4", "5"]);
        let whole = test.runtime.replay(.., |_, _| {}).await.expect("replayed");
        assert_eq!(whole, test.runtime.world(toka_kernel::digests).await.expect("a world"));
        assert_ne!(part.fold, whole.fold);
        let empty = test.runtime.replay(0..0, |_, _| panic!("nothing to show")).await.expect("replayed");
        assert_eq!(empty, toka_kernel::digests(&toka_kernel::WorldState::default()));
    } else {
        assert!(matches!(replayed, Err(RuntimeError::Feature("vault"))), "{replayed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_of_an_empty_configuration_works_with_any_features() {
    let runtime = Runtime::new(RuntimeConfig::default()).await.expect("a runtime");
    runtime.start().await.expect("started");
    let event = runtime.emit("greeting.said", &"hello").await.expect("recorded");
    assert_eq!(event.payload::<String>().expect("a text"), "hello");
    assert!(runtime.emit("agent.spawned", &()).await.is_err(), "the kernel's kinds are its own");
    runtime.stop().await.expect("stopped");
}
