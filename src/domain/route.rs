//! The inference routes that are forwarded.

use serde::{Deserialize, Serialize};

/// A forwarded route of the inference API. Records store the position in this list: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Route {
    /// `/v1/chat/completions`
    ChatCompletions,
    /// `/v1/completions`
    Completions,
    /// `/v1/embeddings`
    Embeddings,
    /// `/v1/responses`
    Responses,
    /// `/v1/messages`
    Messages,
    /// `/v1/messages/count_tokens`
    CountTokens,
    /// `/v1/rerank`
    Rerank,
    /// `/v1/moderations`
    Moderations,
    /// `/v1/images/generations`
    Images,
    /// `/v1/audio/speech`
    Speech,
    /// `/v1/audio/transcriptions`
    Transcriptions,
    /// `/v1/audio/translations`
    Translations,
}

/// The kind of output that a route's answers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// No output tokens.
    None,
    /// Generated text. It is counted if the upstream does not report its tokens.
    Text,
    /// Pictures or sound. They have output tokens only if the upstream reports them.
    Media,
}

impl Route {
    /// All routes, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Embeddings,
        Self::Responses,
        Self::Messages,
        Self::CountTokens,
        Self::Rerank,
        Self::Moderations,
        Self::Images,
        Self::Speech,
        Self::Transcriptions,
        Self::Translations,
    ];

    /// The route of a path on the inference listener.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|route| route.path() == path)
    }

    /// The path on the inference listener.
    pub fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::Rerank => "/v1/rerank",
            Self::Moderations => "/v1/moderations",
            Self::Images => "/v1/images/generations",
            Self::Speech => "/v1/audio/speech",
            Self::Transcriptions => "/v1/audio/transcriptions",
            Self::Translations => "/v1/audio/translations",
        }
    }

    /// The path below a target's base URL.
    pub fn upstream_path(self) -> &'static str {
        self.path().strip_prefix("/v1").unwrap_or_default()
    }

    /// The kind of output of this route's answers.
    pub fn output(self) -> Output {
        match self {
            Self::ChatCompletions
            | Self::Completions
            | Self::Responses
            | Self::Messages
            | Self::Transcriptions
            | Self::Translations => Output::Text,
            Self::Images | Self::Speech => Output::Media,
            Self::Embeddings | Self::CountTokens | Self::Rerank | Self::Moderations => Output::None,
        }
    }

    /// Whether answers are generated text. Admission then holds the expected output.
    pub fn generates(self) -> bool {
        self.output() == Output::Text
    }

    /// Whether an answer makes a billing event. If not, the request counts only against request limits.
    pub fn is_billed(self) -> bool {
        self != Self::CountTokens
    }

    /// Whether the API is Anthropic's, with Anthropic's form of errors.
    pub fn is_anthropic(self) -> bool {
        matches!(self, Self::Messages | Self::CountTokens)
    }

    /// Whether the request's body is a multipart form. All other bodies are JSON.
    pub fn takes_form(self) -> bool {
        matches!(self, Self::Transcriptions | Self::Translations)
    }
}
