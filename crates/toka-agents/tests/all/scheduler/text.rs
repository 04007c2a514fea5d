//! Tasks as people write them, and the bytes they are recorded as.

use std::time::Duration;

use toka_agents::scheduler::{
    Action, MAX_SPEC, MAX_TASKS, Missed, Schedule, SchedulerAgent, SchedulerError, SchedulerOptions,
    TaskSpec, TaskText, check_cron, check_timezone,
};
use toka_types::facts::{TaskScheduled, kinds};
use toka_types::{Digest, Kind, Name};

use super::house::{House, Setup, at};

fn text<'a>() -> TaskText<'a> {
    TaskText { name: "a", every: Some("1s"), emit: Some("beat.struck"), ..TaskText::default() }
}

fn spec() -> TaskSpec {
    TaskSpec::parse(&text()).expect("a task")
}

#[test]
fn a_task_is_read_as_it_is_written() {
    let kind = Kind::new("beat.struck").expect("a kind");
    let name = Name::new("a").expect("a name");
    let second = Schedule::Every(Duration::from_secs(1));
    let plain =
        TaskSpec { name, when: second, does: Action::Emit(kind), message: None, missed: Missed::Once };
    assert_eq!(spec(), plain);
    let durations = [
        ("500ms", 500),
        ("1ms", 1),
        ("90s", 90_000),
        ("1h30m", 5_400_000),
        ("2w", 1_209_600_000),
        ("1d12h5s7ms", 129_605_007),
    ];
    for (every, millis) in durations {
        let read = TaskSpec::parse(&TaskText { every: Some(every), ..text() }).expect(every);
        assert_eq!(read.when, Schedule::Every(Duration::from_millis(millis)), "{every}");
    }
    let full = TaskText {
        name: "b",
        cron: Some("0 7 * * *"),
        every: None,
        timezone: Some("Europe/Berlin"),
        emit: None,
        send_to: Some("desk"),
        message: Some("up"),
        missed: Some("all"),
    };
    let read = TaskSpec::parse(&full).expect("a task");
    let (expr, timezone) = ("0 7 * * *".to_owned(), "Europe/Berlin".to_owned());
    assert_eq!(read.when, Schedule::Cron { expr, timezone });
    assert_eq!(read.does, Action::SendTo(Name::new("desk").expect("a name")));
    assert_eq!((read.message.as_deref(), read.missed), (Some("up"), Missed::All));
}

#[test]
fn what_is_wrong_is_named_with_the_way_out() {
    let long = "x".repeat(MAX_SPEC);
    let cron = |expr| TaskText { cron: Some(expr), every: None, ..text() };
    let zone = |zone| TaskText { timezone: Some(zone), ..cron("@daily") };
    let every = |every| TaskText { every: Some(every), ..text() };
    let cases: &[(TaskText<'_>, &[&str])] = &[
        (TaskText { name: "", ..text() }, &["name", "1 to 64"]),
        (TaskText { name: "a b", ..text() }, &["'a b'", "' '"]),
        (TaskText { every: None, ..text() }, &["task 'a'", "neither", "'cron'", "'every'"]),
        (TaskText { cron: Some("@daily"), ..text() }, &["task 'a'", "both", "'cron'", "'every'"]),
        (TaskText { emit: None, ..text() }, &["neither", "'emit'", "'send_to'"]),
        (TaskText { send_to: Some("desk"), ..text() }, &["both", "'emit'", "'send_to'"]),
        (TaskText { emit: Some("Beat"), ..text() }, &["emit is 'Beat'"]),
        (TaskText { emit: None, send_to: Some("a desk"), ..text() }, &["send_to is 'a desk'"]),
        (TaskText { missed: Some("never"), ..text() }, &["missed is 'never'", "'skip', 'once' or 'all'"]),
        (TaskText { timezone: Some("Asia/Tokyo"), ..text() }, &["timezone is 'Asia/Tokyo'", "remove it"]),
        (TaskText { message: Some(&long), ..text() }, &["at most 4096", "shorten"]),
        (every(""), &["every is ''", "write an interval"]),
        (every("10"), &["every is '10'", "write an interval"]),
        (every("s"), &["write an interval"]),
        (every("5s1h"), &["write an interval"]),
        (every("-1s"), &["write an interval"]),
        (every("1é"), &["write an interval"]),
        (every("0s"), &["must lie between 1ms"]),
        (every("600w"), &["must lie between"]),
        (every("99999999999999999999w"), &["3653 days"]),
        (cron(""), &["cron is ''", "write five fields"]),
        (cron("* * * *"), &["'* * * *'", "write five fields"]),
        (cron("* * * * * * 2030"), &["write five fields"]),
        (cron("61 * * * *"), &["cron is '61 * * * *'"]),
        (cron("@sometimes"), &["'@sometimes'", "write five fields"]),
        (cron("0 0 30 2 *"), &["'0 0 30 2 *'", "no date ever fits"]),
        (cron("\u{1b}[2J"), &["\\u{1b}"]),
        (zone("Europe/Atlantis"), &["timezone is 'Europe/Atlantis'", "IANA"]),
        (zone(""), &["timezone is ''", "IANA"]),
        (zone("../../../etc/passwd"), &["IANA"]),
        (zone("Etc/Unknown"), &["IANA"]),
    ];
    for (text, parts) in cases {
        let error = TaskSpec::parse(text).expect_err(&format!("{text:?}")).to_string();
        for part in *parts {
            assert!(error.contains(part), "'{error}' says nothing of \"{part}\"");
        }
        assert!(!error.contains('\u{1b}') && error.len() < 400, "{error}");
    }
}

#[test]
fn a_configuration_can_ask_about_single_values() {
    assert_eq!(check_cron("*/5 * * * *"), Ok(()));
    assert!(check_cron("x").is_err());
    for known in ["UTC", "Europe/Berlin", "America/New_York", "Etc/GMT+5"] {
        assert_eq!(check_timezone(known), Ok(()), "{known}");
    }
    assert!(check_timezone("Nowhere").is_err());
}

#[test]
fn a_scheduler_is_checked_as_a_whole() {
    let check = |options: SchedulerOptions| SchedulerAgent::new(options).map(drop);
    let of = |tasks| SchedulerOptions { tasks, ..SchedulerOptions::default() };
    assert_eq!(check(of(vec![spec()])), Ok(()));
    assert_eq!(check(of(vec![spec(), spec()])), Err(SchedulerError::Duplicate(spec().name)));
    let many = vec![spec(); MAX_TASKS + 1];
    assert_eq!(check(of(many)), Err(SchedulerError::TooMany { count: MAX_TASKS + 1, limit: MAX_TASKS }));
    for tick in [Duration::ZERO, Duration::from_micros(999), Duration::from_secs(61), Duration::MAX] {
        let options = SchedulerOptions { tick, ..SchedulerOptions::default() };
        assert!(matches!(check(options), Err(SchedulerError::Tick { .. })), "{tick:?}");
    }
    // What was put together by hand is checked too.
    let forever = TaskSpec { when: Schedule::Every(Duration::MAX), ..spec() };
    assert!(matches!(check(of(vec![forever])), Err(SchedulerError::Value { key: "every", .. })));
    assert_eq!(MAX_SPEC, toka_kernel::limits::MAX_TASK);
    assert_eq!(MAX_TASKS, toka_kernel::limits::MAX_TASKS);
}

/// The digest of a description is how a restart tells that nothing was changed: were it another in a later
/// version, every task would lose its due time.
#[tokio::test]
async fn descriptions_are_recorded_as_ever() {
    let cron = TaskText { cron: Some("@daily"), every: None, timezone: Some("UTC"), ..text() };
    let send =
        TaskText { emit: None, send_to: Some("desk"), missed: Some("all"), message: Some("up"), ..text() };
    let cases: [(TaskText<'_>, &[u8]); 2] = [
        (cron, b"\x84\xa4cron\xa6@daily\xa8timezone\xa3UTC\xa4emit\xabbeat.struck\xa6missed\xa4once"),
        (send, b"\x84\xa8every_us\xce\x00\x0f\x42\x40\xa7send_to\xa4desk\xa7message\xa2up\xa6missed\xa3all"),
    ];
    for (text, bytes) in cases {
        let house = House::open(at("00:00:00"));
        house.start(&Setup::of([text])).await;
        let scheduled = &house.events(kinds::TASK_SCHEDULED)[0];
        assert_eq!(scheduled.payload(), Some(bytes), "{text:?}");
        let facts: TaskScheduled = rmp_serde::from_slice(&scheduled.header.facts).expect("facts");
        assert_eq!(facts.spec, Digest::of(bytes));
    }
}
