//! What most programs need: `use toka::prelude::*;`.

pub use toka_agents::{Agent, AgentContext, AgentError, Event, EventKind};
#[cfg(feature = "auth")]
pub use toka_auth::{EdDsa, Operator, OperatorKey, TokenScheme};
pub use toka_runtime::config::{AgentConfig, VaultConfig};
pub use toka_runtime::runtime::{Ended, Runtime, RuntimeConfig, RuntimeError};
pub use toka_runtime::{EventBus, Filter, Subscription};
pub use toka_toolkit_core::{
    CallContext, EffectClass, Input, Manifest, ManifestError, Output, Tool, ToolError, ToolRegistry,
};
pub use toka_types::{Capability, EntityId, EventId, Timestamp};
#[cfg(feature = "vault")]
pub use toka_vault::{EventPayload, NewEvent, VaultBus};
