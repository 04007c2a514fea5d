//! What an append adds to which logs, and the logs that it makes.

use std::sync::Arc;

use super::Journal;
use super::state::{Log, State};
use crate::core::{LogId, Record};
use crate::fork::Base;
use crate::hash::{LogTree, leaf_hash};
use crate::store::{Part, StoreError, check_parts};

/// Headers hashed at once for the tree of a fork.
const HEADERS: usize = 4096;

/// Where a part of an append goes.
pub(crate) struct Target<'a> {
    pub(crate) records: &'a [Arc<Record>],
    pub(crate) number: u16,
    /// The log, if this append makes it.
    pub(crate) new: Option<Log>,
}

impl Target<'_> {
    /// The log's tree before the append.
    pub(crate) fn tree(&self, state: &State) -> LogTree {
        let known = || state.logs.get(usize::from(self.number));
        let log = self.new.as_ref().or_else(known);
        log.map_or_else(LogTree::new, |log| log.tree.clone())
    }
}

/// All records with the numbers of their logs.
pub(crate) fn records<'a>(targets: &'a [Target<'_>]) -> impl Iterator<Item = (u16, &'a Arc<Record>)> {
    targets.iter().flat_map(|target| target.records.iter().map(move |record| (target.number, record)))
}

/// The targets of the parts that have records, after checking that the state allows them. `trees` holds for each part
/// the tree of a fork's base.
pub(crate) fn targets<'a>(
    state: &State,
    parts: &'a [Part<'_>],
    trees: Vec<Option<LogTree>>,
) -> Result<Vec<Target<'a>>, StoreError> {
    let log = |id: &LogId| state.log_number(id).map(|number| &state.logs[usize::from(number)]);
    let next = |id: &LogId| Ok(log(id).map(|log| log.tree.size()));
    let base = |id: &LogId| Ok(log(id).and_then(|log| state.base_of(log)));
    check_parts(parts, state.logs.len(), next, base)?;
    let mut targets: Vec<Target<'a>> = Vec::with_capacity(parts.len());
    let mut made = state.logs.len() as u16;
    for (part, tree) in parts.iter().zip(trees).filter(|(part, _)| !part.records.is_empty()) {
        let (records, known) = (part.records, state.log_number(part.log));
        if let Some(number) = known {
            targets.push(Target { records, number, new: None });
            continue;
        }
        let fork = part.base.zip(tree).and_then(|(base, tree)| {
            let number = state.log_number(&base.log)?;
            Some(Log::forked(part.log.clone(), made, (number, base.size), tree, &state.logs))
        });
        let new = fork.unwrap_or_else(|| Log::new(part.log.clone(), made));
        targets.push(Target { records, number: made, new: Some(new) });
        made += 1;
    }
    Ok(targets)
}

/// For each part that makes a fork, the tree of its base at that point; `None` where the base has no such point.
pub(crate) fn base_trees(journal: &Journal, parts: &[Part<'_>]) -> Result<Vec<Option<LogTree>>, StoreError> {
    parts.iter().map(|part| part.base.map_or(Ok(None), |base| tree_at(journal, base))).collect()
}

/// The tree over the first events of a log: from the nearest point before that an index knows.
fn tree_at(journal: &Journal, Base { log, size }: &Base) -> Result<Option<LogTree>, StoreError> {
    let mut tree = {
        let state = journal.state();
        let Some(number) = state.log_number(log) else { return Ok(None) };
        let known = &state.logs[usize::from(number)];
        match known.tree.size() {
            have if have < *size => return Ok(None),
            have if have == *size => return Ok(Some(known.tree.clone())),
            _ => state.nearest_tree(known, *size),
        }
    };
    while tree.size() < *size {
        let left = usize::try_from(size - tree.size()).unwrap_or(usize::MAX);
        let headers = super::read::headers(journal, log, tree.size(), left.min(HEADERS))?;
        if headers.is_empty() {
            return Ok(None);
        }
        // A header has exactly one encoding: these are the stored bytes.
        headers.iter().for_each(|header| tree.append(leaf_hash(&header.to_bytes())));
    }
    Ok(Some(tree))
}
