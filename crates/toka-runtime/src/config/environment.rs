//! The variables a configuration may read, as a value that tests can own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;

/// A snapshot of environment variables.
///
/// `Debug` shows how many there are and none of their values, which may be secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// The variables of this process, now.
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// No variables at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The value of `name`, if it is set.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Every variable whose name begins with `prefix`, by name.
    pub(super) fn beginning_with(&self, prefix: &str) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        let prefix = prefix.as_bytes().to_vec();
        self.variables
            .iter()
            .filter(move |(name, _)| name.as_encoded_bytes().starts_with(&prefix))
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self { variables: variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("variables", &self.variables.len()).finish_non_exhaustive()
    }
}
