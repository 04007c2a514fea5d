//! When a capability holds: a span of time, and hours of the day.
//!
//! Both together are one set of instants, kept in the one form that sets of instants have, since the hour of the
//! day follows from the instant: `at=2026-01-01..2026-01-02` with `hours=09:00..10:00` is the same as
//! `at=2026-01-01T09:00Z..2026-01-01T10:00Z`.

use core::fmt;

use crate::time::Timestamp;

const MINUTE: i64 = 60 * 1_000_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// The year 10000, which the text form cannot write: an open end of `at` is here.
const END: i64 = 253_402_300_800 * 1_000_000;

/// A set of instants that is not empty: from `from` on, before `until`, at the hours `hours`.
///
/// If the hours are not all of the day, the first and the last instant are among the set, and at least two days
/// have a part in it; otherwise `from` and `until` say it alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct When {
    from: i64,
    until: i64,
    hours: Hours,
}

/// Microseconds since midnight UTC, the second excluded; the first is below the second.
type Hours = (i64, i64);

const ALL_DAY: Hours = (0, DAY);

impl When {
    pub(super) const ALWAYS: Self = Self { from: i64::MIN, until: i64::MAX, hours: ALL_DAY };

    /// The set of what is in the span and in the hours, each where it is given; `None` if that is nothing. The open end
    /// of a span is the last instant that can be written.
    pub(super) fn new(span: Option<(Option<i64>, Option<i64>)>, hours: Option<Hours>) -> Option<Self> {
        let (from, until) = match span {
            Some((from, until)) => (from.unwrap_or(i64::MIN), until.unwrap_or(END)),
            None => (i64::MIN, i64::MAX),
        };
        Self { from, until, hours: hours.unwrap_or(ALL_DAY) }.normal()
    }

    pub(super) fn has(&self, at: Timestamp) -> bool {
        let time = at.0.rem_euclid(DAY);
        self.from <= at.0 && at.0 < self.until && self.hours.0 <= time && time < self.hours.1
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        if other.from < self.from || self.until < other.last() {
            return false;
        }
        if self.hours == ALL_DAY || other.hours != ALL_DAY {
            // Two days have a part in the other: it ends one of them when its hours end, and begins one when they begin.
            return within(other.hours, self.hours);
        }
        // A span of its own fits in hours only if it is within those of one day.
        let (first, last) = (other.from.div_euclid(DAY), (other.until - 1).div_euclid(DAY));
        let times = (other.from.rem_euclid(DAY), (other.until - 1).rem_euclid(DAY) + 1);
        first == last && within(times, self.hours)
    }

    pub(super) fn intersect(&self, other: &Self) -> Option<Self> {
        let hours = (self.hours.0.max(other.hours.0), self.hours.1.min(other.hours.1));
        Self { from: self.from.max(other.from), until: self.until.min(other.until), hours }.normal()
    }

    /// True if each instant of this set is in one of `others`.
    pub(super) fn covered_by(&self, others: &[Self]) -> bool {
        // Between two instants at which one of the others begins or ends, always the same ones count.
        let ends = others.iter().flat_map(|o| [o.from, o.until]);
        let mut cuts: alloc::vec::Vec<i64> = ends.filter(|at| self.from < *at && *at < self.until).collect();
        cuts.extend([self.from, self.until]);
        cuts.sort_unstable();
        cuts.dedup();
        cuts.windows(2).all(|slab| {
            let [start, end] = [slab[0], slab[1]];
            let count = others.iter().filter(|o| o.from <= start && end <= o.until);
            let mut hours: alloc::vec::Vec<Hours> = count.map(|o| o.hours).collect();
            hours.sort_unstable();
            times(start, end).into_iter().flatten().all(|part| {
                let part = (part.0.max(self.hours.0), part.1.min(self.hours.1));
                part.0 >= part.1 || joined(&hours, part)
            })
        })
    }

    /// The end of the last day's part, where `until` stands for it.
    fn last(&self) -> i64 {
        if self.until == END { END - DAY + self.hours.1 } else { self.until }
    }

    /// The same instants in their one form; `None` if there are none.
    fn normal(mut self) -> Option<Self> {
        if self.from >= self.until || self.hours.0 >= self.hours.1 {
            return None;
        }
        let (opens, closes) = self.hours;
        if self.hours == ALL_DAY {
            return Some(self);
        }
        let day = |at: i64| at - at.rem_euclid(DAY);
        if self.from > i64::MIN {
            let time = self.from.rem_euclid(DAY);
            if time < opens {
                self.from = day(self.from) + opens;
            } else if time >= closes {
                self.from = day(self.from) + DAY + opens;
            }
        }
        // The text form writes the end of all time as an open end, whatever the hours.
        if self.until < END {
            let time = (self.until - 1).rem_euclid(DAY);
            if time >= closes {
                self.until = day(self.until - 1) + closes;
            } else if time < opens {
                self.until = day(self.until - 1) - DAY + closes;
            }
            if self.until == END - DAY + closes {
                self.until = END;
            }
        }
        if self.from >= self.until {
            return None;
        }
        if self.from > i64::MIN && self.until < i64::MAX {
            let last = self.last();
            if self.from >= last {
                return None;
            }
            if day(self.from) == day(last - 1) {
                (self.until, self.hours) = (last, ALL_DAY);
            }
        }
        Some(self)
    }

    /// The span as the caveat `at` has it; `None` if there is no such caveat.
    pub(super) fn span(&self) -> Option<impl fmt::Display> {
        let (from, until) = (self.from, self.until);
        let span = core::fmt::from_fn(move |f| {
            if from > i64::MIN {
                write_instant(from, f)?;
            }
            f.write_str("..")?;
            if until < END { write_instant(until, f) } else { Ok(()) }
        });
        (from > i64::MIN || until < i64::MAX).then_some(span)
    }

    /// The hours as the caveat `hours` has them; `None` if there is no such caveat.
    pub(super) fn hours(&self) -> Option<impl fmt::Display> {
        let (opens, closes) = (self.hours.0 / MINUTE, self.hours.1 / MINUTE);
        let hours = core::fmt::from_fn(move |f| {
            write!(f, "{:02}:{:02}..{:02}:{:02}", opens / 60, opens % 60, closes / 60, closes % 60)
        });
        (self.hours != ALL_DAY).then_some(hours)
    }
}

fn within(inner: Hours, outer: Hours) -> bool {
    outer.0 <= inner.0 && inner.1 <= outer.1
}

/// The times of day that instants from `start` on and before `end` have.
fn times(start: i64, end: i64) -> [Option<Hours>; 2] {
    if i128::from(end) - i128::from(start) >= i128::from(DAY) {
        return [Some(ALL_DAY), None];
    }
    let first = start.rem_euclid(DAY);
    match first + (end - start) {
        last if last <= DAY => [Some((first, last)), None],
        last => [Some((first, DAY)), Some((0, last - DAY))],
    }
}

/// True if each time of `part` is in one of `hours`, which are in order.
fn joined(hours: &[Hours], part: Hours) -> bool {
    let mut reached = part.0;
    for (opens, closes) in hours {
        if *opens > reached {
            break;
        }
        reached = reached.max(*closes);
    }
    reached >= part.1
}

/// An instant from 1970 to 9999 in UTC: `2026-01-31`, `2026-01-31T08:30Z`, `2026-01-31T08:30:15Z`, or with up to six digits
/// of a fraction of a second.
pub(super) fn instant(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time.strip_suffix('Z')?)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let year = number(parts.next()?, 4).filter(|year| *year >= 1970)?;
    let month = number(parts.next()?, 2).filter(|month| (1..=12).contains(month))?;
    let day = number(parts.next()?, 2).filter(|day| (1..=days_of(year, month)).contains(day))?;
    if parts.next().is_some() {
        return None;
    }
    let days = days_before(year, month) + day - 1;
    let Some(time) = time else { return Some(days * DAY) };
    let (clock, fraction) = time.split_once('.').map_or((time, None), |(clock, rest)| (clock, Some(rest)));
    let mut parts = clock.split(':');
    let hour = number(parts.next()?, 2).filter(|hour| *hour < 24)?;
    let minute = number(parts.next()?, 2).filter(|minute| *minute < 60)?;
    let second = match parts.next() {
        Some(second) => number(second, 2).filter(|second| *second < 60)?,
        None if fraction.is_some() => return None,
        None => 0,
    };
    if parts.next().is_some() {
        return None;
    }
    let micros = match fraction {
        Some(digits) if (1..=6).contains(&digits.len()) => {
            number(digits, digits.len())? * 10_i64.pow(6 - digits.len() as u32)
        }
        Some(_) => return None,
        None => 0,
    };
    Some(days * DAY + (hour * 60 + minute) * MINUTE + second * 1_000_000 + micros)
}

/// A time of day, `09:30`, up to `24:00`.
pub(super) fn time_of_day(text: &str) -> Option<i64> {
    let (hour, minute) = text.split_once(':')?;
    let minutes = number(hour, 2)? * 60 + number(minute, 2).filter(|minute| *minute < 60)?;
    (minutes <= 24 * 60).then_some(minutes * MINUTE)
}

fn number(text: &str, digits: usize) -> Option<i64> {
    let plain = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    years + (1..month).map(|earlier| days_of(year, earlier)).sum::<i64>()
}

/// A time as RFC 3339 in UTC, as far as that has a text for it.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !(0..END).contains(&self.0) {
            return write!(f, "{} µs", self.0);
        }
        let (seconds, fraction) = (self.0.rem_euclid(DAY) / 1_000_000, self.0.rem_euclid(1_000_000));
        write_date(self.0.div_euclid(DAY), f)?;
        write!(f, "T{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
        if fraction > 0 {
            write!(f, ".{fraction:06}")?;
        }
        f.write_str("Z")
    }
}

fn write_date(days: i64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    // Never too late, and too early by a few years at most.
    let mut year = 1970 + days / 366;
    while days_before(year + 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_before(year, month + 1) <= days {
        month += 1;
    }
    write!(f, "{year:04}-{month:02}-{:02}", days - days_before(year, month) + 1)
}

fn write_instant(at: i64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (days, time) = (at.div_euclid(DAY), at.rem_euclid(DAY));
    write_date(days, f)?;
    if time == 0 {
        return Ok(());
    }
    let (minutes, micros) = (time / MINUTE, time % MINUTE);
    write!(f, "T{:02}:{:02}", minutes / 60, minutes % 60)?;
    let (seconds, mut fraction) = (micros / 1_000_000, micros % 1_000_000);
    if micros != 0 {
        write!(f, ":{seconds:02}")?;
    }
    if fraction != 0 {
        let mut digits = 6;
        while fraction % 10 == 0 {
            (fraction, digits) = (fraction / 10, digits - 1);
        }
        write!(f, ".{fraction:0digits$}")?;
    }
    f.write_str("Z")
}
