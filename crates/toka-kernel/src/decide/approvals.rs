//! Approvals: a person is asked about one exact call, and says whether it may be made.

use toka_types::facts::{ApprovalDecided, ApprovalEnded, ApprovalRequested, ApprovalVerdict, Facts};
use toka_types::operation::{Cause, Parent, ToolRequest};
use toka_types::{EventId, GrantId, Name, Timestamp};

use super::{Asked, Decided, decided};
use crate::denial::{Code, Denied};
use crate::limits::{MAX_APPROVAL_TIME, MAX_APPROVALS};
use crate::world::{Approval, ApprovalState};

const REQUEST: &str = "approval:request";
const DECIDE: &str = "approval:decide";

impl Asked<'_> {
    /// Asking needs no more than the right to make the call. `because` says what the agent's plan has against it.
    pub(super) fn request_approval(
        &self,
        request: &ToolRequest,
        expires: Timestamp,
        because: Option<Name>,
    ) -> Result<Vec<Decided>, Denied> {
        let agent = self.envelope.origin;
        self.call_fits(REQUEST, request)?;
        self.within_time(REQUEST, expires)?;
        self.count(
            REQUEST,
            "approvals of one agent",
            self.world.approvals_of(agent).count() + 1,
            self.most(|limits| limits.approvals, MAX_APPROVALS),
        )?;
        let facts = ApprovalRequested {
            agent,
            tool: request.tool.clone(),
            version: request.version.clone(),
            arguments: request.arguments.digest(),
            expires,
            because,
        };
        Ok(vec![decided(Facts::ApprovalRequested(facts), Some(request.arguments.clone()))])
    }

    pub(super) fn decide_approval(
        &self,
        id: EventId,
        verdict: ApprovalVerdict,
        until: Option<Timestamp>,
    ) -> Result<Vec<Decided>, Denied> {
        let (own, _) = self.grant(DECIDE)?;
        let approval = self.waiting(id, DECIDE)?;
        self.is_somebody_else(approval, own)?;
        self.is_nobody_s_puppet(approval, own)?;
        let until = until.unwrap_or(approval.expires);
        self.within_time(DECIDE, until)?;
        let by = self.envelope.origin;
        let facts = Facts::ApprovalDecided(ApprovalDecided { approval: id, verdict, by, until });
        Ok(vec![following(id, approval, facts)])
    }

    pub(super) fn cancel_approval(&self, id: EventId) -> Result<Vec<Decided>, Denied> {
        let asked = "approval:cancel";
        let (own, _) = self.grant(asked)?;
        let Some(approval) = self.world.approval(id) else { return Err(self.unknown_approval(id, asked)) };
        let of_whom = self.world.grant_of(approval.agent);
        if approval.agent != self.envelope.origin
            && !of_whom.is_some_and(|grant| self.world.is_cut_from(grant, own))
        {
            let rule = format!("the call is of {}, who does not stand under grant {own}", approval.agent);
            return Err(self.deny(Code::NotADescendant, asked, rule));
        }
        let denied = matches!(approval.state, ApprovalState::Decided { verdict: ApprovalVerdict::Deny, .. });
        let is_own = approval.agent == self.envelope.origin && !self.is_operator();
        if denied && (is_own || self.world.agents.contains_key(&self.envelope.origin)) {
            let rule = format!("that call was denied ({}); a person above takes that back", id.short());
            return Err(self.deny(Code::ApprovalDenied, asked, rule));
        }
        let facts = Facts::ApprovalCancelled(ApprovalEnded { approval: id });
        Ok(vec![following(id, approval, facts)])
    }

    /// The narrowest approval that lets this agent make this call now, or the verdict that it may not.
    ///
    /// # Errors
    /// [`Code::ApprovalDenied`] if a person said no, and that holds still.
    pub(super) fn approved(&self, request: &ToolRequest) -> Result<Option<EventId>, Denied> {
        let mut best: Option<(ApprovalVerdict, EventId)> = None;
        for (id, approval) in self.world.approvals_of(self.envelope.origin) {
            let ApprovalState::Decided { verdict, until, .. } = approval.state else { continue };
            let fits = match verdict {
                ApprovalVerdict::AllowTool => approval.is_about_tool(request),
                _ => approval.is_about(request),
            };
            if until <= self.at || !fits {
                continue;
            }
            if verdict == ApprovalVerdict::Deny {
                let rule = format!("a person denied this very call ({})", id.short());
                return Err(self.deny(Code::ApprovalDenied, &format!("tool:{}", request.tool), rule));
            }
            if best.is_none_or(|(other, _)| verdict < other) {
                best = Some((verdict, id));
            }
        }
        Ok(best.map(|(_, id)| id))
    }

    fn waiting(&self, id: EventId, asked: &str) -> Result<&Approval, Denied> {
        let found = self.world.approval(id).filter(|approval| approval.until() > self.at);
        let Some(approval) = found else { return Err(self.unknown_approval(id, asked)) };
        if approval.state != ApprovalState::Waiting {
            let rule = format!("approval {} was decided before", id.short());
            return Err(self.deny(Code::ApprovalDecided, asked, rule));
        }
        Ok(approval)
    }

    /// A person decides, and nobody who stands under whoever asks. Above the operator stands nobody: that one answers for
    /// itself.
    fn is_somebody_else(&self, approval: &Approval, own: GrantId) -> Result<(), Denied> {
        let (by, is_operator) = (self.envelope.origin, self.is_operator());
        if !is_operator && self.world.user(by).is_none() {
            let rule = format!("{by} is no person; agents do not decide about calls");
            return Err(self.deny(Code::ApprovalPerson, DECIDE, rule));
        }
        let grant = self.world.grant_of(approval.agent);
        if !is_operator && grant.is_some_and(|grant| self.world.is_cut_from(own, grant)) {
            let rule = format!("grant {own} is that of whoever asks, or was cut from it");
            return Err(self.deny(Code::ApprovalSelf, DECIDE, rule));
        }
        Ok(())
    }

    fn is_operator(&self) -> bool {
        self.world.operator.is_some_and(|(operator, _)| operator == self.envelope.origin)
    }

    /// Whoever was let in by an agent, or under one, decides neither about its calls nor about those of others under it.
    fn is_nobody_s_puppet(&self, approval: &Approval, own: GrantId) -> Result<(), Denied> {
        let Some(asker) = self.world.grant_of(approval.agent) else { return Ok(()) };
        let mut above = self.world.grants.get(&own).and_then(|grant| grant.cut_from);
        while let Some((id, grant)) = above.and_then(|id| Some((id, self.world.grants.get(&id)?))) {
            if self.world.agents.contains_key(&grant.subject) && self.world.is_cut_from(asker, id) {
                let rule = format!("grant {own} and that of whoever asks were cut from an agent's, {id}");
                return Err(self.deny(Code::ApprovalSelf, DECIDE, rule));
            }
            above = grant.cut_from;
        }
        Ok(())
    }

    fn within_time(&self, asked: &str, until: Timestamp) -> Result<(), Denied> {
        let last = Timestamp(self.at.0.saturating_add(MAX_APPROVAL_TIME));
        if until <= self.at || until > last {
            let rule = format!("{until} is not after {}, or it is after {last}", self.at);
            return Err(self.deny(Code::ApprovalTime, asked, rule));
        }
        Ok(())
    }

    fn unknown_approval(&self, id: EventId, asked: &str) -> Denied {
        self.deny(Code::ApprovalUnknown, asked, format!("no approval waits or holds under {}", id.short()))
    }
}

/// An event that has the request as its cause.
fn following(id: EventId, approval: &Approval, facts: Facts) -> Decided {
    let mut event = decided(facts, None);
    event.parents.push(Parent::Event(Cause { id, labels: approval.labels.clone() }));
    event
}
