//! A log folds to the same digests for ever: `docs/format/world.json` holds one, of a random program with people, money,
//! rules and refusals, and what its world was on the way.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toka_kernel::{Kernel, digests};
use toka_types::EventHeader;

/// The file.
#[derive(Serialize, Deserialize)]
struct Golden {
    /// The digests after so many events.
    digests: Vec<At>,
    /// The headers in hex.
    headers: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct At {
    events: usize,
    fold: String,
    world: String,
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("hex"));
    digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
}

/// The digests of the world after each number of events that `golden` names.
fn folded(golden: &Golden) -> Vec<At> {
    let mut kernel = Kernel::new();
    let mut found = Vec::new();
    for (seq, hex) in golden.headers.iter().enumerate() {
        let bytes = bytes_of(hex);
        let header = EventHeader::decode(&bytes).expect("a header");
        assert_eq!((header.seq, header.to_bytes()), (seq as u64, bytes));
        assert_eq!(header.id, header.causal_digest());
        kernel.replay(&header).expect("what was recorded can be folded in");
        let events = seq + 1;
        if golden.digests.iter().any(|at| at.events == events) {
            let digests = digests(kernel.world());
            found.push(At { events, fold: digests.fold.to_string(), world: digests.world.to_string() });
        }
    }
    found
}

#[test]
fn the_golden_log_folds_to_the_digests_that_it_always_had() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/format/world.json");
    let text = std::fs::read_to_string(&path).expect("the golden log is in the repository");
    let golden: Golden = serde_json::from_str(&text).expect("a log");
    assert_eq!(folded(&golden), golden.digests);
    assert_eq!(golden.digests.last().map(|at| at.events), Some(golden.headers.len()));
}
