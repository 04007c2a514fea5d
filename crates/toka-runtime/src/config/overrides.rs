//! `TOKA__SECTION__KEY`: variables of the environment that take the place of what the file says.

use super::check::take;
use super::diagnostic::quoted;
use super::environment::Environment;
use super::keys::{self, KeySpec, Kind, ROOT, ROOT_HOME, SECTIONS, Shape};
use super::parse;
use super::source::At;
use super::suggest::nearest;
use super::tree::{Entries, Entry, Node, Value};

/// What the name of such a variable begins with, and what separates its parts.
const PREFIX: &str = "TOKA__";
const SEPARATOR: &str = "__";

/// Variables that were looked at, and what is wrong with them.
#[derive(Default)]
pub(super) struct Overrides {
    /// Names, as [`At::Environment`] numbers them.
    pub(super) variables: Vec<String>,
    pub(super) troubles: Vec<(At, Trouble)>,
}

/// A message, and a hint.
pub(super) type Trouble = (String, Option<String>);

/// Puts every variable that begins with `TOKA__` in its place in `entries`.
pub(super) fn apply(entries: &mut Entries, environment: &Environment) -> Overrides {
    let mut overrides = Overrides::default();
    for (name, value) in environment.beginning_with(PREFIX) {
        let at = At::Environment(overrides.variables.len());
        let shown = name.to_string_lossy().into_owned();
        let outcome = match (name.to_str(), value.to_str()) {
            (Some(name), Some(value)) => {
                let path: Vec<String> =
                    name[PREFIX.len()..].split(SEPARATOR).map(str::to_lowercase).collect();
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                set(entries, &path, value, at)
            }
            (None, _) => Err(("the name of the variable is not UTF-8".to_owned(), None)),
            (_, None) => Err(("the value of the variable is not UTF-8".to_owned(), None)),
        };
        overrides.variables.push(shown);
        overrides.troubles.extend(outcome.err().map(|trouble| (at, trouble)));
    }
    overrides
}

fn set(entries: &mut Entries, path: &[&str], value: &str, at: At) -> Result<(), Trouble> {
    let names = || SECTIONS.iter().map(|section| section.name).chain(ROOT.keys.iter().map(|spec| spec.name));
    let section = keys::section(path[0]);
    if let (Some(spec), [_]) = (ROOT.keys.iter().find(|spec| spec.name == path[0]), path) {
        return set_shared(entries, spec, None, value, at);
    }
    let Some(section) = section else {
        let hint = match nearest(path[0], names()) {
            Some(near) => did_you_mean(&[&[near], &path[1..]].concat()),
            None => format!(
                "known names: {}",
                names().map(|name| variable(&[name])).collect::<Vec<_>>().join(", ")
            ),
        };
        return Err((format!("no section or key is named {}", quoted(path[0])), Some(hint)));
    };
    let Some(rest) = path.get(1..).filter(|rest| !rest.is_empty()) else {
        return Err((
            format!("[{}] is a section", section.name),
            Some(format!("name a key of it: {}__KEY", variable(path))),
        ));
    };
    match section.shape {
        Shape::Keys(known) => {
            let spec = known_key(&[section.name], rest, known.keys)?;
            if section.name == ROOT_HOME && ROOT.keys.iter().any(|shared| shared.name == spec.name) {
                return set_shared(entries, spec, Some(ROOT_HOME), value, at);
            }
            put(table_of(entries, section.name, at), spec.name, leaf(spec, value, at)?, at);
            Ok(())
        }
        Shape::Adapters { noun, .. } => {
            let [name, key @ ..] = rest else {
                return Ok(());
            };
            if key.is_empty() {
                let hint = format!("name a key of it: {}__KEY", variable(path));
                return Err((format!("{} is a {noun}, not a key", quoted(name)), Some(hint)));
            }
            set_free(table_of(entries, section.name, at), rest, value, at)
        }
        Shape::Agents(_) => set_agent(entries, rest, value, at),
    }
}

/// A key that may stand in two places: the variable replaces what the file says in either.
fn set_shared(
    entries: &mut Entries,
    spec: &'static KeySpec,
    home: Option<&str>,
    value: &str,
    at: At,
) -> Result<(), Trouble> {
    let node = leaf(spec, value, at)?;
    let from_file = |entry: &Entry| entry.key == spec.name && !matches!(entry.node.at, At::Environment(_));
    entries.retain(|entry| !from_file(entry));
    if let Some(Entry { node: Node { value: Value::Table(inner), .. }, .. }) =
        entries.iter_mut().find(|entry| entry.key == ROOT_HOME)
    {
        inner.retain(|entry| !from_file(entry));
    }
    match home {
        Some(home) => put(table_of(entries, home, at), spec.name, node, at),
        None => put(Some(entries), spec.name, node, at),
    }
    Ok(())
}

fn set_agent(entries: &mut Entries, path: &[&str], value: &str, at: At) -> Result<(), Trouble> {
    let [who, key @ ..] = path else { return Ok(()) };
    let agents =
        match entries.iter_mut().find(|entry| entry.key == "agents").map(|entry| &mut entry.node.value) {
            Some(Value::List(agents)) => agents,
            // Something else in the place of the agents is reported where it stands.
            Some(_) => return Ok(()),
            None => return Err(("no agents are configured".to_owned(), None)),
        };
    let inner = item_of(agents, "name", who).ok_or_else(|| {
        (
            format!("no agent is named {}", quoted(who)),
            Some("name a configured agent, or its index from 0".to_owned()),
        )
    })?;
    if key.is_empty() {
        return Err((format!("{} is an agent, not a key", quoted(who)), Some("name a key of it".to_owned())));
    }
    let text = |wanted: &str| inner.iter().find(|entry| entry.key == wanted).map(|entry| &entry.node.value);
    let behaviour = match (text("behaviour"), text("name")) {
        (Some(Value::Text(behaviour)), _) | (None, Some(Value::Text(behaviour))) => {
            keys::behaviour(behaviour)
        }
        _ => None,
    };
    if keys::agent_keys().iter().all(|spec| spec.name != key[0]) && behaviour.is_none() {
        return set_free(Some(inner), key, value, at);
    }
    let specs: Vec<KeySpec> = keys::agent_keys()
        .iter()
        .chain(behaviour.map_or(&[][..], |behaviour| behaviour.keys.keys))
        .copied()
        .collect();
    set_known(inner, &["agents", who], key, &specs, value, at)
}

/// Sets a key of a table, or of one of the tables in it.
fn set_known(
    inner: &mut Entries,
    above: &[&str],
    path: &[&str],
    specs: &[KeySpec],
    value: &str,
    at: At,
) -> Result<(), Trouble> {
    if let [list, who, rest @ ..] = path
        && !rest.is_empty()
        && let Some(KeySpec { kind: Kind::Tables { keys, distinct, .. }, .. }) =
            specs.iter().find(|spec| spec.name == *list)
        && let Some(Value::List(items)) =
            inner.iter_mut().find(|entry| entry.key == *list).map(|entry| &mut entry.node.value)
    {
        let table = item_of(items, distinct, who)
            .ok_or_else(|| (format!("no table of '{list}' is named {}", quoted(who)), None))?;
        return set_known(table, &[above, &path[..2]].concat(), rest, keys.keys, value, at);
    }
    let spec = known_key(above, path, specs)?;
    let node = leaf(spec, value, at)?;
    put(Some(inner), spec.name, node, at);
    Ok(())
}

fn known_key<'s>(above: &[&str], path: &[&str], specs: &'s [KeySpec]) -> Result<&'s KeySpec, Trouble> {
    let found = specs.iter().find(|spec| spec.name == path[0]);
    if let (Some(spec), [_]) = (found, path) {
        return Ok(spec);
    }
    // A single underscore in place of two, or the reverse, is the commonest slip.
    let written = path.join("_");
    let hint = match nearest(&written, specs.iter().map(|spec| spec.name)) {
        Some(near) => did_you_mean(&[above, &[near]].concat()),
        None => format!("known keys: {}", specs.iter().map(|spec| spec.name).collect::<Vec<_>>().join(", ")),
    };
    Err((format!("unknown key {} in {}", quoted(&path.join(SEPARATOR)), above.join(".")), Some(hint)))
}

/// Sets a key whose type nobody here knows: that of the value it replaces, else a string.
fn set_free(table: Option<&mut Entries>, path: &[&str], value: &str, at: At) -> Result<(), Trouble> {
    let (Some(table), [name, rest @ ..]) = (table, path) else {
        return Ok(());
    };
    if name.is_empty() {
        return Err(("the name of the variable has an empty part".to_owned(), None));
    }
    let existing = table.iter().position(|entry| same_name(&entry.key, name));
    let name = existing.map_or_else(|| (*name).to_owned(), |at| table[at].key.clone());
    if !rest.is_empty() {
        return set_free(table_of(table, &name, at), rest, value, at);
    }
    let is_text = existing.is_none_or(|at| matches!(table[at].node.value, Value::Text(_)));
    let node = if is_text { text(value, at) } else { parsed(&name, "a TOML value", value, at)? };
    put(Some(table), &name, node, at);
    Ok(())
}

fn leaf(spec: &KeySpec, value: &str, at: At) -> Result<Node, Trouble> {
    match spec.kind {
        Kind::Text(_) => Ok(text(value, at)),
        kind => parsed(spec.name, kind.expected(), value, at),
    }
}

fn text(value: &str, at: At) -> Node {
    Node { at, end: 0, value: Value::Text(value.to_owned()) }
}

fn parsed(name: &str, expected: &str, value: &str, at: At) -> Result<Node, Trouble> {
    parse::parse_value(value.trim(), at).ok_or_else(|| {
        let hint = "the value is read as TOML: 64, true, [\"a\", \"b\"]".to_owned();
        (format!("'{name}' must be {expected}, but the variable holds something else"), Some(hint))
    })
}

/// The entries of the table of that name, made if absent; none if something else has the name.
fn table_of<'t>(entries: &'t mut Entries, name: &str, at: At) -> Option<&'t mut Entries> {
    if !entries.iter().any(|entry| entry.key == name) {
        let node = Node { at, end: 0, value: Value::Table(Entries::new()) };
        entries.push(Entry { key: name.to_owned(), at, node });
    }
    match entries.iter_mut().find(|entry| entry.key == name).map(|entry| &mut entry.node.value) {
        Some(Value::Table(inner)) => Some(inner),
        _ => None,
    }
}

/// The table among `items` whose key `name_key` is `who`, or whose index it is.
fn item_of<'t>(items: &'t mut [Node], name_key: &str, who: &str) -> Option<&'t mut Entries> {
    let named = |item: &Node| match &item.value {
        Value::Table(entries) => entries.iter().any(|entry| {
            entry.key == name_key && matches!(&entry.node.value, Value::Text(name) if same_name(name, who))
        }),
        _ => false,
    };
    let index =
        items.iter().position(named).or_else(|| who.parse().ok().filter(|index| *index < items.len()))?;
    match &mut items[index].value {
        Value::Table(entries) => Some(entries),
        _ => None,
    }
}

/// Variables have neither case nor anything but letters, digits and `_`.
fn same_name(name: &str, part: &str) -> bool {
    let plain = |text: &str| {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>()
    };
    plain(name) == plain(part)
}

fn put(table: Option<&mut Entries>, name: &str, node: Node, at: At) {
    let Some(table) = table else { return };
    take(table, name);
    table.push(Entry { key: name.to_owned(), at, node });
}

fn variable(path: &[&str]) -> String {
    format!("{PREFIX}{}", path.join(SEPARATOR).to_uppercase())
}

fn did_you_mean(path: &[&str]) -> String {
    format!("did you mean {}?", variable(path))
}
