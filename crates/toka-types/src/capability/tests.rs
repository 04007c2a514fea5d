//! The language by example.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::*;
use crate::money::MoneyProblem;

pub(super) fn capability(text: &str) -> Capability {
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
        "ledger:spend(max=0.50 USD)",
        "ledger:spend(amount=0.50 USD)",
        "ledger:spend(amount=0.10..12.00 X2)",
        "ledger:spend(amount=0.000000001.. USD)",
        "tool:t(unit=\"0.50 USD\")",
        "net:connect(host={*.example.com,example.com})",
        "tool:t(at=2026-01-31..)",
        "tool:t(at=..2026-01-31T08:30Z)",
        "tool:t(at=1970-01-01..2024-02-29T23:59:59.999999Z)",
        "tool:t(at=2026-01-31T00:00:00.5Z..9999-12-31T23:59:59.999999Z)",
        "tool:t(hours=09:00..17:30)",
        "tool:t(at=2026-01-01T09:00Z..,hours=09:00..17:30)",
        "tool:t(rate=10/min)",
        "tool:t(rate={10/min,100/h},uses=1000)",
        "tool:t(n=1,path=a,at=2026-01-01..,rate=1/s)",
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
    check("ledger:spend(max=1 USD)", "ledger:spend(max=1.00 USD)");
    check("ledger:spend(amount=1..1.0 USD)", "ledger:spend(amount=1.00 USD)");
    check("net:connect(host={b.com,a.b.com,*.b.com})", "net:connect(host={*.b.com,b.com})");
    check("net:connect(host={b.com})", "net:connect(host=b.com)");
    check("tool:t(at=2026-01-01T00:00:00.000Z..)", "tool:t(at=2026-01-01..)");
    // One set of instants has one text, however it was cut out.
    check("tool:t(hours=00:00..24:00)", "tool:t");
    check(
        "tool:t(at=2026-01-01..2026-01-02,hours=09:00..10:00)",
        "tool:t(at=2026-01-01T09:00Z..2026-01-01T10:00Z)",
    );
    check(
        "tool:t(at=2026-01-01..2026-01-03T09:30Z,hours=09:00..10:00)",
        "tool:t(at=2026-01-01T09:00Z..2026-01-03T09:30Z,hours=09:00..10:00)",
    );
    check(
        "tool:t(at=2026-01-01T10:00Z..2026-01-05T08:00Z,hours=09:00..10:00)",
        "tool:t(at=2026-01-02T09:00Z..2026-01-04T10:00Z,hours=09:00..10:00)",
    );
    check(
        "tool:t(at=2026-01-01..9999-12-31T18:00Z,hours=09:00..10:00)",
        "tool:t(at=2026-01-01T09:00Z..,hours=09:00..10:00)",
    );
    check(
        "tool:t(at=9999-12-30T12:00Z..,hours=09:00..10:00)",
        "tool:t(at=9999-12-31T09:00Z..9999-12-31T10:00Z)",
    );
    // A limit that follows from another is left out.
    check("tool:t(rate={10/min,600/h,11/s})", "tool:t(rate=10/min)");
    check("tool:t(rate={10/min,3/day})", "tool:t(rate=3/day)");
    check("tool:t(rate=10/min,uses=10)", "tool:t(uses=10)");
    check("tool:t(rate={1/s,59/min})", "tool:t(rate={1/s,59/min})");
    check("tool:t(rate={1/s,60/min})", "tool:t(rate=1/s)");
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
    check("tool:x(u={a,})", 12, EmptyValue);
    check("tool:x(u=\"\")", 10, EmptyValue);
    check("tool:x(rate={\"\"})", 14, Rate);
    check("tool:x(u={a)", 11, AfterElement);
    check("tool:x(u=a..b)", 11, EmptySegment);
    check("tool:x(max=0.5 usd)", 15, Money(MoneyProblem::Currency));
    check("tool:x(max=0.5 )", 15, Money(MoneyProblem::Currency));
    check("tool:x(max=00.5 USD)", 11, Money(MoneyProblem::LeadingZero));
    check("tool:x(max=1..2 USD)", 12, Money(MoneyProblem::Space));
    check("tool:x(a=0.1234567891 USD)", 20, Money(MoneyProblem::Decimals));
    check("tool:x(a=1..x USD)", 13, NeedsQuotes);
    check("tool:x(a=2..1 USD)", 9, EmptyInterval);
    check("tool:x(a=1..2.123x USD)", 18, NeedsQuotes);
    check("tool:x(host={a,B})", 15, Host);
    check("tool:x(host={})", 13, EmptyValue);
    check("tool:x(at=2026-01-01)", 10, Span);
    check("tool:x(at=..)", 10, Span);
    check("tool:x(at=2026-02-29..)", 10, Instant);
    check("tool:x(at=2026-01-01..2026-1-2)", 22, Instant);
    check("tool:x(at=2026-01-01T10:00..)", 10, Instant);
    check("tool:x(at=1969-12-31..)", 10, Instant);
    check("tool:x(at=2026-01-02..2026-01-02)", 10, EmptySpan);
    check("tool:x(hours=9:00..17:00)", 13, Hours);
    check("tool:x(hours=09:00..24:01)", 13, Hours);
    check("tool:x(hours=22:00..06:00)", 13, EmptyHours);
    check("tool:x(at=2026-01-01..2026-01-01T09:00Z,hours=09:00..10:00)", 40, Never);
    check("tool:x(rate=10)", 14, Rate);
    check("tool:x(rate=10/sec)", 15, Window);
    check("tool:x(rate=0/s)", 12, Uses);
    check("tool:x(rate={1/s,2/ever})", 19, Window);
    check("tool:x(uses=1000000001)", 12, Uses);
    check("tool:x(uses=-1)", 12, Uses);
    check("tool:x(uses=1,uses=2)", 14, DuplicateCaveat);
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
    // What is stored is the canonical text, so that must not be longer either.
    let amounts = "ledger:spend(a=1 USD,b=1 USD,c=1 USD,d=1 USD,e=1 USD,f=1 USD,g=";
    let near = |last: usize| format!("{amounts}{})", "a".repeat(last));
    let rest = MAX_CAPABILITY - near(0).len();
    assert!(near(rest - 18).parse::<Capability>().is_ok());
    assert_eq!(
        near(rest - 17).parse::<Capability>(),
        Err(CapabilityError::TooLong { len: MAX_CAPABILITY + 1 })
    );

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
    host("{a.com,*.b.com}", "x.b.com", true);
    host("{a.com,*.b.com}", "b.com", false);

    let money = |value: &str, amount: &str, allowed| {
        let amount = amount.parse().unwrap_or_else(|e| panic!("{amount}: {e}"));
        let name = if value.contains("max") { "max" } else { "a" };
        check(&format!("ledger:spend({value})"), ("ledger", "spend"), &[(name, Money(amount))], allowed);
    };
    money("max=0.50 USD", "0.50 USD", true);
    money("max=0.50 USD", "0.500000001 USD", false);
    money("max=0.50 USD", "0.50 EUR", false);
    money("max=0.50 USD", "-0.01 USD", false);
    money("max=0.50 USD", "0.00 USD", true);
    money("a=0.10.. USD", "170141183460469231731687303715.88 USD", true);
    money("a=0.10..0.20 USD", "0.21 USD", false);
    check(
        "ledger:spend(max=4)",
        ("ledger", "spend"),
        &[("max", Money("3.00 USD".parse().expect("money")))],
        false,
    );
    check("ledger:spend(max=4 USD)", ("ledger", "spend"), &[("max", Number(3))], false);

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
fn requests_are_matched_in_time() {
    let check = |text: &str, at: &str, allowed: bool| {
        let request = Request { resource: "tool", action: "t", arguments: &[] };
        let at = Timestamp(when::instant(at).unwrap_or_else(|| panic!("{at}")));
        assert_eq!(capability(text).allows_at(&request, at), allowed, "{text} at {at:?}");
        let set = CapabilitySet::parse([text]).unwrap_or_default();
        assert_eq!(set.allows_at(&request, at), allowed, "{text} at {at:?}");
        assert!(!set.allows(&request), "{text} at any time");
    };
    check("tool:t(at=2026-01-01..2026-02-01)", "2026-01-01", true);
    check("tool:t(at=2026-01-01..2026-02-01)", "2025-12-31T23:59:59.999999Z", false);
    check("tool:t(at=2026-01-01..2026-02-01)", "2026-01-31T23:59:59.999999Z", true);
    check("tool:t(at=2026-01-01..2026-02-01)", "2026-02-01", false);
    check("tool:t(hours=09:00..17:30)", "2026-07-04T08:59:59.999999Z", false);
    check("tool:t(hours=09:00..17:30)", "2026-07-04T09:00Z", true);
    check("tool:t(hours=09:00..17:30)", "2026-07-04T17:30Z", false);
    check("tool:t(at=2026-01-01..,hours=09:00..17:30)", "2026-01-01T10:00Z", true);
    check("tool:t(at=2026-01-01..,hours=09:00..17:30)", "2025-12-31T10:00Z", false);
    check("tool:t(at=2026-01-01..,hours=09:00..17:30)", "2026-01-02T08:00Z", false);
}

#[test]
fn what_is_limited_is_allowed_as_long_as_its_meter_says() {
    let limited = capability("tool:t(rate={2/s,3/min},uses=5)");
    let request = Request { resource: "tool", action: "t", arguments: &[] };
    assert!(!limited.allows(&request) && limited.allows_at(&request, Timestamp(0)));
    let second = 1_000_000;
    let mut meter = Meter::default();
    let mut use_at = |at: i64| {
        let said = meter.check(limited.limits(), 1, Timestamp(at));
        if said.is_ok() {
            meter.count(1, Timestamp(at));
        }
        said
    };
    assert_eq!(use_at(100), Ok(()));
    assert_eq!(use_at(second - 1), Ok(()));
    let reached = Reached { window: Window::Second, most: 2, until: Some(Timestamp(second)) };
    assert_eq!(use_at(second - 1), Err(reached));
    assert_eq!(use_at(100), Err(reached), "a clock that goes back opens nothing");
    assert_eq!(use_at(second), Ok(()));
    let reached = Reached { window: Window::Minute, most: 3, until: Some(Timestamp(60 * second)) };
    assert_eq!(use_at(2 * second), Err(reached));
    assert_eq!(use_at(60 * second), Ok(()));
    assert_eq!(use_at(61 * second), Ok(()));
    assert_eq!(use_at(9_999 * second), Err(Reached { window: Window::Ever, most: 5, until: None }));

    let set =
        CapabilitySet::parse(["tool:t(uses=1)", "tool:t(n=1)", "tool:*(n=1,uses=2)"]).unwrap_or_default();
    let request = Request { arguments: &[("n", Argument::Number(1))], ..request };
    let order: Vec<String> = set.allowing(&request, Timestamp(0)).map(ToString::to_string).collect();
    assert_eq!(order, ["tool:t(n=1)", "tool:*(n=1,uses=2)", "tool:t(uses=1)"]);
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
fn the_narrowest_capability_says_what_can_be_said() {
    use Argument::*;
    let check = |action: &str, arguments: &[(&str, Argument<'_>)], expected: Option<&str>| {
        let request = Request { resource: "tool", action, arguments };
        assert_eq!(Capability::narrowest(&request).map(|one| one.to_string()).as_deref(), expected);
    };
    check("fs.read", &[], Some("tool:fs.read"));
    check("fs.read", &[("path", Path("docs/a (b)"))], Some("tool:fs.read(path=\"docs/a (b)\")"));
    check(
        "fs.read",
        &[("path", Path("a")), ("path", Path("b")), ("n", Number(4))],
        Some("tool:fs.read(n=4)"),
    );
    check(
        "get",
        &[("host", Host("b")), ("host", Host("a")), ("host", Host("b"))],
        Some("tool:get(host={a,b})"),
    );
    check("t", &[("u", Text("4")), ("v", Text("a*")), ("w", Text("a. b"))], Some("tool:t(u={4},w=\"a. b\")"));
    check("t", &[("u", Text("")), ("Odd name", Text("a")), ("rate", Text("a"))], Some("tool:t(u={\"\"})"));
    check("t", &[("u", Text("Done.")), ("v", Text(".."))], Some("tool:t(u={Done.},v={..})"));
    check("pay", &[("max", Money("0.5 USD".parse().expect("money")))], Some("tool:pay(max=0.50 USD)"));
    check("pay", &[("a", Money("-0.5 USD".parse().expect("money")))], Some("tool:pay"));
    check("a b", &[], None);
    check("a.*", &[], None);
    check("t", &[("path", Path("/etc"))], None);
}

#[test]
fn a_capability_with_one_value_each_writes_a_request_down() {
    let check = |text: &str, expected: Option<&str>| {
        let exact = capability(text).exact();
        assert_eq!(
            exact.map(|exact| exact.with(|request| request.to_string())).as_deref(),
            expected,
            "{text}"
        );
        if let Some(exact) = capability(text).exact() {
            assert!(exact.with(|request| capability(text).allows(request)), "{text}");
        }
    };
    check("tool:fs.read(path=docs/a)", Some("tool:fs.read(path=docs/a)"));
    check("tool:t(host={a,b},n=3,u=x)", Some("tool:t(host=a,host=b,n=3,u=x)"));
    check("ledger:spend(max=0.50 USD)", Some("ledger:spend(max=0.50 USD)"));
    check("**", None);
    for open in ["tool:*", "tool:t(path=a/**)", "tool:t(host=*.a)", "tool:t(n=1..2)", "tool:t(u=a.*)"] {
        check(open, None);
    }
    for conditional in ["tool:t(uses=1)", "tool:t(hours=00:00..01:00)", "tool:t(at=2026-01-01..)"] {
        check(conditional, None);
    }
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
    check(
        &["net:c(host={*.x.com,y.com})"],
        &["net:c(host={a.x.com,z.com})"],
        false,
        &["net:c(host=a.x.com)"],
    );
    check(&["l:s(max=1 USD)"], &["l:s(max=2 USD)"], false, &["l:s(max=1 USD)"]);
    check(&["l:s(max=1 USD)"], &["l:s(max=1 EUR)"], false, &[]);
    check(&["l:s(max=1 USD)"], &["l:s(max=1)"], false, &[]);
    check(&["t:x(rate=10/min)"], &["t:x(uses=5)"], true, &["t:x(uses=5)"]);
    check(&["t:x(rate=10/min)"], &["t:x(rate={5/s,50/h})"], false, &["t:x(rate={5/s,10/min,50/h})"]);
    check(
        &["t:x(hours=08:00..12:00)"],
        &["t:x(at=2026-01-01T08:00Z..2026-01-01T09:00Z)"],
        true,
        &["t:x(at=2026-01-01T08:00Z..2026-01-01T09:00Z)"],
    );
    check(&["t:x(hours=08:00..12:00)"], &["t:x(hours=12:00..13:00)"], false, &[]);
}

#[test]
fn several_capabilities_cover_one_in_parts() {
    let check = |ours: &[&str], theirs: &str, covers: bool| {
        let set = CapabilitySet::parse(ours).unwrap_or_default();
        assert_eq!(set.covers_one(&capability(theirs)), covers, "{ours:?} {theirs}");
    };
    check(&["t:a", "t:a.*", "t:a.*.*.**"], "t:a.**", true);
    check(&["t:a", "t:a.*.*.**"], "t:a.**", false);
    check(&["t:*", "t:a.*.**"], "t:a.**", true);
    check(&["t:*", "t:*.*.**"], "t:**", true);
    check(&["t:a", "t:b", "t:*.*.**"], "t:**", false);
    check(&["t:a(n=1)", "t:a.*.**(n=1..2)"], "t:a.**(n=1)", true);
    check(&["t:a(n=1)", "t:a.*.**(n=1..2)"], "t:a.**(n=2)", false);
    check(&["t:a(uses=5)", "t:a.*.**"], "t:a.**(uses=4)", true);
    check(&["t:x(at=..2026-01-01)", "t:x(at=2026-01-01..)"], "t:x(at=2025-06-01..2026-06-01)", true);
    check(&["t:x(at=..2026-01-01)", "t:x(at=2026-01-02..)"], "t:x(at=2025-06-01..2026-06-01)", false);
    check(&["t:x(hours=00:00..08:00)", "t:x(hours=08:00..24:00)"], "t:x", true);
    check(&["t:x(hours=00:00..08:00)", "t:x(hours=07:00..23:59)"], "t:x", false);
    check(
        &["t:x(hours=22:00..24:00)", "t:x(hours=00:00..06:00)"],
        "t:x(at=2026-01-01T23:00Z..2026-01-02T05:00Z)",
        true,
    );
    check(
        &["t:x(hours=22:00..24:00)", "t:x(hours=00:00..06:00)"],
        "t:x(at=2026-01-01T21:00Z..2026-01-02T05:00Z)",
        false,
    );
    check(&["t:x(at=..2026-01-01)", "t:x(at=2026-01-01..)"], "t:x", false);
    // Both are asked for at once by a request with two hosts.
    check(&["t:x(host=a)", "t:x(host=b)"], "t:x(host={a,b})", false);
    check(&["t:x(n=1..2)", "t:x(n=3..4)"], "t:x(n=1..4)", false);
}
