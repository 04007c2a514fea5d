//! What checking a token costs, beside the bare signature it carries; and what checking a capability costs.
//!
//! One JSON line per figure on stdout. `TOKA_BENCH_ROUNDS` and `TOKA_BENCH_SECONDS` lengthen a run.
#![allow(clippy::print_stdout, reason = "figures are this program's output")]

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Value, json};
use toka_auth::{Claims, EdDsa, KeyRing, OperatorKey, TokenScheme};
use toka_types::capability::{Argument, CapabilitySet, Request};
use toka_types::{Digest, EntityId, GrantId, OpId, Timestamp};

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

    let key = OperatorKey::generate()?;
    let public = key.public();
    let issuer = EdDsa::new(key, "bench")?;
    let tokens: Vec<String> = (0..COLD)
        .map(|i| issuer.issue(&claims(i)?).map_err(Into::into))
        .collect::<Result<_, Box<dyn Error>>>()?;
    let bare: Vec<(&str, Signature)> = tokens.iter().map(|t| taken_apart(t)).collect::<Result<_, _>>()?;

    let (mut cold, mut signature) = (Vec::new(), Vec::new());
    let (mut cached, mut hash) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        cold.push(per_call(share, COLD, || {
            // A new scheme has verified nothing yet.
            let scheme = EdDsa::verifier(KeyRing::new([public]), "bench")?;
            for token in &tokens {
                black_box(scheme.verify(black_box(token), NOW)?);
            }
            Ok(())
        })?);
        signature.push(per_call(share, COLD, || verify_bare(&public, &bare))?);
        cached.push(per_call(share, COLD, || {
            for _ in 0..COLD {
                black_box(issuer.verify(black_box(&tokens[0]), NOW)?);
            }
            Ok(())
        })?);
        hash.push(per_call(share, COLD, || {
            for _ in 0..COLD {
                black_box(Digest::of(black_box(tokens[0].as_bytes())));
            }
            Ok(())
        })?);
    }
    report("cold", median(&mut cold), Some((median(&mut signature), "bare Ed25519 verify_strict")));
    report("cached", median(&mut cached), Some((median(&mut hash), "BLAKE3 of the token")));

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

fn claims(i: usize) -> Result<Claims, Box<dyn Error>> {
    Ok(Claims {
        issuer: EntityId::operator(),
        subject: EntityId::named("bench"),
        grant: GrantId(1),
        issued: NOW,
        not_before: None,
        expires: NOW.saturating_add(Duration::from_secs(900)),
        id: OpId::of(&[&i.to_le_bytes()]),
        attenuation: Some(CapabilitySet::parse(["tool:fs.read(path=docs/**)", "tool:echo"])?),
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
