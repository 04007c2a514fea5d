//! Passwords of people.

use toka_auth::password::{Cost, MAX_PASSWORD, Password, PasswordError, PasswordHash, Verdict};

use crate::support::Outcome;

const CHEAP: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };

fn password(text: &str) -> Password {
    Password::new(text).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn a_hash_knows_its_password_and_when_it_is_outdated() -> Outcome {
    let hash = PasswordHash::new(&password("pa\u{df}word \u{1f511}"), CHEAP)?;
    let stored: PasswordHash = hash.to_string().parse()?;
    assert_eq!(stored, hash);
    assert!(hash.to_string().starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
    let verify = |text: &str, now: Cost| stored.verify(&password(text), now);
    assert_eq!(verify("pa\u{df}word \u{1f511}", CHEAP), Verdict::Right);
    for wrong in ["pa\u{df}word", "PA\u{df}WORD \u{1f511}", "pa\u{df}word \u{1f511} ", "password \u{1f511}"] {
        assert_eq!(verify(wrong, CHEAP), Verdict::Wrong, "{wrong}");
        assert_eq!(verify(wrong, Cost::default()), Verdict::Wrong, "{wrong}");
    }
    let dearer = [Cost { memory_kib: 128, ..CHEAP }, Cost { passes: 2, ..CHEAP }, Cost::default()];
    for now in dearer {
        assert_eq!(verify("pa\u{df}word \u{1f511}", now), Verdict::RightAndRehash);
    }
    // The same password is never stored as the same text.
    assert_ne!(PasswordHash::new(&password("x"), CHEAP)?, PasswordHash::new(&password("x"), CHEAP)?);
    assert_eq!(password("x").verify_for_nobody(CHEAP), Verdict::Wrong);
    Ok(())
}

#[test]
fn hashes_that_others_made_are_known() -> Outcome {
    // By argon2-cffi, which is the reference implementation in C.
    for (text, typed) in [
        (
            "$argon2id$v=19$m=256,t=2,p=2$MDEyMzQ1Njc4OWFiY2RlZg$ieTzTuGvJuHm2/++W7RxzgJhvA22YtSGNvHiwU3pAMA",
            "correct horse \u{df}",
        ),
        ("$argon2id$v=19$m=64,t=1,p=1$MTIzNDU2Nzg$KQUHXcClcYDx/3bWXMfrFTThxkIP/Jq9cABum5NX/dM", "x"),
    ] {
        let stored: PasswordHash = text.parse()?;
        assert_eq!(stored.verify(&password(typed), CHEAP), Verdict::Right, "{text}");
        assert_eq!(stored.verify(&password("y"), CHEAP), Verdict::Wrong);
    }
    Ok(())
}

#[test]
fn the_default_cost_holds() -> Outcome {
    let hash = PasswordHash::new(&password("x"), Cost::default())?;
    assert!(hash.to_string().starts_with("$argon2id$v=19$m=65536,t=3,p=1$"), "{hash}");
    assert_eq!(hash.verify(&password("x"), Cost::default()), Verdict::Right);
    Ok(())
}

#[test]
fn what_is_no_hash_is_refused_and_never_computed() -> Outcome {
    let good = PasswordHash::new(&password("x"), CHEAP)?.to_string();
    let parse = |text: &str| text.parse::<PasswordHash>().map_err(|e| e.code());
    for (bad, code) in [
        (String::new(), "password-malformed"),
        ("x".to_owned(), "password-malformed"),
        (good.replace("argon2id", "argon2i"), "password-malformed"),
        (good.replace("argon2id", "argon2d"), "password-malformed"),
        (good.replace("v=19", "v=16"), "password-malformed"),
        (good.replace("$v=19", ""), "password-malformed"),
        (good[..good.len() - 2].to_owned(), "password-malformed"),
        // Argon2 takes no salt of less than eight bytes, and nobody would ever get in.
        (
            "$argon2id$v=19$m=64,t=1,p=1$MTIzNDU2Nw$KQUHXcClcYDx/3bWXMfrFTThxkIP/Jq9cABum5NX/dM".to_owned(),
            "password-malformed",
        ),
        (good[..good.rfind('$').unwrap_or_default()].to_owned(), "password-malformed"),
        // Whoever could write these must not take the machine down.
        (good.replace("m=64,", "m=4294967295,"), "password-cost"),
        (good.replace("t=1,", "t=4294967295,"), "password-cost"),
        (good.replace("p=1$", "p=255$"), "password-malformed"),
    ] {
        let read = parse(&bad);
        assert!(
            matches!(read, Err(found) if found == code || found == "password-malformed"),
            "{bad}: {read:?}"
        );
    }
    let cost = Cost { memory_kib: u32::MAX, ..CHEAP };
    assert_eq!(PasswordHash::new(&password("x"), cost), Err(PasswordError::Cost(cost)));
    for len in [0, MAX_PASSWORD + 1] {
        assert_eq!(Password::new("x".repeat(len)).err(), Some(PasswordError::Length { len }));
    }
    Ok(())
}

#[test]
fn nothing_secret_is_shown() -> Outcome {
    let hash = PasswordHash::new(&password("hush"), CHEAP)?;
    let shown = format!("{:?} {hash:?} {:?}", password("hush"), toka_auth::SharedSecret::new(&[0x68; 32])?);
    assert!(!shown.contains("hush") && !shown.contains("hhhh") && !shown.contains("$"), "{shown}");
    Ok(())
}
