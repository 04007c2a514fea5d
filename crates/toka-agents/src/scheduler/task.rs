//! What a task does and when.

use std::time::Duration;

use serde::Serialize;
use toka_types::{Kind, Name, Payload};

use super::calendar::Calendar;

/// Shortest interval of a task: nothing is done more often than at the shortest tick.
pub const MIN_EVERY: Duration = Duration::from_millis(1);
/// Longest interval of a task, ten years: what is further off is a date, and no interval.
pub const MAX_EVERY: Duration = Duration::from_secs(3653 * 24 * 60 * 60);
/// Most bytes of a task's description, which is the kernel's own bound; most of them are its message.
pub const MAX_SPEC: usize = 4 << 10;

/// Units of a duration, longest first, in milliseconds.
const UNITS: &[(&str, u64)] = &[
    ("w", 7 * 24 * 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];
/// Characters of a wrong value that an error repeats.
const SHOWN: usize = 80;

/// A task: what shall happen, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSpec {
    /// Its name, different from that of every other task of the agent.
    pub name: Name,
    /// When it is due.
    pub when: Schedule,
    /// What it does then.
    pub does: Action,
    /// What the event or the message says.
    pub message: Option<String>,
    /// What is done about due times that passed while nothing ran.
    pub missed: Missed,
}

/// When a task is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// By the calendar.
    ///
    /// Five fields, or six with seconds first, or a nickname such as `@daily`. Where both the day of the month and
    /// the day of the week are restricted, either suffices. With one value each for second, minute and hour, a time
    /// that the clocks leave out comes right after the gap, and one that comes twice is taken the first time.
    /// Other expressions follow the clocks: `*/10 * * * *` means every ten minutes that pass.
    Cron {
        /// The expression.
        expr: String,
        /// The IANA name of the time zone it is read in.
        timezone: String,
    },
    /// At an interval, [`MIN_EVERY`] to [`MAX_EVERY`], counted from when it was first scheduled.
    Every(Duration),
}

/// What a task does when it is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Records an event of this kind.
    Emit(Kind),
    /// Sends a message to the agent of this name.
    SendTo(Name),
}

/// What is done about due times that passed while nothing ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missed {
    /// Those more than a tick late are left out.
    Skip,
    /// The task fires once for all of them.
    #[default]
    Once,
    /// The task fires for each, in order.
    All,
}

impl Missed {
    /// The word for it in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

/// A task as a person writes it. One of `cron` and `every` is needed, and one of `emit` and `send_to`.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskText<'a> {
    /// Its name.
    pub name: &'a str,
    /// A cron expression.
    pub cron: Option<&'a str>,
    /// An interval: `500ms`, `30s`, `5m`, `1h30m`, `1d`, `2w`.
    pub every: Option<&'a str>,
    /// The time zone of `cron`; UTC if not said.
    pub timezone: Option<&'a str>,
    /// The kind of the event.
    pub emit: Option<&'a str>,
    /// The name of the agent that gets the message.
    pub send_to: Option<&'a str>,
    /// What the event or the message says.
    pub message: Option<&'a str>,
    /// `skip`, `once` or `all`; `once` if not said.
    pub missed: Option<&'a str>,
}

/// Why a task or a scheduler cannot be as it is described.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchedulerError {
    /// A value of a task is not what belongs there.
    #[error("task '{task}': {key} is '{value}': {reason}")]
    Value {
        /// The task's name.
        task: String,
        /// What the value is for.
        key: &'static str,
        /// The value's first characters.
        value: String,
        /// What is wrong with it, and what to write.
        reason: String,
    },
    /// A task says neither or both of two things that exclude each other.
    #[error("task '{task}' has {found} of '{one}' and '{other}'; write exactly one of them")]
    OneOf {
        /// The task's name.
        task: String,
        /// The one.
        one: &'static str,
        /// The other.
        other: &'static str,
        /// `neither` or `both`.
        found: &'static str,
    },
    /// A task's description is too long to be recorded.
    #[error("task '{task}' takes {bytes} bytes; at most {MAX_SPEC} are allowed, so shorten its message")]
    TooLong {
        /// The task's name.
        task: String,
        /// Its length.
        bytes: usize,
    },
    /// Two tasks have one name.
    #[error("two tasks are called '{0}'; rename one")]
    Duplicate(Name),
    /// There are too many tasks.
    #[error("there are {count} tasks; one agent has at most {limit}, so give the rest to a second scheduler")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// The tick is too short or too long.
    #[error("the tick is {tick:?}; it must lie between {min:?} and {max:?}")]
    Tick {
        /// The tick.
        tick: Duration,
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
}

impl TaskSpec {
    /// Reads a task as a person writes it and checks all of it.
    ///
    /// # Errors
    /// [`SchedulerError`], which names the value and the way out.
    pub fn parse(text: &TaskText<'_>) -> Result<Self, SchedulerError> {
        let wrong = |key, value: &str, reason: String| wrong(text.name, key, value, reason);
        let name = Name::new(text.name).map_err(|e| wrong("name", text.name, e.to_string()))?;
        let when = match (text.cron, text.every) {
            (Some(expr), None) => {
                Schedule::Cron { expr: expr.to_owned(), timezone: text.timezone.unwrap_or("UTC").to_owned() }
            }
            (None, Some(every)) => {
                if let Some(zone) = text.timezone.filter(|zone| *zone != "UTC") {
                    let reason = "an interval is the same everywhere; remove it, or write 'cron' for 'every'";
                    return Err(wrong("timezone", zone, reason.to_owned()));
                }
                Schedule::Every(parse_duration(every).map_err(|reason| wrong("every", every, reason))?)
            }
            (cron, _) => return Err(one_of(text.name, "cron", "every", cron.is_some())),
        };
        let does = match (text.emit, text.send_to) {
            (Some(kind), None) => {
                Action::Emit(Kind::new(kind).map_err(|e| wrong("emit", kind, e.to_string()))?)
            }
            (None, Some(to)) => {
                Action::SendTo(Name::new(to).map_err(|e| wrong("send_to", to, e.to_string()))?)
            }
            (emit, _) => return Err(one_of(text.name, "emit", "send_to", emit.is_some())),
        };
        let missed = match text.missed {
            None => Missed::default(),
            Some("skip") => Missed::Skip,
            Some("once") => Missed::Once,
            Some("all") => Missed::All,
            Some(other) => return Err(wrong("missed", other, "write 'skip', 'once' or 'all'".to_owned())),
        };
        let spec = Self { name, when, does, message: text.message.map(str::to_owned), missed };
        spec.check()?;
        Ok(spec)
    }

    /// Checks a task that was put together by hand. [`SchedulerAgent::new`](super::SchedulerAgent::new) does so too.
    ///
    /// # Errors
    /// [`SchedulerError`], which names the value and the way out.
    pub fn check(&self) -> Result<(), SchedulerError> {
        Calendar::of(self)?;
        self.payload().map(drop)
    }

    /// The description that is recorded. Its digest is how the world tells that a task was changed: fields may be
    /// added at the end and left out where they are not used, and nothing else may change.
    pub(super) fn payload(&self) -> Result<Payload, SchedulerError> {
        let (cron, timezone, every_us) = match &self.when {
            Schedule::Cron { expr, timezone } => (Some(expr.as_str()), Some(timezone.as_str()), None),
            Schedule::Every(period) => (None, None, Some(period.as_micros())),
        };
        let (emit, send_to) = match &self.does {
            Action::Emit(kind) => (Some(kind.as_str()), None),
            Action::SendTo(to) => (None, Some(to.as_str())),
        };
        let recorded = Recorded {
            cron,
            timezone,
            every_us: every_us.and_then(|micros| u64::try_from(micros).ok()),
            emit,
            send_to,
            message: self.message.as_deref(),
            missed: self.missed.as_str(),
        };
        let bytes = rmp_serde::to_vec_named(&recorded).map_err(|e| {
            wrong(self.name.as_str(), "message", recorded.message.unwrap_or(""), e.to_string())
        })?;
        if bytes.len() > MAX_SPEC {
            return Err(SchedulerError::TooLong { task: self.name.to_string(), bytes: bytes.len() });
        }
        Ok(Payload::new(bytes))
    }
}

#[derive(Serialize)]
struct Recorded<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    cron: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timezone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    every_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    emit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    send_to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    missed: &'static str,
}

pub(super) fn wrong(task: &str, key: &'static str, value: &str, reason: String) -> SchedulerError {
    let shown = |text: &str| text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    SchedulerError::Value { task: shown(task), key, value: shown(value), reason }
}

fn one_of(task: &str, one: &'static str, other: &'static str, has_one: bool) -> SchedulerError {
    // The caller has dealt with exactly one, so that one of them being there says that both are.
    let found = if has_one { "both" } else { "neither" };
    SchedulerError::OneOf { task: task.chars().take(SHOWN).collect(), one, other, found }
}

/// Whole numbers with a unit each, larger units first: the syntax of every duration in a configuration.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let malformed = || "write an interval such as 500ms, 30s, 5m, 1h30m or 1d".to_owned();
    let too_long = || format!("at most {} days are allowed", MAX_EVERY.as_secs() / (24 * 60 * 60));
    let (mut rest, mut units, mut total) = (text, UNITS, 0u64);
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
        let number = rest[..digits].parse::<u64>().ok();
        let part = number.and_then(|number| number.checked_mul(units[at].1));
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(too_long)?;
        units = &units[at + 1..];
        rest = &rest[digits + letters..];
    }
    Ok(Duration::from_millis(total))
}
