//! What the world knows of requests and plans: what people asked agents for, which calls the agents said that takes, and
//! what the reads among them returned.
//!
//! Sources are resolved once, when a plan is committed or a read returns, so that the check of a call compares digests
//! and nothing else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toka_types::facts::{MessageSent, PlanCommitted, ToolReturned};
use toka_types::operation::{GovernedArgument, ToolRequest};
use toka_types::plan::{Leaf, Selector, Slot, SlotUse, Source, Traced, Value};
use toka_types::{Digest, EntityId, EventHeader, EventId, Labels, Name, PointerId, Timestamp};

use crate::limits::REQUEST_TIME;
use crate::world::WorldState;

/// What a person asked an agent for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRequest {
    /// The message.
    pub id: EventId,
    /// Its labels.
    pub labels: Labels,
    /// The first moment at which neither it nor its plan counts any more.
    pub until: Timestamp,
    /// Its whole tokens, in order.
    pub literals: Vec<Digest>,
    /// The event with which something untrusted came to the agent since then.
    pub untrusted: Option<EventId>,
    /// The plan that was committed for it.
    pub plan: Option<Plan>,
}

/// A plan, and how far it was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The event.
    pub id: EventId,
    /// Its labels.
    pub labels: Labels,
    /// Its slots.
    pub slots: Vec<PlannedSlot>,
    /// What the named slots returned so far.
    pub reads: BTreeMap<Name, Vec<Leaf>>,
    /// The calls that filled a slot and have not returned.
    pub calls: BTreeMap<EventId, u32>,
}

/// A slot, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedSlot {
    /// The slot.
    pub slot: Slot,
    /// How many calls filled it.
    pub used: u32,
    /// The value of each of its arguments, as far as it is known by now.
    pub values: Vec<Option<Value>>,
}

/// Why a call that an agent's plan is asked about is not simply made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Short {
    /// No slot for this tool is open.
    Outside,
    /// An argument that has a source is missing, or is something else.
    Unbound,
    /// An argument's source is a person.
    Person,
    /// An amount without a source is above the slot's limit.
    Amount,
    /// A URL or an address stands in the data that neither the request nor a trusted read has.
    Mention,
    /// A leaf of a read that the slot does not name stands in the data.
    Private,
}

impl Short {
    /// The stable name, as it stands in `approval.requested`.
    pub(crate) fn name(self) -> Name {
        let text = match self {
            Self::Outside => "plan.outside",
            Self::Unbound => "plan.argument",
            Self::Person => "plan.person",
            Self::Amount => "plan.amount",
            Self::Mention => "plan.mention",
            Self::Private => "plan.private",
        };
        Name::new(text).expect("these are names")
    }
}

/// What a plan says of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planned {
    /// The agent has no plan.
    None,
    /// It fills this slot.
    Fits(SlotUse),
    /// It does not; with a person's word it fills the slot, if there is one.
    Short(Short, Option<SlotUse>),
}

impl WorldState {
    /// What a person asked `agent` for last, as long as that counts.
    pub fn request_to(&self, agent: EntityId, at: Timestamp) -> Option<&UserRequest> {
        self.authorities.safeguards.requests.get(&agent).filter(|request| at < request.until)
    }

    /// Every agent that was asked for something by a person.
    pub fn requests(&self) -> impl Iterator<Item = (EntityId, &UserRequest)> {
        self.authorities.safeguards.requests.iter().map(|(agent, request)| (*agent, request))
    }

    /// What the plan of `agent` says of a call.
    pub(crate) fn planned(&self, agent: EntityId, call: &ToolRequest, at: Timestamp) -> Planned {
        if self.authorities.safeguards.requests.is_empty() {
            return Planned::None;
        }
        match self.request_to(agent, at) {
            Some(request) => {
                let declared = self.tool(&call.tool, &call.version);
                request.planned(call, declared.map_or(&[], |declared| &declared.control))
            }
            None => Planned::None,
        }
    }

    /// True if `request` is a call of a named slot, whose outcome is remembered leaf by leaf.
    pub(crate) fn is_named(&self, agent: EntityId, request: EventId) -> bool {
        let of_agent = self.authorities.safeguards.requests.get(&agent);
        let plan = of_agent.and_then(|asked| asked.plan.as_ref());
        plan.is_some_and(|plan| plan.calls.get(&request).is_some_and(|slot| plan.name(*slot).is_some()))
    }

    /// Something came to `agent` with an event, and with these labels.
    pub(crate) fn hear(&mut self, agent: EntityId, header: &EventHeader) {
        let requests = &mut self.authorities.safeguards.requests;
        if !requests.is_empty()
            && header.labels.is_untrusted()
            && let Some(request) = requests.get_mut(&agent)
        {
            request.untrusted.get_or_insert(header.id);
        }
    }

    pub(crate) fn instruct(&mut self, header: &EventHeader, facts: &MessageSent) {
        let Some(literals) = &facts.literals else { return self.hear(facts.to, header) };
        let mut literals = literals.clone();
        literals.sort_unstable();
        literals.dedup();
        let request = UserRequest {
            id: header.id,
            labels: header.labels.clone(),
            until: Timestamp(header.at.0.saturating_add(REQUEST_TIME)),
            literals,
            untrusted: header.labels.is_untrusted().then_some(header.id),
            plan: None,
        };
        self.authorities.safeguards.requests.insert(facts.to, request);
    }

    pub(crate) fn commit_plan(&mut self, header: &EventHeader, facts: &PlanCommitted) {
        let requests = &mut self.authorities.safeguards.requests;
        if let Some(request) = requests.get_mut(&facts.agent).filter(|request| request.id == facts.request) {
            let slots = facts.slots.iter().map(|slot| {
                let values = slot.arguments.iter().map(|(_, source)| source.resolve(&|_| None)).collect();
                PlannedSlot { slot: slot.clone(), used: 0, values }
            });
            let (id, labels) = (header.id, header.labels.clone());
            let (reads, calls) = (BTreeMap::new(), BTreeMap::new());
            request.plan = Some(Plan { id, labels, slots: slots.collect(), reads, calls });
        }
    }

    /// A call fills a slot.
    pub(crate) fn fill(&mut self, agent: EntityId, call: EventId, filled: SlotUse) {
        let Some(plan) = self.plan_of(agent).filter(|plan| plan.id == filled.plan) else { return };
        if let Some(slot) = plan.slots.get_mut(filled.slot as usize) {
            slot.used = slot.used.saturating_add(1);
            plan.calls.insert(call, filled.slot);
        }
    }

    /// A call returned. What a named one returned is what later slots speak of.
    pub(crate) fn read(&mut self, facts: &ToolReturned) {
        let Some(request) = facts.request else { return };
        let failed = facts.status != "ok" && facts.class.may_run_again();
        let Some(plan) = self.plan_of(facts.agent) else { return };
        if let Some(slot) = plan.end(request, failed)
            && let Some(name) = plan.name(slot).cloned()
            && !facts.leaves.is_empty()
        {
            plan.learn(name, &facts.leaves);
        }
    }

    /// Somebody said of a call of `agent` that it happened, or that it did not.
    pub(crate) fn resolve_planned(&mut self, agent: EntityId, request: EventId, happened: bool) {
        if let Some(plan) = self.plan_of(agent) {
            plan.end(request, !happened);
        }
    }

    /// The agent asks for nothing any more.
    pub(crate) fn forget_request(&mut self, agent: EntityId) {
        self.authorities.safeguards.requests.remove(&agent);
    }

    fn plan_of(&mut self, agent: EntityId) -> Option<&mut Plan> {
        self.authorities.safeguards.requests.get_mut(&agent)?.plan.as_mut()
    }
}

impl UserRequest {
    /// True if `value` stands in the request as a whole token.
    pub(crate) fn says(&self, value: &Digest) -> bool {
        self.literals.binary_search(value).is_ok()
    }

    /// What its plan says of a call of a tool that was declared to have these control arguments.
    fn planned(&self, call: &ToolRequest, control: &[String]) -> Planned {
        let Some(plan) = &self.plan else { return Planned::None };
        let mut nearest = (Short::Outside, None);
        for (index, slot) in plan.slots.iter().enumerate() {
            if slot.slot.tool != call.tool || slot.used >= slot.slot.times {
                continue;
            }
            let filled = SlotUse { plan: plan.id, slot: u32::try_from(index).unwrap_or(u32::MAX) };
            match self.short(plan, slot, call, control) {
                None => return Planned::Fits(filled),
                // With a person's word it is what the slot foresees, unless it is about somebody or something else.
                Some(short) if short > nearest.0 => {
                    nearest = (short, (short > Short::Unbound).then_some(filled));
                }
                Some(_) => {}
            }
        }
        Planned::Short(nearest.0, nearest.1)
    }

    /// What keeps the call from filling the slot.
    fn short(
        &self,
        plan: &Plan,
        planned: &PlannedSlot,
        call: &ToolRequest,
        control: &[String],
    ) -> Option<Short> {
        let (slot, Some(traced)) = (&planned.slot, &call.traced) else { return Some(Short::Unbound) };
        let has_source = |name: &str| slot.arguments.iter().any(|(known, _)| known == name);
        // What a later argument may be bound to, is bound itself, all of it.
        let must = traced.control.iter().chain(control).chain(match slot.name {
            Some(_) => traced.arguments.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            None => Vec::new(),
        });
        if must.into_iter().any(|name| !has_source(name)) {
            return Some(Short::Unbound);
        }
        let mut person = false;
        for ((name, source), value) in slot.arguments.iter().zip(&planned.values) {
            // An argument that is absent is what somebody else decided.
            let Some(given) = traced.argument(name) else { return Some(Short::Unbound) };
            match (source, value) {
                (Source::Person, _) => person = true,
                (_, Some(value)) if value == given => {}
                _ => return Some(Short::Unbound),
            }
        }
        if person {
            return Some(Short::Person);
        }
        let above = |(name, argument): &(String, GovernedArgument)| match argument {
            GovernedArgument::Money(money) if !has_source(name) => {
                slot.most.is_none_or(|most| most.currency != money.currency || money.amount > most.amount)
            }
            _ => false,
        };
        if call.governed.iter().any(above) {
            return Some(Short::Amount);
        }
        self.in_data(plan, slot, traced)
    }

    /// What must not stand in the data of a call without a person's word.
    fn in_data(&self, plan: &Plan, slot: &Slot, traced: &Traced) -> Option<Short> {
        let known = |value: &Digest| {
            self.says(value) || plan.reads.values().any(|leaves| with(leaves, value).any(|leaf| leaf.trusted))
        };
        if traced.cut || !traced.mentions.iter().all(known) {
            return Some(Short::Mention);
        }
        if traced.phrases.is_empty() {
            return None;
        }
        let named: Vec<&Name> = slot.arguments.iter().flat_map(|(_, source)| source.reads()).collect();
        let (own, others): (Vec<_>, Vec<_>) = plan.reads.iter().partition(|(name, _)| named.contains(name));
        let is_private = |value: &Digest| {
            !self.says(value) && !own.iter().any(|(_, leaves)| with(leaves, value).next().is_some())
        };
        let found = others.iter().any(|(_, leaves)| common(leaves, &traced.phrases).any(|v| is_private(&v)));
        found.then_some(Short::Private)
    }
}

/// The leaves with that value, of leaves in the order of their values.
fn with<'l>(leaves: &'l [Leaf], value: &Digest) -> impl Iterator<Item = &'l Leaf> {
    let from = leaves.partition_point(|leaf| leaf.value < *value);
    let value = *value;
    leaves[from..].iter().take_while(move |leaf| leaf.value == value)
}

/// The values of telling leaves that are among `phrases`. Both are in order; the fewer are looked up among the more.
fn common<'l>(leaves: &'l [Leaf], phrases: &'l [Digest]) -> impl Iterator<Item = Digest> + 'l {
    let few = phrases.len() <= leaves.len();
    let by_phrase = phrases.iter().take(if few { usize::MAX } else { 0 });
    let by_leaf = leaves.iter().take(if few { 0 } else { usize::MAX });
    let in_leaves = by_phrase.filter(|value| with(leaves, value).any(|leaf| leaf.telling)).copied();
    let in_phrases = by_leaf.filter(|leaf| leaf.telling && phrases.binary_search(&leaf.value).is_ok());
    in_leaves.chain(in_phrases.map(|leaf| leaf.value))
}

impl Plan {
    fn name(&self, slot: u32) -> Option<&Name> {
        self.slots.get(slot as usize)?.slot.name.as_ref()
    }

    /// A call has ended; if nothing came of it, its slot is open again.
    fn end(&mut self, call: EventId, open_again: bool) -> Option<u32> {
        let index = self.calls.remove(&call)?;
        if let Some(slot) = self.slots.get_mut(index as usize).filter(|_| open_again) {
            slot.used = slot.used.saturating_sub(1);
        }
        Some(index)
    }

    fn learn(&mut self, name: Name, leaves: &[Leaf]) {
        let mut leaves = leaves.to_vec();
        leaves
            .sort_by(|a, b| a.value.cmp(&b.value).then_with(|| (a.pointer, &a.at).cmp(&(b.pointer, &b.at))));
        self.reads.insert(name, leaves);
        let tables: BTreeMap<&Name, Table<'_>> =
            self.reads.iter().map(|(name, leaves)| (name, Table::of(leaves))).collect();
        let found = |selector: &Selector| tables.get(&selector.read)?.select(selector);
        for planned in &mut self.slots {
            for ((_, source), value) in planned.slot.arguments.iter().zip(&mut planned.values) {
                if value.is_none() {
                    *value = source.resolve(&found);
                }
            }
        }
    }
}

/// The trusted leaves of one outcome, by place.
struct Table<'l>(BTreeMap<(PointerId, &'l [u32]), Digest>);

impl<'l> Table<'l> {
    fn of(leaves: &'l [Leaf]) -> Self {
        let trusted = leaves.iter().filter(|leaf| leaf.trusted);
        Self(trusted.map(|leaf| ((leaf.pointer, &leaf.at[..]), leaf.value)).collect())
    }

    /// The one leaf, or the one list, that the selector is about.
    fn select(&self, selector: &Selector) -> Option<Value> {
        let mut scalars = self.about(selector.pointer).filter(|(at, _)| self.has(selector, at));
        if let Some((_, value)) = scalars.next() {
            return scalars.next().is_none().then_some(Value::One(value));
        }
        let mut list: Vec<Digest> = Vec::new();
        let mut of: Option<&[u32]> = None;
        for (at, value) in self.about(selector.elements) {
            let Some((index, place)) = at.split_last() else { continue };
            if !self.has(selector, place) {
                continue;
            }
            // Another list fits as well, or an element is missing.
            if of.is_some_and(|other| other != place) || *index as usize != list.len() {
                return None;
            }
            of = Some(place);
            list.push(value);
        }
        of.map(|_| Value::List(list))
    }

    fn about(&self, pointer: PointerId) -> impl Iterator<Item = (&'l [u32], Digest)> {
        let from: (PointerId, &[u32]) = (pointer, &[]);
        let all = self.0.range(from..).take_while(move |((of, _), _)| *of == pointer);
        all.map(|((_, at), value)| (*at, *value))
    }

    fn has(&self, selector: &Selector, at: &[u32]) -> bool {
        selector.keys.iter().all(|key| {
            let place = at.get(..key.depth as usize);
            place.is_some_and(|place| self.0.get(&(key.pointer, place)) == Some(&key.value))
        })
    }
}

/// What a source stands for, given what selectors stand for.
trait Resolve {
    fn resolve(&self, found: &dyn Fn(&Selector) -> Option<Value>) -> Option<Value>;
    fn reads(&self) -> Vec<&Name>;
}

impl Resolve for Source {
    fn resolve(&self, found: &dyn Fn(&Selector) -> Option<Value>) -> Option<Value> {
        match self {
            Self::Literal(value) => Some(Value::One(*value)),
            Self::Person => None,
            Self::Leaf(selector) => found(selector),
            Self::List(sources) => {
                let one = |source: &Source| match source.resolve(found)? {
                    Value::One(value) => Some(value),
                    Value::List(_) => None,
                };
                sources.iter().map(one).collect::<Option<Vec<_>>>().map(Value::List)
            }
        }
    }

    /// The reads that it speaks of.
    fn reads(&self) -> Vec<&Name> {
        match self {
            Self::Literal(_) | Self::Person => Vec::new(),
            Self::Leaf(selector) => vec![&selector.read],
            Self::List(sources) => sources.iter().flat_map(Self::reads).collect(),
        }
    }
}
