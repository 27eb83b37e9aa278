//! Endpoints: a slug and the upstream targets that serve it.

use serde::{Deserialize, Serialize};

use super::{
    id::{EndpointId, SecretId, SlugId},
    pricing::Pricing,
};

/// Where an endpoint's requests may be processed. It is stored for the operator's information and does not affect
/// routing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Region {
    /// Anywhere.
    Unrestricted,
    /// In the European Union.
    Eu,
}

/// How a request's target is chosen. Records store the position in this list: append only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Routing {
    /// The first target that is in.
    #[default]
    Priority,
    /// The target with the fewest running requests for its weight.
    Spread,
}

/// The kind of upstream server. Records store the position in this list: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Provider {
    /// Any server with OpenAI's routes: vLLM, SGLang, TGI, Ollama, llama.cpp.
    OpenAiCompatible,
    /// OpenAI itself.
    OpenAi,
    /// Anthropic itself.
    Anthropic,
    /// A Baseten deployment.
    Baseten,
    /// The built-in upstream of `serve --demo`: deterministic words, no network.
    Demo,
}

/// The most targets of an endpoint.
pub const MAX_TARGETS: usize = 16;

/// One upstream of an endpoint. `http::admin::resources::targets` checks the fields for each provider when a target is
/// written, so stored targets are consistent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The kind of upstream server.
    pub provider: Provider,
    /// As the operator wrote it, without an added `/v1`.
    pub base_url: Option<String>,
    /// The model's name upstream; if absent, the slug.
    pub target_model: Option<String>,
    /// The credential.
    pub secret: Option<SecretId>,
    /// Baseten's model.
    pub model_id: Option<String>,
    /// Baseten's environment of that model.
    pub environment_name: Option<String>,
    /// Its share of the requests when they are spread over the targets, 1 to 100.
    pub weight: u8,
    /// The most requests that run there at the same time, 1 to 100,000. `None` for no limit.
    pub max_concurrent: Option<u32>,
}

/// A slug with its targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// The slug that it serves.
    pub slug: SlugId,
    /// Where its requests may be processed.
    pub region: Region,
    /// 1 to 16, in order of priority.
    pub targets: Vec<Target>,
    /// Its prices. `None` if its requests have no cost.
    pub pricing: Option<Pricing>,
    /// How a request's target is chosen.
    pub routing: Routing,
    /// The longest time that a request waits for a target with free capacity, in seconds, 0 to 600.
    pub queue_timeout_s: u16,
    /// Unix ms.
    pub created_at_ms: u64,
    /// Unix ms.
    pub updated_at_ms: u64,
}
