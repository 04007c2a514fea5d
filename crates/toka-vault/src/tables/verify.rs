//! Reading a whole vault that a database keeps, and checking all of it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use toka_types::{Digest, EventHeader, EventId, Timestamp};

use super::row::{Place, Stored};
use super::{Counts, TableStore, read};
use crate::core::LogId;
use crate::fork::{Base, forked};
use crate::hash::{DigestState, LogTree, TreeHash, leaf_hash};
use crate::journal::state::Log;
use crate::store::StoreError;
use crate::verify::{Problem, VerifiedLog, VerifyReport, What};

/// Problems listed at most: damage that shifts everything would otherwise fill the memory.
const MAX_PROBLEMS: usize = 1000;
/// Rows read at once.
const ROWS: usize = 1024;

/// The report on a vault of which not even the manifest can be read, or its database not opened.
pub(crate) fn unreadable(what: What, file: PathBuf, offset: Option<u64>, detail: String) -> VerifyReport {
    let problem = Problem { what, log: None, seq: None, event: None, file: Some(file), offset, detail };
    let root = LogTree::new().root();
    VerifyReport { ok: false, events: 0, root, logs: Vec::new(), problems: vec![problem] }
}

/// Checks every row. `live` says that somebody is writing: then there may be more than the store sees.
pub(crate) fn verify(store: &TableStore, live: bool) -> Result<VerifyReport, StoreError> {
    let mut check = Check {
        store,
        problems: Vec::new(),
        events: 0,
        read: Vec::new(),
        trees: HashMap::new(),
        contents: HashSet::default(),
        children: HashMap::default(),
    };
    for found in store.tables.check().map_err(|error| store.failed("check", error))? {
        check.problem(What::Database, None, found);
    }
    let logs = store.state().logs.clone();
    check.trees = logs.iter().filter_map(|log| Some((forked_at(log)?, None))).collect();
    for (number, log) in (0..).zip(&logs) {
        check.log(number, log)?;
    }
    check.index_of_children()?;
    if !live {
        check.counts()?;
    }
    let Check { problems, events, read, .. } = check;
    let ok = problems.iter().all(|problem| problem.what.is_harmless());
    let found = logs.iter().zip(read).map(|(log, Read { events, root, .. })| VerifiedLog {
        log: log.id.clone(),
        base: log.base.map(|(base, size)| Base { log: logs[usize::from(base)].id.clone(), size }),
        events,
        root,
    });
    let found: Vec<_> = found.collect();
    let main = found.iter().find(|log| log.log == LogId::main()).or(found.first());
    let root = main.map_or_else(|| LogTree::new().root(), |log| log.root);
    Ok(VerifyReport { ok, events, root, logs: found, problems })
}

/// Where the last event lies that a fork shares: the log to which it was appended, and how many events there are up
/// to it.
fn forked_at(log: &Log) -> Option<Place> {
    let (_, size) = log.base?;
    let (&number, ..) = log.lineage.stretches(size.checked_sub(1)?, 1).next()?;
    Some((number, size))
}

/// What was read of a log.
struct Read {
    /// The numbers of its own events.
    seen: HashMap<EventId, u64, DigestState>,
    /// How many events it has, those that it shares among them.
    events: u64,
    root: TreeHash,
}

struct Check<'a> {
    store: &'a TableStore,
    problems: Vec<Problem>,
    events: u64,
    /// The logs so far, by number.
    read: Vec<Read>,
    /// The trees from which forks go on, as they were found, with the time of the last event.
    trees: HashMap<Place, Option<(LogTree, Timestamp)>>,
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

    fn log(&mut self, number: u16, log: &Log) -> Result<(), StoreError> {
        let (id, expected) = (&log.id, &log.tree);
        let begin = match forked_at(log) {
            None => Some((LogTree::new(), Timestamp::EPOCH)),
            Some(at) => self.trees.get(&at).cloned().flatten(),
        };
        let Some((mut tree, mut last_at)) = begin else {
            // What the fork shares could not be read, which has been told.
            let root = expected.root();
            let events = expected.size();
            self.read.push(Read { seen: HashMap::default(), events, root });
            return Ok(());
        };
        self.read.push(Read { seen: HashMap::default(), events: 0, root: tree.root() });
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
                self.event(number, log, &header)?;
                tree.append(leaf_hash(&row.header));
                self.events += 1;
                if let Some(wanted) = self.trees.get_mut(&(number, tree.size())) {
                    *wanted = Some((tree.clone(), last_at));
                }
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
        if let Some(read) = self.read.last_mut() {
            (read.events, read.root) = (tree.size(), tree.root());
        }
        Ok(())
    }

    /// The number in `log` of an event that was read already.
    fn seen(&self, log: &Log, id: &EventId) -> Option<u64> {
        let mut logs = log.lineage.stretches(0, usize::MAX).map(|(number, ..)| *number);
        logs.find_map(|number| {
            let seq = *self.read.get(usize::from(number))?.seen.get(id)?;
            log.lineage.contains(&number, seq).then_some(seq)
        })
    }

    /// Checks the first event of a fork's own; what is wrong with it.
    fn first_of_fork(&self, log: &Log, header: &EventHeader) -> Option<String> {
        let (base, size) = log.base.filter(|(_, size)| *size == header.seq)?;
        let name = self.store.state().logs[usize::from(base)].id.clone();
        let Some(facts) = forked(header) else {
            return Some("a fork begins with it, and it is no `log.forked`".into());
        };
        let told = (facts.base.as_str(), facts.seq + 1) == (name.as_str(), size);
        (!told || self.seen(log, &facts.id) != Some(facts.seq)).then(|| {
            format!(
                "it says that event {} {} of log '{}' is the last shared one, its log's row says event {} of '{name}'",
                facts.seq,
                facts.id,
                facts.base.as_str(),
                size - 1
            )
        })
    }

    fn event(&mut self, number: u16, log: &Log, header: &EventHeader) -> Result<(), StoreError> {
        let place = Some((&log.id, header.seq, Some(header.id)));
        let computed = header.causal_digest();
        if computed != header.id {
            self.problem(What::Event, place, format!("its causal digest is {computed}"));
        }
        for cause in header.parents.iter().chain(&header.prev) {
            if self.seen(log, cause).is_none() {
                let detail = format!("it names {cause}, which is not before it in the log");
                self.problem(What::Cause, place, detail);
            }
        }
        if let Some(detail) = self.first_of_fork(log, header) {
            self.problem(What::Event, place, detail);
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
        if let Some(read) = self.read.last_mut() {
            read.seen.insert(header.id, header.seq);
        }
        Ok(())
    }

    /// Compares the index of children with what the events say, if all of them could be read.
    fn index_of_children(&mut self) -> Result<(), StoreError> {
        let expected = self.store.state().sums.events;
        if self.events < expected {
            return Ok(());
        }
        for (parent, told) in std::mem::take(&mut self.children) {
            let children = self.store.tables.children(&parent, None, usize::MAX);
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
