//! Rules of fees and payouts, as pure functions.
//!
//! ```
//! use toka_ledger::rules::{Fee, Part, Schedule, split};
//! use toka_types::Amount;
//!
//! // 2.9 % and 0.30, at most 5.00
//! let part = Part { fixed: Amount(300_000_000), basis_points: 290 };
//! let fee = Fee { schedule: Schedule::Flat(part), least: None, most: Some(Amount::units(5)) };
//! assert_eq!(fee.on(Amount::units(100))?.rounded_up().to_string(), "3.20");
//! assert_eq!(fee.on(Amount::units(1_000))?.rounded_up().to_string(), "5.00");
//!
//! let parts = split(Amount(100), &[1, 1, 1])?;
//! assert_eq!(parts, [Amount(34), Amount(33), Amount(33)]);
//! # Ok::<(), toka_ledger::rules::RuleError>(())
//! ```

use alloc::vec::Vec;
use core::fmt;

use toka_types::{Amount, EntityId};

use crate::price::Cost;

/// Basis points in the whole: a fee of more would be above what it is taken from.
pub const WHOLE: u32 = 10_000;
/// Most tiers of a fee: a person can still read them.
pub const MAX_TIERS: usize = 64;

/// A fee: what its schedule says, within bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Fee {
    /// How it grows with the amount.
    pub schedule: Schedule,
    /// The least it is.
    pub least: Option<Amount>,
    /// The most it is.
    pub most: Option<Amount>,
}

/// How a fee grows with the amount.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Schedule {
    /// The same part of every amount.
    Flat(Part),
    /// The whole amount pays as the tier says in which it lies.
    Volume(Vec<Tier>),
    /// What of the amount lies in a tier pays as that tier says. Such a fee never falls as the amount grows.
    Graduated(Vec<Tier>),
}

/// A fixed amount and a share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Part {
    /// The fixed amount.
    pub fixed: Amount,
    /// The share, in hundredths of a percent.
    pub basis_points: u32,
}

/// A part that is due above an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Tier {
    /// The amount above which the tier begins; that of the first is nothing.
    pub above: Amount,
    /// What is due.
    pub part: Part,
}

impl Fee {
    /// The exact fee on `amount`; whoever posts it rounds it up.
    ///
    /// # Errors
    /// [`RuleError`] if the rule or the amount makes no sense, and [`RuleError::Overflow`] if the fee is as much as money can
    /// be or more, and has no cap below that.
    pub fn on(&self, amount: Amount) -> Result<Cost, RuleError> {
        self.check()?;
        if amount < Amount::ZERO || amount > Amount::LIMIT {
            return Err(RuleError::Amount { amount });
        }
        let fee = match &self.schedule {
            Schedule::Flat(part) => part.of(amount),
            Schedule::Volume(tiers) => {
                let tier = tiers.iter().rev().find(|tier| tier.above < amount);
                tier.map_or(Cost::ZERO, |tier| tier.part.of(amount))
            }
            Schedule::Graduated(tiers) => {
                let ends = tiers.iter().skip(1).map(|tier| tier.above).chain([Amount::LIMIT]);
                let reached = tiers.iter().zip(ends).take_while(|(tier, _)| tier.above < amount);
                reached.fold(Cost::ZERO, |fee, (tier, end)| {
                    fee.plus(tier.part.of(amount.min(end).saturating_sub(tier.above)))
                })
            }
        };
        let least = self.least.map_or(Cost::ZERO, Cost::from);
        let fee = fee.max(least).min(self.most.map_or(Cost::MAX, Cost::from));
        // A sum is exact below the limit alone.
        if fee >= Cost::MAX { Err(RuleError::Overflow { amount }) } else { Ok(fee) }
    }

    /// Says what is wrong with the rule itself, if anything is.
    pub fn check(&self) -> Result<(), RuleError> {
        let (least, most) = (self.least.unwrap_or_default(), self.most.unwrap_or(Amount::LIMIT));
        if least < Amount::ZERO || least > most {
            return Err(RuleError::Bounds { least, most });
        }
        match &self.schedule {
            Schedule::Flat(part) => part.check(),
            Schedule::Volume(tiers) | Schedule::Graduated(tiers) => {
                let rising = tiers.windows(2).all(|pair| pair[0].above < pair[1].above);
                let first = tiers.first().map(|tier| tier.above);
                if first != Some(Amount::ZERO) || !rising || tiers.len() > MAX_TIERS {
                    return Err(RuleError::Tiers { count: tiers.len() });
                }
                tiers.iter().try_for_each(|tier| tier.part.check())
            }
        }
    }
}

impl Part {
    fn of(&self, amount: Amount) -> Cost {
        Cost::from(self.fixed).plus(Cost::share(amount, self.basis_points.into(), WHOLE.into()))
    }

    fn check(&self) -> Result<(), RuleError> {
        if self.fixed < Amount::ZERO || self.fixed > Amount::LIMIT {
            return Err(RuleError::Amount { amount: self.fixed });
        }
        if self.basis_points > WHOLE {
            return Err(RuleError::BasisPoints { basis_points: self.basis_points });
        }
        Ok(())
    }
}

/// Splits `total` by weight, to the last nano: each part is its exact share rounded down, and what is left goes, a nano
/// each, to those from whom most was rounded off, of equals to the first.
pub fn split(total: Amount, weights: &[u32]) -> Result<Vec<Amount>, RuleError> {
    if total < Amount::ZERO || total > Amount::LIMIT {
        return Err(RuleError::Amount { amount: total });
    }
    let sum: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
    if sum == 0 {
        return Err(RuleError::Weights { count: weights.len() });
    }
    // The limit has 90 bits and a weight 32, so the products fit.
    let share = |weight: u32| total.0 * i128::from(weight);
    let mut parts: Vec<Amount> = weights.iter().map(|weight| Amount(share(*weight) / sum)).collect();
    let left = total.0 - parts.iter().map(|part| part.0).sum::<i128>();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|place| core::cmp::Reverse(share(weights[*place]) % sum));
    // Less than one nano was rounded off from each, so there are more parts than nanos left.
    for place in order.into_iter().take(usize::try_from(left).unwrap_or(0)) {
        parts[place].0 += 1;
    }
    Ok(parts)
}

/// Who gets what of `total`: first the fees, each on the whole and rounded up, then the rest by weight. The parts sum up
/// to `total`.
pub fn payout(
    total: Amount,
    fees: &[(EntityId, Fee)],
    shares: &[(EntityId, u32)],
) -> Result<Vec<(EntityId, Amount)>, RuleError> {
    let mut parts = Vec::with_capacity(fees.len() + shares.len());
    let mut rest = total;
    for (payee, fee) in fees {
        let fee = fee.on(total)?.rounded_up();
        if fee > rest {
            return Err(RuleError::Fees { fee, rest });
        }
        rest = rest.saturating_sub(fee);
        parts.push((*payee, fee));
    }
    let weights: Vec<u32> = shares.iter().map(|(_, weight)| *weight).collect();
    let amounts = split(rest, &weights)?;
    parts.extend(shares.iter().map(|(payee, _)| *payee).zip(amounts));
    Ok(parts)
}

/// Why a rule, or what it is applied to, makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// An amount is out of bounds.
    Amount {
        /// The amount.
        amount: Amount,
    },
    /// The fee is as much as money can be, or more.
    Overflow {
        /// What it is a fee on.
        amount: Amount,
    },
    /// The least is above the most, or below zero.
    Bounds {
        /// The least.
        least: Amount,
        /// The most.
        most: Amount,
    },
    /// A share is above the whole.
    BasisPoints {
        /// The share.
        basis_points: u32,
    },
    /// The tiers do not begin at nothing and rise, or there are too many.
    Tiers {
        /// How many there are.
        count: usize,
    },
    /// Nobody has a weight.
    Weights {
        /// How many there are.
        count: usize,
    },
    /// The fees are more than there is.
    Fees {
        /// The fee that is too much.
        fee: Amount,
        /// What is left for it.
        rest: Amount,
    },
}

impl RuleError {
    /// The code, for programs: it keeps its text and its meaning.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Amount { .. } => "rule.amount",
            Self::Overflow { .. } => "rule.overflow",
            Self::Bounds { .. } => "rule.bounds",
            Self::BasisPoints { .. } => "rule.basis-points",
            Self::Tiers { .. } => "rule.tiers",
            Self::Weights { .. } => "rule.weights",
            Self::Fees { .. } => "rule.fees",
        }
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amount { amount } => {
                write!(f, "an amount of {amount}; 0.00 to {} is allowed", Amount::LIMIT)
            }
            Self::Overflow { amount } => {
                write!(f, "the fee on {amount} is {} or more; cap it, or take less", Amount::LIMIT)
            }
            Self::Bounds { least, most } => {
                write!(f, "a fee of at least {least} and at most {most}; the least is from 0.00 to the most")
            }
            Self::BasisPoints { basis_points } => {
                write!(f, "{basis_points} basis points; at most {WHOLE} are allowed, which is all of it")
            }
            Self::Tiers { count } => write!(
                f,
                "{count} tiers that do not begin above 0.00 and rise; 1 to {MAX_TIERS} that do are allowed"
            ),
            Self::Weights { count } => {
                write!(f, "{count} shares without any weight; give at least one a weight above 0")
            }
            Self::Fees { fee, rest } => {
                write!(f, "a fee of {fee}, and {rest} is left; take less, or pay out more at once")
            }
        }
    }
}

impl core::error::Error for RuleError {}
