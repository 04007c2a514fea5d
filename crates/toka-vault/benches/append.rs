//! Durable appends of events with 250-byte payloads, by one writer and by a hundred committers.

#[path = "../../../benches/harness.rs"]
mod harness;
mod kv;
#[path = "../../../benches/records.rs"]
mod records;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::{Bench, PlainLog, rate};
use records::{Chain, payload};
use toka_types::Kind;
use toka_vault::hash::leaf_hash;
use toka_vault::{Journal, LogId, LogWriter, NewEvent, Record, Room, VaultBus};

const BATCHES: [usize; 3] = [1, 64, 1024];
/// Large enough that the baseline seldom begins anew.
const PLAIN_BYTES: u64 = 64 << 20;
const COMMITTERS: usize = 100;

fn main() {
    let bench = Bench::new("append");
    for batch in BATCHES.into_iter().filter(|batch| bench.wants(&format!("batch={batch}"))) {
        appends(&bench, batch);
    }
    if bench.wants("committers=100") {
        committers(&bench);
    }
    for batch in BATCHES.into_iter().filter(|batch| bench.wants(&format!("kv batch={batch}"))) {
        kv::append::appends(&bench, batch);
    }
}

fn appends(bench: &Bench, batch: usize) {
    let path = bench.directory().join(format!("vault-{batch}"));
    let (journal, _) = Journal::open(&path).expect("a vault opens");
    let mut writer = LogWriter::open(Arc::new(journal), LogId::main()).expect("a log opens");
    let mut chain = Chain::default();
    let mut ours = || {
        rate(bench.slice(), batch as u64, || {
            let records: Vec<Arc<Record>> = (0..batch).map(|_| Arc::new(chain.next_record())).collect();
            writer.append_computed(&records, Room::Ordinary).expect("a batch is appended");
        })
    };
    let mut plain = PlainLog::new(bench.directory(), "plain", PLAIN_BYTES);
    let mut other = Chain::default();
    let mut buffer = Vec::new();
    let mut baseline = || {
        rate(bench.slice(), batch as u64, || {
            let records: Vec<Arc<Record>> = (0..batch).map(|_| Arc::new(other.next_record())).collect();
            buffer.clear();
            for record in &records {
                let start = buffer.len();
                record.header.encode(&mut buffer);
                std::hint::black_box(leaf_hash(&buffer[start..]));
                buffer.extend_from_slice(record.content[0].bytes());
            }
            plain.append(&buffer);
        })
    };
    let (ours_rate, baseline_rate) = bench.interleave(&mut ours, &mut baseline);
    let against = "encode + hash + append + fdatasync";
    bench.line(&format!("batch={batch}"), "events/s", ours_rate, Some((baseline_rate, against)));

    let bytes = vec![7; buffer.len()];
    let mut raw = || rate(bench.slice(), batch as u64, || plain.append(&bytes));
    let (ours_rate, raw_rate) = bench.interleave(&mut ours, &mut raw);
    bench.line(&format!("raw batch={batch}"), "events/s", ours_rate, Some((raw_rate, "append + fdatasync")));
    bench.line(&format!("sync batch={batch}"), "µs/batch", 1e6 * batch as f64 / raw_rate, None);
}

/// A hundred tasks that commit single events, one after the other, against the plain loop with batches of as many.
fn committers(bench: &Bench) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().expect("a runtime");
    let bus = VaultBus::open(bench.directory().join("vault-bus")).expect("a vault opens");
    let counter = Arc::new(AtomicU64::new(0));
    let mut waits: Vec<Duration> = Vec::new();
    let ours = || {
        let begun = Instant::now();
        let end = begun + bench.slice();
        let before = waits.len();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..COMMITTERS)
                .map(|_| {
                    let (bus, counter) = (bus.clone(), Arc::clone(&counter));
                    tokio::spawn(async move {
                        let mut waits = Vec::new();
                        loop {
                            let event = new_event(counter.fetch_add(1, Ordering::Relaxed));
                            let start = Instant::now();
                            if start >= end {
                                return waits;
                            }
                            bus.commit_batch(vec![event]).await.expect("an event is committed");
                            waits.push(start.elapsed());
                        }
                    })
                })
                .collect();
            for task in tasks {
                waits.extend(task.await.expect("a committer ends"));
            }
        });
        (waits.len() - before) as f64 / begun.elapsed().as_secs_f64()
    };
    let mut plain = PlainLog::new(bench.directory(), "plain", PLAIN_BYTES);
    let bytes = vec![7; COMMITTERS * 460];
    let baseline = || rate(bench.slice(), COMMITTERS as u64, || plain.append(&bytes));
    let (ours, baseline) = bench.interleave(ours, baseline);
    bench.line("committers=100", "events/s", ours, Some((baseline, "append + fdatasync of 100 events")));
    waits.sort_unstable();
    let sync = 1e6 * COMMITTERS as f64 / baseline;
    for part in [50, 99] {
        let wait = 1e6 * waits[waits.len() * part / 100].as_secs_f64();
        let case = format!("committers=100 p{part}");
        bench.line(&case, "µs", wait, Some((sync, "append + fdatasync of 100 events")));
    }
}

fn new_event(number: u64) -> NewEvent {
    NewEvent::new(Kind::new("bench.event").expect("a kind")).content(payload(number))
}
