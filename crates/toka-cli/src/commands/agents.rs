//! `toka agents list`.

use serde::Serialize;
use toka_kernel::world::AgentState;

use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::look::Look;

/// An agent as it is printed.
#[derive(Serialize)]
struct Row {
    id: String,
    name: String,
    behaviour: String,
    state: AgentState,
    /// The first position of the log that it has not dealt with.
    step: u64,
    // Agents that wait for answers and spend money come with budgets; the fields have their place in the contract.
    waiting_on: Option<String>,
    spent: Option<String>,
    budget: Option<String>,
}

pub(crate) fn list(context: &mut Context) -> Outcome {
    let look = Look::open(context)?;
    let kernel = look.world()?;
    let rows: Vec<Row> = kernel
        .world()
        .agents()
        .map(|(id, agent)| Row {
            id: id.to_string(),
            name: agent.name.to_string(),
            behaviour: agent.behaviour.to_string(),
            state: agent.state,
            step: agent.upto,
            waiting_on: None,
            spent: None,
            budget: None,
        })
        .collect();
    if context.out.json {
        for row in &rows {
            context.out.object(row)?;
        }
        return Ok(Exit::OK);
    }
    if rows.is_empty() {
        context.notes.say("no agents yet; `toka up FOLDER` starts one");
        return Ok(Exit::OK);
    }
    let word = |state| match state {
        AgentState::Running => "running",
        AgentState::Suspended => "suspended",
        AgentState::Stopped => "stopped",
    };
    let rows = rows.into_iter().map(|row| {
        vec![
            row.id.chars().take(12).collect(),
            row.name,
            row.behaviour,
            word(row.state).to_owned(),
            row.step.to_string(),
        ]
    });
    context.out.table(&["ID", "NAME", "BEHAVIOUR", "STATE", "STEP"], rows)?;
    Ok(Exit::OK)
}
