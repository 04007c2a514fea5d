//! The children of an event in one log, some at a time: an event may have millions of them.

use toka_types::EventId;

use crate::core::LogId;
use crate::fork::Lineage;
use crate::store::{Store, StoreError};

/// Children that are asked for at once.
const PAGE: usize = 1024;

/// The children of an event that a log has, its own and those that it shares, in their order, without holding all of
/// them in memory.
///
/// ```
/// # fn count(store: &dyn toka_vault::Store, log: &toka_vault::LogId, id: toka_vault::EventId)
/// #     -> Result<usize, toka_vault::StoreError> {
/// let mut children = toka_vault::Children::of(store, log, id, 0)?;
/// let mut count = 0;
/// loop {
///     match children.next(store)? {
///         page if page.is_empty() => return Ok(count),
///         page => count += page.len(),
///     }
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Children {
    parent: EventId,
    lineage: Lineage,
    /// The number of the first one that counts.
    from: u64,
    /// The last event that was looked at.
    after: Option<(LogId, u64)>,
}

impl Children {
    /// Those of `parent` that have numbers from `from` on in `log`. There are none of an event that is not there.
    pub fn of(store: &dyn Store, log: &LogId, parent: EventId, from: u64) -> Result<Self, StoreError> {
        let lineage = Lineage::of(store, log)?;
        let before = from.min(store.head(log)?.next_seq).checked_sub(1);
        let after = before.and_then(|before| lineage.stretches(before, 1).next());
        let after = after.map(|(log, seq, _)| (log.clone(), seq));
        Ok(Self { parent, lineage, from, after })
    }

    /// The numbers of the next ones, a thousand at most; none after the last.
    pub fn next(&mut self, store: &dyn Store) -> Result<Vec<u64>, StoreError> {
        loop {
            let page = store.children_after(&self.parent, self.after.as_ref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(Vec::new()) };
            self.after = Some(last.clone());
            // Within a log, what is stored later has a higher number, also where it is shared with another one.
            let own = page.iter().filter(|(log, seq)| *seq >= self.from && self.lineage.contains(log, *seq));
            let seqs: Vec<u64> = own.map(|(_, seq)| *seq).collect();
            if !seqs.is_empty() {
                return Ok(seqs);
            }
        }
    }
}
