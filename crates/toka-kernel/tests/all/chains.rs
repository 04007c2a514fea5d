//! Chains of delegation: whatever is handed on, and on again, nobody gets more than the one before. What a grant allows is
//! asked request by request; the comparison that the kernel decides by is not trusted to say so.
//!
//! `TOKA_CHAINS=1000000` makes that many chains instead of a short form.

use std::fmt;

use toka_kernel::Code;
use toka_types::capability::{Argument, CapabilitySet, Request, Window};
use toka_types::operation::GrantTerms;
use toka_types::{Capability, EntityId, GrantId, Money, Timestamp};

use crate::house::*;

const SHORT_RUNS: u64 = 1_500;
const LONGEST: usize = 6;
const DAY: i64 = 24 * 3600 * 1_000_000;
/// 2026-01-01.
const START: i64 = 20_454 * DAY;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

const HOSTS: [&str; 5] = ["x.com", "a.x.com", "*.x.com", "{x.com,*.x.com}", "{a.x.com,b.x.com}"];
const RATES: [&str; 5] = ["1/s", "20/min", "{20/min,30/h}", "25/h", "10/day"];

/// A pattern, as its segments and whether any number of them may follow.
type Segments = (Vec<&'static str>, bool);

/// A capability in parts, so that it can be changed, and requests made that it should allow.
#[derive(Clone, Debug, Default)]
struct Power {
    action: Segments,
    path: Option<Segments>,
    host: Option<&'static str>,
    cents: Option<u64>,
    n: Option<(u64, u64)>,
    days: Option<(i64, i64)>,
    hours: Option<(i64, i64)>,
    rate: Option<&'static str>,
    uses: Option<u64>,
}

fn segments(random: &mut Random) -> Segments {
    let some = (0..=random.below(3)).map(|_| random.pick(&["a", "b", "*"])).collect();
    (some, random.one_in(2))
}

fn write(segments: &Segments, separator: &str) -> String {
    let all = segments.0.iter().copied().chain(segments.1.then_some("**"));
    all.collect::<Vec<_>>().join(separator)
}

/// A text that the pattern matches.
fn matched(random: &mut Random, (fixed, endless): &Segments, separator: &str) -> String {
    let mut text: Vec<&str> = Vec::new();
    for segment in fixed {
        text.push(if *segment == "*" { random.pick(&["a", "b", "z"]) } else { segment });
    }
    if *endless {
        text.extend((0..random.below(4)).map(|_| random.pick(&["a", "b", "z"])));
    }
    text.join(separator)
}

fn interval(random: &mut Random, end: u64) -> (u64, u64) {
    let first = random.below(end);
    (first, first + random.below(end - first))
}

impl Power {
    fn any(random: &mut Random) -> Self {
        let mut power = Self { action: segments(random), ..Self::default() };
        for _ in 0..random.below(4) {
            power.change(random);
        }
        power
    }

    /// Changes one part, into something narrower as often as not.
    fn change(&mut self, random: &mut Random) {
        let widen = random.one_in(5);
        match random.below(9) {
            0 if widen => self.action = segments(random),
            0 => narrow(random, &mut self.action),
            1 if widen => self.path = None,
            1 => match &mut self.path {
                Some(path) => narrow(random, path),
                none => *none = Some(segments(random)),
            },
            2 => self.host = (!widen).then(|| random.pick(&HOSTS)),
            3 => self.cents = (!widen).then(|| random.below(self.cents.unwrap_or(100) + 1)),
            4 if widen => self.n = None,
            4 => {
                let (first, last) = self.n.unwrap_or((0, 20));
                let (from, to) = interval(random, last - first + 1);
                self.n = Some((first + from, first + to));
            }
            5 => {
                let first = random.below(8) as i64;
                self.days = (!widen).then(|| (first, first + 1 + random.below(4) as i64));
            }
            6 => {
                let first = random.below(20) as i64;
                self.hours = (!widen).then(|| (first, first + 1 + random.below(24 - first as u64) as i64));
            }
            7 => self.rate = (!widen).then(|| random.pick(&RATES)),
            _ => self.uses = (!widen).then(|| 1 + random.below(self.uses.unwrap_or(50))),
        }
    }

    /// A request that has everything that the capability speaks about, within it or right outside.
    fn asked<R>(&self, random: &mut Random, ask: impl FnOnce(&Request<'_>, Timestamp) -> R) -> R {
        let action = matched(random, &self.action, ".");
        let paths: Vec<String> = match &self.path {
            Some(path) => (0..=random.below(2)).map(|_| matched(random, path, "/")).collect(),
            None => vec!["a/z".to_owned(); usize::from(random.one_in(2))],
        };
        let mut arguments: Vec<(&str, Argument<'_>)> = Vec::new();
        arguments.extend(paths.iter().map(|path| ("path", Argument::Path(path))));
        if self.host.is_some() || random.one_in(2) {
            arguments
                .push(("host", Argument::Host(random.pick(&["x.com", "a.x.com", "b.x.com", "z.x.com"]))));
        }
        if self.cents.is_some() || random.one_in(2) {
            let cents = self.cents.unwrap_or_default() + random.below(2);
            let money: Money = format!("{}.{:02} USD", cents / 100, cents % 100).parse().expect("money");
            arguments.push(("max", Argument::Money(money)));
        }
        if self.n.is_some() || random.one_in(2) {
            let (first, last) = self.n.unwrap_or((0, 20));
            let n = if random.one_in(2) { first } else { last };
            arguments.push(("n", Argument::Number(n)));
        }
        let days = self.days.map_or((0, 12), |(from, until)| (from, until - 1));
        let hours = self.hours.map_or((0, 23), |(from, until)| (from, until - 1));
        let day = if random.one_in(2) { days.0 } else { days.1 };
        let hour = if random.one_in(2) { hours.0 } else { hours.1 };
        let at = Timestamp(START + day * DAY + hour * DAY / 24 + random.below(2) as i64);
        ask(&Request { resource: "tool", action: &action, arguments: &arguments }, at)
    }
}

/// Takes away from what the pattern matches.
fn narrow(random: &mut Random, (fixed, endless): &mut Segments) {
    let star = fixed.iter().position(|segment| *segment == "*");
    match star {
        Some(at) if random.one_in(2) => fixed[at] = random.pick(&["a", "b"]),
        _ if *endless && random.one_in(3) => *endless = false,
        _ if *endless && fixed.len() < 5 => fixed.push(random.pick(&["a", "*"])),
        _ => {}
    }
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut caveats: Vec<String> = Vec::new();
        caveats.extend(self.path.iter().map(|path| format!("path={}", write(path, "/"))));
        caveats.extend(self.host.map(|host| format!("host={host}")));
        caveats.extend(self.cents.map(|cents| format!("max={}.{:02} USD", cents / 100, cents % 100)));
        caveats.extend(self.n.map(|(first, last)| format!("n={first}..{last}")));
        caveats.extend(
            self.days.map(|(from, until)| format!("at=2026-01-{:02}..2026-01-{:02}", from + 1, until + 1)),
        );
        caveats.extend(self.hours.map(|(from, until)| format!("hours={from:02}:00..{until:02}:00")));
        caveats.extend(self.rate.map(|rate| format!("rate={rate}")));
        caveats.extend(self.uses.map(|uses| format!("uses={uses}")));
        write!(f, "tool:{}", write(&self.action, "."))?;
        if caveats.is_empty() { Ok(()) } else { write!(f, "({})", caveats.join(",")) }
    }
}

/// What the next one shall get: mostly parts of what is at hand.
fn parts(random: &mut Random, of: &[Power]) -> Vec<Power> {
    let mut parts = Vec::new();
    for _ in 0..=random.below(2) {
        let mut part = of[random.below(of.len() as u64) as usize].clone();
        for _ in 0..random.below(3) {
            part.change(random);
        }
        parts.push(part);
    }
    parts
}

/// The capabilities, with what it takes to hand them on.
fn written(powers: &[Power]) -> Vec<Capability> {
    let texts = powers.iter().map(Power::to_string).chain(["agent:spawn".to_owned()]);
    texts.map(|text| text.parse().unwrap_or_else(|e| panic!("{e}"))).collect()
}

/// Asserts that, of some requests at the edge of `powers`, each that `inner` allows is allowed by `outer`, as often.
fn assert_within(random: &mut Random, powers: &[Power], inner: &CapabilitySet, outer: &CapabilitySet) {
    for power in powers {
        for _ in 0..4 {
            power.asked(random, |request, at| {
                for one in inner.allowing(request, at) {
                    let as_often = |other: &Capability| {
                        Window::ALL.into_iter().all(|window| match other.limits().most(window) {
                            Some(most) => one.limits().most(window).is_some_and(|own| own <= most),
                            None => true,
                        })
                    };
                    assert!(
                        outer.allowing(request, at).any(as_often),
                        "{one} allows {request} at {at:?}, which goes beyond {outer:?}"
                    );
                }
            });
        }
    }
}

/// Makes one chain; how many links were accepted, and how many refused as too wide.
fn chain(seed: u64) -> (u64, u64) {
    let random = &mut Random(seed);
    let mut house = House::closed();
    let mut held: Vec<Power> = (0..=random.below(2)).map(|_| Power::any(random)).collect();
    let texts: Vec<String> = written(&held).iter().map(ToString::to_string).collect();
    house
        .host("operator", open_log(&texts.iter().map(String::as_str).collect::<Vec<_>>()))
        .expect("a new log");
    let (mut giver, mut accepted, mut refused) = ("operator".to_owned(), 0, 0);
    for link in 0..LONGEST {
        let (uses, delegates) = (parts(random, &held), parts(random, &held));
        let grant = GrantTerms { uses: written(&uses), delegates: written(&delegates), expires: None };
        let name = format!("link-{link}");
        match house.ask(&giver, spawn(&name, grant)) {
            Ok(_) => accepted += 1,
            Err(denied) => {
                assert_eq!(denied.code, Code::CapabilityWidened);
                refused += 1;
                continue;
            }
        }
        let world = house.kernel.world();
        let grant = |who: &str| world.grant(house.grant_of(who)).expect("it was given");
        let (own, outer, root) =
            (grant(&name), grant(&giver), world.grant(GrantId(1)).expect("the operator's"));
        assert_eq!(own.subject, EntityId::named(&name));
        for (powers, set) in [(&uses, &own.uses), (&delegates, &own.delegates)] {
            assert_within(random, powers, set, &outer.delegates);
            assert_within(random, powers, set, &root.delegates);
        }
        (giver, held) = (name, delegates);
    }
    (accepted, refused)
}

#[test]
fn no_grant_of_a_chain_is_wider_than_the_one_before() {
    let long = std::env::var("TOKA_CHAINS").ok().map(|runs| runs.parse().expect("TOKA_CHAINS is a number"));
    let runs = long.unwrap_or(SHORT_RUNS);
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..runs {
        let (more, fewer) = chain(seed);
        (accepted, refused) = (accepted + more, refused + fewer);
    }
    eprintln!("{runs} chains: {accepted} links, {refused} refused as wider than their giver");
    assert!(accepted > runs && refused > runs, "{accepted} accepted and {refused} refused show nothing");
}
