//! Why a policy says what it says, by the same evaluation that decides.

use std::fmt;

use serde::Serialize;
use toka_types::capability::Request;
use toka_types::{Capability, FlowRule, Label, LabelPattern, Name, Sink, Timestamp, Verdict};

use super::{Bits, Call, Policy};

/// What a policy says about one call, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What becomes of the call.
    pub verdict: Verdict,
    /// What was judged: first the call itself, then each of its labels.
    pub reasons: Vec<Reason>,
    /// What would have allowed it.
    pub way_out: WayOut,
}

/// What is judged by itself, and by which rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The label; `None`: the call itself.
    pub label: Option<Label>,
    /// What the rules say about it. Of all reasons the strictest holds.
    pub verdict: Verdict,
    /// The rules that say so; none: no rule is about it.
    pub rules: Vec<Name>,
    /// The rules that are about it too, each with one that it yields to.
    pub yielding: Vec<(Name, Name)>,
}

/// What would allow a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WayOut {
    /// Nothing is needed.
    None,
    /// These rules beside the others, the narrowest that there are.
    Add(Vec<FlowRule>),
    /// No rule can be more specific than these: they have to change.
    Change(Vec<Name>),
}

impl Policy {
    /// Says what becomes of `request`, whose data has `labels`, at `at`: what [`Policy::decide`] says, and why.
    pub fn explain<'l>(
        &self,
        labels: impl IntoIterator<Item = &'l Label>,
        sink: Sink,
        request: &Request<'_>,
        at: Timestamp,
    ) -> Explanation {
        let mut labels: Vec<&Label> = labels.into_iter().collect();
        labels.sort();
        labels.dedup();
        let here = self.of_sink[sink as usize];
        let mut call = Call { request, at, tested: self.everywhere, reached: self.everywhere };
        let own = self.reached(here.and(self.unlabelled), &mut call);
        let mut reasons = vec![self.reason(None, own)];
        for label in &labels {
            let matched = own.or(self.reached(self.about(label).and(here), &mut call));
            reasons.push(self.reason(Some((*label).clone()), matched));
        }
        let verdict = reasons.iter().map(|reason| reason.verdict).max().unwrap_or(Verdict::Allow);
        let way_out = self.way_out(&reasons, &labels, sink, request, at);
        Explanation { verdict, reasons, way_out }
    }

    fn reason(&self, label: Option<Label>, matched: Bits) -> Reason {
        let left = self.left(matched);
        let verdict = self.judge(matched);
        let of = |parts: Bits| {
            let mut rules: Vec<Name> = parts.iter().map(|part| self.parts[part].rule.clone()).collect();
            rules.sort();
            rules.dedup();
            rules
        };
        let says = left.iter().filter(|part| self.parts[*part].verdict == verdict);
        let rules = of(says.fold(Bits::default(), |mut all, part| {
            all.insert(part);
            all
        }));
        let mut yielding: Vec<(Name, Name)> = Vec::new();
        for part in matched.without(left).iter() {
            let to = left.iter().find(|other| self.yielding[*other].has(part));
            if let Some(to) = to {
                yielding.push((self.parts[part].rule.clone(), self.parts[to].rule.clone()));
            }
        }
        yielding.sort();
        yielding.dedup();
        Reason { label, verdict, rules, yielding }
    }

    fn way_out(
        &self,
        reasons: &[Reason],
        labels: &[&Label],
        sink: Sink,
        request: &Request<'_>,
        at: Timestamp,
    ) -> WayOut {
        let refused: Vec<&Reason> = reasons.iter().filter(|r| r.verdict != Verdict::Allow).collect();
        if refused.is_empty() {
            return WayOut::None;
        }
        let to = Capability::narrowest(request);
        let rule = |name: &str, labels: Vec<LabelPattern>| FlowRule {
            name: self.free_name(name),
            labels,
            sinks: vec![sink],
            to: to.iter().cloned().collect(),
            verdict: Verdict::Allow,
        };
        let named: Vec<LabelPattern> =
            refused.iter().filter_map(|reason| reason.label.as_ref()).map(LabelPattern::only).collect();
        let of_call = refused.iter().any(|reason| reason.label.is_none());
        let of_call = of_call.then(|| rule("allow-call", Vec::new()));
        let of_labels = (!named.is_empty()).then(|| rule("allow-labels", named));
        // A rule about the call is about it with any label, so where it is needed it may do alone.
        let ways = [vec![&of_call], vec![&of_labels], vec![&of_call, &of_labels]];
        for way in ways {
            let added: Vec<FlowRule> = way.into_iter().flatten().cloned().collect();
            let with = Self::new(self.rules.iter().chain(&added).cloned());
            let allows =
                |policy: Self| policy.decide(labels.iter().copied(), sink, request, at) == Verdict::Allow;
            if !added.is_empty() && with.is_ok_and(allows) {
                return WayOut::Add(added);
            }
        }
        let mut rules: Vec<Name> = refused.iter().flat_map(|reason| reason.rules.clone()).collect();
        rules.sort();
        rules.dedup();
        WayOut::Change(rules)
    }

    /// The name, or with a number behind it the first that no rule has.
    fn free_name(&self, name: &str) -> Name {
        let numbered = |i: usize| if i == 1 { name.to_owned() } else { format!("{name}-{i}") };
        let free = |name: &String| !self.rules.iter().any(|rule| rule.name.as_str() == name);
        let name = (1..).map(numbered).find(free).expect("there are more names than rules");
        Name::new(&name).expect("letters, digits and '-'")
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.label {
            Some(label) => write!(f, "label {label}: {}", self.verdict)?,
            None => write!(f, "the call itself: {}", self.verdict)?,
        }
        match &self.rules[..] {
            [] => f.write_str(", no rule is about it")?,
            rules => write!(f, " by {}", listed(rules))?,
        }
        for (rule, to) in &self.yielding {
            write!(f, "; '{rule}' yields to '{to}'")?;
        }
        Ok(())
    }
}

/// The names in quotes, with commas.
pub(super) fn listed(names: &[Name]) -> String {
    names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}
