//! What repeating an effect would do.

use core::fmt;
use core::str::FromStr;

/// What a tool, a model or a driver does to the world, and therefore what may be done after a crash that
/// left a request without an outcome.
///
/// | Class | Name | Request durable before the start | After a crash |
/// |---|---|---|---|
/// | [`Pure`](Self::Pure) | `pure` | no | run again |
/// | [`Read`](Self::Read) of this machine | `local-read` | no | run again |
/// | [`Read`](Self::Read) over the network | `read` | yes | run again under the same key |
/// | [`Idempotent`](Self::Idempotent) | `idempotent` | yes | run again under the same key |
/// | [`Write`](Self::Write) | `write` | yes | in doubt until a probe or a person says what happened |
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EffectClass {
    /// A function of its input.
    Pure,
    /// Looks at the world and changes nothing.
    Read {
        /// True if it looks at this machine alone.
        local: bool,
    },
    /// Changes the world; under one key, twice is the same as once.
    Idempotent,
    /// Changes the world, and twice is not once.
    Write,
}

/// A text that names no effect class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no effect class; pure, local-read, read, idempotent and write are")]
pub struct UnknownEffect(pub alloc::string::String);

impl EffectClass {
    /// Every class, from the mildest on.
    pub const ALL: [Self; 5] =
        [Self::Pure, Self::Read { local: true }, Self::Read { local: false }, Self::Idempotent, Self::Write];

    /// The stable name, as it stands in manifests and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pure => "pure",
            Self::Read { local: true } => "local-read",
            Self::Read { local: false } => "read",
            Self::Idempotent => "idempotent",
            Self::Write => "write",
        }
    }

    /// True if the request must be durable before the effect starts.
    pub const fn request_first(self) -> bool {
        !matches!(self, Self::Pure | Self::Read { local: true })
    }

    /// True if, after a crash without an outcome, the effect may simply run again under the same key.
    pub const fn may_run_again(self) -> bool {
        !matches!(self, Self::Write)
    }
}

impl fmt::Display for EffectClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EffectClass {
    type Err = UnknownEffect;

    fn from_str(text: &str) -> Result<Self, UnknownEffect> {
        let unknown = || UnknownEffect(text.chars().take(80).collect());
        Self::ALL.into_iter().find(|class| class.as_str() == text).ok_or_else(unknown)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for EffectClass {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for EffectClass {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <alloc::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_stable_and_read_back() {
        let names = ["pure", "local-read", "read", "idempotent", "write"];
        for (class, name) in EffectClass::ALL.into_iter().zip(names) {
            assert_eq!(class.as_str(), name);
            assert_eq!(name.parse(), Ok(class));
        }
        assert!("Write".parse::<EffectClass>().is_err());
    }
}
