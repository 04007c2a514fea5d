//! Statements.

use proptest::prelude::*;
use toka_ledger::Statement;
use toka_types::{EntityId, Timestamp};

use crate::books::{Books, account, event};

fn statement(books: &Books, name: &str, from: i64, until: i64) -> Statement {
    let entries = books.log.iter().map(|(entry, id, at)| (entry, *id, *at));
    Statement::over(account(name), Timestamp(from)..Timestamp(until), entries)
}

fn busy() -> Books {
    let mut books = Books::inhabited();
    for hour in 1..=5 {
        books.at = Timestamp(hour * 10);
        books.spend("a", "1 USD").expect("there are 8");
        books.transfer("operator", "a", "0.50 USD").expect("there are 90");
    }
    books
}

#[test]
fn a_statement_opens_lists_and_closes() {
    let statement = statement(&busy(), "a", 20, 30);
    assert_eq!(
        (statement.opening.to_string(), statement.closing.to_string()),
        ("7.50".into(), "7.00".into())
    );
    let shop = EntityId::named("shop");
    let lines: Vec<_> = statement
        .lines
        .iter()
        .map(|l| (l.at.0, l.kind, l.with, l.amount.to_string(), l.balance.to_string()))
        .collect();
    assert_eq!(
        lines,
        [
            (20, "ledger.settled", shop, "-1.00".into(), "6.50".into()),
            (20, "ledger.transferred", EntityId::named("operator"), "0.50".into(), "7.00".into()),
        ]
    );
    let json = serde_json::to_value(&statement).expect("plain data");
    assert_eq!(json["lines"][0]["amount"], "-1.00");
}

#[test]
fn issuing_is_on_both_sides() {
    let mut books = Books::inhabited();
    books
        .enter(books.ledger.check_burn(account("operator"), "5 USD".parse().expect("money")))
        .expect("there are 90");
    let entries: Vec<_> = books.log.iter().map(|(entry, id, at)| (entry, *id, *at)).collect();
    let usd = account("a").currency;
    let all = Timestamp(i64::MIN)..Timestamp(i64::MAX);
    let issuance = Statement::over(toka_types::AccountId::issuance(usd), all.clone(), entries.clone());
    assert_eq!(issuance.closing.to_string(), "-95.00");
    let operator = Statement::over(account("operator"), all, entries);
    let last = operator.lines.last().expect("the burning");
    assert_eq!(
        (last.kind, last.with, last.amount.to_string()),
        ("ledger.burnt", EntityId::NONE, "-5.00".into())
    );
}

#[test]
fn a_fork_closes_what_it_inherits() {
    let mut books = busy();
    books.ledger.fork();
    let mut statement = statement(&books, "a", 0, i64::MAX);
    assert_eq!(statement.closing.to_string(), "5.50");
    statement.fork(event(1000), Timestamp(60));
    assert_eq!(statement.closing, books.ledger.account(account("a")).expect("opened").balance());
    assert_eq!(statement.lines.last().expect("the fork").kind, "log.forked");
}

proptest! {
    #[test]
    fn opening_and_lines_are_the_closing(from in 0i64..70, length in 0i64..70, next in 0i64..70) {
        let books = busy();
        for name in ["a", "shop", "operator", "a/child"] {
            let one = statement(&books, name, from, from + length);
            let moved: i128 = one.lines.iter().map(|line| line.amount.0).sum();
            prop_assert_eq!(one.opening.0 + moved, one.closing.0);
            // The next statement opens where this one closes.
            let two = statement(&books, name, from + length, from + length + next);
            prop_assert_eq!(one.closing, two.opening);
            let all = statement(&books, name, i64::MIN, i64::MAX);
            prop_assert_eq!(all.closing, books.ledger.account(account(name)).expect("opened").balance());
        }
    }
}
