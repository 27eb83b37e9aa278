//! `/v1/gateway/groups/{group_id}/try`: a call as a customer of the group would make it.
//!
//! * What is wrong with the group, the route or the form of the body is told as on every admin route. From there on the
//!   call takes the customers' path and the answer is theirs: status, headers, errors, the stream as it comes.
//! * It is limited and billed like any call. Its event names no key: its prefix is `playground`.
//! * An operator who hangs up drops the handler's future or the answer's body, which cancels as a customer's hang-up.

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

use super::{
    body::Body,
    describe::{Describe, EVENT_STREAM, JSON, Operation, Schemas},
    field::RoutePath,
    operator::{ManageAll, Operator},
    path::Path,
};
use crate::{
    domain::id::GroupId,
    http::{error::AdminError, inference::Trial},
    service::{Gateway, error::Error, inference::Worker},
};

/// This thread's way to the upstreams, made when it is first wanted.
#[derive(Clone, Default)]
pub(super) struct Playground(Rc<OnceCell<Worker>>);

/// What is to be tried.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Try {
    /// Of the inference API.
    route: RoutePath,
    /// As a customer would send it; its `model` is the slug.
    body: JsonObject,
}

/// A JSON object as it was written: it goes on byte for byte.
struct JsonObject(Box<RawValue>);

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Box::<RawValue>::deserialize(deserializer)?;
        let is_object = written.get().starts_with('{');
        is_object.then_some(Self(written)).ok_or_else(|| de::Error::custom("must be an object"))
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

/// What the customer would have got.
pub(super) struct Tried(HttpResponse);

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
            "description": "The answer that a customer of the group would get.",
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

pub(super) async fn try_out(
    _: Operator<ManageAll>,
    gateway: Data<Gateway>,
    request: HttpRequest,
    Path(id): Path<GroupId>,
    Body(body): Body<Try>,
) -> Result<Tried, AdminError> {
    let key = gateway.playground_key(id)?;
    let playground = request.app_data::<Playground>().cloned();
    let playground = playground.ok_or_else(|| Error::internal("the admin routes have no playground"))?;
    let worker = playground.0.get_or_init(|| Worker::start(gateway.into_inner()));
    // Whatever the operator's own request called itself, what it holds is JSON.
    let mut headers = request.headers().clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let Try { route, body } = body;
    let body = Bytes::from(String::from(Box::<str>::from(body.0)));
    let trial = Trial { key, route: route.0, headers: &headers, body };
    Ok(Tried(trial.answer(worker, request.version()).await.into()))
}
