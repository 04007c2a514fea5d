//! The vault from outside.

mod bus;
#[cfg(feature = "journal")]
mod faults;
#[cfg(feature = "journal")]
mod format;
#[cfg(feature = "journal")]
mod journal;
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
