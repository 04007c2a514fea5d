//! The agent: a folder as events, once or for as long as it runs.

use std::collections::{BTreeSet, HashSet};
use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use toka_toolkit_core::Storage;
use tokio::task::spawn_blocking;

use super::folder::{self, Kept};
use super::index::{Index, SAVED_KEY};
use super::options::{IndexerError, IndexerOptions, MAX_FILE_BYTES_LIMIT};
use super::pass::{Gone, Pass, Refused, Run};
use super::report::{IndexReport, Phase};
use super::rules::Subjects;
use super::walk::{Entry, Lookup, Walker};
use super::watch::{Changed, Watch, WatchError};
use crate::agent::Agent;
use crate::context::{AgentContext, AgentError};

/// A file changed less than this before it is looked at may change again without looking different: file systems
/// count time in steps, of which two seconds is the coarsest in use.
const TIME_STEP: Duration = Duration::from_secs(2);

/// Keeps a folder in the log: its texts, cut into chunks, and what becomes of them.
///
/// Files are listed by the agent itself and read through the tool `fs.read`, so that its grant decides which. What
/// the log says is compared with what is there, at the start and whenever something changes; only what differs
/// becomes an event ([`content`](super::content) lists them). After a crash at any moment the next run completes
/// what was begun. With [`AgentContext::is_once`], or if it shall not watch, it ends after one scan.
///
/// In the storage `local` it keeps a copy of what it knows, which may be lost.
#[derive(Debug)]
pub struct IndexerAgent {
    walker: Arc<Walker>,
    watch: bool,
    max_file_bytes: u64,
    subjects: Subjects,
    report: Arc<IndexReport>,
}

impl IndexerAgent {
    /// An agent for a folder, which is opened now: it stays the same folder when it is renamed.
    ///
    /// # Errors
    /// [`IndexerError`]: there is no such folder, it cannot be opened, or a glob or a subject's name is not valid.
    pub fn new(options: IndexerOptions) -> Result<Self, IndexerError> {
        let subjects = Subjects::new(&options.subjects).map_err(IndexerError::Subjects)?;
        Ok(Self {
            subjects,
            walker: Arc::new(options.open()?),
            watch: options.watch,
            max_file_bytes: options.max_file_bytes.min(MAX_FILE_BYTES_LIMIT),
            report: Arc::default(),
        })
    }

    /// How far it has come.
    pub fn report(&self) -> Arc<IndexReport> {
        Arc::clone(&self.report)
    }
}

impl Agent for IndexerAgent {
    async fn run(&self, ctx: AgentContext) -> anyhow::Result<()> {
        let storage = ctx.storage("local");
        if let Err(error) = &storage {
            tracing::warn!(%error, "without storage every file is read again at the next start");
        }
        let mut work = Work {
            agent: self,
            ctx: &ctx,
            storage: storage.ok(),
            index: None,
            refused: Refused::new(),
            former: None,
        };
        work.look_back().await;
        let outcome = work.go().await;
        work.save().await;
        self.report.enter(Phase::Ended);
        match outcome {
            Ok(()) | Err(Failure::Agent(AgentError::Stopped)) => Ok(()),
            Err(Failure::Agent(error)) => Err(error.into()),
            Err(Failure::Watch(error)) => Err(error.into()),
        }
    }
}

/// Why an indexer ends before its time.
enum Failure {
    Agent(AgentError),
    Watch(WatchError),
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        Self::Agent(error)
    }
}

impl From<WatchError> for Failure {
    fn from(error: WatchError) -> Self {
        Self::Watch(error)
    }
}

/// One run of the agent.
struct Work<'a> {
    agent: &'a IndexerAgent,
    ctx: &'a AgentContext,
    storage: Option<Arc<dyn Storage>>,
    /// `None` until the log has been read.
    index: Option<Index>,
    refused: Refused,
    /// Another folder, which is still there, if the last run kept that one.
    former: Option<PathBuf>,
}

impl Work<'_> {
    async fn go(&mut self) -> Result<(), Failure> {
        self.agent.report.enter(Phase::Recalling);
        let saved = self.saved().await;
        self.index = Some(Index::recall(self.ctx, saved.as_deref()).await?);
        if self.ctx.is_once() || !self.agent.watch {
            return Ok(self.scan().await?);
        }
        // Watched first, so that nothing that changes during the scan is missed.
        let walker = Arc::clone(&self.agent.walker);
        let watch = blocking(move || Watch::start(walker)).await?;
        self.scan().await?;
        self.save().await;
        self.follow(watch?).await
    }

    async fn follow(&mut self, mut watch: Watch) -> Result<(), Failure> {
        loop {
            self.agent.report.enter(Phase::Watching);
            // Only here does it wait for the end: a host takes an agent that does so for one with nothing to do.
            match until(self.ctx.stopped(), watch.changed()).await.flatten() {
                Some(Changed::Paths(paths)) => self.recheck(paths).await?,
                Some(Changed::Rescan) => {
                    self.scan().await?;
                    self.save().await;
                }
                Some(Changed::Failed(error @ WatchError::RootGone { .. })) => return Err(error.into()),
                // Already logged where it happened; the rest is still watched.
                Some(Changed::Failed(_)) => {}
                None => return Ok(()),
            }
        }
    }

    /// Compares the whole folder with the index.
    async fn scan(&mut self) -> Result<(), AgentError> {
        let report = &self.agent.report;
        report.begin_scan();
        report.enter(Phase::Listing);
        let settled_ns = settled_ns();
        let walker = Arc::clone(&self.agent.walker);
        let counted = Arc::clone(report);
        let listing = Listing::default();
        let abandoned = Arc::clone(&listing.0);
        let entries: Vec<Entry> = blocking(move || {
            let wanted = walker.walk().take_while(|_| !abandoned.load(Relaxed));
            wanted.inspect(|_| counted.found(1)).collect()
        })
        .await?;
        drop(listing);
        // Listing nothing because the folder itself cannot be read does not mean that all files have gone.
        if entries.iter().any(|entry| entry.path.is_empty()) {
            let folder = self.agent.walker.root().display();
            return Err(AgentError::Invalid(format!(
                "the folder {folder} cannot be read any more; check its permissions"
            )));
        }
        let mut gone = Gone::default();
        let here: HashSet<&[u8]> = entries.iter().map(|entry| entry.path.as_slice()).collect();
        for (path, digest) in self.index.iter().flat_map(Index::indexed) {
            if !here.contains(path.as_slice()) {
                gone.insert(path.clone(), digest);
            }
        }
        drop(here);
        if let Some(former) = self.former.take().filter(|_| gone.count() > 0) {
            let shown = |folder: &Path| toka_types::path::for_terminal(&folder.to_string_lossy());
            let (former, here) = (shown(&former), shown(self.agent.walker.root()));
            tracing::warn!(
                "this agent kept {former} before; {} of its files are not in {here} and are recorded as removed; to \
                 keep both, give each folder an agent or a vault of its own",
                gone.count()
            );
        }
        let root = toka_types::path::for_terminal(&self.agent.walker.root().to_string_lossy());
        tracing::debug!(found = entries.len(), gone = gone.count(), "{root} is listed");
        self.pass(settled_ns, gone, entries).await?;
        tracing::debug!("what is in the log is what is in {root}");
        self.look_ahead().await;
        Ok(())
    }

    /// Compares some paths with the index.
    async fn recheck(&mut self, paths: BTreeSet<Vec<u8>>) -> Result<(), AgentError> {
        let settled_ns = settled_ns();
        let walker = Arc::clone(&self.agent.walker);
        let found = blocking(move || {
            let lookup = |path: Vec<u8>| (walker.lookup(&path), path);
            paths.into_iter().map(lookup).collect::<Vec<_>>()
        })
        .await?;
        let mut gone = Gone::default();
        let mut entries = Vec::new();
        for (what, path) in found {
            let is_entry = matches!(what, Lookup::Entry(_));
            let is_dir = matches!(what, Lookup::Dir);
            if let Lookup::Entry(entry) = what {
                entries.push(entry);
            }
            let Some(index) = &self.index else { continue };
            // What was known as a file is gone if it is none now, and what was known below if it is no folder.
            if !is_entry && let Some(digest) = index.digest(&path) {
                gone.insert(path.clone(), digest);
            }
            if !is_dir {
                for (below, digest) in index.indexed_below(&path) {
                    gone.insert(below.clone(), digest);
                }
            }
        }
        tracing::debug!(there = entries.len(), gone = gone.count(), "something changed");
        self.agent.report.found(entries.len());
        self.pass(settled_ns, gone, entries).await
    }

    async fn pass(&mut self, settled_ns: i64, gone: Gone, entries: Vec<Entry>) -> Result<(), AgentError> {
        let Some(index) = &mut self.index else { return Ok(()) };
        self.agent.report.enter(Phase::Reading);
        let IndexerAgent { report, subjects, max_file_bytes, .. } = self.agent;
        let run = Run { ctx: self.ctx, report, subjects, max_file_bytes: *max_file_bytes };
        Pass::new(run, index, &mut self.refused, settled_ns, gone, entries).complete().await
    }

    /// Finds out whether the agent kept another folder before.
    async fn look_back(&mut self) {
        let Some(storage) = self.storage.clone() else { return };
        let walker = Arc::clone(&self.agent.walker);
        let kept = blocking(move || folder::kept(storage.as_ref(), walker.root())).await;
        self.former = match kept {
            Ok(Kept::Other(former)) => Some(former),
            _ => None,
        };
    }

    /// Notes which folder is in the log now.
    async fn look_ahead(&self) {
        let Some(storage) = self.storage.clone() else { return };
        let walker = Arc::clone(&self.agent.walker);
        let _ = blocking(move || folder::note(storage.as_ref(), walker.root())).await;
    }

    async fn saved(&self) -> Option<Vec<u8>> {
        let storage = Arc::clone(self.storage.as_ref()?);
        match blocking(move || storage.get(SAVED_KEY)).await {
            Ok(Ok(saved)) => saved,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the saved index cannot be read; it is made anew from the log");
                None
            }
            Err(_) => None,
        }
    }

    /// Saves the index. That it cannot be saved is no failure: all it holds can be had again.
    async fn save(&self) {
        let (Some(storage), Some(index)) = (self.storage.clone(), &self.index) else { return };
        let saved = match index.encode() {
            Ok(bytes) => blocking(move || storage.put(SAVED_KEY, &bytes).map_err(|e| e.to_string())).await,
            Err(error) => Ok(Err(error.to_string())),
        };
        if let Ok(Err(error)) = saved {
            tracing::warn!(error, "the index cannot be saved; the next start takes longer");
        }
    }
}

/// Ends the listing of a folder when nobody waits for it any more.
#[derive(Default)]
struct Listing(Arc<AtomicBool>);

impl Drop for Listing {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Runs `work` on a thread for work that blocks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, AgentError> {
    spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => AgentError::Stopped,
    })
}

/// What `work` gives, or `None` if `stop` is ready first.
async fn until<T>(stop: impl Future<Output = ()>, work: impl Future<Output = T>) -> Option<T> {
    let (mut stop, mut work) = (pin!(stop), pin!(work));
    poll_fn(|cx| {
        if stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        work.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Before this, in nanoseconds since 1970, what changed is sure to look different when it changes again. Read from
/// the system's clock, since it is compared with times that the file system took from there.
fn settled_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.saturating_sub(TIME_STEP).as_nanos()).unwrap_or(i64::MAX)
}
