//! The ledger: accounts and holds, folded from entries.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use toka_types::entry::{BudgetSet, Carved, Entry, Held, Movement, Released, Settled};
use toka_types::{AccountId, Amount, Currency, EntityId, EventId, Timestamp};

use crate::account::{Account, Budget, Hold, Slot};

/// All accounts and holds. It is changed by [`Ledger::apply`] alone (and [`Ledger::fork`]).
///
/// Of each currency, the balances of all accounts, that of its issuance included, sum up to nothing, always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(from = "Stored"))]
pub struct Ledger {
    /// In the order in which they were opened.
    accounts: Vec<Account>,
    holds: BTreeMap<EventId, Hold>,
    #[cfg_attr(feature = "serde", serde(skip))]
    slots: BTreeMap<AccountId, Slot>,
}

/// A ledger as it is stored: where an account lies is found anew.
#[cfg(feature = "serde")]
#[derive(serde::Deserialize)]
struct Stored {
    accounts: Vec<Account>,
    holds: BTreeMap<EventId, Hold>,
}

#[cfg(feature = "serde")]
impl From<Stored> for Ledger {
    fn from(Stored { mut accounts, holds }: Stored) -> Self {
        for (slot, account) in accounts.iter_mut().enumerate() {
            // An account above is older. Walks upwards end because of that, so what says otherwise is below none.
            account.parent = account.parent.filter(|(_, above)| *above < slot);
        }
        let slots = accounts.iter().enumerate().map(|(slot, account)| (account.id, slot)).collect();
        Self { accounts, holds, slots }
    }
}

impl Ledger {
    /// A ledger without accounts.
    pub fn new() -> Self {
        Self::default()
    }

    /// The account of that id.
    pub fn account(&self, id: AccountId) -> Option<&Account> {
        self.slot(id).and_then(|slot| self.at(slot))
    }

    /// All accounts, by owner and currency; those that money is issued from come first.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.slots.values().filter_map(|slot| self.at(*slot))
    }

    /// The accounts of `owner`, by currency.
    pub fn accounts_of(&self, owner: EntityId) -> impl Iterator<Item = &Account> {
        let slots = self.slots.range(AccountId::new(owner, Currency::MIN)..);
        slots.take_while(move |(id, _)| id.owner == owner).filter_map(|(_, slot)| self.at(*slot))
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
        let issuance = self.account(AccountId::issuance(currency));
        issuance.map_or(Amount::ZERO, |account| account.balance.reversed())
    }

    /// Folds an entry that was decided. `by` is the event that it is a fact of, `at` that event's time.
    ///
    /// This is total and has no choices: what was decided, happens. Of an entry that was never decided (a damaged
    /// log has such) as much happens as is possible, and what it moves still balances.
    pub fn apply(&mut self, entry: &Entry, by: EventId, at: Timestamp) {
        let mut ended = None;
        match entry {
            Entry::Opened(f) => {
                self.open(AccountId::new(f.owner, f.currency), f.parent);
            }
            Entry::Limited(f) => self.limit(f, at),
            Entry::Carved(Carved { from, to, money }) => {
                self.open(AccountId::new(*to, money.currency), Some(*from));
            }
            Entry::Held(f) => self.begin_hold(f, by, at),
            Entry::Settled(Settled { hold, .. }) => ended = self.end_hold(*hold),
            Entry::Released(Released { hold, .. }) => drop(self.end_hold(*hold)),
            Entry::Minted(_) | Entry::Burnt(_) | Entry::Transferred(_) => {}
        }
        let Some(Movement { from, to, amount }) = entry.movement() else { return };
        let known = ended.filter(|hold| self.is_at(hold.from, from) && self.is_at(hold.to, to));
        let (from, to) = match known {
            Some(hold) => (hold.from, hold.to),
            None => (self.open(from, None), self.open(to, None)),
        };
        if self.counts_as_spent(entry, from, to) {
            self.count(from, to, amount, at);
        }
        let payer = &mut self.accounts[from];
        payer.balance = payer.balance.saturating_sub(amount);
        self.accounts[to].credit(amount);
    }

    /// Makes this the ledger of a fork: holds end, and all balances become a record of what was there
    /// ([`Account::inherited`]). Accounts and limits stay; the fork spends what is issued in it.
    pub fn fork(&mut self) {
        self.holds.clear();
        for account in &mut self.accounts {
            let fresh = Account::new(account.id, account.parent);
            let Account { balance, budgets, .. } = core::mem::replace(account, fresh);
            account.inherited = balance;
            account.budgets = budgets.into_iter().map(|b| Budget { spent: Amount::ZERO, ..b }).collect();
        }
    }

    pub(crate) fn slot(&self, id: AccountId) -> Option<Slot> {
        self.slots.get(&id).copied()
    }

    pub(crate) fn at(&self, slot: Slot) -> Option<&Account> {
        self.accounts.get(slot)
    }

    fn is_at(&self, slot: Slot, id: AccountId) -> bool {
        self.at(slot).is_some_and(|account| account.id == id)
    }

    fn above(&self, slot: Slot) -> Option<Slot> {
        self.at(slot)?.parent.map(|(_, above)| above)
    }

    /// The account there and those above it, upwards.
    pub(crate) fn upwards(&self, slot: Slot) -> impl Iterator<Item = (Slot, &Account)> {
        core::iter::successors(Some(slot), |slot| self.above(*slot))
            .map_while(|slot| self.at(slot).map(|account| (slot, account)))
    }

    /// Where money that `from` pays to `to` stays: the first account, upwards from both, that both are below. What is
    /// below that one, on the payer's side, has spent it. If all of the payer's side has, that is the payee.
    pub(crate) fn stays_in(&self, from: Slot, to: Slot) -> Slot {
        let (mut payer, mut payee) = (from, to);
        while payer != payee {
            // An account above has a lower place, so neither walk passes the place where they meet.
            let lower = if payer > payee { &mut payer } else { &mut payee };
            match self.above(*lower) {
                Some(above) => *lower = above,
                None => return to,
            }
        }
        payer
    }

    /// The accounts that have spent what `from` pays to `to`, upwards.
    pub(crate) fn spenders(&self, from: Slot, to: Slot) -> impl Iterator<Item = &Account> {
        let end = self.stays_in(from, to);
        self.upwards(from).take_while(move |(slot, _)| *slot != end).map(|(_, account)| account)
    }

    /// What is paid is spent by [`Ledger::spenders`], and so is what is given away, but for what is given back to an
    /// account above. (What is handed down has no spenders.)
    pub(crate) fn counts_as_spent(&self, entry: &Entry, from: Slot, to: Slot) -> bool {
        match entry {
            Entry::Settled(_) => true,
            Entry::Transferred(_) => !self.upwards(from).any(|(slot, _)| slot == to),
            _ => false,
        }
    }

    /// Where the account is; if there is none, it is opened.
    fn open(&mut self, id: AccountId, parent: Option<EntityId>) -> Slot {
        if let Some(slot) = self.slot(id) {
            return slot;
        }
        let above = |owner| Some((owner, self.slot(AccountId::new(owner, id.currency))?));
        self.accounts.push(Account::new(id, parent.and_then(above)));
        let slot = self.accounts.len() - 1;
        self.slots.insert(id, slot);
        slot
    }

    fn limit(&mut self, f: &BudgetSet, at: Timestamp) {
        let slot = self.open(AccountId::new(f.owner, f.currency), None);
        let budgets = &mut self.accounts[slot].budgets;
        match (budgets.binary_search_by_key(&f.period, |budget| budget.period), f.limit) {
            (Ok(place), Some(limit)) => budgets[place].limit = limit,
            (Ok(place), None) => drop(budgets.remove(place)),
            (Err(place), Some(limit)) => {
                let (period, until, spent) = (f.period, f.period.end(at), Amount::ZERO);
                budgets.insert(place, Budget { period, limit, until, spent });
            }
            (Err(_), None) => {}
        }
    }

    fn begin_hold(&mut self, f: &Held, id: EventId, at: Timestamp) {
        let account = AccountId::new(f.from, f.money.currency);
        let (from, to) = (self.open(account, None), self.open(AccountId::new(f.to, f.money.currency), None));
        let hold = Hold { account, payee: f.to, amount: f.money.amount, at, from, to };
        self.change_held(&hold, hold.amount);
        if let Some(before) = self.holds.insert(id, hold) {
            self.change_held(&before, before.amount.reversed());
        }
    }

    fn end_hold(&mut self, id: EventId) -> Option<Hold> {
        let hold = self.holds.remove(&id)?;
        self.change_held(&hold, hold.amount.reversed());
        Some(hold)
    }

    fn change_held(&mut self, hold: &Hold, by: Amount) {
        if let Some(account) = self.accounts.get_mut(hold.from) {
            account.held = account.held.saturating_add(by);
        }
        self.change_spenders(hold.from, hold.to, |_, account| {
            account.pending = account.pending.saturating_add(by);
        });
    }

    fn count(&mut self, from: Slot, to: Slot, amount: Amount, at: Timestamp) {
        self.change_spenders(from, to, |slot, account| {
            let counter = if slot == from { &mut account.spent } else { &mut account.delegated };
            *counter = counter.saturating_add(amount);
            for budget in &mut account.budgets {
                budget.spend(amount, at);
            }
        });
    }

    /// Changes what [`Ledger::spenders`] shows.
    fn change_spenders(&mut self, from: Slot, to: Slot, mut change: impl FnMut(Slot, &mut Account)) {
        let end = self.stays_in(from, to);
        let mut next = Some(from);
        while let Some(slot) = next.filter(|slot| *slot != end) {
            let Some(account) = self.accounts.get_mut(slot) else { return };
            change(slot, account);
            next = account.parent.map(|(_, above)| above);
        }
    }
}
