//! What is said about files that are wrong.

use std::path::Path;

use crate::support::{build, check, check_with, loader, read, said};
use toka_runtime::config::{
    AgentConfig, DEFAULT_EMBEDDER_URL, EmbedderConfig, Environment, Loader, RuntimeConfig, SearchEngine,
    SyntaxChecks, VaultConfig,
};

#[test]
fn typos_get_a_suggestion() {
    check(
        "[event_bus]\nbufer_size = 1",
        "x.toml:2:1: unknown key 'bufer_size' in [event_bus]\n  hint: did you mean 'buffer_size'?",
    );
    check(
        "[event_bus]\nwidth = 1",
        "x.toml:2:1: unknown key 'width' in [event_bus]\n  hint: known keys: buffer_size, scheduler_tick_ms, secret_store",
    );
    check(
        "[event-bus]\nbuffer_size = 1",
        "x.toml:1:2: unknown section [event-bus]\n  hint: did you mean [event_bus]?",
    );
    check("[EventBus]", "x.toml:1:2: unknown section [EventBus]\n  hint: did you mean [event_bus]?");
    check("[vualt]\npath = \"v\"", "x.toml:1:2: unknown section [vualt]\n  hint: did you mean [vault]?");
    check(
        "[[agent]]\nname = \"Logger\"",
        "x.toml:1:3: unknown section [agent]\n  hint: did you mean [[agents]]?",
    );
    check(
        "[driver.s3]\nbucket = \"b\"",
        "x.toml:1:2: unknown section [driver]\n  hint: did you mean [drivers]?",
    );
    check(
        "[drivers.S3]\nbucket = \"b\"",
        "x.toml:1:10: unknown driver 'S3' in [drivers]\n  hint: did you mean 's3'?",
    );
    check(
        "[providers.strpe]\nkey = \"b\"",
        "x.toml:1:12: unknown provider 'strpe' in [providers]\n  hint: did you mean 'stripe'?",
    );
    check(
        "scheduler_tick = 5",
        "x.toml:1:1: unknown key 'scheduler_tick' at top level\n  hint: did you mean 'scheduler_tick_ms'?",
    );
    check(
        "scheduler_tick_m = 5",
        "x.toml:1:1: unknown key 'scheduler_tick_m' at top level\n  hint: did you mean 'scheduler_tick_ms'?",
    );
    check(
        "buffer_size = 5",
        "x.toml:1:1: unknown key 'buffer_size' at top level\n  hint: 'buffer_size' belongs in [event_bus]",
    );
    check(
        "[[agents]]\nname = \"Loger\"",
        "x.toml:2:8: unknown behaviour 'Loger'\n  hint: did you mean 'Logger'?",
    );
    check(
        "[[agents]]\nname = \"a\"\nbehaviour = \"Weather\"",
        "x.toml:3:13: unknown behaviour 'Weather'\n  hint: known behaviours: Logger, IndexerAgent, SchedulerAgent",
    );
    check(
        "[[agents]]\nname = \"Logger\"\nbehavior = \"Logger\"",
        "x.toml:3:1: unknown key 'behavior' in [[agents]] 'Logger'\n  hint: did you mean 'behaviour'?",
    );
    check(
        "[[agents]]\nname = \"Logger\"\nscan_path = \"x\"",
        "x.toml:3:1: unknown key 'scan_path' in [[agents]] 'Logger'\n  hint: 'scan_path' belongs to agents of the behaviour IndexerAgent",
    );
}

#[test]
fn sections_that_are_not_read_are_named_and_ignored() {
    check(
        "[telemetry]\nendpoint = \"${NOWHERE}\"",
        "x.toml:1:2: warning: section [telemetry] is ignored: this build knows no such section",
    );
    check(
        "[[plugins]]\npath = \"${NOWHERE\"",
        "x.toml:1:3: warning: section [plugins] is ignored: this build knows no such section",
    );
    check(
        "[drivers.s3]\nkey = \"${NOWHERE}\"",
        "x.toml:1:10: warning: section [drivers.s3] is ignored: it needs the feature 'driver-s3', which this build does not have\n  hint: use a build that has it, or remove the section",
    );
    check(
        "[drivers.tape]\nkey = \"${NOWHERE}\"",
        "x.toml:1:10: warning: section [drivers.tape] is ignored: no driver of that name is in this build",
    );
    let bare = Loader::new(build(&[])).environment(Environment::empty());
    let loaded = bare.parse("[vault]\npth = 3", None).expect("a section that is not read");
    assert_eq!(loaded.config.vault, None);
    assert_eq!(
        loaded.warnings[0].to_string(),
        "<text>:1:2: warning: section [vault] is ignored: it needs the feature 'vault', which this build does not have\n  hint: use a build that has it, or remove the section"
    );
}

#[test]
fn rules_of_retention() {
    let loaded = Loader::default().parse("[vault]\nretain = [{ age = \"1d\" }]", None);
    let vault = loaded.expect("the vault's folder may be said elsewhere").config.vault.expect("a section");
    assert_eq!((vault.path, vault.retain.len()), (None, 1));
    let check =
        |rules: &str, message: &str| check(&format!("[vault]\npath = \"v\"\nretain = {rules}"), message);
    check(
        "[{ kind = \"file.chunk\", ages = \"90d\" }]",
        "x.toml:3:34: unknown key 'ages' in [[vault.retain]]\n  hint: did you mean 'age'?",
    );
    check(
        "[{ kind = \"file\", size = \"1 GIB\" }]",
        "x.toml:3:35: 'size': '1 GIB' is not a size; write 4096, 500 MiB or 1 GiB, did you mean GiB?",
    );
    check(
        "[{ kind = \"file\", age = \"soon\" }]",
        "x.toml:3:34: 'age': 'soon' is not a duration; write 500ms, 30s, 5m, 1h, 1d or 1h30m",
    );
    check(
        "[{ kind = \"file\", age = \"1d\" }, { kind = \"file\", size = \"1\" }]",
        "x.toml:3:51: kind 'file' stands twice in 'retain'\n  hint: the other is in line 3",
    );
    check(
        "[{ kind = \"file\" }]",
        "x.toml:3:10: 1 of the rules in 'retain' name neither 'age' nor 'size'\n  hint: say how old the content gets, or how much of it is kept: age = \"90d\", size = \"1 GiB\"",
    );
    check(
        "{ age = \"1d\" }",
        "x.toml:3:10: 'retain' must be an array of tables, but is a table\n  hint: double the brackets: [[vault.retain]]",
    );
}

#[test]
fn bounds_above_the_kernel_s() {
    check(
        "[limits]\nagents = 1000001",
        "x.toml:2:10: 'agents' is 1000001, but must lie between 1 and 1000000",
    );
    check("[limits]\ntasks = 0", "x.toml:2:9: 'tasks' is 0, but must lie between 1 and 10000");
    check("[limits]\ntask = 3", "x.toml:2:1: unknown key 'task' in [limits]\n  hint: did you mean 'tasks'?");
}

#[test]
fn rules_of_a_policy() {
    let check = |rule: &str, message: &str| {
        check(&format!("[[policy.rules]]\nname = \"a\"\n{rule}\n[vault]\npath = \"v\""), message);
    };
    check(
        "label = [\"x\"]\nverdict = \"ask\"",
        "x.toml:3:1: unknown key 'label' in [[policy.rules]]\n  hint: did you mean 'labels'?",
    );
    check(
        "verdict = \"alow\"",
        "x.toml:3:11: 'verdict' is 'alow', but must be one of 'allow', 'ask', 'deny'\n  hint: did you mean 'allow'?",
    );
    check(
        "verdict = \"ask\"\nsinks = [\"write\", \"extern\"]",
        "x.toml:4:19: 'sinks' is 'extern', but must be one of 'none', 'write', 'external'\n  hint: did you mean 'external'?",
    );
    check(
        "verdict = \"ask\"\nlabels = [\"secret:*a\"]",
        "x.toml:4:11: 'labels': 'secret:*a' is not a pattern of labels: byte 7: '*' is one whole segment, and '**' the last one; segments are separated by ':'",
    );
    check(
        "verdict = \"ask\"\nto = [\"tool:t(path=/etc)\"]",
        "x.toml:4:7: 'to': 'tool:t(path=/etc)' is not a capability: byte 12: a path pattern is relative to the granted root; leave the leading '/' out",
    );
    check(
        "verdict = \"ask\"\nto = [\"tool:t(rate=1/s)\"]",
        "x.toml:4:7: 'to' is 'tool:t(rate=1/s)': 'rate' and 'uses' have no place here, since a policy counts nothing",
    );
    check(
        "verdict = \"ask\"\n[[policy.rules]]\nname = \"a\"\nverdict = \"deny\"",
        "x.toml:5:8: name 'a' stands twice in 'rules'\n  hint: the other is in line 2",
    );
    check(
        "verdict = \"ask\"\n[[policy.rules]]\nname = \"default/x\"\nverdict = \"deny\"",
        "x.toml:5:8: 'name' is 'default/x': names of built-in rules begin so",
    );
    let labels: Vec<String> = (0..255).map(|i| format!("\"l:{i}\"")).collect();
    check(
        &format!("verdict = \"ask\"\nlabels = [{}]", labels.join(", ")),
        "x.toml:1:1: 257 labels and calls in all rules; at most 256 are allowed, so use wider patterns",
    );
}

#[test]
fn types_and_bounds() {
    check(
        "[event_bus]\nbuffer_size = \"64\"",
        "x.toml:2:15: 'buffer_size' must be an integer, but is a string\n  hint: write buffer_size = 64",
    );
    check(
        "[event_bus]\nbuffer_size = 0",
        "x.toml:2:15: 'buffer_size' is 0, but must lie between 1 and 1048576",
    );
    check(
        "[event_bus]\nbuffer_size = -4",
        "x.toml:2:15: 'buffer_size' is -4, but must lie between 1 and 1048576",
    );
    check(
        "[event_bus]\nbuffer_size = 99999999999999999999",
        "x.toml:2:15: 'buffer_size' is 99999999999999999999, but must lie between 1 and 1048576",
    );
    check(
        "[event_bus]\nbuffer_size = 1.5",
        "x.toml:2:15: 'buffer_size' must be an integer, but is a number with a fraction",
    );
    check(
        "scheduler_tick_ms = 60001",
        "x.toml:1:21: 'scheduler_tick_ms' is 60001, but must lie between 1 and 60000",
    );
    check(
        "secret_store = 7",
        "x.toml:1:16: 'secret_store' must be a string, but is an integer\n  hint: put the value in quotes",
    );
    check("secret_store = \"\"", "x.toml:1:16: 'secret_store' is empty");
    check(
        "event_bus = 3",
        "x.toml:1:1: 'event_bus' must be a table, but is an integer\n  hint: write [event_bus]",
    );
    check(
        "[[vault]]\npath = \"v\"",
        "x.toml:1:3: 'vault' must be a table, but is an array\n  hint: write [vault]",
    );
    check(
        "[vault]\npath = \"~/v\"",
        "x.toml:2:8: 'path' is '~/v': '~' is not expanded\n  hint: write ${HOME}/v, or ./~/v for a folder of that name",
    );
    check(
        "[agents]\nname = \"Logger\"",
        "x.toml:1:2: 'agents' must be an array of tables, but is a table\n  hint: write [[agents]] with two brackets",
    );
    check(
        "agents = [3]",
        "x.toml:1:11: an agent must be a table, but is an integer\n  hint: write [[agents]] above its keys",
    );
    check(
        "drivers = 1",
        "x.toml:1:1: 'drivers' must be a table, but is an integer\n  hint: write [drivers.NAME]",
    );
    check(
        "[drivers]\ns3 = 1",
        "x.toml:2:1: 's3' must be a table, but is an integer\n  hint: write [drivers.s3]",
    );
}

#[test]
fn agents() {
    check(
        "[[agents]]",
        "x.toml:1:1: missing key 'name' in [[agents]]\n  hint: name: Name of the agent, different from every other agent's.",
    );
    check("[[agents]]\nname = \"\"", "x.toml:2:8: 'name': '' has 0 bytes; 1 to 64 are allowed");
    check(
        "[[agents]]\nname = \"IndexerAgent\"",
        "x.toml:1:1: missing key 'scan_path' in [[agents]] 'IndexerAgent'\n  hint: scan_path: Folder to index.",
    );
    check(
        "[[agents]]\nname = \"IndexerAgent\"\nscan_path = 3",
        "x.toml:3:13: 'scan_path' must be a string, but is an integer\n  hint: put the value in quotes",
    );
    check(
        "[[agents]]\nname = \"Logger\"\n[[agents]]\nname = \"Logger\"",
        "x.toml:4:8: two agents are named 'Logger'\n  hint: the other is in line 2; give each its own name, and the behaviour its own key",
    );
    check(
        "[[agents]]\nname = \"Logger\"\nkinds = \"file\"",
        "x.toml:3:9: 'kinds' must be an array of strings, but is a string\n  hint: write kinds = [\"…\"]",
    );
    check(
        "[[agents]]\nname = \"Logger\"\nkinds = [\"file\", 3]",
        "x.toml:3:18: 'kinds' must be an array of strings, but one of them is an integer",
    );
    check(
        "[[agents]]\nname = \"Logger\"\nkinds = [\"file.*\"]",
        "x.toml:3:10: 'kinds': 'file.*' has '*' at byte 5; lower-case letters, digits, '_', '-' and dots are allowed",
    );
    check(
        "[[agents]]\nname = \"Log\\u001b[31mger\"",
        "x.toml:2:8: 'name': 'Log\\u{1b}[31mger' has '\\u{1b}' at byte 3; letters, digits, '.', '_', '-' and '/' are allowed",
    );
    let size = "[[agents]]\nname = \"IndexerAgent\"\nscan_path = \".\"\nmax_file_bytes = ";
    check(&format!("{size}67108864"), "");
    check(
        &format!("{size}67108865"),
        "x.toml:4:18: 'max_file_bytes' is 67108865, but must lie between 1 and 67108864",
    );
}

#[test]
fn grants_are_capabilities() {
    let grant = |list: &str| format!("[[agents]]\nname = \"Logger\"\ngrant = [{list}]");
    check(&grant("\"tool:fs.read(path=docs/**)\""), "");
    let said = said(read(&grant("\"tool:fs.read\", \"oops\"")));
    assert!(said.starts_with("x.toml:3:26: 'grant': 'oops' is not a capability"), "{said}");
}

/// A scheduler with one task of these lines.
fn task(lines: &str) -> String {
    format!("[[agents]]\nname = \"SchedulerAgent\"\n[[agents.tasks]]\n{lines}")
}

#[test]
fn tasks() {
    check(&task("name = \"t\"\nevery = \"1h30m\"\nemit = \"report.due\""), "");
    check(
        &task(
            "name = \"t\"\ncron = \"*/5 0-6,22 1 JAN mon-FRI\"\nsend_to = \"docs\"\nmissed = \"all\"\ntimezone = \"Europe/Berlin\"",
        ),
        "",
    );
    check(
        &task("every = \"5m\""),
        "x.toml:3:1: missing key 'name' in [[agents.tasks]]\n  hint: name: Name of the task, different from every other task's of the agent.\nx.toml:3:1: one of 'emit' and 'send_to' is missing in [[agents.tasks]]",
    );
    check(
        &task("name = \"t\"\nevery = \"5m\"\ncron = \"0 0 * * *\"\nemit = \"a\""),
        "x.toml:6:8: 'cron' and 'every' exclude each other, but both stand in [[agents.tasks]]\n  hint: keep one of them",
    );
    let every = |value: &str| task(&format!("name = \"t\"\nemit = \"a\"\nevery = \"{value}\""));
    check(&every("5"), "x.toml:6:9: 'every': '5' is not a duration; write 500ms, 30s, 5m, 1h, 1d or 1h30m");
    check(
        &every("5 m"),
        "x.toml:6:9: 'every': '5 m' is not a duration; write 500ms, 30s, 5m, 1h, 1d or 1h30m",
    );
    check(
        &every("30m1h"),
        "x.toml:6:9: 'every': '30m1h' is not a duration; write 500ms, 30s, 5m, 1h, 1d or 1h30m",
    );
    check(&every("0s"), "x.toml:6:9: 'every' is '0s', but must lie between 1ms and 3653d");
    check(
        &every("99999999999999999d"),
        "x.toml:6:9: 'every': '99999999999999999d' is longer than a duration can be",
    );
    let cron = |value: &str| task(&format!("name = \"t\"\nemit = \"a\"\ncron = \"{value}\""));
    check(&cron("@daily"), "");
    check(&cron("0 0 3 L * 5#2"), "");
    check(&cron("* * *"), "x.toml:6:8: 'cron' is '* * *': a cron expression has 5 or 6 fields, this has 3");
    check(
        &cron("61 * * * *"),
        "x.toml:6:8: 'cron' is '61 * * * *': the minute is '61', but must lie between 0 and 59",
    );
    check(
        &cron("*/0 * * * *"),
        "x.toml:6:8: 'cron' is '*/0 * * * *': the minute is '*/0', but must lie between 0 and 59",
    );
    let more = |line: &str| task(&format!("name = \"t\"\nemit = \"a\"\nevery = \"1s\"\n{line}"));
    check(
        &more("missed = \"onec\""),
        "x.toml:7:10: 'missed' is 'onec', but must be one of 'skip', 'once', 'all'\n  hint: did you mean 'once'?",
    );
    check(
        &more("timezone = \"/etc/passwd\""),
        "x.toml:7:12: 'timezone' is '/etc/passwd': a time zone is a name such as UTC or Europe/Berlin",
    );
    check(
        &more("payload = \"x\""),
        "x.toml:7:1: unknown key 'payload' in [[agents.tasks]]\n  hint: known keys: name, cron, every, emit, send_to, message, missed, timezone",
    );
    check(
        &more("[[agents.tasks]]\nname = \"t\"\nemit = \"b\"\nevery = \"2s\""),
        "x.toml:8:8: name 't' stands twice in 'tasks'\n  hint: the other is in line 4",
    );
    check(
        "[[agents]]\nname = \"SchedulerAgent\"\n[agents.tasks]\nname = \"t\"",
        "x.toml:3:1: 'tasks' must be an array of tables, but is a table\n  hint: double the brackets: [[agents.tasks]]",
    );
}

#[test]
fn keys_of_two_homes_must_agree() {
    check("scheduler_tick_ms = 50\n[event_bus]\nscheduler_tick_ms = 50", "");
    check(
        "scheduler_tick_ms = 50\n[event_bus]\nscheduler_tick_ms = 60",
        "x.toml:3:21: 'scheduler_tick_ms' stands at top level and in [event_bus] with different values\n  hint: the other is in line 1; keep one of them",
    );
    check(
        "secret_store = \"a\"\n[event_bus]\nsecret_store = \"b\"",
        "x.toml:3:16: 'secret_store' stands at top level and in [event_bus] with different values\n  hint: the other is in line 1; keep one of them",
    );
}

#[test]
fn everything_is_reported_at_once() {
    check(
        "[event_bus]\nbufer_size = 1\nscheduler_tick_ms = 0\n[log]\n[vault]\npath = 3\n[[agents]]\nname = \"Loger\"\n",
        "x.toml:2:1: unknown key 'bufer_size' in [event_bus]\n  hint: did you mean 'buffer_size'?\n\
         x.toml:3:21: 'scheduler_tick_ms' is 0, but must lie between 1 and 60000\n\
         x.toml:4:2: warning: section [log] is ignored: this build knows no such section\n\
         x.toml:6:8: 'path' must be a string, but is an integer\n  hint: put the value in quotes\n\
         x.toml:8:8: unknown behaviour 'Loger'\n  hint: did you mean 'Logger'?",
    );
}

#[test]
fn text_that_is_not_toml() {
    check(
        "[event_bus]\nbuffer_size =\nbufer = 1\n",
        "x.toml:2:14: missing value after '='\nx.toml:3:1: unknown key 'bufer' in [event_bus]\n  hint: known keys: buffer_size, scheduler_tick_ms, secret_store",
    );
    check(
        "[vault]\npath = vault\n",
        "x.toml:2:8: string values must be quoted, and 'vault' is not\n  hint: write \"vault\"",
    );
    check(
        "[event_bus]\nbuffer_size = 1\nbuffer_size = 2\n",
        "x.toml:3:1: duplicate key 'buffer_size'\n  hint: first given in line 2",
    );
    check(
        "[event_bus]\n\n[vault]\npath = \"v\"\n[event_bus] # again\n",
        "x.toml:5:2: duplicate key 'event_bus'\n  hint: first given in line 1",
    );
    check("[event_bus\nbuffer_size = 0\n", "x.toml:1:11: unclosed table, expected `]`");
    check(
        "[[agents]]\nname = \"Logger\"\nkinds = [\"a\", \"b\"\n[vault]\npath = \"v\"\n",
        "x.toml:4:1: missing comma between array elements, expected `,`\nx.toml:5:11: unclosed array, expected `]`",
    );
    check(
        "[vault]\npath = \"v\nbuffer = 1\n",
        "x.toml:2:10: invalid basic string, expected `\"`\nx.toml:3:1: unknown key 'buffer' in [vault]\n  hint: known keys: path, retain, compact_every",
    );
}

#[test]
fn variables() {
    let vault = |path: &str| format!("[vault]\npath = \"{path}\"");
    let set = [("HOME", "/home/me"), ("EMPTY", "")];
    check_with(&set, &vault("${HOME}/v"), "");
    check_with(
        &set,
        &vault("a ${NOWHERE} b"),
        "x.toml:2:11: the variable 'NOWHERE' is not set\n  hint: set NOWHERE, or write ${NOWHERE:-default}",
    );
    check_with(
        &set,
        &vault("${A}${B}"),
        "x.toml:2:9: the variable 'A' is not set\n  hint: set A, or write ${A:-default}\nx.toml:2:13: the variable 'B' is not set\n  hint: set B, or write ${B:-default}",
    );
    check_with(
        &set,
        &vault("${HOME"),
        "x.toml:2:9: '${' is never closed\n  hint: write ${NAME} or ${NAME:-default}, or $${ for the characters themselves",
    );
    check_with(
        &set,
        &vault("${}"),
        "x.toml:2:9: '${}' does not name a variable\n  hint: write ${NAME} or ${NAME:-default}; a name has letters, digits and _",
    );
    check_with(
        &set,
        &vault("${1A}"),
        "x.toml:2:9: '${1A}' does not name a variable\n  hint: write ${NAME} or ${NAME:-default}; a name has letters, digits and _",
    );
    check_with(
        &set,
        &vault("${A:-${B}}"),
        "x.toml:2:9: the default in '${A:-${B}' refers to another variable\n  hint: a default is plain text",
    );
    check_with(&set, &vault("${EMPTY}"), "x.toml:2:8: 'path' is empty");
    check_with(
        &set,
        "[[agents]]\nname = \"Logger\"\nkinds = [\"a\", \"${NOWHERE}\"]",
        "x.toml:3:16: the variable 'NOWHERE' is not set\n  hint: set NOWHERE, or write ${NOWHERE:-default}",
    );
    check_with(
        &set,
        &task("name = \"t\"\nevery = \"1s\"\nemit = \"a\"\nmessage = \"${NOWHERE}\""),
        "x.toml:7:12: the variable 'NOWHERE' is not set\n  hint: set NOWHERE, or write ${NOWHERE:-default}",
    );
}

#[test]
fn what_a_program_builds_is_checked_too() {
    let loader = Loader::new(build(&["vault"])).environment(Environment::empty());
    let good = RuntimeConfig {
        vault: Some(VaultConfig::new("v")),
        ..RuntimeConfig::default()
            .agent(AgentConfig::new("docs").behaves_as("IndexerAgent").option("scan_path", "${literal}"))
    };
    assert_eq!(loader.check(&good), Ok(Vec::new()));
    let mut bad =
        good.agent(AgentConfig::new("docs").behaves_as("Logger").granted(["a:b"]).option("watch", true));
    bad.event_bus.buffer_size = 0;
    let error = loader.check(&bad).expect_err("three mistakes");
    assert_eq!(
        error.to_string(),
        "configuration: 'buffer_size' is 0, but must lie between 1 and 1048576\n\
         configuration: unknown key 'watch' in [[agents]] 'docs'\n  hint: 'watch' belongs to agents of the behaviour IndexerAgent\n\
         configuration: two agents are named 'docs'\n  hint: the other is in configuration; give each its own name, and the behaviour its own key"
    );
}

#[test]
fn other_parts_of_a_program_judge_what_they_know() {
    fn judge(zone: &str) -> Result<(), String> {
        if zone == "UTC" { Ok(()) } else { Err("there is no such zone\u{7}".to_owned()) }
    }
    let checks = SyntaxChecks { timezone: Some(judge), ..SyntaxChecks::default() };
    let loader = Loader::new(build(&[])).environment(Environment::empty()).checks(checks);
    let text = task("name = \"t\"\nevery = \"1s\"\nemit = \"a\"\ntimezone = \"Mars/Base\"");
    assert_eq!(
        said(loader.parse(&text, None)),
        "<text>:7:12: 'timezone' is 'Mars/Base': there is no such zone\\u{7}"
    );
}

#[test]
fn an_embedder_says_what_its_kind_needs_and_nothing_else() {
    let all = ["vault", "embed-local", "embed-http"];
    let check = |text: &str, expected: &str| {
        let text = format!("[embedder]\n{text}");
        let outcome = loader(&all, &[("KEY", "sk-1")]).parse(&text, Some(Path::new("x.toml")));
        assert_eq!(said(outcome), expected, "for the text\n{text}");
    };
    check("", "");
    check("kind = \"lexical\"", "");
    check("kind = \"local\"\npath = \"model\"", "");
    check("kind = \"openai\"\nmodel = \"small\"\napi_key = \"${KEY}\"\ndimensions = 256", "");
    check("kind = \"bert\"", "x.toml:2:8: 'kind' is 'bert', but must be one of 'lexical', 'local', 'openai'");
    check("kind = \"local\"", "x.toml:2:8: missing key 'path' in [embedder]: the kind 'local' needs it");
    check("kind = \"openai\"", "x.toml:2:8: missing key 'model' in [embedder]: the kind 'openai' needs it");
    check("path = \"model\"", "x.toml:2:8: 'path' says nothing about an embedder of the kind 'lexical'");
    check(
        "kind = \"local\"\npath = \"model\"\nmodel = \"small\"",
        "x.toml:4:9: 'model' says nothing about an embedder of the kind 'local'",
    );
    check(
        "kind = \"openai\"\nmodel = \"small\"\nbase_url = \"api.openai.com\"",
        "x.toml:4:12: 'base_url' begins neither with https:// nor with http://: 'api.openai.com'",
    );
    check(
        "kind = \"openai\"\nmodel = \"small\"\ndimensions = 0",
        "x.toml:4:14: 'dimensions' is 0, but must lie between 1 and 16384",
    );
    check(
        "kind = \"openai\"\nmodel = \"small\"\napi_key = \"${NOWHERE}\"",
        "x.toml:4:12: the variable 'NOWHERE' is not set\n  hint: set NOWHERE, or write ${NOWHERE:-default}",
    );
    check_with(
        &[],
        "[embedder]\nkind = \"local\"\npath = \"model\"",
        "x.toml:2:8: kind 'local' needs the feature 'embed-local', which this build does not have\n  hint: use a build that has it: cargo install --path crates/toka-cli --features embed-local",
    );
}

#[test]
fn the_key_of_an_embedder_is_never_shown() {
    let text = "[embedder]\nkind = \"openai\"\nmodel = \"small\"\napi_key = \"${KEY}\"";
    let loader = loader(&["embed-http"], &[("KEY", "sk-1")]);
    let loaded = loader.parse(text, None).expect("a configuration");
    let service = match &loaded.config.embedder {
        EmbedderConfig::OpenAi(service) => service,
        other => panic!("{other:?}"),
    };
    assert_eq!(service.api_key.as_deref(), Some("sk-1"));
    assert_eq!(service.base_url, DEFAULT_EMBEDDER_URL);
    let shown = format!("{:?} {:?}", loaded.config, loaded.settings);
    assert!(shown.contains("embedder.api_key") && !shown.contains("sk-1"), "{shown}");
    assert_eq!(loader.check(&loaded.config), Ok(Vec::new()));
}

#[test]
fn an_engine_that_is_not_built_in_is_named_with_its_feature() {
    let text = "[search]\nengine = \"tantivy\"\n";
    let read = |features: &[&str], text| loader(features, &[]).parse(text, Some(Path::new("x.toml")));
    assert_eq!(
        said(read(&["search"], text)),
        "x.toml:2:10: 'engine' is 'tantivy', which needs the feature 'search-tantivy', and this build does not have it\n  \
         hint: use a build that has it, or remove the key: the built-in engine finds the same words"
    );
    let engine = |features: &[&str], text| read(features, text).expect("it is right").config.search.engine;
    assert_eq!(engine(&["search", "search-tantivy"], text), Some(SearchEngine::Tantivy));
    assert_eq!(engine(&["search"], "[search]\nengine = \"builtin\"\n"), Some(SearchEngine::Builtin));
    assert_eq!(engine(&["search"], "[search]\n"), None);
    assert_eq!(
        said(read(&["search"], "[search]\nengine = \"tantivi\"\n")),
        "x.toml:2:10: 'engine' is 'tantivi', but must be one of 'builtin', 'tantivy'\n  hint: did you mean 'tantivy'?"
    );
}
