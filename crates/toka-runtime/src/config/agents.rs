//! Checks `[[agents]]`.

use std::collections::BTreeMap;

use super::check::{Checker, Scope, take};
use super::diagnostic::{Place, quoted};
use super::keys::{self, BEHAVIOURS, KeySpec};
use super::model::AgentConfig;
use super::settings::{Origin, Setting};
use super::source::At;
use super::suggest::nearest;
use super::tree::{Entries, Entry, Node, Value};

impl Checker<'_> {
    pub(super) fn agents(&mut self, entry: Entry) -> Vec<AgentConfig> {
        let items = match entry.node.value {
            Value::List(items) => items,
            Value::Broken => return Vec::new(),
            other => {
                let message = format!("'agents' must be an array of tables, but is {}", other.described());
                self.error(
                    entry.at,
                    Some(entry.key),
                    message,
                    Some("write [[agents]] with two brackets".to_owned()),
                );
                return Vec::new();
            }
        };
        let mut seen: BTreeMap<String, At> = BTreeMap::new();
        let mut agents = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let Some((agent, name_at)) = self.agent(index, item) else {
                continue;
            };
            if let Some(first) = seen.insert(agent.name.clone(), name_at) {
                let message = format!("two agents are named {}", quoted(&agent.name));
                let hint = format!(
                    "the other is in {}; give each its own name, and the behaviour its own key",
                    self.source.refer(first)
                );
                self.error(name_at, Some(format!("agents[{index}].name")), message, Some(hint));
            }
            agents.push(agent);
        }
        agents
    }

    fn agent(&mut self, index: usize, item: Node) -> Option<(AgentConfig, At)> {
        let at = item.at;
        let mut entries = match item.value {
            Value::Table(entries) => entries,
            Value::Broken => return None,
            other => {
                let message = format!("an agent must be a table, but is {}", other.described());
                self.error(
                    at,
                    Some(format!("agents[{index}]")),
                    message,
                    Some("write [[agents]] above its keys".to_owned()),
                );
                return None;
            }
        };
        let prefix = format!("agents[{index}].");
        let mut common = Entries::new();
        for spec in keys::agent_keys() {
            common.extend(take(&mut entries, spec.name));
        }
        let written = common.iter().find(|entry| entry.key == "name").map(|entry| &entry.node.value);
        let place = match written {
            Some(Value::Text(name)) => format!("in [[agents]] {}", quoted(name)),
            _ => "in [[agents]]".to_owned(),
        };
        let scope = Scope { prefix, place, at };
        let specs: Vec<&KeySpec> = keys::agent_keys().iter().collect();
        let held = self.table(common, &specs, &[], &[], &scope);
        let text = |key: &str| held.values.get(key).and_then(toml::Value::as_str).map(str::to_owned);
        let name = text("name");
        let behaviour = match (text("behaviour"), held.places.contains_key("behaviour")) {
            (Some(behaviour), _) => Some(behaviour),
            (None, true) => None,
            (None, false) => {
                if let Some(name) = &name {
                    let key = format!("{}behaviour", scope.prefix);
                    self.settings.push(Setting { key, value: name.as_str().into(), origin: Origin::Default });
                }
                name.clone()
            }
        };
        // Without a behaviour there is no telling which keys are right; its absence has been reported.
        let behaviour = behaviour?;
        let named_at =
            held.places.get("behaviour").or_else(|| held.places.get("name")).copied().unwrap_or(at);
        let options = self.options(&behaviour, entries, &scope, named_at);
        let grant = held
            .values
            .get("grant")
            .and_then(toml::Value::as_array)
            .map(|items| items.iter().filter_map(toml::Value::as_str).map(str::to_owned).collect());
        let position = match self.source.place(at) {
            Place::File { position, .. } => Some(position),
            _ => None,
        };
        let name_at = held.places.get("name").copied().unwrap_or(at);
        Some((AgentConfig { name: name?, behaviour, grant, options, position }, name_at))
    }

    fn options(&mut self, behaviour: &str, entries: Entries, scope: &Scope, named_at: At) -> toml::Table {
        let own = &self.loader.build.behaviours;
        if own.iter().any(|known| known == behaviour) {
            return self.free_table(entries, &scope.prefix);
        }
        if let Some(known) = keys::behaviour(behaviour) {
            // The common keys are taken, but a near miss of theirs may be among the rest.
            let (mut right, mut wrong) = (Entries::new(), Entries::new());
            for entry in entries {
                let is_known = known.keys.keys.iter().any(|spec| spec.name == entry.key);
                if is_known { right.push(entry) } else { wrong.push(entry) }
            }
            let specs: Vec<&KeySpec> = known.keys.keys.iter().collect();
            let held = self.table(right, &specs, known.keys.one_of, &[], scope);
            let all: Vec<&KeySpec> = keys::agent_keys().iter().chain(known.keys.keys).collect();
            for entry in wrong {
                self.unknown_key(entry, &all, scope);
            }
            return held.values;
        }
        let names: Vec<&str> =
            BEHAVIOURS.iter().map(|known| known.name).chain(own.iter().map(String::as_str)).collect();
        let hint = match nearest(behaviour, names.iter().copied()) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("known behaviours: {}", names.join(", ")),
        };
        let message = format!("unknown behaviour {}", quoted(behaviour));
        self.error(named_at, Some(format!("{}behaviour", scope.prefix)), message, Some(hint));
        toml::Table::new()
    }
}
