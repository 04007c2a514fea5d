//! Arguments of a call: parsed once, so that whoever decides and whoever acts see the same bytes.

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use thiserror::Error;
use toka_types::Digest;

use crate::tool::ToolError;

/// Most bytes of arguments: data beyond that belongs into storage, and its name into the arguments.
pub const MAX_INPUT: usize = 1 << 20;
/// Deepest nesting of arguments. Nothing legitimate comes near, and code that recurses over a value is safe.
pub const MAX_DEPTH: usize = 64;

/// The arguments of one call: a JSON object, and its canonical bytes.
///
/// The canonical bytes have no spaces, keys in the order of their UTF-8 bytes, no escape that is not needed,
/// and every number in one form. Two inputs are equal if and only if their canonical bytes are.
#[derive(Clone, Debug)]
pub struct Input {
    arguments: Value,
    canonical: Vec<u8>,
}

/// What keeps bytes from being the arguments of a call.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InputError {
    /// Too many bytes.
    #[error("arguments of {size} bytes; at most {limit} are allowed, so put large data into storage")]
    TooLarge {
        /// Their size.
        size: usize,
        /// The most allowed.
        limit: usize,
    },
    /// Nested too deeply.
    #[error("arguments are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// The bytes are not JSON, or an object has a key twice.
    #[error("arguments are not JSON without repeated keys: {0}")]
    Malformed(String),
    /// The value is JSON, but no object.
    #[error("arguments are {0}; an object with one member for each argument is expected")]
    NotAnObject(&'static str),
    /// A number that cannot be kept exactly.
    #[error("the number {0} cannot be kept exactly; send it as a string")]
    Inexact(String),
}

impl Input {
    /// Parses the arguments of a call. Nothing is repaired: a repeated key, a number that would be rounded,
    /// and anything after the object are errors.
    ///
    /// # Errors
    /// Any [`InputError`].
    pub fn parse(json: impl AsRef<[u8]>) -> Result<Self, InputError> {
        let json = json.as_ref();
        if json.len() > MAX_INPUT {
            return Err(InputError::TooLarge { size: json.len(), limit: MAX_INPUT });
        }
        check_depth(json)?;
        let malformed = |e: serde_json::Error| InputError::Malformed(e.to_string());
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let value = Strict.deserialize(&mut deserializer).map_err(malformed)?;
        deserializer.end().map_err(malformed)?;
        check_numbers(json)?;
        Self::from_value(value)
    }

    /// The arguments that `value` holds.
    ///
    /// # Errors
    /// [`InputError::NotAnObject`], [`InputError::TooDeep`], [`InputError::TooLarge`].
    pub fn from_value(mut value: Value) -> Result<Self, InputError> {
        if !value.is_object() {
            return Err(InputError::NotAnObject(kind_of(&value)));
        }
        let mut canonical = Vec::with_capacity(128);
        write_canonical(&mut value, 1, &mut canonical)?;
        if canonical.len() > MAX_INPUT {
            return Err(InputError::TooLarge { size: canonical.len(), limit: MAX_INPUT });
        }
        Ok(Self { arguments: value, canonical })
    }

    /// The arguments.
    pub fn arguments(&self) -> &Value {
        &self.arguments
    }

    /// The canonical bytes.
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// The digest of the canonical bytes.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.canonical)
    }

    /// The argument `name`, if it was given.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.arguments.get(name)
    }

    /// The text argument `name`.
    ///
    /// # Errors
    /// [`ToolError::InvalidInput`] if it is missing or no text, which a manifest that requires it rules out.
    pub fn text(&self, name: &str) -> Result<&str, ToolError> {
        let missing = || ToolError::InvalidInput(format!("argument '{name}' is missing or no string"));
        self.get(name).and_then(Value::as_str).ok_or_else(missing)
    }

    /// All arguments as a type of the tool's own.
    ///
    /// # Errors
    /// [`ToolError::InvalidInput`] if they do not fit it.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ToolError> {
        T::deserialize(&self.arguments).map_err(|e| ToolError::InvalidInput(e.to_string()))
    }

    pub(crate) fn into_arguments(self) -> Value {
        self.arguments
    }
}

impl PartialEq for Input {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Input {}

impl Default for Input {
    /// No arguments.
    fn default() -> Self {
        Self { arguments: Value::Object(Map::new()), canonical: b"{}".to_vec() }
    }
}

/// What sort of JSON value `value` is, in words.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Refuses deep nesting before anything recurses over it. Brackets in strings do not count; in bytes that are
/// no JSON the count may be wrong, and then the parser refuses them.
fn check_depth(json: &[u8]) -> Result<(), InputError> {
    let mut depth = 0_usize;
    for token in tokens(json) {
        match token {
            [b'[' | b'{'] => depth += 1,
            [b']' | b'}'] => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(InputError::TooDeep);
        }
    }
    Ok(())
}

/// Refuses numbers that parsing has rounded. `json` has been parsed, so its tokens are JSON's.
fn check_numbers(json: &[u8]) -> Result<(), InputError> {
    for token in tokens(json) {
        let Ok(text) = std::str::from_utf8(token) else {
            continue;
        };
        if !text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            continue;
        }
        let whole = text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
        let exact = || {
            let float: f64 = text.parse().ok()?;
            Some(decimal(text)? == decimal(&format!("{float:e}"))?)
        };
        if !whole && exact() != Some(true) {
            return Err(InputError::Inexact(text.chars().take(80).collect()));
        }
    }
    Ok(())
}

/// The brackets and the runs of characters between punctuation; strings are left out.
fn tokens(json: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(&byte) = json.get(at) {
            let start = at;
            at += 1;
            match byte {
                b'"' => {
                    while let Some(&inner) = json.get(at) {
                        at += if inner == b'\\' { 2 } else { 1 };
                        if inner == b'"' {
                            break;
                        }
                    }
                }
                b'[' | b']' | b'{' | b'}' => return Some(&json[start..at]),
                b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' => {}
                _ => {
                    let rest = &json[start..];
                    let len = rest.iter().position(|b| b"\"[]{},: \t\r\n".contains(b)).unwrap_or(rest.len());
                    at = start + len;
                    return Some(&json[start..at]);
                }
            }
        }
        None
    })
}

/// A decimal text as sign, digits without outer zeros, and the power of ten of the last digit: equal numbers
/// give equal results.
pub(crate) fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let trimmed = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - trimmed.len()).ok()?;
    let places = i64::try_from(fraction.len()).ok()?;
    let significant = trimmed.trim_start_matches('0');
    if significant.is_empty() {
        return Some((false, String::new(), 0));
    }
    let exponent = exponent.strip_prefix('+').unwrap_or(exponent).parse::<i64>().ok()?;
    let power = exponent.checked_sub(places)?.checked_add(zeros)?;
    Some((negative, significant.to_owned(), power))
}

fn write_canonical(value: &mut Value, depth: usize, out: &mut Vec<u8>) -> Result<(), InputError> {
    if depth > MAX_DEPTH && (value.is_array() || value.is_object()) {
        return Err(InputError::TooDeep);
    }
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => {
            whole(number);
            out.extend_from_slice(number.to_string().as_bytes());
        }
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter_mut().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_canonical(item, depth + 1, out)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            // The map's own order depends on how serde_json was built.
            let mut sorted: Vec<(&String, &mut Value)> = members.iter_mut().collect();
            sorted.sort_by(|a, b| a.0.cmp(b.0));
            out.push(b'{');
            for (i, (key, member)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_string(key, out);
                out.push(b':');
                write_canonical(member, depth + 1, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// Turns a whole `f64` (`1.0`, `1e0`) into the integer that it is, so that one number has one form.
fn whole(number: &mut serde_json::Number) {
    /// Below this, every whole `f64` is the number that was written.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Some(float) = number.as_f64().filter(|_| number.is_f64())
        && float.fract() == 0.0
        && float.abs() < EXACT
    {
        #[allow(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
        let integer = float as i64;
        *number = integer.into();
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\0'..='\u{1f}' => out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes()),
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// Builds a [`Value`] and refuses repeated keys, where `Value`'s own deserialiser keeps the last.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} stands twice in one object")));
            }
            let member = members.next_value_seed(Strict)?;
            object.insert(key, member);
        }
        Ok(Value::Object(object))
    }
}
