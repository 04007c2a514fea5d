//! The world's snapshot: a start goes on from it, and from nothing else.

use std::path::Path;

use toka_runtime::runtime::{Runtime, RuntimeConfig};
use toka_runtime::{AgentContext, read_world};
use toka_types::{EntityId, Envelope, Operation, Subject};
use toka_vault::LogId;
use toka_vault::seal::{Key, Keyring, create_vault};
use toka_vault::snapshot::Snapshots;

use crate::support::{Doing, in_vault};

/// Events of one run: more than a snapshot waits for.
const EVENTS: usize = 4_500;

async fn runtime(config: &RuntimeConfig, snapshots: &Snapshots) -> Runtime {
    Runtime::builder(config.clone()).snapshots(snapshots.clone()).build().await.expect("a runtime")
}

fn snapshot(directory: &Path) -> std::path::PathBuf {
    directory.join("world-main.snapshot")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_goes_on_from_the_snapshot_and_refuses_a_wrong_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, directory) = (in_vault(&folder.path().join("vault")), folder.path().join("snapshots"));
    let snapshots = Snapshots::keyed(&directory, [1; 32]);
    let first = runtime(&config, &snapshots).await;
    let writer = Doing(|ctx: AgentContext| async move {
        for n in 0..EVENTS / 100 {
            let observations = (0..100).map(|m| (n, m)).collect::<Vec<_>>();
            for observation in observations {
                ctx.emit("item", &observation).await?;
            }
        }
        Ok(())
    });
    first.register_agent("writer", writer).await.expect("registered");
    first.start().await.expect("started");
    first.idle().await;
    first.stop().await.expect("stopped");
    let expected = first.replay(.., |_, _| {}).await.expect("readable");
    drop(first);
    let good = std::fs::read(snapshot(&directory)).expect("a snapshot was written");

    let digests = async |snapshots: &Snapshots| {
        let again = runtime(&config, snapshots).await;
        let digests = again.world(toka_kernel::digests).await.expect("a world");
        again.stop().await.expect("stopped");
        digests
    };
    assert_eq!(digests(&snapshots).await, expected, "with the snapshot");
    // Whoever only reads takes it from there as well, and whatever they cannot use does not matter.
    let store = toka_vault::open_read_only(folder.path().join("vault")).expect("a vault");
    for key in [None, Some([1; 32]), Some([3; 32])] {
        let snapshots = key.map(|key| Snapshots::keyed(&directory, key));
        let kernel = read_world(snapshots, None, store.as_ref(), &LogId::main()).expect("readable");
        assert_eq!(toka_kernel::digests(kernel.world()), expected);
    }
    // What somebody else wrote, or what is damaged, is not believed; the world is the log's all the same.
    assert_eq!(digests(&Snapshots::keyed(&directory, [2; 32])).await, expected, "with another key");
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(snapshot(&directory), &bad).expect("written");
    assert_eq!(digests(&snapshots).await, expected, "with a damaged one");
    // A whole snapshot of a world that is not this log's.
    std::fs::write(snapshot(&directory), &good).expect("written");
    let other = in_vault(&folder.path().join("other"));
    let strange = runtime(&other, &snapshots).await;
    assert_eq!(strange.world(|world| world.agents().count()).await.expect("a world"), 0);
    strange.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_before_a_snapshot_of_a_sealed_vault_stays_erased() {
    let folder = tempfile::tempdir().expect("a folder");
    let (vault, directory) = (folder.path().join("vault"), folder.path().join("snapshots"));
    let key = Key::KeyFile(folder.path().join("key"));
    drop(create_vault(&vault, &key).expect("a vault"));
    let snapshots = Snapshots::keyed(&directory, [1; 32]);
    let start = async || {
        let builder = Runtime::builder(in_vault(&vault)).key(key.clone()).snapshots(snapshots.clone());
        builder.build().await.expect("a runtime")
    };
    let first = start().await;
    let subject = Subject::Author(EntityId::named("writer"));
    let has_keys = || Keyring::open_read_only(&vault, &key).expect("keys").key_of(&subject);
    let writer = Doing(|ctx: AgentContext| async move {
        for n in 0..EVENTS {
            ctx.emit("item", &n).await?;
        }
        Ok(())
    });
    first.register_agent("writer", writer).await.expect("registered");
    first.start().await.expect("started");
    first.idle().await;
    // The machine dies after the event and before the keys are destroyed, and a snapshot was saved in between.
    let erase = Envelope {
        origin: EntityId::operator(),
        authority: toka_types::operation::Authority::Host,
        op_id: None,
        causes: Vec::new(),
        operation: Operation::Erase { keys: vec![has_keys().expect("the writer's keys")] },
    };
    first.submit(erase).await.expect("recorded");
    first.idle().await;
    first.stop().await.expect("stopped");
    let expected = first.replay(.., |_, _| {}).await.expect("readable");
    drop(first);
    assert!(has_keys().is_some());
    let saved = std::fs::read(snapshot(&directory)).expect("a snapshot was written");
    assert!(!saved.windows(6).any(|part| part == b"writer"), "it is sealed");

    let again = start().await;
    assert_eq!(has_keys(), None, "the snapshot told of it");
    assert_eq!(again.world(toka_kernel::digests).await.expect("a world"), expected);
    again.stop().await.expect("stopped");
    let third = start().await;
    assert_eq!(
        third.world(toka_kernel::digests).await.expect("a world"),
        expected,
        "without a snapshot that opens"
    );
    third.stop().await.expect("stopped");
}
