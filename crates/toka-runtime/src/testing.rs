//! A runtime for tests: a vault in memory, a clock that the test moves, and a way to wait until nothing is left to do. For
//! fuzzers, what reads lines of strangers.

use std::sync::Arc;
use std::time::Duration;

use toka_agents::BoxFuture;
use toka_types::Timestamp;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::RuntimeConfig;
use crate::runtime::{Builder, Runtime, RuntimeError};

/// A clock that stands still until it is moved.
#[derive(Clone)]
pub struct SteppedClock(Arc<watch::Sender<(Timestamp, Duration)>>);

impl SteppedClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(watch::channel((start, Duration::ZERO)).0))
    }

    /// Moves the clock forward and wakes whoever waited for a time that has come.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|(now, elapsed)| (*now, *elapsed) = (now.saturating_add(by), *elapsed + by));
    }

    /// Sets the clock to another time, without any time passing.
    pub fn set(&self, to: Timestamp) {
        self.0.send_modify(|(now, _)| *now = to);
    }
}

impl Default for SteppedClock {
    /// Starts at 2026-01-01T00:00:00Z.
    fn default() -> Self {
        Self::new(Timestamp::from_millis(1_767_225_600_000))
    }
}

impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        self.0.borrow().0
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // The sender is this clock's own, so the channel is open.
            let _ = self.0.subscribe().wait_for(|(now, _)| *now >= at).await;
        })
    }

    fn elapsed(&self) -> Option<Duration> {
        Some(self.0.borrow().1)
    }
}

/// A runtime with a stepped clock, and with a vault in memory where the feature `vault` is on.
pub struct TestRuntime {
    /// The runtime.
    pub runtime: Runtime,
    /// Its clock.
    pub clock: SteppedClock,
    #[cfg(feature = "vault")]
    store: Arc<toka_vault::MemoryStore>,
}

impl TestRuntime {
    /// A runtime of `config` and whatever `customise` adds.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub async fn new(
        config: RuntimeConfig,
        customise: impl FnOnce(Builder) -> Builder,
    ) -> Result<Self, RuntimeError> {
        #[cfg(feature = "vault")]
        let store = Arc::new(toka_vault::MemoryStore::new());
        let clock = SteppedClock::default();
        let builder = Runtime::builder(config).clock(Arc::new(clock.clone()));
        #[cfg(feature = "vault")]
        let builder = builder.store(Arc::<toka_vault::MemoryStore>::clone(&store));
        let runtime = customise(builder).build().await?;
        runtime.start().await?;
        Ok(Self {
            runtime,
            clock,
            #[cfg(feature = "vault")]
            store,
        })
    }

    /// Waits until queues are empty and every agent is done or waits.
    pub async fn run_until_idle(&self) {
        self.runtime.idle().await;
    }

    /// Moves the clock and waits until nothing is left to do.
    pub async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.runtime.idle().await;
    }

    /// The vault.
    #[cfg(feature = "vault")]
    pub fn store(&self) -> &Arc<toka_vault::MemoryStore> {
        &self.store
    }
}

/// Takes the bytes for a line on the control socket, or for an operation alone, and decides what it asks in a new world: by the
/// operator, and signed.
///
/// # Panics
/// If something panics that must not, or what was read is not read again as it is written.
#[cfg(feature = "vault")]
pub fn envelope(bytes: &[u8]) {
    use toka_kernel::{Kernel, Submission};
    use toka_types::nonce::Nonce;
    use toka_types::operation::Authority;
    use toka_types::{Capability, EntityId, Envelope, GrantId, OpId, Operation};

    use crate::control::{Asked, OperationText, Order, Presented};

    let operation = match Asked::parse(bytes) {
        Err(_) => OperationText::parse(bytes).ok(),
        Ok(asked) => {
            let line = asked.to_line().unwrap_or_else(|error| panic!("{error}"));
            assert!(Asked::parse(&line).is_ok(), "{asked:?}");
            match asked {
                Asked::Operator { operation, .. } => Some(operation),
                Asked::Bearer(presented) => presented.order().ok().map(|Order { operation, .. }| operation),
                Asked::Renewal(renewal) => {
                    // What was signed for one is nothing that the other takes.
                    let order =
                        Presented { token: renewal.token.clone(), proof: None, order: renewal.terms.clone() };
                    assert!(renewal.terms().is_err() || order.order().is_err(), "{renewal:?}");
                    None
                }
            }
        }
    };
    let Some(Ok(operation)) = operation.map(OperationText::into_operation) else { return };
    let (mut kernel, at) = (Kernel::new(), Timestamp::from_millis(1_767_225_600_000));
    let open = Operation::OpenLog { capabilities: vec![Capability::all()] };
    let signed =
        Authority::Signed { grant: GrantId(1), nonce: Nonce([1; 16]), until: Timestamp(at.0 + 60_000_000) };
    let of_operator = |authority, operation| {
        let op_id = matches!(authority, Authority::Grant(_)).then_some((OpId([2; 16]), at));
        Envelope { origin: EntityId::operator(), authority, op_id, causes: Vec::new(), operation }
    };
    let asked = [
        of_operator(Authority::Host, open),
        of_operator(Authority::Grant(GrantId(1)), operation.clone()),
        of_operator(signed, operation.clone()),
        of_operator(signed, operation),
    ];
    let step = kernel.step(asked.into_iter().map(Submission::new).collect(), at);
    assert_eq!(step.replies.len(), 4);
    assert!(step.replies[3].is_err(), "a signature is good once");
}
