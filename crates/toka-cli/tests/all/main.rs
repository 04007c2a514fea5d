//! The command line as others see it: the real program on real folders.

mod authority;
mod bundles;
mod calls;
mod config;
mod crash;
mod damage;
mod documented;
#[cfg(any(feature = "embed-local", feature = "embed-http"))]
mod embed;
mod entry;
mod fork;
mod index;
mod ledger;
mod look;
#[cfg(feature = "os-keyring")]
mod os_keyring;
mod output;
mod policy;
mod proofs;
mod quarantine;
mod retention;
mod sealed_bundles;
mod sealing;
mod signals;
mod stores;
#[cfg(feature = "search-tantivy")]
mod tantivy;
mod toka;
mod unattended;
mod why;
