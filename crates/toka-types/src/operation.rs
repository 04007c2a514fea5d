//! Operations: what somebody asks the kernel to do, and the envelope it comes in.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::capability::{Argument, Capability, CapabilitySet};
use crate::digest::Digest;
use crate::effect::EffectClass;
use crate::entry::Period;
use crate::facts::{ApprovalVerdict, LogLimited, Register, Resolution, Role, ToolDeclared};
use crate::flow::{FlowRule, Sink};
use crate::id::{EntityId, EventId, GrantId, KeyId, Kind, Name, Nonce, OpId};
use crate::label::Labels;
use crate::money::{Amount, Currency, Money};
use crate::place::Places;
use crate::plan::{Leaf, Slot, Traced};
use crate::price::{Price, Usage};
use crate::quarantine::{Answer, AnswerShape};
use crate::record::{ContentRef, Payload};
use crate::time::Timestamp;

/// An operation with the authority it is asked under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Who asks.
    pub origin: EntityId,
    /// By what right.
    pub authority: Authority,
    /// The caller's own id for this request, and until when a repeat shall be recognised.
    pub op_id: Option<(OpId, Timestamp)>,
    /// The events that made the caller ask, each with its labels.
    pub causes: Vec<Cause>,
    /// What is asked.
    pub operation: Operation,
}

/// By what right an operation is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// A grant in the world. It is checked on every operation.
    Grant(GrantId),
    /// A grant in the world, reached from outside with something that its holder signed: what it signed is good once.
    Signed {
        /// The grant.
        grant: GrantId,
        /// What tells it from everything else that the holder signed.
        nonce: Nonce,
        /// The first moment at which it is accepted no more.
        until: Timestamp,
    },
    /// The host itself, which records what happened: outcomes of effects and ends of turns. Nothing that
    /// enters the process can carry this.
    Host,
}

/// What a token was narrowed down to, with limits: all uses by whoever shows that token, one made of it, or one that
/// replaced it, are counted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metered {
    /// What the uses are counted under: the same in all that is made of the token, and in nothing else.
    pub meter: Digest,
    /// The first moment at which nothing of that can be accepted any more. The uses are remembered until then.
    pub until: Timestamp,
    /// All that is allowed, with its limits.
    pub only: CapabilitySet,
}

/// An event that caused an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The event.
    pub id: EventId,
    /// Its labels.
    pub labels: Labels,
}

/// What somebody asks the kernel to do. The kernel reads of a [`Payload`] its digest and its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Begin a log. Allowed once, before anything else.
    OpenLog {
        /// What the operator may use and delegate.
        capabilities: Vec<Capability>,
    },
    /// Create an agent with a part of the asker's delegable grant.
    SpawnAgent {
        /// Its name.
        name: Name,
        /// The program it runs.
        behaviour: Name,
        /// Its grant.
        grant: GrantTerms,
        /// What it may spend, from the asker's account.
        budget: Option<Money>,
        /// Quarantines it: it may call what is local, free and no sink, read what it likes, and say one thing of this
        /// shape.
        quarantine: Option<AnswerShape>,
    },
    /// Say the one thing that a quarantined agent may say; it has nothing to do any more after that.
    Answer(Answer),
    /// End an agent.
    StopAgent(EntityId),
    /// Forbid an agent to act until it is resumed.
    SuspendAgent(EntityId),
    /// Let a suspended agent act again.
    ResumeAgent(EntityId),
    /// Replace the grant of an agent or a person by another part of the asker's delegable grant.
    IssueGrant {
        /// Whose grant is replaced.
        agent: EntityId,
        /// The new one.
        grant: GrantTerms,
    },
    /// Void a grant that was cut from the asker's, and all cut from it.
    RevokeGrant(GrantId),
    /// Record that the origin has dealt with its log up to a position.
    EndTurn {
        /// The first position that it has not dealt with.
        upto: u64,
    },
    /// Record what the origin observed: all of it or nothing.
    Observe(Vec<Observation>),
    /// Send a message to an agent.
    Send {
        /// Whom it is for.
        to: EntityId,
        /// The message.
        message: Payload,
    },
    /// Ask an agent for something, as only people do: a message that an agent may commit a plan for.
    Instruct {
        /// Whom it is for.
        to: EntityId,
        /// What is asked.
        message: Payload,
        /// The whole tokens of that.
        literals: Vec<Digest>,
    },
    /// Say what calls a request takes, before anything is read that cannot be trusted.
    CommitPlan(PlanRequest),
    /// Create a task, or move an existing one of the same name.
    ScheduleTask {
        /// Its name.
        task: Name,
        /// When it is due.
        due: Timestamp,
        /// What it shall do and when.
        spec: Payload,
    },
    /// Remove a task.
    CancelTask {
        /// Its name.
        task: Name,
    },
    /// Do what a due task was scheduled for, and say when it is due again.
    FireTask {
        /// Its name.
        task: Name,
        /// When it was due; another due time than the world's is refused, so that a task fires once.
        due: Timestamp,
        /// When it is due again; `None`: never.
        next: Option<Timestamp>,
        /// What it does.
        action: TaskAction,
    },
    /// Call a tool.
    Request(ToolRequest),
    /// Record the outcome of a call. Never refused while the call is known.
    Return(ToolOutcome),
    /// Record that keys of a sealed vault are destroyed; whoever asks destroys them once that is durable.
    Erase {
        /// The keys.
        keys: Vec<KeyId>,
    },
    /// Let a person in, with a part of the asker's delegable grant.
    CreateUser {
        /// The person's name, unique among agents and people.
        name: Name,
        /// How much of the grant may be used.
        role: Role,
        /// The grant.
        grant: GrantTerms,
    },
    /// Give a person another role.
    AssignRole {
        /// Who.
        user: EntityId,
        /// The new role.
        role: Role,
    },
    /// Ask a person to allow a call.
    RequestApproval {
        /// The call.
        request: ToolRequest,
        /// When asking ends, and whatever was allowed with it.
        expires: Timestamp,
    },
    /// Say whether a call may be made. Only people do.
    DecideApproval {
        /// The request.
        approval: EventId,
        /// What is said of it.
        verdict: ApprovalVerdict,
        /// Until when that holds; no later than the request says, if it says nothing.
        until: Option<Timestamp>,
    },
    /// Take a request for an approval back.
    CancelApproval(EventId),
    /// Replace the rules of the flow policy; those that are built in are always there.
    SetPolicy(Vec<FlowRule>),
    /// Change the ledger.
    Enter(LedgerRequest),
    /// Give a tool or a model a price, or none.
    SetPrice {
        /// The tool or model.
        item: Name,
        /// From when on; at the earliest from now on.
        from: Timestamp,
        /// The price; `None`: it costs nothing from then on.
        price: Option<Price>,
    },
    /// Say what a tool is, in place of what was said of this version of it before.
    DeclareTool(ToolDeclared),
    /// Lower bounds of the kernel, in place of those that were lowered before.
    LimitLog(LogLimited),
    /// Record that the clock jumped: from now on nothing is due or ends by it, and nothing is asked of the outside.
    JumpClock {
        /// What it shows.
        shows: Timestamp,
    },
    /// Confirm what the clock shows after it jumped.
    ResetClock {
        /// What it shows; whoever lets the operation in sees to that.
        shows: Timestamp,
    },
    /// Do what a registered opcode decides.
    Custom {
        /// The opcode.
        opcode: Name,
        /// What it is asked; nothing of this is recorded unless the opcode says so.
        input: Vec<u8>,
    },
    /// Say what became of a call without an outcome.
    Resolve {
        /// The request.
        request: EventId,
        /// What became of it.
        resolution: Resolution,
    },
}

/// A plan that somebody wants to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRequest {
    /// Whose plan it is: the origin's own, or that of an agent under a person.
    pub agent: EntityId,
    /// The slots.
    pub slots: Vec<Slot>,
    /// For each slot the control arguments of its tool, as the host knows them.
    pub control: Vec<Vec<String>>,
    /// The plan in words.
    pub content: Payload,
}

/// What a grant shall hold.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct GrantTerms {
    /// What the subject may use.
    pub uses: Vec<Capability>,
    /// What it may hand on.
    pub delegates: Vec<Capability>,
    /// When it ends, if it does.
    pub expires: Option<Timestamp>,
}

/// Something an agent observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What sort of fact it is; not of a reserved family.
    pub kind: Kind,
    /// The observation itself.
    pub content: Option<Payload>,
    /// The named values it sets or clears.
    pub registers: Vec<Register>,
    /// Where its data came from, beside what its causes say.
    pub labels: Labels,
    /// Its causes beside those of the envelope.
    pub parents: Vec<Parent>,
}

impl Observation {
    /// An observation of `kind` with `content`, and nothing else.
    pub fn new(kind: Kind, content: Payload) -> Self {
        let (registers, labels, parents) = (Vec::new(), Labels::none(), Vec::new());
        Self { kind, content: Some(content), registers, labels, parents }
    }
}

/// A cause that an observation names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parent {
    /// An event of the log.
    Event(Cause),
    /// An earlier observation of the same operation, by its index. Such an observation has the envelope's
    /// causes through it and does not name them again.
    Earlier(usize),
}

/// What a due task does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskAction {
    /// Record an event.
    Emit {
        /// Its kind.
        kind: Kind,
        /// Its content.
        content: Payload,
    },
    /// Send a message.
    Send {
        /// Whom it is for.
        to: EntityId,
        /// The message.
        message: Payload,
    },
    /// Nothing: the due time has passed unused.
    Skip,
}

/// A call to a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolRequest {
    /// The tool.
    pub tool: Name,
    /// Its version.
    pub version: String,
    /// What the call may do to the outside.
    pub class: EffectClass,
    /// Where its arguments go.
    pub sink: Sink,
    /// The canonical arguments.
    pub arguments: Payload,
    /// The arguments that capabilities speak about, in the tool's order.
    pub governed: Vec<(String, GovernedArgument)>,
    /// The files and folders that its paths are about.
    pub places: Places,
    /// What the call uses at most: what it may cost is kept back before it is made.
    pub bounds: Usage,
    /// What the agent's plan has to know of the arguments; `None`: the agent has no plan, or the call fills no slot.
    pub traced: Option<Box<Traced>>,
}

/// What shall be changed in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerRequest {
    /// Open an account.
    Open {
        /// Whose it is.
        owner: EntityId,
        /// What it holds.
        currency: Currency,
        /// The owner of the account above it.
        parent: Option<EntityId>,
    },
    /// Limit what an account, and those below it, may spend in a period.
    Limit {
        /// Whose account it is.
        owner: EntityId,
        /// What it holds.
        currency: Currency,
        /// The period.
        period: Period,
        /// The most; `None`: no limit any more.
        limit: Option<Amount>,
    },
    /// Issue money.
    Mint {
        /// Who gets it.
        to: EntityId,
        /// How much.
        money: Money,
    },
    /// Destroy money.
    Burn {
        /// Who has it.
        from: EntityId,
        /// How much.
        money: Money,
    },
    /// Pay.
    Transfer {
        /// Who pays: the origin, or somebody who stands under its grant.
        from: EntityId,
        /// Who is paid.
        to: EntityId,
        /// How much.
        money: Money,
    },
    /// Hand money down to an account below.
    TopUp {
        /// Whose money it is.
        from: EntityId,
        /// Who may spend it.
        to: EntityId,
        /// How much.
        money: Money,
    },
}

/// An argument that capabilities speak about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GovernedArgument {
    /// A path in normal form, relative to the agent's root.
    Path(String),
    /// A text.
    Text(String),
    /// A host name.
    Host(String),
    /// A number.
    Number(u64),
    /// An amount of money.
    Money(Money),
}

impl GovernedArgument {
    /// The argument as a capability's request has it.
    pub fn view(&self) -> Argument<'_> {
        match self {
            Self::Path(path) => Argument::Path(path),
            Self::Text(text) => Argument::Text(text),
            Self::Host(host) => Argument::Host(host),
            Self::Number(number) => Argument::Number(*number),
            Self::Money(money) => Argument::Money(*money),
        }
    }
}

/// The outcome of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolOutcome {
    /// The request's event; `None` for a pure call or a local read, which has none.
    pub request: Option<EventId>,
    /// The tool.
    pub tool: Name,
    /// Its version.
    pub version: String,
    /// What the call could do to the outside.
    pub class: EffectClass,
    /// The digest of the canonical arguments.
    pub arguments: Digest,
    /// `ok`, or the code of the error.
    pub status: Name,
    /// Digest and size of what came back.
    pub output: Option<ContentRef>,
    /// What came back, where the tool's outcomes are kept.
    pub content: Option<Payload>,
    /// Where the output's data came from.
    pub labels: Labels,
    /// What it may have read: [`Places::read`] of its paths.
    pub read: Vec<Digest>,
    /// What the call used; `None`: it never began.
    pub usage: Option<Usage>,
    /// The scalars in what came back, where a plan named the call; `trusted` are those that the server itself wrote.
    pub leaves: Vec<Leaf>,
}
