//! How a run that watches ends, and what it sees until then.

use std::fs;
use std::io::{BufRead, BufReader};

use crate::crash::{end, signal, wait_until};
use crate::toka::{Place, Ran, text};

fn paths(place: &Place, query: &str) -> Vec<String> {
    let found = place.answer(&format!("search {query}"));
    found["hits"].as_array().expect("hits").iter().map(|hit| text(&hit["path"])).collect()
}

#[test]
fn signals_end_a_run_with_everything_recorded() {
    for (name, code) in [("INT", 130), ("TERM", 0)] {
        let place = Place::with_docs();
        let mut child = place.start("up docs");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let watching = lines.by_ref().map_while(Result::ok).any(|line| line.contains("watching"));
        assert!(watching, "the run says when it begins to watch");
        signal(&child, name);
        let drain = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
        let ran = Ran::of(child.wait_with_output().expect("it ends"));
        assert_eq!(ran.code, Some(code), "{name}: {:?}", drain.join());
        assert_eq!(ran.stdout, "");
        assert_eq!(paths(&place, "potatoes"), ["page.html"], "{name}");
        assert_eq!(place.answer("verify")["ok"], true);
    }
}

#[test]
fn a_watched_folder_is_followed() {
    let place = Place::with_docs();
    let child = place.start("up docs");
    wait_until(|| place.vault().join("manifest").exists() && paths(&place, "potatoes") == ["page.html"]);
    place.write("docs/garden.md", "# Garden\n\nPlant the tulips in autumn.\n");
    wait_until(|| paths(&place, "tulips") == ["garden.md"]);
    fs::remove_file(place.path().join("docs/garden.md")).expect("a removal");
    wait_until(|| paths(&place, "tulips").is_empty());
    assert_eq!(end(child).code, Some(0));
}

#[test]
fn tail_follows_a_live_log() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let before = place.list("events list --from 0 --limit 100000").len();
    let mut tail = place.start("events tail --json --kind file.indexed");
    let mut all = place.start("events tail --json --from 0");
    let mut from_start = BufReader::new(all.stdout.take().expect("a pipe")).lines();
    for seq in 0..before {
        let line = from_start.next().expect("a line").expect("text");
        let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(event["seq"], seq);
    }
    place.write("docs/garden.md", "# Garden\n\nPlant the tulips in autumn.\n");
    place.ok("up docs --once");
    let mut new = BufReader::new(tail.stdout.take().expect("a pipe")).lines();
    let event: serde_json::Value =
        serde_json::from_str(&new.next().expect("a line").expect("text")).expect("JSON");
    assert_eq!(event["content"]["path"], "garden.md");
    assert!(event["seq"].as_u64() >= Some(before as u64));
    signal(&tail, "INT");
    assert_eq!(tail.wait().expect("it ends").code(), Some(130));
    // Nobody reads any more: the next event ends it, and that is no error.
    drop(from_start);
    place.write("docs/garden.md", "# Garden\n\nPlant the roses in spring.\n");
    place.ok("up docs --once");
    assert_eq!(all.wait().expect("it ends").code(), Some(0));
}
