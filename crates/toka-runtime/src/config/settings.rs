//! The values in force, and where each comes from.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::ser::{Serialize, Serializer};

use super::diagnostic::printable;

/// What stands in place of a secret.
pub(super) const MASK: &str = "••••";

/// Parts of a key's name that mark its value as a secret.
const SECRET_WORDS: &[&str] = &["secret", "token", "password", "passphrase", "credential", "key"];

/// One value of a configuration in force, as `config show --origin` prints it: `{key, value, origin}`.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Setting {
    /// Dotted name: `event_bus.buffer_size`, `agents[0].scan_path`.
    pub key: String,
    /// The value, expanded and resolved; `••••` for a secret.
    pub value: serde_json::Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a value comes from; printed and serialised as `default`, `config/x.toml:3` or
/// `environment TOKA__EVENT_BUS__BUFFER_SIZE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing was given.
    Default,
    /// A line of a file.
    File {
        /// The file, as it was named to the loader.
        path: PathBuf,
        /// The line of the value, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment(String),
    /// A program that built the configuration.
    Program,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", printable(&path.to_string_lossy())),
            Self::Environment(variable) => write!(f, "environment {}", printable(variable)),
            Self::Program => f.write_str("program"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whether the value of a key of that name is kept out of what is printed. Only the names of keys that are
/// not in the table are judged; of those in it, the table says it.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// `value` as JSON; the values of secret keys, however deep, are masked.
pub(super) fn to_json(value: &toml::Value) -> serde_json::Value {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        // JSON has no infinities, so those appear as their names.
        toml::Value::Float(number) => serde_json::Number::from_f64(*number)
            .map_or_else(|| number.to_string().into(), serde_json::Value::Number),
        toml::Value::Boolean(flag) => (*flag).into(),
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(items) => items.iter().map(to_json).collect(),
        toml::Value::Table(table) => {
            let member = |(key, value): (&String, &toml::Value)| {
                (key.clone(), if is_secret(key) { MASK.into() } else { to_json(value) })
            };
            serde_json::Value::Object(table.iter().map(member).collect())
        }
    }
}

/// `path` as JSON.
pub(super) fn path_to_json(path: &Path) -> serde_json::Value {
    path.to_string_lossy().into()
}
