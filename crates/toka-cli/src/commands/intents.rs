//! `toka intents list` and `show`.

use serde::Serialize;
use toka_runtime::search::path_of;
use toka_types::path::for_terminal;
use toka_types::{Digest, EventId};
use toka_vault::intent::Intent;
use toka_vault::search::SearchReader;

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome, Stop};
use crate::keys::Need;
use crate::look::{Look, ambiguous, check_hex};
use crate::output::{DIM, KEY, STRONG, grouped};

/// Digits of an intent's id.
const ID_DIGITS: usize = 8;
/// Terms that a line of text shows.
const TERMS: usize = 6;

#[derive(Serialize)]
struct Row<'a> {
    id: String,
    name: &'a str,
    terms: &'a [String],
    events: u32,
}

#[derive(Serialize)]
struct Shown<'a> {
    v: u32,
    id: String,
    name: &'a str,
    terms: &'a [String],
    members: Vec<MemberView>,
}

#[derive(Serialize)]
struct MemberView {
    event: EventId,
    path: String,
    lines: (u32, u32),
    similarity: f64,
}

/// An intent's id as it is shown.
pub(crate) fn intent_id(id: u32) -> String {
    format!("{id:08x}")
}

/// The intent that `text` names, in full or by a unique beginning.
pub(crate) fn resolve(reader: &SearchReader, text: &str) -> Result<Intent, Stop> {
    check_hex(text, ID_DIGITS, "an intent")?;
    let intents = reader.intents()?;
    let mut found: Vec<&Intent> =
        intents.list().iter().filter(|intent| intent_id(intent.id).starts_with(text)).collect();
    match found.len() {
        0 => Err(Failure::unknown(format!("there is no intent {text}"))
            .hint("`toka intents list` shows what there is")
            .into()),
        1 => Ok(found.remove(0).clone()),
        _ => Err(ambiguous(text, found.iter().map(|intent| intent_id(intent.id)))),
    }
}

pub(crate) fn list(context: &mut Context) -> Outcome {
    let look = Look::open_content(context, Need::Must)?;
    let searchable = look.searchable(&context.notes)?;
    look.note_behind(&searchable, &context.notes);
    let intents = searchable.opened.reader.intents()?;
    if context.out.json {
        for intent in intents.list() {
            let (name, terms, events) = (&intent.name[..], &intent.terms[..], intent.events);
            context.out.object(&Row { id: intent_id(intent.id), name, terms, events })?;
        }
        return Ok(Exit::OK);
    }
    if intents.list().is_empty() {
        context.notes.say("no intents yet; `toka up FOLDER` indexes texts to find them in");
        return Ok(Exit::OK);
    }
    let mut largest: Vec<&Intent> = intents.list().iter().collect();
    largest.sort_by_key(|intent| std::cmp::Reverse(intent.events));
    let rows = largest.into_iter().map(|intent| {
        let terms = intent.terms.iter().take(TERMS).cloned().collect::<Vec<_>>().join(" ");
        vec![
            intent_id(intent.id),
            for_terminal(&intent.name),
            grouped(intent.events.into()),
            for_terminal(&terms),
        ]
    });
    context.out.table(&["ID", "NAME", "EVENTS", "TERMS"], rows)?;
    Ok(Exit::OK)
}

pub(crate) fn show(context: &mut Context, id: &str) -> Outcome {
    check_hex(id, ID_DIGITS, "an intent")?;
    let look = Look::open_content(context, Need::Must)?;
    let searchable = look.searchable(&context.notes)?;
    look.note_behind(&searchable, &context.notes);
    let reader = &searchable.opened.reader;
    let intent = resolve(reader, id)?;
    let members = reader.members(intent.id)?.map(|(_, members)| members).unwrap_or_default();
    if context.out.json {
        let members = members.into_iter().map(|member| MemberView {
            event: EventId(Digest(member.event)),
            path: path_of(&member.path).to_owned(),
            lines: member.lines,
            similarity: member.similarity,
        });
        let members = members.collect();
        let (name, terms) = (&intent.name[..], &intent.terms[..]);
        context.out.object(&Shown { v: 1, id: intent_id(intent.id), name, terms, members })?;
        return Ok(Exit::OK);
    }
    context.out.line(format_args!(
        "{STRONG}{}{STRONG:#}  {DIM}{}{DIM:#}",
        for_terminal(&intent.name),
        intent_id(intent.id)
    ))?;
    context.out.line(for_terminal(&intent.terms.join(" ")))?;
    for member in members {
        let (path, (first, last)) = (for_terminal(path_of(&member.path)), member.lines);
        let event = EventId(Digest(member.event)).short();
        context.out.line(format_args!(
            "  {DIM}{event}  {:.2}{DIM:#}  {KEY}{path}:{first}-{last}{KEY:#}",
            member.similarity
        ))?;
    }
    Ok(Exit::OK)
}
