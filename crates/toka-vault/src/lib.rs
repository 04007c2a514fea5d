//! A causal, content-addressed, append-only event store.
//!
//! A vault holds ordered logs of events. An event has a [`core::EventHeader`] (kind, author, causes,
//! labels, facts) and content, which is stored once per digest. Its id is the digest of what it says
//! and of what caused it, so history cannot be changed without being seen, and committing the same
//! event twice stores it once. What a commit returned is durable.
//!
//! It is **not** a database with updates or queries: what follows from events (indexes, search,
//! clusters) is a projection, which can be deleted and comes back from the log. It does not decide who
//! may write what; that is `toka-kernel`.
//!
//! | Module | Holds |
//! |---|---|
//! | [`core`] | the types: events, payloads, logs |
//! | [`hash`] | content digest, causal digest, the log tree |
//! | [`bus`] | [`VaultBus`]: commit, subscribe, read |
//! | [`store`] | the [`Store`] trait and its errors |
//! | [`writer`] | [`LogWriter`], the one writer of a log, for a program that owns its loop |
//! | [`memory`], [`journal`] | the stores: in memory, and the durable default |
//! | [`seal`] | encryption at rest, and the keys that can be destroyed |
//! | [`mod@scan`] | reading a log with a filter |
//! | [`mod@verify`] | checking every byte of a vault |
//! | [`testing`] | the suite that every store passes |
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use toka_vault::VaultBus;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Login { user: String }
//!
//! let vault = VaultBus::in_memory();
//! let login = vault.blocking().commit(&Login { user: "alice".into() }, &[], "auth.login", ())?;
//! let again = vault.blocking().commit(&Login { user: "alice".into() }, &[], "auth.login", ())?;
//! assert_eq!(login, again, "the identical event is stored once");
//! # Ok::<(), toka_vault::StoreError>(())
//! ```

pub mod bus;
pub mod core;
pub mod hash;
pub mod intent;
#[cfg(feature = "journal")]
pub mod journal;
pub mod memory;
pub mod scan;
#[cfg(feature = "seal")]
pub mod seal;
#[cfg(feature = "search")]
pub mod search;
pub mod store;
#[doc(hidden)]
pub mod testing;
#[cfg(feature = "journal")]
pub mod verify;
pub mod writer;

pub use bus::{IntoVector, VaultBus};
pub use core::{EventHeader, EventPayload, LogId, NewEvent, Record};
#[cfg(feature = "journal")]
pub use journal::Journal;
pub use memory::MemoryStore;
pub use scan::{LogHistory, Scan, scan};
pub use store::{Head, Room, Statistics, Store, StoreError};
#[cfg(feature = "journal")]
pub use verify::{Problem, VerifyReport, What, verify};
pub use writer::{Committed, LogWriter};
