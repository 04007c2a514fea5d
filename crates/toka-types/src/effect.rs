//! Effect classes: what a call may do to the outside, and so what a crash means for it.

use core::fmt;

/// What a tool, a model or a driver may do to the outside world.
///
/// | class | request durable before it starts | after a crash without an outcome |
/// |---|---|---|
/// | pure, local read | no | run again |
/// | read over the network, idempotent | yes | run again under the same idempotency key |
/// | write | yes | in doubt: the tool's probe is asked, else a person |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum EffectClass {
    /// Computes from its arguments alone.
    Pure,
    /// Reads this machine: free, and no sink.
    LocalRead,
    /// Reads from elsewhere.
    Read,
    /// Changes something; doing it twice under one key is doing it once.
    Idempotent,
    /// Changes something each time.
    Write,
}

impl EffectClass {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pure => "pure",
            Self::LocalRead => "local-read",
            Self::Read => "read",
            Self::Idempotent => "idempotent",
            Self::Write => "write",
        }
    }

    /// True if a call may start before its request is durable: nobody outside can see that it ran.
    pub fn is_immediate(self) -> bool {
        matches!(self, Self::Pure | Self::LocalRead)
    }

    /// True if a call without a recorded outcome is simply run again.
    pub fn may_run_again(self) -> bool {
        !matches!(self, Self::Write)
    }
}

impl fmt::Display for EffectClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
