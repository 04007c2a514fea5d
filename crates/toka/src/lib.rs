//! Toka in one dependency: every crate as a module, and a [`prelude`] of what most programs need.
//!
//! This crate holds no code of its own. Each room can also be used alone, as `toka-vault` or `toka-runtime`.
//!
//! ```
//! use toka::prelude::*;
//!
//! struct Greeter;
//!
//! impl Agent for Greeter {
//!     fn interest(&self) -> Vec<EventKind> {
//!         vec![EventKind::from("guest")]
//!     }
//!
//!     async fn handle_with(&self, ev: Event, ctx: AgentContext) -> anyhow::Result<()> {
//!         let name: String = ev.payload()?;
//!         ctx.emit("greeting.said", &format!("hello, {name}")).await?;
//!         Ok(())
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> anyhow::Result<()> {
//!     let runtime = Runtime::new(RuntimeConfig::default()).await?;
//!     runtime.register_agent("greeter", Greeter).await?;
//!     runtime.start().await?;
//!     let mut said = runtime.bus().subscribe_from(0, Filter::all().kind("greeting"));
//!     runtime.emit("guest.arrived", &"Ada").await?;
//!     let event = Event::from(said.recv().await?);
//!     assert_eq!(event.payload::<String>()?, "hello, Ada");
//!     runtime.stop().await?;
//!     Ok(())
//! }
//! ```
//!
//! | Module | Crate | Feature |
//! |---|---|---|
//! | [`types`] | `toka-types`: ids, time, labels, records, capabilities, operations | |
//! | [`kernel`] | `toka-kernel`: `decide` and `apply` over a world | |
//! | [`agents`] | `toka-agents`: the `Agent` trait, its context, the reference behaviours | |
//! | [`toolkit`] | `toka-toolkit-core`: contracts of tools, drivers, embedders | |
//! | [`runtime`] | `toka-runtime`: configuration, kernel loop, effects, lifecycle | |
//! | `vault` | `toka-vault`: the event store | `vault` (default) |
//! | `tools` | `toka-tools`: `echo`, `fs.list`, `fs.read` | `toolkit` (default) |
//! | `auth` | `toka-auth`: capability tokens and keys | `auth` (default) |
//!
//! The features `biscuit`, `search`, `indexer`, `scheduler`, `ndarray`, `sqlite`, `sled` and `rocksdb` add to these modules what the
//! crates call so.

pub mod prelude;

pub use toka_agents as agents;
#[cfg(feature = "auth")]
pub use toka_auth as auth;
pub use toka_kernel as kernel;
pub use toka_runtime as runtime;
pub use toka_toolkit_core as toolkit;
#[cfg(feature = "toolkit")]
pub use toka_tools as tools;
pub use toka_types as types;
#[cfg(feature = "vault")]
pub use toka_vault as vault;

/// The README's programs are compiled with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
