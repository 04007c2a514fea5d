//! How often a capability may be used.

use core::fmt;

use crate::time::Timestamp;

/// Most uses that a limit can name: what is allowed more often in a second is not limited.
pub const MAX_USES: u64 = 1_000_000_000;

/// The windows over which uses are counted, each a whole number of the one before it. They begin where UTC begins them:
/// a minute when its seconds are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// All time.
    Ever,
}

impl Window {
    /// Every window, from the shortest on.
    pub const ALL: [Self; 5] = [Self::Second, Self::Minute, Self::Hour, Self::Day, Self::Ever];

    /// How a rate names it: `s`, `min`, `h`, `day`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "h",
            Self::Day => "day",
            Self::Ever => "ever",
        }
    }

    const fn micros(self) -> i64 {
        match self {
            Self::Second => 1_000_000,
            Self::Minute => 60 * 1_000_000,
            Self::Hour => 3600 * 1_000_000,
            Self::Day => 24 * 3600 * 1_000_000,
            Self::Ever => i64::MAX,
        }
    }

    /// The number of the window that `at` is in.
    const fn number(self, at: Timestamp) -> i64 {
        match self {
            Self::Ever => 0,
            _ => at.0.div_euclid(self.micros()),
        }
    }
}

/// How many seconds a minute has, minutes an hour, and hours a day.
const RATIOS: [u64; 3] = [60, 60, 24];
const FREE: u64 = u64::MAX;

/// The most uses in each window, all of them to be kept.
///
/// It stands for a set of histories: those sequences of uses, at any times, in which no window has more than its limit.
/// One limit follows from others (10 a minute allows at most 10 in a second and 600 in an hour), so each
/// is kept as low as the others make it: then two limits are equal if and only if they have the same histories, and
/// [`covers`](Self::covers) and [`intersect`](Self::intersect) compare window by window and are exact.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limits([u64; 5]);

impl Limits {
    /// No limit at all.
    pub const NONE: Self = Self([FREE; 5]);

    /// These limits and `most` uses in each `window`.
    pub(super) fn and(mut self, window: Window, most: u64) -> Self {
        self.0[window as usize] = self.0[window as usize].min(most);
        self.closed()
    }

    /// True if any number of uses is allowed.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// The most uses in one `window`, if there is a limit.
    pub fn most(&self, window: Window) -> Option<u64> {
        Some(self.0[window as usize]).filter(|most| *most != FREE)
    }

    /// True if every history that `other` allows is allowed by this one.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(ours, theirs)| theirs <= ours)
    }

    /// The limits whose histories are exactly those that both allow. There is always one: no limit is 0.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        // Of what is as low as it can be, the lower of both is so too.
        Self(core::array::from_fn(|window| self.0[window].min(other.0[window])))
    }

    /// Each limit as low as the others make it.
    fn closed(mut self) -> Self {
        for (window, ratio) in RATIOS.into_iter().enumerate() {
            // Without a limit this stays the largest number, and is none.
            self.0[window + 1] = self.0[window + 1].min(self.0[window].saturating_mul(ratio));
        }
        for window in (0..self.0.len() - 1).rev() {
            self.0[window] = self.0[window].min(self.0[window + 1]);
        }
        self
    }

    /// The limits from which all of them follow, and none of which follows from the others.
    pub(super) fn needed(&self) -> impl Iterator<Item = (Window, u64)> + use<> {
        let mut kept = *self;
        for window in 0..kept.0.len() {
            let mut without = kept;
            without.0[window] = FREE;
            if without.closed() == *self {
                kept = without;
            }
        }
        Window::ALL.into_iter().filter_map(move |window| Some((window, kept.most(window)?)))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::NONE
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.needed()).finish()
    }
}

/// What was used so far, window by window: all that a check of [`Limits`] needs, in the same few bytes however much it was.
///
/// Whoever decides keeps one for each limited capability of a grant, and counts a use for every grant that the one used
/// was cut from as well: so what is handed on in parts stays, together, within the limits of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Meter {
    /// When it was used last.
    last: Timestamp,
    /// The uses in the windows that `last` is in.
    used: [u64; 5],
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// In which window.
    pub window: Window,
    /// The most uses in it.
    pub most: u64,
    /// When the next window begins; `None`: never, or the uses are more than fit in any.
    pub until: Option<Timestamp>,
}

impl Meter {
    /// How often it was used in the `window` that `at` is in.
    pub fn used(&self, window: Window, at: Timestamp) -> u64 {
        // A clock that stands or goes back opens no new window.
        if window.number(at) > window.number(self.last) { 0 } else { self.used[window as usize] }
    }

    /// How many more uses at `at` are within `limits`.
    pub fn room(&self, limits: &Limits, at: Timestamp) -> u64 {
        let left = |window: Window| match limits.0[window as usize] {
            FREE => FREE,
            most => most.saturating_sub(self.used(window, at)),
        };
        Window::ALL.into_iter().map(left).min().unwrap_or(0)
    }

    /// Says whether so many more uses at `at` are within `limits`.
    ///
    /// # Errors
    /// The longest window that they do not fit in.
    pub fn check(&self, limits: &Limits, times: u64, at: Timestamp) -> Result<(), Reached> {
        for window in Window::ALL.into_iter().rev() {
            let most = limits.0[window as usize];
            if most != FREE && self.used(window, at).saturating_add(times) > most {
                let next = |number: i64| number.saturating_add(1).saturating_mul(window.micros());
                let until = Timestamp(next(window.number(at.max(self.last))));
                let comes = window != Window::Ever && times <= most;
                return Err(Reached { window, most, until: comes.then_some(until) });
            }
        }
        Ok(())
    }

    /// Counts so many uses at `at`.
    pub fn count(&mut self, times: u64, at: Timestamp) {
        for window in Window::ALL {
            self.used[window as usize] = self.used(window, at).saturating_add(times);
        }
        self.last = self.last.max(at);
    }
}
