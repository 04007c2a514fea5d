//! `${VAR}` and `${VAR:-default}` in strings.

use super::environment::Environment;

/// Why a string could not be expanded. `fragment` is the text to point at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) fragment: String,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// Replaces every `${VAR}` and `${VAR:-default}` of `text`, and `$${` by `${`; reports all that fails.
pub(super) fn expand(text: &str, environment: &Environment) -> Result<String, Vec<Trouble>> {
    let mut out = String::with_capacity(text.len());
    let mut troubles = Vec::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        if let Some(after) = rest.strip_prefix("$${") {
            out.push_str("${");
            rest = after;
        } else if let Some(body) = rest.strip_prefix("${") {
            let Some(end) = body.find('}') else {
                troubles.push(Trouble {
                    fragment: "${".to_owned(),
                    message: "'${' is never closed".to_owned(),
                    hint: Some(
                        "write ${NAME} or ${NAME:-default}, or $${ for the characters themselves".to_owned(),
                    ),
                });
                break;
            };
            match reference(&body[..end], environment) {
                Ok(value) => out.push_str(&value),
                Err(trouble) => troubles.push(trouble),
            }
            rest = &body[end + 1..];
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    if troubles.is_empty() { Ok(out) } else { Err(troubles) }
}

/// The value of what stands between the braces.
fn reference(body: &str, environment: &Environment) -> Result<String, Trouble> {
    let (name, default) = match body.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (body, None),
    };
    let fragment = format!("${{{body}");
    let shown = super::diagnostic::quoted(&format!("${{{body}}}"));
    if !is_variable(name) {
        return Err(Trouble {
            fragment,
            message: format!("{shown} does not name a variable"),
            hint: Some("write ${NAME} or ${NAME:-default}; a name has letters, digits and _".to_owned()),
        });
    }
    if default.is_some_and(|default| default.contains("${")) {
        return Err(Trouble {
            fragment,
            message: format!("the default in {shown} refers to another variable"),
            hint: Some("a default is plain text".to_owned()),
        });
    }
    match (environment.get(name).map(|value| value.to_str()), default) {
        (None, Some(default)) => Ok(default.to_owned()),
        (Some(Some("")), Some(default)) => Ok(default.to_owned()),
        (Some(Some(value)), _) => Ok(value.to_owned()),
        (Some(None), _) => {
            Err(Trouble { fragment, message: format!("the variable '{name}' is not UTF-8"), hint: None })
        }
        (None, None) => Err(Trouble {
            fragment,
            message: format!("the variable '{name}' is not set"),
            hint: Some(format!("set {name}, or write ${{{name}:-default}}")),
        }),
    }
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
