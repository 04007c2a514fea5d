//! The live feed of a log: who subscribes gets each committed event once, in order, without a gap.
//!
//! A [`Feed`] is the publisher's half and belongs to whoever commits. A [`FeedHandle`] is cheap to clone
//! and makes [`Subscription`]s. The feed keeps the most recent events in a bounded ring; a subscriber
//! that falls behind the ring reads on from a [`History`] if there is one, else it is told how many
//! events it missed. The publisher never waits for a subscriber.
//!
//! This crate stores nothing and knows no files: that is `toka-vault`. It works on any executor, and
//! with [`Subscription::recv_blocking`] on none.
//!
//! | Module | Holds |
//! |---|---|
//! | [`filter`] | [`Filter`]: which events a subscriber or a scan wants |
//! | [`feed`] | [`Feed`], [`FeedHandle`], [`Subscription`], [`History`] |
//!
//! ```
//! use std::sync::Arc;
//! use toka_bus::{Event, Feed, Filter};
//! # use toka_types::{EntityId, EventHeader, EventId, Kind, Labels, Timestamp};
//! # let header = EventHeader { seq: 0, id: EventId::default(), at: Timestamp::EPOCH, kind: Kind::new("demo.said")?,
//! #     author: EntityId::NONE, prev: None, parents: vec![], labels: Labels::none(), content: vec![], facts: vec![] };
//! let feed = Feed::new(0, 1024);
//! let mut stream = feed.handle().subscribe_from(0, Filter::all().kind("demo"));
//! feed.publish(&[Arc::new(Event { header, content: vec![] })]);
//! assert_eq!(stream.recv_blocking()?.header.kind, "demo.said");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod feed;
pub mod filter;

pub use feed::{Feed, FeedHandle, History, HistoryError, RecvError, Subscription};
pub use filter::Filter;
pub use toka_types::Event;
