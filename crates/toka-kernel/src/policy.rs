//! Flow policy: what holds where labelled data reaches a sink.
//!
//! A [`Policy`] is a set of [`FlowRule`]s beside [those that are always there](Policy::built_in). It says of a call what
//! may become of it, by what labels its data has, what kind of [`Sink`] it is and what is called:
//!
//! - Each label is judged by itself, and so is the call without regard to labels; of all that, the strictest holds. So a
//!   label more never makes anything milder.
//! - A label is judged by the most specific rules about it: a rule yields to one that is about a part of what it is
//!   about. Of several that are left the strictest holds, and nothing but rules that are left over counts. Where no rule is,
//!   the call is allowed.
//! - The built-in rules yield to a rule about the same labels and calls or a part of them, at whatever sinks, and no rule
//!   ever yields to them.
//!
//! Nothing of this depends on the order of rules. [`Policy::decide`] allocates nothing; [`Policy::explain`] says which rules
//! decided and what would have been needed, and [`Policy::check`] finds rules that do nothing.

mod check;
mod explain;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toka_types::capability::Request;
use toka_types::{Capability, FlowRule, Label, LabelPattern, Name, Sink, Timestamp, Verdict};

pub use check::{Fault, Finding};
pub use explain::{Explanation, Reason, WayOut};

/// Most parts of a policy, the built-in ones included: a rule has one for each of its labels and calls.
pub const MAX_PARTS: usize = 256;
/// How the names of built-in rules begin.
pub const BUILT_IN: &str = "default/";

/// A flow policy. Equal policies have the same rules; as facts it is the list of them, by name.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its own rules, each in its normal form, by name.
    rules: Vec<FlowRule>,
    /// The parts of all rules, the built-in ones first.
    parts: Vec<Part>,
    /// The parts about each sink.
    of_sink: [Bits; 3],
    /// The parts about the call itself.
    unlabelled: Bits,
    /// The parts about one label each, by label.
    exact: Vec<(LabelPattern, Bits)>,
    /// The parts about what begins with some segments, by those.
    beginning: Vec<(Box<str>, Bits)>,
    /// The parts about other patterns of labels.
    labelled: Vec<(LabelPattern, Bits)>,
    /// The parts about all calls.
    everywhere: Bits,
    /// The parts about each capability that is not all.
    targeted: Vec<(Capability, Bits)>,
    /// For each part, which of those capabilities is its own.
    target: Vec<usize>,
    /// For each part, those that yield to it.
    yielding: Vec<Bits>,
    asking: Bits,
    denying: Bits,
}

/// One label pattern and one capability of a rule.
#[derive(Clone, Debug)]
struct Part {
    rule: Name,
    label: Option<LabelPattern>,
    /// Which sinks, by their place in [`Sink::ALL`].
    sinks: [bool; 3],
    to: Capability,
    verdict: Verdict,
    built_in: bool,
}

/// What keeps rules from being a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Two rules have one name.
    #[error("two rules are named '{name}'; give each a name of its own")]
    SameName {
        /// The name.
        name: Name,
    },
    /// The name is a built-in rule's.
    #[error(
        "the rule '{name}' is named like a built-in one; choose a name that does not begin with '{BUILT_IN}'"
    )]
    BuiltIn {
        /// The name.
        name: Name,
    },
    /// A rule is about a call only so many times.
    #[error("the rule '{name}' is about '{to}'; leave 'rate' and 'uses' out, since a policy counts nothing")]
    Limited {
        /// The rule.
        name: Name,
        /// The capability with a limit.
        to: Box<Capability>,
    },
    /// There are too many.
    #[error("{count} labels and calls in all rules; at most {MAX_PARTS} are allowed, so use wider patterns")]
    TooMany {
        /// How many there are.
        count: usize,
    },
}

/// A set of parts, by their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bits([u64; MAX_PARTS / 64]);

impl Bits {
    fn insert(&mut self, part: usize) {
        self.0[part / 64] |= 1 << (part % 64);
    }

    fn has(&self, part: usize) -> bool {
        self.0[part / 64] >> (part % 64) & 1 == 1
    }

    fn is_empty(&self) -> bool {
        self.0 == [0; MAX_PARTS / 64]
    }

    fn and(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] & other.0[i]))
    }

    fn or(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    fn without(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] & !other.0[i]))
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(i, mut word)| {
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(i * 64 + bit)
            })
        })
    }
}

impl Policy {
    /// The policy of these rules and of the built-in ones.
    ///
    /// # Errors
    /// [`PolicyError`] names the rule that is wrong.
    pub fn new(rules: impl IntoIterator<Item = FlowRule>) -> Result<Self, PolicyError> {
        let mut own: Vec<FlowRule> = rules.into_iter().map(normal).collect();
        own.sort();
        for (i, rule) in own.iter().enumerate() {
            if i > 0 && own[i - 1].name == rule.name {
                return Err(PolicyError::SameName { name: rule.name.clone() });
            }
            if rule.name.as_str().starts_with(BUILT_IN) {
                return Err(PolicyError::BuiltIn { name: rule.name.clone() });
            }
            if let Some(to) = rule.to.iter().find(|to| !to.limits().is_none()) {
                return Err(PolicyError::Limited { name: rule.name.clone(), to: Box::new(to.clone()) });
            }
        }
        let of = |rule: &FlowRule| rule.labels.len().max(1).saturating_mul(rule.to.len().max(1));
        let count = Self::built_in().iter().chain(&own).map(of).fold(0_usize, usize::saturating_add);
        if count > MAX_PARTS {
            return Err(PolicyError::TooMany { count });
        }
        let mut parts: Vec<Part> = Self::built_in().iter().flat_map(|rule| parts(rule, true)).collect();
        parts.extend(own.iter().flat_map(|rule| self::parts(rule, false)));
        Ok(Self::compiled(own, parts))
    }

    /// The rules that are always there: untrusted data that reaches something that stays, or somebody outside, is asked
    /// about, and secrets reach neither. What may have a secret has a rule of its own.
    pub fn built_in() -> [FlowRule; 2] {
        let rule = |name: &str, labels: &str, verdict| FlowRule {
            name: Name::new(name).expect("a name"),
            labels: vec![labels.parse().expect("a pattern")],
            sinks: vec![Sink::Write, Sink::External],
            to: Vec::new(),
            verdict,
        };
        [
            rule("default/untrusted", "untrusted:**", Verdict::Ask),
            rule("default/secret", "secret:**", Verdict::Deny),
        ]
    }

    /// Its own rules, by name.
    pub fn rules(&self) -> &[FlowRule] {
        &self.rules
    }

    /// Says what becomes of `request`, whose data has `labels`, at `at`. `labels` may repeat some: those of several
    /// causes, one after another, need not be joined. Allocates nothing.
    pub fn decide<'l>(
        &self,
        labels: impl IntoIterator<Item = &'l Label>,
        sink: Sink,
        request: &Request<'_>,
        at: Timestamp,
    ) -> Verdict {
        let here = self.of_sink[sink as usize];
        if here.is_empty() {
            return Verdict::Allow;
        }
        let mut call = Call { request, at, tested: self.everywhere, reached: self.everywhere };
        let own = self.reached(here.and(self.unlabelled), &mut call);
        let mut verdict = self.judge(own);
        for label in labels {
            if verdict == Verdict::Deny {
                break;
            }
            let about = self.about(label).and(here);
            if !about.is_empty() {
                verdict = verdict.max(self.judge(own.or(self.reached(about, &mut call))));
            }
        }
        verdict
    }

    /// Those of `parts` that are about the call, which is compared with each capability once at most.
    fn reached(&self, parts: Bits, call: &mut Call<'_>) -> Bits {
        let mut open = parts.without(call.tested);
        while let Some(part) = open.iter().next() {
            let (to, same) = &self.targeted[self.target[part]];
            if to.allows_at(call.request, call.at) {
                call.reached = call.reached.or(*same);
            }
            call.tested = call.tested.or(*same);
            open = open.without(*same);
        }
        parts.and(call.reached)
    }

    /// The parts about `label`, without those about the call itself.
    fn about(&self, label: &Label) -> Bits {
        let mut about = Bits::default();
        if let Ok(at) = self.exact.binary_search_by(|(one, _)| one.as_str().cmp(label.as_str())) {
            about = self.exact[at].1;
        }
        for (start, parts) in &self.beginning {
            let rest = label.as_str().strip_prefix(&**start);
            if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':')) {
                about = about.or(*parts);
            }
        }
        for (pattern, parts) in &self.labelled {
            if pattern.matches(label) {
                about = about.or(*parts);
            }
        }
        about
    }

    /// Those of `matched` that yield to no other of them.
    fn left(&self, matched: Bits) -> Bits {
        matched.without(matched.iter().fold(Bits::default(), |all, part| all.or(self.yielding[part])))
    }

    fn judge(&self, matched: Bits) -> Verdict {
        if matched.and(self.asking.or(self.denying)).is_empty() {
            return Verdict::Allow;
        }
        let left = self.left(matched);
        if !left.and(self.denying).is_empty() {
            Verdict::Deny
        } else if !left.and(self.asking).is_empty() {
            Verdict::Ask
        } else {
            Verdict::Allow
        }
    }

    fn compiled(rules: Vec<FlowRule>, parts: Vec<Part>) -> Self {
        let mut policy = Self {
            rules,
            of_sink: [Bits::default(); 3],
            unlabelled: Bits::default(),
            exact: Vec::new(),
            beginning: Vec::new(),
            labelled: Vec::new(),
            everywhere: Bits::default(),
            targeted: Vec::new(),
            target: vec![0; parts.len()],
            yielding: vec![Bits::default(); parts.len()],
            asking: Bits::default(),
            denying: Bits::default(),
            parts,
        };
        let all = Capability::all();
        for (i, part) in policy.parts.iter().enumerate() {
            for (sink, bits) in policy.of_sink.iter_mut().enumerate() {
                if part.sinks[sink] {
                    bits.insert(i);
                }
            }
            match &part.label {
                None => policy.unlabelled.insert(i),
                Some(label) => match label.as_str().strip_suffix(":**") {
                    Some(start) if !start.contains('*') => {
                        insert(&mut policy.beginning, &start.into(), i);
                    }
                    None if !label.as_str().contains('*') => {
                        insert(&mut policy.exact, label, i);
                    }
                    _ => {
                        insert(&mut policy.labelled, label, i);
                    }
                },
            }
            if part.to == all {
                policy.everywhere.insert(i);
            } else {
                policy.target[i] = insert(&mut policy.targeted, &part.to, i);
            }
            match part.verdict {
                Verdict::Allow => {}
                Verdict::Ask => policy.asking.insert(i),
                Verdict::Deny => policy.denying.insert(i),
            }
            for (j, other) in policy.parts.iter().enumerate() {
                if other.yields_to(part) {
                    policy.yielding[i].insert(j);
                }
            }
        }
        policy.exact.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        policy
    }
}

/// A call, and the parts that are known to be about it or not.
struct Call<'r> {
    request: &'r Request<'r>,
    at: Timestamp,
    /// The parts whose capability was compared with it.
    tested: Bits,
    /// Those of them that allow it.
    reached: Bits,
}

impl Part {
    /// True if it is about all labels and all calls that `other` is about.
    fn covers(&self, other: &Self) -> bool {
        let labels = match (&self.label, &other.label) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => ours.covers(theirs),
        };
        labels && self.to.covers(&other.to)
    }

    /// True if it is about all sinks that `other` is about.
    fn covers_sinks(&self, other: &Self) -> bool {
        self.sinks.iter().zip(&other.sinks).all(|(ours, theirs)| *ours || !*theirs)
    }

    fn yields_to(&self, other: &Self) -> bool {
        match (self.built_in, other.built_in) {
            // Who names a label need not know at which sinks there is a built-in rule about it.
            (true, false) => self.covers(other),
            (false, true) => false,
            _ => {
                let within = self.covers(other) && self.covers_sinks(other);
                within && !(other.covers(self) && other.covers_sinks(self))
            }
        }
    }
}

impl Default for Policy {
    /// The built-in rules alone.
    fn default() -> Self {
        Self::new([]).expect("the built-in rules are a policy")
    }
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
    }
}

impl Eq for Policy {}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rules.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::<FlowRule>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The rule with its lists in order, each element once, and empty where they name all that there is.
fn normal(mut rule: FlowRule) -> FlowRule {
    rule.labels.sort();
    rule.labels.dedup();
    rule.sinks.sort();
    rule.sinks.dedup();
    if rule.sinks == Sink::ALL {
        rule.sinks.clear();
    }
    rule.to.sort();
    rule.to.dedup();
    if rule.to.contains(&Capability::all()) {
        rule.to.clear();
    }
    rule
}

fn parts(rule: &FlowRule, built_in: bool) -> Vec<Part> {
    let labels: Vec<Option<LabelPattern>> = match &rule.labels[..] {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    let all = [Capability::all()];
    let to = if rule.to.is_empty() { &all[..] } else { &rule.to };
    let sinks = std::array::from_fn(|i| rule.sinks.is_empty() || rule.sinks.contains(&Sink::ALL[i]));
    let mut parts = Vec::with_capacity(labels.len() * to.len());
    for label in labels {
        parts.extend(to.iter().map(|to| Part {
            rule: rule.name.clone(),
            label: label.clone(),
            sinks,
            to: to.clone(),
            verdict: rule.verdict,
            built_in,
        }));
    }
    parts
}

/// Adds `part` to those that are listed under `key`, and says where they are.
fn insert<K: Clone + PartialEq>(listed: &mut Vec<(K, Bits)>, key: &K, part: usize) -> usize {
    let at = match listed.iter().position(|(known, _)| known == key) {
        Some(at) => at,
        None => {
            listed.push((key.clone(), Bits::default()));
            listed.len() - 1
        }
    };
    listed[at].1.insert(part);
    at
}
