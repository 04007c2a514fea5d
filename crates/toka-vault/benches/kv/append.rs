//! Ours against the best key-value store, at one batch.

use std::sync::Arc;

use toka_vault::{Journal, LogId, LogWriter, Record, Room};

use super::engines;
use crate::harness::{Bench, rate};
use crate::records::Chain;

/// One case: `kv batch=…`.
pub fn appends(bench: &Bench, batch: usize) {
    let directory = bench.directory().join(format!("against-kv-{batch}"));
    std::fs::create_dir(&directory).expect("a folder");
    let (journal, _) = Journal::open(&directory.join("vault")).expect("a vault opens");
    let mut writer = LogWriter::open(Arc::new(journal), LogId::main()).expect("a log opens");
    let mut chain = Chain::default();
    let mut ours = || {
        rate(bench.slice(), batch as u64, || {
            let records: Vec<Arc<Record>> = (0..batch).map(|_| Arc::new(chain.next_record())).collect();
            writer.append_computed(&records, Room::Ordinary).expect("a batch is appended");
        })
    };
    let mut others = engines(&directory);
    let names: Vec<&str> = others.iter().map(|engine| engine.name()).collect();
    let mut sides: Vec<Box<dyn FnMut() -> f64 + '_>> = vec![Box::new(&mut ours)];
    for engine in &mut others {
        let mut chain = Chain::default();
        sides.push(Box::new(move || {
            rate(bench.slice(), batch as u64, || {
                let records: Vec<Record> = (0..batch).map(|_| chain.next_record()).collect();
                engine.append(&records);
            })
        }));
    }
    let rates = bench.interleave_all(&mut sides);
    drop(sides);
    let best = best(&names, &rates[1..]);
    let against = format!("{}: records and indexes, synced; {}", best.0, list(&names, &rates[1..]));
    bench.line(&format!("kv batch={batch}"), "events/s", rates[0], Some((best.1, &against)));
    drop(others);
    // What it took is given back before the next case.
    let _ = std::fs::remove_dir_all(&directory);
}

/// The name and figure of the best one.
pub fn best<'a>(names: &[&'a str], rates: &[f64]) -> (&'a str, f64) {
    let all = names.iter().copied().zip(rates.iter().copied());
    all.max_by(|one, other| one.1.total_cmp(&other.1)).expect("there is one")
}

/// All of them, for the line.
pub fn list(names: &[&str], rates: &[f64]) -> String {
    names.iter().zip(rates).map(|(name, rate)| format!("{name} {rate:.0}")).collect::<Vec<_>>().join(", ")
}
