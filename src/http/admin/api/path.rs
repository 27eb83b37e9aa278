//! Path parameters. A text that is not a valid id is a 404, like the id of an object that does not exist.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::describe::{Describe, Operation, Schemas};
use crate::{
    domain::id::{EndpointId, GroupId, WebhookId},
    http::admin::error::AdminError,
    service::error::Error,
};

/// The path parameter of kind `P`.
pub(in crate::http) struct Path<P>(pub(in crate::http) P);

/// A kind of path parameter.
pub(in crate::http) trait Parameter: Sized {
    /// The name of the parameter in a route's path.
    const NAME: &'static str;
    /// The noun for the object in error messages.
    const NOUN: &'static str;

    /// Parses the parameter. `None` if the text is not valid.
    fn parse(text: &str) -> Option<Self>;
}

impl<P: Parameter> FromRequest for Path<P> {
    type Error = AdminError;
    type Future = Ready<Result<Self, AdminError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let text = request.match_info().get(P::NAME).unwrap_or_default();
        let text = percent_decode_str(text).decode_utf8().ok();
        let parsed = text.and_then(|text| P::parse(&text));
        ready(parsed.map(Self).ok_or(AdminError::Refused(Error::NotFound(P::NOUN))))
    }
}

macro_rules! ids {
    ($($id:ty = $parameter:literal, $noun:literal;)+) => {$(
        impl Parameter for $id {
            const NAME: &'static str = $parameter;
            const NOUN: &'static str = $noun;

            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )+};
}

ids! {
    EndpointId = "endpoint_id", "endpoint";
    GroupId = "group_id", "group";
    WebhookId = "webhook_id", "webhook";
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $parameter:literal, $noun:literal;)+) => {$(
        $(#[$doc])*
        pub(in crate::http) struct $name(pub(in crate::http) String);

        impl Parameter for $name {
            const NAME: &'static str = $parameter;
            const NOUN: &'static str = $noun;

            fn parse(text: &str) -> Option<Self> {
                Some(Self(text.to_owned()))
            }
        }
    )+};
}

names! {
    /// The prefix of a customer's key.
    KeyPrefix = "api_key_prefix", "API key";
    /// The prefix of an operator key.
    OperatorPrefix = "operator_key_prefix", "operator key";
    /// The name of a provider credential.
    SecretParameter = "name", "secret";
}

impl<P: Parameter> Describe for Path<P> {
    fn describe(operation: &mut Operation, _: &mut Schemas) {
        let schema = json!({ "type": "string" });
        operation.parameters.push(json!({ "name": P::NAME, "in": "path", "required": true, "schema": schema }));
    }
}
