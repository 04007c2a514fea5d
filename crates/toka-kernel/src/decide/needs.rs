//! What an operation needs a grant for, said in one place: the kernel asks it of the asker's grant, and whoever lets
//! operations in from outside asks it of what a token was narrowed down to.

use toka_types::capability::{Argument, Request};
use toka_types::operation::{GovernedArgument, GrantTerms, LedgerRequest, TaskAction};
use toka_types::{EntityId, Kind, Money, Operation};

use crate::world::WorldState;

/// Something that an operation needs a grant for.
#[derive(Clone, Copy, Debug)]
pub enum Need<'a> {
    /// A capability that allows the request, so many times.
    Use(Request<'a>, u64),
    /// That all of this may be handed on.
    HandOn(&'a GrantTerms),
}

/// Hands `each` what `operation` of `origin` needs, in the order in which it is asked for. Nothing is needed for what the
/// host alone may ask, and for what is about something that is not there: that is refused for another reason.
///
/// # Errors
/// The first that `each` returns.
pub fn each_need<E>(
    world: &WorldState,
    origin: EntityId,
    operation: &Operation,
    mut each: impl FnMut(Need<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let each = &mut each;
    match operation {
        Operation::OpenLog { .. }
        | Operation::EndTurn { .. }
        | Operation::Return(_)
        | Operation::Erase { .. }
        | Operation::JumpClock { .. } => Ok(()),
        Operation::SpawnAgent { name, behaviour, grant, budget, quarantine: _ } => {
            let living = Argument::Number(world.living(origin).saturating_add(1));
            once(
                each,
                "agent",
                "spawn",
                &[("behaviour", Argument::Text(behaviour.as_str())), ("max", living)],
            )?;
            if let Some(money) = budget {
                money_to(each, "spend", name.as_str(), *money)?;
            }
            each(Need::HandOn(grant))
        }
        Operation::StopAgent(_) => once(each, "agent", "stop", &[]),
        Operation::SuspendAgent(_) => once(each, "agent", "suspend", &[]),
        Operation::ResumeAgent(_) => once(each, "agent", "resume", &[]),
        Operation::IssueGrant { grant, .. } => {
            once(each, "agent", "grant", &[])?;
            each(Need::HandOn(grant))
        }
        Operation::RevokeGrant(_) => once(each, "grant", "revoke", &[]),
        Operation::Observe(observations) => {
            // Most operations observe many things of one kind: it is asked once whether they may.
            observations
                .chunk_by(|a, b| a.kind == b.kind)
                .try_for_each(|run| emit(each, &run[0].kind, run.len()))
        }
        Operation::Send { to, .. } | Operation::Instruct { to, .. } => send(each, world, *to),
        Operation::CommitPlan(_) => once(each, "plan", "commit", &[]),
        Operation::ScheduleTask { .. } | Operation::CancelTask { .. } => once(each, "task", "schedule", &[]),
        Operation::FireTask { action, .. } => {
            once(each, "task", "schedule", &[])?;
            match action {
                TaskAction::Emit { kind, .. } => emit(each, kind, 1),
                TaskAction::Send { to, .. } => send(each, world, *to),
                TaskAction::Skip => Ok(()),
            }
        }
        Operation::Request(request) | Operation::RequestApproval { request, .. } => {
            with_governed(&request.governed, |arguments| once(each, "tool", request.tool.as_str(), arguments))
        }
        Operation::Resolve { .. } => once(each, "effect", "resolve", &[]),
        Operation::CreateUser { grant, .. } => {
            once(each, "user", "create", &[])?;
            each(Need::HandOn(grant))
        }
        Operation::AssignRole { .. } => once(each, "user", "assign", &[]),
        Operation::DecideApproval { approval, .. } => match world.approval(*approval) {
            Some(approval) => {
                once(each, "approval", "decide", &[("tool", Argument::Text(approval.tool.as_str()))])
            }
            None => Ok(()),
        },
        // It is taken back by whoever asked, or by somebody above; and to answer is what a quarantined agent is there for.
        Operation::CancelApproval(_) | Operation::Answer(_) => Ok(()),
        Operation::SetPolicy(_) => once(each, "policy", "set", &[]),
        Operation::Enter(request) => {
            let name = |id| world.name_of(id).unwrap_or_default();
            match *request {
                LedgerRequest::Open { .. } => once(each, "ledger", "open", &[]),
                LedgerRequest::Limit { .. } => once(each, "ledger", "limit", &[]),
                LedgerRequest::Mint { to, money } => money_to(each, "mint", name(to), money),
                LedgerRequest::Burn { from, money } => money_to(each, "burn", name(from), money),
                LedgerRequest::Transfer { to, money, .. } | LedgerRequest::TopUp { to, money, .. } => {
                    money_to(each, "spend", name(to), money)
                }
            }
        }
        Operation::SetPrice { item, .. } => {
            once(each, "price", "set", &[("item", Argument::Text(item.as_str()))])
        }
        Operation::DeclareTool(declared) => {
            once(each, "manifest", "declare", &[("tool", Argument::Text(declared.tool.as_str()))])
        }
        Operation::LimitLog(_) => once(each, "log", "limit", &[]),
        Operation::ResetClock { .. } => once(each, "clock", "reset", &[]),
        Operation::Custom { opcode, .. } => once(each, "custom", opcode.as_str(), &[]),
    }
}

/// The first thing that `operation` needs, as `resource:action`: what a refusal names.
pub(super) fn first_asked(world: &WorldState, origin: EntityId, operation: &Operation) -> String {
    let first = each_need(world, origin, operation, |need| match need {
        Need::Use(request, _) => Err(format!("{}:{}", request.resource, request.action)),
        Need::HandOn(_) => Ok(()),
    });
    let unasked = match operation {
        Operation::Observe(_) => "event:emit",
        Operation::Send { .. } => "message:send",
        Operation::DecideApproval { .. } => "approval:decide",
        Operation::CancelApproval(_) => "approval:cancel",
        Operation::Answer(_) => "agent:answer",
        _ => "operation:submit",
    };
    first.err().unwrap_or_else(|| unasked.to_owned())
}

/// Hands `look` the governed arguments of a call as a capability's request has them. Few tools have more than two, and for
/// those nothing is allocated.
pub(super) fn with_governed<R>(
    governed: &[(String, GovernedArgument)],
    look: impl FnOnce(&[(&str, Argument<'_>)]) -> R,
) -> R {
    fn view((name, value): &(String, GovernedArgument)) -> (&str, Argument<'_>) {
        (name, value.view())
    }
    match governed {
        [] => look(&[]),
        [one] => look(&[view(one)]),
        [one, two] => look(&[view(one), view(two)]),
        all => look(&all.iter().map(view).collect::<Vec<_>>()),
    }
}

fn once<E>(
    each: &mut impl FnMut(Need<'_>) -> Result<(), E>,
    resource: &str,
    action: &str,
    arguments: &[(&str, Argument<'_>)],
) -> Result<(), E> {
    each(Need::Use(Request { resource, action, arguments }, 1))
}

fn emit<E>(each: &mut impl FnMut(Need<'_>) -> Result<(), E>, kind: &Kind, times: usize) -> Result<(), E> {
    let arguments = &[("kind", Argument::Text(kind.as_str()))];
    each(Need::Use(Request { resource: "event", action: "emit", arguments }, times as u64))
}

/// A message to nobody needs nothing.
fn send<E>(
    each: &mut impl FnMut(Need<'_>) -> Result<(), E>,
    world: &WorldState,
    to: EntityId,
) -> Result<(), E> {
    match world.agent(to) {
        Some(agent) => once(each, "message", "send", &[("to", Argument::Text(agent.name.as_str()))]),
        None => Ok(()),
    }
}

fn money_to<E>(
    each: &mut impl FnMut(Need<'_>) -> Result<(), E>,
    action: &str,
    to: &str,
    money: Money,
) -> Result<(), E> {
    once(each, "ledger", action, &[("max", Argument::Money(money)), ("to", Argument::Text(to))])
}
