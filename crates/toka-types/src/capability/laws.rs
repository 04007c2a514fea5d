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

fn patterns(separator: char) -> impl Strategy<Value = String> {
    let segment = select(["a", "b", "*"].as_slice());
    (prop::collection::vec(segment, 1..4), any::<bool>()).prop_map(move |(mut segments, open)| {
        if open {
            segments.push("**");
        }
        segments.join(&separator.to_string())
    })
}

fn capabilities() -> impl Strategy<Value = Capability> {
    let caveats = (
        prop::option::of(patterns('/')),
        prop::option::of(select(["x.com", "a.x.com", "*.x.com", "*.a.x.com"].as_slice())),
        prop::option::of(0_u64..5),
        prop::option::of((0_u64..5, 0_u64..5)),
        prop::option::of(prop_oneof![
            patterns('.'),
            Just(String::from("{a,b}")),
            Just(String::from("{a.b,c}")),
            Just(String::from("\"a b\""))
        ]),
    );
    let target = (select(["tool", "net"].as_slice()), patterns('.'));
    let written = (target, caveats).prop_map(|((resource, action), (path, host, max, n, u))| {
        let mut caveats = Vec::new();
        caveats.extend(path.map(|p| format!("path={p}")));
        caveats.extend(host.map(|h| format!("host={h}")));
        caveats.extend(max.map(|m| format!("max={m}")));
        caveats.extend(n.map(|(from, more)| format!("n={from}..{}", from + more)));
        caveats.extend(u.map(|u| format!("u={u}")));
        let list = if caveats.is_empty() { String::new() } else { format!("({})", caveats.join(",")) };
        capability(&format!("{resource}:{action}{list}"))
    });
    prop_oneof![1 => Just(Capability::all()), 20 => written]
}

#[derive(Clone, Debug)]
struct Asked {
    resource: &'static str,
    action: String,
    path: Option<String>,
    host: Option<&'static str>,
    max: Option<u64>,
    n: Option<u64>,
    u: Option<String>,
}

impl Asked {
    fn with<R>(&self, ask: impl FnOnce(&Request<'_>) -> R) -> R {
        let mut arguments = Vec::new();
        arguments.extend(self.path.as_deref().map(|p| ("path", Argument::Path(p))));
        arguments.extend(self.host.map(|h| ("host", Argument::Host(h))));
        arguments.extend(self.max.map(|m| ("max", Argument::Number(m))));
        arguments.extend(self.n.map(|n| ("n", Argument::Number(n))));
        arguments.extend(self.u.as_deref().map(|u| ("u", Argument::Text(u))));
        ask(&Request { resource: self.resource, action: &self.action, arguments: &arguments })
    }
}

fn texts(separator: char) -> impl Strategy<Value = String> {
    let segment = select(["a", "b", "c", "**"].as_slice());
    prop::collection::vec(segment, 1..5).prop_map(move |s| s.join(&separator.to_string()))
}

fn requests() -> impl Strategy<Value = Asked> {
    let often = |strategy| prop::option::weighted(0.9, strategy);
    (
        select(["tool", "net"].as_slice()),
        texts('.'),
        prop::option::weighted(0.9, texts('/')),
        prop::option::weighted(0.9, select(["x.com", "a.x.com", "b.x.com", "c.a.x.com"].as_slice())),
        often(0_u64..6),
        often(0_u64..10),
        prop::option::weighted(0.9, prop_oneof![texts('.'), Just(String::from("a b"))]),
    )
        .prop_map(|(resource, action, path, host, max, n, u)| Asked {
            resource,
            action,
            path,
            host,
            max,
            n,
            u,
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
    fn any_text_parses_or_fails_within_itself(text in "(tool:|event:)?[a-z.*/:(){}=,\"\\\\%0-9 ]{0,40}") {
        match text.parse::<Capability>() {
            Ok(one) => {
                let shown = one.to_string();
                prop_assert!(shown.len() <= text.len());
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
            prop_assert!(asked.with(|r| !b.allows(r) || a.allows(r)));
        }
    }

    #[test]
    fn intersecting_is_sound_and_complete(a in capabilities(), b in capabilities(), asked in requests()) {
        let both = a.intersect(&b).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let allowed = asked.with(|r| a.allows(r) && b.allows(r));
        prop_assert_eq!(asked.with(|r| both.as_ref().is_some_and(|c| c.allows(r))), allowed);
        prop_assert_eq!(b.intersect(&a), Ok(both.clone()));
        if let Some(both) = both {
            prop_assert!(a.covers(&both) && b.covers(&both));
            prop_assert_eq!(capability(&both.to_string()), both);
        }
        prop_assert_eq!(a.covers(&b), a.intersect(&b) == Ok(Some(b.clone())));
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
