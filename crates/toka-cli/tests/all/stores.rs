//! Vaults that other stores keep, as far as this build has them.

use std::fs;
use std::process::Command;
use std::time::Instant;

use crate::toka::{Place, text};

/// The stores beside the journal, and whether this build has them.
const OTHERS: [(&str, bool); 3] = [
    ("sqlite", cfg!(feature = "sqlite")),
    ("sled", cfg!(feature = "sled")),
    ("rocksdb", cfg!(feature = "rocksdb")),
];

fn built() -> impl Iterator<Item = &'static str> {
    OTHERS.into_iter().filter(|(_, built)| *built).map(|(name, _)| name)
}

/// Gives the vault's manifest another engine than `from`.
fn rename_engine(place: &Place, from: &str, to: &str) {
    let path = place.vault().join("manifest");
    let text = fs::read_to_string(&path).expect("a manifest");
    let body = text.rsplit_once("blake3 ").expect("a checksum").0;
    let body = body.replace(&format!("\"engine\": \"{from}\""), &format!("\"engine\": \"{to}\""));
    let checksum = toka_types::Digest::of(body.as_bytes());
    fs::write(&path, format!("{body}blake3 {checksum}\n")).expect("a file");
}

#[test]
fn a_store_that_is_not_built_is_named_with_its_feature() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    for (name, _) in OTHERS.into_iter().filter(|(_, built)| !built) {
        rename_engine(&place, "journal", name);
        for command in ["status", "events list", "verify", "replay", "init", "up docs --once", "search x"] {
            let error = place.fails(2, command);
            let message = text(&error["message"]);
            assert!(message.contains(&format!("the feature `{name}`")), "{command}: {message}");
            assert_eq!(error["code"], "store");
        }
        rename_engine(&place, name, "journal");
        let there = format!("elsewhere-{name}");
        for command in
            [format!("init --store {name} --vault {there}"), format!("vault migrate --to {name} {there}")]
        {
            let error = place.fails(2, &command);
            assert!(text(&error["hint"]).contains(&format!("--features {name}")), "{error}");
            assert!(!place.path().join(&there).exists());
        }
    }
    rename_engine(&place, "journal", "abacus");
    assert!(text(&place.fails(2, "status")["message"]).contains("abacus"));
    let error = place.fails(2, "init --store abacus --vault other");
    assert!(text(&error["message"]).contains("abacus"), "{error}");
}

#[test]
fn a_vault_moves_with_all_that_is_in_it() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let (before, hits) = (place.answer("status"), place.answer("search restore archive")["hits"].clone());
    let events = place.list("events list --from 0 --limit 10000");
    for store in ["journal"].into_iter().chain(built()) {
        let moved = place.answer(&format!("vault migrate --to {store} moved-{store}"));
        assert_eq!(
            (&moved["store"], &moved["events"], &moved["root"]),
            (&store.into(), &before["events"], &before["root"])
        );
        let vault = format!("--vault moved-{store}");
        let after = place.answer(&format!("status {vault}"));
        for key in ["log", "events", "head", "root", "fold", "world", "agents", "intents"] {
            assert_eq!(after[key], before[key], "{store}: {key}");
        }
        assert_eq!(after["store"], store);
        assert_eq!(place.list(&format!("events list --from 0 --limit 10000 {vault}")), events);
        assert_eq!(place.answer(&format!("search restore archive {vault}"))["hits"], hits);
        assert_eq!(place.answer(&format!("verify {vault}"))["problems"], serde_json::json!([]));
        assert_eq!(place.answer(&format!("replay {vault}"))["matches"], true);
        let error = place.fails(2, &format!("vault migrate --to {store} moved-{store}"));
        assert!(text(&error["message"]).contains("already"), "{error}");
        assert_eq!(place.answer(&format!("up docs --once {vault}"))["files"], 0, "it goes on where it was");
    }
    assert_eq!(place.answer("status")["root"], before["root"], "the old vault is as it was");
}

#[test]
fn a_killed_run_is_completed_by_the_next() {
    let undisturbed = Place::new();
    let write_files = |place: &Place| {
        for number in 0..120 {
            let text = format!("# Title {number}\n\n{}", "Words of one text.\n".repeat(20 + number));
            place.write(format!("docs/f{number}.md"), text);
        }
    };
    write_files(&undisturbed);
    let began = Instant::now();
    undisturbed.ok("up docs --once");
    let whole = began.elapsed();
    for store in built() {
        let place = Place::new();
        write_files(&place);
        place.ok(&format!("init --store {store}"));
        for part in [2, 3, 4] {
            let mut child = place.start("up docs --once");
            std::thread::sleep(whole * part / 4);
            // A run may be done by then; it is killed all the same if it is not.
            let _ = child.kill();
            child.wait().expect("it ends");
        }
        place.ok("up docs --once");
        assert_eq!(place.outcome(), undisturbed.outcome(), "{store}");
        assert_eq!(place.answer("verify")["ok"], true, "{store}");
        assert_eq!(place.answer("replay")["matches"], true, "{store}");
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    // The others keep so much free that it takes long to get there; that they refuse in time is a test of the vault's.
    for store in built().filter(|store| *store == "sqlite") {
        let place = Place::new();
        let disk = place.path().join("disk");
        fs::create_dir(&disk).expect("a directory");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&disk).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            eprintln!("no right to mount a file system: not tested here");
            return;
        }
        for number in 0..40_u32 {
            // Words in no order compress badly, and are few enough to be counted quickly.
            let mut state = number.wrapping_mul(2_654_435_761).wrapping_add(1);
            let words = (0..8000).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                format!("w{:x}", (state >> 20).wrapping_mul(2_654_435_761))
            });
            place.write(format!("docs/f{number}.txt"), words.collect::<Vec<_>>().join(" "));
        }
        place.ok(&format!("init --store {store} --vault disk/vault"));
        let error = place.fails(1, "up docs --once --vault disk/vault");
        let verified = place.answer("verify --vault disk/vault");
        let grown = Command::new("mount").args(["-o", "remount,size=256m"]).arg(&disk).status();
        let again = place.run("up docs --once --vault disk/vault --json");
        let unmounted = Command::new("umount").arg(&disk).status();
        assert_eq!(error["code"], "disk-full", "{store}: {error}");
        assert_eq!(verified["ok"], true, "{store}: {verified}");
        assert!(grown.is_ok_and(|status| status.success()) && unmounted.is_ok_and(|status| status.success()));
        assert_eq!(again.code, Some(0), "{store}: {}", again.stderr);
        let summary = again.answer();
        let files = summary["files"].as_u64().zip(summary["unchanged"].as_u64());
        assert_eq!(files.map(|(new, old)| new + old), Some(40), "{store}: {summary}");
    }
}

#[test]
fn every_store_runs_agents() {
    let journal = Place::with_docs();
    journal.ok("up docs --once");
    for store in built() {
        let place = Place::with_docs();
        let made = place.answer(&format!("init --store {store}"));
        assert_eq!((&made["created"], &made["store"]), (&true.into(), &store.into()));
        assert_eq!(place.answer("init")["created"], false);
        assert_eq!(place.fails(2, "init --store journal")["code"], "store");
        place.ok("up docs --once");
        assert_eq!(place.outcome(), journal.outcome(), "{store}");
        place.write("docs/later.md", "# Later\n\nA page that came later.\n");
        assert_eq!(place.answer("up docs --once")["files"], 1);
        assert_eq!(place.answer("verify")["ok"], true);
        assert_eq!(place.answer("replay")["matches"], true);
        assert!(place.answer("status")["bytes"]["log"].as_u64() > Some(0));
    }
}
