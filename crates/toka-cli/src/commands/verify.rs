//! `toka verify`.

use serde::Serialize;
use toka_runtime::search;
use toka_types::path::for_terminal;
use toka_vault::{Problem, What};

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
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

pub(crate) fn verify(context: &mut Context) -> Outcome {
    let vault = context.vault()?;
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
    let directory = search::directory(&vault);
    let projections = toka_vault::search::verify(&directory).into_iter().map(|p| (p.file, p.detail));
    let projections = projections.chain(toka_vault::snapshot::damaged(&directory));
    let projections = projections.map(|(file, detail)| Problem {
        what: What::Projection,
        log: None,
        seq: None,
        event: None,
        file: Some(file),
        offset: None,
        detail,
    });
    let problems: Vec<Problem> = report.problems.into_iter().chain(projections).collect();
    let exit = if report.ok { Exit::OK } else { Exit::INTEGRITY };
    if context.out.json {
        let problems = problems.iter().map(ProblemView::from).collect();
        context.out.object(&Verified {
            v: 1,
            ok: report.ok,
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
        match report.ok {
            true => {
                context.out.line(format_args!("{KEY}ok{KEY:#}: {events} events, root {}", report.root))?
            }
            false => context.out.line(format_args!(
                "{BAD}damaged{BAD:#}: {events} events can be read, root {}",
                report.root
            ))?,
        }
    }
    if problems.iter().any(|problem| problem.what.is_harmless()) {
        context.notes.say("projections and the end of a batch that was never acknowledged are mended by the next writer: `toka up --once`");
    }
    if !report.ok {
        context.notes.hint("restore the vault from a copy");
    }
    Ok(exit)
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
