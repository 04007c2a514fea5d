//! The text of a configuration, and where in it an offset lies.

use std::path::{Path, PathBuf};

use super::diagnostic::{Place, Position};
use super::settings::Origin;

/// A place in what is being checked, cheap to carry around; [`Source::place`] makes it readable. Ordered as
/// diagnostics are listed: the file from its beginning, then the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum At {
    /// Byte offset in the text.
    Offset(usize),
    /// Index among the variables that override the file.
    Environment(usize),
    /// Built by a program.
    Program,
}

/// What the places of one check refer to.
pub(super) struct Source<'a> {
    path: Option<&'a Path>,
    text: &'a str,
    line_starts: Vec<usize>,
    /// Characters before every [`MARK_BYTES`]th byte, so that a column costs the same in a line of a megabyte.
    marks: Vec<usize>,
    variables: Vec<String>,
}

/// Bytes between two marks.
const MARK_BYTES: usize = 256;

impl<'a> Source<'a> {
    pub(super) fn new(path: Option<&'a Path>, text: &'a str, variables: Vec<String>) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1))
            .collect();
        let mut marks = vec![0];
        for chunk in text.as_bytes().chunks(MARK_BYTES) {
            marks.push(marks.last().copied().unwrap_or(0) + characters(chunk));
        }
        Self { path, text, line_starts, marks, variables }
    }

    pub(super) fn path(&self) -> Option<&'a Path> {
        self.path
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset.min(self.text.len()))
    }

    pub(super) fn position(&self, offset: usize) -> Position {
        let line = self.line(offset);
        let start = self.line_starts[line - 1];
        Position { line, column: self.characters_before(offset) - self.characters_before(start) + 1 }
    }

    fn characters_before(&self, offset: usize) -> usize {
        let offset = offset.min(self.text.len());
        let mark = offset / MARK_BYTES;
        self.marks[mark] + characters(&self.text.as_bytes()[mark * MARK_BYTES..offset])
    }

    pub(super) fn place(&self, at: At) -> Place {
        match at {
            At::Offset(offset) => Place::File { path: self.place_name(), position: self.position(offset) },
            At::Environment(index) => Place::Environment(self.variable(index)),
            At::Program => Place::Program,
        }
    }

    pub(super) fn origin(&self, at: At) -> Origin {
        match at {
            At::Offset(offset) => Origin::File { path: self.place_name(), line: self.line(offset) },
            At::Environment(index) => Origin::Environment(self.variable(index)),
            At::Program => Origin::Program,
        }
    }

    fn place_name(&self) -> PathBuf {
        self.path.map_or_else(|| PathBuf::from("<text>"), Path::to_owned)
    }

    fn variable(&self, index: usize) -> String {
        self.variables.get(index).cloned().unwrap_or_default()
    }

    /// A place as a message refers to another one: `line 3`, or `environment TOKA__…`.
    pub(super) fn refer(&self, at: At) -> String {
        match at {
            At::Offset(offset) => format!("line {}", self.line(offset)),
            other => self.place(other).to_string(),
        }
    }
}

/// Characters that begin in `bytes`.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0b1100_0000 != 0b1000_0000).count()
}
