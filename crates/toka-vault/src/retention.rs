//! Which content a vault keeps, and for how long.
//!
//! Rules say by kind how old content gets and how much of it is kept. They are applied by
//! [`Journal::compact`](crate::Journal::compact): what they let go is dropped, while headers, facts, numbers and
//! proofs stay as they are. The same rules at the same time let go of the same content.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use toka_types::{ContentRef, EventHeader, Gone, Timestamp};

use crate::core::LogId;

/// How finely [`Rule::size`] is kept: the newest bytes are counted in about so many pieces.
const PIECES: u64 = 1024;

/// Says of each piece of content whether it may go.
///
/// # Contract
/// [`see`](Retention::see) is shown every event of every log once, in log order; only then
/// [`fate`](Retention::fate) is asked, in any order and several times, and answers the same each time. Content that
/// several events share goes when it may go from all of them.
pub trait Retention {
    /// Takes note of an event.
    fn see(&mut self, log: &LogId, header: &EventHeader);
    /// What becomes of a piece of content as far as this event is concerned.
    fn fate(&self, log: &LogId, header: &EventHeader, content: &ContentRef) -> Fate;
}

/// What becomes of content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays, and nothing known now will change that.
    Keep,
    /// It stays for now; a rule will let it go some day.
    Later,
    /// It may go, for this reason.
    Drop(Gone),
}

/// How long content of some kinds is kept. Content that exceeds one of the limits may go.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rule {
    /// The beginning of the kinds that it is about, as in [`Kind::has_prefix`](toka_types::Kind::has_prefix); `None`:
    /// all kinds.
    pub kind: Option<String>,
    /// The greatest age, by the event's time.
    pub age: Option<Duration>,
    /// The most bytes that are kept, of each log, the newest ones; counted as headers name them.
    pub size: Option<u64>,
}

/// Rules at some time. Of several that are about an event, each counts.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    now: Timestamp,
    newest: HashMap<(usize, LogId), Newest>,
}

/// The newest bytes that a rule keeps of one log.
#[derive(Clone, Debug, Default)]
struct Newest {
    /// First numbers and sizes of pieces that follow each other.
    pieces: VecDeque<(u64, u64)>,
    bytes: u64,
    /// Events before this number are beyond the limit.
    from: u64,
}

impl Rule {
    /// True if it is about events of this kind.
    pub fn applies(&self, header: &EventHeader) -> bool {
        self.kind.as_ref().is_none_or(|kind| header.kind.has_prefix(kind))
    }
}

impl Policy {
    /// These rules, as they apply at `now`.
    pub fn new(rules: Vec<Rule>, now: Timestamp) -> Self {
        Self { rules, now, newest: HashMap::new() }
    }
}

impl Newest {
    fn add(&mut self, seq: u64, bytes: u64, limit: u64) {
        match self.pieces.back_mut() {
            Some((_, piece)) if *piece + bytes <= limit / PIECES => *piece += bytes,
            _ => self.pieces.push_back((seq, bytes)),
        }
        self.bytes += bytes;
        while self.bytes > limit {
            let Some((_, piece)) = self.pieces.pop_front() else { break };
            self.bytes -= piece;
            self.from = self.pieces.front().map_or(seq + 1, |&(first, _)| first);
        }
    }
}

impl Retention for Policy {
    fn see(&mut self, log: &LogId, header: &EventHeader) {
        if header.content.is_empty() {
            return;
        }
        for (number, rule) in self.rules.iter().enumerate() {
            if let Some(limit) = rule.size.filter(|_| rule.applies(header)) {
                let newest = self.newest.entry((number, log.clone())).or_default();
                newest.add(header.seq, header.content_bytes(), limit);
            }
        }
    }

    fn fate(&self, log: &LogId, header: &EventHeader, _: &ContentRef) -> Fate {
        let mut fate = Fate::Keep;
        for (number, rule) in self.rules.iter().enumerate().filter(|(_, rule)| rule.applies(header)) {
            let too_old = rule.age.is_some_and(|age| header.at.saturating_add(age) <= self.now);
            let newest = || self.newest.get(&(number, log.clone()));
            let too_much = rule.size.is_some() && newest().is_some_and(|newest| header.seq < newest.from);
            if too_old || too_much {
                return Fate::Drop(Gone::Expired);
            }
            if rule.age.is_some() || rule.size.is_some() {
                fate = Fate::Later;
            }
        }
        fate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::record;

    fn gone(rules: Vec<Rule>, now: Timestamp, sizes: &[usize]) -> Vec<u64> {
        let log = LogId::main();
        let records: Vec<_> =
            (0..).zip(sizes).map(|(seq, &size)| record(seq, &[], &[&vec![seq as u8; size]])).collect();
        let mut policy = Policy::new(rules, now);
        records.iter().for_each(|record| policy.see(&log, &record.header));
        let dropped = records.iter().filter(|record| {
            let header = &record.header;
            policy.fate(&log, header, &header.content[0]) == Fate::Drop(Gone::Expired)
        });
        dropped.map(|record| record.header.seq).collect()
    }

    #[test]
    fn rules_by_age_size_and_kind() {
        let sizes = [100, 200, 300, 400, 500];
        // The events lie a millisecond apart.
        let check = |kind: Option<&str>, age: Option<u64>, size: Option<u64>, expected: &[u64]| {
            let age = age.map(Duration::from_millis);
            let rule = Rule { kind: kind.map(str::to_owned), age, size };
            assert_eq!(gone(vec![rule], Timestamp::from_millis(4), &sizes), expected);
        };
        check(None, None, None, &[]);
        check(Some("test"), Some(0), None, &[0, 1, 2, 3, 4]);
        check(Some("test.event"), Some(2), None, &[0, 1, 2]);
        check(Some("test.ev"), Some(0), None, &[]);
        check(Some("tes"), Some(0), Some(0), &[]);
        check(None, Some(5), None, &[]);
        check(None, None, Some(900), &[0, 1, 2]);
        check(None, None, Some(899), &[0, 1, 2, 3]);
        check(None, None, Some(1500), &[]);
        check(None, None, Some(499), &[0, 1, 2, 3, 4]);
        check(None, None, Some(0), &[0, 1, 2, 3, 4]);
        check(None, Some(4), Some(1000), &[0, 1, 2]);
        let both = vec![
            Rule { kind: Some("other".into()), age: Some(Duration::ZERO), size: None },
            Rule { kind: Some("test".into()), age: Some(Duration::from_millis(4)), size: None },
        ];
        assert_eq!(gone(both, Timestamp::from_millis(4), &sizes), [0]);
    }

    #[test]
    fn many_small_events_are_counted_in_pieces() {
        let mut newest = Newest::default();
        (0..1_000_000).for_each(|seq| newest.add(seq, 10, 1 << 20));
        assert!((newest.pieces.len() as u64) < 2 * PIECES);
        let kept = (1_000_000 - newest.from) * 10;
        assert!(kept <= 1 << 20 && kept > (1 << 20) - (1 << 11), "{kept}");
    }
}
