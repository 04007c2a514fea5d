//! Facts: the small typed part of an event, and all that the kernel reads of it.
//!
//! Facts hold ids, digests, names, amounts and times; no free text and no personal data, since they are
//! never erased. `docs/events.md` lists the facts of every kind.

use alloc::string::String;
use alloc::vec::Vec;

use crate::capability::Capability;
use crate::digest::Digest;
use crate::effect::EffectClass;
use crate::entry::{Entry, Notice};
use crate::flow::{FlowRule, Sink};
use crate::id::{EntityId, EventId, GrantId, KeyId, Name, Nonce, OpId};
use crate::label::Labels;
use crate::money::Money;
use crate::plan::{Leaf, Slot, SlotUse};
use crate::price::PriceSet;
use crate::quarantine::{Answer, AnswerShape};
use crate::record::ContentRef;
use crate::time::Timestamp;

pub mod kinds;
mod words;

pub use words::{ApprovalVerdict, Resolution, Role, UnknownRole};

/// The facts of one event. Which variant belongs to which kind: [`Facts::kind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facts {
    /// `log.opened`
    LogOpened(LogOpened),
    /// `log.forked`
    LogForked(LogForked),
    /// `agent.spawned`
    AgentSpawned(AgentSpawned),
    /// `agent.stopped`
    AgentStopped(AgentChanged),
    /// `agent.suspended`
    AgentSuspended(AgentChanged),
    /// `agent.resumed`
    AgentResumed(AgentChanged),
    /// `agent.answered`
    AgentAnswered(AgentAnswered),
    /// `turn.ended`
    TurnEnded(TurnEnded),
    /// `grant.issued`
    GrantIssued(GrantIssued),
    /// `grant.revoked`
    GrantRevoked(GrantRevoked),
    /// `message.sent`
    MessageSent(MessageSent),
    /// `task.scheduled`
    TaskScheduled(TaskScheduled),
    /// `task.cancelled`
    TaskCancelled(TaskCancelled),
    /// `task.fired`
    TaskFired(TaskFired),
    /// `tool.requested`
    ToolRequested(ToolRequested),
    /// `tool.returned`
    ToolReturned(ToolReturned),
    /// `tool.resolved`
    ToolResolved(ToolResolved),
    /// `plan.committed`
    PlanCommitted(PlanCommitted),
    /// `capability.denied`
    CapabilityDenied(CapabilityDenied),
    /// `subject.erased`
    SubjectErased(SubjectErased),
    /// `user.created`
    UserCreated(UserCreated),
    /// `user.role-assigned`
    UserRoleAssigned(UserRoleAssigned),
    /// `approval.requested`
    ApprovalRequested(ApprovalRequested),
    /// `approval.decided`
    ApprovalDecided(ApprovalDecided),
    /// `approval.expired`
    ApprovalExpired(ApprovalEnded),
    /// `approval.cancelled`
    ApprovalCancelled(ApprovalEnded),
    /// What [`Entry::kind`] says.
    Entered(Entry),
    /// What [`Notice::kind`] says.
    Noticed(Notice),
    /// `policy.set`
    PolicySet(PolicySet),
    /// `price.set`
    PriceSet(PriceSet),
    /// `nonce.burnt`
    NonceBurnt(NonceBurnt),
    /// `tool.declared`
    ToolDeclared(ToolDeclared),
    /// `log.limited`
    LogLimited(LogLimited),
    /// `clock.jumped`
    ClockJumped(ClockJumped),
    /// `clock.reset`
    ClockReset(ClockReset),
    /// `custom.set`
    CustomSet(CustomSet),
    /// `custom.emit`
    CustomEmit(CustomEmit),
    /// Any kind outside the reserved families: what an agent observed.
    Observed(Observed),
}

impl Facts {
    /// The kind that these facts belong to; `None` for an observation, whose agent names it.
    pub fn kind(&self) -> Option<&'static str> {
        Some(match self {
            Self::LogOpened(_) => kinds::LOG_OPENED,
            Self::LogForked(_) => kinds::LOG_FORKED,
            Self::AgentSpawned(_) => kinds::AGENT_SPAWNED,
            Self::AgentStopped(_) => kinds::AGENT_STOPPED,
            Self::AgentSuspended(_) => kinds::AGENT_SUSPENDED,
            Self::AgentResumed(_) => kinds::AGENT_RESUMED,
            Self::AgentAnswered(_) => kinds::AGENT_ANSWERED,
            Self::TurnEnded(_) => kinds::TURN_ENDED,
            Self::GrantIssued(_) => kinds::GRANT_ISSUED,
            Self::GrantRevoked(_) => kinds::GRANT_REVOKED,
            Self::MessageSent(_) => kinds::MESSAGE_SENT,
            Self::TaskScheduled(_) => kinds::TASK_SCHEDULED,
            Self::TaskCancelled(_) => kinds::TASK_CANCELLED,
            Self::TaskFired(_) => kinds::TASK_FIRED,
            Self::ToolRequested(_) => kinds::TOOL_REQUESTED,
            Self::ToolReturned(_) => kinds::TOOL_RETURNED,
            Self::ToolResolved(_) => kinds::TOOL_RESOLVED,
            Self::PlanCommitted(_) => kinds::PLAN_COMMITTED,
            Self::CapabilityDenied(_) => kinds::CAPABILITY_DENIED,
            Self::SubjectErased(_) => kinds::SUBJECT_ERASED,
            Self::UserCreated(_) => kinds::USER_CREATED,
            Self::UserRoleAssigned(_) => kinds::USER_ROLE_ASSIGNED,
            Self::ApprovalRequested(_) => kinds::APPROVAL_REQUESTED,
            Self::ApprovalDecided(_) => kinds::APPROVAL_DECIDED,
            Self::ApprovalExpired(_) => kinds::APPROVAL_EXPIRED,
            Self::ApprovalCancelled(_) => kinds::APPROVAL_CANCELLED,
            Self::Entered(entry) => entry.kind(),
            Self::Noticed(notice) => notice.kind(),
            Self::PriceSet(_) => kinds::PRICE_SET,
            Self::PolicySet(_) => kinds::POLICY_SET,
            Self::NonceBurnt(_) => kinds::NONCE_BURNT,
            Self::ToolDeclared(_) => kinds::TOOL_DECLARED,
            Self::LogLimited(_) => kinds::LOG_LIMITED,
            Self::ClockJumped(_) => kinds::CLOCK_JUMPED,
            Self::ClockReset(_) => kinds::CLOCK_RESET,
            Self::CustomSet(_) => kinds::CUSTOM_SET,
            Self::CustomEmit(_) => kinds::CUSTOM_EMIT,
            Self::Observed(_) => return None,
        })
    }
}

macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            #[derive(Clone, Debug, PartialEq, Eq)]
            #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
            $(#[$doc])*
            pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
        )*
    };
}

facts! {
    /// The beginning of a log.
    LogOpened {
        /// Who owns it.
        operator: EntityId,
        /// The number of the operator's grant.
        grant: GrantId,
        /// What the operator may use and delegate.
        capabilities: Vec<Capability>,
    }
    /// The first event of a fork's own. What came before it are events of the log that it was forked from.
    LogForked {
        /// The log that it was forked from.
        base: Name,
        /// The number of the last event that both logs share.
        seq: u64,
        /// That event.
        id: EventId,
        /// Random bytes. They make this event's id one that no other log has, and since it is what every author's
        /// next event here names as its previous one, those ids are this log's own too.
        nonce: Digest,
    }
    /// A new agent and its grant, which is a part of its parent's.
    AgentSpawned {
        /// The agent.
        agent: EntityId,
        /// Its name, unique in the world.
        name: Name,
        /// The program it runs.
        behaviour: Name,
        /// Who spawned it.
        parent: EntityId,
        /// The number of its grant.
        grant: GrantId,
        /// The grant it was cut from.
        cut_from: GrantId,
        /// What the agent may use.
        uses: Vec<Capability>,
        /// What it may hand on.
        delegates: Vec<Capability>,
        /// When the grant ends, if it does.
        expires: Option<Timestamp>,
        /// What it was given to spend, from its parent's account.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        budget: Option<Money>,
        /// If it is quarantined: what its one answer may be.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        quarantine: Option<AnswerShape>,
    }
    /// A change of an agent's state.
    AgentChanged {
        /// The agent.
        agent: EntityId,
    }
    /// What a quarantined agent said.
    AgentAnswered {
        /// The agent.
        agent: EntityId,
        /// Whom it told: who spawned it.
        parent: EntityId,
        /// What it said.
        answer: Answer,
    }
    /// How far an agent has come in its log.
    TurnEnded {
        /// The agent.
        agent: EntityId,
        /// The first position that it has not dealt with.
        upto: u64,
    }
    /// A new grant for an existing agent, in place of its old one, which is revoked with all cut from it.
    GrantIssued {
        /// The number of the new grant.
        grant: GrantId,
        /// Whose it is.
        subject: EntityId,
        /// The grant it was cut from.
        cut_from: GrantId,
        /// What the subject may use.
        uses: Vec<Capability>,
        /// What it may hand on.
        delegates: Vec<Capability>,
        /// When the grant ends, if it does.
        expires: Option<Timestamp>,
    }
    /// The end of a grant.
    GrantRevoked {
        /// The grant; all that was cut from it is void too.
        grant: GrantId,
    }
    /// A message; its text is content.
    MessageSent {
        /// Who sent it.
        from: EntityId,
        /// Whom it is for.
        to: EntityId,
        /// The whole tokens of it, if it is what a person asks for.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        literals: Option<Vec<Digest>>,
    }
    /// A task; what it shall do is content.
    TaskScheduled {
        /// The task's name, unique among its owner's.
        task: Name,
        /// Whose it is.
        owner: EntityId,
        /// When it is due next.
        due: Timestamp,
        /// The digest of what it shall do and when.
        spec: Digest,
    }
    /// The end of a task.
    TaskCancelled {
        /// The task.
        task: Name,
        /// Whose it is.
        owner: EntityId,
    }
    /// A task that was due.
    TaskFired {
        /// The task.
        task: Name,
        /// Whose it is.
        owner: EntityId,
        /// When it was due.
        due: Timestamp,
        /// When it is due again; `None`: never, and the task is gone.
        next: Option<Timestamp>,
    }
    /// A call that is about to start; the arguments are content.
    ToolRequested {
        /// Who asked.
        agent: EntityId,
        /// The tool.
        tool: Name,
        /// Its version.
        version: String,
        /// What the call may do to the outside.
        class: EffectClass,
        /// The digest of the canonical arguments.
        arguments: Digest,
        /// The approval under which it is made, if it needed one.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        approval: Option<EventId>,
        /// The slot of the agent's plan that it fills, if it fills one.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        slot: Option<SlotUse>,
        /// The places that it writes, if it is made from labelled data: whoever reads them later reads its labels.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
        wrote: Vec<Digest>,
    }
    /// The outcome of a call.
    ToolReturned {
        /// Who asked.
        agent: EntityId,
        /// The tool.
        tool: Name,
        /// Its version.
        version: String,
        /// What the call could do to the outside.
        class: EffectClass,
        /// The digest of the canonical arguments.
        arguments: Digest,
        /// The request, where one was recorded: a pure call or a local read has none.
        request: Option<EventId>,
        /// `ok`, or the code of the error.
        status: Name,
        /// Digest and size of what came back.
        output: Option<ContentRef>,
        /// The scalars in it, where a plan named the call.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
        leaves: Vec<Leaf>,
    }
    /// The end of a call that crashed without an outcome.
    ToolResolved {
        /// The request.
        request: EventId,
        /// What became of the call.
        resolution: Resolution,
    }
    /// A plan; what it says in words is content.
    PlanCommitted {
        /// Whose it is.
        agent: EntityId,
        /// What a person asked for.
        request: EventId,
        /// The calls that it foresees.
        slots: Vec<Slot>,
    }
    /// A refusal. The argument's first bytes, escaped, are content.
    CapabilityDenied {
        /// Who asked.
        agent: EntityId,
        /// The stable code of the refusal.
        code: Name,
        /// What was asked for, as `resource:action`.
        asked: String,
        /// The digest of the argument it failed on, if it failed on one.
        argument: Option<Digest>,
        /// The capability that came closest, if one did.
        nearest: Option<Capability>,
        /// How many further refusals of this agent with this code this event stands for.
        repeated: u64,
        /// What the uses are counted under, where it is a token's limit that was reached.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        meter: Option<Digest>,
    }
    /// The end of a subject's content. Whose it was is said nowhere.
    SubjectErased {
        /// The keys that were destroyed.
        keys: Vec<KeyId>,
    }
    /// A person who may act, and the grant for that.
    UserCreated {
        /// The person.
        user: EntityId,
        /// The name, unique among agents and people.
        name: Name,
        /// How much of the grant may be used.
        role: Role,
        /// The number of the grant.
        grant: GrantId,
        /// The grant it was cut from.
        cut_from: GrantId,
        /// What the person may use.
        uses: Vec<Capability>,
        /// What the person may hand on.
        delegates: Vec<Capability>,
        /// When the grant ends, if it does.
        expires: Option<Timestamp>,
    }
    /// A person's new role.
    UserRoleAssigned {
        /// The person.
        user: EntityId,
        /// The role.
        role: Role,
    }
    /// A call that a person is asked about; its arguments are content.
    ApprovalRequested {
        /// Who wants to call.
        agent: EntityId,
        /// The tool.
        tool: Name,
        /// Its version.
        version: String,
        /// The digest of the canonical arguments.
        arguments: Digest,
        /// The first moment at which nobody may decide any more, and nothing that was allowed holds.
        expires: Timestamp,
        /// Why a person is asked, where it is the agent's plan that says so.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        because: Option<Name>,
    }
    /// What a person said of a call.
    ApprovalDecided {
        /// The request.
        approval: EventId,
        /// What was said.
        verdict: ApprovalVerdict,
        /// Who said it.
        by: EntityId,
        /// Until when it holds.
        until: Timestamp,
    }
    /// The end of a request for an approval.
    ApprovalEnded {
        /// The request.
        approval: EventId,
    }
    /// The flow policy's own rules, in place of those before.
    PolicySet {
        /// The rules, each in its normal form, by name.
        rules: Vec<FlowRule>,
    }
    /// The use of something signed that became no other event. What is remembered of it stands beside these facts.
    NonceBurnt {}
    /// What the kernel has to know of a tool's manifest.
    ToolDeclared {
        /// The tool.
        tool: Name,
        /// Its version.
        version: String,
        /// What a call may do to the outside.
        class: EffectClass,
        /// Where its arguments go.
        sink: Sink,
        /// The labels that every output carries.
        labels: Labels,
        /// The arguments that say whom or what a call is about.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
        control: Vec<String>,
        /// The digest of the whole manifest.
        manifest: Digest,
    }
    /// Bounds that are lower in this log than those of the kernel, which hold where nothing is said.
    #[derive(Default)]
    #[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
    LogLimited {
        /// Most agents, stopped ones included.
        agents: Option<u64>,
        /// Most people.
        people: Option<u64>,
        /// Most tasks of one agent.
        tasks: Option<u64>,
        /// Most approvals of one agent that wait or hold.
        approvals: Option<u64>,
        /// Most observations in one operation.
        observations: Option<u64>,
        /// Most bytes of one observation.
        observation_bytes: Option<u64>,
        /// Most bytes of a message.
        message_bytes: Option<u64>,
        /// Most bytes of a task's description.
        task_bytes: Option<u64>,
        /// Most bytes of a tool's canonical arguments.
        argument_bytes: Option<u64>,
        /// Most seconds that a person has to decide about a call that the policy asks about.
        approval_seconds: Option<u64>,
    }
    /// A jump of the clock. The event's own time is what it would show without it.
    ClockJumped {
        /// What it shows.
        shows: Timestamp,
    }
    /// The end of a jump: what the clock shows holds from now on.
    ClockReset {
        /// What it shows.
        shows: Timestamp,
    }
    /// Values that an opcode keeps in the world.
    CustomSet {
        /// The opcode.
        opcode: Name,
        /// The values that it sets or clears.
        registers: Vec<Register>,
    }
    /// Something that an opcode said; what, is content.
    CustomEmit {
        /// The opcode.
        opcode: Name,
        /// What sort of thing.
        topic: Name,
    }
    /// What an agent observed; the observation itself is content.
    Observed {
        /// The named values that the observation sets or clears.
        registers: Vec<Register>,
    }
    /// A named value of an agent in the world: the digest of the latest state of something. The key is the
    /// digest of its name, so that no free text enters the world.
    Register {
        /// The digest of the name.
        key: Digest,
        /// The digest of the state; `None` clears it.
        value: Option<Digest>,
    }
    /// Uses of a capability with limits, as they are counted for one grant.
    Used {
        /// The asker's grant, or one that it was cut from.
        grant: GrantId,
        /// The capability of that grant that answered.
        capability: Capability,
        /// How many uses.
        times: u64,
    }
    /// Uses of a capability with limits that a token was narrowed down to.
    TokenUsed {
        /// The token's grant.
        grant: GrantId,
        /// What the uses are counted under: all that was made of the token has the same.
        meter: Digest,
        /// Until when they are remembered.
        until: Timestamp,
        /// The capability of the token that answered.
        capability: Capability,
        /// How many uses.
        times: u64,
    }
    /// Where an operation came from, as far as that has to be remembered: the caller's name for it, a repeat of which is
    /// answered with the event; the nonce of what was signed, which is good once; and what it used of capabilities with
    /// limits.
    #[derive(Default)]
    OperationRef {
        /// The caller's id of it.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        op_id: Option<OpId>,
        /// Until when repeats are recognised.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        not_after: Option<Timestamp>,
        /// The nonce.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        nonce: Option<Nonce>,
        /// Until when it is remembered.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        until: Option<Timestamp>,
        /// What it used of capabilities with limits: of the asker's grant, then of those that it was cut from.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
        used: Vec<Used>,
        /// What it used of those that its token was narrowed down to.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
        token_used: Vec<TokenUsed>,
    }
}
