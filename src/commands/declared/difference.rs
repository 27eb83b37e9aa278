//! The differences between two normal forms: the fields to send, and lines for people.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::resource::label;

/// The top-level fields in which `new` differs from `old`, with the values to send: as they are written in `body`, else
/// the default, else null.
pub(super) fn changed_fields(old: &Value, new: &Value, body: &Value) -> Map<String, Value> {
    let names: BTreeSet<&String> = [old, new].into_iter().filter_map(Value::as_object).flat_map(Map::keys).collect();
    let changed = names.into_iter().filter(|name| old.get(name) != new.get(name));
    let value = |name: &String| {
        let written = body.get(name).filter(|value| !value.is_null());
        written.or_else(|| new.get(name)).cloned().unwrap_or(Value::Null)
    };
    changed.map(|name| (name.clone(), value(name))).collect()
}

/// A line for each value that differs, such as `targets[0].weight: 1 -> 2`.
pub(super) fn differences(old: &Value, new: &Value) -> Vec<String> {
    let (old, new) = (flat(old), flat(new));
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut lines = Vec::new();
    for path in paths {
        let is_part_of_line = |lines: &[String]| {
            lines
                .last()
                .and_then(|line| line.split_once(": "))
                .is_some_and(|(above, _)| path.strip_prefix(above).is_some_and(|rest| rest.starts_with(['.', '['])))
        };
        match (old.get(path), new.get(path)) {
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(new)) => lines.push(format!("{path}: {old} -> {new}")),
            _ if is_part_of_line(&lines) => {}
            (Some(old), None) if old.is_empty() => lines.push(format!("{path}: removed")),
            (None, Some(new)) if new.is_empty() => lines.push(format!("{path}: added")),
            (Some(old), None) => lines.push(format!("{path}: {old} -> none")),
            (None, Some(new)) => lines.push(format!("{path}: none -> {new}")),
            (None, None) => {}
        }
    }
    lines
}

/// Every value by its path. An item that has other values inside has an empty text.
fn flat(value: &Value) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    add(&mut values, String::new(), value);
    values
}

fn add(values: &mut BTreeMap<String, String>, path: String, value: &Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                add(values, path, value);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, item) in items.iter().enumerate() {
                let path = format!("{path}[{}]", label(item).unwrap_or_else(|| index.to_string()));
                match whole(item) {
                    Some(text) => drop(values.insert(path, text)),
                    None => {
                        values.insert(path.clone(), String::new());
                        add(values, path, &without_label(item));
                    }
                }
            }
        }
        // An empty list and an absent one look alike.
        Value::Array(items) if items.is_empty() => {}
        scalar => drop(values.insert(path, scalar.to_string())),
    }
}

/// A limit or budget as one value.
fn whole(item: &Value) -> Option<String> {
    match (item.get("threshold"), item.get("amount"), item.get("currency")) {
        (Some(threshold), ..) => Some(threshold.to_string()),
        (None, Some(Value::String(amount)), Some(Value::String(currency))) => Some(format!("{amount} {currency}")),
        _ => None,
    }
}

fn without_label(item: &Value) -> Value {
    let mut item = item.clone();
    if let Some(fields) = item.as_object_mut() {
        fields.remove("slug");
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_name_models_limits_and_budgets() {
        let limit = |threshold: u64| json!([{ "type": "TOKEN", "unit": "DAY", "threshold": threshold }]);
        let old = json!({ "disabled": false, "models": [
            { "slug": "a/b", "usage_limits": limit(1) }, { "slug": "a/c", "usage_limits": limit(1) }] });
        let new = json!({ "disabled": false, "metadata": { "name": "x" },
            "budgets": [{ "unit": "DAY", "currency": "EUR", "amount": "5" }], "models": [
            { "slug": "a/b", "usage_limits": limit(2) }, { "slug": "a/d", "usage_limits": limit(1) }] });
        let expected = [
            "budgets[DAY]: none -> 5 EUR",
            "metadata.name: none -> \"x\"",
            "models[a/b].usage_limits[TOKEN DAY]: 1 -> 2",
            "models[a/c]: removed",
            "models[a/d]: added",
        ];
        assert_eq!(differences(&old, &new), expected);
        assert!(differences(&new, &new).is_empty());
    }

    #[test]
    fn a_removed_field_is_sent_as_its_default() {
        let old = json!({ "url": "a", "description": "d", "enabled": false });
        let new = json!({ "url": "a", "enabled": true });
        let fields = changed_fields(&old, &new, &json!({ "url": "a" }));
        assert_eq!(Value::Object(fields), json!({ "description": null, "enabled": true }));
    }
}
