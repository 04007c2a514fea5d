use serde_json::{Value, json};
use toka_toolkit_core::{
    ArgumentKind, EffectClass, Input, Limits, Manifest, ManifestBuilder, ManifestError, Output, ToolError,
};
use toka_types::capability::Argument;

fn builder(schema: Value) -> ManifestBuilder {
    Manifest::builder("web.get", "1.0.0").description("gets").effect(EffectClass::Pure).input(schema)
}

fn fetch() -> Manifest {
    let text = json!({"type": "string"});
    let schema = json!({
        "type": "object",
        "properties": {
            "path": {"type": "array", "items": text}, "host": text, "n": {"type": "integer"}, "mode": text,
            "deep": {"type": "object", "properties": {"x": {"type": "number", "minimum": 0.5}}, "required": ["x"]},
            "any": {}, "flag": {"type": "boolean"}, "one": {"enum": ["a", 1]},
            "short": {"type": "string", "maxLength": 3, "minLength": 1},
        },
        "required": ["host"],
        "additionalProperties": false,
    });
    let manifest = builder(schema)
        .governed("path", ArgumentKind::Path)
        .governed("host", ArgumentKind::Host)
        .governed("n", ArgumentKind::Number)
        .governed("mode", ArgumentKind::Text);
    manifest.build().unwrap_or_else(|e| panic!("{e}"))
}

fn prepare(arguments: Value) -> Result<Input, ToolError> {
    fetch().prepare(Input::from_value(arguments)?)
}

#[test]
fn arguments_that_do_not_fit_the_schema_are_refused() {
    let refused = |arguments: Value, message: &str| match prepare(arguments) {
        Err(ToolError::InvalidInput(text)) => assert_eq!(text, message),
        other => panic!("{message}: {other:?}"),
    };
    refused(json!({}), "argument 'host' is missing");
    refused(json!({"host": 1}), "argument 'host' is a number; string is expected");
    refused(json!({"host": null}), "argument 'host' is null; string is expected");
    refused(json!({"host": "a", "n": 1.5}), "argument 'n' is a number; integer is expected");
    refused(json!({"host": "a", "path": ["a", 1]}), "argument 'path.1' is a number; string is expected");
    refused(json!({"host": "a", "deep": {}}), "argument 'deep.x' is missing");
    refused(json!({"host": "a", "deep": {"x": 0.25}}), "argument 'deep.x' is 0.25; at least 0.5 is expected");
    refused(json!({"host": "a", "flag": "true"}), "argument 'flag' is a string; boolean is expected");
    refused(json!({"host": "a", "one": "b"}), "argument 'one' is not one of [\"a\",1]");
    refused(
        json!({"host": "a", "short": "\u{e9}\u{e9}\u{e9}\u{e9}"}),
        "argument 'short' has length 4; at most 3 is allowed",
    );
    refused(
        json!({"host": "a", "Path": []}),
        "argument 'Path' is not known; there are: any, deep, flag, host, mode, n, one, path, short",
    );
    refused(
        json!({"host": "a b"}),
        "argument 'host' is no host; write a name such as api.example.com, or an address",
    );
    refused(
        json!({"host": "a", "n": -1}),
        "argument 'n' is negative, and capabilities speak about numbers from 0 on",
    );
    assert_eq!(prepare(json!({"host": "a", "n": 3.0})), prepare(json!({"host": "a", "n": 3})));
    assert!(prepare(json!({"host": "a", "any": [{"x": null}], "short": "\u{e9}", "one": 1})).is_ok());
}

#[test]
fn governed_arguments_are_brought_into_normal_form() -> Result<(), ToolError> {
    let input =
        prepare(json!({"path": ["docs/./a//b", "x/../y"], "host": "API.Example.com.", "n": 3, "mode": "a"}))?;
    assert_eq!(input.canonical(), br#"{"host":"api.example.com","mode":"a","n":3,"path":["docs/a/b","y"]}"#);
    let expected = [
        ("path", Argument::Path("docs/a/b")),
        ("path", Argument::Path("y")),
        ("host", Argument::Host("api.example.com")),
        ("n", Argument::Number(3)),
        ("mode", Argument::Text("a")),
    ];
    assert_eq!(fetch().arguments(&input), expected);
    for path in ["/etc", "..", "a/../..", "a\0", "%2e%2e", "a%"] {
        let error = prepare(json!({"host": "a", "path": [path]})).map_err(|e| e.code().to_owned());
        assert_eq!(error, Err("path-escape".to_owned()), "{path}");
    }
    Ok(())
}

#[test]
fn a_governed_amount_is_read_as_money() -> Result<(), ToolError> {
    let pay = |name: &str| {
        builder(json!({"properties": {name: {"type": "string"}}})).governed(name, ArgumentKind::Money).build()
    };
    let manifest = pay("amount").unwrap_or_else(|e| panic!("{e}"));
    let input = manifest.prepare(Input::from_value(json!({"amount": "0.5 USD"}))?)?;
    assert_eq!(input.canonical(), br#"{"amount":"0.50 USD"}"#);
    let money = "0.50 USD".parse().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(manifest.arguments(&input), [("amount", Argument::Money(money))]);
    for text in ["0.5", "0.5 usd", "1e3 USD", "0.5  USD", ""] {
        let refused = manifest.prepare(Input::from_value(json!({"amount": text}))?);
        assert_eq!(
            refused.map_err(|e| e.code().to_owned()).err().as_deref(),
            Some("invalid-input"),
            "{text}"
        );
    }
    assert!(pay("path").is_err() && pay("rate").is_err() && pay("at").is_err());
    Ok(())
}

#[test]
fn a_manifest_that_could_not_be_kept_is_refused() {
    let schema = |schema: Value, message: &str| match builder(schema).build() {
        Err(ManifestError::Schema(error)) => assert_eq!(error.to_string(), message),
        other => panic!("{message}: {other:?}"),
    };
    schema(json!([]), "schema at '': an array stands where an object is expected");
    schema(json!({"type": "string"}), "schema at '': the top must be of type object");
    schema(
        json!({"properties": {"a": {"pattern": "x"}}}),
        "schema at 'a': 'pattern' is not enforced here, so it may not be written",
    );
    schema(
        json!({"properties": {"a": {"type": "string", "maximum": 3}}}),
        "schema at 'a': 'maximum' says nothing about the type that is declared",
    );
    schema(json!({"required": ["a"]}), "schema at '': 'a' is required but not among the properties");
    schema(
        json!({"properties": {"a": {"type": "text"}}}),
        "schema at 'a': 'type' must be one of string, integer, number, boolean, array, object",
    );

    let governed = |name: &str, kind, problem: &str| {
        let text = json!({"type": "string"});
        let schema = json!({"properties": {"path": text, "to": text, "n": text, "Path": text, "any": {}}});
        match builder(schema).governed(name, kind).build() {
            Err(ManifestError::Governed { problem: found, .. }) => {
                assert!(found.contains(problem), "{found}")
            }
            other => panic!("{name}: {other:?}"),
        }
    };
    governed("from", ArgumentKind::Text, "not among the properties");
    governed("to", ArgumentKind::Path, "does not suit");
    governed("path", ArgumentKind::Text, "does not suit");
    governed("Path", ArgumentKind::Path, "does not suit");
    governed("n", ArgumentKind::Number, "must be of type");
    governed("any", ArgumentKind::Text, "must be of type");

    let base = || Manifest::builder("a.b", "1.0.0").description("d").effect(EffectClass::Pure);
    assert!(base().build().is_ok());
    assert!(matches!(Manifest::builder("a..b", "1.0.0").build(), Err(ManifestError::Action(_))));
    assert!(matches!(Manifest::builder("a b", "1.0.0").build(), Err(ManifestError::Id(_))));
    assert!(matches!(base().description("").build(), Err(ManifestError::Description(0))));
    assert!(matches!(base().labels(["no label"]).build(), Err(ManifestError::Label(_))));
    let no_effect = Manifest::builder("a", "1.0.0").description("d").build();
    assert!(matches!(no_effect, Err(ManifestError::Effect(_))));
    for version in ["1.0", "1.0.0.0", "01.0.0", "1.0.x", "+1.0.0", ""] {
        let built = Manifest::builder("a", version).description("d").effect(EffectClass::Pure).build();
        assert!(matches!(built, Err(ManifestError::Version(_))), "{version}");
    }
}

#[test]
fn limits_are_kept() -> Result<(), ManifestError> {
    let limits = Limits { input_bytes: 20, output_bytes: 10, ..Limits::default() };
    let manifest = builder(json!({"properties": {"a": {}}})).limits(limits).build()?;
    let input = |len: usize| Input::from_value(json!({"a": "x".repeat(len)})).map_err(ToolError::from);
    assert!(input(12).and_then(|i| manifest.prepare(i)).is_ok());
    assert!(matches!(input(13).and_then(|i| manifest.prepare(i)), Err(ToolError::InvalidInput(_))));
    assert_eq!(manifest.check_output(&Output::value("12345678")), Ok(()));
    let too_large = Err(ToolError::OutputTooLarge { size: 11, limit: 10 });
    assert_eq!(manifest.check_output(&Output::value("123456789")), too_large);
    assert_eq!(manifest.check_output(&Output::with_bytes(Value::Null, vec![0; 11])), too_large);
    Ok(())
}
