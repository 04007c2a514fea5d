//! `toka vault fork`.

use std::sync::Arc;

use serde::Serialize;
use toka_types::path::for_terminal;
use toka_types::{EntityId, EventId};
use toka_vault::{LogId, LogWriter};

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome, Stop};
use crate::look::Look;

/// Digits of the event's id in the name of a fork that was given none.
const NAME_DIGITS: usize = 8;

#[derive(Serialize)]
struct Forked {
    v: u32,
    log: String,
    base: Shared,
    event: Own,
}

/// The last event that both logs have.
#[derive(Serialize)]
struct Shared {
    log: String,
    seq: u64,
    id: EventId,
}

/// The fork's first own event.
#[derive(Serialize)]
struct Own {
    seq: u64,
    id: EventId,
}

/// Forks the log after an event. Nobody may be writing to the vault.
pub(crate) fn fork(context: &mut Context, event: &str, name: Option<&str>) -> Outcome {
    // Looked up before anything is opened for writing, so that a vault that is not there is not made.
    let look = Look::open(context)?;
    if look.bundle.is_some() {
        let failure = Failure::usage("a bundle cannot be forked: nothing is written to it");
        return Err(failure.hint("`toka vault import` takes its events over into a vault").into());
    }
    let (id, log, seq) = look.resolve(event)?;
    let name = match name {
        Some(name) => named(name)?,
        None => free_name(&look, &id)?,
    };
    let path = look.path.clone();
    drop(look);
    let (store, _) = toka_vault::open(&path)?;
    let (writer, first) = LogWriter::fork(Arc::clone(&store), &log, seq, name, EntityId::operator())?;
    store.close()?;
    let forked = Forked {
        v: 1,
        log: writer.log().to_string(),
        base: Shared { log: log.to_string(), seq, id },
        event: Own { seq: first.seq(), id: first.id() },
    };
    if context.out.json {
        context.out.object(&forked)?;
        return Ok(Exit::OK);
    }
    let Forked { log, base, .. } = &forked;
    context.out.line(format_args!("forked {} after event {seq} {}: {log}", base.log, id.short()))?;
    context.notes.hint(format_args!("next: toka status --log {log}"));
    Ok(Exit::OK)
}

fn named(name: &str) -> Result<LogId, Failure> {
    LogId::new(name)
        .map_err(|error| Failure::usage(format!("'{}' is no name of a log: {error}", for_terminal(name))))
}

/// The event's id as a name, with a number if that is taken.
fn free_name(look: &Look, id: &EventId) -> Result<LogId, Stop> {
    let taken = look.store.logs()?;
    let first = format!("fork-{}", &id.to_string()[..NAME_DIGITS]);
    let mut name = named(&first)?;
    let mut number = 1;
    while taken.contains(&name) {
        number += 1;
        name = named(&format!("{first}-{number}"))?;
    }
    Ok(name)
}
