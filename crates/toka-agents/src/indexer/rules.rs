//! Which names the walker passes over: globs, hidden names, ignore files.
//!
//! A glob without a slash matches a name at any depth, a glob with one is anchored at the root of the scan, and a
//! glob that names a folder names all that lies below it. `*` does not cross a slash.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use toka_types::Labels;
use toka_types::seal::SUBJECT_PREFIX;

/// A glob that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid glob {glob:?}: {reason}")]
pub struct GlobError {
    /// The glob as it was given.
    pub glob: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The include and exclude globs of one scan, compiled.
#[derive(Debug, Clone)]
pub struct Globs {
    include: Option<GlobSet>,
    exclude: GlobSet,
    /// Include globs of which a component begins with a dot: only these admit hidden files.
    include_hidden: GlobSet,
    /// The same globs cut off after each such component: only these admit hidden folders.
    hidden_dirs: GlobSet,
    /// For each include glob the leading components without wildcards; a folder that agrees with none of them holds
    /// nothing that is included.
    anchors: Vec<Vec<Vec<u8>>>,
}

/// The ignore files that hold in one folder: its own and those of the folders above it up to the root of the scan.
#[derive(Debug, Clone, Default)]
pub struct IgnoreChain(Option<Arc<Level>>);

#[derive(Debug)]
struct Level {
    above: IgnoreChain,
    /// Length of the folder's path with its final slash: what is cut off a path before matching.
    prefix: usize,
    dot_ignore: Gitignore,
    gitignore: Gitignore,
}

impl Globs {
    /// Compiles the globs. No include glob means that everything is included.
    ///
    /// # Errors
    /// The first glob that is not valid.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Globs, GlobError> {
        let mut hidden_dirs = GlobSetBuilder::new();
        let mut include_hidden = GlobSetBuilder::new();
        let mut anchors = Vec::new();
        for glob in include {
            let anchored = anchored(glob);
            anchors.push(literal_prefix(&anchored));
            let parts: Vec<&str> = anchored.split('/').collect();
            let mut named = false;
            for (i, part) in parts.iter().enumerate() {
                if names_hidden(part) {
                    named = true;
                    // A cut inside braces does not compile; the whole glob still admits the files it matches.
                    if let Ok(cut) = compile(&parts[..=i].join("/")) {
                        hidden_dirs.add(cut);
                    }
                }
            }
            if named {
                add_both(&mut include_hidden, glob)?;
            }
        }
        let include = if include.is_empty() { None } else { Some(set(include)?) };
        Ok(Globs {
            include,
            exclude: set(exclude)?,
            include_hidden: include_hidden.build().map_err(|e| error("", &e))?,
            hidden_dirs: hidden_dirs.build().map_err(|e| error("", &e))?,
            anchors,
        })
    }

    /// Whether a folder is entered. `path` is relative to the root of the scan.
    pub fn admits_dir(&self, path: &[u8]) -> bool {
        let as_path = to_path(path);
        if is_hidden(path) && !self.hidden_dirs.is_match(as_path) {
            return false;
        }
        if self.include.is_some() && !self.anchors.iter().any(|anchor| agrees(anchor, path)) {
            return false;
        }
        if self.exclude.is_empty() {
            return true;
        }
        // `target/**` matches all that lies in `target`, so the folder need not be entered either.
        let mut inside = path.to_vec();
        inside.push(b'/');
        !self.exclude.is_match(as_path) && !self.exclude.is_match(to_path(&inside))
    }

    /// Whether a file is reported. `path` is relative to the root of the scan.
    pub fn admits_file(&self, path: &[u8]) -> bool {
        let as_path = to_path(path);
        if is_hidden(path) && !self.include_hidden.is_match(as_path) {
            return false;
        }
        self.include.as_ref().is_none_or(|set| set.is_match(as_path)) && !self.exclude.is_match(as_path)
    }
}

/// Whose the files are whose paths match: what is recorded of them carries the label `subject:NAME`, so that it can
/// be erased by itself.
#[derive(Debug, Default)]
pub struct Subjects(Vec<(GlobSet, Labels)>);

impl Subjects {
    /// Compiles globs and the names of subjects.
    ///
    /// # Errors
    /// The first glob that is not valid, or name that is none.
    pub fn new(rules: &[(String, String)]) -> Result<Self, GlobError> {
        let rule = |(glob, name): &(String, String)| {
            let labels = Labels::parse([format!("{SUBJECT_PREFIX}{name}")]);
            let labels = labels.map_err(|e| GlobError { glob: glob.clone(), reason: e.to_string() })?;
            Ok((set(std::slice::from_ref(glob))?, labels))
        };
        rules.iter().map(rule).collect::<Result<_, _>>().map(Self)
    }

    /// The label of the first rule that matches; none if none does.
    pub fn of(&self, path: &[u8]) -> Labels {
        let found = self.0.iter().find(|(globs, _)| globs.is_match(to_path(path)));
        found.map(|(_, labels)| labels.clone()).unwrap_or_default()
    }
}

impl IgnoreChain {
    /// The chain for the folder `dir` (relative, empty for the root), given the content of its ignore files.
    ///
    /// A line that is no valid pattern is passed over; a file whose patterns together are too large to compile counts
    /// as empty.
    pub fn enter(&self, dir: &[u8], gitignore: Option<&[u8]>, dot_ignore: Option<&[u8]>) -> IgnoreChain {
        let gitignore = gitignore.map_or_else(Gitignore::empty, parse);
        let dot_ignore = dot_ignore.map_or_else(Gitignore::empty, parse);
        if gitignore.is_empty() && dot_ignore.is_empty() {
            return self.clone();
        }
        let prefix = if dir.is_empty() { 0 } else { dir.len() + 1 };
        IgnoreChain(Some(Arc::new(Level { above: self.clone(), prefix, dot_ignore, gitignore })))
    }

    /// Whether `path` (relative to the root of the scan) is ignored. The nearest file that says something about the
    /// path decides, and every `.ignore` comes before every `.gitignore`.
    pub fn ignores(&self, path: &[u8], is_dir: bool) -> bool {
        let mut from_git = Match::None;
        let mut level = &self.0;
        while let Some(here) = level {
            let inside = to_path(path.get(here.prefix..).unwrap_or_default());
            match here.dot_ignore.matched(inside, is_dir) {
                Match::None => {}
                decided => return decided.is_ignore(),
            }
            if from_git.is_none() {
                from_git = here.gitignore.matched(inside, is_dir);
            }
            level = &here.above.0;
        }
        from_git.is_ignore()
    }
}

impl Drop for IgnoreChain {
    /// Frees the levels one after the other: a deep tree with an ignore file in each folder would overflow the stack
    /// if each level freed the one above it.
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(mut level) = next.and_then(|level| Arc::try_unwrap(level).ok()) {
            next = level.above.0.take();
        }
    }
}

/// Whether the last component of the path begins with a dot.
pub fn is_hidden(path: &[u8]) -> bool {
    let name = path.rsplit(|&b| b == b'/').next().unwrap_or_default();
    name.first() == Some(&b'.')
}

/// Whether the path names a file that holds rules itself: `.gitignore` or `.ignore`.
pub fn is_ignore_file(path: &[u8]) -> bool {
    matches!(path.rsplit(|&b| b == b'/').next(), Some(b".gitignore" | b".ignore"))
}

/// A relative path of bytes as the type that the matchers take.
fn to_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

fn parse(content: &[u8]) -> Gitignore {
    // "." as root makes the matcher take paths as they are.
    let mut builder = GitignoreBuilder::new(".");
    let text = String::from_utf8_lossy(content);
    for line in text.trim_start_matches('\u{feff}').lines() {
        // A pattern that is not valid matches nothing, as in git.
        let _ = builder.add_line(None, line);
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

fn set(globs: &[String]) -> Result<GlobSet, GlobError> {
    let mut builder = GlobSetBuilder::new();
    for glob in globs {
        add_both(&mut builder, glob)?;
    }
    builder.build().map_err(|e| error(&globs.join(", "), &e))
}

/// Adds a glob for the name itself and one for all below it.
fn add_both(builder: &mut GlobSetBuilder, glob: &str) -> Result<(), GlobError> {
    let anchored = anchored(glob);
    builder.add(compile(&anchored).map_err(|e| error(glob, &e))?);
    builder.add(compile(&format!("{anchored}/**")).map_err(|e| error(glob, &e))?);
    Ok(())
}

fn compile(glob: &str) -> Result<globset::Glob, globset::Error> {
    GlobBuilder::new(glob).literal_separator(true).build()
}

fn error(glob: &str, error: &globset::Error) -> GlobError {
    GlobError { glob: error.glob().unwrap_or(glob).to_owned(), reason: error.kind().to_string() }
}

/// The glob anchored at the root of the scan.
fn anchored(glob: &str) -> String {
    let trimmed = glob.strip_prefix("./").unwrap_or(glob).trim_end_matches('/');
    match trimmed.strip_prefix('/') {
        Some(rooted) => rooted.to_owned(),
        None if trimmed.contains('/') => trimmed.to_owned(),
        None => format!("**/{trimmed}"),
    }
}

fn literal_prefix(anchored: &str) -> Vec<Vec<u8>> {
    let wild = |part: &str| part.contains(['*', '?', '[', ']', '{', '}', '\\']);
    anchored.split('/').take_while(|part| !wild(part)).map(|part| part.as_bytes().to_vec()).collect()
}

/// Whether one of the two paths continues the other.
fn agrees(anchor: &[Vec<u8>], path: &[u8]) -> bool {
    anchor.iter().zip(path.split(|&b| b == b'/')).all(|(a, b)| a.as_slice() == b)
}

fn names_hidden(part: &str) -> bool {
    part.starts_with('.') || part.contains("{.") || part.contains(",.") || part.contains("[.")
}
