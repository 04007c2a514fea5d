//! `why` of an act that is three agents deep: from the payment back to what a person asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use toka_agents::EventKind;
use toka_runtime::config::{RuntimeConfig, VaultConfig};
use toka_runtime::{Agent, AgentContext, Event, Runtime};
use toka_toolkit_core::{CallContext, Input, Manifest, Output, Tool, ToolError};
use toka_types::{EffectClass, EntityId, Sink};

use crate::authority::submit;
use crate::toka::{Place, text};

/// Hands what it hears on to the next one.
struct Forwards {
    hears: EventKind,
    to: &'static str,
}

impl Agent for Forwards {
    fn interest(&self) -> Vec<EventKind> {
        vec![self.hears.clone()]
    }

    async fn handle_with(&self, _: Event, ctx: AgentContext) -> anyhow::Result<()> {
        ctx.send(self.to, &"pay ann").await?;
        Ok(())
    }
}

/// Pays when it is told.
struct Pays;

impl Agent for Pays {
    fn interest(&self) -> Vec<EventKind> {
        vec![EventKind::Message]
    }

    async fn handle_with(&self, _: Event, ctx: AgentContext) -> anyhow::Result<()> {
        ctx.call("pay", json!({"to": "ann"})).await?;
        Ok(())
    }
}

struct Pay(Manifest);

impl Tool for Pay {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    async fn call(&self, _: Input, _: &CallContext) -> Result<Output, ToolError> {
        Ok(Output::value("paid"))
    }
}

fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "it does not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_act_three_agents_deep_goes_back_to_the_request() {
    let place = Place::new();
    place.ok("init");
    for arguments in [
        &["ledger", "mint", "10 USD", "--to", "operator"][..],
        &["ledger", "mint", "1 USD", "--to", "acme", "--open"],
        &["agents", "create", "payer", "--behaviour", "payer", "--grant", "tool:pay", "--budget", "5 USD"],
    ] {
        assert!(place.command(arguments).status().expect("the program runs").success());
    }
    let price =
        json!({"currency": "USD", "payee": EntityId::named("acme"), "calls": {"amount": "0.25", "per": 1}});
    place.ok(&submit(&place, &json!({"op": "price.set", "item": "pay", "price": price})));

    let executor = tokio::runtime::Runtime::new().expect("threads");
    let config = RuntimeConfig { vault: Some(VaultConfig::new(place.vault())), ..RuntimeConfig::default() };
    let _inside = executor.enter();
    let runtime = executor.block_on(async {
        let runtime = Runtime::builder(config).build().await.expect("the vault is free");
        let manifest = Manifest::builder("pay", "1.0.0").description("Pays.").effect(EffectClass::Write);
        let manifest = manifest.input(json!({"properties": {"to": {"type": "string"}}})).sink(Sink::External);
        runtime.register_tool(Pay(manifest.build().expect("sound"))).expect("registered");
        let boss = Forwards { hears: EventKind::from("request"), to: "clerk" };
        let clerk = Forwards { hears: EventKind::Message, to: "payer" };
        let send = |to: &str| [format!("message:send(to={to})")];
        runtime.register_agent_with("boss", boss, &[&send("clerk")[0]], None).await.expect("registered");
        runtime.register_agent_with("clerk", clerk, &[&send("payer")[0]], None).await.expect("registered");
        runtime.register_agent_with("payer", Pays, &["tool:pay"], None).await.expect("registered");
        runtime.start().await.expect("started");
        Arc::new(runtime)
    });
    let control = runtime.listen(&place.vault()).expect("it listens");
    let request = json!({"op": "event.emit", "kind": "request.made", "content": "pay ann", "labels": ["untrusted:mail"]});
    let request = text(&place.answer(&submit(&place, &request))["events"][0]["id"]);
    let waiting = until(|| place.list("approvals list").first().map(|row| text(&row["id"])));
    place.ok(&format!("approvals allow {waiting}"));
    let paid =
        until(|| place.list("events list --kind tool.returned").first().map(|event| text(&event["id"])));
    // The same while the runtime runs and when it has ended.
    let running = place.answer(&format!("why {paid}"));
    drop(control);
    executor.block_on(async { runtime.stop().await.expect("stopped") });
    let why = place.answer(&format!("why {paid}"));
    assert_eq!(why, running);

    let chain = why["chain"].as_array().expect("a chain");
    let of = |key: &str| chain.iter().map(|link| link[key].clone()).collect::<Vec<Value>>();
    assert_eq!(
        of("kind"),
        ["tool.returned", "tool.requested", "message.sent", "message.sent", "request.made"]
    );
    assert_eq!(of("author"), ["payer", "payer", "clerk", "boss", "operator"]);
    let grants = |names: [&str; 5]| {
        let all = place.list("cap tree");
        let of = |name: &str| all.iter().find(|row| row["subject"] == name).expect("a grant")["id"].clone();
        names.map(of).to_vec()
    };
    assert_eq!(of("grant"), grants(["payer", "payer", "clerk", "boss", "operator"]));
    assert_eq!(of("labels"), vec![json!(["untrusted:mail"]); 5], "the act carries what the request carries");
    let none = Value::Null;
    assert_eq!(
        of("approver"),
        vec![none.clone(), json!("operator"), none.clone(), none.clone(), none.clone()]
    );
    let cost = json!({"amount": "0.25", "currency": "USD"});
    assert_eq!(of("cost"), vec![cost.clone(), cost, none.clone(), none.clone(), none]);
    assert_eq!(text(&chain[4]["event"]), request);
    assert!(
        chain.iter().all(|link| !text(&link["summary"]).is_empty() && text(&link["at"]).ends_with('Z')),
        "{why}"
    );
}
