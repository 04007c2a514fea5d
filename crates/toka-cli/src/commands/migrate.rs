//! `toka vault migrate`.

use std::path::Path;
use std::time::Instant;

use indicatif::ProgressStyle;
use serde::Serialize;
use toka_types::path::for_terminal;
use toka_vault::Engine;

use super::init::unbuilt;
use crate::context::{Context, absolute};
use crate::failure::{Exit, Outcome};
use crate::output::grouped;
use crate::paths::friendly;

#[derive(Serialize)]
struct Moved {
    v: u32,
    from: String,
    to: String,
    store: &'static str,
    logs: usize,
    events: u64,
    root: String,
    ms: u64,
}

pub(crate) fn migrate(context: &mut Context, engine: Engine, to: &Path) -> Outcome {
    if !engine.is_built() {
        return Err(unbuilt(engine).into());
    }
    let (from, to) = (context.vault_itself()?, absolute(to)?);
    let start = Instant::now();
    let bar = context.notes.progress();
    if let Ok(style) =
        ProgressStyle::with_template("{spinner} {msg} {wide_bar} {human_pos}/{human_len} {eta}")
    {
        bar.set_style(style);
    }
    bar.set_message("moving");
    let moved = toka_vault::migrate(&from, engine, &to, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        if done == total {
            bar.set_message("checking");
        }
        bar.tick();
    });
    bar.finish_and_clear();
    let moved = moved?;
    let moved = Moved {
        v: 1,
        from: from.to_string_lossy().into_owned(),
        to: to.to_string_lossy().into_owned(),
        store: engine.name(),
        logs: moved.logs,
        events: moved.events,
        root: moved.root.to_string(),
        ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    if context.out.json {
        context.out.object(&moved)?;
        return Ok(Exit::OK);
    }
    context.out.pairs(&[
        ("from", friendly(&from)),
        ("to", friendly(&to)),
        ("store", moved.store.to_owned()),
        ("events", grouped(moved.events)),
        ("root", moved.root.clone()),
    ])?;
    let name = for_terminal(&to.display().to_string().replace('\'', r"'\''"));
    context.notes.hint(format!(
        "next: toka status --vault '{name}'; the old vault is as it was, remove it when you need it no more"
    ));
    Ok(Exit::OK)
}
