//! Indexing, and finding what was indexed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};

use serde_json::{Value, json};

use crate::toka::{Place, text};

fn hits(place: &Place, query: &str) -> Vec<String> {
    let found = place.answer(&format!("search {query}"));
    assert_eq!(found["query"], query);
    found["hits"].as_array().expect("hits").iter().map(|hit| text(&hit["path"])).collect()
}

fn content_events(place: &Place) -> usize {
    place.list("events list --from 0 --limit 100000 --kind file").len()
}

#[test]
fn a_folder_is_indexed_and_found() {
    let place = Place::with_docs();
    place.write("docs/data.bin", b"\x00\x01\x02");
    symlink("/etc/hosts", place.path().join("docs/link")).expect("a link");
    let summary = place.answer("up docs --once");
    let wanted = json!({ "files": 5, "unchanged": 0, "moved": 0, "removed": 0, "skipped": { "binary": 1, "symlink": 1 } });
    for (key, value) in wanted.as_object().expect("an object") {
        assert_eq!(&summary[key], value, "{summary}");
    }
    assert!(summary["ms"].is_u64() && summary["chunks"].as_u64() >= Some(5), "{summary}");
    for (query, path) in [
        ("installer", "install.md"),
        ("restore archive", "backup.md"),
        ("potatoes", "page.html"),
        ("greeting", "src/main.rs"),
    ] {
        assert_eq!(hits(&place, query).first().map(String::as_str), Some(path), "{query}");
    }
    let found = place.answer("search firewall packets");
    let hit = &found["hits"][0];
    assert_eq!(hit["path"], "network/firewall.md");
    assert!(text(&hit["text"]).contains("port 443"), "{hit}");
    let lines: Vec<u64> = hit["lines"].as_array().expect("lines").iter().filter_map(Value::as_u64).collect();
    assert!(lines.len() == 2 && 1 <= lines[0] && lines[0] <= lines[1], "{hit}");
    assert!(hit["score"].as_f64().is_some_and(|score| score > 0.0), "{hit}");
    let event = place.answer_of_event(&text(&hit["event"]));
    assert_eq!(event["content"]["text"], hit["text"]);
}

impl Place {
    fn answer_of_event(&self, id: &str) -> Value {
        self.list(&format!("events show {id}")).remove(0)
    }
}

#[test]
fn what_is_unchanged_is_not_recorded_again() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let (before, world) = (content_events(&place), place.answer("status")["world"].clone());
    let summary = place.answer("up docs --once");
    assert_eq!((&summary["files"], &summary["unchanged"]), (&json!(0), &json!(5)), "{summary}");
    assert_eq!(content_events(&place), before);
    assert_eq!(place.answer("status")["world"], world);
}

#[test]
fn the_index_follows_the_folder() {
    let place = Place::with_docs();
    let docs = place.path().join("docs");
    place.ok("up docs --once");
    fs::rename(docs.join("backup.md"), docs.join("safety.md")).expect("a move");
    let summary = place.answer("up docs --once");
    assert_eq!((&summary["moved"], &summary["files"]), (&json!(1), &json!(0)), "{summary}");
    assert_eq!(hits(&place, "restore archive").first().map(String::as_str), Some("safety.md"));

    fs::remove_file(docs.join("page.html")).expect("a removal");
    place.write("docs/install.md", "# Installing\n\nUse the wizard.\n");
    let summary = place.answer("up docs --once");
    assert_eq!((&summary["removed"], &summary["files"]), (&json!(1), &json!(1)), "{summary}");
    assert!(!hits(&place, "potatoes").contains(&"page.html".to_owned()));
    assert_eq!(hits(&place, "wizard").first().map(String::as_str), Some("install.md"));
    let chunks = place.list("events list --kind file.chunk --path page.html");
    assert_eq!(chunks.len(), 1, "the old content stays in the log");
}

#[test]
fn search_takes_conditions() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let paths = |arguments: &str| -> Vec<String> {
        let found = place.answer(arguments);
        found["hits"].as_array().expect("hits").iter().map(|hit| text(&hit["path"])).collect()
    };
    let all = "search installer archive packets potatoes greeting";
    assert_eq!(paths(all).len(), 5);
    assert_eq!(paths(&format!("{all} --limit 2")).len(), 2);
    assert_eq!(paths(&format!("{all} --path network/**")), ["network/firewall.md"]);
    assert_eq!(paths(&format!("{all} --path *.rs")), ["src/main.rs"]);
    assert_eq!(paths(&format!("{all} --kind file.chunk")).len(), 5);
    assert!(paths(&format!("{all} --kind note")).is_empty());
    assert!(paths("search zyzzyva").is_empty());
    place.fails(2, "search installer --path a[");
}

#[test]
fn a_grant_limits_what_is_read() {
    let place = Place::with_docs();
    place.write("secret/plan.md", "# Plan\n\nThe hidden treasure lies under the oak.\n");
    place.write("notes.md", "# Notes\n\nThe treasure map is in the attic.\n");
    place.write(
        "toka.toml",
        "[[agents]]\nname = \"IndexerAgent\"\nscan_path = \".\"\ngrant = [\"tool:fs.read(path=docs/**)\"]\n",
    );
    let refused = |place: &Place| -> Vec<Value> {
        place.list("events list --from 0 --limit 100000 --kind capability.denied")
    };
    let first = place.answer("run toka.toml --once");
    assert_eq!(first["files"], 5, "{first}");
    // The configuration itself lies in the folder too.
    assert_eq!(first["denied"], 3, "{first}");
    assert_eq!(refused(&place).len(), 3);
    for path in ["secret/plan.md", "notes.md", "toka.toml"] {
        assert_eq!(
            place.list(&format!("events list --kind capability.denied --path {path}")).len(),
            1,
            "{path}"
        );
    }
    assert!(hits(&place, "treasure").is_empty());
    place.answer("run toka.toml --once");
    assert_eq!(refused(&place).len(), 6, "one for each refused path and run");
}

#[test]
fn paths_are_lossless() {
    let place = Place::new();
    place.write("docs/100%.md", "percentages everywhere\n");
    place.write("docs/new\nline.md", "newlines everywhere\n");
    place.write(
        std::path::Path::new("docs").join(std::ffi::OsStr::from_bytes(b"caf\xe9.md")),
        "coffee everywhere\n",
    );
    place.ok("up docs --once");
    for (query, path) in [("percentages", "100%25.md"), ("newlines", "new\nline.md"), ("coffee", "caf%E9.md")]
    {
        assert_eq!(hits(&place, query), [path]);
    }
}

#[test]
fn a_vault_within_the_folder_is_not_indexed() {
    let place = Place::with_docs();
    let first = place.answer("up --once");
    assert_eq!(first["files"], 5, "{first}");
    let second = place.answer("up --once");
    assert_eq!((&second["files"], &second["unchanged"]), (&json!(0), &json!(5)), "{second}");
    let inside = place.list("events list --from 0 --limit 10000 --path .toka");
    assert!(inside.is_empty(), "{inside:?}");
}

#[test]
fn an_unusable_index_does_not_change_the_answer() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let before = place.answer("search restore archive")["hits"].clone();
    fs::remove_dir_all(place.vault().join("projections")).expect("a removal");
    let ran = place.ok("search restore archive --json");
    assert_eq!(ran.answer()["hits"], before);
    assert!(ran.stderr.contains("toka up --once"), "{}", ran.stderr);
    assert!(!place.vault().join("projections").exists(), "a reader writes nothing into the vault");
    place.ok("up docs --once");
    let ran = place.ok("search restore archive --json");
    assert_eq!((ran.answer()["hits"].clone(), ran.stderr), (before, String::new()));
}

#[test]
fn the_vault_as_the_folder_is_refused_before_anything_is_made() {
    let place = Place::with_docs();
    let error = place.fails(2, "up docs --once --vault docs");
    assert!(text(&error["message"]).contains("within the vault"), "{error}");
    assert!(!place.path().join("docs/manifest").exists() && !place.path().join("docs/journal").exists());
    place.ok("up docs --once --vault docs/vault");
    place.fails(2, "up docs/vault/journal --once --vault docs/vault");
}

#[test]
fn everything_in_a_vault_is_its_owners_alone() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let mut folders = vec![place.vault()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let mode = fs::metadata(&path).expect("it is there").mode();
            if path.is_dir() {
                folders.push(path);
            } else {
                files += 1;
                assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
            }
        }
    }
    assert!(files >= 5, "manifest, lock, journal, projections and the indexer's own: {files}");
}

#[test]
fn a_folder_moved_away_with_its_vault_leaves_nothing_behind() {
    let place = Place::with_docs();
    let (docs, away) = (place.path().join("docs"), place.path().join("away"));
    let mut running = place.start("up docs --vault docs/.toka");
    let lines = BufReader::new(running.stderr.take().expect("its errors")).lines();
    let mut said = lines.map(|line| line.expect("text"));
    assert!(said.any(|line| line.starts_with("watching")), "it watches");
    fs::rename(&docs, &away).expect("a move");
    let rest: Vec<String> = said.collect();
    assert!(!running.wait().expect("it ends").success(), "{rest:?}");
    assert!(!docs.exists(), "something was made where the folder was: {rest:?}");
    assert_eq!(place.answer("verify --vault away/.toka")["ok"], true);
}

#[test]
fn two_folders_in_one_vault_are_both_kept() {
    let place = Place::with_docs();
    place.write("notes/todo.md", "# Todo\n\nWater the orchids.\n");
    place.write("notes/install.md", "# Another\n\nInstall the shelves.\n");
    place.ok("up docs --once");
    let said = place.ok("up notes --once").stderr;
    assert!(said.contains("docs, which IndexerAgent keeps"), "{said}");
    assert_eq!(hits(&place, "orchids"), ["todo.md"]);
    assert_eq!(hits(&place, "potatoes").first().map(String::as_str), Some("page.html"));
    assert!(place.list("events list --kind file.removed").is_empty());
    for (folder, files) in [("docs", 5), ("notes", 2)] {
        let summary = place.answer(&format!("up {folder} --once"));
        assert_eq!(
            (&summary["files"], &summary["unchanged"]),
            (&json!(0), &json!(files)),
            "{folder}: {summary}"
        );
    }
    assert_eq!(place.answer("status")["agents"], 2);
}

#[test]
fn a_folder_that_was_moved_or_copied_with_its_vault_is_still_the_same() {
    let place = Place::with_docs();
    place.ok("up docs --once --vault vault");
    fs::rename(place.path().join("docs"), place.path().join("moved")).expect("a move");
    let summary = place.answer("up moved --once --vault vault");
    assert_eq!((&summary["files"], &summary["unchanged"]), (&json!(0), &json!(5)), "{summary}");
    let copy =
        std::process::Command::new("cp").args(["-r", "moved", "copied"]).current_dir(place.path()).status();
    assert!(copy.expect("it runs").success());
    for path in ["page.html", "backup.md", "src/main.rs"] {
        fs::remove_file(place.path().join("copied").join(path)).expect("a removal");
    }
    let ran = place.run("up copied --once --vault vault --json");
    let summary = ran.answer();
    assert_eq!((&summary["unchanged"], &summary["removed"]), (&json!(2), &json!(3)), "{summary}");
    assert_eq!(place.answer("status --vault vault")["agents"], 1);
}

#[test]
fn an_agent_that_is_given_another_folder_says_what_it_removes() {
    let place = Place::with_docs();
    place.write("notes/todo.md", "# Todo\n\nWater the orchids.\n");
    for (folder, warned) in [("docs", false), ("docs", false), ("notes", true), ("notes", false)] {
        place.write("toka.toml", format!("[[agents]]\nname = \"IndexerAgent\"\nscan_path = \"{folder}\"\n"));
        let said = place.ok("run toka.toml --once").stderr;
        assert_eq!(said.contains("5 of its files"), warned, "{folder}: {said}");
    }
}
