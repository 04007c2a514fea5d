//! The order of capabilities against whole small universes of requests: each capability is the set of requests that it
//! allows, one bit each, and `covers` and `intersect` have to say what these sets say. Caveats of every kind are looked at
//! two kinds at a time, with arguments that are not there, that are of another kind, and that are there several times.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::*;

/// What can be said about one thing, and what it can be.
struct Dimension {
    caveats: Vec<&'static str>,
    values: Vec<Value>,
}

/// The arguments of one name, none or several, or the time.
#[derive(Clone)]
enum Value {
    Arguments(Vec<(&'static str, Argument<'static>)>),
    At(Timestamp),
}

/// One bit for each request.
type Allowed = Vec<u64>;

/// What is asked for, and when.
type Asked = (Vec<(&'static str, Argument<'static>)>, Timestamp);

/// A universe of two dimensions: its requests, and its capabilities with what each allows.
struct Universe {
    requests: Vec<Asked>,
    capabilities: Vec<Capability>,
    allowed: Vec<Allowed>,
}

/// A dimension of the values of `name`: none, each, and each two of them.
fn argument(name: &'static str, caveats: &[&'static str], values: &[Argument<'static>]) -> Dimension {
    let mut lists = vec![Vec::new()];
    for (at, one) in values.iter().enumerate() {
        lists.push(vec![(name, *one)]);
        lists.extend(values[at + 1..].iter().map(|other| vec![(name, *one), (name, *other)]));
    }
    Dimension { caveats: caveats.to_vec(), values: lists.into_iter().map(Value::Arguments).collect() }
}

fn dimensions() -> Vec<Dimension> {
    use Argument::{Host, Number, Path, Text};
    let money = |text: &str| Argument::Money(text.parse().expect("money"));
    let instant = |text: &str| when::instant(text).expect("an instant");
    let at = |text: &str| Value::At(Timestamp(instant(text)));
    let next_day = |text: &str| Value::At(Timestamp(instant(text) + 24 * 3600 * 1_000_000));
    vec![
        argument(
            "path",
            &[
                "path=.",
                "path=a",
                "path=*",
                "path=**",
                "path=a/**",
                "path=*/a",
                "path=*/**",
                "path=a/*/**",
                "path=*/*",
            ],
            &[
                Path(""),
                Path("a"),
                Path("z"),
                Path("a/a"),
                Path("a/z"),
                Path("z/a"),
                Path("a/z/a"),
                Text("a"),
            ],
        ),
        argument(
            "to_host",
            &[
                "to_host=x.y",
                "to_host=*.y",
                "to_host={x.y,y}",
                "to_host={*.y,y}",
                "to_host=*.x.y",
                "to_host={*.x.y,*.y}",
                "to_host=[::1]",
            ],
            &[Host("y"), Host("x.y"), Host("z.y"), Host("z.x.y"), Host("[::1]"), Text("y")],
        ),
        argument(
            "n",
            &[
                "n=0",
                "n=1",
                "n=0..1",
                "n=1..",
                "n=0..",
                "n=1 USD",
                "n=1..2 USD",
                "n=1.. USD",
                "n=0.. EUR",
                "n={1}",
                "n={1,a.a}",
                "n={a.,\"\"}",
                "n={a.}",
                "n=a.a",
                "n=*",
                "n=**",
                "n=a.*",
                "n=*.*",
                "n=a.**",
            ],
            &[
                Number(0),
                Number(1),
                Number(u64::MAX),
                money("1 USD"),
                money("1.5 USD"),
                money("3 USD"),
                money("1 EUR"),
                Text("1"),
                Text("a"),
                Text("a.a"),
                Text("a."),
                Text("a.z"),
                Text("z.a"),
                Text("z.z"),
                Text("a.z.z"),
                Text("z.z.z"),
                Text(""),
            ],
        ),
        argument(
            "max",
            &[
                "max=0",
                "max=1",
                "max=18446744073709551615",
                "max=0 USD",
                "max=1 USD",
                "max=1.5 USD",
                "max=1 EUR",
            ],
            &[
                Number(0),
                Number(1),
                Number(2),
                money("0 USD"),
                money("1 USD"),
                money("1.2 USD"),
                money("1 EUR"),
            ],
        ),
        Dimension {
            caveats: vec![
                "at=2026-01-01..2026-01-02",
                "at=2026-01-02..2026-01-03",
                "at=2026-01-01..2026-01-03",
                "at=2026-01-02..",
                "at=..2026-01-02",
                "hours=00:00..12:00",
                "hours=12:00..24:00",
                "at=2026-01-01..2026-01-03,hours=06:00..18:00",
                "at=2026-01-01T06:00Z..2026-01-01T18:00Z",
                "at=..2026-01-02,hours=12:00..24:00",
            ],
            values: [
                "1970-01-01",
                "1970-01-01T12:00Z",
                "2025-12-31T06:00Z",
                "2025-12-31T18:00Z",
                "2026-01-01",
                "2026-01-01T06:00Z",
                "2026-01-01T12:00Z",
                "2026-01-01T17:59:59.999999Z",
                "2026-01-01T18:00Z",
                "2026-01-02",
                "2026-01-02T06:00Z",
                "2026-01-02T12:00Z",
                "2026-01-02T18:00Z",
                "2026-01-03",
                "2026-01-03T12:00Z",
                "9999-12-31",
                "9999-12-31T23:59Z",
            ]
            .map(at)
            .into_iter()
            // An open end of a span is that of the year 9999; what holds at all times holds after it.
            .chain(["9999-12-31T06:00Z", "9999-12-31T18:00Z"].map(next_day))
            .collect(),
        },
    ]
}

impl Universe {
    fn of(one: &Dimension, other: &Dimension) -> Self {
        let mut requests = Vec::new();
        for first in &one.values {
            for second in &other.values {
                let mut asked: Asked = (Vec::new(), Timestamp(0));
                for value in [first, second] {
                    match value {
                        Value::Arguments(arguments) => asked.0.extend(arguments.iter().copied()),
                        Value::At(at) => asked.1 = *at,
                    }
                }
                requests.push(asked);
            }
        }
        let mut universe = Self { requests, capabilities: Vec::new(), allowed: Vec::new() };
        let all =
            |dimension: &Dimension| [""].into_iter().chain(dimension.caveats.clone()).collect::<Vec<_>>();
        for first in all(one) {
            for second in all(other) {
                let comma = if first.is_empty() || second.is_empty() { "" } else { "," };
                let text = format!("t:x({first}{comma}{second})").replace("()", "");
                let capability = text.parse().expect("a capability");
                universe.allowed.push(universe.of_one(&capability));
                universe.capabilities.push(capability);
            }
        }
        universe
    }

    /// The requests that `capability` allows.
    fn of_one(&self, capability: &Capability) -> Allowed {
        self.asked(|request, at| capability.allows_at(request, at))
    }

    fn asked(&self, allows: impl Fn(&Request<'_>, Timestamp) -> bool) -> Allowed {
        let mut bits = vec![0; self.requests.len().div_ceil(64)];
        for (number, (arguments, at)) in self.requests.iter().enumerate() {
            let request = Request { resource: "t", action: "x", arguments };
            bits[number / 64] |= u64::from(allows(&request, *at)) << (number % 64);
        }
        bits
    }

    /// A request that `inner` has and `outer` has not.
    fn outside(&self, inner: &[u64], outer: &[u64]) -> Option<String> {
        let mut left = inner.iter().zip(outer).map(|(inner, outer)| inner & !outer).enumerate();
        let (word, bits) = left.find(|(_, bits)| *bits != 0)?;
        let (arguments, at) = &self.requests[word * 64 + bits.trailing_zeros() as usize];
        Some(format!("{} at {at}", Request { resource: "t", action: "x", arguments }))
    }
}

fn both(ours: &[u64], theirs: &[u64]) -> Allowed {
    ours.iter().zip(theirs).map(|(ours, theirs)| ours & theirs).collect()
}

fn each_universe(mut look: impl FnMut(&Universe)) {
    let dimensions = dimensions();
    for (at, one) in dimensions.iter().enumerate() {
        for other in &dimensions[at + 1..] {
            look(&Universe::of(one, other));
        }
    }
}

#[test]
fn one_covers_another_if_and_only_if_its_requests_are_among_its_own() {
    let mut pairs = [0_u32; 2];
    each_universe(|universe| {
        for (ours, has) in universe.capabilities.iter().zip(&universe.allowed) {
            for (theirs, wanted) in universe.capabilities.iter().zip(&universe.allowed) {
                let outside = universe.outside(wanted, has);
                assert_eq!(ours.covers(theirs), outside.is_none(), "{ours} and {theirs}: {outside:?}");
                assert_eq!(ours == theirs, has == wanted, "{ours} and {theirs}");
                pairs[usize::from(outside.is_none())] += 1;
            }
        }
    });
    assert!(pairs[0] > 10_000 && pairs[1] > 2_000, "{pairs:?}");
}

#[test]
fn what_two_have_in_common_is_exactly_that() {
    each_universe(|universe| {
        let mut known: BTreeMap<Capability, Allowed> = BTreeMap::new();
        for (ours, has) in universe.capabilities.iter().zip(&universe.allowed) {
            for (theirs, wanted) in universe.capabilities.iter().zip(&universe.allowed) {
                let found = ours.intersect(theirs).expect("short");
                let common = both(has, wanted);
                assert_eq!(
                    found.is_none(),
                    common.iter().all(|bits| *bits == 0),
                    "{ours} and {theirs}: {found:?}"
                );
                if let Some(found) = found {
                    let allowed = known.entry(found.clone()).or_insert_with(|| universe.of_one(&found));
                    assert_eq!(*allowed, common, "{ours} and {theirs}: {found}");
                }
            }
        }
    });
}

/// Two capabilities do not share out the values of one argument, since a request may have one of each; they do share out
/// the time.
#[test]
fn sets_of_two_are_compared_as_exactly() {
    let mut state = 1_u64;
    let mut below = |end: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % end
    };
    let mut pairs = [0_u32; 2];
    each_universe(|universe| {
        let mut pick = |most: usize| {
            let some =
                (0..=below(most)).map(|_| universe.capabilities[below(universe.capabilities.len())].clone());
            CapabilitySet::new(some).expect("a few")
        };
        for _ in 0..60 {
            let (ours, theirs) = (pick(2), pick(2));
            let of_set = |set: &CapabilitySet| universe.asked(|request, at| set.allows_at(request, at));
            let (has, wanted) = (of_set(&ours), of_set(&theirs));
            let outside = universe.outside(&wanted, &has);
            assert_eq!(ours.covers(&theirs), outside.is_none(), "{ours:?} and {theirs:?}: {outside:?}");
            let found = ours.intersect(&theirs).expect("small");
            assert_eq!(of_set(&found), both(&has, &wanted), "{ours:?} and {theirs:?}: {found:?}");
            pairs[usize::from(outside.is_none())] += 1;
        }
    });
    assert!(pairs[0] > 100 && pairs[1] > 10, "{pairs:?}");
}

/// The history that uses a capability as early as its limits allow goes as far as any other in each window; another
/// capability has all of its histories if its own meter lets that one pass.
#[test]
fn limits_cover_others_if_and_only_if_their_most_eager_use_passes() {
    let caveats = [
        "uses=1",
        "uses=2",
        "uses=61",
        "uses=121",
        "rate=1/s",
        "rate=2/s",
        "rate=1/min",
        "rate=2/min",
        "rate=60/min",
        "rate=61/min",
        "rate=60/h",
        "rate=61/h",
        "rate=120/h",
        "rate=24/day",
        "rate=1/day",
        "rate={1/s,2/min}",
        "rate={2/s,2/min}",
        "rate={2/min,100/h}",
        "rate={2/min,30/day}",
        "rate={1/min,60/h,1440/day}",
        "rate=2/min,uses=3",
        "rate=1/h,uses=25",
        "rate={1/s,61/min},uses=61",
    ];
    let all: Vec<Capability> = ["t:x".into()]
        .into_iter()
        .chain(caveats.map(|of| format!("t:x({of})")))
        .map(|text: String| text.parse().expect("a capability"))
        .collect();
    let covers = |ours: &Capability, theirs: &Capability| {
        let (mut has, mut wants, mut uses) = (Meter::default(), Meter::default(), 0);
        let mut at = Timestamp(when::instant("2026-01-01").expect("an instant"));
        loop {
            while wants.check(theirs.limits(), 1, at).is_ok() {
                if has.check(ours.limits(), 1, at).is_err() {
                    return false;
                }
                // Nothing here allows more than 121 uses at first and fewer later on.
                uses += 1;
                if uses > 200 {
                    return true;
                }
                wants.count(1, at);
                has.count(1, at);
            }
            match wants.check(theirs.limits(), 1, at) {
                Err(Reached { until: Some(until), .. }) => at = until,
                _ => return true,
            }
        }
    };
    let within: Vec<Vec<bool>> =
        all.iter().map(|ours| all.iter().map(|theirs| covers(ours, theirs)).collect()).collect();
    for (ours, has) in all.iter().zip(&within) {
        for (theirs, wanted) in all.iter().zip(&within) {
            let common = ours.intersect(theirs).expect("short").expect("there is always the first use");
            assert!(covers(ours, &common) && covers(theirs, &common), "{ours} and {theirs}: {common}");
            for (other, (by_ours, by_theirs)) in all.iter().zip(has.iter().zip(wanted)) {
                let both = *by_ours && *by_theirs;
                assert_eq!(common.covers(other), both, "{ours}, {theirs} and {other}: {common}");
                assert_eq!(ours.covers(other), *by_ours, "{ours} and {other}");
            }
        }
    }
}
