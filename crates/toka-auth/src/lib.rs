//! Capability tokens and the keys behind them.
//!
//! A grant lives in the world, where the kernel issues and revokes it. A **token** is the container that
//! carries its number across the edge of the process: who holds it, until when, for which vault, and
//! optionally what the holder was narrowed down to. What a token allows is the world's grant ∩ its
//! attenuation; a token alone allows nothing. This crate knows no grants and no revocations: whoever
//! verifies a token asks the world next.
//!
//! | Module | Holds |
//! |---|---|
//! | [`token`] | [`TokenScheme`], [`Claims`], [`Narrowing`], [`Verified`], [`TokenError`] |
//! | [`operator`] | [`Operator`]: the tokens of a vault's operator, Biscuits in a build that has them |
//! | `biscuit` | `Biscuit`, which its holders narrow down themselves; feature `biscuit` |
//! | [`jwt`] | [`EdDsa`] and [`Hs256`]: compact JWS tokens (RFC 7519, RFC 8037) |
//! | [`proof`] | [`Proof`]: that who shows a token has the key that it is bound to |
//! | [`mod@inspect`] | what a token says, unchecked, and narrowing it down, for the person who has it |
//! | [`key`], [`ring`], [`rotation`] | [`OperatorKey`] and its file; the [`KeyRing`], in which keys change; other keys' files |
//! | `password` | passwords of people; feature `password` |
//!
//! ```
//! use std::time::Duration;
//! use toka_auth::{Claims, Operator, OperatorKey, TokenScheme};
//! use toka_types::{EntityId, GrantId, OpId, Timestamp};
//!
//! let scheme = Operator::new(OperatorKey::generate()?, "vault-1")?;
//! let now = Timestamp::from_millis(1_700_000_000_000);
//! let claims = Claims {
//!     issuer: EntityId::operator(),
//!     subject: EntityId::named("alice"),
//!     grant: GrantId(1),
//!     issued: now,
//!     not_before: None,
//!     expires: now.saturating_add(Duration::from_secs(900)),
//!     renewable_until: None,
//!     id: OpId::of(&[b"first"]),
//!     holder: None,
//!     attenuation: None,
//!     metered: vec![],
//! };
//! let token = scheme.issue(&claims)?;
//! assert_eq!(scheme.verify(&token, now)?.claims().subject, EntityId::named("alice"));
//! assert!(scheme.verify(&token, claims.expires).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "biscuit")]
pub mod biscuit;
mod cache;
mod file;
pub mod gate;
pub mod inspect;
pub mod jwt;
pub mod key;
pub mod operator;
#[cfg(feature = "password")]
pub mod password;
pub mod proof;
pub mod ring;
pub mod rotation;
#[cfg(all(feature = "biscuit", feature = "password"))]
pub mod testing;
pub mod token;

#[cfg(feature = "biscuit")]
pub use biscuit::Biscuit;
pub use ed25519_dalek::VerifyingKey;
pub use inspect::{append_third_party, attenuate, hand_on, inspect, third_party_block, third_party_request};
pub use jwt::{EdDsa, Hs256};
pub use key::{KeyError, KeyId, OperatorKey};
pub use operator::Operator;
pub use proof::{HolderKey, Proof};
pub use ring::{KeyRing, SharedSecret};
pub use token::{Claims, Narrowing, TokenError, TokenScheme, Verified};
