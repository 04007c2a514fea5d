//! What is printed, where, and how.

use std::process::{Command, Stdio};

use crate::toka::{Place, Ran};

const LOOKING: [&str; 9] = [
    "status",
    "events list",
    "search installer",
    "intents list",
    "verify",
    "replay",
    "agents list",
    "config show --origin",
    "completions bash",
];

fn has_colour(text: &str) -> bool {
    text.contains('\u{1b}')
}

#[test]
fn colour_is_for_terminals() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    for arguments in LOOKING {
        let ran = place.ok(arguments);
        assert!(!has_colour(&ran.stdout) && !has_colour(&ran.stderr), "{arguments}");
        assert!(!has_colour(&place.ok(&format!("{arguments} --color never")).stdout), "{arguments}");
        assert!(!has_colour(&place.ok(&format!("{arguments} --json --color always")).stdout), "{arguments}");
    }
    assert!(has_colour(&place.ok("search installer --color always").stdout));
    let on_a_terminal = |arguments: &str, variable: Option<(&str, &str)>| {
        let program = format!("{} {arguments}", env!("CARGO_BIN_EXE_toka"));
        let mut command = Command::new("script");
        command.args(["-qec", &program, "/dev/null"]).current_dir(place.path()).stdin(Stdio::null());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("TERM", "xterm").envs(variable);
        command.output().ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // Where there is no `script` there is no terminal to be had.
    if let Some(shown) = on_a_terminal("search installer", None) {
        assert!(has_colour(&shown), "{shown}");
        let shown = on_a_terminal("search installer", Some(("NO_COLOR", "1"))).expect("it ran before");
        assert!(!has_colour(&shown), "{shown}");
    }
}

#[test]
fn names_are_never_raw_on_a_terminal() {
    let place = Place::new();
    let name = "docs/evil\n\u{1b}[31mred\u{202e}fdp.md";
    place.write(name, "treasure \u{1b}]0;title\u{7} and \u{9b}31m more\n");
    place.write("docs/plain.md", "treasure too\n");
    place.ok("up docs --once");
    let unsafe_char = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    for arguments in ["events list", "search treasure", "up docs --once", "verify"] {
        for json in ["", " --json"] {
            let ran = place.ok(&format!("{arguments}{json}"));
            assert!(!ran.stdout.contains(unsafe_char), "{arguments}{json}: {:?}", ran.stdout);
            assert!(!ran.stderr.contains(unsafe_char), "{arguments}{json}: {:?}", ran.stderr);
        }
    }
    let shown = place.ok("search treasure").stdout;
    assert!(shown.contains("evil\\n\\u{1b}[31mred\\u{202e}fdp.md"), "{shown}");
    let hits = place.answer("search treasure")["hits"].clone();
    assert!(
        hits.as_array()
            .expect("hits")
            .iter()
            .any(|hit| format!("docs/{}", hit["path"].as_str().unwrap_or_default()) == name),
        "{hits}"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    for arguments in [
        "events list --from 0 --limit 100000 --json",
        "completions bash",
        "config schema",
        "--help",
        "status",
    ] {
        let mut child = place.start(arguments);
        drop(child.stdout.take());
        let ran = Ran::of(child.wait_with_output().expect("it ends"));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{arguments}");
    }
}

#[test]
fn errors_are_told_in_both_forms() {
    let place = Place::new();
    for arguments in [
        "nonsense",
        "status --nonsense",
        "events",
        "search",
        "up a b",
        "-q -v status",
        "events list --limit x",
        "",
    ] {
        let ran = place.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments}");
        assert_eq!(place.fails(2, arguments)["code"], "usage", "{arguments}");
    }
    let ran = place.run("status");
    assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("\nhint: "), "{}", ran.stderr);
    let error = place.fails(2, "status");
    assert!(
        error["hint"].as_str().is_some_and(|hint| hint.contains("toka init") && hint.contains("toka up")),
        "{error}"
    );
}

#[test]
fn global_options_stand_anywhere() {
    let place = Place::with_docs();
    place.ok("up docs --once --vault v");
    let ways = ["--json --vault v status", "status --json --vault v", "--vault v status --json"];
    let answers = ways.map(|arguments| place.ok(arguments).answer());
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let ways =
        ["--json --vault v events list", "events --json --vault v list", "events list --vault v --json"];
    let answers = ways.map(|arguments| place.ok(arguments).stdout);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}

#[test]
fn standard_output_carries_data_alone() {
    let place = Place::with_docs();
    let ran = place.ok("up docs --once --json");
    assert_eq!(ran.lines().len(), 1);
    assert!(ran.stderr.lines().next().is_some_and(|line| line.starts_with("indexing ")), "{}", ran.stderr);
    let quiet = place.ok("up docs --once -q");
    assert_eq!(quiet.stderr, "");
    let text = place.ok("up docs --once").stdout;
    assert!(text.contains("toka search \""), "the next command is told: {text}");
    let ran = place.ok("events list --limit 1 -q");
    assert_eq!((ran.stdout.lines().count(), ran.stderr.as_str()), (2, ""));
}

#[test]
fn logs_go_to_standard_error_in_the_form_asked_for() {
    let place = Place::new();
    place.write(
        "c.toml",
        "[[agents]]\nname = \"Logger\"\n[[agents]]\nname = \"SchedulerAgent\"\ndefault_driver = \"s3\"\n",
    );
    let run = |variables: &[(&str, &str)]| {
        let mut command = place.command(["run", "c.toml", "--once", "--json"]);
        command.envs(variables.iter().copied());
        Ran::of(command.output().expect("it runs"))
    };
    let ran = run(&[("TOKA_LOG", "warn,toka=debug"), ("TOKA_LOG_FORMAT", "json")]);
    assert_eq!((ran.code, ran.lines().len()), (Some(0), 1), "{}", ran.stderr);
    assert!(ran.stderr.lines().any(|line| {
        serde_json::from_str::<serde_json::Value>(line).is_ok_and(|log| log["level"].is_string())
    }));
    for wrong in [("TOKA_LOG", "a=b=c"), ("TOKA_LOG_FORMAT", "xml")] {
        let ran = run(&[wrong]);
        assert_eq!((ran.code, ran.error()["code"].as_str()), (Some(2), Some("usage")), "{wrong:?}");
    }
}

#[test]
fn the_operator_key_is_the_operators_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let state = place.path().join("state");
    let mut command = place.command(["init"]);
    command.env("XDG_STATE_HOME", &state);
    assert!(command.output().expect("it runs").status.success());
    let key = state.join("toka/operator.key");
    let mode = std::fs::metadata(&key).expect("a key").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    let mut command = place.command(["init", "--json"]);
    command.env("XDG_STATE_HOME", &state);
    let ran = Ran::of(command.output().expect("it runs"));
    assert_eq!(ran.code, Some(1));
    assert!(ran.error()["message"].as_str().is_some_and(|text| text.contains("chmod")), "{}", ran.stderr);
}

#[test]
fn verbose_says_what_is_done_and_quiet_says_nothing() {
    let place = Place::with_docs();
    let usual = place.ok("up docs --once").stderr;
    let verbose = place.ok("up docs --once -v").stderr;
    assert!(verbose.contains("DEBUG") && !usual.contains("DEBUG"), "{verbose}");
    assert_eq!(place.ok("-q up docs --once").stderr, "");
    let mut logged = place.command(["up", "docs", "--once", "-q"]);
    logged.env("TOKA_LOG", "toka_runtime=debug").env("TOKA_LOG_FORMAT", "json");
    let logged = Ran::of(logged.output().expect("it runs"));
    let lines: Vec<serde_json::Value> =
        logged.stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(lines.iter().any(|line| line["level"] == "DEBUG"), "{lines:?}");
}
