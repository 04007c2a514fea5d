//! The smallest useful Toka binary: a runtime without features, an agent that speaks and one that listens.
//!
//! `minimal-demo` prints a line for each event until Ctrl-C. `minimal-demo --once` prints how many microseconds passed
//! from the start of `main` until the first event was handed to the listening agent, and ends.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use toka_runtime::runtime::{Ended, Runtime, RuntimeConfig};
use toka_runtime::{Agent, AgentContext, Event, EventKind};

/// What a shell reports of a process that SIGINT ended.
const INTERRUPTED: u8 = 130;
/// What a program answers to arguments that it does not know.
const USAGE: u8 = 2;
const TICK: Duration = Duration::from_secs(1);

/// Records an event on every tick; once only if the runtime runs once.
struct Ticker;

/// Prints every event of the demo.
struct Logger {
    started: Instant,
    once: bool,
}

impl Agent for Ticker {
    async fn run(&self, ctx: AgentContext) -> anyhow::Result<()> {
        for n in 1_u64.. {
            ctx.emit("demo.tick", &n).await?;
            if ctx.is_once() {
                break;
            }
            tokio::select! {
                () = ctx.stopped() => break,
                () = ctx.sleep(TICK) => {}
            }
        }
        Ok(())
    }
}

impl Agent for Logger {
    fn interest(&self) -> Vec<EventKind> {
        vec![EventKind::from("demo")]
    }

    async fn handle(&self, ev: Event) -> anyhow::Result<()> {
        let passed = self.started.elapsed();
        let line = if self.once {
            format!("{{\"us_to_first_event\": {}}}", passed.as_micros())
        } else {
            format!("{:>9.3} s  {ev:?}  {}", passed.as_secs_f64(), ev.payload::<u64>()?)
        };
        if let Err(error) = writeln!(std::io::stdout().lock(), "{line}") {
            // Whoever read this has seen enough; there is nothing to save.
            let gone = error.kind() == std::io::ErrorKind::BrokenPipe;
            std::process::exit(if gone { 0 } else { 1 });
        }
        Ok(())
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let once = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--once") => true,
        Some(other) => {
            eprintln!("unknown argument '{other}'\nusage: minimal-demo [--once]");
            return Ok(ExitCode::from(USAGE));
        }
    };
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = executor.block_on(async {
        let runtime = Runtime::builder(RuntimeConfig::default()).once(once).build().await?;
        runtime.register_agent("logger", Logger { started, once }).await?;
        runtime.register_agent("ticker", Ticker).await?;
        runtime.run().await
    })?;
    Ok(if ended == Ended::Interrupted { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}
