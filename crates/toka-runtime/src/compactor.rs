//! Drops, on a thread of its own, the content that the rules of the configuration let go, and what was erased.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use toka_vault::{Compaction, CompactionReport, Journal, Retention, Store};

use crate::config::{DEFAULT_COMPACT_EVERY, VaultConfig, parse_duration};
use crate::host::Shared;
use crate::kernel_loop::Command;
use crate::retention::{Keeper, Needed};

/// Most bytes read in a second: the disk is there for the agents first.
const BYTES_PER_SECOND: u64 = 32 << 20;
/// How long a full queue is left alone.
const PAUSE: Duration = Duration::from_millis(10);

/// The thread; it ends with the value.
pub(crate) struct Compactor {
    /// Nothing is sent: the other end sees it go.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Work {
    journal: Arc<Journal>,
    config: VaultConfig,
    shared: Arc<Shared>,
    stopping: Arc<AtomicBool>,
    /// How often content was dropped that projections have taken in.
    dropped: Arc<AtomicU64>,
}

impl Compactor {
    /// Begins, if there are rules, or content that can be erased.
    pub(crate) fn start(
        journal: Arc<Journal>,
        config: &VaultConfig,
        shared: &Arc<Shared>,
        stopping: &Arc<AtomicBool>,
        dropped: &Arc<AtomicU64>,
    ) -> std::io::Result<Option<Self>> {
        if config.retain.is_empty() && !journal.sealed().is_ok_and(|keys| keys.is_some()) {
            return Ok(None);
        }
        let default = parse_duration(DEFAULT_COMPACT_EVERY).unwrap_or(Duration::from_secs(3600));
        let every = config.compact_every.unwrap_or(default);
        let (stop, stopped) = mpsc::channel();
        let (shared, stopping) = (Arc::clone(shared), Arc::clone(stopping));
        let work = Work { journal, config: config.clone(), shared, stopping, dropped: Arc::clone(dropped) };
        let thread = std::thread::Builder::new().name("toka-compact".into()).spawn(move || {
            while stopped.recv_timeout(every) == Err(mpsc::RecvTimeoutError::Timeout) {
                work.compact();
            }
        })?;
        Ok(Some(Self { stop: Some(stop), thread: Some(thread) }))
    }
}

impl Drop for Compactor {
    fn drop(&mut self) {
        self.stop = None;
        if self.thread.take().map(JoinHandle::join).is_some_and(|ended| ended.is_err()) {
            tracing::warn!("compacting the vault panicked; the vault is as it was");
        }
    }
}

impl Work {
    fn compact(&self) {
        let rules = &self.config.retain;
        let needed = if rules.is_empty() { Some(Needed::default()) } else { self.needed() };
        let Some(needed) = needed else { return };
        let now = self.shared.clock.now();
        let mut keeper = Keeper::new(rules, needed, now);
        let retention: Option<&mut dyn Retention> = (!rules.is_empty()).then_some(&mut keeper);
        let stop = || self.stopping.load(Ordering::SeqCst);
        let how = Compaction { now, thorough: false, bytes_per_second: Some(BYTES_PER_SECOND), stop: &stop };
        match self.journal.compact(retention, &how) {
            Ok(CompactionReport { expired, erased, rewritten, .. }) => {
                for (amount, what) in [(expired, "content expired"), (erased, "erased content was dropped")] {
                    if amount.contents > 0 {
                        tracing::info!(
                            contents = amount.contents,
                            bytes = amount.bytes,
                            segments = rewritten,
                            "{what}"
                        );
                    }
                }
                // Nothing is derived from what nobody could read.
                if expired.contents > 0 {
                    self.dropped.fetch_add(1, Ordering::SeqCst);
                }
            }
            Err(_) if stop() => {}
            // Nothing is lost, and the next time it is tried again.
            Err(error) => tracing::warn!(%error, "the vault cannot be compacted"),
        }
    }

    /// What the world needs now; `None` if the runtime stops.
    fn needed(&self) -> Option<Needed> {
        let (sender, receiver) = mpsc::channel();
        let mut query = Command::Query(Box::new(move |world| drop(sender.send(Needed::by(world)))));
        loop {
            match self.shared.commands.try_send(query) {
                Ok(()) => return receiver.recv().ok(),
                Err(tokio::sync::mpsc::error::TrySendError::Full(back)) => query = back,
                Err(tokio::sync::mpsc::error::TrySendError::Closed(_)) => return None,
            }
            if self.stopping.load(Ordering::SeqCst) {
                return None;
            }
            std::thread::sleep(PAUSE);
        }
    }
}
