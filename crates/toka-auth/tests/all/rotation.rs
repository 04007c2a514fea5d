//! Keys that change, and tokens that are renewed; the same for every scheme.

use std::time::Duration;

use toka_auth::biscuit::offline::attenuate;
use toka_auth::token::Renewal;
use toka_auth::{
    Biscuit, Claims, EdDsa, HolderKey, Hs256, KeyRing, Narrowing, Operator, OperatorKey, SharedSecret,
    TokenError, TokenScheme,
};
use toka_types::OpId;

use crate::support::{NOW, Outcome, claims, key, later, set};

#[test]
fn an_old_key_verifies_until_its_end_and_no_tick_longer() -> Outcome {
    let new = || OperatorKey::from_seed(&[9; 32]);
    let old = KeyRing::new([key().public()]);
    let secret = |n: u8| SharedSecret::new(&[n; 32]);
    let old_secret = KeyRing::new([secret(1)?]);
    let of = |scheme: &dyn TokenScheme| scheme.issue(&claims());
    type Case = (String, Box<dyn TokenScheme>, Box<dyn TokenScheme>);
    let cases: [Case; 4] = [
        (
            of(&EdDsa::new(key(), "vault-1")?)?,
            Box::new(EdDsa::new(new(), "vault-1")?),
            Box::new(EdDsa::new(new(), "vault-1")?.accepting(&old.clone().until(later(60)))),
        ),
        (
            of(&Hs256::new(secret(1)?, "vault-1")?)?,
            Box::new(Hs256::new(secret(2)?, "vault-1")?),
            Box::new(Hs256::new(secret(2)?, "vault-1")?.accepting(&old_secret.until(later(60)))),
        ),
        (
            of(&Biscuit::new(key(), "vault-1")?)?,
            Box::new(Biscuit::new(new(), "vault-1")?),
            Box::new(Biscuit::new(new(), "vault-1")?.accepting(&old.clone().until(later(60)))),
        ),
        (
            of(&Operator::new(key(), "vault-1")?)?,
            Box::new(Operator::new(new(), "vault-1")?),
            Box::new(Operator::new(new(), "vault-1")?.accepting(&old.until(later(60)))),
        ),
    ];
    for (token, alone, both) in cases {
        let code = |scheme: &dyn TokenScheme, at| scheme.verify(&token, at).err().map(|e| e.code());
        let name = alone.name();
        assert_eq!(code(&*alone, NOW), Some("token-unknown-key"), "{name}");
        // It is remembered from the first time on; its end counts all the same.
        let before = toka_types::Timestamp(later(60).0 - 1);
        for (at, expected) in
            [(NOW, None), (before, None), (later(60), Some("token-retired-key")), (NOW, None)]
        {
            assert_eq!(code(&*both, at), expected, "{name}");
        }
        // New tokens are the new key's.
        assert!(alone.verify(&both.issue(&claims())?, NOW).is_ok(), "{name}");
    }
    Ok(())
}

#[test]
fn tokens_live_for_a_quarter_of_an_hour_unless_told_otherwise() -> Outcome {
    let day = Claims { expires: later(86_400), ..claims() };
    let beyond = Claims { expires: later(901), ..claims() };
    let begun_later = Claims { not_before: Some(later(100)), expires: later(1_000), ..claims() };
    let longer = Duration::from_secs(86_400);
    let cases: [(Box<dyn TokenScheme>, Box<dyn TokenScheme>); 3] = [
        (Box::new(EdDsa::new(key(), "v")?), Box::new(EdDsa::new(key(), "v")?.with_longest_ttl(longer))),
        (Box::new(Biscuit::new(key(), "v")?), Box::new(Biscuit::new(key(), "v")?.with_longest_ttl(longer))),
        (Box::new(Operator::new(key(), "v")?), Box::new(Operator::new(key(), "v")?.with_longest_ttl(longer))),
    ];
    for (scheme, longer) in cases {
        assert!(scheme.issue(&claims()).is_ok());
        assert!(scheme.issue(&begun_later).is_ok());
        for (claims, asked) in [(&beyond, 901), (&day, 86_400)] {
            assert_eq!(scheme.issue(claims), Err(TokenError::TooLong { asked, longest: 900 }));
        }
        assert!(longer.issue(&day).is_ok());
    }
    Ok(())
}

#[test]
fn renewing_never_widens_and_never_outlives_an_end() -> Outcome {
    let scheme = Biscuit::new(key(), "vault-1")?;
    let terms = |at, grant_ends| Renewal {
        at,
        ttl: Duration::from_secs(900),
        grant_ends,
        id: OpId::of(&[b"2"]),
        only: None,
    };
    let holder = HolderKey::from_seed(&[3; 32]).public();
    let issued = Claims {
        holder: Some(holder),
        renewable_until: Some(later(5_000)),
        attenuation: Some(set(&["tool:fs.read(path=docs/**)", "tool:echo"])),
        ..claims()
    };
    let token = scheme.issue(&issued)?;
    let renewed = scheme.renew(&token, &terms(later(600), None))?;
    let verified = scheme.verify(&renewed, later(1_000))?;
    let expected =
        Claims { issued: later(600), expires: later(1_500), id: OpId::of(&[b"2"]), ..issued.clone() };
    assert_eq!(verified.claims(), &expected);
    assert_eq!(scheme.verify(&token, later(1_000)).map_err(|e| e.code()), Err("token-expired"));
    assert_eq!(scheme.renew(&token, &terms(later(1_000), None)).map_err(|e| e.code()), Err("token-expired"));

    // Neither beyond the grant nor beyond what its issuer said.
    for (at, grant_ends, end) in [(700, Some(1_000), 1_000), (700, None, 1_600), (800, Some(9_000), 1_700)] {
        let renewed = scheme.renew(&token, &terms(later(at), grant_ends.map(later)))?;
        assert_eq!(scheme.verify(&renewed, later(at))?.expires(), later(end));
    }
    let late = Claims { issued: later(4_900), expires: later(5_000), ..issued };
    let last = scheme.renew(&scheme.issue(&late)?, &terms(later(4_950), None))?;
    assert_eq!(scheme.verify(&last, later(4_950))?.expires(), later(5_000));
    let over = scheme.renew(&token, &terms(later(700), Some(later(700))));
    assert_eq!(over.map_err(|e| e.code()), Err("token-cannot-issue"));

    // What holders took away stays away, and their ends stay ends.
    let only = Some(set(&["tool:fs.read(path=docs/a/**)", "tool:fs.write"]));
    let narrow = attenuate(&token, &Narrowing { only, expires: Some(later(300)), ..Narrowing::default() })?;
    let renewed = scheme.renew(&narrow, &terms(later(200), None))?;
    let verified = scheme.verify(&renewed, later(200))?;
    assert_eq!(verified.claims().attenuation, Some(set(&["tool:fs.read(path=docs/a/**)"])));
    assert_eq!((verified.expires(), verified.claims().renewable_until), (later(300), Some(later(300))));
    assert_eq!(verified.holder(), Some(&holder));

    // JWT is renewed in the same way.
    let jwt = EdDsa::new(key(), "vault-1")?;
    let renewed = jwt.renew(&jwt.issue(&claims())?, &terms(later(600), Some(later(1_000))))?;
    assert_eq!(jwt.verify(&renewed, later(600))?.expires(), later(1_000));
    Ok(())
}
