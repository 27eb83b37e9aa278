//! The API whose conventions a response follows.

/// The API whose conventions a response follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    OpenAi,
    /// `/v1/messages` and the paths below it.
    Anthropic,
}

impl Api {
    /// The API of a path, whether or not the path is a route.
    pub(super) fn of(path: &str) -> Self {
        match path.strip_prefix("/v1/messages") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Self::Anthropic,
            _ => Self::OpenAi,
        }
    }
}
