//! JWT, and what holds for every scheme.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;
use serde_json::{Value, json};
use toka_auth::token::MAX_TOKEN;
use toka_auth::{Claims, EdDsa, KeyRing, OperatorKey, TokenError, TokenScheme};
use toka_types::capability::{Argument, CapabilitySet, Request};
use toka_types::{EntityId, OpId, Timestamp};

use crate::support::{NOW, SEED, claims, key};

fn scheme() -> EdDsa {
    EdDsa::new(key(), "vault-1").unwrap_or_else(|e| panic!("{e}"))
}

fn token() -> String {
    scheme().issue(&claims()).unwrap_or_else(|e| panic!("{e}"))
}

/// A token of any header and payload, signed with the right key.
fn signed(header: &str, payload: &str) -> String {
    let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(payload));
    let signature = SigningKey::from_bytes(&SEED).sign(message.as_bytes());
    format!("{message}.{}", BASE64.encode(signature.to_bytes()))
}

fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "JWT", "kid": key().id().to_string()})
}

fn payload() -> Value {
    let (iat, exp) = (NOW.0 / 1_000_000, NOW.0 / 1_000_000 + 900);
    let (iss, sub) = (EntityId::operator(), EntityId::named("alice"));
    json!({"iss": iss, "sub": sub, "aud": "vault-1", "grt": 7, "iat": iat, "exp": exp, "jti": OpId::of(&[b"1"])})
}

fn with(mut object: Value, name: &str, value: Value) -> String {
    object[name] = value;
    object.to_string()
}

#[track_caller]
fn refused(token: &str, code: &str) {
    // Twice, so that remembering a verdict does not change it.
    let scheme = scheme();
    for _ in 0..2 {
        assert_eq!(scheme.verify(token, NOW).map_err(|e| e.code()), Err(code));
    }
}

#[test]
fn what_was_issued_is_verified() -> Result<(), TokenError> {
    let attenuation = CapabilitySet::parse(["tool:fs.read(path=docs/**)", "tool:echo"]).ok();
    let full = Claims { not_before: Some(NOW), attenuation, ..claims() };
    for claims in [claims(), full] {
        let scheme = scheme();
        let token = scheme.issue(&claims)?;
        let first = scheme.verify(&token, NOW)?;
        assert_eq!(first.claims(), &claims);
        assert_eq!(scheme.verify(&token, NOW)?, first);
        let elsewhere = EdDsa::verifier(KeyRing::new([key().public()]), "vault-1")?;
        assert_eq!(elsewhere.verify(&token, NOW)?, first);
        assert!(matches!(elsewhere.issue(&claims), Err(TokenError::CannotIssue(_))));
    }
    assert!(scheme().verify(&signed(&header().to_string(), &payload().to_string()), NOW).is_ok());
    Ok(())
}

#[test]
fn a_token_narrows_its_grant_and_never_widens_it() -> Result<(), Box<dyn std::error::Error>> {
    let granted = CapabilitySet::parse(["tool:fs.read(path=docs/**)"])?;
    let allows = |attenuation: Option<&str>, path: &str| -> Result<bool, Box<dyn std::error::Error>> {
        let attenuation = attenuation.map(|text| CapabilitySet::parse([text])).transpose()?;
        let scheme = scheme();
        let verified = scheme.verify(&scheme.issue(&Claims { attenuation, ..claims() })?, NOW)?;
        let arguments = [("path", Argument::Path(path))];
        let request = Request { resource: "tool", action: "fs.read", arguments: &arguments };
        Ok(verified.allows(&granted, &request))
    };
    assert!(allows(None, "docs/a")?);
    assert!(!allows(None, "src/a")?);
    assert!(allows(Some("tool:fs.read(path=docs/a/**)"), "docs/a/b")?);
    assert!(!allows(Some("tool:fs.read(path=docs/a/**)"), "docs/b")?);
    assert!(!allows(Some("**"), "src/a")?);
    assert!(!allows(Some("tool:echo"), "docs/a")?);
    Ok(())
}

#[test]
fn a_token_may_be_narrowed_to_hours() -> Result<(), Box<dyn std::error::Error>> {
    let granted = CapabilitySet::parse(["tool:fs.read(hours=08:00..12:00)"])?;
    let attenuation = Some(CapabilitySet::parse(["tool:**(hours=10:00..24:00)"])?);
    let scheme = scheme();
    let verified = scheme.verify(&scheme.issue(&Claims { attenuation, ..claims() })?, NOW)?;
    let request = Request { resource: "tool", action: "fs.read", arguments: &[] };
    for (hour, allowed) in [(7, false), (9, false), (10, true), (11, true), (12, false), (13, false)] {
        let at = Timestamp(hour * 3_600_000_000);
        assert_eq!(verified.allows_at(&granted, &request, at), allowed, "{hour}");
    }
    assert!(!verified.allows(&granted, &request), "not at any time");
    Ok(())
}

#[test]
fn time_is_checked_to_the_tick_at_every_call() -> Result<(), TokenError> {
    let scheme = scheme();
    let begins = NOW.saturating_add(Duration::from_secs(60));
    let token = scheme.issue(&Claims { not_before: Some(begins), ..claims() })?;
    let check = |at: i64, code: Option<&str>| {
        assert_eq!(scheme.verify(&token, Timestamp(at)).err().map(|e| e.code()), code, "{at}");
    };
    check(begins.0, None);
    check(begins.0 - 1, Some("token-not-yet-valid"));
    check(claims().expires.0 - 1, None);
    check(claims().expires.0, Some("token-expired"));
    check(i64::MAX, Some("token-expired"));
    check(i64::MIN, Some("token-not-yet-valid"));
    check(begins.0, None);

    // Rounded so that the token is never valid longer than was said.
    let uneven =
        Claims { not_before: Some(Timestamp(NOW.0 + 1)), expires: Timestamp(NOW.0 + 5_999_999), ..claims() };
    let token = scheme.issue(&uneven)?;
    for (at, code) in [
        (NOW.0 + 999_999, Some("token-not-yet-valid")),
        (NOW.0 + 1_000_000, None),
        (NOW.0 + 5_000_000, Some("token-expired")),
    ] {
        assert_eq!(scheme.verify(&token, Timestamp(at)).err().map(|e| e.code()), code, "{at}");
    }
    let at_once = Claims { expires: NOW, ..claims() };
    assert_eq!(scheme.issue(&at_once).map_err(|e| e.code()), Err("token-cannot-issue"));
    // Numbers at the edge of time are compared, not wrapped.
    let endless = signed(&header().to_string(), &with(payload(), "exp", json!(i64::MAX)));
    assert!(scheme.verify(&endless, NOW).is_ok());
    let early = signed(&header().to_string(), &with(payload(), "exp", json!(i64::MIN)));
    refused(&early, "token-expired");
    Ok(())
}

#[test]
fn another_key_or_algorithm_is_refused() {
    let stranger = OperatorKey::from_seed(&[8; 32]);
    let foreign = EdDsa::new(stranger, "vault-1").and_then(|s| s.issue(&claims()));
    refused(&foreign.unwrap_or_default(), "token-unknown-key");

    // The stranger names our key.
    let message = format!("{}.{}", BASE64.encode(header().to_string()), BASE64.encode(payload().to_string()));
    let forged = SigningKey::from_bytes(&[8; 32]).sign(message.as_bytes());
    refused(&format!("{message}.{}", BASE64.encode(forged.to_bytes())), "token-signature");
    refused(&format!("{message}.{}", BASE64.encode([0; 64])), "token-signature");
    // R and S zero, and S at the group's order, which lax verifiers take for zero.
    let mut order = [0_u8; 64];
    order[32..].copy_from_slice(&[
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ]);
    refused(&format!("{message}.{}", BASE64.encode(order)), "token-signature");

    for algorithm in ["none", "None", "HS256", "ES256", "eddsa", ""] {
        refused(&signed(&with(header(), "alg", json!(algorithm)), &payload().to_string()), "token-algorithm");
    }
    let stripped = format!("{}.", token().rsplit_once('.').map_or("", |(message, _)| message));
    refused(&stripped, "token-malformed");
}

#[test]
fn what_is_not_understood_is_refused() {
    let head = |header: &str, code| refused(&signed(header, &payload().to_string()), code);
    head(&with(header(), "crit", json!(["exp"])), "token-critical");
    head(&with(header(), "crit", json!([])), "token-critical");
    head(&with(header(), "crit", Value::Null), "token-critical");
    head(&with(header(), "jwk", json!({"kty": "OKP"})), "token-malformed");
    head(&with(header(), "x5u", json!("https://example.com")), "token-malformed");
    head(&with(header(), "typ", json!("JWE")), "token-malformed");
    head(&with(header(), "kid", json!("../../key")), "token-unknown-key");
    head("{}", "token-malformed");
    head("[]", "token-malformed");
    let twice = header().to_string().replacen('{', "{\"alg\":\"none\",", 1);
    head(&twice, "token-malformed");

    let body = |payload: &str, code| refused(&signed(&header().to_string(), payload), code);
    body(&with(payload(), "admin", json!(true)), "token-malformed");
    body(&payload().to_string().replacen('{', "{\"grt\":1,", 1), "token-malformed");
    body(&payload().to_string().replacen('{', "{\"\\u0067rt\":1,", 1), "token-malformed");
    body(&with(payload(), "exp", json!("1700000900")), "token-malformed");
    body(&with(payload(), "exp", json!(1.7e9)), "token-malformed");
    body(&with(payload(), "aud", json!(["vault-1"])), "token-malformed");
    body(&with(payload(), "att", json!(["tool:fs.read(path=../**)"])), "token-malformed");
    body(&with(payload(), "sub", json!("alice")), "token-malformed");
    body(&format!("{}{{}}", payload()), "token-malformed");
    body(&with(payload(), "aud", json!("vault-2")), "token-audience");
    body(&with(payload(), "aud", json!("")), "token-audience");
    body(&with(payload(), "iss", json!(EntityId::named("alice"))), "token-issuer");
    body(&with(payload(), "iat", json!(NOW.0 / 1_000_000 + 1)), "token-not-yet-valid");
    for missing in ["iss", "sub", "aud", "grt", "iat", "exp", "jti"] {
        let mut less = payload();
        less.as_object_mut().map(|o| o.remove(missing));
        body(&less.to_string(), "token-malformed");
    }

    for shape in ["", ".", "..", "...", "a.b.c", &token().replace('.', ""), &format!("{}.x", token())] {
        refused(shape, "token-malformed");
    }
    for (from, to) in [("", " "), ("", "="), ("", "\n")] {
        refused(&format!("{from}{}{to}", token()), "token-malformed");
    }
}

#[test]
fn size_is_bounded() {
    refused(&"a".repeat(MAX_TOKEN + 1), "token-too-large");
    let many = CapabilitySet::parse((0..200).map(|i| format!("tool:fs.read(path=some/longer/path/{i})")));
    let issued = scheme().issue(&Claims { attenuation: many.ok(), ..claims() });
    assert_eq!(issued.map_err(|e| e.code()), Err("token-too-large"));
    assert_eq!(EdDsa::new(key(), "").map(|_| ()).map_err(|e| e.code()), Err("token-cannot-issue"));
    let other = Claims { issuer: EntityId::named("alice"), ..claims() };
    assert_eq!(scheme().issue(&other).map_err(|e| e.code()), Err("token-cannot-issue"));
}

#[test]
fn two_keys_are_valid_while_they_change() -> Result<(), TokenError> {
    let new = EdDsa::new(OperatorKey::from_seed(&[9; 32]), "vault-1")?;
    assert_eq!(new.verify(&token(), NOW).map_err(|e| e.code()), Err("token-unknown-key"));
    let both = new.accepting(&KeyRing::new([key().public()]));
    assert!(both.verify(&token(), NOW).is_ok());
    assert!(both.verify(&both.issue(&claims())?, NOW).is_ok());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn no_other_text_is_accepted(place in 0_usize..1000, replacement in 0x21_u8..0x7f) {
        let scheme = scheme();
        let token = token();
        // The true one is remembered; a changed one must not profit from it.
        prop_assert!(scheme.verify(&token, NOW).is_ok());
        let mut bytes = token.clone().into_bytes();
        let place = place % bytes.len();
        prop_assume!(bytes[place] != replacement);
        bytes[place] = replacement;
        let changed = String::from_utf8_lossy(&bytes).into_owned();
        prop_assert!(scheme.verify(&changed, NOW).is_err(), "{}", changed);
        prop_assert!(scheme.verify(&token[..place], NOW).is_err());
    }

    #[test]
    fn any_text_is_refused_without_panic(text in "[a-zA-Z0-9_.=\u{e9}-]{0,200}") {
        prop_assert!(scheme().verify(&text, NOW).is_err());
    }
}
