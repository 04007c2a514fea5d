//! Durable appends of events with 250-byte payloads, by one writer and by a hundred committers.

#[path = "../../../benches/harness.rs"]
mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use harness::{Bench, PlainLog, rate};
use toka_types::{EntityId, EventHeader, EventId, Kind, Labels, Payload, Timestamp};
use toka_vault::hash::leaf_hash;
use toka_vault::{Journal, LogId, LogWriter, NewEvent, Record, Room, VaultBus};

const PAYLOAD: usize = 250;
const BATCHES: [usize; 3] = [1, 64, 1024];
/// Large enough that the baseline seldom begins anew.
const PLAIN_BYTES: u64 = 64 << 20;
const COMMITTERS: usize = 100;

fn main() {
    let bench = Bench::new("append");
    if let Ok(one) = std::env::var("ONE") {
        if one == "c" {
            committers(&bench);
        } else {
            appends(&bench, one.parse().unwrap());
        }
        return;
    }
    for batch in BATCHES {
        appends(&bench, batch);
    }
    committers(&bench);
}

fn appends(bench: &Bench, batch: usize) {
    let path = bench.directory().join(format!("vault-{batch}"));
    let (journal, _) = Journal::open(&path).expect("a vault opens");
    let mut writer = LogWriter::open(Arc::new(journal), LogId::main()).expect("a log opens");
    let mut chain = Chain::default();
    let mut ours = || {
        rate(bench.slice(), batch as u64, || {
            let records: Vec<Arc<Record>> = (0..batch).map(|_| Arc::new(chain.next())).collect();
            writer.append_records(&records, Room::Ordinary).expect("a batch is appended");
        })
    };
    let mut plain = PlainLog::new(bench.directory(), "plain", PLAIN_BYTES);
    let mut other = Chain::default();
    let mut buffer = Vec::new();
    let mut baseline = || {
        rate(bench.slice(), batch as u64, || {
            let records: Vec<Arc<Record>> = (0..batch).map(|_| Arc::new(other.next())).collect();
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

/// A hundred tasks that commit single events, against the plain loop with batches of as many.
fn committers(bench: &Bench) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().expect("a runtime");
    let bus = VaultBus::open(bench.directory().join("vault-bus")).expect("a vault opens");
    let counter = Arc::new(AtomicU64::new(0));
    let ours = || {
        rate(bench.slice(), (COMMITTERS * 8) as u64, || {
            runtime.block_on(async {
                let tasks: Vec<_> = (0..COMMITTERS)
                    .map(|_| {
                        let (bus, counter) = (bus.clone(), Arc::clone(&counter));
                        tokio::spawn(async move {
                            for _ in 0..8 {
                                let event = new_event(counter.fetch_add(1, Ordering::Relaxed));
                                bus.commit_batch(vec![event]).await.expect("an event is committed");
                            }
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.expect("a committer ends");
                }
            });
        })
    };
    let mut plain = PlainLog::new(bench.directory(), "plain", PLAIN_BYTES);
    let bytes = vec![7; COMMITTERS * 460];
    let baseline = || rate(bench.slice(), COMMITTERS as u64, || plain.append(&bytes));
    let (ours, baseline) = bench.interleave(ours, baseline);
    bench.line("committers=100", "events/s", ours, Some((baseline, "append + fdatasync of 100 events")));
}

fn new_event(number: u64) -> NewEvent {
    NewEvent::new(Kind::new("bench.event").expect("a kind")).content(payload(number))
}

fn payload(number: u64) -> Payload {
    let mut bytes = [0; PAYLOAD];
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for chunk in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    Payload::new(&bytes[..])
}

/// Complete records of one author, as a kernel makes them.
#[derive(Default)]
struct Chain {
    seq: u64,
    prev: Option<EventId>,
    kind: Option<Kind>,
}

impl Chain {
    fn next(&mut self) -> Record {
        let content = payload(self.seq);
        let kind = self.kind.get_or_insert_with(|| Kind::new("bench.event").expect("a kind")).clone();
        let mut header = EventHeader {
            seq: self.seq,
            id: EventId::default(),
            at: Timestamp(self.seq as i64),
            kind,
            author: EntityId::NONE,
            prev: self.prev,
            parents: self.prev.into_iter().collect(),
            labels: Labels::none(),
            content: vec![content.content_ref()],
            facts: Vec::new(),
        };
        header.id = header.causal_digest();
        self.seq += 1;
        self.prev = Some(header.id);
        Record { header, content: vec![content] }
    }
}
