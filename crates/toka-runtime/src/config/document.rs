//! Checks a whole document, section by section.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toka_kernel::{Policy, PolicyError};
use toka_types::facts::LogLimited;
use toka_types::{Capability, FlowRule, LabelPattern, Name, Sink, Verdict};
use toml::Table;

use super::check::{Checker, Found, Held, Scope, belongs_elsewhere, take};
use super::diagnostic::quoted;
use super::keys::{
    self, DEFAULT_EMBEDDER_URL, DEFAULT_SECRET_STORE, EMBEDDER_KINDS, KeySpec, ROOT, ROOT_HOME, SECTIONS,
    Section, Shape, TANTIVY,
};
use super::model::{
    ApprovalsConfig, EmbedderConfig, OpenAiConfig, RetainRule, RuntimeConfig, SearchConfig, SearchEngine,
    TokensConfig, VaultConfig,
};
use super::source::At;
use super::suggest::nearest;
use super::syntax::{parse_duration, parse_size};
use super::tree::{self, Entries, Entry, Value};
use crate::approvals::WhenAsked;

/// What a build must have for the engine [`TANTIVY`].
const TANTIVY_FEATURE: &str = "search-tantivy";

impl Checker<'_> {
    /// Checks a whole document.
    pub(super) fn document(&mut self, mut entries: Entries) -> RuntimeConfig {
        let mut config =
            RuntimeConfig { source: self.source.path().map(Path::to_owned), ..RuntimeConfig::default() };
        let top = Scope { prefix: String::new(), place: "at top level".to_owned(), at: At::Offset(0) };
        let mut root = Held::default();
        for spec in ROOT.keys {
            if let Some(entry) = take(&mut entries, spec.name) {
                self.key(spec, entry, &top, &mut root);
            }
        }
        let home = take(&mut entries, ROOT_HOME);
        let bus = self.event_bus(home, &root);
        self.merge(root, bus, &mut config);
        for section in SECTIONS.iter().filter(|section| section.name != ROOT_HOME) {
            if let Some(entry) = take(&mut entries, section.name) {
                self.section(section, entry, &mut config);
            }
        }
        for entry in entries {
            self.unknown_at_top(entry);
        }
        config
    }

    fn event_bus(&mut self, entry: Option<Entry>, root: &Held) -> Held {
        let Some(Section { shape: Shape::Keys(keys), .. }) = keys::section(ROOT_HOME) else {
            return Held::default();
        };
        let at = entry.as_ref().map_or(At::Program, |entry| entry.at);
        let scope = Scope { prefix: format!("{ROOT_HOME}."), place: format!("in [{ROOT_HOME}]"), at };
        let entries =
            entry.and_then(|entry| self.expect_table(entry, &format!("[{ROOT_HOME}]"))).unwrap_or_default();
        let specs: Vec<&KeySpec> = keys.keys.iter().collect();
        // A key that stands at top level is in force there; its default here would be listed beside it.
        let elsewhere: Vec<&str> = root.places.keys().copied().collect();
        self.table(entries, &specs, keys.one_of, &elsewhere, &scope)
    }

    /// Joins what stood at top level with what stood in its home section; the same key in both must agree.
    fn merge(&mut self, root: Held, bus: Held, config: &mut RuntimeConfig) {
        for (name, at) in &root.places {
            let Some(other) = bus.places.get(name) else {
                continue;
            };
            let (Some(one), Some(two)) = (root.values.get(*name), bus.values.get(*name)) else {
                continue;
            };
            if one != two {
                let (first, second) = (*at.min(other), *at.max(other));
                let message =
                    format!("'{name}' stands at top level and in [{ROOT_HOME}] with different values");
                let hint = format!("the other is in {}; keep one of them", self.source.refer(first));
                self.error(second, Some((*name).to_owned()), message, Some(hint));
            }
        }
        let mut values = bus.values;
        values.extend(root.values);
        let number = |name: &str| values.get(name).and_then(toml::Value::as_integer);
        if let Some(size) = number("buffer_size").and_then(|size| usize::try_from(size).ok()) {
            config.event_bus.buffer_size = size;
        }
        if let Some(tick) = number("scheduler_tick_ms").and_then(|tick| u64::try_from(tick).ok()) {
            config.scheduler_tick_ms = tick;
        }
        config.secret_store = match values.get("secret_store").and_then(toml::Value::as_str) {
            Some(path) => PathBuf::from(path),
            None => self.beside_file(DEFAULT_SECRET_STORE),
        };
    }

    fn section(&mut self, section: &'static Section, entry: Entry, config: &mut RuntimeConfig) {
        if let Some(feature) = section.feature
            && !self.loader.build.has(feature)
        {
            self.absent_feature(&entry, section.name, feature);
            return;
        }
        match section.shape {
            Shape::Keys(known) => {
                let (place, entry_at) = (format!("in [{}]", section.name), entry.at);
                let scope = Scope { prefix: format!("{}.", section.name), place, at: entry.at };
                let Some(entries) = self.expect_table(entry, &format!("[{}]", section.name)) else {
                    return;
                };
                let specs: Vec<&KeySpec> = known.keys.iter().collect();
                let held = self.table(entries, &specs, known.one_of, &[], &scope);
                if section.name == "vault" {
                    config.vault = self.vault(&held);
                } else if section.name == "embedder" {
                    config.embedder = self.embedder(&held, entry_at);
                } else if section.name == "search" {
                    config.search = self.search(&held);
                } else if section.name == "policy" {
                    config.policy = self.policy(&held);
                } else if section.name == "limits" {
                    config.limits = Some(limits(&held));
                } else if section.name == "approvals" {
                    config.approvals = approvals(&held);
                } else if section.name == "tokens" {
                    config.tokens = self.tokens(&held, entry_at);
                }
            }
            Shape::Agents(_) => config.agents = self.agents(entry),
            Shape::Adapters { noun, known } => {
                let tables = self.adapters(section.name, noun, known, entry);
                if noun == "driver" { config.drivers = tables } else { config.providers = tables }
            }
        }
    }

    fn vault(&mut self, held: &Held) -> Option<VaultConfig> {
        let text = |table: &Table, key: &str| Some(table.get(key)?.as_str()?.to_owned());
        let duration = |table: &Table, key: &str| parse_duration(&text(table, key)?).ok();
        let tables = held.values.get("retain").and_then(toml::Value::as_array).map_or(&[][..], Vec::as_slice);
        let retain: Vec<RetainRule> = tables
            .iter()
            .filter_map(toml::Value::as_table)
            .map(|rule| RetainRule {
                kind: text(rule, "kind"),
                age: duration(rule, "age"),
                size: text(rule, "size").and_then(|size| parse_size(&size).ok()),
                live: rule.get("live").and_then(toml::Value::as_bool).unwrap_or(false),
            })
            .collect();
        let unlimited = tables.iter().filter_map(toml::Value::as_table);
        let unlimited =
            unlimited.filter(|rule| !rule.contains_key("age") && !rule.contains_key("size")).count();
        // A key that is misspelt has been told of.
        let told = |found: &Found| found.key.as_ref().is_some_and(|key| key.starts_with("vault.retain["));
        let told = self.found.iter().any(told);
        if let Some(at) = held.places.get("retain").filter(|_| unlimited > 0 && !told) {
            let message = format!("{unlimited} of the rules in 'retain' name neither 'age' nor 'size'");
            let hint =
                "say how old the content gets, or how much of it is kept: age = \"90d\", size = \"1 GiB\"";
            self.error(*at, Some("vault.retain".to_owned()), message, Some(hint.to_owned()));
        }
        let path = text(&held.values, "path").map(PathBuf::from);
        Some(VaultConfig { path, retain, compact_every: duration(&held.values, "compact_every") })
    }

    /// What the section says; what it must not say is an error, and then it says nothing.
    fn embedder(&mut self, held: &Held, section: At) -> EmbedderConfig {
        let text = |key: &str| Some(held.values.get(key)?.as_str()?.to_owned());
        // A kind that is none has been told of.
        if held.places.contains_key("kind") && !held.values.contains_key("kind") {
            return EmbedderConfig::Lexical;
        }
        let kind = text("kind").unwrap_or_else(|| "lexical".to_owned());
        let at = held.places.get("kind").copied().unwrap_or(section);
        let (own, needed): (&[&str], Option<&str>) = match kind.as_str() {
            "local" => (&["path"], Some("path")),
            "openai" => (&["base_url", "model", "api_key", "dimensions"], Some("model")),
            _ => (&[], None),
        };
        let feature = EMBEDDER_KINDS.iter().find(|(name, _)| *name == kind).and_then(|(_, feature)| *feature);
        if let Some(feature) = feature.filter(|feature| !self.loader.build.has(feature)) {
            let message =
                format!("kind '{kind}' needs the feature '{feature}', which this build does not have");
            let hint =
                format!("use a build that has it: cargo install --path crates/toka-cli --features {feature}");
            self.error(at, Some("embedder.kind".to_owned()), message, Some(hint));
        }
        for (name, place) in held.places.iter().filter(|(name, _)| **name != "kind" && !own.contains(name)) {
            let message = format!("'{name}' says nothing about an embedder of the kind '{kind}'");
            self.error(*place, Some(format!("embedder.{name}")), message, None);
        }
        if let Some(needed) = needed.filter(|needed| !held.places.contains_key(needed)) {
            let message = format!("missing key '{needed}' in [embedder]: the kind '{kind}' needs it");
            self.error(at, Some(format!("embedder.{needed}")), message, None);
        }
        let base_url = text("base_url").unwrap_or_else(|| DEFAULT_EMBEDDER_URL.to_owned());
        let is_url = ["https://", "http://"].iter().any(|scheme| base_url.starts_with(scheme));
        if let Some(place) =
            held.places.get("base_url").filter(|_| !is_url && held.values.contains_key("base_url"))
        {
            let message =
                format!("'base_url' begins neither with https:// nor with http://: {}", quoted(&base_url));
            self.error(*place, Some("embedder.base_url".to_owned()), message, None);
        }
        let dimensions = held.values.get("dimensions").and_then(toml::Value::as_integer);
        let found = match kind.as_str() {
            "local" => text("path").map(|path| EmbedderConfig::Local { path: path.into() }),
            "openai" => text("model").map(|model| {
                // An empty variable counts as unset.
                let api_key = text("api_key").filter(|key| !key.is_empty());
                let dimensions = dimensions.and_then(|dimensions| usize::try_from(dimensions).ok());
                EmbedderConfig::OpenAi(OpenAiConfig { base_url, model, api_key, dimensions })
            }),
            _ => None,
        };
        found.unwrap_or_default()
    }

    /// The rules that are well formed, all of them or none.
    fn policy(&mut self, held: &Held) -> Policy {
        let tables = held.values.get("rules").and_then(toml::Value::as_array).map_or(&[][..], Vec::as_slice);
        let rules: Option<Vec<FlowRule>> =
            tables.iter().map(|rule| rule.clone().try_into::<WrittenRule>().ok().map(Into::into)).collect();
        let rules = rules.unwrap_or_default();
        let at = held.places.get("rules").copied().unwrap_or(At::Program);
        // What is wrong with one rule, and names that stand twice, were told of where they stand.
        match Policy::new(rules) {
            Ok(policy) => policy,
            Err(error @ PolicyError::TooMany { .. }) => {
                self.error(at, Some("policy.rules".to_owned()), error.to_string(), None);
                Policy::default()
            }
            Err(_) => Policy::default(),
        }
    }

    /// What the section says; a secret that is missing or of no use is an error.
    fn tokens(&mut self, held: &Held, section: At) -> TokensConfig {
        let text = |key: &str| held.values.get(key).and_then(toml::Value::as_str);
        let at = |key: &str| held.places.get(key).copied().unwrap_or(section);
        let key = "tokens.secret_file".to_owned();
        match (text("scheme"), text("secret_file")) {
            (Some("hs256"), Some(secret)) => return TokensConfig::Hs256 { secret: PathBuf::from(secret) },
            // What is wrong with the key that is there was told of.
            (Some("hs256"), None) if !held.places.contains_key("secret_file") => {
                let message = "missing key 'secret_file' in [tokens]: the scheme 'hs256' needs it".to_owned();
                self.error(at("scheme"), Some(key), message, None);
            }
            (Some("operator" | "eddsa") | None, Some(_)) => {
                let message = "'secret_file' says nothing about a scheme that signs with the operator's key";
                let hint = "remove it, or write scheme = \"hs256\"".to_owned();
                self.error(at("secret_file"), Some(key), message.to_owned(), Some(hint));
            }
            (Some("eddsa"), None) => return TokensConfig::EdDsa,
            _ => {}
        }
        TokensConfig::Operator
    }

    fn search(&mut self, held: &Held) -> SearchConfig {
        let engine = held.values.get("engine").and_then(toml::Value::as_str).map(|engine| match engine {
            TANTIVY => SearchEngine::Tantivy,
            _ => SearchEngine::Builtin,
        });
        if engine == Some(SearchEngine::Tantivy) && !self.loader.build.has(TANTIVY_FEATURE) {
            let at = held.places.get("engine").copied().unwrap_or(At::Program);
            let message = format!(
                "'engine' is '{TANTIVY}', which needs the feature '{TANTIVY_FEATURE}', and this build does not have it"
            );
            let hint = "use a build that has it, or remove the key: the built-in engine finds the same words";
            self.error(at, Some("search.engine".to_owned()), message, Some(hint.to_owned()));
        }
        SearchConfig { engine }
    }

    fn absent_feature(&mut self, entry: &Entry, name: &str, feature: &str) {
        let message = format!(
            "section [{name}] is ignored: it needs the feature '{feature}', which this build does not have"
        );
        self.warning(
            entry.at,
            name,
            message,
            Some("use a build that has it, or remove the section".to_owned()),
        );
    }

    fn adapters(
        &mut self,
        section: &str,
        noun: &str,
        known: &'static [&'static str],
        entry: Entry,
    ) -> BTreeMap<String, Table> {
        let mut tables = BTreeMap::new();
        let Some(entries) = self.expect_table(entry, &format!("[{section}.NAME]")) else {
            return tables;
        };
        let own = self.loader.build.adapters(noun).to_vec();
        for entry in entries {
            let name = entry.key.clone();
            let full = format!("{section}.{name}");
            let feature = format!("{noun}-{name}");
            let reads = own.contains(&name) || self.loader.build.has(&feature);
            if !matches!(entry.node.value, Value::Table(_)) {
                self.expect_table(entry, &format!("[{section}.{}]", syntax_name(&name)));
                continue;
            }
            if !reads {
                let near = nearest(&name, known.iter().copied().chain(own.iter().map(String::as_str)));
                if let Some(near) = near.filter(|near| *near != name) {
                    let message = format!("unknown {noun} {} in [{section}]", quoted(&name));
                    self.error(entry.at, Some(full), message, Some(format!("did you mean '{near}'?")));
                } else if known.contains(&name.as_str()) {
                    self.absent_feature(&entry, &full, &feature);
                } else {
                    let message = format!(
                        "section [{section}.{}] is ignored: no {noun} of that name is in this build",
                        syntax_name(&name)
                    );
                    self.warning(entry.at, &full, message, None);
                }
                if let toml::Value::Table(table) = tree::as_written(&entry.node) {
                    tables.insert(name, table);
                }
                continue;
            }
            let Value::Table(entries) = entry.node.value else {
                continue;
            };
            tables.insert(name, self.free_table(entries, &format!("{full}.")));
        }
        tables
    }

    fn unknown_at_top(&mut self, entry: Entry) {
        let sections = SECTIONS.iter().map(|section| section.name);
        let near = nearest(&entry.key, sections.chain(ROOT.keys.iter().map(|spec| spec.name)));
        let is_section = match &entry.node.value {
            Value::Table(_) => true,
            Value::List(items) => items.iter().all(|item| matches!(item.value, Value::Table(_))),
            _ => false,
        };
        let key = Some(entry.key.clone());
        let name = syntax_name(&entry.key);
        match (is_section, near) {
            (true, Some(near)) => {
                let hint = if keys::section(near).is_none() {
                    format!("did you mean the key '{near}'?")
                } else if near == "agents" {
                    "did you mean [[agents]]?".to_owned()
                } else {
                    format!("did you mean [{near}]?")
                };
                self.error(entry.at, key, format!("unknown section [{name}]"), Some(hint));
            }
            (true, None) => {
                self.warning(
                    entry.at,
                    &entry.key,
                    format!("section [{name}] is ignored: this build knows no such section"),
                    None,
                );
            }
            (false, near) => {
                let hint = near
                    .map(|near| format!("did you mean '{near}'?"))
                    .or_else(|| belongs_elsewhere(&entry.key));
                self.error(entry.at, key, format!("unknown key {} at top level", quoted(&entry.key)), hint);
            }
        }
    }

    /// The entries of a table, or an error that says how the table is written.
    fn expect_table(&mut self, entry: Entry, written: &str) -> Option<Entries> {
        match entry.node.value {
            Value::Table(entries) => Some(entries),
            Value::Broken => None,
            other => {
                let message =
                    format!("'{}' must be a table, but is {}", syntax_name(&entry.key), other.described());
                self.error(entry.at, Some(entry.key), message, Some(format!("write {written}")));
                None
            }
        }
    }
}

fn approvals(held: &Held) -> ApprovalsConfig {
    let text = |key: &str| held.values.get(key).and_then(toml::Value::as_str);
    let when_asked = text("when_asked").map(|word| match word {
        "wait" => WhenAsked::Wait,
        "deny" => WhenAsked::Deny,
        _ => WhenAsked::Fail,
    });
    ApprovalsConfig { when_asked, time_limit: text("time_limit").and_then(|text| parse_duration(text).ok()) }
}

/// A name between brackets: as [`quoted`], without the quotes.
fn syntax_name(name: &str) -> String {
    quoted(name).trim_matches('\'').to_owned()
}

/// The bounds that the section names.
fn limits(held: &Held) -> LogLimited {
    let bound = |name: &str| held.values.get(name)?.as_integer().and_then(|bound| u64::try_from(bound).ok());
    LogLimited {
        agents: bound("agents"),
        people: bound("people"),
        tasks: bound("tasks"),
        approvals: bound("approvals"),
        observations: bound("observations"),
        observation_bytes: bound("observation_bytes"),
        message_bytes: bound("message_bytes"),
        task_bytes: bound("task_bytes"),
        argument_bytes: bound("argument_bytes"),
        approval_seconds: bound("approval_seconds"),
    }
}

/// One of `[[policy.rules]]`.
#[derive(Deserialize)]
struct WrittenRule {
    name: Name,
    #[serde(default)]
    labels: Vec<LabelPattern>,
    #[serde(default)]
    sinks: Vec<Sink>,
    #[serde(default)]
    to: Vec<Capability>,
    verdict: Verdict,
}

impl From<WrittenRule> for FlowRule {
    fn from(WrittenRule { name, labels, sinks, to, verdict }: WrittenRule) -> Self {
        Self { name, labels, sinks, to, verdict }
    }
}
