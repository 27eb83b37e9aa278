//! OpenAI, and every server with the same routes.

pub(super) const BASE_URL: &str = "https://api.openai.com/v1";
pub(super) const AUTHORIZATION_SCHEME: &str = "Bearer";
/// OpenAI's reasoning models refuse `max_tokens`.
pub(super) const CHAT_OUTPUT_PARAMETER: &str = "max_completion_tokens";
