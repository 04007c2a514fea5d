//! Events as JSON: headers, and what their MessagePack says.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rmpv::Value as Packed;
use serde::Serialize;
use serde_json::{Map, Value, json};
use toka_kernel::WorldState;
use toka_types::{Digest, EventId, Gone, Labels, Timestamp};
use toka_vault::{LogId, Record, Store};

use crate::failure::Stop;
use crate::look::author;

/// How deep MessagePack is followed: what lies deeper was not written to be read.
const MAX_DEPTH: usize = 64;
/// Bytes of ids and digests, which are shown as hex.
const ID_BYTES: [usize; 2] = [16, 32];

/// An event as it is printed.
#[derive(Serialize)]
pub(crate) struct EventView {
    pub(crate) seq: u64,
    pub(crate) id: EventId,
    pub(crate) log: String,
    pub(crate) kind: String,
    pub(crate) author: String,
    pub(crate) prev: Option<EventId>,
    pub(crate) parents: Vec<EventId>,
    pub(crate) at: String,
    pub(crate) labels: Labels,
    pub(crate) facts: Value,
    pub(crate) content: Value,
    /// Why there is no content, where there was some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gone: Option<Gone>,
    pub(crate) digest: Option<Digest>,
    pub(crate) size: u64,
}

impl EventView {
    pub(crate) fn new(record: &Record, log: &LogId, world: &WorldState) -> Self {
        let header = &record.header;
        Self {
            seq: header.seq,
            id: header.id,
            log: log.to_string(),
            kind: header.kind.to_string(),
            author: author(world, header.author),
            prev: header.prev,
            parents: header.parents.clone(),
            at: time(header.at),
            labels: header.labels.clone(),
            facts: facts(&header.facts),
            content: content(record),
            gone: None,
            digest: header.content.first().map(|content| content.digest),
            size: header.content_bytes(),
        }
    }

    /// Says why the content is not there, if it was.
    pub(crate) fn with_gone(mut self, record: &Record, store: &dyn Store) -> Result<Self, Stop> {
        if let (None, Some(digest)) = (record.content_at(0), self.digest) {
            self.gone = store.gone(&digest)?;
        }
        Ok(self)
    }

    /// What the event is about, in a few words.
    pub(crate) fn summary(&self) -> String {
        let of = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let either = |key: &str| of(&self.content, key).or_else(|| of(&self.facts, key));
        if let (Some(from), Some(to)) = (of(&self.content, "from"), of(&self.content, "to")) {
            return format!("{from} → {to}");
        }
        if let Some(path) = either("path") {
            let lines = self.content.get("lines").and_then(Value::as_array);
            let lines =
                lines.filter(|lines| lines.len() == 2).map(|lines| format!(":{}-{}", lines[0], lines[1]));
            let reason = of(&self.content, "reason").map(|reason| format!(" ({reason})"));
            return format!("{path}{}{}", lines.unwrap_or_default(), reason.unwrap_or_default());
        }
        if let Some(code) = of(&self.facts, "code") {
            let rest = [of(&self.facts, "asked"), of(&self.content, "argument")];
            return rest.into_iter().flatten().fold(code, |text, word| format!("{text} {word}"));
        }
        // A plan, by the tools of its slots.
        if let Some(slots) = self.facts.get("slots").and_then(Value::as_array) {
            return slots.iter().filter_map(|slot| of(slot, "tool")).collect::<Vec<_>>().join(", ");
        }
        // What a person asked for is where most answers to why end.
        if let (true, Value::String(text)) = (self.kind == "message.sent", &self.content) {
            return text.clone();
        }
        let words = ["name", "tool", "task", "capability", "to", "upto"];
        let said = words.iter().filter_map(|key| match self.facts.get(*key) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(format!("{key} {number}")),
            _ => None,
        });
        let said: Vec<String> = said.collect();
        if said.is_empty()
            && let Some(gone) = self.gone
        {
            return format!("({})", reason(gone));
        }
        match (said.is_empty(), &self.content) {
            (false, _) => format!("{}{}", said.join(" "), self.planned()),
            (true, Value::String(text)) => text.clone(),
            (true, _) => String::new(),
        }
    }

    /// What the agent's plan says of a call: the slot that it fills, or why it fills none.
    fn planned(&self) -> String {
        if let Some(because) = self.facts.get("because").and_then(Value::as_str) {
            return format!(" ({because})");
        }
        let slot = self.facts.get("slot").and_then(|used| {
            let plan: EventId = used.get("plan")?.as_str()?.parse().ok()?;
            Some(format!(" (slot {} of plan {})", used.get("slot")?, plan.short()))
        });
        slot.unwrap_or_default()
    }

    /// Whether the event's content speaks of a path that `accepts`. Facts hold no paths.
    pub(crate) fn speaks_of(&self, accepts: &dyn Fn(&str) -> bool) -> bool {
        mentions(&self.content, accepts)
    }
}

fn mentions(value: &Value, accepts: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(key, value)| match (key.as_str(), value) {
            // What a refused call was about is its `argument`.
            ("path" | "from" | "to" | "argument", Value::String(path)) => accepts(path),
            (_, inner) => mentions(inner, accepts),
        }),
        Value::Array(items) => items.iter().any(|item| mentions(item, accepts)),
        _ => false,
    }
}

/// The word for a reason.
pub(crate) fn reason(gone: Gone) -> &'static str {
    match gone {
        Gone::Erased => "erased",
        Gone::Expired => "expired",
        Gone::Redacted => "redacted",
        Gone::Sealed => "sealed",
    }
}

/// A time as RFC 3339 in UTC, to the microsecond.
pub(crate) fn time(at: Timestamp) -> String {
    match jiff::Timestamp::from_microsecond(at.0) {
        Ok(time) => format!("{time:.6}"),
        // Beyond the year 9999 there is no such text; the number is still true.
        Err(_) => format!("{} µs", at.0),
    }
}

/// The facts: one map, and in it as `operation` the second one that follows where the operation was named.
fn facts(mut bytes: &[u8]) -> Value {
    let mut facts = json!({});
    let mut first = true;
    while !bytes.is_empty() {
        let before = bytes;
        let Ok(value) = rmpv::decode::read_value_with_max_depth(&mut bytes, MAX_DEPTH) else {
            return opaque(before);
        };
        let value = to_json(&value);
        match (first, &mut facts, value) {
            (true, _, value) => facts = value,
            (false, Value::Object(fields), value) => {
                fields.insert("operation".to_owned(), value);
            }
            (false, ..) => return opaque(before),
        }
        first = false;
    }
    facts
}

/// The first piece of content, or null.
fn content(record: &Record) -> Value {
    record.payload().map_or(Value::Null, unpacked)
}

/// What the bytes say as MessagePack; bytes that are none are shown as they are.
pub(crate) fn unpacked(bytes: &[u8]) -> Value {
    let mut rest = bytes;
    match rmpv::decode::read_value_with_max_depth(&mut rest, MAX_DEPTH) {
        Ok(value) if rest.is_empty() => to_json(&value),
        _ => opaque(bytes),
    }
}

fn to_json(value: &Packed) -> Value {
    match value {
        Packed::Nil => Value::Null,
        Packed::Boolean(flag) => Value::Bool(*flag),
        Packed::Integer(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => Value::Null,
        },
        Packed::F32(number) => f64::from(*number).into(),
        Packed::F64(number) => (*number).into(),
        Packed::String(text) => text.as_str().map_or_else(|| opaque(text.as_bytes()), Value::from),
        Packed::Binary(bytes) => binary(bytes),
        Packed::Array(items) => items.iter().map(to_json).collect(),
        Packed::Map(entries) => {
            let fields = entries.iter().map(|(key, value)| (key_of(key), to_json(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Packed::Ext(kind, bytes) => json!({ "ext": kind, "base64": STANDARD.encode(bytes) }),
    }
}

fn key_of(key: &Packed) -> String {
    match to_json(key) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn binary(bytes: &[u8]) -> Value {
    if ID_BYTES.contains(&bytes.len()) {
        return bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
    }
    opaque(bytes)
}

fn opaque(bytes: &[u8]) -> Value {
    json!({ "base64": STANDARD.encode(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_pack_becomes_json() {
        let check = |bytes: &[u8], json: Value| assert_eq!(unpacked(bytes), json, "{bytes:02x?}");
        check(&[0xc0], Value::Null);
        check(&[0x81, 0xa1, b'a', 0x01], json!({ "a": 1 }));
        check(&[0x81, 0x05, 0xc3], json!({ "5": true }));
        check(&[0xff], json!(-1));
        check(&[0xc4, 0x02, 1, 2], json!({ "base64": "AQI=" }));
        check(&[[0xc4, 0x10].as_slice(), &[0xab; 16]].concat(), json!("ab".repeat(16)));
        // Cut short, more than one value, or text that is none.
        check(&[0xc4, 0x05, 1], json!({ "base64": "xAUB" }));
        check(&[0x92, 0x01], json!({ "base64": "kgE=" }));
        check(b"hi", json!({ "base64": "aGk=" }));
        check(&[0xd9, 0x01, 0xff], json!({ "base64": "/w==" }));
        let deep = [[0x91; 100].as_slice(), &[0x01]].concat();
        assert!(unpacked(&deep).get("base64").is_some());
    }

    #[test]
    fn facts_are_one_map_with_the_operation_in_it() {
        let check = |bytes: &[u8], json: Value| assert_eq!(facts(bytes), json);
        check(&[], json!({}));
        check(&[0x81, 0xa1, b'a', 0x01, 0x81, 0xa1, b'b', 0x02], json!({ "a": 1, "operation": { "b": 2 } }));
    }

    #[test]
    fn times_are_rfc_3339_in_utc() {
        let check = |micros: i64, text: &str| assert_eq!(time(Timestamp(micros)), text);
        check(0, "1970-01-01T00:00:00.000000Z");
        check(1_700_000_000_000_001, "2023-11-14T22:13:20.000001Z");
        check(i64::MAX, "9223372036854775807 µs");
    }
}
