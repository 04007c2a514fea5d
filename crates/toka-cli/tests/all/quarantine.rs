//! Quarantined agents from the command line.

use serde_json::{Value, json};
use toka_runtime::config::{RuntimeConfig, VaultConfig};
use toka_runtime::{EntityId, Runtime};
use toka_types::operation::{Authority, Envelope};
use toka_types::{Answer, Operation};

use crate::authority::submit;
use crate::toka::{Place, text};

fn spawn(name: &str, quarantine: Value) -> Value {
    json!({"op": "agent.spawn", "name": name, "behaviour": "Judge", "quarantine": quarantine})
}

/// Lets an agent answer, as its own program would.
fn answer(place: &Place, agent: &str, answer: Answer) {
    let config = RuntimeConfig { vault: Some(VaultConfig::new(place.vault())), ..RuntimeConfig::default() };
    let executor = tokio::runtime::Runtime::new().expect("threads");
    executor.block_on(async {
        let runtime = Runtime::builder(config).build().await.expect("the vault is free");
        let origin = EntityId::named(agent);
        let grant = runtime.world(move |world| world.agent(origin).map(|agent| agent.grant)).await;
        let authority = Authority::Grant(grant.expect("a world").expect("the agent is there"));
        let operation = Operation::Answer(answer);
        let asked = Envelope { origin, authority, op_id: None, causes: Vec::new(), operation };
        runtime.submit(asked).await.expect("of its shape");
        runtime.stop().await.expect("the vault closes");
    });
}

#[test]
fn an_answer_is_of_the_shape_that_was_fixed_and_endorsed() {
    let place = Place::new();
    place.ok("init");
    let spawned = place.answer(&submit(&place, &spawn("judge", json!({"one-of": ["pay", "ask"]}))));
    assert_eq!(spawned["events"][0]["kind"], "agent.spawned");
    let refused = |operation: &Value, code: i32, word: &str| {
        let error = place.fails(code, &submit(&place, operation));
        assert!(text(&error["message"]).contains(word), "{operation}: {error}");
    };
    let many: Vec<String> = (0..17).map(|n| n.to_string()).collect();
    refused(&spawn("wide", json!({"one-of": many})), 3, "quarantine.shape");
    refused(&spawn("wide", json!({"integer": {"least": 1, "most": 0}})), 3, "quarantine.shape");
    refused(&spawn("wide", json!("anything")), 2, "anything");
    refused(&spawn("wide", json!({"integer": {"least": 1}})), 2, "most");
    refused(&json!({"op": "agent.answer", "answer": "pay"}), 3, "quarantine.unknown");
    // What the children of one task can tell is bounded; a person's message begins another one.
    place.ok(&submit(&place, &spawn("number", json!({"integer": {"least": 0, "most": i64::MAX}}))));
    refused(&spawn("more", json!("boolean")), 3, "quarantine.bits");
    place.ok(&submit(&place, &json!({"op": "message.send", "to": "judge", "message": "guilty?"})));
    place.ok(&submit(&place, &spawn("more", json!("boolean"))));
    answer(&place, "judge", "pay".into());
    let answered = place.list("events list --kind agent.answered");
    assert_eq!(answered.len(), 1);
    assert_eq!(
        (&answered[0]["labels"], &answered[0]["facts"]["answer"]),
        (&json!(["endorsed"]), &json!("pay"))
    );
    let state = |name: &str| {
        let agents = place.list("agents list");
        agents.iter().find(|agent| agent["name"] == name).map(|agent| text(&agent["state"]))
    };
    assert_eq!((state("judge"), state("more")), (Some("stopped".to_owned()), Some("running".to_owned())));
    assert_eq!(place.answer("replay")["matches"], true);
}

#[test]
fn what_an_operation_became_is_shown_with_its_labels() {
    let place = Place::new();
    place.ok("init");
    let note = json!({"op": "event.emit", "kind": "note", "content": 1, "labels": ["untrusted:web"]});
    let recorded = place.answer(&submit(&place, &note));
    assert_eq!(recorded["events"][0]["labels"], json!(["untrusted:web"]));
    assert!(place.ok(&submit(&place, &note)).stdout.trim_end().ends_with(") untrusted:web"));
    let plain = json!({"op": "event.emit", "kind": "note", "content": 1});
    assert_eq!(place.answer(&submit(&place, &plain))["events"][0].get("labels"), None);
}
