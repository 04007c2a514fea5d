//! What a flood of refusals of one agent costs the others: eight agents record event after event, alone, and beside one that
//! asks for what it may not, from 256 tasks at once and each time with another argument or always with the same.

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

const OTHERS: usize = 8;
const TASKS: usize = 256;
/// Refusals before it is measured.
const SETTLED: u64 = 1100;

/// Records event after event.
struct Worker {
    steps: Arc<AtomicU64>,
    running: watch::Receiver<bool>,
}

impl Agent for Worker {
    async fn run(&self, ctx: AgentContext) -> anyhow::Result<()> {
        self.running.clone().wait_for(|go| *go).await?;
        while *self.running.borrow() {
            ctx.emit("bench.step", &"x".repeat(250)).await?;
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Asks for what it may not.
struct Flooder {
    refused: Arc<AtomicU64>,
    running: watch::Receiver<bool>,
    /// Whether each refusal is about another argument, and so an event of its own.
    distinct: bool,
}

impl Agent for Flooder {
    async fn run(&self, ctx: AgentContext) -> anyhow::Result<()> {
        self.running.clone().wait_for(|go| *go).await?;
        let tasks = (0..TASKS).map(|task| {
            let (ctx, running) = (ctx.clone(), self.running.clone());
            let (refused, distinct) = (Arc::clone(&self.refused), self.distinct);
            tokio::spawn(async move {
                let mut n = 0_u64;
                while *running.borrow() {
                    n += 1;
                    let kind =
                        if distinct { format!("forbidden.t{task}.n{n}") } else { "forbidden".to_owned() };
                    if ctx.emit(&kind, &n).await.is_err() {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await?;
        }
        Ok(())
    }
}

/// Steps a second of the others. `flood` says whether there is one, and of which sort.
fn steps(executor: &tokio::runtime::Runtime, vault: &Path, flood: Option<bool>, duration: Duration) -> f64 {
    let _ = std::fs::remove_dir_all(vault);
    let vault = Some(VaultConfig::new(vault));
    executor.block_on(async {
        let runtime =
            Runtime::new(RuntimeConfig { vault, ..RuntimeConfig::default() }).await.expect("a vault");
        let (go, running) = watch::channel(false);
        let (steps, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        for n in 0..OTHERS {
            let worker = Worker { steps: Arc::clone(&steps), running: running.clone() };
            runtime.register_agent(&format!("worker-{n}"), worker).await.expect("an agent");
        }
        if let Some(distinct) = flood {
            let flooder = Flooder { refused: Arc::clone(&refused), running: running.clone(), distinct };
            let grant = ["event:emit(kind=nothing)"];
            runtime.register_agent_with("flooder", flooder, &grant, None).await.expect("an agent");
        }
        runtime.start().await.expect("the agents start");
        go.send_replace(true);
        tokio::time::sleep(duration / 4).await;
        // What counts is the flood and not its first second: a thousand refusals are no flood yet.
        while flood.is_some() && refused.load(Ordering::Relaxed) < SETTLED {
            tokio::time::sleep(duration / 40).await;
        }
        let (before, start) = (steps.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(duration).await;
        let rate = (steps.load(Ordering::Relaxed) - before) as f64 / start.elapsed().as_secs_f64();
        go.send_replace(false);
        runtime.stop().await.expect("the runtime stops");
        assert_eq!(flood.is_some(), refused.load(Ordering::Relaxed) > 0);
        rate
    })
}

fn main() {
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("an executor");
    let bench = harness::Bench::new("flood");
    let vault = bench.directory().join("vault");
    for (case, distinct) in [("same argument", false), ("other arguments", true)] {
        let (ours, baseline) = bench.interleave(
            || steps(&executor, &vault, Some(distinct), bench.slice()),
            || steps(&executor, &vault, None, bench.slice()),
        );
        bench.line(case, "steps/s of the others", ours, Some((baseline, "the same agents without a flood")));
    }
}
