//! Quarantine: what an agent may do that reads anything, and the one thing that it may say.

use toka_ledger::worst_case;
use toka_types::facts::{AgentAnswered, AgentChanged, Facts};
use toka_types::operation::{Authority, GovernedArgument, Parent, ToolRequest};
use toka_types::quarantine::{Answer, AnswerShape, ENDORSED};
use toka_types::{Operation, Sink};

use super::{Asked, Decided, decided};
use crate::denial::{Code, Denied};
use crate::limits::{MAX_ENDORSED_ANSWERS, MAX_ENDORSED_BITS};

const ANSWER: &str = "agent:answer";
const SPAWN: &str = "agent:spawn";

impl Asked<'_> {
    /// Holds a quarantined agent to what it may do. What the host records of it is not its doing.
    pub(super) fn confined(&self) -> Result<(), Denied> {
        let envelope = self.envelope;
        if self.world.quarantine(envelope.origin).is_none() || envelope.authority == Authority::Host {
            return Ok(());
        }
        match &envelope.operation {
            Operation::Answer(_) => Ok(()),
            Operation::Request(request) => self.is_harmless(request),
            // What was asked stands in no word of the refusal: it is from whatever the agent read.
            _ => {
                let asked = "operation:submit";
                self.grant(asked)?;
                let rule =
                    "a quarantined agent may call what is local, free and no sink, and give its answer";
                Err(self.deny(Code::QuarantineConfined, asked, rule))
            }
        }
    }

    /// A quarantined agent's call changes nothing, costs nothing, and nobody outside learns of it.
    fn is_harmless(&self, request: &ToolRequest) -> Result<(), Denied> {
        let price = self.world.authorities.prices.at(&request.tool, self.at);
        let is_free =
            price.is_none_or(|price| worst_case(price, &request.bounds).is_ok_and(|most| most.amount.0 == 0));
        let problem = if request.class.request_first() {
            format!("is a call of class {}, and not pure or a local read", request.class)
        } else if request.sink != Sink::None {
            format!("is a sink ({})", request.sink)
        } else if !is_free {
            "has a price".to_owned()
        } else {
            return Ok(());
        };
        let asked = format!("tool:{}", request.tool);
        self.grant(&asked)?;
        let rule = format!("{asked} {problem}, and whoever asks is quarantined");
        Err(self.deny(Code::QuarantineConfined, &asked, rule))
    }

    /// A quarantined child has a shape that is one, and tells no more than the task leaves.
    pub(super) fn may_quarantine(&self, shape: &AnswerShape) -> Result<(), Denied> {
        shape.check().map_err(|error| self.deny(Code::QuarantineShape, SPAWN, error.to_string()))?;
        let told = self.world.endorsed(self.envelope.origin);
        let line = self.world.line(self.envelope.origin);
        let of_line = line.iter().filter_map(|agent| self.world.endorsed(*agent));
        let (used, bits) = (of_line.map(|told| told.bits).max().unwrap_or(0), shape.bits());
        if bits > MAX_ENDORSED_BITS.saturating_sub(used) {
            let rule = format!(
                "{bits} bits beside the {used} that quarantined children of this task may tell; at most {MAX_ENDORSED_BITS} are allowed"
            );
            return Err(self.deny(Code::QuarantineBits, SPAWN, rule));
        }
        let answers = told.map_or(0, |told| told.answers.len());
        self.count(SPAWN, "different answers of quarantined children", answers + 1, MAX_ENDORSED_ANSWERS)
    }

    pub(super) fn answer(&self, answer: &Answer) -> Result<Vec<Decided>, Denied> {
        self.grant(ANSWER)?;
        let agent = self.envelope.origin;
        let Some(confined) = self.world.quarantine(agent) else {
            let rule = "only a quarantined agent answers; others send messages";
            return Err(self.deny(Code::QuarantineUnknown, ANSWER, rule));
        };
        if !confined.shape.accepts(answer) {
            let rule = format!("the answer is not {}", confined.shape);
            return Err(self.deny(Code::QuarantineAnswer, ANSWER, rule));
        }
        let facts = AgentAnswered { agent, parent: confined.parent, answer: answer.clone() };
        let mut answered = decided(Facts::AgentAnswered(facts), None);
        answered.parents.push(Parent::Event(confined.cause()));
        let mut stopped = decided(Facts::AgentStopped(AgentChanged { agent }), None);
        stopped.parents.push(Parent::Earlier(0));
        let mut events = vec![answered, stopped];
        self.reclaim(agent, &mut events);
        Ok(events)
    }

    /// What a quarantined child said never says where a call goes, whatever else that could be read from.
    pub(super) fn is_not_endorsed(&self, request: &ToolRequest) -> Result<(), Denied> {
        let quarantines = &self.world.authorities.safeguards.quarantines;
        if request.sink == Sink::None || quarantines.is_empty() {
            return Ok(());
        }
        // What somebody was told and has passed on carries the label.
        let passed_on = self.envelope.causes.iter().any(|cause| cause.labels.contains(ENDORSED));
        let origin = self.envelope.origin;
        let told = || quarantines.told().filter(|(agent, _)| passed_on || *agent == origin);
        let was_told = |answer: &Answer| told().any(|(_, told)| told.answers.contains(answer));
        let declared = self.world.tool(&request.tool, &request.version);
        let control = declared.map(|tool| &tool.control).filter(|control| !control.is_empty());
        let is_named = |name: &String| control.is_some_and(|control| control.contains(name));
        let said = |(name, argument): &&(String, GovernedArgument)| match argument {
            // A tool that says which of its arguments are places has others that are none.
            GovernedArgument::Text(_) if control.is_some() && !is_named(name) => false,
            GovernedArgument::Path(text) | GovernedArgument::Text(text) | GovernedArgument::Host(text) => {
                was_told(&Answer::Literal(text.clone()))
                    || text.parse().is_ok_and(|number| was_told(&Answer::Integer(number)))
            }
            // How much and how many says no place, unless the tool says so.
            GovernedArgument::Number(number) => {
                is_named(name)
                    && i64::try_from(*number).is_ok_and(|number| was_told(&Answer::Integer(number)))
            }
            GovernedArgument::Money(_) => false,
        };
        // What is not governed, the host looked at more closely.
        let controls = request.traced.iter().flat_map(|traced| &traced.controls);
        let traced = || controls.filter(|(_, answer)| was_told(answer)).map(|(name, _)| name).next();
        match request.governed.iter().find(said).map(|(name, _)| name).or_else(traced) {
            None => Ok(()),
            Some(name) => {
                let rule =
                    format!("'{name}' is what a quarantined child answered, and says where the call goes");
                Err(self.deny(Code::QuarantineControl, &format!("tool:{}", request.tool), rule))
            }
        }
    }
}
