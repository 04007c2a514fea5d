//! A runtime embedded in a program that has a thread and an executor of its own, from a configuration in a string.

use toka::prelude::*;

const CONFIG: &str = r#"
[event_bus]
buffer_size = 256

[[agents]]
name = "Logger"
"#;

fn main() -> anyhow::Result<()> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let config = RuntimeConfig::from_toml_str(CONFIG)?;

    let runtime = executor.block_on(async {
        let runtime = Runtime::new(config).await?;
        runtime.start().await?;
        runtime.emit("program.started", &std::process::id()).await?;
        anyhow::Ok(runtime)
    })?;

    // The program's own thread follows the log without an executor.
    let mut events = runtime.bus().subscribe_from(0, Filter::all());
    while events.position() < runtime.bus().next_seq() {
        let event = Event::from(events.recv_blocking()?);
        println!("#{} {}", event.seq, event.kind);
    }

    executor.block_on(runtime.stop())?;
    Ok(())
}
