//! Which engine finds words in a vault.

use std::path::{Path, PathBuf};

use toka_runtime::config::{EmbedderConfig, SearchEngine};
use toka_runtime::search;
use toka_vault::LogId;
#[cfg(feature = "search-tantivy")]
use toka_vault::search::SearchReader;
use toka_vault::search::{Hit, Options};

use crate::context::{self, Context};
#[cfg(feature = "search-tantivy")]
use crate::failure::Failure;
use crate::failure::Stop;
use crate::look::Look;
use crate::notes::Notes;

/// The engine of a vault: the configured one, else the one it has had. A sealed vault has the built-in one, and is told so
/// if another is configured.
pub(crate) fn of(
    configured: Option<SearchEngine>,
    projections: &Path,
    sealed: bool,
    notes: &Notes,
) -> SearchEngine {
    let had = || cfg!(feature = "search-tantivy") && search::tantivy_directory(projections).is_dir();
    match configured {
        Some(SearchEngine::Tantivy) if sealed => {
            notes.warn("the vault is sealed, and an index by tantivy would hold its words in the clear: the built-in engine is used");
            SearchEngine::Builtin
        }
        Some(engine) => engine,
        None if !sealed && had() => SearchEngine::Tantivy,
        None => SearchEngine::Builtin,
    }
}

/// The passages of the vault that answer the query, by another engine than the built-in one; none if that one is to answer.
pub(crate) fn search(
    context: &Context,
    look: &Look,
    query: &str,
    options: &Options<'_>,
) -> Result<Option<Vec<Hit>>, Stop> {
    // A fork and a bundle have no index of their own: what is missing is built for the occasion, by the built-in engine.
    // That one alone knows all of a vault's passages by the numbers of their events.
    if look.bundle.is_some() || look.log != LogId::main() || options.event.is_some() {
        return Ok(None);
    }
    let config = context::read(context.config_file().as_deref())?.config;
    let projections = search::directory(&look.path);
    let sealed = look.store.sealed()?.is_some();
    match of(config.search.engine, &projections, sealed, &context.notes) {
        SearchEngine::Builtin => Ok(None),
        SearchEngine::Tantivy => {
            if config.embedder != EmbedderConfig::Lexical {
                context.notes.say("the engine tantivy finds by words: the model is not asked");
            }
            by_tantivy(context, look, &projections, query, options)
        }
    }
}

/// What is wrong with the index of another engine than the built-in one, by file.
#[cfg(feature = "search-tantivy")]
pub(crate) fn verify(projections: &Path) -> Vec<(PathBuf, String)> {
    let problems = toka_vault::search::verify_tantivy(&search::tantivy_directory(projections));
    problems.into_iter().map(|problem| (problem.file, problem.detail)).collect()
}

/// A build that does not have the engine sees nothing.
#[cfg(not(feature = "search-tantivy"))]
pub(crate) fn verify(_: &Path) -> Vec<(PathBuf, String)> {
    Vec::new()
}

/// Without the feature no configuration names the engine, and nothing else does.
#[cfg(not(feature = "search-tantivy"))]
fn by_tantivy(_: &Context, _: &Look, _: &Path, _: &str, _: &Options<'_>) -> Result<Option<Vec<Hit>>, Stop> {
    Ok(None)
}

/// The hits from the index by tantivy; none if it cannot be used, which is said.
#[cfg(feature = "search-tantivy")]
fn by_tantivy(
    context: &Context,
    look: &Look,
    projections: &Path,
    query: &str,
    options: &Options<'_>,
) -> Result<Option<Vec<Hit>>, Stop> {
    let opened = search::open_tantivy(look.store.as_ref(), &look.log, projections);
    let opened = opened.map_err(|error| Failure::failed(format!("{error:#}")))?;
    let found = opened.and_then(|opened| {
        let hits = opened.reader.search(query, options).map_err(|error| error.to_string())?;
        Ok((hits, opened.behind))
    });
    let (mut hits, behind) = match found {
        Ok(found) => found,
        Err(problem) => {
            let problem = toka_types::path::for_terminal(&problem);
            context.notes.warn(format_args!("{problem}; the built-in engine answers"));
            context.notes.hint("`toka up --once` saves it again");
            return Ok(None);
        }
    };
    look.note_behind(behind, &context.notes);
    // What the passages are about is known to the built-in projection alone; that it is missing is no reason to find nothing.
    let events: Vec<[u8; 32]> = hits.iter().map(|hit| hit.event).collect();
    let intents = SearchReader::open(projections).and_then(|reader| reader.intents_of(&events));
    for (hit, intent) in hits.iter_mut().zip(intents.unwrap_or_default()) {
        hit.intent = intent;
    }
    Ok(Some(hits))
}
