//! The host that runs agents on a log: configuration, kernel loop, effects, lifecycle.
//!
//! With no features it is a few crates: agents, a deterministic kernel and a ring of recent events in memory. Each
//! feature adds a room and changes no name:
//!
//! | Feature | Adds | Without it |
//! |---|---|---|
//! | `vault` | a durable, causal, content-addressed log | the newest `buffer_size` events, in memory |
//! | `toolkit` | the tool registry with `echo`, `fs.list`, `fs.read` | a registry that stays empty; every call says so |
//! | `auth` | capability tokens from outside the process | no token is accepted; the kernel checks all the same |
//! | `biscuit` | Biscuits among them, which whoever holds one can narrow down | JWTs alone |
//! | `search` | keyword and vector search and intents, as projections | – |
//! | `search-tantivy` | another engine for the keywords of large vaults, `[search] engine = "tantivy"` | the built-in one |
//! | `indexer`, `scheduler` | these behaviours for configured agents | – |
//! | `os-keyring` | a sealed vault's key in the operating system's keyring | a passphrase or a key file |
//!
//! ```
//! use toka_runtime::runtime::{Runtime, RuntimeConfig};
//! use toka_runtime::{Agent, Event, EventKind};
//!
//! struct Printer;
//! impl Agent for Printer {
//!     fn interest(&self) -> Vec<EventKind> { vec![EventKind::Any] }
//!     async fn handle(&self, ev: Event) -> anyhow::Result<()> {
//!         println!("{ev:?}");
//!         Ok(())
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> anyhow::Result<()> {
//!     let runtime = Runtime::new(RuntimeConfig::default()).await?;
//!     runtime.register_agent("printer", Printer).await?;
//!     runtime.start().await?;
//!     runtime.emit("greeting.said", &"hello").await?;
//!     runtime.stop().await?;
//!     Ok(())
//! }
//! ```
//!
//! | Module | Holds |
//! |---|---|
//! | [`runtime`] | [`Runtime`], its builder, start, run, stop |
//! | [`config`] | the configuration file |
//! | [`behaviour`] | the programs that a configuration can name |
//! | [`projection`] | what follows the log and can be built again |
//! | `retention` | which content is kept, with the feature `vault` |
//! | [`clock`] | the time as a part |
//! | [`testing`] | a runtime for tests |

mod activity;
mod agents;
#[cfg_attr(
    not(any(feature = "toolkit", feature = "auth", feature = "vault")),
    allow(dead_code, reason = "nothing is called")
)]
mod approvals;
mod artifacts;
pub mod behaviour;
mod builder;
pub mod clock;
#[cfg(feature = "vault")]
mod compactor;
pub mod config;
#[cfg(feature = "vault")]
pub mod control;
mod crew;
#[cfg(any(feature = "toolkit", feature = "auth", feature = "vault"))]
mod effects;
// A build that has no tools and takes no operations from outside has nothing to call, and is smaller for it.
#[cfg(not(any(feature = "toolkit", feature = "auth", feature = "vault")))]
#[path = "no_effects.rs"]
mod effects;
mod entry;
mod host;
mod kernel_loop;
mod log;
#[cfg_attr(
    not(any(feature = "toolkit", feature = "auth", feature = "vault")),
    allow(dead_code, reason = "nothing is called")
)]
mod manifests;
#[cfg_attr(
    not(any(feature = "toolkit", feature = "auth", feature = "vault")),
    allow(dead_code, reason = "nothing is called")
)]
mod plans;
pub mod projection;
pub mod quarantine;
#[cfg(feature = "vault")]
pub mod retention;
pub mod runtime;
mod sealing;
#[cfg(feature = "search")]
pub mod search;
mod signals;
mod storage;
pub mod testing;
mod throttle;
#[cfg(feature = "vault")]
mod vault_log;
#[cfg(feature = "vault")]
mod world_snapshot;

pub use approvals::WhenAsked;
pub use kernel_loop::WhenFull;
pub use log::LogError;
pub use runtime::{Ended, Runtime, RuntimeConfig, RuntimeError};
pub use toka_agents::{Agent, AgentContext, AgentError, Event, EventKind};
/// The bus of a runtime: a handle that makes subscriptions.
pub use toka_bus::FeedHandle as EventBus;
pub use toka_bus::{Filter, RecvError, Subscription};
pub use toka_toolkit_core::ToolRegistry;
pub use toka_types::EntityId;
#[cfg(feature = "vault")]
pub use world_snapshot::read_world;
