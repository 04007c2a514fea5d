//! `toka cap explain`: what a refusal means, and what would have allowed it.

use serde::Serialize;
use toka_kernel::{Code, WorldState};
use toka_types::capability::{Argument, CapabilitySet, Request, is_host, is_path};
use toka_types::facts::{CapabilityDenied, Facts, kinds};
use toka_types::path::for_terminal;
use toka_types::{Capability, Timestamp};
use toka_vault::Record;

use super::policy::now;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome, Stop};
use crate::keys::Need;
use crate::look::{Look, author};
use crate::record::time;

/// Every code with its meaning and the way out, as the documentation has them.
const DOCUMENT: &str = include_str!("../../../../docs/denials.md");
/// Most refusals that are shown of one code, the newest ones.
const SHOWN: usize = 3;

#[derive(Serialize)]
struct Explained<'a> {
    v: u32,
    code: &'a str,
    meaning: &'a str,
    way_out: &'a str,
    /// The newest refusals of the code in the vault, or the one that was named; the newest first.
    refusals: Vec<Refusal>,
}

/// A refusal that was recorded, seen from now.
#[derive(Serialize)]
struct Refusal {
    event: String,
    agent: String,
    at: String,
    asked: String,
    argument: Option<String>,
    rule: Option<String>,
    nearest: Option<Capability>,
    /// The narrowest capability that would have allowed it, as far as what was recorded tells.
    needed: Option<Capability>,
    /// True if the agent's grant has that now, or has room again for what was used up.
    allowed_now: bool,
    /// True if it is a limit of the token that was reached.
    of_token: bool,
    /// When there is room again, where the nearest capability has none now and gets some.
    allowed_from: Option<String>,
}

pub(crate) fn explain(context: &mut Context, named: &str) -> Outcome {
    let (code, refusals) = match documented(named) {
        Some(_) => (named.to_owned(), newest(context, named)?),
        None if named.contains('.') || !named.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            let named = for_terminal(&named.chars().take(80).collect::<String>());
            let codes: Vec<&str> = rows().map(|(code, ..)| code).collect();
            return Err(Failure::usage(format!("'{named}' is no code of a refusal, and no event"))
                .hint(format!("codes: {}", codes.join(", ")))
                .into());
        }
        None => one(context, named)?,
    };
    let Some((meaning, way_out)) = documented(&code) else {
        return Err(Failure::unknown(format!("this build does not know the code '{code}'")).into());
    };
    if context.out.json {
        context.out.object(&Explained { v: 1, code: &code, meaning, way_out, refusals })?;
        return Ok(Exit::OK);
    }
    context.out.line(format_args!("{code}: {meaning}"))?;
    context.out.line(format_args!("way out: {way_out}"))?;
    for refusal in &refusals {
        show(context, &code, refusal)?;
    }
    Ok(Exit::OK)
}

/// True for the codes of what was used as often as it may be.
fn is_limit(code: &str) -> bool {
    [Code::CapabilityRate, Code::CapabilityUses].iter().any(|limit| limit.as_str() == code)
}

fn show(context: &mut Context, code: &str, refusal: &Refusal) -> Result<(), Stop> {
    let Refusal { event, agent, at, asked, .. } = refusal;
    context.out.line("")?;
    context.out.line(for_terminal(&format!("{} {at} {agent} asked for {asked}", &event[..12])))?;
    let mut line = |name: &str, text: Option<String>| match text {
        Some(text) => context.out.line(for_terminal(&format!("  {name}: {text}"))),
        None => Ok(()),
    };
    line("argument", refusal.argument.clone())?;
    line("rule", refusal.rule.clone())?;
    line("nearest", refusal.nearest.as_ref().map(ToString::to_string))?;
    if is_limit(code) {
        let now = || match (refusal.allowed_now, refusal.of_token) {
            (true, _) => "now",
            (false, true) => "never, with that token",
            (false, false) => "never, under the grant that the agent has now",
        };
        return line("allowed again", Some(refusal.allowed_from.clone().unwrap_or_else(|| now().to_owned())));
    }
    let now = if refusal.allowed_now { ", which the agent's grant has now" } else { "" };
    line("needed", refusal.needed.as_ref().map(|needed| format!("{needed}{now}")))
}

/// The rows of the documentation's table: code, meaning, way out.
fn rows() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    DOCUMENT.lines().filter_map(|line| {
        let (code, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        let (meaning, way_out) = rest.strip_suffix(" |")?.split_once(" | ")?;
        Some((code, meaning, way_out))
    })
}

fn documented(code: &str) -> Option<(&'static str, &'static str)> {
    rows().find(|(known, ..)| *known == code).map(|(_, meaning, way_out)| (meaning, way_out))
}

/// The newest refusals of a code; none where there is no vault.
fn newest(context: &Context, code: &str) -> Result<Vec<Refusal>, Stop> {
    let here = context.vault();
    if here.is_err() && context.global.vault.is_none() {
        return Ok(Vec::new());
    }
    let look = Look::open_content(context, Need::AtHand)?;
    let mut newest = Vec::new();
    let kernel = look.world()?;
    look.each_record(0, |record| {
        if let Some(facts) = denied(record).filter(|facts| facts.code.as_str() == code) {
            newest.push(refusal(&look, record, facts, kernel.world())?);
            if newest.len() > SHOWN {
                newest.remove(0);
            }
        }
        Ok(())
    })?;
    newest.reverse();
    Ok(newest)
}

/// The refusal that an event is, with its code.
fn one(context: &Context, id: &str) -> Result<(String, Vec<Refusal>), Stop> {
    let look = Look::open_content(context, Need::AtHand)?;
    let (id, log, seq) = look.resolve(id)?;
    let record = look.record(&log, seq)?;
    let Some(facts) = denied(&record) else {
        let kind = &record.header.kind;
        return Err(Failure::unknown(format!("event {} is {kind}, and no refusal", id.short()))
            .hint("`toka events list --kind capability.denied` shows those")
            .into());
    };
    let code = facts.code.to_string();
    Ok((code, vec![refusal(&look, &record, facts, look.world()?.world())?]))
}

fn denied(record: &Record) -> Option<CapabilityDenied> {
    if record.header.kind.as_str() != kinds::CAPABILITY_DENIED {
        return None;
    }
    match toka_kernel::codec::decode(&record.header).ok()?.0 {
        // A counted one says nothing about any refusal but how many there were.
        Facts::CapabilityDenied(facts) if facts.repeated == 0 => Some(facts),
        _ => None,
    }
}

fn refusal(
    look: &Look,
    record: &Record,
    facts: CapabilityDenied,
    world: &WorldState,
) -> Result<Refusal, Stop> {
    let content = look.view(record, &look.log, world)?.content;
    let said = |field: &str| Some(content.get(field)?.as_str()?.to_owned());
    let (rule, argument) = (said("rule"), said("argument"));
    // What a secret argument was is not said, and neither is what would have allowed it.
    let needed = match (&facts.argument, &argument) {
        (Some(_), None) => None,
        _ => needed(&facts, argument.as_deref()),
    };
    let own = world.agent(facts.agent).map(|agent| agent.grant);
    let own = own.or_else(|| world.user(facts.agent).map(|user| user.grant)).or(world.operator_grant());
    let found = own.and_then(|id| Some((id, world.grant(id)?))).filter(|(_, grant)| !grant.revoked);
    let grant = found.map(|(_, grant)| grant);
    let limit = facts.nearest.as_ref().filter(|_| is_limit(facts.code.as_str()));
    let held = limit.zip(grant).is_some_and(|(limit, grant)| grant.uses.iter().any(|own| limit.covers(own)));
    let reached = limit.zip(found).map(|(limit, (id, _))| match &facts.meter {
        // A token's limit is nothing that the grant has.
        Some(meter) => world.token_meter(id, meter, limit).check(limit.limits(), 1, now()).err(),
        None => world.reached(id, limit, now()),
    });
    let held = held || (facts.meter.is_some() && reached.is_some());
    let holds = |needed: &Capability| {
        let exact = needed.exact();
        let allows = |set: &CapabilitySet, at: Timestamp| {
            exact.as_ref().is_some_and(|exact| exact.with(|request| set.allows_at(request, at)))
        };
        grant.is_some_and(|grant| allows(&grant.uses, now()))
    };
    Ok(Refusal {
        event: record.header.id.to_string(),
        agent: author(world, facts.agent),
        at: time(record.header.at),
        allowed_now: needed.as_ref().is_some_and(holds) || (held && matches!(reached, Some(None))),
        allowed_from: reached.flatten().and_then(|reached| reached.until).map(time),
        of_token: facts.meter.is_some(),
        asked: facts.asked,
        argument,
        rule,
        nearest: facts.nearest,
        needed,
    })
}

/// The narrowest capability that allows what was asked. Which argument it failed on is not recorded, only its value; it is
/// the one that the nearest capability has a caveat on, or else whichever the operation is known to have.
fn needed(facts: &CapabilityDenied, value: Option<&str>) -> Option<Capability> {
    if facts.code.as_str() != "capability.missing" {
        return None;
    }
    let (resource, action) = facts.asked.split_once(':')?;
    let usual = match facts.asked.as_str() {
        "event:emit" => Some("kind"),
        "message:send" => Some("to"),
        "agent:spawn" => Some("behaviour"),
        _ => None,
    };
    let Some(value) = value else {
        return Capability::narrowest(&Request { resource, action, arguments: &[] });
    };
    let names = facts.nearest.iter().flat_map(Capability::arguments).chain(usual).chain(["path", "host"]);
    names.into_iter().find_map(|name| {
        let argument = match name.rsplit('_').next() {
            Some("path") => is_path(value).then_some(Argument::Path(value)),
            Some("host") => is_host(value).then_some(Argument::Host(value)),
            Some("max") => value.parse().ok().map(Argument::Money),
            _ => Some(Argument::Text(value)),
        }?;
        let arguments = [(name, argument)];
        let needed = Capability::narrowest(&Request { resource, action, arguments: &arguments })?;
        let named = needed.arguments().next() == Some(name);
        named.then_some(needed)
    })
}
