//! What the rules let go, and what stays.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::toka::{Place, text};

/// A place whose `docs/backup.md` has changed since it was first indexed, and a configuration with this rule.
fn place(rule: &str) -> Place {
    let place = Place::with_docs();
    place.ok("up docs --once");
    place.write("docs/backup.md", "# Backups\n\nWrite the tape on Sunday.\n");
    place.ok("up docs --once");
    place.write("rules.toml", format!("[vault]\npath = '.toka'\ncompact_every = '1s'\nretain = [{rule}]\n"));
    place
}

fn chunks(place: &Place) -> Vec<Value> {
    place.list("events list --kind file.chunk")
}

fn gone(place: &Place) -> Vec<Value> {
    chunks(place).into_iter().filter(|event| !event["gone"].is_null()).collect()
}

#[test]
fn old_passages_expire_and_everything_else_stays() {
    let place = place("{ kind = 'file.chunk', age = '0s' }");
    let status = place.answer("status");
    let all = chunks(&place);
    assert!(all.iter().all(|event| event.get("gone").is_none() && event["content"].is_object()));
    let stat = place.answer("vault stat --config rules.toml");
    assert_eq!(stat["reclaimable"]["contents"], 1, "{stat}");
    let dry = place.answer("vault compact --config rules.toml --dry-run");
    assert_eq!((&dry["expired"]["contents"], &dry["rewritten"]), (&json!(1), &json!(1)));
    assert_eq!(chunks(&place), all, "a dry run does nothing");
    assert_eq!(place.answer("vault compact")["expired"]["contents"], 0, "there are no rules");
    let done = place.answer("vault compact --config rules.toml");
    assert_eq!((&done["expired"], &done["dry_run"]), (&dry["expired"], &json!(false)));
    assert_eq!(place.answer("vault compact --config rules.toml")["rewritten"], 0);

    let left = chunks(&place);
    assert_eq!(left.len(), all.len());
    for (before, after) in all.iter().zip(&left) {
        let old = text(&before["content"]["text"]).contains("every night");
        if old {
            assert_eq!((&after["content"], &after["gone"]), (&Value::Null, &json!("expired")));
            let shown = place.answer_of_event(&text(&before["id"]));
            assert_eq!((&shown["content"], &shown["gone"]), (&Value::Null, &json!("expired")));
            assert_eq!((&shown["digest"], &shown["size"]), (&before["digest"], &before["size"]));
            let told = place.ok(&format!("events show {}", text(&before["id"]))).stdout;
            assert!(told.contains(" bytes, expired"), "{told}");
        } else {
            assert_eq!(before, after);
        }
    }
    let after = place.answer("status");
    for key in ["events", "head", "root", "fold", "world"] {
        assert_eq!(status[key], after[key], "{key}");
    }
    assert_eq!(place.answer("replay")["matches"], true);
    assert_eq!(place.answer("verify")["problems"], json!([]));
    let stat = place.answer("vault stat --config rules.toml");
    assert_eq!((&stat["reclaimable"]["contents"], &stat["rewritten"]), (&json!(0), &json!(1)));
    assert!(stat["gone"].as_u64() > Some(0), "{stat}");
    place.ok("vault stat");

    // The index knows nothing of what is gone; what is there is found.
    let again = place.answer("up docs --once");
    assert_eq!((&again["files"], &again["unchanged"]), (&json!(0), &json!(5)), "{again}");
    let hits = |query: &str| place.answer(&format!("search {query}"))["hits"].as_array().map_or(0, Vec::len);
    assert!(hits("tape sunday") > 0);
    assert!(fs::read_dir(place.vault().join("projections")).is_ok());
    let terms = fs::read_dir(place.vault().join("projections")).expect("projections");
    for file in terms.map(|file| file.expect("a file").path()).filter(|path| path.is_file()) {
        let bytes = fs::read(&file).expect("a projection");
        assert!(!bytes.windows(7).any(|part| part == b"archive"), "{} knows of it", file.display());
    }
}

#[test]
fn what_goes_is_not_saved_any_more_and_rules_need_no_path() {
    let place = Place::new();
    let text = "Copy the archive to another disk every night, and restore it after a crash. ";
    for number in 0..3 {
        place.write(format!("docs/{number}.md"), format!("# Number {number}\n\n{}\n", text.repeat(9)));
    }
    place.ok("up docs --once");
    place.write("rules.toml", "[vault]\nretain = [{ kind = 'file', age = '0s', live = true }]\n");
    let saved = || place.answer("status")["bytes"]["saved"].as_u64().expect("a number");
    let of_stat = || {
        let stat = place.answer("vault stat");
        stat["saved"]["deduplicated"].as_u64().zip(stat["saved"]["compressed"].as_u64()).map(|(a, b)| a + b)
    };
    let before = saved();
    assert_eq!(Some(before), of_stat());
    let vault = place.vault();
    let done = place.answer(&format!("vault compact --config rules.toml --vault {}", vault.display()));
    assert!(done["expired"]["contents"].as_u64() >= Some(3), "{done}");
    assert!(saved() < before, "{before}");
    assert_eq!(Some(saved()), of_stat());
    place.ok("up docs --once");
    assert_eq!(Some(saved()), of_stat());
}

#[test]
fn passages_of_files_that_are_there_expire_if_a_rule_says_so() {
    let place = place("{ kind = 'file', age = '0s', live = true }");
    let done = place.answer("vault compact --config rules.toml");
    assert!(done["expired"]["contents"].as_u64() >= Some(7), "{done}");
    assert_eq!(gone(&place).len(), chunks(&place).len());
    assert_eq!(place.answer("search tape")["hits"], json!([]));
    assert_eq!(place.answer("verify")["ok"], true);
    place.ok("up docs --once");
    // What the indexer knew of its files is in its own storage.
    assert_eq!(place.answer("replay")["matches"], true);
}

#[test]
fn the_last_word_on_every_file_stays() {
    let place = place("{ age = '0s' }");
    fs::remove_file(place.path().join("docs/page.html")).expect("a file");
    fs::rename(place.path().join("docs/install.md"), place.path().join("docs/setup.md")).expect("a file");
    place.ok("up docs --once");
    assert!(place.answer("vault compact --config rules.toml")["expired"]["contents"].as_u64() >= Some(3));
    fs::remove_dir_all(place.vault().join("local")).expect("what the indexer keeps for itself");
    let again = place.ok("up docs --once --json");
    let summary = again.answer();
    assert_eq!(
        (&summary["files"], &summary["unchanged"], &summary["removed"]),
        (&json!(0), &json!(4), &json!(0))
    );
    assert!(!again.stderr.contains("not understood"), "{}", again.stderr);
    assert_eq!(place.answer("search installer")["hits"][0]["path"], "setup.md");
    assert_eq!(
        place.answer("search potatoes salt tender")["hits"]
            .as_array()
            .map(|hits| { hits.iter().filter(|hit| hit["path"] == "page.html").count() }),
        Some(0)
    );
}

#[test]
fn a_running_runtime_compacts_beside_its_work() {
    let place = place("{ kind = 'file.chunk', age = '0s' }");
    // So much that it is worth the writing.
    let long: String = (0..400).map(|line| format!("Line {line} of {} hymns.\n", line * line)).collect();
    place.write("docs/long.md", long);
    place.ok("up docs --once");
    place.write("docs/long.md", "# Short\n");
    place.ok("up docs --once");
    let mut running = place.start("up docs --config rules.toml");
    let begun = Instant::now();
    while gone(&place).is_empty() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(gone(&place).len() > 1);
    assert_eq!(place.fails(1, "vault compact --config rules.toml")["code"], "locked");
    place.write("docs/more.md", "# More\n\nPaint the fence green.\n");
    while place.answer("search fence green")["hits"][0]["path"] != "more.md"
        && begun.elapsed() < Duration::from_secs(60)
    {
        std::thread::sleep(Duration::from_millis(100));
    }
    let pid = running.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("a signal").success());
    assert!(running.wait().expect("it ends").success());
    assert_eq!(place.answer("verify")["problems"], json!([]));
    assert_eq!(place.answer("search fence green")["hits"][0]["path"], "more.md");
}

#[test]
fn a_segment_of_another_format_is_named() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let segment = place.segments().remove(0);
    let mut bytes = fs::read(&segment).expect("a segment");
    bytes[8] = 3;
    let crc = crc32(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(&segment, bytes).expect("a segment");
    for command in ["status", "verify", "events list", "up docs --once", "vault compact", "vault stat"] {
        let error = place.fails(2, command);
        assert_eq!(error["code"], "format");
        let message = text(&error["message"]);
        assert!(message.contains("format 3") && message.contains("format 2"), "{message}");
    }
}

/// CRC-32 as in gzip.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ 0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1))
    })
}

trait Shown {
    fn answer_of_event(&self, id: &str) -> Value;
}

impl Shown for Place {
    fn answer_of_event(&self, id: &str) -> Value {
        let lines = self.list(&format!("events show {id}"));
        assert_eq!(lines.len(), 1);
        lines[0].clone()
    }
}
