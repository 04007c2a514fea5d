//! Which events a listing shows.

use std::collections::HashSet;

use toka_kernel::WorldState;
use toka_types::{EntityId, EventHeader, Label, Timestamp};
use toka_vault::LogId;
use toka_vault::core::Filter;

use crate::args::{Filters, Period};
use crate::commands::intents;
use crate::context::Context;
use crate::failure::{Failure, Stop};
use crate::look::{Look, Searchable, ambiguous, check_hex};
use crate::notes::Notes;
use crate::paths::PathPattern;
use crate::record::EventView;

/// Digits of an author's whole id.
const AUTHOR_DIGITS: usize = 32;

/// What must hold for an event to be shown: of its header, and of what it says.
pub(crate) struct Wanted {
    header: Filter,
    /// Positions of the events that belong to an intent.
    members: Option<HashSet<u64>>,
    path: Option<PathPattern>,
}

impl Wanted {
    /// Checks what can be checked before a vault is opened.
    pub(crate) fn parse(asked: &Filters) -> Result<Self, Failure> {
        let label =
            asked.label.as_deref().map(Label::new).transpose().map_err(|e| Failure::usage(e.to_string()))?;
        let (since, until) = asked.period.parse()?;
        let header =
            Filter { kinds: asked.kind.iter().cloned().collect(), label, since, until, ..Filter::default() };
        Ok(Self { header, members: None, path: asked.path.as_deref().map(PathPattern::new).transpose()? })
    }

    /// Looks up what is asked of the vault.
    pub(crate) fn complete(
        mut self,
        asked: &Filters,
        look: &Look,
        world: &WorldState,
        context: &Context,
    ) -> Result<Self, Stop> {
        self.of_author(asked, world)?;
        self.of_cause(asked, look)?;
        if let Some(id) = &asked.intent {
            if look.log != LogId::main() {
                return Err(Failure::usage(
                    "intents are those of the log main: --intent does not go with --log",
                )
                .into());
            }
            let mut searchable = look.searchable(&context.notes)?;
            look.note_behind(searchable.opened.behind, &context.notes);
            self.of_intent(id, look, &mut searchable, &context.notes)?;
        }
        Ok(self)
    }

    /// Looks up the author that is asked for.
    pub(crate) fn of_author(&mut self, asked: &Filters, world: &WorldState) -> Result<(), Stop> {
        self.header.author = asked
            .author
            .as_deref()
            .map(|text| entity(text, world, world.agents().map(|(id, _)| id).chain([EntityId::operator()])))
            .transpose()?;
        Ok(())
    }

    /// Looks up the cause that is asked for.
    pub(crate) fn of_cause(&mut self, asked: &Filters, look: &Look) -> Result<(), Stop> {
        let cause = asked.cause.as_deref().map(|text| look.resolve(text)).transpose()?;
        self.header.parent = cause.map(|(id, ..)| id);
        Ok(())
    }

    /// Chooses the events that belong to an intent.
    pub(crate) fn of_intent(
        &mut self,
        id: &str,
        look: &Look,
        searchable: &mut Searchable,
        notes: &Notes,
    ) -> Result<(), Stop> {
        let (_, members) = intents::members(id, look, searchable, notes)?;
        self.members = Some(members.into_iter().map(|member| member.seq).collect());
        Ok(())
    }

    /// The numbers of the events whose headers are accepted; `None` if every header is.
    pub(crate) fn chosen(&self, look: &Look) -> Result<Option<HashSet<u64>>, Stop> {
        if self.header == Filter::all() {
            return Ok(self.members.clone());
        }
        let stretch = look.stretch(self.header.since, self.header.until)?;
        let mut chosen = HashSet::new();
        look.each_header(stretch.start, |header| {
            if self.accepts(header) {
                chosen.insert(header.seq);
            }
            Ok(())
        })?;
        Ok(Some(chosen))
    }

    /// What paths have to match.
    pub(crate) fn path(&self) -> Option<&PathPattern> {
        self.path.as_ref()
    }

    /// True if the header does not speak against it.
    pub(crate) fn accepts(&self, header: &EventHeader) -> bool {
        self.header.matches(header)
            && self.members.as_ref().is_none_or(|members| members.contains(&header.seq))
    }

    /// True if what an event says has to be read to decide.
    pub(crate) fn reads_content(&self) -> bool {
        self.path.is_some()
    }

    /// True if what the event says does not speak against it.
    pub(crate) fn accepts_view(&self, view: &EventView) -> bool {
        self.path.as_ref().is_none_or(|pattern| view.speaks_of(&|path| pattern.accepts(path)))
    }
}

impl Period {
    /// Its ends.
    pub(crate) fn parse(&self) -> Result<(Option<Timestamp>, Option<Timestamp>), Failure> {
        let parsed = |text: &Option<String>| text.as_deref().map(time).transpose();
        Ok((parsed(&self.since)?, parsed(&self.until)?))
    }
}

/// Somebody by name, by id, or by a unique beginning of an id of those who are `known`. An id follows from a name, so that
/// somebody whom the world does not know has one too.
pub(crate) fn entity(
    text: &str,
    world: &WorldState,
    known: impl IntoIterator<Item = EntityId>,
) -> Result<EntityId, Stop> {
    let named = EntityId::named(text);
    if world.name_of(named).is_some() {
        return Ok(named);
    }
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    if check_hex(text, AUTHOR_DIGITS, "an author").is_err() {
        return Ok(named);
    }
    let mut found: Vec<EntityId> = known.into_iter().filter(|id| id.to_string().starts_with(text)).collect();
    match found.len() {
        0 => Ok(named),
        1 => Ok(found.remove(0)),
        _ => Err(ambiguous(text, found.iter().map(ToString::to_string))),
    }
}

/// A time in RFC 3339; without an offset it is in UTC, and a date begins at midnight.
pub(crate) fn time(text: &str) -> Result<Timestamp, Failure> {
    let wrong = || {
        let shown = toka_types::path::for_terminal(text);
        Failure::usage(format!("'{shown}' is no time")).hint("as in 2026-05-17T09:30:00Z, or 2026-05-17")
    };
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp(time.as_microsecond()));
    }
    let civil: jiff::civil::DateTime = text.parse().map_err(|_| wrong())?;
    let utc = civil.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wrong())?;
    Ok(Timestamp(utc.timestamp().as_microsecond()))
}
