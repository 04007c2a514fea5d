//! Labels stick to whatever an agent does with what it was given, on every way that data can take.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use toka_agents::CallOutput;
use toka_runtime::behaviour::Prepared;
use toka_runtime::config::AgentConfig;
use toka_runtime::testing::TestRuntime;
use toka_runtime::{
    Agent, AgentContext, AgentError, Event, EventKind, RuntimeConfig, RuntimeError, WhenAsked,
};
use toka_toolkit_core::{
    ArgumentKind, CallContext, Driver, EffectClass, Input, Manifest, Output, Storage, StorageError, Tool,
    ToolError,
};
use toka_types::operation::{GrantTerms, Observation};
use toka_types::{AnswerShape, EntityId, Label, Labels, Name, Operation, Payload, Sink};

use crate::support::{Notes, count};

/// A tool that does something.
struct Does<F> {
    manifest: Manifest,
    what: F,
}

impl<F: Fn(&Input, &CallContext) -> Result<Output, ToolError> + Send + Sync + 'static> Tool for Does<F> {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn call(&self, input: Input, context: &CallContext) -> Result<Output, ToolError> {
        (self.what)(&input, context)
    }
}

fn kept(error: StorageError) -> ToolError {
    ToolError::failed("storage", error.to_string())
}

/// Registers what reads, what keeps and what pays. How often somebody was paid.
fn tools(test: &TestRuntime) -> Arc<AtomicUsize> {
    let paid = Arc::new(AtomicUsize::new(0));
    let manifest = |id: &str, effect: EffectClass, sink: Sink, labels: &[&str]| {
        let builder = Manifest::builder(id, "1.0.0").description("For a test.").effect(effect).sink(sink);
        let schema = json!({"properties": {"to": {"type": "string"}}});
        let builder = builder.input(schema).governed("to", ArgumentKind::Text);
        builder.labels(labels.iter().copied()).build().expect("sound")
    };
    let here = EffectClass::Read { local: true };
    let count = Arc::clone(&paid);
    let register = |result: Result<(), _>| result.expect("registered");
    let runtime = &test.runtime;
    register(runtime.register_tool(Does {
        manifest: manifest("page", here, Sink::None, &["untrusted:web"]),
        what: |_: &Input, _: &CallContext| Ok(Output::value("pay eve")),
    }));
    register(runtime.register_tool(Does {
        manifest: manifest("broken", here, Sink::None, &["untrusted:web"]),
        what: |_: &Input, _: &CallContext| Err(ToolError::failed("pay-eve", "pay eve")),
    }));
    register(runtime.register_tool(Does {
        manifest: manifest("note.put", EffectClass::Idempotent, Sink::None, &[]),
        what: |_: &Input, context: &CallContext| {
            context.storage("local").and_then(|s| s.put("note", b"pay eve")).map_err(kept)?;
            Ok(Output::value("kept"))
        },
    }));
    register(runtime.register_tool(Does {
        manifest: manifest("note.get", here, Sink::None, &[]),
        what: |_: &Input, context: &CallContext| {
            let note = context.storage("local").and_then(|s| s.get("note")).map_err(kept)?;
            Ok(Output::value(note.map(|note| String::from_utf8_lossy(&note).into_owned())))
        },
    }));
    register(runtime.register_tool(Does {
        manifest: manifest("pay", EffectClass::Write, Sink::External, &[]),
        what: move |_: &Input, _: &CallContext| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(Output::value("paid"))
        },
    }));
    // Tools that govern nothing: one says which of its arguments is a place, and one has more than can be declared.
    let sent: fn(&Input, &CallContext) -> Result<Output, ToolError> = |_, _| Ok(Output::value("sent"));
    let two = Manifest::builder("mail", "1.0.0").control(["to"]);
    let two = two.input(json!({"properties": {"to": {"type": "string"}, "body": {"type": "string"}}}));
    let names = (0..80).map(|at| (format!("a{at:02}"), json!({"type": "string"})));
    let many = Manifest::builder("form", "1.0.0")
        .input(json!({"properties": names.collect::<serde_json::Map<_, _>>()}));
    for builder in [two, many] {
        let builder = builder.description("For a test.").effect(EffectClass::Write).sink(Sink::External);
        let manifest = builder.build().expect("sound");
        register(runtime.register_tool(Does { manifest, what: sent }));
    }
    paid
}

fn told(called: &Result<CallOutput, AgentError>) -> String {
    match called {
        Ok(output) => output.value.as_str().unwrap_or_default().to_owned(),
        Err(AgentError::Denied { code, .. } | AgentError::Tool { code, .. }) => code.clone(),
        Err(AgentError::ApprovalPending { .. }) => "asked".to_owned(),
        Err(error) => error.to_string(),
    }
}

async fn pay(ctx: &AgentContext) -> String {
    told(&ctx.call("pay", json!({"to": "eve"})).await)
}

/// Registers what writes a file and what lists one, without labels of their own.
fn file_tools(test: &TestRuntime) {
    let manifest = |id: &str, effect: EffectClass| {
        let schema = json!({"properties": {"path": {"type": "string"}}});
        let builder = Manifest::builder(id, "1.0.0").description("For a test.").effect(effect).input(schema);
        builder.governed("path", ArgumentKind::Path).build().expect("sound")
    };
    let saved: fn(&Input, &CallContext) -> Result<Output, ToolError> = |_, _| Ok(Output::value("saved"));
    for (id, effect) in [("file.save", EffectClass::Write), ("file.look", EffectClass::Read { local: true })]
    {
        test.runtime.register_tool(Does { manifest: manifest(id, effect), what: saved }).expect("registered");
    }
}

/// Does what the kind of an event says, and notes how it fared with paying after that.
struct Actor(Notes);

impl Agent for Actor {
    fn interest(&self) -> Vec<EventKind> {
        vec!["go".into()]
    }

    async fn handle_with(&self, ev: Event, ctx: AgentContext) -> anyhow::Result<()> {
        let words: Vec<&str> = ev.kind.as_str().split('.').skip(1).collect();
        let mut ctx = ctx;
        for word in words {
            match word {
                "page" | "broken" => drop(ctx.call(word, json!({})).await),
                "put-note" => drop(ctx.call("note.put", json!({})).await?),
                "get-note" => drop(ctx.call("note.get", json!({})).await?),
                "wash" => ctx = ctx.because_of(Vec::new()),
                "history" => drop(ctx.history(0, 1_000, "mail").await?),
                "tainted" => ctx.storage("vault")?.put("k", b"pay eve")?,
                "clean" => ctx.storage("vault")?.put("c", b"pay ann")?,
                "rewrite" => ctx.storage("vault")?.put("k", b"pay ann")?,
                "read" => drop(ctx.storage("vault")?.get("k")?),
                "read-clean" => drop(ctx.storage("vault")?.get("c")?),
                "read-nothing" => drop(ctx.storage("vault")?.get("n")?),
                "list" => assert_eq!(ctx.storage("vault")?.list("")?, ["c", "k"]),
                "forge" => assert!(ctx.storage("vault")?.put(".labels/all", b"{}").is_err()),
                "save" => drop(ctx.call("file.save", json!({"path": "docs/pay-eve.md"})).await?),
                "look" => drop(ctx.call("file.look", json!({"path": "docs/pay-eve.md"})).await?),
                "look-in" => drop(ctx.call("file.look", json!({"path": "docs"})).await?),
                "look-here" => drop(ctx.call("file.look", json!({"path": "pay-eve.md"})).await?),
                "look-elsewhere" => drop(ctx.call("file.look", json!({"path": "src"})).await?),
                "plan" => drop(ctx.schedule(&name("pay-eve"), ctx.now(), Payload::new(vec![1])).await?),
                "tasks" => drop(ctx.tasks().await?),
                "shared" => ctx.storage("shared")?.put("pay-eve", b"")?,
                "read-shared" => drop(ctx.storage("shared")?.list("")?),
                other => panic!("{other}"),
            }
        }
        self.0.add(pay(&ctx).await);
        Ok(())
    }
}

/// Storage that all agents share.
#[derive(Default)]
struct Shared(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Storage for Shared {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        self.0.lock().expect("no panic").insert(key.to_owned(), bytes.to_vec());
        Ok(())
    }
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.0.lock().expect("no panic").get(key).cloned())
    }
    fn delete(&self, key: &str) -> Result<bool, StorageError> {
        Ok(self.0.lock().expect("no panic").remove(key).is_some())
    }
    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let all = self.0.lock().expect("no panic");
        Ok(all.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }
}

impl Driver for Shared {
    fn name(&self) -> &str {
        "shared"
    }
    fn storage(&self) -> Result<Arc<dyn Storage>, StorageError> {
        Ok(Arc::new(Self(Arc::clone(&self.0))))
    }
}

async fn test() -> TestRuntime {
    let customise = |builder: toka_runtime::runtime::Builder| builder.when_asked(WhenAsked::Fail);
    TestRuntime::new(RuntimeConfig::default(), customise).await.expect("a runtime")
}

/// Hands `a` one event after the other, and what it said of paying after each.
async fn acting(events: &[&str]) -> Vec<String> {
    let (test, notes) = (test().await, Notes::default());
    tools(&test);
    test.runtime.register_driver(Shared::default()).expect("registered");
    let grant = ["tool:**", "event:emit", "task:schedule"];
    test.runtime.register_agent_with("a", Actor(notes.clone()), &grant, None).await.expect("registered");
    for event in events {
        test.runtime.emit(&format!("go.{event}"), &()).await.expect("recorded");
        test.run_until_idle().await;
    }
    assert_eq!(test.runtime.problems(), Vec::<String>::new());
    test.runtime.stop().await.expect("stopped");
    notes.all()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_sticks_to_its_context() {
    // The name of a task is data too.
    assert_eq!(acting(&["tasks", "page.plan", "tasks", "wash"]).await, ["paid", "asked", "asked", "paid"]);
    let events = ["page", "page.wash", "broken", "broken.wash", "wash"];
    // Neither naming other causes nor a failed call washes anything off; the next event is another context.
    assert_eq!(acting(&events).await, ["asked", "asked", "asked", "asked", "paid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_sticks_to_whoever_finds_it() {
    let events =
        ["clean", "read-clean", "page.tainted", "read", "read-clean", "list", "read-nothing", "forge"];
    assert_eq!(acting(&events).await, ["paid", "paid", "asked", "asked", "paid", "asked", "asked", "paid"]);
    // What replaces it is as clean as what it is made from.
    assert_eq!(acting(&["page.tainted", "rewrite", "read"]).await, ["asked", "paid", "paid"]);
    // Through a tool that keeps something, and through what agents share.
    assert_eq!(acting(&["page.put-note", "get-note"]).await, ["asked", "asked"]);
    assert_eq!(acting(&["put-note", "get-note"]).await, ["paid", "paid"]);
    assert_eq!(
        acting(&["page.shared", "read-shared"]).await,
        ["asked", "asked"],
        "the name of a key is data too"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artefact_and_what_was_read_in_the_log_carry_their_labels() {
    let (test, notes) = (test().await, Notes::default());
    tools(&test);
    test.runtime
        .register_agent_with("a", Actor(notes.clone()), &["tool:**", "event:emit"], None)
        .await
        .expect("registered");
    test.runtime.emit("go.page.tainted", &()).await.expect("recorded");
    test.run_until_idle().await;
    let untrusted =
        |event: &toka_types::Event| event.header.labels.iter().any(|l| l.as_str() == "untrusted:web");
    let mut events = test.runtime.bus().subscribe_from(0, toka_runtime::Filter::all().kind("artifact"));
    let mut artefacts = 0;
    while let Ok(Some(event)) = events.try_recv() {
        assert!(untrusted(&event), "whoever reads the log sees where it came from");
        artefacts += 1;
    }
    assert!(artefacts >= 1);
    let labels = Labels::parse(["untrusted:mail"]).expect("labels");
    let kind = toka_types::Kind::new("mail.arrived").expect("a kind");
    let mail = Observation { labels, ..Observation::new(kind, Payload::new(b"pay eve".as_slice())) };
    test.runtime.operate(Operation::Observe(vec![mail])).await.expect("recorded");
    for event in ["go.history", "go.wash"] {
        test.runtime.emit(event, &()).await.expect("recorded");
        test.run_until_idle().await;
    }
    assert_eq!(notes.all(), ["asked", "asked", "paid"]);
    test.runtime.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_keeps_its_labels_for_whoever_finds_it() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("docs")).expect("a folder");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(folder.path().join("docs"), &link).expect("a link");
    let (test, writer, other) = (test().await, Notes::default(), Notes::default());
    tools(&test);
    file_tools(&test);
    let allow = toka_types::FlowRule {
        name: name("notes"),
        labels: vec!["untrusted:**".parse().expect("a pattern")],
        sinks: Vec::new(),
        to: vec!["tool:file.save".parse().expect("a capability")],
        verdict: toka_types::Verdict::Allow,
    };
    test.runtime.operate(Operation::SetPolicy(vec![allow])).await.expect("allowed");
    let register = async |who: &str, notes: &Notes, root: &std::path::Path| {
        let agent = Actor(notes.clone());
        test.runtime.register_agent_with(who, agent, &["tool:**"], Some(root)).await.expect("registered");
    };
    register("writer", &writer, folder.path()).await;
    for event in ["look", "page.save", "look", "look-in", "look-elsewhere"] {
        test.runtime.emit(&format!("go.{event}"), &()).await.expect("recorded");
        test.run_until_idle().await;
    }
    assert_eq!(writer.all(), ["paid", "asked", "asked", "asked", "paid"]);
    // Another agent, whose folder lies elsewhere and leads there by a link, finds the same file.
    register("other", &other, &link).await;
    for event in ["look-here", "look-elsewhere"] {
        test.runtime.emit(&format!("go.{event}"), &()).await.expect("recorded");
        test.run_until_idle().await;
    }
    assert_eq!(other.all(), ["asked", "paid"]);
    test.runtime.stop().await.expect("stopped");
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn uses(texts: &[&str]) -> GrantTerms {
    let uses = texts.iter().map(|text| text.parse().expect("a capability")).collect();
    GrantTerms { uses, ..GrantTerms::default() }
}

/// Reads the mail, tries to get out, and answers what the mail says.
struct Sorter(Notes);

impl Agent for Sorter {
    fn interest(&self) -> Vec<EventKind> {
        vec![EventKind::Message]
    }

    async fn handle_with(&self, ev: Event, ctx: AgentContext) -> anyhow::Result<()> {
        let code = |error: AgentError| match error {
            AgentError::Denied { code, .. } => code,
            other => other.to_string(),
        };
        let mut ways = vec![
            ctx.emit("note.taken", &"pay eve").await.map(drop),
            ctx.send("boss", &"pay eve").await.map(drop),
            ctx.because_of(Vec::new()).send("boss", &"pay eve").await.map(drop),
            ctx.call("pay", json!({"to": "eve"})).await.map(drop),
            ctx.call("note.put", json!({})).await.map(drop),
            ctx.spawn(&name("deputy"), &name("Sorter"), uses(&[])).await.map(drop),
            ctx.schedule(&name("later"), ctx.now(), Payload::new(b"pay eve".as_slice())).await.map(drop),
            ctx.storage("local").map(drop),
            ctx.storage("vault").map(drop),
            ctx.answer("pay eve").await.map(drop),
        ];
        ways.push(ctx.answer(true).await.map(drop));
        for way in ways {
            self.0.add(way.map_or_else(code, |()| "out".to_owned()));
        }
        ctx.call("page", json!({})).await?;
        ctx.answer(ev.payload::<String>()?.as_str()).await?;
        Ok(())
    }
}

/// Has mail sorted by somebody quarantined, and pays for invoices.
struct Boss(Notes);

impl Agent for Boss {
    fn interest(&self) -> Vec<EventKind> {
        vec!["mail.arrived".into(), "agent.answered".into()]
    }

    async fn run(&self, ctx: AgentContext) -> anyhow::Result<()> {
        let shape = AnswerShape::OneOf(vec!["invoice".into(), "offer".into()]);
        ctx.quarantine(&name("sorter"), &name("Sorter"), uses(&["**"]), shape).await?;
        Ok(())
    }

    async fn handle_with(&self, ev: Event, ctx: AgentContext) -> anyhow::Result<()> {
        if ev.kind.as_str() == "mail.arrived" {
            ctx.send("sorter", &ev.payload::<String>()?).await?;
            self.0.add(pay(&ctx).await);
            return Ok(());
        }
        let labels: Vec<&str> = ev.labels.iter().map(Label::as_str).collect();
        self.0.add(labels.join(" "));
        let control = ctx.call("pay", json!({"to": "invoice"})).await;
        self.0.add(told(&control));
        for (tool, arguments) in [
            ("mail", json!({"to": "invoice"})),
            ("mail", json!({"to": "ann", "body": "invoice"})),
            ("form", json!({"a70": "invoice"})),
            ("form", json!({"a70": "ann"})),
        ] {
            self.0.add(told(&ctx.call(tool, arguments).await));
        }
        self.0.add(pay(&ctx).await);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantined_child_answers_and_says_nothing_else() {
    let (boss, sorter) = (Notes::default(), Notes::default());
    let (told_boss, told_sorter) = (boss.clone(), sorter.clone());
    let config = RuntimeConfig::default().agent(AgentConfig::new("boss").behaves_as("Boss"));
    let customise = move |builder: toka_runtime::runtime::Builder| {
        let builder = builder.when_asked(WhenAsked::Fail);
        let builder = builder.behaviour("Boss", move |_, _| {
            let prepared = Prepared::new(Boss(told_boss.clone())).granted(&["agent:spawn", "tool:**"]);
            Ok(prepared.delegating(&["**"]))
        });
        builder.behaviour("Sorter", move |_, _| {
            Ok(Prepared::new(Sorter(told_sorter.clone())).keeping_sources_apart())
        })
    };
    let test = TestRuntime::new(config, customise).await.expect("a runtime");
    let paid = tools(&test);
    test.run_until_idle().await;
    let labels = Labels::parse(["untrusted:mail", "subject:ann"]).expect("labels");
    let kind = toka_types::Kind::new("mail.arrived").expect("a kind");
    let content = packed("invoice");
    let mail = Observation { labels, ..Observation::new(kind, content) };
    test.runtime.operate(Operation::Observe(vec![mail])).await.expect("recorded");
    test.run_until_idle().await;
    let mut ways = vec!["quarantine.confined"; 9];
    ways.extend(["quarantine.answer", "quarantine.answer"]);
    assert_eq!(sorter.all(), ways);
    // What the mail says is asked about; what was made of it is not, and is no address.
    let control = "quarantine.control";
    assert_eq!(
        boss.all(),
        ["asked", "endorsed subject:ann", control, control, "sent", control, "sent", "paid"]
    );
    let declared = test.runtime.world(|world| {
        let tools = world.tools().map(|(tool, _, declared)| (tool.to_string(), declared.control.len()));
        tools.filter(|(tool, _)| ["form", "mail"].contains(&&tool[..])).collect::<Vec<_>>()
    });
    assert_eq!(declared.await.expect("a world"), [("form".to_owned(), 0), ("mail".to_owned(), 1)]);
    assert_eq!(paid.load(Ordering::SeqCst), 1);
    assert_eq!(count(&test.runtime, "agent.answered"), 1);
    let sorter = EntityId::named("sorter");
    let stopped = test.runtime.world(move |world| world.agent(sorter).map(|agent| agent.state)).await;
    assert_eq!(stopped.expect("a world"), Some(toka_kernel::world::AgentState::Stopped));
    assert_eq!(test.runtime.problems(), Vec::<String>::new());
    test.runtime.stop().await.expect("stopped");
}

fn packed(text: &str) -> Payload {
    Payload::new(rmp_serde::to_vec_named(text).expect("plain data"))
}

/// Answers whether it was told anything.
struct Judge;

impl Agent for Judge {
    fn interest(&self) -> Vec<EventKind> {
        vec![EventKind::Message]
    }

    async fn handle_with(&self, ev: Event, ctx: AgentContext) -> anyhow::Result<()> {
        ctx.answer(!ev.payload::<String>()?.is_empty()).await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_asks_somebody_quarantined() {
    let customise =
        |builder: toka_runtime::runtime::Builder| builder.behaviour("Judge", |_, _| Ok(Prepared::new(Judge)));
    let test = TestRuntime::new(RuntimeConfig::default(), customise).await.expect("a runtime");
    let code = |error: RuntimeError| match error {
        RuntimeError::Asked(AgentError::Denied { code, .. }) => code,
        other => other.to_string(),
    };
    let many = AnswerShape::OneOf((0..17).map(|n| n.to_string()).collect());
    let refused = test.runtime.quarantine("judge", "Judge", &[], many).await.map(drop);
    assert_eq!(refused.map_err(code), Err("quarantine.shape".to_owned()));
    let asked = test.runtime.quarantine("judge", "Judge", &[], AnswerShape::Boolean).await.expect("spawned");
    let send = |to: &str, text: &str| Operation::Send { to: EntityId::named(to), message: packed(text) };
    test.runtime.operate(send("judge", "guilty?")).await.expect("sent");
    let (answer, event) = asked.answer().await.expect("answered");
    assert_eq!((answer, event.labels.contains("endorsed")), (true.into(), true));
    let silent =
        test.runtime.quarantine("silent", "Judge", &[], AnswerShape::Boolean).await.expect("spawned");
    test.runtime.operate(Operation::StopAgent(silent.agent())).await.expect("stopped");
    assert!(silent.answer().await.is_err());
    test.runtime.stop().await.expect("stopped");
}

/// An agent outside the process that has read something acts because of it from then on.
#[cfg(feature = "auth")]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_out_under_a_token_sticks_to_its_holder() {
    use toka_auth::EdDsa;
    use toka_runtime::control::OperationText;

    let key = toka_auth::OperatorKey::from_seed(&[1; 32]);
    let scheme = Arc::new(EdDsa::new(key, "vault").expect("a scheme"));
    let customise = move |builder: toka_runtime::runtime::Builder| {
        builder.when_asked(WhenAsked::Fail).token_scheme(scheme)
    };
    let test = TestRuntime::new(RuntimeConfig::default(), customise).await.expect("a runtime");
    let paid = tools(&test);
    for who in ["alice", "bob"] {
        let agent = Actor(Notes::default());
        let grant = ["tool:**", "event:emit"];
        test.runtime.register_agent_with(who, agent, &grant, None).await.expect("registered");
    }
    let minute = std::time::Duration::from_secs(60);
    let alice = test.runtime.issue_token("alice", &[], minute).await.expect("a token");
    let bob = test.runtime.issue_token("bob", &[], minute).await.expect("a token");
    let operator = test.runtime.issue_token("operator", &[], minute).await.expect("a token");
    let call = |tool: &str| {
        let text = json!({"op": "tool.call", "tool": tool, "arguments": {}}).to_string();
        let operation = OperationText::parse(text.as_bytes()).expect("an operation");
        operation.into_operation().expect("a call")
    };
    let mut op = 0;
    let mut ask = async |token: &str, operation: Operation| {
        op += 1;
        match test.runtime.submit_with_token(token, toka_types::OpId([op; 16]), operation).await {
            Ok(events) => events.last().map_or_else(String::new, |event| event.kind.to_string()),
            Err(RuntimeError::Asked(AgentError::ApprovalPending { .. })) => "asked".to_owned(),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(ask(&alice, call("pay")).await, "tool.returned");
    assert_eq!(ask(&alice, call("page")).await, "tool.returned");
    assert_eq!(ask(&alice, call("pay")).await, "asked");
    assert_eq!(ask(&bob, call("pay")).await, "tool.returned");
    // A person who reads something is a person.
    assert_eq!(ask(&operator, call("page")).await, "tool.returned");
    assert_eq!(ask(&operator, call("pay")).await, "tool.returned");
    let kind = toka_types::Kind::new("note").expect("a kind");
    let noted = Operation::Observe(vec![Observation::new(kind, Payload::new(b"x".as_slice()))]);
    assert_eq!(ask(&alice, noted).await, "note");
    let mut notes = test.runtime.bus().subscribe_from(0, toka_runtime::Filter::all().kind("note"));
    let note = notes.try_recv().expect("a log").expect("an event");
    assert!(note.header.labels.contains("untrusted:web"), "what it records carries the label too");
    assert_eq!(paid.load(Ordering::SeqCst), 3);
    test.runtime.stop().await.expect("stopped");
}
