//! A runtime on a sealed vault: agents read and write as ever, and nothing they say lies on the disk.

use std::fs;
use std::path::Path;

use toka_runtime::runtime::{Runtime, RuntimeError};
use toka_runtime::{Agent, AgentContext, Event, EventKind};
use toka_types::{EntityId, Subject};
use toka_vault::StoreError;
use toka_vault::seal::{Key, Passphrase, create_vault, keys_path};

use crate::support::{Doing, Notes, in_vault};

const PLANTED: &str = "planted-plaintext";

fn key() -> Key {
    Key::Passphrase(Passphrase::new("open sesame").expect("a passphrase"))
}

async fn runtime(vault: &Path) -> Result<Runtime, RuntimeError> {
    Runtime::builder(in_vault(vault)).key(key()).build().await
}

/// Hears what is said, and notes it.
struct Listener(Notes);

impl Agent for Listener {
    fn interest(&self) -> Vec<EventKind> {
        vec!["word".into(), EventKind::Message]
    }

    async fn handle(&self, ev: Event) -> anyhow::Result<()> {
        self.0.add(format!("{} {}", ev.kind, ev.payload::<String>()?));
        Ok(())
    }
}

/// The files below `folder` that hold what was planted.
fn planted_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(planted_below(&path));
        } else {
            let bytes = fs::read(&path).expect("readable");
            let holds = bytes.windows(PLANTED.len()).any(|window| window == PLANTED.as_bytes());
            found.extend(
                (holds || path.to_string_lossy().contains(PLANTED)).then(|| path.display().to_string()),
            );
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_work_on_a_sealed_vault_and_nothing_they_say_lies_on_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let vault = folder.path().join("vault");
    drop(create_vault(&vault, &key()).expect("a vault"));
    for run in 0..2 {
        let runtime = runtime(&vault).await.expect("a runtime");
        let notes = Notes::default();
        runtime.register_agent("listener", Listener(notes.clone())).await.expect("registered");
        let said = notes.clone();
        let talker = Doing(move |ctx: AgentContext| {
            let notes = said.clone();
            async move {
                let emitted = ctx.emit("word.said", &format!("{PLANTED} {run}")).await?;
                notes.add(format!("emitted {}", emitted.payload::<String>()?));
                ctx.send("listener", &PLANTED).await?;
                let heard = ctx.history(0, 100, "word").await?;
                notes.add(format!(
                    "history {}",
                    heard.iter().filter(|event| event.payload().is_some()).count()
                ));
                for name in ["local", "vault"] {
                    let storage = ctx.storage(name)?;
                    let before = storage.get(PLANTED)?.map(|bytes| bytes.len());
                    notes.add(format!("{name} had {before:?}, listed {:?}", storage.list("plant")?.len()));
                    storage.put(PLANTED, PLANTED.as_bytes())?;
                    storage.put("gone", PLANTED.as_bytes())?;
                    anyhow::ensure!(storage.delete("gone")? && !storage.delete("gone")?);
                    anyhow::ensure!(storage.list("")? == [PLANTED]);
                }
                // A refusal holds what was asked for.
                let refused = ctx.emit(&format!("tool.{PLANTED}"), &PLANTED).await.is_err();
                anyhow::ensure!(refused);
                Ok(())
            }
        });
        runtime.register_agent("talker", talker).await.expect("registered");
        runtime.start().await.expect("started");
        runtime.idle().await;
        assert_eq!(runtime.problems(), Vec::<String>::new());
        runtime.stop().await.expect("stopped");
        let notes = notes.all();
        let had = if run == 0 { "None, listed 0" } else { "Some(17), listed 1" };
        let expected = [
            format!("emitted {PLANTED} {run}"),
            format!("word.said {PLANTED} {run}"),
            format!("message.sent {PLANTED}"),
            format!("history {}", run + 1),
            format!("local had {had}"),
            format!("vault had {had}"),
        ];
        for note in expected {
            assert!(notes.contains(&note), "{note}: {notes:?}");
        }
    }
    assert_eq!(planted_below(&vault), Vec::<String>::new());
    assert!(toka_vault::verify(&vault).expect("a vault").ok);
}

#[cfg(feature = "toolkit")]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_counted_look_at_this_machine_asks_for_is_sealed_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let (vault, root) = (folder.path().join("vault"), folder.path().join("root"));
    fs::create_dir(&root).expect("made");
    fs::write(root.join(PLANTED), "text").expect("written");
    drop(create_vault(&vault, &key()).expect("a vault"));
    let runtime = runtime(&vault).await.expect("a runtime");
    let reader = Doing(|ctx: AgentContext| async move {
        ctx.call("fs.read", serde_json::json!({"path": PLANTED})).await?;
        Ok(())
    });
    let grant = ["tool:fs.read(uses=1)"];
    runtime.register_agent_with("reader", reader, &grant, Some(&root)).await.expect("registered");
    runtime.start().await.expect("started");
    runtime.idle().await;
    assert_eq!(runtime.problems(), Vec::<String>::new());
    assert_eq!(crate::support::count(&runtime, "tool.requested"), 1);
    runtime.stop().await.expect("stopped");
    assert_eq!(planted_below(&vault), Vec::<String>::new());
    assert!(toka_vault::verify(&vault).expect("a vault").ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_a_sealed_vault_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let vault = folder.path().join("vault");
    drop(create_vault(&vault, &key()).expect("a vault"));
    let manifest = || fs::read(vault.join("manifest")).expect("a manifest");
    let before = manifest();
    let none = Runtime::new(in_vault(&vault)).await.err();
    assert!(matches!(none, Some(RuntimeError::Vault(StoreError::Sealed { .. }))), "{none:?}");
    let other = Key::Passphrase(Passphrase::new("other").expect("a passphrase"));
    let wrong = Runtime::builder(in_vault(&vault)).key(other).build().await.err();
    assert!(matches!(wrong, Some(RuntimeError::Vault(StoreError::Keys(_)))), "{wrong:?}");
    assert_eq!(manifest(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_outlives_an_older_copy_of_the_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let vault = folder.path().join("vault");
    drop(create_vault(&vault, &key()).expect("a vault"));
    let first = runtime(&vault).await.expect("a runtime");
    let talker = Doing(|ctx: AgentContext| async move {
        ctx.emit("word.said", &PLANTED).await.map(drop).map_err(Into::into)
    });
    first.register_agent("talker", talker).await.expect("registered");
    first.start().await.expect("started");
    first.idle().await;
    let older = fs::read(keys_path(&vault)).expect("keys");
    let subject = Subject::Author(EntityId::named("talker"));
    let receipt = first.erase(&subject).await.expect("erased").expect("there was content");
    assert_eq!(receipt.kind, "subject.erased");
    assert!(first.erase(&subject).await.expect("nothing left").is_none());
    first.stop().await.expect("stopped");

    fs::write(keys_path(&vault), older).expect("written");
    let second = runtime(&vault).await.expect("a runtime");
    let notes = Notes::default();
    let heard = notes.clone();
    let reader = Doing(move |ctx: AgentContext| {
        let notes = heard.clone();
        async move {
            for event in ctx.history(0, 100, "word").await? {
                notes.add(format!("{} {}", event.header.kind, event.payload().is_some()));
            }
            Ok(())
        }
    });
    second.register_agent("reader", reader).await.expect("registered");
    second.start().await.expect("started");
    second.idle().await;
    assert_eq!(notes.all(), ["word.said false"], "what was erased stays erased");
    second.stop().await.expect("stopped");
}
