//! The indexer on real folders: what becomes of them in the log, whatever happens.

mod desk;

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use desk::{Desk, Disk, Fate};
use toka_agents::AgentError;
use toka_agents::indexer::content::{FileChunk, FileIndexed};
use toka_agents::indexer::{IndexerAgent, IndexerOptions};
use toka_types::{Digest, EntityId};

/// Far more than anything takes here; only what never comes waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

const GUIDE: &str = "# Guide\n\nHow to begin.\n\n## Next\n\nHow to go on.\n";

#[tokio::test]
async fn a_folder_becomes_events_in_path_order_and_then_nothing_more() {
    let desk = Desk::new();
    desk.write("b.md", GUIDE);
    desk.write("a/z.txt", "plain words\n");
    desk.write("a.rs", "fn main() {}\n");
    desk.write("empty", "");
    let (events, figures) = desk.scan().await;
    assert_eq!(events, ["indexed a.rs", "indexed a/z.txt", "indexed b.md", "indexed empty"]);
    assert_eq!((figures.files, figures.chunks, figures.total_files_found, figures.dealt_with), (4, 3, 4, 4));
    assert_eq!(figures.bytes, (GUIDE.len() + 12 + 13) as u64);
    assert!(figures.extracted_bytes > 0 && figures.extracted_bytes <= figures.bytes);

    let log = desk.events();
    for event in &log {
        let parents: Vec<_> =
            event.header.parents.iter().map(|id| log.iter().find(|e| e.id() == *id).unwrap()).collect();
        match event.header.kind.as_str() {
            "file.indexed" => {
                let file: FileIndexed<'_> = rmp_serde::from_slice(event.payload().unwrap()).unwrap();
                let raw = fs::read(desk.root().join(&*file.path)).unwrap();
                assert_eq!(
                    (file.digest.as_ref(), file.size),
                    (Digest::of(&raw).to_string().as_str(), raw.len() as u64)
                );
                assert_eq!(
                    parents.iter().map(|p| p.header.kind.as_str()).collect::<Vec<_>>(),
                    ["tool.returned"]
                );
                let chunks = log
                    .iter()
                    .filter(|e| e.header.kind.as_str() == "file.chunk" && e.header.parents == [event.id()]);
                assert_eq!(chunks.count(), file.chunks as usize);
            }
            "file.chunk" => {
                let chunk: FileChunk<'_> = rmp_serde::from_slice(event.payload().unwrap()).unwrap();
                let file: FileIndexed<'_> = rmp_serde::from_slice(parents[0].payload().unwrap()).unwrap();
                assert_eq!((parents.len(), &chunk.path), (1, &file.path));
                if chunk.path == "b.md" {
                    assert_eq!((chunk.lines, chunk.heading.as_deref()), ((1, 7), Some("Guide > Next")));
                }
            }
            _ => {}
        }
    }

    let (events, figures) = desk.scan().await;
    assert_eq!(events, [""; 0]);
    assert_eq!((figures.files, figures.chunks, figures.unchanged), (0, 0, 4));
}

#[tokio::test]
async fn files_are_followed_through_their_lives() {
    let desk = Desk::new();
    for name in ["edit", "gone", "move", "same", "dir/one", "dir/sub/two"] {
        desk.write(name, format!("content of {name}\n"));
    }
    desk.scan().await;

    desk.write("edit", "other content\n");
    desk.remove("gone");
    desk.rename("move", "a-moved");
    desk.rename("dir", "new");
    let (events, figures) = desk.scan().await;
    let moves = [
        "moved move a-moved",
        "indexed edit",
        "moved dir/one new/one",
        "moved dir/sub/two new/sub/two",
        "removed gone",
    ];
    assert_eq!(events, moves);
    assert_eq!((figures.files, figures.moved, figures.removed, figures.unchanged), (1, 3, 1, 1));

    // Restored, and moved back: each event names what was there before.
    desk.write("gone", "content of gone\n");
    desk.rename("a-moved", "move");
    let (events, _) = desk.scan().await;
    assert_eq!(events, ["indexed gone", "moved a-moved move"]);
    let log = desk.events();
    let named = |event: usize| -> Vec<_> {
        let parents = &log[event].header.parents;
        parents.iter().map(|id| log.iter().find(|e| e.id() == *id).unwrap().header.kind.to_string()).collect()
    };
    let last = |kind: &str| log.iter().rposition(|e| e.header.kind.as_str() == kind).unwrap();
    assert_eq!(named(last("file.indexed")), ["file.removed", "tool.returned"]);
    assert_eq!(named(last("file.moved")), ["file.moved", "file.moved", "tool.returned"]);
    assert_eq!(desk.scan().await.0, [""; 0]);
}

#[tokio::test]
async fn duplicates_are_files_of_their_own() {
    let desk = Desk::new();
    desk.write("a", "twice\n");
    desk.write("b", "twice\n");
    assert_eq!(desk.scan().await.0, ["indexed a", "indexed b"]);
    // A third copy is no move while both are there; then each of the two that go is found once.
    desk.write("c", "twice\n");
    assert_eq!(desk.scan().await.0, ["indexed c"]);
    desk.rename("a", "x");
    desk.rename("b", "y");
    desk.write("z", "twice\n");
    assert_eq!(desk.scan().await.0, ["moved a x", "moved b y", "indexed z"]);
}

#[tokio::test]
async fn what_is_left_out_is_recorded_once() {
    let desk = Desk::new();
    desk.write("binary.txt", b"\0\x01\x02");
    desk.write("big", "x".repeat(2_000));
    desk.write("text", "words\n");
    desk.write("was-text", "words too\n");
    symlink("text", desk.root().join("link")).unwrap();
    let fifo = rustix::fs::mknodat(
        rustix::fs::CWD,
        desk.root().join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    );
    fifo.unwrap();
    let options = || IndexerOptions { max_file_bytes: 1_000, ..IndexerOptions::new(desk.root()) };
    let expected = [("binary", 1), ("oversized", 1), ("special", 1), ("symlink", 1)];
    for round in 0..2 {
        let before = desk.events().len();
        let (outcome, figures) = desk.scan_with(options(), Fate::default()).await;
        outcome.unwrap();
        let skipped: Vec<_> =
            figures.skipped.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
        assert_eq!(skipped, expected);
        let recorded: [&str; 6] = [
            "skipped big oversized",
            "skipped binary.txt binary",
            "skipped link symlink",
            "skipped pipe special",
            "indexed text",
            "indexed was-text",
        ];
        assert_eq!(desk.since(before), if round == 0 { &recorded[..] } else { &[] });
    }
    // Each becomes something else.
    desk.write("binary.txt", "words now\n");
    desk.remove("link");
    desk.write("was-text", b"\0\0\0");
    desk.remove("pipe");
    symlink("text", desk.root().join("pipe")).unwrap();
    let before = desk.events().len();
    desk.scan_with(options(), Fate::default()).await.0.unwrap();
    let recorded =
        ["indexed binary.txt", "skipped pipe symlink", "removed was-text", "skipped was-text binary"];
    assert_eq!(desk.since(before), recorded);
    // The limit is raised.
    assert_eq!(desk.scan().await.0, ["indexed big"]);
}

#[tokio::test]
async fn refused_files_are_counted_and_left_to_the_kernel() {
    let desk = Desk::new();
    desk.write("docs/open", "words\n");
    desk.write("secret", "words that nobody reads\n");
    let fate = || Fate { denied: ["secret".to_owned()].into(), ..Fate::default() };
    let (outcome, figures) = desk.scan_with(IndexerOptions::new(desk.root()), fate()).await;
    outcome.unwrap();
    assert_eq!((figures.files, figures.denied), (1, 1));
    assert_eq!(desk.since(0), ["indexed docs/open"]);
    let denials = desk.events().iter().filter(|e| e.header.kind.as_str() == "capability.denied").count();
    assert_eq!(denials, 1);
    // Found again under a path that the grant covers.
    desk.rename("secret", "docs/told");
    assert_eq!(desk.scan().await.0, ["indexed docs/told"]);
}

#[tokio::test]
async fn names_of_every_sort_come_back() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let desk = Desk::new();
    for name in [&b"caf\xe9"[..], b"100%", b"two\nlines", b"esc\x1b[31m", &[b'n'; 255]] {
        fs::write(desk.root().join(OsStr::from_bytes(name)), name).unwrap();
    }
    let long = format!("indexed {}", "n".repeat(255));
    let expected = ["indexed 100%25", "indexed caf%E9", "indexed esc\u{1b}[31m", &long, "indexed two\nlines"];
    assert_eq!(desk.scan().await.0, expected);
    assert_eq!(desk.scan().await.0, [""; 0]);
}

#[tokio::test]
async fn times_spare_the_reading_and_nothing_else() {
    let desk = Desk::new();
    desk.write("a", "one\n");
    desk.write("binary", b"\0\0");
    desk.scan().await;
    // Times too young to be trusted are not kept, so this ends only when the files have become old enough.
    let begun = Instant::now();
    loop {
        let before = desk.reads();
        assert_eq!(desk.scan().await.0, [""; 0]);
        if desk.reads() == before {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "unchanged files are read at every start");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // The same length and the same time of change, and yet another content.
    let times = fs::metadata(desk.root().join("a")).unwrap().modified().unwrap();
    desk.write("a", "two\n");
    fs::File::options().write(true).open(desk.root().join("a")).unwrap().set_modified(times).unwrap();
    assert_eq!(desk.scan().await.0, ["indexed a"]);
}

#[tokio::test]
async fn a_saved_index_that_is_lost_or_wrong_changes_nothing() {
    let desk = Desk::new();
    desk.write("a", "one\n");
    desk.write("b", "two\n");
    symlink("a", desk.root().join("link")).unwrap();
    desk.scan().await;
    let early = desk.disk.lock().unwrap().stored.clone();
    assert_eq!(early.keys().collect::<Vec<_>>(), ["indexer/files", "indexer/folder"]);
    desk.rename("a", "c");
    desk.write("b", "three\n");
    desk.scan().await;
    let key = "indexer/files".to_owned();
    let good = desk.disk.lock().unwrap().stored[&key].clone();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let other_log = {
        let other = Desk::new();
        for name in 0..40 {
            other.write(&format!("file{name}"), "words\n");
        }
        other.scan().await;
        other.disk.lock().unwrap().stored[&key].clone()
    };
    for saved in [
        None,
        Some(early[&key].clone()),
        Some(flipped),
        Some(good[..good.len() / 2].to_vec()),
        Some(Vec::new()),
        Some(other_log),
    ] {
        {
            let mut disk = desk.disk.lock().unwrap();
            match saved {
                Some(bytes) => disk.stored.insert(key.clone(), bytes),
                None => disk.stored.remove(&key),
            };
        }
        assert_eq!(desk.scan().await.0, [""; 0]);
    }
}

#[tokio::test]
async fn events_of_others_do_not_count() {
    let desk = Desk::new();
    desk.write("a", "one\n");
    desk.scan().await;
    // Another agent indexed another folder into the same log.
    let mut disk = desk.disk.lock().unwrap().clone();
    for event in &mut disk.events {
        let mut other = (**event).clone();
        other.header.author = EntityId::named("another");
        *event = other.into();
    }
    disk.stored.clear();
    let desk = desk.with_disk(disk);
    desk.remove("a");
    desk.write("b", "two\n");
    assert_eq!(desk.scan().await.0, ["indexed b"]);
}

/// Ends the process at every batch in turn, with the batch in the log and without, in time to save the index and too
/// late; the next run completes it to what an undisturbed one gives.
async fn crash_everywhere(desk: Desk) {
    let start = desk.disk.lock().unwrap().clone();
    desk.scan().await;
    let expected = desk.outcome();
    let added = expected.0.len() - start.events.iter().filter(|e| e.header.kind.has_prefix("file")).count();
    assert!(added > 0);
    let mut desk = desk;
    for at in 0.. {
        let mut happened = false;
        for (kept, saved) in [(false, false), (false, true), (true, false), (true, true)] {
            desk = desk.with_disk(start.clone());
            let fate = Fate { crash: Some((at, kept)), ..Fate::default() };
            let (outcome, _) = desk.scan_with(IndexerOptions::new(desk.root()), fate).await;
            outcome.unwrap();
            happened |= desk.outcome() != expected;
            if !saved {
                desk.disk.lock().unwrap().stored.clone_from(&start.stored);
            }
            desk.scan().await;
            assert_eq!(desk.outcome(), expected, "after a crash at batch {at}, kept: {kept}, saved: {saved}");
            assert_eq!(desk.scan().await.0, [""; 0]);
        }
        if !happened {
            break;
        }
    }
}

fn rich() -> Desk {
    let desk = Desk::new();
    for n in 0..12 {
        desk.write(&format!("dir{}/file{n}.md", n % 3), format!("{GUIDE}\nNumber {n}.\n"));
    }
    desk.write("dup/a", "twice\n");
    desk.write("dup/b", "twice\n");
    desk.write("skip/binary", b"\0\0");
    desk.write("skip/text", "words\n");
    symlink("text", desk.root().join("skip/link")).unwrap();
    desk
}

#[tokio::test]
async fn a_first_scan_completes_after_a_crash_at_any_batch() {
    crash_everywhere(rich()).await;
}

#[tokio::test]
async fn a_later_scan_completes_after_a_crash_at_any_batch() {
    let desk = rich();
    desk.scan().await;
    desk.rename("dir0", "moved");
    desk.rename("dup/a", "dup/x");
    desk.rename("dup/b", "dup/y");
    desk.write("dir1/file1.md", "changed\n");
    desk.remove("dir1/file4.md");
    desk.remove("skip/text");
    symlink("binary", desk.root().join("skip/text")).unwrap();
    desk.write("skip/binary", "words\n");
    crash_everywhere(desk).await;
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_nothing_is_lost() {
    let desk = rich();
    let fate = Fate { full: Some(5), ..Fate::default() };
    let (outcome, _) = desk.scan_with(IndexerOptions::new(desk.root()), fate).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(AgentError::Log(_))), "{error}");
    desk.scan().await;
    let after = desk.outcome();
    let undisturbed = desk.with_disk(Disk::default());
    undisturbed.scan().await;
    assert_eq!(after, undisturbed.outcome());
}

#[tokio::test]
async fn a_stop_ends_the_scan_and_the_next_one_goes_on() {
    let desk = Desk::new();
    for n in 0..200 {
        desk.write(&format!("{n:03}"), format!("words {n}\n"));
    }
    let fate = Fate { stop: Some(10), ..Fate::default() };
    let (outcome, figures) = desk.scan_with(IndexerOptions::new(desk.root()), fate).await;
    outcome.unwrap();
    // What was handed over is known, so that nothing of it is read again.
    assert_eq!(figures.files, 11);
    assert_eq!(desk.since(0).len(), 11);
    let (events, figures) = desk.scan().await;
    assert_eq!((events.len(), figures.unchanged), (189, 11));
}

#[tokio::test]
async fn what_changes_is_followed_until_the_end() {
    let desk = Desk::new();
    desk.write("a", "one\n");
    desk.write("dir/b", "two\n");
    desk.write("dir/sub/c", "three\n");
    let running = desk.watch();
    let begun = Instant::now();
    let until = async |from: usize, expected: &[&str]| loop {
        if desk.since(from) == expected {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{expected:?} never came, but {:?}", desk.since(from));
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    until(0, &["indexed a", "indexed dir/b", "indexed dir/sub/c"]).await;
    let mut from = desk.events().len();
    let mut step = async |expected: &[&str]| {
        until(from, expected).await;
        from = desk.events().len();
    };
    desk.write("a", "other words\n");
    step(&["indexed a"]).await;
    desk.rename("dir", "new");
    step(&["moved dir/b new/b", "moved dir/sub/c new/sub/c"]).await;
    desk.rename("a", "new/sub/a");
    step(&["moved a new/sub/a"]).await;
    fs::remove_dir_all(desk.root().join("new/sub")).unwrap();
    step(&["removed new/sub/a", "removed new/sub/c"]).await;
    // A file where a folder was, and the other way round.
    desk.write("new/sub", "a file\n");
    step(&["indexed new/sub"]).await;
    desk.remove("new/sub");
    desk.write("new/sub/deep", "in a folder\n");
    step(&["indexed new/sub/deep", "removed new/sub"]).await;
    // Rules change.
    desk.write(".gitignore", "b\n");
    step(&["removed new/b"]).await;

    running.stop.send(true).unwrap();
    running.task.await.unwrap().unwrap();
    assert_eq!(desk.scan().await.0, [""; 0]);
}

#[tokio::test]
async fn a_watched_folder_that_vanishes_is_an_error_that_names_it() {
    let desk = Desk::new();
    desk.write("a", "one\n");
    let running = desk.watch();
    let begun = Instant::now();
    while desk.since(0).is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    fs::remove_dir_all(desk.root()).unwrap();
    let error = tokio::time::timeout(PATIENCE, running.task).await.unwrap().unwrap().unwrap_err();
    assert!(error.to_string().contains(desk.root().to_str().unwrap()), "{error}");
}

#[test]
fn what_cannot_be_scanned_is_named() {
    let desk = Desk::new();
    desk.write("file", "");
    let check = |options: IndexerOptions, expected: &str| {
        let error = IndexerAgent::new(options).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let at = |name: &str| IndexerOptions::new(desk.root().join(name));
    check(at("missing"), "there is no folder");
    check(at("missing"), desk.root().join("missing").to_str().unwrap());
    check(at("file"), "is no folder");
    check(IndexerOptions { include: vec!["a[".into()], ..at(".") }, "a[");
    check(IndexerOptions { include: vec!["*.md".into()], hidden: true, ..at(".") }, "*.md");
    check(IndexerOptions { excluded_dirs: vec![desk.root().to_owned()], ..at(".") }, "never scanned");
}

#[tokio::test]
async fn options_say_what_is_taken() {
    let desk = Desk::new();
    for name in ["a.md", "b.txt", ".hidden.md", ".config/c.md", ".git/HEAD", "vault/d.md", "out/e.md"] {
        desk.write(name, name);
    }
    let run = async |change: &dyn Fn(&mut IndexerOptions)| {
        desk.disk.lock().unwrap().clone_from(&Disk::default());
        let mut options = IndexerOptions::new(desk.root());
        change(&mut options);
        desk.scan_with(options, Fate::default()).await.0.unwrap();
        desk.since(0).iter().map(|event| event.trim_start_matches("indexed ").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(run(&|_| {}).await, ["a.md", "b.txt", "out/e.md", "vault/d.md"]);
    assert_eq!(run(&|o| o.include = vec!["*.md".into()]).await, ["a.md", "out/e.md", "vault/d.md"]);
    assert_eq!(run(&|o| o.exclude = vec!["out/".into(), "*.txt".into()]).await, ["a.md", "vault/d.md"]);
    assert_eq!(
        run(&|o| o.excluded_dirs = vec![o.scan_path.join("vault")]).await,
        ["a.md", "b.txt", "out/e.md"]
    );
    let hidden = [".config/c.md", ".hidden.md", "a.md", "b.txt", "out/e.md", "vault/d.md"];
    assert_eq!(run(&|o| o.hidden = true).await, hidden);
}
