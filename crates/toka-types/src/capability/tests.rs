//! The language by example.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::*;

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
