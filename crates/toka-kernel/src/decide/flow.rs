//! Flow: where the data that a call is made from may go.

use std::time::Duration;

use toka_types::capability::{Argument, Request};
use toka_types::facts::{Facts, PolicySet};
use toka_types::operation::ToolRequest;
use toka_types::plan::SlotUse;
use toka_types::{EventId, FlowRule, Labels, Name, Sink, Verdict};

use super::{Asked, Decided, one};
use crate::denial::{Code, Denied};
use crate::limits::APPROVAL_TIME;
use crate::plans::{Planned, Short};
use crate::policy::{Policy, Reason};
use crate::world::ApprovalState;

/// What becomes of a call.
pub(super) enum Flow {
    /// It is made, under an approval if it needed one, and fills a slot of the agent's plan if it fits one.
    Go(Option<EventId>, Option<SlotUse>),
    /// A person is asked first.
    Ask(Vec<Decided>),
    /// A person was asked before.
    Waits(EventId),
}

impl Asked<'_> {
    pub(super) fn set_policy(&self, rules: &[FlowRule]) -> Result<Vec<Decided>, Denied> {
        let policy = Policy::new(rules.iter().cloned())
            .map_err(|error| self.deny(Code::PolicyInvalid, "policy:set", error.to_string()))?;
        Ok(one(Facts::PolicySet(PolicySet { rules: policy.rules().to_vec() })))
    }

    /// Asks the policy about a call with the labels of all its causes and of what lies at the places that it is about, and the
    /// agent's plan if it has one: what the plan foresees needs no person's word for the labels of its data, and what it does
    /// not foresee needs one wherever it goes.
    pub(super) fn flow(
        &self,
        request: &ToolRequest,
        arguments: &[(&str, Argument<'_>)],
        found: &Labels,
    ) -> Result<Flow, Denied> {
        let approval = self.approved(request)?;
        let asked = Request { resource: "tool", action: request.tool.as_str(), arguments };
        let labels = || self.envelope.causes.iter().flat_map(|cause| cause.labels.iter()).chain(found.iter());
        let policy = &self.world.authorities.policy;
        match policy.decide(labels(), request.sink, &asked, self.at) {
            verdict @ (Verdict::Allow | Verdict::Ask) => {
                match self.world.planned(self.envelope.origin, request, self.at) {
                    Planned::Fits(slot) => Ok(Flow::Go(approval, Some(slot))),
                    Planned::None if verdict == Verdict::Ask => self.with_word(request, approval, None, None),
                    Planned::None => Ok(Flow::Go(approval, None)),
                    // What tells nobody anything and changes nothing is no plan's business.
                    Planned::Short(..) if verdict == Verdict::Allow && request.sink == Sink::None => {
                        Ok(Flow::Go(approval, None))
                    }
                    Planned::Short(short, slot) => self.with_word(request, approval, slot, Some(short)),
                }
            }
            Verdict::Deny => {
                let explained = policy.explain(labels(), request.sink, &asked, self.at);
                let denying = explained.reasons.iter().filter(|reason| reason.verdict == Verdict::Deny);
                let of = |reason: &Reason| {
                    let rules: Vec<&str> = reason.rules.iter().map(Name::as_str).collect();
                    match &reason.label {
                        Some(label) => format!("{} (data with the label {label})", rules.join(", ")),
                        None => rules.join(", "),
                    }
                };
                let reasons: Vec<String> = denying.map(of).collect();
                let rule = format!("the policy denies it: {}", reasons.join("; "));
                Err(self.deny(Code::FlowDenied, &asked.to_string(), rule))
            }
        }
    }

    /// Makes a call for which a person's word is needed, if there is one.
    fn with_word(
        &self,
        request: &ToolRequest,
        approval: Option<EventId>,
        slot: Option<SlotUse>,
        short: Option<Short>,
    ) -> Result<Flow, Denied> {
        match approval {
            Some(_) => Ok(Flow::Go(approval, slot)),
            None => self.ask_about(request, short),
        }
    }

    fn ask_about(&self, request: &ToolRequest, short: Option<Short>) -> Result<Flow, Denied> {
        let same = self.world.approvals_of(self.envelope.origin).find(|(_, approval)| {
            approval.state == ApprovalState::Waiting
                && approval.until() > self.at
                && approval.is_about(request)
        });
        if let Some((id, _)) = same {
            return Ok(Flow::Waits(id));
        }
        let seconds = self.most(|limits| limits.approval_seconds, (APPROVAL_TIME / 1_000_000) as usize);
        let expires = self.at.saturating_add(Duration::from_secs(seconds as u64));
        self.request_approval(request, expires, short.map(Short::name)).map(Flow::Ask)
    }
}
