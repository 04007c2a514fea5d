//! Tokens that are bound to a key.

use toka_auth::{Biscuit, Claims, EdDsa, HolderKey, Proof, TokenScheme};
use toka_types::nonce::{MAX_WINDOW, Nonce};
use toka_types::{Digest, Timestamp};

use crate::support::{NOW, Outcome, claims, key, later};

const NONCE: Nonce = Nonce([5; 16]);

#[test]
fn a_bound_token_wants_its_holders_proof_of_this_operation() -> Outcome {
    let holder = HolderKey::from_seed(&[3; 32]);
    let bound = Claims { holder: Some(holder.public()), ..claims() };
    let operation = Digest::of(b"an operation");
    let schemes: [Box<dyn TokenScheme>; 2] =
        [Box::new(EdDsa::new(key(), "vault-1")?), Box::new(Biscuit::new(key(), "vault-1")?)];
    for scheme in schemes {
        let verified = scheme.verify(&scheme.issue(&bound)?, NOW)?;
        assert_eq!(verified.claims(), &bound);
        let token = verified.digest();
        let check = |proof: Option<&Proof>, at: Timestamp| {
            verified.check_proof(proof, &operation, "vault-1", at).err().map(|e| e.code())
        };
        let sign = |key: &HolderKey, token: &Digest, operation: &Digest, audience: &str, ends: Timestamp| {
            Proof::sign(key, token, operation, audience, NONCE, ends)
        };
        let good = sign(&holder, &token, &operation, "vault-1", later(60));
        assert_eq!(check(Some(&good), NOW), None);
        assert_eq!(check(None, NOW), Some("token-proof-missing"));
        let stranger = HolderKey::from_seed(&[4; 32]);
        let other = Digest::of(b"something else");
        for bad in [
            sign(&stranger, &token, &operation, "vault-1", later(60)),
            sign(&holder, &other, &operation, "vault-1", later(60)),
            sign(&holder, &token, &other, "vault-1", later(60)),
            sign(&holder, &token, &operation, "vault-2", later(60)),
            // Whoever changes what a proof says of itself breaks it.
            Proof { nonce: Nonce([6; 16]), ..good },
            Proof { not_after: later(120), ..good },
        ] {
            assert_eq!(check(Some(&bad), NOW), Some("token-proof-invalid"), "{bad:?}");
        }
        assert_eq!(check(Some(&good), Timestamp(later(60).0 - 1)), None);
        assert_eq!(check(Some(&good), later(60)), Some("token-proof-time"));
        let far = sign(&holder, &token, &operation, "vault-1", NOW.saturating_add(MAX_WINDOW));
        assert_eq!(check(Some(&far), NOW), None);
        assert_eq!(check(Some(&far), Timestamp(NOW.0 - 1)), Some("token-proof-time"));

        let bearer = scheme.verify(&scheme.issue(&claims())?, NOW)?;
        assert!(bearer.check_proof(None, &operation, "vault-1", NOW).is_ok());
    }
    Ok(())
}

#[test]
fn a_proofs_text_has_one_form() -> Outcome {
    let holder = HolderKey::from_seed(&[3; 32]);
    let (token, operation) = (Digest::of(b"t"), Digest::of(b"o"));
    let proof = Proof::sign(&holder, &token, &operation, "vault-1", NONCE, later(60));
    let text = proof.to_string();
    assert_eq!(text.parse::<Proof>()?, proof);
    for bad in
        ["", "x", &text[1..], &format!("{text}A"), &format!("{text}="), &text.replace(&text[..2], "+/")]
    {
        assert_eq!(bad.parse::<Proof>().map_err(|e| e.code()), Err("token-malformed"), "{bad}");
    }
    // Each byte of it counts.
    for place in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes)?.parse::<Proof>();
        let accepted =
            changed.is_ok_and(|p| p.verify(&holder.public(), &token, &operation, "vault-1", NOW).is_ok());
        assert!(!accepted, "byte {place}");
    }
    assert!(!format!("{holder:?}{proof:?}").contains(&text));
    Ok(())
}
