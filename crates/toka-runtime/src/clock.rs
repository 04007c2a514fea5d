//! Time as a part that can be exchanged: the machine's clock, or one that a test moves.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use toka_agents::BoxFuture;
use toka_kernel::WorldState;
use toka_kernel::limits::MAX_CLOCK_JUMP;
use toka_types::Timestamp;
use tokio::sync::watch;

/// Where the runtime takes the time from.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
    /// Waits until that time has come.
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'_, ()>;
    /// How much time has passed since some moment, by something that nobody can set: what tells a jump of
    /// [`now`](Self::now) from time that went by. `None`: nothing here can tell.
    fn elapsed(&self) -> Option<Duration> {
        None
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// The longest that a sleep goes without looking at the clock again: a machine that was suspended, or whose
/// clock was set, is noticed within it.
const LONGEST_NAP: Duration = Duration::from_secs(3600);

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A machine whose clock stands before 1970 counts as being there.
        Timestamp::EPOCH.saturating_add(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            loop {
                let left = at.since(self.now());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(LONGEST_NAP)).await;
            }
        })
    }

    /// The time since the machine was started; with the feature `vault` that in which it slept is part of it, so that a
    /// laptop that wakes up has not jumped.
    fn elapsed(&self) -> Option<Duration> {
        #[cfg(feature = "vault")]
        {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
            let seconds = u64::try_from(time.tv_sec).ok()?;
            Some(Duration::new(seconds, u32::try_from(time.tv_nsec).ok()?))
        }
        #[cfg(not(feature = "vault"))]
        {
            static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
            Some(START.get_or_init(std::time::Instant::now).elapsed())
        }
    }
}

/// A clock that is believed as long as it agrees with the time that passes. From a jump on, this one goes on by the time
/// that passes alone, until somebody confirms what the clock shows: so nothing ends and nothing is due because of a jump.
pub(crate) struct Trusted {
    clock: Arc<dyn Clock>,
    basis: Mutex<Basis>,
    /// Told when the time is set, so that whoever sleeps looks again.
    set: watch::Sender<()>,
}

/// From when on the time that passes is added up.
struct Basis {
    believed: Timestamp,
    elapsed: Duration,
    /// True from a jump on until it is confirmed.
    jumped: bool,
    /// What the clock showed after a jump that is not recorded yet.
    unrecorded: Option<Timestamp>,
}

impl Trusted {
    /// The clock of a runtime whose world is as `world` says. How long nothing ran, nothing can tell, so a clock that is ahead
    /// of the log is believed; one that is behind it by more than the bound is not.
    pub(crate) fn new(clock: Arc<dyn Clock>, world: &WorldState) -> Self {
        let (wall, last) = (clock.now(), world.last_at());
        let behind = world.clock_reference().since(wall) > MAX_CLOCK_JUMP;
        let jumped = world.clock_jump().is_some() || behind;
        let basis = Basis {
            believed: if jumped { last } else { wall },
            elapsed: clock.elapsed().unwrap_or_default(),
            jumped,
            unrecorded: (behind && world.clock_jump().is_none()).then_some(wall),
        };
        Self { clock, basis: Mutex::new(basis), set: watch::channel(()).0 }
    }

    /// What the clock shows, believed or not.
    pub(crate) fn shown(&self) -> Timestamp {
        self.clock.now()
    }

    /// True from a jump on until it is confirmed.
    #[cfg(any(feature = "toolkit", feature = "auth", feature = "vault"))]
    pub(crate) fn has_jumped(&self) -> bool {
        self.basis().jumped
    }

    /// What the clock showed after a jump, once.
    pub(crate) fn take_jump(&self) -> Option<Timestamp> {
        self.basis().unrecorded.take()
    }

    /// Believes the clock again from now on.
    pub(crate) fn confirm(&self) {
        let (believed, elapsed) = (self.clock.now(), self.clock.elapsed().unwrap_or_default());
        *self.basis() = Basis { believed, elapsed, jumped: false, unrecorded: None };
        self.set.send_replace(());
    }

    fn basis(&self) -> MutexGuard<'_, Basis> {
        self.basis.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trusted {
    /// The time, as far as it is believed.
    pub(crate) fn now(&self) -> Timestamp {
        let mut basis = self.basis();
        // Both are looked at while nobody else does, so that each look is compared with the one before it.
        let (wall, elapsed) = (self.clock.now(), self.clock.elapsed());
        let Some(elapsed) = elapsed else { return if basis.jumped { basis.believed } else { wall } };
        let expected = basis.believed.saturating_add(elapsed.saturating_sub(basis.elapsed));
        if basis.jumped {
            return expected;
        }
        if wall.since(expected).max(expected.since(wall)) > MAX_CLOCK_JUMP {
            basis.jumped = true;
            basis.unrecorded = Some(wall);
            return expected;
        }
        (basis.believed, basis.elapsed) = (wall, elapsed);
        wall
    }

    /// Waits until that time has come, and is believed.
    pub(crate) fn sleep_until(&self, at: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut set = self.set.subscribe();
            loop {
                let left = at.since(self.now());
                if left.is_zero() {
                    return;
                }
                // Where the clock is not believed it is asked for as much time as is left.
                let target = self.clock.now().saturating_add(left);
                tokio::select! {
                    () = self.clock.sleep_until(target) => {}
                    _ = set.changed() => {}
                    () = tokio::time::sleep(LONGEST_NAP) => {}
                }
            }
        })
    }
}
