//! The clock: what becomes of timers, ends and calls when it jumps.
//!
//! Whoever runs the kernel compares the clock with the time that passes. From a jump on it hands in times that go on
//! without it, so that nothing ends by it, and says so: no task fires, no approval expires and nothing is asked of the
//! outside until somebody has confirmed what the clock shows.

use toka_types::Timestamp;
use toka_types::facts::{ClockJumped, ClockReset, Facts};

use super::{Asked, Decided, one};
use crate::denial::{Code, Denied};

impl Asked<'_> {
    pub(super) fn jump_clock(&self, shows: Timestamp) -> Result<Vec<Decided>, Denied> {
        let asked = "clock:jump";
        self.host_only(asked)?;
        if self.world.operator.is_none() {
            return Err(self.deny(Code::LogNotOpen, asked, "the log is not open yet"));
        }
        Ok(one(Facts::ClockJumped(ClockJumped { shows })))
    }

    pub(super) fn reset_clock(&self, shows: Timestamp) -> Result<Vec<Decided>, Denied> {
        if self.world.clock_jump().is_none() {
            let rule = "the clock has not jumped; there is nothing to confirm";
            return Err(self.deny(Code::ClockRuns, "clock:reset", rule));
        }
        Ok(one(Facts::ClockReset(ClockReset { shows })))
    }

    /// Checks that the clock is believed.
    pub(super) fn clock_runs(&self, asked: impl std::fmt::Display) -> Result<(), Denied> {
        let Some(shows) = self.world.clock_jump() else { return Ok(()) };
        let rule = format!(
            "the clock jumped to {shows}, it is {} by the time that passed; tasks and calls to the outside wait until \
             the operator confirms it (clock.reset)",
            self.at
        );
        Err(self.deny(Code::ClockSuspended, &asked.to_string(), rule))
    }
}
