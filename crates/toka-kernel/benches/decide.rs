//! What one operation costs in the kernel, without any disk.
//!
//! | Case | Is |
//! |---|---|
//! | `apply` | one observation decided and folded in, in a world of 1,000 agents |
//! | `step` | the same as a step of its own: labels, facts, header and id as well |
//! | `request` | a local read decided under a grant with path caveats |
//! | `flow` | data with three labels on its way to an external sink, judged by a policy of 20 rules |
//! | `call` | such a call as a whole: the grant, the policy of 20 rules with the labels of its cause, and the event |
//! | `planned` | a call with a sink that is compared with a plan of 32 slots, and fills the last of them |
//! | `spawn` | a new agent as a step of its own, up to 100,000 in one world |
//! | `replay` | one stored header decoded and folded in |

use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant};

use toka_kernel::apply::{apply, apply_stored};
use toka_kernel::decide::decide;
use toka_kernel::limits::MAX_SLOTS;
use toka_kernel::{Kernel, Policy, Submission, WorldState};
use toka_types::capability::{Argument, Request};
use toka_types::operation::{
    Authority, Cause, Envelope, GovernedArgument, GrantTerms, Observation, PlanRequest, ToolRequest,
};
use toka_types::plan::{Scalar, Slot, Source, Traced, Value};
use toka_types::{
    EntityId, EventHeader, EventId, FlowRule, Kind, Labels, Name, Operation, Payload, Sink, Timestamp,
    Verdict,
};

/// Agents in the world that most cases run in.
const AGENTS: usize = 1_000;
/// Agents that the case `spawn` creates in one round: as many as one machine is meant to hold.
const SPAWNS: usize = 100_000;
/// Operations between two looks at the clock: reading it costs as much as a small operation.
const BATCH: usize = 1_000;
/// The grant of every agent: several capabilities, of which the last is the one asked for.
const GRANT: [&str; 6] = [
    "tool:echo",
    "tool:fs.list(path=docs/**)",
    "message:send",
    "task:schedule",
    "tool:fs.read(path=docs/**)",
    "event:emit",
];

fn main() {
    let rounds = setting("TOKA_BENCH_ROUNDS", 5).max(5) as usize;
    let budget = Duration::from_secs(setting("TOKA_BENCH_SECONDS", 3)) / (5 * rounds as u32);
    let kernel = inhabited(AGENTS);
    report("apply", rounds, || decide_and_apply(&kernel, budget));
    report("step", rounds, || steps(&kernel, budget, &observe()));
    report("request", rounds, || decide_only(kernel.world(), budget, &read_file()));
    report("flow", rounds, || flow(budget));
    report("call", rounds, || call(budget));
    report("planned", rounds, || planned(budget));
    report("spawn", rounds, spawn_all);
    let headers = stored();
    report("replay", rounds, || replay(&headers));
}

fn decide_and_apply(kernel: &Kernel, budget: Duration) -> f64 {
    let mut world = kernel.world().clone();
    let (envelope, at) = (envelope(&world, observe()), Timestamp(1_000_000));
    let mut header = EventHeader {
        seq: world.next_seq(),
        id: EventId::default(),
        at,
        kind: kind("file.chunk"),
        author: envelope.origin,
        prev: None,
        parents: Vec::new(),
        labels: Labels::none(),
        content: Vec::new(),
        facts: Vec::new(),
    };
    per_operation(budget, || {
        for _ in 0..BATCH {
            let decided = decide(&world, black_box(&envelope), at).expect("allowed");
            header.seq += 1;
            for event in &decided {
                apply(&mut world, &header, &event.facts, None);
            }
            black_box(decided);
        }
    })
}

fn decide_only(world: &WorldState, budget: Duration, operation: &Operation) -> f64 {
    let (envelope, at) = (envelope(world, operation.clone()), Timestamp(1_000_000));
    per_operation(budget, || {
        for _ in 0..BATCH {
            let decided = decide(world, black_box(&envelope), at).expect("allowed");
            black_box(decided);
        }
    })
}

/// 20 rules, of which one lets secret 7 go to its host and one lets the mail go anywhere.
fn rules() -> Vec<FlowRule> {
    let rule = |i: usize| FlowRule {
        name: name(&format!("rule-{i}")),
        labels: vec![format!("secret:{i}").parse().expect("a pattern")],
        sinks: vec![Sink::External],
        to: vec![format!("tool:http.post(host=api-{i}.example.com)").parse().expect("well formed")],
        verdict: Verdict::Allow,
    };
    let everything =
        FlowRule { labels: vec!["untrusted:mail".parse().expect("a pattern")], to: Vec::new(), ..rule(0) };
    (1..20).map(rule).chain([everything]).collect()
}

fn three_labels() -> Labels {
    Labels::parse(["untrusted:mail", "secret:7", "subject:alice"]).expect("labels")
}

fn flow(budget: Duration) -> f64 {
    let policy = Policy::new(rules()).expect("few rules");
    let labels = three_labels();
    let arguments = [("host", Argument::Host("api-7.example.com"))];
    let request = Request { resource: "tool", action: "http.post", arguments: &arguments };
    per_operation(budget, || {
        for _ in 0..BATCH {
            let said =
                policy.decide(labels.iter(), Sink::External, black_box(&request), Timestamp(1_000_000));
            assert_eq!(said, Verdict::Allow);
        }
    })
}

fn call(budget: Duration) -> f64 {
    let mut kernel = inhabited(AGENTS);
    let root = Authority::Grant(kernel.world().operator_grant().expect("open"));
    let uses = vec!["tool:http.post(host=*.example.com)".parse().expect("well formed")];
    let grant = GrantTerms { uses, ..GrantTerms::default() };
    let agent = EntityId::named("agent-500");
    for operation in [Operation::IssueGrant { agent, grant }, Operation::SetPolicy(rules())] {
        let step = kernel.step(vec![by_operator(root, operation)], Timestamp(3));
        assert!(step.replies[0].is_ok(), "{:?}", step.replies);
    }
    let Operation::Request(read) = read_file() else { unreachable!("a call") };
    let host = GovernedArgument::Host("api-7.example.com".to_owned());
    let post = ToolRequest {
        tool: name("http.post"),
        class: "write".parse().expect("a class"),
        sink: Sink::External,
        governed: vec![("host".to_owned(), host)],
        ..read
    };
    let opened = EventId(toka_types::Digest::of(b"mail"));
    let cause = Cause { id: opened, labels: three_labels() };
    let asked = Envelope { causes: vec![cause], ..envelope(kernel.world(), Operation::Request(post)) };
    let (world, at) = (kernel.world(), Timestamp(1_000_000));
    per_operation(budget, || {
        for _ in 0..BATCH {
            let decided = decide(world, black_box(&asked), at).expect("allowed");
            assert_eq!(decided.len(), 1);
            black_box(decided);
        }
    })
}

fn planned(budget: Duration) -> f64 {
    let mut kernel = inhabited(AGENTS);
    let agent = EntityId::named("agent-500");
    let root = Authority::Grant(kernel.world().operator_grant().expect("open"));
    let payee = |i: usize| Scalar::Text(&format!("payee-{i}")).digest();
    let slots = (0..MAX_SLOTS).map(|i| Slot {
        name: None,
        tool: name("pay"),
        times: 1,
        most: None,
        arguments: vec![("to".to_owned(), Source::Literal(payee(i)))],
    });
    let control = vec![vec!["to".to_owned()]; MAX_SLOTS];
    let plan = PlanRequest { agent, slots: slots.collect(), control, content: Payload::new(vec![7; 64]) };
    let literals = (0..MAX_SLOTS).map(payee).collect();
    let message = Payload::new(vec![7; 64]);
    let uses = vec!["tool:pay".parse().expect("well formed")];
    let grant = GrantTerms { uses, ..GrantTerms::default() };
    for operation in [
        Operation::IssueGrant { agent, grant },
        Operation::Instruct { to: agent, message, literals },
        Operation::CommitPlan(plan),
    ] {
        let step = kernel.step(vec![by_operator(root, operation)], Timestamp(3));
        assert!(step.replies[0].is_ok(), "{:?}", step.replies);
    }
    let to = Value::One(payee(MAX_SLOTS - 1));
    let traced = Traced {
        arguments: vec![("to".to_owned(), to)],
        control: vec!["to".to_owned()],
        ..Traced::default()
    };
    let Operation::Request(read) = read_file() else { unreachable!("a call") };
    let call = ToolRequest {
        tool: name("pay"),
        class: "write".parse().expect("a class"),
        sink: Sink::External,
        traced: Some(Box::new(traced)),
        ..read
    };
    decide_only(kernel.world(), budget, &Operation::Request(call))
}

fn steps(kernel: &Kernel, budget: Duration, operation: &Operation) -> f64 {
    let mut kernel = kernel.clone();
    let envelope = envelope(kernel.world(), operation.clone());
    per_operation(budget, || {
        for _ in 0..BATCH {
            let step = kernel.step(vec![Submission::new(envelope.clone())], Timestamp(1_000_000));
            assert_eq!(step.events.len(), 1);
            black_box(step);
        }
    })
}

fn spawn_all() -> f64 {
    let mut kernel = inhabited(0);
    let root = Authority::Grant(kernel.world().operator_grant().expect("open"));
    let inputs: Vec<_> = (0..SPAWNS).map(|i| by_operator(root, spawn(i))).collect();
    let start = Instant::now();
    for input in inputs {
        black_box(kernel.step(vec![input], Timestamp(2)));
    }
    let took = start.elapsed();
    assert_eq!(kernel.world().agents().count(), SPAWNS);
    micros(took, SPAWNS)
}

fn stored() -> Vec<Vec<u8>> {
    let mut kernel = inhabited(0);
    let root = Authority::Grant(kernel.world().operator_grant().expect("open"));
    let inputs = (0..AGENTS).map(|i| by_operator(root, spawn(i))).collect();
    let mut events = kernel.step(inputs, Timestamp(2)).events;
    let envelope = envelope(kernel.world(), observe());
    for _ in 0..20 * AGENTS {
        events.extend(kernel.step(vec![Submission::new(envelope.clone())], Timestamp(3)).events);
    }
    events.iter().map(|event| event.header.to_bytes()).collect()
}

fn replay(headers: &[Vec<u8>]) -> f64 {
    let mut world = inhabited(0).world().clone();
    let start = Instant::now();
    for bytes in headers {
        let header = EventHeader::decode(bytes).expect("canonical");
        apply_stored(&mut world, &header).expect("readable");
    }
    micros(start.elapsed(), headers.len())
}

fn inhabited(agents: usize) -> Kernel {
    let mut kernel = Kernel::new();
    let open = Operation::OpenLog { capabilities: vec!["**".parse().expect("well formed")] };
    kernel.step(vec![by_operator(Authority::Host, open)], Timestamp(1));
    let root = Authority::Grant(kernel.world().operator_grant().expect("open"));
    let inputs = (0..agents).map(|i| by_operator(root, spawn(i))).collect();
    kernel.step(inputs, Timestamp(2));
    kernel
}

fn spawn(i: usize) -> Operation {
    let uses = GRANT.iter().map(|text| text.parse().expect("well formed")).collect();
    let grant = GrantTerms { uses, ..GrantTerms::default() };
    Operation::SpawnAgent {
        name: name(&format!("agent-{i}")),
        behaviour: name("Logger"),
        grant,
        budget: None,
        quarantine: None,
    }
}

fn observe() -> Operation {
    Operation::Observe(vec![Observation::new(kind("file.chunk"), Payload::new(vec![7; 256]))])
}

fn read_file() -> Operation {
    Operation::Request(ToolRequest {
        tool: name("fs.read"),
        version: "1.0.0".to_owned(),
        class: "local-read".parse().expect("a class"),
        sink: toka_types::Sink::None,
        arguments: Payload::new(vec![7; 64]),
        governed: vec![("path".to_owned(), GovernedArgument::Path("docs/guide/chapter/one.md".to_owned()))],
        places: Default::default(),
        bounds: Default::default(),
        traced: None,
    })
}

fn by_operator(authority: Authority, operation: Operation) -> Submission {
    let origin = EntityId::operator();
    Submission::new(Envelope { origin, authority, op_id: None, causes: Vec::new(), operation })
}

fn envelope(world: &WorldState, operation: Operation) -> Envelope {
    let origin = EntityId::named("agent-500");
    let grant = world.agent(origin).expect("spawned").grant;
    Envelope { origin, authority: Authority::Grant(grant), op_id: None, causes: Vec::new(), operation }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn kind(text: &str) -> Kind {
    Kind::new(text).expect("a kind")
}

fn per_operation(budget: Duration, mut batch: impl FnMut()) -> f64 {
    batch();
    let (start, mut batches) = (Instant::now(), 0);
    while start.elapsed() < budget {
        batch();
        batches += 1;
    }
    micros(start.elapsed(), batches.max(1) * BATCH)
}

fn micros(took: Duration, operations: usize) -> f64 {
    took.as_secs_f64() * 1e6 / operations as f64
}

fn report(case: &str, rounds: usize, mut round: impl FnMut() -> f64) {
    let mut figures: Vec<f64> = (0..rounds).map(|_| round()).collect();
    figures.sort_by(f64::total_cmp);
    let median = (figures[rounds / 2] * 1000.0).round() / 1000.0;
    let line = serde_json::json!({
        "bench": "decide", "case": case, "unit": "us", "ours": median, "baseline": null, "against": null, "ratio": null,
    });
    // A reader that went away wants no more lines.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn setting(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
