//! A deployment of a LiteLLM configuration as a target.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::{
    fields::Fields,
    providers::{self, Server},
};
use crate::{
    commands::{declared::is_variable, document::Node},
    domain::id::SecretId,
    http::admin::normal,
};

/// Texts that configurations have instead of a key for servers without keys.
const PLACEHOLDERS: [&str; 8] = ["none", "empty", "dummy", "fake", "fake-key", "anything", "not-needed", "no-key"];

/// A target, and the parts of it that concern its endpoint.
pub(super) struct Deployment {
    pub(super) target: Value,
    pub(super) order: Option<f64>,
    pub(super) weight: Option<f64>,
    pub(super) rpm: Option<u64>,
    pub(super) tpm: Option<u64>,
    /// The prices of a million input and output tokens, in USD.
    pub(super) prices: Option<[String; 2]>,
    /// The parts that are not taken over, with the reason.
    pub(super) notes: Vec<String>,
}

/// The beginning of a text that stands for an environment variable.
const REFERENCE: &str = "os.environ/";

/// The secrets that targets use.
pub(super) struct Secrets {
    /// Names, which are also the names of environment variables, in the order of their use. The flag says whether the
    /// key was written in the configuration.
    pub(super) names: Vec<(String, bool)>,
    /// The name of each key that was written in the configuration. Keys are only compared, never printed.
    written: HashMap<String, String>,
    /// The variables that the configuration refers to anywhere. A key that was written there gets another one.
    variables: HashSet<String>,
}

impl Secrets {
    /// No secrets yet, of a configuration.
    pub(super) fn new(config: &Node) -> Self {
        let mut variables = HashSet::new();
        add_variables(config, &mut variables);
        Self { names: Vec::new(), written: HashMap::new(), variables }
    }

    fn of_variable(&mut self, variable: &str) -> String {
        if !self.names.iter().any(|(name, _)| name == variable) {
            self.names.push((variable.to_owned(), false));
        }
        variable.to_owned()
    }

    fn of_key(&mut self, key: &str) -> String {
        if let Some(name) = self.written.get(key) {
            return name.clone();
        }
        let is_free =
            |name: &String| !self.variables.contains(name) && self.names.iter().all(|(taken, _)| taken != name);
        let mut names = (1_u64..).map(|number| format!("LITELLM_KEY_{number}"));
        let name = names.find(is_free).unwrap_or_default();
        self.names.push((name.clone(), true));
        self.written.insert(key.to_owned(), name.clone());
        name
    }
}

fn add_variables(node: &Node, variables: &mut HashSet<String>) {
    variables.extend(node.text().and_then(|text| text.strip_prefix(REFERENCE)).map(str::to_owned));
    let inside = node.items().iter().chain(node.entries().iter().map(|(_, value)| value));
    inside.for_each(|node| add_variables(node, variables));
}

/// Reads an item of `model_list`. The error is why it cannot be taken over.
pub(super) fn deployment(
    item: &Node,
    secrets: &mut Secrets,
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<Deployment, String> {
    let mut fields = Fields::new(Some(item), "");
    fields.text("model_name");
    let mut params = Fields::new(Some(fields.map("litellm_params").ok_or("it has no litellm_params")?), "");
    let mut info = Fields::new(fields.map("model_info"), "model_info.");
    let model = params.text("model").ok_or("it has no litellm_params.model")?;
    if model.contains('*') {
        return Err("models with * are not supported".to_owned());
    }
    let with_provider = params.text("custom_llm_provider").map(|provider| format!("{provider}/{model}"));
    let (provider, name) = providers::find(with_provider.as_deref().unwrap_or(model))?;
    let [api_base, base_url] = ["api_base", "base_url"].map(|name| params.text(name));
    if api_base.is_some() && base_url.is_some() {
        params.note("base_url", "api_base is used");
    }
    let base_url = api_base.or(base_url).map(|url| from_environment(url, environment)).transpose()?;
    let has_url = base_url.is_some();
    let mut target = match (provider.server, base_url) {
        (Server::OpenAi, None) => json!({ "provider": "OPENAI", "target_model": name }),
        (Server::Anthropic, None) => json!({ "provider": "ANTHROPIC", "target_model": name }),
        (Server::Anthropic, Some(url)) => json!({ "provider": "ANTHROPIC", "base_url": url, "target_model": name }),
        (Server::Baseten, None) => json!({ "provider": "BASETEN", "model_id": name }),
        (Server::Compatible(None), None) => return Err("it has no api_base".to_owned()),
        (Server::Compatible(Some(url)), None) => compatible(url, name),
        (Server::OpenAi | Server::Baseten | Server::Compatible(_), Some(url)) => compatible(&url, name),
    };
    let is_own_server = target["provider"] == "OPENAI_COMPATIBLE" && has_url;
    let variable = provider.key_variable.filter(|_| !is_own_server);
    let secret = match params.text("api_key") {
        Some(key) if is_own_server && PLACEHOLDERS.contains(&key.to_ascii_lowercase().as_str()) => Key::None,
        Some(key) => match key.strip_prefix(REFERENCE) {
            Some(variable) => Key::Variable(variable.to_owned()),
            None => Key::Written(key.to_owned()),
        },
        None => variable.map_or(Key::None, |variable| Key::Variable(variable.to_owned())),
    };
    match params.whole("max_parallel_requests") {
        Some(most @ 1..=100_000) => target["max_concurrent"] = most.into(),
        Some(_) => params.note("max_parallel_requests", "must be 1 to 100000"),
        None => {}
    }
    check(&target, &secret)?;
    match secret {
        Key::Variable(variable) => target["secret"] = secrets.of_variable(&variable).into(),
        Key::Written(key) => target["secret"] = secrets.of_key(&key).into(),
        Key::None => {}
    }
    let prices = prices(&mut params, &mut info);
    let (order, weight) = (params.number("order"), params.share("weight"));
    let (rpm, tpm) = (params.whole("rpm"), params.whole("tpm"));
    let mut notes = params.into_notes("there is no such setting for a target");
    notes.extend(info.into_notes("there is no such setting for a target"));
    notes.extend(fields.into_notes("there is no such setting beside litellm_params"));
    Ok(Deployment { target, order, weight, rpm, tpm, prices, notes })
}

/// The prices of a million input and output tokens. Those of `litellm_params` come before those of `model_info`.
fn prices(params: &mut Fields<'_>, info: &mut Fields<'_>) -> Option<[String; 2]> {
    let [input, output] = ["input_cost_per_token", "output_cost_per_token"];
    let prices = [input, output].map(|name| {
        let (own, other) = (params.number(name), info.number(name));
        if own.is_some() && other.is_some() && own != other {
            info.note(name, "that of litellm_params is used");
        }
        own.or(other)
    });
    match prices {
        [Some(of_input), Some(of_output)] => {
            let [of_input, of_output] = [of_input, of_output].map(per_million);
            if of_input.is_none() || of_output.is_none() {
                params.note(&format!("{input}, {output}"), "not a price");
            }
            of_input.zip(of_output).map(|(of_input, of_output)| [of_input, of_output])
        }
        [Some(_), None] => {
            params.note(input, &format!("there is no {output}"));
            None
        }
        [None, Some(_)] => {
            params.note(output, &format!("there is no {input}"));
            None
        }
        [None, None] => None,
    }
}

enum Key {
    None,
    Variable(String),
    Written(String),
}

fn compatible(url: &str, name: &str) -> Value {
    json!({ "provider": "OPENAI_COMPATIBLE", "base_url": url, "target_model": name })
}

/// Checks a target by the rules of the admin API, and the name of its secret.
fn check(target: &Value, key: &Key) -> Result<(), String> {
    let mut target = target.clone();
    match key {
        Key::None => {}
        Key::Variable(variable) => {
            let body = json!({ "name": variable, "value": "-" });
            if !is_variable(variable) || normal::check_secret(&body).is_err() {
                return Err("api_key: it does not name an environment variable".to_owned());
            }
            target["secret_id"] = SecretId(1).to_string().into();
        }
        Key::Written(_) => target["secret_id"] = SecretId(1).to_string().into(),
    }
    let endpoint = json!({ "slug": "a/b", "targets": [target] });
    let checked = normal::endpoint(&endpoint).map(drop);
    checked.map_err(|why| why.replace("targets[0].", "").replace("base_url", "api_base"))
}

/// Resolves `os.environ/NAME`.
fn from_environment(text: &str, environment: &impl Fn(&str) -> Option<String>) -> Result<String, String> {
    match text.strip_prefix(REFERENCE) {
        None => Ok(text.to_owned()),
        Some(variable) => environment(variable)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| format!("api_base: the environment variable {variable} is not set here")),
    }
}

/// The price of a million tokens, as a decimal text with up to six decimals.
fn per_million(price: f64) -> Option<String> {
    let millionths = (price * 1e12).round();
    let is_valid = (0.0..1e15).contains(&millionths);
    is_valid.then(|| {
        let millionths = millionths as u64;
        let text = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_of_a_token_become_prices_of_a_million() {
        for (price, text) in [(0.0000025, "2.5"), (1.5e-7, "0.15"), (0.0, "0"), (0.00001, "10")] {
            assert_eq!(per_million(price).as_deref(), Some(text));
        }
        assert_eq!(per_million(-1.0), None);
        assert_eq!(per_million(1e6), None);
    }
}
