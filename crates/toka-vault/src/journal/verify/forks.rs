//! Checking that forks are what they say: their first event, and the tree that they go on from.

use std::path::{Path, PathBuf};

use toka_types::{EventHeader, Timestamp};

use super::checked::Fork;
use super::{Check, Opened};
use crate::fork::forked;
use crate::hash::{LogTree, leaf_hash};
use crate::journal::frame::{Entry, entries};
use crate::store::StoreError;
use crate::verify::What;

/// What a fork's log entry says of the log that it was forked from.
pub(super) struct Claim {
    /// The fork.
    log: usize,
    /// The log to which the last shared event was appended, and how many events there are up to it.
    base: (usize, u64),
    tree: LogTree,
    path: PathBuf,
    offset: u64,
    /// The time of the fork's first own event.
    begins: Timestamp,
}

impl Check<'_> {
    /// True if the event with this fingerprint is one of the log's so far.
    pub(super) fn holds(&self, log: usize, id: u64) -> bool {
        self.seen[log].contains_key(&id) || self.shared(log, id).is_some()
    }

    /// The number of an event that the log shares.
    fn shared(&self, log: usize, id: u64) -> Option<u64> {
        let lineage = &self.logs[log].lineage;
        let mut logs = lineage.stretches(0, usize::MAX).map(|(log, ..)| *log);
        logs.find_map(|log| {
            let seq = *self.seen.get(usize::from(log))?.get(&id)?;
            lineage.contains(&log, seq).then_some(seq)
        })
    }

    /// True if the event with this number is a fork's first own one.
    pub(super) fn begins_fork(&self, log: usize, seq: u64) -> bool {
        self.logs[log].base.is_some_and(|(_, size)| size == seq)
    }

    /// Notes what the entry of the fork `log` says, to be compared once the base is known.
    pub(super) fn claim(&mut self, log: usize, fork: &Fork, path: &Path, offset: u64) {
        let last = fork.size - 1;
        let base = self.logs[log].lineage.stretches(last, 1).next().map(|(&log, ..)| usize::from(log));
        let Some(base) = base else { return };
        let (tree, known) = (&fork.tree, &self.logs[base]);
        if known.tree == *tree {
            // Forked at its end, as usual: all is known by now.
            self.logs[log].last_at = known.last_at;
            return;
        }
        let (base, tree, path) = ((base, fork.size), tree.clone(), path.to_owned());
        self.claims.push(Claim { log, base, tree, path, offset, begins: Timestamp::EPOCH });
    }

    /// Checks the first event of a fork's own; what is wrong with it.
    pub(super) fn first_of_fork(&mut self, log: usize, header: &EventHeader) -> Option<String> {
        let (base, size) = self.logs[log].base.filter(|(_, size)| *size == header.seq)?;
        if let Some(claim) = self.claims.iter_mut().find(|claim| claim.log == log) {
            claim.begins = header.at;
        }
        let name = self.logs[usize::from(base)].id.as_str();
        let Some(facts) = forked(header) else {
            return Some("a fork begins with it, and it is no `log.forked`".into());
        };
        if facts.base.as_str() != name || facts.seq + 1 != size {
            return Some(format!(
                "it says that event {} of log '{}' is the last shared one, its log's entry says event {} of '{name}'",
                facts.seq,
                facts.base.as_str(),
                size - 1
            ));
        }
        (self.shared(log, self.fingerprints.of(&facts.id.0)) != Some(facts.seq) && !self.broken)
            .then(|| format!("it says that the last shared event is {}, which lies elsewhere", facts.id))
    }

    /// Compares the trees that forks go on from with those of their bases, in one more pass over the journal if any
    /// base went on before it was forked.
    pub(super) fn check_claims(&mut self, numbers: &[u64]) -> Result<(), StoreError> {
        if self.broken || self.claims.is_empty() {
            return Ok(());
        }
        let mut claims = std::mem::take(&mut self.claims);
        let mut trees: Vec<LogTree> = Vec::new();
        for number in numbers {
            if claims.is_empty() {
                break;
            }
            // What is wrong with a segment has been told.
            let told = self.problems.len();
            let opened = self.open(*number, false, true)?;
            self.problems.truncate(told);
            if let Some(opened) = opened {
                self.claims_in(&opened, &mut trees, &mut claims)?;
            }
        }
        // A base that does not get that far in this pass is damaged; what could not be compared is not taken for right.
        for Claim { log, path, offset, .. } in claims {
            let fork = &self.logs[log];
            let place = Some((fork.id.clone(), fork.base.map_or(0, |(_, size)| size), None));
            self.event_problem(What::Root, Some((&path, offset)), place, NO_TREE);
        }
        Ok(())
    }

    fn claims_in(
        &mut self,
        opened: &Opened,
        trees: &mut Vec<LogTree>,
        claims: &mut Vec<Claim>,
    ) -> Result<(), StoreError> {
        let mut wrong = Vec::new();
        self.frames_of(opened, (opened.header.len(), opened.crc), |_, frame| {
            // Malformed entries have been told.
            let _ = entries(
                frame.body,
                frame.count,
                |_, _| (),
                |entry| {
                    match entry {
                        Entry::Log { fork, .. } => {
                            trees.push(fork.map_or_else(LogTree::new, |fork| fork.tree()))
                        }
                        Entry::Event(event) => {
                            let log = usize::from(event.log);
                            let Some(tree) = trees.get_mut(log) else { return Ok(()) };
                            tree.append(leaf_hash(event.header));
                            let at = EventHeader::decode(event.header)
                                .map_or(Timestamp::EPOCH, |header| header.at);
                            claims.retain(|claim| {
                                let here = claim.base == (log, tree.size());
                                if here && claim.tree != *tree {
                                    wrong.push((claim.log, claim.path.clone(), claim.offset, WRONG_TREE));
                                }
                                if here && claim.begins < at {
                                    wrong.push((claim.log, claim.path.clone(), claim.offset, WRONG_TIME));
                                }
                                !here
                            });
                        }
                    }
                    Ok(())
                },
            );
        })?;
        for (log, path, offset, detail) in wrong {
            let place =
                Some((self.logs[log].id.clone(), self.logs[log].base.map_or(0, |(_, size)| size), None));
            self.event_problem(What::Root, Some((&path, offset)), place, detail);
        }
        Ok(())
    }
}

const WRONG_TREE: &str = "the log goes on from another tree than that of the log it was forked from";
const NO_TREE: &str = "the log was forked at an event that its base does not have";
const WRONG_TIME: &str = "the log's first event lies before the event it was forked at";
