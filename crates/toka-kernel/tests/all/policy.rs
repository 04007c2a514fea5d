//! What a policy says depends on its rules and not on their order, gets no milder by a label, and is explained as it is
//! decided.

use std::fmt::Debug;
use std::str::FromStr;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use toka_kernel::policy::{Fault, MAX_PARTS, Policy, PolicyError, WayOut};
use toka_types::capability::{Argument, Request};
use toka_types::{Capability, FlowRule, Label, LabelPattern, Labels, Name, Sink, Timestamp, Verdict};

const AT: Timestamp = Timestamp(10 * 3_600_000_000);

/// A rule as `name labels sinks to verdict`, with commas between labels and sinks, `;` between calls, `-` for none.
fn rule(text: &str) -> FlowRule {
    fn parsed<T: FromStr<Err: Debug>>(text: &str, separator: char) -> Vec<T> {
        let words = text.split(separator).filter(|word| *word != "-");
        words.map(|word| word.parse().unwrap_or_else(|e| panic!("{word}: {e:?}"))).collect()
    }
    let words: Vec<&str> = text.split(' ').collect();
    let [name, labels, sinks, to, verdict] = words[..] else { panic!("{text}") };
    FlowRule {
        name: self::name(name),
        labels: parsed(labels, ','),
        sinks: parsed(sinks, ','),
        to: parsed(to, ';'),
        verdict: verdict.parse().expect("a verdict"),
    }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn policy(rules: &[&str]) -> Policy {
    Policy::new(rules.iter().map(|text| rule(text))).unwrap_or_else(|e| panic!("{e}"))
}

/// Asserts what the rules say about a call of `tool:<tool>` to a host at that sink with data of these labels.
#[track_caller]
fn check(rules: &[&str], labels: &[&str], sink: Sink, tool: &str, host: &str, expected: Verdict) {
    let (policy, labels) = (policy(rules), Labels::parse(labels).expect("labels"));
    let arguments = [("host", Argument::Host(host))];
    let request = Request { resource: "tool", action: tool, arguments: &arguments };
    assert_eq!(policy.decide(labels.iter(), sink, &request, AT), expected, "{rules:?} {labels:?} {sink}");
    assert_eq!(policy.explain(labels.iter(), sink, &request, AT).verdict, expected);
}

#[test]
fn without_rules_untrusted_data_is_asked_about_and_secrets_stay() {
    use Sink::*;
    use Verdict::*;
    let check = |labels: &[&str], sink, expected| check(&[], labels, sink, "t", "a.com", expected);
    check(&[], External, Allow);
    check(&["subject:alice"], External, Allow);
    check(&["untrusted:web"], None, Allow);
    check(&["untrusted:web"], Write, Ask);
    check(&["untrusted:web"], External, Ask);
    check(&["untrusted"], External, Ask);
    check(&["secret:stripe"], None, Allow);
    check(&["secret:stripe"], Write, Deny);
    check(&["secret:stripe", "untrusted:web"], External, Deny);
}

#[test]
fn the_most_specific_rules_decide_and_the_strictest_of_them() {
    use Sink::*;
    use Verdict::*;
    let stripe = ["stripe secret:stripe external tool:stripe.**(host=api.stripe.com) allow"];
    check(&stripe, &["secret:stripe"], External, "stripe.charge", "api.stripe.com", Allow);
    check(&stripe, &["secret:stripe"], External, "stripe.charge", "evil.com", Deny);
    check(&stripe, &["secret:stripe"], External, "mail.send", "api.stripe.com", Deny);
    check(&stripe, &["secret:stripe"], Write, "stripe.charge", "api.stripe.com", Deny);
    check(&stripe, &["secret:github"], External, "stripe.charge", "api.stripe.com", Deny);
    // What is allowed to have one secret is not allowed to have what else comes along.
    check(&stripe, &["secret:github", "secret:stripe"], External, "stripe.charge", "api.stripe.com", Deny);
    check(&stripe, &["secret:stripe", "untrusted:web"], External, "stripe.charge", "api.stripe.com", Ask);

    // A built-in rule yields to a rule about the same, whatever it says and at whatever sinks.
    check(&["same untrusted:** write,external - allow"], &["untrusted:web"], Write, "t", "a", Allow);
    check(&["same untrusted:** write,external - deny"], &["untrusted:web"], Write, "t", "a", Deny);
    check(&["same untrusted:** - - allow"], &["untrusted:web"], Write, "t", "a", Allow);
    check(&["same secret:x - tool:t allow"], &["secret:x"], External, "t", "a", Allow);
    // No rule yields to a built-in one, and a built-in one not to a wider rule.
    check(&["wide - - - deny"], &["untrusted:web"], Write, "t", "a", Deny);
    check(&["wide - - - allow"], &["untrusted:web"], Write, "t", "a", Ask);
    check(&["wide ** - - allow"], &["untrusted:web"], Write, "t", "a", Ask);

    // Of rules that overlap the stricter one holds; one about the overlap settles it.
    let overlap = ["a untrusted:mail external - allow", "b untrusted:** external tool:mail.** deny"];
    check(&overlap, &["untrusted:mail"], External, "mail.send", "a", Deny);
    check(&overlap, &["untrusted:mail"], External, "chat.send", "a", Allow);
    check(&overlap, &["untrusted:web"], External, "mail.send", "a", Deny);
    let settled = [overlap[0], overlap[1], "c untrusted:mail external tool:mail.send ask"];
    check(&settled, &["untrusted:mail"], External, "mail.send", "a", Ask);

    // A rule about the call itself holds for data with and without labels, and none about a label weakens it.
    let call = ["call - - tool:shell.** ask", "mine trusted:me - tool:shell.run allow"];
    check(&call, &[], None, "shell.run", "a", Ask);
    check(&call, &["trusted:me"], None, "shell.run", "a", Ask);
    check(
        &[call[0], "exact - - tool:shell.run(host=a) allow"],
        &["trusted:me"],
        None,
        "shell.run",
        "a",
        Allow,
    );

    // It is ten o'clock.
    check(&["night - - tool:t(hours=22:00..24:00) deny"], &[], None, "t", "a", Allow);
    check(&["day - - tool:t(hours=09:00..17:00) deny"], &[], None, "t", "a", Deny);
}

#[test]
fn what_is_no_policy_is_refused_by_name() {
    let refused = |rules: &[&str]| Policy::new(rules.iter().map(|text| rule(text))).err();
    let same = PolicyError::SameName { name: name("a") };
    assert_eq!(refused(&["a - - - ask", "a - - - deny"]), Some(same));
    let built_in = PolicyError::BuiltIn { name: name("default/secret") };
    assert_eq!(refused(&["default/secret - - - allow"]), Some(built_in));
    let limited = Box::new("tool:t(uses=1)".parse().expect("a capability"));
    assert_eq!(
        refused(&["a - - tool:t(uses=1) ask"]),
        Some(PolicyError::Limited { name: name("a"), to: limited })
    );
    let labels: Vec<String> = (0..MAX_PARTS - 2).map(|i| format!("l:{i}")).collect();
    assert_eq!(refused(&[&format!("a {} - - ask", labels.join(","))]), None);
    assert_eq!(
        refused(&[&format!("a {},more - - ask", labels.join(","))]),
        Some(PolicyError::TooMany { count: MAX_PARTS + 1 })
    );
}

#[test]
fn an_explanation_names_rules_and_the_narrowest_way_out() {
    let explain = |rules: &[&str], labels: &[&str], tool: &str| {
        let labels = Labels::parse(labels).expect("labels");
        let arguments = [("host", Argument::Host("api.stripe.com")), ("n", Argument::Number(3))];
        let request = Request { resource: "tool", action: tool, arguments: &arguments };
        policy(rules).explain(labels.iter(), Sink::External, &request, AT)
    };
    let said =
        explain(&["stripe secret:stripe - tool:pay allow"], &["secret:stripe", "untrusted:web"], "pay");
    assert_eq!(
        said.reasons.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "the call itself: allow, no rule is about it",
            "label secret:stripe: allow by 'stripe'; 'default/secret' yields to 'stripe'",
            "label untrusted:web: ask by 'default/untrusted'",
        ]
    );
    let both =
        rule("allow-labels secret:stripe,untrusted:web external tool:pay(host=api.stripe.com,n=3) allow");
    let said = explain(&[], &["secret:stripe", "untrusted:web"], "pay");
    assert_eq!(said.way_out, WayOut::Add(vec![both]));
    let call = rule("allow-call-2 - external tool:pay(host=api.stripe.com,n=3) allow");
    let said = explain(&["allow-call - - - allow", "no - - tool:** deny"], &["a"], "pay");
    assert_eq!(said.way_out, WayOut::Add(vec![call]));
    let exact = "no - external tool:pay(host=api.stripe.com,n=3) deny";
    assert_eq!(explain(&[exact], &[], "pay").way_out, WayOut::Change(vec![name("no")]));
    assert_eq!(explain(&[], &["a"], "pay").way_out, WayOut::None);
    let json = serde_json::to_value(explain(&[], &["untrusted:web"], "pay")).expect("plain data");
    assert_eq!(json["reasons"][1]["rules"][0], "default/untrusted");
    assert_eq!(json["way_out"]["add"][0]["to"][0], "tool:pay(host=api.stripe.com,n=3)");
}

#[test]
fn rules_that_do_nothing_or_contradict_are_found() {
    let check = |rules: &[&str], expected: &[&str]| {
        let found: Vec<String> = policy(rules).check().iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{rules:?}");
    };
    check(&[], &[]);
    check(&["a secret:stripe external tool:stripe.** allow"], &[]);
    let ask = "a untrusted:web external - ask";
    check(&[ask], &["rule 'a' does nothing: what it says is said by 'default/untrusted'"]);
    check(
        &[ask, "b - - tool:shell ask"],
        &["rule 'a' does nothing: what it says is said by 'default/untrusted'"],
    );
    check(
        &["a - - tool:t allow"],
        &["rule 'a' does nothing: everything would be decided the same without it"],
    );
    check(
        &["a untrusted:web external - deny", "b untrusted:web external tool:t deny"],
        &["rule 'b' does nothing: what it says is said by 'a'"],
    );
    check(
        &["a x - tool:t deny", "b x - tool:t deny"],
        &[
            "rule 'a' does nothing: what it says is said by 'b'",
            "rule 'b' does nothing: what it says is said by 'a'",
        ],
    );
    check(
        &["all x - - deny", "none x none - ask", "rest x write,external - allow", "wide x - ** deny"],
        &[
            "rule 'all' decides nothing: it always yields to the more specific 'none', 'rest'",
            "rule 'wide' decides nothing: it always yields to the more specific 'none', 'rest'",
        ],
    );
    check(
        &["a x,untrusted:web external - ask"],
        &[
            "rule 'a' (label untrusted:web, call **) does nothing: what it says is said by 'default/untrusted'",
        ],
    );
    let contradicting = ["a x external - ask", "b - external tool:t deny"];
    check(
        &contradicting,
        &[
            "rule 'a' contradicts 'b' at label x, sink external, call tool:t: neither is more specific, so the stricter one \
           holds, deny; a rule about that place alone would settle it",
        ],
    );
    check(&[contradicting[0], contradicting[1], "c x external tool:t deny"], &[]);
    // A rule about the call itself decides whatever a label's rule says.
    check(
        &["a x - tool:t allow", "b - - tool:t deny"],
        &["rule 'a' does nothing: everything would be decided the same without it"],
    );
}

#[test]
fn as_facts_a_policy_is_its_rules_by_name() {
    let one = policy(&["b x,a external,write tool:t;tool:a ask", "a - none,write,external ** deny"]);
    let other = policy(&["a - - - deny", "b a,x,a write,external tool:a;tool:t ask"]);
    let bytes = rmp_serde::to_vec_named(&one).expect("plain data");
    assert_eq!(one, other);
    assert_eq!(rmp_serde::to_vec_named(&other).expect("plain data"), bytes);
    assert_eq!(rmp_serde::from_slice::<Policy>(&bytes).expect("its own facts"), one);
    assert_eq!(
        serde_json::to_string(&one).expect("plain data"),
        r#"[{"name":"a","labels":[],"sinks":[],"to":[],"verdict":"deny"},"#.to_owned()
            + r#"{"name":"b","labels":["a","x"],"sinks":["write","external"],"to":["tool:a","tool:t"],"verdict":"ask"}]"#
    );
    for wrong in [
        r#"[{"name":"a","labels":[],"sinks":[],"to":[],"verdict":"deny","more":1}]"#,
        r#"[{"name":"a","labels":[],"sinks":["Write"],"to":[],"verdict":"deny"}]"#,
        r#"[{"name":"a","labels":[],"sinks":[],"to":["tool:t(uses=1)"],"verdict":"deny"}]"#,
        r#"[{"name":"a","labels":[],"sinks":[],"verdict":"deny"}]"#,
    ] {
        assert!(serde_json::from_str::<Policy>(wrong).is_err(), "{wrong}");
    }
}

const LABELS: [&str; 6] = ["untrusted:web", "untrusted:mail", "secret:stripe", "secret:a:b", "x", "x:y"];
const PATTERNS: [&str; 10] = [
    "untrusted:**",
    "untrusted:web",
    "untrusted:*",
    "secret:**",
    "secret:stripe",
    "secret:a:*",
    "**",
    "x",
    "x:**",
    "*:y",
];
const CALLS: [&str; 10] = [
    "tool:**",
    "tool:t",
    "tool:t.*",
    "tool:t.**",
    "tool:t(host=a.com)",
    "tool:t.*(host={a.com,b.com})",
    "tool:t(hours=00:00..12:00)",
    "tool:*(hours=09:00..17:00)",
    "event:emit",
    "tool:t(n=1..3)",
];

fn rules() -> impl Strategy<Value = Vec<FlowRule>> {
    fn some<T: FromStr<Err: Debug> + Clone + Debug>(
        of: &'static [&'static str],
    ) -> impl Strategy<Value = Vec<T>> {
        let parsed = |texts: Vec<&str>| {
            texts.into_iter().map(|text| text.parse().expect("it is written so")).collect()
        };
        prop_oneof![1 => Just(Vec::new()), 3 => subsequence(of, 1..=2).prop_map(parsed)]
    }
    let one = (some(&PATTERNS), subsequence(Sink::ALL, 0..=3), some(&CALLS), select(Verdict::ALL));
    prop::collection::vec(one, 0..7).prop_map(|rules| {
        let numbered = rules.into_iter().enumerate();
        let rule = |(i, (labels, sinks, to, verdict))| FlowRule {
            name: name(&format!("rule-{i}")),
            labels,
            sinks,
            to,
            verdict,
        };
        numbered.map(rule).collect()
    })
}

#[derive(Clone, Debug)]
struct Asked {
    labels: Vec<Label>,
    sink: Sink,
    resource: &'static str,
    action: &'static str,
    hosts: Vec<&'static str>,
    n: Option<u64>,
    at: Timestamp,
}

impl Asked {
    fn with<R>(&self, ask: impl FnOnce(&Request<'_>) -> R) -> R {
        let mut arguments: Vec<_> = self.hosts.iter().map(|host| ("host", Argument::Host(host))).collect();
        arguments.extend(self.n.map(|n| ("n", Argument::Number(n))));
        ask(&Request { resource: self.resource, action: self.action, arguments: &arguments })
    }

    fn decided_by(&self, policy: &Policy) -> Verdict {
        self.with(|request| policy.decide(&self.labels, self.sink, request, self.at))
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    let labels = subsequence(&LABELS[..], 0..=3)
        .prop_map(|labels| labels.into_iter().map(|label| Label::new(label).expect("a label")).collect());
    let hosts = subsequence(&["a.com", "b.com", "c.com"][..], 0..=2);
    let call = (select(&["tool", "event"][..]), select(&["t", "t.a", "t.a.b", "emit"][..]));
    (labels, select(Sink::ALL), call, hosts, prop::option::of(0_u64..5), 0_i64..24).prop_map(
        |(labels, sink, (resource, action), hosts, n, hour)| {
            let at = Timestamp(hour * 3_600_000_000);
            Asked { labels, sink, resource, action, hosts, n, at }
        },
    )
}

/// One label and one call of a rule.
struct Part<'a> {
    label: Option<&'a LabelPattern>,
    sinks: &'a [Sink],
    to: &'a Capability,
    verdict: Verdict,
    own: bool,
}

impl Part<'_> {
    fn within(&self, other: &Self) -> bool {
        let labels = match (other.label, self.label) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(outer), Some(inner)) => outer.covers(inner),
        };
        labels && other.to.covers(self.to)
    }

    fn at_sinks_of(&self, other: &Self) -> bool {
        self.sinks.iter().all(|sink| other.sinks.contains(sink))
    }

    fn yields_to(&self, other: &Self) -> bool {
        match (self.own, other.own) {
            (false, true) => other.within(self),
            (true, false) => false,
            _ => {
                other.within(self)
                    && other.at_sinks_of(self)
                    && !(self.within(other) && self.at_sinks_of(other))
            }
        }
    }
}

/// What `docs/policy.md` says, word by word.
fn reference(rules: &[FlowRule], asked: &Asked) -> Verdict {
    let built_in = Policy::built_in();
    let all = [Capability::all()];
    let mut parts = Vec::new();
    for (rule, own) in built_in.iter().map(|r| (r, false)).chain(rules.iter().map(|r| (r, true))) {
        let labels: Vec<_> = match &rule.labels[..] {
            [] => vec![None],
            some => some.iter().map(Some).collect(),
        };
        let sinks = if rule.sinks.is_empty() { Sink::ALL } else { &rule.sinks };
        let calls = if rule.to.is_empty() { &all[..] } else { &rule.to };
        for label in labels {
            parts.extend(calls.iter().map(|to| Part { label, sinks, to, verdict: rule.verdict, own }));
        }
    }
    let judge = |label: Option<&Label>| {
        let is_about = |part: &&Part<'_>| {
            part.label.is_none_or(|pattern| label.is_some_and(|label| pattern.matches(label)))
                && part.sinks.contains(&asked.sink)
                && asked.with(|request| part.to.allows_at(request, asked.at))
        };
        let about: Vec<_> = parts.iter().filter(is_about).collect();
        let left = about.iter().filter(|one| !about.iter().any(|other| one.yields_to(other)));
        left.map(|part| part.verdict).max().unwrap_or(Verdict::Allow)
    };
    asked.labels.iter().map(Some).chain([None]).map(judge).max().unwrap_or(Verdict::Allow)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn it_says_what_the_words_say_in_any_order(
        rules in rules(), order in prop::collection::vec(any::<u32>(), 7), asked in prop::collection::vec(asked(), 8)
    ) {
        let policy = Policy::new(rules.iter().cloned()).expect("few rules with names of their own");
        let mut shuffled: Vec<_> = rules.iter().cloned().zip(&order).collect();
        shuffled.sort_by_key(|(_, at)| **at);
        let other = Policy::new(shuffled.into_iter().map(|(rule, _)| rule)).expect("the same rules");
        prop_assert_eq!(rmp_serde::to_vec(&policy).ok(), rmp_serde::to_vec(&other).ok());
        for asked in asked {
            let verdict = asked.decided_by(&policy);
            prop_assert_eq!(verdict, reference(&rules, &asked), "{:?}", asked);
            prop_assert_eq!(verdict, asked.decided_by(&other));
            let fewer = Asked { labels: asked.labels[..asked.labels.len() / 2].to_vec(), ..asked.clone() };
            prop_assert!(fewer.decided_by(&policy) <= verdict, "a label more makes nothing milder");
        }
    }

    #[test]
    fn it_explains_what_it_decides(rules in rules(), asked in prop::collection::vec(asked(), 8)) {
        let policy = Policy::new(rules.iter().cloned()).expect("few rules");
        for asked in asked {
            let said = asked.with(|request| policy.explain(&asked.labels, asked.sink, request, asked.at));
            prop_assert_eq!(said.verdict, asked.decided_by(&policy));
            prop_assert_eq!(Some(said.verdict), said.reasons.iter().map(|reason| reason.verdict).max());
            match said.way_out {
                WayOut::None => prop_assert_eq!(said.verdict, Verdict::Allow),
                WayOut::Add(added) => {
                    let with = Policy::new(rules.iter().cloned().chain(added)).expect("one or two rules more");
                    prop_assert_eq!(asked.decided_by(&with), Verdict::Allow);
                }
                WayOut::Change(names) => prop_assert!(!names.is_empty() && said.verdict != Verdict::Allow),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn what_is_found_to_do_nothing_does_nothing(rules in rules(), asked in prop::collection::vec(asked(), 32)) {
        let policy = Policy::new(rules.iter().cloned()).expect("few rules");
        for finding in policy.check() {
            prop_assert!(finding.fault != Fault::Tangled);
            if finding.part.is_some() || matches!(finding.fault, Fault::Contradictory { .. }) {
                continue;
            }
            let rest = rules.iter().filter(|rule| rule.name != finding.rule).cloned();
            let without = Policy::new(rest).expect("fewer rules");
            for asked in &asked {
                prop_assert_eq!(asked.decided_by(&policy), asked.decided_by(&without), "{}: {:?}", finding, asked);
            }
        }
    }
}

/// The facts in `fuzz/seeds/policy`, which are golden: they are read for ever.
const SEEDS: [(&str, &[&str]); 4] = [
    ("none", &[]),
    (
        "secrets",
        &["stripe secret:stripe external tool:stripe.**(host=api.stripe.com);tool:pay(n=1..3) allow"],
    ),
    (
        "calls",
        &["shell - - tool:shell.** ask", "night - write,external tool:mail.**(hours=00:00..06:00) deny"],
    ),
    (
        "overlaps",
        &[
            "a x,untrusted:* external - ask",
            "b - external tool:t deny",
            "c x external tool:t deny",
            "d ** none - allow",
        ],
    ),
];

#[test]
fn no_bytes_of_a_stranger_make_a_policy_panic() {
    let directory = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/policy");
    let seeds = SEEDS.map(|(file, rules)| {
        let bytes = std::fs::read(directory.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(rmp_serde::from_slice::<Policy>(&bytes).expect("golden facts"), policy(rules), "{file}");
        assert_eq!(rmp_serde::to_vec_named(&policy(rules)).expect("plain data"), bytes, "{file}");
        toka_kernel::testing::policy(&bytes);
        bytes
    });
    // One to three bytes of a seed are others.
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) };
    let run =
        prop::test_runner::TestRunner::new(config).run(&(0..SEEDS.len(), changes), |(seed, changes)| {
            let mut bytes = seeds[seed].clone();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            toka_kernel::testing::policy(&bytes);
            Ok(())
        });
    run.unwrap_or_else(|failed| panic!("{failed}"));
}
