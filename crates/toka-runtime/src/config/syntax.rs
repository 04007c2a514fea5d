//! What strings of each kind must look like.

use std::path::Path;
use std::time::Duration;

use toka_kernel::policy::BUILT_IN;
use toka_types::facts::kinds::RESERVED;
use toka_types::{Capability, Kind, LabelPattern, Name};

use super::diagnostic::{printable, quoted};
use super::keys::Text;
use super::loader::SyntaxChecks;

/// Longest name of a time zone, in bytes; the longest there is has 32.
const MAX_ZONE_BYTES: usize = 64;
/// Longest pattern or path, in bytes; `PATH_MAX` of Linux, beyond which no system call accepts one.
const MAX_PATH_BYTES: usize = 4096;

/// Units of a duration, longest first, in milliseconds.
const UNITS: &[(&str, u64)] = &[
    ("w", 7 * 24 * 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// A duration such as `500ms`, `30s`, `5m`, `1h`, `1d`, `2w` or `1h30m`: whole numbers with a unit each,
/// larger units first. The error says what is wrong with it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let malformed = || format!("{} is not a duration; write 500ms, 30s, 5m, 1h, 1d or 1h30m", quoted(text));
    let mut rest = text;
    let mut units = UNITS;
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(malformed());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = &rest[digits..digits + letters];
        let at = units.iter().position(|(name, _)| *name == unit).ok_or_else(malformed)?;
        if digits == 0 {
            return Err(malformed());
        }
        let part = rest[..digits].parse::<u64>().ok().and_then(|number| number.checked_mul(units[at].1));
        total = part
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| format!("{} is longer than a duration can be", quoted(text)))?;
        units = &units[at + 1..];
        rest = &rest[digits + letters..];
    }
    Ok(Duration::from_millis(total))
}

/// Units of a number of bytes.
const SIZES: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// A number of bytes such as `4096`, `500 MiB` or `1GB`. The error says what is wrong with it.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let known = SIZES.iter().find(|(name, _)| *name == unit);
    let Some((_, bytes)) = known.filter(|_| digits > 0) else {
        let near =
            super::suggest::nearest(unit, SIZES.iter().map(|(name, _)| *name).filter(|n| !n.is_empty()));
        let hint = near.map(|near| format!(", did you mean {near}?")).unwrap_or_default();
        return Err(format!("{} is not a size; write 4096, 500 MiB or 1 GiB{hint}", quoted(text)));
    };
    let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*bytes));
    size.ok_or_else(|| format!("{} is more than a size can be", quoted(text)))
}

/// `duration` as [`parse_duration`] reads it.
pub(super) fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut out = String::new();
    for (name, length) in UNITS.iter().filter(|(name, _)| *name != "w") {
        if rest >= *length {
            out.push_str(&format!("{}{name}", rest / length));
            rest %= length;
        }
    }
    if out.is_empty() { "0ms".to_owned() } else { out }
}

/// What is wrong with `value` as the value of `key`, if anything: a message, and a hint.
pub(super) fn check(
    key: &str,
    value: &str,
    text: Text,
    checks: &SyntaxChecks,
) -> Option<(String, Option<String>)> {
    let own = match text {
        Text::Any | Text::Secret => None,
        Text::Name => judged(key, Name::new(value)),
        Text::Path => path(key, value),
        Text::Choice(words) => choice(key, value, words),
        Text::Duration { min, max } => duration(key, value, min, max),
        Text::Size => parse_size(value).err().map(|reason| (format!("'{key}': {reason}"), None)),
        Text::Cron => cron(value).map(|reason| said(key, value, &reason)),
        Text::TimeZone => zone(value).map(|reason| said(key, value, &reason)),
        Text::EventKind => judged(key, Kind::new(value)).or_else(|| reserved(key, value)),
        // A prefix may end in the dot that follows it.
        Text::KindPrefix => judged(key, Kind::new(value.strip_suffix('.').unwrap_or(value))),
        Text::Glob => bounded(key, value, MAX_PATH_BYTES),
        Text::Capability => judged(key, value.parse::<Capability>()),
        Text::Calls => match value.parse::<Capability>() {
            Ok(to) if !to.limits().is_none() => {
                Some(said(key, value, "'rate' and 'uses' have no place here, since a policy counts nothing"))
            }
            parsed => judged(key, parsed),
        },
        Text::Labels => judged(key, value.parse::<LabelPattern>()),
        Text::RuleName if value.starts_with(BUILT_IN) => {
            Some(said(key, value, "names of built-in rules begin so"))
        }
        Text::RuleName => judged(key, Name::new(value)),
    };
    own.or_else(|| {
        let program = match text {
            Text::Cron => checks.cron,
            Text::TimeZone => checks.timezone,
            Text::Glob => checks.glob,
            _ => None,
        }?;
        program(value).err().map(|reason| said(key, value, &reason))
    })
}

type Complaint = Option<(String, Option<String>)>;

/// The complaint of a type of the vocabulary, which repeats the value itself.
fn judged<T, E: std::fmt::Display>(key: &str, outcome: Result<T, E>) -> Complaint {
    let error = outcome.err()?;
    Some((format!("'{key}': {}", printable(&error.to_string())), None))
}

/// Only the kernel decides events of its own families, so such a task would be denied whenever it is due.
fn reserved(key: &str, kind: &str) -> Complaint {
    let family = kind.split('.').next().unwrap_or_default();
    if !RESERVED.contains(&family) {
        return None;
    }
    let message =
        format!("'{key}' is {}, but kinds that begin with '{family}' belong to the kernel", quoted(kind));
    Some((message, Some("choose another first segment".to_owned())))
}

fn said(key: &str, value: &str, reason: &str) -> (String, Option<String>) {
    (format!("'{key}' is {}: {}", quoted(value), printable(reason)), None)
}

fn bounded(key: &str, value: &str, max: usize) -> Complaint {
    if value.is_empty() {
        Some((format!("'{key}' is empty"), None))
    } else if value.len() > max {
        Some((format!("'{key}' has {} bytes, and at most {max} are allowed", value.len()), None))
    } else {
        None
    }
}

fn path(key: &str, value: &str) -> Complaint {
    if value.contains('\0') {
        return Some(said(key, value, "a path has no NUL"));
    }
    if value == "~" || value.starts_with("~/") {
        let hint = format!("write ${{HOME}}{}, or ./{value} for a folder of that name", &value[1..]);
        return Some((format!("'{key}' is {}: '~' is not expanded", quoted(value)), Some(hint)));
    }
    bounded(key, value, MAX_PATH_BYTES)
}

fn choice(key: &str, value: &str, words: &[&str]) -> Complaint {
    if words.contains(&value) {
        return None;
    }
    let list: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let hint =
        super::suggest::nearest(value, words.iter().copied()).map(|word| format!("did you mean '{word}'?"));
    Some((format!("'{key}' is {}, but must be one of {}", quoted(value), list.join(", ")), hint))
}

fn duration(key: &str, value: &str, min: Duration, max: Duration) -> Complaint {
    match parse_duration(value) {
        Err(reason) => Some((format!("'{key}': {reason}"), None)),
        Ok(duration) if duration < min || duration > max => {
            let (min, max) = (show_duration(min), show_duration(max));
            Some((format!("'{key}' is {}, but must lie between {min} and {max}", quoted(value)), None))
        }
        Ok(_) => None,
    }
}

fn zone(value: &str) -> Option<String> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+');
    let relative = !Path::new(value).has_root() && !value.is_empty() && value.len() <= MAX_ZONE_BYTES;
    (!(relative && value.bytes().all(fine)))
        .then(|| "a time zone is a name such as UTC or Europe/Berlin".to_owned())
}

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// Fields of a cron expression: name, bounds, words. Seconds may be left out.
const CRON_FIELDS: &[(&str, u32, u32, &[&str])] = &[
    ("second", 0, 59, &[]),
    ("minute", 0, 59, &[]),
    ("hour", 0, 23, &[]),
    ("day of the month", 1, 31, &[]),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 7, DAYS),
];

const CRON_NICKNAMES: &[&str] = &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@hourly"];

/// What is wrong with a cron expression, as far as that can be told without a calendar; the marks `L`, `W`
/// and `#` are left to the scheduler's own parser.
fn cron(value: &str) -> Option<String> {
    if CRON_NICKNAMES.contains(&value) {
        return None;
    }
    let fields: Vec<&str> = value.split_whitespace().collect();
    let known = match fields.len() {
        5 => &CRON_FIELDS[1..],
        6 => CRON_FIELDS,
        count => {
            return Some(format!("a cron expression has 5 or 6 fields, this has {count}"));
        }
    };
    for (field, (what, min, max, words)) in fields.iter().zip(known) {
        let bad = field.split(',').any(|part| !cron_part(part, *min, *max, words));
        if bad {
            return Some(format!("the {what} is {}, but must lie between {min} and {max}", quoted(field)));
        }
    }
    None
}

fn cron_part(part: &str, min: u32, max: u32, words: &[&str]) -> bool {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    if step.is_some_and(|step| !step.parse::<u32>().is_ok_and(|step| step > 0)) {
        return false;
    }
    if matches!(range, "*" | "?") {
        return true;
    }
    let marked = range.bytes().any(|b| matches!(b, b'L' | b'l' | b'W' | b'w' | b'#'));
    let value = |text: &str| {
        words.iter().any(|word| word.eq_ignore_ascii_case(text))
            || text.bytes().all(|b| b.is_ascii_digit())
                && text.parse::<u32>().is_ok_and(|n| (min..=max).contains(&n))
    };
    match range.split_once('-') {
        Some((first, last)) => value(first) && value(last) || marked,
        None => value(range) || marked,
    }
}
