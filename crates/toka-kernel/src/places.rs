//! The labels of places: what is written from labelled data has its labels for whoever reads it later.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toka_types::{Digest, Labels};

use crate::limits::MAX_PLACES;

/// The labels of places. It is empty where nothing was ever written from labelled data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Places {
    labels: BTreeMap<Digest, Labels>,
    /// Those of all places that are too many to be told apart.
    others: Labels,
}

impl Places {
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.others.is_empty()
    }

    /// Data with these labels was written there.
    pub(crate) fn wrote(&mut self, places: &[Digest], labels: &Labels) {
        if labels.is_empty() {
            return;
        }
        for place in places {
            if self.labels.len() >= MAX_PLACES && !self.labels.contains_key(place) {
                self.others = joined(&self.others, labels);
                continue;
            }
            let known = self.labels.entry(*place).or_default();
            *known = joined(known, labels);
        }
    }

    /// The labels of what is read there.
    pub(crate) fn labels(&self, places: &[Digest]) -> Labels {
        if self.is_empty() || places.is_empty() {
            return Labels::none();
        }
        let known = places.iter().filter_map(|place| self.labels.get(place));
        known.fold(self.others.clone(), |all, labels| joined(&all, labels))
    }
}

/// Both; or, where they are more than an event may carry, two that stand for them.
pub(crate) fn joined(some: &Labels, others: &Labels) -> Labels {
    some.join(others).unwrap_or_else(|_| too_many())
}

/// What stands for more labels than there may be: no rule about a single secret or source lets these go anywhere.
pub(crate) fn too_many() -> Labels {
    Labels::parse(["secret:too-many", "untrusted:too-many"]).unwrap_or_default()
}
