//! Reading a vault: single events by their ids, all of it in order, and checking every byte.
//!
//! `TOKA_BENCH_EVENTS` says how many events there are (500,000; some 250 MB for each engine).

#[path = "../../../benches/harness.rs"]
mod harness;
mod kv;
#[path = "../../../benches/records.rs"]
mod records;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use harness::{Bench, rate};
use records::{Chain, payload_of};
use toka_types::EventId;
use toka_vault::{Journal, LogId, LogWriter, Record, Room, Store, verify};

const EVENTS: u64 = 500_000;
const BATCH: u64 = 4096;
/// Every so many ids are remembered, to ask for.
const EVERY: u64 = 7;
/// Gets between two looks at the clock.
const GETS: u64 = 256;
/// Records that are read at once in a scan.
const PIECE: usize = 1024;
/// The vault of larger contents.
const LARGE: usize = 4096;
const LARGE_EVENTS: u64 = 50_000;

fn main() {
    let bench = Bench::new("read");
    let events = std::env::var("TOKA_BENCH_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(EVENTS);
    let path = bench.directory().join("vault");
    let ids = fill(&path, events, records::PAYLOAD);
    if bench.wants("get") {
        gets(&bench, &path, &ids, events);
    }
    if bench.wants("scan") {
        scan(&bench, &path, events);
    }
    if bench.wants("verify") {
        let rate = bench.alone(|| verified(&path, events) * events as f64);
        bench.line("verify", "events/s", rate, None);
        let large = bench.directory().join("large");
        fill(&large, LARGE_EVENTS, LARGE);
        let megabytes = (LARGE_EVENTS * LARGE as u64) as f64 / 1e6;
        let rate = bench.alone(|| verified(&large, LARGE_EVENTS) * megabytes);
        bench.line(&format!("verify size={LARGE}"), "MB/s", rate, None);
    }
}

/// A closed vault; some of the ids in it.
fn fill(path: &Path, events: u64, size: usize) -> Vec<EventId> {
    let (journal, _) = Journal::open(path).expect("a vault opens");
    let mut writer = LogWriter::open(Arc::new(journal), LogId::main()).expect("a log opens");
    let mut ids = Vec::new();
    each_batch(events, size, |batch| {
        ids.extend(batch.iter().filter(|r| r.header.seq % EVERY == 0).map(|r| r.header.id));
        let batch: Vec<_> = batch.into_iter().map(Arc::new).collect();
        writer.append_computed(&batch, Room::Ordinary).expect("a batch is appended");
    });
    writer.store().close().expect("a vault closes");
    ids
}

fn each_batch(events: u64, size: usize, mut show: impl FnMut(Vec<Record>)) {
    let mut chain = Chain::default();
    for first in (0..events).step_by(BATCH as usize) {
        let numbers = first..events.min(first + BATCH);
        show(numbers.map(|number| chain.next_with(payload_of(number, size))).collect());
    }
}

/// Random events by their ids, decoded and checked, against the best key-value store.
fn gets(bench: &Bench, path: &Path, ids: &[EventId], events: u64) {
    let store = Journal::open_read_only(path).expect("a vault opens");
    let log = LogId::main();
    let mut engines = kv::engines(bench.directory());
    for engine in &mut engines {
        each_batch(events, records::PAYLOAD, |batch| engine.append(&batch));
        engine.settle();
    }
    let names: Vec<&str> = engines.iter().map(|engine| engine.name()).collect();
    let ours = |id: &EventId| -> usize {
        let seq = store.position(&log, id).expect("an index is read").expect("an event");
        let records = store.read(&log, seq, 1).expect("an event is read");
        assert_eq!(records[0].header.id, *id);
        records[0].content[0].bytes().len()
    };
    let mut sides: Vec<Box<dyn FnMut() -> f64 + '_>> = vec![Box::new(side(bench, ids, ours))];
    for engine in &engines {
        let get = |id: &EventId| {
            let record = kv::get(engine.as_ref(), id);
            assert_eq!(record.header.id, *id);
            record.content[0].bytes().len()
        };
        sides.push(Box::new(side(bench, ids, get)));
    }
    let rates = bench.interleave_all(&mut sides);
    let best = kv::append::best(&names, &rates[1..]);
    let against = format!(
        "{}: number, header and content by id, decoded and checked; {}",
        best.0,
        kv::append::list(&names, &rates[1..])
    );
    bench.line("get", "events/s", rates[0], Some((best.1, &against)));
}

fn side(bench: &Bench, ids: &[EventId], get: impl Fn(&EventId) -> usize) -> impl FnMut() -> f64 {
    let slice = bench.slice();
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    move || {
        rate(slice, GETS, || {
            for _ in 0..GETS {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                std::hint::black_box(get(&ids[(state % ids.len() as u64) as usize]));
            }
        })
    }
}

/// All records in order.
fn scan(bench: &Bench, path: &Path, events: u64) {
    let store = Journal::open_read_only(path).expect("a vault opens");
    let log = LogId::main();
    let rate = bench.alone(|| {
        let start = Instant::now();
        let mut next = 0;
        loop {
            let records = store.read(&log, next, PIECE).expect("records are read");
            if records.is_empty() {
                break;
            }
            next += records.len() as u64;
            std::hint::black_box(records);
        }
        assert_eq!(next, events);
        events as f64 / start.elapsed().as_secs_f64()
    });
    bench.line("scan", "events/s", rate, None);
}

/// How many times a second the vault can be checked.
fn verified(path: &Path, events: u64) -> f64 {
    let start = Instant::now();
    let report = verify(path).expect("a vault is checked");
    assert!(report.ok && report.events == events, "{:?}", report.problems);
    1.0 / start.elapsed().as_secs_f64()
}
