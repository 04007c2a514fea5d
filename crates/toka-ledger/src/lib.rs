//! Double-entry value: accounts, holds, budgets, prices.
//!
//! The crate **decides** what may be entered ([`Ledger::check_transfer`] and its like take `&self` and change
//! nothing) and **folds** what was decided ([`Ledger::apply`], which is total and has no configuration). It has no clock,
//! no I/O, no floating point, no map with a random order and no dependency beside the vocabulary. It does **not** know who
//! may do what, nor when a call begins and ends: that is the kernel's.
//!
//! | Module | Holds |
//! |---|---|
//! | [`ledger`] | [`Ledger`]: all accounts and holds, and how an entry changes them |
//! | [`check`] | what may be entered, and whom it brings how close to the end of what there is |
//! | [`account`] | [`Account`], [`Budget`], [`Hold`] |
//! | [`price`] | [`Cost`], exact, and the [`PriceBook`] |
//! | [`rules`] | fees and payouts, as pure functions |
//! | [`statement`] | [`Statement`]: opening balance, lines, closing balance |
//! | [`error`] | [`LedgerError`] with its codes |
//!
//! The entries themselves are vocabulary: [`toka_types::entry`].
//!
//! # What holds
//!
//! - **Value is conserved.** An entry moves one amount between two accounts of one currency. All balances of a currency,
//!   with that of its issuance, sum up to nothing.
//! - **Hold before, settle after.** [`worst_case`] is kept back before a call, the true [`Cost`] is settled after it. A hold
//!   ends by [`Ledger::check_settle`] or [`Ledger::check_release`], or with a fork; never by time.
//! - **Settling never fails.** What a call did cost beyond its hold comes from the rest of the account or becomes a
//!   debt, and its owner is to be suspended.
//! - **Rounding** happens only there, upwards, against the payer.
//! - **Spending rolls up.** A budget is carved out of an account into one below it. What the lower one pays is spent by all
//!   above it that the money leaves, and each limit on the way counts. Handing down, and giving back up, is no spending.
//! - **At 80 % a warning, at 100 % a suspension**, of what an account was given and of each limit. Topping up begins a new
//!   count, and [`Ledger::check_resume`] says whether its owner may go on.
//!
//! ```
//! use toka_ledger::{Cost, Ledger};
//! use toka_types::entry::{Entry, Level};
//! use toka_types::{AccountId, Digest, EntityId, EventId, Money, Timestamp};
//!
//! let mut ledger = Ledger::new();
//! let mut log: Vec<(Entry, EventId, Timestamp)> = Vec::new();
//! let mut enter = |ledger: &mut Ledger, entry: Entry| {
//!     let id = EventId(Digest::of(&[log.len() as u8]));
//!     ledger.apply(&entry, id, Timestamp(0));
//!     log.push((entry, id, Timestamp(0)));
//!     id
//! };
//! let account = |name| AccountId::new(EntityId::named(name), "USD".parse().expect("a code"));
//! let money = |text: &str| text.parse::<Money>().expect("money");
//! let (operator, agent, provider) = (account("operator"), account("agent"), account("provider"));
//! let now = Timestamp(0);
//!
//! for id in [operator, provider] {
//!     let opened = ledger.check_open(id, None)?;
//!     enter(&mut ledger, opened);
//! }
//! let minted = ledger.check_mint(operator, money("10 USD"))?;
//! enter(&mut ledger, minted);
//! let carved = ledger.check_carve(operator, agent, money("1 USD"))?;
//! enter(&mut ledger, carved);
//!
//! // A call that may cost 0.90 is about to be made, and costs 0.85.
//! let held = ledger.check_hold(agent, provider, money("0.90 USD"), now)?;
//! let hold = enter(&mut ledger, held);
//! let refused = ledger.check_hold(agent, provider, money("0.20 USD"), now).unwrap_err();
//! assert_eq!(refused.code(), "ledger.funds");
//! let settled = ledger.check_settle(hold, Cost::from(money("0.85 USD").amount), now)?;
//! enter(&mut ledger, settled.entry);
//! assert_eq!(settled.notices[0].level, Level::Warned);
//! assert_eq!(ledger.account(agent).expect("opened").balance().to_string(), "0.15");
//!
//! // The same entries give the same ledger.
//! let mut again = Ledger::new();
//! for (entry, id, at) in &log {
//!     again.apply(entry, *id, *at);
//! }
//! assert_eq!(again, ledger);
//! # Ok::<(), toka_ledger::LedgerError>(())
//! ```
#![no_std]

extern crate alloc;

pub mod account;
pub mod check;
pub mod error;
pub mod ledger;
pub mod price;
pub mod rules;
pub mod statement;

pub use account::{Account, Budget, Hold};
pub use check::Decision;
pub use error::LedgerError;
pub use ledger::Ledger;
pub use price::{Cost, PriceBook, worst_case};
pub use statement::Statement;
