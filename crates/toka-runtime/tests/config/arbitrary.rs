//! Whatever the text, loading ends, and says something with a place in the text.

use std::path::Path;

use crate::support::{loader, read, said};

/// Loads `text`; places must lie within it, and what is said must be printable.
fn endure(text: &str) {
    let lines = text.split('\n').count();
    let (diagnostics, failed) = match read(text) {
        Ok(loaded) => (loaded.warnings, false),
        Err(error) => (error.diagnostics, true),
    };
    assert!(!failed || !diagnostics.is_empty(), "a failure without a reason for {text:?}");
    for diagnostic in diagnostics {
        if let Some(at) = diagnostic.position() {
            assert!((1..=lines).contains(&at.line) && at.column >= 1, "{diagnostic} in {text:?}");
        }
        let shown = diagnostic.to_string();
        assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?} in {text:?}");
    }
}

/// Pieces that TOML and this configuration give a meaning.
const PIECES: &[&str] = &[
    "\n",
    "\n",
    "\n",
    " ",
    ".",
    ",",
    "=",
    "= 3\n",
    "= \"x\"\n",
    "= \"${X}\"\n",
    "= \"${\"\n",
    "= [",
    "= {",
    "{",
    "}",
    "[",
    "]",
    "[[",
    "]]",
    "\"",
    "\"\"\"",
    "'''",
    "'",
    "# c\n",
    "event_bus",
    "[event_bus]\n",
    "buffer_size",
    "vault",
    "[vault]\n",
    "path",
    "agents",
    "[[agents]]\n",
    "[[policy.rules]]\n",
    "verdict",
    "= \"ask\"\n",
    "to = [\"tool:**\"]\n",
    "labels = [\"a:**\"]\n",
    "[agents]\n",
    "[[agents.tasks]]\n",
    "name",
    "name = \"Logger\"\n",
    "name = \"SchedulerAgent\"\n",
    "name = \"IndexerAgent\"\n",
    "scan_path",
    "cron",
    "every",
    "drivers",
    "[drivers.s3]\n",
    "s3",
    "secret_store",
    "grant",
    "true",
    "1e400",
    "-0",
    "0x_",
    "1979-05-27",
    "é",
    "\u{1b}",
    "\r",
    "\\u0000",
    "a.b.c",
];

/// A generator that needs no seed from outside: the same texts in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // xorshift64, enough to mix pieces.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % sides
    }
}

#[test]
fn texts_of_meaningful_pieces() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..3000 {
        let count = 1 + dice.roll(24);
        let text: String = (0..count).map(|_| PIECES[dice.roll(PIECES.len())]).collect();
        endure(&text);
    }
}

#[test]
fn a_good_file_with_a_character_changed() {
    let good = "scheduler_tick_ms = 5\n[event_bus]\nbuffer_size = 8\n[vault]\npath = \"${V:-v}\"\n[drivers.s3]\nk = { a = [1, 2] }\n[[agents]]\nname = \"SchedulerAgent\"\n[[agents.tasks]]\nname = \"t\"\nevery = \"5m\"\nemit = \"a\"\n";
    for at in 0..good.len() {
        for replacement in ["", "\"", "[", "\n", "é", "=", "$"] {
            endure(&format!("{}{replacement}{}", &good[..at], &good[at + 1..]));
        }
    }
}

#[test]
fn tables_nested_as_deep_as_the_parser_allows() {
    let dotted = ["a"; 78].join(".");
    let text = format!("{dotted} = {}1{}", format!("{{{dotted} = ").repeat(78), "}".repeat(78));
    let variable = text.split_once('=').map(|(_, value)| value.to_owned()).unwrap_or_default();
    let load = move || {
        let variables = [("TOKA__EVENT_BUS__BUFFER_SIZE", variable.as_str())];
        (said(read(&text)), said(loader(&[], &variables).without_file()))
    };
    // A thread of a runtime has more stack than this.
    let small = std::thread::Builder::new().stack_size(1 << 20).spawn(load);
    let (file, variable) = small.expect("a thread").join().expect("no overflow");
    assert!(file.contains("tables and arrays nest at most 32 deep"), "{file}");
    assert!(variable.contains("'buffer_size' must be an integer"), "{variable}");
}

#[test]
fn a_file_of_nothing_but_mistakes_is_summed_up() {
    let texts = [
        "a = 1\n".repeat(100_000),
        (0..60_000).map(|n| format!("k{n} = 1\n")).collect(),
        format!("agents = [{}]", vec!["{}"; 200_000].join(",")),
        format!("[event_bus]\nx = {}", "[".repeat(500_000)),
        (0..30_000).map(|n| format!("[[agents]]\nname = \"é{n}\"\n")).collect(),
        "$".repeat(500_000),
        format!("secret_store = \"{}\"", "${".repeat(300_000)),
    ];
    for text in texts {
        let error = loader(&[], &[]).parse(&text, Some(Path::new("x.toml"))).expect_err("mistakes");
        assert!(error.diagnostics.len() <= 101, "{} are listed", error.diagnostics.len());
    }
}
