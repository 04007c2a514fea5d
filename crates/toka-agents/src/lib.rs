//! Agents: long-lived programs that observe, reason and act, and three of them ready to use.
//!
//! An [`Agent`] says which events it is interested in and deals with each; what it does, it does through its
//! [`AgentContext`]: record, send, call a tool, schedule. The host behind the context ([`Host`], implemented by
//! `toka-runtime`) puts everything before the kernel. This crate knows neither the kernel nor the vault.
//!
//! | Module | Holds |
//! |---|---|
//! | [`agent`] | the [`Agent`] trait and its object-safe twin |
//! | [`context`] | [`AgentContext`], and [`Host`], what it stands on |
//! | [`event`] | [`Event`] and [`EventKind`], as agents see them |
//! | [`logger`] | [`Logger`]: writes every event to the log of the process |
//! | `scheduler` | `SchedulerAgent`: cron and interval tasks that survive restarts (feature `scheduler`) |
//! | `embedder` | `EmbedderAgent`: vectors of passages, in the background (feature `embedder`) |
//! | `indexer` | `IndexerAgent`: a folder as events, watched (feature `indexer`) |
//!
//! ```
//! use toka_agents::{Agent, Event, EventKind};
//!
//! struct Logger;
//! impl Agent for Logger {
//!     fn interest(&self) -> Vec<EventKind> { vec![EventKind::Any] }
//!     async fn handle(&self, ev: Event) -> anyhow::Result<()> {
//!         println!("{ev:?}");
//!         Ok(())
//!     }
//! }
//! ```

pub mod agent;
pub mod context;
pub mod delivered;
#[cfg(feature = "embedder")]
pub mod embedder;
pub mod event;
#[cfg(feature = "indexer")]
pub mod indexer;
pub mod logger;
#[cfg(feature = "scheduler")]
pub mod scheduler;

pub use agent::{Agent, BoxFuture, DynAgent};
pub use context::{AgentContext, AgentError, CallOutput, Host, Observed, Receipt, TaskView};
#[cfg(feature = "embedder")]
pub use embedder::EmbedderAgent;
pub use event::{Event, EventKind};
#[cfg(feature = "indexer")]
pub use indexer::IndexerAgent;
pub use logger::Logger;
#[cfg(feature = "scheduler")]
pub use scheduler::SchedulerAgent;
