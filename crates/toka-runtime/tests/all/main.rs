//! The runtime at its boundary: real threads, a real vault where there is one, and the same tests for every set of
//! features.

#[cfg(all(feature = "vault", feature = "toolkit"))]
mod approvals;
mod capabilities;
#[cfg(all(feature = "vault", feature = "toolkit"))]
mod clock;
#[cfg(all(feature = "vault", feature = "toolkit"))]
mod crashes;
#[cfg(feature = "vault")]
mod disk;
#[cfg(feature = "vault")]
mod envelopes;
mod features;
#[cfg(all(feature = "vault", feature = "toolkit"))]
mod flow;
mod idle;
mod lifecycle;
#[cfg(all(feature = "vault", feature = "toolkit"))]
mod manifests;
#[cfg(all(feature = "vault", feature = "toolkit"))]
mod outcomes;
#[cfg(all(feature = "vault", feature = "toolkit"))]
mod plans;
#[cfg(feature = "vault")]
mod restarts;
#[cfg(feature = "vault")]
mod retention;
#[cfg(feature = "vault")]
mod sealing;
mod signals;
mod snapshots;
mod spawning;
mod storage;
mod support;
mod tokens;
