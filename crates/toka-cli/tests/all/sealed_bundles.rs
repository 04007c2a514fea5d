//! Bundles of sealed vaults: read by who has the keys, by everybody where they are disclosed, and taken over where the keys lie.

use std::fs;

use serde_json::Value;

use crate::sealing::{Sealed, WORDS};
use crate::toka::{Place, text};

/// The events of a bundle or a vault, read with the passphrase or without.
fn events(sealed: &Sealed, with_key: bool, vault: &str) -> Vec<Value> {
    let passphrase = with_key.then_some(sealed.passphrase.as_path());
    let ran =
        sealed.run_with(passphrase, &format!("events list --from 0 --limit 999 --json --vault {vault}"));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ran.lines()
}

fn all_are(events: &[Value], gone: &str) -> bool {
    let mut with_content = events.iter().filter(|event| !event["digest"].is_null()).peekable();
    with_content.peek().is_some()
        && with_content.all(|event| event["content"].is_null() && event["gone"] == gone)
}

fn sealed_vault() -> Sealed {
    let sealed = Sealed::new();
    sealed.ok("init --seal passphrase");
    sealed.ok("up docs --once");
    sealed
}

#[test]
fn a_sealed_bundle_tells_nothing_without_the_keys_of_its_vault() {
    let sealed = sealed_vault();
    let made = sealed.ok("vault export all.bundle --json").answer();
    assert_eq!((&made["disclosed"], &made["gone"]), (&0.into(), &0.into()), "{made}");
    let bytes = fs::read(sealed.place.path().join("all.bundle")).expect("a bundle").to_ascii_lowercase();
    for word in WORDS {
        assert!(!bytes.windows(word.len()).any(|part| part == word.as_bytes()), "{word}");
    }
    // Beside the vault the keys are found in it.
    let there = events(&sealed, true, ".toka");
    assert_eq!(events(&sealed, true, "all.bundle"), there);
    assert!(all_are(&events(&sealed, false, "all.bundle"), "sealed"));

    let elsewhere = Sealed::new();
    fs::copy(sealed.place.path().join("all.bundle"), elsewhere.place.path().join("all.bundle"))
        .expect("a copy");
    for with_key in [false, true] {
        assert!(all_are(&events(&elsewhere, with_key, "all.bundle"), "sealed"));
    }
    let id = text(&there.iter().find(|event| event["kind"] == "file.chunk").expect("a chunk")["id"]);
    let shown = elsewhere.run_with(None, &format!("events show {id} --vault all.bundle"));
    assert!(shown.code == Some(0) && shown.stdout.contains("sealed"), "{}{}", shown.stdout, shown.stderr);
    for command in ["verify", "status", "replay", "agents list", &format!("vault prove {id}")] {
        let ran = elsewhere.run_with(None, &format!("{command} --vault all.bundle"));
        assert_eq!(ran.code, Some(0), "{command}: {}", ran.stderr);
    }
    for command in ["search installer", "intents list"] {
        let error = elsewhere.fails(Some(&elsewhere.passphrase), 2, &format!("{command} --vault all.bundle"));
        assert_eq!(error["code"], "sealed", "{error}");
        assert!(text(&error["hint"]).contains("all.bundle.keys"), "{error}");
    }
    // A copy of the keys beside it, and what opens them.
    let beside = elsewhere.place.path().join("all.bundle.keys");
    fs::copy(sealed.place.vault().join("keys"), &beside).expect("a copy");
    assert_eq!(events(&elsewhere, true, "all.bundle"), there);
    assert!(all_are(&events(&elsewhere, false, "all.bundle"), "sealed"));
    let found = elsewhere.ok("search installer daemon --vault all.bundle --json").answer();
    assert_eq!(found["hits"], sealed.ok("search installer daemon --json").answer()["hits"]);
    let wrong = elsewhere.place.path().join("wrong");
    assert_eq!(elsewhere.fails(Some(&wrong), 2, "events list --vault all.bundle")["code"], "sealed");
    elsewhere.ok("init --seal passphrase");
    fs::copy(elsewhere.place.vault().join("keys"), &beside).expect("a copy");
    let error = elsewhere.fails(Some(&elsewhere.passphrase), 2, "events list --vault all.bundle");
    assert!(text(&error["message"]).contains("the vault needs"), "{error}");
}

#[test]
fn a_disclosed_bundle_is_read_by_everybody_and_opens_nothing_else() {
    let sealed = sealed_vault();
    let error = sealed.fails(None, 2, "vault export all.bundle --disclose");
    assert_eq!(error["code"], "sealed", "{error}");
    let made = sealed.ok("vault export all.bundle --disclose --redact file.indexed --json").answer();
    assert!(made["disclosed"] == made["contents"] && made["gone"].as_u64() > Some(0), "{made}");
    let stranger = Place::new();
    fs::copy(sealed.place.path().join("all.bundle"), stranger.path().join("all.bundle")).expect("a copy");
    let here = events(&sealed, true, ".toka");
    let there = stranger.list("events list --from 0 --limit 999 --vault all.bundle");
    assert_eq!(here.len(), there.len());
    for (here, there) in here.iter().zip(&there) {
        if here["kind"] == "file.indexed" {
            assert_eq!((&there["content"], &there["gone"]), (&Value::Null, &"redacted".into()));
        } else {
            assert_eq!(here, there);
        }
    }
    assert_eq!(stranger.answer("verify --vault all.bundle")["ok"], true);
    let found = stranger.answer("search installer daemon --vault all.bundle");
    assert_eq!(found["hits"][0]["path"], "install.md", "{found}");
    let again = sealed.ok("vault export again.bundle --disclose --redact file.indexed --json").answer();
    assert_eq!(again["root"], made["root"]);
    let read = |name: &str| fs::read(sealed.place.path().join(name)).expect("a bundle");
    assert_eq!(read("again.bundle"), read("all.bundle"));
    let plain = Place::with_docs();
    plain.ok("up docs --once");
    assert_eq!(plain.fails(2, "vault export all.bundle --disclose")["code"], "sealed");
    assert_eq!(plain.answer("vault export all.bundle")["disclosed"], Value::Null);
}

#[test]
fn erased_content_is_in_no_bundle() {
    let sealed = sealed_vault();
    let keys = fs::read(sealed.place.vault().join("keys")).expect("keys");
    sealed.ok("vault erase --subject IndexerAgent");
    for options in ["", "--disclose"] {
        let made = sealed.ok(&format!("vault export part.bundle {options} --json")).answer();
        assert!(made["gone"].as_u64() > Some(0), "{made}");
        // Who kept an older copy of the keys finds nothing to open.
        sealed.place.write("part.bundle.keys", &keys);
        for event in events(&sealed, true, "part.bundle") {
            if event["kind"] == "file.chunk" {
                assert_eq!((&event["content"], &event["gone"]), (&Value::Null, &"erased".into()), "{event}");
            }
        }
    }
}

#[test]
fn a_sealed_bundle_is_imported_where_its_keys_lie() {
    let sealed = sealed_vault();
    sealed.ok("vault export one.bundle --to 20");
    sealed.ok("vault export two.bundle --from 21 --disclose");
    let vault = |name: &str| sealed.place.path().join(name);
    let refused = |name: &str, import: &str, says: &str| {
        let error = sealed.fails(None, 2, &format!("vault import {import} --vault {name}"));
        assert_eq!(error["code"], "sealed", "{error}");
        assert!(text(&error["message"]).contains(says) && error["hint"].is_string(), "{error}");
    };
    refused("new", "one.bundle", "a vault without them");
    assert!(!vault("new").exists());
    fs::create_dir(vault("new")).expect("a directory");
    fs::copy(sealed.place.vault().join("keys"), vault("new/keys")).expect("a copy");
    // What is stored goes over as it is, so that no key is needed.
    for (name, added) in [("one.bundle", true), ("two.bundle", true), ("two.bundle", false)] {
        let ran = sealed.run_with(None, &format!("vault import {name} --vault new --json"));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert_eq!(ran.answer()["added"].as_u64() > Some(0), added);
    }
    let (here, there) =
        (sealed.ok("status --json").answer(), sealed.ok("status --vault new --json").answer());
    for same in ["events", "head", "root", "fold", "world"] {
        assert_eq!(here[same], there[same], "{same}");
    }
    assert_eq!(events(&sealed, true, "new"), events(&sealed, true, ".toka"));
    assert_eq!(sealed.ok("verify --vault new --json").answer()["ok"], true);
    let again = sealed.ok("up docs --once --vault new --json").lines().pop().expect("a summary");
    assert_eq!(
        (&again["files"], &again["moved"]),
        (&0.into(), &0.into()),
        "it goes on where it was: {again}"
    );

    sealed.ok("init --vault plain");
    refused("plain", "one.bundle", "is not sealed");
    sealed.ok("init --vault other --seal passphrase");
    refused("other", "one.bundle", "those of");
    sealed.place.write("open/a.md", "# Open\n");
    sealed.ok("up open --once --vault plain");
    sealed.ok("vault export plain.bundle --vault plain");
    refused("other", "plain.bundle", "is sealed");
    // A copy of the keys from before somebody new came cannot open what that one said.
    let before = fs::read(vault("other/keys")).expect("keys");
    sealed.ok("up open --once --vault other");
    sealed.ok("vault export other.bundle --vault other");
    fs::create_dir(vault("older")).expect("a directory");
    fs::write(vault("older/keys"), before).expect("written");
    let ran = sealed.ok("vault import other.bundle --vault older");
    assert!(ran.stderr.contains("cannot be read"), "{}", ran.stderr);
    assert!(all_are(&events(&sealed, true, "older"), "sealed"));
}
