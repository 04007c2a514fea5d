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
//! | [`bus`] | [`VaultBus`]: commit, subscribe, read; several logs of one vault, and batches across them |
//! | [`core`] | the types: events, payloads, logs |
//! | [`hash`], [`proof`] | content digest, causal digest, the log tree and what it proves |
//! | [`intent`] | clusters of events that mean the same |
//! | [`fork`] | logs that share the first events of another log |
//! | [`versioned`] | payload types that change over the years |
//! | [`mod@scan`] | reading a log with a filter, both ways, from a [`Cursor`] on |
//! | [`walk`] | what an event was caused by, and what it caused |
//! | [`snapshot`] | the state of a program that folds a log, kept and verified |
//! | [`statistics`] | what a log holds, by kind |
//! | [`store`] | the [`Store`] trait and its errors |
//! | [`writer`] | [`LogWriter`], the one writer of a log, for a program that owns its loop |
//! | [`memory`], [`journal`] | the stores: in memory, and the durable default |
//! | [`seal`] | encryption at rest, and the keys that can be destroyed |
//! | [`engine`] | opening a vault whatever store keeps it: SQLite, sled and RocksDB, each behind a feature |
//! | [`mod@migrate`] | moving a vault to another store |
//! | [`retention`] | which content is kept, and for how long |
//! | [`mod@verify`] | checking every byte of a vault |
//! | [`note`], [`checkpoint`], [`witness`] | what is signed of a log, and by whom |
//! | [`bundle`] | a stretch of a log in one file that can be checked anywhere |
//! | [`testing`] | the suite that every store passes |
//!
//! Several logs, forks, versions, cursors and snapshots have an example each in their modules. Here is one of the rest:
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
//!
//! // Causes, a vector, and the way back.
//! let seen = vault.blocking().commit(&"page 1", &[login.clone()], "page.seen", [0.1f32, 0.9])?;
//! let causes = vault.ancestors(&seen.id, 10)?;
//! assert_eq!(causes.steps[0].header, login);
//! # Ok::<(), toka_vault::StoreError>(())
//! ```

#[cfg(all(feature = "seal", feature = "sign"))]
pub mod bundle;
pub mod bus;
#[cfg(feature = "sign")]
pub mod checkpoint;
mod children;
pub mod core;
#[cfg(feature = "journal")]
pub mod engine;
pub mod fork;
pub mod hash;
pub mod intent;
#[cfg(feature = "journal")]
pub mod journal;
pub mod memory;
#[cfg(feature = "journal")]
pub mod migrate;
#[cfg(feature = "sign")]
pub mod note;
pub mod proof;
pub mod retention;
pub mod scan;
#[cfg(feature = "seal")]
pub mod seal;
#[cfg(feature = "search")]
pub mod search;
pub mod snapshot;
pub mod statistics;
pub mod store;
#[cfg(feature = "tables")]
mod tables;
#[doc(hidden)]
pub mod testing;
#[cfg(feature = "journal")]
pub mod verify;
pub mod versioned;
pub mod walk;
#[cfg(feature = "sign")]
pub mod witness;
pub mod writer;

pub use bus::{IntoVector, VaultBus};
pub use children::Children;
pub use core::{Elsewhere, EntityId, EventHeader, EventId, EventPayload, Kind, LogId, NewEvent, Record};
#[cfg(feature = "journal")]
pub use engine::{Engine, create, open, open_read_only, writer_pid};
pub use fork::{Base, Lineage};
#[cfg(feature = "journal")]
pub use journal::{Amount, Compaction, CompactionReport, Journal, KindUsage, Usage};
pub use memory::MemoryStore;
#[cfg(feature = "journal")]
pub use migrate::{Migrated, migrate};
pub use retention::{Fate, Policy, Retention, Rule};
pub use scan::{Cursor, LogHistory, Scan, scan};
pub use statistics::LogStatistics;
pub use store::{Head, Part, Room, Statistics, Store, StoreError};
#[cfg(feature = "journal")]
pub use verify::{Problem, VerifiedLog, VerifyReport, What, verify};
pub use writer::{Committed, LogWriter};
