//! Agents that agents spawn.

use toka_runtime::behaviour::Prepared;
use toka_runtime::runtime::{Builder, RuntimeConfig};
use toka_runtime::testing::TestRuntime;
use toka_runtime::{Agent, AgentContext, AgentError, Event, EventKind};
use toka_types::operation::GrantTerms;
use toka_types::{EntityId, Name, Operation};

use crate::support::{Doing, Notes, count};

fn terms(texts: &[&str]) -> GrantTerms {
    let uses = texts.iter().map(|text| text.parse().expect("a capability")).collect();
    GrantTerms { uses, ..GrantTerms::default() }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

struct Child;

impl Agent for Child {
    fn interest(&self) -> Vec<EventKind> {
        vec![EventKind::Message]
    }

    async fn handle_with(&self, _: Event, ctx: AgentContext) -> anyhow::Result<()> {
        ctx.emit("child.heard", &()).await?;
        Ok(())
    }

    async fn run(&self, ctx: AgentContext) -> anyhow::Result<()> {
        ctx.emit("child.began", &()).await?;
        assert!(ctx.emit("other", &()).await.is_err(), "its grant is what its parent gave");
        Ok(())
    }
}

/// Spawns one child it may spawn, and notes how it fares with others.
fn parent(notes: &Notes) -> impl Agent {
    let notes = notes.clone();
    Doing(move |ctx: AgentContext| {
        let notes = notes.clone();
        async move {
            let wider = ctx.spawn(&name("wide"), &name("Child"), terms(&["tool:**"])).await;
            notes.add(match wider {
                Err(AgentError::Denied { code, .. }) => code,
                other => format!("{other:?}"),
            });
            ctx.spawn(&name("child"), &name("Child"), terms(&["event:emit(kind=child.**)"])).await?;
            let unknown = ctx.spawn(&name("stranger"), &name("Unknown"), terms(&[])).await;
            notes.add(format!("{}", unknown.is_ok()));
            Ok(())
        }
    })
}

fn with_child(builder: Builder) -> Builder {
    builder.behaviour("Child", |_, _| Ok(Prepared::new(Child)))
}

async fn register_parent(test: &TestRuntime, notes: &Notes) {
    let id = test.runtime.register_agent_with("parent", parent(notes), &["agent:spawn"], None).await;
    id.expect("registered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_needs_what_its_parent_may_delegate() {
    let test = TestRuntime::new(RuntimeConfig::default(), with_child).await.expect("a runtime");
    let notes = Notes::default();
    register_parent(&test, &notes).await;
    test.run_until_idle().await;
    assert_eq!(notes.all()[0], "capability.widened");
    assert_eq!(count(&test.runtime, "child.began"), 0, "a registered agent may delegate nothing");
}

/// Spawns what its behaviour lets it delegate; a later run finds the child there and runs it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_of_a_configured_agent_runs_and_is_there_again_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let vault = Some(toka_runtime::config::VaultConfig::new(folder.path().join("vault")));
    let config = RuntimeConfig { vault, ..RuntimeConfig::default() };
    let config = config.agent(toka_runtime::config::AgentConfig::new("parent").behaves_as("Parent"));
    let runs = if cfg!(feature = "vault") { 2 } else { 1 };
    for run in 1..=runs {
        let notes = Notes::default();
        let told = notes.clone();
        let builder =
            with_child(toka_runtime::Runtime::builder(config.clone())).behaviour("Parent", move |_, _| {
                Ok(Prepared::new(parent(&told)).granted(&["agent:spawn"]).delegating(&["event:emit"]))
            });
        let runtime = builder.build().await.expect("a runtime");
        runtime.start().await.expect("started");
        runtime.idle().await;
        assert_eq!(notes.all()[0], "capability.widened");
        assert_eq!(count(&runtime, "child.began"), run);
        assert_eq!(count(&runtime, "agent.spawned"), 3, "parent, child and stranger, once");
        runtime.stop().await.expect("stopped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_runs_hears_and_ends() {
    let test = TestRuntime::new(RuntimeConfig::default(), with_child).await.expect("a runtime");
    let spawn = Operation::SpawnAgent {
        name: name("giver"),
        behaviour: name("Giver"),
        grant: GrantTerms {
            uses: terms(&["agent:spawn", "agent:stop"]).uses,
            delegates: terms(&["event:emit"]).uses,
            expires: None,
        },
        budget: None,
        quarantine: None,
    };
    test.runtime.operate(spawn).await.expect("spawned");
    let giver = EntityId::named("giver");
    let grant = test.runtime.world(move |world| world.agent(giver).map(|agent| agent.grant)).await;
    let grant = grant.expect("a world").expect("a grant");
    let child = Operation::SpawnAgent {
        name: name("child"),
        behaviour: name("Child"),
        grant: terms(&["event:emit(kind=child.**)"]),
        budget: None,
        quarantine: None,
    };
    let envelope = |operation| toka_types::Envelope {
        origin: giver,
        authority: toka_types::operation::Authority::Grant(grant),
        op_id: None,
        causes: Vec::new(),
        operation,
    };
    test.runtime.submit(envelope(child)).await.expect("spawned");
    test.run_until_idle().await;
    assert_eq!(count(&test.runtime, "child.began"), 1);
    let send =
        |n: u8| Operation::Send { to: EntityId::named("child"), message: toka_types::Payload::new(vec![n]) };
    let (operator, authority) =
        (EntityId::operator(), test.runtime.world(|world| world.operator_grant()).await.expect("a world"));
    let by_operator = |operation| toka_types::Envelope {
        origin: operator,
        authority: toka_types::operation::Authority::Grant(authority.expect("open")),
        op_id: None,
        causes: Vec::new(),
        operation,
    };
    test.runtime.submit(by_operator(send(1))).await.expect("sent");
    test.run_until_idle().await;
    assert_eq!(count(&test.runtime, "child.heard"), 1);
    test.runtime.submit(envelope(Operation::StopAgent(EntityId::named("child")))).await.expect("stopped");
    test.run_until_idle().await;
    assert!(test.runtime.submit(by_operator(send(2))).await.is_err());
    assert_eq!(test.runtime.problems(), Vec::<String>::new());
    test.runtime.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_grant_is_the_one_it_has_now() {
    let test = TestRuntime::new(RuntimeConfig::default(), |builder| builder).await.expect("a runtime");
    struct Answerer;
    impl Agent for Answerer {
        fn interest(&self) -> Vec<EventKind> {
            vec![EventKind::from("ask")]
        }
        async fn handle_with(&self, _: Event, ctx: AgentContext) -> anyhow::Result<()> {
            ctx.emit("answer", &()).await?;
            Ok(())
        }
    }
    test.runtime.register_agent("answerer", Answerer).await.expect("registered");
    let agent = EntityId::named("answerer");
    for (n, (texts, answers)) in
        [(&["event:emit"], 1), (&["tool:echo"], 1), (&["event:emit"], 2)].iter().enumerate()
    {
        let grant = terms(&texts[..]);
        test.runtime.operate(Operation::IssueGrant { agent, grant }).await.expect("issued");
        test.runtime.emit("ask", &n).await.expect("recorded");
        test.run_until_idle().await;
        assert_eq!(count(&test.runtime, "answer"), *answers, "round {n}");
    }
    let expires = Some(test.runtime.now().saturating_add(std::time::Duration::from_secs(1)));
    let grant = GrantTerms { expires, ..terms(&["event:emit"]) };
    test.runtime.operate(Operation::IssueGrant { agent, grant }).await.expect("issued");
    test.advance(std::time::Duration::from_secs(1)).await;
    test.runtime.emit("ask", &9).await.expect("recorded");
    test.run_until_idle().await;
    assert_eq!(count(&test.runtime, "answer"), 2, "the grant has ended");
}
