//! What something costs, exactly, and the book of prices.

use alloc::collections::BTreeMap;

use toka_types::price::{PARTS, Price, PriceSet, Rate, Usage};
use toka_types::{Amount, Money, Name, Timestamp};

use crate::error::LedgerError;

/// Most things that have prices: each is a tool or a model that somebody installed.
pub const MAX_ITEMS: usize = 10_000;
/// Most changes of one price: a daily one for a year and a half. They stay, since open holds are settled at old prices.
pub const MAX_CHANGES: usize = 512;

/// An exact cost: whole nanos, and [`PARTS`] of one. It is at least nothing and at most [`Amount::LIMIT`]; what would
/// be more is that. Costs are added before they are rounded, and only settling rounds.
///
/// ```
/// use toka_ledger::Cost;
/// use toka_types::{Amount, EntityId};
/// use toka_types::price::{Price, Rate, Usage};
///
/// let usd = "USD".parse().expect("a code");
/// let mut price = Price::free(usd, EntityId::named("provider"));
/// price.tokens_in = Some(Rate::new(Amount(37_500_000), 1_000_000).expect("a rate"));
/// let cost = Cost::of(&price, &Usage { tokens_in: 1, ..Usage::default() });
/// assert_eq!(cost.rounded_up(), Amount(38)); // 37.5 nanos, against the payer
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    nanos: u128,
    parts: u128,
}

impl Cost {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, parts: 0 };
    /// The highest cost.
    pub const MAX: Self = Self { nanos: Amount::LIMIT.0 as u128, parts: 0 };

    /// What `usage` costs at `price`: never less for more use.
    pub fn of(price: &Price, usage: &Usage) -> Self {
        let cached = price.tokens_cached.or(price.tokens_in);
        Self::ZERO
            .and(price.calls, usage.calls)
            .and(price.tokens_in, usage.tokens_in)
            .and(price.tokens_out, usage.tokens_out)
            .and(cached, usage.tokens_cached)
            .and(price.micros, usage.micros)
            .and(price.bytes, usage.bytes)
    }

    /// What a use within `bounds` costs at most. Of the tokens that go in, any may turn out to be cached, or not to be.
    pub fn at_most(price: &Price, bounds: &Usage) -> Self {
        let dearer = match (price.tokens_in, price.tokens_cached) {
            (Some(plain), Some(cached)) if is_dearer(cached, plain) => Some(cached),
            (plain, cached) => plain.or(cached),
        };
        Self::of(&Price { tokens_in: dearer, tokens_cached: dearer, ..*price }, bounds)
    }

    /// `amount` of `per`, exactly; of an amount below zero, nothing.
    pub(crate) fn share(amount: Amount, of: u128, per: u128) -> Self {
        let amount = u128::try_from(amount.0).unwrap_or(0);
        let product = amount.saturating_mul(of);
        Self { nanos: product / per, parts: product % per * (PARTS / per) }.bounded()
    }

    /// The sum, or [`Cost::MAX`].
    pub fn plus(self, other: Self) -> Self {
        let parts = self.parts + other.parts;
        Self { nanos: self.nanos + other.nanos + parts / PARTS, parts: parts % PARTS }.bounded()
    }

    /// The cost in whole nanos, rounded up: against whoever pays.
    pub fn rounded_up(self) -> Amount {
        // At most the limit, which is far below the sign.
        Amount(self.nanos as i128 + i128::from(self.parts > 0)).min(Amount::LIMIT)
    }

    fn and(self, rate: Option<Rate>, count: u64) -> Self {
        match rate {
            Some(rate) => self.plus(Self::share(rate.amount(), count.into(), rate.per().into())),
            None => self,
        }
    }

    fn bounded(self) -> Self {
        self.min(Self::MAX)
    }
}

impl From<Amount> for Cost {
    /// The amount; nothing, if it is below zero.
    fn from(amount: Amount) -> Self {
        Self::share(amount, 1, 1)
    }
}

/// True if `a` costs more than `b`. Both products fit: a rate's amount has 60 bits, its number 64.
fn is_dearer(a: Rate, b: Rate) -> bool {
    a.amount().0 * i128::from(b.per()) > b.amount().0 * i128::from(a.per())
}

/// What a call may cost at most: what is to be kept back for it.
pub fn worst_case(price: &Price, bounds: &Usage) -> Result<Money, LedgerError> {
    let amount = Cost::at_most(price, bounds).rounded_up();
    if amount >= Amount::LIMIT {
        return Err(LedgerError::Overflow { value: amount.of(price.currency), limit: Amount::LIMIT });
    }
    Ok(amount.of(price.currency))
}

/// The prices of tools and models, each from some time on. It is changed by [`PriceBook::apply`] alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PriceBook {
    prices: BTreeMap<Name, BTreeMap<Timestamp, Option<Price>>>,
}

impl PriceBook {
    /// A book without prices.
    pub fn new() -> Self {
        Self::default()
    }

    /// The price of `item` at `at`; `None` if it has none then. A call is settled at the price of the time at which its
    /// hold was made.
    pub fn at(&self, item: &Name, at: Timestamp) -> Option<&Price> {
        let (_, price) = self.prices.get(item)?.range(..=at).next_back()?;
        price.as_ref()
    }

    /// All prices: of what, from when on, and which; `None` where it has none from then on.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, Timestamp, Option<&Price>)> {
        let changes = |(item, changes)| (core::iter::repeat(item), changes);
        self.prices.iter().map(changes).flat_map(|(item, changes): (_, &BTreeMap<_, Option<Price>>)| {
            item.zip(changes).map(|(item, (from, price))| (item, *from, price.as_ref()))
        })
    }

    /// May `item` have this price from `from` on, which is not before `at`? What was to hold from the same time on is
    /// replaced. The price that it has at `at` stays that of this moment, and the new one follows it: calls whose holds were
    /// made in the same moment, and before, are settled at the price they were made at.
    pub fn check_set(
        &self,
        item: &Name,
        from: Timestamp,
        price: Option<Price>,
        at: Timestamp,
    ) -> Result<PriceSet, LedgerError> {
        let item = item.clone();
        if from < at {
            return Err(LedgerError::PricePast { item, from, at });
        }
        let taken = from == at && self.at(&item, at).is_some();
        let from = if taken { Timestamp(at.0.saturating_add(1)) } else { from };
        let limit = match self.prices.get(&item) {
            Some(changes) if changes.len() >= MAX_CHANGES && !changes.contains_key(&from) => MAX_CHANGES,
            None if self.prices.len() >= MAX_ITEMS => MAX_ITEMS,
            _ => return Ok(PriceSet { item, from, price }),
        };
        Err(LedgerError::PriceCount { item, limit })
    }

    /// Enters a price that was decided.
    pub fn apply(&mut self, set: &PriceSet) {
        self.prices.entry(set.item.clone()).or_default().insert(set.from, set.price);
    }
}
