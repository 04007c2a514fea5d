use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use toka_toolkit_core::{
    CallContext, EffectClass, Input, Manifest, ManifestError, Output, Probe, RegistryError, Tool, ToolError,
    ToolRegistry, Version, VersionReq,
};
use toka_types::{Digest, Name, Timestamp};

struct Versioned(Manifest);

impl Versioned {
    fn new(id: &str, version: &str) -> Result<Self, ManifestError> {
        Manifest::builder(id, version)
            .description("says its version")
            .effect(EffectClass::Write)
            .build()
            .map(Self)
    }
}

impl Tool for Versioned {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    async fn call(&self, _: Input, context: &CallContext) -> Result<Output, ToolError> {
        if context.cancel.is_cancelled() {
            return Err(ToolError::Cancelled);
        }
        Ok(Output::value(self.0.version().to_string()))
    }
}

/// Runs a future that never waits.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the future waits"),
    }
}

#[test]
fn the_newest_admitted_version_answers() -> Result<(), Box<dyn std::error::Error>> {
    let registry = ToolRegistry::new();
    for version in ["0.3.1", "1.2.0", "1.10.0", "2.0.0", "0.3.0", "0.4.0"] {
        registry.register(Versioned::new("t", version)?)?;
    }
    registry.register(Versioned::new("s", "1.0.0")?)?;
    let again = registry.register(Versioned::new("t", "1.2.0")?);
    assert!(matches!(again, Err(RegistryError::Duplicate { version: Version { minor: 2, .. }, .. })));

    let check = |wanted: &str, found: Option<&str>| {
        let tool = wanted.parse::<VersionReq>().ok().and_then(|req| registry.get("t", Some(req)));
        assert_eq!(tool.map(|t| t.manifest().version().to_string()).as_deref(), found, "{wanted}");
    };
    check("*", Some("2.0.0"));
    check("1.2.0", Some("1.10.0"));
    check("^1.2.0", Some("1.10.0"));
    check("=1.2.0", Some("1.2.0"));
    check("1.11.0", None);
    check("0.3.0", Some("0.3.1"));
    check("0.2.0", None);
    check("=3.0.0", None);

    let ids: Vec<String> =
        registry.list().iter().map(|t| format!("{} {}", t.manifest().id(), t.manifest().version())).collect();
    assert_eq!(ids, ["s 1.0.0", "t 0.3.0", "t 0.3.1", "t 0.4.0", "t 1.2.0", "t 1.10.0", "t 2.0.0"]);
    assert_eq!(registry.remove("t", "2.0.0".parse().ok()), 1);
    check("*", Some("1.10.0"));
    assert_eq!(registry.remove("t", None), 5);
    assert_eq!(registry.remove("t", None), 0);
    assert!(registry.get("t", None).is_none());
    assert!(registry.get("s", None).is_some());
    Ok(())
}

#[test]
fn a_tool_is_called_through_its_pointer() -> Result<(), Box<dyn std::error::Error>> {
    let registry = ToolRegistry::new();
    registry.register(Versioned::new("t", "1.0.0")?)?;
    let tool = registry.get("t", None).ok_or("no tool")?;
    let context = CallContext::new(Name::new("tester")?, Digest::of(b"1"), Timestamp::EPOCH);
    assert_eq!(ready(tool.call(Input::default(), &context)), Ok(Output::value("1.0.0")));
    assert_eq!(ready(tool.probe(&context.key)), Probe::Unknown);
    context.clone().cancel.cancel();
    assert_eq!(ready(tool.call(Input::default(), &context)), Err(ToolError::Cancelled));
    Ok(())
}
