//! `storage(NAME)`: a folder or memory, the vault, a driver, and none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use toka_runtime::runtime::{Runtime, RuntimeConfig};
use toka_runtime::{AgentContext, AgentError};
use toka_toolkit_core::storage::check_key;
use toka_toolkit_core::{Driver, Storage, StorageError};

use crate::support::{Doing, Notes};

#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Storage for Shelf {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        check_key(key)?;
        self.0.lock().expect("no test panics here").insert(key.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.0.lock().expect("no test panics here").get(key).cloned())
    }

    fn delete(&self, key: &str) -> Result<bool, StorageError> {
        Ok(self.0.lock().expect("no test panics here").remove(key).is_some())
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let map = self.0.lock().expect("no test panics here");
        Ok(map.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }
}

impl Driver for Shelf {
    fn name(&self) -> &str {
        "shelf"
    }

    fn storage(&self) -> Result<Arc<dyn Storage>, StorageError> {
        Ok(Arc::new(self.clone()))
    }
}

/// Puts, gets, lists and deletes in the storage of that name, and notes how that went.
fn user(name: &'static str, notes: &Notes) -> Doing<impl Fn(AgentContext) -> BoxedWork + use<>> {
    let notes = notes.clone();
    Doing(move |ctx: AgentContext| -> BoxedWork {
        let notes = notes.clone();
        Box::pin(async move {
            let storage = match ctx.storage(name) {
                Ok(storage) => storage,
                Err(error @ AgentError::Unknown { .. }) => {
                    notes.add(format!("{error}"));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            let before = storage.get("a/kept")?;
            notes.add(format!("{name} had {}", before.map_or(0, |bytes| bytes.len())));
            storage.put("a/kept", b"12345")?;
            storage.put("a/gone", b"1")?;
            storage.put("b", &[0; 3000])?;
            anyhow::ensure!(storage.delete("a/gone")? && !storage.delete("a/gone")?);
            anyhow::ensure!(storage.get("a/gone")?.is_none() && storage.get("never")?.is_none());
            anyhow::ensure!(storage.list("a/")? == ["a/kept"], "{:?}", storage.list("a/"));
            anyhow::ensure!(storage.put("../out", b"x").is_err() && storage.put("/out", b"x").is_err());
            notes.add(format!("{name} is sound"));
            Ok(())
        })
    })
}

type BoxedWork = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

async fn run(config: RuntimeConfig) -> Vec<String> {
    let runtime = Runtime::new(config).await.expect("a runtime");
    runtime.register_driver(Shelf::default()).expect("taken");
    assert!(runtime.register_driver(Shelf::default()).is_err(), "the name is taken");
    let notes = Notes::default();
    for name in ["local", "vault", "shelf", "none"] {
        runtime.register_agent(&format!("../user-{name}"), user(name, &notes)).await.expect("registered");
    }
    runtime.start().await.expect("started");
    runtime.idle().await;
    assert_eq!(runtime.problems(), Vec::<String>::new());
    assert!(runtime.remove_driver("shelf") && !runtime.remove_driver("shelf"));
    runtime.stop().await.expect("stopped");
    let mut notes = notes.all();
    notes.sort();
    notes
}

#[tokio::test(flavor = "multi_thread")]
async fn every_storage_keeps_its_promise() {
    let notes = run(RuntimeConfig::default()).await;
    for line in ["local is sound", "shelf is sound"] {
        assert!(notes.iter().any(|note| note == line), "{notes:?}");
    }
    let unknown = notes.iter().filter(|note| note.starts_with("there is no storage")).count();
    assert_eq!(unknown, 2, "without a vault in the configuration there is no such storage: {notes:?}");
}

#[cfg(feature = "vault")]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let vault = folder.path().join("vault");
    for expected in [0, 5] {
        let notes = run(crate::support::in_vault(&vault)).await;
        for name in ["local", "vault"] {
            assert!(notes.contains(&format!("{name} had {expected}")), "{notes:?}");
            assert!(notes.contains(&format!("{name} is sound")), "{notes:?}");
        }
    }
    let outside: Vec<_> = std::fs::read_dir(folder.path()).expect("readable").collect();
    assert_eq!(outside.len(), 1, "an agent's name leads nowhere else: {outside:?}");
}
