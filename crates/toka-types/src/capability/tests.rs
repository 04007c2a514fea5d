use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn capability(text: &str) -> Capability {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Asserts whether `text` allows `resource:action` with these arguments.
#[track_caller]
fn check(text: &str, request: (&str, &str), arguments: &[(&str, Argument<'_>)], allowed: bool) {
    let request = Request { resource: request.0, action: request.1, arguments };
    assert_eq!(capability(text).allows(&request), allowed, "{text} on {request}");
}

#[test]
fn texts_have_one_canonical_form() {
    let check = |text: &str, canonical: &str| {
        assert_eq!(capability(text).to_string(), canonical);
        assert_eq!(capability(canonical), capability(text));
    };
    for same in [
        "**",
        "tool:**",
        "tool:fs.read",
        "tool:fs.read(path=docs/**)",
        "net:connect(host=*.example.com)",
        "net:connect(host=[::1])",
        "agent:spawn(max=4)",
        "event:emit(kind=file.*)",
        "tool:t(n=1..10)",
        "tool:t(n=3..)",
        "tool:t(unit={a,b})",
        "tool:t(unit={1.5})",
        "tool:fs.read(path=.)",
        "tool:fs.read(path=\"a (b)/c, d/**\")",
        "tool:fs.read(path=\"a\\\\b\\\"c\")",
        "tool:fs.read(path=caf%E9/100%25)",
        "tool:Acme/Search.v2",
    ] {
        check(same, same);
    }
    check("tool:*.**", "tool:**");
    check("tool:t(b=1, a=2)", "tool:t(a=2,b=1)");
    check("tool:t(unit={b,a,b})", "tool:t(unit={a,b})");
    check("tool:t(unit={a})", "tool:t(unit=a)");
    check("tool:t(unit=\"4\")", "tool:t(unit={4})");
    check("tool:t(n=4..4)", "tool:t(n=4)");
    check("tool:t(n=0..18446744073709551615)", "tool:t(n=0..)");
    check("tool:fs.read(path=./docs/./a)", "tool:fs.read(path=docs/a)");
    check("tool:fs.read(path=\"docs\")", "tool:fs.read(path=docs)");
}

#[test]
fn what_is_not_in_the_language_is_refused_at_its_place() {
    use Problem::*;
    let check = |text: &str, at: usize, problem: Problem| {
        let error = CapabilityError::Malformed { text: text.into(), at, problem };
        assert_eq!(text.parse::<Capability>(), Err(error));
    };
    check("", 0, Resource);
    check("Tool:x", 0, Resource);
    check("*:x", 0, AnyResource);
    check("**(path=a)", 0, AnyResource);
    check("tool", 4, Colon);
    check("tool.fs:x", 4, Colon);
    check("tool:", 5, ActionSegment);
    check("tool:fs..read", 8, ActionSegment);
    check("tool:fs.re ad", 10, ActionSegment);
    check("tool:**.read", 5, AnyNotLast);
    check("tool:fs.r*", 9, PartialWildcard);
    check("tool:a.***", 7, PartialWildcard);
    check("tool:x()", 7, CaveatName);
    check("tool:x(Path=a)", 7, CaveatName);
    check("tool:x(path)", 11, Equals);
    check("tool:x(path=)", 12, EmptyValue);
    check("tool:x(path=\"\")", 13, EmptyValue);
    check("tool:x(n=1,n=2)", 11, DuplicateCaveat);
    check("tool:x(path=a", 13, AfterCaveat);
    check("tool:x(path=a b)", 13, NeedsQuotes);
    check("tool:x(path={a,b})", 12, NeedsQuotes);
    check("tool:x(path=a)x", 14, AfterEnd);
    check("tool:x(path=/etc)", 12, AbsolutePath);
    check("tool:x(path=a/../b)", 14, ParentPath);
    check("tool:x(path=a//b)", 14, EmptyComponent);
    check("tool:x(path=docs/*.md)", 17, PartialWildcard);
    check("tool:x(path=docs/**/b)", 17, AnyNotLast);
    check("tool:x(path=\"a\\\"/b*\")", 18, PartialWildcard);
    check("tool:x(path=a%2e)", 13, PathEscape);
    check("tool:x(path=\"a\nb\")", 14, Control);
    check("tool:x(path=a\nb)", 13, Control);
    check("tool:x(path=\"a)", 12, OpenQuotes);
    check("tool:x(path=\"a\\n\")", 14, Escape);
    check("tool:x(host=Example.com)", 12, Host);
    check("tool:x(host=*)", 12, Host);
    check("tool:x(host=a.*.com)", 12, Host);
    check("tool:x(host=*.*.com)", 12, Host);
    check("tool:x(host=*.0.0.1)", 12, Host);
    check("tool:x(host=127.1)", 12, Host);
    check("tool:x(host=a.0x7f)", 12, Host);
    check("tool:x(host=[0:0::1])", 12, Host);
    check("tool:x(host=example.com.)", 12, Host);
    check("tool:x(max=1..2)", 11, Number);
    check("tool:x(max=+4)", 11, Number);
    check("tool:x(n=04)", 9, Number);
    check("tool:x(n=18446744073709551616)", 9, Number);
    check("tool:x(n=1.5)", 9, Interval);
    check("tool:x(n=..5)", 9, Interval);
    check("tool:x(n=5..1)", 9, EmptyInterval);
    check("tool:x(u={a,*})", 12, SetWildcard);
    check("tool:x(u={})", 10, EmptyValue);
    check("tool:x(u={a)", 11, AfterElement);
    check("tool:x(u=a..b)", 11, EmptySegment);
}

#[test]
fn bounds_hold() {
    let path = |len: usize| format!("tool:x(path={})", "a".repeat(len - "tool:x(path=)".len()));
    assert!(path(MAX_CAPABILITY).parse::<Capability>().is_ok());
    let error = CapabilityError::TooLong { len: MAX_CAPABILITY + 1 };
    assert_eq!(path(MAX_CAPABILITY + 1).parse::<Capability>(), Err(error));

    let caveats = |n: usize| {
        let list: Vec<String> = (0..n).map(|i| format!("a{i}=1")).collect();
        format!("tool:x({})", list.join(","))
    };
    assert!(caveats(MAX_CAVEATS).parse::<Capability>().is_ok());
    let error = CapabilityError::TooManyCaveats { count: MAX_CAVEATS + 1 };
    assert_eq!(caveats(MAX_CAVEATS + 1).parse::<Capability>(), Err(error));
    assert_eq!(
        capability("tool:x(a=1,b=1,c=1,d=1,e=1)").intersect(&capability("tool:x(f=1,g=1,h=1,i=1)")),
        Err(CapabilityError::TooManyCaveats { count: 9 })
    );
    let long = |n: &str| capability(&format!("tool:x({n}={})", "a".repeat(300)));
    assert!(matches!(long("a").intersect(&long("b")), Err(CapabilityError::TooLong { len: 613 })));

    let many = |n: usize| CapabilitySet::new((0..n).map(|i| capability(&format!("tool:t{i}"))));
    assert_eq!(many(MAX_CAPABILITIES).map(|s| s.len()), Ok(MAX_CAPABILITIES));
    assert_eq!(many(MAX_CAPABILITIES + 1), Err(CapabilityError::TooMany { count: MAX_CAPABILITIES + 1 }));
}

#[test]
fn requests_are_matched() {
    use Argument::*;
    let path = |text: &str, path: &str, allowed| {
        check(&format!("tool:fs.read(path={text})"), ("tool", "fs.read"), &[("path", Path(path))], allowed);
    };
    path("docs/**", "docs", true);
    path("docs/**", "docs/a/b/c.md", true);
    path("docs/**", "docsx/a", false);
    path("docs/**", "src/a", false);
    path("docs/**", "", false);
    path("docs/*", "docs/a", true);
    path("docs/*", "docs", false);
    path("docs/*", "docs/a/b", false);
    path("*/b", "a/b", true);
    path("*/b", "**/b", true);
    path("**", "", true);
    path(".", "", true);
    path(".", "a", false);
    path("caf%E9", "caf%E9", true);

    let text = |value: &str, argument: Argument<'_>, allowed| {
        check(&format!("tool:t(u={value})"), ("tool", "t"), &[("u", argument)], allowed);
    };
    text("file.*", Text("file.indexed"), true);
    text("file.*", Text("file"), false);
    text("file.*", Text("file.a.b"), false);
    text("file.**", Text("file"), true);
    text("{a,b}", Text("b"), true);
    text("{a,b}", Text("c"), false);
    text("a", Path("a"), false);
    text("{4}", Number(4), false);
    text("4", Number(4), true);
    text("4", Text("4"), false);
    text("1..10", Number(10), true);
    text("1..10", Number(11), false);
    text("1..10", Number(0), false);
    text("1..", Number(u64::MAX), true);

    let host = |pattern: &str, host: &str, allowed| {
        check(&format!("net:connect(host={pattern})"), ("net", "connect"), &[("host", Host(host))], allowed);
    };
    host("api.example.com", "api.example.com", true);
    host("api.example.com", "evil.com", false);
    host("*.example.com", "api.example.com", true);
    host("*.example.com", "example.com", false);
    host("*.example.com", "a.b.example.com", false);
    host("*.example.com", "evilexample.com", false);
    host("*.example.com", "API.example.com", false);
    host("*.example.com", "api.example.com.", false);
    host("*.example.com", "*.example.com", false);
    host("[::1]", "[::1]", true);

    let whole = |text: &str, action: &str, allowed| check(text, ("tool", action), &[], allowed);
    whole("**", "fs.read", true);
    whole("tool:**", "fs.read", true);
    whole("tool:fs.*", "fs.read", true);
    whole("tool:fs.*", "fs", false);
    whole("tool:fs.**", "fs", true);
    whole("tool:fs.read", "fs.read.more", false);
    whole("net:**", "fs.read", false);
    whole("tool:fs.read(path=docs/**)", "fs.read", false);

    // Each of several values of one name is checked.
    let two = [("path", Path("docs/a")), ("path", Path("src/a"))];
    check("tool:fs.read(path=docs/**)", ("tool", "fs.read"), &two, false);
    check("tool:fs.read(path=docs/**)", ("tool", "fs.read"), &two[..1], true);
}

#[test]
fn paths_that_play_tricks_are_refused_by_everything() {
    for trick in [
        "/etc/passwd",
        "..",
        "docs/..",
        "docs/../src",
        "docs/./a",
        "./docs",
        "docs//a",
        "docs/",
        "/",
        "docs/a\0b",
        "docs/%2e%2e/x",
        "docs/%2E%2E/x",
        "docs/%00",
        "docs/%2F",
        "docs/%",
        "docs/%4",
        "docs/%e9",
        "docs/%C3%A9",
        "docs/%E9%C3%A9",
        "docs/%F0%9F%98%80",
        "docs/%25%C3%A9",
        "docs/%C3%C3%A9",
    ] {
        for text in ["**", "tool:**", "tool:fs.read", "tool:fs.read(path=**)", "tool:fs.read(path=docs/**)"] {
            check(text, ("tool", "fs.read"), &[("path", Argument::Path(trick))], false);
        }
    }
    for fine in
        ["docs/%252e%252e/x", "docs/%C3", "docs/%A9%C3", "docs/...", "docs/..a", "docs/\u{e9}\n", "docs/\\.."]
    {
        check("tool:**", ("tool", "fs.read"), &[("path", Argument::Path(fine))], true);
    }
}

#[test]
fn the_nearest_capability_is_named() {
    let set = CapabilitySet::parse([
        "event:emit(kind=file.*)",
        "tool:echo",
        "tool:fs.list(path=docs/**)",
        "tool:fs.read(path=docs/**)",
    ]);
    let set = set.unwrap_or_default();
    let nearest = |resource, action, arguments: &[_]| {
        set.nearest(&Request { resource, action, arguments }).map(ToString::to_string)
    };
    let path = [("path", Argument::Path("src/a"))];
    assert_eq!(nearest("tool", "fs.read", &path).as_deref(), Some("tool:fs.read(path=docs/**)"));
    assert_eq!(nearest("tool", "fs.write", &path).as_deref(), Some("tool:fs.list(path=docs/**)"));
    assert_eq!(nearest("event", "emit", &[]).as_deref(), Some("event:emit(kind=file.*)"));
    assert_eq!(nearest("net", "connect", &[]), None);
}

#[test]
fn sets_cover_and_intersect() {
    let set = |texts: &[&str]| CapabilitySet::parse(texts).unwrap_or_default();
    let check = |ours: &[&str], theirs: &[&str], covers: bool, both: &[&str]| {
        assert_eq!(set(ours).covers(&set(theirs)), covers, "{ours:?} {theirs:?}");
        assert_eq!(set(ours).intersect(&set(theirs)), Ok(set(both)), "{ours:?} {theirs:?}");
        assert_eq!(set(theirs).intersect(&set(ours)), Ok(set(both)), "{ours:?} {theirs:?}");
    };
    check(&["**"], &["tool:a", "net:b"], true, &["tool:a", "net:b"]);
    check(&[], &["tool:a"], false, &[]);
    check(&["tool:a"], &[], true, &[]);
    check(&["tool:x(path=docs/**)"], &["tool:x"], false, &["tool:x(path=docs/**)"]);
    check(&["tool:x(path=docs/**)"], &["tool:x(path=docs/a,n=1)"], true, &["tool:x(path=docs/a,n=1)"]);
    check(
        &["tool:x(path=a/**)", "tool:x(path=b/**)"],
        &["tool:x(path=*/c)"],
        false,
        &["tool:x(path=a/c)", "tool:x(path=b/c)"],
    );
    check(&["tool:x(u=a.*)"], &["tool:x(u=*.b)"], false, &["tool:x(u=a.b)"]);
    check(&["net:c(host=*.x.com)"], &["net:c(host=a.x.com)"], true, &["net:c(host=a.x.com)"]);
    check(&["net:c(host=*.x.com)"], &["net:c(host=*.y.com)"], false, &[]);
}

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
