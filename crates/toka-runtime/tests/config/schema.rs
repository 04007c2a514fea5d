//! The schema says what the loader does.

use std::collections::BTreeSet;

use serde_json::Value;
use toka_runtime::config::{BEHAVIOURS, documented_keys, json_schema};

/// Every key in the `properties` of `schema`, dotted as `documented_keys` writes it, arrays passed through.
fn keys(schema: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        assert!(
            inner["description"].as_str().is_some_and(|doc| doc.ends_with('.')),
            "{path} has no description"
        );
        let items = &inner["items"];
        let behaviours = items["oneOf"].as_array();
        if behaviours.is_none()
            && inner["properties"].is_null()
            && items["properties"].is_null()
            && inner["additionalProperties"].is_null()
        {
            found.insert(path.clone());
        }
        for behaviour in behaviours.into_iter().flatten() {
            keys(behaviour, &format!("{path}({}).", behaviour["title"].as_str().unwrap_or_default()), found);
        }
        if items["properties"].is_object() {
            found.insert(path.clone());
        }
        keys(inner, &format!("{path}."), found);
        keys(items, &format!("{path}."), found);
    }
}

#[test]
fn the_schema_has_the_documented_keys_and_no_others() {
    let mut in_schema = BTreeSet::new();
    keys(&json_schema(), "", &mut in_schema);
    let mut documented = BTreeSet::new();
    for key in documented_keys() {
        // A schema repeats the keys that all agents have for each behaviour.
        match key.path.strip_prefix("agents.") {
            Some(name) => documented
                .extend(BEHAVIOURS.iter().map(|behaviour| format!("agents({}).{name}", behaviour.name))),
            None => {
                documented.insert(key.path);
            }
        }
    }
    assert_eq!(in_schema, documented);
}

#[test]
fn known_tables_are_closed_and_bounded() {
    let schema = json_schema();
    let bus = &schema["properties"]["event_bus"];
    assert_eq!(bus["additionalProperties"], false);
    let size = &bus["properties"]["buffer_size"];
    assert_eq!(
        (&size["minimum"], &size["maximum"], &size["default"]),
        (&1.into(), &1_048_576.into(), &1024.into())
    );
    for agent in schema["properties"]["agents"]["items"]["oneOf"].as_array().expect("behaviours") {
        assert_eq!(agent["additionalProperties"], false);
        assert!(agent["required"].as_array().is_some_and(|keys| keys.contains(&"name".into())), "{agent}");
    }
    assert_eq!(schema["properties"]["vault"]["additionalProperties"], false);
}
