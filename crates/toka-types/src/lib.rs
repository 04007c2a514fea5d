//! The vocabulary of Toka: identities, time, labels, records, capabilities and operations.
//!
//! Every other crate speaks in these types. There is no I/O here, no clock and no randomness, and the
//! crate builds without `std` (it needs `alloc`). It is **not** the place where anything is decided:
//! that is `toka-kernel`; nor where anything is stored: that is `toka-vault`.
//!
//! | Module | Holds |
//! |---|---|
//! | [`digest`] | [`Digest`], the BLAKE3 digest of some bytes |
//! | [`id`] | [`EntityId`], [`EventId`], [`GrantId`], [`OpId`], [`Name`] |
//! | [`time`] | [`Timestamp`], microseconds since the Unix epoch |
//! | [`nonce`] | [`Nonce`](nonce::Nonce) and the window in which each is good once |
//! | [`label`] | [`Label`] and the sorted set [`Labels`] |
//! | [`record`] | [`EventHeader`], its canonical bytes and the causal digest |
//! | [`seal`] | whose content is, and what seals and opens it |
//! | [`entry`] | [`Entry`](entry::Entry): facts about value, as a ledger folds them |
//! | [`money`] | [`Currency`], [`Amount`], [`Money`], [`AccountId`] |
//! | [`path`] | the lossless text form of relative paths |
//! | [`place`] | files and folders that calls write and read, told by digests |
//! | [`plan`] | [`Slot`](plan::Slot) and [`Source`](plan::Source): calls that an agent said beforehand |
//! | [`price`] | what a tool or a model costs, and the use that is priced |
//! | [`quarantine`] | what an agent that reads anything may say, and how much that is |
//! | [`capability`] | the language in which power is granted |
//! | [`flow`] | [`Sink`] and [`Verdict`]: where data may flow, and the rules that say so |
//! | [`operation`] | [`Operation`] and [`Envelope`]: what somebody asks the kernel to do |
//! | [`facts`] | [`Facts`]: the typed part of an event that the kernel reads |
//! | [`testing`] | what fuzzers call |
//!
//! ```
//! use toka_types::{Digest, EntityId, Kind};
//!
//! let author = EntityId::named("alice");
//! let kind = Kind::new("auth.login")?;
//! assert!(kind.has_prefix("auth"));
//! assert_eq!(author, EntityId::named("alice"));
//! assert_eq!(Digest::of(b"").to_string().len(), 64);
//! # Ok::<(), toka_types::NameError>(())
//! ```
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod capability;
pub mod digest;
pub mod effect;
pub mod entry;
pub mod facts;
pub mod flow;
pub mod id;
pub mod label;
pub mod money;
pub mod nonce;
pub mod operation;
pub mod path;
pub mod place;
pub mod plan;
pub mod price;
pub mod quarantine;
pub mod record;
pub mod seal;
pub mod testing;
pub mod time;

pub use capability::Capability;
pub use digest::Digest;
pub use effect::EffectClass;
pub use facts::Facts;
pub use flow::{FlowRule, LabelPattern, Sink, Verdict};
pub use id::{EntityId, EventId, GrantId, HexError, KeyId, Kind, Name, NameError, OpId, PointerId};
pub use label::{Label, LabelError, Labels};
pub use money::{AccountId, Amount, Currency, Money};
pub use operation::{Envelope, Operation};
pub use quarantine::{Answer, AnswerShape};
pub use record::{ContentRef, Event, EventHeader, Gone, HeaderView, Payload, RecordError};
pub use seal::{Seal, SealError, Subject};
pub use time::Timestamp;
