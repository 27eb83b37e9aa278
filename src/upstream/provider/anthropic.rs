//! Anthropic.

pub(super) const BASE_URL: &str = "https://api.anthropic.com/v1";
pub(super) const CREDENTIAL_HEADER: &str = "x-api-key";
/// Anthropic refuses requests without a version of its API.
pub(super) const VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");
