//! Rules that do nothing, and rules that contradict each other.
//!
//! What a policy says about a place (a label or none, a sink, a call) depends on nothing but which parts are about it. Each
//! such set of parts is that of an intersection of some of them: so looking at all intersections is looking
//! at everything that can happen. (But for places that several rules share out among them, as one with hours of the
//! night and one with hours of the day: what is found then is still true, but some of it may be missed.)

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use toka_types::{Capability, LabelPattern, Name, Sink, Verdict};

use super::explain::listed;
use super::{Bits, Part, Policy};

/// Most intersections that are looked at; each is compared with every part.
const MAX_REGIONS: usize = 2_000;

/// Something in a policy that does nothing, or not what it seems to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule it is about.
    pub rule: Name,
    /// Which part of the rule; `None`: all of it.
    pub part: Option<String>,
    /// What is wrong.
    #[serde(flatten)]
    pub fault: Fault,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// Without it everything would be decided the same.
    Inert {
        /// The rules that say the same about all that it is about.
        like: Vec<Name>,
    },
    /// It decides nowhere: wherever it is about something, it yields to one of these.
    Shadowed {
        /// The more specific rules.
        by: Vec<Name>,
    },
    /// It and another rule say different things about the same place, and neither is more specific.
    Contradictory {
        /// The other rule.
        with: Name,
        /// A place that both are about.
        place: String,
        /// What holds there: the stricter of both.
        holds: Verdict,
    },
    /// The rules overlap in too many ways to look at all of them.
    Tangled,
}

/// A place: a label or none, and a call.
type Region = (Option<LabelPattern>, Capability);

/// What was seen of one part.
#[derive(Clone, Default)]
struct Seen {
    /// It decided somewhere.
    left: bool,
    /// Without it something would be decided differently, or others would contradict each other.
    needed: bool,
    /// Those it yields to.
    yields_to: Bits,
    /// Those that say the same about all that it is about.
    like: Bits,
}

impl Policy {
    /// Finds the rules of its own that do nothing, and those that contradict each other, in the order of their names.
    pub fn check(&self) -> Vec<Finding> {
        let own = |part: &usize| !self.parts[*part].built_in;
        let mut seen = vec![Seen::default(); self.parts.len()];
        let mut findings: Vec<Finding> = Vec::new();
        let mut contradictions: BTreeSet<(usize, usize)> = BTreeSet::new();
        let mut told: BTreeSet<(&Name, &Name)> = BTreeSet::new();
        let mut whole = true;
        for (sink, here) in self.of_sink.iter().enumerate() {
            let (regions, all) = self.regions(*here);
            whole &= all;
            for region in &regions {
                let matched = self.matched(region, *here);
                let call = self.matched(&(None, region.1.clone()), *here);
                let total = |without: Option<usize>| {
                    let mut gone = Bits::default();
                    without.into_iter().for_each(|part| gone.insert(part));
                    self.judge(matched.without(gone)).max(self.judge(call.without(gone)))
                };
                let (left, holds) = (self.left(matched), total(None));
                let settled = |part: usize| {
                    let mut alone = Bits::default();
                    alone.insert(part);
                    self.agree(left) && !self.agree(self.left(matched.without(alone)))
                };
                for part in matched.iter().filter(own) {
                    let seen = &mut seen[part];
                    seen.needed |= total(Some(part)) != holds || settled(part);
                    if left.has(part) {
                        seen.left = true;
                        let own = &self.parts[part];
                        if (&own.label, &own.to) == (&region.0, &region.1) {
                            let mut alone = Bits::default();
                            alone.insert(part);
                            let instead = self.left(matched.without(alone)).iter();
                            instead
                                .filter(|other| self.says_same(*other, part))
                                .for_each(|other| seen.like.insert(other));
                        }
                    } else {
                        let over = left.iter().filter(|other| self.yielding[*other].has(part));
                        over.for_each(|other| seen.yields_to.insert(other));
                    }
                }
                for one in left.iter().filter(own) {
                    for other in left.iter().filter(own).filter(|other| *other > one) {
                        let (a, b) = (&self.parts[one], &self.parts[other]);
                        if a.verdict != b.verdict && a.rule != b.rule && contradictions.insert((one, other)) {
                            if !told.insert((&a.rule, &b.rule)) {
                                continue;
                            }
                            let fault = Fault::Contradictory {
                                with: b.rule.clone(),
                                place: place(region, Sink::ALL[sink]),
                                holds: a.verdict.max(b.verdict),
                            };
                            findings.push(Finding { rule: a.rule.clone(), part: None, fault });
                        }
                    }
                }
            }
        }
        for rule in &self.rules {
            let of: Vec<usize> = (0..self.parts.len()).filter(|i| self.parts[*i].rule == rule.name).collect();
            if !whole {
                break;
            }
            let idle: Vec<usize> = of.iter().copied().filter(|part| !seen[*part].needed).collect();
            let alone = idle.len() == of.len() && self.does_nothing(&of);
            let mut faults: Vec<(Option<String>, Fault)> = Vec::new();
            for part in idle {
                let name = |parts: Bits| {
                    let mut names: Vec<Name> = parts.iter().map(|i| self.parts[i].rule.clone()).collect();
                    names.sort();
                    names.dedup();
                    names
                };
                let seen = &seen[part];
                let fault = match seen.left {
                    true => Fault::Inert { like: name(seen.like) },
                    false => Fault::Shadowed { by: name(seen.yields_to) },
                };
                faults.push(((!alone).then(|| self.parts[part].to_string()), fault));
            }
            // A rule all of whose parts do nothing for one reason is named once.
            faults.dedup();
            let faults = faults.into_iter();
            findings.extend(faults.map(|(part, fault)| Finding { rule: rule.name.clone(), part, fault }));
        }
        if !whole && let Some(rule) = self.rules.first() {
            findings.push(Finding { rule: rule.name.clone(), part: None, fault: Fault::Tangled });
        }
        findings.sort_by(|a, b| a.rule.cmp(&b.rule));
        findings
    }

    /// The intersections of the parts of `here`, and whether they are all of them.
    fn regions(&self, here: Bits) -> (Vec<Region>, bool) {
        let parts: Vec<Region> =
            here.iter().map(|i| (self.parts[i].label.clone(), self.parts[i].to.clone())).collect();
        let mut known: BTreeSet<Region> = parts.iter().cloned().collect();
        let mut regions: Vec<Region> = known.iter().cloned().collect();
        let (mut next, mut all) = (0, true);
        while next < regions.len() {
            for part in &parts {
                let (label, to) = &regions[next];
                let label = match (label, &part.0) {
                    (None, one) | (one, None) => one.clone(),
                    (Some(ours), Some(theirs)) => match ours.intersect(theirs) {
                        Some(both) => Some(both),
                        None => continue,
                    },
                };
                let to = match to.intersect(&part.1) {
                    Ok(Some(both)) => both,
                    Ok(None) => continue,
                    Err(_) => {
                        all = false;
                        continue;
                    }
                };
                if known.insert((label.clone(), to.clone())) {
                    if regions.len() == MAX_REGIONS {
                        return (regions, false);
                    }
                    regions.push((label, to));
                }
            }
            next += 1;
        }
        (regions, all)
    }

    /// The parts of `here` that are about all of the region.
    fn matched(&self, (label, to): &Region, here: Bits) -> Bits {
        let mut matched = Bits::default();
        for i in here.iter() {
            let part = &self.parts[i];
            let labels = match (&part.label, label) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(ours), Some(theirs)) => ours.covers(theirs),
            };
            if labels && part.to.covers(to) {
                matched.insert(i);
            }
        }
        matched
    }

    /// True if all of its own parts among these say the same.
    fn agree(&self, left: Bits) -> bool {
        let mut said =
            left.iter().map(|i| &self.parts[i]).filter(|part| !part.built_in).map(|part| part.verdict);
        let first = said.next();
        said.all(|verdict| Some(verdict) == first)
    }

    fn says_same(&self, one: usize, other: usize) -> bool {
        self.parts[one].verdict == self.parts[other].verdict
    }

    /// True if everything is decided the same without all of these parts.
    fn does_nothing(&self, parts: &[usize]) -> bool {
        let mut gone = Bits::default();
        parts.iter().for_each(|part| gone.insert(*part));
        self.of_sink.iter().all(|here| {
            self.regions(*here).0.iter().all(|region| {
                let matched = self.matched(region, *here);
                let call = self.matched(&(None, region.1.clone()), *here);
                let with = self.judge(matched).max(self.judge(call));
                with == self.judge(matched.without(gone)).max(self.judge(call.without(gone)))
            })
        })
    }
}

fn place((label, to): &Region, sink: Sink) -> String {
    let of = label.as_ref().map(|label| format!("label {label}, ")).unwrap_or_default();
    format!("{of}sink {sink}, call {to}")
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(label) = &self.label {
            write!(f, "label {label}, ")?;
        }
        write!(f, "call {}", self.to)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, part, fault } = self;
        write!(f, "rule '{rule}'")?;
        if let Some(part) = part {
            write!(f, " ({part})")?;
        }
        match fault {
            Fault::Inert { like } if like.is_empty() => {
                f.write_str(" does nothing: everything would be decided the same without it")
            }
            Fault::Inert { like } => write!(f, " does nothing: what it says is said by {}", listed(like)),
            Fault::Shadowed { by } => {
                write!(f, " decides nothing: it always yields to the more specific {}", listed(by))
            }
            Fault::Contradictory { with, place, holds } => write!(
                f,
                " contradicts '{with}' at {place}: neither is more specific, so the stricter one holds, {holds}; a rule \
                 about that place alone would settle it"
            ),
            Fault::Tangled => write!(
                f,
                " and others overlap in more than {MAX_REGIONS} ways, so not all of it was looked at; use fewer or wider patterns"
            ),
        }
    }
}
