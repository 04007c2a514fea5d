//! Facts as MessagePack.
//!
//! A header's facts are nothing at all, or one map with the fields of the kind's facts, or that map followed by
//! a second one, [`OperationRef`], if the caller named its operation. `docs/events.md` lists the fields.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toka_types::entry::{
    AccountOpened, BudgetSet, Burnt, Carved, Entry, Held, Minted, Released, Settled, Transferred,
};
use toka_types::facts::{Facts, Observed, OperationRef, Register, kinds};
use toka_types::{EventHeader, Kind};

/// Facts that cannot be read. A log that holds such facts is damaged, or from a newer version of Toka.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the facts of event {event} ({kind}) cannot be read: {detail}")]
pub struct FactsError {
    /// The event.
    pub event: toka_types::EventId,
    /// Its kind.
    pub kind: Kind,
    /// What is wrong.
    pub detail: String,
}

/// Facts of a kind that is not the kernel's. What else stands in them is for whoever knows the kind: a vault that was
/// used alone before records its vectors with their dimensions.
#[derive(Deserialize)]
struct OwnFacts {
    #[serde(default)]
    registers: Vec<Register>,
}

/// The stored bytes of `facts`.
pub fn encode(facts: &Facts, operation: Option<&OperationRef>) -> Vec<u8> {
    let mut out = Vec::new();
    match facts {
        Facts::LogOpened(f) => write(&mut out, f),
        Facts::LogForked(f) => write(&mut out, f),
        Facts::AgentSpawned(f) => write(&mut out, f),
        Facts::AgentStopped(f) | Facts::AgentSuspended(f) | Facts::AgentResumed(f) => write(&mut out, f),
        Facts::AgentAnswered(f) => write(&mut out, f),
        Facts::TurnEnded(f) => write(&mut out, f),
        Facts::GrantIssued(f) => write(&mut out, f),
        Facts::GrantRevoked(f) => write(&mut out, f),
        Facts::MessageSent(f) => write(&mut out, f),
        Facts::TaskScheduled(f) => write(&mut out, f),
        Facts::TaskCancelled(f) => write(&mut out, f),
        Facts::TaskFired(f) => write(&mut out, f),
        Facts::ToolRequested(f) => write(&mut out, f),
        Facts::ToolReturned(f) => write(&mut out, f),
        Facts::ToolResolved(f) => write(&mut out, f),
        Facts::PlanCommitted(f) => write(&mut out, f),
        Facts::CapabilityDenied(f) => write(&mut out, f),
        Facts::SubjectErased(f) => write(&mut out, f),
        Facts::UserCreated(f) => write(&mut out, f),
        Facts::UserRoleAssigned(f) => write(&mut out, f),
        Facts::ApprovalRequested(f) => write(&mut out, f),
        Facts::ApprovalDecided(f) => write(&mut out, f),
        Facts::ApprovalExpired(f) | Facts::ApprovalCancelled(f) => write(&mut out, f),
        Facts::Entered(entry) => write_entry(&mut out, entry),
        Facts::Noticed(f) => write(&mut out, f),
        Facts::PriceSet(f) => write(&mut out, f),
        Facts::PolicySet(f) => write(&mut out, f),
        Facts::NonceBurnt(f) => write(&mut out, f),
        Facts::ToolDeclared(f) => write(&mut out, f),
        Facts::LogLimited(f) => write(&mut out, f),
        Facts::ClockJumped(f) => write(&mut out, f),
        Facts::ClockReset(f) => write(&mut out, f),
        Facts::CustomSet(f) => write(&mut out, f),
        Facts::CustomEmit(f) => write(&mut out, f),
        // Most events are observations without registers: they take no byte.
        Facts::Observed(f) if f.registers.is_empty() && operation.is_none() => {}
        Facts::Observed(f) => write(&mut out, f),
    }
    if let Some(operation) = operation {
        write(&mut out, operation);
    }
    out
}

/// The facts of a stored event, and the operation it came from, where that was named.
pub fn decode(header: &EventHeader) -> Result<(Facts, Option<OperationRef>), FactsError> {
    let error = |detail: String| FactsError { event: header.id, kind: header.kind.clone(), detail };
    let mut rest = &header.facts[..];
    let facts = match header.kind.as_str() {
        kinds::LOG_OPENED => read(&mut rest).map(Facts::LogOpened),
        kinds::LOG_FORKED => read(&mut rest).map(Facts::LogForked),
        kinds::AGENT_SPAWNED => read(&mut rest).map(Facts::AgentSpawned),
        kinds::AGENT_STOPPED => read(&mut rest).map(Facts::AgentStopped),
        kinds::AGENT_SUSPENDED => read(&mut rest).map(Facts::AgentSuspended),
        kinds::AGENT_RESUMED => read(&mut rest).map(Facts::AgentResumed),
        kinds::AGENT_ANSWERED => read(&mut rest).map(Facts::AgentAnswered),
        kinds::TURN_ENDED => read(&mut rest).map(Facts::TurnEnded),
        kinds::GRANT_ISSUED => read(&mut rest).map(Facts::GrantIssued),
        kinds::GRANT_REVOKED => read(&mut rest).map(Facts::GrantRevoked),
        kinds::MESSAGE_SENT => read(&mut rest).map(Facts::MessageSent),
        kinds::TASK_SCHEDULED => read(&mut rest).map(Facts::TaskScheduled),
        kinds::TASK_CANCELLED => read(&mut rest).map(Facts::TaskCancelled),
        kinds::TASK_FIRED => read(&mut rest).map(Facts::TaskFired),
        kinds::TOOL_REQUESTED => read(&mut rest).map(Facts::ToolRequested),
        kinds::TOOL_RETURNED => read(&mut rest).map(Facts::ToolReturned),
        kinds::TOOL_RESOLVED => read(&mut rest).map(Facts::ToolResolved),
        kinds::PLAN_COMMITTED => read(&mut rest).map(Facts::PlanCommitted),
        kinds::CAPABILITY_DENIED => read(&mut rest).map(Facts::CapabilityDenied),
        kinds::SUBJECT_ERASED => read(&mut rest).map(Facts::SubjectErased),
        kinds::USER_CREATED => read(&mut rest).map(Facts::UserCreated),
        kinds::USER_ROLE_ASSIGNED => read(&mut rest).map(Facts::UserRoleAssigned),
        kinds::APPROVAL_REQUESTED => read(&mut rest).map(Facts::ApprovalRequested),
        kinds::APPROVAL_DECIDED => read(&mut rest).map(Facts::ApprovalDecided),
        kinds::APPROVAL_EXPIRED => read(&mut rest).map(Facts::ApprovalExpired),
        kinds::APPROVAL_CANCELLED => read(&mut rest).map(Facts::ApprovalCancelled),
        kinds::POLICY_SET => read(&mut rest).map(Facts::PolicySet),
        kinds::PRICE_SET => read(&mut rest).map(Facts::PriceSet),
        "ledger.warned" | "ledger.exhausted" => read(&mut rest).map(Facts::Noticed),
        "ledger.opened" => read_entry::<AccountOpened>(&mut rest),
        "ledger.limited" => read_entry::<BudgetSet>(&mut rest),
        "ledger.minted" => read_entry::<Minted>(&mut rest),
        "ledger.burnt" => read_entry::<Burnt>(&mut rest),
        "ledger.transferred" => read_entry::<Transferred>(&mut rest),
        "ledger.carved" => read_entry::<Carved>(&mut rest),
        "ledger.held" => read_entry::<Held>(&mut rest),
        "ledger.settled" => read_entry::<Settled>(&mut rest),
        "ledger.released" => read_entry::<Released>(&mut rest),
        kinds::NONCE_BURNT => read(&mut rest).map(Facts::NonceBurnt),
        kinds::TOOL_DECLARED => read(&mut rest).map(Facts::ToolDeclared),
        kinds::LOG_LIMITED => read(&mut rest).map(Facts::LogLimited),
        kinds::CLOCK_JUMPED => read(&mut rest).map(Facts::ClockJumped),
        kinds::CLOCK_RESET => read(&mut rest).map(Facts::ClockReset),
        kinds::CUSTOM_SET => read(&mut rest).map(Facts::CustomSet),
        kinds::CUSTOM_EMIT => read(&mut rest).map(Facts::CustomEmit),
        _ if is_reserved(&header.kind) => {
            return Err(error("this build does not know the kind".to_owned()));
        }
        _ if rest.is_empty() => Ok(Facts::Observed(Observed { registers: Vec::new() })),
        _ => read::<OwnFacts>(&mut rest).map(|own| Facts::Observed(Observed { registers: own.registers })),
    };
    let facts = facts.map_err(|e| error(e.to_string()))?;
    let operation = match rest.is_empty() {
        true => None,
        false => {
            let operation: OperationRef = read(&mut rest).map_err(|e| error(e.to_string()))?;
            let OperationRef { op_id, not_after, nonce, until, used, token_used } = &operation;
            let (named, signed) = (op_id.is_some(), nonce.is_some());
            let counted = !(used.is_empty() && token_used.is_empty());
            if !(named || signed || counted) || named != not_after.is_some() || signed != until.is_some() {
                return Err(error("the second map says half of where the operation came from".to_owned()));
            }
            Some(operation)
        }
    };
    if !rest.is_empty() {
        return Err(error(format!("{} bytes after the last map", rest.len())));
    }
    Ok((facts, operation))
}

/// The facts of a stored event whose kind is known to have these. A program that wants few kinds stays small by it.
pub fn decode_as<T: DeserializeOwned>(header: &EventHeader) -> Result<T, FactsError> {
    let error = |e: rmp_serde::decode::Error| FactsError {
        event: header.id,
        kind: header.kind.clone(),
        detail: e.to_string(),
    };
    read(&mut &header.facts[..]).map_err(error)
}

/// True if only the kernel decides events of this kind, because its first segment is the kernel's.
pub fn is_reserved(kind: &Kind) -> bool {
    let family = kind.as_str().split('.').next().unwrap_or_default();
    kinds::RESERVED.contains(&family)
}

fn write(out: &mut Vec<u8>, value: &impl Serialize) {
    // Writing plain structs into memory cannot fail; a failure here would be a wrong fact, so it stops.
    value.serialize(&mut rmp_serde::Serializer::new(out).with_struct_map()).expect("facts are plain data");
}

/// An entry's own fields: its kind says which entry it is.
fn write_entry(out: &mut Vec<u8>, entry: &Entry) {
    match entry {
        Entry::Opened(f) => write(out, f),
        Entry::Limited(f) => write(out, f),
        Entry::Minted(f) => write(out, f),
        Entry::Burnt(f) => write(out, f),
        Entry::Transferred(f) => write(out, f),
        Entry::Carved(f) => write(out, f),
        Entry::Held(f) => write(out, f),
        Entry::Settled(f) => write(out, f),
        Entry::Released(f) => write(out, f),
    }
}

fn read_entry<T: DeserializeOwned + Into<Entry>>(
    rest: &mut &[u8],
) -> Result<Facts, rmp_serde::decode::Error> {
    read::<T>(rest).map(|entry| Facts::Entered(entry.into()))
}

fn read<T: DeserializeOwned>(rest: &mut &[u8]) -> Result<T, rmp_serde::decode::Error> {
    rmp_serde::from_read(rest)
}
