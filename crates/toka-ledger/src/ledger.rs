//! The ledger: accounts and holds, folded from entries.

use alloc::collections::BTreeMap;

use toka_types::entry::{BudgetSet, Carved, Entry, Held, Movement, Settled};
use toka_types::{AccountId, Amount, Currency, EntityId, EventId, Timestamp};

use crate::account::{Account, Budget, Hold};

/// All accounts and holds. It is changed by [`Ledger::apply`] alone (and [`Ledger::fork`]).
///
/// Of each currency, the balances of all accounts, that of its issuance included, sum up to nothing, always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Ledger {
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) holds: BTreeMap<EventId, Hold>,
}

impl Ledger {
    /// A ledger without accounts.
    pub fn new() -> Self {
        Self::default()
    }

    /// The account of that id.
    pub fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(&id)
    }

    /// All accounts, by owner and currency; those that money is issued from come first.
    pub fn accounts(&self) -> impl Iterator<Item = (AccountId, &Account)> {
        self.accounts.iter().map(|(id, account)| (*id, account))
    }

    /// The accounts of `owner`, by currency.
    pub fn accounts_of(&self, owner: EntityId) -> impl Iterator<Item = (AccountId, &Account)> {
        let first = AccountId::new(owner, Currency::MIN);
        let rest = self.accounts.range(first..);
        rest.take_while(move |(id, _)| id.owner == owner).map(|(id, account)| (*id, account))
    }

    /// The hold that the event `id` made, if it has not ended.
    pub fn hold(&self, id: EventId) -> Option<&Hold> {
        self.holds.get(&id)
    }

    /// All holds that have not ended, by the events that made them.
    pub fn holds(&self) -> impl Iterator<Item = (EventId, &Hold)> {
        self.holds.iter().map(|(id, hold)| (*id, hold))
    }

    /// How much of `currency` is in circulation.
    pub fn issued(&self, currency: Currency) -> Amount {
        let issuance = self.accounts.get(&AccountId::issuance(currency));
        issuance.map_or(Amount::ZERO, |account| account.balance.reversed())
    }

    /// Folds an entry that was decided. `by` is the event that it is a fact of, `at` that event's time.
    ///
    /// This is total and has no choices: what was decided, happens. Of an entry that was never decided (a damaged
    /// log has such) as much happens as is possible, and what it moves still balances.
    pub fn apply(&mut self, entry: &Entry, by: EventId, at: Timestamp) {
        match entry {
            Entry::Opened(f) => self.open(AccountId::new(f.owner, f.currency), f.parent),
            Entry::Limited(f) => self.limit(f, at),
            Entry::Carved(Carved { from, to, money }) => {
                self.open(AccountId::new(*to, money.currency), Some(*from));
            }
            Entry::Held(Held { from, to, money }) => {
                let account = AccountId::new(*from, money.currency);
                self.begin_hold(by, Hold { account, payee: *to, amount: money.amount, at });
            }
            Entry::Settled(f) => self.end_hold(f.hold),
            Entry::Released(f) => self.end_hold(f.hold),
            Entry::Minted(_) | Entry::Burnt(_) | Entry::Transferred(_) => {}
        }
        if let Some(movement) = entry.movement() {
            if self.counts_as_spent(entry, &movement) {
                self.count(&movement, at);
            }
            self.shift(&movement);
        }
    }

    /// Makes this the ledger of a fork: holds end, and all balances become a record of what was there
    /// ([`Account::inherited`]). Accounts and limits stay; the fork spends what is issued in it.
    pub fn fork(&mut self) {
        self.holds.clear();
        for account in self.accounts.values_mut() {
            let Account { parent, balance, budgets, .. } = core::mem::take(account);
            let fresh = |budget: Budget| Budget { spent: Amount::ZERO, ..budget };
            let budgets = budgets.into_iter().map(fresh).collect();
            *account = Account { parent, budgets, inherited: balance, ..Account::default() };
        }
    }

    /// The account `id` and those above it, upwards. An account's parent is older than itself, so this ends.
    pub(crate) fn upwards(&self, id: AccountId) -> impl Iterator<Item = (AccountId, &Account)> {
        let with_id = |id| self.accounts.get(&id).map(|account| (id, account));
        core::iter::successors(with_id(id), move |(id, account)| {
            with_id(AccountId::new(account.parent?, id.currency))
        })
    }

    /// True if `upper` is `lower` or above it.
    pub(crate) fn is_above(&self, upper: AccountId, lower: AccountId) -> bool {
        upper == lower || self.upwards(lower).any(|(id, _)| id == upper)
    }

    /// Where money that `from` pays to `to` stays: the first account, upwards from `from`, that `to` is below. The
    /// accounts before it have spent it.
    pub(crate) fn stays_in(&self, from: AccountId, to: AccountId) -> AccountId {
        match self.accounts.get(&to) {
            Some(payee) if payee.parent.is_some() => {
                let shared = self.upwards(from).find(|(id, _)| self.is_above(*id, to));
                shared.map_or(to, |(id, _)| id)
            }
            _ => to,
        }
    }

    /// What is paid is spent, and so is what is given away. What is handed down to an account below, or back to one
    /// above, is not.
    pub(crate) fn counts_as_spent(&self, entry: &Entry, movement: &Movement) -> bool {
        let (from, to) = (movement.from, movement.to);
        match entry {
            Entry::Settled(Settled { .. }) => true,
            Entry::Transferred(_) => !self.is_above(from, to) && !self.is_above(to, from),
            _ => false,
        }
    }

    fn open(&mut self, id: AccountId, parent: Option<EntityId>) {
        if self.accounts.contains_key(&id) {
            return;
        }
        // An account above is there first: that is why walks upwards end.
        let parent = parent.filter(|owner| self.accounts.contains_key(&AccountId::new(*owner, id.currency)));
        self.accounts.insert(id, Account { parent, ..Account::default() });
    }

    fn limit(&mut self, f: &BudgetSet, at: Timestamp) {
        let account = self.accounts.entry(AccountId::new(f.owner, f.currency)).or_default();
        let place = account.budgets.binary_search_by_key(&f.period, |budget| budget.period);
        match (place, f.limit) {
            (Ok(place), Some(limit)) => account.budgets[place].limit = limit,
            (Ok(place), None) => drop(account.budgets.remove(place)),
            (Err(place), Some(limit)) => {
                let number = f.period.number(at);
                let budget = Budget { period: f.period, limit, number, spent: Amount::ZERO };
                account.budgets.insert(place, budget);
            }
            (Err(_), None) => {}
        }
    }

    fn begin_hold(&mut self, id: EventId, hold: Hold) {
        self.end_hold(id);
        self.change_held(&hold, hold.amount);
        self.holds.insert(id, hold);
    }

    fn end_hold(&mut self, id: EventId) {
        if let Some(hold) = self.holds.remove(&id) {
            self.change_held(&hold, hold.amount.reversed());
        }
    }

    fn change_held(&mut self, hold: &Hold, by: Amount) {
        let account = self.accounts.entry(hold.account).or_default();
        account.held = account.held.saturating_add(by);
        let payee = AccountId::new(hold.payee, hold.account.currency);
        self.spenders(hold.account, payee, |_, account| {
            account.pending = account.pending.saturating_add(by);
        });
    }

    fn count(&mut self, movement: &Movement, at: Timestamp) {
        let Movement { from, to, amount } = *movement;
        self.spenders(from, to, |id, account| {
            let own = if id == from { &mut account.spent } else { &mut account.delegated };
            *own = own.saturating_add(amount);
            for budget in &mut account.budgets {
                budget.spend(amount, at);
            }
        });
    }

    /// Changes the accounts that have spent what `from` pays to `to`.
    fn spenders(&mut self, from: AccountId, to: AccountId, mut change: impl FnMut(AccountId, &mut Account)) {
        let end = self.stays_in(from, to);
        let mut next = Some(from).filter(|id| *id != end);
        while let Some(id) = next {
            let Some(account) = self.accounts.get_mut(&id) else { return };
            change(id, account);
            let parent = account.parent.map(|owner| AccountId::new(owner, id.currency));
            next = parent.filter(|id| *id != end);
        }
    }

    fn shift(&mut self, Movement { from, to, amount }: &Movement) {
        let payer = self.accounts.entry(*from).or_default();
        payer.balance = payer.balance.saturating_sub(*amount);
        self.accounts.entry(*to).or_default().credit(*amount);
    }
}
