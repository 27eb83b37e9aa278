//! The error for a request body that breaks a rule.

use crate::upstream::json::Invalid;

/// A request that is refused with 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRequest {
    /// `invalid_json`, `invalid_multipart`, `missing_model`, `duplicate_key`, `invalid_key`, `invalid_type` or
    /// `invalid_value`.
    pub code: &'static str,
    /// The parameter at fault, if it is a single one.
    pub param: Option<&'static str>,
    /// A sentence for the customer. It contains nothing from the body.
    pub message: String,
}

impl From<Invalid> for BadRequest {
    fn from(invalid: Invalid) -> Self {
        Self { code: "invalid_json", param: None, message: format!("The body is not valid JSON: {invalid}.") }
    }
}
