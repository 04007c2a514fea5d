//! What the modules share: loaders with an environment of their own, and one way to state an expectation.

use std::path::Path;

use toka_runtime::config::{BuildInfo, ConfigError, Environment, Loaded, Loader};

/// A build with exactly these features.
pub(crate) fn build(features: &[&str]) -> BuildInfo {
    let features = features.iter().map(|feature| (*feature).to_owned()).collect();
    BuildInfo { features, behaviours: Vec::new(), drivers: Vec::new(), providers: Vec::new() }
}

/// A loader of that build that sees exactly these variables.
pub(crate) fn loader(features: &[&str], variables: &[(&str, &str)]) -> Loader {
    Loader::new(build(features)).environment(variables.iter().copied().collect::<Environment>())
}

/// `text` as the file `x.toml`, with the vault in the build and no variables.
pub(crate) fn read(text: &str) -> Result<Loaded, ConfigError> {
    loader(&["vault"], &[]).parse(text, Some(Path::new("x.toml")))
}

/// What is said about `outcome`, warnings and errors alike, a line or two each.
pub(crate) fn said(outcome: Result<Loaded, ConfigError>) -> String {
    match outcome {
        Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        Err(error) => error.to_string(),
    }
}

/// Asserts what is said about `text`.
#[track_caller]
pub(crate) fn check(text: &str, expected: &str) {
    assert_eq!(said(read(text)), expected, "for the text\n{text}");
}

/// Asserts what is said about `text` under these variables.
#[track_caller]
pub(crate) fn check_with(variables: &[(&str, &str)], text: &str, expected: &str) {
    let outcome = loader(&["vault"], variables).parse(text, Some(Path::new("x.toml")));
    assert_eq!(said(outcome), expected, "for the text\n{text}");
}
