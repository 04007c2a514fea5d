//! Biscuits under attack. Each attack is made with the Biscuit crate itself, or on the bytes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE as BASE64;
use biscuit_auth::format::schema;
use biscuit_auth::{Algorithm, BiscuitBuilder, BlockBuilder, KeyPair, PrivateKey, UnverifiedBiscuit};
use prost::Message;
use toka_auth::biscuit::{MAX_BLOCKS, offline};
use toka_auth::token::MAX_TOKEN;
use toka_auth::{
    Biscuit, Claims, HolderKey, KeyRing, Narrowing, OperatorKey, TokenError, TokenScheme, Verified, inspect,
};
use toka_types::capability::{Argument, Request};
use toka_types::{EntityId, GrantId, Timestamp};

use crate::support::{NOW, Outcome, SEED, claims, key, later, set};

fn scheme() -> Biscuit {
    Biscuit::new(key(), "vault-1").unwrap_or_else(|e| panic!("{e}"))
}

fn token() -> String {
    scheme().issue(&claims()).unwrap_or_else(|e| panic!("{e}"))
}

fn only(texts: &[&str]) -> Narrowing {
    Narrowing { only: Some(set(texts)), ..Narrowing::default() }
}

/// A token of two blocks.
fn narrow() -> String {
    offline::attenuate(&token(), &only(&["tool:fs.read(path=docs/**)"])).unwrap_or_else(|e| panic!("{e}"))
}

#[track_caller]
fn refused(token: &str, code: &str) {
    // Twice, so that remembering a verdict does not change it.
    let scheme = scheme();
    for _ in 0..2 {
        assert_eq!(scheme.verify(token, NOW).map_err(|e| e.code()), Err(code));
    }
}

fn reads(token: &Verified, path: &str) -> bool {
    let arguments = [("path", Argument::Path(path))];
    let request = Request { resource: "tool", action: "fs.read", arguments: &arguments };
    token.allows(&set(&["tool:fs.read(path=docs/**)"]), &request)
}

fn root(seed: &[u8; 32]) -> KeyPair {
    KeyPair::from(&PrivateKey::from_bytes(seed, Algorithm::Ed25519).unwrap_or_else(|e| panic!("{e}")))
}

/// Our key's id as a Biscuit has it.
fn named() -> u32 {
    let id = key().id().to_string();
    u32::from_str_radix(&id[..8], 16).unwrap_or_else(|e| panic!("{e}"))
}

/// The issuer's block as Datalog.
fn authority() -> String {
    let id = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    format!(
        "toka(1, null); issuer(hex:{}); subject(hex:{}); audience(\"vault-1\"); grant(7); number(hex:{}); \
         issued(2023-11-14T22:13:20Z); expires(2023-11-14T22:28:20Z);",
        id(&EntityId::operator().0),
        id(&EntityId::named("alice").0),
        id(&claims().id.0),
    )
}

/// A token with this first block, signed with our key.
fn signed(code: &str) -> Result<String, biscuit_auth::error::Token> {
    BiscuitBuilder::new().root_key_id(named()).code(code)?.build(&root(&SEED))?.to_base64()
}

/// Our token with this block behind, as anybody can append one.
fn with_block(token: &str, code: &str) -> Result<String, biscuit_auth::error::Token> {
    UnverifiedBiscuit::from_base64(token)?.append(BlockBuilder::new().code(code)?)?.to_base64()
}

/// Our token with a block of any bytes behind, signed as a holder signs it.
fn with_raw_block(token: &str, payload: &[u8]) -> Result<String, biscuit_auth::error::Format> {
    let mut outer = schema::Biscuit::decode(&bytes(token)[..]).unwrap_or_else(|e| panic!("{e}"));
    let Some(schema::proof::Content::NextSecret(secret)) = &outer.proof.content else {
        panic!("the token is sealed");
    };
    let (own, next) = (PrivateKey::from_bytes(secret, Algorithm::Ed25519)?, KeyPair::new());
    let before = outer.blocks.last().unwrap_or(&outer.authority).signature.clone();
    let message = [
        b"\0BLOCK\0\0VERSION\0\x01\0\0\0\0PAYLOAD\0",
        payload,
        b"\0ALGORITHM\0\0\0\0\0\0NEXTKEY\0",
        &next.public().to_bytes(),
        b"\0PREVSIG\0",
        &before,
    ];
    outer.blocks.push(schema::SignedBlock {
        block: payload.to_vec(),
        next_key: next.public().to_proto(),
        signature: KeyPair::from(&own).sign(&message.concat())?.to_bytes().to_vec(),
        external_signature: None,
        version: Some(1),
    });
    outer.proof.content = Some(schema::proof::Content::NextSecret(next.private().to_bytes().to_vec()));
    Ok(BASE64.encode(outer.encode_to_vec()))
}

fn bytes(token: &str) -> Vec<u8> {
    BASE64.decode(token).unwrap_or_else(|e| panic!("{e}"))
}

fn changed(token: &str, change: impl FnOnce(&mut schema::Biscuit)) -> String {
    let mut outer = schema::Biscuit::decode(&bytes(token)[..]).unwrap_or_else(|e| panic!("{e}"));
    change(&mut outer);
    BASE64.encode(outer.encode_to_vec())
}

#[test]
fn what_was_issued_is_verified() -> Outcome {
    let holder = HolderKey::from_seed(&[3; 32]).public();
    let full = Claims {
        not_before: Some(NOW),
        renewable_until: Some(later(5_000)),
        holder: Some(holder),
        attenuation: Some(set(&["tool:fs.read(path=docs/**)", "tool:echo"])),
        ..claims()
    };
    let nothing = Claims { attenuation: Some(set(&[])), ..claims() };
    for claims in [claims(), full, nothing] {
        let scheme = scheme();
        let token = scheme.issue(&claims)?;
        let first = scheme.verify(&token, NOW)?;
        assert_eq!((first.claims(), first.blocks()), (&claims, &[][..]));
        assert_eq!(scheme.verify(&token, NOW)?, first);
        let elsewhere = Biscuit::verifier(KeyRing::new([key().public()]), "vault-1")?;
        assert_eq!(elsewhere.verify(&token, NOW)?, first);
        assert!(matches!(elsewhere.issue(&claims), Err(TokenError::CannotIssue(_))));
        assert_eq!(inspect(&token)?.claims, claims);
    }
    // By hand it is the same.
    let verified = scheme().verify(&signed(&authority())?, NOW)?;
    assert_eq!(verified.claims(), &claims());
    Ok(())
}

#[test]
fn a_block_narrows_and_never_widens() -> Outcome {
    let scheme = scheme();
    let narrow = narrow();
    let verified = scheme.verify(&narrow, NOW)?;
    assert!(reads(&verified, "docs/a") && !reads(&verified, "src/a"));
    // Blocks that claim more take nothing back.
    let wide = offline::attenuate(
        &offline::attenuate(&narrow, &only(&["tool:fs.read(path=docs/a/**)"]))?,
        &only(&["**"]),
    )?;
    let verified = scheme.verify(&wide, NOW)?;
    assert!(reads(&verified, "docs/a/b") && !reads(&verified, "docs/b") && !reads(&verified, "src/a"));
    assert_eq!(verified.blocks().len(), 3);
    let none = scheme.verify(&offline::attenuate(&narrow, &only(&[]))?, NOW)?;
    assert!(!reads(&none, "docs/a"));

    let ends = |at| Narrowing { expires: Some(at), ..Narrowing::default() };
    let short = offline::attenuate(&narrow, &ends(later(60)))?;
    let longer = offline::attenuate(&short, &ends(later(86_400)))?;
    for token in [&short, &longer] {
        assert_eq!(scheme.verify(token, NOW)?.expires(), later(60));
        assert!(scheme.verify(token, Timestamp(later(60).0 - 1)).is_ok());
        assert_eq!(scheme.verify(token, later(60)).map_err(|e| e.code()), Err("token-expired"));
    }
    let later_end = scheme.verify(&offline::attenuate(&narrow, &ends(later(86_400)))?, NOW)?;
    assert_eq!(later_end.expires(), claims().expires);
    Ok(())
}

#[test]
fn time_audience_issuer_and_subject_are_the_issuers_alone() -> Outcome {
    let scheme = scheme();
    let begins = later(60);
    let waits = scheme.issue(&Claims { not_before: Some(begins), ..claims() })?;
    for (at, code) in [
        (begins.0 - 1, Some("token-not-yet-valid")),
        (begins.0, None),
        (claims().expires.0 - 1, None),
        (claims().expires.0, Some("token-expired")),
        (i64::MIN, Some("token-not-yet-valid")),
        (i64::MAX, Some("token-expired")),
    ] {
        assert_eq!(scheme.verify(&waits, Timestamp(at)).err().map(|e| e.code()), code, "{at}");
    }
    let elsewhere = Biscuit::new(key(), "vault-2")?.issue(&claims())?;
    refused(&elsewhere, "token-audience");
    refused(
        &signed(&authority().replace(&hex(&EntityId::operator()), &hex(&EntityId::named("alice"))))?,
        "token-issuer",
    );
    // Who holds a token cannot say again what its issuer said.
    for code in [
        "subject(hex:00112233445566778899aabbccddeeff)",
        "issuer(hex:00112233445566778899aabbccddeeff)",
        "audience(\"vault-2\")",
        "grant(1)",
        "number(hex:00112233445566778899aabbccddeeff)",
        "issued(2020-01-01T00:00:00Z)",
        "not_before(2020-01-01T00:00:00Z)",
        "until(2030-01-01T00:00:00Z)",
        "toka(1, null)",
    ] {
        refused(&with_block(&token(), &format!("{code};"))?, "token-malformed");
    }
    let before = Claims { expires: Timestamp(1), issued: Timestamp(-5_000_000), ..claims() };
    assert_eq!(scheme.issue(&before).map_err(|e| e.code()), Err("token-cannot-issue"));
    let grant = Claims { grant: GrantId(u64::MAX), ..claims() };
    assert_eq!(scheme.issue(&grant).map_err(|e| e.code()), Err("token-cannot-issue"));
    Ok(())
}

fn hex(id: &EntityId) -> String {
    id.to_string()
}

#[test]
fn what_is_not_understood_is_refused() -> Outcome {
    let first = authority();
    // In the issuer's own block, with the right key.
    for (from, to) in [
        ("toka(1, null);", "toka(2, null);"),
        ("toka(1, null);", "toka(1, null, 1);"),
        ("toka(1, null);", "toka(null);"),
        ("toka(1, null);", "taka(1, null);"),
        ("grant(7);", ""),
        ("grant(7);", "grant(-7);"),
        ("grant(7);", "grant(\"7\");"),
        ("grant(7);", "grant(7, 8);"),
        ("grant(7);", "grant(7); grant(8);"),
        ("grant(7);", "grant(7); admin(true);"),
        ("audience(\"vault-1\");", ""),
        ("audience(\"vault-1\");", "audience(hex:00);"),
        ("issued(2023-11-14T22:13:20Z);", ""),
        ("issued(2023-11-14T22:13:20Z);", "issued(1700000000);"),
        ("expires(2023-11-14T22:28:20Z);", ""),
        ("expires(2023-11-14T22:28:20Z);", "expires(2023-11-14T22:28:20Z); expires(2030-01-01T00:00:00Z);"),
        ("grant(7);", "grant(7); requires({hex:00, hex:01});"),
        ("grant(7);", "grant(7); holder(hex:0011);"),
        ("grant(7);", "grant(7); only({\"not a capability\"});"),
        ("grant(7);", "grant(7); only({1});"),
        ("grant(7);", "grant(7); only(\"tool:echo\");"),
    ] {
        assert!(first.contains(from));
        refused(&signed(&first.replace(from, to))?, "token-malformed");
    }
    // In a block that anybody may append.
    for code in [
        "check if grant(7);",
        "check if time($t), $t < 2030-01-01T00:00:00Z;",
        "reject if grant(8);",
        "only({\"**\"}) <- grant(7);",
        "check if grant(7) trusting previous;",
        "admin(true);",
        "only({\"tool:echo\"}); only({\"**\"});",
        "expires(2023-11-14T22:28:20Z); expires(2030-01-01T00:00:00Z);",
        "only({\"tool:fs.read(path=../**)\"});",
        "requires({\"everybody\"});",
        "requires({hex:00, hex:01});",
    ] {
        refused(&with_block(&token(), code)?, "token-malformed");
    }
    let context = BlockBuilder::new().context("only(\"tool:echo\")".to_owned());
    refused(&UnverifiedBiscuit::from_base64(token())?.append(context)?.to_base64()?, "token-malformed");
    let scoped = BlockBuilder::new().scope(biscuit_auth::builder::Scope::Previous);
    refused(&UnverifiedBiscuit::from_base64(token())?.append(scoped)?.to_base64()?, "token-malformed");
    refused(&BiscuitBuilder::new().code(authority())?.build(&root(&SEED))?.to_base64()?, "token-malformed");
    // Under signatures that are as good as any, a block of another time: with a member, or a version, that is not known.
    let block = schema::Block { version: Some(3), ..schema::Block::default() }.encode_to_vec();
    assert!(scheme().verify(&with_raw_block(&token(), &block)?, NOW).is_ok());
    refused(&with_raw_block(&token(), &[&block[..], &[0x4a, 0x01, 0x00]].concat())?, "token-malformed");
    refused(&with_raw_block(&token(), &[&block[..], &block[..]].concat())?, "token-malformed");
    refused(&with_raw_block(&token(), b"garbage")?, "token-malformed");
    for version in [None, Some(2), Some(7)] {
        let block = schema::Block { version, ..schema::Block::default() }.encode_to_vec();
        refused(&with_raw_block(&token(), &block)?, "token-malformed");
    }
    let default =
        schema::Block { symbols: vec!["read".to_owned()], version: Some(3), ..schema::Block::default() };
    refused(&with_raw_block(&token(), &default.encode_to_vec())?, "token-malformed");
    let again =
        schema::Block { symbols: vec!["grant".to_owned()], version: Some(3), ..schema::Block::default() };
    refused(&with_raw_block(&token(), &again.encode_to_vec())?, "token-malformed");
    // Standard tools may append what the vocabulary has.
    let narrow =
        with_block(&token(), "only({\"tool:fs.read(path=docs/a)\"}); expires(2023-11-14T22:14:20Z);")?;
    let verified = scheme().verify(&narrow, NOW)?;
    assert!(reads(&verified, "docs/a") && !reads(&verified, "docs/b"));
    assert_eq!(verified.expires(), later(60));
    Ok(())
}

#[test]
fn blocks_cannot_be_stripped_swapped_or_borrowed() -> Outcome {
    let wide = token();
    let two = offline::attenuate(&narrow(), &only(&["tool:fs.read(path=docs/a/**)"]))?;
    assert!(scheme().verify(&two, NOW).is_ok());
    // Without the last block, without the first of them, in another order, one of them twice.
    refused(&changed(&two, |t| drop(t.blocks.pop())), "token-signature");
    refused(&changed(&two, |t| drop(t.blocks.remove(0))), "token-signature");
    refused(&changed(&two, |t| t.blocks.clear()), "token-signature");
    refused(&changed(&two, |t| t.blocks.swap(0, 1)), "token-signature");
    refused(&changed(&two, |t| t.blocks.push(t.blocks[1].clone())), "token-signature");
    // With the secret of another token of the same issuer, and the other way round.
    let other = schema::Biscuit::decode(&bytes(&wide)[..])?;
    refused(
        &changed(&two, |t| {
            t.blocks.clear();
            t.proof = other.proof.clone();
        }),
        "token-signature",
    );
    refused(&changed(&two, |t| t.authority = other.authority.clone()), "token-signature");
    refused(&changed(&two, |t| t.proof = other.proof.clone()), "token-signature");
    let foreign = schema::Biscuit::decode(&bytes(&narrow())[..])?;
    refused(&changed(&two, |t| t.blocks[0] = foreign.blocks[0].clone()), "token-signature");
    // What the block says, exchanged under the signature.
    let wider = schema::Biscuit::decode(&bytes(&offline::attenuate(&token(), &only(&["**"]))?)[..])?;
    refused(&changed(&two, |t| t.blocks[1].block = wider.blocks[0].block.clone()), "token-signature");
    // A sealed token is a token, and nobody appends to it.
    let sealed = UnverifiedBiscuit::from_base64(narrow())?.seal()?.to_base64()?;
    assert!(scheme().verify(&sealed, NOW).is_ok());
    let appended = offline::attenuate(&sealed, &only(&["tool:echo"]));
    assert_eq!(appended.map_err(|e| e.code()), Err("token-cannot-narrow"));
    let cut = UnverifiedBiscuit::from_base64(&sealed)?.to_vec()?;
    refused(&changed(&BASE64.encode(cut), |t| drop(t.blocks.pop())), "token-signature");
    Ok(())
}

#[test]
fn another_key_or_algorithm_is_refused() -> Outcome {
    let stranger = Biscuit::new(OperatorKey::from_seed(&[8; 32]), "vault-1")?.issue(&claims())?;
    refused(&stranger, "token-unknown-key");
    refused(&changed(&stranger, |t| t.root_key_id = Some(named())), "token-signature");
    refused(&changed(&token(), |t| t.root_key_id = Some(1)), "token-unknown-key");
    refused(&changed(&token(), |t| t.root_key_id = None), "token-malformed");
    refused(&changed(&token(), |t| t.authority.signature = vec![0; 64]), "token-signature");
    refused(&changed(&token(), |t| t.authority.signature.truncate(63)), "token-signature");

    // Signed with the curve that we do not use, or handed on to it.
    let p256 = KeyPair::new_with_algorithm(Algorithm::Secp256r1);
    let built = || BiscuitBuilder::new().root_key_id(named()).code(authority());
    refused(&built()?.build(&p256)?.to_base64()?, "token-signature");
    let symbols = biscuit_auth::datalog::SymbolTable::new();
    refused(&built()?.build_with_key_pair(&root(&SEED), symbols, &p256)?.to_base64()?, "token-algorithm");
    let appended =
        UnverifiedBiscuit::from_base64(token())?.append_with_keypair(&p256, BlockBuilder::new())?;
    refused(&appended.to_base64()?, "token-algorithm");
    // Signatures of version 0 leave the block before out.
    refused(&signed(&authority().replace("toka(1, null)", "toka(1)"))?, "token-algorithm");
    refused(&changed(&token(), |t| t.authority.version = None), "token-algorithm");
    refused(&changed(&token(), |t| t.authority.version = Some(2)), "token-algorithm");
    refused(&changed(&narrow(), |t| t.blocks[0].version = Some(0)), "token-algorithm");
    refused(&changed(&token(), |t| t.authority.next_key.algorithm = 7), "token-algorithm");
    Ok(())
}

#[test]
fn every_byte_counts_and_there_is_one_text() -> Outcome {
    let scheme = scheme();
    let token = narrow();
    assert!(scheme.verify(&token, NOW).is_ok());
    for place in 0..token.len() {
        assert!(scheme.verify(&token[..place], NOW).is_err(), "cut at {place}");
        let mut text = token.clone().into_bytes();
        text[place] = if text[place] == b'A' { b'B' } else { b'A' };
        assert!(scheme.verify(&String::from_utf8(text)?, NOW).is_err(), "character {place}");
    }
    let bytes = bytes(&token);
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << bit;
            assert!(scheme.verify(&BASE64.encode(&flipped), NOW).is_err(), "byte {place}, bit {bit}");
        }
    }
    // Other texts that decoders like to accept.
    let unpadded = token.trim_end_matches('=');
    for text in [
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n"),
        format!("biscuit:{token}"),
        format!("{unpadded}===="),
        token.replace('-', "+").replace('_', "/") + "+",
        String::new(),
    ] {
        refused(&text, "token-malformed");
    }
    if unpadded.len() < token.len() {
        refused(unpadded, "token-malformed");
    }
    // A member that nobody knows, and one that is there twice.
    let mut longer = bytes.clone();
    longer.extend([0x32, 0x01, 0x00]);
    refused(&BASE64.encode(&longer), "token-malformed");
    let mut twice = bytes.clone();
    twice.extend([0x08, 0x01]);
    refused(&BASE64.encode(&twice), "token-malformed");
    Ok(())
}

#[test]
fn size_and_blocks_are_bounded() -> Outcome {
    refused(&"A".repeat(MAX_TOKEN + 4), "token-too-large");
    let many: Vec<String> = (0..200).map(|i| format!("tool:fs.read(path=some/longer/path/{i})")).collect();
    let many = set(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let issued = scheme().issue(&Claims { attenuation: Some(many.clone()), ..claims() });
    assert_eq!(issued.map_err(|e| e.code()), Err("token-too-large"));
    let narrowing = Narrowing { only: Some(many), ..Narrowing::default() };
    assert_eq!(offline::attenuate(&token(), &narrowing).map_err(|e| e.code()), Err("token-too-large"));

    let mut token = token();
    for _ in 0..MAX_BLOCKS {
        token = offline::attenuate(&token, &only(&["tool:echo"]))?;
    }
    assert!(scheme().verify(&token, NOW).is_ok());
    assert_eq!(offline::attenuate(&token, &only(&[])).map_err(|e| e.code()), Err("token-cannot-narrow"));
    refused(&with_block(&token, "only({\"tool:echo\"});")?, "token-malformed");
    assert_eq!(Biscuit::new(key(), "").map(|_| ()).map_err(|e| e.code()), Err("token-cannot-issue"));
    Ok(())
}

#[test]
fn a_third_party_signs_for_one_token_and_after_the_fact() -> Outcome {
    let scheme = scheme();
    let (auditor, other) = (HolderKey::from_seed(&[3; 32]), HolderKey::from_seed(&[4; 32]));
    let requires = |key: &HolderKey| Narrowing { requires: vec![key.public()], ..Narrowing::default() };
    let sign = |token: &str, key: &HolderKey, narrowing: &Narrowing| -> Result<String, TokenError> {
        let block = offline::third_party_block(&offline::third_party_request(token)?, key, narrowing)?;
        offline::append_third_party(token, &block)
    };
    let plain = Narrowing::default();
    let wanting = offline::attenuate(&narrow(), &requires(&auditor))?;
    refused(&wanting, "token-third-party");
    refused(&sign(&wanting, &other, &plain)?, "token-third-party");
    // A signature from before does not count.
    refused(
        &offline::attenuate(&sign(&narrow(), &auditor, &plain)?, &requires(&auditor))?,
        "token-third-party",
    );
    // Nor does one for another token, even one that says the same.
    let twin = offline::attenuate(&narrow(), &requires(&auditor))?;
    let request = offline::third_party_request(&twin)?;
    let block = offline::third_party_block(&request, &auditor, &plain)?;
    refused(&offline::append_third_party(&wanting, &block)?, "token-signature");

    let within = Narrowing {
        only: Some(set(&["tool:fs.read(path=docs/a/**)"])),
        expires: Some(later(60)),
        ..plain.clone()
    };
    let audited = scheme.verify(&sign(&wanting, &auditor, &within)?, NOW)?;
    assert_eq!(audited.blocks()[2].signer, Some(auditor.public()));
    assert!(reads(&audited, "docs/a") && !reads(&audited, "docs/b"));
    assert_eq!(audited.expires(), later(60));
    // It wants another one in turn.
    let both = sign(&wanting, &auditor, &requires(&other))?;
    refused(&both, "token-third-party");
    assert!(scheme.verify(&sign(&both, &other, &plain)?, NOW).is_ok());
    // It may be narrowed further, and is not renewed: the third party signed that one.
    let more = offline::attenuate(&sign(&wanting, &auditor, &plain)?, &only(&["tool:echo"]))?;
    assert!(scheme.verify(&more, NOW).is_ok());
    let terms = toka_auth::token::Renewal {
        at: NOW,
        ttl: toka_auth::token::DEFAULT_TTL,
        grant_ends: None,
        id: claims().id,
        only: None,
    };
    assert_eq!(scheme.renew(&more, &terms).map_err(|e| e.code()), Err("token-cannot-issue"));

    // Of the other curve, and garbage that must not stop the program.
    let p256 = KeyPair::new_with_algorithm(Algorithm::Secp256r1);
    let request = UnverifiedBiscuit::from_base64(&wanting)?.third_party_request()?;
    let block = request.create_block(&p256.private(), BlockBuilder::new())?.serialize_base64()?;
    refused(&offline::append_third_party(&wanting, &block)?, "token-algorithm");
    let jwt = toka_auth::EdDsa::new(key(), "vault-1")?.issue(&claims())?;
    assert_eq!(offline::attenuate(&jwt, &only(&[])).map_err(|e| e.code()), Err("token-cannot-narrow"));
    let token = token();
    for bad in ["", "AA==", "x", &token, &"A".repeat(MAX_TOKEN + 4)] {
        assert!(offline::append_third_party(&wanting, bad).is_err(), "{bad}");
        assert!(offline::third_party_block(bad, &auditor, &plain).is_err(), "{bad}");
        if bad != token {
            assert!(offline::attenuate(bad, &only(&[])).is_err(), "{bad}");
            assert!(offline::third_party_request(bad).is_err(), "{bad}");
        }
    }
    assert_eq!(offline::attenuate(&token, &plain).map_err(|e| e.code()), Err("token-cannot-narrow"));
    Ok(())
}

#[test]
fn a_bound_token_is_handed_on_by_its_holder_alone() -> Outcome {
    let scheme = scheme();
    let (alice, bob) = (HolderKey::from_seed(&[3; 32]), HolderKey::from_seed(&[4; 32]));
    let bound = scheme.issue(&Claims { holder: Some(alice.public()), ..claims() })?;
    let to_bob = Narrowing { holder: Some(bob.public()), ..Narrowing::default() };
    // Whoever finds it can append to it, and not bind it to another key.
    assert_eq!(offline::attenuate(&bound, &to_bob).map_err(|e| e.code()), Err("token-cannot-narrow"));
    assert_eq!(
        offline::hand_on(&bound, &bob, bob.public()).map_err(|e| e.code()),
        Err("token-cannot-narrow")
    );
    let hex: String = bob.public().as_bytes().iter().map(|b| format!("{b:02x}")).collect();
    refused(&with_block(&bound, &format!("holder(hex:{hex});"))?, "token-handed-on");
    let request = offline::third_party_request(&bound)?;
    let forged = offline::third_party_block(&request, &bob, &to_bob)?;
    refused(&offline::append_third_party(&bound, &forged)?, "token-handed-on");

    let handed = offline::hand_on(&bound, &alice, bob.public())?;
    assert_eq!(scheme.verify(&handed, NOW)?.holder(), Some(&bob.public()));
    let narrower = offline::attenuate(&handed, &only(&["tool:echo"]))?;
    assert_eq!(scheme.verify(&narrower, NOW)?.holder(), Some(&bob.public()));
    // It is bob's now; and a token that nobody holds can be bound by anybody who has it.
    refused(
        &offline::append_third_party(
            &handed,
            &offline::third_party_block(
                &offline::third_party_request(&handed)?,
                &alice,
                &Narrowing { holder: Some(alice.public()), ..Narrowing::default() },
            )?,
        )?,
        "token-handed-on",
    );
    let free = offline::attenuate(&token(), &to_bob)?;
    assert_eq!(scheme.verify(&free, NOW)?.holder(), Some(&bob.public()));
    Ok(())
}
