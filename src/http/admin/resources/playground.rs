//! `/v1/gateway/groups/{group_id}/try`: a call by an operator as a customer of the group.
//!
//! * If the group, the route or the form of the body is wrong, the response is an admin API error. After that, the call
//!   takes the same path as a customer's, and so does the response: status, headers, errors and stream.
//! * The call is limited and billed like any other. Its event has the key prefix `playground`.
//! * If the operator hangs up, the handler's future or the response body is dropped. That cancels the call, as a
//!   customer's hang-up does.

use std::{borrow::Cow, cell::OnceCell, rc::Rc};

use actix_web::{
    HttpRequest, HttpResponse, Responder,
    body::BoxBody,
    http::header::{CONTENT_TYPE, HeaderValue},
    web::Data,
};
use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use crate::{
    domain::id::GroupId,
    http::{
        admin::{
            api::{
                body::Body,
                describe::{Describe, EVENT_STREAM, JSON, Operation, Schemas},
                field::JsonRoute,
                operator::{ManageAll, Operator},
                path::Path,
            },
            error::AdminError,
        },
        inference::{Trial, Worker},
    },
    service::{Gateway, error::Error},
};

/// This thread's inference worker, started on first use.
#[derive(Clone, Default)]
pub(in crate::http) struct Playground(Rc<OnceCell<Worker>>);

/// A call to be tried.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Try {
    /// The route of the inference API.
    route: JsonRoute,
    /// The body of the call, as a customer would send it. Its `model` is the slug.
    body: JsonObject,
}

/// A JSON object that is passed on byte for byte.
struct JsonObject(Box<RawValue>);

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let is_object = raw.get().starts_with('{');
        is_object.then_some(Self(raw)).ok_or_else(|| de::Error::custom("must be an object"))
    }
}

impl JsonSchema for JsonObject {
    fn schema_name() -> Cow<'static, str> {
        "InferenceBody".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": true })
    }
}

/// The response that a customer would get.
pub(in crate::http) struct Tried(HttpResponse);

impl Responder for Tried {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.0
    }
}

impl Describe for Tried {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        let whole = json_schema!({
            "type": "object",
            "additionalProperties": true,
            "description": "The response that a customer of the group would get.",
        });
        let streamed = json_schema!({
            "type": "string",
            "description": "The events that a customer of the group would get, if the body asks for a stream.",
        });
        let refused = json_schema!({
            "type": "object",
            "properties": { "error": { "type": "object", "additionalProperties": true } },
            "required": ["error"],
            "description": "The error that a customer of the group would get.",
        });
        operation.answers.extend([(JSON, whole), (EVENT_STREAM, streamed)]);
        operation.failure = Some(json_schema!({ "anyOf": [schemas.error(), refused] }));
    }
}

pub(in crate::http) async fn try_out(
    _: Operator<ManageAll>,
    gateway: Data<Gateway>,
    request: HttpRequest,
    Path(id): Path<GroupId>,
    Body(body): Body<Try>,
) -> Result<Tried, AdminError> {
    let key = gateway.access.playground_key(id)?;
    let playground = request.app_data::<Playground>().cloned();
    let playground = playground.ok_or_else(|| Error::internal("the admin routes have no playground"))?;
    let worker = playground.0.get_or_init(|| Worker::start(gateway.into_inner()));
    // The body is JSON, whatever content type the operator's own request has.
    let mut headers = request.headers().clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let Try { route, body } = body;
    let body = Bytes::from(String::from(Box::<str>::from(body.0)));
    let trial = Trial { key, route: route.0, headers: &headers, body };
    Ok(Tried(trial.respond(worker, request.version()).await.into()))
}
