//! Budgets: carved out, rolled up, warned of, exhausted, topped up.

use toka_ledger::LedgerError;
use toka_types::Amount;
use toka_types::entry::{Level, Measure, Period};

use crate::books::{Books, DAY, HOUR, account, money};

fn levels(notices: &[toka_types::entry::Notice]) -> Vec<(Level, Measure)> {
    notices.iter().map(|notice| (notice.level, notice.measure)).collect()
}

#[test]
fn a_budget_is_carved_out_of_the_account_above() {
    let books = Books::inhabited();
    assert_eq!(books.balance("operator"), "90.00");
    assert_eq!(books.balance("a"), "8.00");
    assert_eq!(books.balance("a/child"), "2.00");
    let child = books.ledger.account(account("a/child")).expect("carving opens it");
    assert_eq!((child.parent(), child.funds()), (Some(account("a").owner), money("2 USD").amount));
    let a = books.ledger.account(account("a")).expect("opened");
    assert_eq!((a.spent(), a.delegated()), (Amount::ZERO, Amount::ZERO));
}

#[test]
fn spending_rolls_up() {
    let mut books = Books::inhabited();
    books.spend("a/child", "1 USD").expect("there are 2");
    books.spend("a", "3 USD").expect("there are 8");
    let spent = |name| {
        let account = books.ledger.account(account(name)).expect("opened");
        (account.spent().to_string(), account.delegated().to_string())
    };
    assert_eq!(spent("a/child"), ("1.00".into(), "0.00".into()));
    assert_eq!(spent("a"), ("3.00".into(), "1.00".into()));
    assert_eq!(spent("operator"), ("0.00".into(), "4.00".into()));
    assert_eq!(spent("shop"), ("0.00".into(), "0.00".into()));
}

#[test]
fn what_stays_below_an_account_it_has_not_spent() {
    let mut books = Books::inhabited();
    books.carve("a", "a/other", "1 USD");
    books.transfer("a/child", "a/other", "0.50 USD").expect("there are 2");
    let spent = |books: &Books, name| {
        let account = books.ledger.account(account(name)).expect("opened");
        account.spent().saturating_add(account.delegated()).to_string()
    };
    // A sibling got it: the child has spent it, what is above both has not.
    assert_eq!((spent(&books, "a/child"), spent(&books, "a")), ("0.50".into(), "0.00".into()));
    // It left the house: now it is spent, once.
    books.spend("a/other", "1.50 USD").expect("there are 1.50");
    assert_eq!((spent(&books, "a/other"), spent(&books, "a")), ("1.50".into(), "1.50".into()));
    // Down and up again is no spending.
    books.transfer("a", "a/child", "1 USD").expect("there are 7");
    books.enter(Ok(books.ledger.reclaim(account("a/child")).expect("it has something"))).expect("decided");
    assert_eq!((books.balance("a/child"), books.balance("a")), ("0.00".into(), "8.50".into()));
    assert_eq!((spent(&books, "a/child"), spent(&books, "a")), ("0.50".into(), "1.50".into()));
    assert_eq!(books.ledger.reclaim(account("a/child")), None);
    assert_eq!(books.ledger.reclaim(account("operator")), None);
}

#[test]
fn at_four_fifths_a_warning_at_the_end_a_suspension() {
    let mut books = Books::inhabited();
    let owner = account("a/child").owner;
    assert_eq!(books.spend("a/child", "1.599999999 USD").expect("there are 2"), []);
    let warned = books.spend("a/child", "0.000000001 USD").expect("there are 0.40");
    assert_eq!(levels(&warned), [(Level::Warned, Measure::Funds)]);
    assert_eq!((warned[0].used, warned[0].limit), (money("1.60 USD").amount, money("2 USD").amount));
    assert_eq!(books.spend("a/child", "0.20 USD").expect("there are 0.40"), [], "warned once");
    assert_eq!(books.ledger.check_resume(owner, books.at), Ok(()));
    let exhausted = books.spend("a/child", "0.20 USD").expect("there are 0.20");
    assert_eq!(levels(&exhausted), [(Level::Exhausted, Measure::Funds)]);
    let refused = books.ledger.check_resume(owner, books.at).unwrap_err();
    assert_eq!(refused.code(), "ledger.exhausted");

    // Topped up, the count begins anew.
    books.transfer("a", "a/child", "1 USD").expect("there are 8");
    assert_eq!(books.ledger.check_resume(owner, books.at), Ok(()));
    assert_eq!(books.spend("a/child", "0.79 USD").expect("there is 1"), []);
    let warned = books.spend("a/child", "0.01 USD").expect("there are 0.21");
    assert_eq!(levels(&warned), [(Level::Warned, Measure::Funds)]);
    let both = books.spend("a/child", "0.20 USD").expect("there are 0.20");
    assert_eq!(levels(&both), [(Level::Exhausted, Measure::Funds)]);
}

#[test]
fn topping_up_before_a_warning_adds_to_the_count() {
    let mut books = Books::inhabited();
    books.spend("a/child", "1 USD").expect("there are 2");
    books.transfer("a", "a/child", "8 USD").expect("there are 8");
    assert_eq!(books.spend("a/child", "6.99 USD").expect("there are 9"), []);
    assert_eq!(
        levels(&books.spend("a/child", "0.01 USD").expect("some is left")),
        [(Level::Warned, Measure::Funds)]
    );
}

#[test]
fn handing_on_all_suspends_nobody() {
    let mut books = Books::inhabited();
    books.spend("a", "1 USD").expect("there are 8");
    books.carve("a", "a/child", "7 USD");
    assert_eq!(books.balance("a"), "0.00");
    let given_away = books.transfer("a/child", "shop", "9 USD").expect("there are 9");
    assert_eq!(levels(&given_away), [(Level::Exhausted, Measure::Funds)]);
}

#[test]
fn a_limit_holds_for_all_below_and_for_what_is_kept_back() {
    let mut books = Books::inhabited();
    books.carve("a", "a/other", "2 USD");
    books.limit("a", Period::Total, "3 USD");
    let first = books.hold("a/child", "2 USD").expect("within 3");
    // The race of two children on one account: the second is refused though both have the money.
    let refused = books.hold("a/other", "1.01 USD").unwrap_err();
    assert_eq!(
        refused,
        LedgerError::Budget {
            account: account("a"),
            period: Period::Total,
            limit: money("3 USD").amount,
            used: money("2 USD").amount,
            asked: money("1.01 USD").amount,
        }
    );
    assert_eq!(books.transfer("a/other", "shop", "1.01 USD").unwrap_err().code(), "ledger.budget");
    books.settle(first, "0.50 USD");
    let warned = books.spend("a/other", "1.90 USD").expect("2.50 are left");
    let who: Vec<_> = warned.iter().map(|n| (n.owner, n.level, n.measure)).collect();
    let (a, other) = (account("a").owner, account("a/other").owner);
    assert_eq!(
        who,
        [(other, Level::Warned, Measure::Funds), (a, Level::Warned, Measure::Budget(Period::Total))]
    );
    let exhausted = books.spend("a/child", "0.60 USD").expect("0.60 are left");
    assert_eq!(levels(&exhausted), [(Level::Exhausted, Measure::Budget(Period::Total))]);
    assert_eq!(books.ledger.check_resume(a, books.at).unwrap_err().code(), "ledger.exhausted");
    books.limit("a", Period::Total, "5 USD");
    assert_eq!(books.ledger.check_resume(a, books.at), Ok(()));
    books.spend("a/child", "0.90 USD").expect("2 are left");

    let lifted = books.ledger.check_limit(account("a"), Period::Total, None);
    books.enter(lifted).expect("the account is there");
    assert_eq!(books.ledger.account(account("a")).expect("opened").budgets(), []);
}

#[test]
fn periods_end() {
    let mut books = Books::inhabited();
    books.at.0 = 20_000 * DAY + 23 * HOUR;
    books.limit("a", Period::Month, "5 USD");
    books.limit("a", Period::Day, "1 USD");
    books.limit("a", Period::Hour, "0.75 USD");
    books.spend("a", "0.75 USD").expect("within all");
    let limited = |books: &mut Books| match books.hold("a", "0.50 USD") {
        Err(LedgerError::Budget { period, .. }) => Some(period),
        other => {
            books.enter(books.ledger.check_release(other.expect("nothing else is wrong"))).expect("open");
            None
        }
    };
    assert_eq!(limited(&mut books), Some(Period::Hour));
    books.at.0 += HOUR;
    assert_eq!(limited(&mut books), None);
    books.spend("a", "0.75 USD").expect("a new day");
    books.at.0 += HOUR;
    assert_eq!(limited(&mut books), Some(Period::Day));
    // A hold that is settled on another day is spent on that day.
    let hold = books.hold("a", "0.25 USD").expect("within the day");
    books.at.0 += DAY;
    books.settle(hold, "0.25 USD");
    books.at.0 += HOUR;
    books.spend("a", "0.75 USD").expect("within the day, with what was settled");
    books.at.0 += HOUR;
    assert_eq!(limited(&mut books), Some(Period::Day));
    for _ in 0..3 {
        books.at.0 += DAY;
        books.spend("a", "0.75 USD").expect("within the month");
    }
    books.at.0 += DAY;
    assert_eq!(limited(&mut books), Some(Period::Month), "0.25 and 6 times 0.75 are spent");
    books.at.0 += 30 * DAY;
    assert_eq!(limited(&mut books), None);
}

#[test]
fn a_time_that_goes_back_gives_nothing_back() {
    let mut books = Books::inhabited();
    books.at.0 = 3 * DAY;
    books.limit("a", Period::Day, "1 USD");
    books.spend("a", "1 USD").expect("within the day");
    books.at.0 = 2 * DAY;
    assert_eq!(books.hold("a", "0.01 USD").unwrap_err().code(), "ledger.budget");
}

#[test]
fn an_owner_who_spent_nothing_is_not_held_up() {
    let mut books = Books::inhabited();
    assert_eq!(books.ledger.check_resume(account("nobody").owner, books.at), Ok(()));
    // Nor is one who has nothing and spent nothing, whatever the limit.
    books.limit("shop", Period::Day, "0 USD");
    assert_eq!(books.ledger.check_resume(account("shop").owner, books.at), Ok(()));
    assert_eq!(books.ledger.check_resume(account("a").owner, books.at), Ok(()));
}
