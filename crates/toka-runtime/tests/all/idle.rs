//! Waiting until nothing is left to do is exact.

use std::time::Duration;

use toka_runtime::runtime::RuntimeConfig;
use toka_runtime::testing::TestRuntime;
use toka_runtime::{Agent, AgentContext, Event, EventKind};

use crate::support::{Doing, count, test_runtime};

/// Answers an event of one kind with one of another.
struct Step(&'static str, &'static str);

impl Agent for Step {
    fn interest(&self) -> Vec<EventKind> {
        vec![EventKind::from(self.0)]
    }

    async fn handle_with(&self, _: Event, ctx: AgentContext) -> anyhow::Result<()> {
        tokio::task::yield_now().await;
        ctx.emit(self.1, &()).await?;
        Ok(())
    }
}

async fn chain(times: usize) {
    let mut config = RuntimeConfig::default();
    config.event_bus.buffer_size = 1 << 16;
    let test = TestRuntime::new(config, |builder| builder).await.expect("a runtime");
    test.runtime.register_agent("first", Step("a", "b")).await.expect("registered");
    test.runtime.register_agent("second", Step("b", "c")).await.expect("registered");
    let mut ends = test.runtime.bus().subscribe_from(0, toka_runtime::Filter::all().kind("c"));
    for n in 0..times {
        test.runtime.emit("a", &n).await.expect("recorded");
        test.run_until_idle().await;
        assert!(ends.try_recv().expect("readable").is_some(), "the chain of {n} has come to its end");
        assert!(ends.try_recv().expect("readable").is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_has_come_to_its_end_on_many_threads() {
    chain(500).await;
}

#[tokio::test]
async fn a_chain_has_come_to_its_end_on_one_thread() {
    chain(500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_woken_by_the_clock_has_had_its_turn() {
    let test = test_runtime().await;
    let ticker = Doing(|ctx: AgentContext| async move {
        loop {
            tokio::select! {
                () = ctx.stopped() => return Ok(()),
                () = ctx.sleep(Duration::from_millis(100)) => {}
            }
            ctx.emit("tick", &()).await?;
        }
    });
    test.runtime.register_agent("ticker", ticker).await.expect("registered");
    test.run_until_idle().await;
    for n in 1..=200 {
        test.advance(Duration::from_millis(100)).await;
        assert_eq!(count(&test.runtime, "tick"), n);
    }
    test.runtime.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_runs_leave_equal_logs() {
    let mut logs = Vec::new();
    for _ in 0..20 {
        let test = test_runtime().await;
        test.runtime.register_agent("first", Step("a", "b")).await.expect("registered");
        test.runtime.register_agent("second", Step("b", "c")).await.expect("registered");
        for n in 0..5 {
            test.runtime.emit("a", &n).await.expect("recorded");
            test.run_until_idle().await;
            test.advance(Duration::from_secs(1)).await;
        }
        let digests = test.runtime.world(toka_kernel::digests).await.expect("a world");
        logs.push((digests.world, crate::support::kinds(&test.runtime).len()));
    }
    assert!(logs.windows(2).all(|pair| pair[0] == pair[1]), "{logs:?}");
}
