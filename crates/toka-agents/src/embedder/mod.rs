//! `EmbedderAgent`: vectors for the passages that indexers record, in the background.
//!
//! Each live chunk that has no vector of the configured embedder yet gets one, the newest chunk first, as an event
//! `vector.recorded` with the chunk as its cause: a model's vector cannot be had again bit for bit on another machine. What
//! is recorded is never computed again, neither after a crash nor for another chunk with the same words.
//!
//! An embedder that runs here is computed like any other thought of an agent. One that is a [`Service`] is asked through
//! the tool [`EmbedTool`]: the request is durable before anything leaves the machine, names the host, which a grant can
//! limit, and the passages by their events, so that a text that is erased lies in no request.
//!
//! | Module | Holds |
//! |---|---|
//! | `agent` | the agent |
//! | `pending` | which chunks are live and wait for a vector |
//! | `report` | how far it has come |
//! | `tool` | the tool that asks a service |

mod agent;
mod pending;
mod report;
mod tool;

pub use agent::{EmbedderAgent, Maker};
pub use report::{EmbedReport, EmbedSnapshot};
pub use tool::{EmbedTool, Service, TOOL};

/// The kind of the events that it records.
pub const VECTOR_RECORDED: &str = "vector.recorded";
