//! `toka verify`.

use std::path::Path;

use serde::Serialize;
use toka_runtime::search;
use toka_types::path::for_terminal;
use toka_vault::checkpoint::Checkpoint;
use toka_vault::note::Signed;
use toka_vault::{Problem, What};

use crate::args;
use crate::commands::bundles::check::{BundleReport, check};
use crate::commands::proofs::against::{Compared, against};
use crate::context::Context;
use crate::engine;
use crate::failure::{Exit, Failure, Outcome, Stop};
use crate::look::Look;
use crate::output::{BAD, KEY, WARN, grouped};
use crate::paths::friendly;

#[derive(Serialize)]
struct Verified {
    v: u32,
    ok: bool,
    events: u64,
    root: String,
    logs: Vec<LogView>,
    problems: Vec<ProblemView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<CheckpointView>,
}

/// The checkpoint that the log was compared with.
#[derive(Serialize)]
struct CheckpointView {
    origin: String,
    size: u64,
    root: String,
    signed_by: Vec<String>,
}

#[derive(Serialize)]
struct LogView {
    log: String,
    events: u64,
    root: String,
}

#[derive(Serialize)]
struct ProblemView {
    what: &'static str,
    log: Option<String>,
    seq: Option<u64>,
    event: Option<String>,
    file: Option<String>,
    offset: Option<u64>,
    detail: String,
}

impl From<&Problem> for ProblemView {
    fn from(problem: &Problem) -> Self {
        Self {
            what: problem.what.as_str(),
            log: problem.log.as_ref().map(ToString::to_string),
            seq: problem.seq,
            event: problem.event.map(|id| id.to_string()),
            file: problem.file.as_ref().map(|file| file.to_string_lossy().into_owned()),
            offset: problem.offset,
            detail: problem.detail.clone(),
        }
    }
}

pub(crate) fn verify(context: &mut Context, asked: &args::Verify) -> Outcome {
    let vault = context.vault()?;
    if toka_vault::bundle::is_bundle(&vault) {
        return verify_bundle(context, &vault, asked);
    }
    if asked.against.is_none() && !asked.key.is_empty() {
        return Err(Failure::usage("--key says who has to have signed a checkpoint, and none is given")
            .hint("--against CHECKPOINT names it")
            .into());
    }
    let mut report = toka_vault::verify(&vault)?;
    if let Some(name) = &context.global.log {
        match report.logs.iter().find(|log| log.log.as_str() == name) {
            Some(log) => report.root = log.root,
            // Of a log that cannot be read there is nothing to print but the damage.
            None if report.ok => {
                let shown = for_terminal(name);
                return Err(Failure::unknown(format!("the vault has no log '{shown}'")).into());
            }
            None => {}
        }
    }
    let compared = compare(context, asked, report.ok)?;
    let directory = search::directory(&vault);
    let projections = toka_vault::search::verify(&directory).into_iter().map(|p| (p.file, p.detail));
    let projections = projections.chain(toka_vault::snapshot::damaged(&directory));
    let projections = projections.chain(engine::verify(&directory));
    let projections = projections.map(|(file, detail)| Problem {
        what: What::Projection,
        log: None,
        seq: None,
        event: None,
        file: Some(file),
        offset: None,
        detail,
    });
    let parted = compared.iter().flat_map(|compared| compared.problems.clone());
    let problems: Vec<Problem> = report.problems.into_iter().chain(projections).chain(parted).collect();
    let ok = problems.iter().all(|problem| problem.what.is_harmless());
    let exit = if ok { Exit::OK } else { Exit::INTEGRITY };
    if context.out.json {
        let problems = problems.iter().map(ProblemView::from).collect();
        context.out.object(&Verified {
            v: 1,
            ok,
            events: report.events,
            root: report.root.to_string(),
            logs: report
                .logs
                .iter()
                .map(|log| LogView {
                    log: log.log.to_string(),
                    events: log.events,
                    root: log.root.to_string(),
                })
                .collect(),
            problems,
            checkpoint: compared.as_ref().map(CheckpointView::from),
        })?;
    } else {
        for problem in &problems {
            let style = if problem.what.is_harmless() { WARN } else { BAD };
            context.out.line(format_args!(
                "{style}{:10}{style:#} {}",
                problem.what.as_str(),
                place_and_detail(problem)
            ))?;
        }
        let events = grouped(report.events);
        match ok {
            true => {
                context.out.line(format_args!("{KEY}ok{KEY:#}: {events} events, root {}", report.root))?
            }
            false => context.out.line(format_args!(
                "{BAD}damaged{BAD:#}: {events} events can be read, root {}",
                report.root
            ))?,
        }
        if let Some(Compared { checkpoint, signed, problems }) = &compared
            && problems.is_empty()
        {
            let names: Vec<&str> = signed.iter().map(|signed| signed.key.name()).collect();
            let size = grouped(checkpoint.size);
            context
                .out
                .line(format_args!("its first {size} events are those that {} signed", names.join(", ")))?;
        }
    }
    if problems.iter().any(|problem| problem.what.is_harmless()) {
        context.notes.say("projections and the end of a batch that was never acknowledged are mended by the next writer: `toka up --once`");
    }
    if !ok {
        context.notes.hint("restore the vault from a copy");
    }
    Ok(exit)
}

fn verify_bundle(context: &mut Context, path: &Path, asked: &args::Verify) -> Outcome {
    // With another checkpoint to compare with, the keys are those of that one.
    let keys = if asked.against.is_some() { &[][..] } else { &asked.key };
    let BundleReport { events, root, mut problems, checkpoint, signed } = check(context, path, keys)?;
    let compared = compare(context, asked, problems.is_empty())?;
    problems.extend(compared.iter().flat_map(|compared| compared.problems.clone()));
    let ok = problems.is_empty();
    let view = match (&compared, &checkpoint) {
        (Some(compared), _) => Some(CheckpointView::from(compared)),
        (None, Some(checkpoint)) => Some(CheckpointView::of(checkpoint, &signed)),
        (None, None) => None,
    };
    if context.out.json {
        let problems = problems.iter().map(ProblemView::from).collect();
        // Of a bundle that cannot be read nobody knows which log it is of.
        let named = Look::open(context).ok().filter(|_| ok);
        let logs = named.map(|look| LogView { log: look.log.to_string(), events, root: root.clone() });
        let logs = logs.into_iter().collect();
        context.out.object(&Verified { v: 1, ok, events, root, logs, problems, checkpoint: view })?;
    } else {
        for problem in &problems {
            let (word, told) = (problem.what.as_str(), place_and_detail(problem));
            context.out.line(format_args!("{BAD}{word:10}{BAD:#} {told}"))?;
        }
        let (style, word) = if ok { (KEY, "ok") } else { (BAD, "damaged") };
        context.out.line(format_args!("{style}{word}{style:#}: {} events, root {root}", grouped(events)))?;
        if let (true, Some(view)) = (ok, view.filter(|view| !view.signed_by.is_empty())) {
            let size = grouped(view.size);
            context.out.line(format_args!("they lead to the {size} events that {} signed", view.origin))?;
        }
    }
    if !ok {
        context.notes.hint("ask for the bundle again");
    }
    Ok(if ok { Exit::OK } else { Exit::INTEGRITY })
}

/// Compares the log with the checkpoint that is asked for. A log that cannot be read is compared with nothing: what is
/// wrong with it has been found.
fn compare(context: &Context, asked: &args::Verify, whole: bool) -> Result<Option<Compared>, Stop> {
    let Some(path) = &asked.against else { return Ok(None) };
    match Look::open(context).and_then(|look| against(context, &look, path, &asked.key)) {
        Ok(compared) => Ok(Some(compared)),
        Err(_) if !whole => Ok(None),
        Err(stop) => Err(stop),
    }
}

impl From<&Compared> for CheckpointView {
    fn from(compared: &Compared) -> Self {
        Self::of(&compared.checkpoint, &compared.signed)
    }
}

impl CheckpointView {
    fn of(checkpoint: &Checkpoint, signed: &[Signed]) -> Self {
        Self {
            origin: checkpoint.origin.clone(),
            size: checkpoint.size,
            root: checkpoint.root.to_string(),
            signed_by: signed.iter().map(|signed| signed.key.to_string()).collect(),
        }
    }
}

fn place_and_detail(problem: &Problem) -> String {
    let mut text = String::new();
    if let Some(file) = &problem.file {
        text.push_str(&friendly(file));
        if let Some(offset) = problem.offset {
            text.push_str(&format!(":{offset}"));
        }
        text.push_str(": ");
    }
    if let Some(seq) = problem.seq {
        text.push_str(&format!("event {seq}"));
        if let Some(event) = problem.event {
            text.push_str(&format!(" {}", event.short()));
        }
        text.push_str(": ");
    }
    text + &for_terminal(&problem.detail)
}
