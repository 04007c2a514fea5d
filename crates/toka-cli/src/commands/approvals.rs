//! `toka approvals`: calls that wait for a person's word.

use serde::Serialize;
use serde_json::Value;
use toka_kernel::world::{Approval, ApprovalState};
use toka_runtime::control::OperationText;
use toka_types::facts::ApprovalVerdict;
use toka_types::path::for_terminal;
use toka_types::{EventId, Labels};

use super::operate;
use crate::args::Scope;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome, Stop};
use crate::keys::Need;
use crate::look::{Look, author};
use crate::output::KEY;
use crate::record::{time, unpacked};

/// What a person is shown of the arguments in a table.
const SHOWN: usize = 60;

/// An approval as it is printed.
#[derive(Serialize)]
struct Row {
    id: EventId,
    agent: String,
    operation: String,
    arguments: Value,
    cause: Option<EventId>,
    labels: Labels,
    /// What the agent's plan has against the call, if it is the plan that asks.
    because: Option<String>,
    scopes: [ApprovalVerdict; 3],
    expires: String,
}

#[derive(Serialize)]
struct Decided {
    v: u32,
    approval: EventId,
    verdict: ApprovalVerdict,
    event: EventId,
}

pub(crate) fn list(context: &mut Context) -> Outcome {
    let look = Look::open_content(context, Need::Wanted)?;
    let kernel = look.world()?;
    let now = toka_runtime::clock::Clock::now(&toka_runtime::clock::SystemClock);
    let waiting = kernel.world().approvals();
    let mut waiting: Vec<(EventId, &Approval)> = waiting
        .filter(|(_, approval)| approval.state == ApprovalState::Waiting && approval.expires > now)
        .collect();
    waiting.sort_by_key(|(_, approval)| approval.expires);
    let mut rows = Vec::with_capacity(waiting.len());
    for (id, approval) in waiting {
        let (_, log, seq) = look.resolve(&id.to_string())?;
        let record = look.record(&log, seq)?;
        let view = look.view(&record, &log, kernel.world())?;
        let because = view.facts.get("because").and_then(Value::as_str).map(str::to_owned);
        // Arguments are canonical JSON.
        let arguments = record
            .payload()
            .map_or(Value::Null, |bytes| serde_json::from_slice(bytes).unwrap_or_else(|_| unpacked(bytes)));
        rows.push(Row {
            id,
            agent: author(kernel.world(), approval.agent),
            operation: format!("tool:{}", approval.tool),
            arguments,
            cause: record.header.parents.first().copied(),
            labels: approval.labels.clone(),
            because,
            scopes: ApprovalVerdict::SCOPES,
            expires: time(approval.expires),
        });
    }
    if context.out.json {
        for row in &rows {
            context.out.object(row)?;
        }
        return Ok(Exit::OK);
    }
    if rows.is_empty() {
        context.notes.say("nothing waits for an approval");
        return Ok(Exit::OK);
    }
    let rows = rows.into_iter().map(|row| {
        let arguments: String = for_terminal(&row.arguments.to_string()).chars().take(SHOWN).collect();
        vec![row.id.short(), row.agent, row.operation, arguments, row.expires]
    });
    context.out.table(&["ID", "AGENT", "OPERATION", "ARGUMENTS", "EXPIRES"], rows)?;
    context.notes.hint("`toka approvals allow ID` allows the call once; `--json` shows all of its arguments");
    Ok(Exit::OK)
}

pub(crate) fn allow(context: &mut Context, id: &str, scope: Scope, until: Option<&str>) -> Outcome {
    let verdict = match scope {
        Scope::Once => ApprovalVerdict::AllowOnce,
        Scope::Arguments => ApprovalVerdict::AllowArguments,
        Scope::Tool => ApprovalVerdict::AllowTool,
    };
    decide(context, id, verdict, until)
}

pub(crate) fn deny(context: &mut Context, id: &str, until: Option<&str>) -> Outcome {
    decide(context, id, ApprovalVerdict::Deny, until)
}

fn decide(context: &mut Context, id: &str, verdict: ApprovalVerdict, until: Option<&str>) -> Outcome {
    let until = until.map(super::filter::time).transpose()?;
    let approval = named(context, id)?;
    let events = operate::ask(context, &OperationText::DecideApproval { approval, verdict, until })?;
    let decided = events.iter().find(|event| event.kind == "approval.decided");
    let event = decided.ok_or_else(|| Failure::failed("the runtime answered with no decision"))?.id;
    if context.out.json {
        context.out.object(&Decided { v: 1, approval, verdict, event })?;
        return Ok(Exit::OK);
    }
    context.out.line(format_args!(
        "{KEY}{verdict}{KEY:#} {}: event {} says so",
        approval.short(),
        event.short()
    ))?;
    Ok(Exit::OK)
}

fn named(context: &Context, id: &str) -> Result<EventId, Stop> {
    let look = Look::open(context)?;
    let (id, ..) = look.resolve(id)?;
    Ok(id)
}
