//! What the host knows of plans and the kernel does not: the tokens of a request, the control arguments of tools, and what
//! stands in the arguments of a call. Whoever asks has no say in it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use toka_agents::AgentError;
use toka_kernel::{WorldState, codec};
use toka_types::facts::kinds;
use toka_types::{EntityId, EventHeader, Operation, Sink};

use crate::host::Shared;

/// Whose calls are looked at closely: those of agents that have a plan, or had one since the start, and all with a sink once a
/// quarantined agent has answered.
#[derive(Default)]
pub(crate) struct CloseLook {
    planners: Mutex<BTreeSet<EntityId>>,
    answered: AtomicBool,
}

/// What is told of `plan.committed`.
#[derive(Deserialize)]
struct Committed {
    agent: EntityId,
}

impl CloseLook {
    /// Those of a world.
    pub(crate) fn of(world: &WorldState) -> Self {
        let with_plan = world.requests().filter(|(_, request)| request.plan.is_some());
        let planners = Mutex::new(with_plan.map(|(agent, _)| agent).collect());
        Self { planners, answered: AtomicBool::new(world.was_answered()) }
    }

    /// True if the agent may have a plan.
    pub(crate) fn has_plan(&self, agent: EntityId) -> bool {
        self.planners.lock().unwrap_or_else(PoisonError::into_inner).contains(&agent)
    }

    /// True if a call of the agent to that sink is looked at.
    pub(crate) fn takes(&self, agent: EntityId, sink: Sink) -> bool {
        (sink != Sink::None && self.answered.load(Ordering::Relaxed)) || self.has_plan(agent)
    }

    /// Hears of an event, before whoever asked for it does.
    pub(crate) fn hear(&self, header: &EventHeader) {
        match header.kind.as_str() {
            kinds::PLAN_COMMITTED => {
                if let Ok(Committed { agent }) = codec::decode_as(header) {
                    self.planners.lock().unwrap_or_else(PoisonError::into_inner).insert(agent);
                }
            }
            kinds::AGENT_ANSWERED => self.answered.store(true, Ordering::Relaxed),
            _ => {}
        }
    }
}

/// Says in an operation what the host knows. Where there are no tools nothing can be planned, and no request has literals.
pub(crate) fn complete(shared: &Shared, operation: &mut Operation) -> Result<(), AgentError> {
    match operation {
        #[cfg(any(feature = "toolkit", feature = "auth", feature = "vault"))]
        Operation::Instruct { message, literals, .. } => {
            // What is no MessagePack has no tokens.
            let said = rmp_serde::from_slice(message.bytes()).unwrap_or_default();
            *literals = toka_toolkit_core::trace::literals_of(&said);
        }
        Operation::CommitPlan(plan) => {
            let mut control = Vec::with_capacity(plan.slots.len());
            for slot in &plan.slots {
                let tool = shared.tools.get(slot.tool.as_str(), None);
                let tool = tool.ok_or_else(|| shared.unknown_tool(slot.tool.as_str(), None))?;
                control.push(tool.manifest().control_arguments());
            }
            plan.control = control;
        }
        _ => {}
    }
    Ok(())
}
