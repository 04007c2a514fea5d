//! `toka why`: from an act back to the request that it goes back to.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;
use serde_json::Value;
use toka_kernel::WorldState;
use toka_types::{EntityId, EventHeader, EventId, GrantId, Labels, Money};
use toka_vault::{LogId, Record};

use super::ledger;
use crate::context::Context;
use crate::failure::{Exit, Outcome, Stop};
use crate::keys::Need;
use crate::look::{Look, author};
use crate::record::EventView;

/// Events that are looked at: what goes back to more than these is cut there.
const MOST: usize = 100_000;

#[derive(Serialize)]
struct Why {
    v: u32,
    chain: Vec<Link>,
}

/// One event of the chain.
#[derive(Serialize)]
struct Link {
    event: EventId,
    kind: String,
    author: String,
    at: String,
    summary: String,
    labels: Labels,
    /// The grant that the author holds.
    grant: Option<GrantId>,
    /// Who allowed the call, where somebody was asked.
    approver: Option<String>,
    /// The slot of the agent's plan that the call fills: the plan's event, and the place there.
    slot: Option<Value>,
    /// What the call did cost, at its request, its outcome and the payment.
    cost: Option<Money>,
}

pub(crate) fn why(context: &mut Context, id: &str) -> Outcome {
    let look = Look::open_content(context, Need::Wanted)?;
    let (id, log, _) = look.resolve(id)?;
    let kernel = look.world()?;
    let world = kernel.world();
    let mut chain = Vec::new();
    for record in back(&look, world, id, &log)? {
        let view = look.view(&record, &log, world)?;
        chain.push(link(&look, world, &log, &record.header, view)?);
    }
    if context.out.json {
        context.out.object(&Why { v: 1, chain })?;
        return Ok(Exit::OK);
    }
    let rows = chain.into_iter().map(|link| {
        let labels: Vec<&str> = link.labels.iter().map(|label| label.as_str()).collect();
        vec![
            link.event.short(),
            link.kind,
            link.author,
            link.grant.map_or_else(String::new, |grant| grant.to_string()),
            link.approver.unwrap_or_default(),
            link.cost.map_or_else(String::new, |cost| cost.to_string()),
            labels.join(" "),
            link.summary,
        ]
    });
    context.out.table(&["EVENT", "KIND", "AUTHOR", "GRANT", "APPROVER", "COST", "LABELS", "ABOUT"], rows)?;
    Ok(Exit::OK)
}

/// The shortest way from the event over causes to one that a person made, or else to one without causes; the event
/// itself first.
fn back(
    look: &Look,
    world: &WorldState,
    id: EventId,
    log: &LogId,
) -> Result<Vec<std::sync::Arc<Record>>, Stop> {
    let is_person = |id: EntityId| id == EntityId::operator() || world.user(id).is_some();
    // From each event to the one that it was reached from, which is nearer to the act.
    let mut nearer: HashMap<EventId, Option<EventId>> = HashMap::from([(id, None)]);
    let mut waiting = VecDeque::from([id]);
    let mut root = None;
    while let Some(next) = waiting.pop_front() {
        let header = look.header(log, next)?;
        let is_request = next != id && is_person(header.author);
        if header.parents.is_empty() || is_request {
            root.get_or_insert(next);
            if is_request {
                root = Some(next);
                break;
            }
            continue;
        }
        for parent in header.parents {
            if nearer.len() < MOST && !nearer.contains_key(&parent) {
                nearer.insert(parent, Some(next));
                waiting.push_back(parent);
            }
        }
    }
    let mut way: Vec<EventId> =
        std::iter::successors(root.or(Some(id)), |at| nearer.get(at).copied().flatten()).collect();
    way.reverse();
    way.into_iter().map(|id| look.record(log, look.place(log, id)?)).collect()
}

fn link(
    look: &Look,
    world: &WorldState,
    log: &LogId,
    header: &EventHeader,
    view: EventView,
) -> Result<Link, Stop> {
    let grant = world
        .agent(header.author)
        .map(|agent| agent.grant)
        .or_else(|| world.user(header.author).map(|user| user.grant))
        .or_else(|| world.operator_grant().filter(|_| header.author == EntityId::operator()));
    let approval =
        view.facts.get("approval").and_then(Value::as_str).filter(|_| view.kind == "tool.requested");
    let approver = match approval.and_then(|text| text.parse::<EventId>().ok()) {
        Some(approval) => approver(look, world, log, approval)?,
        None => None,
    };
    let cost = ledger::cost(look, log, header)?;
    let (event, labels) = (header.id, header.labels.clone());
    let summary = view.summary();
    let slot = view.facts.get("slot").cloned();
    let EventView { kind, author, at, .. } = view;
    Ok(Link { event, kind, author, at, summary, labels, grant, approver, slot, cost })
}

/// Who decided about the approval.
fn approver(look: &Look, world: &WorldState, log: &LogId, approval: EventId) -> Result<Option<String>, Stop> {
    look.find_child(&approval, log, |header| {
        Ok((header.kind == "approval.decided").then(|| author(world, header.author)))
    })
}
