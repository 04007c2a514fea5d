//! Configurations, and where the vault is.

use std::fs;

use crate::toka::{Place, text};

#[test]
fn every_problem_is_reported_with_its_place() {
    let place = Place::new();
    place.write(
        "bad.toml",
        "[event_bus]\nbufer_size = 10\nscheduler_tick_ms = \"soon\"\n\n[[agents]]\nname = \"IndexerAgent\"\n",
    );
    for arguments in ["config check --config bad.toml", "run bad.toml --once", "--config bad.toml up --once"]
    {
        let ran = place.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments}");
        for place in ["bad.toml:2:1: ", "bad.toml:3:21: ", "bad.toml:5:"] {
            assert!(ran.stderr.contains(place), "{arguments}: {place} not in\n{}", ran.stderr);
        }
        assert!(ran.stderr.contains("buffer_size") && ran.stderr.contains("hint: "), "{}", ran.stderr);
        let error = place.fails(2, arguments);
        assert_eq!(error["code"], "config");
        assert_eq!(error["problems"].as_array().map(Vec::len), Some(3), "{error}");
        assert_eq!(error["problems"][0]["line"], 2);
    }
    assert!(!place.vault().exists(), "a wrong configuration creates nothing");
}

#[test]
fn syntax_of_other_parts_is_checked_too() {
    let place = Place::new();
    let check = |config: &str, word: &str| {
        place.write("c.toml", config);
        let error = place.fails(2, "config check --config c.toml");
        assert!(error["problems"][0]["message"].as_str().is_some_and(|text| text.contains(word)), "{error}");
    };
    check("[[agents]]\nname = \"IndexerAgent\"\nscan_path = \".\"\nexclude = [\"a[\"]\n", "a[");
    let task = |cron: &str, zone: &str| {
        format!(
            "[[agents]]\nname = \"SchedulerAgent\"\n[[agents.tasks]]\nname = \"t\"\ncron = \"{cron}\"\ntimezone = \"{zone}\"\nemit = \"a.b\"\n"
        )
    };
    check(&task("61 * * * *", "UTC"), "61");
    check(&task("0 * * * *", "Nowhere/Land"), "Nowhere/Land");
    check(&task("0 * * * *", "UTC").replace("a.b", "tool.returned"), "'tool' belong to the kernel");
}

#[test]
fn files_and_folders_that_are_not_there_are_named() {
    let place = Place::new();
    place.write("file.txt", "x");
    let check = |arguments: &str, name: &str| {
        let error = place.fails(2, arguments);
        assert!(text(&error["message"]).contains(name), "{arguments}: {error}");
    };
    check("up missing --once", "missing");
    check("up file.txt --once", "file.txt");
    check("run missing.toml --once", "missing.toml");
    check("config check --config missing.toml", "missing.toml");
    check("status", "vault");
    check("status --vault missing", "missing");
    check("status --vault file.txt", "no directory");
    check("up . --once --vault file.txt", "no directory");
    let error = place.fails(2, "run missing.toml --once");
    assert!(error["hint"].is_string() && !text(&error["message"]).contains('\n'), "{error}");
    check("search", "<TEXT>");
    place.write("gone.toml", "[[agents]]\nname = \"IndexerAgent\"\nscan_path = \"gone\"\n");
    check("run gone.toml --once", "gone");
    check("run gone.toml --once", "gone.toml:1:1");
    assert!(!place.vault().exists());
}

#[test]
fn the_portable_example_runs_as_far_as_its_paths_exist() {
    let place = Place::with_docs();
    let example = include_str!("../../../../config/portable.toml");
    place.write("portable.toml", example);
    let variables = [("AWS_KEY", "k"), ("AWS_SECRET", "s"), ("STRIPE_SK", "sk"), ("STRIPE_WEBHOOK", "wh")];
    let run = |scan_path: Option<&str>| {
        let mut command = place.command(["run", "portable.toml", "--once", "--json", "--vault", "v"]);
        command.envs(variables);
        command.envs(scan_path.map(|path| ("TOKA__AGENTS__INDEXERAGENT__SCAN_PATH", path)));
        crate::toka::Ran::of(command.output().expect("it runs"))
    };
    let ran = run(None);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(text(&ran.error()["message"]).contains("/Users/me/Content"), "{}", ran.stderr);
    assert!(ran.stderr.contains("drivers"), "what this build does not read is reported: {}", ran.stderr);
    let ran = run(Some("docs"));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.answer()["files"], 5);
}

#[test]
fn the_minimal_example_runs() {
    let place = Place::new();
    place.write("minimal.toml", include_str!("../../../../config/minimal.toml"));
    let summary = place.answer("run minimal.toml --once");
    assert_eq!(summary["files"], 0);
    let agents = place.list("agents list");
    assert_eq!(
        (agents.len(), &agents[0]["name"], &agents[0]["state"]),
        (1, &"Logger".into(), &"running".into())
    );
}

#[test]
fn the_vault_is_found_in_its_order() {
    let place = Place::new();
    let vault_of = |arguments: &[&str], variable: Option<&str>, directory: &str| {
        let mut command = place.command(arguments);
        command
            .current_dir(place.path().join(directory))
            .arg("--json")
            .envs(variable.map(|path| ("TOKA_VAULT", path)));
        let ran = crate::toka::Ran::of(command.output().expect("it runs"));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        fs::canonicalize(text(&ran.answer()["vault"])).expect("a vault")
    };
    let at = |path: &str| fs::canonicalize(place.path()).expect("a path").join(path);
    fs::create_dir_all(place.path().join("a/b")).expect("a directory");
    place.write("c.toml", "[vault]\npath = \"configured\"\n");
    let config = place.path().join("c.toml");
    let config = config.to_str().expect("UTF-8");
    assert_eq!(vault_of(&["init"], None, "."), at(".toka"));
    assert_eq!(vault_of(&["init", "--vault", "named"], None, "."), at("named"));
    assert_eq!(vault_of(&["init"], Some("variable"), "."), at("variable"));
    assert_eq!(vault_of(&["init", "--config", config], None, "."), at("configured"));
    assert_eq!(vault_of(&["status"], None, "a/b"), at(".toka"), "the nearest one above");
    assert_eq!(vault_of(&["status", "--config", config], None, "a/b"), at("configured"));
    let variable = at("variable");
    let variable = variable.to_str();
    assert_eq!(vault_of(&["status", "--config", config], variable, "a/b"), at("variable"));
    assert_eq!(vault_of(&["--vault", "../../named", "status"], variable, "a/b"), at("named"));
    assert_eq!(vault_of(&["init"], None, "a/b"), at("a/b/.toka"), "init creates where it is told");
    assert_eq!(vault_of(&["status"], None, "a/b"), at("a/b/.toka"));
    let again = place.answer("init");
    assert_eq!(again["created"], false);
}

#[test]
fn settings_say_where_they_come_from() {
    let place = Place::new();
    place.write("c.toml", "[event_bus]\nbuffer_size = 77\n[providers.x]\nsecret_key = \"hush\"\n");
    let mut command = place.command(["config", "show", "--origin", "--json"]);
    command.env("TOKA_CONFIG", "c.toml").env("TOKA__SCHEDULER_TICK_MS", "50");
    let ran = crate::toka::Ran::of(command.output().expect("it runs"));
    assert!(!ran.stdout.contains("hush"), "secrets are masked: {}", ran.stdout);
    let answer = ran.answer();
    let values = answer["values"].as_array().expect("values");
    let origin = |key: &str| {
        values.iter().find(|value| text(&value["key"]).ends_with(key)).map(|value| text(&value["origin"]))
    };
    assert_eq!(origin("buffer_size").as_deref(), Some("c.toml:2"));
    assert_eq!(origin("scheduler_tick_ms").as_deref(), Some("environment TOKA__SCHEDULER_TICK_MS"));
    assert_eq!(origin("secret_store").as_deref(), Some("default"));
    let mut command = place.command(["up", "--once", "--json"]);
    command.env("TOKA__EVENT_BUS__BUFFER_SIZE", "many");
    assert_eq!(command.output().expect("it runs").status.code(), Some(2));
}

#[test]
fn the_schema_is_json() {
    let place = Place::new();
    for arguments in ["config schema", "config schema --json"] {
        let schema: serde_json::Value = serde_json::from_str(&place.ok(arguments).stdout).expect("JSON");
        assert!(schema["$schema"].as_str().is_some_and(|text| text.contains("2020-12")), "{schema}");
    }
}
