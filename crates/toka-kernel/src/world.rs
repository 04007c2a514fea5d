//! The world: everything the kernel knows, folded from the facts of a log.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Serialize};
use toka_ledger::{Ledger, PriceBook};
use toka_types::capability::CapabilitySet;
use toka_types::effect::EffectClass;
use toka_types::facts::{ApprovalVerdict, Role};
use toka_types::nonce::{Nonce, NonceError, NonceWindow};
use toka_types::operation::ToolRequest;
use toka_types::{Digest, EntityId, EventId, GrantId, Labels, Name, OpId, Timestamp};

use crate::policy::Policy;
use crate::safeguards::Safeguards;

/// Everything the kernel knows. It is changed by [`crate::apply::apply`] alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorldState {
    pub(crate) next_seq: u64,
    pub(crate) last_at: Timestamp,
    pub(crate) operator: Option<(EntityId, GrantId)>,
    pub(crate) next_grant: u64,
    pub(crate) grants: BTreeMap<GrantId, Grant>,
    pub(crate) agents: BTreeMap<EntityId, Agent>,
    /// How many agents that are not stopped each entity has spawned. An entry is never 0.
    pub(crate) living: BTreeMap<EntityId, u64>,
    /// The tasks of each agent that has any.
    pub(crate) tasks: BTreeMap<EntityId, BTreeMap<Name, Task>>,
    pub(crate) effects: BTreeMap<EventId, PendingEffect>,
    pub(crate) registers: BTreeMap<(EntityId, Digest), Digest>,
    pub(crate) heads: BTreeMap<EntityId, EventId>,
    pub(crate) operations: BTreeMap<(EntityId, OpId), (EventId, Timestamp)>,
    pub(crate) operations_until: BTreeSet<(Timestamp, EntityId, OpId)>,
    /// How many of each origin there are. It follows from the others.
    #[serde(skip)]
    pub(crate) operations_of: BTreeMap<EntityId, u64>,
    /// The event with which the log became a fork: the previous event of whoever has none after it. (A log that is
    /// no fork has the digests that it had before there were forks.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) forked: Option<EventId>,
    /// Behind all else and only where there is any, for the same reason: a world without it has the digests it had.
    #[serde(default, skip_serializing_if = "Authorities::is_empty")]
    pub(crate) authorities: Authorities,
}

/// What people and rules have to say in the world.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Authorities {
    pub(crate) users: BTreeMap<EntityId, User>,
    /// The values that opcodes keep.
    pub(crate) custom: BTreeMap<(Name, Digest), Digest>,
    pub(crate) approvals: BTreeMap<EventId, Approval>,
    /// The same by agent: every call looks whether there is one.
    pub(crate) approvals_of: BTreeSet<(EntityId, EventId)>,
    /// The same by the time at which they end.
    pub(crate) approvals_until: BTreeSet<(Timestamp, EventId)>,
    pub(crate) policy: Policy,
    pub(crate) ledger: Ledger,
    pub(crate) prices: PriceBook,
    /// What each origin signed and used, as long as it could be used again.
    pub(crate) nonces: BTreeMap<EntityId, NonceWindow>,
    /// When nothing of an origin has to be remembered any more.
    pub(crate) nonces_until: BTreeSet<(Timestamp, EntityId)>,
    /// The last one, and only where there is any.
    #[serde(skip_serializing_if = "Safeguards::is_empty")]
    pub(crate) safeguards: Safeguards,
}

impl Authorities {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A call that a person was asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who wants to call.
    pub agent: EntityId,
    /// The tool.
    pub tool: Name,
    /// Its version.
    pub version: String,
    /// The digest of the canonical arguments.
    pub arguments: Digest,
    /// The labels of the request.
    pub labels: Labels,
    /// When asking ends.
    pub expires: Timestamp,
    /// What was said.
    pub state: ApprovalState,
}

/// What was said of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalState {
    /// Nothing yet.
    Waiting,
    /// Something that holds for some time.
    Decided {
        /// What.
        verdict: ApprovalVerdict,
        /// By whom.
        by: EntityId,
        /// Until when.
        until: Timestamp,
    },
}

impl Approval {
    /// True if it is about a call of the same version of the same tool, with whatever arguments.
    pub(crate) fn is_about_tool(&self, call: &ToolRequest) -> bool {
        self.tool == call.tool && self.version == call.version
    }

    /// True if it is about this very call.
    pub(crate) fn is_about(&self, call: &ToolRequest) -> bool {
        self.is_about_tool(call) && self.arguments == call.arguments.digest()
    }

    /// The first moment at which it means nothing any more.
    pub fn until(&self) -> Timestamp {
        match self.state {
            ApprovalState::Waiting => self.expires,
            ApprovalState::Decided { until, .. } => until,
        }
    }
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name.
    pub name: Name,
    /// How much of the grant may be used.
    pub role: Role,
    /// The grant.
    pub grant: GrantId,
}

/// A set of capabilities that somebody holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Whose it is.
    pub subject: EntityId,
    /// The grant it was cut from; `None` for the operator's.
    pub cut_from: Option<GrantId>,
    /// What the subject may use.
    pub uses: CapabilitySet,
    /// What it may hand on.
    pub delegates: CapabilitySet,
    /// When it ends, if it does.
    pub expires: Option<Timestamp>,
    /// True once it or one it was cut from is void.
    pub revoked: bool,
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its name.
    pub name: Name,
    /// The program it runs.
    pub behaviour: Name,
    /// Who spawned it.
    pub parent: EntityId,
    /// Its grant.
    pub grant: GrantId,
    /// Whether it may act.
    pub state: AgentState,
    /// The first position of the log that it has not dealt with.
    pub upto: u64,
    /// How many tasks it has.
    pub tasks: u32,
}

/// Whether an agent may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentState {
    /// It may.
    Running,
    /// Not until it is resumed.
    Suspended,
    /// Never again; the name may be given to a new agent.
    Stopped,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// When it is due.
    pub due: Timestamp,
    /// The digest of what it shall do and when.
    pub spec: Digest,
    /// The event that scheduled it, whose content is that description.
    pub scheduled: EventId,
    /// The labels of that event: what the task does when it is due carries them.
    pub labels: Labels,
}

/// A call that was requested and has no outcome yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingEffect {
    /// Who asked.
    pub agent: EntityId,
    /// The tool.
    pub tool: Name,
    /// Its version.
    pub version: String,
    /// What the call may do to the outside.
    pub class: EffectClass,
    /// The digest of its canonical arguments.
    pub arguments: Digest,
    /// The labels of the request: its outcome carries them.
    pub labels: Labels,
    /// What was kept back for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<EventId>,
}

impl WorldState {
    /// How many events were folded; the position of the next one.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The time of the last event.
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// The operator's grant, once the log is open.
    pub fn operator_grant(&self) -> Option<GrantId> {
        self.operator.map(|(_, grant)| grant)
    }

    /// The grant of that number.
    pub fn grant(&self, id: GrantId) -> Option<&Grant> {
        self.grants.get(&id)
    }

    /// Every grant that ever was, by number.
    pub fn grants(&self) -> impl Iterator<Item = (GrantId, &Grant)> {
        self.grants.iter().map(|(id, grant)| (*id, grant))
    }

    /// The agent of that id, stopped ones included.
    pub fn agent(&self, id: EntityId) -> Option<&Agent> {
        self.agents.get(&id)
    }

    /// Every agent that ever was, by id.
    pub fn agents(&self) -> impl Iterator<Item = (EntityId, &Agent)> {
        self.agents.iter().map(|(id, agent)| (*id, agent))
    }

    /// The name of an entity: an agent's, or `operator`.
    pub fn name_of(&self, id: EntityId) -> Option<&str> {
        if id == EntityId::operator() {
            return Some("operator");
        }
        let agent = self.agents.get(&id).map(|agent| agent.name.as_str());
        agent.or_else(|| self.user(id).map(|user| user.name.as_str()))
    }

    /// The grant of an agent, of a person or of the operator.
    pub fn grant_of(&self, id: EntityId) -> Option<GrantId> {
        let of_agent = self.agents.get(&id).map(|agent| agent.grant);
        let of_user = || self.user(id).map(|user| user.grant);
        let of_operator = || self.operator.filter(|(operator, _)| *operator == id).map(|(_, grant)| grant);
        of_agent.or_else(of_user).or_else(of_operator)
    }

    /// The person of that id. The operator is not among them.
    pub fn user(&self, id: EntityId) -> Option<&User> {
        self.authorities.users.get(&id)
    }

    /// Every person, by id.
    pub fn users(&self) -> impl Iterator<Item = (EntityId, &User)> {
        self.authorities.users.iter().map(|(id, user)| (*id, user))
    }

    /// A call that a person was asked about, as long as that waits or what was said holds.
    pub fn approval(&self, id: EventId) -> Option<&Approval> {
        self.authorities.approvals.get(&id)
    }

    /// All of these.
    pub fn approvals(&self) -> impl Iterator<Item = (EventId, &Approval)> {
        self.authorities.approvals.iter().map(|(id, approval)| (*id, approval))
    }

    /// Those of `agent`.
    pub fn approvals_of(&self, agent: EntityId) -> impl Iterator<Item = (EventId, &Approval)> {
        let all = (agent, EventId(Digest([0; 32])))..=(agent, EventId(Digest([u8::MAX; 32])));
        let ids = self.authorities.approvals_of.range(all).map(|(_, id)| *id);
        ids.filter_map(|id| Some((id, self.approval(id)?)))
    }

    /// One that has ended by `at`.
    pub(crate) fn ended_approval(&self, at: Timestamp) -> Option<(EventId, &Approval)> {
        let &(until, id) = self.authorities.approvals_until.first()?;
        if until > at { None } else { Some((id, self.approval(id)?)) }
    }

    pub(crate) fn set_approval(&mut self, id: EventId, approval: Approval) {
        self.end_approval(id);
        let Authorities { approvals, approvals_of, approvals_until, .. } = &mut self.authorities;
        approvals_of.insert((approval.agent, id));
        approvals_until.insert((approval.until(), id));
        approvals.insert(id, approval);
    }

    pub(crate) fn end_approval(&mut self, id: EventId) {
        let Authorities { approvals, approvals_of, approvals_until, .. } = &mut self.authorities;
        if let Some(approval) = approvals.remove(&id) {
            approvals_of.remove(&(approval.agent, id));
            approvals_until.remove(&(approval.until(), id));
        }
    }

    pub(crate) fn end_approvals(&mut self) {
        let Authorities { approvals, approvals_of, approvals_until, .. } = &mut self.authorities;
        approvals.clear();
        approvals_of.clear();
        approvals_until.clear();
    }

    /// Where labelled data may flow.
    pub fn policy(&self) -> &Policy {
        &self.authorities.policy
    }

    /// All money.
    pub fn ledger(&self) -> &Ledger {
        &self.authorities.ledger
    }

    /// What tools and models cost.
    pub fn prices(&self) -> &PriceBook {
        &self.authorities.prices
    }

    /// A value that an opcode keeps under the digest of a name.
    pub fn custom(&self, opcode: &Name, key: Digest) -> Option<Digest> {
        self.authorities.custom.get(&(opcode.clone(), key)).copied()
    }

    /// An agent's task.
    pub fn task(&self, owner: EntityId, task: &Name) -> Option<&Task> {
        self.tasks.get(&owner)?.get(task)
    }

    /// The tasks of an agent, by name.
    pub fn tasks_of(&self, owner: EntityId) -> impl Iterator<Item = (&Name, &Task)> {
        self.tasks.get(&owner).into_iter().flatten()
    }

    /// The calls without an outcome, by request.
    pub fn effects(&self) -> impl Iterator<Item = (EventId, &PendingEffect)> {
        self.effects.iter().map(|(id, effect)| (*id, effect))
    }

    /// The value of an agent's register.
    pub fn register(&self, agent: EntityId, key: Digest) -> Option<Digest> {
        self.registers.get(&(agent, key)).copied()
    }

    /// The values of all registers.
    pub fn registers(&self) -> impl Iterator<Item = Digest> {
        self.registers.values().copied()
    }

    /// The last event of an author. In a fork the author's events before it do not count: the fork's first event
    /// stands for them, so that no event after it has the id of one in another log.
    pub fn author_head(&self, author: EntityId) -> Option<EventId> {
        self.heads.get(&author).copied().or(self.forked)
    }

    /// The event that an earlier operation with this id became, if repeats of it are still recognised at `at`.
    pub fn repeated(&self, origin: EntityId, op_id: OpId, at: Timestamp) -> Option<EventId> {
        let (event, until) = self.operations.get(&(origin, op_id))?;
        (*until >= at).then_some(*event)
    }

    /// How many agents that are not stopped `parent` has spawned.
    pub fn living(&self, parent: EntityId) -> u64 {
        self.living.get(&parent).copied().unwrap_or(0)
    }

    /// Says whether an origin may use a nonce.
    pub(crate) fn check_nonce(
        &self,
        origin: EntityId,
        nonce: &Nonce,
        until: Timestamp,
        at: Timestamp,
    ) -> Result<(), NonceError> {
        match self.authorities.nonces.get(&origin) {
            Some(window) => window.check(nonce, until, at),
            None => NonceWindow::new().check(nonce, until, at),
        }
    }

    pub(crate) fn burn_nonce(&mut self, origin: EntityId, nonce: Nonce, until: Timestamp, at: Timestamp) {
        let Authorities { nonces, nonces_until, .. } = &mut self.authorities;
        let window = nonces.entry(origin).or_default();
        if let Some(end) = window.end() {
            nonces_until.remove(&(end, origin));
        }
        // It was checked when it was decided. What a damaged log says otherwise is not remembered.
        let _ = window.burn(nonce, until, at);
        match window.end() {
            Some(end) => drop(nonces_until.insert((end, origin))),
            None => drop(nonces.remove(&origin)),
        }
    }

    pub(crate) fn forget_nonces_before(&mut self, at: Timestamp) {
        let Authorities { nonces, nonces_until, .. } = &mut self.authorities;
        while let Some(&(end, origin)) = nonces_until.first().filter(|(end, _)| *end <= at) {
            nonces_until.remove(&(end, origin));
            nonces.remove(&origin);
        }
    }

    /// How many operations of `origin` are remembered at `at`, so that repeats of them are recognised.
    pub fn remembered(&self, origin: EntityId, at: Timestamp) -> u64 {
        let all = self.operations_of.get(&origin).copied().unwrap_or(0);
        if all == 0 {
            return 0;
        }
        // Since the last event some may have ended.
        let ended = self.operations_until.iter().take_while(|(until, ..)| *until < at);
        all - ended.filter(|(_, of, _)| *of == origin).count() as u64
    }

    pub(crate) fn remember_operation(
        &mut self,
        origin: EntityId,
        op_id: OpId,
        event: EventId,
        until: Timestamp,
    ) {
        match self.operations.insert((origin, op_id), (event, until)) {
            None => *self.operations_of.entry(origin).or_insert(0) += 1,
            // Only a damaged log names two operations alike before the first one's time is over.
            Some((_, before)) => drop(self.operations_until.remove(&(before, origin, op_id))),
        }
        self.operations_until.insert((until, origin, op_id));
    }

    pub(crate) fn forget_operations_before(&mut self, at: Timestamp) {
        while let Some(&(until, origin, op_id)) = self.operations_until.first() {
            if until >= at {
                return;
            }
            self.operations_until.pop_first();
            self.operations.remove(&(origin, op_id));
            match self.operations_of.get_mut(&origin) {
                Some(left) if *left > 1 => *left -= 1,
                _ => drop(self.operations_of.remove(&origin)),
            }
        }
    }

    /// The grants cut from `root`, directly or not, with `root` itself. A grant's number is above that of
    /// the one it was cut from, so one pass upwards finds all.
    pub(crate) fn subtree(&self, root: GrantId) -> Vec<GrantId> {
        let mut members = BTreeSet::from([root]);
        for (id, grant) in self.grants.range((Bound::Excluded(root), Bound::Unbounded)) {
            if grant.cut_from.is_some_and(|parent| members.contains(&parent)) {
                members.insert(*id);
            }
        }
        members.into_iter().collect()
    }

    /// The people whose grant is `grant` or one that it was cut from, the nearest first.
    pub(crate) fn people_over<'w>(&'w self, grant: &'w Grant) -> impl Iterator<Item = (EntityId, &'w User)> {
        // Most worlds have no people beside the operator, and nothing is walked in them.
        let first = (!self.authorities.users.is_empty()).then_some(grant);
        let given_by = |grant: &&Grant| self.grants.get(&grant.cut_from?);
        let subjects = std::iter::successors(first, given_by).map(|grant| grant.subject);
        subjects.filter_map(|subject| Some((subject, self.user(subject)?)))
    }

    /// True if a grant that `id` was cut from, directly or not, is or was that of `who`.
    pub(crate) fn stands_above(&self, who: EntityId, id: GrantId) -> bool {
        let given_by = |grant: &&Grant| self.grants.get(&grant.cut_from?);
        let grants = std::iter::successors(self.grants.get(&id), given_by);
        grants.skip(1).any(|grant| grant.subject == who)
    }

    /// True if `id` is `root` or was cut from it, directly or not.
    pub(crate) fn is_cut_from(&self, mut id: GrantId, root: GrantId) -> bool {
        loop {
            if id == root {
                return true;
            }
            match self.grants.get(&id).and_then(|grant| grant.cut_from) {
                Some(parent) => id = parent,
                None => return false,
            }
        }
    }
}
