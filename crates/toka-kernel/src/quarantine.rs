//! Quarantined agents in the world: what they read, what they may say, and what they said.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use toka_types::facts::{AgentAnswered, AgentSpawned, MessageSent};
use toka_types::operation::Cause;
use toka_types::quarantine::{Answer, AnswerShape, ENDORSED, UNTRUSTED};
use toka_types::{EntityId, EventHeader, EventId, Label, LabelError, Labels};

use crate::world::WorldState;

/// What the world knows of quarantined agents. It is empty in a world that never had any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quarantines {
    confined: BTreeMap<EntityId, Quarantine>,
    told: BTreeMap<EntityId, Endorsed>,
}

/// A quarantined agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Who spawned it, and is told its answer.
    pub parent: EntityId,
    /// What its answer may be.
    pub shape: AnswerShape,
    /// The event that spawned it.
    pub spawned: EventId,
    /// The labels of that event. Whoever chose the shape chose it from data with these, so that the answer keeps them.
    pub labels: Labels,
    /// The labels of all that it was told and of all that its calls returned; `None` once they are more than an event may
    /// carry: it can do nothing then.
    read: Option<Labels>,
}

/// What quarantined agents told the agent that spawned them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endorsed {
    /// The bits that those spawned in the present task can tell, by itself and by agents that it spawned.
    pub bits: u32,
    /// All that they ever said.
    pub answers: BTreeSet<Answer>,
}

impl Quarantines {
    pub(crate) fn is_empty(&self) -> bool {
        self.confined.is_empty() && self.told.is_empty()
    }

    /// What each agent was told.
    pub(crate) fn told(&self) -> impl Iterator<Item = (EntityId, &Endorsed)> {
        self.told.iter().map(|(agent, endorsed)| (*agent, endorsed))
    }

    /// An agent was spawned by the first of `line`, which stands under the others.
    pub(crate) fn spawned(&mut self, header: &EventHeader, f: &AgentSpawned, line: &[EntityId]) {
        self.begins(f.agent);
        let Some(shape) = &f.quarantine else {
            self.confined.remove(&f.agent);
            return;
        };
        let (parent, spawned, labels) = (f.parent, header.id, header.labels.clone());
        let (shape, read) = (shape.clone(), Some(Labels::none()));
        for agent in line {
            let endorsed = self.told.entry(*agent).or_default();
            endorsed.bits = endorsed.bits.saturating_add(shape.bits());
        }
        self.confined.insert(f.agent, Quarantine { parent, shape, spawned, labels, read });
    }

    /// Notes what a quarantined agent has read by now: its calls' outcomes are events of its own.
    pub(crate) fn recorded(&mut self, header: &EventHeader) {
        if let Some(confined) = self.confined.get_mut(&header.author) {
            confined.reads(&header.labels);
        }
    }

    pub(crate) fn answered(&mut self, f: &AgentAnswered) {
        self.told.entry(f.parent).or_default().answers.insert(f.answer.clone());
    }

    /// Another task begins for `agent`.
    pub(crate) fn begins(&mut self, agent: EntityId) {
        if let Some(endorsed) = self.told.get_mut(&agent) {
            endorsed.bits = 0;
        }
    }
}

impl Quarantine {
    fn reads(&mut self, labels: &Labels) {
        self.read = self.read.take().and_then(|read| read.join(labels).ok());
    }

    /// The labels of what the agent does because of `causes`.
    pub(crate) fn joined(&self, causes: &Labels) -> Result<Labels, LabelError> {
        match &self.read {
            Some(read) => read.join(causes),
            None => Err(LabelError::TooMany(toka_types::label::MAX_LABELS + 1)),
        }
    }

    /// The event that spawned it, as a cause.
    pub(crate) fn cause(&self) -> Cause {
        Cause { id: self.spawned, labels: self.labels.clone() }
    }
}

/// The labels of an answer that is made from data with these: without those of untrusted sources.
pub(crate) fn endorsed(labels: &Labels) -> Result<Labels, LabelError> {
    let kept = labels.iter().filter(|label| !is_untrusted(label)).cloned();
    Labels::new(kept.chain([Label::new(ENDORSED)?]))
}

fn is_untrusted(label: &Label) -> bool {
    label.as_str().split(':').next() == Some(UNTRUSTED)
}

impl WorldState {
    /// What holds for a quarantined agent; `None` if that one is not.
    pub fn quarantine(&self, agent: EntityId) -> Option<&Quarantine> {
        self.authorities.safeguards.quarantines.confined.get(&agent)
    }

    /// True if any quarantined agent ever answered.
    pub fn was_answered(&self) -> bool {
        let mut told = self.authorities.safeguards.quarantines.told.values();
        told.any(|endorsed| !endorsed.answers.is_empty())
    }

    /// The agent, and then those that it stands under, up to whom a person spawned: what its quarantined children tell, these
    /// are told as well, if it is one of them that asks it to spawn them.
    pub(crate) fn line(&self, agent: EntityId) -> Vec<EntityId> {
        let mut line = vec![agent];
        let parent = |agent: &EntityId| self.agent(*agent).map(|agent| agent.parent);
        // A name that was given anew may stand under whoever stood under it.
        while let Some(parent) = line.last().and_then(parent)
            && self.agent(parent).is_some()
            && !line.contains(&parent)
        {
            line.push(parent);
        }
        line
    }

    /// What quarantined agents told the one that spawned them.
    pub fn endorsed(&self, agent: EntityId) -> Option<&Endorsed> {
        self.authorities.safeguards.quarantines.told.get(&agent)
    }

    /// A message is read by whoever it is for; and what a person says, as long as it comes from nowhere untrusted, begins
    /// another task for both.
    pub(crate) fn message_sent(&mut self, header: &EventHeader, f: &MessageSent) {
        if self.authorities.safeguards.quarantines.is_empty() {
            return;
        }
        let is_person =
            self.operator.is_some_and(|(operator, _)| operator == f.from) || self.user(f.from).is_some();
        let quarantines = &mut self.authorities.safeguards.quarantines;
        if let Some(confined) = quarantines.confined.get_mut(&f.to) {
            confined.reads(&header.labels);
        }
        if is_person && !header.labels.iter().any(is_untrusted) {
            quarantines.begins(f.from);
            quarantines.begins(f.to);
        }
    }
}
