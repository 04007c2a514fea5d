//! `toka search`.

use serde::Serialize;
use serde_json::Value;
use toka_runtime::config::EmbedderConfig;
use toka_runtime::search::path_of;
use toka_toolkit_core::Embedding;
use toka_types::path::for_terminal;
use toka_types::{Digest, EventId};
use toka_vault::search::{Asked, Hit, Options, SearchReader};

use crate::args::Search;
use crate::commands::filter::Wanted;
use crate::commands::intents::IntentView;
use crate::context::Context;
use crate::engine;
use crate::failure::{Exit, Failure, Outcome, Stop};
use crate::keys::Need;
use crate::look::{Look, Searchable};
use crate::output::{DIM, KEY, STRONG, WARN};
use crate::record::unpacked;

/// Lines of a passage that text shows.
const EXCERPT_LINES: usize = 3;
/// Characters of a line that text shows.
const EXCERPT_WIDTH: usize = 160;
/// From this length on a word meets others that begin with its first three quarters: `install`, `installing`.
const SHORTEST_STEM: usize = 4;

#[derive(Serialize)]
struct Found<'a> {
    v: u32,
    query: &'a str,
    hits: Vec<HitView>,
}

#[derive(Serialize)]
struct HitView {
    path: String,
    lines: (u32, u32),
    score: f64,
    text: String,
    intent: Option<IntentView>,
    event: EventId,
}

pub(crate) fn search(context: &mut Context, asked: &Search) -> Outcome {
    let query = asked.text.join(" ");
    if query.trim().is_empty() {
        return Err(Failure::usage("there is nothing to search for")
            .hint("as in `toka search \"how to install\"`")
            .into());
    }
    let mut wanted = Wanted::parse(&asked.filter)?;
    let look = Look::open_content(context, Need::Must)?;
    let mut searchable = None;
    if let Some(id) = &asked.filter.intent {
        wanted.of_intent(id, &look, opened(&look, context, &mut searchable)?, &context.notes)?;
    }
    if asked.filter.author.is_some() {
        wanted.of_author(&asked.filter, look.world()?.world())?;
    }
    wanted.of_cause(&asked.filter, &look)?;
    let accepts = |key: &str| wanted.path().is_none_or(|pattern| pattern.accepts(path_of(key)));
    let chosen = wanted.chosen(&look)?;
    let is_chosen = |seq: u64| chosen.as_ref().is_none_or(|chosen| chosen.contains(&seq));
    let options = Options {
        limit: asked.limit,
        path: wanted.path().is_some().then_some(&accepts),
        event: chosen.is_some().then_some(&is_chosen),
        asked: None,
    };
    let found = match engine::search(context, &look, &query, &options)? {
        Some(found) => found,
        None => {
            let searchable = opened(&look, context, &mut searchable)?;
            let vector = vector(context, &searchable.opened.reader, &query)?;
            let asked = vector.as_ref().map(|(embedder, vector)| Asked { embedder, vector });
            let options = Options { asked, ..options };
            searchable.ask(&look, &context.notes, |reader| reader.search(&query, &options))?
        }
    };
    let hits = found.into_iter().map(|hit| view(&look, hit)).collect::<Result<Vec<_>, _>>()?;
    if context.out.json {
        context.out.object(&Found { v: 1, query: &query, hits })?;
        return Ok(Exit::OK);
    }
    if hits.is_empty() {
        context.notes.say(format_args!("nothing found for \"{}\" in {}", for_terminal(&query), look.name()));
    }
    let stems = stems(&query);
    for (index, hit) in hits.iter().enumerate() {
        if index > 0 {
            context.out.line("")?;
        }
        print(context, hit, &stems)?;
    }
    Ok(Exit::OK)
}

/// The built-in projection, which is opened by whoever asks first.
fn opened<'s>(
    look: &Look,
    context: &Context,
    kept: &'s mut Option<Searchable>,
) -> Result<&'s mut Searchable, Stop> {
    let searchable = match kept.take() {
        Some(searchable) => searchable,
        None => {
            let searchable = look.searchable(&context.notes)?;
            look.note_behind(searchable.opened.behind, &context.notes);
            searchable
        }
    };
    Ok(kept.insert(searchable))
}

/// The query's vector and the id of its embedder, if one is configured and has made vectors of the passages. One that
/// cannot be had is no error: search by words and by what the vault teaches goes on.
fn vector(
    context: &Context,
    reader: &SearchReader,
    query: &str,
) -> Result<Option<(String, Embedding)>, Stop> {
    let config = context.embedder()?;
    if config == EmbedderConfig::Lexical {
        return Ok(None);
    }
    if !reader.has_vectors() {
        context.notes.say("no passage has a vector of a model yet; `toka up` makes them");
        return Ok(None);
    }
    let without = |problem: &str| {
        context.notes.warn(for_terminal(&format!("{problem}; this answer does without the model")));
        Ok(None)
    };
    let maker = match crate::embedder::maker(&config) {
        Ok(Some(maker)) => maker,
        Ok(None) => return Ok(None),
        Err(failure) => return without(failure.message()),
    };
    match reader.embedded(maker.id()) {
        (0, _) => return without(&format!("the passages have vectors, but none of {}", maker.id())),
        (some, all) if some < all => {
            context.notes.say(format_args!("{some} of {all} passages have a vector of the model so far"));
        }
        _ => {}
    }
    match maker.vector(query) {
        Ok(vector) => Ok(Some((maker.id().to_owned(), vector))),
        Err(error) => without(&error.to_string()),
    }
}

/// The hit with its text from the log.
fn view(look: &Look, hit: Hit) -> Result<HitView, Stop> {
    let record = look.record(&look.log, hit.seq)?;
    let text = match record.payload().map(unpacked).as_ref().and_then(|content| content.get("text")) {
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    };
    Ok(HitView {
        path: path_of(&hit.path).to_owned(),
        lines: hit.lines,
        score: hit.score,
        text,
        intent: hit.intent.map(IntentView::from),
        event: EventId(Digest(hit.event)),
    })
}

fn print(context: &mut Context, hit: &HitView, stems: &[String]) -> Result<(), Stop> {
    let (first, last) = hit.lines;
    let intent =
        hit.intent.as_ref().map_or_else(String::new, |intent| format!("  {}", for_terminal(intent.name())));
    let path = for_terminal(&hit.path);
    context.out.line(format_args!(
        "{KEY}{path}{KEY:#}:{WARN}{first}-{last}{WARN:#}  {DIM}{:.2}{intent}{DIM:#}",
        hit.score
    ))?;
    for line in excerpt(&hit.text, stems) {
        context.out.line(format_args!("  {}", highlighted(&line, stems)))?;
    }
    Ok(())
}

/// The beginnings by which words of the text are known as those looked for.
fn stems(query: &str) -> Vec<String> {
    let words = query.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let stem = |word: &str| {
        let word = word.to_lowercase();
        let length = word.chars().count();
        match length > SHORTEST_STEM {
            true => word.chars().take((length * 3 / 4).max(SHORTEST_STEM)).collect(),
            false => word,
        }
    };
    words.map(stem).collect()
}

fn is_wanted(word: &str, stems: &[String]) -> bool {
    let word = word.to_lowercase();
    let long = |stem: &str| stem.chars().count() >= SHORTEST_STEM;
    stems.iter().any(|stem| word == *stem || (long(stem) && word.starts_with(stem.as_str())))
}

/// The lines that say most of what was looked for, fit for a terminal.
fn excerpt(text: &str, stems: &[String]) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.trim().is_empty()).collect();
    let wanted = |line: &str| {
        let words = line.split(|c: char| !c.is_alphanumeric());
        words.filter(|word| !word.is_empty() && is_wanted(word, stems)).count()
    };
    let weights: Vec<usize> = lines.iter().map(|line| wanted(line)).collect();
    let windows = weights.windows(EXCERPT_LINES.min(weights.len().max(1)));
    let best = windows
        .enumerate()
        .max_by_key(|(index, window)| (window.iter().sum::<usize>(), std::cmp::Reverse(*index)));
    let start = best.map_or(0, |(index, _)| index);
    let shown = lines.into_iter().skip(start).take(EXCERPT_LINES);
    shown.map(|line| shortened(&for_terminal(&line.replace('\t', "    ")))).collect()
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(EXCERPT_WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// The line with what was looked for set off.
fn highlighted(line: &str, stems: &[String]) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find(char::is_alphanumeric) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c: char| !c.is_alphanumeric()).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        out.push_str(before);
        match is_wanted(word, stems) {
            true => out.push_str(&format!("{STRONG}{word}{STRONG:#}")),
            false => out.push_str(word),
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_shows_what_was_looked_for() {
        let check = |query: &str, text: &str, shown: &[&str]| {
            assert_eq!(excerpt(text, &stems(query)), shown, "{query}")
        };
        check("install", "a\nb\nc\nd\nhow to installing\nf\n", &["c", "d", "how to installing"]);
        check("none", "a\n\n\nb\nc\nd\n", &["a", "b", "c"]);
        check("x", "", &[]);
        check("x", "one", &["one"]);
        check("x", "\u{1b}[31mred", &["\\u{1b}[31mred"]);
    }

    #[test]
    fn words_are_met_by_their_beginnings() {
        let check = |query: &str, word: &str, met: bool| {
            assert_eq!(is_wanted(word, &stems(query)), met, "{query} {word}")
        };
        check("install", "Installation", true);
        check("is", "isolated", false);
        check("is", "IS", true);
        check("configure a server", "Servers", true);
        check("configure", "confirm", false);
    }
}
