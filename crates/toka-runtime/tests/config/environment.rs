//! `TOKA__SECTION__KEY`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::support::{build, check_with, loader, said};
use toka_runtime::config::{Environment, Loaded, Loader};

const TEXT: &str = "[event_bus]\nbuffer_size = 8\nscheduler_tick_ms = 20\n\n[[agents]]\nname = \"docs-indexer\"\nbehaviour = \"IndexerAgent\"\nscan_path = \"docs\"\n\n[[agents]]\nname = \"SchedulerAgent\"\n[[agents.tasks]]\nname = \"nightly\"\nevery = \"1d\"\nemit = \"night\"\n";

#[track_caller]
fn load(variables: &[(&str, &str)]) -> Loaded {
    loader(&["vault"], variables).parse(TEXT, Some(Path::new("etc/x.toml"))).expect("a configuration")
}

/// The origin of the value in force for `key`.
fn origin(loaded: &Loaded, key: &str) -> String {
    loaded
        .settings
        .iter()
        .find(|setting| setting.key == key)
        .map(|setting| setting.origin.to_string())
        .unwrap_or_default()
}

#[test]
fn a_variable_beats_the_file() {
    let loaded =
        load(&[("TOKA__EVENT_BUS__BUFFER_SIZE", "64"), ("TOKA__VAULT__PATH", "v"), ("TOKA_VAULT", "other")]);
    assert_eq!(loaded.config.event_bus.buffer_size, 64);
    // A path from the environment is relative to where the person is, not to the file.
    assert_eq!(loaded.config.vault.as_ref().and_then(|vault| vault.path.clone()), Some(PathBuf::from("v")));
    assert_eq!(origin(&loaded, "event_bus.buffer_size"), "environment TOKA__EVENT_BUS__BUFFER_SIZE");
    assert_eq!(origin(&loaded, "event_bus.scheduler_tick_ms"), "etc/x.toml:3");
}

#[test]
fn a_key_of_two_homes_is_replaced_in_both() {
    for variable in ["TOKA__SCHEDULER_TICK_MS", "TOKA__EVENT_BUS__SCHEDULER_TICK_MS"] {
        let loaded = load(&[(variable, "70")]);
        assert_eq!(loaded.config.scheduler_tick_ms, 70, "by {variable}");
        let named =
            loaded.settings.iter().filter(|setting| setting.key.ends_with("scheduler_tick_ms")).count();
        assert_eq!(named, 1, "by {variable}");
    }
    check_with(
        &[("TOKA__SCHEDULER_TICK_MS", "70"), ("TOKA__EVENT_BUS__SCHEDULER_TICK_MS", "80")],
        TEXT,
        "environment TOKA__SCHEDULER_TICK_MS: 'scheduler_tick_ms' stands at top level and in [event_bus] with different values\n  hint: the other is in environment TOKA__EVENT_BUS__SCHEDULER_TICK_MS; keep one of them",
    );
}

#[test]
fn agents_and_their_tasks_are_found_by_name_and_by_index() {
    let loaded = load(&[
        ("TOKA__AGENTS__DOCS_INDEXER__SCAN_PATH", "elsewhere"),
        ("TOKA__AGENTS__0__WATCH", "false"),
        ("TOKA__AGENTS__0__EXCLUDE", "[\"*.log\", \"tmp/**\"]"),
        ("TOKA__AGENTS__SCHEDULERAGENT__TASKS__NIGHTLY__EVERY", "2d"),
        ("TOKA__AGENTS__1__TASKS__0__MESSAGE", "${literal}"),
    ]);
    let docs = loaded.config.agents[0].view();
    assert_eq!((docs.text("scan_path"), docs.flag("watch")), (Some("elsewhere"), Some(false)));
    assert_eq!(docs.texts("exclude"), Some(vec!["*.log", "tmp/**"]));
    let task = loaded.config.agents[1].view().tables("tasks")[0];
    assert_eq!((task.text("every"), task.text("message")), (Some("2d"), Some("${literal}")));
}

#[test]
fn adapters_take_any_key() {
    let text = "[drivers.s3]\nretries = 1\nAccess-Key = \"a\"\n";
    let variables = [
        ("TOKA__DRIVERS__S3__RETRIES", "3"),
        ("TOKA__DRIVERS__S3__ACCESS_KEY", "b"),
        ("TOKA__DRIVERS__S3__NEW__DEEP", "5"),
    ];
    let loaded = loader(&["driver-s3"], &variables).parse(text, None).expect("a configuration");
    let s3 = &loaded.config.drivers["s3"];
    assert_eq!(s3["retries"].as_integer(), Some(3));
    assert_eq!(s3["Access-Key"].as_str(), Some("b"));
    assert_eq!(s3["new"]["deep"].as_str(), Some("5"));
}

#[test]
fn without_a_file_the_environment_still_counts() {
    let loaded =
        loader(&["vault"], &[("TOKA__EVENT_BUS__BUFFER_SIZE", "3")]).without_file().expect("a configuration");
    assert_eq!(loaded.config.event_bus.buffer_size, 3);
    assert_eq!(loaded.config.secret_store, PathBuf::from("secrets.db"));
}

#[test]
fn wrong_variables_are_errors() {
    let one = |name: &str, value: &str, expected: &str| check_with(&[(name, value)], TEXT, expected);
    one(
        "TOKA__EVENT_BUS__BUFER_SIZE",
        "1",
        "environment TOKA__EVENT_BUS__BUFER_SIZE: unknown key 'bufer_size' in event_bus\n  hint: did you mean TOKA__EVENT_BUS__BUFFER_SIZE?",
    );
    one(
        "TOKA__EVENT_BUS__BUFFER__SIZE",
        "1",
        "environment TOKA__EVENT_BUS__BUFFER__SIZE: unknown key 'buffer__size' in event_bus\n  hint: did you mean TOKA__EVENT_BUS__BUFFER_SIZE?",
    );
    one(
        "TOKA__VUALT__PATH",
        "1",
        "environment TOKA__VUALT__PATH: no section or key is named 'vualt'\n  hint: did you mean TOKA__VAULT__PATH?",
    );
    one(
        "TOKA__VAULT",
        "1",
        "environment TOKA__VAULT: [vault] is a section\n  hint: name a key of it: TOKA__VAULT__KEY",
    );
    one(
        "TOKA__EVENT_BUS__BUFFER_SIZE",
        "many",
        "environment TOKA__EVENT_BUS__BUFFER_SIZE: 'buffer_size' must be an integer, but the variable holds something else\n  hint: the value is read as TOML: 64, true, [\"a\", \"b\"]",
    );
    one(
        "TOKA__EVENT_BUS__BUFFER_SIZE",
        "0",
        "environment TOKA__EVENT_BUS__BUFFER_SIZE: 'buffer_size' is 0, but must lie between 1 and 1048576",
    );
    one(
        "TOKA__EVENT_BUS__BUFFER_SIZE",
        "true",
        "environment TOKA__EVENT_BUS__BUFFER_SIZE: 'buffer_size' must be an integer, but is true",
    );
    one(
        "TOKA__AGENTS__NOBODY__WATCH",
        "true",
        "environment TOKA__AGENTS__NOBODY__WATCH: no agent is named 'nobody'\n  hint: name a configured agent, or its index from 0",
    );
    one(
        "TOKA__AGENTS__0__SCANPATH",
        "x",
        "environment TOKA__AGENTS__0__SCANPATH: unknown key 'scanpath' in agents.0\n  hint: did you mean TOKA__AGENTS__0__SCAN_PATH?",
    );
    one(
        "TOKA__DRIVERS__S3",
        "x",
        "environment TOKA__DRIVERS__S3: 's3' is a driver, not a key\n  hint: name a key of it: TOKA__DRIVERS__S3__KEY",
    );
    one(
        "TOKA__",
        "x",
        "environment TOKA__: no section or key is named ''\n  hint: known names: TOKA__EVENT_BUS, TOKA__VAULT, TOKA__EMBEDDER, TOKA__SEARCH, TOKA__POLICY, TOKA__APPROVALS, TOKA__TOKENS, TOKA__LIMITS, TOKA__AGENTS, TOKA__DRIVERS, TOKA__PROVIDERS, TOKA__SCHEDULER_TICK_MS, TOKA__SECRET_STORE",
    );
}

#[cfg(unix)]
#[test]
fn bytes_that_are_not_utf8_are_errors() {
    use std::os::unix::ffi::OsStringExt;
    let bad = || OsString::from_vec(vec![0xff]);
    let environment: Environment =
        [(OsString::from("TOKA__VAULT__PATH"), bad()), (OsString::from("X"), bad())].into_iter().collect();
    let outcome =
        Loader::new(build(&["vault"])).environment(environment).parse("secret_store = \"${X}\"", None);
    assert_eq!(
        said(outcome),
        "<text>:1:17: the variable 'X' is not UTF-8\nenvironment TOKA__VAULT__PATH: the value of the variable is not UTF-8"
    );
}
