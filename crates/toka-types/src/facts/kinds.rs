//! The kinds whose events only the kernel decides, and the families reserved for it.

/// A log began; the operator's own grant.
pub const LOG_OPENED: &str = "log.opened";
/// A log goes its own way from an event of another log on.
pub const LOG_FORKED: &str = "log.forked";
/// An agent exists.
pub const AGENT_SPAWNED: &str = "agent.spawned";
/// An agent is gone; its grant and all cut from it are revoked.
pub const AGENT_STOPPED: &str = "agent.stopped";
/// An agent may not act until it is resumed.
pub const AGENT_SUSPENDED: &str = "agent.suspended";
/// A suspended agent may act again.
pub const AGENT_RESUMED: &str = "agent.resumed";
/// A quarantined agent said the one thing it may say.
pub const AGENT_ANSWERED: &str = "agent.answered";
/// An agent has dealt with everything it was given up to a position.
pub const TURN_ENDED: &str = "turn.ended";
/// An agent's grant was replaced.
pub const GRANT_ISSUED: &str = "grant.issued";
/// A grant and all cut from it are void.
pub const GRANT_REVOKED: &str = "grant.revoked";
/// A message to one agent.
pub const MESSAGE_SENT: &str = "message.sent";
/// A task is due at some time.
pub const TASK_SCHEDULED: &str = "task.scheduled";
/// A task is no more.
pub const TASK_CANCELLED: &str = "task.cancelled";
/// A task was due and did what it was scheduled for.
pub const TASK_FIRED: &str = "task.fired";
/// A tool is about to be called.
pub const TOOL_REQUESTED: &str = "tool.requested";
/// A tool has answered or failed.
pub const TOOL_RETURNED: &str = "tool.returned";
/// A person or a probe said what became of a call without an outcome.
pub const TOOL_RESOLVED: &str = "tool.resolved";
/// What a tool is: what the kernel has to know of its manifest.
pub const TOOL_DECLARED: &str = "tool.declared";
/// Bounds of the kernel are lower in this log.
pub const LOG_LIMITED: &str = "log.limited";
/// An agent said what calls a request takes.
pub const PLAN_COMMITTED: &str = "plan.committed";
/// The kernel refused an operation.
pub const CAPABILITY_DENIED: &str = "capability.denied";

/// The keys of a subject's content were destroyed.
pub const SUBJECT_ERASED: &str = "subject.erased";

/// A person was let in.
pub const USER_CREATED: &str = "user.created";
/// A person has another role.
pub const USER_ROLE_ASSIGNED: &str = "user.role-assigned";
/// A person is asked to allow a call.
pub const APPROVAL_REQUESTED: &str = "approval.requested";
/// A person allowed or denied it.
pub const APPROVAL_DECIDED: &str = "approval.decided";
/// Nobody did in time.
pub const APPROVAL_EXPIRED: &str = "approval.expired";
/// It is not needed any more.
pub const APPROVAL_CANCELLED: &str = "approval.cancelled";
/// The flow policy has other rules.
pub const POLICY_SET: &str = "policy.set";
/// A tool or a model has another price.
pub const PRICE_SET: &str = "price.set";
/// Something signed was used, and became no other event.
pub const NONCE_BURNT: &str = "nonce.burnt";
/// The clock jumped.
pub const CLOCK_JUMPED: &str = "clock.jumped";
/// What the clock shows is right.
pub const CLOCK_RESET: &str = "clock.reset";
/// A registered opcode set or cleared values of its own.
pub const CUSTOM_SET: &str = "custom.set";
/// A registered opcode said something.
pub const CUSTOM_EMIT: &str = "custom.emit";

/// First segments that observations may not use: only the kernel decides such events.
pub const RESERVED: [&str; 19] = [
    "log",
    "agent",
    "turn",
    "grant",
    "message",
    "task",
    "tool",
    "capability",
    "effect",
    "approval",
    "ledger",
    "subject",
    "user",
    "custom",
    "policy",
    "price",
    "clock",
    "nonce",
    "plan",
];
