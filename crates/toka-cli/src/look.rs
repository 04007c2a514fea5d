//! A vault open for reading, beside a writer if there is one.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toka_kernel::{Kernel, WorldState};
use toka_runtime::search::{self, Opened};
use toka_types::{EntityId, EventHeader, EventId, KeyId, Seal, Timestamp};
use toka_vault::bundle::{Bundle, is_bundle};
use toka_vault::intent::ProjectionError;
use toka_vault::seal::{Keyring, Locked, SealingError};
use toka_vault::search::SearchReader;
use toka_vault::snapshot::Snapshots;
use toka_vault::{Children, Head, LogId, Record, Store, StoreError};

use crate::context::{Context, existing_snapshot_key};
use crate::failure::{Failure, Stop};
use crate::keys::{self, Need};
use crate::notes::Notes;
use crate::paths::friendly;
use crate::record::EventView;

/// Headers read at once.
const HEADERS: usize = 4096;
/// Records read at once.
const RECORDS: usize = 512;
/// Digits of an id that people must give at least: fewer would be met by chance.
const SHORTEST_PREFIX: usize = 6;
/// Ids that an ambiguous prefix lists.
const CANDIDATES: usize = 8;
/// Digits of a whole id.
const ID_DIGITS: usize = 64;

/// A vault, open for reading.
pub(crate) struct Look {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) path: PathBuf,
    pub(crate) log: LogId,
    /// The bundle, if it is one and no vault.
    pub(crate) bundle: Option<Arc<Bundle>>,
    /// The keys of a sealed vault, where they are needed and at hand.
    keyring: Option<Arc<Keyring>>,
    /// What opens content; of a sealed vault without its key, what says why it is not there.
    seal: Option<Arc<dyn Seal>>,
}

/// The search projection, and the folder it was built in if it was built for this occasion.
pub(crate) struct Searchable {
    pub(crate) opened: Opened,
    _scratch: Option<tempfile::TempDir>,
}

impl Searchable {
    /// Asks the projection. If damage turns up that opening it did not read, the answer comes from one that is built for
    /// this occasion.
    pub(crate) fn ask<T>(
        &mut self,
        look: &Look,
        notes: &Notes,
        ask: impl Fn(&SearchReader) -> Result<T, ProjectionError>,
    ) -> Result<T, Stop> {
        match ask(&self.opened.reader) {
            Err(error @ ProjectionError::Damaged { .. }) if self.opened.rebuilt.is_none() => {
                let (scratch, key) = (scratch()?, look.projection_key());
                let (store, seal) = (look.store.as_ref(), look.seal.as_deref());
                search::build(store, &look.log, scratch.path(), key.as_ref(), seal)
                    .map_err(|e| Failure::failed(format!("{e:#}")))?;
                let reader = SearchReader::open_sealed(scratch.path(), key.as_ref())?;
                note_rebuilt(&error.to_string(), notes);
                self.opened = Opened { reader, rebuilt: Some(error.to_string()), behind: 0 };
                self._scratch = Some(scratch);
                Ok(ask(&self.opened.reader)?)
            }
            answer => Ok(answer?),
        }
    }
}

fn scratch() -> Result<tempfile::TempDir, Failure> {
    let scratch = tempfile::Builder::new().prefix("toka-search-").tempdir();
    scratch.map_err(|e| Failure::failed(format!("cannot make a temporary directory: {e}")).hint("set TMPDIR"))
}

fn note_rebuilt(problem: &str, notes: &Notes) {
    let problem = toka_types::path::for_terminal(problem);
    notes.warn(format_args!("{problem}; this answer comes from an index built for it"));
    notes.hint("`toka up --once` saves it again");
}

impl Look {
    pub(crate) fn open(context: &Context) -> Result<Self, Stop> {
        let path = context.vault()?;
        let (store, bundle): (Arc<dyn Store>, _) = if is_bundle(&path) {
            let bundle = Arc::new(Bundle::open(&path)?);
            (Arc::clone(&bundle) as _, Some(bundle))
        } else {
            (toka_vault::open_read_only(&path)?, None)
        };
        let log = match (&context.global.log, &bundle) {
            (Some(name), _) => named_log(store.as_ref(), name)?,
            (None, Some(bundle)) => bundle.log().clone(),
            (None, None) => LogId::main(),
        };
        Ok(Self { store, path, log, bundle, keyring: None, seal: None })
    }

    /// The same for a command that shows content: a sealed vault takes its key.
    pub(crate) fn open_content(context: &Context, need: Need) -> Result<Self, Stop> {
        let mut look = Self::open(context)?;
        let Some(keys) = look.store.sealed()? else { return Ok(look) };
        if let Some(bundle) = look.bundle.clone() {
            look.unseal_bundle(context, &bundle, keys, need)?;
            return Ok(look);
        }
        match keys::key_of(context, &look.path, need)? {
            Some(key) => {
                let (journal, keyring) = toka_vault::seal::read_vault(&look.path, &key)?;
                let keyring = Arc::new(keyring);
                look.store = Arc::new(journal);
                look.seal = Some(Arc::<Keyring>::clone(&keyring));
                look.keyring = Some(keyring);
            }
            None if need == Need::Must => {
                let path = toka_vault::seal::keys_path(&look.path);
                return Err(StoreError::from(SealingError::Missing { path }).into());
            }
            None => look.seal = Some(Arc::new(Locked::look(&look.path).map_err(StoreError::from)?)),
        }
        Ok(look)
    }

    /// Opens what was disclosed in a bundle of a sealed vault, and the rest where that vault's keys are at hand: in a file
    /// beside the bundle, or in the vault that is found without it.
    fn unseal_bundle(
        &mut self,
        context: &Context,
        bundle: &Bundle,
        keys: KeyId,
        need: Need,
    ) -> Result<(), Stop> {
        let home = keys::home_of(context, &self.path, keys)?;
        // What can be read without them is enough to go on with.
        let need = match need {
            Need::Must if bundle.is_disclosed() => Need::Wanted,
            need => need,
        };
        let key = match &home {
            _ if bundle.sealed_contents() == 0 => None,
            Some(home) => keys::key_of(context, home, need)?,
            None => {
                let message =
                    format!("the bundle's content is sealed under the keys {keys}, which are not at hand");
                let lies = friendly(&toka_vault::seal::keys_path(&self.path));
                let hint = format!(
                    "a copy of the vault's file `keys` at {lies} opens it, with what opens the vault"
                );
                match need {
                    Need::Must => return Err(Failure::sealed(message).hint(hint).into()),
                    Need::Wanted => {
                        context.notes.warn(format_args!("{message}: content is not shown"));
                        context.notes.hint(hint);
                    }
                    Need::AtHand => {}
                }
                None
            }
        };
        let rest: Arc<dyn Seal> = match (&home, key) {
            (Some(home), Some(key)) => {
                let keyring = Arc::new(Keyring::open_read_only(home, &key).map_err(StoreError::from)?);
                self.keyring = Some(Arc::clone(&keyring));
                keyring
            }
            (home, _) => {
                let home = home.as_deref().unwrap_or(&self.path);
                Arc::new(Locked::look(home).map_err(StoreError::from)?)
            }
        };
        self.seal = Some(Arc::new(bundle.opened_by(rest)));
        Ok(())
    }

    /// An event as it is printed; where its content is not there, with the reason.
    pub(crate) fn view(&self, record: &Record, log: &LogId, world: &WorldState) -> Result<EventView, Stop> {
        let mut view = EventView::new(record, log, world).with_gone(record, &*self.store)?;
        // The store has it, and cannot know that nobody can open it.
        if let (Some(seal), Some(named), None) = (&self.seal, view.digest, record.content_at(0))
            && let Some(stored) = self.store.content(&named)?
        {
            view.gone = seal.open(&stored).err();
        }
        Ok(view)
    }

    /// The keys of a sealed vault, where they are at hand.
    pub(crate) fn keyring(&self) -> Option<&Keyring> {
        self.keyring.as_deref()
    }

    /// The key of the projections of a sealed vault, where the keys are at hand.
    pub(crate) fn projection_key(&self) -> Option<toka_vault::intent::ProjectionKey> {
        self.keyring.as_ref().map(|keyring| keyring.projection_key())
    }

    fn opened(&self, record: Arc<Record>) -> Arc<Record> {
        match &self.seal {
            Some(seal) => seal.opened(&record),
            None => record,
        }
    }

    pub(crate) fn head(&self) -> Result<Head, Stop> {
        Ok(self.store.head(&self.log)?)
    }

    /// True if the log is there from its first event on; a bundle may begin later.
    pub(crate) fn is_whole(&self) -> bool {
        self.bundle.as_ref().is_none_or(|bundle| bundle.description().from == 0)
    }

    /// The world at the end of the log, from the last snapshot of it if there is one that can be used.
    pub(crate) fn world(&self) -> Result<Kernel, Stop> {
        let key = if self.bundle.is_none() { existing_snapshot_key() } else { None };
        let snapshots = key.map(|key| Snapshots::keyed(search::directory(&self.path), key));
        Ok(toka_runtime::read_world(snapshots, self.keyring.as_deref(), self.store.as_ref(), &self.log)?)
    }

    /// Shows every header from `from` on.
    pub(crate) fn each_header(
        &self,
        from: u64,
        mut show: impl FnMut(&EventHeader) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut next = from;
        loop {
            let headers = self.store.headers(&self.log, next, HEADERS)?;
            for header in &headers {
                show(header)?;
            }
            match headers.last() {
                Some(last) => next = last.seq + 1,
                None => return Ok(()),
            }
        }
    }

    /// Shows every record from `from` on, as long as it is told to go on.
    pub(crate) fn each_record(
        &self,
        from: u64,
        mut show: impl FnMut(&Record) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut next = from;
        loop {
            let records = self.store.read(&self.log, next, RECORDS)?;
            for record in &records {
                show(&self.opened(Arc::clone(record)))?;
            }
            match records.last() {
                Some(last) => next = last.header.seq + 1,
                None => return Ok(()),
            }
        }
    }

    /// The record at a place that was found before.
    pub(crate) fn record(&self, log: &LogId, seq: u64) -> Result<Arc<Record>, Stop> {
        let record = self.store.read(log, seq, 1)?.into_iter().next().map(|record| self.opened(record));
        record.ok_or_else(|| Failure::unknown(format!("log '{log}' has no event {seq}")).into())
    }

    /// The event that `text` names, in full or by a unique beginning.
    pub(crate) fn resolve(&self, text: &str) -> Result<(EventId, LogId, u64), Stop> {
        check_hex(text, ID_DIGITS, "an event")?;
        let mut found = self.store.find_prefix(text, CANDIDATES + 1)?;
        found.dedup_by_key(|(id, ..)| *id);
        match found.len() {
            0 => Err(Failure::unknown(format!("there is no event {text}"))
                .hint("`toka events list` shows what there is")
                .into()),
            // Asked for in a log, it is that log's, which a fork shares with others; else it lies where it was recorded.
            1 if self.log == LogId::main() => Ok(found.remove(0)),
            1 => match self.store.position(&self.log, &found[0].0)? {
                Some(seq) => Ok((found[0].0, self.log.clone(), seq)),
                None => Err(Failure::unknown(format!("log '{}' has no event {text}", self.log)).into()),
            },
            _ => Err(ambiguous(text, found.iter().map(|(id, ..)| id.to_string()))),
        }
    }

    /// Where in the log a cause of one of its events is.
    pub(crate) fn place(&self, log: &LogId, id: EventId) -> Result<u64, Stop> {
        let place = self.store.position(log, &id)?;
        place.ok_or_else(|| Failure::integrity(format!("cause {} is not in the log", id.short())).into())
    }

    /// The header of a cause of one of the log's events.
    pub(crate) fn header(&self, log: &LogId, id: EventId) -> Result<EventHeader, Stop> {
        let headers = self.store.headers(log, self.place(log, id)?, 1)?;
        let first = headers.into_iter().next();
        first.ok_or_else(|| Failure::integrity(format!("cause {} cannot be read", id.short())).into())
    }

    /// Shows the numbers of the events of `log` that name the event as a cause, some at a time, until it is told
    /// something. There may be millions.
    pub(crate) fn find_children<T>(
        &self,
        id: &EventId,
        log: &LogId,
        mut show: impl FnMut(&[u64]) -> Result<Option<T>, Stop>,
    ) -> Result<Option<T>, Stop> {
        let store = self.store.as_ref();
        let mut children = Children::of(store, log, *id, 0)?;
        loop {
            let page = children.next(store)?;
            if page.is_empty() {
                return Ok(None);
            }
            if let Some(found) = show(&page)? {
                return Ok(Some(found));
            }
        }
    }

    /// The same, of their headers one by one.
    pub(crate) fn find_child<T>(
        &self,
        id: &EventId,
        log: &LogId,
        mut show: impl FnMut(EventHeader) -> Result<Option<T>, Stop>,
    ) -> Result<Option<T>, Stop> {
        self.find_children(id, log, |page| {
            for &seq in page {
                if let Some(header) = self.store.headers(log, seq, 1)?.into_iter().next()
                    && let Some(found) = show(header)?
                {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        })
    }

    /// The numbers of the events at or after `since` and before `until`. Times never fall along a log.
    pub(crate) fn stretch(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Range<u64>, Stop> {
        let next = self.head()?.next_seq;
        let first_at = |time: Timestamp| -> Result<u64, Stop> {
            let (mut low, mut high) = (0, next);
            while low < high {
                let middle = low + (high - low) / 2;
                let header = self.store.headers(&self.log, middle, 1)?.into_iter().next();
                // A bundle may begin later.
                match header.is_some_and(|header| header.at >= time) {
                    true => high = middle,
                    false => low = middle + 1,
                }
            }
            Ok(low)
        };
        Ok(since.map_or(Ok(0), first_at)?..until.map_or(Ok(next), first_at)?)
    }

    /// Opens the search projection; one that cannot be used is built for this occasion.
    pub(crate) fn searchable(&self, notes: &Notes) -> Result<Searchable, Stop> {
        let directory = search::directory(&self.path);
        let scratch = scratch()?;
        let opened = search::open_reader(
            self.store.as_ref(),
            &self.log,
            &directory,
            scratch.path(),
            self.projection_key().as_ref(),
            self.seal.as_deref(),
        );
        let opened = opened.map_err(|e| Failure::failed(format!("{e:#}")))?;
        if let Some(problem) = &opened.rebuilt
            && self.head()?.next_seq > 0
            && self.bundle.is_none()
        {
            note_rebuilt(problem, notes);
        }
        let kept = opened.rebuilt.is_some().then_some(scratch);
        Ok(Searchable { opened, _scratch: kept })
    }

    /// Says how far the index is behind, if it is.
    pub(crate) fn note_behind(&self, behind: u64, notes: &Notes) {
        if behind == 0 {
            return;
        }
        match toka_vault::writer_pid(&self.path) {
            Some(pid) => {
                notes.say(format_args!("the index is {behind} events behind; process {pid} is catching up"))
            }
            None => {
                notes.warn(format_args!("the index is {behind} events behind the log"));
                notes.hint("`toka up --once` brings it up to date");
            }
        }
    }

    pub(crate) fn name(&self) -> String {
        friendly(&self.path)
    }
}

/// The log of that name, which must be there.
fn named_log(store: &dyn Store, name: &str) -> Result<LogId, Stop> {
    let shown = toka_types::path::for_terminal(name);
    let log = LogId::new(name)
        .map_err(|error| Failure::usage(format!("'{shown}' is no name of a log: {error}")))?;
    let logs = store.logs()?;
    if log != LogId::main() && !logs.contains(&log) {
        let names: Vec<String> = logs.iter().take(CANDIDATES).map(ToString::to_string).collect();
        let hint =
            if names.is_empty() { "it is empty".to_owned() } else { format!("it has {}", names.join(", ")) };
        return Err(Failure::unknown(format!("the vault has no log '{shown}'")).hint(hint).into());
    }
    Ok(log)
}

/// Folds one header more.
pub(crate) fn fold(kernel: &mut Kernel, header: &EventHeader) -> Result<(), Stop> {
    kernel.replay(header).map_err(|error| Failure::integrity(error.to_string()).into())
}

/// The author's name where the world knows it, else the id.
pub(crate) fn author(world: &WorldState, id: EntityId) -> String {
    world.name_of(id).map_or_else(|| id.to_string(), str::to_owned)
}

/// Checks that `text` can be the beginning of an id of `digits` digits.
pub(crate) fn check_hex(text: &str, digits: usize, what: &str) -> Result<(), Failure> {
    let hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if hex && (SHORTEST_PREFIX..=digits).contains(&text.len()) {
        return Ok(());
    }
    let text = toka_types::path::for_terminal(&text.chars().take(ID_DIGITS + 1).collect::<String>());
    Err(Failure::usage(format!("'{text}' is not the id of {what}")).hint(format!(
        "an id is {digits} lower-case hex digits; its first {SHORTEST_PREFIX} or more will do"
    )))
}

pub(crate) fn ambiguous(text: &str, candidates: impl Iterator<Item = String>) -> Stop {
    let mut candidates: Vec<String> = candidates.collect();
    let more = if candidates.len() > CANDIDATES { ", …" } else { "" };
    candidates.truncate(CANDIDATES);
    Failure::usage(format!("'{text}' begins several ids: {}{more}", candidates.join(", ")))
        .hint("give more digits")
        .into()
}

/// How many bytes the files below a directory have.
pub(crate) fn size_of(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(folder) if folder.is_dir() => size_of(&entry.path()),
        Ok(file) if file.is_file() => file.len(),
        _ => 0,
    });
    sizes.sum()
}
