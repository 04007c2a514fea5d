//! `toka vault fork`, and looking at a log other than `main`.

use crate::toka::{Place, text};

#[test]
fn a_fork_is_read_like_any_log() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let main = place.answer("status");
    let events = place.list("events list --from 0 --limit 1000");
    let at = &events[events.len() / 2];
    let (id, seq) = (text(&at["id"]), at["seq"].as_u64().unwrap());

    let forked = place.answer(&format!("vault fork {}", &id[..12]));
    let name = text(&forked["log"]);
    assert_eq!(name, format!("fork-{}", &id[..8]));
    assert_eq!((&forked["base"]["log"], &forked["base"]["id"]), (&"main".into(), &at["id"]));
    assert_eq!((&forked["base"]["seq"], &forked["event"]["seq"]), (&at["seq"], &(seq + 1).into()));

    // The base is as it was.
    let after = place.answer("status");
    for field in ["events", "root", "fold", "world"] {
        assert_eq!(after[field], main[field], "{field}");
    }
    let status = place.answer(&format!("status --log {name}"));
    assert_eq!((&status["log"], &status["events"]), (&name.as_str().into(), &(seq + 2).into()));
    assert_eq!(status["base"], serde_json::json!({ "log": "main", "seq": seq }));
    assert_eq!(status["logs"], serde_json::json!(["main", name]));
    let own = place.list(&format!("events list --from 0 --limit 1000 --log {name}"));
    assert_eq!(own.len() as u64, seq + 2);
    let ids = |events: &[serde_json::Value]| events.iter().map(|e| text(&e["id"])).collect::<Vec<_>>();
    assert_eq!(ids(&own)[..own.len() - 1], ids(&events)[..own.len() - 1]);
    let last = own.last().unwrap();
    assert_eq!((&last["kind"], &last["author"]), (&"log.forked".into(), &"operator".into()));
    assert_eq!((&last["facts"]["base"], &last["facts"]["seq"]), (&"main".into(), &at["seq"]));
    assert_eq!((&last["facts"]["id"], &last["log"]), (&at["id"], &name.as_str().into()));

    // An event that both have is shown in the log that was asked for, with the children it has there.
    let children = |log: &str| {
        let shown = place.answer_of(&format!("events show {id} {log}"));
        shown["children"].as_array().unwrap().iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(children(&format!("--log {name}")), [text(&forked["event"]["id"])]);
    assert!(!children("").contains(&text(&forked["event"]["id"])));
    let later = text(&events.last().unwrap()["id"]);
    assert_eq!(place.fails(1, &format!("events show {later} --log {name}"))["code"], "unknown");

    let replayed = place.answer(&format!("replay --log {name}"));
    assert_eq!(replayed["matches"], true);
    assert_eq!((&replayed["fold"], &replayed["events"]), (&status["fold"], &status["events"]));
    let verified = place.answer(&format!("verify --log {name}"));
    assert_eq!((&verified["ok"], &verified["root"]), (&true.into(), &status["root"]));
    assert_eq!(place.answer("verify")["root"], main["root"]);
    place.ok(&format!("agents list --log {name}"));

    // A second one, of the fork, and with a name.
    let again = place.answer(&format!("vault fork {id}"));
    assert_eq!(text(&again["log"]), format!("{name}-2"));
    assert_ne!(again["event"]["id"], forked["event"]["id"], "another nonce");
    let of_fork = text(&forked["event"]["id"]);
    let named = place.answer(&format!("vault fork {of_fork} --name other/way --log {name}"));
    assert_eq!((&named["log"], &named["base"]["log"]), (&"other/way".into(), &name.as_str().into()));
    assert!(
        place.fails(1, &format!("vault fork {id} --name other/way"))["message"]
            .to_string()
            .contains("other/way")
    );
    // The indexer goes on in `main`.
    place.write("docs/new.md", "# New\n\nSomething else.\n");
    place.ok("up docs --once");
    assert_eq!(place.answer("verify")["ok"], true);
    assert_eq!(place.answer(&format!("status --log {name}"))["root"], status["root"]);
}

#[test]
fn what_cannot_be_is_said() {
    let place = Place::with_docs();
    assert_eq!(place.fails(2, "vault fork abcdef --vault none")["code"], "absent");
    assert!(!place.path().join("none").exists(), "a vault that is not there is not made");
    place.ok("up docs --once");
    let id = text(&place.list("events list --limit 1")[0]["id"]);
    assert_eq!(place.fails(1, "vault fork 0123456789abcdef")["code"], "unknown");
    assert_eq!(place.fails(2, "vault fork xyz")["code"], "usage");
    assert_eq!(place.fails(2, &format!("vault fork {id} --name a*b"))["code"], "usage");
    assert_eq!(place.fails(1, "status --log nothing")["code"], "unknown");
    assert_eq!(place.fails(2, "status --log a*b")["code"], "usage");
    for command in ["up --once", "search x", "intents list", "config check", "init"] {
        let error = place.fails(2, &format!("{command} --log main"));
        assert_eq!(error["code"], "usage", "{command}");
    }
}
