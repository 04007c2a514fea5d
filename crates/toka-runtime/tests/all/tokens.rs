//! Operations that come with a token.

use std::time::Duration;

use toka_runtime::runtime::RuntimeError;
use toka_types::operation::Observation;
use toka_types::{Kind, OpId, Operation, Payload};

fn note(kind: &str) -> Operation {
    Operation::Observe(vec![Observation::new(Kind::new(kind).expect("a kind"), Payload::new(vec![0xc0]))])
}

fn op(n: u8) -> OpId {
    OpId([n; 16])
}

#[cfg(not(feature = "auth"))]
#[tokio::test(flavor = "multi_thread")]
async fn without_the_feature_nothing_is_accepted() {
    let test = crate::support::test_runtime().await;
    let issued = test.runtime.issue_token("operator", &[], Duration::from_secs(60)).await;
    assert!(matches!(issued, Err(RuntimeError::Feature("auth"))), "{issued:?}");
    let renewed = test.runtime.renew_token("a.b.c", Duration::from_secs(60)).await;
    assert!(matches!(renewed, Err(RuntimeError::Feature("auth"))), "{renewed:?}");
    for token in ["", "a.b.c"] {
        let refused = test.runtime.submit_with_token(token, op(1), note("x")).await;
        assert!(matches!(refused, Err(RuntimeError::Feature("auth"))), "{refused:?}");
    }
    let signed = toka_types::Digest::of(b"x");
    let refused = test.runtime.submit_with_proof("a.b.c", "x", signed, op(1), note("x")).await;
    assert!(matches!(refused, Err(RuntimeError::Feature("auth"))), "{refused:?}");
    assert_eq!(test.runtime.refused_tokens(), 3);
    assert_eq!(crate::support::count(&test.runtime, "x"), 0);
}

#[cfg(feature = "auth")]
mod with_auth {
    use std::sync::Arc;

    use serde_json::json;
    use toka_auth::{EdDsa, OperatorKey, TokenScheme};
    use toka_runtime::AgentError;
    use toka_runtime::runtime::RuntimeConfig;
    use toka_runtime::testing::TestRuntime;
    use toka_types::facts::Role;
    use toka_types::operation::{GrantTerms, ToolRequest};
    use toka_types::{Capability, EffectClass, EntityId, Name};

    use super::*;
    use crate::support::{Listener, Notes, count, kinds};

    const MINUTE: Duration = Duration::from_secs(60);

    fn scheme(seed: u8, audience: &str) -> Arc<dyn TokenScheme> {
        Arc::new(EdDsa::new(OperatorKey::from_seed(&[seed; 32]), audience).expect("a scheme"))
    }

    async fn with_alice(grant: &[&str]) -> TestRuntime {
        let with_scheme = |builder: toka_runtime::runtime::Builder| builder.token_scheme(scheme(1, "vault"));
        let test = TestRuntime::new(RuntimeConfig::default(), with_scheme).await.expect("a runtime");
        let alice = Listener::new("never", &Notes::default());
        test.runtime.register_agent_with("alice", alice, grant, None).await.expect("registered");
        test.run_until_idle().await;
        test
    }

    fn code(result: &Result<Vec<toka_runtime::Event>, RuntimeError>) -> String {
        match result {
            Ok(events) => format!("ok {}", events.len()),
            Err(RuntimeError::Token { code, .. }) => format!("token {code}"),
            Err(RuntimeError::Asked(AgentError::Denied { code, .. })) => format!("denied {code}"),
            Err(other) => other.to_string(),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_token_allows_grant_and_attenuation_together() {
        let test = with_alice(&["event:emit(kind=note.**)", "event:emit(kind=mail.**)"]).await;
        let full = test.runtime.issue_token("alice", &[], MINUTE).await.expect("a token");
        let narrow = ["event:emit(kind=note.**)", "event:emit(kind=other)"];
        let narrow = test.runtime.issue_token("alice", &narrow, MINUTE).await.expect("a token");
        let cases = [
            (&full, "note.a", "ok 1"),
            (&full, "mail.a", "ok 1"),
            (&full, "other", "denied capability.missing"),
            (&narrow, "note.b", "ok 1"),
            (&narrow, "mail.b", "token token-attenuated"),
            (&narrow, "other", "denied capability.missing"),
        ];
        for (n, (token, kind, expected)) in (0..).zip(cases) {
            let result = test.runtime.submit_with_token(token, op(n), note(kind)).await;
            assert_eq!(code(&result), expected, "{kind}");
        }
        assert_eq!(test.runtime.refused_tokens(), 1);
        assert_eq!(count(&test.runtime, "capability.denied"), 2, "a refused token is no event");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_person_acts_with_a_token_within_grant_and_role() {
        let test = with_alice(&["event:emit"]).await;
        let operator = test.runtime.issue_token("operator", &[], MINUTE).await.expect("a token");
        let emit: Capability = "event:emit(kind=note.*)".parse().expect("a capability");
        let ann = Name::new("ann").expect("a name");
        let grant = GrantTerms { uses: vec![emit], ..GrantTerms::default() };
        let member = Operation::CreateUser { name: ann, role: Role::Member, grant };
        let unknown = test.runtime.issue_token("ann", &[], MINUTE).await.expect_err("nobody of that name");
        assert!(unknown.to_string().contains("no person 'ann'"), "{unknown}");
        test.runtime.submit_with_token(&operator, op(1), member).await.expect("let in");
        let token = test.runtime.issue_token("ann", &[], MINUTE).await.expect("a token");
        let asked = async |n, kind| code(&test.runtime.submit_with_token(&token, op(n), note(kind)).await);
        assert_eq!(asked(2, "note.a").await, "ok 1");
        assert_eq!(asked(3, "other").await, "denied capability.missing");
        let observer = Operation::AssignRole { user: EntityId::named("ann"), role: Role::Observer };
        test.runtime.submit_with_token(&operator, op(4), observer).await.expect("allowed");
        assert_eq!(asked(5, "note.a").await, "denied role.insufficient");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_limit_is_counted_for_the_grant_and_for_each_token() {
        let test = with_alice(&["event:emit(kind=note.**,uses=4)"]).await;
        let full = test.runtime.issue_token("alice", &[], MINUTE).await.expect("a token");
        let limited = ["event:emit(kind=note.**,uses=1)"];
        let one = test.runtime.issue_token("alice", &limited, MINUTE).await.expect("a token");
        let other = test.runtime.issue_token("alice", &limited, MINUTE).await.expect("a token");
        let cases = [
            (&one, "other", "token token-attenuated"),
            (&one, "note.a", "ok 1"),
            (&one, "note.a", "denied capability.uses"),
            (&other, "note.a", "ok 1"),
            (&other, "note.a", "denied capability.uses"),
            (&full, "note.a", "ok 1"),
            (&full, "note.a", "ok 1"),
            (&full, "note.a", "denied capability.uses"),
        ];
        for (n, (token, kind, expected)) in (0..).zip(cases) {
            let result = test.runtime.submit_with_token(token, op(n), note(kind)).await;
            assert_eq!(code(&result), expected, "{n}");
        }
        for (token, n) in [(&one, 1), (&full, 5)] {
            let again = test.runtime.submit_with_token(token, op(n), note("note.a")).await;
            assert_eq!(code(&again), "ok 1", "a repeat is no use");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_renewed_token_has_no_more_uses_than_the_old_one_left() {
        let test = with_alice(&["event:emit"]).await;
        let limited = ["event:emit(kind=note.**,uses=2)"];
        let old = test.runtime.issue_token("alice", &limited, MINUTE * 10).await.expect("a token");
        assert_eq!(code(&test.runtime.submit_with_token(&old, op(1), note("note.a")).await), "ok 1");
        test.advance(MINUTE * 9).await;
        let new = test.runtime.renew_token(&old, MINUTE * 10).await.expect("renewed");
        let other = test.runtime.renew_token(&old, MINUTE * 10).await.expect("renewed");
        assert_eq!(code(&test.runtime.submit_with_token(&new, op(2), note("note.a")).await), "ok 1");
        // The old one's end does not end what was counted under it.
        test.advance(MINUTE * 5).await;
        for (n, token) in (3..).zip([&new, &other]) {
            let refused = test.runtime.submit_with_token(token, op(n), note("note.a")).await;
            assert_eq!(code(&refused), "denied capability.uses");
        }
        let newest = test.runtime.renew_token(&other, MINUTE * 10).await.expect("renewed");
        let refused = test.runtime.submit_with_token(&newest, op(5), note("note.a")).await;
        assert_eq!(code(&refused), "denied capability.uses");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_uses_asked_for_at_once_there_are_no_more_than_the_token_allows() {
        let test = Arc::new(with_alice(&["event:emit"]).await);
        let limited = ["event:emit(kind=note.**,uses=3)"];
        let token = test.runtime.issue_token("alice", &limited, MINUTE).await.expect("a token");
        let mut asking = tokio::task::JoinSet::new();
        for n in 0..16 {
            let (test, token) = (Arc::clone(&test), token.clone());
            asking.spawn(async move {
                code(&test.runtime.submit_with_token(&token, op(n), note("note.a")).await)
            });
        }
        let answers = asking.join_all().await;
        assert_eq!(answers.iter().filter(|answer| *answer == "ok 1").count(), 3, "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| *answer == "denied capability.uses").count(), 13);
        assert_eq!(count(&test.runtime, "note.a"), 3);
    }

    #[cfg(feature = "biscuit")]
    #[tokio::test(flavor = "multi_thread")]
    async fn a_biscuit_is_narrowed_by_its_holders_and_by_the_grant() {
        use toka_auth::biscuit::offline::attenuate;
        use toka_auth::{HolderKey, Narrowing, Operator};
        use toka_types::capability::CapabilitySet;

        let scheme = Arc::new(Operator::new(OperatorKey::from_seed(&[1; 32]), "vault").expect("a scheme"));
        let theirs = Arc::clone(&scheme);
        let with_scheme = |builder: toka_runtime::runtime::Builder| builder.token_scheme(theirs);
        let test = TestRuntime::new(RuntimeConfig::default(), with_scheme).await.expect("a runtime");
        let alice = Listener::new("never", &Notes::default());
        let grant = ["event:emit(kind=note.**)", "event:emit(kind=mail.**)"];
        test.runtime.register_agent_with("alice", alice, &grant, None).await.expect("registered");
        test.run_until_idle().await;
        let token = test.runtime.issue_token("alice", &["event:emit"], MINUTE).await.expect("a token");
        let only = |texts: &[&str]| Some(CapabilitySet::parse(texts).expect("a set"));
        let notes = Narrowing { only: only(&["event:emit(kind=note.**)"]), ..Narrowing::default() };
        let notes = attenuate(&token, &notes).expect("narrowed");
        let all =
            attenuate(&notes, &Narrowing { only: only(&["**"]), ..Narrowing::default() }).expect("narrowed");
        let ends = Some(test.runtime.now().saturating_add(MINUTE / 2));
        let short =
            attenuate(&token, &Narrowing { expires: ends, ..Narrowing::default() }).expect("narrowed");
        let holder = Some(HolderKey::from_seed(&[2; 32]).public());
        let bound = attenuate(&token, &Narrowing { holder, ..Narrowing::default() }).expect("narrowed");
        let cases = [
            (&token, "mail.a", "ok 1"),
            (&token, "other", "denied capability.missing"),
            (&notes, "note.a", "ok 1"),
            (&notes, "mail.a", "token token-attenuated"),
            (&all, "note.a", "ok 1"),
            (&all, "mail.a", "token token-attenuated"),
            (&short, "mail.a", "ok 1"),
            (&bound, "mail.a", "token token-proof-missing"),
        ];
        for (n, (token, kind, expected)) in (0..).zip(cases) {
            let result = test.runtime.submit_with_token(token, op(n), note(kind)).await;
            assert_eq!(code(&result), expected, "{n}: {kind}");
        }
        test.advance(MINUTE / 2).await;
        let late = test.runtime.submit_with_token(&short, op(90), note("mail.a")).await;
        assert_eq!(code(&late), "token token-expired");
        assert_eq!(code(&test.runtime.submit_with_token(&token, op(91), note("mail.a")).await), "ok 1");
    }

    /// A call as somebody outside asks for it.
    #[cfg(feature = "toolkit")]
    fn request(tool: &str, arguments: serde_json::Value) -> Operation {
        Operation::Request(ToolRequest {
            tool: Name::new(tool).expect("a name"),
            version: String::new(),
            // What the caller claims of the class and of the governed arguments counts for nothing.
            class: EffectClass::Pure,
            sink: toka_types::Sink::None,
            arguments: Payload::new(arguments.to_string().into_bytes()),
            governed: Vec::new(),
            traced: None,
            places: toka_types::place::Places::default(),
            bounds: toka_types::price::Usage::default(),
        })
    }

    /// A runtime, a token of alice's that is bound to a key, and what signs bytes for it with that key under a nonce.
    #[cfg(feature = "biscuit")]
    async fn bound(
        grant: &[&str],
    ) -> (TestRuntime, String, impl Fn(&TestRuntime, &str, &[u8], u8) -> String) {
        use toka_auth::{HolderKey, Narrowing, Operator, Proof};
        use toka_types::{Digest, nonce::Nonce};

        let scheme = Arc::new(Operator::new(OperatorKey::from_seed(&[1; 32]), "vault").expect("a scheme"));
        let with_scheme = |builder: toka_runtime::runtime::Builder| builder.token_scheme(scheme);
        let test = TestRuntime::new(RuntimeConfig::default(), with_scheme).await.expect("a runtime");
        let alice = Listener::new("never", &Notes::default());
        test.runtime.register_agent_with("alice", alice, grant, None).await.expect("registered");
        test.run_until_idle().await;
        let token = test.runtime.issue_token("alice", &[], MINUTE * 10).await.expect("a token");
        let key = HolderKey::from_seed(&[2; 32]);
        let holder = Some(key.public());
        let token =
            toka_auth::attenuate(&token, &Narrowing { holder, ..Narrowing::default() }).expect("bound");
        let sign = move |test: &TestRuntime, token: &str, bytes: &[u8], nonce: u8| {
            let (token, operation) = (Digest::of(token.as_bytes()), Digest::of(bytes));
            let ends = test.runtime.now().saturating_add(MINUTE);
            Proof::sign(&key, &token, &operation, "vault", Nonce([nonce; 16]), ends).to_string()
        };
        (test, token, sign)
    }

    #[cfg(feature = "biscuit")]
    #[tokio::test(flavor = "multi_thread")]
    async fn a_signature_is_good_for_one_operation_once() {
        let (test, token, sign) = bound(&["event:emit(kind=note.**)"]).await;
        let digest = |bytes: &[u8]| toka_types::Digest::of(bytes);
        let first = sign(&test, &token, b"one", 1);
        let submit = async |proof: &str, bytes: &[u8], n: u8, kind: &str| {
            code(&test.runtime.submit_with_proof(&token, proof, digest(bytes), op(n), note(kind)).await)
        };
        assert_eq!(submit(&first, b"one", 1, "note.a").await, "ok 1");
        // Captured and sent again, under the same number or another.
        assert_eq!(submit(&first, b"one", 1, "note.a").await, "denied nonce.replayed");
        assert_eq!(submit(&first, b"one", 2, "note.a").await, "denied nonce.replayed");
        assert_eq!(submit(&first, b"two", 2, "note.a").await, "token token-proof-invalid");
        assert_eq!(submit("nonsense", b"two", 2, "note.a").await, "token token-malformed");
        // What is signed anew under the same number is answered and not done again.
        let again = sign(&test, &token, b"one", 2);
        assert_eq!(submit(&again, b"one", 1, "note.a").await, "ok 1");
        assert_eq!(count(&test.runtime, "note.a"), 1);
        // A refusal uses the signature up too: a later grant does not bring it to life.
        let denied = sign(&test, &token, b"three", 3);
        assert_eq!(submit(&denied, b"three", 3, "mail.a").await, "denied capability.missing");
        assert_eq!(submit(&denied, b"three", 3, "note.b").await, "denied nonce.replayed");
        let old = sign(&test, &token, b"four", 4);
        test.advance(MINUTE).await;
        assert_eq!(submit(&old, b"four", 4, "note.c").await, "token token-proof-time");
        assert_eq!(count(&test.runtime, "note.b") + count(&test.runtime, "note.c"), 0);
    }

    #[cfg(all(feature = "biscuit", feature = "toolkit"))]
    #[tokio::test(flavor = "multi_thread")]
    async fn a_signed_call_is_made_once() {
        let (test, token, sign) = bound(&["tool:echo"]).await;
        let digest = toka_types::Digest::of(b"call");
        let call = || request("echo", json!({"text": "hello"}));
        let proof = |nonce| sign(&test, &token, b"call", nonce);
        let submit =
            async |proof: &str, n| test.runtime.submit_with_proof(&token, proof, digest, op(n), call()).await;
        let (one, two) = (proof(1), proof(2));
        let first = submit(&one, 1).await.expect("called");
        assert_eq!(first.last().expect("an outcome").kind, "tool.returned");
        assert_eq!(code(&submit(&one, 1).await), "denied nonce.replayed");
        assert_eq!(submit(&two, 1).await.expect("answered"), first);
        assert_eq!(code(&submit(&two, 1).await), "denied nonce.replayed");
        assert_eq!(code(&submit(&two, 2).await), "denied nonce.replayed");
        assert_eq!(count(&test.runtime, "tool.returned"), 1, "the call is not made again");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bad_tokens_are_counted_and_leave_no_event() {
        let test = with_alice(&["event:emit"]).await;
        let good = test.runtime.issue_token("alice", &[], MINUTE).await.expect("a token");
        let claims = scheme(1, "vault").verify(&good, test.runtime.now()).expect("valid").claims().clone();
        let (body, signature) = good.rsplit_once('.').expect("a token");
        let turned: String = signature.chars().rev().collect();
        let stranger = toka_auth::Claims { subject: EntityId::named("bob"), ..claims.clone() };
        let bad = [
            (String::new(), "token token-malformed"),
            (format!("{body}.{turned}"), "token token-signature"),
            (scheme(2, "vault").issue(&claims).expect("a token"), "token token-unknown-key"),
            (scheme(1, "elsewhere").issue(&claims).expect("a token"), "token token-audience"),
            (scheme(1, "vault").issue(&stranger).expect("a token"), "token token-grant"),
            ("x".repeat(9 << 10), "token token-too-large"),
        ];
        let before = kinds(&test.runtime).len();
        for (n, (token, expected)) in (0..).zip(&bad) {
            let result = test.runtime.submit_with_token(token, op(n), note("x")).await;
            let result = code(&result);
            assert!(result == *expected || n == 1 && result == "token token-malformed", "{n}: {result}");
        }
        let host_only =
            [Operation::EndTurn { upto: 5 }, Operation::OpenLog { capabilities: vec![Capability::all()] }];
        for operation in host_only {
            let result = test.runtime.submit_with_token(&good, op(90), operation).await;
            assert_eq!(code(&result), "token host.only");
        }
        assert_eq!(test.runtime.refused_tokens(), 8);
        assert_eq!(kinds(&test.runtime).len(), before);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn expiry_and_revocation_bite_with_the_next_operation() {
        let test = with_alice(&["event:emit"]).await;
        let token = test.runtime.issue_token("alice", &[], MINUTE).await.expect("a token");
        let other = test.runtime.issue_token("alice", &[], MINUTE * 10).await.expect("a token");
        assert_eq!(code(&test.runtime.submit_with_token(&token, op(1), note("x")).await), "ok 1");
        test.advance(MINUTE).await;
        let late = test.runtime.submit_with_token(&token, op(2), note("x")).await;
        assert_eq!(code(&late), "token token-expired");
        assert_eq!(code(&test.runtime.submit_with_token(&other, op(3), note("x")).await), "ok 1");
        let alice = EntityId::named("alice");
        let grant = test.runtime.world(move |w| w.agent(alice).map(|a| a.grant)).await.expect("a world");
        let grant = grant.expect("alice has one");
        test.runtime.operate(Operation::RevokeGrant(grant)).await.expect("revoked");
        let revoked = test.runtime.submit_with_token(&other, op(4), note("x")).await;
        assert_eq!(code(&revoked), "denied grant.revoked");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_token_is_renewed_while_it_and_its_grant_stand() {
        let test = with_alice(&["event:emit"]).await;
        let narrow = ["event:emit(kind=note.**)"];
        let token = test.runtime.issue_token("alice", &narrow, MINUTE * 10).await.expect("a token");
        let mut newest = token.clone();
        for n in 0..3 {
            test.advance(MINUTE * 8).await;
            newest = test.runtime.renew_token(&newest, MINUTE * 10).await.expect("renewed");
            assert_eq!(code(&test.runtime.submit_with_token(&newest, op(n), note("note.a")).await), "ok 1");
            let other = test.runtime.submit_with_token(&newest, op(90 + n), note("other")).await;
            assert_eq!(code(&other), "token token-attenuated");
        }
        let refused = |result: Result<String, RuntimeError>| code(&result.map(|_| Vec::new()));
        assert_eq!(refused(test.runtime.renew_token(&token, MINUTE).await), "token token-expired");
        assert_eq!(refused(test.runtime.renew_token(&newest, MINUTE * 16).await), "token token-too-long");
        // Not beyond a day.
        for _ in 0..190 {
            test.advance(MINUTE * 8).await;
            match test.runtime.renew_token(&newest, MINUTE * 10).await {
                Ok(next) => newest = next,
                Err(_) => break,
            }
        }
        assert!(test.runtime.renew_token(&newest, MINUTE * 10).await.is_err());

        let token = test.runtime.issue_token("alice", &[], MINUTE * 10).await.expect("a token");
        let alice = EntityId::named("alice");
        let grant = test.runtime.world(move |w| w.agent(alice).map(|a| a.grant)).await.expect("a world");
        test.runtime.operate(Operation::RevokeGrant(grant.expect("one"))).await.expect("revoked");
        assert_eq!(refused(test.runtime.renew_token(&token, MINUTE).await), "token grant.revoked");
    }

    #[cfg(feature = "biscuit")]
    #[tokio::test(flavor = "multi_thread")]
    async fn a_bound_token_is_renewed_by_whoever_has_its_key_once_for_each_signature() {
        let (test, token, sign) = bound(&["event:emit(kind=note.**)"]).await;
        let digest = |bytes: &[u8]| toka_types::Digest::of(bytes);
        let renewed = |result: Result<String, RuntimeError>| code(&result.map(|_| Vec::new()));
        let renew = async |proof: &str, bytes: &[u8]| {
            test.runtime.renew_token_with_proof(&token, proof, digest(bytes), MINUTE * 10).await
        };
        test.advance(MINUTE * 9).await;
        assert_eq!(renewed(test.runtime.renew_token(&token, MINUTE).await), "token token-proof-missing");
        let first = sign(&test, &token, b"terms", 1);
        assert_eq!(renewed(renew(&first, b"other terms").await), "token token-proof-invalid");
        let fresh = renew(&first, b"terms").await.expect("renewed");
        assert_eq!(renewed(renew(&first, b"terms").await), "denied nonce.replayed");
        // The fresh one is bound to the same key, and lives on when the old one is over.
        let bare = test.runtime.submit_with_token(&fresh, op(1), note("note.a")).await;
        assert_eq!(code(&bare), "token token-proof-missing");
        test.advance(MINUTE * 2).await;
        let late = sign(&test, &token, b"terms", 2);
        assert_eq!(renewed(renew(&late, b"terms").await), "token token-expired");
        let proof = sign(&test, &fresh, b"one", 3);
        let noted = test.runtime.submit_with_proof(&fresh, &proof, digest(b"one"), op(2), note("note.a"));
        assert_eq!(code(&noted.await), "ok 1");
        // What was signed for an operation renews nothing a second time, and a void grant nothing at all.
        let again = test.runtime.renew_token_with_proof(&fresh, &proof, digest(b"one"), MINUTE).await;
        assert_eq!(renewed(again), "denied nonce.replayed");
        let alice = EntityId::named("alice");
        let grant = test.runtime.world(move |w| w.agent(alice).map(|a| a.grant)).await.expect("a world");
        test.runtime.operate(Operation::RevokeGrant(grant.expect("one"))).await.expect("revoked");
        let proof = sign(&test, &fresh, b"terms", 4);
        let void = test.runtime.renew_token_with_proof(&fresh, &proof, digest(b"terms"), MINUTE).await;
        assert_eq!(renewed(void), "token grant.revoked");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_repeat_is_answered_and_not_done_again() {
        let test = with_alice(&["event:emit", "agent:spawn(max=1)"]).await;
        let token = test.runtime.issue_token("alice", &[], MINUTE).await.expect("a token");
        let first = test.runtime.submit_with_token(&token, op(1), note("x")).await.expect("recorded");
        let again = test.runtime.submit_with_token(&token, op(1), note("x")).await.expect("answered");
        assert_eq!(first, again);
        assert_eq!(count(&test.runtime, "x"), 1);
        // Another time of the same subject is another operation; another subject's is too.
        test.runtime.submit_with_token(&token, op(2), note("x")).await.expect("recorded");
        let operators = test.runtime.issue_token("operator", &[], MINUTE).await.expect("a token");
        test.runtime.submit_with_token(&operators, op(1), note("x")).await.expect("recorded");
        assert_eq!(count(&test.runtime, "x"), 3);
        // A bound that the first time used up does not refuse the repeat.
        let name = |n: u8| Name::new(&format!("child-{n}")).expect("a name");
        let spawn = |n| Operation::SpawnAgent {
            name: name(n),
            behaviour: name(0),
            grant: GrantTerms::default(),
            budget: None,
            quarantine: None,
        };
        let once = test.runtime.issue_token("alice", &["agent:spawn(max=1)"], MINUTE).await.expect("a token");
        assert_eq!(code(&test.runtime.submit_with_token(&once, op(7), spawn(1)).await), "ok 1");
        assert_eq!(code(&test.runtime.submit_with_token(&once, op(7), spawn(1)).await), "ok 1");
        let second = test.runtime.submit_with_token(&once, op(8), spawn(2)).await;
        assert_eq!(code(&second), "token token-attenuated");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_handed_on_is_within_the_attenuation() {
        let test = with_alice(&["event:emit"]).await;
        let token = ["agent:spawn", "event:emit(kind=a.**)"];
        let token = test.runtime.issue_token("operator", &token, MINUTE).await.expect("a token");
        let name = Name::new("child").expect("a name");
        let spawn = |capability: &str| Operation::SpawnAgent {
            name: name.clone(),
            behaviour: name.clone(),
            grant: GrantTerms { uses: vec![capability.parse().expect("one")], ..GrantTerms::default() },
            budget: None,
            quarantine: None,
        };
        for (n, capability) in (0..).zip(["tool:**", "event:emit", "**"]) {
            let refused = test.runtime.submit_with_token(&token, op(n), spawn(capability)).await;
            assert_eq!(code(&refused), "token token-attenuated", "{capability}");
        }
        let allowed = test.runtime.submit_with_token(&token, op(9), spawn("event:emit(kind=a.b)")).await;
        assert_eq!(code(&allowed), "ok 1");
        // What a child uses is not counted for the token, so what has limits there cannot be handed on.
        let limited = ["agent:spawn(uses=1)", "event:emit(kind=a.**)", "tool:echo(uses=2)"];
        let limited = test.runtime.issue_token("operator", &limited, MINUTE).await.expect("a token");
        let refused = test.runtime.submit_with_token(&limited, op(10), spawn("tool:echo(uses=1)")).await;
        let said = refused.as_ref().map_or_else(ToString::to_string, |_| String::new());
        assert_eq!(code(&refused), "token token-attenuated");
        assert!(
            said.ends_with("what has limits in a token cannot be handed on; limit the grant instead"),
            "{said}"
        );
        let other = Operation::StopAgent(EntityId::named("child"));
        test.runtime.operate(other).await.expect("stopped");
        let allowed = test.runtime.submit_with_token(&limited, op(11), spawn("event:emit(kind=a.b)")).await;
        assert_eq!(code(&allowed), "ok 1");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn tokens_need_a_scheme_an_agent_and_sound_capabilities() {
        let bare = crate::support::test_runtime().await;
        let issued = bare.runtime.issue_token("operator", &[], MINUTE).await;
        assert!(matches!(issued, Err(RuntimeError::Token { .. })), "{issued:?}");
        assert_eq!(
            code(&bare.runtime.submit_with_token("a.b.c", op(1), note("x")).await),
            "token token-no-scheme"
        );
        let test = with_alice(&["event:emit"]).await;
        for (agent, attenuation) in [("nobody", ""), ("alice", "not a capability")] {
            let attenuation: &[&str] = if attenuation.is_empty() { &[] } else { &[attenuation] };
            let issued = test.runtime.issue_token(agent, attenuation, MINUTE).await;
            assert!(matches!(issued, Err(RuntimeError::Token { .. })), "{agent}: {issued:?}");
        }
        let one = test.runtime.issue_token("alice", &[], MINUTE).await.expect("a token");
        let two = test.runtime.issue_token("alice", &[], MINUTE).await.expect("a token");
        assert_ne!(one, two, "every token has its own number");
    }

    #[cfg(feature = "toolkit")]
    #[tokio::test(flavor = "multi_thread")]
    async fn a_call_is_what_the_registry_makes_of_it() {
        let test = with_alice(&["tool:echo", "tool:fs.read(path=docs/**)"]).await;
        let token = test.runtime.issue_token("alice", &[], MINUTE).await.expect("a token");
        let path = json!({"path": "secret.txt"});
        let read = test.runtime.submit_with_token(&token, op(1), request("fs.read", path)).await;
        assert_eq!(code(&read), "denied capability.missing");
        let path = json!({"path": "docs/../../secret.txt"});
        let read = test.runtime.submit_with_token(&token, op(2), request("fs.read", path)).await;
        assert_eq!(code(&read), "denied capability.missing");
        let echo = || request("echo", json!({"text": "hello"}));
        let first = test.runtime.submit_with_token(&token, op(3), echo()).await.expect("called");
        assert_eq!(first.last().expect("an outcome").kind, "tool.returned");
        let again = test.runtime.submit_with_token(&token, op(3), echo()).await;
        assert_eq!(again.expect("answered"), first);
        assert_eq!(count(&test.runtime, "tool.returned"), 1, "the call is not made again");
        let none = test.runtime.submit_with_token(&token, op(4), request("none", json!({}))).await;
        assert!(none.is_err());
    }
}
