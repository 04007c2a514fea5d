//! Loads a configuration: file, environment, checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use toka_types::FlowRule;

use super::check::{Checker, Found};
use super::diagnostic::{ConfigError, Diagnostic, Failure, MAX_DIAGNOSTICS, Place, Position, Severity};
use super::environment::Environment;
use super::keys::TANTIVY;
use super::model::{EmbedderConfig, RuntimeConfig, SearchEngine};
use super::overrides::{self, Overrides};
use super::parse::{self, Parsed};
use super::settings::Setting;
use super::source::{At, Source};
use super::tree::{self, Entries, Entry, Node, Value};

/// Largest configuration file, in bytes: what people write is a thousandth of it, and what is larger is
/// probably another file.
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// What the program that loads was built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildInfo {
    /// Features: `vault`, `driver-s3`, … A section whose feature is not among them is reported and ignored.
    pub features: Vec<String>,
    /// Behaviours that the program registers besides [`BEHAVIOURS`](super::BEHAVIOURS). Their keys are expanded, not checked.
    pub behaviours: Vec<String>,
    /// Drivers that the program registers, so that their `[drivers.NAME]` is read.
    pub drivers: Vec<String>,
    /// Providers that the program registers, so that their `[providers.NAME]` is read.
    pub providers: Vec<String>,
}

/// Says what is wrong with a string, if anything.
pub type SyntaxCheck = fn(&str) -> Result<(), String>;

/// Checks of syntax that belong to other parts of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SyntaxChecks {
    /// A cron expression whose fields are already within their bounds.
    pub cron: Option<SyntaxCheck>,
    /// A time zone's name.
    pub timezone: Option<SyntaxCheck>,
    /// A pattern for paths.
    pub glob: Option<SyntaxCheck>,
}

/// Loads configurations.
///
/// The default loader is of this build, reads the environment of the process and leaves globs and
/// zones to whoever uses them.
#[derive(Clone, Debug)]
pub struct Loader {
    pub(super) build: BuildInfo,
    pub(super) environment: Environment,
    pub(super) checks: SyntaxChecks,
    pub(super) overrides: bool,
}

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: RuntimeConfig,
    /// What was ignored, in the order of the file.
    pub warnings: Vec<Diagnostic>,
    /// Every value in force with its origin, secrets masked.
    pub settings: Vec<Setting>,
}

impl Loader {
    /// A loader for a program of that build.
    pub fn new(build: BuildInfo) -> Self {
        Self {
            build,
            environment: Environment::of_process(),
            checks: SyntaxChecks::default(),
            overrides: true,
        }
    }

    /// This loader with that environment in place of the process's.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// This loader with these checks.
    #[must_use]
    pub fn checks(mut self, checks: SyntaxChecks) -> Self {
        self.checks = checks;
        self
    }

    /// Loads the file at `path`.
    ///
    /// # Errors
    /// [`Failure::Absent`] if there is no such file; [`Failure::Unreadable`] if it is a directory, larger
    /// than [`MAX_CONFIG_BYTES`] or cannot be read; [`Failure::Invalid`] with every problem of the file and
    /// of the environment.
    pub fn load(&self, path: &Path) -> Result<Loaded, ConfigError> {
        let bytes = read(path)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => self.parse(text, Some(path)),
            Err(error) => Err(not_utf8(&bytes, error.valid_up_to(), path)),
        }
    }

    /// Reads a configuration from `text`, which stands in the file `path` or nowhere.
    ///
    /// # Errors
    /// [`Failure::Invalid`] with every problem of the text and of the environment.
    pub fn parse(&self, text: &str, path: Option<&Path>) -> Result<Loaded, ConfigError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let parsed = parse::parse(text).map_err(|error| {
            let message = format!("cannot be parsed: {error}");
            ConfigError::whole(Failure::Unreadable, path.unwrap_or(Path::new("<text>")), message, None)
        })?;
        self.check_tree(parsed, text, path)
    }

    /// The configuration of a program that was given no file: defaults and environment.
    ///
    /// # Errors
    /// [`Failure::Invalid`] with every problem of the environment.
    pub fn without_file(&self) -> Result<Loaded, ConfigError> {
        self.check_tree(
            Parsed { entries: Entries::new(), errors: Vec::new(), reliable: usize::MAX },
            "",
            None,
        )
    }

    /// Checks a configuration that a program built, as if it had been loaded: names, types, bounds, syntax.
    /// The environment plays no part. Returns the warnings.
    ///
    /// # Errors
    /// [`Failure::Invalid`] with every problem.
    pub fn check(&self, config: &RuntimeConfig) -> Result<Vec<Diagnostic>, ConfigError> {
        let source = Source::new(None, "", Vec::new());
        let mut checker = Checker::new(self, &source);
        checker.document(built_document(config));
        finish(checker.found, &source)
    }

    fn check_tree(&self, parsed: Parsed, text: &str, path: Option<&Path>) -> Result<Loaded, ConfigError> {
        let Parsed { mut entries, errors, reliable } = parsed;
        let overrides = if self.overrides {
            overrides::apply(&mut entries, &self.environment)
        } else {
            Overrides::default()
        };
        let source = Source::new(path, text, overrides.variables);
        let mut checker = Checker::new(self, &source);
        let config = checker.document(entries);
        let mut found = checker.found;
        let settings = checker.settings;
        if !errors.is_empty() {
            let lines: BTreeSet<usize> = errors.iter().map(|error| source.line(error.offset)).collect();
            found.retain(|found| match found.at {
                At::Offset(offset) => {
                    !found.absence && offset < reliable && !lines.contains(&source.line(offset))
                }
                _ => !found.absence,
            });
        }
        let error = |at, message, hint| Found {
            at,
            severity: Severity::Error,
            key: None,
            message,
            hint,
            absence: false,
        };
        found.extend(errors.into_iter().map(|e| error(At::Offset(e.offset), e.message, e.hint)));
        found.extend(overrides.troubles.into_iter().map(|(at, (message, hint))| error(at, message, hint)));
        let warnings = finish(found, &source)?;
        Ok(Loaded { config, warnings, settings })
    }
}

/// The warnings, or all that was found if there is an error among it.
fn finish(mut found: Vec<Found>, source: &Source<'_>) -> Result<Vec<Diagnostic>, ConfigError> {
    let count = found.len();
    let failed = found.iter().any(|found| found.severity == Severity::Error);
    found.sort_by_key(|found| found.at);
    if count > MAX_DIAGNOSTICS {
        // Errors first: a hundred warnings must not hide the one thing that is wrong.
        found.sort_by_key(|found| std::cmp::Reverse(found.severity));
        found.truncate(MAX_DIAGNOSTICS);
    }
    let readable = |found: Found| {
        let Found { at, severity, key, message, hint, absence: _ } = found;
        Diagnostic { severity, place: source.place(at), key, message, hint }
    };
    let mut diagnostics: Vec<Diagnostic> = found.into_iter().map(readable).collect();
    if count > MAX_DIAGNOSTICS {
        let place = source.path().map_or(Place::Program, |path| Place::Path(path.to_owned()));
        let severity = if failed { Severity::Error } else { Severity::Warning };
        let message = format!("{} more problems are not listed", count - MAX_DIAGNOSTICS);
        diagnostics.push(Diagnostic { severity, place, key: None, message, hint: None });
    }
    if failed { Err(ConfigError::invalid(diagnostics)) } else { Ok(diagnostics) }
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let unreadable =
        |message: String, hint: Option<String>| ConfigError::whole(Failure::Unreadable, path, message, hint);
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            let message = "there is no such configuration file".to_owned();
            ConfigError::whole(
                Failure::Absent,
                path,
                message,
                Some("check the path, or create the file".to_owned()),
            )
        }
        io::ErrorKind::IsADirectory => is_a_folder(path),
        _ => unreadable(format!("the configuration cannot be read: {error}"), None),
    };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(is_a_folder(path));
    }
    let mut bytes = Vec::new();
    // One byte more than is allowed tells a file of the limit from a larger one, whatever its metadata says.
    file.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        return Err(unreadable(
            format!("the configuration has more than {MAX_CONFIG_BYTES} bytes, the most that is allowed"),
            None,
        ));
    }
    Ok(bytes)
}

fn is_a_folder(path: &Path) -> ConfigError {
    let message = "the configuration is a folder".to_owned();
    ConfigError::whole(Failure::Unreadable, path, message, Some("name the file in it".to_owned()))
}

fn not_utf8(bytes: &[u8], valid: usize, path: &Path) -> ConfigError {
    let before = String::from_utf8_lossy(&bytes[..valid]);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let place = Place::File { path: path.to_owned(), position: Position { line, column } };
    let message = format!("the byte 0x{:02x} is not UTF-8", bytes.get(valid).copied().unwrap_or_default());
    let hint = Some("save the file as UTF-8".to_owned());
    ConfigError::invalid(vec![Diagnostic { severity: Severity::Error, place, key: None, message, hint }])
}

/// A built configuration as the document that would say the same.
fn built_document(config: &RuntimeConfig) -> Entries {
    let entry = |key: &str, value: Value| Entry {
        key: key.to_owned(),
        at: At::Program,
        node: Node { at: At::Program, end: 0, value },
    };
    let integer =
        |number: u64| i64::try_from(number).map_or_else(|_| Value::Huge(number.to_string()), Value::Integer);
    let path = |path: &Path| Value::Text(path.to_string_lossy().into_owned());
    let text = |text: &str| Value::Text(text.to_owned());
    let tables = |tables: &BTreeMap<String, toml::Table>| {
        Value::Table(
            tables
                .iter()
                .map(|(name, table)| entry(name, Value::Table(tree::convert_built(table))))
                .collect(),
        )
    };
    let agent = |agent: &super::AgentConfig| {
        let mut entries = vec![entry("name", text(&agent.name)), entry("behaviour", text(&agent.behaviour))];
        if let Some(grant) = &agent.grant {
            let items =
                grant.iter().map(|grant| Node { at: At::Program, end: 0, value: text(grant) }).collect();
            entries.push(entry("grant", Value::List(items)));
        }
        entries.extend(tree::convert_built(&agent.options));
        Node { at: At::Program, end: 0, value: Value::Table(entries) }
    };
    let mut document = vec![
        entry(
            "event_bus",
            Value::Table(vec![entry("buffer_size", integer(config.event_bus.buffer_size as u64))]),
        ),
        entry("scheduler_tick_ms", integer(config.scheduler_tick_ms)),
        entry("secret_store", path(&config.secret_store)),
        entry("agents", Value::List(config.agents.iter().map(agent).collect())),
        entry("drivers", tables(&config.drivers)),
        entry("providers", tables(&config.providers)),
    ];
    if let Some(engine) = config.search.engine {
        let engine = match engine {
            SearchEngine::Builtin => "builtin",
            SearchEngine::Tantivy => TANTIVY,
        };
        document.push(entry("search", Value::Table(vec![entry("engine", text(engine))])));
    }
    if let Some(vault) = &config.vault {
        let mut keys: Vec<_> = vault.path.iter().map(|folder| entry("path", path(folder))).collect();
        let duration = |duration: Duration| text(&format!("{}ms", duration.as_millis()));
        keys.extend(vault.compact_every.map(|every| entry("compact_every", duration(every))));
        let rule = |rule: &super::RetainRule| {
            let mut keys = vec![entry("live", Value::Flag(rule.live))];
            keys.extend(rule.kind.as_ref().map(|kind| entry("kind", text(kind))));
            keys.extend(rule.age.map(|age| entry("age", duration(age))));
            keys.extend(rule.size.map(|size| entry("size", text(&size.to_string()))));
            Node { at: At::Program, end: 0, value: Value::Table(keys) }
        };
        if !vault.retain.is_empty() {
            keys.push(entry("retain", Value::List(vault.retain.iter().map(rule).collect())));
        }
        document.push(entry("vault", Value::Table(keys)));
    }
    if !config.policy.rules().is_empty() {
        let node = |value| Node { at: At::Program, end: 0, value };
        let rule = |rule: &FlowRule| {
            let mut keys =
                vec![entry("name", text(rule.name.as_str())), entry("verdict", text(rule.verdict.as_str()))];
            let lists = [
                ("labels", rule.labels.iter().map(ToString::to_string).collect::<Vec<_>>()),
                ("sinks", rule.sinks.iter().map(ToString::to_string).collect()),
                ("to", rule.to.iter().map(ToString::to_string).collect()),
            ];
            let given = lists.into_iter().filter(|(_, texts)| !texts.is_empty());
            keys.extend(given.map(|(key, texts)| {
                entry(key, Value::List(texts.iter().map(|one| node(text(one))).collect()))
            }));
            node(Value::Table(keys))
        };
        let rules = config.policy.rules().iter().map(rule).collect();
        document.push(entry("policy", Value::Table(vec![entry("rules", Value::List(rules))])));
    }
    if let Some(limits) = &config.limits {
        let all = [
            ("agents", limits.agents),
            ("people", limits.people),
            ("tasks", limits.tasks),
            ("approvals", limits.approvals),
            ("observations", limits.observations),
            ("observation_bytes", limits.observation_bytes),
            ("message_bytes", limits.message_bytes),
            ("task_bytes", limits.task_bytes),
            ("argument_bytes", limits.argument_bytes),
            ("approval_seconds", limits.approval_seconds),
        ];
        let given = all.into_iter().filter_map(|(name, bound)| Some(entry(name, integer(bound?))));
        document.push(entry("limits", Value::Table(given.collect())));
    }
    let embedder = match &config.embedder {
        EmbedderConfig::Lexical => return document,
        EmbedderConfig::Local { path: folder } => {
            vec![entry("kind", text("local")), entry("path", path(folder))]
        }
        EmbedderConfig::OpenAi(service) => {
            let mut keys = vec![
                entry("kind", text("openai")),
                entry("base_url", text(&service.base_url)),
                entry("model", text(&service.model)),
            ];
            keys.extend(service.api_key.as_ref().map(|key| entry("api_key", text(key))));
            keys.extend(service.dimensions.map(|count| entry("dimensions", integer(count as u64))));
            keys
        }
    };
    document.push(entry("embedder", Value::Table(embedder)));
    document
}

impl Default for Loader {
    fn default() -> Self {
        Self::new(BuildInfo::default())
    }
}

impl Default for BuildInfo {
    /// The features that this crate itself was built with, and nothing registered besides.
    fn default() -> Self {
        let own = [
            ("vault", cfg!(feature = "vault")),
            ("search", cfg!(feature = "search")),
            ("search-tantivy", cfg!(feature = "search-tantivy")),
            ("auth", cfg!(feature = "auth")),
        ];
        let features = own.into_iter().filter(|(_, built)| *built).map(|(name, _)| name.to_owned()).collect();
        Self { features, behaviours: Vec::new(), drivers: Vec::new(), providers: Vec::new() }
    }
}

impl BuildInfo {
    pub(super) fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|own| own == feature)
    }

    pub(super) fn adapters(&self, noun: &str) -> &[String] {
        if noun == "driver" { &self.drivers } else { &self.providers }
    }
}
