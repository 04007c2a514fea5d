//! Agents that note what they see, and ways to look at a log.

use std::sync::{Arc, Mutex};

use toka_runtime::runtime::{Runtime, RuntimeConfig};
use toka_runtime::testing::TestRuntime;
use toka_runtime::{Agent, AgentContext, Event, EventKind, Filter};

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    pub(crate) fn add(&self, note: impl Into<String>) {
        self.0.lock().expect("no test panics here").push(note.into());
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().expect("no test panics here").clone()
    }
}

/// Notes the kind of every event it is handed.
pub(crate) struct Listener {
    pub(crate) interest: Vec<EventKind>,
    pub(crate) notes: Notes,
}

impl Listener {
    pub(crate) fn new(interest: impl Into<EventKind>, notes: &Notes) -> Self {
        Self { interest: vec![interest.into()], notes: notes.clone() }
    }
}

impl Agent for Listener {
    fn interest(&self) -> Vec<EventKind> {
        self.interest.clone()
    }

    async fn handle(&self, ev: Event) -> anyhow::Result<()> {
        self.notes.add(ev.kind.as_str());
        Ok(())
    }
}

/// Does one thing of its own accord.
pub(crate) struct Doing<F>(pub(crate) F);

impl<F, T> Agent for Doing<F>
where
    F: Fn(AgentContext) -> T + Send + Sync + 'static,
    T: Future<Output = anyhow::Result<()>> + Send,
{
    async fn run(&self, ctx: AgentContext) -> anyhow::Result<()> {
        (self.0)(ctx).await
    }
}

pub(crate) async fn test_runtime() -> TestRuntime {
    TestRuntime::new(RuntimeConfig::default(), |builder| builder).await.expect("a runtime")
}

/// The kinds of all events that the bus still has, in order.
pub(crate) fn kinds(runtime: &Runtime) -> Vec<String> {
    let mut events = runtime.bus().subscribe_from(0, Filter::all());
    let mut kinds = Vec::new();
    loop {
        match events.try_recv() {
            Ok(Some(event)) => kinds.push(event.header.kind.to_string()),
            Ok(None) | Err(toka_runtime::RecvError::Closed) => return kinds,
            Err(toka_runtime::RecvError::Lagged(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) fn count(runtime: &Runtime, kind: &str) -> usize {
    kinds(runtime).iter().filter(|k| *k == kind).count()
}

#[cfg(feature = "vault")]
pub(crate) fn in_vault(path: &std::path::Path) -> RuntimeConfig {
    let vault = Some(toka_runtime::config::VaultConfig::new(path));
    RuntimeConfig { vault, ..RuntimeConfig::default() }
}
