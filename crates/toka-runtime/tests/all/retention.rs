//! What is kept whatever the rules say.

use std::time::{Duration, Instant};

use toka_runtime::config::RetainRule;
use toka_runtime::retention::{Keeper, Needed};
use toka_runtime::runtime::Runtime;
use toka_runtime::{AgentContext, Filter};
use toka_types::{Gone, Subject, Timestamp};
use toka_vault::seal::{Key, Passphrase};
use toka_vault::{Compaction, Journal, Store, VaultBus};

use crate::support::{Doing, in_vault};

const FOREVER: Timestamp = Timestamp(i64::MAX);

fn everything() -> RetainRule {
    RetainRule { age: Some(Duration::ZERO), ..RetainRule::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn artefacts_stay_and_the_rest_of_the_log_can_be_followed_without_content() {
    let folder = tempfile::tempdir().expect("a folder");
    let vault = folder.path().join("vault");
    let work = || {
        Doing(|ctx: AgentContext| async move {
            let storage = ctx.storage("vault")?;
            if storage.get("kept")?.is_none() {
                storage.put("kept", b"old")?;
                storage.put("kept", b"artefact")?;
                storage.put("gone", b"artefact that is deleted")?;
                storage.delete("gone")?;
                return Ok(());
            }
            anyhow::ensure!(storage.get("kept")?.as_deref() == Some(&b"artefact"[..]));
            anyhow::ensure!(storage.list("")? == ["kept"], "{:?}", storage.list(""));
            Ok(())
        })
    };
    let start = async || {
        let runtime = Runtime::new(in_vault(&vault)).await.expect("a runtime");
        runtime.register_agent("keeper", work()).await.expect("registered");
        runtime.start().await.expect("started");
        runtime.idle().await;
        assert_eq!(runtime.problems(), Vec::<String>::new());
        runtime
    };
    let runtime = start().await;
    runtime.emit("note.taken", &"a note").await.expect("recorded");
    let needed = runtime.world(Needed::by).await.expect("a world");
    runtime.stop().await.expect("stopped");

    let (journal, _) = Journal::open(&vault).expect("a vault");
    let mut keeper = Keeper::new(&[everything()], needed, FOREVER);
    let report = journal.compact(Some(&mut keeper), &Compaction::thorough(FOREVER)).expect("compacted");
    // Two old artefacts, two words on a deleted one less its last, and a note.
    assert!(report.expired.contents >= 3, "{report:?}");
    journal.close().expect("closed");
    drop(journal);

    let runtime = start().await;
    runtime.replay(.., |_, _| {}).await.expect("the log is folded without content");
    let mut events = runtime.bus().subscribe_from(0, Filter::all().kind("note"));
    let note = events.try_recv().expect("readable").expect("a note");
    assert_eq!((note.payload(), note.header.content.len()), (None, 1));
    runtime.stop().await.expect("stopped");
    let journal = Journal::open_read_only(&vault).expect("a vault");
    assert_eq!(journal.gone(&note.header.content[0].digest).expect("readable"), Some(Gone::Expired));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_drops_what_its_rules_let_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = in_vault(&folder.path().join("vault"));
    let vault = config.vault.as_mut().expect("a vault");
    vault.retain = vec![everything()];
    vault.compact_every = Some(Duration::from_millis(50));
    let runtime = Runtime::new(config).await.expect("a runtime");
    runtime.start().await.expect("started");
    runtime.emit("note.taken", &"a note of some length ".repeat(100)).await.expect("recorded");
    let noted = runtime.bus().subscribe_from(0, Filter::all().kind("note")).try_recv();
    let digest = noted.expect("readable").expect("a note").header.content[0].digest;
    let reader = Journal::open_read_only(&folder.path().join("vault")).expect("a reader");
    let deadline = Instant::now() + Duration::from_secs(60);
    while reader.gone(&digest).expect("readable").is_none() {
        assert!(Instant::now() < deadline, "nothing expires");
        tokio::time::sleep(Duration::from_millis(20)).await;
        reader.refresh().expect("readable");
    }
    runtime.emit("note.taken", &"another note").await.expect("recorded");
    runtime.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_without_rules_drops_what_was_erased() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("vault");
    let key = Key::Passphrase(Passphrase::new("correct horse").expect("a passphrase"));
    drop(VaultBus::create_sealed(&path, &key).expect("a vault"));
    let mut config = in_vault(&path);
    config.vault.as_mut().expect("a vault").compact_every = Some(Duration::from_millis(50));
    let runtime = Runtime::builder(config).key(key).build().await.expect("a runtime");
    runtime.start().await.expect("started");
    runtime.emit("note.taken", &"a note").await.expect("recorded");
    let noted = runtime.bus().subscribe_from(0, Filter::all().kind("note")).try_recv();
    let header = noted.expect("readable").expect("a note").header.clone();
    let reader = Journal::open_read_only(&path).expect("a reader");
    let is_there = || reader.content(&header.content[0].digest).expect("readable").is_some();
    assert!(is_there());
    runtime.erase(&Subject::Author(header.author)).await.expect("erased").expect("there was something");
    let deadline = Instant::now() + Duration::from_secs(60);
    while is_there() {
        assert!(Instant::now() < deadline, "the ciphertext stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
        reader.refresh().expect("readable");
    }
    assert_eq!(reader.gone(&header.content[0].digest).expect("readable"), Some(Gone::Erased));
    runtime.emit("note.taken", &"another note").await.expect("recorded");
    runtime.stop().await.expect("stopped");
}
