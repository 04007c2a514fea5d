//! The snapshot of the world: kept by a follower of the committed log, so that the loop never pauses for it, and a start
//! need not fold the whole log.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toka_kernel::{FactsError, Kernel, WorldState};
use toka_types::{Event, EventHeader};
use toka_vault::snapshot::{Fold, Resumed, SnapshotError, Snapshots};
use toka_vault::{LogId, Store};

use crate::log::LogError;
use crate::projection::Projection;
use crate::runtime::RuntimeError;

/// A snapshot is written once this many events came after the last one: folding fewer takes milliseconds.
const EVERY: u64 = 4096;

/// A kernel as a fold of a log.
#[derive(Clone, Default)]
struct Folded(Kernel);

impl Fold for Folded {
    const NAME: &'static str = "world";
    const VERSION: u32 = 1;
    type Error = FactsError;

    fn apply(&mut self, header: &EventHeader) -> Result<(), FactsError> {
        self.0.replay(header)
    }
}

impl Serialize for Folded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.world().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Folded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        WorldState::deserialize(deserializer).map(|world| Self(Kernel::in_world(world)))
    }
}

/// Follows the log beside the kernel loop and writes snapshots.
pub(crate) struct Follower {
    snapshots: Snapshots,
    log: LogId,
    folded: Resumed<Folded>,
    saved: u64,
}

/// The kernel at the end of `log`, from a snapshot if there is a good one, and what keeps the snapshot from now on.
pub(crate) fn resume(
    snapshots: Snapshots,
    store: &Arc<dyn Store>,
    log: &LogId,
) -> Result<(Kernel, Follower), RuntimeError> {
    let folded = snapshots.resume::<Folded>(store.as_ref(), log).map_err(|error| match error {
        SnapshotError::Store(error) => RuntimeError::from(error),
        SnapshotError::Fold { error, .. } => RuntimeError::from(error),
    })?;
    if let Some(reason) = &folded.refused {
        let path = snapshots.path::<Folded>(log);
        tracing::warn!("the snapshot {} is not used: {reason}; the log is folded anew", path.display());
    }
    if folded.from > 0 {
        tracing::debug!(event = folded.from, "the world is that of a snapshot");
    }
    let (kernel, saved) = (folded.state.0.clone(), folded.from);
    Ok((kernel, Follower { snapshots, log: log.clone(), folded, saved }))
}

impl Projection for Follower {
    fn name(&self) -> &str {
        "world"
    }

    fn position(&self) -> u64 {
        self.folded.next_seq()
    }

    fn apply(&mut self, event: &Event) -> anyhow::Result<()> {
        Ok(self.folded.apply(&event.header)?)
    }

    fn persist(&mut self) -> anyhow::Result<()> {
        let next = self.folded.next_seq();
        if next - self.saved >= EVERY {
            self.snapshots.save(&self.log, &self.folded).map_err(LogError::from)?;
            self.saved = next;
        }
        Ok(())
    }
}
