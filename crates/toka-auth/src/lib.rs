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
//! | [`token`] | [`TokenScheme`], [`Claims`], [`Verified`], [`TokenError`] |
//! | [`eddsa`] | [`EdDsa`]: compact JWS tokens signed with Ed25519 (RFC 7519, RFC 8037) |
//! | [`key`] | [`OperatorKey`], its file, and the [`KeyRing`] |
//!
//! ```
//! use std::time::Duration;
//! use toka_auth::{Claims, EdDsa, OperatorKey, TokenScheme};
//! use toka_types::{EntityId, GrantId, OpId, Timestamp};
//!
//! let scheme = EdDsa::new(OperatorKey::generate()?, "vault-1")?;
//! let now = Timestamp::from_millis(1_700_000_000_000);
//! let claims = Claims {
//!     issuer: EntityId::operator(),
//!     subject: EntityId::named("alice"),
//!     grant: GrantId(1),
//!     issued: now,
//!     not_before: None,
//!     expires: now.saturating_add(Duration::from_secs(900)),
//!     id: OpId::of(&[b"first"]),
//!     attenuation: None,
//! };
//! let token = scheme.issue(&claims)?;
//! assert_eq!(scheme.verify(&token, now)?.claims().subject, EntityId::named("alice"));
//! assert!(scheme.verify(&token, claims.expires).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
pub mod eddsa;
pub mod key;
pub mod token;

pub use eddsa::EdDsa;
pub use key::{KeyError, KeyId, KeyRing, OperatorKey};
pub use token::{Claims, TokenError, TokenScheme, Verified};
