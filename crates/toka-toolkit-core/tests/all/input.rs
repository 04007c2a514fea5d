use serde_json::json;
use toka_toolkit_core::input::{MAX_DEPTH, MAX_INPUT};
use toka_toolkit_core::{Input, InputError};

#[track_caller]
fn canonical(text: &str, expected: &str) {
    let input = Input::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(String::from_utf8_lossy(input.canonical()), expected);
    let again = Input::parse(input.canonical()).unwrap_or_else(|e| panic!("{expected}: {e}"));
    assert_eq!(again, input);
    assert_eq!(again.digest(), input.digest());
}

#[test]
fn equal_arguments_have_the_same_bytes() {
    canonical("{}", "{}");
    canonical(r#" { "b" : 1 , "a" : [ true , null ] } "#, r#"{"a":[true,null],"b":1}"#);
    canonical(r#"{"a":"\u0041\n\u00e9\/\\\""}"#, "{\"a\":\"A\\u000a\u{e9}/\\\\\\\"\"}");
    canonical(r#"{"\u0061":1}"#, r#"{"a":1}"#);
    canonical(r#"{"z":{"b":1,"a":2},"a":{}}"#, r#"{"a":{},"z":{"a":2,"b":1}}"#);
    canonical(r#"{"a":"[{\"[{,:1.00000000000000000000001"}"#, r#"{"a":"[{\"[{,:1.00000000000000000000001"}"#);
    for (number, one) in [
        ("1", "1"),
        ("1.0", "1"),
        ("1e0", "1"),
        ("100e-2", "1"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("1.50", "1.5"),
        ("0.1", "0.1"),
        ("-7", "-7"),
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9007199254740993", "9007199254740993"),
    ] {
        canonical(&format!("{{\"n\":{number}}}"), &format!("{{\"n\":{one}}}"));
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let malformed = |text: &str| match Input::parse(text) {
        Err(InputError::Malformed(_)) => {}
        other => panic!("{text}: {other:?}"),
    };
    malformed(r#"{"path":"docs/a","path":"/etc/passwd"}"#);
    malformed(r#"{"path":1,"\u0070ath":2}"#);
    malformed(r#"{"a":[{"b":1,"b":1}]}"#);
    malformed(r#"{"a":1} {"b":2}"#);
    malformed(r#"{"a":1}x"#);
    malformed(r#"{"a":01}"#);
    malformed(r#"{"a":NaN}"#);
    malformed(r#"{"a":1,}"#);
    malformed(r#"{"a":"\ud800"}"#);
    malformed(r#"{"a":1e999}"#);
    malformed("{\"a");
    malformed("{\"a\\");
    malformed("");
    assert!(Input::parse(b"{\"a\":\"\xff\"}").is_err());

    for (text, what) in [("[]", "an array"), ("1", "a number"), ("null", "null"), ("\"\"", "a string")] {
        assert_eq!(Input::parse(text), Err(InputError::NotAnObject(what)));
    }
    for number in ["18446744073709551616", "0.10000000000000000001", "123456789012345678.5", "1e-999"] {
        let error = InputError::Inexact(number.to_owned());
        assert_eq!(Input::parse(format!("{{\"n\":{number}}}")), Err(error));
    }
}

#[test]
fn size_and_depth_are_bounded() {
    let nested = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert!(Input::parse(nested(MAX_DEPTH)).is_ok());
    assert_eq!(Input::parse(nested(MAX_DEPTH + 1)), Err(InputError::TooDeep));
    assert_eq!(Input::parse(nested(200_000)), Err(InputError::TooDeep));
    let deep = (0..MAX_DEPTH).fold(json!(1), |inner, _| json!([inner]));
    assert_eq!(Input::from_value(json!({"a": deep})), Err(InputError::TooDeep));
    let text = |len: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(len - 8));
    assert!(Input::parse(text(MAX_INPUT)).is_ok());
    let error = InputError::TooLarge { size: MAX_INPUT + 1, limit: MAX_INPUT };
    assert_eq!(Input::parse(text(MAX_INPUT + 1)), Err(error));
}
