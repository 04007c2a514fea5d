use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use toka_toolkit_core::storage::{MAX_KEY, check_key};
use toka_toolkit_core::{CallContext, Driver, DriverRegistry, Storage, StorageError};
use toka_types::{Digest, Name, Timestamp};

#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);

impl Storage for Memory {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        check_key(key)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        check_key(key)?;
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn delete(&self, key: &str) -> Result<bool, StorageError> {
        check_key(key)?;
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key).is_some())
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(all.keys().filter(|k| k.starts_with(prefix)).cloned().collect())
    }
}

struct Named(&'static str, Arc<Memory>);

impl Driver for Named {
    fn name(&self) -> &str {
        self.0
    }

    fn storage(&self) -> Result<Arc<dyn Storage>, StorageError> {
        Ok(self.1.clone())
    }
}

#[test]
fn a_driver_answers_under_its_name() -> Result<(), Box<dyn std::error::Error>> {
    let drivers = DriverRegistry::new();
    let context =
        CallContext::new(Name::new("a")?, Digest::of(b""), Timestamp::EPOCH).with_drivers(drivers.clone());
    let unknown = |known: &str| StorageError::Unknown { name: "local".into(), known: known.into() };
    assert_eq!(context.storage("local").err(), Some(unknown("none")));

    drivers.register(Arc::new(Named("redis", Arc::default())))?;
    assert_eq!(context.storage("local").err(), Some(unknown("redis")));
    drivers.register(Arc::new(Named("local", Arc::default())))?;
    let twice = drivers.register(Arc::new(Named("local", Arc::default())));
    assert_eq!(twice, Err(StorageError::Duplicate("local".into())));

    context.storage("local")?.put("a/b", b"1")?;
    assert_eq!(context.storage("local")?.get("a/b")?.as_deref(), Some(&b"1"[..]));
    assert_eq!(context.storage("redis")?.get("a/b")?, None);
    assert_eq!(context.storage("local")?.list("a/")?, ["a/b"]);
    assert!(drivers.remove("local"));
    assert!(context.storage("local").is_err());
    Ok(())
}

#[test]
fn keys_that_a_folder_could_not_keep_are_refused() {
    for key in ["a", "a/b.json", "\u{e9}", &"a/".repeat(200)[..399]] {
        assert_eq!(check_key(key), Ok(()), "{key}");
    }
    let long = "a".repeat(256);
    for key in ["", "/a", "a/", "a//b", "..", "a/../b", ".", "a\0", "a\nb", &long, &"a/".repeat(MAX_KEY)] {
        assert_eq!(check_key(key).map_err(|e| e.code()), Err("storage-key"), "{key}");
    }
}
