//! The snapshot of a world of a million entities: how long the loop waits while it is written, against the same loop
//! without one, and how long a start takes that goes on from it, against one that folds the log.

#[path = "../../../benches/harness.rs"]
mod harness;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use toka_kernel::{Kernel, Submission};
use toka_runtime::config::VaultConfig;
use toka_runtime::{Runtime, RuntimeConfig};
use toka_types::operation::{Authority, Envelope, GrantTerms};
use toka_types::{EntityId, Name, Operation, Timestamp};
use toka_vault::snapshot::Snapshots;
use toka_vault::{Journal, LogId, LogWriter, Room, Store};

/// Agents in the world, each with its grant.
const ENTITIES: usize = 1_000_000;
const BATCH: usize = 4096;
/// Longer than a log must be quiet before its projections are saved.
const WATCHED: Duration = Duration::from_millis(2500);

fn main() {
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("an executor");
    let bench = harness::Bench::new("snapshot");
    let vault = bench.directory().join("vault");
    populate(&vault);
    let snapshots = Snapshots::keyed(bench.directory().join("snapshots"), [1; 32]);
    let file = bench.directory().join("snapshots/world-main.snapshot");

    let mut folds = vec![started(&executor, &vault, None).0];
    let (_, without) = started(&executor, &vault, None);
    let (took, writing) = started(&executor, &vault, Some(&snapshots));
    folds.push(took);
    let bytes = std::fs::metadata(&file).expect("a snapshot was written").len();
    bench.line(
        "pause",
        "ms",
        millis(writing),
        Some((millis(without), "the longest wait without a snapshot")),
    );
    bench.line("bytes", "B/entity", bytes as f64 / ENTITIES as f64, None);
    let mut restored: Vec<_> = (0..5).map(|_| started(&executor, &vault, Some(&snapshots)).0).collect();
    restored.sort_unstable();
    let (restored, folded) = (millis(restored[restored.len() / 2]), millis(folds[0].min(folds[1])));
    bench.line("restore", "ms", restored, Some((folded, "folding the log anew")));
}

fn millis(time: Duration) -> f64 {
    1000.0 * time.as_secs_f64()
}

/// How long a start takes, and the longest that the loop let a question wait until some time after it.
fn started(
    executor: &tokio::runtime::Runtime,
    vault: &Path,
    snapshots: Option<&Snapshots>,
) -> (Duration, Duration) {
    let config = RuntimeConfig { vault: Some(VaultConfig::new(vault)), ..RuntimeConfig::default() };
    executor.block_on(async {
        let start = Instant::now();
        let mut builder = Runtime::builder(config);
        if let Some(snapshots) = snapshots {
            builder = builder.snapshots(snapshots.clone());
        }
        let runtime = builder.build().await.expect("a runtime");
        let took = start.elapsed();
        let mut longest = Duration::ZERO;
        let watching = Instant::now();
        while watching.elapsed() < WATCHED {
            let asked = Instant::now();
            runtime.world(|world| world.next_seq()).await.expect("a world");
            longest = longest.max(asked.elapsed());
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        runtime.stop().await.expect("stopped");
        (took, longest)
    })
}

/// A vault in which the operator spawned [`ENTITIES`] agents.
fn populate(vault: &Path) {
    let (journal, _) = Journal::open(vault).expect("a vault opens");
    let store: Arc<dyn Store> = Arc::new(journal);
    let mut writer = LogWriter::open(Arc::clone(&store), LogId::main()).expect("a log opens");
    let mut kernel = Kernel::new();
    let mut step = |authority, operations: Vec<Operation>| {
        let submission = |operation| {
            let origin = EntityId::operator();
            Submission::new(Envelope { origin, authority, op_id: None, causes: Vec::new(), operation })
        };
        let step = kernel.step(operations.into_iter().map(submission).collect(), Timestamp(1_000_000_000));
        assert!(
            step.replies.iter().all(Result::is_ok),
            "{:?}",
            step.replies.iter().find(|reply| reply.is_err())
        );
        writer.append_computed(&step.events, Room::Ordinary).expect("appended");
        kernel.world().operator_grant().expect("open")
    };
    let everything = || vec!["**".parse().expect("well formed")];
    let root =
        Authority::Grant(step(Authority::Host, vec![Operation::OpenLog { capabilities: everything() }]));
    let name = |text: &str| Name::new(text).expect("a name");
    for first in (0..ENTITIES).step_by(BATCH) {
        let spawn = |i: usize| Operation::SpawnAgent {
            name: name(&format!("agent-{i}")),
            behaviour: name("Logger"),
            grant: GrantTerms {
                uses: vec![
                    "event:emit".parse().expect("well formed"),
                    "tool:fs.read(path=docs/**)".parse().expect("well formed"),
                ],
                ..GrantTerms::default()
            },
            budget: None,
            quarantine: None,
        };
        step(root, (first..ENTITIES.min(first + BATCH)).map(spawn).collect());
    }
    store.close().expect("closed");
}
