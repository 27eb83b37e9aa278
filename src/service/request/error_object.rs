//! The error object inside an answer with a 2xx status.

use serde_json::{Value, json};

/// Makes the object for an error of the upstream, in OpenAI's shape. `message` is for the customer.
pub(super) fn error_object(message: &str) -> Value {
    json!({ "message": message, "type": "server_error", "param": null, "code": "upstream_error" })
}
