//! Why something may not be entered: stable codes, and messages that name value, limit and way out.

use alloc::string::String;
use core::fmt;

use toka_types::entry::{Measure, Period};
use toka_types::{AccountId, Amount, Currency, EntityId, EventId, Money, Name, Timestamp};

use crate::check::MAX_DEPTH;
use crate::price::{MAX_CHANGES, MAX_ITEMS};

/// Why something may not be entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerError {
    /// Nobody has that account.
    AccountUnknown {
        /// The account.
        account: AccountId,
    },
    /// The account is there already.
    AccountExists {
        /// The account.
        account: AccountId,
    },
    /// Nothing, or less, was to be moved.
    Amount {
        /// What was to be moved.
        money: Money,
    },
    /// An amount, or what it adds up to, is above the limit.
    Overflow {
        /// The amount.
        value: Money,
        /// The limit.
        limit: Amount,
    },
    /// An account holds another currency than the money is of.
    Currency {
        /// The account.
        account: AccountId,
        /// The money.
        money: Money,
    },
    /// Giver and receiver are one account.
    SelfTransfer {
        /// The account.
        account: AccountId,
    },
    /// The account that money is issued from is nobody's.
    Issuance {
        /// The currency.
        currency: Currency,
    },
    /// The account has not enough.
    Funds {
        /// The account.
        account: AccountId,
        /// What it could give.
        available: Amount,
        /// What it should give.
        asked: Amount,
    },
    /// A limit for a period would be passed: the account's own, or that of one above it.
    Budget {
        /// The account with the limit.
        account: AccountId,
        /// The period.
        period: Period,
        /// The limit.
        limit: Amount,
        /// What was spent or is kept back in that period.
        used: Amount,
        /// What should be spent.
        asked: Amount,
    },
    /// No hold has that id.
    HoldUnknown {
        /// The id.
        hold: EventId,
    },
    /// Too many accounts are above one another.
    Depth {
        /// The account that another one should be opened below.
        account: AccountId,
        /// How many are above one another there.
        depth: usize,
    },
    /// Money can be handed down to an account directly below only.
    Parent {
        /// The account.
        account: AccountId,
        /// Who owns the account above it.
        parent: Option<EntityId>,
        /// Who wanted to hand down.
        wanted: EntityId,
    },
    /// The owner owes something.
    Debt {
        /// The account.
        account: AccountId,
        /// How much.
        debt: Amount,
    },
    /// All is used up.
    Exhausted {
        /// The account.
        account: AccountId,
        /// What is used up.
        measure: Measure,
        /// How much of it.
        used: Amount,
        /// How much there was.
        limit: Amount,
    },
    /// A price should hold for a time that is past.
    PricePast {
        /// What has the price.
        item: Name,
        /// From when on it should hold.
        from: Timestamp,
        /// What time it is.
        at: Timestamp,
    },
    /// There are as many prices as there may be.
    PriceCount {
        /// What should get one.
        item: Name,
        /// How many there may be.
        limit: usize,
    },
}

impl LedgerError {
    /// Every code, in the order of the variants.
    pub const CODES: [&str; 16] = [
        "ledger.account-unknown",
        "ledger.account-exists",
        "ledger.amount",
        "ledger.overflow",
        "ledger.currency",
        "ledger.self-transfer",
        "ledger.issuance",
        "ledger.funds",
        "ledger.budget",
        "ledger.hold-unknown",
        "ledger.depth",
        "ledger.parent",
        "ledger.debt",
        "ledger.exhausted",
        "ledger.price-past",
        "ledger.price-count",
    ];

    /// The code, for programs: it keeps its text and its meaning.
    pub fn code(&self) -> &'static str {
        let place = match self {
            Self::AccountUnknown { .. } => 0,
            Self::AccountExists { .. } => 1,
            Self::Amount { .. } => 2,
            Self::Overflow { .. } => 3,
            Self::Currency { .. } => 4,
            Self::SelfTransfer { .. } => 5,
            Self::Issuance { .. } => 6,
            Self::Funds { .. } => 7,
            Self::Budget { .. } => 8,
            Self::HoldUnknown { .. } => 9,
            Self::Depth { .. } => 10,
            Self::Parent { .. } => 11,
            Self::Debt { .. } => 12,
            Self::Exhausted { .. } => 13,
            Self::PricePast { .. } => 14,
            Self::PriceCount { .. } => 15,
        };
        Self::CODES[place]
    }

    /// The message, with owners by the names that `name` has for them. Where it has none, their ids are shown, as in
    /// the message that [`Display`](fmt::Display) writes.
    pub fn named<'a>(&self, name: impl Fn(EntityId) -> Option<&'a str>) -> String {
        let mut message = String::new();
        // Writing into memory cannot fail.
        let _ = self.write(&mut message, &name);
        message
    }

    fn write<'a>(&self, out: &mut dyn fmt::Write, name: &dyn Fn(EntityId) -> Option<&'a str>) -> fmt::Result {
        let who = |owner: EntityId| Who(owner, name(owner));
        match self {
            Self::AccountUnknown { account } => {
                write!(out, "{} has no account in {}; open one first", who(account.owner), account.currency)
            }
            Self::AccountExists { account } => write!(
                out,
                "{} has an account in {} already; use that one",
                who(account.owner),
                account.currency
            ),
            Self::Amount { money } => {
                write!(out, "{money} cannot be moved; name an amount above 0.00 {}", money.currency)
            }
            Self::Overflow { value, limit } => write!(
                out,
                "{value} is more than {limit} {}, the most that may be moved or issued; move less",
                value.currency
            ),
            Self::Currency { account, money } => write!(
                out,
                "the account of {} is in {} and cannot take or give {money}; use an account in {}",
                who(account.owner),
                account.currency,
                money.currency
            ),
            Self::SelfTransfer { account } => {
                write!(
                    out,
                    "{} would pay itself in {}; name another receiver",
                    who(account.owner),
                    account.currency
                )
            }
            Self::Issuance { currency } => write!(
                out,
                "the account that {currency} is issued from is nobody's; mint or burn, or name another account"
            ),
            Self::Funds { account: AccountId { owner, currency }, available, asked } => write!(
                out,
                "{} has {available} {currency} available, {asked} {currency} is asked for; top the account up, or ask for less",
                who(*owner)
            ),
            Self::Budget { account: AccountId { owner, currency }, period, limit, used, asked } => write!(
                out,
                "{used} {currency} of {limit} {currency} is spent or kept back in the budget of {} ({period}), {asked} {currency} is asked for; raise the limit, wait for the next period, or ask for less",
                who(*owner)
            ),
            Self::HoldUnknown { hold } => {
                write!(out, "there is no hold {hold}; it has ended, or never was: look at the open ones")
            }
            Self::Depth { account, depth } => write!(
                out,
                "{depth} accounts are above one another at that of {}; at most {MAX_DEPTH} are allowed, so open it further up",
                who(account.owner)
            ),
            Self::Parent { account, parent, wanted } => {
                write!(out, "the {} account of {} is below ", account.currency, who(account.owner))?;
                match parent {
                    Some(parent) => write!(out, "that of {}", who(*parent))?,
                    None => write!(out, "none")?,
                }
                write!(out, ", not below that of {}; transfer to it, or choose another name", who(*wanted))
            }
            Self::Debt { account, debt } => write!(
                out,
                "{} owes {debt} {}; top the account up by at least that",
                who(account.owner),
                account.currency
            ),
            Self::Exhausted { account: AccountId { owner, currency }, measure, used, limit } => {
                write!(out, "{used} {currency} of {limit} {currency} is used up ")?;
                match measure {
                    Measure::Budget(period) => write!(
                        out,
                        "in the budget of {} ({period}); raise the limit, or wait for the next period",
                        who(*owner)
                    ),
                    Measure::Funds | Measure::Hold => {
                        write!(out, "in the account of {}; top it up", who(*owner))
                    }
                }
            }
            Self::PricePast { item, from, at } => write!(
                out,
                "the price of {item} would hold from {} on, which is before now, {}; let it hold from now on, or later",
                from.0, at.0
            ),
            Self::PriceCount { item, limit } => write!(
                out,
                "{item} would get one price more than {limit}, the most there may be ({MAX_ITEMS} things, {MAX_CHANGES} changes of each); use another name for it"
            ),
        }
    }
}

/// An owner, by name or by id.
struct Who<'a>(EntityId, Option<&'a str>);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(name) => f.write_str(name),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &|_| None)
    }
}

impl core::error::Error for LedgerError {}
