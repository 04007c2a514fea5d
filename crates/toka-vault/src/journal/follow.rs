//! A reader that goes on where the journal goes on, and finds its segments again where they were rewritten.

use super::append::{Mode, Writer};
use super::frame::Place;
use super::load::Loader;
use super::manifest::Manifest;
use super::open::open_segment;
use super::segment::{damage, failed};
use super::state::{Segment, State};
use super::{Journal, compact};
use crate::store::StoreError;

/// How often a reader looks for what took the place of a segment before it gives up: between two looks another one
/// may be rewritten.
pub(crate) const TRIES: usize = 3;

/// Reads what was appended since; the number of new events.
pub(crate) fn refresh(journal: &Journal) -> Result<u64, StoreError> {
    let mut writer = journal.writer();
    if writer.mode != Mode::ReadOnly {
        return Ok(0);
    }
    if let Some(manifest) = Manifest::read(&*journal.disk, &journal.path)? {
        writer.manifest = manifest;
    }
    let mut state = journal.state_mut();
    let before = state.totals.events;
    state.dimension = writer.manifest.dimension;
    let whole = match read_on(journal, &mut state) {
        Ok(whole) => whole && compact::take_over(journal, &mut state)?,
        // What it would go on from is not there any more.
        Err(StoreError::Io { .. }) if has_lost(&state) => false,
        Err(error) => return Err(error),
    };
    if !whole {
        reload(journal, &writer, &mut state)?;
    }
    Ok(state.totals.events.saturating_sub(before))
}

/// Reads on where a reader's journal ends; false if what was read there before was never acknowledged.
fn read_on(journal: &Journal, state: &mut State) -> Result<bool, StoreError> {
    loop {
        let last = state.segments.last().map_or(0, |segment| segment.number);
        let place = Place { vault: journal.vault, segment: last };
        let next = open_segment(&journal.disk, &journal.path, last + 1, journal.vault, false)?;
        let limit = match (state.segments.last(), &next) {
            (Some(Segment { rewritten: Some(rewritten), .. }), _) => rewritten.end,
            (Some(_), Some((_, header))) => header.previous_end,
            (Some(Segment { file, path, .. }), None) => {
                file.len().map_err(|error| failed("read", path, &error))?
            }
            (None, _) => 0,
        };
        if let Some(mut segment) = state.segments.pop() {
            if limit < segment.end && next.is_some() {
                // The writer's sync failed.
                return Ok(false);
            }
            let scanned = state.scan(&mut segment, &place, limit);
            let (end, path) = (segment.end, segment.path.clone());
            state.segments.push(segment);
            if let (Some(detail), true) = (scanned?.tail.bad, next.is_some()) {
                return Err(damage(&path, end, None, detail));
            }
        }
        match next {
            Some((segment, _)) => state.segments.push(segment),
            None => return Ok(true),
        }
    }
}

/// Puts what a reader finds now in the place of what it knew.
fn reload(journal: &Journal, writer: &Writer, state: &mut State) -> Result<(), StoreError> {
    let mut loader = Loader::new(&journal.disk, &journal.path, &writer.manifest, false)?;
    loader.load()?;
    *state = loader.state;
    state.dimension = writer.manifest.dimension;
    Ok(())
}

fn has_lost(state: &State) -> bool {
    state.segments.iter().any(|segment| segment.file.id().is_err())
}

/// Looks for what took the place of files that a reader had closed; false if it lost none.
pub(crate) fn find_lost(journal: &Journal) -> Result<bool, StoreError> {
    if !has_lost(&journal.state()) {
        return Ok(false);
    }
    let writer = journal.writer();
    if writer.mode != Mode::ReadOnly {
        return Ok(false);
    }
    let mut state = journal.state_mut();
    if !compact::take_over(journal, &mut state)? {
        // The segment had grown before it was rewritten: the reader's moment is nowhere any more.
        reload(journal, &writer, &mut state)?;
    }
    Ok(true)
}
