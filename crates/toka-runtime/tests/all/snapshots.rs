//! The world's snapshot: a start goes on from it, and from nothing else.

use std::path::Path;

use toka_runtime::AgentContext;
use toka_runtime::runtime::{Runtime, RuntimeConfig};
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
