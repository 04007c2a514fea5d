//! Holds: kept back before, settled after.

use toka_ledger::{Cost, LedgerError};
use toka_types::Amount;
use toka_types::entry::{Level, Measure};

use crate::books::{Books, account, event, money, sum};

#[test]
fn what_is_kept_back_cannot_be_spent_twice() {
    let mut books = Books::inhabited();
    let first = books.hold("a/child", "1.50 USD").expect("there are 2");
    let refused = books.hold("a/child", "0.50000001 USD").unwrap_err();
    let (available, asked) = (money("0.50 USD").amount, money("0.50000001 USD").amount);
    assert_eq!(refused, LedgerError::Funds { account: account("a/child"), available, asked });
    assert_eq!(books.transfer("a/child", "shop", "1 USD").unwrap_err().code(), "ledger.funds");
    let burn = books.ledger.check_burn(account("a/child"), money("1 USD"));
    assert_eq!(burn.unwrap_err().code(), "ledger.funds");

    books.enter(books.ledger.check_release(first)).expect("the hold is open");
    assert_eq!(books.ledger.account(account("a/child")).expect("opened").available(), money("2 USD").amount);
    books.hold("a/child", "2 USD").expect("all is free again");
}

#[test]
fn settling_less_frees_the_rest_and_ends_the_hold() {
    let mut books = Books::inhabited();
    let hold = books.hold("a/child", "1 USD").expect("there are 2");
    assert_eq!(books.ledger.hold(hold).expect("it is open").amount, money("1 USD").amount);
    assert_eq!(books.settle(hold, "0.40 USD"), []);
    assert_eq!(books.balance("a/child"), "1.60");
    assert_eq!(books.balance("shop"), "0.40");
    assert_eq!(books.ledger.account(account("a/child")).expect("opened").held(), Amount::ZERO);
    let again = books.ledger.check_settle(hold, Cost::ZERO, books.at);
    assert_eq!(again, Err(LedgerError::HoldUnknown { hold }));
    assert_eq!(books.ledger.check_release(hold), Err(LedgerError::HoldUnknown { hold }));
    assert_eq!(books.ledger.check_release(event(999)).unwrap_err().code(), "ledger.hold-unknown");
}

#[test]
fn a_call_that_cost_nothing_is_settled_too() {
    let mut books = Books::inhabited();
    let hold = books.hold("a", "1 USD").expect("there are 8");
    books.settle(hold, "0 USD");
    assert_eq!(books.ledger.holds().count(), 0);
    assert_eq!(books.balance("a"), "8.00");
}

#[test]
fn an_overrun_is_paid_and_suspends() {
    let mut books = Books::inhabited();
    let hold = books.hold("a", "1 USD").expect("there are 8");
    let notices = books.settle(hold, "3 USD");
    assert_eq!(books.balance("a"), "5.00");
    let [notice] = notices[..] else { panic!("{notices:?}") };
    assert_eq!((notice.owner, notice.level), (account("a").owner, Level::Exhausted));
    assert_eq!((notice.measure, notice.used, notice.limit), (Measure::Hold, Amount::units(3), Amount::UNIT));
    // Nothing is owed, so a person may let the agent go on.
    assert_eq!(books.ledger.check_resume(account("a").owner, books.at), Ok(()));
}

#[test]
fn an_overrun_beyond_all_there_is_becomes_a_debt() {
    let mut books = Books::inhabited();
    let owner = account("a/child").owner;
    let other = books.hold("a/child", "0.50 USD").expect("there are 2");
    let hold = books.hold("a/child", "1.50 USD").expect("1.50 is left");
    let levels: Vec<_> =
        books.settle(hold, "3.50 USD").iter().map(|n| (n.owner, n.level, n.measure)).collect();
    assert_eq!(levels, [(owner, Level::Exhausted, Measure::Hold), (owner, Level::Exhausted, Measure::Funds)]);
    assert_eq!(books.balance("a/child"), "-1.50");
    assert_eq!(books.balance("shop"), "3.50");
    assert_eq!(sum(&books.ledger, "USD"), Amount::ZERO);
    let debt = |amount: &str| LedgerError::Debt { account: account("a/child"), debt: money(amount).amount };
    assert_eq!(books.ledger.check_resume(owner, books.at), Err(debt("2 USD")));
    assert_eq!(books.hold("a/child", "0.000000001 USD").unwrap_err().code(), "ledger.funds");

    // What is still open is settled all the same, and topping up pays the debt first.
    books.settle(other, "0.50 USD");
    assert_eq!(books.balance("a/child"), "-2.00");
    books.transfer("a", "a/child", "1 USD").expect("there are 8");
    assert_eq!(books.ledger.check_resume(owner, books.at), Err(debt("1 USD")));
    books.transfer("a", "a/child", "2 USD").expect("there are 7");
    assert_eq!(books.ledger.check_resume(owner, books.at), Ok(()));
    books.hold("a/child", "1 USD").expect("one is left");
}

#[test]
fn no_cost_is_too_high_to_be_settled() {
    let mut books = Books::inhabited();
    for _ in 0..3 {
        let hold = books.hold("a", "1 USD").expect("there is one more");
        let notices = books.enter_with(books.ledger.check_settle(hold, Cost::MAX, books.at));
        assert!(notices.expect("settling is total").iter().any(|n| n.measure == Measure::Hold));
        assert_eq!(sum(&books.ledger, "USD"), Amount::ZERO);
        // Enough for one more call.
        let debt = books.ledger.account(account("a")).expect("opened").balance().reversed();
        books
            .enter(Ok(toka_types::entry::Minted {
                to: account("a").owner,
                money: debt.saturating_add(Amount::UNIT).of(account("a").currency),
            }
            .into()))
            .expect("nothing is checked here");
    }
    assert_eq!(books.ledger.account(account("shop")).expect("opened").balance(), Amount(3 * Amount::LIMIT.0));
    assert_eq!(books.transfer("shop", "a", "1 USD"), Ok(vec![]));
}

#[test]
fn a_fork_ends_holds_and_spends_nothing_of_its_base() {
    let mut books = Books::inhabited();
    let hold = books.hold("a", "1 USD").expect("there are 8");
    books.spend("a", "2 USD").expect("7 are left");
    books.ledger.fork();
    let before = books.ledger.account(account("a")).expect("opened").clone();
    assert_eq!((before.balance(), before.held(), before.spent()), (Amount::ZERO, Amount::ZERO, Amount::ZERO));
    assert_eq!(before.inherited(), money("6 USD").amount);
    assert_eq!(before.parent(), Some(account("operator").owner));
    assert_eq!(books.hold("a", "1 USD").unwrap_err().code(), "ledger.funds");
    assert_eq!(books.ledger.check_release(hold).unwrap_err().code(), "ledger.hold-unknown");
    assert_eq!(books.ledger.issued(account("a").currency), Amount::ZERO);

    books.enter(books.ledger.check_mint(account("a"), money("1 USD"))).expect("it is little");
    books.hold("a", "1 USD").expect("the fork has money of its own");
    assert_eq!(sum(&books.ledger, "USD"), Amount::ZERO);
}
