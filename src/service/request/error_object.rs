//! The error of an answer that has begun as a success.

use serde_json::{Value, json};

/// An error of the upstream, in OpenAI's shape. `message` is for the customer.
pub(super) fn error_object(message: &str) -> Value {
    json!({ "message": message, "type": "server_error", "param": null, "code": "upstream_error" })
}
