//! What enters the process: operations under a token, signed and not, on a vault that nobody runs on and through the socket of
//! one that runs.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::time::Duration;

use serde_json::{Value, json};
use toka_auth::{HolderKey, Proof};
use toka_types::nonce::Nonce;
use toka_types::{Digest, Timestamp};

use crate::authority::{listening, now, submit};
use crate::toka::{Place, text};

/// A vault with an agent `bot` that may take notes, and a key of its holder's in a file.
fn with_bot() -> (Place, String) {
    let place = Place::with_docs();
    place.ok("init");
    place.ok("agents create bot --behaviour Logger --grant event:emit(kind=note.**) --grant tool:echo");
    let key = text(&place.answer("cap key holder.key")["key"]);
    (place, key)
}

fn note(place: &Place, kind: &str) -> String {
    submit(place, &json!({"op": "event.emit", "kind": kind, "content": "hello"}))
}

fn token(place: &Place, arguments: &str) -> String {
    text(&place.answer(&format!("cap issue bot {arguments}"))["token"])
}

fn refused(place: &Place, arguments: &str, code: &str) {
    let error = place.fails(3, arguments);
    assert!(text(&error["message"]).contains(&format!("({code})")), "{arguments}: {error}");
}

fn end(mut running: Child) {
    rustix::process::kill_process(rustix::process::Pid::from_child(&running), rustix::process::Signal::TERM)
        .expect("it runs");
    assert!(running.wait().expect("it ends").success());
}

/// The same must hold on a vault that nobody runs on, and through the socket.
fn a_holder_acts(place: &Place, key: &str) {
    let (bearer, bound) = (token(place, ""), token(place, &format!("--holder {key}")));
    place.ok("cap key other.key");
    let noted = place.answer(&format!("{} --token {bearer}", note(place, "note.a")));
    assert_eq!(noted["events"][0]["kind"], "note.a");
    assert_eq!(text(&noted["op_id"]).len(), 32);
    let shown = place.answer_of(&format!("events show {}", text(&noted["events"][0]["id"])));
    assert_eq!(shown["author"], "bot", "the token's subject and not the operator");
    let signed = place.answer(&format!("{} --token {bound} --key-file holder.key", note(place, "note.b")));
    assert_eq!(signed["events"][0]["kind"], "note.b");

    refused(place, &format!("{} --token {bound}", note(place, "note.b")), "token-proof-missing");
    let other = format!("{} --token {bound} --key-file other.key", note(place, "note.b"));
    refused(place, &other, "token-proof-invalid");
    let beyond = format!("{} --token {bound} --key-file holder.key", note(place, "mail.a"));
    refused(place, &beyond, "capability.missing");
    let narrow = token(place, "--only event:emit(kind=note.x)");
    refused(place, &format!("{} --token {narrow}", note(place, "note.a")), "token-attenuated");
    refused(place, &format!("{} --token {}x", note(place, "note.a"), bearer), "token-malformed");

    // Sent again under its id it is answered, and not done again.
    let again = format!("{} --token {bearer} --op-id {}", note(place, "note.once"), "0a".repeat(16));
    let first = place.answer(&again);
    assert_eq!(place.answer(&again)["events"], first["events"]);
    assert_eq!(place.list("events list --kind note.once").len(), 1);
    let by_operator = format!("{} --op-id {}", note(place, "note.twice"), "0b".repeat(16));
    assert_eq!(place.answer(&by_operator)["events"], place.answer(&by_operator)["events"]);

    // A call is made, once.
    let call = json!({"op": "tool.call", "tool": "echo", "arguments": {"text": "hello"}});
    let call = format!("{} --op-id {}", submit(place, &call), "0c".repeat(16));
    for by in ["", &format!(" --token {bound} --key-file holder.key")] {
        let called = place.answer(&format!("{call}{by}"));
        assert_eq!(
            called["events"].as_array().and_then(|all| all.last()).expect("some")["kind"],
            "tool.returned"
        );
        assert_eq!(place.answer(&format!("{call}{by}"))["events"], called["events"]);
    }
}

#[test]
fn a_holder_acts_on_a_vault_that_nobody_runs_on() {
    let (place, key) = with_bot();
    a_holder_acts(&place, &key);
    assert_eq!(place.list("events list --kind tool.returned").len(), 2);
    place.fails(2, "op submit - --token -");
    place.fails(2, "op submit operation.json --key-file holder.key");
    place.fails(2, "op submit operation.json --op-id 12");
    place.fails(2, &format!("op submit operation.json --token {} --key-file none.key", token(&place, "")));
    let bearer = token(&place, "");
    place.ok("cap revoke 2");
    refused(&place, &format!("{} --token {bearer}", note(&place, "note.a")), "grant.revoked");
    assert_eq!(place.answer("replay")["matches"], json!(true));
}

#[test]
fn a_holder_acts_through_the_socket() {
    let (place, key) = with_bot();
    let before = token(&place, "");
    let running = place.start("up docs");
    listening(&place);
    place.ok(&format!("{} --token {before}", note(&place, "note.z")));
    a_holder_acts(&place, &key);
    place.ok("cap revoke 2");
    refused(&place, &format!("{} --token {before}", note(&place, "note.a")), "grant.revoked");
    end(running);
    assert_eq!(place.answer("verify")["ok"], json!(true));
}

/// A connection to the socket, and what signs lines for it.
struct Wire {
    stream: BufReader<UnixStream>,
    key: HolderKey,
    token: String,
    audience: String,
    nonce: u8,
}

impl Wire {
    fn new(place: &Place, token: String) -> Self {
        let stream = UnixStream::connect(place.vault().join("socket")).expect("somebody listens");
        let key = HolderKey::load(&place.path().join("holder.key")).expect("a key");
        let audience = text(&place.answer(&format!("cap show {token}"))["audience"]);
        Self { stream: BufReader::new(stream), key, token, audience, nonce: 0 }
    }

    /// A line with a new nonce.
    fn signed(&mut self, order: &str) -> String {
        self.nonce += 1;
        let end = Timestamp(now()).saturating_add(Duration::from_secs(60));
        let (token, order_digest) = (Digest::of(self.token.as_bytes()), Digest::of(order.as_bytes()));
        let nonce = Nonce([self.nonce; 16]);
        let proof = Proof::sign(&self.key, &token, &order_digest, &self.audience, nonce, end).to_string();
        json!({"v": 1, "token": self.token, "proof": proof, "order": order}).to_string()
    }

    /// Sends a line, and takes what is answered.
    fn ask(&mut self, line: &str) -> Value {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).expect("it listens");
        let mut answer = String::new();
        self.stream.read_line(&mut answer).expect("an answer");
        serde_json::from_str(&answer).expect("JSON")
    }

    /// Sends a line; the kinds of the events or the code of the refusal.
    fn send(&mut self, line: &str) -> String {
        let answer = self.ask(line);
        match answer["events"].as_array() {
            Some(events) => events.iter().map(|event| text(&event["kind"])).collect::<Vec<_>>().join(" "),
            None => text(&answer["error"]["code"]),
        }
    }
}

fn order(op_id: u8, kind: &str) -> String {
    json!({"op_id": format!("{op_id:02x}").repeat(16), "operation": {"op": "event.emit", "kind": kind}})
        .to_string()
}

#[test]
fn what_was_signed_is_good_once_whatever_becomes_of_it() {
    let (place, key) = with_bot();
    let bound = token(&place, &format!("--holder {key}"));
    let narrow = token(&place, &format!("--holder {key} --only event:emit(kind=note.x)"));
    let running = place.start("up docs");
    listening(&place);
    let mut wire = Wire::new(&place, bound);

    let accepted = wire.signed(&order(1, "note.a"));
    assert_eq!(wire.send(&accepted), "note.a");
    assert_eq!(wire.send(&accepted), "nonce.replayed");
    // Signed anew under the same id it is answered, and not done again.
    let retried = wire.signed(&order(1, "note.a"));
    assert_eq!(wire.send(&retried), "note.a");
    assert_eq!(place.list("events list --kind note.a").len(), 1);

    // Refused while the agent is suspended, captured, and sent again once it is not.
    place.ok(&submit(&place, &json!({"op": "agent.suspend", "agent": "bot"})));
    let captured = wire.signed(&order(2, "note.b"));
    assert_eq!(wire.send(&captured), "agent.suspended");
    place.ok(&submit(&place, &json!({"op": "agent.resume", "agent": "bot"})));
    assert_eq!(wire.send(&captured), "nonce.replayed");
    // So is what the kernel is not even asked.
    for (asked, code) in [
        (json!({"op_id": "03".repeat(16), "operation": {"op": "tool.call", "tool": "nothing"}}), "unknown"),
        (
            json!({"op_id": "04".repeat(16), "operation": {"op": "tool.call", "tool": "echo", "version": "x"}}),
            "invalid",
        ),
    ] {
        let line = wire.signed(&asked.to_string());
        assert_eq!(wire.send(&line), code);
        assert_eq!(wire.send(&line), "nonce.replayed");
    }
    let mut narrowed = Wire { nonce: 100, ..Wire::new(&place, narrow) };
    let line = narrowed.signed(&order(5, "note.a"));
    assert_eq!(narrowed.send(&line), "token-attenuated");
    assert_eq!(narrowed.send(&line), "nonce.replayed");

    // What was changed is another thing than what was signed.
    let line = wire.signed(&order(6, "note.c"));
    assert_eq!(wire.send(&line.replace("note.c", "note.d")), "token-proof-invalid");
    let twice = r#"{"op_id": "07070707070707070707070707070707", "operation": {"op": "event.emit", "kind": "note.e", "kind": "note.f"}}"#;
    let line = wire.signed(twice);
    assert_eq!(wire.send(&line), "invalid");
    let both =
        json!({"v": 1, "token": "x", "order": "{}", "operation": {"op": "event.emit", "kind": "note.g"}});
    for line in [
        "nonsense",
        "{}",
        r#"{"v": 1}"#,
        r#"{"v": 2, "operation": {"op": "event.emit", "kind": "note.g"}}"#,
        &both.to_string(),
    ] {
        assert_eq!(wire.send(line), "invalid", "{line}");
    }
    let kinds: Vec<String> = place.list("events list --kind note").iter().map(|e| text(&e["kind"])).collect();
    assert_eq!(kinds, ["note.a"], "nothing else has happened");
    end(running);
    // A restart forgets nothing.
    let running = place.start("up docs");
    listening(&place);
    let mut wire = Wire::new(&place, wire.token);
    assert_eq!(
        (wire.send(&accepted), wire.send(&captured)),
        ("nonce.replayed".to_owned(), "nonce.replayed".to_owned())
    );
    end(running);
}

#[test]
fn keys_change_while_a_runtime_runs() {
    let (place, _) = with_bot();
    let running = place.start("up docs");
    listening(&place);
    let old = token(&place, "");
    let rotated = place.answer("cap rotate --overlap 3600");
    assert_ne!(rotated["key"], rotated["retired"]);
    let new = token(&place, "");
    for token in [&old, &new] {
        place.ok(&format!("{} --token {token}", note(&place, "note.a")));
        place.ok(&format!("cap verify {token}"));
    }
    // Without an overlap nothing that the key signed is accepted any more, at once.
    place.ok("cap rotate --overlap 0");
    refused(&place, &format!("{} --token {new}", note(&place, "note.a")), "token-retired-key");
    refused(&place, &format!("cap verify {new}"), "token-retired-key");
    place.ok(&format!("{} --token {old}", note(&place, "note.a")));
    end(running);
    // The snapshot that the old key authenticates is not believed, and the world is the same.
    assert_eq!(place.answer("replay")["matches"], json!(true));
    place.ok(&note(&place, "note.b"));
}

#[test]
fn a_token_is_renewed_signed_by_a_third_party_and_handed_on() {
    let (place, key) = with_bot();
    let narrow = token(&place, "--ttl 60 --only event:emit(kind=note.a)");
    let renewed = text(&place.answer(&format!("cap renew {narrow} --ttl 600"))["token"]);
    let (before, after) =
        (place.answer(&format!("cap verify {narrow}")), place.answer(&format!("cap verify {renewed}")));
    assert!(text(&before["expires"]) < text(&after["expires"]));
    assert_eq!(before["only"], after["only"]);

    let auditor = text(&place.answer("cap key auditor.key")["key"]);
    assert_eq!(place.answer("cap key auditor.key")["created"], json!(false));
    let wanting = text(&place.answer(&format!("cap attenuate {narrow} --require {auditor}"))["token"]);
    refused(&place, &format!("cap verify {wanting}"), "token-third-party");
    let request = text(&place.answer(&format!("cap request {wanting}"))["request"]);
    let block =
        place.answer(&format!("cap sign {request} --key-file auditor.key --only event:emit(kind=note.**)"));
    let audited = text(&place.answer(&format!("cap append {wanting} {}", text(&block["block"])))["token"]);
    let checked = place.answer(&format!("cap verify {audited}"));
    assert_eq!(checked["only"], json!([["event:emit(kind=note.a)"], ["event:emit(kind=note.**)"]]));
    place.ok(&format!("{} --token {audited}", note(&place, "note.a")));
    // A block for one token is good behind no other.
    let other = text(&place.answer(&format!("cap attenuate {renewed} --require {auditor}"))["token"]);
    let forged = text(&place.answer(&format!("cap append {other} {}", text(&block["block"])))["token"]);
    refused(&place, &format!("cap verify {forged}"), "token-signature");
    let error = place.fails(2, &format!("cap renew {audited}"));
    assert!(text(&error["message"]).contains("third party"), "{error}");

    let bound = token(&place, &format!("--holder {key}"));
    let handed = format!("cap hand-on {bound} --key-file holder.key --holder {auditor}");
    let handed = text(&place.answer(&handed)["token"]);
    place.ok(&format!("{} --token {handed} --key-file auditor.key", note(&place, "note.b")));
    let late = format!("{} --token {handed} --key-file holder.key", note(&place, "note.b"));
    refused(&place, &late, "token-proof-invalid");
    place.fails(2, &format!("cap hand-on {bound} --key-file auditor.key --holder {auditor}"));
    std::fs::set_permissions(place.path().join("holder.key"), Permissions::from_mode(0o644)).expect("a file");
    let error = place.fails(1, "cap key holder.key");
    assert!(text(&error["message"]).contains("chmod 600"), "{error}");
}

/// The same must hold on a vault that nobody runs on, and through the socket.
fn a_holder_renews(place: &Place, key: &str) {
    place.ok("cap key stranger.key");
    let only = "--only event:emit(kind=note.**,uses=3)";
    for (bound, by) in [("", ""), (&*format!("--holder {key}"), "--key-file holder.key")] {
        let old = token(place, &format!("{only} --ttl 60 {bound}"));
        place.ok(&format!("{} --token {old} {by}", note(place, "note.r")));
        let renewed = place.answer(&format!("cap renew {old} --ttl 600 {by}"));
        let renewed = text(&renewed["token"]);
        let narrow = format!("cap renew {renewed} {by} --only event:emit(kind=note.a)");
        let narrow = text(&place.answer(&narrow)["token"]);
        let (before, after) =
            (place.answer(&format!("cap verify {old}")), place.answer(&format!("cap verify {renewed}")));
        assert!(text(&before["expires"]) < text(&after["expires"]));
        let same = ["subject", "grant", "only", "limits", "holder"];
        assert_eq!(same.map(|field| &before[field]), same.map(|field| &after[field]));
        // What was used is used, whichever of them is shown.
        refused(place, &format!("{} --token {narrow} {by}", note(place, "note.b")), "token-attenuated");
        place.ok(&format!("{} --token {narrow} {by}", note(place, "note.a")));
        place.ok(&format!("{} --token {old} {by}", note(place, "note.b")));
        for token in [&old, &renewed, &narrow] {
            let line = format!("{} --token {token} {by}", note(place, "note.a"));
            refused(place, &line, "capability.uses");
        }
        if !bound.is_empty() {
            refused(place, &format!("cap renew {old}"), "token-proof-missing");
            refused(place, &format!("cap renew {old} --key-file stranger.key"), "token-proof-invalid");
        }
    }
    let full = token(place, "");
    place.fails(2, &format!("cap renew {full} --ttl 0"));
    place.fails(2, &format!("cap renew {full} --only nonsense("));
    refused(place, &format!("cap renew {full}x"), "token-malformed");
    let brief = token(place, "--ttl 1");
    while place.run(&format!("cap verify {brief}")).code == Some(0) {
        std::thread::sleep(Duration::from_millis(50));
    }
    refused(place, &format!("cap renew {brief}"), "token-expired");
    place.ok("cap revoke 2");
    refused(place, &format!("cap renew {full}"), "grant.revoked");
}

#[test]
fn a_holder_renews_on_a_vault_that_nobody_runs_on() {
    let (place, key) = with_bot();
    a_holder_renews(&place, &key);
    assert_eq!(place.answer("replay")["matches"], json!(true));
}

#[test]
fn a_holder_renews_through_the_socket() {
    let (place, key) = with_bot();
    let running = place.start("up docs");
    listening(&place);
    a_holder_renews(&place, &key);
    end(running);
    assert_eq!(place.answer("replay")["matches"], json!(true));
}

#[test]
fn a_renewal_is_asked_for_in_a_line_of_its_own() {
    let (place, key) = with_bot();
    let bound = token(&place, &format!("--holder {key}"));
    let running = place.start("up docs");
    listening(&place);
    let mut wire = Wire::new(&place, bound.clone());
    let signed = wire.signed("{\"ttl\": 600}").replace("\"order\"", "\"renewal\"");
    let fresh = wire.ask(&signed);
    assert_eq!(wire.ask(&signed)["error"]["code"], "nonce.replayed");
    let fresh = text(&fresh["token"]);
    assert_eq!(place.answer(&format!("cap verify {fresh}"))["holder"], json!(key));
    // What is signed for a renewal is no order, and what is signed for an order renews nothing.
    let swapped = wire.signed("{\"ttl\": 600}");
    assert_eq!(wire.send(&swapped), "invalid");
    let swapped = wire.signed(&order(1, "note.a")).replace("\"order\"", "\"renewal\"");
    assert_eq!(wire.send(&swapped), "invalid");
    let both = json!({"v": 1, "token": bound, "order": "{}", "renewal": "{\"ttl\": 600}"});
    for line in [
        both,
        json!({"v": 1, "token": bound}),
        json!({"v": 1, "renewal": "{\"ttl\": 600}"}),
        json!({"v": 1, "token": bound, "renewal": "{\"ttl\": 600, \"ttl\": 900}"}),
        json!({"v": 1, "token": bound, "renewal": "{\"ttl\": 600, \"more\": 1}"}),
        json!({"v": 1, "token": bound, "renewal": "{\"ttl\": -1}"}),
    ] {
        assert_eq!(wire.send(&line.to_string()), "invalid", "{line}");
    }
    end(running);
}

/// One token, shown by several processes at once: so many uses as it says, and not one more, whatever happens between.
#[test]
fn limits_of_a_token_hold_for_all_who_show_it_and_through_restarts() {
    let (place, _) = with_bot();
    let whole = token(&place, "");
    let limited = "cap attenuate {whole} --only event:emit(kind=note.**,uses=5) --only tool:echo(uses=1)";
    let limited = text(&place.answer(&limited.replace("{whole}", &whole))["token"]);
    let further = format!("cap attenuate {limited} --only event:emit(kind=note.a)");
    let further = text(&place.answer(&further)["token"]);
    let call = json!({"op": "tool.call", "tool": "echo", "arguments": {"text": "hello"}});
    let call = || format!("{} --token {limited}", submit(&place, &call));
    let left = || place.answer(&format!("cap verify {further}"))["limits"][0]["left"].clone();
    assert_eq!(left(), 5);
    place.ok(&format!("{} --token {further}", note(&place, "note.a")));

    let running = place.start("up docs");
    listening(&place);
    let line = format!("{} --token {limited}", note(&place, "note.b"));
    let mut codes: Vec<Option<i32>> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..6).map(|_| scope.spawn(|| place.run(&line).code)).collect();
        asked.into_iter().map(|asked| asked.join().expect("it ends")).collect()
    });
    codes.sort_unstable();
    assert_eq!(codes, [0, 0, 0, 0, 3, 3].map(Some));
    place.ok(&call());
    end(running);

    // On the stopped vault, and under a token that replaces it, nothing is left.
    assert_eq!(left(), 0);
    let renewed = text(&place.answer(&format!("cap renew {limited}"))["token"]);
    let shown = place.answer(&format!("cap show {renewed}"));
    assert_eq!(shown["metered"][0]["only"], json!(["event:emit(kind=note.**,uses=5)", "tool:echo(uses=1)"]));
    for by in [&limited, &further, &renewed] {
        refused(&place, &format!("{} --token {by}", note(&place, "note.a")), "capability.uses");
    }
    refused(&place, &call(), "capability.uses");
    let said = place.answer("cap explain capability.uses");
    assert_eq!(said["refusals"][0]["of_token"], json!(true), "{said}");
    assert_eq!(said["refusals"][0]["allowed_now"], json!(false), "{said}");
    let shown = place.ok("cap explain capability.uses").stdout;
    assert!(shown.contains("\n  allowed again: never, with that token\n"), "{shown}");
    // The grant itself and another token of it have no limit.
    let sibling = format!("cap attenuate {whole} --only event:emit(kind=note.**,uses=5)");
    for by in [text(&place.answer(&sibling)["token"]), whole] {
        place.ok(&format!("{} --token {by}", note(&place, "note.c")));
    }
    assert_eq!(place.answer("replay")["matches"], json!(true));
}

#[test]
fn a_configuration_chooses_jwts_and_a_shared_secret() {
    let (place, key) = with_bot();
    let biscuit = token(&place, "");
    place.write("eddsa.toml", "[tokens]\nscheme = \"eddsa\"\n");
    let jwt = place.answer(&format!("cap issue bot --holder {key} --config eddsa.toml"));
    assert_eq!(jwt["scheme"], "eddsa");
    // The operator's two forms are accepted together.
    let submitted =
        format!("{} --token {} --key-file holder.key", note(&place, "note.a"), text(&jwt["token"]));
    place.ok(&submitted);

    place.write("shared.toml", "[tokens]\nscheme = \"hs256\"\nsecret_file = \"secret\"\n");
    place.write("secret", "0123456789abcdef0123456789abcdef\n");
    let error = place.fails(1, "cap issue bot --config shared.toml");
    assert!(text(&error["message"]).contains("chmod 600"), "{error}");
    std::fs::set_permissions(place.path().join("secret"), Permissions::from_mode(0o600)).expect("a file");
    let shared = place.answer("cap issue bot --config shared.toml");
    assert_eq!(shared["scheme"], "hs256");
    let shared = text(&shared["token"]);
    place.ok(&format!("{} --token {shared} --config shared.toml", note(&place, "note.a")));
    // Each is for its own algorithm alone.
    refused(&place, &format!("{} --token {shared}", note(&place, "note.a")), "token-algorithm");
    let with_secret =
        |token: &str| format!("{} --token {token} --config shared.toml", note(&place, "note.a"));
    refused(&place, &with_secret(&text(&jwt["token"])), "token-algorithm");
    refused(&place, &with_secret(&biscuit), "token-malformed");
    let running = place.start("run shared.toml");
    listening(&place);
    place.ok(&format!("{} --token {shared}", note(&place, "note.a")));
    refused(&place, &format!("{} --token {biscuit}", note(&place, "note.a")), "token-malformed");
    // Another secret counts at once; one that cannot be used lets nobody in.
    let replace = |secret: &str| {
        place.write("secret.new", secret);
        std::fs::set_permissions(place.path().join("secret.new"), Permissions::from_mode(0o600))
            .expect("a file");
        std::fs::rename(place.path().join("secret.new"), place.path().join("secret")).expect("replaced");
    };
    replace("another secret of more than 32 bytes");
    refused(&place, &format!("{} --token {shared}", note(&place, "note.a")), "token-unknown-key");
    replace("short");
    refused(&place, &format!("{} --token {shared}", note(&place, "note.a")), "token-keys");
    replace("0123456789abcdef0123456789abcdef\n");
    place.ok(&format!("{} --token {shared}", note(&place, "note.a")));
    end(running);
    // The secret is no agent's business, wherever it lies.
    place.write("docs/secret.md", "fedcba9876543210fedcba9876543210");
    std::fs::set_permissions(place.path().join("docs/secret.md"), Permissions::from_mode(0o600))
        .expect("a file");
    let within = "[tokens]\nscheme = \"hs256\"\nsecret_file = \"docs/secret.md\"\n";
    place
        .write("within.toml", format!("{within}[[agents]]\nname = \"IndexerAgent\"\nscan_path = \"docs\"\n"));
    assert_eq!(place.answer("run within.toml --once")["files"], 5);
    let kept = place.list("events list --kind file.chunk --from 0 --limit 1000");
    assert!(!kept.is_empty() && kept.iter().all(|chunk| !chunk["content"].to_string().contains("fedcba98")));
    place.write("wrong.toml", "[tokens]\nscheme = \"hs256\"\n");
    place.fails(2, "config check --config wrong.toml");
    place.write("wrong.toml", "[tokens]\nsecret_file = \"secret\"\n");
    place.fails(2, "config check --config wrong.toml");
    place.write("secret", "short");
    std::fs::set_permissions(place.path().join("secret"), Permissions::from_mode(0o600)).expect("a file");
    place.fails(2, "cap issue bot --config shared.toml");
}
