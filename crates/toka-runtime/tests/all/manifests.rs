//! What a tool says of itself is in the log before it is called, once for each manifest.

use serde_json::json;
use toka_runtime::runtime::Runtime;
use toka_runtime::{AgentContext, AgentError};
use toka_toolkit_core::{CallContext, Input, Manifest, Output, Tool, ToolError};
use toka_types::{EffectClass, Labels, Name, Sink};

use crate::support::{Doing, Notes, count, in_vault, kinds};

/// Says what it is asked, under a description of its own.
struct Echo(Manifest);

impl Tool for Echo {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    async fn call(&self, _: Input, _: &CallContext) -> Result<Output, ToolError> {
        Ok(Output::value(json!("said")))
    }
}

fn manifest(description: &str, labels: &[&str]) -> Manifest {
    let manifest = Manifest::builder("say", "1.0.0").description(description).effect(EffectClass::Write);
    manifest.labels(labels.iter().copied()).build().expect("sound")
}

/// Starts a runtime with the tool, calls it twice, and says what was told and what is in the log.
async fn calling(vault: &std::path::Path, manifest: Manifest) -> (Vec<String>, usize, Vec<String>) {
    let digest = manifest.digest();
    let runtime = Runtime::new(in_vault(vault)).await.expect("a runtime");
    runtime.register_tool(Echo(manifest)).expect("registered");
    let notes = Notes::default();
    let told = notes.clone();
    let caller = Doing(move |ctx: AgentContext| {
        let told = told.clone();
        async move {
            for _ in 0..2 {
                told.add(match ctx.call("say", json!({})).await {
                    Ok(output) => output.value.to_string(),
                    Err(AgentError::Denied { code, .. }) => code,
                    Err(error) => error.to_string(),
                });
            }
            Ok(())
        }
    });
    runtime.register_agent_with("caller", caller, &["tool:say"], None).await.expect("registered");
    runtime.start().await.expect("started");
    runtime.idle().await;
    let known = runtime.world(|world| {
        let name = Name::new("say").expect("a name");
        world.tool(&name, "1.0.0").cloned()
    });
    let known = known.await.expect("a world").expect("it was declared");
    assert_eq!((known.manifest, known.class, known.sink), (digest, EffectClass::Write, Sink::Write));
    let (declared, all) = (count(&runtime, "tool.declared"), kinds(&runtime));
    runtime.stop().await.expect("stopped");
    (notes.all(), declared, all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_is_declared_before_its_first_call_and_when_it_has_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let vault = folder.path().join("vault");
    let said = || vec!["\"said\"".to_owned(); 2];
    let (told, declared, kinds) = calling(&vault, manifest("Says.", &[])).await;
    assert_eq!((told, declared), (said(), 1));
    let first = |kind: &str| kinds.iter().position(|other| other == kind);
    assert!(first("tool.declared") < first("tool.requested"), "{kinds:?}");
    let (told, declared, _) = calling(&vault, manifest("Says.", &[])).await;
    assert_eq!((told, declared), (said(), 1), "nothing is said again");
    let (told, declared, _) = calling(&vault, manifest("Says something.", &["from:say"])).await;
    assert_eq!((told, declared), (said(), 2), "the same version says something else of itself");
}

#[test]
fn a_manifest_s_digest_covers_all_that_it_says() {
    let digest = |manifest: Manifest| manifest.digest();
    let schema = json!({"properties": {"a": {"type": "string"}}});
    let base = || Manifest::builder("say", "1.0.0").description("Says.").effect(EffectClass::Write);
    let others = [
        base().description("says."),
        base().effect(EffectClass::Idempotent),
        base().sink(Sink::External),
        base().labels(["untrusted:say"]),
        base().input(schema.clone()),
        base().input(schema).governed("a", toka_types::capability::ArgumentKind::Text),
        base().record(toka_toolkit_core::Record::Digest),
        Manifest::builder("say", "1.0.1").description("Says.").effect(EffectClass::Write),
        Manifest::builder("sayer", "1.0.0").description("Says.").effect(EffectClass::Write),
    ];
    let mut digests = vec![digest(base().build().expect("sound"))];
    assert_eq!(
        digests[0],
        digest(base().labels(Labels::none().iter().map(|l| l.to_string())).build().expect("sound"))
    );
    for other in others {
        let other = digest(other.build().expect("sound"));
        assert!(!digests.contains(&other));
        digests.push(other);
    }
}
