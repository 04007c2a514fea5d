//! Value is conserved, whatever is asked and in whatever order, and the log alone gives the ledger again.
//!
//! `PROPTEST_CASES=1000000 cargo test --release -p toka-ledger conservation` is the long form.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use toka_ledger::{Cost, Ledger};
use toka_types::entry::{
    AccountOpened, BudgetSet, Carved, Entry, Held, Minted, Period, Released, Settled, Transferred,
};
use toka_types::{AccountId, Amount, EntityId, EventId, Timestamp};

use crate::books::{Books, DAY, account, event, sum};

/// What somebody asks, by the numbers of those who are concerned: most of it makes sense, and not all.
#[derive(Clone, Debug)]
enum Asked {
    Open(AccountId, Option<EntityId>),
    Limit(AccountId, Period, Option<Amount>),
    Mint(AccountId, Amount),
    Burn(AccountId, Amount),
    Transfer(AccountId, AccountId, Amount),
    Carve(AccountId, AccountId, Amount),
    Reclaim(AccountId),
    Hold(AccountId, AccountId, Amount),
    /// Of the hold with this number among those that are open, or of none.
    Settle(usize, Amount),
    Release(usize),
    Wait(i64),
}

const OWNERS: [&str; 7] = ["operator", "a", "b", "a/child", "a/child/deep", "shop", "nobody"];

fn owner() -> impl Strategy<Value = AccountId> {
    (prop::sample::select(&OWNERS[..]), prop::bool::weighted(0.15))
        .prop_map(|(name, euro)| account(&format!("{name} in {}", if euro { "EUR" } else { "USD" })))
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![
        8 => (0i128..3_000_000_000).prop_map(Amount),
        1 => (-5i128..5).prop_map(Amount),
        1 => prop::sample::select(vec![Amount::LIMIT, Amount(Amount::LIMIT.0 - 1), Amount(i128::MAX), Amount(i128::MIN)]),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    let parent = prop::option::of(prop::sample::select(&OWNERS[..]).prop_map(EntityId::named));
    let period = prop::sample::select(&Period::ALL[..]);
    prop_oneof![
        2 => (owner(), parent).prop_map(|(a, b)| Asked::Open(a, b)),
        1 => (owner(), period, prop::option::of(amount())).prop_map(|(a, p, l)| Asked::Limit(a, p, l)),
        3 => (owner(), amount()).prop_map(|(a, m)| Asked::Mint(a, m)),
        1 => (owner(), amount()).prop_map(|(a, m)| Asked::Burn(a, m)),
        4 => (owner(), owner(), amount()).prop_map(|(a, b, m)| Asked::Transfer(a, b, m)),
        4 => (owner(), owner(), amount()).prop_map(|(a, b, m)| Asked::Carve(a, b, m)),
        1 => owner().prop_map(Asked::Reclaim),
        6 => (owner(), owner(), amount()).prop_map(|(a, b, m)| Asked::Hold(a, b, m)),
        5 => (0usize..4, amount()).prop_map(|(h, m)| Asked::Settle(h, m)),
        2 => (0usize..4).prop_map(Asked::Release),
        1 => (0..40 * DAY).prop_map(Asked::Wait),
    ]
}

/// A tree with some money in it, so that most of what is asked has something to work on.
fn inhabited() -> Books {
    let mut books = Books::inhabited();
    books.carve("a/child", "a/child/deep", "1 USD");
    books.carve("operator", "b", "5 USD");
    books.limit("a", Period::Day, "4 USD");
    books.limit("operator", Period::Month, "9 USD");
    books
}

/// Asks, and enters what is decided. True if it was.
fn ask(books: &mut Books, asked: &Asked) -> bool {
    let (ledger, at) = (&books.ledger, books.at);
    let hold = |number: usize| ledger.holds().nth(number).map_or(event(usize::MAX), |(id, _)| id);
    let of = |id: AccountId, amount: Amount| amount.of(id.currency);
    let decided = match *asked {
        Asked::Open(id, parent) => ledger.check_open(id, parent),
        Asked::Limit(id, period, limit) => ledger.check_limit(id, period, limit),
        Asked::Mint(to, amount) => ledger.check_mint(to, of(to, amount)),
        Asked::Burn(from, amount) => ledger.check_burn(from, of(from, amount)),
        Asked::Transfer(from, to, amount) => {
            ledger.check_transfer(from, to, of(to, amount), at).map(|d| d.entry)
        }
        Asked::Carve(from, to, amount) => ledger.check_carve(from, to, of(from, amount)),
        Asked::Reclaim(id) => match ledger.reclaim(id) {
            Some(entry) => Ok(entry),
            None => return false,
        },
        Asked::Hold(from, to, amount) => ledger.check_hold(from, to, of(from, amount), at),
        Asked::Settle(number, amount) => {
            ledger.check_settle(hold(number), Cost::from(amount), at).map(|d| d.entry)
        }
        Asked::Release(number) => ledger.check_release(hold(number)),
        Asked::Wait(micros) => {
            books.at.0 += micros;
            return false;
        }
    };
    books.enter(decided).is_ok()
}

/// What the accounts ever spent, computed from the log alone, the long way.
#[derive(Default)]
struct Model {
    parents: BTreeMap<AccountId, Option<EntityId>>,
    balances: BTreeMap<AccountId, i128>,
    spent: BTreeMap<AccountId, i128>,
    payments: Vec<(BTreeSet<AccountId>, i128, Timestamp)>,
    limited_since: BTreeMap<(AccountId, Period), usize>,
}

impl Model {
    fn upwards(&self, mut id: AccountId) -> BTreeSet<AccountId> {
        let mut found = BTreeSet::from([id]);
        while let Some(Some(parent)) = self.parents.get(&id) {
            id = AccountId::new(*parent, id.currency);
            found.insert(id);
        }
        found
    }

    fn record(&mut self, entry: &Entry, at: Timestamp) {
        match *entry {
            Entry::Opened(AccountOpened { owner, currency, parent }) => {
                self.parents.insert(AccountId::new(owner, currency), parent);
            }
            Entry::Carved(Carved { from, to, money }) => {
                self.parents.entry(AccountId::new(to, money.currency)).or_insert(Some(from));
            }
            Entry::Limited(BudgetSet { owner, currency, period, limit }) => {
                let key = (AccountId::new(owner, currency), period);
                match limit {
                    Some(_) => drop(self.limited_since.entry(key).or_insert(self.payments.len())),
                    None => drop(self.limited_since.remove(&key)),
                }
            }
            _ => {}
        }
        let Some(movement) = entry.movement() else { return };
        let (from, to, amount) = (movement.from, movement.to, movement.amount.0);
        *self.balances.entry(from).or_default() -= amount;
        *self.balances.entry(to).or_default() += amount;
        let (above_from, above_to) = (self.upwards(from), self.upwards(to));
        let pays = match entry {
            Entry::Settled(_) => true,
            Entry::Transferred(_) => !above_from.contains(&to) && !above_to.contains(&from),
            _ => false,
        };
        if pays {
            let spenders: BTreeSet<_> = above_from.difference(&above_to).copied().collect();
            for id in &spenders {
                *self.spent.entry(*id).or_default() += amount;
            }
            self.payments.push((spenders, amount, at));
        }
    }

    fn check(&self, ledger: &Ledger, now: Timestamp) {
        for account in ledger.accounts() {
            let id = account.id();
            let number = |map: &BTreeMap<_, i128>| Amount(map.get(&id).copied().unwrap_or(0));
            assert_eq!(account.balance(), number(&self.balances), "balance of {id}");
            let spent = account.spent().saturating_add(account.delegated());
            assert_eq!(spent, number(&self.spent), "spent by {id}");
            for budget in account.budgets() {
                let since = self.limited_since[&(id, budget.period)];
                let this = |at| budget.period.end(at) == budget.period.end(now);
                let counts = |(spenders, _, at): &&(BTreeSet<_>, _, _)| spenders.contains(&id) && this(*at);
                let expected =
                    self.payments[since..].iter().filter(counts).map(|(_, amount, _)| amount).sum();
                assert_eq!(budget.spent_at(now), Amount(expected), "{} of {id}", budget.period);
            }
        }
    }
}

/// What is kept back, by account: for its own holds.
fn held(ledger: &Ledger) -> BTreeMap<AccountId, i128> {
    let mut held = BTreeMap::new();
    for (_, hold) in ledger.holds() {
        *held.entry(hold.account).or_default() += hold.amount.0;
    }
    held
}

fn check(books: &Books, model: &Model) {
    let ledger = &books.ledger;
    for currency in ["USD", "EUR"] {
        assert_eq!(sum(ledger, currency), Amount::ZERO, "{currency}");
        let issued = ledger.issued(currency.parse().expect("a code"));
        assert!((Amount::ZERO..=Amount::LIMIT).contains(&issued), "{issued}");
    }
    let held = held(ledger);
    for account in ledger.accounts() {
        let id = account.id();
        assert_eq!(account.held().0, held.get(&id).copied().unwrap_or(0), "held of {id}");
    }
    model.check(ledger, books.at);
}

/// Through bytes, as a log and a snapshot keep them.
fn stored<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    rmp_serde::from_slice(&rmp_serde::to_vec(value).expect("plain data")).expect("what was written")
}

proptest! {
    #[test]
    fn value_is_conserved_and_the_log_is_all(
        all in prop::collection::vec(asked(), 0..60),
        crash in any::<prop::sample::Index>(),
    ) {
        let mut books = inhabited();
        let mut model = Model::default();
        for (entry, _, at) in &books.log {
            model.record(entry, *at);
        }
        for one in &all {
            let before = (!matches!(one, Asked::Wait(_))).then(|| books.ledger.clone());
            if ask(&mut books, one) {
                let (entry, _, at) = books.log.last().expect("something was entered");
                model.record(entry, *at);
                prop_assert_eq!(Amount(entry.postings().map(|(_, amount)| amount.0).sum()), Amount::ZERO);
            } else if let Some(before) = before {
                prop_assert_eq!(&before, &books.ledger, "a refusal changes nothing");
            }
            check(&books, &model);
        }

        // A crash after any entry: from a snapshot, or from the first entry on, the rest gives the same ledger.
        let at = crash.index(books.log.len() + 1);
        let mut again: Ledger = stored(&books.refolded(at));
        for (entry, id, at) in &books.log[at..] {
            again.apply(&stored(entry), *id, *at);
        }
        prop_assert_eq!(&again, &books.ledger);
        prop_assert_eq!(books.refolded(books.log.len()), again);
        let text = serde_json::to_string(&books.ledger).expect("plain data");
        prop_assert_eq!(serde_json::from_str::<Ledger>(&text).expect("what was written"), books.ledger.clone());

        // When all holds have ended, nothing is kept back anywhere.
        let open: Vec<EventId> = books.ledger.holds().map(|(id, _)| id).collect();
        for id in open {
            books.enter(books.ledger.check_release(id)).expect("the hold is open");
        }
        let text = serde_json::to_value(&books.ledger).expect("plain data");
        for account in text["accounts"].as_array().expect("a list") {
            prop_assert_eq!((&account["held"], &account["pending"]), (&"0.00".into(), &"0.00".into()));
        }
    }

    /// Without an overrun nobody owes anything, and no limit that was not lowered is passed.
    #[test]
    fn what_is_checked_before_is_kept_after(all in prop::collection::vec(asked(), 0..60)) {
        let mut books = inhabited();
        for one in &all {
            let one = match one {
                Asked::Limit(..) => continue,
                Asked::Settle(number, amount) => {
                    let Some((_, hold)) = books.ledger.holds().nth(*number) else { continue };
                    &Asked::Settle(*number, (*amount).min(hold.amount))
                }
                one => one,
            };
            ask(&mut books, one);
            for account in books.ledger.accounts().filter(|account| !account.id().is_issuance()) {
                let id = account.id();
                prop_assert!(account.available() >= Amount::ZERO, "{id}");
                for budget in account.budgets() {
                    prop_assert!(budget.spent_at(books.at) <= budget.limit, "{id} {}", budget.period);
                }
            }
        }
    }

    /// Entries that nobody decided, as a damaged log may have: still total, still balanced, still the same twice.
    #[test]
    fn folding_is_total(
        entries in prop::collection::vec((undecided(), 0usize..6, any::<i64>()), 0..40),
    ) {
        let mut ledger = Ledger::new();
        let mut again = Ledger::new();
        for (entry, id, at) in &entries {
            ledger.apply(entry, event(*id), Timestamp(*at));
            again.apply(&stored(entry), event(*id), Timestamp(*at));
            prop_assert_eq!(sum(&ledger, "USD"), Amount::ZERO);
        }
        prop_assert_eq!(&ledger, &again);
        let held = held(&ledger);
        for account in ledger.accounts() {
            prop_assert_eq!(account.held().0, held.get(&account.id()).copied().unwrap_or(0));
        }
        for id in ledger.accounts().map(toka_ledger::Account::id) {
            // Every walk ends.
            let _ = ledger.check_open(account("new"), Some(id.owner));
            let _ = ledger.check_resume(id.owner, Timestamp(0));
        }
        ledger.fork();
        prop_assert_eq!(sum(&ledger, "USD"), Amount::ZERO);
    }
}

fn undecided() -> impl Strategy<Value = Entry> {
    let who = || prop::sample::select(&OWNERS[..]).prop_map(EntityId::named);
    let currency = account("a").currency;
    // Sums of forty of these are what 128 bits hold.
    let amount = || prop_oneof![-9i128..9, -(1i128 << 120)..(1i128 << 120)].prop_map(Amount);
    let money = move || amount().prop_map(move |amount| amount.of(currency));
    let period = prop::sample::select(&Period::ALL[..]);
    prop_oneof![
        (who(), prop::option::of(who()))
            .prop_map(move |(owner, parent)| { AccountOpened { owner, currency, parent }.into() }),
        (who(), period, prop::option::of(amount()))
            .prop_map(move |(owner, period, limit)| { BudgetSet { owner, currency, period, limit }.into() }),
        (who(), money()).prop_map(|(to, money)| Minted { to, money }.into()),
        (who(), who(), money()).prop_map(|(from, to, money)| Transferred { from, to, money }.into()),
        (who(), who(), money()).prop_map(|(from, to, money)| Carved { from, to, money }.into()),
        (who(), who(), money()).prop_map(|(from, to, money)| Held { from, to, money }.into()),
        (0usize..6, who(), who(), amount(), money()).prop_map(|(hold, from, to, held, charged)| {
            Settled { hold: event(hold), from, to, held, charged }.into()
        }),
        (0usize..6, who(), money())
            .prop_map(|(hold, from, money)| { Released { hold: event(hold), from, money }.into() }),
    ]
}
