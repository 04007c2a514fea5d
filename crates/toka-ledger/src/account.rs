//! Accounts: what they hold, what is kept back, what they and those below them have spent.

use alloc::vec::Vec;

use toka_types::entry::{Level, Measure, Period};
use toka_types::{AccountId, Amount, EntityId, Timestamp};

/// From this share of what there is on, a level is [`Level::Warned`]: in percent.
pub const WARN_AT_PERCENT: i128 = 80;

/// The place of an account in its ledger. They never move, and an account's parent has a lower one.
pub(crate) type Slot = usize;

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Account {
    pub(crate) id: AccountId,
    pub(crate) parent: Option<(EntityId, Slot)>,
    pub(crate) balance: Amount,
    pub(crate) held: Amount,
    /// Kept back for payments that will count as spent by this account: its own, and of those below it.
    pub(crate) pending: Amount,
    pub(crate) spent: Amount,
    pub(crate) delegated: Amount,
    /// What was spent when the count of its funds began. What it spent since, and its balance, are the funds.
    pub(crate) counted_from: Amount,
    pub(crate) budgets: Vec<Budget>,
    pub(crate) inherited: Amount,
}

impl Account {
    pub(crate) fn new(id: AccountId, parent: Option<(EntityId, Slot)>) -> Self {
        let zero = Amount::ZERO;
        let (balance, held, pending, spent) = (zero, zero, zero, zero);
        let (delegated, counted_from, inherited, budgets) = (zero, zero, zero, Vec::new());
        Self { id, parent, balance, held, pending, spent, delegated, counted_from, budgets, inherited }
    }

    /// Its id.
    pub fn id(&self) -> AccountId {
        self.id
    }

    /// The owner of the account above it, which is one of the same currency.
    pub fn parent(&self) -> Option<EntityId> {
        self.parent.map(|(owner, _)| owner)
    }

    /// What it holds, with what is kept back; below zero it is a debt.
    pub fn balance(&self) -> Amount {
        self.balance
    }

    /// How much of it is kept back.
    pub fn held(&self) -> Amount {
        self.held
    }

    /// How much of it can be spent. Below zero, this is what the owner owes.
    pub fn available(&self) -> Amount {
        self.balance.saturating_sub(self.held)
    }

    /// What the account itself ever spent.
    pub fn spent(&self) -> Amount {
        self.spent
    }

    /// What the accounts below it ever spent, as far as the money left all that is below this one.
    pub fn delegated(&self) -> Amount {
        self.delegated
    }

    /// All that the account was given and has not passed on: what it spent and what it holds.
    pub fn funds(&self) -> Amount {
        self.spent.saturating_add(self.balance)
    }

    /// Its limits, the shortest period first.
    pub fn budgets(&self) -> &[Budget] {
        &self.budgets
    }

    /// In a fork, what the account held in the log that was forked: for the record, it cannot be spent.
    pub fn inherited(&self) -> Amount {
        self.inherited
    }

    /// How much of its funds is used up, and how much they are, since the count of them began.
    pub(crate) fn funds_used(&self) -> (Amount, Amount) {
        let used = self.spent.saturating_sub(self.counted_from);
        (used, used.saturating_add(self.balance))
    }

    /// Takes money in. Where a warning was due, a new count of the funds begins, so that the next one comes in time.
    pub(crate) fn credit(&mut self, amount: Amount) {
        let (used, limit) = self.funds_used();
        if level(used, limit).is_some() {
            self.counted_from = self.spent;
        }
        self.balance = self.balance.saturating_add(amount);
    }

    /// What of this account is exhausted at `at`: measure, used, limit.
    pub(crate) fn exhausted(&self, at: Timestamp) -> Option<(Measure, Amount, Amount)> {
        let funds = self.funds_used();
        let budgets = self.budgets.iter().map(|b| (Measure::Budget(b.period), b.spent_at(at), b.limit));
        core::iter::once((Measure::Funds, funds.0, funds.1))
            .chain(budgets)
            .find(|(_, used, limit)| level(*used, *limit) == Some(Level::Exhausted))
    }
}

/// The most that an account and those below it may spend in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Budget {
    /// The period.
    pub period: Period,
    /// The most.
    pub limit: Amount,
    /// The end of the period in which `spent` was spent.
    pub(crate) until: Timestamp,
    pub(crate) spent: Amount,
}

impl Budget {
    /// What was spent in the period in which `at` lies. Of a time that is past already, the latest period counts.
    pub fn spent_at(&self, at: Timestamp) -> Amount {
        if at >= self.until { Amount::ZERO } else { self.spent }
    }

    pub(crate) fn spend(&mut self, amount: Amount, at: Timestamp) {
        if at >= self.until {
            (self.spent, self.until) = (Amount::ZERO, self.period.end(at));
        }
        self.spent = self.spent.saturating_add(amount);
    }
}

/// Money that is kept back for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Hold {
    /// Who is going to pay.
    pub account: AccountId,
    /// Who is going to be paid.
    pub payee: EntityId,
    /// How much is kept back.
    pub amount: Amount,
    /// Since when: the prices of that time hold for the call.
    pub at: Timestamp,
    pub(crate) from: Slot,
    pub(crate) to: Slot,
}

/// The level that `used` of `limit` is.
pub(crate) fn level(used: Amount, limit: Amount) -> Option<Level> {
    if used <= Amount::ZERO {
        None
    } else if used >= limit {
        Some(Level::Exhausted)
    } else if used.0.saturating_mul(100) >= limit.0.saturating_mul(WARN_AT_PERCENT) {
        Some(Level::Warned)
    } else {
        None
    }
}
