//! Vaults that are not what was written, copied ones, and disks without room.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::toka::Place;

fn flip(file: &Path, offset: usize) {
    let mut bytes = fs::read(file).expect("a file");
    bytes[offset] ^= 0x20;
    fs::write(file, bytes).expect("a file");
}

#[test]
fn a_flipped_byte_is_found() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let segment = place.segments().remove(0);
    let end =
        usize::try_from(place.answer("status")["bytes"]["log"].as_u64().expect("a number")).expect("a size");
    let manifest = place.vault().join("manifest");
    let in_manifest = fs::read(&manifest).expect("a manifest").len() / 2;
    for (file, offset) in [
        (&segment, 3),
        (&segment, end / 3),
        (&segment, end / 2),
        (&segment, end - 1),
        (&manifest, in_manifest),
    ] {
        flip(file, offset);
        let ran = place.run("verify --json");
        assert_eq!(ran.code, Some(6), "{} {offset}: {}{}", file.display(), ran.stdout, ran.stderr);
        let report = ran.answer();
        assert_eq!(report["ok"], false);
        let name = file.to_string_lossy();
        let named = report["problems"]
            .as_array()
            .is_some_and(|problems| problems.iter().any(|problem| problem["file"] == *name));
        assert!(named, "{report}");
        assert_eq!(place.run("verify").code, Some(6));
        if *file == segment && (end / 4..end - 1).contains(&offset) {
            assert_eq!(place.run("replay").code, Some(6));
        }
        flip(file, offset);
    }
    assert_eq!(place.answer("verify")["ok"], true);
}

#[test]
fn a_flipped_projection_is_reported_and_made_again() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let hits = place.answer("search restore archive")["hits"].clone();
    let projections = place.vault().join("projections");
    for entry in fs::read_dir(&projections).expect("projections") {
        let file = entry.expect("an entry").path();
        let middle = fs::read(&file).expect("a file").len() / 2;
        flip(&file, middle);
        let ran = place.ok("verify --json");
        let report = ran.answer();
        assert_eq!(report["ok"], true, "the log is whole: {report}");
        assert_eq!(report["problems"][0]["what"], "projection", "{report}");
        assert!(ran.stderr.contains("toka up --once"), "{}", ran.stderr);
        assert_eq!(place.answer("search restore archive")["hits"], hits);
        place.ok("up docs --once");
        assert_eq!(place.answer("verify")["problems"], serde_json::json!([]), "{}", file.display());
    }
}

#[test]
fn damage_that_is_met_on_the_way_does_not_spoil_an_answer() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let event = place.answer("search archive")["hits"][0]["event"].clone();
    let questions = [
        "search restore archive".to_owned(),
        "intents list --json".to_owned(),
        format!("intents near {} --json", crate::toka::text(&event)),
    ];
    let answers = questions.each_ref().map(|question| place.ok(question).stdout);
    let file = place.vault().join("projections/search.idx");
    let whole = fs::read(&file).expect("a projection");
    let mut told = 0;
    for part in 1..16 {
        flip(&file, whole.len() * part / 16);
        for (question, answer) in questions.iter().zip(&answers) {
            let ran = place.ok(question);
            assert_eq!(ran.stdout, *answer, "{question}: byte {part}/16");
            told += usize::from(ran.stderr.contains("an index built for it"));
        }
        fs::write(&file, &whole).expect("a file");
    }
    assert!(told > 0);
}

#[test]
fn a_copy_is_the_same_vault() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let elsewhere = Place::new();
    let copied = Command::new("cp").arg("-r").arg(place.vault()).arg(elsewhere.vault()).status();
    assert!(copied.expect("cp runs").success());
    let (here, there) = (place.answer("status"), elsewhere.answer("status"));
    for key in ["events", "head", "root", "fold", "world", "intents"] {
        assert_eq!(here[key], there[key], "{key}");
    }
    let (status, replay) = (here, elsewhere.answer("replay"));
    for key in ["events", "fold", "world"] {
        assert_eq!(status[key], replay[key], "{key}");
    }
    assert_eq!(replay["matches"], true);
    assert_eq!(place.answer("search archive")["hits"], elsewhere.answer("search archive")["hits"]);
}

#[test]
fn a_format_of_another_version_is_refused() {
    let place = Place::new();
    place.ok("init");
    let manifest = place.vault().join("manifest");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    let (said, _) = text.split_once("blake3 ").expect("a checksum");
    let newer =
        said.replacen("\"format\": 1", "\"format\": 2", 1).replacen("\"format\":1", "\"format\":2", 1);
    assert_ne!(newer, said);
    let checksum = toka_types::Digest::of(newer.as_bytes());
    fs::write(&manifest, format!("{newer}blake3 {checksum}\n")).expect("a file");
    for arguments in ["status", "verify", "up --once"] {
        let error = place.fails(2, arguments);
        assert_eq!(error["code"], "format", "{arguments}: {error}");
    }
}

/// A file system without room needs the right to mount one; without it there is nothing to see.
#[test]
fn a_full_disk_loses_nothing() {
    let place = Place::new();
    let disk = place.path().join("disk");
    fs::create_dir(&disk).expect("a directory");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&disk).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("no right to mount a file system: not tested here");
        return;
    }
    for number in 0..40_u32 {
        // Words in no order compress badly, and are few enough to be counted quickly.
        let mut state = number.wrapping_mul(2_654_435_761).wrapping_add(1);
        let words: Vec<String> = (0..8000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                format!("w{:x}", (state >> 20).wrapping_mul(2_654_435_761))
            })
            .collect();
        place.write(format!("docs/f{number}.txt"), words.join(" "));
    }
    let error = place.fails(1, "up docs --once --vault disk/vault");
    let verified = place.answer("verify --vault disk/vault");
    let grown =
        Command::new("mount").args(["-o", "remount,size=256m"]).arg(&disk).status().expect("mount runs");
    let again = place.run("up docs --once --vault disk/vault --json");
    let searched = place.answer("status --vault disk/vault");
    let unmounted = Command::new("umount").arg(&disk).status().expect("umount runs");
    assert_eq!(error["code"], "disk-full", "{error}");
    assert!(error["hint"].is_string(), "{error}");
    assert_eq!(verified["ok"], true, "{verified}");
    assert!(grown.success() && unmounted.success());
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    let summary = again.answer();
    let files = summary["files"].as_u64().zip(summary["unchanged"].as_u64());
    assert_eq!(files.map(|(new, old)| new + old), Some(40), "{summary}");
    assert!(searched["events"].as_u64() > Some(80), "{searched}");
}

/// The log has its room already, the index that is written anew beside the old one has none.
#[test]
fn a_full_disk_that_stops_an_index_is_called_full() {
    let place = Place::new();
    let disk = place.path().join("disk");
    fs::create_dir(&disk).expect("a directory");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(&disk).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("no right to mount a file system: not tested here");
        return;
    }
    // Words that each come once make the index larger than what is asked of it.
    let words: Vec<String> = (0..30_000).map(|number| format!("w{number}")).collect();
    place.write("docs/many.txt", words.join(" "));
    place.ok("up docs --once --vault disk/vault");
    place.write("docs/one.txt", "one more word");
    // All is taken but what a few events need.
    let left = 96 << 10;
    let index = fs::metadata(disk.join("vault/projections/search.idx")).expect("an index").len();
    assert!(index > left, "{index}");
    let mut filler = fs::File::create(disk.join("filler")).expect("a file");
    while filler.write_all(&[1; 4096]).is_ok() {}
    let taken = filler.metadata().expect("metadata").len();
    filler.set_len(taken - left).expect("room");
    drop(filler);
    let error = place.run("up docs --once --vault disk/vault --json");
    let verified = place.answer("verify --vault disk/vault");
    let unmounted = Command::new("umount").arg(&disk).status().expect("umount runs");
    assert!(unmounted.success());
    assert_eq!((error.code, &error.error()["code"]), (Some(1), &"disk-full".into()), "{}", error.stderr);
    assert_eq!(verified["ok"], true, "{verified}");
}

#[test]
fn a_disk_too_small_to_begin_is_called_full() {
    let place = Place::with_docs();
    let disk = place.path().join("disk");
    fs::create_dir(&disk).expect("a directory");
    let mount = |options: &str| {
        Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&disk).output()
    };
    for size in ["size=4k", "size=64k"] {
        if !mount(size).is_ok_and(|output| output.status.success()) {
            eprintln!("no right to mount a file system: not tested here");
            return;
        }
        // One file takes what there is.
        fs::write(disk.join("filler"), vec![1; if size == "size=4k" { 4096 } else { 1024 }]).expect("a file");
        let error = place.run("up docs --once --vault disk/vault --json");
        let unmounted = Command::new("umount").arg(&disk).status().expect("umount runs");
        assert!(unmounted.success());
        assert_eq!(
            (error.code, &error.error()["code"]),
            (Some(1), &"disk-full".into()),
            "{size}: {}",
            error.stderr
        );
    }
}
