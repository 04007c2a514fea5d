//! The due times of a schedule. Nothing here reads a clock.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use toka_types::Timestamp;

use super::task::{MAX_EVERY, MIN_EVERY, Missed, Schedule, SchedulerError, TaskSpec, wrong};

/// Where the search for any occurrence of an expression begins, in microseconds: the year 2000, and not the present,
/// so that an expression is right or wrong whenever it is asked about.
const PROBE: i64 = 946_684_800_000_000;
const SECOND: i64 = 1_000_000;

/// Says what is wrong with a cron expression, if anything.
///
/// # Errors
/// The reason, without the expression itself.
pub fn check_cron(expr: &str) -> Result<(), String> {
    parse_cron(expr).map(drop)
}

/// Says whether this machine knows a time zone of that name.
///
/// # Errors
/// The reason and the way out, without the name itself.
pub fn check_timezone(name: &str) -> Result<(), String> {
    parse_zone(name).map(drop)
}

/// A schedule that can be asked.
#[derive(Clone, Debug)]
pub(super) enum Calendar {
    Cron {
        cron: Box<Cron>,
        zone: TimeZone,
    },
    /// Microseconds.
    Every(i64),
}

/// What shall be done about a due time that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Whether the task does what it was scheduled for.
    pub(super) fires: bool,
    /// When it is due again; `None`: never.
    pub(super) next: Option<Timestamp>,
}

/// The distance of the times at which anything is done, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tick(pub(super) i64);

impl Tick {
    /// The tick at which something due at `at` is done.
    pub(super) fn up(self, at: Timestamp) -> Timestamp {
        match at.0.rem_euclid(self.0) {
            0 => at,
            over => Timestamp(at.0.saturating_add(self.0 - over)),
        }
    }

    /// The last due time that is more than a tick late at `now`, counted from the tick at which it would have been
    /// dealt with.
    fn late(self, now: Timestamp) -> Timestamp {
        let at = now.0.saturating_sub(self.0).saturating_sub(1);
        Timestamp(at.saturating_sub(at.rem_euclid(self.0)))
    }
}

impl Calendar {
    /// The calendar of a task.
    pub(super) fn of(spec: &TaskSpec) -> Result<Self, SchedulerError> {
        let wrong = |key, value: &str, reason| wrong(spec.name.as_str(), key, value, reason);
        match &spec.when {
            Schedule::Cron { expr, timezone } => {
                let cron = parse_cron(expr).map_err(|reason| wrong("cron", expr, reason))?;
                let zone = parse_zone(timezone).map_err(|reason| wrong("timezone", timezone, reason))?;
                Ok(Self::Cron { cron: Box::new(cron), zone })
            }
            Schedule::Every(period) => {
                let micros = i64::try_from(period.as_micros()).ok();
                let within = (MIN_EVERY..=MAX_EVERY).contains(period);
                micros.filter(|_| within).map(Self::Every).ok_or_else(|| {
                    let reason = format!("it must lie between {MIN_EVERY:?} and {MAX_EVERY:?}");
                    wrong("every", &format!("{period:?}"), reason)
                })
            }
        }
    }

    /// When a task that is scheduled at `now` is due first.
    pub(super) fn first(&self, now: Timestamp, tick: Tick) -> Option<Timestamp> {
        match self {
            Self::Cron { .. } => self.next(now, now),
            Self::Every(period) => bounded(i128::from(tick.up(Timestamp(now.0.saturating_add(*period))).0)),
        }
    }

    /// The first due time after `after`, for a task that was due at `due`. It is always later than `due`, and does
    /// not hang on when the task was dealt with.
    pub(super) fn next(&self, due: Timestamp, after: Timestamp) -> Option<Timestamp> {
        let after = after.max(due);
        match self {
            Self::Every(period) => {
                let (due, after, period) = (i128::from(due.0), i128::from(after.0), i128::from(*period));
                bounded(due + ((after - due) / period + 1) * period)
            }
            Self::Cron { cron, zone } => {
                // Occurrences are whole seconds, so that the first one after this second is after `after`.
                let second = jiff::Timestamp::from_second(after.0.div_euclid(SECOND)).ok()?;
                let found = cron.find_next_occurrence(&second.to_zoned(zone.clone()), false).ok()?;
                let next = Timestamp(found.timestamp().as_microsecond());
                (next > after).then_some(next)
            }
        }
    }

    /// What a task that was due at `due` does at `now`, the time of its tick or later.
    pub(super) fn step(&self, missed: Missed, due: Timestamp, now: Timestamp, tick: Tick) -> Step {
        match missed {
            Missed::Skip if due <= tick.late(now) => {
                Step { fires: false, next: self.next(due, tick.late(now)) }
            }
            Missed::Skip | Missed::All => Step { fires: true, next: self.next(due, due) },
            Missed::Once => Step { fires: true, next: self.next(due, now) },
        }
    }
}

/// A time that can be written as a date; what lies beyond never comes.
fn bounded(micros: i128) -> Option<Timestamp> {
    let last = i128::from(jiff::Timestamp::MAX.as_microsecond());
    i64::try_from(micros).ok().filter(|_| micros <= last).map(Timestamp)
}

/// `at` as RFC 3339 in UTC.
pub(super) fn rfc3339(at: Timestamp) -> String {
    // Due times are bounded when they are computed; the end of time stands for what cannot be written.
    jiff::Timestamp::from_microsecond(at.0).unwrap_or(jiff::Timestamp::MAX).to_string()
}

fn parse_cron(expr: &str) -> Result<Cron, String> {
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    let cron = parser.parse(expr).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.trim_end_matches('.');
        format!("{reason}; write five fields, or six with seconds first, as in '30 7 * * MON-FRI'")
    })?;
    let probe = jiff::Timestamp::from_microsecond(PROBE).map_err(|e| e.to_string())?;
    match cron.find_next_occurrence(&probe.to_zoned(TimeZone::UTC), false) {
        Ok(_) => Ok(cron),
        Err(_) => Err("no date ever fits it; look at the day and the month".to_owned()),
    }
}

fn parse_zone(name: &str) -> Result<TimeZone, String> {
    // UTC is known where there is no database of time zones at all.
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    if jiff::tz::db().is_definitively_empty() {
        return Err("this machine has no database of time zones; install tzdata, or write UTC".to_owned());
    }
    match TimeZone::get(name) {
        Ok(zone) if !zone.is_unknown() => Ok(zone),
        _ => {
            Err("there is no such time zone here; write an IANA name such as Europe/Berlin, or UTC"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use toka_types::{Kind, Name};

    use super::*;
    use crate::scheduler::Action;

    fn calendar(when: Schedule) -> Calendar {
        let (name, does) = (Name::new("a").expect("a name"), Action::Emit(Kind::new("a").expect("a kind")));
        Calendar::of(&TaskSpec { name, when, does, message: None, missed: Missed::Once }).expect("a schedule")
    }

    /// Through every change of the clocks, the next time is later, and the same from wherever in between one looks.
    #[test]
    fn the_next_occurrence_is_always_later() {
        const HOUR: i64 = 3600 * SECOND;
        let expressions =
            ["30 2 * * *", "*/7 * * * *", "0 * * * *", "15 1,2,3 * * *", "0 0 29 2 *", "59 59 23 L * *"];
        let zones = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"];
        // Each of the zones puts its clocks forward and back in the night after one of these.
        let eves = ["02-14", "03-07", "03-21", "03-28", "04-04", "10-03", "10-24", "10-31"];
        for (expr, zone) in expressions.iter().flat_map(|e| zones.iter().map(move |z| (*e, *z))) {
            let calendar = calendar(Schedule::Cron { expr: expr.into(), timezone: zone.into() });
            for eve in eves {
                let eve: jiff::Timestamp = format!("2026-{eve}T10:00:00Z").parse().expect("a time");
                let mut due = Timestamp(eve.as_microsecond());
                let end = due.0 + 30 * HOUR;
                while due.0 < end {
                    let from = format!("{expr} in {zone} after {}", rfc3339(due));
                    let next = calendar.next(due, due).expect("it goes on");
                    assert!(next > due, "{from}");
                    for between in [due.0 + 1, due.0 + (next.0 - due.0) / 2, next.0 - 1] {
                        assert_eq!(
                            calendar.next(due, Timestamp(between)),
                            Some(next),
                            "{from}, at {between}"
                        );
                    }
                    due = next;
                }
            }
        }
    }

    #[test]
    fn an_interval_has_a_grid() {
        let calendar = calendar(Schedule::Every(Duration::from_millis(7)));
        for due in [-20_000, 0, 3] {
            for after in -30_000..30_000 {
                let slow = (1..).map(|k| due + k * 7_000).find(|next| *next > after);
                assert_eq!(calendar.next(Timestamp(due), Timestamp(after)).map(|t| t.0), slow);
            }
        }
        let (first, last) = (Timestamp(i64::MIN), Timestamp(i64::MAX));
        assert_eq!(calendar.next(first, last), None);
        assert_eq!(calendar.first(last, Tick(1000)), None);
    }

    #[test]
    fn lateness_counts_from_the_tick() {
        let tick = Tick(10);
        for (due, now) in (-45..45).flat_map(|due| (due..90).map(move |now| (Timestamp(due), Timestamp(now))))
        {
            let late = now.0 - tick.up(due).0 > 10;
            assert_eq!(due <= tick.late(now), late, "due {} at {}", due.0, now.0);
        }
        assert_eq!(tick.up(Timestamp(i64::MAX)), Timestamp(i64::MAX));
    }
}
