//! Behaviours: the programs that a configuration can name for an agent to run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
#[cfg(feature = "scheduler")]
use std::time::Duration;

use toka_agents::{Agent, DynAgent, Logger};
use toka_types::Capability;
use toka_types::operation::GrantTerms;

use crate::config::{AgentConfig, RuntimeConfig};

/// An agent ready to be started, with the power it needs.
pub struct Prepared {
    /// The program.
    pub agent: Arc<dyn DynAgent>,
    /// What it is granted where the configuration does not say.
    pub default_grant: Vec<Capability>,
    /// What it needs for its own records. It is added to a configured grant that says nothing about that
    /// resource, so that `grant = ["tool:fs.read(path=docs/**)"]` limits what it may reach, not what it may write
    /// down.
    pub intrinsic: Vec<Capability>,
    /// What it may hand on to agents that it spawns; they get nothing else.
    pub delegates: Vec<Capability>,
    /// What it was configured to do with labelled data: rules of the flow policy, beside those of the configuration.
    pub flow: Vec<toka_types::FlowRule>,
    /// The folder beneath which its tools find their paths.
    pub root: Option<PathBuf>,
    /// True for a program that keeps its sources apart: what it does has the causes that it names, and no others. Of any
    /// other program everything that was delivered to a context is a cause of what is done in it.
    pub keeps_apart: bool,
}

impl Prepared {
    /// `agent` with the right to record events, send messages and schedule tasks, and to nothing else.
    pub fn new(agent: impl Agent) -> Self {
        let intrinsic = capabilities(&["event:emit", "message:send", "task:schedule"]);
        Self {
            agent: Arc::new(agent),
            default_grant: Vec::new(),
            intrinsic,
            delegates: Vec::new(),
            flow: Vec::new(),
            root: None,
            keeps_apart: false,
        }
    }

    /// Grants these too where the configuration does not say.
    #[must_use]
    pub fn granted(mut self, texts: &[&str]) -> Self {
        self.default_grant = capabilities(texts);
        self
    }

    /// Lets it hand these on to agents that it spawns.
    #[must_use]
    pub fn delegating(mut self, texts: &[&str]) -> Self {
        self.delegates = capabilities(texts);
        self
    }

    /// Gives its tools a folder.
    #[must_use]
    pub fn rooted(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// Lets it name the causes of what it does. Only for a program that is driven by no data: it answers for what its labels
    /// say.
    #[must_use]
    pub fn keeping_sources_apart(mut self) -> Self {
        self.keeps_apart = true;
        self
    }

    /// The terms of the agent's grant under a configuration.
    pub(crate) fn terms(&self, configured: Option<&[String]>) -> anyhow::Result<GrantTerms> {
        let mut uses = match configured {
            None => self.default_grant.clone(),
            Some(texts) => {
                texts.iter().map(|text| Ok(text.parse::<Capability>()?)).collect::<anyhow::Result<_>>()?
            }
        };
        for own in &self.intrinsic {
            if !uses.iter().any(|c| c.resource().is_none() || c.resource() == own.resource()) {
                uses.push(own.clone());
            }
        }
        uses.sort();
        uses.dedup();
        let mut delegates = self.delegates.clone();
        delegates.sort();
        delegates.dedup();
        Ok(GrantTerms { uses, delegates, expires: None })
    }
}

fn capabilities(texts: &[&str]) -> Vec<Capability> {
    texts.iter().map(|text| text.parse().expect("a capability written in this program")).collect()
}

/// What a behaviour is told of the runtime it is prepared for.
pub struct Circumstances<'a> {
    /// The whole configuration.
    pub config: &'a RuntimeConfig,
    /// Folders that no agent may read: the vault's own, and the operator's keys.
    pub protected: &'a [PathBuf],
}

type Factory = Box<dyn Fn(&AgentConfig, &Circumstances<'_>) -> anyhow::Result<Prepared> + Send + Sync>;

/// The behaviours of a runtime, by name.
pub struct Behaviours(BTreeMap<String, Factory>);

impl Default for Behaviours {
    /// Those of this build: `Logger`, and `IndexerAgent` and `SchedulerAgent` where their features are on.
    fn default() -> Self {
        let mut behaviours = Self(BTreeMap::new());
        behaviours.add("Logger", |config, _| {
            let kinds = config.view().texts("kinds").unwrap_or_default();
            Ok(Prepared::new(Logger::of_kinds(kinds.into_iter().map(str::to_owned))))
        });
        #[cfg(feature = "indexer")]
        behaviours.add("IndexerAgent", |config, circumstances| Ok(indexer(config, circumstances)?.0));
        #[cfg(feature = "scheduler")]
        behaviours.add("SchedulerAgent", scheduler);
        behaviours
    }
}

impl Behaviours {
    /// Adds a behaviour, or replaces the one of that name.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        factory: impl Fn(&AgentConfig, &Circumstances<'_>) -> anyhow::Result<Prepared> + Send + Sync + 'static,
    ) {
        self.0.insert(name.into(), Box::new(factory));
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn prepare(
        &self,
        config: &AgentConfig,
        circumstances: &Circumstances<'_>,
    ) -> anyhow::Result<Prepared> {
        let Some(factory) = self.0.get(&config.behaviour) else {
            let known: Vec<&str> = self.names().collect();
            anyhow::bail!(
                "agent '{}': this build has no behaviour '{}'; it has: {}",
                config.name,
                config.behaviour,
                known.join(", ")
            );
        };
        factory(config, circumstances)
    }
}

/// An `IndexerAgent` as configured, and the report it keeps.
///
/// # Errors
/// If `scan_path` is missing or is no folder, or a glob is malformed.
#[cfg(feature = "indexer")]
pub fn indexer(
    config: &AgentConfig,
    circumstances: &Circumstances<'_>,
) -> anyhow::Result<(Prepared, Arc<toka_agents::indexer::IndexReport>)> {
    use toka_agents::indexer::{IndexerAgent, IndexerOptions};
    let view = config.view();
    let owned = |key| view.texts(key).unwrap_or_default().into_iter().map(str::to_owned).collect();
    let Some(scan_path) = view.path("scan_path") else {
        anyhow::bail!("agent '{}' needs a scan_path: the folder to index", config.name);
    };
    let rules = view.tables("subjects");
    let text = |rule: &crate::config::Options<'_>, key: &str| rule.text(key).unwrap_or_default().to_owned();
    let options = IndexerOptions {
        subjects: rules.iter().map(|rule| (text(rule, "glob"), text(rule, "subject"))).collect(),
        scan_path: scan_path.to_path_buf(),
        include: owned("include"),
        exclude: owned("exclude"),
        watch: view.flag("watch").unwrap_or(true),
        max_file_bytes: view.integer("max_file_bytes").unwrap_or(crate::config::MAX_FILE_BYTES_DEFAULT),
        hidden: view.flag("hidden").unwrap_or(false),
        excluded_dirs: circumstances.protected.to_vec(),
    };
    let agent = IndexerAgent::new(options)?;
    let report = agent.report();
    let prepared = Prepared::new(agent).granted(&["tool:fs.read(path=**)"]).rooted(scan_path);
    let mut prepared = prepared.keeping_sources_apart();
    prepared.intrinsic = capabilities(&["event:emit(kind=file.**)"]);
    Ok((prepared, report))
}

/// An `EmbedderAgent` with what makes its vectors, and the report it keeps. A service needs its
/// [tool](toka_agents::embedder::EmbedTool) registered too.
///
/// # Errors
/// If the host of a service cannot stand in a capability.
#[cfg(feature = "embedder")]
pub fn embedder(
    maker: toka_agents::embedder::Maker,
) -> anyhow::Result<(Prepared, Arc<toka_agents::embedder::EmbedReport>)> {
    use toka_agents::embedder::{EmbedderAgent, Maker, TOOL};
    let host = match &maker {
        Maker::Here(_) => None,
        Maker::There(service) => Some(service.host().to_owned()),
    };
    let agent = EmbedderAgent::new(maker);
    let report = agent.report();
    let mut prepared = Prepared::new(agent).keeping_sources_apart();
    if let Some(host) = host {
        prepared.default_grant = vec![format!("tool:{TOOL}(host={host})").parse()?];
    }
    prepared.intrinsic = capabilities(&["event:emit(kind=vector.**)"]);
    // Whoever configured the service wants the passages sent there, wherever they came from. Secrets are another matter.
    prepared.flow = prepared.default_grant.iter().map(embedding).collect::<anyhow::Result<_>>()?;
    Ok((prepared, report))
}

/// The rule that lets passages be sent to a service.
#[cfg(feature = "embedder")]
fn embedding(to: &Capability) -> anyhow::Result<toka_types::FlowRule> {
    Ok(toka_types::FlowRule {
        name: toka_types::Name::new("embedder")?,
        labels: vec!["untrusted:**".parse()?],
        sinks: Vec::new(),
        to: vec![to.clone()],
        verdict: toka_types::Verdict::Allow,
    })
}

/// What an indexer of that name in that vault says about a folder: whether it keeps it, or another one.
///
/// Looks at the agent's own storage alone, and needs no runtime; that of a sealed vault takes its keys.
#[cfg(feature = "indexer")]
pub fn kept(
    vault: &std::path::Path,
    agent: &toka_types::Name,
    folder: &std::path::Path,
    seal: Option<&Arc<dyn toka_types::Seal>>,
) -> toka_agents::indexer::folder::Kept {
    toka_agents::indexer::folder::kept(crate::crew::local_storage(vault, agent, seal).as_ref(), folder)
}

#[cfg(feature = "scheduler")]
fn scheduler(config: &AgentConfig, circumstances: &Circumstances<'_>) -> anyhow::Result<Prepared> {
    use toka_agents::scheduler::{SchedulerAgent, SchedulerOptions, TaskSpec, TaskText};
    let view = config.view();
    let tasks = view.tables("tasks");
    let tasks = tasks.iter().map(|task| {
        TaskSpec::parse(&TaskText {
            name: task.text("name").unwrap_or_default(),
            cron: task.text("cron"),
            every: task.text("every"),
            timezone: task.text("timezone"),
            emit: task.text("emit"),
            send_to: task.text("send_to"),
            message: task.text("message"),
            missed: task.text("missed"),
        })
    });
    let options = SchedulerOptions {
        tasks: tasks.collect::<Result<_, _>>()?,
        tick: Duration::from_millis(circumstances.config.scheduler_tick_ms),
        default_driver: view.text("default_driver").map(str::to_owned),
    };
    Ok(Prepared::new(SchedulerAgent::new(options)?))
}
