//! A vault's log in one file: written, looked at, checked, taken over.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::toka::{Place, text};

/// A place with a vault of the usual texts.
fn filled() -> Place {
    let place = Place::with_docs();
    place.ok("up docs --once");
    place
}

#[test]
fn a_bundle_is_looked_at_like_a_vault() {
    let place = filled();
    let made = place.answer("vault export all.bundle");
    let status = place.answer("status");
    assert_eq!(
        (&made["events"], &made["root"], &made["gone"]),
        (&status["events"], &status["root"], &0.into())
    );
    let elsewhere = Place::new();
    fs::copy(place.path().join("all.bundle"), elsewhere.path().join("all.bundle")).expect("a copy");
    let there = elsewhere.answer("status --vault all.bundle");
    for key in ["events", "head", "root", "fold", "world", "log", "agents"] {
        assert_eq!(there[key], status[key], "{key}");
    }
    let events = place.list("events list --from 0 --limit 1000");
    assert_eq!(elsewhere.list("events list --from 0 --limit 1000 --vault all.bundle"), events);
    assert_eq!(
        elsewhere.list("events list --kind file.chunk --vault all.bundle"),
        place.list("events list --kind file.chunk")
    );
    let id = text(&events[3]["id"]);
    assert_eq!(
        elsewhere.list(&format!("events show {id} --vault all.bundle")),
        place.list(&format!("events show {id}"))
    );
    assert_eq!(
        elsewhere.answer("search restore archive --vault all.bundle")["hits"],
        place.answer("search restore archive")["hits"]
    );
    let replay = elsewhere.answer("replay --vault all.bundle");
    assert_eq!((&replay["fold"], &replay["matches"]), (&status["fold"], &true.into()));
    let key = text(&made["key"]);
    let verified = elsewhere.answer(&format!("verify --vault all.bundle --key {key}"));
    assert_eq!((&verified["ok"], &verified["checkpoint"]["size"]), (&true.into(), &status["events"]));
    assert_eq!(verified["checkpoint"]["signed_by"], serde_json::json!([key]));
    let ran = elsewhere.ok("verify --vault all.bundle --json");
    assert!(ran.stderr.contains("nobody vouches") && ran.answer()["ok"] == true, "{}", ran.stderr);
    assert_eq!(
        place.answer("verify --vault all.bundle")["checkpoint"]["signed_by"],
        serde_json::json!([key])
    );
    let proof = elsewhere.answer(&format!("vault prove {id} --vault all.bundle"));
    assert_eq!(proof["hashes"], place.answer(&format!("vault prove {id}"))["hashes"]);
    for arguments in ["vault checkpoint", "vault export again.bundle", "up docs --once"] {
        let refused = place.run(&format!("{arguments} --vault all.bundle"));
        assert!([1, 2].contains(&refused.code.expect("a code")), "{arguments}: {}", refused.stderr);
    }
    let again = place.path().join("again.bundle");
    place.ok("vault export again.bundle");
    assert_eq!(fs::read(&again).expect("a file"), fs::read(place.path().join("all.bundle")).expect("a file"));
}

#[test]
fn content_is_left_out_and_nothing_else() {
    let place = filled();
    let chunks = place.list("events list --kind file.chunk");
    let (first, second) = (text(&chunks[0]["id"]), text(&chunks[1]["id"]));
    let check = |options: &str, gone: &dyn Fn(&str, &str) -> bool| {
        let made = place.answer(&format!("vault export part.bundle {options}"));
        assert_eq!(place.answer("verify --vault part.bundle")["ok"], true, "{options}");
        let (before, after) = (
            place.list("events list --from 0 --limit 999"),
            place.list("events list --from 0 --limit 999 --vault part.bundle"),
        );
        assert_eq!(before.len(), after.len());
        let mut count = 0;
        for (before, after) in before.iter().zip(&after) {
            let (kind, id) = (text(&before["kind"]), text(&before["id"]));
            assert_eq!(
                (&before["id"], &before["digest"], &before["facts"]),
                (&after["id"], &after["digest"], &after["facts"])
            );
            if before["digest"].is_null() || !gone(&kind, &id) {
                assert_eq!(before["content"], after["content"], "{options}: {kind}");
            } else {
                count += 1;
                assert_eq!(
                    (after["content"].is_null(), &after["gone"]),
                    (true, &"redacted".into()),
                    "{options}: {after}"
                );
            }
        }
        assert!(count > 0 && made["gone"].as_u64() > Some(0), "{options}: {made}");
        assert_eq!(place.answer("replay --vault part.bundle")["matches"], true, "{options}");
        let shown = place.ok(&format!("events show {first} --vault part.bundle")).stdout;
        assert_eq!(shown.contains("redacted"), gone("file.chunk", &first), "{options}: {shown}");
    };
    check("--redact file.chunk", &|kind, _| kind == "file.chunk");
    check("--redact file", &|kind, _| kind.starts_with("file."));
    check(&format!("--redact event:{first}"), &|_, id| id == first);
    check(&format!("--redact event:{first} --redact event:{second}"), &|_, id| id == first || id == second);
    check("--redact author:IndexerAgent", &|kind, _| kind.starts_with("file.") || kind == "tool.returned");
    check("--redact label:untrusted:file", &|kind, _| kind.starts_with("file.") || kind == "tool.returned");
    check("--kind file.indexed", &|kind, _| kind != "file.indexed");
    // What selects nothing is said: it may be a mistake, after which there is more in the file than it should have.
    let ran = place.ok("vault export part.bundle --kind file.chunks");
    assert!(ran.stderr.contains("--kind selects none"), "{}", ran.stderr);
    let ran = place.ok("vault export part.bundle --kind file.chunk");
    assert!(!ran.stderr.contains("selects none"), "{}", ran.stderr);
    let ran = place.ok("vault export part.bundle --redact author:nobody --redact file.chunk");
    assert!(
        ran.stderr.contains("author:nobody selects none") && !ran.stderr.contains("file.chunk"),
        "{}",
        ran.stderr
    );
    let unknown = "0".repeat(64);
    assert_eq!(
        place.fails(1, &format!("vault export none.bundle --redact event:{unknown}"))["code"],
        "unknown"
    );
    assert!(!place.path().join("none.bundle").exists());
    for command in [
        "vault stat",
        "vault compact",
        "vault rotate",
        "vault erase --subject x",
        "vault migrate --to journal m",
    ] {
        assert_eq!(place.fails(2, &format!("{command} --vault part.bundle"))["code"], "usage", "{command}");
    }
    place.ok("vault export part.bundle --redact file.chunk");
    assert_eq!(place.answer("search archive --vault part.bundle")["hits"], serde_json::json!([]));
    // What was left out stays out of the vault that is made of it, and all else is as it was.
    let redacted = place.list("events list --from 0 --limit 999 --vault part.bundle");
    let imported = place.answer("vault import part.bundle --vault other");
    assert_eq!(
        (&imported["added"], &imported["root"]),
        (&redacted.len().into(), &place.answer("status")["root"])
    );
    assert!(imported["gone"].as_u64() > Some(0), "{imported}");
    place.ok("vault export whole.bundle");
    let again = place.answer("vault import whole.bundle --vault other");
    assert_eq!((&again["added"], &again["gone"]), (&0.into(), &0.into()));
    assert_eq!(place.list("events list --from 0 --limit 999 --vault other"), redacted);
    assert_eq!(place.answer("verify --vault other")["problems"], serde_json::json!([]));
    assert_eq!(place.answer("replay --vault other")["matches"], true);
    place.ok("vault export again.bundle --vault other --unsigned");
    assert_eq!(place.list("events list --from 0 --limit 999 --vault again.bundle"), redacted);
    for wrong in ["--redact colour:red", "--redact event:xyz", "--from 9999", "--to 9999", "--from 5 --to 3"]
    {
        assert_eq!(place.fails(2, &format!("vault export none.bundle {wrong}"))["code"], "usage", "{wrong}");
    }
    assert!(!place.path().join("none.bundle").exists());
}

#[test]
fn a_stretch_leads_to_what_was_signed() {
    let place = filled();
    let events = place.list("events list --from 0 --limit 999");
    let made = place.answer("vault export part.bundle --from 7 --to 12");
    assert_eq!((&made["from"], &made["to"], &made["events"]), (&7.into(), &12.into(), &6.into()));
    let listed = place.list("events list --from 0 --vault part.bundle");
    let found = place.answer("search installer archive packets greeting potatoes --vault part.bundle");
    let hits: Vec<String> = found["hits"].as_array().unwrap().iter().map(|hit| text(&hit["event"])).collect();
    assert!(
        !hits.is_empty() && hits.iter().collect::<std::collections::BTreeSet<_>>().len() == hits.len(),
        "{found}"
    );
    assert_eq!(
        listed.iter().map(|e| &e["id"]).collect::<Vec<_>>(),
        events[7..13].iter().map(|e| &e["id"]).collect::<Vec<_>>()
    );
    let verified = place.answer("verify --vault part.bundle");
    assert_eq!((&verified["events"], &verified["checkpoint"]["size"]), (&6.into(), &events.len().into()));
    let status = place.answer("status --vault part.bundle");
    assert_eq!((&status["events"], &status["head"]["seq"]), (&6.into(), &12.into()));
    assert!(status["fold"].is_null() && status["world"].is_null(), "{status}");
    assert_eq!(place.fails(1, "replay --vault part.bundle")["code"], "failed");
    assert_eq!(place.answer("vault export part.bundle --unsigned")["key"], serde_json::Value::Null);
    assert_eq!(place.run(&format!("verify --vault part.bundle --key {}", text(&made["key"]))).code, Some(6));
}

#[test]
fn a_bundle_becomes_a_vault() {
    let place = filled();
    let made = place.answer("vault export one.bundle --to 10");
    let key = text(&made["key"]);
    place.ok("vault export two.bundle --from 11");
    let other = Place::new();
    for name in ["one.bundle", "two.bundle"] {
        fs::copy(place.path().join(name), other.path().join(name)).expect("a copy");
    }
    let early = other.fails(1, "vault import two.bundle --vault new");
    assert!(text(&early["message"]).contains("begins with event 11"), "{early}");
    assert!(!other.path().join("new").exists(), "nothing is made for what is refused");
    let imported = other.answer(&format!("vault import one.bundle --vault new --key {key}"));
    assert_eq!((&imported["before"], &imported["added"]), (&0.into(), &11.into()));
    assert_eq!(other.answer("vault import two.bundle --vault new")["root"], place.answer("status")["root"]);
    assert_eq!(other.answer("vault import two.bundle --vault new")["added"], 0);
    let (here, there) = (place.answer("status"), other.answer("status --vault new"));
    for same in ["events", "head", "root", "fold", "world"] {
        assert_eq!(here[same], there[same], "{same}");
    }
    assert_eq!(other.answer("verify --vault new")["ok"], true);
    other.write("docs/a.md", "# Another\n");
    other.ok("up docs --once --vault third");
    let error = other.fails(1, "vault import one.bundle --vault third");
    assert!(text(&error["message"]).contains("not the one of the bundle"), "{error}");
    let stranger = text(&other.answer("vault checkpoint --vault third")["key"]);
    assert_eq!(other.run(&format!("vault import one.bundle --vault fourth --key {stranger}")).code, Some(6));
}

#[test]
fn every_flipped_byte_of_a_bundle_is_found() {
    let place = Place::new();
    place.write("docs/a.md", "# A\n\nA text.\n");
    place.ok("up docs --once");
    place.ok("vault export a.bundle");
    let path = place.path().join("a.bundle");
    let whole = fs::read(&path).expect("a file");
    for at in (0..whole.len()).step_by(whole.len() / 24) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x04;
        fs::write(&path, bytes).expect("a file");
        let ran = place.run("verify --vault a.bundle --json");
        assert_eq!(ran.code, Some(6), "byte {at}: {}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.answer()["problems"][0]["file"], "a.bundle");
        assert_eq!(place.run("status --vault a.bundle").code, Some(6), "byte {at}");
    }
    // An origin that no key could have for a name is damage, and nothing that whoever looks has asked for.
    let origin = whole.windows(5).position(|five| five == b"toka/").expect("the checkpoint's origin");
    for byte in *b"+ \x7f" {
        let mut bytes = whole.clone();
        bytes[origin + 1] = byte;
        fs::write(&path, &bytes).expect("a file");
        assert_eq!(place.run("verify --vault a.bundle").code, Some(6), "{byte:#x}");
    }
}

/// The other program that reads bundles needs Python with two packages; without them there is nothing to compare.
#[test]
fn the_verifier_in_python_agrees() {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/verify_bundle.py");
    let python = std::env::var("TOKA_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let there = Command::new(&python).args(["-c", "import blake3, cryptography"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "no Python with blake3 and cryptography ({python}): not tested here; TOKA_PYTHON names one"
        );
        return;
    }
    let place = filled();
    let key = text(&place.answer("vault export all.bundle")["key"]);
    place.ok("vault export part.bundle --from 7 --to 12 --redact file.chunk");
    let agree = |name: &str| {
        let ours = place.run(&format!("verify --vault {name} --key {key} --json"));
        let theirs = Command::new(&python)
            .arg(&tool)
            .arg(place.path().join(name))
            .args(["--key", &key, "--json"])
            .output();
        let theirs = theirs.expect("the verifier runs");
        assert_eq!(
            theirs.status.code(),
            ours.code,
            "{name}: {}{}",
            ours.stdout,
            String::from_utf8_lossy(&theirs.stderr)
        );
        let told: serde_json::Value = serde_json::from_slice(&theirs.stdout).expect("JSON");
        let ours = ours.answer();
        assert_eq!(
            (&told["ok"], &told["events"], &told["root"]),
            (&ours["ok"], &ours["events"], &ours["root"]),
            "{name}"
        );
        told["ok"] == true
    };
    assert!(agree("all.bundle") && agree("part.bundle"));
    for name in ["all.bundle", "part.bundle"] {
        let whole = fs::read(place.path().join(name)).expect("a file");
        for at in (20..whole.len() - 32).step_by(whole.len() / 9) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            place.write("flipped.bundle", &bytes);
            assert!(!agree("flipped.bundle"), "{name} byte {at}");
            // The same under a right digest: what is wrong lies in what it says.
            let body = bytes.len() - 32;
            let digest = toka_types::Digest::of(&bytes[..body]);
            bytes[body..].copy_from_slice(&digest.0);
            place.write("resealed.bundle", &bytes);
            agree("resealed.bundle");
        }
    }
    let mut bytes = fs::read(place.path().join("all.bundle")).expect("a file");
    let origin = bytes.windows(5).position(|five| five == b"toka/").expect("the checkpoint's origin");
    bytes[origin + 1] = b'+';
    let body = bytes.len() - 32;
    let digest = toka_types::Digest::of(&bytes[..body]);
    bytes[body..].copy_from_slice(&digest.0);
    place.write("named.bundle", &bytes);
    assert!(!agree("named.bundle"));
}
