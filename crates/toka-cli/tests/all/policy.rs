//! Policies and refusals, explained.

use crate::toka::{Place, text};

const RULES: &str = r#"
[[policy.rules]]
name = "stripe"
labels = ["secret:stripe"]
to = ["tool:http.post(host=api.stripe.com)"]
verdict = "allow"

[[policy.rules]]
name = "shell"
to = ["tool:shell.**"]
verdict = "ask"
"#;

#[test]
fn rules_that_do_nothing_are_found() {
    let place = Place::new();
    place.write("a.toml", RULES);
    assert!(place.ok("policy check --config a.toml").stdout.starts_with("ok, 2 rules"));
    let nothing = "[[policy.rules]]\nname = \"web\"\nlabels = [\"untrusted:web\"]\nsinks = [\"write\"]\nverdict = \"ask\"\n";
    place.write("b.toml", format!("{RULES}{nothing}"));
    let ran = place.run("policy check --config b.toml");
    assert_eq!(
        (ran.code, &*ran.stdout),
        (Some(1), "rule 'web' does nothing: what it says is said by 'default/untrusted'\n")
    );
    let checked: serde_json::Value =
        serde_json::from_str(&place.run("policy check --config b.toml --json").stdout).expect("one object");
    assert_eq!(checked["findings"][0]["fault"], "inert", "{checked}");
    assert_eq!((&checked["ok"], &checked["rules"]), (&false.into(), &3.into()));
    place.write("c.toml", "[[policy.rules]]\nname = \"a\"\nverdict = \"alow\"\n");
    let ran = place.run("policy check --config c.toml");
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("c.toml:3:11: ") && ran.stderr.contains("did you mean 'allow'?"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_decision_is_explained_with_a_way_out_that_works() {
    let place = Place::new();
    place.write("a.toml", RULES);
    let explain = |rest: &str| {
        let line = format!("policy explain {rest} --json");
        serde_json::from_str::<serde_json::Value>(&place.ok(&line).stdout).expect("one object")
    };
    let call = "tool:http.post(host=api.stripe.com)";
    let said = explain(&format!("{call} --label secret:stripe --config a.toml"));
    assert_eq!((&said["verdict"], &said["way_out"]), (&"allow".into(), &"none".into()), "{said}");
    let said = explain(&format!("{call} --label secret:stripe --label untrusted:web --config a.toml"));
    assert_eq!(said["verdict"], "ask");
    assert_eq!(said["reasons"][2]["rules"][0], "default/untrusted", "{said}");
    assert_eq!(explain(&format!("{call} --label secret:stripe"))["verdict"], "deny", "nothing is configured");
    assert_eq!(explain(&format!("{call} --label secret:stripe --sink none"))["verdict"], "allow");

    // What is printed for people can be put into the configuration as it is.
    let shown = place.ok("policy explain tool:shell.run(n=3) --label secret:x --config a.toml").stdout;
    assert!(shown.starts_with("deny: tool:shell.run(n=3), sink external\n"), "{shown}");
    let rules = shown.split_once("can be said:\n").expect("a way out").1;
    place.write("b.toml", format!("{RULES}{rules}"));
    let said = explain("tool:shell.run(n=3) --label secret:x --config b.toml");
    assert_eq!(said["verdict"], "allow", "{shown}");
    assert_eq!(explain("tool:shell.run(n=4) --label secret:x --config b.toml")["verdict"], "deny");

    for (wrong, word) in [
        ("tool:*", "more than one call"),
        ("tool", "byte 4"),
        ("tool:t --label a,b", "is not a label"),
        ("tool:t --sink out", "none, write, external"),
        ("tool:t --at soon", "soon"),
    ] {
        let error = place.fails(2, &format!("policy explain {wrong}"));
        assert!(text(&error["message"]).contains(word), "{wrong}: {error}");
    }
}

#[test]
fn a_refusal_is_explained_with_what_would_have_allowed_it() {
    let place = Place::new();
    let explained = |named: &str| {
        let line = format!("cap explain {named} --json");
        serde_json::from_str::<serde_json::Value>(&place.ok(&line).stdout).expect("one object")
    };
    let bare = explained("limit.size");
    assert!(
        text(&bare["meaning"]).contains("more bytes") && bare["refusals"] == serde_json::json!([]),
        "{bare}"
    );
    place.write("docs/a.md", "# A\n\ntext\n");
    place.write("notes/b.md", "# B\n\ntext\n");
    place.write(
        "agents.toml",
        "[[agents]]\nname = \"IndexerAgent\"\nscan_path = \".\"\ngrant = [\"tool:fs.list\", \"tool:fs.read(path=docs/**)\", \"event:emit\", \"task:schedule\"]\n",
    );
    place.ok("run agents.toml --once");
    let said = explained("capability.missing");
    let refusals = said["refusals"].as_array().expect("a list");
    let about_b = refusals
        .iter()
        .find(|refusal| refusal["argument"] == "notes/b.md")
        .unwrap_or_else(|| panic!("{said}"));
    assert_eq!(about_b["needed"], "tool:fs.read(path=notes/b.md)", "{about_b}");
    assert_eq!(about_b["nearest"], "tool:fs.read(path=docs/**)");
    assert_eq!(about_b["allowed_now"], false);
    let one = explained(&text(&about_b["event"]));
    assert_eq!((&one["refusals"][0], &one["code"]), (about_b, &"capability.missing".into()));
    let shown = place.ok("cap explain capability.missing").stdout;
    assert!(shown.contains("\n  needed: tool:fs.read(path=notes/b.md)\n"), "{shown}");
    let error = place.fails(2, "cap explain capability.mising");
    assert!(text(&error["hint"]).contains("capability.missing"), "{error}");
    assert_eq!(place.fails(1, "cap explain abcdef0123")["code"], "unknown");
}

#[test]
fn a_limit_that_is_reached_is_explained_with_when_there_is_room_again() {
    for (limit, code) in [("uses=1", "capability.uses"), ("rate=1/day", "capability.rate")] {
        let place = Place::new();
        place.write("docs/a.md", "# A\n\ntext\n");
        place.write("docs/b.md", "# B\n\ntext\n");
        let agent = format!(
            "[[agents]]\nname = \"IndexerAgent\"\nscan_path = \".\"\ngrant = [\"tool:fs.list\", \"tool:fs.read(path=docs/**,{limit})\", \"event:emit\", \"task:schedule\"]\n"
        );
        place.write("agents.toml", agent);
        place.ok("run agents.toml --once");
        let line = format!("cap explain {code}");
        let said: serde_json::Value =
            serde_json::from_str(&place.ok(&format!("{line} --json")).stdout).expect("one object");
        let refusal = &said["refusals"][0];
        assert_eq!(refusal["nearest"], format!("tool:fs.read(path=docs/**,{limit})"), "{said}");
        assert!(text(&refusal["rule"]).contains("0 left"), "{said}");
        assert_eq!((&refusal["allowed_now"], &refusal["needed"]), (&false.into(), &serde_json::Value::Null));
        let shown = place.ok(&line).stdout;
        if limit == "uses=1" {
            assert_eq!(refusal["allowed_from"], serde_json::Value::Null);
            assert!(
                shown.contains("\n  allowed again: never, under the grant that the agent has now\n"),
                "{shown}"
            );
        } else {
            let from = text(&refusal["allowed_from"]);
            assert!(from.ends_with("T00:00:00.000000Z"), "{from}");
            assert!(shown.contains(&format!("\n  allowed again: {from}\n")), "{shown}");
        }
    }
}

#[test]
fn without_a_configuration_the_rules_of_the_vault_are_looked_at() {
    let place = Place::new();
    place.ok("init");
    let rules = serde_json::json!([{
        "name": "shell", "labels": [], "sinks": [], "to": ["tool:shell.**"], "verdict": "deny",
    }]);
    place.write("set.json", serde_json::json!({"op": "policy.set", "rules": rules}).to_string());
    place.ok("op submit set.json");
    assert!(place.ok("policy check").stdout.starts_with("ok, 1 rule "));
    assert!(place.ok("policy explain tool:shell.run").stdout.starts_with("deny: "));
    place.write("a.toml", RULES);
    assert!(place.ok("policy explain tool:shell.run --config a.toml").stdout.starts_with("ask: "));
    let labelled = place.fails(1, "policy explain tool:t --because 0123456789");
    assert_eq!(labelled["code"], "unknown");
}
