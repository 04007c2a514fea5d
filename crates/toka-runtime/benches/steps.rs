//! Durable steps: an agent records an event and waits until it is durable, then the next. One agent, and a hundred at
//! once, against a bare loop that appends a record of the same size and syncs.

#[path = "../../../benches/harness.rs"]
mod harness;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use toka_agents::{Agent, AgentContext};
use toka_runtime::config::VaultConfig;
use toka_runtime::{Runtime, RuntimeConfig};
use tokio::sync::watch;

const PAYLOAD: usize = 250;
/// What a step of ours appends: header, content and their frame.
const RECORD: usize = 450;

struct Stepper {
    steps: Arc<AtomicU64>,
    running: watch::Receiver<bool>,
}

impl Agent for Stepper {
    async fn run(&self, ctx: AgentContext) -> anyhow::Result<()> {
        let mut running = self.running.clone();
        running.wait_for(|go| *go).await?;
        let mut n = 0_u64;
        while *running.borrow() {
            n += 1;
            let mut payload = vec![b'x'; PAYLOAD];
            payload[..8].copy_from_slice(&n.to_le_bytes());
            ctx.emit(
                "bench.step",
                &payload.as_slice().iter().map(|b| b % 128).map(char::from).collect::<String>(),
            )
            .await?;
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn ours(executor: &tokio::runtime::Runtime, vault: &Path, agents: usize, duration: Duration) -> f64 {
    let _ = std::fs::remove_dir_all(vault);
    let vault = Some(VaultConfig::new(vault));
    executor.block_on(async {
        let runtime =
            Runtime::new(RuntimeConfig { vault, ..RuntimeConfig::default() }).await.expect("a vault");
        let (go, running) = watch::channel(false);
        let steps = Arc::new(AtomicU64::new(0));
        for n in 0..agents {
            let agent = Stepper { steps: Arc::clone(&steps), running: running.clone() };
            runtime.register_agent(&format!("agent-{n}"), agent).await.expect("an agent");
        }
        runtime.start().await.expect("the agents start");
        go.send_replace(true);
        // The first segments are small and double; what counts is the steady state.
        tokio::time::sleep(duration / 4).await;
        let (before, start) = (steps.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(duration).await;
        let rate = (steps.load(Ordering::Relaxed) - before) as f64 / start.elapsed().as_secs_f64();
        go.send_replace(false);
        runtime.stop().await.expect("the runtime stops");
        rate
    })
}

fn baseline(log: &mut harness::PlainLog, duration: Duration) -> f64 {
    let record = vec![b'x'; RECORD];
    harness::rate(duration, 1, || log.append(&record))
}

fn main() {
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("an executor");
    let bench = harness::Bench::new("steps");
    let vault = bench.directory().join("vault");
    for agents in [1, 100] {
        let mut log = harness::PlainLog::new(bench.directory(), "plain", 64 << 20);
        let (ours, baseline) = bench.interleave(
            || ours(&executor, &vault, agents, bench.slice()),
            || baseline(&mut log, bench.slice()),
        );
        bench.line(&format!("agents={agents}"), "steps/s", ours, Some((baseline, "append + fdatasync")));
    }
}
