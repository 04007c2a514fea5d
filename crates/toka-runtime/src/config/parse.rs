//! From text to a tree, with what the parser can say about text that is not TOML.

use std::io;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::diagnostic::{MAX_DIAGNOSTICS, printable, quoted};
use super::source::At;
use super::tree::{self, Entries, MAX_DEPTH, Node, Value};

/// Stack for the parser. Its recursion limit bounds inline tables and dotted keys each, but not their product:
/// a file of 12 KB can nest 6,000 tables, whose destructors overflow the 2 MiB of an ordinary thread.
const STACK_BYTES: usize = 32 << 20;

/// How the parser's messages begin that concern one value alone, so that what follows it was understood.
const LOCAL: &[&str] = &[
    "duplicate key",
    "string values must be quoted",
    "invalid basic string",
    "invalid literal string",
    "invalid date",
    "invalid time",
    "`_` may only go",
];
/// How its messages begin where a bracket is never closed, so that errors in between are consequences.
const UNCLOSED: &[&str] = &["unclosed array", "unclosed inline table"];

pub(super) struct Parsed {
    pub(super) entries: Entries,
    /// In the order of the text, at most one a line.
    pub(super) errors: Vec<SyntaxError>,
    /// Offset up to which the tree can be trusted.
    pub(super) reliable: usize,
}

pub(super) struct SyntaxError {
    pub(super) offset: usize,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// An error as the parser gives it.
struct Raw {
    span: Range<usize>,
    message: String,
}

/// Parses `text`, recovering from errors. Fails only if the system has no room for the parser's stack.
pub(super) fn parse(text: &str) -> io::Result<Parsed> {
    on_large_stack(|| parse_here(text))
}

/// Parses a single value, all of it placed at `at`; none if it is not TOML.
pub(super) fn parse_value(text: &str, at: At) -> Option<Node> {
    let parsed = on_large_stack(|| {
        let value = DeValue::parse(text).ok()?;
        Some(tree::convert_value(value.get_ref(), value.span(), at))
    });
    parsed.ok().flatten().filter(|node| !matches!(node.value, Value::Broken))
}

fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
        let worker = builder.spawn_scoped(scope, work)?;
        worker.join().map_err(|_| io::Error::other("the parser failed"))
    })
}

fn parse_here(text: &str) -> Parsed {
    let (table, errors) = DeTable::parse_recoverable(text);
    let (entries, too_deep) = tree::convert(table.get_ref());
    let mut errors: Vec<Raw> = errors
        .iter()
        .map(|error| Raw {
            span: error.span().unwrap_or(text.len()..text.len()),
            message: error.message().to_owned(),
        })
        .collect();
    errors.extend(too_deep.into_iter().map(|offset| Raw {
        span: offset..offset,
        message: format!("tables and arrays nest at most {MAX_DEPTH} deep"),
    }));
    errors.sort_by_key(|error| error.span.start);
    drop_consequences(&mut errors);
    let local = |error: &Raw| LOCAL.iter().any(|head| error.message.starts_with(head));
    let reliable = errors.iter().find(|error| !local(error)).map_or(usize::MAX, |error| error.span.start);
    let mut end_of_last_line = 0;
    errors.retain(|error| {
        let first = error.span.start >= end_of_last_line;
        if first {
            let rest = text.get(error.span.start..).unwrap_or_default();
            end_of_last_line =
                error.span.start + rest.find('\n').map_or(rest.len() + 1, |newline| newline + 1);
        }
        first
    });
    let explained = |(index, error)| explain(text, error, index < MAX_DIAGNOSTICS);
    Parsed { entries, errors: errors.into_iter().enumerate().map(explained).collect(), reliable }
}

/// Keeps, of the errors around a bracket that is never closed, the first and the one that says so.
fn drop_consequences(errors: &mut Vec<Raw>) {
    let unclosed = |error: &Raw| UNCLOSED.iter().any(|head| error.message.starts_with(head));
    let Some(last) = errors.iter().position(unclosed) else {
        return;
    };
    let first = errors
        .iter()
        .position(|error| error.message.starts_with("missing") || error.message.starts_with("unexpected"));
    if let Some(first) = first.filter(|first| *first < last) {
        errors.drain(first + 1..last);
    }
}

/// Says it in our words. Looking for where a key was given first takes time, so `thorough` bounds how often.
fn explain(text: &str, error: Raw, thorough: bool) -> SyntaxError {
    let Raw { span, message } = error;
    let offset = span.start;
    let part = text.get(span).unwrap_or_default();
    let (message, hint) = if message == "duplicate key" {
        let first = if thorough { first_given(text, offset) } else { None };
        (format!("duplicate key {}", quoted(part)), first)
    } else if message.starts_with("string values must be quoted") {
        if part.is_empty() {
            ("missing value after '='".to_owned(), None)
        } else {
            let hint = format!("write \"{}\"", printable(part.trim()));
            (format!("string values must be quoted, and {} is not", quoted(part)), Some(hint))
        }
    } else {
        (printable(&message), None)
    };
    SyntaxError { offset, message, hint }
}

/// Where the key or the header at `offset` was given first, as far as comparing lines can tell.
fn first_given(text: &str, offset: usize) -> Option<String> {
    let start = text.get(..offset)?.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[start..].lines().next()?.trim();
    let earlier: Vec<&str> = text[..start].lines().collect();
    let same: Box<dyn Fn(&str) -> bool> = if line.starts_with('[') {
        let header = line[..=line.rfind(']')?].to_owned();
        Box::new(move |earlier| earlier.trim().starts_with(&header))
    } else {
        let key = line.split('=').next()?.trim().to_owned();
        Box::new(move |earlier| earlier.split_once('=').is_some_and(|(other, _)| other.trim() == key))
    };
    let table = if line.starts_with('[') {
        0
    } else {
        earlier.iter().rposition(|line| line.trim_start().starts_with('[')).map_or(0, |header| header + 1)
    };
    let found = earlier.iter().skip(table).position(|earlier| same(earlier))?;
    Some(format!("first given in line {}", table + found + 1))
}
