//! An agent that answers an event with an event of its own, in a runtime that keeps its log in a vault.

use toka::prelude::*;

struct Greeter;

impl Agent for Greeter {
    fn interest(&self) -> Vec<EventKind> {
        vec![EventKind::from("guest")]
    }

    async fn handle_with(&self, ev: Event, ctx: AgentContext) -> anyhow::Result<()> {
        let name: String = ev.payload()?;
        // The greeting is durable when `emit` returns, and names the guest's arrival as its cause.
        ctx.emit("greeting.said", &format!("hello, {name}")).await?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let vault = VaultConfig::new(folder.path().join("vault"));
    let config = RuntimeConfig { vault: Some(vault), ..RuntimeConfig::default() };

    let runtime = Runtime::new(config).await?;
    runtime.register_agent("greeter", Greeter).await?;
    runtime.start().await?;

    let mut greetings = runtime.bus().subscribe_from(0, Filter::all().kind("greeting"));
    let arrived = runtime.emit("guest.arrived", &"Ada").await?;
    let greeting = Event::from(greetings.recv().await?);
    println!("{} (because of {})", greeting.payload::<String>()?, greeting.parents[0].short());
    assert_eq!(greeting.parents, [arrived.id]);

    runtime.stop().await?;
    Ok(())
}
