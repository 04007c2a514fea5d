//! What checking a token costs, beside what the Biscuit crate and a bare signature cost; and what checking a capability costs.
//!
//! One JSON line per figure on stdout. `TOKA_BENCH_ROUNDS` and `TOKA_BENCH_SECONDS` lengthen a run.
#![allow(clippy::print_stdout, reason = "figures are this program's output")]

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use biscuit_auth::{Algorithm, AuthorizerBuilder, PublicKey};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Value, json};
use toka_auth::biscuit::offline::attenuate;
use toka_auth::{Biscuit, Claims, EdDsa, Hs256, KeyRing, Narrowing, OperatorKey, SharedSecret, TokenScheme};
use toka_types::capability::{Argument, CapabilitySet, Request};
use toka_types::{EntityId, GrantId, OpId, Timestamp};

/// Fewest rounds of which the median is a figure.
const ROUNDS: usize = 5;
/// Seconds that each side of a case takes over all rounds.
const SECONDS: f64 = 1.0;
/// Tokens that are all different, so that none is remembered.
const COLD: usize = 256;
const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

fn main() -> Result<(), Box<dyn Error>> {
    let rounds = setting("TOKA_BENCH_ROUNDS").map_or(ROUNDS, |n| (n as usize).max(ROUNDS));
    let seconds = setting("TOKA_BENCH_SECONDS").unwrap_or(SECONDS);
    let share = Duration::from_secs_f64(seconds / rounds as f64);

    let biscuit = Biscuit::new(operator(), "bench")?;
    let tokens = biscuits(&biscuit)?;
    let ring = || KeyRing::new([operator().public()]);
    let root = PublicKey::from_bytes(operator().public().as_bytes(), Algorithm::Ed25519)?;
    let (mut cold, mut crates_own, mut signatures) = (Vec::new(), Vec::new(), Vec::new());
    let (mut cached, mut hash) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        cold.push(per_call(share, COLD, || all(&Biscuit::verifier(ring(), "bench")?, &tokens))?);
        crates_own.push(per_call(share, COLD, || verify_and_authorise(&root, &tokens, true))?);
        signatures.push(per_call(share, COLD, || verify_and_authorise(&root, &tokens, false))?);
        cached.push(per_call(share, COLD, || again(&biscuit, &tokens[0]))?);
        hash.push(per_call(share, COLD, || hashed(&tokens[0]))?);
    }
    let cold = median(&mut cold);
    report("cold", cold, Some((median(&mut crates_own), "Biscuit crate: verify + authorise")));
    report("cold, signatures", cold, Some((median(&mut signatures), "Biscuit crate: verify")));
    report("cached", median(&mut cached), Some((median(&mut hash), "SipHash of the token")));

    let eddsa = EdDsa::new(operator(), "bench")?;
    let tokens = issued(&eddsa)?;
    let bare: Vec<(&str, Signature)> = tokens.iter().map(|t| taken_apart(t)).collect::<Result<_, _>>()?;
    let public = operator().public();
    let (mut cold, mut signature) = (Vec::new(), Vec::new());
    let (mut cached, mut hash) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        // A new scheme has verified nothing yet.
        cold.push(per_call(share, COLD, || all(&EdDsa::verifier(ring(), "bench")?, &tokens))?);
        signature.push(per_call(share, COLD, || verify_bare(&public, &bare))?);
        cached.push(per_call(share, COLD, || again(&eddsa, &tokens[0]))?);
        hash.push(per_call(share, COLD, || hashed(&tokens[0]))?);
    }
    report("eddsa cold", median(&mut cold), Some((median(&mut signature), "bare Ed25519 verify_strict")));
    report("eddsa cached", median(&mut cached), Some((median(&mut hash), "SipHash of the token")));

    let secret = SharedSecret::generate()?;
    let tokens = issued(&Hs256::new(secret.clone(), "bench")?)?;
    let mut cold = Vec::new();
    for _ in 0..rounds {
        let scheme = || Hs256::verifier(KeyRing::new([secret.clone()]), "bench");
        cold.push(per_call(share, COLD, || all(&scheme()?, &tokens))?);
    }
    report("hs256 cold", median(&mut cold), None);

    let set = CapabilitySet::parse([
        "agent:spawn(max=4)",
        "event:emit(kind=file.*)",
        "tool:fs.read(path=docs/**)",
    ])?;
    let arguments = [("path", Argument::Path("docs/guide/chapter/section.md"))];
    let request = Request { resource: "tool", action: "fs.read", arguments: &arguments };
    let mut allows = Vec::new();
    for _ in 0..rounds {
        allows.push(per_call(share, COLD, || {
            for _ in 0..COLD {
                black_box(black_box(&set).allows(black_box(&request)));
            }
            Ok(())
        })?);
    }
    report("allows", median(&mut allows), None);
    Ok(())
}

fn operator() -> OperatorKey {
    OperatorKey::from_seed(&[7; 32])
}

/// Tokens that are all different, so that none is remembered.
fn issued(scheme: &dyn TokenScheme) -> Result<Vec<String>, Box<dyn Error>> {
    (0..COLD).map(|i| Ok(scheme.issue(&claims(i)?)?)).collect()
}

/// The same, each with two attenuations.
fn biscuits(scheme: &Biscuit) -> Result<Vec<String>, Box<dyn Error>> {
    let only = |texts: [&str; 1]| CapabilitySet::parse(texts).map(Some);
    let first = Narrowing { only: only(["tool:fs.read(path=docs/**)"])?, ..Narrowing::default() };
    let ends = Some(NOW.saturating_add(Duration::from_secs(300)));
    let second =
        Narrowing { only: only(["tool:fs.read(path=docs/a/**)"])?, expires: ends, ..Narrowing::default() };
    issued(scheme)?.iter().map(|token| Ok(attenuate(&attenuate(token, &first)?, &second)?)).collect()
}

fn all(scheme: &dyn TokenScheme, tokens: &[String]) -> Result<(), Box<dyn Error>> {
    for token in tokens {
        black_box(scheme.verify(black_box(token), NOW)?);
    }
    Ok(())
}

fn again(scheme: &dyn TokenScheme, token: &str) -> Result<(), Box<dyn Error>> {
    for _ in 0..COLD {
        black_box(scheme.verify(black_box(token), NOW)?);
    }
    Ok(())
}

/// The hash that a map finds a token by.
fn hashed(token: &str) -> Result<(), Box<dyn Error>> {
    let state = RandomState::new();
    for _ in 0..COLD {
        black_box(state.hash_one(black_box(token)));
    }
    Ok(())
}

/// What a program does that uses the Biscuit crate alone.
fn verify_and_authorise(root: &PublicKey, tokens: &[String], authorise: bool) -> Result<(), Box<dyn Error>> {
    let policies = AuthorizerBuilder::new().code("allow if grant(1)")?;
    for token in tokens {
        let token = biscuit_auth::Biscuit::from_base64(black_box(token), root)?;
        if authorise {
            black_box(policies.clone().build(&token)?.authorize()?);
        }
        black_box(token);
    }
    Ok(())
}

fn claims(i: usize) -> Result<Claims, Box<dyn Error>> {
    Ok(Claims {
        issuer: EntityId::operator(),
        subject: EntityId::named("bench"),
        grant: GrantId(1),
        issued: NOW,
        not_before: None,
        expires: NOW.saturating_add(Duration::from_secs(900)),
        renewable_until: None,
        id: OpId::of(&[&i.to_le_bytes()]),
        holder: None,
        attenuation: Some(CapabilitySet::parse(["tool:fs.read(path=docs/**)", "tool:echo"])?),
        metered: Vec::new(),
    })
}

fn taken_apart(token: &str) -> Result<(&str, Signature), Box<dyn Error>> {
    let (message, signature) = token.rsplit_once('.').ok_or("a token without a signature")?;
    let bytes = BASE64.decode(signature).map_err(|e| e.to_string())?;
    Ok((message, Signature::from_slice(&bytes).map_err(|e| e.to_string())?))
}

fn verify_bare(key: &VerifyingKey, signed: &[(&str, Signature)]) -> Result<(), Box<dyn Error>> {
    for (message, signature) in signed {
        key.verify_strict(black_box(message.as_bytes()), signature).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Microseconds for one of the `calls` that `batch` makes, repeated for about `share`.
fn per_call(
    share: Duration,
    calls: usize,
    mut batch: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    let mut batches = 0;
    while batches == 0 || start.elapsed() < share {
        batch()?;
        batches += 1;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / (batches * calls) as f64)
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn report(case: &str, ours: f64, baseline: Option<(f64, &str)>) {
    let rounded = |figure: f64| (figure * 1000.0).round() / 1000.0;
    let (cost, against) = baseline.map_or((Value::Null, Value::Null), |(b, a)| (json!(rounded(b)), json!(a)));
    let ratio = baseline.map_or(Value::Null, |(b, _)| json!(rounded(ours / b)));
    println!(
        "{}",
        json!({"bench": "verify", "case": case, "unit": "µs", "ours": rounded(ours), "baseline": cost, "against": against, "ratio": ratio})
    );
}

fn setting(name: &str) -> Option<f64> {
    std::env::var(name).ok()?.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0)
}
