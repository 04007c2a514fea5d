//! The loop's step: a batch of envelopes in, records and replies out.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use toka_types::digest::Digest;
use toka_types::facts::{ApprovalEnded, CapabilityDenied, Facts, NonceBurnt, OperationRef};
use toka_types::operation::{Authority, Cause, Metered, Parent};
use toka_types::record::{MAX_FACTS, MAX_PARENTS};
use toka_types::{
    EntityId, Envelope, Event, EventHeader, EventId, Kind, Labels, Name, Operation, Payload, Seal, Subject,
    Timestamp,
};

use crate::apply::{apply, apply_stored};
use crate::codec::{self, FactsError};
use crate::decide::{Decided, Decision, Uses, decide_with, kind_of};
use crate::denial::{Code, DenialMeter, Denied};
use crate::opcode::{OpcodeHandler, Opcodes};
use crate::quarantine::endorsed;
use crate::world::WorldState;

/// What the labels of secrets begin with.
const SECRET: &str = "secret:";

/// Something asked of the kernel.
#[derive(Clone, Debug)]
pub struct Submission {
    /// What is asked, by whom, by what right.
    pub envelope: Envelope,
    /// A cause it names that the log does not hold, as whoever can look there found. It is refused.
    pub unknown: Option<EventId>,
    /// Whoever hands it in refuses it: nothing is decided, and what was signed of it is used up all the same.
    pub turned_away: bool,
    /// What the token that it comes with was narrowed down to, as far as that has limits, which are counted here. What else
    /// a token does not allow is for whoever verified it to see.
    pub narrowed: Vec<Metered>,
}

impl Submission {
    /// Wraps an envelope.
    pub fn new(envelope: Envelope) -> Self {
        Self { envelope, unknown: None, turned_away: false, narrowed: Vec::new() }
    }
}

/// The answer to one submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It became the events of this range of the step's; none for an effect that may start at once. A call that the policy
    /// asks a person about becomes `approval.requested` instead.
    Events(Range<usize>),
    /// The same operation was accepted before, as this event, or a person was asked about the same call. Nothing was
    /// done.
    Repeated(EventId),
}

/// What the kernel answers to one submission.
pub type Reply = Result<Accepted, Denied>;

/// What one step amounts to. Nobody may be told of it before `events` are durable.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// The new events of the log, in order.
    pub events: Vec<Arc<Event>>,
    /// One answer for each submission, in order.
    pub replies: Vec<Reply>,
}

/// A world and the rules by which it moves on. One thread owns it.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    world: WorldState,
    meter: DenialMeter,
    sealing: Sealing,
    opcodes: Opcodes,
}

/// What seals the little content that the kernel writes itself.
#[derive(Clone, Default)]
struct Sealing(Option<Arc<dyn Seal>>);

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Sealing" } else { "None" })
    }
}

impl Sealing {
    /// The content as it is stored. What cannot be sealed is left out: the refusal stands without its words.
    fn seal(&self, author: EntityId, content: Payload) -> Option<Payload> {
        match &self.0 {
            None => Some(content),
            Some(seal) => seal.seal(&Subject::Author(author), &content).ok(),
        }
    }

    fn blind(&self, author: EntityId, digest: Digest) -> Option<Digest> {
        match &self.0 {
            None => Some(digest),
            Some(seal) => seal.blind(&Subject::Author(author), &digest).ok(),
        }
    }
}

impl Kernel {
    /// A kernel before its log's first event.
    pub fn new() -> Self {
        Self::default()
    }

    /// A kernel in a world that was folded before.
    pub fn in_world(world: WorldState) -> Self {
        Self { world, ..Self::default() }
    }

    /// Seals the words of refusals from now on, and the digests of their arguments. For the kernel this is a function
    /// like others: whoever hands in an envelope has seen to it that its origin has keys. All other content is
    /// handed in sealed.
    pub fn seal_with(&mut self, seal: Arc<dyn Seal>) {
        self.sealing = Sealing(Some(seal));
    }

    /// Lets `handler` decide the operations of `opcode` from now on.
    pub fn register(&mut self, opcode: Name, handler: Arc<dyn OpcodeHandler>) {
        self.opcodes.insert(opcode, handler);
    }

    /// The world as it is now.
    pub fn world(&self) -> &WorldState {
        &self.world
    }

    /// Folds an event that a log already holds, in order.
    ///
    /// # Errors
    /// If its facts cannot be read; the world is then as before.
    pub fn replay(&mut self, header: &EventHeader) -> Result<(), FactsError> {
        apply_stored(&mut self.world, header)
    }

    /// Decides `inputs` in order, each in the world that the ones before it left. `at` is the wall clock; time
    /// never goes backwards in a log, so an earlier one counts as that of the last event.
    pub fn step(&mut self, inputs: Vec<Submission>, at: Timestamp) -> Step {
        let at = at.max(self.world.last_at());
        let mut step = Step::default();
        for (agent, code, repeated) in self.meter.settle(at) {
            self.record_withheld(&mut step, agent, code, repeated, at);
        }
        self.expire(&mut step, at);
        for mut input in inputs {
            self.add_spawn(&mut input.envelope);
            let reply = match input.unknown {
                _ if input.turned_away => self.turn_away(&mut step, &input.envelope, at),
                Some(unknown) => self.refuse_unknown(&mut step, input.envelope, unknown, at),
                None => self.one(&mut step, &input.envelope, &input.narrowed, at),
            };
            step.replies.push(reply);
        }
        step
    }

    /// What an agent that was spawned from labelled data does comes of that data, whatever causes it names.
    fn add_spawn(&self, envelope: &mut Envelope) {
        let spawn = self.world.authorities.safeguards.spawn_of(envelope.origin);
        envelope.causes.extend(spawn.filter(|spawn| !envelope.causes.contains(spawn)));
    }

    /// Ends the approvals whose time is over.
    fn expire(&mut self, step: &mut Step, at: Timestamp) {
        if self.world.clock_jump().is_some() {
            return;
        }
        while let Some((id, approval)) = self.world.ended_approval(at) {
            let (agent, labels) = (approval.agent, approval.labels.clone());
            let facts = Facts::ApprovalExpired(ApprovalEnded { approval: id });
            self.push(step, New { labels, parents: vec![id], ..New::of(agent, facts) }, at);
        }
    }

    /// Records the refusals that were only counted so far: before a log is closed.
    pub fn settle(&mut self, at: Timestamp) -> Step {
        let at = at.max(self.world.last_at());
        let mut step = Step::default();
        for (agent, code, repeated) in self.meter.settle_now() {
            self.record_withheld(&mut step, agent, code, repeated, at);
        }
        step
    }

    /// The refusal of what was signed for something that was used before, or never can be. It uses nothing up.
    fn spent(&mut self, step: &mut Step, envelope: &Envelope, at: Timestamp) -> Result<(), Denied> {
        let Authority::Signed { nonce, until, .. } = envelope.authority else { return Ok(()) };
        let Err(error) = self.world.check_nonce(envelope.origin, &nonce, until, at) else { return Ok(()) };
        let denied = Denied::new(Code::of_nonce(&error), "operation:submit", error.to_string());
        self.refuse(step, envelope, denied, None, at).map(drop)
    }

    fn turn_away(&mut self, step: &mut Step, envelope: &Envelope, at: Timestamp) -> Reply {
        self.spent(step, envelope, at)?;
        let first = step.events.len();
        self.burn(step, envelope.origin, burnt(envelope), at);
        Ok(Accepted::Events(first..step.events.len()))
    }

    fn one(&mut self, step: &mut Step, envelope: &Envelope, narrowed: &[Metered], at: Timestamp) -> Reply {
        self.spent(step, envelope, at)?;
        let burnt = burnt(envelope);
        if let Some((op_id, _)) = envelope.op_id
            && let Some(event) = self.world.repeated(envelope.origin, op_id, at)
        {
            self.burn(step, envelope.origin, burnt, at);
            return Ok(Accepted::Repeated(event));
        }
        let first = step.events.len();
        let decided = decide_with(&self.world, &self.opcodes, envelope, narrowed, at);
        let result = decided.and_then(|decision| {
            let (mut decided, used) = match decision {
                Decision::Events(decided, used) => (decided, used),
                Decision::Asked(approval) => return Ok(Some(approval)),
            };
            self.seal_said(envelope.origin, &mut decided)?;
            let sequence = Sequence { kernel: self, envelope, used, at, first };
            sequence.commit(step, decided).map(|()| None)
        });
        match result {
            Ok(Some(approval)) => {
                self.burn(step, envelope.origin, burnt, at);
                Ok(Accepted::Repeated(approval))
            }
            Ok(None) => {
                let events = first..step.events.len();
                if events.is_empty() {
                    self.burn(step, envelope.origin, burnt, at);
                }
                Ok(Accepted::Events(events))
            }
            Err(denied) => self.refuse(step, envelope, denied, burnt, at),
        }
    }

    /// Records a refusal, or counts it. What was signed is used up by it in either case.
    fn refuse(
        &mut self,
        step: &mut Step,
        envelope: &Envelope,
        denied: Denied,
        burnt: Option<OperationRef>,
        at: Timestamp,
    ) -> Reply {
        match self.meter.admit(envelope.origin, &denied, at) {
            true => self.record_denial(step, envelope, &denied, burnt, at),
            false => self.burn(step, envelope.origin, burnt, at),
        }
        Err(denied)
    }

    /// Records that something signed was used and became no event.
    fn burn(&mut self, step: &mut Step, origin: EntityId, burnt: Option<OperationRef>, at: Timestamp) {
        if burnt.is_some() {
            let new = New { operation: burnt, ..New::of(origin, Facts::NonceBurnt(NonceBurnt {})) };
            self.push(step, new, at);
        }
    }

    /// Seals what opcodes said: all other content comes sealed.
    fn seal_said(&self, author: EntityId, decided: &mut [Decided]) -> Result<(), Denied> {
        for event in decided {
            let Facts::CustomEmit(said) = &event.facts else { continue };
            if let Some(content) = event.content.take() {
                let refused = || {
                    let rule = "what the opcode said cannot be sealed";
                    Denied::new(Code::OpcodeRefused, &format!("custom:{}", said.opcode), rule)
                };
                event.content = Some(self.sealing.seal(author, content).ok_or_else(refused)?);
            }
        }
        Ok(())
    }

    fn refuse_unknown(
        &mut self,
        step: &mut Step,
        envelope: Envelope,
        unknown: EventId,
        at: Timestamp,
    ) -> Reply {
        let denied =
            Denied::new(Code::ParentUnknown, "event:cause", format!("the log holds no event {unknown}"));
        let burnt = burnt(&envelope).filter(|burnt| self.is_fresh(envelope.origin, burnt, at));
        // An event can name only causes that are there, so the refusal names none.
        self.refuse(step, &Envelope { causes: Vec::new(), ..envelope }, denied, burnt, at)
    }

    fn is_fresh(&self, origin: EntityId, burnt: &OperationRef, at: Timestamp) -> bool {
        let (Some(nonce), Some(until)) = (burnt.nonce, burnt.until) else { return false };
        self.world.check_nonce(origin, &nonce, until, at).is_ok()
    }

    fn record_denial(
        &mut self,
        step: &mut Step,
        envelope: &Envelope,
        denied: &Denied,
        burnt: Option<OperationRef>,
        at: Timestamp,
    ) {
        #[derive(Serialize)]
        struct Content<'a> {
            code: Code,
            rule: &'a str,
            asked: &'a str,
            argument: Option<String>,
            nearest: Option<String>,
        }
        // A secret stays out of the refusal of whoever was given it; so does what is not known to be none, because
        // its labels do not fit on one event. A digest of few possible values would give the value away too. That the
        // labels are too many is said in numbers alone.
        let labels = sources(envelope).try_fold(Labels::none(), |joined, labels| joined.join(labels));
        // A quarantined agent says nothing with what it is refused, either.
        let confined = self.world.quarantine(envelope.origin);
        let labels = match confined {
            Some(confined) => labels.and_then(|labels| confined.joined(&labels)),
            None => labels,
        };
        let secret = |labels: &Labels| labels.iter().any(|label| label.as_str().starts_with(SECRET));
        let withhold = labels.is_err() || confined.is_some() || sources(envelope).any(secret);
        let rule = if withhold && denied.code != Code::LabelsTooMany { "withheld" } else { &denied.rule };
        let (argument, digest) = match withhold {
            true => (None, None),
            false => {
                let digest = denied.argument_digest();
                (denied.excerpt(), digest.and_then(|digest| self.sealing.blind(envelope.origin, digest)))
            }
        };
        let nearest = denied.nearest.as_ref().map(ToString::to_string);
        let content = Content { code: denied.code, rule, asked: &denied.asked, argument, nearest };
        let facts = denial_facts(envelope.origin, denied.code, &denied.asked, digest, 0);
        let (nearest, meter) = (denied.nearest.as_deref().cloned(), denied.meter.as_deref().copied());
        let facts = CapabilityDenied { nearest, meter, ..facts };
        let content = rmp_serde::to_vec_named(&content).ok().map(Payload::new);
        let content = content.and_then(|content| self.sealing.seal(envelope.origin, content));
        let labels = labels.unwrap_or_default();
        let mut parents: Vec<EventId> = Vec::new();
        for cause in &envelope.causes {
            // More causes than an event may have are a reason to refuse, so the refusal names only the first.
            if parents.len() < MAX_PARENTS && !parents.contains(&cause.id) {
                parents.push(cause.id);
            }
        }
        let new = New::of(envelope.origin, Facts::CapabilityDenied(facts));
        self.push(step, New { content, labels, parents, operation: burnt, ..new }, at);
    }

    fn record_withheld(
        &mut self,
        step: &mut Step,
        agent: EntityId,
        code: Code,
        repeated: u64,
        at: Timestamp,
    ) {
        let facts = denial_facts(agent, code, "", None, repeated);
        self.push(step, New::of(agent, Facts::CapabilityDenied(facts)), at);
    }

    /// Adds an event of the kernel's own.
    fn push(&mut self, step: &mut Step, mut new: New, at: Timestamp) {
        new.encoded = codec::encode(&new.facts, new.operation.as_ref());
        step.events.push(self.stamp(new, at));
    }

    /// Gives an event its position, time and id, and folds it in.
    fn stamp(&mut self, new: New, at: Timestamp) -> Arc<Event> {
        let mut header = EventHeader {
            seq: self.world.next_seq(),
            id: EventId::default(),
            at,
            kind: new.kind,
            author: new.author,
            prev: self.world.author_head(new.author),
            parents: new.parents,
            labels: new.labels,
            content: new.content.iter().map(Payload::content_ref).collect(),
            facts: new.encoded,
        };
        header.id = header.causal_digest();
        apply(&mut self.world, &header, &new.facts, new.operation.as_ref());
        Arc::new(Event { header, content: new.content.into_iter().collect() })
    }
}

fn denial_facts(
    agent: EntityId,
    code: Code,
    asked: &str,
    argument: Option<Digest>,
    repeated: u64,
) -> CapabilityDenied {
    let code = Name::new(code.as_str()).expect("codes are well formed, as a test shows");
    CapabilityDenied { agent, code, asked: asked.to_owned(), argument, nearest: None, repeated, meter: None }
}

struct New {
    kind: Kind,
    author: EntityId,
    facts: Facts,
    /// `facts` and `operation` as they are stored.
    encoded: Vec<u8>,
    content: Option<Payload>,
    labels: Labels,
    parents: Vec<EventId>,
    operation: Option<OperationRef>,
}

impl New {
    /// An event of a kind of the kernel's, with nothing else.
    fn of(author: EntityId, facts: Facts) -> Self {
        let kind = kind_of(&facts);
        let (encoded, content, parents, operation) = (Vec::new(), None, Vec::new(), None);
        Self { kind, author, facts, encoded, content, labels: Labels::none(), parents, operation }
    }
}

/// What is to be remembered of the envelope's signature, if it came with one.
fn burnt(envelope: &Envelope) -> Option<OperationRef> {
    let Authority::Signed { nonce, until, .. } = envelope.authority else { return None };
    Some(OperationRef { nonce: Some(nonce), until: Some(until), ..OperationRef::default() })
}

struct Sequence<'a> {
    kernel: &'a mut Kernel,
    envelope: &'a Envelope,
    used: Uses,
    at: Timestamp,
    first: usize,
}

impl Sequence<'_> {
    /// Turns what was decided into events. All that a header bounds is checked before the first event is made, so
    /// that a refusal here leaves nothing half done, and no event is made that a log would refuse.
    fn commit(self, step: &mut Step, decided: Vec<Decided>) -> Result<(), Denied> {
        let causes = &self.envelope.causes;
        let too_many =
            |e: toka_types::LabelError| Denied::new(Code::LabelsTooMany, "event:label", e.to_string());
        let mut inherited = join(causes).map_err(too_many)?;
        if let Some(confined) = self.kernel.world.quarantine(self.envelope.origin) {
            inherited = confined.joined(&inherited).map_err(too_many)?;
        }
        // A call that a person is asked about first was not made: a repeat of it is no repeat of that question.
        let is_asked = matches!(self.envelope.operation, Operation::Request(_))
            && decided.first().is_some_and(|first| matches!(first.facts, Facts::ApprovalRequested(_)));
        let named = self.envelope.op_id.filter(|_| !is_asked);
        let mut operation = burnt(self.envelope);
        if let Some((op_id, not_after)) = named {
            let burnt = operation.unwrap_or_default();
            operation = Some(OperationRef { op_id: Some(op_id), not_after: Some(not_after), ..burnt });
        }
        self.used.note(&mut operation);
        let mut labels: Vec<Labels> = Vec::with_capacity(decided.len());
        let mut encoded: Vec<Vec<u8>> = Vec::with_capacity(decided.len());
        for (index, event) in decided.iter().enumerate() {
            let mut joined = match event.facts {
                Facts::AgentAnswered(_) => endorsed(&inherited).map_err(too_many)?,
                _ => inherited.join(&event.labels).map_err(too_many)?,
            };
            for parent in &event.parents {
                let of_parent = match parent {
                    Parent::Event(cause) => &cause.labels,
                    Parent::Earlier(index) => &labels[*index],
                };
                joined = joined.join(of_parent).map_err(too_many)?;
            }
            let count = event.parents.len() + if inherits(event) { causes.len() } else { 0 };
            if count > MAX_PARENTS {
                let rule = format!("{count} causes of one event; at most {MAX_PARENTS} are allowed");
                return Err(Denied::new(Code::LimitCount, "event:cause", rule));
            }
            // The first event of an operation stands for it.
            let facts = codec::encode(&event.facts, operation.as_ref().filter(|_| index == 0));
            if facts.len() > MAX_FACTS {
                let rule =
                    format!("{} bytes of facts of one event; at most {MAX_FACTS} are allowed", facts.len());
                return Err(Denied::new(Code::LimitSize, "event:facts", rule));
            }
            labels.push(joined);
            encoded.push(facts);
        }
        for ((event, labels), encoded) in decided.into_iter().zip(labels).zip(encoded) {
            let mut parents: Vec<EventId> = Vec::with_capacity(event.parents.len() + causes.len());
            for parent in &event.parents {
                let parent = match parent {
                    Parent::Event(cause) => cause.id,
                    Parent::Earlier(index) => step.events[self.first + index].header.id,
                };
                if !parents.contains(&parent) {
                    parents.push(parent);
                }
            }
            if inherits(&event) {
                for cause in causes {
                    if !parents.contains(&cause.id) {
                        parents.push(cause.id);
                    }
                }
            }
            let Decided { kind, facts, content, .. } = event;
            let author = self.envelope.origin;
            let new =
                New { kind, author, facts, encoded, content, labels, parents, operation: operation.take() };
            step.events.push(self.kernel.stamp(new, self.at));
        }
        Ok(())
    }
}

/// An event with an earlier one of its operation as parent has the envelope's causes through that one.
fn inherits(event: &Decided) -> bool {
    !event.parents.iter().any(|parent| matches!(parent, Parent::Earlier(_)))
}

fn join(causes: &[Cause]) -> Result<Labels, toka_types::LabelError> {
    let mut joined = Labels::none();
    for cause in causes {
        joined = joined.join(&cause.labels)?;
    }
    Ok(joined)
}

/// The labels of all that an envelope's data may come from.
fn sources(envelope: &Envelope) -> impl Iterator<Item = &Labels> {
    let (observations, outcome) = match &envelope.operation {
        Operation::Observe(observations) => (&observations[..], None),
        Operation::Return(outcome) => (&[][..], Some(&outcome.labels)),
        _ => (&[][..], None),
    };
    let observed = observations.iter().flat_map(|observation| {
        let parents = observation.parents.iter().filter_map(|parent| match parent {
            Parent::Event(cause) => Some(&cause.labels),
            Parent::Earlier(_) => None,
        });
        parents.chain([&observation.labels])
    });
    envelope.causes.iter().map(|cause| &cause.labels).chain(observed).chain(outcome)
}

/// The operations that a program outside the process may never ask for.
pub fn is_host_only(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::OpenLog { .. }
            | Operation::EndTurn { .. }
            | Operation::Return(_)
            | Operation::Erase { .. }
            | Operation::JumpClock { .. }
    )
}
