//! A writer of YAML in the form that `tollgate dump` and `import` print: block style, two spaces a level, the fields of
//! an object in the order of [`ORDER`]. The same value always has the same text.

use std::fmt::Write;

use serde_json::{Map, Value};

/// The order of known fields. Other fields follow in alphabetical order.
const ORDER: &[&str] = &[
    "name",
    "value_env",
    "slug",
    "url",
    "provider",
    "base_url",
    "target_model",
    "secret",
    "external_entity_id",
    "metadata",
    "parent",
    "hierarchy",
    "disabled",
    "region",
    "routing",
    "queue_timeout_s",
    "targets",
    "type",
    "unit",
    "currency",
    "above",
    "input",
    "output",
    "threshold",
    "models",
];

/// The fields of an object in the order in which they are written.
fn ordered(fields: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_by_key(|(name, _)| ORDER.iter().position(|known| known == name).unwrap_or(ORDER.len()));
    fields
}

/// Writes the items of a list at the given indentation.
pub(super) fn list(items: &[Value], indent: usize) -> String {
    let mut out = String::new();
    write_list(&mut out, items, indent);
    out
}

fn write_list(out: &mut String, items: &[Value], indent: usize) {
    for item in items {
        pad(out, indent);
        out.push_str("- ");
        match item {
            // The first field follows the dash, the others are below it.
            Value::Object(fields) if !fields.is_empty() => {
                for (index, (name, value)) in ordered(fields).into_iter().enumerate() {
                    if index > 0 {
                        pad(out, indent + 2);
                    }
                    write_field(out, name, value, indent + 2);
                }
            }
            value => {
                write_inline(out, value);
                out.push('\n');
            }
        }
    }
}

fn write_field(out: &mut String, name: &str, value: &Value, indent: usize) {
    out.push_str(&scalar_text(name));
    out.push(':');
    match value {
        Value::Object(fields) if !fields.is_empty() && !is_flat(value) => {
            out.push('\n');
            for (name, value) in ordered(fields) {
                pad(out, indent + 2);
                write_field(out, name, value, indent + 2);
            }
        }
        Value::Array(items) if !items.is_empty() && !is_flat(value) => {
            out.push('\n');
            if items.iter().all(is_flat) {
                for item in items {
                    pad(out, indent + 2);
                    out.push_str("- ");
                    write_inline(out, item);
                    out.push('\n');
                }
            } else {
                write_list(out, items, indent + 2);
            }
        }
        value => {
            out.push(' ');
            write_inline(out, value);
            out.push('\n');
        }
    }
}

/// Whether a value fits on one line: a scalar, or a short list or object of scalars.
fn is_flat(value: &Value) -> bool {
    let is_scalar = |value: &Value| !matches!(value, Value::Object(_) | Value::Array(_));
    match value {
        Value::Array(items) => items.iter().all(is_scalar),
        Value::Object(fields) => fields.len() <= 4 && fields.values().all(is_scalar) && width(value) <= 90,
        _ => true,
    }
}

fn width(value: &Value) -> usize {
    let mut text = String::new();
    write_inline(&mut text, value);
    text.chars().count()
}

fn write_inline(out: &mut String, value: &Value) {
    match value {
        Value::String(text) => out.push_str(&scalar_text(text)),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_inline(out, item);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (index, (name, item)) in ordered(fields).into_iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                let _ = write!(out, "{}: ", scalar_text(name));
                write_inline(out, item);
            }
            out.push('}');
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// A text as a YAML scalar: plain if every YAML reader takes it as a text, else quoted as in JSON, which YAML includes.
pub(super) fn scalar_text(text: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '~' | '@' | '+');
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word));
    // A URL is plain too: its colon is followed by a slash.
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let is_plain = |c: char| is_safe(c) || (c == ':' && rest.len() < text.len());
    if begins_well && !is_word && rest.chars().all(is_plain) && !rest.ends_with(':') {
        return text.to_owned();
    }
    // YAML readers do not take these two characters unescaped on one line.
    let quoted = serde_json::to_string(text).unwrap_or_default();
    quoted
        .replace('\u{85}', "\\u0085")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
        .replace('\u{feff}', "\\ufeff")
        .replace('\u{7f}', "\\u007f")
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::document::Node;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn short_lists_of_limits_are_one_line_each() {
        let group = json!({ "metadata": { "external_entity_id": "cust_42", "name": "Größe: <b>" }, "models": [
            { "slug": "a/b", "rate_limits": [{ "type": "TOKEN", "unit": "MINUTE", "threshold": 5 }] }],
            "budgets": [], "types": ["ALERT"], "url": "https://a.example:8080/x", "amount": "500" });
        assert_eq!(
            list(&[group], 2),
            "  - url: https://a.example:8080/x
    metadata: {name: \"Größe: <b>\", external_entity_id: cust_42}
    models:
      - slug: a/b
        rate_limits:
          - {type: TOKEN, unit: MINUTE, threshold: 5}
    amount: \"500\"
    budgets: []
    types: [ALERT]
"
        );
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            "[ -~]{0,12}".prop_map(Value::String),
            any::<String>().prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                prop::collection::vec(("[a-z]{1,4}|[ -~]{1,6}", inner), 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_written_value_is_read_as_the_same(items in prop::collection::vec(value(), 1..4)) {
            let text = format!("items:\n{}", list(&items, 2));
            let node = Node::read(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(&node.to_json()["items"], &Value::Array(items), "{}", text);
        }
    }
}
