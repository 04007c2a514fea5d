//! The configuration as the runtime reads it, and as a program builds it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toka_kernel::Policy;
use toka_types::facts::LogLimited;
use toml::{Table, Value};

use super::diagnostic::{ConfigError, Position};
use super::environment::Environment;
use super::keys::{
    self, DEFAULT_BUFFER_SIZE, DEFAULT_SCHEDULER_TICK_MS, DEFAULT_SECRET_STORE, KeySpec, Kind, Need,
};
use super::loader::Loader;
use super::{settings, syntax};
use crate::approvals::WhenAsked;

/// Everything a runtime is configured with. `Debug` masks the values of secret keys.
#[derive(Clone, PartialEq)]
pub struct RuntimeConfig {
    /// `[event_bus]`.
    pub event_bus: EventBusConfig,
    /// Milliseconds between two looks of the scheduler at what is due.
    pub scheduler_tick_ms: u64,
    /// File of the secret store.
    pub secret_store: PathBuf,
    /// `[vault]`; none where the section is absent or this build does not read it.
    pub vault: Option<VaultConfig>,
    /// `[embedder]`.
    pub embedder: EmbedderConfig,
    /// `[search]`.
    pub search: SearchConfig,
    /// `[policy]`.
    pub policy: Policy,
    /// `[limits]`; none leaves those of the log.
    pub limits: Option<LogLimited>,
    /// `[approvals]`.
    pub approvals: ApprovalsConfig,
    /// `[tokens]`.
    pub tokens: TokensConfig,
    /// The agents to start, in this order; their names differ.
    pub agents: Vec<AgentConfig>,
    /// `[drivers.NAME]`; those that the build does not read stand as written, `${VAR}` and all.
    pub drivers: BTreeMap<String, Table>,
    /// `[providers.NAME]`; as `drivers`.
    pub providers: BTreeMap<String, Table>,
    /// The file it was loaded from.
    pub source: Option<PathBuf>,
}

/// `[event_bus]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventBusConfig {
    /// Events held in memory for subscribers that have not read them yet.
    pub buffer_size: usize,
}

/// `[vault]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultConfig {
    /// Folder of the vault; `None` leaves it to the program.
    pub path: Option<PathBuf>,
    /// How long content is kept; without rules, for ever.
    pub retain: Vec<RetainRule>,
    /// How often a running runtime drops what the rules let go; the default if it is `None`.
    pub compact_every: Option<Duration>,
}

/// `[embedder]`: what turns passages into vectors, beside what the vault itself teaches.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum EmbedderConfig {
    /// Nothing more.
    #[default]
    Lexical,
    /// A model in a folder, computed on this machine.
    Local {
        /// The folder.
        path: PathBuf,
    },
    /// A service with OpenAI's API.
    OpenAi(OpenAiConfig),
}

/// A service with OpenAI's API of embeddings. `Debug` masks the key.
#[derive(Clone, PartialEq, Eq)]
pub struct OpenAiConfig {
    /// Where the API begins.
    pub base_url: String,
    /// The name of the model.
    pub model: String,
    /// The key, if the service wants one.
    pub api_key: Option<String>,
    /// How many components to ask for; `None`: as many as the model gives.
    pub dimensions: Option<usize>,
}

/// `[search]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SearchConfig {
    /// What finds words; `None`: what the vault has had, at first the built-in engine.
    pub engine: Option<SearchEngine>,
}

/// What finds words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchEngine {
    /// The engine that every build has.
    Builtin,
    /// The one for large vaults, in builds with the feature `search-tantivy`.
    Tantivy,
}

/// `[approvals]`: what a call does that a person has to allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ApprovalsConfig {
    /// What it does; `None`: it fails in a run that ends by itself, and waits in any other.
    pub when_asked: Option<WhenAsked>,
    /// How long it waits at most; `None`: as long as the question stands.
    pub time_limit: Option<Duration>,
}

/// `[tokens]`: what carries grants across the edge of the process.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum TokensConfig {
    /// What the build signs with the operator's key.
    #[default]
    Operator,
    /// JWTs that the operator's key signs.
    EdDsa,
    /// JWTs under a shared secret.
    Hs256 {
        /// The file of the secret.
        secret: PathBuf,
    },
}

/// One of `[vault] retain`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RetainRule {
    /// The beginning of the kinds of events whose content it is about; `None`: all kinds.
    pub kind: Option<String>,
    /// Content of older events goes.
    pub age: Option<Duration>,
    /// Most bytes of content that are kept, the newest ones.
    pub size: Option<u64>,
    /// Whether it is about passages of files that are still there too.
    pub live: bool,
}

/// One of `[[agents]]`. `Debug` masks the values of secret keys.
#[derive(Clone, PartialEq)]
pub struct AgentConfig {
    /// Name, different from every other agent's.
    pub name: String,
    /// Name of the behaviour; the agent's own name unless given.
    pub behaviour: String,
    /// Capabilities as written; none where the key is absent, which is not the same as an empty list.
    pub grant: Option<Vec<String>>,
    /// The keys of the behaviour that were given, expanded, paths resolved. [`AgentConfig::view`] adds defaults.
    pub options: Table,
    /// Where the agent stands in its file.
    pub position: Option<Position>,
}

/// The options of an agent, or of one table in them, with the defaults of its behaviour. A value of another
/// type than asked for reads as absent; a configuration that was loaded or [checked](Loader::check) holds none.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    table: &'a Table,
    specs: &'static [KeySpec],
}

impl RuntimeConfig {
    /// Loads `path` as [`Loader::default`] does: features of this build, environment of this process.
    /// Warnings are dropped; [`Loader::load`] returns them.
    ///
    /// # Errors
    /// Every problem of the file and of the environment, at once.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Ok(Loader::default().load(path.as_ref())?.config)
    }

    /// Reads a configuration from `text`. `${VAR}` refers to the environment of this process, which overrides
    /// nothing here; relative paths stay relative.
    ///
    /// # Errors
    /// Every problem of the text at once.
    pub fn from_toml_str(text: &str) -> Result<Self, ConfigError> {
        let loader = Loader { overrides: false, ..Loader::default() };
        Ok(loader.environment(Environment::of_process()).parse(text, None)?.config)
    }

    /// This configuration with one agent more.
    #[must_use]
    pub fn agent(mut self, agent: AgentConfig) -> Self {
        self.agents.push(agent);
        self
    }
}

impl Default for RuntimeConfig {
    /// What an empty file says: no agents, no vault, the defaults of every key.
    fn default() -> Self {
        Self {
            event_bus: EventBusConfig::default(),
            scheduler_tick_ms: DEFAULT_SCHEDULER_TICK_MS,
            secret_store: PathBuf::from(DEFAULT_SECRET_STORE),
            vault: None,
            embedder: EmbedderConfig::default(),
            search: SearchConfig::default(),
            policy: Policy::default(),
            limits: None,
            approvals: ApprovalsConfig::default(),
            tokens: TokensConfig::default(),
            agents: Vec::new(),
            drivers: BTreeMap::new(),
            providers: BTreeMap::new(),
            source: None,
        }
    }
}

impl Default for EventBusConfig {
    fn default() -> Self {
        Self { buffer_size: usize::try_from(DEFAULT_BUFFER_SIZE).unwrap_or(usize::MAX) }
    }
}

impl VaultConfig {
    /// A vault in this folder whose content is kept for ever.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), retain: Vec::new(), compact_every: None }
    }
}

impl AgentConfig {
    /// An agent whose behaviour has its own name, with the default grant and no options.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { behaviour: name.clone(), name, grant: None, options: Table::new(), position: None }
    }

    /// This agent with another behaviour than the one of its name.
    #[must_use]
    pub fn behaves_as(mut self, behaviour: impl Into<String>) -> Self {
        self.behaviour = behaviour.into();
        self
    }

    /// This agent with exactly these capabilities.
    #[must_use]
    pub fn granted<S: Into<String>>(mut self, capabilities: impl IntoIterator<Item = S>) -> Self {
        self.grant = Some(capabilities.into_iter().map(Into::into).collect());
        self
    }

    /// This agent with `key` set to `value`, which is taken literally: no `${VAR}`, no path resolved.
    #[must_use]
    pub fn option(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.options.insert(key.into(), value.into());
        self
    }

    /// The options with the defaults of the behaviour.
    pub fn view(&self) -> Options<'_> {
        let specs = keys::behaviour(&self.behaviour).map_or(&[][..], |behaviour| behaviour.keys.keys);
        Options { table: &self.options, specs }
    }
}

impl<'a> Options<'a> {
    /// A string.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        match (self.table.get(key), self.default(key)) {
            (Some(value), _) => value.as_str(),
            (None, Some(keys::DefaultValue::Text(text))) => Some(text),
            _ => None,
        }
    }

    /// A string as a path.
    pub fn path(&self, key: &str) -> Option<&'a Path> {
        self.text(key).map(Path::new)
    }

    /// A string as a duration.
    pub fn duration(&self, key: &str) -> Option<Duration> {
        self.text(key).and_then(|text| syntax::parse_duration(text).ok())
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match (self.table.get(key), self.default(key)) {
            (Some(value), _) => value.as_bool(),
            (None, Some(keys::DefaultValue::Flag(flag))) => Some(flag),
            _ => None,
        }
    }

    /// An integer that is not negative.
    pub fn integer(&self, key: &str) -> Option<u64> {
        match (self.table.get(key), self.default(key)) {
            (Some(value), _) => value.as_integer().and_then(|number| u64::try_from(number).ok()),
            (None, Some(keys::DefaultValue::Integer(number))) => Some(number),
            _ => None,
        }
    }

    /// An array of strings; none where the key is absent.
    pub fn texts(&self, key: &str) -> Option<Vec<&'a str>> {
        self.table.get(key)?.as_array()?.iter().map(Value::as_str).collect()
    }

    /// An array of tables; empty where the key is absent.
    pub fn tables(&self, key: &str) -> Vec<Options<'a>> {
        let specs = match self.spec(key).map(|spec| spec.kind) {
            Some(Kind::Tables { keys, .. }) => keys.keys,
            _ => &[],
        };
        let items = self.table.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        items.iter().filter_map(Value::as_table).map(|table| Options { table, specs }).collect()
    }

    /// The value as it was given, for keys outside the table of known ones.
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.table.get(key)
    }

    fn spec(&self, key: &str) -> Option<&'static KeySpec> {
        self.specs.iter().find(|spec| spec.name == key)
    }

    fn default(&self, key: &str) -> Option<keys::DefaultValue> {
        match self.spec(key)?.need {
            Need::Default(value) => Some(value),
            _ => None,
        }
    }
}

/// A table whose secrets do not show.
struct Masked<'a>(&'a Table);

impl fmt::Debug for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        settings::to_json(&Value::Table(self.0.clone())).fmt(f)
    }
}

impl fmt::Debug for RuntimeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masked = |tables: &BTreeMap<String, Table>| {
            let tables =
                tables.iter().map(|(name, table)| (name.clone(), Value::Table(table.clone()))).collect();
            settings::to_json(&Value::Table(tables))
        };
        f.debug_struct("RuntimeConfig")
            .field("event_bus", &self.event_bus)
            .field("scheduler_tick_ms", &self.scheduler_tick_ms)
            .field("secret_store", &self.secret_store)
            .field("vault", &self.vault)
            .field("embedder", &self.embedder)
            .field("search", &self.search)
            .field("policy", &self.policy.rules())
            .field("limits", &self.limits)
            .field("approvals", &self.approvals)
            .field("tokens", &self.tokens)
            .field("agents", &self.agents)
            .field("drivers", &masked(&self.drivers))
            .field("providers", &masked(&self.providers))
            .field("source", &self.source)
            .finish()
    }
}

impl fmt::Debug for OpenAiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiConfig")
            .field("base_url", &self.base_url)
            .field("model", &self.model)
            .field("api_key", &self.api_key.as_ref().map(|_| settings::MASK))
            .field("dimensions", &self.dimensions)
            .finish()
    }
}

impl fmt::Debug for AgentConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentConfig")
            .field("name", &self.name)
            .field("behaviour", &self.behaviour)
            .field("grant", &self.grant)
            .field("options", &Masked(&self.options))
            .field("position", &self.position)
            .finish()
    }
}
