//! `toka cap issue`, `show`, `attenuate`, `verify` and `rotate`: grants carried across the edge of the process.

use std::io::Read;
use std::time::Duration;

use serde::Serialize;
use toka_auth::key::{public_from_hex, public_to_hex};
use toka_auth::token::{Block, Claims, DEFAULT_RENEWABLE, MAX_TOKEN, TokenError, random_number};
use toka_auth::{OperatorKey, TokenScheme, Verified, inspect};
use toka_kernel::WorldState;
use toka_kernel::world::Grant;
use toka_runtime::clock::{Clock, SystemClock};
use toka_types::capability::CapabilitySet;
use toka_types::operation::Metered;
use toka_types::{Digest, EntityId, GrantId, OpId, Timestamp};
use toka_vault::LogId;

use super::holding;
use crate::args::{Issue, Narrow};
use crate::context::{Context, operator_state};
use crate::failure::{Exit, Failure, Outcome, Stop};
use crate::look::{Look, author};
use crate::record::time;
use crate::scheme;

#[derive(Serialize)]
struct Issued {
    v: u32,
    token: String,
    scheme: &'static str,
    audience: String,
    subject: String,
    grant: GrantId,
    expires: String,
}

#[derive(Serialize)]
struct Shown {
    v: u32,
    scheme: &'static str,
    key: String,
    audience: String,
    issuer: EntityId,
    subject: EntityId,
    grant: GrantId,
    number: OpId,
    issued: String,
    not_before: Option<String>,
    expires: String,
    renewable_until: Option<String>,
    holder: Option<String>,
    only: Option<Vec<String>>,
    metered: Vec<ShownMetered>,
    blocks: Vec<ShownBlock>,
}

/// What a token was narrowed down to, with limits, that this one replaced.
#[derive(Serialize)]
struct ShownMetered {
    meter: Digest,
    until: String,
    only: Vec<String>,
}

#[derive(Serialize)]
struct ShownBlock {
    signer: Option<String>,
    only: Option<Vec<String>>,
    expires: Option<String>,
    holder: Option<String>,
    requires: Vec<String>,
}

#[derive(Serialize)]
struct Rotated {
    v: u32,
    key: String,
    retired: String,
    until: String,
}

#[derive(Serialize)]
struct Checked {
    v: u32,
    ok: bool,
    subject: String,
    grant: GrantId,
    /// What the grant allows now.
    #[serde(rename = "use")]
    uses: Vec<String>,
    /// Each narrowing: what is allowed is in all of them.
    only: Vec<Vec<String>>,
    /// What is left now within the limits of the narrowings.
    limits: Vec<Limit>,
    holder: Option<String>,
    expires: String,
}

#[derive(Serialize)]
struct Limit {
    capability: String,
    left: u64,
}

/// `toka cap issue`.
pub(crate) fn issue(context: &mut Context, asked: &Issue) -> Outcome {
    let look = Look::open(context)?;
    let (scheme, audience) = scheme(context, &look)?;
    let kernel = look.world()?;
    let world = kernel.world();
    let subject = EntityId::named(&asked.subject);
    let Some(grant) = grant_of(world, subject) else {
        let failure = Failure::unknown(format!("nobody is called '{}' in this vault", asked.subject));
        return Err(failure.hint("`toka agents list` shows the agents").into());
    };
    let issued = SystemClock.now();
    let ends = world.grant(grant).and_then(|grant| grant.expires);
    let expires = issued.saturating_add(Duration::from_secs(asked.ttl));
    let claims = Claims {
        issuer: EntityId::operator(),
        subject,
        grant,
        issued,
        not_before: None,
        expires: ends.map_or(expires, |ends| ends.min(expires)),
        renewable_until: Some(issued.saturating_add(DEFAULT_RENEWABLE)),
        id: random_number().map_err(refused)?,
        holder: asked.holder.as_deref().map(public_key).transpose()?,
        attenuation: (!asked.only.is_empty()).then(|| set(&asked.only)).transpose()?,
        metered: Vec::new(),
    };
    let token = scheme.issue(&claims).map_err(refused)?;
    if !context.out.json {
        context.out.line(&token)?;
        return Ok(Exit::OK);
    }
    // Tokens have whole seconds.
    let expires = time(inspect(&token).map_err(unreadable)?.claims.expires);
    context.out.object(&Issued {
        v: 1,
        token,
        scheme: scheme.name(),
        audience,
        subject: asked.subject.clone(),
        grant,
        expires,
    })?;
    Ok(Exit::OK)
}

/// `toka cap show`.
pub(crate) fn show(context: &mut Context, token: &str) -> Outcome {
    let token = read(token)?;
    let said = inspect(&token).map_err(unreadable)?;
    let claims = said.claims;
    let shown = Shown {
        v: 1,
        scheme: said.scheme,
        key: said.key,
        audience: said.audience,
        issuer: claims.issuer,
        subject: claims.subject,
        grant: claims.grant,
        number: claims.id,
        issued: time(claims.issued),
        not_before: claims.not_before.map(time),
        expires: time(claims.expires),
        renewable_until: claims.renewable_until.map(time),
        holder: claims.holder.as_ref().map(public_to_hex),
        only: claims.attenuation.as_ref().map(texts),
        metered: claims.metered.iter().map(ShownMetered::of).collect(),
        blocks: said.blocks.iter().map(ShownBlock::of).collect(),
    };
    if context.out.json {
        context.out.object(&shown)?;
        return Ok(Exit::OK);
    }
    let mut pairs = vec![
        ("scheme", format!("{}, by key {}; nothing of what follows was checked", shown.scheme, shown.key)),
        ("audience", shown.audience),
        ("subject", shown.subject.to_string()),
        ("grant", shown.grant.to_string()),
        ("issued", shown.issued),
        ("expires", shown.expires),
    ];
    let own = ShownBlock {
        signer: None,
        only: shown.only,
        expires: shown.renewable_until,
        holder: shown.holder,
        requires: Vec::new(),
    };
    pairs.extend(own.pairs("renewable"));
    let metered = shown.metered.into_iter().map(|ShownMetered { meter, only, .. }| {
        ("only", format!("{}, counted under {}", only.join(" "), meter.short()))
    });
    pairs.extend(metered);
    for block in shown.blocks {
        pairs.push(("then", block.signer.clone().map_or_else(String::new, |key| format!("signed by {key}"))));
        pairs.extend(block.pairs("expires"));
    }
    let shown = pairs.into_iter().map(|(name, value)| (name, toka_types::path::for_terminal(&value)));
    context.out.pairs(&shown.collect::<Vec<_>>())?;
    Ok(Exit::OK)
}

/// `toka cap attenuate`.
pub(crate) fn attenuate(context: &mut Context, asked: &Narrow) -> Outcome {
    let keys: Result<Vec<_>, Failure> = asked.require.iter().map(|key| public_key(key)).collect();
    let narrowing = toka_auth::Narrowing {
        only: (!asked.only.is_empty()).then(|| set(&asked.only)).transpose()?,
        expires: asked.expires.as_deref().map(super::filter::time).transpose()?,
        holder: asked.holder.as_deref().map(public_key).transpose()?,
        requires: keys?,
    };
    let token = toka_auth::attenuate(&read(&asked.token)?, &narrowing);
    holding::print_token(context, token.map_err(unreadable)?)
}

/// `toka cap rotate`.
pub(crate) fn rotate(context: &mut Context, overlap: u64) -> Outcome {
    let state = operator_state()?;
    let old = OperatorKey::load_or_create(&state).map_err(scheme::no_key)?;
    let at = SystemClock.now();
    let until = at.saturating_add(Duration::from_secs(overlap));
    let new = OperatorKey::rotate(&state, at, until).map_err(scheme::no_key)?;
    let rotated =
        Rotated { v: 1, key: new.id().to_string(), retired: old.id().to_string(), until: time(until) };
    if context.out.json {
        context.out.object(&rotated)?;
        return Ok(Exit::OK);
    }
    context.out.pairs(&[
        ("key", rotated.key),
        ("retired", format!("{}, accepted until {}", rotated.retired, rotated.until)),
    ])?;
    Ok(Exit::OK)
}

/// `toka cap verify`.
pub(crate) fn verify(context: &mut Context, token: &str) -> Outcome {
    let token = read(token)?;
    let look = Look::open(context)?;
    let kernel = look.world()?;
    let world = kernel.world();
    let at = SystemClock.now();
    let verified = scheme(context, &look)?.0.verify(&token, at).map_err(refused)?;
    let claims = verified.claims();
    let grant = standing(world, claims, at)?;
    let checked = Checked {
        v: 1,
        ok: true,
        subject: author(world, claims.subject),
        grant: claims.grant,
        uses: texts(&grant.uses),
        only: verified.attenuations().map(texts).collect(),
        limits: limits(world, &verified, at),
        holder: verified.holder().map(public_to_hex),
        expires: time(verified.expires()),
    };
    if context.out.json {
        context.out.object(&checked)?;
        return Ok(Exit::OK);
    }
    let mut pairs = vec![
        ("subject", checked.subject),
        ("grant", format!("{}: {}", checked.grant, checked.uses.join(" "))),
        ("expires", checked.expires),
    ];
    pairs.extend(checked.only.into_iter().map(|only| ("only", only.join(" "))));
    let left = checked.limits.into_iter();
    pairs.extend(left.map(|Limit { capability, left }| ("left", format!("{left} of {capability}"))));
    pairs.extend(checked.holder.map(|holder| ("holder", holder)));
    context.out.pairs(&pairs)?;
    Ok(Exit::OK)
}

impl ShownMetered {
    fn of(metered: &Metered) -> Self {
        Self { meter: metered.meter, until: time(metered.until), only: texts(&metered.only) }
    }
}

impl ShownBlock {
    fn of(block: &Block) -> Self {
        let narrowing = &block.narrowing;
        Self {
            signer: block.signer.as_ref().map(public_to_hex),
            only: narrowing.only.as_ref().map(texts),
            expires: narrowing.expires.map(time),
            holder: narrowing.holder.as_ref().map(public_to_hex),
            requires: narrowing.requires.iter().map(public_to_hex).collect(),
        }
    }

    fn pairs(self, end: &'static str) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        pairs.extend(self.only.map(|only| ("only", only.join(" "))));
        pairs.extend(self.expires.map(|at| (end, at)));
        pairs.extend(self.holder.map(|key| ("holder", key)));
        pairs.extend(self.requires.into_iter().map(|key| ("requires", key)));
        pairs
    }
}

/// What is left of each capability with limits that the token was narrowed down to.
fn limits(world: &WorldState, token: &Verified, at: Timestamp) -> Vec<Limit> {
    let grant = token.claims().grant;
    let of = |Metered { meter, only, .. }: &Metered| {
        let limited = only.iter().filter(|capability| !capability.limits().is_none());
        let left = limited.map(|capability| {
            let left = world.token_meter(grant, meter, capability).room(capability.limits(), at);
            Limit { capability: capability.to_string(), left }
        });
        left.collect::<Vec<_>>()
    };
    token.metered().iter().flat_map(of).collect()
}

/// The grant that the token names, if it is its subject's and stands.
fn standing<'a>(world: &'a WorldState, claims: &Claims, at: Timestamp) -> Result<&'a Grant, Failure> {
    let grant = world.grant(claims.grant).filter(|grant| grant.subject == claims.subject);
    let (code, what) = match grant {
        None => ("token-grant", "is not its subject's"),
        Some(grant) if grant.revoked => ("grant.revoked", "was revoked"),
        Some(grant) if grant.expires.is_some_and(|ends| ends <= at) => ("grant.expired", "has ended"),
        Some(grant) => return Ok(grant),
    };
    Err(Failure::refused(code, &format!("grant {} {what}", claims.grant)))
}

/// The grant of an agent, of a user, or the operator's own.
fn grant_of(world: &WorldState, subject: EntityId) -> Option<GrantId> {
    let agent = world.agent(subject).map(|agent| agent.grant);
    let user = || world.user(subject).map(|user| user.grant);
    agent.or_else(user).or_else(|| world.operator_grant().filter(|_| subject == EntityId::operator()))
}

/// The tokens of this vault, as configured, and what they call it.
fn scheme(context: &Context, look: &Look) -> Result<(Box<dyn TokenScheme>, String), Stop> {
    let named = toka_vault::checkpoint::default_origin(look.store.as_ref(), &LogId::main())?;
    let empty = || {
        let failure = Failure::failed("the vault has no events, so nobody has a grant in it yet");
        failure.hint("`toka up FOLDER` and `toka agents create` record the first")
    };
    let audience = named.ok_or_else(empty)?;
    Ok((scheme::scheme(&context.tokens()?, &audience)?, audience))
}

/// A token as it was given, or from standard input.
pub(crate) fn read(token: &str) -> Result<String, Failure> {
    if token != "-" {
        return Ok(token.to_owned());
    }
    let mut text = String::new();
    let read = std::io::stdin().take(MAX_TOKEN as u64 + 2).read_to_string(&mut text);
    read.map_err(|error| Failure::absent(format!("cannot read a token from standard input: {error}")))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

pub(crate) fn public_key(text: &str) -> Result<toka_auth::VerifyingKey, Failure> {
    let key = public_from_hex(text);
    key.ok_or_else(|| {
        Failure::usage(format!("'{text}' is no key: 64 lower-case hex digits of an Ed25519 key are expected"))
    })
}

pub(crate) fn set(texts: &[String]) -> Result<CapabilitySet, Failure> {
    CapabilitySet::parse(texts).map_err(|error| Failure::usage(error.to_string()))
}

fn texts(set: &CapabilitySet) -> Vec<String> {
    set.iter().map(ToString::to_string).collect()
}

/// What is wrong with a token that is to be made or accepted.
fn refused(error: TokenError) -> Failure {
    match error {
        TokenError::CannotIssue(_) | TokenError::TooLong { .. } => Failure::usage(error.to_string()),
        _ => Failure::refused(error.code(), &error.to_string()),
    }
}

/// What is wrong with a token that is only read.
pub(crate) fn unreadable(error: TokenError) -> Failure {
    Failure::usage(format!("{error} ({})", error.code()))
}
