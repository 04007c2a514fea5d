//! Money: accounts, what is moved between them, and what calls cost.

use toka_ledger::{Cost, Decision, Hold, LedgerError, worst_case};
use toka_types::entry::{Entry, Level, Transferred};
use toka_types::facts::{AgentChanged, Facts};
use toka_types::operation::{LedgerRequest, Parent, ToolRequest};
use toka_types::price::{Price, Usage};
use toka_types::{AccountId, Amount, EntityId, EventId, Money, Name, Timestamp};

use super::{Asked, Decided, decided, one};
use crate::denial::{Code, Denied};
use crate::world::AgentState;

impl Asked<'_> {
    pub(super) fn enter(&self, request: &LedgerRequest) -> Result<Vec<Decided>, Denied> {
        let ledger = &self.world.authorities.ledger;
        match *request {
            LedgerRequest::Open { owner, currency, parent } => {
                let asked = "ledger:open";
                self.may_open(owner, parent, asked)?;
                let opened = ledger.check_open(AccountId::new(owner, currency), parent);
                Ok(one(Facts::Entered(self.entry(opened, asked)?)))
            }
            LedgerRequest::Limit { owner, currency, period, limit } => {
                self.stands_under(owner, "ledger:limit")?;
                self.is_not_own(owner, "ledger:limit")?;
                let limited = ledger.check_limit(AccountId::new(owner, currency), period, limit);
                Ok(one(Facts::Entered(self.entry(limited, "ledger:limit")?)))
            }
            LedgerRequest::Mint { to, money } => {
                let minted = ledger.check_mint(account(to, money), money);
                Ok(one(Facts::Entered(self.entry(minted, "ledger:mint")?)))
            }
            LedgerRequest::Burn { from, money } => {
                self.stands_under(from, "ledger:burn")?;
                let burnt = ledger.check_burn(account(from, money), money);
                Ok(one(Facts::Entered(self.entry(burnt, "ledger:burn")?)))
            }
            LedgerRequest::Transfer { from, to, money } => {
                self.stands_under(from, "ledger:spend")?;
                let (payer, payee) = (account(from, money), account(to, money));
                let transferred = ledger.check_transfer(payer, payee, money, self.at);
                let decision = self.entry(transferred, "ledger:spend")?;
                Ok(self.entered(&decision))
            }
            LedgerRequest::TopUp { from, to, money } => {
                self.stands_under(from, "ledger:spend")?;
                let carved = ledger.check_carve(account(from, money), account(to, money), money);
                Ok(one(Facts::Entered(self.entry(carved, "ledger:spend")?)))
            }
        }
    }

    pub(super) fn set_price(
        &self,
        item: &Name,
        from: Timestamp,
        price: Option<Price>,
    ) -> Result<Vec<Decided>, Denied> {
        let asked = "price:set";
        let set = self.world.authorities.prices.check_set(item, from.max(self.at), price, self.at);
        Ok(one(Facts::PriceSet(self.entry(set, asked)?)))
    }

    /// What a new agent is given, from the account of whoever spawns it.
    pub(super) fn budget(&self, agent: EntityId, money: Money) -> Result<(), Denied> {
        let (from, to) = (account(self.envelope.origin, money), account(agent, money));
        let carved = self.world.authorities.ledger.check_carve(from, to, money);
        self.entry(carved, "ledger:spend").map(drop)
    }

    /// Keeps back what a call may cost at most, where it has a price. The request is the first event of the operation.
    pub(super) fn hold(&self, request: &ToolRequest) -> Result<Option<Decided>, Denied> {
        let Some(price) = self.world.authorities.prices.at(&request.tool, self.at) else { return Ok(None) };
        let asked = "ledger:spend";
        let money = self.entry(worst_case(price, &request.bounds), asked)?;
        if money.amount.0 == 0 {
            return Ok(None);
        }
        let (from, to) = (account(self.envelope.origin, money), account(price.payee, money));
        let held = self.world.authorities.ledger.check_hold(from, to, money, self.at);
        let mut event = decided(Facts::Entered(self.entry(held, asked)?), None);
        event.parents.push(Parent::Earlier(0));
        Ok(Some(event))
    }

    /// Ends a hold with what the call used; `None`: it did not happen. This is never refused while the hold is known.
    pub(super) fn settle(
        &self,
        hold: EventId,
        tool: &Name,
        usage: Option<&Usage>,
    ) -> Result<Vec<Decided>, Denied> {
        let asked = "tool:return";
        let ledger = &self.world.authorities.ledger;
        let Some(kept) = ledger.hold(hold) else { return Ok(Vec::new()) };
        let price = self.world.authorities.prices.at(tool, kept.at);
        let Some((usage, price)) = usage.zip(price) else {
            let released = self.entry(ledger.check_release(hold), asked)?;
            return Ok(after(self.with_rest(kept, one(Facts::Entered(released)))));
        };
        let decision = self.entry(ledger.check_settle(hold, Cost::of(price, usage), self.at), asked)?;
        Ok(after(self.with_rest(kept, self.entered(&decision))))
    }

    /// The events that end a hold, and what is left of it where its owner was stopped meanwhile: that goes where the rest of
    /// the account went then.
    fn with_rest(&self, kept: &Hold, mut events: Vec<Decided>) -> Vec<Decided> {
        let owner = kept.account.owner;
        if self.world.agent(owner).is_none_or(|agent| agent.state != AgentState::Stopped) {
            return events;
        }
        let charged = events.iter().find_map(|event| match event.facts {
            Facts::Entered(Entry::Settled(settled)) => Some(settled.charged.amount.0),
            _ => None,
        });
        let account = self.world.authorities.ledger.account(kept.account);
        let Some((account, to)) = account.and_then(|account| Some((account, account.parent()?))) else {
            return events;
        };
        let freed = kept.amount.0.saturating_sub(charged.unwrap_or_default());
        let left = Amount(account.available().0.saturating_add(freed));
        if left > Amount::ZERO {
            let money = left.of(kept.account.currency);
            let given_back = Transferred { from: owner, to, money };
            let mut event = decided(Facts::Entered(given_back.into()), None);
            event.parents.push(Parent::Earlier(0));
            events.push(event);
        }
        events
    }

    /// Ends a hold with all that was kept back: the call happened, and nobody knows what it used.
    pub(super) fn settle_whole(&self, hold: EventId) -> Result<Vec<Decided>, Denied> {
        let ledger = &self.world.authorities.ledger;
        let Some(kept) = ledger.hold(hold) else { return Ok(Vec::new()) };
        let settled = ledger.check_settle(hold, Cost::from(kept.amount), self.at);
        let decision = self.entry(settled, "effect:resolve")?;
        Ok(after(self.with_rest(kept, self.entered(&decision))))
    }

    /// What an agent that is stopped gives back to the account above its own.
    pub(super) fn reclaim(&self, agent: EntityId, events: &mut Vec<Decided>) {
        let ledger = &self.world.authorities.ledger;
        for entry in ledger.accounts_of(agent).filter_map(|account| ledger.reclaim(account.id())) {
            let mut event = decided(Facts::Entered(entry), None);
            event.parents.push(Parent::Earlier(0));
            events.push(event);
        }
    }

    /// A suspended agent goes on if its money allows it.
    pub(super) fn may_resume(&self, agent: EntityId) -> Result<(), Denied> {
        let may = self.world.authorities.ledger.check_resume(agent, self.at);
        self.entry(may, "agent:resume")
    }

    /// The entry, then who is warned, and who is suspended because money or a budget is used up.
    fn entered(&self, decision: &Decision) -> Vec<Decided> {
        let mut events = one(Facts::Entered(decision.entry));
        let mut suspended: Vec<EntityId> = Vec::new();
        for notice in &decision.notices {
            let mut event = decided(Facts::Noticed(*notice), None);
            event.parents.push(Parent::Earlier(0));
            events.push(event);
            let agent = notice.owner;
            let running = |id| self.world.agent(id).is_some_and(|agent| agent.state == AgentState::Running);
            if notice.level == Level::Exhausted && running(agent) && !suspended.contains(&agent) {
                let mut event = decided(Facts::AgentSuspended(AgentChanged { agent }), None);
                event.parents.push(Parent::Earlier(events.len() - 1));
                events.push(event);
                suspended.push(agent);
            }
        }
        events
    }

    /// An account is opened for whoever stands under the asker, and below an account of one of these, so that nobody's
    /// spending counts elsewhere than it should: one's own is opened below that of whoever gave one's grant. Who is paid
    /// alone and unknown otherwise may have an account that stands for itself.
    fn may_open(&self, owner: EntityId, parent: Option<EntityId>, asked: &str) -> Result<(), Denied> {
        let world = self.world;
        let is_known = world.name_of(owner).is_some();
        if is_known {
            self.stands_under(owner, asked)?;
        }
        let giver = || {
            let given_by = world.grant(world.grant_of(owner)?)?.cut_from?;
            world.grant(given_by).map(|grant| grant.subject)
        };
        match parent {
            Some(parent) if owner == self.envelope.origin && giver() == Some(parent) => Ok(()),
            Some(parent) => self.stands_under(parent, asked),
            None if !is_known => Ok(()),
            None if world.operator.is_some_and(|(operator, _)| operator == self.envelope.origin) => Ok(()),
            None => {
                let rule = format!("the account of {} has to stand below another", self.named(owner));
                Err(self.deny(Code::NotADescendant, asked, rule))
            }
        }
    }

    /// Money is moved by whoever has it, by whoever stands above, and by the operator.
    fn stands_under(&self, owner: EntityId, asked: &str) -> Result<(), Denied> {
        let origin = self.envelope.origin;
        let (own, _) = self.grant(asked)?;
        let is_operator = self.world.operator.is_some_and(|(operator, _)| operator == origin);
        let of_owner = self.world.grant_of(owner);
        if owner == origin || is_operator || of_owner.is_some_and(|grant| self.world.is_cut_from(grant, own))
        {
            return Ok(());
        }
        let rule = format!("{} does not stand under grant {own}", self.named(owner));
        Err(self.deny(Code::NotADescendant, asked, rule))
    }

    /// A limit is set by somebody above; nobody is above the operator.
    fn is_not_own(&self, owner: EntityId, asked: &str) -> Result<(), Denied> {
        let is_operator = self.world.operator.is_some_and(|(operator, _)| operator == owner);
        if owner != self.envelope.origin || is_operator {
            return Ok(());
        }
        let rule = format!("{} would change a limit of its own; ask whoever stands above", self.named(owner));
        Err(self.deny(Code::NotADescendant, asked, rule))
    }

    fn named(&self, id: EntityId) -> String {
        self.world.name_of(id).map_or_else(|| id.to_string(), str::to_owned)
    }

    fn entry<T>(&self, result: Result<T, LedgerError>, asked: &str) -> Result<T, Denied> {
        result.map_err(|error| {
            self.deny(Code::Ledger(error.code()), asked, error.named(|id| self.world.name_of(id)))
        })
    }
}

fn account(owner: EntityId, money: Money) -> AccountId {
    AccountId::new(owner, money.currency)
}

/// The events that follow the first one of an operation, which is made of something else: their indices move on by one,
/// and the first of them has it as its cause.
fn after(mut events: Vec<Decided>) -> Vec<Decided> {
    for (index, event) in events.iter_mut().enumerate() {
        for parent in &mut event.parents {
            if let Parent::Earlier(earlier) = parent {
                *earlier += 1;
            }
        }
        if index == 0 {
            event.parents.push(Parent::Earlier(0));
        }
    }
    events
}
