//! Values, tokens, leaves and selectors: what plans compare.

use serde_json::{Value, json};
use toka_toolkit_core::plan::{Plan, PlanError, PlannedCall, PlannedSource};
use toka_toolkit_core::trace::{leaves, literals_of, scalar, trace, value};
use toka_toolkit_core::{ArgumentKind, EffectClass, Input, Manifest, ManifestBuilder, ManifestError};
use toka_types::plan::{Scalar, Source, Traced};
use toka_types::{Answer, PointerId, Sink};

fn has(request: &str, literal: &Value) -> bool {
    literals_of(&json!(request)).contains(&scalar(literal).unwrap_or_default())
}

#[test]
fn literals_are_whole_tokens() {
    let request = "Pay Bob's friend \"Ann  Lee\" (ann@x.org) 20.50 EUR, by 2024-05-01; see https://x.org/a?b=c. \u{201e}Miete Juni\u{201c} 'old flat' 007 don't";
    for token in [
        "Pay",
        "Bob's",
        "Ann  Lee",
        "ann@x.org",
        "(ann@x.org)",
        "20.50",
        "EUR",
        "EUR,",
        "20.50 EUR",
        "2024-05-01",
        "2024-05-01;",
        "https://x.org/a?b=c",
        "Miete Juni",
        "old flat",
        "007",
        "don't",
    ] {
        assert!(has(request, &json!(token)), "{token}");
    }
    for part in [
        "Bob",
        "Ann",
        "Lee\"",
        "ann",
        "x.org",
        "20",
        "20.5",
        "2024",
        "https://x.org",
        "",
        " ",
        "Miete",
        "flat",
        "pay",
        "friend \"Ann",
        "\u{440}ay",
        "don",
        "t",
    ] {
        let is_token = ["Ann", "Lee\"", "Miete", "flat"].contains(&part);
        assert_eq!(has(request, &json!(part)), is_token, "{part}");
    }
    assert!(has(request, &json!(20.5)) && has(request, &json!(7)) && has(request, &json!(7.0)));
    assert!(!has(request, &json!(20)) && !has(request, &json!(2024)) && !has(request, &json!("7")));
    let structured = json!({"who": ["Bob"], "amount": 5, "sure": true});
    assert_eq!(literals_of(&structured).len(), 3, "Bob, and 5 as a number and as a text");
    let long = (0..5_000).map(|i| format!("w{i}")).collect::<Vec<_>>().join(" ");
    assert_eq!(literals_of(&json!(long)).len(), 1024);
    assert!(has(&long, &json!("w0")) && !has(&long, &json!("w4999")));
}

#[test]
fn numbers_have_one_form_and_are_no_texts() {
    let same = |a: Value, b: Value| scalar(&a) == scalar(&b);
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    for text in ["1", "1.0", "1e0", "10e-1", "100e-2"] {
        assert!(same(parsed(text), json!(1)), "{text}");
    }
    assert!(same(parsed("0"), parsed("-0.0")) && same(parsed("1e3"), json!(1000)));
    for (a, b) in
        [("1", "\"1\""), ("1", "true"), ("null", "\"\""), ("0.1", "0.10000000000000002"), ("-1", "1")]
    {
        assert!(!same(parsed(a), parsed(b)), "{a} {b}");
    }
    assert_eq!(scalar(&json!([])), None);
    assert_ne!(value(&json!({"a": 1})), value(&json!({"a": 2})));
    assert_ne!(value(&json!(["a"])), value(&json!("a")));
}

#[test]
fn leaves_are_where_they_stand() {
    let output =
        json!({"people": [{"name": "Bob", "tags": ["a", "b"]}, {"name": "Eve"}], "n": 12, "a/b*": null});
    let minted = ["/people/*/name".to_owned()];
    let found = leaves(&output, &minted);
    let at = |pointer: &str, at: &[u32]| {
        let pointer = PointerId::of(pointer);
        found.iter().find(|leaf| leaf.pointer == pointer && leaf.at == at)
    };
    assert_eq!(found.len(), 6);
    let bob = at("/people/*/name", &[0]).unwrap_or_else(|| panic!("Bob"));
    assert_eq!((Some(bob.value), bob.trusted, bob.telling), (scalar(&json!("Bob")), true, false));
    assert_eq!(
        at("/people/*/tags/*", &[0, 1]).map(|leaf| (leaf.value, leaf.trusted)),
        scalar(&json!("b")).map(|b| (b, false))
    );
    assert!(at("/n", &[]).is_some_and(|leaf| !leaf.telling) && at("/a~1b~2", &[]).is_some());
    let telling = |value: Value| leaves(&value, &[]).iter().filter(|leaf| leaf.telling).count();
    assert_eq!(telling(json!(["abcd", "abc", 1234, 123, 0.1234, true, null])), 3);
    assert_eq!(
        leaves(&json!(["a", {"b": "c"}]), &[]).len(),
        1,
        "no list to compare, so its texts are none of it"
    );
    assert_eq!(leaves(&json!(vec!["x"; 3_000]), &[]).len(), 1025, "one more than are kept");
}

fn builder() -> ManifestBuilder {
    let text = json!({"type": "string"});
    let input = json!({"properties": {"to": text, "path": text, "body": {}, "n": {"type": "integer"}}});
    Manifest::builder("mail", "1.0.0")
        .description("mails")
        .effect(EffectClass::Write)
        .sink(Sink::External)
        .input(input)
}

#[test]
fn a_manifest_names_its_control_arguments_or_has_nothing_else() {
    let names =
        |builder: ManifestBuilder| builder.build().unwrap_or_else(|e| panic!("{e}")).control_arguments();
    assert_eq!(names(builder()), ["body", "n", "path", "to"]);
    assert_eq!(names(builder().sink(Sink::None)), [""; 0]);
    assert_eq!(names(builder().sink(Sink::None).governed("path", ArgumentKind::Path)), ["path"]);
    assert_eq!(names(builder().control(["to"]).governed("path", ArgumentKind::Path)), ["path", "to"]);
    assert_eq!(names(builder().control([""; 0])), [""; 0]);
    assert!(matches!(builder().control(["cc"]).build(), Err(ManifestError::Control(name)) if name == "cc"));
    assert!(matches!(builder().minted(["id"]).build(), Err(ManifestError::Minted(place)) if place == "id"));
}

#[test]
fn a_manifest_that_says_otherwise_of_its_arguments_is_another_one() {
    let digest = |builder: ManifestBuilder| builder.build().unwrap_or_else(|e| panic!("{e}")).digest();
    let all = [builder(), builder().control([""; 0]), builder().control(["to"]), builder().minted(["/id"])]
        .map(digest);
    for (i, one) in all.iter().enumerate() {
        assert!(all[..i].iter().all(|other| other != one), "{i}");
    }
}

fn traced(body: Value) -> Traced {
    let manifest = builder().control(["to"]).build().unwrap_or_else(|e| panic!("{e}"));
    let arguments = json!({"to": "https://control.example", "body": body});
    trace(&manifest, &Input::from_value(arguments).unwrap_or_else(|e| panic!("{e}")))
}

#[test]
fn control_arguments_are_read_as_somebody_quarantined_could_answer() {
    let said = |manifest: ManifestBuilder, to: Value| {
        let manifest = manifest.build().unwrap_or_else(|e| panic!("{e}"));
        let arguments = json!({"to": to, "body": "hello"});
        trace(&manifest, &Input::from_value(arguments).unwrap_or_else(|e| panic!("{e}"))).controls
    };
    let text = |text: &str| ("to".to_owned(), Answer::Literal(text.to_owned()));
    let number = |number: i64| ("to".to_owned(), Answer::Integer(number));
    let long = "x".repeat(65);
    for (to, expected) in [
        (json!("mallory"), vec![text("mallory")]),
        (json!("007"), vec![number(7), text("007")]),
        (json!("-7.0"), vec![number(-7), text("-7.0")]),
        (json!("7e0x"), vec![text("7e0x")]),
        (json!(7.0), vec![number(7)]),
        (json!(7.5), vec![]),
        (json!(0), vec![number(0)]),
        (json!(1e300), vec![]),
        (json!(i64::MIN), vec![number(i64::MIN)]),
        (json!(u64::MAX), vec![]),
        (json!([["b", "a", "b"], {"k": 100}]), vec![number(100), text("a"), text("b"), text("k")]),
        (json!([null, true, long]), vec![]),
    ] {
        assert_eq!(said(builder().control(["to"]), to.clone()), expected, "{to}");
    }
    let mut all = said(builder(), json!("mallory"));
    all.sort();
    let body = ("body".to_owned(), Answer::Literal("hello".to_owned()));
    assert_eq!(all, [body, text("mallory")], "of a tool that names none, every argument is one");
}

#[test]
fn urls_and_addresses_are_found_in_data_alone() {
    let mentions = |body: Value| traced(body).mentions;
    let text = |text: &str| Scalar::Text(text).digest();
    for (body, mention) in [
        ("look at https://a.example/x?y=z.", "https://a.example/x?y=z"),
        ("<a href='http://a.example'>", "http://a.example"),
        ("[here](https://a.example)", "https://a.example"),
        ("mail me@a.example!", "me@a.example"),
        ("javascript:alert", "javascript:alert"),
        ("mailto:me@a.example", "mailto:me@a.example"),
        ("go to a.example", "a.example"),
        ("WWW.A.EXAMPLE/x", "WWW.A.EXAMPLE/x"),
        ("a\u{3002}example", "a\u{3002}example"),
        ("//a.example/x", "a.example/x"),
        ("site=a.example/x", "a.example/x"),
        ("*a.example*", "a.example*"),
        ("see x/a.example", "a.example"),
        ("a.xn--p1ai/x", "a.xn--p1ai/x"),
        ("a.ex\u{ad}ample", "a.ex\u{ad}ample"),
        ("a\u{200b}.example", "a\u{200b}.example"),
        ("https%3A%2F%2Fa.example", "https%3A%2F%2Fa.example"),
        ("HTTPS:a", "HTTPS:a"),
        ("203.0.113.7/x", "203.0.113.7/x"),
        ("at [2001:db8::1]", "2001:db8::1"),
    ] {
        assert_eq!(mentions(json!(body)), [text(mention)], "{body}");
        assert_eq!(mentions(json!([{"deep": body}])), [text(mention)], "{body}");
    }
    assert_eq!(mentions(json!({"https://a.example": 1})), [text("https://a.example")]);
    for body in ["at 10:30, e.g. 3.50 or so...", "a/b", "Dear Bob:", "yes.", "@", "1.2.3", "U.S."] {
        assert!(mentions(json!(body)).is_empty(), "{body}");
    }
}

#[test]
fn what_may_be_a_leaf_is_found_among_words() {
    let has = |body: Value, leaf: Value| {
        let Traced { phrases, .. } = traced(body);
        assert!(phrases.is_sorted_by(|a, b| a < b));
        phrases.contains(&scalar(&leaf).unwrap_or_default())
    };
    let body = "Dear Eve, the code (4711-0815) is for 12 Main Street, Springfield.\n  One whole line of more than eight words, as it was.  \nBye";
    for leaf in [
        "4711-0815",
        "12 Main Street, Springfield",
        "12 Main Street",
        "Eve",
        "(4711-0815)",
        body,
        "One whole line of more than eight words, as it was.",
    ] {
        assert!(has(json!(body), json!(leaf)), "{leaf}");
    }
    for (around, leaf) in [
        ("PIN=4711-0815;", "4711-0815"),
        ("https://x.org/?q=4711-0815&r", "4711-0815"),
        ("name:Ann Lee|x", "Ann Lee"),
        ("call +49 (0)30 12345.", "+49 (0)30 12345"),
        ("(bob.miller@mail.x.org)", "bob.miller@mail.x.org"),
        ("DE02 1203 0000 0000 2020 51!", "DE02 1203 0000 0000 2020 51"),
        ("\u{201e}geheim\u{201c}", "geheim"),
        ("tel:+4917012345", "+4917012345"),
        ("\"hunter2!\"", "hunter2!"),
        ("key=#hunter2!;", "#hunter2!"),
    ] {
        assert!(has(json!(around), json!(leaf)), "{leaf}");
    }
    assert!(!has(json!("14711-0815"), json!("4711-0815")) && !has(json!("4711-08155"), json!("4711-0815")));
    for part in ["471", "Main Stree", "ain", ""] {
        assert!(!has(json!(body), json!(part)), "{part}");
    }
    assert!(
        has(json!(4711), json!(4711))
            && has(json!(4711), json!("4711"))
            && has(json!("pin 4711"), json!(4711))
    );
    let written = serde_json::from_str("4.711e3").unwrap_or_default();
    assert!(has(written, json!(4711)));
    assert!(has(json!("1234.50"), json!(1234.5)) && has(json!({"4711-0815": 1}), json!("4711-0815")));
    assert!(!has(json!("x"), json!("https://control.example")), "control arguments are no data");
    assert!(
        !traced(json!("short")).cut
            && traced(json!("some word after the other ".repeat(1_000).as_str())).arguments.len() == 2
    );
    let long: String = (0..4_000).map(|i| format!("w{i} ")).collect();
    assert!(traced(json!(long)).cut);
}

fn selected(selector: &str) -> Result<Source, PlanError> {
    let call = PlannedCall::of("pay").unwrap_or_else(|e| panic!("{e}")).from_read("to", selector);
    Ok(Plan::default().then(call).slots()?.remove(0).arguments.remove(0).1)
}

#[test]
fn selectors_pin_every_list() {
    let check = |text: &str, pointer: &str, keys: &[(&str, u32, Value)]| {
        let Source::Leaf(selector) = selected(text).unwrap_or_else(|e| panic!("{e}")) else {
            panic!("{text}")
        };
        assert_eq!(selector.pointer, PointerId::of(pointer), "{text}");
        assert_eq!(selector.elements, PointerId::of(&format!("{pointer}/*")), "{text}");
        let found: Vec<_> =
            selector.keys.iter().map(|key| (key.pointer, key.depth, Some(key.value))).collect();
        let expected: Vec<_> = keys
            .iter()
            .map(|(pointer, depth, value)| (PointerId::of(pointer), *depth, scalar(value)))
            .collect();
        assert_eq!(found, expected, "{text}");
    };
    check("contacts[name='Bob'].email", "/*/email", &[("/*/name", 1, json!("Bob"))]);
    check("me", "", &[]);
    check("me.address.city", "/address/city", &[]);
    check("x['any / key*'].y", "/any ~1 key~2/y", &[]);
    check("x[n=1.0].y", "/*/y", &[("/*/n", 1, json!(1))]);
    check(
        "x.a[k='it''s'].b[id=3].c",
        "/a/*/b/*/c",
        &[("/a/*/k", 1, json!("it's")), ("/a/*/b/*/id", 2, json!(3))],
    );
    for (text, at) in [
        ("", 0),
        ("[a='b']", 0),
        ("x[0].y", 3),
        ("x[*].y", 2),
        ("x[a=b].y", 4),
        ("x[a='b'", 7),
        ("x.", 2),
        ("x..y", 2),
        ("x y", 1),
        ("x[a='b].y", 9),
        ("x['a'y", 5),
        ("x[a={}]", 4),
    ] {
        match selected(text) {
            Err(PlanError::Selector { at: found, .. }) => assert_eq!(found, at, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn plans_are_read_as_they_are_written() {
    let text = r#"{"slots": [
        {"name": "contacts", "tool": "contacts.list"},
        {"tool": "pay", "times": 2, "most": {"amount": "50", "currency": "EUR"}, "arguments": {
            "to": {"read": "contacts[name='Bob'].iban"}, "cc": {"list": []}, "who": "person", "n": {"literal": 3}}}
    ]}"#;
    let plan: Plan = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}"));
    let slots = plan.slots().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((slots[0].times, slots[1].times, slots[1].arguments.len()), (1, 2, 4));
    assert_eq!(plan.slots[1].arguments["who"], PlannedSource::Person);
    let again: Plan =
        serde_json::from_value(serde_json::to_value(&plan).unwrap_or_default()).unwrap_or_default();
    assert_eq!(again, plan);
    for wrong in [
        r#"{"slots": [{"tool": "pay", "argument": {}}]}"#,
        r#"{"slots": [{"tool": "pay", "arguments": {"to": {"leaf": "x"}}}]}"#,
        r#"{"slots": [{"tool": "p y"}]}"#,
    ] {
        assert!(serde_json::from_str::<Plan>(wrong).is_err(), "{wrong}");
    }
    let of = |source| {
        Plan::default()
            .then(PlannedCall::of("pay").unwrap_or_else(|e| panic!("{e}")).bound("to", source))
            .slots()
    };
    assert!(matches!(of(PlannedSource::Literal(json!({}))), Err(PlanError::Literal(_))));
    let dotted = PlannedCall::of("a").and_then(|call| call.named("a.b")).unwrap_or_else(|e| panic!("{e}"));
    assert!(matches!(Plan::default().then(dotted).slots(), Err(PlanError::Name(_))));
}
