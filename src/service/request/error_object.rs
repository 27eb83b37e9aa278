//! The error inside an answer with a 2xx status.

use serde_json::{Value, json};

use crate::domain::route::Route;

/// Makes the object for an error of the upstream, in OpenAI's shape. `message` is for the customer.
pub(super) fn error_object(message: &str) -> Value {
    json!({ "message": message, "type": "server_error", "param": null, "code": "upstream_error" })
}

/// Makes the event that ends a stream because the upstream broke off.
pub(super) fn error_event(route: Route, message: &str) -> String {
    let error = match route.is_anthropic() {
        true => json!({ "type": "api_error", "message": message }),
        false => error_object(message),
    };
    error_frame(route, json!({ "error": error }))
}

/// Makes the event that ends a stream with an error. `data` holds the error object, in the shape of the route's API.
/// Where events have a type, clients also read the event's name or its `type`.
pub fn error_frame(route: Route, mut data: Value) -> String {
    if !matches!(route, Route::Messages | Route::Responses) {
        return format!("data: {data}\n\n");
    }
    data["type"] = json!("error");
    format!("event: error\ndata: {data}\n\n")
}
