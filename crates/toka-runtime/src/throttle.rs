//! Holds back who is refused again and again, so that one agent's refusals do not take the others' turns.
//!
//! Whatever waits for the kernel waits in one queue, and a refusal takes its place there like any other operation. An origin
//! that was refused often has what it asks next put into the queue at a pace; whoever is not refused is never held back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use toka_types::EntityId;

/// The time that one refusal stands for: 200 a second take a hundredth of a thread, and few syncs of their own.
const PACE: Duration = Duration::from_millis(5);
/// Refusals at any speed before the pace is kept: a walk over a folder of which much is not allowed is no flood.
const BURST: u32 = 1000;
/// Origins that are remembered before those are looked for that have nothing to wait for.
const MANY: usize = 1024;

/// What is known of those who were refused lately.
#[derive(Default)]
pub(crate) struct Throttle {
    /// False as long as nobody was refused: then nothing is looked up.
    any: AtomicBool,
    debts: Mutex<Debts>,
}

#[derive(Default)]
struct Debts {
    /// When all refusals of an origin, at the pace, are over.
    ends: HashMap<EntityId, Instant>,
    /// How many there were after the last look for those that are over.
    kept: usize,
}

impl Throttle {
    /// Waits for the origin's turn.
    pub(crate) async fn pass(&self, origin: EntityId) {
        if self.any.load(Ordering::Relaxed)
            && let Some(turn) = self.turn(origin, Instant::now())
        {
            tokio::time::sleep_until(turn.into()).await;
        }
    }

    /// Notes that something of the origin's was refused.
    pub(crate) fn refused(&self, origin: EntityId) {
        // The operator is a person, and the runtime itself.
        if origin != EntityId::operator() {
            self.note(origin, Instant::now());
            self.any.store(true, Ordering::Relaxed);
        }
    }

    /// When what the origin asks may go on, if not now. It counts as refused until something else is known, so that of many
    /// that are asked at once each has a turn of its own.
    fn turn(&self, origin: EntityId, now: Instant) -> Option<Instant> {
        let mut debts = self.debts.lock().unwrap_or_else(PoisonError::into_inner);
        let end = debts.ends.get_mut(&origin)?;
        let turn = end.checked_sub(PACE * BURST).filter(|turn| *turn > now)?;
        *end += PACE;
        Some(turn)
    }

    fn note(&self, origin: EntityId, now: Instant) {
        let mut debts = self.debts.lock().unwrap_or_else(PoisonError::into_inner);
        if debts.ends.len() >= MANY.max(2 * debts.kept) {
            debts.ends.retain(|_, end| *end > now);
            debts.kept = debts.ends.len();
        }
        let end = debts.ends.entry(origin).or_insert(now);
        // What was held back has been counted.
        if *end <= now + PACE * BURST {
            *end = now.max(*end) + PACE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str) -> EntityId {
        EntityId::named(name)
    }

    #[test]
    fn a_flood_is_kept_to_a_pace_and_nobody_else_is() {
        let throttle = Throttle::default();
        let began = Instant::now();
        let mut now = began;
        for _ in 0..BURST {
            assert_eq!(throttle.turn(who("a"), now), None);
            throttle.note(who("a"), now);
        }
        for _ in 0..=200 {
            now = throttle.turn(who("a"), now).unwrap_or(now);
            throttle.note(who("a"), now);
            assert_eq!(throttle.turn(who("b"), now), None);
        }
        assert_eq!(now - began, PACE * 200);
        // All at once is no way around it.
        let turns: Vec<_> = (0..200).map(|_| throttle.turn(who("a"), now).expect("a turn")).collect();
        assert!(turns.is_sorted_by(|one, next| *next - *one == PACE));
        assert_eq!(turns[199] - now, PACE * 200);
        // With time it is forgotten.
        now += PACE * (201 + BURST);
        for _ in 0..BURST {
            assert_eq!(throttle.turn(who("a"), now), None);
            throttle.note(who("a"), now);
        }
    }

    #[test]
    fn those_who_have_nothing_to_wait_for_are_forgotten() {
        let (throttle, began) = (Throttle::default(), Instant::now());
        for n in 0..10 * MANY as u32 {
            throttle.note(who(&n.to_string()), began + PACE * (n / 100));
        }
        assert!(throttle.debts.lock().expect("sound").ends.len() <= 2 * MANY);
        throttle.refused(EntityId::operator());
        assert!(!throttle.any.load(Ordering::Relaxed));
    }
}
