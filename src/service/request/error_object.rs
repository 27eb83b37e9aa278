//! The error object inside an answer with a 2xx status.

use serde_json::{Value, json};

use crate::domain::route::Route;

/// Makes the object for an error of the upstream, in OpenAI's shape. `message` is for the customer.
pub(super) fn error_object(message: &str) -> Value {
    json!({ "message": message, "type": "server_error", "param": null, "code": "upstream_error" })
}

/// Makes the event that ends a stream with an error, in the shape of the route's API.
pub(super) fn error_event(route: Route, message: &str) -> String {
    let data = match route {
        Route::Messages => json!({ "type": "error", "error": { "type": "api_error", "message": message } }),
        Route::Responses => json!({ "type": "error", "error": error_object(message) }),
        _ => return format!("data: {}\n\n", json!({ "error": error_object(message) })),
    };
    format!("event: error\ndata: {data}\n\n")
}
