//! The vault as a crate of its own: several logs, forks, cursors, walks, versions, snapshots, two processes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toka_bus::Filter;
use toka_types::{EventHeader, EventId, Kind, Label, Labels};
use toka_vault::core::{Elsewhere, PayloadError};
use toka_vault::scan::Cursor;
use toka_vault::snapshot::{Fold, Resumed, Snapshots};
use toka_vault::versioned::{First, Versioned};
use toka_vault::{LogId, LogStatistics, NewEvent, StoreError, VaultBus, walk};

fn log(name: &str) -> LogId {
    LogId::new(name).unwrap()
}

fn event(kind: &str, text: &str) -> NewEvent {
    NewEvent::new(Kind::new(kind).unwrap()).payload(&text.to_owned()).unwrap()
}

/// Runs `check` on a vault of each kind.
fn on_each(check: impl Fn(&VaultBus)) {
    check(&VaultBus::in_memory());
    #[cfg(feature = "journal")]
    {
        let directory = tempfile::tempdir().unwrap();
        check(&VaultBus::open(directory.path()).unwrap());
        let report = toka_vault::verify(directory.path()).unwrap();
        assert_eq!(report.problems, []);
    }
}

#[test]
fn a_batch_with_an_expected_head_is_all_or_conflict() {
    on_each(|vault| {
        let bus = vault.blocking();
        assert_eq!(bus.commit_batch_at(0, vec![event("a.b", "1"), event("a.b", "2")]).unwrap().len(), 2);
        for (expected, head) in [(0, 2), (1, 2), (3, 2)] {
            let refused = bus.commit_batch_at(expected, vec![event("a.b", "3")]);
            assert_eq!(refused.err(), Some(StoreError::Conflict { log: LogId::main(), expected, head }));
        }
        assert_eq!(bus.head().unwrap().next_seq, 2);
        let again = bus.commit_batch_at(2, vec![event("a.b", "2"), event("a.b", "3")]).unwrap();
        assert_eq!(
            again.iter().map(|c| (c.record.seq(), c.new)).collect::<Vec<_>>(),
            [(1, false), (2, true)]
        );
        // Of many who saw the same head, one gets through.
        let won: usize = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|n| {
                    scope.spawn(move || {
                        vault.blocking().commit_batch_at(3, vec![event("a.b", &format!("w{n}"))]).is_ok()
                    })
                })
                .collect();
            tries.into_iter().map(|t| usize::from(t.join().unwrap())).sum()
        });
        assert_eq!((won, vault.len().unwrap()), (1, 4));
    });
}

#[test]
fn logs_of_one_vault_share_batches_and_keep_apart() {
    on_each(|vault| {
        let (main, side) = (vault.blocking(), vault.log(log("side")).unwrap());
        let mut live = side.subscribe();
        assert_eq!(vault.logs().unwrap(), []);
        let parts = vec![
            (log("side"), vec![event("a.b", "x")]),
            (LogId::main(), vec![event("a.b", "x"), event("a.b", "y")]),
        ];
        let committed = main.commit_across(parts).unwrap();
        assert_eq!(committed.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(committed[0][0].record.id(), committed[1][0].record.id(), "the same event in two logs");
        assert_eq!(vault.logs().unwrap().len(), 2);
        assert_eq!(live.recv_blocking().unwrap().id, committed[0][0].record.id());
        assert_eq!((vault.len().unwrap(), side.len().unwrap()), (2, 1));

        // One part that is refused refuses all; a cause lies in the event's own log.
        let only_main = committed[1][1].record.id();
        let orphan = event("a.b", "z").parents([only_main]);
        let parts = vec![(LogId::main(), vec![event("a.b", "w")]), (log("side"), vec![orphan])];
        assert!(matches!(main.commit_across(parts), Err(StoreError::MissingEvent { .. })));
        assert_eq!((vault.len().unwrap(), side.len().unwrap()), (2, 1));
        let twice = vec![(log("side"), vec![]), (log("side"), vec![])];
        assert_eq!(main.commit_across(twice).err(), Some(StoreError::TwoParts { log: log("side") }));

        // A cause elsewhere is a fact, and its labels come along.
        let labels = Labels::parse(["untrusted:web"]).unwrap();
        let source = main.commit_batch(vec![event("a.b", "v").labels(labels.clone())]).unwrap();
        let cause = Elsewhere::new(&LogId::main(), &source[0].record.header);
        let caused = event("a.c", "v").caused_by(vec![cause.clone()]).unwrap();
        let caused = side.blocking().commit_batch(vec![caused]).unwrap();
        let header = &caused[0].record.header;
        assert_eq!((Elsewhere::of(header), &header.labels), (vec![cause], &labels));
        assert!(header.parents.is_empty());
    });
}

#[test]
fn a_fork_is_a_vault_of_its_own() {
    on_each(|vault| {
        let bus = vault.blocking();
        let a = bus.commit("a", &[], "note.taken", ()).unwrap();
        let b = bus.commit_after("b", &[a.id], "note.taken", [0.5f32, 1.0]).unwrap();
        let c = bus.commit_after("c", &[b.id], "note.taken", ()).unwrap();
        assert!(matches!(bus.fork(9, log("x")), Err(StoreError::ForkPoint { seq: 9, head: 4, .. })));
        let fork = bus.fork(1, log("try/2")).unwrap();
        assert!(matches!(bus.fork(1, log("try/2")), Err(StoreError::LogExists { .. })));
        assert_eq!(fork.base().unwrap().map(|base| (base.log, base.size)), Some((LogId::main(), 2)));
        let mut from_start = fork.subscribe_from(0, Filter::all());
        let again = fork.blocking().commit_after("c", &[b.id], "note.taken", ()).unwrap();
        assert_ne!(again.id, c.id);
        assert_eq!(fork.blocking().commit_after("c", &[b.id], "note.taken", ()).unwrap(), again);
        let seen: Vec<_> =
            (0..4).map(|_| from_start.recv_blocking().unwrap().header.kind.to_string()).collect();
        assert_eq!(seen, ["note.taken", "note.taken", "log.forked", "note.taken"]);

        let ids = |bus: &VaultBus, filter| bus.scan(0, filter).map(|r| r.unwrap().id()).collect::<Vec<_>>();
        assert_eq!(ids(&fork, Filter::all())[..2], [a.id, b.id]);
        let forked = fork.get_seq(2).unwrap().unwrap();
        assert_eq!(ids(&fork, Filter::all().parent(b.id)), [forked.id(), again.id], "the fork's children");
        assert_eq!(ids(vault, Filter::all().parent(b.id))[1..], [c.id], "the base's, after the vector");
        assert!(fork.get(&c.id).unwrap().is_none() && fork.get(&a.id).unwrap().is_some());

        let walked = |walk: walk::Walk| walk.steps.iter().map(|s| (s.depth, s.header.id)).collect::<Vec<_>>();
        assert_eq!(walked(fork.ancestors(&again.id, 9).unwrap()), [(1, b.id), (2, a.id)]);
        let down = walked(fork.descendants(&a.id, 9).unwrap());
        assert_eq!(down, [(1, b.id), (2, forked.id()), (2, again.id)]);
        let of_fork = fork.blocking().fork(3, log("try/3")).unwrap();
        assert_eq!(of_fork.len().unwrap(), 5);
        assert_eq!(walked(of_fork.ancestors(&again.id, 1).unwrap()), [(1, b.id)]);
    });
}

#[test]
fn scans_go_both_ways_and_resume() {
    on_each(|vault| {
        let bus = vault.blocking();
        let label = Label::new("subject:ann").unwrap();
        let batch = (0..1000).map(|n| {
            let kind = if n % 10 == 0 { "rare.kind" } else { "usual.kind" };
            let labels = if n % 3 == 0 { Labels::new([label.clone()]).unwrap() } else { Labels::none() };
            event(kind, &n.to_string()).labels(labels)
        });
        bus.commit_batch(batch.collect()).unwrap();
        let seqs =
            |cursor, filter| vault.scan_at(cursor, filter).map(|r| r.unwrap().seq()).collect::<Vec<_>>();
        let rare = || Filter::all().kind("rare");
        for filter in [Filter::all(), rare(), rare().label(label.clone())] {
            let forward = seqs(Cursor::START, filter.clone());
            let mut backward = seqs(Cursor::END, filter.clone());
            backward.reverse();
            assert_eq!(forward, backward);
            assert!(!forward.is_empty());
            for start in [Cursor::START, Cursor::END] {
                // Page by page, each page a new scan from a cursor's text, with appends in between.
                let (mut cursor, mut pages) = (start, Vec::new());
                loop {
                    let mut page = vault.scan_at(cursor.to_string().parse().unwrap(), filter.clone());
                    let some: Vec<u64> = page.by_ref().take(37).map(|r| r.unwrap().seq()).collect();
                    cursor = page.cursor();
                    let last = some.len() < 37;
                    pages.extend(some);
                    if last {
                        break;
                    }
                    if start == Cursor::END {
                        bus.commit("more", &[], "rare.kind", ()).unwrap();
                    }
                }
                if start == Cursor::END {
                    pages.reverse();
                }
                // What was appended meanwhile is no part of a scan from the end.
                let expected = forward.iter().copied().filter(|seq| start == Cursor::START || *seq < 1000);
                pages.retain(|seq| start == Cursor::START || *seq < 1000);
                assert_eq!(pages, expected.collect::<Vec<_>>());
            }
        }
        // A scan that came to the end finds what is appended later.
        let mut scan = vault.scan(1000, Filter::all());
        let before = scan.by_ref().count();
        bus.commit("later", &[], "rare.kind", ()).unwrap();
        assert_eq!(scan.next().unwrap().unwrap().seq(), 1000 + before as u64);
        let some = vault.scan_at(Cursor::END, rare()).among([40, 10, 11, 5000, 10, 20]);
        assert_eq!(some.map(|r| r.unwrap().seq()).collect::<Vec<_>>(), [40, 20, 10]);
        for bad in ["", "forward", "forward:", "forward:+1", "sideways:1", "backward:18446744073709551616"] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    });
}

#[test]
fn walks_are_bounded_and_meet_each_event_once() {
    on_each(|vault| {
        let bus = vault.blocking();
        // A ladder: each rung is caused by both events of the one before, and by itself nothing is.
        let mut rungs: Vec<[EventId; 2]> = Vec::new();
        for n in 0..12 {
            let parents: Vec<EventId> = rungs.last().map(|rung| rung.to_vec()).unwrap_or_default();
            let left = bus.commit_after(&format!("l{n}"), &parents, "rung.left", ()).unwrap();
            let right = bus.commit_after(&format!("r{n}"), &parents, "rung.right", ()).unwrap();
            rungs.push([left.id, right.id]);
        }
        let top = rungs[11][0];
        let all = vault.ancestors(&top, u32::MAX).unwrap();
        assert_eq!((all.steps.len(), all.complete), (22, true));
        assert!(all.steps.is_sorted_by_key(|step| step.depth));
        let near = vault.ancestors(&top, 2).unwrap();
        let expected: Vec<_> = rungs[10].iter().chain(&rungs[9]).copied().collect();
        assert_eq!(near.steps.iter().map(|s| s.header.id).collect::<Vec<_>>(), expected);
        assert!(vault.ancestors(&top, 0).unwrap().steps.is_empty());
        let down = vault.descendants(&rungs[0][1], 3).unwrap();
        assert_eq!(down.steps.iter().map(|s| s.depth).collect::<Vec<_>>(), [1, 1, 2, 2, 3, 3]);
        let some = walk::ancestors(&**vault.store(), &LogId::main(), &top, 99, 5).unwrap();
        assert_eq!((some.steps.len(), some.complete), (5, false));
        let exact = walk::ancestors(&**vault.store(), &LogId::main(), &top, 99, 22).unwrap();
        assert_eq!((exact.steps.len(), exact.complete), (22, true));
        let none = vault.ancestors(&EventId::default(), 1);
        assert_eq!(none.err(), Some(StoreError::NoEvent { log: LogId::main(), id: EventId::default() }));
    });
}

/// The three versions of a payload.
#[derive(Serialize, Deserialize)]
struct PriceV1(u64);
#[derive(Serialize, Deserialize)]
struct PriceV2 {
    cents: u64,
}
#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Price {
    cents: u64,
    currency: String,
}

impl Versioned for PriceV1 {
    const KIND: &'static str = "price.set";
    const VERSION: u32 = 1;
    type Previous = First;
    fn upcast(first: First) -> Result<Self, String> {
        match first {}
    }
}

impl Versioned for PriceV2 {
    const KIND: &'static str = "price.set";
    const VERSION: u32 = 2;
    type Previous = PriceV1;
    fn upcast(old: PriceV1) -> Result<Self, String> {
        let cents = old.0.checked_mul(100).ok_or_else(|| format!("{} is too much", old.0))?;
        Ok(Self { cents })
    }
}

impl Versioned for Price {
    const KIND: &'static str = "price.set";
    // A version that was never released is no gap.
    const VERSION: u32 = 4;
    type Previous = PriceV2;
    fn upcast(old: PriceV2) -> Result<Self, String> {
        Ok(Self { cents: old.cents, currency: "USD".into() })
    }
}

#[test]
fn old_payloads_are_raised_step_by_step() {
    on_each(|vault| {
        let bus = vault.blocking();
        let price = |cents, currency: &str| Price { cents, currency: currency.into() };
        let plain = bus.commit(&PriceV1(7), &[], "price.set", ()).unwrap();
        assert_eq!(bus.commit_as(&PriceV1(7), &[], ()).unwrap(), plain, "version 1 is what every event has");
        let second = bus.commit_as(&PriceV2 { cents: 5 }, &[plain.id], ()).unwrap();
        let today = bus.commit_as(&price(3, "EUR"), &[], ()).unwrap();
        let other = bus.commit("no price", &[], "price.asked", ()).unwrap();
        let below = bus.commit("no price", &[], "price.set.aside", ()).unwrap();
        let huge = bus.commit_as(&PriceV1(u64::MAX), &[], ()).unwrap();
        for (id, expected) in
            [(plain.id, price(700, "USD")), (second.id, price(5, "USD")), (today.id, price(3, "EUR"))]
        {
            assert_eq!(vault.get_as::<Price>(&id).unwrap(), Some(expected));
        }
        assert_eq!(vault.get_as::<Price>(&EventId::default()).unwrap(), None);
        let error = |result: Result<_, StoreError>| match result {
            Err(StoreError::Payload(error)) => error,
            _ => panic!("no error of a payload"),
        };
        let newer = PayloadError::Newer { event: today.id, kind: "price.set", found: 4, known: 2 };
        assert_eq!(error(vault.get_as::<PriceV2>(&today.id).map(drop)), newer);
        for id in [other.id, below.id] {
            assert!(matches!(error(vault.get_as::<Price>(&id).map(drop)), PayloadError::Kind { .. }));
        }
        let refused = error(vault.get_as::<Price>(&huge.id).map(drop));
        assert!(matches!(refused, PayloadError::Upcast { version: 1, to: 2, .. }), "{refused}");
        let facts = |version: u32| rmp_serde::to_vec_named(&BTreeMap::from([("version", version)])).unwrap();
        for version in [0, 3] {
            let strange = event("price.set", "?").facts(facts(version));
            let id = bus.commit_batch(vec![strange]).unwrap()[0].record.id();
            let refused = error(vault.get_as::<Price>(&id).map(drop));
            assert!(matches!(refused, PayloadError::Unknown { .. }), "{refused}");
        }
        let mut prices = vault.subscribe_as_from::<Price>(0);
        for expected in [700, 5, 3] {
            assert_eq!(prices.recv_blocking().unwrap().1.cents, expected);
        }
        assert!(prices.recv_blocking().is_err(), "the one that cannot be raised; then it goes on");
        let mut typed = vault.subscribe_as::<String>("price.asked");
        bus.commit("again", &[], "price.asked", ()).unwrap();
        assert_eq!(typed.recv_blocking().unwrap().1, "again");
    });
}

/// Counts, and does not like one kind.
#[derive(Default, Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Count(u64);

#[derive(Debug, thiserror::Error)]
#[error("a bad kind")]
struct BadKind;

impl Fold for Count {
    const NAME: &'static str = "count";
    const VERSION: u32 = 1;
    type Error = BadKind;
    fn apply(&mut self, header: &EventHeader) -> Result<(), BadKind> {
        self.0 += 1;
        if header.kind == "bad.kind" { Err(BadKind) } else { Ok(()) }
    }
}

#[test]
fn a_snapshot_that_is_not_the_logs_is_refused() {
    on_each(|vault| {
        let directory = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::keyed(directory.path(), [7; 32]);
        let (store, main) = (&**vault.store(), LogId::main());
        let bus = vault.blocking();
        bus.commit_batch((0..50).map(|n| event("a.b", &n.to_string())).collect()).unwrap();
        let resume = |snapshots: &Snapshots| {
            let resumed = snapshots.resume::<Count>(store, &main).unwrap();
            assert_eq!((resumed.state.0, resumed.next_seq()), (50, 50));
            (resumed.from, resumed.refused)
        };
        assert_eq!(resume(&snapshots), (0, None));
        // Of the past: the state at a place before the end.
        let mut folded = Resumed::<Count>::default();
        for (seq, header) in store.headers(&main, 0, 50).unwrap().iter().enumerate() {
            if [0, 20].contains(&seq) {
                snapshots.save(&main, &folded).unwrap();
                assert_eq!(resume(&snapshots), (seq as u64, None));
            }
            folded.apply(header).unwrap();
        }
        snapshots.save(&main, &folded).unwrap();
        assert_eq!(resume(&snapshots), (50, None));

        let path = snapshots.path::<Count>(&main);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&path, &bytes).unwrap();
            let (from, refused) = resume(&snapshots);
            assert!(from == 0 && refused.is_some(), "byte {at}");
            assert_eq!(toka_vault::snapshot::damaged(directory.path()).len(), 1, "byte {at}");
        }
        for len in [0, 11, 43, good.len() - 1] {
            std::fs::write(&path, &good[..len]).unwrap();
            assert!(resume(&snapshots).1.is_some(), "{len} bytes");
        }
        std::fs::write(&path, &good).unwrap();
        assert_eq!(toka_vault::snapshot::damaged(directory.path()), []);
        for other in [Snapshots::new(directory.path()), Snapshots::keyed(directory.path(), [8; 32])] {
            assert!(resume(&other).1.is_some(), "another key, or none");
        }
        // Of another log that begins alike, and of one that is shorter.
        let fork = bus.fork(29, log("fork")).unwrap();
        fork.blocking().commit_batch((0..40).map(|n| event("a.c", &n.to_string())).collect()).unwrap();
        for (name, whole) in [("fork", false), ("short", false)] {
            std::fs::copy(&path, snapshots.path::<Count>(&log(name))).unwrap();
            let resumed = snapshots.resume::<Count>(store, &log(name)).unwrap();
            assert_eq!((resumed.from > 0, resumed.refused.is_some()), (whole, true));
        }
        let other = VaultBus::in_memory();
        other.blocking().commit_batch((0..60).map(|n| event("a.b", &format!("x{n}"))).collect()).unwrap();
        assert!(snapshots.resume::<Count>(&**other.store(), &main).unwrap().refused.is_some());
        bus.commit("x", &[], "bad.kind", ()).unwrap();
        let error = snapshots.resume::<Count>(store, &main).unwrap_err().to_string();
        assert!(error.contains("event 50"), "{error}");
    });
}

#[test]
fn statistics_are_by_kind_and_go_on() {
    on_each(|vault| {
        let bus = vault.blocking();
        bus.commit_batch(vec![event("a.b", "one"), event("a.b", "two"), event("a.c", "three")]).unwrap();
        let mut statistics = vault.log_statistics().unwrap();
        let headers = vault.store().headers(&LogId::main(), 0, 9).unwrap();
        let bytes: usize = headers.iter().map(|header| header.to_bytes().len()).sum();
        assert_eq!(statistics.total.header_bytes as usize, bytes);
        assert_eq!((statistics.kinds["a.b"].events, statistics.kinds["a.b"].content_bytes), (2, 8));
        bus.commit_batch(vec![event("a.c", "three again")]).unwrap();
        statistics.advance(&**vault.store(), &LogId::main()).unwrap();
        assert_eq!(statistics, vault.log_statistics().unwrap());
        assert_eq!((statistics.next_seq, statistics.total.events), (4, 4));
        let fork = bus.fork(1, log("fork")).unwrap();
        assert_eq!(LogStatistics::of(&**fork.store(), &log("fork")).unwrap().total.events, 3);
    });
}

#[test]
fn many_logs_are_written_by_many_at_once() {
    on_each(|vault| {
        std::thread::scope(|scope| {
            for writer in 0..8 {
                scope.spawn(move || {
                    let own = vault.log(log(&format!("log-{}", writer % 4))).unwrap();
                    for n in 0..30 {
                        own.blocking().commit(&format!("{writer} {n}"), &[], "note.taken", ()).unwrap();
                        let both = vec![
                            (LogId::main(), vec![event("note.both", &format!("{writer} {n}"))]),
                            (own.log_id().clone(), vec![event("note.both", &format!("{writer} {n}"))]),
                        ];
                        own.blocking().commit_across(both).unwrap();
                    }
                });
            }
        });
        let mut logs = vault.logs().unwrap();
        logs.sort();
        assert_eq!(logs.len(), 5);
        assert_eq!(vault.len().unwrap(), 240);
        for name in &logs[..4] {
            assert_eq!(vault.log(name.clone()).unwrap().len().unwrap(), 120);
        }
    });
}

/// What the other process does, when this test is started by [`two_processes_do_not_write_at_once`].
#[cfg(feature = "journal")]
#[test]
fn as_another_process() {
    let Some(path) = std::env::var_os("TOKA_TEST_VAULT") else { return };
    let mut committed = 0;
    while committed < 20 {
        match VaultBus::open(&path) {
            Ok(vault) => {
                let text = format!("{} {committed}", std::process::id());
                vault
                    .blocking()
                    .commit_batch(vec![event("note.taken", &text), event("note.kept", &text)])
                    .unwrap();
                committed += 1;
            }
            Err(error @ StoreError::Locked { .. }) => {
                assert!(error.to_string().contains("is being written by"), "{error}");
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[cfg(feature = "journal")]
#[test]
fn two_processes_do_not_write_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let other = || {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "api::as_another_process"]).env("TOKA_TEST_VAULT", directory.path());
        command.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let vault = VaultBus::open(directory.path()).unwrap();
    let mut others: Vec<_> = (0..3).map(|_| other()).collect();
    vault.blocking().commit("mine", &[], "note.taken", ()).unwrap();
    let refused = toka_vault::Journal::open(directory.path()).err();
    let pid = Some(std::process::id());
    assert_eq!(refused, Some(StoreError::Locked { path: directory.path().to_owned(), pid }));
    drop(vault);
    assert!(others.iter_mut().all(|other| other.wait().unwrap().success()));
    let report = toka_vault::verify(directory.path()).unwrap();
    assert_eq!((report.events, report.problems), (1 + 3 * 20 * 2, vec![]));
    // Whole batches, each event once.
    let vault = VaultBus::open_read_only(directory.path()).unwrap();
    let kinds: Vec<_> = vault.scan(1, Filter::all()).map(|r| r.unwrap().header.kind.to_string()).collect();
    assert!(kinds.chunks(2).all(|pair| pair == ["note.taken", "note.kept"]));
    let refused = vault.blocking().commit("late", &[], "note.taken", ()).err();
    assert_eq!(refused, Some(StoreError::Reading), "it says what to do, not that the vault is closed");
}
