//! Documents cut into passages.

use proptest::prelude::*;
use toka_agents::indexer::chunk::{Chunk, MAX_BYTES, MIN_BYTES, TARGET_BYTES, chunks};
use toka_agents::indexer::extract::{Media, extract};

fn cut(path: &str, text: &str) -> Vec<Chunk> {
    chunks(&extract(path.as_bytes(), text.as_bytes()).unwrap())
}

/// Checks what holds for every document whose text is its own: order, bounds, lines, and that nothing is lost.
fn check_invariants(path: &str, text: &str) -> Vec<Chunk> {
    let document = extract(path.as_bytes(), text.as_bytes()).unwrap();
    let chunks = chunks(&document);
    let solid = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    let together: String = chunks.iter().map(|chunk| chunk.text.as_str()).collect();
    assert_eq!(solid(&together), solid(&document.text), "{path}");
    assert!(together.len() <= document.text.len());
    let mut above = 1;
    let lines: Vec<&str> = document.text.split('\n').collect();
    for chunk in &chunks {
        assert!(chunk.text.len() <= MAX_BYTES && !chunk.text.trim().is_empty(), "{path}");
        let (first, last) = chunk.lines;
        assert!(above <= first && first <= last, "{path}: {:?} after line {above}", chunk.lines);
        above = last;
        if document.lines.is_none() {
            let source = lines[first as usize - 1..last as usize].join("\n");
            assert!(source.contains(&chunk.text), "{path}: lines {:?} hold another text", chunk.lines);
            assert_eq!(chunk.text.matches('\n').count() as u32, last - first);
        }
    }
    chunks
}

fn paragraph(words: usize) -> String {
    vec!["several"; words].join(" ")
}

#[test]
fn sections_have_trails_and_lines() {
    let long = paragraph(60);
    let text = format!(
        "# Guide\n\n{long}\n\n## Install\n\n{long}\n\n### Linux\n\n{long}\n\nSetext *title*\n--------------\n\n{long}\n"
    );
    let chunks = check_invariants("a.md", &text);
    let found: Vec<_> = chunks.iter().map(|c| (c.lines, c.heading.as_deref().unwrap())).collect();
    assert_eq!(
        found,
        [
            ((1, 3), "Guide"),
            ((5, 7), "Guide > Install"),
            ((9, 11), "Guide > Install > Linux"),
            ((13, 16), "Guide > Setext title")
        ]
    );
    assert!(chunks[1].text.starts_with("## Install\n\nseveral"));
}

#[test]
fn short_sections_are_joined_under_their_parent() {
    let text = "# Names\n\n## One\n\nfirst\n\n## Two\n\nsecond\n\n# Other\n\nthird\n";
    let chunks = check_invariants("a.md", text);
    let found: Vec<_> = chunks.iter().map(|c| (c.lines, c.heading.as_deref())).collect();
    assert_eq!(found, [((1, 13), None)]);
    let long = paragraph(120);
    let text = format!("---\ntitle: x\n---\n# A\n\n## B\n\n{long}\n\n## C\n\n{long}\n");
    let chunks = check_invariants("a.md", &text);
    let found: Vec<_> = chunks.iter().map(|c| (c.lines, c.heading.as_deref())).collect();
    assert_eq!(found, [((1, 8), Some("x > A > B")), ((10, 12), Some("x > A > C"))]);
    assert!(chunks[0].text.starts_with("---\ntitle: x"));
}

#[test]
fn metadata_names_the_page() {
    let check = |metadata: &str, expected: Option<&str>| {
        let long = paragraph(80);
        let text = format!("{metadata}\n\nBegin. {long}\n\n## Part\n\n{long}\n");
        let chunks = check_invariants("a.md", &text);
        let found: Vec<_> = chunks.iter().map(|c| c.heading.as_deref()).collect();
        let part = expected.map_or("Part".to_owned(), |title| format!("{title} > Part"));
        assert_eq!(found, [expected, Some(&part)], "{metadata}");
        assert!(chunks[0].text.starts_with(metadata));
    };
    check("---\ntitle: Use the key\nweight: 3\n---", Some("Use the key"));
    check("---\nweight: 3\ntitle: \"Use the key\"\n---", Some("Use the key"));
    check("---\ntitle:   'Key: use'  \nsubtitle: x\n---", Some("Key: use"));
    check("+++\ntitle = \"Use the key\"\n+++", Some("Use the key"));
    check("---\nsubtitle: x\nother:\n  title: y\n---", None);
    check("---\ntitle:\n---", None);
    check("---\ntitle: >-\n  folded\n---", None);
    check("", None);
}

#[test]
fn headings_in_fences_and_quotes_open_no_section() {
    let text = "# Real\n\n```sh\n# not a heading\n```\n\n> # quoted\n\n- # in a list\n";
    let chunks = check_invariants("a.md", text);
    assert_eq!(chunks.len(), 1);
    assert_eq!(chunks[0].heading.as_deref(), Some("Real"));
}

#[test]
fn long_sections_are_cut_between_blocks() {
    let paragraphs: Vec<String> = (0..12).map(|i| format!("Block {i} {}", paragraph(50))).collect();
    let text = format!("# Long\n\n{}\n", paragraphs.join("\n\n"));
    let chunks = check_invariants("a.md", &text);
    assert!(chunks.len() >= 4);
    for chunk in &chunks[1..] {
        assert!(chunk.text.starts_with("Block"), "{}", &chunk.text[..20]);
        assert!(chunk.text.len() >= MIN_BYTES);
        assert_eq!(chunk.heading.as_deref(), Some("Long"));
    }
    let items: Vec<String> =
        (0..40).map(|i| format!("- Item {i} {}\n  {}", paragraph(6), paragraph(6))).collect();
    for chunk in check_invariants("a.md", &items.join("\n")) {
        assert!(chunk.text.starts_with("- Item"));
    }
}

#[test]
fn source_is_cut_between_definitions() {
    let function = |i| {
        format!(
            "/// Does {i}.\nfn f{i}() {{\n    let a = 1;\n\n    if a > 0 {{\n        run({i});\n    }}\n}}\n"
        )
    };
    let text: Vec<String> = (0..60).map(function).collect();
    let chunks = check_invariants("a.rs", &text.join("\n"));
    assert!(chunks.len() > 3);
    for chunk in &chunks {
        assert!(chunk.text.starts_with("/// Does") && chunk.text.ends_with('}'));
    }
    let python: Vec<String> = (0..60)
        .map(|i| {
            format!(
                "class C{i}:\n    def a(self):\n        return {i}\n\n    def b(self):\n        return 0\n\n"
            )
        })
        .collect();
    for chunk in check_invariants("a.py", &python.join("\n")) {
        assert!(chunk.text.starts_with("class C"));
    }
}

#[test]
fn plain_text_is_cut_at_paragraphs_and_underlined_titles() {
    let long = paragraph(70);
    let text = format!(
        "Manual\n======\n\n{long}\n\nFirst part\n----------\n{long}\n\n====\nNext\n====\n\n{long}\n\n| a\n+---+\n{long}\n"
    );
    let chunks = check_invariants("a.rst", &text);
    let found: Vec<_> = chunks.iter().map(|c| c.heading.as_deref().unwrap()).collect();
    assert_eq!(found, ["Manual", "Manual > First part", "Next"]);
    let text = format!("{long}\n\n{long}\n\n{long}\n\n{long}\n");
    for chunk in check_invariants("a.txt", &text) {
        assert!(chunk.text.ends_with("several") && chunk.text.starts_with("several"));
    }
}

#[test]
fn equals_signs_mark_titles() {
    let check = |text: &str, expected: &[Option<&str>]| {
        let text = text.replace("LONG", &paragraph(70));
        let chunks = check_invariants("a.adoc", &text);
        let found: Vec<_> = chunks.iter().map(|c| c.heading.as_deref()).collect();
        assert_eq!(found, expected, "{text}");
    };
    check(
        "= Guide\n\nLONG\n\n== Install\n\nLONG\n\n== Use\nLONG\n",
        &[Some("Guide"), Some("Guide > Install"), Some("Guide > Use")],
    );
    check("LONG\n\n== Closed ==\n\nLONG\n", &[None, Some("Closed")]);
    for none in ["LONG\n== no blank line\n\nLONG", "=x\n\nLONG", "======= seven\n\nLONG", "== ==\n\nLONG"] {
        let text = none.replace("LONG", &paragraph(70));
        assert!(check_invariants("a.adoc", &text).iter().all(|c| c.heading.is_none()), "{none}");
    }
}

#[test]
fn one_huge_line_is_cut_at_sentences_or_words_or_characters() {
    let sentences = check_invariants("a.txt", &"A sentence of some words. ".repeat(2_000));
    assert!(sentences.len() > 30);
    assert!(sentences.iter().all(|c| c.text.ends_with('.') && c.lines == (1, 1)));
    for chunk in check_invariants("a.txt", &"word ".repeat(10_000)) {
        assert!(chunk.text.ends_with("word"));
    }
    check_invariants("a.txt", &"界".repeat(10_000));
    check_invariants("a.json", &format!("{{\"a\": \"{}\"}}\n", "x".repeat(1_000_000)));
    check_invariants("a.md", &"🦀".repeat(3_000));
}

#[test]
fn line_numbers_count_every_line_end_once() {
    let text = format!("# One\r\n\r\n{0}\r\r# Two\n\n{0}\r\n", paragraph(80));
    let found: Vec<_> = check_invariants("a.md", &text).iter().map(|c| c.lines).collect();
    assert_eq!(found, [(1, 3), (5, 7)]);
}

#[test]
fn empty_and_blank_files_have_no_chunks() {
    for text in ["", "\n", " \n\t\r\n\u{a0}\n", &"\n".repeat(10_000)] {
        for path in ["a.md", "a.txt", "a.rs", "a.html", "a"] {
            assert_eq!(cut(path, text), []);
        }
    }
}

#[test]
fn the_kind_of_text_is_told_by_name_then_by_content() {
    let check = |path: &[u8], text: &str, media: Media| {
        assert_eq!(
            extract(path, text.as_bytes()).unwrap().media,
            media,
            "{:?}",
            String::from_utf8_lossy(path)
        );
    };
    check(b"x/READ.MD", "", Media::Markdown);
    check(b"a.Html", "text", Media::Html);
    check(b"a.rs", "", Media::Source);
    check(b"Makefile", "", Media::Source);
    check(b"a.txt", "<!doctype html>", Media::Plain);
    check(b"README", "Title\n\n## Part\n", Media::Markdown);
    check(b"a.unknown", "just text", Media::Plain);
    check(b"bad\xff", "  <!DOCTYPE HTML><p>x", Media::Html);
    check(b"script", "#!/bin/sh\n", Media::Source);
    check(b".md", "x", Media::Plain);
}

#[test]
fn titles_are_short_enough_to_be_repeated() {
    let text = format!("# {}\n\n{}\n", paragraph(200), paragraph(300));
    let heading = check_invariants("a.md", &text)[0].heading.clone().unwrap();
    assert!(heading.len() <= 120 && heading.ends_with("several"));
}

#[test]
fn hostile_markdown_is_cut() {
    let n = 20_000;
    let cases = [
        ">".repeat(n),
        "[".repeat(n),
        "`a``b".repeat(n / 4),
        "*a_ ".repeat(n),
        "- ".repeat(2_000),
        "#".repeat(n),
        "\n# ".repeat(n),
        "- a\n".repeat(n),
        "|a|\n|-|\n".repeat(n / 4),
        "<a ".repeat(n),
        "![a](".repeat(n),
        "```\n".repeat(n),
        "&#0;\n===\n".repeat(n / 8),
        "1. \t> - ".repeat(n / 8),
        "[a]: b\n".repeat(n),
    ];
    for text in cases {
        check_invariants("a.md", &text);
    }
}

#[test]
fn most_chunks_have_the_size_that_search_likes() {
    let text: String = (0..300)
        .map(|i| format!("## Section {i}\n\n{}\n\n{}\n\n", paragraph(20 + i % 90), paragraph(i % 40)))
        .collect();
    let chunks = check_invariants("a.md", &text);
    let mean = chunks.iter().map(|c| c.text.len()).sum::<usize>() / chunks.len();
    assert!((TARGET_BYTES / 2..=TARGET_BYTES * 3 / 2).contains(&mean), "{mean}");
}

fn names() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a.md", "a.txt", "a.rs", "a.html", "a"])
}

/// Texts made of what the chunkers look for.
fn structured() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        prop::sample::select(vec![
            "# ", "\n\n", "\n", "## T\n", "- ", "```\n", "> ", "===\n", "---\n", "    ", "|", "\t", "}\n",
            "* ", "1. ", "\r\n", "\r", "é", "界 ", ". ", "<h1>", "</h1>", "<p>", "&amp;", "<!--", "-->",
            "<script>", "<li>", "<pre>", "</pre>", "\"",
        ])
        .prop_map(str::to_owned),
        "[a-z ]{1,60}",
        (1_usize..4_000).prop_map(|n| "x".repeat(n)),
    ];
    prop::collection::vec(part, 0..60).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_cut(path in names(), bytes in prop::collection::vec(any::<u8>(), 0..3_000)) {
        if let Ok(document) = extract(path.as_bytes(), &bytes) {
            prop_assert_eq!(chunks(&document), chunks(&document));
        }
    }

    #[test]
    fn any_structure_is_cut_without_loss(path in names(), text in structured()) {
        check_invariants(path, &text);
    }
}
