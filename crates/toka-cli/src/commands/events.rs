//! `toka events list`, `show` and `tail`.

use std::collections::VecDeque;
use std::time::Duration;

use toka_kernel::{Kernel, WorldState};
use toka_types::EventId;
use toka_types::path::for_terminal;

use crate::args::Filters;
use crate::commands::filter::Wanted;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome, Stop};
use crate::keys::Need;
use crate::look::{Look, author, fold};
use crate::output::{DIM, KEY, STRONG, grouped, write_json};
use crate::record::{EventView, reason, time};
use crate::signals::Signals;

/// How often `tail` looks for more.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Children that text shows.
const CHILDREN: usize = 20;

pub(crate) fn list(context: &mut Context, asked: &Filters, from: Option<u64>, limit: usize) -> Outcome {
    let wanted = Wanted::parse(asked)?;
    let look = Look::open_content(context, Need::Wanted)?;
    let kernel = look.world()?;
    let wanted = wanted.complete(asked, &look, kernel.world(), context)?;
    let mut chosen = Chosen { newest: from.is_none(), limit, seqs: VecDeque::new(), left_out: 0 };
    let start = from.unwrap_or(0);
    if wanted.reads_content() {
        look.each_record(start, |record| {
            if wanted.accepts(&record.header)
                && wanted.accepts_view(&look.view(record, &look.log, kernel.world())?)
            {
                chosen.add(record.header.seq);
            }
            Ok(())
        })?;
    } else {
        look.each_header(start, |header| {
            if wanted.accepts(header) {
                chosen.add(header.seq);
            }
            Ok(())
        })?;
    }
    if context.out.json {
        for &seq in &chosen.seqs {
            let record = look.record(&look.log, seq)?;
            context.out.object(&look.view(&record, &look.log, kernel.world())?)?;
        }
    } else if !chosen.seqs.is_empty() {
        let mut rows = Vec::with_capacity(chosen.seqs.len());
        for &seq in &chosen.seqs {
            let record = look.record(&look.log, seq)?;
            let view = look.view(&record, &look.log, kernel.world())?;
            let about = for_terminal(&view.summary());
            let at = view.at.split('.').next().unwrap_or_default().replace('T', " ");
            rows.push(vec![
                view.seq.to_string(),
                at,
                view.kind,
                for_terminal(&view.author),
                view.id.short(),
                about,
            ]);
        }
        context.out.table(&["SEQ", "TIME", "KIND", "AUTHOR", "ID", "ABOUT"], rows)?;
    }
    if chosen.left_out > 0 {
        let (shown, which) = (chosen.seqs.len(), if chosen.newest { "newest" } else { "first" });
        context.notes.say(format_args!(
            "the {which} {shown} of {} events; --from SEQ and --limit N show others",
            grouped(chosen.left_out + shown as u64)
        ));
    } else if chosen.seqs.is_empty() {
        context.notes.say("no events");
    }
    Ok(Exit::OK)
}

/// The positions to show, in log order.
struct Chosen {
    newest: bool,
    limit: usize,
    seqs: VecDeque<u64>,
    left_out: u64,
}

impl Chosen {
    fn add(&mut self, seq: u64) {
        if self.newest || self.seqs.len() < self.limit {
            self.seqs.push_back(seq);
        } else {
            self.left_out += 1;
        }
        if self.seqs.len() > self.limit {
            self.seqs.pop_front();
            self.left_out += 1;
        }
    }
}

pub(crate) fn show(context: &mut Context, id: &str) -> Outcome {
    let mut look = Look::open_content(context, Need::Wanted)?;
    let (id, log, seq) = look.resolve(id)?;
    look.log = log.clone();
    let kernel = look.world()?;
    let record = look.record(&log, seq)?;
    let event = look.view(&record, &log, kernel.world())?;
    if context.out.json {
        return with_children(context, &look, &event);
    }
    let (mut children, mut more) = (Vec::new(), 0);
    look.find_children(&id, &log, |page| {
        for &seq in page.iter().take(CHILDREN - children.len()) {
            children.extend(look.store.headers(&log, seq, 1)?.first().map(|header| header.id));
        }
        more += page.len() as u64;
        Ok(None::<()>)
    })?;
    more -= children.len() as u64;
    let short = |ids: &[EventId], more: u64| {
        let mut text: Vec<String> = ids.iter().map(|id| id.short()).collect();
        if more > 0 {
            text.push(format!("and {} more", grouped(more)));
        }
        if text.is_empty() { "–".to_owned() } else { text.join(" ") }
    };
    let labels = event.labels.iter().map(|label| label.as_str().to_owned()).collect::<Vec<_>>().join(" ");
    context.out.pairs(&[
        ("event", event.id.to_string()),
        ("log", format!("{log} {}", event.seq)),
        ("kind", event.kind.clone()),
        ("author", for_terminal(&event.author)),
        ("at", event.at.clone()),
        ("prev", event.prev.map_or_else(|| "–".to_owned(), |prev| prev.short())),
        ("parents", short(&event.parents, 0)),
        ("children", short(&children, more)),
        ("labels", if labels.is_empty() { "–".to_owned() } else { for_terminal(&labels) }),
        (
            "content",
            event.digest.map_or_else(
                || "–".to_owned(),
                |digest| {
                    let gone = event.gone.map(|gone| format!(", {}", reason(gone))).unwrap_or_default();
                    format!("{} {} bytes{gone}", digest.short(), grouped(event.size))
                },
            ),
        ),
    ])?;
    for (title, value) in [("facts", &event.facts), ("content", &event.content)] {
        let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
        if !empty {
            context.out.line(format_args!("{STRONG}{title}{STRONG:#}"))?;
            for line in format!("{value:#}").lines() {
                context.out.line(for_terminal(line))?;
            }
        }
    }
    Ok(Exit::OK)
}

/// Prints an event with its children, which are written as they are found.
fn with_children(context: &mut Context, look: &Look, event: &EventView) -> Outcome {
    let mut line = Vec::new();
    write_json(&mut line, event);
    assert!(line.ends_with(b"}\n"), "an event is an object");
    line.truncate(line.len() - b"}\n".len());
    context.out.bytes(&line)?;
    context.out.bytes(b",\"children\":[")?;
    let mut comma = "";
    look.find_child(&event.id, &look.log, |child| {
        context.out.bytes(format!("{comma}\"{}\"", child.id).as_bytes())?;
        comma = ",";
        Ok(None::<()>)
    })?;
    context.out.bytes(b"]}\n")?;
    Ok(Exit::OK)
}

pub(crate) fn tail(context: &mut Context, asked: &Filters, from: Option<u64>) -> Outcome {
    let wanted = Wanted::parse(asked)?;
    let look = Look::open_content(context, Need::Wanted)?;
    let kernel = look.world()?;
    let wanted = wanted.complete(asked, &look, kernel.world(), context)?;
    let mut tail = Tail { wanted, kernel, next: from.unwrap_or(look.head()?.next_seq), look };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::failed(format!("cannot start: {e}")))?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        loop {
            tail.print_new(context)?;
            tokio::select! {
                exit = signals.first() => return Ok(exit),
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            tail.look.store.refresh()?;
        }
    })
}

struct Tail {
    wanted: Wanted,
    kernel: Kernel,
    next: u64,
    look: Look,
}

impl Tail {
    fn print_new(&mut self, context: &mut Context) -> Result<(), Stop> {
        let Self { wanted, kernel, next, look } = self;
        let unseen = kernel.world().next_seq();
        look.each_header(unseen, |header| fold(kernel, header))?;
        look.each_record(*next, |record| {
            let header = &record.header;
            *next = header.seq + 1;
            if !wanted.accepts(header) {
                return Ok(());
            }
            let view = look.view(record, &look.log, kernel.world())?;
            if !wanted.accepts_view(&view) {
                return Ok(());
            }
            if context.out.json {
                context.out.object(&view)
            } else {
                line(context, &view, kernel.world(), record)
            }
        })?;
        context.out.flush()
    }
}

/// An event on a line of its own, its columns as wide as they usually are.
fn line(
    context: &mut Context,
    view: &EventView,
    world: &WorldState,
    record: &toka_vault::Record,
) -> Result<(), Stop> {
    let at = time(record.header.at);
    let author = for_terminal(&author(world, record.header.author));
    let (seq, kind, id, about) = (view.seq, &view.kind, view.id.short(), for_terminal(&view.summary()));
    context.out.line(format_args!(
        "{seq:>7}  {DIM}{at}{DIM:#}  {KEY}{kind:17}{KEY:#}  {author:14}  {DIM}{id}{DIM:#}  {about}"
    ))
}
