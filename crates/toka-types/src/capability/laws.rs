//! What holds for every capability and every request.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;
use proptest::sample::select;

use super::tests::capability;
use super::*;

/// Every pattern of at most two segments over a small alphabet, with and without a final `**`, against every
/// text of at most four: what `covers` and `intersect` say is exactly what matching says.
#[test]
fn patterns_are_exact_on_a_whole_small_world() {
    fn exhaust<S: pattern::Segments>(shortest: usize) {
        let joined = |alphabet: &[&str], lengths: core::ops::RangeInclusive<usize>| {
            let mut all: Vec<Vec<String>> = Vec::new();
            let mut level: Vec<Vec<String>> = alloc::vec![Vec::new()];
            for length in 0..=*lengths.end() {
                if lengths.contains(&length) {
                    all.extend(level.iter().cloned());
                }
                let longer = |start: &Vec<String>| {
                    let start = start.clone();
                    alphabet
                        .iter()
                        .map(move |s| [&start[..], &[String::from(*s)]].concat())
                        .collect::<Vec<_>>()
                };
                level = level.iter().flat_map(longer).collect();
            }
            all
        };
        let separator = char::from(S::SEPARATOR).to_string();
        let texts: Vec<String> =
            joined(&["a", "b", "z"], shortest..=4).iter().map(|t| t.join(&separator)).collect();
        let mut patterns: Vec<Pattern<S>> = Vec::new();
        for segments in joined(&["a", "b", "*"], 0..=2) {
            let open = [&segments[..], &[String::from("**")]].concat();
            patterns.push(Pattern::new(&open.join(&separator)));
            if segments.len() >= shortest {
                patterns.push(Pattern::new(&segments.join(&separator)));
            }
        }
        for ours in &patterns {
            for theirs in &patterns {
                let both = ours.intersect(theirs);
                let subset = texts.iter().all(|t| !theirs.matches(t) || ours.matches(t));
                assert_eq!(ours.covers(theirs), subset, "{} covers {}", ours.as_str(), theirs.as_str());
                for text in &texts {
                    assert_eq!(
                        both.as_ref().is_some_and(|p| p.matches(text)),
                        ours.matches(text) && theirs.matches(text),
                        "{} and {} on {text}",
                        ours.as_str(),
                        theirs.as_str()
                    );
                }
            }
        }
    }
    exhaust::<Dots>(1);
    exhaust::<pattern::Slashes>(0);
}

/// Every span and hours of a small world, against every instant of it and its neighbours.
#[test]
fn times_are_exact_on_a_whole_small_world() {
    let slots: Vec<Timestamp> = slots().map(|(_, at)| at).collect();
    let (year, end) = (365 * 86_400_000_000, 253_402_300_800_000_000);
    let far = [slots[0].0 - year, slots[0].0 + year, end]
        .into_iter()
        .flat_map(|start| (0..8).map(move |slot| Timestamp(start + slot * 6 * 3_600_000_000)));
    let far: Vec<Timestamp> = far.collect();
    let mut all: Vec<Capability> = Vec::new();
    for span in all_spans().iter().map(Some).chain([None]) {
        for hours in HOURS {
            let span = span.map(|span| format!("at={span},")).unwrap_or_default();
            match format!("t:x({span}hours={hours})").parse() {
                Ok(one) => all.push(one),
                Err(CapabilityError::Malformed { problem: Problem::Never, .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
    }
    all.sort();
    all.dedup();
    // The instants that a capability has, as bits; what is far away is like its neighbours in all but hours.
    let request = Request { resource: "t", action: "x", arguments: &[] };
    let instants: Vec<Timestamp> = slots.iter().chain(&far).copied().collect();
    let bits = |one: &Capability| {
        instants.iter().fold(0_u64, |bits, at| bits << 1 | u64::from(one.allows_at(&request, *at)))
    };
    let sets: Vec<u64> = all.iter().map(bits).collect();
    for (ours, our_bits) in all.iter().zip(&sets) {
        assert_eq!(&capability(&ours.to_string()), ours);
        for (theirs, their_bits) in all.iter().zip(&sets) {
            assert_eq!(ours == theirs, our_bits == their_bits, "{ours} is {theirs}");
            assert_eq!(ours.covers(theirs), our_bits & their_bits == *their_bits, "{ours} covers {theirs}");
            let both = ours.when.intersect(&theirs.when);
            let both = both.map(|when| Capability { when, ..ours.clone() });
            assert_eq!(both.as_ref().map_or(0, bits), our_bits & their_bits, "{ours} and {theirs}");
            assert!(both.is_none_or(|both| capability(&both.to_string()) == both), "{ours} and {theirs}");
        }
    }
    // Several together, chosen by a fixed stride since all triples would take minutes.
    for (i, one) in all.iter().enumerate() {
        for step in (1..all.len()).step_by(7) {
            let some = [(i + step) % all.len(), (i + 3 * step) % all.len(), (i + 5 * step) % all.len()];
            let union = some.iter().fold(0, |bits, i| bits | sets[*i]);
            let whens = some.map(|i| all[i].when);
            assert_eq!(one.when.covered_by(&whens), union & sets[i] == sets[i], "{one} in {some:?}");
        }
    }
}

/// What a window's limit says is what the most eager user can reach in one, as its meter counts it.
#[test]
fn limits_are_as_low_as_the_others_make_them() {
    let check = |caveats: &str, most: [Option<u64>; 4]| {
        let limits = *capability(&format!("t:x({caveats})")).limits();
        let mut meter = Meter::default();
        let mut reached = [0_u64; 4];
        // An hour, with as many uses in each second as there is room for.
        for second in 0..3600 {
            let at = Timestamp(second * 1_000_000);
            while meter.check(&limits, 1, at).is_ok() {
                meter.count(1, at);
                for (window, most) in Window::ALL.into_iter().take(3).zip(&mut reached) {
                    *most = meter.used(window, at).max(*most);
                }
            }
        }
        reached[3] = meter.used(Window::Ever, Timestamp(3600 * 1_000_000));
        let said = [Window::Second, Window::Minute, Window::Hour].map(|window| limits.most(window));
        assert_eq!(said, reached[..3].iter().copied().map(Some).collect::<Vec<_>>()[..], "{caveats}");
        assert_eq!([said[0], said[1], said[2], Some(reached[3])], most, "{caveats}");
    };
    let check = |caveats: &str, second, minute, hour| {
        check(caveats, [Some(second), Some(minute), Some(hour), Some(hour)]);
    };
    check("rate=1/s", 1, 60, 3600);
    check("rate={1/s,59/min}", 1, 59, 3540);
    check("rate=7/h", 7, 7, 7);
    check("rate={3/s,100/min,2/day}", 2, 2, 2);
    check("rate={5/s,70/min},uses=90", 5, 70, 90);
    check("rate={2/min,100/h}", 2, 2, 100);
}

fn patterns(separator: char) -> impl Strategy<Value = String> {
    let segment = select(["a", "b", "*"].as_slice());
    (prop::collection::vec(segment, 1..4), any::<bool>()).prop_map(move |(mut segments, open)| {
        if open {
            segments.push("**");
        }
        segments.join(&separator.to_string())
    })
}

/// Instants six hours apart, of four days.
fn slots() -> impl Iterator<Item = (String, Timestamp)> {
    let slots = (1..=4).flat_map(|day| [0, 6, 12, 18].map(|hour| (day, hour)));
    slots.map(|(day, hour)| {
        let text = format!("2026-01-{day:02}T{hour:02}:00Z");
        let at = when::instant(&text).unwrap_or_default();
        (text, Timestamp(at))
    })
}

/// Every span that begins and ends at one of the [`slots`], or has an open end.
fn all_spans() -> Vec<String> {
    let ends: Vec<String> = slots().map(|(text, _)| text).collect();
    let mut spans: Vec<String> =
        ends.iter().flat_map(|end| [format!("{end}.."), format!("..{end}")]).collect();
    for (i, from) in ends.iter().enumerate() {
        spans.extend(ends[i + 1..].iter().map(|until| format!("{from}..{until}")));
    }
    spans
}

fn spans() -> impl Strategy<Value = String> {
    select(all_spans())
}

const HOURS: [&str; 7] = [
    "00:00..06:00",
    "00:00..18:00",
    "06:00..12:00",
    "06:00..18:00",
    "06:00..24:00",
    "12:00..24:00",
    "00:00..24:00",
];

fn hours() -> impl Strategy<Value = &'static str> {
    select(HOURS.as_slice())
}

/// Caveats on how often, few enough to be reached.
fn limits() -> impl Strategy<Value = Vec<String>> {
    let most = || prop_oneof![1_u64..4, 50_u64..130, 3000_u64..4000];
    let rates = prop::collection::vec((most(), select(["s", "min", "h", "day"].as_slice())), 0..3);
    (rates, prop::option::weighted(0.3, most())).prop_map(|(rates, uses)| {
        let rates: Vec<String> = rates.into_iter().map(|(most, window)| format!("{most}/{window}")).collect();
        let mut caveats = Vec::new();
        if !rates.is_empty() {
            caveats.push(format!("rate={{{}}}", rates.join(",")));
        }
        caveats.extend(uses.map(|uses| format!("uses={uses}")));
        caveats
    })
}

fn capabilities() -> impl Strategy<Value = Capability> {
    let caveats = (
        prop::option::of(patterns('/')),
        prop::option::of(select(
            ["x.com", "a.x.com", "*.x.com", "*.a.x.com", "{x.com,b.x.com}", "{x.com,*.x.com}"].as_slice(),
        )),
        prop::option::of(select(["0", "3", "4", "3 USD", "2.5 USD", "3 EUR"].as_slice())),
        prop::option::of((0_u64..5, 0_u64..5)),
        prop::option::of(prop_oneof![
            patterns('.'),
            Just(String::from("{a,b}")),
            Just(String::from("{a.b,c}")),
            Just(String::from("\"a b\"")),
            Just(String::from("{a.}")),
            Just(String::from("{\"\",a..b}"))
        ]),
    );
    let times = (prop::option::of(spans()), prop::option::of(hours()), limits());
    let target = (select(["tool", "net"].as_slice()), patterns('.'));
    let written = (target, caveats, times).prop_filter_map("at some time", |(target, caveats, times)| {
        let ((resource, action), (path, host, max, n, u), (span, hours, limits)) = (target, caveats, times);
        let mut caveats = Vec::new();
        caveats.extend(path.map(|p| format!("path={p}")));
        caveats.extend(host.map(|h| format!("host={h}")));
        caveats.extend(max.map(|m| format!("max={m}")));
        caveats.extend(n.map(|(from, more)| format!("n={from}..{}", from + more)));
        caveats.extend(u.map(|u| format!("u={u}")));
        caveats.extend(span.map(|span| format!("at={span}")));
        caveats.extend(hours.map(|hours| format!("hours={hours}")));
        caveats.extend(limits);
        let list = if caveats.is_empty() { String::new() } else { format!("({})", caveats.join(",")) };
        match format!("{resource}:{action}{list}").parse() {
            Ok(one) => Some(one),
            Err(CapabilityError::Malformed { problem: Problem::Never, .. }) => None,
            Err(other) => panic!("{other}"),
        }
    });
    prop_oneof![1 => Just(Capability::all()), 20 => written]
}

#[derive(Clone, Debug)]
struct Asked {
    resource: &'static str,
    action: String,
    path: Option<String>,
    host: Option<&'static str>,
    max: Option<&'static str>,
    n: Vec<u64>,
    u: Option<String>,
    at: Timestamp,
}

impl Asked {
    fn allowed_by(&self, one: &Capability) -> bool {
        self.with(|request| one.allows_at(request, self.at))
    }

    fn with<R>(&self, ask: impl FnOnce(&Request<'_>) -> R) -> R {
        let mut arguments = Vec::new();
        arguments.extend(self.path.as_deref().map(|p| ("path", Argument::Path(p))));
        arguments.extend(self.host.map(|h| ("host", Argument::Host(h))));
        arguments.extend(self.max.map(|m| match m.parse() {
            Ok(number) => ("max", Argument::Number(number)),
            Err(_) => ("max", Argument::Money(m.parse().expect("an amount"))),
        }));
        arguments.extend(self.n.iter().map(|n| ("n", Argument::Number(*n))));
        arguments.extend(self.u.as_deref().map(|u| ("u", Argument::Text(u))));
        ask(&Request { resource: self.resource, action: &self.action, arguments: &arguments })
    }
}

fn texts(separator: char) -> impl Strategy<Value = String> {
    let segment = select(["a", "b", "c", "**"].as_slice());
    prop::collection::vec(segment, 1..5).prop_map(move |s| s.join(&separator.to_string()))
}

fn requests() -> impl Strategy<Value = Asked> {
    (
        select(["tool", "net"].as_slice()),
        texts('.'),
        prop::option::weighted(0.9, texts('/')),
        prop::option::weighted(0.9, select(["x.com", "a.x.com", "b.x.com", "c.a.x.com"].as_slice())),
        prop::option::weighted(0.9, select(["0", "4", "5", "0 USD", "2.6 USD", "3 EUR"].as_slice())),
        prop::collection::vec(0_u64..10, 0..3),
        prop::option::weighted(0.9, prop_oneof![texts('.'), Just(String::from("a b"))]),
        select(slots().map(|(_, at)| at).collect::<Vec<_>>()),
    )
        .prop_map(|(resource, action, path, host, max, n, u, at)| Asked {
            resource,
            action,
            path,
            host,
            max,
            n,
            u,
            at,
        })
}

/// Capabilities of a world so small that all its requests can be asked, without limits on use.
fn small() -> impl Strategy<Value = String> {
    let action =
        select(["a", "*", "**", "a.**", "a.*", "*.*", "*.*.**", "a.*.**", "a.*.*.**", "*.a"].as_slice());
    let host = select(["", "", "host=a", "host=b", "host={a,b}"].as_slice());
    let ends = ["01T00:00Z", "01T12:00Z", "02T00:00Z", "02T12:00Z"].map(|end| format!("2026-01-{end}"));
    let whole = format!("at={}..{}", ends[0], ends[3]);
    let mut spans = alloc::vec![String::new(), String::new(), whole];
    for pair in ends.windows(2) {
        spans.push(format!("at={}..{}", pair[0], pair[1]));
    }
    spans.extend(["hours=00:00..12:00", "hours=12:00..24:00"].map(String::from));
    (action, host, select(spans)).prop_map(|(action, host, span)| match (host, &*span) {
        ("", "") => format!("t:{action}"),
        ("", one) | (one, "") => format!("t:{action}({one})"),
        (host, span) => format!("t:{action}({host},{span})"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn the_text_gives_the_capability_back(one in capabilities()) {
        prop_assert_eq!(&capability(&one.to_string()), &one);
        #[cfg(feature = "serde")]
        {
            let json = serde_json::to_string(&one).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(serde_json::from_str::<Capability>(&json).ok(), Some(one));
        }
    }

    #[test]
    fn any_text_parses_or_fails_within_itself(
        text in "(tool:|event:)?[a-z.*/:(){}=,\"\\\\%0-9 ]{0,40}|t:x\\((at|hours|rate|uses|max|a)=[-0-9.:TZ/a-z USD{},]{0,40}\\)|\\PC{0,40}"
    ) {
        match text.parse::<Capability>() {
            Ok(one) => {
                let shown = one.to_string();
                prop_assert!(shown.len() <= MAX_CAPABILITY);
                prop_assert_eq!(shown.parse::<Capability>(), Ok(one));
            }
            Err(CapabilityError::Malformed { at, .. }) => prop_assert!(text.is_char_boundary(at)),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn covering_is_a_preorder_and_sound(
        a in capabilities(), b in capabilities(), c in capabilities(), asked in requests()
    ) {
        prop_assert!(a.covers(&a));
        prop_assert!(Capability::all().covers(&a));
        prop_assert!(!(a.covers(&b) && b.covers(&c)) || a.covers(&c));
        prop_assert!(!(a.covers(&b) && b.covers(&a)) || a == b);
        if a.covers(&b) {
            prop_assert!(!asked.allowed_by(&b) || asked.allowed_by(&a));
        }
    }

    #[test]
    fn intersecting_is_sound_and_complete(a in capabilities(), b in capabilities(), asked in requests()) {
        let both = a.intersect(&b).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let allowed = asked.allowed_by(&a) && asked.allowed_by(&b);
        prop_assert_eq!(both.as_ref().is_some_and(|c| asked.allowed_by(c)), allowed);
        prop_assert_eq!(b.intersect(&a), Ok(both.clone()));
        if let Some(both) = both {
            prop_assert!(a.covers(&both) && b.covers(&both));
            prop_assert_eq!(capability(&both.to_string()), both);
        }
        prop_assert_eq!(a.covers(&b), a.intersect(&b) == Ok(Some(b.clone())));
    }

    #[test]
    fn the_narrowest_capability_allows_what_it_was_made_of(asked in requests(), other in requests()) {
        let narrow = asked.with(Capability::narrowest);
        let narrow = narrow.filter(|_| !asked.action.contains('*'));
        if let Some(narrow) = narrow {
            prop_assert_eq!(&capability(&narrow.to_string()), &narrow);
            prop_assert!(asked.with(|request| narrow.allows(request)), "{}", narrow);
            let shown = asked.with(|request| request.to_string());
            if !other.with(|request| request.to_string()).starts_with(shown.split('(').next().unwrap_or_default()) {
                prop_assert!(!other.with(|request| narrow.allows(request)), "{}", narrow);
            }
        } else {
            prop_assert!(asked.action.contains('*'), "{:?}", asked);
        }
    }

    #[test]
    fn normal_paths_are_exactly_those_that_name_one_file(path in "[a./%0-9A-F\u{e9}]{0,12}") {
        let plain = crate::path::normalise(&path).as_deref() == Some(&*path) && crate::path::decode(&path).is_some();
        prop_assert_eq!(is_path(&path), plain);
    }

    #[test]
    fn escaped_bytes_are_read_as_the_path_module_reads_them(
        bytes in prop::collection::vec(prop_oneof![0x80_u8..=0xff, Just(b'a'), Just(0xc3), Just(0xa9)], 1..8)
    ) {
        let escaped: String = bytes.iter().map(|b| format!("%{b:02X}")).collect();
        prop_assert_eq!(is_path(&escaped), crate::path::decode(&escaped).is_some());
        prop_assert!(is_path(&crate::path::encode(&bytes)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// A whole small world of requests, with every number of arguments of one name.
    #[test]
    fn sets_cover_exactly_what_they_allow(
        ours in prop::collection::vec(small(), 1..6), theirs in prop::collection::vec(small(), 1..3)
    ) {
        let set = |texts: &[String]| CapabilitySet::parse(texts).unwrap_or_default();
        let (ours, theirs) = (set(&ours), set(&theirs));
        let mut first = None;
        let mut all_within = true;
        let both = ours.intersect(&theirs).map_err(|e| TestCaseError::fail(e.to_string()))?;
        for action in ["a", "z", "a.a", "a.z", "z.a", "z.z", "a.a.a", "a.z.z", "z.z.z", "a.a.z.z", "a.z.z.z", "z.z.z.z", "a.z.z.z.z"] {
            for hosts in [&[][..], &["a"], &["b"], &["z"], &["a", "b"], &["a", "b", "z"]] {
                let arguments: Vec<_> = hosts.iter().map(|host| ("host", Argument::Host(host))).collect();
                let request = Request { resource: "t", action, arguments: &arguments };
                for (_, at) in slots().take(9) {
                    let ask = |set: &CapabilitySet| set.allowing(&request, at).next().is_some();
                    if ask(&theirs) && !ask(&ours) {
                        all_within = false;
                        first.get_or_insert((request.to_string(), at));
                    }
                    prop_assert_eq!(ask(&both), ask(&ours) && ask(&theirs), "{} {:?}", request, at);
                }
            }
        }
        prop_assert_eq!(ours.covers(&theirs), all_within, "{:?}", first);
        prop_assert!(ours.covers(&both) && theirs.covers(&both));
    }
}
