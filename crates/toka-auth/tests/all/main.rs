//! Tokens under attack, and the operator's key on a real disk.

mod key;
mod token;
