//! Calls to the outside in a build without tools: there are none. See `effects.rs`.

use toka_agents::context::Caller;
use toka_agents::{AgentError, CallOutput};
use toka_kernel::world::PendingEffect;
use toka_types::EventId;

use crate::host::AgentHost;

/// Says that there is no such tool.
pub(crate) async fn call(
    host: &AgentHost,
    _: &Caller,
    name: &str,
    _: serde_json::Value,
) -> Result<CallOutput, AgentError> {
    Err(host.shared.unknown_tool(name, None))
}

/// What a start does about a call that has no outcome.
pub(crate) async fn recover(
    _: &AgentHost,
    request: EventId,
    effect: &PendingEffect,
) -> Result<(), AgentError> {
    tracing::warn!("call {} of '{}' is in doubt: this build has no tools", request.short(), effect.tool);
    Ok(())
}
