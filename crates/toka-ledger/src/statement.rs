//! Statements: what an account held, what moved, and what it holds.

use alloc::vec::Vec;
use core::ops::Range;

use toka_types::entry::Entry;
use toka_types::{AccountId, Amount, EntityId, EventId, Timestamp};

/// The statement of one account over a stretch of time, made by one walk along a log's entries.
///
/// Opening balance and lines sum up to the closing balance. What is only kept back is no line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Statement {
    /// The account.
    pub account: AccountId,
    /// The first time that it covers.
    pub from: Timestamp,
    /// The first time after it.
    pub until: Timestamp,
    /// The balance before the first line.
    pub opening: Amount,
    /// What moved.
    pub lines: Vec<Line>,
    /// The balance after the last line.
    pub closing: Amount,
}

/// One line of a [`Statement`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Line {
    /// The event.
    pub event: EventId,
    /// Its time.
    pub at: Timestamp,
    /// What sort of entry it is: [`Entry::kind`], or `log.forked`.
    pub kind: &'static str,
    /// Whose the account on the other side is; [`EntityId::NONE`] where money was issued or destroyed.
    pub with: EntityId,
    /// What came in; below zero, what went out.
    pub amount: Amount,
    /// The balance after it.
    pub balance: Amount,
}

impl Statement {
    /// The statement of `account` over `range`, before the first entry of the log.
    pub fn new(account: AccountId, range: Range<Timestamp>) -> Self {
        let (opening, closing) = (Amount::ZERO, Amount::ZERO);
        Self { account, from: range.start, until: range.end, opening, lines: Vec::new(), closing }
    }

    /// The statement of `account` over `range`, from all entries of a log in order, with their events and times.
    pub fn over<'a>(
        account: AccountId,
        range: Range<Timestamp>,
        entries: impl IntoIterator<Item = (&'a Entry, EventId, Timestamp)>,
    ) -> Self {
        let mut statement = Self::new(account, range);
        for (entry, event, at) in entries {
            statement.record(entry, event, at);
        }
        statement
    }

    /// Adds the next entry of the log.
    pub fn record(&mut self, entry: &Entry, event: EventId, at: Timestamp) {
        let Some(movement) = entry.movement() else { return };
        if movement.from == self.account {
            self.line(entry.kind(), movement.to.owner, movement.amount.reversed(), event, at);
        }
        if movement.to == self.account {
            self.line(entry.kind(), movement.from.owner, movement.amount, event, at);
        }
    }

    /// Adds the beginning of a fork, where balances end.
    pub fn fork(&mut self, event: EventId, at: Timestamp) {
        if self.closing != Amount::ZERO {
            self.line("log.forked", EntityId::NONE, self.closing.reversed(), event, at);
        }
    }

    fn line(&mut self, kind: &'static str, with: EntityId, amount: Amount, event: EventId, at: Timestamp) {
        if at >= self.until {
            return;
        }
        self.closing = self.closing.saturating_add(amount);
        let balance = self.closing;
        if at < self.from {
            self.opening = balance;
        } else {
            self.lines.push(Line { event, at, kind, with, amount, balance });
        }
    }
}
