//! Ruling: grants, people, approvals and operations, on a vault that nobody runs on and through the socket of one that runs.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use toka_runtime::config::{RuntimeConfig, VaultConfig};
use toka_runtime::{EntityId, Runtime};
use toka_types::operation::{Authority, Cause, Envelope, GovernedArgument, PlanRequest, ToolRequest};
use toka_types::plan::{Scalar, Slot, Source, Traced, Value as PlannedValue};
use toka_types::{EffectClass, EventId, Name, Operation, Payload, Timestamp};

use crate::toka::{Place, Ran, text};

pub(crate) fn submit(place: &Place, operation: &Value) -> String {
    place.write("operation.json", operation.to_string());
    "op submit operation.json".to_owned()
}

/// Waits until the runtime that was started listens.
pub(crate) fn listening(place: &Place) {
    let (socket, until) = (place.vault().join("socket"), Instant::now() + Duration::from_secs(30));
    while !socket.exists() {
        assert!(Instant::now() < until, "nobody listens");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn call(arguments: &str) -> ToolRequest {
    ToolRequest {
        tool: Name::new("pay").expect("a name"),
        version: "1.0.0".to_owned(),
        class: EffectClass::Write,
        sink: toka_types::Sink::External,
        arguments: Payload::new(arguments.as_bytes().to_vec()),
        governed: vec![("to".to_owned(), GovernedArgument::Text("ann".to_owned()))],
        traced: None,
        places: Default::default(),
        bounds: Default::default(),
    }
}

/// Lets the agent `payer` act on the vault, as its own program would.
pub(crate) fn act(place: &Place, cause: Option<&str>, operation: Operation) -> EventId {
    let config = RuntimeConfig { vault: Some(VaultConfig::new(place.vault())), ..RuntimeConfig::default() };
    let executor = tokio::runtime::Runtime::new().expect("threads");
    executor.block_on(async {
        let runtime = Runtime::builder(config).build().await.expect("the vault is free");
        let origin = EntityId::named("payer");
        let grant =
            runtime.world(move |world| world.agent(origin).map(|agent| agent.grant)).await.expect("a world");
        let authority = Authority::Grant(grant.expect("the agent is there"));
        let named = |id: &str| Cause { id: id.parse().expect("an id"), labels: Default::default() };
        let causes = cause.map(named).into_iter().collect();
        let asked = Envelope { origin, authority, op_id: None, causes, operation };
        let events = runtime.submit(asked).await.expect("allowed");
        runtime.stop().await.expect("the vault closes");
        events.first().expect("an event").id
    })
}

#[test]
fn a_clock_that_stands_behind_the_log_is_confirmed_from_the_command_line() {
    let place = Place::new();
    place.ok("init");
    let config = RuntimeConfig { vault: Some(VaultConfig::new(place.vault())), ..RuntimeConfig::default() };
    let executor = tokio::runtime::Runtime::new().expect("threads");
    executor.block_on(async {
        let ahead = Duration::from_secs(2 * 3600);
        let now = toka_runtime::clock::Clock::now(&toka_runtime::clock::SystemClock).saturating_add(ahead);
        let clock = std::sync::Arc::new(toka_runtime::testing::SteppedClock::new(now));
        let runtime = Runtime::builder(config).clock(clock).build().await.expect("the vault is free");
        runtime.emit("note", &1).await.expect("recorded");
        runtime.stop().await.expect("the vault closes");
    });
    assert_eq!(place.answer("status")["clock"], Value::Null);
    let note = json!({"op": "event.emit", "kind": "note", "content": 1});
    place.ok(&submit(&place, &note));
    assert_ne!(place.answer("status")["clock"], Value::Null);
    assert!(place.ok("status").stdout.contains("\nclock    2"), "{}", place.ok("status").stdout);
    let kinds = |place: &Place| {
        place.list("events list --kind clock").iter().map(|event| text(&event["kind"])).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&place), ["clock.jumped"]);
    let reset = json!({"op": "clock.reset"});
    assert_eq!(place.answer(&submit(&place, &reset))["events"][0]["kind"], "clock.reset");
    assert_eq!(place.answer("status")["clock"], Value::Null);
    let error = place.fails(3, &submit(&place, &reset));
    assert!(text(&error["message"]).contains("clock.runs"), "{error}");
    place.ok(&submit(&place, &note));
    assert_eq!(kinds(&place), ["clock.jumped", "clock.reset"], "it is confirmed");
    let times: Vec<String> = place.list("events list").iter().map(|event| text(&event["at"])).collect();
    assert!(times.is_sorted() && times.len() == 7, "the time of a log does not go back: {times:?}");
}

#[test]
fn bounds_and_tools_enter_the_log_from_the_command_line() {
    let place = Place::new();
    place.ok("init");
    let few = json!({"op": "log.limit", "agents": 1});
    assert_eq!(place.answer(&submit(&place, &few))["events"][0]["kind"], "log.limited");
    place.ok("agents create one --behaviour Logger");
    let error = place.fails(3, "agents create two --behaviour Logger");
    assert!(text(&error["message"]).contains("at most 1 are allowed"), "{error}");
    let wrong = json!({"op": "log.limit", "agent": 1});
    assert!(
        text(&place.fails(2, &submit(&place, &wrong))["message"]).contains("agent"),
        "a misspelt bound is no bound"
    );
    place.ok(&submit(&place, &json!({"op": "log.limit"})));
    place.ok("agents create two --behaviour Logger");
    let tool = json!({
        "op": "manifest.declare", "tool": "mail.send", "version": "1.0.0", "class": "write", "sink": "external",
        "labels": [], "control": ["to"], "manifest": "00".repeat(32),
    });
    assert_eq!(place.answer(&submit(&place, &tool))["events"][0]["kind"], "tool.declared");
    assert_eq!(place.answer("replay")["matches"], true);
}

#[test]
fn what_rules_a_vault_that_nobody_runs_on() {
    let place = Place::new();
    place.ok("init");
    let made = place
        .answer("agents create bot --behaviour Logger --grant event:emit(kind=note.*) --delegate event:emit");
    assert_eq!(made["events"][0]["kind"], "agent.spawned");
    let agents = place.list("agents list");
    assert_eq!(
        (text(&agents[0]["name"]), text(&agents[0]["state"])),
        ("bot".to_owned(), "running".to_owned())
    );
    let grants = place.list("cap tree");
    assert_eq!(grants.len(), 2);
    assert_eq!((&grants[0]["parent"], &grants[1]["parent"]), (&Value::Null, &json!(1)));
    assert_eq!(grants[1]["use"], json!(["event:emit(kind=note.*)"]));
    assert_eq!(grants[1]["subject"], "bot");
    place.ok("cap revoke 2");
    assert_eq!(place.list("cap tree")[1]["revoked"], json!(true));
    assert_eq!(text(&place.fails(3, "cap revoke 99")["code"]), "denied");
    let person = json!({"op": "user.create", "name": "ann", "role": "member", "uses": ["**"]});
    assert_eq!(place.answer(&submit(&place, &person))["events"][0]["kind"], "user.created");
    let error = place.fails(3, &submit(&place, &person));
    assert!(text(&error["message"]).contains("user.exists"), "{error}");
    place.ok(&submit(&place, &json!({"op": "user.assign", "user": "ann", "role": "observer"})));
    let noted = json!({"op": "event.emit", "kind": "note.taken", "content": {"text": "hello"}, "labels": ["from:me"]});
    place.ok(&submit(&place, &noted));
    let events = place.list("events list --kind note");
    assert_eq!((&events[0]["content"]["text"], &events[0]["labels"]), (&json!("hello"), &json!(["from:me"])));
    assert_eq!(place.answer("replay")["matches"], json!(true));
}

#[test]
fn a_token_is_issued_narrowed_and_checked() {
    let place = Place::new();
    place.ok("init");
    place.ok("agents create bot --behaviour Logger --grant event:emit --grant tool:fs.read");
    let issued = place.answer("cap issue bot --only event:emit(kind=note.**)");
    let token = text(&issued["token"]);
    assert_eq!((text(&issued["scheme"]), &issued["grant"]), ("biscuit".to_owned(), &json!(2)));
    // Standard output is the token, and nothing else.
    let plain = place.ok("cap issue bot").stdout;
    assert!(plain.ends_with('\n') && !plain.trim_end().contains(char::is_whitespace), "{plain}");

    let checked = place.answer(&format!("cap verify {token}"));
    assert_eq!((&checked["ok"], &checked["subject"]), (&json!(true), &json!("bot")));
    assert_eq!(checked["use"], json!(["event:emit", "tool:fs.read"]));
    assert_eq!(checked["only"], json!([["event:emit(kind=note.**)"]]));

    // Narrowing asks neither the vault nor the operator.
    let key = "ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d1";
    let elsewhere = Place::new();
    let narrow =
        format!("cap attenuate {token} --only event:emit(kind=note.a) --expires 2099-01-01 --holder {key}");
    let narrow = text(&elsewhere.answer(&narrow)["token"]);
    let checked = place.answer(&format!("cap verify {narrow}"));
    assert_eq!(checked["only"], json!([["event:emit(kind=note.**)"], ["event:emit(kind=note.a)"]]));
    assert_eq!((&checked["holder"], &checked["expires"]), (&json!(key), &issued["expires"]));
    let shown = elsewhere.answer(&format!("cap show {narrow}"));
    assert_eq!(
        (&shown["audience"], &shown["only"]),
        (&issued["audience"], &json!(["event:emit(kind=note.**)"]))
    );
    assert_eq!(shown["blocks"][0]["only"], json!(["event:emit(kind=note.a)"]));
    let shown = elsewhere.ok(&format!("cap show {narrow}")).stdout;
    assert!(shown.contains("nothing of what follows was checked") && shown.contains(key), "{shown}");
    let wanting = text(&place.answer(&format!("cap attenuate {token} --require {key}"))["token"]);

    let refused = |code: i32, arguments: &str, what: &str| {
        let error = place.fails(code, arguments);
        assert!(text(&error["message"]).contains(what), "{arguments}: {error}");
    };
    refused(3, &format!("cap verify {wanting}"), "token-third-party");
    refused(3, "cap verify nonsense!", "token-malformed");
    refused(2, "cap show nonsense!", "token-malformed");
    refused(2, &format!("cap attenuate {token}"), "token-cannot-narrow");
    refused(2, &format!("cap attenuate {token} --holder 00"), "64 lower-case hex digits");
    refused(2, &format!("cap attenuate {token} --only nonsense"), "not a capability");
    refused(2, "cap issue bot --ttl 86401", "at most 86400");
    refused(1, "cap issue nobody", "nobody is called 'nobody'");
    // Another vault of the same operator is another audience; another operator has another key.
    place.ok("init --vault other");
    refused(1, "cap issue operator --vault other", "has no events");
    place.ok("agents create bot --behaviour Logger --vault other");
    refused(3, &format!("cap verify {token} --vault other"), "token-audience");
    elsewhere.ok("init");
    elsewhere.ok("agents create bot --behaviour Logger");
    let error = elsewhere.fails(3, &format!("cap verify {token}"));
    assert!(text(&error["message"]).contains("token-unknown-key"), "{error}");

    place.ok("cap revoke 2");
    refused(3, &format!("cap verify {token}"), "grant.revoked");
}

#[test]
fn what_is_no_operation_is_refused_before_anything_happens() {
    let place = Place::new();
    place.ok("init");
    let before = place.answer("status")["events"].clone();
    for wrong in [
        r#"{"op": "agent.stop", "agent": "a", "agent": "b"}"#,
        r#"{"op": "agent.stop", "agent": "a", "more": 1}"#,
        r#"{"op": "agent.stop"} {}"#,
        r#"{"op": "log.open"}"#,
        r#"{"op": "grant.revoke", "grant": -1}"#,
        r#"{"op": "user.create", "name": "ann", "role": "king"}"#,
        r#"{"op": "agent.spawn", "name": "a", "behaviour": "Logger", "uses": ["tool:"]}"#,
        "[]",
        "",
    ] {
        place.write("operation.json", wrong);
        place.fails(2, "op submit operation.json");
    }
    place.fails(2, "op submit nothing.json");
    place.fails(2, "agents create bot --behaviour Logger --grant nonsense");
    place.fails(2, "agents create bot --behaviour Logger --expires tomorrow");
    assert_eq!(place.answer("status")["events"], before);
}

#[test]
fn a_running_vault_is_ruled_through_its_socket() {
    let place = Place::with_docs();
    let mut running = place.start("up docs");
    listening(&place);
    let socket = place.vault().join("socket");
    let data = std::fs::symlink_metadata(&socket).expect("the socket");
    assert!(data.file_type().is_socket());
    assert_eq!(data.permissions().mode() & 0o777, 0o600);
    place.ok("agents create bot --behaviour Logger --grant event:emit");
    place.ok(&submit(&place, &json!({"op": "agent.suspend", "agent": "bot"})));
    let bots: Vec<Value> = place.list("agents list").into_iter().filter(|row| row["name"] == "bot").collect();
    assert_eq!(bots[0]["state"], "suspended");
    assert_eq!(text(&place.fails(3, "cap revoke 99")["code"]), "denied");
    rustix::process::kill_process(rustix::process::Pid::from_child(&running), rustix::process::Signal::TERM)
        .expect("it runs");
    assert!(running.wait().expect("it ends").success());
    assert!(!socket.exists());
    place.ok(&submit(&place, &json!({"op": "agent.resume", "agent": "bot"})));
    assert!(place.answer("verify")["ok"].as_bool().expect("a verdict"));
    // What a runtime that was killed left behind is in nobody's way.
    std::os::unix::net::UnixListener::bind(&socket).map(drop).expect("a stale socket");
    place.ok(&submit(&place, &json!({"op": "agent.suspend", "agent": "bot"})));
    let mut again = place.start("up docs --once");
    assert!(again.wait().expect("it ends").success());
}

#[test]
fn a_person_allows_a_call_and_why_tells_who() {
    let place = Place::new();
    place.ok("init");
    place.ok("agents create payer --behaviour Logger --grant tool:pay --grant event:emit");
    let asked = place
        .answer(&submit(&place, &json!({"op": "event.emit", "kind": "request.made", "content": "pay ann"})));
    let request = text(&asked["events"][0]["id"]);
    assert!(place.list("approvals list").is_empty());
    let until = Timestamp(i64::from(u32::MAX) * 1_000_000);
    let soon = Timestamp(until.0.min(now() + 3_600_000_000));
    let wanted = |arguments: &str| Operation::RequestApproval { request: call(arguments), expires: soon };
    let waiting = act(&place, Some(&request), wanted(r#"{"to":"ann"}"#)).to_string();
    let rows = place.list("approvals list");
    assert_eq!(rows.len(), 1);
    assert_eq!((text(&rows[0]["id"]), text(&rows[0]["agent"])), (waiting.clone(), "payer".to_owned()));
    assert_eq!((&rows[0]["operation"], &rows[0]["arguments"]), (&json!("tool:pay"), &json!({"to": "ann"})));
    assert_eq!(text(&rows[0]["cause"]), request);
    assert_eq!(rows[0]["scopes"], json!(["allow-once", "allow-arguments", "allow-tool"]));
    let allowed = place.answer(&format!("approvals allow {}", &waiting[..12]));
    assert_eq!(allowed["verdict"], "allow-once");
    assert!(place.list("approvals list").is_empty());
    assert!(
        text(&place.fails(3, &format!("approvals deny {waiting}"))["message"]).contains("approval.decided")
    );
    let act_id = act(&place, Some(&waiting), Operation::Request(call(r#"{"to":"ann"}"#))).to_string();
    let why = place.answer(&format!("why {}", &act_id[..12]));
    let chain = why["chain"].as_array().expect("a chain");
    let kinds: Vec<String> = chain.iter().map(|link| text(&link["kind"])).collect();
    assert_eq!(kinds, ["tool.requested", "approval.requested", "request.made"]);
    assert_eq!((&chain[0]["author"], &chain[0]["approver"]), (&json!("payer"), &json!("operator")));
    assert_eq!((&chain[0]["grant"], &chain[2]["grant"]), (&json!(2), &json!(1)));
    assert_eq!(chain[2]["author"], "operator");
    place.fails(1, "why 0123456789ab");
}

#[test]
fn a_planned_call_leads_back_over_its_slot_to_the_request() {
    let place = Place::new();
    place.ok("init");
    place.ok("agents create payer --behaviour Logger --grant tool:fs.read --grant plan:commit");
    let plan = json!({"op": "plan.commit", "agent": "payer", "slots": [
        {"tool": "fs.list", "arguments": {"path": {"literal": "docs"}}},
        {"tool": "fs.read", "arguments": {"path": {"literal": "docs/a.md"}}},
    ]});
    let refused = |operation: &Value, code: &str| {
        let error = place.fails(3, &submit(&place, operation));
        assert!(text(&error["message"]).contains(code), "{error}");
    };
    refused(&plan, "plan.no-request");
    let ask = json!({"op": "agent.instruct", "agent": "payer", "request": "Sum up docs/a.md (see docs)."});
    let request = text(&place.answer(&submit(&place, &ask))["events"][0]["id"]);
    let elsewhere = json!({"op": "plan.commit", "agent": "payer", "slots": [
        {"tool": "fs.read", "arguments": {"path": {"literal": "docs/b.md"}}}]});
    refused(&elsewhere, "plan.literal");
    refused(&json!({"op": "plan.commit", "agent": "payer", "slots": [{"tool": "fs.read"}]}), "plan.unbound");
    let slot = |tool: &str, path: &str| Slot {
        name: None,
        tool: Name::new(tool).expect("a name"),
        times: 1,
        most: None,
        arguments: vec![("path".to_owned(), Source::Literal(Scalar::Text(path).digest()))],
    };
    let own = PlanRequest {
        agent: EntityId::named("payer"),
        slots: vec![slot("fs.list", "docs"), slot("fs.read", "docs/a.md")],
        // The runtime knows better.
        control: Vec::new(),
        content: Payload::new(b"\xc0".to_vec()),
    };
    let committed = act(&place, None, Operation::CommitPlan(own)).to_string();
    refused(&plan, "plan.committed");
    let reading = |path: &str| {
        let arguments = vec![("path".to_owned(), PlannedValue::One(Scalar::Text(path).digest()))];
        let traced = Traced { arguments, control: vec!["path".to_owned()], ..Traced::default() };
        let (tool, traced) = (Name::new("fs.read").expect("a name"), Some(Box::new(traced)));
        let governed = vec![("path".to_owned(), GovernedArgument::Path(path.to_owned()))];
        ToolRequest { tool, traced, governed, ..call(&json!({ "path": path }).to_string()) }
    };
    let made = act(&place, None, Operation::Request(reading("docs/a.md"))).to_string();
    let chain = place.answer(&format!("why {made}"))["chain"].clone();
    let ids: Vec<String> =
        chain.as_array().expect("a chain").iter().map(|link| text(&link["event"])).collect();
    assert_eq!(ids, [made.clone(), committed.clone(), request]);
    assert_eq!(chain[0]["slot"], json!({"plan": committed, "slot": 1}));
    assert_eq!(chain[1]["slot"], Value::Null);
    let short = &committed[..12];
    assert_eq!(text(&chain[0]["summary"]), format!("fs.read (slot 1 of plan {short})"));
    assert_eq!(text(&chain[1]["summary"]), "fs.list, fs.read");
    assert_eq!(text(&chain[2]["summary"]), "Sum up docs/a.md (see docs).");
    let shown = place.list(&format!("events show {made}"));
    assert_eq!(shown[0]["facts"]["slot"]["plan"], json!(committed));
    // Used once; and what is asked about says why.
    act(&place, None, Operation::Request(reading("docs/a.md")));
    let waiting = place.list("approvals list");
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0]["because"], "plan.outside");
    assert_eq!(place.answer("replay")["matches"], json!(true));
}

pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_micros()).expect("some time yet")
}

#[test]
fn what_changes_a_vault_makes_none() {
    let place = Place::new();
    let note = submit(&place, &json!({"op": "event.emit", "kind": "note", "content": 1}));
    place.write("other/file", "this is no vault");
    for command in [
        "agents create clerk --behaviour Logger",
        "cap revoke 2",
        "cap issue operator",
        "cap renew token",
        "ledger mint 1USD --to operator",
        "approvals allow abcdef",
        &note,
        &format!("{note} --token token"),
    ] {
        for vault in ["nowhere", "other"] {
            let arguments = command.split(' ').map(|word| word.replace("1USD", "1 USD"));
            let arguments = arguments.chain(["--json", "--vault", vault].map(str::to_owned));
            let ran = Ran::of(place.command(arguments).output().expect("it runs"));
            assert_eq!((ran.code, &ran.error()["code"]), (Some(2), &json!("absent")), "{command}");
        }
    }
    assert!(!place.path().join("nowhere").exists() && !place.vault().exists());
    assert_eq!(std::fs::read_dir(place.path().join("other")).expect("it is there").count(), 1);
    place.ok("init");
    place.ok(&note);
    place.ok("vault export all.bundle");
    let error = place.fails(2, &format!("{note} --vault all.bundle"));
    assert!(text(&error["message"]).contains("is a bundle"), "{error}");
}

#[test]
fn a_refusal_names_its_code_and_every_code_is_explained() {
    let place = Place::new();
    place.ok("init");
    let error = place.fails(3, "cap revoke 1");
    assert_eq!((&error["code"], &error["denial"]), (&json!("denied"), &json!("agent.not-a-descendant")));
    let error = place.fails(3, "cap verify nothing");
    assert_eq!((&error["code"], &error["denial"]), (&json!("denied"), &json!("token-malformed")));
    let document = include_str!("../../../../docs/denials.md");
    let codes = document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let codes: Vec<&str> = codes.chain(["approval.expired", "approval.unattended"]).collect();
    assert!(codes.len() > 60, "{}", codes.len());
    for code in codes {
        let explained = place.answer(&format!("cap explain {code}"));
        assert!(!text(&explained["meaning"]).is_empty() && !text(&explained["way_out"]).is_empty(), "{code}");
    }
}
