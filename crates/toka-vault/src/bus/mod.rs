//! [`VaultBus`]: a vault for programs that use it alone, with typed payloads and live subscriptions.

mod commit;
#[cfg(feature = "seal")]
mod sealed;
mod stream;
pub mod vector;

use std::sync::Arc;

use serde::Serialize;
use toka_bus::{FeedHandle, Filter, Subscription};
use toka_types::{Digest, EntityId, EventHeader, EventId, Gone, Kind, Seal};

use crate::core::{EventPayload, LogId, NewEvent, Record, encode};
use crate::memory::MemoryStore;
use crate::scan::{Scan, scan};
use crate::store::{Statistics, Store, StoreError};
use crate::writer::Committed;
use commit::Committer;

pub use stream::{Headers, Typed, TypedError};
pub use vector::{IntoVector, VECTOR_KIND, VectorContent, VectorFacts, vector_event, vector_of};

/// An open vault: commits, subscriptions and reads on one of its logs. Cheap to clone; when the last
/// clone is dropped, what was committed is closed cleanly.
///
/// Commits that arrive while an earlier one is being synced share the next sync.
#[derive(Clone)]
pub struct VaultBus {
    // The order matters: the committer ends and closes the store first.
    committer: Option<Arc<Committer>>,
    feed: FeedHandle,
    store: Arc<dyn Store>,
    log: LogId,
    seal: Option<Arc<dyn Seal>>,
    #[cfg(feature = "seal")]
    keyring: Option<Arc<crate::seal::Keyring>>,
}

/// The same vault for code without an executor.
#[derive(Clone, Copy)]
pub struct Blocking<'a>(&'a VaultBus);

impl VaultBus {
    /// Opens the vault in the directory `path`, whatever store keeps it, or creates one with the default store, with
    /// its log `main`. A sealed one is refused with [`StoreError::Sealed`]: that takes its key.
    #[cfg(feature = "journal")]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let (store, _) = crate::engine::open(path)?;
        if store.sealed()?.is_some() {
            return Err(StoreError::Sealed { path: path.to_owned() });
        }
        Self::with_store(store, LogId::main())
    }

    /// Opens the vault in the directory `path` for reading, beside a writer if there is one. It sees what
    /// was durable when it was opened. Content of a sealed one is not there.
    #[cfg(feature = "journal")]
    pub fn open_read_only(path: impl AsRef<std::path::Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let store = crate::engine::open_read_only(path)?;
        let mut seal: Option<Arc<dyn Seal>> = None;
        if store.sealed()?.is_some() {
            #[cfg(feature = "seal")]
            seal.replace(Arc::new(crate::seal::Locked::look(path)?));
            #[cfg(not(feature = "seal"))]
            return Err(StoreError::Sealed { path: path.to_owned() });
        }
        Self::reading(store, seal.take())
    }

    #[cfg(feature = "journal")]
    fn reading(store: Arc<dyn Store>, seal: Option<Arc<dyn Seal>>) -> Result<Self, StoreError> {
        let next = store.head(&LogId::main())?.next_seq;
        let history = crate::scan::LogHistory::new(Arc::clone(&store), LogId::main()).opened_by(seal.clone());
        let feed = toka_bus::Feed::with_history(next, 1, Arc::new(history));
        // The feed ends here: a subscription reads what there is, then hears that it is closed.
        Ok(Self {
            committer: None,
            feed: feed.handle(),
            store,
            log: LogId::main(),
            seal,
            #[cfg(feature = "seal")]
            keyring: None,
        })
    }

    /// A vault that lives and dies with the process.
    pub fn in_memory() -> Self {
        Self::with_store(Arc::new(MemoryStore::new()), LogId::main()).expect("an empty store opens")
    }

    /// A vault over `store`, on `log`. The bus closes the store when it ends.
    pub fn with_store(store: Arc<dyn Store>, log: LogId) -> Result<Self, StoreError> {
        Self::with_seal(store, log, None)
    }

    /// The same for a store whose content is sealed: what is committed is sealed with `seal`, and what is read is
    /// opened.
    pub fn with_seal(
        store: Arc<dyn Store>,
        log: LogId,
        seal: Option<Arc<dyn Seal>>,
    ) -> Result<Self, StoreError> {
        let (committer, feed) = Committer::start(Arc::clone(&store), log.clone(), seal.clone())?;
        Ok(Self {
            committer: Some(Arc::new(committer)),
            feed,
            store,
            log,
            seal,
            #[cfg(feature = "seal")]
            keyring: None,
        })
    }

    /// Commits `payload` as an event of `kind` with the given causes, durably when it returns.
    ///
    /// A `vector` becomes an event of its own, `vector.recorded`, in the same batch. An event that was
    /// committed before is not stored again: its first header is returned.
    pub async fn commit<T: Serialize + ?Sized>(
        &self,
        payload: &T,
        parents: &[EventHeader],
        kind: &str,
        vector: impl IntoVector,
    ) -> Result<EventHeader, StoreError> {
        let (event, vector) = self.prepare(payload, parents.iter().map(|p| p.id), kind, vector)?;
        let committed = self.committer()?.commit(vec![event], vector).await?;
        first_header(committed)
    }

    /// As [`commit`](Self::commit), with the causes by id.
    pub async fn commit_after<T: Serialize + ?Sized>(
        &self,
        payload: &T,
        parents: &[EventId],
        kind: &str,
        vector: impl IntoVector,
    ) -> Result<EventHeader, StoreError> {
        let (event, vector) = self.prepare(payload, parents.iter().copied(), kind, vector)?;
        let committed = self.committer()?.commit(vec![event], vector).await?;
        first_header(committed)
    }

    /// Commits `events` in one atomic batch, durably when it returns. A later one may name an earlier one
    /// as its cause.
    pub async fn commit_batch(&self, events: Vec<NewEvent>) -> Result<Vec<Committed>, StoreError> {
        self.committer()?.commit(events, None).await
    }

    /// A handle for code without an executor.
    pub fn blocking(&self) -> Blocking<'_> {
        Blocking(self)
    }

    /// The headers of everything that is committed from now on.
    pub fn subscribe(&self) -> Headers {
        Headers::new(self.feed.subscribe())
    }

    /// Every event from number `seq` on that passes `filter`: first what is stored, then live, without a
    /// gap or a duplicate.
    pub fn subscribe_from(&self, seq: u64, filter: Filter) -> Subscription {
        self.feed.subscribe_from(seq, filter)
    }

    /// The payloads of the events at or below `kind` that are committed from now on.
    pub fn subscribe_as<T: EventPayload>(&self, kind: &str) -> Typed<T> {
        Typed::new(self.feed.subscribe_live(Filter::all().kind(kind)))
    }

    /// The event with this id.
    pub fn get(&self, id: &EventId) -> Result<Option<Arc<Record>>, StoreError> {
        let Some(seq) = self.store.position(&self.log, id)? else { return Ok(None) };
        self.get_seq(seq)
    }

    /// The event with this number.
    pub fn get_seq(&self, seq: u64) -> Result<Option<Arc<Record>>, StoreError> {
        let record = self.store.read(&self.log, seq, 1)?.pop();
        Ok(match &self.seal {
            Some(seal) => record.map(|record| seal.opened(&record)),
            None => record,
        })
    }

    /// Why content that an event names is not with it; `None` for content that is there, or was never there.
    pub fn gone(&self, digest: &Digest) -> Result<Option<Gone>, StoreError> {
        match (&self.seal, self.store.content(digest)?) {
            (Some(seal), Some(stored)) => Ok(seal.open(&stored).err()),
            _ => self.store.gone(digest),
        }
    }

    /// The stored events from number `from` on that pass `filter`, in order.
    pub fn scan(&self, from: u64, filter: Filter) -> Scan {
        scan(Arc::clone(&self.store), self.log.clone(), from, filter).opened_by(self.seal.clone())
    }

    /// The events that name `id` as a cause, in order.
    pub fn children(&self, id: &EventId) -> Result<Vec<Arc<Record>>, StoreError> {
        self.scan(0, Filter::all().parent(*id)).collect()
    }

    /// How many events the log has.
    pub fn len(&self) -> Result<u64, StoreError> {
        Ok(self.store.head(&self.log)?.next_seq)
    }

    /// True if the log has no events.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.len()? == 0)
    }

    /// What the vault holds and what that takes.
    pub fn statistics(&self) -> Result<Statistics, StoreError> {
        self.store.statistics()
    }

    /// The store behind the vault, for reads that this type does not offer. Of a sealed vault it has content as it is
    /// stored.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn prepare<T: Serialize + ?Sized>(
        &self,
        payload: &T,
        parents: impl IntoIterator<Item = EventId>,
        kind: &str,
        vector: impl IntoVector,
    ) -> Result<(NewEvent, Option<Vec<f32>>), StoreError> {
        let event = NewEvent::new(Kind::new(kind)?).author(EntityId::NONE).parents(parents);
        Ok((event.content(encode(payload)?), vector.into_vector()))
    }

    fn committer(&self) -> Result<&Committer, StoreError> {
        self.committer.as_deref().ok_or(StoreError::Closed)
    }
}

impl Blocking<'_> {
    /// As [`VaultBus::commit`]. Not for use inside an executor.
    pub fn commit<T: Serialize + ?Sized>(
        &self,
        payload: &T,
        parents: &[EventHeader],
        kind: &str,
        vector: impl IntoVector,
    ) -> Result<EventHeader, StoreError> {
        let (event, vector) = self.0.prepare(payload, parents.iter().map(|p| p.id), kind, vector)?;
        first_header(self.0.committer()?.commit_blocking(vec![event], vector)?)
    }

    /// As [`VaultBus::commit_batch`]. Not for use inside an executor.
    pub fn commit_batch(&self, events: Vec<NewEvent>) -> Result<Vec<Committed>, StoreError> {
        self.0.committer()?.commit_blocking(events, None)
    }
}

fn first_header(committed: Vec<Committed>) -> Result<EventHeader, StoreError> {
    committed.into_iter().next().map(|c| c.record.header.clone()).ok_or(StoreError::Closed)
}
