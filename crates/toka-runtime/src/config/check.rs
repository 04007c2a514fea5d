//! Checks a tree against the table of known keys and builds the configuration from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Table;

use super::diagnostic::{Severity, quoted};
use super::keys::{self, KeySpec, Kind, Need, SECTIONS, Shape, Text};
use super::loader::Loader;
use super::settings::{self, MASK, Origin, Setting};
use super::source::{At, Source};
use super::suggest::nearest;
use super::tree::{self, Entries, Entry, Node, Value};
use super::{expand, syntax};

/// A problem whose place is not made readable yet: most of a hopeless file's are never shown.
pub(super) struct Found {
    pub(super) at: At,
    pub(super) severity: Severity,
    pub(super) key: Option<String>,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// It is about something that is not there, which a syntax error may have swallowed.
    pub(super) absence: bool,
}

pub(super) struct Checker<'a> {
    pub(super) loader: &'a Loader,
    pub(super) source: &'a Source<'a>,
    pub(super) found: Vec<Found>,
    pub(super) settings: Vec<Setting>,
}

/// The table being checked, as messages and settings name it.
pub(super) struct Scope {
    /// What stands before a key in its dotted name: `event_bus.`
    pub(super) prefix: String,
    /// What stands after "unknown key …": `in [event_bus]`.
    pub(super) place: String,
    /// Where it is reported that a key is missing.
    pub(super) at: At,
}

/// What a table held: checked values, and where each was.
#[derive(Default)]
pub(super) struct Held {
    pub(super) values: Table,
    pub(super) places: BTreeMap<&'static str, At>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(loader: &'a Loader, source: &'a Source<'a>) -> Self {
        Self { loader, source, found: Vec::new(), settings: Vec::new() }
    }

    /// A table whose keys are not ours to judge: expanded, and otherwise as it is.
    pub(super) fn free_table(&mut self, entries: Entries, prefix: &str) -> Table {
        let mut table = Table::new();
        for entry in entries {
            let key = format!("{prefix}{}", entry.key);
            let at = entry.node.at;
            let Some(value) = self.free_value(entry.node, &key) else {
                continue;
            };
            let shown = if settings::is_secret(&entry.key) { MASK.into() } else { settings::to_json(&value) };
            self.setting(key, shown, at);
            table.insert(entry.key, value);
        }
        table
    }

    fn free_value(&mut self, node: Node, key: &str) -> Option<toml::Value> {
        match node.value {
            Value::Text(ref text) => self.expanded(text, &node, key).map(toml::Value::String),
            Value::Huge(number) => {
                let message = format!("{} is {number}, which does not fit into 64 bits", quoted(key));
                self.error(node.at, Some(key.to_owned()), message, None);
                None
            }
            Value::List(items) => Some(toml::Value::Array(
                items.into_iter().filter_map(|item| self.free_value(item, key)).collect(),
            )),
            Value::Table(entries) => {
                let value = |entry: Entry| {
                    let value = self.free_value(entry.node, &format!("{key}.{}", entry.key))?;
                    Some((entry.key, value))
                };
                Some(toml::Value::Table(entries.into_iter().filter_map(value).collect()))
            }
            Value::Broken => None,
            _ => Some(tree::as_written(&node)),
        }
    }

    /// Checks a table against `specs`. Of keys `elsewhere`, no default is listed.
    pub(super) fn table(
        &mut self,
        mut entries: Entries,
        specs: &[&'static KeySpec],
        one_of: &[&[&str]],
        elsewhere: &[&str],
        scope: &Scope,
    ) -> Held {
        let mut held = Held::default();
        for spec in specs {
            match take(&mut entries, spec.name) {
                Some(entry) => self.key(spec, entry, scope, &mut held),
                None => self.not_given(spec, elsewhere, scope),
            }
        }
        for group in one_of {
            let given: Vec<&str> =
                group.iter().copied().filter(|name| held.places.contains_key(name)).collect();
            let list = group.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>();
            if given.is_empty() {
                self.absence(
                    scope.at,
                    None,
                    format!("one of {} is missing {}", list.join(" and "), scope.place),
                    None,
                );
            } else if given.len() > 1 {
                let at =
                    given.iter().filter_map(|name| held.places.get(name)).max().copied().unwrap_or(scope.at);
                let message =
                    format!("{} exclude each other, but both stand {}", list.join(" and "), scope.place);
                self.error(
                    at,
                    Some(format!("{}{}", scope.prefix, given[1])),
                    message,
                    Some("keep one of them".to_owned()),
                );
            }
        }
        for entry in entries {
            self.unknown_key(entry, specs, scope);
        }
        held
    }

    /// Checks one key; it counts as given even if its value is wrong, so that it is not reported as missing too.
    pub(super) fn key(&mut self, spec: &'static KeySpec, entry: Entry, scope: &Scope, held: &mut Held) {
        let key = format!("{}{}", scope.prefix, spec.name);
        let at = entry.node.at;
        held.places.insert(spec.name, at);
        let Some(value) = self.value(spec, entry.node, &key) else {
            return;
        };
        if !matches!(spec.kind, Kind::Tables { .. }) {
            let secret = matches!(spec.kind, Kind::Text(Text::Secret));
            let shown = if secret { MASK.into() } else { settings::to_json(&value) };
            self.setting(key, shown, at);
        }
        held.values.insert(spec.name.to_owned(), value);
    }

    fn not_given(&mut self, spec: &'static KeySpec, elsewhere: &[&str], scope: &Scope) {
        let key = format!("{}{}", scope.prefix, spec.name);
        match spec.need {
            Need::Required => {
                let hint = format!("{}: {}", spec.name, spec.doc);
                self.absence(
                    scope.at,
                    Some(key),
                    format!("missing key '{}' {}", spec.name, scope.place),
                    Some(hint),
                );
            }
            Need::Default(_) if elsewhere.contains(&spec.name) => {}
            Need::Default(keys::DefaultValue::Text(path)) if matches!(spec.kind, Kind::Text(Text::Path)) => {
                let value = settings::path_to_json(&self.beside_file(path));
                self.settings.push(Setting { key, value, origin: Origin::Default });
            }
            Need::Default(value) => {
                let value = settings::to_json(&value.to_toml());
                self.settings.push(Setting { key, value, origin: Origin::Default });
            }
            Need::Optional | Need::Like(_) => {}
        }
    }

    fn value(&mut self, spec: &'static KeySpec, node: Node, key: &str) -> Option<toml::Value> {
        match (spec.kind, &node.value) {
            (_, Value::Broken) => None,
            (Kind::Flag, Value::Flag(flag)) => Some(toml::Value::Boolean(*flag)),
            (Kind::Integer { min, max }, Value::Integer(number)) => {
                if u64::try_from(*number).is_ok_and(|number| (min..=max).contains(&number)) {
                    return Some(toml::Value::Integer(*number));
                }
                self.out_of_bounds(spec, &number.to_string(), &node, key, min, max)
            }
            (Kind::Integer { min, max }, Value::Huge(number)) => {
                self.out_of_bounds(spec, number, &node, key, min, max)
            }
            (Kind::Text(text), Value::Text(value)) => self.text(spec.name, text, value, &node, key),
            (Kind::Texts(text), Value::List(items)) => {
                let mut texts = Vec::with_capacity(items.len());
                for item in items {
                    match &item.value {
                        Value::Text(value) => texts.extend(self.text(spec.name, text, value, item, key)),
                        Value::Broken => {}
                        other => {
                            let message = format!(
                                "'{}' must be {}, but one of them is {}",
                                spec.name,
                                spec.kind.expected(),
                                other.described()
                            );
                            self.error(item.at, Some(key.to_owned()), message, None);
                        }
                    }
                }
                Some(toml::Value::Array(texts))
            }
            (Kind::Tables { keys, distinct, max }, Value::List(_)) => {
                let Value::List(items) = node.value else {
                    return None;
                };
                self.tables(spec, keys, distinct, max, items, key)
            }
            (_, other) => {
                let message =
                    format!("'{}' must be {}, but is {}", spec.name, spec.kind.expected(), other.described());
                let hint = type_hint(spec, other, key);
                self.error(node.at, Some(key.to_owned()), message, hint);
                None
            }
        }
    }

    fn out_of_bounds(
        &mut self,
        spec: &KeySpec,
        number: &str,
        node: &Node,
        key: &str,
        min: u64,
        max: u64,
    ) -> Option<toml::Value> {
        let message = format!("'{}' is {number}, but must lie between {min} and {max}", spec.name);
        self.error(node.at, Some(key.to_owned()), message, None);
        None
    }

    fn text(&mut self, name: &str, text: Text, value: &str, node: &Node, key: &str) -> Option<toml::Value> {
        let value = self.expanded(value, node, key)?;
        if let Some((message, hint)) = syntax::check(name, &value, text, &self.loader.checks) {
            self.error(node.at, Some(key.to_owned()), message, hint);
            return None;
        }
        if !matches!((text, node.at), (Text::Path, At::Offset(_))) {
            return Some(toml::Value::String(value));
        }
        match self.beside_file(&value).into_os_string().into_string() {
            Ok(path) => Some(toml::Value::String(path)),
            Err(_) => {
                let message =
                    format!("'{name}' is relative to the folder of this file, whose path is not UTF-8");
                self.error(node.at, Some(key.to_owned()), message, Some("write an absolute path".to_owned()));
                None
            }
        }
    }

    fn tables(
        &mut self,
        spec: &'static KeySpec,
        keys: &'static keys::Keys,
        distinct: &'static str,
        max: usize,
        items: Vec<Node>,
        key: &str,
    ) -> Option<toml::Value> {
        if items.len() > max {
            let message =
                format!("'{}' has {} tables, and at most {max} are allowed", spec.name, items.len());
            self.error(items[0].at, Some(key.to_owned()), message, None);
            return None;
        }
        let specs: Vec<&KeySpec> = keys.keys.iter().collect();
        let mut seen: BTreeMap<String, At> = BTreeMap::new();
        let mut tables = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let at = item.at;
            let Value::Table(entries) = item.value else {
                let message = format!(
                    "'{}' must be {}, but one of them is {}",
                    spec.name,
                    spec.kind.expected(),
                    item.value.described()
                );
                self.error(at, Some(key.to_owned()), message, None);
                continue;
            };
            let header = header_of(key);
            let scope = Scope { prefix: format!("{key}[{index}]."), place: format!("in [[{header}]]"), at };
            let held = self.table(entries, &specs, keys.one_of, &[], &scope);
            let name = held.values.get(distinct).and_then(toml::Value::as_str);
            if let (Some(name), Some(at)) = (name, held.places.get(distinct))
                && let Some(first) = seen.insert(name.to_owned(), *at)
            {
                let message = format!("{distinct} {} stands twice in '{}'", quoted(name), spec.name);
                let hint = format!("the other is in {}", self.source.refer(first));
                self.error(*at, Some(format!("{}{distinct}", scope.prefix)), message, Some(hint));
            }
            tables.push(toml::Value::Table(held.values));
        }
        Some(toml::Value::Array(tables))
    }

    /// The string with its variables, if it comes from a file; other strings are meant as they are.
    fn expanded(&mut self, text: &str, node: &Node, key: &str) -> Option<String> {
        let At::Offset(start) = node.at else {
            return Some(text.to_owned());
        };
        match expand::expand(text, &self.loader.environment) {
            Ok(text) => Some(text),
            Err(troubles) => {
                for trouble in troubles {
                    // Escapes may hide it from a search; then the value as a whole is what is pointed at.
                    let written = self.source.text().get(start..node.end).unwrap_or_default();
                    let at = At::Offset(start + written.find(&trouble.fragment).unwrap_or(0));
                    self.error(at, Some(key.to_owned()), trouble.message, trouble.hint);
                }
                None
            }
        }
    }

    pub(super) fn unknown_key(&mut self, entry: Entry, specs: &[&'static KeySpec], scope: &Scope) {
        let hint = match nearest(&entry.key, specs.iter().map(|spec| spec.name)) {
            Some(near) => format!("did you mean '{near}'?"),
            None => belongs_elsewhere(&entry.key).unwrap_or_else(|| {
                format!("known keys: {}", specs.iter().map(|spec| spec.name).collect::<Vec<_>>().join(", "))
            }),
        };
        let message = format!("unknown key {} {}", quoted(&entry.key), scope.place);
        self.error(entry.at, Some(format!("{}{}", scope.prefix, entry.key)), message, Some(hint));
    }

    /// `path` as seen from the folder of the file.
    pub(super) fn beside_file(&self, path: &str) -> PathBuf {
        match self.source.path().and_then(Path::parent) {
            Some(folder) => folder.join(path),
            None => PathBuf::from(path),
        }
    }

    fn setting(&mut self, key: String, value: serde_json::Value, at: At) {
        let origin = self.source.origin(at);
        self.settings.push(Setting { key, value, origin });
    }

    pub(super) fn error(&mut self, at: At, key: Option<String>, message: String, hint: Option<String>) {
        self.push(at, Severity::Error, key, message, hint, false);
    }

    fn absence(&mut self, at: At, key: Option<String>, message: String, hint: Option<String>) {
        self.push(at, Severity::Error, key, message, hint, true);
    }

    pub(super) fn warning(&mut self, at: At, key: &str, message: String, hint: Option<String>) {
        self.push(at, Severity::Warning, Some(key.to_owned()), message, hint, false);
    }

    fn push(
        &mut self,
        at: At,
        severity: Severity,
        key: Option<String>,
        message: String,
        hint: Option<String>,
        absence: bool,
    ) {
        self.found.push(Found { at, severity, key, message, hint, absence });
    }
}

/// Takes the entry of that name out.
pub(super) fn take(entries: &mut Entries, name: &str) -> Option<Entry> {
    entries.iter().position(|entry| entry.key == name).map(|at| entries.remove(at))
}

/// Where a key that is unknown here would be right.
pub(super) fn belongs_elsewhere(key: &str) -> Option<String> {
    if keys::agent_keys().iter().any(|spec| spec.name == key) {
        return Some(format!("'{key}' belongs in [[agents]]"));
    }
    for section in SECTIONS {
        if let Shape::Keys(known) = section.shape
            && known.keys.iter().any(|spec| spec.name == key)
        {
            return Some(format!("'{key}' belongs in [{}]", section.name));
        }
        if let Shape::Keys(known) = section.shape {
            for spec in known.keys {
                if let Kind::Tables { keys, .. } = spec.kind
                    && keys.keys.iter().any(|inner| inner.name == key)
                {
                    return Some(format!("'{key}' belongs in [[{}.{}]]", section.name, spec.name));
                }
            }
        }
    }
    for behaviour in keys::BEHAVIOURS {
        for spec in behaviour.keys.keys {
            if spec.name == key {
                return Some(format!("'{key}' belongs to agents of the behaviour {}", behaviour.name));
            }
            if let Kind::Tables { keys, .. } = spec.kind
                && keys.keys.iter().any(|inner| inner.name == key)
            {
                return Some(format!("'{key}' belongs in [[agents.{}]]", spec.name));
            }
        }
    }
    None
}

/// `agents[0].tasks` is written `[[agents.tasks]]`.
fn header_of(key: &str) -> String {
    let parts = key.split('.').map(|part| part.split('[').next().unwrap_or(part));
    parts.collect::<Vec<_>>().join(".")
}

fn type_hint(spec: &KeySpec, value: &Value, key: &str) -> Option<String> {
    let name = spec.name;
    match (spec.kind, value) {
        (Kind::Integer { .. }, Value::Text(text)) if text.parse::<i64>().is_ok() => {
            Some(format!("write {name} = {text}"))
        }
        (Kind::Flag, Value::Text(text)) if matches!(text.as_str(), "true" | "false") => {
            Some(format!("write {name} = {text}"))
        }
        (Kind::Text(_), Value::Integer(_) | Value::Float(_) | Value::Flag(_) | Value::Datetime(_)) => {
            Some("put the value in quotes".to_owned())
        }
        (Kind::Texts(_), Value::Text(_)) => Some(format!("write {name} = [\"…\"]")),
        (Kind::Tables { .. }, Value::Table(_)) => {
            Some(format!("double the brackets: [[{}]]", header_of(key)))
        }
        _ => None,
    }
}
