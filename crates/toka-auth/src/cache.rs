//! Remembers which texts carry valid signatures, and nothing that time can change.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of tokens in one generation. Two are kept, so at most twice as many.
const GENERATION: usize = 1 << 20;

/// A bounded map by the text of tokens: what was not asked for during a whole generation is forgotten.
///
/// Its keys are the texts and not their digests. A keyed hash that finds a text takes a fraction of the time of a
/// collision-free one, and since the texts are compared, it need not be one.
pub(crate) struct Cache<T> {
    generations: Mutex<Generations<T>>,
}

struct Generations<T> {
    young: HashMap<Arc<str>, Arc<T>>,
    old: HashMap<Arc<str>, Arc<T>>,
    /// Bytes of the young one.
    bytes: usize,
}

impl<T> Cache<T> {
    pub(crate) fn new() -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new(), bytes: 0 };
        Self { generations: Mutex::new(generations) }
    }

    pub(crate) fn get(&self, token: &str) -> Option<Arc<T>> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = generations.young.get(token) {
            return Some(Arc::clone(found));
        }
        let (token, found) = generations.old.remove_entry(token)?;
        generations.insert(token, Arc::clone(&found));
        Some(found)
    }

    pub(crate) fn insert(&self, token: &str, value: Arc<T>) {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).insert(token.into(), value);
    }
}

impl<T> fmt::Debug for Cache<T> {
    /// No token: whoever reads one has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cache(…)")
    }
}

impl<T> Generations<T> {
    fn insert(&mut self, token: Arc<str>, value: Arc<T>) {
        if self.bytes + token.len() > GENERATION {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += token.len();
        self.young.insert(token, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_forgotten() {
        let cache = Cache::new();
        let text = |i: usize| format!("{i:01000}");
        let each = GENERATION / 1000;
        for i in 0..each * 10 {
            cache.insert(&text(i), Arc::new(i));
            assert_eq!(cache.get(&text(0)).as_deref(), Some(&0));
        }
        assert_eq!(cache.get(&text(1)), None);
        assert_eq!(cache.get(&text(each * 10 - 1)).as_deref(), Some(&(each * 10 - 1)));
        let generations = cache.generations.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(generations.young.len() + generations.old.len() <= 2 * each);
    }
}
