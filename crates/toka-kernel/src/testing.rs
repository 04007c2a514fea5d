//! What reads bytes of strangers, for fuzzers: it takes any bytes, and must neither panic nor hang. The fuzz
//! targets in `fuzz/` call it, and the suite with changed seeds.

mod bytes;
mod operations;

use toka_types::capability::{Argument, Request};
use toka_types::{Label, Sink, Timestamp, Verdict};

use crate::policy::{MAX_PARTS, Policy, WayOut};

pub use operations::operations;

/// Reads the bytes as the facts of a policy; asserts of one that it is explained as it decides, that its rules are the
/// same in any order, and that it can be checked.
pub fn policy(bytes: &[u8]) {
    let Ok(policy) = rmp_serde::from_slice::<Policy>(bytes) else { return };
    let reversed = Policy::new(policy.rules().iter().rev().cloned()).expect("the same rules");
    assert_eq!(reversed, policy);
    let facts = rmp_serde::to_vec_named(&policy).expect("plain data");
    assert_eq!(rmp_serde::from_slice::<Policy>(&facts).expect("its own facts"), policy);
    let mut labels: Vec<Label> =
        ["untrusted:web", "secret:a"].iter().filter_map(|text| Label::new(text).ok()).collect();
    let patterns = policy.rules().iter().flat_map(|rule| &rule.labels);
    labels.extend(patterns.filter_map(|pattern| Label::new(pattern.as_str()).ok()).take(30));
    let arguments = [("path", Argument::Path("a/b")), ("host", Argument::Host("a.com"))];
    for (resource, action) in [("tool", "t"), ("tool", "mail.send"), ("event", "emit")] {
        let request = Request { resource, action, arguments: &arguments };
        for sink in Sink::ALL {
            let verdict = policy.decide(&labels, *sink, &request, Timestamp(0));
            assert_eq!(reversed.decide(labels.iter().rev(), *sink, &request, Timestamp(0)), verdict);
            let said = policy.explain(&labels, *sink, &request, Timestamp(0));
            assert_eq!(said.verdict, verdict);
            assert_eq!(said.way_out == WayOut::None, verdict == Verdict::Allow);
        }
    }
    assert!(policy.check().len() <= MAX_PARTS * MAX_PARTS);
}
