//! Walking along causes, breadth first.
//!
//! Only `parents` count: `prev` orders, it causes nothing. A walk in a fork crosses into what it shares, and out of it
//! into the fork's own part; it never leaves the log.

use std::collections::{HashSet, VecDeque};

use toka_types::{EventHeader, EventId};

use crate::children::Children;
use crate::core::LogId;
use crate::hash::DigestState;
use crate::store::{Store, StoreError};

/// Most events that [`VaultBus`](crate::VaultBus) hands out of one walk: their headers take some megabytes.
pub const MAX_EVENTS: usize = 10_000;

/// The events that a walk came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// They, nearest first: what is equally far is in the order in which the walk met it.
    pub steps: Vec<Step>,
    /// False if there are more within the depth than the walk was allowed to hand out.
    pub complete: bool,
}

/// An event on a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How many steps away it is, from 1.
    pub depth: u32,
    /// Its header.
    pub header: EventHeader,
}

/// What `id` was caused by, directly or not: up to `depth` steps away, at most `limit` events.
///
/// # Errors
/// [`StoreError::NoEvent`] if `log` does not have the event.
pub fn ancestors(
    store: &dyn Store,
    log: &LogId,
    id: &EventId,
    depth: u32,
    limit: usize,
) -> Result<Walk, StoreError> {
    breadth_first(store, log, id, (depth, limit), |header| {
        let places = header.parents.iter().map(|parent| store.position(log, parent));
        Ok(places.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    })
}

/// What `id` caused in `log`, directly or not; else as [`ancestors`].
pub fn descendants(
    store: &dyn Store,
    log: &LogId,
    id: &EventId,
    depth: u32,
    limit: usize,
) -> Result<Walk, StoreError> {
    // Of so many children, those that the walk has met and those that it may hand out, one is left.
    let enough = limit.saturating_mul(2).saturating_add(2);
    breadth_first(store, log, id, (depth, limit), |header| {
        let mut children = Children::of(store, log, header.id, 0)?;
        let mut seqs = Vec::new();
        while seqs.len() < enough {
            let mut more = children.next(store)?;
            if more.is_empty() {
                break;
            }
            seqs.append(&mut more);
        }
        Ok(seqs)
    })
}

fn breadth_first(
    store: &dyn Store,
    log: &LogId,
    id: &EventId,
    (depth, limit): (u32, usize),
    next: impl Fn(&EventHeader) -> Result<Vec<u64>, StoreError>,
) -> Result<Walk, StoreError> {
    let none = || StoreError::NoEvent { log: log.clone(), id: *id };
    let start = store.position(log, id)?.ok_or_else(none)?;
    let start = store.headers(log, start, 1)?.pop().ok_or_else(none)?;
    let mut seen: HashSet<EventId, DigestState> = HashSet::default();
    seen.insert(*id);
    let mut walk = Walk { steps: Vec::new(), complete: true };
    let mut queue = VecDeque::from([(0, start)]);
    while let Some((at, header)) = queue.pop_front() {
        // What is one too many stays one too many: nothing is looked up for it again.
        if at < depth && walk.complete {
            for seq in next(&header)? {
                let Some(header) = store.headers(log, seq, 1)?.pop() else { continue };
                if !seen.insert(header.id) {
                    continue;
                }
                if seen.len() > limit.saturating_add(1) {
                    walk.complete = false;
                    break;
                }
                queue.push_back((at + 1, header));
            }
        }
        if at > 0 {
            walk.steps.push(Step { depth: at, header });
        }
    }
    Ok(walk)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use toka_types::{Kind, Payload};

    use super::*;
    use crate::core::NewEvent;
    use crate::{LogWriter, MemoryStore};

    #[test]
    fn a_walk_that_is_full_looks_nothing_up_any_more() {
        const WIDE: usize = 20;
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let log = LogId::main();
        let mut writer = LogWriter::open(Arc::clone(&store), log.clone()).unwrap();
        let note =
            |text: String| NewEvent::new(Kind::new("note").unwrap()).content(Payload::new(text.into_bytes()));
        let root = writer.commit(note("root".into())).unwrap().record.header.id;
        let children = (0..WIDE).map(|child| note(child.to_string()).parents([root])).collect();
        for (child, committed) in writer.commit_batch(children).unwrap().into_iter().enumerate() {
            let parent = committed.record.header.id;
            let own = (0..WIDE).map(|own| note(format!("{child}.{own}")).parents([parent])).collect();
            writer.commit_batch(own).unwrap();
        }
        let asked = Cell::new(0);
        let walk = |limit| {
            asked.set(0);
            breadth_first(&*store, &log, &root, (9, limit), |header| {
                asked.set(asked.get() + 1);
                Ok(store.children(&header.id)?.into_iter().map(|(_, seq)| seq).collect())
            })
            .unwrap()
        };
        let full = walk(WIDE + 5);
        assert_eq!((full.steps.len(), full.complete, asked.get()), (WIDE + 5, false, 2));
        let all = walk(WIDE + WIDE * WIDE);
        assert_eq!((all.steps.len(), all.complete), (WIDE + WIDE * WIDE, true));
        assert_eq!(asked.get(), 1 + WIDE + WIDE * WIDE, "each once");
    }
}
