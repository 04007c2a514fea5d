//! No line on the socket makes the runtime panic: the fuzz target `envelope`, on its seeds and on changes of them.

use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::Index;
use toka_runtime::control::{Asked, OperationText};
use toka_runtime::testing::envelope;

fn seeds() -> Vec<Vec<u8>> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/envelope");
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).expect("seeds").map(|e| e.expect("a seed").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a seed")).collect()
}

#[test]
fn every_seed_is_what_it_was_meant_to_be() {
    for seed in seeds() {
        let alone = OperationText::parse(&seed).is_ok();
        let asked = Asked::parse(&seed);
        assert!(alone != asked.is_ok(), "{}: {asked:?}", String::from_utf8_lossy(&seed));
        if let Ok(Asked::Bearer(presented)) = asked {
            presented.order().expect("an order");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn no_line_of_a_stranger_makes_it_panic(
        seed in any::<Index>(),
        other in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>(), 0_u8..5), 0..4),
    ) {
        let seeds = seeds();
        let (mut bytes, other) = (seed.get(&seeds).clone(), other.get(&seeds));
        for (at, byte, kind) in changes {
            let at = at.index(bytes.len() + 1);
            match kind {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => bytes[at] = byte,
                2 => bytes.truncate(at),
                3 if at < bytes.len() => drop(bytes.remove(at)),
                _ => {
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[at.min(other.len())..]);
                }
            }
        }
        envelope(&bytes);
    }
}
