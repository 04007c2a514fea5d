//! The tokens of `docs/format/token.json`, which were made once and are valid for ever, and what strangers may send.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;
use toka_auth::biscuit::offline;
use toka_auth::token::{DEFAULT_TTL, Renewal};
use toka_auth::{
    Biscuit, Claims, EdDsa, HolderKey, Hs256, Operator, OperatorKey, Proof, SharedSecret, TokenScheme,
    inspect,
};
use toka_types::nonce::Nonce;
use toka_types::{Digest, OpId, Timestamp};

use crate::support::{NOW, Outcome, SEED, claims, key, later, runs, set};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn golden() -> Result<Value> {
    Ok(serde_json::from_str(include_str!("../../../../docs/format/token.json"))?)
}

fn text<'a>(golden: &'a Value, path: &str) -> Result<&'a str> {
    golden.pointer(path).and_then(Value::as_str).ok_or_else(|| format!("no {path}").into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn full() -> Claims {
    Claims {
        not_before: Some(NOW),
        renewable_until: Some(later(86_400)),
        holder: Some(HolderKey::from_seed(&[3; 32]).public()),
        attenuation: Some(set(&["tool:echo", "tool:fs.read(path=docs/**)"])),
        metered: Vec::new(),
        ..claims()
    }
}

fn limited() -> Claims {
    let attenuation = Some(set(&["tool:echo", "tool:fs.read(rate=10/min,uses=100)"]));
    Claims { attenuation, renewable_until: Some(later(86_400)), ..claims() }
}

fn renewal() -> Renewal {
    let (at, ttl, id) = (later(600), DEFAULT_TTL, OpId::of(&[b"2"]));
    Renewal { at, ttl, grant_ends: None, id, only: None }
}

#[test]
fn golden_tokens_are_valid_for_ever() -> Outcome {
    let golden = golden()?;
    assert_eq!(text(&golden, "/key/seed")?, hex(&SEED));
    assert_eq!(text(&golden, "/key/public")?, hex(key().public().as_bytes()));
    assert_eq!(text(&golden, "/key/id")?, key().id().to_string());
    assert_eq!(golden["now"], NOW.0);
    let eddsa = EdDsa::new(key(), "vault-1")?;
    let hs256 = Hs256::new(SharedSecret::new(&SEED)?, "vault-1")?;
    let biscuit = Biscuit::new(key(), "vault-1")?;
    let operator = Operator::new(key(), "vault-1")?;
    let schemes: [(&str, &dyn TokenScheme, bool); 3] =
        [("eddsa", &eddsa, true), ("hs256", &hs256, true), ("biscuit", &biscuit, false)];
    for (name, scheme, deterministic) in schemes {
        for (which, claims) in [("plain", claims()), ("full", full())] {
            let token = text(&golden, &format!("/{name}/{which}"))?;
            assert_eq!(scheme.verify(token, NOW)?.claims(), &claims, "{name} {which}");
            assert_eq!(inspect(token)?.claims, claims);
            if deterministic {
                assert_eq!(scheme.issue(&claims)?, token);
            }
            if name != "hs256" {
                assert!(operator.verify(token, NOW).is_ok());
            }
        }
    }

    // One with limits, the one that replaces it, and under what both count.
    for (name, scheme, deterministic) in schemes {
        let part = |which: &str| text(&golden, &format!("/{name}/{which}"));
        let (limited, renewed) = (part("limited")?, part("renewed")?);
        let [first] = scheme.verify(limited, NOW)?.metered().to_vec().try_into().map_err(|_| "one meter")?;
        assert_eq!((first.meter.to_string(), first.until), (part("meter")?.to_owned(), later(86_400)));
        assert_eq!(scheme.verify(renewed, later(600))?.claims().metered, [first]);
        if deterministic {
            assert_eq!(scheme.issue(&self::limited())?, limited);
            assert_eq!(scheme.renew(limited, &renewal())?, renewed);
            // By hand, as any program with BLAKE3 does it.
            let signature = limited.rsplit('.').next().unwrap_or_default();
            let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|e| e.to_string())?;
            let length = (signature.len() as u64).to_le_bytes();
            let meter = blake3::derive_key("toka 2026 token meter v1", &[&length[..], &signature].concat());
            assert_eq!(hex(&meter), part("meter")?);
        }
    }

    let narrowed = text(&golden, "/biscuit/narrowed")?;
    assert_eq!(biscuit.verify(narrowed, NOW).map_err(|e| e.code()), Err("token-third-party"));
    assert_eq!(offline::third_party_request(narrowed)?, text(&golden, "/biscuit/request")?);
    let signed = offline::append_third_party(narrowed, text(&golden, "/biscuit/block")?)?;
    for audited in [&signed, text(&golden, "/biscuit/audited")?] {
        let audited = biscuit.verify(audited, NOW)?;
        assert_eq!(audited.expires(), later(300));
        let sets: Vec<_> = audited.attenuations().cloned().collect();
        assert_eq!(sets, [set(&["tool:fs.read(path=docs/**)"]), set(&["tool:fs.read(path=docs/a/**)"])]);
        assert_eq!(audited.blocks()[1].signer, Some(HolderKey::from_seed(&[4; 32]).public()));
    }
    // Narrowed with Biscuit's Python package, which knows nothing of us.
    let elsewhere = biscuit.verify(text(&golden, "/biscuit/narrowed_elsewhere")?, NOW)?;
    assert_eq!(elsewhere.expires(), later(60));
    assert_eq!(elsewhere.blocks()[0].narrowing.only, Some(set(&["tool:fs.read(path=docs/**)"])));
    let handed = biscuit.verify(text(&golden, "/biscuit/handed_on")?, NOW)?;
    assert_eq!(handed.holder(), Some(&HolderKey::from_seed(&[4; 32]).public()));
    Ok(())
}

#[test]
fn the_golden_proof_verifies_for_ever() -> Outcome {
    let golden = golden()?;
    let holder = HolderKey::from_seed(&[3; 32]);
    assert_eq!(text(&golden, "/proof/holder")?, hex(holder.public().as_bytes()));
    let token: Digest = text(&golden, "/proof/token_digest")?.parse()?;
    let operation: Digest = text(&golden, "/proof/operation_digest")?.parse()?;
    let nonce: Nonce = text(&golden, "/proof/nonce")?.parse()?;
    let ends = golden["proof"]["not_after"].as_i64().map(Timestamp).ok_or("no end")?;
    assert_eq!(token, Digest::of(text(&golden, "/biscuit/plain")?.as_bytes()));
    let audience = text(&golden, "/proof/audience")?;
    let proof = Proof::sign(&holder, &token, &operation, audience, nonce, ends);
    assert_eq!(proof.to_string(), text(&golden, "/proof/proof")?);
    // The same by hand, as any program with Ed25519 does it.
    let end = ends.0.to_be_bytes();
    let context = b"toka 2026 proof of possession v1";
    let message = [context, &token.0[..], &operation.0, &nonce.0, &end, audience.as_bytes()].concat();
    assert_eq!(text(&golden, "/proof/signed")?, hex(&message));
    assert_eq!(OperatorKey::from_seed(&[3; 32]).sign(&message), proof.signature);
    Ok(())
}

fn seeds() -> Result<Vec<Vec<u8>>> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/token");
    let mut paths: Vec<_> = fs::read_dir(directory)?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
    paths.sort();
    paths.iter().map(|path| Ok(fs::read(path)?)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(runs("TOKA_FAULTS", 300)) })]

    /// The fuzz target on its seeds, and on some changes of them.
    #[test]
    fn no_text_of_a_stranger_makes_a_reader_panic(
        seed in any::<Index>(),
        other in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>(), 0_u8..5), 0..4),
    ) {
        let seeds = seeds().map_err(|e| TestCaseError::fail(e.to_string()))?;
        let (mut bytes, other) = (seed.get(&seeds).clone(), other.get(&seeds));
        for (at, byte, kind) in changes {
            let at = at.index(bytes.len() + 1);
            match kind {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => bytes[at] = byte,
                2 => bytes.truncate(at),
                3 if at < bytes.len() => drop(bytes.remove(at)),
                _ => {
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[at.min(other.len())..]);
                }
            }
        }
        toka_auth::testing::token(&bytes);
    }
}
