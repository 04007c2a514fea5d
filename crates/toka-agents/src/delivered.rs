//! What was delivered to a context: the causes of all that is done in it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use toka_toolkit_core::labelled::Sources;
use toka_types::label::MAX_LABELS;
use toka_types::operation::Cause;
use toka_types::record::MAX_PARENTS;
use toka_types::{Label, Labels};

/// So many causes are named one by one; of what is delivered after them, that which brings a label. A context that
/// reads thousands of files names no thousand causes.
const NAMED: usize = 8;

/// The events whose data whoever works in a context may have used. It only grows.
#[derive(Debug, Default)]
pub struct Delivered {
    first: usize,
    all: Mutex<Vec<Cause>>,
    untrusted: AtomicBool,
}

impl Delivered {
    /// What the context was made because of.
    pub fn new(causes: Vec<Cause>) -> Self {
        Self { first: causes.len(), all: Mutex::new(causes), untrusted: AtomicBool::new(false) }
    }

    /// What the context was made because of.
    pub fn first(&self) -> Vec<Cause> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)[..self.first].to_vec()
    }

    /// True if anything that was handed out since is untrusted, also where it is not named since its labels were there.
    pub fn handed_untrusted(&self) -> bool {
        self.untrusted.load(Ordering::Acquire)
    }

    /// Adds an event that was handed out.
    pub fn add(&self, cause: Cause) {
        if cause.labels.is_untrusted() {
            self.untrusted.store(true, Ordering::Release);
        }
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if join_known(&mut all, &cause) {
            return;
        }
        let brings_a_label = cause.labels.iter().any(|label| !is_among(label, &all));
        if if brings_a_label { count(&all) <= MAX_LABELS } else { all.len() < NAMED } {
            all.push(cause);
        }
    }

    /// All of them, with what is named beside them.
    pub fn with(&self, named: &[Cause]) -> Vec<Cause> {
        let delivered = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = delivered.clone();
        for cause in named {
            if !join_known(&mut all, cause) {
                all.push(cause.clone());
            }
        }
        if all.len() > MAX_PARENTS {
            // What brings no label was named for the sake of whoever looks for the reason.
            let named = |cause: &Cause| named.iter().any(|other| other.id == cause.id);
            all.retain(|cause| named(cause) || !cause.labels.is_empty());
        }
        all
    }
}

impl Sources for Delivered {
    fn causes(&self) -> Vec<Cause> {
        self.with(&[])
    }

    fn learn(&self, causes: Vec<Cause>) {
        causes.into_iter().for_each(|cause| self.add(cause));
    }
}

/// Adds the labels of an event that is among `all`; false if it is not.
fn join_known(all: &mut Vec<Cause>, cause: &Cause) -> bool {
    let Some(known) = all.iter_mut().find(|known| known.id == cause.id) else { return false };
    match known.labels.join(&cause.labels) {
        Ok(labels) => known.labels = labels,
        // Nothing can be done any more because of so many; both stay, and the kernel refuses.
        Err(_) => all.push(cause.clone()),
    }
    true
}

fn is_among(label: &Label, causes: &[Cause]) -> bool {
    causes.iter().any(|cause| cause.labels.contains(label.as_str()))
}

/// How many different labels they have, as far as that matters.
fn count(causes: &[Cause]) -> usize {
    let joined = causes.iter().try_fold(Labels::none(), |all, cause| all.join(&cause.labels));
    joined.map_or(MAX_LABELS + 1, |joined| joined.len())
}

#[cfg(test)]
mod tests {
    use toka_types::{Digest, EventId};

    use super::*;

    fn cause(n: usize, labels: &[&str]) -> Cause {
        let labels = Labels::parse(labels).expect("labels");
        Cause { id: EventId(Digest::of(&n.to_le_bytes())), labels }
    }

    fn labels(causes: &[Cause]) -> Vec<&str> {
        let mut all: Vec<&str> = causes.iter().flat_map(|c| c.labels.iter().map(Label::as_str)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn it_only_grows_and_stays_small() {
        let delivered = Delivered::new(vec![cause(0, &[])]);
        for n in 1..5_000 {
            delivered.add(cause(n, &["untrusted:file"]));
        }
        delivered.add(cause(5_000, &["secret:key"]));
        let all = delivered.with(&[]);
        assert_eq!(all.len(), NAMED + 1, "the first ones, and the one that brings a label");
        assert_eq!(labels(&all), ["secret:key", "untrusted:file"]);
        // Named with fewer labels than it has, an event has them all the same.
        assert_eq!(labels(&delivered.with(&[cause(1, &[])])), ["secret:key", "untrusted:file"]);
        assert_eq!(labels(&delivered.with(&[cause(1, &["x"]), cause(9_999, &["y"])])).len(), 4);
    }

    #[test]
    fn more_labels_than_an_event_may_have_are_not_forgotten() {
        let delivered = Delivered::default();
        for n in 0..2 * MAX_LABELS {
            delivered.add(cause(n, &[&format!("subject:{n}")]));
        }
        let all = delivered.with(&[]);
        assert!(labels(&all).len() > MAX_LABELS, "the kernel refuses so many");
        assert!(all.len() <= MAX_LABELS + 1);
    }
}
