//! What can be said of a section and of a key: the columns of the [table](super::keys).

use std::time::Duration;

/// A top-level section of the file.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Name, as in `[name]`.
    pub name: &'static str,
    /// What the section is for, one sentence.
    pub doc: &'static str,
    /// The feature without which a build does not read the section.
    pub feature: Option<&'static str>,
    /// What stands in it.
    pub shape: Shape,
}

/// What stands in a section.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Exactly these keys.
    Keys(&'static Keys),
    /// An array of tables, one per agent: [`Keys`] common to all, and those of its behaviour.
    Agents(&'static Keys),
    /// A table `[section.NAME]` per adapter, whose keys are the adapter's affair.
    Adapters {
        /// What an adapter is called in messages, and the prefix of its feature: `driver-s3`.
        noun: &'static str,
        /// Adapters of the project; each needs the feature `NOUN-NAME`.
        known: &'static [&'static str],
    },
}

/// The keys of one table.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Every key, in the order of the documentation.
    pub keys: &'static [KeySpec],
    /// Of each of these groups exactly one key must be given.
    pub one_of: &'static [&'static [&'static str]],
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// Name, as in `name = value`.
    pub name: &'static str,
    /// Type and bounds of its value.
    pub kind: Kind,
    /// Whether it must be given, and what holds if it is not.
    pub need: Need,
    /// What it means, one or two sentences.
    pub doc: &'static str,
}

/// Type and bounds of a value.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// An integer between two bounds, both allowed.
    Integer {
        /// Least value.
        min: u64,
        /// Greatest value.
        max: u64,
    },
    /// A string.
    Text(Text),
    /// An array of strings.
    Texts(Text),
    /// An array of tables.
    Tables {
        /// The keys of each table.
        keys: &'static Keys,
        /// The key that must differ between any two of them.
        distinct: &'static str,
        /// Most tables.
        max: usize,
    },
}

/// What a string must look like.
#[derive(Clone, Copy, Debug)]
pub enum Text {
    /// Any string.
    Any,
    /// Any string, which is never shown.
    Secret,
    /// A [`toka_types::Name`].
    Name,
    /// The path of a file or a folder.
    Path,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A duration such as `500ms`, `30s`, `5m`, `1h`, `1d` or `1h30m`, between two bounds.
    Duration {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
    /// A number of bytes such as `4096`, `500 MiB` or `1 GiB`.
    Size,
    /// A cron expression of five fields, or six with seconds first.
    Cron,
    /// An IANA time zone.
    TimeZone,
    /// A [`toka_types::Kind`], such as `report.due`.
    EventKind,
    /// The beginning of the kind of an event, such as `file` or `file.chunk`.
    KindPrefix,
    /// A pattern for paths, such as `**/*.md`.
    Glob,
    /// A [`toka_types::Capability`], such as `tool:fs.read(path=docs/**)`.
    Capability,
    /// A capability without limits on its use: some calls.
    Calls,
    /// A [`toka_types::LabelPattern`], such as `untrusted:**`.
    Labels,
    /// A name that no built-in rule of a policy has.
    RuleName,
}

/// Whether a key must be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It must.
    Required,
    /// It need not; nothing takes its place.
    Optional,
    /// It need not; this takes its place.
    Default(DefaultValue),
    /// It need not; the value of that other key takes its place.
    Like(&'static str),
}

/// The value of a key that is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// `true` or `false`.
    Flag(bool),
    /// An integer.
    Integer(u64),
    /// A string.
    Text(&'static str),
}

/// A compiled-in behaviour of agents.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// Name, the value of `behaviour`.
    pub name: &'static str,
    /// What an agent of this behaviour does, one sentence.
    pub doc: &'static str,
    /// The keys it takes besides those common to all agents.
    pub keys: &'static Keys,
}

impl Kind {
    /// The kind in words, as in "must be …".
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Flag => "true or false",
            Self::Integer { .. } => "an integer",
            Self::Text(_) => "a string",
            Self::Texts(_) => "an array of strings",
            Self::Tables { .. } => "an array of tables",
        }
    }
}

impl DefaultValue {
    /// The value as TOML holds it.
    pub(super) fn to_toml(self) -> toml::Value {
        match self {
            Self::Flag(flag) => toml::Value::Boolean(flag),
            // Every default of the table is far below the bound of TOML's integers.
            Self::Integer(number) => toml::Value::Integer(i64::try_from(number).unwrap_or(i64::MAX)),
            Self::Text(text) => toml::Value::String(text.to_owned()),
        }
    }
}
