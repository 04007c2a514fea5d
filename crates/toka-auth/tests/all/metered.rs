//! What uses are counted under that a token limits: the same in all that is made of the token, and in nothing else.

use std::time::Duration;

use toka_auth::biscuit::offline::{append_third_party, attenuate, third_party_block, third_party_request};
use toka_auth::token::Renewal;
use toka_auth::{Biscuit, Claims, EdDsa, HolderKey, Hs256, Narrowing, SharedSecret, TokenScheme};
use toka_types::operation::Metered;
use toka_types::{Digest, OpId, Timestamp};

use crate::support::*;

const LIMITED: &str = "tool:fs.read(uses=3)";

fn only(texts: &[&str]) -> Narrowing {
    Narrowing { only: Some(set(texts)), ..Narrowing::default() }
}

fn limited() -> Claims {
    let attenuation = Some(set(&[LIMITED, "tool:echo"]));
    Claims { attenuation, renewable_until: Some(later(5_000)), ..claims() }
}

fn terms(at: u64) -> Renewal {
    let id = OpId::of(&[&at.to_le_bytes()]);
    Renewal { at: later(at), ttl: Duration::from_secs(900), grant_ends: None, id, only: None }
}

fn metered(scheme: &dyn TokenScheme, token: &str) -> Result<Vec<Metered>, Box<dyn std::error::Error>> {
    // Whatever the token's time, its meters are the same.
    let at = toka_auth::inspect(token)?.claims.issued;
    Ok(scheme.verify(token, at)?.metered().to_vec())
}

#[test]
fn a_meter_stays_the_same_in_all_that_is_made_of_a_token() -> Outcome {
    let scheme = Biscuit::new(key(), "vault-1")?;
    let root = scheme.issue(&Claims { renewable_until: Some(later(5_000)), ..claims() })?;
    assert_eq!(metered(&scheme, &root)?, []);
    let token = attenuate(&root, &only(&[LIMITED, "tool:echo"]))?;
    let first = metered(&scheme, &token)?;
    let expected = set(&[LIMITED, "tool:echo"]);
    assert_eq!((first.len(), &first[0].only, first[0].until), (1, &expected, later(5_000)));

    // Narrowed down further, by whoever it was, once more with limits, and with an end.
    let plain = attenuate(&token, &only(&["tool:fs.*", "tool:echo"]))?;
    assert_eq!(metered(&scheme, &plain)?, first);
    let ends = Narrowing { expires: Some(later(300)), ..only(&["tool:fs.*(rate=1/min)"]) };
    let inner = metered(&scheme, &attenuate(&plain, &ends)?)?;
    assert_eq!(inner[0], first[0], "an end further back changes nothing of the first");
    assert_eq!((inner.len(), inner[1].until), (2, later(300)));
    assert_ne!(inner[1].meter, first[0].meter);
    let auditor = HolderKey::from_seed(&[4; 32]);
    let block = third_party_block(&third_party_request(&token)?, &auditor, &only(&["tool:fs.read(uses=1)"]))?;
    let audited = metered(&scheme, &append_third_party(&token, &block)?)?;
    assert_eq!((audited.len(), &audited[0]), (2, &first[0]));

    // What the same holder makes of the same token in the same way has a meter of its own.
    let sibling = metered(&scheme, &attenuate(&root, &only(&[LIMITED, "tool:echo"]))?)?;
    assert_ne!(sibling[0].meter, first[0].meter);
    Ok(())
}

#[test]
fn a_renewed_token_counts_under_the_meters_of_the_old_one() -> Outcome {
    let biscuit = Biscuit::new(key(), "vault-1")?;
    let eddsa = EdDsa::new(key(), "vault-1")?;
    let hs256 = Hs256::new(SharedSecret::new(&SEED)?, "vault-1")?;
    let schemes: [&dyn TokenScheme; 3] = [&biscuit, &eddsa, &hs256];
    for scheme in schemes {
        let token = scheme.issue(&limited())?;
        let first = metered(scheme, &token)?;
        assert_eq!(first.len(), 1, "{}", scheme.name());
        let other = scheme.issue(&Claims { id: OpId::of(&[b"other"]), ..limited() })?;
        assert_ne!(metered(scheme, &other)?, first, "another token has another meter");
        // Renewed, renewed again, and twice from the same one.
        let once = scheme.renew(&token, &terms(600))?;
        let twice = scheme.renew(&once, &terms(1_200))?;
        for renewed in [&once, &twice, &scheme.renew(&token, &terms(700))?] {
            assert_eq!(metered(scheme, renewed)?, first);
            let verified = scheme.verify(renewed, toka_auth::inspect(renewed)?.claims.issued)?;
            assert_eq!(verified.claims().attenuation, None);
            assert_eq!(verified.attenuations().cloned().collect::<Vec<_>>(), [set(&[LIMITED, "tool:echo"])]);
            assert_eq!(scheme.issue(verified.claims()).map(|token| token.len()), Ok(renewed.len()));
        }
    }
    // Sets with limits stay apart, each with its meter; the others become one.
    let token = biscuit.issue(&limited())?;
    let mut narrow = token;
    for texts in [&["tool:fs.**", "tool:echo"][..], &["tool:fs.read(uses=2)"], &["tool:fs.read"]] {
        narrow = attenuate(&narrow, &only(texts))?;
    }
    let before = metered(&biscuit, &narrow)?;
    let renewed = biscuit.renew(&narrow, &terms(600))?;
    assert_eq!(metered(&biscuit, &renewed)?, before);
    let verified = biscuit.verify(&renewed, later(600))?;
    assert_eq!((before.len(), &verified.claims().attenuation), (2, &Some(set(&["tool:fs.read"]))));
    // Narrowed and renewed once more, there is one more.
    let third = attenuate(&renewed, &only(&["tool:fs.read(rate=1/h)"]))?;
    let all = metered(&biscuit, &biscuit.renew(&third, &terms(700))?)?;
    assert_eq!((all.len(), &all[..2]), (3, &before[..]));
    Ok(())
}

#[test]
fn a_meter_is_kept_until_nothing_that_counts_under_it_can_be_shown() -> Outcome {
    let scheme = Biscuit::new(key(), "vault-1")?;
    let until = |claims: &Claims, ends: &[u64]| -> Result<Timestamp, Box<dyn std::error::Error>> {
        let mut token = scheme.issue(claims)?;
        for end in ends {
            token = attenuate(&token, &Narrowing { expires: Some(later(*end)), ..only(&[LIMITED]) })?;
        }
        let last = metered(&scheme, &token)?.last().map(|metered| metered.until);
        last.ok_or_else(|| "no meter".into())
    };
    assert_eq!(until(&limited(), &[])?, later(5_000), "as long as it can be renewed");
    let brief = Claims { renewable_until: Some(later(10)), ..limited() };
    assert_eq!(until(&brief, &[])?, later(900), "as long as it is valid");
    assert_eq!(until(&limited(), &[6_000, 400, 500])?, later(400), "the first end counts");
    // One that is renewed as long as its grant stands has no end of its own, and keeps it through a renewal.
    let endless = Claims { renewable_until: None, ..limited() };
    let (token, never) = (scheme.issue(&endless)?, until(&endless, &[])?);
    assert!(never.0 > i64::MAX - 1_000_000);
    assert_eq!(metered(&scheme, &scheme.renew(&token, &terms(600))?)?[0].until, never);
    Ok(())
}

#[test]
fn nobody_but_the_issuer_says_under_what_uses_are_counted() -> Outcome {
    use biscuit_auth::builder::{BlockBuilder, Term, bytes, fact};

    let scheme = Biscuit::new(key(), "vault-1")?;
    let token = scheme.issue(&limited())?;
    let only = Term::Set([biscuit_auth::builder::string(LIMITED)].into_iter().collect());
    let block = fact("metered", &[bytes(&[0; 32]), Term::Date(1_800_000_000), only]);
    let forged = biscuit_auth::UnverifiedBiscuit::from_base64(token)?;
    let forged = forged.append(BlockBuilder::new().fact(block)?)?.to_base64()?;
    assert_eq!(scheme.verify(&forged, NOW).map_err(|e| e.code()), Err("token-malformed"));
    // What an issuer says of several stands in the token in their order.
    let two = [(1, LIMITED), (2, "tool:echo(rate=1/min)")].map(|(meter, text)| Metered {
        meter: Digest([meter; 32]),
        until: later(5_000),
        only: set(&[text]),
    });
    let claims = Claims { metered: two.to_vec(), ..limited() };
    let jwt = EdDsa::new(key(), "vault-1")?;
    for (scheme, token) in
        [(&scheme as &dyn TokenScheme, scheme.issue(&claims)?), (&jwt, jwt.issue(&claims)?)]
    {
        let verified = scheme.verify(&token, NOW)?;
        assert_eq!(verified.claims(), &claims);
        assert_eq!((verified.metered().len(), &verified.metered()[..2]), (3, &two[..]));
    }
    Ok(())
}
