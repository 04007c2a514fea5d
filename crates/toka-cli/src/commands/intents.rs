//! `toka intents list`, `show` and `near`.

use std::cell::Cell;
use std::collections::HashMap;
use std::iter;

use serde::Serialize;
use toka_runtime::search::path_of;
use toka_types::path::for_terminal;
use toka_types::{Digest, EventId, Timestamp};
use toka_vault::Children;
use toka_vault::intent::{Intent, Intents};
use toka_vault::search::{IntentRef, Member, Span};

use crate::args::{IntentOrder, Period};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome, Stop};
use crate::keys::Need;
use crate::look::{Look, Searchable, ambiguous, check_hex};
use crate::notes::Notes;
use crate::output::{DIM, KEY, STRONG, grouped};
use crate::record::time;

/// Digits of an intent's id.
const ID_DIGITS: usize = 8;
/// Terms that a line of text shows.
const TERMS: usize = 6;
/// What is new came up in the last day, in microseconds, unless another period is given.
const DAY: i64 = 24 * 60 * 60 * 1_000_000;

#[derive(Serialize)]
struct Row<'a> {
    id: String,
    name: &'a str,
    terms: &'a [String],
    /// Those in the period.
    events: u32,
    total: u32,
    first: Option<String>,
    last: Option<String>,
}

/// An intent as a listing of a period has it.
struct Listed<'a> {
    intent: &'a Intent,
    /// Passages in the period.
    events: u32,
    span: Span,
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

#[derive(Serialize)]
struct Near {
    v: u32,
    event: EventId,
    neighbours: Vec<NeighbourView>,
}

#[derive(Serialize)]
struct NeighbourView {
    event: EventId,
    path: String,
    lines: (u32, u32),
    similarity: f64,
    intent: Option<IntentView>,
}

/// An intent as a passage names it.
#[derive(Serialize)]
pub(crate) struct IntentView {
    id: String,
    name: String,
}

impl IntentView {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl From<IntentRef> for IntentView {
    fn from(intent: IntentRef) -> Self {
        Self { id: intent_id(intent.id), name: intent.name }
    }
}

/// An intent's id as it is shown.
pub(crate) fn intent_id(id: u32) -> String {
    format!("{id:08x}")
}

/// The intent that `text` names, in full or by a unique beginning.
fn resolve(intents: &Intents, text: &str) -> Result<Intent, Stop> {
    check_hex(text, ID_DIGITS, "an intent")?;
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

/// The intent that `text` names, with all its passages.
pub(crate) fn members(
    text: &str,
    look: &Look,
    searchable: &mut Searchable,
    notes: &Notes,
) -> Result<(Intent, Vec<Member>), Stop> {
    searchable.ask(look, notes, |reader| {
        Ok(match resolve(&reader.intents()?, text) {
            Ok(intent) => {
                let members = reader.members(intent.id)?;
                Ok((intent, members.map(|(_, members)| members).unwrap_or_default()))
            }
            Err(stop) => Err(stop),
        })
    })?
}

pub(crate) fn list(context: &mut Context, period: &Period, new: bool, sort: Option<IntentOrder>) -> Outcome {
    let (mut since, until) = period.parse()?;
    let look = Look::open_content(context, Need::Must)?;
    let mut searchable = look.searchable(&context.notes)?;
    look.note_behind(searchable.opened.behind, &context.notes);
    if new && since.is_none() && until.is_none() {
        since = Some(Timestamp(look.head()?.last_at.0.saturating_sub(DAY)));
    }
    let stretch = look.stretch(since, until)?;
    let (intents, spans, within) = searchable.ask(&look, &context.notes, |reader| {
        Ok((reader.intents()?, reader.spans(..)?, reader.spans(stretch.clone())?))
    })?;
    let within: HashMap<u32, u32> = within.into_iter().map(|span| (span.intent, span.events)).collect();
    let spans: HashMap<u32, Span> = spans.into_iter().map(|span| (span.intent, span)).collect();
    let mut listed: Vec<Listed<'_>> = intents
        .list()
        .iter()
        .filter_map(|intent| {
            let (events, span) = (*within.get(&intent.id)?, *spans.get(&intent.id)?);
            Some(Listed { intent, events, span })
        })
        .filter(|listed| !new || stretch.contains(&listed.span.first))
        .collect();
    // People see the largest first; scripts see the order of the log unless they ask for another.
    match sort.or((!context.out.json).then_some(IntentOrder::Size)) {
        Some(IntentOrder::Size) => listed.sort_by_key(|listed| std::cmp::Reverse(listed.events)),
        Some(IntentOrder::New) => listed.sort_by_key(|listed| std::cmp::Reverse(listed.span.first)),
        Some(IntentOrder::Rare) => listed.sort_by_key(|listed| listed.events),
        None => {}
    }
    let at = |seq: u64| -> Result<Option<String>, Stop> {
        let header = look.store.headers(&look.log, seq, 1)?.into_iter().next();
        Ok(header.filter(|header| header.seq == seq).map(|header| time(header.at)))
    };
    if context.out.json {
        for Listed { intent, events, span } in listed {
            let (id, name, terms) = (intent_id(intent.id), &intent.name[..], &intent.terms[..]);
            let (total, first, last) = (intent.events, at(span.first)?, at(span.last)?);
            context.out.object(&Row { id, name, terms, events, total, first, last })?;
        }
        return Ok(Exit::OK);
    }
    if listed.is_empty() {
        context.notes.say(match intents.list().is_empty() {
            true => "no intents yet; `toka up FOLDER` indexes texts to find them in",
            false => "no intent in this period",
        });
        return Ok(Exit::OK);
    }
    let mut rows = Vec::with_capacity(listed.len());
    for Listed { intent, events, span } in listed {
        let terms = intent.terms.iter().take(TERMS).cloned().collect::<Vec<_>>().join(" ");
        rows.push(vec![
            intent_id(intent.id),
            for_terminal(&intent.name),
            grouped(events.into()),
            at(span.first)?.map_or_else(String::new, |first| day(&first)),
            at(span.last)?.map_or_else(String::new, |last| day(&last)),
            for_terminal(&terms),
        ]);
    }
    context.out.table(&["ID", "NAME", "EVENTS", "FIRST", "LAST", "TERMS"], rows)?;
    Ok(Exit::OK)
}

/// The date of a time.
fn day(time: &str) -> String {
    time.split('T').next().unwrap_or_default().to_owned()
}

pub(crate) fn near(context: &mut Context, event: &str, limit: usize) -> Outcome {
    let look = Look::open_content(context, Need::Must)?;
    let (id, log, seq) = look.resolve(event)?;
    let mut searchable = look.searchable(&context.notes)?;
    look.note_behind(searchable.opened.behind, &context.notes);
    // A file's passages are the children of its event.
    let (store, failed) = (look.store.as_ref(), Cell::new(None));
    let children = Children::of(store, &log, id, 0)?;
    let found = searchable.ask(&look, &context.notes, |reader| {
        let mut children = children.clone();
        let pages = iter::from_fn(|| match children.next(store) {
            Ok(page) => (!page.is_empty()).then_some(page),
            Err(error) => {
                failed.set(Some(error));
                None
            }
        });
        reader.near(iter::once(seq).chain(pages.flatten()), limit)
    });
    if let Some(error) = failed.take() {
        return Err(error.into());
    }
    let found = found?;
    let Some(found) = found else {
        return Err(Failure::failed(format!("event {} is no passage that is indexed now", id.short()))
            .hint("`toka events list --kind file.chunk` shows passages; those of changed and removed files are not compared")
            .into());
    };
    if context.out.json {
        let neighbours = found.into_iter().map(|found| NeighbourView {
            event: EventId(Digest(found.passage.event)),
            path: path_of(&found.passage.path).to_owned(),
            lines: found.passage.lines,
            similarity: found.passage.similarity,
            intent: found.intent.map(IntentView::from),
        });
        context.out.object(&Near { v: 1, event: id, neighbours: neighbours.collect() })?;
        return Ok(Exit::OK);
    }
    if found.is_empty() {
        context.notes.say("no other passage has anything in common with it");
    }
    for neighbour in found {
        let passage = neighbour.passage;
        let (path, (first, last)) = (for_terminal(path_of(&passage.path)), passage.lines);
        let event = EventId(Digest(passage.event)).short();
        let about = neighbour.intent.map_or_else(String::new, |intent| for_terminal(&intent.name));
        context.out.line(format_args!(
            "{DIM}{event}  {:.2}{DIM:#}  {KEY}{path}:{first}-{last}{KEY:#}  {DIM}{about}{DIM:#}",
            passage.similarity
        ))?;
    }
    Ok(Exit::OK)
}

pub(crate) fn show(context: &mut Context, id: &str) -> Outcome {
    check_hex(id, ID_DIGITS, "an intent")?;
    let look = Look::open_content(context, Need::Must)?;
    let mut searchable = look.searchable(&context.notes)?;
    look.note_behind(searchable.opened.behind, &context.notes);
    let (intent, members) = members(id, &look, &mut searchable, &context.notes)?;
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
