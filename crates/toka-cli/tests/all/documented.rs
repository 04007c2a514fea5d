//! The documentation names what there is, and nothing else.

use std::collections::BTreeSet;

use crate::toka::Place;

const DOCUMENT: &str = include_str!("../../../../docs/cli.md");

/// The commands below `path`, as the program's help lists them.
fn commands(place: &Place, path: &str, found: &mut BTreeSet<String>) {
    let help = place.ok(&format!("{path} --help")).stdout;
    let section = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next());
    let names = section.unwrap_or_default().lines().filter_map(|line| {
        let name = line.strip_prefix("  ")?.split_whitespace().next()?;
        line.as_bytes().get(2).is_some_and(|byte| *byte != b' ').then_some(name)
    });
    let names: Vec<&str> = names.filter(|name| *name != "help").collect();
    if names.is_empty() {
        found.insert(path.trim().to_owned());
    }
    for name in names {
        commands(place, format!("{path} {name}").trim(), found);
    }
}

#[test]
fn every_command_is_documented_and_every_documented_command_exists() {
    let place = Place::new();
    let mut existing = BTreeSet::new();
    commands(&place, "", &mut existing);
    let headings = DOCUMENT.lines().filter_map(|line| line.strip_prefix("### `toka "));
    let documented: BTreeSet<String> = headings
        .map(|heading| {
            let words = heading.trim_end_matches('`').split_whitespace();
            words
                .take_while(|word| {
                    !word.starts_with('-') && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
                })
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert_eq!(existing, documented);
    for section in DOCUMENT.split("\n### `toka ").skip(1) {
        assert!(
            section.contains("```console\n$ toka "),
            "no example: {}",
            section.lines().next().unwrap_or_default()
        );
    }
}

#[test]
fn every_option_is_documented() {
    let place = Place::new();
    let mut existing = BTreeSet::new();
    commands(&place, "", &mut existing);
    for path in existing {
        let help = place.ok(&format!("{path} --help")).stdout;
        let options = help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2);
        for option in options.map(|word| word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-'))
        {
            assert!(
                ["--help", "--version"].contains(&option) || DOCUMENT.contains(option),
                "{path} {option}"
            );
        }
    }
}
