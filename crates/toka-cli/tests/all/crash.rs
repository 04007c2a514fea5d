//! A run that is killed, and the one after it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::toka::{Place, Ran};

/// Files enough for a run to be killed in the middle of it.
const FILES: usize = 300;
/// When runs are killed, in parts of what an undisturbed one takes.
const MOMENTS: [f64; 3] = [0.2, 0.5, 0.8];

fn write_files(place: &Place) {
    for number in 0..FILES {
        let words = format!("Text number {number} speaks of topic {} and of nothing else.\n", number % 7);
        let text = format!("# Title {number}\n\n{}", words.repeat(20));
        place.write(format!("docs/d{}/f{number}.md", number % 9), text);
    }
}

#[test]
fn a_killed_run_is_completed_by_the_next() {
    let undisturbed = Place::new();
    write_files(&undisturbed);
    let began = Instant::now();
    undisturbed.ok("up docs --once");
    let whole = began.elapsed();

    let place = Place::new();
    write_files(&place);
    let mut killed = 0;
    for moment in MOMENTS {
        let mut child = place.start("up docs --once");
        sleep(Duration::from_secs_f64(whole.as_secs_f64() * moment));
        // A run may be done by then; it is killed all the same if it is not.
        killed += usize::from(child.try_wait().expect("a status").is_none());
        let _ = child.kill();
        child.wait().expect("it ends");
    }
    assert!(killed > 0, "no run was killed before its end");
    place.ok("up docs --once");
    assert_eq!(place.outcome(), undisturbed.outcome());
    assert_eq!(place.answer("verify")["ok"], true);
    assert_eq!(place.answer("replay")["matches"], true);
}

#[test]
fn a_second_writer_is_refused_and_readers_are_not() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let child = place.start("up docs");
    let pid = child.id();
    wait_until(|| place.answer("status")["writer"] == pid);
    let error = place.fails(1, "up docs --once");
    assert_eq!(error["code"], "locked");
    assert!(error["message"].as_str().is_some_and(|text| text.contains(&pid.to_string())), "{error}");
    for reading in
        ["status", "search installer", "verify", "replay", "events list", "intents list", "agents list"]
    {
        place.ok(&format!("{reading} --json"));
    }
    end(child);
    assert_eq!(place.answer("status")["writer"], serde_json::Value::Null);
    place.ok("up docs --once");
}

/// Waits until it holds; if it never does, the test fails.
pub(crate) fn wait_until(mut holds: impl FnMut() -> bool) {
    const PATIENCE: Duration = Duration::from_secs(60);
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "it did not come about within {PATIENCE:?}");
        sleep(Duration::from_millis(20));
    }
}

/// Asks a process for its end, and waits for it.
pub(crate) fn end(child: std::process::Child) -> Ran {
    signal(&child, "TERM");
    Ran::of(child.wait_with_output().expect("it ends"))
}

pub(crate) fn signal(child: &std::process::Child, name: &str) {
    let sent =
        std::process::Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status();
    assert!(sent.expect("kill runs").success());
}
