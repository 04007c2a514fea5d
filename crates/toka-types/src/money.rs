//! Money: exact amounts of a currency, and the accounts that hold them.
//!
//! An amount is a whole number of nanos, 10⁻⁹ of a currency's unit; there is no floating point in it. It has 128
//! bits, so that sums of many amounts, each at most [`Amount::LIMIT`], have room: what must always be recorded
//! (the true price of a call that was made) never fails for an overflow.
//!
//! ```
//! use toka_types::{Amount, Money};
//!
//! let price: Money = "0.50 USD".parse()?;
//! assert_eq!(price.amount, Amount(500_000_000));
//! assert_eq!(price.to_string(), "0.50 USD");
//!
//! let error = "0,50 USD".parse::<Money>().unwrap_err();
//! assert_eq!(error.at, 1);
//! # Ok::<(), toka_types::money::MoneyError>(())
//! ```

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::id::EntityId;

/// Longest code of a currency, in bytes: ISO 4217 has three, and names of other units fit as well.
pub const MAX_CURRENCY: usize = 8;
/// How many decimals an amount has.
pub const DECIMALS: usize = 9;

/// How many nanos one unit has.
const NANOS: u128 = 1_000_000_000;
/// How many decimals an amount shows at least.
const SHOWN_DECIMALS: usize = 2;
/// Most characters of a text that an error shows.
const SHOWN_TEXT: usize = 80;

/// What an amount counts: the code of a currency or of another unit, as `USD`; 1 to [`MAX_CURRENCY`] upper-case
/// letters and digits, the first a letter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; MAX_CURRENCY]);

impl Currency {
    /// The first currency in order.
    pub const MIN: Self = Self([b'A', 0, 0, 0, 0, 0, 0, 0]);

    /// Checks `code` and makes it a currency.
    pub fn new(code: &str) -> Result<Self, MoneyError> {
        Self::parse(code, 0)
    }

    /// Its code.
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|b| *b == 0).unwrap_or(MAX_CURRENCY);
        core::str::from_utf8(&self.0[..len]).unwrap_or_default()
    }

    /// The currency whose code is the rest of `text` from byte `start` on.
    fn parse(text: &str, start: usize) -> Result<Self, MoneyError> {
        let error = |at| MoneyError::new(text, start + at, MoneyProblem::Currency);
        let code = &text.as_bytes()[start..];
        if code.is_empty() {
            return Err(error(0));
        }
        let mut bytes = [0; MAX_CURRENCY];
        for (at, byte) in code.iter().enumerate() {
            let allowed = byte.is_ascii_uppercase() || (at > 0 && byte.is_ascii_digit());
            match bytes.get_mut(at) {
                Some(slot) if allowed => *slot = *byte,
                _ => return Err(error(at)),
            }
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        Self::new(text)
    }
}

/// A whole number of nanos, 10⁻⁹ of a unit; below zero it is a debt, or what went out.
///
/// Its text has at least two decimals and at most nine: `0.50`, `-12.00`, `0.00000015`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(pub i128);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One unit.
    pub const UNIT: Self = Self(NANOS as i128);
    /// Most that one entry of a ledger moves, and most that is ever issued of a currency: 10¹⁸ units, more than there
    /// is of any currency. 10¹¹ entries of that size fit into 128 bits.
    pub const LIMIT: Self = Self(1_000_000_000_000_000_000 * NANOS as i128);

    /// That many whole units.
    pub const fn units(units: i64) -> Self {
        Self(units as i128 * NANOS as i128)
    }

    /// The sum, unless it overflows.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, unless it overflows.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The sum, or the end of the range that it passes.
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, or the end of the range that it passes.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// This amount going the other way.
    pub fn reversed(self) -> Self {
        Self(self.0.saturating_neg())
    }

    /// This amount of `currency`.
    pub fn of(self, currency: Currency) -> Money {
        Money { amount: self, currency }
    }

    /// The amount at the beginning of `text`, and where it ends.
    fn parse(text: &str) -> Result<(Self, usize), MoneyError> {
        let bytes = text.as_bytes();
        let error = |at, problem| MoneyError::new(text, at, problem);
        let start = usize::from(bytes.first() == Some(&b'-'));
        let whole = digits(bytes, start);
        if whole == start {
            return Err(error(start, MoneyProblem::Digit));
        }
        if bytes[start] == b'0' && whole > start + 1 {
            return Err(error(start, MoneyProblem::LeadingZero));
        }
        let (fraction, end) = match bytes.get(whole) {
            Some(b'.') => (whole + 1, digits(bytes, whole + 1)),
            _ => (whole, whole),
        };
        if fraction > whole && end == fraction {
            return Err(error(fraction, MoneyProblem::Digit));
        }
        if end - fraction > DECIMALS {
            return Err(error(fraction + DECIMALS, MoneyProblem::Decimals));
        }
        let written = bytes[start..whole].iter().chain(&bytes[fraction..end]);
        let padding = core::iter::repeat_n(&b'0', DECIMALS - (end - fraction));
        let nanos = written.chain(padding).try_fold(0i128, |nanos, digit| {
            // A debt reaches as far as an amount does, so the sign can wait.
            nanos.checked_mul(10)?.checked_add(i128::from(digit - b'0'))
        });
        let nanos = nanos.ok_or_else(|| error(start, MoneyProblem::TooLarge))?;
        Ok((Self(if start == 1 { -nanos } else { nanos }), end))
    }
}

fn digits(bytes: &[u8], start: usize) -> usize {
    start + bytes[start..].iter().take_while(|b| b.is_ascii_digit()).count()
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        let (units, mut rest, mut decimals) = (nanos / NANOS, nanos % NANOS, DECIMALS);
        while decimals > SHOWN_DECIMALS && rest % 10 == 0 {
            (rest, decimals) = (rest / 10, decimals - 1);
        }
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{units}.{rest:0decimals$}")
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Amount {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        match Self::parse(text)? {
            (amount, end) if end == text.len() => Ok(amount),
            (_, end) => Err(MoneyError::new(text, end, MoneyProblem::AfterAmount)),
        }
    }
}

/// An amount of a currency: `0.50 USD` as text, `{"amount": "0.50", "currency": "USD"}` as JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(deny_unknown_fields, expecting = "money, as in {\"amount\": \"0.50\", \"currency\": \"USD\"}")
)]
pub struct Money {
    /// How much.
    pub amount: Amount,
    /// Of what.
    pub currency: Currency,
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let (amount, end) = Amount::parse(text)?;
        if text.as_bytes().get(end) != Some(&b' ') {
            return Err(MoneyError::new(text, end, MoneyProblem::Space));
        }
        Ok(Self { amount, currency: Currency::parse(text, end + 1)? })
    }
}

/// An account: each owner has at most one of a currency. As text it is the owner's id, `:` and the currency.
///
/// Whatever has a name can own one ([`EntityId::named`]): agents, the operator, and parties that never act, as
/// the provider of a model.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId {
    /// Whose it is.
    pub owner: EntityId,
    /// What it holds.
    pub currency: Currency,
}

impl AccountId {
    /// The account of `owner` in `currency`.
    pub const fn new(owner: EntityId, currency: Currency) -> Self {
        Self { owner, currency }
    }

    /// The account that stands against all money of a currency: what is issued comes from it, what is destroyed
    /// returns to it. It is nobody's, and its balance is what is in circulation, below zero.
    pub const fn issuance(currency: Currency) -> Self {
        Self::new(EntityId::NONE, currency)
    }

    /// True for the account of [`AccountId::issuance`].
    pub fn is_issuance(&self) -> bool {
        self.owner == EntityId::NONE
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.owner, self.currency)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for AccountId {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let error = || MoneyError::new(text, 0, MoneyProblem::Account);
        let (owner, currency) = text.split_once(':').ok_or_else(error)?;
        let at = text.len() - currency.len();
        Ok(Self { owner: owner.parse().map_err(|_| error())?, currency: Currency::parse(text, at)? })
    }
}

/// A text that is no money, or no part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}': byte {at}: {problem}", crate::path::for_terminal(text))]
pub struct MoneyError {
    /// The first characters of the text.
    pub text: String,
    /// Byte offset of the problem.
    pub at: usize,
    /// What is wrong there, and what is allowed.
    pub problem: MoneyProblem,
}

impl MoneyError {
    fn new(text: &str, at: usize, problem: MoneyProblem) -> Self {
        Self { text: text.chars().take(SHOWN_TEXT).collect(), at, problem }
    }
}

/// What is wrong at one place of the text of some money; the message says what is allowed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message is its documentation")]
pub enum MoneyProblem {
    #[error("a digit is expected; write digits, and after a point at most {DECIMALS} more, as in 0.50")]
    Digit,
    #[error("leading zeros are not allowed; write 0.50, not 00.50")]
    LeadingZero,
    #[error("at most {DECIMALS} decimals are allowed, and nothing is rounded; leave the others out")]
    Decimals,
    #[error("the amount does not fit; at most {}.{:09} can be written", i128::MAX as u128 / NANOS, i128::MAX as u128 % NANOS)]
    TooLarge,
    #[error("nothing may follow the amount; write digits and one point only, as in 0.50")]
    AfterAmount,
    #[error("one space and a currency are expected after the amount, as in 0.50 USD")]
    Space,
    #[error(
        "a currency is expected: 1 to {MAX_CURRENCY} upper-case letters and digits, as USD, and nothing after it"
    )]
    Currency,
    #[error("an account is written as the 32 hex digits of its owner, ':' and a currency")]
    Account,
}

#[cfg(feature = "serde")]
mod encoding {
    use alloc::borrow::Cow;
    use core::fmt;

    use serde::de::{Deserialize, Deserializer, Error, Visitor};
    use serde::ser::{Serialize, Serializer};

    use super::{AccountId, Amount, Currency};
    use crate::id::EntityId;

    impl Serialize for Currency {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str(self.as_str())
        }
    }

    impl<'de> Deserialize<'de> for Currency {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let code = <Cow<'de, str>>::deserialize(deserializer)?;
            Self::new(&code).map_err(D::Error::custom)
        }
    }

    impl Serialize for Amount {
        /// Text for people; for programs an integer, which of the usual amounts takes few bytes.
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if serializer.is_human_readable() {
                return serializer.collect_str(self);
            }
            match i64::try_from(self.0) {
                Ok(nanos) => serializer.serialize_i64(nanos),
                Err(_) => serializer.serialize_bytes(&self.0.to_be_bytes()),
            }
        }
    }

    impl<'de> Deserialize<'de> for Amount {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            if deserializer.is_human_readable() {
                let text = <Cow<'de, str>>::deserialize(deserializer)?;
                return text.parse().map_err(D::Error::custom);
            }
            deserializer.deserialize_any(Nanos)
        }
    }

    struct Nanos;

    impl Visitor<'_> for Nanos {
        type Value = Amount;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an integer, or its 16 bytes, the highest first")
        }

        fn visit_i64<E: Error>(self, nanos: i64) -> Result<Amount, E> {
            Ok(Amount(nanos.into()))
        }

        fn visit_u64<E: Error>(self, nanos: u64) -> Result<Amount, E> {
            Ok(Amount(nanos.into()))
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Amount, E> {
            let bytes = bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))?;
            Ok(Amount(i128::from_be_bytes(bytes)))
        }
    }

    impl Serialize for AccountId {
        /// Text for people, so that it can be the key of a map in JSON.
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if serializer.is_human_readable() {
                serializer.collect_str(self)
            } else {
                (self.owner, self.currency).serialize(serializer)
            }
        }
    }

    impl<'de> Deserialize<'de> for AccountId {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            if deserializer.is_human_readable() {
                let text = <Cow<'de, str>>::deserialize(deserializer)?;
                return text.parse().map_err(D::Error::custom);
            }
            let (owner, currency) = <(EntityId, Currency)>::deserialize(deserializer)?;
            Ok(Self { owner, currency })
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use proptest::prelude::*;

    fn fails(text: &str, at: usize, problem: MoneyProblem) {
        let error = text.parse::<Money>().unwrap_err();
        assert_eq!((error.at, error.problem), (at, problem), "{text:?}");
    }

    #[test]
    fn texts_read_back() {
        let cases = [
            ("0.50 USD", 500_000_000),
            ("0.00 USD", 0),
            ("12.00 USD", 12_000_000_000),
            ("0.00000015 USD", 150),
            ("0.123456789 USD", 123_456_789),
            ("-3.10 USD", -3_100_000_000),
            ("1000000.00 USD", 1_000_000_000_000_000),
        ];
        for (text, nanos) in cases {
            let money: Money = text.parse().expect(text);
            assert_eq!(money.amount, Amount(nanos));
            assert_eq!(money.to_string(), text);
        }
        for (text, shown) in [("5 USD", "5.00 USD"), ("0.5 X2", "0.50 X2"), ("0.100000000 EUR", "0.10 EUR")] {
            assert_eq!(text.parse::<Money>().expect(text).to_string(), shown);
        }
    }

    #[test]
    fn whatever_is_not_exact_is_refused_where_it_stands() {
        fails("", 0, MoneyProblem::Digit);
        fails("USD", 0, MoneyProblem::Digit);
        fails("+1 USD", 0, MoneyProblem::Digit);
        fails(".50 USD", 0, MoneyProblem::Digit);
        fails("- 1 USD", 1, MoneyProblem::Digit);
        fails("1. USD", 2, MoneyProblem::Digit);
        fails("007 USD", 0, MoneyProblem::LeadingZero);
        fails("-00.5 USD", 1, MoneyProblem::LeadingZero);
        fails("0.1234567891 USD", 11, MoneyProblem::Decimals);
        fails("1,50 USD", 1, MoneyProblem::Space);
        fails("1e3 USD", 1, MoneyProblem::Space);
        fails("1_000 USD", 1, MoneyProblem::Space);
        fails("1.50USD", 4, MoneyProblem::Space);
        fails("1.50", 4, MoneyProblem::Space);
        fails("1.50  USD", 5, MoneyProblem::Currency);
        fails("1.50 ", 5, MoneyProblem::Currency);
        fails("1.50 usd", 5, MoneyProblem::Currency);
        fails("1.50 U$D", 6, MoneyProblem::Currency);
        fails("1.50 2SD", 5, MoneyProblem::Currency);
        fails("1.50 USD ", 8, MoneyProblem::Currency);
        fails("1.50 ABCDEFGHI", 13, MoneyProblem::Currency);
        fails("١ USD", 0, MoneyProblem::Digit);
        let long = "9".repeat(31);
        fails(&alloc::format!("{long} USD"), 0, MoneyProblem::TooLarge);
        assert_eq!("1.5 ".parse::<Amount>().unwrap_err().problem, MoneyProblem::AfterAmount);
    }

    #[test]
    fn an_error_names_value_place_and_way_out() {
        let error = "0,50 USD".parse::<Money>().unwrap_err().to_string();
        assert_eq!(
            error,
            "'0,50 USD': byte 1: one space and a currency are expected after the amount, as in 0.50 USD"
        );
    }

    #[test]
    fn accounts_have_a_text() {
        let account = AccountId::new(EntityId::named("a"), Currency::new("USD").expect("a code"));
        assert_eq!(account.to_string().parse(), Ok(account));
        for text in ["", "USD", "a:USD", &account.to_string()[..33]] {
            assert!(text.parse::<AccountId>().is_err(), "{text}");
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn json_has_amounts_as_text_and_takes_nothing_else() {
        let text = r#"{"amount":"0.50","currency":"USD"}"#;
        let money: Money = serde_json::from_str(text).expect("well formed");
        assert_eq!(money, "0.50 USD".parse().expect("well formed"));
        assert_eq!(serde_json::to_string(&money).expect("plain data"), text);
        for text in [
            r#"{"amount":0.5,"currency":"USD"}"#,
            r#"{"amount":1,"currency":"USD"}"#,
            r#"{"amount":"0.50","amount":"9.00","currency":"USD"}"#,
            r#"{"amount":"0.50","currency":"USD","fee":"1"}"#,
            r#"{"amount":"0.50","currency":"usd"}"#,
            r#"{"amount":"0.50"}"#,
        ] {
            assert!(serde_json::from_str::<Money>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_amount_reads_back(nanos in any::<i128>().prop_filter("has an opposite", |n| *n != i128::MIN)) {
            prop_assert_eq!(Amount(nanos).to_string().parse(), Ok(Amount(nanos)));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,24}|-?[0-9.]{1,44} ?[A-Z0-9]{0,9}") {
            if let Ok(money) = text.parse::<Money>() {
                prop_assert_eq!(money.to_string().parse(), Ok(money));
            }
            let _ = text.parse::<AccountId>();
        }

        #[test]
        fn order_is_that_of_the_value(a in any::<i64>(), b in any::<i64>()) {
            prop_assert_eq!(Amount(a.into()).cmp(&Amount(b.into())), a.cmp(&b));
        }
    }
}
