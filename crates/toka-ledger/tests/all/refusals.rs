//! Every refusal: its code, and what its message names.

use toka_ledger::LedgerError;
use toka_types::entry::Period;
use toka_types::{AccountId, Amount, EntityId, Timestamp};

use crate::books::{Books, account, money};

fn check<T: std::fmt::Debug>(refused: Result<T, LedgerError>, code: &str, message: &str) {
    let error = refused.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    let names = ["operator", "a", "a/child", "shop", "nobody"];
    let named = error.named(|id| names.into_iter().find(|name| EntityId::named(name) == id));
    assert_eq!(named, message);
}

#[test]
fn each_names_value_limit_and_way_out() {
    let books = Books::inhabited();
    let (ledger, at) = (&books.ledger, books.at);
    let (a, shop, nobody) = (account("a"), account("shop"), account("nobody"));
    check(
        ledger.check_transfer(a, shop, money("9 USD"), at),
        "ledger.funds",
        "a has 8.00 USD available, 9.00 USD is asked for; top the account up, or ask for less",
    );
    check(
        ledger.check_transfer(a, nobody, money("1 USD"), at),
        "ledger.account-unknown",
        "nobody has no account in USD; open one first",
    );
    check(
        ledger.check_open(a, None),
        "ledger.account-exists",
        "a has an account in USD already; use that one",
    );
    check(
        ledger.check_transfer(a, shop, money("0 USD"), at),
        "ledger.amount",
        "0.00 USD cannot be moved; name an amount above 0.00 USD",
    );
    check(
        ledger.check_transfer(a, a, money("1 USD"), at),
        "ledger.self-transfer",
        "a would pay itself in USD; name another receiver",
    );
    check(
        ledger.check_transfer(a, account("shop in EUR"), money("1 USD"), at),
        "ledger.currency",
        "the account of shop is in EUR and cannot take or give 1.00 USD; use an account in USD",
    );
    check(
        ledger.check_mint(AccountId::issuance(a.currency), money("1 USD")),
        "ledger.issuance",
        "the account that USD is issued from is nobody's; mint or burn, or name another account",
    );
    check(
        ledger.check_mint(a, Amount::LIMIT.of(a.currency)),
        "ledger.overflow",
        "1000000000000000100.00 USD is more than 1000000000000000000.00 USD, the most that may be moved or issued; move less",
    );
    check(
        ledger.check_carve(a, shop, money("1 USD")),
        "ledger.parent",
        "the USD account of shop is below none, not below that of a; transfer to it, or choose another name",
    );
}

#[test]
fn nothing_and_less_are_never_moved() {
    let mut books = Books::inhabited();
    let hold = books.hold("a", "1 USD").expect("there are 8");
    let (ledger, at) = (&books.ledger, books.at);
    let (operator, a, shop) = (account("operator"), account("a"), account("shop"));
    let huge = Amount(Amount::LIMIT.0 + 1).of(a.currency);
    for (money, code) in
        [(money("0 USD"), "ledger.amount"), (money("-1 USD"), "ledger.amount"), (huge, "ledger.overflow")]
    {
        let codes = [
            ledger.check_mint(a, money).unwrap_err().code(),
            ledger.check_burn(a, money).unwrap_err().code(),
            ledger.check_transfer(a, shop, money, at).unwrap_err().code(),
            ledger.check_carve(operator, a, money).unwrap_err().code(),
            ledger.check_hold(a, shop, money, at).unwrap_err().code(),
        ];
        assert_eq!(codes, [code; 5], "{money}");
    }
    for (limit, code) in [(Amount(-1), "ledger.amount"), (huge.amount, "ledger.overflow")] {
        assert_eq!(ledger.check_limit(a, Period::Day, Some(limit)).unwrap_err().code(), code);
    }
    assert!(ledger.check_limit(a, Period::Day, Some(Amount::ZERO)).is_ok());
    assert!(ledger.check_release(hold).is_ok());
}

#[test]
fn assets_are_never_confused() {
    let mut books = Books::inhabited();
    books.enter(books.ledger.check_open(account("a in EUR"), None)).expect("it is new");
    books.enter(books.ledger.check_open(account("shop in EUR"), None)).expect("it is new");
    let (ledger, at) = (&books.ledger, books.at);
    let (a, shop) = (account("a"), account("shop"));
    let (a_eur, shop_eur) = (account("a in EUR"), account("shop in EUR"));
    for (from, to, money) in [
        (a, shop_eur, money("1 USD")),
        (a, shop_eur, money("1 EUR")),
        (a, shop, money("1 EUR")),
        (a_eur, shop_eur, money("1 USD")),
        (a_eur, a, money("1 USD")),
    ] {
        assert_eq!(ledger.check_transfer(from, to, money, at).unwrap_err().code(), "ledger.currency");
        assert_eq!(ledger.check_hold(from, to, money, at).unwrap_err().code(), "ledger.currency");
        assert_eq!(ledger.check_carve(from, to, money).unwrap_err().code(), "ledger.currency");
    }
    assert_eq!(ledger.check_mint(a, money("1 EUR")).unwrap_err().code(), "ledger.currency");
    assert_eq!(ledger.check_burn(a, money("1 EUR")).unwrap_err().code(), "ledger.currency");
    // Having one currency is having none of another.
    assert_eq!(ledger.check_hold(a_eur, shop_eur, money("1 EUR"), at).unwrap_err().code(), "ledger.funds");
}

#[test]
fn nobody_spends_from_the_issuance() {
    let books = Books::inhabited();
    let (ledger, at) = (&books.ledger, books.at);
    let (a, issuance) = (account("a"), AccountId::issuance(account("a").currency));
    let one = money("1 USD");
    let codes = [
        ledger.check_transfer(issuance, a, one, at).unwrap_err().code(),
        ledger.check_transfer(a, issuance, one, at).unwrap_err().code(),
        ledger.check_hold(issuance, a, one, at).unwrap_err().code(),
        ledger.check_hold(a, issuance, one, at).unwrap_err().code(),
        ledger.check_carve(issuance, a, one).unwrap_err().code(),
        ledger.check_carve(a, issuance, one).unwrap_err().code(),
        ledger.check_burn(issuance, one).unwrap_err().code(),
        ledger.check_open(issuance, None).unwrap_err().code(),
        ledger.check_open(account("new"), Some(EntityId::NONE)).unwrap_err().code(),
        ledger.check_limit(issuance, Period::Day, None).unwrap_err().code(),
    ];
    assert_eq!(codes, ["ledger.issuance"; 10]);
    assert_eq!(ledger.reclaim(issuance), None);
}

#[test]
fn accounts_are_above_one_another_to_a_limit() {
    let mut books = Books::inhabited();
    let mut above = account("operator");
    let refused = loop {
        let id = account(&format!("level{}", books.log.len()));
        match books.ledger.check_carve(above, id, money("1 USD")) {
            Ok(entry) => books.enter(Ok(entry)).expect("decided"),
            Err(refused) => break refused,
        };
        let opened = books.ledger.check_open(account("leaf"), Some(above.owner));
        assert_eq!(opened.is_ok(), books.ledger.accounts().count() < 70);
        above = id;
    };
    assert_eq!(refused.code(), "ledger.depth");
    assert!(refused.to_string().contains("at most 64"), "{refused}");
    let unknown = books.ledger.check_open(account("orphan"), Some(EntityId::named("nobody")));
    assert_eq!(unknown.unwrap_err().code(), "ledger.account-unknown");
}

#[test]
fn codes_are_stable_and_each_is_one_variants() {
    let a = account("a");
    let item = toka_types::Name::new("tool").expect("a name");
    let (hold, at) = (crate::books::event(0), Timestamp(0));
    let all = [
        LedgerError::AccountUnknown { account: a },
        LedgerError::AccountExists { account: a },
        LedgerError::Amount { money: money("0 USD") },
        LedgerError::Overflow { value: money("0 USD"), limit: Amount::LIMIT },
        LedgerError::Currency { account: a, money: money("1 EUR") },
        LedgerError::SelfTransfer { account: a },
        LedgerError::Issuance { currency: a.currency },
        LedgerError::Funds { account: a, available: Amount::ZERO, asked: Amount::UNIT },
        LedgerError::Budget {
            account: a,
            period: Period::Day,
            limit: Amount::ZERO,
            used: Amount::ZERO,
            asked: Amount::UNIT,
        },
        LedgerError::HoldUnknown { hold },
        LedgerError::Depth { account: a, depth: 65 },
        LedgerError::Parent { account: a, parent: None, wanted: a.owner },
        LedgerError::Debt { account: a, debt: Amount::UNIT },
        LedgerError::Exhausted {
            account: a,
            measure: toka_types::entry::Measure::Funds,
            used: Amount::UNIT,
            limit: Amount::UNIT,
        },
        LedgerError::PricePast { item: item.clone(), from: at, at },
        LedgerError::PriceCount { item, limit: 1 },
    ];
    let codes: Vec<_> = all.iter().map(LedgerError::code).collect();
    assert_eq!(codes, LedgerError::CODES);
    for error in all {
        let message = error.to_string();
        assert!(message.contains(';') || message.contains(':'), "a way out: {message}");
        assert!(!message.ends_with('.') && !message.starts_with(char::is_uppercase), "{message}");
    }
}
