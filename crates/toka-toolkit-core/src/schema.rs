//! The part of JSON Schema that is enforced, and nothing beside it.
//!
//! | Keyword | Means |
//! |---|---|
//! | `type` | `string`, `integer`, `number`, `boolean`, `array` or `object`; absent: anything |
//! | `properties`, `required` | members of an object; a member that is not declared is refused |
//! | `additionalProperties` | `false`, which holds anyway, or `true` for an object of any members |
//! | `items` | the schema of every element of an array |
//! | `enum` | the values allowed |
//! | `minimum`, `maximum` | bounds of an integer or a number, included |
//! | `minLength`, `maxLength`, `minItems`, `maxItems` | bounds of characters and of elements |
//! | `title`, `description`, `default`, `examples` | for people; not enforced |
//!
//! Any other keyword is an error when the schema is read, so that no constraint is written and then not kept.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use thiserror::Error;
use toka_types::path::for_terminal;

use crate::input::kind_of;

/// A schema that was read and can be enforced.
#[derive(Clone, Debug)]
pub struct Schema {
    source: Value,
    node: Node,
}

/// What a schema says that cannot be enforced.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("schema at '{at}': {problem}")]
pub struct SchemaError {
    /// Where, as the names that lead there; empty at the top.
    pub at: String,
    /// What is wrong there.
    pub problem: String,
}

/// How a value departs from its schema.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("argument '{at}' {problem}")]
pub struct Mismatch {
    /// Where, as the names that lead there.
    pub at: String,
    /// What is wrong there.
    pub problem: String,
}

#[derive(Clone, Debug, Default)]
struct Node {
    kind: Option<Kind>,
    properties: BTreeMap<String, Node>,
    required: Vec<String>,
    /// True if undeclared members are allowed.
    open: bool,
    items: Option<Box<Node>>,
    one_of: Option<Vec<Value>>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    /// Characters of a string, elements of an array.
    shortest: Option<u64>,
    longest: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
}

const KINDS: [(&str, Kind); 6] = [
    ("string", Kind::String),
    ("integer", Kind::Integer),
    ("number", Kind::Number),
    ("boolean", Kind::Boolean),
    ("array", Kind::Array),
    ("object", Kind::Object),
];

impl Schema {
    /// Reads the schema of a tool's arguments. The top is an object, whether it says so or not.
    ///
    /// # Errors
    /// [`SchemaError`] for whatever could not be enforced.
    pub fn read(source: Value) -> Result<Self, SchemaError> {
        let mut node = Node::read(&source, "")?;
        if node.kind.is_some_and(|kind| kind != Kind::Object) {
            return Err(error("", "the top must be of type object"));
        }
        node.kind = Some(Kind::Object);
        Ok(Self { source, node })
    }

    /// The schema as it was written.
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// Checks `value`.
    ///
    /// # Errors
    /// The first [`Mismatch`].
    pub fn check(&self, value: &Value) -> Result<(), Mismatch> {
        self.node.check(value, "")
    }

    /// The names of the arguments that it declares.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.node.properties.keys()
    }

    /// The type of the argument `name`, and of its elements if it is an array.
    pub(crate) fn kind(&self, name: &str) -> Option<(Option<Kind>, Option<Kind>)> {
        let node = self.node.properties.get(name)?;
        Some((node.kind, node.items.as_ref().and_then(|items| items.kind)))
    }
}

impl Node {
    fn read(source: &Value, at: &str) -> Result<Self, SchemaError> {
        let Value::Object(keywords) = source else {
            return Err(error(at, format!("{} stands where an object is expected", kind_of(source))));
        };
        let mut node = Self::default();
        for (keyword, value) in keywords {
            node.keyword(keyword, value, at)?;
        }
        if !keywords.contains_key("additionalProperties") {
            // An object of which no member is declared would otherwise admit none.
            node.open = !keywords.contains_key("properties");
        }
        if !at.is_empty() || keywords.contains_key("type") {
            node.check_kind(keywords, at)?;
        }
        if let Some(name) = node.required.iter().find(|name| !node.properties.contains_key(*name)) {
            return Err(error(at, format!("'{name}' is required but not among the properties")));
        }
        Ok(node)
    }

    fn keyword(&mut self, keyword: &str, value: &Value, at: &str) -> Result<(), SchemaError> {
        let wrong = |expected: &str| error(at, format!("'{keyword}' must be {expected}"));
        match keyword {
            "title" | "description" | "default" | "examples" => {}
            "type" => {
                let kind = KINDS.iter().find(|(name, _)| value == name);
                let (_, kind) =
                    kind.ok_or_else(|| wrong("one of string, integer, number, boolean, array, object"))?;
                self.kind = Some(*kind);
            }
            "properties" => {
                let members = value.as_object().ok_or_else(|| wrong("an object"))?;
                for (name, schema) in members {
                    self.properties.insert(name.clone(), Self::read(schema, &below(at, name))?);
                }
            }
            "required" => {
                let names = value.as_array().ok_or_else(|| wrong("an array of names"))?;
                for name in names {
                    self.required.push(name.as_str().ok_or_else(|| wrong("an array of names"))?.to_owned());
                }
            }
            "additionalProperties" => self.open = value.as_bool().ok_or_else(|| wrong("true or false"))?,
            "items" => self.items = Some(Box::new(Self::read(value, &below(at, "[]"))?)),
            "enum" => self.one_of = Some(value.as_array().ok_or_else(|| wrong("an array"))?.clone()),
            "minimum" => self.minimum = Some(value.as_f64().ok_or_else(|| wrong("a number"))?),
            "maximum" => self.maximum = Some(value.as_f64().ok_or_else(|| wrong("a number"))?),
            "minLength" | "minItems" => {
                self.shortest = Some(value.as_u64().ok_or_else(|| wrong("a whole number"))?);
            }
            "maxLength" | "maxItems" => {
                self.longest = Some(value.as_u64().ok_or_else(|| wrong("a whole number"))?);
            }
            _ => {
                return Err(error(at, format!("'{keyword}' is not enforced here, so it may not be written")));
            }
        }
        Ok(())
    }

    /// Refuses keywords that say nothing about the type that is declared.
    fn check_kind(&self, keywords: &Map<String, Value>, at: &str) -> Result<(), SchemaError> {
        for keyword in keywords.keys() {
            let kinds: &[Kind] = match keyword.as_str() {
                "properties" | "required" | "additionalProperties" => &[Kind::Object],
                "items" | "minItems" | "maxItems" => &[Kind::Array],
                "minimum" | "maximum" => &[Kind::Integer, Kind::Number],
                "minLength" | "maxLength" => &[Kind::String],
                _ => continue,
            };
            if !self.kind.is_some_and(|kind| kinds.contains(&kind)) {
                return Err(error(at, format!("'{keyword}' says nothing about the type that is declared")));
            }
        }
        Ok(())
    }

    fn check(&self, value: &Value, at: &str) -> Result<(), Mismatch> {
        let mismatch = |problem: String| Err(Mismatch { at: at.to_owned(), problem });
        if let Some(allowed) = &self.one_of
            && !allowed.contains(value)
        {
            return mismatch(format!("is not one of {}", Value::Array(allowed.clone())));
        }
        let length = match (self.kind, value) {
            (None, _) | (Some(Kind::Boolean), Value::Bool(_)) => return Ok(()),
            (Some(Kind::Integer), Value::Number(n)) if n.is_i64() || n.is_u64() => None,
            (Some(Kind::Number), Value::Number(_)) => None,
            (Some(Kind::String), Value::String(text)) => Some(text.chars().count()),
            (Some(Kind::Array), Value::Array(items)) => Some(items.len()),
            (Some(Kind::Object), Value::Object(_)) => None,
            (Some(kind), _) => {
                let expected = KINDS.iter().find(|(_, k)| *k == kind).map_or("", |(name, _)| *name);
                return mismatch(format!("is {}; {expected} is expected", kind_of(value)));
            }
        };
        if let Some(length) = length.map(|n| n as u64) {
            match (self.shortest, self.longest) {
                (Some(least), _) if length < least => {
                    return mismatch(format!("has length {length}; at least {least} is expected"));
                }
                (_, Some(most)) if length > most => {
                    return mismatch(format!("has length {length}; at most {most} is allowed"));
                }
                _ => {}
            }
        }
        if let Some(number) = value.as_f64() {
            match (self.minimum, self.maximum) {
                (Some(least), _) if number < least => {
                    return mismatch(format!("is {value}; at least {least} is expected"));
                }
                (_, Some(most)) if number > most => {
                    return mismatch(format!("is {value}; at most {most} is allowed"));
                }
                _ => {}
            }
        }
        match value {
            Value::Array(items) => self.check_items(items, at),
            Value::Object(members) => self.check_members(members, at),
            _ => Ok(()),
        }
    }

    fn check_items(&self, items: &[Value], at: &str) -> Result<(), Mismatch> {
        let Some(schema) = &self.items else {
            return Ok(());
        };
        items.iter().enumerate().try_for_each(|(i, item)| schema.check(item, &below(at, &i.to_string())))
    }

    fn check_members(&self, members: &Map<String, Value>, at: &str) -> Result<(), Mismatch> {
        if let Some(name) = self.required.iter().find(|name| !members.contains_key(*name)) {
            return Err(Mismatch { at: below(at, name), problem: "is missing".to_owned() });
        }
        for (name, member) in members {
            let at = below(at, name);
            match self.properties.get(name) {
                Some(schema) => schema.check(member, &at)?,
                None if self.open => {}
                None => {
                    let known: Vec<&str> = self.properties.keys().map(String::as_str).collect();
                    let problem = format!("is not known; there are: {}", known.join(", "));
                    return Err(Mismatch { at, problem });
                }
            }
        }
        Ok(())
    }
}

/// The place `name` below `at`, as a terminal may show it: names of arguments come from outside.
fn below(at: &str, name: &str) -> String {
    let start: String = name.chars().take(80).collect();
    let name = for_terminal(&start);
    if at.is_empty() { name } else { format!("{at}.{name}") }
}

fn error(at: &str, problem: impl Into<String>) -> SchemaError {
    SchemaError { at: at.to_owned(), problem: problem.into() }
}
