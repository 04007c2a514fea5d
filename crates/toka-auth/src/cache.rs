//! Remembers which texts carry a valid signature, and nothing that time can change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use toka_types::Digest;

/// Tokens of one generation. Two are kept, so at most twice as many, each below a kilobyte as a rule.
const GENERATION: usize = 1024;

/// A bounded map by token digest: what was not asked for during a whole generation is forgotten.
#[derive(Debug)]
pub(crate) struct Cache<T> {
    generations: Mutex<Generations<T>>,
}

#[derive(Debug)]
struct Generations<T> {
    young: HashMap<Digest, Arc<T>>,
    old: HashMap<Digest, Arc<T>>,
}

impl<T> Cache<T> {
    pub(crate) fn new() -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new() };
        Self { generations: Mutex::new(generations) }
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<Arc<T>> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = generations.young.get(digest) {
            return Some(Arc::clone(found));
        }
        let found = generations.old.remove(digest)?;
        generations.insert(*digest, Arc::clone(&found));
        Some(found)
    }

    pub(crate) fn insert(&self, digest: Digest, value: Arc<T>) {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, value);
    }
}

impl<T> Generations<T> {
    fn insert(&mut self, digest: Digest, value: Arc<T>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_forgotten() {
        let cache = Cache::new();
        let digest = |i: usize| Digest::of(&i.to_le_bytes());
        for i in 0..GENERATION * 10 {
            cache.insert(digest(i), Arc::new(i));
            assert_eq!(cache.get(&digest(0)).as_deref(), Some(&0));
        }
        assert_eq!(cache.get(&digest(1)), None);
        assert_eq!(cache.get(&digest(GENERATION * 10 - 1)).as_deref(), Some(&(GENERATION * 10 - 1)));
        let generations = cache.generations.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
    }
}
