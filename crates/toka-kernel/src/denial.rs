//! Refusals: their stable codes, and the meter that keeps a flood of them out of the log.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};
use toka_types::nonce::NonceError;
use toka_types::{Capability, Digest, EntityId, Timestamp};

use crate::limits::{DENIALS_PER_MINUTE, DENIED_ARGUMENTS, DENIED_EXCERPT};

/// Why the kernel refuses. The text of a code never changes; `docs/denials.md` explains each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The log is not open yet.
    LogNotOpen,
    /// The log is open already.
    LogAlreadyOpen,
    /// The operation may be asked by the host alone.
    HostOnly,
    /// No grant has that number.
    GrantUnknown,
    /// The grant, or one it was cut from, was revoked.
    GrantRevoked,
    /// The grant has ended.
    GrantExpired,
    /// The grant belongs to somebody else.
    GrantSubject,
    /// No capability of the grant allows it.
    CapabilityMissing,
    /// What allows it was used as often as it may be for now.
    CapabilityRate,
    /// What allows it was used as often as it may be at all.
    CapabilityUses,
    /// Too many narrowed tokens of the grant have limits that are counted.
    CapabilityMeters,
    /// A grant would hold more than what its giver may delegate.
    CapabilityWidened,
    /// No agent has that id.
    AgentUnknown,
    /// An agent of that name is there already.
    AgentExists,
    /// The agent is suspended.
    AgentSuspended,
    /// The agent was stopped.
    AgentStopped,
    /// The target was not spawned by the asker, directly or not.
    NotADescendant,
    /// Something is larger than its bound.
    LimitSize,
    /// There are more of something than its bound.
    LimitCount,
    /// The kind belongs to the kernel.
    KindReserved,
    /// An observation names a cause that is not before it.
    ParentUnknown,
    /// The joined labels are more than an event may carry.
    LabelsTooMany,
    /// The agent has no task of that name.
    TaskUnknown,
    /// The task is not due then.
    TaskNotDue,
    /// No call is waiting under that id.
    EffectUnknown,
    /// Repeats would have to be recognised for too long, or no longer.
    RepeatWindow,
    /// Too many operations of the origin are remembered already.
    RepeatsFull,
    /// Nobody let that person in.
    UserUnknown,
    /// The name is somebody's.
    UserExists,
    /// The person's role does not reach that far.
    RoleInsufficient,
    /// Nobody registered the opcode.
    OpcodeUnknown,
    /// The opcode's handler refused.
    OpcodeRefused,
    /// No approval waits or holds under that id.
    ApprovalUnknown,
    /// It was decided before.
    ApprovalDecided,
    /// The time is past, or too far off.
    ApprovalTime,
    /// Only people decide.
    ApprovalPerson,
    /// Nobody decides about themselves.
    ApprovalSelf,
    /// A person said no.
    ApprovalDenied,
    /// What was signed was used before.
    NonceReplayed,
    /// What was signed holds no more.
    NonceEnded,
    /// What was signed would hold for too long.
    NonceTooFar,
    /// Too much that the origin signed is in use.
    NonceFull,
    /// The flow policy denies it.
    FlowDenied,
    /// The rules are no policy.
    PolicyInvalid,
    /// The call is not what the tool was declared to be.
    ToolDiffers,
    /// The clock jumped, and nobody has confirmed it.
    ClockSuspended,
    /// The clock has not jumped.
    ClockRuns,
    /// No person asked the agent for anything that still counts.
    PlanNoRequest,
    /// The agent's context holds something untrusted.
    PlanUntrusted,
    /// There is a plan for the request.
    PlanCommitted,
    /// A literal is no whole token of the request.
    PlanLiteral,
    /// A control argument has no source.
    PlanUnbound,
    /// A source is none.
    PlanSource,
    /// Only people ask, and commit plans of others.
    PlanPerson,
    /// A quarantined agent asked for more than it may.
    QuarantineConfined,
    /// Nothing can be an answer of that shape, or too much.
    QuarantineShape,
    /// Answers would tell more than they may.
    QuarantineBits,
    /// The answer is not of its shape.
    QuarantineAnswer,
    /// Whoever answers is not quarantined.
    QuarantineUnknown,
    /// What a quarantined agent said would say where a call goes.
    QuarantineControl,
    /// The ledger cannot take it: one of [`toka_ledger::LedgerError::CODES`].
    Ledger(&'static str),
}

impl Code {
    /// The code of what is wrong with a nonce.
    pub(crate) fn of_nonce(error: &NonceError) -> Self {
        match error {
            NonceError::Replayed { .. } => Self::NonceReplayed,
            NonceError::Ended { .. } => Self::NonceEnded,
            NonceError::TooFar { .. } => Self::NonceTooFar,
            NonceError::Full => Self::NonceFull,
        }
    }

    /// The code's stable text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LogNotOpen => "log.not-open",
            Self::LogAlreadyOpen => "log.already-open",
            Self::HostOnly => "host.only",
            Self::GrantUnknown => "grant.unknown",
            Self::GrantRevoked => "grant.revoked",
            Self::GrantExpired => "grant.expired",
            Self::GrantSubject => "grant.subject",
            Self::CapabilityMissing => "capability.missing",
            Self::CapabilityRate => "capability.rate",
            Self::CapabilityUses => "capability.uses",
            Self::CapabilityMeters => "capability.meters",
            Self::CapabilityWidened => "capability.widened",
            Self::AgentUnknown => "agent.unknown",
            Self::AgentExists => "agent.exists",
            Self::AgentSuspended => "agent.suspended",
            Self::AgentStopped => "agent.stopped",
            Self::NotADescendant => "agent.not-a-descendant",
            Self::LimitSize => "limit.size",
            Self::LimitCount => "limit.count",
            Self::KindReserved => "kind.reserved",
            Self::ParentUnknown => "parent.unknown",
            Self::LabelsTooMany => "labels.too-many",
            Self::TaskUnknown => "task.unknown",
            Self::TaskNotDue => "task.not-due",
            Self::EffectUnknown => "effect.unknown",
            Self::RepeatWindow => "operation.repeat-window",
            Self::RepeatsFull => "operation.repeats-full",
            Self::UserUnknown => "user.unknown",
            Self::UserExists => "user.exists",
            Self::RoleInsufficient => "role.insufficient",
            Self::OpcodeUnknown => "opcode.unknown",
            Self::OpcodeRefused => "opcode.refused",
            Self::ApprovalUnknown => "approval.unknown",
            Self::ApprovalDecided => "approval.decided",
            Self::ApprovalTime => "approval.time",
            Self::ApprovalPerson => "approval.person",
            Self::ApprovalSelf => "approval.self",
            Self::ApprovalDenied => "approval.denied",
            Self::NonceReplayed => "nonce.replayed",
            Self::NonceEnded => "nonce.ended",
            Self::NonceTooFar => "nonce.too-far",
            Self::NonceFull => "nonce.full",
            Self::FlowDenied => "flow.denied",
            Self::PolicyInvalid => "policy.invalid",
            Self::ToolDiffers => "tool.differs",
            Self::ClockSuspended => "clock.suspended",
            Self::ClockRuns => "clock.runs",
            Self::PlanNoRequest => "plan.no-request",
            Self::PlanUntrusted => "plan.untrusted",
            Self::PlanCommitted => "plan.committed",
            Self::PlanLiteral => "plan.literal",
            Self::PlanUnbound => "plan.unbound",
            Self::PlanSource => "plan.source",
            Self::PlanPerson => "plan.person-only",
            Self::QuarantineConfined => "quarantine.confined",
            Self::QuarantineShape => "quarantine.shape",
            Self::QuarantineBits => "quarantine.bits",
            Self::QuarantineAnswer => "quarantine.answer",
            Self::QuarantineUnknown => "quarantine.unknown",
            Self::QuarantineControl => "quarantine.control",
            Self::Ledger(code) => code,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("denied ({code}): {rule}")]
pub struct Denied {
    /// Why, for programs.
    pub code: Code,
    /// Why, for people: names the value and the limit.
    pub rule: String,
    /// What was asked for, as `resource:action`.
    pub asked: String,
    /// The argument it failed on.
    pub argument: Option<String>,
    /// The capability that came closest. Boxed, because answers are moved far more often than they are refusals.
    pub nearest: Option<Box<Capability>>,
    /// What the uses are counted under, where it is a token's limit that was reached. Boxed for the same reason.
    pub meter: Option<Box<Digest>>,
}

impl Denied {
    /// A refusal of `asked` by a rule, about no argument in particular.
    pub fn new(code: Code, asked: &str, rule: impl Into<String>) -> Self {
        Self { code, rule: rule.into(), asked: asked.to_owned(), argument: None, nearest: None, meter: None }
    }

    /// The digest of the argument it failed on.
    pub fn argument_digest(&self) -> Option<Digest> {
        self.argument.as_ref().map(|argument| Digest::of(argument.as_bytes()))
    }

    /// What the refusal's event shows of the argument: its first bytes, escaped.
    pub fn excerpt(&self) -> Option<String> {
        let argument = self.argument.as_ref()?;
        let mut shown = String::new();
        for escaped in argument.chars().map(char::escape_default) {
            if shown.len() + escaped.len() > DENIED_EXCERPT {
                break;
            }
            shown.extend(escaped);
        }
        Some(shown)
    }
}

const MINUTE: i64 = 60_000_000;

/// Counts refusals, so that each of the first few is an event and the rest are one counted event. It is no part
/// of the world: forgetting it at a restart loses no fact that was recorded.
#[derive(Clone, Debug, Default)]
pub struct DenialMeter {
    minute: i64,
    seen: BTreeMap<(EntityId, Code), BTreeMap<Option<Digest>, u32>>,
    withheld: BTreeMap<(EntityId, Code), u64>,
}

impl DenialMeter {
    /// True if this refusal shall be an event of its own. Otherwise it is counted.
    pub fn admit(&mut self, agent: EntityId, denied: &Denied, at: Timestamp) -> bool {
        self.minute = at.0.div_euclid(MINUTE);
        let arguments = self.seen.entry((agent, denied.code)).or_default();
        let argument = denied.argument_digest();
        let argument = if arguments.len() < DENIED_ARGUMENTS || arguments.contains_key(&argument) {
            argument
        } else {
            None
        };
        let count = arguments.entry(argument).or_insert(0);
        *count += 1;
        let admitted = *count <= DENIALS_PER_MINUTE;
        if !admitted {
            *self.withheld.entry((agent, denied.code)).or_insert(0) += 1;
        }
        admitted
    }

    /// The refusals counted and not recorded, if the minute in which they were counted is over at `at`.
    pub fn settle(&mut self, at: Timestamp) -> Vec<(EntityId, Code, u64)> {
        if at.0.div_euclid(MINUTE) == self.minute {
            return Vec::new();
        }
        self.settle_now()
    }

    /// The refusals counted and not recorded; the count starts anew.
    pub fn settle_now(&mut self) -> Vec<(EntityId, Code, u64)> {
        self.seen.clear();
        std::mem::take(&mut self.withheld).into_iter().map(|((agent, code), n)| (agent, code, n)).collect()
    }

    /// True if refusals wait to be recorded as a count.
    pub fn has_withheld(&self) -> bool {
        !self.withheld.is_empty()
    }
}
