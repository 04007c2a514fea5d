//! Calls to the outside, their outcomes, and what is destroyed for good.

use toka_types::facts::{Facts, Resolution, SubjectErased, ToolRequested, ToolResolved, ToolReturned};
use toka_types::operation::{Cause, Parent, ToolOutcome, ToolRequest};
use toka_types::{EffectClass, EventId, KeyId, Labels};

use super::flow::Flow;
use super::needs::with_governed;
use super::{Asked, Decided, decided};
use crate::denial::{Code, Denied};
use crate::limits::{MAX_ERASED, MAX_OUTCOME, MAX_VERSION};
use crate::places::{joined, too_many};

/// What becomes of a call that is asked for.
pub(super) enum Asking {
    /// It is made.
    Made(Vec<Decided>),
    /// A person is asked first.
    Question(Vec<Decided>),
    /// A person was asked before.
    Waits(EventId),
}

impl Asked<'_> {
    pub(super) fn request(&self, request: &ToolRequest) -> Result<Asking, Denied> {
        self.call_fits("tool:request", request)?;
        self.is_as_declared(request)?;
        if request.class.request_first() {
            self.clock_runs(format_args!("tool:{}", request.tool))?;
        }
        // What lies at the places that it is about goes into it, whoever put it there.
        let found = self.world.authorities.safeguards.places.labels(&request.places.read);
        let flow = with_governed(&request.governed, |governed| self.flow(request, governed, &found));
        let (approval, slot) = match flow? {
            Flow::Go(approval, slot) => (approval, slot),
            Flow::Ask(mut events) => {
                events.iter_mut().for_each(|event| event.labels = found.clone());
                return Ok(Asking::Question(events));
            }
            Flow::Waits(approval) => return Ok(Asking::Waits(approval)),
        };
        // What a plan foresees is bound to what a person said or to a trusted read.
        if slot.is_none() {
            self.is_not_endorsed(request)?;
        }
        let hold = self.hold(request)?;
        // A use is counted, and money kept back, before it is made, so that no crash lets it be made once more; and what a
        // person allowed is used up, and a slot filled, by an event.
        let is_noted = !self.used.is_empty() || hold.is_some() || slot.is_some() || approval.is_some();
        if !request.class.request_first() && !is_noted {
            return Ok(Asking::Made(Vec::new()));
        }
        let is_labelled =
            !found.is_empty() || self.envelope.causes.iter().any(|cause| !cause.labels.is_empty());
        let writes = matches!(request.class, EffectClass::Write | EffectClass::Idempotent);
        let facts = ToolRequested {
            agent: self.envelope.origin,
            tool: request.tool.clone(),
            version: request.version.clone(),
            class: request.class,
            arguments: request.arguments.digest(),
            approval,
            slot,
            wrote: match is_labelled && writes {
                true => request.places.written.clone(),
                false => Vec::new(),
            },
        };
        let mut requested = decided(Facts::ToolRequested(facts), Some(request.arguments.clone()));
        requested.labels = found;
        requested.parents.extend(self.plan_filled(slot));
        let mut events = vec![requested];
        events.extend(hold);
        Ok(Asking::Made(events))
    }

    /// The log says that keys are destroyed before they are: the host does that once this is durable.
    pub(super) fn erase(&self, keys: &[KeyId]) -> Result<Vec<Decided>, Denied> {
        self.host_only("subject:erase")?;
        if self.world.operator.is_none() {
            return Err(self.deny(Code::LogNotOpen, "subject:erase", "the log is not open yet"));
        }
        self.count("subject:erase", "keys", keys.len(), MAX_ERASED)?;
        Ok(vec![decided(Facts::SubjectErased(SubjectErased { keys: keys.to_vec() }), None)])
    }

    /// Says what became of a call that crashed: one of the asker's own, or of an agent that stands under its grant.
    pub(super) fn resolve(&self, request: EventId, resolution: Resolution) -> Result<Vec<Decided>, Denied> {
        let (own, _) = self.grant("effect:resolve")?;
        let Some(effect) = self.world.effects.get(&request) else {
            return Err(self.deny(
                Code::EffectUnknown,
                "effect:resolve",
                format!("no call waits under {request}"),
            ));
        };
        if effect.agent != self.envelope.origin {
            let of_whom = self.world.grant_of(effect.agent);
            if !of_whom.is_some_and(|grant| self.world.is_cut_from(grant, own)) {
                let rule = format!("the call is of {}, who does not stand under grant {own}", effect.agent);
                return Err(self.deny(Code::NotADescendant, "effect:resolve", rule));
            }
        }
        let mut resolved = decided(Facts::ToolResolved(ToolResolved { request, resolution }), None);
        resolved.parents.push(Parent::Event(Cause { id: request, labels: effect.labels.clone() }));
        let mut events = vec![resolved];
        if let Some(hold) = effect.hold {
            events.extend(match resolution {
                Resolution::Happened => self.settle_whole(hold)?,
                Resolution::DidNotHappen => self.settle(hold, &effect.tool, None)?,
            });
        }
        Ok(events)
    }

    /// An outcome within its bounds is never refused while its call is known.
    pub(super) fn outcome(&self, outcome: &ToolOutcome) -> Result<Vec<Decided>, Denied> {
        self.host_only("tool:return")?;
        let agent = self.envelope.origin;
        let effect = outcome.request.and_then(|request| self.world.effects.get(&request));
        let hold = effect.filter(|effect| effect.agent == agent).and_then(|effect| effect.hold);
        let request = match outcome.request {
            Some(request) => match self.world.effects.get(&request).filter(|effect| effect.agent == agent) {
                Some(effect) => Some(Parent::Event(Cause { id: request, labels: effect.labels.clone() })),
                None => {
                    let rule = format!("no call of {agent} waits under {request}");
                    return Err(self.deny(Code::EffectUnknown, "tool:return", rule));
                }
            },
            None if outcome.class.request_first() => {
                let rule = format!("a call of class {} needs a recorded request", outcome.class);
                return Err(self.deny(Code::EffectUnknown, "tool:return", rule));
            }
            None => None,
        };
        self.size("tool:return", "bytes of a version", outcome.version.len(), MAX_VERSION)?;
        let size = outcome.content.as_ref().map_or(0, |content| content.bytes().len());
        self.size("tool:return", "bytes of outcome", size, MAX_OUTCOME)?;
        let facts = ToolReturned {
            agent,
            tool: outcome.tool.clone(),
            version: outcome.version.clone(),
            class: outcome.class,
            arguments: outcome.arguments,
            request: outcome.request,
            status: outcome.status.clone(),
            output: outcome.output,
            leaves: self.leaves(outcome.request, outcome),
        };
        let mut returned = decided(Facts::ToolReturned(facts), outcome.content.clone());
        returned.labels = self.with_found(outcome, request.as_ref());
        returned.parents.extend(request);
        let mut events = vec![returned];
        if let Some(hold) = hold {
            events.extend(self.settle(hold, &outcome.tool, outcome.usage.as_ref())?);
        }
        Ok(events)
    }
}

impl Asked<'_> {
    /// The labels of an outcome's own source: its tool's, and those of the places that were read. An outcome is not refused
    /// because these are too many: two labels stand for them then.
    fn with_found(&self, outcome: &ToolOutcome, request: Option<&Parent>) -> Labels {
        let found = self.world.authorities.safeguards.places.labels(&outcome.read);
        let own = self.labels_of(outcome);
        if found.is_empty() {
            return own;
        }
        let of_request = request.and_then(|parent| match parent {
            Parent::Event(cause) => Some(&cause.labels),
            Parent::Earlier(_) => None,
        });
        let causes = self.envelope.causes.iter().map(|cause| &cause.labels).chain(of_request);
        let all = causes.chain([&own, &found]).try_fold(Labels::none(), |all, labels| all.join(labels));
        match all {
            Ok(all) => all,
            Err(_) => joined(&own, &too_many()),
        }
    }
}
