//! Money: accounts, statements, what is moved and what calls cost, on a vault that nobody runs on and on one that runs.

use serde_json::{Value, json};
use toka_runtime::config::{RuntimeConfig, VaultConfig};
use toka_runtime::{EntityId, Runtime};
use toka_types::operation::{Authority, Envelope, GrantTerms, ToolOutcome, ToolRequest};
use toka_types::price::Usage;
use toka_types::{Labels, Name, Operation};

use crate::authority::{act, call, listening, submit};
use crate::toka::{Place, Ran, text};

/// `ledger` with these arguments, in which money has spaces.
fn ledger(place: &Place, arguments: &[&str]) -> Ran {
    let command = ["ledger"].iter().chain(arguments).chain(&["--json"]);
    Ran::of(place.command(command).output().expect("the program runs"))
}

fn done(place: &Place, arguments: &[&str]) -> Vec<String> {
    let ran = ledger(place, arguments);
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
    let events = ran.answer()["events"].as_array().expect("events").clone();
    events.iter().map(|event| text(&event["kind"])).collect()
}

/// The message and hint of what must fail so.
fn refused(place: &Place, exit: i32, code: &str, arguments: &[&str]) -> String {
    let ran = ledger(place, arguments);
    assert_eq!(ran.code, Some(exit), "{arguments:?}: {}{}", ran.stdout, ran.stderr);
    let error = ran.error();
    assert_eq!(error["code"], code, "{arguments:?}: {error}");
    format!("{} {}", error["message"], error["hint"])
}

fn create(place: &Place, name: &str, budget: &str) {
    let arguments = ["agents", "create", name, "--behaviour", "Logger", "--grant", "**", "--budget", budget];
    let ran = Ran::of(place.command(arguments).output().expect("the program runs"));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

fn usd(amount: &str) -> Value {
    json!({"amount": amount, "currency": "USD"})
}

/// The account of that owner, of which there is one.
fn account(place: &Place, owner: &str) -> Value {
    let mut rows = place.list("ledger accounts");
    rows.retain(|row| row["owner"] == owner);
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

/// Opening, what moved and closing of a statement, without events and times.
fn statement(place: &Place, arguments: &str) -> (String, Vec<String>, String) {
    let stated = place.answer(&format!("ledger statement {arguments}"));
    let lines = stated["lines"].as_array().expect("lines").iter().map(|line| {
        let with = line["with"].as_str().unwrap_or("nobody");
        format!(
            "{} {with} {} {}",
            text(&line["kind"]),
            text(&line["amount"]["amount"]),
            text(&line["balance"]["amount"])
        )
    });
    let amount = |key: &str| text(&stated[key]["amount"]);
    (amount("opening"), lines.collect(), amount("closing"))
}

#[test]
fn money_is_issued_handed_down_paid_and_accounted_for() {
    let place = Place::new();
    place.ok("init");
    assert!(place.list("ledger accounts").is_empty());
    assert_eq!(done(&place, &["mint", "10 USD", "--to", "operator"]), ["ledger.opened", "ledger.minted"]);
    create(&place, "bot", "2 USD");
    assert_eq!(done(&place, &["top-up", "bot", "0.50 USD"]), ["ledger.carved"]);
    // The name is nobody's, so that it has to be meant.
    let said = refused(&place, 1, "unknown", &["transfer", "1 USD", "--to", "acme", "--from", "bot"]);
    assert!(said.contains("nobody is called 'acme'") && said.contains("--open"), "{said}");
    let paid = ["transfer", "1 USD", "--to", "acme", "--from", "bot"];
    assert_eq!(done(&place, &[&paid[..], &["--open"]].concat()), ["ledger.opened", "ledger.transferred"]);
    assert_eq!(done(&place, &paid[..4]), ["ledger.transferred"], "from the operator, who is not named");

    let id = EntityId::named("bot");
    let bot = account(&place, "bot");
    assert_eq!(bot["account"], format!("{id}:USD"));
    assert_eq!(
        (&bot["parent"], &bot["limit"], &bot["limits"]),
        (&json!("operator"), &Value::Null, &json!([]))
    );
    assert_eq!((&bot["balance"], &bot["held"], &bot["spent"]), (&usd("1.50"), &usd("0.00"), &usd("1.00")));
    let operator = account(&place, "operator");
    assert_eq!((&operator["balance"], &operator["delegated"]), (&usd("6.50"), &usd("1.00")));
    assert_eq!(account(&place, &EntityId::named("acme").to_string())["balance"], usd("2.00"));

    let acme = EntityId::named("acme").to_string();
    let (spawned, carved) = ("agent.spawned", "ledger.carved");
    let lines = [
        format!("{carved} operator 2.00 2.00"),
        format!("{carved} operator 0.50 2.50"),
        format!("ledger.transferred {acme} -1.00 1.50"),
    ];
    for name in ["bot", "bot:USD", &id.to_string()[..8], &format!("{id}:USD")] {
        assert_eq!(statement(&place, name), ("0.00".to_owned(), lines.to_vec(), "1.50".to_owned()), "{name}");
    }
    let stated = place.answer("ledger statement bot");
    let first = text(&stated["lines"][0]["event"]);
    assert_eq!(place.answer_of(&format!("events show {first}"))["kind"], spawned, "a budget is handed down");
    // A later beginning takes what came before into the opening balance, and an earlier end leaves out what comes after.
    let second = text(&stated["lines"][1]["at"]);
    let (opening, rest, closing) = statement(&place, &format!("bot --since {second}"));
    assert_eq!((opening.as_str(), &rest[..], closing.as_str()), ("2.00", &lines[1..], "1.50"));
    let (opening, rest, closing) = statement(&place, &format!("bot --until {second}"));
    assert_eq!((opening.as_str(), &rest[..], closing.as_str()), ("0.00", &lines[..1], "2.00"));
    assert_eq!(statement(&place, &acme[..6]).2, "2.00");

    let rows = place.list("agents list");
    assert_eq!((&rows[0]["spent"], &rows[0]["budget"]), (&usd("1.00"), &usd("2.50")));
    done(&place, &["mint", "3 EUR", "--to", "bot"]);
    let rows = place.list("agents list");
    assert_eq!(rows[0]["accounts"].as_array().expect("accounts").len(), 2);
    let shown = place.ok("agents list").stdout;
    assert!(shown.contains("0.00 EUR, 1.00 USD") && shown.contains("3.00 EUR, 2.50 USD"), "{shown}");
    let several = place.fails(2, "ledger statement bot");
    assert!(text(&several["hint"]).contains("bot:EUR, bot:USD"), "{several}");
    assert_eq!(statement(&place, "bot:EUR").2, "3.00");
    for (exit, wrong) in [(1, "nobody"), (1, "bot:GBP"), (2, "bot:usd"), (1, "0123456789:USD")] {
        place.fails(exit, &format!("ledger statement {wrong}"));
    }
    assert!(place.ok("ledger statement bot:USD").stdout.contains("-1.00"));
    assert!(place.ok("ledger accounts").stdout.contains("operator"));
    assert_eq!(place.answer("replay")["matches"], json!(true));
}

#[test]
fn an_account_for_an_agent_stands_under_that_of_its_parent() {
    let place = Place::new();
    place.ok("init");
    place.ok("agents create bot --behaviour Logger");
    let opened = ["ledger.opened", "ledger.opened", "ledger.minted"];
    assert_eq!(done(&place, &["mint", "1 USD", "--to", "bot"]), opened);
    assert_eq!(account(&place, "bot")["parent"], "operator");
    let person = json!({"op": "user.create", "name": "ann", "role": "member", "uses": ["**"]});
    place.ok(&submit(&place, &person));
    done(&place, &["mint", "2 USD", "--to", "operator"]);
    assert_eq!(done(&place, &["transfer", "1 USD", "--to", "ann"]), ["ledger.opened", "ledger.transferred"]);
    assert_eq!(done(&place, &["top-up", "ann", "1 USD"]), ["ledger.carved"]);
    assert_eq!(account(&place, "ann")["balance"], usd("2.00"));
}

#[test]
fn an_agent_below_another_is_topped_up_by_that_one() {
    let place = Place::new();
    place.ok("init");
    done(&place, &["mint", "10 USD", "--to", "operator"]);
    create(&place, "payer", "2 USD");
    let grant = GrantTerms { uses: Vec::new(), delegates: Vec::new(), expires: None };
    let named = |name| Name::new(name).expect("a name");
    let (name, behaviour, budget) = (named("child"), named("Logger"), "0.50 USD".parse().ok());
    act(&place, None, Operation::SpawnAgent { name, behaviour, grant, budget, quarantine: None });
    assert_eq!(done(&place, &["top-up", "child", "0.25 USD"]), ["ledger.carved"]);
    let child = account(&place, "child");
    assert_eq!((&child["parent"], &child["balance"]), (&json!("payer"), &usd("0.75")));
    assert_eq!(account(&place, "payer")["balance"], usd("1.25"));
    done(&place, &["transfer", "0.30 USD", "--from", "child", "--to", "acme", "--open"]);
    for above in ["payer", "operator"] {
        assert_eq!(account(&place, above)["delegated"], usd("0.30"), "{above}");
    }
    assert_eq!(account(&place, "operator")["balance"], usd("8.00"));
    refused(&place, 5, "budget", &["top-up", "child", "2 USD"]);
}

#[test]
fn refusals_for_want_of_money_end_with_5_and_others_with_3() {
    let place = Place::new();
    place.ok("init");
    place.ok("agents create idle --behaviour Logger");
    let said = refused(&place, 3, "denied", &["top-up", "idle", "1 USD"]);
    assert!(said.contains("ledger.account-unknown") && said.contains("toka ledger mint"), "{said}");
    done(&place, &["mint", "10 USD", "--to", "operator"]);
    create(&place, "bot", "2 USD");
    let said = refused(&place, 5, "budget", &["transfer", "3 USD", "--to", "operator", "--from", "bot"]);
    assert!(said.contains("ledger.funds") && said.contains("2.00 USD available"), "{said}");
    refused(&place, 5, "budget", &["top-up", "bot", "8.01 USD"]);
    let limit =
        json!({"op": "ledger.limit", "owner": "bot", "currency": "USD", "period": "day", "limit": "0.50"});
    place.ok(&submit(&place, &limit));
    let pay = ["transfer", "0.60 USD", "--from", "bot", "--open", "--to", "acme"];
    assert!(refused(&place, 5, "budget", &pay).contains("ledger.budget"));
    let limit = json!({"amount": "0.50", "currency": "USD", "period": "day", "spent": usd("0.00")});
    assert_eq!(account(&place, "bot")["limit"], limit);
    let more = json!({"op": "agent.spawn", "name": "third", "behaviour": "Logger", "budget": usd("99.00")});
    assert_eq!(place.fails(5, &submit(&place, &more))["code"], "budget");

    assert!(refused(&place, 3, "denied", &["mint", "0 USD", "--to", "bot"]).contains("ledger.amount"));
    refused(&place, 3, "denied", &["transfer", "1 USD", "--to", "bot", "--from", "bot"]);
    let before = place.answer("status")["events"].clone();
    refused(&place, 2, "usage", &["mint", "10", "--to", "bot"]);
    refused(&place, 2, "usage", &["mint", "1,50 USD", "--to", "bot"]);
    refused(&place, 1, "unknown", &["mint", "10 USD", "--to", "bto"]);
    refused(&place, 1, "unknown", &["top-up", "bto", "1 USD"]);
    refused(&place, 1, "unknown", &["transfer", "1 USD", "--to", "bot", "--from", "bto"]);
    let id = EntityId::named("acme").to_string();
    refused(&place, 2, "usage", &["mint", "1 USD", "--to", &id, "--open"]);
    assert_eq!(place.answer("status")["events"], before, "nothing of that reached the kernel");
}

#[test]
fn a_running_vault_is_paid_in_through_its_socket() {
    let place = Place::with_docs();
    let mut running = place.start("up docs");
    listening(&place);
    assert_eq!(done(&place, &["mint", "5 USD", "--to", "operator"]), ["ledger.opened", "ledger.minted"]);
    create(&place, "bot", "1 USD");
    done(&place, &["top-up", "bot", "1 USD"]);
    done(&place, &["transfer", "0.25 USD", "--to", "operator", "--from", "bot"]);
    refused(&place, 5, "budget", &["transfer", "2 USD", "--to", "operator", "--from", "bot"]);
    assert_eq!(account(&place, "bot")["balance"], usd("1.75"));
    let lines = ["ledger.carved operator 1.00 1.00", "ledger.carved operator 1.00 2.00"];
    assert_eq!(statement(&place, "bot").1[..2], lines);
    rustix::process::kill_process(rustix::process::Pid::from_child(&running), rustix::process::Signal::TERM)
        .expect("it runs");
    assert!(running.wait().expect("it ends").success());
    assert_eq!(account(&place, "bot")["balance"], usd("1.75"));
}

#[test]
fn a_call_has_its_cost_and_who_used_everything_up_is_suspended() {
    let place = Place::new();
    place.ok("init");
    done(&place, &["mint", "10 USD", "--to", "operator"]);
    done(&place, &["mint", "0.01 USD", "--to", "acme", "--open"]);
    create(&place, "payer", "0.50 USD");
    let (acme, rate) = (EntityId::named("acme").to_string(), json!({"amount": "0.25", "per": 1}));
    let price = json!({"currency": "USD", "payee": acme, "calls": rate});
    place.ok(&submit(&place, &json!({"op": "price.set", "item": "pay", "price": price})));
    let (request, outcome) = made_call(&place, 1);
    let settled = text(&place.answer_of(&format!("events show {outcome}"))["children"][0]);
    for (event, kind) in
        [(&request, "tool.requested"), (&outcome, "tool.returned"), (&settled, "ledger.settled")]
    {
        let chain = place.answer(&format!("why {event}"))["chain"].clone();
        assert_eq!((&chain[0]["kind"], &chain[0]["cost"]), (&json!(kind), &usd("0.25")));
    }
    assert!(place.ok(&format!("why {outcome}")).stdout.contains("0.25 USD"));
    let spawned = text(&place.list("events list --kind agent.spawned")[0]["id"]);
    assert_eq!(place.answer(&format!("why {spawned}"))["chain"][0]["cost"], Value::Null);
    assert_eq!(statement(&place, "payer").1[1], format!("ledger.settled {acme} -0.25 0.25"));

    made_call(&place, 1);
    let payer = &place.list("agents list")[0];
    assert_eq!((&payer["state"], &payer["spent"]), (&json!("suspended"), &usd("0.50")));
    let resume = json!({"op": "agent.resume", "agent": "payer"});
    let error = place.fails(5, &submit(&place, &resume));
    assert!(text(&error["message"]).contains("ledger.exhausted"), "{error}");
    let topped = ledger(&place, &["top-up", "payer", "1 USD"]);
    assert!(topped.stderr.contains("payer is suspended"), "{}", topped.stderr);
    place.ok(&submit(&place, &resume));
    assert_eq!(account(&place, "payer")["balance"], usd("1.00"));
}

#[test]
fn a_fork_begins_without_money() {
    let place = Place::new();
    place.ok("init");
    done(&place, &["mint", "10 USD", "--to", "operator"]);
    let last = text(&place.list("events list")[2]["id"]);
    place.ok(&format!("vault fork {last} --name other"));
    let rows = place.list("ledger accounts --log other");
    assert_eq!(rows[0]["balance"], usd("0.00"));
    let lines = ["ledger.minted nobody 10.00 10.00", "log.forked nobody -10.00 0.00"].map(str::to_owned);
    assert_eq!(statement(&place, "operator --log other").1, lines);
    assert_eq!(statement(&place, "operator").2, "10.00");
    let said = refused(&place, 2, "usage", &["mint", "1 USD", "--to", "operator", "--log", "other"]);
    assert!(said.contains("--log"), "money moves in the log that runs: {said}");
}

/// Lets the agent `payer` make a call of `pay`, as its own program would: its request and its outcome.
fn made_call(place: &Place, calls: u64) -> (String, String) {
    let config = RuntimeConfig { vault: Some(VaultConfig::new(place.vault())), ..RuntimeConfig::default() };
    let executor = tokio::runtime::Runtime::new().expect("threads");
    let usage = Usage { calls, ..Usage::default() };
    executor.block_on(async {
        let runtime = Runtime::builder(config).build().await.expect("the vault is free");
        let origin = EntityId::named("payer");
        let grant = runtime.world(move |world| world.agent(origin).map(|agent| agent.grant)).await;
        let grant = Authority::Grant(grant.expect("a world").expect("the agent is there"));
        let asked = ToolRequest { bounds: usage, ..call("{}") };
        let returned = |request| ToolOutcome {
            request: Some(request),
            tool: Name::new("pay").expect("a name"),
            version: asked.version.clone(),
            class: asked.class,
            arguments: asked.arguments.digest(),
            status: Name::new("ok").expect("a name"),
            output: None,
            content: None,
            labels: Labels::none(),
            read: Vec::new(),
            usage: Some(usage),
            leaves: Vec::new(),
        };
        let submitted = async |authority, operation| {
            let envelope = Envelope { origin, authority, op_id: None, causes: Vec::new(), operation };
            let events = runtime.submit(envelope).await.expect("allowed");
            events.first().expect("an event").id
        };
        let request = submitted(grant, Operation::Request(asked.clone())).await;
        let outcome = submitted(Authority::Host, Operation::Return(returned(request))).await;
        runtime.stop().await.expect("the vault closes");
        (request.to_string(), outcome.to_string())
    })
}
