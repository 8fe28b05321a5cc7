//! The walk every tree takes before it is checked: `${ENV}` in values is replaced and keys given twice are reported.

use std::collections::HashMap;

use super::super::problem::{Mark, Report};
use super::{Node, Scalar, Value, join_index, join_key};

/// Looks a variable up; None where it is unset.
pub(in crate::config) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces `${ENV}` and `${ENV:-default}` in every value and drops repeated keys, reporting what cannot be settled.
/// Keys are left as they are. `$${` stands for a `${` that is meant as text.
pub(in crate::config) fn settle(node: &mut Node, path: &str, env: Environment, report: &Report) {
    let mark = node.mark;
    match &mut node.value {
        Value::Null | Value::Broken(_) => {}
        Value::Scalar(scalar) => {
            match interpolate(scalar, env) {
                // `${TLS_CERT:-}` left empty is as if the key were not there.
                Ok(()) if scalar.written.is_some() && scalar.text.is_empty() => node.value = Value::Null,
                Ok(()) => {}
                Err((message, remedy)) => {
                    node.value = Value::Broken(report.add(Some(mark), path, message, Some(remedy)));
                }
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                settle(item, &join_index(path, index), env, report);
            }
        }
        Value::Map(entries) => {
            let mut first_at: HashMap<String, Mark> = HashMap::new();
            entries.retain(|entry| {
                let Some(first) = first_at.get(&entry.key) else {
                    first_at.insert(entry.key.clone(), entry.mark);
                    return true;
                };
                let message = format!("{:?} is given twice", entry.key);
                let remedy = format!("keep this one or the one on line {}", first.line);
                report.add(Some(entry.mark), &join_key(path, &entry.key), message, Some(remedy));
                false
            });
            for entry in entries {
                settle(&mut entry.value, &join_key(path, &entry.key), env, report);
            }
        }
    }
}

/// Replaces the variables of one scalar, or says what is wrong and what to do.
fn interpolate(scalar: &mut Scalar, env: Environment) -> Result<(), (String, String)> {
    if !scalar.text.contains("${") {
        return Ok(());
    }
    let mut filled = String::with_capacity(scalar.text.len());
    let mut rest = scalar.text.as_str();
    let mut replaced = false;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(literal) = before.strip_suffix('$') {
            filled.push_str(literal);
            filled.push_str("${");
            rest = &from[2..];
            continue;
        }
        filled.push_str(before);
        let (reference, after) = from[2..].split_once('}').ok_or_else(|| {
            ("a \"${\" without its \"}\"".to_owned(), "close it, or write \"$${\" for the text itself".to_owned())
        })?;
        filled.push_str(&lookup(reference, env)?);
        replaced = true;
        rest = after;
    }
    filled.push_str(rest);
    let written = std::mem::replace(&mut scalar.text, filled);
    scalar.written = replaced.then_some(written);
    Ok(())
}

/// As in a shell, a default also stands in for a variable that is set to nothing.
fn lookup(reference: &str, env: Environment) -> Result<String, (String, String)> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !valid {
        let remedy = "write ${NAME} or ${NAME:-default}, or \"$${\" for the text itself".to_owned();
        return Err((format!("{name:?} is no name of an environment variable"), remedy));
    }
    match (env(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => {
            let remedy = format!("set it, or give a default: ${{{name}:-…}}");
            Err((format!("the environment variable {name} is not set"), remedy))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String, String> {
        let env = |name: &str| match name {
            "HOST" => Some("litellm".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${HOST}".to_owned()),
            _ => None,
        };
        let mut scalar = Scalar { text: text.to_owned(), written: None, plain: true };
        interpolate(&mut scalar, &env).map(|()| scalar.text).map_err(|(message, _)| message)
    }

    #[test]
    fn variables_are_replaced_wherever_they_stand() {
        for (text, expected) in [
            ("plain $5 text", "plain $5 text"),
            ("http://${HOST}:4000/${HOST}", "http://litellm:4000/litellm"),
            ("${PORT:-80}", "80"),
            ("${PORT:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${URL:-http://a:1}", "http://a:1"),
            ("${NESTED}", "${HOST}"),
            ("$${HOST}", "${HOST}"),
            ("$${HOST} ${HOST}", "${HOST} litellm"),
            ("end$", "end$"),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_a_problem() {
        for (text, part) in [
            ("${NOWHERE}", "NOWHERE is not set"),
            ("${HOST", "without its"),
            ("${}", "is no name"),
            ("${1A}", "is no name"),
            ("${A B}", "is no name"),
            ("${HOST-x}", "is no name"),
        ] {
            assert!(filled(text).unwrap_err().contains(part), "{text}");
        }
    }
}
