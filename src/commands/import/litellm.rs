//! `tollgate import litellm`: makes a file for `apply` from LiteLLM's `config.yaml`.
//!
//! * The deployments of one `model_name` become the targets of one endpoint. With `order`, it uses the first target
//!   that works; else it spreads requests by `weight`, or by `rpm` as LiteLLM does.
//! * `rpm` and `tpm` bound a deployment in LiteLLM. Here limits belong to groups, so their sums become the limits of a
//!   CASCADING group. They hold for all groups below it together.

use std::{collections::HashMap, path::Path};

use serde_json::{Value, json};

use super::deployment::{Deployment, Secrets, deployment};
use crate::{
    commands::{
        document::{Content, Node, Wrong},
        failed::Failed,
        input::read_text,
        output::say,
        yaml,
    },
    domain::{endpoint::MAX_TARGETS, slug::Slug},
};

/// The external id of the group that has all models.
const GROUP: &str = "litellm";

/// Prints the file. Model names without an organization get `org`.
pub fn litellm(config: &Path, org: &str) -> Result<(), Failed> {
    if Slug::parse(&format!("{org}/name")).is_err() {
        return Err(Failed("--org: must be letters, digits, '-', '.', '_' and '~'".to_owned()));
    }
    let environment = |variable: &str| std::env::var(variable).ok();
    let imported = import(&read_text(config)?, org, &environment);
    let text = imported.map_err(|wrong| Failed(format!("{}, {wrong}", config.display())))?;
    say(text.trim_end_matches('\n'))
}

/// An endpoint that is being collected.
struct Model {
    /// The `model_name`.
    name: String,
    slug: String,
    deployments: Vec<Deployment>,
    comments: Vec<String>,
}

fn import(text: &str, org: &str, environment: &impl Fn(&str) -> Option<String>) -> Result<String, Wrong> {
    let root = Node::read(text)?;
    let list = root.get("model_list").ok_or_else(|| Wrong::new(root.line, "missing field `model_list`"))?;
    if !matches!(list.content, Content::List(_)) {
        return Err(Wrong::new(list.line, "model_list: must be a list"));
    }
    let mut secrets = Secrets::new(&root);
    let mut models: Vec<Model> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (index, item) in list.items().iter().enumerate() {
        let name = item
            .get("model_name")
            .and_then(Node::text)
            .ok_or_else(|| Wrong::new(item.line, format!("model_list[{index}]: model_name must be a text")))?;
        let place = *places.entry(name.to_owned()).or_insert_with(|| {
            let slug = free_slug(name, org, &models);
            models.push(Model { name: name.to_owned(), slug, deployments: Vec::new(), comments: Vec::new() });
            models.len() - 1
        });
        let Some(model) = models.get_mut(place) else { continue };
        let left_out = |why: &str| format!("Left out: the deployment on line {}: {why}.", item.line);
        if name.contains('*') {
            model.comments.push(left_out("names with * are not supported"));
            continue;
        }
        match deployment(item, &mut secrets, environment) {
            Err(why) => model.comments.push(left_out(&why)),
            Ok(_) if model.deployments.len() == MAX_TARGETS => {
                model.comments.push(left_out(&format!("an endpoint has at most {MAX_TARGETS} targets")));
            }
            Ok(deployment) => {
                let notes = deployment.notes.iter();
                model.comments.extend(notes.map(|note| format!("Not taken over from line {}: {note}.", item.line)));
                model.deployments.push(deployment);
            }
        }
    }
    Ok(write(&root, &models, &secrets))
}

/// The slug of a model, which no earlier model has.
fn free_slug(name: &str, org: &str, models: &[Model]) -> String {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~');
    let clean = |part: &str| -> String { part.chars().map(|c| if is_valid(c) { c } else { '-' }).collect() };
    let slug = match name.split_once('/') {
        Some((org, name)) => format!("{}/{}", clean(org), clean(name)),
        None => format!("{org}/{}", clean(name)),
    };
    let slug = if Slug::parse(&slug).is_ok() { slug } else { format!("{org}/model") };
    let numbered = (2..).map(|number| format!("{slug}-{number}"));
    let is_free = |slug: &String| models.iter().all(|model| model.slug != *slug);
    std::iter::once(slug.clone()).chain(numbered).find(is_free).unwrap_or(slug)
}

/// Writes the file.
fn write(root: &Node, models: &[Model], secrets: &Secrets) -> String {
    let mut text = String::new();
    comment(&mut text, 0, "Made from a LiteLLM configuration. Customers call a model by its slug.");
    for (key, _) in root.entries().iter().filter(|(key, _)| key.name != "model_list") {
        let why = match key.name.as_str() {
            "router_settings" => "endpoints have their own routing, and fallbacks are further targets",
            "general_settings" => "the settings of the gateway are in tollgate.toml",
            "litellm_settings" | "environment_variables" => "they are settings of LiteLLM itself",
            _ => "there is nothing like it",
        };
        comment(&mut text, 0, &format!("Not taken over from line {}: {}: {why}.", key.line, key.name));
    }
    if !secrets.names.is_empty() {
        text += "\nsecrets:\n";
    }
    for (name, is_written) in &secrets.names {
        if *is_written {
            comment(&mut text, 2, "This key was written in the configuration. Put it in the environment variable.");
        }
        text += &yaml::list(&[json!({ "name": name, "value_env": name })], 2);
    }
    let mut carried = Vec::new();
    text += if models.iter().any(|model| !model.deployments.is_empty()) { "\nendpoints:\n" } else { "\n" };
    for model in models {
        if model.slug != model.name {
            comment(&mut text, 2, &format!("model_name {:?}", model.name));
        }
        model.comments.iter().for_each(|line| comment(&mut text, 2, line));
        if !model.deployments.is_empty() {
            let (endpoint, group_model, comments) = endpoint(model);
            comments.iter().for_each(|line| comment(&mut text, 2, line));
            text += &yaml::list(&[endpoint], 2);
            carried.push(group_model);
        }
    }
    if !carried.is_empty() {
        text += "\ngroups:\n";
        comment(
            &mut text,
            2,
            "Create the groups of customers below this one: its limits hold for all of them together.",
        );
        let group = json!({
            "metadata": { "external_entity_id": GROUP, "name": "Imported from LiteLLM" },
            "hierarchy": { "limit_enforcement": "CASCADING" },
            "models": carried,
        });
        text += &yaml::list(&[group], 2);
    }
    text
}

/// The endpoint of a model, the model of the group, and comments.
fn endpoint(model: &Model) -> (Value, Value, Vec<String>) {
    let mut comments = Vec::new();
    let mut deployments: Vec<&Deployment> = model.deployments.iter().collect();
    let has_order = deployments.iter().any(|one| one.order.is_some());
    deployments
        .sort_by(|one, other| one.order.unwrap_or(f64::INFINITY).total_cmp(&other.order.unwrap_or(f64::INFINITY)));
    let mut endpoint = json!({ "slug": model.slug });
    let mut targets: Vec<Value> = deployments.iter().map(|deployment| deployment.target.clone()).collect();
    if targets.len() > 1 && !has_order {
        endpoint["routing"] = "SPREAD".into();
        for (target, weight) in targets.iter_mut().zip(weights(&deployments)) {
            if weight > 1 {
                target["weight"] = weight.into();
            }
        }
    }
    if has_order && deployments.iter().any(|one| one.weight.is_some()) {
        comments.push("Not taken over: weight, since targets with an order are used in that order.".to_owned());
    }
    endpoint["targets"] = targets.into();
    let prices: Vec<_> = deployments.iter().map(|deployment| &deployment.prices).collect();
    match prices.as_slice() {
        [Some([input, output]), rest @ ..] if rest.iter().all(|one| *one == prices[0]) => {
            endpoint["pricing"] = json!({ "currency": "USD", "input": input, "output": output });
        }
        _ if prices.iter().any(|one| one.is_some()) => {
            comments.push("Not taken over: prices, since an endpoint has one price for all targets.".to_owned());
        }
        _ => {}
    }
    let mut limits = Vec::new();
    let rpm: Vec<_> = deployments.iter().map(|deployment| deployment.rpm).collect();
    let tpm: Vec<_> = deployments.iter().map(|deployment| deployment.tpm).collect();
    for (field, limit_type, values) in [("rpm", "REQUEST", rpm), ("tpm", "TOKEN", tpm)] {
        match values.iter().copied().sum::<Option<u64>>() {
            Some(sum) => limits.push(json!({ "type": limit_type, "unit": "MINUTE", "threshold": sum })),
            None if values.iter().any(Option::is_some) => {
                comments
                    .push(format!("Not taken over: {field}, since a deployment has none and so the sum has no limit."));
            }
            None => {}
        }
    }
    let mut group_model = json!({ "slug": model.slug });
    if !limits.is_empty() {
        group_model["rate_limits"] = limits.into();
    }
    (endpoint, group_model, comments)
}

/// The weights of targets, from 1 to 100: the given ones, else in proportion to `rpm` or `tpm`.
fn weights(deployments: &[&Deployment]) -> Vec<u64> {
    let all =
        |of: &dyn Fn(&Deployment) -> Option<f64>| deployments.iter().map(|one| of(one)).collect::<Option<Vec<_>>>();
    let given = deployments.iter().any(|one| one.weight.is_some());
    let shares = match given {
        true => Some(deployments.iter().map(|one| one.weight.unwrap_or(1.0)).collect()),
        false => all(&|one| one.rpm.map(|rpm| rpm as f64)).or_else(|| all(&|one| one.tpm.map(|tpm| tpm as f64))),
    };
    let Some(shares) = shares.filter(|shares| shares.iter().any(|share| *share != shares[0])) else {
        return vec![1; deployments.len()];
    };
    let most = shares.iter().copied().fold(0.0, f64::max);
    // Whole numbers up to 100 stay as they are.
    let is_whole = |share: &f64| share.fract() == 0.0 && (1.0..=100.0).contains(share);
    let factor = if shares.iter().all(is_whole) || most <= 0.0 { 1.0 } else { 100.0 / most };
    shares.iter().map(|share| (share * factor).round().clamp(1.0, 100.0) as u64).collect()
}

/// Writes a comment of one line.
fn comment(text: &mut String, indent: usize, line: &str) {
    let clean: String =
        line.chars().map(|c| if c.is_control() || c == '\u{2028}' || c == '\u{2029}' { ' ' } else { c }).collect();
    *text += &format!("{:indent$}# {clean}\n", "");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::declared::Declared;

    const CONFIG: &str = r#"
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY, rpm: 100, tpm: 5000, timeout: 5}
    model_info: {input_cost_per_token: 0.0000025, output_cost_per_token: 0.00001}
  - model_name: gpt-4o
    litellm_params: {model: hosted_vllm/big, api_base: "http://10.0.0.7:8000", api_key: sk-literal-key, rpm: 300,
      tpm: 1}
  - model_name: team/llama3:8b
    litellm_params: {model: ollama/llama3:8b, order: 2, max_parallel_requests: 4}
  - model_name: team/llama3:8b
    litellm_params: {model: hosted_vllm/llama, api_base: "http://10.0.0.8:8000/v1", api_key: none, order: 1, rpm: 5}
  - model_name: azure
    litellm_params: {model: azure/x, api_key: os.environ/AZURE}
  - model_name: "*"
    litellm_params: {model: "openai/*"}
  - model_name: bad
    litellm_params: {model: openai/x, api_base: "http://user:password@host"}
router_settings: {routing_strategy: simple-shuffle}
"#;

    fn imported(config: &str) -> String {
        import(config, "default", &|_| None).unwrap()
    }

    #[test]
    fn an_imported_file_is_a_valid_declaration_without_keys() {
        let text = imported(CONFIG);
        assert!(Declared::read(&text).is_ok(), "{text}\n{:?}", Declared::read(&text).err());
        for secret in ["sk-literal-key", "password"] {
            assert!(!text.contains(secret), "{text}");
        }
        let json = Node::read(&text).unwrap().to_json();
        let names: Vec<_> =
            json["secrets"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["OPENAI_API_KEY", "LITELLM_KEY_1"]);
        let [gpt, llama] = json["endpoints"].as_array().unwrap().as_slice() else { panic!("{text}") };
        assert_eq!((&gpt["slug"], &gpt["routing"]), (&json!("default/gpt-4o"), &json!("SPREAD")));
        assert_eq!((&gpt["targets"][0]["weight"], &gpt["targets"][1]["weight"]), (&json!(33), &json!(100)));
        assert_eq!(gpt["targets"][1]["secret"], "LITELLM_KEY_1");
        assert_eq!(gpt.get("pricing"), None);
        assert_eq!((&llama["slug"], llama.get("routing")), (&json!("team/llama3-8b"), None));
        let urls = [&llama["targets"][0]["base_url"], &llama["targets"][1]["base_url"]];
        assert_eq!(urls, [&json!("http://10.0.0.8:8000/v1"), &json!("http://127.0.0.1:11434")]);
        let limits = &json["groups"][0]["models"][0]["rate_limits"];
        assert_eq!((&limits[0]["threshold"], &limits[1]["threshold"]), (&json!(400), &json!(5001)));
        assert_eq!(json["groups"][0]["models"][1].get("rate_limits"), None);
    }

    #[test]
    fn parts_that_are_left_out_become_comments_with_the_reason() {
        let text = imported(CONFIG);
        for part in [
            "# Not taken over from line 19: router_settings: endpoints have their own routing",
            "# Not taken over from line 3: timeout: there is no such setting",
            "# Left out: the deployment on line 13: the provider \"azure\" is not supported.",
            "# Left out: the deployment on line 15: names with * are not supported.",
            "# Left out: the deployment on line 17: api_base: must",
            "# Not taken over: prices, since",
            "# Not taken over: rpm, since a deployment has none",
            "# This key was written in the configuration.",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn a_written_key_gets_a_variable_that_the_configuration_does_not_use() {
        let config = r#"
model_list:
  - {model_name: a, litellm_params: {model: openai/a, api_key: first-literal-key}}
  - {model_name: b, litellm_params: {model: openai/b, api_key: os.environ/LITELLM_KEY_1}}
  - {model_name: c, litellm_params: {model: openai/c, api_key: second-literal-key}}
general_settings: {master_key: os.environ/LITELLM_KEY_3}
"#;
        let json = Node::read(&imported(config)).unwrap().to_json();
        let secret = |index: usize| json["endpoints"][index]["targets"][0]["secret"].as_str().unwrap();
        assert_eq!([secret(0), secret(1), secret(2)], ["LITELLM_KEY_2", "LITELLM_KEY_1", "LITELLM_KEY_4"]);
        assert_eq!(json["secrets"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn a_reference_that_no_secret_can_have_leaves_the_deployment_out() {
        for reference in ["MY-KEY", "os.environ/KEY", "1KEY"] {
            let text = imported(&format!(
                "model_list:\n- model_name: a\n  litellm_params: {{model: openai/a, api_key: os.environ/{reference}}}\n"
            ));
            let left_out = "# Left out: the deployment on line 2: api_key: it does not name an environment variable.";
            assert!(text.contains(left_out) && !text.contains("value_env"), "{text}");
        }
    }

    #[test]
    fn each_field_that_is_not_read_becomes_a_comment() {
        let text = imported(
            r#"
model_list:
  - model_name: a
    litellm_params: {model: openai/a, api_base: "http://10.0.0.7", base_url: "http://10.0.0.8", api_key: 12345678,
      rpm: os.environ/RPM, tpm: 1.5, weight: -1, order: first, max_parallel_requests: x, timeout: 5}
    model_info: {id: 7, mode: chat, input_cost_per_token: 0.000001}
    rpm: 60
    tags: [x]
  - model_name: a
    litellm_params: {model: openai/b, rpm: -3, max_parallel_requests: 0, output_cost_per_token: free, weight: 0.5}
    model_info: text
"#,
        );
        for (line, note) in [
            (3, "base_url: api_base is used."),
            (3, "api_key: must be a text that is not empty."),
            (3, "rpm: must be a whole number."),
            (3, "tpm: must be a whole number."),
            (3, "weight: must be a number above 0."),
            (3, "order: must be a number."),
            (3, "max_parallel_requests: must be a whole number."),
            (3, "timeout: there is no such setting for a target."),
            (3, "model_info.id, model_info.mode: there is no such setting for a target."),
            (3, "input_cost_per_token: there is no output_cost_per_token."),
            (3, "rpm, tags: there is no such setting beside litellm_params."),
            (9, "rpm: must be a whole number."),
            (9, "max_parallel_requests: must be 1 to 100000."),
            (9, "output_cost_per_token: must be a number."),
            (9, "model_info: must be a map."),
        ] {
            assert!(text.contains(&format!("# Not taken over from line {line}: {note}\n")), "{note}\n{text}");
        }
        assert_eq!(text.matches("# Not taken over").count(), 15, "{text}");
        assert!(!text.contains("12345678"), "{text}");
    }

    #[test]
    fn a_file_that_is_not_a_configuration_is_an_error_with_its_line() {
        for (text, message) in [
            ("a: 1\n", "line 1: missing field `model_list`"),
            ("a: 1\nmodel_list: {}\n", "line 2: model_list: must be a list"),
            ("model_list:\n- x: 1\n", "line 2: model_list[0]: model_name must be a text"),
        ] {
            assert_eq!(import(text, "default", &|_| None).unwrap_err().to_string(), message);
        }
    }
}
