//! `tollgate dump`: prints a file for `apply` with the gateway's resources. Defaults are left out, and the same state
//! always has the same text.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Map, Value, json};

use super::{client::Client, declared::Live, failed::Failed, output::say, yaml};
use crate::crypto::secret::Secret;

/// Prints the resources of the gateway at `url`. `key` is the operator key.
pub fn dump(url: &str, key: Option<Secret>) -> Result<(), Failed> {
    let live = Live::read(&Client::new(url, key)?)?;
    let text = text_of(&live);
    say(text.trim_end_matches('\n'))
}

fn text_of(live: &Live) -> String {
    let mut text = String::new();
    let (mut taken, mut comments) = (HashSet::new(), String::new());
    let secrets = live.secrets.keys().map(|name| json!({ "name": name, "value_env": variable(name, &mut taken) }));
    section(&mut text, "secrets", secrets.collect());
    section(&mut text, "endpoints", live.endpoints.values().map(|found| short(&found.normal)).collect());
    let groups: Vec<_> = live.groups_for_file().iter().map(short).collect();
    let carried = groups.iter().flat_map(|group| group["models"].as_array()).flatten();
    let carried: BTreeSet<_> = carried.filter_map(|model| model["slug"].as_str()).collect();
    for slug in carried.into_iter().filter(|slug| !live.endpoints.contains_key(*slug)) {
        comments +=
            &format!("# Groups carry the slug {slug}, but no endpoint has it. Another gateway will refuse it.\n");
    }
    section(&mut text, "groups", groups);
    for (url, webhooks) in live.webhooks.iter().filter(|(_, webhooks)| webhooks.len() > 1) {
        let others = webhooks.len() - 1;
        comments +=
            &format!("# There are {others} more webhooks with the URL {url}. A file can have only one of them.\n");
    }
    let webhooks = live.webhooks.values().filter_map(|webhooks| webhooks.first());
    section(&mut text, "webhooks", webhooks.map(|found| short(&found.normal)).collect());
    text.insert_str(0, &comments);
    if text.is_empty() { "{}\n".to_owned() } else { text }
}

fn section(text: &mut String, name: &str, items: Vec<Value>) {
    if !items.is_empty() {
        *text += if text.is_empty() { "" } else { "\n" };
        *text += &format!("{name}:\n{}", yaml::list(&items, 2));
    }
}

/// The environment variable for the value of a secret, which is not known.
fn variable(name: &str, taken: &mut HashSet<String>) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let base = format!("SECRET_{}", name.chars().map(word).collect::<String>());
    let numbered = (2..).map(|number| format!("{base}_{number}"));
    let mut names = std::iter::once(base.clone()).chain(numbered);
    let free = names.find(|name| !taken.contains(name)).unwrap_or(base);
    taken.insert(free.clone());
    free
}

/// Whether a field has its default.
fn is_usual(name: &str, value: &Value) -> bool {
    match name {
        "region" => value == "UNRESTRICTED",
        "routing" => value == "PRIORITY",
        "limit_enforcement" => value == "INDEPENDENT",
        "queue_timeout_s" => value == 0,
        "weight" => value == 1,
        "disabled" => value == false,
        "enabled" => value == true,
        "types" => *value == json!(["API_BILLING_USAGE"]),
        _ => false,
    }
}

/// A normal form without defaults.
fn short(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let input = fields.get("input");
            let is_default = |name: &String, value: &Value| {
                let is_empty = matches!(value, Value::Array(items) if items.is_empty()) && name != "models";
                is_usual(name, value) || is_empty || (name == "cached" && Some(value) == input)
            };
            let kept = fields.iter().filter(|(name, value)| !is_default(name, value));
            let kept = kept.map(|(name, value)| (name.clone(), short(value)));
            let kept = kept.filter(|(name, value)| !(name == "hierarchy" && value == &json!({})));
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(short).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{commands::declared::tidy, http::admin::normal};

    #[test]
    fn a_resource_without_its_defaults_means_the_same() {
        let target = json!({ "provider": "BASETEN", "model_id": "m", "environment_name": "production", "weight": 1 });
        let endpoint = json!({ "slug": "a/b", "targets": [target], "region": "UNRESTRICTED", "routing": "PRIORITY",
            "queue_timeout_s": 0, "pricing": { "currency": "EUR", "input": "1", "output": "2", "cached": "1" } });
        let normal = tidy(normal::endpoint(&endpoint).unwrap());
        let shortened = short(&normal);
        assert_eq!(tidy(normal::endpoint(&shortened).unwrap()), normal);
        let expected = json!({ "slug": "a/b", "targets": [{ "provider": "BASETEN", "model_id": "m" }],
            "pricing": { "currency": "EUR", "input": "1", "output": "2" } });
        assert_eq!(shortened, expected);
        let webhook = json!({ "url": "https://a.example/" });
        assert_eq!(short(&tidy(normal::webhook(&webhook).unwrap())), webhook);
        let group = json!({ "metadata": { "external_entity_id": "a" }, "models": [{ "slug": "a/b" }] });
        assert_eq!(short(&tidy(normal::group(&group).ok().unwrap().json)), group);
    }

    #[test]
    fn each_secret_gets_a_variable_of_its_own() {
        let mut taken = HashSet::new();
        let names: Vec<_> = ["a-b", "a.b", "A_B"].map(|name| variable(name, &mut taken)).to_vec();
        assert_eq!(names, ["SECRET_A_B", "SECRET_A_B_2", "SECRET_A_B_3"]);
    }
}
