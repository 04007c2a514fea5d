//! The edge of a sealed vault: what is asked of the kernel is sealed before, what is handed out is opened.
//!
//! Log, feed and stores carry content as stored. The kernel never reads it, so that it decides about sealed content as
//! about any other; the digests in the facts it writes are those of what is stored, or are blinded here.

use std::collections::HashMap;
use std::sync::Arc;

use toka_agents::{AgentError, Observed};
use toka_types::operation::{Observation, TaskAction, ToolOutcome};
use toka_types::place::Places;
use toka_types::plan::{Source, Traced, Value};
use toka_types::{
    Digest, EntityId, Envelope, Event, Labels, Operation, Payload, PointerId, Seal, SealError, Subject,
};

/// What seals and opens, or nothing, where the log is not sealed. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Edge(Option<Arc<dyn Seal>>);

/// What content said that was sealed, by the digest under which it is stored.
pub(crate) type Said = HashMap<Digest, Arc<[u8]>>;

impl Edge {
    #[cfg(feature = "vault")]
    pub(crate) fn new(seal: Option<Arc<dyn Seal>>) -> Self {
        Self(seal)
    }

    pub(crate) fn seal(&self) -> Option<&Arc<dyn Seal>> {
        self.0.as_ref()
    }

    /// Bytes by which content grows.
    #[allow(dead_code, reason = "only calls use it, and not every build has them")]
    pub(crate) fn overhead(&self) -> usize {
        self.0.as_ref().map_or(0, |seal| seal.overhead())
    }

    /// The event with its content opened.
    pub(crate) fn opened(&self, event: Arc<Event>) -> Arc<Event> {
        match &self.0 {
            Some(seal) => seal.opened(&event),
            None => event,
        }
    }

    /// Some stored content, opened; `None` if that cannot be done.
    #[cfg(feature = "vault")]
    pub(crate) fn opened_content(&self, stored: Payload) -> Option<Payload> {
        match &self.0 {
            Some(seal) => seal.open(&stored).ok(),
            None => Some(stored),
        }
    }

    /// What stands for a digest in the facts of `author`.
    pub(crate) fn blind(&self, author: EntityId, digest: Digest) -> Result<Digest, AgentError> {
        match &self.0 {
            Some(seal) => seal.blind(&Subject::Author(author), &digest).map_err(refused),
            None => Ok(digest),
        }
    }

    /// True if content of `author` is stored as `stored`.
    pub(crate) fn is_stored_as(&self, author: EntityId, content: &Payload, stored: &Digest) -> bool {
        match &self.0 {
            Some(seal) => seal.is_stored_as(&Subject::Author(author), content, stored),
            None => content.digest() == *stored,
        }
    }

    /// Seals the content of `envelope`, and blinds the digests that would tell of it. What was sealed is returned, so
    /// that whoever asked is answered with what it said. `None`: nothing is sealed.
    pub(crate) fn seal_envelope(&self, envelope: &mut Envelope) -> Result<Option<Answered>, AgentError> {
        let Some(seal) = &self.0 else { return Ok(None) };
        let mut sealing = Sealing { seal: seal.as_ref(), author: envelope.origin, said: Said::new() };
        sealing.operation(&mut envelope.operation).map_err(refused)?;
        Ok(Some(Answered { edge: self.clone(), said: sealing.said }))
    }
}

/// Opens what a sealed operation became.
pub(crate) struct Answered {
    edge: Edge,
    said: Said,
}

impl Answered {
    pub(crate) fn open(self, events: Observed) -> Observed {
        events.into_iter().map(|event| self.one(event)).collect()
    }

    fn one(&self, event: Arc<Event>) -> Arc<Event> {
        let known = |payload: &Payload| {
            let said = self.said.get(&payload.digest())?;
            Some(Payload::opened(payload.content_ref(), Arc::clone(said)))
        };
        match event.content.iter().map(known).collect::<Option<Vec<_>>>() {
            Some(content) if content.is_empty() => event,
            Some(content) => Arc::new(Event { header: event.header.clone(), content }),
            // The first answer to a repeat, read from the log, or the words of a refusal.
            None => self.edge.opened(event),
        }
    }
}

fn refused(error: SealError) -> AgentError {
    AgentError::Log(error.to_string())
}

struct Sealing<'a> {
    seal: &'a dyn Seal,
    author: EntityId,
    said: Said,
}

impl Sealing<'_> {
    fn operation(&mut self, operation: &mut Operation) -> Result<(), SealError> {
        let none = Labels::none();
        // The kernel writes the words of a refusal under keys that are there by then.
        self.blind(&none, &mut Digest::default())?;
        match operation {
            Operation::Observe(observations) => observations.iter_mut().try_for_each(|o| self.observation(o)),
            Operation::Send { message, .. } => self.content(&none, message),
            Operation::Instruct { to, message, literals } => {
                self.content(&none, message)?;
                let agent = Subject::Author(*to);
                literals.iter_mut().try_for_each(|literal| self.blind_for(&agent, literal))
            }
            Operation::CommitPlan(plan) => {
                self.content(&none, &mut plan.content)?;
                let agent = Subject::Author(plan.agent);
                let mut sources = plan.slots.iter_mut().flat_map(|slot| &mut slot.arguments);
                sources.try_for_each(|(_, source)| self.source(&agent, source))
            }
            Operation::ScheduleTask { spec, .. } => self.content(&none, spec),
            Operation::FireTask { action, .. } => match action {
                TaskAction::Emit { content, .. } => self.content(&none, content),
                TaskAction::Send { message, .. } => self.content(&none, message),
                TaskAction::Skip => Ok(()),
            },
            // Of many calls nothing is recorded but their outcome. Which, the kernel decides.
            Operation::Request(request) | Operation::RequestApproval { request, .. } => {
                if let Some(traced) = &mut request.traced {
                    self.traced(traced)?;
                }
                let Places { written, read } = &mut request.places;
                self.places(written)?;
                self.places(read)?;
                self.content(&none, &mut request.arguments)
            }
            Operation::Return(outcome) => self.outcome(outcome),
            _ => Ok(()),
        }
    }

    fn observation(&mut self, observation: &mut Observation) -> Result<(), SealError> {
        let said = observation.content.as_ref().map(Payload::digest);
        if let Some(content) = &mut observation.content {
            self.content(&observation.labels, content)?;
        }
        let stored = observation.content.as_ref().map(Payload::digest);
        for register in &mut observation.registers {
            self.blind(&Labels::none(), &mut register.key)?;
            match &mut register.value {
                // A register that names the content goes on naming it.
                value if value.is_some() && *value == said => *value = stored,
                Some(value) => self.blind(&observation.labels, value)?,
                None => {}
            }
        }
        Ok(())
    }

    /// A place is the same for everybody.
    fn places(&self, places: &mut [Digest]) -> Result<(), SealError> {
        let everybody = Subject::Author(EntityId::operator());
        places.iter_mut().try_for_each(|place| {
            *place = self.seal.blind(&everybody, place)?;
            Ok(())
        })
    }

    fn outcome(&mut self, outcome: &mut ToolOutcome) -> Result<(), SealError> {
        self.places(&mut outcome.read)?;
        // Those of a recorded request are known by the digest under which they are stored.
        if outcome.request.is_none() {
            self.blind(&Labels::none(), &mut outcome.arguments)?;
        }
        match (&mut outcome.content, &mut outcome.output) {
            (Some(content), output) => {
                self.content(&outcome.labels, content)?;
                *output = output.map(|_| content.content_ref());
            }
            (None, Some(output)) => self.blind(&outcome.labels, &mut output.digest)?,
            (None, None) => {}
        }
        let agent = Subject::Author(self.author);
        for leaf in &mut outcome.leaves {
            self.blind_for(&agent, &mut leaf.value)?;
            self.pointer(&agent, &mut leaf.pointer)?;
        }
        Ok(())
    }

    /// What plans compare is blinded under the keys of the agent whose plan it is, whoever it comes from.
    fn traced(&mut self, traced: &mut Traced) -> Result<(), SealError> {
        let agent = Subject::Author(self.author);
        for (_, value) in &mut traced.arguments {
            match value {
                Value::One(value) => self.blind_for(&agent, value)?,
                Value::List(values) => {
                    values.iter_mut().try_for_each(|value| self.blind_for(&agent, value))?;
                }
            }
        }
        traced.mentions.iter_mut().try_for_each(|mention| self.blind_for(&agent, mention))?;
        traced.phrases.iter_mut().try_for_each(|phrase| self.blind_for(&agent, phrase))?;
        traced.phrases.sort_unstable();
        Ok(())
    }

    fn source(&mut self, agent: &Subject, source: &mut Source) -> Result<(), SealError> {
        match source {
            Source::Literal(value) => self.blind_for(agent, value),
            Source::Person => Ok(()),
            Source::List(sources) => sources.iter_mut().try_for_each(|source| self.source(agent, source)),
            Source::Leaf(selector) => {
                self.pointer(agent, &mut selector.pointer)?;
                self.pointer(agent, &mut selector.elements)?;
                selector.keys.iter_mut().try_for_each(|key| {
                    self.pointer(agent, &mut key.pointer)?;
                    self.blind_for(agent, &mut key.value)
                })
            }
        }
    }

    fn pointer(&self, agent: &Subject, pointer: &mut PointerId) -> Result<(), SealError> {
        let mut digest = Digest::default();
        digest.0[..pointer.0.len()].copy_from_slice(&pointer.0);
        self.blind_for(agent, &mut digest)?;
        *pointer = PointerId::cut(&digest);
        Ok(())
    }

    fn blind_for(&self, subject: &Subject, digest: &mut Digest) -> Result<(), SealError> {
        *digest = self.seal.blind(subject, digest)?;
        Ok(())
    }

    fn content(&mut self, own: &Labels, content: &mut Payload) -> Result<(), SealError> {
        let sealed = self.seal.seal(&Subject::of(self.author, own), content)?;
        self.said.insert(sealed.digest(), content.shared());
        *content = sealed;
        Ok(())
    }

    fn blind(&self, own: &Labels, digest: &mut Digest) -> Result<(), SealError> {
        self.blind_for(&Subject::of(self.author, own), digest)
    }
}
