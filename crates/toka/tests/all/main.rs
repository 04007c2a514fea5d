//! The façade from outside, and what the README says of it.

use toka::prelude::*;

const README: &str = include_str!("../../../../README.md");

/// The README's code block in `language` that contains `part`.
fn block(language: &str, part: &str) -> &'static str {
    let fence = format!("```{language}\n");
    let blocks = README.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("```").next());
    blocks.into_iter().find(|block| block.contains(part)).expect("the README has such a block")
}

#[test]
fn the_configuration_in_the_readme_is_sound() {
    let config = RuntimeConfig::from_toml_str(block("toml", "[[agents]]")).expect("it loads");
    let behaviours: Vec<&str> = config.agents.iter().map(|agent| agent.behaviour.as_str()).collect();
    assert_eq!(behaviours, ["IndexerAgent", "SchedulerAgent"]);
    let grants = config.agents.iter().flat_map(|agent| agent.grant.iter().flatten());
    for grant in grants {
        grant.parse::<Capability>().expect("a capability");
    }
}

#[test]
fn the_repository_in_the_readme_is_the_one_of_the_package() {
    let line = format!("toka = {{ git = \"{}\" }}", env!("CARGO_PKG_REPOSITORY"));
    assert!(block("toml", "[dependencies]").contains(&line), "{line}");
}

/// An agent of the prelude's types alone acts through a tool of its grant, on a vault, and what it did can be replayed.
#[tokio::test]
async fn the_prelude_is_enough_for_a_program() -> anyhow::Result<()> {
    struct Speaker;

    impl Agent for Speaker {
        async fn run(&self, ctx: AgentContext) -> anyhow::Result<()> {
            let echo = ctx.call("echo", serde_json::json!({"text": "hello"})).await?;
            ctx.because_of(vec![echo.cause]).emit("speech.made", &echo.value["text"]).await?;
            Ok(())
        }
    }

    let folder = tempfile::tempdir()?;
    let vault = Some(VaultConfig::new(folder.path().join("vault")));
    let config = RuntimeConfig { vault, ..RuntimeConfig::default() };
    let runtime = Runtime::builder(config).once(true).build().await?;
    runtime.register_agent_with("speaker", Speaker, &["tool:echo", "event:emit"], None).await?;
    runtime.start().await?;
    runtime.idle().await;
    let live = runtime.world(toka::kernel::digests).await?;
    assert_eq!(runtime.replay(.., |_, _| {}).await?, live);
    runtime.stop().await?;

    let vault = VaultBus::open_read_only(folder.path().join("vault"))?;
    let kinds: Vec<String> = vault
        .scan(0, Filter::all())
        .map(|event| Ok(event?.header.kind.to_string()))
        .collect::<anyhow::Result<_>>()?;
    assert!(kinds.ends_with(&["tool.returned".into(), "speech.made".into()]), "{kinds:?}");
    Ok(())
}
