//! The JSON Schema of the configuration file, from the table of known keys.

use serde_json::{Map, Value, json};
use toka_types::id::{MAX_KIND, MAX_NAME};

use super::keys::{
    BEHAVIOURS, Behaviour, DefaultValue, KeySpec, Keys, Kind, Need, ROOT, SECTIONS, Section, Shape, Text,
};

/// A string that refers to a variable, which no other check can see through.
const REFERENCE: &str = r"\$\{";
/// A duration, as [`super::parse_duration`] reads it.
const DURATION: &str = "^([0-9]+(w|d|h|ms|m|s))+$";
/// A number of bytes, as [`super::parse_size`] reads it.
const SIZE: &str = "^[0-9]+ ?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)?$";

/// The JSON Schema (draft 2020-12) of a configuration file.
///
/// It is stricter than the loader in one point, that behaviours of programs which embed the runtime are not in
/// it, and laxer in those that a schema cannot express: near misses of names, names that must differ.
pub fn json_schema() -> Value {
    let mut properties = properties(&ROOT);
    for section in SECTIONS {
        properties.insert(section.name.to_owned(), section_schema(section));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Toka configuration",
        "type": "object",
        "properties": properties,
        // Unknown sections are reported and ignored; unknown keys at top level are errors.
        "additionalProperties": { "type": ["object", "array"] },
    })
}

fn section_schema(section: &Section) -> Value {
    let mut schema = match section.shape {
        Shape::Keys(keys) => table(keys),
        Shape::Agents(keys) => {
            let agents: Vec<Value> = BEHAVIOURS.iter().map(|behaviour| agent(keys, behaviour)).collect();
            json!({ "type": "array", "items": { "oneOf": agents } })
        }
        Shape::Adapters { .. } => {
            json!({ "type": "object", "additionalProperties": { "type": "object" } })
        }
    };
    let doc = match section.feature {
        Some(feature) => format!("{} Needs the feature `{feature}`.", section.doc),
        None => section.doc.to_owned(),
    };
    schema["description"] = doc.into();
    schema
}

/// An agent of one behaviour, which is named by `behaviour`, or by `name` where that is absent.
fn agent(common: &'static Keys, behaviour: &Behaviour) -> Value {
    let mut properties = properties(common);
    properties.extend(self::properties(behaviour.keys));
    let required: Vec<&str> = required(common).chain(required(behaviour.keys)).collect();
    json!({
        "title": behaviour.name,
        "description": behaviour.doc,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
        "if": { "required": ["behaviour"] },
        "then": { "properties": { "behaviour": { "const": behaviour.name } } },
        "else": { "properties": { "name": { "const": behaviour.name } } },
    })
}

fn table(keys: &'static Keys) -> Value {
    let mut schema =
        json!({ "type": "object", "properties": properties(keys), "additionalProperties": false });
    let required: Vec<&str> = required(keys).collect();
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    if !keys.one_of.is_empty() {
        let groups = keys.one_of.iter().map(|group| {
            let choices: Vec<Value> = group.iter().map(|name| json!({ "required": [name] })).collect();
            json!({ "oneOf": choices })
        });
        schema["allOf"] = groups.collect();
    }
    schema
}

fn required(keys: &'static Keys) -> impl Iterator<Item = &'static str> {
    keys.keys.iter().filter(|spec| spec.need == Need::Required).map(|spec| spec.name)
}

fn properties(keys: &'static Keys) -> Map<String, Value> {
    keys.keys.iter().map(|spec| (spec.name.to_owned(), key(spec))).collect()
}

fn key(spec: &KeySpec) -> Value {
    let mut schema = match spec.kind {
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Text(kind) => text(kind),
        Kind::Texts(kind) => json!({ "type": "array", "items": text(kind) }),
        Kind::Tables { keys, max, .. } => {
            json!({ "type": "array", "items": table(keys), "maxItems": max })
        }
    };
    schema["description"] = spec.doc.into();
    match spec.need {
        Need::Default(DefaultValue::Flag(flag)) => schema["default"] = flag.into(),
        Need::Default(DefaultValue::Integer(number)) => schema["default"] = number.into(),
        Need::Default(DefaultValue::Text(text)) => schema["default"] = text.into(),
        Need::Required | Need::Optional | Need::Like(_) => {}
    }
    schema
}

fn text(kind: Text) -> Value {
    match kind {
        Text::Any | Text::Secret | Text::Cron | Text::TimeZone => json!({ "type": "string" }),
        Text::Name | Text::RuleName => pattern(&format!("^[A-Za-z0-9._/-]{{1,{MAX_NAME}}}$")),
        Text::Path | Text::Glob | Text::Capability | Text::Calls | Text::Labels => {
            json!({ "type": "string", "minLength": 1 })
        }
        Text::Choice(words) => {
            json!({ "anyOf": [{ "enum": words }, { "type": "string", "pattern": REFERENCE }] })
        }
        Text::Duration { .. } => pattern(DURATION),
        Text::Size => pattern(SIZE),
        Text::EventKind => event_kind("$"),
        Text::KindPrefix => event_kind("[.]?$"),
    }
}

fn event_kind(end: &str) -> Value {
    pattern(&format!("^(?=.{{1,{MAX_KIND}}}$)[a-z0-9_-]+([.][a-z0-9_-]+)*{end}"))
}

/// A string of that pattern, or one with a variable in it.
fn pattern(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": format!("{pattern}|{REFERENCE}") })
}
