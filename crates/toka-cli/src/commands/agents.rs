//! `toka agents list`.

use serde::Serialize;
use toka_kernel::world::AgentState;
use toka_ledger::Account;
use toka_types::{Amount, Money};

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
    // No agent waits for an answer yet; the field has its place in the contract.
    waiting_on: Option<String>,
    /// Of its account; of the first one by currency, if it has several.
    #[serde(flatten)]
    funds: Funds,
    /// Of each of its accounts.
    accounts: Vec<Funds>,
}

/// What an agent spent, and what it was given to spend and has not handed on.
#[derive(Clone, Copy, Default, Serialize)]
struct Funds {
    spent: Option<Money>,
    budget: Option<Money>,
}

impl From<&Account> for Funds {
    fn from(account: &Account) -> Self {
        let money = |amount: Amount| Some(amount.of(account.id().currency));
        Self { spent: money(account.spent()), budget: money(account.funds()) }
    }
}

pub(crate) fn list(context: &mut Context) -> Outcome {
    let look = Look::open(context)?;
    let kernel = look.world()?;
    let world = kernel.world();
    let rows: Vec<Row> = world
        .agents()
        .map(|(id, agent)| {
            let accounts: Vec<Funds> = world.ledger().accounts_of(id).map(Funds::from).collect();
            Row {
                id: id.to_string(),
                name: agent.name.to_string(),
                behaviour: agent.behaviour.to_string(),
                state: agent.state,
                step: agent.upto,
                waiting_on: None,
                funds: accounts.first().copied().unwrap_or_default(),
                accounts,
            }
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
    let each = |accounts: &[Funds], money: fn(&Funds) -> Option<Money>| {
        let texts: Vec<String> = accounts.iter().filter_map(money).map(|money| money.to_string()).collect();
        texts.join(", ")
    };
    let rows = rows.into_iter().map(|row| {
        vec![
            row.id.chars().take(12).collect(),
            row.name,
            row.behaviour,
            word(row.state).to_owned(),
            row.step.to_string(),
            each(&row.accounts, |funds| funds.spent),
            each(&row.accounts, |funds| funds.budget),
        ]
    });
    context.out.table(&["ID", "NAME", "BEHAVIOUR", "STATE", "STEP", "SPENT", "BUDGET"], rows)?;
    Ok(Exit::OK)
}
