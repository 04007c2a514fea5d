//! The scheduler before the real kernel, through restarts, kills and clocks that jump.

mod house;
mod text;
mod warnings;

use std::time::Duration;

use house::{Cut, House, SCHEDULER, Setup, at, instant, shown};
use toka_agents::scheduler::{LONGEST_PAUSE, MAX_CATCH_UP, SHORTEST_PAUSE, TaskText};
use toka_types::facts::kinds;
use toka_types::{EntityId, Operation};
use warnings::Warnings;

fn every<'a>(name: &'a str, every: &'a str) -> TaskText<'a> {
    TaskText { name, every: Some(every), emit: Some("beat.struck"), ..TaskText::default() }
}

fn cron<'a>(name: &'a str, cron: &'a str, zone: &'a str) -> TaskText<'a> {
    let (cron, timezone, emit) = (Some(cron), Some(zone), Some("beat.struck"));
    TaskText { name, cron, timezone, emit, ..TaskText::default() }
}

fn missed<'a>(task: TaskText<'a>, missed: &'a str) -> TaskText<'a> {
    TaskText { missed: Some(missed), ..task }
}

#[tokio::test]
async fn an_interval_keeps_to_its_grid() {
    let house = House::open(at("00:00:00.03"));
    house.start(&Setup::of([every("a", "10s")])).await;
    assert_eq!(house.due()["a"], "00:00:10.1", "aligned to the tick");
    // The scheduler wakes later than it was due each time, and what is due next does not shift with it.
    for late in ["00:00:10.15", "00:00:20.19", "00:00:30.1"] {
        house.jump(at(late)).await;
    }
    assert_eq!(
        house.firings(),
        ["beat.struck a 00:00:10.1", "beat.struck a 00:00:20.1", "beat.struck a 00:00:30.1"]
    );
    assert_eq!(house.due()["a"], "00:00:40.1");
    house.stop().await.expect("it stops");
}

#[tokio::test]
async fn what_a_task_says_is_a_map_of_three() {
    let house = House::open(at("00:00:00"));
    let told = TaskText { message: Some("breathe"), ..every("a/b", "1s") };
    let sent = TaskText { emit: None, send_to: Some("desk"), ..every("c", "1s") };
    house.start(&Setup::of([told, sent])).await;
    house.run_until(at("00:00:01")).await;
    let content = |kind: &str| -> serde_json::Value {
        rmp_serde::from_slice(house.events(kind)[0].payload().expect("content")).expect("MessagePack")
    };
    let due = "2026-03-02T00:00:01Z";
    assert_eq!(content("beat.struck"), serde_json::json!({"task": "a/b", "due": due, "message": "breathe"}));
    assert_eq!(content(kinds::MESSAGE_SENT), serde_json::json!({"task": "c", "due": due, "message": null}));
    assert_eq!(house.kept("local", "a/b").and_then(|kept| kept.message), Some("breathe".to_owned()));
    // Each is caused by the firing, and that by what scheduled the task.
    let (fired, struck) = (&house.events(kinds::TASK_FIRED)[0], &house.events("beat.struck")[0]);
    assert_eq!(struck.header.parents, [fired.header.id]);
    assert_eq!(fired.header.parents, [house.events(kinds::TASK_SCHEDULED)[0].header.id]);
}

#[tokio::test]
async fn the_calendar_is_that_of_the_zone() {
    let cases: &[(&str, &str, &str, &[&str])] = &[
        ("30 7 * * *", "UTC", "2026-03-02T07:30:00Z", &["2026-03-03T07:30:00Z", "2026-03-04T07:30:00Z"]),
        ("*/20 * * * * *", "UTC", "2026-03-02T00:00:05Z", &["2026-03-02T00:00:20Z", "2026-03-02T00:00:40Z"]),
        ("@monthly", "UTC", "2026-03-02T00:00:00Z", &["2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z"]),
        ("0 9 * * MON-FRI", "UTC", "2026-03-06T10:00:00Z", &["2026-03-09T09:00:00Z", "2026-03-10T09:00:00Z"]),
        ("0 0 L 2 *", "UTC", "2027-12-31T00:00:00Z", &["2028-02-29T00:00:00Z", "2029-02-28T00:00:00Z"]),
        // Summer time begins on the 29th at 01:00 UTC and ends on the 25th of October at 01:00 UTC.
        (
            "0 9 * * *",
            "Europe/Berlin",
            "2026-03-28T00:00:00Z",
            &["2026-03-28T08:00:00Z", "2026-03-29T07:00:00Z"],
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        ),
        (
            "*/30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            &["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"],
        ),
        (
            "0 0 * * *",
            "Asia/Kolkata",
            "2026-03-02T00:00:00Z",
            &["2026-03-02T18:30:00Z", "2026-03-03T18:30:00Z"],
        ),
    ];
    for (expr, zone, from, expected) in cases {
        let house = House::open(instant(from));
        house.start(&Setup::of([cron("a", expr, zone)])).await;
        house.run_until(instant(expected[expected.len() - 1])).await;
        let used: Vec<String> = house.used().into_iter().map(|(_, due)| shown(due)).collect();
        assert_eq!(used, *expected, "{expr} in {zone}");
    }
}

/// A task of every ten seconds fires at :10, is killed, and comes back at `back`.
async fn outage(policy: &str, back: &str) -> (Vec<String>, String) {
    let setup = Setup::of([missed(every("a", "10s"), policy)]);
    let house = House::open(at("00:00:00"));
    house.start(&setup).await;
    house.run_until(at("00:00:10")).await;
    let house = house.restarted(false);
    house.jump(at(back)).await;
    house.start(&setup).await;
    let due = |firing: &String| firing.trim_start_matches("beat.struck a 00:00:").to_owned();
    (house.firings().iter().map(due).collect(), house.due()["a"].trim_start_matches("00:00:").to_owned())
}

#[tokio::test]
async fn due_times_that_passed_are_dealt_with_as_asked() {
    let cases: &[(&str, &str, &[&str], &str)] = &[
        ("skip", "00:00:19", &["10"], "20"),
        ("skip", "00:00:20", &["10", "20"], "30"),
        ("skip", "00:00:20.1", &["10", "20"], "30"),
        ("skip", "00:00:20.100001", &["10"], "30"),
        ("skip", "00:00:45", &["10"], "50"),
        // The last one of those that passed is on time.
        ("skip", "00:00:40.05", &["10", "40"], "50"),
        ("once", "00:00:19", &["10"], "20"),
        ("once", "00:00:20", &["10", "20"], "30"),
        ("once", "00:00:45", &["10", "20"], "50"),
        ("once", "00:00:50", &["10", "20"], "60"),
        ("all", "00:00:19", &["10"], "20"),
        ("all", "00:00:45", &["10", "20", "30", "40"], "50"),
        ("all", "00:00:50", &["10", "20", "30", "40", "50"], "60"),
    ];
    for (policy, back, fired, due) in cases {
        let due = if *due == "60" { "00:01:00" } else { due };
        let (has_fired, is_due) = outage(policy, back).await;
        assert_eq!(has_fired, *fired, "{policy} at {back}");
        assert_eq!(is_due, due, "{policy} at {back}");
    }
}

#[tokio::test]
async fn due_times_of_the_calendar_that_passed_are_dealt_with_as_asked() {
    let cases: &[(&str, &[&str], &str)] = &[
        ("skip", &[], "04:00:00"),
        ("once", &["beat.struck a 01:00:00"], "04:00:00"),
        ("all", &["beat.struck a 01:00:00", "beat.struck a 02:00:00", "beat.struck a 03:00:00"], "04:00:00"),
    ];
    for (policy, fired, due) in cases {
        let setup = Setup::of([missed(cron("a", "@hourly", "UTC"), policy)]);
        let house = House::open(at("00:10:00"));
        house.start(&setup).await;
        let house = house.restarted(false);
        house.jump(at("03:30:00")).await;
        house.start(&setup).await;
        assert_eq!(house.firings(), *fired, "{policy}");
        assert_eq!(house.due()["a"], *due, "{policy}");
    }
}

#[tokio::test]
async fn several_tasks_catch_up_in_the_order_they_were_due() {
    let setup = Setup::of([missed(every("a", "20s"), "all"), missed(every("b", "30s"), "all")]);
    let house = House::open(at("00:00:00"));
    house.start(&setup).await;
    let house = house.restarted(false);
    house.jump(at("00:01:00")).await;
    house.start(&setup).await;
    let expected = ["a 00:00:20", "b 00:00:30", "a 00:00:40", "a 00:01:00", "b 00:01:00"];
    assert_eq!(house.firings(), expected.map(|firing| format!("beat.struck {firing}")));
}

#[tokio::test]
async fn a_kill_at_any_firing_neither_loses_nor_repeats_one() {
    for policy in ["skip", "once", "all"] {
        let setup = Setup::of([missed(every("a", "10s"), policy), missed(every("b", "15s"), policy)]);
        let undisturbed = House::open(at("00:00:00"));
        undisturbed.start(&setup).await;
        undisturbed.run_until(at("00:01:00")).await;
        assert_eq!(undisturbed.firings().len(), 10);
        for cut in (1..=10).flat_map(|n| [Cut::Before(n), Cut::After(n)]) {
            let house = House::open(at("00:00:00"));
            house.start(&setup).await;
            house.kill_at(cut);
            house.run_until(at("00:01:00")).await;
            house.jump(at("00:00:00")).await;
            // The process comes back at the time it was killed.
            let (_, last) = house.used().last().cloned().unwrap_or_default();
            let back = house.restarted(false);
            back.jump(last.max(at("00:00:10"))).await;
            back.start(&setup).await;
            back.run_until(at("00:01:00")).await;
            assert_eq!(back.firings(), undisturbed.firings(), "{policy}, killed {cut:?}");
        }
    }
}

#[tokio::test]
async fn a_run_with_an_end_fires_what_is_due_and_returns() {
    let setup = Setup::of([every("a", "10s"), every("b", "1h"), missed(every("c", "10s"), "skip")]);
    let house = House::open(at("00:00:00")).restarted(true);
    house.once(&setup).await.expect("nothing is due");
    assert_eq!(house.firings(), [""; 0]);
    assert_eq!(house.due().len(), 3);
    let house = house.restarted(true);
    // Between two ticks: a run that ends does not wait for the next one.
    house.jump(at("00:00:10.05")).await;
    house.once(&setup).await.expect("two are due");
    assert_eq!(house.firings(), ["beat.struck a 00:00:10", "beat.struck c 00:00:10"]);
    assert_eq!(house.sleeps(), []);
    let house = house.restarted(true);
    house.once(&setup).await.expect("they were fired");
    assert_eq!(house.firings().len(), 2);
}

#[tokio::test]
async fn the_world_follows_the_configuration() {
    let house = House::open(at("00:00:00"));
    house.start(&Setup::of([every("kept", "10s"), every("changed", "10s"), every("removed", "10s")])).await;
    house.jump(at("00:00:04")).await;
    let house = house.restarted(false);
    let louder = TaskText { message: Some("louder"), ..every("changed", "10s") };
    let setup = Setup::of([every("new", "1s"), louder, every("kept", "10s")]);
    house.start(&setup).await;
    let due = [("changed", "00:00:14"), ("kept", "00:00:10"), ("new", "00:00:05")];
    assert_eq!(house.due(), due.map(|(name, due)| (name.to_owned(), due.to_owned())).into());
    assert_eq!(house.events(kinds::TASK_CANCELLED).len(), 1);
    assert_eq!(house.events(kinds::TASK_SCHEDULED).len(), 5);
    // Nothing is said again when nothing was changed, in whatever order it stands.
    let house = house.restarted(false);
    let turned = Setup { tasks: setup.tasks.iter().rev().copied().collect(), ..setup };
    house.start(&turned).await;
    assert_eq!(house.events(kinds::TASK_SCHEDULED).len(), 5);
    let house = house.restarted(false);
    house.start(&Setup::of([])).await;
    assert_eq!(house.due().len(), 0);
    assert_eq!(house.sleeps(), [], "without tasks there is nothing to wake up for");
    house.stop().await.expect("it stops");
}

#[tokio::test]
async fn every_part_of_a_task_makes_it_another() {
    let base = cron("a", "@hourly", "UTC");
    let others = [
        cron("a", "0 * * * *", "UTC"),
        cron("a", "@hourly", "Europe/Berlin"),
        every("a", "1h"),
        missed(base, "all"),
        TaskText { emit: Some("beat.other"), ..base },
        TaskText { emit: None, send_to: Some("desk"), ..base },
        TaskText { message: Some(""), ..base },
    ];
    for other in others {
        let house = House::open(at("00:00:00"));
        house.start(&Setup::of([base])).await;
        let house = house.restarted(false);
        house.start(&Setup::of([other])).await;
        assert_eq!(house.events(kinds::TASK_SCHEDULED).len(), 2, "{other:?}");
    }
}

#[tokio::test]
async fn a_denied_task_waits_until_it_is_due_again() {
    let warnings = Warnings::listen();
    let house = House::new(at("00:00:00"), &["task:schedule", "event:emit(kind=beat.**)"]);
    let tasks = [
        missed(TaskText { emit: Some("other.kind"), ..every("denied", "10s") }, "all"),
        missed(TaskText { emit: None, send_to: Some("desk"), ..every("mute", "10s") }, "skip"),
        TaskText { emit: None, send_to: Some("nobody"), ..every("lost", "10s") },
        TaskText { emit: Some("task.fired"), ..every("reserved", "10s") },
        missed(every("fine", "10s"), "all"),
    ];
    let setup = Setup::of(tasks);
    house.start(&setup).await;
    house.run_until(at("00:00:20")).await;
    assert_eq!(house.firings(), ["beat.struck fine 00:00:10", "beat.struck fine 00:00:20"]);
    assert_eq!(house.events(kinds::CAPABILITY_DENIED).len(), 2 * 4, "one for each due time");
    for task in ["denied", "mute", "lost", "reserved"] {
        assert_eq!(house.due()[task], "00:00:30");
        assert_eq!(warnings.about(&[&format!("task '{task}'"), "was denied"]), 2, "{task}");
    }
    // After a long time away there is one refusal and not one for each due time.
    let house = house.restarted(false);
    house.jump(at("01:00:00")).await;
    house.start(&setup).await;
    assert_eq!(house.due()["denied"], "01:00:10");
    let refused = warnings.about(&["task 'denied'", "was denied"]);
    assert_eq!(refused, 3);
    assert_eq!(house.firings().len(), 2 + 358);
}

#[tokio::test]
async fn a_scheduler_that_may_do_nothing_waits_longer_each_time() {
    let house = House::open(at("00:00:00"));
    house.start(&Setup::of([every("a", "10s")])).await;
    house.ask(Operation::SuspendAgent(EntityId::named(SCHEDULER)));
    house.run_until(at("00:00:13")).await;
    let pauses = house.sleeps();
    assert_eq!(pauses[1..], [at("00:00:11"), at("00:00:13"), at("00:00:17")]);
    assert_eq!(pauses[1].since(at("00:00:10")), SHORTEST_PAUSE);
    house.run_until(at("23:00:00")).await;
    let pauses = house.sleeps();
    let (last, before) = (pauses[pauses.len() - 1], pauses[pauses.len() - 2]);
    assert_eq!(last.since(before), LONGEST_PAUSE);
    assert_eq!(house.firings(), [""; 0]);
    house.ask(Operation::ResumeAgent(EntityId::named(SCHEDULER)));
    house.jump(last).await;
    assert_eq!(house.firings(), ["beat.struck a 00:00:10"], "once for all that it missed");
    // It is as it was: the next one is on time.
    house.run_until(last.saturating_add(Duration::from_secs(10))).await;
    assert_eq!(house.firings().len(), 2);
}

#[tokio::test]
async fn what_is_due_while_the_clock_is_not_believed_fires_once_it_is() {
    let house = House::open(at("00:00:00"));
    house.start(&Setup::of([missed(every("a", "10s"), "all")])).await;
    let shows = at("12:00:00");
    house.record(Operation::JumpClock { shows });
    house.run_until(at("02:00:00")).await;
    assert_eq!(house.firings(), [""; 0]);
    assert_eq!(house.used(), [], "no due time is passed over");
    house.ask(Operation::ResetClock { shows });
    house.run_until(at("02:01:00")).await;
    let firings = house.firings();
    assert_eq!((firings.len(), firings[0].as_str()), (2 * 360 + 6, "beat.struck a 00:00:10"), "in a minute");
}

#[tokio::test]
async fn without_the_right_to_schedule_it_says_so() {
    let warnings = Warnings::listen();
    let setup = Setup::of([every("a", "10s")]);
    let house = House::new(at("00:00:00"), &["event:emit"]);
    house.start(&setup).await;
    assert_eq!(warnings.about(&["task 'a' cannot be scheduled", "'task:schedule'"]), 1);
    let error = house.restarted(true).once(&setup).await.expect_err("it cannot");
    assert!(error.contains("task 'a' cannot be scheduled") && error.contains("'task:schedule'"), "{error}");
}

#[tokio::test]
async fn a_task_that_somebody_else_moved_is_looked_up_again() {
    let house = House::open(at("00:00:00"));
    house.start(&Setup::of([every("a", "10s")])).await;
    // The world's due time is another than the one this scheduler remembers.
    let other = house.copied(false);
    other.jump(at("00:00:10")).await;
    other.start(&Setup::of([every("a", "10s")])).await;
    house.adopt(&other);
    house.run_until(at("00:00:20")).await;
    assert_eq!(house.firings(), ["beat.struck a 00:00:10", "beat.struck a 00:00:20"]);
    assert_eq!(house.sleeps(), ["00:00:10", "00:00:11", "00:00:20", "00:00:30"].map(at));
}

#[tokio::test]
async fn the_tick_is_when_things_are_done() {
    for (tick, done) in [(1, "01.250"), (100, "01.300"), (1_000, "02"), (60_000, "00")] {
        let house = House::open(at("00:00:00.25"));
        // Two at one tick: the scheduler wakes up once for both.
        let mut setup = Setup::of([every("a", "1s"), every("b", "1s")]);
        setup.tick = Duration::from_millis(1);
        house.start(&setup).await;
        let house = house.restarted(false);
        setup.tick = Duration::from_millis(tick);
        house.start(&setup).await;
        let wake = house.sleeps();
        assert_eq!(wake.len(), 1);
        assert_eq!(wake[0].0 % (i64::try_from(tick).expect("small") * 1000), 0);
        house.run_until(wake[0]).await;
        let fired = house.events(kinds::TASK_FIRED);
        assert_eq!(fired.len(), 2);
        let expected = match done {
            "00" => at("00:01:00"),
            done => at(&format!("00:00:{done}")),
        };
        assert!(fired.iter().all(|event| event.header.at == expected), "tick of {tick} ms");
        assert_eq!(house.sleeps().len(), 2, "no wake-up in between");
    }
}

#[tokio::test]
async fn an_idle_scheduler_does_not_wake_up() {
    let house = House::open(at("00:00:00"));
    house.start(&Setup::of([every("a", "1h"), cron("b", "0 12 * * *", "UTC")])).await;
    for minute in 1..59 {
        house.jump(at(&format!("00:{minute:02}:00"))).await;
    }
    assert_eq!(house.sleeps(), [at("01:00:00")]);
}

#[tokio::test]
async fn a_clock_that_is_set_back_fires_nothing_twice() {
    let house = House::open(at("01:00:00"));
    let setup = Setup::of([missed(every("a", "10s"), "all"), missed(cron("b", "* * * * *", "UTC"), "all")]);
    house.start(&setup).await;
    house.run_until(at("01:01:00")).await;
    assert_eq!(house.firings().len(), 7);
    house.jump(at("00:30:00")).await;
    house.run_until(at("01:01:00")).await;
    assert_eq!(house.firings().len(), 7);
    let house = house.restarted(false);
    house.jump(at("00:30:00")).await;
    house.start(&setup).await;
    house.run_until(at("01:01:10")).await;
    assert_eq!(house.firings().len(), 8);
    assert_eq!(house.sleeps().len(), 2, "one for each due time");
}

#[tokio::test]
async fn a_clock_that_is_set_far_ahead_does_not_fill_the_log() {
    let warnings = Warnings::listen();
    let house = House::open(at("00:00:00"));
    let tasks = [missed(every("all", "1s"), "all"), every("once", "1s"), missed(every("skip", "1s"), "skip")];
    house.start(&Setup::of(tasks)).await;
    house.jump(instant("2030-01-01T00:00:00Z")).await;
    let of = |task: &str| house.firings().iter().filter(|f| f.contains(&format!(" {task} "))).count();
    assert_eq!((of("all"), of("once"), of("skip")), (MAX_CATCH_UP as usize, 1, 1));
    assert_eq!(warnings.about(&["task 'all'", "left out"]), 1);
    for due in house.due().values() {
        assert_eq!(due, "2030-01-01T00:00:01");
    }
    house.run_until(instant("2030-01-01T00:00:01Z")).await;
    assert_eq!(of("all"), MAX_CATCH_UP as usize + 1);
}

#[tokio::test]
async fn the_end_of_time_is_no_reason_to_spin() {
    let house = House::open(instant("9999-12-30T00:00:00Z"));
    house.start(&Setup::of([every("a", "8h"), cron("b", "@daily", "UTC")])).await;
    house.run_until(instant("9999-12-30T22:00:00Z")).await;
    assert_eq!(house.due().len(), 0, "neither comes again, or ever came");
    assert_eq!(house.firings().len(), 2);
    house.stop().await.expect("it stops");
}

#[tokio::test]
async fn it_stops_while_it_catches_up() {
    let setup = Setup::of([missed(every("a", "1s"), "all")]);
    let house = House::open(at("00:00:00"));
    house.start(&setup).await;
    let house = house.restarted(false);
    house.jump(at("01:00:00")).await;
    house.stop_at(100);
    house.start(&setup).await;
    house.stop().await.expect("it stops");
    assert_eq!(house.firings().len(), 100);
    assert_eq!(house.kept("local", "a").map(|kept| kept.due), Some("2026-03-02T00:01:40Z".to_owned()));
}

#[tokio::test]
async fn a_log_that_fails_ends_it_and_the_next_start_goes_on() {
    let setup = Setup::of([missed(every("a", "1s"), "all")]);
    let house = House::open(at("00:00:00"));
    house.start(&setup).await;
    house.fail_at(3);
    house.run_until(at("00:00:04")).await;
    let error = house.ended().await.expect_err("it cannot go on");
    assert!(error.contains("the disk is full"), "{error}");
    assert_eq!(house.firings().len(), 2);
    let house = house.restarted(false);
    house.start(&setup).await;
    assert_eq!(house.firings(), ["01", "02", "03", "04"].map(|due| format!("beat.struck a 00:00:{due}")));
}

#[tokio::test]
async fn the_last_record_lies_where_the_driver_keeps_it() {
    let cases: &[(Option<&str>, Option<&str>, usize)] = &[
        (None, Some("local"), 0),
        (Some("local"), Some("local"), 0),
        (Some("s3"), Some("s3"), 0),
        (Some("gone"), Some("local"), 1),
        (Some("broken"), None, 0),
    ];
    for (driver, place, reported) in cases {
        let warnings = Warnings::listen();
        let house = House::open(at("00:00:00"));
        let setup = Setup { default_driver: *driver, ..Setup::of([every("a", "1s")]) };
        house.start(&setup).await;
        house.run_until(at("00:00:02")).await;
        for shelf in ["local", "s3"] {
            let due = house.kept(shelf, "a").map(|kept| kept.due);
            let expected = (*place == Some(shelf)).then(|| "2026-03-02T00:00:02Z".to_owned());
            assert_eq!(due, expected, "{driver:?} in {shelf}");
        }
        assert_eq!(warnings.about(&["storage 'gone'", "'local' is used"]), *reported, "{driver:?}");
        let broken = if *driver == Some("broken") { 2 } else { 0 };
        assert_eq!(warnings.about(&["task 'a' is not kept", "it is broken"]), broken, "{driver:?}");
        assert_eq!(house.firings().len(), 2, "{driver:?}");
    }
}
