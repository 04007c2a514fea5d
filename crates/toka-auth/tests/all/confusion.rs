//! Every scheme against the tokens and keys of every other one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ed25519_dalek::{Signer, SigningKey};
use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha256;
use toka_auth::ring::RingKey;
use toka_auth::{Biscuit, EdDsa, Hs256, Operator, SharedSecret, TokenScheme, inspect};

use crate::support::{NOW, Outcome, SEED, claims, key};

#[test]
fn no_scheme_takes_a_token_of_another() -> Outcome {
    let secret = || SharedSecret::new(key().public().as_bytes());
    let schemes: [Box<dyn TokenScheme>; 4] = [
        Box::new(EdDsa::new(key(), "vault-1")?),
        Box::new(Hs256::new(secret()?, "vault-1")?),
        Box::new(Biscuit::new(key(), "vault-1")?),
        Box::new(Operator::new(key(), "vault-1")?),
    ];
    let tokens: Vec<String> = schemes.iter().map(|s| s.issue(&claims())).collect::<Result<_, _>>()?;
    // Rows verify, columns issue. The operator's scheme issues Biscuits, and takes EdDSA beside them.
    let (alg, form) = (Some("token-algorithm"), Some("token-malformed"));
    let expected =
        [[None, alg, form, form], [alg, None, form, form], [form, form, None, None], [None, alg, None, None]];
    for (scheme, row) in schemes.iter().zip(expected) {
        for (token, code) in tokens.iter().zip(row) {
            let verified = scheme.verify(token, NOW);
            assert_eq!(verified.err().map(|e| e.code()), code, "{} on {token}", scheme.name());
        }
    }
    for (scheme, token) in schemes.iter().zip(&tokens) {
        let inspected = inspect(token)?;
        assert_eq!((inspected.scheme, inspected.audience.as_str()), (scheme.name(), "vault-1"));
        assert_eq!(inspected.claims, claims());
    }
    Ok(())
}

/// Whatever a header says, and whatever is signed in whichever way with whichever of the keys that an attacker may know.
#[test]
fn what_a_header_says_chooses_nothing() -> Outcome {
    let secret_bytes = [9; 32];
    let secret = || SharedSecret::new(&secret_bytes);
    let (public, id) = (key().public(), key().id().to_string());
    let secret_id = secret()?.id().to_string();
    let payload = {
        let token = EdDsa::new(key(), "vault-1")?.issue(&claims())?;
        token.split('.').nth(1).map(str::to_owned).ok_or("no claims")?
    };
    let eddsa = EdDsa::new(key(), "vault-1")?;
    let hs256 = Hs256::new(secret()?, "vault-1")?;
    for algorithm in ["none", "EdDSA", "HS256", "HS384", "ES256", "RS256", "", "eddsa", "hs256", "A128KW"] {
        for kid in [&id, &secret_id] {
            let header = json!({"alg": algorithm, "typ": "JWT", "kid": kid}).to_string();
            let message = format!("{}.{payload}", BASE64.encode(header));
            let mac = |key: &[u8]| -> Result<Vec<u8>, Box<dyn std::error::Error>> {
                Ok(Hmac::<Sha256>::new_from_slice(key)?
                    .chain_update(&message)
                    .finalize()
                    .into_bytes()
                    .to_vec())
            };
            let signatures = [
                // As an attacker could: with the public key as a secret, with its id, with nothing.
                mac(public.as_bytes())?,
                mac(id.as_bytes())?,
                mac(b"")?,
                Vec::new(),
                vec![0; 32],
                vec![0; 64],
                // And as the owner of the other scheme's key could.
                mac(&secret_bytes)?,
                SigningKey::from_bytes(&SEED).sign(message.as_bytes()).to_bytes().to_vec(),
            ];
            for (n, signature) in signatures.iter().enumerate() {
                let token = format!("{message}.{}", BASE64.encode(signature));
                let owned_eddsa = algorithm == "EdDSA" && *kid == id && n == 7;
                let owned_hs256 = algorithm == "HS256" && *kid == secret_id && n == 6;
                assert_eq!(eddsa.verify(&token, NOW).is_ok(), owned_eddsa, "{algorithm} {kid} {n}");
                assert_eq!(hs256.verify(&token, NOW).is_ok(), owned_hs256, "{algorithm} {kid} {n}");
                if algorithm != "EdDSA" {
                    assert_eq!(eddsa.verify(&token, NOW).map_err(|e| e.code()), Err("token-algorithm"));
                }
                if algorithm != "HS256" {
                    assert_eq!(hs256.verify(&token, NOW).map_err(|e| e.code()), Err("token-algorithm"));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_remembered_is_not_shown() -> Outcome {
    let biscuit = Biscuit::new(key(), "vault-1")?;
    let operator = Operator::new(key(), "vault-1")?;
    let token = biscuit.issue(&claims())?;
    assert!(biscuit.verify(&token, NOW).is_ok() && operator.verify(&token, NOW).is_ok());
    let shown = format!("{biscuit:?}{operator:?}");
    assert!(shown.contains(&key().id().to_string()) && !shown.contains(&token[..40]), "{shown}");
    Ok(())
}

#[test]
fn short_secrets_are_no_secrets() {
    for len in [0, 31, 1025] {
        assert_eq!(SharedSecret::new(&vec![1; len]).map(|_| ()).map_err(|e| e.code()), Err("key-secret"));
    }
}
