//! Delegation through tokens: no child is wider than its parent. `TOKA_CHAINS=10000` makes a long run.

use proptest::prelude::*;
use proptest::sample::select;
use toka_auth::biscuit::offline::attenuate;
use toka_auth::{Biscuit, Claims, Narrowing, TokenError, TokenScheme, Verified};
use toka_types::capability::{Argument, CapabilitySet, Request};
use toka_types::{OpId, Timestamp};

use crate::support::{NOW, claims, key, later, runs};

fn capability() -> impl Strategy<Value = String> {
    let path = select(["docs/**", "docs/a/**", "docs/a", "docs/*", "src/**", "**", "docs/a/b"].as_slice());
    let action = select(["fs.read", "fs.*", "**", "fs.write", "echo"].as_slice());
    prop_oneof![
        (action.clone(), path).prop_map(|(action, path)| format!("tool:{action}(path={path})")),
        action.prop_map(|action| format!("tool:{action}")),
        (0_u64..5).prop_map(|most| format!("agent:spawn(max={most})")),
        Just("**".to_owned()),
        Just("event:emit(kind=a.**)".to_owned()),
    ]
}

fn sets() -> impl Strategy<Value = Option<CapabilitySet>> {
    let set = prop::collection::vec(capability(), 0..4);
    prop::option::weighted(0.8, set.prop_map(|texts| CapabilitySet::parse(texts).unwrap_or_default()))
}

fn narrowings() -> impl Strategy<Value = Narrowing> {
    let narrowing = (sets(), prop::option::of(1_u64..2_000));
    narrowing.prop_map(|(only, ends)| Narrowing { only, expires: ends.map(later), ..Narrowing::default() })
}

fn requests() -> impl Strategy<Value = (String, String)> {
    let action = select(["fs.read", "fs.write", "echo", "fs.read.x"].as_slice());
    let path = select(["docs", "docs/a", "docs/a/b", "docs/c", "src/a", ""].as_slice());
    (action.prop_map(str::to_owned), path.prop_map(str::to_owned))
}

/// What a token allows of all that is asked, and until when.
fn power(token: &Verified, granted: &CapabilitySet, asked: &[(String, String)]) -> (Vec<bool>, Timestamp) {
    let mut allowed: Vec<bool> = asked
        .iter()
        .map(|(action, path)| {
            let arguments = [("path", Argument::Path(path))];
            token.allows(granted, &Request { resource: "tool", action, arguments: &arguments })
        })
        .collect();
    allowed.extend((0..5).map(|most| {
        let arguments = [("max", Argument::Number(most))];
        token.allows(granted, &Request { resource: "agent", action: "spawn", arguments: &arguments })
    }));
    (allowed, token.expires())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(runs("TOKA_CHAINS", 150)) })]

    #[test]
    fn no_child_is_wider_than_its_parent(
        granted in sets(),
        attenuation in sets(),
        steps in prop::collection::vec(narrowings(), 1..6),
        asked in prop::collection::vec(requests(), 8),
    ) {
        let granted = granted.unwrap_or_else(|| CapabilitySet::parse(["**"]).unwrap_or_default());
        let scheme = Biscuit::new(key(), "vault-1")?;
        let mut token = scheme.issue(&Claims { attenuation: attenuation.clone(), ..claims() })?;
        let mut parent = power(&scheme.verify(&token, NOW)?, &granted, &asked);
        // What it must come to, computed without tokens.
        let mut sets: Vec<CapabilitySet> = attenuation.into_iter().chain([granted.clone()]).collect();
        let mut ends = claims().expires;
        for step in steps {
            token = match attenuate(&token, &step) {
                Err(TokenError::CannotNarrow(_)) if step.is_empty() => continue,
                attenuated => attenuated?,
            };
            sets.extend(step.only);
            ends = step.expires.map_or(ends, |end| end.min(ends));
            let child = power(&scheme.verify(&token, NOW)?, &granted, &asked);
            for (child, parent) in child.0.iter().zip(&parent.0) {
                prop_assert!(parent | !child);
            }
            prop_assert!(child.1 <= parent.1);
            prop_assert_eq!(child.1, ends);
            parent = child;
        }
        let mut exact = sets[0].clone();
        for set in &sets[1..] {
            exact = exact.intersect(set)?;
        }
        for ((action, path), allowed) in asked.iter().zip(&parent.0) {
            let arguments = [("path", Argument::Path(path))];
            let request = Request { resource: "tool", action, arguments: &arguments };
            prop_assert_eq!(exact.allows(&request), *allowed);
        }

        // Renewed, it is as narrow as it was, and ends no later than its holders said.
        let at = Timestamp(ends.0 - 1);
        let terms = toka_auth::token::Renewal {
            at,
            ttl: toka_auth::token::DEFAULT_TTL,
            grant_ends: None,
            id: OpId::of(&[b"renewed"]),
            only: None,
        };
        if let Ok(renewed) = scheme.renew(&token, &terms) {
            let renewed = power(&scheme.verify(&renewed, at)?, &granted, &asked);
            prop_assert_eq!(&renewed.0, &parent.0);
            prop_assert!(ends == claims().expires || renewed.1 <= ends);
        }
    }
}
