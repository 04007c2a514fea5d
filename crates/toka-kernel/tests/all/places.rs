//! Files keep the labels of what they were made from.

use toka_kernel::{Code, Kernel, digests};
use toka_types::label::MAX_LABELS;
use toka_types::operation::{Cause, GovernedArgument, ToolOutcome, ToolRequest};
use toka_types::{FlowRule, Labels, Operation, Sink, Verdict};

use crate::house::*;

/// A call that is about these paths.
fn call(tool: &str, effect: &str, paths: &[&str]) -> Operation {
    let Operation::Request(mut request) = request(tool, effect, "") else { panic!("a call") };
    request.places = Default::default();
    for path in paths {
        request.places.add(format!("/r/{path}").trim_end_matches('/').as_bytes());
    }
    request.governed =
        paths.iter().map(|path| ("path".to_owned(), GovernedArgument::Path((*path).to_owned()))).collect();
    Operation::Request(request)
}

/// `a` has written something to `path` from data with these labels.
fn written(path: &str, of: &[&str]) -> House {
    let mut house = House::inhabited();
    let allow = |(n, label): (usize, &&str)| FlowRule {
        name: name(&format!("r{n}")),
        labels: vec![label.parse().expect("a pattern")],
        sinks: vec![Sink::Write],
        to: capabilities(&["tool:fs.*"]),
        verdict: Verdict::Allow,
    };
    let rules = of.iter().enumerate().map(allow).collect();
    house.ask("operator", Operation::SetPolicy(rules)).expect("allowed");
    house.because(of);
    house.ask("a", call("fs.write", "write", &[path])).expect("allowed");
    house.causes.clear();
    house
}

/// The labels of what `b` finds at `path`, without a cause of its own.
fn found(house: &mut House, path: &str) -> Labels {
    let Operation::Request(ToolRequest { places, .. }) = call("fs.read", "local-read", &[path]) else {
        panic!("a call")
    };
    house.ask("b", call("fs.read", "local-read", &[path])).expect("allowed");
    let outcome = ToolOutcome { read: places.read, ..outcome("local-read", None) };
    house.host("b", Operation::Return(outcome)).expect("an outcome is recorded");
    house.last_event().header.labels.clone()
}

#[test]
fn whoever_reads_a_file_reads_its_labels() {
    let mut house = written("docs/a.md", &["untrusted:web", "subject:ann"]);
    let both = labels(&["untrusted:web", "subject:ann"]);
    assert_eq!(found(&mut house, "docs/a.md"), both);
    assert_eq!(found(&mut house, "docs/b.md"), Labels::none());
    assert_eq!(found(&mut house, "src"), Labels::none());
    let mut again = Kernel::new();
    for event in &house.log {
        again.replay(&event.header).expect("it reads its own log");
    }
    assert_eq!(digests(again.world()), digests(house.kernel.world()));
    let mut clean = written("docs/a.md", &[]);
    assert_eq!(found(&mut clean, "docs/a.md"), Labels::none());
}

#[test]
fn the_name_of_a_file_is_as_untrusted_as_what_made_it() {
    let mut house = written("docs/pay-eve/a.md", &["untrusted:web"]);
    for path in ["docs/pay-eve", "docs", ""] {
        assert_eq!(found(&mut house, path), labels(&["untrusted:web"]), "{path}");
    }
    // What was written as a whole, is so beneath.
    let mut house = written("export", &["untrusted:web"]);
    assert_eq!(found(&mut house, "export/ann.txt"), labels(&["untrusted:web"]));
    assert_eq!(found(&mut house, "exports"), Labels::none());
}

#[test]
fn a_file_is_not_sent_by_its_name_past_its_labels() {
    let mut house = written("key.pem", &["secret:key"]);
    // b never read it: it hands on a path.
    let send = |house: &mut House, path: &str| house.ask("b", call("mail.send", "write", &[path]));
    assert_eq!(code(send(&mut house, "key.pem")), Some(Code::FlowDenied));
    assert_eq!(code(send(&mut house, "")), Some(Code::FlowDenied), "nor with the folder it lies in");
    send(&mut house, "other.pem").expect("allowed");
    let mut house = written("page.html", &["untrusted:web"]);
    send(&mut house, "page.html").expect("asked about");
    assert_eq!(house.last(1), ["approval.requested"]);
    assert_eq!(house.last_event().header.labels, labels(&["untrusted:web"]), "whoever is asked sees why");
}

#[test]
fn a_copy_is_as_its_original() {
    let mut house = written("a.md", &["untrusted:web"]);
    house.ask("b", call("fs.copy", "idempotent", &["a.md", "copies/b.md"])).expect("allowed");
    assert_eq!(house.last(1), ["tool.requested"]);
    assert_eq!(house.last_event().header.labels, labels(&["untrusted:web"]));
    assert_eq!(found(&mut house, "copies/b.md"), labels(&["untrusted:web"]));
}

#[test]
fn more_labels_than_there_may_be_are_stood_for() {
    let mut house = House::inhabited();
    for prefix in ["x", "y"] {
        house.causes = vec![Cause { id: house.last_id(), labels: many_labels(prefix, MAX_LABELS) }];
        house.ask("a", call("fs.write", "write", &[&format!("docs/{prefix}.md")])).expect("allowed");
    }
    house.causes.clear();
    let strictest = labels(&["secret:too-many", "untrusted:too-many"]);
    assert_eq!(found(&mut house, "docs/x.md"), many_labels("x", MAX_LABELS));
    assert_eq!(found(&mut house, "docs"), strictest);
    assert_eq!(code(house.ask("b", call("mail.send", "write", &["docs"]))), Some(Code::FlowDenied));
    // An outcome with labels of its own that leave no room is recorded all the same.
    let mut house = written("a.md", &["from:web"]);
    let Operation::Request(ToolRequest { places, .. }) = call("fs.read", "local-read", &["a.md"]) else {
        panic!("a call")
    };
    for (count, kept) in [(MAX_LABELS - 1, MAX_LABELS), (MAX_LABELS, 2)] {
        let (read, labels) = (places.read.clone(), many_labels("x", count));
        let outcome = ToolOutcome { read, labels, ..outcome("local-read", None) };
        house.host("b", Operation::Return(outcome)).expect("an outcome is recorded");
        assert_eq!(house.last_event().header.labels.len(), kept);
    }
    assert_eq!(house.last_event().header.labels, strictest);
}
