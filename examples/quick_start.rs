//! The shortest program around a runtime: open, start, stop.

use toka_runtime::runtime::{Runtime, RuntimeConfig};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cfg = RuntimeConfig::default();
    let runtime = Runtime::new(cfg).await?;
    runtime.start().await?;

    let event = runtime.emit("greeting.said", &"hello").await?;
    println!("{event:?}");

    runtime.stop().await?;
    Ok(())
}
