//! Payload types that change over the years.
//!
//! A log outlives the programs that write to it. A [`Versioned`] type says its event kind, its version, and how a
//! payload of the version before is raised to it. The version is stored with each event; whoever reads gets today's
//! type, whatever was written, one step at a time. A version that is newer than the type is an error, not a guess.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use toka_vault::versioned::{First, Versioned};
//! use toka_vault::VaultBus;
//!
//! /// What was recorded at first.
//! #[derive(Serialize, Deserialize)]
//! struct LoginV1 { user: String }
//!
//! impl Versioned for LoginV1 {
//!     const KIND: &'static str = "auth.login";
//!     const VERSION: u32 = 1;
//!     type Previous = First;
//!     fn upcast(first: First) -> Result<Self, String> { match first {} }
//! }
//!
//! /// Today's type.
//! #[derive(Serialize, Deserialize, PartialEq, Debug)]
//! struct Login { user: String, domain: String }
//!
//! impl Versioned for Login {
//!     const KIND: &'static str = "auth.login";
//!     const VERSION: u32 = 2;
//!     type Previous = LoginV1;
//!     fn upcast(old: LoginV1) -> Result<Self, String> {
//!         let (user, domain) = old.user.split_once('@').ok_or_else(|| format!("'{}' has no domain", old.user))?;
//!         Ok(Self { user: user.into(), domain: domain.into() })
//!     }
//! }
//!
//! let vault = VaultBus::in_memory();
//! let old = vault.blocking().commit_as(&LoginV1 { user: "ann@home".into() }, &[], ())?;
//! let new = vault.blocking().commit_as(&Login { user: "bob".into(), domain: "work".into() }, &[old.id], ())?;
//! assert_eq!(vault.get_as::<Login>(&old.id)?, Some(Login { user: "ann".into(), domain: "home".into() }));
//! // A program of yesterday sees that it is one.
//! let error = vault.get_as::<LoginV1>(&new.id).err().unwrap().to_string();
//! assert!(error.contains("version 2") && error.contains("knows 1"), "{error}");
//!
//! let mut logins = vault.subscribe_as_from::<Login>(0);
//! assert_eq!(logins.recv_blocking()?.1.domain, "home");
//! assert_eq!(logins.recv_blocking()?.1.domain, "work");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An event without a stored version has version 1: a plain type that was recorded with [`VaultBus::commit`] becomes
//! versioned by an implementation, without a change to what is stored.
//!
//! [`VaultBus::commit`]: crate::VaultBus::commit

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toka_types::{EventHeader, Kind};

use crate::core::{Event, EventPayload, NewEvent, PayloadError, encode};
use crate::store::StoreError;

/// A payload type of one kind and version.
///
/// # Contract
/// A version's fields never change once it was written anywhere: a change is a new type with the next number, whose
/// [`Previous`](Versioned::Previous) is the old one.
pub trait Versioned: EventPayload {
    /// The kind of its events, the same for all versions.
    const KIND: &'static str;
    /// Its version, from 1.
    const VERSION: u32;
    /// The version before it; [`First`] if there is none.
    type Previous: Versioned;

    /// Makes one of the version before.
    ///
    /// # Errors
    /// If that cannot be, the reason; whoever reads the event gets it.
    fn upcast(previous: Self::Previous) -> Result<Self, String>;
}

/// What comes before the first version: nothing. There is no value of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {}

impl Versioned for First {
    const KIND: &'static str = "";
    const VERSION: u32 = 0;
    type Previous = Self;

    fn upcast(previous: Self) -> Result<Self, String> {
        match previous {}
    }
}

impl Serialize for First {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        match *self {}
    }
}

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("there is no version before the first"))
    }
}

/// The facts of an event with a versioned payload. Other facts may stand beside it.
#[derive(Serialize, Deserialize)]
struct VersionFacts {
    version: u32,
}

/// The version of an event's payload: 1 if its facts name none.
pub fn version_of(header: &EventHeader) -> u32 {
    rmp_serde::from_slice::<VersionFacts>(&header.facts).map_or(1, |facts| facts.version)
}

/// The payload of `event` as today's type, raised from the version it has.
pub fn read<T: Versioned>(event: &Event) -> Result<T, PayloadError> {
    let header = &event.header;
    if header.kind != T::KIND {
        let (wanted, found) = (T::KIND, header.kind.clone());
        return Err(PayloadError::Kind { event: header.id, wanted, found });
    }
    let found = version_of(header);
    if found > T::VERSION {
        return Err(PayloadError::Newer { event: header.id, kind: T::KIND, found, known: T::VERSION });
    }
    raised(event, found)
}

fn raised<T: Versioned>(event: &Event, version: u32) -> Result<T, PayloadError> {
    const {
        assert!(
            T::VERSION > <T::Previous as Versioned>::VERSION || T::VERSION == 0,
            "a version comes after its previous one"
        );
    }
    let id = event.header.id;
    if version == T::VERSION && version > 0 {
        return crate::core::decode(event);
    }
    if T::VERSION == 0 || version > T::VERSION {
        return Err(PayloadError::Unknown { event: id, kind: event.header.kind.clone(), version });
    }
    let previous = raised::<T::Previous>(event, version)?;
    let to = T::VERSION;
    T::upcast(previous).map_err(|detail| PayloadError::Upcast { event: id, version, to, detail })
}

impl NewEvent {
    /// An event with `payload`, of its type's kind and version.
    pub fn versioned<T: Versioned>(payload: &T) -> Result<Self, StoreError> {
        let event = Self::new(Kind::new(T::KIND)?).payload(payload)?;
        Ok(match T::VERSION {
            // What every event has that says nothing else.
            0 | 1 => event,
            version => event.facts(encode(&VersionFacts { version })?.bytes().to_vec()),
        })
    }
}
