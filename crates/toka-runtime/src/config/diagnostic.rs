//! What is wrong with a configuration, where, and what would mend it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::ser::{Serialize, SerializeStruct, Serializer};

/// Longest piece of a file or of the environment that a message repeats, in characters: messages are for
/// people, and a pasted certificate in place of a name would bury the rest.
const MAX_QUOTED_CHARS: usize = 80;

/// Most problems that are reported: what has more is not a configuration.
pub(super) const MAX_DIAGNOSTICS: usize = 100;

/// One problem of a configuration.
///
/// `Display` gives `config/x.toml:12:3: unknown key 'bufer_size' in [event_bus]` and, on a second line, the
/// hint; warnings say so. What it repeats from the file has its control characters escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the configuration can be used all the same.
    pub severity: Severity,
    /// Where the problem lies.
    pub place: Place,
    /// The key it is about, dotted: `agents[1].scan_path`.
    pub key: Option<String>,
    /// What is wrong; carries the value and the limit.
    pub message: String,
    /// What would mend it.
    pub hint: Option<String>,
}

/// Weight of a [`Diagnostic`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is used; something in it is not.
    Warning,
    /// The configuration is not used.
    Error,
}

/// Where something in a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A place in a file.
    File {
        /// The file, as it was named to the loader.
        path: PathBuf,
        /// Line and column.
        position: Position,
    },
    /// A file as a whole.
    Path(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// A configuration that a program built.
    Program,
}

/// Line and column, both counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// A configuration that cannot be used. `Display` prints every diagnostic, one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Which kind of failure.
    pub failure: Failure,
    /// At least one error, and the warnings found along with it, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// Kind of a [`ConfigError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no such file.
    Absent,
    /// The file cannot be read: a directory, no permission, too large.
    Unreadable,
    /// The file or the environment says something that is not understood.
    Invalid,
}

impl Diagnostic {
    /// The file the problem lies in, if it lies in one.
    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::File { path, .. } | Place::Path(path) => Some(path),
            Place::Environment(_) | Place::Program => None,
        }
    }

    /// Line and column of the problem, if it has them.
    pub fn position(&self) -> Option<Position> {
        match self.place {
            Place::File { position, .. } => Some(position),
            _ => None,
        }
    }
}

impl ConfigError {
    pub(super) fn whole(failure: Failure, path: &Path, message: String, hint: Option<String>) -> Self {
        let place = Place::Path(path.to_owned());
        Self {
            failure,
            diagnostics: vec![Diagnostic { severity: Severity::Error, place, key: None, message, hint }],
        }
    }

    pub(super) fn invalid(diagnostics: Vec<Diagnostic>) -> Self {
        Self { failure: Failure::Invalid, diagnostics }
    }
}

/// `text` in quotes, shortened, its control characters escaped.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("'");
    for (count, character) in text.chars().enumerate() {
        if count == MAX_QUOTED_CHARS {
            out.push('…');
            break;
        }
        push_printable(&mut out, character);
    }
    out.push('\'');
    out
}

/// `text` whole, its control characters escaped.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        push_printable(&mut out, character);
    }
    out
}

fn push_printable(out: &mut String, character: char) {
    // Bidirectional overrides reorder what follows them on a terminal, so they count as control characters.
    let reorders =
        matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if character.is_control() || reorders {
        out.extend(character.escape_default());
    } else {
        out.push(character);
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, position } => {
                write!(f, "{}:{}:{}", printable(&path.to_string_lossy()), position.line, position.column)
            }
            Self::Path(path) => f.write_str(&printable(&path.to_string_lossy())),
            Self::Environment(variable) => write!(f, "environment {}", printable(variable)),
            Self::Program => f.write_str("configuration"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Serialize for Diagnostic {
    /// `{severity, file, line, column, variable, key, message, hint}`, null where there is none.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let variable = match &self.place {
            Place::Environment(variable) => Some(variable),
            _ => None,
        };
        let mut object = serializer.serialize_struct("Diagnostic", 8)?;
        object.serialize_field(
            "severity",
            if self.severity == Severity::Error { "error" } else { "warning" },
        )?;
        object.serialize_field("file", &self.file().map(Path::to_string_lossy))?;
        object.serialize_field("line", &self.position().map(|position| position.line))?;
        object.serialize_field("column", &self.position().map(|position| position.column))?;
        object.serialize_field("variable", &variable)?;
        object.serialize_field("key", &self.key)?;
        object.serialize_field("message", &self.message)?;
        object.serialize_field("hint", &self.hint)?;
        object.end()
    }
}
