//! Making inclusion proofs in a log of many events: `TOKA_BENCH_EVENTS`, a million unless it says otherwise.

#[path = "../../../benches/harness.rs"]
mod harness;
#[path = "../../../benches/records.rs"]
mod records;

use std::sync::Arc;
use std::time::Instant;

use harness::{Bench, rate};
use records::Chain;
use toka_vault::hash::leaf_hash;
use toka_vault::proof::{consistency, inclusion};
use toka_vault::{Journal, LogId, Room, Store};

const EVENTS: u64 = 1_000_000;
const BATCH: u64 = 4096;

fn main() {
    let bench = Bench::new("proofs");
    let events = std::env::var("TOKA_BENCH_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(EVENTS);
    let path = bench.directory().join("vault");
    fill(&path, events);
    let log = LogId::main();
    let store = Journal::open_read_only(&path).expect("a vault opens");
    let root = store.head(&log).expect("a head").root;

    if bench.wants("first inclusion") {
        // The first proof of a process reads saved hashes and joins those beside its path.
        let first = bench.alone(|| {
            let store = Journal::open_read_only(&path).expect("a vault opens");
            let start = Instant::now();
            inclusion(&store, &log, events / 3, events).expect("a proof");
            start.elapsed().as_secs_f64() * 1e6
        });
        bench.line("first inclusion", "µs", first, None);
    }

    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 20) % events
    };
    if bench.wants("inclusion") {
        let mut longest = 0;
        let each = bench.alone(|| {
            1e6 / rate(bench.slice(), 1, || {
                let proof = inclusion(&store, &log, random(), events).expect("a proof");
                longest = longest.max(proof.hashes.len());
            })
        });
        bench.line("inclusion", "µs", each, None);
        bench.line("inclusion bytes", "bytes", (32 * longest) as f64, None);
    }
    if bench.wants("consistency") {
        let each = bench.alone(|| {
            1e6 / rate(bench.slice(), 1, || {
                consistency(&store, &log, random(), events).expect("a proof");
            })
        });
        bench.line("consistency", "µs", each, None);
    }
    if !bench.wants("verify") {
        return;
    }
    let index = events / 2;
    let header = store.headers(&log, index, 1).expect("a header").remove(0);
    let (leaf, proof) =
        (leaf_hash(&header.to_bytes()), inclusion(&store, &log, index, events).expect("a proof"));
    let each = bench.alone(|| 1e6 / rate(bench.slice(), 1, || proof.verify(&leaf, &root).expect("it holds")));
    bench.line("verify", "µs", each, None);
}

fn fill(path: &std::path::Path, events: u64) {
    let (store, _) = Journal::open(path).expect("a vault opens");
    let mut chain = Chain::default();
    for from in (0..events).step_by(BATCH as usize) {
        let batch: Vec<_> = (from..events.min(from + BATCH)).map(|_| Arc::new(chain.next_record())).collect();
        store.append(&LogId::main(), from, &batch, Room::Ordinary).expect("a batch is appended");
    }
    store.close().expect("the vault is closed");
}
