//! A question to somebody quarantined, for a program that hosts a runtime.

use toka_agents::{AgentError, Event};
use toka_bus::{Filter, RecvError, Subscription};
use toka_kernel::codec;
use toka_types::facts::{AgentAnswered, AgentChanged, kinds};
use toka_types::operation::GrantTerms;
use toka_types::{Answer, AnswerShape, EntityId, Name, Operation};

use crate::runtime::{Runtime, RuntimeError};

/// A quarantined agent that was spawned, and has not been heard yet.
pub struct Quarantined {
    agent: EntityId,
    name: Name,
    events: Subscription,
}

impl Runtime {
    /// Spawns a quarantined agent under the operator, with these capabilities: it may read what it likes, its calls are
    /// local, free and no sinks, and it gives one answer of this shape. It runs where its behaviour is registered.
    ///
    /// # Errors
    /// If a name or a capability is none, or the kernel refuses: `quarantine.shape`, `quarantine.bits`, and those of any spawn.
    pub async fn quarantine(
        &self,
        name: &str,
        behaviour: &str,
        uses: &[&str],
        shape: AnswerShape,
    ) -> Result<Quarantined, RuntimeError> {
        let (name, behaviour) = (Name::new(name)?, Name::new(behaviour)?);
        let parsed: Result<Vec<_>, _> = uses.iter().map(|text| text.parse()).collect();
        let uses = parsed.map_err(|error| RuntimeError::Agent(anyhow::Error::new(error)))?;
        let grant = GrantTerms { uses, ..GrantTerms::default() };
        let agent = EntityId::named(name.as_str());
        let spawn = Operation::SpawnAgent {
            name: name.clone(),
            behaviour,
            grant,
            budget: None,
            quarantine: Some(shape),
        };
        let spawned = self.operate(spawn).await?;
        let from = spawned.first().map_or(0, |event| event.seq);
        let events = self.bus().subscribe_from(from, Filter::all().kind("agent"));
        Ok(Quarantined { agent, name, events })
    }
}

impl Quarantined {
    /// Who it is.
    pub fn agent(&self) -> EntityId {
        self.agent
    }

    /// Waits for the answer: what it is, and its event, to name as a cause of what is done because of it.
    ///
    /// # Errors
    /// If the agent is stopped before it answers, or the runtime stops.
    pub async fn answer(mut self) -> Result<(Answer, Event), RuntimeError> {
        loop {
            let event = match self.events.recv().await {
                Ok(event) => event,
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return Err(AgentError::Stopped.into()),
                Err(error) => return Err(AgentError::Log(error.to_string()).into()),
            };
            match event.header.kind.as_str() {
                kinds::AGENT_ANSWERED if event.header.author == self.agent => {
                    let AgentAnswered { answer, .. } = codec::decode_as(&event.header)?;
                    return Ok((answer, event.into()));
                }
                kinds::AGENT_STOPPED => {
                    let AgentChanged { agent } = codec::decode_as(&event.header)?;
                    if agent == self.agent {
                        let why = format!("agent '{}' was stopped before it answered", self.name);
                        return Err(AgentError::Invalid(why).into());
                    }
                }
                _ => {}
            }
        }
    }
}
