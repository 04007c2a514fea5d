//! Tokens under attack, passwords, and the operator's key on a real disk.

mod biscuit;
mod chains;
mod confusion;
mod golden;
mod key;
mod metered;
mod password;
mod proof;
mod rotation;
mod support;
mod token;
