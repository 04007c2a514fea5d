//! `toka status`.

use serde::Serialize;
use toka_kernel::digests;
use toka_kernel::world::AgentState;
use toka_runtime::search;
use toka_types::{Digest, EventId};
use toka_vault::Engine;
use toka_vault::search::SearchReader;

use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::keys::Need;
use crate::look::{Look, size_of};
use crate::output::{bytes, grouped};
use crate::record::time;

#[derive(Serialize)]
struct Status {
    v: u32,
    vault: String,
    store: &'static str,
    log: String,
    /// Where the log was forked from another one: the last event that both have.
    base: Option<BaseView>,
    /// All logs of the vault.
    logs: Vec<String>,
    events: u64,
    head: Option<HeadView>,
    root: String,
    /// Null of a bundle that begins later than the log: what its events amount to follows from all of them.
    fold: Option<Digest>,
    world: Option<Digest>,
    agents: usize,
    intents: usize,
    writer: Option<u32>,
    /// What the clock showed after a jump that nobody has confirmed.
    clock: Option<String>,
    bytes: Bytes,
}

#[derive(Serialize)]
struct BaseView {
    log: String,
    seq: u64,
}

#[derive(Serialize)]
struct HeadView {
    seq: u64,
    id: EventId,
}

#[derive(Serialize)]
struct Bytes {
    log: u64,
    index: u64,
    saved: u64,
}

pub(crate) fn status(context: &mut Context) -> Outcome {
    let look = Look::open_content(context, Need::AtHand)?;
    let head = look.head()?;
    let kernel = look.world()?;
    let digests = digests(kernel.world());
    let statistics = look.store.statistics()?;
    let projections = search::directory(&look.path);
    // A projection that is not there, or cannot be used, has no intents to count; `verify` says what is wrong with it.
    let intents = SearchReader::open_sealed(&projections, look.projection_key().as_ref())
        .and_then(|reader| reader.intents())
        .map_or(0, |intents| intents.list().len());
    let status = Status {
        v: 1,
        vault: look.path.canonicalize().unwrap_or_else(|_| look.path.clone()).to_string_lossy().into_owned(),
        store: match &look.bundle {
            Some(_) => "bundle",
            None => Engine::of(&look.path)?.unwrap_or_default().name(),
        },
        log: look.log.to_string(),
        base: look
            .store
            .base(&look.log)?
            .map(|base| BaseView { log: base.log.to_string(), seq: base.size.saturating_sub(1) }),
        logs: look.store.logs()?.iter().map(ToString::to_string).collect(),
        events: look.bundle.as_ref().map_or(head.next_seq, |_| statistics.events),
        head: head.last.map(|id| HeadView { seq: head.next_seq - 1, id }),
        root: head.root.to_string(),
        fold: look.is_whole().then_some(digests.fold),
        world: look.is_whole().then_some(digests.world),
        agents: kernel.world().agents().filter(|(_, agent)| agent.state != AgentState::Stopped).count(),
        intents,
        writer: toka_vault::writer_pid(&look.path),
        clock: kernel.world().clock_jump().map(time),
        bytes: Bytes {
            log: statistics.log,
            index: statistics.index + size_of(&projections),
            saved: statistics.saved(),
        },
    };
    if context.out.json {
        context.out.object(&status)?;
        return Ok(Exit::OK);
    }
    let Status { bytes: size, .. } = &status;
    let log = match (&status.base, status.logs.len()) {
        (Some(base), _) => format!("{}, forked from {} after event {}", status.log, base.log, base.seq),
        (None, 0 | 1) => status.log.clone(),
        (None, _) => format!("{} of {}", status.log, status.logs.join(", ")),
    };
    let mut pairs = vec![
        ("vault", look.name()),
        ("store", status.store.to_owned()),
        ("log", log),
        ("events", grouped(status.events)),
        (
            "head",
            status
                .head
                .as_ref()
                .map_or_else(|| "–".to_owned(), |head| format!("{} {}", head.seq, head.id.short())),
        ),
        ("root", status.root.clone()),
        ("fold", status.fold.map_or_else(|| "–".to_owned(), |fold| fold.to_string())),
        ("world", status.world.map_or_else(|| "–".to_owned(), |world| world.to_string())),
        ("agents", status.agents.to_string()),
        ("intents", status.intents.to_string()),
        ("writer", status.writer.map_or_else(|| "none".to_owned(), |pid| format!("process {pid}"))),
        (
            "bytes",
            format!("{} log, {} index, {} saved", bytes(size.log), bytes(size.index), bytes(size.saved)),
        ),
    ];
    let jumped =
        status.clock.as_ref().map(|shows| format!("{shows}, after a jump that nobody has confirmed"));
    pairs.extend(jumped.map(|jumped| ("clock", jumped)));
    context.out.pairs(&pairs)?;
    Ok(Exit::OK)
}
