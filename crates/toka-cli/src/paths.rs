//! Paths as options give them: patterns, and folders as people see them.

use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};
use toka_types::path::for_terminal;

use crate::failure::Failure;

/// A condition on recorded paths.
pub(crate) struct PathPattern {
    whole: GlobMatcher,
    below: GlobMatcher,
}

impl PathPattern {
    /// `docs/**`, `*.md`, `docs/guide.md`, or a folder, which stands for all below it. A pattern without `/` is met
    /// by a name in any folder.
    pub(crate) fn new(text: &str) -> Result<Self, Failure> {
        let trimmed = text.strip_prefix("./").unwrap_or(text).trim_end_matches('/');
        let anchored = if trimmed.contains('/') || trimmed == "**" {
            trimmed.to_owned()
        } else {
            format!("**/{trimmed}")
        };
        let glob = |text: &str| {
            let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build();
            let wrong =
                |e: globset::Error| Failure::usage(format!("'{text}' is no pattern for paths: {}", e.kind()));
            glob.map(|glob| glob.compile_matcher()).map_err(|e| wrong(e).hint("as in 'docs/**' or '*.md'"))
        };
        Ok(Self { whole: glob(&anchored)?, below: glob(&format!("{anchored}/**"))? })
    }

    pub(crate) fn accepts(&self, path: &str) -> bool {
        self.whole.is_match(path) || self.below.is_match(path)
    }
}

/// A folder as people name it: relative to the home directory where it lies below it.
pub(crate) fn friendly(path: &Path) -> String {
    let home = etcetera::home_dir().ok();
    let text = match home.as_deref().and_then(|home| path.strip_prefix(home).ok()) {
        Some(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    };
    for_terminal(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_meet_files_and_folders() {
        let check = |pattern: &str, path: &str, met: bool| {
            let Ok(compiled) = PathPattern::new(pattern) else { panic!("{pattern}") };
            assert_eq!(compiled.accepts(path), met, "{pattern} {path}");
        };
        check("docs/**", "docs/a/b.md", true);
        check("docs/*", "docs/b.md", true);
        check("docs", "docs/a/b.md", true);
        check("docs/", "docs/a/b.md", true);
        check("./docs", "docs/a.md", true);
        check("*.md", "docs/a/b.md", true);
        check("*.md", "docs/a/b.txt", false);
        check("docs/a.md", "docs/a.md", true);
        check("docs/*.md", "docs/a/b.md", false);
        check("**", "x", true);
        assert!(PathPattern::new("a[").is_err());
    }
}
