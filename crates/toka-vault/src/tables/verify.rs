//! Reading a whole vault that a database keeps, and checking all of it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use toka_types::{Digest, EventHeader, EventId};

use super::row::{Place, Stored};
use super::{Counts, TableStore, read};
use crate::core::LogId;
use crate::hash::{DigestState, LogTree, leaf_hash};
use crate::store::StoreError;
use crate::verify::{Problem, VerifyReport, What};

/// Problems listed at most: damage that shifts everything would otherwise fill the memory.
const MAX_PROBLEMS: usize = 1000;
/// Rows read at once.
const ROWS: usize = 1024;

/// The report on a vault of which not even the manifest can be read, or its database not opened.
pub(crate) fn unreadable(what: What, file: PathBuf, offset: Option<u64>, detail: String) -> VerifyReport {
    let problem = Problem { what, log: None, seq: None, event: None, file: Some(file), offset, detail };
    VerifyReport { ok: false, events: 0, root: LogTree::new().root(), problems: vec![problem] }
}

/// Checks every row. `live` says that somebody is writing: then there may be more than the store sees.
pub(crate) fn verify(store: &TableStore, live: bool) -> Result<VerifyReport, StoreError> {
    let mut check = Check {
        store,
        problems: Vec::new(),
        events: 0,
        root: None,
        contents: HashSet::default(),
        children: HashMap::default(),
    };
    for found in store.tables.check().map_err(|error| store.failed("check", error))? {
        check.problem(What::Database, None, found);
    }
    let logs: Vec<_> = store.state().logs.iter().map(|log| (log.id.clone(), log.tree.clone())).collect();
    for (number, (id, tree)) in (0..).zip(&logs) {
        check.log(number, id, tree)?;
    }
    check.index_of_children()?;
    if !live {
        check.counts()?;
    }
    let Check { problems, events, root, .. } = check;
    let ok = problems.iter().all(|problem| problem.what.is_harmless());
    Ok(VerifyReport { ok, events, root: root.unwrap_or_else(|| LogTree::new().root()), problems })
}

struct Check<'a> {
    store: &'a TableStore,
    problems: Vec<Problem>,
    events: u64,
    /// The root of `main`, or of the first log.
    root: Option<crate::hash::TreeHash>,
    /// Content that was found to be whole, or gone.
    contents: HashSet<Digest, DigestState>,
    /// For each cause how many children there must be, and the sum of their places.
    children: HashMap<EventId, (u64, u64), DigestState>,
}

impl Check<'_> {
    fn problem(
        &mut self,
        what: What,
        event: Option<(&LogId, u64, Option<EventId>)>,
        detail: impl Into<String>,
    ) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let (log, seq, event) =
            event.map_or((None, None, None), |(log, seq, id)| (Some(log.clone()), Some(seq), id));
        let file = Some(self.store.file.clone());
        self.problems.push(Problem { what, log, seq, event, file, offset: None, detail: detail.into() });
    }

    fn log(&mut self, number: u16, id: &LogId, expected: &LogTree) -> Result<(), StoreError> {
        let mut seen: HashSet<EventId, DigestState> = HashSet::default();
        let mut tree = LogTree::new();
        let mut last_at = toka_types::Timestamp::EPOCH;
        let named = self.store.writer().manifest.logs.iter().find(|named| named.name == id.as_str()).cloned();
        'log: while tree.size() < expected.size() {
            let from = tree.size();
            let limit = ROWS.min((expected.size() - from) as usize);
            let rows = match self.store.tables.events(number, from, limit) {
                Ok(rows) => rows,
                Err(error) => match self.store.failed("read", error) {
                    StoreError::Corrupt { detail, .. } => {
                        self.problem(What::Database, Some((id, from, None)), detail);
                        break;
                    }
                    error => return Err(error),
                },
            };
            if rows.len() < limit {
                self.problem(What::Event, Some((id, from + rows.len() as u64, None)), "the event has no row");
            }
            for (seq, row) in (from..).zip(&rows) {
                let header = match read::header(self.store, (number, seq), row) {
                    Ok(header) => header,
                    Err(StoreError::Corrupt { detail, .. }) => {
                        self.problem(What::Event, Some((id, seq, None)), detail);
                        break 'log;
                    }
                    Err(error) => return Err(error),
                };
                if header.at < last_at {
                    let detail = "its time lies before its predecessor's";
                    self.problem(What::Event, Some((id, seq, Some(header.id))), detail);
                }
                last_at = header.at;
                self.event(number, id, &header, &mut seen)?;
                tree.append(leaf_hash(&row.header));
                self.events += 1;
                if let Some(named) = named.as_ref().filter(|named| named.events == tree.size())
                    && named.root != tree.root().to_string()
                {
                    let detail = format!(
                        "the manifest says that log '{id}' had the root {} at {} events, it has {}",
                        named.root,
                        named.events,
                        tree.root()
                    );
                    self.problem(What::Root, None, detail);
                }
            }
            if rows.len() < limit {
                break;
            }
        }
        if tree.size() == expected.size() && tree.root() != expected.root() {
            let detail = format!("the root is {}, the log's row says {}", tree.root(), expected.root());
            self.problem(What::Root, Some((id, tree.size(), None)), detail);
        }
        if *id == LogId::main() || self.root.is_none() {
            self.root = Some(tree.root());
        }
        Ok(())
    }

    fn event(
        &mut self,
        number: u16,
        log: &LogId,
        header: &EventHeader,
        seen: &mut HashSet<EventId, DigestState>,
    ) -> Result<(), StoreError> {
        let place = Some((log, header.seq, Some(header.id)));
        let computed = header.causal_digest();
        if computed != header.id {
            self.problem(What::Event, place, format!("its causal digest is {computed}"));
        }
        for cause in header.parents.iter().chain(&header.prev).filter(|cause| !seen.contains(cause)) {
            let detail = format!("it names {cause}, which is not before it in the log");
            self.problem(What::Cause, place, detail);
        }
        for (at, parent) in header.parents.iter().enumerate() {
            if !header.parents[..at].contains(parent) {
                let (count, sum) = self.children.entry(*parent).or_default();
                *count += 1;
                *sum = sum.wrapping_add(mixed((number, header.seq)));
            }
        }
        let places = self.store.tables.places(&header.id);
        match places.map_err(|error| self.store.failed("read", error)) {
            Ok(places) if places.contains(&(number, header.seq)) => {}
            Ok(_) => self.problem(What::Database, place, "the index of ids does not lead to the event"),
            Err(StoreError::Corrupt { detail, .. }) => self.problem(What::Database, place, detail),
            Err(error) => return Err(error),
        }
        for content in &header.content {
            if self.contents.contains(&content.digest) {
                continue;
            }
            match read::stored(self.store, &content.digest) {
                Ok(Some(Stored::Gone(_))) => {
                    self.contents.insert(content.digest);
                }
                Ok(Some(Stored::Bytes(bytes)))
                    if bytes.len() as u64 == u64::from(content.size)
                        && Digest::of(&bytes) == content.digest =>
                {
                    self.contents.insert(content.digest);
                }
                Ok(Some(Stored::Bytes(_))) => {
                    let detail = format!("content {} does not match its digest", content.digest);
                    self.problem(What::Content, place, detail);
                }
                Ok(None) => {
                    let detail = format!("content {} is nowhere in the vault", content.digest);
                    self.problem(What::Content, place, detail);
                }
                Err(StoreError::Corrupt { detail, .. }) => self.problem(What::Content, place, detail),
                Err(error) => return Err(error),
            }
        }
        seen.insert(header.id);
        Ok(())
    }

    /// Compares the index of children with what the events say, if all of them could be read.
    fn index_of_children(&mut self) -> Result<(), StoreError> {
        let expected = self.store.state().sums.events;
        if self.events < expected {
            return Ok(());
        }
        for (parent, told) in std::mem::take(&mut self.children) {
            let children = self.store.tables.children(&parent);
            match children.map_err(|error| self.store.failed("read", error)) {
                Ok(children) => {
                    let state = self.store.state();
                    let seen = children.into_iter().filter(|place| state.named(*place).is_some());
                    let found =
                        seen.fold((0, 0u64), |(n, sum), place| (n + 1, sum.wrapping_add(mixed(place))));
                    drop(state);
                    if found != told {
                        let detail =
                            format!("the index of the children of {parent} is not what the events say");
                        self.problem(What::Database, None, detail);
                    }
                }
                Err(StoreError::Corrupt { detail, .. }) => self.problem(What::Database, None, detail),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn counts(&mut self) -> Result<(), StoreError> {
        let Counts { events, ids, links, contents } = match self.store.tables.counts() {
            Ok(counts) => counts,
            Err(error) => match self.store.failed("read", error) {
                StoreError::Corrupt { detail, .. } => {
                    self.problem(What::Database, None, detail);
                    return Ok(());
                }
                error => return Err(error),
            },
        };
        let sums = self.store.state().sums;
        for (what, found, told) in [
            ("events", events, sums.events),
            ("ids", ids, sums.events),
            ("children", links, sums.links),
            ("contents", contents, sums.contents),
        ] {
            if found != told {
                let detail = format!("there are {found} rows of {what}, the sums say {told}");
                self.problem(What::Database, None, detail);
            }
        }
        Ok(())
    }
}

/// A number of a place, such that sums of them tell sets of places apart.
fn mixed((log, seq): Place) -> u64 {
    let product = u128::from(seq ^ u64::from(log) << 48 ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
    product as u64 ^ (product >> 64) as u64
}
