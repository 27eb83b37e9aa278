//! A deployment of a LiteLLM configuration as a target.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::providers::{self, Server};
use crate::{
    commands::{
        declared::is_variable,
        document::{Content, Node},
    },
    domain::id::SecretId,
    http::admin::normal,
};

/// Fields of `litellm_params` that are taken over.
const KNOWN: [&str; 12] = [
    "model",
    "api_base",
    "base_url",
    "api_key",
    "rpm",
    "tpm",
    "weight",
    "order",
    "max_parallel_requests",
    "input_cost_per_token",
    "output_cost_per_token",
    "custom_llm_provider",
];

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
        let is_free = |name: &String| {
            !self.variables.contains(name) && self.names.iter().all(|(taken, _)| taken != name)
        };
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
    let params = item.get("litellm_params").ok_or("it has no litellm_params")?;
    let text = |name: &str| params.get(name).and_then(Node::text).filter(|text| !text.is_empty());
    let number = |name: &str| params.get(name).and_then(number);
    let whole = |name: &str| number(name).filter(|number| *number >= 0.0 && *number < 9e15).map(|number| number as u64);
    let model = text("model").ok_or("it has no litellm_params.model")?;
    if model.contains('*') {
        return Err("models with * are not supported".to_owned());
    }
    let with_provider = text("custom_llm_provider").map(|provider| format!("{provider}/{model}"));
    let (provider, name) = providers::find(with_provider.as_deref().unwrap_or(model))?;
    let base_url =
        text("api_base").or_else(|| text("base_url")).map(|url| from_environment(url, environment)).transpose()?;
    let mut target = match (provider.server, base_url) {
        (Server::OpenAi, None) => json!({ "provider": "OPENAI", "target_model": name }),
        (Server::Anthropic, None) => json!({ "provider": "ANTHROPIC", "target_model": name }),
        (Server::Anthropic, Some(url)) => json!({ "provider": "ANTHROPIC", "base_url": url, "target_model": name }),
        (Server::Baseten, None) => json!({ "provider": "BASETEN", "model_id": name }),
        (Server::Compatible(None), None) => return Err("it has no api_base".to_owned()),
        (Server::Compatible(Some(url)), None) => compatible(url, name),
        (Server::OpenAi | Server::Baseten | Server::Compatible(_), Some(url)) => compatible(&url, name),
    };
    let is_own_server = target["provider"] == "OPENAI_COMPATIBLE" && text("api_base").or(text("base_url")).is_some();
    let variable = provider.key_variable.filter(|_| !is_own_server);
    let secret = match text("api_key") {
        Some(key) if is_own_server && PLACEHOLDERS.contains(&key.to_ascii_lowercase().as_str()) => Key::None,
        Some(key) => match key.strip_prefix(REFERENCE) {
            Some(variable) => Key::Variable(variable.to_owned()),
            None => Key::Written(key.to_owned()),
        },
        None => variable.map_or(Key::None, |variable| Key::Variable(variable.to_owned())),
    };
    let mut notes = Vec::new();
    match whole("max_parallel_requests") {
        Some(most @ 1..=100_000) => target["max_concurrent"] = most.into(),
        Some(_) => notes.push("max_parallel_requests: must be 1 to 100000".to_owned()),
        None => {}
    }
    check(&target, &secret)?;
    match secret {
        Key::Variable(variable) => target["secret"] = secrets.of_variable(&variable).into(),
        Key::Written(key) => target["secret"] = secrets.of_key(&key).into(),
        Key::None => {}
    }
    let others = params.entries().iter().map(|(key, _)| key.name.as_str()).filter(|name| !KNOWN.contains(name));
    let others: Vec<_> = others.collect();
    if !others.is_empty() {
        notes.push(format!("{}: there is no such setting for a target", others.join(", ")));
    }
    let info = item.get("model_info");
    let price = |name: &str| number(name).or_else(|| info.and_then(|info| info.get(name)).and_then(self::number));
    let prices = [price("input_cost_per_token"), price("output_cost_per_token")];
    let prices = match prices {
        [Some(input), Some(output)] => {
            let prices = [input, output].map(per_million);
            if prices.iter().any(Option::is_none) {
                notes.push("input_cost_per_token, output_cost_per_token: not a price".to_owned());
            }
            let [input, output] = prices;
            input.zip(output).map(|(input, output)| [input, output])
        }
        _ => None,
    };
    Ok(Deployment {
        target,
        order: number("order"),
        weight: number("weight"),
        rpm: whole("rpm"),
        tpm: whole("tpm"),
        prices,
        notes,
    })
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

/// A number, also one that is written as a text.
fn number(node: &Node) -> Option<f64> {
    match &node.content {
        Content::Number(number) => number.as_f64(),
        Content::Text(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
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
