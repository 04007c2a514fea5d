//! The values in force.

use std::path::Path;
use std::time::Duration;

use crate::support::{build, loader, read};
use toka_kernel::Policy;
use toka_runtime::config::{
    AgentConfig, BuildInfo, Environment, Loader, RetainRule, RuntimeConfig, parse_duration, parse_size,
};
use toka_types::Verdict;
use toka_types::facts::LogLimited;

#[test]
fn an_empty_file_is_the_default() {
    let config = loader(&[], &[]).parse("", None).expect("an empty text").config;
    assert_eq!(config, RuntimeConfig::default());
}

#[test]
fn every_value_in_force_names_its_origin() {
    let text = "[event_bus]\nbuffer_size = 8\n[drivers.s3]\nbucket = \"b\"\nsecret_key = \"hush\"\nauth = { token = \"hush\" }\n[[agents]]\nname = \"IndexerAgent\"\nscan_path = \"/docs\"\n";
    let loaded = loader(&["driver-s3"], &[]).parse(text, Some(Path::new("x.toml"))).expect("a configuration");
    let shown: Vec<String> = loaded
        .settings
        .iter()
        .map(|setting| format!("{} = {} ({})", setting.key, setting.value, setting.origin))
        .collect();
    assert_eq!(
        shown,
        [
            "event_bus.buffer_size = 8 (x.toml:2)",
            "event_bus.scheduler_tick_ms = 100 (default)",
            "event_bus.secret_store = \"secrets.db\" (default)",
            "agents[0].name = \"IndexerAgent\" (x.toml:8)",
            "agents[0].behaviour = \"IndexerAgent\" (default)",
            "agents[0].scan_path = \"/docs\" (x.toml:9)",
            "agents[0].watch = true (default)",
            "agents[0].max_file_bytes = 4194304 (default)",
            "agents[0].hidden = false (default)",
            "drivers.s3.bucket = \"b\" (x.toml:4)",
            "drivers.s3.secret_key = \"••••\" (x.toml:5)",
            "drivers.s3.auth = {\"token\":\"••••\"} (x.toml:6)",
        ]
    );
    let json = serde_json::to_value(&loaded.settings[0]).expect("JSON");
    assert_eq!(json, serde_json::json!({ "key": "event_bus.buffer_size", "value": 8, "origin": "x.toml:2" }));
}

#[test]
fn diagnostics_are_json_too() {
    let error = read("[event_bus]\nbufer_size = 1").expect_err("a typo");
    let expected = serde_json::json!({
        "severity": "error", "file": "x.toml", "line": 2, "column": 1, "variable": null, "key": "event_bus.bufer_size",
        "message": "unknown key 'bufer_size' in [event_bus]", "hint": "did you mean 'buffer_size'?",
    });
    assert_eq!(serde_json::to_value(&error.diagnostics[0]).expect("JSON"), expected);
}

#[test]
fn variables_are_put_in() {
    let store = |text: &str| {
        let text = format!("secret_store = '/{text}'");
        let loader = loader(&[], &[("A", "one"), ("EMPTY", ""), ("B", "${A}")]);
        loader.parse(&text, None).expect("a configuration").config.secret_store.to_string_lossy()[1..]
            .to_owned()
    };
    assert_eq!(store("${A}"), "one");
    assert_eq!(store("x${A}y${A}z"), "xoneyonez");
    assert_eq!(store("${NONE:-two}"), "two");
    assert_eq!(store("${NONE:-}"), "");
    assert_eq!(store("${EMPTY:-two}"), "two");
    assert_eq!(store("${EMPTY}"), "");
    assert_eq!(store("${A:-two}"), "one");
    assert_eq!(store("$${A}"), "${A}");
    assert_eq!(store("$$${A}"), "$${A}");
    assert_eq!(store("$A $ 5$"), "$A $ 5$");
    // What a variable holds is not looked at again.
    assert_eq!(store("${B}"), "${A}");
}

#[test]
fn keys_of_two_homes_count_in_either() {
    for text in [
        "scheduler_tick_ms = 7\nsecret_store = \"/s\"",
        "[event_bus]\nscheduler_tick_ms = 7\nsecret_store = \"/s\"",
    ] {
        let config = read(text).expect("a configuration").config;
        assert_eq!(
            (config.scheduler_tick_ms, config.secret_store.as_path()),
            (7, Path::new("/s")),
            "in {text}"
        );
    }
}

#[test]
fn agents_of_one_behaviour_differ_by_name() {
    let config = read("[[agents]]\nname = \"a\"\nbehaviour = \"Logger\"\ngrant = []\n[[agents]]\nname = \"b\"\nbehaviour = \"Logger\"").expect("two agents").config;
    let names: Vec<_> =
        config.agents.iter().map(|agent| (agent.name.as_str(), agent.grant.as_deref())).collect();
    assert_eq!(names, [("a", Some(&[][..])), ("b", None)]);
    assert_eq!(config.agents[1].position.map(|at| (at.line, at.column)), Some((5, 1)));
}

#[test]
fn behaviours_of_the_program_take_any_key() {
    let build = BuildInfo { behaviours: vec!["Weather".to_owned()], ..build(&[]) };
    let environment: Environment = [("CITY", "Jena")].into_iter().collect();
    let text = "[[agents]]\nname = \"Weather\"\nplaces = [{ city = \"${CITY}\" }]\napi_token = \"hush\"";
    let loaded = Loader::new(build).environment(environment).parse(text, None).expect("a configuration");
    let agent = &loaded.config.agents[0];
    assert_eq!(agent.view().tables("places")[0].text("city"), Some("Jena"));
    assert!(!format!("{agent:?}{:?}", loaded.settings).contains("hush"));
}

#[test]
fn views_know_the_defaults() {
    let agent = AgentConfig::new("docs").behaves_as("IndexerAgent").option("hidden", true);
    let view = agent.view();
    assert_eq!(
        (view.flag("watch"), view.flag("hidden"), view.integer("max_file_bytes")),
        (Some(true), Some(true), Some(4 << 20))
    );
    assert_eq!((view.text("scan_path"), view.texts("include")), (None, None));
    let task: toml::Table =
        toml::from_str("tasks = [{ name = \"t\", every = \"90s\", emit = \"a\" }]").expect("TOML");
    let agent = AgentConfig { options: task, ..AgentConfig::new("SchedulerAgent") };
    let task = agent.view().tables("tasks")[0];
    assert_eq!(
        (task.duration("every"), task.text("missed"), task.text("timezone")),
        (Some(Duration::from_secs(90)), Some("once"), Some("UTC"))
    );
}

#[test]
fn durations() {
    let cases = [
        ("500ms", 500),
        ("30s", 30_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("1d", 86_400_000),
        ("2w", 1_209_600_000),
        ("1h30m5s7ms", 5_405_007),
    ];
    for (text, milliseconds) in cases {
        assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
    }
    for text in ["", "5", "h", "5x", "-5m", "1.5h", "5m5m", "5 m", "5mé", "٣m"] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

#[test]
fn rules_of_a_policy_are_read() {
    let text = "[[policy.rules]]\nname = \"stripe\"\nlabels = [\"secret:stripe\"]\nsinks = [\"external\"]\n\
                to = [\"tool:http.post(host=api.stripe.com)\"]\nverdict = \"allow\"\n\
                [[policy.rules]]\nname = \"shell\"\nto = [\"tool:shell.**\"]\nverdict = \"ask\"";
    let loaded = read(text).expect("a configuration");
    assert!(loaded.warnings.is_empty());
    let config = loaded.config;
    let rules = config.policy.rules();
    assert_eq!(rules.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>(), ["shell", "stripe"]);
    assert_eq!((rules[0].labels.len(), rules[0].sinks.len(), rules[0].verdict), (0, 0, Verdict::Ask));
    assert_eq!(rules[1].to[0].to_string(), "tool:http.post(host=api.stripe.com)");
    assert!(loader(&[], &[]).check(&config).expect("it is sound").is_empty());
    assert_eq!(read("[policy]").expect("a configuration").config.policy, Policy::default());
}

#[test]
fn bounds_are_read_and_none_are_none() {
    let config = read("[limits]\ntasks = 3\napproval_seconds = 60").expect("a configuration").config;
    let limits = LogLimited { tasks: Some(3), approval_seconds: Some(60), ..LogLimited::default() };
    assert_eq!(config.limits, Some(limits));
    assert_eq!(loader(&[], &[]).check(&config).expect("it is sound"), []);
    assert_eq!(read("[limits]").expect("a configuration").config.limits, Some(LogLimited::default()));
    assert_eq!(read("").expect("a configuration").config.limits, None, "those of the log stay");
}

#[test]
fn rules_of_retention_are_read() {
    let text = "[vault]\npath = \"v\"\ncompact_every = \"10m\"\n\
                retain = [{ kind = \"file.chunk\", age = \"90d\", live = true }, { size = \"1 GiB\" }]";
    let config = read(text).expect("a configuration").config;
    let vault = config.vault.clone().expect("a vault");
    assert_eq!(vault.compact_every, Some(Duration::from_secs(600)));
    let day = Duration::from_secs(24 * 60 * 60);
    let chunks =
        RetainRule { kind: Some("file.chunk".to_owned()), age: Some(90 * day), size: None, live: true };
    let all = RetainRule { size: Some(1 << 30), ..RetainRule::default() };
    assert_eq!(vault.retain, [chunks, all]);
    assert_eq!(loader(&["vault"], &[]).check(&config).expect("it is sound"), []);
    let sizes =
        [("0", 0), ("4096", 4096), ("5 B", 5), ("3kB", 3000), ("2 MiB", 2 << 20), ("1TB", 1_000_000_000_000)];
    for (text, size) in sizes {
        assert_eq!(parse_size(text), Ok(size));
    }
    for text in ["", "B", "1 gib", "-1", "1  B", "1.5 GiB", "99999999999 TiB"] {
        assert!(parse_size(text).is_err(), "{text}");
    }
}
