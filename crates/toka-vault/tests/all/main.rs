//! The vault from outside.

mod api;
#[cfg(all(feature = "seal", feature = "sign"))]
mod bundles;
mod bus;
#[cfg(feature = "journal")]
mod copies;
#[cfg(feature = "journal")]
mod faults;
#[cfg(feature = "journal")]
mod forks;
#[cfg(feature = "journal")]
mod format;
#[cfg(all(feature = "journal", feature = "seal", feature = "sign"))]
mod fuzz;
mod groups;
#[cfg(feature = "journal")]
mod journal;
#[cfg(all(feature = "journal", feature = "sign"))]
mod proof_vectors;
#[cfg(all(feature = "journal", feature = "sign"))]
mod proofs;
#[cfg(feature = "journal")]
mod retention;
#[cfg(all(feature = "seal", feature = "sign"))]
mod sealed_bundles;
#[cfg(feature = "seal")]
mod sealing;

use toka_vault::MemoryStore;
use toka_vault::testing::Opened;

toka_vault::store_conformance!(memory_store, || -> Opened {
    (std::sync::Arc::new(MemoryStore::new()), Box::new(()))
});

#[cfg(feature = "journal")]
toka_vault::store_conformance!(journal_store, || -> Opened {
    let directory = tempfile::tempdir().unwrap();
    let (store, report) = toka_vault::Journal::open(directory.path()).unwrap();
    assert!(report.created);
    (std::sync::Arc::new(store), Box::new(directory))
});

/// An empty vault that `engine` keeps.
#[cfg(feature = "tables")]
fn kept_by(engine: toka_vault::Engine) -> Opened {
    let directory = tempfile::tempdir().unwrap();
    let (store, report) = toka_vault::create(directory.path(), engine).unwrap();
    assert!(report.created);
    (store, Box::new(directory))
}

#[cfg(feature = "sqlite")]
toka_vault::store_conformance!(sqlite_store, || kept_by(toka_vault::Engine::Sqlite));
#[cfg(feature = "sled")]
toka_vault::store_conformance!(sled_store, || kept_by(toka_vault::Engine::Sled));
#[cfg(feature = "rocksdb")]
toka_vault::store_conformance!(rocksdb_store, || kept_by(toka_vault::Engine::RocksDb));

#[cfg(feature = "journal")]
toka_vault::durable_conformance!(journal_vault, toka_vault::Engine::Journal);
#[cfg(feature = "sqlite")]
toka_vault::durable_conformance!(sqlite_vault, toka_vault::Engine::Sqlite);
#[cfg(feature = "sled")]
toka_vault::durable_conformance!(sled_vault, toka_vault::Engine::Sled);
#[cfg(feature = "rocksdb")]
toka_vault::durable_conformance!(rocksdb_vault, toka_vault::Engine::RocksDb);
