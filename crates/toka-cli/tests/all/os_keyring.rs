//! Vaults that the operating system's keyring opens, with a real one: GNOME's on a session bus of its own. Where it is not
//! installed there is nothing to try.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::toka::Place;

/// What has to be installed.
const PROGRAMS: [&str; 3] =
    ["/usr/bin/dbus-run-session", "/usr/bin/gnome-keyring-daemon", "/usr/bin/secret-tool"];

/// Runs `script` in a session of its own, whose keyring is `unlocked` or not; what it printed.
fn session(place: &Place, unlocked: bool, script: &str) -> String {
    let runtime = tempfile::tempdir().expect("a directory");
    let unlock = "printf pass | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1; ";
    let script = format!("set -e; {}{script}", if unlocked { unlock } else { "" });
    let toka = Path::new(env!("CARGO_BIN_EXE_toka")).parent().expect("a folder");
    let mut command = Command::new(PROGRAMS[0]);
    command.args(["--", "sh", "-c", &script]).current_dir(place.path()).stdin(Stdio::null()).env_clear();
    command.env("PATH", format!("{}:/usr/bin:/bin", toka.display()));
    command.env("HOME", place.path().parent().expect("a folder").join("home"));
    command.env("XDG_RUNTIME_DIR", runtime.path()).env("NO_COLOR", "1");
    let output = command.output().expect("a session");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}: {stdout}{stderr}");
    format!("{stdout}{stderr}")
}

#[test]
fn the_keyring_opens_what_it_sealed_in_every_session_in_which_it_is_unlocked() {
    if !PROGRAMS.iter().all(|program| Path::new(program).exists()) {
        return;
    }
    let place = Place::with_docs();
    let said = session(
        &place,
        true,
        "toka init --seal keyring; toka up docs --once; toka search installer; toka vault rotate",
    );
    assert!(said.contains("install.md") && said.contains("epoch 2"), "{said}");
    let said = session(
        &place,
        true,
        "toka search installer; toka vault erase --subject IndexerAgent; toka up docs --once; \
         toka vault rotate --to keyring; toka search installer; \
         secret-tool search --all service toka-vault 2>&1 | grep -c username",
    );
    assert!(said.contains("install.md") && said.contains("epoch 3"), "{said}");
    // The key of before is there for older copies of the keys; the new one is another.
    assert!(said.lines().any(|line| line == "2"), "{said}");

    // Locked, and nobody can be asked: what needs no content goes on without.
    let said = session(
        &place,
        false,
        "toka verify; toka events list --limit 2; toka status; toka search installer || test $? = 2",
    );
    assert!(said.contains("ok: ") && said.contains("content is not shown"), "{said}");
    assert!(said.contains("keyring cannot be used") && said.contains("unlocked, in this session"), "{said}");

    let said = session(
        &place,
        true,
        "toka vault rotate --to key-file=../outside.key; toka search installer; toka vault rotate --to keyring; \
         secret-tool clear service toka-vault; toka search installer || test $? = 2",
    );
    assert!(said.contains("install.md") && said.contains("it has no key called"), "{said}");
}
