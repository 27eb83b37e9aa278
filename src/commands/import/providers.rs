//! LiteLLM's providers, by the prefix of `litellm_params.model`, and the same servers as targets.

/// How a provider's servers are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    /// OpenAI, unless there is an `api_base`.
    OpenAi,
    /// Anthropic, or a server with its API.
    Anthropic,
    /// A Baseten deployment, which the model names.
    Baseten,
    /// A server with OpenAI's routes, at this address unless there is an `api_base`.
    Compatible(Option<&'static str>),
}

/// A LiteLLM provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Provider {
    pub(super) server: Server,
    /// The environment variable that LiteLLM reads if there is no `api_key`.
    pub(super) key_variable: Option<&'static str>,
}

const fn hosted(base_url: &'static str, key_variable: &'static str) -> Provider {
    Provider { server: Server::Compatible(Some(base_url)), key_variable: Some(key_variable) }
}

const SELF_HOSTED: Provider = Provider { server: Server::Compatible(None), key_variable: None };

const OLLAMA: Provider = Provider { server: Server::Compatible(Some("http://127.0.0.1:11434")), key_variable: None };

const OPENAI: Provider = Provider { server: Server::OpenAi, key_variable: Some("OPENAI_API_KEY") };

const ANTHROPIC: Provider = Provider { server: Server::Anthropic, key_variable: Some("ANTHROPIC_API_KEY") };

/// The provider of a model and the model's name there. The error is the name of a provider that is not supported.
pub(super) fn find(model: &str) -> Result<(Provider, &str), String> {
    let (prefix, name) = match model.split_once('/') {
        Some((prefix, name)) => (prefix, name),
        None if model.starts_with("claude-") => return Ok((ANTHROPIC, model)),
        None if ["gpt-", "o1", "o3", "o4", "chatgpt-", "text-embedding-", "dall-e-", "whisper-", "tts-"]
            .iter()
            .any(|beginning| model.starts_with(beginning)) =>
        {
            return Ok((OPENAI, model));
        }
        None => return Err(format!("the model {model:?} has no provider's prefix")),
    };
    let provider = match prefix {
        "openai" | "text-completion-openai" | "custom_openai" => OPENAI,
        "anthropic" | "anthropic_text" => ANTHROPIC,
        "baseten" => Provider { server: Server::Baseten, key_variable: Some("BASETEN_API_KEY") },
        "hosted_vllm"
        | "vllm"
        | "openai_like"
        | "litellm_proxy"
        | "lm_studio"
        | "llamafile"
        | "xinference"
        | "huggingface"
        | "docker_model_runner" => SELF_HOSTED,
        "ollama" | "ollama_chat" => OLLAMA,
        "groq" => hosted("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
        "deepseek" => hosted("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
        "mistral" => hosted("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
        "together_ai" => hosted("https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
        "fireworks_ai" => hosted("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
        "openrouter" => hosted("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        "deepinfra" => hosted("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
        "nvidia_nim" => hosted("https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
        "cerebras" => hosted("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
        "xai" => hosted("https://api.x.ai/v1", "XAI_API_KEY"),
        other => return Err(format!("the provider {other:?} is not supported")),
    };
    Ok((provider, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_by_its_prefix_or_its_well_known_name() {
        assert_eq!(find("hosted_vllm/Qwen/Qwen3-8B"), Ok((SELF_HOSTED, "Qwen/Qwen3-8B")));
        assert_eq!(find("claude-sonnet-4"), Ok((ANTHROPIC, "claude-sonnet-4")));
        assert_eq!(find("gpt-4o"), Ok((OPENAI, "gpt-4o")));
        assert!(find("azure/x").unwrap_err().contains("azure"));
        assert!(find("mystery").unwrap_err().contains("prefix"));
    }
}
