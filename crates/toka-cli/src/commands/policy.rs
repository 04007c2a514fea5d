//! `toka policy check` and `explain`: the kernel's own evaluator, on the policy of the configuration or of the vault.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use toka_kernel::Policy;
use toka_kernel::policy::{Explanation, Finding, WayOut};
use toka_types::path::for_terminal;
use toka_types::{Capability, FlowRule, Label, Timestamp};

use crate::args::ExplainPolicy;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome, Stop};
use crate::look::Look;

#[derive(Serialize)]
struct Checked<'a> {
    v: u32,
    ok: bool,
    rules: usize,
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct Explained<'a> {
    v: u32,
    operation: &'a Capability,
    #[serde(flatten)]
    said: &'a Explanation,
}

pub(crate) fn check(context: &mut Context) -> Outcome {
    let policy = in_force(context)?;
    let findings = policy.check();
    let exit = if findings.is_empty() { Exit::OK } else { Exit::FAILED };
    if context.out.json {
        let (ok, rules) = (findings.is_empty(), policy.rules().len());
        context.out.object(&Checked { v: 1, ok, rules, findings: &findings })?;
        return Ok(exit);
    }
    for finding in &findings {
        context.out.line(for_terminal(&finding.to_string()))?;
    }
    let count = policy.rules().len();
    if findings.is_empty() {
        let word = if count == 1 { "rule" } else { "rules" };
        context.out.line(format_args!("ok, {count} {word} beside the built-in ones"))?;
    }
    Ok(exit)
}

pub(crate) fn explain(context: &mut Context, asked: &ExplainPolicy) -> Outcome {
    let policy = in_force(context)?;
    let operation: Capability =
        asked.operation.parse().map_err(|e| Failure::usage(format!("{e}")).hint(EXAMPLE))?;
    let Some(request) = operation.exact() else {
        let message =
            format!("'{operation}' is more than one call: it has a wildcard, an interval, a time or a limit");
        return Err(Failure::usage(for_terminal(&message)).hint(EXAMPLE).into());
    };
    let mut labels = Vec::new();
    for label in &asked.label {
        labels.push(Label::new(label).map_err(|e| Failure::usage(for_terminal(&e.to_string())))?);
    }
    if let Some(event) = &asked.because {
        let look = Look::open(context)?;
        let (_, log, seq) = look.resolve(event)?;
        labels.extend(look.record(&log, seq)?.header.labels.iter().cloned());
    }
    let at = match &asked.at {
        Some(at) => super::filter::time(at)?,
        None => now(),
    };
    let said = request.with(|request| policy.explain(&labels, asked.sink, request, at));
    if context.out.json {
        context.out.object(&Explained { v: 1, operation: &operation, said: &said })?;
        return Ok(Exit::OK);
    }
    context.out.line(for_terminal(&format!("{}: {operation}, sink {}", said.verdict, asked.sink)))?;
    for reason in &said.reasons {
        context.out.line(for_terminal(&format!("  {reason}")))?;
    }
    match &said.way_out {
        WayOut::None => {}
        WayOut::Add(rules) => {
            context.out.line("what would allow it, and as little else as can be said:")?;
            for rule in rules {
                write(context, rule)?;
            }
        }
        WayOut::Change(rules) => {
            let names: Vec<String> = rules.iter().map(|name| format!("'{name}'")).collect();
            let names = names.join(", ");
            context.out.line(format_args!("no rule can be more specific than {names}: change that"))?;
        }
    }
    Ok(Exit::OK)
}

const EXAMPLE: &str =
    "write a call with one value for each argument, as tool:http.post(host=api.example.com)";

/// The rules of the configuration, if one is named and has some; else those that the vault holds calls to; else the built-in
/// ones alone.
fn in_force(context: &Context) -> Result<Policy, Stop> {
    if let Some(file) = context.config_file() {
        let policy = context.load(Some(&file))?.config.policy;
        if !policy.rules().is_empty() {
            return Ok(policy);
        }
    }
    if context.vault().is_err() && context.global.vault.is_none() {
        context
            .notes
            .hint("there is no vault here and no rule is configured, so these are the built-in rules alone");
        return Ok(Policy::default());
    }
    Ok(Look::open(context)?.world()?.world().policy().clone())
}

/// Prints a rule as it is written in a configuration.
fn write(context: &mut Context, rule: &FlowRule) -> Result<(), Stop> {
    let lists: [(&str, Vec<String>); 3] = [
        ("labels", rule.labels.iter().map(ToString::to_string).collect()),
        ("sinks", rule.sinks.iter().map(ToString::to_string).collect()),
        ("to", rule.to.iter().map(ToString::to_string).collect()),
    ];
    context.out.line("  [[policy.rules]]")?;
    context.out.line(format_args!("  name = \"{}\"", rule.name))?;
    for (key, texts) in lists.iter().filter(|(_, texts)| !texts.is_empty()) {
        // An array of strings is the same in JSON and in TOML.
        context.out.line(for_terminal(&format!("  {key} = {}", serde_json::json!(texts))))?;
    }
    context.out.line(format_args!("  verdict = \"{}\"", rule.verdict))
}

pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::EPOCH.saturating_add(since)
}
