//! Endpoints: a slug and the upstream targets that answer for it.

use serde::{Deserialize, Serialize};

use super::{
    id::{EndpointId, SecretId, SlugId},
    money::Pricing,
};

/// Where an endpoint's requests may be processed; kept for the operator, it changes no routing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Region {
    /// Anywhere.
    Unrestricted,
    /// In the European Union.
    Eu,
}

/// What speaks at the other end. Records hold its place in this list: append only.
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

/// One upstream of an endpoint. Which fields a provider takes is checked where targets are written
/// (`http::admin::targets`); what is stored is consistent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Who speaks there.
    pub provider: Provider,
    /// As it was written, `/v1` not yet added.
    pub base_url: Option<String>,
    /// The model's name upstream; the slug when absent.
    pub target_model: Option<String>,
    /// The credential.
    pub secret: Option<SecretId>,
    /// Baseten's model.
    pub model_id: Option<String>,
    /// Baseten's environment of that model.
    pub environment_name: Option<String>,
}

/// A slug with its targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// The slug that it answers for.
    pub slug: SlugId,
    /// Where it may be processed.
    pub region: Region,
    /// 1 to 8, in order of priority.
    pub targets: Vec<Target>,
    /// What its tokens cost.
    pub pricing: Option<Pricing>,
    /// Unix ms.
    pub created_at_ms: u64,
    /// Unix ms.
    pub updated_at_ms: u64,
}
