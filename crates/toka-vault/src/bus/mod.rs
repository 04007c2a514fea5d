//! [`VaultBus`]: a vault for programs that use it alone, with typed payloads and live subscriptions.

mod blocking;
mod commit;
mod read;
#[cfg(feature = "seal")]
mod sealed;
mod stream;
pub mod vector;

use std::sync::Arc;

use serde::Serialize;
use toka_bus::{Feed, FeedHandle, Filter, Subscription};
use toka_types::{EntityId, EventHeader, EventId, Kind, Seal};

use crate::core::{EventPayload, LogId, NewEvent, encode};
use crate::memory::MemoryStore;
use crate::scan::LogHistory;
use crate::store::{Store, StoreError};
use crate::versioned::Versioned;
use crate::writer::{Committed, Draft};
use commit::{Ask, Asked, Committer};

pub use blocking::Blocking;
pub use stream::{Headers, Typed, TypedError, TypedVersions};
pub use vector::{IntoVector, VECTOR_KIND, VectorContent, VectorFacts, vector_event, vector_of};

/// An open vault: commits, subscriptions and reads on one of its logs. Cheap to clone; when the last
/// clone is dropped, what was committed is closed cleanly.
///
/// Commits that arrive while an earlier one is being synced share the next sync, whichever logs they go to.
///
/// ```
/// # use toka_vault::{Kind, LogId, NewEvent, StoreError, VaultBus};
/// let vault = VaultBus::in_memory();
/// let audit = vault.log(LogId::new("audit")?)?;
/// let event = |kind: &str, text: &str| Ok::<_, StoreError>(NewEvent::new(Kind::new(kind)?).payload(&text.to_owned())?);
///
/// // Both or neither.
/// let parts = vec![
///     (LogId::main(), vec![event("order.placed", "42")?]),
///     (audit.log_id().clone(), vec![event("order.seen", "42")?]),
/// ];
/// vault.blocking().commit_across(parts)?;
/// assert_eq!(vault.logs()?.len(), 2);
///
/// // Only if nobody else committed since.
/// let lost = audit.blocking().commit_batch_at(0, vec![event("order.seen", "43")?]);
/// assert!(matches!(lost, Err(StoreError::Conflict { expected: 0, head: 1, .. })));
/// # Ok::<(), StoreError>(())
/// ```
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
        Self::reading(store, LogId::main(), seal.take())
    }

    /// A vault that lives and dies with the process.
    pub fn in_memory() -> Self {
        Self::with_store(Arc::new(MemoryStore::new()), LogId::main()).expect("an empty store opens")
    }

    /// A vault over `store`, on `log`. The bus closes the store when it ends.
    ///
    /// If somebody else appends to `store` too, the commits that meet that end with [`StoreError::Conflict`]: nothing of
    /// them is stored, and the next ones find the log as it is by then.
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
        let committer = Committer::start(Arc::clone(&store), log.clone(), seal.clone())?;
        let feed = committer.feed(&log)?;
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

    /// A vault over `store` that commits nothing ([`StoreError::Reading`]). Its feed ends where the log does: a subscription reads what there
    /// is, then hears that it is closed.
    pub fn for_reading(store: Arc<dyn Store>, log: LogId) -> Result<Self, StoreError> {
        Self::reading(store, log, None)
    }

    fn reading(store: Arc<dyn Store>, log: LogId, seal: Option<Arc<dyn Seal>>) -> Result<Self, StoreError> {
        Ok(Self {
            committer: None,
            feed: closed_feed(&store, &log, seal.clone())?,
            store,
            log,
            seal,
            #[cfg(feature = "seal")]
            keyring: None,
        })
    }

    /// The same vault on another log, which is made by the first commit to it.
    pub fn log(&self, log: LogId) -> Result<Self, StoreError> {
        let feed = match &self.committer {
            Some(committer) => committer.feed(&log)?,
            None => closed_feed(&self.store, &log, self.seal.clone())?,
        };
        Ok(Self { feed, log, ..self.clone() })
    }

    /// The log that this is.
    pub fn log_id(&self) -> &LogId {
        &self.log
    }

    /// The logs that have events, in the order of their first one.
    pub fn logs(&self) -> Result<Vec<LogId>, StoreError> {
        self.store.logs()
    }

    /// Forks the log after its event number `seq` (see [`fork`](crate::fork)): the new log `name` has all events up
    /// to that one, without a copy, and goes its own way from there.
    ///
    /// # Errors
    /// [`StoreError::ForkPoint`] if there is no such event, [`StoreError::LogExists`] if there is a log `name`.
    pub async fn fork(&self, seq: u64, name: LogId) -> Result<Self, StoreError> {
        self.committer()?.ask(self.fork_asked(seq, &name)).await?;
        self.log(name)
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
        let parents: Vec<EventId> = parents.iter().map(|parent| parent.id).collect();
        self.commit_after(payload, &parents, kind, vector).await
    }

    /// As [`commit`](Self::commit), with the causes by id.
    pub async fn commit_after<T: Serialize + ?Sized>(
        &self,
        payload: &T,
        parents: &[EventId],
        kind: &str,
        vector: impl IntoVector,
    ) -> Result<EventHeader, StoreError> {
        self.commit_event(prepare(payload, parents, kind)?, vector).await
    }

    /// As [`commit_after`](Self::commit_after) for a payload whose type says its kind and version.
    pub async fn commit_as<T: Versioned>(
        &self,
        payload: &T,
        parents: &[EventId],
        vector: impl IntoVector,
    ) -> Result<EventHeader, StoreError> {
        let event = NewEvent::versioned(payload)?.parents(parents.iter().copied());
        self.commit_event(event, vector).await
    }

    async fn commit_event(
        &self,
        event: NewEvent,
        vector: impl IntoVector,
    ) -> Result<EventHeader, StoreError> {
        first_header(self.committer()?.ask(self.asked(vec![event], None, vector.into_vector())).await?)
    }

    /// Commits `events` in one atomic batch, durably when it returns. A later one may name an earlier one
    /// as its cause.
    pub async fn commit_batch(&self, events: Vec<NewEvent>) -> Result<Vec<Committed>, StoreError> {
        first_part(self.committer()?.ask(self.asked(events, None, None)).await?)
    }

    /// As [`commit_batch`](Self::commit_batch), but only if the next number of the log is `expected`: if nobody has
    /// committed to it since the caller looked.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] names the number that it is, and nothing is stored.
    pub async fn commit_batch_at(
        &self,
        expected: u64,
        events: Vec<NewEvent>,
    ) -> Result<Vec<Committed>, StoreError> {
        first_part(self.committer()?.ask(self.asked(events, Some(expected), None)).await?)
    }

    /// Commits to several logs of the vault in one atomic batch: all of it is stored, or nothing. Causes are looked for
    /// in each event's own log; one in another log is a fact, as [`NewEvent::caused_by`] writes it.
    pub async fn commit_across(
        &self,
        parts: Vec<(LogId, Vec<NewEvent>)>,
    ) -> Result<Vec<Vec<Committed>>, StoreError> {
        self.committer()?.ask(self.asked_across(parts)?).await
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

    /// The payloads of `T`'s kind from number `seq` on, whichever version they have, each raised to today's type:
    /// first those that are stored, then live.
    pub fn subscribe_as_from<T: Versioned>(&self, seq: u64) -> TypedVersions<T> {
        TypedVersions::new(self.feed.subscribe_from(seq, Filter::all().kind(T::KIND)))
    }

    fn asked(&self, events: Vec<NewEvent>, expected: Option<u64>, vector: Option<Vec<f32>>) -> Asked {
        let events = self.drafts(events);
        Asked::Commit { parts: vec![Ask::new(self.log.clone(), expected, events)], vector }
    }

    fn asked_across(&self, parts: Vec<(LogId, Vec<NewEvent>)>) -> Result<Asked, StoreError> {
        if let Some(at) = (1..parts.len()).find(|&at| parts[..at].iter().any(|(log, _)| *log == parts[at].0))
        {
            return Err(StoreError::TwoParts { log: parts[at].0.clone() });
        }
        let parts = parts.into_iter().map(|(log, events)| Ask::new(log, None, self.drafts(events)));
        Ok(Asked::Commit { parts: parts.collect(), vector: None })
    }

    /// Whatever can be done with the events before the writer's thread has them. Sealing changes their ids.
    fn drafts(&self, events: Vec<NewEvent>) -> Vec<Draft> {
        let draft = |event| if self.seal.is_some() { Draft::new(event) } else { Draft::new(event).named() };
        events.into_iter().map(draft).collect()
    }

    fn fork_asked(&self, seq: u64, name: &LogId) -> Asked {
        Asked::Fork { base: self.log.clone(), seq, name: name.clone(), author: EntityId::NONE }
    }

    fn committer(&self) -> Result<&Committer, StoreError> {
        self.committer.as_deref().ok_or(StoreError::Reading)
    }
}

/// A feed that ends where the log does.
fn closed_feed(
    store: &Arc<dyn Store>,
    log: &LogId,
    seal: Option<Arc<dyn Seal>>,
) -> Result<FeedHandle, StoreError> {
    let history = LogHistory::new(Arc::clone(store), log.clone()).opened_by(seal);
    Ok(Feed::with_history(store.head(log)?.next_seq, 1, Arc::new(history)).handle())
}

fn prepare<T: Serialize + ?Sized>(
    payload: &T,
    parents: &[EventId],
    kind: &str,
) -> Result<NewEvent, StoreError> {
    let event = NewEvent::new(Kind::new(kind)?).author(EntityId::NONE).parents(parents.iter().copied());
    Ok(event.content(encode(payload)?))
}

fn first_part(committed: Vec<Vec<Committed>>) -> Result<Vec<Committed>, StoreError> {
    committed.into_iter().next().ok_or(StoreError::Closed)
}

fn first_header(committed: Vec<Vec<Committed>>) -> Result<EventHeader, StoreError> {
    let first = first_part(committed)?.into_iter().next();
    first.map(|c| c.record.header.clone()).ok_or(StoreError::Closed)
}
