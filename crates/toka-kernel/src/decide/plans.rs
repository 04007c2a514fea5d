//! What people ask agents for, and the plans that agents commit for it.

use std::collections::BTreeSet;

use toka_types::facts::{Facts, MessageSent, PlanCommitted};
use toka_types::operation::{Cause, Parent, PlanRequest, ToolOutcome};
use toka_types::plan::{Leaf, SlotUse, Source};
use toka_types::{Digest, EntityId, EventId, Name, Payload};

use super::{Asked, Decided, decided};
use crate::denial::{Code, Denied};
use crate::limits::*;
use crate::plans::UserRequest;

const COMMIT: &str = "plan:commit";
/// Most bytes of a leaf in facts, but for its places in lists: two ids with what MessagePack puts before them.
const LEAF: usize = 56;

impl Asked<'_> {
    /// A message that counts as a request; its whole tokens are literals that a plan may name.
    pub(super) fn instruct(
        &self,
        to: EntityId,
        message: &Payload,
        literals: &[Digest],
    ) -> Result<Vec<Decided>, Denied> {
        let mut events = self.send(to, message)?;
        if !self.is_person() {
            let rule =
                format!("{} is no person; what agents say to each other is no request", self.envelope.origin);
            return Err(self.deny(Code::PlanPerson, "message:send", rule));
        }
        self.count("message:send", "tokens of a request", literals.len(), MAX_LITERALS)?;
        for event in &mut events {
            if let Facts::MessageSent(MessageSent { literals: of_message, .. }) = &mut event.facts {
                *of_message = Some(literals.to_vec());
            }
        }
        Ok(events)
    }

    pub(super) fn commit_plan(&self, plan: &PlanRequest) -> Result<Vec<Decided>, Denied> {
        let (own, _) = self.grant(COMMIT)?;
        let agent = self.known_agent(plan.agent, COMMIT)?;
        if plan.agent != self.envelope.origin {
            if !self.is_person() {
                let rule = format!(
                    "the plan is of {}; but for people, everybody commits plans of their own",
                    plan.agent
                );
                return Err(self.deny(Code::PlanPerson, COMMIT, rule));
            }
            if !self.world.is_cut_from(agent.grant, own) {
                let rule = format!("the plan is of '{}', who does not stand under grant {own}", agent.name);
                return Err(self.deny(Code::NotADescendant, COMMIT, rule));
            }
        }
        let Some(request) = self.world.request_to(plan.agent, self.at) else {
            let rule = format!("no person asked '{}' for anything that still counts", agent.name);
            return Err(self.deny(Code::PlanNoRequest, COMMIT, rule));
        };
        self.is_clean(request)?;
        if let Some(committed) = &request.plan {
            let rule = format!("there is a plan for this request: {}", committed.id.short());
            return Err(self.deny(Code::PlanCommitted, COMMIT, rule));
        }
        self.check_slots(request, plan)?;
        let facts = PlanCommitted { agent: plan.agent, request: request.id, slots: plan.slots.clone() };
        let mut committed = decided(Facts::PlanCommitted(facts), Some(plan.content.clone()));
        committed.parents.push(Parent::Event(Cause { id: request.id, labels: request.labels.clone() }));
        Ok(vec![committed])
    }

    /// True if the origin is the operator or was let in as a person.
    fn is_person(&self) -> bool {
        let origin = self.envelope.origin;
        self.world.operator.is_some_and(|(operator, _)| operator == origin)
            || self.world.user(origin).is_some()
    }

    /// Refuses if anything untrusted came to the agent since it was asked.
    fn is_clean(&self, request: &UserRequest) -> Result<(), Denied> {
        let named = self.envelope.causes.iter().find(|cause| cause.labels.is_untrusted());
        if let Some(event) = request.untrusted.or(named.map(|cause| cause.id)) {
            let rule = format!(
                "the agent's context holds untrusted data since {}; a plan is committed before anything of that sort is read",
                event.short()
            );
            return Err(self.deny(Code::PlanUntrusted, COMMIT, rule));
        }
        Ok(())
    }

    fn check_slots(&self, request: &UserRequest, plan: &PlanRequest) -> Result<(), Denied> {
        self.count(COMMIT, "slots", plan.slots.len(), MAX_SLOTS)?;
        self.size(COMMIT, "bytes of a plan in words", plan.content.bytes().len(), MAX_PLAN)?;
        if plan.slots.is_empty() {
            return Err(self.deny(Code::PlanSource, COMMIT, "the plan has no slots"));
        }
        let mut reads: BTreeSet<&Name> = BTreeSet::new();
        for (index, slot) in plan.slots.iter().enumerate() {
            self.count(COMMIT, "calls of one slot", slot.times as usize, MAX_SLOT_CALLS as usize)?;
            self.count(COMMIT, "arguments of one slot", slot.arguments.len(), MAX_SOURCES)?;
            let wrong = |code, rule: String| {
                Err(self.deny(code, COMMIT, format!("slot {index} ('{}'): {rule}", slot.tool)))
            };
            if slot.times == 0 || (slot.name.is_some() && slot.times != 1) {
                return wrong(
                    Code::PlanSource,
                    format!("{} calls; one at least, and one alone if it is named", slot.times),
                );
            }
            for (i, (name, source)) in slot.arguments.iter().enumerate() {
                if slot.arguments[..i].iter().any(|(other, _)| other == name) {
                    return wrong(Code::PlanSource, format!("'{name}' has two sources"));
                }
                self.check_source(request, &reads, source, false).map_err(|(code, rule)| {
                    self.deny(
                        code,
                        COMMIT,
                        format!("slot {index} ('{}'), argument '{name}': {rule}", slot.tool),
                    )
                })?;
            }
            // A tool of which nothing is known has no slot.
            let Some(control) = plan.control.get(index) else {
                return wrong(
                    Code::PlanUnbound,
                    "the control arguments of the tool are not known".to_owned(),
                );
            };
            let unbound = |name: &&String| slot.arguments.iter().all(|(given, _)| given != *name);
            if let Some(name) = control.iter().find(unbound) {
                return wrong(Code::PlanUnbound, format!("the control argument '{name}' has no source"));
            }
            if let Some(name) = &slot.name
                && !reads.insert(name)
            {
                return wrong(Code::PlanSource, format!("two slots are named '{name}'"));
            }
        }
        self.count(COMMIT, "named slots", reads.len(), MAX_READS)
    }

    fn check_source(
        &self,
        request: &UserRequest,
        reads: &BTreeSet<&Name>,
        source: &Source,
        in_list: bool,
    ) -> Result<(), (Code, String)> {
        let literal = |value: &Digest| match request.says(value) {
            true => Ok(()),
            false => Err((
                Code::PlanLiteral,
                "a literal stands nowhere in the request as a whole token".to_owned(),
            )),
        };
        match source {
            Source::Literal(value) => literal(value),
            Source::Leaf(selector) if !reads.contains(&selector.read) => {
                Err((Code::PlanSource, format!("no slot before it is named '{}'", selector.read)))
            }
            Source::Leaf(selector) => selector.keys.iter().try_for_each(|key| literal(&key.value)),
            Source::Person | Source::List(_) if in_list => {
                Err((Code::PlanSource, "a list holds literals and leaves alone".to_owned()))
            }
            Source::Person => Ok(()),
            Source::List(sources) if sources.len() > MAX_SOURCES => Err((
                Code::LimitCount,
                format!("{} elements; at most {MAX_SOURCES} are allowed", sources.len()),
            )),
            Source::List(sources) => {
                sources.iter().try_for_each(|source| self.check_source(request, reads, source, true))
            }
        }
    }

    /// What is remembered of an outcome leaf by leaf: nothing, unless a plan named the call. That what the call was made
    /// with came from untrusted data matters nothing: all of its arguments were bound. If there is more than can be
    /// remembered, what stands in lists binds nothing: an element that was left out may fit a selector too, and whoever
    /// adds elements would choose which are left out.
    pub(super) fn leaves(&self, request: Option<EventId>, outcome: &ToolOutcome) -> Vec<Leaf> {
        let named = request.is_some_and(|request| self.world.is_named(self.envelope.origin, request));
        if !named || outcome.status != "ok" {
            return Vec::new();
        }
        let found = self.world.authorities.safeguards.places.labels(&outcome.read);
        let trusted = !self.labels_of(outcome).is_untrusted() && !found.is_untrusted();
        let mut room = MAX_LEAF_BYTES;
        // An outcome is never refused, so what is too much is left out.
        let fits = |leaf: &&Leaf| {
            let size = LEAF + leaf.at.iter().map(|place| packed(*place)).sum::<usize>();
            room.checked_sub(size).map(|left| room = left).is_some()
        };
        let count = outcome.leaves.iter().take(MAX_LEAVES).take_while(fits).count();
        let is_whole = count == outcome.leaves.len();
        let binds = |leaf: &Leaf| (trusted || leaf.trusted) && (is_whole || leaf.at.is_empty());
        let kept = outcome.leaves.iter().take(count);
        kept.map(|leaf| Leaf { trusted: binds(leaf), ..leaf.clone() }).collect()
    }

    /// The plan as a cause of a call that fills one of its slots.
    pub(super) fn plan_filled(&self, slot: Option<SlotUse>) -> Option<Parent> {
        let slot = slot?;
        let plan = self.world.request_to(self.envelope.origin, self.at)?.plan.as_ref()?;
        Some(Parent::Event(Cause { id: slot.plan, labels: plan.labels.clone() }))
    }
}

/// Bytes of a number in MessagePack.
fn packed(number: u32) -> usize {
    match number {
        0..128 => 1,
        128..256 => 2,
        256..65_536 => 3,
        _ => 5,
    }
}
