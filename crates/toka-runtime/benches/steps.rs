//! Durable steps: an agent records an event and waits until it is durable, then the next. One agent, and a hundred at
//! once, against a bare loop that appends a record of the same size and syncs.

#[path = "../../../benches/harness.rs"]
mod harness;

use std::os::unix::fs::FileExt;
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
            ctx.emit("bench.step", &payload.as_slice().iter().map(|b| b % 128).map(char::from).collect::<String>()).await?;
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn ours(executor: &tokio::runtime::Runtime, agents: usize, duration: Duration) -> f64 {
    let scratch = harness::Scratch::new("steps");
    let vault = Some(VaultConfig { path: scratch.path().join("vault") });
    executor.block_on(async {
        let runtime = Runtime::new(RuntimeConfig { vault, ..RuntimeConfig::default() }).await.expect("a vault");
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

fn baseline(duration: Duration) -> f64 {
    let scratch = harness::Scratch::new("steps-baseline");
    let file = harness::zero_filled(&scratch.path().join("log"), 64 << 20);
    let record = vec![b'x'; RECORD];
    let (mut at, mut steps, start) = (0, 0_u64, Instant::now());
    while start.elapsed() < duration {
        file.write_all_at(&record, at).expect("the disk takes a record");
        file.sync_data().expect("the disk syncs");
        at += RECORD as u64;
        steps += 1;
    }
    steps as f64 / start.elapsed().as_secs_f64()
}

fn main() {
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("an executor");
    let duration = harness::seconds(1.0);
    let (mut one, mut hundred, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..harness::rounds() {
        bare.push(baseline(duration));
        one.push(ours(&executor, 1, duration));
        hundred.push(ours(&executor, 100, duration));
    }
    let bare = harness::median(bare);
    for (case, rates) in [("agents=1", one), ("agents=100", hundred)] {
        harness::report("steps", case, "steps/s", harness::median(rates), Some((bare, "append + fdatasync")));
    }
}
