//! `toka config check`, `schema` and `show`.

use serde::Serialize;
use toka_runtime::config::{Diagnostic, Origin, json_schema};
use toka_types::path::for_terminal;

use crate::context::{Context, loader};
use crate::failure::{Exit, Failure, Outcome};

#[derive(Serialize)]
struct Checked<'a> {
    v: u32,
    ok: bool,
    file: String,
    agents: usize,
    problems: &'a [Diagnostic],
}

#[derive(Serialize)]
struct Shown {
    v: u32,
    values: Vec<Value>,
}

#[derive(Serialize)]
struct Value {
    key: String,
    value: serde_json::Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<Origin>,
}

pub(crate) fn check(context: &mut Context) -> Outcome {
    let Some(file) = context.config_file() else {
        return Err(Failure::usage("no configuration file is named")
            .hint("as in `toka config check --config FILE`, or set TOKA_CONFIG")
            .into());
    };
    let loaded = loader().load(&file)?;
    let (agents, name) = (loaded.config.agents.len(), file.to_string_lossy().into_owned());
    if context.out.json {
        context.out.object(&Checked { v: 1, ok: true, file: name, agents, problems: &loaded.warnings })?;
        return Ok(Exit::OK);
    }
    for warning in &loaded.warnings {
        context.notes.warn(for_terminal(&warning.to_string().replace("\n  hint: ", "; ")));
    }
    let word = if agents == 1 { "agent" } else { "agents" };
    context.out.line(format_args!("{}: ok, {agents} {word}", for_terminal(&name)))?;
    Ok(Exit::OK)
}

pub(crate) fn schema(context: &mut Context) -> Outcome {
    let schema = json_schema();
    if context.out.json {
        context.out.object(&schema)?;
    } else {
        context.out.line(format_args!("{schema:#}"))?;
    }
    Ok(Exit::OK)
}

pub(crate) fn show(context: &mut Context, origin: bool) -> Outcome {
    let loaded = context.load(context.config_file().as_deref())?;
    let values = loaded.settings.into_iter().map(|setting| Value {
        key: setting.key,
        value: setting.value,
        origin: origin.then_some(setting.origin),
    });
    if context.out.json {
        let values = values.collect();
        context.out.object(&Shown { v: 1, values })?;
        return Ok(Exit::OK);
    }
    let mut header = vec!["KEY", "VALUE"];
    header.extend(origin.then_some("ORIGIN"));
    let rows = values.map(|value| {
        let mut row = vec![for_terminal(&value.key), for_terminal(&value.value.to_string())];
        row.extend(value.origin.map(|origin| origin.to_string()));
        row
    });
    context.out.table(&header, rows)?;
    Ok(Exit::OK)
}
