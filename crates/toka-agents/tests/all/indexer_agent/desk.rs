//! A stand-in for the runtime: a log in memory, a folder on disk, and whatever goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use toka_agents::context::Caller;
use toka_agents::indexer::walk::{WalkOptions, Walker};
use toka_agents::indexer::{IndexSnapshot, IndexerAgent, IndexerOptions};
use toka_agents::{
    Agent, AgentContext, AgentError, BoxFuture, CallOutput, Host, Observed, Receipt, TaskView,
};
use toka_toolkit_core::{Storage, StorageError};
use toka_types::operation::{Cause, Observation, Parent};
use toka_types::{
    Digest, EntityId, Envelope, Event, EventHeader, EventId, GrantId, Kind, Labels, Name, Operation, Payload,
    Timestamp,
};
use tokio::sync::{oneshot, watch};

/// What outlives a crash: the log with its registers, and the storage.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) events: Vec<Arc<Event>>,
    pub(crate) registers: BTreeMap<Digest, Digest>,
    pub(crate) stored: BTreeMap<String, Vec<u8>>,
}

/// Kind and content of all events of a folder, sorted, and the registers.
pub(crate) type Outcome = (Vec<(String, Vec<u8>)>, BTreeMap<Digest, Digest>);

/// What goes wrong in a run.
#[derive(Clone, Default)]
pub(crate) struct Fate {
    /// Paths that the grant does not cover.
    pub(crate) denied: BTreeSet<String>,
    /// The batch at which the process ends, counted from 0, and whether the log still has that batch.
    pub(crate) crash: Option<(usize, bool)>,
    /// The batch at which the runtime is told to stop.
    pub(crate) stop: Option<usize>,
    /// The batch at which the disk is full.
    pub(crate) full: Option<usize>,
}

/// A folder and a log.
pub(crate) struct Desk {
    pub(crate) dir: TempDir,
    pub(crate) disk: Arc<Mutex<Disk>>,
}

struct FakeHost {
    walker: Walker,
    disk: Arc<Mutex<Disk>>,
    fate: Fate,
    batches: Mutex<usize>,
    stop: watch::Sender<bool>,
    /// How many waits for the end are under way: the runtime takes an agent in one for idle.
    parked: AtomicUsize,
    once: bool,
}

struct Parked<'a>(&'a AtomicUsize);

impl<'a> Parked<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Parked(count)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

struct Memory(Arc<Mutex<Disk>>);

/// A run that watches.
pub(crate) struct Running {
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Desk { dir: tempfile::tempdir().unwrap(), disk: Arc::default() }
    }

    /// The same folder with a log of its own.
    pub(crate) fn with_disk(self, disk: Disk) -> Self {
        *self.disk.lock().unwrap() = disk;
        self
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.root().join(from), self.root().join(to)).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.root().join(path)).unwrap();
    }

    fn context(&self, fate: Fate, once: bool) -> (watch::Sender<bool>, AgentContext) {
        let stop = watch::Sender::new(false);
        let host = FakeHost {
            walker: Walker::open(self.root(), WalkOptions::default()).unwrap(),
            disk: Arc::clone(&self.disk),
            fate,
            batches: Mutex::new(0),
            stop: stop.clone(),
            parked: AtomicUsize::new(0),
            once,
        };
        let name = Name::new("indexer").unwrap();
        let caller = Caller { agent: EntityId::named("indexer"), name, causes: Vec::new() };
        (stop, AgentContext::new(Arc::new(host), caller))
    }

    /// One scan with these options and this fate.
    pub(crate) async fn scan_with(
        &self,
        options: IndexerOptions,
        fate: Fate,
    ) -> (anyhow::Result<()>, IndexSnapshot) {
        let agent = IndexerAgent::new(options).unwrap();
        let (_stop, ctx) = self.context(fate, true);
        let outcome = agent.run(ctx).await;
        (outcome, agent.report().snapshot())
    }

    /// One scan; the events that it added as `kind path`, and its figures.
    pub(crate) async fn scan(&self) -> (Vec<String>, IndexSnapshot) {
        let before = self.disk.lock().unwrap().events.len();
        let (outcome, snapshot) = self.scan_with(IndexerOptions::new(self.root()), Fate::default()).await;
        outcome.unwrap();
        (self.since(before), snapshot)
    }

    /// A run that watches.
    pub(crate) fn watch(&self) -> Running {
        let agent = IndexerAgent::new(IndexerOptions::new(self.root())).unwrap();
        let (stop, ctx) = self.context(Fate::default(), false);
        Running { stop, task: tokio::spawn(async move { agent.run(ctx).await }) }
    }

    /// The events of the folder from a position on, as `kind path`; chunks are left out.
    pub(crate) fn since(&self, from: usize) -> Vec<String> {
        let disk = self.disk.lock().unwrap();
        disk.events[from..].iter().filter_map(|event| shown(event)).collect()
    }

    /// Kind and content of all events of the folder, and the registers.
    pub(crate) fn outcome(&self) -> Outcome {
        let disk = self.disk.lock().unwrap();
        let files = disk.events.iter().filter(|event| event.header.kind.has_prefix("file"));
        let mut contents: Vec<_> =
            files.map(|event| (event.header.kind.to_string(), event.payload().unwrap().to_vec())).collect();
        contents.sort();
        (contents, disk.registers.clone())
    }

    pub(crate) fn events(&self) -> Vec<Arc<Event>> {
        self.disk.lock().unwrap().events.clone()
    }

    pub(crate) fn reads(&self) -> usize {
        let disk = self.disk.lock().unwrap();
        disk.events.iter().filter(|event| event.header.kind.as_str() == "tool.returned").count()
    }
}

/// An event of the folder as `kind path`; `None` for chunks and for others.
fn shown(event: &Event) -> Option<String> {
    let field = |name: &str| {
        let content: serde_json::Value = rmp_serde::from_slice(event.payload()?).ok()?;
        content.get(name)?.as_str().map(str::to_owned)
    };
    Some(match event.header.kind.as_str() {
        "file.indexed" => format!("indexed {}", field("path")?),
        "file.removed" => format!("removed {}", field("path")?),
        "file.moved" => format!("moved {} {}", field("from")?, field("to")?),
        "file.skipped" => format!("skipped {} {}", field("path")?, field("reason")?),
        _ => return None,
    })
}

impl Disk {
    fn append(
        &mut self,
        author: EntityId,
        kind: &str,
        content: Option<Payload>,
        labels: Labels,
        parents: Vec<EventId>,
    ) -> Arc<Event> {
        let prev =
            self.events.iter().rev().find(|event| event.header.author == author).map(|event| event.id());
        for parent in &parents {
            assert!(self.events.iter().any(|event| event.id() == *parent), "a cause that is not in the log");
        }
        let mut header = EventHeader {
            seq: self.events.len() as u64,
            id: EventId::default(),
            at: Timestamp::EPOCH,
            kind: Kind::new(kind).unwrap(),
            author,
            prev,
            parents,
            labels,
            content: content.iter().map(Payload::content_ref).collect(),
            facts: Vec::new(),
        };
        header.id = header.causal_digest();
        header.check_bounds().unwrap();
        let event = Arc::new(Event { header, content: content.into_iter().collect() });
        self.events.push(Arc::clone(&event));
        event
    }

    fn observe(&mut self, author: EntityId, observations: Vec<Observation>) -> Observed {
        let mut events: Observed = Vec::new();
        for observation in observations {
            let parents = observation.parents.iter().map(|parent| match parent {
                Parent::Event(cause) => cause.id,
                Parent::Earlier(index) => events[*index].id(),
            });
            let parents = parents.collect();
            for register in observation.registers {
                match register.value {
                    Some(value) => self.registers.insert(register.key, value),
                    None => self.registers.remove(&register.key),
                };
            }
            events.push(self.append(
                author,
                observation.kind.as_str(),
                observation.content,
                observation.labels,
                parents,
            ));
        }
        events
    }
}

impl Host for FakeHost {
    fn keeps_apart(&self) -> bool {
        true
    }

    fn submit(&self, envelope: Envelope) -> BoxFuture<'_, Result<Receipt, AgentError>> {
        Box::pin(async move {
            let Operation::Observe(observations) = envelope.operation else {
                panic!("an indexer only observes")
            };
            let number = {
                let mut batches = self.batches.lock().unwrap();
                *batches += 1;
                *batches - 1
            };
            assert_eq!(self.parked.load(SeqCst), 0, "it waits for the end while it works");
            if self.fate.stop == Some(number) {
                self.stop.send_replace(true);
            }
            let observe = || self.disk.lock().unwrap().observe(envelope.origin, observations);
            let answer = match (self.fate.crash, self.fate.full) {
                (Some((at, _)), _) if number > at => Err(AgentError::Stopped),
                (Some((at, kept)), _) if number == at => {
                    if kept {
                        observe();
                    }
                    Err(AgentError::Stopped)
                }
                (_, Some(at)) if number >= at => Err(AgentError::Log("no space left on device".into())),
                _ => Ok(observe()),
            };
            let (sender, receiver) = oneshot::channel();
            // Answered later than asked, as a log that has to sync does.
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                let _ = sender.send(answer);
            });
            Ok(Receipt::new(receiver))
        })
    }

    fn call<'a>(
        &'a self,
        caller: &'a Caller,
        tool: &'a str,
        arguments: serde_json::Value,
    ) -> BoxFuture<'a, Result<CallOutput, AgentError>> {
        Box::pin(async move {
            assert_eq!(tool, "fs.read");
            let path = arguments["path"].as_str().unwrap();
            let max_bytes = arguments["max_bytes"].as_u64().unwrap();
            let record = |kind: &str| {
                let event =
                    self.disk.lock().unwrap().append(caller.agent, kind, None, Labels::none(), Vec::new());
                Cause { id: event.id(), labels: Labels::none() }
            };
            if self.fate.denied.contains(path) {
                record("capability.denied");
                return Err(AgentError::Denied {
                    code: "capability.missing".into(),
                    rule: "not granted".into(),
                });
            }
            let read = self.walker.read(&toka_types::path::decode(path).unwrap(), max_bytes);
            let cause = record("tool.returned");
            let failed = |code: &str| AgentError::Tool {
                tool: tool.to_owned(),
                code: code.to_owned(),
                detail: "in words".to_owned(),
                cause: Some(Box::new(cause.clone())),
            };
            match read {
                Ok(Some(bytes)) => {
                    Ok(CallOutput { value: serde_json::Value::Null, bytes: Some(bytes), cause })
                }
                Ok(None) => Err(failed("not-found")),
                Err(reason) => Err(failed(reason.as_str())),
            }
        })
    }

    fn grant(&self, _: EntityId) -> BoxFuture<'_, Result<GrantId, AgentError>> {
        Box::pin(async { Ok(GrantId::default()) })
    }

    fn tasks(&self, _: EntityId) -> BoxFuture<'_, Result<Vec<TaskView>, AgentError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn history<'a>(
        &'a self,
        from: u64,
        limit: usize,
        kind: &'a str,
    ) -> BoxFuture<'a, Result<Observed, AgentError>> {
        Box::pin(async move {
            let disk = self.disk.lock().unwrap();
            let later =
                disk.events.iter().skip(from as usize).filter(|event| event.header.kind.has_prefix(kind));
            Ok(later.take(limit).cloned().collect())
        })
    }

    fn storage(&self, _: &Name, name: &str) -> Result<Arc<dyn Storage>, AgentError> {
        assert_eq!(name, "local");
        Ok(Arc::new(Memory(Arc::clone(&self.disk))))
    }

    fn now(&self) -> Timestamp {
        Timestamp::EPOCH
    }

    fn sleep_until(&self, _: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn stopped(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _parked = Parked::new(&self.parked);
            let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
        })
    }

    fn is_once(&self) -> bool {
        self.once
    }
}

impl Storage for Memory {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        self.0.lock().unwrap().stored.insert(key.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.0.lock().unwrap().stored.get(key).cloned())
    }

    fn delete(&self, key: &str) -> Result<bool, StorageError> {
        Ok(self.0.lock().unwrap().stored.remove(key).is_some())
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let disk = self.0.lock().unwrap();
        Ok(disk.stored.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }
}
