//! The configuration: a TOML file, the environment over it, and every problem of both at once.
//!
//! ```toml
//! [event_bus]
//! buffer_size = 1024
//!
//! [[agents]]
//! name = "docs"
//! behaviour = "IndexerAgent"
//! grant = ["tool:fs.read(path=docs/**)"]
//! scan_path = "docs"
//! ```
//!
//! One table, [`SECTIONS`] with [`BEHAVIOURS`], names every key with its type, bounds, default and meaning.
//! The loader checks against it, [`json_schema`] publishes it and [`documented_keys`] lists it, so the
//! three cannot disagree.
//!
//! What a file may rely on:
//!
//! - **Precedence.** A variable `TOKA__SECTION__KEY` beats the file, the file beats the default.
//!   [`Loaded::settings`] says which one each value came from.
//! - **Paths.** A relative path in a file, or left at its default beside a file, is relative to the
//!   file's own folder. One from the environment, or from a program, stays as it is and so is relative to
//!   the working directory.
//! - **Expansion.** `${VAR}` and `${VAR:-default}` stand in any string of a section that this build reads,
//!   `$${` for a literal `${`. A variable that is unset and has no default is an error. An empty
//!   variable counts as unset where there is a default, as in a shell. Sections that this build does not
//!   read stay as written.
//! - **Typos.** Unknown keys in known sections, and near misses of known names, are errors with a suggestion.
//!   A section that nothing here knows, or whose feature is not in this build, is a warning.
//!
//! ```
//! use toka_runtime::config::{AgentConfig, RuntimeConfig};
//!
//! let config = RuntimeConfig::from_toml_str("[[agents]]\nname = \"Logger\"")?;
//! assert_eq!(config.agents[0].behaviour, "Logger");
//!
//! let built = RuntimeConfig::default()
//!     .agent(AgentConfig::new("docs").behaves_as("IndexerAgent").option("scan_path", "docs"));
//! assert_eq!(built.agents[0].view().text("scan_path"), Some("docs"));
//! # Ok::<(), toka_runtime::config::ConfigError>(())
//! ```

mod agents;
mod check;
mod diagnostic;
mod document;
mod environment;
mod expand;
mod keys;
mod loader;
mod model;
mod overrides;
mod parse;
mod schema;
mod settings;
mod source;
mod spec;
mod suggest;
mod syntax;
mod tree;

pub use diagnostic::{ConfigError, Diagnostic, Failure, Place, Position, Severity};
pub use environment::Environment;
pub use keys::{
    BEHAVIOURS, Behaviour, DEFAULT_BUFFER_SIZE, DEFAULT_COMPACT_EVERY, DEFAULT_EMBEDDER_URL,
    DEFAULT_SCHEDULER_TICK_MS, DEFAULT_SECRET_STORE, DEFAULT_TIME_LIMIT, DefaultValue, DocumentedKey,
    KeySpec, Keys, Kind, MAX_BUFFER_SIZE, MAX_EMBEDDER_DIMENSIONS, MAX_FILE_BYTES_DEFAULT,
    MAX_FILE_BYTES_LIMIT, MAX_SCHEDULER_TICK_MS, Need, SECTIONS, Section, Shape, Text, documented_keys,
};
pub use loader::{BuildInfo, Loaded, Loader, MAX_CONFIG_BYTES, SyntaxCheck, SyntaxChecks};
pub use model::{
    AgentConfig, ApprovalsConfig, EmbedderConfig, EventBusConfig, OpenAiConfig, Options, RetainRule,
    RuntimeConfig, SearchConfig, SearchEngine, TokensConfig, VaultConfig,
};
pub use schema::json_schema;
pub use settings::{Origin, Setting};
pub use syntax::{parse_duration, parse_size};
