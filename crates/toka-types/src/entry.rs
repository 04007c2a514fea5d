//! Entries of a ledger: facts about value, small and typed. `toka-ledger` decides them and folds them.
//!
//! Every entry moves at most one amount from one account to another of the same currency ([`Entry::movement`]), so
//! that it balances by its shape: what one account gives is what the other gets. The account that stands against all
//! money of a currency is [`AccountId::issuance`].
//!
//! ```
//! use toka_types::entry::{Entry, Transferred};
//! use toka_types::EntityId;
//!
//! let (from, to) = (EntityId::named("a"), EntityId::named("b"));
//! let entry = Entry::from(Transferred { from, to, money: "0.50 USD".parse()? });
//! assert_eq!(entry.kind(), "ledger.transferred");
//! let postings: Vec<_> = entry.postings().map(|(account, amount)| (account.owner, amount.to_string())).collect();
//! assert_eq!(postings, [(from, "-0.50".to_owned()), (to, "0.50".to_owned())]);
//! # Ok::<(), toka_types::money::MoneyError>(())
//! ```

use core::fmt;

use crate::id::{EntityId, EventId};
use crate::money::{AccountId, Amount, Currency, Money};
use crate::time::Timestamp;

macro_rules! entries {
    ($($(#[$doc:meta])* $kind:literal $variant:ident($name:ident) {
        $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
    })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
            pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

            impl From<$name> for Entry {
                fn from(entry: $name) -> Self {
                    Self::$variant(entry)
                }
            }
        )*

        /// One entry.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
        pub enum Entry {
            $($(#[$doc])* $variant($name),)*
        }

        impl Entry {
            /// The kind of the event that has this entry alone for its facts.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => $kind,)* }
            }
        }
    };
}

entries! {
    /// An account exists.
    "ledger.opened" Opened(AccountOpened) {
        /// Whose it is.
        owner: EntityId,
        /// What it holds.
        currency: Currency,
        /// The owner of the account above it, whose spending includes this one's.
        parent: Option<EntityId>,
    }
    /// The most that an account and those below it may spend in a period.
    "ledger.limited" Limited(BudgetSet) {
        /// Whose account it is.
        owner: EntityId,
        /// What it holds.
        currency: Currency,
        /// The period.
        period: Period,
        /// The most; `None`: no limit any more.
        limit: Option<Amount>,
    }
    /// Money was issued.
    "ledger.minted" Minted(Minted) {
        /// Who got it.
        to: EntityId,
        /// How much.
        money: Money,
    }
    /// Money was destroyed.
    "ledger.burnt" Burnt(Burnt) {
        /// Who had it.
        from: EntityId,
        /// How much.
        money: Money,
    }
    /// Money changed hands.
    "ledger.transferred" Transferred(Transferred) {
        /// Who gave it.
        from: EntityId,
        /// Who got it.
        to: EntityId,
        /// How much.
        money: Money,
    }
    /// Money was handed down to an account below the giver's, which exists from then on.
    "ledger.carved" Carved(Carved) {
        /// Who gave it.
        from: EntityId,
        /// Who may spend it.
        to: EntityId,
        /// How much.
        money: Money,
    }
    /// Money is kept back for what a call may cost at most. The hold has the id of the event.
    "ledger.held" Held(Held) {
        /// Who is going to pay.
        from: EntityId,
        /// Who is going to be paid.
        to: EntityId,
        /// How much is kept back.
        money: Money,
    }
    /// A hold ended with what the call did cost.
    "ledger.settled" Settled(Settled) {
        /// The hold.
        hold: EventId,
        /// Who paid.
        from: EntityId,
        /// Who was paid.
        to: EntityId,
        /// How much was kept back.
        held: Amount,
        /// How much was paid; it may be nothing, and more than what was kept back.
        charged: Money,
    }
    /// A hold ended, and nothing was paid.
    "ledger.released" Released(Released) {
        /// The hold.
        hold: EventId,
        /// Whose money it is again.
        from: EntityId,
        /// How much was kept back.
        money: Money,
    }
}

/// What an entry moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Movement {
    /// Where it comes from.
    pub from: AccountId,
    /// Where it goes, an account of the same currency.
    pub to: AccountId,
    /// How much.
    pub amount: Amount,
}

impl Entry {
    /// What the entry moves, if it moves anything.
    pub fn movement(&self) -> Option<Movement> {
        let (from, to, money) = match *self {
            Self::Minted(Minted { to, money }) => (EntityId::NONE, to, money),
            Self::Burnt(Burnt { from, money }) => (from, EntityId::NONE, money),
            Self::Transferred(Transferred { from, to, money }) => (from, to, money),
            Self::Carved(Carved { from, to, money }) => (from, to, money),
            Self::Settled(Settled { from, to, charged, .. }) if charged.amount != Amount::ZERO => {
                (from, to, charged)
            }
            Self::Settled(_) | Self::Opened(_) | Self::Limited(_) | Self::Held(_) | Self::Released(_) => {
                return None;
            }
        };
        let account = |owner| AccountId::new(owner, money.currency);
        Some(Movement { from: account(from), to: account(to), amount: money.amount })
    }

    /// By how much the entry changes which balance. The sum is nothing.
    pub fn postings(&self) -> impl Iterator<Item = (AccountId, Amount)> + use<> {
        let movement = self.movement().into_iter();
        movement.flat_map(|m| [(m.from, m.amount.reversed()), (m.to, m.amount)])
    }
}

/// A stretch of time for which spending is limited, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Period {
    /// From one full hour to the next.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Sunday.
    Week,
    /// A month of the calendar.
    Month,
    /// For ever.
    Total,
}

impl Period {
    /// All of them, the shortest first.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Total];

    /// The first time after the period in which `at` lies. Nothing is after the end of time.
    pub fn end(self, at: Timestamp) -> Timestamp {
        const HOUR: i64 = 3_600_000_000;
        const DAY: i64 = 24 * HOUR;
        const WEEK: i64 = 7 * DAY;
        // The epoch began on a Thursday.
        const MONDAY: i64 = -3 * DAY;
        let every = |length: i64, first: i64| {
            let (length, first) = (i128::from(length), i128::from(first));
            let passed = (i128::from(at.0) - first).div_euclid(length);
            i64::try_from((passed + 1) * length + first).unwrap_or(i64::MAX)
        };
        Timestamp(match self {
            Self::Hour => every(HOUR, 0),
            Self::Day => every(DAY, 0),
            Self::Week => every(WEEK, MONDAY),
            Self::Month => first_day(month(at.0.div_euclid(DAY)) + 1).saturating_mul(DAY),
            Self::Total => i64::MAX,
        })
    }

    /// The period's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Days from the first of March of the year 0 to the epoch. The years of the calculations below begin in March, so that
/// a leap day is the last of its year (Hinnant, "chrono-compatible low-level date algorithms").
const EPOCH: i64 = 719_468;
/// Days in 400 years.
const DAYS_OF_ERA: i64 = 146_097;

/// The month in which a day lies, counted from January of the year 0; the day is counted from the epoch.
fn month(day: i64) -> i64 {
    let day = day + EPOCH;
    let (era, day_of_era) = (day.div_euclid(DAYS_OF_ERA), day.rem_euclid(DAYS_OF_ERA));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_from_march = (5 * day_of_year + 2) / 153;
    (era * 400 + year_of_era) * 12 + months_from_march + 2
}

/// The first day of a month, counted as [`month`] counts both.
fn first_day(month: i64) -> i64 {
    let from_march = month - 2;
    let (year, months_from_march) = (from_march.div_euclid(12), from_march.rem_euclid(12));
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * months_from_march + 2) / 5;
    era * DAYS_OF_ERA + 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + day_of_year - EPOCH
}

/// What was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Measure {
    /// The money that an account was given.
    Funds,
    /// What an account and those below it may spend in a period.
    Budget(Period),
    /// What was kept back for one call: it did cost more.
    Hold,
}

/// How much of something was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Level {
    /// Four fifths or more: its owner is warned.
    Warned,
    /// All of it, or more: its owner is suspended.
    Exhausted,
}

/// With an entry, an account came to a [`Level`] that it had not reached before. A fact, as entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Notice {
    /// Whose account it is, and who is to be warned or suspended.
    pub owner: EntityId,
    /// What it holds.
    pub currency: Currency,
    /// How much was used up.
    pub level: Level,
    /// Of what.
    pub measure: Measure,
    /// How much that is.
    pub used: Amount,
    /// How much there was to use.
    pub limit: Amount,
}

impl Notice {
    /// The kind of the event that has this notice for its facts.
    pub fn kind(&self) -> &'static str {
        match self.level {
            Level::Warned => "ledger.warned",
            Level::Exhausted => "ledger.exhausted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600 * 1_000_000;

    #[track_caller]
    fn begins(period: Period, day: i64) {
        let begin = Timestamp(day * DAY);
        assert_eq!(period.end(Timestamp(begin.0 - 1)), begin, "{period} of day {day}");
        assert!(period.end(begin) > begin);
    }

    #[test]
    fn periods_begin_where_the_calendar_has_them() {
        for day in [-1, 0, 1, 20_000] {
            begins(Period::Hour, day);
            begins(Period::Day, day);
        }
        // Mondays: 29 December 1969, 5 January 1970, 1 January 2024.
        for monday in [-3, 4, 19_723] {
            begins(Period::Week, monday);
        }
        // 1 March 1900 (no leap year) and 2000, 1 January 1970, 1 March 2024, 1 December 2026.
        for first in [-25_508, 11_017, 0, 19_783, 20_788] {
            begins(Period::Month, first);
        }
        assert_eq!(Period::Hour.end(Timestamp(1)), Timestamp(DAY / 24));
        assert_eq!(Period::Week.end(Timestamp(0)), Timestamp(4 * DAY));
        assert_eq!(Period::Month.end(Timestamp(0)), Timestamp(31 * DAY));
        assert_eq!((month(0), month(20_788)), (1970 * 12, 2026 * 12 + 11));
    }

    #[test]
    fn every_day_lies_in_the_month_that_its_number_says() {
        for day in (-106_000_000..106_000_000).step_by(100_003).chain(-800_000..800_000) {
            let number = month(day);
            assert!((first_day(number)..first_day(number + 1)).contains(&day), "day {day}");
            assert!((28..=31).contains(&(first_day(number + 1) - first_day(number))));
        }
    }

    #[test]
    fn periods_end_at_the_end_of_time() {
        for period in Period::ALL {
            let end = Timestamp(i64::MAX);
            assert_eq!(period.end(end), end, "{period}");
            assert!(period.end(Timestamp(i64::MIN)) > Timestamp(i64::MIN), "{period}");
            assert!(period.end(Timestamp(0)) > Timestamp(0), "{period}");
        }
    }
}
