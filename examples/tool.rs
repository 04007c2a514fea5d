//! A tool, and an agent whose grant allows it that tool and nothing else.

use serde_json::json;
use toka::prelude::*;

struct Length(Manifest);

impl Tool for Length {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    async fn call(&self, input: Input, _: &CallContext) -> Result<Output, ToolError> {
        Ok(Output::value(input.text("text")?.chars().count()))
    }
}

struct Asker;

impl Agent for Asker {
    async fn run(&self, ctx: AgentContext) -> anyhow::Result<()> {
        let length = ctx.call("text.length", json!({"text": "Toka"})).await?;
        println!("text.length: {}", length.value);
        let refused = ctx.call("echo", json!({"text": "Toka"})).await.err();
        println!("echo: {}", refused.map_or("allowed".into(), |error| error.to_string()));
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let schema = json!({"properties": {"text": {"type": "string"}}, "required": ["text"]});
    let manifest = Manifest::builder("text.length", "1.0.0").description("counts characters");
    let manifest = manifest.effect(EffectClass::Pure).input(schema);
    let runtime = Runtime::builder(RuntimeConfig::default()).once(true).build().await?;
    runtime.register_tool(Length(manifest.build()?))?;
    runtime.register_agent_with("asker", Asker, &["tool:text.length"], None).await?;
    runtime.run().await?;
    Ok(())
}
