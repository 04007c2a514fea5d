//! Operations as JSON: what the operator asks through the socket, or with `toka op submit`.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use toka_agents::AgentError;
use toka_toolkit_core::{Input, Plan, PlannedCall};
use toka_types::entry::Period;
use toka_types::facts::{ApprovalVerdict, LogLimited, Resolution, Role, ToolDeclared};
use toka_types::operation::{GrantTerms, LedgerRequest, Observation, ToolRequest};
use toka_types::place::Places;
use toka_types::price::{Price, Usage};
use toka_types::{
    Amount, Answer, AnswerShape, Capability, Currency, EffectClass, EntityId, EventId, FlowRule, GrantId,
    Kind, LabelPattern, Labels, Money, Name, Operation, Payload, Sink, Timestamp, Verdict,
};

/// An operation in words. `op` names it as capabilities do; agents and people are named, times are microseconds since
/// 1970 in UTC. `docs/cli.md` has an example of each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", deny_unknown_fields)]
pub enum OperationText {
    /// Create an agent; it runs where a runtime has its behaviour.
    #[serde(rename = "agent.spawn")]
    SpawnAgent {
        /// Its name.
        name: Name,
        /// The program it runs.
        behaviour: Name,
        /// What it may use.
        #[serde(default)]
        uses: Vec<Capability>,
        /// What it may hand on.
        #[serde(default)]
        delegates: Vec<Capability>,
        /// When its grant ends.
        #[serde(default)]
        expires: Option<Timestamp>,
        /// What it may spend, from the operator's account.
        #[serde(default)]
        budget: Option<Money>,
        /// Quarantines it: what its one answer may be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quarantine: Option<AnswerShape>,
    },
    /// Say the one thing that a quarantined agent may say.
    #[serde(rename = "agent.answer")]
    Answer {
        /// What it says.
        answer: Answer,
    },
    /// End an agent.
    #[serde(rename = "agent.stop")]
    StopAgent {
        /// Its name.
        agent: String,
    },
    /// Forbid an agent to act.
    #[serde(rename = "agent.suspend")]
    SuspendAgent {
        /// Its name.
        agent: String,
    },
    /// Let it act again.
    #[serde(rename = "agent.resume")]
    ResumeAgent {
        /// Its name.
        agent: String,
    },
    /// Give an agent or a person another grant.
    #[serde(rename = "agent.grant")]
    IssueGrant {
        /// Its name.
        agent: String,
        /// What it may use.
        #[serde(default)]
        uses: Vec<Capability>,
        /// What it may hand on.
        #[serde(default)]
        delegates: Vec<Capability>,
        /// When the grant ends.
        #[serde(default)]
        expires: Option<Timestamp>,
    },
    /// Void a grant and all cut from it.
    #[serde(rename = "grant.revoke")]
    RevokeGrant {
        /// Its number.
        grant: GrantId,
    },
    /// Record an event.
    #[serde(rename = "event.emit")]
    Emit {
        /// Its kind.
        kind: Kind,
        /// What it says.
        #[serde(default)]
        content: Value,
        /// Where that came from.
        #[serde(default)]
        labels: Vec<String>,
    },
    /// Send a message to an agent.
    #[serde(rename = "message.send")]
    Send {
        /// Its name.
        to: String,
        /// The message.
        message: Value,
    },
    /// Ask an agent for something that it may commit a plan for.
    #[serde(rename = "agent.instruct")]
    Instruct {
        /// Its name.
        agent: String,
        /// What is asked.
        request: Value,
    },
    /// Say what calls the request takes that an agent was asked for last.
    #[serde(rename = "plan.commit")]
    CommitPlan {
        /// The agent's name.
        agent: String,
        /// The calls.
        slots: Vec<PlannedCall>,
    },
    /// Say what became of a call without an outcome.
    #[serde(rename = "effect.resolve")]
    Resolve {
        /// The request.
        request: EventId,
        /// What became of it.
        resolution: Resolution,
    },
    /// Let a person in.
    #[serde(rename = "user.create")]
    CreateUser {
        /// The name.
        name: Name,
        /// The role.
        role: Role,
        /// What the person may use.
        #[serde(default)]
        uses: Vec<Capability>,
        /// What the person may hand on.
        #[serde(default)]
        delegates: Vec<Capability>,
        /// When the grant ends.
        #[serde(default)]
        expires: Option<Timestamp>,
    },
    /// Give a person another role.
    #[serde(rename = "user.assign")]
    AssignRole {
        /// The name.
        user: String,
        /// The role.
        role: Role,
    },
    /// Say whether a call may be made.
    #[serde(rename = "approval.decide")]
    DecideApproval {
        /// The request.
        approval: EventId,
        /// What is said.
        verdict: ApprovalVerdict,
        /// Until when that holds.
        #[serde(default)]
        until: Option<Timestamp>,
    },
    /// Take back a request for an approval, or what was allowed.
    #[serde(rename = "approval.cancel")]
    CancelApproval {
        /// The request.
        approval: EventId,
    },
    /// Replace the rules of the flow policy.
    #[serde(rename = "policy.set")]
    SetPolicy {
        /// The rules.
        #[serde(deserialize_with = "rules")]
        rules: Vec<FlowRule>,
    },
    /// Open an account.
    #[serde(rename = "ledger.open")]
    Open {
        /// Whose it is.
        owner: String,
        /// What it holds.
        currency: Currency,
        /// The owner of the account above it.
        #[serde(default)]
        parent: Option<String>,
    },
    /// Limit what an account, and those below it, may spend in a period.
    #[serde(rename = "ledger.limit")]
    Limit {
        /// Whose account it is.
        owner: String,
        /// What it holds.
        currency: Currency,
        /// The period.
        period: Period,
        /// The most; without it there is no limit any more.
        #[serde(default)]
        limit: Option<Amount>,
    },
    /// Issue money.
    #[serde(rename = "ledger.mint")]
    Mint {
        /// Who gets it.
        to: String,
        /// How much.
        money: Money,
    },
    /// Destroy money.
    #[serde(rename = "ledger.burn")]
    Burn {
        /// Who has it.
        from: String,
        /// How much.
        money: Money,
    },
    /// Pay.
    #[serde(rename = "ledger.transfer")]
    Transfer {
        /// Who pays; the operator, if nobody is named.
        #[serde(default)]
        from: Option<String>,
        /// Who is paid.
        to: String,
        /// How much.
        money: Money,
    },
    /// Hand money down to an account below.
    #[serde(rename = "ledger.top-up")]
    TopUp {
        /// Whose money it is; the operator's, if nobody is named.
        #[serde(default)]
        from: Option<String>,
        /// Who may spend it.
        to: String,
        /// How much.
        money: Money,
    },
    /// Give a tool or a model a price, or none.
    #[serde(rename = "price.set")]
    SetPrice {
        /// The tool or model.
        item: Name,
        /// From when on; from now on, if nothing is said.
        #[serde(default)]
        from: Option<Timestamp>,
        /// The price; without it the thing costs nothing.
        #[serde(default, deserialize_with = "price")]
        price: Option<Box<Price>>,
    },
    /// Call a tool.
    #[serde(rename = "tool.call")]
    Call {
        /// The tool.
        tool: Name,
        /// Which versions of it will do; the newest, if nothing is said.
        #[serde(default)]
        version: String,
        /// Its arguments.
        #[serde(default)]
        arguments: Map<String, Value>,
    },
    /// Say what a tool is.
    #[serde(rename = "manifest.declare")]
    DeclareTool(ToolDeclared),
    /// Lower bounds of the kernel.
    #[serde(rename = "log.limit")]
    LimitLog(LogLimited),
    /// Confirm what the machine's clock shows after it jumped.
    #[serde(rename = "clock.reset")]
    ResetClock {},
    /// Ask a registered opcode.
    #[serde(rename = "custom")]
    Custom {
        /// The opcode.
        opcode: Name,
        /// What it is asked.
        #[serde(default)]
        input: String,
    },
}

impl OperationText {
    /// Reads an operation. Nothing is repaired: repeated keys, unknown keys and anything after the object are errors.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(json: &[u8]) -> Result<Self, AgentError> {
        let invalid = |error: String| AgentError::Invalid(format!("this is no operation: {error}"));
        Input::parse(json).map_err(|error| invalid(error.to_string()))?;
        serde_json::from_slice(json).map_err(|error| invalid(error.to_string()))
    }

    /// The names of agents, people and owners of accounts in it.
    pub(super) fn names(&self) -> Vec<String> {
        let (one, two): (Option<&String>, Option<&String>) = match self {
            Self::StopAgent { agent }
            | Self::SuspendAgent { agent }
            | Self::ResumeAgent { agent }
            | Self::IssueGrant { agent, .. }
            | Self::Instruct { agent, .. }
            | Self::CommitPlan { agent, .. } => (Some(agent), None),
            Self::Send { to, .. } | Self::Mint { to, .. } => (Some(to), None),
            Self::AssignRole { user, .. } => (Some(user), None),
            Self::Open { owner, parent, .. } => (Some(owner), parent.as_ref()),
            Self::Limit { owner, .. } => (Some(owner), None),
            Self::Burn { from, .. } => (Some(from), None),
            Self::Transfer { from, to, .. } | Self::TopUp { from, to, .. } => (Some(to), from.as_ref()),
            _ => (None, None),
        };
        one.into_iter().chain(two).cloned().collect()
    }

    /// The operation that these words stand for.
    ///
    /// # Errors
    /// If a label is none, or content cannot be packed.
    pub fn into_operation(self) -> Result<Operation, AgentError> {
        let packed = |value: &Value| toka_agents::context::packed(value);
        let named = |name: &str| EntityId::named(name);
        let payer = |from: Option<String>| from.map_or_else(EntityId::operator, |from| named(&from));
        Ok(match self {
            Self::SpawnAgent { name, behaviour, uses, delegates, expires, budget, quarantine } => {
                let grant = GrantTerms { uses, delegates, expires };
                Operation::SpawnAgent { name, behaviour, grant, budget, quarantine }
            }
            Self::Answer { answer } => Operation::Answer(answer),
            Self::SetPolicy { rules } => Operation::SetPolicy(rules),
            Self::Open { owner, currency, parent } => {
                let parent = parent.map(|parent| named(&parent));
                Operation::Enter(LedgerRequest::Open { owner: named(&owner), currency, parent })
            }
            Self::Limit { owner, currency, period, limit } => {
                Operation::Enter(LedgerRequest::Limit { owner: named(&owner), currency, period, limit })
            }
            Self::Mint { to, money } => Operation::Enter(LedgerRequest::Mint { to: named(&to), money }),
            Self::Burn { from, money } => Operation::Enter(LedgerRequest::Burn { from: named(&from), money }),
            Self::Transfer { from, to, money } => {
                Operation::Enter(LedgerRequest::Transfer { from: payer(from), to: named(&to), money })
            }
            Self::TopUp { from, to, money } => {
                Operation::Enter(LedgerRequest::TopUp { from: payer(from), to: named(&to), money })
            }
            Self::SetPrice { item, from, price } => Operation::SetPrice {
                item,
                from: from.unwrap_or(Timestamp::EPOCH),
                price: price.map(|price| *price),
            },
            Self::StopAgent { agent } => Operation::StopAgent(named(&agent)),
            Self::SuspendAgent { agent } => Operation::SuspendAgent(named(&agent)),
            Self::ResumeAgent { agent } => Operation::ResumeAgent(named(&agent)),
            Self::IssueGrant { agent, uses, delegates, expires } => {
                Operation::IssueGrant { agent: named(&agent), grant: GrantTerms { uses, delegates, expires } }
            }
            Self::RevokeGrant { grant } => Operation::RevokeGrant(grant),
            Self::Emit { kind, content, labels } => {
                let labels = Labels::parse(&labels).map_err(|e| AgentError::Invalid(e.to_string()))?;
                let content = if content.is_null() { None } else { Some(packed(&content)?) };
                let (registers, parents) = (Vec::new(), Vec::new());
                Operation::Observe(vec![Observation { kind, content, registers, labels, parents }])
            }
            Self::Send { to, message } => Operation::Send { to: named(&to), message: packed(&message)? },
            Self::Instruct { agent, request } => {
                Operation::Instruct { to: named(&agent), message: packed(&request)?, literals: Vec::new() }
            }
            Self::CommitPlan { agent, slots } => {
                toka_agents::context::plan_operation(named(&agent), &Plan { slots })?
            }
            Self::Resolve { request, resolution } => Operation::Resolve { request, resolution },
            Self::CreateUser { name, role, uses, delegates, expires } => {
                Operation::CreateUser { name, role, grant: GrantTerms { uses, delegates, expires } }
            }
            Self::AssignRole { user, role } => Operation::AssignRole { user: named(&user), role },
            Self::DecideApproval { approval, verdict, until } => {
                Operation::DecideApproval { approval, verdict, until }
            }
            Self::CancelApproval { approval } => Operation::CancelApproval(approval),
            Self::Call { tool, version, arguments } => Operation::Request(ToolRequest {
                tool,
                version,
                arguments: Payload::new(Value::Object(arguments).to_string().into_bytes()),
                // What the tool's manifest says counts.
                class: EffectClass::Pure,
                sink: Sink::None,
                governed: Vec::new(),
                places: Places::default(),
                bounds: Usage::default(),
                traced: None,
            }),
            Self::DeclareTool(declared) => Operation::DeclareTool(declared),
            Self::LimitLog(limits) => Operation::LimitLog(limits),
            // What it shows is looked at where the operation is let in.
            Self::ResetClock {} => Operation::ResetClock { shows: Timestamp::EPOCH },
            Self::Custom { opcode, input } => Operation::Custom { opcode, input: input.into_bytes() },
        })
    }
}

/// A rule of a policy as a configuration has it: what it says nothing of, it is not limited to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    name: Name,
    #[serde(default)]
    labels: Vec<LabelPattern>,
    #[serde(default)]
    sinks: Vec<Sink>,
    #[serde(default)]
    to: Vec<Capability>,
    verdict: Verdict,
}

fn rules<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<FlowRule>, D::Error> {
    let rules = Vec::<RuleText>::deserialize(from)?;
    let rule = |RuleText { name, labels, sinks, to, verdict }| FlowRule { name, labels, sinks, to, verdict };
    Ok(rules.into_iter().map(rule).collect())
}

/// A price whose payee is named, or is an id.
fn price<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<Price>>, D::Error> {
    let Some(mut written) = Option::<Map<String, Value>>::deserialize(from)? else { return Ok(None) };
    if let Some(Value::String(payee)) = written.get_mut("payee")
        && payee.parse::<EntityId>().is_err()
    {
        *payee = EntityId::named(payee).to_string();
    }
    let price = serde_json::from_value(Value::Object(written)).map_err(serde::de::Error::custom)?;
    Ok(Some(Box::new(price)))
}
