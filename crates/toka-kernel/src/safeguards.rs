//! What bounds the use of a grant, and the way of data, from one operation to the next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toka_types::capability::{Meter, Reached};
use toka_types::facts::{AgentSpawned, LogLimited, ToolDeclared, Used};
use toka_types::operation::Cause;
use toka_types::{
    Capability, Digest, EffectClass, EntityId, EventHeader, EventId, GrantId, Labels, Name, Sink, Timestamp,
};

use crate::places::Places;
use crate::plans::UserRequest;
use crate::quarantine::Quarantines;
use crate::token_meters::TokenMeters;
use crate::world::WorldState;

/// What the world keeps of it. All of it is left out of a world that has none, and written whole in any other, but for the
/// last one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Safeguards {
    /// How often each capability with limits was used under each grant that is not void, by itself and by those cut from it.
    pub(crate) meters: BTreeMap<GrantId, BTreeMap<Capability, Meter>>,
    pub(crate) clock: ClockState,
    /// What tools are, by name and version.
    pub(crate) tools: BTreeMap<Name, BTreeMap<String, Declared>>,
    /// Bounds that are lower than the kernel's.
    pub(crate) limits: LogLimited,
    /// What people asked agents for, the last request of each agent.
    pub(crate) requests: BTreeMap<EntityId, UserRequest>,
    /// Quarantined agents, and what they told.
    pub(crate) quarantines: Quarantines,
    /// The labels of what lies in files.
    pub(crate) places: Places,
    /// The events that spawned agents from labelled data, with their labels: all that these agents do comes of it, and so do
    /// their names.
    pub(crate) spawned: BTreeMap<EntityId, (EventId, Labels)>,
    /// What was used of tokens. The last one, and only where there is any.
    #[serde(skip_serializing_if = "TokenMeters::is_empty")]
    pub(crate) token_meters: TokenMeters,
}

/// What the world knows of one version of a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// What a call may do to the outside.
    pub class: EffectClass,
    /// Where its arguments go.
    pub sink: Sink,
    /// The labels that every output carries.
    pub labels: Labels,
    /// The arguments that say whom or what a call is about.
    pub control: Vec<String>,
    /// The digest of the whole manifest.
    pub manifest: Digest,
}

impl Declared {
    pub(crate) fn of(facts: &ToolDeclared) -> Self {
        let ToolDeclared { class, sink, labels, control, manifest, .. } = facts.clone();
        Self { class, sink, labels, control, manifest }
    }
}

/// Whether the clock is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClockState {
    /// What it showed after a jump that nobody has confirmed.
    pub(crate) jump: Option<Timestamp>,
    /// What it showed when it was confirmed although it was behind the log, and the log's time then.
    pub(crate) behind: Option<(Timestamp, Timestamp)>,
}

impl Safeguards {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Notes what an agent was spawned from. What holds for a quarantined one, is noted with its quarantine.
    pub(crate) fn note_spawned(&mut self, header: &EventHeader, facts: &AgentSpawned) {
        if header.labels.is_empty() || facts.quarantine.is_some() {
            self.spawned.remove(&facts.agent);
        } else {
            self.spawned.insert(facts.agent, (header.id, header.labels.clone()));
        }
    }

    /// The event that spawned the agent, as a cause of all that it does, if it brings labels.
    pub(crate) fn spawn_of(&self, agent: EntityId) -> Option<Cause> {
        let (id, labels) = self.spawned.get(&agent)?;
        Some(Cause { id: *id, labels: labels.clone() })
    }
}

impl WorldState {
    /// How often a capability was used under a grant so far, and under those cut from it; of one without limits nothing is
    /// counted.
    pub fn meter(&self, grant: GrantId, capability: &Capability) -> Meter {
        let meters = self.authorities.safeguards.meters.get(&grant);
        meters.and_then(|meters| meters.get(capability)).copied().unwrap_or_default()
    }

    /// What stands in the way of one more use of `capability` at `at`, by whoever holds `grant`: the limit that leaves no
    /// room for the longest, of that grant and of those it was cut from that hold this very capability.
    pub fn reached(&self, grant: GrantId, capability: &Capability, at: Timestamp) -> Option<Reached> {
        let mut longest: Option<Reached> = None;
        let mut next = Some(grant);
        while let Some((id, found)) = next.and_then(|id| Some((id, self.grant(id)?))) {
            if let Err(reached) = self.meter(id, capability).check(capability.limits(), 1, at) {
                let later = |other: &Reached| match (reached.until, other.until) {
                    (None, _) => true,
                    (Some(_), None) => false,
                    (Some(ours), Some(theirs)) => ours > theirs,
                };
                if longest.as_ref().is_none_or(later) {
                    longest = Some(reached);
                }
            }
            next = found.cut_from;
        }
        longest
    }

    /// What a version of a tool was declared to be.
    pub fn tool(&self, tool: &Name, version: &str) -> Option<&Declared> {
        self.authorities.safeguards.tools.get(tool)?.get(version)
    }

    /// Every version of every tool that was declared.
    pub fn tools(&self) -> impl Iterator<Item = (&Name, &str, &Declared)> {
        let tools = self.authorities.safeguards.tools.iter();
        tools.flat_map(|(tool, versions)| {
            versions.iter().map(move |(version, found)| (tool, &**version, found))
        })
    }

    /// The bounds that are lower in this log than the kernel's.
    pub fn limits(&self) -> &LogLimited {
        &self.authorities.safeguards.limits
    }

    /// What the clock showed after a jump, until somebody confirms it. Till then no task fires, no approval expires, and
    /// nothing is asked of the outside.
    pub fn clock_jump(&self) -> Option<Timestamp> {
        self.authorities.safeguards.clock.jump
    }

    /// A time that the clock cannot be before: that of the last event, unless an earlier one was confirmed since.
    pub fn clock_reference(&self) -> Timestamp {
        match self.authorities.safeguards.clock.behind {
            Some((shown, at)) if self.last_at() <= at => shown,
            _ => self.last_at(),
        }
    }

    pub(crate) fn count_use(&mut self, used: &Used, at: Timestamp) {
        // What a damaged log says of a grant that is not there is not remembered.
        if self.grant(used.grant).is_some_and(|grant| !grant.revoked) {
            let meters = self.authorities.safeguards.meters.entry(used.grant).or_default();
            meters.entry(used.capability.clone()).or_default().count(used.times, at);
        }
    }
}
