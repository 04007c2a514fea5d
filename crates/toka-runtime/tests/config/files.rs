//! Files as they lie on a disk, those of the repository first.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{build, loader};
use toka_runtime::config::{ConfigError, Environment, Failure, Loader, MAX_CONFIG_BYTES};

const MINIMAL: &str = r##"# minimal example – only runtime, no drivers
[event_bus]
buffer_size = 1024          # in-memory ring buffer
scheduler_tick_ms = 100
secret_store = "secrets.db" # created if `secrets` feature

[[agents]]
name = "Logger"             # compiled-in agent
"##;

const PORTABLE: &str = r##"# rich desktop build
[event_bus]
buffer_size = 4096
scheduler_tick_ms = 100
secret_store = "secrets.db"

[vault]
path = "/Users/me/TokaVault"   # requires vault-core feature

[drivers.s3]
access_key = "${AWS_KEY}"
secret_key = "${AWS_SECRET}"
bucket     = "my-assets"

[providers.stripe]
secret_key = "${STRIPE_SK}"
webhook_secret = "${STRIPE_WEBHOOK}"

[[agents]]
name = "IndexerAgent"
scan_path = "/Users/me/Content"

[[agents]]
name = "SchedulerAgent"
default_driver = "s3"
"##;

/// A file of the repository's `config` folder.
fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config").join(name)
}

#[test]
fn the_shipped_files_are_what_they_have_always_been() {
    assert_eq!(fs::read_to_string(shipped("minimal.toml")).expect("minimal.toml"), MINIMAL);
    assert_eq!(fs::read_to_string(shipped("portable.toml")).expect("portable.toml"), PORTABLE);
}

#[test]
fn the_minimal_file_loads_in_every_build() {
    for features in [&[][..], &["vault"]] {
        let path = shipped("minimal.toml");
        let loaded = loader(features, &[]).load(&path).expect("the minimal file");
        assert_eq!(loaded.warnings, []);
        let config = loaded.config;
        assert_eq!((config.event_bus.buffer_size, config.scheduler_tick_ms), (1024, 100));
        assert_eq!(
            Some(config.secret_store.as_path()),
            path.parent().map(|folder| folder.join("secrets.db")).as_deref()
        );
        assert_eq!(config.agents[0].behaviour, "Logger");
        assert_eq!(config.source, Some(path));
    }
}

#[test]
fn the_portable_file_loads_without_its_variables_in_a_build_that_does_not_read_them() {
    let loaded = loader(&["vault"], &[]).load(&shipped("portable.toml")).expect("the portable file");
    let keys: Vec<_> = loaded.warnings.iter().filter_map(|warning| warning.key.as_deref()).collect();
    assert_eq!(keys, ["drivers.s3", "providers.stripe"]);
    assert_eq!(loaded.config.vault.and_then(|vault| vault.path), Some(PathBuf::from("/Users/me/TokaVault")));
    assert_eq!(loaded.config.drivers["s3"]["access_key"].as_str(), Some("${AWS_KEY}"));
    assert_eq!(loaded.config.agents[0].view().text("scan_path"), Some("/Users/me/Content"));
    assert_eq!(loaded.config.agents[1].view().text("default_driver"), Some("s3"));
}

#[test]
fn the_portable_file_needs_its_variables_in_a_full_build() {
    let full = ["vault", "driver-s3", "provider-stripe"];
    let error = loader(&full, &[("AWS_KEY", "k")])
        .load(&shipped("portable.toml"))
        .expect_err("three variables are unset");
    let lines: Vec<_> =
        error.diagnostics.iter().filter_map(|problem| problem.position()).map(|at| at.line).collect();
    assert_eq!(lines, [12, 16, 17]);
    let all = [("AWS_KEY", "k"), ("AWS_SECRET", "s"), ("STRIPE_SK", "t"), ("STRIPE_WEBHOOK", "w")];
    let loaded = loader(&full, &all).load(&shipped("portable.toml")).expect("everything is set");
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.drivers["s3"]["secret_key"].as_str(), Some("s"));
    let shown = format!("{:?} {:?}", loaded.config, loaded.settings);
    assert!(!shown.contains("\"s\"") && !shown.contains("\"w\""), "a secret shows in {shown}");
}

/// The outcome of loading a file with these bytes.
fn load(bytes: &[u8]) -> (tempfile::TempDir, Result<toka_runtime::config::Loaded, ConfigError>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.toml");
    fs::write(&path, bytes).expect("a file");
    let outcome = Loader::new(build(&["vault"])).environment(Environment::empty()).load(&path);
    (folder, outcome)
}

#[test]
fn paths_are_relative_to_the_file() {
    let (folder, outcome) =
        load(b"[vault]\npath = \"../v\"\n[[agents]]\nname = \"IndexerAgent\"\nscan_path = \"docs\"\n");
    let config = outcome.expect("a configuration").config;
    assert_eq!(config.vault.and_then(|vault| vault.path), Some(folder.path().join("../v")));
    assert_eq!(config.agents[0].view().path("scan_path"), Some(folder.path().join("docs").as_path()));
    assert_eq!(config.secret_store, folder.path().join("secrets.db"));
}

#[cfg(unix)]
#[test]
fn a_folder_whose_name_is_not_utf8_keeps_its_files() {
    use std::os::unix::ffi::OsStrExt;
    let outer = tempfile::tempdir().expect("a folder");
    let folder = outer.path().join(std::ffi::OsStr::from_bytes(b"d\xff"));
    fs::create_dir(&folder).expect("a folder");
    let path = folder.join("x.toml");
    fs::write(&path, "[[agents]]\nname = \"Logger\"").expect("a file");
    let config = loader(&[], &[]).load(&path).expect("a configuration").config;
    assert_eq!(config.secret_store, folder.join("secrets.db"));
    fs::write(&path, "[[agents]]\nname = \"IndexerAgent\"\nscan_path = \"docs\"").expect("a file");
    let error = loader(&[], &[]).load(&path).expect_err("a path that no TOML string can hold");
    assert_eq!(
        error.diagnostics[0].message,
        "'scan_path' is relative to the folder of this file, whose path is not UTF-8"
    );
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_fine() {
    let (_folder, outcome) = load(b"\xef\xbb\xbf[event_bus]\r\nbuffer_size = 7\r\n");
    assert_eq!(outcome.expect("a configuration").config.event_bus.buffer_size, 7);
    let (_folder, outcome) = load(b"\xef\xbb\xbfbufer_size = 7\r\n");
    assert_eq!(
        outcome.expect_err("a typo").diagnostics[0].position().map(|at| (at.line, at.column)),
        Some((1, 1))
    );
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let absent = loader(&[], &[]).load(&folder.path().join("no.toml")).expect_err("no file");
    assert_eq!(absent.failure, Failure::Absent);
    assert!(absent.to_string().contains("no.toml: there is no such configuration file"), "{absent}");
    let directory = loader(&[], &[]).load(folder.path()).expect_err("a folder");
    assert_eq!(directory.failure, Failure::Unreadable);
    assert_eq!(directory.diagnostics[0].message, "the configuration is a folder");

    let limit = usize::try_from(MAX_CONFIG_BYTES).expect("a small number");
    let (_folder, outcome) = load(&vec![b'\n'; limit]);
    assert_eq!(outcome.expect("a file of the limit").warnings, []);
    let (_folder, outcome) = load(&vec![b'\n'; limit + 1]);
    let large = outcome.expect_err("a file above the limit");
    assert_eq!(large.failure, Failure::Unreadable);
    assert_eq!(
        large.diagnostics[0].message,
        "the configuration has more than 1048576 bytes, the most that is allowed"
    );

    let (_folder, outcome) =
        load("# ü\nname = \"a".as_bytes().iter().chain(b"\xff\"").copied().collect::<Vec<_>>().as_slice());
    let error = outcome.expect_err("not UTF-8");
    assert_eq!(error.diagnostics[0].message, "the byte 0xff is not UTF-8");
    assert_eq!(error.diagnostics[0].position().map(|at| (at.line, at.column)), Some((2, 10)));
}
