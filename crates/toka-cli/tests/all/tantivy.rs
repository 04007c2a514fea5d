//! The search engine for large vaults.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::crash::{end, signal, wait_until};
use crate::sealing::Sealed;
use crate::toka::{Place, text};

/// A place that is told to use the engine.
fn place() -> Place {
    let place = Place::with_docs();
    place.write("engine.toml", "[search]\nengine = 'tantivy'\n");
    place
}

fn index(place: &Place) -> PathBuf {
    place.vault().join("projections/tantivy")
}

/// The paths of the hits of a search about which nothing is said.
#[track_caller]
fn hits(place: &Place, query: &str) -> Vec<String> {
    let ran = place.ok(&format!("search {query} --json"));
    assert_eq!(ran.stderr, "", "{query}");
    paths(&ran.answer())
}

fn paths(found: &Value) -> Vec<String> {
    found["hits"].as_array().expect("hits").iter().map(|hit| text(&hit["path"])).collect()
}

#[test]
fn the_same_is_found_in_the_same_form() {
    let place = place();
    place.ok("up docs --once --config engine.toml");
    let found = place.answer("search firewall packets --config engine.toml");
    assert_eq!(place.answer("search firewall packets"), found, "the vault knows its engine");
    let hit = &found["hits"][0];
    assert!(text(&hit["text"]).contains("port 443"), "{hit}");
    place.write("builtin.toml", "[search]\nengine = 'builtin'\n");
    let builtin = place.answer("search firewall packets --config builtin.toml");
    for key in ["path", "lines", "text", "intent", "event"] {
        assert_eq!(hit[key], builtin["hits"][0][key], "{key}");
    }
    assert_ne!(found, builtin, "it is another engine");
    let all = "installer archive packets potatoes greeting";
    assert_eq!(hits(&place, all).len(), 5);
    assert_eq!(hits(&place, &format!("{all} --limit 2")).len(), 2);
    assert_eq!(hits(&place, &format!("{all} --path network/**")), ["network/firewall.md"]);
    assert_eq!(hits(&place, &format!("{all} --kind file.chunk")).len(), 5);
    assert!(hits(&place, &format!("{all} --kind note")).is_empty());
    assert!(hits(&place, "zyzzyva").is_empty());
    assert_eq!(place.answer("verify")["problems"], json!([]));
    assert_eq!(fs::metadata(index(&place)).expect("an index").mode() & 0o077, 0);
    let sizes = || ["status", "vault stat"].map(|command| place.answer(command)["bytes"].clone());
    let [status, stat] = sizes();
    // Whoever goes back to the other engine leaves nothing behind that nobody follows.
    place.ok("up docs --once --config builtin.toml");
    assert!(!index(&place).exists());
    let [small, smaller] = sizes();
    assert!(status["index"].as_u64() > small["index"].as_u64(), "{status} {small}");
    assert!(stat["projections"].as_u64() > smaller["projections"].as_u64(), "{stat} {smaller}");
    assert_eq!(place.answer("search firewall packets"), builtin);
}

#[test]
fn it_follows_the_folder() {
    let place = place();
    let docs = place.path().join("docs");
    let up = || drop(place.ok("up docs --once"));
    place.ok("up docs --once --config engine.toml");
    fs::rename(docs.join("backup.md"), docs.join("safety.md")).expect("a move");
    let page = fs::read(docs.join("page.html")).expect("a page");
    fs::remove_file(docs.join("page.html")).expect("a removal");
    place.write("docs/install.md", "# Installing\n\nUse the wizard.\n");
    up();
    assert_eq!(hits(&place, "restore archive"), ["safety.md"]);
    assert!(hits(&place, "potatoes").is_empty());
    assert_eq!((hits(&place, "wizard"), hits(&place, "daemon")), (vec!["install.md".to_owned()], vec![]));
    place.write("docs/page.html", page);
    up();
    assert_eq!(hits(&place, "potatoes"), ["page.html"]);
}

#[test]
fn what_is_missing_or_damaged_is_said_and_built_again() {
    let place = place();
    let up = || place.ok("up docs --once --config engine.toml");
    up();
    let before = place.answer("search restore archive");
    fs::remove_dir_all(index(&place)).expect("a removal");
    let ran = place.ok("search restore archive --config engine.toml --json");
    assert_eq!(paths(&ran.answer())[0], "backup.md");
    assert!(
        ran.stderr.contains("the built-in engine answers") && ran.stderr.contains("toka up --once"),
        "{}",
        ran.stderr
    );
    assert!(!index(&place).exists(), "a reader writes nothing into the vault");
    up();
    assert_eq!(place.answer("search restore archive"), before);
    let entries = fs::read_dir(index(&place)).expect("an index").map(|entry| entry.expect("an entry").path());
    let file = entries.filter(|path| path.extension().is_some_and(|e| e == "idx")).min().expect("a segment");
    let mut bytes = fs::read(&file).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    fs::write(&file, bytes).expect("it is written");
    let verified = place.answer("verify");
    assert_eq!(
        (&verified["ok"], &verified["problems"][0]["what"]),
        (&json!(true), &json!("projection")),
        "{verified}"
    );
    assert!(text(&verified["problems"][0]["detail"]).contains("checksum"), "{verified}");
    let ran = up();
    assert_eq!(place.answer("verify")["problems"], json!([]));
    assert!(ran.stderr.contains("is damaged"), "{}", ran.stderr);
    assert_eq!(place.answer("search restore archive"), before);
}

#[test]
fn a_killed_run_is_caught_up_by_the_next() {
    let place = place();
    place.ok("up docs --once --config engine.toml");
    let mut child = place.start("up docs");
    wait_until(|| place.answer("status")["writer"] == child.id());
    place.write("docs/late.md", "# Late\n\nThe zeppelin lands.\n");
    wait_until(|| !place.list("events list --kind file.chunk --path late.md").is_empty());
    // The log has it; the index has it a second after it is quiet.
    signal(&child, "KILL");
    child.wait().expect("it ends");
    place.ok("up docs --once");
    assert_eq!(hits(&place, "zeppelin"), ["late.md"]);
    // Beside a writer.
    let child = place.start("up docs");
    wait_until(|| place.answer("status")["writer"] == child.id());
    place.write("docs/more.md", "# More\n\nPaint the fence green.\n");
    wait_until(|| paths(&place.answer("search fence green")) == ["more.md"]);
    end(child);
    assert_eq!(hits(&place, "fence green"), ["more.md"]);
}

#[test]
fn what_the_log_lets_go_is_not_found_any_more() {
    let place = place();
    let config = "[vault]\npath = '.toka'\ncompact_every = '1s'\nretain = [{ kind = 'file.chunk', age = '0s' }]\n\
                  [search]\nengine = 'tantivy'\n";
    place.write("rules.toml", config);
    let old: String = (0..400).map(|line| format!("Line {line} of {} hymns.\n", line * line)).collect();
    place.write("docs/long.md", old);
    place.ok("up docs --once --config engine.toml");
    place.write("docs/long.md", "# Short\n");
    place.ok("up docs --once");
    let holds = |word: &str| {
        let entries = fs::read_dir(index(&place)).into_iter().flatten().flatten();
        let mut files = entries.filter_map(|entry| fs::read(entry.path()).ok());
        files.any(|bytes| bytes.windows(word.len()).any(|window| window == word.as_bytes()))
    };
    assert!(holds("hymn"), "what is deleted lies there until segments merge");
    let child = place.start("up docs --config rules.toml");
    wait_until(|| !holds("hymn") && index(&place).join("meta.json").exists());
    end(child);
    assert!(!holds("hymn"));
    assert_eq!(hits(&place, "installer"), ["install.md"]);
    assert_eq!(place.answer("verify")["problems"], json!([]));
}

#[test]
fn a_sealed_vault_has_none() {
    let sealed = Sealed::new();
    sealed.place.write("engine.toml", "[search]\nengine = 'tantivy'\n");
    sealed.ok("init --seal passphrase");
    // As if it lay there from before.
    fs::create_dir_all(index(&sealed.place)).expect("a folder");
    let ran = sealed.ok("up docs --once --config engine.toml");
    assert!(ran.stderr.contains("the vault is sealed"), "{}", ran.stderr);
    assert!(!index(&sealed.place).exists());
    let ran = sealed.ok("search installer daemon --config engine.toml --json");
    assert!(ran.stderr.contains("the vault is sealed"), "{}", ran.stderr);
    assert_eq!(paths(&ran.answer())[0], "install.md");
    assert_eq!(sealed.ok("search installer daemon --json").stderr, "");
}
