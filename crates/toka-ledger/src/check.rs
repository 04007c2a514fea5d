//! What may be entered: decisions, which change nothing.

use alloc::vec::Vec;

use toka_types::entry::{
    AccountOpened, BudgetSet, Burnt, Carved, Entry, Held, Level, Measure, Minted, Notice, Period, Released,
    Settled, Transferred,
};
use toka_types::{AccountId, Amount, EntityId, EventId, Money, Timestamp};

use crate::account::{Account, Slot, level};
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::price::Cost;

/// Most accounts above one another: what one spends is counted in all of them.
pub const MAX_DEPTH: usize = 64;

/// An entry that may be made, and whom it brings how close to the end of what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The entry.
    pub entry: Entry,
    /// Whom to warn and whom to suspend, once it is made.
    pub notices: Vec<Notice>,
}

impl Ledger {
    /// May this account be opened? `parent` owns the account above it, which is one of the same currency.
    pub fn check_open(&self, id: AccountId, parent: Option<EntityId>) -> Result<Entry, LedgerError> {
        not_issuance(id)?;
        if self.slot(id).is_some() {
            return Err(LedgerError::AccountExists { account: id });
        }
        if let Some(owner) = parent {
            let above = AccountId::new(owner, id.currency);
            self.check_depth(above, self.known(above)?)?;
        }
        Ok(AccountOpened { owner: id.owner, currency: id.currency, parent }.into())
    }

    /// May the spending of this account, and of those below it, be limited to `limit` in a period? `None` lifts it.
    pub fn check_limit(
        &self,
        id: AccountId,
        period: Period,
        limit: Option<Amount>,
    ) -> Result<Entry, LedgerError> {
        self.known(id)?;
        let (owner, currency) = (id.owner, id.currency);
        match limit {
            Some(limit) if limit < Amount::ZERO => Err(LedgerError::Amount { money: limit.of(currency) }),
            Some(limit) if limit > Amount::LIMIT => Err(too_large(limit.of(currency))),
            _ => Ok(BudgetSet { owner, currency, period, limit }.into()),
        }
    }

    /// May `money` be issued to `to`?
    pub fn check_mint(&self, to: AccountId, money: Money) -> Result<Entry, LedgerError> {
        self.receives(to, money)?;
        let issued = self.issued(money.currency).saturating_add(money.amount);
        if issued > Amount::LIMIT {
            return Err(LedgerError::Overflow { value: issued.of(money.currency), limit: Amount::LIMIT });
        }
        Ok(Minted { to: to.owner, money }.into())
    }

    /// May `money` of `from` be destroyed?
    pub fn check_burn(&self, from: AccountId, money: Money) -> Result<Entry, LedgerError> {
        self.gives(from, money)?;
        Ok(Burnt { from: from.owner, money }.into())
    }

    /// May `money` go from one account to another at `at`?
    pub fn check_transfer(
        &self,
        from: AccountId,
        to: AccountId,
        money: Money,
        at: Timestamp,
    ) -> Result<Decision, LedgerError> {
        let (payer, payee) = self.between(from, to, money)?;
        let entry = Entry::from(Transferred { from: from.owner, to: to.owner, money });
        let mut notices = Vec::new();
        if self.counts_as_spent(&entry, payer, payee) {
            self.within_budgets(payer, payee, money.amount, at)?;
            self.notice(payer, payee, money.amount, at, &mut notices);
        }
        Ok(Decision { entry, notices })
    }

    /// May `money` of `from` be handed down to an account below it? If there is none yet, the entry opens it.
    pub fn check_carve(&self, from: AccountId, to: AccountId, money: Money) -> Result<Entry, LedgerError> {
        payable(from, to, money)?;
        let giver = self.gives(from, money)?;
        match self.account(to).map(Account::parent) {
            Some(parent) if parent == Some(from.owner) => {}
            Some(parent) => return Err(LedgerError::Parent { account: to, parent, wanted: from.owner }),
            None => self.check_depth(from, giver)?,
        }
        Ok(Carved { from: from.owner, to: to.owner, money }.into())
    }

    /// What is to be given back to the account above, where an owner is done: all that is not kept back.
    pub fn reclaim(&self, id: AccountId) -> Option<Entry> {
        let account = self.account(id)?;
        let (to, amount) = (account.parent()?, account.available());
        let money = amount.of(id.currency);
        (amount > Amount::ZERO).then(|| Transferred { from: id.owner, to, money }.into())
    }

    /// May `money` of `from` be kept back at `at`, for a call that `to` is going to be paid for? It is what the call
    /// may cost at most. The hold is made by the event with this entry, and has its id.
    pub fn check_hold(
        &self,
        from: AccountId,
        to: AccountId,
        money: Money,
        at: Timestamp,
    ) -> Result<Entry, LedgerError> {
        let (payer, payee) = self.between(from, to, money)?;
        self.within_budgets(payer, payee, money.amount, at)?;
        Ok(Held { from: from.owner, to: to.owner, money }.into())
    }

    /// Ends a hold with what the call did cost.
    ///
    /// This fails for a hold that is none, and for nothing else. The cost is rounded here and nowhere else, upwards. If
    /// it is above what was kept back, the difference is taken from what the account has beside it, or becomes a debt;
    /// in both cases a notice says that the owner is to be suspended.
    pub fn check_settle(&self, hold: EventId, cost: Cost, at: Timestamp) -> Result<Decision, LedgerError> {
        let kept = self.hold(hold).ok_or(LedgerError::HoldUnknown { hold })?;
        let (from, charged) = (kept.account, cost.rounded_up());
        let settled = Settled {
            hold,
            from: from.owner,
            to: kept.payee,
            held: kept.amount,
            charged: charged.of(from.currency),
        };
        let mut notices = Vec::new();
        if charged > kept.amount {
            let (used, limit) = (charged, kept.amount);
            notices.push(notice(from, Level::Exhausted, Measure::Hold, used, limit));
        }
        self.notice(kept.from, kept.to, charged, at, &mut notices);
        Ok(Decision { entry: settled.into(), notices })
    }

    /// Ends a hold of a call that did not happen, or that costs nothing.
    pub fn check_release(&self, hold: EventId) -> Result<Entry, LedgerError> {
        let kept = self.hold(hold).ok_or(LedgerError::HoldUnknown { hold })?;
        let money = kept.amount.of(kept.account.currency);
        Ok(Released { hold, from: kept.account.owner, money }.into())
    }

    /// May an owner who was suspended go on at `at`? Not with a debt, nor with an account of which all is used up.
    pub fn check_resume(&self, owner: EntityId, at: Timestamp) -> Result<(), LedgerError> {
        for account in self.accounts_of(owner) {
            let (id, available) = (account.id, account.available());
            if available < Amount::ZERO {
                return Err(LedgerError::Debt { account: id, debt: available.reversed() });
            }
            if let Some((measure, used, limit)) = account.exhausted(at) {
                return Err(LedgerError::Exhausted { account: id, measure, used, limit });
            }
        }
        Ok(())
    }

    fn known(&self, id: AccountId) -> Result<Slot, LedgerError> {
        not_issuance(id)?;
        self.slot(id).ok_or(LedgerError::AccountUnknown { account: id })
    }

    /// May an account be opened below this one?
    fn check_depth(&self, id: AccountId, slot: Slot) -> Result<(), LedgerError> {
        match self.upwards(slot).count() {
            depth if depth > MAX_DEPTH => Err(LedgerError::Depth { account: id, depth }),
            _ => Ok(()),
        }
    }

    fn receives(&self, id: AccountId, money: Money) -> Result<Slot, LedgerError> {
        positive(money)?;
        same_currency(id, money)?;
        self.known(id)
    }

    fn gives(&self, id: AccountId, money: Money) -> Result<Slot, LedgerError> {
        let slot = self.receives(id, money)?;
        let available = self.at(slot).map_or(Amount::ZERO, Account::available);
        if available < money.amount {
            return Err(LedgerError::Funds { account: id, available, asked: money.amount });
        }
        Ok(slot)
    }

    /// Giver and receiver, where they are.
    fn between(&self, from: AccountId, to: AccountId, money: Money) -> Result<(Slot, Slot), LedgerError> {
        positive(money)?;
        payable(from, to, money)?;
        let payee = self.receives(to, money)?;
        Ok((self.gives(from, money)?, payee))
    }

    /// Every account that would have spent the money may spend it in every period, holds counted as spent.
    fn within_budgets(&self, from: Slot, to: Slot, asked: Amount, at: Timestamp) -> Result<(), LedgerError> {
        for account in self.spenders(from, to) {
            for budget in &account.budgets {
                let used = budget.spent_at(at).saturating_add(account.pending);
                if used.saturating_add(asked) > budget.limit {
                    let (period, limit) = (budget.period, budget.limit);
                    return Err(LedgerError::Budget { account: account.id, period, limit, used, asked });
                }
            }
        }
        Ok(())
    }

    /// Adds what is to be said of the accounts that spend the money.
    fn notice(&self, from: Slot, to: Slot, spent: Amount, at: Timestamp, notices: &mut Vec<Notice>) {
        for (place, account) in self.spenders(from, to).enumerate() {
            let mut reach = |measure, used: Amount, limit| {
                let after = level(used.saturating_add(spent), limit);
                if let Some(reached) = after.filter(|_| after > level(used, limit)) {
                    notices.push(notice(account.id, reached, measure, used.saturating_add(spent), limit));
                }
            };
            // The first is the one that pays.
            if place == 0 {
                let (used, limit) = account.funds_used();
                reach(Measure::Funds, used, limit);
            }
            for budget in &account.budgets {
                reach(Measure::Budget(budget.period), budget.spent_at(at), budget.limit);
            }
        }
    }
}

fn notice(id: AccountId, level: Level, measure: Measure, used: Amount, limit: Amount) -> Notice {
    Notice { owner: id.owner, currency: id.currency, level, measure, used, limit }
}

fn positive(money: Money) -> Result<(), LedgerError> {
    if money.amount <= Amount::ZERO {
        return Err(LedgerError::Amount { money });
    }
    if money.amount > Amount::LIMIT {
        return Err(too_large(money));
    }
    Ok(())
}

fn too_large(money: Money) -> LedgerError {
    LedgerError::Overflow { value: money, limit: Amount::LIMIT }
}

fn same_currency(account: AccountId, money: Money) -> Result<(), LedgerError> {
    if account.currency != money.currency {
        return Err(LedgerError::Currency { account, money });
    }
    Ok(())
}

fn payable(from: AccountId, to: AccountId, money: Money) -> Result<(), LedgerError> {
    same_currency(from, money)?;
    same_currency(to, money)?;
    not_issuance(from)?;
    not_issuance(to)?;
    if from == to {
        return Err(LedgerError::SelfTransfer { account: from });
    }
    Ok(())
}

fn not_issuance(account: AccountId) -> Result<(), LedgerError> {
    if account.is_issuance() {
        return Err(LedgerError::Issuance { currency: account.currency });
    }
    Ok(())
}
