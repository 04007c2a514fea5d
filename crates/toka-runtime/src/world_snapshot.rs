//! The snapshot of the world: kept by a follower of the committed log, so that the loop never pauses for it, and a start
//! need not fold the whole log.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toka_kernel::saved::Saved;
use toka_kernel::{FactsError, Kernel, WorldState};
use toka_types::{Event, EventHeader, KeyId};
use toka_vault::seal::{Keyring, erased_by};
use toka_vault::snapshot::{Fold, Resumed, SnapshotError, Snapshots};
use toka_vault::{LogId, Store};

use crate::log::LogError;
use crate::projection::Projection;
use crate::runtime::RuntimeError;

/// A snapshot is written once this many events came after the last one: folding fewer takes milliseconds.
const EVERY: u64 = 4096;

/// A kernel as a fold of a log, and the keys that the log says were destroyed.
#[derive(Clone, Default)]
struct Folded {
    kernel: Kernel,
    erased: BTreeSet<KeyId>,
}

impl Fold for Folded {
    const NAME: &'static str = "world";
    const VERSION: u32 = 3;
    type Error = FactsError;

    fn apply(&mut self, header: &EventHeader) -> Result<(), FactsError> {
        self.erased.extend(erased_by(header));
        self.kernel.replay(header)
    }
}

impl Serialize for Folded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Saved(self.kernel.world()), &self.erased).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Folded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (Saved(world), erased) = <(Saved<WorldState>, BTreeSet<KeyId>)>::deserialize(deserializer)?;
        Ok(Self { kernel: Kernel::in_world(world), erased })
    }
}

/// Follows the log beside the kernel loop and writes snapshots.
pub(crate) struct Follower {
    snapshots: Snapshots,
    keyring: Option<Arc<Keyring>>,
    log: LogId,
    folded: Resumed<Folded>,
    saved: u64,
}

/// The kernel at the end of `log`, from a snapshot if there is a good one; the keys that the log says were destroyed; and
/// what keeps the snapshot from now on. That of a sealed vault is sealed with the keys of `keyring`.
pub(crate) fn resume(
    snapshots: Snapshots,
    keyring: Option<Arc<Keyring>>,
    store: &Arc<dyn Store>,
    log: &LogId,
) -> Result<(Kernel, Vec<KeyId>, Follower), RuntimeError> {
    let folded =
        sealed(&snapshots, keyring.as_deref()).resume::<Folded>(store.as_ref(), log).map_err(unfolded)?;
    if let Some(reason) = &folded.refused {
        let path = snapshots.path::<Folded>(log);
        tracing::warn!("the snapshot {} is not used: {reason}; the log is folded anew", path.display());
    }
    if folded.from > 0 {
        tracing::debug!(event = folded.from, "the world is that of a snapshot");
    }
    let (kernel, saved) = (folded.state.kernel.clone(), folded.from);
    let erased = folded.state.erased.iter().copied().collect();
    Ok((kernel, erased, Follower { snapshots, keyring, log: log.clone(), folded, saved }))
}

/// The world at the end of `log`, for whoever only reads: from the last snapshot that a runtime left, if there is one that
/// can be used, else folded from the first event on. Nothing is written.
///
/// # Errors
/// If the log cannot be read, or one of its events cannot be folded.
pub fn read_world(
    snapshots: Option<Snapshots>,
    keyring: Option<&Keyring>,
    store: &dyn Store,
    log: &LogId,
) -> Result<Kernel, RuntimeError> {
    let folded = match snapshots {
        Some(snapshots) => sealed(&snapshots, keyring).resume::<Folded>(store, log).map_err(unfolded)?,
        None => {
            let mut folded = Resumed::<Folded>::default();
            folded.advance(store, log).map_err(unfolded)?;
            folded
        }
    };
    if let Some(reason) = &folded.refused {
        tracing::debug!("the world's snapshot is not used: {reason}");
    }
    Ok(folded.state.kernel)
}

fn unfolded(error: SnapshotError<FactsError>) -> RuntimeError {
    match error {
        SnapshotError::Store(error) => error.into(),
        SnapshotError::Fold { error, .. } => error.into(),
    }
}

/// The snapshots under the key that the vault's projections have now: an erasure gives them another one.
fn sealed(snapshots: &Snapshots, keyring: Option<&Keyring>) -> Snapshots {
    let snapshots = snapshots.clone();
    match keyring {
        Some(keyring) => snapshots.sealed(keyring.projection_key()),
        None => snapshots,
    }
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

    fn is_ahead(&self) -> bool {
        self.folded.next_seq() - self.saved >= EVERY
    }

    fn persist(&mut self) -> anyhow::Result<()> {
        if self.is_ahead() {
            let snapshots = sealed(&self.snapshots, self.keyring.as_deref());
            snapshots.save(&self.log, &self.folded).map_err(LogError::from)?;
            self.saved = self.folded.next_seq();
        }
        Ok(())
    }
}
