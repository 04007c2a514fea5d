//! What reads texts of strangers, for fuzzers: it takes any bytes, and must neither panic nor hang. The fuzz
//! targets in `fuzz/` call it, and the suite with changed seeds.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::capability::{Capability, CapabilitySet};
use crate::time::Timestamp;

/// Most lines that are read: each is compared with each.
const MAX_LINES: usize = 16;

/// Reads each line as a capability, and asserts of those that are one what holds for all: the text gives it back, and
/// subset and intersection agree.
pub fn capability(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let all: Vec<Capability> = text.lines().take(MAX_LINES).filter_map(|line| line.parse().ok()).collect();
    for one in &all {
        assert_eq!(one.to_string().parse().as_ref(), Ok(one));
        for other in &all {
            let Ok(both) = one.intersect(other) else { continue };
            assert_eq!(other.intersect(one).as_ref(), Ok(&both));
            assert_eq!(one.covers(other), both.as_ref() == Some(other), "{one} {other}");
            let Some(both) = both else { continue };
            assert!(one.covers(&both) && other.covers(&both), "{one} {other}");
            assert_eq!(both.to_string().parse().as_ref(), Ok(&both));
        }
    }
    let (ours, theirs) = all.split_at(all.len() / 2);
    let set = |some: &[Capability]| CapabilitySet::new(some.iter().cloned()).unwrap_or_default();
    let (ours, theirs) = (set(ours), set(theirs));
    assert!(ours.covers(&ours));
    if let Ok(both) = ours.intersect(&theirs) {
        assert!(ours.covers(&both) && theirs.covers(&both));
    }
    let request = crate::capability::Request { resource: "tool", action: &text, arguments: &[] };
    let _ = (ours.allows_at(&request, Timestamp(0)), ours.nearest(&request).is_some());
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::test_runner::{Config, TestRunner};

    use super::*;

    #[test]
    fn no_bytes_of_a_stranger_make_the_language_panic() {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/capability");
        let entries = std::fs::read_dir(directory).expect("the seeds lie beside the crates");
        let read = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read(entry.expect("listed").path());
        let seeds: Vec<Vec<u8>> = entries.map(|entry| read(entry).expect("readable")).collect();
        seeds.iter().for_each(|seed| capability(seed));
        // A piece of one seed in place of a piece of another.
        let places = (0..seeds.len(), 0..1000_usize, 0_usize..8, 0..seeds.len(), 0..1000_usize, 0_usize..16);
        let config = Config { failure_persistence: None, ..Config::with_cases(2000) };
        let run = TestRunner::new(config).run(&places, |(seed, at, len, other, from, more)| {
            let (mut bytes, other) = (seeds[seed].clone(), &seeds[other]);
            let (at, from) = (at % bytes.len(), from % other.len());
            let end = bytes.len().min(at + len);
            bytes.splice(at..end, other[from..other.len().min(from + more)].iter().copied());
            capability(&bytes);
            Ok(())
        });
        run.unwrap_or_else(|failed| panic!("{failed}"));
    }
}
