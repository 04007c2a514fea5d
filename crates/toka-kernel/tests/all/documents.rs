//! `docs/events.md`, `docs/denials.md` and `docs/attacks.md` say what the code says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toka_kernel::codec;
use toka_types::facts::{Facts, OperationRef, TokenUsed, Used, kinds};
use toka_types::nonce::Nonce;
use toka_types::operation::Operation;
use toka_types::{Digest, GrantId, OpId, Timestamp};

use crate::denials::all_codes;
use crate::golden::samples;
use crate::house::*;

/// What a document says of one kind: the fields of its facts and of its content, in order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Described {
    facts: Vec<String>,
    content: Vec<String>,
}

fn document(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The text between a line's first two backticks, if the line begins with `before` and then that text.
fn quoted<'a>(line: &'a str, before: &str) -> Option<&'a str> {
    line.strip_prefix(before)?.strip_prefix('`')?.split('`').next()
}

/// The kinds that the document has a section for.
fn described() -> BTreeMap<String, Described> {
    let text = document("events.md");
    let mut kinds: BTreeMap<String, Described> = BTreeMap::new();
    let (mut current, mut of_content) = (None, false);
    for line in text.lines() {
        if line.starts_with('#') {
            current = quoted(line, "### ").map(str::to_owned);
            if let Some(kind) = &current {
                assert!(
                    kinds.insert(kind.clone(), Described::default()).is_none(),
                    "{kind} has two sections"
                );
            }
        }
        match line {
            _ if line.starts_with("Facts") => of_content = false,
            _ if line.starts_with("Content") => of_content = true,
            _ => {}
        }
        if let (Some(kind), Some(field)) = (&current, quoted(line, "| ")) {
            let described = kinds.get_mut(kind).expect("its section began");
            let fields = if of_content { &mut described.content } else { &mut described.facts };
            fields.push(field.to_owned());
        }
    }
    kinds
}

/// The keys of a map in MessagePack, in order.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Keys;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, IgnoredAny)) = map.next_entry()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

fn keys(bytes: &[u8]) -> Vec<String> {
    rmp_serde::from_slice::<Keys>(bytes).expect("a map").0
}

#[test]
fn events_md_has_every_kind_with_its_facts() {
    let described = described();
    for (kind, facts) in samples() {
        if matches!(facts, Facts::Observed(_)) {
            continue;
        }
        let of_kind = described.get(kind).unwrap_or_else(|| panic!("{kind} has no section"));
        assert_eq!(of_kind.facts, keys(&codec::encode(&facts, None)), "{kind}");
    }
    let known: BTreeSet<&str> = samples().into_iter().map(|(kind, _)| kind).collect();
    for kind in described.keys() {
        let family = kind.split('.').next().unwrap_or_default();
        assert!(known.contains(kind.as_str()) || !kinds::RESERVED.contains(&family), "no code makes {kind}");
    }
}

#[test]
fn events_md_has_the_kinds_and_contents_that_others_rely_on() {
    let described = described();
    let check = |kind: &str, content: &[&str]| {
        assert_eq!(
            described.get(kind).map(|d| &d.content[..]),
            Some(&content.iter().map(|s| s.to_string()).collect::<Vec<_>>()[..]),
            "{kind}"
        )
    };
    check("file.indexed", &["path", "digest", "size", "media", "encoding", "lossy", "chunks"]);
    check("file.chunk", &["path", "lines", "heading", "text"]);
    check("file.moved", &["from", "to", "digest"]);
    check("file.removed", &["path", "digest"]);
    check("file.skipped", &["path", "reason"]);
    check("vector.recorded", &["scale", "values", "embedder"]);
}

#[test]
fn events_md_has_the_content_of_a_refusal() {
    let mut house = House::inhabited();
    house.ask("a", observe("tool.x")).expect_err("reserved");
    let content = keys(house.last_event().content[0].bytes());
    assert_eq!(described().get("capability.denied").map(|d| &d.content), Some(&content));
}

#[test]
fn events_md_has_the_facts_that_any_kind_may_have() {
    let text = document("events.md");
    let fields = |heading: &str| -> Vec<String> {
        let section = text.split_once(heading).map(|(_, rest)| rest).unwrap_or_default();
        let section = section.split("\n#").next().unwrap_or_default();
        section.lines().filter_map(|line| quoted(line, "| ")).map(str::to_owned).collect()
    };
    let (op_id, not_after) = (Some(OpId([7; 16])), Some(Timestamp(1)));
    let (nonce, until) = (Some(Nonce([5; 16])), not_after);
    let used = vec![Used { grant: GrantId(3), capability: "tool:t(uses=2)".parse().expect("one"), times: 1 }];
    let (grant, meter, capability) =
        (GrantId(3), Digest::of(b"meter"), "tool:t(uses=2)".parse().expect("one"));
    let token_used = vec![TokenUsed { grant, meter, until: Timestamp(1), capability, times: 1 }];
    let operation = OperationRef { op_id, not_after, nonce, until, used, token_used };
    assert_eq!(
        fields("## The operation it came from"),
        keys(&rmp_serde::to_vec_named(&operation).expect("plain data"))
    );
    let (_, observed) = samples().pop().expect("observations come last");
    let Facts::Observed(observed) = observed else { panic!("observations come last") };
    let mut expected = keys(&rmp_serde::to_vec_named(&observed).expect("plain data"));
    expected.extend(keys(&rmp_serde::to_vec_named(&observed.registers[0]).expect("plain data")));
    assert_eq!(fields("## Observations"), expected);
}

#[test]
fn events_md_names_the_families_of_the_kernel() {
    let text = document("events.md");
    for family in kinds::RESERVED {
        assert!(text.contains(&format!("`{family}`")), "{family}");
        let mut house = House::inhabited();
        let kind = kind(&format!("{family}.anything"));
        let observation = toka_types::operation::Observation { kind, ..observation("x.y") };
        assert_eq!(
            code(house.ask("a", Operation::Observe(vec![observation]))),
            Some(toka_kernel::Code::KindReserved)
        );
    }
}

#[test]
fn denials_md_has_every_code_once_in_order() {
    let text = document("denials.md");
    // What the runtime says of a question is in a section of its own.
    let text = text.split("\n## ").next().expect("a beginning");
    let codes: Vec<&str> = text.lines().filter_map(|line| quoted(line, "| ")).collect();
    let expected: Vec<&str> = all_codes().into_iter().map(|code| code.as_str()).collect();
    assert_eq!(codes, expected);
    for row in text.lines().filter(|line| quoted(line, "| ").is_some()) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        assert!(
            cells.len() == 3 && cells.iter().all(|cell| !cell.trim().is_empty()),
            "code, meaning, way out: {row}"
        );
    }
}

#[test]
fn attacks_md_names_tests_that_there_are() {
    let crates = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = document("attacks.md");
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ") && line.contains("::")).collect();
    assert!(rows.len() > 30, "{}", rows.len());
    for row in rows {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        for test in tests.split(", ") {
            let parts = test
                .trim_matches('`')
                .split_once(' ')
                .and_then(|(of, test)| Some((of, test.split_once("::")?)));
            let Some((of, (module, name))) = parts else { panic!("`crate module::test`, not {test}") };
            let file = crates.join(of).join("tests/all").join(format!("{module}.rs"));
            let source =
                std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{test}: {}: {e}", file.display()));
            assert!(source.contains(&format!("fn {name}(")), "there is no {test}");
        }
    }
}
