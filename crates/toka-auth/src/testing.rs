//! What reads texts of strangers, for fuzzers.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use toka_types::Timestamp;

use crate::biscuit::offline;
use crate::password::PasswordHash;
use crate::proof::{HolderKey, Proof};
use crate::{
    Biscuit, EdDsa, Hs256, Narrowing, Operator, OperatorKey, SharedSecret, TokenError, TokenScheme, inspect,
};

const SEED: [u8; 32] = [7; 32];
/// When the golden tokens are valid.
const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

static SCHEMES: LazyLock<Vec<Box<dyn TokenScheme>>> = LazyLock::new(|| {
    let key = || OperatorKey::from_seed(&SEED);
    let all = || -> Result<Vec<Box<dyn TokenScheme>>, TokenError> {
        let secret = SharedSecret::new(&SEED).map_err(|e| TokenError::CannotIssue(e.to_string()))?;
        Ok(vec![
            Box::new(Biscuit::new(key(), "vault-1")?),
            Box::new(EdDsa::new(key(), "vault-1")?),
            Box::new(Hs256::new(secret, "vault-1")?),
            Box::new(Operator::new(key(), "vault-1")?),
        ])
    };
    all().unwrap_or_else(|error| panic!("{error}"))
});

/// Takes `bytes` for whatever comes from outside: a token of each scheme, as text and as what the text stands for; a block or
/// request of a third party; a proof; a stored password.
///
/// # Panics
/// If something panics that must not, or what is accepted is not what it says.
pub fn token(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        read(text);
        let _ = text.parse::<PasswordHash>();
        if let Ok(proof) = text.parse::<Proof>() {
            assert_eq!(proof.to_string(), text);
        }
        claimed(text);
    }
    read(&URL_SAFE.encode(bytes));
}

fn read(text: &str) {
    for scheme in SCHEMES.iter() {
        if let Ok(verified) = scheme.verify(text, NOW) {
            let said = inspect(text).unwrap_or_else(|error| panic!("{error} in {text}"));
            assert_eq!((&said.claims, &said.blocks[..]), (verified.claims(), verified.blocks()));
            assert!(verified.expires() > NOW);
        }
    }
    let _ = inspect(text);
    let holder = HolderKey::from_seed(&SEED);
    let expires = Narrowing { expires: Some(NOW), ..Narrowing::default() };
    if let Ok(narrowed) = offline::attenuate(text, &expires) {
        for scheme in SCHEMES.iter() {
            assert!(scheme.verify(&narrowed, NOW).is_err(), "{narrowed}");
        }
        let _ = offline::append_third_party(&narrowed, text);
        let _ = offline::hand_on(text, &holder, holder.public());
    }
    let _ = offline::third_party_block(text, &holder, &expires);
}

/// The text as a JWT's claims, under a signature that is valid: what the key's owner could be made to sign.
fn claimed(text: &str) {
    let key = OperatorKey::from_seed(&SEED);
    let header = format!(r#"{{"alg":"EdDSA","typ":"JWT","kid":"{}"}}"#, key.id());
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(text));
    let signature = key.sign(message.as_bytes());
    read(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)));
}
