//! What a call gave, as whoever asks for it from outside is told.

use serde_json::{Value, json};
use toka_runtime::Runtime;
use toka_runtime::config::{RuntimeConfig, VaultConfig};
use toka_runtime::control::{Asked, CallOutcome, OperationText};
use toka_toolkit_core::{CallContext, EffectClass, Input, Limits, Manifest, Output, Record, Tool, ToolError};
use toka_types::OpId;

/// Gives what it is asked for.
struct Gives(Manifest);

impl Tool for Gives {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    async fn call(&self, input: Input, _: &CallContext) -> Result<Output, ToolError> {
        let size = json!({ "size": 3 });
        match input.get("what").and_then(Value::as_str) {
            Some("value") => Ok(Output::value(Value::Null)),
            Some("text") => Ok(Output::with_bytes(size, b"a\nb".to_vec())),
            Some("bytes") => Ok(Output::with_bytes(size, vec![0xff, 0])),
            Some("much") => Ok(Output::with_bytes(size, vec![b'x'; 4 << 20])),
            _ => Err(ToolError::failed("gone", "there is nothing")),
        }
    }
}

async fn asked(runtime: &Runtime, tool: &str, what: &str, op_id: Option<u8>) -> (usize, CallOutcome) {
    let operation = json!({"op": "tool.call", "tool": tool, "arguments": {"what": what}});
    let operation = OperationText::parse(operation.to_string().as_bytes()).expect("an operation");
    let op_id = op_id.map(|n| OpId([n; 16]));
    let answer = runtime.control(Asked::Operator { op_id, operation }).await;
    // What is told through the socket is the same.
    let line = serde_json::to_vec(&answer).expect("JSON");
    assert!(line.len() < 4 << 20);
    assert_eq!(serde_json::from_slice::<toka_runtime::control::Answer>(&line).expect("an answer"), answer);
    (answer.events.expect("done").len(), answer.output.expect("what it gave"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_answered_with_what_it_gave_and_its_labels() {
    let directory = tempfile::tempdir().expect("a directory");
    let config =
        RuntimeConfig { vault: Some(VaultConfig::new(directory.path())), ..RuntimeConfig::default() };
    let runtime = Runtime::builder(config).build().await.expect("a runtime");
    for (tool, record, effect) in [
        ("look", Record::Digest, EffectClass::Read { local: true }),
        ("give", Record::Content, EffectClass::Idempotent),
    ] {
        let manifest =
            Manifest::builder(tool, "1.0.0").description("For a test.").effect(effect).record(record);
        let manifest = manifest.input(json!({"properties": {"what": {"type": "string"}}}));
        let manifest =
            manifest.labels(["untrusted:web"]).limits(Limits { output_bytes: 8 << 20, ..Limits::default() });
        runtime.register_tool(Gives(manifest.build().expect("sound"))).expect("registered");
    }
    for (tool, number, op_id) in [("look", 1, Some(7)), ("give", 2, Some(8))] {
        for (what, value, bytes) in [
            ("value", Value::Null, None),
            ("text", json!({"size": 3}), Some(json!("a\nb"))),
            ("bytes", json!({"size": 3}), Some(json!({"base64": "/wA="}))),
        ] {
            let (events, given) = asked(&runtime, tool, what, None).await;
            assert_eq!(events, number, "{tool}");
            assert_eq!((&given.status[..], given.bytes), ("ok", bytes), "{tool} {what}");
            assert_eq!((given.value, given.detail, given.left_out), (value, None, None), "{tool} {what}");
            assert_eq!(given.labels.len(), 1, "{tool} {what}");
        }
        let (_, much) = asked(&runtime, tool, "much", None).await;
        assert_eq!((&much.status[..], &much.value, &much.bytes), ("ok", &Value::Null, &None));
        assert!(much.left_out.is_some_and(|why| why.contains("4194") && why.contains("3145728")));
        let (_, failed) = asked(&runtime, tool, "nothing", None).await;
        assert_eq!((&failed.status[..], failed.detail.as_deref()), ("gone", Some("there is nothing")));
        assert_eq!((failed.value, failed.labels.len()), (Value::Null, 1), "a failure is from there too");
        // Asked again, what is kept of it.
        let first = asked(&runtime, tool, "text", op_id).await;
        let again = asked(&runtime, tool, "text", op_id).await;
        assert_eq!(first.0, again.0);
        match tool {
            "give" => assert_eq!(again, first),
            _ => {
                assert_eq!((&again.1.value, &again.1.labels), (&Value::Null, &first.1.labels));
                assert!(again.1.left_out.is_some_and(|why| why.contains("is not kept")));
            }
        }
    }
    runtime.stop().await.expect("stopped");
}
