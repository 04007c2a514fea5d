//! A document as a tree in which every key and value knows where it comes from.

use toml::de::{DeTable, DeValue};

use super::source::At;

/// Deepest nesting: the known keys need four levels, and adapters some of their own. Recursion over the tree
/// is bounded by it.
pub(super) const MAX_DEPTH: usize = 32;

/// Keys of a table in the order of the document.
pub(super) type Entries = Vec<Entry>;

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: At,
    pub(super) node: Node,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: At,
    /// Where the value's text ends; equal to its beginning where it has none.
    pub(super) end: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    /// An integer beyond 64 bits, as written.
    Huge(String),
    Float(f64),
    Flag(bool),
    Datetime(toml::value::Datetime),
    List(Vec<Node>),
    Table(Entries),
    /// Stands where the document is malformed, which has been reported.
    Broken,
}

impl Value {
    /// What the value is, as in "but is …".
    pub(super) fn described(&self) -> String {
        match self {
            Self::Text(_) => "a string".to_owned(),
            Self::Integer(_) | Self::Huge(_) => "an integer".to_owned(),
            Self::Float(_) => "a number with a fraction".to_owned(),
            Self::Flag(flag) => flag.to_string(),
            Self::Datetime(_) => "a date".to_owned(),
            Self::List(_) => "an array".to_owned(),
            Self::Table(_) => "a table".to_owned(),
            Self::Broken => "malformed".to_owned(),
        }
    }
}

/// Converts a parsed document. Tables nested too deep are left out and their offsets returned.
pub(super) fn convert(table: &DeTable<'_>) -> (Entries, Vec<usize>) {
    let mut too_deep = Vec::new();
    (entries(table, 0, &mut too_deep), too_deep)
}

/// Converts the value of an environment variable, all of it placed at `at`.
pub(super) fn convert_value(value: &DeValue<'_>, span: std::ops::Range<usize>, at: At) -> Node {
    let mut too_deep = Vec::new();
    let mut node = node(value, span, 0, &mut too_deep);
    place(&mut node, at);
    if too_deep.is_empty() { node } else { Node { at, end: 0, value: Value::Broken } }
}

/// Converts a table that a program built.
pub(super) fn convert_built(table: &toml::Table) -> Entries {
    let entry = |(key, value): (&String, &toml::Value)| Entry {
        key: key.clone(),
        at: At::Program,
        node: built(value),
    };
    table.iter().map(entry).collect()
}

/// A value that a program built.
pub(super) fn built(value: &toml::Value) -> Node {
    let value = match value {
        toml::Value::String(text) => Value::Text(text.clone()),
        toml::Value::Integer(number) => Value::Integer(*number),
        toml::Value::Float(number) => Value::Float(*number),
        toml::Value::Boolean(flag) => Value::Flag(*flag),
        toml::Value::Datetime(date) => Value::Datetime(*date),
        toml::Value::Array(items) => Value::List(items.iter().map(built).collect()),
        toml::Value::Table(table) => Value::Table(convert_built(table)),
    };
    Node { at: At::Program, end: 0, value }
}

/// The value as TOML holds it, strings as written.
pub(super) fn as_written(node: &Node) -> toml::Value {
    match &node.value {
        Value::Text(text) => toml::Value::String(text.clone()),
        Value::Huge(text) => toml::Value::String(text.clone()),
        Value::Integer(number) => toml::Value::Integer(*number),
        Value::Float(number) => toml::Value::Float(*number),
        Value::Flag(flag) => toml::Value::Boolean(*flag),
        Value::Datetime(date) => toml::Value::Datetime(*date),
        Value::List(items) => toml::Value::Array(items.iter().map(as_written).collect()),
        Value::Table(entries) => toml::Value::Table(
            entries.iter().map(|entry| (entry.key.clone(), as_written(&entry.node))).collect(),
        ),
        Value::Broken => toml::Value::String(String::new()),
    }
}

fn entries(table: &DeTable<'_>, depth: usize, too_deep: &mut Vec<usize>) -> Entries {
    let mut entries: Entries = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            at: At::Offset(key.span().start),
            node: node(value.get_ref(), value.span(), depth + 1, too_deep),
        })
        .collect();
    entries.sort_by_key(|entry| entry.at);
    entries
}

fn node(value: &DeValue<'_>, span: std::ops::Range<usize>, depth: usize, too_deep: &mut Vec<usize>) -> Node {
    let at = At::Offset(span.start);
    let value = match value {
        // The parser puts a value without text where it found none.
        _ if span.is_empty() => Value::Broken,
        DeValue::Array(_) | DeValue::Table(_) if depth > MAX_DEPTH => {
            too_deep.push(span.start);
            Value::Broken
        }
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Huge(number.to_string()),
        },
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(date) => Value::Datetime(*date),
        DeValue::Array(items) => Value::List(
            items.iter().map(|item| node(item.get_ref(), item.span(), depth + 1, too_deep)).collect(),
        ),
        DeValue::Table(table) => Value::Table(entries(table, depth, too_deep)),
    };
    Node { at, end: span.end, value }
}

fn place(node: &mut Node, at: At) {
    node.at = at;
    node.end = 0;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| place(item, at)),
        Value::Table(entries) => {
            for entry in entries {
                entry.at = at;
                place(&mut entry.node, at);
            }
        }
        _ => {}
    }
}
