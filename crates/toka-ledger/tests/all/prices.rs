//! Prices: exact, never less for more, in force from a time on.

use proptest::prelude::*;
use toka_ledger::price::{MAX_CHANGES, PriceBook};
use toka_ledger::{Cost, worst_case};
use toka_types::price::{PARTS, Price, Rate, Usage};
use toka_types::{Amount, EntityId, Name, Timestamp};

use crate::books::{Books, account, money};

fn rate(amount: &str, per: u64) -> Option<Rate> {
    Some(Rate::new(amount.parse().expect("an amount"), per).expect("a rate"))
}

fn free() -> Price {
    Price::free(account("a").currency, EntityId::named("shop"))
}

/// A model's usual prices: per million tokens, with a call and its time.
fn model() -> Price {
    Price {
        tokens_in: rate("0.15", 1_000_000),
        tokens_out: rate("0.60", 1_000_000),
        tokens_cached: rate("0.0375", 1_000_000),
        calls: rate("0.01", 1),
        micros: rate("0.0001", Rate::SECOND),
        bytes: rate("0.09", 1 << 30),
        ..free()
    }
}

#[track_caller]
fn costs(price: Price, usage: Usage, amount: &str) {
    assert_eq!(Cost::of(&price, &usage).rounded_up().to_string(), amount);
}

#[test]
fn each_use_has_its_rate() {
    let none = Usage::default();
    costs(model(), none, "0.00");
    costs(model(), Usage { calls: 3, ..none }, "0.03");
    costs(model(), Usage { tokens_in: 1_000, ..none }, "0.00015");
    costs(model(), Usage { tokens_out: 1_000, ..none }, "0.0006");
    costs(model(), Usage { tokens_cached: 1_000, ..none }, "0.0000375");
    costs(model(), Usage { micros: 90 * Rate::SECOND, ..none }, "0.009");
    costs(model(), Usage { bytes: 3 << 30, ..none }, "0.27");
    let all = Usage { calls: 1, tokens_in: 1000, tokens_out: 1000, tokens_cached: 1000, ..none };
    costs(model(), all, "0.0107875");
    costs(free(), Usage { tokens_in: u64::MAX, ..none }, "0.00");
    // Cached tokens without a price of their own are tokens that go in.
    costs(Price { tokens_cached: None, ..model() }, Usage { tokens_cached: 1_000, ..none }, "0.00015");
}

#[test]
fn only_settling_rounds_and_against_the_payer() {
    let third = Price { micros: rate("0.000000001", 3 * 3600 * Rate::SECOND), ..free() };
    let hour = Cost::of(&third, &Usage { micros: 3600 * Rate::SECOND, ..Usage::default() });
    assert_eq!(hour.rounded_up(), Amount(1));
    assert_eq!(hour.plus(hour).plus(hour).rounded_up(), Amount(1), "three thirds are one");
    assert_eq!(hour.plus(hour).plus(hour).plus(hour).rounded_up(), Amount(2));

    let mut books = Books::inhabited();
    let hold = books.hold("a", "1 USD").expect("there are 8");
    books.enter_with(books.ledger.check_settle(hold, hour, books.at)).expect("the hold is open");
    assert_eq!(books.balance("a"), "7.999999999");
    assert_eq!(books.balance("shop"), "0.000000001");
}

#[test]
fn a_price_holds_from_its_time_on() {
    let mut book = PriceBook::new();
    let tool = Name::new("search").expect("a name");
    let cents = |text| Price { calls: rate(text, 1), ..free() };
    let mut set = |from: i64, price, at: i64| {
        let set = book.check_set(&tool, Timestamp(from), price, Timestamp(at)).map_err(|e| e.code())?;
        book.apply(&set);
        Ok(())
    };
    assert_eq!(set(100, Some(cents("0.01")), 100), Ok(()));
    assert_eq!(set(200, Some(cents("0.02")), 100), Ok(()));
    assert_eq!(set(300, None, 100), Ok(()));
    assert_eq!(set(149, Some(cents("9")), 150), Err("ledger.price-past"));
    // What does not hold yet may be changed.
    assert_eq!(set(200, Some(cents("0.03")), 150), Ok(()));
    let at = |time| book.at(&tool, Timestamp(time)).copied();
    assert_eq!(at(99), None);
    assert_eq!(at(100), Some(cents("0.01")));
    assert_eq!(at(199), Some(cents("0.01")));
    assert_eq!(at(200), Some(cents("0.03")));
    assert_eq!(at(i64::MAX), None);
    assert_eq!(book.at(&Name::new("other").expect("a name"), Timestamp(100)), None);
    let all: Vec<_> =
        book.iter().map(|(item, from, price)| (item.as_str(), from.0, price.is_some())).collect();
    assert_eq!(all, [("search", 100, true), ("search", 200, true), ("search", 300, false)]);
    let bytes = rmp_serde::to_vec(&book).expect("plain data");
    assert_eq!(rmp_serde::from_slice::<PriceBook>(&bytes).expect("what was written"), book);
    let text = serde_json::to_string(&book).expect("plain data");
    assert_eq!(serde_json::from_str::<PriceBook>(&text).expect("what was written"), book);
}

#[test]
fn a_price_never_changes_for_what_was_held_at_it() {
    let mut book = PriceBook::new();
    let tool = Name::new("search").expect("a name");
    let (at, next) = (Timestamp(100), Timestamp(101));
    let prices = ["0.01", "0.02", "0.03"].map(|text| Some(Price { calls: rate(text, 1), ..free() }));
    // Nothing was held at a price that there was not: the first may hold at once.
    for (price, from) in [(prices[0], at), (prices[1], next), (None, next), (prices[2], next)] {
        let set = book.check_set(&tool, at, price, at).expect("it is now");
        assert_eq!(set.from, from);
        book.apply(&set);
        assert_eq!(book.at(&tool, at).copied(), prices[0]);
        assert_eq!(book.at(&tool, next).copied(), if from == at { prices[0] } else { price });
    }
}

#[test]
fn prices_are_counted() {
    let mut book = PriceBook::new();
    let tool = Name::new("search").expect("a name");
    for from in 0..MAX_CHANGES as i64 {
        let set = book.check_set(&tool, Timestamp(from), None, Timestamp(0)).expect("there is room");
        book.apply(&set);
    }
    let more = book.check_set(&tool, Timestamp(1 << 40), None, Timestamp(0)).unwrap_err();
    assert_eq!(more.code(), "ledger.price-count");
    assert!(book.check_set(&tool, Timestamp(7), None, Timestamp(0)).is_ok(), "replacing is no growth");
}

#[test]
fn a_worst_case_above_all_money_is_an_overflow() {
    let dear = Price { tokens_out: rate("1000000000", 1), ..free() };
    let bounds = |tokens_out| Usage { tokens_out, ..Usage::default() };
    assert_eq!(worst_case(&dear, &bounds(2)), Ok(money("2000000000 USD")));
    assert_eq!(worst_case(&dear, &bounds(u64::MAX)).unwrap_err().code(), "ledger.overflow");
    assert_eq!(Cost::of(&dear, &bounds(u64::MAX)), Cost::MAX);
    assert_eq!(Cost::MAX.plus(Cost::MAX), Cost::MAX);
    assert_eq!(Cost::MAX.rounded_up(), Amount::LIMIT);
    assert_eq!(Cost::from(Amount(-1)), Cost::ZERO);
    assert_eq!(Cost::from(Amount(i128::MAX)), Cost::MAX);
}

fn any_rate() -> impl Strategy<Value = Option<Rate>> {
    let per =
        prop::sample::select(vec![1, 3, 1000, 1024, 1_000_000, 3_600_000_000, 1 << 40, 1_000_000_000_000]);
    let amount = prop_oneof![0i128..1_000_000_000, 0..=Rate::MAX.0];
    prop::option::weighted(
        0.8,
        (amount, per).prop_map(|(amount, per)| Rate::new(Amount(amount), per).expect("a rate")),
    )
}

fn any_price() -> impl Strategy<Value = Price> {
    prop::array::uniform6(any_rate()).prop_map(
        |[calls, tokens_in, tokens_out, tokens_cached, micros, bytes]| Price {
            calls,
            tokens_in,
            tokens_out,
            tokens_cached,
            micros,
            bytes,
            ..free()
        },
    )
}

fn any_usage() -> impl Strategy<Value = Usage> {
    prop::array::uniform6(prop_oneof![3 => 0u64..1 << 40, 1 => any::<u64>()]).prop_map(usage)
}

fn usage([calls, tokens_in, tokens_out, tokens_cached, micros, bytes]: [u64; 6]) -> Usage {
    Usage { calls, tokens_in, tokens_out, tokens_cached, micros, bytes }
}

fn numbers(u: &Usage) -> [u64; 6] {
    [u.calls, u.tokens_in, u.tokens_out, u.tokens_cached, u.micros, u.bytes]
}

proptest! {
    #[test]
    fn more_never_costs_less(price in any_price(), a in any_usage(), b in any_usage()) {
        let (a, b) = (numbers(&a), numbers(&b));
        let more = usage(std::array::from_fn(|i| a[i].max(b[i])));
        prop_assert!(Cost::of(&price, &usage(a)) <= Cost::of(&price, &more));
    }

    /// What was used within the bounds never costs more than the worst case, whichever tokens were cached.
    #[test]
    fn the_worst_case_is_the_worst(
        price in any_price(),
        bounds in any_usage(),
        used in any_usage(),
        moved in any::<u64>(),
    ) {
        let (b, mut u) = (numbers(&bounds), numbers(&used));
        for (used, bound) in u.iter_mut().zip(b) {
            *used = (*used).min(bound);
        }
        // Some tokens turn out to be cached after all, or not to be.
        let moved = moved.min(u[1]).min(u64::MAX - u[3]);
        (u[1], u[3]) = (u[1] - moved, u[3] + moved);
        prop_assert!(Cost::of(&price, &usage(u)) <= Cost::at_most(&price, &bounds));
        prop_assert!(Cost::of(&price, &usage(u)).rounded_up() <= Cost::at_most(&price, &bounds).rounded_up());
    }

    /// Costs are exact: in whichever portions something is used, together it costs the same.
    #[test]
    fn portions_cost_what_the_whole_costs(
        price in any_price(),
        portions in prop::collection::vec(prop::array::uniform6(0u64..1 << 32).prop_map(usage), 1..6),
    ) {
        let whole = portions.iter().map(numbers).reduce(|a, b| std::array::from_fn(|i| a[i] + b[i]));
        let whole = Cost::of(&price, &usage(whole.expect("one at least")));
        let sum = portions.iter().fold(Cost::ZERO, |sum, portion| sum.plus(Cost::of(&price, portion)));
        prop_assert_eq!(whole, sum);
        // Rounding takes less than a nano, and only upwards.
        let rounded = portions.iter().map(|portion| Cost::of(&price, portion).rounded_up().0).sum::<i128>();
        let over = rounded - whole.rounded_up().0;
        prop_assert!((0..portions.len() as i128).contains(&over) || whole == Cost::MAX);
    }

    /// One rate, against a division of whole numbers.
    #[test]
    fn a_cost_is_its_fraction(amount in 0..=Rate::MAX.0, count in 0u64..1 << 44, per in prop::sample::select(vec![1u64, 7 - 4, 1 << 40, 3600])) {
        let price = Price { bytes: Rate::new(Amount(amount), per).ok(), ..free() };
        let (product, per) = (amount as u128 * u128::from(count), u128::from(per));
        let expected = Amount(product.div_ceil(per) as i128).min(Amount::LIMIT);
        let cost = Cost::of(&price, &Usage { bytes: count, ..Usage::default() });
        prop_assert_eq!(cost.rounded_up(), expected);
        prop_assert!(PARTS.is_multiple_of(per));
    }
}
