//! A place of its own for each test, and the program run in it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A directory with a home, in which the program runs.
pub(crate) struct Place {
    directory: TempDir,
}

/// What a run printed and how it ended.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(directory.path().join("work")).expect("a directory");
        Self { directory }
    }

    /// A place with a folder `docs` of a few texts.
    pub(crate) fn with_docs() -> Self {
        let place = Self::new();
        for (path, text) in DOCS {
            place.write(path, text);
        }
        place
    }

    /// The working directory.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    pub(crate) fn vault(&self) -> PathBuf {
        self.path().join(".toka")
    }

    pub(crate) fn write(&self, path: impl AsRef<Path>, text: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    /// The program with these arguments, told nothing else by the environment.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_toka"));
        command.args(arguments).current_dir(self.path()).env_clear();
        command.env("HOME", self.directory.path().join("home")).env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null());
        command
    }

    /// Runs the program; the arguments are separated by spaces.
    pub(crate) fn run(&self, arguments: &str) -> Ran {
        Ran::of(self.command(arguments.split_whitespace()).output().expect("the program runs"))
    }

    /// Runs the program, which must succeed.
    pub(crate) fn ok(&self, arguments: &str) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments}: {}{}", ran.stdout, ran.stderr);
        ran
    }

    /// Runs the program with `--json`; it must succeed and answer with one object.
    pub(crate) fn answer(&self, arguments: &str) -> Value {
        self.ok(&format!("{arguments} --json")).answer()
    }

    /// As [`answer`](Self::answer) for what has no version: one object of a listing.
    pub(crate) fn answer_of(&self, arguments: &str) -> Value {
        self.ok(&format!("{arguments} --json")).lines().remove(0)
    }

    /// Runs the program with `--json`; it must succeed, and list objects.
    pub(crate) fn list(&self, arguments: &str) -> Vec<Value> {
        self.ok(&format!("{arguments} --json")).lines()
    }

    /// Runs the program, which must fail with that code; returns the error it printed as JSON.
    pub(crate) fn fails(&self, code: i32, arguments: &str) -> Value {
        let ran = self.run(&format!("{arguments} --json"));
        assert_eq!(ran.code, Some(code), "{arguments}: {}{}", ran.stdout, ran.stderr);
        ran.error()
    }

    /// Starts the program and leaves it running.
    pub(crate) fn start(&self, arguments: &str) -> Child {
        let mut command = self.command(arguments.split_whitespace());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the program starts")
    }

    /// The kind and content of every event of the indexer's, and the world: what two runs over the same folder share.
    pub(crate) fn outcome(&self) -> (BTreeSet<String>, String) {
        let events = self.list("events list --from 0 --limit 1000000 --kind file");
        let events = events.iter().map(|event| format!("{} {}", event["kind"], event["content"]));
        (events.collect(), text(&self.answer("status")["world"]))
    }

    /// The segments of the journal.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.vault().join("journal")).expect("a journal");
        let mut segments: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        segments.sort();
        segments
    }
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program prints UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    pub(crate) fn answer(&self) -> Value {
        let mut lines = self.lines();
        assert_eq!(lines.len(), 1, "{}", self.stdout);
        let answer = lines.remove(0);
        assert_eq!(answer["v"], 1, "{answer}");
        answer
    }

    /// The one event that was printed.
    pub(crate) fn answer_of_event(&self) -> Value {
        let mut lines = self.lines();
        assert_eq!(lines.len(), 1, "{}", self.stdout);
        lines.remove(0)
    }

    /// The error: the last line of standard error.
    pub(crate) fn error(&self) -> Value {
        let last = self.stderr.lines().last().unwrap_or_default();
        let error: Value = serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {}", self.stderr));
        let error = error["error"].clone();
        assert!(error["code"].is_string() && error["message"].is_string(), "{error}");
        error
    }
}

/// The text of a JSON string.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

const DOCS: [(&str, &str); 5] = [
    (
        "docs/install.md",
        "# Installing\n\nRun the installer on the server and restart the daemon afterwards.\n",
    ),
    (
        "docs/backup.md",
        "# Backups\n\nCopy the archive to another disk every night. Restore it after a crash.\n",
    ),
    (
        "docs/network/firewall.md",
        "# Firewall\n\nOpen port 443 for incoming connections and drop all other packets.\n",
    ),
    ("docs/src/main.rs", "/// Prints a greeting to the world.\nfn main() {\n    println!(\"hello\");\n}\n"),
    (
        "docs/page.html",
        "<html><body><h1>Cooking</h1><p>Boil the potatoes with salt until tender.</p></body></html>\n",
    ),
];
