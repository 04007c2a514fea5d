//! What the vault proves to others, and what is found when it is no longer what was signed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use toka_vault::checkpoint::{Checkpoint, LogProof};
use toka_vault::hash::leaf_hash;
use toka_vault::note::{Note, VerifierKey};
use toka_vault::testing::witness::{Mood, WitnessServer};
use toka_vault::{Journal, LogId, Record, Room, Store};

use crate::toka::{Place, text};

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-r").arg(from).arg(to).status();
    assert!(copied.expect("cp runs").success());
}

/// All records of the vault.
fn records(vault: &Path) -> Vec<Arc<Record>> {
    let store = Journal::open_read_only(vault).expect("a vault");
    store.read(&LogId::main(), 0, usize::MAX).expect("records")
}

/// Puts another vault in its place, whole in itself, with these records and new numbers, ids and causes where they are
/// needed.
fn replace(vault: &Path, records: &[Arc<Record>]) {
    fs::remove_dir_all(vault).expect("removed");
    let (store, _) = Journal::open(vault).expect("a vault");
    let mut renamed = std::collections::HashMap::new();
    let mut batch = Vec::new();
    for (seq, record) in records.iter().enumerate() {
        let mut record = Record::clone(record);
        let before = record.header.id;
        record.header.seq = seq as u64;
        for cause in record.header.parents.iter_mut().chain(&mut record.header.prev) {
            *cause = *renamed.get(cause).unwrap_or(cause);
        }
        record.header.id = record.header.causal_digest();
        renamed.insert(before, record.header.id);
        batch.push(Arc::new(record));
    }
    store.append(&LogId::main(), 0, &batch, Room::Ordinary).expect("appended");
    store.close().expect("closed");
}

#[test]
fn a_checkpoint_is_signed_with_a_key_outside_the_vault() {
    let place = Place::with_docs();
    let error = place.fails(2, "vault checkpoint");
    assert_eq!(error["code"], "absent");
    place.ok("init");
    let error = place.fails(1, "vault checkpoint");
    assert!(text(&error["message"]).contains("no events"), "{error}");
    place.ok("up docs --once");
    let (status, made) = (place.answer("status"), place.answer("vault checkpoint"));
    for (here, there) in [("events", "size"), ("root", "root"), ("fold", "fold")] {
        assert_eq!(status[here], made[there], "{here}");
    }
    let (origin, key) = (text(&made["origin"]), text(&made["key"]));
    assert!(origin.starts_with("toka/") && origin.ends_with("/main") && key.starts_with(&origin), "{made}");
    let key: VerifierKey = key.parse().expect("a key");
    let note = Note::parse(text(&made["checkpoint"]).as_bytes()).expect("a note");
    let (checkpoint, signed) = Checkpoint::open(&note, std::slice::from_ref(&key)).expect("signed");
    assert_eq!((checkpoint.size, signed.len()), (made["size"].as_u64().expect("a size"), 1));
    assert_eq!(checkpoint.fold().map(|fold| fold.to_string()), Some(text(&made["fold"])));
    assert_eq!(place.answer("vault checkpoint"), made, "nothing happened in between");

    let state = place.path().join("../home/.local/state/toka");
    let file = fs::metadata(state.join("checkpoint.key")).expect("a key");
    assert_eq!(file.mode() & 0o777, 0o600);
    let secret = fs::read_to_string(state.join("checkpoint.key")).expect("a key");
    let found = std::process::Command::new("grep").args(["-rq", secret.trim()]).arg(place.vault()).status();
    assert_eq!(found.expect("grep runs").code(), Some(1), "the key is not in the vault");

    let printed = place.ok("vault checkpoint --output note").stdout;
    for part in [&origin, &key.to_string(), &text(&made["checkpoint"])] {
        assert!(printed.contains(part), "{printed}");
    }
    assert_eq!(fs::read_to_string(place.path().join("note")).expect("a note"), text(&made["checkpoint"]));
    let own = place.answer("vault checkpoint --origin example.com/log");
    assert_eq!(own["origin"], "example.com/log");
    assert_eq!(place.fails(2, "vault checkpoint --origin a+b")["code"], "usage");
    fs::set_permissions(state.join("checkpoint.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .expect("mode");
    let error = place.fails(1, "vault checkpoint");
    assert!(text(&error["message"]).contains("chmod 600"), "{error}");
}

#[test]
fn an_event_is_proved_to_somebody_without_the_vault() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let kept = place.answer("vault checkpoint");
    place.write("kept", text(&kept["checkpoint"]));
    place.write("docs/more.md", "# More\n\nAnother text.\n");
    place.ok("up docs --once");
    let keys: Vec<VerifierKey> = vec![text(&kept["key"]).parse().expect("a key")];
    for event in place.list("events list --kind file.chunk") {
        let id = text(&event["id"]);
        let proved = place.answer(&format!("vault prove {id}"));
        assert_eq!((&proved["event"], &proved["index"]), (&event["id"], &event["seq"]));
        let proof: LogProof = text(&proved["proof"]).parse().expect("a proof");
        let header = proof.extra.clone().expect("the header");
        let (checkpoint, _) = proof.verify(&leaf_hash(&header), &keys).expect("it holds");
        assert_eq!(checkpoint.root.to_string(), text(&proved["root"]));
        assert_eq!(toka_types::EventHeader::decode(&header).expect("a header").id.to_string(), id);
        assert!(proof.verify(&leaf_hash(b"something else"), &keys).is_err());
        let printed = place.ok(&format!("vault prove {id}")).stdout;
        assert_eq!(printed, text(&proved["proof"]));
        let old = event["seq"].as_u64() < kept["size"].as_u64();
        let by_old = format!("vault prove {id} --checkpoint kept");
        if old {
            let proof: LogProof = place.ok(&by_old).stdout.parse().expect("a proof");
            assert_eq!(proof.verify(&leaf_hash(&header), &keys).expect("it holds").0.size, kept["size"]);
        } else {
            assert!(text(&place.fails(1, &by_old)["message"]).contains("younger"));
        }
    }
    assert_eq!(place.fails(1, "vault prove abcdef012345")["code"], "unknown");
    assert_eq!(place.fails(2, "vault prove xyz")["code"], "usage");
}

#[test]
fn what_is_not_what_was_signed_is_found_and_named() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let young = place.path().join("young");
    copy(&place.vault(), &young);
    place.write("docs/more.md", "# More\n\nAnother text.\n");
    place.ok("up docs --once");
    place.ok("vault checkpoint --output kept");
    let whole = place.path().join("whole");
    copy(&place.vault(), &whole);
    let good = place.answer("verify --against kept");
    assert_eq!((&good["ok"], &good["checkpoint"]["size"]), (&true.into(), &good["events"]));
    place.write("docs/again.md", "# Again\n\nYet another text.\n");
    place.ok("up docs --once");
    assert_eq!(place.answer("verify --against kept")["ok"], true, "the log goes on");

    let all = records(&whole);
    let size = all.len();
    let check = |what: &str, seq: usize, records: &[Arc<Record>]| {
        replace(&place.vault(), records);
        assert_eq!(place.answer("verify")["ok"], true, "{what}: it is whole in itself");
        let ran = place.run("verify --against kept --json");
        assert_eq!(ran.code, Some(6), "{what}: {}{}", ran.stdout, ran.stderr);
        let problem = ran.answer()["problems"][0].clone();
        assert_eq!(
            (&problem["what"], &problem["seq"]),
            (&"checkpoint".into(), &seq.into()),
            "{what}: {problem}"
        );
        let told = place.run("verify --against kept");
        assert!(
            told.code == Some(6) && told.stdout.contains(&format!("event {seq}")),
            "{what}: {}",
            told.stdout
        );
        let refused = place.fails(6, "vault checkpoint");
        assert!(text(&refused["message"]).contains("does not go on"), "{what}: {refused}");
    };
    let mut changed = all.clone();
    Arc::make_mut(&mut changed[4]).header.facts = vec![0x80];
    check("a changed event", 4, &changed);
    let mut later = all.clone();
    Arc::make_mut(&mut later[size - 1]).header.at.0 += 1;
    check("a changed time", size - 1, &later);
    let mut dropped = all.clone();
    let gone = dropped.remove(size - 3).header.clone();
    for record in dropped.iter_mut().filter(|record| record.header.prev == Some(gone.id)) {
        Arc::make_mut(record).header.prev = gone.prev;
    }
    dropped
        .iter_mut()
        .for_each(|record| Arc::make_mut(record).header.parents.retain(|cause| *cause != gone.id));
    check("a dropped event", size - 3, &dropped);
    let mut inserted = all.clone();
    let mut more = Record::clone(&all[5]);
    more.header.facts = vec![0x81, 0xa1, b'x', 1];
    inserted.insert(6, Arc::new(more));
    check("an inserted event", 6, &inserted);
    let mut swapped = all.clone();
    // The end of a turn may lie between an author's events.
    let follows = |at: usize| all[at + 1].header.prev == Some(all[at].header.id);
    let at =
        (3..size - 3).find(|&at| follows(at) && follows(at + 1)).expect("three of one author's, in a row");
    let (first, second) = (all[at].header.clone(), all[at + 1].header.clone());
    let moved = &mut Arc::make_mut(&mut swapped[at + 1]).header;
    (moved.prev, moved.at) = (first.prev, first.at);
    Arc::make_mut(&mut swapped[at]).header.prev = Some(second.id);
    Arc::make_mut(&mut swapped[at + 2]).header.prev = Some(first.id);
    swapped.swap(at, at + 1);
    check("events in another order", at, &swapped);
    check("a truncated log", size - 2, &all[..size - 2]);

    fs::remove_dir_all(place.vault()).expect("removed");
    copy(&young, &place.vault());
    let restored = place.run("verify --against kept --json");
    assert_eq!(restored.code, Some(6));
    let problem = restored.answer()["problems"][0].clone();
    assert_eq!(problem["seq"], place.answer("status")["events"], "{problem}");
    assert!(text(&problem["detail"]).contains("older state"), "{problem}");
}

#[test]
fn a_checkpoint_counts_only_if_the_right_key_signed_it() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let made = place.answer("vault checkpoint");
    let note = text(&made["checkpoint"]);
    let key = text(&made["key"]);
    place.write("note", &note);
    place.write("json", made.to_string());
    place.write("printed", place.ok("vault checkpoint").stdout);
    for file in ["note", "json", "printed"] {
        assert_eq!(place.answer(&format!("verify --against {file}"))["ok"], true, "{file}");
    }
    assert_eq!(place.answer(&format!("verify --against note --key {key}"))["ok"], true);
    let size = format!("\n{}\n", made["size"]);
    for (what, changed) in [
        ("another size", note.replacen(&size, "\n1\n", 1)),
        ("another fold", note.replacen("fold ", "fold 0", 1)),
        ("no signature", note.split_once("\n\n").expect("a note").0.to_owned()),
        ("another name", note.replacen("\u{2014} toka", "\u{2014} tika", 1)),
        ("nothing", String::new()),
    ] {
        place.write("changed", changed);
        assert_eq!(place.run("verify --against changed").code, Some(6), "{what}");
    }
    assert_eq!(place.fails(2, "verify --against none")["code"], "absent");
    assert_eq!(place.fails(2, "verify --against note --key x")["code"], "usage");

    // Somebody else has to say which key it is.
    let stranger = Place::new();
    copy(&place.vault(), &stranger.vault());
    stranger.write("note", &note);
    assert_eq!(stranger.fails(2, "verify --against note")["code"], "usage");
    assert_eq!(stranger.answer(&format!("verify --against note --key {key}"))["ok"], true);
    let other = text(&stranger.answer("vault checkpoint")["key"]);
    assert_ne!(other, key);
    assert_eq!(stranger.run(&format!("verify --against note --key {other}")).code, Some(6));
    assert_eq!(stranger.run(&format!("verify --against note --key {key} --key {other}")).code, Some(6));
}

#[test]
fn witnesses_cosign() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let made = place.answer("vault checkpoint");
    let (origin, key) = (text(&made["origin"]), text(&made["key"]));
    let (one, two) = (WitnessServer::start(11), WitnessServer::start(12));
    let asked = format!("--witness {} --witness-key {}", one.url(), one.key());
    let refused = place.fails(1, &format!("vault checkpoint {asked}"));
    assert!(text(&refused["hint"]).contains("origin"), "{refused}");
    for witness in [&one, &two] {
        witness.know(&origin, key.parse().expect("a key"));
    }
    let both = format!("{asked} --witness {} --witness-key {}", two.url(), two.key());
    let cosigned = place.answer(&format!("vault checkpoint {both} --output kept"));
    assert_eq!(cosigned["cosignatures"][1]["witness"], two.key().name());
    assert_eq!(cosigned["cosignatures"][0]["at"], "2026-01-01T00:00:00.000000Z");
    let keys = format!("--key {key} --key {} --key {}", one.key(), two.key());
    let verified = place.answer(&format!("verify --against kept {keys}"));
    assert_eq!(verified["checkpoint"]["signed_by"].as_array().map(Vec::len), Some(3), "{verified}");
    assert_eq!(place.answer("vault checkpoint")["checkpoint"], cosigned["checkpoint"], "cosignatures stay");

    place.write("docs/more.md", "# More\n\nAnother text.\n");
    place.ok("up docs --once");
    let grown = place.answer(&format!("vault checkpoint {both}"));
    let size = grown["size"].as_u64().expect("a size");
    assert_eq!(one.latest(&origin).map(|(size, _)| size), Some(size));

    // One witness that does not answer keeps nobody from asking the other.
    place.write("docs/again.md", "# Again\n\nYet another text.\n");
    place.ok("up docs --once");
    one.be(Mood::Silent);
    let ran = place.run(&format!("vault checkpoint {both} --json"));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert_eq!(ran.answer()["cosignatures"][0]["witness"], two.key().name());
    assert_eq!(ran.error()["code"], "failed");

    // A witness remembers what the operator's own disk may not.
    let mut all = records(&place.vault());
    all.truncate(all.len() - 2);
    replace(&place.vault(), &all);
    fs::remove_dir_all(place.path().join("../home/.local/state/toka/checkpoints")).expect("removed");
    let error =
        place.fails(6, &format!("vault checkpoint --witness {} --witness-key {}", two.url(), two.key()));
    assert!(text(&error["message"]).contains("older state"), "{error}");
    assert_eq!(place.fails(2, &format!("vault checkpoint --witness {}", one.url()))["code"], "usage");
    assert_eq!(
        place.fails(2, &format!("vault checkpoint --witness {} --witness-key {key}", one.url()))["code"],
        "usage"
    );
}
