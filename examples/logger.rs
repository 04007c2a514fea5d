//! An agent that prints every event.

use toka_runtime::runtime::{Runtime, RuntimeConfig};
use toka_runtime::{Agent, Event, EventKind};

struct Logger;
impl Agent for Logger {
    fn interest(&self) -> Vec<EventKind> {
        vec![EventKind::Any]
    }
    async fn handle(&self, ev: Event) -> anyhow::Result<()> {
        println!("{ev:?}");
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let runtime = Runtime::new(RuntimeConfig::default()).await?;
    runtime.register_agent("logger", Logger).await?;
    runtime.start().await?;
    runtime.emit("greeting.said", &"hello").await?;
    runtime.stop().await?;
    Ok(())
}
