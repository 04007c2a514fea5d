//! The tests of the crate, by concern.

mod books;
mod budgets;
mod conservation;
mod holds;
mod prices;
mod refusals;
mod rules;
mod statements;
