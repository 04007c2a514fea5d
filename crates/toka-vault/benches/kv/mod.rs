//! The same records in embedded key-value stores, with the same look-ups: what the vault is measured against.
//!
//! Each keeps headers by number, numbers by id, contents by digest and children by parent, in one atomic batch that is
//! synced before it returns. None computes a log tree, or looks whether a content is there already: that is in their favour.
//! redb and fjall always take part, SQLite and RocksDB in a build with the feature of that name.
#![allow(dead_code, unreachable_pub, reason = "each bench includes the file as a module and uses a part")]

pub mod append;
mod fjall;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::path::Path;

use toka_types::{Digest, EventHeader, EventId, Payload};
use toka_vault::Record;

/// What an engine may keep of its data in memory, in bytes.
pub const CACHE: u64 = 256 << 20;

/// An engine with the four tables.
pub trait Engine {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Stores a batch, durably when it returns.
    fn append(&mut self, batch: &[Record]);
    /// An event's number.
    fn number(&self, id: &EventId) -> u64;
    /// A header's bytes.
    fn header(&self, number: u64) -> Vec<u8>;
    /// A content's bytes.
    fn content(&self, digest: &Digest) -> Vec<u8>;
    /// Gives it time to do what it put off, so that it is measured at its best.
    fn settle(&mut self) {}
}

/// Every engine of this build, each with its files in a folder of its own in `directory`.
pub fn engines(directory: &Path) -> Vec<Box<dyn Engine>> {
    let path = |name: &str| directory.join(format!("kv-{name}"));
    vec![
        Box::new(redb::Redb::new(&path("redb"))),
        Box::new(fjall::Fjall::new(&path("fjall"))),
        #[cfg(feature = "sqlite")]
        Box::new(sqlite::Sqlite::new(&path("sqlite"))),
        #[cfg(feature = "rocksdb")]
        Box::new(rocksdb::RocksDb::new(&path("rocksdb"))),
    ]
}

/// The whole record with this id, as a vault returns it: decoded, its content checked.
pub fn get(engine: &dyn Engine, id: &EventId) -> Record {
    let header = EventHeader::decode(&engine.header(engine.number(id))).expect("a header");
    let content = header.content.iter().map(|named| {
        let payload = Payload::new(engine.content(&named.digest));
        assert_eq!(payload.digest(), named.digest);
        payload
    });
    let content = content.collect();
    Record { header, content }
}

/// The keys and values of a record's rows.
pub struct Rows {
    pub number: [u8; 8],
    pub header: Vec<u8>,
    pub id: [u8; 32],
    /// Digests and bytes.
    pub contents: Vec<([u8; 32], std::sync::Arc<[u8]>)>,
    /// A parent's id and the number.
    pub children: Vec<[u8; 40]>,
}

impl Rows {
    pub fn of(record: &Record) -> Self {
        let number = record.header.seq.to_be_bytes();
        let child = |parent: &EventId| {
            let mut key = [0; 40];
            key[..32].copy_from_slice(parent.as_bytes());
            key[32..].copy_from_slice(&number);
            key
        };
        Self {
            number,
            header: record.header.to_bytes(),
            id: *record.header.id.as_bytes(),
            contents: record.content.iter().map(|payload| (payload.digest().0, payload.shared())).collect(),
            children: record.header.parents.iter().map(child).collect(),
        }
    }
}

fn number_of(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}
