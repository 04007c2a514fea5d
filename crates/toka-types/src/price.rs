//! Prices, and the use that is priced. `toka-ledger` computes what a use costs and keeps the book of prices.

use crate::id::{EntityId, Name};
use crate::money::{Amount, Currency};
use crate::time::Timestamp;

/// The number of parts into which costs divide a nano, so that adding them is exact: 2⁴⁰ · 3³ · 5¹². It is a multiple
/// of thousands up to 10¹², of KiB up to TiB, and of a second, a minute, an hour and a day in microseconds.
pub const PARTS: u128 = (1 << 40) * 27 * 244_140_625;

/// What a number of something costs: 0.15 for 1,000,000 tokens. The division is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Unchecked"))]
pub struct Rate {
    amount: Amount,
    per: u64,
}

#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[cfg_attr(not(feature = "serde"), allow(dead_code, reason = "the form in which a rate is read"))]
struct Unchecked {
    amount: Amount,
    per: u64,
}

impl TryFrom<Unchecked> for Rate {
    type Error = RateError;

    fn try_from(Unchecked { amount, per }: Unchecked) -> Result<Self, RateError> {
        Self::new(amount, per)
    }
}

impl Rate {
    /// The highest amount of a rate: 10⁹ units. What 2⁶⁴ − 1 of anything cost still fits into 128 bits.
    pub const MAX: Amount = Amount::units(1_000_000_000);
    /// Microseconds in a second: rates of time are per microseconds, as [`Usage::micros`] counts them.
    pub const SECOND: u64 = 1_000_000;

    /// `amount` for `per` of something.
    pub fn new(amount: Amount, per: u64) -> Result<Self, RateError> {
        if amount < Amount::ZERO || amount > Self::MAX {
            return Err(RateError::Amount { amount });
        }
        if per == 0 || !PARTS.is_multiple_of(per.into()) {
            return Err(RateError::Per { per });
        }
        Ok(Self { amount, per })
    }

    /// The amount.
    pub fn amount(self) -> Amount {
        self.amount
    }

    /// For how many that is.
    pub fn per(self) -> u64 {
        self.per
    }
}

/// What keeps something from being a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// The amount is out of bounds.
    #[error("a price of {amount}; from 0.00 to {} is allowed, so price a smaller number", Rate::MAX)]
    Amount {
        /// The amount.
        amount: Amount,
    },
    /// The number does not divide [`PARTS`].
    #[error(
        "a price per {per}; allowed are numbers that divide 2^40 * 3^3 * 5^12, so use 1, 1000, 1000000, 1024 or the microseconds of a second, a minute, an hour or a day"
    )]
    Per {
        /// The number.
        per: u64,
    },
}

/// What a tool or a model costs. What has no rate costs nothing, cached tokens excepted: without a rate of their own
/// they cost what other tokens that go in do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Price {
    /// The currency of its rates.
    pub currency: Currency,
    /// Who is paid.
    pub payee: EntityId,
    /// For calls.
    #[cfg_attr(feature = "serde", serde(default))]
    pub calls: Option<Rate>,
    /// For tokens that go in.
    #[cfg_attr(feature = "serde", serde(default))]
    pub tokens_in: Option<Rate>,
    /// For tokens that come out.
    #[cfg_attr(feature = "serde", serde(default))]
    pub tokens_out: Option<Rate>,
    /// For tokens that go in and that the provider had cached.
    #[cfg_attr(feature = "serde", serde(default))]
    pub tokens_cached: Option<Rate>,
    /// For microseconds: a price per second is one per [`Rate::SECOND`] of them.
    #[cfg_attr(feature = "serde", serde(default))]
    pub micros: Option<Rate>,
    /// For bytes.
    #[cfg_attr(feature = "serde", serde(default))]
    pub bytes: Option<Rate>,
}

impl Price {
    /// A price without any rate.
    pub const fn free(currency: Currency, payee: EntityId) -> Self {
        let (calls, tokens_in, tokens_out) = (None, None, None);
        let (tokens_cached, micros, bytes) = (None, None, None);
        Self { currency, payee, calls, tokens_in, tokens_out, tokens_cached, micros, bytes }
    }
}

/// What was used, or what will be used at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Usage {
    /// How many calls.
    pub calls: u64,
    /// How many tokens went in, cached ones not counted.
    pub tokens_in: u64,
    /// How many came out.
    pub tokens_out: u64,
    /// How many went in that the provider had cached.
    pub tokens_cached: u64,
    /// How long it took, in microseconds.
    pub micros: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// From some time on, something has another price. A fact: `ledger.priced`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PriceSet {
    /// What: the name of a tool or a model.
    pub item: Name,
    /// From when on.
    pub from: Timestamp,
    /// The price; `None`: it has none any more.
    pub price: Option<Price>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_numbers_have_prices() {
        let second = Rate::SECOND;
        let time = [second, 60 * second, 3600 * second, 24 * 3600 * second];
        let counts = [1, 10, 1000, 1_000_000, 1_000_000_000, 1_000_000_000_000];
        let bytes = [1 << 10, 1 << 20, 1 << 30, 1 << 40];
        for per in time.into_iter().chain(counts).chain(bytes) {
            assert!(Rate::new(Amount::UNIT, per).is_ok(), "{per}");
        }
        for per in [0, 7, 11_000, u64::MAX] {
            assert_eq!(Rate::new(Amount::UNIT, per), Err(RateError::Per { per }));
        }
        for amount in [Amount(-1), Amount(Rate::MAX.0 + 1)] {
            assert_eq!(Rate::new(amount, 1), Err(RateError::Amount { amount }));
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn what_is_read_is_checked() {
        let read = |text: &str| serde_json::from_str::<Rate>(text);
        assert_eq!(
            read(r#"{"amount":"0.15","per":1000000}"#).ok(),
            Rate::new(Amount(150_000_000), 1_000_000).ok()
        );
        for text in [r#"{"amount":"0.15","per":0}"#, r#"{"amount":"-0.15","per":1}"#] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
