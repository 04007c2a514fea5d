//! Calls that a person has to allow, where nobody sits in front of the run: what the configuration says becomes of them.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::authority::submit;
use crate::toka::{Place, text};

fn configured(approvals: &str) -> Place {
    let place = Place::with_docs();
    place.write(
        "run.toml",
        format!(
            "[approvals]\n{approvals}\n\
             [[policy.rules]]\nname = \"reads\"\nto = [\"tool:fs.read\"]\nverdict = \"ask\"\n\
             [[agents]]\nname = \"IndexerAgent\"\nscan_path = \"docs\"\n"
        ),
    );
    place
}

#[test]
fn without_a_word_a_run_that_ends_by_itself_fails_and_the_question_stands() {
    let place = configured("");
    let error = place.fails(4, "run run.toml --once");
    assert_eq!(text(&error["code"]), "approval");
    let waiting = place.list("approvals list");
    assert!(!waiting.is_empty() && waiting.iter().all(|row| row["operation"] == "tool:fs.read"));
    // Once it is allowed, the same run goes through.
    let id = text(&waiting[0]["id"]);
    place.ok(&format!("approvals allow {id} --scope tool"));
    assert_eq!(place.answer("run run.toml --once")["files"], 5);
}

#[test]
fn a_person_decides_with_a_token_and_an_agent_does_not() {
    let place = configured("");
    place.fails(4, "run run.toml --once");
    let id = text(&place.list("approvals list")[0]["id"]);
    let person = json!({"op": "user.create", "name": "ann", "role": "member", "uses": ["approval:decide"]});
    place.ok(&submit(&place, &person));
    place.ok("agents create bot --behaviour Logger --grant approval:decide");
    let verdict = json!({"op": "approval.decide", "approval": id, "verdict": "allow-tool"});
    let decide = |who: &str, more: &str| {
        let token = text(&place.answer(&format!("cap issue {who} {more}"))["token"]);
        format!("{} --token {token}", submit(&place, &verdict))
    };
    let refused = |by: &str, code: &str| {
        let error = place.fails(3, by);
        assert!(text(&error["message"]).contains(code), "{error}");
    };
    refused(&decide("bot", ""), "approval.person");
    refused(&decide("ann", "--only approval:decide(tool=pay)"), "token-attenuated");
    place.ok(&decide("ann", ""));
    let decided = &place.list("events list --kind approval.decided")[0];
    assert_eq!(decided["author"], "ann");
    assert_eq!(place.answer("run run.toml --once")["files"], 5);
}

#[test]
fn calls_are_refused_where_nobody_is_to_be_asked() {
    let place = configured("when_asked = \"deny\"");
    let ran = place.answer("run run.toml --once");
    assert_eq!((&ran["files"], &ran["denied"]), (&0.into(), &5.into()));
    assert!(place.list("approvals list").is_empty(), "the questions were taken back");
    assert_eq!(place.list("events list --kind approval.cancelled").len(), 5);
}

#[test]
fn a_call_that_waits_says_so_and_waits_no_longer_than_it_may() {
    let place = configured("when_asked = \"wait\"\ntime_limit = \"300ms\"");
    let ran = place.ok("run run.toml --once --json --quiet");
    assert!(ran.stderr.contains("waits for a person"), "{}", ran.stderr);
    assert_eq!(ran.answer()["denied"], 5);
    assert!(place.list("approvals list").is_empty(), "the questions were taken back");
}

#[test]
fn a_call_that_waits_is_made_once_a_person_allows_it() {
    let place = configured("when_asked = \"wait\"");
    let running = place.start("run run.toml --once --json");
    let until = Instant::now() + Duration::from_secs(30);
    let waiting = loop {
        // Until the first event there is no vault to look at.
        let looked = place.run("approvals list --json");
        if let Some(row) = looked.lines().into_iter().next().filter(|_| looked.code == Some(0)) {
            break text(&row["id"]);
        }
        assert!(Instant::now() < until, "nothing waits: {}", looked.stderr);
        std::thread::sleep(Duration::from_millis(20));
    };
    place.ok(&format!("approvals allow {waiting} --scope tool"));
    for row in place.list("approvals list") {
        // Each call that asked before that waits for its own answer.
        place.run(&format!("approvals allow {}", text(&row["id"])));
    }
    let ran = crate::toka::Ran::of(running.wait_with_output().expect("it ends"));
    assert_eq!((ran.code, &ran.answer()["files"]), (Some(0), &5.into()), "{}", ran.stderr);
}

#[test]
fn nothing_waits_where_nobody_is_to_be_asked_for_anything() {
    let place = configured("when_asked = \"wait\"");
    let error = place.fails(4, "run run.toml --once --no-input");
    assert_eq!(text(&error["code"]), "approval");
    assert!(!place.list("approvals list").is_empty());
}

#[test]
fn what_is_no_such_word_is_an_error() {
    for wrong in
        ["when_asked = \"perhaps\"", "time_limit = \"2d\"", "time_limit = \"0ms\"", "when = \"wait\""]
    {
        let place = configured(wrong);
        place.fails(2, "run run.toml --once");
    }
}
