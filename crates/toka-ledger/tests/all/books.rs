//! A ledger with its log, and short ways to ask it something.

use toka_ledger::{Cost, Decision, Ledger, LedgerError};
use toka_types::entry::{Entry, Notice, Period};
use toka_types::{AccountId, Amount, Digest, EntityId, EventId, Money, Timestamp};

pub(crate) const HOUR: i64 = 3_600_000_000;
pub(crate) const DAY: i64 = 24 * HOUR;

/// A ledger, what was entered into it, and the time.
#[derive(Clone, Default)]
pub(crate) struct Books {
    pub(crate) ledger: Ledger,
    pub(crate) log: Vec<(Entry, EventId, Timestamp)>,
    pub(crate) at: Timestamp,
}

impl Books {
    /// The operator has 100 USD, from which `a` has 10 and, of those, `a/child` 2. `shop` is paid.
    pub(crate) fn inhabited() -> Self {
        let mut books = Self::default();
        for name in ["operator", "shop"] {
            books.enter(books.ledger.check_open(account(name), None)).expect("it is new");
        }
        books.enter(books.ledger.check_mint(account("operator"), money("100 USD"))).expect("it is little");
        books.carve("operator", "a", "10 USD");
        books.carve("a", "a/child", "2 USD");
        books
    }

    /// Enters what was decided; the id of its event.
    pub(crate) fn enter(&mut self, decided: Result<Entry, LedgerError>) -> Result<EventId, LedgerError> {
        let entry = decided?;
        let id = event(self.log.len());
        self.ledger.apply(&entry, id, self.at);
        self.log.push((entry, id, self.at));
        Ok(id)
    }

    pub(crate) fn enter_with(
        &mut self,
        decided: Result<Decision, LedgerError>,
    ) -> Result<Vec<Notice>, LedgerError> {
        let Decision { entry, notices } = decided?;
        self.enter(Ok(entry))?;
        Ok(notices)
    }

    pub(crate) fn carve(&mut self, from: &str, to: &str, amount: &str) {
        let decided = self.ledger.check_carve(account(from), account(to), money(amount));
        self.enter(decided).expect("the giver has it");
    }

    pub(crate) fn hold(&mut self, from: &str, amount: &str) -> Result<EventId, LedgerError> {
        self.enter(self.ledger.check_hold(account(from), account("shop"), money(amount), self.at))
    }

    pub(crate) fn settle(&mut self, hold: EventId, amount: &str) -> Vec<Notice> {
        let cost = Cost::from(money(amount).amount);
        self.enter_with(self.ledger.check_settle(hold, cost, self.at)).expect("the hold is open")
    }

    /// Holds and settles the same amount.
    pub(crate) fn spend(&mut self, from: &str, amount: &str) -> Result<Vec<Notice>, LedgerError> {
        let hold = self.hold(from, amount)?;
        Ok(self.settle(hold, amount))
    }

    pub(crate) fn transfer(
        &mut self,
        from: &str,
        to: &str,
        amount: &str,
    ) -> Result<Vec<Notice>, LedgerError> {
        self.enter_with(self.ledger.check_transfer(account(from), account(to), money(amount), self.at))
    }

    pub(crate) fn limit(&mut self, whose: &str, period: Period, limit: &str) {
        let decided = self.ledger.check_limit(account(whose), period, Some(money(limit).amount));
        self.enter(decided).expect("the account is there");
    }

    pub(crate) fn balance(&self, whose: &str) -> String {
        self.ledger.account(account(whose)).expect("the account is there").balance().to_string()
    }

    /// The ledger that the first `count` entries give.
    pub(crate) fn refolded(&self, count: usize) -> Ledger {
        let mut ledger = Ledger::new();
        for (entry, id, at) in &self.log[..count] {
            ledger.apply(entry, *id, *at);
        }
        ledger
    }
}

pub(crate) fn event(number: usize) -> EventId {
    EventId(Digest::of(&number.to_be_bytes()))
}

/// The account of `name` in USD, or in another currency where the name says so: `a in EUR`.
pub(crate) fn account(name: &str) -> AccountId {
    let (name, currency) = name.split_once(" in ").unwrap_or((name, "USD"));
    AccountId::new(EntityId::named(name), currency.parse().expect("a code"))
}

pub(crate) fn money(text: &str) -> Money {
    text.parse().expect("money")
}

/// What all accounts of a currency hold together.
pub(crate) fn sum(ledger: &Ledger, currency: &str) -> Amount {
    let of_currency = ledger.accounts().filter(|account| account.id().currency.as_str() == currency);
    Amount(of_currency.map(|account| account.balance().0).sum())
}
