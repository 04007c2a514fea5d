//! Calls of tools from the command line: what they give, with its labels, and what a person has to say before they are made.

use serde_json::{Value, json};

use crate::authority::{listening, submit};
use crate::toka::{Place, text};

fn call(place: &Place, tool: &str, arguments: Value) -> String {
    submit(place, &json!({"op": "tool.call", "tool": tool, "arguments": arguments}))
}

/// What a call gives, whoever makes it and wherever it is made.
fn outputs(place: &Place, with: &str) {
    let answer = |tool: &str, arguments: Value| {
        let answer = place.answer(&format!("{} {with}", call(place, tool, arguments)));
        let last = answer["events"].as_array().and_then(|events| events.last()).expect("an outcome").clone();
        assert_eq!(last["kind"], "tool.returned");
        assert_eq!(answer["output"]["labels"], last["labels"], "the labels of the outcome");
        answer["output"].clone()
    };
    let echoed = answer("echo", json!({"text": "good \u{1b}[31m morning"}));
    assert_eq!(echoed, json!({"status": "ok", "value": {"text": "good \u{1b}[31m morning"}}));
    // In words, for a terminal.
    let said = place.ok(&format!("{} {with}", call(place, "echo", json!({"text": "\u{1b}[31m"})))).stdout;
    assert!(said.ends_with("\n{\"text\":\"\\u001b[31m\"}\n"), "{said:?}");
    // A call that failed is recorded, answered, and no success.
    let ran =
        place.run(&format!("{} --json {with}", call(place, "fs.read", json!({"path": "docs/notes.txt"}))));
    assert_eq!((ran.code, &ran.error()["code"]), (Some(1), &json!("failed")), "{}", ran.stderr);
    let failed = &ran.answer()["output"];
    assert_eq!(failed["status"], "no-root", "whoever asks from outside has no folder");
    assert_eq!((failed["value"].is_null(), &failed["labels"]), (true, &json!(["untrusted:file"])));
    // Asked for again, it is answered with what is kept of it.
    let id = format!("--op-id {:032x}", with.len() + 1);
    for expected in [json!({"text": "again"}), json!({"text": "again"})] {
        let answer = place.answer(&format!("{} {id} {with}", call(place, "echo", json!({"text": "again"}))));
        assert_eq!(answer["output"]["value"], expected);
    }
}

#[test]
fn a_call_is_answered_with_what_it_gave() {
    let place = Place::new();
    place.write("docs/notes.txt", "one\ntwo\n");
    place.ok("init");
    place.ok("agents create bot --behaviour Logger --grant tool:**");
    outputs(&place, "");
    let token = text(&place.answer("cap issue bot")["token"]);
    let mut running = place.start("up docs");
    listening(&place);
    outputs(&place, "--no-input");
    outputs(&place, &format!("--token {token}"));
    rustix::process::kill_process(rustix::process::Pid::from_child(&running), rustix::process::Signal::TERM)
        .expect("it runs");
    assert!(running.wait().expect("it ends").success());
}

#[test]
fn a_call_that_a_person_asks_for_waits_for_a_word_and_is_made_once() {
    let place = Place::new();
    place.ok("init");
    let policy = json!({"op": "policy.set", "rules": [{"name": "e", "to": ["tool:echo"], "verdict": "ask"}]});
    place.ok(&submit(&place, &policy));
    for (name, role) in [("ann", "member"), ("dan", "admin")] {
        place.ok(&submit(&place, &json!({"op": "user.create", "name": name, "role": role, "uses": ["**"]})));
    }
    let token = |who: &str| text(&place.answer(&format!("cap issue {who}"))["token"]);
    let (ann, dan) = (token("ann"), token("dan"));
    let call = submit(&place, &json!({"op": "tool.call", "tool": "echo", "arguments": {"text": "hi"}}));
    let ask = |token: &str| match token {
        "" => call.clone(),
        token => format!("{call} --token {token}"),
    };
    for (asker, name) in [("", "operator"), (&ann[..], "ann")] {
        assert_eq!(place.fails(4, &ask(asker))["code"], "approval", "{name}");
        assert_eq!(place.fails(4, &format!("{} --no-input", ask(asker)))["code"], "approval", "{name}");
        let waiting = place.list("approvals list");
        assert_eq!(waiting.len(), 1, "asked for again it is the same question: {waiting:?}");
        assert_eq!((&waiting[0]["agent"], &waiting[0]["operation"]), (&json!(name), &json!("tool:echo")));
        let id = text(&waiting[0]["id"]);
        let decide = json!({"op": "approval.decide", "approval": id, "verdict": "allow-once"});
        place.write("decide.json", decide.to_string());
        if name == "ann" {
            let error = place.fails(3, &format!("op submit decide.json --token {ann}"));
            assert_eq!(error["denial"], "approval.self");
            place.ok(&format!("op submit decide.json --token {dan}"));
        } else {
            place.ok(&format!("approvals allow {id}"));
        }
        let made = place.answer(&ask(asker));
        let kinds: Vec<&Value> =
            made["events"].as_array().expect("events").iter().map(|e| &e["kind"]).collect();
        assert_eq!(kinds, ["tool.requested", "tool.returned"], "{name}");
        let chain = place.answer(&format!("why {}", text(&made["events"][1]["id"])));
        let approver = if name == "ann" { "dan" } else { "operator" };
        assert!(
            chain["chain"].as_array().expect("links").iter().any(|link| link["approver"] == approver),
            "{chain}"
        );
        assert_eq!(place.fails(4, &ask(asker))["code"], "approval", "{name}: it was allowed once");
        let id = text(&place.list("approvals list")[0]["id"]);
        place.ok(&format!("approvals deny {id}"));
        assert_eq!(place.fails(3, &ask(asker))["denial"], "approval.denied", "{name}");
    }
    assert_eq!(place.answer("replay")["matches"], true);
}

#[test]
fn what_is_asked_for_wrongly_is_told_in_the_words_of_whoever_asks() {
    let place = Place::new();
    place.ok("init");
    let fails = |code: i32, kind: &str, operation: Value, word: &str| {
        let error = place.fails(code, &submit(&place, &operation));
        assert!(error["code"] == kind && text(&error["message"]).contains(word), "{operation}: {error}");
    };
    let call = |tool: &str, more: Value| {
        let mut operation = json!({"op": "tool.call", "tool": tool});
        operation.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        operation
    };
    fails(1, "unknown", call("nope", json!({})), "no tool 'nope' here; there are: echo");
    fails(1, "unknown", call("echo", json!({"version": "9.0.0"})), "'echo ^9.0.0' here; there are: 1.0.0");
    fails(2, "usage", call("echo", json!({"version": "nine"})), "nine");
    fails(2, "usage", call("echo", json!({"arguments": {"txt": "x"}})), "text");
    fails(
        2,
        "usage",
        json!({"op": "ledger.mint", "to": "operator", "money": "1 USD"}),
        r#"{"amount": "0.50","#,
    );
    fails(3, "denied", json!({"op": "agent.stop", "agent": "nobody"}), "there is no agent 'nobody'");
    fails(3, "denied", json!({"op": "message.send", "to": "nobody", "message": 1}), "no agent 'nobody'");
    fails(3, "denied", json!({"op": "user.assign", "user": "nobody", "role": "admin"}), "'nobody'");
    fails(3, "denied", call("fs.read", json!({"arguments": {"path": "../x"}})), "'path' that is no path");
    let error = place.fails(2, "agents create late --behaviour Logger --expires 2020-01-01");
    assert!(text(&error["message"]).contains("is past"), "{error}");
    assert!(place.list("agents list").is_empty());
}

#[test]
fn a_call_with_a_price_is_paid_whatever_its_class() {
    let place = Place::new();
    place.ok("init");
    let mint = ["ledger", "mint", "10 USD", "--to", "operator"];
    assert!(place.command(mint).output().expect("it runs").status.success());
    for operation in [
        json!({"op": "ledger.open", "owner": "shop", "currency": "USD"}),
        json!({"op": "price.set", "item": "echo", "price":
            {"currency": "USD", "payee": "shop", "calls": {"amount": "0.40", "per": 1}}}),
    ] {
        place.ok(&submit(&place, &operation));
    }
    let create =
        ["agents", "create", "bot", "--behaviour", "Logger", "--grant", "tool:**", "--budget", "1 USD"];
    assert!(place.command(create).output().expect("it runs").status.success());
    let token = text(&place.answer("cap issue bot")["token"]);
    let echo = format!("{} --token {token}", call(&place, "echo", json!({"text": "x"})));
    let made = place.answer(&echo);
    let kinds: Vec<&Value> =
        made["events"].as_array().expect("events").iter().map(|event| &event["kind"]).collect();
    assert_eq!(
        (kinds[0], kinds.last()),
        (&json!("tool.requested"), Some(&&json!("tool.returned"))),
        "{made}"
    );
    let why = place.answer(&format!("why {}", text(&made["events"][0]["id"])));
    assert_eq!(why["chain"][0]["cost"], json!({"amount": "0.40", "currency": "USD"}), "{why}");
    place.ok(&echo);
    let error = place.fails(5, &echo);
    assert_eq!((&error["code"], &error["denial"]), (&json!("budget"), &json!("ledger.funds")));
    let accounts = place.list("ledger accounts");
    let of = |owner: &str| accounts.iter().find(|row| row["owner"] == owner).expect("an account").clone();
    assert_eq!(of("bot")["balance"]["amount"], "0.20");
    let spent: Vec<&Value> = accounts.iter().map(|row| &row["delegated"]["amount"]).collect();
    assert!(spent.contains(&&json!("0.80")), "it counts for the operator too: {accounts:?}");
    assert_eq!(place.answer("replay")["matches"], true);
}
