//! `toka ledger`: accounts, what moved, and moving it.

use std::ops::Range;

use serde::Serialize;
use toka_kernel::world::AgentState;
use toka_kernel::{WorldState, codec};
use toka_ledger::{Account, Budget, Statement};
use toka_runtime::control::{EventLine, OperationText};
use toka_types::entry::{Carved, Entry, Period};
use toka_types::facts::Facts;
use toka_types::path::for_terminal;
use toka_types::{AccountId, Amount, Currency, EntityId, EventHeader, EventId, Money, Timestamp};

use super::filter::entity;
use super::operate;
use crate::args;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome, Stop};
use crate::look::{Look, author};
use crate::record::time;

/// The first segment of the kinds of entries.
const KINDS: &str = "ledger";

/// An account as it is printed.
#[derive(Serialize)]
struct Row {
    account: AccountId,
    owner: String,
    /// The owner of the account above it.
    parent: Option<String>,
    balance: Money,
    held: Money,
    /// What its owner paid from it.
    spent: Money,
    /// What was paid from accounts below it.
    delegated: Money,
    /// Of its limits, the one that leaves least.
    limit: Option<Limit>,
    limits: Vec<Limit>,
}

/// What an account and those below it may spend in a period.
#[derive(Clone, Serialize)]
struct Limit {
    #[serde(flatten)]
    most: Money,
    period: Period,
    /// How much of it is spent.
    spent: Money,
}

/// A statement as it is printed.
#[derive(Serialize)]
struct View {
    v: u32,
    account: AccountId,
    owner: String,
    since: Option<String>,
    until: Option<String>,
    opening: Money,
    lines: Vec<LineView>,
    closing: Money,
}

#[derive(Serialize)]
struct LineView {
    event: EventId,
    at: String,
    kind: &'static str,
    /// Whose the account on the other side is, if it is anybody's.
    with: Option<String>,
    amount: Money,
    balance: Money,
}

pub(crate) fn accounts(context: &mut Context) -> Outcome {
    let look = whole(context)?;
    let kernel = look.world()?;
    let world = kernel.world();
    let now = toka_runtime::clock::Clock::now(&toka_runtime::clock::SystemClock);
    // What money is issued from is nobody's.
    let accounts = world.ledger().accounts().filter(|account| !account.id().is_issuance());
    let rows: Vec<Row> = accounts.map(|account| Row::new(account, world, now)).collect();
    if context.out.json {
        for row in &rows {
            context.out.object(row)?;
        }
        return Ok(Exit::OK);
    }
    if rows.is_empty() {
        context.notes.say("no accounts");
        context.notes.hint("`toka ledger mint \"10 USD\" --to operator` issues money and opens the first");
        return Ok(Exit::OK);
    }
    let rows = rows.into_iter().map(|row| {
        let limits = row.limits.iter().map(|limit| format!("{} a {}", limit.most.amount, limit.period));
        let currency = row.account.currency.to_string();
        let amounts = [row.balance, row.held, row.spent].map(|money| money.amount.to_string());
        let [balance, held, spent] = amounts;
        vec![for_terminal(&row.owner), currency, balance, held, spent, limits.collect::<Vec<_>>().join(", ")]
    });
    context.out.table(&["OWNER", "CURRENCY", "BALANCE", "HELD", "SPENT", "LIMIT"], rows)?;
    Ok(Exit::OK)
}

pub(crate) fn statement(context: &mut Context, text: &str, period: &args::Period) -> Outcome {
    let (since, until) = period.parse()?;
    let look = whole(context)?;
    let kernel = look.world()?;
    let world = kernel.world();
    let account = account(text, world)?;
    let range = since.unwrap_or(Timestamp(i64::MIN))..until.unwrap_or(Timestamp(i64::MAX));
    let statement = walk(&look, account, range)?;
    let money = |amount: Amount| amount.of(account.currency);
    let lines = statement.lines.iter().map(|line| LineView {
        event: line.event,
        at: time(line.at),
        kind: line.kind,
        with: (line.with != EntityId::NONE).then(|| author(world, line.with)),
        amount: money(line.amount),
        balance: money(line.balance),
    });
    let view = View {
        v: 1,
        account,
        owner: author(world, account.owner),
        since: since.map(time),
        until: until.map(time),
        opening: money(statement.opening),
        lines: lines.collect(),
        closing: money(statement.closing),
    };
    if context.out.json {
        context.out.object(&view)?;
        return Ok(Exit::OK);
    }
    let pad = |first: &str, balance: Money| {
        let none = String::new;
        vec![first.to_owned(), none(), none(), none(), none(), balance.to_string()]
    };
    let lines = view.lines.into_iter().map(|line| {
        let sign = if line.amount.amount > Amount::ZERO { "+" } else { "" };
        let with = line.with.map_or_else(String::new, |with| for_terminal(&with));
        let amount = format!("{sign}{}", line.amount.amount);
        vec![line.at, line.event.short(), line.kind.to_owned(), with, amount, line.balance.to_string()]
    });
    let rows: Vec<Vec<String>> = std::iter::once(pad("opening", view.opening))
        .chain(lines)
        .chain([pad("closing", view.closing)])
        .collect();
    context.out.table(&["TIME", "EVENT", "KIND", "WITH", "AMOUNT", "BALANCE"], rows)?;
    Ok(Exit::OK)
}

pub(crate) fn mint(context: &mut Context, asked: &args::Mint) -> Outcome {
    let money = operate::money(&asked.money)?;
    let kernel = Look::open(context)?.world()?;
    let mut events = open(context, kernel.world(), &asked.to, money.currency, asked.open)?;
    events.extend(operate::ask(context, &OperationText::Mint { to: asked.to.clone(), money })?);
    operate::print(context, &events)
}

pub(crate) fn transfer(context: &mut Context, asked: &args::Transfer) -> Outcome {
    let money = operate::money(&asked.money)?;
    let kernel = Look::open(context)?.world()?;
    if let Some(from) = &asked.from {
        owner(from, false, kernel.world(), money.currency)?;
    }
    let mut events = open(context, kernel.world(), &asked.to, money.currency, asked.open)?;
    let (from, to) = (asked.from.clone(), asked.to.clone());
    events.extend(operate::ask(context, &OperationText::Transfer { from, to, money })?);
    operate::print(context, &events)
}

pub(crate) fn top_up(context: &mut Context, asked: &args::TopUp) -> Outcome {
    let money = operate::money(&asked.money)?;
    let kernel = Look::open(context)?.world()?;
    let world = kernel.world();
    let owner = owner(&asked.name, false, world, money.currency)?;
    // Money is handed down from the account directly above; the kernel opens one that is not there.
    let above = world
        .ledger()
        .account(AccountId::new(owner, money.currency))
        .map_or_else(|| above(owner, world), Account::parent);
    let from = above.and_then(|above| world.name_of(above)).map(str::to_owned);
    let events = operate::ask(context, &OperationText::TopUp { from, to: asked.name.clone(), money })?;
    operate::print(context, &events)?;
    if world.agent(owner).is_some_and(|agent| agent.state == AgentState::Suspended) {
        context.notes.hint(format_args!(
            "{} is suspended: `toka op submit` with {{\"op\": \"agent.resume\", \"agent\": \"{}\"}} lets it go on",
            asked.name, asked.name
        ));
    }
    Ok(Exit::OK)
}

/// Opens the account in which `name` is to get money, and those that it stands under, where there are none.
fn open(
    context: &Context,
    world: &WorldState,
    name: &str,
    currency: Currency,
    anybody: bool,
) -> Result<Vec<EventLine>, Stop> {
    let owner = owner(name, anybody, world, currency)?;
    let is_open = |owner: &EntityId| world.ledger().account(AccountId::new(*owner, currency)).is_some();
    let (mut missing, mut next) = (Vec::new(), Some(owner));
    // An agent that was stopped can be spawned anew by one that it had spawned, so that the way up may lead back.
    while let Some(owner) = next.filter(|owner| !is_open(owner) && !missing.contains(owner)) {
        missing.push(owner);
        next = above(owner, world);
    }
    let called = |id| world.name_of(id).unwrap_or(name).to_owned();
    let mut parent = next.filter(is_open);
    let mut events = Vec::new();
    for opened in missing.into_iter().rev() {
        let open = OperationText::Open { owner: called(opened), currency, parent: parent.map(called) };
        events.extend(operate::ask(context, &open)?);
        parent = Some(opened);
    }
    Ok(events)
}

/// Under whose account one of this owner is opened.
fn above(owner: EntityId, world: &WorldState) -> Option<EntityId> {
    let spawned_by = world.agent(owner).map(|agent| agent.parent);
    spawned_by.or_else(|| world.user(owner).map(|_| EntityId::operator()))
}

/// The owner of that name: somebody whom the world knows, or who has an account, or, if that is asked for, `anybody`. A
/// name that was mistyped would get money that nobody could spend.
fn owner(name: &str, anybody: bool, world: &WorldState, currency: Currency) -> Result<EntityId, Failure> {
    let owner = EntityId::named(name);
    let has_account = world.ledger().account(AccountId::new(owner, currency)).is_some();
    if has_account || world.name_of(owner).is_some() {
        return Ok(owner);
    }
    let shown = for_terminal(name);
    if name.parse::<EntityId>().is_ok() {
        let failure = Failure::usage(format!("'{shown}' is an id"));
        return Err(failure.hint("money goes to a name: ids follow from names, and not the other way"));
    }
    if anybody {
        return operate::name(name).map(|_| owner);
    }
    let failure =
        Failure::unknown(format!("nobody is called '{shown}', nor has that name an account in {currency}"));
    Err(failure
        .hint("`toka agents list` has the names of agents; `mint` and `transfer` open an account for any name with --open"))
}

/// The account that `text` names: `OWNER:CURRENCY`, or `OWNER` who has but one; an owner is a name, an id or a unique
/// beginning of an id.
fn account(text: &str, world: &WorldState) -> Result<AccountId, Stop> {
    let ledger = world.ledger();
    let shown = for_terminal(text);
    let (owner, currency) = match text.rsplit_once(':') {
        Some((owner, code)) => {
            let currency = code
                .parse::<Currency>()
                .map_err(|e| Failure::usage(e.to_string()).hint("as in operator:USD"))?;
            (owner, Some(currency))
        }
        None => (text, None),
    };
    let mut id = EntityId::named(owner);
    if ledger.accounts_of(id).next().is_none() {
        // Who is paid may be somebody whom nothing but the ledger knows.
        let accounts = ledger.accounts().filter(|account| !account.id().is_issuance());
        let mut owners: Vec<EntityId> = accounts.map(|account| account.id().owner).collect();
        owners.dedup();
        id = entity(owner, world, owners)?;
    }
    let of_owner: Vec<AccountId> = ledger.accounts_of(id).map(Account::id).collect();
    let found = match currency {
        Some(currency) => of_owner.iter().find(|account| account.currency == currency).copied(),
        None if of_owner.len() > 1 => {
            let names: Vec<String> = of_owner.iter().map(|id| format!("{owner}:{}", id.currency)).collect();
            return Err(Failure::usage(format!("'{shown}' has several accounts"))
                .hint(format!("name one of them: {}", names.join(", ")))
                .into());
        }
        None => of_owner.first().copied(),
    };
    found.filter(|account| !account.is_issuance()).ok_or_else(|| {
        Failure::unknown(format!("there is no account '{shown}'"))
            .hint("`toka ledger accounts` shows what there is")
            .into()
    })
}

/// Reads the log's entries, from the first on.
fn walk(look: &Look, account: AccountId, range: Range<Timestamp>) -> Result<Statement, Stop> {
    let mut statement = Statement::new(account, range);
    look.each_header(0, |header| {
        match entry(header)? {
            Some(Facts::Entered(entry)) => statement.record(&entry, header.id, header.at),
            Some(Facts::AgentSpawned(spawned)) => {
                if let Some(money) = spawned.budget {
                    let carved = Carved { from: spawned.parent, to: spawned.agent, money };
                    statement.record(&Entry::from(carved), header.id, header.at);
                }
            }
            Some(Facts::LogForked(_)) => statement.fork(header.id, header.at),
            _ => {}
        }
        Ok(())
    })?;
    Ok(statement)
}

/// What an event may say of money.
fn entry(header: &EventHeader) -> Result<Option<Facts>, Stop> {
    let kind = header.kind.as_str();
    if kind.split('.').next() != Some(KINDS) && kind != "agent.spawned" && kind != "log.forked" {
        return Ok(None);
    }
    let (facts, _) = codec::decode(header).map_err(|error| Failure::integrity(error.to_string()))?;
    Ok(Some(facts))
}

/// What the call behind an event did cost: the event is its request, its outcome, or the payment.
pub(crate) fn cost(
    look: &Look,
    log: &toka_vault::LogId,
    header: &EventHeader,
) -> Result<Option<Money>, Stop> {
    if let Some(Facts::Entered(Entry::Settled(settled))) = entry(header)? {
        return Ok(Some(settled.charged));
    }
    let next: &[&str] = match header.kind.as_str() {
        "tool.requested" => &["tool.returned", "tool.resolved"],
        "tool.returned" | "tool.resolved" => &["ledger.settled"],
        _ => return Ok(None),
    };
    look.find_child(&header.id, log, |child| match next.contains(&child.kind.as_str()) {
        true => cost(look, log, &child),
        false => Ok(None),
    })
}

fn whole(context: &Context) -> Result<Look, Stop> {
    let look = Look::open(context)?;
    if look.is_whole() {
        return Ok(look);
    }
    let failure = Failure::failed(
        "the bundle does not begin with the log's first event: what accounts held before is not in it",
    );
    Err(failure.hint("`toka events list --kind ledger` shows the entries that are").into())
}

impl Row {
    fn new(account: &Account, world: &WorldState, now: Timestamp) -> Self {
        let id = account.id();
        let money = |amount: Amount| amount.of(id.currency);
        let limit = |budget: &Budget| Limit {
            most: money(budget.limit),
            period: budget.period,
            spent: money(budget.spent_at(now)),
        };
        let left = |budget: &&Budget| budget.limit.saturating_sub(budget.spent_at(now));
        Self {
            account: id,
            owner: author(world, id.owner),
            parent: account.parent().map(|owner| author(world, owner)),
            balance: money(account.balance()),
            held: money(account.held()),
            spent: money(account.spent()),
            delegated: money(account.delegated()),
            limit: account.budgets().iter().min_by_key(left).map(limit),
            limits: account.budgets().iter().map(limit).collect(),
        }
    }
}
